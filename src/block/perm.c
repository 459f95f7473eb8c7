/* perm.c - who uses a node, and what that means for the locks of the files below.
 *
 * A root's wishes come from the device that claims it, or from the tool that opened it.  raw passes
 * them on; a format with tables of its own needs its file to itself.  force-share=on excludes
 * nobody. */
#include "block_int.h"

#include "base/error.h"

#include <glib.h>

bool blk_set_perm(struct blk_node *n, unsigned used, unsigned unshared, GError **err)
{
    unsigned before_used = n->perm_used, before_unshared = n->perm_unshared;

    if (n->read_only)
        used &= ~(unsigned)(BLK_PERM_WRITE | BLK_PERM_RESIZE);
    if (n->force_share)
        unshared = 0;
    n->perm_used = used;
    n->perm_unshared = unshared;
    bool ok = n->drv->lock ? n->drv->lock(n, used, unshared, err) : blk_perm_to_child(n, err);
    if (!ok) {
        n->perm_used = before_used;
        n->perm_unshared = before_unshared;
    }
    return ok;
}

bool blk_perm_to_child(struct blk_node *n, GError **err)
{
    unsigned used = n->perm_used, unshared = n->perm_unshared;

    if (!n->file)
        return true;
    if (blk_has_tables(n)) {
        used = BLK_PERM_READ | (n->read_only ? 0 : BLK_PERM_WRITE | BLK_PERM_RESIZE);
        unshared = n->force_share ? 0 : BLK_PERM_WRITE | BLK_PERM_RESIZE;
    }
    return blk_set_perm(n->file, used, unshared, err);
}

/* What a program that works with the image itself needs: a reader bothers nobody, a writer is
 * alone. */
bool blk_perm_as_tool(struct blk_node *n, GError **err)
{
    return n->read_only ? blk_set_perm(n, BLK_PERM_READ, 0, err)
                        : blk_set_perm(n, BLK_PERM_READ | BLK_PERM_WRITE | BLK_PERM_RESIZE,
                                       BLK_PERM_WRITE | BLK_PERM_RESIZE, err);
}

bool blk_exclude_writers(struct blk_node *n, GError **err)
{
    return blk_set_perm(n, n->perm_used, n->perm_unshared | BLK_PERM_WRITE | BLK_PERM_RESIZE, err);
}

bool blk_claim_shared(struct blk_node *n, const char *user, bool share_rw, GError **err)
{
    if (n->user)
        return error_set(err, HANOK_ERROR_BUSY, "The block node '%s' is already used by %s.",
                         n->name, n->user);
    if (n->parent)
        return error_set(err, HANOK_ERROR_BUSY, "The block node '%s' is already used by node '%s'.",
                         n->name, n->parent->name);
    if (!blk_set_perm(n, BLK_PERM_READ | BLK_PERM_WRITE, share_rw ? 0 : BLK_PERM_WRITE, err))
        return false;
    n->user = g_strdup(user);
    return true;
}

bool blk_claim(struct blk_node *n, const char *user, GError **err)
{
    return blk_claim_shared(n, user, false, err);
}

void blk_release(struct blk_node *n)
{
    if (n->user)
        blk_set_perm(n, 0, 0, NULL);
    g_free(n->user);
    n->user = NULL;
}

const char *blk_in_use_by(const struct blk_node *n)
{
    return n->user ? n->user : n->parent ? n->parent->name : NULL;
}

const char *blk_user(const struct blk_node *n)
{
    return n->user;
}
