/* xhci_xfer.c - transfer rings: descriptors, their data, their events (xHCI 1.1 §4.10, §4.11). */
#include "xhci_int.h"

#include "mem/guest_mem.h"

enum { TDS_AT_ONCE = 64 };

enum outcome { WAITS, NO_ROOM, GOES_ON, ENDED };

static bool has_data(const struct xhci_trb *t)
{
    unsigned type = trb_type(t->control);

    return type == TRB_NORMAL || type == TRB_DATA;
}

static uint32_t trb_bytes(const struct xhci_trb *t)
{
    uint32_t n = has_data(t) ? t->status & TRB_LEN : 0;

    return (t->control & TRB_IDT) ? MIN_OF(n, 8u) : n;
}

/* The whole descriptor at the endpoint's dequeue pointer, as far as its chain goes. */
static enum xhci_fetch td_read(struct xhci *x, const struct xhci_ep *e, struct xhci_td *td)
{
    td->count = 0;
    td->bytes = 0;
    td->after = e->ring;
    do {
        struct xhci_trb *t;
        enum xhci_fetch got;
        if (td->count == XHCI_TD_TRBS)
            return FETCH_BAD;
        t = &td->trb[td->count];
        got = xhci_ring_next(x, &td->after, t);
        if (got != FETCH_TRB)
            return got;
        td->bytes += trb_bytes(t);
    } while (td->trb[td->count++].control & TRB_CHAIN);
    return FETCH_TRB;
}

/* Copies len bytes of a descriptor's data from offset at. */
static bool td_copy(struct xhci *x, const struct xhci_td *td, uint32_t at, uint8_t *buf,
                    uint32_t len, bool to_guest)
{
    for (unsigned i = 0; i < td->count && len; i++) {
        const struct xhci_trb *t = &td->trb[i];
        uint32_t n = trb_bytes(t);
        if (at >= n) {
            at -= n;
            continue;
        }
        n = MIN_OF(n - at, len);
        if (t->control & TRB_IDT) {
            if (to_guest)
                return false;
            memcpy(buf, (const uint8_t *)&t->param + at, n);
        } else if ((to_guest ? guest_mem_write(xhci_memory(x), GPA(t->param + at), buf, n)
                             : guest_mem_read(xhci_memory(x), GPA(t->param + at), buf, n)) != 0) {
            return false;
        }
        buf += n;
        len -= n;
        at = 0;
    }
    return true;
}

/* ---- events ---- */

struct report {
    unsigned slot, ep;
    uint32_t done;
    enum xhci_cc cc;
};

static unsigned interrupter(const struct xhci_trb *t)
{
    return MIN_OF(t->status >> 22, XHCI_INTRS - 1u);
}

static void report_trb(struct xhci *x, const struct report *r, const struct xhci_trb *t,
                       enum xhci_cc cc, uint32_t left)
{
    xhci_event(x, interrupter(t), TRB_TRANSFER_EVENT, t->at, (uint32_t)cc << 24 | left,
               r->slot << 24 | (r->ep + 1) << 16, !(t->control & TRB_BEI));
}

static void report_event_data(struct xhci *x, const struct report *r, const struct xhci_trb *t,
                              enum xhci_cc cc, uint32_t moved)
{
    xhci_event(x, interrupter(t), TRB_TRANSFER_EVENT, t->param,
               (uint32_t)cc << 24 | (moved & 0xffffff), r->slot << 24 | (r->ep + 1) << 16 | BIT(2),
               !(t->control & TRB_BEI));
}

/* One event for each TRB that asks for it; one where a short packet or an error ended it. */
static void td_report(struct xhci *x, const struct xhci_td *td, const struct report *r)
{
    uint32_t left = r->done, moved = 0;
    bool is_short = false, told = false;
    bool failed = r->cc != CC_SUCCESS && r->cc != CC_SHORT_PACKET;

    for (unsigned i = 0; i < td->count; i++) {
        const struct xhci_trb *t = &td->trb[i];
        uint32_t size = trb_bytes(t), have = MIN_OF(size, left);
        left -= have;
        moved += have;
        if (failed && (have < size || i + 1 == td->count)) {
            report_trb(x, r, t, r->cc, size - have);
            return;
        }
        if (failed)
            continue;
        if (trb_type(t->control) == TRB_EVENT_DATA) {
            if (t->control & TRB_IOC)
                report_event_data(x, r, t, is_short ? CC_SHORT_PACKET : CC_SUCCESS, moved);
            moved = 0;
            continue;
        }
        is_short |= have < size;
        if (told || !(t->control & (is_short ? TRB_IOC | TRB_ISP : TRB_IOC)))
            continue;
        report_trb(x, r, t, is_short ? CC_SHORT_PACKET : CC_SUCCESS, size - have);
        told = is_short;
    }
}

void xhci_ep_stopped_event(struct xhci *x, unsigned slot, unsigned ep)
{
    struct xhci_ep *e = &x->slot[slot - 1].ep[ep];
    struct report r = {slot, ep, e->done, CC_STOPPED};

    if (td_read(x, e, &x->td) == FETCH_TRB)
        td_report(x, &x->td, &r);
}

/* Whether all events of a descriptor find room: else it waits. */
static bool td_has_room(struct xhci *x, const struct xhci_td *td)
{
    uint32_t size, room;

    for (unsigned n = 0; n < XHCI_INTRS; n++) {
        uint32_t need = 0;
        for (unsigned i = 0; i < td->count; i++)
            need += interrupter(&td->trb[i]) == n &&
                    ((td->trb[i].control & (TRB_IOC | TRB_ISP)) || i + 1 == td->count);
        if (need == 0)
            continue;
        room = xhci_event_room(x, n, &size);
        if (size == 0 || room < MIN_OF(need, size - 2))
            return false;
    }
    return true;
}

/* ---- transfers ---- */

static void ep_end(struct xhci *x, unsigned slot, unsigned ep, enum xhci_cc cc)
{
    struct xhci_slot *s = &x->slot[slot - 1];
    struct xhci_ep *e = &s->ep[ep];
    struct report r = {slot, ep, e->done, cc};
    bool failed = cc != CC_SUCCESS && cc != CC_SHORT_PACKET;

    e->tried = false;
    e->done = 0;
    if (!failed)
        e->ring = x->td.after;
    td_report(x, &x->td, &r);
    if (failed)
        xhci_ep_show(x, s, ep, EP_HALTED);
}

static enum xhci_cc code_of(enum usb_result r)
{
    return r == USB_STALL ? CC_STALL : r == USB_BABBLE ? CC_BABBLE : CC_TRANSACTION;
}

static enum usb_pid direction(const struct xhci_ep *e, unsigned ep, const struct xhci_td *td)
{
    if (e->type != EPT_CONTROL)
        return e->type >= EPT_ISOCH_IN ? USB_PID_IN : USB_PID_OUT;
    if (trb_type(td->trb[0].control) == TRB_SETUP)
        return USB_PID_SETUP;
    return td->trb[0].control & TRB_DIR_IN ? USB_PID_IN : USB_PID_OUT;
}

/* Moves the next piece of the descriptor. */
static enum outcome td_move(struct xhci *x, unsigned slot, unsigned ep, uint32_t *budget)
{
    struct xhci_slot *s = &x->slot[slot - 1];
    struct xhci_ep *e = &s->ep[ep];
    struct xhci_td *td = &x->td;
    struct usb_device *d = xhci_slot_device(x, s);
    enum usb_pid pid = direction(e, ep, td);
    uint32_t ask = MIN_OF(td->bytes - e->done, (uint32_t)XHCI_CHUNK), moved = 0;
    enum usb_result r;

    if (pid == USB_PID_SETUP) {
        memcpy(x->chunk, &td->trb[0].param, 8);
        ask = 8;
    } else if (pid == USB_PID_OUT && !td_copy(x, td, e->done, x->chunk, ask, false)) {
        ep_end(x, slot, ep, CC_DATA_BUFFER);
        return ENDED;
    }
    r = d ? usb_transfer(d, pid, (ep + 1) / 2, x->chunk, ask, &moved) : USB_ERROR;
    if (pid == USB_PID_IN && moved && !td_copy(x, td, e->done, x->chunk, moved, true)) {
        ep_end(x, slot, ep, CC_DATA_BUFFER);
        return ENDED;
    }
    if (pid != USB_PID_SETUP)
        e->done += moved;
    *budget -= MIN_OF(*budget, moved);
    if (r == USB_NAK) {
        e->tried = true;
        return WAITS;
    }
    if (r == USB_OK && moved == ask && pid != USB_PID_SETUP && e->done < td->bytes)
        return GOES_ON;
    ep_end(x, slot, ep, r != USB_OK ? code_of(r) : moved < ask ? CC_SHORT_PACKET : CC_SUCCESS);
    return ENDED;
}

/* True when the descriptor is one the endpoint can carry out. */
static bool td_valid(const struct xhci_ep *e, const struct xhci_td *td)
{
    unsigned first = trb_type(td->trb[0].control);
    bool control = e->type == EPT_CONTROL;

    for (unsigned i = 1; i < td->count; i++) {
        unsigned type = trb_type(td->trb[i].control);
        if (type != TRB_NORMAL && type != TRB_EVENT_DATA && type != TRB_NOOP)
            return false;
    }
    switch (first) {
    case TRB_SETUP:
        return control && (td->trb[0].control & TRB_IDT) && td->bytes == 0;
    case TRB_DATA:
        return control;
    case TRB_STATUS:
        return control && td->bytes == 0;
    case TRB_NORMAL:
        return !control;
    }
    return false;
}

static enum outcome td_run(struct xhci *x, unsigned slot, unsigned ep, uint32_t *budget)
{
    struct xhci_ep *e = &x->slot[slot - 1].ep[ep];
    enum xhci_fetch got = td_read(x, e, &x->td);
    unsigned first = trb_type(x->td.trb[0].control);

    if (got == FETCH_NONE)
        return WAITS;
    if (got == FETCH_BAD) { /* nothing to point at but where it began */
        x->td.count = 1;
        x->td.trb[0] = (struct xhci_trb){.at = e->ring.dequeue};
        ep_end(x, slot, ep, CC_TRB);
        return ENDED;
    }
    if (!td_has_room(x, &x->td))
        return NO_ROOM;
    if (e->done > x->td.bytes)
        e->done = 0; /* the guest has put another one there */
    if (first == TRB_NOOP || first == TRB_EVENT_DATA) {
        ep_end(x, slot, ep, CC_SUCCESS);
        return ENDED;
    }
    if (!td_valid(e, &x->td)) {
        ep_end(x, slot, ep, CC_TRB);
        return ENDED;
    }
    return td_move(x, slot, ep, budget);
}

bool xhci_slot_run(struct xhci *x, unsigned slot, uint32_t *budget)
{
    struct xhci_slot *s = &x->slot[slot - 1];

    for (unsigned index = 1; index <= XHCI_EPS; index++) {
        struct xhci_ep *e = &s->ep[index - 1];
        unsigned n = 0;
        enum outcome out = GOES_ON;
        if (!(s->kicked & BIT(index)))
            continue;
        s->kicked &= ~BIT(index);
        while (s->enabled && e->state == EP_RUNNING && out >= GOES_ON) {
            if (*budget == 0 || n++ == TDS_AT_ONCE || !xhci_running(x)) {
                s->kicked |= BIT(index);
                return true;
            }
            out = td_run(x, slot, index - 1, budget);
        }
        if (out == NO_ROOM) /* until the guest has read events */
            s->kicked |= BIT(index);
    }
    return false;
}
