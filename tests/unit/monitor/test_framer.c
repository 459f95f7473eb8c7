/* test_framer - JSON objects are found by structure, however the bytes arrive, and bounds hold. */
#include "qmp.h"

struct seen {
    GString *log; /* compact objects and reasons, one a line */
};

static void on_object(void *opaque, json_t *obj, const char *why)
{
    struct seen *s = opaque;
    char *text = obj ? json_dumps(obj, JSON_COMPACT) : NULL;
    g_string_append_printf(s->log, "%s\n", text ? text : why);
    free(text);
}

static char *feed(const char *text, size_t len, size_t chunk)
{
    struct seen s = {.log = g_string_new(NULL)};
    struct qmp_framer f;
    qmp_framer_init(&f);
    for (size_t at = 0; at < len; at += chunk) {
        qmp_framer_feed(&f, (const uint8_t *)text + at, MIN_OF(chunk, len - at), on_object, &s);
    }
    qmp_framer_clear(&f);
    return g_string_free(s.log, FALSE);
}

static void expect(const char *text, const char *log)
{
    for (size_t chunk = 1; chunk <= strlen(text); chunk++) {
        g_autofree char *got = feed(text, strlen(text), chunk);
        g_assert_cmpstr(got, ==, log);
    }
}

static void test_objects_need_no_lines(void)
{
    expect("{\"a\":1}{\"b\":[{}]}\r\n {\"c\":\"}\\\"{\"}",
           "{\"a\":1}\n{\"b\":[{}]}\n{\"c\":\"}\\\"{\"}\n");
}

static void test_garbage_is_told_once_a_line(void)
{
    expect("nonsense here\n{\"a\":1}\n[1]\n{\"b\":2}\n",
           "JSON parse error, a request must be an object\n{\"a\":1}\n"
           "JSON parse error, a request must be an object\n{\"b\":2}\n");
}

static void test_malformed_object_is_told(void)
{
    g_autofree char *got = feed("{\"a\":}{\"b\":1}", 13, 13);
    g_assert_true(g_str_has_prefix(got, "JSON parse error, "));
    g_assert_true(g_str_has_suffix(got, "\n{\"b\":1}\n"));
}

static void test_reset_byte_between_objects(void)
{
    expect("\xff{\"a\":1}\xff", "{\"a\":1}\n");
}

static void test_depth_is_bounded(void)
{
    GString *deep = g_string_new(NULL);
    for (int i = 0; i < 100000; i++) {
        g_string_append(deep, "{\"a\":");
    }
    g_string_append(deep, "\n{\"ok\":1}");
    g_autofree char *got = feed(deep->str, deep->len, 4096);
    g_assert_cmpstr(got, ==, "JSON parse error, nested too deeply\n{\"ok\":1}\n");
    g_string_free(deep, TRUE);
}

static void test_size_is_bounded(void)
{
    GString *big = g_string_new("{\"a\":\"");
    for (size_t i = 0; i < 2 * QMP_REQUEST_MAX; i += 16) {
        g_string_append(big, "0123456789abcdef");
    }
    g_string_append(big, "\"}\n{\"ok\":1}");
    g_autofree char *got = feed(big->str, big->len, 4096);
    g_assert_cmpstr(got, ==, "JSON parse error, the request is too large\n{\"ok\":1}\n");
    g_string_free(big, TRUE);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/framer/objects", test_objects_need_no_lines);
    g_test_add_func("/framer/garbage", test_garbage_is_told_once_a_line);
    g_test_add_func("/framer/malformed", test_malformed_object_is_told);
    g_test_add_func("/framer/reset", test_reset_byte_between_objects);
    g_test_add_func("/framer/depth", test_depth_is_bounded);
    g_test_add_func("/framer/size", test_size_is_bounded);
    return g_test_run();
}
