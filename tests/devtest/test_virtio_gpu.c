/* test_virtio_gpu.c - virtio-gpu under good and hostile drivers; what they show is read from the
 * console. */
#include "vt_gpu.h"

/* A 64 x 32 resource 1 whose backing is two pieces, filled with 0x010000 * y + x. */
static void picture(struct vt_gpu *f)
{
    uint32_t line[64];

    for (unsigned y = 0; y < 32; y++) {
        for (unsigned x = 0; x < 64; x++)
            line[x] = y << 16 | x;
        f->bus->mem_write(f->bus, f->pixels + y * 256, line, sizeof(line));
    }
    g_assert_cmphex(VT_GPU(f, GPU_CREATE, 1, BGRX, 64, 32), ==, GPU_OK);
    g_assert_cmphex(VT_GPU(f, GPU_ATTACH, 1, 2, (uint32_t)f->pixels, 0, 1000, 0,
                           (uint32_t)f->pixels + 1000, 0, 8192 - 1000, 0),
                    ==, GPU_OK);
}

static void show(struct vt_gpu *f)
{
    picture(f);
    g_assert_cmphex(VT_GPU(f, GPU_TRANSFER, 0, 0, 64, 32, 0, 0, 1, 0), ==, GPU_OK);
    g_assert_cmphex(VT_GPU(f, GPU_SCANOUT, 0, 0, 64, 32, 0, 1), ==, GPU_OK);
    g_assert_cmphex(VT_GPU(f, GPU_FLUSH, 0, 0, 64, 32, 1, 0), ==, GPU_OK);
}

static void test_display_info_and_edid(void)
{
    struct vt_gpu f;
    struct virtio_gpu_config c = {.width = 1000, .height = 700};
    uint8_t edid[128], sum = 0;

    vt_gpu_set_up(&f, &c);
    g_assert_cmphex(vt_config_read(f.bus, GPU_DEVFN, 0, 4), ==, 0x10501af4);
    g_assert_cmphex(vt_config_read(f.bus, GPU_DEVFN, PCI_CLASS, 2), ==, 0x0380);
    g_assert_cmpuint(vt_cfg(&f.dev, 8, 4), ==, 1);
    g_assert_cmphex(VT_GPU(&f, GPU_DISPLAY_INFO), ==, GPU_OK_INFO);
    g_assert_cmpuint(vt_get(f.bus, f.out + 24 + 8, 4), ==, 1000);
    g_assert_cmpuint(vt_get(f.bus, f.out + 24 + 12, 4), ==, 700);
    g_assert_cmpuint(vt_get(f.bus, f.out + 24 + 16, 4), ==, 1);
    g_assert_cmpuint(vt_get(f.bus, f.out + 24 + 24 + 16, 4), ==, 0); /* the second: off */
    g_assert_cmphex(VT_GPU(&f, GPU_EDID, 0, 0), ==, GPU_OK_EDID);
    g_assert_cmpuint(vt_get(f.bus, f.out + 24, 4), ==, 128);
    f.bus->mem_read(f.bus, f.out + 32, edid, sizeof(edid));
    for (unsigned i = 0; i < 128; i++)
        sum = (uint8_t)(sum + edid[i]);
    g_assert_cmpuint(sum, ==, 0);
    g_assert_cmphex(le64_get(edid), ==, 0x00ffffffffffff00);
    g_assert_cmpuint(edid[56] | (edid[58] >> 4) << 8, ==, 1000); /* the detailed timing */
    g_assert_cmpuint(edid[59] | (edid[61] >> 4) << 8, ==, 700);
    g_assert_cmphex(VT_GPU(&f, GPU_EDID, 1, 0), ==, GPU_ERR_SCANOUT);
    vt_gpu_tear_down(&f);
}

static void test_picture_reaches_the_screen(void)
{
    struct vt_gpu f;
    const struct surface *s;

    vt_gpu_set_up(&f, NULL);
    show(&f);
    g_assert_cmphex(vt_gpu_dot(0, 0), ==, 0);
    g_assert_cmphex(vt_gpu_dot(63, 31), ==, 0x1f003f);
    s = console_surface(console_first());
    g_assert_cmpuint(s->width, ==, 64);
    g_assert_cmpuint(s->height, ==, 32);
    /* new pixels: not before their transfer, and only where it was */
    vt_put(f.bus, f.pixels + 10 * 256 + 20 * 4, 0xffabcdef, 4);
    vt_put(f.bus, f.pixels + 11 * 256 + 20 * 4, 0xffabcdef, 4);
    g_assert_cmphex(VT_GPU(&f, GPU_FLUSH, 0, 0, 64, 32, 1, 0), ==, GPU_OK);
    g_assert_cmphex(vt_gpu_dot(20, 10), ==, 0x0a0014);
    g_assert_cmphex(VT_GPU(&f, GPU_TRANSFER, 20, 10, 4, 1, 10 * 256 + 80, 0, 1, 0), ==, GPU_OK);
    g_assert_cmphex(VT_GPU(&f, GPU_FLUSH, 20, 10, 4, 1, 1, 0), ==, GPU_OK);
    g_assert_cmphex(vt_gpu_dot(20, 10), ==, 0xabcdef);
    g_assert_cmphex(vt_gpu_dot(20, 11), ==, 0x0b0014);
    /* a part of the picture */
    g_assert_cmphex(VT_GPU(&f, GPU_SCANOUT, 16, 8, 32, 16, 0, 1), ==, GPU_OK);
    g_assert_cmphex(vt_gpu_dot(0, 0), ==, 0x080010);
    g_assert_cmphex(vt_gpu_dot(31, 15), ==, 0x17002f);
    /* off: black, whatever comes */
    g_assert_cmphex(VT_GPU(&f, GPU_SCANOUT, 0, 0, 0, 0, 0, 0), ==, GPU_OK);
    g_assert_cmphex(vt_gpu_dot(31, 15), ==, 0);
    g_assert_cmphex(VT_GPU(&f, GPU_SCANOUT, 0, 0, 64, 32, 0, 1), ==, GPU_OK);
    g_assert_cmphex(vt_gpu_dot(63, 31), ==, 0x1f003f);
    g_assert_cmphex(VT_GPU(&f, GPU_UNREF, 1, 0), ==, GPU_OK);
    g_assert_cmphex(vt_gpu_dot(63, 31), ==, 0);
    vt_gpu_tear_down(&f);
}

static void test_formats(void)
{
    static const struct {
        uint32_t format, pixel;
    } formats[] = {{1, 0xff112233},  {2, 0x00112233},  {3, 0x332211ff},   {4, 0x33221100},
                   {67, 0xff332211}, {68, 0x11223300}, {121, 0x112233ff}, {134, 0x00332211}};
    struct vt_gpu f;

    vt_gpu_set_up(&f, NULL);
    for (unsigned i = 0; i < ARRAY_SIZE(formats); i++) {
        vt_put(f.bus, f.pixels, formats[i].pixel, 4);
        g_assert_cmphex(VT_GPU(&f, GPU_CREATE, 9, formats[i].format, 1, 1), ==, GPU_OK);
        g_assert_cmphex(VT_GPU(&f, GPU_ATTACH, 9, 1, (uint32_t)f.pixels, 0, 4, 0), ==, GPU_OK);
        g_assert_cmphex(VT_GPU(&f, GPU_TRANSFER, 0, 0, 1, 1, 0, 0, 9, 0), ==, GPU_OK);
        g_assert_cmphex(VT_GPU(&f, GPU_SCANOUT, 0, 0, 1, 1, 0, 9), ==, GPU_OK);
        g_assert_cmphex(vt_gpu_dot(0, 0), ==, 0x112233);
        g_assert_cmphex(VT_GPU(&f, GPU_UNREF, 9, 0), ==, GPU_OK);
    }
    g_assert_cmphex(VT_GPU(&f, GPU_CREATE, 9, 5, 1, 1), ==, GPU_ERR_PARAMETER);
    vt_gpu_tear_down(&f);
}

static void test_cursor(void)
{
    struct vt_gpu f;

    vt_gpu_set_up(&f, NULL);
    show(&f);
    vt_put(f.bus, f.pixels + 0x4000, 0xff808080, 4);     /* opaque */
    vt_put(f.bus, f.pixels + 0x4000 + 4, 0x80400000, 4); /* half, premultiplied */
    g_assert_cmphex(VT_GPU(&f, GPU_CREATE, 2, BGRA, 2, 1), ==, GPU_OK);
    g_assert_cmphex(VT_GPU(&f, GPU_ATTACH, 2, 1, (uint32_t)f.pixels + 0x4000, 0, 8, 0), ==, GPU_OK);
    g_assert_cmphex(VT_GPU(&f, GPU_TRANSFER, 0, 0, 2, 1, 0, 0, 2, 0), ==, GPU_OK);
    vt_gpu_cursor(&f, GPU_CURSOR_UPDATE, 10, 20, 2);
    g_assert_cmphex(vt_gpu_dot(10, 20), ==, 0x808080);
    g_assert_cmphex(vt_gpu_dot(11, 20), ==,
                    0x400000 + ((0x14u * 127 / 255) << 16) + 11 * 127 / 255);
    g_assert_cmphex(vt_gpu_dot(12, 20), ==, 0x14000c);
    vt_gpu_cursor(&f, GPU_CURSOR_MOVE, 63, 31, 0);
    g_assert_cmphex(vt_gpu_dot(10, 20), ==, 0x14000a);
    g_assert_cmphex(vt_gpu_dot(63, 31), ==, 0x808080);
    vt_gpu_cursor(&f, GPU_CURSOR_MOVE, (uint32_t)-1, 5, 0); /* one dot beyond the left edge */
    g_assert_cmphex(vt_gpu_dot(0, 5) >> 16, ==, 0x40 + 5 * 127 / 255);
    vt_gpu_cursor(&f, GPU_CURSOR_MOVE, 0x7fffffff, 0x80000000, 0);
    vt_gpu_cursor(&f, GPU_CURSOR_UPDATE, 0, 0, 0); /* hidden */
    g_assert_cmphex(vt_gpu_dot(0, 5), ==, 0x050000);
    vt_gpu_tear_down(&f);
}

/* A viewer's wish becomes an event and a new size; only the guest changes the picture. */
static void test_resize(void)
{
    struct vt_gpu f;

    vt_gpu_set_up(&f, NULL);
    show(&f);
    unsigned irqs = vt_board_msi_count(f.board, 0);
    g_assert_true(console_can_resize(console_first()));
    g_assert_false(console_wish_size(console_first(), 0, 10));
    g_assert_false(console_wish_size(console_first(), 8193, 10));
    g_assert_true(console_wish_size(console_first(), 1600, 900));
    g_assert_cmpuint(vt_cfg(&f.dev, 0, 4), ==, 1);
    g_assert_cmpuint(vt_board_msi_count(f.board, 0), ==, irqs + 1);
    g_assert_true(console_wish_size(console_first(), 1600, 900)); /* again: nothing new */
    g_assert_cmpuint(vt_board_msi_count(f.board, 0), ==, irqs + 1);
    vt_cfg_write(&f.dev, 4, 4, 1);
    g_assert_cmpuint(vt_cfg(&f.dev, 0, 4), ==, 0);
    g_assert_cmphex(VT_GPU(&f, GPU_DISPLAY_INFO), ==, GPU_OK_INFO);
    g_assert_cmpuint(vt_get(f.bus, f.out + 24 + 8, 4), ==, 1600);
    vt_gpu_dot(0, 0);
    g_assert_cmpuint(console_surface(console_first())->width, ==, 64);
    vt_gpu_tear_down(&f);
}

/* ---- hostile ---- */

static void test_hostile_sizes(void)
{
    struct vt_gpu f;
    struct virtio_gpu_config c = {.hostmem_bytes = 1 << 20};
    static const uint32_t bad[][4] = {
        /* a rectangle that a 64 x 32 picture does not hold */
        {0, 0, 65, 32},        {64, 0, 1, 1},         {1, 0, 64, 1}, {0, 0, 0, 1},
        {0xffffffff, 0, 2, 1}, {1, 0, 0xffffffff, 1}, {0, 31, 1, 2}, {0, 0xfffffff0, 1, 0x20}};

    vt_gpu_set_up(&f, &c);
    g_assert_cmphex(VT_GPU(&f, GPU_CREATE, 0, BGRX, 8, 8), ==, GPU_ERR_RESOURCE);
    g_assert_cmphex(VT_GPU(&f, GPU_CREATE, 1, BGRX, 0, 8), ==, GPU_ERR_PARAMETER);
    g_assert_cmphex(VT_GPU(&f, GPU_CREATE, 1, BGRX, 0x10000, 0x10000), ==, GPU_ERR_PARAMETER);
    g_assert_cmphex(VT_GPU(&f, GPU_CREATE, 1, BGRX, 16384, 16384), ==, GPU_ERR_MEMORY);
    picture(&f);
    g_assert_cmphex(VT_GPU(&f, GPU_CREATE, 1, BGRX, 8, 8), ==, GPU_ERR_RESOURCE); /* twice */
    g_assert_cmphex(VT_GPU(&f, GPU_CREATE, 2, BGRX, 512, 512), ==, GPU_ERR_MEMORY);
    g_assert_cmphex(VT_GPU(&f, GPU_CREATE, 2, BGRX, 512, 500), ==, GPU_OK);
    for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
        const uint32_t *b = bad[i];
        g_assert_cmphex(VT_GPU(&f, GPU_TRANSFER, b[0], b[1], b[2], b[3], 0, 0, 1, 0), ==,
                        GPU_ERR_PARAMETER);
        g_assert_cmphex(VT_GPU(&f, GPU_FLUSH, b[0], b[1], b[2], b[3], 1, 0), ==, GPU_ERR_PARAMETER);
        g_assert_cmphex(VT_GPU(&f, GPU_SCANOUT, b[0], b[1], b[2], b[3], 0, 1), ==,
                        GPU_ERR_PARAMETER);
    }
    g_assert_cmphex(VT_GPU(&f, GPU_SCANOUT, 0, 0, 8, 8, 1, 1), ==, GPU_ERR_SCANOUT);
    g_assert_cmphex(VT_GPU(&f, GPU_SCANOUT, 0, 0, 8, 8, 0, 77), ==, GPU_ERR_RESOURCE);
    /* beyond the backing */
    g_assert_cmphex(VT_GPU(&f, GPU_TRANSFER, 0, 0, 64, 32, 4, 0, 1, 0), ==, GPU_ERR_PARAMETER);
    g_assert_cmphex(VT_GPU(&f, GPU_TRANSFER, 0, 0, 1, 1, ~0u, ~0u, 1, 0), ==, GPU_ERR_PARAMETER);
    g_assert_cmphex(VT_GPU(&f, GPU_TRANSFER, 0, 0, 1, 2, 8192 - 128, 0, 1, 0), ==,
                    GPU_ERR_PARAMETER);
    vt_gpu_tear_down(&f);
}

static void test_hostile_backing(void)
{
    struct vt_gpu f;

    vt_gpu_set_up(&f, NULL);
    picture(&f);
    g_assert_cmphex(VT_GPU(&f, GPU_ATTACH, 1, 1, 0, 0, 4, 0), ==, GPU_ERR); /* has one */
    g_assert_cmphex(VT_GPU(&f, GPU_DETACH, 1, 0), ==, GPU_OK);
    g_assert_cmphex(VT_GPU(&f, GPU_TRANSFER, 0, 0, 1, 1, 0, 0, 1, 0), ==, GPU_ERR);
    g_assert_cmphex(VT_GPU(&f, GPU_ATTACH, 1, 0), ==, GPU_ERR_PARAMETER);
    g_assert_cmphex(VT_GPU(&f, GPU_ATTACH, 1, 0x20000000), ==, GPU_ERR_PARAMETER);
    g_assert_cmphex(VT_GPU(&f, GPU_ATTACH, 1, 2, 0, 0, 4, 0), ==, GPU_ERR_PARAMETER);
    g_assert_cmphex(VT_GPU(&f, GPU_ATTACH, 5, 1, 0, 0, 4, 0), ==, GPU_ERR_RESOURCE);
    /* empty pieces, a hole, the end of the address space */
    g_assert_cmphex(VT_GPU(&f, GPU_ATTACH, 1, 3, 0, 0, 0, 0, 0x70000000, 0, 8, 0, ~0u, ~0u, ~0u, 0),
                    ==, GPU_OK);
    g_assert_cmphex(VT_GPU(&f, GPU_TRANSFER, 0, 0, 1, 1, 0, 0, 1, 0), ==, GPU_ERR_PARAMETER);
    g_assert_cmphex(VT_GPU(&f, GPU_TRANSFER, 0, 0, 1, 1, 8, 0, 1, 0), ==, GPU_ERR_PARAMETER);
    g_assert_cmphex(VT_GPU(&f, GPU_UNREF, 1, 0), ==, GPU_OK);
    g_assert_cmphex(VT_GPU(&f, GPU_UNREF, 1, 0), ==, GPU_ERR_RESOURCE);
    /* not a command, one of another feature, ones that are too short */
    g_assert_cmphex(VT_GPU(&f, 0xdead), ==, GPU_ERR);
    g_assert_cmphex(VT_GPU(&f, 0x200, 1, 2, 3), ==, GPU_ERR);
    g_assert_cmphex(VT_GPU(&f, GPU_CREATE, 1), ==, GPU_ERR_PARAMETER);
    g_assert_cmphex(VT_GPU(&f, GPU_TRANSFER, 1, 2, 3), ==, GPU_ERR_PARAMETER);
    vt_gpu_tear_down(&f);
}

static void test_broken_chains_need_a_reset(void)
{
    struct vt_gpu f;

    vt_gpu_set_up(&f, NULL);
    for (unsigned i = 0; i < 3; i++) {
        struct vt_buf b[] = {{f.in, i ? 24 : 23, false}, {f.out, 23, true}};
        struct vt_buf cursor = {f.in, 55, false};
        if (i < 2)
            vt_add(&f.ctrl, b, 2, false);
        else
            vt_add(&f.cursor, &cursor, 1, false);
        vt_kick(i < 2 ? &f.ctrl : &f.cursor);
        g_assert_true(vt_needs_reset(&f.dev));
        vt_gpu_start(&f);
        show(&f);
        g_assert_cmphex(vt_gpu_dot(63, 31), ==, 0x1f003f);
    }
    vt_reset(&f.dev); /* its pictures are gone */
    g_assert_cmphex(vt_gpu_dot(63, 31), ==, 0);
    vt_gpu_start(&f);
    g_assert_cmphex(VT_GPU(&f, GPU_UNREF, 1, 0), ==, GPU_ERR_RESOURCE);
    vt_gpu_tear_down(&f);
}

static void test_save_load(void)
{
    struct vt_gpu f;

    vt_gpu_set_up(&f, NULL);
    show(&f);
    g_assert_cmphex(VT_GPU(&f, GPU_CREATE, 7, BGRA, 3, 3), ==, GPU_OK);
    vt_board_pause(f.board);
    g_autoptr(GBytes) first = vt_board_save(f.board);
    vt_board_free(f.board);
    struct vt_gpu old = f;
    vt_gpu_board(&f, NULL);
    vt_board_load_same(f.board, first);
    g_assert_cmphex(vt_gpu_dot(63, 31), ==, 0x1f003f); /* a paused machine has a screen, too */
    vt_board_resume(f.board);
    f.dev = old.dev;
    f.ctrl = old.ctrl;
    f.dev.bus = f.bus;
    f.ctrl.dev = &f.dev;
    vt_put(f.bus, f.pixels, 0x00123456, 4);
    g_assert_cmphex(VT_GPU(&f, GPU_TRANSFER, 0, 0, 64, 32, 0, 0, 1, 0), ==, GPU_OK);
    g_assert_cmphex(VT_GPU(&f, GPU_FLUSH, 0, 0, 64, 32, 1, 0), ==, GPU_OK);
    g_assert_cmphex(vt_gpu_dot(0, 0), ==, 0x123456);
    vt_gpu_tear_down(&f);
}

static void test_hostile_state(void)
{
    struct vt_gpu f;

    vt_gpu_set_up(&f, NULL);
    show(&f);
    vt_board_pause(f.board);
    g_autoptr(GBytes) saved = vt_board_save(f.board);
    const uint8_t *p = g_bytes_get_data(saved, NULL);
    size_t len = (size_t)le64_get(p);
    for (size_t i = 0; i < len; i += i % 29 + 11) {
        g_autofree uint8_t *copy = g_memdup2(p + 8, len);
        GError *err = NULL;
        copy[i] ^= 0xff;
        vt_board_load_devices(f.board, copy, len, &err);
        g_clear_error(&err);
        console_refresh(console_first(), true);
        vt_board_reset(f.board);
        vt_board_pause(f.board);
    }
    vt_board_resume(f.board);
    vt_gpu_start(&f);
    show(&f);
    vt_gpu_tear_down(&f);
}

struct watcher {
    struct console_viewer viewer;
    struct cursor last;
    uint32_t dot; /* the first of its picture, when that came */
    unsigned tellings, shapes;
};

static void watcher_resized(struct console_viewer *v, const struct surface *s)
{
}

static void watcher_changed(struct console_viewer *v, const struct surface *s, const struct rect *r)
{
}

static void watcher_cursor(struct console_viewer *v, const struct cursor *c)
{
    struct watcher *w = container_of(v, struct watcher, viewer);

    w->last = *c;
    w->tellings++;
    if (c->argb) {
        w->shapes++;
        w->dot = c->argb[0];
    }
}

/* A viewer that shows the pointer itself gets its shape and place, and a picture without it; as
 * soon as another one cannot do so, the pointer is in the picture again. */
static void test_cursor_apart(void)
{
    struct vt_gpu f;
    struct watcher w = {.viewer = {.resized = watcher_resized,
                                   .changed = watcher_changed,
                                   .cursor = watcher_cursor}};
    struct console_viewer plain = {.resized = watcher_resized, .changed = watcher_changed};

    vt_gpu_set_up(&f, NULL);
    show(&f);
    vt_put(f.bus, f.pixels + 0x4000, 0xff808080, 4);
    g_assert_cmphex(VT_GPU(&f, GPU_CREATE, 2, BGRA, 1, 1), ==, GPU_OK);
    g_assert_cmphex(VT_GPU(&f, GPU_ATTACH, 2, 1, (uint32_t)f.pixels + 0x4000, 0, 4, 0), ==, GPU_OK);
    g_assert_cmphex(VT_GPU(&f, GPU_TRANSFER, 0, 0, 1, 1, 0, 0, 2, 0), ==, GPU_OK);
    vt_gpu_cursor(&f, GPU_CURSOR_UPDATE, 10, 20, 2);
    g_assert_cmphex(vt_gpu_dot(10, 20), ==, 0x808080);
    console_attach(console_first(), &w.viewer);
    g_assert_cmphex(vt_gpu_dot(10, 20), ==, 0x14000a); /* what was under it */
    g_assert_cmpuint(w.shapes, ==, 1);
    g_assert_cmphex(w.dot, ==, 0xff808080);
    g_assert_true(w.last.visible);
    g_assert_cmpint(w.last.x, ==, 10);
    g_assert_cmpint(w.last.y, ==, 20);
    vt_gpu_cursor(&f, GPU_CURSOR_MOVE, 12, 21, 0);
    g_assert_cmphex(vt_gpu_dot(12, 21), ==, 0x15000c);
    g_assert_cmpuint(w.shapes, ==, 1);
    g_assert_cmpint(w.last.x, ==, 12);
    unsigned before = w.tellings;
    vt_gpu_dot(0, 0);
    g_assert_cmpuint(w.tellings, ==, before); /* nothing new */
    console_attach(console_first(), &plain);
    g_assert_cmphex(vt_gpu_dot(12, 21), ==, 0x808080);
    console_detach(console_first(), &plain);
    g_assert_cmphex(vt_gpu_dot(12, 21), ==, 0x15000c);
    vt_gpu_cursor(&f, GPU_CURSOR_UPDATE, 12, 21, 0); /* hidden */
    vt_gpu_dot(0, 0);
    g_assert_false(w.last.visible);
    console_detach(console_first(), &w.viewer);
    vt_gpu_tear_down(&f);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/virtio-gpu/display-info", test_display_info_and_edid);
    g_test_add_func("/virtio-gpu/picture", test_picture_reaches_the_screen);
    g_test_add_func("/virtio-gpu/formats", test_formats);
    g_test_add_func("/virtio-gpu/cursor", test_cursor);
    g_test_add_func("/virtio-gpu/cursor-apart", test_cursor_apart);
    g_test_add_func("/virtio-gpu/resize", test_resize);
    g_test_add_func("/virtio-gpu/hostile/sizes", test_hostile_sizes);
    g_test_add_func("/virtio-gpu/hostile/backing", test_hostile_backing);
    g_test_add_func("/virtio-gpu/hostile/chains", test_broken_chains_need_a_reset);
    g_test_add_func("/virtio-gpu/save-load", test_save_load);
    g_test_add_func("/virtio-gpu/hostile/state", test_hostile_state);
    return g_test_run();
}
