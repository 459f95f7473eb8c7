/* icache.c - decoded code of one vcpu, kept per host page of guest RAM.
 *
 *   st.rip -> linear -> (exec TLB) host address -> jump cache -> block
 *                                                \-> page -> bucket -> block, else decode
 *
 * Blocks are keyed by the host address of their first byte and by mode_key, so they know nothing of
 * linear addresses: page-table changes cost nothing here, because every lookup goes through the
 * TLB.  Only links between blocks of one page skip it: both ends lie in the same linear page.
 *
 * WHO CHANGES WHAT.  Only the vcpu's own thread decodes, links and drops.  Another thread that
 * wrote to guest memory looks into the page table under the lock and leaves a note.
 *
 * THE RACE, AS A STORY.  Vcpu A is about to decode page P, vcpu B (or a device) writes to it.
 *  1. A enters P into its page table, marks P's code bit and revokes the others' writable entries:
 *     from then on every store to P by any vcpu ends in icache_invalidate for A.  Only then A reads
 *     bytes.  Vcpu C, which decodes from P at the same time and finds the bit set, must not trust
 *     it while A still waits: B may not have heard yet, so C waits for B as well (`revoking`).
 *  2. B stores first and calls icache_invalidate(A) second.  So whatever A reads before B's store
 *     is decoded into a page that B will find in the table: B leaves the range in A's inbox and
 *     sets PENDING_CODE.
 *  3. A takes the inbox at its next block end and drops what overlaps.  Until then A may run the
 *     old bytes: as on hardware, code modified by another processor is only certain to be seen
 *     after a serialising event, and each of those (interrupt, IRET, CPUID, a jump taken after
 *     reading a flag that B wrote) comes after at least one block end.
 *  4. A's own stores are exact: the block that runs may lose its own tail.  Its entries after the
 *     current instruction then become op_block_end, so the next instruction is decoded anew.
 * Memory of dropped blocks stays readable until the arena is emptied, which happens only between
 * blocks.
 *
 * A PAGE THAT HOLDS NO CODE ANY MORE gets its fast stores back.  Who stored to it and found no vcpu
 * holding code there (mmu_stored) notes it; between blocks it looks once more and clears the page's
 * code bit.  Look and clearing are one step under the code lock, and so are announcing (`decoding`)
 * and marking: either the clearer sees A's announcement, or A finds the bit clear and revokes anew.
 */
#include "recent.h"
#include "seen.h"
#include "tr.h"

#include "base/areas.h"

#include <glib.h>
#include <pthread.h>

#define PAGE_HEADS    4096u
#define PAGE_BUCKETS  32u
#define ARENA_BYTES   (256 * MiB)
#define INBOX_RANGES  64u
#define RETIRE_PAGES  16u
#define GRANULE_SHIFT 6 /* 64 pieces of 64 bytes per page */

struct code_page {
    uintptr_t host;
    struct code_page *hash_next;
    struct block *blocks;               /* starting here, by page_next */
    struct block *cross;                /* ending here, by cross_next */
    struct block *bucket[PAGE_BUCKETS]; /* starting here, by bucket_next */
    uint64_t granules;                  /* bytes that are decoded */
    uint64_t
        starts[8]; /* of 8 bytes each: a block has begun there since the page was without any */
};

struct code_range {
    uintptr_t host;
    uint64_t len;
};

struct code_place {
    const struct guest_region *region;
    uint64_t offset;
};

struct icache {
    struct icache_front front;   /* first: the loop looks there */
    uint8_t *arena, *arena_next; /* blocks grow up */
    uint8_t *arena_top;          /* struct code_page grow down */
    /* written by the vcpu's thread under lock, read by others under lock */
    pthread_mutex_t lock;
    struct code_page *head[PAGE_HEADS];
    uintptr_t decoding[2]; /* host pages that are being decoded, or were when a fault came */
    /* vcpu's thread only */
    struct code_place retire[RETIRE_PAGES];
    unsigned retire_count;
    /* under lock */
    struct code_range inbox[INBOX_RANGES];
    unsigned inbox_count;
    bool inbox_overflow;
    /* vcpu's thread only */
    struct seen *seen;
    struct block once; /* what is not kept; see block_once */
    struct recent *recent;
    struct block scratch;
    struct insn scratch_insn[2];
};

static inline unsigned page_hash(uintptr_t host_page)
{
    return (host_page >> GUEST_PAGE_SHIFT) & (PAGE_HEADS - 1);
}

static inline unsigned bucket_of(uintptr_t host)
{
    return (host ^ (host >> 5)) & (PAGE_BUCKETS - 1);
}

static inline uintptr_t page_start(uintptr_t host)
{
    return host & ~(uintptr_t)(GUEST_PAGE_SIZE - 1);
}

static struct code_page *page_find(struct icache *ic, uintptr_t host)
{
    struct code_page *p = ic->head[page_hash(host)];
    while (p && p->host != page_start(host))
        p = p->hash_next;
    return p;
}

static inline uint64_t starts_mask(uintptr_t host)
{
    return BIT64(host >> 3 & 63);
}

static inline unsigned starts_word(uintptr_t host)
{
    return host >> 9 & 7;
}

static bool page_holds_code(const struct code_page *p)
{
    return p->blocks || p->cross;
}

/* Has code there or may be about to. In other threads: lock held. */
static bool page_in_use(const struct icache *ic, uintptr_t host)
{
    const struct code_page *p = page_find((struct icache *)ic, host);
    return (p && page_holds_code(p)) || ic->decoding[0] == page_start(host) ||
           ic->decoding[1] == page_start(host);
}

static void decoding_set(struct icache *ic, unsigned which, uintptr_t host)
{
    pthread_mutex_lock(&ic->lock);
    ic->decoding[which] = host;
    pthread_mutex_unlock(&ic->lock);
}

/* ---- making and emptying ---- */

struct icache *icache_new(struct jit_cpu *c)
{
    struct icache *ic = memory_area_new("jit-tables", sizeof(*ic));

    decode_init();
    pthread_mutex_init(&ic->lock, NULL);
    ic->recent = recent_new();
    ic->seen = seen_new();
    ic->arena = memory_area_new("jit-tables", ARENA_BYTES);
    ic->arena_next = ic->arena;
    ic->arena_top = ic->arena + ARENA_BYTES;
    return ic;
}

void icache_free(struct icache *ic)
{
    if (!ic)
        return;
    memory_area_free(ic->arena, ARENA_BYTES);
    recent_free(ic->recent);
    seen_free(ic->seen);
    pthread_mutex_destroy(&ic->lock);
    memory_area_free(ic, sizeof(*ic));
}

/* The running block must not go on into entries that are gone. */
static void stop_running_block(struct jit_cpu *c)
{
    struct block *b = c->block;

    c->next = NULL;
    c->link = NULL;
    if (!b || !b->insn || !c->cur)
        return;
    recent_forget(c->icache->recent, b->host, b->key);
    /* By offset: cur may be a copy of the entry (op_locked_alone). */
    for (struct insn *i = b->insn; i < b->insn + b->count; i++)
        if (i->off > c->cur->off)
            i->fn = op_block_end;
}

void icache_flush(struct jit_cpu *c)
{
    struct icache *ic = c->icache;

    /* Tables that never held anything are memory that was never touched. */
    bool used = ic->arena_next != ic->arena || ic->arena_top != ic->arena + ARENA_BYTES;

    stop_running_block(c);
    pthread_mutex_lock(&ic->lock);
    if (used)
        memset(ic->head, 0, sizeof(ic->head));
    ic->inbox_count = 0;
    ic->inbox_overflow = false;
    pthread_mutex_unlock(&ic->lock);
    if (used)
        memset(ic->front.jump, 0, sizeof(ic->front.jump));
    tr_cache_flush(c);
    ic->arena_next = ic->arena;
    ic->arena_top = ic->arena + ARENA_BYTES;
}

static struct code_page *page_get(struct icache *ic, uintptr_t host)
{
    struct code_page *p = page_find(ic, host);

    if (p)
        return p;
    ic->arena_top -= ALIGN_UP(sizeof(*p), 64);
    p = (struct code_page *)ic->arena_top;
    memset(p, 0, sizeof(*p));
    p->host = page_start(host);
    pthread_mutex_lock(&ic->lock);
    p->hash_next = ic->head[page_hash(host)];
    ic->head[page_hash(host)] = p;
    pthread_mutex_unlock(&ic->lock);
    return p;
}

/* ---- dropping ---- */

static void list_remove(struct block **at, const struct block *b, size_t next_field)
{
    while (*at && *at != b)
        at = (struct block **)((uint8_t *)*at + next_field);
    if (*at)
        *at = *(struct block **)((const uint8_t *)b + next_field);
}

static void block_drop(struct jit_cpu *c, struct block *b)
{
    struct icache *ic = c->icache;
    struct block **jump = &ic->front.jump[jump_cache_index(b->host)];

    pthread_mutex_lock(&ic->lock);
    list_remove(&b->page->blocks, b, offsetof(struct block, page_next));
    list_remove(&b->page->bucket[bucket_of(b->host)], b, offsetof(struct block, bucket_next));
    if (b->page2)
        list_remove(&b->page2->cross, b, offsetof(struct block, cross_next));
    pthread_mutex_unlock(&ic->lock);
    if (*jump == b)
        *jump = NULL;
    seen_again(ic->seen, b->host, b->key);
    if (b->tr)
        tr_drop(c, b);
    for (struct block *o = b->page->blocks; o; o = o->page_next)
        o->link[0] = o->link[1] = NULL;
    b->link[0] = b->link[1] = NULL;
    if (b == c->block)
        stop_running_block(c);
    c->next = NULL;
    c->link = NULL;
}

static uint64_t granule_mask(uintptr_t start, uintptr_t end)
{
    unsigned first = (start & (GUEST_PAGE_SIZE - 1)) >> GRANULE_SHIFT;
    unsigned last = ((end - 1) & (GUEST_PAGE_SIZE - 1)) >> GRANULE_SHIFT;
    return (UINT64_MAX << first) & (UINT64_MAX >> (63 - last));
}

/* [start, end) lies in p. */
static void page_invalidate(struct jit_cpu *c, struct code_page *p, uintptr_t start, uintptr_t end)
{
    struct block *b, *next;

    if (!(p->granules & granule_mask(start, end)))
        return;
    for (b = p->blocks; b; b = next) {
        next = b->page_next;
        if (b->host < end && b->host + b->bytes > start)
            block_drop(c, b);
    }
    for (b = p->cross; b; b = next) {
        uintptr_t part = GUEST_PAGE_SIZE - (b->host & (GUEST_PAGE_SIZE - 1));
        next = b->cross_next;
        if (b->host2 < end && b->host2 + b->bytes - part > start)
            block_drop(c, b);
    }
    if (!page_holds_code(p)) {
        p->granules = 0;
        memset(p->starts, 0, sizeof(p->starts));
    }
}

static void once_invalidate(struct jit_cpu *c, uintptr_t start, uintptr_t end)
{
    const struct block *b = &c->icache->once;

    if (c->block == b && b->host < end && b->host + b->bytes > start)
        stop_running_block(c);
}

static bool range_invalidate(struct jit_cpu *c, uintptr_t host, uint64_t len)
{
    bool held = false;

    once_invalidate(c, host, host + len);
    while (len) {
        uint64_t n = MIN_OF(len, GUEST_PAGE_SIZE - (host & (GUEST_PAGE_SIZE - 1)));
        struct code_page *p = page_find(c->icache, host);
        if (p)
            page_invalidate(c, p, host, host + n);
        held |= page_in_use(c->icache, host);
        host += n;
        len -= n;
    }
    return held;
}

/* Another thread's note; lock held. */
static void inbox_add(struct icache *ic, uintptr_t host, uint64_t len)
{
    struct code_range *last = ic->inbox_count ? &ic->inbox[ic->inbox_count - 1] : NULL;

    if (last && last->host + last->len == host)
        last->len += len;
    else if (ic->inbox_count < INBOX_RANGES)
        ic->inbox[ic->inbox_count++] = (struct code_range){host, len};
    else
        ic->inbox_overflow = true;
}

bool icache_invalidate(struct jit_cpu *c, const struct guest_region *r, uint64_t offset,
                       uint64_t len)
{
    struct icache *ic = c->icache;
    uintptr_t host = (uintptr_t)r->host + offset;
    bool held = false;

    if (interp_running() == c)
        return range_invalidate(c, host, len);
    pthread_mutex_lock(&ic->lock);
    while (len) {
        uint64_t n = MIN_OF(len, GUEST_PAGE_SIZE - (host & (GUEST_PAGE_SIZE - 1)));
        if (page_in_use(ic, host)) {
            inbox_add(ic, host, n);
            held = true;
        }
        host += n;
        len -= n;
    }
    pthread_mutex_unlock(&ic->lock);
    if (held)
        pending_set(c, PENDING_CODE);
    return held;
}

void icache_retire(struct jit_cpu *c, const struct guest_region *r, uint64_t offset)
{
    struct icache *ic = c->icache;
    uint64_t page = offset & ~(GUEST_PAGE_SIZE - 1);

    for (unsigned k = 0; k < ic->retire_count; k++)
        if (ic->retire[k].region == r && ic->retire[k].offset == page)
            return;
    if (ic->retire_count == RETIRE_PAGES)
        return;
    ic->retire[ic->retire_count++] = (struct code_place){r, page};
    pending_set(c, PENDING_CODE);
}

static bool anyone_uses(struct jit_cpu *c, const struct code_place *at)
{
    bool used = false;

    for (unsigned k = 0; k < c->set->count && !used; k++) {
        struct icache *ic = ((struct jit_cpu *)c->set->vcpu[k]->accel)->icache;
        pthread_mutex_lock(&ic->lock);
        used = page_in_use(ic, (uintptr_t)at->region->host + at->offset);
        pthread_mutex_unlock(&ic->lock);
    }
    return used;
}

static void retire_pages(struct jit_cpu *c)
{
    struct icache *ic = c->icache;

    decoding_set(ic, 0, 0);
    decoding_set(ic, 1, 0);
    for (unsigned k = 0; k < ic->retire_count; k++) {
        const struct code_place *at = &ic->retire[k];
        uint64_t page = at->offset >> GUEST_PAGE_SHIFT;
        mmu_code_lock(c);
        if (!anyone_uses(c, at))
            __atomic_fetch_and(&at->region->code[page / 64], ~BIT64(page % 64), __ATOMIC_SEQ_CST);
        mmu_code_unlock(c);
    }
    ic->retire_count = 0;
}

void icache_drain(struct jit_cpu *c)
{
    struct icache *ic = c->icache;
    struct code_range todo[INBOX_RANGES];

    __atomic_fetch_and(&c->pending, ~(uint32_t)PENDING_CODE, __ATOMIC_SEQ_CST);
    pthread_mutex_lock(&ic->lock);
    unsigned n = ic->inbox_count;
    bool all = ic->inbox_overflow;
    memcpy(todo, ic->inbox, n * sizeof(todo[0]));
    ic->inbox_count = 0;
    ic->inbox_overflow = false;
    pthread_mutex_unlock(&ic->lock);
    if (all)
        icache_flush(c);
    for (unsigned k = 0; k < n && !all; k++)
        range_invalidate(c, todo[k].host, todo[k].len);
    retire_pages(c);
}

/* ---- fetching and decoding ---- */

static uint64_t code_linear(const struct jit_cpu *c, uint64_t rip)
{
    return c->mode == MODE_LONG64 ? rip : (uint32_t)(c->st.seg[SEG_CS].base + rip);
}

/* The TLB entry through which linear is fetched; NULL when it is not RAM or ROM.  May fault. */
static struct tlb_exec *fetch_entry(struct jit_cpu *c, uint64_t linear)
{
    struct tlb_exec *e = tlb_exec_slot(c, linear);

    if (likely(TLB_COVERS(e->tag, linear, 1)))
        return e;
    mmu_translate(c, linear, ACC_EXEC);
    return TLB_COVERS(e->tag, linear, 1) ? e : NULL;
}

/* Before the page's bytes are read; which: 0 for the first page of an instruction, 1 the second. */
static void code_page_announce(struct jit_cpu *c, uintptr_t host, const struct tlb_exec *e,
                               unsigned which)
{
    const struct guest_region *r = e->region;
    uint64_t offset = page_start(host) - (uintptr_t)r->host;

    mmu_code_lock(c);
    decoding_set(c->icache, which, page_start(host));
    bool settled = mmu_code_mark(c, r, offset);
    mmu_code_unlock(c);
    if (!settled)
        mmu_code_revoke(c, r, offset);
}

static void finish(struct block *b, unsigned count, unsigned bytes)
{
    b->count = (uint16_t)count;
    b->bytes = (uint16_t)bytes;
    b->insn[count] = (struct insn){.fn = op_block_end, .off = (uint16_t)bytes};
    struct insn *last = &b->insn[count - 1];
    if ((last->flags & INSN_END) && !last->priv)
        last->priv = b;
}

/* One instruction; false when it does not end in the page. */
static bool decode_at(struct jit_cpu *c, uintptr_t at, struct insn *out, bool *ends)
{
    uintptr_t end = page_start(at) + GUEST_PAGE_SIZE;
    uint8_t copy[16];
    struct fetch f = {.bytes = copy, .avail = MIN_OF(end - at, sizeof(copy))};

    memcpy(copy, (const void *)at, f.avail);
    return decode_insn(c, &f, out, ends) != DECODE_MORE;
}

void icache_insn_at(struct jit_cpu *c, const struct block *b, unsigned off, struct insn *out)
{
    bool ends;

    if (!decode_at(c, b->host + off, out, &ends))
        out->len = 0; /* changed meanwhile */
    out->off = (uint16_t)off;
}

/* Instructions from one page; 0 when already the first does not end there. */
static unsigned decode_page(struct jit_cpu *c, struct block *b)
{
    uintptr_t end = page_start(b->host) + GUEST_PAGE_SIZE, at = b->host;
    unsigned n = 0;
    bool ends = false;

    while (n < BLOCK_INSNS_MAX && at < end && !ends) {
        if (!decode_at(c, at, &b->insn[n], &ends))
            break;
        b->insn[n].off = (uint16_t)(at - b->host);
        at += b->insn[n++].len;
    }
    if (n)
        finish(b, n, (unsigned)(at - b->host));
    return n;
}

static void block_insert(struct jit_cpu *c, struct block *b)
{
    struct icache *ic = c->icache;
    struct code_page *p = b->page;
    struct block **bucket = &p->bucket[bucket_of(b->host)];
    uintptr_t end = b->host + b->bytes;

    pthread_mutex_lock(&ic->lock);
    b->page_next = p->blocks;
    p->blocks = b;
    b->bucket_next = *bucket;
    *bucket = b;
    if (b->page2) {
        b->cross_next = b->page2->cross;
        b->page2->cross = b;
        b->page2->granules |= 1;
        end = p->host + GUEST_PAGE_SIZE;
    }
    p->granules |= granule_mask(b->host, end);
    p->starts[starts_word(b->host)] |= starts_mask(b->host);
    ic->decoding[0] = ic->decoding[1] = 0;
    pthread_mutex_unlock(&ic->lock);
}

static uint64_t next_page_linear(const struct jit_cpu *c, uint64_t linear)
{
    uint64_t next = (linear & ~(GUEST_PAGE_SIZE - 1)) + GUEST_PAGE_SIZE;
    return c->mode == MODE_LONG64 ? next : (uint32_t)next;
}

/* One instruction that goes on in the page after. False when that page is not memory. */
static bool decode_crossing(struct jit_cpu *c, struct block *b, uint64_t linear)
{
    unsigned first = GUEST_PAGE_SIZE - (b->host & (GUEST_PAGE_SIZE - 1));
    uint64_t next = next_page_linear(c, linear);
    uint8_t copy[16];
    bool ends;
    struct tlb_exec *e = fetch_entry(c, next);

    if (!e)
        return false;
    b->host2 = next - e->tag + e->host;
    b->page2 = page_get(c->icache, b->host2);
    code_page_announce(c, b->host2, e, 1);
    memcpy(copy, (const void *)b->host, first);
    memcpy(copy + first, (const void *)b->host2, sizeof(copy) - first);
    struct fetch f = {.bytes = copy, .avail = sizeof(copy)};
    decode_insn(c, &f, &b->insn[0], &ends);
    if (b->insn[0].len <= first) { /* the bytes changed meanwhile */
        b->host2 = 0;
        b->page2 = NULL;
    }
    finish(b, 1, b->insn[0].len);
    return true;
}

/* ic->once becomes the code at host; 0 when already the first instruction goes on in the next page.
 */
static unsigned once_decode(struct jit_cpu *c, uintptr_t host)
{
    struct icache *ic = c->icache;
    struct block *b = &ic->once;
    struct recent_code code;

    *b = (struct block){.host = host, .key = c->mode_key};
    if (recent_find(ic->recent, host, b->key, &code)) {
        b->insn = code.insn;
        b->count = code.count;
        b->bytes = code.bytes;
        return b->count;
    }
    b->insn = recent_place(ic->recent);
    if (!decode_page(c, b))
        return 0;
    code = (struct recent_code){b->insn, b->count, b->bytes};
    recent_keep(ic->recent, host, b->key, &code);
    return b->count;
}

/* Most code of a starting system runs once, and what is translated is hardly ever interpreted
 * again: so the instructions of a block are only remembered for a while until it is warm, and then
 * its head alone is kept.  Where there is no translator they are kept from the second time on.
 * True when it was done so.  A store to the page is noticed as one to a page that is being decoded,
 * and ends the block (once_invalidate). */
static bool block_once(struct jit_cpu *c, uintptr_t host, const struct tlb_exec *e, bool lean)
{
    unsigned runs = seen_before(c->icache->seen, host, c->mode_key);

    if (runs >= (lean ? MIN_OF(c->tr.cache->warm + 1, SEEN_COUNT) : 1))
        return false;
    if (lean && c->cpl == 3 && seen_at_once(c->icache->seen, runs))
        return false;
    code_page_announce(c, host, e, 0);
    return once_decode(c, host) != 0;
}

static void arena_take(struct icache *ic, size_t bytes)
{
    ic->arena_next += ALIGN_UP(bytes, _Alignof(struct block));
}

static size_t insn_bytes(const struct block *b)
{
    return (b->count + 1u) * sizeof(struct insn);
}

static struct block *block_build(struct jit_cpu *c, uint64_t linear, uintptr_t host,
                                 const struct tlb_exec *e, bool lean)
{
    struct icache *ic = c->icache;
    size_t need = sizeof(struct block) + (BLOCK_INSNS_MAX + 1) * sizeof(struct insn) +
                  2 * ALIGN_UP(sizeof(struct code_page), 64);

    if (ic->arena_next + need > ic->arena_top)
        icache_flush(c);
    struct code_page *p = page_get(ic, host);
    code_page_announce(c, host, e, 0);
    struct block *b = (struct block *)ic->arena_next;
    *b = (struct block){.host = host, .key = c->mode_key, .page = p};
    if (lean && once_decode(c, host)) {
        b->count = ic->once.count;
        b->bytes = ic->once.bytes;
        b->heat = (uint16_t)c->tr.cache->warm;
        arena_take(ic, sizeof(*b));
    } else {
        b->insn = (struct insn *)(b + 1);
        if (!decode_page(c, b) && !decode_crossing(c, b, linear))
            return NULL;
        arena_take(ic, sizeof(*b) + insn_bytes(b));
    }
    block_insert(c, b);
    return b;
}

const struct insn *icache_insns(struct jit_cpu *c, struct block *b)
{
    struct icache *ic = c->icache;

    if (b->insn)
        return b->insn;
    once_decode(c, b->host);
    if (ic->once.count != b->count || ic->once.bytes != b->bytes) {
        block_drop(c, b); /* another vcpu has stored there, and its note is on the way */
        return NULL;
    }
    return ic->once.insn;
}

/* What is interpreted though it is translated (MMIO, another address) may be so often. */
struct block *icache_decoded(struct jit_cpu *c, struct block *b)
{
    struct icache *ic = c->icache;
    const struct insn *from = icache_insns(c, b);

    c->cur = NULL;
    if (!from)
        return icache_scratch(c);
    if (b->decodes++ == 0 || ic->arena_next + insn_bytes(b) > ic->arena_top)
        return &ic->once;
    b->insn = memcpy(ic->arena_next, from, insn_bytes(b));
    if (b->insn[b->count - 1].priv == &ic->once)
        b->insn[b->count - 1].priv = b;
    arena_take(ic, insn_bytes(b));
    return b;
}

/* A page-crossing instruction is good while its second half is still mapped where it was. */
static bool crossing_is_valid(struct jit_cpu *c, const struct block *b, uint64_t linear)
{
    uint64_t next = next_page_linear(c, linear);
    struct tlb_exec *e = fetch_entry(c, next);
    return e && next - e->tag + e->host == b->host2;
}

/* What is looked at when there is no block yet. */
static inline void soon(struct icache *ic, uintptr_t host, uint32_t key)
{
    seen_soon(ic->seen, host, key);
    __builtin_prefetch((const void *)host);
    recent_soon(ic->recent, host, key);
}

struct block *icache_lookup(struct jit_cpu *c)
{
    struct icache *ic = c->icache;
    uint64_t linear = code_linear(c, c->st.rip);
    struct tlb_exec *e = fetch_entry(c, linear);
    struct block *b = NULL;

    if (!e)
        return icache_scratch(c);
    uintptr_t host = linear - e->tag + e->host;
    soon(ic, host, c->mode_key);
    struct code_page *p = page_find(ic, host);
    if (p && (p->starts[starts_word(host)] & starts_mask(host)))
        b = p->bucket[bucket_of(host)];
    while (b && (b->host != host || b->key != c->mode_key))
        b = b->bucket_next;
    if (b && b->host2 && !crossing_is_valid(c, b, linear)) {
        block_drop(c, b);
        b = NULL;
    }
    if (!b) {
        bool lean = tr_takes(c);
        if (block_once(c, host, e, lean))
            return &ic->once;
        b = block_build(c, linear, host, e, lean);
    }
    if (!b)
        return icache_scratch(c);
    if (!b->host2)
        ic->front.jump[jump_cache_index(host)] = b;
    return b;
}

/* Bytes of code at rip up to the end of its page and of the CS limit. */
static unsigned fetch_bytes(struct jit_cpu *c, uint64_t rip, uint8_t *buf, unsigned max)
{
    uint64_t linear = code_linear(c, rip);
    unsigned n = MIN_OF(max, GUEST_PAGE_SIZE - (linear & (GUEST_PAGE_SIZE - 1)));

    if (c->mode != MODE_LONG64) {
        uint32_t limit = c->st.seg[SEG_CS].limit;
        if (rip > limit)
            return 0;
        n = (unsigned)MIN_OF((uint64_t)n, (uint64_t)limit - rip + 1);
    }
    struct tlb_exec *e = fetch_entry(c, linear);
    if (e)
        memcpy(buf, (const void *)(linear - e->tag + e->host), n);
    else
        mmu_read_slow(c, linear, buf, n, ACC_EXEC);
    return n;
}

struct block *icache_scratch(struct jit_cpu *c)
{
    struct block *b = &c->icache->scratch;
    uint8_t copy[16];
    bool ends;
    unsigned have = fetch_bytes(c, c->st.rip, copy, sizeof(copy));
    struct fetch f = {.bytes = copy, .avail = have};

    *b = (struct block){.key = c->mode_key, .insn = c->icache->scratch_insn};
    if (have == 0 || decode_insn(c, &f, &b->insn[0], &ends) == DECODE_MORE) {
        f.avail += fetch_bytes(c, c->st.rip + have, copy + have, sizeof(copy) - have);
        if (f.avail == have || decode_insn(c, &f, &b->insn[0], &ends) == DECODE_MORE)
            cpu_raise_error(c, EX_GP, 0); /* it goes beyond the CS limit */
    }
    finish(b, 1, b->insn[0].len);
    return b;
}
