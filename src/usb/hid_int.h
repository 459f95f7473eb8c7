/* hid_int.h - the human interface devices as their files share them; private to src/usb. */
#ifndef USB_HID_INT_H
#define USB_HID_INT_H

#include "display/input.h"
#include "usb/devices.h"
#include "usb_int.h"

enum { HID_QUEUE = 32, HID_KEYS_DOWN = 16, HID_REPORT_BYTES = 8 };

/* One thing that has happened; a report shows the oldest that was not yet reported. */
struct hid_event {
    uint16_t x, y;   /* tablet: where; mouse: how far, signed */
    uint16_t dz;     /* signed */
    uint8_t buttons; /* pointers */
    uint8_t usage;   /* keyboard */
    bool down;
};

struct hid {
    struct usb_device usb; /* first */
    /* immutable */
    enum usb_hid_kind kind;
    struct input_handler input;
    struct vm_clock *clock;
    struct timer *idle_timer;
    char *serial;
    const char *strings[4];
    struct usb_descriptors desc[2]; /* full speed, high speed */
    bool listening;                 /* main thread: input is in the list */
    /* board lock */
    bool listen_due;  /* a look at it is deferred */
    uint8_t protocol; /* 0: boot, 1: report */
    uint8_t idle;     /* in 4 ms; 0: only changes are told */
    uint8_t leds;
    uint8_t head, count;
    struct hid_event queue[HID_QUEUE];
    /* what the last report showed */
    uint16_t x, y;
    uint8_t buttons, modifiers, keys_down;
    uint8_t keys[HID_KEYS_DOWN]; /* usages, in the order they went down */
    uint64_t reported_ns;
};

/* hid_desc.c */
void hid_describe(struct hid *h);
const uint8_t *hid_report_descriptor(enum usb_hid_kind kind, uint16_t *len);
const uint8_t *hid_class_descriptor(const struct hid *h); /* 9 bytes */
uint8_t hid_usage(const struct input_key *key);           /* 0: none */
/* Takes the oldest event, if any, into the shown state, and writes the report; its length. */
unsigned hid_report(struct hid *h, uint8_t *out);

#endif
