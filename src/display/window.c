/* window.c - loads the window's module, shows it the console, and brings its events to the main
 * thread. */
#include "display/window.h"

#include "base/error.h"
#include "base/util.h"
#include "display/input.h"
#include "display/window_module.h"
#include "seat.h"

_Static_assert((int)WINDOW_LEFT == (int)INPUT_LEFT && (int)WINDOW_MIDDLE == (int)INPUT_MIDDLE &&
                   (int)WINDOW_RIGHT == (int)INPUT_RIGHT &&
                   (int)WINDOW_WHEEL_UP == (int)INPUT_WHEEL_UP &&
                   (int)WINDOW_WHEEL_DOWN == (int)INPUT_WHEEL_DOWN &&
                   (int)WINDOW_SIDE == (int)INPUT_SIDE && (int)WINDOW_EXTRA == (int)INPUT_EXTRA,
               "the module's buttons are those of input.h");

struct host_window {
    struct seat seat; /* first */
    const struct window_module *module;
    struct window *window;
    bool absolute; /* as the module was told */
    void (*closed)(void *opaque);
    void *opaque;
};

static struct host_window *the_window;

/* ---- the module's thread tells ---- */

static void on_scancode(void *opaque, uint32_t code, bool down)
{
    seat_event(opaque, &(struct seat_event){.kind = SEAT_SCANCODE, .code = code, .down = down});
}

static void on_pointer_at(void *opaque, unsigned buttons, int x, int y)
{
    seat_event(opaque, &(struct seat_event){.kind = SEAT_POINTER, .code = buttons, .x = x, .y = y});
}

static void on_pointer_by(void *opaque, unsigned buttons, int dx, int dy)
{
    seat_event(opaque, &(struct seat_event){.kind = SEAT_MOVE, .code = buttons, .x = dx, .y = dy});
}

static void on_visible(void *opaque, bool on)
{
    seat_event(opaque, &(struct seat_event){.kind = SEAT_LOOKERS, .x = on});
}

static void on_size(void *opaque, unsigned width, unsigned height)
{
    seat_event(opaque, &(struct seat_event){.kind = SEAT_SIZE, .x = (int)width, .y = (int)height});
}

static void on_closed(void *opaque)
{
    seat_event(opaque, &(struct seat_event){.kind = SEAT_CLOSED});
}

/* ---- main thread ---- */

static void viewer_resized(struct console_viewer *cv, const struct surface *s)
{
    struct host_window *w = container_of(cv, struct host_window, seat.viewer);

    w->module->resize(w->window, s->width, s->height);
}

static void viewer_changed(struct console_viewer *cv, const struct surface *s, const struct rect *r)
{
    struct host_window *w = container_of(cv, struct host_window, seat.viewer);

    w->module->update(w->window, s->pixels, r->x, r->y, r->width, r->height);
}

static void looked(struct seat *s)
{
    struct host_window *w = container_of(s, struct host_window, seat);
    bool absolute = input_absolute();

    if (absolute != w->absolute)
        w->module->absolute(w->window, absolute);
    w->absolute = absolute;
}

static void closed(struct seat *s)
{
    struct host_window *w = container_of(s, struct host_window, seat);

    if (w->closed)
        w->closed(w->opaque);
}

bool window_open(const struct window_config *cfg, GError **err)
{
    g_autofree char *title =
        cfg->name ? g_strdup_printf("Hanok (%s)", cfg->name) : g_strdup("Hanok");
    struct host_window *w;
    const char *why = NULL;

    g_assert(!the_window);
    w = the_window = g_new0(struct host_window, 1);
    seat_init(&w->seat);
    w->seat.viewer.resized = viewer_resized;
    w->seat.viewer.changed = viewer_changed;
    w->seat.closed = closed;
    w->seat.looked = looked;
    w->closed = cfg->closed;
    w->opaque = cfg->opaque;
    w->module = display_module_load("hanok-sdl.so", WINDOW_MODULE_SYMBOL, WINDOW_MODULE_ABI,
                                    "the window for desktops", err);
    if (!w->module) {
        window_close();
        return false;
    }
    struct window_start start = {
        .title = title,
        .width = w->seat.console ? console_surface(w->seat.console)->width : 640,
        .height = w->seat.console ? console_surface(w->seat.console)->height : 480,
        .can_resize = w->seat.console && console_can_resize(w->seat.console),
        .full_screen = cfg->full_screen,
        .grab_with_shift = cfg->grab_with_shift,
        .cb = {w, on_scancode, on_pointer_at, on_pointer_by, on_visible, on_size, on_closed},
    };
    w->window = w->module->start(&start, &why);
    if (!w->window) {
        window_close();
        return error_set(err, HANOK_ERROR_IO,
                         "no window can be opened: %s; without a desktop use -vnc or -display none",
                         why ? why : "out of memory");
    }
    seat_attach(&w->seat);
    return true;
}

void window_close(void)
{
    struct host_window *w = the_window;

    if (!w)
        return;
    the_window = NULL;
    seat_detach(&w->seat);
    if (w->window)
        w->module->stop(w->window);
    seat_fini(&w->seat);
    g_free(w);
}
