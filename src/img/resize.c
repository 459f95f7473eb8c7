/* resize.c - the verb resize. */
#include "img.h"

#include "base/error.h"
#include "base/log.h"
#include "base/util.h"
#include "block/qcow2.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct resize {
    struct img_open how;
    const char *path, *text;
    enum blk_prealloc prealloc;
    bool shrink, quiet;
};

/* The last word, so that "-5G" is a size and no option. */
static bool new_size(const char *text, uint64_t now, uint64_t *out)
{
    uint64_t n;
    bool relative = *text == '+' || *text == '-';
    if (!img_parse_size("image size", relative ? text + 1 : text, &n)) {
        return false;
    }
    if ((*text == '-' && n >= now) || (*text == '+' && n > INT64_MAX - now) || (!relative && !n)) {
        img_fail_text("New image size must be positive; '%s' does not lead to one", text);
        return false;
    }
    *out = *text == '+' ? now + n : *text == '-' ? now - n : n;
    return true;
}

static bool fill_raw(struct blk_node *n, const struct resize *r, uint64_t from, uint64_t to,
                     GError **err)
{
    enum { PIECE = 1 << 20 };
    if (r->prealloc == BLK_PREALLOC_FALLOC) {
        int fd = open(blk_filename(n), O_RDWR | O_CLOEXEC);
        int e = fd < 0 ? errno : posix_fallocate(fd, (off_t)from, (off_t)(to - from));
        if (fd >= 0) {
            close(fd);
        }
        return e == 0 || error_errno(err, e, "could not preallocate '%s'", r->path);
    }
    g_autofree uint8_t *zeroes = g_malloc0(PIECE);
    for (; from < to; from += MIN_OF(to - from, (uint64_t)PIECE)) {
        int e = blk_pwrite(n, from, zeroes, MIN_OF(to - from, (uint64_t)PIECE), 0);
        if (e < 0) {
            return error_errno(err, -e, "could not preallocate '%s'", r->path);
        }
    }
    return true;
}

static bool resize_raw(struct blk_node *n, const struct resize *r, uint64_t now, uint64_t to,
                       GError **err)
{
    if (r->prealloc == BLK_PREALLOC_METADATA) {
        return error_set(err, HANOK_ERROR_INVALID,
                         "a raw image has no metadata: --preallocation is off, falloc or full");
    }
    if (!blk_resize(n, to, err)) {
        return false;
    }
    if (to <= now || r->prealloc == BLK_PREALLOC_OFF || fill_raw(n, r, now, to, err)) {
        return true;
    }
    blk_resize(n, now, NULL); /* as it was */
    return false;
}

static int resize(const struct resize *r)
{
    GError *err = NULL;
    struct blk_node *n = img_open(r->path, &r->how, &err);
    if (!n) {
        return img_fail(err);
    }
    uint64_t now = img_size(n), to = 0;
    int status = 1;
    if (!new_size(r->text, now, &to)) {
        blk_close(n);
        return 1;
    }
    to = ALIGN_UP(to, 512);
    if (to < now && !r->shrink) {
        log_warning("Shrinking an image will delete all data beyond the shrunken image's end. "
                    "Before performing such an operation, make sure there is no important data "
                    "there.");
        img_fail_text("Use the --shrink option to perform a shrink operation.");
    } else if (to < now && r->prealloc != BLK_PREALLOC_OFF) {
        img_fail_text("Preallocation can only be used for growing images");
    } else {
        bool ok = qcow2_info(n) ? qcow2_resize(n, to, r->prealloc, &err)
                                : resize_raw(n, r, now, to, &err);
        int e = ok ? blk_flush_sync(n) : 0;
        ok = ok && (e == 0 || error_errno(&err, -e, "could not write '%s'", r->path));
        status = ok ? 0 : img_fail(err);
    }
    blk_close(n);
    return status;
}

int do_resize(int argc, char **argv)
{
    enum { OPT_SHRINK = IMG_OPT_FIRST_OWN, OPT_PREALLOCATION };
    static const struct option longs[] = {
        IMG_LONG_COMMON,
        {"shrink", no_argument, NULL, OPT_SHRINK},
        {"preallocation", required_argument, NULL, OPT_PREALLOCATION},
        {NULL},
    };
    struct resize r = {.how.write = true};
    GError *err = NULL;
    int o;
    r.text = argc > 1 ? argv[--argc] : "";
    bool help = !strcmp(r.text, "-h") || !strcmp(r.text, "--help");
    if (help) {
        return img_help("resize");
    }
    argv[argc] = NULL;
    while ((o = img_getopt(argc, argv, ":hf:q", longs)) != -1) {
        if (o == '?') {
            return 1;
        }
        r.how.format = o == 'f' ? optarg : r.how.format;
        r.how.image_opts |= o == IMG_OPT_IMAGE_OPTS;
        r.quiet |= o == 'q';
        r.shrink |= o == OPT_SHRINK;
        if (o == OPT_PREALLOCATION && !img_read_prealloc(optarg, &r.prealloc, &err)) {
            return img_fail(err);
        }
    }
    if (argc - optind != 1) {
        return img_usage("Expecting image file name and size: hanok-img resize disk.img +5G");
    }
    r.path = argv[optind];
    int status = resize(&r);
    if (status == 0 && !r.quiet) {
        puts("Image resized.");
    }
    return status;
}
