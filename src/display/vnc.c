/* vnc.c - loads the VNC module, shows it the console, and brings its events to the main thread. */
#include "display/vnc.h"

#include "base/error.h"
#include "base/evloop.h"
#include "base/util.h"
#include "display/console.h"
#include "display/input.h"
#include "display/vnc_module.h"

#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { PORT_BASE = 5900, FRAME_NS = 33000000, EVENTS_MAX = 512, DISPLAY_MAX = 65535 - PORT_BASE };
#define MODULE_FILE "hanok-vnc.so"

enum event_kind { EV_KEYSYM, EV_SCANCODE, EV_POINTER, EV_CLIENTS, EV_SIZE };

struct event {
    enum event_kind kind;
    uint32_t code;
    bool down;
    int x, y;
};

struct vnc {
    struct console_viewer viewer; /* first */
    const struct vnc_module *module;
    struct vnc_server *server;
    struct console *console; /* NULL: there is none, or it is gone */
    struct timer *frame;
    char *host, *unix_path;
    unsigned port;
    bool auth;
    int clients, last_x, last_y;
    bool have_last;
    /* under lock */
    pthread_mutex_t lock;
    struct event event[EVENTS_MAX];
    unsigned events;
    bool waking;
};

static struct vnc *vnc;

/* ---- events: module's thread -> main ---- */

static void event_key(struct vnc *v, const struct event *e)
{
    const struct input_key *key;
    bool with_shift; /* viewers send the Shift key themselves */

    if (e->kind == EV_SCANCODE) {
        uint16_t code = (uint16_t)(e->code & 0x80 ? 0xe000 | (e->code & 0x7f) : e->code & 0x7f);
        key = input_key_by_code(code);
    } else {
        key = input_key_by_sym(e->code, &with_shift);
    }
    if (key)
        input_key(key, e->down);
}

static void event_pointer(struct vnc *v, const struct event *e)
{
    /* RFB: left, middle, right, wheel up, wheel down */
    static const unsigned map[] = {INPUT_LEFT, INPUT_MIDDLE, INPUT_RIGHT, INPUT_WHEEL_UP,
                                   INPUT_WHEEL_DOWN};
    const struct surface *s = v->console ? console_surface(v->console) : NULL;
    unsigned buttons = 0;

    for (unsigned i = 0; i < ARRAY_SIZE(map); i++)
        buttons |= e->code & BIT(i) ? map[i] : 0;
    if (s && input_absolute())
        input_move_to(
            (unsigned)(MAX_OF(e->x, 0) * (int64_t)INPUT_ABS_MAX / MAX_OF(s->width - 1, 1u)),
            (unsigned)(MAX_OF(e->y, 0) * (int64_t)INPUT_ABS_MAX / MAX_OF(s->height - 1, 1u)));
    else if (v->have_last && (e->x != v->last_x || e->y != v->last_y))
        input_move(e->x - v->last_x, e->y - v->last_y);
    v->have_last = true;
    v->last_x = e->x;
    v->last_y = e->y;
    if (buttons != input_buttons_now())
        input_buttons(buttons);
}

static void frame_due(void *opaque)
{
    struct vnc *v = opaque;

    if (!v->console || v->clients == 0)
        return;
    console_refresh(v->console, false);
    timer_set(v->frame, host_clock_ns() + FRAME_NS);
}

static void event_clients(struct vnc *v, int count)
{
    bool first = v->clients == 0 && count > 0;

    v->clients = count;
    if (first && v->console) {
        console_refresh(v->console, true);
        timer_set(v->frame, host_clock_ns() + FRAME_NS);
    }
}

static void events_take(void *opaque)
{
    struct vnc *v = opaque;
    struct event now[EVENTS_MAX];
    unsigned n;

    pthread_mutex_lock(&v->lock);
    n = v->events;
    memcpy(now, v->event, n * sizeof(now[0]));
    v->events = 0;
    v->waking = false;
    pthread_mutex_unlock(&v->lock);
    for (unsigned i = 0; i < n; i++) {
        if (now[i].kind == EV_CLIENTS)
            event_clients(v, now[i].x);
        else if (now[i].kind == EV_POINTER)
            event_pointer(v, &now[i]);
        else if (now[i].kind == EV_SIZE && v->console)
            console_wish_size(v->console, (unsigned)now[i].x, (unsigned)now[i].y);
        else if (now[i].kind != EV_SIZE)
            event_key(v, &now[i]);
    }
}

static void event_add(void *opaque, const struct event *e)
{
    struct vnc *v = opaque;
    bool wake;

    pthread_mutex_lock(&v->lock);
    if (v->events < EVENTS_MAX) /* a viewer that floods loses events, not memory */
        v->event[v->events++] = *e;
    else if (e->kind == EV_CLIENTS)
        v->event[EVENTS_MAX - 1] = *e;
    wake = !v->waking;
    v->waking = true;
    pthread_mutex_unlock(&v->lock);
    if (wake)
        evloop_defer(evloop_main(), events_take, v);
}

static void on_keysym(void *opaque, uint32_t keysym, bool down)
{
    event_add(opaque, &(struct event){.kind = EV_KEYSYM, .code = keysym, .down = down});
}

static void on_scancode(void *opaque, uint32_t code, bool down)
{
    event_add(opaque, &(struct event){.kind = EV_SCANCODE, .code = code, .down = down});
}

static void on_pointer(void *opaque, unsigned buttons, int x, int y)
{
    event_add(opaque, &(struct event){.kind = EV_POINTER, .code = buttons, .x = x, .y = y});
}

static void on_clients(void *opaque, int count)
{
    event_add(opaque, &(struct event){.kind = EV_CLIENTS, .x = count});
}

static void on_desktop_size(void *opaque, unsigned width, unsigned height)
{
    event_add(opaque, &(struct event){.kind = EV_SIZE, .x = (int)width, .y = (int)height});
}

/* ---- console -> module ---- */

static void viewer_resized(struct console_viewer *cv, const struct surface *s)
{
    struct vnc *v = container_of(cv, struct vnc, viewer);

    if (v->server)
        v->module->resize(v->server, s->width, s->height);
}

static void viewer_changed(struct console_viewer *cv, const struct surface *s, const struct rect *r)
{
    struct vnc *v = container_of(cv, struct vnc, viewer);

    if (v->server)
        v->module->update(v->server, s->pixels, r->x, r->y, r->width, r->height);
}

static void viewer_gone(struct console_viewer *cv)
{
    container_of(cv, struct vnc, viewer)->console = NULL;
}

/* ---- start ---- */

static const struct vnc_module *module_load(GError **err)
{
    const char *own = g_getenv("HANOK_MODULES");
    g_autofree char *exe = g_file_read_link("/proc/self/exe", NULL);
    g_autofree char *beside = exe ? g_path_get_dirname(exe) : g_strdup(".");
    const char *dirs[] = {own, HANOK_MODULE_DIR, beside};
    const struct vnc_module *m;
    void *handle = NULL;

    for (size_t i = 0; i < ARRAY_SIZE(dirs) && !handle; i++) {
        g_autofree char *path = dirs[i] ? g_build_filename(dirs[i], MODULE_FILE, NULL) : NULL;
        if (path && g_file_test(path, G_FILE_TEST_EXISTS))
            handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    }
    if (!handle) {
        const char *why = dlerror();
        error_set(err, HANOK_ERROR_NOT_FOUND,
                  "the VNC server is not installed: '" MODULE_FILE "' cannot be loaded (%s)",
                  why ? why : "there is no such file in " HANOK_MODULE_DIR);
        return NULL;
    }
    m = dlsym(handle, VNC_MODULE_SYMBOL);
    if (m && m->abi == VNC_MODULE_ABI)
        return m;
    error_set(err, HANOK_ERROR_UNSUPPORTED, "'" MODULE_FILE "' is of another version");
    return NULL;
}

static int listen_unix(struct vnc *v, const char *path, GError **err)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (strlen(path) >= sizeof(a.sun_path)) {
        error_set(err, HANOK_ERROR_INVALID, "the socket path '%s' is too long", path);
    } else {
        g_strlcpy(a.sun_path, path, sizeof(a.sun_path));
        unlink(path);
        if (fd >= 0 && bind(fd, (struct sockaddr *)&a, sizeof(a)) == 0 && listen(fd, 8) == 0) {
            v->unix_path = g_strdup(path);
            return fd;
        }
        error_errno(err, errno, "cannot listen at '%s'", path);
    }
    if (fd >= 0)
        close(fd);
    return -1;
}

static int listen_port(const char *host, unsigned port, int *errnum)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE}, *list = NULL;
    g_autofree char *service = g_strdup_printf("%u", port);
    int fd = -1, one = 1;

    *errnum = EADDRNOTAVAIL;
    if (getaddrinfo(host && *host ? host : NULL, service, &hints, &list) != 0)
        return -1;
    for (struct addrinfo *a = list; a && fd < 0; a = a->ai_next) {
        fd = socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0)
            continue;
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
        if (bind(fd, a->ai_addr, a->ai_addrlen) != 0 || listen(fd, 8) != 0) {
            *errnum = errno;
            close(fd);
            fd = -1;
        }
    }
    freeaddrinfo(list);
    return fd;
}

static int listen_tcp(struct vnc *v, const struct vnc_config *cfg, GError **err)
{
    const char *colon = strrchr(cfg->where, ':');
    guint64 display = 0;
    int fd = -1, errnum = 0;

    if (!colon || !g_ascii_string_to_unsigned(colon + 1, 10, 0, DISPLAY_MAX, &display, NULL)) {
        error_set(err, HANOK_ERROR_INVALID,
                  "'%s' is not HOST:DISPLAY with a display from 0 to %d, nor unix:PATH, nor none",
                  cfg->where, DISPLAY_MAX);
        return -1;
    }
    v->host = g_strndup(cfg->where, (gsize)(colon - cfg->where));
    if (v->host[0] == '[' && g_str_has_suffix(v->host, "]")) {
        char *bare = g_strndup(v->host + 1, strlen(v->host) - 2);
        g_free(v->host);
        v->host = bare;
    }
    for (guint64 d = display; fd < 0 && d <= MAX_OF(display, (guint64)cfg->to); d++) {
        v->port = (unsigned)(PORT_BASE + d);
        fd = listen_port(v->host, v->port, &errnum);
    }
    if (fd < 0)
        error_errno(err, errnum, "cannot listen on port %u of '%s'", v->port,
                    *v->host ? v->host : "all addresses");
    return fd;
}

bool vnc_open(const struct vnc_config *cfg, GError **err)
{
    struct vnc *v;
    int fd;

    g_assert(!vnc);
    v = g_new0(struct vnc, 1);
    pthread_mutex_init(&v->lock, NULL);
    vnc = v;
    v->console = console_first();
    v->auth = cfg->password || cfg->need_password;
    v->module = module_load(err);
    fd = !v->module                              ? -1
         : g_str_has_prefix(cfg->where, "unix:") ? listen_unix(v, cfg->where + 5, err)
                                                 : listen_tcp(v, cfg, err);
    if (fd < 0) {
        vnc_close();
        return false;
    }
    struct vnc_start start = {
        .listen_fd = fd,
        .name = cfg->name ? cfg->name : "Hanok",
        .password = cfg->password,
        .need_password = cfg->need_password,
        .width = v->console ? console_surface(v->console)->width : 640,
        .height = v->console ? console_surface(v->console)->height : 480,
        .can_resize = v->console && console_can_resize(v->console),
        .cb = {v, on_keysym, on_scancode, on_pointer, on_clients, on_desktop_size},
    };
    v->frame = timer_new(evloop_main(), NULL, frame_due, v);
    v->viewer = (struct console_viewer){viewer_resized, viewer_changed, viewer_gone, NULL};
    v->server = v->module->start(&start);
    if (!v->server) {
        close(fd);
        vnc_close();
        return error_set(err, HANOK_ERROR_IO, "the VNC server cannot start");
    }
    if (v->console)
        console_attach(v->console, &v->viewer);
    return true;
}

void vnc_close(void)
{
    struct vnc *v = vnc;

    if (!v)
        return;
    vnc = NULL;
    if (v->console && v->server)
        console_detach(v->console, &v->viewer);
    if (v->server)
        v->module->stop(v->server);
    evloop_undefer(evloop_main(), events_take, v);
    timer_free(v->frame);
    if (v->unix_path)
        unlink(v->unix_path);
    g_free(v->unix_path);
    g_free(v->host);
    pthread_mutex_destroy(&v->lock);
    g_free(v);
}

bool vnc_info(const char **host, unsigned *port, int *clients, bool *auth)
{
    if (!vnc)
        return false;
    *host = vnc->unix_path ? vnc->unix_path : vnc->host;
    *port = vnc->port;
    *clients = vnc->clients;
    *auth = vnc->auth;
    return true;
}

bool vnc_set_password(const char *password, GError **err)
{
    if (!vnc)
        return error_set(err, HANOK_ERROR_NOT_FOUND, "there is no VNC server; start with -vnc");
    if (!vnc->auth)
        return error_set(err, HANOK_ERROR_INVALID,
                         "the VNC server asks for no password; start with -vnc ...,password=on");
    vnc->module->set_password(vnc->server, password);
    return true;
}
