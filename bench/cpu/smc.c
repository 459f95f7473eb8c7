/* smc.c - self-modifying code: an immediate is patched before each call; now and then a whole
 * function. */
#include "bench.h"

#include <string.h>
#include <sys/mman.h>

static uint64_t run(uint64_t n)
{
    /* lea rax,[rdi+imm32]; xor rax,imm32; ret */
    static const unsigned char body[] = {0x48, 0x8d, 0x87, 0, 0, 0, 0,
                                         0x48, 0x35, 0,    0, 0, 0, 0xc3};
    unsigned char *code =
        mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (code == MAP_FAILED)
        bench_fail("no executable memory");
    uint64_t (*function)(uint64_t) = (uint64_t(*)(uint64_t))(uintptr_t)code;
    uint64_t sum = 0;
    for (uint64_t i = 0; i < n; i++) {
        uint32_t value = (uint32_t)(i * 2654435761u) & 0x7fffffff;
        if (i % 16 == 0)
            memcpy(code, body, sizeof body);
        memcpy(code + (i & 1 ? 3 : 9), &value, 4);
        sum = function(sum) + i;
    }
    return sum;
}

const struct bench_test bench_smc = {
    .name = "stress/self-modifying", .run = run, .work = 300000, .minimum = 1, .cpus = 1};
