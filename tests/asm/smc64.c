/* smc64.c - code that changes itself: next instruction, same block, own page, through an alias, by
 * a string instruction, across a page border. */
#include "guest.h"

#define PAGE __attribute__((aligned(4096)))
static PAGE uint8_t area[8192];
extern uint64_t pml4[512];
static PAGE uint64_t a_pdpt[512], a_pd[512];
#define WINDOW 0x10000000000ull

typedef uint32_t fn_t(void);

static void emit(uint8_t *at, uint32_t v)
{
    at[0] = 0xb8;
    memcpy(at + 1, &v, 4);
    at[5] = 0xc3;
}

static uint32_t call(const uint8_t *at)
{
    return ((fn_t *)(uintptr_t)at)();
}

void guest_main(void)
{
    for (uint32_t i = 0; i < 300; i++) {
        emit(area + 100, i);
        CHECK_EQ(call(area + 100), i);
    }
    /* Across the page border, each half in turn. */
    emit(area + 4093, 0x11223344);
    CHECK_EQ(call(area + 4093), 0x11223344);
    area[4096] = 0x55;
    CHECK_EQ(call(area + 4093), 0x11553344);
    area[4094] = 0x66;
    CHECK_EQ(call(area + 4093), 0x11553366);

    /* The very next instruction of the same block. */
    uint32_t v;
    __asm__ volatile("movl $77, 1f + 1\n"
                     "1: mov $5, %%eax\n"
                     : "=a"(v)
                     :
                     : "memory");
    CHECK_EQ(v, 77);

    /* By a string instruction, over the code that follows. */
    uint8_t image[6];
    emit(area + 200, 1);
    CHECK_EQ(call(area + 200), 1);
    emit(image, 0xabcd);
    uint8_t *d = area + 200, *s = image;
    uint64_t n = 6;
    __asm__ volatile("rep movsb" : "+D"(d), "+S"(s), "+c"(n)::"memory");
    CHECK_EQ(call(area + 200), 0xabcd);

    /* Through another linear address of the same page. */
    pml4[WINDOW >> 39 & 511] = (uint64_t)a_pdpt | 3;
    a_pdpt[0] = (uint64_t)a_pd | 3;
    a_pd[0] = ((uint64_t)area & ~0x1fffffull) | 0x83;
    volatile uint8_t *alias = (void *)(WINDOW + ((uint64_t)area & 0x1fffff));
    emit(area + 300, 3);
    CHECK_EQ(call(area + 300), 3);
    alias[301] = 9;
    CHECK_EQ(call(area + 300), 9);
    /* ... and executed through the alias, changed through the original. */
    CHECK_EQ(call((uint8_t *)(uintptr_t)alias + 300), 9);
    area[301] = 12;
    CHECK_EQ(call((uint8_t *)(uintptr_t)alias + 300), 12);

    /* By a locked operation, and by CMPXCHG. */
    __asm__ volatile("lock incb %0" : "+m"(area[301]));
    CHECK_EQ(call(area + 300), 13);
    uint8_t old = 13;
    __asm__ volatile("lock cmpxchgb %2, %0" : "+m"(area[301]), "+a"(old) : "q"((uint8_t)99));
    CHECK_EQ(call(area + 300), 99);

    /* A loop that rewrites an instruction of its own body. */
    uint32_t sum = 0;
    __asm__ volatile("mov $10, %%ecx\n"
                     "1: mov %%cl, 2f + 2\n"
                     "2: add $0, %%eax\n" /* 83 c0 ib */
                     "dec %%ecx\n"
                     "jnz 1b\n"
                     : "+a"(sum)
                     :
                     : "rcx", "memory", "cc");
    CHECK_EQ(sum, 55);
}
