/* vnc.c - loads the VNC module, shows it the console, and brings its events to the main thread. */
#include "display/vnc.h"

#include "base/error.h"
#include "base/util.h"
#include "display/input.h"
#include "display/vnc_module.h"
#include "seat.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { PORT_BASE = 5900, DISPLAY_MAX = 65535 - PORT_BASE };
#define MODULE_FILE "hanok-vnc.so"

struct vnc {
    struct seat seat; /* first */
    const struct vnc_module *module;
    struct vnc_server *server;
    char *host, *unix_path;
    unsigned port;
    bool auth;
};

static struct vnc *vnc;

/* ---- the module's thread tells ---- */

static void on_keysym(void *opaque, uint32_t keysym, bool down)
{
    seat_event(opaque, &(struct seat_event){.kind = SEAT_KEYSYM, .code = keysym, .down = down});
}

static void on_scancode(void *opaque, uint32_t code, bool down)
{
    seat_event(opaque, &(struct seat_event){.kind = SEAT_SCANCODE, .code = code, .down = down});
}

static void on_pointer(void *opaque, unsigned rfb_buttons, int x, int y)
{
    /* RFB: left, middle, right, wheel up, wheel down */
    static const unsigned map[] = {INPUT_LEFT, INPUT_MIDDLE, INPUT_RIGHT, INPUT_WHEEL_UP,
                                   INPUT_WHEEL_DOWN};
    unsigned buttons = 0;

    for (unsigned i = 0; i < ARRAY_SIZE(map); i++)
        buttons |= rfb_buttons & BIT(i) ? map[i] : 0;
    seat_event(opaque, &(struct seat_event){.kind = SEAT_POINTER, .code = buttons, .x = x, .y = y});
}

static void on_clients(void *opaque, int count)
{
    seat_event(opaque, &(struct seat_event){.kind = SEAT_LOOKERS, .x = count});
}

static void on_desktop_size(void *opaque, unsigned width, unsigned height)
{
    seat_event(opaque, &(struct seat_event){.kind = SEAT_SIZE, .x = (int)width, .y = (int)height});
}

/* ---- console -> module ---- */

static void viewer_resized(struct console_viewer *cv, const struct surface *s)
{
    struct vnc *v = container_of(cv, struct vnc, seat.viewer);

    if (v->server)
        v->module->resize(v->server, s->width, s->height);
}

static void viewer_changed(struct console_viewer *cv, const struct surface *s, const struct rect *r)
{
    struct vnc *v = container_of(cv, struct vnc, seat.viewer);

    if (v->server)
        v->module->update(v->server, s->pixels, r->x, r->y, r->width, r->height);
}

static void viewer_cursor(struct console_viewer *cv, const struct cursor *c)
{
    struct vnc *v = container_of(cv, struct vnc, seat.viewer);

    if (v->server)
        v->module->cursor(v->server, &(struct vnc_cursor){.visible = c->visible,
                                                          .x = c->x,
                                                          .y = c->y,
                                                          .width = c->width,
                                                          .height = c->height,
                                                          .hot_x = c->hot_x,
                                                          .hot_y = c->hot_y,
                                                          .argb = c->argb});
}

/* ---- start ---- */

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
    vnc = v;
    seat_init(&v->seat);
    v->auth = cfg->password || cfg->need_password;
    v->module =
        display_module_load(MODULE_FILE, VNC_MODULE_SYMBOL, VNC_MODULE_ABI, "the VNC server", err);
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
        .width = v->seat.console ? console_surface(v->seat.console)->width : 640,
        .height = v->seat.console ? console_surface(v->seat.console)->height : 480,
        .can_resize = v->seat.console && console_can_resize(v->seat.console),
        .cb = {v, on_keysym, on_scancode, on_pointer, on_clients, on_desktop_size},
    };
    v->seat.viewer.resized = viewer_resized;
    v->seat.viewer.changed = viewer_changed;
    v->seat.viewer.cursor = viewer_cursor;
    v->server = v->module->start(&start);
    if (!v->server) {
        close(fd);
        vnc_close();
        return error_set(err, HANOK_ERROR_IO, "the VNC server cannot start");
    }
    seat_attach(&v->seat);
    return true;
}

void vnc_close(void)
{
    struct vnc *v = vnc;

    if (!v)
        return;
    vnc = NULL;
    seat_detach(&v->seat);
    if (v->server)
        v->module->stop(v->server);
    seat_fini(&v->seat);
    if (v->unix_path)
        unlink(v->unix_path);
    g_free(v->unix_path);
    g_free(v->host);
    g_free(v);
}

bool vnc_info(const char **host, unsigned *port, int *clients, bool *auth)
{
    if (!vnc)
        return false;
    *host = vnc->unix_path ? vnc->unix_path : vnc->host;
    *port = vnc->port;
    *clients = vnc->seat.lookers;
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
