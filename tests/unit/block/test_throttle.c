/* test_throttle.c - limits hold on average, bursts go through, groups share, drains do not wait. */
#include "block/throttle.h"

#include "base/error.h"
#include "base/evloop.h"
#include "base/props.h"
#include "base/util.h"
#include "block/block.h"

#include <glib.h>

static struct blk_node *open_node(const char *text, GError **err)
{
    PROPS_AUTO p = props_parse(text, NULL, err);
    return p ? blk_open(p, err) : NULL;
}

static struct blk_node *null_node(const char *name, const char *more)
{
    GError *err = NULL;
    g_autofree char *text = g_strdup_printf("driver=null-co,node-name=%s%s", name, more);
    struct blk_node *n = open_node(text, &err);
    g_assert_no_error(err);
    return n;
}

static unsigned done_count;

static void on_done(struct blk_req *req, int ret)
{
    g_assert_cmpint(ret, ==, 0);
    done_count++;
}

static void submit(struct blk_node *n, struct blk_req *req, enum blk_op op, uint64_t len)
{
    *req = (struct blk_req){.op = op, .len_bytes = len, .done = on_done, .node = n};
    blk_submit(req);
}

/* Seconds until `count` requests, all submitted at once, are done. */
static double run(struct blk_node *n, enum blk_op op, unsigned count, uint64_t len)
{
    g_autofree struct blk_req *reqs = g_new0(struct blk_req, count);
    uint64_t from = host_clock_ns();

    done_count = 0;
    for (unsigned i = 0; i < count; i++)
        submit(n, &reqs[i], op, len);
    while (done_count < count)
        g_main_context_iteration(NULL, TRUE);
    return (double)(host_clock_ns() - from) / 1e9;
}

/* A limit can only make things later: the least time is what arithmetic says, whatever the load. */
static void test_average(void)
{
    struct blk_node *n = null_node("n", ",throttling.iops-total=100");

    g_assert_cmpfloat(run(n, BLK_READ, 40, 512), >=, 0.29); /* ten at once, then one per 10 ms */
    blk_close(n);
    n = null_node("n", ",throttling.bps-write=1M");
    g_assert_cmpfloat(run(n, BLK_WRITE_ZEROES, 10, 65536), >=, 0.40);
    run(n, BLK_READ, 1000, 65536); /* reads are not limited: 64 MB would take a minute */
    run(n, BLK_FLUSH, 1000, 0);
    blk_close(n);
}

static void test_iops_size_counts_big_requests_more(void)
{
    struct blk_node *n = null_node("n", ",throttling.iops-total=100,throttling.iops-size=4096");

    g_assert_cmpfloat(run(n, BLK_READ, 5, 32768), >=, 0.20); /* 40 units; the fifth waits for 22 */
    blk_close(n);
}

static void test_burst_goes_through(void)
{
    struct blk_node *n = null_node("n", ",throttling.iops-total=10,throttling.iops-total-max=1000");
    struct throttle_limits l;

    run(n, BLK_READ, 900, 512); /* without the burst: a minute and a half, and the test's timeout */
    g_assert_cmpstr(blk_get_throttle(n, &l), ==, "n");
    g_assert_cmpuint(l.of[THROTTLE_IOPS_TOTAL].max, ==, 1000);
    blk_close(n);
}

static void test_group_shares(void)
{
    struct blk_node *a = null_node("a", ",throttling.iops-total=100,throttling.group=g"),
                    *b = null_node("b", ",throttling.iops-total=100,throttling.group=g");
    struct blk_req reqs[2][30];
    unsigned first_of_b = 0;
    uint64_t from = host_clock_ns();

    done_count = 0;
    for (unsigned i = 0; i < 30; i++)
        submit(a, &reqs[0][i], BLK_READ, 512);
    for (unsigned i = 0; i < 30; i++)
        submit(b, &reqs[1][i], BLK_READ, 512);
    while (done_count < 60) {
        struct blk_stats s;
        g_main_context_iteration(NULL, TRUE);
        blk_stats(b, &s);
        if (s.ops[BLK_READ] && !first_of_b)
            first_of_b = done_count;
    }
    g_assert_cmpfloat((double)(host_clock_ns() - from) / 1e9, >=, 0.48);
    g_assert_cmpuint(first_of_b, <, 20); /* its turn came long before a was through */
    blk_close(a);
    blk_close(b);
}

static void test_drain_does_not_wait(void)
{
    struct blk_node *n = null_node("n", ",throttling.iops-total=1,throttling.iops-size=512");
    struct blk_req reqs[20];

    done_count = 0;
    for (unsigned i = 0; i < 20; i++)
        submit(n, &reqs[i], BLK_READ, 51200); /* each is worth 100 s */
    blk_drain(n);
    g_assert_cmpuint(done_count, ==, 20);
    blk_close(n);
}

static void test_change_while_requests_wait(void)
{
    struct blk_node *n = null_node("n", ",throttling.iops-total=1,throttling.iops-size=512");
    struct throttle_limits none = {.iops_size_bytes = 0}, some = none;
    struct blk_req reqs[20];
    GError *err = NULL;

    done_count = 0;
    for (unsigned i = 0; i < 20; i++)
        submit(n, &reqs[i], BLK_READ, 51200);
    g_assert_true(blk_set_throttle(n, NULL, &none, &err));
    while (done_count < 20)
        g_main_context_iteration(NULL, TRUE);
    g_assert_null(blk_get_throttle(n, &some));
    some.of[THROTTLE_IOPS_READ].avg = 1000000;
    g_assert_true(blk_set_throttle(n, "later", &some, &err));
    g_assert_cmpstr(blk_get_throttle(n, &none), ==, "later");
    run(n, BLK_READ, 100, 512);
    blk_close(n);
}

static void test_filter_node(void)
{
    struct throttle_limits l = {.of[THROTTLE_IOPS_TOTAL].avg = 100};
    GError *err = NULL;
    struct throttle_group *g = throttle_group_new("tg", &l, &err);

    g_assert_null(throttle_group_new("tg", &l, &err));
    g_clear_error(&err);
    struct blk_node *n = open_node("driver=throttle,node-name=t,throttle-group=tg,file.driver=raw,"
                                   "file.file.driver=null-co",
                                   &err);
    g_assert_no_error(err);
    throttle_group_unref(g); /* the node keeps it */
    g_assert_cmpfloat(run(n, BLK_READ, 40, 512), >=, 0.29);
    g_assert_false(blk_set_throttle(n, NULL, &l, &err));
    g_clear_error(&err);
    blk_close(n);
}

static void test_io_thread(void)
{
    struct evloop *loop = evloop_new("io", NULL);
    struct blk_node *n = null_node("n", ",throttling.iops-total=1000000");
    struct throttle_limits l = {.of[THROTTLE_BPS_TOTAL].avg = 1 << 20};
    GError *err = NULL;

    blk_attach(n, loop);
    g_assert_true(blk_set_throttle(n, NULL, &l, &err)); /* while the loop's thread runs */
    memset(&l, 0, sizeof(l));
    g_assert_true(blk_set_throttle(n, NULL, &l, &err));
    blk_attach(n, evloop_main());
    blk_close(n);
    evloop_free(loop);
}

static void refused(const char *more, const char *word)
{
    GError *err = NULL;
    g_autofree char *text = g_strconcat("driver=null-co,node-name=n", more, NULL);

    g_assert_null(open_node(text, &err));
    if (!strstr(err->message, word))
        g_error("'%s' lacks '%s'", err->message, word);
    g_clear_error(&err);
}

static void test_refusals(void)
{
    refused(",throttling.iops-total=1,throttling.iops-read=1", "exclude each other");
    refused(",throttling.iops-total-max=1", "needs iops-total=");
    refused(",throttling.bps-read=5,throttling.bps-read-max=4", "not be less");
    refused(",throttling.bps-read=5,throttling.bps-read-max-length=4", "needs bps-read-max=");
    refused(",throttling.bps-read=2E", "too large");
    refused(",throttling.bsp-read=2", "bps-read");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/throttle/average", test_average);
    g_test_add_func("/throttle/iops-size", test_iops_size_counts_big_requests_more);
    g_test_add_func("/throttle/burst", test_burst_goes_through);
    g_test_add_func("/throttle/group", test_group_shares);
    g_test_add_func("/throttle/drain", test_drain_does_not_wait);
    g_test_add_func("/throttle/change", test_change_while_requests_wait);
    g_test_add_func("/throttle/filter", test_filter_node);
    g_test_add_func("/throttle/io-thread", test_io_thread);
    g_test_add_func("/throttle/refusals", test_refusals);
    return g_test_run();
}
