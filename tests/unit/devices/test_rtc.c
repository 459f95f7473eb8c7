/* MC146818: formats, setting, alarm, periodic, update, UIP, CMOS; the calendar follows the
 * machine's clock here, so that it stands where we put it. */
#include "devices/rtc.h"
#include "fixture.h"

#define S    1000000000ull
#define DATE 1700000000 /* Tue 2023-11-14 22:13:20 UTC */

static uint8_t cmos(struct fixture *f, uint8_t reg)
{
    outb(f, 0x70, reg);
    return inb(f, 0x71);
}

static void cmos_set(struct fixture *f, uint8_t reg, uint8_t v)
{
    outb(f, 0x70, reg);
    outb(f, 0x71, v);
}

static struct rtc *the_rtc;

static struct fixture *rtc_fixture(void)
{
    struct fixture *f = fixture_new();
    struct rtc_config cfg = {.base = RTC_BASE_DATE, .date_s = DATE, .follow_vm = true};
    the_rtc = rtc_new(&f->devices, f->pio, &f->chip, f->clock, &f->req, &cfg);
    return f;
}

static void check_time(struct fixture *f, const uint8_t want[8])
{
    static const uint8_t reg[8] = {0, 2, 4, 6, 7, 8, 9, 0x32};
    for (int i = 0; i < 8; i++)
        g_assert_cmphex(cmos(f, reg[i]), ==, want[i]);
}

static void test_calendar_formats(void)
{
    struct fixture *f = rtc_fixture();
    check_time(f, (uint8_t[8]){0x20, 0x13, 0x22, 3, 0x14, 0x11, 0x23, 0x20});
    cmos_set(f, 0x0b, 0x06); /* binary, 24 h */
    check_time(f, (uint8_t[8]){20, 13, 22, 3, 14, 11, 23, 20});
    cmos_set(f, 0x0b, 0x00); /* BCD, 12 h */
    g_assert_cmphex(cmos(f, 4), ==, 0x90);
    clock_to(f, 2 * 3600 * S); /* 00:13:20 */
    g_assert_cmphex(cmos(f, 4), ==, 0x12);
    g_assert_cmphex(cmos(f, 7), ==, 0x15);
    g_assert_cmpint(rtc_now_s(the_rtc), ==, DATE + 7200);
    fixture_free(f);
}

static void test_set_as_linux_does(void)
{
    struct fixture *f = rtc_fixture();
    clock_to(f, S / 4);
    cmos_set(f, 0x0b, 0x82);
    cmos_set(f, 0x0a, 0x76); /* divider reset */
    cmos_set(f, 9, 0x00);
    cmos_set(f, 8, 0x02);
    cmos_set(f, 7, 0x29);
    cmos_set(f, 4, 0x23);
    cmos_set(f, 2, 0x59);
    cmos_set(f, 0, 0x58);
    clock_to(f, 10 * S);
    g_assert_cmphex(cmos(f, 0), ==, 0x58); /* stands */
    cmos_set(f, 0x0b, 0x02);
    g_assert_cmpint(f->rtc_changes, ==, 0);
    cmos_set(f, 0x0a, 0x26);
    g_assert_cmpint(f->rtc_changes, ==, 1);
    clock_to(f, 10 * S + S / 2 - 1);
    g_assert_cmphex(cmos(f, 0), ==, 0x58);
    clock_to(f, 10 * S + S / 2); /* first update half a second after the divider runs */
    g_assert_cmphex(cmos(f, 0), ==, 0x59);
    clock_to(f, 11 * S + S / 2);
    check_time(f, (uint8_t[8]){0x00, 0x00, 0x00, 4, 0x01, 0x03, 0x00, 0x20}); /* 2000 was leap */
    cmos_set(f, 2, 0x30); /* without SET: at once */
    g_assert_cmphex(cmos(f, 2), ==, 0x30);
    clock_to(f, 12 * S + S / 2);
    g_assert_cmphex(cmos(f, 0), ==, 0x01);
    fixture_free(f);
}

static void test_uip(void)
{
    struct fixture *f = rtc_fixture();
    g_assert_cmphex(cmos(f, 0x0a), ==, 0x26);
    clock_to(f, S - 200000);
    g_assert_cmphex(cmos(f, 0x0a), ==, 0xa6);
    clock_to(f, S);
    g_assert_cmphex(cmos(f, 0x0a), ==, 0x26);
    cmos_set(f, 0x0b, 0x82);
    clock_to(f, 2 * S - 1000);
    g_assert_cmphex(cmos(f, 0x0a), ==, 0x26); /* SET: no updates */
    fixture_free(f);
}

static int alarms;
static void on_alarm(void *opaque)
{
    alarms++;
}

static void test_flags_and_alarm(void)
{
    struct fixture *f = rtc_fixture();
    alarms = 0;
    rtc_set_alarm_handler(the_rtc, on_alarm, NULL);
    cmos(f, 0x0c);
    cmos_set(f, 0x0a, 0x20); /* no periodic rate */
    cmos_set(f, 1, 0x25);    /* 22:13:25 */
    cmos_set(f, 3, 0x13);
    cmos_set(f, 5, 0x22);
    clock_to(f, 4 * S);
    g_assert_cmphex(cmos(f, 0x0c), ==, 0x10);
    g_assert_cmphex(cmos(f, 0x0c), ==, 0x00);
    cmos_set(f, 0x0b, 0x22);
    g_assert_cmpint(f->level[8], ==, 0);
    clock_to(f, 5 * S);
    g_assert_cmphex(cmos(f, 0x0c), ==, 0xb0);
    g_assert_cmpint(alarms, ==, 1);
    g_assert_cmpint(f->edges[8], ==, 1);
    g_assert_cmpint(f->level[8], ==, 0);
    clock_to(f, 3600 * S);
    g_assert_cmphex(cmos(f, 0x0c), ==, 0x10);
    cmos_set(f, 3, 0xff); /* any minute, any hour */
    cmos_set(f, 5, 0xc0);
    clock_to(f, 3600 * S + 66 * S);
    g_assert_cmphex(cmos(f, 0x0c), ==, 0xb0);
    clock_to(f, 400 * 86400 * S); /* long sleep: bounded work */
    g_assert_cmphex(cmos(f, 0x0c), ==, 0xb0);
    fixture_free(f);
}

static void test_interrupts_in_real_time(void)
{
    struct fixture *f = rtc_fixture();
    vm_clock_start(f->clock);
    cmos_set(f, 0x0a, 0x26); /* 1024 Hz */
    cmos_set(f, 0x0b, 0x42);
    for (int i = 0; i < 5; i++) {
        wait_change(&f->edges[8], i ? f->edges[8] : 0);
        g_assert_cmphex(cmos(f, 0x0c) & 0xc0, ==, 0xc0);
    }
    pthread_mutex_lock(&f->devices.lock);
    rtc_irq_enable(the_rtc, false); /* HPET takes the line */
    pthread_mutex_unlock(&f->devices.lock);
    g_assert_false(f->level[8]);
    cmos(f, 0x0c);
    reset_all(f);
    g_assert_cmphex(cmos(f, 0x0b), ==, 0x02);
    cmos(f, 0x0c);
    cmos_set(f, 0x0b, 0x12); /* update ended, within a second */
    wait_change(&f->edges[8], f->edges[8]);
    g_assert_cmphex(cmos(f, 0x0c) & 0x90, ==, 0x90);
    fixture_free(f);
}

static void test_cmos_memory(void)
{
    struct fixture *f = rtc_fixture();
    rtc_cmos_set_memory(the_rtc, 3ull << 30, 5ull << 30);
    g_assert_cmphex(cmos(f, 0x15) | cmos(f, 0x16) << 8, ==, 640);
    g_assert_cmphex(cmos(f, 0x17) | cmos(f, 0x18) << 8, ==, 0xffff);
    g_assert_cmphex(cmos(f, 0x34) | cmos(f, 0x35) << 8, ==, ((3u << 30) - (16u << 20)) >> 16);
    g_assert_cmphex(cmos(f, 0x5b) | cmos(f, 0x5c) << 8 | cmos(f, 0x5d) << 16, ==, 5u << 14);
    rtc_cmos_set_memory(the_rtc, 8ull << 20, 0);
    g_assert_cmphex(cmos(f, 0x30) | cmos(f, 0x31) << 8, ==, 7 * 1024);
    g_assert_cmphex(cmos(f, 0x34), ==, 0);
    cmos_set(f, 0x0f, 0x0a); /* shutdown byte survives reset */
    outb(f, 0x72, 0x10);
    outb(f, 0x73, 0x77); /* upper bank */
    reset_all(f);
    g_assert_cmphex(cmos(f, 0x0f), ==, 0x0a);
    g_assert_cmphex(cmos(f, 0x90), !=, 0x77); /* 0x70 reaches the lower bank only */
    outb(f, 0x72, 0x10);
    g_assert_cmphex(inb(f, 0x73), ==, 0x77);
    g_assert_cmphex(cmos(f, 0x0d), ==, 0x80);
    fixture_free(f);
}

static void test_impossible_years_are_cut(void)
{
    struct fixture *f = rtc_fixture();
    cmos_set(f, 0x0b, 0x86);
    cmos_set(f, 0x32, 255);
    cmos_set(f, 9, 255);
    cmos_set(f, 0x0b, 0x06);
    g_assert_cmpint(cmos(f, 0x32) * 100 + cmos(f, 9), ==, 2260);
    cmos_set(f, 0x32, 0);
    g_assert_cmpint(cmos(f, 0x32) * 100 + cmos(f, 9), ==, 1900);
    fixture_free(f);
}

static void poke(struct fixture *f)
{
    for (int i = 0; i < 0x40; i++)
        cmos(f, i);
}

static void test_state(void)
{
    struct fixture *a = rtc_fixture(), *b = rtc_fixture();
    clock_to(a, 5 * S);
    clock_to(b, 5 * S);
    cmos_set(a, 0x0b, 0x12);
    cmos_set(a, 4, 0x05);
    check_state_moves(a, b);
    g_assert_cmphex(cmos(b, 4), ==, 0x05);
    check_state_hostile(a, poke);
    fixture_free(a);
    fixture_free(b);
}

static void test_random(void)
{
    struct fixture *f = rtc_fixture();
    uint64_t now = 0;
    for (int i = 0; i < 50000; i++) {
        uint32_t v = g_test_rand_int();
        if (v & 0x100)
            outb(f, 0x70 + v % 4, v >> 16);
        else
            inb(f, 0x70 + v % 4);
        clock_to(f, now += (uint64_t)(v >> 8) * 10);
    }
    fixture_free(f);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/rtc/formats", test_calendar_formats);
    g_test_add_func("/rtc/set", test_set_as_linux_does);
    g_test_add_func("/rtc/uip", test_uip);
    g_test_add_func("/rtc/alarm", test_flags_and_alarm);
    g_test_add_func("/rtc/interrupts", test_interrupts_in_real_time);
    g_test_add_func("/rtc/cmos", test_cmos_memory);
    g_test_add_func("/rtc/impossible-years", test_impossible_years_are_cut);
    g_test_add_func("/rtc/state", test_state);
    g_test_add_func("/rtc/random", test_random);
    return g_test_run();
}
