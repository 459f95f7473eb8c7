/* chardev.c - the registry, front ends, and what all backends have in common. */
#include "internal.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

static const struct chardev_driver *const drivers[] = {
    &stdio_driver, &pty_driver,    &socket_driver, &file_driver,
    &pipe_driver,  &serial_driver, &null_driver,   &ringbuf_driver,
};
static const char *const driver_names[] = {
    "stdio", "pty", "socket", "file", "pipe", "serial", "null", "ringbuf", NULL,
};
static GPtrArray *registry; /* struct chardev *, in order of creation */

const char *const *chardev_backends(void)
{
    return driver_names;
}

static const struct chardev_driver *driver_find(const char *name)
{
    for (size_t i = 0; i < ARRAY_SIZE(drivers); i++) {
        if (!strcmp(drivers[i]->name, name)) {
            return drivers[i];
        }
    }
    return !strcmp(name, "tty") ? &serial_driver : NULL;
}

struct chardev *chardev_alloc(const struct chardev_driver *drv, const char *id)
{
    struct chardev *c = g_new0(struct chardev, 1);
    c->drv = drv;
    c->id = g_strdup(id);
    c->in_fd = c->out_fd = c->log_fd = -1;
    c->outq = g_byte_array_new();
    c->outq_limit = CHARDEV_QUEUE_DEFAULT;
    c->refs = 1;
    pthread_mutex_init(&c->lock, NULL);
    return c;
}

/* Takes the caller's lock away together with the reference. */
static void chardev_unref_locked(struct chardev *c)
{
    bool last = --c->refs == 0;
    pthread_mutex_unlock(&c->lock);
    if (last) {
        pthread_mutex_destroy(&c->lock);
        g_byte_array_unref(c->outq);
        g_free(c->id);
        g_free(c);
    }
}

void chardev_close(struct chardev *c)
{
    if (!c) {
        return;
    }
    assert(c->fe_count == 0);
    if (registry) {
        g_ptr_array_remove(registry, c);
    }
    stream_stop(c);
    if (c->drv->close) {
        c->drv->close(c);
    }
    pthread_mutex_lock(&c->lock);
    c->closed = true;
    if (c->log_fd >= 0) {
        close(c->log_fd);
        c->log_fd = -1;
    }
    chardev_unref_locked(c);
}

void chardev_close_all(void)
{
    while (registry && registry->len) {
        struct chardev *c = g_ptr_array_index(registry, registry->len - 1);
        stream_drain(c, 2000);
        while (c->fe_count) {
            chardev_detach(c->fe[c->fe_count - 1]);
        }
        chardev_close(c);
    }
    chardev_restore_terminal();
}

struct chardev *chardev_find(const char *id)
{
    for (unsigned i = 0; registry && i < registry->len; i++) {
        struct chardev *c = g_ptr_array_index(registry, i);
        if (!strcmp(c->id, id)) {
            return c;
        }
    }
    return NULL;
}

void chardev_foreach(void (*fn)(struct chardev *c, void *opaque), void *opaque)
{
    for (unsigned i = 0; registry && i < registry->len; i++) {
        fn(g_ptr_array_index(registry, i), opaque);
    }
}

static bool open_logfile(struct chardev *c, struct props *p, GError **err)
{
    const char *path = NULL;
    bool append = false;
    if (!props_get_str(p, "logfile", &path, err) || !props_get_bool(p, "logappend", &append, err)) {
        return false;
    }
    if (!path) {
        return true;
    }
    int flags = O_WRONLY | O_CREAT | O_CLOEXEC | O_APPEND | (append ? 0 : O_TRUNC);
    c->log_fd = open(path, flags, 0600);
    if (c->log_fd < 0) {
        return error_errno(err, errno, "could not open logfile '%s'", path);
    }
    return true;
}

static struct chardev *open_with(const struct chardev_driver *drv, const char *id, struct props *p,
                                 GError **err)
{
    static const char *const common[] = {"backend", "id", "mux", "logfile", "logappend"};
    struct chardev *c = chardev_alloc(drv, id);
    g_autofree char *what = g_strdup_printf("-chardev %s", drv->name);
    g_autoptr(GPtrArray) known = g_ptr_array_new();
    for (size_t i = 0; i < ARRAY_SIZE(common); i++) {
        g_ptr_array_add(known, (void *)common[i]);
    }
    for (size_t i = 0; drv->options && drv->options[i]; i++) {
        g_ptr_array_add(known, (void *)drv->options[i]);
    }
    g_ptr_array_add(known, NULL);

    bool ok = props_get_bool(p, "mux", &c->is_mux, err) && open_logfile(c, p, err) &&
              drv->open(c, p, err) &&
              props_check_unused(p, what, (const char *const *)known->pdata, err);
    if (!ok) {
        chardev_close(c);
        return NULL;
    }
    g_ptr_array_add(registry, c);
    return c;
}

struct chardev *chardev_open(struct props *p, GError **err)
{
    const char *backend = NULL, *id = NULL;
    if (!props_get_str(p, "backend", &backend, err) || !props_get_id(p, &id, err)) {
        return NULL;
    }
    if (!registry) {
        registry = g_ptr_array_new();
        signal(SIGPIPE, SIG_IGN); /* a vanished reader is an EPIPE for us, not the end */
    }
    if (!backend || !*backend) {
        error_set(err, HANOK_ERROR_INVALID, "-chardev needs a backend, for example 'stdio'");
        return NULL;
    }
    const struct chardev_driver *drv = driver_find(backend);
    if (!drv) {
        g_autofree char *near = error_nearest(backend, driver_names, ARRAY_SIZE(driver_names) - 1);
        error_set(err, HANOK_ERROR_INVALID, "-chardev: there is no backend '%s'; did you mean %s?",
                  backend, near);
        return NULL;
    }
    if (!id || !*id) {
        error_set(err, HANOK_ERROR_INVALID, "-chardev %s: an id= is needed", backend);
        return NULL;
    }
    if (chardev_find(id)) {
        error_set(err, HANOK_ERROR_INVALID, "-chardev %s: the id '%s' is already used", backend,
                  id);
        return NULL;
    }
    struct chardev *c = open_with(drv, id, p, err);
    if (!c) {
        g_prefix_error(err, "chardev '%s': ", id);
    }
    return c;
}

const char *chardev_id(const struct chardev *c)
{
    return c->id;
}

char *chardev_filename(const struct chardev *c)
{
    return c->drv->filename ? c->drv->filename((struct chardev *)c) : g_strdup(c->drv->name);
}

bool chardev_is_open(const struct chardev *c)
{
    return __atomic_load_n(&c->connected, __ATOMIC_RELAXED);
}

bool chardev_fe_open(const struct chardev *c)
{
    for (unsigned i = 0; i < c->fe_count; i++) {
        if (__atomic_load_n(&c->fe[i]->open, __ATOMIC_RELAXED)) {
            return true;
        }
    }
    return false;
}

bool chardev_is_mux(const struct chardev *c)
{
    return c->is_mux;
}

void chardev_set_queue_limit(struct chardev *c, size_t bytes)
{
    pthread_mutex_lock(&c->lock);
    c->outq_limit = bytes;
    pthread_mutex_unlock(&c->lock);
}

/* ---- front ends ---- */

struct chardev_fe *chardev_attach(struct chardev *c, const struct chardev_fe_ops *ops, void *fe,
                                  GError **err)
{
    unsigned max = c->is_mux ? CHARDEV_FE_MAX : 1;
    const char *name = c->id ? c->id : c->drv->name;
    if (c->fe_count == max && !c->is_mux) {
        error_set(err, HANOK_ERROR_BUSY,
                  "chardev '%s' is already in use; mux=on would let several share it", name);
        return NULL;
    }
    if (c->fe_count == max) {
        error_set(err, HANOK_ERROR_BUSY, "chardev '%s' has %u users already, which is the most",
                  name, max);
        return NULL;
    }
    struct chardev_fe *f = g_new0(struct chardev_fe, 1);
    f->c = c;
    f->ops = ops;
    f->opaque = fe;
    f->inq = g_byte_array_new();
    c->fe[c->fe_count++] = f;
    pthread_mutex_lock(&c->lock);
    f->tell_opened = c->connected;
    chardev_bh_locked(c, BH_OPENED | BH_INPUT);
    pthread_mutex_unlock(&c->lock);
    return f;
}

void chardev_detach(struct chardev_fe *f)
{
    if (!f) {
        return;
    }
    struct chardev *c = f->c;
    unsigned i = 0;
    while (c->fe[i] != f) {
        i++;
    }
    memmove(&c->fe[i], &c->fe[i + 1], (c->fe_count - i - 1) * sizeof(c->fe[0]));
    c->fe_count--;
    if (c->focus > i || c->focus >= c->fe_count) {
        c->focus = c->focus ? c->focus - 1 : 0;
    }
    g_byte_array_unref(f->inq);
    g_free(f);
}

void chardev_tell(struct chardev *c, enum chardev_event ev)
{
    for (unsigned i = 0; i < c->fe_count; i++) {
        if (c->fe[i]->ops->event) {
            c->fe[i]->ops->event(c->fe[i]->opaque, ev);
        }
    }
}

void chardev_set_open(struct chardev_fe *f, bool open)
{
    __atomic_store_n(&f->open, open, __ATOMIC_RELAXED);
}

bool chardev_has_focus(const struct chardev_fe *f)
{
    return f->c->fe[f->c->focus] == f;
}

void chardev_accept_input(struct chardev_fe *f)
{
    pthread_mutex_lock(&f->c->lock);
    chardev_bh_locked(f->c, BH_INPUT);
    pthread_mutex_unlock(&f->c->lock);
}

/* ---- input, main thread ---- */

void fe_feed(struct chardev_fe *f)
{
    while (f->inq->len) {
        size_t room = f->ops->can_read(f->opaque);
        if (!room) {
            return;
        }
        uint8_t chunk[1024];
        size_t n = MIN_OF(MIN_OF(room, f->inq->len), sizeof(chunk));
        memcpy(chunk, f->inq->data, n);
        g_byte_array_remove_range(f->inq, 0, n);
        f->ops->read(f->opaque, chunk, n);
    }
}

void fe_queue(struct chardev_fe *f, const uint8_t *buf, size_t len)
{
    size_t room = CHARDEV_INPUT_MAX - MIN_OF(CHARDEV_INPUT_MAX, f->inq->len);
    g_byte_array_append(f->inq, buf, MIN_OF(len, room));
}

size_t chardev_input_room(struct chardev *c)
{
    if (!c->fe_count) {
        return 0;
    }
    struct chardev_fe *f = c->fe[c->focus];
    if (c->is_mux) {
        return CHARDEV_INPUT_MAX - MIN_OF(CHARDEV_INPUT_MAX, f->inq->len);
    }
    return f->inq->len ? 0 : f->ops->can_read(f->opaque);
}

void chardev_input(struct chardev *c, const uint8_t *buf, size_t len)
{
    if (!len || !c->fe_count) {
        return;
    }
    if (c->is_mux) {
        mux_input(c, buf, len);
        return;
    }
    struct chardev_fe *f = c->fe[0];
    fe_queue(f, buf, len);
    fe_feed(f);
}

/* ---- output, any thread ---- */

size_t chardev_output_locked(struct chardev *c, const uint8_t *buf, size_t len)
{
    if (!c->connected) {
        return len;
    }
    return c->drv->write ? c->drv->write(c, buf, len) : stream_write_locked(c, buf, len);
}

static void log_output(struct chardev *c, const uint8_t *buf, size_t len)
{
    while (c->log_fd >= 0 && len) {
        ssize_t n = write(c->log_fd, buf, len);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            log_warning("chardev '%s': writing its logfile failed (%s); the log ends here",
                        c->id ? c->id : c->drv->name, strerror(errno));
            close(c->log_fd);
            c->log_fd = -1;
            return;
        }
        buf += n;
        len -= n;
    }
}

size_t chardev_write(struct chardev_fe *f, const uint8_t *buf, size_t len)
{
    struct chardev *c = f->c;
    pthread_mutex_lock(&c->lock);
    if (!c->connected && c->drv->poke) {
        c->drv->poke(c);
    }
    size_t n = c->is_mux ? mux_output_locked(c, buf, len) : chardev_output_locked(c, buf, len);
    log_output(c, buf, n);
    if (n < len) {
        c->writer_waiting = true;
    }
    pthread_mutex_unlock(&c->lock);
    return n;
}

void chardev_put_text(struct chardev *c, const char *text)
{
    pthread_mutex_lock(&c->lock);
    chardev_output_locked(c, (const uint8_t *)text, strlen(text));
    pthread_mutex_unlock(&c->lock);
}

/* ---- deferred work, main thread ---- */

static void tell_opened(struct chardev *c)
{
    for (unsigned i = 0; i < c->fe_count; i++) {
        struct chardev_fe *f = c->fe[i];
        pthread_mutex_lock(&c->lock);
        bool due = f->tell_opened;
        f->tell_opened = false;
        pthread_mutex_unlock(&c->lock);
        if (due && f->ops->event) {
            f->ops->event(f->opaque, CHARDEV_OPENED);
        }
    }
}

static void chardev_bh(void *opaque)
{
    struct chardev *c = opaque;
    pthread_mutex_lock(&c->lock);
    unsigned flags = c->closed ? 0 : c->bh_flags;
    c->bh_flags = 0;
    c->bh_queued = false;
    pthread_mutex_unlock(&c->lock);

    if ((flags & BH_CONNECT) && c->connected) {
        stream_watch(c);
    }
    if (flags & (BH_OPENED | BH_CONNECT)) {
        tell_opened(c);
    }
    if ((flags & BH_LOST) && c->connected) {
        stream_stop(c);
        chardev_tell(c, CHARDEV_CLOSED);
        if (c->drv->lost && !c->closed) {
            c->drv->lost(c);
        }
    }
    if (flags & BH_WRITABLE) {
        chardev_tell(c, CHARDEV_WRITABLE);
    }
    if (flags & BH_INPUT) {
        for (unsigned i = 0; i < c->fe_count; i++) {
            fe_feed(c->fe[i]);
        }
        stream_resume_input(c);
    }
    pthread_mutex_lock(&c->lock);
    chardev_unref_locked(c);
}

void chardev_bh_locked(struct chardev *c, unsigned flags)
{
    c->bh_flags |= flags;
    if (!c->bh_queued) {
        c->bh_queued = true;
        c->refs++;
        evloop_defer(evloop_main(), chardev_bh, c);
    }
}
