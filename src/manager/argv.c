/* argv.c - the machine itself: name, board, processors, memory, monitors, clock, boot. */
#include "argv_int.h"

#include "base/util.h"

#include <string.h>

/* ---- words ---- */

void argv_add(struct argv *a, const char *option, const char *fmt, ...)
{
    g_ptr_array_add(a->words, g_strdup(option));
    if (fmt) {
        va_list ap;
        va_start(ap, fmt);
        g_ptr_array_add(a->words, g_strdup_vprintf(fmt, ap));
        va_end(ap);
    }
}

void argv_json(struct argv *a, const char *option, json_t *o)
{
    char *text = json_dumps(o, JSON_COMPACT);
    argv_add(a, option, "%s", text ? text : "{}");
    free(text);
    json_decref(o);
}

char *argv_value(const char *text)
{
    g_auto(GStrv) parts = g_strsplit(text, ",", -1);
    return g_strjoinv(",,", parts);
}

void json_str(json_t *o, const char *key, const char *value)
{
    if (value) {
        json_object_set_new(o, key, json_string(value));
    }
}

void json_int(json_t *o, const char *key, int64_t v)
{
    json_object_set_new(o, key, json_integer(v));
}

void json_num(json_t *o, const char *key, struct xml_num n)
{
    if (n.set) {
        json_int(o, key, n.v);
    }
}

static const char *pci_bus_name(const struct domain *d, int64_t index, char *buf, size_t size)
{
    for (unsigned i = 0; i < d->devices.controllers->len; i++) {
        const struct controller *c = d->devices.controllers->pdata[i];
        if (c->type == CONTROLLER_PCI && c->index.v == index && c->info.alias.name) {
            return c->info.alias.name;
        }
    }
    g_snprintf(buf, size, "pci.%d", (int)index);
    return buf;
}

static void place_pci(const struct domain *d, json_t *o, const struct address *a)
{
    char bus[32], addr[32];
    int64_t function = xml_num_or(a->function, 0);
    json_str(o, "bus", pci_bus_name(d, xml_num_or(a->bus, 0), bus, sizeof(bus)));
    if (word_is(a->multifunction, "on")) {
        json_object_set_new(o, "multifunction", json_true());
    }
    if (function) {
        g_snprintf(addr, sizeof(addr), "0x%x.0x%x", (unsigned)a->slot.v, (unsigned)function);
    } else {
        g_snprintf(addr, sizeof(addr), "0x%x", (unsigned)a->slot.v);
    }
    json_str(o, "addr", addr);
}

/* The same device where there is no PCI; it takes the first place. */
static void place_mmio(json_t *o)
{
    const char *driver = json_string_value(json_object_get(o, "driver"));
    if (driver && g_str_has_prefix(driver, "virtio-") && g_str_has_suffix(driver, "-pci")) {
        int stem = (int)(strlen(driver) - strlen("pci"));
        json_object_set_new(o, "driver", json_sprintf("%.*sdevice", stem, driver));
    }
}

void json_place(const struct domain *d, json_t *o, const struct address *a)
{
    char text[48];
    switch (a->type) {
    case ADDRESS_PCI:
        place_pci(d, o, a);
        break;
    case ADDRESS_USB:
        if (xml_num_or(a->bus, 0)) {
            g_snprintf(text, sizeof(text), "usb%d.0", (int)a->bus.v);
        } else {
            g_strlcpy(text, "usb.0", sizeof(text));
        }
        json_str(o, "bus", text);
        json_str(o, "port", a->port);
        break;
    case ADDRESS_VIRTIO_MMIO:
        place_mmio(o);
        break;
    default:
        break;
    }
}

void json_virtio(json_t *o, const char *iommu, const char *ats, const char *packed)
{
    if (iommu) {
        json_object_set_new(o, "iommu_platform", json_boolean(word_is(iommu, "on")));
    }
    if (ats) {
        json_object_set_new(o, "ats", json_boolean(word_is(ats, "on")));
    }
    if (packed) {
        json_object_set_new(o, "packed", json_boolean(word_is(packed, "on")));
    }
}

char *virtio_driver_name(const char *base, const char *model)
{
    const char *suffix = model && g_str_has_suffix(model, "-non-transitional") ? "-non-transitional"
                         : model && g_str_has_suffix(model, "-transitional")   ? "-transitional"
                                                                               : "";
    return g_strdup_printf("%s-pci%s", base, suffix);
}

void json_bootindex(const struct domain *d, json_t *o, const struct dev_info *info,
                    const char *os_dev, bool first_of_kind)
{
    if (info->boot.order.set) {
        json_num(o, "bootindex", info->boot.order);
        return;
    }
    for (unsigned i = 0; first_of_kind && os_dev && i < d->os.boots->len; i++) {
        if (word_is(((struct boot_dev *)d->os.boots->pdata[i])->dev, os_dev)) {
            json_int(o, "bootindex", i + 1);
            return;
        }
    }
}

/* ---- board ---- */

/* libvirt's choice for firmware='efi' is the build with secure boot, if nothing is said.  It needs
 * system management mode, which hanok-vm does not have: there it starts only when asked for. */
static bool secure_boot(const struct domain *d)
{
    bool can = domain_is_qemu(d);
    return word_is(d->os.loader.secure, "yes") ||
           (can && word_is(d->os.firmware, "efi") && !word_is(d->os.loader.secure, "no"));
}

static bool has_pflash(const struct domain *d)
{
    return word_is(d->os.firmware, "efi") ||
           (d->os.loader.path && word_is(d->os.loader.type, "pflash"));
}

void argv_firmware(const struct domain *d, const char *nvram_dir, char **code, char **vars,
                   char **template_path)
{
    bool secure = secure_boot(d);
    *code = d->os.loader.path ? g_strdup(d->os.loader.path)
                              : g_strdup(secure ? "/usr/share/OVMF/OVMF_CODE_4M.ms.fd"
                                                : "/usr/share/OVMF/OVMF_CODE_4M.fd");
    *vars = d->os.nvram.path ? g_strdup(d->os.nvram.path)
                             : g_strdup_printf("%s/%s_VARS.fd", nvram_dir, d->name);
    *template_path = d->os.nvram.template ? g_strdup(d->os.nvram.template)
                     : secure             ? g_strdup("/usr/share/OVMF/OVMF_VARS_4M.ms.fd")
                                          : g_strdup("/usr/share/OVMF/OVMF_VARS_4M.fd");
}

static void pflash_node(struct argv *a, unsigned index, const char *file, bool read_only)
{
    g_autofree char *storage = g_strdup_printf("libvirt-pflash%u-storage", index);
    g_autofree char *format = g_strdup_printf("libvirt-pflash%u-format", index);
    argv_json(a, "-blockdev",
              json_pack("{ssssss sb ss}", "driver", "file", "filename", file, "node-name", storage,
                        "auto-read-only", 1, "discard", "unmap"));
    argv_json(a, "-blockdev",
              json_pack("{ss sb ss ss}", "node-name", format, "read-only", read_only, "driver",
                        "raw", "file", storage));
}

void argv_firmware_nodes(struct argv *a)
{
    g_autofree char *code = NULL, *vars = NULL, *template = NULL;
    if (!has_pflash(a->d)) {
        return;
    }
    argv_firmware(a->d, a->o->nvram_dir, &code, &vars, &template);
    pflash_node(a, 0, code, true);
    pflash_node(a, 1, vars, false);
}

static void add_machine(struct argv *a)
{
    const struct domain *d = a->d;
    g_autoptr(GString) s = g_string_new(d->os.type.machine);
    g_string_append(s, ",usb=off");
    if (d->features.vmport.state) {
        g_string_append_printf(s, ",vmport=%s", d->features.vmport.state);
    }
    if (word_is(d->features.smm.state, "on") || (has_pflash(d) && secure_boot(d))) {
        g_string_append(s, ",smm=on");
    }
    if (d->features.ioapic.driver) {
        g_string_append_printf(s, ",kernel_irqchip=%s",
                               word_is(d->features.ioapic.driver, "kvm") ? "on" : "split");
    }
    g_string_append_printf(s, ",dump-guest-core=%s",
                           word_is(d->memory.dump_core, "on") ? "on" : "off");
    if (d->memory_backing.nosharepages) {
        g_string_append(s, ",mem-merge=off");
    }
    if (!d->cpu.numa.cells->len) {
        g_string_append(s, ",memory-backend=pc.ram");
    }
    if (word_is(d->os.bios.useserial, "yes")) {
        g_string_append(s, ",graphics=off");
    }
    if (has_pflash(d)) {
        g_string_append(s, ",pflash0=libvirt-pflash0-format,pflash1=libvirt-pflash1-format");
    }
    argv_add(a, "-machine", "%s", s->str);
    argv_add(a, "-accel", "%s", word_is(d->type, "kvm") ? "kvm" : "tcg");
}

/* ---- processors ---- */

static const char *feature_name(const char *name)
{
    static const char *const table[][2] = {
        {"cmp_legacy", "cmp-legacy"},       {"ds_cpl", "ds-cpl"},
        {"fxsr_opt", "fxsr-opt"},           {"kvm_pv_eoi", "kvm-pv-eoi"},
        {"kvm_pv_unhalt", "kvm-pv-unhalt"}, {"lahf_lm", "lahf-lm"},
        {"nodeid_msr", "nodeid-msr"},       {"pclmuldq", "pclmulqdq"},
        {"perfctr_core", "perfctr-core"},   {"perfctr_nb", "perfctr-nb"},
        {"tsc_adjust", "tsc-adjust"}};
    for (unsigned i = 0; i < ARRAY_SIZE(table); i++) {
        if (!strcmp(name, table[i][0])) {
            return table[i][1];
        }
    }
    return name;
}

static void add_hyperv(const struct domain *d, GString *s)
{
    const __typeof__(d->features.hyperv) *h = &d->features.hyperv;
    const struct {
        const struct state *state;
        const char *flag;
    } flags[] = {{&h->relaxed, "hv-relaxed"},
                 {&h->vapic, "hv-vapic"},
                 {&h->vpindex, "hv-vpindex"},
                 {&h->runtime, "hv-runtime"},
                 {&h->synic, "hv-synic"},
                 {&h->stimer, "hv-stimer"},
                 {&h->reset, "hv-reset"},
                 {&h->frequencies, "hv-frequencies"},
                 {&h->reenlightenment, "hv-reenlightenment"},
                 {&h->tlbflush, "hv-tlbflush"},
                 {&h->ipi, "hv-ipi"},
                 {&h->evmcs, "hv-evmcs"}};
    if (word_is(h->mode, "passthrough")) {
        g_string_append(s, ",hv-passthrough=on");
    }
    for (unsigned i = 0; i < ARRAY_SIZE(flags); i++) {
        if (word_is(flags[i].state->state, "on")) {
            g_string_append_printf(s, ",%s=on", flags[i].flag);
        }
        if (flags[i].state == &h->reset && word_is(h->vendor_id.state, "on") &&
            h->vendor_id.value) {
            g_autofree char *v = argv_value(h->vendor_id.value);
            g_string_append_printf(s, ",hv-vendor-id=%s", v);
        }
        if (i == 1 && word_is(h->spinlocks.state, "on")) {
            g_string_append_printf(s, ",hv-spinlocks=0x%x",
                                   (unsigned)xml_num_or(h->spinlocks.retries, 4095));
        }
    }
}

static void add_timer_features(const struct domain *d, GString *s)
{
    for (unsigned i = 0; i < d->clock.timers->len; i++) {
        const struct timer_def *t = d->clock.timers->pdata[i];
        if (word_is(t->name, "kvmclock") && t->present) {
            g_string_append_printf(s, ",kvmclock=%s", word_is(t->present, "yes") ? "on" : "off");
        } else if (word_is(t->name, "hypervclock") && word_is(t->present, "yes")) {
            g_string_append(s, ",hv-time=on");
        } else if (word_is(t->name, "tsc") && t->frequency.set) {
            g_string_append_printf(s, ",tsc-frequency=%" G_GINT64_FORMAT, t->frequency.v);
        }
    }
}

static void add_cpu(struct argv *a)
{
    const struct domain *d = a->d;
    const struct cpu_def *c = &d->cpu;
    g_autoptr(GString) s = g_string_new(NULL);
    bool kvm = word_is(d->type, "kvm");
    if (word_is(c->mode, "custom")) {
        g_string_append(s, c->model.name);
    } else if (word_is(c->mode, "maximum") || !kvm) {
        g_string_append(s, "max");
    } else {
        g_string_append_printf(s, "host,migratable=%s", c->migratable ? c->migratable : "on");
    }
    add_timer_features(d, s);
    for (unsigned i = 0; i < c->features->len; i++) {
        const struct cpu_feature *f = c->features->pdata[i];
        if (!word_is(f->policy, "optional")) {
            bool off = word_is(f->policy, "disable") || word_is(f->policy, "forbid");
            g_string_append_printf(s, ",%s=%s", feature_name(f->name), off ? "off" : "on");
        }
    }
    add_hyperv(d, s);
    if (word_is(d->features.kvm.hidden.state, "on")) {
        g_string_append(s, ",kvm=off");
    }
    if (d->features.kvm.poll_control.state) {
        g_string_append_printf(s, ",kvm-poll-control=%s", d->features.kvm.poll_control.state);
    }
    if (d->features.kvm.pv_ipi.state) {
        g_string_append_printf(s, ",kvm-pv-ipi=%s", d->features.kvm.pv_ipi.state);
    }
    if (d->features.pvspinlock.state) {
        g_string_append_printf(s, ",kvm-pv-unhalt=%s", d->features.pvspinlock.state);
    }
    if (d->features.pmu.state) {
        g_string_append_printf(s, ",pmu=%s", d->features.pmu.state);
    }
    if (word_is(c->cache.mode, "passthrough")) {
        g_string_append(s, ",host-cache-info=on,l3-cache=off");
    } else if (c->cache.mode) {
        g_string_append_printf(s, ",l3-cache=%s", word_is(c->cache.mode, "emulate") ? "on" : "off");
    }
    if (word_is(c->maxphysaddr.mode, "passthrough")) {
        g_string_append(s, ",host-phys-bits=on");
    } else if (c->maxphysaddr.bits.set) {
        g_string_append_printf(s, ",phys-bits=%d", (int)c->maxphysaddr.bits.v);
    }
    argv_add(a, "-cpu", "%s", s->str);
    if (has_pflash(d) && secure_boot(d)) {
        argv_add(a, "-global", "driver=cfi.pflash01,property=secure,value=on");
    }
}

static void add_smp(struct argv *a)
{
    const struct domain *d = a->d;
    const __typeof__(d->cpu.topology) *t = &d->cpu.topology;
    unsigned max = domain_vcpus_max(d), now = domain_vcpus_at_start(d);
    g_autoptr(GString) s = g_string_new(NULL);
    g_string_append_printf(s, "%u", now);
    if (now != max) {
        g_string_append_printf(s, ",maxcpus=%u", max);
    }
    if (t->node.present) {
        g_string_append_printf(s, ",sockets=%d,dies=%d,cores=%d,threads=%d", (int)t->sockets.v,
                               (int)xml_num_or(t->dies, 1), (int)t->cores.v, (int)t->threads.v);
    } else {
        g_string_append_printf(s, ",sockets=%u,cores=1,threads=1", max);
    }
    argv_add(a, "-smp", "%s", s->str);
}

/* ---- memory ---- */

static json_t *memory_object(const struct domain *d, const char *id, int64_t kib)
{
    const struct memory_backing *b = &d->memory_backing;
    bool huge = b->hugepages.node.present, memfd = word_is(b->source.type, "memfd");
    bool file = huge || word_is(b->source.type, "file");
    json_t *o = json_object();
    json_str(o, "qom-type",
             memfd  ? "memory-backend-memfd"
             : file ? "memory-backend-file"
                    : "memory-backend-ram");
    json_str(o, "id", id);
    if (memfd && huge) {
        json_object_set_new(o, "hugetlb", json_true());
    } else if (file && !memfd) {
        json_str(o, "mem-path", huge ? ARGV_HUGEPAGES : "/dev/shm");
    }
    if (b->access.mode) {
        json_object_set_new(o, "share", json_boolean(word_is(b->access.mode, "shared")));
    }
    if (memfd || file) {
        json_object_set_new(o, "x-use-canonical-path-for-ramblock-id", json_false());
    }
    if (huge || word_is(b->allocation.mode, "immediate")) {
        json_object_set_new(o, "prealloc", json_true());
    }
    json_int(o, "size", kib * 1024);
    if (d->numatune.memory.nodeset) {
        unsigned long bits[16];
        json_t *nodes = json_array();
        if (cpuset_parse(d->numatune.memory.nodeset, 1024, bits, NULL)) {
            for (unsigned i = 0; i < 1024; i++) {
                if (bits[i / 64] >> (i % 64) & 1) {
                    json_array_append_new(nodes, json_integer(i));
                }
            }
        }
        json_object_set_new(o, "host-nodes", nodes);
        json_str(o, "policy",
                 word_is(d->numatune.memory.mode, "preferred")    ? "preferred"
                 : word_is(d->numatune.memory.mode, "interleave") ? "interleave"
                                                                  : "bind");
    }
    return o;
}

static void add_memory(struct argv *a)
{
    const struct domain *d = a->d;
    int64_t kib = domain_memory_kib(d);
    if (d->max_memory.value.set) {
        argv_add(a, "-m", "size=%" G_GINT64_FORMAT "k,slots=%d,maxmem=%" G_GINT64_FORMAT "k", kib,
                 (int)xml_num_or(d->max_memory.slots, 16), d->max_memory.value.v);
    } else {
        argv_add(a, "-m", "%" G_GINT64_FORMAT, kib / 1024);
    }
    if (!d->cpu.numa.cells->len) {
        argv_json(a, "-object", memory_object(d, "pc.ram", kib));
    }
    argv_add(a, "-overcommit", "mem-lock=%s", d->memory_backing.locked ? "on" : "off");
}

static void add_numa(struct argv *a)
{
    for (unsigned i = 0; i < a->d->cpu.numa.cells->len; i++) {
        const struct numa_cell *c = a->d->cpu.numa.cells->pdata[i];
        unsigned id = xml_num_or(c->id, i);
        g_autofree char *memdev = g_strdup_printf("ram-node%u", id);
        argv_json(a, "-object", memory_object(a->d, memdev, xml_num_or(c->memory, 0)));
        argv_add(a, "-numa", "node,nodeid=%u,cpus=%s,memdev=%s", id, c->cpus ? c->cpus : "",
                 memdev);
    }
}

/* ---- identity ---- */

static void smbios_block(struct argv *a, unsigned type, const struct sysinfo_block *b)
{
    static const char *const keys[][2] = {
        {"vendor", "vendor"},     {"manufacturer", "manufacturer"},
        {"product", "product"},   {"version", "version"},
        {"date", "date"},         {"release", "release"},
        {"serial", "serial"},     {"asset", "asset"},
        {"location", "location"}, {"uuid", "uuid"},
        {"sku", "sku"},           {"family", "family"}};
    if (!b->entries || !b->entries->len) {
        return;
    }
    g_autoptr(GString) s = g_string_new(NULL);
    g_string_append_printf(s, "type=%u", type);
    for (unsigned k = 0; k < ARRAY_SIZE(keys); k++) {
        for (unsigned i = 0; i < b->entries->len; i++) {
            const struct sysinfo_entry *e = b->entries->pdata[i];
            if (!g_strcmp0(e->name, keys[k][0])) {
                g_autofree char *v = argv_value(e->value ? e->value : "");
                g_string_append_printf(s, ",%s=%s", keys[k][1], v);
            }
        }
    }
    argv_add(a, "-smbios", "%s", s->str);
}

static void add_identity(struct argv *a)
{
    const struct domain *d = a->d;
    argv_add(a, "-uuid", "%s", d->uuid);
    if (word_is(d->os.smbios.mode, "sysinfo")) {
        smbios_block(a, 0, &d->sysinfo.bios);
        smbios_block(a, 1, &d->sysinfo.system);
        for (unsigned i = 0; i < d->sysinfo.base_boards->len; i++) {
            smbios_block(a, 2, d->sysinfo.base_boards->pdata[i]);
        }
        smbios_block(a, 3, &d->sysinfo.chassis);
        g_autoptr(GString) oem = g_string_new("type=11");
        for (unsigned i = 0; i < d->sysinfo.oem_strings.entries->len; i++) {
            const struct sysinfo_entry *e = d->sysinfo.oem_strings.entries->pdata[i];
            g_autofree char *v = argv_value(e->value ? e->value : "");
            g_string_append_printf(oem, ",value=%s", v);
        }
        if (d->sysinfo.oem_strings.entries->len) {
            argv_add(a, "-smbios", "%s", oem->str);
        }
    }
    if (d->genid) {
        argv_json(a, "-device",
                  json_pack("{ssssss}", "driver", "vmgenid", "guid", d->genid, "id", "vmgenid0"));
    }
    if (!d->devices.graphics->len) {
        argv_add(a, "-display", "none");
    }
    argv_add(a, "-no-user-config", NULL);
    argv_add(a, "-nodefaults", NULL);
    for (unsigned i = 0; i < d->sysinfo.fw_cfg->len; i++) {
        const struct sysinfo_entry *e = d->sysinfo.fw_cfg->pdata[i];
        g_autofree char *name = argv_value(e->name ? e->name : "");
        g_autofree char *v = argv_value(e->file ? e->file : e->value ? e->value : "");
        argv_add(a, "-fw_cfg", "name=%s,%s=%s", name, e->file ? "file" : "string", v);
    }
}

/* ---- monitors, clock, boot ---- */

static void add_monitors(struct argv *a)
{
    g_autofree char *dir = argv_value(a->o->dir);
    argv_add(a, "-chardev", "socket,id=charmonitor,path=%s/monitor.sock,server=on,wait=off", dir);
    argv_add(a, "-mon", "chardev=charmonitor,id=monitor,mode=control");
    if (a->o->two_monitors) {
        argv_add(a, "-chardev", "socket,id=charfollow,path=%s/follow.sock,server=on,wait=off", dir);
        argv_add(a, "-mon", "chardev=charfollow,id=follow,mode=control");
    }
}

static const struct timer_def *find_timer(const struct domain *d, const char *name)
{
    for (unsigned i = 0; i < d->clock.timers->len; i++) {
        const struct timer_def *t = d->clock.timers->pdata[i];
        if (word_is(t->name, name)) {
            return t;
        }
    }
    return NULL;
}

static char *rtc_base(const struct domain *d)
{
    const char *offset = d->clock.offset;
    if (word_is(offset, "localtime") || word_is(offset, "timezone")) {
        return g_strdup("localtime");
    }
    if (word_is(offset, "variable") && xml_num_or(d->clock.adjustment, 0)) {
        g_autoptr(GDateTime) now = word_is(d->clock.basis, "localtime")
                                       ? g_date_time_new_now_local()
                                       : g_date_time_new_now_utc();
        g_autoptr(GDateTime) then = g_date_time_add_seconds(now, (double)d->clock.adjustment.v);
        return then ? g_date_time_format(then, "%Y-%m-%dT%H:%M:%S") : g_strdup("utc");
    }
    if (word_is(offset, "absolute") && d->clock.start) {
        gint64 start = g_ascii_strtoll(d->clock.start, NULL, 10);
        g_autoptr(GDateTime) then = g_date_time_new_from_unix_utc(start);
        return then ? g_date_time_format(then, "%Y-%m-%dT%H:%M:%S") : g_strdup("utc");
    }
    return g_strdup(word_is(d->clock.basis, "localtime") ? "localtime" : "utc");
}

static void add_clock(struct argv *a)
{
    const struct timer_def *rtc = find_timer(a->d, "rtc"), *pit = find_timer(a->d, "pit"),
                           *hpet = find_timer(a->d, "hpet");
    g_autofree char *base = rtc_base(a->d);
    argv_add(a, "-rtc", "base=%s%s%s", base,
             rtc && word_is(rtc->tickpolicy, "catchup") ? ",driftfix=slew" : "",
             rtc && word_is(rtc->track, "guest")  ? ",clock=vm"
             : rtc && word_is(rtc->track, "wall") ? ",clock=host"
                                                  : "");
    if (pit && (word_is(pit->tickpolicy, "delay") || word_is(pit->tickpolicy, "discard"))) {
        argv_add(a, "-global", "kvm-pit.lost_tick_policy=%s", pit->tickpolicy);
    }
    if (hpet && word_is(hpet->present, "no")) {
        argv_add(a, "-no-hpet", NULL);
    }
}

/* What the machine does by itself: there is no daemon that could restart it. */
static void add_actions(struct argv *a)
{
    const struct domain *d = a->d;
    if (a->o->native) {
        argv_add(a, "-no-shutdown", NULL);
        return;
    }
    argv_add(a, "-action", "reboot=%s,shutdown=%s,panic=%s",
             word_is(d->on_reboot, "destroy") ? "shutdown" : "reset",
             word_is(d->on_poweroff, "preserve") ? "pause" : "poweroff",
             word_is(d->on_crash, "preserve") ? "pause" : "shutdown");
}

static void add_boot(struct argv *a)
{
    const struct domain *d = a->d;
    const char *pm = domain_is_q35(d) ? "ICH9-LPC" : "PIIX4_PM";
    bool sleeps = !domain_is_microvm(d);
    if (sleeps && d->pm.mem.enabled) {
        argv_add(a, "-global", "%s.disable_s3=%d", pm, word_is(d->pm.mem.enabled, "no"));
    }
    if (sleeps && d->pm.disk.enabled) {
        argv_add(a, "-global", "%s.disable_s4=%d", pm, word_is(d->pm.disk.enabled, "no"));
    }
    g_autoptr(GString) s = g_string_new(NULL);
    if (d->os.bootmenu.enable) {
        bool on = word_is(d->os.bootmenu.enable, "yes");
        g_string_append_printf(s, "menu=%s,", on ? "on" : "off");
        if (on && d->os.bootmenu.timeout.set) {
            g_string_append_printf(s, "splash-time=%d,", (int)d->os.bootmenu.timeout.v);
        }
    }
    if (d->os.bios.reboot_timeout.set) {
        g_string_append_printf(s, "reboot-timeout=%d,", (int)d->os.bios.reboot_timeout.v);
    }
    argv_add(a, "-boot", "%sstrict=on", s->str);
    if (d->os.kernel) {
        argv_add(a, "-kernel", "%s", d->os.kernel);
    }
    if (d->os.initrd) {
        argv_add(a, "-initrd", "%s", d->os.initrd);
    }
    if (d->os.cmdline && *d->os.cmdline) {
        argv_add(a, "-append", "%s", d->os.cmdline);
    }
}

static void add_iothreads(struct argv *a)
{
    const struct domain *d = a->d;
    unsigned n = xml_num_or(d->iothreads, 0);
    for (unsigned i = 0; i < n; i++) {
        unsigned id = domain_iothread_id(d, i);
        char name[32];
        g_snprintf(name, sizeof(name), "iothread%u", id);
        argv_json(a, "-object", json_pack("{ssss}", "qom-type", "iothread", "id", name));
    }
}

static void add_start(struct argv *a)
{
    const struct domain *d = a->d;
    g_autofree char *name = argv_value(d->name);
    g_autofree char *key = g_strdup_printf("%s/master-key.aes", a->o->dir);
    g_ptr_array_add(a->words, g_strdup(d->devices.emulator));
    argv_add(a, "-name", "guest=%s,debug-threads=on", name);
    argv_add(a, "-S", NULL);
    argv_json(a, "-object",
              json_pack("{ssssssss}", "qom-type", "secret", "id", "masterKey0", "format", "raw",
                        "file", key));
    argv_firmware_nodes(a);
}

static void add_end(struct argv *a)
{
    const struct domain *d = a->d;
    argv_add(a, "-sandbox",
             "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny");
    argv_panics(a);
    for (unsigned i = 0; i < d->qemu_commandline.args->len; i++) {
        const struct qemu_arg *q = d->qemu_commandline.args->pdata[i];
        g_ptr_array_add(a->words, g_strdup(q->value ? q->value : ""));
    }
    argv_add(a, "-msg", "timestamp=on");
}

/* What a definition may say and no command line here can do: refused, never left out in silence. */
static bool check_possible(const struct domain *d, GError **err)
{
    for (unsigned i = 0; i < d->devices.disks->len; i++) {
        const struct disk *k = d->devices.disks->pdata[i];
        if (k->transient || word_is(k->driver.copy_on_read, "on")) {
            return error_set(
                err, HANOK_ERROR_UNSUPPORTED,
                "line %u: <transient/> and copy_on_read of disk '%s' are not possible yet",
                k->node.line, k->target.dev);
        }
    }
    for (unsigned i = 0; i < d->devices.interfaces->len; i++) {
        const struct interface *n = d->devices.interfaces->pdata[i];
        if (n->filterref.node.present) {
            return error_set(
                err, HANOK_ERROR_UNSUPPORTED,
                "line %u: <filterref> is not possible: there is no network filter here",
                n->node.line);
        }
    }
    for (unsigned i = 0; i < d->devices.controllers->len; i++) {
        const struct controller *c = d->devices.controllers->pdata[i];
        if (c->type == CONTROLLER_CCID) {
            return error_set(err, HANOK_ERROR_UNSUPPORTED,
                             "line %u: smartcard readers are not possible", c->node.line);
        }
    }
    if (d->devices.tpms->len) {
        return error_set(err, HANOK_ERROR_UNSUPPORTED, "line %u: a <tpm> is not possible yet",
                         ((struct tpm *)d->devices.tpms->pdata[0])->node.line);
    }
    return true;
}

GPtrArray *domain_argv(struct domain *d, const struct argv_options *o, GError **err)
{
    if (!check_possible(d, err)) {
        return NULL;
    }
    struct argv a = {g_ptr_array_new_with_free_func(g_free), d, o, err, 0};
    domain_assign_aliases(d);
    add_start(&a);
    add_machine(&a);
    add_cpu(&a);
    if (d->os.loader.path && !has_pflash(d)) {
        argv_add(&a, "-bios", "%s", d->os.loader.path);
    }
    add_memory(&a);
    add_smp(&a);
    add_iothreads(&a);
    add_numa(&a);
    add_identity(&a);
    add_monitors(&a);
    add_clock(&a);
    add_actions(&a);
    add_boot(&a);
    bool ok = argv_controllers(&a) && argv_disks(&a) && argv_nets(&a) && argv_chrs(&a) &&
              argv_screens(&a) && argv_others(&a);
    if (!ok) {
        g_ptr_array_free(a.words, TRUE);
        return NULL;
    }
    add_end(&a);
    g_ptr_array_add(a.words, NULL);
    return a.words;
}
