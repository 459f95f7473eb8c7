/* board.c - what every PC board has: processors, memory, timers, ports, and what guests can read
 * about them.  What differs from board to board is in q35.c and i440fx.c.
 *
 * Interrupt controllers come first (their state loads before the lines that drive them), then the
 * timers, the chip set, and what the user plugged in. */
#include "board.h"

#include "base/error.h"
#include "base/log.h"
#include "base/util.h"
#include "bus/acpi.h"
#include "bus/fw_cfg.h"
#include "bus/io.h"
#include "bus/lapic.h"
#include "chardev/chardev.h"
#include "cpu/vcpu.h"
#include "devices/acpi_pm.h"
#include "devices/hpet.h"
#include "devices/i8042.h"
#include "devices/pit.h"
#include "devices/ports.h"
#include "devices/rtc.h"
#include "devices/shadow.h"
#include "devices/smram.h"
#include "devices/uart.h"
#include "firmware.h"
#include "mem/guest_mem.h"
#include "virtio/devices.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>

enum { PORTS = 0x10000, RESET_CONTROL_PORT = 0xcf9, DEBUGCON_PORT = 0xe9 };

static void pit_irq_wanted(void *opaque, bool on)
{
    struct machine *m = opaque;

    if (m->pit)
        pit_irq_enable(m->pit, on);
}

static void rtc_irq_wanted(void *opaque, bool on)
{
    struct machine *m = opaque;
    rtc_irq_enable(m->rtc, on);
}

/* Board lock held: the alarm is an ACPI event too, and may wake the machine. */
static void rtc_alarm(void *opaque)
{
    struct machine *m = opaque;

    if (m->pm)
        acpi_pm_rtc_alarm(m->pm);
    machine_request_wake_check(m);
}

static bool clock_config(struct machine *m, struct rtc_config *out, GError **err)
{
    static const char *const clocks[] = {"host", "rt", "vm", NULL};
    const char *base = "utc", *driftfix = NULL;
    unsigned clock = 0;

    if (!props_get_str(m->cfg->rtc, "base", &base, err) ||
        !props_get_enum(m->cfg->rtc, "clock", clocks, &clock, err) ||
        !props_get_str(m->cfg->rtc, "driftfix", &driftfix, err))
        return false;
    out->follow_vm = clock == 2;
    if (strcmp(base, "utc") == 0)
        return true;
    if (strcmp(base, "localtime") == 0) {
        out->base = RTC_BASE_LOCALTIME;
        return true;
    }
    g_autoptr(GTimeZone) utc = g_time_zone_new_utc();
    g_autofree char *day =
        strchr(base, 'T') ? g_strdup(base) : g_strconcat(base, "T00:00:00", NULL);
    g_autoptr(GDateTime) when = g_date_time_new_from_iso8601(day, utc);
    if (!when)
        return error_set(err, HANOK_ERROR_INVALID,
                         "-rtc base=%s is not a time; give utc, localtime, or YYYY-MM-DDTHH:MM:SS",
                         base);
    out->base = RTC_BASE_DATE;
    out->date_s = g_date_time_to_unix(when);
    return true;
}

static bool timers(struct machine *m, GError **err)
{
    struct rtc_config cfg = {.base = RTC_BASE_UTC};
    struct hpet_legacy legacy = {
        .opaque = m, .irq0_enable = pit_irq_wanted, .irq8_enable = rtc_irq_wanted};

    if (!clock_config(m, &cfg, err))
        return false;
    if (m->parts.pit && (!m->cpus || !cpu_set_kernel_pit(m->cpus)))
        m->pit = pit_new(&m->devices, m->pio, m->irqchip, m->clock);
    if (m->parts.rtc) {
        m->rtc = rtc_new(&m->devices, m->pio, m->irqchip, m->clock, &m->requests, &cfg);
        rtc_set_alarm_handler(m->rtc, rtc_alarm, m);
        rtc_cmos_set_memory(m->rtc, m->map.low_bytes, m->map.high_bytes);
    }
    if (m->hpet)
        hpet_new(&m->devices, m->mmio, m->irqchip, m->clock, &legacy);
    return true;
}

/* The reset control's byte lies inside the PCI address register: it must be there first. */
static bool first_megabyte(struct machine *m, GError **err)
{
    struct ram_block *low = m->bios; /* whose end lies below 1 MiB too */

    machine_smm_begin(m);
    if (!reset_port_new(&m->devices, m->pio, &m->requests))
        return error_set(err, HANOK_ERROR_INVALID, "the reset port cannot be made");
    m->pci.reset_control = io_space_find(m->pio, RESET_CONTROL_PORT);
    if (!firmware_flash(m, &low, err))
        return false;
    m->shadow = shadow_new(&m->devices, m->mem, m->mmio, m->ram, low, low == m->bios, &m->requests);
    if (m->smm_wanted)
        m->smram = smram_new(&m->devices, m->mem, m->ram, m->map.low_bytes, &m->requests);
    if (!m->type->no_pci) {
        m->pci.root_name = m->board->root_bus;
        pci_host_init(&m->pci, &m->devices, m->pio, m->mmio, m->irqchip, m->mem);
    }
    m->pm = acpi_pm_new(&m->devices, m->pio, m->irqchip, m->clock, &m->requests, m->board->pm);
    machine_cpu_hotplug_build(m);
    return true;
}

static bool serial_ports(struct machine *m, GError **err)
{
    static const struct uart_config places[MACHINE_SERIALS_MAX] = {
        {0x3f8, 4, NULL}, {0x2f8, 3, NULL}, {0x3e8, 4, NULL}, {0x2e8, 3, NULL}};

    for (guint i = 0; i < m->cfg->serials->len; i++) {
        const char *spec = g_ptr_array_index(m->cfg->serials, i);
        g_autofree char *id = g_strdup_printf("serial%u", i);
        struct chardev *c;
        if (strcmp(spec, "none") == 0 || (!m->parts.serial && strcmp(spec, "null") == 0))
            continue;
        if (!m->parts.serial)
            return error_set(err, HANOK_ERROR_INVALID,
                             "-serial %s needs a serial port, and isa-serial=off leaves it away",
                             spec);
        if (i >= MACHINE_SERIALS_MAX)
            return error_set(err, HANOK_ERROR_INVALID, "a machine has at most %d serial ports",
                             MACHINE_SERIALS_MAX);
        c = chardev_open_legacy(spec, id, false, err);
        if (!c || !uart_new(&m->devices, m->pio, m->irqchip, m->clock, c, &places[i], err)) {
            g_prefix_error(err, "-serial %s: ", spec);
            return false;
        }
        m->com_mask |= (uint8_t)BIT(i);
    }
    return true;
}

static bool debug_consoles(struct machine *m, GError **err)
{
    for (guint i = 0; i < m->cfg->debugcons->len; i++) {
        const char *spec = g_ptr_array_index(m->cfg->debugcons, i);
        g_autofree char *id = g_strdup_printf("debugcon%u", i);
        struct chardev *c = chardev_open_legacy(spec, id, false, err);
        if (!c || !debugcon_new(&m->devices, m->pio, c, DEBUGCON_PORT, DEBUGCON_PORT, id, err)) {
            g_prefix_error(err, "-debugcon %s: ", spec);
            return false;
        }
    }
    return true;
}

static bool user_devices(struct machine *m, GError **err)
{
    for (guint i = 0; i < m->cfg->devices->len; i++)
        if (!machine_device_add(m, g_ptr_array_index(m->cfg->devices, i), err))
            return false;
    return true;
}

/* ---- what guests can read about all this ---- */

static void fw_cfg_items(struct machine *m, bool graphics)
{
    struct e820_entry e820[E820_MAX];
    struct {
        uint64_t base, size_bytes;
        uint32_t type;
    } __attribute__((packed)) ram[E820_MAX];
    unsigned n = 0, count = memory_map_e820(&m->map, m->map.low_bytes, e820);
    uint8_t uuid[16] = {0};
    uint64_t end = m->map.pci64.base;

    if (m->cfg->have_uuid)
        memcpy(uuid, m->cfg->uuid, sizeof(uuid));
    fw_cfg_add_bytes(m->fw_cfg, FW_CFG_UUID, uuid, sizeof(uuid));
    fw_cfg_add_u64(m->fw_cfg, FW_CFG_RAM_SIZE, m->map.low_bytes);
    fw_cfg_add_u16(m->fw_cfg, FW_CFG_NOGRAPHIC, m->cfg->nographic || !graphics);
    fw_cfg_add_u16(m->fw_cfg, FW_CFG_MAX_CPUS, (uint16_t)machine_cpus_max(m));
    /* Firmware wants whole RAM ranges here; holes inside them it knows itself. */
    for (unsigned i = 0; i < count; i++)
        if (e820[i].base >= 4 * GiB)
            memcpy(&ram[n++], &e820[i], sizeof(ram[0]));
    memmove(&ram[1], &ram[0], n * sizeof(ram[0]));
    ram[0].base = 0;
    ram[0].size_bytes = m->map.low_bytes;
    ram[0].type = E820_RAM;
    fw_cfg_add_file(m->fw_cfg, "etc/e820", ram, (n + 1) * sizeof(ram[0]));
    fw_cfg_add_file(m->fw_cfg, "etc/reserved-memory-end", &end, sizeof(end));
    /* S3, S4, S5: bit 7 says the state is offered, the rest is SLP_TYP. */
    uint8_t states[6] = {0,
                         0,
                         0,
                         (uint8_t)((m->sleep_s3 ? 0x80 : 0) | ACPI_PM_SLP_TYP_S3),
                         (uint8_t)((m->sleep_s4 ? 0x80 : 0) | ACPI_PM_SLP_TYP_S4),
                         0x80 | ACPI_PM_SLP_TYP_S5};
    fw_cfg_add_file(m->fw_cfg, "etc/system-states", states, sizeof(states));
}

/* -fw_cfg name=NAME,string=TEXT or file=PATH */
static bool fw_cfg_user_items(struct machine *m, GError **err)
{
    for (guint i = 0; i < m->cfg->fw_cfg->len; i++) {
        struct props *p = g_ptr_array_index(m->cfg->fw_cfg, i);
        const char *name = NULL, *text = NULL, *path = NULL;
        g_autofree char *data = NULL;
        gsize len = 0;
        if (!props_get_str(p, "name", &name, err) || !props_get_str(p, "string", &text, err) ||
            !props_get_str(p, "file", &path, err) || !props_check_unused(p, "-fw_cfg", NULL, err))
            return false;
        if (!name || strlen(name) > 55 || !text == !path)
            return error_set(err, HANOK_ERROR_INVALID,
                             "-fw_cfg needs name= (at most 55 characters) and either string= or "
                             "file=");
        if (path && !g_file_get_contents(path, &data, &len, err)) {
            g_prefix_error(err, "-fw_cfg %s: ", name);
            return false;
        }
        fw_cfg_add_file(m->fw_cfg, name, path ? data : text, path ? len : strlen(text));
    }
    return true;
}

/* Those of a board without PCI that are there. */
static GArray *virtio_places(struct machine *m)
{
    GArray *list = g_array_new(false, false, sizeof(struct acpi_virtio));

    for (unsigned i = 0; i < m->slot_count; i++) {
        const struct virtio_mmio_slot *s = &m->slots[i];
        struct acpi_virtio v = {s->index, s->gsi, (uint32_t)s->base, VIRTIO_MMIO_BYTES};
        if (s->device)
            g_array_append_val(list, v);
    }
    return list;
}

void board_cpu_items(struct machine *m)
{
    unsigned n = machine_cpus_max(m);
    g_autoptr(GArray) virtio = virtio_places(m);
    g_autofree uint32_t *apic_id = g_new(uint32_t, n);
    g_autofree bool *there = g_new(bool, n);
    struct acpi_config cfg = {.chipset = m->board->acpi,
                              .cpu_count = n,
                              .apic_id = apic_id,
                              .cpu_there = there,
                              .ecam = m->map.ecam,
                              .pci32 = m->map.pci32,
                              .pci64 = m->map.pci64,
                              .pm_base = m->tables_pm_base,
                              .com_mask = m->com_mask,
                              .no_rtc = !m->parts.rtc,
                              .no_pic = !m->parts.pic,
                              .virtio = (const struct acpi_virtio *)(void *)virtio->data,
                              .virtio_count = virtio->len,
                              .pvpanic_port = m->pvpanic_port,
                              .hpet = m->hpet,
                              .sleep_s3 = m->sleep_s3,
                              .sleep_s4 = m->sleep_s4,
                              .pirq = m->board->pirq};

    for (unsigned i = 0; i < n; i++)
        apic_id[i] = cpu_apic_id(&m->cfg->topology, i);
    fw_cfg_add_u16(m->fw_cfg, FW_CFG_NB_CPUS, (uint16_t)machine_cpus_there(m, there));
    acpi_build(m->fw_cfg, &cfg);
}

void board_tables_follow(struct machine *m)
{
    uint16_t base = acpi_pm_base(m->pm);

    base = base ? base : BOARD_PM_BASE;
    if (base == m->tables_pm_base)
        return;
    m->tables_pm_base = base;
    board_cpu_items(m);
}

static void directory_read(void *opaque)
{
    board_tables_follow(opaque);
}

/* Strings the user gave of one type; *out keeps its value where there is none. */
struct smbios_text {
    unsigned type;
    const char *key, **out;
};

static bool smbios_fields(struct machine *m, struct smbios_config *c, GError **err)
{
    const char *release = NULL;
    const struct smbios_text list[] = {
        {0, "vendor", &c->bios.vendor},
        {0, "version", &c->bios.version},
        {0, "date", &c->bios.date},
        {0, "release", &release},
        {1, "manufacturer", &c->manufacturer},
        {1, "product", &c->product},
        {1, "version", &c->version},
        {1, "serial", &c->serial},
        {1, "sku", &c->sku},
        {1, "family", &c->family},
        {2, "manufacturer", &c->board.manufacturer},
        {2, "product", &c->board.product},
        {2, "version", &c->board.version},
        {2, "serial", &c->board.serial},
        {2, "asset", &c->board.asset},
        {2, "location", &c->board.location},
        {3, "manufacturer", &c->chassis.manufacturer},
        {3, "version", &c->chassis.version},
        {3, "serial", &c->chassis.serial},
        {3, "asset", &c->chassis.asset},
        {3, "sku", &c->chassis.sku},
    };
    char end = 0;

    for (unsigned i = 0; i < ARRAY_SIZE(list); i++) {
        struct props *p = m->cfg->smbios[list[i].type];
        if (p && !props_get_str(p, list[i].key, list[i].out, err))
            return false;
    }
    return !release ||
           (sscanf(release, "%3u.%3u%c", &c->bios.major, &c->bios.minor, &end) == 2 &&
            c->bios.major < 256 && c->bios.minor < 256) ||
           error_set(err, HANOK_ERROR_INVALID, "-smbios: release='%s' is not N.N", release);
}

/* Those of type 11, in their order; the array is the caller's, its strings are not. */
static GPtrArray *smbios_strings(struct machine *m)
{
    struct props *p = m->cfg->smbios[11];
    GPtrArray *list = g_ptr_array_new();
    json_t *values = p ? props_get_list(p, "value") : NULL;

    for (size_t i = 0; i < json_array_size(values); i++) {
        const char *text = json_string_value(json_array_get(values, i));
        if (text)
            g_ptr_array_add(list, (gpointer)text);
    }
    g_ptr_array_add(list, NULL);
    return list;
}

static bool inventory(struct machine *m, GError **err)
{
    const struct cpu_topology *t = &m->cfg->topology;
    const struct cpu_model *model = m->cpus ? cpu_set_model(m->cpus) : NULL;
    struct smbios_config cfg = {
        .uuid = m->cfg->have_uuid ? m->cfg->uuid : NULL,
        .product = m->type->desc,
        .version = m->type->name,
        .sockets = t->sockets,
        .cores_per_socket = t->dies * t->cores,
        .threads_per_socket = t->threads,
        .ram_low = {0, m->map.low_bytes},
        .ram_high = {m->map.high_base, m->map.high_bytes},
        .cpu_vendor = model ? model->vendor : NULL,
        .cpu_brand = model ? model->brand : NULL,
    };

    g_autoptr(GPtrArray) texts = smbios_strings(m);

    cfg.strings = (const char *const *)texts->pdata;
    if (!smbios_fields(m, &cfg, err))
        return false;
    if (model) {
        struct cpuid_entry leaves[CPUID_MAX_ENTRIES];
        unsigned count = cpuid_build(model, t, 0, leaves);
        for (unsigned i = 0; i < count; i++) {
            if (leaves[i].leaf != 1)
                continue;
            cfg.cpuid_signature = leaves[i].eax;
            cfg.cpuid_features = leaves[i].edx;
        }
    }
    smbios_build(m->fw_cfg, &cfg);
    return true;
}

/* ---- the board ---- */

static void vcpu_triple_fault(void *opaque, unsigned cpu)
{
    machine_request_reset(opaque, CAUSE_TRIPLE_FAULT);
}

/* Numbers that mean something to the system that crashed (Windows: a bug check and its four). */
static void vcpu_crashed(void *opaque, const uint64_t info[5])
{
    struct machine *m = opaque;

    log_guest_limited(&m->crash_log,
                      "the guest tells of its crash: 0x%" PRIx64 " (0x%" PRIx64 ", 0x%" PRIx64
                      ", 0x%" PRIx64 ", 0x%" PRIx64 ")",
                      info[0], info[1], info[2], info[3], info[4]);
    pthread_mutex_lock(&m->request_lock);
    memcpy(m->crash_info, info, sizeof(m->crash_info));
    m->crash_told = true;
    pthread_mutex_unlock(&m->request_lock);
    m->requests.panicked(m->requests.opaque, false);
}

static void vcpu_internal_error(void *opaque, unsigned cpu, const char *dump)
{
    machine_request_internal_error(opaque, cpu, dump);
}

static bool processors(struct machine *m, GError **err)
{
    struct cpu_config cfg = {
        .topology = m->cfg->topology,
        .cpu_spec = m->cfg->cpu,
        .accel_props = m->cfg->accel_props,
        .highest_gpa = m->map.highest_gpa,
        .mem = m->mem,
        .pio = m->pio,
        .mmio = m->mmio,
        .clock = m->clock,
        .events = {vcpu_triple_fault, vcpu_internal_error, vcpu_crashed, m},
    };
    struct soft_irqchip *soft;

    if (m->cfg->accels && strcmp(m->cfg->accels, "qtest") == 0) {
        soft = m->own_irqchip = soft_irqchip_new(m->clock, 1);
        m->irqchip = soft_irqchip_base(soft);
        m->accel_sentence = g_strdup("No processor runs: a test drives the board");
    } else {
        m->cpus = cpu_set_new(m->cfg->accels, &cfg, &m->accel_sentence, err);
        if (!m->cpus)
            return false;
        m->irqchip = cpu_set_irqchip(m->cpus);
        soft = cpu_set_soft_irqchip(m->cpus);
    }
    if (soft)
        soft_irqchip_plug(soft, &m->devices, m->pio, m->mmio);
    return true;
}

static bool memory(struct machine *m, GError **err)
{
    const struct memory_map *map = &m->map;
    uint64_t tail = m->smm_wanted ? SMRAM_TAIL_BYTES : 0; /* shown by smram.c */

    if (m->smm_wanted && map->low_bytes < 2 * SMRAM_TAIL_BYTES)
        return error_set(err, HANOK_ERROR_INVALID,
                         "-machine smm=on needs memory for it: give at least -m %u",
                         (unsigned)(2 * SMRAM_TAIL_BYTES / MiB));
    m->ram = machine_ram_new(m, err);
    if (!m->ram)
        return false;
    guest_mem_map(m->mem, GPA(0), m->ram, 0, 640 * KiB, GUEST_RAM);
    if (map->low_bytes > MiB + tail) /* what lies between is the shadow RAM's */
        guest_mem_map(m->mem, GPA(MiB), m->ram, MiB, map->low_bytes - tail - MiB, GUEST_RAM);
    if (map->high_bytes)
        guest_mem_map(m->mem, GPA(map->high_base), m->ram, map->low_bytes, map->high_bytes,
                      GUEST_RAM);
    return true;
}

/* The chips, in the order in which their states load. */
static bool board_parts(struct machine *m, GError **err)
{
    if (m->type->no_pci) /* which of them is the chip set's to say */
        return first_megabyte(m, err) && m->board->chipset(m, err) && timers(m, err);
    if (!timers(m, err) || !first_megabyte(m, err) || !m->board->chipset(m, err))
        return false;
    machine_input_add(m, i8042_new(&m->devices, m->pio, m->irqchip, &m->requests));
    return (port92_new(&m->devices, m->pio, &m->requests) && dma8237_new(&m->devices, m->pio)) ||
           error_set(err, HANOK_ERROR_INVALID, "the board's ports are taken");
}

bool board_build(struct machine *m, GError **err)
{
    bool graphics = true; /* off: a BIOS says what it has to say on the serial port, too */

    if (!props_get_bool(m->cfg->machine, "graphics", &graphics, err))
        return false;
    m->pio = io_space_new("pio", PORTS);
    m->mmio = io_space_new("mmio", UINT64_C(1) << 52);
    m->usb = (struct usb_buses){.devices = &m->devices, .clock = m->clock};
    if (!processors(m, err) || !memory(m, err))
        return false;
    m->fw_cfg = fw_cfg_new(&m->devices, m->pio, m->mem);
    if (!board_parts(m, err))
        return false;
    if (!serial_ports(m, err) || !debug_consoles(m, err) || !machine_usb_add(m, err) ||
        !user_devices(m, err))
        return false;
    fw_cfg_items(m, graphics);
    if (!firmware_boot_items(m, err) || !fw_cfg_user_items(m, err) || !inventory(m, err))
        return false;
    board_tables_follow(m);
    fw_cfg_on_directory(m->fw_cfg, directory_read, m);
    return true;
}
