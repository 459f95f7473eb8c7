/* testdev64.c - pc-testdev's register and memory, by every width, offset and string instruction;
 * pci-testdev in both of its BARs. */
#include "pc.h"

#define DEVMEM ((volatile uint8_t *)0xff000000ul)

static uint8_t src[256] __attribute__((aligned(64))), dst[256] __attribute__((aligned(64)));

static void pattern(uint8_t seed)
{
    for (unsigned i = 0; i < sizeof(src); i++) {
        src[i] = (uint8_t)(i * 7 + seed);
        dst[i] = 0xee;
    }
}

static void ports(void)
{
    outl(0xe0, 0x44332211);
    CHECK_EQ(inl(0xe0), 0x44332211);
    for (unsigned i = 0; i < 4; i++)
        CHECK_EQ(inb((uint16_t)(0xe0 + i)), 0x11 * (i + 1));
    CHECK_EQ(inw(0xe0), 0x2211);
    CHECK_EQ(inw(0xe2), 0x4433);
    outb(0xe1, 0xab);
    outw(0xe2, 0xcdef);
    CHECK_EQ(inl(0xe0), 0xcdefab11);
    /* 0xe8: the same register, bytewise */
    CHECK_EQ(inl(0xe8), 0xcdefab11);
    outl(0xe8, 0x01020304);
    CHECK_EQ(inl(0xe0), 0x01020304);
    outw(0xe9, 0x5566);
    CHECK_EQ(inl(0xe0), 0x01556604);
    outl(0xe4, 0x100000); /* flush page: may do nothing */
    CHECK_EQ(inl(0xe0), 0x01556604);
}

#define PORT_STRING(op, reg, port, ptr, count)                                                     \
    __asm__ volatile("cld; rep " op : "+" reg(ptr), "+c"(count) : "d"(port) : "memory")

static void port_strings(void)
{
    const void *s = src;
    void *d = dst;
    uint64_t n = 5;

    pattern(3);
    PORT_STRING("outsb", "S", 0xe0, s, n);
    CHECK_EQ((uword)s, (uword)src + 5);
    CHECK_EQ(n, 0);
    CHECK_EQ(inb(0xe0), src[4]);
    s = src, n = 3;
    PORT_STRING("outsw", "S", 0xe0, s, n);
    CHECK_EQ(inw(0xe0), src[4] | src[5] << 8);
    s = src, n = 3;
    PORT_STRING("outsl", "S", 0xe0, s, n);
    CHECK_EQ(inl(0xe0), get32(src + 8));
    n = 3;
    PORT_STRING("insl", "D", 0xe0, d, n);
    CHECK_EQ((uword)d, (uword)dst + 12);
    for (unsigned i = 0; i < 12; i += 4)
        CHECK_EQ(get32(dst + i), get32(src + 8));
    CHECK_EQ(dst[12], 0xee);
    d = dst + 20, n = 3;
    PORT_STRING("insw", "D", 0xe0, d, n);
    CHECK_EQ(dst[24] | dst[25] << 8, src[8] | src[9] << 8);
    CHECK_EQ(dst[26], 0xee);
    d = dst + 32, n = 0;
    PORT_STRING("insb", "D", 0xe0, d, n);
    CHECK_EQ(dst[32], 0xee);
}

#define MMIO_WIDTH(type, off)                                                                      \
    do {                                                                                           \
        volatile type *p_ = (volatile type *)(DEVMEM + (off));                                     \
        type v_ = (type)(0x8877665544332211ull + (off));                                           \
        *p_ = v_;                                                                                  \
        CHECK_EQ(*p_, v_);                                                                         \
        for (unsigned b_ = 0; b_ < sizeof(type); b_++)                                             \
            CHECK_EQ(DEVMEM[(off) + b_], (uint8_t)((uint64_t)v_ >> (8 * b_)));                     \
    } while (0)

static void memory_widths(void)
{
    for (unsigned off = 0; off < 20; off++) {
        MMIO_WIDTH(uint8_t, off);
        MMIO_WIDTH(uint16_t, off);
        MMIO_WIDTH(uint32_t, off);
        MMIO_WIDTH(uint64_t, off);
    }
    MMIO_WIDTH(uint64_t, 0xffc);
    MMIO_WIDTH(uint64_t, 0xfff);
    MMIO_WIDTH(uint64_t, 0xfff8);
}

#define MEMORY_STRING(op, d, s, n) __asm__ volatile("rep " op : "+D"(d), "+S"(s), "+c"(n)::"memory")

/* RAM to device and back, in both directions, at odd places, over a page's end. */
static void move(unsigned width, unsigned off, bool down)
{
    uint64_t n = 64 / width;
    volatile uint8_t *dev = DEVMEM + off;
    const volatile void *s = src + (down ? 64 - width : 0);
    volatile void *d = dev + (down ? 64 - width : 0);

    pattern((uint8_t)(off + width));
    for (unsigned pass = 0; pass < 2; pass++) {
        if (down)
            __asm__ volatile("std");
        switch (width) {
        case 1:
            MEMORY_STRING("movsb", d, s, n);
            break;
        case 2:
            MEMORY_STRING("movsw", d, s, n);
            break;
        case 4:
            MEMORY_STRING("movsl", d, s, n);
            break;
        default:
            MEMORY_STRING("movsq", d, s, n);
        }
        __asm__ volatile("cld");
        CHECK_EQ(n, 0);
        n = 64 / width;
        s = dev + (down ? 64 - width : 0);
        d = dst + 1 + (down ? 64 - width : 0);
    }
    for (unsigned i = 0; i < 64; i++)
        CHECK_EQ(dst[i + 1], src[i]);
    CHECK_EQ(dst[65], 0xee);
    CHECK_EQ(dst[0], 0xee);
}

static void memory_strings(void)
{
    for (unsigned width = 1; width <= 8; width *= 2)
        for (unsigned down = 0; down < 2; down++) {
            move(width, 0, down);
            move(width, 3, down);
            move(width, 0xfe1, down);
        }
    /* LODS, STOS, SCAS, CMPS */
    volatile uint8_t *dev = DEVMEM;
    uint64_t a = 0x1122334455667788, n = 4;
    volatile void *d = dev + 1;
    __asm__ volatile("rep stosq" : "+D"(d), "+c"(n) : "a"(a) : "memory");
    CHECK_EQ(*(volatile uint64_t *)(dev + 25), a);
    const volatile void *s = dev + 2;
    __asm__ volatile("lodsl" : "=a"(a), "+S"(s)::"memory");
    CHECK_EQ((uint32_t)a, 0x44556677);
    dev[40] = 0x5a;
    d = dev + 2, n = 100;
    __asm__ volatile("repne scasb" : "+D"(d), "+c"(n) : "a"(0x5a) : "memory", "cc");
    CHECK_EQ((uword)d, (uword)dev + 41);
    CHECK_EQ(n, 61);
    pattern(9);
    for (unsigned i = 0; i < 32; i++)
        dev[i] = src[i];
    dev[17] ^= 1;
    s = src, d = dev, n = 32;
    __asm__ volatile("repe cmpsb" : "+D"(d), "+S"(s), "+c"(n)::"memory", "cc");
    CHECK_EQ((uword)d, (uword)dev + 18);
}

/* Read-modify-write, stack, far pointers: memory operands of all kinds on device memory. */
static void memory_operands(void)
{
    volatile uint64_t *q = (volatile uint64_t *)(DEVMEM + 0x100);
    uint64_t got, ten = 10;
    uint8_t flag;

    *q = 5;
    __asm__ volatile("addq %1, %0" : "+m"(*q) : "r"(ten) : "cc");
    CHECK_EQ(*q, 15);
    __asm__ volatile("lock xaddq %1, %0" : "+m"(*q), "+r"(ten)::"cc");
    CHECK_EQ(ten, 15);
    CHECK_EQ(*q, 25);
    got = 25;
    __asm__ volatile("lock cmpxchgq %3, %1; setz %2"
                     : "+a"(got), "+m"(*q), "=q"(flag)
                     : "r"(77ul)
                     : "cc");
    CHECK_EQ(flag, 1);
    CHECK_EQ(*q, 77);
    __asm__ volatile("xchgq %0, %1" : "+r"(got), "+m"(*q));
    CHECK_EQ(got, 77);
    CHECK_EQ(*q, 25);
    __asm__ volatile("pushq %1; popq %0" : "=m"(q[1]) : "m"(*q));
    CHECK_EQ(q[1], 25);
    __asm__ volatile("notq %0; shlq $4, %0; btsq $0, %0" : "+m"(*q)::"cc");
    CHECK_EQ(*q, (~25ull << 4) | 1);
    __asm__ volatile("movsbl %1, %k0" : "=r"(got) : "m"(*(volatile uint8_t *)q));
    CHECK_EQ((uint32_t)got, 0x61);
    __asm__ volatile("decb %0" : "+m"(*(volatile uint8_t *)q)::"cc");
    CHECK_EQ(*(volatile uint8_t *)q, 0x60);
}

static void header(bool io, unsigned test, uint32_t base)
{
    static const char *const names[2][3] = {
        {"mmio-no-eventfd", "mmio-wildcard-eventfd", "mmio-datamatch-eventfd"},
        {"portio-no-eventfd", "portio-wildcard-eventfd", "portio-datamatch-eventfd"}};
    uint8_t h[48];
    uint32_t offset, before, after;

#define IO8(o)   inb((uint16_t)(base + (o)))
#define MEM8(o)  (*(volatile uint8_t *)(uword)(base + (o)))
#define READ8(o) (io ? IO8(o) : MEM8(o))
    if (io)
        outb((uint16_t)base, (uint8_t)test);
    else
        MEM8(0) = (uint8_t)test;
    for (unsigned i = 0; i < sizeof(h); i++)
        h[i] = READ8(i);
    CHECK_EQ(h[0], test);
    CHECK_EQ(h[1], 1);
    offset = get32(h + 4);
    CHECK_EQ(offset, io ? 128 + 3 + test : 2048 + test);
    CHECK_EQ(h[8], test == 2 ? 0xfa : 0xce);
    const char *n = names[io][test];
    for (unsigned i = 0; n[i]; i++)
        CHECK_EQ(h[16 + i], n[i]);
    before = get32(h + 12);
    for (unsigned i = 0; i < 10; i++)
        if (io)
            outb((uint16_t)(base + offset), h[8]);
        else
            MEM8(offset) = h[8];
    for (unsigned i = 0; i < 4; i++)
        h[12 + i] = READ8(12 + i);
    after = get32(h + 12);
    CHECK_EQ(after - before, 10);
}

static void pci(void)
{
    int devfn = pci_find(0x00051b36);
    uint32_t mem, io;

    CHECK(devfn >= 0);
    if (devfn < 0)
        return;
    CHECK_EQ(pci_read((unsigned)devfn, 8) >> 16, 0xff00);
    mem = pci_read((unsigned)devfn, 0x10);
    io = pci_read((unsigned)devfn, 0x14);
    CHECK_EQ(mem & 0xf, 0);
    CHECK(mem != 0);
    CHECK_EQ(io & 3, 1);
    CHECK((io & ~3u) != 0);
    CHECK_EQ(pci_read((unsigned)devfn, 4) & 3, 3); /* firmware left both decoded */
    /* Sizes: all ones in, the size's complement out. */
    pci_write((unsigned)devfn, 0x10, 0xffffffff);
    CHECK_EQ(pci_read((unsigned)devfn, 0x10), 0xfffff000);
    pci_write((unsigned)devfn, 0x10, mem);
    pci_write((unsigned)devfn, 0x14, 0xffffffff);
    CHECK_EQ(pci_read((unsigned)devfn, 0x14) | 0xffff0000, 0xffffff01);
    pci_write((unsigned)devfn, 0x14, io);
    for (unsigned test = 0; test < 3; test++) {
        header(false, test, mem);
        header(true, test, io & ~3u);
    }
}

void guest_main(void)
{
    ports();
    port_strings();
    memory_widths();
    memory_strings();
    memory_operands();
    pci();
}
