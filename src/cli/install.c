/* install.c - virt-install's options to domain XML. */
#include "install.h"

#include "images.h"

#include "base/util.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { ROOT_PORTS = 14 };

/* what virt-install writes */
#define LIBOSINFO_NS "http://libosinfo.org/xmlns/libvirt/domain/1.0"

struct build {
    struct cmd *c;
    struct store *s;
    GString *x; /* the XML so far */
    char *name;
    const char *type; /* "kvm", "qemu" */
    struct os_defaults os;
    unsigned next_disk[4];
    GPtrArray *wishes; /* struct disk_wish * */
    GError **err;
};

static void wish_free(void *p)
{
    struct disk_wish *w = p;
    g_free(w->path);
    g_free(w->backing);
    g_free(w->backing_format);
    g_free(w);
}

/* Appends with the arguments escaped. */
static void add(struct build *b, const char *fmt, ...) G_GNUC_PRINTF(2, 3);
static void add(struct build *b, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    g_autofree char *text = g_markup_vprintf_escaped(fmt, ap);
    va_end(ap);
    g_string_append(b->x, text);
}

static void attr(struct build *b, const char *name, const char *value)
{
    if (value) {
        add(b, " %s='%s'", name, value);
    }
}

static struct props *sub(struct build *b, const char *text, const char *implied)
{
    return props_parse(text, implied, b->err);
}

/* A string option of a list, NULL when absent. */
static const char *pick(struct build *b, struct props *p, const char *key)
{
    const char *v = NULL;
    props_get_str(p, key, &v, NULL);
    return v;
}

/* ---- the machine ---- */

static bool kvm_here(void)
{
    g_autofree char *vm = program_beside("hanok-vm"), *out = NULL;
    char *argv[] = {vm, "-accel", "help", NULL};
    return vm && run_tool(argv, &out, NULL) && strstr(out, "kvm") &&
           !strstr(out, "not usable on this host");
}

static bool add_memory(struct build *b)
{
    const char *text = cmd_str(b->c, "memory") ? cmd_str(b->c, "memory") : cmd_str(b->c, "ram");
    uint64_t size = b->os.memory_mib, max = 0;
    PROPS_AUTO p = sub(b, text ? text : "", "memory");
    if (!p || !props_get_u64(p, "memory", &size, b->err) ||
        !props_get_u64(p, "currentMemory", &size, b->err) ||
        !props_get_u64(p, "maxmemory", &max, b->err)) {
        return false;
    }
    props_mark_used(p, "hotplugmemorymax");
    if (!props_check_unused(p, "--memory", NULL, b->err)) {
        return false;
    }
    if (size < b->os.memory_min_mib) {
        fprintf(stderr,
                "hanok: %s wants %" G_GUINT64_FORMAT
                " MiB of memory; this machine has %" G_GUINT64_FORMAT "\n",
                b->os.os->name, b->os.memory_min_mib, size);
    }
    max = MAX_OF(max, size);
    add(b,
        "<memory unit='MiB'>%" G_GUINT64_FORMAT
        "</memory><currentMemory unit='MiB'>%" G_GUINT64_FORMAT "</currentMemory>",
        max, size);
    return true;
}

static bool add_vcpus(struct build *b, uint32_t topology[3])
{
    const char *text = cmd_str(b->c, "vcpus"), *cpuset = cmd_str(b->c, "cpuset");
    uint32_t n = b->os.vcpus, max = 0;
    PROPS_AUTO p = sub(b, text ? text : "", "vcpus");
    if (!p || !props_get_u32(p, "vcpus", &n, b->err) ||
        !props_get_u32(p, "maxvcpus", &max, b->err) ||
        !props_get_u32(p, "sockets", &topology[0], b->err) ||
        !props_get_u32(p, "cores", &topology[1], b->err) ||
        !props_get_u32(p, "threads", &topology[2], b->err) ||
        !props_get_str(p, "cpuset", &cpuset, b->err) ||
        !props_get_str(p, "vcpu.cpuset", &cpuset, b->err) ||
        !props_check_unused(p, "--vcpus", NULL, b->err)) {
        return false;
    }
    if (cpuset && !strcmp(cpuset, "auto")) {
        cpuset = NULL;
    }
    max = MAX_OF(max, n);
    add(b, "<vcpu placement='static'");
    attr(b, "cpuset", cpuset);
    if (n < max) {
        add(b, " current='%u'", n);
    }
    add(b, ">%u</vcpu>", max);
    if (topology[0] || topology[1] || topology[2]) { /* what is not said follows from the rest */
        topology[1] = topology[1] ? topology[1] : 1;
        topology[2] = topology[2] ? topology[2] : 1;
        topology[0] = topology[0] ? topology[0] : MAX_OF(max / (topology[1] * topology[2]), 1u);
    }
    return true;
}

static bool add_cpu(struct build *b, const uint32_t topology[3])
{
    const char *text = cmd_str(b->c, "cpu");
    g_auto(GStrv) words = g_strsplit(text                     ? text
                                     : strcmp(b->type, "kvm") ? "maximum"
                                                              : "host-passthrough",
                                     ",", -1);
    const char *model = words[0] ? words[0] : "maximum";
    if (!strcmp(model, "host") || !strcmp(model, "host-passthrough") ||
        !strcmp(model, "host-model") || !strcmp(model, "host-model-only") ||
        !strcmp(model, "maximum")) {
        add(b, "<cpu mode='%s'>",
            !strcmp(model, "host")              ? "host-passthrough"
            : !strcmp(model, "host-model-only") ? "host-model"
                                                : model);
    } else {
        add(b, "<cpu mode='custom' match='exact'><model>%s</model>", model);
    }
    if (topology[0]) {
        add(b, "<topology sockets='%u' dies='1' cores='%u' threads='%u'/>", topology[0],
            topology[1], topology[2]);
    }
    for (char **w = words[0] ? words + 1 : words; *w; w++) {
        const char *name = strchr("+-", **w) && **w ? *w + 1
                           : strchr(*w, '=')        ? strchr(*w, '=') + 1
                                                    : *w;
        bool off =
            **w == '-' || g_str_has_prefix(*w, "disable=") || g_str_has_prefix(*w, "forbid=");
        bool known =
            **w == '+' || off || g_str_has_prefix(*w, "require=") || g_str_has_prefix(*w, "force=");
        if (!known) {
            return error_set(b->err, HANOK_ERROR_INVALID,
                             "--cpu: '%s' is not +FEATURE, -FEATURE or require=FEATURE", *w);
        }
        add(b, "<feature policy='%s' name='%s'/>", off ? "disable" : "require", name);
    }
    add(b, "</cpu>");
    return true;
}

/* 'hanok image build --direct-boot' leaves FILE.vmlinuz, FILE.initrd and FILE.cmdline beside FILE.
 */
static bool kernel_beside(struct cmd *c, char **kernel, char **initrd, char **args)
{
    GPtrArray *disks = cmd_all(c, "disk");
    PROPS_AUTO p = disks ? props_parse(disks->pdata[0], "path", NULL) : NULL;
    const char *path = NULL;
    if (!p || !props_get_str(p, "path", &path, NULL) || !path) {
        return false;
    }
    *kernel = g_strconcat(path, ".vmlinuz", NULL);
    *initrd = g_strconcat(path, ".initrd", NULL);
    g_autofree char *cmdline = g_strconcat(path, ".cmdline", NULL);
    *args = g_file_get_contents(cmdline, args, NULL, NULL)
                ? g_strchomp(*args)
                : g_strdup("root=/dev/vda rw console=ttyS0");
    return !access(*kernel, R_OK) && !access(*initrd, R_OK);
}

struct boot_wish {
    const char *kernel, *initrd, *args, *loader;
    bool uefi, menu;
    GString *devs; /* <boot dev=''/> elements */
};

/* One word of --boot. */
static bool boot_word(struct boot_wish *o, char *word, GError **err)
{
    static const char *const devs[] = {"hd", "cdrom", "network", "fd"};
    char *equals = strchr(word, '=');
    const char *value = equals ? equals + 1 : NULL;
    for (unsigned i = 0; i < ARRAY_SIZE(devs); i++) {
        if (!strcmp(word, devs[i])) {
            g_string_append_printf(o->devs, "<boot dev='%s'/>", word);
            return true;
        }
    }
    if (!strcmp(word, "uefi")) {
        o->uefi = true;
    } else if (g_str_has_prefix(word, "kernel=")) {
        o->kernel = value;
    } else if (g_str_has_prefix(word, "initrd=")) {
        o->initrd = value;
    } else if (g_str_has_prefix(word, "kernel_args=") || g_str_has_prefix(word, "cmdline=") ||
               g_str_has_prefix(word, "extra_args=")) {
        o->args = value;
    } else if (g_str_has_prefix(word, "loader=")) {
        o->loader = value;
    } else if (g_str_has_prefix(word, "menu=")) {
        o->menu = !strcmp(value, "on") || !strcmp(value, "yes");
    } else if (*word) {
        return error_set(
            err, HANOK_ERROR_INVALID,
            "--boot: '%s' is not hd, cdrom, network, uefi, menu=, loader=, kernel=, initrd= or "
            "kernel_args=",
            word);
    }
    return true;
}

static void add_path(struct build *b, const char *element, const char *path)
{
    g_autofree char *full = path ? g_canonicalize_filename(path, NULL) : NULL;
    if (full) {
        add(b, "<%s>%s</%s>", element, full, element);
    }
}

static void os_xml(struct build *b, const struct boot_wish *o)
{
    const char *fallback = cmd_str(b->c, "cdrom")  ? "cdrom"
                           : cmd_flag(b->c, "pxe") ? "network"
                                                   : "hd";
    add(b, "<os");
    attr(b, "firmware", o->uefi ? "efi" : NULL);
    add(b, "><type arch='x86_64' machine='%s'>hvm</type>", b->os.machine);
    if (o->loader) {
        add(b, "<loader>%s</loader>", o->loader);
    }
    add_path(b, "kernel", o->kernel);
    add_path(b, "initrd", o->initrd);
    if (o->args) {
        add(b, "<cmdline>%s</cmdline>", o->args);
    }
    if (o->devs->len) {
        g_string_append(b->x, o->devs->str);
    } else {
        add(b, "<boot dev='%s'/>", fallback);
    }
    g_string_append(b->x, o->menu ? "<bootmenu enable='yes'/></os>" : "</os>");
}

static bool add_os(struct build *b)
{
    const char *text = cmd_str(b->c, "boot");
    g_autofree char *own_kernel = NULL, *own_initrd = NULL, *own_args = NULL;
    g_autoptr(GString) devs = g_string_new(NULL);
    struct boot_wish o = {.devs = devs};
    g_auto(GStrv) words = g_strsplit(text ? text : "", ",", -1);
    for (char **w = words; *w; w++) {
        if (!boot_word(&o, *w, b->err)) {
            return false;
        }
    }
    if (!o.kernel && cmd_flag(b->c, "import") &&
        kernel_beside(b->c, &own_kernel, &own_initrd, &own_args)) {
        o.kernel = own_kernel;
        o.initrd = own_initrd;
        o.args = o.args ? o.args : own_args;
        fprintf(stderr, "hanok: booting with the kernel beside the image, %s\n", o.kernel);
    }
    os_xml(b, &o);
    return true;
}

/* ---- disks ---- */

/* --check all=off, or WHAT=off: that is not checked. */
static bool checked(struct build *b, const char *what)
{
    bool all = true, one = true;
    const char *text = cmd_str(b->c, "check");
    PROPS_AUTO p = text ? props_parse(text, NULL, NULL) : NULL;
    if (p) {
        props_get_bool(p, "all", &all, NULL);
        props_get_bool(p, what, &one, NULL);
    }
    return all && one;
}

/* Two machines that write one image ruin it. */
static bool not_in_use(struct build *b, struct props *p, const char *path)
{
    const char *device = pick(b, p, "device");
    bool shared = device && !strcmp(device, "cdrom");
    props_get_bool(p, "readonly", &shared, NULL);
    g_autofree char *user = shared || !checked(b, "path_in_use") ? NULL : image_user(b->s, path);
    return !user || error_set(b->err, HANOK_ERROR_BUSY,
                              "--disk: '%s' is a disk of domain '%s'; --check path_in_use=off "
                              "takes it nevertheless",
                              path, user);
}

static bool wish(struct build *b, struct props *p, const char *path, const char **format)
{
    const char *size = pick(b, p, "size"), *backing = pick(b, p, "backing_store");
    const char *backing_format = pick(b, p, "backing_format");
    struct stat st;
    if (!stat(path, &st)) {
        struct image_info info;
        if (!not_in_use(b, p, path)) {
            return false;
        }
        if (!*format && S_ISREG(st.st_mode)) {
            if (!image_info(path, &info, b->err)) {
                return false;
            }
            *format = g_intern_string(info.format);
        }
        return true;
    }
    if (!size && !backing) {
        return error_set(b->err, HANOK_ERROR_NOT_FOUND,
                         "--disk: '%s' does not exist; size=GIB makes it", path);
    }
    char *end = NULL;
    double gib = size ? g_ascii_strtod(size, &end) : -1;
    if (size && (end == size || *end || gib <= 0 || gib > 1e6)) {
        return error_set(b->err, HANOK_ERROR_INVALID, "--disk: size=%s is not a number of GiB",
                         size);
    }
    struct disk_wish *w = g_new0(struct disk_wish, 1);
    *format = *format ? *format : "qcow2";
    w->create = true;
    w->path = g_strdup(path);
    w->format = *format;
    w->bytes = size ? (int64_t)(gib * (double)GiB) : -1;
    w->backing = backing ? g_canonicalize_filename(backing, NULL) : NULL;
    w->backing_format = g_strdup(backing_format);
    g_ptr_array_add(b->wishes, w);
    return true;
}

static char *disk_path(struct build *b, struct props *p, const char *format)
{
    const char *path = pick(b, p, "path"), *vol = pick(b, p, "vol"), *pool = pick(b, p, "pool");
    if (vol) {
        vol = g_str_has_prefix(vol, "default/") ? vol + 8 : vol;
    }
    if ((pool && strcmp(pool, "default")) || (vol && strchr(vol, '/'))) {
        error_set(b->err, HANOK_ERROR_NOT_FOUND, "--disk: there is one pool, 'default'");
        return NULL;
    }
    if (path) {
        return g_canonicalize_filename(path, NULL);
    }
    if (vol) {
        return g_build_filename(b->s->images, vol, NULL);
    }
    const char *ext = format && !strcmp(format, "raw") ? "img" : "qcow2";
    for (unsigned i = 0;; i++) { /* a name of its own: NAME.qcow2, NAME-1.qcow2 */
        g_autofree char *number = i ? g_strdup_printf("-%u", i) : g_strdup("");
        char *own = g_strdup_printf("%s/%s%s.%s", b->s->images, b->name, number, ext);
        bool taken = !access(own, F_OK);
        for (unsigned k = 0; k < b->wishes->len; k++) {
            taken = taken || !strcmp(((struct disk_wish *)b->wishes->pdata[k])->path, own);
        }
        if (!taken) {
            return own;
        }
        g_free(own);
    }
}

static void disk_xml(struct build *b, struct props *p, const char *path, const char *format)
{
    static const char *const prefixes[] = {"vd", "sd", "hd", "sd"};
    const char *device = pick(b, p, "device"), *bus = pick(b, p, "bus"),
               *target = pick(b, p, "target.dev");
    bool cd = device && !strcmp(device, "cdrom"), block = path && g_str_has_prefix(path, "/dev/");
    bool read_only = cd;
    props_get_bool(p, "readonly", &read_only, NULL);
    bus = bus ? bus : !cd ? b->os.bus : b->os.pc ? "ide" : "sata";
    unsigned kind = !strcmp(bus, "virtio") ? 0 : !strcmp(bus, "ide") ? 2 : 1;
    char name[16];
    g_snprintf(name, sizeof(name), "%s%c", prefixes[kind],
               'a' + (int)MIN_OF(b->next_disk[kind], 25u));
    b->next_disk[kind]++;
    add(b, "<disk type='%s' device='%s'><driver name='qemu' type='%s'", block ? "block" : "file",
        device ? device : "disk", format ? format : "raw");
    attr(b, "cache", pick(b, p, "cache"));
    attr(b, "io", pick(b, p, "io"));
    attr(b, "discard", pick(b, p, "discard"));
    attr(b, "detect_zeroes", pick(b, p, "detect_zeroes"));
    attr(b, "iothread", pick(b, p, "driver.iothread"));
    attr(b, "queues", pick(b, p, "driver.queues"));
    add(b, "/>");
    if (path) {
        add(b, "<source");
        attr(b, block ? "dev" : "file", path);
        add(b, "/>");
    }
    add(b, "<target dev='%s' bus='%s'/>", target ? target : name, bus);
    if (read_only) {
        add(b, "<readonly/>");
    }
    if (pick(b, p, "serial")) {
        add(b, "<serial>%s</serial>", pick(b, p, "serial"));
    }
    if (pick(b, p, "boot.order")) {
        add(b, "<boot order='%s'/>", pick(b, p, "boot.order"));
    }
    add(b, "</disk>");
}

static bool add_disk(struct build *b, const char *text)
{
    PROPS_AUTO p = sub(b, text, "path");
    if (!p) {
        return false;
    }
    const char *format = pick(b, p, "format"), *device = pick(b, p, "device");
    bool empty = device && !strcmp(device, "cdrom") && !pick(b, p, "path");
    props_mark_used(p, "sparse");
    props_mark_used(p, "size");
    g_autofree char *path = empty ? NULL : disk_path(b, p, format);
    if (!empty && (!path || !wish(b, p, path, &format))) {
        return false;
    }
    disk_xml(b, p, path, format);
    return props_check_unused(p, "--disk", NULL, b->err);
}

static bool add_disks(struct build *b)
{
    GPtrArray *list = cmd_all(b->c, "disk");
    for (unsigned i = 0; list && i < list->len; i++) {
        if (strcmp(list->pdata[i], "none") && !add_disk(b, list->pdata[i])) {
            return false;
        }
    }
    if (!list && !cmd_flag(b->c, "import") && !cmd_str(b->c, "boot")) {
        g_autofree char *own = g_strdup_printf("size=%u", b->os.disk_gib);
        fprintf(stderr, "hanok: no --disk is given; one of %u GiB is made in %s\n", b->os.disk_gib,
                b->s->images);
        if (!add_disk(b, own)) {
            return false;
        }
    }
    if (!list && cmd_flag(b->c, "import")) {
        return error_set(b->err, HANOK_ERROR_INVALID,
                         "--import needs the --disk that is to be imported");
    }
    if (cmd_str(b->c, "cdrom")) {
        g_autofree char *full = g_canonicalize_filename(cmd_str(b->c, "cdrom"), NULL);
        g_auto(GStrv) parts = g_strsplit(full, ",", -1);
        g_autofree char *quoted = g_strjoinv(",,", parts),
                        *own = g_strdup_printf("path=%s,device=cdrom,format=raw", quoted);
        return add_disk(b, own);
    }
    return true;
}

/* ---- network ---- */

static void add_forwards(struct build *b, struct props *p)
{
    for (unsigned i = 0; i < 16; i++) {
        char start_key[64], to_key[64], proto_key[64];
        g_snprintf(start_key, sizeof(start_key), "portForward%u.range0.start", i);
        g_snprintf(to_key, sizeof(to_key), "portForward%u.range0.to", i);
        g_snprintf(proto_key, sizeof(proto_key), "portForward%u.proto", i);
        const char *start = pick(b, p, start_key), *to = pick(b, p, to_key),
                   *proto = pick(b, p, proto_key);
        if (start) {
            add(b, "<portForward proto='%s'><range start='%s'", proto ? proto : "tcp", start);
            attr(b, "to", to);
            add(b, "/></portForward>");
        }
    }
}

static bool add_network(struct build *b, const char *text)
{
    PROPS_AUTO p = sub(b, text, "type");
    if (!p) {
        return false;
    }
    const char *type = pick(b, p, "type"), *bridge = pick(b, p, "bridge"),
               *network = pick(b, p, "network");
    const char *model = pick(b, p, "model"), *mac = pick(b, p, "mac");
    if (type && !strcmp(type, "none")) {
        return true;
    }
    if (type && !strcmp(type, "default")) {
        network = "default";
    }
    type = bridge ? "bridge" : network ? "network" : type ? type : "user";
    add(b, "<interface type='%s'>", type);
    if (mac && strcmp(mac, "RANDOM")) {
        add(b, "<mac address='%s'/>", mac);
    }
    if (bridge || network) {
        add(b, "<source");
        attr(b, "bridge", bridge);
        attr(b, "network", bridge ? NULL : network);
        add(b, "/>");
    }
    add_forwards(b, p);
    add(b, "<model type='%s'/></interface>", model ? model : b->os.nic);
    return props_check_unused(p, "--network", NULL, b->err);
}

static bool add_networks(struct build *b)
{
    GPtrArray *list = cmd_all(b->c, "network");
    for (unsigned i = 0; list && i < list->len; i++) {
        if (!add_network(b, list->pdata[i])) {
            return false;
        }
    }
    return list ? true : add_network(b, "user");
}

/* ---- the other devices ---- */

static bool add_screen(struct build *b)
{
    const char *text = cmd_str(b->c, "graphics"), *video = cmd_str(b->c, "video");
    PROPS_AUTO p = sub(b, text ? text : "none", "type");
    if (!p) {
        return false;
    }
    const char *type = pick(b, p, "type"), *port = pick(b, p, "port"),
               *listen = pick(b, p, "listen");
    const char *password = pick(b, p, "password");
    if (type && strcmp(type, "none")) {
        add(b, "<graphics type='%s'", type);
        attr(b, "port", port);
        attr(b, "listen", listen);
        attr(b, "passwd", password);
        attr(b, "keymap", pick(b, p, "keymap"));
        add(b, "/><input type='tablet' bus='usb'/><video><model type='%s'/></video>",
            video ? video : b->os.video);
    } else if (video) {
        add(b, "<video><model type='%s'/></video>", video);
    }
    return props_check_unused(p, "--graphics", NULL, b->err);
}

static bool add_serial(struct build *b)
{
    const char *serial = cmd_str(b->c, "serial"), *console = cmd_str(b->c, "console");
    bool none = (serial && !strcmp(serial, "none")) || (console && !strcmp(console, "none"));
    PROPS_AUTO p = sub(b, serial ? serial : "pty", "type");
    if (none || !p) {
        return none;
    }
    const char *type = pick(b, p, "type"), *path = pick(b, p, "path");
    add(b, "<serial type='%s'>", type ? type : "pty");
    if (path) {
        add(b, "<source path='%s'/>", path);
    }
    add(b, "</serial>");
    return props_check_unused(p, "--serial", NULL, b->err);
}

static bool add_channels(struct build *b)
{
    GPtrArray *list = cmd_all(b->c, "channel");
    for (unsigned i = 0; list && i < list->len; i++) {
        PROPS_AUTO p = sub(b, list->pdata[i], "type");
        const char *type = p ? pick(b, p, "type") : NULL;
        if (!p) {
            return false;
        }
        if (type && !strcmp(type, "none")) {
            return true;
        }
        const char *target = pick(b, p, "target.name"), *name = pick(b, p, "name");
        const char *kind = pick(b, p, "target.type"), *old = pick(b, p, "target_type");
        add(b, "<channel type='%s'><target type='%s' name='%s'/></channel>", type ? type : "unix",
            kind  ? kind
            : old ? old
                  : "virtio",
            target ? target
            : name ? name
                   : "org.qemu.guest_agent.0");
        if (!props_check_unused(p, "--channel", NULL, b->err)) {
            return false;
        }
    }
    if (!list) {
        add(b,
            "<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>");
    }
    return true;
}

static bool add_small(struct build *b)
{
    const char *rng = cmd_str(b->c, "rng"), *balloon = cmd_str(b->c, "memballoon"),
               *dog = cmd_str(b->c, "watchdog");
    const char *sound = cmd_str(b->c, "sound");
    if (!rng || (strcmp(rng, "none") && *rng == '/')) {
        add(b, "<rng model='virtio'><backend model='random'>%s</backend></rng>",
            rng ? rng : "/dev/urandom");
    } else if (strcmp(rng, "none")) {
        add(b, "<rng model='virtio'><backend model='builtin'/></rng>");
    }
    add(b, "<memballoon model='%s'/>", balloon ? balloon : "virtio");
    if (sound && strcmp(sound, "none")) {
        add(b, "<sound model='%s'/>", sound);
    }
    if (dog && strcmp(dog, "none")) {
        PROPS_AUTO p = sub(b, dog, "model");
        if (!p) {
            return false;
        }
        add(b, "<watchdog");
        attr(b, "model", pick(b, p, "model"));
        attr(b, "action", pick(b, p, "action"));
        add(b, "/>");
        return props_check_unused(p, "--watchdog", NULL, b->err);
    }
    return true;
}

static bool add_devices(struct build *b)
{
    add(b, "<devices>");
    if (!b->os.pc) {
        add(b, "<controller type='usb' model='qemu-xhci' ports='15'/><controller type='pci' "
               "model='pcie-root'/>");
    }
    for (unsigned i = 1; !b->os.pc && i <= ROOT_PORTS; i++) {
        add(b, "<controller type='pci' index='%u' model='pcie-root-port'/>", i);
    }
    bool ok = add_disks(b) && add_networks(b) && add_serial(b) && add_channels(b) &&
              add_screen(b) && add_small(b);
    add(b, "</devices>");
    return ok;
}

static bool add_words(struct build *b)
{
    GPtrArray *list = cmd_all(b->c, "qemu-commandline");
    if (!list) {
        return true;
    }
    add(b, "<qemu:commandline>");
    for (unsigned i = 0; i < list->len; i++) {
        g_auto(GStrv) words = NULL;
        if (!g_shell_parse_argv(list->pdata[i], NULL, &words, b->err)) {
            g_prefix_error(b->err, "--qemu-commandline: ");
            return false;
        }
        for (char **w = words; *w; w++) {
            add(b, "<qemu:arg value='%s'/>", *w);
        }
    }
    add(b, "</qemu:commandline>");
    return true;
}

static bool add_head(struct build *b)
{
    const char *text = cmd_str(b->c, "metadata"), *title = NULL,
               *description = cmd_str(b->c, "description");
    const char *uuid = cmd_str(b->c, "uuid");
    PROPS_AUTO p = sub(b, text ? text : "", NULL);
    if (!p || !props_get_str(p, "title", &title, b->err) ||
        !props_get_str(p, "description", &description, b->err) ||
        !props_get_str(p, "uuid", &uuid, b->err) ||
        !props_check_unused(p, "--metadata", NULL, b->err)) {
        return false;
    }
    add(b, "<domain type='%s' xmlns:qemu='" XML_QEMU_NS "'><name>%s</name>", b->type, b->name);
    if (uuid) {
        add(b, "<uuid>%s</uuid>", uuid);
    }
    if (title) {
        add(b, "<title>%s</title>", title);
    }
    if (description) {
        add(b, "<description>%s</description>", description);
    }
    if (b->os.os) {
        add(b,
            "<metadata><libosinfo:libosinfo xmlns:libosinfo='" LIBOSINFO_NS "'><libosinfo:os "
            "id='%s'/></libosinfo:libosinfo></metadata>",
            b->os.os->id);
    }
    if (cmd_str(b->c, "iothreads")) {
        add(b, "<iothreads>%s</iothreads>", cmd_str(b->c, "iothreads"));
    }
    return true;
}

static bool build(struct build *b)
{
    uint32_t topology[3] = {0};
    if (!os_defaults_find(b->c, &b->os, b->err) || !add_head(b) || !add_memory(b) ||
        !add_vcpus(b, topology) || !add_os(b)) {
        return false;
    }
    add(b, "<features><acpi/><apic/></features>");
    if (!add_cpu(b, topology)) {
        return false;
    }
    add(b,
        "<clock offset='%s'><timer name='rtc' tickpolicy='catchup'/><timer name='pit' "
        "tickpolicy='delay'/>"
        "<timer name='hpet' present='no'/></clock><pm><suspend-to-mem enabled='no'/>"
        "<suspend-to-disk enabled='no'/></pm>",
        b->os.local_time ? "localtime" : "utc");
    if (!add_devices(b) || !add_words(b)) {
        return false;
    }
    add(b, "</domain>");
    return true;
}

static char *auto_name(struct store *s)
{
    for (unsigned i = 1;; i++) {
        char *name = i == 1 ? g_strdup("vm") : g_strdup_printf("vm-%u", i);
        if (!store_has(s, name)) {
            return name;
        }
        g_free(name);
    }
}

struct domain *install_domain(struct cmd *c, struct store *s, GPtrArray **wishes, GError **err)
{
    struct build b = {.c = c, .s = s, .x = g_string_new(NULL), .err = err};
    struct domain *d = NULL;
    *wishes = b.wishes = g_ptr_array_new_with_free_func(wish_free);
    b.name = cmd_str(c, "name") ? g_strdup(cmd_str(c, "name")) : auto_name(s);
    b.type = cmd_str(c, "virt-type") ? cmd_str(c, "virt-type") : kvm_here() ? "kvm" : "qemu";
    if (domain_name_ok(b.name, err) && build(&b)) {
        d = domain_load(b.x->str, err);
    }
    osinfo_free(b.os.os);
    g_string_free(b.x, TRUE);
    g_free(b.name);
    return d;
}
