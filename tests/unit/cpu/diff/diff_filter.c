/* diff_filter.c - the reviewed lists behind diff_wanted(). */
#include "diff_filter.h"

/* Instruction sets that guest and host both have (guest features are the host's up to AVX2). */
static const uint8_t integer_sets[ZYDIS_ISA_SET_MAX_VALUE + 1] = {
    [ZYDIS_ISA_SET_I86] = 1,           [ZYDIS_ISA_SET_I186] = 1,
    [ZYDIS_ISA_SET_I286REAL] = 1,      [ZYDIS_ISA_SET_I386] = 1,
    [ZYDIS_ISA_SET_I486] = 1,          [ZYDIS_ISA_SET_I486REAL] = 1,
    [ZYDIS_ISA_SET_PENTIUMREAL] = 1,   [ZYDIS_ISA_SET_CMOV] = 1,
    [ZYDIS_ISA_SET_LONGMODE] = 1,      [ZYDIS_ISA_SET_BMI1] = 1,
    [ZYDIS_ISA_SET_BMI2] = 1,          [ZYDIS_ISA_SET_ADOX_ADCX] = 1,
    [ZYDIS_ISA_SET_MOVBE] = 1,         [ZYDIS_ISA_SET_CMPXCHG16B] = 1,
    [ZYDIS_ISA_SET_LAHF] = 1,          [ZYDIS_ISA_SET_LZCNT] = 1,
    [ZYDIS_ISA_SET_POPCNT] = 1,        [ZYDIS_ISA_SET_FAT_NOP] = 1,
    [ZYDIS_ISA_SET_PAUSE] = 1,         [ZYDIS_ISA_SET_PPRO] = 1,
    [ZYDIS_ISA_SET_I286PROTECTED] = 1,
};
static const uint8_t fpu_sets[ZYDIS_ISA_SET_MAX_VALUE + 1] = {
    [ZYDIS_ISA_SET_X87] = 1,      [ZYDIS_ISA_SET_FCMOV] = 1,      [ZYDIS_ISA_SET_PENTIUMMMX] = 1,
    [ZYDIS_ISA_SET_FXSAVE] = 1,   [ZYDIS_ISA_SET_FXSAVE64] = 1,   [ZYDIS_ISA_SET_SSE] = 1,
    [ZYDIS_ISA_SET_SSEMXCSR] = 1, [ZYDIS_ISA_SET_SSE2] = 1,       [ZYDIS_ISA_SET_SSE2MMX] = 1,
    [ZYDIS_ISA_SET_SSE3] = 1,     [ZYDIS_ISA_SET_SSE3X87] = 1,    [ZYDIS_ISA_SET_SSSE3] = 1,
    [ZYDIS_ISA_SET_SSSE3MMX] = 1, [ZYDIS_ISA_SET_SSE4] = 1,       [ZYDIS_ISA_SET_SSE42] = 1,
    [ZYDIS_ISA_SET_SSE4A] = 1,    [ZYDIS_ISA_SET_PCLMULQDQ] = 1,  [ZYDIS_ISA_SET_AES] = 1,
    [ZYDIS_ISA_SET_SHA] = 1,      [ZYDIS_ISA_SET_GFNI] = 1,       [ZYDIS_ISA_SET_AVX] = 1,
    [ZYDIS_ISA_SET_AVXAES] = 1,   [ZYDIS_ISA_SET_AVX_GFNI] = 1,   [ZYDIS_ISA_SET_AVX_VNNI] = 1,
    [ZYDIS_ISA_SET_AVX2] = 1,     [ZYDIS_ISA_SET_AVX2GATHER] = 1, [ZYDIS_ISA_SET_FMA] = 1,
    [ZYDIS_ISA_SET_F16C] = 1,     [ZYDIS_ISA_SET_VAES] = 1,       [ZYDIS_ISA_SET_VPCLMULQDQ] = 1,
};

static const uint8_t evex_sets[ZYDIS_ISA_SET_MAX_VALUE + 1] = {
#define SIZES(name)                                                                                \
    [ZYDIS_ISA_SET_##name##_128] = 1, [ZYDIS_ISA_SET_##name##_256] = 1,                            \
    [ZYDIS_ISA_SET_##name##_512] = 1
    SIZES(AVX512F),
    SIZES(AVX512BW),
    SIZES(AVX512CD),
    SIZES(AVX512DQ),
    SIZES(AVX512_IFMA),
    SIZES(AVX512_VBMI),
    SIZES(AVX512_VBMI2),
    SIZES(AVX512_GFNI),
    SIZES(AVX512_VAES),
    SIZES(AVX512_VPCLMULQDQ),
    SIZES(AVX512_VNNI),
    SIZES(AVX512_BITALG),
    SIZES(AVX512_VPOPCNTDQ),
    SIZES(AVX512_BF16),
    [ZYDIS_ISA_SET_AVX512F_128N] = 1,
    [ZYDIS_ISA_SET_AVX512F_SCALAR] = 1,
    [ZYDIS_ISA_SET_AVX512F_KOP] = 1,
    [ZYDIS_ISA_SET_AVX512BW_128N] = 1,
    [ZYDIS_ISA_SET_AVX512BW_KOP] = 1,
    [ZYDIS_ISA_SET_AVX512DQ_128N] = 1,
    [ZYDIS_ISA_SET_AVX512DQ_SCALAR] = 1,
    [ZYDIS_ISA_SET_AVX512DQ_KOP] = 1,
};

bool diff_is_fpu(const ZydisDecodedInstruction *z)
{
    switch (z->mnemonic) {
    case ZYDIS_MNEMONIC_FCOMI:
    case ZYDIS_MNEMONIC_FCOMIP:
    case ZYDIS_MNEMONIC_FUCOMI:
    case ZYDIS_MNEMONIC_FUCOMIP:
        return true;
    case ZYDIS_MNEMONIC_CRC32:
    case ZYDIS_MNEMONIC_MOVNTI:
    case ZYDIS_MNEMONIC_LFENCE:
    case ZYDIS_MNEMONIC_MFENCE:
    case ZYDIS_MNEMONIC_SFENCE:
        return false;
    default:
        return fpu_sets[z->meta.isa_set] || evex_sets[z->meta.isa_set];
    }
}

static enum diff_set set_of(const ZydisDecodedInstruction *z)
{
    if (evex_sets[z->meta.isa_set])
        return SET_EVEX;
    return diff_is_fpu(z) ? SET_FPU : SET_INTEGER;
}

static bool has_set(const ZydisDecodedInstruction *z)
{
    return integer_sets[z->meta.isa_set] || fpu_sets[z->meta.isa_set] || evex_sets[z->meta.isa_set];
}

bool diff_is_string(const ZydisDecodedInstruction *z)
{
    return z->meta.category == ZYDIS_CATEGORY_STRINGOP || z->mnemonic == ZYDIS_MNEMONIC_MASKMOVQ ||
           z->mnemonic == ZYDIS_MNEMONIC_MASKMOVDQU || z->mnemonic == ZYDIS_MNEMONIC_VMASKMOVDQU;
}

static bool excluded(ZydisMnemonic m)
{
    switch (m) {
    /* enter the host's kernel */
    case ZYDIS_MNEMONIC_SYSCALL:
    case ZYDIS_MNEMONIC_SYSENTER:
    case ZYDIS_MNEMONIC_SYSRET:
    case ZYDIS_MNEMONIC_SYSEXIT:
    case ZYDIS_MNEMONIC_INT:
    case ZYDIS_MNEMONIC_INT1:
    case ZYDIS_MNEMONIC_INT3:
    case ZYDIS_MNEMONIC_INTO:
    case ZYDIS_MNEMONIC_RSM:
    /* depend on the host's descriptor tables, or are answered by its kernel (UMIP) */
    case ZYDIS_MNEMONIC_IRET:
    case ZYDIS_MNEMONIC_IRETD:
    case ZYDIS_MNEMONIC_IRETQ:
    case ZYDIS_MNEMONIC_SGDT:
    case ZYDIS_MNEMONIC_SIDT:
    case ZYDIS_MNEMONIC_SLDT:
    case ZYDIS_MNEMONIC_STR:
    case ZYDIS_MNEMONIC_SMSW:
    case ZYDIS_MNEMONIC_LAR:
    case ZYDIS_MNEMONIC_LSL:
    case ZYDIS_MNEMONIC_VERR:
    case ZYDIS_MNEMONIC_VERW:
    case ZYDIS_MNEMONIC_LDS:
    case ZYDIS_MNEMONIC_LES:
    case ZYDIS_MNEMONIC_LFS:
    case ZYDIS_MNEMONIC_LGS:
    case ZYDIS_MNEMONIC_LSS:
    /* differ from run to run or machine to machine */
    case ZYDIS_MNEMONIC_RDTSC:
    case ZYDIS_MNEMONIC_CPUID:
        return true;
    default:
        return false;
    }
}

static bool names_segment(const ZydisDecodedInstruction *z, const ZydisDecodedOperand *op)
{
    for (unsigned k = 0; k < z->operand_count; k++) {
        if (op[k].type == ZYDIS_OPERAND_TYPE_REGISTER &&
            ZydisRegisterGetClass(op[k].reg.value) == ZYDIS_REGCLASS_SEGMENT)
            return true;
        if (op[k].type == ZYDIS_OPERAND_TYPE_MEMORY &&
            (op[k].mem.segment == ZYDIS_REGISTER_FS || op[k].mem.segment == ZYDIS_REGISTER_GS))
            return true;
    }
    return false;
}

static bool has_rep_prefix(const ZydisDecodedInstruction *z)
{
    for (unsigned k = 0; k < z->raw.prefix_count; k++)
        if ((z->raw.prefixes[k].value & 0xfe) == 0xf2)
            return true;
    return false;
}

bool diff_wanted(const ZydisDecodedInstruction *z, const ZydisDecodedOperand *op, bool code32,
                 enum diff_set set)
{
    if (z->encoding != ZYDIS_INSTRUCTION_ENCODING_LEGACY &&
        z->encoding != ZYDIS_INSTRUCTION_ENCODING_VEX &&
        z->encoding != ZYDIS_INSTRUCTION_ENCODING_EVEX)
        return false;
    if (!has_set(z) && z->mnemonic != ZYDIS_MNEMONIC_CRC32)
        return false;
    if (!(set & set_of(z)))
        return false;
    if (excluded(z->mnemonic) || names_segment(z, op))
        return false;
    /* 66 MOVSXD r16: AMD reads four bytes, Intel two. */
    if (z->mnemonic == ZYDIS_MNEMONIC_MOVSXD && (z->attributes & ZYDIS_ATTRIB_HAS_OPERANDSIZE))
        return false;
    /* AMD lets a REP prefix choose the condition of LOOPE and LOOPNE. */
    if ((z->mnemonic == ZYDIS_MNEMONIC_LOOPE || z->mnemonic == ZYDIS_MNEMONIC_LOOPNE) &&
        has_rep_prefix(z))
        return false;
    /* 66 before a near branch in 64-bit mode: AMD's and Intel's processors disagree. */
    if (z->meta.branch_type != ZYDIS_BRANCH_TYPE_NONE && !code32 &&
        (z->attributes & ZYDIS_ATTRIB_HAS_OPERANDSIZE))
        return false;
    return z->meta.branch_type != ZYDIS_BRANCH_TYPE_FAR;
}

static bool addressed_by_register(const ZydisDecodedInstruction *z, const ZydisDecodedOperand *o)
{
    if (o->type != ZYDIS_OPERAND_TYPE_MEMORY)
        return false;
    if (o->visibility != ZYDIS_OPERAND_VISIBILITY_EXPLICIT || z->raw.disp.size < 32)
        return true;
    return o->mem.index != ZYDIS_REGISTER_NONE || z->address_width == 16 ||
           (o->mem.base != ZYDIS_REGISTER_NONE && o->mem.base != ZYDIS_REGISTER_RIP &&
            o->mem.base != ZYDIS_REGISTER_EIP);
}

/* They store FIP, FDP and FOP, which the host loses on its way through the child's signal frames.
 */
static bool stores_pointers(ZydisMnemonic m)
{
    return m == ZYDIS_MNEMONIC_FNSTENV || m == ZYDIS_MNEMONIC_FNSAVE ||
           m == ZYDIS_MNEMONIC_FXSAVE || m == ZYDIS_MNEMONIC_FXSAVE64;
}

bool diff_runs(const ZydisDecodedInstruction *z, const ZydisDecodedOperand *op)
{
    if (z->meta.branch_type != ZYDIS_BRANCH_TYPE_NONE || diff_is_string(z) ||
        stores_pointers(z->mnemonic))
        return false;
    switch (z->meta.category) {
    case ZYDIS_CATEGORY_IO:
    case ZYDIS_CATEGORY_IOSTRINGOP:
    case ZYDIS_CATEGORY_SYSTEM:
    case ZYDIS_CATEGORY_PUSH:
    case ZYDIS_CATEGORY_POP:
    case ZYDIS_CATEGORY_DECIMAL: /* undefined flags, see forgive_flags() */
    case ZYDIS_CATEGORY_INTERRUPT:
        return false;
    default:
        break;
    }
    for (unsigned k = 0; k < z->operand_count; k++)
        if (addressed_by_register(z, &op[k]))
            return false;
    return true;
}
