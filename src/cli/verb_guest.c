/* verb_guest.c - talking to the machine's monitor and to the agent in the guest; keys and pictures.
 */
#include "cmd.h"

#include "base/util.h"
#include "manager/addresses.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char *joined(struct cmd *c, const char *name)
{
    GPtrArray *words = cmd_all(c, name);
    GString *s = g_string_new(NULL);
    for (unsigned i = 0; words && i < words->len; i++) {
        g_string_append_printf(s, "%s%s", i ? " " : "", (char *)words->pdata[i]);
    }
    return g_string_free(s, FALSE);
}

/* "{execute: name, arguments: {...}}", or just a command's name. */
static bool split_command(const char *text, json_t **arguments, char **command, GError **err)
{
    *arguments = NULL;
    if (*text != '{') {
        *command = g_strdup(text);
        return true;
    }
    json_error_t why;
    JSON_AUTO o = json_loads(text, 0, &why);
    const char *name = json_string_value(json_object_get(o, "execute"));
    if (!name) {
        return error_set(err, HANOK_ERROR_INVALID,
                         "this is not a command such as "
                         "{\"execute\":\"query-status\"}: %s",
                         o ? "it has no 'execute'" : why.text);
    }
    *command = g_strdup(name);
    json_t *a = json_object_get(o, "arguments");
    *arguments = a ? json_incref(a) : NULL;
    return true;
}

static void print_reply(struct cmd *c, json_t *ret)
{
    JSON_AUTO o = json_pack("{sO}", "return", ret);
    bool pretty = cmd_flag(c, "pretty") || c->json;
    json_dumpf(o, stdout, pretty ? JSON_INDENT(2) : JSON_COMPACT);
    putchar('\n');
}

static int do_monitor(struct cmd *c)
{
    g_autoptr(GError) err = NULL;
    g_autofree char *text = joined(c, "cmd"), *command = NULL;
    VM_AUTO vm = cmd_active_vm(c);
    QMP_AUTO q = vm ? vm_monitor_or_say(vm) : NULL;
    JSON_AUTO ret = NULL;
    json_t *arguments = NULL;
    if (!q) {
        return 1;
    }
    if (cmd_flag(c, "hmp")) {
        if (!qmp_call(q, "human-monitor-command", json_pack("{ss}", "command-line", text), &ret,
                      &err)) {
            return cmd_error(&err);
        }
        const char *answer = json_string_value(ret);
        fputs(answer ? answer : "", stdout);
        return 0;
    }
    if (!split_command(text, &arguments, &command, &err) ||
        !qmp_call(q, command, arguments, &ret, &err)) {
        return cmd_error(&err);
    }
    print_reply(c, ret);
    return 0;
}

/* ---- agent ---- */

char *agent_socket(struct vm *vm, GError **err)
{
    DOMAIN_AUTO d = vm_live(vm, err);
    for (unsigned i = 0; d && i < d->devices.channels->len; i++) {
        const struct chr *k = d->devices.channels->pdata[i];
        if (!g_strcmp0(k->target.name, "org.qemu.guest_agent.0") && k->source.path) {
            return g_strdup(k->source.path);
        }
    }
    if (d) {
        error_set(
            err, HANOK_ERROR_NOT_FOUND,
            "domain '%s' has no channel for the guest agent: add <channel type='unix'><target "
            "type='virtio' name='org.qemu.guest_agent.0'/></channel>",
            vm->name);
    }
    return NULL;
}

static json_t *ask_agent(struct vm *vm, const char *command, json_t *arguments, unsigned timeout_ms,
                         GError **err)
{
    g_autofree char *path = agent_socket(vm, err);
    json_t *ret = NULL;
    if (!path) {
        json_decref(arguments);
        return NULL;
    }
    return agent_call(path, command, arguments, timeout_ms, &ret, err) ? ret : NULL;
}

static int do_agent(struct cmd *c)
{
    g_autoptr(GError) err = NULL;
    g_autofree char *text = joined(c, "cmd"), *command = NULL;
    int64_t timeout = 10;
    json_t *arguments = NULL;
    VM_AUTO vm = cmd_active_vm(c);
    if (!vm || !cmd_number(c, "timeout", &timeout)) {
        return 1;
    }
    if (!split_command(text, &arguments, &command, &err)) {
        return cmd_error(&err);
    }
    JSON_AUTO ret =
        ask_agent(vm, command, arguments, (unsigned)MIN_OF(MAX_OF(timeout, 1), 3600) * 1000, &err);
    if (!ret) {
        return cmd_error(&err);
    }
    print_reply(c, ret);
    return 0;
}

static void put(json_t *o, const char *key, json_t *from, const char *member)
{
    json_t *v = json_object_get(from, member);
    if (v) {
        json_object_set(o, key, v);
    }
}

static int do_guestinfo(struct cmd *c)
{
    g_autoptr(GError) err = NULL;
    VM_AUTO vm = cmd_active_vm(c);
    if (!vm) {
        return 1;
    }
    JSON_AUTO os = ask_agent(vm, "guest-get-osinfo", NULL, 5000, &err);
    if (!os) {
        return cmd_error(&err);
    }
    JSON_AUTO host = ask_agent(vm, "guest-get-host-name", NULL, 5000, NULL);
    JSON_AUTO zone = ask_agent(vm, "guest-get-timezone", NULL, 5000, NULL);
    json_t *o = json_object(), *v;
    const char *key;
    put(o, "os.id", os, "id");
    put(o, "os.name", os, "name");
    put(o, "os.pretty-name", os, "pretty-name");
    put(o, "os.version", os, "version");
    put(o, "os.kernel-release", os, "kernel-release");
    put(o, "os.machine", os, "machine");
    put(o, "hostname", host, "host-name");
    put(o, "timezone.name", zone, "zone");
    put(o, "timezone.offset", zone, "offset");
    if (c->json) {
        return cmd_json(o);
    }
    json_object_foreach(o, key, v)
    {
        g_autofree char *text = json_text(v);
        printf("%-20s: %s\n", key, text);
    }
    json_decref(o);
    return 0;
}

static void add_address(json_t *rows, const char *name, const char *mac, const char *protocol,
                        const char *address, unsigned prefix)
{
    g_autofree char *with = g_strdup_printf("%s/%u", address, prefix);
    json_array_append_new(rows, json_pack("{ssssssss}", "name", name, "mac", mac, "protocol",
                                          protocol, "address", with));
}

static const char *text_or(json_t *o, const char *key, const char *otherwise)
{
    const char *text = json_string_value(json_object_get(o, key));
    return text ? text : otherwise;
}

static json_t *agent_addresses(struct vm *vm, GError **err)
{
    JSON_AUTO nets = ask_agent(vm, "guest-network-get-interfaces", NULL, 5000, err);
    json_t *rows = nets ? json_array() : NULL, *net, *a;
    size_t i, k;
    json_array_foreach(nets, i, net)
    {
        json_array_foreach(json_object_get(net, "ip-addresses"), k, a)
        {
            add_address(rows, text_or(net, "name", "-"), text_or(net, "hardware-address", "-"),
                        text_or(a, "ip-address-type", "-"), text_or(a, "ip-address", "?"),
                        (unsigned)json_integer_value(json_object_get(a, "prefix")));
        }
    }
    return rows;
}

static json_t *host_addresses(struct vm *vm, enum address_source from, GError **err)
{
    DOMAIN_AUTO d = vm_live(vm, err);
    QMP_AUTO q = d ? vm_qmp(vm, err) : NULL;
    if (!q) {
        return NULL;
    }
    g_autoptr(GPtrArray) list = addresses_find(d, q, from);
    json_t *rows = json_array();
    for (unsigned i = 0; i < list->len; i++) {
        const struct card_address *a = list->pdata[i];
        add_address(rows, a->name, a->mac, a->ipv6 ? "ipv6" : "ipv4", a->address, a->prefix);
    }
    return rows;
}

/* The rows of that card (a name or a hardware address); for people, a card is named once. */
static json_t *shown_addresses(struct cmd *c, json_t *rows)
{
    const char *only = cmd_str(c, "interface");
    bool once = !cmd_flag(c, "full") && !c->json;
    g_autofree char *last = NULL;
    json_t *out = json_array(), *row;
    size_t i;
    json_array_foreach(rows, i, row)
    {
        const char *name = text_or(row, "name", ""), *mac = text_or(row, "mac", "");
        if (only && strcmp(only, name) && g_ascii_strcasecmp(only, mac)) {
            continue;
        }
        g_autofree char *card = g_strconcat(name, " ", mac, NULL);
        if (once && !g_strcmp0(card, last)) {
            json_object_set_new(row, "name", json_string("-"));
            json_object_set_new(row, "mac", json_string("-"));
        }
        g_free(last);
        last = g_steal_pointer(&card);
        json_array_append(out, row);
    }
    return out;
}

static int do_domifaddr(struct cmd *c)
{
    static const struct column columns[] = {{"name", "Name"},
                                            {"mac", "MAC address"},
                                            {"protocol", "Protocol"},
                                            {"address", "Address"},
                                            {NULL}};
    g_autoptr(GError) err = NULL;
    const char *source = cmd_str(c, "source") ? cmd_str(c, "source") : "lease";
    bool agent = !strcmp(source, "agent"), arp = !strcmp(source, "arp");
    VM_AUTO vm = cmd_active_vm(c);
    if (!vm) {
        return 1;
    }
    if (!agent && !arp && strcmp(source, "lease")) {
        return cmd_fail("--source is lease, agent or arp, not '%s'", source);
    }
    JSON_AUTO rows = agent ? agent_addresses(vm, &err)
                           : host_addresses(vm, arp ? ADDRESSES_ARP : ADDRESSES_LEASE, &err);
    if (!rows) {
        return cmd_error(&err);
    }
    if (!json_array_size(rows) && !agent && !c->json && !c->quiet) {
        fprintf(stderr, "hanok: the host has given no address; --source agent asks the guest\n");
    }
    return cmd_table(c, columns, shown_addresses(c, rows));
}

/* ---- keys, pictures ---- */

/* KEY_LEFTCTRL, ctrl, 0x1d, 29: Linux' names and QEMU's are told apart by their prefix. */
static json_t *key_value(const char *word, GError **err)
{
    static const char *const special[][2] = {
        {"leftctrl", "ctrl"},    {"rightctrl", "ctrl_r"}, {"leftalt", "alt"},
        {"rightalt", "alt_r"},   {"leftshift", "shift"},  {"rightshift", "shift_r"},
        {"enter", "ret"},        {"space", "spc"},        {"leftmeta", "meta_l"},
        {"rightmeta", "meta_r"}, {"dot", "dot"},          {"pageup", "pgup"},
        {"pagedown", "pgdn"},    {"sysrq", "sysrq"},      {"kpenter", "kp_enter"}};
    char *end = NULL;
    guint64 number = g_ascii_strtoull(word, &end, 0);
    if (g_ascii_isdigit(*word) && !*end && number < 0x100) {
        return json_pack("{sssI}", "type", "number", "data", (json_int_t)number);
    }
    g_autofree char *low = g_ascii_strdown(g_str_has_prefix(word, "KEY_") ? word + 4 : word, -1);
    for (unsigned i = 0; i < ARRAY_SIZE(special); i++) {
        if (!strcmp(low, special[i][0])) {
            return json_pack("{ssss}", "type", "qcode", "data", special[i][1]);
        }
    }
    if (!*low) {
        error_set(err, HANOK_ERROR_INVALID, "'%s' is not a key", word);
        return NULL;
    }
    return json_pack("{ssss}", "type", "qcode", "data", low);
}

static int do_send_key(struct cmd *c)
{
    g_autoptr(GError) err = NULL;
    int64_t hold = 0;
    GPtrArray *words = cmd_all(c, "keycode");
    VM_AUTO vm = cmd_active_vm(c);
    QMP_AUTO q = vm ? vm_monitor_or_say(vm) : NULL;
    if (!q || !cmd_number(c, "holdtime", &hold)) {
        return 1;
    }
    json_t *keys = json_array();
    for (unsigned i = 0; i < words->len; i++) {
        json_t *k = key_value(words->pdata[i], &err);
        if (!k) {
            json_decref(keys);
            return cmd_error(&err);
        }
        json_array_append_new(keys, k);
    }
    json_t *a = json_pack("{so}", "keys", keys);
    if (hold > 0) {
        json_object_set_new(a, "hold-time", json_integer(hold));
    }
    return qmp_call(q, "send-key", a, NULL, &err) ? 0 : cmd_error(&err);
}

static int do_screenshot(struct cmd *c)
{
    g_autoptr(GError) err = NULL;
    VM_AUTO vm = cmd_active_vm(c);
    QMP_AUTO q = vm ? vm_monitor_or_say(vm) : NULL;
    if (!q) {
        return 1;
    }
    g_autoptr(GDateTime) now = g_date_time_new_now_local();
    g_autofree char *when = g_date_time_format(now, "%Y-%m-%d-%H-%M-%S");
    g_autofree char *own = g_strdup_printf("%s-%s.png", vm->name, when);
    g_autofree char *path =
        g_canonicalize_filename(cmd_str(c, "file") ? cmd_str(c, "file") : own, NULL);
    json_t *a = json_pack("{ssss}", "filename", path, "format", "png");
    if (!qmp_call(q, "screendump", a, NULL, &err)) {
        return cmd_error(&err);
    }
    cmd_say(c, "Screenshot saved to %s, with type of image/png", path);
    return 0;
}

static const struct opt monitor_opts[] = {DOMAIN_OPT,
                                          {"hmp", "a command of the human monitor", OPT_FLAG},
                                          {"pretty", "indent the answer", OPT_FLAG},
                                          {"cmd", "the command", OPT_REQUIRED | OPT_MANY},
                                          {NULL}};
static const struct opt agent_opts[] = {DOMAIN_OPT,
                                        {"timeout", "seconds (10)", OPT_NAMED},
                                        {"pretty", "indent the answer", OPT_FLAG},
                                        {"cmd", "the command", OPT_REQUIRED | OPT_MANY},
                                        {NULL}};
static const struct opt domain_opts[] = {DOMAIN_OPT, {NULL}};
static const struct opt ifaddr_opts[] = {
    DOMAIN_OPT,
    {"interface", "of that card only: its name or hardware address", 0},
    {"full", "name and hardware address in every line", OPT_FLAG},
    {"source", "lease (what the host gave it), agent (the guest's own words) or arp", OPT_NAMED},
    {NULL}};
static const struct opt key_opts[] = {DOMAIN_OPT,
                                      {"codeset", "accepted: linux names, or numbers", OPT_NAMED},
                                      {"holdtime", "milliseconds", OPT_NAMED},
                                      {"keycode", "keys pressed together", OPT_REQUIRED | OPT_MANY},
                                      {NULL}};
static const struct opt shot_opts[] = {
    DOMAIN_OPT, {"file", "where to", 0}, {"screen", "accepted", OPT_NAMED}, {NULL}};

static const struct verb verbs[] = {
    {"qemu-monitor-command", "a command for its monitor", true, do_monitor, monitor_opts,
     "hanok qemu-monitor-command web --hmp info status"},
    {"qemu-agent-command", "a command for the guest's agent", true, do_agent, agent_opts,
     "hanok qemu-agent-command web guest-ping"},
    {"guestinfo", "what the guest's agent says about it", true, do_guestinfo, domain_opts,
     "hanok guestinfo web"},
    {"domifaddr", "the guest's addresses", true, do_domifaddr, ifaddr_opts, "hanok domifaddr web"},
    {"send-key", "press keys", false, do_send_key, key_opts,
     "hanok send-key web KEY_LEFTCTRL KEY_LEFTALT KEY_DELETE"},
    {"screenshot", "a picture of its screen", false, do_screenshot, shot_opts,
     "hanok screenshot web web.png"},
    {NULL}};
const struct verb_group guest_verbs = {"Guest", verbs};
