/* verb_caps.c - hanok domcapabilities: what a domain can have here, in libvirt's XML.
 *
 * The emulator is asked (-device help, -cpu help): what it lists is what is told. */
#include "host.h"

#include "base/util.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { MAX_VCPUS = 288 };

struct caps {
    char *emulator, *devices, *cpus; /* what it says about itself */
    const char *type, *machine;
    bool efi;
};

/* One value of an enumeration, there when the emulator has that device (NULL: always). */
struct choice {
    const char *value, *device;
};

static const struct choice disk_devices[] = {{"disk", NULL}, {"cdrom", "ide-cd"}, {NULL, NULL}};
static const struct choice buses[] = {
    {"ide", "ide-hd"},      {"scsi", "scsi-hd"},   {"virtio", "virtio-blk-pci"},
    {"usb", "usb-storage"}, {"sata", "ich9-ahci"}, {NULL, NULL}};
static const struct choice disk_models[] = {
    {"virtio", "virtio-blk-pci"},
    {"virtio-transitional", "virtio-blk-pci-transitional"},
    {"virtio-non-transitional", "virtio-blk-pci-non-transitional"},
    {NULL, NULL}};
static const struct choice graphics[] = {{"vnc", NULL}, {NULL, NULL}};
static const struct choice videos[] = {{"vga", "VGA"},
                                       {"virtio", "virtio-gpu-pci"},
                                       {"bochs", "bochs-display"},
                                       {"ramfb", "ramfb"},
                                       {"none", NULL},
                                       {NULL, NULL}};
static const struct choice rng_models[] = {{"virtio", "virtio-rng-pci"}, {NULL, NULL}};
static const struct choice rng_backends[] = {{"random", NULL}, {"builtin", NULL}, {NULL, NULL}};
static const struct choice channels[] = {{"pty", NULL}, {"unix", NULL}, {NULL, NULL}};
static const struct choice hostdev_modes[] = {{"subsystem", NULL}, {NULL, NULL}};
static const struct choice startup[] = {{"default", NULL}, {NULL, NULL}};
static const struct choice hostdev_types[] = {
    {"usb", "usb-host"}, {"pci", "vfio-pci"}, {NULL, NULL}};
static const struct choice memory[] = {
    {"file", NULL}, {"anonymous", NULL}, {"memfd", NULL}, {NULL, NULL}};

static bool has_device(const struct caps *k, const char *device)
{
    g_autofree char *word = device ? g_strdup_printf("name \"%s\"", device) : NULL;
    return !word || strstr(k->devices, word);
}

static void print_enum(const struct caps *k, const char *name, const struct choice *list)
{
    printf("      <enum name='%s'>\n", name);
    for (; list->value; list++) {
        if (has_device(k, list->device)) {
            printf("        <value>%s</value>\n", list->value);
        }
    }
    puts("      </enum>");
}

static json_t *values(const struct caps *k, const struct choice *list)
{
    json_t *a = json_array();
    for (; list->value; list++) {
        if (has_device(k, list->device)) {
            json_array_append_new(a, json_string(list->value));
        }
    }
    return a;
}

/* The models of -cpu help, without those that are modes in the XML. */
static GPtrArray *models(const struct caps *k)
{
    GPtrArray *list = g_ptr_array_new_with_free_func(g_free);
    g_auto(GStrv) lines = g_strsplit(k->cpus, "\n", -1);
    for (char **l = lines; *l && !g_str_has_prefix(*l, "Recognised"); l++) {
        char *name = g_strstrip(*l);
        name[strcspn(name, " ")] = 0;
        if (*name && !strchr(name, ':') && strcmp(*l, "host") && strcmp(name, "max") &&
            strcmp(name, "Available")) {
            g_ptr_array_add(list, g_strdup(name));
        }
    }
    return list;
}

static void print_os(const struct caps *k)
{
    printf("  <os supported='yes'>\n    <enum name='firmware'>%s</enum>\n"
           "    <loader supported='yes'>\n      <enum name='type'>\n        <value>rom</value>\n"
           "        <value>pflash</value>\n      </enum>\n      <enum name='readonly'>\n"
           "        <value>yes</value>\n        <value>no</value>\n      </enum>\n"
           "      <enum name='secure'>\n        <value>no</value>\n      </enum>\n"
           "    </loader>\n  </os>\n",
           k->efi ? "<value>efi</value>" : "");
}

static void print_cpu(const struct caps *k)
{
    g_autoptr(GPtrArray) list = models(k);
    printf("  <cpu>\n    <mode name='host-passthrough' supported='%s'/>\n"
           "    <mode name='maximum' supported='yes'/>\n"
           "    <mode name='host-model' supported='yes'/>\n"
           "    <mode name='custom' supported='yes'>\n",
           strcmp(k->type, "kvm") ? "no" : "yes");
    for (unsigned i = 0; i < list->len; i++) {
        printf("      <model usable='unknown' vendor='unknown'>%s</model>\n",
               (char *)list->pdata[i]);
    }
    puts("    </mode>\n  </cpu>");
}

static void print_devices(const struct caps *k)
{
    puts("  <memoryBacking supported='yes'>");
    print_enum(k, "sourceType", memory);
    puts("  </memoryBacking>\n  <devices>\n    <disk supported='yes'>");
    print_enum(k, "diskDevice", disk_devices);
    print_enum(k, "bus", buses);
    print_enum(k, "model", disk_models);
    puts("    </disk>\n    <graphics supported='yes'>");
    print_enum(k, "type", graphics);
    puts("    </graphics>\n    <video supported='yes'>");
    print_enum(k, "modelType", videos);
    puts("    </video>\n    <hostdev supported='yes'>");
    print_enum(k, "mode", hostdev_modes);
    print_enum(k, "startupPolicy", startup);
    print_enum(k, "subsysType", hostdev_types);
    puts("    </hostdev>\n    <rng supported='yes'>");
    print_enum(k, "model", rng_models);
    print_enum(k, "backendModel", rng_backends);
    puts("    </rng>\n    <filesystem supported='no'/>\n    <tpm supported='no'/>\n"
         "    <redirdev supported='no'/>\n    <channel supported='yes'>");
    print_enum(k, "type", channels);
    puts("    </channel>\n  </devices>");
}

static int print_caps(const struct caps *k)
{
    g_autofree char *path = g_markup_escape_text(k->emulator, -1);
    printf("<domainCapabilities>\n  <path>%s</path>\n  <domain>%s</domain>\n"
           "  <machine>%s</machine>\n  <arch>x86_64</arch>\n  <vcpu max='%d'/>\n"
           "  <iothreads supported='yes'/>\n",
           path, k->type, k->machine, MAX_VCPUS);
    print_os(k);
    print_cpu(k);
    print_devices(k);
    printf("  <features>\n    <vmcoreinfo supported='%s'/>\n    <genid supported='%s'/>\n"
           "    <backingStoreInput supported='yes'/>\n    <backup supported='no'/>\n"
           "  </features>\n</domainCapabilities>\n",
           has_device(k, "vmcoreinfo") ? "yes" : "no", has_device(k, "vmgenid") ? "yes" : "no");
    return 0;
}

static json_t *caps_json(const struct caps *k)
{
    json_t *cpus = json_array();
    g_autoptr(GPtrArray) list = models(k);
    for (unsigned i = 0; i < list->len; i++) {
        json_array_append_new(cpus, json_string(list->pdata[i]));
    }
    return json_pack("{sssssssisosososososo}", "path", k->emulator, "domain", k->type, "machine",
                     k->machine, "max-vcpus", MAX_VCPUS, "cpu-models", cpus, "disk-buses",
                     values(k, buses), "video", values(k, videos), "hostdev",
                     values(k, hostdev_types), "memory-sources", values(k, memory), "rng-backends",
                     values(k, rng_backends));
}

/* The words of the emulator about its devices or processors. */
static char *ask(const char *emulator, const char *option, GError **err)
{
    char *argv[] = {(char *)emulator, (char *)option, "help", NULL}, *out = NULL;
    return run_tool(argv, &out, err) ? out : NULL;
}

int domcapabilities_run(struct cmd *c)
{
    g_autoptr(GError) err = NULL;
    const char *own = cmd_str(c, "emulatorbin"), *machine = cmd_str(c, "machine"),
               *arch = cmd_str(c, "arch"), *type = cmd_str(c, "virttype");
    bool i440fx = machine && (!strcmp(machine, "pc") || g_str_has_prefix(machine, "pc-i440fx"));
    struct caps k = {.type = type           ? type
                             : kvm_usable() ? "kvm"
                                            : "qemu",
                     .machine = i440fx ? "pc-i440fx-7.2" : "pc-q35-7.2",
                     .efi = !access("/usr/share/OVMF/OVMF_CODE_4M.fd", R_OK)};
    if (strcmp(k.type, "kvm") && strcmp(k.type, "qemu")) {
        return cmd_fail("--virttype is qemu or kvm, not '%s'", k.type);
    }
    if (arch && strcmp(arch, "x86_64")) {
        return cmd_fail("--arch is x86_64 here, not '%s'", arch);
    }
    k.emulator = own ? g_strdup(own) : program_beside("hanok-vm");
    k.emulator = k.emulator ? k.emulator : g_strdup("/usr/bin/hanok-vm");
    k.devices = ask(k.emulator, "-device", &err);
    k.cpus = k.devices ? ask(k.emulator, "-cpu", &err) : NULL;
    int status = 1;
    if (k.cpus) {
        status = c->json ? cmd_json(caps_json(&k)) : print_caps(&k);
    }
    g_free(k.emulator);
    g_free(k.devices);
    g_free(k.cpus);
    return err ? cmd_error(&err) : status;
}

const struct opt domcapabilities_opts[] = {{"virttype", "qemu or kvm", OPT_NAMED},
                                           {"emulatorbin", "of another emulator", OPT_NAMED},
                                           {"arch", "x86_64", OPT_NAMED},
                                           {"machine", "q35 or pc", OPT_NAMED},
                                           {NULL}};
