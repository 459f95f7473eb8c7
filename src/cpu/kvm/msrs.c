/* msrs.c - the MSRs of struct x86_state, as a table.
 *
 * Which ones exist depends on kernel, processor and guest CPUID, so each vcpu asks once which can
 * be read; a value KVM refuses is skipped when it is what KVM has anyway, and reported otherwise.
 */
#include "kvm.h"

#include "base/log.h"

struct msr_field {
    uint32_t index;
    uint32_t offset; /* of a uint64_t in struct x86_state */
};

#define M(number, field)                                                                           \
    {                                                                                              \
        (number), offsetof(struct x86_state, field)                                                \
    }
#define HV_CRASH_P0 0x40000100

/* IA32_TSC_DEADLINE comes after everything else: it arms a timer against the TSC set before. */
static const struct msr_field fixed_msrs[] = {
    M(0x10, tsc),
    M(0x3b, tsc_adjust),
    M(0xc0000081, star),
    M(0xc0000082, lstar),
    M(0xc0000083, cstar),
    M(0xc0000084, sfmask),
    M(0xc0000102, kernel_gs_base),
    M(0xc0000103, tsc_aux),
    M(0x174, sysenter_cs),
    M(0x175, sysenter_esp),
    M(0x176, sysenter_eip),
    M(0x277, pat),
    M(0x1a0, misc_enable),
    M(0x48, spec_ctrl),
    M(0xda0, xss),
    M(0x2ff, mtrr_def_type),
    M(0x250, mtrr_fixed[0]),
    M(0x258, mtrr_fixed[1]),
    M(0x259, mtrr_fixed[2]),
    M(0x268, mtrr_fixed[3]),
    M(0x269, mtrr_fixed[4]),
    M(0x26a, mtrr_fixed[5]),
    M(0x26b, mtrr_fixed[6]),
    M(0x26c, mtrr_fixed[7]),
    M(0x26d, mtrr_fixed[8]),
    M(0x26e, mtrr_fixed[9]),
    M(0x26f, mtrr_fixed[10]),
    M(0x17a, mcg_status),
    M(0x17b, mcg_ctl),
    M(0x9e, smbase),
    M(0x3a, feature_control),
    M(0x1d9, debugctl),
    M(0x4b564d00, kvm_wall_clock),
    M(0x4b564d01, kvm_system_time),
    M(0x4b564d02, kvm_async_pf),
    M(0x4b564d03, kvm_steal_time),
    M(0x4b564d04, kvm_pv_eoi),
    M(0x4b564d05, kvm_poll_control),
    M(0x40000000, hv_guest_os_id), /* before the page that needs it */
    M(0x40000001, hv_hypercall),
    M(0x40000010, hv_vp_runtime),
    M(0x40000021, hv_reference_tsc),
    M(0x40000073, hv_vp_assist),
    M(HV_CRASH_P0, hv_crash[0]),
    M(HV_CRASH_P0 + 1, hv_crash[1]),
    M(HV_CRASH_P0 + 2, hv_crash[2]),
    M(HV_CRASH_P0 + 3, hv_crash[3]),
    M(HV_CRASH_P0 + 4, hv_crash[4]),
};
#define MTRR_PHYS_BASE   0x200
#define MC0_CTL          0x400
#define MSR_TSC_DEADLINE 0x6e0
#define MSRS_MAX         (ARRAY_SIZE(fixed_msrs) + 2 * X86_MTRR_VAR + 32 * 4 + 1)

static struct msr_field msr_list[MSRS_MAX];
static unsigned msr_count;

static void list_add(uint32_t index, size_t offset)
{
    msr_list[msr_count++] = (struct msr_field){index, (uint32_t)offset};
}

static void list_build(void)
{
    static gsize once;
    if (!g_once_init_enter(&once))
        return;
    for (size_t i = 0; i < ARRAY_SIZE(fixed_msrs); i++)
        list_add(fixed_msrs[i].index, fixed_msrs[i].offset);
    for (unsigned i = 0; i < X86_MTRR_VAR; i++) {
        list_add(MTRR_PHYS_BASE + 2 * i, offsetof(struct x86_state, mtrr_base[i]));
        list_add(MTRR_PHYS_BASE + 2 * i + 1, offsetof(struct x86_state, mtrr_mask[i]));
    }
    for (unsigned i = 0; i < 32 * 4; i++)
        list_add(MC0_CTL + i, offsetof(struct x86_state, mce_bank[i]));
    list_add(MSR_TSC_DEADLINE, offsetof(struct x86_state, tsc_deadline));
    g_once_init_leave(&once, 1);
}

/* struct kvm_msrs with room for all. */
struct msr_buffer {
    uint32_t count, pad;
    struct kvm_msr_entry entry[MSRS_MAX];
};
G_STATIC_ASSERT(offsetof(struct msr_buffer, entry) == offsetof(struct kvm_msrs, entries));

static unsigned buffer_fill(struct msr_buffer *b, const GArray *which, const struct x86_state *from)
{
    memset(b, 0, sizeof(*b));
    for (guint i = 0; i < which->len; i++) {
        const struct msr_field *f = &msr_list[g_array_index(which, uint32_t, i)];
        b->entry[i].index = f->index;
        if (from)
            memcpy(&b->entry[i].data, (const uint8_t *)from + f->offset, 8);
    }
    b->count = which->len;
    return which->len;
}

void kvm_msrs_probe(struct kvm_vcpu *k)
{
    list_build();
    k->msrs = g_array_new(FALSE, FALSE, sizeof(uint32_t));
    struct msr_buffer b = {0};
    for (uint32_t i = 0; i < msr_count; i++) {
        b.count = 1;
        b.entry[0] = (struct kvm_msr_entry){.index = msr_list[i].index};
        if (ioctl(k->fd, KVM_GET_MSRS, &b) == 1)
            g_array_append_val(k->msrs, i);
    }
}

void kvm_crash_info(struct kvm_vcpu *k, uint64_t info[5])
{
    struct msr_buffer b = {.count = 5};

    for (unsigned i = 0; i < 5; i++)
        b.entry[i].index = HV_CRASH_P0 + i;
    int got = ioctl(k->fd, KVM_GET_MSRS, &b);
    for (int i = 0; i < 5; i++)
        info[i] = i < got ? b.entry[i].data : 0;
}

void kvm_msrs_get(struct kvm_vcpu *k, struct x86_state *out)
{
    struct msr_buffer b;
    unsigned count = buffer_fill(&b, k->msrs, NULL);
    int got = ioctl(k->fd, KVM_GET_MSRS, &b);
    for (unsigned i = 0; i < count && got > 0 && i < (unsigned)got; i++)
        memcpy((uint8_t *)out + msr_list[g_array_index(k->msrs, uint32_t, i)].offset,
               &b.entry[i].data, 8);
    if (got < 0 || (unsigned)got != count)
        log_warning("KVM gives only %d of %u MSRs of vcpu %u.", got, count, k->v->index);
}

static void report_refused(struct kvm_vcpu *k, const struct kvm_msr_entry *e)
{
    struct msr_buffer now = {.count = 1, .entry[0].index = e->index};
    if (ioctl(k->fd, KVM_GET_MSRS, &now) == 1 && now.entry[0].data == e->data)
        return;
    log_debug("KVM refuses 0x%llx in MSR 0x%x of vcpu %u.", (unsigned long long)e->data, e->index,
              k->v->index);
}

void kvm_msrs_set(struct kvm_vcpu *k, const struct x86_state *in)
{
    struct msr_buffer b;
    unsigned count = buffer_fill(&b, k->msrs, in), done = 0;
    /* KVM stops at the first one it refuses; the rest goes into another call. */
    while (done < count) {
        b.count = count - done;
        int rc = ioctl(k->fd, KVM_SET_MSRS, &b);
        unsigned ok = rc > 0 ? (unsigned)rc : 0;
        done += ok;
        if (done == count)
            break;
        report_refused(k, &b.entry[ok]);
        done++;
        memmove(&b.entry[0], &b.entry[ok + 1], (count - done) * sizeof(b.entry[0]));
    }
}
