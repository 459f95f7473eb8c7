/* jit_clock.c - the guest's time stamp counter and kvmclock.
 *
 * The TSC is the host's, minus the time the machine was stopped, scaled when the model asks for
 * another frequency.  It stands still with the machine's clock, so that deadlines and timers agree.
 * Per-vcpu offsets (written by the guest) come on top, in sys_tsc(). */
#include "sys.h"

#include "base/evloop.h"

#include <time.h>
#include <x86intrin.h>

#define CALIBRATE_NS 10000000ull

static uint64_t monotonic_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec;
}

/* A clock reading with the TSC halfway around it; the tightest of a few tries. */
static void clock_pair(uint64_t *ns, uint64_t *tsc)
{
    uint64_t best = UINT64_MAX;

    for (unsigned i = 0; i < 8; i++) {
        uint64_t before = __rdtsc(), t = monotonic_ns(), after = __rdtsc();
        if (after - before < best) {
            best = after - before;
            *ns = t;
            *tsc = before + (after - before) / 2;
        }
    }
}

static uint64_t host_khz(void)
{
    static uint64_t known;
    uint64_t ns0, tsc0, ns1, tsc1;

    if (known)
        return known;
    clock_pair(&ns0, &tsc0);
    struct timespec wait = {.tv_nsec = CALIBRATE_NS};
    nanosleep(&wait, NULL);
    clock_pair(&ns1, &tsc1);
    known = (uint64_t)((unsigned __int128)(tsc1 - tsc0) * 1000000 / (ns1 - ns0));
    return known;
}

static uint64_t scaled_host_tsc(const struct jit_set *js)
{
    uint64_t host = __rdtsc();

    if (likely(!js->host_mul))
        return host;
    return (uint64_t)(((unsigned __int128)host * js->host_mul) >> 32);
}

void jit_clock_init(struct jit_set *js, uint64_t wanted_khz)
{
    uint64_t host = host_khz();

    js->khz = wanted_khz ? wanted_khz : host;
    if (js->khz != host)
        js->host_mul = (uint64_t)(((unsigned __int128)js->khz << 32) / host);
    js->stopped_at = scaled_host_tsc(js);
    js->stopped_ticks = js->stopped_at; /* the guest's TSC starts at zero */
}

uint64_t jit_tsc_now(const struct jit_set *js)
{
    return (js->running ? scaled_host_tsc(js) : js->stopped_at) - js->stopped_ticks;
}

uint64_t jit_tsc_to_ns(const struct jit_set *js, uint64_t ticks)
{
    unsigned __int128 ns = (unsigned __int128)ticks * 1000000 / js->khz;

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
    js->stopped_ticks += scaled_host_tsc(js) - js->stopped_at;
    js->running = true;
    js->clock_tsc = jit_tsc_now(js);
    js->clock_ns = vm_clock_ns(js->set->cfg.clock) + (uint64_t)js->kvmclock_offset;
    for (unsigned i = 0; i < js->set->count; i++)
        pv_clock_update(js->set->vcpu[i]->accel);
}

uint64_t jit_kvmclock_ns(const struct jit_set *js)
{
    return js->clock_ns + jit_tsc_to_ns(js, jit_tsc_now(js) - js->clock_tsc);
}

uint64_t sys_tsc(struct jit_cpu *c)
{
    return jit_tsc_now(set_of(c)) + c->tsc_offset;
}
