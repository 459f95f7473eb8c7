/* user.c - "user": a private network behind libslirp, no privileges needed.
 *
 * libslirp is not thread-safe and wants to be asked before and after every sleep which sockets
 * matter.  A GSource on the main loop does exactly that: prepare fills, dispatch polls.
 *
 * Frames for a NIC without free buffers wait in a bounded queue; what does not fit is dropped, as a
 * real switch does. */
#include "net_int.h"
#include "user_fwd.h"

#include "base/error.h"
#include "base/evloop.h"
#include "base/log.h"
#include "base/props.h"
#include "base/util.h"

#include <arpa/inet.h>
#include <assert.h>
#include <glib.h>
#include <jansson.h>
#include <slirp/libslirp.h>

#define HELD_FRAMES_MAX 512u
#define HELD_BYTES_MAX  (1u << 20)

struct held_frame {
    size_t len;
    uint8_t data[];
};

struct slot {
    int fd;
    GIOCondition events;
    gpointer tag;
};

struct user_source {
    GSource base; /* first */
    struct user *user;
};

/* main thread, all of it */
struct user {
    struct net_backend *backend;
    Slirp *slirp;
    struct user_fwd fwd;
    struct user_source *source;
    GArray *slots; /* struct slot: what libslirp asked to watch, by its index */
    unsigned slots_used;
    uint64_t deadline_ns; /* when libslirp's own timers are due */
    GQueue held;
    size_t held_bytes;
    uint64_t dropped;
    bool delivering;
    uint8_t tx[NET_FRAME_MAX];
};

/* --- frames to the guest --- */

static void flush_held(struct user *u)
{
    if (u->delivering)
        return;
    u->delivering = true;
    while (!g_queue_is_empty(&u->held)) {
        struct held_frame *f = g_queue_peek_head(&u->held);
        if (!net_deliver(u->backend, f->data, f->len))
            break;
        g_queue_pop_head(&u->held);
        u->held_bytes -= f->len;
        g_free(f);
    }
    u->delivering = false;
}

static ssize_t cb_send_packet(const void *buf, size_t len, void *opaque)
{
    struct user *u = opaque;

    if (g_queue_is_empty(&u->held) && !u->delivering) {
        u->delivering = true;
        bool taken = net_deliver(u->backend, buf, len);
        u->delivering = false;
        if (taken)
            return (ssize_t)len;
    }
    if (g_queue_get_length(&u->held) >= HELD_FRAMES_MAX || u->held_bytes + len > HELD_BYTES_MAX) {
        u->dropped++;
        return (ssize_t)len;
    }
    struct held_frame *f = g_malloc(sizeof(*f) + len);
    f->len = len;
    memcpy(f->data, buf, len);
    g_queue_push_tail(&u->held, f);
    u->held_bytes += len;
    return (ssize_t)len;
}

static void user_peer_ready(struct net_backend *b)
{
    flush_held(b->priv);
}

static size_t user_send(struct net_backend *b, const struct iovec *iov, int count)
{
    struct user *u = b->priv;
    size_t bytes = 0;

    for (int i = 0; i < count; i++)
        bytes += iov[i].iov_len;
    size_t len = net_linearize(iov, count, u->tx, sizeof(u->tx));
    if (len)
        slirp_input(u->slirp, u->tx, (int)len);
    return bytes;
}

/* --- libslirp's environment --- */

static void cb_guest_error(const char *msg, void *opaque)
{
    log_guest("network: %s", msg);
}

static int64_t cb_clock_get_ns(void *opaque)
{
    return (int64_t)host_clock_ns();
}

static void *cb_timer_new(SlirpTimerCb cb, void *cb_opaque, void *opaque)
{
    return timer_new(evloop_main(), NULL, cb, cb_opaque);
}

static void cb_timer_free(void *timer, void *opaque)
{
    timer_free(timer);
}

static void cb_timer_mod(void *timer, int64_t expire_ms, void *opaque)
{
    timer_set(timer, (uint64_t)expire_ms * 1000000);
}

static void cb_poll_fd(int fd, void *opaque)
{
    /* prepare asks for every socket anyway */
}

static void cb_notify(void *opaque)
{
    g_main_context_wakeup(NULL);
}

static const SlirpCb callbacks = {
    .send_packet = cb_send_packet,
    .guest_error = cb_guest_error,
    .clock_get_ns = cb_clock_get_ns,
    .timer_new = cb_timer_new,
    .timer_free = cb_timer_free,
    .timer_mod = cb_timer_mod,
    .register_poll_fd = cb_poll_fd,
    .unregister_poll_fd = cb_poll_fd,
    .notify = cb_notify,
};

/* --- sleeping --- */

static int cb_add_poll(int fd, int events, void *opaque)
{
    struct user *u = opaque;
    GIOCondition want = 0;

    if (events & SLIRP_POLL_IN)
        want |= G_IO_IN;
    if (events & SLIRP_POLL_OUT)
        want |= G_IO_OUT;
    if (events & SLIRP_POLL_PRI)
        want |= G_IO_PRI;
    if (events & SLIRP_POLL_ERR)
        want |= G_IO_ERR;
    if (events & SLIRP_POLL_HUP)
        want |= G_IO_HUP;
    if (u->slots_used == u->slots->len) {
        struct slot none = {.fd = -1};
        g_array_append_val(u->slots, none);
    }
    struct slot *s = &g_array_index(u->slots, struct slot, u->slots_used);
    if (s->fd != fd || s->events != want) {
        if (s->tag)
            g_source_remove_unix_fd(&u->source->base, s->tag);
        s->tag = g_source_add_unix_fd(&u->source->base, fd, want);
        s->fd = fd;
        s->events = want;
    }
    return (int)u->slots_used++;
}

static int cb_get_revents(int idx, void *opaque)
{
    struct user *u = opaque;
    int r = 0;

    if (idx < 0 || (unsigned)idx >= u->slots_used)
        return 0;
    struct slot *s = &g_array_index(u->slots, struct slot, idx);
    GIOCondition c = g_source_query_unix_fd(&u->source->base, s->tag);
    if (c & G_IO_IN)
        r |= SLIRP_POLL_IN;
    if (c & G_IO_OUT)
        r |= SLIRP_POLL_OUT;
    if (c & G_IO_PRI)
        r |= SLIRP_POLL_PRI;
    if (c & G_IO_ERR)
        r |= SLIRP_POLL_ERR;
    if (c & G_IO_HUP)
        r |= SLIRP_POLL_HUP;
    return r;
}

static void drop_slots(struct user *u, unsigned from)
{
    for (unsigned i = from; i < u->slots->len; i++) {
        struct slot *s = &g_array_index(u->slots, struct slot, i);
        if (s->tag)
            g_source_remove_unix_fd(&u->source->base, s->tag);
    }
    g_array_set_size(u->slots, from);
}

static gboolean source_prepare(GSource *src, gint *timeout_ms)
{
    struct user *u = ((struct user_source *)src)->user;
    uint32_t t = UINT32_MAX;

    u->slots_used = 0;
    slirp_pollfds_fill(u->slirp, &t, cb_add_poll, u);
    drop_slots(u, u->slots_used);
    u->deadline_ns = t == UINT32_MAX ? UINT64_MAX : host_clock_ns() + t * 1000000ull;
    *timeout_ms = t > INT32_MAX ? -1 : (gint)t;
    return FALSE;
}

static gboolean source_check(GSource *src)
{
    struct user *u = ((struct user_source *)src)->user;

    if (u->deadline_ns != UINT64_MAX && host_clock_ns() >= u->deadline_ns)
        return TRUE;
    for (unsigned i = 0; i < u->slots_used; i++) {
        if (g_source_query_unix_fd(src, g_array_index(u->slots, struct slot, i).tag))
            return TRUE;
    }
    return FALSE;
}

static gboolean source_dispatch(GSource *src, GSourceFunc fn, gpointer data)
{
    struct user *u = ((struct user_source *)src)->user;

    slirp_pollfds_poll(u->slirp, 0, cb_get_revents, u);
    return G_SOURCE_CONTINUE;
}

static GSourceFuncs source_funcs = {
    .prepare = source_prepare, .check = source_check, .dispatch = source_dispatch};

static void start_source(struct user *u)
{
    u->source = (struct user_source *)g_source_new(&source_funcs, sizeof(*u->source));
    u->source->user = u;
    g_source_set_name(&u->source->base, "slirp");
    g_source_attach(&u->source->base, NULL);
}

/* --- opening --- */

struct user_options {
    const char *net, *host, *dns, *dhcpstart, *hostname, *domain, *tftp, *bootfile, *tftp_server;
    const char *net6, *prefix6, *host6, *dns6, *smb;
    bool restrict_, ipv4, ipv6;
};

static bool read_options(struct user_options *o, struct props *p, GError **err)
{
    uint64_t prefixlen6 = 64;

    o->ipv4 = o->ipv6 = true;
    if (!props_get_str(p, "net", &o->net, err) || !props_get_str(p, "host", &o->host, err) ||
        !props_get_str(p, "dns", &o->dns, err) ||
        !props_get_str(p, "dhcpstart", &o->dhcpstart, err) ||
        !props_get_str(p, "hostname", &o->hostname, err) ||
        !props_get_str(p, "domainname", &o->domain, err) ||
        !props_get_str(p, "tftp", &o->tftp, err) ||
        !props_get_str(p, "bootfile", &o->bootfile, err) ||
        !props_get_str(p, "tftp-server-name", &o->tftp_server, err) ||
        !props_get_str(p, "ipv6-net", &o->net6, err) ||
        !props_get_str(p, "ipv6-prefix", &o->prefix6, err) ||
        !props_get_u64(p, "ipv6-prefixlen", &prefixlen6, err) ||
        !props_get_str(p, "ipv6-host", &o->host6, err) ||
        !props_get_str(p, "ipv6-dns", &o->dns6, err) || !props_get_str(p, "smb", &o->smb, err) ||
        !props_get_bool(p, "restrict", &o->restrict_, err) ||
        !props_get_bool(p, "ipv4", &o->ipv4, err) || !props_get_bool(p, "ipv6", &o->ipv6, err))
        return false;
    if (o->smb)
        return error_set(err, HANOK_ERROR_UNSUPPORTED,
                         "-netdev user: smb= is not available in this version; share files over a "
                         "forwarded port instead.");
    if (!o->ipv4 && !o->ipv6)
        return error_set(err, HANOK_ERROR_INVALID,
                         "-netdev user: ipv4 and ipv6 cannot both be off.");
    if (prefixlen6 != 64)
        return error_set(err, HANOK_ERROR_INVALID,
                         "-netdev user: only ipv6-prefixlen=64 works with libslirp.");
    return true;
}

static bool parse_v4(const char *key, const char *text, struct in_addr *out, GError **err)
{
    if (!text || inet_pton(AF_INET, text, out) == 1)
        return true;
    return error_set(err, HANOK_ERROR_INVALID, "-netdev user: %s=%s is not an IPv4 address.", key,
                     text);
}

static bool parse_v6(const char *key, const char *text, struct in6_addr *out, GError **err)
{
    if (!text || inet_pton(AF_INET6, text, out) == 1)
        return true;
    return error_set(err, HANOK_ERROR_INVALID, "-netdev user: %s=%s is not an IPv6 address.", key,
                     text);
}

/* net=ADDR[/BITS or /MASK] */
static bool parse_net(const char *text, SlirpConfig *c, GError **err)
{
    g_auto(GStrv) parts = g_strsplit(text, "/", 2);
    guint64 bits = 24;

    if (!parse_v4("net", parts[0], &c->vnetwork, err))
        return false;
    if (parts[1] && strchr(parts[1], '.')) {
        if (!parse_v4("net", parts[1], &c->vnetmask, err))
            return false;
    } else if (parts[1] && !g_ascii_string_to_unsigned(parts[1], 10, 4, 28, &bits, NULL)) {
        return error_set(err, HANOK_ERROR_INVALID,
                         "-netdev user: net=%s: the prefix length must be 4 to 28.", text);
    } else {
        c->vnetmask.s_addr = htonl(~0u << (32 - bits));
    }
    if ((ntohl(c->vnetmask.s_addr) | (ntohl(c->vnetmask.s_addr) - 1)) != UINT32_MAX)
        return error_set(err, HANOK_ERROR_INVALID, "-netdev user: net=%s: not a network mask.",
                         text);
    c->vnetwork.s_addr &= c->vnetmask.s_addr;
    return true;
}

static bool inside(const SlirpConfig *c, struct in_addr a)
{
    return (a.s_addr & c->vnetmask.s_addr) == c->vnetwork.s_addr;
}

static bool fill_v4(const struct user_options *o, SlirpConfig *c, GError **err)
{
    if (!parse_net(o->net ? o->net : "10.0.2.0/24", c, err))
        return false;
    uint32_t base = ntohl(c->vnetwork.s_addr), host_mask = ~ntohl(c->vnetmask.s_addr);
    c->vhost.s_addr = htonl(base | (2 & host_mask));
    c->vnameserver.s_addr = htonl(base | (3 & host_mask));
    c->vdhcp_start.s_addr = htonl(base | (15 & host_mask));
    if (!parse_v4("host", o->host, &c->vhost, err) ||
        !parse_v4("dns", o->dns, &c->vnameserver, err) ||
        !parse_v4("dhcpstart", o->dhcpstart, &c->vdhcp_start, err))
        return false;
    if (!inside(c, c->vhost) || !inside(c, c->vnameserver) || !inside(c, c->vdhcp_start) ||
        c->vhost.s_addr == c->vnameserver.s_addr)
        return error_set(err, HANOK_ERROR_INVALID,
                         "-netdev user: host=, dns= and dhcpstart= must be different addresses "
                         "inside net=.");
    return true;
}

static bool fill_v6(const struct user_options *o, SlirpConfig *c, GError **err)
{
    g_autofree char *prefix = g_strdup(o->net6 ? o->net6 : o->prefix6 ? o->prefix6 : "fec0::");
    char *slash = strchr(prefix, '/');

    if (slash)
        *slash = '\0';
    c->vprefix_len = 64;
    if (!parse_v6("ipv6-net", prefix, &c->vprefix_addr6, err))
        return false;
    c->vhost6 = c->vnameserver6 = c->vprefix_addr6;
    c->vhost6.s6_addr[15] |= 2;
    c->vnameserver6.s6_addr[15] |= 3;
    return parse_v6("ipv6-host", o->host6, &c->vhost6, err) &&
           parse_v6("ipv6-dns", o->dns6, &c->vnameserver6, err);
}

/* "dnssearch": one name, or an array of names or {"str": name}; the result borrows the strings. */
static const char **read_dnssearch(struct props *p)
{
    json_t *j = props_get_list(p, "dnssearch");
    g_autoptr(GPtrArray) a = g_ptr_array_new();

    if (!j)
        return NULL;
    for (size_t i = 0; i < json_array_size(j); i++) {
        json_t *e = json_array_get(j, i);
        if (json_is_object(e))
            e = json_object_get(e, "str");
        if (json_is_string(e))
            g_ptr_array_add(a, (char *)json_string_value(e));
    }
    g_ptr_array_add(a, NULL);
    return (const char **)g_ptr_array_free(g_steal_pointer(&a), FALSE);
}

static bool user_open(struct net_backend *b, struct props *p, GError **err)
{
    struct user *u = b->priv = g_new0(struct user, 1);
    struct user_options o = {0};
    SlirpConfig c = {.version = 4};

    u->backend = b;
    g_queue_init(&u->held);
    u->slots = g_array_new(FALSE, TRUE, sizeof(struct slot));
    if (!read_options(&o, p, err) || !fill_v4(&o, &c, err) || !fill_v6(&o, &c, err))
        return false;
    g_autofree const char **search = read_dnssearch(p);
    c.restricted = o.restrict_;
    c.in_enabled = o.ipv4;
    c.in6_enabled = o.ipv6;
    c.vhostname = o.hostname;
    c.tftp_server_name = o.tftp_server;
    c.tftp_path = o.tftp;
    c.bootfile = o.bootfile;
    c.vdnssearch = search;
    c.vdomainname = o.domain;
    u->slirp = slirp_new(&c, &callbacks, u);
    if (!u->slirp)
        return error_set(err, HANOK_ERROR_INVALID,
                         "-netdev user: libslirp refused this configuration.");
    start_source(u);
    u->fwd = (struct user_fwd){.slirp = u->slirp, .guest_default = c.vdhcp_start};
    return user_fwd_add_all(&u->fwd, p, err);
}

static void user_close(struct net_backend *b)
{
    struct user *u = b->priv;

    if (!u)
        return;
    if (u->source) {
        drop_slots(u, 0);
        g_source_destroy(&u->source->base);
        g_source_unref(&u->source->base);
    }
    if (u->slirp)
        slirp_cleanup(u->slirp);
    g_array_free(u->slots, TRUE);
    g_queue_clear_full(&u->held, g_free);
    g_free(u);
}

static char *user_info(struct net_backend *b)
{
    struct user *u = b->priv;
    return g_strdup_printf("held=%u,dropped=%" G_GUINT64_FORMAT, g_queue_get_length(&u->held),
                           u->dropped);
}

char *net_user_connections(struct net_backend *b)
{
    struct user *u = b->drv == &net_driver_user ? b->priv : NULL;
    return u ? slirp_connection_info(u->slirp) : NULL;
}

char *net_user_neighbours(struct net_backend *b)
{
    struct user *u = b->drv == &net_driver_user ? b->priv : NULL;
    return u ? slirp_neighbor_info(u->slirp) : NULL;
}

bool net_user_add_hostfwd(struct net_backend *b, const char *rule, GError **err)
{
    struct user *u = b->drv == &net_driver_user ? b->priv : NULL;

    if (!u)
        return error_set(err, HANOK_ERROR_INVALID, "The network backend '%s' is no user network.",
                         b->id);
    return user_fwd_add(&u->fwd, rule, err);
}

const struct net_driver net_driver_user = {
    .name = "user",
    .checksums_valid = true,
    .open = user_open,
    .close = user_close,
    .send = user_send,
    .peer_ready = user_peer_ready,
    .info = user_info,
};
