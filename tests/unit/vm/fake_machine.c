/* fake_machine - the three tables of the board and the CPU that the command line looks at, so that
 * its tests say what is parsed and not what boards exist. */
#include "cpu/vcpu.h"
#include "machine/machine.h"

#include <string.h>

static const struct prop_desc blk_props[] = {
    {"drive", PROP_DRIVE, NULL, "the disk"},
    {"bootindex", PROP_U32, "-1", NULL},
    {NULL},
};
static const struct device_class blk = {
    .name = "virtio-blk-pci", .bus = "PCI", .help = "disk", .props = blk_props};
static const struct device_class testdev = {.name = "pc-testdev", .bus = "ISA"};
static const struct device_class disk = {.name = "ide-hd", .bus = "IDE"};
const struct device_class *const device_classes[] = {&blk, &testdev, &disk, NULL};

const struct device_class *device_class_find(const char *name)
{
    for (const struct device_class *const *c = device_classes; *c; c++) {
        if (!strcmp((*c)->name, name)) {
            return *c;
        }
    }
    return NULL;
}

const struct machine_type machine_types[] = {
    {"pc-q35-7.2", "q35", "board", true, 255, 1, NULL},
    {"pc-i440fx-7.2", "pc", "older board", false, 255, 2, NULL},
    {NULL},
};

const char *const *cpu_model_names(void)
{
    static const char *const names[] = {"qemu64", "max", NULL};
    return names;
}

const char *cpuid_bit_name(enum cpuid_word w, unsigned bit)
{
    return w == FEAT_1_ECX && bit == 0 ? "sse3" : NULL;
}

void accel_probe_kvm(struct accel_info *out)
{
    *out = (struct accel_info){.name = "kvm"};
}
