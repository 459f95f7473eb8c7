/* bench.c - the verb bench: many requests of one kind, and how long they took. */
#include "img.h"

#include "base/error.h"
#include "base/evloop.h"
#include "base/util.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { OPT_FLUSH = IMG_OPT_FIRST_OWN, OPT_PATTERN, OPT_NO_DRAIN };

struct bench;
struct slot {
    struct blk_req req;
    struct iovec iov;
    struct bench *b;
};

struct bench {
    struct img_open how;
    uint64_t count, depth, bytes, step, offset, flush_every, pattern;
    bool write, no_drain, quiet;
    /* the run */
    struct blk_node *n;
    struct slot *slots, flush;
    uint64_t size, left, in_flight, since_flush;
    bool flushing;
    int failed;
};

static void fill(struct bench *b);
static void transferred(struct blk_req *req, int ret);

static void submit(struct slot *s, enum blk_op op, uint64_t at, uint64_t len,
                   void (*done)(struct blk_req *req, int ret))
{
    bool fua = op == BLK_WRITE && s->b->how.cache.through;

    s->req = (struct blk_req){.op = op,
                              .flags = fua ? BLK_REQ_FUA : 0,
                              .offset_bytes = at,
                              .len_bytes = len,
                              .iov = len ? &s->iov : NULL,
                              .iov_count = len ? 1 : 0,
                              .done = done,
                              .node = s->b->n};
    s->b->in_flight++;
    blk_submit(&s->req);
}

static void flushed(struct blk_req *req, int ret)
{
    struct bench *b = container_of(req, struct slot, req)->b;
    b->in_flight--;
    b->flushing = false;
    b->failed = b->failed ? b->failed : ret;
    fill(b);
}

static void next_request(struct slot *s)
{
    struct bench *b = s->b;
    if (b->offset + b->bytes > b->size) {
        b->offset = 0;
    }
    uint64_t at = b->offset;
    b->offset += b->step;
    b->left--;
    b->since_flush++;
    submit(s, b->write ? BLK_WRITE : BLK_READ, at, b->bytes, transferred);
}

static void transferred(struct blk_req *req, int ret)
{
    struct slot *s = container_of(req, struct slot, req);
    s->b->in_flight--;
    s->b->failed = s->b->failed ? s->b->failed : ret;
    s->iov.iov_len = 0; /* free */
    fill(s->b);
}

/* Requests into all free slots, as far as a due flush allows. */
static void fill(struct bench *b)
{
    for (uint64_t i = 0; i < b->depth && !b->failed; i++) {
        bool due = b->flush_every && b->since_flush >= b->flush_every;
        if (due && !b->flushing && (b->no_drain || !b->in_flight)) {
            b->since_flush = 0;
            b->flushing = true;
            submit(&b->flush, BLK_FLUSH, 0, 0, flushed);
            due = false;
        }
        if (!b->left || (due && !b->no_drain) || (b->flushing && !b->no_drain)) {
            return;
        }
        if (!b->slots[i].iov.iov_len) {
            b->slots[i].iov.iov_len = b->bytes;
            next_request(&b->slots[i]);
        }
    }
}

static bool prepare(struct bench *b)
{
    b->slots = g_try_new0(struct slot, b->depth);
    for (uint64_t i = 0; b->slots && i < b->depth; i++) {
        b->slots[i].b = b;
        b->slots[i].iov.iov_base = img_buffer(b->bytes);
        if (!b->slots[i].iov.iov_base) {
            return false;
        }
        memset(b->slots[i].iov.iov_base, (int)b->pattern, b->bytes);
    }
    b->flush.b = b;
    return b->slots != NULL;
}

static int run(struct bench *b, const char *path, GError **err)
{
    b->how.write = b->write;
    b->n = img_open(path, &b->how, err);
    if (!b->n) {
        return 1;
    }
    b->size = img_size(b->n);
    if (b->size < b->bytes) {
        error_set(err, HANOK_ERROR_INVALID, "'%s' is smaller than one buffer", path);
        return 1;
    }
    if (!prepare(b)) {
        error_set(err, HANOK_ERROR_IO, "the host has no memory for %" PRIu64 " buffers", b->depth);
        return 1;
    }
    if (!b->quiet) {
        printf("Sending %" PRIu64 " %s requests, %" PRIu64 " bytes each, %" PRIu64
               " in parallel (starting at offset %" PRIu64 ", step size %" PRIu64 ")\n",
               b->count, b->write ? "write" : "read", b->bytes, b->depth, b->offset, b->step);
        if (b->flush_every) {
            printf("Sending flush every %" PRIu64 " requests\n", b->flush_every);
        }
    }
    uint64_t start = host_clock_ns();
    b->left = b->count;
    blk_plug(b->n);
    fill(b);
    blk_unplug(b->n);
    blk_drain(b->n); /* the end of each request starts the next */
    if (b->failed) {
        error_errno(err, -b->failed, "Failed request");
        return 1;
    }
    if (!b->quiet) {
        printf("Run completed in %3.3f seconds.\n", (double)(host_clock_ns() - start) / 1e9);
    }
    return 0;
}

static bool one_option(struct bench *b, int o)
{
    static const char *const engines[] = {"threads", "native", "io_uring"};
    switch (o) {
    case 'c':
        return img_parse_number("request count", optarg, 1, INT32_MAX, &b->count);
    case 'd':
        return img_parse_number("queue depth", optarg, 1, 65536, &b->depth);
    case 'f':
        b->how.format = optarg;
        return true;
    case 'n':
        b->how.aio = "native";
        return true;
    case 'i':
        for (size_t i = 0; i < ARRAY_SIZE(engines); i++) {
            b->how.aio = !strcmp(optarg, engines[i]) ? engines[i] : b->how.aio;
        }
        if (!b->how.aio) {
            img_fail_text("Invalid aio option: %s; there are threads, native and io_uring", optarg);
        }
        return b->how.aio != NULL;
    case 'o':
        return img_parse_size("offset", optarg, &b->offset);
    case 's':
        return img_parse_size("buffer size", optarg, &b->bytes);
    case 'S':
        return img_parse_size("step size", optarg, &b->step);
    case 't':
        return img_parse_cache(optarg, &b->how.cache);
    case 'q':
        b->quiet = true;
        return true;
    case 'w':
        b->write = true;
        return true;
    case 'U':
        b->how.force_share = true;
        return true;
    case IMG_OPT_IMAGE_OPTS:
        b->how.image_opts = true;
        return true;
    case OPT_FLUSH:
        return img_parse_number("flush interval", optarg, 0, INT32_MAX, &b->flush_every);
    case OPT_PATTERN:
        return img_parse_number("pattern byte", optarg, 0, 255, &b->pattern);
    case OPT_NO_DRAIN:
        b->no_drain = true;
        return true;
    }
    return false;
}

static const char *contradiction(const struct bench *b)
{
    if (!b->write && b->flush_every) {
        return "--flush-interval is only available in write tests";
    }
    if (b->flush_every && b->flush_every < b->depth) {
        return "Flush interval can't be smaller than depth";
    }
    if (b->bytes == 0 || b->bytes > INT32_MAX) {
        return "Invalid buffer size specified: it must be between 1 and 2147483647";
    }
    return NULL;
}

int do_bench(int argc, char **argv)
{
    static const struct option longs[] = {
        IMG_LONG_COMMON,
        {"flush-interval", required_argument, NULL, OPT_FLUSH},
        {"pattern", required_argument, NULL, OPT_PATTERN},
        {"no-drain", no_argument, NULL, OPT_NO_DRAIN},
        {NULL},
    };
    struct bench b = {.count = 75000, .depth = 64, .bytes = 4096};
    GError *err = NULL;
    int o;
    while ((o = img_getopt(argc, argv, ":hc:d:f:ni:o:qs:S:t:wU", longs)) != -1) {
        if (o == '?' || !one_option(&b, o)) {
            return 1;
        }
    }
    b.step = b.step ? b.step : b.bytes;
    const char *wrong = contradiction(&b);
    if (wrong) {
        return img_fail_text("%s", wrong);
    }
    if (argc - optind != 1) {
        return img_usage("Expecting one image file name");
    }
    int r = run(&b, argv[optind], &err);
    blk_close(b.n);
    for (uint64_t i = 0; b.slots && i < b.depth; i++) {
        free(b.slots[i].iov.iov_base);
    }
    g_free(b.slots);
    return r ? img_fail(err) : 0;
}
