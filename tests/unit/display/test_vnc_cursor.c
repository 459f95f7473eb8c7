/* The pointer as a VNC viewer gets it that shows it itself (RFC 6143 §7.8.1): its shape, its hot
 * spot, and that it is hidden. */
#include "base/util.h"
#include "display/console.h"
#include "display/vnc.h"

#include <arpa/inet.h>
#include <glib.h>
#include <glib/gstdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { CURSOR = -239, MASK_BYTES = 2 * 16, PATIENCE = 200 };

struct shape {
    unsigned hot_x, hot_y, width, height;
    uint32_t dot[16 * 16];
    uint8_t mask[MASK_BYTES];
};

static void read_all(int fd, void *to, size_t len)
{
    for (size_t done = 0; done < len;) {
        ssize_t n = read(fd, (uint8_t *)to + done, len - done);
        g_assert_cmpint(n, >, 0);
        done += (size_t)n;
    }
}

static void write_all(int fd, const void *from, size_t len)
{
    g_assert_cmpint(write(fd, from, len), ==, len);
}

static void skip(int fd, size_t len)
{
    g_autofree uint8_t *gone = g_malloc(len ? len : 1);

    read_all(fd, gone, len);
}

static int join(const char *path)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    /* 32 bits, 0x00RRGGBB little-endian; raw rectangles and the pointer's shape */
    static const uint8_t format[20] = {0, 0, 0, 0, 32, 24, 0, 1, 0, 255, 0, 255, 0, 255, 16, 8, 0};
    static const uint8_t encodings[12] = {2, 0, 0, 2, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0x11};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    uint8_t count;
    uint32_t length;

    g_strlcpy(a.sun_path, path, sizeof(a.sun_path));
    g_assert_cmpint(connect(fd, (struct sockaddr *)&a, sizeof(a)), ==, 0);
    skip(fd, 12);
    write_all(fd, "RFB 003.008\n", 12);
    read_all(fd, &count, 1);
    skip(fd, count);
    write_all(fd, "\1", 1);
    skip(fd, 4);
    write_all(fd, "\1", 1);
    skip(fd, 4 + 16);
    read_all(fd, &length, 4);
    skip(fd, ntohl(length));
    write_all(fd, format, sizeof(format));
    write_all(fd, encodings, sizeof(encodings));
    return fd;
}

/* One rectangle; true when it was the pointer. */
static bool rectangle(int fd, struct shape *s)
{
    uint16_t at[4];
    int32_t encoding;

    read_all(fd, at, sizeof(at));
    read_all(fd, &encoding, sizeof(encoding));
    unsigned w = ntohs(at[2]), h = ntohs(at[3]);
    if ((int32_t)ntohl((uint32_t)encoding) != CURSOR) {
        skip(fd, (size_t)w * h * 4);
        return false;
    }
    g_assert_cmpuint(w, <=, 16);
    g_assert_cmpuint(h, <=, 16);
    *s = (struct shape){.hot_x = ntohs(at[0]), .hot_y = ntohs(at[1]), .width = w, .height = h};
    read_all(fd, s->dot, (size_t)w * h * 4);
    read_all(fd, s->mask, (size_t)(w + 7) / 8 * h);
    return w > 0;
}

/* Asks for updates until one brings the pointer. */
static void next_shape(int fd, struct shape *s)
{
    /* incremental: the answer comes when there is something new */
    static const uint8_t ask[10] = {3, 1, 0, 0, 0, 0, 0, 8, 0, 8};
    bool have = false;

    for (unsigned i = 0; i < PATIENCE && !have; i++) {
        uint8_t head[4];
        write_all(fd, ask, sizeof(ask));
        read_all(fd, head, sizeof(head));
        g_assert_cmpuint(head[0], ==, 0);
        for (unsigned n = (unsigned)(head[2] << 8 | head[3]); n; n--)
            have |= rectangle(fd, s);
    }
    g_assert_true(have);
}

static void no_update(void *opaque, struct console *c, bool all)
{
}

static void test_shape(void)
{
    g_autofree char *dir = g_dir_make_tmp("vnc-XXXXXX", NULL);
    g_autofree char *path = g_strdup_printf("%s/s", dir), *where = g_strconcat("unix:", path, NULL);
    struct console *c = console_new(&(struct console_source){.update = no_update});
    const uint32_t argb[2 * 1] = {0xffff8000, 0x10000010};
    struct cursor cursor = {.visible = true, .width = 2, .height = 1, .hot_x = 1, .argb = argb};
    struct shape s;
    GError *err = NULL;

    vnc_open(&(struct vnc_config){.where = where, .name = "t"}, &err);
    g_assert_no_error(err);
    g_assert_true(console_cursor_apart(c));
    int fd = join(path);
    console_cursor(c, &cursor);
    next_shape(fd, &s);
    g_assert_cmpuint(s.width, ==, 2);
    g_assert_cmpuint(s.height, ==, 1);
    g_assert_cmpuint(s.hot_x, ==, 1);
    g_assert_cmphex(s.dot[0] & 0xffffff, ==, 0xff8000);
    g_assert_cmphex(s.mask[0], ==, 0x80); /* the second dot is next to nothing */
    cursor.visible = false;
    cursor.argb = NULL;
    console_cursor(c, &cursor);
    next_shape(fd, &s);
    g_assert_cmphex(s.mask[0], ==, 0);
    close(fd);
    vnc_close();
    console_free(c);
    g_unlink(path);
    g_rmdir(dir);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/vnc/cursor", test_shape);
    return g_test_run();
}
