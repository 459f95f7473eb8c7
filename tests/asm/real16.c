/* real16.c - real mode at 0x8000: the loader's data lies outside the image, port instructions of
 * all widths, firmware's timer interrupt ends STI; HLT, BIOS data area. */
#include "pc.h"

static unsigned failures;
static uint8_t src[64], dst[64];
void real_main(void);

void print(const char *s)
{
    for (; *s; s++) {
        while (!(inb(0x3fd) & 0x20))
            ;
        outb(0x3f8, (uint8_t)*s);
    }
}

void check_failed(const char *file, int line, const char *what, uint64_t got, uint64_t want)
{
    char digits[] = "0000";

    (void)file, (void)got, (void)want;
    failures++;
    for (int i = 3; i >= 0; i--, line /= 10)
        digits[i] = (char)('0' + line % 10);
    print("real16.c:"), print(digits), print(": "), print(what), print("\n");
}

uint32_t get32(const void *p)
{
    const uint8_t *b = p;

    return b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
}

static void ports(void)
{
    outl(0xe0, 0x44332211);
    CHECK_EQ(inl(0xe0), 0x44332211);
    CHECK_EQ(inw(0xe1), 0x3322);
    CHECK_EQ(inb(0xe3), 0x44);
    outb(0xe2, 0x99);
    outw(0xe0, 0x7788);
    CHECK_EQ(inl(0xe8), 0x44997788);
}

static void strings(void)
{
    for (unsigned i = 0; i < sizeof(src); i++) {
        src[i] = (uint8_t)(i + 1);
        dst[i] = 0;
    }
    unsigned s = (unsigned)(uword)src, d = (unsigned)(uword)dst, n = 3;
    __asm__ volatile("cld; rep outsb" : "+S"(s), "+c"(n) : "d"(0xe0) : "memory");
    CHECK_EQ(inb(0xe0), 3);
    CHECK_EQ(s, (uword)src + 3);
    CHECK_EQ(n, 0);
    n = 2;
    __asm__ volatile("rep outsw" : "+S"(s), "+c"(n) : "d"(0xe0) : "memory");
    CHECK_EQ(inw(0xe0), 0x0706);
    n = 2;
    __asm__ volatile("rep outsl" : "+S"(s), "+c"(n) : "d"(0xe0) : "memory");
    CHECK_EQ(inl(0xe0), 0x0f0e0d0c);
    n = 2;
    __asm__ volatile("rep insl" : "+D"(d), "+c"(n) : "d"(0xe0) : "memory");
    CHECK_EQ(get32(dst + 4), 0x0f0e0d0c);
    n = 2;
    __asm__ volatile("rep insw" : "+D"(d), "+c"(n) : "d"(0xe0) : "memory");
    CHECK_EQ(dst[10] | dst[11] << 8, 0x0d0c);
    __asm__ volatile("insb; std; insb; cld" : "+D"(d) : "d"(0xe0) : "memory");
    CHECK_EQ(dst[12], 0x0c);
    CHECK_EQ(dst[13], 0x0c);
    CHECK_EQ(d, (uword)dst + 12);
}

/* Nothing was prepared here: vector table, 8259 and PIT are firmware's. */
static void timer(void)
{
    volatile uint32_t *ticks = (volatile uint32_t *)0x46c;
    uint32_t before = *ticks;

    __asm__ volatile("cli; movw $0x200b, %%dx; movl $1, %%eax; outl %%eax, %%dx; sti; hlt; cli" ::
                         : "eax", "edx", "memory");
    __asm__ volatile("sti; hlt; cli" ::: "memory");
    CHECK(*ticks - before >= 1);
    CHECK_EQ(inb(0x21) & 1, 0);
}

static void leftovers(void)
{
    uint16_t *bda = (uint16_t *)0x400;
    struct {
        uint16_t limit;
        uint32_t base;
    } __attribute__((packed)) i;

    __asm__ volatile("" : "+r"(bda));
    CHECK_EQ(bda[0], 0x3f8);
    CHECK(bda[0x13 / 2] != 0);
    __asm__ volatile("sidtl %0" : "=m"(i));
    CHECK_EQ(i.limit, 0x3ff);
    CHECK_EQ(boot_magic, 0x2badb002);
    /* The loader's information survived our own loading: it lies outside the image. */
    CHECK(boot_info < 0x8000 || boot_info >= 0x10000);
    /* software interrupts come back */
    __asm__ volatile("int $0x10; int $0x15" ::: "memory");
}

void real_main(void)
{
    ports();
    strings();
    leftovers();
    timer();
    print(failures ? "FAIL\n" : "PASS\n");
    outb(0xf4, failures ? 1 : 0); /* eight bits wide */
    for (;;)
        __asm__ volatile("cli; hlt");
}
