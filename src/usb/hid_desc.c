/* hid_desc.c - what keyboard, mouse and tablet say about themselves, and their reports. */
#include "hid_int.h"

#include "base/util.h"

/* HID 1.11 §6.2.2.  Buttons: left, right, middle, side, extra. */
static const uint8_t tablet_report[] = {
    0x05, 0x01,               /* usage page: generic desktop */
    0x09, 0x02,               /* usage: mouse */
    0xa1, 0x01,               /* collection: application */
    0x09, 0x01,               /*  usage: pointer */
    0xa1, 0x00,               /*  collection: physical */
    0x05, 0x09,               /*   usage page: buttons */
    0x19, 0x01,               /*   1 */
    0x29, 0x05,               /*   to 5 */
    0x15, 0x00,               /*   logical 0 */
    0x25, 0x01,               /*   to 1 */
    0x95, 0x05,               /*   five */
    0x75, 0x01,               /*   bits */
    0x81, 0x02,               /*   input: data, variable, absolute */
    0x95, 0x01,               /*   one field */
    0x75, 0x03,               /*   of 3 bits */
    0x81, 0x01,               /*   input: constant */
    0x05, 0x01,               /*   generic desktop */
    0x09, 0x30,               /*   x */
    0x09, 0x31,               /*   y */
    0x15, 0x00,               /*   logical 0 */
    0x26, U16(INPUT_ABS_MAX), /* to the largest position */
    0x35, 0x00,               /*   physical likewise */
    0x46, U16(INPUT_ABS_MAX),
    0x75, 0x10, /* 16 bits */
    0x95, 0x02, /*   two of them */
    0x81, 0x02, /*   input: data, variable, absolute */
    0x09, 0x38, /*   wheel */
    0x15, 0x81, /*   logical -127 */
    0x25, 0x7f, /*   to 127 */
    0x35, 0x00, /*   physical like logical */
    0x45, 0x00,
    0x75, 0x08, /* 8 bits */
    0x95, 0x01,
    0x81, 0x06, /* input: data, variable, relative */
    0xc0, 0xc0,
};
static const uint8_t mouse_report[] = {
    0x05, 0x01, 0x09, 0x02, 0xa1, 0x01, 0x09, 0x01, 0xa1, 0x00, 0x05, 0x09, 0x19, 0x01,
    0x29, 0x05, 0x15, 0x00, 0x25, 0x01, 0x95, 0x05, 0x75, 0x01, 0x81, 0x02, 0x95, 0x01,
    0x75, 0x03, 0x81, 0x01, 0x05, 0x01, 0x09, 0x30, 0x09, 0x31, 0x09, 0x38, /* x, y, wheel */
    0x15, 0x81, 0x25, 0x7f, 0x75, 0x08, 0x95, 0x03, 0x81, 0x06, /* relative, 8 bits each */
    0xc0, 0xc0,
};
/* As in appendix B.1, with usages up to 255. */
static const uint8_t keyboard_report[] = {
    0x05, 0x01, 0x09, 0x06, 0xa1, 0x01,                              /* keyboard */
    0x75, 0x01, 0x95, 0x08, 0x05, 0x07, 0x19, 0xe0,      0x29, 0xe7, /* modifiers: 8 bits */
    0x15, 0x00, 0x25, 0x01, 0x81, 0x02,                              /* input */
    0x95, 0x01, 0x75, 0x08, 0x81, 0x01,                              /* a reserved byte */
    0x95, 0x05, 0x75, 0x01, 0x05, 0x08, 0x19, 0x01,      0x29, 0x05, /* LEDs */
    0x91, 0x02, 0x95, 0x01, 0x75, 0x03, 0x91, 0x01,                  /* output, padded */
    0x95, 0x06, 0x75, 0x08, 0x15, 0x00, 0x26, U16(0xff), 0x05, 0x07,
    0x19, 0x00, 0x29, 0xff, 0x81, 0x00, /* six keys: input, array */
    0xc0,
};

static const struct {
    const uint8_t *report;
    uint16_t len;
    const char *product;
} kinds[] = {
    [USB_HID_TABLET] = {tablet_report, sizeof(tablet_report), "Tablet"},
    [USB_HID_MOUSE] = {mouse_report, sizeof(mouse_report), "Mouse"},
    [USB_HID_KEYBOARD] = {keyboard_report, sizeof(keyboard_report), "Keyboard"},
};

/* Vendor and product as guests know them from virtual machines. */
static const uint8_t device_desc[] = {18,          DESC_DEVICE, U16(0x0200), 0, 0, 0, 64,
                                      U16(0x0627), U16(0x0001), U16(0),      1, 2, 3, 1};
#define CONFIG_DESC(subclass, protocol, report, interval)                                          \
    {                                                                                              \
        9, DESC_CONFIG, U16(34), 1, 1, 0, 0xa0, 50, 9, DESC_INTERFACE, 0, 0, 1, 3, (subclass),     \
            (protocol), 0, 9, DESC_HID, U16(0x0111), 0, 1, DESC_REPORT, U16(sizeof(report)), 7,    \
            DESC_ENDPOINT, 0x81, 3, U16(HID_REPORT_BYTES), (interval)                              \
    }
enum { CLASS_DESC_AT = 18, EVERY_10_MS = 10, EVERY_8_MS = 7 /* 2^6 microframes */ };
static const uint8_t config_desc[][2][34] = {
    [USB_HID_TABLET] = {CONFIG_DESC(0, 0, tablet_report, EVERY_10_MS),
                        CONFIG_DESC(0, 0, tablet_report, EVERY_8_MS)},
    [USB_HID_MOUSE] = {CONFIG_DESC(1, 2, mouse_report, EVERY_10_MS),
                       CONFIG_DESC(1, 2, mouse_report, EVERY_8_MS)},
    [USB_HID_KEYBOARD] = {CONFIG_DESC(1, 1, keyboard_report, EVERY_10_MS),
                          CONFIG_DESC(1, 1, keyboard_report, EVERY_8_MS)},
};

void hid_describe(struct hid *h)
{
    h->strings[0] = "Hanok";
    h->strings[1] = kinds[h->kind].product;
    h->strings[2] = h->serial;
    for (unsigned i = 0; i < ARRAY_SIZE(h->desc); i++)
        h->desc[i] = (struct usb_descriptors){
            .device = device_desc, .config = config_desc[h->kind][i], .strings = h->strings};
}

const uint8_t *hid_report_descriptor(enum usb_hid_kind kind, uint16_t *len)
{
    *len = kinds[kind].len;
    return kinds[kind].report;
}

const uint8_t *hid_class_descriptor(const struct hid *h)
{
    return config_desc[h->kind][0] + CLASS_DESC_AT;
}

/* ---- keys: scan codes of set 1 to usages of page 7 (HID usage tables §10) ---- */

static const uint8_t
    plain_usage
        [0x80] =
            {
                [0x01] = 0x29, 0x1e,          0x1f,          0x20,          0x21,
                0x22,          0x23,          0x24,          0x25,          0x26,
                0x27,          0x2d,          0x2e,          0x2a,          [0x0f] = 0x2b,
                0x14,          0x1a,          0x08,          0x15,          0x17,
                0x1c,          0x18,          0x0c,          0x12,          0x13,
                0x2f,          0x30,          0x28,          [0x1d] = 0xe0, 0x04,
                0x16,          0x07,          0x09,          0x0a,          0x0b,
                0x0d,          0x0e,          0x0f,          0x33,          0x34,
                0x35,          0xe1,          [0x2b] = 0x31, 0x1d,          0x1b,
                0x06,          0x19,          0x05,          0x11,          0x10,
                0x36,          0x37,          0x38,          0xe5,          0x55,
                0xe2,          [0x39] = 0x2c, 0x39,          0x3a,          0x3b,
                0x3c,          0x3d,          0x3e,          0x3f,          0x40,
                0x41,          0x42,          0x43,          0x53,          0x47,
                [0x47] = 0x5f, 0x60,          0x61,          0x56,          0x5c,
                0x5d,          0x5e,          0x57,          0x59,          0x5a,
                0x5b,          0x62,          0x63,          0x46,          [0x56] = 0x64,
                0x44,          0x45,          [0x70] = 0x88, [0x73] = 0x87, [0x79] = 0x8a,
                [0x7b] = 0x8b, [0x7d] = 0x89,
};
static const uint8_t extended_usage[0x80] = {
    [0x1c] = 0x58, [0x1d] = 0xe4, [0x20] = 0x7f, [0x2e] = 0x81, [0x30] = 0x80, [0x35] = 0x54,
    [0x37] = 0x46, [0x38] = 0xe6, [0x46] = 0x48, [0x47] = 0x4a, [0x48] = 0x52, [0x49] = 0x4b,
    [0x4b] = 0x50, [0x4d] = 0x4f, [0x4f] = 0x4d, [0x50] = 0x51, [0x51] = 0x4e, [0x52] = 0x49,
    [0x53] = 0x4c, [0x5b] = 0xe3, [0x5c] = 0xe7, [0x5d] = 0x65, [0x5e] = 0x66,
};

uint8_t hid_usage(const struct input_key *key)
{
    return (key->code & 0xff00 ? extended_usage : plain_usage)[key->code & 0x7f];
}

/* ---- reports ---- */

static void key_shown(struct hid *h, uint8_t usage, bool down)
{
    unsigned i = 0;

    if (usage >= 0xe0 && usage <= 0xe7) {
        uint8_t bit = (uint8_t)BIT(usage - 0xe0);
        h->modifiers = down ? h->modifiers | bit : h->modifiers & (uint8_t)~bit;
        return;
    }
    while (i < h->keys_down && h->keys[i] != usage)
        i++;
    if (down && i == h->keys_down && i < HID_KEYS_DOWN) {
        h->keys[h->keys_down++] = usage;
    } else if (!down && i < h->keys_down) {
        memmove(h->keys + i, h->keys + i + 1, h->keys_down - i - 1u);
        h->keys_down--;
    }
}

/* Modifiers, nothing, six keys; more than six are said to be too many (appendix C). */
static unsigned keyboard_bytes(const struct hid *h, uint8_t *out)
{
    out[0] = h->modifiers;
    out[1] = 0;
    for (unsigned i = 0; i < 6; i++)
        out[2 + i] = h->keys_down > 6 ? 1 : i < h->keys_down ? h->keys[i] : 0;
    return 8;
}

static int8_t part(uint16_t *left)
{
    int v = (int16_t)*left;
    int now = v < -127 ? -127 : v > 127 ? 127 : v;

    *left = (uint16_t)(v - now);
    return (int8_t)now;
}

/* A relative report holds -127..127; what is more stays in the event for the next one. */
static unsigned pointer_bytes(struct hid *h, struct hid_event *e, uint8_t *out)
{
    if (h->kind == USB_HID_TABLET) {
        out[0] = h->buttons;
        le16_put(out + 1, h->x);
        le16_put(out + 3, h->y);
        out[5] = (uint8_t)part(&e->dz);
        return 6;
    }
    out[0] = h->protocol ? h->buttons : h->buttons & 7;
    out[1] = (uint8_t)part(&e->x);
    out[2] = (uint8_t)part(&e->y);
    out[3] = (uint8_t)part(&e->dz);
    return h->protocol ? 4 : 3; /* boot protocol: no wheel */
}

unsigned hid_report(struct hid *h, uint8_t *out)
{
    struct hid_event none = {0}, *e = h->count ? &h->queue[h->head] : &none;
    unsigned len;
    bool done = true;

    if (h->kind == USB_HID_KEYBOARD) {
        if (e->usage)
            key_shown(h, e->usage, e->down);
        len = keyboard_bytes(h, out);
    } else {
        if (h->count) {
            h->buttons = e->buttons;
            h->x = e->x;
            h->y = e->y;
        }
        len = pointer_bytes(h, e, out);
        done = !(int16_t)e->dz && (h->kind == USB_HID_TABLET || (!e->x && !e->y));
    }
    if (h->count && done) {
        h->head = (uint8_t)((h->head + 1) % HID_QUEUE);
        h->count--;
    }
    return len;
}
