/* slots.c - guest memory regions as KVM memory slots, and KVM's half of the dirty log. */
#include "kvm.h"

#include "base/log.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

static struct kvm_vm *vm_of(struct mem_listener *l)
{
    return container_of(l, struct kvm_vm, mem);
}

static void slot_set(struct kvm_vm *vm, const struct guest_region *r, bool present, bool log)
{
    struct kvm_userspace_memory_region slot = {
        .slot = r->slot,
        .flags =
            (r->kind == GUEST_ROM ? KVM_MEM_READONLY : 0) | (log ? KVM_MEM_LOG_DIRTY_PAGES : 0),
        .guest_phys_addr = r->gpa,
        .memory_size = present ? r->size_bytes : 0,
        .userspace_addr = (uintptr_t)r->host,
    };
    if (ioctl(vm->vm_fd, KVM_SET_USER_MEMORY_REGION, &slot) == 0)
        return;
    /* A map that the guest does not see as planned cannot be run, and map changes do not fail. */
    log_error("KVM refuses the memory '%s' (0x%llx bytes at 0x%llx): %s.", r->name,
              (unsigned long long)r->size_bytes, (unsigned long long)r->gpa, g_strerror(errno));
    exit(1);
}

static void region_add(struct mem_listener *l, const struct guest_region *r)
{
    slot_set(vm_of(l), r, true, r->dirty != NULL);
}

static void region_del(struct mem_listener *l, const struct guest_region *r)
{
    slot_set(vm_of(l), r, false, false);
}

static void log_change(struct mem_listener *l, const struct guest_region *r, bool on)
{
    slot_set(vm_of(l), r, true, on);
}

static void log_sync(struct mem_listener *l, const struct guest_region *r)
{
    uint64_t words = (r->size_bytes / GUEST_PAGE_SIZE + 63) / 64;
    g_autofree uint64_t *bits = g_new0(uint64_t, words);
    struct kvm_dirty_log log = {.slot = r->slot, .dirty_bitmap = bits};
    int rc = ioctl(vm_of(l)->vm_fd, KVM_GET_DIRTY_LOG, &log);
    assert(rc == 0); /* logging is on: mem/ asks only then */
    (void)rc;
    for (uint64_t w = 0; w < words; w++)
        if (bits[w])
            __atomic_fetch_or(&r->dirty[w], bits[w], __ATOMIC_RELAXED);
}

static const struct mem_listener_ops slot_ops = {
    .region_add = region_add,
    .region_del = region_del,
    .log_change = log_change,
    .log_sync = log_sync,
};

void kvm_slots_init(struct kvm_vm *vm)
{
    vm->mem.ops = &slot_ops;
    guest_mem_listen(vm->set->cfg.mem, &vm->mem);
}
