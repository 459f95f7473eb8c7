/* convert.c - the verb convert: reads the next piece while the one before is written.
 *
 * Zeroes are left out where the target reads as zeroes by itself. */
#include "img.h"

#include "base/error.h"
#include "base/util.h"
#include "block/qcow2.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PIECE_BYTES = 2 << 20, GRAIN_BYTES = 4096 };

struct transfer {
    struct blk_req req;
    struct iovec iov;
    int ret;
};

struct convert {
    /* what was asked for */
    struct img_open from;
    struct img_target to;
    const char *source, *target;
    bool progress, no_create, target_is_zero;
    /* the run */
    struct blk_node *in, *out;
    uint64_t size, grain;
    int hole_fd; /* a raw source: where the host knows of holes; -1: not asked */
    uint8_t *piece[2];
};

static volatile sig_atomic_t interrupted;

static void on_signal(int sig)
{
    interrupted = 1;
}

static void on_done(struct blk_req *req, int ret)
{
    container_of(req, struct transfer, req)->ret = ret;
}

static void start(struct transfer *t, struct blk_node *n, enum blk_op op, uint64_t at, void *buf,
                  uint64_t len)
{
    t->ret = 0;
    t->iov = (struct iovec){buf, len};
    t->req = (struct blk_req){.op = op,
                              .flags = op == BLK_WRITE_ZEROES ? BLK_REQ_UNMAP : 0,
                              .offset_bytes = at,
                              .len_bytes = len,
                              .iov = buf ? &t->iov : NULL,
                              .iov_count = buf ? 1 : 0,
                              .done = on_done,
                              .node = n};
    blk_submit(&t->req);
}

static bool is_zero(const uint8_t *p, uint64_t len)
{
    return p[0] == 0 && memcmp(p, p + 1, len - 1) == 0;
}

/* One run of data or of zeroes, from at on. */
static uint64_t run_length(const struct convert *c, const uint8_t *p, uint64_t len, bool *zero)
{
    uint64_t n = MIN_OF(c->grain, len);
    *zero = is_zero(p, n);
    while (n < len && is_zero(p + n, MIN_OF(c->grain, len - n)) == *zero) {
        n += MIN_OF(c->grain, len - n);
    }
    return n;
}

static int write_piece(struct convert *c, uint64_t at, uint8_t *p, uint64_t len)
{
    while (len) {
        struct transfer t = {.ret = 0};
        bool zero;
        uint64_t n = run_length(c, p, len, &zero);
        if (!zero || !c->target_is_zero) {
            start(&t, c->out, zero ? BLK_WRITE_ZEROES : BLK_WRITE, at, zero ? NULL : p, n);
            blk_drain(c->out);
        }
        if (t.ret < 0) {
            return t.ret;
        }
        at += n;
        p += n;
        len -= n;
    }
    return 0;
}

/* Where the next data of the source may be. */
static uint64_t skip_hole(const struct convert *c, uint64_t at)
{
    off_t data =
        c->hole_fd >= 0 && c->target_is_zero ? lseek(c->hole_fd, (off_t)at, SEEK_DATA) : (off_t)at;
    if (data < 0) {
        return errno == ENXIO ? c->size : at;
    }
    return MIN_OF(ALIGN_DOWN((uint64_t)data, c->grain) > at ? ALIGN_DOWN((uint64_t)data, c->grain)
                                                            : at,
                  c->size);
}

static void show(const struct convert *c, uint64_t at)
{
    if (c->progress) {
        printf("    (%.2f/100%%)\r", c->size ? 100.0 * (double)at / (double)c->size : 100.0);
        fflush(stdout);
    }
}

static bool copy_all(struct convert *c, GError **err)
{
    uint64_t at = skip_hole(c, 0), before = 0, before_len = 0;
    for (unsigned turn = 0; at < c->size || before_len; turn ^= 1) {
        struct transfer t = {.ret = 0};
        uint64_t len = MIN_OF(c->size - at, (uint64_t)PIECE_BYTES);
        if (len) {
            start(&t, c->in, BLK_READ, at, c->piece[turn], len);
        }
        int r = before_len ? write_piece(c, before, c->piece[turn ^ 1], before_len) : 0;
        blk_drain(c->in);
        if (t.ret < 0) {
            return error_errno(err, -t.ret, "could not read '%s' at %" PRIu64, c->source, at);
        }
        if (r < 0) {
            return error_errno(err, -r, "could not write '%s' at %" PRIu64, c->target, before);
        }
        if (interrupted) {
            return error_set(err, HANOK_ERROR_IO,
                             "interrupted: '%s' holds only a part of '%s', remove it", c->target,
                             c->source);
        }
        before = at;
        before_len = len;
        at = skip_hole(c, at + len);
        show(c, at);
    }
    show(c, c->size);
    if (c->progress) {
        putchar('\n');
    }
    return true;
}

static bool open_target(struct convert *c, GError **err)
{
    struct blk_limits l;
    c->to.size_bytes = c->size;
    if (!c->no_create && !img_create(c->target, &c->to, NULL, err)) {
        return false;
    }
    c->target_is_zero |= !c->no_create;
    c->out = img_open(
        c->target, &(struct img_open){.format = c->to.format, .write = true, .unsafe = true}, err);
    if (!c->out) {
        return false;
    }
    blk_limits(c->out, &l);
    if (l.size_bytes < c->size) {
        return error_set(err, HANOK_ERROR_INVALID,
                         "'%s' has only %" PRIu64 " bytes, and '%s' has %" PRIu64, c->target,
                         l.size_bytes, c->source, c->size);
    }
    const struct qcow2_info *q = qcow2_info(c->out);
    c->grain = q ? MIN_OF(q->cluster_bytes, (uint64_t)PIECE_BYTES) : GRAIN_BYTES;
    return true;
}

/* The target is opened with cache.no-flush=on: the disk is waited for once, here. */
static bool settle(struct convert *c, GError **err)
{
    int r = blk_flush_sync(c->out);
    int fd = r == 0 ? open(c->target, O_RDWR | O_CLOEXEC) : -1;
    if (r == 0 && (fd < 0 || fdatasync(fd) < 0)) {
        r = -errno;
    }
    if (fd >= 0) {
        close(fd);
    }
    return r == 0 || error_errno(err, -r, "could not write '%s'", c->target);
}

static bool convert(struct convert *c, GError **err)
{
    struct blk_limits l;
    c->in = img_open(c->source, &c->from, err);
    if (!c->in || !blk_exclude_writers(c->in, err)) {
        return false;
    }
    blk_limits(c->in, &l);
    c->size = l.size_bytes;
    if (!open_target(c, err)) {
        return false;
    }
    c->hole_fd = qcow2_info(c->in) ? -1 : open(c->source, O_RDONLY | O_CLOEXEC);
    for (unsigned i = 0; i < 2; i++) {
        if (posix_memalign((void **)&c->piece[i], 4096, PIECE_BYTES)) {
            return error_errno(err, ENOMEM, "no memory to copy with");
        }
    }
    struct sigaction sa = {.sa_handler = on_signal, .sa_flags = SA_RESETHAND};
    sigaction(SIGINT, &sa, NULL);
    sigaction(SIGTERM, &sa, NULL);
    return copy_all(c, err) && settle(c, err);
}

static bool read_options(int argc, char **argv, struct convert *c)
{
    static const struct option longs[] = {{"target-is-zero", no_argument, NULL, 'Z'}, {NULL}};
    int o;
    while ((o = getopt_long(argc, argv, "+f:O:o:pqnUcB:F:m:S:t:T:W", longs, NULL)) != -1) {
        switch (o) {
        case 'f':
            c->from.format = optarg;
            break;
        case 'O':
            c->to.format = optarg;
            break;
        case 'o':
            g_ptr_array_add(c->to.options, g_strdup(optarg));
            break;
        case 'p':
            c->progress = true;
            break;
        case 'q':
            c->progress = false;
            break;
        case 'n':
            c->no_create = true;
            break;
        case 'U':
            c->from.force_share = true;
            break;
        case 'Z':
            c->target_is_zero = true;
            break;
        case '?':
            return false;
        default:
            img_fail_text("the option -%c of convert comes with a later version", o);
            return false;
        }
    }
    if (argc - optind != 2) {
        img_fail_text("convert needs two files: hanok-img convert -O raw disk.qcow2 disk.img");
        return false;
    }
    c->source = argv[optind];
    c->target = argv[optind + 1];
    return true;
}

int do_convert(int argc, char **argv)
{
    struct convert c = {.hole_fd = -1};
    GError *err = NULL;
    img_target_init(&c.to);
    bool ok = read_options(argc, argv, &c);
    if (ok && (!img_check_format(c.to.format, &err) || !convert(&c, &err))) {
        img_fail(err);
        ok = false;
    }
    blk_close(c.out);
    blk_close(c.in);
    if (c.hole_fd >= 0) {
        close(c.hole_fd);
    }
    free(c.piece[0]);
    free(c.piece[1]);
    img_target_clear(&c.to);
    return ok ? 0 : 1;
}
