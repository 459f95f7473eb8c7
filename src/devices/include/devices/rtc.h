/* rtc.h - MC146818 real-time clock with 256 bytes of CMOS RAM (ports 0x70-0x73, IRQ 8).
 *
 * Time is an offset to a source clock: the host's real time (default; runs on while the machine is
 * paused) or the machine's own (-rtc clock=vm).
 *
 * Threads: registers under the board lock; timers in the main thread.
 * Spec:    Motorola MC146818A data sheet; ICH9 §13.6 (extended bank at 0x72/0x73). */
#ifndef DEVICES_RTC_H
#define DEVICES_RTC_H

#include "bus/device.h"
#include "devices/board.h"

struct io_space;
struct irqchip;
struct rtc;
struct vm_clock;

enum rtc_base { RTC_BASE_UTC, RTC_BASE_LOCALTIME, RTC_BASE_DATE };

struct rtc_config {
    enum rtc_base base;
    int64_t date_s;   /* RTC_BASE_DATE: seconds since 1970 the clock starts from */
    bool follow_vm;   /* clock=vm: stands still while the machine is paused */
    unsigned century; /* CMOS byte of the century, 0 = 0x32 */
};

struct rtc *rtc_new(struct device_list *devices, struct io_space *pio, struct irqchip *irqchip,
                    struct vm_clock *clock, const struct board_requests *req,
                    const struct rtc_config *cfg);
/* CMOS bytes 0x0e.. as set up by the board before the first instruction; kept over reset. */
void rtc_cmos_set(struct rtc *r, uint8_t index, uint8_t val);
uint8_t rtc_cmos_get(struct rtc *r, uint8_t index);
/* Memory size bytes 0x15-0x18, 0x30, 0x31, 0x34, 0x35, 0x5b-0x5d (the places PC firmware reads). */
void rtc_cmos_set_memory(struct rtc *r, uint64_t below_4g_bytes, uint64_t above_4g_bytes);
/* HPET legacy replacement takes IRQ 8 away from the RTC. */
void rtc_irq_enable(struct rtc *r, bool on);
/* fn is called (board lock held) when the alarm goes off with its interrupt enabled: it also wakes
 * the machine from S3. */
void rtc_set_alarm_handler(struct rtc *r, void (*fn)(void *opaque), void *opaque);
/* The time the guest sees, as struct tm fields' Unix seconds (query: -rtc, RTC_CHANGE). */
int64_t rtc_now_s(struct rtc *r);

#endif
