/* probe.c - is KVM really usable here?
 *
 * "/dev/kvm opens" is not the answer: on hosts without VT-x/SVM a paravirtual KVM may run ordinary
 * guest kernels in its instruction emulator, a microsecond per instruction.  Where the processor
 * has virtualization at all, a tiny guest counts to some thousand, and the time decides. */
#include "kvm.h"
#include "x86/model.h"

#include "base/evloop.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#define LOOPS        2000
#define INSTRUCTIONS (2 * LOOPS)
#define LIMIT_NS     1000000 /* emulated: 2-4 ms; natively: microseconds, most of it page faults */
#define ATTEMPTS     3       /* somebody else may have had the host CPU once */

struct probe {
    int sys_fd, vm_fd, vcpu_fd;
    size_t run_bytes;
    struct kvm_run *run;
    uint8_t *page;
};

static const uint8_t probe_code[] = {
    0xb9, LOOPS & 0xff, LOOPS >> 8, 0, 0, /* mov ecx, LOOPS */
    0x49,                                 /* dec ecx */
    0x75, 0xfd,                           /* jnz to it */
    0xe6, 0x80,                           /* out 0x80, al: leave */
};

/* 32-bit flat protected mode without paging: on processors of the first generations real mode is
 * emulated even by a good KVM. */
static bool enter_protected_mode(struct probe *p)
{
    struct kvm_sregs s;
    struct kvm_regs r = {.rflags = 2};
    if (ioctl(p->vcpu_fd, KVM_GET_SREGS, &s) < 0)
        return false;
    struct kvm_segment flat = {
        .limit = 0xffffffff, .selector = 16, .type = 3, .present = 1, .db = 1, .s = 1, .g = 1};
    s.ds = s.es = s.fs = s.gs = s.ss = flat;
    flat.type = 11;
    flat.selector = 8;
    s.cs = flat;
    s.cr0 |= 1;
    return ioctl(p->vcpu_fd, KVM_SET_SREGS, &s) == 0 && ioctl(p->vcpu_fd, KVM_SET_REGS, &r) == 0;
}

static bool set_up(struct probe *p)
{
    if (ioctl(p->sys_fd, KVM_GET_API_VERSION, 0) != KVM_API_VERSION)
        return false;
    p->vm_fd = ioctl(p->sys_fd, KVM_CREATE_VM, 0);
    int bytes = ioctl(p->sys_fd, KVM_GET_VCPU_MMAP_SIZE, 0);
    if (p->vm_fd < 0 || bytes < (int)sizeof(struct kvm_run))
        return false;
    p->run_bytes = (size_t)bytes;
    p->page =
        mmap(NULL, GUEST_PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p->page == MAP_FAILED)
        return false;
    memcpy(p->page, probe_code, sizeof(probe_code));
    struct kvm_userspace_memory_region slot = {.memory_size = GUEST_PAGE_SIZE,
                                               .userspace_addr = (uintptr_t)p->page};
    if (ioctl(p->vm_fd, KVM_SET_TSS_ADDR, 0xfeffd000ul) < 0 ||
        ioctl(p->vm_fd, KVM_SET_USER_MEMORY_REGION, &slot) < 0)
        return false;
    p->vcpu_fd = ioctl(p->vm_fd, KVM_CREATE_VCPU, 0ul);
    if (p->vcpu_fd < 0)
        return false;
    p->run = mmap(NULL, p->run_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, p->vcpu_fd, 0);
    return p->run != MAP_FAILED;
}

static void tear_down(struct probe *p)
{
    if (p->run && p->run != MAP_FAILED)
        munmap(p->run, p->run_bytes);
    if (p->vcpu_fd >= 0)
        close(p->vcpu_fd);
    if (p->vm_fd >= 0)
        close(p->vm_fd);
    if (p->page && p->page != MAP_FAILED)
        munmap(p->page, GUEST_PAGE_SIZE);
    close(p->sys_fd);
}

/* Time of one run in ns, 0 when the guest did not get to its end. */
static uint64_t run_once(struct probe *p)
{
    if (!enter_protected_mode(p))
        return 0;
    uint64_t start = host_clock_ns();
    int rc;
    do
        rc = ioctl(p->vcpu_fd, KVM_RUN, 0);
    while (rc < 0 && errno == EINTR);
    uint64_t ns = host_clock_ns() - start;
    return rc == 0 && p->run->exit_reason == KVM_EXIT_IO ? MAX_OF(ns, 1u) : 0;
}

static bool best_of(struct probe *p, uint64_t *ns)
{
    *ns = UINT64_MAX;
    for (unsigned i = 0; i<ATTEMPTS && * ns> LIMIT_NS; i++) {
        uint64_t one = run_once(p);
        if (!one)
            return false;
        *ns = MIN_OF(*ns, one);
    }
    return true;
}

static char *cannot_open(int errnum)
{
    if (errnum == ENOENT || errnum == ENODEV || errnum == ENXIO)
        return g_strdup("this host has no " KVM_DEVICE ".");
    if (errnum == EACCES || errnum == EPERM)
        return g_strdup("you may not open " KVM_DEVICE " (are you in the group 'kvm'?).");
    return g_strdup_printf(KVM_DEVICE " cannot be opened: %s.", g_strerror(errnum));
}

bool accel_kvm_measure(uint64_t *ns_per_instruction, char **why)
{
    struct probe p = {.vm_fd = -1, .vcpu_fd = -1};
    uint64_t ns = 0;
    bool ok = false;
    p.sys_fd = open(KVM_DEVICE, O_RDWR | O_CLOEXEC);
    if (p.sys_fd < 0) {
        *why = cannot_open(errno);
        return false;
    }
    if (!set_up(&p))
        *why = g_strdup_printf(KVM_DEVICE " opens, but cannot make a virtual machine: %s.",
                               g_strerror(errno));
    else if (!best_of(&p, &ns))
        *why = g_strdup(KVM_DEVICE " cannot run even a small test guest here.");
    else
        ok = true;
    tear_down(&p);
    *ns_per_instruction = ns / INSTRUCTIONS;
    return ok;
}

/* Whether the processor has what KVM needs to run guests; making a VM to see that it does not would
 * cost more than the rest of the start. */
static bool processor_virtualizes(void)
{
    uint32_t host[FEAT_WORD_COUNT], wanted[FEAT_WORD_COUNT] = {0};
    host_features(host);
    feature_words_set(wanted, "vmx svm", true);
    for (unsigned w = 0; w < FEAT_WORD_COUNT; w++)
        if (host[w] & wanted[w])
            return true;
    return false;
}

void accel_probe_kvm(struct accel_info *out)
{
    uint64_t ns = 0;
    *out = (struct accel_info){.name = "kvm"};
    if (access(KVM_DEVICE, R_OK | W_OK) < 0) {
        out->why = cannot_open(errno);
        return;
    }
    if (!processor_virtualizes()) {
        out->why = g_strdup("the processor offers neither VT-x nor SVM here, so " KVM_DEVICE
                            " could only emulate guests.");
        return;
    }
    if (!accel_kvm_measure(&ns, &out->why))
        return;
    out->usable = ns <= LIMIT_NS / INSTRUCTIONS;
    out->why = out->usable ? g_strdup(KVM_DEVICE " runs guests on the processor.")
                           : g_strdup_printf(KVM_DEVICE " only emulates guests here (%u ns per "
                                                        "instruction).",
                                             (unsigned)ns);
}
