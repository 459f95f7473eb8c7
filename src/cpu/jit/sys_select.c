/* sys_select.c - which privileged or control-transfer handler runs an instruction. */
#include "sys.h"

enum select_flag {
    SEL_END = 1, /* mode, CS, paging or interrupt state may change: ends the block */
    SEL_FAR = 2, /* far transfer: operand size from the prefixes */
};

struct select_row {
    ZydisMnemonic mnemonic;
    op_fn *fn;
    uint8_t flags;
};

#define M(name) ZYDIS_MNEMONIC_##name
static const struct select_row rows[] = {
    {M(INT3), sys_op_int3, SEL_END},
    {M(INT), sys_op_int, SEL_END},
    {M(INTO), sys_op_into, SEL_END},
    {M(INT1), sys_op_icebp, SEL_END},
    {M(UD0), sys_op_ud, SEL_END},
    {M(UD1), sys_op_ud, SEL_END},
    {M(UD2), sys_op_ud, SEL_END},
    {M(IRET), sys_op_iret, SEL_END | SEL_FAR},
    {M(IRETD), sys_op_iret, SEL_END | SEL_FAR},
    {M(IRETQ), sys_op_iret, SEL_END | SEL_FAR},
    {M(CLTS), sys_op_clts, SEL_END},
    {M(LMSW), sys_op_lmsw, SEL_END},
    {M(SMSW), sys_op_smsw, 0},
    {M(RDMSR), sys_op_rdmsr, SEL_END},
    {M(WRMSR), sys_op_wrmsr, SEL_END},
    {M(RDTSC), sys_op_rdtsc, 0},
    {M(RDTSCP), sys_op_rdtscp, 0},
    {M(RDPMC), sys_op_rdpmc, 0},
    {M(RDPID), sys_op_rdpid, 0},
    {M(SYSCALL), sys_op_syscall, SEL_END},
    {M(SYSRET), sys_op_sysret, SEL_END | SEL_FAR},
    {M(SYSENTER), sys_op_sysenter, SEL_END},
    {M(SYSEXIT), sys_op_sysexit, SEL_END | SEL_FAR},
    {M(SWAPGS), sys_op_swapgs, 0},
    {M(RDFSBASE), sys_op_rdfsbase, 0},
    {M(RDGSBASE), sys_op_rdgsbase, 0},
    {M(WRFSBASE), sys_op_wrfsbase, 0},
    {M(WRGSBASE), sys_op_wrgsbase, 0},
    {M(INVLPG), sys_op_invlpg, SEL_END},
    {M(INVPCID), sys_op_invpcid, SEL_END},
    {M(INVD), sys_op_wbinvd, SEL_END},
    {M(WBINVD), sys_op_wbinvd, SEL_END},
    {M(MONITOR), sys_op_monitor, 0},
    {M(MWAIT), sys_op_mwait, SEL_END},
    {M(HLT), sys_op_hlt, SEL_END},
    {M(STI), sys_op_sti, SEL_END},
    {M(CLI), sys_op_cli, 0},
    {M(PUSHF), sys_op_pushf, 0},
    {M(PUSHFD), sys_op_pushf, 0},
    {M(PUSHFQ), sys_op_pushf, 0},
    {M(POPF), sys_op_popf, SEL_END},
    {M(POPFD), sys_op_popf, SEL_END},
    {M(POPFQ), sys_op_popf, SEL_END},
    {M(CLAC), sys_op_clac, SEL_END},
    {M(STAC), sys_op_stac, SEL_END},
    {M(LGDT), sys_op_lgdt, 0},
    {M(LIDT), sys_op_lidt, 0},
    {M(SGDT), sys_op_sgdt, 0},
    {M(SIDT), sys_op_sidt, 0},
    {M(LLDT), sys_op_lldt, 0},
    {M(LTR), sys_op_ltr, 0},
    {M(SLDT), sys_op_sldt, 0},
    {M(STR), sys_op_str, 0},
    {M(VMCALL), sys_op_vmcall, SEL_END},
    {M(VMMCALL), sys_op_vmcall, SEL_END},
    {M(CPUID), sys_op_cpuid, 0},
    {M(LAR), sys_op_lar, 0},
    {M(LSL), sys_op_lsl, 0},
    {M(VERR), sys_op_verr, 0},
    {M(VERW), sys_op_verw, 0},
    {M(ARPL), sys_op_arpl, 0},
    {M(RSM), sys_op_rsm, SEL_END},
};

/* Far transfers default to 32 bits even in 64-bit mode; Zydis reports their width as that of near
 * ones for some forms. */
static uint8_t far_opsize(const struct decode_ctx *d)
{
    bool prefix66 = d->z.attributes & ZYDIS_ATTRIB_HAS_OPERANDSIZE;

    if (d->mode == MODE_LONG64) {
        if (d->z.raw.rex.W)
            return 8;
        return prefix66 ? 2 : 4;
    }
    bool wide = d->c->mode_key & KEY_CS32;
    return wide != prefix66 ? 4 : 2;
}

static op_fn *select_far(struct decode_ctx *d)
{
    op_fn *fn = NULL;

    if (d->z.meta.branch_type != ZYDIS_BRANCH_TYPE_FAR)
        return NULL;
    if (d->z.mnemonic == M(JMP))
        fn = sys_op_jmp_far;
    else if (d->z.mnemonic == M(CALL))
        fn = sys_op_call_far;
    else if (d->z.mnemonic == M(RET))
        fn = sys_op_ret_far;
    if (fn) {
        d->out->opsize = far_opsize(d);
        d->ends_block = true;
    }
    return fn;
}

static bool is_register_of(const ZydisDecodedOperand *o, ZydisRegisterClass class)
{
    return o->type == ZYDIS_OPERAND_TYPE_REGISTER && ZydisRegisterGetClass(o->reg.value) == class;
}

static op_fn *select_mov(struct decode_ctx *d)
{
    const ZydisDecodedOperand *o = d->op;
    op_fn *fn = NULL;

    if (is_register_of(&o[0], ZYDIS_REGCLASS_CONTROL))
        fn = sys_op_mov_to_cr;
    else if (is_register_of(&o[1], ZYDIS_REGCLASS_CONTROL))
        fn = sys_op_mov_from_cr;
    else if (is_register_of(&o[0], ZYDIS_REGCLASS_DEBUG))
        fn = sys_op_mov_to_dr;
    else if (is_register_of(&o[1], ZYDIS_REGCLASS_DEBUG))
        fn = sys_op_mov_from_dr;
    if (fn) {
        d->out->reg = (uint8_t)(d->z.raw.modrm.reg | d->z.raw.rex.R << 3);
        d->out->rm = (uint8_t)(d->z.raw.modrm.rm | d->z.raw.rex.B << 3);
        d->ends_block = true;
    }
    return fn;
}

op_fn *op_select_sys(struct decode_ctx *d)
{
    op_fn *fn = select_far(d);

    if (!fn && d->z.mnemonic == M(MOV))
        fn = select_mov(d);
    if (fn)
        return fn;
    for (unsigned n = 0; n < ARRAY_SIZE(rows); n++) {
        if (rows[n].mnemonic != d->z.mnemonic)
            continue;
        d->ends_block |= (rows[n].flags & SEL_END) != 0;
        if (rows[n].flags & SEL_FAR)
            d->out->opsize = far_opsize(d);
        return rows[n].fn;
    }
    return NULL;
}
