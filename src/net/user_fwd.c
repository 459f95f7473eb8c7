/* user_fwd.c - hostfwd= and guestfwd= of the user network. */
#include "user_fwd.h"

#include "base/error.h"
#include "base/props.h"

#include <arpa/inet.h>
#include <errno.h>
#include <glib.h>
#include <jansson.h>
#include <slirp/libslirp.h>

/* "ADDR:PORT", either part may be empty; splits at the last colon. */
static bool parse_endpoint(const char *text, struct in_addr *addr, guint64 *port, bool port_zero_ok)
{
    const char *colon = strrchr(text, ':');

    if (!colon)
        return false;
    g_autofree char *host = g_strndup(text, (gsize)(colon - text));
    if (*host && inet_pton(AF_INET, host, addr) != 1)
        return false;
    return g_ascii_string_to_unsigned(colon + 1, 10, port_zero_ok ? 0 : 1, 65535, port, NULL);
}

/* [tcp|udp]:[hostaddr]:hostport-[guestaddr]:guestport */
static bool add_hostfwd(Slirp *s, struct in_addr guest_default, const char *rule, GError **err)
{
    struct in_addr host = {.s_addr = INADDR_ANY}, guest = guest_default;
    guint64 host_port = 0, guest_port = 0;
    const char *rest = strchr(rule, ':');
    bool udp = g_str_has_prefix(rule, "udp:");

    if (!rest || (!udp && !g_str_has_prefix(rule, "tcp:") && *rule != ':'))
        return error_set(err, HANOK_ERROR_INVALID, "hostfwd=%s: must start with 'tcp:' or 'udp:'.",
                         rule);
    const char *dash = strchr(rest + 1, '-');
    g_autofree char *host_part = dash ? g_strndup(rest + 1, (gsize)(dash - rest - 1)) : NULL;
    if (!dash || !parse_endpoint(host_part, &host, &host_port, true) ||
        !parse_endpoint(dash + 1, &guest, &guest_port, false))
        return error_set(err, HANOK_ERROR_INVALID,
                         "hostfwd=%s: write it as tcp:[HOST-ADDRESS]:PORT-[GUEST-ADDRESS]:PORT.",
                         rule);
    if (slirp_add_hostfwd(s, udp, host, (int)host_port, guest, (int)guest_port) < 0)
        return error_errno(err, errno, "hostfwd=%s: cannot listen on host port %d", rule,
                           (int)host_port);
    return true;
}

/* tcp:server:port-cmd:COMMAND */
static bool add_guestfwd(Slirp *s, const char *rule, GError **err)
{
    struct in_addr server = {0};
    guint64 port = 0;
    const char *dash = strchr(rule, '-');

    if (!g_str_has_prefix(rule, "tcp:") || !dash)
        return error_set(err, HANOK_ERROR_INVALID,
                         "guestfwd=%s: write it as tcp:ADDRESS:PORT-cmd:COMMAND.", rule);
    g_autofree char *end = g_strndup(rule + 4, (gsize)(dash - rule - 4));
    if (!parse_endpoint(end, &server, &port, false) || !server.s_addr)
        return error_set(err, HANOK_ERROR_INVALID, "guestfwd=%s: bad address or port.", rule);
    if (!g_str_has_prefix(dash + 1, "cmd:"))
        return error_set(err, HANOK_ERROR_UNSUPPORTED,
                         "guestfwd=%s: only 'cmd:' targets are available in this version.", rule);
    if (slirp_add_exec(s, dash + 5, &server, (int)port) < 0)
        return error_set(err, HANOK_ERROR_INVALID,
                         "guestfwd=%s: the address must lie in the user network and not be its "
                         "host, name server or DHCP range.",
                         rule);
    return true;
}

static bool add_rule(const struct user_fwd *f, bool host, json_t *e, GError **err)
{
    if (json_is_object(e))
        e = json_object_get(e, "str");
    if (!json_is_string(e))
        return error_set(err, HANOK_ERROR_INVALID, "%s= must be a string or a list of strings.",
                         host ? "hostfwd" : "guestfwd");
    return host ? add_hostfwd(f->slirp, f->guest_default, json_string_value(e), err)
                : add_guestfwd(f->slirp, json_string_value(e), err);
}

static bool add_rules(const struct user_fwd *f, bool host, struct props *p, GError **err)
{
    json_t *j = props_get_list(p, host ? "hostfwd" : "guestfwd");

    for (size_t i = 0; i < json_array_size(j); i++) {
        if (!add_rule(f, host, json_array_get(j, i), err))
            return false;
    }
    return true;
}

bool user_fwd_add_all(const struct user_fwd *f, struct props *p, GError **err)
{
    return add_rules(f, true, p, err) && add_rules(f, false, p, err);
}

bool user_fwd_add(const struct user_fwd *f, const char *rule, GError **err)
{
    return add_hostfwd(f->slirp, f->guest_default, rule, err);
}
