/* tap.c - "tap": a host network interface made of file reads and writes.
 *
 * The interface is either made here (ifname=, needs CAP_NET_ADMIN) or handed over open (fd=).  A
 * handed-over one may have a virtio-net header in front of frames; ours are plain, so the header
 * is written as zeroes and skipped. */
#include "net_int.h"

#include "base/error.h"
#include "base/evloop.h"
#include "base/props.h"
#include "base/util.h"

#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define FRAMES_PER_WAKE 64 /* then other users of the loop get their turn */
#define VNET_HDR_MAX    20
#define TX_IOV_MAX      64

struct tap {
    struct net_backend *backend;
    int fd;
    char *ifname;
    unsigned vnet_hdr_bytes;
    struct evloop_fd *watch;
    bool rx_stalled, tx_stalled;
    size_t held_len; /* a frame the NIC had no buffer for, in rx */
    uint8_t rx[NET_FRAME_MAX];
};

static void update_events(struct tap *t)
{
    evloop_fd_set_events(t->watch, (t->rx_stalled ? 0 : EPOLLIN) | (t->tx_stalled ? EPOLLOUT : 0));
}

static bool deliver_held(struct tap *t)
{
    if (t->held_len <= t->vnet_hdr_bytes ||
        net_deliver(t->backend, t->rx + t->vnet_hdr_bytes, t->held_len - t->vnet_hdr_bytes))
        t->held_len = 0;
    return t->held_len == 0;
}

static void receive(struct tap *t)
{
    for (int i = 0; i < FRAMES_PER_WAKE; i++) {
        ssize_t n = read(t->fd, t->rx, sizeof(t->rx));
        if (n <= 0)
            return;
        t->held_len = (size_t)n;
        if (!deliver_held(t)) {
            t->rx_stalled = true;
            update_events(t);
            return;
        }
    }
}

static void tap_event(void *opaque, int fd, uint32_t events)
{
    struct tap *t = opaque;

    if (t->tx_stalled && (events & EPOLLOUT)) {
        t->tx_stalled = false;
        update_events(t);
        if (t->backend->ops)
            t->backend->ops->ready(t->backend->nic);
    }
    if (!t->rx_stalled && (events & EPOLLIN))
        receive(t);
}

static void tap_peer_ready(struct net_backend *b)
{
    struct tap *t = b->priv;

    if (t->rx_stalled && deliver_held(t)) {
        t->rx_stalled = false;
        update_events(t);
    }
}

static size_t tap_send(struct net_backend *b, const struct iovec *iov, int count)
{
    struct tap *t = b->priv;
    static const uint8_t no_header[VNET_HDR_MAX];
    struct iovec all[TX_IOV_MAX + 1];
    int n = 0;
    size_t bytes = 0;

    if (t->vnet_hdr_bytes)
        all[n++] = (struct iovec){(void *)no_header, t->vnet_hdr_bytes};
    for (int i = 0; i < count && i < TX_IOV_MAX; i++) {
        all[n++] = iov[i];
        bytes += iov[i].iov_len;
    }
    if (count > TX_IOV_MAX)
        return bytes; /* no frame of 64 KiB needs so many pieces: dropped */
    ssize_t r;
    do {
        r = writev(t->fd, all, n);
    } while (r < 0 && errno == EINTR);
    if (r < 0 && (errno == EAGAIN || errno == ENOBUFS)) {
        t->tx_stalled = true;
        update_events(t);
        return 0;
    }
    return bytes; /* other errors (interface down): lost on the wire */
}

static bool make_interface(struct tap *t, const char *ifname, GError **err)
{
    struct ifreq r = {.ifr_flags = IFF_TAP | IFF_NO_PI};

    if (ifname && strlen(ifname) >= sizeof(r.ifr_name))
        return error_set(err, HANOK_ERROR_INVALID,
                         "-netdev tap: ifname=%s is longer than 15 characters.", ifname);
    t->fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);
    if (t->fd < 0)
        return error_errno(err, errno,
                           "-netdev tap needs /dev/net/tun (root, CAP_NET_ADMIN or an interface "
                           "given by fd=; -netdev user needs none of these)");
    if (ifname)
        memcpy(r.ifr_name, ifname, strlen(ifname));
    if (ioctl(t->fd, TUNSETIFF, &r) < 0)
        return error_errno(err, errno,
                           "-netdev tap: cannot use interface '%s' (making one needs root or "
                           "CAP_NET_ADMIN; it may also be in use)",
                           ifname ? ifname : "tap%d");
    t->ifname = g_strndup(r.ifr_name, sizeof(r.ifr_name));
    return true;
}

static bool take_interface(struct tap *t, const char *text, GError **err)
{
    guint64 fd;
    struct ifreq r = {0};
    int hdr = 0;

    if (!g_ascii_string_to_unsigned(text, 10, 0, INT32_MAX, &fd, NULL))
        return error_set(err, HANOK_ERROR_INVALID,
                         "-netdev tap: fd=%s must be the number of an open descriptor.", text);
    if (ioctl((int)fd, TUNGETIFF, &r) < 0)
        return error_errno(err, errno, "-netdev tap: fd=%s is not an open tap interface", text);
    t->fd = (int)fd;
    if (!(r.ifr_flags & IFF_TAP))
        return error_set(err, HANOK_ERROR_INVALID,
                         "-netdev tap: fd=%s is a tun interface, not a tap.", text);
    if (r.ifr_flags & IFF_VNET_HDR) {
        if (ioctl(t->fd, TUNGETVNETHDRSZ, &hdr) < 0 || hdr < 0 || hdr > VNET_HDR_MAX)
            return error_set(err, HANOK_ERROR_UNSUPPORTED,
                             "-netdev tap: fd=%s has a header of an unknown size.", text);
        if (ioctl(t->fd, TUNSETOFFLOAD, 0ul) < 0)
            return error_errno(err, errno, "-netdev tap: cannot turn offloads of fd=%s off", text);
    }
    t->vnet_hdr_bytes = (unsigned)hdr;
    fcntl(t->fd, F_SETFL, fcntl(t->fd, F_GETFL) | O_NONBLOCK);
    fcntl(t->fd, F_SETFD, FD_CLOEXEC);
    t->ifname = g_strndup(r.ifr_name, sizeof(r.ifr_name));
    return true;
}

static bool refuse(struct props *p, const char *key, const char *why, GError **err)
{
    const char *v = NULL;

    if (!props_get_str(p, key, &v, err))
        return false;
    if (!v || !strcmp(v, "no") || !strcmp(v, "off"))
        return true;
    return error_set(err, HANOK_ERROR_UNSUPPORTED, "-netdev tap: %s=%s %s", key, v, why);
}

static bool tap_open(struct net_backend *b, struct props *p, GError **err)
{
    struct tap *t = b->priv = g_new0(struct tap, 1);
    const char *ifname = NULL, *fd = NULL;
    bool vhost = false, vnet_hdr = false;
    uint64_t sndbuf = 0, queues = 1;

    t->backend = b;
    t->fd = -1;
    if (!props_get_str(p, "ifname", &ifname, err) || !props_get_str(p, "fd", &fd, err) ||
        !props_get_bool(p, "vhost", &vhost, err) ||
        !props_get_bool(p, "vnet_hdr", &vnet_hdr, err) ||
        !props_get_size(p, "sndbuf", &sndbuf, err) || !props_get_u64(p, "queues", &queues, err) ||
        !refuse(p, "script", "is not run; set the interface up beforehand and say script=no.",
                err) ||
        !refuse(p, "downscript", "is not run; say downscript=no.", err))
        return false;
    if (vhost || props_has(p, "vhostfd") || props_has(p, "vhostforce"))
        return error_set(err, HANOK_ERROR_UNSUPPORTED,
                         "-netdev tap: vhost is not available in this version; say vhost=off.");
    if (props_has(p, "fds") || props_has(p, "helper") || props_has(p, "br"))
        return error_set(err, HANOK_ERROR_UNSUPPORTED,
                         "-netdev tap: fds=, br= and helper= are not available in this "
                         "version; give one interface by ifname= or fd=.");
    if (queues == 0 || queues > 16)
        return error_set(err, HANOK_ERROR_INVALID, "-netdev tap: queues= is 1 to 16.");
    b->queues = (unsigned)queues; /* they share the interface's one descriptor */
    if (!(fd ? take_interface(t, fd, err) : make_interface(t, ifname, err)))
        return false;
    t->watch = evloop_fd_add(evloop_main(), t->fd, EPOLLIN, tap_event, t);
    return true;
}

static void tap_close(struct net_backend *b)
{
    struct tap *t = b->priv;

    if (!t)
        return;
    evloop_fd_del(t->watch);
    if (t->fd >= 0)
        close(t->fd);
    g_free(t->ifname);
    g_free(t);
}

static char *tap_info(struct net_backend *b)
{
    struct tap *t = b->priv;
    return g_strdup_printf("ifname=%s,fd=%d", t->ifname, t->fd);
}

const struct net_driver net_driver_tap = {
    .name = "tap",
    .open = tap_open,
    .close = tap_close,
    .send = tap_send,
    .peer_ready = tap_peer_ready,
    .info = tap_info,
};
