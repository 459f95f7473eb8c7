/* fuzz_virtio_mmio.c - memory-mapped virtio devices under a driver made of noise.
 *
 * The first byte of the input chooses the device, the rest are steps: register writes and reads of
 * any width, ring memory, available indices, kicks.  Nothing may crash or hang, and after each
 * input the device must reach status 0 and work for a fresh driver. */
#include "fuzz_input.h"
#include "vt.h"

#include "base/props.h"
#include "block/block.h"
#include "virtio/devices.h"

#include <stdlib.h>

enum { DEVICES = 3, QSIZE = 8, STEPS_MAX = 300, STATUS = 0x70 };
#define RING_BASE 0x20000ull /* descriptors, available and used ring in 0x1000 bytes */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

static struct vt_board *board;
static struct vt_bus *bus;

static void pump(struct vt_bus *b)
{
    g_main_context_iteration(NULL, FALSE);
}

static struct virtio_place place(unsigned i)
{
    return (struct virtio_place){.slot = vt_board_slot(board, i), .clock = vt_board_clock(board)};
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    PROPS_AUTO disk_props =
        props_parse("driver=null-co,size=1M,read-zeroes=on,discard=unmap", NULL, NULL);

    board = vt_board_new();
    bus = vt_board_bus(board);
    bus->pump = pump;
    struct virtio_blk_config blk = {.place = place(0), .node = blk_open(disk_props, NULL)};
    struct virtio_rng_config rng = {.place = place(1), .max_bytes = 4096};
    struct virtio_balloon_config balloon = {.place = place(2), .page_poison = true};

    if (!virtio_blk_new(&blk, NULL) || !virtio_rng_new(&rng, NULL) ||
        !virtio_balloon_new(&balloon, NULL))
        abort();
    return 0;
}

static void driver_up(uint64_t regs)
{
    static const uint64_t areas[] = {RING_BASE, RING_BASE + 0x400, RING_BASE + 0x800};
    uint8_t zero[0x1000] = {0};

    bus->mem_write(bus, RING_BASE, zero, sizeof(zero));
    bus->write(bus, regs + STATUS, 4, 3);
    for (unsigned half = 0; half < 2; half++) {
        bus->write(bus, regs + 0x14, 4, half);
        bus->write(bus, regs + 0x24, 4, half);
        bus->write(bus, regs + 0x20, 4, bus->read(bus, regs + 0x10, 4));
    }
    bus->write(bus, regs + STATUS, 4, 11);
    bus->write(bus, regs + 0x30, 4, 0);
    bus->write(bus, regs + 0x38, 4, QSIZE);
    for (unsigned i = 0; i < 3; i++) {
        bus->write(bus, regs + 0x80 + 16 * i, 4, areas[i]);
        bus->write(bus, regs + 0x84 + 16 * i, 4, 0);
    }
    bus->write(bus, regs + 0x44, 4, 1);
    bus->write(bus, regs + STATUS, 4, 15);
}

static void step(uint64_t regs, struct input *in)
{
    uint64_t at, choice;

    switch (take(in, 1) % 8) {
    case 0: /* a descriptor, mostly sensible */
        at = RING_BASE + 16 * (take(in, 1) % QSIZE);
        choice = take(in, 1);
        vt_put(bus, at, choice & 0x80 ? take(in, 8) : RING_BASE + take(in, 2), 8);
        vt_put(bus, at + 8, take(in, choice & 0x40 ? 4 : 1), 4);
        vt_put(bus, at + 12, choice & 7, 2);
        vt_put(bus, at + 14, take(in, 1) % (QSIZE + 1), 2);
        break;
    case 1:
    case 2: /* available, and a kick */
        at = RING_BASE + 0x400;
        choice = vt_get(bus, at + 2, 2);
        vt_put(bus, at + 4 + 2 * (choice % QSIZE), take(in, 1) % (QSIZE + 2), 2);
        vt_put(bus, at + 2, choice + 1, 2);
        bus->write(bus, regs + 0x50, 4, take(in, 1) % 4);
        vt_pump(bus, 2);
        break;
    case 3:
    case 4: /* a register as drivers write it */
        bus->write(bus, regs + 4 * (take(in, 1) % 64), 4, take(in, take(in, 1) & 1 ? 4 : 1));
        break;
    case 5: /* anything, of any width */
        at = take(in, 2) % VIRTIO_MMIO_BYTES;
        bus->write(bus, regs + at, 1u << take(in, 1) % 4, take(in, 8));
        break;
    case 6:
        at = take(in, 2) % VIRTIO_MMIO_BYTES;
        bus->read(bus, regs + at, 1u << take(in, 1) % 4);
        break;
    default: /* an index out of thin air */
        vt_put(bus, RING_BASE + 0x402, take(in, 2), 2);
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, size};
    uint64_t regs = vt_board_slot(board, (unsigned)(take(&in, 1) % DEVICES))->base;

    driver_up(regs);
    for (unsigned i = 0; in.left && i < STEPS_MAX; i++)
        step(regs, &in);
    bus->write(bus, regs + STATUS, 4, 0);
    for (int i = 0; bus->read(bus, regs + STATUS, 4); i++) {
        if (i > 10000)
            abort();
        vt_pump(bus, 1);
    }
    driver_up(regs);
    if ((bus->read(bus, regs + STATUS, 4) & 0x4f) != 15)
        abort();
    bus->write(bus, regs + STATUS, 4, 0);
    return 0;
}
