/* test_line_edit - what keys make of a line. */
#include "hmp.h"

static GString *submitted, *shown;

static void on_write(void *opaque, const char *text, size_t len)
{
    g_string_append_len(shown, text, len);
}

static void on_submit(void *opaque, const char *line)
{
    g_string_append_printf(submitted, "<%s>", line);
}

static char **complete(void *opaque, const char *prefix)
{
    static const char *const words[] = {"info", "inject", "quit"};
    GPtrArray *out = g_ptr_array_new();
    for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
        if (g_str_has_prefix(words[i], prefix)) {
            g_ptr_array_add(out, g_strdup(words[i]));
        }
    }
    g_ptr_array_add(out, NULL);
    return (char **)g_ptr_array_free(out, FALSE);
}

static void keys(const char *typed, const char *lines)
{
    struct line_edit e;
    submitted = g_string_new(NULL);
    shown = g_string_new(NULL);
    line_edit_init(&e, "> ", NULL);
    e.write = on_write;
    e.submit = on_submit;
    e.complete = complete;
    line_edit_feed(&e, (const uint8_t *)typed, strlen(typed));
    g_assert_cmpstr(submitted->str, ==, lines);
    line_edit_clear(&e);
    g_string_free(submitted, TRUE);
    g_string_free(shown, TRUE);
}

static void test_typing_and_erasing(void)
{
    keys("  stop \r", "<stop>");
    keys("stoq\x7fp\r", "<stop>");
    keys("one two\x17three\r", "<one three>");
    keys("garbage\x15ok\r", "<ok>");
    keys("abc\x03xyz\r", "<xyz>");
}

static void test_moving(void)
{
    keys("bc\x01"
         "a\x05"
         "d\r",
         "<abcd>");
    keys("ac\033[Db\r", "<abc>");
    keys("abcd\033[D\033[D\x0b\r", "<ab>");
    keys("xab\033[H\033[3~\r", "<ab>");
}

static void test_history(void)
{
    keys("one\rtwo\r\033[A\033[A\r", "<one><two><one>");
    keys("one\rha\033[A\033[Blf\r", "<one><half>");
    keys("\033[A\033[Bx\r", "<x>");
}

static void test_completion(void)
{
    keys("q\t\r", "<quit>");
    keys("i\tf\t\r", "<info>");
    keys("zz\t\r", "<zz>");
}

static void test_long_lines_are_bounded(void)
{
    g_autofree char *typed = g_strnfill(10000, 'a');
    g_autofree char *expected = g_strnfill(4096, 'a');
    g_autofree char *all = g_strdup_printf("%s\r", typed),
                    *lines = g_strdup_printf("<%s>", expected);
    keys(all, lines);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/line-edit/typing", test_typing_and_erasing);
    g_test_add_func("/line-edit/moving", test_moving);
    g_test_add_func("/line-edit/history", test_history);
    g_test_add_func("/line-edit/completion", test_completion);
    g_test_add_func("/line-edit/bounds", test_long_lines_are_bounded);
    return g_test_run();
}
