/* registry_net.c - the fully emulated network cards as users write them. */
#include "registry.h"

#include "base/error.h"
#include "base/util.h"
#include "net/net.h"
#include "nic/e1000.h"

#include <stdio.h>

bool device_mac_read(struct props *p, uint8_t mac[6], bool *given, GError **err)
{
    const char *text = NULL;
    unsigned b[6];
    int used = 0;

    if (!props_get_str(p, "mac", &text, err))
        return false;
    if (!text)
        return true;
    if (sscanf(text, "%2x:%2x:%2x:%2x:%2x:%2x%n", &b[0], &b[1], &b[2], &b[3], &b[4], &b[5],
               &used) != 6 ||
        text[used] != '\0')
        return error_set(err, HANOK_ERROR_INVALID,
                         "mac=%s is not an Ethernet address; write six bytes as "
                         "52:54:00:12:34:56",
                         text);
    if (b[0] & 1)
        return error_set(err, HANOK_ERROR_INVALID,
                         "mac=%s is a multicast address: its first byte must be even", text);
    for (unsigned i = 0; i < 6; i++)
        mac[i] = (uint8_t)b[i];
    *given = true;
    return true;
}

#define NIC_PROPS                                                                                  \
    {"netdev", PROP_NETDEV, NULL, "network backend"},                                              \
        {"mac", PROP_MAC, NULL, "address, 52:54:00:12:34:56 and up by default"},                   \
    {                                                                                              \
        NULL, PROP_STR, NULL, NULL                                                                 \
    }
const struct prop_desc props_e1000[] = {NIC_PROPS};
/* Another table, because another boot code fits this card (option_rom.c). */
const struct prop_desc props_e1000e[] = {NIC_PROPS};

static bool create(struct machine *m, struct props *p, bool pcie, GError **err)
{
    struct e1000_config cfg = {.pcie = pcie, .clock = m->clock};
    struct device_place place;
    bool given = false;

    if (!device_place_read(m, p, &place, err) || !device_netdev(p, &cfg.backend, err) ||
        !device_mac_read(p, cfg.mac, &given, err))
        return false;
    if (!given)
        net_default_mac(cfg.mac);
    cfg.bus = place.bus;
    cfg.devfn = place.devfn;
    cfg.multifunction = place.multifunction;
    cfg.id = place.id;
    return e1000_new(&cfg, err) != NULL;
}

bool create_e1000(struct machine *m, const struct device_class *cls, struct props *p, GError **err)
{
    return create(m, p, false, err);
}

bool create_e1000e(struct machine *m, const struct device_class *cls, struct props *p, GError **err)
{
    return create(m, p, true, err);
}
