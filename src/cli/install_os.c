/* install_os.c - --osinfo and --os-variant: the system to be installed, and what follows from it.
 */
#include "install.h"

#include "base/util.h"

#include <stdio.h>
#include <string.h>

/* One of the two options' values. */
struct os_wish {
    const char *name;
    bool detect, require;
};

static bool read_wish(struct cmd *c, struct os_wish *w, GError **err)
{
    const char *text = cmd_str(c, "osinfo") ? cmd_str(c, "osinfo") : cmd_str(c, "os-variant");
    *w = (struct os_wish){.detect = true};
    if (!text) {
        return true;
    }
    PROPS_AUTO p = props_parse(text, "name", err);
    if (!p || !props_get_str(p, "name", &w->name, err) ||
        !props_get_str(p, "short-id", &w->name, err) || !props_get_str(p, "id", &w->name, err) ||
        !props_get_bool(p, "detect", &w->detect, err) ||
        !props_get_bool(p, "require", &w->require, err) ||
        !props_check_unused(p, "--osinfo", NULL, err)) {
        return false;
    }
    w->name = g_intern_string(w->name);
    if (w->name && (!strcmp(w->name, "detect") || !strcmp(w->name, "auto"))) {
        w->name = NULL;
    } else if (w->name) { /* a name, or none: nothing is looked at */
        w->detect = false;
        w->name = !strcmp(w->name, "none") ? NULL : w->name;
    }
    return true;
}

static struct osinfo *detect(struct cmd *c)
{
    const char *location = cmd_str(c, "location"), *cd = cmd_str(c, "cdrom");
    if (cd) {
        return osinfo_of_media(cd);
    }
    if (location && g_file_test(location, G_FILE_TEST_IS_REGULAR)) {
        return osinfo_of_media(location);
    }
    return location ? osinfo_of_tree(location) : NULL;
}

/* NULL without an error: nothing is known, which is no fault unless it was required. */
static struct osinfo *choose(struct cmd *c, GError **err)
{
    struct os_wish w;
    if (!read_wish(c, &w, err)) {
        return NULL;
    }
    struct osinfo *o = w.name ? osinfo_find(w.name) : w.detect ? detect(c) : NULL;
    if (!o && w.require) {
        error_set(err, HANOK_ERROR_NOT_FOUND,
                  "--osinfo require=on: libosinfo's database %s; --osinfo NAME names the system, "
                  "'--osinfo list' lists them",
                  osinfo_installed() ? "does not know what is to be installed"
                                     : "is not there (apt install osinfo-db)");
    } else if (!o && w.name && strcmp(w.name, "generic")) {
        fprintf(stderr, "hanok: %s '%s'; the usual defaults are taken\n",
                osinfo_installed() ? "libosinfo's database does not know"
                                   : "without libosinfo's database (apt install osinfo-db) nothing "
                                     "is known of",
                w.name);
    } else if (o && !w.name && !c->quiet) {
        fprintf(stderr, "hanok: this is %s (%s); --osinfo NAME says otherwise\n", o->name,
                o->short_id);
    }
    return o;
}

static uint64_t mib_up(int64_t bytes)
{
    return ((uint64_t)bytes + MiB - 1) / MiB;
}

/* Whatever the database does not say, or has no entry for, stays as it is for a modern Linux. */
static void follow(const struct osinfo *o, struct os_defaults *d)
{
    bool old_virtio_disk = osinfo_has_pci(o, "1af4/1001"),
         old_virtio_net = osinfo_has_pci(o, "1af4/1000");
    d->memory_min_mib = mib_up(o->ram_min);
    if (o->ram_recommended || o->ram_min) {
        d->memory_mib = MAX_OF(mib_up(o->ram_recommended), d->memory_min_mib);
    }
    if (o->storage_recommended) {
        d->disk_gib = (unsigned)(((uint64_t)o->storage_recommended + GiB - 1) / GiB);
    }
    d->vcpus = o->cpus_recommended ? o->cpus_recommended : d->vcpus;
    if (!g_hash_table_size(o->devices)) {
        return;
    }
    if (!osinfo_has(o, "http://qemu.org/chipset/x86/q35")) {
        d->machine = "pc";
    }
    if (!old_virtio_disk && !osinfo_has_pci(o, "1af4/1042")) {
        d->bus = NULL;
    }
    if (!old_virtio_net && !osinfo_has_pci(o, "1af4/1041")) {
        d->nic = osinfo_has_pci(o, "8086/10d3") ? "e1000e" : "e1000";
    }
    if (!osinfo_has_pci(o, "1af4/1050")) {
        d->video = "vga";
    }
}

bool os_defaults_find(struct cmd *c, struct os_defaults *d, GError **err)
{
    g_autoptr(GError) why = NULL;
    struct osinfo *o = choose(c, &why);
    const char *machine = cmd_str(c, "machine");
    *d = (struct os_defaults){.memory_mib = 1024,
                              .vcpus = 1,
                              .disk_gib = 20,
                              .bus = "virtio",
                              .nic = "virtio",
                              .video = "virtio",
                              .machine = "q35",
                              .os = o};
    if (o) {
        follow(o, d);
        d->local_time = o->family && g_str_has_prefix(o->family, "win");
    }
    d->machine = machine ? machine : d->machine;
    d->pc = !strcmp(d->machine, "pc") || g_str_has_prefix(d->machine, "pc-i440fx");
    d->bus = d->bus ? d->bus : d->pc ? "ide" : "sata";
    if (why) {
        g_propagate_error(err, g_steal_pointer(&why));
        return false;
    }
    return true;
}

bool os_list_asked(struct cmd *c)
{
    const char *text = cmd_str(c, "osinfo") ? cmd_str(c, "osinfo") : cmd_str(c, "os-variant");
    return text && (!strcmp(text, "list") || !strcmp(text, "help"));
}

int os_list(void)
{
    if (!osinfo_installed()) {
        return cmd_fail("libosinfo's database is not there: apt install osinfo-db");
    }
    g_autoptr(GPtrArray) names = osinfo_names();
    for (unsigned i = 0; i < names->len; i++) {
        puts(names->pdata[i]);
    }
    return 0;
}
