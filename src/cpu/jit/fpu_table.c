/* fpu_table.c - the reviewed list of what may run on the host's floating-point and vector units.
 *
 * Default deny: an instruction that has no rule here is not executed.  Native ones have operands in
 * vector, MMX and x87 registers, at most one memory operand of up to 32 bytes and general registers
 * only where ModRM or the architecture (RAX, RCX, RDX) says; they touch nothing else but MXCSR, the
 * x87 unit and the arithmetic flags.  Everything with other effects is emulated. */
#include "fpu.h"

/* clang-format off */
#define NATIVE_LEGACY(X)                                                                           \
    X(ADDPD) X(ADDPS) X(ADDSD) X(ADDSS) X(ADDSUBPD) X(ADDSUBPS) X(AESDEC) X(AESDECLAST)            \
    X(AESENC) X(AESENCLAST) X(AESIMC) X(AESKEYGENASSIST) X(ANDNPD) X(ANDNPS) X(ANDPD) X(ANDPS)     \
    X(BLENDPD) X(BLENDPS) X(BLENDVPD) X(BLENDVPS) X(CMPPD) X(CMPPS) X(CMPSD) X(CMPSS) X(COMISD)    \
    X(COMISS) X(CVTDQ2PD) X(CVTDQ2PS) X(CVTPD2DQ) X(CVTPD2PS) X(CVTPS2DQ) X(CVTPS2PD)              \
    X(CVTSD2SI) X(CVTSD2SS) X(CVTSI2SD) X(CVTSI2SS) X(CVTSS2SD) X(CVTSS2SI) X(CVTTPD2DQ)           \
    X(CVTTPS2DQ) X(CVTTSD2SI) X(CVTTSS2SI) X(DIVPD) X(DIVPS) X(DIVSD) X(DIVSS) X(DPPD) X(DPPS)     \
    X(EXTRACTPS) X(EXTRQ) X(GF2P8AFFINEINVQB) X(GF2P8AFFINEQB) X(GF2P8MULB) X(HADDPD)      \
    X(HADDPS) X(HSUBPD) X(HSUBPS) X(INSERTPS) X(INSERTQ) X(MAXPD) X(MAXPS) X(MAXSD) X(MAXSS)       \
    X(MINPD) X(MINPS) X(MINSD) X(MINSS) X(MOVAPD) X(MOVAPS) X(MOVD) X(MOVDDUP) X(MOVDQ2Q)          \
    X(MOVDQA) X(MOVHLPS) X(MOVHPD) X(MOVHPS) X(MOVLHPS) X(MOVLPD) X(MOVLPS) X(MOVMSKPD)            \
    X(MOVMSKPS) X(MOVNTDQ) X(MOVNTDQA) X(MOVNTPD) X(MOVNTPS) X(MOVNTQ) X(MOVNTSD) X(MOVNTSS)       \
    X(MOVQ) X(MOVQ2DQ) X(MOVSD) X(MOVSHDUP) X(MOVSLDUP) X(MOVSS) X(MPSADBW) X(MULPD) X(MULPS)      \
    X(MULSD) X(MULSS) X(ORPD) X(ORPS) X(PABSB) X(PABSD) X(PABSW) X(PACKSSDW) X(PACKSSWB)           \
    X(PACKUSDW) X(PACKUSWB) X(PADDB) X(PADDD) X(PADDQ) X(PADDSB) X(PADDSW) X(PADDUSB) X(PADDUSW)   \
    X(PADDW) X(PALIGNR) X(PAND) X(PANDN) X(PAVGB) X(PAVGW) X(PBLENDVB) X(PBLENDW) X(PCLMULQDQ)     \
    X(PCMPEQB) X(PCMPEQD) X(PCMPEQQ) X(PCMPEQW) X(PCMPGTB) X(PCMPGTD) X(PCMPGTQ) X(PCMPGTW)        \
    X(PEXTRB) X(PEXTRD) X(PEXTRQ) X(PEXTRW) X(PHADDD) X(PHADDSW) X(PHADDW) X(PHMINPOSUW)           \
    X(PHSUBD) X(PHSUBSW) X(PHSUBW) X(PINSRB) X(PINSRD) X(PINSRQ) X(PINSRW) X(PMADDUBSW)            \
    X(PMADDWD) X(PMAXSB) X(PMAXSD) X(PMAXSW) X(PMAXUB) X(PMAXUD) X(PMAXUW) X(PMINSB) X(PMINSD)     \
    X(PMINSW) X(PMINUB) X(PMINUD) X(PMINUW) X(PMOVMSKB) X(PMOVSXBD) X(PMOVSXBQ) X(PMOVSXBW)        \
    X(PMOVSXDQ) X(PMOVSXWD) X(PMOVSXWQ) X(PMOVZXBD) X(PMOVZXBQ) X(PMOVZXBW) X(PMOVZXDQ)            \
    X(PMOVZXWD) X(PMOVZXWQ) X(PMULDQ) X(PMULHRSW) X(PMULHUW) X(PMULHW) X(PMULLD) X(PMULLW)         \
    X(PMULUDQ) X(POR) X(PSADBW) X(PSHUFB) X(PSHUFD) X(PSHUFHW) X(PSHUFLW) X(PSHUFW) X(PSIGNB)      \
    X(PSIGND) X(PSIGNW) X(PSLLD) X(PSLLDQ) X(PSLLQ) X(PSLLW) X(PSRAD) X(PSRAW) X(PSRLD)            \
    X(PSRLDQ) X(PSRLQ) X(PSRLW) X(PSUBB) X(PSUBD) X(PSUBQ) X(PSUBSB) X(PSUBSW) X(PSUBUSB)          \
    X(PSUBUSW) X(PSUBW) X(PTEST) X(PUNPCKHBW) X(PUNPCKHDQ) X(PUNPCKHQDQ) X(PUNPCKHWD)              \
    X(PUNPCKLBW) X(PUNPCKLDQ) X(PUNPCKLQDQ) X(PUNPCKLWD) X(PXOR) X(RCPPS) X(RCPSS) X(ROUNDPD)      \
    X(ROUNDPS) X(ROUNDSD) X(ROUNDSS) X(RSQRTPS) X(RSQRTSS) X(SHA1MSG1) X(SHA1MSG2) X(SHA1NEXTE)    \
    X(SHA1RNDS4) X(SHA256MSG1) X(SHA256MSG2) X(SHA256RNDS2) X(SHUFPD) X(SHUFPS) X(SQRTPD)          \
    X(SQRTPS) X(SQRTSD) X(SQRTSS) X(SUBPD) X(SUBPS) X(SUBSD) X(SUBSS) X(UCOMISD) X(UCOMISS)        \
    X(UNPCKHPD) X(UNPCKHPS) X(UNPCKLPD) X(UNPCKLPS) X(XORPD) X(XORPS)

#define NATIVE_VEX(X)                                                                              \
    X(VADDPD) X(VADDPS) X(VADDSD) X(VADDSS) X(VADDSUBPD) X(VADDSUBPS) X(VAESDEC) X(VAESDECLAST)    \
    X(VAESENC) X(VAESENCLAST) X(VAESIMC) X(VAESKEYGENASSIST) X(VANDNPD) X(VANDNPS) X(VANDPD)       \
    X(VANDPS) X(VBLENDPD) X(VBLENDPS) X(VBLENDVPD) X(VBLENDVPS) X(VBROADCASTF128)                  \
    X(VBROADCASTI128) X(VBROADCASTSD) X(VBROADCASTSS) X(VCMPPD) X(VCMPPS) X(VCMPSD) X(VCMPSS)      \
    X(VCOMISD) X(VCOMISS) X(VCVTDQ2PD) X(VCVTDQ2PS) X(VCVTPD2DQ) X(VCVTPD2PS) X(VCVTPH2PS)         \
    X(VCVTPS2DQ) X(VCVTPS2PD) X(VCVTPS2PH) X(VCVTSD2SI) X(VCVTSD2SS) X(VCVTSI2SD) X(VCVTSI2SS)     \
    X(VCVTSS2SD) X(VCVTSS2SI) X(VCVTTPD2DQ) X(VCVTTPS2DQ) X(VCVTTSD2SI) X(VCVTTSS2SI) X(VDIVPD)    \
    X(VDIVPS) X(VDIVSD) X(VDIVSS) X(VDPPD) X(VDPPS) X(VEXTRACTF128) X(VEXTRACTI128)                \
    X(VEXTRACTPS) X(VFMADD132PD) X(VFMADD132PS) X(VFMADD132SD) X(VFMADD132SS) X(VFMADD213PD)       \
    X(VFMADD213PS) X(VFMADD213SD) X(VFMADD213SS) X(VFMADD231PD) X(VFMADD231PS) X(VFMADD231SD)      \
    X(VFMADD231SS) X(VFMADDSUB132PD) X(VFMADDSUB132PS) X(VFMADDSUB213PD) X(VFMADDSUB213PS)         \
    X(VFMADDSUB231PD) X(VFMADDSUB231PS) X(VFMSUB132PD) X(VFMSUB132PS) X(VFMSUB132SD)               \
    X(VFMSUB132SS) X(VFMSUB213PD) X(VFMSUB213PS) X(VFMSUB213SD) X(VFMSUB213SS) X(VFMSUB231PD)      \
    X(VFMSUB231PS) X(VFMSUB231SD) X(VFMSUB231SS) X(VFMSUBADD132PD) X(VFMSUBADD132PS)               \
    X(VFMSUBADD213PD) X(VFMSUBADD213PS) X(VFMSUBADD231PD) X(VFMSUBADD231PS) X(VFNMADD132PD)        \
    X(VFNMADD132PS) X(VFNMADD132SD) X(VFNMADD132SS) X(VFNMADD213PD) X(VFNMADD213PS)                \
    X(VFNMADD213SD) X(VFNMADD213SS) X(VFNMADD231PD) X(VFNMADD231PS) X(VFNMADD231SD)                \
    X(VFNMADD231SS) X(VFNMSUB132PD) X(VFNMSUB132PS) X(VFNMSUB132SD) X(VFNMSUB132SS)                \
    X(VFNMSUB213PD) X(VFNMSUB213PS) X(VFNMSUB213SD) X(VFNMSUB213SS) X(VFNMSUB231PD)                \
    X(VFNMSUB231PS) X(VFNMSUB231SD) X(VFNMSUB231SS) X(VGF2P8AFFINEINVQB) X(VGF2P8AFFINEQB)         \
    X(VGF2P8MULB) X(VHADDPD) X(VHADDPS) X(VHSUBPD) X(VHSUBPS) X(VINSERTF128) X(VINSERTI128)        \
    X(VINSERTPS) X(VLDDQU) X(VMAXPD) X(VMAXPS) X(VMAXSD) X(VMAXSS) X(VMINPD) X(VMINPS) X(VMINSD)   \
    X(VMINSS) X(VMOVAPD) X(VMOVAPS) X(VMOVD) X(VMOVDDUP) X(VMOVDQA) X(VMOVDQU) X(VMOVHLPS)         \
    X(VMOVHPD) X(VMOVHPS) X(VMOVLHPS) X(VMOVLPD) X(VMOVLPS) X(VMOVMSKPD) X(VMOVMSKPS)              \
    X(VMOVNTDQ) X(VMOVNTDQA) X(VMOVNTPD) X(VMOVNTPS) X(VMOVQ) X(VMOVSD) X(VMOVSHDUP)               \
    X(VMOVSLDUP) X(VMOVSS) X(VMOVUPD) X(VMOVUPS) X(VMPSADBW) X(VMULPD) X(VMULPS) X(VMULSD)         \
    X(VMULSS) X(VORPD) X(VORPS) X(VPABSB) X(VPABSD) X(VPABSW) X(VPACKSSDW) X(VPACKSSWB)            \
    X(VPACKUSDW) X(VPACKUSWB) X(VPADDB) X(VPADDD) X(VPADDQ) X(VPADDSB) X(VPADDSW) X(VPADDUSB)      \
    X(VPADDUSW) X(VPADDW) X(VPALIGNR) X(VPAND) X(VPANDN) X(VPAVGB) X(VPAVGW) X(VPBLENDD)           \
    X(VPBLENDVB) X(VPBLENDW) X(VPBROADCASTB) X(VPBROADCASTD) X(VPBROADCASTQ) X(VPBROADCASTW)       \
    X(VPCLMULQDQ) X(VPCMPEQB) X(VPCMPEQD) X(VPCMPEQQ) X(VPCMPEQW) X(VPCMPESTRI) X(VPCMPESTRM)      \
    X(VPCMPGTB) X(VPCMPGTD) X(VPCMPGTQ) X(VPCMPGTW) X(VPCMPISTRI) X(VPCMPISTRM) X(VPDPBUSD)        \
    X(VPDPBUSDS) X(VPDPWSSD) X(VPDPWSSDS) X(VPERM2F128) X(VPERM2I128) X(VPERMD) X(VPERMILPD)       \
    X(VPERMILPS) X(VPERMPD) X(VPERMPS) X(VPERMQ) X(VPEXTRB) X(VPEXTRD) X(VPEXTRQ) X(VPEXTRW)       \
    X(VPHADDD) X(VPHADDSW) X(VPHADDW) X(VPHMINPOSUW) X(VPHSUBD) X(VPHSUBSW) X(VPHSUBW)             \
    X(VPINSRB) X(VPINSRD) X(VPINSRQ) X(VPINSRW) X(VPMADDUBSW) X(VPMADDWD) X(VPMAXSB) X(VPMAXSD)    \
    X(VPMAXSW) X(VPMAXUB) X(VPMAXUD) X(VPMAXUW) X(VPMINSB) X(VPMINSD) X(VPMINSW) X(VPMINUB)        \
    X(VPMINUD) X(VPMINUW) X(VPMOVMSKB) X(VPMOVSXBD) X(VPMOVSXBQ) X(VPMOVSXBW) X(VPMOVSXDQ)         \
    X(VPMOVSXWD) X(VPMOVSXWQ) X(VPMOVZXBD) X(VPMOVZXBQ) X(VPMOVZXBW) X(VPMOVZXDQ) X(VPMOVZXWD)     \
    X(VPMOVZXWQ) X(VPMULDQ) X(VPMULHRSW) X(VPMULHUW) X(VPMULHW) X(VPMULLD) X(VPMULLW)              \
    X(VPMULUDQ) X(VPOR) X(VPSADBW) X(VPSHUFB) X(VPSHUFD) X(VPSHUFHW) X(VPSHUFLW) X(VPSIGNB)        \
    X(VPSIGND) X(VPSIGNW) X(VPSLLD) X(VPSLLDQ) X(VPSLLQ) X(VPSLLVD) X(VPSLLVQ) X(VPSLLW)           \
    X(VPSRAD) X(VPSRAVD) X(VPSRAW) X(VPSRLD) X(VPSRLDQ) X(VPSRLQ) X(VPSRLVD) X(VPSRLVQ)            \
    X(VPSRLW) X(VPSUBB) X(VPSUBD) X(VPSUBQ) X(VPSUBSB) X(VPSUBSW) X(VPSUBUSB) X(VPSUBUSW)          \
    X(VPSUBW) X(VPTEST) X(VPUNPCKHBW) X(VPUNPCKHDQ) X(VPUNPCKHQDQ) X(VPUNPCKHWD) X(VPUNPCKLBW)     \
    X(VPUNPCKLDQ) X(VPUNPCKLQDQ) X(VPUNPCKLWD) X(VPXOR) X(VRCPPS) X(VRCPSS) X(VROUNDPD)            \
    X(VROUNDPS) X(VROUNDSD) X(VROUNDSS) X(VRSQRTPS) X(VRSQRTSS) X(VSHUFPD) X(VSHUFPS) X(VSQRTPD)   \
    X(VSQRTPS) X(VSQRTSD) X(VSQRTSS) X(VSUBPD) X(VSUBPS) X(VSUBSD) X(VSUBSS) X(VTESTPD)            \
    X(VTESTPS) X(VUCOMISD) X(VUCOMISS) X(VUNPCKHPD) X(VUNPCKHPS) X(VUNPCKLPD) X(VUNPCKLPS)         \
    X(VXORPD) X(VXORPS)

#define NATIVE_OPMASK(X)                                                                           \
    X(KADDB) X(KADDD) X(KADDQ) X(KADDW) X(KANDB) X(KANDD) X(KANDNB) X(KANDND) X(KANDNQ) X(KANDNW)  \
    X(KANDQ) X(KANDW) X(KMOVB) X(KMOVD) X(KMOVQ) X(KMOVW) X(KNOTB) X(KNOTD) X(KNOTQ) X(KNOTW)      \
    X(KORB) X(KORD) X(KORQ) X(KORTESTB) X(KORTESTD) X(KORTESTQ) X(KORTESTW) X(KORW) X(KSHIFTLB)    \
    X(KSHIFTLD) X(KSHIFTLQ) X(KSHIFTLW) X(KSHIFTRB) X(KSHIFTRD) X(KSHIFTRQ) X(KSHIFTRW) X(KTESTB)  \
    X(KTESTD) X(KTESTQ) X(KTESTW) X(KUNPCKBW) X(KUNPCKDQ) X(KUNPCKWD) X(KXNORB) X(KXNORD)          \
    X(KXNORQ) X(KXNORW) X(KXORB) X(KXORD) X(KXORQ) X(KXORW)

#define NATIVE_UNALIGNED(X)                                                                        \
    X(LDDQU) X(MOVDQU) X(MOVUPD) X(MOVUPS) X(PCMPESTRI) X(PCMPESTRM) X(PCMPISTRI) X(PCMPISTRM)

#define NATIVE_MXCSR(X)                                                                            \
    X(CVTPD2PI) X(CVTPI2PD) X(CVTPI2PS) X(CVTPS2PI) X(CVTTPD2PI) X(CVTTPS2PI)

#define X87_DATA(X)                                                                                \
    X(F2XM1) X(FABS) X(FADD) X(FADDP) X(FBLD) X(FBSTP) X(FCHS) X(FCMOVB) X(FCMOVBE) X(FCMOVE)      \
    X(FCMOVNB) X(FCMOVNBE) X(FCMOVNE) X(FCMOVNU) X(FCMOVU) X(FCOM) X(FCOMI) X(FCOMIP) X(FCOMP)     \
    X(FCOMPP) X(FCOS) X(FDECSTP) X(FDIV) X(FDIVP) X(FDIVR) X(FDIVRP) X(FFREE) X(FFREEP) X(FIADD)   \
    X(FICOM) X(FICOMP) X(FIDIV) X(FIDIVR) X(FILD) X(FIMUL) X(FINCSTP) X(FIST) X(FISTP) X(FISTTP)   \
    X(FISUB) X(FISUBR) X(FLD) X(FLD1) X(FLDL2E) X(FLDL2T) X(FLDLG2) X(FLDLN2) X(FLDPI) X(FLDZ)     \
    X(FMUL) X(FMULP) X(FNOP) X(FPATAN) X(FPREM) X(FPREM1) X(FPTAN) X(FRNDINT) X(FSCALE) X(FSIN)    \
    X(FSINCOS) X(FSQRT) X(FST) X(FSTP) X(FSTPNCE) X(FSUB) X(FSUBP) X(FSUBR) X(FSUBRP) X(FTST)      \
    X(FUCOM) X(FUCOMI) X(FUCOMIP) X(FUCOMP) X(FUCOMPP) X(FXAM) X(FXCH) X(FXTRACT) X(FYL2X)         \
    X(FYL2XP1)
/* clang-format on */

static const struct fpu_rule rules[ZYDIS_MNEMONIC_MAX_VALUE + 1] = {
#define X(m) [ZYDIS_MNEMONIC_##m] = {.kind = FPU_NATIVE},
    NATIVE_LEGACY(X) NATIVE_VEX(X) NATIVE_OPMASK(X)
#undef X
#define X(m) [ZYDIS_MNEMONIC_##m] = {.kind = FPU_NATIVE_UNALIGNED},
        NATIVE_UNALIGNED(X)
#undef X
#define X(m) [ZYDIS_MNEMONIC_##m] = {.kind = FPU_NATIVE_MXCSR},
            NATIVE_MXCSR(X)
#undef X
#define X(m) [ZYDIS_MNEMONIC_##m] = {.kind = FPU_X87_DATA},
                X87_DATA(X)
#undef X
#define EMULATED(m, f) [ZYDIS_MNEMONIC_##m] = {.kind = FPU_EMULATED, .fn = f}
                    [ZYDIS_MNEMONIC_EMMS] = {.kind = FPU_NATIVE_MMX},
    [ZYDIS_MNEMONIC_FLDCW] = {.kind = FPU_X87_LOAD_CW},
    [ZYDIS_MNEMONIC_FNSTCW] = {.kind = FPU_X87_CONTROL},
    [ZYDIS_MNEMONIC_FNSTSW] = {.kind = FPU_X87_CONTROL},
    [ZYDIS_MNEMONIC_FNCLEX] = {.kind = FPU_X87_CONTROL},
    EMULATED(FDISI8087_NOP, fpu_op_x87_nop),
    EMULATED(FENI8087_NOP, fpu_op_x87_nop),
    EMULATED(FSETPM287_NOP, fpu_op_x87_nop),
    EMULATED(FWAIT, fpu_op_fwait),
    EMULATED(FNINIT, fpu_op_fninit),
    EMULATED(FNSTENV, fpu_op_fnstenv),
    EMULATED(FLDENV, fpu_op_fldenv),
    EMULATED(FNSAVE, fpu_op_fnsave),
    EMULATED(FRSTOR, fpu_op_frstor),
    EMULATED(FXSAVE, fpu_op_fxsave),
    EMULATED(FXSAVE64, fpu_op_fxsave),
    EMULATED(FXRSTOR, fpu_op_fxrstor),
    EMULATED(FXRSTOR64, fpu_op_fxrstor),
    EMULATED(LDMXCSR, fpu_op_ldmxcsr),
    EMULATED(VLDMXCSR, fpu_op_ldmxcsr),
    EMULATED(STMXCSR, fpu_op_stmxcsr),
    EMULATED(VSTMXCSR, fpu_op_stmxcsr),
    EMULATED(XSAVE, fpu_op_xsave),
    EMULATED(XSAVE64, fpu_op_xsave),
    EMULATED(XSAVEOPT, fpu_op_xsaveopt),
    EMULATED(XSAVEOPT64, fpu_op_xsaveopt),
    EMULATED(XSAVEC, fpu_op_xsavec),
    EMULATED(XSAVEC64, fpu_op_xsavec),
    EMULATED(XSAVES, fpu_op_xsaves),
    EMULATED(XSAVES64, fpu_op_xsaves),
    EMULATED(XRSTOR, fpu_op_xrstor),
    EMULATED(XRSTOR64, fpu_op_xrstor),
    EMULATED(XRSTORS, fpu_op_xrstors),
    EMULATED(XRSTORS64, fpu_op_xrstors),
    EMULATED(XGETBV, fpu_op_xgetbv),
    EMULATED(XSETBV, fpu_op_xsetbv),
    EMULATED(VZEROUPPER, fpu_op_vzeroupper),
    EMULATED(VZEROALL, fpu_op_vzeroall),
    EMULATED(MASKMOVQ, fpu_op_maskmovq),
    EMULATED(MASKMOVDQU, fpu_op_maskmovdqu),
    EMULATED(VMASKMOVDQU, fpu_op_maskmovdqu),
    EMULATED(VMASKMOVPS, fpu_op_vmaskmov),
    EMULATED(VMASKMOVPD, fpu_op_vmaskmov),
    EMULATED(VPMASKMOVD, fpu_op_vmaskmov),
    EMULATED(VPMASKMOVQ, fpu_op_vmaskmov),
    EMULATED(VGATHERDPD, fpu_op_gather),
    EMULATED(VGATHERDPS, fpu_op_gather),
    EMULATED(VGATHERQPD, fpu_op_gather),
    EMULATED(VGATHERQPS, fpu_op_gather),
    EMULATED(VPGATHERDD, fpu_op_gather),
    EMULATED(VPGATHERDQ, fpu_op_gather),
    EMULATED(VPGATHERQD, fpu_op_gather),
    EMULATED(VPGATHERQQ, fpu_op_gather),
};

/* What the guest's CPUID must show, by Zydis' instruction set; up to two bits. */
struct feature {
    uint8_t word[2], bit[2];
    uint8_t count;
};
#define F1(w, b)                                                                                   \
    {                                                                                              \
        .word = {w}, .bit = {b}, .count = 1                                                        \
    }
#define F2(w, b, w2, b2)                                                                           \
    {                                                                                              \
        .word = {w, w2}, .bit = {b, b2}, .count = 2                                                \
    }
/* The form of up to 256 bits needs AVX512VL. */
#define EVEX_SETS(name, w, b)                                                                      \
    [ZYDIS_ISA_SET_##name##_128] = F2(w, b, FEAT_7_0_EBX, 31),                                     \
    [ZYDIS_ISA_SET_##name##_256] = F2(w, b, FEAT_7_0_EBX, 31),                                     \
    [ZYDIS_ISA_SET_##name##_512] = F2(w, b, FEAT_7_0_EBX, 16)
static const struct feature features[ZYDIS_ISA_SET_MAX_VALUE + 1] = {
    [ZYDIS_ISA_SET_X87] = F1(FEAT_1_EDX, 0),
    [ZYDIS_ISA_SET_FCMOV] = F2(FEAT_1_EDX, 0, FEAT_1_EDX, 15),
    [ZYDIS_ISA_SET_PPRO] = F2(FEAT_1_EDX, 0, FEAT_1_EDX, 15), /* FCOMI and kin */
    [ZYDIS_ISA_SET_PENTIUMMMX] = F1(FEAT_1_EDX, 23),
    [ZYDIS_ISA_SET_FXSAVE] = F1(FEAT_1_EDX, 24),
    [ZYDIS_ISA_SET_FXSAVE64] = F1(FEAT_1_EDX, 24),
    [ZYDIS_ISA_SET_SSE] = F1(FEAT_1_EDX, 25),
    [ZYDIS_ISA_SET_SSEMXCSR] = F1(FEAT_1_EDX, 25),
    [ZYDIS_ISA_SET_SSE2] = F1(FEAT_1_EDX, 26),
    [ZYDIS_ISA_SET_SSE2MMX] = F1(FEAT_1_EDX, 26),
    [ZYDIS_ISA_SET_SSE3] = F1(FEAT_1_ECX, 0),
    [ZYDIS_ISA_SET_SSE3X87] = F1(FEAT_1_ECX, 0),
    [ZYDIS_ISA_SET_SSSE3] = F1(FEAT_1_ECX, 9),
    [ZYDIS_ISA_SET_SSSE3MMX] = F1(FEAT_1_ECX, 9),
    [ZYDIS_ISA_SET_SSE4] = F1(FEAT_1_ECX, 19),
    [ZYDIS_ISA_SET_SSE42] = F1(FEAT_1_ECX, 20),
    [ZYDIS_ISA_SET_SSE4A] = F1(FEAT_8000_0001_ECX, 6),
    [ZYDIS_ISA_SET_PCLMULQDQ] = F1(FEAT_1_ECX, 1),
    [ZYDIS_ISA_SET_AES] = F1(FEAT_1_ECX, 25),
    [ZYDIS_ISA_SET_SHA] = F1(FEAT_7_0_EBX, 29),
    [ZYDIS_ISA_SET_GFNI] = F1(FEAT_7_0_ECX, 8),
    [ZYDIS_ISA_SET_AVX] = F1(FEAT_1_ECX, 28),
    [ZYDIS_ISA_SET_AVXAES] = F2(FEAT_1_ECX, 28, FEAT_1_ECX, 25),
    [ZYDIS_ISA_SET_AVX_GFNI] = F2(FEAT_1_ECX, 28, FEAT_7_0_ECX, 8),
    [ZYDIS_ISA_SET_AVX_VNNI] = F2(FEAT_7_0_EBX, 5, FEAT_7_1_EAX, 4),
    [ZYDIS_ISA_SET_AVX2] = F1(FEAT_7_0_EBX, 5),
    [ZYDIS_ISA_SET_AVX2GATHER] = F1(FEAT_7_0_EBX, 5),
    [ZYDIS_ISA_SET_FMA] = F1(FEAT_1_ECX, 12),
    [ZYDIS_ISA_SET_F16C] = F1(FEAT_1_ECX, 29),
    [ZYDIS_ISA_SET_VAES] = F1(FEAT_7_0_ECX, 9),
    [ZYDIS_ISA_SET_VPCLMULQDQ] = F1(FEAT_7_0_ECX, 10),
    EVEX_SETS(AVX512F, FEAT_7_0_EBX, 16),
    EVEX_SETS(AVX512BW, FEAT_7_0_EBX, 30),
    EVEX_SETS(AVX512CD, FEAT_7_0_EBX, 28),
    EVEX_SETS(AVX512DQ, FEAT_7_0_EBX, 17),
    EVEX_SETS(AVX512_IFMA, FEAT_7_0_EBX, 21),
    EVEX_SETS(AVX512_VBMI, FEAT_7_0_ECX, 1),
    EVEX_SETS(AVX512_VBMI2, FEAT_7_0_ECX, 6),
    EVEX_SETS(AVX512_GFNI, FEAT_7_0_ECX, 8),
    EVEX_SETS(AVX512_VAES, FEAT_7_0_ECX, 9),
    EVEX_SETS(AVX512_VPCLMULQDQ, FEAT_7_0_ECX, 10),
    EVEX_SETS(AVX512_VNNI, FEAT_7_0_ECX, 11),
    EVEX_SETS(AVX512_BITALG, FEAT_7_0_ECX, 12),
    EVEX_SETS(AVX512_VPOPCNTDQ, FEAT_7_0_ECX, 14),
    EVEX_SETS(AVX512_BF16, FEAT_7_1_EAX, 5),
    [ZYDIS_ISA_SET_AVX512F_128N] = F1(FEAT_7_0_EBX, 16),
    [ZYDIS_ISA_SET_AVX512F_SCALAR] = F1(FEAT_7_0_EBX, 16),
    [ZYDIS_ISA_SET_AVX512F_KOP] = F1(FEAT_7_0_EBX, 16),
    [ZYDIS_ISA_SET_AVX512BW_128N] = F1(FEAT_7_0_EBX, 30),
    [ZYDIS_ISA_SET_AVX512BW_KOP] = F1(FEAT_7_0_EBX, 30),
    [ZYDIS_ISA_SET_AVX512DQ_128N] = F1(FEAT_7_0_EBX, 17),
    [ZYDIS_ISA_SET_AVX512DQ_SCALAR] = F1(FEAT_7_0_EBX, 17),
    [ZYDIS_ISA_SET_AVX512DQ_KOP] = F1(FEAT_7_0_EBX, 17),
    [ZYDIS_ISA_SET_XSAVE] = F1(FEAT_1_ECX, 26),
    [ZYDIS_ISA_SET_XSAVEOPT] = F1(FEAT_D_1_EAX, 0),
    [ZYDIS_ISA_SET_XSAVEC] = F1(FEAT_D_1_EAX, 1),
    [ZYDIS_ISA_SET_XSAVES] = F1(FEAT_D_1_EAX, 3),
};

const struct fpu_rule *fpu_rule_find(const ZydisDecodedInstruction *z)
{
    switch (z->encoding) {
    case ZYDIS_INSTRUCTION_ENCODING_EVEX:
        return fpu_rule_find_evex(z->mnemonic);
    case ZYDIS_INSTRUCTION_ENCODING_LEGACY:
    case ZYDIS_INSTRUCTION_ENCODING_VEX:
        return rules[z->mnemonic].kind ? &rules[z->mnemonic] : NULL;
    default:
        return NULL;
    }
}

/* Zydis calls the 128-bit form plain AVX. */
static bool is_vpclmul128(const ZydisDecodedInstruction *z)
{
    return z->mnemonic == ZYDIS_MNEMONIC_VPCLMULQDQ && z->meta.isa_set == ZYDIS_ISA_SET_AVX;
}

bool fpu_feature_ok(struct jit_cpu *c, const ZydisDecodedInstruction *z)
{
    const struct feature *f = &features[z->meta.isa_set];

    if (f->count == 0 || (is_vpclmul128(z) && !sys_has(c, FEAT_1_ECX, 1)))
        return false;
    for (unsigned k = 0; k < f->count; k++)
        if (!sys_has(c, f->word[k], f->bit[k]))
            return false;
    return true;
}

static op_fn *select_native(struct decode_ctx *d)
{
    const struct fpu_op *op;

    switch (fpu_stub_get(d, &op)) {
    case FPU_STUB_OK:
        return fpu_run_select(d, op);
    case FPU_STUB_FULL:
        return fpu_run_uncached;
    default:
        return NULL;
    }
}

/* Encodings that Zydis takes and the architecture does not. */
static bool bad_vex(const struct decode_ctx *d)
{
    const ZydisDecodedInstruction *z = &d->z;
    bool quad = z->encoding == ZYDIS_INSTRUCTION_ENCODING_VEX &&
                z->opcode_map == ZYDIS_OPCODE_MAP_0F3A && (z->opcode == 0x22 || z->opcode == 0x16);

    if (z->encoding == ZYDIS_INSTRUCTION_ENCODING_LEGACY)
        return false;
    if (d->mode == MODE_REAL || d->mode == MODE_VM86)
        return true;
    /* VPINSRQ and VPEXTRQ outside 64-bit mode; the EVEX forms ignore W there */
    return quad && d->mode != MODE_LONG64 && z->raw.vex.W;
}

op_fn *op_select_fpu(struct decode_ctx *d)
{
    const ZydisDecodedInstruction *z = &d->z;
    const struct fpu_rule *rule = fpu_rule_find(z);

    if (!rule)
        return NULL;
    if (!fpu_feature_ok(d->c, z) || (d->out->flags & INSN_LOCK) || bad_vex(d))
        return fpu_op_ud;
    if (rule->kind != FPU_EMULATED)
        return select_native(d);
    return fpu_prepare_emulated(d) ? rule->fn : fpu_op_ud;
}
