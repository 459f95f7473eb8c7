/* verb_install.c - hanok install: virt-install's words. */
#include "make.h"

#include "fetch.h"
#include "images.h"
#include "install.h"
#include "preseed.h"
#include "seed.h"

#include "base/util.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct install {
    struct cmd *c;
    struct store *store;
    struct domain *d;
    struct boot_files boot;
    GPtrArray *wishes; /* disks to be made */
    GPtrArray *made;   /* files made for it: removed when it does not start */
    bool dry;          /* --print-xml, --dry-run */
    bool answered;     /* the installer's RAM disk has a preseed.cfg */
};

/* ---- what is started first ---- */

/* The first line of a file with a secret; NULL: *err, or none is asked for. */
static char *secret_of(struct props *p, const char *key, GError **err)
{
    const char *file = NULL;
    if (!props_get_str(p, key, &file, err) || !file) {
        return NULL;
    }
    char *text = read_input(file, err);
    return text ? g_strchomp(text) : NULL;
}

static bool inject_preseed(struct install *in, struct props *p, GError **err)
{
    g_autofree char *host = seed_host_name(in->d->name);
    struct preseed want = {.host = host, .disk = "/dev/vda", .serial = true};
    g_autoptr(GError) why = NULL;
    if (!props_get_str(p, "user-login", &want.user, err) ||
        !props_get_str(p, "locale", &want.locale, err) ||
        !props_get_str(p, "keyboard", &want.keyboard, err) ||
        !props_get_str(p, "timezone", &want.timezone, err) ||
        !props_get_str(p, "mirror", &want.mirror, err)) {
        return false;
    }
    g_autofree char *root = secret_of(p, "admin-password-file", &why);
    g_autofree char *user = why ? NULL : secret_of(p, "user-password-file", &why);
    if (why) {
        g_propagate_error(err, g_steal_pointer(&why));
        return false;
    }
    if (!root) {
        root = random_password();
        fprintf(stderr, "root's password will be: %s\n", root);
    }
    want.root_password = root;
    want.user_password = user ? user : root;
    g_autofree char *text =
        props_check_unused(p, "--unattended", NULL, err) ? preseed_text(&want, err) : NULL;
    return text && initrd_add(in->boot.initrd, "preseed.cfg", text, strlen(text), err);
}

/* profile= names desktops and servers in virt-install; Debian's installer has one way here. */
static bool inject_answers(struct install *in, GError **err)
{
    PROPS_AUTO p = props_parse(cmd_str(in->c, "unattended"), "profile", err);
    if (!p) {
        return false;
    }
    props_mark_used(p, "profile");
    in->answered = true;
    return inject_preseed(in, p, err);
}

static bool get_installer(struct install *in, GError **err)
{
    struct cmd *c = in->c;
    const char *location = cmd_str(c, "location");
    GPtrArray *inject = cmd_all(c, "initrd-inject");
    g_autofree char *dir = g_build_filename(in->store->cache, "boot", NULL);
    if (!location) {
        return true;
    }
    if (!fetch_boot_files(location, dir, in->d->name, !c->quiet, &in->boot, err)) {
        return false;
    }
    g_ptr_array_add(in->made, g_strdup(in->boot.kernel));
    g_ptr_array_add(in->made, g_strdup(in->boot.initrd));
    return (!inject || initrd_inject(in->boot.initrd, inject, err)) &&
           (!cmd_str(c, "unattended") || inject_answers(in, err));
}

/* The domain of the installation: the installer's kernel, and an end instead of a reboot. */
static struct domain *installer_domain(struct install *in, GError **err)
{
    g_autofree char *text = domain_format(in->d, FORMAT_INACTIVE | FORMAT_SECURE);
    struct domain *d = domain_load(text, err);
    const char *extra = cmd_str(in->c, "extra-args");
    if (!d || !in->boot.kernel) {
        return d;
    }
    g_free(d->os.kernel);
    g_free(d->os.initrd);
    g_free(d->os.cmdline);
    d->os.kernel = g_strdup(in->boot.kernel);
    d->os.initrd = g_strdup(in->boot.initrd);
    d->os.cmdline = in->answered ? g_strdup_printf("auto=true priority=critical%s%s",
                                                   extra ? " " : "", extra ? extra : "")
                                 : g_strdup(extra);
    d->on_reboot = "destroy";
    return d;
}

/* ---- disks ---- */

static bool make_disks(struct install *in, GError **err)
{
    bool ok = true;
    for (unsigned i = 0; ok && i < in->wishes->len; i++) {
        const struct disk_wish *w = in->wishes->pdata[i];
        if (in->dry || !w->create) {
            continue;
        }
        ok = image_create(w->path, w->format, w->bytes, w->backing, w->backing_format, err);
        if (ok) {
            g_ptr_array_add(in->made, g_strdup(w->path));
        }
    }
    return ok;
}

/* ---- cloud-init ---- */

static char *cloud_user_data(struct props *p, const char *host, GError **err)
{
    const char *file = NULL, *key_file = NULL, *password_file = NULL;
    bool generate = false, ok;
    ok = props_get_str(p, "user-data", &file, err) &&
         props_get_str(p, "root-ssh-key", &key_file, err) &&
         props_get_str(p, "ssh-key", &key_file, err) &&
         props_get_str(p, "root-password-file", &password_file, err) &&
         props_get_bool(p, "root-password-generate", &generate, err);
    if (!ok) {
        return NULL;
    }
    if (file) {
        return read_input(file, err);
    }
    g_autofree char *key = key_file ? read_input(key_file, err) : NULL;
    g_autofree char *password = password_file ? read_input(password_file, err) : NULL;
    if ((key_file && !key) || (password_file && !password)) {
        return NULL;
    }
    GString *s = g_string_new(NULL);
    g_string_append_printf(s, "#cloud-config\nhostname: %s\ndisable_root: false\n", host);
    if (generate || (!password && !key)) {
        password = random_password();
        fprintf(stderr, "Password for first root login is: %s\n", password);
    }
    if (password) {
        g_strchomp(password);
        g_string_append_printf(
            s, "ssh_pwauth: true\nchpasswd:\n  expire: false\n  list: |\n    root:%s\n", password);
    }
    if (key) {
        g_strchomp(key);
        g_string_append_printf(
            s, "users:\n  - name: root\n    ssh_authorized_keys:\n      - '%s'\n", key);
    }
    return g_string_free(s, FALSE);
}

static bool add_cloud_init(struct install *in, GError **err)
{
    const char *wish = cmd_str(in->c, "cloud-init"), *meta_file = NULL, *net_file = NULL;
    if (!wish) {
        return true;
    }
    PROPS_AUTO p =
        props_parse(*wish ? wish : "root-password-generate=on", "root-password-generate", err);
    g_autofree char *host = seed_host_name(in->d->name);
    if (!p || !props_get_str(p, "meta-data", &meta_file, err) ||
        !props_get_str(p, "network-config", &net_file, err)) {
        return false;
    }
    props_mark_used(p, "disable");
    g_autofree char *user = cloud_user_data(p, host, err);
    g_autofree char *meta =
        !user       ? NULL
        : meta_file ? read_input(meta_file, err)
                    : g_strdup_printf("instance-id: %s\nlocal-hostname: %s\n", in->d->uuid, host);
    g_autofree char *net = meta && net_file ? read_input(net_file, err) : NULL;
    if (!user || !meta || (net_file && !net) || !props_check_unused(p, "--cloud-init", NULL, err)) {
        return false;
    }
    g_autofree char *path = g_strdup_printf("%s/%s-seed.iso", in->store->images, in->d->name);
    if (in->dry) {
        return true;
    }
    if (!seed_write(path, meta, user, net, err)) {
        return false;
    }
    g_ptr_array_add(in->made, g_strdup(path));
    return seed_add_disk(in->d, path, err);
}

/* ---- running it ---- */

static bool wants_console(struct install *in)
{
    const char *wish = cmd_str(in->c, "autoconsole");
    if (cmd_flag(in->c, "noautoconsole") || (wish && !strcmp(wish, "none"))) {
        return false;
    }
    return (wish && !strcmp(wish, "text")) || (!in->d->devices.graphics->len && isatty(0));
}

/* --wait: minutes; -1 or no value: as long as it takes.  Without it: with a console until that
 * ends. */
static bool wait_installed(struct install *in, struct vm *vm, bool console)
{
    int64_t minutes = -1;
    const char *wish = cmd_str(in->c, "wait");
    if (!wish && !console) {
        cmd_say(in->c,
                "Domain is still running. Installation may be in progress.\n'hanok console %s' "
                "shows it.",
                vm->name);
        return false;
    }
    if (wish && !cmd_number(in->c, "wait", &minutes)) {
        return false;
    }
    if (!wish) { /* the user has left the console: the installation goes on */
        return vm_wait_end(vm, 1000);
    }
    for (int64_t left = minutes; left != 0; left -= left > 0) {
        if (vm_wait_end(vm, 60000)) {
            return true;
        }
    }
    return false;
}

static int run(struct install *in, GError **err)
{
    struct cmd *c = in->c;
    bool transient = cmd_flag(c, "transient");
    DOMAIN_AUTO first = installer_domain(in, err);
    if (!first || (!transient && !vm_define(in->store, in->d, "", err))) {
        return 1;
    }
    struct vm vm = {.store = in->store, .name = in->d->name};
    cmd_say(c, "Starting install...");
    if (!vm_start(&vm, first, 0, err)) {
        struct vm *defined = transient ? NULL : vm_find(in->store, vm.name, NULL);
        if (defined) {
            vm_undefine(defined, NULL);
            vm_free(defined);
        }
        return 1;
    }
    /* from here on the disks have a user */
    g_ptr_array_set_size(in->made, 0);
    cmd_say(c, "Domain '%s' is running.", vm.name);
    bool console = wants_console(in);
    if (console) {
        console_attach(&vm, NULL);
    }
    bool done = in->boot.kernel && wait_installed(in, &vm, console);
    if (done && !cmd_flag(c, "noreboot") && !transient) {
        vm_refresh(&vm);
        g_autofree char *why = vm_last_words(&vm);
        if (why && !strcmp(why, "guest-reset") && !vm_start(&vm, NULL, 0, err)) {
            g_prefix_error(err, "the installation has ended, but '%s' does not start: ", vm.name);
            g_free(vm.dir);
            return 1;
        }
    }
    g_free(vm.dir);
    if (done || !in->boot.kernel) {
        cmd_say(c, "Domain creation completed.");
    }
    return 0;
}

static bool prepare(struct install *in, GError **err)
{
    struct cmd *c = in->c;
    int ways = !!cmd_str(c, "location") + !!cmd_str(c, "cdrom") + cmd_flag(c, "import") +
               cmd_flag(c, "pxe") +
               (cmd_str(c, "boot") && !cmd_str(c, "location") && !cmd_str(c, "cdrom") &&
                !cmd_flag(c, "import"));
    if (ways != 1) {
        return error_set(err, HANOK_ERROR_INVALID,
                         "install needs one way to begin: --location TREE, --cdrom IMAGE, "
                         "--import, --pxe, or --boot "
                         "kernel=...,initrd=...");
    }
    if (cmd_str(c, "extra-args") && !cmd_str(c, "location")) {
        return error_set(err, HANOK_ERROR_INVALID,
                         "--extra-args is for the kernel that --location finds");
    }
    if (cmd_str(c, "unattended") && !cmd_str(c, "location")) {
        return error_set(err, HANOK_ERROR_INVALID,
                         "--unattended answers the questions of an installer: name its tree with "
                         "--location");
    }
    in->d = install_domain(c, in->store, &in->wishes, err);
    if (!in->d) {
        return false;
    }
    VM_AUTO old = store_has(in->store, in->d->name) ? vm_find(in->store, in->d->name, NULL) : NULL;
    if (old) {
        return error_set(err, HANOK_ERROR_BUSY, "there is a domain '%s' already", in->d->name);
    }
    return (in->dry || get_installer(in, err)) && make_disks(in, err) && add_cloud_init(in, err);
}

int install_run(struct cmd *c)
{
    g_autoptr(GError) err = NULL;
    struct install in = {
        .c = c, .store = cmd_store(c), .made = g_ptr_array_new_with_free_func(g_free)};
    int status = 1;
    in.dry = cmd_flag(c, "print-xml") || cmd_flag(c, "dry-run");
    if (os_list_asked(c)) {
        return os_list();
    }
    if (!in.store) {
        return 1;
    }
    bool ok = prepare(&in, &err);
    if (ok && cmd_flag(c, "print-xml")) {
        g_autofree char *text = domain_format(in.d, FORMAT_INACTIVE | FORMAT_SECURE);
        fputs(text, stdout);
        status = 0;
    } else if (ok && in.dry) {
        cmd_say(c, "Dry run completed successfully");
        status = 0;
    } else if (ok) {
        status = run(&in, &err);
    }
    for (unsigned i = 0; status && i < in.made->len; i++) {
        unlink(in.made->pdata[i]);
    }
    g_ptr_array_unref(in.made);
    g_clear_pointer(&in.wishes, g_ptr_array_unref);
    boot_files_clear(&in.boot);
    domain_free(in.d);
    return err ? cmd_error(&err) : status;
}

const struct opt install_opts[] = {
    {"name", "the machine's name", OPT_NAMED},
    {"memory", "MiB[,maxmemory=MiB]", OPT_NAMED},
    {"ram", "the same", OPT_NAMED},
    {"vcpus", "N[,maxvcpus=N][,sockets=N][,cores=N][,threads=N][,cpuset=LIST]", OPT_NAMED},
    {"cpuset", "host CPUs", OPT_NAMED},
    {"cpu", "MODEL[,+FEATURE][,-FEATURE]; host-passthrough, maximum", OPT_NAMED},
    {"machine", "q35", OPT_NAMED},
    {"arch", "x86_64", OPT_NAMED},
    {"virt-type", "kvm or qemu", OPT_NAMED},
    {"hvm", "accepted: they all are", OPT_FLAG},
    {"osinfo", "the system, for defaults: NAME | detect=on|off,require=on|off | list", OPT_NAMED},
    {"os-variant", "the same", OPT_NAMED},
    {"description", "a text", OPT_NAMED},
    {"metadata", "title=, description=, uuid=", OPT_NAMED},
    {"uuid", "its UUID", OPT_NAMED},
    {"import", "boot what is on the disk already", OPT_FLAG},
    {"location", "an installer's tree: directory, CD image, http address", OPT_NAMED},
    {"cdrom", "boot from a CD image", OPT_NAMED},
    {"pxe", "boot from the network", OPT_FLAG},
    {"extra-args", "for the installer's kernel", OPT_NAMED},
    {"initrd-inject", "a file added to the installer's RAM disk", OPT_NAMED | OPT_MANY},
    {"boot", "hd,cdrom,network,menu=on | uefi | kernel=,initrd=,kernel_args=", OPT_NAMED},
    {"cloud-init",
     "root-password-generate=on,ssh-key=FILE,user-data=FILE,meta-data=FILE,network-config=FILE",
     OPT_NAMED | OPT_MAYBE},
    {"unattended",
     "answer all of Debian's installer's questions: admin-password-file=,user-login=,"
     "user-password-file=,locale=,keyboard=,timezone=,mirror=",
     OPT_NAMED | OPT_MAYBE},
    {"disk",
     "path=,size=GIB,format=,bus=,cache=,io=,discard=,backing_store=,device=,readonly=,serial=,"
     "target.dev= | none",
     OPT_NAMED | OPT_MANY},
    {"network",
     "user | bridge=NAME | network=NAME | none [,model=,mac=,portForward0.range0.start=...]",
     OPT_NAMED | OPT_MANY},
    {"graphics", "none | vnc[,listen=,port=,password=]", OPT_NAMED},
    {"video", "MODEL", OPT_NAMED},
    {"console", "pty | none", OPT_NAMED},
    {"serial", "pty | file,path= | none", OPT_NAMED},
    {"channel", "none, or a channel as virt-install writes it", OPT_NAMED | OPT_MANY},
    {"rng", "/dev/urandom | builtin | none", OPT_NAMED},
    {"memballoon", "virtio | none", OPT_NAMED},
    {"watchdog", "MODEL[,action=]", OPT_NAMED},
    {"sound", "MODEL | none", OPT_NAMED},
    {"iothreads", "N", OPT_NAMED},
    {"qemu-commandline", "words added to the emulator's", OPT_NAMED | OPT_MANY},
    {"autoconsole", "text | none", OPT_NAMED},
    {"noautoconsole", "do not attach to the console", OPT_FLAG},
    {"wait", "minutes to wait for the installation (-1: as long as it takes)", OPT_NAMED},
    {"noreboot", "do not start it after the installation", OPT_FLAG},
    {"transient", "do not keep a definition", OPT_FLAG},
    {"autostart", "see 'hanok autostart'", OPT_FLAG},
    {"print-xml", "print the XML and do nothing", OPT_FLAG},
    {"dry-run", "check everything and do nothing", OPT_FLAG},
    {"check", "path_in_use=off or all=off: take a disk that another domain has", OPT_NAMED},
    {"debug", "accepted: 'hanok log' tells what happens", OPT_FLAG},
    {"noacpi", "accepted", OPT_FLAG},
    {NULL}};
