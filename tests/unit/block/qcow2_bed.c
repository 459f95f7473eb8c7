/* qcow2_bed.c - see the header. */
#include "qcow2_bed.h"

#include "base/error.h"
#include "base/props.h"
#include "base/util.h"

#include <fcntl.h>
#include <unistd.h>

int try_run(const char *const *argv, char **out)
{
    g_autoptr(GPtrArray) all = g_ptr_array_new();
    int status = -1;
    g_autofree char *said = NULL;

    g_ptr_array_add(all, (char *)"timeout"); /* theirs may hang: ours is what is tested */
    g_ptr_array_add(all, (char *)"60");
    for (; *argv; argv++)
        g_ptr_array_add(all, (char *)(uintptr_t)*argv);
    g_ptr_array_add(all, NULL);
    if (!g_spawn_sync(NULL, (char **)all->pdata, NULL,
                      G_SPAWN_SEARCH_PATH | G_SPAWN_STDERR_TO_DEV_NULL, NULL, NULL, &said, NULL,
                      &status, NULL))
        return -1;
    if (out)
        *out = g_steal_pointer(&said);
    return status;
}

int run(const char *const *argv, char **out)
{
    g_autofree char *all = g_strjoinv(" ", (char **)(uintptr_t)argv);
    int status = try_run(argv, out);

    if (status)
        g_test_message("status %d: %s", status, all);
    return status;
}

bool have_qemu_img(void)
{
    g_autofree char *path = g_find_program_in_path("qemu-img");

    if (!path)
        g_test_skip("qemu-img is not installed (package qemu-utils)");
    return path != NULL;
}

struct blk_node *try_open(const char *path, const char *more, GError **err)
{
    g_autofree char *text =
        g_strdup_printf("driver=qcow2,file.driver=file,file.filename=%s%s", path, more);
    PROPS_AUTO p = props_parse(text, NULL, err);
    return p ? blk_open(p, err) : NULL;
}

struct blk_node *open_ok(const char *path, const char *more)
{
    GError *err = NULL;
    struct blk_node *n = try_open(path, more, &err);

    g_assert_no_error(err);
    return n;
}

void on_done(struct blk_req *req, int ret)
{
    container_of(req, struct wait, req)->ret = ret;
}

int io(struct blk_node *n, enum blk_op op, uint64_t off, void *buf, uint64_t len, uint32_t flags)
{
    struct iovec iov[2] = {{buf, len / 3}, {(uint8_t *)buf + len / 3, len - len / 3}};
    struct wait w = {.ret = 1,
                     .req = {.op = op,
                             .flags = flags,
                             .offset_bytes = off,
                             .len_bytes = len,
                             .iov = iov,
                             .iov_count = buf ? 2 : 0,
                             .done = on_done,
                             .node = n}};
    blk_submit(&w.req);
    blk_drain(n);
    g_assert_cmpint(w.ret, <=, 0);
    return w.ret;
}

void on_finding(void *opaque, bool is_leak, const char *text)
{
    g_test_message("%s", text);
}

void own_check(const char *path, bool leaks_allowed)
{
    GError *err = NULL;
    struct qcow2_check found;
    struct blk_node *n = open_ok(path, ",read-only=on,backing=");

    g_assert_true(qcow2_check(n, false, on_finding, NULL, &found, &err));
    g_assert_no_error(err);
    g_assert_cmpuint(found.corruptions, ==, 0);
    if (!leaks_allowed)
        g_assert_cmpuint(found.leaks, ==, 0);
    blk_close(n);
}

void poke(const char *path, off_t at, const void *p, size_t n)
{
    int fd = open(path, O_WRONLY);

    g_assert_cmpint(pwrite(fd, p, n, at), ==, (ssize_t)n);
    close(fd);
}

void remove_tree(const char *dir)
{
    const char *const argv[] = {"rm", "-rf", dir, NULL};

    g_spawn_sync(NULL, (char **)argv, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, NULL, NULL, NULL,
                 NULL);
}

void copy_file(const char *from, const char *to)
{
    g_assert_cmpint(run((const char *const[]){"cp", "--sparse=always", from, to, NULL}, NULL), ==,
                    0);
}
