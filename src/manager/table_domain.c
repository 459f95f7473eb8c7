/* table_domain.c - the machine: everything outside <devices>. */
#include "table.h"

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
    A_WORD("enabled", enabled, words_yes_no),
    A_WORD("hotpluggable", hotpluggable, words_yes_no),
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

#define S struct blkio_device
FIELDS(blkio_device){
    L_STR("path", path),
    L_UINT("weight", weight),
    L_UINT("read_iops_sec", read_iops_sec),
    L_UINT("write_iops_sec", write_iops_sec),
    L_UINT("read_bytes_sec", read_bytes_sec),
    L_UINT("write_bytes_sec", write_bytes_sec),
    END,
};
ELEMENT(blkio_device, "device");
#undef S
#define S TYPEOF(struct domain, blkiotune)
FIELDS(blkiotune){L_UINT("weight", weight), LIST("device", devices, blkio_device), END};
ELEMENT(blkiotune, "blkiotune");
#undef S

#define S TYPEOF(struct domain, memtune)
FIELDS(memtune){
    KID("hard_limit", hard_limit, part_hard_limit),
    KID("soft_limit", soft_limit, part_soft_limit),
    KID("swap_hard_limit", swap_hard_limit, part_swap_hard_limit),
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
    A_WORD("readonly", readonly, words_yes_no),
    A_WORD("secure", secure, words_yes_no),
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
FIELDS(bootmenu){A_WORD("enable", enable, words_yes_no), A_UINT("timeout", timeout), END};
ELEMENT(bootmenu, "bootmenu");
#undef S
#define S TYPEOF(struct os_def, bios)
FIELDS(os_bios){
    A_WORD("useserial", useserial, words_yes_no),
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
    FIELDS(var){A_WORD("state", state, words_on_off), END};                                        \
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
FIELDS(apic){A_WORD("eoi", eoi, words_on_off), END};
ELEMENT(apic, "apic");
#undef S
#define S TYPEOF(struct features, hyperv.spinlocks)
FIELDS(spinlocks){A_WORD("state", state, words_on_off), A_UINT("retries", retries), END};
ELEMENT(spinlocks, "spinlocks");
#undef S
#define S TYPEOF(struct features, hyperv.vendor_id)
FIELDS(vendor_id){A_WORD("state", state, words_on_off), A_STR("value", value), END};
ELEMENT(vendor_id, "vendor_id");
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
    KID("vendor_id", vendor_id, vendor_id),
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
    A_WORD("discard", discard, words_yes_no),
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
    A_WORD("migratable", migratable, words_on_off),
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
    A_WORD("present", present, words_yes_no),
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
FIELDS(suspend_mem){A_WORD("enabled", enabled, words_yes_no), END};
ELEMENT(suspend_mem, "suspend-to-mem");
#undef S
#define S TYPEOF(struct domain, pm.disk)
FIELDS(suspend_disk){A_WORD("enabled", enabled, words_yes_no), END};
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
    KID("maxMemory", max_memory, part_max_memory),
    KID("memory", memory, part_memory),
    KID("currentMemory", current_memory, part_current_memory),
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
    KID("devices", devices, devices_element),
    LIST("seclabel", seclabels, part_seclabel),
    KID("qemu:commandline", qemu_commandline, qemu_commandline),
    END,
};
PUBLIC_ELEMENT(domain_element, "domain");
#undef S
