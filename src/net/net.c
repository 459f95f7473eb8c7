/* net.c - the list of packet backends and their one NIC each. */
#include "net_int.h"

#include "base/error.h"
#include "base/props.h"
#include "base/trace.h"
#include "base/util.h"

#include <assert.h>
#include <glib.h>

static struct net_backend *backends; /* main thread */

static const struct {
    const char *name;
    const struct net_driver *drv; /* NULL: known, but not in this version */
} drivers[] = {
    {"user", &net_driver_user}, {"tap", &net_driver_tap}, {"stream", &net_driver_stream},
    {"socket", NULL},           {"dgram", NULL},          {"bridge", NULL},
    {"hubport", NULL},          {"l2tpv3", NULL},         {"vde", NULL},
    {"vhost-user", NULL},       {"vhost-vdpa", NULL},     {"passt", NULL},
};

static const struct net_driver *driver_find(const char *name, GError **err)
{
    const char *names[ARRAY_SIZE(drivers)];
    size_t count = 0;

    for (size_t i = 0; i < ARRAY_SIZE(drivers); i++) {
        if (drivers[i].drv)
            names[count++] = drivers[i].name;
        if (strcmp(drivers[i].name, name))
            continue;
        if (!drivers[i].drv)
            error_set(
                err, HANOK_ERROR_UNSUPPORTED,
                "The network backend '%s' is not available in this version; use 'user', 'tap' "
                "or 'stream'.",
                name);
        return drivers[i].drv;
    }
    g_autofree char *near = error_nearest(name, names, count);
    error_set(err, HANOK_ERROR_INVALID, "Unknown network backend '%s'; did you mean %s?", name,
              near);
    return NULL;
}

static void backend_free(struct net_backend *b)
{
    if (b->drv)
        b->drv->close(b);
    for (struct net_backend **p = &backends; *p; p = &(*p)->next) {
        if (*p == b) {
            *p = b->next;
            break;
        }
    }
    g_free(b->id);
    g_free(b);
}

static bool backend_open(struct net_backend *b, const struct net_driver *drv, struct props *p,
                         GError **err)
{
    const char *id = NULL;

    if (!props_get_id(p, &id, err))
        return false;
    if (id && net_find(id))
        return error_set(err, HANOK_ERROR_INVALID, "The network id '%s' is already in use.", id);
    static unsigned running;
    b->id = id ? g_strdup(id) : g_strdup_printf("#net%03u", running++);
    b->drv = drv;
    b->link_up = true;
    if (!drv->open(b, p, err))
        return false;
    g_autofree char *what = g_strdup_printf("-netdev %s", drv->name);
    return props_check_unused(p, what, NULL, err);
}

struct net_backend *net_open(struct props *p, GError **err)
{
    const char *type = NULL;

    if (!props_get_str(p, "type", &type, err))
        return NULL;
    if (!type) {
        error_set(err, HANOK_ERROR_INVALID, "A network backend needs type=.");
        return NULL;
    }
    const struct net_driver *drv = driver_find(type, err);
    if (!drv)
        return NULL;
    struct net_backend *b = g_new0(struct net_backend, 1);
    if (!backend_open(b, drv, p, err)) {
        backend_free(b);
        return NULL;
    }
    b->next = backends;
    backends = b;
    return b;
}

void net_close(struct net_backend *b)
{
    if (!b)
        return;
    assert(!b->ops);
    backend_free(b);
}

struct net_backend *net_find(const char *id)
{
    for (struct net_backend *b = backends; b; b = b->next) {
        if (!strcmp(b->id, id))
            return b;
    }
    return NULL;
}

const char *net_id(const struct net_backend *b)
{
    return b->id;
}

const char *net_type(const struct net_backend *b)
{
    return b->drv->name;
}

bool net_claim(struct net_backend *b, const struct net_peer_ops *ops, void *nic, GError **err)
{
    if (b->ops)
        return error_set(err, HANOK_ERROR_BUSY,
                         "The network backend '%s' already serves another device.", b->id);
    b->nic = nic;
    b->ops = ops;
    return true;
}

void net_release(struct net_backend *b)
{
    b->ops = NULL;
    b->nic = NULL;
}

unsigned net_queues(const struct net_backend *b)
{
    return b->queues;
}

bool net_has_peer(const struct net_backend *b)
{
    return b->ops != NULL;
}

size_t net_send(struct net_backend *b, const struct iovec *iov, int count)
{
    size_t bytes = 0;

    for (int i = 0; i < count; i++)
        bytes += iov[i].iov_len;
    if (!b->link_up || bytes == 0)
        return bytes;
    TRACE(net_tx, "%s: %zu bytes", b->id, bytes);
    return b->drv->send(b, iov, count);
}

bool net_deliver(struct net_backend *b, const uint8_t *frame, size_t len)
{
    if (!b->ops || !b->link_up)
        return true;
    if (!b->ops->can_receive(b->nic) || b->ops->receive(b->nic, frame, len) == 0)
        return false;
    TRACE(net_rx, "%s: %zu bytes", b->id, len);
    return true;
}

void net_peer_ready(struct net_backend *b)
{
    b->drv->peer_ready(b);
}

void net_set_link(struct net_backend *b, bool up)
{
    if (b->link_up == up)
        return;
    b->link_up = up;
    if (b->ops && b->ops->link)
        b->ops->link(b->nic, up);
    if (up)
        net_peer_ready(b);
}

bool net_link_up(const struct net_backend *b)
{
    return b->link_up;
}

bool net_checksums_valid(const struct net_backend *b)
{
    return b->drv->checksums_valid;
}

void net_default_mac(uint8_t mac[6])
{
    static const uint8_t base[6] = {0x52, 0x54, 0x00, 0x12, 0x34, 0x56};
    static uint8_t running;

    memcpy(mac, base, sizeof(base));
    mac[5] = (uint8_t)(base[5] + running++);
}

void net_foreach(void (*fn)(struct net_backend *b, void *opaque), void *opaque)
{
    for (struct net_backend *b = backends, *next; b; b = next) {
        next = b->next;
        fn(b, opaque);
    }
}

char *net_info(struct net_backend *b)
{
    g_autofree char *more = b->drv->info(b);
    return g_strdup_printf("%s: type=%s,link=%s%s%s", b->id, b->drv->name,
                           b->link_up ? "up" : "down", *more ? "," : "", more);
}

size_t net_linearize(const struct iovec *iov, int count, uint8_t *buf, size_t size)
{
    size_t n = 0;

    for (int i = 0; i < count; i++) {
        if (iov[i].iov_len > size - n)
            return 0;
        memcpy(buf + n, iov[i].iov_base, iov[i].iov_len);
        n += iov[i].iov_len;
    }
    return n;
}
