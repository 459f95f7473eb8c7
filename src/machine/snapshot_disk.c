/* snapshot_disk.c - snapshot=on: the guest writes to a temporary image over the user's, and that
 * image is gone with the process: it has no name as soon as it is open. */
#include "base/error.h"
#include "base/props.h"
#include "block/block.h"
#include "block/qcow2.h"
#include "machine_internal.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <unistd.h>

/* The user's image as it was described, but only read. */
static struct blk_node *open_base(struct props *p, GError **err)
{
    json_t *o = json_deep_copy(props_json(p)), *file = json_object_get(o, "file");

    for (const char *const *key = (const char *const[]){"snapshot", "node-name", "throttling",
                                                        "detect-zeroes", "discard", NULL};
         *key; key++)
        json_object_del(o, *key);
    json_object_set_new(o, "read-only", json_true());
    if (json_is_object(file))
        json_object_set_new(file, "read-only", json_true());
    PROPS_AUTO base = props_from_json(o);
    json_decref(o);
    return blk_open(base, err);
}

/* A path of a new, empty qcow2 image as large as the base. */
static char *make_image(const struct blk_node *base, GError **err)
{
    const char *dir = getenv("TMPDIR");
    g_autofree char *path = g_build_filename(dir && *dir ? dir : "/var/tmp", "hanok-XXXXXX", NULL);
    int fd = mkstemp(path);
    struct blk_limits l;

    if (fd < 0) {
        error_errno(err, errno, "snapshot=on needs a temporary image, but '%s' cannot be made",
                    path);
        return NULL;
    }
    close(fd);
    blk_limits(base, &l);
    struct qcow2_create c = {.size_bytes = l.size_bytes, .version = 3, .cluster_bytes = 65536};
    if (!qcow2_create(path, &c, err)) {
        unlink(path);
        return NULL;
    }
    return g_steal_pointer(&path);
}

static json_t *describe_top(struct props *p, const struct blk_node *base, const char *path)
{
    json_t *top = json_pack("{s:s, s:s, s:s, s:{s:b}, s:{s:s, s:s, s:s, s:{s:b}}}", "driver",
                            "qcow2", "backing", blk_node_name(base), "discard", "unmap", "cache",
                            "no-flush", true, "file", "driver", "file", "filename", path, "discard",
                            "unmap", "cache", "no-flush", true);

    for (const char *const *key =
             (const char *const[]){"node-name", "throttling", "detect-zeroes", NULL};
         *key; key++) {
        json_t *v = json_object_get(props_json(p), *key);
        if (v)
            json_object_set(top, *key, v);
    }
    return top;
}

bool machine_snapshot_open(struct machine *m, struct props *p, GError **err)
{
    struct blk_node *base = open_base(p, err);

    if (!base)
        return false;
    g_ptr_array_add(m->blockdevs, base); /* closed after the image that stands on it */
    g_autofree char *path = make_image(base, err);
    json_t *o = path ? describe_top(p, base, path) : NULL;
    if (!o)
        return path ? error_set(err, HANOK_ERROR_INVALID, "'%s' is no valid UTF-8.", path) : false;
    PROPS_AUTO top = props_from_json(o);
    json_decref(o);
    struct blk_node *n = blk_open_idle(top, err);
    unlink(path);
    if (n)
        g_ptr_array_add(m->blockdevs, n);
    return n != NULL;
}
