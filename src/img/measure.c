/* measure.c - the verb measure: how long the file of a new image will be. */
#include "img.h"

#include "base/error.h"
#include "base/props.h"
#include "base/util.h"
#include "block/qcow2.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

struct measure {
    struct img_open how;
    struct img_target to;
    const char *path, *snapshot;
    uint64_t size; /* UINT64_MAX: the image's */
    bool json, from_qcow2;
};

/* Bytes of the clusters that hold data: what a new image would have to store. */
static bool data_bytes(const struct measure *m, struct blk_node *n, uint64_t cluster, uint64_t *out,
                       GError **err)
{
    uint64_t size = img_size(n), sum = 0;
    for (uint64_t at = 0; at < size;) {
        struct blk_status st;
        int r = blk_status_above(n, NULL, at, size - at, true, &st);
        if (r < 0) {
            return error_errno(err, -r, "Could not read '%s' at %" PRIu64, m->path, at);
        }
        uint64_t end = at + st.len_bytes;
        if (!(st.flags & BLK_STATUS_ZERO) && (st.flags & BLK_STATUS_DATA)) {
            end = MIN_OF(ALIGN_UP(end, cluster), size);
            sum += end - ALIGN_DOWN(at, cluster);
        }
        at = end;
    }
    *out = sum;
    return true;
}

static bool measure_image(struct measure *m, struct props *options, struct qcow2_create *c,
                          uint64_t *data, GError **err)
{
    struct blk_node *n = img_open(m->path, &m->how, err);
    if (!n) {
        return false;
    }
    bool ok = !m->snapshot || qcow2_snapshot_show(n, m->snapshot, err);
    const struct qcow2_info *q = qcow2_info(n);
    m->from_qcow2 = q && q->version >= 3;
    if (ok) {
        c->size_bytes = img_size(n);
        *data = c->size_bytes;
        /* With a backing image nobody knows which clusters will be copied: all, at worst. */
        ok = c->backing_file || data_bytes(m, n, c->cluster_bytes, data, err);
    }
    blk_close(n);
    return ok;
}

static bool measure(struct measure *m, struct qcow2_measure *out, GError **err)
{
    PROPS_AUTO options = img_target_options(&m->to, err);
    struct qcow2_create c = {.cluster_bytes = 4096};
    uint64_t data = 0;
    bool qcow2 = !strcmp(m->to.format, "qcow2");
    if (!options || !img_check_format(m->to.format, err) ||
        (qcow2 && !img_read_qcow2_options(options, "measure", &c, err))) {
        return false;
    }
    c.size_bytes = m->size != UINT64_MAX ? m->size : c.size_bytes;
    if (m->path && !measure_image(m, options, &c, &data, err)) {
        return false;
    }
    c.size_bytes = ALIGN_UP(c.size_bytes, 512);
    if (qcow2) {
        return qcow2_measure(&c, data, out, err);
    }
    *out = (struct qcow2_measure){c.size_bytes, c.size_bytes};
    return true;
}

static void print_measure(const struct measure *m, const struct qcow2_measure *r)
{
    bool bitmaps = m->from_qcow2 && !strcmp(m->to.format, "qcow2");
    if (m->json) {
        printf("{\n%s    \"required\": %" PRIu64 ",\n    \"fully-allocated\": %" PRIu64 "\n}\n",
               bitmaps ? "    \"bitmaps\": 0,\n" : "", r->required_bytes, r->full_bytes);
        return;
    }
    printf("required size: %" PRIu64 "\nfully allocated size: %" PRIu64 "\n", r->required_bytes,
           r->full_bytes);
    if (bitmaps) {
        puts("bitmaps size: 0");
    }
}

static bool one_option(struct measure *m, int o)
{
    switch (o) {
    case 'f':
        m->how.format = optarg;
        return true;
    case 'O':
        m->to.format = optarg;
        return true;
    case 'o':
        g_ptr_array_add(m->to.options, g_strdup(optarg));
        return true;
    case 'l':
        m->snapshot = optarg;
        return true;
    case 'U':
        m->how.force_share = true;
        return true;
    case 's':
        return img_parse_size("image size", optarg, &m->size);
    case IMG_OPT_IMAGE_OPTS:
        m->how.image_opts = true;
        return true;
    case IMG_OPT_OUTPUT:
        return img_parse_output(optarg, &m->json);
    }
    return false;
}

static int run(int argc, char **argv, struct measure *m)
{
    static const struct option longs[] = {
        IMG_LONG_COMMON,
        {"output", required_argument, NULL, IMG_OPT_OUTPUT},
        {"size", required_argument, NULL, 's'},
        {NULL},
    };
    GError *err = NULL;
    struct qcow2_measure result;
    int o;
    while ((o = img_getopt(argc, argv, ":hf:l:o:O:U", longs)) != -1) {
        if (o == '?' || !one_option(m, o)) {
            return 1;
        }
    }
    if (img_target_help(&m->to)) {
        return 0;
    }
    if (argc - optind > 1) {
        return img_usage("At most one filename argument is allowed.");
    }
    m->path = optind < argc ? argv[optind] : NULL;
    if ((m->path != NULL) == (m->size != UINT64_MAX)) {
        return img_usage(m->path ? "--size N cannot be used together with a filename."
                                 : "Either --size N or one filename must be specified.");
    }
    if (!measure(m, &result, &err)) {
        return img_fail(err);
    }
    print_measure(m, &result);
    return 0;
}

int do_measure(int argc, char **argv)
{
    struct measure m = {.size = UINT64_MAX};
    img_target_init(&m.to);
    int r = run(argc, argv, &m);
    img_target_clear(&m.to);
    return r;
}
