/* What is written into cgroup version 2's tree: a directory of plain files stands in for it.
 * Version 1's is the kernel's own, in system/verbs. */
#include "cgroup.h"

#include <glib.h>
#include <glib/gstdio.h>
#include <string.h>
#include <unistd.h>

#define UUID "d739746d-c53a-57b0-a6bb-89268ff52208"

static G_GNUC_NO_INLINE char *read_back(const char *path)
{
    g_autofree char *full = g_build_filename(cgroup_root, path, NULL);
    char *text = NULL;
    g_file_get_contents(full, &text, NULL, NULL);
    return text;
}

#define WRITTEN(path, what)                                                                        \
    do {                                                                                           \
        g_autofree char *text = read_back(path);                                                   \
        g_assert_cmpstr(text, ==, what);                                                           \
    } while (0)

static void make_tree(void)
{
    g_autofree char *dir = g_dir_make_tmp("hanok-cgroup-XXXXXX", NULL);
    cgroup_root = g_intern_string(dir);
    for (unsigned i = 0; i < 2; i++) {
        g_autofree char *file =
            g_build_filename(dir, i ? "cgroup.controllers" : "cgroup.subtree_control", NULL);
        g_assert_true(g_file_set_contents(file, "", 0, NULL));
    }
}

static struct domain *limited(void)
{
    GError *err = NULL;
    struct domain *d = domain_load(
        "<domain type='qemu'><name>d</name><uuid>" UUID "</uuid><memory unit='MiB'>64</memory>"
        "<vcpu current='1'>2</vcpu><iothreads>1</iothreads><iothreadids><iothread id='7'/>"
        "</iothreadids><blkiotune><weight>300</weight></blkiotune><memtune><hard_limit unit='KiB'>9"
        "</hard_limit></memtune><cputune><shares>2</shares><period>1000</period><quota>-1</quota>"
        "<iothread_quota>2000</iothread_quota></cputune><os><type arch='x86_64' machine='q35'>hvm"
        "</type></os></domain>",
        &err);
    g_assert_no_error(err);
    return d;
}

static void test_version_2(void)
{
    GError *err = NULL;
    make_tree();
    struct domain *d = limited();
    g_assert_true(cgroup_possible(d, &err) && cgroup_apply(d, 4711, cgroup_root, &err));
    g_assert_no_error(err);
    WRITTEN("hanok/" UUID "/cpu.weight", "1");
    WRITTEN("hanok/" UUID "/memory.max", "9216");
    WRITTEN("hanok/" UUID "/io.bfq.weight", "default 300");
    WRITTEN("hanok/" UUID "/cgroup.procs", "4711");
    WRITTEN("hanok/" UUID "/cgroup.subtree_control", "+cpu");
    WRITTEN("hanok/" UUID "/vcpu0/cgroup.type", "threaded");
    WRITTEN("hanok/" UUID "/vcpu1/cpu.max", "max 1000"); /* it may be plugged in later */
    WRITTEN("hanok/" UUID "/iothread7/cpu.max", "2000 100000");
    g_assert_true(cgroup_thread(d, "vcpu1", 12, &err));
    WRITTEN("hanok/" UUID "/vcpu1/cgroup.threads", "12");
    g_assert_true(cgroup_thread(d, CGROUP_EMULATOR, 13, &err)); /* has no limit: stays */
    WRITTEN("hanok/" UUID "/emulator/cgroup.threads", NULL);
    domain_free(d);
}

static void test_deepest_group_is_noted_first(void)
{
    make_tree();
    struct domain *d = limited();
    g_assert_true(cgroup_apply(d, 1, cgroup_root, NULL));
    char *text = read_back("cgroup");
    const char *parent = strstr(text, "/hanok/" UUID "\n"), *child = strstr(text, "/vcpu1\n");
    g_assert_true(child && parent && child < parent);
    g_free(text);
    domain_free(d);
}

static void test_read_only_tree_is_said(void)
{
    GError *err = NULL;
    make_tree();
    g_autofree char *file = g_build_filename(cgroup_root, "cgroup.subtree_control", NULL);
    struct domain *d = limited();
    g_assert_cmpint(g_unlink(file), ==, 0);
    g_assert_false(cgroup_possible(d, &err));
    g_assert_nonnull(strstr(err->message, "leave them out, or start as root"));
    g_clear_error(&err);
    domain_free(d);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/v2/limits-and-threads", test_version_2);
    g_test_add_func("/v2/deepest-group-is-noted-first", test_deepest_group_is_noted_first);
    g_test_add_func("/v2/read-only-tree-is-said", test_read_only_tree_is_said);
    return g_test_run();
}
