/* cpuid.c - what KVM can show a guest, and telling it what to show. */
#include "kvm.h"
#include "x86/hyperv.h"
#include "x86/model.h"

#include "base/error.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#define SUPPORTED_MAX 256

static struct kvm_cpuid2 *supported_get(int sys_fd)
{
    struct kvm_cpuid2 *c = g_malloc0(sizeof(*c) + SUPPORTED_MAX * sizeof(struct kvm_cpuid_entry2));
    c->nent = SUPPORTED_MAX;
    if (ioctl(sys_fd, KVM_GET_SUPPORTED_CPUID, c) < 0)
        c->nent = 0;
    return c;
}

static uint32_t supported_register(const struct kvm_cpuid2 *c, uint32_t leaf, uint32_t subleaf,
                                   unsigned reg)
{
    for (uint32_t i = 0; i < c->nent; i++) {
        const struct kvm_cpuid_entry2 *e = &c->entries[i];
        bool indexed = e->flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX;
        if (e->function != leaf || (indexed && e->index != subleaf))
            continue;
        const uint32_t r[4] = {e->eax, e->ebx, e->ecx, e->edx};
        return r[reg];
    }
    return 0;
}

static void entry_copy(const struct kvm_cpuid2 *c, uint32_t leaf, struct cpuid_entry *out)
{
    *out = (struct cpuid_entry){.leaf = leaf};
    for (uint32_t i = 0; i < c->nent; i++) {
        const struct kvm_cpuid_entry2 *e = &c->entries[i];
        if (e->function == leaf)
            *out = (struct cpuid_entry){leaf, 0, e->eax, e->ebx, e->ecx, e->edx};
    }
}

/* What of Hyper-V's interface KVM itself speaks; kernels before 5.11 do not tell beforehand. */
static uint32_t hyperv_supported(int sys_fd)
{
    g_autofree struct kvm_cpuid2 *c =
        g_malloc0(sizeof(*c) + SUPPORTED_MAX * sizeof(struct kvm_cpuid_entry2));
    struct cpuid_entry leaf3, leaf4;

    c->nent = SUPPORTED_MAX;
    if (ioctl(sys_fd, KVM_CHECK_EXTENSION, KVM_CAP_SYS_HYPERV_CPUID) <= 0 ||
        ioctl(sys_fd, KVM_GET_SUPPORTED_HV_CPUID, c) < 0)
        return 0;
    entry_copy(c, 0x40000003, &leaf3);
    entry_copy(c, 0x40000004, &leaf4);
    return hyperv_features_of(&leaf3, &leaf4);
}

void kvm_features(uint32_t allowed[FEAT_WORD_COUNT])
{
    /* State of these is not kept (nested guests, trace buffers, tiles, shadow stacks, the second
     * asynchronous page fault MSR), or needs a promise to the guest that nobody keeps. */
    static const char hidden[] =
        "vmx svm monitor mpx intel-pt sgx sgxlc pks shstk ibt arch-lbr amx-tile amx-int8 amx-bf16 "
        "amx-fp16 xfd waitpkg bus-lock-detect core-capability kvm-asyncpf kvm-asyncpf-vmexit "
        "kvm-asyncpf-int kvm-msi-ext-dest-id";
    memset(allowed, 0, FEAT_WORD_COUNT * sizeof(allowed[0]));
    int fd = open(KVM_DEVICE, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return;
    g_autofree struct kvm_cpuid2 *c = supported_get(fd);
    for (unsigned w = 0; w < FEAT_WORD_COUNT; w++) {
        const struct cpuid_source *from = &cpuid_word_source[w];
        if (w != FEAT_6_EAX) /* arat is ours to say, below; the rest is power management */
            allowed[w] = supported_register(c, from->leaf, from->subleaf, from->reg);
    }
    /* Done by the in-kernel local APIC, so not part of what the processor supports. */
    feature_words_set(allowed, "hypervisor x2apic arat ht", true);
    if (ioctl(fd, KVM_CHECK_EXTENSION, KVM_CAP_TSC_DEADLINE_TIMER) > 0)
        feature_words_set(allowed, "tsc-deadline", true);
    feature_words_set(allowed, hidden, false);
    for (unsigned w = 0; w < FEAT_WORD_COUNT; w++)
        for (unsigned b = 0; b < 32; b++)
            if (!cpuid_bit_name(w, b))
                allowed[w] &= ~BIT(b);
    allowed[FEAT_HV] = hyperv_supported(fd);
    close(fd);
}

bool kvm_cpuid_set(struct kvm_vcpu *k, GError **err)
{
    const struct vcpu *v = k->v;
    g_autofree struct kvm_cpuid2 *c =
        g_malloc0(sizeof(*c) + v->cpuid_count * sizeof(struct kvm_cpuid_entry2));
    c->nent = v->cpuid_count;
    for (unsigned i = 0; i < v->cpuid_count; i++) {
        const struct cpuid_entry *e = &v->cpuid[i];
        bool any = e->subleaf == UINT32_MAX;
        c->entries[i] = (struct kvm_cpuid_entry2){
            .function = e->leaf,
            .index = any ? 0 : e->subleaf,
            .flags = any ? 0 : KVM_CPUID_FLAG_SIGNIFCANT_INDEX,
            .eax = e->eax,
            .ebx = e->ebx,
            .ecx = e->ecx,
            .edx = e->edx,
        };
    }
    if (ioctl(k->fd, KVM_SET_CPUID2, c) < 0)
        return error_errno(err, errno, "KVM refuses the CPUID of vcpu %u", v->index);
    return true;
}
