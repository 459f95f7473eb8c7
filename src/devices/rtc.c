/* rtc.c - MC146818: calendar, alarm, periodic and update interrupts, CMOS RAM.
 *
 * The calendar is an offset to a source clock; its registers are computed when read.  Only while
 * the guest sets the clock (SET, or the divider held in reset) do the register bytes themselves
 * rule, and the offset follows from them when it lets go.  Flags are brought up to date on each
 * look (rtc_sync), so without enabled interrupts no timer runs. */
#include "devices/rtc.h"

#include "base/error.h"
#include "base/evloop.h"
#include "base/state.h"
#include "base/util.h"
#include "bus/io.h"
#include "bus/irq.h"

#include <glib.h>
#include <time.h>

#define NS_PER_SEC     1000000000ll
#define DAY_S          86400
#define CALENDAR_MIN_S (-2208988800ll) /* 1900 */
#define CALENDAR_MAX_S 9183110399ll    /* the end of 2260: room to run on */
#define UIP_NS         244000          /* update-in-progress shows this long before an update */
/* Divider reset: the first update comes half a second after it is let go. */
#define DIVIDER_PHASE_NS (NS_PER_SEC / 2)

enum {
    REG_SEC,
    REG_SEC_ALARM,
    REG_MIN,
    REG_MIN_ALARM,
    REG_HOUR,
    REG_HOUR_ALARM,
    REG_WDAY,
    REG_MDAY,
    REG_MONTH,
    REG_YEAR,
    REG_A,
    REG_B,
    REG_C,
    REG_D,
    CMOS_FIRST
};
enum { A_RATE = 0x0f, A_DIVIDER = 0x70, A_DIVIDER_RESET = 0x60, A_UIP = 0x80 };
enum { B_24H = 0x02, B_BINARY = 0x04, B_UIE = 0x10, B_AIE = 0x20, B_PIE = 0x40, B_SET = 0x80 };
enum { C_UF = 0x10, C_AF = 0x20, C_PF = 0x40, C_IRQF = 0x80 };
#define D_VALID   0x80
#define ALARM_ANY 0xc0 /* both bits set: matches always */

struct rtc {
    struct device dev; /* first */
    struct io_region region;
    struct irq_line irq;
    struct vm_clock *clock;
    struct timer *timer;
    const struct board_requests *req;
    void (*alarm)(void *opaque);
    void *alarm_opaque;
    uint8_t century; /* CMOS index */
    bool follow_vm;
    /* board lock */
    uint8_t cmos[256]; /* registers A.. and, while stopped, the calendar; the alarm always */
    uint8_t index[2];  /* ports 0x70 and 0x72 */
    int64_t offset_ns; /* calendar minus source */
    int64_t synced_ns; /* flags cover everything up to here */
    bool irq_enabled;  /* false: HPET has IRQ 8 */
};

static int64_t source_ns(const struct rtc *r)
{
    struct timespec ts;

    if (r->follow_vm)
        return vm_clock_ns(r->clock);
    clock_gettime(CLOCK_REALTIME, &ts);
    return ts.tv_sec * NS_PER_SEC + ts.tv_nsec;
}

static bool stopped(const struct rtc *r)
{
    return (r->cmos[REG_B] & B_SET) || (r->cmos[REG_A] & A_DIVIDER_RESET) == A_DIVIDER_RESET;
}

/* Nanoseconds of calendar time since 1970. */
static int64_t calendar_ns(const struct rtc *r)
{
    return (int64_t)((uint64_t)source_ns(r) + (uint64_t)r->offset_ns);
}

static int64_t floor_div(int64_t a, int64_t b)
{
    return a / b - (a % b < 0);
}

static uint8_t encode(const struct rtc *r, unsigned v)
{
    return r->cmos[REG_B] & B_BINARY ? v : v / 10 << 4 | v % 10;
}

static unsigned decode(const struct rtc *r, uint8_t v)
{
    return r->cmos[REG_B] & B_BINARY ? v : (v >> 4) * 10 + (v & 15);
}

static uint8_t encode_hour(const struct rtc *r, unsigned hour)
{
    if (r->cmos[REG_B] & B_24H)
        return encode(r, hour);
    return encode(r, hour % 12 ? hour % 12 : 12) | (hour >= 12 ? 0x80 : 0);
}

static unsigned decode_hour(const struct rtc *r, uint8_t v)
{
    if (r->cmos[REG_B] & B_24H)
        return decode(r, v);
    return decode(r, v & 0x7f) % 12 + (v & 0x80 ? 12 : 0);
}

/* The calendar registers from the running time. */
static void calendar_show(struct rtc *r, int64_t ns)
{
    time_t s = floor_div(ns, NS_PER_SEC);
    struct tm tm = {0};
    unsigned year;

    gmtime_r(&s, &tm);
    year = (unsigned)(tm.tm_year + 1900) % 10000;
    r->cmos[REG_SEC] = encode(r, tm.tm_sec);
    r->cmos[REG_MIN] = encode(r, tm.tm_min);
    r->cmos[REG_HOUR] = encode_hour(r, tm.tm_hour);
    r->cmos[REG_WDAY] = encode(r, tm.tm_wday + 1);
    r->cmos[REG_MDAY] = encode(r, tm.tm_mday);
    r->cmos[REG_MONTH] = encode(r, tm.tm_mon + 1);
    r->cmos[REG_YEAR] = encode(r, year % 100);
    r->cmos[r->century] = encode(r, year / 100);
}

/* The time the calendar registers name; values out of range carry over as in timegm, and times that
 * nanoseconds cannot say (before 1900, after 2260) are cut. */
static int64_t calendar_s(const struct rtc *r)
{
    struct tm tm = {
        .tm_sec = decode(r, r->cmos[REG_SEC]),
        .tm_min = decode(r, r->cmos[REG_MIN]),
        .tm_hour = decode_hour(r, r->cmos[REG_HOUR]),
        .tm_mday = decode(r, r->cmos[REG_MDAY]),
        .tm_mon = (int)decode(r, r->cmos[REG_MONTH]) - 1,
        .tm_year =
            (int)(decode(r, r->cmos[r->century]) * 100 + decode(r, r->cmos[REG_YEAR])) - 1900,
    };

    return MAX_OF(MIN_OF(timegm(&tm), CALENDAR_MAX_S), CALENDAR_MIN_S);
}

static void calendar_set(struct rtc *r, int64_t phase_ns)
{
    int64_t ns = calendar_s(r) * NS_PER_SEC + phase_ns;
    struct timespec ts;

    r->offset_ns = ns - source_ns(r);
    r->synced_ns = ns;
    clock_gettime(CLOCK_REALTIME, &ts);
    if (r->req && r->req->rtc_change)
        r->req->rtc_change(r->req->opaque, floor_div(ns, NS_PER_SEC) - ts.tv_sec);
}

static bool alarm_field(const struct rtc *r, unsigned reg, unsigned now)
{
    uint8_t v = r->cmos[reg];

    if ((v & ALARM_ANY) == ALARM_ANY)
        return true;
    return (reg == REG_HOUR_ALARM ? decode_hour(r, v) : decode(r, v)) == now;
}

/* Did the alarm match in a second of (from, to]?  It repeats daily, so a day's worth decides. */
static bool alarm_between(const struct rtc *r, int64_t from, int64_t to)
{
    if (to - from > DAY_S)
        from = to - DAY_S;
    for (int64_t s = from + 1; s <= to; s++) {
        unsigned t = s - floor_div(s, DAY_S) * DAY_S;
        if (alarm_field(r, REG_SEC_ALARM, t % 60) && alarm_field(r, REG_MIN_ALARM, t / 60 % 60) &&
            alarm_field(r, REG_HOUR_ALARM, t / 3600))
            return true;
    }
    return false;
}

/* 0: off.  Rates 1 and 2 are 256 and 128 Hz; n is 32768 >> (n - 1) Hz. */
static int64_t period_ns(const struct rtc *r)
{
    unsigned rate = r->cmos[REG_A] & A_RATE;

    if (!rate)
        return 0;
    if (rate < 3)
        rate += 7;
    return (NS_PER_SEC << (rate - 1)) / 32768;
}

static void irq_update(struct rtc *r)
{
    uint8_t on = r->cmos[REG_C] & r->cmos[REG_B] & (C_UF | C_AF | C_PF);

    r->cmos[REG_C] = (r->cmos[REG_C] & ~C_IRQF) | (on ? C_IRQF : 0);
    irq_set(&r->irq, on && r->irq_enabled);
}

/* Sets the flags that fell due since the last look. */
static void rtc_sync(struct rtc *r)
{
    int64_t now = calendar_ns(r), was = r->synced_ns, period = period_ns(r);
    int64_t s0 = floor_div(was, NS_PER_SEC), s1 = floor_div(now, NS_PER_SEC);
    uint8_t flags = 0;

    r->synced_ns = now;
    if (now <= was) /* the host's clock was set back */
        return;
    if (period && floor_div(was, period) != floor_div(now, period))
        flags |= C_PF;
    if (!stopped(r) && s1 > s0) {
        flags |= C_UF;
        if (alarm_between(r, s0, s1))
            flags |= C_AF;
    }
    if ((flags & ~r->cmos[REG_C] & r->cmos[REG_B] & C_AF) && r->alarm)
        r->alarm(r->alarm_opaque);
    r->cmos[REG_C] |= flags;
    irq_update(r);
}

static void timer_arm(struct rtc *r)
{
    int64_t now = r->synced_ns, period = period_ns(r), due = INT64_MAX;

    if ((r->cmos[REG_B] & B_PIE) && period)
        due = (floor_div(now, period) + 1) * period;
    if ((r->cmos[REG_B] & (B_UIE | B_AIE)) && !stopped(r))
        due = MIN_OF(due, (floor_div(now, NS_PER_SEC) + 1) * NS_PER_SEC);
    if (due == INT64_MAX)
        timer_cancel(r->timer);
    else
        timer_set(r->timer, vm_clock_ns(r->clock) + (uint64_t)(due - now));
}

static void timer_due(void *opaque)
{
    struct rtc *r = opaque;

    pthread_mutex_lock(&r->dev.list->lock);
    rtc_sync(r);
    timer_arm(r);
    pthread_mutex_unlock(&r->dev.list->lock);
}

static bool is_calendar(const struct rtc *r, uint8_t reg)
{
    return reg == REG_SEC || reg == REG_MIN || reg == REG_HOUR ||
           (reg >= REG_WDAY && reg <= REG_YEAR) || reg == r->century;
}

static uint8_t cmos_read(struct rtc *r, uint8_t reg)
{
    uint8_t val;
    int64_t now;

    if (is_calendar(r, reg) && !stopped(r))
        calendar_show(r, calendar_ns(r));
    switch (reg) {
    case REG_A:
        now = calendar_ns(r);
        val = r->cmos[REG_A];
        if (!stopped(r) && (floor_div(now, NS_PER_SEC) + 1) * NS_PER_SEC - now <= UIP_NS)
            val |= A_UIP;
        return val;
    case REG_C:
        rtc_sync(r);
        val = r->cmos[REG_C];
        r->cmos[REG_C] = 0;
        irq_update(r);
        return val;
    case REG_D:
        return D_VALID;
    }
    return r->cmos[reg];
}

/* Registers A and B: a change may stop the calendar or let it go. */
static void control_write(struct rtc *r, uint8_t reg, uint8_t val)
{
    bool was_stopped = stopped(r);
    bool divider_was_reset = (r->cmos[REG_A] & A_DIVIDER_RESET) == A_DIVIDER_RESET;
    int64_t now = calendar_ns(r);

    rtc_sync(r);
    if (!was_stopped) /* freeze what the registers show, in the format they had */
        calendar_show(r, now);
    if (reg == REG_A)
        r->cmos[REG_A] = val & ~A_UIP;
    else
        r->cmos[REG_B] = val & B_SET ? val & ~B_UIE : val;
    if (was_stopped && !stopped(r))
        calendar_set(r, divider_was_reset ? DIVIDER_PHASE_NS
                                          : now - floor_div(now, NS_PER_SEC) * NS_PER_SEC);
    irq_update(r);
    timer_arm(r);
}

static void cmos_write(struct rtc *r, uint8_t reg, uint8_t val)
{
    int64_t now;

    switch (reg) {
    case REG_A:
    case REG_B:
        control_write(r, reg, val);
        return;
    case REG_C:
    case REG_D:
        return;
    case REG_SEC_ALARM:
    case REG_MIN_ALARM:
    case REG_HOUR_ALARM:
        rtc_sync(r);
        r->cmos[reg] = val;
        return;
    }
    if (!is_calendar(r, reg) || stopped(r)) {
        r->cmos[reg] = val;
        return;
    }
    rtc_sync(r);
    now = calendar_ns(r);
    calendar_show(r, now);
    r->cmos[reg] = val;
    calendar_set(r, now - floor_div(now, NS_PER_SEC) * NS_PER_SEC);
    timer_arm(r);
}

/* 0x70/0x71 reach the lower 128 bytes (bit 7 of 0x70 is the NMI mask), 0x72/0x73 the upper. */
static void rtc_write(struct io_region *region, uint64_t off, unsigned size, uint64_t val)
{
    struct rtc *r = container_of(region, struct rtc, region);

    if (!(off & 1))
        r->index[off / 2] = val & 0x7f;
    else
        cmos_write(r, r->index[off / 2] | (off / 2) << 7, val);
}

static uint64_t rtc_read(struct io_region *region, uint64_t off, unsigned size)
{
    struct rtc *r = container_of(region, struct rtc, region);

    if (!(off & 1))
        return off ? r->index[1] : 0xff; /* 0x70 is write-only */
    return cmos_read(r, r->index[off / 2] | (off / 2) << 7);
}

static const struct io_ops rtc_ops = {rtc_read, rtc_write, 1, 1};

void rtc_cmos_set(struct rtc *r, uint8_t index, uint8_t val)
{
    r->cmos[index] = val;
}

uint8_t rtc_cmos_get(struct rtc *r, uint8_t index)
{
    return r->cmos[index];
}

void rtc_cmos_set_memory(struct rtc *r, uint64_t below_4g_bytes, uint64_t above_4g_bytes)
{
    uint64_t base_kib = MIN_OF(below_4g_bytes / KiB, 640u);
    uint64_t ext_kib = below_4g_bytes > MiB ? MIN_OF(below_4g_bytes / KiB - 1024, 0xffffu) : 0;
    uint64_t ext_64k =
        below_4g_bytes > 16 * MiB ? MIN_OF((below_4g_bytes - 16 * MiB) / (64 * KiB), 0xffffu) : 0;
    uint64_t high_64k = MIN_OF(above_4g_bytes / (64 * KiB), 0xffffffu);

    r->cmos[0x15] = base_kib;
    r->cmos[0x16] = base_kib >> 8;
    r->cmos[0x17] = r->cmos[0x30] = ext_kib;
    r->cmos[0x18] = r->cmos[0x31] = ext_kib >> 8;
    r->cmos[0x34] = ext_64k;
    r->cmos[0x35] = ext_64k >> 8;
    r->cmos[0x5b] = high_64k;
    r->cmos[0x5c] = high_64k >> 8;
    r->cmos[0x5d] = high_64k >> 16;
}

void rtc_irq_enable(struct rtc *r, bool on)
{
    r->irq_enabled = on;
    irq_update(r);
}

void rtc_set_alarm_handler(struct rtc *r, void (*fn)(void *opaque), void *opaque)
{
    r->alarm = fn;
    r->alarm_opaque = opaque;
}

int64_t rtc_now_s(struct rtc *r)
{
    return stopped(r) ? calendar_s(r) : floor_div(calendar_ns(r), NS_PER_SEC);
}

/* The calendar, register A and the RAM are battery-backed: reset touches interrupts only. */
static void rtc_reset(struct device *d)
{
    struct rtc *r = container_of(d, struct rtc, dev);

    rtc_sync(r);
    r->cmos[REG_B] &= ~(B_PIE | B_AIE | B_UIE);
    r->cmos[REG_C] = 0;
    r->index[0] = r->index[1] = 0;
    r->irq_enabled = true;
    irq_update(r);
    timer_arm(r);
}

static bool rtc_post_load(void *obj, uint32_t version, GError **err)
{
    struct rtc *r = obj;
    __int128 now;

    if (r->index[0] > 0x7f || r->index[1] > 0x7f)
        return error_set(err, HANOK_ERROR_CORRUPT,
                         "The saved state of the real-time clock contradicts itself.");
    now = (__int128)source_ns(r) + r->offset_ns;
    if (now < (__int128)CALENDAR_MIN_S * NS_PER_SEC || now > (__int128)CALENDAR_MAX_S * NS_PER_SEC)
        r->offset_ns = 0;
    r->synced_ns = MIN_OF(r->synced_ns, calendar_ns(r));
    irq_update(r);
    timer_arm(r);
    return true;
}

static const struct state_field rtc_fields[] = {
    STATE_BYTES(struct rtc, cmos),       STATE_BYTES(struct rtc, index),
    STATE_U64(struct rtc, offset_ns),    STATE_U64(struct rtc, synced_ns),
    STATE_BOOL(struct rtc, irq_enabled), STATE_END,
};
static const struct state_desc rtc_state = {
    .name = "mc146818rtc", .version = 1, .fields = rtc_fields, .post_load = rtc_post_load};

static void rtc_destroy(struct device *d)
{
    struct rtc *r = container_of(d, struct rtc, dev);

    device_remove(d->list, d);
    timer_free(r->timer);
    g_free(r);
}

static const struct device_ops rtc_device_ops = {
    .type = "mc146818rtc", .reset = rtc_reset, .destroy = rtc_destroy, .state = &rtc_state};

/* What the calendar should show now, as seconds since 1970. */
static int64_t start_s(const struct rtc_config *cfg)
{
    time_t now = time(NULL);
    struct tm tm;

    switch (cfg->base) {
    case RTC_BASE_DATE:
        return cfg->date_s;
    case RTC_BASE_LOCALTIME:
        localtime_r(&now, &tm);
        return now + tm.tm_gmtoff;
    case RTC_BASE_UTC:
        break;
    }
    return now;
}

struct rtc *rtc_new(struct device_list *devices, struct io_space *pio, struct irqchip *irqchip,
                    struct vm_clock *clock, const struct board_requests *req,
                    const struct rtc_config *cfg)
{
    struct rtc *r = g_new0(struct rtc, 1);
    struct timespec ts;

    r->clock = clock;
    r->req = req;
    r->follow_vm = cfg->follow_vm;
    r->century = cfg->century ? cfg->century : 0x32;
    r->timer = timer_new(evloop_main(), clock, timer_due, r);
    irq_connect(&r->irq, irqchip, 8);
    clock_gettime(CLOCK_REALTIME, &ts);
    r->offset_ns = start_s(cfg) * NS_PER_SEC - source_ns(r);
    if (cfg->base != RTC_BASE_DATE)
        r->offset_ns += ts.tv_nsec;
    r->synced_ns = calendar_ns(r);
    r->cmos[REG_A] = 0x26; /* 32768 Hz base, 1024 Hz rate */
    r->cmos[REG_B] = B_24H;
    r->region =
        (struct io_region){.ops = &rtc_ops, .name = "rtc", .size_bytes = 4, .lock = &devices->lock};
    device_add(devices, &r->dev, &rtc_device_ops, NULL, "rtc");
    rtc_reset(&r->dev);
    io_space_add(pio, &r->region, 0x70);
    return r;
}
