/* test_qcow2_faults.c - a host that fails: the Nth read, write, flush or discard below the image
 * ends with an error, for every N until none fails; a disk that loses any part of what was written
 * since the last flush; and a process that is killed.
 *
 * After each: the image checks clean or has leaks (and COPIED flags that the repair makes true),
 * the repair makes it clean, and what a flush had ended holds. */
#include "qcow2_bed.h"

#include "block_int.h"

#include "base/util.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SIZE = 1 << 20, CLUSTER = 4096, STEPS = 16, AT_ONCE = 6 };

/* ---- a host that fails ---- */

static struct {
    int (*sync)(struct blk_node *n, struct blk_req *req);
    struct blk_driver driver; /* the file driver, with our sync */
    unsigned calls, fail_at;  /* 0: never */
    bool failed, slow_flush;
} host;

static int failing_sync(struct blk_node *n, struct blk_req *req)
{
    if (__atomic_add_fetch(&host.calls, 1, __ATOMIC_RELAXED) == host.fail_at) {
        host.failed = true;
        if (req->op == BLK_WRITE && req->len_bytes >= 1024) { /* torn in the middle */
            struct blk_req half = *req;
            struct iovec iov = {req->iov[0].iov_base,
                                MIN_OF((uint64_t)req->iov[0].iov_len, req->len_bytes / 2)};
            half.iov = &iov;
            half.iov_count = 1;
            half.len_bytes = ALIGN_DOWN(iov.iov_len, 512);
            iov.iov_len = half.len_bytes;
            if (half.len_bytes)
                host.sync(n, &half);
        }
        return req->op == BLK_READ ? -EIO : req->op == BLK_FLUSH ? -EIO : -ENOSPC;
    }
    return host.sync(n, req);
}

/* The node's file from here on fails at its Nth request; requests that would go by a ring come
 * here too. */
static void failing_submit(struct blk_node *n, struct blk_req *req)
{
    blk_complete_later(n, req, failing_sync(n, req));
}

static void make_fail(struct blk_node *n, unsigned at)
{
    host.sync = n->file->drv->sync;
    host.driver = *n->file->drv;
    host.driver.sync = failing_sync;
    host.driver.submit = failing_submit;
    host.calls = 0;
    host.fail_at = at;
    host.failed = false;
    n->file->drv = &host.driver;
}

static void heal(struct blk_node *n)
{
    host.fail_at = 0;
}

/* ---- what is done ---- */

struct state {
    uint8_t now[SIZE];        /* if all succeeds */
    uint8_t flushed[SIZE];    /* what the last flush promised, */
    bool touched[SIZE / 512]; /* but for what was begun since */
    uint8_t snap[SIZE];       /* what the snapshot holds */
};

static void touch(struct state *s, uint64_t off, uint64_t len)
{
    for (uint64_t i = off / 512; i < (off + len) / 512; i++)
        s->touched[i] = true;
}

static void did_flush(struct state *s)
{
    memcpy(s->flushed, s->now, SIZE);
    memset(s->touched, 0, sizeof(s->touched));
}

static bool do_write(struct blk_node *n, struct state *s, uint64_t off, uint64_t len, int v,
                     uint32_t flags)
{
    touch(s, off, len);
    memset(s->now + off, v, len);
    return io(n, BLK_WRITE, off, s->now + off, len, flags) == 0;
}

/* A write with FUA that has ended is promised. */
static void did_write_through(struct state *s, uint64_t off, uint64_t len)
{
    memcpy(s->flushed + off, s->now + off, len);
    for (uint64_t i = off / 512; i < (off + len) / 512; i++)
        s->touched[i] = false;
}

static bool do_write_through(struct blk_node *n, struct state *s, uint64_t off, uint64_t len, int v)
{
    bool ok = do_write(n, s, off, len, v, BLK_REQ_FUA);

    if (ok)
        did_write_through(s, off, len);
    return ok;
}

struct at_once {
    struct blk_req req;
    struct iovec iov;
    int ret;
    guint ended; /* after so many requests to the file */
};

static guint journal_length(void);

static void ended_at_once(struct blk_req *req, int ret)
{
    struct at_once *w = container_of(req, struct at_once, req);
    w->ret = ret;
    w->ended = journal_length();
}

/* New clusters here and there, all under way at the same time. */
static bool do_writes_through(struct blk_node *n, struct state *s, uint64_t off, int v,
                              struct at_once *w)
{
    bool ok = true;

    for (unsigned i = 0; i < AT_ONCE; i++) {
        uint64_t at = off + i * 3 * CLUSTER;
        touch(s, at, 1024);
        memset(s->now + at, v, 1024);
        w[i] = (struct at_once){.iov = {s->now + at, 1024},
                                .req = {.op = BLK_WRITE,
                                        .flags = BLK_REQ_FUA,
                                        .offset_bytes = at,
                                        .len_bytes = 1024,
                                        .iov_count = 1,
                                        .done = ended_at_once,
                                        .node = n}};
        w[i].req.iov = &w[i].iov;
        blk_submit(&w[i].req);
    }
    blk_drain(n);
    for (unsigned i = 0; i < AT_ONCE; i++) {
        if (w[i].ret == 0)
            did_write_through(s, off + i * 3 * CLUSTER, 1024);
        ok = ok && w[i].ret == 0;
    }
    return ok;
}

static bool do_zero(struct blk_node *n, struct state *s, enum blk_op op, uint64_t off, uint64_t len)
{
    touch(s, off, len);
    memset(s->now + off, 0, len);
    return io(n, op, off, NULL, len, BLK_REQ_UNMAP) == 0;
}

static bool do_apply(struct blk_node *n, struct state *s)
{
    for (unsigned i = 0; i < SIZE / 512; i++)
        s->touched[i] |= memcmp(s->now + i * 512, s->snap + i * 512, 512) != 0;
    memcpy(s->now, s->snap, SIZE);
    return qcow2_snapshot_apply(n, "s", NULL);
}

/* Another width of counts, and a header written as a whole. */
static bool do_amend(struct blk_node *n)
{
    struct qcow2_amend a = QCOW2_AMEND_NOTHING;

    a.refcount_bits = qcow2_info(n)->refcount_bits == 16 ? 32 : 16;
    return (qcow2_info(n)->version == 2 || qcow2_amend(n, &a, NULL, NULL, NULL)) &&
           qcow2_set_backing(n, NULL, NULL, NULL);
}

static bool step(struct blk_node *n, struct state *s, unsigned i)
{
    struct at_once w[AT_ONCE];

    switch (i) {
    case 0:
        return do_write(n, s, 512, 9 * CLUSTER, 1, 0);
    case 1:
    case 4:
    case 11:
        return io(n, BLK_FLUSH, 0, NULL, 0, 0) == 0 && (did_flush(s), true);
    case 2:
        return do_write(n, s, 512 << 10, 12 * CLUSTER, 2, BLK_REQ_COMPRESSED);
    case 3:
        return do_zero(n, s, BLK_WRITE_ZEROES, CLUSTER, 2 * CLUSTER);
    case 5:
        memcpy(s->snap, s->now, SIZE);
        return qcow2_snapshot_create(n, "s", NULL);
    case 6:
        return do_write(n, s, 4 * CLUSTER, 8 * CLUSTER, 3, 0);
    case 7:
        return do_zero(n, s, BLK_DISCARD, 512 << 10, 4 * CLUSTER);
    case 8:
        return do_write(n, s, 700 << 10, CLUSTER, 4, 0) && io(n, BLK_FLUSH, 0, NULL, 0, 0) == 0 &&
               (did_flush(s), true);
    case 9:
        return do_apply(n, s) && qcow2_snapshot_delete(n, "s", NULL);
    case 10:
        return do_write(n, s, 256 << 10, 5 * CLUSTER, 5, 0);
    case 12:
        return blk_resize(n, SIZE + (64 << 10), NULL) && blk_resize(n, SIZE, NULL) && do_amend(n);
    case 13:
        return do_writes_through(n, s, 800 << 10, 7, w);
    case 14:
        return do_write_through(n, s, 300 << 10, 2048, 6);
    default:
        return do_writes_through(n, s, 100 << 10, 8, w);
    }
}

/* ---- what must hold afterwards ---- */

static void note_flags(void *opaque, bool is_leak, const char *text)
{
    unsigned *flags = opaque;

    *flags += strstr(text, "OFLAG_COPIED") != NULL;
}

static void check_after(const char *path, const struct state *s, unsigned at)
{
    struct qcow2_check found;
    unsigned flags = 0;
    g_autofree uint8_t *in = g_malloc(SIZE);
    GError *err = NULL;
    struct blk_node *n = open_ok(path, ",for-check=on");
    bool dirty = qcow2_info(n)->dirty;

    g_assert_true(qcow2_check(n, 0, note_flags, &flags, &found, &err));
    bool lazy = dirty && qcow2_info(n)->lazy_refcounts; /* its counts are to be made anew */
    if ((found.corruptions != flags && !lazy) || (flags && !dirty && qcow2_info(n)->version == 3))
        g_error("failing at %u leaves %lu errors (%u of flags), dirty %d", at, found.corruptions,
                flags, dirty);
    g_assert_true(
        qcow2_check(n, QCOW2_FIX_LEAKS | QCOW2_FIX_ERRORS, note_flags, &flags, &found, &err));
    blk_close(n);
    own_check(path, false);
    n = open_ok(path, ",read-only=on");
    g_assert_cmpint(io(n, BLK_READ, 0, in, SIZE, 0), ==, 0);
    for (unsigned i = 0; i < SIZE / 512; i++) {
        if (!s->touched[i] && memcmp(in + i * 512, s->flushed + i * 512, 512))
            g_error("failing at %u lost what was flushed at sector %u", at, i);
    }
    blk_close(n);
}

static void create(const char *path, const struct qcow2_create *how)
{
    GError *err = NULL;
    struct qcow2_create c = *how;

    c.size_bytes = SIZE;
    c.cluster_bytes = CLUSTER * (how->extended_l2 ? 4 : 1);
    qcow2_create(path, &c, &err);
    g_assert_no_error(err);
}

/* True: something failed. */
static bool run_failing(const char *path, const struct qcow2_create *how, unsigned at)
{
    g_autofree struct state *s = g_new0(struct state, 1);

    create(path, how);
    struct blk_node *n = open_ok(path, ",discard=unmap,file.aio=threads");
    make_fail(n, at);
    for (unsigned i = 0; i < STEPS; i++) {
        bool ok = step(n, s, i);
        if (ok != !host.failed && ok == false)
            g_error("step %u failed by itself", i);
        if (host.failed)
            break;
    }
    bool failed = host.failed;
    /* killed right then, or going on, both must hold: one, then the other */
    if (at % 2) {
        heal(n);
        io(n, BLK_WRITE, 0, s->now, 512, 0);
        s->touched[0] = true;
        io(n, BLK_FLUSH, 0, NULL, 0, 0);
        blk_close(n);
        check_after(path, s, at);
    } else {
        g_autofree char *copy = g_strconcat(path, ".killed", NULL);
        copy_file(path, copy);
        check_after(copy, s, at);
        heal(n);
        blk_close(n);
    }
    return failed;
}

static void faults_with(const struct qcow2_create *how)
{
    g_autofree char *dir = g_dir_make_tmp("hanok-faults-XXXXXX", NULL);
    g_autofree char *path = g_build_filename(dir, "disk.qcow2", NULL);
    unsigned at = 1;

    while (run_failing(path, how, at))
        at++;
    g_test_message("%u requests, each failed once", at - 1);
    g_assert_cmpuint(at, >, 50);
    remove_tree(dir);
}

static void test_faults(void)
{
    faults_with(&(struct qcow2_create){.version = 3});
    faults_with(&(struct qcow2_create){.version = 2});
    faults_with(&(struct qcow2_create){.version = 3, .extended_l2 = true, .refcount_bits = 64});
}

/* ---- the power fails ---- */

/* What went to the file, in order; data NULL and len 0: a flush; data NULL: a hole. */
struct logged {
    uint64_t off, len;
    uint8_t *data;
};
static GArray *journal;
static pthread_mutex_t journal_lock = PTHREAD_MUTEX_INITIALIZER;

static guint journal_length(void)
{
    pthread_mutex_lock(&journal_lock);
    guint len = journal ? journal->len : 0;
    pthread_mutex_unlock(&journal_lock);
    return len;
}

static int logging_sync(struct blk_node *n, struct blk_req *req)
{
    struct logged l = {req->offset_bytes, req->len_bytes, NULL};

    if (req->op == BLK_WRITE) {
        l.data = g_malloc(l.len);
        blk_iov_to_buf(req->iov, req->iov_count, l.data);
    } else if (req->op == BLK_FLUSH) {
        l.len = 0;
    }
    if (host.slow_flush && req->op == BLK_FLUSH)
        g_usleep(20000); /* who is said to have ended before it, wrongly, is seen by then */
    pthread_mutex_lock(&journal_lock);
    if (req->op != BLK_READ)
        g_array_append_val(journal, l);
    int r = host.sync(n, req);
    pthread_mutex_unlock(&journal_lock);
    return r;
}

static void logging_submit(struct blk_node *n, struct blk_req *req)
{
    blk_complete_later(n, req, logging_sync(n, req));
}

static void apply(int fd, const struct logged *l, GRand *rand)
{
    for (uint64_t at = 0; at < l->len; at += 512) { /* a disk writes sectors, in any order */
        static const uint8_t zeroes[512];
        uint64_t n = MIN_OF(l->len - at, (uint64_t)512);
        if (rand && g_rand_int_range(rand, 0, 4) == 0)
            continue;
        g_assert_cmpint(pwrite(fd, l->data ? l->data + at : zeroes, n, (off_t)(l->off + at)), ==,
                        (gssize)n);
    }
}

/* The first `cut` of what went to the file; of what came after the last flush, any part. */
static void image_at_cut(const char *start, const char *path, guint cut, GRand *rand)
{
    guint flushed = 0;

    copy_file(start, path);
    int fd = open(path, O_RDWR);
    for (guint i = 0; i < cut; i++) {
        const struct logged *l = &g_array_index(journal, struct logged, i);
        flushed = l->len == 0 ? i : flushed;
    }
    for (guint i = 0; i < cut; i++) {
        bool whole = i <= flushed;
        if (whole || g_rand_int_range(rand, 0, 2))
            apply(fd, &g_array_index(journal, struct logged, i), whole ? NULL : rand);
    }
    close(fd);
}

static void forget_journal(void)
{
    for (guint i = 0; i < journal->len; i++)
        g_free(g_array_index(journal, struct logged, i).data);
    g_clear_pointer(&journal, g_array_unref);
}

static void power_cuts_with(const struct qcow2_create *how)
{
    g_autofree char *dir = g_dir_make_tmp("hanok-power-XXXXXX", NULL);
    g_autofree char *path = g_build_filename(dir, "disk.qcow2", NULL);
    g_autofree char *start = g_build_filename(dir, "start.qcow2", NULL);
    g_autofree struct state *states = g_new0(struct state, STEPS + 1);
    guint ends[STEPS + 1] = {0};
    guint32 seed = (guint32)g_test_rand_int();
    GRand *rand = g_rand_new_with_seed(seed);

    g_test_message("seed %u", seed);
    create(path, how);
    copy_file(path, start);
    journal = g_array_new(FALSE, FALSE, sizeof(struct logged));
    struct blk_node *n = open_ok(path, ",discard=unmap,file.aio=threads");
    make_fail(n, 0);
    host.driver.sync = logging_sync;
    host.driver.submit = logging_submit;
    for (unsigned i = 0; i < STEPS; i++) {
        states[i + 1] = states[i];
        g_assert_true(step(n, &states[i + 1], i));
        ends[i + 1] = journal->len;
    }
    blk_close(n);
    for (guint cut = 0; cut < journal->len; cut++) {
        unsigned k = 0;
        while (k < STEPS && ends[k + 1] <= cut)
            k++;
        g_autofree struct state *s = g_memdup2(&states[k], sizeof(*s));
        for (unsigned i = 0; k < STEPS && i < SIZE / 512; i++)
            s->touched[i] |= memcmp(s->now + i * 512, states[k + 1].now + i * 512, 512) != 0;
        image_at_cut(start, path, cut, rand);
        check_after(path, s, cut);
    }
    g_test_message("power failed at %u points", journal->len);
    forget_journal();
    g_rand_free(rand);
    remove_tree(dir);
}

static void test_power_cuts(void)
{
    power_cuts_with(&(struct qcow2_create){.version = 3});
    power_cuts_with(&(struct qcow2_create){.version = 2});
    power_cuts_with(&(struct qcow2_create){.version = 3, .extended_l2 = true, .refcount_bits = 64});
}

/* Of writes with FUA that share their flushes: each is there from the moment it has ended. */
static void test_power_cuts_of_writes_at_once(void)
{
    g_autofree char *dir = g_dir_make_tmp("hanok-power-XXXXXX", NULL);
    g_autofree char *path = g_build_filename(dir, "disk.qcow2", NULL);
    g_autofree char *start = g_build_filename(dir, "start.qcow2", NULL);
    g_autofree struct state *s = g_new0(struct state, 1);
    GRand *rand = g_rand_new_with_seed((guint32)g_test_rand_int());
    struct at_once w[2][AT_ONCE];
    uint8_t got[1024];

    create(path, &(struct qcow2_create){.version = 3});
    copy_file(path, start);
    journal = g_array_new(FALSE, FALSE, sizeof(struct logged));
    struct blk_node *n = open_ok(path, ",file.aio=threads");
    make_fail(n, 0);
    host.driver.sync = logging_sync;
    host.driver.submit = logging_submit;
    host.slow_flush = true;
    for (unsigned round = 0; round < 2; round++)
        g_assert_true(do_writes_through(n, s, round * (400u << 10), 9, w[round]));
    blk_close(n);
    host.slow_flush = false;
    for (guint cut = 0; cut <= journal->len; cut++) {
        image_at_cut(start, path, cut, rand);
        n = open_ok(path, "");
        for (unsigned i = 0; i < 2 * AT_ONCE; i++) {
            const struct at_once *a = &w[i / AT_ONCE][i % AT_ONCE];
            uint64_t at = i / AT_ONCE * (400u << 10) + i % AT_ONCE * 3 * CLUSTER;
            g_assert_cmpint(io(n, BLK_READ, at, got, sizeof(got), 0), ==, 0);
            if (a->ended <= cut)
                g_assert_cmpmem(got, sizeof(got), s->now + at, sizeof(got));
        }
        blk_close(n);
    }
    forget_journal();
    g_rand_free(rand);
    remove_tree(dir);
}

/* ---- kill -9 ---- */

/* Writes piece after piece what its round says; tells of each flush that ended.  A process of its
 * own from the start: a fork would have this one's threads missing. */
static int writer(const char *path, guint32 seed)
{
    GRand *r = g_rand_new_with_seed(seed);
    struct blk_node *n = open_ok(path, ",discard=unmap");
    uint8_t buf[4 * CLUSTER];

    for (uint32_t round = 1;; round++) {
        uint64_t off = (uint64_t)g_rand_int_range(r, 0, SIZE / CLUSTER - 4) * CLUSTER;
        memset(buf, (int)(round % 255) + 1, sizeof(buf));
        if (io(n, BLK_WRITE, off, buf, sizeof(buf), round % 5 == 0 ? BLK_REQ_COMPRESSED : 0))
            return 3;
        if (round % 11 == 0) {
            qcow2_snapshot_create(n, "x", NULL);
            qcow2_snapshot_delete(n, "x", NULL);
        }
        uint32_t note[2] = {(uint32_t)(off / CLUSTER), round};
        if (io(n, BLK_FLUSH, 0, NULL, 0, 0) ||
            write(STDOUT_FILENO, note, sizeof(note)) != sizeof(note))
            return 4;
    }
}

static pid_t start_writer(const char *path, guint32 seed, int *tell)
{
    g_autofree char *number = g_strdup_printf("%u", seed);
    const char *const argv[] = {"/proc/self/exe", "--writer", path, number, NULL};
    GPid pid;
    GError *err = NULL;

    g_spawn_async_with_pipes(NULL, (char **)(uintptr_t)argv, NULL, G_SPAWN_DO_NOT_REAP_CHILD, NULL,
                             NULL, &pid, NULL, tell, NULL, &err);
    g_assert_no_error(err);
    return pid;
}

static void check_killed(const char *path, const uint32_t *last, const uint32_t *next)
{
    g_autofree struct state *s = g_new0(struct state, 1);

    for (unsigned c = 0; c < SIZE / CLUSTER; c++)
        memset(s->flushed + c * CLUSTER, last[c] ? (int)(last[c] % 255) + 1 : 0, CLUSTER);
    touch(s, (uint64_t)next[0] * CLUSTER, 4 * CLUSTER);
    check_after(path, s, 0);
}

/* The kernel takes a ring apart, and lets go of its file's locks, a little after the process. */
static void wait_for_lock(const char *path)
{
    struct blk_node *n = NULL;

    for (unsigned i = 0; !n && i < 1000; i++) {
        GError *err = NULL;
        n = try_open(path, ",for-check=on", &err);
        g_clear_error(&err);
        if (!n)
            g_usleep(10000);
    }
    g_assert_nonnull(n);
    blk_close(n);
}

static void kill_once(const char *path, guint32 seed)
{
    guint32 last[SIZE / CLUSTER] = {0}, note[2], rounds = 0;
    GRand *r = g_rand_new_with_seed(seed);
    int tell, status;
    pid_t pid = start_writer(path, seed, &tell);

    g_assert_cmpint(read(tell, note, sizeof(note)), ==, sizeof(note)); /* it is at work */
    g_usleep((gulong)g_test_rand_int_range(0, 60000));
    kill(pid, SIGKILL);
    g_assert_cmpint(waitpid(pid, &status, 0), ==, pid);
    g_assert_true(WIFSIGNALED(status));
    wait_for_lock(path);
    do {
        g_assert_cmpuint((uint32_t)g_rand_int_range(r, 0, SIZE / CLUSTER - 4), ==, note[0]);
        for (unsigned c = 0; c < 4; c++)
            last[note[0] + c] = note[1];
        rounds = note[1];
    } while (read(tell, note, sizeof(note)) == sizeof(note));
    close(tell);
    uint32_t next = (uint32_t)g_rand_int_range(r, 0, SIZE / CLUSTER - 4);
    g_rand_free(r);
    g_test_message("seed %u: killed after %u flushes", seed, rounds);
    check_killed(path, last, &next);
}

static void test_killed(void)
{
    g_autofree char *dir = g_dir_make_tmp("hanok-killed-XXXXXX", NULL);
    g_autofree char *path = g_build_filename(dir, "disk.qcow2", NULL);
    const char *many = g_getenv("HANOK_TEST_KILLS");
    unsigned count = many ? (unsigned)strtoul(many, NULL, 10) : 16;

    for (unsigned i = 0; i < count; i++) {
        create(path, &(struct qcow2_create){.version = 3, .lazy_refcounts = i % 4 == 3});
        kill_once(path, (guint32)g_test_rand_int());
    }
    remove_tree(dir);
}

int main(int argc, char **argv)
{
    if (g_access("/dev/shm", W_OK) == 0)
        g_setenv("TMPDIR", "/dev/shm", FALSE);
    if (argc == 4 && !strcmp(argv[1], "--writer"))
        return writer(argv[2], (guint32)strtoul(argv[3], NULL, 10));
    g_test_init(&argc, &argv, NULL);
    g_log_set_always_fatal(G_LOG_FATAL_MASK);
    g_test_add_func("/qcow2/killed", test_killed);
    g_test_add_func("/qcow2/power-cuts", test_power_cuts);
    g_test_add_func("/qcow2/power-cuts-of-writes-at-once", test_power_cuts_of_writes_at_once);
    g_test_add_func("/qcow2/each-request-fails-once", test_faults);
    return g_test_run();
}
