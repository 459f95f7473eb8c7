/* test_lock.c - which bytes of an image are locked for whom, and what a refusal says. */
#include "block/block.h"

#include "base/error.h"
#include "base/props.h"
#include "base/util.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

static char *path;

static struct blk_node *open_as(bool idle, GError **err, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    g_autofree char *text = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    PROPS_AUTO p = props_parse(text, NULL, err);
    g_assert_nonnull(p);
    return idle ? blk_open_idle(p, err) : blk_open(p, err);
}

#define RAW "driver=raw,node-name=%s,file.driver=file,file.filename=%s"

static struct blk_node *opened(bool idle, const char *name, const char *more)
{
    GError *err = NULL;
    struct blk_node *n = open_as(idle, &err, RAW "%s", name, path, more);
    g_assert_no_error(err);
    return n;
}

static void refused(const char *name, const char *more, const char *word)
{
    GError *err = NULL;
    struct blk_node *n = open_as(false, &err, RAW "%s", name, path, more);

    g_assert_null(n);
    g_assert_error(err, hanok_error_quark(), HANOK_ERROR_BUSY);
    if (!strstr(err->message, word))
        g_error("'%s' lacks '%s'", err->message, word);
    g_clear_error(&err);
}

/* The bytes 100..103 and 200..203 somebody has locked: "100 101 201 ". */
static char *held(void)
{
    GString *s = g_string_new("");
    int fd = open(path, O_RDWR | O_CLOEXEC);

    for (unsigned i = 0; i < 8; i++) {
        off_t byte = i < 4 ? 100 + i : 196 + i;
        struct flock l = {.l_type = F_WRLCK, .l_start = byte, .l_len = 1};
        g_assert_cmpint(fcntl(fd, F_OFD_GETLK, &l), ==, 0);
        if (l.l_type != F_UNLCK)
            g_string_append_printf(s, "%d ", (int)byte);
    }
    close(fd);
    return g_string_free(s, FALSE);
}

static void holds(const char *bytes)
{
    g_autofree char *now = held();
    g_assert_cmpstr(now, ==, bytes);
}

static void test_bytes_of_a_device(void)
{
    struct blk_node *n = opened(true, "n", "");
    GError *err = NULL;

    holds("");
    g_assert_true(blk_claim(n, "a disk", &err));
    holds("100 101 201 ");
    blk_release(n);
    holds("");
    g_assert_true(blk_claim_shared(n, "a disk", true, &err));
    holds("100 101 ");
    blk_release(n);
    blk_close(n);
    n = opened(true, "n", ",read-only=on");
    g_assert_true(blk_claim(n, "a disk", &err));
    holds("100 201 ");
    blk_release(n);
    blk_close(n);
    holds("");
}

static void test_bytes_of_a_tool(void)
{
    struct blk_node *n = opened(false, "n", "");

    holds("100 101 103 201 203 ");
    blk_close(n);
    n = opened(false, "n", ",read-only=on");
    holds("100 ");
    blk_close(n);
    n = opened(false, "n", ",file.locking=off");
    holds("");
    blk_close(n);
}

static void test_two_of_this_process(void)
{
    struct blk_node *n = opened(true, "n", ""), *m = opened(true, "m", "");
    GError *err = NULL;

    g_assert_true(blk_claim(n, "a disk", &err));
    g_assert_false(blk_claim(m, "a disk", &err));
    g_assert_nonnull(strstr(err->message, "this very process"));
    g_clear_error(&err);
    g_assert_null(blk_user(m));
    refused("w", "", "this very process");
    blk_close(opened(false, "r", ",read-only=on")); /* as the raw image of a running QEMU */
    blk_release(n);
    g_assert_true(blk_claim(m, "a disk", &err)); /* the refusal left nothing behind */
    blk_release(m);
    blk_close(m);
    blk_close(n);
}

static void test_two_share(void)
{
    struct blk_node *n = opened(true, "n", ""), *m = opened(true, "m", "");
    GError *err = NULL;

    g_assert_true(blk_claim_shared(n, "a disk", true, &err));
    g_assert_true(blk_claim_shared(m, "a disk", true, &err));
    refused("w", "", "writes to it");
    blk_release(m);
    g_assert_false(blk_claim(m, "a disk", &err)); /* it would not share */
    g_clear_error(&err);
    blk_release(n);
    blk_close(m);
    blk_close(n);
}

/* A further process that locks as QEMU would. */
static pid_t locker(const int *bytes, unsigned count)
{
    int ready[2];
    char c;

    g_assert_cmpint(pipe(ready), ==, 0);
    pid_t pid = fork();
    if (pid == 0) {
        int fd = open(path, O_RDONLY);
        for (unsigned i = 0; i < count; i++) {
            struct flock l = {.l_type = F_RDLCK, .l_start = bytes[i], .l_len = 1};
            if (fcntl(fd, F_OFD_SETLK, &l) < 0)
                _exit(1);
        }
        if (write(ready[1], "x", 1) != 1)
            _exit(1);
        pause();
        _exit(0);
    }
    g_assert_cmpint(read(ready[0], &c, 1), ==, 1);
    close(ready[0]);
    close(ready[1]);
    return pid;
}

static void end(pid_t pid)
{
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}

static void test_refusal_names_the_process(void)
{
    static const int vm[] = {100, 101, 201}, reader[] = {100, 201};
    pid_t pid = locker(vm, 3);
    g_autofree char *number = g_strdup_printf("process %d (test_block_lock)", (int)pid);

    refused("n", "", number);
    blk_close(opened(false, "r", ",read-only=on"));
    end(pid);
    blk_close(opened(false, "n", "")); /* its death freed the image */
    pid = locker(reader, 2);
    refused("n", "", "does not let it be written");
    blk_close(opened(false, "n", ",read-only=on"));
    end(pid);
}

static void test_force_share_asks_nobody_to_leave(void)
{
    static const int vm[] = {100, 101, 103, 201, 203}, alone[] = {200};
    pid_t pid = locker(vm, 5);

    blk_close(opened(false, "n", ",read-only=on,force-share=on"));
    end(pid);
    pid = locker(alone, 1); /* who lets nobody read is respected still */
    refused("n", ",read-only=on,force-share=on", "does not let it be read");
    end(pid);
}

static void test_force_share_needs_read_only(void)
{
    GError *err = NULL;

    g_assert_null(open_as(false, &err, RAW ",force-share=on", "n", path));
    g_assert_nonnull(strstr(err->message, "read-only"));
    g_clear_error(&err);
}

static void test_resize_of_a_claimed_image(void)
{
    static const int no_resize[] = {203};
    struct blk_node *n = opened(true, "n", "");
    GError *err = NULL;

    g_assert_true(blk_claim(n, "a disk", &err));
    g_assert_true(blk_resize(n, 2 << 20, &err));
    holds("100 101 201 ");
    pid_t pid = locker(no_resize, 1);
    g_assert_false(blk_resize(n, 3 << 20, &err));
    g_assert_nonnull(strstr(err->message, "resized"));
    g_clear_error(&err);
    end(pid);
    holds("100 101 201 ");
    blk_release(n);
    blk_close(n);
}

static void test_separate_nodes_as_libvirt_writes_them(void)
{
    GError *err = NULL;
    struct blk_node *file =
        open_as(true, &err,
                "{\"driver\":\"file\",\"filename\":\"%s\",\"node-name\":\"s\",\"auto-read-only\":"
                "true,\"discard\":\"unmap\"}",
                path);
    g_assert_no_error(err);
    holds("");
    struct blk_node *n = open_as(
        true, &err, "{\"driver\":\"raw\",\"node-name\":\"f\",\"read-only\":false,\"file\":\"s\"}");
    g_assert_no_error(err);
    holds("");
    g_assert_true(blk_claim(n, "a disk", &err));
    holds("100 101 201 ");
    blk_release(n);
    blk_close(n);
    blk_close(file);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    int fd = g_file_open_tmp("hanok-lock-XXXXXX", &path, NULL);
    g_assert_cmpint(ftruncate(fd, 1 << 20), ==, 0);
    close(fd);
    g_test_add_func("/lock/bytes-of-a-device", test_bytes_of_a_device);
    g_test_add_func("/lock/bytes-of-a-tool", test_bytes_of_a_tool);
    g_test_add_func("/lock/two-of-this-process", test_two_of_this_process);
    g_test_add_func("/lock/two-share", test_two_share);
    g_test_add_func("/lock/refusal-names-the-process", test_refusal_names_the_process);
    g_test_add_func("/lock/force-share", test_force_share_asks_nobody_to_leave);
    g_test_add_func("/lock/force-share-needs-read-only", test_force_share_needs_read_only);
    g_test_add_func("/lock/resize", test_resize_of_a_claimed_image);
    g_test_add_func("/lock/separate-nodes", test_separate_nodes_as_libvirt_writes_them);
    int r = g_test_run();
    g_unlink(path);
    g_free(path);
    return r;
}
