/* addresses.c - see addresses.h. */
#include "manager/addresses.h"

#include "base/util.h"
#include "manager/vm.h"
#include "passt.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>

enum { FILE_BYTES_MAX = 1 << 20, LEASE_PREFIX = 24, IPV6_PREFIX = 64 };

static void card_address_free(void *p)
{
    struct card_address *a = p;
    g_free(a->name);
    g_free(a->mac);
    g_free(a->address);
    g_free(a);
}

GPtrArray *addresses_new(void)
{
    return g_ptr_array_new_with_free_func(card_address_free);
}

/* Only what is an address is taken over. */
static void add(GPtrArray *out, const struct interface *n, const char *address, unsigned prefix)
{
    unsigned char raw[16];
    bool v6 = inet_pton(AF_INET6, address, raw) == 1;
    if (!v6 && inet_pton(AF_INET, address, raw) != 1) {
        return;
    }
    for (unsigned i = 0; i < out->len; i++) {
        const struct card_address *a = out->pdata[i];
        if (!strcmp(a->address, address) && !g_ascii_strcasecmp(a->mac, n->mac.address)) {
            return;
        }
    }
    struct card_address *a = g_new0(struct card_address, 1);
    a->name = g_strdup(n->target.dev ? n->target.dev : n->info.alias.name);
    a->mac = g_strdup(n->mac.address);
    a->address = g_strdup(address);
    a->ipv6 = v6;
    a->prefix = prefix;
    g_ptr_array_add(out, a);
}

static bool is_mac(const struct interface *n, const char *text)
{
    return text && n->mac.address && !g_ascii_strcasecmp(text, n->mac.address);
}

/* The words of a line, blanks between them; returns how many (at most max). */
static unsigned split(char *line, char **words, unsigned max)
{
    unsigned count = 0;
    for (char *at = NULL, *w = strtok_r(line, " \t\r", &at); w && count < max;
         w = strtok_r(NULL, " \t\r", &at)) {
        words[count++] = w;
    }
    return count;
}

/* The prefix of the domain's <ip> of that family, else what the built-in network uses. */
static unsigned user_prefix(const struct interface *n, bool v6)
{
    for (unsigned i = 0; i < n->ips->len; i++) {
        const struct net_address *ip = n->ips->pdata[i];
        if (word_is(ip->family, "ipv6") == v6) {
            return (unsigned)xml_num_or(ip->prefix, v6 ? IPV6_PREFIX : LEASE_PREFIX);
        }
    }
    return v6 ? IPV6_PREFIX : LEASE_PREFIX;
}

/* "  ARP  52:54:00:12:34:56  10.0.2.15" */
void addresses_of_neighbours(const char *text, const struct interface *n, GPtrArray *out)
{
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    for (char **l = lines; *l; l++) {
        char *w[4];
        if (split(*l, w, ARRAY_SIZE(w)) == 3 && (!strcmp(w[0], "ARP") || !strcmp(w[0], "NDP")) &&
            is_mac(n, w[1])) {
            add(out, n, w[2], user_prefix(n, strchr(w[2], ':') != NULL));
        }
    }
}

static void lease_objects(const char *text, int64_t now, const struct interface *n, GPtrArray *out)
{
    json_t *list = json_loads(text, 0, NULL), *one;
    size_t i;
    json_array_foreach(list, i, one)
    {
        const char *ip = json_string_value(json_object_get(one, "ip-address"));
        int64_t until = json_integer_value(json_object_get(one, "expiry-time"));
        if (ip && is_mac(n, json_string_value(json_object_get(one, "mac-address"))) &&
            (!until || until > now)) {
            add(out, n, ip, strchr(ip, ':') ? IPV6_PREFIX : LEASE_PREFIX);
        }
    }
    json_decref(list);
}

/* "1764323000 52:54:00:12:34:56 192.168.122.7 name 01:52:..."; 0: for ever. */
void addresses_of_leases(const char *text, int64_t now, const struct interface *n, GPtrArray *out)
{
    if (*text == '[') {
        lease_objects(text, now, n, out);
        return;
    }
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    for (char **l = lines; *l; l++) {
        char *w[5];
        if (split(*l, w, ARRAY_SIZE(w)) >= 3 && is_mac(n, w[1])) {
            int64_t until = g_ascii_strtoll(w[0], NULL, 10);
            if (!until || until > now) {
                add(out, n, w[2], LEASE_PREFIX);
            }
        }
    }
}

/* "192.168.122.7  0x1  0x2  52:54:00:12:34:56  *  virbr0" */
void addresses_of_arp(const char *text, const struct interface *n, GPtrArray *out)
{
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    for (char **l = lines; *l; l++) {
        char *w[6];
        if (split(*l, w, ARRAY_SIZE(w)) >= 4 && is_mac(n, w[3])) {
            add(out, n, w[0], 0);
        }
    }
}

/* ---- where the texts are ---- */

static void read_leases(const char *path, const struct interface *n, GPtrArray *out)
{
    g_autofree char *text = NULL;
    gsize len;
    if (g_file_get_contents(path, &text, &len, NULL) && len < FILE_BYTES_MAX) {
        addresses_of_leases(text, g_get_real_time() / G_USEC_PER_SEC, n, out);
    }
}

static void search_leases(const struct interface *n, GPtrArray *out)
{
    static const char *const dirs[] = {"/var/lib/misc", "/var/lib/libvirt/dnsmasq",
                                       "/var/lib/NetworkManager"};
    for (unsigned i = 0; i < ARRAY_SIZE(dirs); i++) {
        g_autoptr(GDir) d = g_dir_open(dirs[i], 0, NULL);
        for (const char *e = d ? g_dir_read_name(d) : NULL; e; e = g_dir_read_name(d)) {
            g_autofree char *path = g_build_filename(dirs[i], e, NULL);
            if (g_str_has_suffix(e, ".leases") || g_str_has_suffix(e, ".status")) {
                read_leases(path, n, out);
            }
        }
    }
}

/* The device of the host's default route, which is what passt takes for a model. */
static char *default_device(void)
{
    g_autofree char *text = NULL;
    if (!g_file_get_contents("/proc/net/route", &text, NULL, NULL)) {
        return NULL;
    }
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    for (char **l = lines; *l; l++) {
        char *w[8];
        if (split(*l, w, ARRAY_SIZE(w)) == 8 && !strcmp(w[1], "00000000") &&
            !strcmp(w[7], "00000000")) {
            return g_strdup(w[0]);
        }
    }
    return NULL;
}

static unsigned mask_bits(const struct sockaddr *mask)
{
    return mask ? (unsigned)__builtin_popcount(
                      ((const struct sockaddr_in *)(const void *)mask)->sin_addr.s_addr)
                : 0;
}

/* passt gives the guest the addresses of its definition, or the host's own. */
static void passt_addresses(const struct interface *n, GPtrArray *out)
{
    struct ifaddrs *all = NULL;
    for (unsigned i = 0; i < n->ips->len; i++) {
        const struct net_address *ip = n->ips->pdata[i];
        add(out, n, ip->address, user_prefix(n, word_is(ip->family, "ipv6")));
    }
    g_autofree char *dev = n->source.dev ? g_strdup(n->source.dev) : default_device();
    if (n->ips->len || !dev || getifaddrs(&all)) {
        return;
    }
    for (struct ifaddrs *a = all; a; a = a->ifa_next) {
        char text[INET_ADDRSTRLEN];
        if (a->ifa_addr && a->ifa_addr->sa_family == AF_INET && !strcmp(a->ifa_name, dev) &&
            inet_ntop(AF_INET, &((struct sockaddr_in *)(void *)a->ifa_addr)->sin_addr, text,
                      sizeof(text))) {
            add(out, n, text, mask_bits(a->ifa_netmask));
            break; /* it takes the first */
        }
    }
    freeifaddrs(all);
}

/* QEMU does not tell its table, but its DHCP server's first address is always the 15th. */
static void first_user_address(const struct interface *n, GPtrArray *out)
{
    struct in_addr net = {htonl(0x0a000200)};
    char text[INET_ADDRSTRLEN];
    for (unsigned i = 0; i < n->ips->len; i++) {
        const struct net_address *ip = n->ips->pdata[i];
        if (!word_is(ip->family, "ipv6")) {
            inet_pton(AF_INET, ip->address, &net);
        }
    }
    unsigned prefix = user_prefix(n, false);
    uint32_t mask = prefix && prefix < 32 ? ~0u << (32 - prefix) : ~0u;
    net.s_addr = htonl((ntohl(net.s_addr) & mask) + 15);
    if (inet_ntop(AF_INET, &net, text, sizeof(text))) {
        add(out, n, text, prefix);
    }
}

GPtrArray *addresses_find(const struct domain *d, struct qmp *q, enum address_source from)
{
    GPtrArray *out = addresses_new();
    json_auto_t *ret = NULL;
    g_autofree char *arp = NULL;
    const char *users = NULL;
    if (qmp_call(q, "human-monitor-command", json_pack("{ss}", "command-line", "info usernet"),
                 &ret, NULL)) {
        users = json_string_value(ret);
    }
    if (!g_file_get_contents("/proc/net/arp", &arp, NULL, NULL)) {
        arp = g_strdup("");
    }
    for (unsigned i = 0; i < d->devices.interfaces->len; i++) {
        const struct interface *n = d->devices.interfaces->pdata[i];
        if (passt_wanted(n)) {
            passt_addresses(n, out);
        } else if (n->type == NET_USER && domain_is_qemu(d)) {
            first_user_address(n, out);
        } else if (n->type == NET_USER) {
            addresses_of_neighbours(users ? users : "", n, out);
        } else if (from == ADDRESSES_LEASE) {
            search_leases(n, out);
        } else {
            addresses_of_arp(arp, n, out);
        }
    }
    return out;
}
