/* test_fault.c - the hook that makes host I/O fail reaches every kind of request, once each. */
#include "block/fault.h"

#include "base/error.h"
#include "base/props.h"
#include "base/util.h"

#include <errno.h>
#include <glib/gstdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static char *path;

static struct blk_node *open_node(const char *aio, GError **err)
{
    g_autofree char *text =
        g_strdup_printf("driver=raw,node-name=n,discard=unmap,file.driver=file,file.discard=unmap,"
                        "file.filename=%s,file.aio=%s",
                        path, aio);
    PROPS_AUTO p = props_parse(text, NULL, NULL);
    return blk_open(p, err);
}

static int result;
static bool ended;

static void on_done(struct blk_req *req, int ret)
{
    result = ret;
    ended = true;
}

static int io(struct blk_node *n, enum blk_op op)
{
    static uint8_t buf[4096];
    struct iovec iov = {buf, sizeof(buf)};
    struct blk_req req = {.op = op,
                          .len_bytes = op == BLK_FLUSH ? 0 : sizeof(buf),
                          .iov = &iov,
                          .iov_count = op <= BLK_WRITE,
                          .done = on_done,
                          .node = n};

    ended = false;
    blk_submit(&req);
    while (!ended)
        g_main_context_iteration(NULL, TRUE);
    return result;
}

static void test_nth_of_each_kind_fails(gconstpointer aio)
{
    GError *err = NULL;
    struct blk_node *n = open_node(aio, &err);

    g_assert_no_error(err);
    for (enum blk_op op = BLK_READ; op <= BLK_WRITE_ZEROES; op++) {
        struct blk_fail_nth f = {.nth = 2, .ops = BIT(op), .errnum = ENOSPC};
        blk_fault_set(blk_fault_fail_nth, &f);
        g_assert_cmpint(io(n, op), ==, 0);
        g_assert_cmpint(io(n, op == BLK_READ ? BLK_WRITE : BLK_READ), ==, 0);
        g_assert_cmpint(io(n, op), ==, -ENOSPC);
        g_assert_cmpint(io(n, op), ==, -ENOSPC);
        g_assert_cmpuint(f.seen, ==, 3);
        f = (struct blk_fail_nth){.nth = 1, .errnum = EIO, .once = true};
        g_assert_cmpint(io(n, op), ==, -EIO);
        g_assert_cmpint(io(n, op), ==, 0);
        blk_fault_set(NULL, NULL);
    }
    blk_close(n);
}

static int record(void *opaque, const struct blk_host_io *io)
{
    g_string_append_printf(opaque, "%d@%d+%d ", io->op, (int)io->offset_bytes, (int)io->len_bytes);
    g_assert_cmpstr(io->filename, ==, path);
    g_assert_cmpint(io->iov_count, ==, io->op <= BLK_WRITE);
    return 0;
}

static void test_hook_sees_requests_in_order(void)
{
    GError *err = NULL;
    struct blk_node *n = open_node("io_uring", &err);
    GString *seen = g_string_new("");

    blk_fault_set(record, seen);
    io(n, BLK_WRITE);
    io(n, BLK_FLUSH);
    io(n, BLK_READ);
    blk_fault_set(NULL, NULL);
    g_assert_cmpstr(seen->str, ==, "1@0+4096 2@0+0 0@0+4096 ");
    g_string_free(seen, TRUE);
    blk_close(n);
}

/* The environment is read once per process: a child for each text. */
static int child_with(const char *text, enum blk_op op)
{
    pid_t pid = fork();
    int status;

    if (pid == 0) {
        GError *err = NULL;
        setenv("HANOK_IO_FAULT", text, 1);
        struct blk_node *n = open_node("threads", &err);
        if (!n)
            _exit(strstr(err->message, "HANOK_IO_FAULT") ? 50 : 51);
        _exit(-io(n, op));
    }
    g_assert_cmpint(waitpid(pid, &status, 0), ==, pid);
    g_assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void test_environment(void)
{
    g_assert_cmpint(child_with("1", BLK_READ), ==, EIO);
    g_assert_cmpint(child_with("nth=1,op=write,errno=28", BLK_WRITE), ==, ENOSPC);
    g_assert_cmpint(child_with("nth=1,op=write,errno=28", BLK_READ), ==, 0);
    g_assert_cmpint(child_with("nth=1,op=flush,then=exit", BLK_FLUSH), ==, 99);
    g_assert_cmpint(child_with("nth=0", BLK_READ), ==, 50);
    g_assert_cmpint(child_with("op=wrte,nth=1", BLK_READ), ==, 50);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    int fd = g_file_open_tmp("hanok-fault-XXXXXX", &path, NULL);
    g_assert_cmpint(ftruncate(fd, 1 << 20), ==, 0);
    close(fd);
    g_test_add_func("/fault/environment", test_environment); /* first: no threads yet */
    g_test_add_data_func("/fault/nth/threads", "threads", test_nth_of_each_kind_fails);
    g_test_add_data_func("/fault/nth/io_uring", "io_uring", test_nth_of_each_kind_fails);
    g_test_add_func("/fault/order", test_hook_sees_requests_in_order);
    int r = g_test_run();
    g_unlink(path);
    g_free(path);
    return r;
}
