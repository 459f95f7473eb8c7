/* test_aio.c - which engine carries requests, and what is said when the wanted one is not to be
 * had. */
#include "block/block.h"

#include "base/error.h"
#include "base/log.h"
#include "base/props.h"
#include "base/util.h"

#include <errno.h>
#include <glib/gstdio.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

static char *path;
static bool ended;

static struct blk_node *open_node(const char *more, GError **err)
{
    g_autofree char *text = g_strdup_printf(
        "driver=raw,node-name=n,cache.direct=on,file.driver=file,file.filename=%s%s", path, more);
    PROPS_AUTO p = props_parse(text, NULL, NULL);
    return blk_open(p, err);
}

static void on_done(struct blk_req *req, int ret)
{
    g_assert_cmpint(ret, ==, 0);
    ended = true;
}

/* How many submissions to io_uring a read takes: 0 says that a thread did it. */
static uint64_t submissions_of_a_read(const char *more)
{
    GError *err = NULL;
    struct blk_node *n = open_node(more, &err);
    static uint8_t buf[4096];
    struct iovec iov = {buf, sizeof(buf)};
    struct blk_req req = {.op = BLK_READ,
                          .len_bytes = sizeof(buf),
                          .iov = &iov,
                          .iov_count = 1,
                          .done = on_done,
                          .node = n};
    struct blk_stats s;

    g_assert_no_error(err);
    ended = false;
    blk_submit(&req);
    while (!ended)
        g_main_context_iteration(NULL, TRUE);
    blk_stats(n, &s);
    blk_close(n);
    return s.submissions;
}

static void test_threads_use_no_ring(void)
{
    g_assert_cmpuint(submissions_of_a_read(",file.aio=threads"), ==, 0);
}

static void test_native_needs_direct(void)
{
    GError *err = NULL;
    g_autofree char *text = g_strdup_printf("driver=file,node-name=n,aio=native,filename=%s", path);
    PROPS_AUTO p = props_parse(text, NULL, NULL);

    g_assert_null(blk_open(p, &err));
    g_assert_nonnull(strstr(err->message, "cache.direct=on"));
    g_clear_error(&err);
    g_assert_true(submissions_of_a_read(",file.aio=native,file.cache.direct=on") <= 1);
}

/* From here on io_uring_setup answers EPERM, as in a container. */
static void forbid_io_uring(void)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_setup, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog prog = {.len = ARRAY_SIZE(code), .filter = code};

    g_assert_cmpint(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), ==, 0);
    g_assert_cmpint(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog), ==, 0);
}

static void without_ring(void)
{
    forbid_io_uring();
    g_assert_cmpuint(submissions_of_a_read(""), ==, 0);
    g_assert_cmpuint(submissions_of_a_read(",file.aio=io_uring"), ==, 0);
}

static void test_fallback_is_said_only_when_asked_for(void)
{
    if (g_test_subprocess()) {
        without_ring();
        return;
    }
    g_test_trap_subprocess(NULL, 0, G_TEST_SUBPROCESS_DEFAULT);
    g_test_trap_assert_passed();
    g_test_trap_assert_stderr("*aio=io_uring was asked for, but io_uring is not available here "
                              "(Operation not permitted); disk I/O runs in threads*");
    g_test_trap_assert_stderr_unmatched("*warning*warning*"); /* the default fell back silently */
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    int fd = g_file_open_tmp("hanok-aio-XXXXXX", &path, NULL);
    g_assert_cmpint(ftruncate(fd, 1 << 20), ==, 0);
    close(fd);
    g_test_add_func("/aio/threads", test_threads_use_no_ring);
    g_test_add_func("/aio/native", test_native_needs_direct);
    g_test_add_func("/aio/fallback", test_fallback_is_said_only_when_asked_for);
    int r = g_test_run();
    g_unlink(path);
    return r;
}
