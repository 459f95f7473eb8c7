/* table_devices.c - all other devices, and <devices> itself. */
#include "table.h"

#define S struct input
WORDS(input_types, "tablet", "mouse", "keyboard");
WORDS(input_buses, "ps2", "usb", "virtio");
FIELDS(input_element){
    A_WORD("type", type, input_types),
    A_WORD("bus", bus, input_buses),
    A_WORD("model", model, words_virtio_models),
    KID("driver", driver, part_virtio_driver),
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
    A_WORD("fromConfig", from_config, words_on_off),
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
FIELDS(graphics_gl){A_WORD("enable", enable, words_yes_no), END};
ELEMENT(graphics_gl, "gl");
#undef S

#define S struct graphics
WORDS(graphics_types, "vnc", "spice", "sdl", "egl-headless");
WORDS(share_policies, "allow-exclusive", "force-shared", "ignore");
FIELDS(graphics_element){
    A_WORD("type", type, graphics_types),
    A_INT("port", port),
    A_INT("tlsPort", tls_port),
    A_WORD("autoport", autoport, words_yes_no),
    A_INT("websocket", websocket),
    A_STR("display", display),
    A_STR("socket", socket),
    A_STR("listen", listen),
    A_STR("keymap", keymap),
    A_STR("passwd", passwd),
    A_STR("passwdValidTo", passwd_valid_to),
    A_WORD("sharePolicy", share_policy, share_policies),
    A_WORD("powerControl", power_control, words_yes_no),
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
FIELDS(acceleration){A_WORD("accel3d", accel3d, words_yes_no), END};
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
    A_WORD("primary", primary, words_yes_no),
    A_WORD("blob", blob, words_on_off),
    KID("acceleration", acceleration, acceleration),
    KID("resolution", resolution, resolution),
    END,
};
ELEMENT(video_model, "model");
#undef S

#define S struct video
FIELDS(video_element){
    KID("driver", driver, part_virtio_driver),
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
    A_WORD("managed", managed, words_yes_no),
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
    A_WORD("autodeflate", autodeflate, words_on_off),
    A_WORD("freePageReporting", free_page_reporting, words_on_off),
    KID("stats", stats, balloon_stats),
    KID("driver", driver, part_virtio_driver),
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
    A_WORD("type", type, words_chr_types),
    BODY_STR(path),
    END,
};
ELEMENT(rng_backend, "backend");
#undef S

#define S struct rng
FIELDS(rng_element){
    A_WORD("model", model, words_virtio_models),
    KID("rate", rate, rng_rate),
    KID("backend", backend, rng_backend),
    KID("driver", driver, part_virtio_driver),
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
FIELDS(cid){A_WORD("auto", autos, words_yes_no), A_UINT("address", address), END};
ELEMENT(cid, "cid");
#undef S

#define S struct vsock
FIELDS(vsock_element){A_WORD("model", model, words_virtio_models), KID("cid", cid, cid), INFO_LAST,
                      END};
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
FIELDS(devices_element){
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
PUBLIC_ELEMENT(devices_element, "devices");
#undef S
