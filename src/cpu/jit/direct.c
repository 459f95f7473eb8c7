/* direct.c - windows, the pages in them, when they are used; see direct.h. */
#include "direct.h"
#include "tr.h"

#include "base/evloop.h"

#include <glib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>

#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000 /* Linux 4.17 */
#endif

#define HWCAP2_FSGSBASE_BIT 2u /* asm/hwcap2.h */

#define CHUNK_BYTES  (1ull << DIRECT_CHUNK_SHIFT)
#define WINDOW_BYTES (CHUNK_BYTES + 2 * DIRECT_GUARD_BYTES + 2 * MiB)
#define SPACES       4u  /* address spaces of one vcpu */
#define WINDOWS      6u  /* of one address space */
#define GROUP_PAGES  64u /* neighbours that are recorded together and mapped at once if they may */
#define GROUPS       4096u  /* of one address space */
#define BUCKETS      1024u  /* of groups by address */
#define MAPS_ALL     50000u /* mappings of all vcpus together; the host's default limit is 65530 */
/* An address space is mapped when it has been calm for some ticks: no flush, few ways out of
 * translated code (its code is warm), few TLB misses (its memory has been touched). */
#define TICK_NS      3000000u
#define MS_NS        1000000u
#define EXITS_PER_MS 20u
#define FILLS_PER_MS 150u
#define SHORT_NS     6000000u /* what ends sooner was not worth it */
#define WAIT_FIRST   3u       /* ticks, and */
#define WAIT_PAGES   64u /* one for so many pages in the TLB: several times what mapping costs */
#define WAIT_AGAIN   2u  /* the same for one that was mapped before */
#define WAIT_MAX     64u
#define REFUSED_MAX  512u /* faults that no page helps, before the address space is left alone */
/* What an address space may spend on faults: an eighth of its time, saved up to a limit. */
#define CREDIT_SHIFT    3
#define CREDIT_FIRST_NS 4000000
#define CREDIT_USE_NS   3000000 /* without that it is not used */
#define CREDIT_MAX_NS   40000000
#define SIGNAL_NS       5000 /* of a fault, beyond what is measured in its handler */

#define GROUP_BYTES (GROUP_PAGES * GUEST_PAGE_SIZE)

#define ABSENT 0xff       /* a class without a window */
#define NO_CR3 UINT64_MAX /* a space of nobody */

struct group {
    uint64_t linear;             /* of its first page */
    uint64_t here, write, large; /* bits by page: mapped; writable; pieces of a large one */
    struct group *next;          /* in its bucket */
    uintptr_t host[GROUP_PAGES]; /* where the guest's memory has them */
};
struct window {
    uint8_t *reserved;
    uint64_t linear; /* of its first byte */
    uint8_t *base;
};
struct space {
    uint64_t cr3, used; /* used: number of the activation */
    int64_t credit_ns;
    struct window window[WINDOWS];
    unsigned windows, maps, groups;
    bool large;                    /* has pieces of large pages */
    bool low;                      /* the program is in the lowest chunk */
    bool has_gs;                   /* there is a window at distance gs */
    uint64_t gs;                   /* of all that stand in chunk, but DIRECT_STACK's */
    uint8_t chunk[DIRECT_CLASSES]; /* by class: which one has such a window */
    struct group *bucket[BUCKETS];
    struct group group[GROUPS];
};
struct direct {
    struct space *space[SPACES];
    struct space *now; /* whose deltas are in force, while tr.direct */
    uint64_t activations, began_ns;
    int64_t spent_ns; /* since then */
    unsigned maps_max;
    bool gs_works;
    uint64_t flushes; /* of the TLB */
    struct seen_at_tick {
        uint64_t cr3, flushes, ns, exits, fills;
    } tick;
    unsigned calm, wait, refused;
    uint64_t expected;
    bool expects, unmapped; /* unmapped: the last fault was in no window */
};

static uint64_t page_of(uint64_t linear)
{
    return linear & ~(GUEST_PAGE_SIZE - 1);
}

static unsigned index_of(uint64_t linear)
{
    return (linear >> GUEST_PAGE_SHIFT) & (GROUP_PAGES - 1);
}

static struct group **bucket_of(struct space *s, uint64_t linear)
{
    uint64_t number = linear / GROUP_BYTES;
    return &s->bucket[(number ^ number >> 10 ^ number >> 20) & (BUCKETS - 1)];
}

static struct group *group_find(struct space *s, uint64_t linear)
{
    struct group *g = *bucket_of(s, linear);

    while (g && g->linear != (linear & ~(GROUP_BYTES - 1)))
        g = g->next;
    return g;
}

/* NULL: there are no more. */
static struct group *group_for(struct space *s, uint64_t linear)
{
    struct group *g = group_find(s, linear), **head = bucket_of(s, linear);

    if (g || s->groups == GROUPS)
        return g;
    g = &s->group[s->groups++];
    g->linear = linear & ~(GROUP_BYTES - 1);
    g->here = g->write = g->large = 0;
    g->next = *head;
    *head = g;
    return g;
}

static bool is_here(const struct group *g, uint64_t linear)
{
    return g && (g->here & BIT64(index_of(linear)));
}

/* ---- windows ---- */

/* An address that faults, whatever the low bits and the displacement are. */
static uint64_t no_delta(unsigned chunk)
{
    return BIT64(47) + BIT64(46) - ((uint64_t)chunk << DIRECT_CHUNK_SHIFT);
}

/* Distances are negative mostly, which only the instruction takes. */
static void gs_set(const struct direct *d, uint64_t base)
{
    if (d && d->gs_works)
        __asm__ volatile("wrgsbase %0" : : "r"(base));
}

/* While nothing is in force.  A class that is absent is asked for, too, by code that was translated
 * for another program, and an address may have any bits.  So what stands for its chunk is such that
 * chunk + distance, with whatever is above bit 47, is in no user's memory:
 *
 *   distance       chunk   address where bits 63:48 are 0, all set, other
 *   NO_GS          7f      kernel, not canonical (the same for pointers known to be a user's)
 *   gs, negative   ff      2^47 and above, kernel, not canonical
 *   gs, positive   80      2^47 and above, kernel, not canonical
 *   NO_STACK       7f      2^47 and above, kernel, not canonical */
#define NO_GS    0xffff800000000000u
#define NO_STACK BIT64(47)

static void deltas_none(struct jit_cpu *c)
{
    for (unsigned n = 0; n < DIRECT_CHUNKS; n++)
        c->tr.delta[n] = no_delta(n);
    memset(c->tr.chunk, 0x7f, sizeof(c->tr.chunk));
    c->tr.classes = 0;
    c->tr.stack_delta = NO_STACK;
    gs_set(c->direct, NO_GS);
}

static void classes_of(struct jit_cpu *c, const struct space *s)
{
    for (unsigned k = 0; k < DIRECT_CLASSES; k++) {
        if (s->chunk[k] != ABSENT) {
            c->tr.chunk[k] = s->chunk[k];
            c->tr.classes |= BIT(k);
        } else if (k != DIRECT_STACK) {
            c->tr.chunk[k] = !s->has_gs ? 0x7f : s->low ? 0x80 : 0xff;
        }
    }
    if (s->chunk[DIRECT_STACK] != ABSENT)
        c->tr.stack_delta = c->tr.delta[s->chunk[DIRECT_STACK]];
    gs_set(c->direct, s->has_gs ? s->gs : NO_GS);
}

static void deltas_of(struct jit_cpu *c, const struct space *s)
{
    for (unsigned n = 0; n < s->windows; n++) {
        const struct window *w = &s->window[n];
        c->tr.delta[w->linear >> DIRECT_CHUNK_SHIFT] = (uint64_t)(uintptr_t)w->base - w->linear;
    }
    if (c->direct->gs_works)
        classes_of(c, s);
}

static struct window *window_of(struct space *s, uint64_t linear)
{
    for (unsigned n = 0; n < s->windows; n++)
        if (linear - s->window[n].linear < CHUNK_BYTES)
            return &s->window[n];
    return NULL;
}

static uint8_t *place(struct space *s, uint64_t linear)
{
    struct window *w = window_of(s, linear);

    return w->base + (page_of(linear) - w->linear);
}

/* At base, or (0) anywhere. */
static uint8_t *reserve(uint64_t base, uint8_t **reserved)
{
    const uint64_t align = 2 * MiB;
    uint8_t *want = base ? (uint8_t *)(uintptr_t)(base - DIRECT_GUARD_BYTES) : NULL;
    int how = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | (base ? MAP_FIXED_NOREPLACE : 0);
    uint8_t *p = mmap(want, WINDOW_BYTES, PROT_NONE, how, -1, 0);

    if (p == MAP_FAILED)
        return NULL;
    if (want && p != want) { /* a kernel before 4.17 */
        munmap(p, WINDOW_BYTES);
        return NULL;
    }
    *reserved = p;
    return (uint8_t *)ALIGN_UP((uintptr_t)p + DIRECT_GUARD_BYTES, align);
}

/* Programs that are not position-independent are in the lowest chunk; it has a distance of its own.
 * The rest can share one, where the host has nothing. */
static unsigned class_of(const struct space *s, uint64_t chunk)
{
    if (chunk < 0x10)
        return s->low ? DIRECT_LOW : DIRECT_CLASSES;
    if (chunk >= 0x70)
        return s->low ? DIRECT_STACK : DIRECT_HIGH;
    return !s->low && chunk >= 0x50 && chunk < 0x60 ? DIRECT_PROGRAM : DIRECT_CLASSES;
}

#define STEP_CHUNKS 3u /* between the distances that are tried */

static uint8_t *reserve_at_gs(struct space *s, uint64_t linear, uint8_t **reserved)
{
    uint8_t *base = NULL;

    if (s->has_gs)
        return linear + s->gs - DIRECT_GUARD_BYTES < BIT64(47) ? reserve(linear + s->gs, reserved)
                                                               : NULL;
    if (s->low)
        base = reserve(0, reserved);
    for (uint64_t n = STEP_CHUNKS * CHUNK_BYTES; !base && n + CHUNK_BYTES < linear;
         n += STEP_CHUNKS * CHUNK_BYTES)
        base = reserve(linear - n, reserved);
    if (base) {
        s->gs = (uint64_t)(uintptr_t)base - linear;
        s->has_gs = true;
    }
    return base;
}

static bool window_open(struct space *s, uint64_t linear)
{
    struct window *w = &s->window[s->windows];
    unsigned class = class_of(s, linear >> DIRECT_CHUNK_SHIFT);

    if (s->windows == WINDOWS || linear >> 47)
        return false;
    w->linear = linear & ~(CHUNK_BYTES - 1);
    w->base = NULL;
    bool first = class < DIRECT_CLASSES && s->chunk[class] == ABSENT;
    if (first && class != DIRECT_STACK)
        w->base = reserve_at_gs(s, w->linear, &w->reserved);
    first &= w->base || class == DIRECT_STACK;
    if (!w->base)
        w->base = reserve(0, &w->reserved);
    if (!w->base)
        return false;
    if (first)
        s->chunk[class] = (uint8_t)(w->linear >> DIRECT_CHUNK_SHIFT);
    s->windows++;
    return true;
}

static void windows_close(struct space *s)
{
    for (unsigned n = 0; n < s->windows; n++)
        munmap(s->window[n].reserved, WINDOW_BYTES);
    s->windows = 0;
    s->has_gs = false;
    memset(s->chunk, ABSENT, sizeof(s->chunk));
}

/* ---- pages ---- */

static bool hide(uint8_t *at, uint64_t bytes)
{
    return mmap(at, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1,
                0) != MAP_FAILED;
}

static void all_drop(struct space *s)
{
    windows_close(s);
    memset(s->bucket, 0, sizeof(s->bucket));
    s->groups = s->maps = 0;
    s->large = false;
}

/* What is left to spend. */
static int64_t credit(const struct direct *d, int64_t now_ns)
{
    int64_t left = d->now->credit_ns - d->spent_ns;

    left += (now_ns - (int64_t)d->began_ns) >> CREDIT_SHIFT;
    return MIN_OF(left, CREDIT_MAX_NS);
}

/* What is used no longer faults.  (Its own code may be running: it finds that out by faulting.) */
static void leave(struct jit_cpu *c)
{
    if (!c->tr.direct)
        return;
    c->direct->now->credit_ns = credit(c->direct, (int64_t)host_clock_ns());
    c->tr.direct = false;
    c->direct->now = NULL;
    deltas_none(c);
}

/* The host has no more mappings, or we no more records. */
static void give_up(struct jit_cpu *c, struct space *s)
{
    if (c->direct->now == s)
        leave(c);
    all_drop(s);
}

/* False: all are gone. */
static bool pages_drop(struct jit_cpu *c, struct space *s, struct group *g, uint64_t which)
{
    which &= g->here;
    g->here &= ~which;
    while (which) {
        unsigned first = (unsigned)__builtin_ctzll(which), n = 1;
        while (first + n < GROUP_PAGES && (which >> (first + n) & 1))
            n++;
        for (unsigned k = 0; k < n; k++)
            which &= ~BIT64(first + k);
        s->maps++;
        if (!hide(place(s, g->linear + first * GUEST_PAGE_SIZE), n * GUEST_PAGE_SIZE)) {
            give_up(c, s);
            return false;
        }
    }
    return true;
}

/* Where a linear page is, and what may be done with it. */
struct found {
    const struct guest_region *region;
    uint64_t offset; /* of the page in the region */
    bool write, large;
};

static bool found_at(struct jit_cpu *c, const struct walk *w, struct found *f)
{
    uint64_t phys = page_of(smm_phys(c, w->phys));
    const struct guest_region *r = sys_of(c)->ram;

    if (!r || phys - r->gpa >= r->size_bytes)
        r = guest_mem_find(c->set->cfg.mem, GPA(phys));
    if (!r || r->fd < 0 || r->kind != GUEST_RAM || w->shift > 21 || mmu_is_apic_page(c, phys))
        return false;
    *f = (struct found){.region = r,
                        .offset = phys - r->gpa,
                        .large = w->shift > GUEST_PAGE_SHIFT,
                        .write = w->writable && w->dirty && mmu_may_write(c, r, phys - r->gpa)};
    return true;
}

/* What the guest's tables say of a page that has been accessed (written: dirty), without a trace.
 */
static bool look(struct jit_cpu *c, uint64_t linear, struct found *f)
{
    struct walk w;

    return mmu_walk_quick(c, linear, ACC_READ, true, &w) && found_at(c, &w, f);
}

/* The neighbour is mapped in one go when it lies next to it in memory, too, and is ready. */
static bool same_run(struct jit_cpu *c, const struct group *g, const struct found *f,
                     uint64_t linear, int64_t by)
{
    struct found n = *f;

    if (is_here(g, linear))
        return false;
    if (f->large) {
        n.offset += (uint64_t)by;
        if (n.offset >= f->region->size_bytes)
            return false;
        n.write = f->write && mmu_may_write(c, f->region, n.offset);
    } else if (!look(c, linear, &n)) {
        return false;
    }
    return n.region == f->region && (int64_t)(n.offset - f->offset) == by && n.write == f->write;
}

static void run_around(struct jit_cpu *c, const struct group *g, const struct found *f,
                       uint64_t linear, uint64_t *first, uint64_t *end)
{
    const int64_t page = (int64_t)GUEST_PAGE_SIZE;
    int64_t low = -(int64_t)(linear - g->linear), high = low + (int64_t)GROUP_BYTES, a = 0, b = 0;

    while (b + page < high && same_run(c, g, f, linear + (uint64_t)(b + page), b + page))
        b += page;
    while (a > low && same_run(c, g, f, linear + (uint64_t)(a - page), a - page))
        a -= page;
    *first = linear + (uint64_t)a;
    *end = linear + (uint64_t)(b + page);
}

static void record(struct space *s, struct group *g, const struct found *f, uint64_t linear,
                   uintptr_t host)
{
    unsigned n = index_of(linear);
    uint64_t bit = BIT64(n);

    g->here |= bit;
    g->write = f->write ? g->write | bit : g->write & ~bit;
    g->large = f->large ? g->large | bit : g->large & ~bit;
    g->host[n] = host;
    s->large |= f->large;
}

/* Others of this vcpu's go first. */
static bool maps_left(struct jit_cpu *c)
{
    struct direct *d = c->direct;
    struct space *most = NULL;
    unsigned maps = 0;

    for (unsigned n = 0; n < SPACES; n++) {
        struct space *s = d->space[n];
        maps += s ? s->maps : 0;
        if (s && s != d->now && (!most || s->maps > most->maps))
            most = s;
    }
    if (maps < d->maps_max)
        return true;
    if (!most || most->maps < d->maps_max / 8)
        return false;
    all_drop(most);
    return true;
}

static bool map_run(struct jit_cpu *c, struct space *s, const struct found *f, uint64_t linear)
{
    struct group *g = group_for(s, linear);
    uint64_t first, end;

    if (!g || !maps_left(c))
        return false;
    run_around(c, g, f, linear, &first, &end);
    uint64_t offset = f->offset - (linear - first);
    s->maps++;
    if (mmap(place(s, first), end - first, PROT_READ | (f->write ? PROT_WRITE : 0),
             MAP_SHARED | MAP_FIXED | (end - first > GUEST_PAGE_SIZE ? MAP_POPULATE : 0),
             f->region->fd, (off_t)(f->region->fd_offset_bytes + offset)) == MAP_FAILED)
        return false;
    for (uint64_t at = first; at < end; at += GUEST_PAGE_SIZE)
        record(s, g, f, at, (uintptr_t)f->region->host + offset + (at - first));
    TR_COUNT(c->tr.cache->stats.direct_pages, (end - first) / GUEST_PAGE_SIZE);
    return true;
}

/* Maps linear's page and what goes with it. */
static bool page_map(struct jit_cpu *c, struct space *s, uint64_t linear, bool write)
{
    unsigned access = write ? ACC_WRITE : ACC_READ;
    struct walk w;
    struct found f;
    uint32_t error;

    linear = page_of(linear);
    if (!mmu_walk_quick(c, linear, access, true, &w) &&
        !mmu_walk(c, linear, access, true, true, &w, &error))
        return false;
    if (!found_at(c, &w, &f) || (write && !f.write))
        return false;
    if (map_run(c, s, &f, linear))
        return true;
    give_up(c, s);
    return false;
}

/* ---- using and leaving an address space ---- */

/* Those of a group that are no longer what the guest's tables say. */
static uint64_t wrong_in(struct jit_cpu *c, const struct group *g)
{
    uint64_t wrong = 0;

    for (uint64_t left = g->here; left; left &= left - 1) {
        unsigned n = (unsigned)__builtin_ctzll(left);
        bool write = g->write >> n & 1;
        uint64_t linear = g->linear + n * GUEST_PAGE_SIZE;
        struct walk w;
        struct found f;
        uint32_t error;
        if ((!mmu_walk_quick(c, linear, ACC_READ, true, &w) &&
             !mmu_walk(c, linear, ACC_READ, true, true, &w, &error)) ||
            !found_at(c, &w, &f) || (uintptr_t)f.region->host + f.offset != g->host[n] ||
            (write && !f.write) || f.large != (g->large >> n & 1))
            wrong |= BIT64(n);
    }
    return wrong;
}

/* Takes away what is no longer true; false: that was most, another program has these page tables
 * now. */
static bool compare(struct jit_cpu *c, struct space *s)
{
    unsigned wrong = 0, right = 0;

    for (unsigned n = 0; n < s->groups; n++) {
        struct group *g = &s->group[n];
        uint64_t which = wrong_in(c, g);
        wrong += (unsigned)__builtin_popcountll(which);
        if (wrong > 64 + 2 * right)
            return false;
        if (which && !pages_drop(c, s, g, which))
            return false;
        right += (unsigned)__builtin_popcountll(g->here);
    }
    return true;
}

static struct space *space_find(struct direct *d, uint64_t cr3)
{
    for (unsigned n = 0; n < SPACES; n++)
        if (d->space[n] && d->space[n]->cr3 == cr3)
            return d->space[n];
    return NULL;
}

/* In the place of the one that was not used for longest. */
static struct space *space_new(struct direct *d, uint64_t cr3)
{
    struct space **oldest = &d->space[0];

    for (unsigned n = 0; n < SPACES; n++) {
        struct space **s = &d->space[n];
        if (*oldest && (!*s || (*s)->used < (*oldest)->used))
            oldest = s;
    }
    if (!*oldest) {
        void *p = mmap(NULL, sizeof(struct space), PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (p == MAP_FAILED)
            return NULL;
        *oldest = p;
    }
    all_drop(*oldest);
    (*oldest)->cr3 = cr3;
    (*oldest)->credit_ns = CREDIT_FIRST_NS;
    return *oldest;
}

static bool may_use(const struct jit_cpu *c)
{
    return c->cpl == 3 && c->mode == MODE_LONG64 && c->tlb_ctx == TLB_CTX_USER &&
           !(c->st.dr[7] & 0xff);
}

/* Has the program touched the lowest chunk? */
static bool has_low(const struct jit_cpu *c)
{
    const struct tlb_ctx *t = &c->tlb[TLB_CTX_USER];

    for (unsigned n = 0; n < t->log[0].count; n++)
        if (t->page[t->log[0].slot[n]].tag - GROUP_BYTES < CHUNK_BYTES - GROUP_BYTES)
            return true;
    return false;
}

static void use(struct jit_cpu *c, uint64_t now_ns)
{
    struct direct *d = c->direct;
    struct space *s = space_find(d, c->st.cr3);

    if (!s)
        s = space_new(d, c->st.cr3);
    if (!s)
        return;
    if (!compare(c, s)) { /* which has to be calm first */
        all_drop(s);
        s->cr3 = NO_CR3;
        return;
    }
    if (!s->windows)
        s->low = c->st.rip < CHUNK_BYTES || has_low(c);
    s->used = ++d->activations;
    d->now = s;
    d->began_ns = now_ns;
    d->refused = 0;
    d->spent_ns = 0;
    d->expects = false;
    deltas_none(c);
    deltas_of(c, s);
    c->tr.direct = true;
    TR_COUNT(c->tr.cache->stats.direct_spaces, 1);
}

/* About so many, since the last flush. */
static unsigned pages_in_use(const struct jit_cpu *c)
{
    return c->tlb[TLB_CTX_USER].log[0].count;
}

void direct_tick(struct jit_cpu *c)
{
    struct direct *d = c->direct;

    if (!d || c->tr.direct || !may_use(c))
        return;
    const struct tr_stats *stats = &c->tr.cache->stats;
    struct seen_at_tick was = d->tick, now = {.cr3 = c->st.cr3,
                                              .flushes = d->flushes,
                                              .ns = (uint64_t)host_clock_ns(),
                                              .exits = stats->exits,
                                              .fills = stats->fills};
    uint64_t ns = now.ns - was.ns;
    if (ns < TICK_NS && was.cr3 == now.cr3 && was.flushes == now.flushes)
        return;
    d->tick = now;
    struct space *s = space_find(d, now.cr3);
    if (s && was.cr3 == now.cr3)
        s->credit_ns = MIN_OF(s->credit_ns + (int64_t)(ns >> CREDIT_SHIFT), CREDIT_MAX_NS);
    if (ns < TICK_NS || was.cr3 != now.cr3 || was.flushes != now.flushes ||
        (now.exits - was.exits) * MS_NS > ns * EXITS_PER_MS ||
        (now.fills - was.fills) * MS_NS > ns * FILLS_PER_MS) {
        d->calm = 0;
        return;
    }
    d->calm++;
    if (!s ? d->calm >= MAX_OF(d->wait, WAIT_FIRST + pages_in_use(c) / WAIT_PAGES)
           : d->calm >= MAX_OF(d->wait, WAIT_AGAIN) && s->credit_ns >= CREDIT_USE_NS) {
        d->calm = 0;
        use(c, now.ns);
    }
}

bool direct_now(struct jit_cpu *c)
{
    if (!c->direct || c->tr.direct || !may_use(c))
        return false;
    use(c, (uint64_t)host_clock_ns());
    return c->tr.direct;
}

void direct_flush(struct jit_cpu *c)
{
    struct direct *d = c->direct;

    if (!d)
        return;
    d->flushes++;
    if (!c->tr.direct)
        return;
    bool brief = (uint64_t)host_clock_ns() - d->began_ns < SHORT_NS;
    d->wait = brief ? MIN_OF(d->wait * 2, WAIT_MAX) : 1;
    leave(c);
}

static void large_drop(struct jit_cpu *c, struct space *s, uint64_t linear)
{
    uint64_t first = linear & ~(2 * MiB - 1);

    for (uint64_t at = first; at < first + 2 * MiB; at += GROUP_BYTES) {
        struct group *g = group_find(s, at);
        if (g && g->large && !pages_drop(c, s, g, g->large))
            return;
    }
}

void direct_flush_page(struct jit_cpu *c, uint64_t linear)
{
    struct space *s = c->tr.direct ? c->direct->now : NULL;

    if (!s)
        return;
    struct group *g = group_find(s, linear);
    if (is_here(g, linear) && !pages_drop(c, s, g, BIT64(index_of(linear))))
        return;
    if (s->large)
        large_drop(c, s, linear);
}

void direct_revoke(struct jit_cpu *c, uintptr_t host)
{
    struct space *s = c->tr.direct ? c->direct->now : NULL;

    for (unsigned n = 0; s && n < s->groups; n++) {
        struct group *g = &s->group[n];
        for (uint64_t left = g->here & g->write; left; left &= left - 1) {
            unsigned k = (unsigned)__builtin_ctzll(left);
            if (g->host[k] == host && !pages_drop(c, s, g, BIT64(k)))
                return;
        }
    }
}

/* ---- faults ---- */

/* When faults take too much of the time the address space is left, what is mapped stays. */
static bool fault_in(struct jit_cpu *c, uint64_t linear, bool write)
{
    struct direct *d = c->direct;
    int64_t start = (int64_t)host_clock_ns();
    bool ok = page_map(c, d->now, linear, write);
    int64_t now = (int64_t)host_clock_ns();

    d->spent_ns += now - start + SIGNAL_NS;
    if (d->now && credit(d, now) < 0) {
        leave(c);
        return false;
    }
    return ok;
}

bool direct_fault(struct jit_cpu *c, uintptr_t host, bool write)
{
    struct direct *d = c->direct;

    d->unmapped = false;
    if (!c->tr.direct)
        return false;
    for (unsigned n = 0; n < d->now->windows; n++) {
        struct window *w = &d->now->window[n];
        if (host - (uintptr_t)w->base < CHUNK_BYTES) {
            TR_COUNT(c->tr.cache->stats.direct_faults, 1);
            return fault_in(c, w->linear + (host - (uintptr_t)w->base), write);
        }
    }
    d->unmapped = true;
    return false;
}

void direct_missed(struct jit_cpu *c, uint64_t linear)
{
    struct direct *d = c->direct;

    if (!c->tr.direct)
        return;
    if (++d->refused > REFUSED_MAX) { /* stores to code, devices: better by the TLB */
        d->wait = WAIT_MAX;
        leave(c);
        return;
    }
    if (!d->unmapped || linear >> 47 || window_of(d->now, linear))
        return;
    if (window_open(d->now, linear))
        deltas_of(c, d->now);
}

void direct_expect(struct jit_cpu *c, uint64_t linear)
{
    struct direct *d = c->direct;

    if (!c->tr.direct)
        return;
    d->expects = true;
    d->expected = linear;
    d->refused -= d->refused > 0;
}

void direct_expected(struct jit_cpu *c)
{
    struct direct *d = c->direct;

    if (!d->expects)
        return;
    d->expects = false;
    if (!d->now || !window_of(d->now, d->expected) ||
        is_here(group_find(d->now, d->expected), d->expected))
        return;
    (void)fault_in(c, d->expected, false);
}

/* ---- life ---- */

bool direct_init(struct jit_cpu *c)
{
    deltas_none(c);
    if (c->cosim || !c->tr.cache->bmi2 || !set_of(c)->tr.direct)
        return false;
    c->direct = g_new0(struct direct, 1);
    c->direct->wait = 1;
    c->direct->gs_works = getauxval(AT_HWCAP2) & HWCAP2_FSGSBASE_BIT;
    c->direct->maps_max = MAPS_ALL / MAX_OF(c->set->count, 1);
    return true;
}

void direct_fini(struct jit_cpu *c)
{
    if (!c->direct)
        return;
    c->tr.direct = false;
    for (unsigned n = 0; n < SPACES; n++) {
        struct space *s = c->direct->space[n];
        if (!s)
            continue;
        windows_close(s);
        munmap(s, sizeof(*s));
    }
    g_free(c->direct);
    c->direct = NULL;
}
