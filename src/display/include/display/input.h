/* input.h - keys and pointers, from viewers and monitors to the guest's devices.
 *
 * Keys have QEMU's QKeyCode names ("a", "ret", "kp_7"); what devices get is the key's set-1 scan
 * code, with 0xe0 for the second half of the keyboard.  Several devices may listen; the one added
 * last hears of keys, and the last that takes absolute positions hears of those.
 *
 * Threads: main. */
#ifndef DISPLAY_INPUT_H
#define DISPLAY_INPUT_H

#include "base/types.h"

struct input_key {
    const char *name; /* QKeyCode */
    uint16_t code;    /* set 1; 0xe0xx for extended keys */
    uint8_t set2;     /* set 2 make code of the same key */
    uint32_t keysym;  /* X11, of the unshifted key on a US keyboard; 0: none */
    uint32_t shifted; /* with Shift */
};

enum input_button {
    INPUT_LEFT = 1,
    INPUT_MIDDLE = 2,
    INPUT_RIGHT = 4,
    INPUT_WHEEL_UP = 8,
    INPUT_WHEEL_DOWN = 16,
    INPUT_SIDE = 32,
    INPUT_EXTRA = 64,
};
enum { INPUT_ABS_MAX = 0x7fff };

struct input_handler {
    const char *name;
    void (*key)(void *opaque, const struct input_key *key, bool down);
    void (*move)(void *opaque, int dx, int dy);            /* relative pointers */
    void (*move_to)(void *opaque, unsigned x, unsigned y); /* absolute ones, 0..INPUT_ABS_MAX */
    void (*buttons)(void *opaque, unsigned buttons);       /* all that are down */
    void *opaque;
    struct input_handler *next;
};

void input_add(struct input_handler *h);
void input_remove(struct input_handler *h);

const struct input_key *input_key_by_name(const char *name);
const struct input_key *input_key_by_code(uint16_t code);
/* The key that makes this symbol, and whether Shift is needed; NULL: none. */
const struct input_key *input_key_by_sym(uint32_t keysym, bool *shift);
const struct input_key *input_keys(size_t *count);

void input_key(const struct input_key *key, bool down);
bool input_absolute(void); /* somebody takes positions: viewers need not grab the pointer */
void input_move(int dx, int dy);
void input_move_to(unsigned x, unsigned y);
void input_buttons(unsigned buttons);
unsigned input_buttons_now(void);

#endif
