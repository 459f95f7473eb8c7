/* repair.c - makes refcounts and COPIED flags agree with the tables; what the tables themselves say
 * is not guessed at.
 *
 * Leaked clusters are uncounted where they stand.  Where a count is too low, or the structure that
 * holds the counts is damaged, all of it is made anew behind the end of the file: until the one
 * header write that switches over, nothing that was there has changed. */
#include "check.h"

#include "base/error.h"
#include "base/log.h"

#include <errno.h>

static int drop_leaks(struct check *c)
{
    struct qcow2 *q = c->q;
    int r = 0;

    for (uint64_t i = 0; r == 0 && i < c->clusters; i++) {
        uint64_t n;
        r = q2_stored_count(q, i, &n);
        if (r < 0 || n <= c->counts[i])
            continue;
        struct table *t;
        uint64_t place = q->reftable[i >> q->refblock_bits] & ~511ull;
        r = q2_refblock_load(q, place, false, &t);
        if (r < 0)
            break;
        q2_count_put(t->data, i & (BIT64(q->refblock_bits) - 1), q->refcount_order, c->counts[i]);
        q2_table_touch(q, &q->refblocks, t);
        if (c->counts[i] == 0)
            q->free_hint = MIN_OF(q->free_hint, i);
        c->out->leaks_fixed++;
    }
    return r < 0 ? r : q2_refcounts_write(q);
}

static int rebuild(struct check *c)
{
    q2_count_structures(c, -1);
    int r = q2_refcounts_rebuild(c->q, c->counts, c->clusters, c->q->refcount_order);

    if (r < 0)
        return r;
    c->out->leaks_fixed = c->out->leaks;
    c->out->corruptions_fixed += c->low + c->bad_structures;
    c->out->end_bytes = c->q->file_end;
    return 0;
}

static int mend_flags(struct check *c)
{
    struct qcow2 *q = c->q;
    int r = q2_tree(q, q->l1, q->l1_entries, Q2_TREE_FLAGS);

    if (r == 0)
        r = q2_flush(q, false);
    if (r == 0)
        c->out->corruptions_fixed += c->flags;
    return r;
}

/* With everything right again, the image needs no mark. */
static int clear_marks(struct check *c)
{
    struct qcow2 *q = c->q;
    uint64_t marks = q->info.incompatible & (Q2_INCOMPAT_DIRTY | Q2_INCOMPAT_CORRUPT);
    const struct qcow2_check *o = c->out;

    if (o->leaks != o->leaks_fixed || o->corruptions != o->corruptions_fixed || !marks)
        return 0;
    int r = q2_set_incompatible(q, q->info.incompatible & ~marks);
    if (r == 0)
        q->corrupt = false;
    return r;
}

bool q2_repair(struct check *c, unsigned fix, GError **err)
{
    bool all = (fix & QCOW2_FIX_ERRORS) != 0;
    int r = 0;

    if (all && (c->low || c->bad_structure))
        r = rebuild(c);
    else if ((fix & (QCOW2_FIX_LEAKS | QCOW2_FIX_ERRORS)) && c->out->leaks && !c->bad_structure)
        r = drop_leaks(c);
    if (r == 0 && all)
        r = mend_flags(c);
    if (r == 0)
        r = q2_barrier(c->q);
    if (r == 0 && all)
        r = clear_marks(c);
    return r == 0 || error_errno(err, -r, "Could not repair '%s'", q2_name(c->q));
}

static void quietly(void *opaque, bool is_leak, const char *text)
{
}

bool q2_repair_dirty(struct qcow2 *q, GError **err)
{
    struct qcow2_check found;

    log_info("'%s' was not closed properly; its refcounts are being repaired", q2_name(q));
    if (!qcow2_check(q->node, QCOW2_FIX_LEAKS | QCOW2_FIX_ERRORS, quietly, NULL, &found, err))
        return false;
    if (found.corruptions == found.corruptions_fixed)
        return true;
    return error_set(err, HANOK_ERROR_CORRUPT,
                     "'%s' was not closed properly and cannot be repaired by itself; look at it "
                     "with 'hanok-img check', or open it with read-only=on.",
                     q2_name(q));
}
