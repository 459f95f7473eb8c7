/* pace.h - frames of a millisecond, as far as somebody needs them; private to src/usb.
 *
 * Which frame it is follows from the clock.  A timer exists only while the controller runs: every
 * eighth of a millisecond right after something has moved, every frame for a while after that, and
 * every eighth frame (all eight looked at together) when nothing happens: guests put work into
 * memory without telling, so a running schedule has to be looked at, but not often.  A device with
 * news makes it look at once.
 *
 * Threads: board lock. */
#ifndef USB_PACE_H
#define USB_PACE_H

#include "base/evloop.h"
#include "base/state.h"

struct usb_pace {
    struct vm_clock *clock;
    struct timer *timer;
    /* board lock */
    bool running;
    uint64_t start_ns;    /* when frame first began */
    uint64_t first, done; /* frames are counted from the guest's FRNUM on; next to be looked at */
    uint32_t quiet;       /* looks since something has moved */
};

void usb_pace_init(struct usb_pace *p, struct vm_clock *clock, evloop_fn *run, void *opaque);
void usb_pace_fini(struct usb_pace *p);
void usb_pace_start(struct usb_pace *p, uint64_t frame);
void usb_pace_stop(struct usb_pace *p);
uint64_t usb_pace_eighths(const struct usb_pace *p); /* microframes; stands still when stopped */
/* Frames to look at now: *from and as many as it returns, at most 8. */
unsigned usb_pace_take(struct usb_pace *p, uint64_t *from);
void usb_pace_next(struct usb_pace *p, bool moved); /* arms the timer again */
void usb_pace_hurry(struct usb_pace *p);            /* news: look now */
extern const struct state_desc usb_pace_state;

#endif
