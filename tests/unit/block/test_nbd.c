/* test_nbd.c - the NBD client against qemu-nbd: transfers, both ways into the node, a server that
 * dies and comes back, refusals. */
#include "block/block.h"

#include "base/error.h"
#include "base/props.h"
#include "base/util.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <jansson.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

enum { DISK_BYTES = 4 << 20 };

static char *image, *socket_path, *program;

static bool answers(void)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    g_assert_cmpint(fd, >=, 0);
    g_strlcpy(to.sun_path, socket_path, sizeof(to.sun_path));
    bool ok = connect(fd, (struct sockaddr *)&to, sizeof(to)) == 0;
    close(fd);
    return ok;
}

static GPid serve(const char *more)
{
    GError *err = NULL;
    GPid pid;
    g_autofree char *line = g_strdup_printf("%s -f raw -k %s -x disk --persistent %s %s", program,
                                            socket_path, more, image);
    g_auto(GStrv) argv = g_strsplit_set(line, " ", -1);
    GStrv at = argv;
    for (GStrv from = argv; *from; from++) { /* two blanks make an empty word */
        if (**from)
            *at++ = *from;
        else
            g_free(*from);
    }
    *at = NULL;
    g_spawn_async(NULL, argv, NULL, G_SPAWN_DO_NOT_REAP_CHILD, NULL, NULL, &pid, &err);
    g_assert_no_error(err);
    /* The socket is there before anybody listens on it. */
    for (int i = 0; i < 2000 && !answers(); i++)
        g_usleep(10000);
    return pid;
}

static void stop(GPid pid)
{
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    g_unlink(socket_path);
}

static struct blk_node *try_open(const char *more, GError **err)
{
    g_autofree char *text = g_strdup_printf(
        "driver=raw,node-name=n,discard=unmap,file.driver=nbd,file.server.type=unix,"
        "file.server.path=%s,file.export=disk%s",
        socket_path, more);
    PROPS_AUTO p = props_parse(text, NULL, err);
    return p ? blk_open(p, err) : NULL;
}

static struct blk_node *open_ok(const char *more)
{
    GError *err = NULL;
    struct blk_node *n = try_open(more, &err);
    g_assert_no_error(err);
    return n;
}

static int result;
static bool ended;

static void on_done(struct blk_req *req, int ret)
{
    result = ret;
    ended = true;
}

static int io(struct blk_node *n, enum blk_op op, uint64_t off, void *buf, size_t len,
              uint32_t flags)
{
    struct iovec iov[2] = {{buf, len / 3}, {(char *)buf + len / 3, len - len / 3}};
    struct blk_req req = {.op = op,
                          .flags = flags,
                          .offset_bytes = off,
                          .len_bytes = len,
                          .iov = iov,
                          .iov_count = buf ? 2 : 0,
                          .done = on_done,
                          .node = n};
    ended = false;
    blk_submit(&req);
    while (!ended)
        g_main_context_iteration(NULL, TRUE);
    return result;
}

static void image_has(uint64_t off, const void *want, size_t len)
{
    g_autofree uint8_t *got = g_malloc(len);
    int fd = open(image, O_RDONLY);
    g_assert_cmpint(pread(fd, got, len, (off_t)off), ==, (ssize_t)len);
    close(fd);
    g_assert_cmpmem(got, len, want, len);
}

static void check_transfers(struct blk_node *n, uint8_t seed)
{
    static uint8_t out[1 << 20], in[1 << 20];

    for (size_t i = 0; i < sizeof(out); i++)
        out[i] = (uint8_t)(i * 7 + (i >> 8) + seed);
    g_assert_cmpint(io(n, BLK_WRITE, 512, out, sizeof(out), 0), ==, 0);
    g_assert_cmpint(io(n, BLK_WRITE, 512, out, 4096, BLK_REQ_FUA), ==, 0);
    g_assert_cmpint(io(n, BLK_FLUSH, 0, NULL, 0, 0), ==, 0);
    image_has(512, out, sizeof(out));
    g_assert_cmpint(io(n, BLK_READ, 512, in, sizeof(in), 0), ==, 0);
    g_assert_cmpmem(in, sizeof(in), out, sizeof(out));
    g_assert_cmpint(io(n, BLK_WRITE_ZEROES, 4096, NULL, 65536, BLK_REQ_UNMAP), ==, 0);
    g_assert_cmpint(io(n, BLK_DISCARD, 131072, NULL, 65536, 0), ==, 0);
    memset(out + 3584, 0, 65536);
    g_assert_cmpint(io(n, BLK_READ, 512, in, 65536 + 4096, 0), ==, 0);
    g_assert_cmpmem(in, 65536 + 4096, out, 65536 + 4096);
    g_assert_cmpint(io(n, BLK_READ, DISK_BYTES, in, 512, 0), ==, -EIO);
}

static bool has_libnbd(void)
{
    g_autofree char *maps = NULL;

    g_assert_true(g_file_get_contents("/proc/self/maps", &maps, NULL, NULL));
    return strstr(maps, "/libnbd.so");
}

/* What no disk needs is not loaded: it takes milliseconds.  The first of the tests. */
static void test_the_library_comes_with_the_first_disk(void)
{
    GPid pid = serve("");

    g_assert_false(has_libnbd());
    blk_close(open_ok(""));
    g_assert_true(has_libnbd());
    stop(pid);
}

static void test_transfers(void)
{
    GPid pid = serve("");
    struct blk_node *n = open_ok("");
    struct blk_limits l;

    blk_limits(n, &l);
    g_assert_cmpuint(l.size_bytes, ==, DISK_BYTES);
    g_assert_false(l.read_only);
    check_transfers(n, 1);
    blk_close(n);
    stop(pid);
}

static void test_many_in_flight_and_drain(void)
{
    static uint8_t page[4096];
    GPid pid = serve("");
    struct blk_node *n = open_ok("");
    struct blk_stats s;
    struct iovec iov = {page, sizeof(page)};
    g_autofree struct blk_req *reqs = g_new0(struct blk_req, 200);

    blk_plug(n);
    for (unsigned i = 0; i < 200; i++) {
        reqs[i] = (struct blk_req){.op = i & 1 ? BLK_WRITE : BLK_READ,
                                   .offset_bytes = i * 4096ull,
                                   .len_bytes = 4096,
                                   .iov = &iov,
                                   .iov_count = 1,
                                   .done = on_done,
                                   .node = n};
        blk_submit(&reqs[i]);
    }
    blk_unplug(n);
    blk_drain(n);
    blk_stats(n, &s);
    g_assert_cmpuint(s.ops[BLK_READ] + s.ops[BLK_WRITE], ==, 200);
    blk_close(n);
    stop(pid);
}

static void test_read_only_server(void)
{
    GError *err = NULL;
    GPid pid = serve("-r");
    struct blk_limits l;

    g_assert_null(try_open("", &err));
    g_assert_nonnull(strstr(err->message, "read-only=on"));
    g_clear_error(&err);
    struct blk_node *n = open_ok(",auto-read-only=on,file.auto-read-only=on");
    blk_limits(n, &l);
    g_assert_true(l.read_only);
    blk_close(n);
    stop(pid);
}

static void test_lost_server_is_an_error_and_comes_back(void)
{
    static uint8_t page[4096];
    GPid pid = serve("");
    struct blk_node *n = open_ok("");

    g_assert_cmpint(io(n, BLK_READ, 0, page, 4096, 0), ==, 0);
    stop(pid);
    g_assert_cmpint(io(n, BLK_WRITE, 0, page, 4096, 0), ==, -EIO);
    pid = serve("");
    check_transfers(n, 2); /* the next request connects */
    blk_close(n);
    stop(pid);
}

static GPid revived;

static gboolean revive(gpointer opaque)
{
    revived = serve("");
    return G_SOURCE_REMOVE;
}

static void test_requests_wait_for_the_server(void)
{
    static uint8_t page[4096];
    GPid pid = serve("");
    struct blk_node *n = open_ok(",file.reconnect-delay=60");

    memset(page, 0x5a, sizeof(page));
    stop(pid);
    g_timeout_add(300, revive, NULL);
    g_assert_cmpint(io(n, BLK_WRITE, 8192, page, 4096, 0), ==, 0);
    image_has(8192, page, 4096);
    blk_close(n);
    stop(revived);
}

static void test_qcow2_over_nbd(void)
{
    GError *err = NULL;
    g_autofree char *make = g_strdup_printf("qemu-img create -q -f qcow2 %s 3M", image);
    g_assert_true(g_spawn_command_line_sync(make, NULL, NULL, NULL, &err));
    g_assert_cmpint(truncate(image, DISK_BYTES), ==, 0); /* a server's disk does not grow */
    GPid pid = serve("");
    g_autofree char *text = g_strdup_printf("driver=qcow2,node-name=n,file.driver=nbd,file.path=%s,"
                                            "file.export=disk",
                                            socket_path);
    static uint8_t page[4096], back[4096];

    for (int round = 0; round < 2; round++) {
        PROPS_AUTO p = props_parse(text, NULL, NULL);
        struct blk_node *n = blk_open(p, &err);
        g_assert_no_error(err);
        memset(page, 0x77, sizeof(page));
        if (round == 0)
            g_assert_cmpint(io(n, BLK_WRITE, 65536, page, 4096, 0), ==, 0);
        g_assert_cmpint(io(n, BLK_FLUSH, 0, NULL, 0, 0), ==, 0);
        g_assert_cmpint(io(n, BLK_READ, 65536, back, 4096, 0), ==, 0);
        g_assert_cmpmem(back, 4096, page, 4096);
        blk_close(n);
    }
    stop(pid);
    g_assert_cmpint(truncate(image, 0), ==, 0);
    g_assert_cmpint(truncate(image, DISK_BYTES), ==, 0);
}

static void refused(const char *text, const char *word)
{
    GError *err = NULL;
    PROPS_AUTO p = props_parse(text, NULL, NULL);

    g_assert_null(blk_open(p, &err));
    if (!strstr(err->message, word))
        g_error("'%s' lacks '%s'", err->message, word);
    g_clear_error(&err);
}

static void test_refusals(void)
{
    refused("driver=nbd", "server.host=");
    refused("driver=nbd,server.type=unix,server.host=h", "server.path=");
    refused("driver=nbd,host=h,tls-creds=t", "TLS");
    refused("driver=nbd,path=/nonexistent/socket", "/nonexistent/socket");
    refused("driver=nbd,host=127.0.0.1,port=1", "127.0.0.1:1");
}

static void described(const char *name, const char *want)
{
    GError *err = NULL;
    json_t *o = blk_describe_file(name, &err);
    g_assert_no_error(err);
    PROPS_AUTO w = props_parse(want, NULL, &err);
    g_assert_no_error(err);
    g_assert_true(json_equal(props_json(w), o));
    json_decref(o);
}

static void test_addresses(void)
{
    described("nbd://h", "driver=nbd,server.type=inet,server.host=h,server.port=10809");
    described("nbd://h:7/a/b",
              "driver=nbd,export=a/b,server.type=inet,server.host=h,server.port=7");
    described("nbd+unix:///x?socket=/s", "driver=nbd,export=x,server.type=unix,server.path=/s");
    described("nbd:h:7:exportname=x",
              "driver=nbd,export=x,server.type=inet,server.host=h,server.port=7");
    described("nbd:unix:/s", "driver=nbd,server.type=unix,server.path=/s");
    described("/a:b", "driver=file,filename=/a:b");
    described("./a:b", "driver=file,filename=./a:b");
    described("file:a:b", "driver=file,filename=a:b");
    described("json:{\"driver\":\"null-co\"}", "driver=null-co");
    for (const char *const *bad = (const char *const[]){"nbds://h", "nbd:h", "http://h/x", "a:b",
                                                        "nbd+unix:///x", "json:[]", NULL};
         *bad; bad++)
        g_assert_null(blk_describe_file(*bad, NULL));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_autofree char *qemu_img = g_find_program_in_path("qemu-img");
    program = g_find_program_in_path("qemu-nbd");
    if (program && qemu_img) {
        int fd = g_file_open_tmp("hanok-nbd-XXXXXX", &image, NULL);
        g_assert_cmpint(ftruncate(fd, DISK_BYTES), ==, 0);
        close(fd);
        socket_path = g_strconcat(image, ".sock", NULL);
        g_test_add_func("/nbd/library", test_the_library_comes_with_the_first_disk);
        g_test_add_func("/nbd/transfers", test_transfers);
        g_test_add_func("/nbd/many", test_many_in_flight_and_drain);
        g_test_add_func("/nbd/read-only", test_read_only_server);
        g_test_add_func("/nbd/lost", test_lost_server_is_an_error_and_comes_back);
        g_test_add_func("/nbd/reconnect-delay", test_requests_wait_for_the_server);
        g_test_add_func("/nbd/qcow2", test_qcow2_over_nbd);
    } else {
        g_printerr("# qemu-nbd is not installed: the tests with a server are left out\n");
    }
    g_test_add_func("/nbd/addresses", test_addresses);
    g_test_add_func("/nbd/refusals", test_refusals);
    int r = g_test_run();
    if (image)
        g_unlink(image);
    g_free(program);
    g_free(image);
    g_free(socket_path);
    return r;
}
