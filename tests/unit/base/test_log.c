/* Messages: levels, files, the limit on what a guest can cause; and traces. */
#include "base/log.h"
#include "base/trace.h"

#include <glib.h>
#include <glib/gstdio.h>

static char *path;

static char *logged(void)
{
    char *text = NULL;
    g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
    g_assert_true(g_file_set_contents(path, "", 0, NULL));
    /* set_contents replaces the file: open the new one */
    g_assert_true(log_set_file(path, NULL));
    return text;
}

static void test_levels(void)
{
    log_error("one %d", 1);
    log_warning("two");
    log_info("three");
    g_autofree char *quiet = logged();
    g_assert_cmpstr(quiet, ==, "tester: error: one 1\ntester: warning: two\n");
    log_set_level(LOG_LEVEL_DEBUG);
    log_info("three");
    log_debug("four");
    g_autofree char *all = logged();
    g_assert_cmpstr(all, ==, "tester: three\ntester: debug: four\n");
    log_set_level(LOG_LEVEL_WARNING);
}

static void test_timestamps(void)
{
    log_set_timestamps(true);
    log_warning("x");
    log_set_timestamps(false);
    g_autofree char *text = logged();
    g_assert_true(g_regex_match_simple(
        "^\\d{4}-\\d\\d-\\d\\dT\\d\\d:\\d\\d:\\d\\d\\.\\d{6}Z tester: warning: x\n$", text, 0, 0));
}

static void test_guest_cannot_fill_the_log(void)
{
    for (int i = 0; i < 10000; i++)
        log_guest("bad descriptor %d", i);
    g_autofree char *text = logged();
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    g_assert_cmpuint(g_strv_length(lines), ==, 6); /* five and the end */
    g_assert_true(g_str_has_prefix(lines[0], "tester: warning: guest: bad descriptor 0"));
    g_assert_nonnull(strstr(lines[4], "held back"));
    log_guest("another place"); /* has its own limit */
    g_autofree char *other = logged();
    g_assert_nonnull(strstr(other, "another place"));
}

static void test_unwritable_file_is_an_error(void)
{
    g_autoptr(GError) err = NULL;
    g_assert_false(log_set_file("/nonexistent/dir/log", &err));
    g_assert_nonnull(strstr(err->message, "/nonexistent/dir/log"));
}

static void test_trace(void)
{
    TRACE(blk_submit, "off %d", 1);
    g_assert_cmpint(trace_enable("blk_*"), ==, 2);
    g_assert_cmpint(trace_enable("nothing_like_it"), ==, 0);
    TRACE(blk_submit, "off %d", 2);
    TRACE(net_tx, "len %d", 3);
    g_autofree char *text = logged();
    g_assert_null(strstr(text, "off 1"));
    g_assert_nonnull(strstr(text, "blk_submit: off 2"));
    g_assert_null(strstr(text, "net_tx"));
    g_assert_cmpstr(trace_name(TRACE_vcpu_exit), ==, "vcpu_exit");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    int fd = g_file_open_tmp("hanok-log-XXXXXX", &path, NULL);
    g_assert_cmpint(fd, >=, 0);
    g_close(fd, NULL);
    log_init("/usr/bin/tester");
    g_assert_true(log_set_file(path, NULL));
    g_test_add_func("/log/levels", test_levels);
    g_test_add_func("/log/timestamps", test_timestamps);
    g_test_add_func("/log/guest_limit", test_guest_cannot_fill_the_log);
    g_test_add_func("/log/unwritable", test_unwritable_file_is_an_error);
    g_test_add_func("/log/trace", test_trace);
    int rc = g_test_run();
    g_unlink(path);
    return rc;
}
