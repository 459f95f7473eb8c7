/* irq.c - the in-kernel interrupt controllers as an irqchip: lines, MSIs, routes with irqfds.
 *
 * GSIs 0..23 are PIC and IOAPIC pins; every MSI route gets a GSI above them.  KVM takes the routing
 * table as a whole, so each change rebuilds it. */
#include "kvm.h"

#include "base/error.h"
#include "base/log.h"

#include <errno.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct kvm_route {
    struct msi_route base; /* first */
    struct kvm_vm *vm;
    unsigned gsi;
    int fd; /* eventfd that is the GSI's irqfd */
    /* under route_lock */
    bool set, attached;
    uint64_t addr;
    uint32_t data;
};

static struct kvm_vm *vm_of(struct irqchip *c)
{
    return container_of(c, struct kvm_vm, irqchip);
}

static struct kvm_route *route_of(struct msi_route *r)
{
    return container_of(r, struct kvm_route, base);
}

static void set_gsi(struct irqchip *c, unsigned gsi, bool level)
{
    struct kvm_irq_level line = {.irq = gsi, .level = level};
    ioctl(vm_of(c)->vm_fd, KVM_IRQ_LINE, &line); /* a masked or unrouted pin is no error */
}

static void send_msi(struct irqchip *c, uint64_t addr, uint32_t data)
{
    struct kvm_msi msi = {
        .address_lo = (uint32_t)addr, .address_hi = (uint32_t)(addr >> 32), .data = data};
    ioctl(vm_of(c)->vm_fd, KVM_SIGNAL_MSI, &msi); /* nobody there: lost, as on the bus */
}

/* ---- the routing table ---- */

static void add_pin(struct kvm_irq_routing *t, unsigned gsi, unsigned chip, unsigned pin)
{
    struct kvm_irq_routing_entry *e = &t->entries[t->nr++];
    e->gsi = gsi;
    e->type = KVM_IRQ_ROUTING_IRQCHIP;
    e->u.irqchip.irqchip = chip;
    e->u.irqchip.pin = pin;
}

/* ISA interrupts go to PIC and IOAPIC; the timer's IOAPIC pin is 2 (the MADT says so), where the
 * cascade, which is no interrupt, leaves it free. */
static void add_pins(struct kvm_irq_routing *t)
{
    for (unsigned gsi = 0; gsi < IRQ_GSI_COUNT; gsi++) {
        if (gsi < 16)
            add_pin(t, gsi, gsi < 8 ? KVM_IRQCHIP_PIC_MASTER : KVM_IRQCHIP_PIC_SLAVE, gsi & 7);
        add_pin(t, gsi, KVM_IRQCHIP_IOAPIC, gsi == 0 ? 2 : gsi);
    }
}

static bool routes_commit_locked(struct kvm_vm *vm, GError **err)
{
    size_t max = 2 * IRQ_GSI_COUNT + vm->routes->len;
    g_autofree struct kvm_irq_routing *t =
        g_malloc0(sizeof(*t) + max * sizeof(struct kvm_irq_routing_entry));
    add_pins(t);
    for (guint i = 0; i < vm->routes->len; i++) {
        const struct kvm_route *r = g_ptr_array_index(vm->routes, i);
        if (!r || !r->set)
            continue;
        struct kvm_irq_routing_entry *e = &t->entries[t->nr++];
        e->gsi = r->gsi;
        e->type = KVM_IRQ_ROUTING_MSI;
        e->u.msi.address_lo = (uint32_t)r->addr;
        e->u.msi.address_hi = (uint32_t)(r->addr >> 32);
        e->u.msi.data = r->data;
    }
    if (ioctl(vm->vm_fd, KVM_SET_GSI_ROUTING, t) < 0)
        return error_errno(err, errno, "KVM refuses the interrupt routing table");
    return true;
}

/* ---- MSI routes ---- */

static unsigned slot_take_locked(struct kvm_vm *vm, struct kvm_route *r)
{
    guint i = 0;
    while (i < vm->routes->len && g_ptr_array_index(vm->routes, i))
        i++;
    if (i == vm->routes->len)
        g_ptr_array_add(vm->routes, NULL);
    vm->routes->pdata[i] = r;
    return IRQ_GSI_COUNT + i;
}

static struct msi_route *route_new(struct irqchip *c)
{
    struct kvm_route *r = g_new0(struct kvm_route, 1);
    r->vm = vm_of(c);
    r->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    pthread_mutex_lock(&r->vm->route_lock);
    r->gsi = slot_take_locked(r->vm, r);
    pthread_mutex_unlock(&r->vm->route_lock);
    return &r->base;
}

static bool irqfd(struct kvm_route *r, bool attach)
{
    struct kvm_irqfd fd = {
        .fd = (uint32_t)r->fd, .gsi = r->gsi, .flags = attach ? 0 : KVM_IRQFD_FLAG_DEASSIGN};
    return ioctl(r->vm->vm_fd, KVM_IRQFD, &fd) == 0;
}

static void route_set(struct msi_route *base, uint64_t addr, uint32_t data)
{
    struct kvm_route *r = route_of(base);
    g_autoptr(GError) err = NULL;
    pthread_mutex_lock(&r->vm->route_lock);
    if (!r->set || r->addr != addr || r->data != data) {
        r->set = true;
        r->addr = addr;
        r->data = data;
        /* More routes than KVM, or more descriptors than the host has room for: this one goes the
         * slow way (see route_raise). */
        if (r->fd < 0 || r->gsi >= r->vm->routes_max || !routes_commit_locked(r->vm, &err))
            r->attached = false;
        else if (!r->attached)
            r->attached = irqfd(r, true);
    }
    pthread_mutex_unlock(&r->vm->route_lock);
    if (err)
        log_warning("%s; an interrupt takes a slower way.", err->message);
}

static void route_raise(struct msi_route *base)
{
    struct kvm_route *r = route_of(base);
    const uint64_t one = 1;
    if (__atomic_load_n(&r->attached, __ATOMIC_RELAXED)) {
        ssize_t n = write(r->fd, &one, sizeof(one));
        (void)n; /* EAGAIN: 2^64 unserved interrupts are pending, one more changes nothing */
        return;
    }
    pthread_mutex_lock(&r->vm->route_lock);
    bool set = r->set;
    uint64_t addr = r->addr;
    uint32_t data = r->data;
    pthread_mutex_unlock(&r->vm->route_lock);
    if (set)
        send_msi(&r->vm->irqchip, addr, data);
}

static void route_free(struct msi_route *base)
{
    struct kvm_route *r = route_of(base);
    pthread_mutex_lock(&r->vm->route_lock);
    if (r->attached)
        irqfd(r, false);
    r->vm->routes->pdata[r->gsi - IRQ_GSI_COUNT] = NULL;
    pthread_mutex_unlock(&r->vm->route_lock);
    if (r->fd >= 0)
        close(r->fd);
    g_free(r);
}

static const struct irqchip_ops kvm_irqchip_ops = {
    .set_gsi = set_gsi,
    .send_msi = send_msi,
    .route_new = route_new,
    .route_set = route_set,
    .route_raise = route_raise,
    .route_free = route_free,
};

bool kvm_irq_init(struct kvm_vm *vm, GError **err)
{
    irqchip_init(&vm->irqchip, &kvm_irqchip_ops);
    vm->routes = g_ptr_array_new();
    pthread_mutex_lock(&vm->route_lock);
    bool ok = routes_commit_locked(vm, err);
    pthread_mutex_unlock(&vm->route_lock);
    return ok;
}

void kvm_irq_fini(struct kvm_vm *vm)
{
    if (vm->routes)
        g_ptr_array_unref(vm->routes);
    irqchip_fini(&vm->irqchip);
}
