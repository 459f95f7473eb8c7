/* input.h - virtio keyboard, mouse and tablet (virtio 1.2 §5.8).
 *
 *   host's input --> batch of events, ended by SYN_REPORT --> pending --> event queue --> guest
 *
 * Events are Linux's (input-event-codes.h).  A batch is pending whole or not at all; what does not
 * fit is lost, but releases of keys and buttons have room kept for them.  A device listens to the
 * host's input while its driver is there.
 *
 * Threads: main; the configuration under the board lock; pending and buttons under lock. */
#ifndef VIRTIO_INPUT_H
#define VIRTIO_INPUT_H

#include "carrier.h"
#include "display/input.h"

enum { VINPUT_PENDING = 128, VINPUT_RESERVED = 32 };
enum { VINPUT_CONFIG_HEAD = 8, VINPUT_CONFIG_DATA = 128 };

struct vinput_event {
    uint16_t type, code;
    uint32_t value;
};

struct virtio_input {
    struct virtio_carrier p; /* first */
    /* immutable */
    enum virtio_input_kind kind;
    char *serial;
    struct input_handler handler;
    /* main loop */
    struct virtq_elem elem;
    bool listening;
    /* board lock */
    uint8_t select, subselect;
    /* under lock */
    pthread_mutex_t lock;
    struct vinput_event pending[VINPUT_PENDING]; /* a ring */
    uint16_t head, count;
    uint8_t buttons;
};

/* input_config.c: what select and subselect ask for; its length, 0: nothing. */
unsigned vinput_answer(const struct virtio_input *v, uint8_t out[VINPUT_CONFIG_DATA]);
uint16_t vinput_key_code(const struct input_key *key); /* KEY_*; 0: none */

#endif
