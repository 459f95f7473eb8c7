/* xsave_layout.c - the XSAVE components' table, from the host's CPUID. */
#include "cpu/xsave_layout.h"

#include "base/util.h"

#include <assert.h>
#include <cpuid.h>
#include <pthread.h>

static struct xsave_part parts[XSAVE_PARTS] = {
    [XSAVE_PART_AVX] = {2, 256, 576},     [XSAVE_PART_OPMASK] = {5, 64, 1088},
    [XSAVE_PART_ZMM_HI] = {6, 512, 1152}, [XSAVE_PART_HI16] = {7, 1024, 1664},
    [XSAVE_PART_PKRU] = {9, 8, 2688},
};
static pthread_once_t parts_once = PTHREAD_ONCE_INIT;

static void parts_make(void)
{
    for (unsigned i = 0; i < XSAVE_PARTS; i++) {
        uint32_t a = 0, b = 0, c = 0, d = 0;

        if (!__get_cpuid_count(0xd, parts[i].bit, &a, &b, &c, &d) || !a)
            continue;
        assert(a == parts[i].size && b >= XSAVE_PARTS_AT && b + a <= XSAVE_AREA_BYTES);
        parts[i].offset = (uint16_t)b;
    }
}

const struct xsave_part *xsave_parts(void)
{
    pthread_once(&parts_once, parts_make);
    return parts;
}

uint64_t xsave_host_xcr0(void)
{
    uint32_t a = 0, b = 0, c = 0, d = 0, high = 0;

    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & BIT(27)))
        return 3;
    __asm__("xgetbv" : "=a"(a), "=d"(high) : "c"(0));
    return (uint64_t)high << 32 | a;
}

bool xsave_xcr0_valid(uint64_t xcr0, uint64_t offered)
{
    uint64_t avx512 = xcr0 & XSAVE_AVX512;

    if ((xcr0 & ~offered) || !(xcr0 & 1) || ((xcr0 & 4) && !(xcr0 & 2)))
        return false;
    return !avx512 || (avx512 == XSAVE_AVX512 && (xcr0 & 4));
}
