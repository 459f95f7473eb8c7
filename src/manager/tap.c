/* tap.c - making taps and putting them into bridges. */
#include "tap.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/sockios.h>

bool tap_wanted(const struct interface *n)
{
    return n->type == NET_BRIDGE || n->type == NET_ETHERNET || n->type == NET_NETWORK;
}

static bool set_up(const char *dev, const char *bridge, int64_t mtu, GError **err)
{
    struct ifreq r = {0};
    int s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    bool ok = s >= 0 || error_errno(err, errno, "could not make a socket");
    g_strlcpy(r.ifr_name, dev, sizeof(r.ifr_name));
    if (ok && mtu) {
        r.ifr_mtu = (int)mtu;
        ok = !ioctl(s, SIOCSIFMTU, &r) ||
             error_errno(err, errno, "could not set the MTU of '%s'", dev);
    }
    if (ok && bridge) {
        g_strlcpy(r.ifr_name, bridge, sizeof(r.ifr_name));
        r.ifr_ifindex = (int)if_nametoindex(dev);
        ok = !ioctl(s, SIOCBRADDIF, &r) ||
             error_errno(err, errno,
                         "could not put '%s' into the bridge '%s'; 'ip link add %s type "
                         "bridge' makes one",
                         dev, bridge, bridge);
        g_strlcpy(r.ifr_name, dev, sizeof(r.ifr_name));
    }
    if (ok && !ioctl(s, SIOCGIFFLAGS, &r)) {
        r.ifr_flags |= IFF_UP;
        ok = !ioctl(s, SIOCSIFFLAGS, &r) || error_errno(err, errno, "could not bring '%s' up", dev);
    }
    if (s >= 0) {
        close(s);
    }
    return ok;
}

static const char *bridge_of(const struct interface *n, GError **err)
{
    if (n->type == NET_BRIDGE) {
        return n->source.bridge;
    }
    /* libvirt's own network, where it runs beside us */
    if (!g_strcmp0(n->source.network, "default") && if_nametoindex("virbr0")) {
        return "virbr0";
    }
    error_set(err, HANOK_ERROR_UNSUPPORTED,
              "there is no network manager that knows the network '%s'; use <interface "
              "type='user'/>, or <interface type='bridge'> with a bridge of this host",
              n->source.network);
    return NULL;
}

int tap_open(struct interface *n, GError **err)
{
    struct ifreq r = {0};
    const char *bridge = n->type == NET_ETHERNET ? NULL : bridge_of(n, err);
    if (n->type != NET_ETHERNET && !bridge) {
        return -1;
    }
    int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
    if (fd < 0) {
        error_errno(err, errno,
                    "could not open /dev/net/tun; <interface type='user'/> needs no "
                    "privileges");
        return -1;
    }
    g_strlcpy(r.ifr_name, n->target.dev ? n->target.dev : "vnet%d", sizeof(r.ifr_name));
    r.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;
    if (ioctl(fd, TUNSETIFF, &r)) {
        error_errno(err, errno,
                    "could not make the tap '%s'; <interface type='user'/> needs no "
                    "privileges",
                    r.ifr_name);
        close(fd);
        return -1;
    }
    g_free(n->target.dev);
    n->target.dev = g_strdup(r.ifr_name);
    bool managed = !word_is(n->target.managed, "no");
    if (managed && !set_up(r.ifr_name, bridge, xml_num_or(n->mtu.size, 0), err)) {
        close(fd);
        return -1;
    }
    return fd;
}
