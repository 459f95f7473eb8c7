/* fpu_stub.c - making host stubs, the dual-mapped area they live in, and traps out of them.
 *
 * The area is a memfd mapped twice, once writable and once executable, never both at one address.
 * Stubs are never changed or freed while a vcpu exists, so nobody needs a lock to run them; making
 * one takes the area's lock.  Equal encodings share one stub. */
#include "fpu_emit.h"

#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#define AREA_BYTES (8u << 20)

static struct {
    pthread_mutex_t lock;
    unsigned users;
    uint8_t *rw, *rx;
    size_t used;
    GHashTable *ops;         /* struct stub_key -> struct fpu_op */
    uint8_t *fault_ret;      /* a RET: where a faulting stub is sent */
    struct sigaction old[2]; /* of trap_signals */
    bool has_handler;
} area = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* Stubs are shared by what they do and how they are run. */
struct stub_key {
    struct stub_plan plan;
    uint16_t flags, fop;
    uint8_t size, align_mask, align, pad;
    struct fpu_mask mask;
};

/* ---- traps in a stub ---- */

/* SIGILL: what the decoder takes for an instruction and the host does not is none for the guest. */
static const int trap_signals[2] = {SIGFPE, SIGILL};

/* The stub has pushed nothing at the faulting instruction, so returning from here is a plain RET
 * with the trap number as its value.  MXCSR and the x87 unit come back from the signal frame with
 * the flags the fault set. */
static void on_trap(int sig, siginfo_t *info, void *ctx)
{
    greg_t *regs = ((ucontext_t *)ctx)->uc_mcontext.gregs;
    uint8_t *rip = (uint8_t *)regs[REG_RIP];

    if (area.rx && rip >= area.rx && rip < area.rx + AREA_BYTES) {
        regs[REG_RAX] = regs[REG_TRAPNO];
        regs[REG_RIP] = (greg_t)area.fault_ret;
        return;
    }
    const struct sigaction *old = &area.old[sig == SIGILL];
    if (old->sa_flags & SA_SIGINFO) {
        old->sa_sigaction(sig, info, ctx);
    } else if (old->sa_handler != SIG_DFL && old->sa_handler != SIG_IGN) {
        old->sa_handler(sig);
    } else {
        signal(sig, SIG_DFL); /* our own bug: die of it at the same instruction */
    }
}

/* ---- the area ---- */

static int area_file(void)
{
    static const unsigned flags[] = {MFD_CLOEXEC | 0x10u /* MFD_EXEC, Linux 6.3 */, MFD_CLOEXEC};
    static const char *const dirs[] = {"/dev/shm", "/tmp"};

    for (unsigned k = 0; k < G_N_ELEMENTS(flags); k++) {
        int fd = memfd_create("hanok-stubs", flags[k]);

        if (fd >= 0)
            return fd;
    }
    for (unsigned k = 0; k < G_N_ELEMENTS(dirs); k++) {
        int fd = open(dirs[k], O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

        if (fd >= 0)
            return fd;
    }
    return -1;
}

static bool area_map(void)
{
    int fd = area_file();

    if (fd < 0 || ftruncate(fd, AREA_BYTES)) {
        if (fd >= 0)
            close(fd);
        return false;
    }
    area.rw = mmap(NULL, AREA_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    area.rx = mmap(NULL, AREA_BYTES, PROT_READ | PROT_EXEC, MAP_SHARED, fd, 0);
    close(fd);
    if (area.rw != MAP_FAILED && area.rx != MAP_FAILED)
        return true;
    if (area.rw != MAP_FAILED)
        munmap(area.rw, AREA_BYTES);
    if (area.rx != MAP_FAILED)
        munmap(area.rx, AREA_BYTES);
    area.rw = area.rx = NULL;
    return false;
}

static guint key_hash(gconstpointer p)
{
    const uint8_t *b = p;
    guint h = 5381;

    for (size_t k = 0; k < sizeof(struct stub_key); k++)
        h = h * 33 + b[k];
    return h;
}

static gboolean key_equal(gconstpointer a, gconstpointer b)
{
    return memcmp(a, b, sizeof(struct stub_key)) == 0;
}

bool fpu_stub_ref(void)
{
    bool ok = true;

    pthread_mutex_lock(&area.lock);
    if (area.users == 0) {
        struct sigaction sa = {.sa_sigaction = on_trap, .sa_flags = SA_SIGINFO | SA_ONSTACK};

        ok = area_map();
        if (ok) {
            area.rw[0] = 0xc3;
            area.fault_ret = area.rx;
            area.used = 64;
            area.ops = g_hash_table_new_full(key_hash, key_equal, g_free, g_free);
            sigemptyset(&sa.sa_mask);
            /* Once and for good: the translator's handler comes before it (tr_run.c). */
            for (unsigned k = 0; k < G_N_ELEMENTS(trap_signals) && !area.has_handler; k++)
                sigaction(trap_signals[k], &sa, &area.old[k]);
            area.has_handler = true;
        }
    }
    area.users += ok;
    pthread_mutex_unlock(&area.lock);
    return ok;
}

void fpu_stub_unref(void)
{
    pthread_mutex_lock(&area.lock);
    if (--area.users == 0) {
        g_hash_table_destroy(area.ops);
        munmap(area.rw, AREA_BYTES);
        munmap(area.rx, AREA_BYTES);
        area.rw = area.rx = NULL;
    }
    pthread_mutex_unlock(&area.lock);
}

/* ---- making stubs ---- */

/* SDM vol.2 tables 2-18..2-25: legacy SSE needs 16-byte operands aligned but for the moves that say
 * otherwise; VEX forms only where the name says so. */
static void plan_alignment(struct stub_key *k, const ZydisDecodedInstruction *z, uint8_t kind)
{
    switch (z->meta.exception_class) {
    case ZYDIS_EXCEPTION_CLASS_SSE1:
    case ZYDIS_EXCEPTION_CLASS_AVX1:
    case ZYDIS_EXCEPTION_CLASS_E1:
    case ZYDIS_EXCEPTION_CLASS_E1NF:
        k->align_mask = k->size - 1;
        k->align = FPU_ALIGN_ALWAYS;
        break;
    default:
        if (z->encoding != ZYDIS_INSTRUCTION_ENCODING_LEGACY || k->size != 16 ||
            kind == FPU_NATIVE_UNALIGNED)
            break;
        k->align_mask = 15;
        k->align = z->meta.isa_set == ZYDIS_ISA_SET_SHA ? FPU_ALIGN_NEVER : FPU_ALIGN_MM;
        break;
    }
}

static bool uses_mxcsr(const ZydisDecodedInstruction *z, uint8_t kind)
{
    switch (z->meta.exception_class) {
    case ZYDIS_EXCEPTION_CLASS_SSE2:
    case ZYDIS_EXCEPTION_CLASS_SSE3:
    case ZYDIS_EXCEPTION_CLASS_AVX2:
    case ZYDIS_EXCEPTION_CLASS_AVX3:
    case ZYDIS_EXCEPTION_CLASS_AVX11:
    case ZYDIS_EXCEPTION_CLASS_E2:
    case ZYDIS_EXCEPTION_CLASS_E2NF:
    case ZYDIS_EXCEPTION_CLASS_E3:
    case ZYDIS_EXCEPTION_CLASS_E3NF:
    case ZYDIS_EXCEPTION_CLASS_E11:
    case ZYDIS_EXCEPTION_CLASS_E11NF:
        return true;
    default:
        return kind == FPU_NATIVE_MXCSR;
    }
}

static uint16_t plan_flags(const struct stub_plan *s, const ZydisDecodedInstruction *z,
                           uint8_t kind)
{
    uint16_t f = uses_mxcsr(z, kind) ? FPU_MXCSR : 0;

    if (s->flags_in || s->flags_out)
        f |= FPU_FLAGS;

    switch (kind) {
    case FPU_X87_LOAD_CW:
        f |= FPU_LOADS_CW | FPU_X87 | FPU_UNIT_X87;
        break;
    case FPU_X87_DATA:
        f |= FPU_POINTERS | FPU_X87 | FPU_UNIT_X87;
        break;
    case FPU_X87_CONTROL:
        f |= FPU_NO_WAIT | FPU_X87 | FPU_UNIT_X87;
        break;
    default:
        if (s->x87)
            f |= FPU_X87;
        if (z->encoding == ZYDIS_INSTRUCTION_ENCODING_EVEX || s->mask_in || s->mask_out)
            f |= FPU_UNIT_AVX512;
        else if (z->encoding == ZYDIS_INSTRUCTION_ENCODING_VEX)
            f |= FPU_UNIT_AVX;
        else if (s->xmm_in || s->xmm_out || !s->x87)
            f |= FPU_UNIT_SSE;
        else
            f |= FPU_UNIT_MMX;
    }
    return f;
}

static bool make_key(struct stub_key *k, const struct decode_ctx *d)
{
    const ZydisDecodedInstruction *z = &d->z;
    uint8_t kind = fpu_rule_find(z)->kind;

    memset(k, 0, sizeof(*k));
    if (!fpu_plan(&k->plan, d))
        return false;
    k->plan.x87 |= kind == FPU_NATIVE_MMX;
    k->flags = plan_flags(&k->plan, z, kind);
    if (k->flags & FPU_POINTERS)
        k->fop =
            (z->opcode & 7) << 8 | z->raw.modrm.mod << 6 | z->raw.modrm.reg << 3 | z->raw.modrm.rm;
    if (!(d->out->flags & INSN_MEM))
        return true;
    for (unsigned n = 0; n < z->operand_count; n++) {
        if (d->op[n].type != ZYDIS_OPERAND_TYPE_MEMORY)
            continue;
        k->size = d->op[n].size / 8;
        if (d->op[n].actions & ZYDIS_OPERAND_ACTION_MASK_WRITE)
            k->flags |= FPU_WRITE;
        if (d->op[n].actions & ZYDIS_OPERAND_ACTION_MASK_READ)
            k->flags |= FPU_READ;
        break;
    }
    plan_alignment(k, z, kind);
    if (z->encoding == ZYDIS_INSTRUCTION_ENCODING_EVEX && fpu_mask_plan(&k->mask, d))
        k->flags |= FPU_MASKED;
    return k->size != 0 && k->size <= 64;
}

static void fill_op(struct fpu_op *op, const struct stub_key *k, uint8_t *code)
{
    *op = (struct fpu_op){.code = (fpu_stub_fn *)(uintptr_t)code,
                          .flags = k->flags,
                          .fop = k->fop,
                          .size = k->size,
                          .align_mask = k->align_mask,
                          .align = k->align,
                          .mask = k->mask};
}

enum fpu_stub_result fpu_stub_get(const struct decode_ctx *d, const struct fpu_op **out)
{
    struct stub_key key;
    struct fpu_op *op;

    if (!make_key(&key, d))
        return FPU_STUB_IMPOSSIBLE;
    pthread_mutex_lock(&area.lock);
    op = g_hash_table_lookup(area.ops, &key);
    if (!op && area.used + STUB_BYTES <= AREA_BYTES) {
        op = g_new(struct fpu_op, 1);
        fill_op(op, &key, area.rx + area.used);
        area.used += (fpu_emit(&key.plan, area.rw + area.used) + 15) & ~15u;
        g_hash_table_insert(area.ops, g_memdup2(&key, sizeof(key)), op);
    }
    pthread_mutex_unlock(&area.lock);
    *out = op;
    return op ? FPU_STUB_OK : FPU_STUB_FULL;
}

size_t fpu_stub_slot_new(void)
{
    size_t at;

    pthread_mutex_lock(&area.lock);
    at = area.used;
    area.used += STUB_BYTES;
    pthread_mutex_unlock(&area.lock);
    return at;
}

bool fpu_stub_build_slot(struct fpu *f, const struct decode_ctx *d, struct fpu_op *out)
{
    struct stub_key key;
    uint32_t a = 0, b, c = 0, dd;

    if (!make_key(&key, d))
        return false;
    fpu_emit(&key.plan, area.rw + f->slot);
    fill_op(out, &key, area.rx + f->slot);
    /* Code changed through another linear address needs a serializing instruction before it runs
     * (SDM vol.3, "Handling Self- and Cross-Modifying Code"). */
    __asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(dd)::"memory");
    return true;
}
