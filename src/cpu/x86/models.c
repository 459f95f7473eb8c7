/* models.c - the table of named CPU models.
 *
 * Names are those of libvirt's cpu_map and QEMU's -cpu, so that existing domain definitions mean
 * the same processor.  What no accelerator here can offer (monitor, vmx, svm, debug store) is left
 * out of the rows; what one may lack (AVX-512, TSX) stays in, and its absence is reported. */
#include "model.h"

#include "base/util.h"

#include <string.h>

#define BASE_586      "fpu de pse tsc msr mce cx8 mmx"
#define BASE_686      BASE_586 " pae apic sep mtrr pge mca cmov pat pse36 fxsr"
#define BASE_P4       BASE_686 " clflush sse sse2"
#define BASE_X86_64   BASE_P4 " syscall nx lm"
#define TSX           "hle rtm"
#define AVX512_SERVER "avx512f avx512dq avx512bw avx512cd avx512vl"

const struct model_row model_rows[] = {
    {"qemu64", .add = BASE_X86_64 " pni cx16 lahf-lm", .vendor = "amd",
     .brand = "Hanok Virtual CPU", .family = 15, .model = 107, .stepping = 1, .level = 0xd},
    {"qemu32", .add = BASE_P4 " pni", .vendor = "intel", .brand = "Hanok Virtual CPU", .family = 6,
     .model = 6, .stepping = 3, .level = 4},
    {"kvm64", .add = BASE_X86_64 " pni cx16", .vendor = "intel", .brand = "Common KVM processor",
     .family = 15, .model = 6, .stepping = 1, .level = 0xd},
    {"kvm32", .add = BASE_P4 " pni", .vendor = "intel", .brand = "Common 32-bit KVM processor",
     .family = 15, .model = 6, .stepping = 1, .level = 5},
    {"x86-64-v1", .add = BASE_X86_64, .vendor = "intel", .brand = "x86-64 level 1", .family = 15,
     .model = 6, .stepping = 1, .level = 0xd},
    {"x86-64-v2", .parent = "x86-64-v1", .add = "cx16 lahf-lm popcnt pni sse4.1 sse4.2 ssse3",
     .brand = "x86-64 level 2"},
    {"x86-64-v3", .parent = "x86-64-v2",
     .add = "avx avx2 bmi1 bmi2 f16c fma abm movbe xsave pclmulqdq aes xsaveopt",
     .brand = "x86-64 level 3"},
    {"x86-64-v4", .parent = "x86-64-v3", .add = AVX512_SERVER, .brand = "x86-64 level 4"},

    {"486", .add = "fpu pse", .vendor = "intel", .brand = "486", .family = 4, .model = 8,
     .level = 1},
    {"pentium", .add = BASE_586, .vendor = "intel", .brand = "Pentium", .family = 5, .model = 4,
     .stepping = 3, .level = 1},
    {"pentium2", .add = BASE_686, .vendor = "intel", .brand = "Pentium II", .family = 6, .model = 5,
     .stepping = 2, .level = 2},
    {"pentium3", .parent = "pentium2", .add = "sse", .brand = "Pentium III", .model = 7,
     .stepping = 3, .level = 3},
    {"coreduo", .add = BASE_P4 " vme ss pni nx", .vendor = "intel",
     .brand = "Genuine Intel(R) CPU T2600 @ 2.16GHz", .family = 6, .model = 14, .stepping = 8,
     .level = 10},
    {"n270", .parent = "coreduo", .add = "ssse3 lahf-lm movbe",
     .brand = "Intel(R) Atom(TM) CPU N270 @ 1.60GHz", .model = 28, .stepping = 2},
    {"athlon", .add = BASE_686 " vme mmxext 3dnow 3dnowext", .vendor = "amd", .brand = "AMD Athlon",
     .family = 6, .model = 2, .stepping = 3, .level = 1},
    {"phenom",
     .add = BASE_X86_64 " vme ht pni cx16 popcnt mmxext fxsr-opt pdpe1gb rdtscp "
                        "3dnow 3dnowext lahf-lm abm sse4a",
     .vendor = "amd", .brand = "AMD Phenom(tm) 9550 Quad-Core Processor", .family = 16, .model = 2,
     .stepping = 3, .level = 5},

    {"core2duo", .add = BASE_X86_64 " vme ss pni ssse3 cx16 lahf-lm", .vendor = "intel",
     .brand = "Intel(R) Core(TM)2 Duo CPU T7700 @ 2.40GHz", .family = 6, .model = 15,
     .stepping = 11, .level = 10},
    {"Conroe", .add = BASE_X86_64 " vme pni ssse3 lahf-lm cx16", .vendor = "intel",
     .brand = "Intel Celeron_4x0 (Conroe/Merom Class Core 2)", .family = 6, .model = 15,
     .stepping = 3, .level = 10},
    {"Penryn", .parent = "Conroe", .add = "sse4.1", .model = 23,
     .brand = "Intel Core 2 Duo P9xxx (Penryn Class Core 2)"},
    {"Nehalem", .parent = "Penryn", .add = "popcnt sse4.2", .model = 26, .level = 11,
     .brand = "Intel Core i7 9xx (Nehalem Class Core i7)"},
    {"Nehalem-IBRS", .parent = "Nehalem", .add = "spec-ctrl"},
    {"Westmere", .parent = "Nehalem", .add = "aes pclmulqdq arat", .model = 44, .stepping = 1,
     .brand = "Westmere E56xx/L56xx/X56xx (Nehalem-C)"},
    {"Westmere-IBRS", .parent = "Westmere", .add = "spec-ctrl"},
    {"SandyBridge", .parent = "Westmere", .add = "avx xsave tsc-deadline x2apic rdtscp xsaveopt",
     .model = 42, .stepping = 1, .level = 0xd, .brand = "Intel Xeon E312xx (Sandy Bridge)"},
    {"SandyBridge-IBRS", .parent = "SandyBridge", .add = "spec-ctrl"},
    {"IvyBridge", .parent = "SandyBridge", .add = "f16c rdrand fsgsbase smep erms", .model = 58,
     .stepping = 9, .brand = "Intel Xeon E3-12xx v2 (Ivy Bridge)"},
    {"IvyBridge-IBRS", .parent = "IvyBridge", .add = "spec-ctrl"},
    {"Haswell-noTSX", .parent = "IvyBridge", .add = "fma pcid movbe abm bmi1 avx2 bmi2 invpcid",
     .model = 60, .stepping = 1, .brand = "Intel Core Processor (Haswell, no TSX)"},
    {"Haswell", .parent = "Haswell-noTSX", .add = TSX, .stepping = 4,
     .brand = "Intel Core Processor (Haswell)"},
    {"Haswell-IBRS", .parent = "Haswell", .add = "spec-ctrl"},
    {"Haswell-noTSX-IBRS", .parent = "Haswell-noTSX", .add = "spec-ctrl"},
    {"Broadwell-noTSX", .parent = "Haswell-noTSX", .add = "rdseed adx smap 3dnowprefetch",
     .model = 61, .stepping = 2, .brand = "Intel Core Processor (Broadwell, no TSX)"},
    {"Broadwell", .parent = "Broadwell-noTSX", .add = TSX,
     .brand = "Intel Core Processor (Broadwell)"},
    {"Broadwell-IBRS", .parent = "Broadwell", .add = "spec-ctrl"},
    {"Broadwell-noTSX-IBRS", .parent = "Broadwell-noTSX", .add = "spec-ctrl"},
    {"Skylake-Client", .parent = "Broadwell", .add = "xsavec xgetbv1", .model = 94, .stepping = 3,
     .brand = "Intel Core Processor (Skylake)"},
    {"Skylake-Client-IBRS", .parent = "Skylake-Client", .add = "spec-ctrl"},
    {"Skylake-Client-noTSX-IBRS", .parent = "Skylake-Client-IBRS", .remove = TSX},
    {"Skylake-Server", .parent = "Skylake-Client", .add = "clwb pdpe1gb clflushopt " AVX512_SERVER,
     .model = 85, .stepping = 4, .brand = "Intel Xeon Processor (Skylake)"},
    {"Skylake-Server-IBRS", .parent = "Skylake-Server", .add = "spec-ctrl"},
    {"Skylake-Server-noTSX-IBRS", .parent = "Skylake-Server-IBRS", .remove = TSX},
    {"Cascadelake-Server", .parent = "Skylake-Server", .add = "avx512vnni spec-ctrl ssbd",
     .stepping = 6, .brand = "Intel Xeon Processor (Cascadelake)"},
    {"Cascadelake-Server-noTSX", .parent = "Cascadelake-Server", .add = "arch-capabilities",
     .remove = TSX},
    {"Cooperlake", .parent = "Cascadelake-Server", .add = "stibp arch-capabilities avx512-bf16",
     .stepping = 10, .brand = "Intel Xeon Processor (Cooperlake)"},
    {"Icelake-Client", .parent = "Skylake-Client",
     .add = "avx512vbmi umip avx512vbmi2 gfni vaes vpclmulqdq avx512vnni avx512bitalg "
            "avx512-vpopcntdq spec-ctrl ssbd wbnoinvd avx512f avx512dq avx512bw avx512cd avx512vl",
     .model = 126, .stepping = 0, .brand = "Intel Core Processor (Icelake)"},
    {"Icelake-Server", .parent = "Cascadelake-Server",
     .add = "avx512vbmi umip avx512vbmi2 gfni vaes vpclmulqdq avx512bitalg avx512-vpopcntdq "
            "wbnoinvd la57 pku",
     .model = 134, .stepping = 0, .brand = "Intel Xeon Processor (Icelake)"},
    {"Icelake-Server-noTSX", .parent = "Icelake-Server", .add = "arch-capabilities", .remove = TSX},
    {"SapphireRapids", .parent = "Icelake-Server",
     .add = "sha-ni avx512ifma avx512-bf16 avx-vnni fsrm rdpid serialize arch-capabilities "
            "bus-lock-detect fzrm fsrs fsrc avx512-fp16 tsx-ldtrk",
     .model = 143, .stepping = 4, .brand = "Intel Xeon Processor (SapphireRapids)"},
    {"Denverton", .parent = "Westmere",
     .add = "tsc-deadline movbe xsave rdrand 3dnowprefetch rdtscp pdpe1gb fsgsbase smep erms "
            "rdseed smap clflushopt sha-ni spec-ctrl xsaveopt xsavec xgetbv1 arch-capabilities",
     .model = 95, .stepping = 1, .level = 21, .brand = "Intel Atom Processor (Denverton)"},

    {"Opteron_G1", .add = BASE_X86_64 " vme pni", .vendor = "amd",
     .brand = "AMD Opteron 240 (Gen 1 Class Opteron)", .family = 15, .model = 6, .stepping = 1,
     .level = 5},
    {"Opteron_G2", .parent = "Opteron_G1", .add = "cx16 lahf-lm rdtscp",
     .brand = "AMD Opteron 22xx (Gen 2 Class Opteron)"},
    {"Opteron_G3", .parent = "Opteron_G2", .add = "popcnt abm sse4a misalignsse", .family = 16,
     .model = 2, .stepping = 3, .brand = "AMD Opteron 23xx (Gen 3 Class Opteron)"},
    {"Opteron_G4", .parent = "Opteron_G3",
     .add = "avx xsave aes sse4.2 sse4.1 ssse3 pclmulqdq pdpe1gb fma4 xop 3dnowprefetch",
     .family = 21, .model = 1, .stepping = 2, .level = 0xd, .brand = "AMD Opteron 62xx class CPU"},
    {"Opteron_G5", .parent = "Opteron_G4", .add = "f16c fma tbm", .model = 2,
     .brand = "AMD Opteron 63xx class CPU"},
    {"EPYC",
     .add = BASE_X86_64 " vme pni pclmulqdq ssse3 fma cx16 sse4.1 sse4.2 movbe popcnt aes "
                        "xsave avx f16c rdrand mmxext fxsr-opt pdpe1gb rdtscp lahf-lm "
                        "cr8legacy abm sse4a misalignsse 3dnowprefetch osvw topoext "
                        "fsgsbase bmi1 avx2 smep bmi2 rdseed adx smap clflushopt sha-ni "
                        "xsaveopt xsavec xgetbv1 arat",
     .vendor = "amd", .brand = "AMD EPYC Processor", .family = 23, .model = 1, .stepping = 2,
     .level = 0xd},
    {"EPYC-IBPB", .parent = "EPYC", .add = "ibpb", .brand = "AMD EPYC Processor (with IBPB)"},
    {"EPYC-Rome", .parent = "EPYC-IBPB",
     .add = "umip rdpid clwb wbnoinvd clzero xsaveerptr amd-stibp", .model = 49, .stepping = 0,
     .brand = "AMD EPYC-Rome Processor"},
    {"EPYC-Milan", .parent = "EPYC-Rome", .add = "pcid invpcid erms fsrm ibrs amd-ssbd pku",
     .family = 25, .model = 1, .stepping = 1, .brand = "AMD EPYC-Milan Processor"},
    {"EPYC-Genoa", .parent = "EPYC-Milan",
     .add = AVX512_SERVER " avx512ifma avx512vbmi avx512vbmi2 gfni vaes vpclmulqdq avx512vnni "
                          "avx512bitalg avx512-vpopcntdq avx512-bf16 la57",
     .model = 17, .stepping = 0, .brand = "AMD EPYC-Genoa Processor"},
    {"Dhyana", .parent = "EPYC-IBPB", .vendor = "hygon", .remove = "sha-ni", .family = 24,
     .model = 0, .stepping = 1, .brand = "Hygon Dhyana Processor"},
};
const unsigned model_row_count = ARRAY_SIZE(model_rows);

const struct model_row *model_row_find(const char *name)
{
    for (unsigned i = 0; i < model_row_count; i++)
        if (strcmp(model_rows[i].name, name) == 0)
            return &model_rows[i];
    return NULL;
}
