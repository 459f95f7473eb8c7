/* guest.h - what the self-checking guests share: output, checks, expected faults.
 *
 * The images are multiboot 1 kernels (boot32.S, boot64.S) that run on any PC-like machine: text
 * goes to COM1 and the debug port, the verdict to port 0xf4 (isa-debug-exit: 0 = pass, 1 = fail, so
 * the process ends with status 1 or 3).  Freestanding, no SSE, identity-mapped. */
#ifndef GUEST_H
#define GUEST_H

#include <stdbool.h>
#include <stdint.h>

typedef unsigned long uword;

static inline void outb(uint16_t port, uint8_t v)
{
    __asm__ volatile("outb %0, %1" ::"a"(v), "Nd"(port));
}
static inline void outl(uint16_t port, uint32_t v)
{
    __asm__ volatile("outl %0, %1" ::"a"(v), "Nd"(port));
}
static inline uint8_t inb(uint16_t port)
{
    uint8_t v;
    __asm__ volatile("inb %1, %0" : "=a"(v) : "Nd"(port));
    return v;
}
static inline uint64_t rdmsr(uint32_t msr)
{
    uint32_t lo, hi;
    __asm__ volatile("rdmsr" : "=a"(lo), "=d"(hi) : "c"(msr));
    return (uint64_t)hi << 32 | lo;
}
static inline void wrmsr(uint32_t msr, uint64_t v)
{
    __asm__ volatile("wrmsr" ::"a"((uint32_t)v), "d"((uint32_t)(v >> 32)), "c"(msr) : "memory");
}
static inline void cpuid(uint32_t leaf, uint32_t sub, uint32_t r[4])
{
    __asm__ volatile("cpuid"
                     : "=a"(r[0]), "=b"(r[1]), "=c"(r[2]), "=d"(r[3])
                     : "a"(leaf), "c"(sub));
}
static inline uint64_t rdtsc(void)
{
    uint32_t lo, hi;
    __asm__ volatile("rdtsc" : "=a"(lo), "=d"(hi));
    return (uint64_t)hi << 32 | lo;
}
#define READ_CR(n)                                                                                 \
    ({                                                                                             \
        uword v_;                                                                                  \
        __asm__ volatile("mov %%cr" #n ", %0" : "=r"(v_));                                         \
        v_;                                                                                        \
    })
#define WRITE_CR(n, v) __asm__ volatile("mov %0, %%cr" #n ::"r"((uword)(v)) : "memory")
#define READ_DR(n)                                                                                 \
    ({                                                                                             \
        uword v_;                                                                                  \
        __asm__ volatile("mov %%db" #n ", %0" : "=r"(v_));                                         \
        v_;                                                                                        \
    })
#define WRITE_DR(n, v) __asm__ volatile("mov %0, %%db" #n ::"r"((uword)(v)) : "memory")

void print(const char *s);
void print_hex(uint64_t v);
void guest_exit(uint32_t verdict) __attribute__((noreturn));
void check_failed(const char *file, int line, const char *what, uint64_t got, uint64_t want);

#define CHECK(cond)                                                                                \
    do {                                                                                           \
        if (!(cond))                                                                               \
            check_failed(__FILE__, __LINE__, #cond, 0, 1);                                         \
    } while (0)
#define CHECK_EQ(got, want)                                                                        \
    do {                                                                                           \
        uint64_t g_ = (uint64_t)(got), w_ = (uint64_t)(want);                                      \
        if (g_ != w_)                                                                              \
            check_failed(__FILE__, __LINE__, #got, g_, w_);                                        \
    } while (0)

/* ---- exceptions ---- */

/* As the stubs of boot*.S push it: general registers, then vector, error code, and what the CPU
 * pushed. */
struct frame {
#ifdef __x86_64__
    uint64_t r15, r14, r13, r12, r11, r10, r9, r8;
#endif
    uword di, si, bp, unused_sp, bx, dx, cx, ax;
    uword vector, error, ip, cs, flags, sp, ss;
};

/* The last exception seen by EXPECT: vector (or -1), error code, CR2 for page faults. */
struct caught {
    int vector;
    uword error, cr2, ip, cs, flags, dr6;
};
extern volatile struct caught caught;
extern volatile uword resume_ip; /* where the handler continues after a caught exception */
extern void (*handlers[256])(struct frame *f);

/* Runs one asm statement; a fault in it ends it and is noted in `caught`. Operands as in asm. */
#define EXPECT_(code, ...)                                                                         \
    ({                                                                                             \
        caught.vector = -1;                                                                        \
        __asm__ volatile(MOV_RESUME code "\n771:\n" CLEAR_RESUME : : __VA_ARGS__);                 \
        caught.vector;                                                                             \
    })
#ifdef __x86_64__
#define SP_REG       "%%rsp"
#define BX_REG       "%%rbx"
#define MOV_RESUME   "movq $771f, resume_ip\n"
#define CLEAR_RESUME "movq $0, resume_ip\n"
#else
#define SP_REG       "%%esp"
#define BX_REG       "%%ebx"
#define MOV_RESUME   "movl $771f, resume_ip\n"
#define CLEAR_RESUME "movl $0, resume_ip\n"
#endif
/* EXPECT("mov (%0), %%eax", "r"(p) : "eax", "memory") */
#define EXPECT(code, ...) EXPECT_(code "\n", __VA_ARGS__)

/* Calls what may not be executable: CALL has pushed by the time the fetch faults. */
#define EXPECT_CALL(p)                                                                             \
    ({                                                                                             \
        caught.vector = -1;                                                                        \
        __asm__ volatile("mov " SP_REG ", " BX_REG "\n" MOV_RESUME "call *%0\n771: mov " BX_REG    \
                         ", " SP_REG "\n" CLEAR_RESUME                                             \
                         :                                                                         \
                         : "r"(p)                                                                  \
                         : "bx", "memory", "cc");                                                  \
        caught.vector;                                                                             \
    })

#define EXPECT_FAULT(vec, err, code, ...)                                                          \
    do {                                                                                           \
        CHECK_EQ(EXPECT(code, __VA_ARGS__), vec);                                                  \
        CHECK_EQ(caught.error, err);                                                               \
    } while (0)
#define EXPECT_OK(code, ...) CHECK_EQ(EXPECT(code, __VA_ARGS__), -1)

enum { DE = 0, DB, NMI, BP, OF, BR, UD, NM, DF, TS = 10, NP, SS, GP, PF, MF = 16, AC };

/* ---- tables set up by guest.c ---- */
#define SEL_CODE  0x08 /* ring 0, native width */
#define SEL_DATA  0x10
#define SEL_UCODE 0x1b
#define SEL_UDATA 0x23
#define SEL_TSS   0x28 /* two slots in 64-bit guests */
#define SEL_FREE  0x40 /* from here on the test's own */
extern uint64_t gdt[64];
struct idt_entry {
#ifdef __x86_64__
    uint64_t lo, hi;
#else
    uint64_t lo;
#endif
};
extern struct idt_entry idt[256];
void idt_set(unsigned vector, uword handler, uint16_t sel, unsigned type_dpl, unsigned ist);
uint64_t gdt_entry(uint32_t base, uint32_t limit, uint16_t attr);
extern uint8_t tss[4096];

/* Runs fn in ring 3 on its own stack; returns when it executes int $0x81 (or faults uncaught in
 * ring 3 with resume_ip set, as in ring 0). */
void run_user(void (*fn)(void));
#define USER_EXIT() __asm__ volatile("int $0x81")

void guest_main(void);

void *memset(void *p, int v, unsigned long n);
void *memcpy(void *d, const void *s, unsigned long n);

#endif
