/* commit.c - the verb commit: what an image holds goes into a backing image of it. */
#include "img.h"

#include "base/error.h"
#include "base/props.h"
#include "base/util.h"
#include "block/qcow2.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum { CHAIN_MAX = 200 };

struct commit {
    struct img_open how;
    const char *path, *base; /* base NULL: the next image below */
    bool keep, progress, quiet;
    unsigned depth; /* of the base */
    struct img_progress bar;
};

static bool step(void *opaque, uint64_t done, uint64_t total)
{
    struct commit *c = opaque;
    img_progress(&c->bar, done, total);
    return !img_interrupted;
}

/* The image at path alone: what it is and what it lies on. */
static bool look(const char *path, const char *format, char **type, char **below,
                 char **below_format, GError **err)
{
    struct blk_node *n =
        img_open(path, &(struct img_open){.format = format, .no_backing = true}, err);
    if (!n) {
        return false;
    }
    const struct qcow2_info *q = qcow2_info(n);
    *type = g_strdup(blk_driver_name(n));
    *below = q && q->backing_file ? img_relative_to(path, q->backing_file) : NULL;
    *below_format = q ? g_strdup(q->backing_format) : NULL;
    blk_close(n);
    return true;
}

static json_t *describe(const struct commit *c, const char *path, const char *type, bool write)
{
    return json_pack("{sssbsss{sbsb}s{sssssbs{sbsb}}}", "driver", type, "read-only", !write,
                     "discard", "unmap", "cache", "direct", c->how.cache.direct, "no-flush",
                     c->how.cache.no_flush, "file", "driver", "file", "filename", path, "read-only",
                     !write, "cache", "direct", c->how.cache.direct, "no-flush",
                     c->how.cache.no_flush);
}

static bool same_file(const char *a, const char *b)
{
    struct stat x, y;
    return !strcmp(a, b) ||
           (stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino);
}

/* The chain from the image down to the base, each layer named, so that the base can be written. */
static json_t *describe_chain(struct commit *c, const char *path, const char *format,
                              unsigned depth, GError **err)
{
    g_autofree char *type = NULL, *below = NULL, *below_format = NULL;
    if (depth == CHAIN_MAX) {
        error_set(err, HANOK_ERROR_INVALID, "the chain of '%s' has no end", c->path);
        return NULL;
    }
    if (!look(path, format, &type, &below, &below_format, err)) {
        return NULL;
    }
    bool is_base = depth && (!c->base || same_file(path, c->base));
    json_t *o = describe(c, path, type, depth == 0 || is_base);
    if (is_base) {
        c->depth = depth;
        return o;
    }
    if (!below) {
        json_decref(o);
        if (c->base) {
            error_set(err, HANOK_ERROR_NOT_FOUND, "Did not find '%s' in the backing chain of '%s'",
                      c->base, c->path);
        } else {
            error_set(err, HANOK_ERROR_INVALID, "Image does not have a backing file");
        }
        return NULL;
    }
    json_t *lower = describe_chain(c, below, below_format, depth + 1, err);
    if (!lower) {
        json_decref(o);
        return NULL;
    }
    json_object_set_new(o, "backing", lower);
    return o;
}

static bool commit(struct commit *c, GError **err)
{
    json_t *o = describe_chain(c, c->path, c->how.format, 0, err);
    if (!o) {
        return false;
    }
    PROPS_AUTO p = props_from_json(o);
    json_decref(o);
    struct blk_node *top = blk_open(p, err);
    struct blk_node *base = top;
    for (unsigned i = 0; base && i < c->depth; i++) {
        base = blk_backing(base);
    }
    img_progress_begin(&c->bar, c->progress && !c->quiet);
    bool ok = top && base && blk_commit(top, base, step, c, err);
    if (ok && !c->keep) {
        ok = qcow2_make_empty(top, err);
    }
    if (ok) {
        img_progress_end(&c->bar);
    } else if (top) {
        g_prefix_error(err,
                       "'%s' was not committed and is whole; a part of it may already be in "
                       "the backing file: ",
                       c->path);
    }
    blk_close(top);
    return ok;
}

int do_commit(int argc, char **argv)
{
    static const struct option longs[] = {IMG_LONG_COMMON, {NULL}};
    struct commit c = {.quiet = false};
    GError *err = NULL;
    uint64_t rate = 0;
    int o;
    while ((o = img_getopt(argc, argv, ":hf:t:b:dpqr:", longs)) != -1) {
        if (o == '?' || (o == 't' && !img_parse_cache(optarg, &c.how.cache)) ||
            (o == 'r' && !img_parse_size("rate limit", optarg, &rate))) {
            return 1;
        }
        if (o == IMG_OPT_IMAGE_OPTS) {
            return img_fail_text("commit takes a file name, not --image-opts");
        }
        c.how.format = o == 'f' ? optarg : c.how.format;
        c.base = o == 'b' ? optarg : c.base;
        c.keep |= o == 'd' || o == 'b'; /* -b: the image is not directly on its base */
        c.progress |= o == 'p';
        c.quiet |= o == 'q';
    }
    if (argc - optind != 1) {
        return img_usage("Expecting one image file name");
    }
    c.path = argv[optind];
    img_catch_signals();
    if (!commit(&c, &err)) {
        return img_fail(err);
    }
    if (!c.quiet) {
        puts("Image committed.");
    }
    return 0;
}
