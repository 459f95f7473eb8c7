/* run.c - KVM_RUN and what comes back from it.
 *
 * KICK.  kick() stores exit_request, then immediate_exit, then sends a signal.  run() clears
 * immediate_exit and looks at exit_request after that: either it sees the request, or the kick's
 * store to immediate_exit comes later and KVM_RUN returns at once; the signal ends one that is
 * already inside. */
#include "kvm.h"

#include "base/log.h"

#include <errno.h>
#include <signal.h>

#define KICK_SIGNAL SIGRTMIN

static void kick_handler(int sig)
{
    (void)sig; /* its arrival is the message */
}

void kvm_vcpu_thread_start(struct vcpu *v)
{
    struct sigaction sa = {.sa_handler = kick_handler};
    sigset_t kick;
    sigaction(KICK_SIGNAL, &sa, NULL);
    sigemptyset(&kick);
    sigaddset(&kick, KICK_SIGNAL);
    pthread_sigmask(SIG_UNBLOCK, &kick, NULL);
}

void kvm_vcpu_kick(struct vcpu *v)
{
    __atomic_store_n(&kvm_vcpu_of(v)->run->immediate_exit, 1, __ATOMIC_SEQ_CST);
    if (v->started)
        pthread_kill(v->thread, KICK_SIGNAL);
}

void kvm_vcpu_nmi(struct vcpu *v)
{
    __atomic_store_n(&kvm_vcpu_of(v)->nmi_request, true, __ATOMIC_SEQ_CST);
    vcpu_kick(v);
}

/* ---- what went wrong, for people ---- */

static void append_code_bytes(GString *o, struct vcpu *v, const struct x86_state *s)
{
    struct kvm_translation t = {.linear_address = s->seg[SEG_CS].base + s->rip};
    uint8_t code[16];
    if (ioctl(kvm_vcpu_of(v)->fd, KVM_TRANSLATE, &t) < 0 || !t.valid ||
        guest_mem_read(v->set->cfg.mem, GPA(t.physical_address), code, sizeof(code)) < 0)
        return;
    g_string_append(o, "Code=");
    for (unsigned i = 0; i < sizeof(code); i++)
        g_string_append_printf(o, "%02x%c", code[i], i + 1 < sizeof(code) ? ' ' : '\n');
}

char *kvm_dump(struct vcpu *v)
{
    struct x86_state *s = g_aligned_alloc0(1, sizeof(*s), 64);
    kvm_state_get(v, s);
    g_autofree char *registers = x86_state_format(s);
    GString *o = g_string_new(registers);
    append_code_bytes(o, v, s);
    g_aligned_free(s);
    return g_string_free(o, FALSE);
}

static enum vcpu_exit internal(struct vcpu *v, const char *reason)
{
    g_autofree char *dump = kvm_dump(v);
    vcpu_internal_error(v, "%s\n%s", reason, dump);
    return VCPU_EXIT_INTERNAL;
}

static enum vcpu_exit internal_error_exit(struct vcpu *v, const struct kvm_run *run)
{
    static const char *const names[] = {
        [KVM_INTERNAL_ERROR_EMULATION] = "it met an instruction it cannot emulate",
        [KVM_INTERNAL_ERROR_SIMUL_EX] = "two exceptions came at once",
        [KVM_INTERNAL_ERROR_DELIVERY_EV] = "delivering an event failed",
        [KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON] = "the processor left the guest unexpectedly",
    };
    uint32_t sub = run->internal.suberror;
    GString *o = g_string_new(NULL);
    g_string_append_printf(o, "KVM stopped vcpu %u: %s (internal error %u", v->index,
                           sub < ARRAY_SIZE(names) && names[sub] ? names[sub] : "unknown reason",
                           sub);
    for (uint32_t i = 0; i < run->internal.ndata && i < ARRAY_SIZE(run->internal.data); i++)
        g_string_append_printf(o, "%s0x%llx", i ? " " : "; data ",
                               (unsigned long long)run->internal.data[i]);
    g_string_append(o, ").");
    g_autofree char *reason = g_string_free(o, FALSE);
    return internal(v, reason);
}

static enum vcpu_exit failed_entry_exit(struct vcpu *v, const struct kvm_run *run)
{
    g_autofree char *reason =
        g_strdup_printf("KVM cannot enter the guest on vcpu %u: hardware reason 0x%llx.", v->index,
                        (unsigned long long)run->fail_entry.hardware_entry_failure_reason);
    return internal(v, reason);
}

static enum vcpu_exit failed_call(struct vcpu *v, int errnum)
{
    if (errnum == EINTR || errnum == EAGAIN)
        return VCPU_EXIT_NONE;
    g_autofree char *reason =
        g_strdup_printf("KVM_RUN failed on vcpu %u: %s.", v->index, g_strerror(errnum));
    return internal(v, reason);
}

/* ---- exits ---- */

static enum vcpu_exit pio_exit(struct kvm_vcpu *k)
{
    const struct kvm_run *run = k->run;
    k->io_unfinished = true;
    k->v->io = (struct vcpu_io){
        .addr = run->io.port,
        .data = (uint8_t *)run + run->io.data_offset,
        .count = run->io.count,
        .size = run->io.size,
        .write = run->io.direction == KVM_EXIT_IO_OUT,
    };
    return VCPU_EXIT_PIO;
}

/* Asked for by a guest of Hyper-V: a reset ends as a triple fault does. */
static enum vcpu_exit system_event(struct kvm_vcpu *k)
{
    const struct cpu_events *ev = &k->v->set->cfg.events;
    uint64_t info[5];

    if (k->run->system_event.type != KVM_SYSTEM_EVENT_CRASH)
        return VCPU_EXIT_SHUTDOWN;
    kvm_crash_info(k, info);
    if (ev->crashed)
        ev->crashed(ev->opaque, info);
    return VCPU_EXIT_NONE;
}

static enum vcpu_exit mmio_exit(struct kvm_vcpu *k)
{
    struct kvm_run *run = k->run;
    k->io_unfinished = true;
    k->v->io = (struct vcpu_io){
        .addr = run->mmio.phys_addr,
        .data = run->mmio.data,
        .count = 1,
        .size = (uint8_t)run->mmio.len,
        .write = run->mmio.is_write,
    };
    return VCPU_EXIT_MMIO;
}

static enum vcpu_exit decode_exit(struct kvm_vcpu *k)
{
    struct kvm_run *run = k->run;
    switch (run->exit_reason) {
    case KVM_EXIT_IO:
        return pio_exit(k);
    case KVM_EXIT_MMIO:
        return mmio_exit(k);
    case KVM_EXIT_IRQ_WINDOW_OPEN:
        vcpu_count(k->v, VCPU_EV_IRQ_WINDOW);
        return VCPU_EXIT_NONE;
    case KVM_EXIT_INTR:
    case KVM_EXIT_SET_TPR:
        return VCPU_EXIT_NONE;
    case KVM_EXIT_HLT:
        return VCPU_EXIT_HLT;
    case KVM_EXIT_SYSTEM_EVENT:
        return system_event(k);
    case KVM_EXIT_SHUTDOWN:
        return VCPU_EXIT_SHUTDOWN;
    case KVM_EXIT_DEBUG:
        return VCPU_EXIT_DEBUG;
    case KVM_EXIT_INTERNAL_ERROR:
        return internal_error_exit(k->v, run);
    case KVM_EXIT_FAIL_ENTRY:
        return failed_entry_exit(k->v, run);
    default: {
        g_autofree char *reason = g_strdup_printf("KVM left vcpu %u for the unknown reason %u.",
                                                  k->v->index, run->exit_reason);
        return internal(k->v, reason);
    }
    }
}

static enum vcpu_exit enter(struct kvm_vcpu *k)
{
    k->io_unfinished = false;
    int rc = ioctl(k->fd, KVM_RUN, 0);
    int errnum = errno;
    return rc < 0 ? failed_call(k->v, errnum) : decode_exit(k);
}

enum vcpu_exit kvm_vcpu_run(struct vcpu *v)
{
    struct kvm_vcpu *k = kvm_vcpu_of(v);
    __atomic_store_n(&k->run->immediate_exit, 0, __ATOMIC_SEQ_CST);
    if (__atomic_exchange_n(&k->nmi_request, false, __ATOMIC_SEQ_CST))
        ioctl(k->fd, KVM_NMI, 0);
    if (__atomic_load_n(&v->exit_request, __ATOMIC_SEQ_CST))
        return VCPU_EXIT_NONE;
    vcpu_at(v, VCPU_IN_GUEST);
    enum vcpu_exit exit = enter(k);
    vcpu_at(v, VCPU_IN_VMM);
    return exit;
}

/* The kernel takes the result of an I/O exit, and moves RIP on, only when it is entered again:
 * without that, a saved state would be in the middle of the instruction. */
enum vcpu_exit kvm_vcpu_settle(struct vcpu *v)
{
    struct kvm_vcpu *k = kvm_vcpu_of(v);
    if (!k->io_unfinished)
        return VCPU_EXIT_NONE;
    __atomic_store_n(&k->run->immediate_exit, 1, __ATOMIC_SEQ_CST);
    return enter(k);
}
