/* map.c - the region table: changes, lookups, listeners.
 *
 * A change builds a new table and publishes it with one atomic store.  Readers may still be inside
 * the old one, so it is retired and freed by the next unmap or by guest_mem_free(): an unmap is
 * only allowed when nobody can be in a lookup (vCPUs paused, devices drained), for the region's
 * memory goes away with it anyway. */
#include "map.h"

#include <assert.h>

static struct region_table *table_new(unsigned count)
{
    struct region_table *t = g_malloc0(sizeof(*t) + count * sizeof(t->r[0]));
    t->count = count;
    return t;
}

static void table_publish(struct guest_mem *m, struct region_table *t)
{
    struct region_table *old = m->table;
    __atomic_store_n(&m->table, t, __ATOMIC_RELEASE);
    old->retired_next = m->retired;
    m->retired = old;
}

static void tables_reclaim(struct guest_mem *m)
{
    while (m->retired) {
        struct region_table *t = m->retired;
        m->retired = t->retired_next;
        g_free(t);
    }
}

struct guest_mem *guest_mem_new(void)
{
    struct guest_mem *m = g_new0(struct guest_mem, 1);
    m->table = table_new(0);
    return m;
}

static void region_free(struct region *r)
{
    r->block->mapped--;
    bitmap_free(r->dirty_storage, r->bitmap_words);
    bitmap_free(r->for_log, r->bitmap_words);
    bitmap_free(r->for_watch, r->bitmap_words);
    bitmap_free(r->pub.code, r->bitmap_words);
    bitmap_free(r->pub.huge, r->huge_words);
    g_free(r);
}

void guest_mem_free(struct guest_mem *m)
{
    if (!m)
        return;
    for (unsigned i = 0; i < m->table->count; i++)
        region_free(m->table->r[i]);
    tables_reclaim(m);
    g_free(m->table);
    g_free(m);
}

static unsigned slot_unused(struct region_table *t)
{
    for (unsigned slot = 0;; slot++) {
        bool taken = false;
        for (unsigned i = 0; i < t->count; i++)
            taken |= t->r[i]->pub.slot == slot;
        if (!taken)
            return slot;
    }
}

const struct guest_region *guest_mem_map(struct guest_mem *m, gpa_t gpa, struct ram_block *b,
                                         uint64_t offset_bytes, uint64_t size_bytes,
                                         enum guest_region_kind kind)
{
    assert(size_bytes > 0 && (gpa.v | size_bytes | offset_bytes) % GUEST_PAGE_SIZE == 0);
    assert(gpa.v + size_bytes > gpa.v);
    assert(size_bytes <= b->size_bytes && offset_bytes <= b->size_bytes - size_bytes);
    struct region *r = g_new0(struct region, 1);
    r->block = b;
    r->bitmap_words = (size_bytes / GUEST_PAGE_SIZE + 63) / 64;
    r->pub = (struct guest_region){
        .gpa = gpa.v,
        .size_bytes = size_bytes,
        .host = b->host + offset_bytes,
        .kind = kind,
        .slot = slot_unused(m->table),
        .fd = b->fd,
        .fd_offset_bytes = offset_bytes,
        .name = b->name,
        .code = bitmap_new(r->bitmap_words),
    };
    if (b->ask_huge) {
        r->huge_words = (size_bytes / HUGE_PAGE + 2) / 64 + 1;
        r->pub.huge = bitmap_new(r->huge_words);
    }
    b->mapped++;

    struct region_table *old = m->table, *t = table_new(old->count + 1);
    unsigned at = 0;
    while (at < old->count && old->r[at]->pub.gpa < gpa.v)
        at++;
    assert(at == 0 || old->r[at - 1]->pub.gpa + old->r[at - 1]->pub.size_bytes <= gpa.v);
    assert(at == old->count || gpa.v + size_bytes <= old->r[at]->pub.gpa);
    for (unsigned i = 0; i < t->count; i++)
        t->r[i] = i < at ? old->r[i] : i == at ? r : old->r[i - 1];
    table_publish(m, t);
    for (struct mem_listener *l = m->listeners; l; l = l->next)
        if (l->ops->region_add)
            l->ops->region_add(l, &r->pub);
    if (m->log_users)
        region_log_start(m, r);
    return &r->pub;
}

void guest_mem_unmap(struct guest_mem *m, const struct guest_region *gone)
{
    struct region *r = region_of(gone);
    struct region_table *old = m->table, *t = table_new(old->count - 1);
    unsigned n = 0;
    for (unsigned i = 0; i < old->count; i++) {
        if (old->r[i] == r)
            continue;
        assert(n < t->count); /* gone is one of ours */
        t->r[n++] = old->r[i];
    }
    table_publish(m, t);
    for (struct mem_listener *l = m->listeners; l; l = l->next)
        if (l->ops->region_del)
            l->ops->region_del(l, gone);
    tables_reclaim(m);
    region_free(r);
}

const struct guest_region *guest_mem_find(struct guest_mem *m, gpa_t gpa)
{
    struct region_table *t = guest_mem_table(m);
    unsigned lo = 0, hi = t->count;
    while (lo < hi) {
        unsigned mid = (lo + hi) / 2;
        const struct guest_region *r = &t->r[mid]->pub;
        if (gpa.v < r->gpa)
            hi = mid;
        else if (gpa.v - r->gpa >= r->size_bytes)
            lo = mid + 1;
        else
            return r;
    }
    return NULL;
}

uint64_t guest_mem_ram_bytes(struct guest_mem *m)
{
    struct region_table *t = guest_mem_table(m);
    uint64_t sum = 0;
    for (unsigned i = 0; i < t->count; i++)
        if (t->r[i]->pub.kind == GUEST_RAM)
            sum += t->r[i]->pub.size_bytes;
    return sum;
}

void guest_mem_foreach(struct guest_mem *m, bool (*fn)(const struct guest_region *r, void *opaque),
                       void *opaque)
{
    struct region_table *t = guest_mem_table(m);
    for (unsigned i = 0; i < t->count; i++)
        if (!fn(&t->r[i]->pub, opaque))
            return;
}

void guest_mem_listen(struct guest_mem *m, struct mem_listener *l)
{
    /* Appended, so that listeners hear of a change in the order they came. */
    struct mem_listener **at = &m->listeners;
    while (*at)
        at = &(*at)->next;
    l->next = NULL;
    *at = l;
    m->code_listeners += l->ops->code_written != NULL;
    for (unsigned i = 0; i < m->table->count; i++) {
        const struct guest_region *r = &m->table->r[i]->pub;
        if (l->ops->region_add)
            l->ops->region_add(l, r);
        if (r->dirty && l->ops->log_change)
            l->ops->log_change(l, r, true);
    }
}

void guest_mem_unlisten(struct guest_mem *m, struct mem_listener *l)
{
    for (struct mem_listener **at = &m->listeners; *at; at = &(*at)->next) {
        if (*at == l) {
            *at = l->next;
            m->code_listeners -= l->ops->code_written != NULL;
            return;
        }
    }
}
