/* cache.c - tables in memory: set-associative, least recently used of a set goes first. */
#include "qcow2.h"

#include <errno.h>
#include <stdlib.h>

enum { SETS_MAX = 8192 };

void q2_cache_init(struct table_cache *c, uint64_t cluster_bytes, uint64_t budget_bytes)
{
    uint64_t sets = budget_bytes / cluster_bytes / Q2_CACHE_WAYS;

    *c = (struct table_cache){.sets = 2};
    while (c->sets < sets && c->sets < SETS_MAX)
        c->sets *= 2;
    c->slots = g_new0(struct table, (size_t)c->sets * Q2_CACHE_WAYS);
}

void q2_cache_free(struct table_cache *c)
{
    for (uint32_t i = 0; c->slots && i < c->sets * Q2_CACHE_WAYS; i++)
        free(c->slots[i].data);
    g_free(c->slots);
    *c = (struct table_cache){0};
}

static struct table *set_of(struct table_cache *c, uint64_t offset, uint32_t cluster_bits)
{
    return &c->slots[((offset >> cluster_bits) & (c->sets - 1)) * Q2_CACHE_WAYS];
}

struct table *q2_cache_find(struct table_cache *c, uint64_t offset, uint32_t cluster_bits)
{
    struct table *set = set_of(c, offset, cluster_bits);

    for (unsigned i = 0; i < Q2_CACHE_WAYS; i++) {
        if (set[i].offset == offset) {
            set[i].stamp = ++c->stamp;
            return &set[i];
        }
    }
    return NULL;
}

/* What is at offset is no table any more. */
void q2_cache_drop(struct table_cache *c, uint64_t offset, uint32_t cluster_bits)
{
    struct table *t = q2_cache_find(c, offset, cluster_bits);

    if (!t)
        return;
    c->dirty -= t->dirty;
    t->dirty = false;
    t->offset = 0;
}

void q2_table_touch(struct qcow2 *q, struct table_cache *c, struct table *t)
{
    pthread_mutex_lock(&q->tables);
    c->dirty += !t->dirty;
    t->dirty = true;
    q->meta_dirty = true;
    pthread_mutex_unlock(&q->tables);
}

/* An empty slot, else the oldest clean one, else the oldest. */
static struct table *victim(struct table_cache *c, uint64_t offset, uint32_t cluster_bits)
{
    struct table *set = set_of(c, offset, cluster_bits), *best = NULL;

    for (unsigned i = 0; i < Q2_CACHE_WAYS; i++) {
        struct table *t = &set[i];
        if (!t->offset)
            return t;
        if (!best || t->dirty < best->dirty ||
            (t->dirty == best->dirty && (int32_t)(t->stamp - best->stamp) < 0))
            best = t;
    }
    return best;
}

static int write_table(struct qcow2 *q, struct table_cache *c, struct table *t)
{
    int r = q2_io(q->file, BLK_WRITE, t->offset, t->data, q->cluster_bytes);
    if (r < 0)
        return r;
    t->dirty = false;
    c->dirty--;
    return 0;
}

int q2_cache_write(struct qcow2 *q, struct table_cache *c)
{
    for (uint32_t i = 0; c->dirty && i < c->sets * Q2_CACHE_WAYS; i++) {
        if (!c->slots[i].dirty)
            continue;
        int r = write_table(q, c, &c->slots[i]);
        if (r < 0)
            return r;
    }
    return 0;
}

static int fill(struct qcow2 *q, struct table_cache *c, struct table *t, uint64_t offset,
                bool fresh)
{
    int r = 0;

    pthread_mutex_lock(&q->tables);
    t->offset = 0; /* nobody may look while it changes */
    pthread_mutex_unlock(&q->tables);
    if (!t->data && posix_memalign((void **)&t->data, 4096, q->cluster_bytes)) {
        t->data = NULL;
        return -ENOMEM;
    }
    if (fresh)
        memset(t->data, 0, q->cluster_bytes);
    else
        r = q2_io(q->file, BLK_READ, offset, t->data, q->cluster_bytes);
    if (r < 0)
        return r;
    pthread_mutex_lock(&q->tables);
    t->offset = offset;
    t->stamp = ++c->stamp;
    t->dirty = fresh;
    c->dirty += fresh;
    q->meta_dirty |= fresh;
    pthread_mutex_unlock(&q->tables);
    return 0;
}

int q2_l2_load(struct qcow2 *q, uint64_t offset, bool fresh, struct table **out)
{
    pthread_mutex_lock(&q->tables);
    *out = q2_cache_find(&q->l2, offset, q->cluster_bits);
    pthread_mutex_unlock(&q->tables);
    if (*out)
        return fresh ? q2_corrupt(q, "a cluster in use was given out as a new L2 table") : 0;
    *out = victim(&q->l2, offset, q->cluster_bits);
    if ((*out)->dirty) { /* an L2 table goes to the disk in its turn only: see write.c */
        int r = q2_flush(q, false);
        if (r < 0)
            return r;
    }
    return fill(q, &q->l2, *out, offset, fresh);
}

int q2_refblock_load(struct qcow2 *q, uint64_t offset, bool fresh, struct table **out)
{
    *out = q2_cache_find(&q->refblocks, offset, q->cluster_bits);
    if (*out)
        return fresh ? q2_corrupt(q, "a cluster in use was given out as a new refcount block") : 0;
    *out = victim(&q->refblocks, offset, q->cluster_bits);
    if ((*out)->dirty) { /* may be written at any time: write.c, rule 5 */
        int r = write_table(q, &q->refblocks, *out);
        if (r < 0)
            return r;
    }
    return fill(q, &q->refblocks, *out, offset, fresh);
}
