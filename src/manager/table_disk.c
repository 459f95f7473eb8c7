/* table_disk.c - disks and the controllers they hang on. */
#include "table.h"

/* ---- disks ---- */

WORDS(disk_types, "file", "block", "network", "volume", "dir");
WORDS(disk_formats, "raw", "qcow2", "qcow", "qed", "vmdk", "vdi", "vpc", "cow", "dmg", "bochs",
      "cloop", "iso", "auto");

#define S struct source_host
WORDS(host_transports, "tcp", "unix");
FIELDS(source_host){
    A_STR("name", name),
    A_STR("port", port),
    A_WORD("transport", transport, host_transports),
    A_STR("socket", socket),
    END,
};
ELEMENT(source_host, "host");
#undef S

#define S struct disk_source
WORDS(protocols, "nbd", "iscsi", "rbd", "sheepdog", "gluster", "http", "https", "ftp", "ftps",
      "tftp", "ssh", "nfs");
WORDS(startup_policies, "mandatory", "requisite", "optional");
FIELDS(disk_source){
    A_STR("file", file),
    A_STR("dev", dev),
    A_STR("dir", dir),
    A_WORD("protocol", protocol, protocols),
    A_STR("name", name),
    A_STR("pool", pool),
    A_STR("volume", volume),
    A_WORD("tls", tls, words_yes_no),
    A_WORD("startupPolicy", startup_policy, startup_policies),
    A_UINT("index", index),
    LIST("host", hosts, source_host),
    LIST("seclabel", seclabels, part_seclabel),
    END,
};
ELEMENT(disk_source, "source");
#undef S

#define S TYPEOF(struct backing_store, format)
FIELDS(format){A_WORD("type", type, disk_formats), END};
ELEMENT(format, "format");
#undef S

#define S struct backing_store
FIELDS(backing_store_element){
    A_ENUM("type", type, disk_types),
    A_UINT("index", index),
    KID("format", format, format),
    KID("source", source, disk_source),
    REF("backingStore", next, backing_store_element),
    END,
};
PUBLIC_ELEMENT(backing_store_element, "backingStore");
#undef S

#define S struct disk_driver
WORDS(cache_modes, "default", "none", "writethrough", "writeback", "directsync", "unsafe");
WORDS(io_modes, "threads", "native", "io_uring");
WORDS(error_policies, "stop", "report", "ignore", "enospace");
WORDS(discards, "unmap", "ignore");
WORDS(zero_detection, "off", "on", "unmap");
FIELDS(disk_driver){
    A_STR("name", name),
    A_WORD("type", type, disk_formats),
    A_WORD("cache", cache, cache_modes),
    A_WORD("error_policy", error_policy, error_policies),
    A_WORD("rerror_policy", rerror_policy, error_policies),
    A_WORD("io", io, io_modes),
    A_WORD("ioeventfd", ioeventfd, words_on_off),
    A_WORD("event_idx", event_idx, words_on_off),
    A_WORD("copy_on_read", copy_on_read, words_on_off),
    A_WORD("discard", discard, discards),
    A_UINT("iothread", iothread),
    A_WORD("detect_zeroes", detect_zeroes, zero_detection),
    A_UINT("queues", queues),
    A_UINT("queue_size", queue_size),
    A_WORD("iommu", iommu, words_on_off),
    A_WORD("ats", ats, words_on_off),
    A_WORD("packed", packed, words_on_off),
    END,
};
ELEMENT(disk_driver, "driver");
#undef S

#define S TYPEOF(struct disk, target)
WORDS(disk_buses, "virtio", "sata", "scsi", "ide", "fdc", "usb");
WORDS(trays, "open", "closed");
FIELDS(disk_target){
    A_STR("dev", dev),
    A_ENUM("bus", bus, disk_buses),
    A_WORD("tray", tray, trays),
    A_WORD("removable", removable, words_on_off),
    A_UINT("rotation_rate", rotation_rate),
    END,
};
ELEMENT(disk_target, "target");
#undef S

#define S       struct iotune
#define TUNE(n) L_UINT(#n, n)
FIELDS(iotune){
    TUNE(total_bytes_sec),
    TUNE(read_bytes_sec),
    TUNE(write_bytes_sec),
    TUNE(total_iops_sec),
    TUNE(read_iops_sec),
    TUNE(write_iops_sec),
    TUNE(total_bytes_sec_max),
    TUNE(read_bytes_sec_max),
    TUNE(write_bytes_sec_max),
    TUNE(total_iops_sec_max),
    TUNE(read_iops_sec_max),
    TUNE(write_iops_sec_max),
    L_STR("group_name", group_name),
    END,
};
ELEMENT(iotune, "iotune");
#undef S

#define S TYPEOF(struct disk, blockio)
FIELDS(blockio){
    A_UINT("logical_block_size", logical),
    A_UINT("physical_block_size", physical),
    END,
};
ELEMENT(blockio, "blockio");
#undef S

#define S struct disk
WORDS(disk_devices, "disk", "cdrom", "floppy", "lun");
WORDS(disk_snapshots, "no", "internal", "external", "manual");
FIELDS(disk_element){
    A_ENUM("type", type, disk_types),
    A_ENUM("device", device, disk_devices),
    A_WORD("model", model, words_virtio_models),
    A_WORD("snapshot", snapshot, disk_snapshots),
    KID("driver", driver, disk_driver),
    KID("source", source, disk_source),
    REF("backingStore", backing, backing_store_element),
    KID("target", target, disk_target),
    KID("iotune", iotune, iotune),
    FLAG("readonly", readonly),
    FLAG("shareable", shareable),
    FLAG("transient", transient),
    KID("blockio", blockio, blockio),
    L_STR("serial", serial),
    L_STR("wwn", wwn),
    L_STR("vendor", vendor),
    L_STR("product", product),
    INFO_FIRST,
    INFO_LAST,
    END,
};
PUBLIC_ELEMENT(disk_element, "disk");
#undef S

/* ---- controllers ---- */

#define S TYPEOF(struct controller, driver)
FIELDS(controller_driver){
    A_UINT("queues", queues),
    A_UINT("cmd_per_lun", cmd_per_lun),
    A_UINT("max_sectors", max_sectors),
    A_WORD("ioeventfd", ioeventfd, words_on_off),
    A_UINT("iothread", iothread),
    A_WORD("iommu", iommu, words_on_off),
    A_WORD("ats", ats, words_on_off),
    A_WORD("packed", packed, words_on_off),
    END,
};
ELEMENT(controller_driver, "driver");
#undef S

#define S TYPEOF(struct controller, master)
FIELDS(master){A_UINT("startport", startport), END};
ELEMENT(master, "master");
#undef S

#define S TYPEOF(struct controller, target)
FIELDS(controller_target){
    A_UINT("chassisNr", chassis_nr),
    A_UINT("chassis", chassis),
    A_UINT("port", port),
    A_UINT("busNr", bus_nr),
    A_UINT("index", index),
    A_WORD("hotplug", hotplug, words_on_off),
    END,
};
ELEMENT(controller_target, "target");
#undef S

#define S struct controller
WORDS(controller_types, "pci", "usb", "scsi", "ide", "sata", "virtio-serial", "fdc", "ccid");
WORDS(controller_models, "pci-root", "pcie-root", "pci-bridge", "dmi-to-pci-bridge",
      "pcie-to-pci-bridge", "pcie-root-port", "pcie-switch-upstream-port",
      "pcie-switch-downstream-port", "pci-expander-bus", "pcie-expander-bus", "piix3-uhci",
      "piix4-uhci", "ehci", "ich9-ehci1", "ich9-uhci1", "ich9-uhci2", "ich9-uhci3",
      "vt82c686b-uhci", "pci-ohci", "nec-xhci", "qemu-xhci", "none", "virtio-scsi", "lsilogic",
      "auto", "virtio", "virtio-transitional", "virtio-non-transitional");
FIELDS(controller_element){
    A_ENUM("type", type, controller_types),
    A_UINT("index", index),
    A_WORD("model", model, controller_models),
    A_UINT("ports", ports),
    A_UINT("vectors", vectors),
    KID("driver", driver, controller_driver),
    KID("model", model_name, part_model_name),
    KID("master", master, master),
    KID("target", target, controller_target),
    INFO_LAST,
    END,
};
PUBLIC_ELEMENT(controller_element, "controller");
#undef S
