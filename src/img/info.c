/* info.c - the verb info. */
#include "img.h"

#include "base/error.h"
#include "block/qcow2.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

struct facts {
    const char *path, *format;
    uint64_t size, actual;
    const struct qcow2_info *q; /* NULL: not qcow2 */
};

static const char *yes(bool b)
{
    return b ? "true" : "false";
}

static char *backing_path(const struct facts *f)
{
    if (g_path_is_absolute(f->q->backing_file)) {
        return g_strdup(f->q->backing_file);
    }
    g_autofree char *dir = g_path_get_dirname(f->path);
    return strcmp(dir, ".") ? g_build_filename(dir, f->q->backing_file, NULL)
                            : g_strdup(f->q->backing_file);
}

static void add_qcow2_json(json_t *o, const struct facts *f)
{
    const struct qcow2_info *q = f->q;
    json_t *data = json_pack("{ssss}", "compat", q->version >= 3 ? "1.1" : "0.10",
                             "compression-type", q->zstd ? "zstd" : "zlib");
    json_object_set_new(data, "refcount-bits", json_integer(q->refcount_bits));
    if (q->version >= 3) {
        json_object_set_new(data, "lazy-refcounts", json_boolean(q->lazy_refcounts));
        json_object_set_new(data, "corrupt", json_boolean(q->corrupt));
        json_object_set_new(data, "extended-l2", json_false());
    }
    json_object_set_new(o, "cluster-size", json_integer((json_int_t)q->cluster_bytes));
    json_object_set_new(o, "dirty-flag", json_boolean(q->dirty));
    json_object_set_new(o, "format-specific", json_pack("{ssso}", "type", "qcow2", "data", data));
    if (q->backing_file) {
        g_autofree char *full = backing_path(f);
        json_object_set_new(o, "backing-filename", json_string(q->backing_file));
        json_object_set_new(o, "full-backing-filename", json_string(full));
        if (q->backing_format) {
            json_object_set_new(o, "backing-filename-format", json_string(q->backing_format));
        }
    }
}

static void print_json(const struct facts *f)
{
    json_t *o =
        json_pack("{sIsssssIsb}", "virtual-size", (json_int_t)f->size, "filename", f->path,
                  "format", f->format, "actual-size", (json_int_t)f->actual, "dirty-flag", 0);
    if (f->q) {
        add_qcow2_json(o, f);
    }
    json_dumpf(o, stdout, JSON_INDENT(4));
    putchar('\n');
    json_decref(o);
}

static void print_qcow2(const struct facts *f)
{
    const struct qcow2_info *q = f->q;
    printf("cluster_size: %" PRIu64 "\n", q->cluster_bytes);
    if (q->backing_file) {
        g_autofree char *full = backing_path(f);
        printf(strcmp(full, q->backing_file) ? "backing file: %s (actual path: %s)\n"
                                             : "backing file: %s\n",
               q->backing_file, full);
        if (q->backing_format) {
            printf("backing file format: %s\n", q->backing_format);
        }
    }
    printf("Format specific information:\n    compat: %s\n    compression type: %s\n",
           q->version >= 3 ? "1.1" : "0.10", q->zstd ? "zstd" : "zlib");
    if (q->version >= 3) {
        printf("    lazy refcounts: %s\n", yes(q->lazy_refcounts));
    }
    printf("    refcount bits: %u\n", q->refcount_bits);
    if (q->version >= 3) {
        printf("    corrupt: %s\n    extended l2: false\n", yes(q->corrupt));
    }
}

static void print_human(const struct facts *f)
{
    g_autofree char *virtual_size = img_human_size(f->size), *disk = img_human_size(f->actual);
    printf("image: %s\nfile format: %s\nvirtual size: %s (%" PRIu64 " bytes)\ndisk size: %s\n",
           f->path, f->format, virtual_size, f->size, disk);
    if (f->q) {
        print_qcow2(f);
    }
}

static int print_info(const char *path, const struct img_open *how, bool json, GError **err)
{
    struct stat st;
    struct blk_limits l;
    struct blk_node *n = img_open(path, how, err);
    if (!n) {
        return 1;
    }
    if (stat(path, &st)) {
        error_errno(err, errno, "could not look at '%s'", path);
        blk_close(n);
        return 1;
    }
    blk_limits(n, &l);
    struct facts f = {path, blk_driver_name(n), l.size_bytes, (uint64_t)st.st_blocks * 512,
                      qcow2_info(n)};
    (json ? print_json : print_human)(&f);
    blk_close(n);
    return 0;
}

int do_info(int argc, char **argv)
{
    static const struct option longs[] = {
        {"output", required_argument, NULL, 'O'}, {"force-share", no_argument, NULL, 'U'}, {NULL}};
    struct img_open how = {.no_backing = true}; /* also when the backing file is missing */
    bool json = false;
    GError *err = NULL;
    int c;
    while ((c = getopt_long(argc, argv, "+f:U", longs, NULL)) != -1) {
        if (c == 'O' && strcmp(optarg, "json") && strcmp(optarg, "human")) {
            return img_fail_text("--output must be 'human' or 'json', not '%s'", optarg);
        }
        json |= c == 'O' && !strcmp(optarg, "json");
        if (c == 'f' && !img_check_format(optarg, &err)) {
            return img_fail(err);
        }
        if (c == '?') {
            return 1;
        }
        how.format = c == 'f' ? optarg : how.format;
        how.force_share |= c == 'U';
    }
    if (argc - optind != 1) {
        return img_fail_text("info needs one file: hanok-img info disk.img");
    }
    return print_info(argv[optind], &how, json, &err) ? img_fail(err) : 0;
}
