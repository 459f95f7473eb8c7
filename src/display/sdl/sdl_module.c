/* sdl_module.c - SDL 2 behind window_module.h.
 *
 * All of SDL is called by the module's thread, but for SDL_PushEvent(), which wakes it: it waits
 * for events without a timeout, so that a still screen costs nothing. */
#include "display/window_module.h"
#include "sdl_keys.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { CODES = 256 };

struct window {
    struct window_callbacks cb;
    pthread_t thread;
    bool can_resize, full_screen, grab_with_shift;
    char *title;
    /* module's thread */
    SDL_Window *window;
    SDL_Renderer *renderer;
    SDL_Texture *texture;
    unsigned shown_width, shown_height;
    unsigned buttons;
    int x, y; /* of the pointer, on the guest's screen */
    bool grabbed, pressed[CODES];
    /* under lock */
    pthread_mutex_t lock;
    pthread_cond_t started;
    enum { STARTING, RUNNING, FAILED, STOPPING } state;
    const char *why;
    uint32_t *shadow;
    unsigned width, height;
    SDL_Rect dirty; /* empty: nothing */
    bool woken, absolute;
};

/* ---- from the main thread ---- */

static void wake_locked(struct window *w)
{
    SDL_Event e = {.type = SDL_USEREVENT};

    if (!w->woken && w->state != STARTING)
        w->woken = SDL_PushEvent(&e) > 0;
}

static void window_resize(struct window *w, unsigned width, unsigned height)
{
    uint32_t *fresh = calloc((size_t)width * height, sizeof(*fresh));

    if (!fresh)
        return; /* the old size stays; updates outside it are dropped */
    pthread_mutex_lock(&w->lock);
    free(w->shadow);
    w->shadow = fresh;
    w->width = width;
    w->height = height;
    w->dirty = (SDL_Rect){0, 0, (int)width, (int)height};
    wake_locked(w);
    pthread_mutex_unlock(&w->lock);
}

static void window_update(struct window *w, const uint32_t *pixels, unsigned x, unsigned y,
                          unsigned width, unsigned height)
{
    SDL_Rect r = {(int)x, (int)y, (int)width, (int)height};

    pthread_mutex_lock(&w->lock);
    if (x + width <= w->width && y + height <= w->height) {
        for (unsigned row = y; row < y + height; row++)
            memcpy(w->shadow + (size_t)row * w->width + x, pixels + (size_t)row * w->width + x,
                   (size_t)width * sizeof(*pixels));
        if (SDL_RectEmpty(&w->dirty))
            w->dirty = r;
        else
            SDL_UnionRect(&w->dirty, &r, &w->dirty);
        wake_locked(w);
    }
    pthread_mutex_unlock(&w->lock);
}

static void window_absolute(struct window *w, bool on)
{
    pthread_mutex_lock(&w->lock);
    w->absolute = on;
    wake_locked(w);
    pthread_mutex_unlock(&w->lock);
}

/* ---- the pointer ---- */

static void grab(struct window *w, bool on)
{
    char title[256];

    w->grabbed = on;
    SDL_SetRelativeMouseMode(on ? SDL_TRUE : SDL_FALSE);
    SDL_SetWindowGrab(w->window, on ? SDL_TRUE : SDL_FALSE);
    SDL_snprintf(title, sizeof(title), "%s%s", w->title,
                 !on                  ? ""
                 : w->grab_with_shift ? " - Ctrl-Alt-Shift-G lets the pointer go"
                                      : " - Ctrl-Alt-G lets the pointer go");
    SDL_SetWindowTitle(w->window, title);
}

static bool absolute(struct window *w)
{
    pthread_mutex_lock(&w->lock);
    bool on = w->absolute;
    pthread_mutex_unlock(&w->lock);
    return on;
}

static void pointer_tell(struct window *w, unsigned buttons)
{
    if (w->grabbed)
        w->cb.pointer_by(w->cb.opaque, buttons, 0, 0);
    else if (absolute(w))
        w->cb.pointer_at(w->cb.opaque, buttons, w->x, w->y);
}

static void on_motion(struct window *w, const SDL_MouseMotionEvent *e)
{
    if (w->grabbed) {
        w->cb.pointer_by(w->cb.opaque, w->buttons, e->xrel, e->yrel);
        return;
    }
    w->x = SDL_clamp(e->x, 0, (int)w->shown_width - 1);
    w->y = SDL_clamp(e->y, 0, (int)w->shown_height - 1);
    pointer_tell(w, w->buttons);
}

static void on_button(struct window *w, const SDL_MouseButtonEvent *e)
{
    static const unsigned map[] = {[SDL_BUTTON_LEFT] = WINDOW_LEFT,
                                   [SDL_BUTTON_MIDDLE] = WINDOW_MIDDLE,
                                   [SDL_BUTTON_RIGHT] = WINDOW_RIGHT,
                                   [SDL_BUTTON_X1] = WINDOW_SIDE,
                                   [SDL_BUTTON_X2] = WINDOW_EXTRA};
    unsigned bit = e->button < SDL_arraysize(map) ? map[e->button] : 0;

    if (!w->grabbed && !absolute(w)) {
        if (e->type == SDL_MOUSEBUTTONUP && bit == WINDOW_LEFT)
            grab(w, true);
        return;
    }
    w->buttons = e->type == SDL_MOUSEBUTTONDOWN ? w->buttons | bit : w->buttons & ~bit;
    pointer_tell(w, w->buttons);
}

static void on_wheel(struct window *w, const SDL_MouseWheelEvent *e)
{
    unsigned bit = e->y > 0 ? WINDOW_WHEEL_UP : WINDOW_WHEEL_DOWN;

    for (int n = SDL_min(abs(e->y), 16); n; n--) {
        pointer_tell(w, w->buttons | bit);
        pointer_tell(w, w->buttons);
    }
}

/* ---- keys ---- */

static void release_all(struct window *w)
{
    for (unsigned code = 0; code < CODES; code++)
        if (w->pressed[code])
            w->cb.scancode(w->cb.opaque, code, false);
    memset(w->pressed, 0, sizeof(w->pressed));
}

static bool hot(const struct window *w, const SDL_KeyboardEvent *e)
{
    Uint16 mod = e->keysym.mod;

    return (mod & KMOD_CTRL) && (mod & KMOD_ALT) && (!w->grab_with_shift || (mod & KMOD_SHIFT));
}

static bool on_hot_key(struct window *w, const SDL_KeyboardEvent *e)
{
    if (e->type != SDL_KEYDOWN || e->repeat || !hot(w, e))
        return false;
    if (e->keysym.scancode == SDL_SCANCODE_G) {
        release_all(w);
        grab(w, !w->grabbed);
        return true;
    }
    if (e->keysym.scancode == SDL_SCANCODE_F) {
        release_all(w);
        w->full_screen = !w->full_screen;
        SDL_SetWindowFullscreen(w->window, w->full_screen ? SDL_WINDOW_FULLSCREEN_DESKTOP : 0);
        return true;
    }
    return false;
}

static void on_key(struct window *w, const SDL_KeyboardEvent *e)
{
    uint8_t code = e->keysym.scancode < SDL_NUM_SCANCODES ? sdl_keys[e->keysym.scancode] : 0;

    if (on_hot_key(w, e) || !code)
        return;
    w->pressed[code] = e->type == SDL_KEYDOWN;
    w->cb.scancode(w->cb.opaque, code, e->type == SDL_KEYDOWN);
}

/* ---- the window ---- */

static void present(struct window *w)
{
    SDL_RenderClear(w->renderer);
    SDL_RenderCopy(w->renderer, w->texture, NULL, NULL);
    SDL_RenderPresent(w->renderer);
}

static void on_window(struct window *w, const SDL_WindowEvent *e)
{
    switch (e->event) {
    case SDL_WINDOWEVENT_SHOWN:
    case SDL_WINDOWEVENT_RESTORED:
        w->cb.visible(w->cb.opaque, true);
        break;
    case SDL_WINDOWEVENT_HIDDEN:
    case SDL_WINDOWEVENT_MINIMIZED:
        w->cb.visible(w->cb.opaque, false);
        break;
    case SDL_WINDOWEVENT_EXPOSED:
        present(w);
        break;
    case SDL_WINDOWEVENT_RESIZED: /* by the user, not by us */
        if (w->can_resize && e->data1 > 0 && e->data2 > 0)
            w->cb.size(w->cb.opaque, (unsigned)e->data1, (unsigned)e->data2);
        present(w);
        break;
    case SDL_WINDOWEVENT_FOCUS_LOST:
        release_all(w);
        if (w->grabbed)
            grab(w, false);
        break;
    case SDL_WINDOWEVENT_CLOSE:
        w->cb.closed(w->cb.opaque);
        break;
    }
}

static void on_event(struct window *w, const SDL_Event *e)
{
    switch (e->type) {
    case SDL_KEYDOWN:
    case SDL_KEYUP:
        on_key(w, &e->key);
        break;
    case SDL_MOUSEMOTION:
        on_motion(w, &e->motion);
        break;
    case SDL_MOUSEBUTTONDOWN:
    case SDL_MOUSEBUTTONUP:
        on_button(w, &e->button);
        break;
    case SDL_MOUSEWHEEL:
        on_wheel(w, &e->wheel);
        break;
    case SDL_WINDOWEVENT:
        on_window(w, &e->window);
        break;
    }
}

/* The guest's screen has this size now. */
static bool size_follow(struct window *w, unsigned width, unsigned height)
{
    Uint32 flags = SDL_GetWindowFlags(w->window);

    if (w->texture)
        SDL_DestroyTexture(w->texture);
    w->texture = SDL_CreateTexture(w->renderer, SDL_PIXELFORMAT_RGB888, SDL_TEXTUREACCESS_STREAMING,
                                   (int)width, (int)height);
    if (!(flags & (SDL_WINDOW_FULLSCREEN_DESKTOP | SDL_WINDOW_MAXIMIZED)))
        SDL_SetWindowSize(w->window, (int)width, (int)height);
    SDL_RenderSetLogicalSize(w->renderer, (int)width, (int)height);
    w->shown_width = width;
    w->shown_height = height;
    return w->texture != NULL;
}

/* Shows what the main thread has drawn; false: it is time to stop. */
static bool frame_take(struct window *w)
{
    pthread_mutex_lock(&w->lock);
    bool go_on = w->state != STOPPING, draw = !SDL_RectEmpty(&w->dirty), abs = w->absolute;
    w->woken = false;
    if (draw && (w->shown_width != w->width || w->shown_height != w->height))
        draw = size_follow(w, w->width, w->height);
    if (draw)
        SDL_UpdateTexture(w->texture, &w->dirty,
                          w->shadow + (size_t)w->dirty.y * w->width + w->dirty.x,
                          (int)(w->width * sizeof(*w->shadow)));
    w->dirty = (SDL_Rect){0};
    pthread_mutex_unlock(&w->lock);
    if (abs && w->grabbed)
        grab(w, false);
    SDL_ShowCursor(abs ? SDL_DISABLE : SDL_ENABLE); /* the guest draws its own */
    if (draw)
        present(w);
    return go_on;
}

/* SDL falls back on drivers that show nothing, where there is no desktop. */
static bool shows_nothing(void)
{
    static const char *const drivers[] = {"dummy", "offscreen", "evdev", NULL};
    const char *now = SDL_GetCurrentVideoDriver();

    for (unsigned k = 0; now && drivers[k]; k++)
        if (strcmp(now, drivers[k]) == 0)
            return !getenv("SDL_VIDEODRIVER");
    return false;
}

static const char *window_make(struct window *w)
{
    SDL_SetHint(SDL_HINT_NO_SIGNAL_HANDLERS, "1");
    SDL_SetHint(SDL_HINT_VIDEO_ALLOW_SCREENSAVER, "1");
    SDL_SetHint(SDL_HINT_GRAB_KEYBOARD, "1");
    SDL_SetHint(SDL_HINT_RENDER_SCALE_QUALITY, "linear");
    if (SDL_Init(SDL_INIT_VIDEO) != 0)
        return SDL_GetError();
    if (shows_nothing())
        return "there is no desktop here (neither DISPLAY nor WAYLAND_DISPLAY leads to one)";
    w->window = SDL_CreateWindow(
        w->title, SDL_WINDOWPOS_UNDEFINED, SDL_WINDOWPOS_UNDEFINED, (int)w->width, (int)w->height,
        SDL_WINDOW_RESIZABLE | (w->full_screen ? SDL_WINDOW_FULLSCREEN_DESKTOP : 0));
    w->renderer = w->window ? SDL_CreateRenderer(w->window, -1, 0) : NULL;
    return w->renderer && size_follow(w, w->width, w->height) ? NULL : SDL_GetError();
}

static void window_unmake(struct window *w)
{
    if (w->texture)
        SDL_DestroyTexture(w->texture);
    if (w->renderer)
        SDL_DestroyRenderer(w->renderer);
    if (w->window)
        SDL_DestroyWindow(w->window);
    SDL_Quit();
}

static void *serve(void *opaque)
{
    struct window *w = opaque;
    SDL_Event e;

    pthread_setname_np(pthread_self(), "window");
    const char *why = window_make(w);
    if (why)
        why = strdup(why); /* it outlives the library */
    pthread_mutex_lock(&w->lock);
    w->why = why;
    w->state = why ? FAILED : RUNNING;
    pthread_cond_signal(&w->started);
    pthread_mutex_unlock(&w->lock);
    if (!why)
        w->cb.visible(w->cb.opaque, true);
    while (!why && frame_take(w)) {
        if (!SDL_WaitEvent(&e))
            continue;
        do
            on_event(w, &e);
        while (SDL_PollEvent(&e));
    }
    window_unmake(w);
    return NULL;
}

/* ---- the seam ---- */

static void window_free(struct window *w)
{
    pthread_cond_destroy(&w->started);
    pthread_mutex_destroy(&w->lock);
    free(w->shadow);
    free(w->title);
    free(w);
}

static struct window *window_start(const struct window_start *s, const char **why)
{
    struct window *w = calloc(1, sizeof(*w));

    if (!w)
        return NULL;
    w->cb = s->cb;
    w->can_resize = s->can_resize;
    w->full_screen = s->full_screen;
    w->grab_with_shift = s->grab_with_shift;
    w->title = strdup(s->title);
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->started, NULL);
    window_resize(w, s->width, s->height);
    if (!w->title || !w->shadow || pthread_create(&w->thread, NULL, serve, w) != 0) {
        window_free(w);
        return NULL;
    }
    pthread_mutex_lock(&w->lock);
    while (w->state == STARTING)
        pthread_cond_wait(&w->started, &w->lock);
    pthread_mutex_unlock(&w->lock);
    if (w->state == RUNNING)
        return w;
    *why = w->why;
    pthread_join(w->thread, NULL);
    window_free(w);
    return NULL;
}

static void window_stop(struct window *w)
{
    pthread_mutex_lock(&w->lock);
    w->state = STOPPING;
    w->woken = false;
    wake_locked(w);
    pthread_mutex_unlock(&w->lock);
    pthread_join(w->thread, NULL);
    window_free(w);
}

const struct window_module hanok_window_module = {
    .abi = WINDOW_MODULE_ABI,
    .start = window_start,
    .resize = window_resize,
    .update = window_update,
    .absolute = window_absolute,
    .stop = window_stop,
};
