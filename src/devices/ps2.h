/* ps2.h - what sits at the two ends of the keyboard controller's cables: keyboard and mouse.
 *
 * Each is a small state machine that eats command bytes and fills an output queue; private to
 * src/devices, board lock. */
#ifndef DEVICES_PS2_H
#define DEVICES_PS2_H

#include "base/state.h"

#define PS2_QUEUE_BYTES 64 /* power of two */

struct ps2_queue {
    uint8_t data[PS2_QUEUE_BYTES];
    uint8_t head, count;
};
bool ps2_queue_put(struct ps2_queue *q, uint8_t byte); /* false: full, byte dropped */
int ps2_queue_get(struct ps2_queue *q);                /* -1: empty */

struct ps2_kbd {
    struct ps2_queue out;
    uint8_t command; /* waits for its parameter; 0 = none */
    uint8_t leds, rate, scan_set, last_sent;
    bool scanning;
};
void ps2_kbd_reset(struct ps2_kbd *k);
void ps2_kbd_write(struct ps2_kbd *k, uint8_t byte);
void ps2_kbd_key(struct ps2_kbd *k, uint8_t set2_code, bool extended, bool down);
/* Scan code set 2 to 1, as the controller's translation does it. */
uint8_t ps2_translate(uint8_t set2_code);

struct ps2_mouse {
    struct ps2_queue out;
    uint8_t command;
    uint8_t resolution, rate, last_sent;
    bool reporting, remote, scale_2to1, wrap;
    /* moved since the last packet, buttons now (left, right, middle) */
    int16_t dx, dy, dz;
    uint8_t buttons;
    bool news;       /* moved, or a button went up or down */
    bool wheel;      /* the guest has knocked: packets have a fourth byte */
    uint8_t knocked; /* how much of 200, 100, 80 it has said */
};
void ps2_mouse_reset(struct ps2_mouse *m);
void ps2_mouse_write(struct ps2_mouse *m, uint8_t byte);
/* Right and down are positive; buttons: left 1, right 2, middle 4. */
void ps2_mouse_move(struct ps2_mouse *m, int dx, int dy, int dz);
void ps2_mouse_buttons(struct ps2_mouse *m, uint8_t buttons);
void ps2_mouse_flush(struct ps2_mouse *m); /* a packet, when there is news and room */

extern const struct state_desc ps2_queue_state, ps2_kbd_state, ps2_mouse_state;
bool ps2_queue_valid(const struct ps2_queue *q);

#endif
