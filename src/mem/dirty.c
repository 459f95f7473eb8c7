/* dirty.c - dirty log and the write-notification path.
 *
 * Dirty bitmaps are made when logging is first switched on and kept for the region's life, because
 * a writer in another thread may hold the pointer while it is switched off. */
#include "map.h"

#include <assert.h>
#include <errno.h>
#include <sys/mman.h>

/* Bitmaps come from the host as untouched zero pages: one bit per page of a 1 TiB guest is 32 MiB
 * that mostly stays unused. */
uint64_t *bitmap_new(uint64_t words)
{
    void *p = mmap(NULL, words * sizeof(uint64_t), PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED)
        g_error("out of memory for a page bitmap of %" G_GUINT64_FORMAT " words", words);
    return p;
}

void bitmap_free(uint64_t *bits, uint64_t words)
{
    if (bits)
        munmap(bits, words * sizeof(uint64_t));
}

/* The bits [first, last] that lie in word w. */
static uint64_t word_mask(uint64_t w, uint64_t first, uint64_t last)
{
    uint64_t mask = ~0ull;
    if (w == first / 64)
        mask &= ~0ull << (first % 64);
    if (w == last / 64)
        mask &= ~0ull >> (63 - last % 64);
    return mask;
}

static void tell_code_written(struct guest_mem *m, const struct guest_region *r, uint64_t offset,
                              uint64_t len)
{
    for (struct mem_listener *l = m->listeners; l; l = l->next)
        if (l->ops->code_written)
            l->ops->code_written(l, r, offset, len);
}

static void mark_dirty(uint64_t *dirty, uint64_t first, uint64_t last)
{
    for (uint64_t w = first / 64; w <= last / 64; w++)
        __atomic_fetch_or(&dirty[w], word_mask(w, first, last), __ATOMIC_RELAXED);
}

static bool any_code(const struct guest_region *r, uint64_t first, uint64_t last)
{
    for (uint64_t w = first / 64; w <= last / 64; w++)
        if (__atomic_load_n(&r->code[w], __ATOMIC_RELAXED) & word_mask(w, first, last))
            return true;
    return false;
}

void region_wrote(struct guest_mem *m, const struct guest_region *r, uint64_t offset, uint64_t len)
{
    if (len == 0)
        return;
    uint64_t *dirty = __atomic_load_n(&r->dirty, __ATOMIC_ACQUIRE);
    uint64_t first = offset >> GUEST_PAGE_SHIFT, last = (offset + len - 1) >> GUEST_PAGE_SHIFT;
    if (dirty)
        mark_dirty(dirty, first, last);
    if (!m->code_listeners)
        return;
    /* The data must be visible before the code bits are looked at: whoever decodes a page sets its
     * bit first and reads the bytes after, so one of the two sees the other. */
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    if (any_code(r, first, last))
        tell_code_written(m, r, offset, len);
}

void region_log_start(struct guest_mem *m, struct region *r)
{
    if (!r->dirty_storage)
        r->dirty_storage = bitmap_new(r->bitmap_words);
    for (uint64_t w = 0; w < r->bitmap_words; w++)
        if (r->dirty_storage[w])
            r->dirty_storage[w] = 0; /* left over from an earlier log */
    __atomic_store_n(&r->pub.dirty, r->dirty_storage, __ATOMIC_RELEASE);
    for (struct mem_listener *l = m->listeners; l; l = l->next)
        if (l->ops->log_change)
            l->ops->log_change(l, &r->pub, true);
}

void region_log_stop(struct guest_mem *m, struct region *r)
{
    __atomic_store_n(&r->pub.dirty, NULL, __ATOMIC_RELEASE);
    for (struct mem_listener *l = m->listeners; l; l = l->next)
        if (l->ops->log_change)
            l->ops->log_change(l, &r->pub, false);
}

void guest_mem_dirty_log(struct guest_mem *m, bool on)
{
    assert(on || m->log_users > 0);
    bool change = on ? m->log_users++ == 0 : --m->log_users == 0;
    for (unsigned i = 0; change && i < m->table->count; i++) {
        struct region *r = m->table->r[i];
        if (on && r->for_log)
            memset(r->for_log, 0, r->bitmap_words * sizeof(uint64_t));
        if (r->for_watch) /* logged all along, and further */
            continue;
        if (on)
            region_log_start(m, r);
        else
            region_log_stop(m, r);
    }
}

/* Copies and clears the log; what the other reader has not seen yet goes to others, what it left
 * for this one comes from own.  Both are NULL while there is one reader. */
static int log_take(struct guest_mem *m, const struct guest_region *r, uint64_t *own,
                    uint64_t *others, uint64_t *bitmap, size_t words)
{
    for (struct mem_listener *l = m->listeners; l; l = l->next)
        if (l->ops->log_sync)
            l->ops->log_sync(l, r);
    uint64_t have = region_of(r)->bitmap_words;
    assert(words >= have);
    for (uint64_t w = 0; w < words; w++) {
        bitmap[w] = w < have && __atomic_load_n(&r->dirty[w], __ATOMIC_RELAXED)
                        ? __atomic_exchange_n(&r->dirty[w], 0, __ATOMIC_ACQ_REL)
                        : 0;
        if (w < have && others && bitmap[w])
            others[w] |= bitmap[w];
        if (w < have && own && own[w]) {
            bitmap[w] |= own[w];
            own[w] = 0;
        }
    }
    return 0;
}

int guest_mem_dirty_sync(struct guest_mem *m, const struct guest_region *r, uint64_t *bitmap,
                         size_t words)
{
    struct region *in = region_of(r);

    if (!r->dirty || m->log_users == 0)
        return -EINVAL;
    return log_take(m, r, in->for_log, in->for_watch, bitmap, words);
}

void guest_mem_watch(struct guest_mem *m, const struct guest_region *r)
{
    struct region *in = region_of(r);

    in->for_log = bitmap_new(in->bitmap_words);
    in->for_watch = bitmap_new(in->bitmap_words);
    if (!r->dirty)
        region_log_start(m, in);
}

int guest_mem_watch_sync(struct guest_mem *m, const struct guest_region *r, uint64_t *bitmap,
                         size_t words)
{
    struct region *in = region_of(r);

    if (!in->for_watch)
        return -EINVAL;
    return log_take(m, r, in->for_watch, m->log_users ? in->for_log : NULL, bitmap, words);
}
