/* fuzz_vga.c - the VGA card under noise: ports, window, display interface; drawn after each burst.
 */
#include "fuzz_input.h"

#include "bus/pci.h"
#include "devices/vga.h"
#include "display/console.h"
#include "fixture.h"
#include "mem/layout.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { LFB = 0x20000000, REGS = 0x30000000 };

static struct fixture *f;
static struct pci_host host;
static struct pci_dev *card;

static unsigned route(struct pci_host *h, uint8_t slot, unsigned pin)
{
    return 16;
}

static void board_make(void)
{
    struct vga_config cfg = {.vram_bytes = MiB};

    f = fixture_new();
    host.route_intx = route;
    pci_host_init(&host, &f->devices, f->pio, f->mmio, &f->chip, guest_mem_new());
    cfg.req = &f->req;
    card = vga_new(host.root, PCI_DEVFN(1, 0), &cfg, NULL);
}

static void board_again(void)
{
    reset_all(f);
    pci_config_write(card, 0x10, 4, LFB);
    pci_config_write(card, 0x18, 4, REGS);
    pci_config_write(card, PCI_COMMAND, 2, 3);
    mem_layouts_apply(host.mem);
}

static void step(struct input *in)
{
    unsigned what = take(in, 1), size = 1u << (what >> 4 & 3);

    switch (what & 7) {
    case 0:
        io_space_write(f->pio, 0x3b0 + take(in, 1) % 0x30, MIN_OF(size, 2u), take(in, 2));
        break;
    case 1:
        io_space_read(f->pio, 0x3b0 + take(in, 1) % 0x30, MIN_OF(size, 2u));
        break;
    case 2:
        io_space_write(f->pio, 0x1ce, 2, take(in, 1));
        io_space_write(f->pio, 0x1cf, 2, take(in, 2));
        break;
    case 3:
        io_space_write(f->mmio, 0xa0000 + take(in, 3) % 0x20000, size, take(in, 4));
        break;
    case 4:
        io_space_read(f->mmio, 0xa0000 + take(in, 3) % 0x20000, size);
        break;
    case 5:
        io_space_write(f->mmio, REGS + take(in, 2) % 0x1000, size, take(in, 2));
        break;
    case 6:
        pci_config_write(card, PCI_COMMAND, 2, (uint32_t)take(in, 1));
        mem_layouts_apply(host.mem);
        break;
    default:
        console_refresh(console_first(), what & 8);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, size};

    if (!f)
        board_make();
    board_again();
    for (unsigned n = 0; n < 400 && in.left; n++)
        step(&in);
    console_refresh(console_first(), true);
    return 0;
}
