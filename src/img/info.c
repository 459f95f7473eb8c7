/* info.c - the verb info. */
#include "img.h"

#include "base/error.h"
#include "base/util.h"
#include "block/qcow2.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct facts {
    const char *path;
    struct blk_node *node;
    const struct qcow2_info *q; /* NULL: not qcow2 */
};

static const char *yes(bool b)
{
    return b ? "true" : "false";
}

/* ---- for programs ---- */

static json_t *snapshots_json(const struct blk_node *n)
{
    uint32_t count;
    const struct qcow2_snapshot *s = qcow2_snapshots(n, &count);
    json_t *list = json_array();
    for (uint32_t i = 0; i < count; i++, s++) {
        json_t *o = json_pack(
            "{sIsIsssIsIsIsssI}", "vm-clock-sec", (json_int_t)(s->vm_clock_ns / 1000000000),
            "vm-clock-nsec", (json_int_t)(s->vm_clock_ns % 1000000000), "name", s->name, "date-sec",
            (json_int_t)s->date_seconds, "date-nsec", (json_int_t)s->date_ns, "vm-state-size",
            (json_int_t)s->vm_state_bytes, "id", s->id, "icount", (json_int_t)s->icount);
        if (s->icount == UINT64_MAX) {
            json_object_del(o, "icount");
        }
        json_array_append_new(list, o);
    }
    return list;
}

static json_t *bitmaps_json(const struct qcow2_info *q)
{
    json_t *list = json_array();
    for (uint32_t i = 0; i < q->bitmap_count; i++) {
        const struct qcow2_bitmap *b = &q->bitmaps[i];
        json_t *flags = json_array();
        if (b->in_use) {
            json_array_append_new(flags, json_string("in-use"));
        }
        if (b->enabled) {
            json_array_append_new(flags, json_string("auto"));
        }
        json_array_append_new(list, json_pack("{sosssI}", "flags", flags, "name", b->name,
                                              "granularity", (json_int_t)b->granularity_bytes));
    }
    return list;
}

static json_t *specific_json(const struct qcow2_info *q)
{
    json_t *data =
        json_pack("{sssssi}", "compat", q->version >= 3 ? "1.1" : "0.10", "compression-type",
                  q->zstd ? "zstd" : "zlib", "refcount-bits", (int)q->refcount_bits);
    if (q->version >= 3) {
        json_object_set_new(data, "lazy-refcounts", json_boolean(q->lazy_refcounts));
        json_object_set_new(data, "corrupt", json_boolean(q->corrupt));
        json_object_set_new(data, "extended-l2", json_boolean(q->extended_l2));
        if (q->bitmap_count) {
            json_object_set_new(data, "bitmaps", bitmaps_json(q));
        }
        if (q->data_file) {
            json_object_set_new(data, "data-file", json_string(q->data_file));
            json_object_set_new(data, "data-file-raw", json_boolean(q->data_file_raw));
        }
    }
    return data;
}

static void add_qcow2_json(json_t *o, const struct facts *f)
{
    const struct qcow2_info *q = f->q;
    json_object_set_new(o, "cluster-size", json_integer((json_int_t)q->cluster_bytes));
    json_object_set_new(o, "dirty-flag", json_boolean(q->dirty));
    json_object_set_new(o, "format-specific",
                        json_pack("{ssso}", "type", "qcow2", "data", specific_json(q)));
    if (q->snapshots) {
        json_object_set_new(o, "snapshots", snapshots_json(f->node));
    }
    if (q->backing_file) {
        g_autofree char *full = img_relative_to(f->path, q->backing_file);
        json_object_set_new(o, "backing-filename", json_string(q->backing_file));
        json_object_set_new(o, "full-backing-filename", json_string(full));
        if (q->backing_format) {
            json_object_set_new(o, "backing-filename-format", json_string(q->backing_format));
        }
    }
}

static json_t *facts_json(const struct facts *f)
{
    const char *file = blk_filename(f->node);
    json_t *o = json_pack("{sIsssssIsb}", "virtual-size", (json_int_t)img_size(f->node), "filename",
                          f->path, "format", blk_driver_name(f->node), "actual-size",
                          (json_int_t)img_disk_bytes(file), "dirty-flag", 0);
    if (access(file, F_OK)) { /* not on this host */
        json_object_del(o, "actual-size");
    }
    if (f->q) {
        add_qcow2_json(o, f);
    }
    return o;
}

/* ---- for people ---- */

static void print_bitmaps(const struct qcow2_info *q)
{
    if (q->bitmap_count) {
        puts("    bitmaps:");
    }
    for (uint32_t i = 0; i < q->bitmap_count; i++) {
        const struct qcow2_bitmap *b = &q->bitmaps[i];
        printf("        [%u]:\n            flags:%s\n", i, b->in_use || b->enabled ? "" : " ");
        unsigned nth = 0;
        if (b->in_use) {
            printf("                [%u]: in-use\n", nth++);
        }
        if (b->enabled) {
            printf("                [%u]: auto\n", nth);
        }
        printf("            name: %s\n            granularity: %" PRIu64 "\n", b->name,
               b->granularity_bytes);
    }
}

static void print_specific(const struct qcow2_info *q)
{
    printf("Format specific information:\n    compat: %s\n    compression type: %s\n",
           q->version >= 3 ? "1.1" : "0.10", q->zstd ? "zstd" : "zlib");
    if (q->version >= 3) {
        printf("    lazy refcounts: %s\n", yes(q->lazy_refcounts));
        print_bitmaps(q);
    }
    printf("    refcount bits: %u\n", q->refcount_bits);
    if (q->data_file) {
        printf("    data file: %s\n    data file raw: %s\n", q->data_file, yes(q->data_file_raw));
    }
    if (q->version >= 3) {
        printf("    corrupt: %s\n    extended l2: %s\n", yes(q->corrupt), yes(q->extended_l2));
    }
}

static void print_qcow2(const struct facts *f)
{
    const struct qcow2_info *q = f->q;
    printf("cluster_size: %" PRIu64 "\n", q->cluster_bytes);
    if (q->dirty) {
        puts("cleanly shut down: no");
    }
    if (q->backing_file) {
        g_autofree char *full = img_relative_to(f->path, q->backing_file);
        printf("backing file: %s", q->backing_file);
        printf(strcmp(full, q->backing_file) ? " (actual path: %s)\n" : "\n", full);
        if (q->backing_format) {
            printf("backing file format: %s\n", q->backing_format);
        }
    }
    g_autofree char *table = img_snapshot_table(f->node);
    if (table) {
        printf("Snapshot list:\n%s", table);
    }
    print_specific(q);
}

static void print_human(const struct facts *f)
{
    uint64_t size = img_size(f->node);
    g_autofree char *virtual_size = img_human_size(size);
    const char *file = blk_filename(f->node);
    g_autofree char *disk =
        access(file, F_OK) ? g_strdup("unavailable") : img_human_size(img_disk_bytes(file));
    printf("image: %s\nfile format: %s\nvirtual size: %s (%" PRIu64 " bytes)\ndisk size: %s\n",
           f->path, blk_driver_name(f->node), virtual_size, size, disk);
    if (f->q) {
        print_qcow2(f);
    }
}

/* ---- one image, or the chain ---- */

struct info {
    struct img_open how;
    bool json, chain;
    json_t *all;
    GPtrArray *seen; /* of char *: a chain that comes back to itself has no end */
};

static bool print_one(struct info *i, const char *path, const char *format, char **below,
                      char **below_format, GError **err)
{
    struct img_open how = i->how;
    how.format = format;
    how.image_opts &= i->seen->len == 1; /* the first one only */
    struct blk_node *n = img_open(path, &how, err);
    if (!n) {
        return false;
    }
    struct facts f = {path, n, qcow2_info(n)};
    if (i->json) {
        json_array_append_new(i->all, facts_json(&f));
    } else {
        fputs(i->seen->len > 1 ? "\n" : "", stdout);
        print_human(&f);
    }
    if (f.q && f.q->backing_file) {
        *below = img_relative_to(path, f.q->backing_file);
        *below_format = g_strdup(f.q->backing_format);
    }
    blk_close(n);
    return true;
}

static bool print_chain(struct info *i, const char *path, GError **err)
{
    g_autofree char *name = g_strdup(path), *format = g_strdup(i->how.format);
    while (name) {
        if (g_ptr_array_find_with_equal_func(i->seen, name, g_str_equal, NULL)) {
            return error_set(err, HANOK_ERROR_INVALID,
                             "Backing file '%s' creates an infinite loop.", name);
        }
        g_ptr_array_add(i->seen, g_strdup(name));
        char *below = NULL, *below_format = NULL;
        if (!print_one(i, name, format, &below, &below_format, err)) {
            return false;
        }
        g_free(name);
        g_free(format);
        name = i->chain ? below : NULL;
        format = below_format;
        if (!i->chain) {
            g_free(below);
        }
    }
    return true;
}

static int run(struct info *i, const char *path)
{
    GError *err = NULL;
    i->all = json_array();
    i->seen = g_ptr_array_new_with_free_func(g_free);
    bool ok = print_chain(i, path, &err);
    if (ok && i->json) {
        json_dumpf(i->chain ? i->all : json_array_get(i->all, 0), stdout, JSON_INDENT(4));
        putchar('\n');
    }
    json_decref(i->all);
    g_ptr_array_free(i->seen, TRUE);
    return ok ? 0 : img_fail(err);
}

int do_info(int argc, char **argv)
{
    enum { OPT_CHAIN = IMG_OPT_FIRST_OWN };
    static const struct option longs[] = {
        IMG_LONG_COMMON,
        {"output", required_argument, NULL, IMG_OPT_OUTPUT},
        {"backing-chain", no_argument, NULL, OPT_CHAIN},
        {NULL},
    };
    struct info i = {.how.no_backing = true}; /* also when the backing file is missing */
    int o;
    while ((o = img_getopt(argc, argv, ":hf:U", longs)) != -1) {
        if (o == '?' || (o == IMG_OPT_OUTPUT && !img_parse_output(optarg, &i.json))) {
            return 1;
        }
        i.how.format = o == 'f' ? optarg : i.how.format;
        i.how.force_share |= o == 'U';
        i.how.image_opts |= o == IMG_OPT_IMAGE_OPTS;
        i.chain |= o == OPT_CHAIN;
    }
    if (argc - optind != 1) {
        return img_usage("Expecting one image file name");
    }
    return run(&i, argv[optind]);
}
