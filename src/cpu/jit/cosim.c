/* cosim.c - see cosim.h.
 *
 * One pass of the interpreter leaves the state before each instruction (step[]) and every access in
 * order (touch[]).  Where translated code came out says how many instructions it ran: that many
 * are compared. */
#include "cosim.h"
#include "fpu.h"

#include <Zydis/Zydis.h>
#include <glib.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#define ACCESSES     128u
#define ACCESS_BYTES 64u
#define LEFT_FAULT   1 /* sigsetjmp's value, as in interp.c */
#define LEFT_AHEAD   3
#define VECTOR_BYTES X86_XSAVE_MAX
#define FL_MASK      (AF_CF | AF_PF | AF_ZF | AF_SF | AF_OF | 0x1000u)

struct step {
    uint64_t gpr[16], rip, rflags;
    uint16_t fl;
};

struct touch {
    uint8_t *host;
    uint8_t len, insn;
    bool store;
    uint8_t data[ACCESS_BYTES]; /* stored; or read from memory, without the stores before it */
};

enum ending { ENDED, FAULTED, STOPPED };

struct cosim {
    struct jit_cpu *c;
    struct tlb_ctx *none; /* tables without an entry */
    struct tblock *block; /* being run, or NULL */
    uint64_t rip;
    bool fpu, compared_vectors;
    unsigned insns; /* of the block that may run twice */
    unsigned done;  /* that did */
    enum ending ending;
    int stopped; /* translated code stopped behind this one, or -1 */
    uint8_t fault_vector;
    uint32_t fault_error;
    uint64_t fault_cr2;
    struct step step[BLOCK_INSNS_MAX + 1];
    struct touch touch[ACCESSES];
    unsigned touches;
    unsigned at; /* instruction being run ahead */
    uint16_t fcs, fds;
    uint8_t vectors[VECTOR_BYTES]; /* before the block */
    uint8_t expected[VECTOR_BYTES];
    struct cosim_stats stats;
};

struct cosim *cosim_new(struct jit_cpu *c)
{
    struct cosim *s = g_new0(struct cosim, 1);

    s->c = c;
    s->none = mmap(NULL, sizeof(*s->none), PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (s->none == MAP_FAILED) {
        g_free(s);
        return NULL;
    }
    s->none->rd[0].tag = s->none->wr[0].tag = s->none->exec[0].tag = tlb_none(0);
    return s;
}

void cosim_free(struct cosim *s)
{
    if (!s)
        return;
    munmap(s->none, sizeof(*s->none));
    g_free(s);
}

const struct cosim_stats *cosim_stats(const struct cosim *s)
{
    return &s->stats;
}

/* ---- memory while running ahead ---- */

static _Noreturn void stop(struct jit_cpu *c)
{
    siglongjmp(c->fault_jmp, LEFT_AHEAD);
}

void cosim_device(struct jit_cpu *c)
{
    stop(c);
}

static struct touch *touch_new(struct cosim *s, uint8_t *host, unsigned len, bool store)
{
    if (s->touches == ACCESSES || len > ACCESS_BYTES)
        stop(s->c);
    struct touch *a = &s->touch[s->touches++];
    a->host = host;
    a->len = (uint8_t)len;
    a->insn = (uint8_t)s->at;
    a->store = store;
    return a;
}

/* Lays what was stored by touches [0, end) over the bytes at host. */
static void overlay(const struct cosim *s, unsigned end, const uint8_t *host, uint8_t *buf,
                    unsigned len)
{
    for (unsigned k = 0; k < end; k++) {
        const struct touch *a = &s->touch[k];
        if (!a->store || a->host >= host + len || a->host + a->len <= host)
            continue;
        for (unsigned n = 0; n < a->len; n++)
            if (a->host + n >= host && a->host + n < host + len)
                buf[a->host + n - host] = a->data[n];
    }
}

void cosim_load(struct jit_cpu *c, const uint8_t *host, void *buf, unsigned len)
{
    struct cosim *s = c->cosim;
    struct touch *a = touch_new(s, (uint8_t *)host, len, false);

    memcpy(a->data, host, len);
    memcpy(buf, a->data, len);
    overlay(s, s->touches - 1, host, buf, len);
}

void cosim_store(struct jit_cpu *c, uint8_t *host, const void *buf, unsigned len)
{
    struct touch *a = touch_new(c->cosim, host, len, true);

    memcpy(a->data, buf, len);
}

/* ---- which instructions may run twice ---- */

static bool integer_ok(const struct insn *i)
{
    switch (i->mnemonic) {
    case ZYDIS_MNEMONIC_MOVSB:
    case ZYDIS_MNEMONIC_MOVSW:
    case ZYDIS_MNEMONIC_MOVSD:
    case ZYDIS_MNEMONIC_MOVSQ:
    case ZYDIS_MNEMONIC_STOSB:
    case ZYDIS_MNEMONIC_STOSW:
    case ZYDIS_MNEMONIC_STOSD:
    case ZYDIS_MNEMONIC_STOSQ:
    case ZYDIS_MNEMONIC_LODSB:
    case ZYDIS_MNEMONIC_LODSW:
    case ZYDIS_MNEMONIC_LODSD:
    case ZYDIS_MNEMONIC_LODSQ:
    case ZYDIS_MNEMONIC_SCASB:
    case ZYDIS_MNEMONIC_SCASW:
    case ZYDIS_MNEMONIC_SCASD:
    case ZYDIS_MNEMONIC_SCASQ:
    case ZYDIS_MNEMONIC_CMPSB:
    case ZYDIS_MNEMONIC_CMPSW:
    case ZYDIS_MNEMONIC_CMPSD:
    case ZYDIS_MNEMONIC_CMPSQ:
        return !i->rep;
    case ZYDIS_MNEMONIC_PUSHF:
    case ZYDIS_MNEMONIC_PUSHFD:
    case ZYDIS_MNEMONIC_PUSHFQ:
    case ZYDIS_MNEMONIC_BT:
    case ZYDIS_MNEMONIC_BTS:
    case ZYDIS_MNEMONIC_BTR:
    case ZYDIS_MNEMONIC_BTC:
    case ZYDIS_MNEMONIC_XLAT:
    case ZYDIS_MNEMONIC_LAHF:
    case ZYDIS_MNEMONIC_SAHF:
    case ZYDIS_MNEMONIC_CLD:
    case ZYDIS_MNEMONIC_STD:
    case ZYDIS_MNEMONIC_DIV:
    case ZYDIS_MNEMONIC_IDIV:
    case ZYDIS_MNEMONIC_MOVBE:
    case ZYDIS_MNEMONIC_ENTER:
    case ZYDIS_MNEMONIC_XADD:
    case ZYDIS_MNEMONIC_XCHG:
    case ZYDIS_MNEMONIC_CMPXCHG:
    case ZYDIS_MNEMONIC_CMPXCHG8B:
    case ZYDIS_MNEMONIC_CMPXCHG16B:
        return true;
    default:
        return false;
    }
}

/* vectors: it belongs to the vector and x87 units. */
static bool may_run_twice(struct jit_cpu *c, const struct insn *i, bool *vectors)
{
    struct tr_insn d;

    tr_scan(c, i, &d);
    *vectors = (i->flags & INSN_FPU) || d.op.kind == TK_VECTOR;
    if (d.map && i->mnemonic == ZYDIS_MNEMONIC_MOVSD) /* not the string instruction */
        return *vectors;
    if (d.op.kind >= TK_SWAPGS)
        return false;
    return d.op.kind != TK_INTERP || *vectors || integer_ok(i);
}

/* Of the block, once. */
static void look(struct cosim *s, struct tblock *t)
{
    if (!t->ahead) {
        unsigned k = 0;
        bool vectors;
        while (k < t->count && may_run_twice(s->c, &t->src->insn[k], &vectors)) {
            t->ahead_fpu |= vectors;
            k++;
        }
        t->ahead = (uint8_t)(k + 1);
    }
    s->insns = t->ahead - 1u;
    s->fpu = t->ahead_fpu;
}

/* Flags that matter before instruction k, as the translator sees it, in c->fl's form. */
static uint16_t flags_live(const struct cosim *s, unsigned k)
{
    static const uint16_t fl[6] = {AF_CF, AF_PF, 0x1000, AF_ZF, AF_SF, AF_OF};
    unsigned live = TF_ALL;
    uint16_t out = 0;

    for (unsigned n = s->block->count; n-- > k;) {
        struct tr_insn d;
        tr_scan(s->c, &s->block->src->insn[n], &d);
        live = d.op.kind == TK_INTERP ? TF_ALL : (live & ~(unsigned)d.op.writes) | d.op.reads;
    }
    for (unsigned n = 0; n < 6; n++)
        out |= live >> n & 1 ? fl[n] : 0;
    return out;
}

/* ---- running ahead ---- */

static void keep(struct cosim *s, struct step *to)
{
    const struct jit_cpu *c = s->c;

    memcpy(to->gpr, c->st.gpr, sizeof(to->gpr));
    to->rip = c->st.rip;
    to->rflags = c->st.rflags;
    to->fl = c->fl;
}

static void done(struct jit_cpu *c, const struct insn *i)
{
}

static void steps(struct cosim *s)
{
    struct jit_cpu *c = s->c;
    const struct tblock *t = s->block;

    for (s->at = 0; s->at < s->insns; s->at++) {
        const struct insn *i = &t->src->insn[s->at];
        struct insn alone[2] = {*i, {.fn = done, .off = i->off}};
        c->cur = i;
        c->st.rip = s->rip + i->off + i->len;
        if (c->mode != MODE_LONG64)
            c->st.rip = (uint32_t)c->st.rip;
        alone[0].fn(c, alone);
        keep(s, &s->step[s->at + 1]);
        s->done = s->at + 1;
    }
    s->ending = s->insns == t->count ? ENDED : STOPPED;
}

static void steps_to_fault(struct cosim *s)
{
    struct jit_cpu *c = s->c;
    int how = sigsetjmp(c->fault_jmp, 0);

    if (!how) {
        steps(s);
        return;
    }
    s->ending = how == LEFT_FAULT ? FAULTED : STOPPED;
    s->fault_vector = c->fault.vector;
    s->fault_error = c->fault.has_error ? c->fault.error : 0;
    s->fault_cr2 = c->st.cr2;
}

static void vectors_begin(struct cosim *s)
{
    struct jit_cpu *c = s->c;

    fpu_sync_to_state(c);
    memcpy(s->vectors, c->st.xsave, VECTOR_BYTES);
    s->fcs = fpu_of(c)->fcs;
    s->fds = fpu_of(c)->fds;
}

static void vectors_end(struct cosim *s)
{
    struct jit_cpu *c = s->c;

    fpu_sync_to_state(c);
    memcpy(s->expected, c->st.xsave, VECTOR_BYTES);
    memcpy(c->st.xsave, s->vectors, VECTOR_BYTES);
    fpu_of(c)->fcs = s->fcs;
    fpu_of(c)->fds = s->fds;
    fpu_x87_replaced(c);
}

static bool can_check(const struct cosim *s)
{
    const struct jit_cpu *c = s->c;
    return s->insns && !(c->st.dr[7] & 0xff) && (!s->fpu || (c->st.cr0 & CR0_NE));
}

void cosim_before(struct jit_cpu *c, struct tblock *t)
{
    struct cosim *s = c->cosim;
    struct tlb_ctx *tlb = c->tlb_now;
    struct step before;
    uint64_t cr2 = c->st.cr2;
    uint32_t pauses = c->pauses;
    sigjmp_buf outer;

    s->block = t;
    look(s, t);
    s->rip = c->st.rip;
    s->stopped = -1;
    s->touches = s->done = 0;
    s->ending = STOPPED;
    keep(s, &before);
    s->step[0] = before;
    if (!can_check(s))
        return;
    if (s->fpu)
        vectors_begin(s);
    memcpy(&outer, &c->fault_jmp, sizeof(outer));
    c->tlb_now = s->none;
    c->running_ahead = true;
    c->block = t->src;
    c->block_rip = s->rip;
    steps_to_fault(s);
    c->running_ahead = false;
    c->tlb_now = tlb;
    memcpy(&c->fault_jmp, &outer, sizeof(outer));
    if (s->fpu)
        vectors_end(s);
    memcpy(c->st.gpr, before.gpr, sizeof(before.gpr));
    c->st.rip = before.rip;
    c->st.rflags = before.rflags;
    c->st.cr2 = cr2;
    c->fl = before.fl;
    c->pauses = pauses;
    c->cur = NULL;
    c->block = NULL;
    c->next = NULL;
    c->link = NULL;
}

void cosim_stopped(struct jit_cpu *c, unsigned index)
{
    ((struct cosim *)c->cosim)->stopped = (int)index;
}

/* ---- comparing ---- */

/* Did somebody else write to what instructions [0, k) read? */
static bool disturbed(const struct cosim *s, unsigned k)
{
    for (unsigned n = 0; n < s->touches && s->touch[n].insn <= k; n++) {
        const struct touch *a = &s->touch[n];
        uint8_t own[ACCESS_BYTES] = {0}, now[ACCESS_BYTES];
        if (a->store)
            continue;
        for (unsigned m = 0; m < s->touches; m++) {
            const struct touch *w = &s->touch[m];
            for (unsigned b = 0; w->store && b < a->len; b++)
                own[b] |= a->host + b >= w->host && a->host + b < w->host + w->len;
        }
        memcpy(now, a->host, a->len);
        for (unsigned b = 0; b < a->len; b++)
            if (own[b] ? s->c->set->count > 1 : now[b] != a->data[b])
                return true;
    }
    return false;
}

static const char *compare_memory(const struct cosim *s, unsigned k)
{
    unsigned end = 0;

    while (end < s->touches && s->touch[end].insn < k)
        end++;
    for (unsigned n = 0; n < end; n++) {
        const struct touch *a = &s->touch[n];
        uint8_t want[ACCESS_BYTES];
        if (!a->store)
            continue;
        memcpy(want, a->data, a->len);
        overlay(s, end, a->host, want, a->len);
        if (memcmp(a->host, want, a->len))
            return "stored bytes";
    }
    return NULL;
}

static const char *compare_vectors(struct cosim *s)
{
    struct jit_cpu *c = s->c;
    const uint8_t *now = c->st.xsave, *want = s->expected;

    fpu_sync_to_state(c);
    if (memcmp(now + XS_XMM, want + XS_XMM, 256))
        return "XMM registers";
    for (unsigned n = 0; n < XSAVE_PARTS; n++) {
        const struct xsave_part *part = &xsave_parts()[n];
        if ((c->tr.vec_mask & BIT64(part->bit)) &&
            memcmp(now + part->offset, want + part->offset, part->size))
            return "upper parts of vector registers";
    }
    if (memcmp(now + XS_MXCSR, want + XS_MXCSR, 4))
        return "MXCSR";
    if (memcmp(now + XS_FCW, want + XS_FCW, 5))
        return "x87 control, status or tag word";
    if (memcmp(now + XS_FOP, want + XS_FOP, 18))
        return "x87 pointers";
    for (unsigned r = 0; r < 8; r++)
        if (memcmp(now + XS_ST + r * 16, want + XS_ST + r * 16, 10))
            return "x87 registers";
    return NULL;
}

static const char *compare(struct cosim *s, unsigned k)
{
    const struct jit_cpu *c = s->c;
    const struct step *e = &s->step[k];
    uint16_t mask = FL_MASK;

    if (c->st.rip != e->rip)
        return "RIP";
    if (memcmp(c->st.gpr, e->gpr, sizeof(e->gpr)))
        return "general registers";
    if ((c->fl ^ e->fl) & mask) {
        mask = k < s->block->count ? flags_live(s, k) : FL_MASK;
        if ((c->fl ^ e->fl) & mask)
            return "flags";
    }
    if ((c->st.rflags ^ e->rflags) & ~(uint64_t)FL_ARITH)
        return "RFLAGS";
    if (s->fpu && k == s->block->count) {
        const char *what = compare_vectors(s);
        if (what)
            return what;
    }
    return s->c->set->count == 1 ? compare_memory(s, k) : NULL;
}

/* ---- the report ---- */

static void print_insns(const struct cosim *s)
{
    ZydisDecoder dec;
    ZydisFormatter form;
    ZydisDecodedInstruction z;
    ZydisDecodedOperand op[ZYDIS_MAX_OPERAND_COUNT];
    bool wide = s->c->mode == MODE_LONG64, cs32 = s->c->mode_key & KEY_CS32;
    char text[160];

    ZydisDecoderInit(&dec,
                     wide   ? ZYDIS_MACHINE_MODE_LONG_64
                     : cs32 ? ZYDIS_MACHINE_MODE_LEGACY_32
                            : ZYDIS_MACHINE_MODE_LEGACY_16,
                     wide   ? ZYDIS_STACK_WIDTH_64
                     : cs32 ? ZYDIS_STACK_WIDTH_32
                            : ZYDIS_STACK_WIDTH_16);
    ZydisFormatterInit(&form, ZYDIS_FORMATTER_STYLE_ATT);
    for (unsigned k = 0; k < s->block->count; k++) {
        const struct insn *i = &s->block->src->insn[k];
        uint64_t rip = s->rip + i->off;
        g_strlcpy(text, "(undecodable)", sizeof(text));
        if (ZYAN_SUCCESS(ZydisDecoderDecodeFull(&dec, i->bytes, i->len, &z, op)))
            ZydisFormatterFormatInstruction(&form, &z, op, z.operand_count_visible, text,
                                            sizeof(text), rip, NULL);
        fprintf(stderr, "  %3u %016" PRIx64 "  %s\n", k, rip, text);
    }
}

static void print_step(const char *title, const struct step *e)
{
    fprintf(stderr, "%s: rip %016" PRIx64 " fl %04x rflags %08" PRIx64, title, e->rip, e->fl,
            e->rflags);
    for (unsigned r = 0; r < 16; r++)
        fprintf(stderr, "%s r%-2u %016" PRIx64, r % 4 ? "" : "\n ", r, e->gpr[r]);
    fprintf(stderr, "\n");
}

static void print_touches(const struct cosim *s)
{
    for (unsigned n = 0; n < s->touches; n++) {
        const struct touch *a = &s->touch[n];
        fprintf(stderr, "  insn %u %s", a->insn, a->store ? "stores" : "loads ");
        for (unsigned b = a->len; b-- > 0;)
            fprintf(stderr, " %02x", a->data[b]);
        if (a->store) {
            fprintf(stderr, ", memory has");
            for (unsigned b = a->len; b-- > 0;)
                fprintf(stderr, " %02x", a->host[b]);
        }
        fprintf(stderr, "\n");
    }
}

static _Noreturn void report(struct cosim *s, unsigned k, const char *what)
{
    struct jit_cpu *c = s->c;
    struct step now;

    keep(s, &now);
    fprintf(stderr,
            "cosim: vcpu %u: interpreter and translation differ in %s after %u of %u "
            "instructions (the interpreter ran %u)\n",
            c->vcpu->index, what, k, s->block->count, s->done);
    print_insns(s);
    print_step("before", &s->step[0]);
    print_step("interpreter", &s->step[MIN_OF(k, s->done)]);
    print_step("translation", &now);
    print_touches(s);
    flags_to_state(c);
    g_autofree char *dump = x86_state_format(&c->st);
    fprintf(stderr, "%s\n", dump);
    abort();
}

/* k: instructions that translated code ran; vector: it raised this, or -1. */
static const char *verdict(struct cosim *s, unsigned k, int vector)
{
    const struct jit_cpu *c = s->c;
    bool faulted_here = s->ending == FAULTED && k == s->done;
    const char *what;

    if (k == s->done && k < s->block->count && s->block->src->insn[k].rep)
        return NULL; /* its turns before the fault stay done */
    if (k > s->done)
        return s->ending == FAULTED ? "whether an instruction faults" : NULL;
    what = compare(s, k);
    if (what || vector < 0)
        return what;
    if (!faulted_here)
        return k < s->done ? "whether an instruction faults" : NULL;
    if (vector != s->fault_vector || (c->fault.has_error ? c->fault.error : 0) != s->fault_error ||
        (vector == EX_PF && c->st.cr2 != s->fault_cr2))
        return "the fault";
    return NULL;
}

/* A page fault where the page table entry may have been stored by the block itself. */
static bool may_fault_once(const struct cosim *s, unsigned k)
{
    if (s->ending != FAULTED || k < s->done || s->fault_vector != EX_PF)
        return false;
    for (unsigned n = 0; n < s->touches; n++)
        if (s->touch[n].store)
            return true;
    return s->c->set->count > 1;
}

static void judge(struct cosim *s, unsigned k, int vector)
{
    const char *what = verdict(s, k, vector);

    if (what && (disturbed(s, k) || may_fault_once(s, k))) {
        TR_COUNT(s->stats.disturbed, 1);
    } else if (what) {
        report(s, k, what);
    } else {
        TR_COUNT(s->stats.blocks, 1);
        TR_COUNT(s->stats.insns, MIN_OF(k, s->done));
        TR_COUNT(s->stats.partly, k > s->done);
    }
    s->block = NULL;
}

static unsigned index_at(const struct cosim *s, uint64_t rip)
{
    const struct tblock *t = s->block;
    unsigned k = 0;

    while (k < t->count && s->rip + t->off[k] != rip)
        k++;
    return k;
}

void cosim_after(struct jit_cpu *c)
{
    struct cosim *s = c->cosim;
    unsigned k = s->block->count;

    if (c->tr.bail)
        k = index_at(s, c->st.rip);
    else if (s->stopped >= 0)
        k = (unsigned)s->stopped + 1;
    judge(s, k, -1);
}

void cosim_left(struct jit_cpu *c, int how)
{
    struct cosim *s = c->cosim;
    uint64_t rip = c->st.rip;

    if (!s->block)
        return;
    if (c->cur)
        rip = c->st.rip = insn_rip(c, c->cur);
    c->cur = NULL;
    judge(s, index_at(s, rip), how == LEFT_FAULT ? c->fault.vector : -1);
}
