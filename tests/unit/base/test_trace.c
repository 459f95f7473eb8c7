/* test_trace - the recorder keeps the last events in order, counts what it lost, and leaves the log
 * alone. */
#include "base/trace.h"

#include <glib.h>
#include <pthread.h>

#define MANY 40000u /* more than the recorder keeps */

static const char *const pattern[] = {"qmp_*", NULL};
static struct trace_entry entries[4096];

static unsigned read_all(uint64_t *lost)
{
    unsigned n, sum = 0;
    uint64_t some;
    *lost = 0;
    while ((n = trace_record_read(entries, G_N_ELEMENTS(entries), &some)) || some) {
        sum += n;
        *lost += some;
    }
    return sum;
}

static void test_events_come_back_in_order(void)
{
    uint64_t lost;
    g_assert_cmpint(trace_record_start(pattern), ==, 2);
    TRACE(qmp_command, "number %d", 1);
    TRACE(net_tx, "not asked for");
    TRACE(qmp_event, "number %d", 2);
    g_assert_cmpuint(trace_record_read(entries, 8, &lost), ==, 2);
    g_assert_cmpuint(lost, ==, 0);
    g_assert_cmpstr(entries[0].text, ==, "number 1");
    g_assert_cmpstr(entries[1].text, ==, "number 2");
    g_assert_cmpint(entries[1].event, ==, TRACE_qmp_event);
    g_assert_cmpuint(entries[0].ns, <=, entries[1].ns);
    trace_record_stop();
    TRACE(qmp_command, "after the end");
    g_assert_cmpuint(trace_record_read(entries, 8, &lost), ==, 0);
}

static void test_what_is_not_read_in_time_is_counted(void)
{
    uint64_t lost;
    trace_record_start(pattern);
    for (unsigned i = 0; i < MANY; i++)
        TRACE(qmp_command, "%u", i);
    unsigned got = read_all(&lost);
    g_assert_cmpuint(lost, >, 0);
    g_assert_cmpuint(got + lost, ==, MANY);
    trace_record_stop();
}

static void *write_some(void *opaque)
{
    for (unsigned i = 0; i < 2000; i++)
        TRACE(qmp_command, "%u", i);
    return opaque;
}

static void test_threads_lose_nothing_that_fits(void)
{
    pthread_t thread[4];
    uint64_t lost;
    trace_record_start(pattern);
    for (unsigned i = 0; i < G_N_ELEMENTS(thread); i++)
        pthread_create(&thread[i], NULL, write_some, NULL);
    for (unsigned i = 0; i < G_N_ELEMENTS(thread); i++)
        pthread_join(thread[i], NULL);
    g_assert_cmpuint(read_all(&lost), ==, 8000);
    g_assert_cmpuint(lost, ==, 0);
    trace_record_stop();
}

static void test_the_log_is_switched_apart(void)
{
    g_assert_cmpint(trace_enable("net_tx"), ==, 1);
    trace_record_start(pattern);
    g_assert_cmpint(trace_enabled[TRACE_net_tx], ==, TRACE_TO_LOG);
    g_assert_cmpint(trace_enabled[TRACE_qmp_event], ==, TRACE_TO_RECORD);
    g_assert_cmpint(trace_disable("*"), >, 10);
    g_assert_cmpint(trace_enabled[TRACE_net_tx], ==, 0);
    g_assert_cmpint(trace_enabled[TRACE_qmp_event], ==, TRACE_TO_RECORD);
    trace_record_stop();
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/trace/events-come-back-in-order", test_events_come_back_in_order);
    g_test_add_func("/trace/what-is-not-read-in-time-is-counted",
                    test_what_is_not_read_in_time_is_counted);
    g_test_add_func("/trace/threads-lose-nothing-that-fits", test_threads_lose_nothing_that_fits);
    g_test_add_func("/trace/the-log-is-switched-apart", test_the_log_is_switched_apart);
    return g_test_run();
}
