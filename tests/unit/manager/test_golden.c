/* Golden domains: NAME.xml becomes NAME.argv and NAME.out.xml (with HANOK_TEST_REGENERATE=1 they
 * are written anew).  What we write validates against libvirt's schema and loads back identically.
 */
#include "manager/argv.h"

#include <glib.h>
#include <libxml/relaxng.h>
#include <stdlib.h>
#include <string.h>

#define SCHEMA "/usr/share/libvirt/schemas/domain.rng"

static char *dir;

static bool regenerate(void)
{
    const char *v = g_getenv("HANOK_TEST_REGENERATE");
    return v && *v && strcmp(v, "0");
}

static char *path_of(const char *name, const char *suffix)
{
    g_autofree char *file = g_strconcat(name, suffix, NULL);
    return g_build_filename(dir, file, NULL);
}

static char *read_file(const char *name, const char *suffix)
{
    g_autofree char *path = path_of(name, suffix);
    char *text = NULL;
    return g_file_get_contents(path, &text, NULL, NULL) ? text : NULL;
}

static void compare(const char *name, const char *suffix, const char *now)
{
    g_autofree char *path = path_of(name, suffix), *golden = read_file(name, suffix);
    if (regenerate()) {
        g_assert_true(g_file_set_contents(path, now, -1, NULL));
        return;
    }
    if (!golden) {
        g_test_message("%s is missing: HANOK_TEST_REGENERATE=1 writes it", path);
        g_test_fail();
        return;
    }
    g_auto(GStrv) a = g_strsplit(golden, "\n", -1), b = g_strsplit(now, "\n", -1);
    unsigned i = 0;
    while (a[i] && b[i] && !strcmp(a[i], b[i])) {
        i++;
    }
    if (a[i] || b[i]) {
        g_test_message("%s%s, line %u\n  golden: %s\n  now:    %s", name, suffix, i + 1,
                       a[i] ? a[i] : "(end)", b[i] ? b[i] : "(end)");
        g_test_fail();
    }
}

static struct domain *must_load(const char *text)
{
    g_autoptr(GError) err = NULL;
    struct domain *d = domain_load(text, &err);
    g_assert_no_error(err);
    g_assert_nonnull(d);
    return d;
}

/* One word of the command line with what belongs to it on a line. */
static char *argv_text(struct domain *d)
{
    const struct argv_options o = {
        .dir = "/run/hanok/domain", .nvram_dir = "/var/lib/hanok/nvram", .native = true};
    g_autoptr(GError) err = NULL;
    GPtrArray *argv = domain_argv(d, &o, &err);
    GString *s = g_string_new(NULL);
    if (!argv) {
        g_string_append_printf(s, "error: %s\n", err->message);
        return g_string_free(s, FALSE);
    }
    for (unsigned i = 0; i + 1 < argv->len; i++) {
        const char *word = argv->pdata[i], *next = argv->pdata[i + 1];
        g_string_append(s, word);
        g_string_append_c(s, *word == '-' && next && *next != '-' ? ' ' : '\n');
    }
    g_ptr_array_free(argv, TRUE);
    return g_string_free(s, FALSE);
}

static void quiet(void *unused, const char *fmt, ...)
{
}

static xmlRelaxNG *load_schema(void)
{
    static xmlRelaxNG *schema;
    if (!schema && g_file_test(SCHEMA, G_FILE_TEST_EXISTS)) {
        xmlRelaxNGParserCtxt *ctxt = xmlRelaxNGNewParserCtxt(SCHEMA);
        xmlRelaxNGSetParserErrors(ctxt, quiet, quiet, NULL);
        schema = xmlRelaxNGParse(ctxt);
        xmlRelaxNGFreeParserCtxt(ctxt);
        g_assert_nonnull(schema);
    }
    return schema;
}

static void remember(void *opaque, xmlErrorPtr e)
{
    GString *s = opaque;
    if (s->len < 2000) {
        g_string_append_printf(s, "line %d: %s", e->line, e->message);
    }
}

static void check_schema(const char *name, const char *text)
{
    xmlRelaxNG *schema = load_schema();
    if (!schema) {
        g_test_skip("libvirt's schema is not installed (package libvirt0)");
        return;
    }
    g_autoptr(GString) why = g_string_new(NULL);
    xmlDoc *doc = xmlReadMemory(text, (int)strlen(text), name, NULL, 0);
    xmlRelaxNGValidCtxt *ctxt = xmlRelaxNGNewValidCtxt(schema);
    xmlRelaxNGSetValidStructuredErrors(ctxt, remember, why);
    int verdict = xmlRelaxNGValidateDoc(ctxt, doc);
    xmlRelaxNGFreeValidCtxt(ctxt);
    xmlFreeDoc(doc);
    if (verdict) {
        g_test_message("%s: libvirt's schema refuses what we wrote: %s\n%s", name, why->str, text);
        g_test_fail();
    }
}

static void test_domain(gconstpointer data)
{
    const char *name = data;
    g_autofree char *text = read_file(name, ".xml");
    struct domain *d = must_load(text);
    g_autofree char *out = domain_format(d, FORMAT_INACTIVE | FORMAT_SECURE);
    compare(name, ".out.xml", out);
    check_schema(name, out);

    struct domain *again = must_load(out);
    g_autofree char *out2 = domain_format(again, FORMAT_INACTIVE | FORMAT_SECURE);
    g_assert_cmpstr(out, ==, out2);

    g_autofree char *argv = argv_text(d), *argv2 = argv_text(again);
    compare(name, ".argv", argv);
    g_assert_cmpstr(argv, ==, argv2);

    domain_assign_aliases(d); /* what a running machine shows is valid too */
    xml_num_set(&d->id, 3);
    g_autofree char *live = domain_format(d, FORMAT_SECURE);
    check_schema(name, live);
    domain_free(d);
    domain_free(again);
}

/* Lines of libvirt's own command line that are not the same by design. */
static bool by_design(const char *line)
{
    static const char *const starts[] = {
        "/usr/bin/qemu-system-x86_64", "-object {\"qom-type\":\"secret\"",
        "-chardev socket,id=charmonitor", "-chardev socket,id=charchannel0", "-vnc ",
        "-device {\"driver\":\"vhost-vsock-pci", "-netdev ", "-spice ",
        /* firmware variables: each has its own file */
        "-blockdev {\"driver\":\"file\",\"filename\":\"/var/lib/hanok/nvram",
        "-blockdev {\"driver\":\"file\",\"filename\":\"/var/lib/libvirt/qemu/nvram"};
    for (unsigned i = 0; i < G_N_ELEMENTS(starts); i++) {
        if (g_str_has_prefix(line, starts[i])) {
            return true;
        }
    }
    return false;
}

/* Two things libvirt knows or forgets: it has read the images and says which have no backing file;
 * printing the command line of a definition, it drops the boot order of network cards. */
static bool same_line(const char *ours, const char *theirs)
{
    g_auto(GStrv) parts = g_strsplit(theirs, ",\"backing\":null", -1);
    g_autofree char *bare = g_strjoinv("", parts);
    g_autofree char *own = g_strdup(ours);
    char *boot = strstr(own, ",\"bootindex\":1");
    if (boot && strstr(own, "virtio-net-pci") && !strstr(theirs, "bootindex")) {
        memmove(boot, boot + 14, strlen(boot + 14) + 1);
    }
    return !strcmp(own, bare);
}

/* The oracle: for a domain that libvirt 9.0 started, the same words in the same order. */
static void test_like_libvirt(gconstpointer data)
{
    const char *name = data;
    g_autofree char *text = read_file(name, ".xml"), *theirs = read_file(name, ".libvirt");
    struct domain *d = must_load(text);
    g_autofree char *ours = argv_text(d);
    g_auto(GStrv) a = g_strsplit(ours, "\n", -1), b = g_strsplit(theirs, "\n", -1);
    unsigned i = 0, j = 0, compared = 0;
    for (;; i++, j++) {
        while (a[i] && (by_design(a[i]) || !strcmp(a[i], d->devices.emulator))) {
            i++;
        }
        while (b[j] && by_design(b[j])) {
            j++;
        }
        if (!a[i] || !b[j]) {
            break;
        }
        if (!same_line(a[i], b[j])) {
            g_test_message("%s: word %u\n  ours:    %s\n  libvirt: %s", name, j + 1, a[i], b[j]);
            g_test_fail();
            break;
        }
        compared++;
    }
    g_assert_cmpuint(compared, >, 20);
    domain_free(d);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    dir = g_strdup(g_getenv("HANOK_XML_DIR"));
    g_autoptr(GDir) entries = g_dir_open(dir, 0, NULL);
    unsigned n = 0;
    g_assert_nonnull(entries);
    for (const char *e = g_dir_read_name(entries); e; e = g_dir_read_name(entries)) {
        if (!g_str_has_suffix(e, ".xml") || g_str_has_suffix(e, ".out.xml")) {
            continue;
        }
        char *name = g_strndup(e, strlen(e) - 4);
        g_autofree char *path = g_strconcat("/golden/", name, NULL);
        g_test_add_data_func_full(path, name, test_domain, g_free);
        n++;
        g_autofree char *oracle = path_of(name, ".libvirt");
        if (g_file_test(oracle, G_FILE_TEST_EXISTS)) {
            g_autofree char *like = g_strconcat("/like-libvirt/", name, NULL);
            g_test_add_data_func_full(like, g_strdup(name), test_like_libvirt, g_free);
        }
    }
    g_assert_cmpuint(n, >=, 80);
    return g_test_run();
}
