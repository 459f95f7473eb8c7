/* One vcpu's state: reset values, INIT, the stream, and what a hostile stream cannot pass. */
#include "base/error.h"
#include "base/state.h"
#include "base/util.h"
#include "cpu/x86_state.h"

#include <glib.h>

#define SIGNATURE 0x306c1

static void test_reset_values(void)
{
    struct x86_state s;
    g_autoptr(GError) err = NULL;
    x86_state_reset(&s, true, SIGNATURE);
    g_assert_cmphex(s.seg[SEG_CS].base + s.rip, ==, 0xfffffff0);
    g_assert_cmphex(s.cr0, ==, 0x60000010);
    g_assert_cmphex(s.gpr[R_RDX], ==, SIGNATURE);
    g_assert_cmphex(s.rflags, ==, 2);
    g_assert_cmphex(s.dr[6], ==, 0xffff0ff0);
    g_assert_cmphex(le32_get(s.xsave + 24), ==, 0x1f80);
    g_assert_cmphex(s.apic_base, ==, 0xfee00900);
    g_assert_cmpuint(s.mp_state, ==, MP_RUNNABLE);
    g_assert_true(x86_state_validate(&s, &err));
    g_assert_no_error(err);
    x86_state_reset(&s, false, SIGNATURE);
    g_assert_cmphex(s.apic_base, ==, 0xfee00800);
    g_assert_cmpuint(s.mp_state, ==, MP_WAIT_SIPI);
}

static void test_init_keeps_what_survives_it(void)
{
    struct x86_state s;
    x86_state_reset(&s, false, SIGNATURE);
    s.cr0 = 0x80000011; /* caches on */
    s.efer = 0x500;
    s.cr4 = 0x20;
    s.gpr[R_RAX] = 1;
    s.star = 0x1234;
    s.tsc = 99;
    s.mtrr_def_type = 0x806;
    s.xsave[160] = 0x77;
    s.kvm_steal_time = 0x1001;
    x86_state_init_signal(&s, false, SIGNATURE);
    g_assert_cmphex(s.cr0, ==, 0x10);
    g_assert_cmphex(s.efer | s.cr4 | s.gpr[R_RAX] | s.kvm_steal_time, ==, 0);
    g_assert_cmphex(s.star, ==, 0x1234);
    g_assert_cmpuint(s.tsc, ==, 99);
    g_assert_cmphex(s.mtrr_def_type, ==, 0x806);
    g_assert_cmphex(s.xsave[160], ==, 0x77);
    g_assert_cmpuint(s.mp_state, ==, MP_WAIT_SIPI);
}

/* A plausible state of a running 64-bit kernel. */
static void running(struct x86_state *s)
{
    x86_state_reset(s, true, SIGNATURE);
    for (unsigned i = 0; i < 16; i++)
        s->gpr[i] = 0x0101010101010101ull * i;
    s->cr0 = 0x80050033;
    s->cr4 = 0x6f0;
    s->efer = 0xd01;
    s->rip = 0xffffffff81000000;
    s->seg[SEG_CS] = (struct x86_seg){.limit = UINT32_MAX, .attr = 0xa09b, .sel = 0x10};
    s->seg[SEG_GS].base = 0xffff888000000000;
    s->interrupt_injected = true;
    s->interrupt_vector = 0xec;
    s->lapic[0x20] = 9;
    s->xsave[200] = 0xab;
    s->xcr0 = 7;
}

static bool round_trip(struct x86_state *in, struct x86_state *out, GError **err)
{
    struct state_writer *w = state_writer_new();
    state_save(w, &x86_state_desc, "0", in);
    size_t len;
    const uint8_t *data = state_writer_data(w, &len);
    struct state_reader *r = state_reader_new(data, len, err);
    bool ok = r && state_load(r, &x86_state_desc, "0", out, err) && state_reader_finish(r, err);
    state_reader_free(r);
    state_writer_free(w);
    return ok;
}

static void test_stream_round_trip(void)
{
    g_autoptr(GError) err = NULL;
    struct x86_state in, out;
    running(&in);
    memset(&out, 0, sizeof(out));
    g_assert_true(round_trip(&in, &out, &err));
    g_assert_no_error(err);
    g_autofree char *a = x86_state_format(&in), *b = x86_state_format(&out);
    g_assert_cmpstr(a, ==, b);
    g_assert_cmpmem(in.gpr, sizeof(in.gpr), out.gpr, sizeof(out.gpr));
    g_assert_cmpmem(in.lapic, sizeof(in.lapic), out.lapic, sizeof(out.lapic));
    g_assert_cmpmem(in.xsave, sizeof(in.xsave), out.xsave, sizeof(out.xsave));
    g_assert_cmpuint(out.interrupt_vector, ==, 0xec);
}

/* Every field of the struct must be in the table: fill with a pattern, load, compare it all. */
static void test_stream_has_every_field(void)
{
    struct x86_state in, out;
    running(&in);
    uint64_t *msrs[] = {&in.star,
                        &in.tsc_aux,
                        &in.misc_enable,
                        &in.spec_ctrl,
                        &in.xss,
                        &in.mcg_status,
                        &in.mcg_ctl,
                        &in.smbase,
                        &in.debugctl,
                        &in.kvm_wall_clock,
                        &in.kvm_system_time,
                        &in.tsc,
                        &in.kvm_steal_time,
                        &in.kvm_async_pf,
                        &in.kvm_pv_eoi,
                        &in.tsc_adjust,
                        &in.kvm_poll_control,
                        &in.kvmclock_ns,
                        &in.feature_control,
                        &in.sfmask,
                        &in.tsc_deadline,
                        &in.sysenter_cs,
                        &in.cr2,
                        &in.cr3};
    for (size_t i = 0; i < ARRAY_SIZE(msrs); i++)
        *msrs[i] = 0x1000 + i;
    in.mce_bank[127] = 5;
    in.mtrr_fixed[10] = 0x0606060606060606;
    in.mtrr_base[7] = 6;
    in.mtrr_mask[7] = 0x800;
    in.exception_pending = in.exception_has_error = in.nmi_pending = in.nmi_masked = true;
    in.smi_pending = in.in_smm = in.kvm_unhalted = true;
    in.exception_vector = 14;
    in.exception_error = 2;
    in.int_shadow = 1;
    in.mp_state = MP_HALTED;
    in.sipi_vector = 0x9a;
    memset(&out, 0, sizeof(out));
    g_assert_true(round_trip(&in, &out, NULL));
    for (size_t i = 0; i < ARRAY_SIZE(msrs); i++)
        g_assert_cmphex(*(uint64_t *)((uint8_t *)&out + ((uint8_t *)msrs[i] - (uint8_t *)&in)), ==,
                        0x1000 + i);
    g_assert_cmphex(out.mce_bank[127], ==, 5);
    g_assert_cmphex(out.mtrr_mask[7], ==, 0x800);
    g_assert_true(out.exception_pending && out.exception_has_error && out.nmi_pending &&
                  out.nmi_masked && out.smi_pending && out.in_smm && out.kvm_unhalted);
    g_assert_cmpuint(out.exception_vector, ==, 14);
    g_assert_cmpuint(out.exception_error, ==, 2);
    g_assert_cmpuint(out.int_shadow, ==, 1);
    g_assert_cmpuint(out.mp_state, ==, MP_HALTED);
    g_assert_cmphex(out.sipi_vector, ==, 0x9a);
}

static void test_contradictions_are_refused(void)
{
    struct x86_state s;
#define REFUSED(change)                                                                            \
    do {                                                                                           \
        g_autoptr(GError) err = NULL;                                                              \
        running(&s);                                                                               \
        change;                                                                                    \
        g_assert_false(x86_state_validate(&s, &err));                                              \
        g_assert_error(err, HANOK_ERROR, HANOK_ERROR_CORRUPT);                                     \
    } while (0)
    REFUSED(s.rflags = 0);
    REFUSED(s.rflags = BIT64(40) | 2);
    REFUSED(s.cr0 = 0x80000000);
    REFUSED(s.cr0 &= ~BIT64(31)); /* LMA without paging */
    REFUSED(s.efer = 0x100);      /* LME and paging, not LMA */
    REFUSED(s.cr4 = 0);
    REFUSED(s.cr8 = 16);
    REFUSED(s.seg[SEG_CS].attr = 0xe09b);
    REFUSED(s.seg[SEG_DS].attr = 0x80000000);
    REFUSED(s.seg[SEG_FS].base = 0x8000000000000000);
    REFUSED(s.gdt.base = 0x8000000000000000);
    REFUSED(s.pat = 0x0202);
    REFUSED(s.mtrr_def_type = 0x802);
    REFUSED(s.mtrr_fixed[3] = 2);
    REFUSED(s.xcr0 = 6);
    REFUSED(s.xcr0 = 5);
    REFUSED(s.xcr0 = 0x67);                 /* AVX-512 in part */
    REFUSED(s.xcr0 = 0xe3);                 /* and without AVX */
    REFUSED(le64_put(s.xsave + 512, 0x18)); /* MPX */
    REFUSED(le64_put(s.xsave + 520, 1));
    REFUSED(le32_put(s.xsave + 24, 0x10000));
    REFUSED(s.mp_state = 4);
    REFUSED(s.exception_vector = 32);
    REFUSED(s.apic_base = 0xfee00400);
    REFUSED(s.dr[7] = BIT64(32));
#undef REFUSED
}

/* A stream from a host whose components stand elsewhere. */
static void test_xsave_components_move_to_their_places(void)
{
    static const uint16_t elsewhere[XSAVE_PARTS] = {3840, 3776, 3264, 2240, 2232};
    g_autoptr(GError) err = NULL;
    struct x86_state s;

    running(&s);
    for (unsigned k = 0; k < XSAVE_PARTS; k++) {
        s.xsave_at[k] = elsewhere[k];
        memset(s.xsave + elsewhere[k], (int)k + 1, xsave_parts()[k].size);
    }
    g_assert_true(x86_state_desc.post_load(&s, 2, &err));
    g_assert_no_error(err);
    for (unsigned k = 0; k < XSAVE_PARTS; k++)
        for (unsigned b = 0; b < xsave_parts()[k].size; b++)
            g_assert_cmpuint(s.xsave[xsave_parts()[k].offset + b], ==, k + 1);
    g_assert_cmphex(s.xsave[200], ==, 0xab);
    s.xsave_at[XSAVE_PART_HI16] = 4096 - 1023;
    g_assert_false(x86_state_desc.post_load(&s, 2, &err));
    g_assert_error(err, HANOK_ERROR, HANOK_ERROR_CORRUPT);
    g_clear_error(&err);
    s.xsave_at[XSAVE_PART_HI16] = 512;
    g_assert_false(x86_state_desc.post_load(&s, 2, &err));
    g_clear_error(&err);
    g_assert_true(x86_state_desc.post_load(&s, 1, &err)); /* did not say: taken as they are */
    g_assert_no_error(err);
}

static void test_text_shows_what_matters(void)
{
    struct x86_state s;
    running(&s);
    g_autofree char *text = x86_state_format(&s);
    g_assert_nonnull(strstr(text, "RIP=ffffffff81000000"));
    g_assert_nonnull(strstr(text, "CR0=80050033"));
    g_assert_nonnull(strstr(text, "code64"));
    g_assert_nonnull(strstr(text, "pending interrupt ec"));
    g_assert_nonnull(strstr(text, "XMM02=00000000000000ab"));
}

static void test_text_shows_avx512_once_enabled(void)
{
    const struct xsave_part *p = xsave_parts();
    struct x86_state s;
    running(&s);
    s.xcr0 = 0xe7;
    le64_put(s.xsave + 160 + 16 * 3, 0x11);
    le64_put(s.xsave + p[XSAVE_PART_AVX].offset + 16 * 3 + 8, 0x22);
    le64_put(s.xsave + p[XSAVE_PART_ZMM_HI].offset + 32 * 3 + 24, 0x33);
    le64_put(s.xsave + p[XSAVE_PART_HI16].offset + 64 * 15 + 56, 0x44);
    le64_put(s.xsave + p[XSAVE_PART_OPMASK].offset + 8 * 5, 0x55);
    g_autofree char *text = x86_state_format(&s);
    g_assert_nonnull(strstr(text, "Opmask05=0000000000000055"));
    g_assert_nonnull(strstr(text, "ZMM03=0000000000000033"));
    g_assert_nonnull(
        strstr(text, "0000000000000022000000000000000000000000000000000000000000000011"));
    g_assert_nonnull(strstr(text, "ZMM31=0000000000000044"));
    g_assert_null(strstr(text, "\nXMM"));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/x86_state/reset", test_reset_values);
    g_test_add_func("/x86_state/init", test_init_keeps_what_survives_it);
    g_test_add_func("/x86_state/round_trip", test_stream_round_trip);
    g_test_add_func("/x86_state/every_field", test_stream_has_every_field);
    g_test_add_func("/x86_state/contradictions", test_contradictions_are_refused);
    g_test_add_func("/x86_state/components", test_xsave_components_move_to_their_places);
    g_test_add_func("/x86_state/text", test_text_shows_what_matters);
    g_test_add_func("/x86_state/avx512-text", test_text_shows_avx512_once_enabled);
    return g_test_run();
}
