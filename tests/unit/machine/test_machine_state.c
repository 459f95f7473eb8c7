/* The whole machine saved and loaded: same bytes again, refused where it does not fit, and streams
 * damaged at every kind of place. */
#include "base/evloop.h"
#include "base/state.h"
#include "base/util.h"
#include "bus/io.h"
#include "bus/pci.h"
#include "machine/machine.h"
#include "mem/guest_mem.h"

#include <glib.h>

static struct vm_config *config_new_of(const char *type, const char *accel)
{
    static const char *const devices[] = {"pcie-root-port,id=pci.1,chassis=1,addr=2",
                                          "virtio-balloon-pci,bus=pci.1",
                                          "virtio-rng-pci",
                                          "virtio-net-pci",
                                          "virtio-serial-pci",
                                          "pci-testdev",
                                          "VGA,vgamem_mb=1",
                                          "ide-cd,bus=ide.1",
                                          "isa-serial"};
    struct vm_config *c = vm_config_new();
    props_set_str(c->machine, "type", type);
    c->accels = g_strdup(accel);
    c->ram_bytes = 16 * MiB;
    /* a pc has no root port, but places for two drives on a bus */
    bool pc = strcmp(type, "pc") == 0;
    if (pc)
        g_ptr_array_add(c->devices, props_parse("ide-cd,bus=ide.0,unit=1", "driver", NULL));
    for (size_t i = pc ? 2 : 0; i < ARRAY_SIZE(devices); i++)
        g_ptr_array_add(c->devices, props_parse(devices[i], "driver", NULL));
    return c;
}

static struct vm_config *config_new(const char *accel)
{
    return config_new_of("q35", accel);
}

static struct machine *machine_make(const struct vm_config *c)
{
    GError *err = NULL;
    struct machine *m = machine_new(c, &err);
    g_assert_no_error(err);
    return m;
}

static GBytes *save(struct machine *m)
{
    struct state_writer *w = state_writer_new();
    GError *err = NULL;
    size_t len;
    machine_save(m, w, &err);
    g_assert_no_error(err);
    const uint8_t *data = state_writer_data(w, &len);
    GBytes *b = g_bytes_new(data, len);
    state_writer_free(w);
    return b;
}

static bool load(struct machine *m, const uint8_t *data, size_t len, GError **err)
{
    struct state_reader *r = state_reader_new(data, len, err);
    bool ok = r && machine_load(m, r, err);
    state_reader_free(r);
    return ok;
}

static void load_bytes(struct machine *m, GBytes *b)
{
    GError *err = NULL;
    gsize len;
    const uint8_t *data = g_bytes_get_data(b, &len);
    load(m, data, len, &err);
    g_assert_no_error(err);
}

static void test_board_comes_back(void)
{
    struct vm_config *c = config_new("qtest");
    struct machine *a = machine_make(c), *b = machine_make(c);
    uint8_t buf[3] = {1, 2, 3};
    machine_run(a);
    guest_mem_write(machine_mem(a), GPA(5 * MiB - 1), buf, 3);
    guest_mem_write(machine_mem(b), GPA(7 * MiB), buf, 3); /* must be gone afterwards */
    io_space_write(machine_pio(a), 0x21, 1, 0x5a);
    io_space_write(machine_pio(a), 0xcf8, 4, 0x80001004);
    io_space_write(machine_pio(a), 0xcfc, 2, 7);
    pci_config_write(machine_pci(a)->root->slot[PCI_DEVFN(1, 0)], 0x10 + 4 * 4, 4, 0xd0000000);
    machine_pause(a);
    g_autoptr(GBytes) one = save(a);
    load_bytes(b, one);
    g_autoptr(GBytes) two = save(b);
    g_assert_true(g_bytes_equal(one, two));
    g_assert_cmpint(machine_run_state(b), ==, RUN_PAUSED);
    g_assert_cmphex(io_space_read(machine_pio(b), 0x21, 1), ==, 0x5a);
    g_assert_cmphex(io_space_read(machine_pio(b), 0xcf8, 4), ==, 0x80001004);
    g_assert_nonnull(io_space_find(machine_mmio(b), 0xd0000000));
    buf[0] = 0;
    guest_mem_read(machine_mem(b), GPA(5 * MiB - 1), buf, 3);
    g_assert_cmpmem(buf, 3, "\1\2\3", 3);
    guest_mem_read(machine_mem(b), GPA(7 * MiB), buf, 3);
    g_assert_cmpmem(buf, 3, "\0\0\0", 3);
    machine_free(a);
    machine_free(b);
    vm_config_free(c);
}

/* The board without PCI. */
static void test_microvm_comes_back(void)
{
    struct vm_config *c = vm_config_new();
    props_set_str(c->machine, "type", "microvm");
    c->accels = g_strdup("qtest");
    c->ram_bytes = 16 * MiB;
    for (const char *const *d = (const char *const[]){"virtio-rng-device", "virtio-balloon-device",
                                                      "virtio-serial-device", "isa-serial", NULL};
         *d; d++)
        g_ptr_array_add(c->devices, props_parse(*d, "driver", NULL));
    struct machine *a = machine_make(c), *b = machine_make(c);
    machine_run(a);
    io_space_write(machine_mmio(a), 0xfeb00270, 4, 3); /* status of the second: driver */
    io_space_write(machine_mmio(a), 0xfeb00214, 4, 1);
    io_space_write(machine_pio(a), 0x604, 2, 1); /* SCI_EN */
    machine_pause(a);
    g_autoptr(GBytes) one = save(a);
    load_bytes(b, one);
    g_autoptr(GBytes) two = save(b);
    g_assert_true(g_bytes_equal(one, two));
    g_assert_cmphex(io_space_read(machine_mmio(b), 0xfeb00270, 4), ==, 3);
    g_assert_cmphex(io_space_read(machine_mmio(b), 0xfeb00210, 4) & 1, ==, 1);
    machine_reset(b, CAUSE_HOST_QMP_RESET);
    g_assert_cmphex(io_space_read(machine_mmio(b), 0xfeb00270, 4), ==, 0);
    machine_free(a);
    machine_free(b);
    vm_config_free(c);
}

/* VGA inside virtio-vga is a second device of the same function: both come back, decoded as before,
 * and a reset takes both to where they start. */
static void test_cards_come_back(void)
{
    static const char *const devices[] = {"virtio-vga,addr=5", "e1000,addr=6", "e1000e,addr=7"};
    struct vm_config *c = vm_config_new();
    c->accels = g_strdup("qtest");
    c->ram_bytes = 16 * MiB;
    for (size_t i = 0; i < ARRAY_SIZE(devices); i++)
        g_ptr_array_add(c->devices, props_parse(devices[i], "driver", NULL));
    struct machine *a = machine_make(c), *b = machine_make(c);
    struct pci_dev *vga = machine_pci(a)->root->slot[PCI_DEVFN(5, 0)];
    struct pci_dev *other = machine_pci(b)->root->slot[PCI_DEVFN(5, 0)];
    machine_run(a);
    pci_config_write(vga, PCI_COMMAND, 2, PCI_CMD_IO | PCI_CMD_MEM);
    pci_config_write(vga, PCI_BAR0, 4, 0xe8000000);
    io_space_write(machine_pio(a), 0x3ce, 1, 5);
    io_space_write(machine_mmio(a), 0xe8000010, 4, 0x12345678);
    pci_config_write(other, PCI_COMMAND, 2, 0);
    g_assert_null(io_space_find(machine_pio(b), 0x3ce));
    machine_pause(a);
    g_autoptr(GBytes) one = save(a);
    load_bytes(b, one);
    g_autoptr(GBytes) two = save(b);
    g_assert_true(g_bytes_equal(one, two));
    g_assert_cmphex(io_space_read(machine_pio(b), 0x3ce, 1), ==, 5);
    g_assert_cmphex(io_space_read(machine_mmio(b), 0xe8000010, 4), ==, 0x12345678);
    g_assert_cmphex(other->bar[0].mapped_at, ==, 0xe8000000);
    machine_reset(b, CAUSE_HOST_QMP_RESET);
    g_assert_cmphex(other->bar[0].mapped_at, !=, 0xe8000000);
    pci_config_write(other, PCI_COMMAND, 2, PCI_CMD_IO);
    g_assert_cmphex(io_space_read(machine_pio(b), 0x3ce, 1), ==, 0);
    machine_free(a);
    machine_free(b);
    vm_config_free(c);
}

static void test_pc_comes_back(void)
{
    struct vm_config *c = config_new_of("pc", "qtest");
    struct machine *a = machine_make(c), *b = machine_make(c);
    struct pci_dev *isa = machine_pci(a)->root->slot[PCI_DEVFN(1, 0)];
    pci_config_write(isa, 0x60, 1, 5);
    g_autoptr(GBytes) one = save(a);
    load_bytes(b, one);
    g_autoptr(GBytes) two = save(b);
    g_assert_true(g_bytes_equal(one, two));
    g_assert_cmphex(pci_host_read(machine_pci(b), 0, PCI_DEVFN(1, 0), 0x60, 1), ==, 5);
    machine_free(a);
    machine_free(b);
    vm_config_free(c);
}

static void test_processors_come_back(void)
{
    struct vm_config *c = config_new("jit");
    c->topology.cpus = c->topology.maxcpus = c->topology.sockets = 2;
    struct machine *a = machine_make(c), *b = machine_make(c);
    machine_run(a);
    /* It says that there is no kernel and halts; what it has done by then does not matter. */
    g_usleep(20000);
    machine_pause(a);
    g_autoptr(GBytes) one = save(a);
    load_bytes(b, one);
    g_autoptr(GBytes) two = save(b);
    g_assert_cmpuint(g_bytes_get_size(one), ==, g_bytes_get_size(two));
    machine_run(b);
    g_usleep(10000);
    machine_pause(b);
    machine_free(a);
    machine_free(b);
    vm_config_free(c);
}

static void test_other_machines_are_refused(void)
{
    struct vm_config *c = config_new("qtest"), *d = config_new("qtest");
    GError *err = NULL;
    gsize len;
    d->ram_bytes = 32 * MiB;
    struct machine *a = machine_make(c), *b = machine_make(d);
    g_autoptr(GBytes) one = save(a);
    const uint8_t *data = g_bytes_get_data(one, &len);
    g_assert_false(load(b, data, len, &err));
    g_assert_nonnull(strstr(err->message, "16 MiB of memory, this one has 32"));
    g_clear_error(&err);
    /* Refused before anything was changed: it still runs. */
    g_assert_cmpint(machine_run_state(b), ==, RUN_PRELAUNCH);
    machine_run(a);
    g_assert_false(load(a, data, len, &err));
    g_assert_nonnull(strstr(err->message, "paused first"));
    g_clear_error(&err);
    machine_free(a);
    machine_free(b);
    vm_config_free(c);
    vm_config_free(d);
}

/* Any answer is right but a crash; what was refused half way must not run. */
static void test_damaged_streams_break_nothing(void)
{
    guint32 seed = g_test_rand_int();
    g_autoptr(GRand) rand = g_rand_new_with_seed(seed);
    struct vm_config *c = config_new("qtest");
    struct machine *a = machine_make(c), *b = machine_make(c);
    unsigned refused = 0;
    gsize len;
    g_test_message("seed %u", seed);
    g_autoptr(GBytes) one = save(a);
    const uint8_t *data = g_bytes_get_data(one, &len);
    for (unsigned i = 0; i < 400; i++) {
        g_autofree uint8_t *copy = g_memdup2(data, len);
        gsize bytes = i % 4 == 0 ? (gsize)(g_rand_double(rand) * (double)len) : len;
        for (unsigned k = 0; k < 1 + i % 8; k++)
            copy[(gsize)(g_rand_double(rand) * (double)len)] = (uint8_t)g_rand_int(rand);
        GError *err = NULL;
        if (!load(b, copy, bytes, &err)) {
            g_assert_nonnull(err);
            g_clear_error(&err);
            refused++;
        }
        machine_run(b);
        machine_pause(b);
        machine_reset(b, CAUSE_HOST_QMP_RESET);
        g_assert_cmpint(machine_run_state(b), ==, RUN_PRELAUNCH);
    }
    g_assert_cmpuint(refused, >, 50);
    load_bytes(b, one);
    machine_free(a);
    machine_free(b);
    vm_config_free(c);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/machine_state/board", test_board_comes_back);
    g_test_add_func("/machine_state/microvm", test_microvm_comes_back);
    g_test_add_func("/machine_state/cards", test_cards_come_back);
    g_test_add_func("/machine_state/pc", test_pc_comes_back);
    g_test_add_func("/machine_state/processors", test_processors_come_back);
    g_test_add_func("/machine_state/refused", test_other_machines_are_refused);
    g_test_add_func("/machine_state/damaged", test_damaged_streams_break_nothing);
    return g_test_run();
}
