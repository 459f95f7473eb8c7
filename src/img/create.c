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
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum prealloc { PREALLOC_OFF, PREALLOC_FALLOC, PREALLOC_FULL };

void img_target_init(struct img_target *t)
{
    *t = (struct img_target){.format = "raw",
                             .size_bytes = UINT64_MAX,
                             .options = g_ptr_array_new_with_free_func(g_free)};
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

/* Of a file without data only, and only where the file system copies on write (btrfs): elsewhere
 * there is nothing to switch off, so a refusal is none. */
static void switch_off_copy_on_write(int fd)
{
    int flags = 0;
    if (ioctl(fd, FS_IOC_GETFLAGS, &flags) == 0) {
        flags |= FS_NOCOW_FL;
        (void)ioctl(fd, FS_IOC_SETFLAGS, &flags);
    }
}

/* Through the block layer, so that an image a machine uses is not emptied under it.  *made: there
 * was no such file.  Option nocow of the image's file is for a new one. */
static struct blk_node *make_and_lock(const char *path, bool no_sync, struct props *options,
                                      bool *made, GError **err)
{
    bool nocow = false;
    *made = false;
    if (!props_get_bool(options, "nocow", &nocow, err)) {
        return NULL;
    }
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    *made = fd >= 0;
    if (fd < 0 && errno == EEXIST) {
        fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    }
    if (fd < 0) {
        error_errno(err, errno, "%s: Could not create '%s'", path, path);
        return NULL;
    }
    if (nocow && *made) {
        switch_off_copy_on_write(fd);
    }
    close(fd);
    return img_open(
        path, &(struct img_open){.format = "raw", .write = true, .cache.no_flush = no_sync}, err);
}

/* A failure leaves nothing behind that was not there before. */
static bool made_or_removed(const char *path, struct blk_node *lock, bool made, bool ok)
{
    blk_close(lock);
    if (!ok && made) {
        unlink(path);
    }
    return ok;
}

static bool create_raw(const char *path, const struct img_target *t, uint64_t size,
                       struct props *options, GError **err)
{
    static const char *const names[] = {"off", "falloc", "full", NULL};
    unsigned how = PREALLOC_OFF;
    props_mark_used(options, "nocow");
    if (!props_get_enum(options, "preallocation", names, &how, err) ||
        !props_check_unused(options, "-o", NULL, err)) {
        return false;
    }
    bool made;
    struct blk_node *n = make_and_lock(path, t->no_sync, options, &made, err);
    if (!n) {
        return made_or_removed(path, n, made, false);
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
    return made_or_removed(path, n, made, ok) ||
           error_errno(err, saved, "could not make '%s' %" PRIu64 " bytes long", path, size);
}

static const char *const prealloc_names[] = {
    [BLK_PREALLOC_OFF] = "off",
    [BLK_PREALLOC_METADATA] = "metadata",
    [BLK_PREALLOC_FALLOC] = "falloc",
    [BLK_PREALLOC_FULL] = "full",
    NULL,
};

bool img_read_prealloc(const char *text, enum blk_prealloc *out, GError **err)
{
    for (unsigned i = 0; prealloc_names[i]; i++) {
        if (!strcmp(text, prealloc_names[i])) {
            *out = (enum blk_prealloc)i;
            return true;
        }
    }
    return error_set(err, HANOK_ERROR_INVALID,
                     "Invalid preallocation mode '%s': there are off, metadata, falloc and full",
                     text);
}

/* What -o may say of a qcow2 image, by qemu-img's names. */
bool img_read_qcow2_options(struct props *p, const char *path, struct qcow2_create *c, GError **err)
{
    static const char *const compat[] = {"1.1", "v3", "0.10", "v2", NULL};
    static const char *const methods[] = {"zlib", "zstd", NULL};
    unsigned version = 0, method = 0, how = 0;
    *c = (struct qcow2_create){
        .size_bytes = UINT64_MAX, .cluster_bytes = 64 * KiB, .refcount_bits = 16};
    if (!props_get_enum(p, "compat", compat, &version, err) ||
        !props_get_enum(p, "compression_type", methods, &method, err) ||
        !props_get_enum(p, "preallocation", prealloc_names, &how, err) ||
        !props_get_bool(p, "lazy_refcounts", &c->lazy_refcounts, err) ||
        !props_get_bool(p, "extended_l2", &c->extended_l2, err) ||
        !props_get_u32(p, "refcount_bits", &c->refcount_bits, err) ||
        !props_get_size(p, "cluster_size", &c->cluster_bytes, err) ||
        !props_get_size(p, "size", &c->size_bytes, err) ||
        !props_get_str(p, "backing_file", &c->backing_file, err) ||
        !props_get_str(p, "backing_fmt", &c->backing_format, err) ||
        !props_get_str(p, "data_file", &c->data_file, err) ||
        !props_get_bool(p, "data_file_raw", &c->data_file_raw, err)) {
        return false;
    }
    if (props_has(p, "encryption") || props_has(p, "encrypt")) {
        return error_set(err, HANOK_ERROR_UNSUPPORTED,
                         "%s: encrypted images cannot be made; encrypt inside the guest, or the "
                         "file system below",
                         path);
    }
    props_mark_used(p, "nocow"); /* of the file */
    c->version = version < 2 ? 3 : 2;
    c->zstd = method == 1;
    c->preallocation = how;
    return props_check_unused(p, "-o of a qcow2 image", NULL, err);
}

/* Relative to where the new image lies, as it will be looked for. */
static bool look_at_backing(const char *path, bool unchecked, struct qcow2_create *c, GError **err)
{
    if (!c->backing_format) {
        return error_set(
            err, HANOK_ERROR_INVALID,
            "%s: Backing file specified without backing format; say -F raw or -F qcow2", path);
    }
    if (!img_check_format(c->backing_format, err)) {
        return false;
    }
    if (unchecked) {
        return true;
    }
    g_autofree char *file = img_relative_to(path, c->backing_file);
    struct blk_node *n = img_open(file, &(struct img_open){.format = c->backing_format}, err);
    if (!n) {
        g_prefix_error(err, "%s: the backing file: ", path);
        return false;
    }
    if (c->size_bytes == UINT64_MAX) {
        c->size_bytes = img_size(n);
    }
    bool ok = img_refuse_itself(path, n, err);
    blk_close(n);
    return ok;
}

/* In qemu-img's words and order: what was said, and the defaults of some. */
static char *describe_qcow2(const char *path, const struct qcow2_create *c, struct props *said)
{
    GString *s = g_string_new(NULL);
    g_string_printf(s, "Formatting '%s', fmt=qcow2 cluster_size=%" PRIu64 " extended_l2=%s", path,
                    c->cluster_bytes, c->extended_l2 ? "on" : "off");
    static const char *const echoed[] = {"compat", "data_file", "data_file_raw"};
    const char *value = NULL;
    if (props_has(said, "preallocation") && props_get_str(said, "preallocation", &value, NULL)) {
        g_string_append_printf(s, " preallocation=%s", value);
    }
    g_string_append_printf(s, " compression_type=%s size=%" PRIu64, c->zstd ? "zstd" : "zlib",
                           c->size_bytes);
    for (size_t i = 0; i < ARRAY_SIZE(echoed); i++) {
        if (props_has(said, echoed[i]) && props_get_str(said, echoed[i], &value, NULL)) {
            g_string_append_printf(s, " %s=%s", echoed[i], value);
        }
        if (i == 0 && c->backing_file) {
            g_string_append_printf(s, " backing_file=%s backing_fmt=%s", c->backing_file,
                                   c->backing_format);
        }
    }
    g_string_append_printf(s, " lazy_refcounts=%s refcount_bits=%u",
                           c->lazy_refcounts ? "on" : "off", c->refcount_bits);
    if (props_has(said, "nocow") && props_get_str(said, "nocow", &value, NULL)) {
        g_string_append_printf(s, " nocow=%s", value);
    }
    return g_string_free(s, FALSE);
}

static bool create_qcow2(const char *path, const struct img_target *t, struct props *options,
                         char **describe, GError **err)
{
    struct qcow2_create c;
    if (!img_read_qcow2_options(options, path, &c, err)) {
        return false;
    }
    c.size_bytes = t->size_bytes != UINT64_MAX ? t->size_bytes : c.size_bytes;
    c.no_sync = t->no_sync;
    c.backing_file = t->backing ? t->backing : c.backing_file;
    c.backing_format = t->backing_format ? t->backing_format : c.backing_format;
    if (c.backing_file && !look_at_backing(path, t->backing_unchecked, &c, err)) {
        return false;
    }
    if (c.size_bytes == UINT64_MAX) {
        return error_set(err, HANOK_ERROR_INVALID,
                         "%s: Image creation needs a size parameter: hanok-img create -f qcow2 %s "
                         "10G",
                         path, path);
    }
    if (describe) {
        *describe = describe_qcow2(path, &c, options);
    }
    c.size_bytes = ALIGN_UP(c.size_bytes, 512);
    bool made;
    struct blk_node *n = make_and_lock(path, t->no_sync, options, &made, err);
    return made_or_removed(path, n, made, n && qcow2_create(path, &c, err));
}

struct props *img_target_options(const struct img_target *t, GError **err)
{
    struct props *all = props_new();
    for (guint i = 0; i < t->options->len; i++) {
        PROPS_AUTO more = props_parse(g_ptr_array_index(t->options, i), NULL, err);
        if (!more) {
            props_free(all);
            return NULL;
        }
        props_merge(all, more);
    }
    return all;
}

bool img_target_help(const struct img_target *t)
{
    bool wanted = false;
    for (guint i = 0; i < t->options->len; i++) {
        const char *o = g_ptr_array_index(t->options, i);
        wanted |= !strcmp(o, "help") || !strcmp(o, "?");
    }
    if (!wanted) {
        return false;
    }
    printf("Supported %s options:\n", t->format);
    if (!strcmp(t->format, "qcow2")) {
        puts("  backing_file=<str>     - File name of a base image\n"
             "  backing_fmt=<str>      - Image format of the base image\n"
             "  cluster_size=<size>    - qcow2 cluster size\n"
             "  compat=<str>           - Compatibility level (v2 [0.10] or v3 [1.1])\n"
             "  compression_type=<str> - Compression method: zlib or zstd\n"
             "  data_file=<str>        - File name of an external data file\n"
             "  data_file_raw=<bool (on/off)> - The external data file must stay valid as a raw "
             "image\n"
             "  extended_l2=<bool (on/off)> - Extended L2 tables\n"
             "  lazy_refcounts=<bool (on/off)> - Postpone refcount updates\n"
             "  preallocation=<str>    - off, metadata, falloc, full\n"
             "  refcount_bits=<num>    - Width of a reference count entry in bits");
    } else {
        puts("  preallocation=<str>    - off, falloc, full");
    }
    puts("  nocow=<bool (on/off)>  - Turn off copy-on-write of the new file (btrfs)\n"
         "  size=<size>            - Virtual disk size");
    return true;
}

bool img_create(const char *path, const struct img_target *t, char **describe, GError **err)
{
    PROPS_AUTO options = img_target_options(t, err);
    if (!options || !img_check_format(t->format, err)) {
        return false;
    }
    if (!strcmp(t->format, "qcow2")) {
        return create_qcow2(path, t, options, describe, err);
    }
    uint64_t size = UINT64_MAX;
    if (!props_get_size(options, "size", &size, err)) {
        return false;
    }
    size = t->size_bytes != UINT64_MAX ? t->size_bytes : size;
    if (t->backing) {
        return error_set(err, HANOK_ERROR_INVALID,
                         "%s: Backing file not supported for file format 'raw'", path);
    }
    if (size == UINT64_MAX) {
        return error_set(
            err, HANOK_ERROR_INVALID,
            "%s: Image creation needs a size parameter: hanok-img create -f raw %s 10G", path,
            path);
    }
    if (describe) {
        const char *how = NULL, *nocow = NULL;
        props_get_str(options, "preallocation", &how, NULL);
        props_get_str(options, "nocow", &nocow, NULL);
        *describe = g_strdup_printf("Formatting '%s', fmt=raw size=%" PRIu64 "%s%s%s%s", path, size,
                                    nocow ? " nocow=" : "", nocow ? nocow : "",
                                    how ? " preallocation=" : "", how ? how : "");
    }
    return create_raw(path, t, ALIGN_UP(size, 512), options, err);
}

static int create_here(int argc, char **argv, struct img_target *t)
{
    static const struct option longs[] = {IMG_LONG_COMMON, {NULL}};
    bool quiet = false;
    GError *err = NULL;
    g_autofree char *line = NULL;
    int c;
    while ((c = img_getopt(argc, argv, ":hf:o:qb:F:u", longs)) != -1) {
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
        case 'u':
            t->backing_unchecked = true;
            break;
        default:
            return c == '?' ? 1 : img_usage("create has no such option");
        }
    }
    int words = argc - optind;
    if (img_target_help(t)) {
        return 0;
    }
    if (words < 1 || words > 2) {
        return img_usage("create needs a file and a size: hanok-img create -f raw disk.img 10G");
    }
    if (words == 2 && !img_parse_size("image size", argv[optind + 1], &t->size_bytes)) {
        return 1;
    }
    if (!img_create(argv[optind], t, &line, &err)) {
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
