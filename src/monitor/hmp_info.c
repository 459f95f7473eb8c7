/* hmp_info.c - the topics of "info". */
#include "hmp.h"

#include "block/block.h"
#include "bus/pci.h"
#include "chardev/chardev.h"
#include "commands.h"
#include "cpu/vcpu.h"
#include "mem/guest_mem.h"
#include "net/net.h"
#include "virtio/devices.h"

#include <inttypes.h>

void hmp_with_cpus_paused(struct hmp *h, void (*fn)(struct hmp *h, struct cpu_set *s, void *opaque),
                          void *opaque)
{
    struct cpu_set *s = machine_cpus(h->m);
    bool running = machine_run_state(h->m) == RUN_RUNNING;
    if (!s) {
        hmp_printf(h, "This machine has no CPUs.\n");
        return;
    }
    if (running) {
        cpu_set_pause(s);
    }
    fn(h, s, opaque);
    if (running) {
        cpu_set_resume(s);
    }
}

static void info_status(struct hmp *h, const char *args)
{
    enum run_state s = machine_run_state(h->m);
    const char *name = run_state_name(s);
    if (s == RUN_RUNNING || s == RUN_PAUSED) {
        hmp_printf(h, "VM status: %s\n", name);
    } else {
        hmp_printf(h, "VM status: paused (%s)\n", name);
    }
}

static void info_version(struct hmp *h, const char *args)
{
    hmp_printf(h, "hanok-vm %s\n", HANOK_VERSION);
}

static void info_name(struct hmp *h, const char *args)
{
    const char *name = machine_config(h->m)->name;
    hmp_printf(h, "%s\n", name ? name : "");
}

static void info_uuid(struct hmp *h, const char *args)
{
    struct qmp_call call = {.m = h->m};
    json_t *o = cmd_query_uuid(&call, NULL, NULL);
    hmp_printf(h, "%s\n", qmp_text(o, "UUID"));
    json_decref(o);
}

static void info_kvm(struct hmp *h, const char *args)
{
    const char *why = machine_accel_sentence(h->m);
    hmp_printf(h, "kvm support: %s\n", strcmp(accel_name(h->m), "kvm") ? "disabled" : "enabled");
    if (why) {
        hmp_printf(h, "%s\n", why);
    }
}

static void print_registers(struct hmp *h, struct cpu_set *s, void *opaque)
{
    for (unsigned i = 0; i < cpu_set_count(s); i++) {
        struct x86_state *state = g_aligned_alloc0(1, sizeof(*state), 64);
        vcpu_get_state(cpu_set_get(s, i), state);
        g_autofree char *text = x86_state_format(state);
        hmp_printf(h, "\nCPU#%u\n%s", vcpu_index(cpu_set_get(s, i)), text);
        g_aligned_free(state);
    }
}

static void info_registers(struct hmp *h, const char *args)
{
    hmp_with_cpus_paused(h, print_registers, NULL);
}

static void info_cpus(struct hmp *h, const char *args)
{
    struct cpu_set *s = machine_cpus(h->m);
    for (unsigned i = 0; s && i < cpu_set_count(s); i++) {
        struct vcpu *v = cpu_set_get(s, i);
        hmp_printf(h, "%s CPU #%u: thread_id=%d apic_id=%u%s\n", i ? " " : "*", vcpu_index(v),
                   vcpu_tid(v), vcpu_apic_id(v), vcpu_halted(v) ? " (halted)" : "");
    }
}

static bool print_region(const struct guest_region *r, void *opaque)
{
    struct hmp *h = opaque;
    hmp_printf(h, "  %016" PRIx64 "-%016" PRIx64 " %s %s\n", r->gpa, r->gpa + r->size_bytes - 1,
               r->kind == GUEST_ROM ? "rom" : "ram", r->name ? r->name : "");
    return true;
}

static void print_line(void *opaque, const char *text)
{
    hmp_printf(opaque, "  %s\n", text);
}

static void info_mtree(struct hmp *h, const char *args)
{
    struct guest_mem *mem = machine_mem(h->m);
    struct device_list *devices = machine_devices(h->m);
    if (mem) {
        hmp_printf(h, "memory:\n");
        guest_mem_foreach(mem, print_region, h);
    }
    if (machine_mmio(h->m)) {
        pthread_mutex_lock(&devices->lock); /* BARs may be moving */
        hmp_printf(h, "memory-mapped I/O:\n");
        io_space_dump(machine_mmio(h->m), print_line, h);
        hmp_printf(h, "ports:\n");
        io_space_dump(machine_pio(h->m), print_line, h);
        pthread_mutex_unlock(&devices->lock);
    }
}

static bool print_rom(const struct guest_region *r, void *opaque)
{
    if (r->kind == GUEST_ROM) {
        print_region(r, opaque);
    }
    return true;
}

static void info_roms(struct hmp *h, const char *args)
{
    struct guest_mem *mem = machine_mem(h->m);
    if (mem) {
        guest_mem_foreach(mem, print_rom, h);
    }
}

static void print_pci(struct pci_dev *d, void *opaque)
{
    struct hmp *h = opaque;
    hmp_printf(h, "  Bus %2u, device %3u, function %u:\n    %s: PCI device %04x:%04x\n",
               d->bus->number, d->devfn >> 3, d->devfn & 7, d->dev.ops->type, le16_get(d->config),
               le16_get(d->config + 2));
    if (d->config[0x3d]) {
        hmp_printf(h, "      IRQ %u, pin %c\n", d->config[0x3c], 'A' + d->config[0x3d] - 1);
    }
    for (unsigned i = 0; i < PCI_BAR_COUNT; i++) {
        struct pci_bar *b = &d->bar[i];
        if (b->kind == PCI_BAR_NONE || !b->region) {
            continue;
        }
        hmp_printf(h, "      BAR%u: %s%s at 0x%" PRIx64 " [0x%" PRIx64 " bytes]\n", i,
                   b->kind == PCI_BAR_IO      ? "I/O"
                   : b->kind == PCI_BAR_MEM64 ? "64 bit memory"
                                              : "32 bit memory",
                   b->prefetch ? ", prefetchable" : "", b->mapped_at, b->region->size_bytes);
    }
    hmp_printf(h, "      id \"%s\"\n", d->dev.id ? d->dev.id : "");
}

static void info_pci(struct hmp *h, const char *args)
{
    struct device_list *devices = machine_devices(h->m);
    if (devices && machine_pci(h->m)) {
        pthread_mutex_lock(&devices->lock);
        foreach_pci_dev(h->m, print_pci, h);
        pthread_mutex_unlock(&devices->lock);
    }
}

static void info_qtree(struct hmp *h, const char *args)
{
    struct device_list *devices = machine_devices(h->m);
    for (struct device *d = devices ? devices->first : NULL; d; d = d->next) {
        hmp_printf(h, "dev: %s, id \"%s\", path \"%s\"\n", d->ops->type, d->id ? d->id : "",
                   d->path ? d->path : "");
    }
}

static void info_irq(struct hmp *h, const char *args)
{
    struct cpu_set *s = machine_cpus(h->m);
    for (unsigned i = 0; s && i < cpu_set_count(s); i++) {
        struct vcpu_stats st;
        vcpu_stats(cpu_set_get(s, i), &st);
        hmp_printf(h, "CPU #%u: %" PRIu64 " interrupts injected\n", i, st.events[VCPU_EV_IRQ]);
    }
}

/* One line a counter: the sum, then each vcpu's own when there are several. */
static void print_counters(struct hmp *h, struct cpu_set *s)
{
    const struct vcpu_counter *name = s ? cpu_set_counters(s) : NULL;
    unsigned cpus = name ? cpu_set_count(s) : 0;
    g_autofree uint64_t *value = g_new0(uint64_t, (size_t)cpus * VCPU_COUNTERS_MAX);
    for (unsigned i = 0; i < cpus; i++) {
        vcpu_counters(cpu_set_get(s, i), value + (size_t)i * VCPU_COUNTERS_MAX);
    }
    for (unsigned n = 0; cpus && name[n].name; n++) {
        uint64_t sum = 0;
        for (unsigned i = 0; i < cpus; i++) {
            sum += value[i * VCPU_COUNTERS_MAX + n];
        }
        hmp_printf(h, "%-24s %14" PRIu64, name[n].name, sum);
        for (unsigned i = 0; cpus > 1 && i < cpus; i++) {
            hmp_printf(h, " #%u %" PRIu64, i, value[i * VCPU_COUNTERS_MAX + n]);
        }
        hmp_printf(h, "  %s\n", name[n].what);
    }
}

static void info_jit(struct hmp *h, const char *args)
{
    static const char *const exits[VCPU_EXIT_COUNT] = {
        [VCPU_EXIT_NONE] = "kick",         [VCPU_EXIT_PIO] = "pio",
        [VCPU_EXIT_MMIO] = "mmio",         [VCPU_EXIT_HLT] = "hlt",
        [VCPU_EXIT_SHUTDOWN] = "shutdown", [VCPU_EXIT_INTERNAL] = "internal",
        [VCPU_EXIT_DEBUG] = "debug"};
    struct cpu_set *s = machine_cpus(h->m);
    hmp_printf(h, "accelerator: %s\n", accel_name(h->m));
    for (unsigned i = 0; s && i < cpu_set_count(s); i++) {
        struct vcpu_stats st;
        vcpu_stats(cpu_set_get(s, i), &st);
        hmp_printf(h,
                   "CPU #%u: %" PRIu64 " instructions, %" PRIu64 " ms in guest, %" PRIu64
                   " ms halted; exits:",
                   i, st.instructions, st.place_ns[VCPU_IN_GUEST] / 1000000,
                   st.place_ns[VCPU_HALTED] / 1000000);
        for (unsigned e = 0; e < VCPU_EXIT_COUNT; e++) {
            hmp_printf(h, " %s %" PRIu64, exits[e], st.exits[e]);
        }
        hmp_printf(h, "\n");
    }
    print_counters(h, s);
}

static void print_node(struct blk_node *n, void *opaque)
{
    struct blk_limits l;
    blk_limits(n, &l);
    const char *file = blk_filename(n), *name = blk_node_name(n);
    hmp_printf(opaque, "%s: %s (%s%s), %" PRIu64 " bytes\n", name ? name : "(anonymous)",
               file ? file : "", blk_driver_name(n), l.read_only ? ", read-only" : "",
               l.size_bytes);
}

static void info_block(struct hmp *h, const char *args)
{
    blk_foreach(print_node, h);
}

static void print_node_stats(struct blk_node *n, void *opaque)
{
    struct blk_stats s;
    blk_stats(n, &s);
    hmp_printf(opaque,
               "%s: rd_bytes=%" PRIu64 " wr_bytes=%" PRIu64 " rd_operations=%" PRIu64
               " wr_operations=%" PRIu64 " flush_operations=%" PRIu64 " rd_total_time_ns=%" PRIu64
               " wr_total_time_ns=%" PRIu64 " flush_total_time_ns=%" PRIu64 "\n",
               blk_node_name(n) ? blk_node_name(n) : "(anonymous)", s.bytes[BLK_READ],
               s.bytes[BLK_WRITE], s.ops[BLK_READ], s.ops[BLK_WRITE], s.ops[BLK_FLUSH],
               s.ns[BLK_READ], s.ns[BLK_WRITE], s.ns[BLK_FLUSH]);
}

static void info_blockstats(struct hmp *h, const char *args)
{
    blk_foreach(print_node_stats, h);
}

static void print_chardev(struct chardev *c, void *opaque)
{
    g_autofree char *name = chardev_filename(c);
    hmp_printf(opaque, "%s: filename=%s\n", chardev_id(c), name);
}

static void info_chardev(struct hmp *h, const char *args)
{
    chardev_foreach(print_chardev, h);
}

static void print_net(struct net_backend *b, void *opaque)
{
    g_autofree char *text = net_info(b);
    hmp_printf(opaque, "%s\n", text);
}

static void info_network(struct hmp *h, const char *args)
{
    net_foreach(print_net, h);
}

static void print_user_net(struct net_backend *b, void *opaque)
{
    g_autofree char *connections = net_user_connections(b), *guests = net_user_neighbours(b);
    if (connections) {
        hmp_printf(opaque, "Hub -1 (%s):\n%s%s", net_id(b), connections, guests);
    }
}

static void info_usernet(struct hmp *h, const char *args)
{
    net_foreach(print_user_net, h);
}

static void info_balloon(struct hmp *h, const char *args)
{
    struct device *d = virtio_balloon_find(machine_devices(h->m));
    if (d) {
        hmp_printf(h, "balloon: actual=%" PRIu64 "\n", (uint64_t)(virtio_balloon_actual(d) / MiB));
    } else {
        hmp_printf(h, "Error: No balloon device has been activated\n");
    }
}

static void info_memory_size(struct hmp *h, const char *args)
{
    hmp_printf(h, "base memory: %" PRIu64 "\nplugged memory: 0\n", machine_config(h->m)->ram_bytes);
}

const struct hmp_command hmp_topics[] = {
    {"status", "", "is it running", info_status},
    {"registers", "", "the CPUs' registers", info_registers},
    {"cpus", "", "the CPUs and their threads", info_cpus},
    {"mtree", "", "the memory map and who answers I/O", info_mtree},
    {"roms", "", "read-only memory", info_roms},
    {"memory_size_summary", "", "how much memory", info_memory_size},
    {"pci", "", "PCI functions", info_pci},
    {"qtree", "", "all devices", info_qtree},
    {"irq", "", "interrupts injected", info_irq},
    {"jit", "", "what the CPUs have done", info_jit},
    {"block", "", "disk images", info_block},
    {"blockstats", "", "what was read and written", info_blockstats},
    {"chardev", "", "character devices", info_chardev},
    {"network", "", "networks", info_network},
    {"usernet", "", "connections and guests of user networks", info_usernet},
    {"balloon", "", "the guest's memory after ballooning", info_balloon},
    {"version", "", "the program's version", info_version},
    {"name", "", "the guest's name", info_name},
    {"uuid", "", "the machine's UUID", info_uuid},
    {"kvm", "", "is KVM used", info_kvm},
    {NULL},
};

void hmp_info(struct hmp *h, const char *topic)
{
    g_autofree char *word = g_strndup(topic, strcspn(topic, " "));
    for (const struct hmp_command *c = hmp_topics; c->name; c++) {
        if (!strcmp(c->name, word)) {
            c->run(h, topic + strlen(word));
            return;
        }
    }
    if (*word) {
        hmp_printf(h, "unknown topic: '%s'; there are:\n", word);
    }
    for (const struct hmp_command *c = hmp_topics; c->name; c++) {
        hmp_printf(h, "info %s -- %s\n", c->name, c->help);
    }
}
