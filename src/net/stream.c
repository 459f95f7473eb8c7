/* stream.c - "stream": frames over a byte stream, each with its length (32 bits, big-endian) in
 * front.
 *
 * What passt and other emulators speak.  The socket is listened on (server=on: one peer at a time),
 * connected to (and again after reconnect= seconds), or handed over open (addr.type=fd). */
#include "net_int.h"

#include "base/error.h"
#include "base/evloop.h"
#include "base/log.h"
#include "base/props.h"
#include "base/util.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <netdb.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define LENGTH_BYTES    4u
#define FRAMES_PER_WAKE 64
#define NS_PER_SECOND   1000000000ull

/* main thread, all of it */
struct stream {
    struct net_backend *backend;
    struct sockaddr_storage address;
    socklen_t address_bytes; /* 0: addr.type=fd */
    int listen_fd, fd;       /* -1: none */
    struct evloop_fd *listen_watch, *watch;
    struct timer *reconnect;
    uint32_t reconnect_s;
    bool rx_stalled, tx_wanted;
    size_t rx_len, tx_len, tx_done;
    uint8_t rx[LENGTH_BYTES + NET_FRAME_MAX];
    uint8_t tx[LENGTH_BYTES + NET_FRAME_MAX]; /* the rest of a frame sent in part */
};

static void stream_event(void *opaque, int fd, uint32_t events);

static void update_events(struct stream *s)
{
    bool out = s->tx_done < s->tx_len;
    evloop_fd_set_events(s->watch, (s->rx_stalled ? 0 : EPOLLIN) | (out ? EPOLLOUT : 0));
}

static void peer_attach(struct stream *s, int fd)
{
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    s->fd = fd;
    s->rx_len = s->tx_len = s->tx_done = 0;
    s->rx_stalled = false;
    s->watch = evloop_fd_add(evloop_main(), fd, EPOLLIN, stream_event, s);
}

static void peer_lost(struct stream *s)
{
    evloop_fd_del(s->watch);
    s->watch = NULL;
    close(s->fd);
    s->fd = -1;
    if (s->reconnect_s)
        timer_set(s->reconnect, host_clock_ns() + s->reconnect_s * NS_PER_SECOND);
    /* A NIC that waits for room goes on: without a peer frames are lost. */
    if (s->tx_wanted && s->backend->ops) {
        s->tx_wanted = false;
        s->backend->ops->ready(s->backend->nic);
    }
}

/* --- from the peer --- */

/* Hands the first frame in rx over; false when there is none, or the NIC has no room. */
static bool deliver_one(struct stream *s, bool *bad)
{
    uint32_t len;

    if (s->rx_len < LENGTH_BYTES)
        return false;
    memcpy(&len, s->rx, sizeof(len));
    len = ntohl(len);
    *bad = len == 0 || len > NET_FRAME_MAX;
    if (*bad || s->rx_len < LENGTH_BYTES + len)
        return false;
    if (!net_deliver(s->backend, s->rx + LENGTH_BYTES, len)) {
        s->rx_stalled = true;
        return false;
    }
    s->rx_len -= LENGTH_BYTES + len;
    memmove(s->rx, s->rx + LENGTH_BYTES + len, s->rx_len);
    return true;
}

static bool deliver_all(struct stream *s)
{
    bool bad = false;

    while (deliver_one(s, &bad)) {
    }
    if (bad)
        log_warning("network '%s': the peer sent a frame of an impossible length; the connection "
                    "is closed",
                    net_id(s->backend));
    return !bad;
}

static void receive(struct stream *s)
{
    for (int i = 0; i < FRAMES_PER_WAKE && !s->rx_stalled; i++) {
        ssize_t n = read(s->fd, s->rx + s->rx_len, sizeof(s->rx) - s->rx_len);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            break;
        if (n > 0)
            s->rx_len += (size_t)n;
        if (n <= 0 || !deliver_all(s)) {
            peer_lost(s);
            return;
        }
    }
    update_events(s);
}

static void stream_peer_ready(struct net_backend *b)
{
    struct stream *s = b->priv;

    if (!s->rx_stalled)
        return;
    s->rx_stalled = false;
    if (!deliver_all(s))
        peer_lost(s);
    else if (s->watch)
        update_events(s);
}

/* --- to the peer --- */

/* False: the connection is gone. */
static bool flush_tx(struct stream *s)
{
    while (s->tx_done < s->tx_len) {
        ssize_t n = send(s->fd, s->tx + s->tx_done, s->tx_len - s->tx_done, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno == EAGAIN;
        s->tx_done += (size_t)n;
    }
    return true;
}

static size_t stream_send(struct net_backend *b, const struct iovec *iov, int count)
{
    struct stream *s = b->priv;
    size_t bytes = 0;

    for (int i = 0; i < count; i++)
        bytes += iov[i].iov_len;
    if (s->fd < 0 || bytes > NET_FRAME_MAX)
        return bytes;
    if (s->tx_done < s->tx_len) {
        s->tx_wanted = true;
        return 0;
    }
    uint32_t head = htonl((uint32_t)bytes);
    memcpy(s->tx, &head, sizeof(head));
    net_linearize(iov, count, s->tx + LENGTH_BYTES, NET_FRAME_MAX);
    s->tx_len = LENGTH_BYTES + bytes;
    s->tx_done = 0;
    if (!flush_tx(s))
        peer_lost(s);
    else if (s->tx_done < s->tx_len)
        update_events(s);
    return bytes;
}

static void stream_event(void *opaque, int fd, uint32_t events)
{
    struct stream *s = opaque;

    if ((events & EPOLLOUT) && s->tx_done < s->tx_len) {
        if (!flush_tx(s)) {
            peer_lost(s);
            return;
        }
        update_events(s);
        if (s->tx_done == s->tx_len && s->tx_wanted && s->backend->ops) {
            s->tx_wanted = false;
            s->backend->ops->ready(s->backend->nic);
        }
    }
    if (s->fd >= 0 && (events & (EPOLLIN | EPOLLHUP | EPOLLERR)))
        receive(s);
}

/* --- connections --- */

static int new_socket(struct stream *s)
{
    return socket(s->address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
}

static const struct sockaddr *native(const struct stream *s)
{
    return (const struct sockaddr *)&s->address;
}

static bool connect_now(struct stream *s)
{
    int fd = new_socket(s);

    if (fd < 0 || connect(fd, native(s), s->address_bytes) < 0) {
        int e = errno;
        if (fd >= 0)
            close(fd);
        errno = e;
        return false;
    }
    peer_attach(s, fd);
    return true;
}

static void reconnect_timer(void *opaque)
{
    struct stream *s = opaque;

    if (s->fd < 0 && !connect_now(s))
        timer_set(s->reconnect, host_clock_ns() + s->reconnect_s * NS_PER_SECOND);
}

static void accept_ready(void *opaque, int fd, uint32_t events)
{
    struct stream *s = opaque;
    int peer = accept4(fd, NULL, NULL, SOCK_CLOEXEC);

    if (peer < 0)
        return;
    if (s->fd >= 0)
        close(peer); /* one at a time */
    else
        peer_attach(s, peer);
}

static bool listen_now(struct stream *s, GError **err)
{
    int one = 1;

    s->listen_fd = new_socket(s);
    if (s->listen_fd >= 0)
        setsockopt(s->listen_fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (s->listen_fd < 0 || bind(s->listen_fd, native(s), s->address_bytes) < 0 ||
        listen(s->listen_fd, 1) < 0)
        return error_errno(err, errno, "-netdev stream: cannot listen");
    s->listen_watch = evloop_fd_add(evloop_main(), s->listen_fd, EPOLLIN, accept_ready, s);
    return true;
}

/* --- opening --- */

static bool inet_address(struct stream *s, struct props *addr, GError **err)
{
    const char *host = NULL, *port = NULL;
    guint64 number;

    if (!props_get_str(addr, "host", &host, err) || !props_get_str(addr, "port", &port, err))
        return false;
    if (!host || !port || !g_ascii_string_to_unsigned(port, 10, 1, 65535, &number, NULL))
        return error_set(err, HANOK_ERROR_INVALID,
                         "-netdev stream: addr.type=inet needs addr.host= and a numeric "
                         "addr.port=.");
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
                                   .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV};
    struct addrinfo *found;
    if (getaddrinfo(strcmp(host, "localhost") ? host : "127.0.0.1", port, &hints, &found))
        return error_set(err, HANOK_ERROR_INVALID,
                         "-netdev stream: addr.host=%s is not an IP address.", host);
    memcpy(&s->address, found->ai_addr, found->ai_addrlen);
    s->address_bytes = found->ai_addrlen;
    freeaddrinfo(found);
    return true;
}

static bool take_fd(struct stream *s, struct props *addr, GError **err)
{
    const char *text = NULL;
    guint64 fd;
    int type;
    socklen_t len = sizeof(type);

    if (!props_get_str(addr, "str", &text, err))
        return false;
    if (!text || !g_ascii_string_to_unsigned(text, 10, 0, INT32_MAX, &fd, NULL) ||
        getsockopt((int)fd, SOL_SOCKET, SO_TYPE, &type, &len) < 0 || type != SOCK_STREAM)
        return error_set(err, HANOK_ERROR_INVALID,
                         "-netdev stream: addr.str= must be the number of an open stream socket.");
    fcntl((int)fd, F_SETFD, FD_CLOEXEC);
    peer_attach(s, (int)fd);
    return true;
}

static bool read_address(struct stream *s, struct props *addr, GError **err)
{
    static const char *const types[] = {"inet", "unix", "fd", NULL};
    unsigned type = 0;
    const char *path = NULL;

    if (!props_get_enum(addr, "type", types, &type, err))
        return false;
    if (type == 0)
        return inet_address(s, addr, err);
    if (type == 2)
        return take_fd(s, addr, err);
    if (!props_get_str(addr, "path", &path, err))
        return false;
    if (!path || strlen(path) > 107)
        return error_set(err, HANOK_ERROR_INVALID,
                         "-netdev stream: addr.type=unix needs addr.path= of at most 107 bytes.");
    struct sockaddr_un *un = (struct sockaddr_un *)&s->address;
    un->sun_family = AF_UNIX;
    g_strlcpy(un->sun_path, path, sizeof(un->sun_path));
    s->address_bytes = sizeof(*un);
    return true;
}

static bool stream_open(struct net_backend *b, struct props *p, GError **err)
{
    struct stream *s = b->priv = g_new0(struct stream, 1);
    struct props *addr = props_get_sub(p, "addr");
    bool server = false;

    s->backend = b;
    s->fd = s->listen_fd = -1;
    s->reconnect = timer_new(evloop_main(), NULL, reconnect_timer, s);
    if (!props_get_bool(p, "server", &server, err) ||
        !props_get_u32(p, "reconnect", &s->reconnect_s, err))
        return false;
    if (!addr)
        return error_set(err, HANOK_ERROR_INVALID, "-netdev stream needs addr.type=.");
    if (server && s->reconnect_s)
        return error_set(err, HANOK_ERROR_INVALID,
                         "-netdev stream: reconnect= is for the connecting side.");
    if (!read_address(s, addr, err))
        return false;
    if (!s->address_bytes)
        return true;
    if (server)
        return listen_now(s, err);
    if (connect_now(s))
        return true;
    if (!s->reconnect_s)
        return error_errno(err, errno, "-netdev stream: cannot connect");
    timer_set(s->reconnect, host_clock_ns() + s->reconnect_s * NS_PER_SECOND);
    return true;
}

static void stream_close(struct net_backend *b)
{
    struct stream *s = b->priv;

    if (!s)
        return;
    evloop_fd_del(s->watch);
    evloop_fd_del(s->listen_watch);
    timer_free(s->reconnect);
    if (s->fd >= 0)
        close(s->fd);
    if (s->listen_fd >= 0) {
        close(s->listen_fd);
        if (s->address.ss_family == AF_UNIX)
            unlink(((struct sockaddr_un *)&s->address)->sun_path);
    }
    g_free(s);
}

static char *stream_info(struct net_backend *b)
{
    struct stream *s = b->priv;
    return g_strdup(s->fd >= 0 ? "connected" : s->listen_fd >= 0 ? "listening" : "not connected");
}

const struct net_driver net_driver_stream = {
    .name = "stream",
    .open = stream_open,
    .close = stream_close,
    .send = stream_send,
    .peer_ready = stream_peer_ready,
    .info = stream_info,
};
