/* xhci_cmd.c - the command ring: slots, device contexts, endpoints (xHCI 1.1 §4.6, §6.2). */
#include "xhci_int.h"

#include "mem/guest_mem.h"

enum { COMMANDS_AT_ONCE = 32, NEC_FIRMWARE = 0x3033, EP0_INDEX = 0 };

/* A context has eight dwords of which the first five mean something (§6.2.2, §6.2.3). */
struct context {
    uint32_t w[XHCI_CONTEXT / 4];
};

static bool context_read(struct xhci *x, uint64_t at, struct context *c)
{
    return guest_mem_read(xhci_memory(x), GPA(at), c, sizeof(*c)) == 0;
}

static bool context_write(struct xhci *x, uint64_t at, const struct context *c)
{
    return guest_mem_write(xhci_memory(x), GPA(at), c, sizeof(*c)) == 0;
}

static uint64_t ep_context(const struct xhci_slot *s, unsigned ep)
{
    return s->context + (ep + 1) * (uint64_t)XHCI_CONTEXT;
}

/* ---- what the guest sees of a slot and its endpoints ---- */

void xhci_ep_show(struct xhci *x, struct xhci_slot *s, unsigned ep, unsigned state)
{
    struct xhci_ep *e = &s->ep[ep];
    struct context c;

    e->state = (uint8_t)state;
    if (!context_read(x, ep_context(s, ep), &c))
        return; /* the guest has taken its memory away: nobody is there to look */
    c.w[0] = (c.w[0] & ~7u) | state;
    if (state != EP_DISABLED) {
        c.w[2] = (uint32_t)e->ring.dequeue | e->ring.cycle;
        c.w[3] = (uint32_t)(e->ring.dequeue >> 32);
    }
    (void)context_write(x, ep_context(s, ep), &c);
}

static enum xhci_cc slot_show(struct xhci *x, struct xhci_slot *s, struct context *c,
                              unsigned state)
{
    unsigned address = state >= SLOT_ADDRESSED ? (unsigned)(s - x->slot) + 1 : 0;

    s->state = (uint8_t)state;
    c->w[3] = state << 27 | address;
    return context_write(x, s->context, c) ? CC_SUCCESS : CC_PARAMETER;
}

struct usb_device *xhci_slot_device(struct xhci *x, const struct xhci_slot *s)
{
    struct usb_port *p = xhci_port_connector(x, s->port);
    struct usb_device *d = p ? p->dev : NULL;

    if (d && !(x->port[s->port - 1].speeds & BIT(d->speed)))
        return NULL;
    for (uint32_t route = s->route; d && route; route >>= 4) {
        p = usb_port_below(d, route & 15);
        d = p && usb_hub_port_enabled(p) ? p->dev : NULL;
    }
    return d;
}

static void ep_disable(struct xhci *x, struct xhci_slot *s, unsigned ep)
{
    if (s->ep[ep].state != EP_DISABLED)
        xhci_ep_show(x, s, ep, EP_DISABLED);
    s->ep[ep] = (struct xhci_ep){0};
    s->kicked &= ~BIT(ep + 1);
}

void xhci_slot_free(struct xhci *x, unsigned slot)
{
    x->slot[slot] = (struct xhci_slot){0};
}

/* ---- commands ---- */

static enum xhci_cc enable_slot(struct xhci *x, unsigned *slot)
{
    unsigned limit = MIN_OF(x->config & 0xff, (unsigned)XHCI_SLOTS);

    for (unsigned i = 0; i < limit; i++) {
        if (x->slot[i].enabled)
            continue;
        x->slot[i] = (struct xhci_slot){.enabled = true};
        *slot = i + 1;
        return CC_SUCCESS;
    }
    return CC_NO_SLOTS;
}

static bool type_fits(unsigned ep, unsigned type)
{
    bool in = !(ep & 1); /* OUT 1 is 1, IN 1 is 2 */

    if (ep == EP0_INDEX || type == EPT_CONTROL)
        return ep == EP0_INDEX && type == EPT_CONTROL;
    return type != EPT_INVALID && (type >= EPT_ISOCH_IN) == in;
}

static enum xhci_cc ep_context_check(unsigned ep, const struct context *c)
{
    unsigned type = c->w[1] >> 3 & 7;

    if (!type_fits(ep, type) || (c->w[1] >> 16) == 0 || (c->w[0] >> 10 & 31))
        return CC_PARAMETER; /* a direction the number does not have; streams */
    return type == EPT_ISOCH_OUT || type == EPT_ISOCH_IN ? CC_BANDWIDTH : CC_SUCCESS;
}

static enum xhci_cc ep_enable(struct xhci *x, struct xhci_slot *s, unsigned ep, struct context *c)
{
    s->ep[ep] = (struct xhci_ep){
        .type = c->w[1] >> 3 & 7,
        .state = EP_RUNNING,
        .ring = {(uint64_t)c->w[3] << 32 | (c->w[2] & ~15u), c->w[2] & 1},
    };
    c->w[0] = (c->w[0] & ~7u) | EP_RUNNING;
    return context_write(x, ep_context(s, ep), c) ? CC_SUCCESS : CC_PARAMETER;
}

/* Drop and add flags, then the slot context, of an input context. */
static bool input_read(struct xhci *x, uint64_t at, uint32_t *drop, uint32_t *add,
                       struct context *slot)
{
    struct context control;

    if (!context_read(x, at, &control) || !context_read(x, at + XHCI_CONTEXT, slot))
        return false;
    *drop = control.w[0];
    *add = control.w[1];
    return true;
}

static bool input_ep(struct xhci *x, uint64_t at, unsigned ep, struct context *c)
{
    return context_read(x, at + (ep + 2) * (uint64_t)XHCI_CONTEXT, c);
}

/* One device, one slot. */
static bool place_taken(struct xhci *x, const struct xhci_slot *own)
{
    for (unsigned i = 0; i < XHCI_SLOTS; i++) {
        const struct xhci_slot *s = &x->slot[i];
        if (s != own && s->enabled && s->port == own->port && s->route == own->route)
            return true;
    }
    return false;
}

static enum xhci_cc address_device(struct xhci *x, struct xhci_slot *s, const struct xhci_trb *t)
{
    uint64_t at = t->param & ~UINT64_C(15);
    struct usb_device *d;
    uint32_t drop, add;
    struct context slot, ep0;
    uint8_t ptr[8];
    bool bsr = t->control & TRB_BSR;
    enum xhci_cc cc;

    if (s->state > SLOT_DEFAULT || (bsr && s->state == SLOT_DEFAULT))
        return CC_CONTEXT_STATE;
    if (!input_read(x, at, &drop, &add, &slot) || !input_ep(x, at, EP0_INDEX, &ep0) || drop ||
        add != 3 || ep_context_check(EP0_INDEX, &ep0) != CC_SUCCESS)
        return CC_PARAMETER;
    if (guest_mem_read(xhci_memory(x), GPA(x->dcbaap + 8 * ((uint64_t)(s - x->slot) + 1)), ptr,
                       8) != 0)
        return CC_PARAMETER;
    s->context = le64_get(ptr) & ~UINT64_C(63);
    s->port = (uint8_t)(slot.w[1] >> 16);
    s->route = slot.w[0] & 0xfffff;
    s->intr = (uint16_t)MIN_OF(slot.w[2] >> 22, XHCI_INTRS - 1u);
    if (!xhci_port_connector(x, s->port) || place_taken(x, s)) {
        s->port = 0;
        return CC_TRB;
    }
    d = xhci_slot_device(x, s);
    if (!d) {
        s->port = 0;
        return CC_TRANSACTION;
    }
    usb_device_bus_reset(d);
    d->address = bsr ? 0 : (uint8_t)(s - x->slot + 1);
    cc = ep_enable(x, s, EP0_INDEX, &ep0);
    return cc == CC_SUCCESS ? slot_show(x, s, &slot, bsr ? SLOT_DEFAULT : SLOT_ADDRESSED) : cc;
}

static unsigned last_ep(const struct xhci_slot *s)
{
    unsigned n = XHCI_EPS;

    while (n > 1 && s->ep[n - 1].state == EP_DISABLED)
        n--;
    return n;
}

static enum xhci_cc entries_show(struct xhci *x, struct xhci_slot *s)
{
    unsigned last = last_ep(s);
    struct context c;

    if (!context_read(x, s->context, &c))
        return CC_PARAMETER;
    c.w[0] = (c.w[0] & 0x07ffffffu) | last << 27;
    return slot_show(x, s, &c, last > 1 ? SLOT_CONFIGURED : SLOT_ADDRESSED);
}

static enum xhci_cc configure_endpoint(struct xhci *x, struct xhci_slot *s,
                                       const struct xhci_trb *t)
{
    uint64_t at = t->param & ~UINT64_C(15);
    uint32_t drop = UINT32_MAX & ~3u, add = 0;
    struct context slot, ep[XHCI_EPS];
    enum xhci_cc cc = CC_SUCCESS;

    if (s->state < SLOT_ADDRESSED)
        return CC_CONTEXT_STATE;
    if (!(t->control & TRB_DC)) {
        if (!input_read(x, at, &drop, &add, &slot) || (drop & 3) || (add & 3) != 1)
            return CC_PARAMETER;
    }
    /* all is checked before anything changes */
    for (unsigned i = 1; i < XHCI_EPS && cc == CC_SUCCESS; i++)
        if (add & BIT(i + 1))
            cc = input_ep(x, at, i, &ep[i]) ? ep_context_check(i, &ep[i]) : CC_PARAMETER;
    if (cc != CC_SUCCESS)
        return cc;
    for (unsigned i = 1; i < XHCI_EPS && cc == CC_SUCCESS; i++) {
        if ((drop | add) & BIT(i + 1))
            ep_disable(x, s, i);
        if (add & BIT(i + 1))
            cc = ep_enable(x, s, i, &ep[i]);
    }
    return cc == CC_SUCCESS ? entries_show(x, s) : cc;
}

static enum xhci_cc evaluate_context(struct xhci *x, struct xhci_slot *s, const struct xhci_trb *t)
{
    uint64_t at = t->param & ~UINT64_C(15);
    struct context in, ep0, c;
    uint32_t drop, add;

    if (s->state < SLOT_DEFAULT)
        return CC_CONTEXT_STATE;
    if (!input_read(x, at, &drop, &add, &in) || drop || (add & ~3u) ||
        !input_ep(x, at, EP0_INDEX, &ep0))
        return CC_PARAMETER;
    if (add & 1) { /* exit latency, interrupter */
        if (!context_read(x, s->context, &c))
            return CC_PARAMETER;
        s->intr = (uint16_t)MIN_OF(in.w[2] >> 22, XHCI_INTRS - 1u);
        c.w[1] = (c.w[1] & ~0xffffu) | (in.w[1] & 0xffff);
        c.w[2] = (c.w[2] & 0x3fffffu) | (in.w[2] & ~0x3fffffu);
        if (!context_write(x, s->context, &c))
            return CC_PARAMETER;
    }
    if (add & 2) { /* endpoint 0's packet size */
        if (!context_read(x, ep_context(s, EP0_INDEX), &c))
            return CC_PARAMETER;
        c.w[1] = (c.w[1] & 0xffffu) | (ep0.w[1] & ~0xffffu);
        if (!context_write(x, ep_context(s, EP0_INDEX), &c))
            return CC_PARAMETER;
    }
    return CC_SUCCESS;
}

static enum xhci_cc reset_device(struct xhci *x, struct xhci_slot *s)
{
    struct usb_device *d = xhci_slot_device(x, s);
    struct context c;

    if (s->state < SLOT_ADDRESSED)
        return CC_CONTEXT_STATE;
    if (!context_read(x, s->context, &c))
        return CC_PARAMETER;
    if (d)
        usb_device_bus_reset(d);
    for (unsigned i = 1; i < XHCI_EPS; i++)
        ep_disable(x, s, i);
    c.w[0] = (c.w[0] & 0x07ffffffu) | 1u << 27;
    return slot_show(x, s, &c, SLOT_DEFAULT);
}

static enum xhci_cc endpoint_command(struct xhci *x, unsigned slot, const struct xhci_trb *t)
{
    struct xhci_slot *s = &x->slot[slot - 1];
    unsigned ep = (t->control >> 16 & 31) - 1;
    struct xhci_ep *e;

    if (ep >= XHCI_EPS)
        return CC_TRB;
    e = &s->ep[ep];
    if (e->state == EP_DISABLED)
        return CC_EP_NOT_ENABLED;
    switch (trb_type(t->control)) {
    case TRB_RESET_ENDPOINT:
        if (e->state != EP_HALTED)
            return CC_CONTEXT_STATE;
        e->tried = false;
        e->done = 0;
        break;
    case TRB_STOP_ENDPOINT:
        if (e->state != EP_RUNNING)
            return CC_CONTEXT_STATE;
        if (e->tried)
            xhci_ep_stopped_event(x, slot, ep);
        break;
    default: /* set TR dequeue pointer */
        if (e->state != EP_STOPPED && e->state != EP_ERROR)
            return CC_CONTEXT_STATE;
        e->ring = (struct xhci_ring){t->param & ~UINT64_C(15), t->param & 1};
        e->tried = false;
        e->done = 0;
        break;
    }
    xhci_ep_show(x, s, ep, EP_STOPPED);
    return CC_SUCCESS;
}

static enum xhci_cc slot_command(struct xhci *x, unsigned slot, const struct xhci_trb *t)
{
    struct xhci_slot *s = &x->slot[slot - 1];

    if (slot == 0 || slot > XHCI_SLOTS || !s->enabled)
        return CC_SLOT_NOT_ENABLED;
    switch (trb_type(t->control)) {
    case TRB_DISABLE_SLOT:
        xhci_slot_free(x, slot - 1);
        return CC_SUCCESS;
    case TRB_ADDRESS_DEVICE:
        return address_device(x, s, t);
    case TRB_CONFIGURE_ENDPOINT:
        return configure_endpoint(x, s, t);
    case TRB_EVALUATE_CONTEXT:
        return evaluate_context(x, s, t);
    case TRB_RESET_DEVICE:
        return reset_device(x, s);
    }
    return endpoint_command(x, slot, t);
}

static void command(struct xhci *x, const struct xhci_trb *t)
{
    unsigned type = trb_type(t->control), slot = t->control >> 24, event = TRB_COMMAND_EVENT;
    enum xhci_cc cc = CC_TRB;
    uint32_t low = 0;

    if (type == TRB_ENABLE_SLOT) {
        cc = enable_slot(x, &slot);
    } else if (type >= TRB_DISABLE_SLOT && type <= TRB_RESET_DEVICE) {
        cc = slot_command(x, slot, t);
    } else if (type == TRB_NOOP_COMMAND) {
        cc = CC_SUCCESS;
    } else if (type == TRB_NEC_FIRMWARE && x->nec) {
        cc = CC_SUCCESS;
        event = TRB_NEC_EVENT;
        low = NEC_FIRMWARE;
    }
    xhci_event(x, 0, event, t->at, (uint32_t)cc << 24 | low, slot << 24, true);
}

bool xhci_commands_run(struct xhci *x)
{
    uint32_t size;

    for (unsigned n = 0; x->command_running && n < COMMANDS_AT_ONCE; n++) {
        struct xhci_trb t;
        enum xhci_fetch got;
        /* room for an endpoint's last event, too */
        if (xhci_event_room(x, 0, &size) < 2)
            return false;
        if (x->command_stopped) {
            x->command_running = x->command_stopped = false;
            xhci_event(x, 0, TRB_COMMAND_EVENT, x->command.dequeue,
                       (uint32_t)CC_COMMAND_RING_STOPPED << 24, 0, true);
            return false;
        }
        got = xhci_ring_next(x, &x->command, &t);
        if (got == FETCH_BAD)
            xhci_die(x, "the command ring is not in memory");
        if (got != FETCH_TRB)
            return false;
        command(x, &t);
    }
    return x->command_running && xhci_running(x);
}
