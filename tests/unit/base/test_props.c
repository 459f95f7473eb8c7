/* Properties in both spellings, sizes, and "did you mean". */
#include "base/error.h"
#include "base/props.h"
#include "base/util.h"

#include <jansson.h>

static struct props *parse(const char *text, const char *implied)
{
    g_autoptr(GError) err = NULL;
    struct props *p = props_parse(text, implied, &err);
    g_assert_no_error(err);
    return p;
}

static const char *str(struct props *p, const char *key)
{
    const char *s = NULL;
    g_assert_true(props_get_str(p, key, &s, NULL));
    return s;
}

static void test_key_val(void)
{
    PROPS_AUTO p = parse("virtio-blk-pci,drive=a,,b,bootindex=0x10,share-rw,serial=", "driver");
    uint64_t n = 0;
    bool on = false;
    g_assert_cmpstr(str(p, "driver"), ==, "virtio-blk-pci");
    g_assert_cmpstr(str(p, "drive"), ==, "a,b");
    g_assert_cmpstr(str(p, "serial"), ==, "");
    g_assert_true(props_get_u64(p, "bootindex", &n, NULL));
    g_assert_cmpuint(n, ==, 16);
    g_assert_true(props_get_bool(p, "share-rw", &on, NULL));
    g_assert_true(on);
    g_assert_null(str(p, "absent"));
    g_assert_true(props_check_unused(p, "-device", NULL, NULL));
}

static void test_first_word_is_a_switch_without_implied_key(void)
{
    PROPS_AUTO p = parse("quick,kill=no", NULL);
    bool quick = false, kill = true;
    g_assert_true(props_get_bool(p, "quick", &quick, NULL));
    g_assert_true(props_get_bool(p, "kill", &kill, NULL));
    g_assert_true(quick && !kill);
    PROPS_AUTO implied = parse("a,,b", "name");
    g_assert_cmpstr(str(implied, "name"), ==, "a,b");
}

static void test_nested_and_flat_keys(void)
{
    PROPS_AUTO p = parse("a.b=1,a.c.d=2", NULL);
    g_assert_cmpstr(str(p, "a.b"), ==, "1");
    struct props *a = props_get_sub(p, "a");
    g_assert_nonnull(a);
    g_assert_cmpstr(str(a, "c.d"), ==, "2");
    g_assert_true(props_check_unused(p, "x", NULL, NULL));
    const char *const spellings[] = {"file=disk,file.locking=off", "file.locking=off,file=disk"};
    for (size_t i = 0; i < ARRAY_SIZE(spellings); i++) {
        PROPS_AUTO drive = parse(spellings[i], NULL);
        g_assert_cmpstr(str(drive, "file"), ==, "disk");
        g_assert_cmpstr(str(drive, "file.locking"), ==, "off");
        g_assert_true(props_check_unused(drive, "x", NULL, NULL));
    }
}

static void test_repeated_keys_are_kept(void)
{
    PROPS_AUTO p = parse("user,hostfwd=one,id=n,hostfwd=two", "type");
    json_t *l = props_get_list(p, "hostfwd");
    g_assert_cmpuint(json_array_size(l), ==, 2);
    g_assert_cmpstr(json_string_value(json_array_get(l, 0)), ==, "one");
    g_assert_cmpstr(str(p, "hostfwd"), ==, "two");
    g_assert_cmpuint(json_array_size(props_get_list(p, "id")), ==, 1);
    g_assert_null(props_get_list(p, "absent"));
    PROPS_AUTO numbered = parse("server.0.host=a,server.1.host=b", NULL);
    l = props_get_list(numbered, "server");
    g_assert_cmpuint(json_array_size(l), ==, 2);
    g_assert_cmpstr(json_string_value(json_object_get(json_array_get(l, 1), "host")), ==, "b");
    PROPS_AUTO json = parse("{\"a\": [1, 2, 3]}", NULL);
    g_assert_cmpuint(json_array_size(props_get_list(json, "a")), ==, 3);
}

static void test_json(void)
{
    PROPS_AUTO p = parse("{\"driver\": \"e1000\", \"mq\": true, \"vectors\": 4, \"sub\": "
                         "{\"size\": \"2M\"}, \"rom\": false}",
                         "driver");
    bool mq = false;
    uint32_t vectors = 0;
    uint64_t size = 0;
    unsigned rom = 9;
    static const char *const modes[] = {"on", "off", "auto", NULL};
    g_assert_cmpstr(str(p, "driver"), ==, "e1000");
    g_assert_true(props_get_bool(p, "mq", &mq, NULL) && mq);
    g_assert_true(props_get_u32(p, "vectors", &vectors, NULL));
    g_assert_cmpuint(vectors, ==, 4);
    g_assert_true(props_get_size(props_get_sub(p, "sub"), "size", &size, NULL));
    g_assert_cmpuint(size, ==, 2 * MiB);
    g_assert_true(props_get_enum(p, "rom", modes, &rom, NULL));
    g_assert_cmpuint(rom, ==, 1);
    g_assert_true(props_check_unused(p, "x", NULL, NULL));
}

/* err is passed by address: the call that sets it is an argument beside it. */
static void expect_error(bool ok, GError **perr, const char *part)
{
    GError *err = *perr;
    g_assert_false(ok);
    g_assert_error(err, HANOK_ERROR, HANOK_ERROR_INVALID);
    if (!strstr(err->message, part))
        g_error("'%s' does not say '%s'", err->message, part);
    g_clear_error(perr);
}

static void test_bad_values_say_what_is_valid(void)
{
    static const char *const modes[] = {"none", "native", "threads", NULL};
    PROPS_AUTO p = parse("a=maybe,n=12x,big=0x100000000,s=5Q,m=nativ,j.k=1", NULL);
    GError *err = NULL;
    bool b = true;
    uint64_t n = 7;
    uint32_t n32 = 7;
    unsigned m = 7;
    const char *s = NULL;
    expect_error(props_get_bool(p, "a", &b, &err), &err, "'a' must be 'on' or 'off', not 'maybe'");
    expect_error(props_get_u64(p, "n", &n, &err), &err, "'n' must be a number");
    expect_error(props_get_u32(p, "big", &n32, &err), &err, "4294967296");
    expect_error(props_get_size(p, "s", &n, &err), &err, "'s': '5Q' is not a size");
    expect_error(props_get_enum(p, "m", modes, &m, &err), &err, "'none', 'native' or 'threads'");
    expect_error(props_get_str(p, "j", &s, &err), &err, "must be a string");
    g_assert_true(b && n == 7 && n32 == 7 && m == 7 && !s);
}

static void test_unused_key_names_the_nearest(void)
{
    PROPS_AUTO p = parse("drive=d0,botindex=1", NULL);
    static const char *const known[] = {"bootindex", "serial", NULL};
    GError *err = NULL;
    str(p, "drive");
    expect_error(props_check_unused(p, "-device virtio-blk-pci", known, &err), &err,
                 "-device virtio-blk-pci has no option 'botindex'; did you mean 'bootindex'?");
    PROPS_AUTO nested = parse("a.good=1,a.bad=2", NULL);
    str(nested, "a.good");
    expect_error(props_check_unused(nested, "x", NULL, &err), &err, "'a.bad'");
    PROPS_AUTO unasked = parse("a.b=1", NULL);
    expect_error(props_check_unused(unasked, "x", NULL, &err), &err, "'a'");
}

static void test_malformed_text_is_refused(void)
{
    static const char *const bad[] = {"=x",     "a=1,=2",  ".a=1",  "a.=1",
                                      "a..b=1", "a=1,,,=", "{",     "{\"a\":1,\"a\":2}",
                                      "[1]x=",  "{} x",    "a=\xff"};
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        GError *err = NULL;
        struct props *p = props_parse(bad[i], NULL, &err);
        if (i == 8) { /* an odd key, but a key */
            props_free(p);
            continue;
        }
        expect_error(p != NULL, &err, "");
    }
    g_autofree char *deep = g_strnfill(4000, 'a');
    for (int i = 1; i < 3999; i += 2)
        deep[i] = '.';
    PROPS_AUTO p = parse(deep, NULL); /* bounded nesting, no stack overflow on free */
    g_assert_nonnull(p);
}

static void test_merge_later_wins(void)
{
    PROPS_AUTO a = parse("q35,accel=kvm,smm.x=1", "type");
    PROPS_AUTO b = parse("accel=jit,smm.y=2", "type");
    props_merge(a, b);
    g_assert_cmpstr(str(a, "type"), ==, "q35");
    g_assert_cmpstr(str(a, "accel"), ==, "jit");
    g_assert_cmpstr(str(a, "smm.x"), ==, "1");
    g_assert_cmpstr(str(a, "smm.y"), ==, "2");
    props_set_str(a, "type", "none");
    g_assert_cmpstr(str(a, "type"), ==, "none");
    g_assert_true(props_check_unused(a, "x", NULL, NULL));
}

static void test_sizes(void)
{
    static const struct {
        const char *text;
        char suffix;
        uint64_t value;
    } good[] = {
        {"0", 0, 0},
        {"512", 'M', 512 * MiB},
        {"512", 0, 512},
        {"4G", 'M', 4 * GiB},
        {"1.5g", 0, 3 * GiB / 2},
        {"0x1000", 0, 4096},
        {"64k", 'M', 65536},
        {"7B", 'M', 7},
        {"15E", 0, 15ull << 60},
        {"0.5K", 0, 512},
        {"18446744073709551615", 0, UINT64_MAX},
        {"0x10", 'K', 16384},
    };
    static const char *const bad[] = {"",
                                      "x",
                                      "-1",
                                      "1Q",
                                      "1GB",
                                      "1.",
                                      ".5",
                                      "1.5.5G",
                                      "0x",
                                      "16E",
                                      "18446744073709551616",
                                      "1 G",
                                      "99999999999999999999999999T"};
    for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
        uint64_t v = 1;
        g_assert_true(parse_size(good[i].text, good[i].suffix, &v, NULL));
        g_assert_cmpuint(v, ==, good[i].value);
    }
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        GError *err = NULL;
        uint64_t v = 1;
        expect_error(parse_size(bad[i], 0, &v, &err), &err, "size");
        g_assert_cmpuint(v, ==, 1);
    }
}

static void assert_nearest(const char *word, const char *expected)
{
    static const char *const names[] = {"virtio-blk-pci", "virtio-net-pci", "virtio-rng-pci",
                                        "pcie-root-port", "isa-debug-exit", "q35",
                                        "none",           "pc-testdev",     "isa-serial"};
    g_autofree char *got = error_nearest(word, names, ARRAY_SIZE(names));
    g_assert_cmpstr(got, ==, expected);
}

static void test_nearest_names(void)
{
    assert_nearest("virtio-blk", "'virtio-blk-pci'");
    assert_nearest("q53", "'q35'");
    assert_nearest("pcie-rootport", "'pcie-root-port'");
    assert_nearest("zzzzzzzz",
                   "'virtio-blk-pci', 'virtio-net-pci', 'virtio-rng-pci', 'pcie-root-port', "
                   "'isa-debug-exit', 'q35', 'none', 'pc-testdev', ...");
    g_autofree char *longest = g_strnfill(5000, 'x');
    g_autofree char *got = error_nearest(longest, (const char *const[]){"a"}, 1);
    g_assert_nonnull(got);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/props/key_val", test_key_val);
    g_test_add_func("/props/first_word", test_first_word_is_a_switch_without_implied_key);
    g_test_add_func("/props/nested", test_nested_and_flat_keys);
    g_test_add_func("/props/repeated", test_repeated_keys_are_kept);
    g_test_add_func("/props/json", test_json);
    g_test_add_func("/props/bad_values", test_bad_values_say_what_is_valid);
    g_test_add_func("/props/unused", test_unused_key_names_the_nearest);
    g_test_add_func("/props/malformed", test_malformed_text_is_refused);
    g_test_add_func("/props/merge", test_merge_later_wins);
    g_test_add_func("/props/sizes", test_sizes);
    g_test_add_func("/props/nearest", test_nearest_names);
    return g_test_run();
}
