/* table_net.c - network cards and character devices. */
#include "table.h"

/* ---- network cards ---- */

#define S struct port_range
FIELDS(port_range){
    A_UINT("start", start),
    A_UINT("end", end),
    A_UINT("to", to),
    A_WORD("exclude", exclude, words_yes_no),
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
    A_WORD("check", check, words_yes_no),
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
FIELDS(net_target){A_STR("dev", dev), A_WORD("managed", managed, words_yes_no), END};
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
    A_WORD("ioeventfd", ioeventfd, words_on_off),
    A_WORD("event_idx", event_idx, words_on_off),
    A_UINT("queues", queues),
    A_UINT("rx_queue_size", rx_queue_size),
    A_UINT("tx_queue_size", tx_queue_size),
    A_WORD("iommu", iommu, words_on_off),
    A_WORD("ats", ats, words_on_off),
    A_WORD("packed", packed, words_on_off),
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
    A_WORD("trustGuestRxFilters", trust_guest, words_yes_no),
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
    A_STR("channel", channel),
    A_WORD("mode", mode, chr_modes),
    A_STR("path", path),
    A_STR("host", host),
    A_STR("service", service),
    A_WORD("append", append, words_on_off),
    A_WORD("tls", tls, words_yes_no),
    END,
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
    A_ENUM("type", type, chr_targets),    A_STR("name", name),
    A_WORD("state", state, chr_states),   A_UINT("port", port),
    KID("model", model, part_model_name), END,
};
ELEMENT(chr_target, "target");
#undef S

#define S TYPEOF(struct chr, log)
FIELDS(chr_log){A_STR("file", file), A_WORD("append", append, words_on_off), END};
ELEMENT(chr_log, "log");
#undef S

#define S struct chr
PUBLIC_WORDS(words_chr_types, "pty", "file", "unix", "tcp", "udp", "dev", "pipe", "null", "stdio",
             "vc", "spicevmc");
static const struct xml_field chr_fields[] = {
    A_ENUM("type", type, words_chr_types),
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
