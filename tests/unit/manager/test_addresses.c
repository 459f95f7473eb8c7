/* Where the host looks for a guest's addresses: tables and lease files, sound and hostile. */
#include "manager/addresses.h"

#include <glib.h>
#include <string.h>

static struct domain *domain_of(const char *interface)
{
    g_autofree char *xml = g_strdup_printf(
        "<domain type='qemu'><name>d</name><memory unit='MiB'>64</memory><os><type arch='x86_64' "
        "machine='q35'>hvm</type></os><devices>%s</devices></domain>",
        interface);
    GError *err = NULL;
    struct domain *d = domain_load(xml, &err);
    g_assert_no_error(err);
    return d;
}

static struct domain *user_domain(void)
{
    return domain_of("<interface type='user'><mac address='52:54:00:00:00:0a'/></interface>");
}

/* "ADDRESS/PREFIX ..." */
static char *said(GPtrArray *list)
{
    GString *s = g_string_new(NULL);
    for (unsigned i = 0; i < list->len; i++) {
        const struct card_address *a = list->pdata[i];
        g_assert_cmpstr(a->mac, ==, "52:54:00:00:00:0a");
        g_assert_cmpint(a->ipv6, ==, strchr(a->address, ':') != NULL);
        g_string_append_printf(s, "%s%s/%u", i ? " " : "", a->address, a->prefix);
    }
    return g_string_free(s, FALSE);
}

static const struct interface *first(const struct domain *d)
{
    return d->devices.interfaces->pdata[0];
}

static void test_neighbours(void)
{
    struct domain *d = user_domain();
    g_autoptr(GPtrArray) list = addresses_new();
    addresses_of_neighbours("Hub -1 (hostnet0):\n"
                            "  Protocol[State]    FD  Source Address  Port   Dest. Address\n"
                            "  Table  MacAddr            IP Address\n"
                            "    ARP  52:54:00:00:00:0A  10.0.2.15\n"
                            "    ARP  52:54:00:00:00:0a  10.0.2.15\n"
                            "    ARP  52:54:00:00:00:0b  10.0.2.16\n"
                            "    ARP  52:54:00:00:00:0a  $(reboot)\n"
                            "    ARP  52:54:00:00:00:0a\n"
                            "    NDP  52:54:00:00:00:0a  fec0::5054:ff:fe00:a\n",
                            first(d), list);
    g_autofree char *text = said(list);
    g_assert_cmpstr(text, ==, "10.0.2.15/24 fec0::5054:ff:fe00:a/64");
    domain_free(d);
}

static void test_leases(void)
{
    struct domain *d = domain_of(
        "<interface type='bridge'><mac address='52:54:00:00:00:0a'/><source bridge='br0'/>"
        "<target dev='tap7'/></interface>");
    g_autoptr(GPtrArray) list = addresses_new();
    addresses_of_leases("1000 52:54:00:00:00:0a 192.168.122.7 guest 01:52:54:00:00:00:0a\n"
                        "999 52:54:00:00:00:0a 192.168.122.8 old *\n"
                        "0 52:54:00:00:00:0a 192.168.122.9 * *\n"
                        "5000 52:54:00:00:00:0b 192.168.122.10 other *\n"
                        "duid 00:01:00:01\n"
                        "5000 52:54:00:00:00:0a\n"
                        "5000 52:54:00:00:00:0a not-an-address guest *",
                        999, first(d), list);
    addresses_of_leases(
        "[{\"ip-address\":\"10.1.0.4\",\"mac-address\":\"52:54:00:00:00:0a\",\"expiry-time\":1000},"
        "{\"ip-address\":\"10.1.0.5\",\"mac-address\":\"52:54:00:00:00:0a\",\"expiry-time\":5},"
        "{\"ip-address\":7,\"mac-address\":\"52:54:00:00:00:0a\"},[],null]",
        999, first(d), list);
    addresses_of_leases("[{\"ip-address\":", 999, first(d), list);
    g_autofree char *text = said(list);
    g_assert_cmpstr(text, ==, "192.168.122.7/24 192.168.122.9/24 10.1.0.4/24");
    g_assert_cmpstr(((struct card_address *)list->pdata[0])->name, ==, "tap7");
    domain_free(d);
}

static void test_arp(void)
{
    struct domain *d = user_domain();
    g_autoptr(GPtrArray) list = addresses_new();
    addresses_of_arp(
        "IP address       HW type     Flags       HW address            Mask     Device\n"
        "192.168.122.7    0x1         0x2         52:54:00:00:00:0a     *        br0\n"
        "192.168.122.8    0x1         0x2         52:54:00:00:00:0b     *        br0\n"
        "192.168.122.9    0x1\n",
        first(d), list);
    g_autofree char *text = said(list);
    g_assert_cmpstr(text, ==, "192.168.122.7/0");
    domain_free(d);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/neighbours/of-the-card-only", test_neighbours);
    g_test_add_func("/leases/valid-ones-of-the-card", test_leases);
    g_test_add_func("/arp/of-the-card-only", test_arp);
    return g_test_run();
}
