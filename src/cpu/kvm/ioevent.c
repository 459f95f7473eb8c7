/* ioevent.c - ioeventfds: doorbell writes that the kernel turns into an eventfd signal without
 * leaving the vcpu. */
#include "kvm.h"

#include "base/log.h"

#include <errno.h>

static void ioevent(struct kvm_vm *vm, bool pio, const struct io_eventfd *e, bool add)
{
    struct kvm_ioeventfd k = {
        .datamatch = e->data,
        .addr = e->addr,
        .len = e->size,
        .fd = e->fd,
        .flags = (pio ? KVM_IOEVENTFD_FLAG_PIO : 0) |
                 (e->match ? KVM_IOEVENTFD_FLAG_DATAMATCH : 0) |
                 (add ? 0 : KVM_IOEVENTFD_FLAG_DEASSIGN),
    };
    /* Refused (too many, or an older kernel): the write exits, and the dispatcher signals. */
    if (ioctl(vm->vm_fd, KVM_IOEVENTFD, &k) < 0 && add)
        log_debug("KVM refuses an ioeventfd at 0x%llx: %s.", (unsigned long long)e->addr,
                  g_strerror(errno));
}

static void ioevent_add(struct io_eventfd_listener *l, bool pio, const struct io_eventfd *e)
{
    ioevent(container_of(l, struct kvm_vm, ioevents), pio, e, true);
}

static void ioevent_del(struct io_eventfd_listener *l, bool pio, const struct io_eventfd *e)
{
    ioevent(container_of(l, struct kvm_vm, ioevents), pio, e, false);
}

void kvm_ioevents_init(struct kvm_vm *vm)
{
    vm->ioevents = (struct io_eventfd_listener){.add = ioevent_add, .del = ioevent_del};
    io_space_eventfd_listen(vm->set->cfg.pio, &vm->ioevents);
    io_space_eventfd_listen(vm->set->cfg.mmio, &vm->ioevents);
}

void kvm_ioevents_fini(struct kvm_vm *vm)
{
    if (!vm->ioevents.add)
        return;
    io_space_eventfd_listen(vm->set->cfg.pio, NULL);
    io_space_eventfd_listen(vm->set->cfg.mmio, NULL);
}
