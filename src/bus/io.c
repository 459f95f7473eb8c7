/* io.c - flattened dispatch tables for ports and MMIO, replaced atomically.
 *
 * The table is an immutable sorted array of disjoint intervals.  A reader announces the table it
 * is about to search in its thread's reader slot (a hazard pointer) and withdraws it as soon as it
 * has copied the interval, before the device handler runs.  A writer publishes a new table, waits
 * until no slot names the old one, and frees it: the wait is as long as a binary search or one
 * eventfd write, and no handler can deadlock on its own announcement. */
#include "bus/io.h"

#include "base/ticks.h"
#include "base/trace.h"
#include "base/util.h"
#include "bus/io_count.h"

#include <assert.h>
#include <errno.h>
#include <glib.h>
#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <unistd.h>

struct interval {
    uint64_t start, last; /* inclusive */
    uint64_t base, end;   /* the whole region's, when this table was built; end inclusive */
    struct io_region *region;
};

struct io_table {
    size_t interval_count, eventfd_count;
    struct interval *interval;  /* sorted, disjoint */
    struct io_eventfd *eventfd; /* sorted by addr */
};

struct io_space {
    /* immutable */
    const char *name;
    uint64_t limit;
    bool pio;
    /* swapped by writers, read under a hazard */
    struct io_table *table;
    /* under lock */
    pthread_mutex_t lock;
    GPtrArray *regions; /* in order of addition */
    GArray *eventfds;
    struct io_eventfd_listener *listener;
};

/* One per thread that ever dispatched; slots of ended threads are taken over, never freed. */
struct reader {
    struct io_table *table;
    struct io_counts counts; /* of the thread that has the slot */
    struct reader *next;
    bool taken;
};
static struct reader *readers;
static pthread_mutex_t readers_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_key_t reader_key;
static pthread_once_t reader_once = PTHREAD_ONCE_INIT;
static __thread struct reader *my_reader;

static void reader_release(void *r)
{
    __atomic_store_n(&((struct reader *)r)->taken, false, __ATOMIC_RELEASE);
}

static void reader_key_make(void)
{
    pthread_key_create(&reader_key, reader_release);
}

static struct reader *reader_attach(void)
{
    struct reader *r;

    pthread_once(&reader_once, reader_key_make);
    pthread_mutex_lock(&readers_lock);
    for (r = readers; r && __atomic_load_n(&r->taken, __ATOMIC_ACQUIRE);)
        r = r->next;
    if (!r) {
        r = g_new0(struct reader, 1);
        r->next = readers;
        __atomic_store_n(&readers, r, __ATOMIC_RELEASE);
    }
    r->taken = true;
    memset(&r->counts, 0, sizeof(r->counts));
    pthread_mutex_unlock(&readers_lock);
    pthread_setspecific(reader_key, r);
    my_reader = r;
    return r;
}

struct io_counts *io_counts_mine(void)
{
    return &(my_reader ? my_reader : reader_attach())->counts;
}

static inline struct io_table *table_enter(struct io_space *s, struct reader **slot)
{
    struct reader *r = my_reader;
    struct io_table *t;

    if (unlikely(!r))
        r = reader_attach();
    do {
        t = __atomic_load_n(&s->table, __ATOMIC_ACQUIRE);
        __atomic_store_n(&r->table, t, __ATOMIC_SEQ_CST);
    } while (unlikely(t != __atomic_load_n(&s->table, __ATOMIC_SEQ_CST)));
    *slot = r;
    return t;
}

static inline void table_leave(struct reader *r)
{
    __atomic_store_n(&r->table, NULL, __ATOMIC_RELEASE);
}

static void table_free(struct io_table *t)
{
    g_free(t->interval);
    g_free(t->eventfd);
    g_free(t);
}

static void table_publish_locked(struct io_space *s, struct io_table *t)
{
    struct io_table *old = s->table;

    __atomic_store_n(&s->table, t, __ATOMIC_SEQ_CST);
    if (!old)
        return;
    for (struct reader *r = __atomic_load_n(&readers, __ATOMIC_SEQ_CST); r; r = r->next)
        while (__atomic_load_n(&r->table, __ATOMIC_SEQ_CST) == old)
            sched_yield();
    table_free(old);
}

/* The last address of r inside the space, or false when none is (a guest may park a BAR there). */
static bool region_last(const struct io_space *s, const struct io_region *r, uint64_t *last)
{
    if (r->base >= s->limit)
        return false;
    *last = r->size_bytes > s->limit - r->base ? s->limit - 1 : r->base + r->size_bytes - 1;
    return true;
}

static int compare_u64(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static int compare_eventfd(const void *a, const void *b)
{
    return compare_u64(&((const struct io_eventfd *)a)->addr,
                       &((const struct io_eventfd *)b)->addr);
}

/* Who answers at addr: highest priority, then the youngest. */
static struct io_region *region_at_locked(struct io_space *s, uint64_t addr)
{
    struct io_region *best = NULL;

    for (guint i = 0; i < s->regions->len; i++) {
        struct io_region *r = g_ptr_array_index(s->regions, i);
        uint64_t last;
        if (region_last(s, r, &last) && addr >= r->base && addr <= last &&
            (!best || r->priority >= best->priority))
            best = r;
    }
    return best;
}

static void table_rebuild_locked(struct io_space *s)
{
    struct io_table *t = g_new0(struct io_table, 1);
    uint64_t *cut = g_new(uint64_t, 2 * s->regions->len + 1);
    size_t cuts = 0;

    for (guint i = 0; i < s->regions->len; i++) {
        struct io_region *r = g_ptr_array_index(s->regions, i);
        uint64_t last;
        if (!region_last(s, r, &last))
            continue;
        cut[cuts++] = r->base;
        cut[cuts++] = last + 1;
    }
    qsort(cut, cuts, sizeof(cut[0]), compare_u64);
    t->interval = g_new(struct interval, cuts + 1);
    for (size_t i = 0; i + 1 < cuts; i++) {
        struct interval *prev = t->interval_count ? &t->interval[t->interval_count - 1] : NULL;
        struct io_region *r;
        uint64_t end = 0;
        if (cut[i] == cut[i + 1] || !(r = region_at_locked(s, cut[i])))
            continue;
        region_last(s, r, &end);
        if (prev && prev->region == r && prev->last + 1 == cut[i])
            prev->last = cut[i + 1] - 1;
        else
            t->interval[t->interval_count++] =
                (struct interval){cut[i], cut[i + 1] - 1, r->base, end, r};
    }
    g_free(cut);
    t->eventfd_count = s->eventfds->len;
    t->eventfd = g_memdup2(s->eventfds->data, s->eventfds->len * sizeof(struct io_eventfd));
    if (t->eventfd_count)
        qsort(t->eventfd, t->eventfd_count, sizeof(t->eventfd[0]), compare_eventfd);
    table_publish_locked(s, t);
}

struct io_space *io_space_new(const char *name, uint64_t limit)
{
    struct io_space *s = g_new0(struct io_space, 1);

    assert(limit > 0);
    s->name = name;
    s->limit = limit;
    s->pio = limit <= 64 * KiB;
    pthread_mutex_init(&s->lock, NULL);
    s->regions = g_ptr_array_new();
    s->eventfds = g_array_new(false, true, sizeof(struct io_eventfd));
    table_rebuild_locked(s);
    return s;
}

void io_space_clear(struct io_space *s)
{
    pthread_mutex_lock(&s->lock);
    for (guint i = 0; i < s->regions->len; i++)
        ((struct io_region *)g_ptr_array_index(s->regions, i))->added = false;
    g_ptr_array_set_size(s->regions, 0);
    table_rebuild_locked(s);
    pthread_mutex_unlock(&s->lock);
}

void io_space_free(struct io_space *s)
{
    if (!s)
        return;
    table_free(s->table);
    g_ptr_array_free(s->regions, true);
    g_array_free(s->eventfds, true);
    pthread_mutex_destroy(&s->lock);
    g_free(s);
}

void io_space_add(struct io_space *s, struct io_region *r, uint64_t base)
{
    assert(!r->added && r->ops && r->size_bytes > 0);
    pthread_mutex_lock(&s->lock);
    r->base = base;
    r->added = true;
    r->count_slot = io_count_slot(s->name, r->name);
    g_ptr_array_add(s->regions, r);
    table_rebuild_locked(s);
    pthread_mutex_unlock(&s->lock);
}

void io_space_del(struct io_space *s, struct io_region *r)
{
    pthread_mutex_lock(&s->lock);
    if (r->added) {
        bool found = g_ptr_array_remove(s->regions, r);
        assert(found);
        r->added = false;
        table_rebuild_locked(s);
    }
    pthread_mutex_unlock(&s->lock);
}

/* The interval that holds addr; else false and *gap_last = last address before the next one. */
static bool table_find(const struct io_table *t, uint64_t addr, struct interval *out,
                       uint64_t *gap_last)
{
    size_t lo = 0, hi = t->interval_count;

    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (t->interval[mid].last < addr)
            lo = mid + 1;
        else
            hi = mid;
    }
    if (lo == t->interval_count || t->interval[lo].start > addr) {
        *gap_last = lo == t->interval_count ? UINT64_MAX : t->interval[lo].start - 1;
        return false;
    }
    *out = t->interval[lo];
    return true;
}

static bool space_find(struct io_space *s, uint64_t addr, struct interval *out, uint64_t *gap_last)
{
    struct reader *slot;
    struct io_table *t = table_enter(s, &slot);
    bool found = table_find(t, addr, out, gap_last);

    table_leave(slot);
    return found;
}

/* The largest piece the region takes at off: a power of two, naturally aligned, within left. */
static unsigned piece_size(unsigned size_max, uint64_t off, unsigned left)
{
    unsigned n = size_max;

    while (n > left || (off & (n - 1)))
        n /= 2;
    return n;
}

static uint64_t mask_of(unsigned bytes)
{
    return bytes >= 8 ? UINT64_MAX : (1ull << (8 * bytes)) - 1;
}

static uint64_t region_read(struct io_region *r, uint64_t off, unsigned size)
{
    unsigned size_max = r->ops->max_size ? r->ops->max_size : 8;
    unsigned size_min = r->ops->min_size ? r->ops->min_size : 1;
    uint64_t val = 0;

    for (unsigned done = 0; done < size;) {
        unsigned n = piece_size(size_max, off + done, size - done);
        uint64_t at = off + done, v = UINT64_MAX;
        if (n >= size_min) {
            v = r->ops->read ? r->ops->read(r, at, n) : v;
        } else {
            /* Narrower than the register: read the whole register, take the bytes asked for. */
            uint64_t word = ALIGN_DOWN(at, size_min);
            if (r->ops->read && word + size_min <= r->size_bytes)
                v = r->ops->read(r, word, size_min) >> (8 * (at - word));
        }
        val |= (v & mask_of(n)) << (8 * done);
        done += n;
    }
    return val;
}

static void region_write(struct io_region *r, uint64_t off, unsigned size, uint64_t val)
{
    unsigned size_max = r->ops->max_size ? r->ops->max_size : 8;
    unsigned size_min = r->ops->min_size ? r->ops->min_size : 1;

    for (unsigned done = 0; done < size;) {
        unsigned n = piece_size(size_max, off + done, size - done);
        if (n >= size_min && r->ops->write)
            r->ops->write(r, off + done, n, (val >> (8 * done)) & mask_of(n));
        done += n;
    }
}

/* How many of the left bytes at addr lie in [.., last]. */
static unsigned bytes_until(uint64_t addr, uint64_t last, unsigned left)
{
    return last - addr >= left ? left : (unsigned)(last - addr) + 1;
}

uint64_t io_space_read(struct io_space *s, uint64_t addr, unsigned size)
{
    struct io_counts *counts = io_counts_mine();
    uint64_t val = 0, start = host_ticks();

    assert(size >= 1 && size <= 8);
    for (unsigned done = 0; done < size;) {
        struct interval iv;
        uint64_t gap_last, v = UINT64_MAX;
        unsigned n;
        if (space_find(s, addr + done, &iv, &gap_last)) {
            n = bytes_until(addr + done, iv.end, size - done);
            io_count(counts, iv.region->count_slot);
            if (iv.region->lock)
                pthread_mutex_lock(iv.region->lock);
            v = region_read(iv.region, addr + done - iv.base, n);
            if (iv.region->lock)
                pthread_mutex_unlock(iv.region->lock);
        } else {
            n = bytes_until(addr + done, gap_last, size - done);
        }
        val |= (v & mask_of(n)) << (8 * done);
        done += n;
    }
    io_count_time(counts, host_ticks() - start);
    TRACE(io_read, "%s 0x%" PRIx64 " size %u = 0x%" PRIx64, s->name, addr, size, val);
    return val;
}

/* Signals the eventfd that claims this write, if one does.  Runs under the hazard so that the
 * descriptor cannot be closed (and reused) between the lookup and the write. */
static bool eventfd_claims(const struct io_table *t, uint64_t addr, unsigned size, uint64_t val)
{
    size_t lo = 0, hi = t->eventfd_count;

    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (t->eventfd[mid].addr < addr)
            lo = mid + 1;
        else
            hi = mid;
    }
    for (; lo < t->eventfd_count && t->eventfd[lo].addr == addr; lo++) {
        const struct io_eventfd *e = &t->eventfd[lo];
        uint64_t one = 1;
        if ((e->size && e->size != size) || (e->match && e->data != (val & mask_of(size))))
            continue;
        /* EAGAIN means the counter is full: the reader has a signal waiting already. */
        TRACE(io_kick, "fd %d addr 0x%" PRIx64, e->fd, addr);
        if (write(e->fd, &one, sizeof(one)) != sizeof(one))
            assert(errno == EAGAIN);
        return true;
    }
    return false;
}

void io_space_write(struct io_space *s, uint64_t addr, unsigned size, uint64_t val)
{
    struct io_counts *counts = io_counts_mine();
    uint64_t start = host_ticks();
    struct reader *slot;
    struct io_table *t;
    bool claimed;

    assert(size >= 1 && size <= 8);
    TRACE(io_write, "%s 0x%" PRIx64 " size %u = 0x%" PRIx64, s->name, addr, size, val);
    t = table_enter(s, &slot);
    claimed = t->eventfd_count && eventfd_claims(t, addr, size, val);
    table_leave(slot);
    if (claimed)
        io_count(counts, IO_COUNT_EVENTFD);
    for (unsigned done = 0; !claimed && done < size;) {
        struct interval iv;
        uint64_t gap_last;
        unsigned n;
        if (space_find(s, addr + done, &iv, &gap_last)) {
            n = bytes_until(addr + done, iv.end, size - done);
            io_count(counts, iv.region->count_slot);
            if (iv.region->lock)
                pthread_mutex_lock(iv.region->lock);
            region_write(iv.region, addr + done - iv.base, n, val >> (8 * done));
            if (iv.region->lock)
                pthread_mutex_unlock(iv.region->lock);
        } else {
            n = bytes_until(addr + done, gap_last, size - done);
        }
        done += n;
    }
    io_count_time(counts, host_ticks() - start);
}

struct io_region *io_space_find(struct io_space *s, uint64_t addr)
{
    struct interval iv;
    uint64_t gap_last;

    return space_find(s, addr, &iv, &gap_last) ? iv.region : NULL;
}

void io_space_dump(struct io_space *s, void (*line)(void *opaque, const char *text), void *opaque)
{
    int digits = s->pio ? 4 : 16;

    pthread_mutex_lock(&s->lock);
    for (size_t i = 0; i < s->table->interval_count; i++) {
        const struct interval *iv = &s->table->interval[i];
        char text[160];
        snprintf(text, sizeof(text), "%0*" PRIx64 "-%0*" PRIx64 " (prio %d): %s", digits, iv->start,
                 digits, iv->last, iv->region->priority, iv->region->name ? iv->region->name : "?");
        line(opaque, text);
    }
    pthread_mutex_unlock(&s->lock);
}

void io_space_eventfd_add(struct io_space *s, const struct io_eventfd *e)
{
    pthread_mutex_lock(&s->lock);
    g_array_append_val(s->eventfds, *e);
    table_rebuild_locked(s);
    if (s->listener)
        s->listener->add(s->listener, s->pio, e);
    pthread_mutex_unlock(&s->lock);
}

void io_space_eventfd_del(struct io_space *s, const struct io_eventfd *e)
{
    pthread_mutex_lock(&s->lock);
    for (guint i = 0; i < s->eventfds->len; i++) {
        struct io_eventfd *x = &g_array_index(s->eventfds, struct io_eventfd, i);
        if (x->addr != e->addr || x->fd != e->fd || x->size != e->size || x->match != e->match ||
            (x->match && x->data != e->data))
            continue;
        g_array_remove_index(s->eventfds, i);
        table_rebuild_locked(s);
        if (s->listener)
            s->listener->del(s->listener, s->pio, e);
        break;
    }
    pthread_mutex_unlock(&s->lock);
}

void io_space_eventfd_listen(struct io_space *s, struct io_eventfd_listener *l)
{
    pthread_mutex_lock(&s->lock);
    s->listener = l;
    for (guint i = 0; l && i < s->eventfds->len; i++)
        l->add(l, s->pio, &g_array_index(s->eventfds, struct io_eventfd, i));
    pthread_mutex_unlock(&s->lock);
}
