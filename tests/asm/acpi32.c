/* acpi32.c - what firmware leaves for those who look: tables from the RSDP on, PM registers, and
 * the clocks (PM timer, HPET, RTC, PIT by the TSC) agreeing with each other. */
#include "pc.h"

#define HPET ((volatile uint32_t *)0xfed00000)

static uint32_t pm_timer_port, pm1a_evt, pm1a_cnt;

static void tables(void)
{
    const uint8_t *rsdp = acpi_rsdp();
    const struct acpi_header *fadt, *t;

    CHECK(rsdp != 0);
    if (!rsdp)
        guest_exit(1);
    if (rsdp[15] >= 2) {
        const struct acpi_header *xsdt = (const void *)(uword)get32(rsdp + 24);
        CHECK_EQ(sum_bytes(rsdp, 36), 0);
        CHECK(same(xsdt->signature, "XSDT", 4));
        CHECK_EQ(sum_bytes(xsdt, xsdt->length), 0);
        CHECK_EQ((uint64_t)get32(rsdp + 28), 0);
    }
    t = (const void *)(uword)get32(rsdp + 16);
    CHECK(same(t->signature, "RSDT", 4));
    CHECK_EQ(sum_bytes(t, t->length), 0);
    fadt = acpi_find("FACP");
    CHECK(fadt != 0);
    if (!fadt)
        guest_exit(1);
    CHECK_EQ(sum_bytes(fadt, fadt->length), 0);
    const uint8_t *f = (const uint8_t *)fadt;
    CHECK(same((const void *)(uword)get32(f + 36), "FACS", 4));
    CHECK(same((const void *)(uword)get32(f + 40), "DSDT", 4));
    const struct acpi_header *dsdt = (const void *)(uword)get32(f + 40);
    CHECK_EQ(sum_bytes(dsdt, dsdt->length), 0);
    pm1a_evt = get32(f + 56);
    pm1a_cnt = get32(f + 64);
    pm_timer_port = get32(f + 76);
    CHECK_EQ(pm1a_evt, 0x600);
    CHECK_EQ(pm1a_cnt, 0x604);
    CHECK_EQ(pm_timer_port, 0x608);
    CHECK_EQ(f[91], 4);
    CHECK((t = acpi_find("APIC")) != 0 && sum_bytes(t, t->length) == 0);
    CHECK((t = acpi_find("MCFG")) != 0 && sum_bytes(t, t->length) == 0);
}

static void pm_block(void)
{
    const uint8_t *fadt = (const uint8_t *)acpi_find("FACP");

    if (get32(fadt + 48) && !(inw((uint16_t)pm1a_cnt) & 1)) {
        outb((uint16_t)get32(fadt + 48), fadt[52]); /* SMI_CMD, ACPI_ENABLE */
        while (!(inw((uint16_t)pm1a_cnt) & 1))
            ;
    }
    outw((uint16_t)(pm1a_evt + 2), 0x400);
    CHECK_EQ(inw((uint16_t)(pm1a_evt + 2)), 0x400);
    outb((uint16_t)(pm1a_evt + 3), 0);
    CHECK_EQ(inw((uint16_t)(pm1a_evt + 2)), 0);
    outw((uint16_t)(pm1a_evt + 2), 0x100);
    outw((uint16_t)(pm1a_evt + 2), 0);
    outw((uint16_t)pm1a_evt, 0xffff); /* statuses are cleared by ones */
    CHECK_EQ(inw((uint16_t)pm1a_evt) & ~1, 0);
    outw((uint16_t)pm1a_cnt, 0x1401); /* SLP_TYP without SLP_EN: nothing happens */
    CHECK_EQ(inw((uint16_t)pm1a_cnt), 0x1401);
    outw((uint16_t)pm1a_cnt, 1);
}

/* ---- clocks ---- */

static uint64_t pm_now(void)
{
    return inl((uint16_t)pm_timer_port) & 0xffffff;
}

static uint64_t hpet_now(void)
{
    return HPET[0xf0 / 4];
}

/* One clock and the TSC read together: again until nothing came in between. */
static uint64_t pair(uint64_t (*read)(void), uint64_t *tsc)
{
    uint64_t best = ~0ull, value = 0;

    for (unsigned i = 0; i < 50; i++) {
        uint64_t before = rdtsc(), v = read(), after = rdtsc();
        if (after - before < best) {
            best = after - before;
            value = v;
            *tsc = before + best / 2;
        }
    }
    return value;
}

static uint64_t divide(uint64_t a, uint64_t b) /* no libgcc here */
{
    uint64_t q = 0, r = 0;

    for (int i = 63; i >= 0; i--) {
        r = r << 1 | (a >> i & 1);
        if (r >= b) {
            r -= b;
            q |= 1ull << i;
        }
    }
    return q;
}

/* TSC ticks a second, by a clock of hz that wraps at mask. */
static uint64_t tsc_hz(uint64_t (*read)(void), uint64_t hz, uint64_t mask)
{
    uint64_t t0, t1, c0 = pair(read, &t0), c1;

    do
        c1 = pair(read, &t1);
    while (((c1 - c0) & mask) < divide(hz, 10));
    return divide((t1 - t0) * divide(hz, 1000), (c1 - c0) & mask) * 1000;
}

static void near(uint64_t got, uint64_t want)
{
    uint64_t off = got > want ? got - want : want - got;

    if (off > divide(want, 100))
        CHECK_EQ(got, want);
}

static void clocks(void)
{
    uint64_t by_pm = tsc_hz(pm_now, 3579545, 0xffffff), by_hpet, period = HPET[1];

    CHECK(period > 0 && period <= 100000000);
    CHECK_EQ(HPET[0] >> 16, 0x8086);
    HPET[0x10 / 4] |= 1;
    by_hpet = tsc_hz(hpet_now, divide(1000000000000000ull, period), 0xffffffff);
    near(by_hpet, by_pm);
    /* stopped, it stands still and can be set */
    HPET[0x10 / 4] &= ~1u;
    HPET[0xf0 / 4] = 0x1234;
    HPET[0xf4 / 4] = 0;
    CHECK_EQ(HPET[0xf0 / 4], 0x1234);
    HPET[0x10 / 4] |= 1;
    CHECK(HPET[0xf0 / 4] >= 0x1234);
    /* a second of the RTC, from update to update */
    uint8_t s = cmos(0);
    while (cmos(0) == s)
        ;
    uint64_t t0 = rdtsc();
    s = cmos(0);
    while (cmos(0) == s)
        ;
    uint64_t second = rdtsc() - t0;
    CHECK(second > by_pm - divide(by_pm, 5) && second < by_pm + divide(by_pm, 5));
    CHECK_EQ(cmos(0x0d) & 0x80, 0x80);
    /* Update in progress shows for some 244 us of each second: a busy host may miss a few. */
    bool updating = false;
    for (t0 = rdtsc(); !updating && rdtsc() - t0 < 30 * by_pm;)
        updating = cmos(0x0a) >> 7;
    CHECK(updating);
    while (cmos(0x0a) >> 7)
        ;
}

void guest_main(void)
{
    tables();
    pm_block();
    clocks();
}
