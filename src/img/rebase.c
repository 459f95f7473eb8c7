/* rebase.c - the verb rebase: an image gets another backing image.
 *
 * Safe mode: what the guest reads stays the same.  Clusters that the image takes from below are
 * compared in the old and the new backing image, and copied where these differ; only then is the
 * header changed.  Stopped at any point before that, the image is as good as it was. */
#include "img.h"

#include "base/error.h"
#include "base/util.h"
#include "block/qcow2.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PIECE_BYTES = 1 << 20 };

struct rebase {
    struct img_open how, below;
    const char *path, *backing, *format; /* backing "": none */
    bool unsafe, progress, quiet;
    /* the run */
    struct blk_node *n, *old, *new;
    const struct qcow2_info *q;
    uint64_t cluster;
    uint8_t *a, *b;
};

/* Behind its end, and without it, a backing image reads as zeroes. */
static int read_below(struct blk_node *n, uint64_t at, uint8_t *buf, uint64_t len)
{
    uint64_t size = n ? img_size(n) : 0, there = at < size ? MIN_OF(len, size - at) : 0;
    memset(buf + there, 0, len - there);
    return there ? blk_pread(n, at, buf, there) : 0;
}

/* The image itself says that these are zeroes.  Without a backing image it thinks that it needs
 * not, unless it holds something there: data first, which become zeroes then, or stay in version 2.
 */
static int keep_zeroes(struct rebase *r, uint64_t at, const uint8_t *zeroes, uint64_t len)
{
    uint64_t enough = r->q->version >= 3 && !r->q->extended_l2 ? MIN_OF(len, (uint64_t)512) : len;
    int e = r->old ? 0 : blk_pwrite(r->n, at, zeroes, enough, 0);
    return e < 0 || (!r->old && r->q->version < 3) ? e : blk_pzero(r->n, at, len, BLK_REQ_UNMAP);
}

/* [at, at+len) is nothing the image holds itself. */
static int keep_old(struct rebase *r, uint64_t at, uint64_t len)
{
    int e = read_below(r->old, at, r->a, len);
    if (e == 0) {
        e = read_below(r->new, at, r->b, len);
    }
    for (uint64_t i = 0; e == 0 && i < len; i += r->cluster) {
        uint64_t n = MIN_OF(r->cluster, len - i);
        if (!memcmp(r->a + i, r->b + i, n)) {
            continue;
        }
        e = img_is_zero(r->a + i, n) ? keep_zeroes(r, at + i, r->a + i, n)
                                     : blk_pwrite(r->n, at + i, r->a + i, n, 0);
    }
    return e;
}

static bool both_zero(struct rebase *r, uint64_t at, uint64_t *len)
{
    struct blk_node *below[] = {r->old, r->new};
    for (unsigned i = 0; i < 2; i++) {
        struct blk_status st;
        uint64_t size = below[i] ? img_size(below[i]) : 0;
        if (at >= size) {
            continue;
        }
        if (blk_status_above(below[i], NULL, at, MIN_OF(*len, size - at), true, &st) < 0 ||
            !(st.flags & BLK_STATUS_ZERO)) {
            return false;
        }
        *len = MIN_OF(*len, st.len_bytes);
    }
    return true;
}

static bool copy_differences(struct rebase *r, GError **err)
{
    struct img_progress bar;
    uint64_t size = img_size(r->n);
    img_progress_begin(&bar, r->progress && !r->quiet);
    for (uint64_t at = 0; at < size;) {
        struct blk_status st;
        int e = blk_status(r->n, at, size - at, false, &st);
        uint64_t len = e < 0 ? 0 : st.len_bytes;
        if (e == 0 && !(st.flags & BLK_STATUS_ALLOCATED) && !both_zero(r, at, &len)) {
            len = MIN_OF(st.len_bytes, (uint64_t)PIECE_BYTES - at % PIECE_BYTES);
            e = keep_old(r, at, len);
        }
        if (e < 0) {
            return error_errno(err, -e,
                               "error at byte %" PRIu64 " of '%s'; its backing file is "
                               "unchanged, and what the guest sees too",
                               at, r->path);
        }
        if (img_interrupted) {
            return error_set(err, HANOK_ERROR_IO,
                             "interrupted: the backing file of '%s' is unchanged, and what the "
                             "guest sees too",
                             r->path);
        }
        at += len;
        img_progress(&bar, at, size);
    }
    img_progress_end(&bar);
    return true;
}

static bool prepare_copy(struct rebase *r, GError **err)
{
    r->old = blk_backing(r->n);
    if (*r->backing) {
        g_autofree char *file = img_relative_to(r->path, r->backing);
        struct img_open how = r->below;
        how.format = r->format;
        r->new = img_open(file, &how, err);
        if (!r->new) {
            g_prefix_error(err, "Could not open new backing file '%s': ", r->backing);
            return false;
        }
        if (!img_refuse_itself(r->path, r->new, err)) {
            return false;
        }
    }
    r->a = img_buffer(PIECE_BYTES);
    r->b = img_buffer(PIECE_BYTES);
    return (r->a && r->b) || error_set(err, HANOK_ERROR_IO, "no memory to compare with");
}

static bool rebase(struct rebase *r, GError **err)
{
    r->how.write = true;
    r->how.no_backing = r->unsafe;
    r->n = img_open(r->path, &r->how, err);
    if (!r->n) {
        return false;
    }
    r->q = qcow2_info(r->n);
    if (!r->q) {
        return error_set(err, HANOK_ERROR_INVALID,
                         "Could not change the backing file of '%s': a raw image has none",
                         r->path);
    }
    if (*r->backing && !r->format) {
        return error_set(err, HANOK_ERROR_INVALID,
                         "Could not change the backing file to '%s': backing format must be "
                         "specified with -F",
                         r->backing);
    }
    if (*r->backing && !img_check_format(r->format, err)) {
        return false;
    }
    r->cluster = MIN_OF(r->q->cluster_bytes, (uint64_t)PIECE_BYTES);
    if (!r->unsafe && (!prepare_copy(r, err) || !copy_differences(r, err))) {
        return false;
    }
    int e = blk_flush_sync(r->n); /* what was copied, before the header forgets the old one */
    if (e < 0) {
        return error_errno(err, -e, "could not write '%s'", r->path);
    }
    if (!qcow2_set_backing(r->n, *r->backing ? r->backing : NULL, *r->backing ? r->format : NULL,
                           err)) {
        g_prefix_error(err, "Could not change the backing file to '%s': ", r->backing);
        return false;
    }
    return true;
}

static bool read_options(int argc, char **argv, struct rebase *r)
{
    static const struct option longs[] = {IMG_LONG_COMMON, {NULL}};
    int o;
    while ((o = img_getopt(argc, argv, ":hf:F:b:upt:T:qU", longs)) != -1) {
        if (o == '?' || (o == 't' && !img_parse_cache(optarg, &r->how.cache)) ||
            (o == 'T' && !img_parse_cache(optarg, &r->below.cache))) {
            return false;
        }
        r->how.format = o == 'f' ? optarg : r->how.format;
        r->format = o == 'F' ? optarg : r->format;
        r->backing = o == 'b' ? optarg : r->backing;
        r->unsafe |= o == 'u';
        r->progress |= o == 'p';
        r->quiet |= o == 'q';
        r->how.force_share |= o == 'U';
        r->below.force_share |= o == 'U';
        r->how.image_opts |= o == IMG_OPT_IMAGE_OPTS;
    }
    if (argc - optind != 1) {
        img_usage("Expecting one image file name");
        return false;
    }
    if (!r->backing) {
        img_usage("Must specify backing file (-b) or use simple rebase mode (-u) with one; "
                  "-b '' is none");
        return false;
    }
    r->path = argv[optind];
    return true;
}

int do_rebase(int argc, char **argv)
{
    struct rebase r = {.quiet = false};
    GError *err = NULL;
    if (!read_options(argc, argv, &r)) {
        return 1;
    }
    img_catch_signals();
    bool ok = rebase(&r, &err);
    blk_close(r.n);
    blk_close(r.new);
    free(r.a);
    free(r.b);
    return ok ? 0 : img_fail(err);
}
