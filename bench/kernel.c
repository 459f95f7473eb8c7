/* kernel.c - what the instructions cost that kernels live on: system calls, interrupts, faults and
 * their returns, in nanoseconds of CPU time for each round trip under the software CPU. */
#include "../tests/unit/cpu/flat.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define ROUNDS  300000ull
#define GDT     0x5000ull
#define IDT     0x6000ull
#define TSS     0x7000ull
#define HANDLER 0x20000ull
#define CODE64  0x08
#define DATA    0x10
#define USER    0x18 /* SYSRET: data at +8, 64-bit code at +16 */

#define LOOP(name, body) FLAT_CODE(name, "1:\n\t" body "\n\tdec %rbx\n\tjnz 1b\n\t" FLAT_EXIT)
LOOP(empty_loop, "nop");
LOOP(cli_sti, "cli\n\tsti");
LOOP(soft_int, "int $0x40");
LOOP(undefined, "ud2");
LOOP(call_kernel, "syscall");
LOOP(set_fs_base, "mov $0xc0000100, %ecx\n\txor %eax, %eax\n\txor %edx, %edx\n\twrmsr");
LOOP(read_tsc, "rdtsc");
LOOP(swap_gs, "swapgs");
FLAT_CODE(return_handler, "iretq");
FLAT_CODE(skip_handler, "addq $2, (%rsp)\n\tiretq");
FLAT_CODE(syscall_handler, "swapgs\n\tswapgs\n\tsysretq");

struct round_trip {
    const char *name;
    const uint8_t *code, *end;
    const uint8_t *handler, *handler_end;
    bool user;
};
#define ROW(text, code, handler, user)                                                             \
    {                                                                                              \
        text, code, code##_end, handler, handler##_end, user                                       \
    }
static const struct round_trip trips[] = {
    ROW("nothing (loop)", empty_loop, return_handler, false),
    ROW("CLI, STI", cli_sti, return_handler, false),
    ROW("INT n, IRETQ", soft_int, return_handler, false),
    ROW("INT n from user, IRETQ", soft_int, return_handler, true),
    ROW("#UD, IRETQ", undefined, skip_handler, false),
    ROW("#UD from user, IRETQ", undefined, skip_handler, true),
    ROW("SYSCALL, 2 SWAPGS, SYSRETQ", call_kernel, syscall_handler, true),
    ROW("WRMSR FS_BASE", set_fs_base, return_handler, false),
    ROW("RDTSC", read_tsc, return_handler, false),
    ROW("SWAPGS", swap_gs, return_handler, false),
};

static void gate(uint8_t *ram, unsigned vector)
{
    uint64_t at = IDT + vector * 16;

    le64_put(ram + at, (HANDLER & 0xffff) | CODE64 << 16 | 0xee00ull << 32 | HANDLER >> 16 << 48);
    le64_put(ram + at + 8, 0);
}

static void tables(struct flat *f)
{
    struct x86_state *s = &flat_cpu(f)->st;
    uint8_t *ram = flat_ram(f);

    le64_put(ram + GDT + CODE64, 0x00af9b000000ffffull);
    le64_put(ram + GDT + DATA, 0x00cf93000000ffffull);
    le64_put(ram + GDT + USER + 8, 0x00cff3000000ffffull);
    le64_put(ram + GDT + USER + 16, 0x00affb000000ffffull);
    le64_put(ram + TSS + 4, FLAT_STACK); /* RSP0 */
    gate(ram, EX_UD);
    gate(ram, 0x40);
    s->gdt.base = GDT;
    s->gdt.limit = 0xff;
    s->idt.base = IDT;
    s->idt.limit = 0xfff;
    s->tr = (struct x86_seg){.base = TSS, .limit = 0x67, .sel = 0x40, .attr = 0x8b};
    s->efer |= 1; /* SCE */
    s->star = (uint64_t)(USER | 3) << 48 | (uint64_t)CODE64 << 32;
    s->lstar = HANDLER;
    s->sfmask = 0x200;
}

static void privilege(struct flat *f, bool user)
{
    struct jit_cpu *c = flat_cpu(f);
    uint16_t level = user ? 0x60 : 0;

    c->st.seg[SEG_CS] = (struct x86_seg){.limit = UINT32_MAX,
                                         .sel = user ? USER + 16 + 3 : CODE64,
                                         .attr = (uint16_t)(0xa09b | level)};
    c->st.seg[SEG_SS] = (struct x86_seg){
        .limit = UINT32_MAX, .sel = user ? USER + 8 + 3 : DATA, .attr = (uint16_t)(0xc093 | level)};
    c->st.gpr[R_RSP] = FLAT_STACK - 0x800;
    c->st.rflags = 0x3202; /* IF; IOPL 3: the exit port is open to all */
    cpu_update_mode(c);
}

static double cpu_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

/* The least of some runs. */
static double ns_each(struct flat *f, const struct round_trip *t)
{
    double least = 1e9;

    for (unsigned k = 0; k < 5; k++) {
        flat_load(f, HANDLER, t->handler, t->handler_end);
        flat_load(f, FLAT_CODE_AT, t->code, t->end);
        privilege(f, t->user);
        flat_cpu(f)->st.gpr[R_RBX] = ROUNDS;
        double start = cpu_ns();
        if (!flat_run(f)) {
            fprintf(stderr, "%s: the guest failed at rip %#lx\n", t->name, flat_cpu(f)->st.rip);
            exit(1);
        }
        double ns = (cpu_ns() - start) / (double)ROUNDS;
        least = ns < least ? ns : least;
    }
    return least;
}

int main(void)
{
    struct flat *f = flat_new();

    tables(f);
    for (unsigned k = 0; k < ARRAY_SIZE(trips); k++)
        printf("%-28s %8.1f ns\n", trips[k].name, ns_each(f, &trips[k]));
    flat_free(f);
    return 0;
}
