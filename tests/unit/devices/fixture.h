/* fixture.h - a board without CPUs: I/O spaces, a clock, a recording interrupt chip and requests.
 */
#ifndef TESTS_DEVICES_FIXTURE_H
#define TESTS_DEVICES_FIXTURE_H

#include "base/evloop.h"
#include "base/state.h"
#include "base/util.h"
#include "bus/device.h"
#include "bus/io.h"
#include "bus/irq.h"
#include "devices/board.h"

#include <glib.h>
#include <string.h>

struct fixture {
    struct irqchip chip; /* first */
    struct device_list devices;
    struct io_space *pio, *mmio;
    struct vm_clock *clock;
    struct board_requests req;
    bool level[IRQ_GSI_COUNT];
    int edges[IRQ_GSI_COUNT];
    int resets, shutdowns, sleeps, exits, rtc_changes, watchdogs, panics, crash_kernels;
    int reset_cause, sleep_state, exit_status;
    int64_t rtc_offset_s;
    bool a20;
    int msis;
    uint64_t msi_addr;
    uint32_t msi_data;
};

static inline void fix_set_gsi(struct irqchip *c, unsigned gsi, bool level)
{
    struct fixture *f = container_of(c, struct fixture, chip);
    f->level[gsi] = level;
    f->edges[gsi] += level;
}
static inline void fix_send_msi(struct irqchip *c, uint64_t addr, uint32_t data)
{
    struct fixture *f = container_of(c, struct fixture, chip);
    f->msis++;
    f->msi_addr = addr;
    f->msi_data = data;
}
static inline void fix_reset(void *o, enum board_reset_cause cause)
{
    ((struct fixture *)o)->resets++;
    ((struct fixture *)o)->reset_cause = cause;
}
static inline void fix_shutdown(void *o)
{
    ((struct fixture *)o)->shutdowns++;
}
static inline void fix_sleep(void *o, unsigned state)
{
    ((struct fixture *)o)->sleeps++;
    ((struct fixture *)o)->sleep_state = state;
}
static inline void fix_exit(void *o, int status)
{
    ((struct fixture *)o)->exits++;
    ((struct fixture *)o)->exit_status = status;
}
static inline void fix_a20(void *o, bool on)
{
    ((struct fixture *)o)->a20 = on;
}
static inline void fix_rtc_change(void *o, int64_t offset_s)
{
    ((struct fixture *)o)->rtc_changes++;
    ((struct fixture *)o)->rtc_offset_s = offset_s;
}

static inline void fix_watchdog(void *o)
{
    ((struct fixture *)o)->watchdogs++;
}
static inline void fix_panicked(void *o, bool crash_kernel)
{
    struct fixture *f = o;
    *(crash_kernel ? &f->crash_kernels : &f->panics) += 1;
}

static inline struct fixture *fixture_new(void)
{
    static const struct irqchip_ops ops = {.set_gsi = fix_set_gsi, .send_msi = fix_send_msi};
    struct fixture *f = g_new0(struct fixture, 1);
    irqchip_init(&f->chip, &ops);
    device_list_init(&f->devices);
    f->pio = io_space_new("pio", 0x10000);
    f->mmio = io_space_new("mmio", 1ull << 52);
    f->clock = vm_clock_new();
    f->req = (struct board_requests){f,        fix_reset, fix_shutdown,  fix_sleep,
                                     fix_exit, fix_a20,   fix_rtc_change};
    f->req.watchdog = fix_watchdog;
    f->req.panicked = fix_panicked;
    return f;
}

static inline void fixture_free(struct fixture *f)
{
    device_list_fini(&f->devices);
    io_space_free(f->pio);
    io_space_free(f->mmio);
    vm_clock_free(f->clock);
    irqchip_fini(&f->chip);
    g_free(f);
}

/* The last made goes first. */
static inline void destroy_all(struct fixture *f)
{
    io_space_clear(f->pio);
    io_space_clear(f->mmio);
    while (f->devices.first) {
        struct device *d = f->devices.first;
        while (d->next)
            d = d->next;
        d->ops->destroy(d);
    }
}

static inline void outb(struct fixture *f, uint16_t port, uint8_t v)
{
    io_space_write(f->pio, port, 1, v);
}
static inline uint8_t inb(struct fixture *f, uint16_t port)
{
    return io_space_read(f->pio, port, 1);
}

/* The stopped clock moves only when told, so values computed from it are exact. */
static inline void clock_to(struct fixture *f, uint64_t ns)
{
    vm_clock_set_ns(f->clock, ns);
}

/* Runs the main loop until *what differs from was, or two seconds have passed. */
static inline void wait_change(const int *what, int was)
{
    uint64_t end = host_clock_ns() + 2000000000ull;
    while (__atomic_load_n(what, __ATOMIC_RELAXED) == was && host_clock_ns() < end)
        if (!g_main_context_iteration(NULL, false))
            g_usleep(50);
    g_assert_cmpint(*what, !=, was);
}

static inline void reset_all(struct fixture *f)
{
    pthread_mutex_lock(&f->devices.lock);
    device_list_reset(&f->devices);
    pthread_mutex_unlock(&f->devices.lock);
}

/* Saves a, loads into b (made of the same devices), saves b: the bytes must be the same. */
static inline void check_state_moves(struct fixture *a, struct fixture *b)
{
    struct state_writer *w = state_writer_new(), *w2 = state_writer_new();
    GError *err = NULL;
    size_t len, len2;
    const uint8_t *data, *data2;
    struct state_reader *r;
    device_list_save(&a->devices, w);
    data = state_writer_data(w, &len);
    r = state_reader_new(data, len, &err);
    g_assert_no_error(err);
    device_list_load(&b->devices, r, &err);
    g_assert_no_error(err);
    g_assert_true(state_reader_finish(r, &err));
    device_list_save(&b->devices, w2);
    data2 = state_writer_data(w2, &len2);
    g_assert_cmpmem(data, len, data2, len2);
    for (int i = 0; i < IRQ_GSI_COUNT; i++)
        g_assert_cmpint(a->level[i], ==, b->level[i]);
    state_reader_free(r);
    state_writer_free(w);
    state_writer_free(w2);
}

/* Loads the state of a with every byte in turn turned over: refused or taken, never a crash, and
 * the device still answers on its ports afterwards. */
static inline void check_state_hostile(struct fixture *a, void (*poke)(struct fixture *f))
{
    struct state_writer *w = state_writer_new();
    size_t len;
    const uint8_t *data;
    device_list_save(&a->devices, w);
    data = state_writer_data(w, &len);
    for (size_t i = 0; i < MIN_OF(len, 600); i++) {
        g_autofree uint8_t *copy = g_memdup2(data, len);
        GError *err = NULL;
        struct state_reader *r;
        copy[i] ^= 0xff;
        r = state_reader_new(copy, len, &err);
        if (!r || !device_list_load(&a->devices, r, &err))
            device_list_reset(&a->devices); /* after a refused load only a reset helps */
        g_clear_error(&err);
        state_reader_free(r);
        poke(a);
    }
    state_writer_free(w);
}

#endif
