/* domain_table.c - which XML stands for which member: the tables of domain.h's structs.
 *
 * The order of rows is the order in which libvirt writes them. */
#include "manager/domain.h"

/* One table per struct: S is the struct's type while its rows are written. */
#define O(m) offsetof(S, m)
#define A_STR(n, m)                                                                                \
    {                                                                                              \
        n, XML_ATTR, XML_STR, O(m)                                                                 \
    }
#define A_WORD(n, m, w)                                                                            \
    {                                                                                              \
        n, XML_ATTR, XML_WORD, O(m), w                                                             \
    }
#define A_ENUM(n, m, w)                                                                            \
    {                                                                                              \
        n, XML_ATTR, XML_ENUM, O(m), w                                                             \
    }
#define A_UINT(n, m)                                                                               \
    {                                                                                              \
        n, XML_ATTR, XML_UINT, O(m)                                                                \
    }
#define A_INT(n, m)                                                                                \
    {                                                                                              \
        n, XML_ATTR, XML_INT, O(m)                                                                 \
    }
#define BODY_STR(m)                                                                                \
    {                                                                                              \
        "text", XML_BODY, XML_STR, O(m)                                                            \
    }
#define BODY_UINT(m)                                                                               \
    {                                                                                              \
        "text", XML_BODY, XML_UINT, O(m)                                                           \
    }
#define L_STR(n, m)                                                                                \
    {                                                                                              \
        n, XML_LEAF, XML_STR, O(m)                                                                 \
    }
#define L_WORD(n, m, w)                                                                            \
    {                                                                                              \
        n, XML_LEAF, XML_WORD, O(m), w                                                             \
    }
#define L_UINT(n, m)                                                                               \
    {                                                                                              \
        n, XML_LEAF, XML_UINT, O(m)                                                                \
    }
#define L_INT(n, m)                                                                                \
    {                                                                                              \
        n, XML_LEAF, XML_INT, O(m)                                                                 \
    }
#define FLAG(n, m)                                                                                 \
    {                                                                                              \
        n, XML_FLAG, XML_STR, O(m)                                                                 \
    }
#define RAW(n, m)                                                                                  \
    {                                                                                              \
        n, XML_RAW, XML_STR, O(m)                                                                  \
    }
#define KID(n, m, e)                                                                               \
    {                                                                                              \
        n, XML_KID, XML_STR, O(m), NULL, &(e)                                                      \
    }
#define REF(n, m, e)                                                                               \
    {                                                                                              \
        n, XML_REF, XML_STR, O(m), NULL, &(e)                                                      \
    }
#define LIST(n, m, e)                                                                              \
    {                                                                                              \
        n, XML_LIST, XML_STR, O(m), NULL, &(e)                                                     \
    }
#define END                                                                                        \
    {                                                                                              \
        NULL                                                                                       \
    }
#define ELEMENT(var, n)        static const struct xml_element var = {n, sizeof(S), var##_fields}
#define PUBLIC_ELEMENT(var, n) const struct xml_element var = {n, sizeof(S), var##_fields}
#define FIELDS(var)            static const struct xml_field var##_fields[] =
#define WORDS(var, ...)        static const char *const var[] = {NULL, __VA_ARGS__, NULL}
#define TYPEOF(T, m)           __typeof__(((T *)0)->m)

WORDS(yes_no, "yes", "no");
WORDS(on_off, "on", "off");

/* ---- parts ---- */

#define S struct address
WORDS(address_types, "pci", "drive", "virtio-serial", "usb", "isa");
FIELDS(address){
    A_ENUM("type", type, address_types),
    A_UINT("domain", domain),
    A_UINT("controller", controller),
    A_UINT("bus", bus),
    A_UINT("slot", slot),
    A_UINT("function", function),
    A_WORD("multifunction", multifunction, on_off),
    A_UINT("target", target),
    A_UINT("unit", unit),
    A_STR("port", port),
    A_STR("iobase", iobase),
    A_STR("irq", irq),
    END,
};
ELEMENT(address, "address");
#undef S

#define S struct named
FIELDS(alias){A_STR("name", name), END};
ELEMENT(alias, "alias");
FIELDS(model_name){A_STR("name", name), END};
ELEMENT(model_name, "model");
#undef S

#define S struct boot_order
FIELDS(boot_order){A_UINT("order", order), A_STR("loadparm", loadparm), END};
ELEMENT(boot_order, "boot");
#undef S

#define S struct rom
FIELDS(rom){A_WORD("enabled", enabled, yes_no), A_WORD("bar", bar, on_off), A_STR("file", file),
            END};
ELEMENT(rom, "rom");
#undef S

#define S TYPEOF(struct dev_info, acpi)
FIELDS(dev_acpi){A_UINT("index", index), END};
ELEMENT(dev_acpi, "acpi");
#undef S

/* What every device may have: before and after its own elements. */
#define INFO_FIRST KID("boot", info.boot, boot_order)
#define INFO_LAST                                                                                  \
    KID("alias", info.alias, alias), KID("rom", info.rom, rom), KID("acpi", info.acpi, dev_acpi),  \
        KID("address", info.address, address)

#define S struct virtio_driver
FIELDS(virtio_driver){
    A_WORD("iommu", iommu, on_off),
    A_WORD("ats", ats, on_off),
    A_WORD("packed", packed, on_off),
    END,
};
ELEMENT(virtio_driver, "driver");
#undef S

#define S struct scaled
#define SCALED(var, n)                                                                             \
    FIELDS(var){A_UINT("slots", slots), A_STR("unit", unit),                                       \
                A_WORD("dumpCore", dump_core, on_off), BODY_UINT(value), END};                     \
    ELEMENT(var, n)
SCALED(max_memory, "maxMemory");
SCALED(memory, "memory");
SCALED(current_memory, "currentMemory");
SCALED(hard_limit, "hard_limit");
SCALED(soft_limit, "soft_limit");
SCALED(swap_hard_limit, "swap_hard_limit");
#undef S

#define S struct seclabel
WORDS(seclabel_types, "dynamic", "static", "none");
FIELDS(seclabel){
    A_WORD("type", type, seclabel_types),
    A_STR("model", model),
    A_WORD("relabel", relabel, yes_no),
    L_STR("label", label),
    L_STR("imagelabel", imagelabel),
    L_STR("baselabel", baselabel),
    END,
};
ELEMENT(seclabel, "seclabel");
#undef S

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
    A_WORD("tls", tls, yes_no),
    A_WORD("startupPolicy", startup_policy, startup_policies),
    A_UINT("index", index),
    LIST("host", hosts, source_host),
    LIST("seclabel", seclabels, seclabel),
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
    A_WORD("ioeventfd", ioeventfd, on_off),
    A_WORD("event_idx", event_idx, on_off),
    A_WORD("copy_on_read", copy_on_read, on_off),
    A_WORD("discard", discard, discards),
    A_UINT("iothread", iothread),
    A_WORD("detect_zeroes", detect_zeroes, zero_detection),
    A_UINT("queues", queues),
    A_UINT("queue_size", queue_size),
    A_WORD("iommu", iommu, on_off),
    A_WORD("ats", ats, on_off),
    A_WORD("packed", packed, on_off),
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
    A_WORD("removable", removable, on_off),
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
WORDS(virtio_models, "virtio", "virtio-transitional", "virtio-non-transitional");
WORDS(disk_snapshots, "no", "internal", "external", "manual");
FIELDS(disk_element){
    A_ENUM("type", type, disk_types),
    A_ENUM("device", device, disk_devices),
    A_WORD("model", model, virtio_models),
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
    A_WORD("ioeventfd", ioeventfd, on_off),
    A_UINT("iothread", iothread),
    A_WORD("iommu", iommu, on_off),
    A_WORD("ats", ats, on_off),
    A_WORD("packed", packed, on_off),
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
    A_WORD("hotplug", hotplug, on_off),
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
    KID("model", model_name, model_name),
    KID("master", master, master),
    KID("target", target, controller_target),
    INFO_LAST,
    END,
};
PUBLIC_ELEMENT(controller_element, "controller");
#undef S

/* ---- network cards ---- */

#define S struct port_range
FIELDS(port_range){
    A_UINT("start", start),
    A_UINT("end", end),
    A_UINT("to", to),
    A_WORD("exclude", exclude, yes_no),
    END,
};
ELEMENT(port_range, "range");
#undef S

#define S struct port_forward
WORDS(forward_protos, "tcp", "udp");
FIELDS(port_forward){
    A_WORD("proto", proto, forward_protos),
    A_STR("address", address),
    A_STR("dev", dev),
    LIST("range", ranges, port_range),
    END,
};
ELEMENT(port_forward, "portForward");
#undef S

#define S struct net_address
WORDS(families, "ipv4", "ipv6");
FIELDS(net_address){
    A_STR("address", address),
    A_WORD("family", family, families),
    A_UINT("prefix", prefix),
    END,
};
ELEMENT(net_address, "ip");
#undef S

#define S TYPEOF(struct interface, mac)
WORDS(mac_types, "generated", "static");
FIELDS(mac){
    A_STR("address", address),
    A_WORD("type", type, mac_types),
    A_WORD("check", check, yes_no),
    END,
};
ELEMENT(mac, "mac");
#undef S

#define S TYPEOF(struct interface, source)
FIELDS(net_source){
    A_STR("type", type),
    A_STR("path", path),
    A_STR("mode", mode),
    A_STR("network", network),
    A_STR("portgroup", portgroup),
    A_STR("portid", portid),
    A_STR("bridge", bridge),
    A_STR("dev", dev),
    END,
};
ELEMENT(net_source, "source");
#undef S

#define S TYPEOF(struct interface, target)
FIELDS(net_target){A_STR("dev", dev), A_WORD("managed", managed, yes_no), END};
ELEMENT(net_target, "target");
#undef S

#define S TYPEOF(struct interface, model)
FIELDS(net_model){A_STR("type", type), END};
ELEMENT(net_model, "model");
#undef S

#define S TYPEOF(struct interface, driver)
WORDS(net_drivers, "vhost", "qemu");
WORDS(tx_modes, "iothread", "timer");
FIELDS(net_driver){
    A_WORD("name", name, net_drivers),
    A_WORD("txmode", txmode, tx_modes),
    A_WORD("ioeventfd", ioeventfd, on_off),
    A_WORD("event_idx", event_idx, on_off),
    A_UINT("queues", queues),
    A_UINT("rx_queue_size", rx_queue_size),
    A_UINT("tx_queue_size", tx_queue_size),
    A_WORD("iommu", iommu, on_off),
    A_WORD("ats", ats, on_off),
    A_WORD("packed", packed, on_off),
    END,
};
ELEMENT(net_driver, "driver");
#undef S

#define S TYPEOF(struct interface, backend)
WORDS(net_backends, "default", "passt");
FIELDS(net_backend){A_WORD("type", type, net_backends), A_STR("logFile", log_file), END};
ELEMENT(net_backend, "backend");
#undef S

#define S struct filter_param
FIELDS(filter_param){A_STR("name", name), A_STR("value", value), END};
ELEMENT(filter_param, "parameter");
#undef S

#define S TYPEOF(struct interface, filterref)
FIELDS(filterref){A_STR("filter", filter), LIST("parameter", params, filter_param), END};
ELEMENT(filterref, "filterref");
#undef S

#define S TYPEOF(struct interface, link)
WORDS(link_states, "up", "down");
FIELDS(link_state){A_WORD("state", state, link_states), END};
ELEMENT(link_state, "link");
#undef S

#define S TYPEOF(struct interface, mtu)
FIELDS(mtu){A_UINT("size", size), END};
ELEMENT(mtu, "mtu");
#undef S

#define S struct interface
WORDS(net_types, "user", "network", "bridge", "ethernet", "direct", "vhostuser");
FIELDS(interface_element){
    A_ENUM("type", type, net_types),
    A_WORD("trustGuestRxFilters", trust_guest, yes_no),
    KID("mac", mac, mac),
    KID("source", source, net_source),
    LIST("ip", ips, net_address),
    LIST("portForward", forwards, port_forward),
    KID("target", target, net_target),
    KID("model", model, net_model),
    KID("driver", driver, net_driver),
    KID("backend", backend, net_backend),
    KID("filterref", filterref, filterref),
    KID("link", link, link_state),
    KID("mtu", mtu, mtu),
    INFO_FIRST,
    INFO_LAST,
    END,
};
PUBLIC_ELEMENT(interface_element, "interface");
#undef S

/* ---- character devices ---- */

#define S TYPEOF(struct chr, source)
WORDS(chr_modes, "bind", "connect");
FIELDS(chr_source){
    A_STR("channel", channel),  A_WORD("mode", mode, chr_modes),
    A_STR("path", path),        A_STR("host", host),
    A_STR("service", service),  A_WORD("append", append, on_off),
    A_WORD("tls", tls, yes_no), END,
};
ELEMENT(chr_source, "source");
#undef S

#define S TYPEOF(struct chr, protocol)
WORDS(chr_protocols, "raw", "telnet", "telnets", "tls");
FIELDS(chr_protocol){A_WORD("type", type, chr_protocols), END};
ELEMENT(chr_protocol, "protocol");
#undef S

#define S TYPEOF(struct chr, target)
WORDS(chr_targets, "isa-serial", "pci-serial", "usb-serial", "serial", "virtio");
WORDS(chr_states, "connected", "disconnected");
FIELDS(chr_target){
    A_ENUM("type", type, chr_targets),  A_STR("name", name),
    A_WORD("state", state, chr_states), A_UINT("port", port),
    KID("model", model, model_name),    END,
};
ELEMENT(chr_target, "target");
#undef S

#define S TYPEOF(struct chr, log)
FIELDS(chr_log){A_STR("file", file), A_WORD("append", append, on_off), END};
ELEMENT(chr_log, "log");
#undef S

#define S struct chr
WORDS(chr_types, "pty", "file", "unix", "tcp", "udp", "dev", "pipe", "null", "stdio", "vc",
      "spicevmc");
static const struct xml_field chr_fields[] = {
    A_ENUM("type", type, chr_types),
    A_STR("tty", tty),
    KID("source", source, chr_source),
    KID("protocol", protocol, chr_protocol),
    KID("log", log, chr_log),
    KID("target", target, chr_target),
    INFO_LAST,
    END,
};
const struct xml_element chr_serial_element = {"serial", sizeof(S), chr_fields};
const struct xml_element chr_parallel_element = {"parallel", sizeof(S), chr_fields};
const struct xml_element chr_console_element = {"console", sizeof(S), chr_fields};
const struct xml_element chr_channel_element = {"channel", sizeof(S), chr_fields};
#undef S

/* ---- other devices ---- */

#define S struct input
WORDS(input_types, "tablet", "mouse", "keyboard");
WORDS(input_buses, "ps2", "usb", "virtio");
FIELDS(input_element){
    A_WORD("type", type, input_types),
    A_WORD("bus", bus, input_buses),
    A_WORD("model", model, virtio_models),
    KID("driver", driver, virtio_driver),
    INFO_LAST,
    END,
};
PUBLIC_ELEMENT(input_element, "input");
#undef S

#define S struct graphics_listen
WORDS(listen_types, "address", "network", "socket", "none");
FIELDS(graphics_listen){
    A_WORD("type", type, listen_types),
    A_STR("address", address),
    A_STR("network", network),
    A_STR("socket", socket),
    A_WORD("fromConfig", from_config, on_off),
    END,
};
ELEMENT(graphics_listen, "listen");
#undef S

#define S TYPEOF(struct graphics, image)
WORDS(compressions, "auto_glz", "auto_lz", "quic", "glz", "lz", "off");
FIELDS(graphics_image){A_WORD("compression", compression, compressions), END};
ELEMENT(graphics_image, "image");
#undef S

#define S TYPEOF(struct graphics, gl)
FIELDS(graphics_gl){A_WORD("enable", enable, yes_no), END};
ELEMENT(graphics_gl, "gl");
#undef S

#define S struct graphics
WORDS(graphics_types, "vnc", "spice", "sdl", "egl-headless");
WORDS(share_policies, "allow-exclusive", "force-shared", "ignore");
FIELDS(graphics_element){
    A_WORD("type", type, graphics_types),
    A_INT("port", port),
    A_INT("tlsPort", tls_port),
    A_WORD("autoport", autoport, yes_no),
    A_INT("websocket", websocket),
    A_STR("display", display),
    A_STR("socket", socket),
    A_STR("listen", listen),
    A_STR("keymap", keymap),
    A_STR("passwd", passwd),
    A_STR("passwdValidTo", passwd_valid_to),
    A_WORD("sharePolicy", share_policy, share_policies),
    A_WORD("powerControl", power_control, yes_no),
    LIST("listen", listens, graphics_listen),
    KID("image", image, graphics_image),
    KID("gl", gl, graphics_gl),
    END,
};
PUBLIC_ELEMENT(graphics_element, "graphics");
#undef S

#define S struct audio
WORDS(audio_types, "none", "alsa", "coreaudio", "dbus", "jack", "oss", "pulseaudio", "sdl", "spice",
      "file");
FIELDS(audio){A_UINT("id", id), A_WORD("type", type, audio_types), END};
ELEMENT(audio, "audio");
#undef S

#define S TYPEOF(struct sound, codec)
WORDS(codecs, "duplex", "micro", "output");
FIELDS(sound_codec){A_WORD("type", type, codecs), END};
ELEMENT(sound_codec, "codec");
#undef S

#define S TYPEOF(struct sound, audio)
FIELDS(sound_audio){A_UINT("id", id), END};
ELEMENT(sound_audio, "audio");
#undef S

#define S struct sound
WORDS(sound_models, "ich9", "ich6", "ich7", "ac97", "es1370", "sb16", "pcspk", "usb");
FIELDS(sound_element){
    A_WORD("model", model, sound_models),
    KID("codec", codec, sound_codec),
    KID("audio", audio, sound_audio),
    INFO_LAST,
    END,
};
PUBLIC_ELEMENT(sound_element, "sound");
#undef S

#define S TYPEOF(struct video, model.acceleration)
FIELDS(acceleration){A_WORD("accel3d", accel3d, yes_no), END};
ELEMENT(acceleration, "acceleration");
#undef S

#define S TYPEOF(struct video, model.resolution)
FIELDS(resolution){A_UINT("x", x), A_UINT("y", y), END};
ELEMENT(resolution, "resolution");
#undef S

#define S TYPEOF(struct video, model)
WORDS(video_types, "virtio", "vga", "qxl", "bochs", "cirrus", "vmvga", "ramfb", "none");
FIELDS(video_model){
    A_WORD("type", type, video_types),
    A_UINT("ram", ram),
    A_UINT("vram", vram),
    A_UINT("vram64", vram64),
    A_UINT("vgamem", vgamem),
    A_UINT("heads", heads),
    A_WORD("primary", primary, yes_no),
    A_WORD("blob", blob, on_off),
    KID("acceleration", acceleration, acceleration),
    KID("resolution", resolution, resolution),
    END,
};
ELEMENT(video_model, "model");
#undef S

#define S struct video
FIELDS(video_element){
    KID("driver", driver, virtio_driver),
    KID("model", model, video_model),
    INFO_LAST,
    END,
};
PUBLIC_ELEMENT(video_element, "video");
#undef S

#define S struct hostdev_address
FIELDS(hostdev_address){
    A_UINT("domain", domain),
    A_UINT("bus", bus),
    A_UINT("slot", slot),
    A_UINT("function", function),
    A_UINT("device", device),
    A_STR("uuid", uuid),
    END,
};
ELEMENT(hostdev_address, "address");
#undef S

#define S TYPEOF(struct hostdev, source.vendor)
FIELDS(usb_vendor){A_STR("id", id), END};
ELEMENT(usb_vendor, "vendor");
#undef S
#define S TYPEOF(struct hostdev, source.product)
FIELDS(usb_product){A_STR("id", id), END};
ELEMENT(usb_product, "product");
#undef S

#define S TYPEOF(struct hostdev, source)
FIELDS(hostdev_source){
    KID("vendor", vendor, usb_vendor),
    KID("product", product, usb_product),
    KID("address", address, hostdev_address),
    END,
};
ELEMENT(hostdev_source, "source");
#undef S

#define S TYPEOF(struct hostdev, driver)
WORDS(hostdev_drivers, "vfio", "kvm", "xen");
FIELDS(hostdev_driver){A_WORD("name", name, hostdev_drivers), END};
ELEMENT(hostdev_driver, "driver");
#undef S

#define S struct hostdev
WORDS(hostdev_modes, "subsystem", "capabilities");
WORDS(hostdev_types, "pci", "usb", "scsi", "mdev");
WORDS(hostdev_models, "vfio-pci", "vfio-ccw", "vfio-ap");
FIELDS(hostdev_element){
    A_WORD("mode", mode, hostdev_modes),
    A_WORD("type", type, hostdev_types),
    A_WORD("managed", managed, yes_no),
    A_WORD("model", model, hostdev_models),
    KID("driver", driver, hostdev_driver),
    KID("source", source, hostdev_source),
    INFO_FIRST,
    INFO_LAST,
    END,
};
PUBLIC_ELEMENT(hostdev_element, "hostdev");
#undef S

#define S struct redirdev
WORDS(redir_buses, "usb");
WORDS(redir_types, "spicevmc", "tcp");
FIELDS(redirdev_element){
    A_WORD("bus", bus, redir_buses), A_WORD("type", type, redir_types), INFO_FIRST, INFO_LAST, END,
};
PUBLIC_ELEMENT(redirdev_element, "redirdev");
#undef S

#define S struct hub
WORDS(hub_types, "usb");
FIELDS(hub_element){A_WORD("type", type, hub_types), INFO_LAST, END};
PUBLIC_ELEMENT(hub_element, "hub");
#undef S

#define S struct watchdog
WORDS(watchdog_models, "i6300esb", "ib700", "itco", "diag288");
WORDS(watchdog_actions, "reset", "shutdown", "poweroff", "pause", "none", "dump", "inject-nmi");
FIELDS(watchdog_element){
    A_WORD("model", model, watchdog_models),
    A_WORD("action", action, watchdog_actions),
    INFO_LAST,
    END,
};
PUBLIC_ELEMENT(watchdog_element, "watchdog");
#undef S

#define S TYPEOF(struct memballoon, stats)
FIELDS(balloon_stats){A_UINT("period", period), END};
ELEMENT(balloon_stats, "stats");
#undef S

#define S struct memballoon
WORDS(balloon_models, "virtio", "none", "virtio-transitional", "virtio-non-transitional", "xen");
FIELDS(memballoon_element){
    A_WORD("model", model, balloon_models),
    A_WORD("autodeflate", autodeflate, on_off),
    A_WORD("freePageReporting", free_page_reporting, on_off),
    KID("stats", stats, balloon_stats),
    KID("driver", driver, virtio_driver),
    INFO_LAST,
    END,
};
PUBLIC_ELEMENT(memballoon_element, "memballoon");
#undef S

#define S TYPEOF(struct rng, rate)
FIELDS(rng_rate){A_UINT("bytes", bytes), A_UINT("period", period), END};
ELEMENT(rng_rate, "rate");
#undef S

#define S TYPEOF(struct rng, backend)
WORDS(rng_backends, "random", "egd", "builtin");
FIELDS(rng_backend){
    A_WORD("model", model, rng_backends),
    A_WORD("type", type, chr_types),
    BODY_STR(path),
    END,
};
ELEMENT(rng_backend, "backend");
#undef S

#define S struct rng
FIELDS(rng_element){
    A_WORD("model", model, virtio_models),
    KID("rate", rate, rng_rate),
    KID("backend", backend, rng_backend),
    KID("driver", driver, virtio_driver),
    INFO_LAST,
    END,
};
PUBLIC_ELEMENT(rng_element, "rng");
#undef S

#define S struct panic
WORDS(panic_models, "isa", "pseries", "hyperv", "s390", "pvpanic");
FIELDS(panic_element){A_WORD("model", model, panic_models), INFO_LAST, END};
PUBLIC_ELEMENT(panic_element, "panic");
#undef S

#define S TYPEOF(struct filesystem, driver)
WORDS(fs_drivers, "path", "handle", "virtiofs");
FIELDS(fs_driver){A_WORD("type", type, fs_drivers), A_UINT("queue", queue), END};
ELEMENT(fs_driver, "driver");
#undef S

#define S TYPEOF(struct filesystem, source)
FIELDS(fs_source){A_STR("dir", dir), A_STR("socket", socket), END};
ELEMENT(fs_source, "source");
#undef S

#define S TYPEOF(struct filesystem, target)
FIELDS(fs_target){A_STR("dir", dir), END};
ELEMENT(fs_target, "target");
#undef S

#define S struct filesystem
WORDS(fs_types, "mount", "template");
WORDS(fs_access, "passthrough", "mapped", "squash");
FIELDS(filesystem_element){
    A_WORD("type", type, fs_types),
    A_WORD("accessmode", accessmode, fs_access),
    KID("driver", driver, fs_driver),
    KID("source", source, fs_source),
    KID("target", target, fs_target),
    FLAG("readonly", readonly),
    INFO_LAST,
    END,
};
PUBLIC_ELEMENT(filesystem_element, "filesystem");
#undef S

#define S TYPEOF(struct vsock, cid)
FIELDS(cid){A_WORD("auto", autos, yes_no), A_UINT("address", address), END};
ELEMENT(cid, "cid");
#undef S

#define S struct vsock
FIELDS(vsock_element){A_WORD("model", model, virtio_models), KID("cid", cid, cid), INFO_LAST, END};
PUBLIC_ELEMENT(vsock_element, "vsock");
#undef S

#define S TYPEOF(struct tpm, backend)
WORDS(tpm_backends, "passthrough", "emulator");
WORDS(tpm_versions, "1.2", "2.0");
FIELDS(tpm_backend){A_WORD("type", type, tpm_backends), A_WORD("version", version, tpm_versions),
                    END};
ELEMENT(tpm_backend, "backend");
#undef S

#define S struct tpm
WORDS(tpm_models, "tpm-tis", "tpm-crb");
FIELDS(tpm_element){A_WORD("model", model, tpm_models), KID("backend", backend, tpm_backend),
                    INFO_LAST, END};
PUBLIC_ELEMENT(tpm_element, "tpm");
#undef S

#define S struct devices
FIELDS(devices){
    L_STR("emulator", emulator),
    LIST("disk", disks, disk_element),
    LIST("controller", controllers, controller_element),
    LIST("filesystem", filesystems, filesystem_element),
    LIST("interface", interfaces, interface_element),
    LIST("serial", serials, chr_serial_element),
    LIST("parallel", parallels, chr_parallel_element),
    LIST("console", consoles, chr_console_element),
    LIST("channel", channels, chr_channel_element),
    LIST("input", inputs, input_element),
    LIST("tpm", tpms, tpm_element),
    LIST("graphics", graphics, graphics_element),
    LIST("sound", sounds, sound_element),
    LIST("audio", audios, audio),
    LIST("video", videos, video_element),
    LIST("hostdev", hostdevs, hostdev_element),
    LIST("redirdev", redirdevs, redirdev_element),
    LIST("hub", hubs, hub_element),
    LIST("watchdog", watchdogs, watchdog_element),
    KID("memballoon", memballoon, memballoon_element),
    LIST("rng", rngs, rng_element),
    LIST("panic", panics, panic_element),
    KID("vsock", vsock, vsock_element),
    END,
};
ELEMENT(devices, "devices");
#undef S

/* ---- the machine ---- */

#define S struct hugepage
FIELDS(hugepage){A_UINT("size", size), A_STR("unit", unit), A_STR("nodeset", nodeset), END};
ELEMENT(hugepage, "page");
#undef S
#define S TYPEOF(struct memory_backing, hugepages)
FIELDS(hugepages){LIST("page", pages, hugepage), END};
ELEMENT(hugepages, "hugepages");
#undef S
#define S TYPEOF(struct memory_backing, source)
WORDS(memory_sources, "file", "anonymous", "memfd");
FIELDS(memory_source){A_WORD("type", type, memory_sources), END};
ELEMENT(memory_source, "source");
#undef S
#define S TYPEOF(struct memory_backing, access)
WORDS(memory_access, "shared", "private");
FIELDS(memory_access_element){A_WORD("mode", mode, memory_access), END};
ELEMENT(memory_access_element, "access");
#undef S
#define S TYPEOF(struct memory_backing, allocation)
WORDS(allocations, "immediate", "ondemand");
FIELDS(allocation){A_WORD("mode", mode, allocations), A_UINT("threads", threads), END};
ELEMENT(allocation, "allocation");
#undef S
#define S struct memory_backing
FIELDS(memory_backing){
    KID("hugepages", hugepages, hugepages),
    FLAG("nosharepages", nosharepages),
    FLAG("locked", locked),
    KID("source", source, memory_source),
    KID("access", access, memory_access_element),
    KID("allocation", allocation, allocation),
    FLAG("discard", discard),
    END,
};
ELEMENT(memory_backing, "memoryBacking");
#undef S

#define S TYPEOF(struct domain, vcpu)
WORDS(placements, "static", "auto");
FIELDS(vcpu){
    A_WORD("placement", placement, placements),
    A_STR("cpuset", cpuset),
    A_UINT("current", current),
    BODY_UINT(count),
    END,
};
ELEMENT(vcpu, "vcpu");
#undef S

#define S struct vcpu_state
FIELDS(vcpu_state){
    A_UINT("id", id),
    A_WORD("enabled", enabled, yes_no),
    A_WORD("hotpluggable", hotpluggable, yes_no),
    A_UINT("order", order),
    END,
};
ELEMENT(vcpu_state, "vcpu");
#undef S
#define S TYPEOF(struct domain, vcpus)
FIELDS(vcpus){LIST("vcpu", vcpus, vcpu_state), END};
ELEMENT(vcpus, "vcpus");
#undef S

#define S struct iothread
FIELDS(iothread){A_UINT("id", id), END};
ELEMENT(iothread, "iothread");
#undef S
#define S TYPEOF(struct domain, iothreadids)
FIELDS(iothreadids){LIST("iothread", list, iothread), END};
ELEMENT(iothreadids, "iothreadids");
#undef S

#define S TYPEOF(struct domain, blkiotune)
FIELDS(blkiotune){L_UINT("weight", weight), END};
ELEMENT(blkiotune, "blkiotune");
#undef S

#define S TYPEOF(struct domain, memtune)
FIELDS(memtune){
    KID("hard_limit", hard_limit, hard_limit),
    KID("soft_limit", soft_limit, soft_limit),
    KID("swap_hard_limit", swap_hard_limit, swap_hard_limit),
    END,
};
ELEMENT(memtune, "memtune");
#undef S

#define S struct pin
FIELDS(vcpupin){A_UINT("vcpu", number), A_STR("cpuset", cpuset), END};
ELEMENT(vcpupin, "vcpupin");
FIELDS(emulatorpin){A_STR("cpuset", cpuset), END};
ELEMENT(emulatorpin, "emulatorpin");
FIELDS(iothreadpin){A_UINT("iothread", number), A_STR("cpuset", cpuset), END};
ELEMENT(iothreadpin, "iothreadpin");
#undef S

#define S struct cputune
FIELDS(cputune){
    L_UINT("shares", shares),
    L_UINT("period", period),
    L_INT("quota", quota),
    L_UINT("global_period", global_period),
    L_INT("global_quota", global_quota),
    L_UINT("emulator_period", emulator_period),
    L_INT("emulator_quota", emulator_quota),
    L_UINT("iothread_period", iothread_period),
    L_INT("iothread_quota", iothread_quota),
    LIST("vcpupin", vcpupins, vcpupin),
    KID("emulatorpin", emulatorpin, emulatorpin),
    LIST("iothreadpin", iothreadpins, iothreadpin),
    END,
};
ELEMENT(cputune, "cputune");
#undef S

#define S struct memnode
WORDS(numa_modes, "strict", "preferred", "interleave", "restrictive");
FIELDS(numa_memory){A_WORD("mode", mode, numa_modes), A_STR("nodeset", nodeset), END};
ELEMENT(numa_memory, "memory");
FIELDS(memnode){A_UINT("cellid", cellid), A_WORD("mode", mode, numa_modes),
                A_STR("nodeset", nodeset), END};
ELEMENT(memnode, "memnode");
#undef S
#define S TYPEOF(struct domain, numatune)
FIELDS(numatune){KID("memory", memory, numa_memory), LIST("memnode", memnodes, memnode), END};
ELEMENT(numatune, "numatune");
#undef S

#define S TYPEOF(struct domain, resource)
FIELDS(resource){L_STR("partition", partition), END};
ELEMENT(resource, "resource");
#undef S

#define S struct sysinfo_entry
FIELDS(sysinfo_entry){A_STR("name", name), A_STR("file", file), BODY_STR(value), END};
ELEMENT(sysinfo_entry, "entry");
#undef S
#define S struct sysinfo_block
#define BLOCK(var, n)                                                                              \
    FIELDS(var){LIST("entry", entries, sysinfo_entry), END};                                       \
    ELEMENT(var, n)
BLOCK(sysinfo_bios, "bios");
BLOCK(sysinfo_system, "system");
BLOCK(sysinfo_board, "baseBoard");
BLOCK(sysinfo_chassis, "chassis");
#undef S
#define S TYPEOF(struct domain, sysinfo.oem_strings)
FIELDS(oem_strings){LIST("entry", entries, sysinfo_entry), END};
ELEMENT(oem_strings, "oemStrings");
#undef S
#define S TYPEOF(struct domain, sysinfo)
WORDS(sysinfo_types, "smbios", "fwcfg");
FIELDS(sysinfo){
    A_WORD("type", type, sysinfo_types),      KID("bios", bios, sysinfo_bios),
    KID("system", system, sysinfo_system),    LIST("baseBoard", base_boards, sysinfo_board),
    KID("chassis", chassis, sysinfo_chassis), KID("oemStrings", oem_strings, oem_strings),
    LIST("entry", fw_cfg, sysinfo_entry),     END,
};
ELEMENT(sysinfo, "sysinfo");
#undef S

#define S TYPEOF(struct os_def, type)
WORDS(arches, "x86_64", "i686");
FIELDS(os_type){A_WORD("arch", arch, arches), A_STR("machine", machine), BODY_STR(type), END};
ELEMENT(os_type, "type");
#undef S
#define S TYPEOF(struct os_def, loader)
WORDS(loader_types, "rom", "pflash");
FIELDS(loader){
    A_WORD("readonly", readonly, yes_no),
    A_WORD("secure", secure, yes_no),
    A_WORD("type", type, loader_types),
    BODY_STR(path),
    END,
};
ELEMENT(loader, "loader");
#undef S
#define S TYPEOF(struct os_def, nvram)
FIELDS(nvram){A_STR("template", template), BODY_STR(path), END};
ELEMENT(nvram, "nvram");
#undef S
#define S struct boot_dev
WORDS(boot_devs, "hd", "cdrom", "network", "fd");
FIELDS(boot_dev){A_WORD("dev", dev, boot_devs), END};
ELEMENT(boot_dev, "boot");
#undef S
#define S TYPEOF(struct os_def, bootmenu)
FIELDS(bootmenu){A_WORD("enable", enable, yes_no), A_UINT("timeout", timeout), END};
ELEMENT(bootmenu, "bootmenu");
#undef S
#define S TYPEOF(struct os_def, bios)
FIELDS(os_bios){
    A_WORD("useserial", useserial, yes_no),
    A_INT("rebootTimeout", reboot_timeout),
    END,
};
ELEMENT(os_bios, "bios");
#undef S
#define S TYPEOF(struct os_def, smbios)
WORDS(smbios_modes, "emulate", "host", "sysinfo");
FIELDS(smbios){A_WORD("mode", mode, smbios_modes), END};
ELEMENT(smbios, "smbios");
#undef S
#define S struct os_def
WORDS(firmwares, "bios", "efi");
FIELDS(os){
    A_WORD("firmware", firmware, firmwares),
    KID("type", type, os_type),
    KID("loader", loader, loader),
    KID("nvram", nvram, nvram),
    L_STR("kernel", kernel),
    L_STR("initrd", initrd),
    L_STR("cmdline", cmdline),
    LIST("boot", boots, boot_dev),
    KID("bootmenu", bootmenu, bootmenu),
    KID("bios", bios, os_bios),
    KID("smbios", smbios, smbios),
    END,
};
ELEMENT(os, "os");
#undef S

#define S struct state
#define STATE(var, n)                                                                              \
    FIELDS(var){A_WORD("state", state, on_off), END};                                              \
    ELEMENT(var, n)
STATE(st_relaxed, "relaxed");
STATE(st_vapic, "vapic");
STATE(st_vpindex, "vpindex");
STATE(st_runtime, "runtime");
STATE(st_synic, "synic");
STATE(st_stimer, "stimer");
STATE(st_reset, "reset");
STATE(st_frequencies, "frequencies");
STATE(st_reenlightenment, "reenlightenment");
STATE(st_tlbflush, "tlbflush");
STATE(st_ipi, "ipi");
STATE(st_evmcs, "evmcs");
STATE(st_hidden, "hidden");
STATE(st_poll_control, "poll-control");
STATE(st_pv_ipi, "pv-ipi");
STATE(st_vmport, "vmport");
STATE(st_smm, "smm");
STATE(st_pmu, "pmu");
STATE(st_hap, "hap");
STATE(st_pvspinlock, "pvspinlock");
#undef S
#define S TYPEOF(struct features, apic)
FIELDS(apic){A_WORD("eoi", eoi, on_off), END};
ELEMENT(apic, "apic");
#undef S
#define S TYPEOF(struct features, hyperv.spinlocks)
FIELDS(spinlocks){A_WORD("state", state, on_off), A_UINT("retries", retries), END};
ELEMENT(spinlocks, "spinlocks");
#undef S
#define S TYPEOF(struct features, hyperv)
WORDS(hyperv_modes, "custom", "passthrough");
FIELDS(hyperv){
    A_WORD("mode", mode, hyperv_modes),
    KID("relaxed", relaxed, st_relaxed),
    KID("vapic", vapic, st_vapic),
    KID("spinlocks", spinlocks, spinlocks),
    KID("vpindex", vpindex, st_vpindex),
    KID("runtime", runtime, st_runtime),
    KID("synic", synic, st_synic),
    KID("stimer", stimer, st_stimer),
    KID("reset", reset, st_reset),
    KID("frequencies", frequencies, st_frequencies),
    KID("reenlightenment", reenlightenment, st_reenlightenment),
    KID("tlbflush", tlbflush, st_tlbflush),
    KID("ipi", ipi, st_ipi),
    KID("evmcs", evmcs, st_evmcs),
    END,
};
ELEMENT(hyperv, "hyperv");
#undef S
#define S TYPEOF(struct features, kvm)
FIELDS(kvm){
    KID("hidden", hidden, st_hidden),
    KID("poll-control", poll_control, st_poll_control),
    KID("pv-ipi", pv_ipi, st_pv_ipi),
    END,
};
ELEMENT(kvm, "kvm");
#undef S
#define S TYPEOF(struct features, ioapic)
WORDS(ioapic_drivers, "kvm", "qemu");
FIELDS(ioapic){A_WORD("driver", driver, ioapic_drivers), END};
ELEMENT(ioapic, "ioapic");
#undef S
#define S struct features
FIELDS(features){
    FLAG("acpi", acpi),
    KID("apic", apic, apic),
    FLAG("pae", pae),
    KID("hap", hap, st_hap),
    KID("hyperv", hyperv, hyperv),
    KID("kvm", kvm, kvm),
    KID("pvspinlock", pvspinlock, st_pvspinlock),
    KID("pmu", pmu, st_pmu),
    KID("vmport", vmport, st_vmport),
    KID("smm", smm, st_smm),
    KID("ioapic", ioapic, ioapic),
    END,
};
ELEMENT(features, "features");
#undef S

#define S TYPEOF(struct cpu_def, model)
WORDS(fallbacks, "allow", "forbid");
FIELDS(cpu_model){
    A_WORD("fallback", fallback, fallbacks),
    A_STR("vendor_id", vendor_id),
    BODY_STR(name),
    END,
};
ELEMENT(cpu_model, "model");
#undef S
#define S TYPEOF(struct cpu_def, topology)
FIELDS(topology){
    A_UINT("sockets", sockets),
    A_UINT("dies", dies),
    A_UINT("cores", cores),
    A_UINT("threads", threads),
    END,
};
ELEMENT(topology, "topology");
#undef S
#define S TYPEOF(struct cpu_def, cache)
WORDS(cpu_cache_modes, "emulate", "passthrough", "disable");
FIELDS(cpu_cache){A_UINT("level", level), A_WORD("mode", mode, cpu_cache_modes), END};
ELEMENT(cpu_cache, "cache");
#undef S
#define S TYPEOF(struct cpu_def, maxphysaddr)
WORDS(maxphys_modes, "emulate", "passthrough");
FIELDS(maxphysaddr){A_WORD("mode", mode, maxphys_modes), A_UINT("bits", bits), END};
ELEMENT(maxphysaddr, "maxphysaddr");
#undef S
#define S struct cpu_feature
WORDS(feature_policies, "force", "require", "optional", "disable", "forbid");
FIELDS(cpu_feature){A_WORD("policy", policy, feature_policies), A_STR("name", name), END};
ELEMENT(cpu_feature, "feature");
#undef S
#define S struct numa_cell
FIELDS(numa_cell){
    A_UINT("id", id),
    A_STR("cpus", cpus),
    A_UINT("memory", memory),
    A_STR("unit", unit),
    A_WORD("memAccess", mem_access, memory_access),
    A_WORD("discard", discard, yes_no),
    END,
};
ELEMENT(numa_cell, "cell");
#undef S
#define S TYPEOF(struct cpu_def, numa)
FIELDS(cpu_numa){LIST("cell", cells, numa_cell), END};
ELEMENT(cpu_numa, "numa");
#undef S
#define S struct cpu_def
WORDS(cpu_modes, "custom", "host-model", "host-passthrough", "maximum");
WORDS(cpu_matches, "minimum", "exact", "strict");
WORDS(cpu_checks, "none", "partial", "full");
FIELDS(cpu){
    A_WORD("mode", mode, cpu_modes),
    A_WORD("match", match, cpu_matches),
    A_WORD("check", check, cpu_checks),
    A_WORD("migratable", migratable, on_off),
    KID("model", model, cpu_model),
    L_STR("vendor", vendor),
    KID("topology", topology, topology),
    KID("cache", cache, cpu_cache),
    KID("maxphysaddr", maxphysaddr, maxphysaddr),
    LIST("feature", features, cpu_feature),
    KID("numa", numa, cpu_numa),
    END,
};
ELEMENT(cpu, "cpu");
#undef S

#define S struct timer_def
WORDS(timer_names, "rtc", "pit", "hpet", "tsc", "kvmclock", "hypervclock", "platform");
WORDS(tick_policies, "delay", "catchup", "merge", "discard");
WORDS(timer_modes, "auto", "native", "emulate", "paravirt", "smpsafe");
WORDS(timer_tracks, "guest", "wall", "boot");
FIELDS(timer){
    A_WORD("name", name, timer_names),
    A_WORD("present", present, yes_no),
    A_WORD("tickpolicy", tickpolicy, tick_policies),
    A_WORD("track", track, timer_tracks),
    A_UINT("frequency", frequency),
    A_WORD("mode", mode, timer_modes),
    END,
};
ELEMENT(timer, "timer");
#undef S
#define S TYPEOF(struct domain, clock)
WORDS(clock_offsets, "utc", "localtime", "timezone", "variable", "absolute");
WORDS(clock_bases, "utc", "localtime");
FIELDS(clock_element){
    A_WORD("offset", offset, clock_offsets),
    A_INT("adjustment", adjustment),
    A_WORD("basis", basis, clock_bases),
    A_STR("timezone", timezone),
    A_STR("start", start),
    LIST("timer", timers, timer),
    END,
};
ELEMENT(clock_element, "clock");
#undef S

#define S TYPEOF(struct domain, pm.mem)
FIELDS(suspend_mem){A_WORD("enabled", enabled, yes_no), END};
ELEMENT(suspend_mem, "suspend-to-mem");
#undef S
#define S TYPEOF(struct domain, pm.disk)
FIELDS(suspend_disk){A_WORD("enabled", enabled, yes_no), END};
ELEMENT(suspend_disk, "suspend-to-disk");
#undef S
#define S TYPEOF(struct domain, pm)
FIELDS(pm){KID("suspend-to-mem", mem, suspend_mem), KID("suspend-to-disk", disk, suspend_disk),
           END};
ELEMENT(pm, "pm");
#undef S

#define S struct qemu_arg
FIELDS(qemu_arg){A_STR("value", value), END};
ELEMENT(qemu_arg, "qemu:arg");
FIELDS(qemu_env){A_STR("name", name), A_STR("value", value), END};
ELEMENT(qemu_env, "qemu:env");
#undef S
#define S TYPEOF(struct domain, qemu_commandline)
FIELDS(qemu_commandline){LIST("qemu:arg", args, qemu_arg), LIST("qemu:env", envs, qemu_env), END};
ELEMENT(qemu_commandline, "qemu:commandline");
#undef S

#define S struct domain
WORDS(domain_types, "kvm", "qemu");
WORDS(lifecycle_actions, "destroy", "restart", "preserve", "rename-restart");
WORDS(crash_actions, "destroy", "restart", "preserve", "rename-restart", "coredump-destroy",
      "coredump-restart");
WORDS(lock_actions, "poweroff", "restart", "pause", "ignore");
FIELDS(domain_element){
    A_WORD("type", type, domain_types),
    A_INT("id", id),
    L_STR("name", name),
    L_STR("uuid", uuid),
    L_STR("genid", genid),
    L_STR("title", title),
    L_STR("description", description),
    RAW("metadata", metadata),
    KID("maxMemory", max_memory, max_memory),
    KID("memory", memory, memory),
    KID("currentMemory", current_memory, current_memory),
    KID("blkiotune", blkiotune, blkiotune),
    KID("memtune", memtune, memtune),
    KID("memoryBacking", memory_backing, memory_backing),
    KID("vcpu", vcpu, vcpu),
    KID("vcpus", vcpus, vcpus),
    L_UINT("iothreads", iothreads),
    KID("iothreadids", iothreadids, iothreadids),
    KID("cputune", cputune, cputune),
    KID("numatune", numatune, numatune),
    KID("resource", resource, resource),
    KID("sysinfo", sysinfo, sysinfo),
    KID("os", os, os),
    KID("features", features, features),
    KID("cpu", cpu, cpu),
    KID("clock", clock, clock_element),
    L_WORD("on_poweroff", on_poweroff, lifecycle_actions),
    L_WORD("on_reboot", on_reboot, lifecycle_actions),
    L_WORD("on_crash", on_crash, crash_actions),
    L_WORD("on_lockfailure", on_lockfailure, lock_actions),
    KID("pm", pm, pm),
    KID("devices", devices, devices),
    LIST("seclabel", seclabels, seclabel),
    KID("qemu:commandline", qemu_commandline, qemu_commandline),
    END,
};
PUBLIC_ELEMENT(domain_element, "domain");
#undef S
