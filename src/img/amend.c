/* amend.c - the verb amend: other options for a qcow2 image that is there. */
#include "img.h"

#include "base/error.h"
#include "base/props.h"
#include "base/util.h"
#include "block/qcow2.h"

#include <stdio.h>
#include <string.h>

struct amend {
    struct img_open how;
    struct img_target to;
    bool progress, quiet;
    struct img_progress bar;
};

static bool step(void *opaque, uint64_t done, uint64_t total)
{
    img_progress(&((struct amend *)opaque)->bar, done, total);
    return !img_interrupted;
}

static bool get_switch(struct props *p, const char *key, int *out, GError **err)
{
    bool on = false;
    if (!props_has(p, key)) {
        return true;
    }
    if (!props_get_bool(p, key, &on, err)) {
        return false;
    }
    *out = on;
    return true;
}

static bool read_amend(struct props *p, struct qcow2_amend *a, GError **err)
{
    static const char *const compat[] = {"1.1", "v3", "0.10", "v2", NULL};
    static const char *const fixed[] = {"cluster_size", "preallocation", "compression_type",
                                        "extended_l2"};
    unsigned version = 0;
    *a = QCOW2_AMEND_NOTHING;
    for (size_t i = 0; i < ARRAY_SIZE(fixed); i++) {
        if (props_has(p, fixed[i])) {
            return error_set(err, HANOK_ERROR_INVALID,
                             "'%s' cannot be amended; convert the image into a new one with it",
                             fixed[i]);
        }
    }
    if (!props_get_enum(p, "compat", compat, &version, err) ||
        !props_get_u32(p, "refcount_bits", &a->refcount_bits, err) ||
        !get_switch(p, "lazy_refcounts", &a->lazy_refcounts, err) ||
        !get_switch(p, "data_file_raw", &a->data_file_raw, err) ||
        !props_get_str(p, "backing_file", &a->backing_file, err) ||
        !props_get_str(p, "backing_fmt", &a->backing_format, err) ||
        !props_get_str(p, "data_file", &a->data_file, err) ||
        !props_get_size(p, "size", &a->size_bytes, err)) {
        return false;
    }
    a->version = !props_has(p, "compat") ? 0 : version < 2 ? 3 : 2;
    return props_check_unused(p, "-o of amend", NULL, err);
}

static bool amend(struct amend *m, const char *path, GError **err)
{
    PROPS_AUTO options = img_target_options(&m->to, err);
    struct qcow2_amend a;
    struct blk_node *n = options ? img_open(path, &m->how, err) : NULL;
    if (!n) {
        return false;
    }
    bool ok = qcow2_info(n) || error_set(err, HANOK_ERROR_INVALID,
                                         "Format driver 'raw' does not support option amendment");
    ok = ok && read_amend(options, &a, err);
    if (ok) {
        img_progress_begin(&m->bar, m->progress && !m->quiet);
        ok = qcow2_amend(n, &a, step, m, err);
        int r = ok ? blk_flush_sync(n) : 0;
        ok = ok && (r == 0 || error_errno(err, -r, "could not write '%s'", path));
    }
    if (ok) {
        img_progress_end(&m->bar);
    }
    blk_close(n);
    return ok;
}

static bool help_wanted(const struct img_target *t)
{
    if (t->options->len != 1 || strcmp(g_ptr_array_index(t->options, 0), "help")) {
        return false;
    }
    puts("Amend options for 'qcow2':\n"
         "  backing_file=<str>     - File name of a base image\n"
         "  backing_fmt=<str>      - Image format of the base image\n"
         "  compat=<str>           - Compatibility level (v2 [0.10] or v3 [1.1])\n"
         "  data_file=<str>        - File name of an external data file\n"
         "  data_file_raw=<bool (on/off)> - The external data file must stay valid as a raw image\n"
         "  lazy_refcounts=<bool (on/off)> - Postpone refcount updates\n"
         "  refcount_bits=<num>    - Width of a reference count entry in bits\n"
         "  size=<size>            - Virtual disk size");
    return true;
}

static int run(int argc, char **argv, struct amend *m)
{
    enum { OPT_FORCE = IMG_OPT_FIRST_OWN };
    static const struct option longs[] = {
        IMG_LONG_COMMON, {"force", no_argument, NULL, OPT_FORCE}, {NULL}};
    GError *err = NULL;
    int o;
    while ((o = img_getopt(argc, argv, ":hf:o:t:pq", longs)) != -1) {
        if (o == '?' || (o == 't' && !img_parse_cache(optarg, &m->how.cache))) {
            return 1;
        }
        if (o == 'o') {
            g_ptr_array_add(m->to.options, g_strdup(optarg));
        }
        m->how.format = o == 'f' ? optarg : m->how.format;
        m->how.image_opts |= o == IMG_OPT_IMAGE_OPTS;
        m->progress |= o == 'p';
        m->quiet |= o == 'q';
    }
    if (!m->to.options->len) {
        return img_usage("Must specify options (-o)");
    }
    if (help_wanted(&m->to)) {
        return 0;
    }
    if (argc - optind != 1) {
        return img_usage("Expecting one image file name");
    }
    img_catch_signals();
    m->how.write = true;
    return amend(m, argv[optind], &err) ? 0 : img_fail(err);
}

int do_amend(int argc, char **argv)
{
    struct amend m = {.quiet = false};
    img_target_init(&m.to);
    int r = run(argc, argv, &m);
    img_target_clear(&m.to);
    return r;
}
