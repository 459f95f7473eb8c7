/* files.c - the small backends: file, pipe, serial, null and ringbuf. */
#include "internal.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

static bool need_path(struct props *p, const char *key, const char **path, GError **err)
{
    if (!props_get_str(p, key, path, err)) {
        return false;
    }
    if (!*path || !**path) {
        return error_set(err, HANOK_ERROR_INVALID, "%s= is needed: the file to use", key);
    }
    return true;
}

/* ---- file ---- */

static bool file_open(struct chardev *c, struct props *p, GError **err)
{
    const char *path = NULL, *input = NULL;
    bool append = false;
    if (!need_path(p, "path", &path, err) || !props_get_str(p, "input-path", &input, err) ||
        !props_get_bool(p, "append", &append, err)) {
        return false;
    }
    int flags = O_WRONLY | O_CREAT | O_CLOEXEC | (append ? O_APPEND : O_TRUNC);
    int out = open(path, flags, 0666), in = -1;
    if (out < 0) {
        return error_errno(err, errno, "could not open '%s' for writing", path);
    }
    if (input && (in = open(input, O_RDONLY | O_CLOEXEC | O_NONBLOCK)) < 0) {
        close(out);
        return error_errno(err, errno, "could not open '%s' for reading", input);
    }
    stream_connect(c, in, out, 0);
    return true;
}

static const char *const file_options[] = {"path", "input-path", "append", NULL};

const struct chardev_driver file_driver = {
    .name = "file",
    .help = "output to a file (path=, append=on|off), input from input-path=",
    .options = file_options,
    .open = file_open,
};

/* ---- pipe: PATH.in and PATH.out when both exist, else PATH for both directions ---- */

static bool pipe_open(struct chardev *c, struct props *p, GError **err)
{
    const char *path = NULL;
    if (!need_path(p, "path", &path, err)) {
        return false;
    }
    g_autofree char *in_path = g_strdup_printf("%s.in", path);
    g_autofree char *out_path = g_strdup_printf("%s.out", path);
    /* Read-write, so that neither open waits for a peer and a leaving peer is no end of file. */
    int in = open(in_path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
    int out = open(out_path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (in < 0 || out < 0) {
        if (in >= 0) {
            close(in);
        }
        if (out >= 0) {
            close(out);
        }
        in = out = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
        if (in < 0) {
            return error_errno(err, errno, "could not open '%s', nor '%s' and '%s'", path, in_path,
                               out_path);
        }
    }
    stream_connect(c, in, out, 0);
    return true;
}

static const char *const path_option[] = {"path", NULL};

const struct chardev_driver pipe_driver = {
    .name = "pipe",
    .help = "a pair of FIFOs, PATH.in and PATH.out, or one for both directions",
    .options = path_option,
    .open = pipe_open,
};

/* ---- serial: a real terminal line of the host ---- */

static bool serial_open(struct chardev *c, struct props *p, GError **err)
{
    const char *path = NULL;
    if (!need_path(p, "path", &path, err)) {
        return false;
    }
    int fd = open(path, O_RDWR | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd < 0) {
        return error_errno(err, errno, "could not open '%s'", path);
    }
    struct termios t;
    if (tcgetattr(fd, &t)) {
        close(fd);
        return error_set(err, HANOK_ERROR_INVALID, "'%s' is not a terminal line", path);
    }
    cfmakeraw(&t);
    t.c_cflag |= CREAD | CLOCAL;
    tcsetattr(fd, TCSANOW, &t);
    stream_connect(c, fd, fd, 0);
    return true;
}

const struct chardev_driver serial_driver = {
    .name = "serial",
    .help = "a terminal line of the host (path=/dev/ttyS0)",
    .options = path_option,
    .open = serial_open,
};

/* ---- null ---- */

static bool null_open(struct chardev *c, struct props *p, GError **err)
{
    return true; /* never connected: output is dropped, input never comes */
}

const struct chardev_driver null_driver = {
    .name = "null",
    .help = "drops all output, has no input",
    .open = null_open,
};

/* ---- ringbuf: keeps the newest output in memory ---- */

struct ring {
    uint8_t *data;
    size_t size, head, used;
};

static bool ringbuf_open(struct chardev *c, struct props *p, GError **err)
{
    uint64_t size = 64 * KiB;
    if (!props_get_size(p, "size", &size, err)) {
        return false;
    }
    if (size == 0 || size > 64 * MiB) {
        return error_set(err, HANOK_ERROR_INVALID, "size= must lie between 1 byte and 64 MiB");
    }
    struct ring *r = g_new0(struct ring, 1);
    r->data = g_malloc(size);
    r->size = size;
    c->priv = r;
    c->connected = true;
    return true;
}

static void ringbuf_close(struct chardev *c)
{
    struct ring *r = c->priv;
    if (r) {
        g_free(r->data);
        g_free(r);
        c->priv = NULL;
    }
}

static size_t ringbuf_write(struct chardev *c, const uint8_t *buf, size_t len)
{
    struct ring *r = c->priv;
    for (size_t i = 0; i < len; i++) {
        r->data[(r->head + r->used) % r->size] = buf[i];
        if (r->used < r->size) {
            r->used++;
        } else {
            r->head = (r->head + 1) % r->size;
        }
    }
    return len;
}

bool chardev_is_ringbuf(const struct chardev *c)
{
    return c->drv == &ringbuf_driver;
}

size_t chardev_ringbuf_read(struct chardev *c, uint8_t *buf, size_t len)
{
    if (!chardev_is_ringbuf(c)) {
        return 0;
    }
    struct ring *r = c->priv;
    pthread_mutex_lock(&c->lock);
    size_t n = MIN_OF(len, r->used);
    for (size_t i = 0; i < n; i++) {
        buf[i] = r->data[(r->head + i) % r->size];
    }
    r->head = (r->head + n) % r->size;
    r->used -= n;
    pthread_mutex_unlock(&c->lock);
    return n;
}

static const char *const ring_options[] = {"size", NULL};

const struct chardev_driver ringbuf_driver = {
    .name = "ringbuf",
    .help = "keeps the newest size= bytes of output in memory (QMP ringbuf-read)",
    .options = ring_options,
    .open = ringbuf_open,
    .close = ringbuf_close,
    .write = ringbuf_write,
};
