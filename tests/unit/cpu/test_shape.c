/* test_shape.c - decoding from templates gives what Zydis and the selectors give, bit for bit.
 *
 * Random encodings over all maps, prefixes and modes; each is decoded again with other bytes in
 * random places, so that most decodes find a template.  --cases N for more, --seed S (0: by the
 * clock). */
#include "flat.h"

#include "shape.h"

#include <glib.h>

#define CASES_FAST 60000
#define VARIANTS   6 /* of each encoding */

static struct {
    gint64 cases, seed;
} options = {CASES_FAST, 1};

static unsigned below(GRand *r, unsigned n)
{
    return (unsigned)g_rand_int_range(r, 0, (gint32)n);
}

static bool percent(GRand *r, unsigned p)
{
    return below(r, 100) < p;
}

/* ---- encodings ---- */

struct draw {
    uint8_t b[32];
    unsigned n;
};

static void put(struct draw *d, unsigned byte)
{
    d->b[d->n++] = (uint8_t)byte;
}

static void put_prefixes(GRand *r, struct draw *d)
{
    static const uint8_t all[] = {0x66, 0x67, 0xf0, 0xf2, 0xf3, 0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65};

    while (d->n < 14 && percent(r, 35))
        put(d, all[below(r, sizeof(all))]);
}

static void put_legacy(GRand *r, struct draw *d)
{
    put_prefixes(r, d);
    while (percent(r, 40) && d->n < 14)
        put(d, 0x40 | below(r, 16));
    if (percent(r, 50)) {
        put(d, 0x0f);
        if (percent(r, 30))
            put(d, percent(r, 50) ? 0x38 : 0x3a);
    }
}

/* VEX, XOP and EVEX, most of them with a map that exists. */
static void put_extended(GRand *r, struct draw *d)
{
    static const uint8_t escapes[] = {0xc4, 0xc4, 0xc4, 0xc5, 0xc5, 0x62, 0x62, 0x8f};
    uint8_t escape = escapes[below(r, sizeof(escapes))];
    unsigned map = percent(r, 90) ? 1 + below(r, 3) : below(r, 32);

    if (percent(r, 5))
        put_prefixes(r, d);
    put(d, escape);
    if (escape == 0x8f)
        put(d, below(r, 8) << 5 | (8 + below(r, 3)));
    else if (escape != 0xc5)
        put(d, (percent(r, 50) ? 0xe0 : below(r, 8) << 5) | map);
    if (escape == 0x62)
        put(d, below(r, 256) | 4);
    put(d, percent(r, 50) ? below(r, 256) | 0x78 : below(r, 256));
}

static void draw_insn(GRand *r, struct draw *d)
{
    d->n = 0;
    if (percent(r, 30))
        put_extended(r, d);
    else
        put_legacy(r, d);
    while (d->n < sizeof(d->b))
        put(d, percent(r, 15) ? 0xff * below(r, 2) : below(r, 256));
}

static uint32_t draw_mode(GRand *r, struct jit_cpu *c)
{
    static const uint8_t modes[] = {MODE_LONG64, MODE_LONG64, MODE_LONG64, MODE_COMPAT,
                                    MODE_PROT32, MODE_PROT16, MODE_REAL,   MODE_VM86};
    uint32_t key = modes[below(r, sizeof(modes))];

    c->mode = (uint8_t)key;
    if (key != MODE_LONG64)
        key |= below(r, 16) * KEY_CS32;
    if (key == MODE_PROT32)
        key |= KEY_CS32;
    return c->mode_key = key;
}

/* ---- comparing ---- */

struct outcome {
    enum decode_result result;
    bool ends;
    struct insn insn;
};

static struct outcome decode(struct jit_cpu *c, struct shape_memo *m, const struct fetch *f)
{
    struct outcome o = {.ends = false};

    c->shapes = m;
    o.result = decode_insn(c, f, &o.insn, &o.ends);
    return o;
}

static void compare(struct jit_cpu *c, struct shape_memo *m, const uint8_t *bytes, unsigned avail)
{
    struct fetch f = {.bytes = bytes, .avail = avail};
    struct outcome want = decode(c, NULL, &f), got = decode(c, m, &f);

    g_assert_cmpint(got.result, ==, want.result);
    if (want.result != DECODE_OK)
        return;
    if (got.ends == want.ends && memcmp(&got.insn, &want.insn, sizeof(want.insn)) == 0)
        return;
    g_printerr("# mode_key %#x:", c->mode_key);
    for (unsigned k = 0; k < 15; k++)
        g_printerr(" %02x", bytes[k]);
    g_printerr("\n");
    g_assert_cmpmem(&got.insn, sizeof(got.insn), &want.insn, sizeof(want.insn));
    g_assert_cmpint(got.ends, ==, want.ends);
}

static void test_random_encodings_decode_the_same_from_templates(void)
{
    struct flat *f = flat_new();
    struct jit_cpu *c = flat_cpu(f);
    struct shape_memo *own = c->shapes, *m = shape_memo_new();
    uint32_t seed = (uint32_t)(options.seed ? options.seed : g_get_real_time());
    g_autoptr(GRand) r = g_rand_new_with_seed(seed);

    g_test_message("seed %u", seed);
    for (gint64 k = 0; k < options.cases; k++) {
        struct draw d;

        draw_mode(r, c);
        draw_insn(r, &d);
        compare(c, m, d.b, 16);
        for (unsigned v = 0; v < VARIANTS; v++) {
            /* Late bytes are disp and imm more often than not. */
            unsigned first = percent(r, 80) ? 2 + below(r, 8) : below(r, 4);

            for (unsigned at = first; at < 15; at++)
                d.b[at] = (uint8_t)below(r, 256);
            compare(c, m, d.b, percent(r, 90) ? 16 : 1 + below(r, 16));
        }
    }
    struct shape_stats s = shape_memo_stats(m);
    g_test_message("%" G_GUINT64_FORMAT " hits, %" G_GUINT64_FORMAT " misses, %u templates", s.hits,
                   s.misses, s.templates);
    g_assert_cmpuint(s.hits, >, s.misses / 8);
    shape_memo_free(m);
    c->shapes = own;
    flat_free(f);
}

/* ---- single shapes ---- */

struct pair {
    const char *name;
    uint32_t mode_key;
    uint8_t first[15], second[15];
    bool shared; /* the second finds the first's template */
};

static const struct pair pairs[] = {
    {"disp32", MODE_LONG64, {0x8b, 0x83, 1, 2, 3, 4}, {0x8b, 0x83, 5, 6, 7, 0x88}, true},
    {"rip-relative", MODE_LONG64, {0x48, 0x8d, 0x05, 1}, {0x48, 0x8d, 0x05, 0xff, 0xff, 9}, true},
    {"imm8 sign", MODE_LONG64, {0x83, 0xc0, 1}, {0x83, 0xc0, 0x80}, true},
    {"imm64", MODE_LONG64, {0x48, 0xb8, 1}, {0x48, 0xb8, 2, 3, 4, 5, 6, 7, 8, 0x99}, true},
    {"disp and imm", MODE_LONG64, {0xc7, 0x44, 0x24, 8, 1}, {0xc7, 0x44, 0x24, 0x90, 2, 3}, true},
    {"branch", MODE_LONG64, {0x0f, 0x84, 1}, {0x0f, 0x84, 2, 3, 4, 0xff}, true},
    {"double shift", MODE_LONG64, {0x0f, 0xa4, 0xc1, 3}, {0x0f, 0xa4, 0xc1, 4}, true},
    {"long nop",
     MODE_LONG64,
     {0x66, 0x66, 0x0f, 0x1f, 0x44},
     {0x66, 0x66, 0x0f, 0x1f, 0x44, 0, 7},
     true},
    {"moffs", MODE_PROT32 | KEY_CS32, {0xa1, 1, 2, 3, 4}, {0xa1, 5, 6, 7, 0xf8}, true},
    {"disp16", MODE_REAL, {0x8b, 0x87, 1, 2}, {0x8b, 0x87, 3, 0x84}, true},
    {"vector load", MODE_LONG64, {0xf3, 0x0f, 0x6f, 0x40, 1}, {0xf3, 0x0f, 0x6f, 0x40, 2}, true},
    {"shuffle", MODE_LONG64, {0x66, 0x0f, 0x70, 0xc1, 1}, {0x66, 0x0f, 0x70, 0xc1, 2}, false},
    {"test or not", MODE_LONG64, {0xf7, 0xc0, 1}, {0xf7, 0xd0, 1}, false},
    {"registers", MODE_LONG64, {0x01, 0xc0}, {0x01, 0xc1}, false},
    {"far jump", MODE_REAL, {0xea, 1, 2, 3, 4}, {0xea, 1, 2, 3, 5}, false},
    {"enter", MODE_LONG64, {0xc8, 1, 0, 1}, {0xc8, 2, 0, 1}, false},
    {"undefined", MODE_LONG64, {0x06, 1}, {0x06, 2}, false},
    {"stack width", MODE_PROT32 | KEY_CS32, {0x68, 1}, {0x68, 2}, true},
};

static void test_what_shares_a_template(void)
{
    struct flat *f = flat_new();
    struct jit_cpu *c = flat_cpu(f);
    struct shape_memo *own = c->shapes;

    for (unsigned k = 0; k < ARRAY_SIZE(pairs); k++) {
        struct shape_memo *m = shape_memo_new();

        g_test_message("%s", pairs[k].name);
        c->mode_key = pairs[k].mode_key;
        c->mode = pairs[k].mode_key & KEY_MODE_MASK;
        compare(c, m, pairs[k].first, 15);
        compare(c, m, pairs[k].second, 15);
        g_assert_cmpuint(shape_memo_stats(m).hits, ==, pairs[k].shared);
        shape_memo_free(m);
    }
    c->shapes = own;
    flat_free(f);
}

static void test_modes_do_not_share_templates(void)
{
    static const uint8_t inc_or_rex[15] = {0x40, 0x50};
    struct flat *f = flat_new();
    struct jit_cpu *c = flat_cpu(f);
    struct shape_memo *own = c->shapes, *m = shape_memo_new();

    for (uint32_t key = 0; key < KEY_CSZERO * 2; key++) {
        if ((key & KEY_MODE_MASK) > MODE_LONG64)
            continue;
        c->mode_key = key;
        c->mode = key & KEY_MODE_MASK;
        compare(c, m, inc_or_rex, 15);
    }
    g_assert_cmpuint(shape_memo_stats(m).hits, ==, 0);
    shape_memo_free(m);
    c->shapes = own;
    flat_free(f);
}

int main(int argc, char **argv)
{
    static const GOptionEntry entries[] = {
        {"cases", 0, 0, G_OPTION_ARG_INT64, &options.cases, "how many encodings", "N"},
        {"seed", 0, 0, G_OPTION_ARG_INT64, &options.seed, "random seed (0: by the clock)", "S"},
        {NULL}};
    GOptionContext *o = g_option_context_new("- templates against Zydis");

    g_option_context_add_main_entries(o, entries, NULL);
    g_option_context_set_ignore_unknown_options(o, TRUE);
    g_option_context_parse(o, &argc, &argv, NULL);
    g_option_context_free(o);
    g_test_init(&argc, &argv, NULL);
    decode_init();
    g_test_add_func("/cpu/shape/shared", test_what_shares_a_template);
    g_test_add_func("/cpu/shape/modes", test_modes_do_not_share_templates);
    g_test_add_func("/cpu/shape/random", test_random_encodings_decode_the_same_from_templates);
    return g_test_run();
}
