/* ehci_sched.c - queue heads and their transfer descriptors (EHCI 1.0 §3, §4.8 to §4.10).
 *
 * A queue head's overlay is read, worked on as a copy and written back after each descriptor.
 * Isochronous and split-transaction descriptors are passed over. */
#include "ehci_int.h"

#include "mem/guest_mem.h"

enum {
    QUEUES_MAX = 128,      /* in a round or a frame */
    QTDS_AT_ONCE = 8,      /* of one queue before the next has its turn */
    ASYNC_BYTES = 1 << 18, /* in a look */
    LINK_END = 1,
    TYPE_QH = 1,
    PAGES = 5,
};
#define QTD_XACT   BIT(3)
#define QTD_BABBLE BIT(4)
#define QTD_BUFFER BIT(5)
#define QTD_HALTED BIT(6)
#define QTD_ACTIVE BIT(7)
#define QTD_CERR   (3u << 10)
#define QTD_IOC    BIT(15)
#define QTD_TOGGLE BIT(31)

struct qh {
    uint32_t link, info, caps, current;
    /* the overlay */
    uint32_t next, alternate, token, page[PAGES];
};

enum { OVERLAY_AT = offsetof(struct qh, current), QTD_TOKEN_AT = 8 };

static struct guest_mem *memory(const struct ehci *e)
{
    return e->pci.bus->host->mem;
}

static uint32_t bytes_left(const struct qh *q)
{
    return q->token >> 16 & 0x7fff;
}

/* The next descriptor becomes the overlay (§4.10.2); 1: it is active, 0: there is none. */
static int queue_advance(struct ehci *e, struct qh *q)
{
    bool is_short = bytes_left(q) && !(q->alternate & LINK_END);
    uint32_t from = is_short ? q->alternate : q->next, qtd[8];

    if (from & LINK_END)
        return 0;
    if (guest_mem_read(memory(e), GPA(from & ~31u), qtd, sizeof(qtd)) != 0)
        return -1;
    if (!(qtd[2] & QTD_ACTIVE))
        return 0;
    q->current = from & ~31u;
    memcpy(&q->next, qtd, sizeof(qtd));
    return 1;
}

/* Copies between the chunk and the pages, from where the overlay stands; false: not memory. */
static bool pages_copy(struct ehci *e, const struct qh *q, uint32_t len, bool to_guest)
{
    uint32_t page = q->token >> 12 & 7, offset = q->page[0] & 0xfff, done = 0;

    while (done < len) {
        uint32_t n = MIN_OF(len - done, 4096 - offset);
        uint64_t at;
        if (page >= PAGES)
            return false;
        at = (q->page[page] & ~0xfffu) + offset;
        if ((to_guest ? guest_mem_write(memory(e), GPA(at), e->chunk + done, n)
                      : guest_mem_read(memory(e), GPA(at), e->chunk + done, n)) != 0)
            return false;
        done += n;
        offset = 0;
        page++;
    }
    return true;
}

static void overlay_moved(struct qh *q, uint32_t n)
{
    uint32_t offset = (q->page[0] & 0xfff) + n, page = (q->token >> 12 & 7) + offset / 4096;

    q->page[0] = (q->page[0] & ~0xfffu) | (offset & 0xfff);
    q->token = (q->token & ~(7u << 12)) | (page & 7) << 12;
    q->token -= n << 16;
}

static void overlay_failed(struct ehci *e, struct qh *q, uint32_t why)
{
    q->token = (q->token & ~(QTD_ACTIVE | QTD_CERR)) | QTD_HALTED | why;
    ehci_raise(e, ESTS_ERROR);
}

/* The room from the overlay's position to the end of its fifth page. */
static uint32_t pages_room(const struct qh *q)
{
    uint32_t page = q->token >> 12 & 7;

    return page < PAGES ? (PAGES - page) * 4096 - (q->page[0] & 0xfff) : 0;
}

/* One descriptor's transfer, or as much as the device has.  True: something has moved. */
static bool overlay_run(struct ehci *e, struct qh *q, uint32_t *budget)
{
    static const enum usb_pid pids[] = {USB_PID_OUT, USB_PID_IN, USB_PID_SETUP, USB_PID_SETUP};
    enum usb_pid pid = pids[q->token >> 8 & 3];
    uint32_t left = bytes_left(q), ask = MIN_OF(left, pages_room(q)), moved = 0;
    struct usb_device *d = ehci_device(e, q->info & 127);
    enum usb_result r;

    if (pid != USB_PID_IN && !pages_copy(e, q, ask, false)) {
        overlay_failed(e, q, QTD_BUFFER);
        return true;
    }
    r = d ? usb_transfer(d, pid, q->info >> 8 & 15, e->chunk, ask, &moved) : USB_ERROR;
    if (pid == USB_PID_IN && moved && !pages_copy(e, q, moved, true)) {
        overlay_failed(e, q, QTD_BUFFER);
        return true;
    }
    if (moved)
        overlay_moved(q, moved);
    *budget -= MIN_OF(*budget, moved + 1);
    switch (r) {
    case USB_NAK:
        return moved > 0;
    case USB_OK:
        if (moved == ask && ask < left) { /* more than five pages can hold */
            overlay_failed(e, q, QTD_BUFFER);
            return true;
        }
        q->token &= ~QTD_ACTIVE;
        q->token ^= QTD_TOGGLE;
        if ((q->token & QTD_IOC) || moved < ask)
            ehci_raise(e, ESTS_INT);
        return true;
    case USB_STALL:
        overlay_failed(e, q, 0);
        return true;
    case USB_BABBLE:
        overlay_failed(e, q, QTD_BABBLE);
        return true;
    case USB_ERROR:
        overlay_failed(e, q, QTD_XACT);
        return true;
    }
    return false;
}

static bool overlay_write(struct ehci *e, uint64_t at, const struct qh *q)
{
    return guest_mem_write(memory(e), GPA(at + OVERLAY_AT), &q->current, sizeof(*q) - OVERLAY_AT) ==
           0;
}

/* The overlay's status goes back to the descriptor it came from (§4.10.4). */
static bool qtd_retire(struct ehci *e, const struct qh *q)
{
    return guest_mem_write(memory(e), GPA((q->current & ~31u) + QTD_TOKEN_AT), &q->token, 4) == 0;
}

static bool queue_run(struct ehci *e, uint64_t at, struct qh *q, uint32_t *budget, bool *moved)
{
    for (unsigned n = 0; n < QTDS_AT_ONCE && *budget; n++) {
        bool did;
        if (q->token & QTD_HALTED)
            return true;
        if (!(q->token & QTD_ACTIVE)) {
            int got = queue_advance(e, q);
            if (got <= 0)
                return got == 0;
        }
        did = overlay_run(e, q, budget);
        *moved |= did;
        if (!overlay_write(e, at, q))
            return false;
        if (q->token & QTD_ACTIVE)
            return true;
        if (!qtd_retire(e, q))
            return false;
    }
    return true;
}

bool ehci_async_run(struct ehci *e, bool *moved)
{
    uint32_t link = e->async_at, budget = ASYNC_BYTES;

    for (unsigned n = 0; n < QUEUES_MAX && budget; n++) {
        uint64_t at = link & ~31u;
        struct qh q;
        if (guest_mem_read(memory(e), GPA(at), &q, sizeof(q)) != 0)
            return false;
        if (!queue_run(e, at, &q, &budget, moved))
            return false;
        link = q.link;
        if ((link & ~31u) == (e->async_at & ~31u) || (link & LINK_END) ||
            (link >> 1 & 3) != TYPE_QH)
            break;
    }
    return true;
}

bool ehci_frame_run(struct ehci *e, uint32_t frame, bool *moved)
{
    unsigned shift = e->cmd >> 2 & 3, entries = 1024u >> MIN_OF(shift, 2u);
    uint32_t link, budget = ASYNC_BYTES;

    if (guest_mem_read(memory(e), GPA(e->periodic_base + 4 * (frame & (entries - 1))), &link, 4) !=
        0)
        return false;
    for (unsigned n = 0; n < QUEUES_MAX && !(link & LINK_END) && budget; n++) {
        uint64_t at = link & ~31u;
        struct qh q;
        if ((link >> 1 & 3) != TYPE_QH) { /* its first word is a link, too */
            if (guest_mem_read(memory(e), GPA(at), &link, 4) != 0)
                return false;
            continue;
        }
        if (guest_mem_read(memory(e), GPA(at), &q, sizeof(q)) != 0)
            return false;
        if ((q.caps & 0xff) && !queue_run(e, at, &q, &budget, moved))
            return false;
        link = q.link;
    }
    return true;
}
