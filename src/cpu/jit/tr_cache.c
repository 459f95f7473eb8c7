/* tr_cache.c - where translations live: code space, finding, linking, dropping.
 *
 * One cache a vcpu: nobody else runs, changes or frees what is in it, so that none of this needs a
 * lock.  What other threads have to say (stores to code, stop) reaches the vcpu through
 * its pending bits, at a poll.
 *
 * The code is memory mapped twice, writable here and executable there, never both at one address
 * (W^X).  Pages of the writable side that were written some time ago are let go (the memory is the
 * executable side's; a link that is patched later brings its page back).  The executable side, this
 * struct and struct jit_cpu lie below 2 GiB, so that translated code reaches all of it with 32-bit
 * addresses.
 *
 * The lower half holds the main paths, the upper one what was put aside (misses, stubs), so that
 * the processor's instruction cache holds what is run.
 *
 * LINKS.  A jump to a known address goes to its own stub until the target is translated, then to
 * the target; where that lies right behind it, NOPs take the jump's place.  The target knows who
 * jumps there (`in`): when it is dropped they go back to their stubs. A dropped block's own jumps
 * stay linked, because its landings may still stand on the stack of return addresses; its bytes
 * stay until the cache is emptied.
 *
 * PAGES.  A code page is a linear page, the host page behind it and the key it runs under; it has a
 * number that is never used for another one.  The exec TLB says which number a linear page has now.
 * A jump into another page compares that with the number it was linked for, so page-table changes
 * and address-space switches need not touch a single block. */
#include "tr_emit.h"

#include "base/areas.h"
#include "base/log.h"

#include <errno.h>
#include <glib.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#define TBLOCK_MAX    8192u /* far above what one with 40 instructions takes */
#define WRITTEN_MAX   (2 * MiB)
#define RET_STACK     (64 * KiB)
#define RET_BOTTOM    256u /* of it: pairs that no return address equals */
#define PAGES_INITIAL 4096u
#define GRAIN_SHIFT   8 /* of tr_cache.grain */

struct tr_page {
    uint64_t linear;
    uintptr_t host;
    uint32_t key, id;
};

/* ---- memory below 2 GiB ---- */

void *tr_low_alloc(size_t bytes)
{
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_32BIT, -1, 0);
    return p == MAP_FAILED ? NULL : p;
}

/* The same shared pages twice; perf finds the names of such code in its map file. */
static bool map_code(struct tr_cache *k)
{
    void *rw = mmap(NULL, k->bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    void *at = tr_low_alloc(k->bytes);

    if (rw == MAP_FAILED || !at) {
        if (rw != MAP_FAILED)
            munmap(rw, k->bytes);
        if (at)
            munmap(at, k->bytes);
        return false;
    }
    k->rw = rw;
    k->rx = mremap(rw, 0, k->bytes, MREMAP_MAYMOVE | MREMAP_FIXED, at);
    if (k->rx == MAP_FAILED) {
        k->rx = NULL;
        munmap(at, k->bytes);
    }
    return k->rx && mprotect(k->rx, k->bytes, PROT_READ | PROT_EXEC) == 0;
}

#define RET_EACH (RET_STACK + GUEST_PAGE_SIZE) /* with its guard page */

static bool map_ret_stack(struct tr_cache *k)
{
    uint8_t *p = mmap(NULL, 2 * RET_EACH, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (p == MAP_FAILED)
        return false;
    k->ret_stack = p;
    for (unsigned n = 0; n < 2; n++, p += RET_EACH) {
        mprotect(p, GUEST_PAGE_SIZE, PROT_NONE);
        k->ret_top[n] = (uint64_t)(uintptr_t)(p + RET_EACH - RET_BOTTOM);
        for (unsigned w = 0; w < RET_BOTTOM / 8; w++)
            ((uint64_t *)(uintptr_t)k->ret_top[n])[w] = 1ull << 63;
    }
    return true;
}

static void ret_stacks_empty(struct jit_cpu *c)
{
    const struct tr_cache *k = c->tr.cache;

    c->tr.ret_sp = k->ret_top[c->tr.ret_kernel];
    c->tr.ret_other = k->ret_top[!c->tr.ret_kernel];
}

/* The words on top stay (a pair that is half pushed, glue's own return addresses), so that pairs
 * remain pairs; the rest is forgotten. */
uint64_t tr_ret_wrap(const struct tr_cache *k, uint64_t sp)
{
    uint64_t top = k->ret_top[sp - (uint64_t)(uintptr_t)k->ret_stack >= RET_EACH];
    unsigned words = 4 + ((top - sp) / 8 & 1);
    uint64_t to = top - words * 8;

    memcpy((void *)(uintptr_t)to, (const void *)(uintptr_t)sp, words * 8);
    return to;
}

bool tr_in_guard(const struct tr_cache *k, uint64_t addr)
{
    uint64_t at = addr - (uint64_t)(uintptr_t)k->ret_stack;
    return at < 2 * RET_EACH && at % RET_EACH < GUEST_PAGE_SIZE;
}

/* perf's map of code it finds no file for: one line a block, read when perf reports. */
void tr_perf_note(struct tr_cache *k, uint32_t from, uint32_t to, const char *what, uint64_t rip)
{
    if (!k->perf)
        return;
    fprintf(k->perf, "%" PRIx64 " %x %s_%" PRIx64 "\n", tr_rx(k, from), to - from, what, rip);
    fflush(k->perf);
}

static FILE *perf_open(void)
{
    g_autofree char *name = g_strdup_printf("/tmp/perf-%d.map", getpid());
    FILE *f = fopen(name, "ae");

    if (!f)
        log_warning("Cannot write %s: %s", name, g_strerror(errno));
    return f;
}

/* An address that is not looked for in the second table's first place. */
#define NOT_FIRST 8

static void jumps_forget(struct tr_cache *k)
{
    for (unsigned i = 0; i < TR_JUMPS; i++)
        tr_jump_empty(&k->jump[i], i);
    memset(k->second, 0, sizeof(k->second));
    k->second[0].rip = NOT_FIRST;
}

static void jump_forget(struct tr_cache *k, uint64_t rip)
{
    struct tr_jump *j = &k->jump[tr_jump_index(rip)], *s = &k->second[tr_second_index(rip)];

    if (j->rip == rip)
        tr_jump_empty(j, tr_jump_index(rip));
    if (s->rip == rip)
        *s = (struct tr_jump){.rip = tr_second_index(rip) ? 0 : NOT_FIRST};
}

/* Two targets that are jumped to in turn may have the same place: the one that was there goes to
 * where the way out looks once more. */
void tr_jump_set(struct tr_cache *k, const struct tblock *t, uint64_t rip, uint32_t id)
{
    struct tr_jump *j = &k->jump[tr_jump_index(rip)];

    if (j->code && j->rip != rip)
        k->second[tr_second_index(j->rip)] = *j;
    *j = (struct tr_jump){.rip = rip, .code = (uint32_t)tr_rx(k, t->entry_mem), .id = id};
}

struct tr_cache *tr_cache_new(struct jit_cpu *c)
{
    struct tr_cache *k = tr_low_alloc(sizeof(*k));

    if (!k)
        return NULL;
    k->bytes = (uint32_t)ALIGN_UP(set_of(c)->tr.code_bytes, GUEST_PAGE_SIZE);
    k->warm = set_of(c)->tr.warm;
    k->bmi2 = __builtin_cpu_supports("bmi2");
    k->links_max = k->blocks_max = 4096;
    k->link = g_new0(struct tr_link, k->links_max);
    k->block = g_new0(struct tblock *, k->blocks_max);
    k->grain = g_try_new0(uint32_t, (k->bytes >> GRAIN_SHIFT) + 2);
    k->page_mask = PAGES_INITIAL - 1;
    k->page = g_new0(struct tr_page, PAGES_INITIAL);
    k->tblock_bytes = k->bytes / 2; /* code of a block takes more than twice what its struct does */
    k->tblocks = mmap(NULL, k->tblock_bytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (k->tblocks == MAP_FAILED)
        k->tblocks = NULL;
    if (!k->tblocks || !k->grain || !map_code(k) || !map_ret_stack(k)) {
        tr_cache_free(k);
        return NULL;
    }
    memory_area_add("jit-tables", k, sizeof(*k));
    memory_area_add("jit-tables", k->tblocks, k->tblock_bytes);
    memory_area_add("jit-code", k->rw, k->bytes);
    memory_area_add("jit-code", k->rx, k->bytes);
    tr_jump_empty(&k->jump[0], 0); /* the others are, being new */
    k->second[0].rip = NOT_FIRST;
    k->place[0].minus = PLACE_GONE;
    k->places = tr_places_new();
    for (unsigned ctx = 0; ctx < TLB_CONTEXTS; ctx++)
        c->tlb[ctx].place = k->place;
    k->links = 1;
    k->next_id = 1;
    k->aside = k->aside_used = ALIGN_UP(k->bytes / 2, 64);
    tr_glue_make(c, k);
    if (set_of(c)->tr.perf)
        k->perf = perf_open();
    tr_perf_note(k, 0, k->first, "glue", 0);
    return k;
}

void tr_cache_free(struct tr_cache *k)
{
    if (!k)
        return;
    memory_area_del(k);
    memory_area_del(k->tblocks);
    memory_area_del(k->rw);
    memory_area_del(k->rx);
    if (k->rw)
        munmap(k->rw, k->bytes);
    if (k->rx)
        munmap(k->rx, k->bytes);
    if (k->ret_stack)
        munmap(k->ret_stack, 2 * RET_EACH);
    if (k->tblocks)
        munmap(k->tblocks, k->tblock_bytes);
    if (k->perf)
        fclose(k->perf);
    g_free(k->grain);
    g_free(k->link);
    g_free(k->block);
    g_free(k->page);
    tr_places_free(k->places);
    munmap(k, sizeof(*k));
}

void tr_cache_flush(struct jit_cpu *c)
{
    struct tr_cache *k = c->tr.cache;

    if (!k)
        return;
    for (uint32_t n = 0; n < k->blocks; n++) {
        k->block[n]->src->tr = NULL;
        k->block[n]->src->heat = (uint16_t)k->warm;
    }
    k->used = k->first;
    k->aside_used = k->aside;
    k->tblock_used = 0;
    k->links = 1;
    k->full = false;
    if (k->blocks || k->pages ||
        tr_places_any(k)) { /* else tables are empty, and memory that was never touched */
        k->blocks = k->pages = 0;
        memset(k->page, 0, (k->page_mask + 1) * sizeof(*k->page));
        jumps_forget(k);
        memset(k->again, 0, sizeof(k->again));
        for (unsigned ctx = 0; ctx < TLB_CONTEXTS; ctx++)
            mmu_flush_exec_ids(c, ctx);
        tr_places_forget(k);
        k->next_id = 1; /* nobody knows one any more */
    }
    c->tr.link = 0;
    ret_stacks_empty(c);
    TR_COUNT(k->stats.flushes, 1);
}

/* ---- space ---- */

bool tr_cache_room(struct tr_cache *k, uint32_t bytes)
{
    if (k->used + bytes <= k->aside && k->aside_used + bytes <= k->bytes &&
        k->tblock_used + TBLOCK_MAX <= k->tblock_bytes)
        return true;
    k->full = true;
    return false;
}

struct tblock *tr_tblock_new(struct tr_cache *k, size_t bytes)
{
    struct tblock *tb = (struct tblock *)(k->tblocks + k->tblock_used);

    k->tblock_used += ALIGN_UP(bytes, _Alignof(struct tblock));
    return tb;
}

/* What a block looks at to see which of its translations may be that for rip and key. */
static inline uint16_t tag_of(uint64_t rip, uint32_t key)
{
    return (uint16_t)(((rip >> GUEST_PAGE_SHIFT) * 0x9e3779b97f4a7c15ull) >> 48 ^ key ^ key >> 16);
}

/* The first n move one place on, for tag. */
static void tag_first(struct block *b, unsigned n, uint16_t tag)
{
    memmove(b->tr_tag + 1, b->tr_tag, n * sizeof(tag));
    b->tr_tag[0] = tag;
}

/* grain[g]: the block that g's first byte lies in, or the last one before it. */
static void grains_note(struct tr_cache *k, uint32_t n, uint32_t from, uint32_t to)
{
    uint32_t g = (from + (1u << GRAIN_SHIFT) - 1) >> GRAIN_SHIFT;

    if (n == 0) /* nothing before it speaks for the grain it begins in */
        g = from >> GRAIN_SHIFT;
    for (; g <= (to - 1) >> GRAIN_SHIFT; g++)
        k->grain[g] = n;
    k->grain[g] = n; /* until the next block says otherwise */
}

/* The translation whose code holds pc. */
struct tblock *tr_by_pc(const struct tr_cache *k, uint64_t pc)
{
    uint64_t off = pc - (uint64_t)(uintptr_t)k->rx;
    bool aside = off >= k->aside;

    if (off < k->first || off >= (aside ? k->aside_used : k->used))
        return NULL;
    uint32_t n = k->grain[off >> GRAIN_SHIFT];
    while (n + 1 < k->blocks && (aside ? k->block[n + 1]->aside : k->block[n + 1]->code) <= off)
        n++;
    const struct tblock *t = k->block[n];
    return off < (aside ? t->aside_end : t->end) ? k->block[n] : NULL;
}

void tr_add(struct tr_cache *k, struct tblock *tb)
{
    struct block *b = tb->src;

    tb->next = b->tr;
    b->tr = tb;
    tag_first(b, TR_ADDRESSES - 1, tag_of(tb->rip, tb->key));
    tr_perf_note(k, tb->code, tb->end, "guest", tr_block_rip(k, tb));
    tr_perf_note(k, tb->aside, tb->aside_end, "aside", tr_block_rip(k, tb));
    if (k->blocks == k->blocks_max) {
        k->blocks_max *= 2;
        k->block = g_renew(struct tblock *, k->block, k->blocks_max);
    }
    k->block[k->blocks++] = tb;
    k->used = tb->end;
    k->aside_used = tb->aside_end;
    k->written += tb->end - tb->code + tb->aside_end - tb->aside;
    if (k->written >= WRITTEN_MAX) {
        madvise(k->rw, k->bytes, MADV_DONTNEED);
        k->written = 0;
    }
    grains_note(k, k->blocks - 1, tb->code, tb->end);
    grains_note(k, k->blocks - 1, tb->aside, tb->aside_end);
}

/* ---- finding ---- */

static uint32_t page_hash(uint64_t linear, uintptr_t host, uint32_t key)
{
    uint64_t h = (linear >> GUEST_PAGE_SHIFT) * 0x9e3779b97f4a7c15ull;

    h ^= (host >> GUEST_PAGE_SHIFT) * 0xc2b2ae3d27d4eb4full;
    h ^= key * 0x165667b19e3779f9ull;
    return (uint32_t)(h >> 32);
}

static struct tr_page *page_slot(struct tr_cache *k, uint64_t linear, uintptr_t host, uint32_t key)
{
    uint32_t n = page_hash(linear, host, key) & k->page_mask;

    while (k->page[n].id &&
           (k->page[n].linear != linear || k->page[n].host != host || k->page[n].key != key))
        n = (n + 1) & k->page_mask;
    return &k->page[n];
}

static void pages_grow(struct tr_cache *k)
{
    struct tr_page *old = k->page;
    uint32_t size = k->page_mask + 1;

    k->page_mask = size * 2 - 1;
    k->page = g_new0(struct tr_page, size * 2);
    for (uint32_t n = 0; n < size; n++)
        if (old[n].id)
            *page_slot(k, old[n].linear, old[n].host, old[n].key) = old[n];
    g_free(old);
}

uint32_t tr_page_id(struct tr_cache *k, uint64_t linear, uintptr_t host, uint32_t key)
{
    struct tr_page *p = page_slot(k, linear, host, key);

    if (p->id)
        return p->id;
    *p = (struct tr_page){linear, host, key, k->next_id++};
    uint32_t id = p->id;
    if (++k->pages * 2 > k->page_mask)
        pages_grow(k);
    return id;
}

/* The n'th translation in b's list, if it is that one; moves to its front. */
static struct tblock *take(struct block *b, unsigned n, uint64_t rip, uint32_t key)
{
    struct tblock **at = &b->tr, *t;

    for (unsigned k = 0; k < n && *at; k++)
        at = &(*at)->next;
    t = *at;
    if (!t || t->rip != rip || t->key != key)
        return NULL;
    *at = t->next;
    t->next = b->tr;
    b->tr = t;
    tag_first(b, n, b->tr_tag[n]);
    return t;
}

struct tblock *tr_find(struct block *b, uint64_t at, uint32_t key)
{
    uint64_t rip = tr_home(at, key);
    uint16_t tag = tag_of(rip, key);
    struct tblock *t;

    for (unsigned n = 0; b->tr && n < TR_ADDRESSES; n++)
        if (b->tr_tag[n] == tag && (t = take(b, n, rip, key)))
            return t;
    return NULL;
}

/* ---- links ---- */

uint32_t tr_link_new(struct tr_cache *k, uint64_t rip, bool from_mem)
{
    if (k->links == k->links_max) {
        k->links_max *= 2;
        k->link = g_renew(struct tr_link, k->link, k->links_max);
    }
    k->link[k->links] = (struct tr_link){.rip = rip, .from_mem = from_mem};
    return k->links++;
}

#define JMP_REL32 0xe9

/* Is the link's jump the end of the translation before `to`, the newest one, which begins with the
 * entry that the link wants? */
static bool comes_next(const struct tr_cache *k, const struct tr_link *l, const struct tblock *to)
{
    return k->blocks > 1 && k->block[k->blocks - 1] == to &&
           k->block[k->blocks - 2]->end == l->site + 4 && k->rw[l->site - 1] == JMP_REL32 &&
           (l->from_mem ? to->entry_mem : to->entry_host) == to->code;
}

static void nops(uint8_t *p, size_t n)
{
    static const uint8_t longest[9] = {0x66, 0x0f, 0x1f, 0x84}, seven[7] = {0x0f, 0x1f, 0x80},
                         four[4] = {0x0f, 0x1f, 0x40}, one[1] = {0x90};

    while (n) {
        const uint8_t *nop = n >= 9 ? longest : n >= 7 ? seven : n >= 4 ? four : one;
        size_t bytes = n >= 9 ? 9 : n >= 7 ? 7 : n >= 4 ? 4 : 1;
        memcpy(p, nop, bytes);
        p += bytes;
        n -= bytes;
    }
}

static void link_to_stub(struct tr_cache *k, struct tr_link *l)
{
    if (l->falls)
        k->rw[l->site - 1] = JMP_REL32;
    patch_rel(k->rw + l->site, k->rw + l->stub);
    l->falls = false;
    l->to = NULL;
}

/* The instruction whose disp32 is at `at`, its last bytes, looks at a place's minus. */
void tr_name_minus(struct tr_cache *k, uint32_t at, unsigned place)
{
    patch32(k->rw + at, low32(&k->place[place].minus) - (uint32_t)tr_rx(k, at + 4));
}

void tr_link_set(struct jit_cpu *c, uint32_t n, struct tblock *to)
{
    struct tr_cache *k = c->tr.cache;
    struct tr_link *l = &k->link[n];

    if (!l->site || l->to)
        return;
    if (l->id_at)
        patch32(k->rw + l->id_at, l->id_negated ? 0u - to->id : to->id);
    if (l->place_at)
        tr_name_minus(k, l->place_at, to->place);
    l->falls = comes_next(k, l, to);
    if (l->falls)
        nops(k->rw + l->site - 1, to->code - (l->site - 1));
    else
        patch_rel(k->rw + l->site, k->rw + (l->from_mem ? to->entry_mem : to->entry_host));
    l->to = to;
    l->next_in = to->in;
    to->in = n;
}

static void unlink_all(struct tr_cache *k, struct tblock *t)
{
    uint32_t n = t->in;

    while (n) {
        struct tr_link *l = &k->link[n];
        link_to_stub(k, l);
        n = l->next_in;
    }
    t->in = 0;
}

/* A link through which we left because its page is another one now: it may be set anew. */
void tr_link_clear(struct jit_cpu *c, uint32_t n)
{
    struct tr_cache *k = c->tr.cache;
    struct tr_link *l = &k->link[n];

    if (!l->to)
        return;
    uint32_t *at = &l->to->in;
    while (*at && *at != n)
        at = &k->link[*at].next_in;
    if (*at)
        *at = l->next_in;
    link_to_stub(k, l);
}

void tr_drop(struct jit_cpu *c, struct block *b)
{
    struct tr_cache *k = c->tr.cache;

    for (struct tblock *t = b->tr; t; t = t->next) {
        unlink_all(k, t);
        t->id = 0;
        if (t->place)
            tr_place_drop(c, t->place);
        else
            jump_forget(k, t->rip);
        TR_COUNT(k->stats.dropped, 1);
    }
    b->tr = NULL;
}
