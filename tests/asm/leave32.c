/* leave32.c - ways to end a machine.  how=: exit8, exit16, exit32 (with value=), 8042, port92,
 * cf9, cf9once, triple, cmos, s5, hvreset, hvcrash (Hyper-V's MSRs). */
#include "pc.h"

static void halt(void)
{
    for (;;)
        __asm__ volatile("cli; hlt");
}

static void triple_fault(void)
{
    struct {
        uint16_t limit;
        uint32_t base;
    } __attribute__((packed)) none = {0, 0};

    __asm__ volatile("lidt %0; ud2" ::"m"(none));
}

/* The shutdown code survives as ordinary CMOS memory; the reset itself is the 8042's. */
static void with_shutdown_code(void)
{
    cmos_write(0x0f, 0x0a);
    if (cmos(0x0f) != 0x0a)
        guest_exit(1);
    outb(0x64, 0xfe);
}

static void hyperv_crash(void)
{
    for (unsigned i = 0; i < 5; i++)
        wrmsr(0x40000100 + i, 0xdead0 + i);
    wrmsr(0x40000105, 1ull << 63);
}

void guest_main(void)
{
    const char *how = arg_text("how");
    uint32_t value = (uint32_t)arg_number("value", 0);

    if (word_is(how, "hvreset"))
        wrmsr(0x40000003, 1);
    else if (word_is(how, "hvcrash"))
        hyperv_crash();
    else if (word_is(how, "exit8"))
        outb(0xf4, (uint8_t)value);
    else if (word_is(how, "exit16"))
        outw(0xf4, (uint16_t)value);
    else if (word_is(how, "exit32"))
        outl(0xf4, value);
    else if (word_is(how, "8042"))
        outb(0x64, 0xfe);
    else if (word_is(how, "port92"))
        outb(0x92, inb(0x92) | 1);
    else if (word_is(how, "cf9"))
        outb(0xcf9, 0x02), outb(0xcf9, 0x06);
    else if (word_is(how, "cf9once"))
        outb(0xcf9, 0x06);
    else if (word_is(how, "triple"))
        triple_fault();
    else if (word_is(how, "cmos"))
        with_shutdown_code();
    else if (word_is(how, "s5"))
        outw(0x604, 0x2000);
    else
        CHECK(false);
    /* Whatever the way, the instruction that leaves is the last one. */
    outl(0xf4, 0x33);
    halt();
}
