/* test_chardev - backends, front ends, the mux keys and the bounded output queue. */
#include "base/props.h"
#include "base/util.h"
#include "chardev/chardev.h"

#include <fcntl.h>
#include <glib.h>
#include <glib/gstdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

struct fe {
    GString *in;
    size_t room;
    unsigned events[CHARDEV_MUX_OUT + 1];
    struct chardev_fe *f;
};

static size_t fe_can_read(void *opaque)
{
    return ((struct fe *)opaque)->room;
}

static void fe_read(void *opaque, const uint8_t *buf, size_t len)
{
    struct fe *t = opaque;
    g_assert_cmpuint(len, <=, t->room);
    t->room -= len;
    g_string_append_len(t->in, (const char *)buf, len);
}

static void fe_event(void *opaque, enum chardev_event ev)
{
    ((struct fe *)opaque)->events[ev]++;
}

static const struct chardev_fe_ops fe_ops = {
    .can_read = fe_can_read, .read = fe_read, .event = fe_event};

static void fe_init(struct fe *t, struct chardev *c)
{
    g_autoptr(GError) err = NULL;
    memset(t, 0, sizeof(*t));
    t->in = g_string_new(NULL);
    t->room = 1 << 20;
    t->f = chardev_attach(c, &fe_ops, t, &err);
    g_assert_no_error(err);
}

static void fe_done(struct fe *t)
{
    chardev_detach(t->f);
    g_string_free(t->in, TRUE);
}

static struct chardev *open_text(const char *text, GError **err)
{
    PROPS_AUTO p = props_parse(text, "backend", err);
    return p ? chardev_open(p, err) : NULL;
}

static struct chardev *open_ok(const char *text)
{
    g_autoptr(GError) err = NULL;
    struct chardev *c = open_text(text, &err);
    g_assert_no_error(err);
    g_assert_nonnull(c);
    return c;
}

static void open_fails(const char *text, const char *words)
{
    g_autoptr(GError) err = NULL;
    g_assert_null(open_text(text, &err));
    g_assert_nonnull(err);
    if (!strstr(err->message, words)) {
        g_error("'%s' does not say '%s'", err->message, words);
    }
}

/* Runs the main loop until cond or two seconds are over. */
#define WAIT_FOR(cond)                                                                             \
    do {                                                                                           \
        gint64 end_ = g_get_monotonic_time() + 2000000;                                            \
        while (!(cond) && g_get_monotonic_time() < end_) {                                         \
            if (!g_main_context_iteration(NULL, FALSE)) {                                          \
                g_usleep(500);                                                                     \
            }                                                                                      \
        }                                                                                          \
        g_assert_true(cond);                                                                       \
    } while (0)

static void settle(void)
{
    for (int i = 0; i < 20; i++) {
        g_main_context_iteration(NULL, FALSE);
        g_usleep(500);
    }
}

static char *tmp_path(const char *name)
{
    return g_strdup_printf("%s/hanok-test-%d-%s", g_get_tmp_dir(), getpid(), name);
}

static int connect_to(const char *path)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    g_strlcpy(un.sun_path, path, sizeof(un.sun_path));
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    g_assert_cmpint(connect(fd, (struct sockaddr *)&un, sizeof(un)), ==, 0);
    return fd;
}

static void test_bad_options_are_sentences(void)
{
    open_fails("nonsense,id=a", "did you mean");
    open_fails("null", "id= is needed");
    open_fails("file,id=a", "path= is needed");
    open_fails("file,id=a,path=/nonexistent/x", "No such file or directory");
    open_fails("null,id=a,colour=red", "colour");
    open_fails("socket,id=a", "exactly one of");
    open_fails("socket,id=a,path=/x,port=3", "exactly one of");
    open_fails("socket,id=a,fd=0,server=on", "fd=0");
    open_fails("socket,id=a,path=/nonexistent/s,server=on,wait=off", "could not listen on unix");
    open_fails("socket,id=a,path=/nonexistent/s", "could not connect to unix");
    open_ok("null,id=a");
    open_fails("null,id=a", "already used");
    chardev_close_all();
}

static void test_file_writes_and_logs(void)
{
    g_autofree char *path = tmp_path("file"), *log = tmp_path("log"), *got = NULL;
    g_autofree char *text = g_strdup_printf("file,id=f,path=%s,logfile=%s", path, log);
    struct fe t;
    struct chardev *c = open_ok(text);
    fe_init(&t, c);
    g_assert_cmpuint(chardev_write(t.f, (const uint8_t *)"hello\n", 6), ==, 6);
    fe_done(&t);
    chardev_close_all();
    g_assert_true(g_file_get_contents(path, &got, NULL, NULL));
    g_assert_cmpstr(got, ==, "hello\n");
    g_clear_pointer(&got, g_free);
    g_assert_true(g_file_get_contents(log, &got, NULL, NULL));
    g_assert_cmpstr(got, ==, "hello\n");
    g_unlink(path);
    g_unlink(log);
}

static void test_ringbuf_keeps_newest(void)
{
    struct fe t;
    uint8_t buf[16];
    struct chardev *c = open_ok("ringbuf,id=r,size=4");
    fe_init(&t, c);
    g_assert_cmpuint(chardev_write(t.f, (const uint8_t *)"abcdef", 6), ==, 6);
    g_assert_cmpuint(chardev_ringbuf_read(c, buf, sizeof(buf)), ==, 4);
    g_assert_cmpmem(buf, 4, "cdef", 4);
    fe_done(&t);
    chardev_close_all();
}

static void test_second_user_needs_mux(void)
{
    g_autoptr(GError) err = NULL;
    struct fe t;
    struct chardev *c = open_ok("null,id=n");
    fe_init(&t, c);
    g_assert_null(chardev_attach(c, &fe_ops, &t, &err));
    g_assert_nonnull(strstr(err->message, "mux=on"));
    fe_done(&t);
    chardev_close_all();
}

static void test_socket_serves_one_then_next(void)
{
    g_autofree char *path = tmp_path("sock");
    g_autofree char *text = g_strdup_printf("socket,id=s,path=%s,server,nowait", path);
    struct fe t;
    char buf[16];
    struct chardev *c = open_ok(text);
    fe_init(&t, c);
    g_autofree char *name = chardev_filename(c);
    g_assert_true(g_str_has_prefix(name, "disconnected:unix:"));
    for (unsigned round = 1; round <= 2; round++) {
        int fd = connect_to(path);
        WAIT_FOR(t.events[CHARDEV_OPENED] == round);
        g_assert_true(chardev_is_open(c));
        g_assert_cmpint(write(fd, "in", 2), ==, 2);
        WAIT_FOR(t.in->len == 2 * round);
        chardev_write(t.f, (const uint8_t *)"out", 3);
        g_assert_cmpint(read(fd, buf, sizeof(buf)), ==, 3);
        close(fd);
        WAIT_FOR(t.events[CHARDEV_CLOSED] == round);
    }
    g_assert_cmpstr(t.in->str, ==, "inin");
    fe_done(&t);
    chardev_close_all();
    g_assert_false(g_file_test(path, G_FILE_TEST_EXISTS));
}

/* Data sent just before a hang-up arrives although the front end had no room then, and the hang-up
 * is told. */
static void test_data_before_hangup_is_kept(void)
{
    g_autofree char *path = tmp_path("hup");
    g_autofree char *text = g_strdup_printf("socket,id=s,path=%s,server=on,wait=off", path);
    struct fe t;
    struct chardev *c = open_ok(text);
    fe_init(&t, c);
    t.room = 0;
    int fd = connect_to(path);
    WAIT_FOR(t.events[CHARDEV_OPENED] == 1);
    g_assert_cmpint(write(fd, "late", 4), ==, 4);
    settle();
    close(fd);
    WAIT_FOR(t.events[CHARDEV_CLOSED] == 1);
    t.room = 100;
    chardev_accept_input(t.f);
    WAIT_FOR(t.in->len == 4);
    fe_done(&t);
    chardev_close_all();
}

static void test_slow_reader_never_blocks(void)
{
    g_autofree char *path = tmp_path("slow");
    g_autofree char *text = g_strdup_printf("socket,id=s,path=%s,server=on,wait=off", path);
    g_autofree uint8_t *block = g_malloc0(65536), *sink = g_malloc(65536);
    struct fe t;
    struct chardev *c = open_ok(text);
    fe_init(&t, c);
    int fd = connect_to(path);
    WAIT_FOR(t.events[CHARDEV_OPENED] == 1);
    size_t taken = 0, n;
    do {
        n = chardev_write(t.f, block, 65536);
        taken += n;
        g_assert_cmpuint(taken, <, 64 << 20);
    } while (n == 65536);
    g_assert_cmpuint(t.events[CHARDEV_WRITABLE], ==, 0);
    fcntl(fd, F_SETFL, O_NONBLOCK);
    size_t received = 0;
    gint64 end = g_get_monotonic_time() + 5000000;
    while (received < taken && g_get_monotonic_time() < end) {
        ssize_t got = read(fd, sink, 65536);
        received += got > 0 ? got : 0;
        g_main_context_iteration(NULL, FALSE);
    }
    g_assert_cmpuint(received, ==, taken);
    WAIT_FOR(t.events[CHARDEV_WRITABLE] == 1);
    close(fd);
    fe_done(&t);
    chardev_close_all();
}

static void test_inherited_listening_socket(void)
{
    g_autofree char *path = tmp_path("fd");
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    g_strlcpy(un.sun_path, path, sizeof(un.sun_path));
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    g_assert_cmpint(bind(fd, (struct sockaddr *)&un, sizeof(un)), ==, 0);
    g_assert_cmpint(listen(fd, 1), ==, 0);
    g_autofree char *text = g_strdup_printf("socket,id=s,fd=%d,server,nowait", fd);
    struct fe t;
    fe_init(&t, open_ok(text));
    int peer = connect_to(path);
    WAIT_FOR(t.events[CHARDEV_OPENED] == 1);
    close(peer);
    fe_done(&t);
    chardev_close_all();
    g_unlink(path);
}

static void test_client_reconnects(void)
{
    g_autofree char *path = tmp_path("rec");
    g_autofree char *text = g_strdup_printf("socket,id=c,path=%s,reconnect=1", path);
    struct fe t;
    fe_init(&t, open_ok(text));
    settle();
    g_assert_cmpuint(t.events[CHARDEV_OPENED], ==, 0);
    g_autofree char *server = g_strdup_printf("socket,id=srv,path=%s,server=on,wait=off", path);
    open_ok(server);
    WAIT_FOR(t.events[CHARDEV_OPENED] == 1);
    fe_done(&t);
    chardev_close_all();
}

struct many {
    struct chardev *client[8];
    struct fe fe[8];
    unsigned count;
};

static void got_client(void *opaque, struct chardev *client)
{
    struct many *m = opaque;
    m->client[m->count] = client;
    fe_init(&m->fe[m->count++], client);
}

static void test_many_peers_at_once(void)
{
    g_autofree char *path = tmp_path("many");
    g_autofree char *text = g_strdup_printf("socket,id=s,path=%s,server=on,wait=off", path);
    struct many m = {0};
    struct chardev *c = open_ok(text);
    g_assert_true(chardev_serve_many(c, got_client, &m));
    int a = connect_to(path), b = connect_to(path);
    WAIT_FOR(m.count == 2);
    g_assert_cmpint(write(b, "bb", 2), ==, 2);
    g_assert_cmpint(write(a, "a", 1), ==, 1);
    WAIT_FOR(m.fe[0].in->len == 1 && m.fe[1].in->len == 2);
    close(a);
    WAIT_FOR(m.fe[0].events[CHARDEV_CLOSED] == 1);
    g_assert_cmpuint(m.fe[1].events[CHARDEV_CLOSED], ==, 0);
    fe_done(&m.fe[0]);
    chardev_close(m.client[0]);
    fe_done(&m.fe[1]);
    chardev_close(m.client[1]);
    close(b);
    chardev_close_all();
}

static void test_telnet_escapes(void)
{
    struct fe t;
    struct chardev *c = open_ok("socket,id=s,host=127.0.0.1,port=0,server=on,wait=off,telnet=on");
    fe_init(&t, c);
    g_autofree char *name = chardev_filename(c);
    unsigned port = strtoul(strrchr(name, ':') + 1, NULL, 10);
    g_autofree char *text = g_strdup_printf("socket,id=c,host=127.0.0.1,port=%u", port);
    struct fe peer;
    fe_init(&peer, open_ok(text));
    WAIT_FOR(t.events[CHARDEV_OPENED] == 1 && peer.in->len >= 15);
    static const uint8_t in[] = {'a', 255, 255, 255, 253, 1,   'b', 255,
                                 250, 24,  7,   255, 240, 255, 243};
    chardev_write(peer.f, in, sizeof(in));
    WAIT_FOR(t.events[CHARDEV_BREAK] == 1);
    g_assert_cmpmem(t.in->str, t.in->len,
                    "a\xff"
                    "b",
                    3);
    size_t before = peer.in->len;
    chardev_write(t.f, (const uint8_t *)"\xff", 1);
    WAIT_FOR(peer.in->len == before + 2);
    fe_done(&t);
    fe_done(&peer);
    chardev_close_all();
}

static unsigned quits;
static void on_quit(void *opaque)
{
    quits++;
}

static void test_mux_keys(void)
{
    g_autofree char *path = tmp_path("mux");
    g_autofree char *text = g_strdup_printf("socket,id=m,path=%s,server=on,wait=off,mux=on", path);
    struct fe console, monitor;
    struct chardev *c = open_ok(text);
    g_assert_true(chardev_is_mux(c));
    fe_init(&console, c);
    fe_init(&monitor, c);
    chardev_set_quit_handler(on_quit, NULL);
    int fd = connect_to(path);
    const char *keys = "one\x01\x01\x01"
                       "b"
                       "\x01"
                       "c"
                       "two"
                       "\x01"
                       "c"
                       "!"
                       "\x01x";
    g_assert_cmpint(write(fd, keys, strlen(keys)), ==, (ssize_t)strlen(keys));
    WAIT_FOR(quits == 1);
    g_assert_cmpstr(console.in->str, ==, "one\x01!");
    g_assert_cmpstr(monitor.in->str, ==, "two");
    g_assert_cmpuint(console.events[CHARDEV_BREAK], ==, 1);
    g_assert_cmpuint(monitor.events[CHARDEV_MUX_IN], ==, 1);
    /* The guest takes nothing: the keys still work. */
    console.room = 0;
    g_autofree char *paste = g_strnfill(5000, 'p');
    g_assert_cmpint(write(fd, paste, 5000), ==, 5000);
    g_assert_cmpint(write(fd, "\x01x", 2), ==, 2);
    WAIT_FOR(quits == 2);
    close(fd);
    fe_done(&console);
    fe_done(&monitor);
    chardev_close_all();
    chardev_set_quit_handler(NULL, NULL);
}

static void test_pty_finds_its_user(void)
{
    g_autofree char *link = tmp_path("pty");
    g_autofree char *text = g_strdup_printf("pty,id=p,path=%s", link);
    struct fe t;
    char buf[8];
    /* The name of the terminal is said on standard output, which here carries test results. */
    int saved = dup(STDOUT_FILENO), null = open("/dev/null", O_WRONLY);
    dup2(null, STDOUT_FILENO);
    struct chardev *c = open_ok(text);
    dup2(saved, STDOUT_FILENO);
    close(saved);
    close(null);
    fe_init(&t, c);
    settle();
    g_assert_false(chardev_is_open(c));
    g_assert_cmpuint(chardev_write(t.f, (const uint8_t *)"gone", 4), ==, 4);
    g_autofree char *name = chardev_filename(c);
    int fd = open(name + strlen("pty:"), O_RDWR | O_NOCTTY);
    g_assert_cmpint(fd, >=, 0);
    chardev_write(t.f, (const uint8_t *)"hi", 2); /* the write itself notices the user */
    g_assert_cmpint(read(fd, buf, sizeof(buf)), ==, 2);
    WAIT_FOR(t.events[CHARDEV_OPENED] == 1);
    g_assert_cmpint(write(fd, "yo", 2), ==, 2);
    WAIT_FOR(t.in->len == 2);
    close(fd);
    WAIT_FOR(t.events[CHARDEV_CLOSED] == 1);
    fe_done(&t);
    chardev_close_all();
}

static void test_legacy_spellings(void)
{
    g_autoptr(GError) err = NULL;
    g_autofree char *path = tmp_path("legacy,x");
    g_autofree char *quoted = g_strdup_printf("unix:%s/hanok-test-%d-legacy,,x,server=on,wait=off",
                                              g_get_tmp_dir(), getpid());
    struct chardev *c = chardev_open_legacy(quoted, "u", true, &err);
    g_assert_no_error(err);
    g_assert_true(chardev_is_mux(c));
    g_assert_true(g_file_test(path, G_FILE_TEST_EXISTS));
    g_assert_true(chardev_open_legacy("chardev:u", "other", false, &err) == c);
    g_assert_nonnull(chardev_open_legacy("null", "n", false, &err));
    g_assert_nonnull(chardev_open_legacy("tcp:[::1]:0,server=on,wait=off", "t", false, NULL));
    g_assert_null(chardev_open_legacy("chardev:nobody", "x", false, &err));
    g_assert_nonnull(strstr(err->message, "nobody"));
    g_clear_error(&err);
    g_assert_null(chardev_open_legacy("stdoi", "x", false, &err));
    g_assert_nonnull(strstr(err->message, "'stdio'"));
    chardev_close_all();
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/chardev/bad-options", test_bad_options_are_sentences);
    g_test_add_func("/chardev/file", test_file_writes_and_logs);
    g_test_add_func("/chardev/ringbuf", test_ringbuf_keeps_newest);
    g_test_add_func("/chardev/second-user", test_second_user_needs_mux);
    g_test_add_func("/chardev/socket", test_socket_serves_one_then_next);
    g_test_add_func("/chardev/hangup", test_data_before_hangup_is_kept);
    g_test_add_func("/chardev/slow-reader", test_slow_reader_never_blocks);
    g_test_add_func("/chardev/inherited", test_inherited_listening_socket);
    g_test_add_func("/chardev/reconnect", test_client_reconnects);
    g_test_add_func("/chardev/many", test_many_peers_at_once);
    g_test_add_func("/chardev/telnet", test_telnet_escapes);
    g_test_add_func("/chardev/mux", test_mux_keys);
    g_test_add_func("/chardev/pty", test_pty_finds_its_user);
    g_test_add_func("/chardev/legacy", test_legacy_spellings);
    return g_test_run();
}
