/* The state stream: round trips, versions, and streams somebody tampered with. */
#include "base/error.h"
#include "base/state.h"
#include "base/util.h"

#include <glib.h>

struct channel {
    uint16_t count;
    bool gate;
};

struct chip {
    uint8_t latch;
    uint64_t wide;
    uint32_t regs[3];
    uint8_t raw[5];
    bool flags[2];
    struct channel channel[2];
    uint32_t added_later;
    char *text; /* custom */
};

static bool channel_post_load(void *obj, uint32_t version, GError **err)
{
    struct channel *c = obj;
    return c->count < 1000 ||
           error_set(err, HANOK_ERROR_CORRUPT, "count %u is too large", c->count);
}

static const struct state_field channel_fields[] = {
    STATE_U16(struct channel, count),
    STATE_BOOL(struct channel, gate),
    STATE_END,
};
static const struct state_desc channel_desc = {
    .name = "channel", .version = 1, .fields = channel_fields, .post_load = channel_post_load};

static void text_save(struct state_writer *w, const void *obj)
{
    const struct chip *c = obj;
    state_put_u32(w, (uint32_t)strlen(c->text));
    state_put_bytes(w, c->text, strlen(c->text));
}

static bool text_load(struct state_reader *r, void *obj, GError **err)
{
    struct chip *c = obj;
    uint32_t len = state_get_u32(r);
    if (len != state_left(r))
        return error_set(err, HANOK_ERROR_CORRUPT, "text of %u bytes", len);
    g_free(c->text);
    c->text = g_malloc0(len + 1);
    return state_get_bytes(r, c->text, len);
}

static const struct state_field chip_fields[] = {
    STATE_U8(struct chip, latch),
    STATE_U64(struct chip, wide),
    STATE_UINT_ARRAY(struct chip, regs),
    STATE_BYTES(struct chip, raw),
    STATE_BOOL_ARRAY(struct chip, flags),
    STATE_STRUCT_ARRAY(struct chip, channel, channel_desc),
    STATE_CUSTOM("text", text_save, text_load),
    {.name = "added_later",
     .kind = STATE_KIND_UINT,
     .offset = offsetof(struct chip, added_later),
     .size = 4,
     .count = 1,
     .since = 2},
    STATE_END,
};
static const struct state_desc chip_desc = {
    .name = "chip", .version = 2, .min_version = 1, .fields = chip_fields};
/* The same chip as the previous release wrote it: without its last field. */
static const struct state_field old_fields[] = {
    STATE_U8(struct chip, latch),
    STATE_U64(struct chip, wide),
    STATE_UINT_ARRAY(struct chip, regs),
    STATE_BYTES(struct chip, raw),
    STATE_BOOL_ARRAY(struct chip, flags),
    STATE_STRUCT_ARRAY(struct chip, channel, channel_desc),
    STATE_CUSTOM("text", text_save, text_load),
    STATE_END,
};
static const struct state_desc old_desc = {.name = "chip", .version = 1, .fields = old_fields};

static struct chip sample(void)
{
    return (struct chip){
        .latch = 0x5a,
        .wide = 0x1122334455667788,
        .regs = {1, 2, 0xffffffff},
        .raw = "abcd",
        .flags = {true, false},
        .channel = {{.count = 7, .gate = true}, {.count = 999}},
        .added_later = 77,
        .text = g_strdup("hanok"),
    };
}

static bool load(const uint8_t *data, size_t len, struct chip *c, GError **err)
{
    struct state_reader *r = state_reader_new(data, len, err);
    bool ok = r && state_load(r, &chip_desc, "0", c, err) && state_reader_finish(r, err);
    state_reader_free(r);
    return ok;
}

static uint8_t *save(const struct state_desc *desc, size_t *len)
{
    struct chip c = sample();
    struct state_writer *w = state_writer_new();
    state_save(w, desc, "0", &c);
    const uint8_t *data = state_writer_data(w, len);
    uint8_t *copy = g_memdup2(data, *len);
    state_writer_free(w);
    g_free(c.text);
    return copy;
}

static void test_round_trip(void)
{
    g_autoptr(GError) err = NULL;
    size_t len;
    g_autofree uint8_t *data = save(&chip_desc, &len);
    struct chip c = {0}, want = sample();
    g_assert_true(load(data, len, &c, &err));
    g_assert_no_error(err);
    g_assert_cmpuint(c.latch, ==, want.latch);
    g_assert_cmphex(c.wide, ==, want.wide);
    g_assert_cmpmem(c.regs, sizeof(c.regs), want.regs, sizeof(want.regs));
    g_assert_cmpmem(c.raw, 5, want.raw, 5);
    g_assert_true(c.flags[0] && !c.flags[1]);
    g_assert_cmpuint(c.channel[0].count, ==, 7);
    g_assert_true(c.channel[0].gate && !c.channel[1].gate);
    g_assert_cmpuint(c.channel[1].count, ==, 999);
    g_assert_cmpuint(c.added_later, ==, 77);
    g_assert_cmpstr(c.text, ==, "hanok");
    g_free(c.text);
    g_free(want.text);
}

static void test_older_version_loads_and_newer_does_not(void)
{
    g_autoptr(GError) err = NULL;
    size_t len;
    g_autofree uint8_t *data = save(&old_desc, &len);
    struct chip c = {.added_later = 5};
    g_assert_true(load(data, len, &c, &err));
    g_assert_no_error(err);
    g_assert_cmpuint(c.added_later, ==, 5);
    g_assert_cmpstr(c.text, ==, "hanok");
    g_free(c.text);
    c.text = NULL;
    g_autofree uint8_t *newer = save(&chip_desc, &len);
    struct state_reader *r = state_reader_new(newer, len, NULL);
    g_assert_false(state_load(r, &old_desc, "0", &c, &err));
    g_assert_error(err, HANOK_ERROR, HANOK_ERROR_UNSUPPORTED);
    state_reader_free(r);
    g_free(c.text);
}

static void test_every_truncation_is_an_error(void)
{
    size_t len;
    g_autofree uint8_t *data = save(&chip_desc, &len);
    for (size_t cut = 0; cut < len; cut++) {
        g_autoptr(GError) err = NULL;
        g_autofree uint8_t *part = g_memdup2(data, cut); /* exact, so that ASan sees overruns */
        struct chip c = {0};
        g_assert_false(load(part, cut, &c, &err));
        g_assert_nonnull(err);
        g_free(c.text);
    }
}

/* Any byte changed: never a crash, and an error always has its sentence. */
static void test_every_changed_byte_is_survived(void)
{
    size_t len;
    g_autofree uint8_t *data = save(&chip_desc, &len);
    unsigned refused = 0;
    for (size_t i = 0; i < len; i++) {
        g_autoptr(GError) err = NULL;
        g_autofree uint8_t *bad = g_memdup2(data, len);
        bad[i] ^= 0xff;
        struct chip c = {0};
        bool ok = load(bad, len, &c, &err);
        g_assert_true(ok == (err == NULL));
        refused += !ok;
        g_free(c.text);
    }
    g_assert_cmpuint(refused, >, 30); /* headers, lengths, bools, counts */
}

static void test_post_load_of_elements_is_asked(void)
{
    struct chip c = sample(), out = {0};
    c.channel[1].count = 1000;
    struct state_writer *w = state_writer_new();
    state_save(w, &chip_desc, "0", &c);
    size_t len;
    const uint8_t *data = state_writer_data(w, &len);
    g_autoptr(GError) err = NULL;
    g_assert_false(load(data, len, &out, &err));
    g_assert_nonnull(strstr(err->message, "channel: count 1000 is too large"));
    state_writer_free(w);
    g_free(c.text);
    g_free(out.text);
}

static void test_missing_and_surplus_sections(void)
{
    g_autoptr(GError) err = NULL;
    struct channel c = {.count = 1};
    struct state_writer *w = state_writer_new();
    state_save(w, &channel_desc, "a", &c);
    state_save(w, &channel_desc, "b", &c);
    size_t len;
    const uint8_t *data = state_writer_data(w, &len);
    struct state_reader *r = state_reader_new(data, len, &err);
    g_assert_no_error(err);
    g_assert_true(state_load(r, &channel_desc, "b", &c, &err));
    g_assert_false(state_load(r, &channel_desc, "c", &c, &err));
    g_assert_nonnull(strstr(err->message, "'channel c'"));
    g_clear_error(&err);
    g_assert_false(state_reader_finish(r, &err));
    g_assert_nonnull(strstr(err->message, "'channel a'"));
    state_reader_free(r);
    state_save(w, &channel_desc, "a", &c);
    data = state_writer_data(w, &len);
    g_clear_error(&err);
    g_assert_null(state_reader_new(data, len, &err));
    g_assert_nonnull(strstr(err->message, "twice"));
    state_writer_free(w);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/state/round_trip", test_round_trip);
    g_test_add_func("/state/versions", test_older_version_loads_and_newer_does_not);
    g_test_add_func("/state/truncation", test_every_truncation_is_an_error);
    g_test_add_func("/state/changed_byte", test_every_changed_byte_is_survived);
    g_test_add_func("/state/post_load", test_post_load_of_elements_is_asked);
    g_test_add_func("/state/sections", test_missing_and_surplus_sections);
    return g_test_run();
}
