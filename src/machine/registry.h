/* registry.h - what the device table's rows are made of; private to the registry_*.c files. */
#ifndef MACHINE_REGISTRY_H
#define MACHINE_REGISTRY_H

#include "block/on_error.h"
#include "machine_internal.h"

struct net_backend;

struct device_place { /* the properties every PCI function has */
    struct pci_bus *bus;
    uint8_t devfn;
    bool multifunction;
    const char *id;
};
bool device_place_read(struct machine *m, struct props *p, struct device_place *out, GError **err);

/* The backend a property names; *out stays as it is when the property is absent. */
bool device_chardev(struct props *p, struct chardev **out, GError **err);
bool device_netdev(struct props *p, struct net_backend **out, GError **err);
/* mac=; *given stays as it is when the property is absent. */
bool device_mac_read(struct props *p, uint8_t mac[6], bool *given, GError **err);

/* registry_disk.c: what all disks have in common */
bool device_disk_node(struct props *p, bool may_be_empty, struct blk_node **out, GError **err);
bool device_disk_policies(struct props *p, enum blk_on_error *rerror, enum blk_on_error *werror,
                          GError **err);
bool device_disk_blocks(struct props *p, uint32_t *logical, uint32_t *physical, GError **err);
/* Main thread: the event, and the pause that the policy may want. */
void device_disk_error(struct machine *m, const char *id, struct blk_node *node, bool is_write,
                       int errnum, enum blk_error_action action);

typedef bool device_create_fn(struct machine *m, const struct device_class *cls, struct props *p,
                              GError **err);

/* registry_virtio.c */
extern const struct prop_desc props_virtio_blk[], props_virtio_scsi[], props_virtio_net[],
    props_virtio_serial[], props_virtio_rng[], props_virtio_balloon[], props_virtio_port[];
device_create_fn create_virtio_blk, create_virtio_scsi, create_virtio_net, create_virtio_serial,
    create_virtio_rng, create_virtio_balloon, create_virtserialport, create_virtconsole;

/* Every virtio function has these. */
#define VIRTIO_COMMON_COUNT 4 /* the next stand first in their lists */
#define VIRTIO_COMMON                                                                              \
    {"disable-legacy", PROP_ONOFFAUTO, "auto", "no legacy interface; auto: behind a port only"},   \
        {"disable-modern", PROP_BOOL, "off", "no modern interface"},                               \
        {"vectors", PROP_U32, NULL, "MSI-X vectors, 0: INTx only"},                                \
    {                                                                                              \
        "ats", PROP_BOOL, "off", "address translation services (refused)"                          \
    }

#define VIRTIO_MMIO_BUS "virtio-mmio-bus" /* of a class */
struct virtio_place;
bool virtio_common_read(struct machine *m, const struct device_class *cls, struct props *p,
                        struct virtio_place *out, GError **err);

/* option_rom.c: romfile=, rombar= of the PCI function just made. */
bool option_rom_add(struct machine *m, const struct device_class *cls, struct props *p,
                    struct pci_dev *d, GError **err);

/* registry_net.c */
extern const struct prop_desc props_e1000[], props_e1000e[];
device_create_fn create_e1000, create_e1000e;

/* registry_ata.c */
extern const struct prop_desc props_ahci[], props_ide_drive[];
device_create_fn create_ahci, create_ide, create_ide_hd, create_ide_cd;

/* registry_nvme.c */
extern const struct prop_desc props_nvme[];
device_create_fn create_nvme;

/* registry_scsi.c */
extern const struct prop_desc props_scsi_drive[];
device_create_fn create_scsi_hd, create_scsi_cd;
/* registry_usb.c */
extern const struct prop_desc props_xhci[], props_ehci[], props_uhci[], props_usb_hid[],
    props_usb_hub[], props_usb_storage[], props_usb_host[];
device_create_fn create_xhci, create_ehci, create_uhci, create_usb_hid, create_usb_hub,
    create_usb_storage, create_usb_host;

/* registry_sound.c */
extern const struct prop_desc props_hda[], props_hda_codec[];
device_create_fn create_intel_hda, create_ich9_intel_hda, create_hda_output, create_hda_duplex,
    create_hda_micro;

/* registry_display.c */
extern const struct prop_desc props_vga[], props_virtio_gpu[], props_virtio_vga[],
    props_virtio_input[], props_ramfb[], props_bochs[];
device_create_fn create_vga, create_virtio_gpu, create_virtio_vga, create_virtio_input,
    create_ramfb, create_bochs;

/* hotplug_cpu.c */
#define CPU_DEVICE_SUFFIX "-x86_64-cpu"
extern const struct prop_desc props_cpu[];
device_create_fn create_cpu;

/* registry_board.c */
extern const struct prop_desc props_root_port[], props_pci_testdev[], props_isa_serial[],
    props_debugcon[], props_debug_exit[], props_pc_testdev[], props_i6300esb[], props_pvpanic[],
    props_pvpanic_pci[], props_pci_bridge[], props_vmcoreinfo[];
device_create_fn create_root_port, create_pci_testdev, create_isa_serial, create_debugcon,
    create_debug_exit, create_pc_testdev, create_i6300esb, create_pvpanic, create_pvpanic_pci,
    create_pci_bridge, create_pcie_pci_bridge, create_vmcoreinfo;

#endif
