/* sleep32.c - ACPI S3: sleeps by PM1a_CNT, an RTC alarm with don't-care fields wakes it in real
 * mode at the FACS vector, where the code writes the dword at address 0 to the exit port.  It is 0
 * only if the instruction that slept was the last: the next one stores there. */
#include "pc.h"

#define RESUME 0x1000

extern char resume[], resume_end[];
/* Wrong processor mode or registers: ends as a failure. */
__asm__(".code16\n"
        "resume:\n"
        "mov %cr0, %eax\n"
        "test $1, %al\n"
        "jnz 1f\n"
        "mov %cs, %ax\n"
        "shl $4, %ax\n"
        "call 2f\n"
        "2: pop %bx\n"
        "add %ax, %bx\n"
        "cmp $0x1000 + (2b - resume), %bx\n"
        "jne 1f\n"
        "xor %ax, %ax\n"
        "mov %ax, %ds\n"
        "mov 0, %eax\n"
        "mov $0xf4, %dx\n"
        "out %eax, %dx\n"
        "1: mov $1, %eax\n"
        "mov $0xf4, %dx\n"
        "out %eax, %dx\n"
        "hlt\n"
        "resume_end:\n"
        ".code32\n");

void guest_main(void)
{
    const struct acpi_header *fadt = acpi_find("FACP");
    const uint8_t *f = (const uint8_t *)fadt;
    volatile uint32_t *facs, *zero = 0;
    uint16_t evt, cnt;

    __asm__ volatile("" : "+r"(zero));
    CHECK(fadt != 0);
    facs = (volatile uint32_t *)(uword)get32(f + 36);
    evt = (uint16_t)get32(f + 56);
    cnt = (uint16_t)get32(f + 64);
    memcpy((void *)RESUME, resume, (unsigned long)(resume_end - resume));
    facs[3] = RESUME;
    outw((uint16_t)(evt + 2), 0x400);
    /* the alarm: every second; wait until an update is just over */
    (void)cmos(0x0c);
    cmos_write(1, 0xc0), cmos_write(3, 0xc0), cmos_write(5, 0xc0);
    cmos_write(0x0b, cmos(0x0b) | 0x20);
    while (!(cmos(0x0a) & 0x80))
        ;
    while (cmos(0x0a) & 0x80)
        ;
    (void)cmos(0x0c);
    outw(evt, 0x8400);
    *zero = 0;
    __asm__ volatile("outw %w0, %w1; movl $2, 0" ::"a"(0x2400), "d"(cnt) : "memory");
    for (;;)
        __asm__ volatile("cli; hlt");
}
