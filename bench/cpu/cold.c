/* cold.c - code that runs once, or a few dozen times, and never again: what translation costs.
 *
 * setup() writes functions of ordinary instructions (moves, arithmetic, loads, stores, compares
 * with forward branches, calls of the function before) with random operands into fresh memory;
 * run() calls each.  n is the number of instructions executed at least once. */
#include "bench.h"

#include <string.h>
#include <sys/mman.h>

enum { MOST_BYTES = 12, FUNCTION = 60, DATA = 2048 };

static unsigned char *code, *at;
static uint32_t *entries, functions;
static uint64_t data[DATA / 8], seed, emitted;

static void put(const void *bytes, size_t size)
{
    memcpy(at, bytes, size);
    at += size;
}

#define PUT(...)                                                                                   \
    put((const unsigned char[]){__VA_ARGS__}, sizeof((const unsigned char[]){__VA_ARGS__}))

static void put32(uint32_t value)
{
    put(&value, 4);
}

/* Registers the code computes with: rax rcx rdx rsi; rdi points to the data. */
static unsigned pick(void)
{
    static const unsigned char registers[] = {0, 1, 2, 6};
    return registers[bench_random(&seed) >> 30 & 3];
}

static unsigned char both(unsigned reg, unsigned rm)
{
    return (unsigned char)(0xc0 | reg << 3 | rm);
}

static void put_memory(unsigned char opcode)
{
    PUT(0x48, opcode, (unsigned char)(0x87 | pick() << 3)); /* [rdi + disp32] */
    put32((uint32_t)(bench_random(&seed) % (DATA / 8)) * 8);
}

static void put_one(uint64_t kind)
{
    static const unsigned char arithmetic[] = {0x01, 0x29, 0x31, 0x21, 0x09, 0x11, 0x39, 0x85};
    switch (kind) {
    case 0:
    case 1:
    case 2:
        PUT(0x48, arithmetic[bench_random(&seed) >> 20 & 7], both(pick(), pick()));
        break;
    case 3:
    case 4:
        put_memory(0x8b); /* mov reg, [..] */
        break;
    case 5:
        put_memory(0x89); /* mov [..], reg */
        break;
    case 6:
        put_memory(0x03); /* add reg, [..] */
        break;
    case 7:
        PUT(0x89, both(pick(), pick())); /* mov, 32 bits */
        break;
    case 8:
        PUT(0x81, both(0, pick())); /* add reg32, imm32 */
        put32((uint32_t)bench_random(&seed));
        break;
    case 9:
        PUT(0x48, 0x8d, (unsigned char)(0x44 | pick() << 3), (unsigned char)(pick() << 3 | pick()),
            0x11);
        break; /* lea reg, [base + index + 0x11] */
    case 10:
        PUT(0x48, 0xc1, both(bench_random(&seed) >> 11 & 1 ? 5 : 4, pick()), 3); /* shl, shr */
        break;
    default:
        PUT(0x0f, 0xb6, both(pick(), pick() & 3)); /* movzx reg32, reg8 */
        break;
    }
    emitted++;
}

/* A branch of known outcome (a register is compared with itself) over two instructions. */
static void put_branch(void)
{
    static const unsigned char taken[] = {0x71, 0x73, 0x74, 0x76, 0x79, 0x7a, 0x7d, 0x7e};
    static const unsigned char passed[] = {0x70, 0x72, 0x75, 0x77, 0x78, 0x7b, 0x7c, 0x7f};
    uint64_t r = bench_random(&seed);
    unsigned reg = pick();
    PUT(0x48, 0x39, both(reg, reg));
    PUT(r & 256 ? taken[r >> 20 & 7] : passed[r >> 20 & 7], 0);
    unsigned char *from = at;
    uint64_t before = emitted;
    put_one(0);
    put_one(7);
    from[-1] = (unsigned char)(at - from);
    emitted = r & 256 ? before + 2 : before + 4;
}

static void put_function(void)
{
    entries[functions++] = (uint32_t)(at - code);
    PUT(0x48, 0x89, 0xf0); /* mov rax, rsi */
    for (uint64_t i = 0; i < FUNCTION; i++) {
        put_one((bench_random(&seed) >> 13) % 12);
        if (i % 6 == 5)
            put_branch();
        if (i == FUNCTION / 2) {
            PUT(0xe8, 2, 0, 0, 0);             /* call leaf */
            PUT(0xeb, 4);                      /* jmp over it */
            PUT(0x48, 0xff, both(0, 1), 0xc3); /* leaf: inc rcx; ret */
            emitted += 4;
        }
    }
    PUT(0xc3);
    emitted += 2;
}

static void setup(uint64_t n)
{
    size_t most = n * MOST_BYTES + 4096;
    seed = 0x123456789abcdef;
    for (int i = 0; i < DATA / 8; i++)
        data[i] = bench_random(&seed);
    entries = bench_memory((n / FUNCTION + 2) * sizeof *entries, 0);
    code = mmap(NULL, most, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (code == MAP_FAILED)
        bench_fail("no memory for the code");
    for (at = code; emitted < n;)
        put_function();
    if (mprotect(code, most, PROT_READ | PROT_EXEC))
        bench_fail("no executable memory");
}

typedef uint64_t (*generated)(void *data, uint64_t a, uint64_t b, uint64_t c);

static uint64_t run_times(int times)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < functions; i++) {
        generated function = (generated)(uintptr_t)(code + entries[i]);
        for (int k = 0; k < times; k++)
            sum = bench_mix(sum, function(data, sum, i, (uint64_t)k));
    }
    return bench_mix_bytes(sum, data, sizeof data);
}

static uint64_t run_once(uint64_t n)
{
    (void)n;
    return run_times(1);
}

static uint64_t run_warm(uint64_t n)
{
    (void)n;
    return run_times(50);
}

const struct bench_test bench_cold = {.name = "stress/cold-code",
                                      .setup = setup,
                                      .run = run_once,
                                      .work = 2000000,
                                      .minimum = 10000,
                                      .cpus = 1};
const struct bench_test bench_lukewarm = {.name = "stress/lukewarm-code",
                                          .setup = setup,
                                          .run = run_warm,
                                          .work = 400000,
                                          .minimum = 10000,
                                          .cpus = 1};
