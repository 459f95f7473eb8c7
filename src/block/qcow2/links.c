/* links.c - the other files that an image names: its backing image and its external data file. */
#include "qcow2.h"

#include "base/error.h"
#include "base/props.h"

#include <errno.h>
#include <jansson.h>

enum { CHAIN_MAX = 200 };

/* What the header says, seen from where the image lies. */
static char *linked_path(struct qcow2 *q, const char *name, GError **err)
{
    const char *colon = strchr(name, ':'), *slash = strchr(name, '/');

    if (g_str_has_prefix(name, "file:")) {
        name += 5;
    } else if (colon && (!slash || colon < slash)) {
        error_set(err, HANOK_ERROR_UNSUPPORTED,
                  "'%s', which '%s' lies on, is not a plain file name, which this version does "
                  "not open.",
                  name, q2_name(q));
        return NULL;
    }
    if (g_path_is_absolute(name) || !strchr(q2_name(q), '/'))
        return g_strdup(name);
    g_autofree char *dir = g_path_get_dirname(q2_name(q));
    return g_build_filename(dir, name, NULL);
}

/* Without a recorded format only what proves itself is opened: a raw image's guest may write any
 * header into its first sector. */
static const char *backing_format(struct qcow2 *q, const char *path, GError **err)
{
    const char *format = q->info.backing_format;
    char magic[4] = "";

    if (format && *format)
        return format;
    FILE *f = fopen(path, "re");
    if (!f) {
        error_errno(err, errno, "Could not open the backing file '%s' of '%s'", path, q2_name(q));
        return NULL;
    }
    size_t n = fread(magic, 1, sizeof(magic), f);
    fclose(f);
    if (n == sizeof(magic) && !memcmp(magic, "QFI\xfb", sizeof(magic)))
        return "qcow2";
    error_set(err, HANOK_ERROR_INVALID,
              "'%s' does not say which format its backing file '%s' has; record it with 'qemu-img "
              "rebase -u -F raw -b %s %s'.",
              q2_name(q), path, q->info.backing_file, q2_name(q));
    return NULL;
}

static struct blk_node *open_backing(struct qcow2 *q, GError **err)
{
    static unsigned depth; /* main thread: a chain may end in itself */
    g_autofree char *path = linked_path(q, q->info.backing_file, err);
    const char *format = path ? backing_format(q, path, err) : NULL;

    if (!format)
        return NULL;
    if (depth >= CHAIN_MAX) {
        error_set(err, HANOK_ERROR_INVALID, "The backing chain of '%s' is longer than %d images.",
                  q2_name(q), CHAIN_MAX);
        return NULL;
    }
    json_t *o = json_pack("{s:s, s:b, s:b, s:{s:s, s:s, s:b, s:b}}", "driver", format, "read-only",
                          1, "force-share", q->node->force_share, "file", "driver", "file",
                          "filename", path, "read-only", 1, "force-share", q->node->force_share);
    if (!o) {
        error_set(err, HANOK_ERROR_INVALID, "The backing file name in '%s' is not valid UTF-8.",
                  q2_name(q));
        return NULL;
    }
    PROPS_AUTO p = props_from_json(o);
    json_decref(o);
    depth++;
    struct blk_node *n = blk_open(p, err);
    depth--;
    if (!n)
        g_prefix_error(err, "The backing file of '%s': ", q2_name(q));
    return n;
}

static struct blk_node *named_node(const char *name, const char *key, GError **err)
{
    struct blk_node *n = blk_find(name);

    if (!n)
        error_set(err, HANOK_ERROR_NOT_FOUND, "There is no block node '%s' for %s= to refer to.",
                  name, key);
    else if (n->parent || n->user)
        error_set(err, HANOK_ERROR_BUSY, "The block node '%s' is already in use.", name);
    else
        return n;
    return NULL;
}

bool q2_backing_open(struct qcow2 *q, struct props *p, GError **err)
{
    json_t *given = props_get_json(p, "backing");

    if (json_is_null(given) || (json_is_string(given) && !*json_string_value(given)) ||
        (!given && !q->info.backing_file))
        return true;
    if (json_is_string(given)) {
        q->backing = named_node(json_string_value(given), "backing", err);
    } else {
        struct props *sub = given ? props_get_sub(p, "backing") : NULL;
        if (sub && !props_has(sub, "read-only"))
            props_set_str(sub, "read-only", "on");
        q->backing = given ? (sub ? blk_open(sub, err) : NULL) : open_backing(q, err);
        q->owns_backing = q->backing != NULL;
        if (given && !sub)
            error_set(err, HANOK_ERROR_INVALID, "backing= is a node's name, an object or null.");
    }
    if (!q->backing)
        return false;
    q->backing->parent = q->node;
    if (!blk_set_perm(q->backing, BLK_PERM_READ | BLK_PERM_WRITE | BLK_PERM_RESIZE,
                      BLK_PERM_WRITE | BLK_PERM_RESIZE, err))
        return false;
    if (!q->backing->drv->sync)
        return error_set(err, HANOK_ERROR_UNSUPPORTED,
                         "The block driver '%s' cannot be below qcow2.", q->backing->drv->name);
    return true;
}

/* QEMU looks for a relative name from where it was started; an image that was moved together with
 * its data is found too. */
static char *data_path(struct qcow2 *q, GError **err)
{
    const char *name = q->info.data_file;

    return g_file_test(name, G_FILE_TEST_EXISTS) ? g_strdup(name) : linked_path(q, name, err);
}

static struct blk_node *open_data(struct qcow2 *q, GError **err)
{
    g_autofree char *path = data_path(q, err);

    if (!path)
        return NULL;
    json_t *o = json_pack("{s:s, s:s, s:b, s:b}", "driver", "file", "filename", path, "read-only",
                          q->node->read_only, "force-share", q->node->force_share);
    if (!o) {
        error_set(err, HANOK_ERROR_INVALID, "The data file name in '%s' is not valid UTF-8.",
                  q2_name(q));
        return NULL;
    }
    PROPS_AUTO p = props_from_json(o);
    json_decref(o);
    struct blk_node *n = blk_open(p, err);
    if (!n)
        g_prefix_error(err, "The data file of '%s': ", q2_name(q));
    return n;
}

bool q2_data_open(struct qcow2 *q, struct props *p, GError **err)
{
    json_t *given = props_get_json(p, "data-file");
    struct blk_node *n = NULL;

    q->data = q->file;
    if (!(q->info.incompatible & Q2_INCOMPAT_DATA_FILE))
        return !given ||
               error_set(err, HANOK_ERROR_INVALID, "'%s' has no external data file.", q2_name(q));
    if (!given && !q->info.data_file)
        return error_set(err, HANOK_ERROR_INVALID,
                         "'%s' keeps its data in an external file that it does not name; say which "
                         "with data-file=.",
                         q2_name(q));
    if (json_is_string(given)) {
        n = named_node(json_string_value(given), "data-file", err);
    } else {
        struct props *sub = given ? props_get_sub(p, "data-file") : NULL;
        if (sub && q->node->read_only && !props_has(sub, "read-only"))
            props_set_str(sub, "read-only", "on");
        if (given && !sub)
            error_set(err, HANOK_ERROR_INVALID, "data-file= is a node's name or an object.");
        n = given ? (sub ? blk_open(sub, err) : NULL) : open_data(q, err);
        q->owns_data = n != NULL;
    }
    if (!n)
        return false;
    q->data = n;
    n->parent = q->node;
    if (!n->drv->sync)
        return error_set(err, HANOK_ERROR_UNSUPPORTED,
                         "The block driver '%s' cannot be below qcow2.", n->drv->name);
    return (q->node->read_only || !n->read_only) ||
           error_set(err, HANOK_ERROR_INVALID, "The data file of '%s' is read-only.", q2_name(q));
}
