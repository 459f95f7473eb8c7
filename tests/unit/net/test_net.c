/* test_net.c - packet backends: options, frames through a stream and a tap, links, what is refused.
 */
#include "net/net.h"

#include "base/error.h"
#include "base/evloop.h"
#include "base/props.h"
#include "base/util.h"

#include <arpa/inet.h>
#include <errno.h>
#include <glib.h>
#include <glib/gstdio.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

/* A NIC that keeps what it gets, and can be full. */
struct nic {
    unsigned frames, ready, links;
    size_t last_len;
    uint8_t last[70000];
    bool full, link_up;
};

static bool nic_can_receive(void *opaque)
{
    return !((struct nic *)opaque)->full;
}

static size_t nic_receive(void *opaque, const uint8_t *frame, size_t len)
{
    struct nic *n = opaque;

    n->frames++;
    n->last_len = len;
    memcpy(n->last, frame, len);
    return len;
}

static void nic_ready(void *opaque)
{
    ((struct nic *)opaque)->ready++;
}

static void nic_link(void *opaque, bool up)
{
    struct nic *n = opaque;

    n->links++;
    n->link_up = up;
}

static const struct net_peer_ops ops = {nic_can_receive, nic_receive, nic_ready, nic_link};

static struct net_backend *try_open(const char *text, GError **err)
{
    PROPS_AUTO p = props_parse(text, "type", err);
    return p ? net_open(p, err) : NULL;
}

static struct net_backend *open_ok(const char *text)
{
    GError *err = NULL;
    struct net_backend *b = try_open(text, &err);

    g_assert_no_error(err);
    return b;
}

static void refused(const char *text, const char *word)
{
    GError *err = NULL;

    g_assert_null(try_open(text, &err));
    g_assert_nonnull(err);
    if (!strstr(err->message, word))
        g_error("'%s' says: %s", text, err->message);
    g_clear_error(&err);
}

static void pump(unsigned rounds)
{
    while (rounds--) {
        if (!g_main_context_iteration(NULL, FALSE))
            g_usleep(200);
    }
}

static size_t send_frame(struct net_backend *b, size_t len, uint8_t seed)
{
    static uint8_t frame[70000];
    struct iovec iov[2] = {{frame, 10}, {frame + 10, len - 10}};

    for (size_t i = 0; i < len; i++)
        frame[i] = (uint8_t)(seed + i * 7);
    return net_send(b, iov, 2);
}

static void check_frame(const struct nic *n, size_t len, uint8_t seed)
{
    g_assert_cmpuint(n->last_len, ==, len);
    for (size_t i = 0; i < len; i++)
        g_assert_cmpuint(n->last[i], ==, (uint8_t)(seed + i * 7));
}

static void test_refusals(void)
{
    refused("id=x", "type=");
    refused("usr", "'user'");
    refused("vhost-user", "not available");
    refused("user,net=10.0.2.0/40", "prefix");
    refused("user,net=300.0.0.0", "IPv4");
    refused("user,host=10.0.3.2", "inside");
    refused("user,dhcpstart=x", "IPv4");
    refused("user,ipv6-host=x", "IPv6");
    refused("user,ipv4=off,ipv6=off", "both");
    refused("user,hostfwd=tcp:22", "hostfwd");
    refused("user,hostfwd=sctp::1-:2", "tcp:");
    refused("user,hostfwd=tcp::99999-:22", "hostfwd");
    refused("user,hostfwd=tcp::0-:0", "hostfwd");
    refused("user,guestfwd=tcp:10.0.2.100:80-chardev:x", "cmd:");
    refused("user,smb=/x", "smb=");
    refused("user,hostnam=x", "hostname");
    refused("tap,vhost=on", "vhost");
    refused("tap,script=/etc/qemu-ifup", "script");
    refused("tap,fd=0x", "fd=");
    refused("tap,fd=9999", "not an open tap");
    refused("tap,ifname=abcdefghijklmnopq", "15");
    refused("stream", "addr.type");
    refused("stream,addr.type=unix,addr.path=/no/such/socket", "connect");
    refused("stream,addr.type=inet,addr.host=here,addr.port=1", "IP address");
    refused("stream,addr.type=fd,addr.str=9999", "stream socket");
}

static void test_port_in_use(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(a);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    GError *err = NULL;

    g_assert_cmpint(bind(fd, (struct sockaddr *)&a, len), ==, 0);
    g_assert_cmpint(listen(fd, 1), ==, 0);
    g_assert_cmpint(getsockname(fd, (struct sockaddr *)&a, &len), ==, 0);
    g_autofree char *text = g_strdup_printf("user,hostfwd=tcp:127.0.0.1:%u-:22", ntohs(a.sin_port));
    refused(text, "cannot listen on host port");
    close(fd);
    struct net_backend *b = open_ok(text); /* free now */
    g_assert_false(net_user_add_hostfwd(b, "nonsense", &err));
    g_clear_error(&err);
    g_autofree char *table = net_user_connections(b);
    g_assert_nonnull(strstr(table, "TCP[HOST_FORWARD]"));
    net_close(b);
}

static void test_claim_and_names(void)
{
    struct nic nic = {0};
    GError *err = NULL;
    struct net_backend *b = open_ok("user,id=net7");

    g_assert_true(net_find("net7") == b);
    g_assert_cmpstr(net_type(b), ==, "user");
    refused("user,id=net7", "already in use");
    g_assert_true(net_claim(b, &ops, &nic, &err));
    g_assert_false(net_claim(b, &ops, &nic, &err));
    g_clear_error(&err);
    net_set_link(b, false);
    net_set_link(b, false);
    g_assert_cmpuint(nic.links, ==, 1);
    g_assert_false(nic.link_up);
    g_autofree char *info = net_info(b);
    g_assert_nonnull(strstr(info, "link=down"));
    net_release(b);
    net_close(b);
    g_assert_null(net_find("net7"));
}

/* Two backends joined by a socket: what one NIC sends the other gets. */
static void test_stream(void)
{
    struct nic left = {0}, right = {0};
    g_autofree char *path = g_strdup_printf("%s/hanok-net-%d.sock", g_get_tmp_dir(), getpid());
    g_autofree char *server =
        g_strdup_printf("stream,id=s,server=on,addr.type=unix,addr.path=%s", path);
    g_autofree char *client = g_strdup_printf("stream,id=c,addr.type=unix,addr.path=%s", path);
    struct net_backend *s = open_ok(server), *c = open_ok(client);

    g_assert_true(net_claim(s, &ops, &left, NULL));
    g_assert_true(net_claim(c, &ops, &right, NULL));
    pump(5);
    g_assert_cmpuint(send_frame(c, 60, 1), ==, 60);
    g_assert_cmpuint(send_frame(s, 65536, 2), ==, 65536);
    pump(50);
    check_frame(&left, 60, 1);
    check_frame(&right, 65536, 2);
    /* the receiver is full: frames wait, the sender is stopped, nothing is lost */
    left.full = true;
    unsigned sent = 0, got = left.frames;
    while (send_frame(c, 1500, 3) && sent < 100000) {
        sent++;
        pump(1);
    }
    g_assert_cmpuint(sent, <, 100000);
    g_assert_cmpuint(left.frames, ==, got);
    left.full = false;
    net_peer_ready(s);
    for (int i = 0; i < 5000 && left.frames < got + sent; i++)
        pump(1);
    g_assert_cmpuint(left.frames, ==, got + sent);
    g_assert_cmpuint(right.ready, >=, 1);
    check_frame(&left, 1500, 3);
    /* the peer goes: frames vanish, and nothing blocks */
    net_release(c);
    net_close(c);
    pump(20);
    g_assert_cmpuint(send_frame(s, 100, 4), ==, 100);
    net_release(s);
    net_close(s);
    g_assert_false(g_file_test(path, G_FILE_TEST_EXISTS));
}

/* A port that nobody listens on, or 0 where there is no such protocol. */
static unsigned free_port(int family)
{
    struct sockaddr_in6 a = {.sin6_family = (sa_family_t)family};
    socklen_t len = family == AF_INET6 ? sizeof(a) : sizeof(struct sockaddr_in);
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool ok = fd >= 0 && bind(fd, (struct sockaddr *)&a, len) == 0 &&
              getsockname(fd, (struct sockaddr *)&a, &len) == 0;

    if (fd >= 0)
        close(fd);
    return ok ? ntohs(a.sin6_port) : 0; /* at the same place in both */
}

static void test_stream_by_ip_address(void)
{
    static const char *const hosts[] = {"localhost", "127.0.0.1", "::1"};

    for (unsigned k = 0; k < ARRAY_SIZE(hosts); k++) {
        unsigned port = free_port(strchr(hosts[k], ':') ? AF_INET6 : AF_INET);
        g_autofree char *to =
            g_strdup_printf("stream,addr.type=inet,addr.host=%s,addr.port=%u", hosts[k], port);
        g_autofree char *at = g_strdup_printf("%s,id=s,server=on", to);
        struct nic nic = {0};
        if (!port)
            continue;
        struct net_backend *s = open_ok(at), *c = open_ok(to);
        g_assert_true(net_claim(s, &ops, &nic, NULL));
        pump(5);
        g_assert_cmpuint(send_frame(c, 60, 1), ==, 60);
        for (unsigned n = 0; n < 5000 && !nic.frames; n++)
            pump(1);
        check_frame(&nic, 60, 1);
        net_release(s);
        net_close(c);
        net_close(s);
    }
}

static void test_stream_refuses_impossible_lengths(void)
{
    struct nic nic = {0};
    int fds[2];

    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), ==, 0);
    g_autofree char *text = g_strdup_printf("stream,addr.type=fd,addr.str=%d", fds[0]);
    struct net_backend *b = open_ok(text);
    g_assert_true(net_claim(b, &ops, &nic, NULL));
    g_assert_cmpint(write(fds[1], "\0\0\0\4abcd\xff\xff\xff\xff", 12), ==, 12);
    pump(20);
    g_assert_cmpuint(nic.frames, ==, 1);
    g_assert_cmpint(read(fds[1], nic.last, 1), ==, 0); /* closed */
    close(fds[1]);
    net_release(b);
    net_close(b);
}

/* A real tap interface, seen from its other side by a packet socket. */
static void test_tap(void)
{
    struct nic nic = {0};
    GError *err = NULL;
    struct net_backend *b = try_open("tap,id=t,ifname=hanoktest%d,script=no", &err);
    uint8_t frame[100] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 1, 0x88, 0xb5};

    if (!b) {
        g_assert_nonnull(strstr(err->message, "tap"));
        g_test_skip(err->message);
        g_clear_error(&err);
        return;
    }
    g_autofree char *info = net_info(b);
    struct ifreq r = {0};
    sscanf(strstr(info, "ifname=") + 7, "%15[^,]", r.ifr_name);
    int s = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, htons(0x88b5));
    g_assert_cmpint(s, >=, 0);
    struct sockaddr_ll a = {.sll_family = AF_PACKET,
                            .sll_protocol = htons(0x88b5),
                            .sll_ifindex = (int)if_nametoindex(r.ifr_name)};
    g_assert_cmpint(ioctl(s, SIOCGIFFLAGS, &r), ==, 0);
    r.ifr_flags |= IFF_UP;
    g_assert_cmpint(ioctl(s, SIOCSIFFLAGS, &r), ==, 0);
    g_assert_cmpint(bind(s, (struct sockaddr *)&a, sizeof(a)), ==, 0);
    g_assert_true(net_claim(b, &ops, &nic, NULL));
    g_assert_cmpint(send(s, frame, sizeof(frame), 0), ==, sizeof(frame));
    for (int i = 0; i < 1000 && !(nic.last_len == sizeof(frame) && nic.last[12] == 0x88); i++)
        pump(1);
    g_assert_cmpmem(nic.last, nic.last_len, frame, sizeof(frame));
    frame[20] = 42;
    struct iovec iov = {frame, sizeof(frame)};
    g_assert_cmpuint(net_send(b, &iov, 1), ==, sizeof(frame));
    uint8_t in[200];
    ssize_t n;
    do {
        n = recv(s, in, sizeof(in), 0);
    } while (n == sizeof(frame) && in[20] != 42);
    g_assert_cmpmem(in, (size_t)n, frame, sizeof(frame));
    close(s);
    net_release(b);
    net_close(b);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/net/refusals", test_refusals);
    g_test_add_func("/net/port-in-use", test_port_in_use);
    g_test_add_func("/net/claim-and-names", test_claim_and_names);
    g_test_add_func("/net/stream", test_stream);
    g_test_add_func("/net/stream-by-ip-address", test_stream_by_ip_address);
    g_test_add_func("/net/stream-lengths", test_stream_refuses_impossible_lengths);
    g_test_add_func("/net/tap", test_tap);
    return g_test_run();
}
