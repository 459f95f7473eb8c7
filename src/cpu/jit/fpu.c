/* fpu.c - the x87 unit between host and state, its exceptions, and a vcpu's share of all this. */
#include "fpu.h"

#include "base/log.h"

#include <errno.h>
#include <glib.h>
#include <stdlib.h>
#include <string.h>

#define FERR_GSI 13

/* ---- the x87 unit ---- */

void fpu_load_live(struct jit_cpu *c)
{
    struct fpu *f = fpu_of(c);
    const uint32_t mxcsr = MXCSR_DEFAULT;

    memcpy(f->area, c->st.xsave, XS_XMM);
    memcpy(f->area + XS_MXCSR, &mxcsr, 4);
    __asm__ volatile("fxrstor64 %0" ::"m"(f->area));
    c->x87_live = true;
}

void fpu_sync_to_state(struct jit_cpu *c)
{
    struct fpu *f = fpu_of(c);

    xs_put64(c, XS_HEADER, f->components); /* all of it is valid */
    if (!c->x87_live)
        return;
    __asm__ volatile("fxsave64 %0" : "=m"(f->area));
    /* What the host's unit knows of instruction pointers is about stubs: the guest's are tracked in
     * st.xsave already. */
    memcpy(c->st.xsave + XS_FCW, f->area + XS_FCW, XS_FOP - XS_FCW);
    memcpy(c->st.xsave + XS_ST, f->area + XS_ST, XS_XMM - XS_ST);
    c->x87_live = false;
    /* Leave a clean unit behind: nothing pending, stack empty. */
    __asm__ volatile("fninit");
}

void fpu_sync_from_state(struct jit_cpu *c)
{
    struct fpu *f = fpu_of(c);
    uint64_t bv = xs_get64(c, XS_HEADER);

    c->x87_live = false;
    f->fcs = f->fds = 0;
    if (!(bv & XF_X87))
        fpu_init_x87_area(c->st.xsave);
    if (!(bv & XF_SSE))
        memset(c->st.xsave + XS_XMM, 0, 256);
    if (!(bv & (XF_SSE | XF_AVX)) && !xs_get32(c, XS_MXCSR))
        xs_put32(c, XS_MXCSR, MXCSR_DEFAULT);
    for (unsigned k = 0; k < XSAVE_PARTS; k++)
        if (!(bv & f->components & BIT64(xsave_parts()[k].bit)))
            memset(c->st.xsave + xsave_parts()[k].offset, 0, xsave_parts()[k].size);
    xs_put32(c, XS_MXCSR, xs_get32(c, XS_MXCSR) & f->mxcsr_mask);
    memset(c->st.xsave + XS_HEADER, 0, 64);
    xs_put64(c, XS_HEADER, f->components);
    fpu_x87_replaced(c);
}

static bool exception_waits(struct jit_cpu *c)
{
    uint16_t sw;

    if (c->x87_live)
        __asm__ volatile("fnstsw %0" : "=a"(sw));
    else
        sw = xs_get16(c, XS_FSW);
    return sw & FSW_ES;
}

/* With CR0.NE=0 the exception goes the PC/AT way (SDM vol.1 §8.7.2): FERR# raises IRQ13 and the
 * waiting instruction does not start before the handler has cleared the exception. */
void fpu_check_wait(struct jit_cpu *c)
{
    struct fpu *f = fpu_of(c);

    if (likely(!f->x87_unmasked) || !exception_waits(c))
        return;
    if (c->st.cr0 & CR0_NE)
        cpu_raise(c, EX_MF);
    if (!f->ferr) {
        f->ferr = true;
        irq_set(&f->ferr_line, true);
    }
    cpu_restart(c);
}

void fpu_settle_ferr(struct jit_cpu *c)
{
    struct fpu *f = fpu_of(c);

    if (likely(!f->ferr) || exception_waits(c))
        return;
    f->ferr = false;
    irq_set(&f->ferr_line, false);
}

void fpu_x87_replaced(struct jit_cpu *c)
{
    fpu_of(c)->x87_unmasked = (~xs_get16(c, XS_FCW) & 0x3f) != 0;
    fpu_settle_ferr(c);
}

/* ---- vcpu life ---- */

void fpu_cpu_init(struct jit_cpu *c)
{
    struct fpu *f = g_aligned_alloc0(1, sizeof(*f), 64);

    if (!fpu_stub_ref()) {
        log_error("cannot map memory for generated code: %s", strerror(errno));
        exit(1);
    }
    f->slot = fpu_stub_slot_new();
    irq_connect(&f->ferr_line, c->set->irqchip, FERR_GSI);
    f->mxcsr_mask = 0xffff;
    if (sys_has(c, FEAT_8000_0001_ECX, 7))
        f->mxcsr_mask |= MXCSR_MM;
    f->components = XF_X87 | XF_SSE | XF_AVX | (sys_has(c, FEAT_7_0_EBX, 16) ? XSAVE_AVX512 : 0);
    f->opmask_at = xsave_parts()[XSAVE_PART_OPMASK].offset;
    f->zmmh_at = xsave_parts()[XSAVE_PART_ZMM_HI].offset;
    f->hi16_at = xsave_parts()[XSAVE_PART_HI16].offset;
    c->fpu = f;
    fpu_sync_from_state(c);
}

void fpu_cpu_fini(struct jit_cpu *c)
{
    if (!c->fpu)
        return;
    irq_disconnect(&fpu_of(c)->ferr_line);
    g_aligned_free(c->fpu);
    c->fpu = NULL;
    fpu_stub_unref();
}
