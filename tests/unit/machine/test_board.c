/* The whole board without a processor: what firmware would have left, resets, devices, state. */
#include "ata/drives.h"
#include "base/error.h"
#include "base/evloop.h"
#include "base/util.h"
#include "bus/device.h"
#include "bus/io.h"
#include "bus/pci.h"
#include "machine/machine.h"
#include "mem/guest_mem.h"

#include <glib.h>
#include <jansson.h>

static struct vm_config *config_new(void)
{
    struct vm_config *c = vm_config_new();
    c->accels = g_strdup("qtest");
    c->nodefaults = true;
    return c;
}

static void add_device(struct vm_config *c, const char *text)
{
    struct props *p = props_parse(text, "driver", NULL);
    g_assert_nonnull(p);
    g_ptr_array_add(c->devices, p);
}

static struct machine *machine_make(struct vm_config *c)
{
    GError *err = NULL;
    struct machine *m = machine_new(c, &err);
    g_assert_no_error(err);
    g_assert_nonnull(m);
    return m;
}

static uint32_t cfg_read(struct machine *m, unsigned bus, unsigned devfn, unsigned off,
                         unsigned size)
{
    return pci_host_read(machine_pci(m), bus, devfn, off, size);
}

static void test_chip_set_is_enabled(void)
{
    struct vm_config *c = config_new();
    struct machine *m = machine_make(c);
    struct io_space *mmio = machine_mmio(m), *pio = machine_pio(m);
    /* ECAM, and through it the host and LPC bridges */
    g_assert_cmphex(io_space_read(mmio, 0xb0000000, 4), ==, 0x29c08086);
    g_assert_cmphex(io_space_read(mmio, 0xb0000000 + (PCI_DEVFN(31, 0) << 12), 4), ==, 0x29188086);
    g_assert_nonnull(io_space_find(pio, 0x608));
    g_assert_nonnull(io_space_find(mmio, 0xfed1c000));
    g_assert_nonnull(io_space_find(mmio, 0xfed00000));
    g_assert_nonnull(io_space_find(mmio, 0xfec00000));
    machine_free(m);
    vm_config_free(c);
}

static void test_pc_has_its_own_chip_set(void)
{
    struct vm_config *c = config_new();
    props_set_str(c->machine, "type", "pc");
    add_device(c, "virtio-rng-pci,bus=pci.0,addr=5");
    struct machine *m = machine_make(c);
    struct io_space *mmio = machine_mmio(m), *pio = machine_pio(m);
    g_assert_cmpstr(machine_type_of(m)->name, ==, "pc-i440fx-7.2");
    g_assert_cmphex(cfg_read(m, 0, PCI_DEVFN(0, 0), 0, 4), ==, 0x12378086);
    g_assert_cmphex(cfg_read(m, 0, PCI_DEVFN(1, 0), 0, 4), ==, 0x70008086);
    g_assert_cmphex(cfg_read(m, 0, PCI_DEVFN(1, 3), 0, 4), ==, 0x71138086);
    g_assert_null(io_space_find(mmio, 0xb0000000)); /* no ECAM, no RCBA */
    g_assert_null(io_space_find(mmio, 0xfed1c000));
    g_assert_nonnull(io_space_find(pio, 0x608));
    g_assert_null(io_space_find(pio, 0x640));
    /* slot 5, INTA: PIRQA, which the substitute routes to IRQ 10 */
    g_assert_cmpuint(cfg_read(m, 0, PCI_DEVFN(5, 0), PCI_INT_LINE, 1), ==, 10);
    g_assert_cmphex(cfg_read(m, 0, PCI_DEVFN(5, 0), PCI_BAR0 + 4, 4) & ~15u, >=, 0x80000000);
    /* the F segment is RAM with tables in it */
    const uint8_t *f = guest_mem_ptr(machine_mem(m), GPA(0xf0000), 0x10000, true);
    g_assert_nonnull(f);
    g_assert_cmpmem(f, 8, "RSD PTR ", 8);
    machine_free(m);
    vm_config_free(c);
}

/* The file's bytes as a guest reads them: its key from the directory, then byte by byte. */
static GByteArray *file_read(struct io_space *pio, const char *name)
{
    GByteArray *out = g_byte_array_new();
    uint8_t entry[64];
    unsigned key = 0;
    uint32_t len = 0, count = 0;
    io_space_write(pio, 0x510, 2, 0x19);
    for (unsigned i = 0; i < 4; i++)
        count = count << 8 | (uint8_t)io_space_read(pio, 0x511, 1);
    for (unsigned n = 0; n < count && !key; n++) {
        for (unsigned i = 0; i < sizeof(entry); i++)
            entry[i] = (uint8_t)io_space_read(pio, 0x511, 1);
        if (strcmp((const char *)entry + 8, name) == 0) {
            key = (unsigned)entry[4] << 8 | entry[5];
            len = (uint32_t)entry[0] << 24 | (uint32_t)entry[1] << 16 | (uint32_t)entry[2] << 8 |
                  entry[3];
        }
    }
    g_assert_cmpuint(key, !=, 0);
    io_space_write(pio, 0x510, 2, key);
    for (uint32_t i = 0; i < len; i++) {
        uint8_t byte = (uint8_t)io_space_read(pio, 0x511, 1);
        g_byte_array_append(out, &byte, 1);
    }
    return out;
}

static unsigned fadt_pm_base(struct machine *m)
{
    g_autoptr(GByteArray) t = file_read(machine_pio(m), "etc/acpi/tables");
    for (unsigned i = 0; i + 64 < t->len; i++)
        if (memcmp(t->data + i, "FACP", 4) == 0)
            return le32_get(t->data + i + 56);
    return 0;
}

static void test_tables_follow_the_pm_block(void)
{
    struct vm_config *c = config_new();
    props_set_str(c->machine, "type", "pc");
    struct machine *m = machine_make(c);
    g_assert_cmphex(fadt_pm_base(m), ==, 0x600);
    pci_host_write(machine_pci(m), 0, PCI_DEVFN(1, 3), 0x40, 4, 0xb001); /* as OVMF does */
    g_assert_cmphex(fadt_pm_base(m), ==, 0xb000);
    machine_reset(m, CAUSE_HOST_QMP_RESET);
    g_assert_cmphex(fadt_pm_base(m), ==, 0x600);
    machine_free(m);
    vm_config_free(c);
}

static void test_tables_lie_where_kernels_look(void)
{
    struct vm_config *c = config_new();
    struct machine *m = machine_make(c);
    const uint8_t *f = guest_mem_ptr(machine_mem(m), GPA(0xe0000), 0x20000, false);
    unsigned rsdp = 0, smbios = 0;
    for (unsigned i = 0; i < 0x20000; i += 16) {
        rsdp += memcmp(f + i, "RSD PTR ", 8) == 0;
        smbios += memcmp(f + i, "_SM_", 4) == 0;
    }
    g_assert_cmpuint(rsdp, ==, 1);
    g_assert_cmpuint(smbios, ==, 1);
    /* INT 8 leads to a handler in the F segment that ends with iret */
    uint8_t vector[4];
    guest_mem_read(machine_mem(m), GPA(0x20), vector, 4);
    g_assert_cmphex(le16_get(vector + 2), ==, 0xf000);
    g_assert_cmphex(f[0x10000 + le16_get(vector) + 17], ==, 0xcf);
    machine_free(m);
    vm_config_free(c);
}

/* Every decoded BAR behind every bridge lies in its bridge's window and overlaps no other. */
static void check_bars(struct machine *m, unsigned *decoded)
{
    struct pci_host *h = machine_pci(m);
    uint64_t base[64], size[64];
    unsigned n = 0;
    for (struct pci_bus *b = h->buses; b; b = b->next) {
        for (unsigned i = 0; i < 256; i++) {
            for (unsigned k = 0; b->slot[i] && k < PCI_BAR_COUNT; k++) {
                const struct pci_bar *bar = &b->slot[i]->bar[k];
                if (bar->kind == PCI_BAR_NONE)
                    continue;
                g_assert_cmphex(bar->mapped_at, !=, UINT64_MAX);
                g_assert_cmphex(bar->mapped_at % bar->region->size_bytes, ==, 0);
                if (bar->kind == PCI_BAR_IO)
                    continue;
                base[n] = bar->mapped_at;
                size[n++] = bar->region->size_bytes;
            }
        }
    }
    for (unsigned i = 0; i < n; i++)
        for (unsigned k = i + 1; k < n; k++)
            g_assert_true(base[i] + size[i] <= base[k] || base[k] + size[k] <= base[i]);
    *decoded = n;
}

static struct vm_config *config_with_ports(void)
{
    struct vm_config *c = config_new();
    add_device(c,
               "pcie-root-port,port=0x8,chassis=1,id=pci.1,bus=pcie.0,multifunction=on,addr=0x1");
    add_device(c, "pcie-root-port,port=0x9,chassis=2,id=pci.2,bus=pcie.0,addr=0x1.0x1");
    add_device(c, "pcie-root-port,port=0xa,chassis=3,id=pci.3,bus=pcie.0,addr=0x1.0x2");
    add_device(c, "virtio-balloon-pci,id=balloon0,bus=pci.2,addr=0x0");
    add_device(c, "virtio-rng-pci,id=rng0,bus=pci.1");
    add_device(c, "pci-testdev,id=test0");
    return c;
}

static void test_addresses_are_assigned_behind_ports(void)
{
    struct vm_config *c = config_with_ports();
    struct machine *m = machine_make(c);
    unsigned before, after;
    check_bars(m, &before);
    g_assert_cmpuint(before, >=, 3);
    g_assert_cmphex(cfg_read(m, 1, 0, 0, 4), ==, 0x10441af4);
    g_assert_cmphex(cfg_read(m, 2, 0, 0, 4), ==, 0x10451af4);
    g_assert_cmphex(cfg_read(m, 3, 0, 0, 4), ==, 0xffffffff);
    /* The empty port's window has room for a function that comes later. */
    uint32_t window = cfg_read(m, 0, PCI_DEVFN(1, 2), PCI_MEM_BASE, 4);
    g_assert_cmphex(window >> 16, >=, window & 0xffff);
    unsigned line = cfg_read(m, 1, 0, PCI_INT_LINE, 1);
    g_assert_true(line == 10 || line == 11);
    machine_reset(m, CAUSE_HOST_QMP_RESET);
    check_bars(m, &after);
    g_assert_cmpuint(after, ==, before);
    g_assert_cmphex(cfg_read(m, 2, 0, 0, 4), ==, 0x10451af4);
    machine_free(m);
    vm_config_free(c);
}

static void test_large_memory_is_accepted(void)
{
    struct vm_config *c = config_new();
    c->ram_bytes = TiB;
    struct machine *m = machine_make(c);
    g_assert_cmphex(guest_mem_ram_bytes(machine_mem(m)), >=, TiB - MiB);
    machine_free(m);
    vm_config_free(c);
}

static void test_machine_none_is_empty(void)
{
    struct vm_config *c = vm_config_new();
    props_set_str(c->machine, "type", "none");
    struct machine *m = machine_make(c);
    g_assert_null(machine_cpus(m));
    g_assert_null(machine_pci(m));
    g_assert_cmpuint(guest_mem_ram_bytes(machine_mem(m)), ==, 0);
    machine_reset(m, CAUSE_HOST_QMP_RESET);
    g_assert_false(machine_powerdown(m));
    machine_free(m);
    vm_config_free(c);
}

static void refuse_on(const char *type, const char *device, const char *expected)
{
    struct vm_config *c = config_new();
    props_set_str(c->machine, "type", type);
    GError *err = NULL;
    add_device(c, device);
    g_assert_null(machine_new(c, &err));
    g_test_message("%s", err->message);
    g_assert_nonnull(strstr(err->message, expected));
    g_clear_error(&err);
    vm_config_free(c);
}

/* Without PCI, and without what is switched off: devices at their places, told by the tables. */
static void test_microvm_has_no_pci(void)
{
    struct vm_config *c = config_new();
    props_set_str(c->machine, "type", "microvm");
    props_set_str(c->machine, "rtc", "off");
    props_set_str(c->machine, "pit", "off");
    add_device(c, "virtio-rng-device");
    add_device(c, "virtio-rng-device,bus=virtio-mmio-bus.3");
    add_device(c, "virtio-net");
    struct machine *m = machine_make(c);
    struct io_space *mmio = machine_mmio(m), *pio = machine_pio(m);
    g_assert_null(machine_pci(m));
    g_assert_cmphex(io_space_read(mmio, 0xfeb00000, 4), ==, 0x74726976);
    g_assert_cmpuint(io_space_read(mmio, 0xfeb00008, 4), ==, 4);
    g_assert_cmpuint(io_space_read(mmio, 0xfeb00208, 4), ==, 1); /* the alias found its bus */
    g_assert_cmphex(io_space_read(mmio, 0xfeb00400, 4), ==, UINT32_MAX);
    g_assert_cmpuint(io_space_read(mmio, 0xfeb00608, 4), ==, 4);
    g_assert_null(io_space_find(pio, 0x70));
    g_assert_null(io_space_find(pio, 0x40));
    g_assert_null(io_space_find(pio, 0x60));
    g_assert_null(io_space_find(pio, 0xcf8));
    g_assert_nonnull(io_space_find(pio, 0x608)); /* power management: where the tables say */
    machine_reset(m, CAUSE_HOST_QMP_RESET);
    g_assert_nonnull(io_space_find(pio, 0x608));
    g_assert_true(machine_powerdown(m));
    machine_free(m);
    vm_config_free(c);
    refuse_on("microvm", "virtio-blk-pci,drive=x", "has no PCI");
    refuse_on("microvm", "virtio-rng-device,bus=virtio-mmio-bus.24", "virtio-mmio-bus.23");
    refuse_on("microvm", "virtio-rng-device,vectors=2", "vectors");
    refuse_on("q35", "virtio-rng-device", "virtio-blk-pci");
}

/* What -machine says that cannot be. */
static void test_microvm_switches_are_checked(void)
{
    static const struct {
        const char *type, *key, *value, *expected;
    } bad[] = {{"microvm", "pcie", "on", "has no PCI"},
               {"microvm", "usb", "on", "no PCI bus"},
               {"microvm", "firmware", "bios.bin", "without firmware"},
               {"microvm", "rtc", "maybe", "maybe"},
               {"q35", "isa-serial", "off", "machine type microvm has it"}};
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        struct vm_config *c = config_new();
        GError *err = NULL;
        props_set_str(c->machine, "type", bad[i].type);
        props_set_str(c->machine, bad[i].key, bad[i].value);
        g_assert_null(machine_new(c, &err));
        g_test_message("%s", err->message);
        g_assert_nonnull(strstr(err->message, bad[i].expected));
        g_clear_error(&err);
        vm_config_free(c);
    }
}

static void refuse(const char *device, const char *expected)
{
    refuse_on("q35", device, expected);
}

/* Drives that do not say where they go take the first free place, in order. */
static void test_drives_fill_the_cables(void)
{
    struct vm_config *c = config_new();
    GError *err = NULL;
    props_set_str(c->machine, "type", "pc");
    add_device(c, "ide-cd,bus=ide.0,unit=1,id=a");
    add_device(c, "ide-cd,id=b");
    add_device(c, "ide-cd,bus=ide.1,id=c");
    add_device(c, "ide-cd,id=d,bootindex=3");
    struct machine *m = machine_make(c);
    struct pci_dev *ide = machine_pci(m)->root->slot[PCI_DEVFN(1, 1)];
    static const char *const ids[] = {"b", "a", "c", "d"};
    for (unsigned i = 0; i < ata_places(ide); i++) {
        struct ata_drive_info info;
        g_assert_true(ata_drive_info(ide, i, &info));
        g_assert_cmpstr(info.id, ==, ids[i]);
    }
    machine_free(m);
    add_device(c, "ide-cd,id=e");
    g_assert_null(machine_new(c, &err));
    g_assert_nonnull(strstr(err->message, "already has a drive"));
    g_clear_error(&err);
    vm_config_free(c);
}

static void test_user_errors_are_sentences(void)
{
    refuse("virtio-blk-pc", "virtio-blk-pci");
    refuse("virtio-blk-pci", "it needs drive=");
    refuse("virtio-blk-pci,drive=d0", "no drive or block node 'd0'");
    refuse("virtio-rng-pci,bus=pci.7", "there is no PCI bus 'pci.7'");
    refuse("virtio-rng-pci,addr=99", "not a PCI address");
    refuse("virtio-rng-pci,adr=3", "addr");
    refuse("virtio-net-pci,netdev=n0", "no netdev 'n0'");
    refuse("virtio-net-pci,mac=1:2", "not an Ethernet address");
    refuse("virtserialport,chardev=c0", "no chardev 'c0'");
    refuse("isa-serial,index=4", "at most 4 serial ports");
    refuse("pcie-root-port,addr=1f", "in use");
    refuse("ide-cd,bus=ide.1,unit=1", "a SATA port has one drive");
    refuse("ide-cd,bus=ide.6", "numbered 0 to 5");
    refuse("ide-cd,bus=scsi0.0", "no controller 'scsi0'");
    refuse_on("pc", "pcie-root-port", "no PCI Express");
    refuse_on("pc", "ide-cd,bus=ide.2", "numbered 0 to 1");
    refuse_on("pc", "ide-cd,bus=ide.0,unit=2", "units 0 and 1");
    refuse_on("pc", "piix3-ide", "one IDE controller");
    refuse_on("pc", "virtio-rng-pci,bus=pcie.0", "the root bus is 'pci.0'");
}

static void test_ids_are_unique(void)
{
    struct vm_config *c = config_new();
    GError *err = NULL;
    add_device(c, "pci-testdev,id=a");
    add_device(c, "virtio-rng-pci,id=a");
    g_assert_null(machine_new(c, &err));
    g_assert_nonnull(strstr(err->message, "already a device with id 'a'"));
    g_clear_error(&err);
    vm_config_free(c);
}

/* ---- requests and events ---- */

struct heard {
    GString *names;
    int status;
};

static void on_event(void *opaque, const char *name, json_t *data)
{
    struct heard *h = opaque;
    g_string_append_printf(h->names, "%s ", name);
    if (data && json_object_get(data, "reason"))
        g_string_append_printf(h->names, "(%s) ",
                               json_string_value(json_object_get(data, "reason")));
}

static void on_exit_wanted(void *opaque, int status)
{
    ((struct heard *)opaque)->status = status;
}

static void settle(void)
{
    while (g_main_context_iteration(NULL, false))
        ;
}

struct case_ {
    struct vm_config *c;
    struct machine *m;
    struct heard h;
};

static void case_begin(struct case_ *t, bool no_shutdown, bool no_reboot)
{
    t->c = config_new();
    t->c->no_shutdown = no_shutdown;
    t->c->no_reboot = no_reboot;
    add_device(t->c, "isa-debug-exit,iobase=0xf4,iosize=0x4");
    t->m = machine_make(t->c);
    t->h = (struct heard){g_string_new(NULL), -1};
    machine_subscribe(t->m, on_event, &t->h);
    machine_set_exit_handler(t->m, on_exit_wanted, &t->h);
}

static void case_end(struct case_ *t, const char *events, int status)
{
    settle();
    g_assert_cmpstr(t->h.names->str, ==, events);
    g_assert_cmpint(t->h.status, ==, status);
    machine_free(t->m);
    settle();
    vm_config_free(t->c);
    g_string_free(t->h.names, true);
}

static void test_power_off_ends_the_process(void)
{
    struct case_ t;
    case_begin(&t, false, false);
    machine_run(t.m);
    io_space_write(machine_pio(t.m), 0x604, 2, 1 << 13); /* SLP_EN, type S5 */
    case_end(&t, "RESUME SHUTDOWN (guest-shutdown) ", 0);
}

static void test_no_shutdown_stays_until_reset_and_cont(void)
{
    struct case_ t;
    case_begin(&t, true, false);
    machine_run(t.m);
    io_space_write(machine_pio(t.m), 0x604, 2, 1 << 13);
    settle();
    g_assert_cmpint(machine_run_state(t.m), ==, RUN_SHUTDOWN);
    machine_reset(t.m, CAUSE_HOST_QMP_RESET);
    g_assert_cmpint(machine_run_state(t.m), ==, RUN_PRELAUNCH);
    machine_run(t.m);
    machine_request_shutdown(t.m, CAUSE_HOST_SIGNAL);
    case_end(&t,
             "RESUME SHUTDOWN (guest-shutdown) STOP RESET (host-qmp-system-reset) RESUME "
             "SHUTDOWN (host-signal) ",
             0);
}

static void test_guest_reset_resets_or_ends(void)
{
    struct case_ t;
    case_begin(&t, false, false);
    machine_run(t.m);
    io_space_write(machine_pio(t.m), 0xcf9, 1, 0x02);
    io_space_write(machine_pio(t.m), 0xcf9, 1, 0x06);
    case_end(&t, "RESUME RESET (guest-reset) ", -1);
    case_begin(&t, false, true);
    machine_run(t.m);
    io_space_write(machine_pio(t.m), 0x64, 1, 0xfe);
    case_end(&t, "RESUME SHUTDOWN (guest-reset) ", 0);
}

static void test_debug_exit_gives_the_status(void)
{
    struct case_ t;
    case_begin(&t, false, false);
    machine_run(t.m);
    io_space_write(machine_pio(t.m), 0xf4, 4, 38);
    io_space_write(machine_pio(t.m), 0xf4, 4, 0);
    case_end(&t, "RESUME ", 77);
}

static void test_pause_and_power_button(void)
{
    struct case_ t;
    case_begin(&t, false, false);
    machine_run(t.m);
    machine_run(t.m);
    machine_pause(t.m);
    machine_pause(t.m);
    g_assert_cmpint(machine_run_state(t.m), ==, RUN_PAUSED);
    g_assert_true(machine_powerdown(t.m));
    g_assert_cmphex(io_space_read(machine_pio(t.m), 0x600, 2) & 0x100, ==, 0x100);
    case_end(&t, "RESUME STOP POWERDOWN ", -1);
}

static void test_reset_writes_tables_again(void)
{
    struct vm_config *c = config_new();
    struct machine *m = machine_make(c);
    g_autofree uint8_t *before = g_malloc(0x10000), *junk = g_malloc(0x10000);
    guest_mem_read(machine_mem(m), GPA(0xf0000), before, 0x10000);
    memset(junk, 0xa5, 0x10000);
    guest_mem_write(machine_mem(m), GPA(0xf0000), junk, 0x10000);
    machine_reset(m, CAUSE_GUEST_RESET);
    const uint8_t *now = guest_mem_ptr(machine_mem(m), GPA(0xf0000), 0x10000, false);
    g_assert_cmpmem(now, 36, before, 36);
    machine_free(m);
    vm_config_free(c);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/board/chip-set", test_chip_set_is_enabled);
    g_test_add_func("/board/ide-places", test_drives_fill_the_cables);
    g_test_add_func("/board/pm-base", test_tables_follow_the_pm_block);
    g_test_add_func("/board/pc", test_pc_has_its_own_chip_set);
    g_test_add_func("/board/tables", test_tables_lie_where_kernels_look);
    g_test_add_func("/board/addresses", test_addresses_are_assigned_behind_ports);
    g_test_add_func("/board/terabyte", test_large_memory_is_accepted);
    g_test_add_func("/board/none", test_machine_none_is_empty);
    g_test_add_func("/board/microvm", test_microvm_has_no_pci);
    g_test_add_func("/board/microvm-switches", test_microvm_switches_are_checked);
    g_test_add_func("/board/user-errors", test_user_errors_are_sentences);
    g_test_add_func("/board/ids", test_ids_are_unique);
    g_test_add_func("/board/power-off", test_power_off_ends_the_process);
    g_test_add_func("/board/no-shutdown", test_no_shutdown_stays_until_reset_and_cont);
    g_test_add_func("/board/guest-reset", test_guest_reset_resets_or_ends);
    g_test_add_func("/board/debug-exit", test_debug_exit_gives_the_status);
    g_test_add_func("/board/pause", test_pause_and_power_button);
    g_test_add_func("/board/reset-tables", test_reset_writes_tables_again);
    return g_test_run();
}
