/* jit_clock.c - the guest's time stamp counter and kvmclock.
 *
 * The TSC is the host's, minus the time the machine was stopped, scaled when the model asks for
 * another frequency.  It stands still with the machine's clock, so that deadlines and timers agree.
 * Per-vcpu offsets (written by the guest) come on top, in sys_tsc(). */
#include "sys.h"

#include "base/evloop.h"
#include "base/ticks.h"

/* Main thread, before any vcpu runs.  Where the TSC is the host's, nobody needs to know its
 * frequency yet, which takes 10 ms to find out. */
static void calibrate(struct jit_set *js)
{
    if (!js->wanted_khz || js->calibrated)
        return;
    uint64_t host = host_ticks_khz();
    if (js->wanted_khz != host)
        js->host_mul = (uint64_t)(((unsigned __int128)js->wanted_khz << 32) / host);
    js->calibrated = true;
}

uint64_t jit_tsc_khz(const struct jit_set *js)
{
    return js->wanted_khz ? js->wanted_khz : host_ticks_khz();
}

static uint64_t scaled_host_tsc(const struct jit_set *js)
{
    /* In order with what the guest did before: its own fence may cost no host instruction, and
     * guests compare the counters of their CPUs through memory. */
    _mm_lfence();
    uint64_t host = __rdtsc();

    if (likely(!js->host_mul))
        return host;
    return (uint64_t)(((unsigned __int128)host * js->host_mul) >> 32);
}

void jit_clock_init(struct jit_set *js, uint64_t wanted_khz)
{
    js->wanted_khz = wanted_khz;
    host_ticks_init();
}

uint64_t jit_tsc_now(const struct jit_set *js)
{
    return (js->running ? scaled_host_tsc(js) : js->stopped_at) - js->stopped_ticks;
}

uint64_t jit_tsc_to_ns(const struct jit_set *js, uint64_t ticks)
{
    if (!ticks) /* whatever the frequency, which may not be known yet */
        return 0;
    unsigned __int128 ns = (unsigned __int128)ticks * 1000000 / jit_tsc_khz(js);

    return ns > UINT64_MAX ? UINT64_MAX : (uint64_t)ns;
}

void jit_clock_stop(struct jit_set *js)
{
    if (!js->running)
        return;
    js->stopped_at = scaled_host_tsc(js);
    js->running = false;
}

void jit_clock_start(struct jit_set *js)
{
    if (js->running)
        return;
    calibrate(js);
    js->stopped_ticks += scaled_host_tsc(js) - js->stopped_at;
    js->running = true;
    js->clock_tsc = jit_tsc_now(js);
    js->clock_ns = vm_clock_ns(js->set->cfg.clock) + (uint64_t)js->kvmclock_offset;
    for (unsigned i = 0; i < js->set->count; i++)
        pv_clock_update(js->set->vcpu[i]->accel);
    hv_tsc_page_update(js);
}

uint64_t jit_kvmclock_ns(const struct jit_set *js)
{
    return js->clock_ns + jit_tsc_to_ns(js, jit_tsc_now(js) - js->clock_tsc);
}

uint64_t sys_tsc(struct jit_cpu *c)
{
    return jit_tsc_now(set_of(c)) + c->tsc_offset;
}
