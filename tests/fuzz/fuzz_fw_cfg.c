/* fw_cfg's ports and DMA: 8-byte steps of kind, port offset, size, and 5 bytes of value; what the
 * DMA engine is pointed at is the input itself. */
#include "base/util.h"
#include "bus/fw_cfg.h"
#include "mem/guest_mem.h"

#include <glib.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { STEP_BYTES = 8, STEPS_MAX = 256, WRITABLE_BYTES = 28 };
#define RAM_BYTES (256 * KiB)

struct board {
    struct device_list devices;
    struct io_space *pio;
    struct guest_mem *mem;
    struct ram_block *ram;
};

static void written(void *opaque, const uint8_t *data)
{
    memcpy(opaque, data, WRITABLE_BYTES); /* all of it is there to be read */
}

static struct board *board_make(void)
{
    struct board *b = g_new0(struct board, 1);
    g_autofree uint8_t *big = g_malloc0(100000);
    static uint8_t seen[WRITABLE_BYTES];
    struct fw_cfg *f;

    device_list_init(&b->devices);
    b->pio = io_space_new("pio", 0x10000);
    b->mem = guest_mem_new();
    b->ram = ram_block_new("ram", RAM_BYTES, false, false, NULL);
    guest_mem_map(b->mem, GPA(0), b->ram, 0, RAM_BYTES, GUEST_RAM);
    f = fw_cfg_new(&b->devices, b->pio, b->mem);
    fw_cfg_add_u16(f, FW_CFG_NB_CPUS, 2);
    fw_cfg_add_file(f, "etc/empty", "", 0);
    fw_cfg_add_file(f, "etc/big", big, 100000);
    fw_cfg_add_writable_file(f, "etc/writable", big, WRITABLE_BYTES, written, seen);
    return b;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct board *b;

    if (!b)
        b = board_make();
    guest_mem_write(b->mem, GPA(0), data, MIN_OF(size, (size_t)RAM_BYTES));
    for (size_t n = 0; n < STEPS_MAX && size >= STEP_BYTES; n++) {
        uint64_t val = (uint64_t)le32_get(data + 3) | (uint64_t)data[7] << 32;
        uint16_t port = (uint16_t)(0x510 + data[1] % 12);
        unsigned bytes = 1u << data[2] % 4;
        switch (data[0] % 3) {
        case 0:
            io_space_write(b->pio, port, bytes, val);
            break;
        case 1:
            io_space_read(b->pio, port, bytes);
            break;
        case 2: /* a command inside the input: the form drivers use */
            io_space_write(b->pio, 0x518, 4, GUINT32_TO_BE((uint32_t)val % 4096));
            break;
        }
        data += STEP_BYTES;
        size -= STEP_BYTES;
    }
    device_list_reset(&b->devices);
    return 0;
}
