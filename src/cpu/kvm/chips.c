/* chips.c - state of the in-kernel PIC pair, IOAPIC and PIT, and of kvmclock. */
#include "kvm.h"

#include "base/error.h"
#include "base/state.h"

#include <errno.h>

bool kvm_chips_get(struct kvm_vm *vm, struct kvm_chips *out, GError **err)
{
    memset(out, 0, sizeof(*out));
    for (unsigned i = 0; i < ARRAY_SIZE(out->chip); i++) {
        out->chip[i].chip_id = i;
        if (ioctl(vm->vm_fd, KVM_GET_IRQCHIP, &out->chip[i]) < 0)
            return error_errno(err, errno, "KVM cannot read interrupt controller %u", i);
    }
    if (ioctl(vm->vm_fd, KVM_GET_PIT2, &out->pit) < 0)
        return error_errno(err, errno, "KVM cannot read its timer");
    out->clock_ns = vm->clock_ns;
    return true;
}

bool kvm_chips_set(struct kvm_vm *vm, const struct kvm_chips *in, GError **err)
{
    for (unsigned i = 0; i < ARRAY_SIZE(in->chip); i++) {
        struct kvm_irqchip chip = in->chip[i];
        chip.chip_id = i;
        if (ioctl(vm->vm_fd, KVM_SET_IRQCHIP, &chip) < 0)
            return error_errno(err, errno, "KVM cannot set interrupt controller %u", i);
    }
    struct kvm_pit_state2 pit = in->pit;
    if (ioctl(vm->vm_fd, KVM_SET_PIT2, &pit) < 0)
        return error_errno(err, errno, "KVM cannot set its timer");
    vm->clock_ns = in->clock_ns;
    return true;
}

static const struct state_field chips_fields[] = {
    STATE_BYTES(struct kvm_chips, chip),
    STATE_BYTES(struct kvm_chips, pit),
    STATE_U64(struct kvm_chips, clock_ns),
    STATE_END,
};
static const struct state_desc chips_desc = {
    .name = "kvm-chips", .version = 1, .min_version = 1, .fields = chips_fields};

void kvm_chips_save(struct cpu_set *s, struct state_writer *w)
{
    struct kvm_chips chips;
    g_autoptr(GError) err = NULL;
    if (!kvm_chips_get(kvm_vm_of(s), &chips, &err))
        g_error("%s", err->message); /* these calls cannot fail for chips that exist */
    state_save(w, &chips_desc, "", &chips);
}

bool kvm_chips_load(struct cpu_set *s, struct state_reader *r, GError **err)
{
    struct kvm_chips chips;
    return state_load(r, &chips_desc, "", &chips, err) && kvm_chips_set(kvm_vm_of(s), &chips, err);
}
