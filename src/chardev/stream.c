/* stream.c - descriptors that carry a chardev's bytes: watching, reading, and the output queue.
 *
 * Descriptors are non-blocking, or (terminals and pipes that could not be reopened) written to in
 * pieces poll() promises to take.  A hang-up while the front end takes no input would be told again
 * and again by the event loop: what is left is then read into the front end's input queue, so the
 * descriptor can be let go at once. */
#include "internal.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void stream_event(void *opaque, int fd, uint32_t events);

static bool is_watched(struct chardev *c)
{
    return c->in_watch || c->out_watch;
}

/* Interest of the one or two watches, from in_paused and the queue. */
static void update_events_locked(struct chardev *c)
{
    uint32_t in = c->in_paused ? 0 : EPOLLIN;
    uint32_t out = c->outq->len && !c->output_broken ? EPOLLOUT : 0;
    if (c->in_watch && c->in_watch == c->out_watch) {
        evloop_fd_set_events(c->in_watch, in | out);
        return;
    }
    if (c->in_watch) {
        evloop_fd_set_events(c->in_watch, in);
    }
    if (c->out_watch) {
        evloop_fd_set_events(c->out_watch, out);
    }
}

void stream_connect_locked(struct chardev *c, int in_fd, int out_fd, unsigned flags)
{
    c->in_fd = in_fd;
    c->out_fd = out_fd;
    c->is_socket = flags & STREAM_SOCKET;
    c->borrowed_fds = flags & STREAM_BORROWED;
    c->output_broken = out_fd < 0;
    __atomic_store_n(&c->connected, true, __ATOMIC_RELAXED);
    chardev_bh_locked(c, BH_CONNECT | BH_INPUT);
}

void stream_connect(struct chardev *c, int in_fd, int out_fd, unsigned flags)
{
    pthread_mutex_lock(&c->lock);
    stream_connect_locked(c, in_fd, out_fd, flags);
    pthread_mutex_unlock(&c->lock);
}

void stream_watch(struct chardev *c)
{
    struct evloop *loop = evloop_main();
    pthread_mutex_lock(&c->lock);
    if (!is_watched(c)) {
        c->in_paused = true; /* BH_INPUT opens the tap when the front end has room */
        if (c->in_fd >= 0) {
            c->in_watch = evloop_fd_add(loop, c->in_fd, 0, stream_event, c);
        }
        if (c->out_fd >= 0 && c->out_fd == c->in_fd) {
            c->out_watch = c->in_watch;
        } else if (c->out_fd >= 0) {
            c->out_watch = evloop_fd_add(loop, c->out_fd, 0, stream_event, c);
        }
        update_events_locked(c);
        for (unsigned i = 0; i < c->fe_count; i++) {
            c->fe[i]->tell_opened = true;
        }
    }
    pthread_mutex_unlock(&c->lock);
}

static void unwatch_input_locked(struct chardev *c)
{
    if (c->in_watch && c->in_watch != c->out_watch) {
        evloop_fd_del(c->in_watch);
    }
    c->in_watch = NULL;
}

static void unwatch_output_locked(struct chardev *c)
{
    if (c->out_watch && c->in_watch != c->out_watch) {
        evloop_fd_del(c->out_watch);
    }
    c->out_watch = NULL;
}

void stream_stop(struct chardev *c)
{
    pthread_mutex_lock(&c->lock);
    if (c->in_watch && c->in_watch == c->out_watch) {
        evloop_fd_del(c->in_watch);
        c->in_watch = c->out_watch = NULL;
    }
    unwatch_input_locked(c);
    unwatch_output_locked(c);
    if (!c->borrowed_fds && c->in_fd >= 0) {
        close(c->in_fd);
    }
    if (!c->borrowed_fds && c->out_fd >= 0 && c->out_fd != c->in_fd) {
        close(c->out_fd);
    }
    c->in_fd = c->out_fd = -1;
    g_byte_array_set_size(c->outq, 0);
    __atomic_store_n(&c->connected, false, __ATOMIC_RELAXED);
    if (c->writer_waiting) {
        c->writer_waiting = false;
        chardev_bh_locked(c, BH_WRITABLE); /* with nobody there everything is taken */
    }
    pthread_mutex_unlock(&c->lock);
}

/* ---- output ---- */

/* Bytes written, 0 when the descriptor takes nothing now, -errno when it is broken. */
static ssize_t write_some(struct chardev *c, const uint8_t *buf, size_t len)
{
    if (c->is_socket) {
        ssize_t n = send(c->out_fd, buf, len, MSG_DONTWAIT | MSG_NOSIGNAL);
        return n >= 0 ? n : errno == EAGAIN || errno == EINTR ? 0 : -errno;
    }
    /* A descriptor that is still blocking (see stdio.c): ask first, and write no more than a pipe
     * takes whole. */
    struct pollfd p = {.fd = c->out_fd, .events = POLLOUT};
    if (poll(&p, 1, 0) <= 0 || !(p.revents & (POLLOUT | POLLERR | POLLHUP))) {
        return 0;
    }
    ssize_t n = write(c->out_fd, buf, MIN_OF(len, 4096));
    return n >= 0 ? n : errno == EAGAIN || errno == EINTR ? 0 : -errno;
}

/* Only the main thread may take a chardev down: here the output side just stops. */
static void output_failed_locked(struct chardev *c)
{
    c->output_broken = true;
    g_byte_array_set_size(c->outq, 0);
    if (c->eof_is_lost) {
        chardev_bh_locked(c, BH_LOST);
    }
}

static size_t write_through(struct chardev *c, const uint8_t *buf, size_t len)
{
    size_t done = 0;
    while (done < len) {
        ssize_t n = write_some(c, buf + done, len - done);
        if (n < 0) {
            output_failed_locked(c);
            return len;
        }
        if (n == 0) {
            break;
        }
        done += n;
    }
    return done;
}

size_t stream_write_locked(struct chardev *c, const uint8_t *buf, size_t len)
{
    if (c->output_broken) {
        return len;
    }
    size_t direct = 0;
    if (!c->outq->len && !c->encode_out) {
        direct = write_through(c, buf, len);
        if (direct == len) {
            return len;
        }
    }
    size_t room = c->outq_limit - MIN_OF(c->outq_limit, c->outq->len);
    size_t queued = MIN_OF(len - direct, room);
    if (c->encode_out) {
        c->encode_out(c->outq, buf + direct, queued);
        size_t sent = write_through(c, c->outq->data, c->outq->len);
        if (c->outq->len) {
            g_byte_array_remove_range(c->outq, 0, MIN_OF(sent, c->outq->len));
        }
    } else {
        g_byte_array_append(c->outq, buf + direct, queued);
    }
    update_events_locked(c);
    return direct + queued;
}

static void flush_locked(struct chardev *c)
{
    if (c->outq->len) {
        size_t sent = write_through(c, c->outq->data, c->outq->len);
        if (c->outq->len) { /* a failure has emptied it */
            g_byte_array_remove_range(c->outq, 0, MIN_OF(sent, c->outq->len));
        }
    }
    if (c->outq->len < c->outq_limit / 2 && c->writer_waiting) {
        c->writer_waiting = false;
        chardev_bh_locked(c, BH_WRITABLE);
    }
}

void stream_drain(struct chardev *c, int timeout_ms)
{
    pthread_mutex_lock(&c->lock);
    while (c->outq->len && !c->output_broken) {
        size_t before = c->outq->len;
        struct pollfd p = {.fd = c->out_fd, .events = POLLOUT};
        if (poll(&p, 1, timeout_ms) <= 0) {
            break;
        }
        flush_locked(c);
        if (c->outq->len == before) {
            break;
        }
    }
    pthread_mutex_unlock(&c->lock);
}

/* ---- input ---- */

static void peer_gone(struct chardev *c)
{
    pthread_mutex_lock(&c->lock);
    if (c->eof_is_lost) {
        chardev_bh_locked(c, BH_LOST);
    }
    /* Until then, and for stdin at its end, hear no more of it. */
    if (c->in_watch && c->in_watch == c->out_watch) {
        evloop_fd_del(c->in_watch);
        c->in_watch = c->out_watch = NULL;
        c->output_broken = true;
    } else {
        unwatch_input_locked(c);
    }
    pthread_mutex_unlock(&c->lock);
}

static size_t filter(struct chardev *c, uint8_t *buf, size_t len)
{
    return c->drv->filter_in ? c->drv->filter_in(c, buf, len) : len;
}

static void read_rest_after_hangup(struct chardev *c)
{
    uint8_t buf[4096];
    ssize_t n;
    while (c->fe_count && c->fe[c->focus]->inq->len < CHARDEV_INPUT_MAX &&
           (n = read(c->in_fd, buf, sizeof(buf))) > 0) {
        fe_queue(c->fe[c->focus], buf, filter(c, buf, n));
    }
    peer_gone(c);
}

static void input_ready(struct chardev *c, bool hangup)
{
    uint8_t buf[4096];
    size_t room = chardev_input_room(c);
    if (!room && hangup) {
        read_rest_after_hangup(c);
        return;
    }
    if (!room) {
        pthread_mutex_lock(&c->lock);
        c->in_paused = true;
        update_events_locked(c);
        pthread_mutex_unlock(&c->lock);
        return;
    }
    ssize_t n = read(c->in_fd, buf, MIN_OF(room, sizeof(buf)));
    if (n > 0) {
        chardev_input(c, buf, filter(c, buf, n));
    } else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
        peer_gone(c);
    }
}

static void stream_event(void *opaque, int fd, uint32_t events)
{
    struct chardev *c = opaque;
    bool hangup = events & (EPOLLHUP | EPOLLERR);
    if (fd == c->out_fd && (events & (EPOLLOUT | EPOLLHUP | EPOLLERR))) {
        pthread_mutex_lock(&c->lock);
        flush_locked(c);
        if (hangup && c->in_fd != c->out_fd) {
            output_failed_locked(c);
            unwatch_output_locked(c);
        }
        update_events_locked(c);
        pthread_mutex_unlock(&c->lock);
    }
    if (fd == c->in_fd && c->in_watch && (events & (EPOLLIN | EPOLLHUP | EPOLLERR))) {
        input_ready(c, hangup);
    }
}

void stream_resume_input(struct chardev *c)
{
    if (!c->in_paused || !chardev_input_room(c)) {
        return;
    }
    pthread_mutex_lock(&c->lock);
    c->in_paused = false;
    update_events_locked(c);
    pthread_mutex_unlock(&c->lock);
}
