/* convert.c - the verb convert: its options, opening both sides, and how it ends. */
#include "convert.h"

#include "base/error.h"
#include "base/log.h"
#include "base/props.h"
#include "base/util.h"
#include "block/qcow2.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

enum { SPARSE_MAX = 16 << 20 };

/* ---- opening ---- */

static bool open_sources(struct convert *c, GError **err)
{
    for (unsigned i = 0; i < c->source_count; i++) {
        struct source *s = &c->sources[i];
        s->node = img_open(s->path, &c->from, err);
        if (!s->node) {
            return false;
        }
        if (!img_refuse_itself(c->target, s->node, err) || !blk_exclude_writers(s->node, err)) {
            return false;
        }
        s->start_bytes = c->size;
        s->size_bytes = ALIGN_UP(img_size(s->node), 512);
        if (s->size_bytes > (uint64_t)INT64_MAX - c->size) {
            return error_set(err, HANOK_ERROR_INVALID, "the sources are too large together");
        }
        c->size += s->size_bytes;
    }
    if (!c->snapshot) {
        return true;
    }
    const char *which = c->snapshot;
    struct blk_node *n = c->sources[0].node;
    if (!qcow2_info(n)) {
        return error_set(err, HANOK_ERROR_INVALID,
                         "Failed to load snapshot: '%s' is not a qcow2 image and has none",
                         c->sources[0].path);
    }
    if (!qcow2_snapshot_show(n, which, err)) {
        g_prefix_error(err, "Failed to load snapshot: ");
        return false;
    }
    c->sources[0].size_bytes = c->size = ALIGN_UP(img_size(n), 512);
    return true;
}

/* Whether the new image is of the kind that block/qcow2_build.h fills. */
static bool can_build(const struct convert *c, struct props *options)
{
    static const char *const slow[] = {"preallocation", "extended_l2", "data_file"};
    const struct qcow2_info *q = qcow2_info(c->out);
    const char *value = NULL;
    if (!q || c->no_create || (q->version < 3 && c->has_backing)) {
        return false;
    }
    for (size_t i = 0; i < ARRAY_SIZE(slow); i++) {
        if (props_has(options, slow[i]) && props_get_str(options, slow[i], &value, NULL) &&
            strcmp(value, "off")) {
            return false;
        }
    }
    return true;
}

/* The builder writes to the file itself, not through the qcow2 driver. */
static bool begin_build(struct convert *c, GError **err)
{
    struct img_open raw = c->into;
    raw.format = "raw";
    blk_close(c->out);
    c->out = img_open(c->target, &raw, err);
    if (c->out) {
        c->build = qcow2_build_new(c->out, c->sparse_bytes != 0, err);
    }
    return c->build != NULL;
}

static bool look_at_target(struct convert *c, GError **err)
{
    uint64_t there = img_size(c->out);
    const struct qcow2_info *q = qcow2_info(c->out);
    if (there < c->size) {
        return error_set(err, HANOK_ERROR_INVALID,
                         "output file is smaller than input file: '%s' has %" PRIu64
                         " bytes, %" PRIu64 " are needed",
                         c->target, there, c->size);
    }
    if (c->compress && !q) {
        return error_set(err, HANOK_ERROR_INVALID,
                         "Compression not supported for this file format");
    }
    struct blk_node *below = blk_backing(c->out);
    c->has_backing |= below && !c->no_create;
    c->backing_size = below ? img_size(below) : 0;
    c->grain = q ? q->cluster_bytes : 4096;
    c->zstd = q && q->zstd;
    return true;
}

static bool open_target(struct convert *c, GError **err)
{
    PROPS_AUTO options = img_target_options(&c->to, err);
    c->existed = access(c->target, F_OK) == 0;
    c->to.size_bytes = c->size;
    c->to.no_sync = c->into.cache.no_flush;
    if (!options || (!c->no_create && !img_create(c->target, &c->to, NULL, err))) {
        return false;
    }
    c->made = !c->no_create && !c->existed;
    c->into.write = true;
    c->into.format = c->target_image_opts ? NULL : c->to.format;
    c->into.image_opts = c->target_image_opts;
    c->out = img_open(c->target, &c->into, err);
    if (!c->out || !look_at_target(c, err)) {
        return false;
    }
    c->target_is_zero |= !c->no_create;
    /* also raw: the host lays out best what grows at its end */
    c->in_order = !c->out_of_order && (qcow2_info(c->out) || !c->into.cache.direct);
    if (!can_build(c, options)) {
        return true;
    }
    c->in_order = true;
    return begin_build(c, err);
}

/* ---- the copy, and its end ---- */

static bool settle(struct convert *c, GError **err)
{
    bool sync = !c->into.cache.no_flush;
    if (c->build) {
        return qcow2_build_finish(c->build, sync, err);
    }
    int r = blk_flush_sync(c->out);
    if (r == 0 && sync) {
        r = blk_pflush(c->out);
    }
    return r == 0 || error_errno(err, -r, "could not write '%s'", c->target);
}

/* Nothing half written stays behind unsaid. */
static void abandon(struct convert *c)
{
    if (c->made && unlink(c->target) == 0) {
        log_error("the incomplete '%s' was removed", c->target);
    } else if (c->made || (c->out && c->started_ns)) {
        log_error("'%s' is incomplete: do not use it", c->target);
    }
}

static bool convert(struct convert *c, GError **err)
{
    img_catch_signals();
    bool ok = open_sources(c, err) && open_target(c, err) && convert_copy(c, err) && settle(c, err);
    qcow2_build_free(c->build);
    blk_close(c->out);
    for (unsigned i = 0; i < c->source_count; i++) {
        blk_close(c->sources[i].node);
    }
    return ok;
}

/* ---- options ---- */

enum { OPT_ZERO = IMG_OPT_FIRST_OWN, OPT_TARGET_OPTS, OPT_BITMAPS, OPT_SALVAGE };

static bool read_sparse(const char *text, uint64_t *out)
{
    if (!img_parse_size("buffer size for sparse output", text, out)) {
        return false;
    }
    if (*out % 512 || *out > SPARSE_MAX) {
        img_fail_text("Invalid buffer size for sparse output specified. Valid sizes are multiples "
                      "of 512 up to %d. Select 0 to disable sparse detection (fully allocates "
                      "output).",
                      SPARSE_MAX);
        return false;
    }
    return true;
}

static bool option_with_value(struct convert *c, int o)
{
    uint64_t n;
    switch (o) {
    case 'f':
        c->from.format = optarg;
        return true;
    case 'O':
        c->to.format = optarg;
        return true;
    case 'o':
        g_ptr_array_add(c->to.options, g_strdup(optarg));
        return true;
    case 'B':
        c->to.backing = optarg;
        c->has_backing = true;
        return true;
    case 'F':
        c->to.backing_format = optarg;
        return true;
    case 'l':
        c->snapshot = optarg;
        return true;
    case 'S':
        return read_sparse(optarg, &c->sparse_bytes);
    case 't':
        return img_parse_cache(optarg, &c->into.cache);
    case 'T':
        return img_parse_cache(optarg, &c->from.cache);
    case 'r':
        return img_parse_size("rate limit", optarg, &c->rate);
    case 'm':
        if (!img_parse_number("number of threads", optarg, 1, CONVERT_THREADS_MAX, &n)) {
            return false;
        }
        c->threads = (unsigned)n;
        return true;
    }
    return false;
}

static bool one_option(struct convert *c, int o)
{
    switch (o) {
    case 'p':
        c->progress = true;
        return true;
    case 'q':
        c->quiet = true;
        return true;
    case 'n':
        c->no_create = true;
        return true;
    case 'c':
        c->compress = true;
        return true;
    case 'C': /* offloading is an order to try; what is copied stays the same */
        c->offload = true;
        return true;
    case 'W':
        c->out_of_order = true;
        return true;
    case 'U':
        c->from.force_share = true;
        return true;
    case IMG_OPT_IMAGE_OPTS:
        c->from.image_opts = true;
        return true;
    case OPT_TARGET_OPTS:
        c->target_image_opts = true;
        return true;
    case OPT_ZERO:
        c->target_is_zero = true;
        return true;
    case OPT_SALVAGE:
        c->salvage = true;
        return true;
    case OPT_BITMAPS:
        img_fail_text("--bitmaps: bitmaps cannot be copied; without it, the copy has none");
        return false;
    }
    return option_with_value(c, o);
}

/* "snapshot.id=1,snapshot.name=x", or just an ID or a name. */
static bool read_snapshot(struct convert *c, GError **err)
{
    if (!c->snapshot || !g_str_has_prefix(c->snapshot, "snapshot.")) {
        return true;
    }
    PROPS_AUTO p = props_parse(c->snapshot, NULL, err);
    struct props *sub = p ? props_get_sub(p, "snapshot") : NULL;
    const char *which = NULL;
    if (!sub || !props_get_str(sub, "id", &which, err) ||
        (!which && !props_get_str(sub, "name", &which, err))) {
        return false;
    }
    if (!which) {
        return error_set(err, HANOK_ERROR_INVALID,
                         "-l needs an ID or a name, or snapshot.id=ID, or snapshot.name=NAME");
    }
    c->snapshot = c->snapshot_text = g_strdup(which);
    return true;
}

static const char *contradiction(const struct convert *c)
{
    if (c->target_is_zero && !c->no_create) {
        return "--target-is-zero requires use of -n flag";
    }
    if (c->target_image_opts && !c->no_create) {
        return "--target-image-opts requires use of -n flag";
    }
    if (c->no_create && c->to.options->len) {
        return "-o has no effect when skipping image creation (-n): leave one of them out";
    }
    if (c->no_create && c->to.backing && !c->to.backing_format) {
        return "Use of backing file requires explicit backing format";
    }
    if (c->to.backing && !c->to.backing_format) {
        return "Use of backing file requires explicit backing format";
    }
    if (c->offload && c->compress) {
        return "Cannot enable copy offloading when -c is used";
    }
    if (c->to.backing && c->source_count > 1) {
        return "Having a backing file for the target makes no sense when concatenating multiple "
               "input images";
    }
    if (c->snapshot && c->source_count > 1) {
        return "No support for concatenating multiple snapshot";
    }
    return NULL;
}

static bool read_options(int argc, char **argv, struct convert *c, GError **err)
{
    static const struct option longs[] = {
        IMG_LONG_COMMON,
        {"target-is-zero", no_argument, NULL, OPT_ZERO},
        {"target-image-opts", no_argument, NULL, OPT_TARGET_OPTS},
        {"bitmaps", no_argument, NULL, OPT_BITMAPS},
        {"salvage", no_argument, NULL, OPT_SALVAGE},
        {NULL},
    };
    int o;
    while ((o = img_getopt(argc, argv, ":hf:O:B:CcF:o:l:S:pt:T:qnm:WUr:", longs)) != -1) {
        if (o == '?' || !one_option(c, o)) {
            return false;
        }
    }
    if (img_target_help(&c->to)) {
        c->help = true;
        return false;
    }
    int words = argc - optind;
    if (words < 2) {
        img_usage("%s: hanok-img convert -O raw disk.qcow2 disk.img",
                  words ? "convert needs a second file, the target"
                        : "Must specify image file name");
        return false;
    }
    c->source_count = (unsigned)words - 1;
    c->sources = g_new0(struct source, c->source_count);
    for (unsigned i = 0; i < c->source_count; i++) {
        c->sources[i].path = argv[optind + (int)i];
    }
    c->target = argv[argc - 1];
    const char *wrong = contradiction(c);
    if (wrong) {
        img_fail_text("%s", wrong);
        return false;
    }
    return (c->target_image_opts || img_check_format(c->to.format, err)) && read_snapshot(c, err);
}

int do_convert(int argc, char **argv)
{
    struct convert c = {.sparse_bytes = 4096, .into.cache.no_flush = true};
    GError *err = NULL;
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    /* some wait for the disk while others compute */
    c.threads = (unsigned)MAX_OF(CONVERT_THREADS_MIN, MIN_OF(cpus, CONVERT_THREADS_MAX));
    pthread_mutex_init(&c.lock, NULL);
    pthread_cond_init(&c.freed, NULL);
    pthread_cond_init(&c.ended, NULL);
    img_target_init(&c.to);
    bool ok = read_options(argc, argv, &c, &err);
    c.progress &= !c.quiet;
    if (ok && !convert(&c, &err)) {
        abandon(&c);
        ok = false;
    }
    if (err) {
        img_fail(err);
    }
    g_free(c.sources);
    g_free(c.snapshot_text);
    img_target_clear(&c.to);
    pthread_cond_destroy(&c.freed);
    pthread_cond_destroy(&c.ended);
    pthread_mutex_destroy(&c.lock);
    return ok || c.help ? 0 : 1;
}
