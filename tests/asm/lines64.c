/* lines64.c - interrupt lines from pc-testdev and the PIT through 8259 pair and IOAPIC to the first
 * processor. */
#include "pc.h"

#define VEC       0x76
#define VEC_OTHER 0x86
#define GSI       0x0e
#define PIC_BASE  0x90

static volatile uint32_t hits, others, pic_hits[16];
static volatile uint32_t lower_at; /* the hit that lowers the line; 0: none does */
static volatile bool show_irr;

static void on_line(struct frame *f)
{
    (void)f;
    hits++;
    if (show_irr)
        CHECK(ioapic_read(0x10 + 2 * GSI) & REDIR_REMOTE_IRR);
    if (hits == lower_at)
        line_set(GSI, 0);
    lapic_write(LAPIC_EOI, 0);
}

static void on_other(struct frame *f)
{
    (void)f;
    others++;
    lapic_write(LAPIC_EOI, 0);
}

static void pulse(void)
{
    line_set(GSI, 1);
    line_set(GSI, 0);
}

static void edge(void)
{
    hits = 0;
    ioapic_route(GSI, VEC, lapic_id());
    line_set(GSI, 1);
    CHECK(soon(&hits, 1));
    breathe();
    CHECK_EQ(hits, 1); /* held high: nothing new */
    line_set(GSI, 1);
    breathe();
    CHECK_EQ(hits, 1);
    line_set(GSI, 0);
    breathe();
    CHECK_EQ(hits, 1);
    pulse();
    CHECK(soon(&hits, 2)); /* a pulse is enough, though it is over */
    CHECK_EQ(ioapic_read(0x10 + 2 * GSI) & REDIR_REMOTE_IRR, 0);
    /* several edges while the vector waits are one interrupt */
    pulse();
    pulse();
    pulse();
    CHECK(soon(&hits, 3));
    breathe();
    CHECK_EQ(hits, 3);
}

static void level(uint32_t polarity)
{
    hits = 0;
    show_irr = true;
    ioapic_route(GSI, VEC | REDIR_LEVEL | polarity, lapic_id());
    breathe();
    CHECK_EQ(hits, 0);
    lower_at = 1;
    line_set(GSI, 1);
    CHECK(soon(&hits, 1));
    breathe();
    CHECK_EQ(hits, 1);
    CHECK_EQ(ioapic_read(0x10 + 2 * GSI) & REDIR_REMOTE_IRR, 0);
    /* Held: comes again after each EOI, until the fifth handler lowers it. */
    lower_at = 6;
    line_set(GSI, 1);
    CHECK(soon(&hits, 6));
    breathe();
    CHECK_EQ(hits, 6);
    CHECK_EQ(ioapic_read(0x10 + 2 * GSI) & REDIR_REMOTE_IRR, 0);
    lower_at = 0;
    show_irr = false;
}

static void masking(void)
{
    hits = 0;
    ioapic_route(GSI, VEC | REDIR_LEVEL | REDIR_MASKED, lapic_id());
    line_set(GSI, 1);
    breathe();
    CHECK_EQ(hits, 0);
    line_set(GSI, 0);
    ioapic_route(GSI, VEC | REDIR_LEVEL, lapic_id());
    breathe();
    CHECK_EQ(hits, 0); /* it went away while it was masked */
    ioapic_route(GSI, VEC | REDIR_LEVEL | REDIR_MASKED, lapic_id());
    line_set(GSI, 1);
    lower_at = 1;
    ioapic_write(0x10 + 2 * GSI, VEC | REDIR_LEVEL);
    CHECK(soon(&hits, 1)); /* it is still there */
    breathe();
    CHECK_EQ(hits, 1);
    lower_at = 0;
}

/* The entry changes vector between two interrupts; and to edge with the level still up. */
static void reconfigure(void)
{
    hits = others = 0;
    ioapic_route(GSI, VEC, lapic_id());
    pulse();
    CHECK(soon(&hits, 1));
    ioapic_route(GSI, VEC_OTHER, lapic_id());
    pulse();
    CHECK(soon(&others, 1));
    CHECK_EQ(hits, 1);
    /* fields that can be written come back */
    for (unsigned pin = 3; pin < 8; pin++) {
        ioapic_route(pin, REDIR_MASKED | REDIR_LEVEL | REDIR_LOW | REDIR_LOGICAL | (0x40 + pin),
                     pin);
        CHECK_EQ(ioapic_read(0x10 + 2 * pin),
                 REDIR_MASKED | REDIR_LEVEL | REDIR_LOW | REDIR_LOGICAL | (0x40 + pin));
        CHECK_EQ(ioapic_read(0x11 + 2 * pin), pin << 24);
    }
    CHECK_EQ(ioapic_read(1) >> 16 & 0xff, 23);
    /* all 24 lines, each its own vector */
    for (unsigned pin = 0; pin < 24; pin++) {
        if (pin == 0 || pin == 2 || pin == 8 || pin == 9)
            continue; /* timers and SCI have these */
        hits = 0;
        ioapic_route(pin, VEC, lapic_id());
        line_set(pin, 1);
        line_set(pin, 0);
        CHECK(soon(&hits, 1));
        ioapic_route(pin, REDIR_MASKED, 0);
    }
}

/* Priorities: two waiting vectors arrive higher class first; the TPR holds one back. */
static void priority(void)
{
    hits = others = 0;
    ioapic_route(GSI, VEC, lapic_id());
    ioapic_route(GSI + 1, VEC_OTHER, lapic_id());
    lapic_write(LAPIC_TPR, 0x70);
    pulse();
    line_set(GSI + 1, 1);
    line_set(GSI + 1, 0);
    CHECK(soon(&others, 1));
    breathe();
    CHECK_EQ(hits, 0);
    lapic_write(LAPIC_TPR, 0);
    CHECK(soon(&hits, 1));
    ioapic_route(GSI + 1, REDIR_MASKED, 0);
    ioapic_route(GSI, REDIR_MASKED, 0);
}

/* ---- 8259 pair ---- */

static void on_pic(struct frame *f)
{
    unsigned irq = (unsigned)f->vector - PIC_BASE;

    pic_hits[irq]++;
    if (irq >= 8)
        outb(0xa0, 0x20);
    outb(0x20, 0x20);
}

static uint8_t pic_register(uint16_t port, uint8_t which)
{
    outb(port, which);
    return inb(port);
}

static void pic(void)
{
    /* Firmware's state first: master at 8 with IRQ 0 open, virtual wire. */
    CHECK_EQ(lapic_read(LAPIC_LINT0) & 0x10700, 0x700);
    outb(0x20, 0x11), outb(0x21, PIC_BASE), outb(0x21, 4), outb(0x21, 1);
    outb(0xa0, 0x11), outb(0xa1, PIC_BASE + 8), outb(0xa1, 2), outb(0xa1, 1);
    outb(0x21, 0xff), outb(0xa1, 0xff);
    CHECK_EQ(inb(0x21), 0xff);
    line_set(5, 1);
    breathe();
    CHECK_EQ(pic_hits[5], 0);
    CHECK_EQ(pic_register(0x20, 0x0a) >> 5 & 1, 1); /* requested, masked */
    outb(0x21, 0xdf);
    CHECK(soon(&pic_hits[5], 1));
    breathe();
    CHECK_EQ(pic_hits[5], 1);
    line_set(5, 0);
    /* the slave, by way of IRQ 2 */
    outb(0x21, 0xfb);
    outb(0xa1, 0xbf);
    line_set(14, 1);
    line_set(14, 0);
    CHECK(pic_hits[14] <= 1);
    line_set(14, 1);
    CHECK(soon(&pic_hits[14], 1));
    line_set(14, 0);
    CHECK_EQ(pic_register(0x20, 0x0b), 0); /* nothing in service */
    outb(0x21, 0xff), outb(0xa1, 0xff);
}

/* Channel 0 counts at 1.193182 MHz and interrupts by 8259 and by IOAPIC pin 2. */
static void pit(void)
{
    pic_hits[0] = 0;
    outb(0x43, 0x30); /* one-shot */
    outb(0x40, 0x00), outb(0x40, 0x08);
    outb(0x21, 0xfe);
    CHECK(soon(&pic_hits[0], 1));
    breathe();
    CHECK_EQ(pic_hits[0], 1);
    outb(0x43, 0x34); /* rate generator, 1 kHz */
    outb(0x40, 0xa9), outb(0x40, 0x04);
    while (pic_hits[0] < 10)
        breathe();
    outb(0x21, 0xff);
    hits = 0;
    ioapic_route(2, VEC, lapic_id());
    while (hits < 10)
        breathe();
    ioapic_route(2, REDIR_MASKED, 0);
    /* channel 2 behind its gate: output low until the count is done */
    outb(0x61, (uint8_t)((inb(0x61) & ~3) | 1));
    outb(0x43, 0xb0);
    outb(0x42, 0x00), outb(0x42, 0x20);
    uint64_t start = rdtsc();
    CHECK_EQ(inb(0x61) & 0x20, 0);
    while (!(inb(0x61) & 0x20))
        if (rdtsc() - start > 20000000000ull) {
            CHECK(false);
            break;
        }
    outb(0x43, 0x00); /* latch: two reads, low byte first */
    (void)inb(0x40), (void)inb(0x40);
    outb(0x43, 0xe2); /* read-back: status of channel 0 */
    CHECK_EQ(inb(0x40) & 0x3f, 0x34);
}

void guest_main(void)
{
    for (unsigned i = 0; i < 16; i++)
        handlers[PIC_BASE + i] = on_pic;
    handlers[VEC] = on_line;
    handlers[VEC_OTHER] = on_other;
    pic();
    pit();
    lapic_write(LAPIC_SVR, 0x1ff);
    for (unsigned mode = 0; mode < 2; mode++) {
        edge();
        level(0);
        level(REDIR_LOW);
        masking();
        reconfigure();
        priority();
        uint32_t r[4];
        cpuid(1, 0, r);
        if (mode || !(r[2] & 1u << 21))
            break;
        x2apic_enable();
    }
}
