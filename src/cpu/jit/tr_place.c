/* tr_place.c - code that runs at any address.
 *
 * Each process has the same libraries and programs somewhere else.  So translations of user code
 * above 4 GiB know their own addresses only by distances from the beginning of their page, and that
 * page has a *place*: a struct in low memory that says where it is just now.
 *
 *   base    is right while code of the page runs: it changes only when the page is entered
 *   minus   -base, while the exec TLB has the page there: what a jump from another page looks at
 *
 * A jump to another page goes on when base of its own page, the distance and minus of the other one
 * add up to zero; a return, when the address that was returned to and minus do.  So nothing has to
 * be translated anew, nor linked, when a program is started again.  A page that is mapped twice in
 * one address space has one place; going back and forth leads through C each time.
 *
 * A page is a host page and the key its code runs under.  Numbers (ids) are still those of a page
 * at an address, as the table of indirect jumps wants them; the last few of each place are
 * remembered, for the processes that take turns. */
#include "tr.h"

#include <glib.h>

#define RECENT  4u
#define BUCKETS (TR_PLACES * 2)

struct known {
    uintptr_t host;
    uint32_t key;
    uint32_t id[RECENT]; /* of the page at ..., last used first; 0: none */
    uint64_t base[RECENT];
};

struct tr_places {
    unsigned count; /* place 0 is none's */
    uint16_t bucket[BUCKETS];
    struct known known[TR_PLACES];
};

struct tr_places *tr_places_new(void)
{
    struct tr_places *p = g_new0(struct tr_places, 1);

    p->count = 1;
    return p;
}

void tr_places_free(struct tr_places *p)
{
    g_free(p);
}

bool tr_places_any(const struct tr_cache *k)
{
    return k->places->count > 1;
}

void tr_places_forget(struct tr_cache *k)
{
    struct tr_places *p = k->places;

    memset(p->bucket, 0, sizeof(p->bucket));
    memset(p->known, 0, p->count * sizeof(*p->known));
    p->count = 1;
}

static uint16_t *bucket_of(struct tr_places *p, uintptr_t host, uint32_t key)
{
    uint64_t h = (host >> GUEST_PAGE_SHIFT) * 0x9e3779b97f4a7c15ull ^ key * 0x165667b19e3779f9ull;
    uint32_t n = (uint32_t)(h >> 32) & (BUCKETS - 1);

    while (p->bucket[n] &&
           (p->known[p->bucket[n]].host != host || p->known[p->bucket[n]].key != key))
        n = (n + 1) & (BUCKETS - 1);
    return &p->bucket[n];
}

static unsigned place_of(struct tr_places *p, uintptr_t host, uint32_t key)
{
    uint16_t *b = bucket_of(p, host, key);

    if (!*b && p->count < TR_PLACES) {
        *b = (uint16_t)p->count++;
        p->known[*b].host = host;
        p->known[*b].key = key;
    }
    return *b;
}

/* Number n of those that are known comes first. */
static void first(struct known *p, unsigned n, uint32_t id, uint64_t base)
{
    memmove(p->id + 1, p->id, n * sizeof(*p->id));
    memmove(p->base + 1, p->base, n * sizeof(*p->base));
    p->id[0] = id;
    p->base[0] = base;
}

static uint32_t id_at(struct tr_cache *k, struct known *p, uint64_t linear)
{
    unsigned n = 0;

    while (n < RECENT && (p->base[n] != linear || !p->id[n]))
        n++;
    if (n == RECENT)
        first(p, RECENT - 1, k->next_id++, linear);
    else
        first(p, n, p->id[n], linear);
    return p->id[0];
}

static void number_forget(struct tlb_ctx *x, unsigned place)
{
    unsigned slot = tlb_exec_index(x->place[place].base);

    if (x->exec_place[slot] == place)
        mmu_exec_number_forget(x, slot);
}

static uint64_t direct_base(const struct jit_cpu *c, uint64_t linear)
{
    return linear + c->tr.delta[linear >> DIRECT_CHUNK_SHIFT & (DIRECT_CHUNKS - 1)];
}

uint32_t tr_place_enter(struct jit_cpu *c, uint64_t linear, uint32_t key)
{
    struct tr_cache *k = c->tr.cache;
    struct tlb_ctx *x = c->tlb_now;
    unsigned slot = tlb_exec_index(linear);
    unsigned n = place_of(k->places, x->exec[slot].host, key);

    if (!n || k->next_id == UINT32_MAX) {
        k->full = true;
        return 0;
    }
    if (k->place[n].base != linear)
        number_forget(x, n);
    k->place[n] = (struct tr_place){linear, 0 - linear, direct_base(c, linear)};
    x->exec_place[slot] = (uint16_t)n;
    return id_at(k, &k->places->known[n], linear);
}

void tr_place_drop(struct jit_cpu *c, unsigned place)
{
    struct known *p = &c->tr.cache->places->known[place];

    memset(p->id, 0, sizeof(p->id));
    number_forget(&c->tlb[TLB_CTX_USER], place);
}

void tr_places_moved(struct jit_cpu *c)
{
    struct tr_cache *k = c->tr.cache;

    for (unsigned n = 1; k && n < k->places->count; n++)
        k->place[n].host = direct_base(c, k->place[n].base);
}
