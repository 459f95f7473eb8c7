/* accel.c - KVM as an accelerator: the VM, its vcpus, their life. */
#include "kvm.h"
#include "x86/model.h"

#include "base/error.h"
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

/* Three pages for a TSS and one for a page table, which KVM puts into guest-physical memory on
 * Intel processors; the hole below the firmware is theirs. */
#define IDENTITY_MAP_GPA 0xfeffc000ull
#define TSS_GPA          0xfeffd000ull

static bool open_device(struct kvm_vm *vm, GError **err)
{
    vm->sys_fd = open(KVM_DEVICE, O_RDWR | O_CLOEXEC);
    if (vm->sys_fd < 0)
        return error_errno(err, errno, "cannot open " KVM_DEVICE);
    int version = ioctl(vm->sys_fd, KVM_GET_API_VERSION, 0);
    if (version != KVM_API_VERSION)
        return error_set(err, HANOK_ERROR_UNSUPPORTED,
                         KVM_DEVICE " speaks API version %d instead of %d.", version,
                         KVM_API_VERSION);
    int bytes = ioctl(vm->sys_fd, KVM_GET_VCPU_MMAP_SIZE, 0);
    if (bytes < (int)sizeof(struct kvm_run))
        return error_set(err, HANOK_ERROR_UNSUPPORTED, KVM_DEVICE " has no usable run area.");
    vm->run_bytes = (size_t)bytes;
    return true;
}

static bool check_capabilities(struct kvm_vm *vm, GError **err)
{
    static const struct {
        int cap;
        const char *name;
    } needed[] = {
        {KVM_CAP_USER_MEMORY, "user memory"},
        {KVM_CAP_IRQCHIP, "in-kernel irqchip"},
        {KVM_CAP_IRQ_ROUTING, "irq routing"},
        {KVM_CAP_IRQFD, "irqfd"},
        {KVM_CAP_IOEVENTFD, "ioeventfd"},
        {KVM_CAP_PIT2, "PIT2"},
        {KVM_CAP_PIT_STATE2, "PIT state"},
        {KVM_CAP_SIGNAL_MSI, "signal MSI"},
        {KVM_CAP_XSAVE, "XSAVE state"},
        {KVM_CAP_XCRS, "XCR state"},
        {KVM_CAP_VCPU_EVENTS, "vcpu events"},
        {KVM_CAP_DEBUGREGS, "debug registers"},
        {KVM_CAP_MP_STATE, "MP state"},
        {KVM_CAP_ADJUST_CLOCK, "clock"},
        {KVM_CAP_READONLY_MEM, "read-only slots"},
        {KVM_CAP_IMMEDIATE_EXIT, "immediate exit"},
        {KVM_CAP_SET_TSS_ADDR, "TSS address"},
        {KVM_CAP_EXT_CPUID, "CPUID"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(needed); i++)
        if (ioctl(vm->vm_fd, KVM_CHECK_EXTENSION, needed[i].cap) <= 0)
            return error_set(err, HANOK_ERROR_UNSUPPORTED,
                             "This kernel's KVM lacks '%s', which is needed.", needed[i].name);
    vm->has_smm = ioctl(vm->vm_fd, KVM_CHECK_EXTENSION, KVM_CAP_X86_SMM) > 0;
    vm->routes_max = (unsigned)ioctl(vm->vm_fd, KVM_CHECK_EXTENSION, KVM_CAP_IRQ_ROUTING);
    return true;
}

static bool create_vm(struct kvm_vm *vm, GError **err)
{
    do
        vm->vm_fd = ioctl(vm->sys_fd, KVM_CREATE_VM, 0);
    while (vm->vm_fd < 0 && errno == EINTR);
    if (vm->vm_fd < 0)
        return error_errno(err, errno, "KVM cannot create a virtual machine");
    if (!check_capabilities(vm, err))
        return false;
    uint64_t identity = IDENTITY_MAP_GPA;
    if (ioctl(vm->vm_fd, KVM_SET_IDENTITY_MAP_ADDR, &identity) < 0 ||
        ioctl(vm->vm_fd, KVM_SET_TSS_ADDR, TSS_GPA) < 0)
        return error_errno(err, errno, "KVM cannot place its helper pages");
    return true;
}

static bool create_chips(struct kvm_vm *vm, GError **err)
{
    struct kvm_pit_config pit = {.flags = KVM_PIT_SPEAKER_DUMMY};
    struct kvm_enable_cap x2apic = {
        .cap = KVM_CAP_X2APIC_API,
        .args = {KVM_X2APIC_API_USE_32BIT_IDS | KVM_X2APIC_API_DISABLE_BROADCAST_QUIRK}};
    if (ioctl(vm->vm_fd, KVM_CREATE_IRQCHIP, 0) < 0)
        return error_errno(err, errno, "KVM cannot create its interrupt controllers");
    if (ioctl(vm->vm_fd, KVM_CREATE_PIT2, &pit) < 0)
        return error_errno(err, errno, "KVM cannot create its timer");
    if (ioctl(vm->vm_fd, KVM_ENABLE_CAP, &x2apic) < 0)
        return error_errno(err, errno, "KVM cannot use 32-bit APIC ids");
    return kvm_chips_get(vm, &vm->pristine, err);
}

static void learn_tsc(struct kvm_vm *vm)
{
    struct cpu_model *m = vm->set->model;
    if (m->tsc_khz && ioctl(vm->vm_fd, KVM_CHECK_EXTENSION, KVM_CAP_VM_TSC_CONTROL) > 0 &&
        ioctl(vm->vm_fd, KVM_SET_TSC_KHZ, (unsigned long)m->tsc_khz) == 0)
        return;
    int khz = ioctl(vm->vm_fd, KVM_GET_TSC_KHZ, 0);
    if (m->tsc_khz && khz > 0 && m->tsc_khz != (uint64_t)khz)
        log_warning("KVM cannot scale the TSC here: the guest sees %d kHz.", khz);
    m->tsc_khz = khz > 0 ? (uint64_t)khz : 0;
}

static bool kvm_init(struct cpu_set *s, GError **err)
{
    struct kvm_vm *vm = g_new0(struct kvm_vm, 1);
    s->accel = vm;
    vm->set = s;
    vm->sys_fd = vm->vm_fd = vm->stats_fd = -1;
    pthread_mutex_init(&vm->route_lock, NULL);
    if (!open_device(vm, err) || !create_vm(vm, err) || !create_chips(vm, err) ||
        !kvm_irq_init(vm, err))
        return false;
    learn_tsc(vm);
    vm->stats_fd = kvm_stats_open(vm->vm_fd);
    s->irqchip = &vm->irqchip;
    s->kernel_pit = true;
    kvm_slots_init(vm);
    kvm_ioevents_init(vm);
    return true;
}

static void kvm_fini(struct cpu_set *s)
{
    struct kvm_vm *vm = kvm_vm_of(s);
    if (!vm)
        return;
    if (vm->mem.ops)
        guest_mem_unlisten(s->cfg.mem, &vm->mem);
    kvm_ioevents_fini(vm);
    kvm_irq_fini(vm);
    if (vm->stats_fd >= 0)
        close(vm->stats_fd);
    if (vm->vm_fd >= 0)
        close(vm->vm_fd);
    if (vm->sys_fd >= 0)
        close(vm->sys_fd);
    pthread_mutex_destroy(&vm->route_lock);
    g_free(vm);
    s->accel = NULL;
    s->irqchip = NULL;
}

static void kvm_vcpu_reset(struct vcpu *v)
{
    struct kvm_vm *vm = kvm_vm_of(v->set);
    g_autoptr(GError) err = NULL;
    struct x86_state *s = g_aligned_alloc0(1, sizeof(*s), 64);
    x86_state_reset(s, v->index == 0, cpu_model_signature(v->set->model));
    le32_put(s->lapic + 0x20, v->apic_id << 24);
    bool ok = kvm_state_set(v, s, &err);
    if (ok && v->index == 0)
        ok = kvm_chips_set(vm, &vm->pristine, &err);
    if (!ok)
        log_error("Resetting vcpu %u: %s", v->index, err->message);
    g_aligned_free(s);
}

static bool kvm_vcpu_init(struct vcpu *v, GError **err)
{
    struct kvm_vm *vm = kvm_vm_of(v->set);
    struct kvm_vcpu *k = g_new0(struct kvm_vcpu, 1);
    v->accel = k;
    k->v = v;
    k->stats_fd = -1;
    /* KVM takes the vcpu's number as its APIC id. */
    k->fd = ioctl(vm->vm_fd, KVM_CREATE_VCPU, (unsigned long)v->apic_id);
    if (k->fd < 0)
        return error_errno(err, errno, "KVM cannot create vcpu %u", v->index);
    k->run = mmap(NULL, vm->run_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, k->fd, 0);
    if (k->run == MAP_FAILED) {
        k->run = NULL;
        return error_errno(err, errno, "cannot map the run area of vcpu %u", v->index);
    }
    k->stats_fd = kvm_stats_open(k->fd);
    if (!kvm_cpuid_set(k, err))
        return false;
    kvm_msrs_probe(k);
    kvm_vcpu_reset(v);
    return true;
}

static void kvm_vcpu_fini(struct vcpu *v)
{
    struct kvm_vcpu *k = kvm_vcpu_of(v);
    if (!k)
        return;
    if (k->run)
        munmap(k->run, kvm_vm_of(v->set)->run_bytes);
    if (k->stats_fd >= 0)
        close(k->stats_fd);
    if (k->fd >= 0)
        close(k->fd);
    if (k->msrs)
        g_array_unref(k->msrs);
    g_free(k);
    v->accel = NULL;
}

/* While the machine is stopped its clock stands still, so that guests see no jump. */
static void kvm_clock_stopped(struct cpu_set *s)
{
    struct kvm_vm *vm = kvm_vm_of(s);
    struct kvm_clock_data clock = {0};
    if (ioctl(vm->vm_fd, KVM_GET_CLOCK, &clock) == 0)
        vm->clock_ns = clock.clock;
    /* Tells the guest's watchdog not to count the pause; fails before it uses kvmclock. */
    for (unsigned i = 0; i < s->count; i++)
        ioctl(kvm_vcpu_of(s->vcpu[i])->fd, KVM_KVMCLOCK_CTRL, 0);
}

static void kvm_clock_started(struct cpu_set *s)
{
    struct kvm_vm *vm = kvm_vm_of(s);
    struct kvm_clock_data clock = {.clock = vm->clock_ns};
    if (ioctl(vm->vm_fd, KVM_SET_CLOCK, &clock) < 0)
        log_warning("KVM cannot set the guest's clock: %s.", g_strerror(errno));
}

const struct accel_ops kvm_accel = {
    .name = "kvm",
    .thread_tag = "KVM",
    .init = kvm_init,
    .fini = kvm_fini,
    .vcpu_init = kvm_vcpu_init,
    .vcpu_thread_start = kvm_vcpu_thread_start,
    .vcpu_fini = kvm_vcpu_fini,
    .run = kvm_vcpu_run,
    .settle = kvm_vcpu_settle,
    .kick = kvm_vcpu_kick,
    .reset = kvm_vcpu_reset,
    .native_stats = kvm_stats_read,
    .get_state = kvm_state_get,
    .set_state = kvm_state_set,
    .nmi = kvm_vcpu_nmi,
    .clock_stopped = kvm_clock_stopped,
    .clock_started = kvm_clock_started,
    .save = kvm_chips_save,
    .load = kvm_chips_load,
};
