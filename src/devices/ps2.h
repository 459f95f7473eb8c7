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
};
void ps2_mouse_reset(struct ps2_mouse *m);
void ps2_mouse_write(struct ps2_mouse *m, uint8_t byte);

extern const struct state_desc ps2_queue_state, ps2_kbd_state, ps2_mouse_state;
bool ps2_queue_valid(const struct ps2_queue *q);

#endif
