/* fuzz_xhci.c - a hostile guest at an xHCI controller with a tablet, a keyboard, a disk and a hub.
 *
 * Registers, rings and contexts are whatever the input says, half of the time in the right places.
 * Nothing may crash or hang, and a reset brings the controller back. */
#include "fuzz_input.h"
#include "xhci_driver.h"

#include "base/log.h"
#include "base/props.h"
#include "block/block.h"
#include "display/input.h"

#include <stdlib.h>

enum { STEPS_MAX = 200 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void board_make(struct xd *x)
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
    xd_open(x, NULL);
    usb_storage_new(xd_connector(x, "1"), &cfg, NULL);
    usb_hid_new(xd_connector(x, "2"), USB_HID_TABLET, NULL, NULL);
    usb_hub_new(xd_connector(x, "3"), 2, NULL);
    usb_hid_new(xd_connector(x, "3.1"), USB_HID_KEYBOARD, NULL, NULL);
}

static void pump(void)
{
    for (unsigned n = 0; n < 200 && g_main_context_iteration(NULL, FALSE); n++)
        ;
}

/* Where a driver would have something; sometimes anywhere. */
static uint64_t place(struct input *in)
{
    static const uint32_t places[] = {XD_DCBAA,  XD_COMMANDS,        XD_ERST,
                                      XD_EVENTS, XD_INPUT,           XD_CONTEXTS,
                                      XD_RINGS,  XD_RINGS + 0x20000, XD_DATA};
    uint8_t which = (uint8_t)take(in, 1);

    if (which >= 250)
        return take(in, 5);
    return places[which % ARRAY_SIZE(places)] + (take(in, 2) & 0x3ffc);
}

/* A TRB at the end of a ring the controller may be reading. */
static void trb(struct xd *x, struct input *in, struct xd_ring *r)
{
    uint32_t control = (uint32_t)take(in, 4) & ~1u;
    uint64_t param = place(in);

    if (!r->base)
        r->base = place(in) & ~15ull;
    if (r->base + 0x2000 < VT_RAM_SPLIT)
        xd_put(x, r, param, (uint32_t)take(in, 4), control);
}

static void memory(struct xd *x, struct input *in)
{
    uint64_t at = place(in), v = take(in, 8);

    (void)!guest_mem_write(vt_board_mem(x->board), GPA(at), &v, 8);
}

static void device_up(struct xd *x, struct input *in)
{
    unsigned port = take(in, 1) % 8 + 1, slot = take(in, 1) % 4 + 1, speed = take(in, 1) % 5;

    vt_put(x->bus, XD_DCBAA + 8 * slot, xd_context(slot), 8);
    xd_put(x, &x->commands, 0, 0, 9u << 10);
    xd_input(x, 0, 3);
    vt_put(x->bus, XD_INPUT + 32, speed << 20 | 1u << 27 | (take(in, 1) & 15), 4);
    vt_put(x->bus, XD_INPUT + 36, port << 16, 4);
    xd_input_ep(x, slot, 1, 4, 64);
    xd_put(x, &x->commands, XD_INPUT, 0, 11u << 10 | slot << 24);
    xd_set(x, XD_DOORBELL, 0);
    pump();
    xd_put(x, &x->ring[slot][1], 0x00010900, 8, 2u << 10 | 0x40);
    xd_put(x, &x->ring[slot][1], 0, 0, 4u << 10 | 1u << 16);
    xd_ring_bell(x, slot, 1);
    xd_input(x, 0, 0x1f & ~2u);
    xd_input_ep(x, slot, 2, 2, 64);
    xd_input_ep(x, slot, 3, take(in, 1) & 1 ? 6 : 7, 64);
    xd_input_ep(x, slot, 4, 2, 64);
    xd_put(x, &x->commands, XD_INPUT, 0, 12u << 10 | slot << 24);
    xd_set(x, XD_DOORBELL, 0);
    pump();
}

static void step(struct xd *x, struct input *in)
{
    uint8_t op = (uint8_t)take(in, 1);
    struct xd_event e;

    switch (op % 12) {
    case 0:
        xd_set(x, XD_BAR + take(in, 2) % 0x2200, (uint32_t)take(in, 4));
        break;
    case 1:
        (void)x->bus->read(x->bus, XD_BAR + take(in, 2) % 0x4000, 1u << (op >> 4) % 4);
        break;
    case 2:
        memory(x, in);
        break;
    case 3:
        trb(x, in, &x->commands);
        xd_set(x, XD_DOORBELL, 0);
        break;
    case 4:
    case 5:
        trb(x, in, &x->ring[take(in, 1) % 5][op >> 4]);
        break;
    case 6:
        xd_ring_bell(x, (unsigned)take(in, 1) % 6, op >> 4);
        break;
    case 7:
        device_up(x, in);
        break;
    case 8:
        input_move_to((unsigned)take(in, 2), 5);
        input_key(input_key_by_name("a"), op & 16);
        break;
    case 9:
        xd_start(x);
        break;
    case 10:
        while (xd_poll(x, &e))
            ;
        break;
    default:
        pump();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct xd x;
    struct input in = {data, size};

    if (!x.board)
        board_make(&x);
    xd_map(&x);
    xd_start(&x);
    for (unsigned n = 0; n < STEPS_MAX && in.left; n++)
        step(&x, &in);
    pump();
    vt_board_reset(x.board);
    xd_map(&x);
    memset(x.ring, 0, sizeof(x.ring));
    xd_start(&x);
    if (xd_command(&x, 23, 0, 0, NULL) != 1)
        abort();
    return 0;
}
