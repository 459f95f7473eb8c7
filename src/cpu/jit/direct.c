/* direct.c - which pages are mapped, and when they are used; see direct.h. */
#include "direct_space.h"
#include "tr.h"

#include "base/evloop.h"

#include <glib.h>
#include <string.h>
#include <sys/mman.h>

#define SPACES   4u     /* address spaces of one vcpu */
#define MAPS_ALL 32000u /* mappings of all vcpus together; hosts allow a process 65530 */
/* An address space is mapped when it has been calm for some ticks: no flush, few ways out of
 * translated code (its code is warm), few TLB misses (its memory has been touched). */
#define TICK_NS      3000000u
#define MS_NS        1000000u
#define EXITS_PER_MS 20u
#define FILLS_PER_MS 150u
#define SHORT_NS     6000000u /* what ends sooner was not worth it */
#define WAIT_FIRST   3u       /* ticks, and */
#define FEW_PAGES    1024u    /* one for WAIT_FEW pages in the TLB where that is all, */
#define WAIT_FEW     256u
#define WAIT_PAGES   64u /* else for so many: several times what mapping costs */
#define WAIT_AGAIN   2u  /* the same for one that was mapped before */
#define WAIT_MAX     64u
#define WANDERED_MAX 32u  /* times that RSP is elsewhere, before it is not relied on */
#define REFUSED_MAX  512u /* faults that no page helps, before the address space is left alone */
/* What an address space may spend on faults: an eighth of its time, saved up to a limit. */
#define CREDIT_SHIFT    3
#define CREDIT_FIRST_NS 4000000
#define CREDIT_USE_NS   3000000 /* without that it is not used */
#define CREDIT_MAX_NS   40000000
#define REVIEW_NS       1000000000u
#define SIGNAL_NS       5000 /* of a fault, beyond what is measured in its handler */

struct direct {
    struct space *space[SPACES];
    struct space *now; /* whose deltas are in force, while tr.direct */
    uint64_t activations, began_ns, reviewed_ns;
    int64_t spent_ns; /* since then */
    unsigned maps_max;
    uint64_t flushes; /* of the TLB */
    struct seen_at_tick {
        uint64_t cr3, flushes, ns, exits, fills;
    } tick;
    unsigned calm, wait, refused, wandered;
    uint64_t expected;
    bool expects, unmapped; /* unmapped: the last fault was in no window */
};

/* ---- pages ---- */

static bool hide(uint8_t *at, uint64_t bytes)
{
    return mmap(at, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1,
                0) != MAP_FAILED;
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
    space_none_in_force(c);
}

/* The host has no more mappings, or we no more records. */
static void give_up(struct jit_cpu *c, struct space *s)
{
    if (c->direct->now == s)
        leave(c);
    space_empty(s);
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
        s->maps += 2; /* what it lies in becomes two */
        if (!hide(space_place(s, g->linear + first * GUEST_PAGE_SIZE), n * GUEST_PAGE_SIZE)) {
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

static void record(struct group *g, const struct found *f, uint64_t linear, uintptr_t host)
{
    unsigned n = index_of(linear);
    uint64_t bit = BIT64(n);

    g->here |= bit;
    g->write = f->write ? g->write | bit : g->write & ~bit;
    g->large = f->large ? g->large | bit : g->large & ~bit;
    g->host[n] = host;
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
    space_empty(most);
    return true;
}

static bool map_run(struct jit_cpu *c, struct space *s, const struct found *f, uint64_t linear)
{
    struct group *g = space_group_new(s, linear);
    uint64_t first, end;

    if (!g || !maps_left(c))
        return false;
    run_around(c, g, f, linear, &first, &end);
    uint64_t offset = f->offset - (linear - first);
    s->maps += 2;
    if (mmap(space_place(s, first), end - first, PROT_READ | (f->write ? PROT_WRITE : 0),
             MAP_SHARED | MAP_FIXED | (end - first > GUEST_PAGE_SIZE ? MAP_POPULATE : 0),
             f->region->fd, (off_t)(f->region->fd_offset_bytes + offset)) == MAP_FAILED)
        return false;
    for (uint64_t at = first; at < end; at += GUEST_PAGE_SIZE)
        record(g, f, at, (uintptr_t)f->region->host + offset + (at - first));
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

/* Those of a group that are no longer what the guest's tables say, or that the guest has marked as
 * not accessed: it wants to hear of the next access.  (But for the first one that is walked for: it
 * finds the others' page table.) */
static uint64_t wrong_in(struct jit_cpu *c, const struct group *g)
{
    uint64_t wrong = 0;
    bool walked = false;

    for (uint64_t left = g->here; left; left &= left - 1) {
        unsigned n = (unsigned)__builtin_ctzll(left);
        bool write = g->write >> n & 1, large = g->large >> n & 1, there;
        uint64_t linear = g->linear + n * GUEST_PAGE_SIZE;
        struct walk w;
        struct found f;
        uint32_t error;

        there = mmu_walk_quick(c, linear, ACC_READ, true, &w);
        if (!there && (!walked || large))
            walked = there = mmu_walk(c, linear, ACC_READ, true, true, &w, &error);
        if (!there || !found_at(c, &w, &f) || (uintptr_t)f.region->host + f.offset != g->host[n] ||
            (write && !f.write) || f.large != large)
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

static bool any_page(const struct space *s)
{
    for (unsigned n = 0; n < s->groups; n++)
        if (s->group[n].here)
            return true;
    return false;
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
    space_empty(*oldest);
    (*oldest)->cr3 = cr3;
    (*oldest)->credit_ns = CREDIT_FIRST_NS;
    return *oldest;
}

static bool may_use(struct jit_cpu *c)
{
    const struct guest_region *ram = sys_of(c)->ram;

    return (!ram || ram->fd >= 0) && c->cpl == 3 && c->mode == MODE_LONG64 &&
           c->tlb_ctx == TLB_CTX_USER && !(c->st.dr[7] & 0xff);
}

/* The n'th page that was touched since the last flush; 0: none, or it was taken away since. */
static uint64_t touched(const struct tlb_ctx *t, unsigned n)
{
    unsigned slot = t->log[0].slot[n];
    uint64_t linear = t->page[slot].tag;

    return linear == tlb_none(slot) || linear >> 47 || linear < GROUP_BYTES ? 0 : linear;
}

/* A window for each chunk that the program has touched: what is translated now expects them. */
static void windows_open(struct jit_cpu *c, struct space *s)
{
    const struct tlb_ctx *t = &c->tlb[TLB_CTX_USER];

    s->low = c->st.rip < CHUNK_BYTES;
    for (unsigned n = 0; n < t->log[0].count && !s->low; n++)
        s->low = touched(t, n) && touched(t, n) < CHUNK_BYTES;
    (void)space_open(s, c->st.gpr[R_RSP]);
    for (unsigned n = 0; n < t->log[0].count; n++) {
        uint64_t linear = touched(t, n);
        if (!linear || space_window(s, linear))
            continue;
        if (!space_open(s, linear))
            return;
    }
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
        space_empty(s);
        s->cr3 = NO_CR3;
        return;
    }
    if (!any_page(s)) /* perhaps another program's: its page tables are where others were */
        space_empty(s);
    if (!s->windows)
        windows_open(c, s);
    s->used = ++d->activations;
    d->now = s;
    d->began_ns = d->reviewed_ns = now_ns;
    d->refused = d->wandered = 0;
    d->spent_ns = 0;
    d->expects = false;
    space_none_in_force(c);
    space_in_force(c, s);
    c->tr.direct = true;
    TR_COUNT(c->tr.cache->stats.direct_spaces, 1);
}

/* Now and then, so that the guest's accessed bits say something. */
static void review(struct jit_cpu *c)
{
    struct direct *d = c->direct;
    uint64_t now = (uint64_t)host_clock_ns();

    if (now - d->reviewed_ns < REVIEW_NS)
        return;
    d->reviewed_ns = now;
    if (!compare(c, d->now))
        leave(c);
}

/* Ticks that an address space has to be calm, by the pages in the TLB since the last flush. */
static unsigned wait_first(const struct jit_cpu *c)
{
    unsigned pages = c->tlb[TLB_CTX_USER].log[0].count;

    return WAIT_FIRST + pages / (pages < FEW_PAGES ? WAIT_FEW : WAIT_PAGES);
}

void direct_tick(struct jit_cpu *c)
{
    struct direct *d = c->direct;

    if (!d || !may_use(c))
        return;
    if (c->tr.direct) {
        review(c);
        return;
    }
    const struct tr_stats *stats = &c->tr.cache->stats;
    struct seen_at_tick was = d->tick, now = {.cr3 = c->st.cr3,
                                              .flushes = d->flushes,
                                              .ns = (uint64_t)host_clock_ns(),
                                              .exits = stats->exits,
                                              .fills = stats->fills};
    uint64_t ns = now.ns - was.ns;
    bool same = was.cr3 == now.cr3 && was.flushes == now.flushes;
    if (same && ns < TICK_NS)
        return;
    d->tick = now;
    struct space *s = space_find(d, now.cr3);
    if (s && was.cr3 == now.cr3)
        s->credit_ns = MIN_OF(s->credit_ns + (int64_t)(ns >> CREDIT_SHIFT), CREDIT_MAX_NS);
    if (!same || (now.exits - was.exits) * MS_NS > ns * EXITS_PER_MS ||
        (now.fills - was.fills) * MS_NS > ns * FILLS_PER_MS) {
        d->calm = 0;
        return;
    }
    d->calm++;
    if (!s ? d->calm >= MAX_OF(d->wait, wait_first(c))
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
        struct group *g = space_group(s, at);
        if (g && g->large && !pages_drop(c, s, g, g->large))
            return;
    }
}

void direct_flush_page(struct jit_cpu *c, uint64_t linear)
{
    struct space *s = c->tr.direct ? c->direct->now : NULL;

    if (!s)
        return;
    struct group *g = space_group(s, linear);
    if (is_here(g, linear) && !pages_drop(c, s, g, BIT64(index_of(linear))))
        return;
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
    if (!d->unmapped || linear >> 47 || space_window(d->now, linear))
        return;
    if (space_open(d->now, linear))
        space_in_force(c, d->now);
}

void direct_stack_elsewhere(struct jit_cpu *c)
{
    struct space *s = c->direct->now;

    if (++c->direct->wandered < WANDERED_MAX)
        return;
    s->stack_wanders = true;
    space_stack_nowhere(c);
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
    if (!d->now || !space_window(d->now, d->expected) ||
        is_here(space_group(d->now, d->expected), d->expected))
        return;
    (void)fault_in(c, d->expected, false);
}

/* ---- life ---- */

void direct_init(struct jit_cpu *c)
{
    space_none_in_force(c);
    if (c->cosim || !c->tr.cache->bmi2 || !set_of(c)->tr.direct)
        return;
    c->direct = g_new0(struct direct, 1);
    c->direct->wait = 1;
    c->direct->maps_max = MAPS_ALL / MAX_OF(c->set->cfg.topology.maxcpus, 1);
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
        space_empty(s);
        munmap(s, sizeof(*s));
    }
    g_free(c->direct);
    c->direct = NULL;
}
