/* task32.c - hardware task switches: by far JMP and CALL, through a task gate in the IDT, back by
 * IRET; the busy bit, the link, NT, TS, and what goes wrong. */
#include "guest.h"

#define SEL(n)   (SEL_FREE + (n)*8)
#define SEL_TASK SEL(0)
#define SEL_GATE SEL(1)
#define SEL_BAD  SEL(2)

struct tss32 {
    uint32_t link, esp0, ss0, esp1, ss1, esp2, ss2, cr3, eip, eflags, eax, ecx, edx, ebx, esp, ebp,
        esi, edi, es, cs, ss, ds, fs, gs, ldt;
    uint16_t trap, iomap;
} __attribute__((packed));

struct farptr {
    uint32_t offset;
    uint16_t sel;
} __attribute__((packed));

static struct tss32 task, bad_task;
static uint8_t stack[4096] __attribute__((aligned(16)));
static volatile uint32_t runs, seen_eax, seen_flags, seen_error, seen_tr;
static const struct farptr to_task = {0, SEL_TASK}, to_gate = {0, SEL_GATE};
static struct farptr to_bad = {0, SEL_BAD};
#define MAIN_TSS ((struct tss32 *)tss)

static uint64_t task_gate(uint16_t sel)
{
    return (uint64_t)sel << 16 | 0x85ull << 40;
}

static void prepare(void (*fn)(void), uint32_t eax)
{
    task = (struct tss32){.eip = (uint32_t)fn,
                          .eflags = 2,
                          .eax = eax,
                          .esp = (uint32_t)stack + sizeof(stack),
                          .cs = SEL_CODE,
                          .ss = SEL_DATA,
                          .ds = SEL_DATA,
                          .es = SEL_DATA,
                          .iomap = sizeof(task)};
    gdt[SEL_TASK / 8] = gdt_entry((uint32_t)&task, sizeof(task) - 1, 0x89);
}

static bool busy(uint16_t sel)
{
    return gdt[sel / 8] >> 41 & 1;
}

/* Task bodies: endless, each time round is one visit. */
extern char body_iret[], body_jmp[], body_fault[];
extern const struct farptr to_main;
const struct farptr to_main = {0, SEL_TSS};
__asm__("body_iret:\n"
        "mov %eax, seen_eax\n"
        "pushf\n"
        "popl seen_flags\n"
        "str seen_tr\n"
        "incl runs\n"
        "iret\n"
        "inc %eax\n"
        "jmp body_iret\n"
        "body_jmp:\n"
        "mov %eax, seen_eax\n"
        "pushf\n"
        "popl seen_flags\n"
        "incl runs\n"
        "ljmp *to_main\n"
        "jmp body_jmp\n"
        "body_fault:\n"
        "popl seen_error\n"
        "incl runs\n"
        "orl $0x8000, idt + 0x93 * 8 + 4\n" /* present: the INT succeeds when tried again */
        "iret\n"
        "jmp body_fault\n");

static void call_task(void)
{
    prepare((void (*)(void))body_iret, 100);
    __asm__ volatile("clts; lcall *%0" ::"m"(to_task) : "memory");
    CHECK_EQ(runs, 1);
    CHECK_EQ(seen_eax, 100);
    CHECK_EQ(seen_flags & 0x4000, 0x4000); /* NT */
    CHECK_EQ(seen_tr & 0xffff, SEL_TASK);
    CHECK_EQ(task.link & 0xffff, SEL_TSS);
    CHECK(!busy(SEL_TASK));
    CHECK(busy(SEL_TSS));
    CHECK_EQ(READ_CR(0) & 8, 8); /* TS */
    /* Its state was saved: it goes on after its IRET. */
    __asm__ volatile("lcall *%0" ::"m"(to_gate) : "memory");
    CHECK_EQ(runs, 2);
    CHECK_EQ(seen_eax, 101);
    uint32_t tr = 0;
    __asm__ volatile("str %w0" : "+r"(tr));
    CHECK_EQ(tr, SEL_TSS);
}

static void jump_task(void)
{
    runs = 0;
    prepare((void (*)(void))body_jmp, 7);
    uint32_t ebx = 0x1234, esi = 0x5678;
    __asm__ volatile("ljmp *%2" : "+b"(ebx), "+S"(esi) : "m"(to_task) : "memory");
    CHECK_EQ(runs, 1);
    CHECK_EQ(seen_eax, 7);
    CHECK_EQ(seen_flags & 0x4000, 0);
    CHECK_EQ(ebx, 0x1234);
    CHECK_EQ(esi, 0x5678);
    CHECK(!busy(SEL_TASK));
    CHECK(busy(SEL_TSS));
    __asm__ volatile("clts");
}

static volatile unsigned hits93;
static void on_93(struct frame *f)
{
    (void)f;
    hits93++;
}

/* #NP through a task gate: the error code lies on the task's stack, IRET retries the instruction.
 */
static void fault_task(void)
{
    runs = 0;
    prepare((void (*)(void))body_fault, 0);
    struct idt_entry old = idt[NP];
    idt[NP].lo = task_gate(SEL_TASK);
    idt[0x93].lo &= ~(1ull << 47);
    handlers[0x93] = on_93;
    __asm__ volatile("int $0x93" ::: "memory");
    CHECK_EQ(runs, 1);
    CHECK_EQ(seen_error, 0x93 * 8 + 2);
    CHECK_EQ(hits93, 1);
    idt[NP] = old;
    __asm__ volatile("clts");
}

static void wrong(void)
{
    bad_task = task;
    gdt[SEL_BAD / 8] = gdt_entry((uint32_t)&bad_task, 0x66, 0x89);
    EXPECT_FAULT(TS, SEL_BAD, "ljmp *%0", "m"(to_bad) : "memory"); /* limit */
    gdt[SEL_BAD / 8] = gdt_entry((uint32_t)&bad_task, 0x67, 0x8b);
    EXPECT_FAULT(GP, SEL_BAD, "ljmp *%0", "m"(to_bad) : "memory"); /* busy */
    gdt[SEL_BAD / 8] = gdt_entry((uint32_t)&bad_task, 0x67, 0x09);
    EXPECT_FAULT(NP, SEL_BAD, "ljmp *%0", "m"(to_bad) : "memory");
    gdt[SEL_GATE / 8] = task_gate(SEL_DATA);
    EXPECT_FAULT(GP, SEL_DATA, "lcall *%0", "m"(to_gate) : "memory");
    gdt[SEL_GATE / 8] = task_gate(SEL_TASK) & ~(1ull << 47);
    EXPECT_FAULT(NP, SEL_GATE, "lcall *%0", "m"(to_gate) : "memory");
    /* IRET with NT and a link to something that is no busy TSS. */
    MAIN_TSS->link = SEL_DATA;
    EXPECT_FAULT(TS, SEL_DATA,
                 "pushf; orl $0x4000, (%%esp); popf\n"
                 "iret",
                 : "memory", "cc");
    __asm__ volatile("pushf; andl $~0x4000, (%%esp); popf" ::: "memory", "cc");
}

/* The debug trap of a TSS with T set: #DB with DR6.BT before the task's first instruction. */
static volatile uint32_t trap_dr6, trap_runs;
static void on_debug(struct frame *f)
{
    (void)f;
    trap_dr6 = READ_DR(6);
    trap_runs = runs;
    WRITE_DR(6, 0xffff0ff0);
}

static void trap_bit(void)
{
    runs = 0;
    handlers[DB] = on_debug;
    prepare((void (*)(void))body_iret, 0);
    task.trap = 1;
    __asm__ volatile("lcall *%0; clts" ::"m"(to_task) : "memory");
    CHECK_EQ(runs, 1);
    CHECK_EQ(trap_runs, 0);
    CHECK_EQ(trap_dr6 & 0x8000, 0x8000);
}

/* A 16-bit TSS. */
static uint16_t tss16[22] __attribute__((aligned(16)));
extern char body16[];
__asm__("body16:\n"
        "movzx %ax, %eax\n"
        "mov %eax, seen_eax\n"
        "incl runs\n"
        "iret\n");

static void task16(void)
{
    struct farptr f = {0, SEL(3)};
    runs = 0;
    gdt[SEL(4) / 8] = gdt_entry((uint32_t)body16, 0xfff, 0x409b);
    tss16[7] = 0;         /* IP */
    tss16[8] = 2;         /* FLAGS */
    tss16[9] = 0x4321;    /* AX */
    tss16[13] = 0xff00;   /* SP */
    tss16[17] = SEL_DATA; /* ES */
    tss16[18] = SEL(4);   /* CS */
    tss16[19] = SEL_DATA; /* SS */
    tss16[20] = SEL_DATA; /* DS */
    gdt[SEL(3) / 8] = gdt_entry((uint32_t)tss16, 43, 0x81);
    __asm__ volatile("lcall *%0; clts" ::"m"(f) : "memory");
    CHECK_EQ(runs, 1);
    CHECK_EQ(seen_eax, 0x4321);
    CHECK_EQ(tss16[0], SEL_TSS);
}

void guest_main(void)
{
    gdt[SEL_GATE / 8] = task_gate(SEL_TASK);
    call_task();
    jump_task();
    fault_task();
    trap_bit();
    task16();
    wrong();
}
