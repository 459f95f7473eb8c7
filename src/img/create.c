/* create.c - the verb create, and the making of convert's target. */
#include "img.h"

#include "base/error.h"
#include "base/props.h"
#include "base/util.h"
#include "block/qcow2.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum prealloc { PREALLOC_OFF, PREALLOC_FALLOC, PREALLOC_FULL };

void img_target_init(struct img_target *t)
{
    *t = (struct img_target){.format = "raw", .options = g_ptr_array_new_with_free_func(g_free)};
}

void img_target_clear(struct img_target *t)
{
    g_ptr_array_free(t->options, TRUE);
}

static bool write_zeroes(int fd, uint64_t size)
{
    static const char zeroes[64 * 1024];
    for (uint64_t at = 0; at < size;) {
        ssize_t n = pwrite(fd, zeroes, MIN_OF(size - at, sizeof(zeroes)), at);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return false;
        }
        at += n;
    }
    return fsync(fd) == 0;
}

/* Through the block layer, so that an image a machine uses is not emptied under it. */
static struct blk_node *make_and_lock(const char *path, GError **err)
{
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0) {
        error_errno(err, errno, "could not create '%s'", path);
        return NULL;
    }
    close(fd);
    return blk_open_file(path, false, err);
}

static bool create_raw(const char *path, uint64_t size, struct props *options, GError **err)
{
    static const char *const names[] = {"off", "falloc", "full", NULL};
    unsigned how = PREALLOC_OFF;
    if (!props_get_enum(options, "preallocation", names, &how, err) ||
        !props_check_unused(options, "-o", NULL, err)) {
        return false;
    }
    struct blk_node *n = make_and_lock(path, err);
    if (!n) {
        return false;
    }
    int fd = open(path, O_RDWR | O_TRUNC | O_CLOEXEC);
    bool ok = fd >= 0 && ftruncate(fd, size) == 0;
    if (ok && how == PREALLOC_FALLOC) {
        ok = size == 0 || (errno = posix_fallocate(fd, 0, size)) == 0;
    } else if (ok && how == PREALLOC_FULL) {
        ok = write_zeroes(fd, size);
    }
    int saved = errno;
    if (fd >= 0) {
        close(fd);
    }
    blk_close(n);
    return ok || error_errno(err, saved, "could not make '%s' %" PRIu64 " bytes long", path, size);
}

/* Compat and compression by qemu-img's names; what cannot be had yet is refused. */
static bool read_qcow2_options(struct props *p, struct qcow2_create *c, GError **err)
{
    static const char *const compat[] = {"1.1", "v3", "0.10", "v2", NULL};
    static const char *const methods[] = {"zlib", "zstd", NULL};
    static const char *const preallocation[] = {"off", NULL};
    unsigned version = 0, method = 0, none = 0;
    uint32_t refcount_bits = 16;
    bool extended = false;
    if (!props_get_enum(p, "compat", compat, &version, err) ||
        !props_get_enum(p, "compression_type", methods, &method, err) ||
        !props_get_enum(p, "preallocation", preallocation, &none, err) ||
        !props_get_bool(p, "lazy_refcounts", &c->lazy_refcounts, err) ||
        !props_get_bool(p, "extended_l2", &extended, err) ||
        !props_get_u32(p, "refcount_bits", &refcount_bits, err) ||
        !props_get_size(p, "cluster_size", &c->cluster_bytes, err) ||
        !props_get_str(p, "backing_file", &c->backing_file, err) ||
        !props_get_str(p, "backing_fmt", &c->backing_format, err) ||
        !props_check_unused(p, "-o", NULL, err)) {
        return false;
    }
    c->version = version < 2 ? 3 : 2;
    c->zstd = method == 1;
    if (extended || refcount_bits != 16) {
        return error_set(
            err, HANOK_ERROR_UNSUPPORTED,
            "extended_l2=on and refcount_bits other than 16 come with a later version");
    }
    if (c->version == 2 && (c->zstd || c->lazy_refcounts)) {
        return error_set(err, HANOK_ERROR_INVALID,
                         "compression_type=zstd and lazy_refcounts=on need compat=1.1");
    }
    return true;
}

/* Relative to where the new image lies, as it will be looked for. */
static bool look_at_backing(const char *path, struct qcow2_create *c, GError **err)
{
    if (!c->backing_format) {
        return error_set(err, HANOK_ERROR_INVALID,
                         "the format of the backing file '%s' must be said: -F raw or -F qcow2",
                         c->backing_file);
    }
    g_autofree char *dir = g_path_get_dirname(path);
    g_autofree char *file = g_path_is_absolute(c->backing_file)
                                ? g_strdup(c->backing_file)
                                : g_build_filename(dir, c->backing_file, NULL);
    struct blk_limits l;
    struct blk_node *n = img_open(file, &(struct img_open){.format = c->backing_format}, err);
    if (!n) {
        return false;
    }
    blk_limits(n, &l);
    if (c->size_bytes == UINT64_MAX) {
        c->size_bytes = l.size_bytes;
    }
    blk_close(n);
    return true;
}

static bool create_qcow2(const char *path, const struct img_target *t, struct props *options,
                         char **describe, GError **err)
{
    struct qcow2_create c = {.size_bytes = t->size_bytes, .cluster_bytes = 64 * KiB};
    if (!read_qcow2_options(options, &c, err)) {
        return false;
    }
    c.backing_file = t->backing ? t->backing : c.backing_file;
    c.backing_format = t->backing_format ? t->backing_format : c.backing_format;
    if (c.backing_file && !look_at_backing(path, &c, err)) {
        return false;
    }
    if (c.size_bytes == UINT64_MAX) {
        return error_set(err, HANOK_ERROR_INVALID,
                         "create needs a size: hanok-img create -f qcow2 disk.qcow2 10G");
    }
    c.size_bytes = ALIGN_UP(c.size_bytes, 512);
    struct blk_node *n = make_and_lock(path, err);
    bool ok = n && qcow2_create(path, &c, err);
    blk_close(n);
    if (ok && describe) {
        g_autofree char *base = c.backing_file ? g_strdup_printf(" backing_file=%s backing_fmt=%s",
                                                                 c.backing_file, c.backing_format)
                                               : g_strdup("");
        *describe = g_strdup_printf("Formatting '%s', fmt=qcow2 cluster_size=%" PRIu64
                                    " extended_l2=off compression_type=%s size=%" PRIu64
                                    "%s lazy_refcounts=%s refcount_bits=16",
                                    path, c.cluster_bytes, c.zstd ? "zstd" : "zlib", c.size_bytes,
                                    base, c.lazy_refcounts ? "on" : "off");
    }
    return ok;
}

bool img_create(const char *path, const struct img_target *t, char **describe, GError **err)
{
    PROPS_AUTO options = props_new();
    for (guint i = 0; i < t->options->len; i++) {
        PROPS_AUTO more = props_parse(g_ptr_array_index(t->options, i), NULL, err);
        if (!more) {
            return false;
        }
        props_merge(options, more);
    }
    if (!strcmp(t->format, "qcow2")) {
        return create_qcow2(path, t, options, describe, err);
    }
    if (t->backing) {
        return error_set(err, HANOK_ERROR_INVALID, "a raw image has no backing file");
    }
    if (t->size_bytes == UINT64_MAX) {
        return error_set(err, HANOK_ERROR_INVALID,
                         "create needs a size: hanok-img create -f raw disk.img 10G");
    }
    if (describe) {
        *describe = g_strdup_printf("Formatting '%s', fmt=raw size=%" PRIu64, path, t->size_bytes);
    }
    return create_raw(path, t->size_bytes, options, err);
}

static int create_here(int argc, char **argv, struct img_target *t)
{
    bool quiet = false;
    GError *err = NULL;
    g_autofree char *line = NULL;
    int c;
    while ((c = getopt(argc, argv, "+f:o:qb:F:")) != -1) {
        switch (c) {
        case 'f':
            t->format = optarg;
            break;
        case 'b':
            t->backing = optarg;
            break;
        case 'F':
            t->backing_format = optarg;
            break;
        case 'o':
            g_ptr_array_add(t->options, g_strdup(optarg));
            break;
        case 'q':
            quiet = true;
            break;
        default:
            return 1;
        }
    }
    int words = argc - optind;
    if (words < 1 || words > 2) {
        return img_fail_text(
            "create needs a file and a size: hanok-img create -f raw disk.img 10G");
    }
    t->size_bytes = UINT64_MAX;
    if (!img_check_format(t->format, &err) ||
        (words == 2 && !parse_size(argv[optind + 1], 'B', &t->size_bytes, &err)) ||
        !img_create(argv[optind], t, &line, &err)) {
        return img_fail(err);
    }
    if (!quiet) {
        puts(line);
    }
    return 0;
}

int do_create(int argc, char **argv)
{
    struct img_target t;
    img_target_init(&t);
    int r = create_here(argc, argv, &t);
    img_target_clear(&t);
    return r;
}
