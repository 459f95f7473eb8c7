/* opt_net.c - -netdev, and the spellings that are a card and its host side in one: -nic, -net. */
#include "opt_int.h"

const char *const netdev_types[] = {"user", "tap", "stream", NULL};
static const char *const known_types[] = {"user",   "tap",   "stream",  "dgram",      "socket",
                                          "bridge", "vde",   "hubport", "vhost-user", "vhost-vdpa",
                                          "l2tpv3", "passt", NULL};

static bool check_type(const char *type, GError **err)
{
    if (type && g_strv_contains(netdev_types, type)) {
        return true;
    }
    if (type && g_strv_contains(known_types, type)) {
        return error_set(err, HANOK_ERROR_UNSUPPORTED,
                         "the type '%s' is not possible yet: use user, tap or stream", type);
    }
    g_autofree char *near =
        error_nearest(type ? type : "", netdev_types, ARRAY_SIZE(netdev_types) - 1);
    return error_set(err, HANOK_ERROR_INVALID, "there is no type '%s'; did you mean %s?",
                     type ? type : "", near);
}

bool opt_netdev(struct vm_options *o, const char *arg, GError **err)
{
    if (wants_help(arg)) {
        return answer(o, help_netdevs());
    }
    struct props *p = props_parse(arg, "type", err);
    const char *type = NULL, *id = NULL;
    if (!p) {
        return false;
    }
    g_ptr_array_add(o->cfg->netdevs, p);
    if (!props_get_str(p, "type", &type, err) || !props_get_id(p, &id, err) ||
        !check_type(type, err)) {
        return false;
    }
    if (!id || !*id) {
        return error_set(err, HANOK_ERROR_INVALID,
                         "an id= is needed, which -device names as netdev=");
    }
    o->net_given = true;
    return true;
}

static const char *card_driver(const char *model)
{
    return !model || !strcmp(model, "virtio") ? "virtio-net-pci" : model;
}

static void add_card(struct vm_options *o, const char *model, const char *mac, const char *netdev)
{
    json_t *dev = json_pack("{ssss}", "driver", card_driver(model), "netdev", netdev);
    if (!strcmp(card_driver(model), card_driver(NULL))) {
        json_object_set_new(dev, ANY_BUS_KEY, json_true());
    }
    if (mac) {
        json_object_set_new(dev, "mac", json_string(mac));
    }
    add_device(o, dev);
}

/* The type comes first, so that -nic user,id=... works; what is not the card's is the netdev's. */
bool opt_nic(struct vm_options *o, const char *arg, GError **err)
{
    struct props *p = props_parse(arg, "type", err);
    const char *type = NULL, *model = NULL, *mac = NULL, *id = NULL;
    if (!p) {
        return false;
    }
    g_ptr_array_add(o->cfg->netdevs, p);
    if (!props_get_str(p, "type", &type, err) || !props_get_str(p, "model", &model, err) ||
        !props_get_str(p, "mac", &mac, err) || !props_get_id(p, &id, err)) {
        return false;
    }
    if ((type && wants_help(type)) || (model && wants_help(model))) {
        return answer(o, type && wants_help(type)
                             ? help_netdevs()
                             : g_strdup("virtio-net-pci (also called virtio)\ne1000\ne1000e\n"));
    }
    o->net_given = true;
    if (type && !strcmp(type, "none")) {
        bool ok = props_check_unused(p, "-nic none", NULL, err);
        g_ptr_array_remove_index(o->cfg->netdevs, o->cfg->netdevs->len - 1);
        return ok;
    }
    if (!check_type(type, err)) {
        return false;
    }
    g_autofree char *made = id ? g_strdup(id) : g_strdup_printf("nic%u", o->nic_count++);
    add_card(o, model, mac, made);
    json_object_del(props_json(p), "model");
    json_object_del(props_json(p), "mac");
    props_set_str(p, "id", made);
    return true;
}

static bool compat_nic(struct vm_options *o, struct props *p_stolen, GError **err)
{
    PROPS_AUTO p = p_stolen;
    static const char *const known[] = {"type", "model", "macaddr", "name", "netdev", NULL};
    if (o->compat_nics++) {
        return error_set(err, HANOK_ERROR_UNSUPPORTED,
                         "nic can be given only once: use one -nic per card");
    }
    if (!props_check_unused(p, "-net nic", known, err)) {
        return false;
    }
    o->compat_nic = p_stolen;
    p = NULL;
    return true;
}

bool opt_net(struct vm_options *o, const char *arg, GError **err)
{
    struct props *p = props_parse(arg, "type", err);
    const char *type = NULL, *id = NULL;
    if (!p || !props_get_str(p, "type", &type, err) || !props_get_id(p, &id, err)) {
        props_free(p);
        return false;
    }
    o->net_given = true;
    if (type && !strcmp(type, "none")) {
        bool ok = props_check_unused(p, "-net none", NULL, err);
        props_free(p);
        return ok;
    }
    if (type && !strcmp(type, "nic")) {
        return compat_nic(o, p, err);
    }
    g_ptr_array_add(o->cfg->netdevs, p);
    if (!check_type(type, err)) {
        return false;
    }
    if (o->compat_backends++) {
        return error_set(err, HANOK_ERROR_UNSUPPORTED,
                         "only one host side can be given this way: use one -nic per card");
    }
    o->compat_backend = id ? g_strdup(id) : g_strdup("net0");
    props_set_str(p, "id", o->compat_backend);
    return true;
}

bool finish_compat_net(struct vm_options *o, GError **err)
{
    const char *model = NULL, *mac = NULL, *netdev = NULL;
    if (o->compat_backend && !o->compat_nic) {
        log_warning("-net: the network '%s' has no card; add -net nic.", o->compat_backend);
    }
    if (!o->compat_nic) {
        return true;
    }
    if (!props_get_str(o->compat_nic, "model", &model, err) ||
        !props_get_str(o->compat_nic, "macaddr", &mac, err) ||
        !props_get_str(o->compat_nic, "netdev", &netdev, err)) {
        return false;
    }
    netdev = netdev ? netdev : o->compat_backend;
    if (!netdev) {
        return error_set(err, HANOK_ERROR_INVALID,
                         "-net nic: the card has no host side; add -net user, or use -nic user");
    }
    add_card(o, model, mac, netdev);
    return true;
}
