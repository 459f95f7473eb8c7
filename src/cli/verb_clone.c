/* verb_clone.c - hanok clone: virt-clone's words. */
#include "make.h"

#include "images.h"
#include "seed.h"

#include "base/util.h"
#include "manager/argv.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct clone {
    struct cmd *c;
    struct store *store;
    struct domain *d; /* becomes the new one */
    GPtrArray *made;  /* files, for the case that a later step fails */
    GPtrArray *files; /* --file, in order; NULL */
    unsigned next_file;
};

/* ---- names ---- */

static bool name_free(struct store *s, const char *name)
{
    VM_AUTO vm = store_has(s, name) ? vm_find(s, name, NULL) : NULL;
    return !vm;
}

static char *auto_name(struct store *s, const char *from)
{
    for (unsigned i = 0;; i++) {
        char *name = i ? g_strdup_printf("%s-clone%u", from, i) : g_strdup_printf("%s-clone", from);
        if (name_free(s, name)) {
            return name;
        }
        g_free(name);
    }
}

/* DIR/BASE.EXT -> DIR/NEW.EXT, or BASE-clone.EXT when the file is not named like the machine. */
static char *auto_path(const char *from, const char *old_name, const char *new_name)
{
    g_autofree char *dir = g_path_get_dirname(from), *base = g_path_get_basename(from);
    const char *dot = strrchr(base, '.'), *ext = dot && dot != base ? dot : "";
    g_autofree char *stem = g_strndup(base, strlen(base) - strlen(ext));
    for (unsigned i = 0;; i++) {
        g_autofree char *number = i ? g_strdup_printf("-%u", i) : g_strdup("");
        char *path = !strcmp(stem, old_name)
                         ? g_strdup_printf("%s/%s%s%s", dir, new_name, number, ext)
                         : g_strdup_printf("%s/%s-clone%s%s", dir, stem, number, ext);
        if (access(path, F_OK)) {
            return path;
        }
        g_free(path);
    }
}

/* ---- disks ---- */

static bool to_be_copied(const struct disk *k)
{
    return k->device == DISK_DISK && !k->readonly && !k->shareable && k->type == DISK_FILE &&
           k->source.file;
}

/* A kernel that lies beside the image (hanok image build) is copied with it. */
static bool clone_boot_file(struct clone *l, char **file, const char *from, const char *to,
                            const char *suffix, GError **err)
{
    g_autofree char *old = g_strconcat(from, suffix, NULL), *copy = g_strconcat(to, suffix, NULL);
    if (g_strcmp0(*file, old)) {
        return true;
    }
    if (!image_copy(old, copy, IMAGE_COPY_BEST, NULL, err)) {
        return false;
    }
    g_ptr_array_add(l->made, g_strdup(copy));
    g_free(*file);
    *file = g_steal_pointer(&copy);
    return true;
}

static bool clone_disk(struct clone *l, struct disk *k, const char *old_name, GError **err)
{
    struct cmd *c = l->c;
    g_autofree char *to = NULL;
    if (l->files && l->next_file < l->files->len) {
        to = g_canonicalize_filename(l->files->pdata[l->next_file++], NULL);
    } else if (cmd_flag(c, "auto-clone")) {
        to = auto_path(k->source.file, old_name, l->d->name);
    } else {
        return error_set(err, HANOK_ERROR_INVALID,
                         "disk '%s' needs a new file: give one more --file, or --auto-clone",
                         k->target.dev);
    }
    enum image_copy how = cmd_flag(c, "linked")    ? IMAGE_COPY_LINKED
                          : cmd_flag(c, "reflink") ? IMAGE_COPY_REFLINK
                                                   : IMAGE_COPY_BEST;
    g_autofree char *label = g_path_get_basename(to);
    if (cmd_flag(c, "preserve-data")) {
        if (access(to, F_OK)) {
            return error_errno(err, errno, "--preserve-data: '%s'", to);
        }
    } else if (!cmd_flag(c, "print-xml") && !cmd_flag(c, "check")) {
        if (!image_copy(k->source.file, to, how, c->quiet ? NULL : label, err)) {
            return false;
        }
        g_ptr_array_add(l->made, g_strdup(to));
        if (!clone_boot_file(l, &l->d->os.kernel, k->source.file, to, ".vmlinuz", err) ||
            !clone_boot_file(l, &l->d->os.initrd, k->source.file, to, ".initrd", err)) {
            return false;
        }
    }
    g_free(k->source.file);
    k->source.file = g_steal_pointer(&to);
    if (how == IMAGE_COPY_LINKED) {
        k->driver.type = "qcow2";
        xml_map_free(&backing_store_element, k->backing);
        k->backing = NULL;
    }
    return true;
}

static bool skipped(struct clone *l, const struct disk *k)
{
    GPtrArray *skip = cmd_all(l->c, "skip-copy");
    for (unsigned i = 0; skip && i < skip->len; i++) {
        if (!strcmp(skip->pdata[i], k->target.dev)) {
            return true;
        }
    }
    return !to_be_copied(k);
}

static bool clone_disks(struct clone *l, const char *old_name, GError **err)
{
    for (unsigned i = 0; i < l->d->devices.disks->len; i++) {
        struct disk *k = l->d->devices.disks->pdata[i];
        if (!skipped(l, k) && !clone_disk(l, k, old_name, err)) {
            return false;
        }
    }
    if (l->files && l->next_file < l->files->len) {
        return error_set(err, HANOK_ERROR_INVALID, "there are more --file than disks to copy");
    }
    return true;
}

static bool clone_nvram(struct clone *l, const char *old_name, GError **err)
{
    struct domain *d = l->d;
    if (!word_is(d->os.firmware, "efi") && !d->os.nvram.path) {
        return true;
    }
    g_autofree char *from = d->os.nvram.path
                                ? g_strdup(d->os.nvram.path)
                                : g_strdup_printf("%s/%s_VARS.fd", l->store->nvram, old_name);
    g_autofree char *to = g_strdup_printf("%s/%s_VARS.fd", l->store->nvram, d->name);
    if (access(from, F_OK)) {
        return true; /* never started: it gets its own from the template */
    }
    if (d->os.nvram.path) {
        g_free(d->os.nvram.path);
        d->os.nvram.path = g_strdup(to);
    }
    bool ok = image_copy(from, to, IMAGE_COPY_BEST, NULL, err);
    if (ok) {
        g_ptr_array_add(l->made, g_strdup(to));
    }
    return ok;
}

/* ---- identity ---- */

static bool new_macs(struct clone *l, GError **err)
{
    GPtrArray *macs = cmd_all(l->c, "mac");
    for (unsigned i = 0; i < l->d->devices.interfaces->len; i++) {
        struct interface *n = l->d->devices.interfaces->pdata[i];
        bool given = macs && i < macs->len && strcmp(macs->pdata[i], "RANDOM");
        g_free(n->mac.address);
        n->mac.address = given ? g_strdup(macs->pdata[i]) : mac_make();
        g_clear_pointer(&n->target.dev, g_free);
    }
    if (macs && macs->len > l->d->devices.interfaces->len) {
        return error_set(err, HANOK_ERROR_INVALID, "there are more --mac than network cards");
    }
    return true;
}

/* The guest's own identity is reset by cloud-init, when a seed names another instance. */
static bool reset_identity(struct clone *l, GError **err)
{
    struct domain *d = l->d;
    g_autofree char *path = g_strdup_printf("%s/%s-seed.iso", l->store->images, d->name);
    if (!cmd_flag(l->c, "reset-identity") || cmd_flag(l->c, "print-xml") ||
        cmd_flag(l->c, "check")) {
        return true;
    }
    g_autofree char *host = seed_host_name(d->name);
    g_autofree char *meta = g_strdup_printf("instance-id: %s\nlocal-hostname: %s\n", d->uuid, host);
    g_autofree char *user = g_strdup_printf(
        "#cloud-config\nhostname: %s\npreserve_hostname: false\nssh_deletekeys: true\n"
        "bootcmd:\n  - [cloud-init-per, instance, machine-id, sh, -c, 'rm -f /etc/machine-id "
        "/var/lib/dbus/machine-id; systemd-machine-id-setup']\n",
        host);
    if (!seed_write(path, meta, user, NULL, err) || !seed_add_disk(d, path, err)) {
        return false;
    }
    g_ptr_array_add(l->made, g_strdup(path));
    return true;
}

static bool make_clone(struct clone *l, const char *name, GError **err)
{
    struct domain *d = l->d;
    g_autofree char *old_name = g_strdup(d->name);
    g_free(d->name);
    d->name = g_strdup(name);
    g_free(d->uuid);
    d->uuid = uuid_make();
    g_clear_pointer(&d->genid, g_free);
    return domain_name_ok(name, err) && new_macs(l, err) && clone_disks(l, old_name, err) &&
           clone_nvram(l, old_name, err) && reset_identity(l, err) && domain_validate(d, err);
}

/* The original must stand still while its disks are read. */
static bool source_is_still(struct vm *vm, GError **err)
{
    enum vm_state st = vm_state(vm, NULL);
    return st == VM_SHUTOFF || st == VM_PAUSED ||
           error_set(err, HANOK_ERROR_BUSY,
                     "domain '%s' runs and writes to its disks; shut it down or suspend it first",
                     vm->name);
}

static struct domain *load_original(struct cmd *c, struct store *s, GError **err)
{
    const char *file = cmd_str(c, "original-xml");
    if (file) {
        g_autofree char *text = read_input(file, err);
        return text ? domain_load(text, err) : NULL;
    }
    VM_AUTO vm = vm_find(s, cmd_str(c, "original"), err);
    return vm && source_is_still(vm, err) ? vm_definition(vm, err) : NULL;
}

int clone_run(struct cmd *c)
{
    g_autoptr(GError) err = NULL;
    struct store *s = cmd_store(c);
    if (!s) {
        return 1;
    }
    if (!cmd_str(c, "original") && !cmd_str(c, "original-xml")) {
        return cmd_fail("clone needs --original NAME");
    }
    if (!cmd_str(c, "name") && !cmd_flag(c, "auto-clone")) {
        return cmd_fail("clone needs a --name for the copy, or --auto-clone");
    }
    DOMAIN_AUTO d = load_original(c, s, &err);
    if (!d) {
        return cmd_error(&err);
    }
    struct clone l = {c, s, d, g_ptr_array_new_with_free_func(g_free), cmd_all(c, "file"), 0};
    g_autofree char *name =
        cmd_str(c, "name") ? g_strdup(cmd_str(c, "name")) : auto_name(s, d->name);
    bool ok = name_free(s, name) ||
              error_set(&err, HANOK_ERROR_BUSY, "there is a domain '%s' already", name);
    bool only_show = cmd_flag(c, "print-xml") || cmd_flag(c, "check");
    ok = ok && make_clone(&l, name, &err) && (only_show || vm_define(s, d, "", &err));
    for (unsigned i = 0; !ok && i < l.made->len; i++) {
        unlink(l.made->pdata[i]); /* ours, made a moment ago */
    }
    g_ptr_array_unref(l.made);
    if (!ok) {
        return cmd_error(&err);
    }
    if (cmd_flag(c, "print-xml")) {
        g_autofree char *text = domain_format(d, FORMAT_INACTIVE | FORMAT_SECURE);
        fputs(text, stdout);
    } else if (!cmd_flag(c, "check")) {
        cmd_say(c, "Clone '%s' created successfully.", d->name);
    }
    return 0;
}

const struct opt clone_opts[] = {
    {"original", "the domain to copy (-o)", OPT_NAMED},
    {"original-xml", "its XML instead", OPT_NAMED},
    {"name", "the copy's name (-n)", OPT_NAMED},
    {"auto-clone", "choose name and files", OPT_FLAG},
    {"file", "a disk's new file (-f); once for each", OPT_NAMED | OPT_MANY},
    {"skip-copy", "leave this disk (target) shared", OPT_NAMED | OPT_MANY},
    {"reflink", "share blocks in the file system, or fail", OPT_FLAG},
    {"linked", "qcow2 images over the original's, which must not change any more", OPT_FLAG},
    {"preserve-data", "the new files are there already", OPT_FLAG},
    {"nonsparse", "accepted", OPT_FLAG},
    {"mac", "a card's new address, or RANDOM (-m)", OPT_NAMED | OPT_MANY},
    {"reset-identity", "new machine-id, SSH host keys and host name, by cloud-init in the guest",
     OPT_FLAG},
    {"print-xml", "print the copy's XML and do nothing", OPT_FLAG},
    {"check", "only check whether it could be done", OPT_FLAG},
    {NULL}};
