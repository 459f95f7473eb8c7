/* hotplug.c - network back ends that come and go while the machine exists.  What a card still uses
 * stays. */
#include "base/error.h"
#include "machine_internal.h"
#include "net/net.h"

bool machine_netdev_add(struct machine *m, struct props *p, GError **err)
{
    const char *id = NULL;

    if (!props_get_id(p, &id, err))
        return false;
    if (id && net_find(id))
        return error_set(err, HANOK_ERROR_BUSY, "there is a network back end '%s' already", id);
    struct net_backend *b = net_open(p, err);
    if (b)
        g_ptr_array_add(m->netdevs, b);
    return b != NULL;
}

bool machine_netdev_del(struct machine *m, const char *id, GError **err)
{
    struct net_backend *b = net_find(id);

    if (!b || !g_ptr_array_find(m->netdevs, b, NULL))
        return error_set(err, HANOK_ERROR_NOT_FOUND, "Device '%s' not found", id);
    if (net_has_peer(b))
        return error_set(err, HANOK_ERROR_BUSY,
                         "network back end '%s' serves a card; remove that first", id);
    g_ptr_array_remove(m->netdevs, b);
    net_close(b);
    return true;
}
