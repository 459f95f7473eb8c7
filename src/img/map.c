/* map.c - the verb map: which layer holds what, and where in which file. */
#include "img.h"

#include "base/error.h"
#include "base/util.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

struct entry {
    uint64_t start, len, offset;
    unsigned depth;
    bool present, zero, data, has_offset;
    const char *file;
};

struct map {
    const char *path;
    struct img_open how;
    uint64_t from, max_len;
    bool json;
};

/* One answer: the topmost layer that stores something, or knows of zeroes, or is the last. */
static int look(struct blk_node *n, uint64_t at, uint64_t len, struct entry *e)
{
    struct blk_status st;
    for (*e = (struct entry){.start = at};; e->depth++) {
        int r = blk_status(n, at, len, false, &st);
        if (r < 0) {
            return r;
        }
        struct blk_node *below = blk_backing(n);
        if (st.flags & (BLK_STATUS_DATA | BLK_STATUS_ZERO)) {
            break;
        }
        if (!below || at >= img_size(below)) {
            st.flags |= BLK_STATUS_ZERO;
            break;
        }
        len = MIN_OF(st.len_bytes, img_size(below) - at);
        n = below;
    }
    e->len = st.len_bytes;
    e->present = st.flags & BLK_STATUS_ALLOCATED;
    e->zero = st.flags & BLK_STATUS_ZERO;
    e->data = st.flags & BLK_STATUS_DATA;
    e->has_offset = st.flags & BLK_STATUS_OFFSET;
    e->offset = e->has_offset ? st.host_bytes : 0;
    e->file = e->has_offset ? blk_filename(st.host) : NULL;
    return 0;
}

static bool goes_on(const struct entry *a, const struct entry *b)
{
    return a->depth == b->depth && a->present == b->present && a->zero == b->zero &&
           a->data == b->data && a->has_offset == b->has_offset &&
           (!a->has_offset || (a->offset + a->len == b->offset && !strcmp(a->file, b->file)));
}

static bool print_entry(const struct map *m, const struct entry *e, bool first)
{
    static const char *const word[] = {"false", "true"};
    if (!m->json) {
        if (e->data && !e->zero && !e->has_offset) {
            img_fail_text("File contains external, encrypted or compressed clusters.");
            return false;
        }
        if (e->data && !e->zero) {
            printf("%#-16" PRIx64 "%#-16" PRIx64 "%#-16" PRIx64 "%s\n", e->start, e->len, e->offset,
                   e->file);
        }
        return true;
    }
    printf("%s{ \"start\": %" PRIu64 ", \"length\": %" PRIu64
           ", \"depth\": %u, \"present\": %s, \"zero\": %s, \"data\": %s",
           first ? "" : ",\n", e->start, e->len, e->depth, word[e->present], word[e->zero],
           word[e->data]);
    if (e->has_offset) {
        printf(", \"offset\": %" PRIu64, e->offset);
    }
    putchar('}');
    return true;
}

static int print_map(const struct map *m, struct blk_node *n)
{
    uint64_t size = img_size(n),
             end = m->max_len < size - MIN_OF(size, m->from) ? m->from + m->max_len : size;
    struct entry now, next;
    bool have = m->from >= size, first = true; /* behind the end: nothing, said as one entry */
    now = (struct entry){.start = m->from};
    fputs(m->json ? "[" : "Offset          Length          Mapped to       File\n", stdout);
    for (uint64_t at = m->from; at < end; at += next.len) {
        int r = look(n, at, end - at, &next);
        if (r < 0) {
            return img_fail_text("Could not read '%s' at %" PRIu64 ": %s", m->path, at,
                                 g_strerror(-r));
        }
        if (have && goes_on(&now, &next)) {
            now.len += next.len;
            continue;
        }
        if (have && !print_entry(m, &now, first)) {
            return 1;
        }
        first &= !have;
        now = next;
        have = true;
    }
    if (have && !print_entry(m, &now, first)) {
        return 1;
    }
    fputs(m->json ? "]\n" : "", stdout);
    return 0;
}

int do_map(int argc, char **argv)
{
    static const struct option longs[] = {
        IMG_LONG_COMMON,
        {"output", required_argument, NULL, IMG_OPT_OUTPUT},
        {"start-offset", required_argument, NULL, 's'},
        {"max-length", required_argument, NULL, 'l'},
        {NULL},
    };
    struct map m = {.max_len = UINT64_MAX};
    GError *err = NULL;
    int o;
    while ((o = img_getopt(argc, argv, ":hf:s:l:U", longs)) != -1) {
        bool ok = o != '?';
        if (o == 'f') {
            m.how.format = optarg;
        } else if (o == 'U') {
            m.how.force_share = true;
        } else if (o == IMG_OPT_IMAGE_OPTS) {
            m.how.image_opts = true;
        } else if (o == IMG_OPT_OUTPUT) {
            ok = img_parse_output(optarg, &m.json);
        } else if (o == 's') {
            ok = img_parse_size("start offset", optarg, &m.from);
        } else if (o == 'l') {
            ok = img_parse_size("max length", optarg, &m.max_len);
        }
        if (!ok) {
            return 1;
        }
    }
    if (argc - optind != 1) {
        return img_usage("Expecting one image file name");
    }
    m.path = argv[optind];
    struct blk_node *n = img_open(m.path, &m.how, &err);
    if (!n) {
        return img_fail(err);
    }
    int r = print_map(&m, n);
    blk_close(n);
    return r;
}
