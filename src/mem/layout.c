/* layout.c - brings what layouts want into the map: first all that goes, then all that comes. */
#include "mem/layout.h"

#include "base/log.h"
#include "map.h"

#include <assert.h>

static bool piece_equal(const struct mem_piece *a, const struct mem_piece *b)
{
    return a->gpa == b->gpa && a->size_bytes == b->size_bytes && a->block == b->block &&
           a->offset_bytes == b->offset_bytes && a->kind == b->kind;
}

static bool has_piece(const struct mem_piece *list, unsigned count, const struct mem_piece *p)
{
    for (unsigned i = 0; i < count; i++)
        if (piece_equal(&list[i], p))
            return true;
    return false;
}

static bool continues(const struct mem_piece *a, const struct mem_piece *b)
{
    return a->block == b->block && a->kind == b->kind && a->gpa + a->size_bytes == b->gpa &&
           a->offset_bytes + a->size_bytes == b->offset_bytes;
}

bool mem_layout_set(struct mem_layout *l, const struct mem_piece *piece, unsigned count)
{
    struct mem_piece joined[MEM_LAYOUT_PIECES];
    unsigned n = 0;

    assert(count <= MEM_LAYOUT_PIECES);
    for (unsigned i = 0; i < count; i++) {
        if (n && continues(&joined[n - 1], &piece[i]))
            joined[n - 1].size_bytes += piece[i].size_bytes;
        else
            joined[n++] = piece[i];
    }
    bool same = n == l->want_count;
    for (unsigned i = 0; same && i < n; i++)
        same = piece_equal(&joined[i], &l->want[i]);
    memcpy(l->want, joined, n * sizeof(joined[0]));
    l->want_count = n;
    return !same;
}

static void piece_hide(struct guest_mem *m, struct mem_layout *l, unsigned i)
{
    guest_mem_unmap(m, l->region[i]);
    l->have_count--;
    l->have[i] = l->have[l->have_count];
    l->region[i] = l->region[l->have_count];
}

static bool range_free(struct guest_mem *m, uint64_t gpa, uint64_t size)
{
    struct region_table *t = guest_mem_table(m);

    for (unsigned i = 0; i < t->count; i++) {
        const struct guest_region *r = &t->r[i]->pub;
        if (gpa < r->gpa + r->size_bytes && r->gpa < gpa + size)
            return false;
    }
    return gpa + size > gpa;
}

static void piece_show(struct guest_mem *m, struct mem_layout *l, const struct mem_piece *p)
{
    const struct guest_region *r;

    if (!range_free(m, p->gpa, p->size_bytes)) {
        log_guest("memory wanted at 0x%llx is not shown: something lies there",
                  (unsigned long long)p->gpa);
        return;
    }
    r = guest_mem_map(m, GPA(p->gpa), p->block, p->offset_bytes, p->size_bytes, p->kind);
    ((struct guest_region *)r)->movable = true;
    if (l->watched)
        guest_mem_watch(m, r);
    l->have[l->have_count] = *p;
    l->region[l->have_count++] = r;
}

void mem_layouts_apply(struct guest_mem *m)
{
    for (struct mem_layout *l = m->layouts; l; l = l->next)
        for (unsigned i = l->have_count; i > 0; i--)
            if (!has_piece(l->want, l->want_count, &l->have[i - 1]))
                piece_hide(m, l, i - 1);
    for (struct mem_layout *l = m->layouts; l; l = l->next)
        for (unsigned i = 0; i < l->want_count; i++)
            if (!has_piece(l->have, l->have_count, &l->want[i]))
                piece_show(m, l, &l->want[i]);
}

void mem_layouts_hide_all(struct guest_mem *m)
{
    for (struct mem_layout *l = m->layouts; l; l = l->next)
        while (l->have_count)
            piece_hide(m, l, l->have_count - 1);
}

void mem_layout_add(struct guest_mem *m, struct mem_layout *l)
{
    struct mem_layout **at = &m->layouts;

    while (*at) /* appended: of two that want the same place the older one has it */
        at = &(*at)->next;
    l->next = NULL;
    *at = l;
}

void mem_layout_remove(struct guest_mem *m, struct mem_layout *l)
{
    for (struct mem_layout **at = &m->layouts; *at; at = &(*at)->next) {
        if (*at != l)
            continue;
        *at = l->next;
        while (l->have_count)
            piece_hide(m, l, l->have_count - 1);
        return;
    }
}
