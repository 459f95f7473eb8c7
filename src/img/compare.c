/* compare.c - the verb compare; exit status 0: the same, 1: not (or wrong words), 2: not to be
 * opened, 3: a status cannot be had, 4: a read failed. */
#include "img.h"

#include "base/error.h"
#include "base/util.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PIECE_BYTES = 1 << 20, SECTOR_BYTES = 512 };
enum { SAME = 0, DIFFERENT = 1, NOT_OPENED = 2, NO_STATUS = 3, NOT_READ = 4 };

struct side {
    const char *path, *format;
    struct blk_node *node;
    uint64_t size;
    uint8_t *buf;
};

struct compare {
    struct side a, b;
    struct img_open how;
    bool progress, quiet, strict;
    struct img_progress bar;
};

static int mismatch(const struct compare *c, const char *fmt, uint64_t at)
{
    if (!c->quiet) {
        printf(fmt, at);
        putchar('\n');
    }
    return DIFFERENT;
}

static int read_failed(const struct side *s, uint64_t at, int r)
{
    img_fail_text("Error while reading offset %" PRIu64 " of %s: %s", at, s->path, g_strerror(-r));
    return NOT_READ;
}

static int status(const struct side *s, uint64_t at, uint64_t len, struct blk_status *st)
{
    int r = blk_status_above(s->node, NULL, at, len, true, st);
    if (r == 0) {
        return SAME;
    }
    img_fail_text("Sector allocation test failed for '%s' at %" PRIu64 ": %s", s->path, at,
                  g_strerror(-r));
    return NO_STATUS;
}

/* The first sector of [at, at+len) that is not all zeroes is a mismatch. */
static int must_be_zero(const struct compare *c, const struct side *s, uint64_t at, uint64_t len)
{
    for (uint64_t end = at + len; at < end;) {
        uint64_t n = MIN_OF(end - at, (uint64_t)PIECE_BYTES);
        int r = blk_pread(s->node, at, s->buf, n);
        if (r < 0) {
            return read_failed(s, at, r);
        }
        bool zero;
        uint64_t run = img_run(s->buf, n, SECTOR_BYTES, &zero);
        if (!zero || run < n) {
            return mismatch(c, "Content mismatch at offset %" PRIu64 "!", zero ? at + run : at);
        }
        at += n;
    }
    return SAME;
}

static int same_bytes(const struct compare *c, uint64_t at, uint64_t len)
{
    for (uint64_t end = at + len; at < end;) {
        uint64_t n = MIN_OF(end - at, (uint64_t)PIECE_BYTES);
        int r = blk_pread(c->a.node, at, c->a.buf, n);
        if (r < 0) {
            return read_failed(&c->a, at, r);
        }
        r = blk_pread(c->b.node, at, c->b.buf, n);
        if (r < 0) {
            return read_failed(&c->b, at, r);
        }
        for (uint64_t i = 0; memcmp(c->a.buf, c->b.buf, n) && i < n; i += SECTOR_BYTES) {
            if (memcmp(c->a.buf + i, c->b.buf + i, MIN_OF(n - i, (uint64_t)SECTOR_BYTES))) {
                return mismatch(c, "Content mismatch at offset %" PRIu64 "!", at + i);
            }
        }
        at += n;
    }
    return SAME;
}

static int same_range(struct compare *c, uint64_t both, uint64_t all)
{
    for (uint64_t at = 0; at < both;) {
        struct blk_status a, b;
        int r = status(&c->a, at, both - at, &a);
        if (r == SAME) {
            r = status(&c->b, at, both - at, &b);
        }
        if (r != SAME) {
            return r;
        }
        const uint32_t alike = BLK_STATUS_ALLOCATED | BLK_STATUS_DATA | BLK_STATUS_ZERO;
        if (c->strict && ((a.flags ^ b.flags) & alike)) {
            return mismatch(c, "Strict mode: Offset %" PRIu64 " block status mismatch!", at);
        }
        uint64_t n = MIN_OF(a.len_bytes, b.len_bytes);
        if (!(a.flags & BLK_STATUS_ZERO) && !(b.flags & BLK_STATUS_ZERO)) {
            r = same_bytes(c, at, n);
        } else if (!(a.flags & b.flags & BLK_STATUS_ZERO)) {
            r = must_be_zero(c, a.flags & BLK_STATUS_ZERO ? &c->b : &c->a, at, n);
        }
        if (r != SAME) {
            return r;
        }
        at += n;
        img_progress(&c->bar, at, all);
    }
    return SAME;
}

/* What the longer image has more. */
static int zero_tail(struct compare *c, const struct side *s, uint64_t at)
{
    while (at < s->size) {
        struct blk_status st;
        int r = status(s, at, s->size - at, &st);
        if (r == SAME && !(st.flags & BLK_STATUS_ZERO)) {
            r = must_be_zero(c, s, at, st.len_bytes);
        }
        if (r != SAME) {
            return r;
        }
        at += st.len_bytes;
        img_progress(&c->bar, at, s->size);
    }
    return SAME;
}

static int compare(struct compare *c)
{
    uint64_t both = MIN_OF(c->a.size, c->b.size), all = MAX_OF(c->a.size, c->b.size);
    if (c->strict && both != all) {
        return mismatch(c, "Strict mode: Image size mismatch!", 0);
    }
    int r = same_range(c, both, all);
    if (r == SAME && both != all) {
        if (!c->quiet) {
            puts("Warning: Image size mismatch!");
        }
        r = zero_tail(c, c->a.size > both ? &c->a : &c->b, both);
    }
    if (r == SAME && !c->quiet) {
        puts("Images are identical.");
    }
    return r;
}

static bool open_side(struct side *s, struct img_open how, GError **err)
{
    how.format = s->format;
    s->node = img_open(s->path, &how, err);
    s->size = s->node ? img_size(s->node) : 0;
    s->buf = img_buffer(PIECE_BYTES);
    return s->node && s->buf;
}

static bool read_options(int argc, char **argv, struct compare *c)
{
    static const struct option longs[] = {IMG_LONG_COMMON, {NULL}};
    int o;
    while ((o = img_getopt(argc, argv, ":hf:F:T:pqsU", longs)) != -1) {
        switch (o) {
        case 'f':
            c->a.format = optarg;
            break;
        case 'F':
            c->b.format = optarg;
            break;
        case 'T':
            if (!img_parse_cache(optarg, &c->how.cache)) {
                return false;
            }
            break;
        case 'p':
            c->progress = true;
            break;
        case 'q':
            c->quiet = true;
            break;
        case 's':
            c->strict = true;
            break;
        case 'U':
            c->how.force_share = true;
            break;
        case IMG_OPT_IMAGE_OPTS:
            c->how.image_opts = true;
            break;
        default:
            return false;
        }
    }
    if (argc - optind != 2) {
        img_usage("Expecting two image file names");
        return false;
    }
    c->a.path = argv[optind];
    c->b.path = argv[optind + 1];
    return true;
}

int do_compare(int argc, char **argv)
{
    struct compare c = {.quiet = false};
    GError *err = NULL;
    int r = NOT_OPENED;
    if (!read_options(argc, argv, &c)) {
        return 1;
    }
    if (!open_side(&c.a, c.how, &err) || !open_side(&c.b, c.how, &err)) {
        if (err) {
            img_fail(err);
        }
    } else {
        img_progress_begin(&c.bar, c.progress && !c.quiet);
        r = compare(&c);
        img_progress_end(&c.bar);
    }
    blk_close(c.a.node);
    blk_close(c.b.node);
    free(c.a.buf);
    free(c.b.buf);
    return r;
}
