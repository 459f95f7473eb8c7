/* machine_state.c - the whole machine as one state stream, and back.
 *
 *   "machine"   type, sizes, clock: what must be equal on both sides, checked before anything loads
 *   "ram"       guest memory, pages of zeros left out; not what devices show or hide (mem/layout.h)
 *   "x86"       one section per vcpu ("cpu0" ...), then what the accelerator adds
 *   devices     in order of creation, each under its path
 *
 * A loaded stream is hostile: pages may only go to RAM that exists, lengths are bounded. */
#include "base/error.h"
#include "base/evloop.h"
#include "base/state.h"
#include "base/util.h"
#include "cpu/vcpu.h"
#include "machine_internal.h"
#include "mem/guest_mem.h"
#include "mem/layout.h"

#include <inttypes.h>
#include <sys/mman.h>

#define RUN_BYTES_MAX    (1 * MiB)
#define RAM_END          UINT64_MAX   /* instead of an address: no more runs */
#define STREAM_BYTES_MAX (3584 * MiB) /* lengths in the stream are 32 bits; devices are small */

/* ---- what must be equal ---- */

struct identity {
    uint8_t type[32];
    uint64_t ram_bytes, clock_ns;
    uint32_t cpus;
    bool asleep;
};

static const struct state_field identity_fields[] = {
    STATE_BYTES(struct identity, type),   STATE_U64(struct identity, ram_bytes),
    STATE_U64(struct identity, clock_ns), STATE_U32(struct identity, cpus),
    STATE_BOOL(struct identity, asleep),  STATE_END,
};
static const struct state_desc identity_desc = {
    .name = "machine", .version = 1, .fields = identity_fields};

static struct identity identity_of(const struct machine *m)
{
    struct identity id = {.ram_bytes = m->board ? m->cfg->ram_bytes : 0,
                          .clock_ns = vm_clock_ns(m->clock),
                          .cpus = m->cpus ? cpu_set_count(m->cpus) : 0,
                          .asleep = m->asleep};

    g_strlcpy((char *)id.type, m->type->name, sizeof(id.type));
    return id;
}

static bool identity_check(struct machine *m, const struct identity *in, GError **err)
{
    struct identity own = identity_of(m);

    if (memcmp(own.type, in->type, sizeof(own.type)) != 0)
        return error_set(err, HANOK_ERROR_INVALID,
                         "the state is of a machine of type '%.31s', this one is '%s'",
                         (const char *)in->type, m->type->name);
    if (own.ram_bytes != in->ram_bytes)
        return error_set(err, HANOK_ERROR_INVALID,
                         "the state is of a machine with %" PRIu64 " MiB of memory, this one has "
                         "%" PRIu64,
                         (uint64_t)(in->ram_bytes / MiB), (uint64_t)(own.ram_bytes / MiB));
    if (own.cpus != in->cpus)
        return error_set(err, HANOK_ERROR_INVALID,
                         "the state is of a machine with %u CPUs, this one has %u", in->cpus,
                         own.cpus);
    return true;
}

/* ---- memory ---- */

static bool page_is_zero(const uint8_t *p)
{
    return p[0] == 0 && memcmp(p, p + 1, GUEST_PAGE_SIZE - 1) == 0;
}

struct ram_walk {
    struct state_writer *w; /* NULL: only count */
    uint64_t bytes;
};

static void run_put(struct ram_walk *walk, const struct guest_region *r, uint64_t from, uint64_t to)
{
    walk->bytes += to - from + 12;
    if (!walk->w)
        return;
    state_put_u64(walk->w, r->gpa + from);
    state_put_u32(walk->w, (uint32_t)(to - from));
    state_put_bytes(walk->w, r->host + from, to - from);
}

static bool region_walk(const struct guest_region *r, void *opaque)
{
    struct ram_walk *walk = opaque;
    uint64_t from = 0; /* of the run that is open while from < at */

    if (r->movable)
        return true;

    for (uint64_t at = 0; at < r->size_bytes; at += GUEST_PAGE_SIZE) {
        bool zero = page_is_zero(r->host + at);
        if (from < at && (zero || at - from == RUN_BYTES_MAX)) {
            run_put(walk, r, from, at);
            from = at;
        }
        if (zero)
            from = at + GUEST_PAGE_SIZE;
    }
    if (from < r->size_bytes)
        run_put(walk, r, from, r->size_bytes);
    return true;
}

static void ram_save(struct state_writer *w, const void *obj)
{
    const struct machine *m = obj;
    struct ram_walk walk = {.w = w};

    guest_mem_foreach(m->mem, region_walk, &walk);
    state_put_u64(w, RAM_END);
}

/* Back to zeros without touching what never was anything else. */
static bool region_clear(const struct guest_region *r, void *opaque)
{
    struct guest_mem *mem = opaque;

    if (guest_mem_discard(mem, GPA(r->gpa), r->size_bytes) == 0)
        return true;
    for (uint64_t at = 0; at < r->size_bytes; at += GUEST_PAGE_SIZE)
        if (!page_is_zero(r->host + at))
            memset(r->host + at, 0, GUEST_PAGE_SIZE);
    guest_mem_wrote(mem, GPA(r->gpa), r->size_bytes);
    return true;
}

static bool ram_load(struct state_reader *r, void *obj, GError **err)
{
    struct machine *m = obj;
    g_autofree uint8_t *buf = g_malloc(RUN_BYTES_MAX);
    uint64_t gpa;

    /* What devices show of their memory they bring themselves; it is mapped when all is loaded. */
    mem_layouts_hide_all(m->mem);

    guest_mem_foreach(m->mem, region_clear, m->mem);
    while ((gpa = state_get_u64(r)) != RAM_END) {
        uint32_t len = state_get_u32(r);
        if (len == 0 || len > RUN_BYTES_MAX || !state_get_bytes(r, buf, len) ||
            guest_mem_write_rom(m->mem, GPA(gpa), buf, len) != 0)
            return error_set(err, HANOK_ERROR_CORRUPT,
                             "the memory in the state does not fit this machine (at 0x%" PRIx64 ")",
                             gpa);
    }
    return true;
}

static const struct state_field ram_fields[] = {STATE_CUSTOM("pages", ram_save, ram_load),
                                                STATE_END};
static const struct state_desc ram_desc = {.name = "ram", .version = 1, .fields = ram_fields};

/* ---- vcpus ---- */

static struct x86_state *x86_state_new(void)
{
    void *p = NULL;
    int rc = posix_memalign(&p, 64, sizeof(struct x86_state));

    g_assert(rc == 0);
    memset(p, 0, sizeof(struct x86_state));
    return p;
}

static void vcpus_save(struct machine *m, struct state_writer *w)
{
    g_autofree struct x86_state *s = x86_state_new();

    for (unsigned i = 0; i < cpu_set_count(m->cpus); i++) {
        char name[16];
        g_snprintf(name, sizeof(name), "cpu%u", vcpu_index(cpu_set_get(m->cpus, i)));
        vcpu_get_state(cpu_set_get(m->cpus, i), s);
        state_save(w, &x86_state_desc, name, s);
    }
    cpu_set_save(m->cpus, w);
}

static bool vcpus_load(struct machine *m, struct state_reader *r, GError **err)
{
    g_autofree struct x86_state *s = x86_state_new();

    for (unsigned i = 0; i < cpu_set_count(m->cpus); i++) {
        char name[16];
        g_snprintf(name, sizeof(name), "cpu%u", vcpu_index(cpu_set_get(m->cpus, i)));
        if (!state_load(r, &x86_state_desc, name, s, err) ||
            !vcpu_set_state(cpu_set_get(m->cpus, i), s, err)) {
            g_prefix_error(err, "vcpu %u: ", i);
            return false;
        }
    }
    return cpu_set_load(m->cpus, r, err);
}

/* ---- all of it ---- */

static bool stopped_check(const struct machine *m, GError **err)
{
    return !machine_engines_on(m) ||
           error_set(err, HANOK_ERROR_BUSY, "the machine must be paused first");
}

bool machine_save(struct machine *m, struct state_writer *w, GError **err)
{
    struct identity id = identity_of(m);
    struct ram_walk count = {.w = NULL};

    if (!stopped_check(m, err))
        return false;
    guest_mem_foreach(m->mem, region_walk, &count);
    if (count.bytes > STREAM_BYTES_MAX)
        return error_set(err, HANOK_ERROR_UNSUPPORTED,
                         "the guest uses %" PRIu64 " MiB of memory; this version saves at most "
                         "%" PRIu64,
                         (uint64_t)(count.bytes / MiB), (uint64_t)(STREAM_BYTES_MAX / MiB));
    state_save(w, &identity_desc, "", &id);
    state_save(w, &ram_desc, "", m);
    if (m->cpus)
        vcpus_save(m, w);
    pthread_mutex_lock(&m->devices.lock);
    device_list_save(&m->devices, w);
    pthread_mutex_unlock(&m->devices.lock);
    return true;
}

static bool parts_load(struct machine *m, struct state_reader *r, GError **err)
{
    bool ok;

    if (!state_load(r, &ram_desc, "", m, err))
        return false;
    pthread_mutex_lock(&m->devices.lock);
    ok = device_list_load(&m->devices, r, err);
    if (ok && m->pci.root)
        pci_host_remap(&m->pci);
    mem_layouts_apply(m->mem);
    pthread_mutex_unlock(&m->devices.lock);
    /* After the interrupt controllers, so that a LAPIC's state meets a complete chip set. */
    return ok && (!m->cpus || vcpus_load(m, r, err)) && state_reader_finish(r, err);
}

bool machine_load(struct machine *m, struct state_reader *r, GError **err)
{
    struct identity id = {.ram_bytes = 0};

    if (!stopped_check(m, err) || !state_load(r, &identity_desc, "", &id, err) ||
        !identity_check(m, &id, err))
        return false;
    vm_clock_set_ns(m->clock, id.clock_ns);
    if (parts_load(m, r, err)) {
        m->asleep = id.asleep;
        m->state = RUN_PAUSED;
        return true;
    }
    /* Half of another machine must not run. */
    m->state = RUN_INTERNAL_ERROR;
    return false;
}
