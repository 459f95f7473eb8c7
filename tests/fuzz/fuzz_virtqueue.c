/* fuzz_virtqueue.c - every virtio device under a driver made of noise.
 *
 * The input is a little program: the first bytes choose device and features, the rest are steps
 * that write ring memory, move available indices, kick, and poke registers.  Nothing may crash,
 * hang or stay unresettable: after each input the device must reach status 0 and a fresh driver. */
#include "fuzz_input.h"
#include "vt.h"

#include "base/props.h"
#include "block/block.h"
#include "bus/pci.h"
#include "chardev/chardev.h"
#include "display/input.h"
#include "net/net.h"
#include "scsi/scsi.h"
#include "virtio/devices.h"

#include <stdlib.h>

enum { DEVICES = 8, PORTS = 0xc000, QUEUES = 6, QSIZE = 16, WINDOW = 0x10000, STEPS_MAX = 400 };
#define RING_BASE 0x20000ull /* each queue: descriptors, available, used in 0x1000 bytes */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

static struct vt_board *board;
static struct vt_bus *bus;

static struct props *props(const char *text, const char *implied)
{
    struct props *p = props_parse(text, implied, NULL);
    if (!p)
        abort();
    return p;
}

static struct virtio_place place(unsigned i)
{
    return (struct virtio_place){.bus = vt_board_pci(board)->root,
                                 .devfn = PCI_DEVFN(i + 1, 0),
                                 .clock = vt_board_clock(board),
                                 .legacy = true};
}

/* Nothing here works in another thread or in the kernel: no reason to wait. */
static void pump(struct vt_bus *b)
{
    g_main_context_iteration(NULL, FALSE);
}

static void scsi_make(void)
{
    PROPS_AUTO disk_props = props("driver=null-co,size=1M,read-zeroes=on,discard=unmap", NULL);
    struct virtio_scsi_config c = {.place = place(5), .queues = 2};
    struct device *hba = virtio_scsi_new(&c, NULL);
    struct scsi_config disk = {.node = blk_open(disk_props, NULL)},
                       cd = {.target = 1, .cdrom = true};

    if (!hba || !scsi_lun_new(virtio_scsi_bus(hba), &disk, NULL) ||
        !scsi_lun_new(virtio_scsi_bus(hba), &cd, NULL))
        abort();
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    PROPS_AUTO disk_props = props("driver=null-co,size=1M,read-zeroes=on,discard=unmap", NULL);
    PROPS_AUTO net_props = props("user,restrict=on", "type");
    struct blk_node *disk = blk_open(disk_props, NULL);
    struct net_backend *net = net_open(net_props, NULL);
    struct chardev *null = chardev_open_legacy("null", "c", false, NULL);

    board = vt_board_new();
    bus = vt_board_bus(board);
    bus->pump = pump;
    struct virtio_blk_config blk = {.place = place(0), .node = disk, .queues = 2};
    struct virtio_net_config nic = {.place = place(1), .backend = net, .queue_pairs = 2};
    struct virtio_rng_config rng = {.place = place(2), .max_bytes = 4096};
    struct virtio_balloon_config balloon = {
        .place = place(3), .free_page_reporting = true, .page_poison = true};
    struct virtio_serial_config serial = {.place = place(4), .max_ports = 3};
    struct virtio_input_config kbd = {.place = place(6), .kind = VIRTIO_INPUT_KEYBOARD},
                               tablet = {.place = place(7), .kind = VIRTIO_INPUT_TABLET};
    struct device *s = virtio_serial_new(&serial, NULL);
    struct virtio_port_config port = {.name = "p", .chardev = null};
    if (!virtio_blk_new(&blk, NULL) || !virtio_net_new(&nic, NULL) || !virtio_rng_new(&rng, NULL) ||
        !virtio_balloon_new(&balloon, NULL) || !s || !virtio_input_new(&kbd, NULL) ||
        !virtio_input_new(&tablet, NULL) || !virtio_port_new(s, &port, NULL))
        abort();
    scsi_make();
    return 0;
}

static uint64_t ring(unsigned q)
{
    return RING_BASE + 0x1000ull * q;
}

static void queue_set_up(struct vt_dev *d, unsigned q)
{
    uint64_t areas[] = {ring(q), ring(q) + 0x400, ring(q) + 0x800};
    uint8_t zero[0x1000] = {0};

    bus->mem_write(bus, ring(q), zero, sizeof(zero));
    bus->write(bus, d->common + 0x16, 2, q);
    bus->write(bus, d->common + 0x18, 2, QSIZE);
    for (unsigned i = 0; i < 3; i++)
        bus->write(bus, d->common + 0x20 + 8 * i, 4, areas[i]);
    bus->write(bus, d->common + 0x1a, 2, 1);
    bus->write(bus, d->common + 0x1c, 2, 1);
}

/* A descriptor whose fields are mostly sensible, so that inputs get past the first check. */
static void write_desc(struct input *in)
{
    unsigned q = take(in, 1) % QUEUES, i = take(in, 1) % QSIZE;
    uint64_t at = ring(q) + 16 * i, choice = take(in, 1), addr = take(in, 2);

    if (choice & 0x80)
        addr = take(in, 8);
    vt_put(bus, at, addr % WINDOW + (choice & 0x80 ? addr : RING_BASE - WINDOW), 8);
    vt_put(bus, at + 8, take(in, choice & 0x40 ? 4 : 1), 4);
    vt_put(bus, at + 12, choice & 7, 2);
    vt_put(bus, at + 14, take(in, 1) % (QSIZE + 1), 2);
}

static void add_avail(struct input *in)
{
    unsigned q = take(in, 1) % QUEUES;
    uint64_t avail = ring(q) + 0x400;
    uint16_t idx = (uint16_t)vt_get(bus, avail + 2, 2);

    vt_put(bus, avail + 4 + 2 * (idx % QSIZE), take(in, 1) % (QSIZE + 2), 2);
    vt_put(bus, avail + 2, (uint64_t)idx + 1, 2);
}

static void write_memory(struct input *in)
{
    uint64_t at = RING_BASE - WINDOW + take(in, 2);
    size_t n = (size_t)take(in, 1);

    n = MIN_OF(n, in->left);

    bus->mem_write(bus, at, in->p, n);
    in->p += n;
    in->left -= n;
}

/* Somebody at the host. */
static void host_input(struct input *in)
{
    size_t count;
    const struct input_key *keys = input_keys(&count);
    uint8_t what = (uint8_t)take(in, 1), a = (uint8_t)take(in, 1);

    if (what & 1)
        input_key(&keys[a % count], what & 2);
    else if (what & 2)
        input_move_to(a * 100u, what * 100u);
    else
        input_buttons(a);
}

static void step(struct vt_dev *d, struct input *in)
{
    uint64_t off;

    switch (take(in, 1) % 16) {
    case 0:
    case 1:
        write_desc(in);
        break;
    case 2:
    case 3:
        add_avail(in);
        break;
    case 4:
    case 5:
        bus->write(bus, d->notify + 4 * (take(in, 1) % QUEUES), 2, 0);
        vt_pump(bus, 2);
        break;
    case 6:
        write_memory(in);
        break;
    case 7: /* any register of BAR 4 */
        off = take(in, 2) % 0x3000;
        bus->write(bus, d->common + off, 1u << take(in, 1) % 3, take(in, 4));
        break;
    case 8:
        off = take(in, 2) % 0x4000;
        bus->read(bus, d->common + off, 1u << take(in, 1) % 3);
        break;
    case 9:
        if (d->device)
            bus->write(bus, d->device + take(in, 1), 4, take(in, 4));
        break;
    case 10: /* the config window, the command register ... */
        off = take(in, 1) & 0xfc;
        vt_config_write(bus, d->devfn, (unsigned)off, 4, (uint32_t)take(in, 4));
        vt_config_read(bus, d->devfn, (unsigned)off, 4);
        break;
    case 12: /* the legacy interface */
    case 13:
        off = take(in, 1) % 64;
        bus->out(bus, (uint16_t)(PORTS + off), 1u << take(in, 1) % 3, (uint32_t)take(in, 4));
        vt_pump(bus, 1);
        break;
    case 14:
        bus->in(bus, (uint16_t)(PORTS + take(in, 1) % 64), 1u << take(in, 1) % 3);
        break;
    case 15:
        host_input(in);
        break;
    case 11: /* an index out of thin air */
        vt_put(bus, ring(take(in, 1) % QUEUES) + 0x402, take(in, 2), 2);
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, size};
    struct vt_dev d;
    uint8_t devfn = PCI_DEVFN(1 + take(&in, 1) % DEVICES, 0);
    uint64_t features = take(&in, 8);

    bus->next_mmio = 0xe0000000;
    vt_dev_open(&d, bus, devfn, features & 1);
    vt_config_write(bus, devfn, 0x10, 4, PORTS);
    vt_config_write(bus, devfn, PCI_COMMAND, 2, 7);
    vt_negotiate(&d, ~features | BIT64(32) | BIT64(17));
    for (unsigned q = 0; q < QUEUES; q++)
        queue_set_up(&d, q);
    vt_driver_ok(&d);
    for (unsigned i = 0; i < STEPS_MAX && in.left; i++)
        step(&d, &in);
    vt_pump(bus, 4);
    vt_board_reset(board);
    vt_dev_open(&d, bus, devfn, true);
    vt_reset(&d);
    return 0;
}
