/* fuzz_usb2.c - a hostile guest at EHCI and its UHCI companion, with a tablet, a disk and a hub.
 *
 * Registers, queue heads and descriptors are whatever the input says, mostly in the right places.
 * Nothing may crash or hang, and a reset brings both controllers back. */
#include "fuzz_input.h"
#include "uhci_driver.h"

#include "base/log.h"
#include "base/props.h"
#include "block/block.h"
#include "display/input.h"
#include "mem/guest_mem.h"

#include <stdlib.h>

enum { STEPS_MAX = 200 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void board_make(struct ud *x)
{
    struct props *p =
        props_parse("{\"driver\":\"null-co\",\"node-name\":\"stick\",\"size\":1048576,"
                    "\"read-zeroes\":true}",
                    NULL, NULL);
    struct usb_storage_config cfg = {.node = blk_open(p, NULL)};

    log_set_level(LOG_LEVEL_ERROR);
    if (!cfg.node)
        abort();
    props_free(p);
    ud_open(x);
    usb_hid_new(ud_port(x, "1"), USB_HID_TABLET, NULL, NULL);
    usb_storage_new(ud_port(x, "2"), &cfg, NULL);
}

static void pump(void)
{
    for (unsigned n = 0; n < 50 && g_main_context_iteration(NULL, FALSE); n++)
        ;
}

/* Where a driver would have something; sometimes anywhere. */
static uint32_t place(struct input *in)
{
    static const uint32_t places[] = {UD_FRAMES, UD_QH, UD_QH + 0x100, UD_TD, UD_SETUP, UD_DATA};
    uint8_t which = (uint8_t)take(in, 1);

    return which >= 250 ? (uint32_t)take(in, 4)
                        : places[which % ARRAY_SIZE(places)] + (uint32_t)(take(in, 1) * 4);
}

/* A descriptor of either kind at one of a few places, its link to another. */
static void descriptor(struct ud *x, struct input *in, bool ehci)
{
    uint64_t at = UD_TD + (take(in, 1) & 15) * 64, next = UD_TD + (take(in, 1) & 15) * 64;
    uint8_t pid = (uint8_t)take(in, 1), where = (uint8_t)take(in, 1);
    uint16_t len = (uint16_t)take(in, 2);
    static const uint8_t pids[] = {0x69, 0xe1, 0x2d};

    if (ehci)
        ud_qtd(x, at, pid & 16 ? 1 : next, pid & 3, pid & 32, len & 0x7fff, UD_DATA + where * 16u);
    else
        ud_td(x, pid & 16 ? 1 : next | (pid & 4), at, pid & 32, pids[pid % 3], pid & 64 ? 1 : 0,
              where & 3, len & 0x7ff, UD_DATA + where * 16u);
    if (!ehci)
        ud_uhci_queue(x, at);
    else
        ud_ehci_queue(x, UD_QH + (pid & 8 ? 0x100 : 0), UD_QH | 2, pid & 64 ? 1 : 0, where & 15,
                      0xff, at);
}

static void step(struct ud *x, struct input *in)
{
    uint8_t op = (uint8_t)take(in, 1);
    uint64_t v;

    switch (op % 10) {
    case 0:
        ud_ehci_set(x, (int)(take(in, 1) & 0x7c), (uint32_t)take(in, 4));
        break;
    case 1:
        ud_uhci_set(x, (unsigned)take(in, 1) & 0x1f, 1u << (op >> 4) % 3, (uint32_t)take(in, 4));
        break;
    case 2:
        v = take(in, 8);
        (void)!guest_mem_write(vt_board_mem(x->board), GPA(place(in)), &v, 4);
        break;
    case 3:
    case 4:
        descriptor(x, in, op % 10 == 3);
        break;
    case 5:
        ud_ehci_start(x);
        ud_ehci_set(x, 0x14, UD_FRAMES);
        ud_ehci_set(x, 0, 0x80031 | (op & 16 ? 0x40 : 0));
        break;
    case 6:
        ud_ehci_set(x, UD_PORT + 4 * (op >> 4 & 1), 0x3000);
        ud_uhci_start(x);
        break;
    case 7:
        input_move_to((unsigned)take(in, 2), 5);
        break;
    case 8:
        ud_setup(x, (uint8_t)take(in, 1), (uint8_t)take(in, 1), (uint16_t)take(in, 2),
                 (uint16_t)take(in, 2), (uint16_t)take(in, 2));
        break;
    default:
        g_usleep(130); /* time passes: the next look is due */
        pump();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct ud x;
    struct input in = {data, size};

    if (!x.board)
        board_make(&x);
    ud_map(&x);
    for (unsigned n = 0; n < STEPS_MAX && in.left; n++)
        step(&x, &in);
    pump();
    vt_board_reset(x.board);
    ud_map(&x);
    ud_ehci_start(&x);
    if (ud_ehci_control(&x, 0, 0x80, 6, 0x0100, 0, 18) != 0)
        abort();
    return 0;
}
