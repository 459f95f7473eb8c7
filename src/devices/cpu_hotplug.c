/* cpu_hotplug.c - the CPU hotplug register block.
 *
 *   offset  read                                     write
 *   0..3    data of command 3, upper half            selector: the CPU that all others are about
 *   4       status: 0 present, 1 inserting,          control: 1 clears "inserting", 2 clears
 *           2 removing                               "removing", 3 ejects
 *   5       0                                        command, one of enum command
 *   8..11   data of the command                      _OST event or status
 *
 * A selector that no CPU has reads zeros and writes nothing. */
#include "devices/cpu_hotplug.h"

#include "base/error.h"
#include "base/state.h"
#include "base/util.h"
#include "bus/io.h"
#include "devices/acpi_pm.h"

#include <assert.h>
#include <glib.h>

enum { OFF_SELECTOR = 0, OFF_CONTROL = 4, OFF_COMMAND = 5, OFF_DATA = 8 };
enum { PRESENT = 1 << 0, INSERTING = 1 << 1, REMOVING = 1 << 2 }; /* as the guest reads them */
enum { CTL_CLEAR_INSERT = 1 << 1, CTL_CLEAR_REMOVE = 1 << 2, CTL_EJECT = 1 << 3 };
enum command { CMD_NEXT_EVENT, CMD_OST_EVENT, CMD_OST_STATUS, CMD_ARCH_ID, CMD_COUNT };
enum { FLAG_EJECTING = 1 << 6, FLAG_REPORTED = 1 << 7 }; /* ours; above what the guest sees */
enum { EVENTS = INSERTING | REMOVING };

struct cpu_hotplug {
    struct device dev; /* first */
    struct io_region region;
    /* immutable */
    struct cpu_hotplug_config cfg;
    uint32_t *apic_id;
    /* board lock */
    uint32_t selector;
    uint8_t command;
    uint8_t flags[CPU_HOTPLUG_MAX];   /* of the guest's two events, and ours */
    uint8_t present[CPU_HOTPLUG_MAX]; /* PRESENT or 0; the machine knows it, no stream */
    struct {
        uint32_t event, status;
    } ost[CPU_HOTPLUG_MAX]; /* for whoever asks from outside: not part of the state */
};

static bool selected(const struct cpu_hotplug *h)
{
    return h->selector < h->cfg.cpus_max;
}

/* Moves the selector to a CPU about which the guest has not been told; else leaves it. */
static void next_event(struct cpu_hotplug *h)
{
    for (unsigned n = 0; n < h->cfg.cpus_max; n++) {
        unsigned cpu = (h->selector + n) % h->cfg.cpus_max;
        if (h->flags[cpu] & EVENTS) {
            h->selector = cpu;
            return;
        }
    }
}

static uint32_t data_of_command(const struct cpu_hotplug *h)
{
    return h->command == CMD_NEXT_EVENT ? h->selector
           : h->command == CMD_ARCH_ID  ? h->apic_id[h->selector]
                                        : 0;
}

static uint64_t block_read(struct io_region *r, uint64_t off, unsigned size)
{
    struct cpu_hotplug *h = container_of(r, struct cpu_hotplug, region);
    uint8_t bytes[CPU_HOTPLUG_BYTES + 8] = {0};

    if (!selected(h))
        return 0;
    bytes[OFF_CONTROL] = h->present[h->selector] | (h->flags[h->selector] & EVENTS);
    le32_put(bytes + OFF_DATA, data_of_command(h));
    return le32_get(bytes + off) & (size == 4 ? UINT32_MAX : BIT(8 * size) - 1);
}

static void control_write(struct cpu_hotplug *h, uint8_t v)
{
    uint8_t *flags = &h->flags[h->selector];

    if (v & CTL_CLEAR_INSERT)
        *flags &= (uint8_t)~INSERTING;
    if (v & CTL_CLEAR_REMOVE)
        *flags &= (uint8_t)~REMOVING;
    if ((v & CTL_EJECT) && h->present[h->selector] && h->selector > 0) {
        *flags |= FLAG_EJECTING;
        h->cfg.look(h->cfg.opaque);
    }
}

static void data_write(struct cpu_hotplug *h, uint32_t v)
{
    if (h->command == CMD_OST_EVENT) {
        h->ost[h->selector].event = v;
    } else if (h->command == CMD_OST_STATUS) {
        h->ost[h->selector].status = v;
        h->flags[h->selector] |= FLAG_REPORTED;
        h->cfg.look(h->cfg.opaque);
    }
}

static void block_write(struct io_region *r, uint64_t off, unsigned size, uint64_t val)
{
    struct cpu_hotplug *h = container_of(r, struct cpu_hotplug, region);

    if (off == OFF_SELECTOR && size == 4) {
        h->selector = (uint32_t)val;
    } else if (!selected(h)) {
        return;
    } else if (off == OFF_CONTROL) {
        control_write(h, (uint8_t)val);
    } else if (off == OFF_COMMAND && val < CMD_COUNT) {
        h->command = (uint8_t)val;
        if (val == CMD_NEXT_EVENT)
            next_event(h);
    } else if (off == OFF_DATA && size == 4) {
        data_write(h, (uint32_t)val);
    }
}

static const struct io_ops block_ops = {block_read, block_write, 1, 4};

void cpu_hotplug_set(struct cpu_hotplug *h, unsigned cpu, bool present, bool tell)
{
    assert(cpu < h->cfg.cpus_max);
    h->present[cpu] = present ? PRESENT : 0;
    h->flags[cpu] = present && tell ? INSERTING : 0;
    if (present && tell)
        acpi_pm_gpe_raise(h->cfg.pm, CPU_HOTPLUG_GPE);
}

void cpu_hotplug_request_removal(struct cpu_hotplug *h, unsigned cpu)
{
    assert(cpu < h->cfg.cpus_max && h->present[cpu]);
    h->flags[cpu] |= REMOVING;
    acpi_pm_gpe_raise(h->cfg.pm, CPU_HOTPLUG_GPE);
}

bool cpu_hotplug_ejecting(const struct cpu_hotplug *h, unsigned cpu)
{
    return cpu < h->cfg.cpus_max && (h->flags[cpu] & FLAG_EJECTING);
}

struct cpu_hotplug_report cpu_hotplug_report(struct cpu_hotplug *h, unsigned cpu)
{
    struct cpu_hotplug_report r = {h->ost[cpu].event, h->ost[cpu].status,
                                   h->flags[cpu] & FLAG_REPORTED};

    h->flags[cpu] &= (uint8_t)~FLAG_REPORTED;
    return r;
}

/* A guest that starts anew sees who is there by itself. */
static void block_reset(struct device *d)
{
    struct cpu_hotplug *h = container_of(d, struct cpu_hotplug, dev);

    h->selector = 0;
    h->command = CMD_NEXT_EVENT;
    memset(h->flags, 0, sizeof(h->flags));
}

static bool block_post_load(void *obj, uint32_t version, GError **err)
{
    struct cpu_hotplug *h = obj;

    if (h->command >= CMD_COUNT)
        return error_set(err, HANOK_ERROR_CORRUPT, "the CPU hotplug block has no command %u",
                         h->command);
    for (unsigned i = 0; i < CPU_HOTPLUG_MAX; i++)
        h->flags[i] &= i < h->cfg.cpus_max && h->present[i] ? EVENTS : 0;
    return true;
}

static const struct state_field block_fields[] = {
    STATE_U32(struct cpu_hotplug, selector),
    STATE_U8(struct cpu_hotplug, command),
    STATE_BYTES(struct cpu_hotplug, flags),
    STATE_END,
};
static const struct state_desc block_state = {
    .name = "cpu-hotplug", .version = 1, .fields = block_fields, .post_load = block_post_load};

static void block_destroy(struct device *d)
{
    struct cpu_hotplug *h = container_of(d, struct cpu_hotplug, dev);

    device_remove(d->list, d);
    g_free(h->apic_id);
    g_free(h);
}

static const struct device_ops block_device_ops = {
    .type = "cpu-hotplug", .reset = block_reset, .destroy = block_destroy, .state = &block_state};

struct cpu_hotplug *cpu_hotplug_new(struct device_list *devices, struct io_space *pio,
                                    const struct cpu_hotplug_config *cfg)
{
    struct cpu_hotplug *h = g_new0(struct cpu_hotplug, 1);

    assert(cfg->cpus_max > 0 && cfg->cpus_max <= CPU_HOTPLUG_MAX);
    h->cfg = *cfg;
    h->apic_id = g_memdup2(cfg->apic_id, cfg->cpus_max * sizeof(*cfg->apic_id));
    h->region = (struct io_region){.ops = &block_ops,
                                   .name = "cpu-hotplug",
                                   .size_bytes = CPU_HOTPLUG_BYTES,
                                   .lock = &devices->lock};
    device_add(devices, &h->dev, &block_device_ops, NULL, "cpu-hotplug");
    io_space_add(pio, &h->region, CPU_HOTPLUG_PORT);
    return h;
}
