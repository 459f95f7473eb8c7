/* Consoles: who is told what, and pictures that others can read. */
#include "base/util.h"
#include "display/console.h"

#include <glib.h>
#include <glib/gstdio.h>
#include <libdeflate.h>
#include <unistd.h>

struct watcher {
    struct console_viewer viewer; /* first */
    unsigned width, height, changes, gone;
};

static unsigned updates, all_updates;

static void draw(void *opaque, struct console *c, bool all)
{
    updates++;
    all_updates += all;
    console_resize(c, 16, 8);
    console_surface(c)->pixels[0] = 0x123456;
    console_surface(c)->pixels[16 * 8 - 1] = 0xfedcba;
    console_changed(c, &(struct rect){0, 0, 16, 8});
    console_changed(c, &(struct rect){0, 0, 0, 8}); /* nothing: nobody hears of it */
}

static void resized(struct console_viewer *v, const struct surface *s)
{
    struct watcher *w = container_of(v, struct watcher, viewer);
    w->width = s->width;
    w->height = s->height;
}

static void changed(struct console_viewer *v, const struct surface *s, const struct rect *r)
{
    container_of(v, struct watcher, viewer)->changes++;
}

static void gone(struct console_viewer *v)
{
    container_of(v, struct watcher, viewer)->gone++;
}

static void test_viewers_hear_of_sizes_changes_and_the_end(void)
{
    struct watcher a = {.viewer = {.resized = resized, .changed = changed, .gone = gone}}, b = a;
    struct console *c = console_new(&(struct console_source){draw, NULL});
    g_assert_true(console_first() == c);
    console_attach(c, &a.viewer);
    console_attach(c, &b.viewer);
    g_assert_cmpuint(a.width, ==, 640);
    g_assert_cmpuint(updates, ==, 0); /* nothing is drawn because somebody is there */
    console_refresh(c, false);
    g_assert_cmpuint(a.width, ==, 16);
    g_assert_cmpuint(b.height, ==, 8);
    g_assert_cmpuint(a.changes, ==, 1);
    console_detach(c, &b.viewer);
    console_refresh(c, true);
    g_assert_cmpuint(a.changes, ==, 2);
    g_assert_cmpuint(b.changes, ==, 1);
    g_assert_cmpuint(all_updates, ==, 1);
    console_free(c);
    g_assert_cmpuint(a.gone, ==, 1);
    g_assert_cmpuint(b.gone, ==, 0);
    g_assert_null(console_first());
}

static uint32_t be32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | p[1] << 16 | p[2] << 8 | p[3];
}

static void test_pictures(void)
{
    struct console *c = console_new(&(struct console_source){draw, NULL});
    console_refresh(c, true);
    g_autoptr(GByteArray) ppm = surface_ppm(console_surface(c));
    g_assert_cmpmem(ppm->data, 12, "P6\n16 8\n255\n", 12);
    g_assert_cmpuint(ppm->len, ==, 12 + 16 * 8 * 3);
    g_assert_cmpmem(ppm->data + 12, 3, "\x12\x34\x56", 3);
    g_assert_cmpmem(ppm->data + ppm->len - 3, 3, "\xfe\xdc\xba", 3);

    g_autoptr(GByteArray) png = surface_png(console_surface(c));
    const uint8_t *p = png->data + 8;
    uint8_t raw[8 * (1 + 16 * 3)];
    struct libdeflate_decompressor *z = libdeflate_alloc_decompressor();
    size_t raw_len = 0;
    g_assert_cmpmem(p + 4, 4, "IHDR", 4);
    g_assert_cmpuint(be32(p + 8), ==, 16);
    g_assert_cmpuint(be32(p + 12), ==, 8);
    g_assert_cmpuint(be32(p + 8 + 13), ==, libdeflate_crc32(0, p + 4, 4 + 13));
    p += 8 + 13 + 4;
    g_assert_cmpmem(p + 4, 4, "IDAT", 4);
    g_assert_cmpint(libdeflate_zlib_decompress(z, p + 8, be32(p), raw, sizeof(raw), &raw_len), ==,
                    LIBDEFLATE_SUCCESS);
    libdeflate_free_decompressor(z);
    g_assert_cmpuint(raw_len, ==, sizeof(raw));
    g_assert_cmpmem(raw + 1, 3, "\x12\x34\x56", 3);
    g_assert_cmpmem(raw + sizeof(raw) - 3, 3, "\xfe\xdc\xba", 3);
    console_free(c);
}

static void test_a_picture_is_written_whole_or_not_at_all(void)
{
    struct console *c = console_new(&(struct console_source){draw, NULL});
    g_autofree char *dir = g_dir_make_tmp("hanok-XXXXXX", NULL);
    g_autofree char *path = g_build_filename(dir, "screen.ppm", NULL), *data = NULL;
    GError *err = NULL;
    gsize len;
    g_assert_true(console_dump(c, path, false, NULL));
    g_assert_true(g_file_get_contents(path, &data, &len, NULL));
    g_assert_cmpuint(len, ==, 12 + 16 * 8 * 3);
    g_assert_false(console_dump(c, "/nonexistent/screen.png", true, &err));
    g_assert_nonnull(strstr(err->message, "/nonexistent/screen.png"));
    g_clear_error(&err);
    unlink(path);
    rmdir(dir);
    console_free(c);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/console/viewers", test_viewers_hear_of_sizes_changes_and_the_end);
    g_test_add_func("/console/pictures", test_pictures);
    g_test_add_func("/console/dump", test_a_picture_is_written_whole_or_not_at_all);
    return g_test_run();
}
