/* xhci_event.c - reading rings, writing event rings, interrupts (xHCI 1.1 §4.9, §4.17). */
#include "xhci_int.h"

#include "mem/guest_mem.h"

enum { TRB_BYTES = 16, SEGMENT_ENTRY = 16, SEGMENT_MIN = 16, SEGMENT_MAX = 4096 };

/* ---- reading ---- */

/* The cycle bit is read first: what it covers was written before it. */
static enum xhci_fetch trb_read(struct xhci *x, const struct xhci_ring *r, struct xhci_trb *out)
{
    uint8_t b[TRB_BYTES];

    if (guest_mem_read(xhci_memory(x), GPA(r->dequeue + 12), b, 4) != 0)
        return FETCH_BAD;
    if ((le32_get(b) & TRB_CYCLE) != (r->cycle ? TRB_CYCLE : 0))
        return FETCH_NONE;
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    if (guest_mem_read(xhci_memory(x), GPA(r->dequeue), b, sizeof(b)) != 0)
        return FETCH_BAD;
    *out = (struct xhci_trb){le64_get(b), le32_get(b + 8), le32_get(b + 12), r->dequeue};
    return FETCH_TRB;
}

enum xhci_fetch xhci_ring_next(struct xhci *x, struct xhci_ring *r, struct xhci_trb *out)
{
    for (unsigned links = 0; links < XHCI_LINKS; links++) {
        enum xhci_fetch got = trb_read(x, r, out);
        if (got != FETCH_TRB)
            return got;
        if (trb_type(out->control) != TRB_LINK) {
            r->dequeue += TRB_BYTES;
            return FETCH_TRB;
        }
        r->dequeue = out->param & ~UINT64_C(15);
        if (out->control & TRB_TOGGLE)
            r->cycle = !r->cycle;
    }
    return FETCH_BAD;
}

/* ---- event rings ---- */

void xhci_intr_open(struct xhci *x, unsigned n)
{
    struct xhci_intr *i = &x->intr[n];
    uint8_t e[SEGMENT_ENTRY];

    i->segments = i->at_segment = i->at_trb = 0;
    i->cycle = true;
    if (i->erstsz == 0)
        return;
    if (i->erstsz > XHCI_SEGMENTS) {
        xhci_die(x, "an event ring has too many segments");
        return;
    }
    for (unsigned k = 0; k < i->erstsz; k++) {
        if (guest_mem_read(xhci_memory(x), GPA(i->erstba + k * SEGMENT_ENTRY), e, sizeof(e)) != 0) {
            xhci_die(x, "an event ring's table is not in memory");
            return;
        }
        i->segment[k].base = le64_get(e) & ~UINT64_C(63);
        i->segment[k].trbs = le32_get(e + 8) & 0xffff;
        if (i->segment[k].trbs < SEGMENT_MIN || i->segment[k].trbs > SEGMENT_MAX) {
            xhci_die(x, "an event ring's segment has a wrong size");
            return;
        }
    }
    i->segments = i->erstsz;
}

/* Where the guest reads, counted in TRBs from the ring's beginning; false: nowhere in it. */
static bool dequeue_index(const struct xhci_intr *i, uint32_t *index)
{
    uint64_t at = i->erdp & ~UINT64_C(15);

    *index = 0;
    for (unsigned k = 0; k < i->segments; k++) {
        const struct xhci_segment *s = &i->segment[k];
        if (at >= s->base && at - s->base < (uint64_t)s->trbs * TRB_BYTES) {
            *index += (uint32_t)((at - s->base) / TRB_BYTES);
            return true;
        }
        *index += s->trbs;
    }
    return false;
}

static uint32_t enqueue_index(const struct xhci_intr *i, uint32_t *size)
{
    uint32_t at = i->at_trb;

    *size = 0;
    for (unsigned k = 0; k < i->segments; k++) {
        at += k < i->at_segment ? i->segment[k].trbs : 0;
        *size += i->segment[k].trbs;
    }
    return at;
}

uint32_t xhci_event_room(struct xhci *x, unsigned n, uint32_t *size)
{
    const struct xhci_intr *i = &x->intr[n];
    uint32_t to, from = enqueue_index(i, size);

    if (!i->segments || !dequeue_index(i, &to))
        return 0;
    return (to + *size - from - 1) % *size;
}

void xhci_irq_update(struct xhci *x)
{
    const uint32_t both = IMAN_IP | IMAN_IE;
    bool msix = msix_enabled(&x->pci), msi = !msix && msi_enabled(&x->pci);
    bool messages = msix || msi, on = x->usbcmd & CMD_INTE;

    for (unsigned n = 0; messages && on && n < XHCI_INTRS; n++) {
        if ((x->intr[n].iman & both) != both)
            continue;
        x->intr[n].iman &= ~IMAN_IP; /* a message takes it along, §5.5.2.1 */
        if (msix)
            msix_notify(&x->pci, n);
        else
            msi_notify(&x->pci); /* one message for all interrupters, §4.17 */
    }
    pci_intx_set(&x->pci, !messages && on && (x->intr[0].iman & both) == both);
}

/* While the guest is busy with earlier events it will see this one, too. */
static void intr_raise(struct xhci *x, unsigned n)
{
    struct xhci_intr *i = &x->intr[n];
    bool busy = i->erdp & ERDP_BUSY;

    i->erdp |= ERDP_BUSY;
    x->usbsts |= STS_EINT;
    if (busy)
        return;
    i->iman |= IMAN_IP;
    xhci_irq_update(x);
}

void xhci_event(struct xhci *x, unsigned n, unsigned type, uint64_t param, uint32_t status,
                uint32_t control, bool interrupt)
{
    struct xhci_intr *i = &x->intr[n];
    uint8_t b[TRB_BYTES];
    uint64_t at;
    uint32_t size;

    if (xhci_event_room(x, n, &size) == 0)
        return; /* callers look before they begin; the guest has moved its pointer since */
    at = i->segment[i->at_segment].base + (uint64_t)i->at_trb * TRB_BYTES;
    le64_put(b, param);
    le32_put(b + 8, status);
    le32_put(b + 12, control | type << 10 | (i->cycle ? TRB_CYCLE : 0));
    if (guest_mem_write(xhci_memory(x), GPA(at), b, 12) != 0 ||
        guest_mem_write(xhci_memory(x), GPA(at + 12), b + 12, 4) != 0) {
        xhci_die(x, "an event ring is not in memory");
        return;
    }
    if (++i->at_trb == i->segment[i->at_segment].trbs) {
        i->at_trb = 0;
        if (++i->at_segment == i->segments) {
            i->at_segment = 0;
            i->cycle = !i->cycle;
        }
    }
    if (interrupt)
        intr_raise(x, n);
}

/* Room again: what waited for it goes on.  Events the guest has not seen interrupt once more. */
void xhci_erdp_written(struct xhci *x, unsigned n)
{
    struct xhci_intr *i = &x->intr[n];
    uint32_t to, size;

    if (!(i->erdp & ERDP_BUSY) && dequeue_index(i, &to) && to != enqueue_index(i, &size))
        intr_raise(x, n);
    if (xhci_running(x))
        xhci_kick(x);
}
