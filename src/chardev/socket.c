/* socket.c - unix and TCP sockets: server (one peer at a time, or many: chardev_serve_many) and
 * client (with reconnect), telnet on top when asked.
 *
 *   listening --accept--> connected --peer leaves--> listening
 *   connecting --ok--> connected --peer leaves--> (reconnect= later) connecting
 *
 * While a single-peer server is connected further peers wait in the kernel's backlog. */
#include "socket.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define CLIENTS_MAX     64
#define ACCEPT_RETRY_NS 1000000000ull
#define NS_PER_S        1000000000ull
#define RECONNECT_MAX_S 86400

struct sock {
    struct sock_addr_spec addr;
    bool server, wait, telnet_on, nodelay;
    uint32_t reconnect_s;
    int listen_fd;
    struct evloop_fd *listen_watch;
    int pending_fd; /* client: connection under way */
    struct evloop_fd *pending_watch;
    struct timer *timer; /* reconnect, or listening again after a failed accept */
    struct telnet telnet;
    char *peer;
    chardev_client_fn *client_fn;
    void *client_opaque;
    struct chardev *parent; /* of a many-peer server's connection, while that lives */
    GPtrArray *clients;
};

extern const struct chardev_driver socket_client_driver;

static void socket_listen_again(struct chardev *c);

static void socket_take(struct chardev *c, int fd)
{
    struct sock *s = c->priv;
    int one = 1;
    if (s->nodelay) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    }
    g_free(s->peer);
    s->peer = sock_peer_text(fd);
    if (s->telnet_on) {
        s->telnet.state = TELNET_DATA;
        c->encode_out = telnet_encode;
        if (send(fd, telnet_greeting, sizeof(telnet_greeting), MSG_NOSIGNAL) < 0) {
            close(fd);
            return;
        }
    }
    c->eof_is_lost = true;
    stream_connect(c, fd, fd, STREAM_SOCKET);
}

/* ---- many peers ---- */

static void hand_out_client(struct chardev *c, int fd)
{
    struct sock *s = c->priv;
    if (s->clients->len >= CLIENTS_MAX) {
        log_warning("chardev '%s': more than %d connections; one was turned away", c->id,
                    CLIENTS_MAX);
        close(fd);
        return;
    }
    struct chardev *child = chardev_alloc(&socket_client_driver, NULL);
    struct sock *cs = g_new0(struct sock, 1);
    cs->addr.fd = cs->listen_fd = cs->pending_fd = -1;
    cs->telnet_on = s->telnet_on;
    cs->nodelay = s->nodelay;
    cs->parent = c;
    child->priv = cs;
    g_ptr_array_add(s->clients, child);
    socket_take(child, fd);
    s->client_fn(s->client_opaque, child);
}

bool chardev_serve_many(struct chardev *c, chardev_client_fn *fn, void *opaque)
{
    struct sock *s = c->priv;
    if (c->drv != &socket_driver || !s->server) {
        return false;
    }
    s->client_fn = fn;
    s->client_opaque = opaque;
    s->clients = g_ptr_array_new();
    if (c->connected) {
        pthread_mutex_lock(&c->lock);
        int fd = fcntl(c->in_fd, F_DUPFD_CLOEXEC, 3);
        pthread_mutex_unlock(&c->lock);
        stream_stop(c);
        if (fd >= 0) {
            hand_out_client(c, fd);
        }
    }
    socket_listen_again(c);
    return true;
}

/* ---- server ---- */

static void socket_accept(void *opaque, int listen_fd, uint32_t events)
{
    struct chardev *c = opaque;
    struct sock *s = c->priv;
    int fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0 && (errno == EAGAIN || errno == EINTR || errno == ECONNABORTED)) {
        return;
    }
    if (fd < 0) { /* out of descriptors: the peer stays in the backlog, so do not spin on it */
        log_warning("chardev '%s': accepting a connection failed: %s", c->id, strerror(errno));
        evloop_fd_set_events(s->listen_watch, 0);
        timer_set(s->timer, host_clock_ns() + ACCEPT_RETRY_NS);
        return;
    }
    if (s->client_fn) {
        hand_out_client(c, fd);
        return;
    }
    evloop_fd_set_events(s->listen_watch, 0);
    socket_take(c, fd);
    if (!c->connected) {
        socket_listen_again(c);
    }
}

static void socket_listen_again(struct chardev *c)
{
    struct sock *s = c->priv;
    if (!s->listen_watch) {
        s->listen_watch = evloop_fd_add(evloop_main(), s->listen_fd, EPOLLIN, socket_accept, c);
    } else {
        evloop_fd_set_events(s->listen_watch, EPOLLIN);
    }
}

static void socket_retry_accept(void *opaque)
{
    socket_listen_again(opaque);
}

static bool wait_for_peer(struct chardev *c, GError **err)
{
    struct sock *s = c->priv;
    g_autofree char *where = sock_addr_text(&s->addr);
    log_warning("chardev '%s' waits for a connection to %s; wait=off goes on without", c->id,
                where);
    while (!c->connected) {
        struct pollfd p = {.fd = s->listen_fd, .events = POLLIN};
        if (poll(&p, 1, -1) < 0 && errno != EINTR) {
            return error_errno(err, errno, "waiting for a connection to %s failed", where);
        }
        int fd = accept4(s->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd >= 0) {
            socket_take(c, fd);
        }
    }
    return true;
}

static bool server_open(struct chardev *c, GError **err)
{
    struct sock *s = c->priv;
    s->listen_fd = sock_listen(&s->addr, err);
    if (s->listen_fd < 0) {
        return false;
    }
    s->timer = timer_new(evloop_main(), NULL, socket_retry_accept, c);
    if (s->wait) {
        return wait_for_peer(c, err);
    }
    socket_listen_again(c);
    return true;
}

/* ---- client ---- */

static void client_later(struct chardev *c)
{
    struct sock *s = c->priv;
    if (s->reconnect_s) {
        timer_set(s->timer, host_clock_ns() + s->reconnect_s * NS_PER_S);
    }
}

static void client_connected(void *opaque, int fd, uint32_t events)
{
    struct chardev *c = opaque;
    struct sock *s = c->priv;
    int error = 0;
    socklen_t len = sizeof(error);
    getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len);
    evloop_fd_del(s->pending_watch);
    s->pending_watch = NULL;
    s->pending_fd = -1;
    if (error) {
        close(fd);
        client_later(c);
        return;
    }
    socket_take(c, fd);
}

static void client_try(void *opaque)
{
    struct chardev *c = opaque;
    struct sock *s = c->priv;
    g_autoptr(GError) err = NULL;
    int fd = sock_connect(&s->addr, true, &err);
    if (fd < 0) {
        log_debug("chardev '%s': %s", c->id, err->message);
        client_later(c);
        return;
    }
    s->pending_fd = fd;
    s->pending_watch = evloop_fd_add(evloop_main(), fd, EPOLLOUT, client_connected, c);
}

static bool client_open(struct chardev *c, GError **err)
{
    struct sock *s = c->priv;
    if (s->reconnect_s) {
        s->timer = timer_new(evloop_main(), NULL, client_try, c);
        client_try(c);
        return true;
    }
    int fd = sock_connect(&s->addr, false, err);
    if (fd < 0) {
        return false;
    }
    socket_take(c, fd);
    return true;
}

/* ---- both ---- */

static bool read_options(struct sock *s, struct props *p, GError **err)
{
    bool nowait = false, delay = true;
    s->wait = true;
    if (!sock_addr_parse(&s->addr, p, err) || !props_get_bool(p, "server", &s->server, err) ||
        !props_get_bool(p, "wait", &s->wait, err) || !props_get_bool(p, "nowait", &nowait, err) ||
        !props_get_bool(p, "telnet", &s->telnet_on, err) ||
        !props_get_bool(p, "nodelay", &s->nodelay, err) ||
        !props_get_bool(p, "delay", &delay, err) ||
        !props_get_u32(p, "reconnect", &s->reconnect_s, err)) {
        return false;
    }
    s->nodelay |= !delay;
    if (nowait) {
        s->wait = false;
    }
    if (s->reconnect_s > RECONNECT_MAX_S) {
        return error_set(err, HANOK_ERROR_INVALID, "reconnect= is at most %d seconds",
                         RECONNECT_MAX_S);
    }
    if (s->server && s->reconnect_s) {
        return error_set(err, HANOK_ERROR_INVALID,
                         "reconnect= is for clients, it cannot go with server=on");
    }
    if (!s->server && (nowait || props_has(p, "wait"))) {
        return error_set(err, HANOK_ERROR_INVALID, "wait= is for servers: add server=on");
    }
    return true;
}

static bool socket_open(struct chardev *c, struct props *p, GError **err)
{
    struct sock *s = g_new0(struct sock, 1);
    s->listen_fd = s->pending_fd = -1;
    c->priv = s;
    if (!read_options(s, p, err)) {
        return false;
    }
    return s->server ? server_open(c, err) : client_open(c, err);
}

static void socket_lost(struct chardev *c)
{
    struct sock *s = c->priv;
    if (s->parent) {
        return; /* its owner closes it */
    }
    if (s->server) {
        socket_listen_again(c);
    } else {
        client_later(c);
    }
}

static void socket_close(struct chardev *c)
{
    struct sock *s = c->priv;
    if (!s) {
        return;
    }
    if (s->parent) {
        g_ptr_array_remove_fast(((struct sock *)s->parent->priv)->clients, c);
    }
    for (unsigned i = 0; s->clients && i < s->clients->len; i++) {
        struct chardev *child = g_ptr_array_index(s->clients, i);
        ((struct sock *)child->priv)->parent = NULL;
    }
    if (s->clients) {
        g_ptr_array_unref(s->clients);
    }
    timer_free(s->timer);
    evloop_fd_del(s->listen_watch);
    evloop_fd_del(s->pending_watch);
    if (s->pending_fd >= 0) {
        close(s->pending_fd);
    }
    if (s->listen_fd >= 0) {
        close(s->listen_fd);
        if (s->addr.path && !s->addr.abstract) {
            unlink(s->addr.path);
        }
    }
    sock_addr_free(&s->addr);
    g_free(s->peer);
    g_free(s);
    c->priv = NULL;
}

static char *socket_filename(struct chardev *c)
{
    struct sock *s = c->priv;
    if (s->parent) {
        return socket_filename(s->parent);
    }
    g_autofree char *addr = sock_addr_text(&s->addr);
    const char *rest = s->telnet_on && g_str_has_prefix(addr, "tcp:") ? addr + 4 : addr;
    bool peer = c->connected && s->peer && *s->peer;
    return g_strdup_printf("%s%s%s%s%s%s",
                           c->connected ? "" : "disconnected:", rest != addr ? "telnet:" : "", rest,
                           s->server ? ",server=on" : "", peer ? " <-> " : "", peer ? s->peer : "");
}

static size_t socket_filter_in(struct chardev *c, uint8_t *buf, size_t len)
{
    struct sock *s = c->priv;
    bool got_break = false;
    if (!s->telnet_on) {
        return len;
    }
    size_t n = telnet_decode(&s->telnet, buf, len, &got_break);
    if (got_break) {
        chardev_tell(c, CHARDEV_BREAK);
    }
    return n;
}

static const char *const options[] = {
    "path",   "host",   "port",    "to",    "fd",        "ipv4",     "ipv6",  "server", "wait",
    "nowait", "telnet", "nodelay", "delay", "reconnect", "abstract", "tight", NULL};

const struct chardev_driver socket_driver = {
    .name = "socket",
    .help = "unix (path=), TCP (host=, port=) or inherited (fd=) socket; server=on listens",
    .options = options,
    .open = socket_open,
    .close = socket_close,
    .lost = socket_lost,
    .filename = socket_filename,
    .filter_in = socket_filter_in,
};

const struct chardev_driver socket_client_driver = {
    .name = "socket",
    .close = socket_close,
    .filename = socket_filename,
    .filter_in = socket_filter_in,
};
