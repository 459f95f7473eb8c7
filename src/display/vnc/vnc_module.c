/* vnc_module.c - LibVNCServer behind vnc_module.h. */
#include "display/vnc_module.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <rfb/rfb.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    BUSY_US = 10 * 1000,   /* between looks at clients while the screen changes */
    IDLE_US = 50 * 1000,   /* and while it does not */
    CLIENT_WAIT_MS = 2000, /* a write that takes longer ends the client */
    QEMU_MESSAGE = 255,
    QEMU_EXTENDED_KEY = 0,
    PSEUDO_EXTENDED_KEY = -258,
    CURSOR_MAX = 64,
    DIRTY_MAX = 64, /* areas between two looks; what comes after them makes the last one larger */
};

struct area {
    unsigned x1, y1, x2, y2;
};

struct vnc_server {
    struct vnc_callbacks cb;
    int listen_fd;
    rfbScreenInfoPtr screen;
    pthread_t thread;
    char *name;
    char *passwords[2]; /* what the library asks for: a NULL-terminated list */
    bool need_password, can_resize;
    int clients;
    bool stopping; /* atomic */
    /* under lock, with passwords */
    pthread_mutex_t lock;
    uint32_t *shadow;
    unsigned width, height, dirty_count;
    struct area dirty[DIRTY_MAX];
    struct vnc_cursor cursor; /* its picture is cursor_argb */
    uint32_t cursor_argb[CURSOR_MAX * CURSOR_MAX];
    bool cursor_shape, cursor_place; /* new, and not taken over yet */
};

static struct vnc_server *server_of(rfbClientPtr cl)
{
    return cl->screen->screenData;
}

/* ---- input ---- */

static void on_key(rfbBool down, rfbKeySym sym, rfbClientPtr cl)
{
    struct vnc_server *v = server_of(cl);

    v->cb.keysym(v->cb.opaque, sym, down);
}

static void on_pointer(int buttons, int x, int y, rfbClientPtr cl)
{
    struct vnc_server *v = server_of(cl);

    v->cb.pointer(v->cb.opaque, (unsigned)buttons, x, y);
    rfbDefaultPtrAddEvent(buttons, x, y, cl);
}

/* One screen, at the origin: there is nothing else that could be laid out. */
static int on_desktop_size(int width, int height, int screens, rfbExtDesktopScreen *layout,
                           rfbClientPtr cl)
{
    struct vnc_server *v = server_of(cl);

    if (!v->can_resize)
        return rfbExtDesktopSize_ResizeProhibited;
    if (screens != 1 || layout[0].x || layout[0].y || layout[0].width != width ||
        layout[0].height != height || width <= 0 || height <= 0)
        return rfbExtDesktopSize_InvalidScreenLayout;
    v->cb.desktop_size(v->cb.opaque, (unsigned)width, (unsigned)height);
    return rfbExtDesktopSize_Success;
}

/* ---- QEMU's extended key events: scan codes, so that layouts do not matter ---- */

static int extended_encodings[] = {PSEUDO_EXTENDED_KEY, 0};

static rfbBool extended_enable(rfbClientPtr cl, void **data, int encoding)
{
    /* An update with one rectangle of this encoding tells that it is understood. */
    uint8_t msg[16] = {rfbFramebufferUpdate, 0, 0, 1};
    uint32_t be = htonl((uint32_t)PSEUDO_EXTENDED_KEY);

    if (encoding != PSEUDO_EXTENDED_KEY)
        return FALSE;
    memcpy(msg + 12, &be, 4);
    return rfbWriteExact(cl, (char *)msg, sizeof(msg)) > 0;
}

static rfbBool extended_message(rfbClientPtr cl, void *data, const rfbClientToServerMsg *message)
{
    struct vnc_server *v = server_of(cl);
    uint8_t rest[11];
    uint16_t down;
    uint32_t code;

    if (message->type != QEMU_MESSAGE)
        return FALSE;
    if (rfbReadExact(cl, (char *)rest, sizeof(rest)) <= 0 || rest[0] != QEMU_EXTENDED_KEY) {
        rfbCloseClient(cl);
        return TRUE;
    }
    memcpy(&down, rest + 1, 2);
    memcpy(&code, rest + 7, 4);
    v->cb.scancode(v->cb.opaque, ntohl(code), down != 0);
    return TRUE;
}

static rfbProtocolExtension extended_keys = {
    .pseudoEncodings = extended_encodings,
    .enablePseudoEncoding = extended_enable,
    .handleMessage = extended_message,
};

/* ---- clients ---- */

static void on_gone(rfbClientPtr cl)
{
    struct vnc_server *v = server_of(cl);

    v->cb.clients(v->cb.opaque, --v->clients);
}

static enum rfbNewClientAction on_client(rfbClientPtr cl)
{
    struct vnc_server *v = server_of(cl);

    cl->clientGoneHook = on_gone;
    v->cb.clients(v->cb.opaque, ++v->clients);
    return RFB_CLIENT_ACCEPT;
}

static rfbBool on_password(rfbClientPtr cl, const char *response, int len)
{
    struct vnc_server *v = server_of(cl);
    rfbBool ok;

    pthread_mutex_lock(&v->lock);
    ok = v->passwords[0] && rfbCheckPasswordByList(cl, response, len);
    pthread_mutex_unlock(&v->lock);
    return ok;
}

static void accept_all(struct vnc_server *v)
{
    int fd;

    while ((fd = accept4(v->listen_fd, NULL, NULL, SOCK_CLOEXEC)) >= 0)
        rfbNewClient(v->screen, fd);
}

static void frame_replace(struct vnc_server *v)
{
    char *fresh = calloc((size_t)v->width * v->height, 4), *old = v->screen->frameBuffer;

    if (!fresh)
        return;
    rfbNewFramebuffer(v->screen, fresh, (int)v->width, (int)v->height, 8, 3, 4);
    free(old);
}

/* ---- the pointer: viewers that know how show it themselves, for others the library draws it ----
 */

static void shape_fill(rfbCursorPtr c, const struct vnc_cursor *from, const uint32_t *argb)
{
    unsigned mask_line = (from->width + 7) / 8;

    for (unsigned y = 0; from->visible && y < from->height; y++)
        for (unsigned x = 0; x < from->width; x++) {
            uint32_t dot = argb[y * from->width + x];
            c->alphaSource[y * from->width + x] = (unsigned char)(dot >> 24);
            memcpy(c->richSource + (size_t)(y * from->width + x) * 4, &(uint32_t){dot & 0xffffff},
                   4);
            if (dot >> 31)
                c->mask[y * mask_line + x / 8] |= (unsigned char)(0x80 >> x % 8);
        }
}

/* All of it is the library's, which frees it; NULL: no memory. */
static rfbCursorPtr shape_make(const struct vnc_cursor *from, const uint32_t *argb)
{
    rfbCursorPtr c = calloc(1, sizeof(*c));
    size_t dots = (size_t)from->width * from->height;

    if (!c)
        return NULL;
    c->cleanup = c->cleanupSource = c->cleanupMask = c->cleanupRichSource = TRUE;
    c->width = (unsigned short)from->width;
    c->height = (unsigned short)from->height;
    c->xhot = (unsigned short)from->hot_x;
    c->yhot = (unsigned short)from->hot_y;
    c->richSource = calloc(dots, 4);
    c->alphaSource = calloc(dots, 1);
    c->alphaPreMultiplied = TRUE;
    c->mask = calloc((size_t)(from->width + 7) / 8, from->height);
    if (!c->richSource || !c->alphaSource || !c->mask) {
        rfbFreeCursor(c);
        return NULL;
    }
    shape_fill(c, from, argb);
    return c;
}

static bool cursor_take(struct vnc_server *v)
{
    uint32_t argb[CURSOR_MAX * CURSOR_MAX];
    struct vnc_cursor now;
    bool shape, place;

    pthread_mutex_lock(&v->lock);
    now = v->cursor;
    shape = v->cursor_shape;
    place = v->cursor_place;
    if (shape)
        memcpy(argb, v->cursor_argb, sizeof(argb));
    v->cursor_shape = v->cursor_place = false;
    pthread_mutex_unlock(&v->lock);
    rfbCursorPtr c = shape ? shape_make(&now, argb) : NULL;
    if (c)
        rfbSetCursor(v->screen, c);
    if (place) {
        v->screen->cursorX = now.x + (int)now.hot_x;
        v->screen->cursorY = now.y + (int)now.hot_y;
    }
    return shape || place;
}

static void vnc_cursor(struct vnc_server *v, const struct vnc_cursor *c)
{
    bool hidden = v->cursor.visible && !c->visible;

    pthread_mutex_lock(&v->lock);
    v->cursor_place = true;
    if (c->argb && c->width <= CURSOR_MAX && c->height <= CURSOR_MAX) {
        v->cursor = *c;
        memcpy(v->cursor_argb, c->argb, (size_t)c->width * c->height * 4);
        v->cursor_shape = true;
    }
    v->cursor.visible = c->visible && v->cursor.width;
    v->cursor_shape |= hidden;
    v->cursor.x = c->x;
    v->cursor.y = c->y;
    v->cursor.argb = NULL;
    pthread_mutex_unlock(&v->lock);
}

/* Takes over what the main thread has drawn; true when there was something. */
static bool frame_take(struct vnc_server *v)
{
    struct area dirty[DIRTY_MAX];
    unsigned n;

    pthread_mutex_lock(&v->lock);
    if ((unsigned)v->screen->width != v->width || (unsigned)v->screen->height != v->height)
        frame_replace(v);
    n = (unsigned)v->screen->width == v->width && (unsigned)v->screen->height == v->height
            ? v->dirty_count
            : 0;
    for (unsigned i = 0; i < n; i++) {
        struct area a = dirty[i] = v->dirty[i];
        for (unsigned y = a.y1; y < a.y2; y++)
            memcpy(v->screen->frameBuffer + ((size_t)y * v->width + a.x1) * 4,
                   v->shadow + (size_t)y * v->width + a.x1, (size_t)(a.x2 - a.x1) * 4);
    }
    v->dirty_count = 0;
    pthread_mutex_unlock(&v->lock);
    for (unsigned i = 0; i < n; i++)
        rfbMarkRectAsModified(v->screen, (int)dirty[i].x1, (int)dirty[i].y1, (int)dirty[i].x2,
                              (int)dirty[i].y2);
    return n > 0;
}

static void *serve(void *opaque)
{
    struct vnc_server *v = opaque;

    pthread_setname_np(pthread_self(), "vnc");
    while (!__atomic_load_n(&v->stopping, __ATOMIC_ACQUIRE)) {
        bool changed = frame_take(v) | cursor_take(v);
        struct pollfd p = {.fd = v->listen_fd, .events = POLLIN};
        /* without clients there is nothing to do but wait for one */
        poll(&p, 1, v->clients ? 0 : 200);
        accept_all(v);
        if (v->clients)
            rfbProcessEvents(v->screen, changed ? BUSY_US : IDLE_US);
    }
    return NULL;
}

/* ---- the seam ---- */

static bool screen_make(struct vnc_server *v, unsigned width, unsigned height)
{
    rfbScreenInfoPtr s = rfbGetScreen(NULL, NULL, (int)width, (int)height, 8, 3, 4);

    if (!s)
        return false;
    s->frameBuffer = calloc((size_t)width * height, 4);
    s->serverFormat.redShift = 16;
    s->serverFormat.greenShift = 8;
    s->serverFormat.blueShift = 0;
    s->desktopName = v->name;
    s->screenData = v;
    s->alwaysShared = TRUE;
    s->port = s->ipv6port = 0; /* listening is done by us */
    s->autoPort = FALSE;
    s->httpPort = s->http6Port = 0;
    s->maxClientWait = CLIENT_WAIT_MS;
    s->deferUpdateTime = 5;
    s->cursor = NULL;
    s->kbdAddEvent = on_key;
    s->ptrAddEvent = on_pointer;
    s->newClientHook = on_client;
    s->setDesktopSizeHook = on_desktop_size;
    if (v->need_password) {
        s->authPasswdData = v->passwords;
        s->passwordCheck = on_password;
    }
    v->screen = s;
    rfbInitServer(s);
    return s->frameBuffer != NULL;
}

static void vnc_free(struct vnc_server *v)
{
    if (v->screen) {
        char *fb = v->screen->frameBuffer;
        rfbScreenCleanup(v->screen);
        free(fb);
    }
    close(v->listen_fd);
    free(v->name);
    free(v->passwords[0]);
    free(v->shadow);
    pthread_mutex_destroy(&v->lock);
    free(v);
}

static void vnc_resize(struct vnc_server *v, unsigned width, unsigned height);

static struct vnc_server *vnc_start(const struct vnc_start *start)
{
    struct vnc_server *v = calloc(1, sizeof(*v));

    if (!v)
        return NULL;
    rfbLogEnable(0);
    rfbRegisterProtocolExtension(&extended_keys);
    v->cb = start->cb;
    v->listen_fd = start->listen_fd;
    v->name = strdup(start->name);
    v->need_password = start->need_password || start->password;
    v->can_resize = start->can_resize;
    v->passwords[0] = start->password ? strdup(start->password) : NULL;
    pthread_mutex_init(&v->lock, NULL);
    vnc_resize(v, start->width, start->height);
    if (!v->shadow || !screen_make(v, start->width, start->height) ||
        pthread_create(&v->thread, NULL, serve, v) != 0) {
        v->listen_fd = -1; /* stays the caller's */
        vnc_free(v);
        return NULL;
    }
    return v;
}

/* The main thread draws into a copy; the library's framebuffer is changed, and replaced, only here,
 * between its looks at the clients. */
static void vnc_resize(struct vnc_server *v, unsigned width, unsigned height)
{
    uint32_t *fresh = calloc((size_t)width * height, 4);

    if (!fresh)
        return; /* the old size stays; updates outside it are dropped */
    pthread_mutex_lock(&v->lock);
    free(v->shadow);
    v->shadow = fresh;
    v->width = width;
    v->height = height;
    v->dirty_count = 0;
    pthread_mutex_unlock(&v->lock);
}

static void dirty_add(struct vnc_server *v, struct area a)
{
    struct area *last = &v->dirty[DIRTY_MAX - 1];

    if (v->dirty_count < DIRTY_MAX) {
        v->dirty[v->dirty_count++] = a;
        return;
    }
    last->x1 = last->x1 < a.x1 ? last->x1 : a.x1;
    last->y1 = last->y1 < a.y1 ? last->y1 : a.y1;
    last->x2 = last->x2 > a.x2 ? last->x2 : a.x2;
    last->y2 = last->y2 > a.y2 ? last->y2 : a.y2;
}

static void vnc_update(struct vnc_server *v, const uint32_t *pixels, unsigned x, unsigned y,
                       unsigned width, unsigned height)
{
    pthread_mutex_lock(&v->lock);
    if (x + width <= v->width && y + height <= v->height) {
        for (unsigned row = y; row < y + height; row++)
            memcpy(v->shadow + (size_t)row * v->width + x, pixels + (size_t)row * v->width + x,
                   (size_t)width * 4);
        dirty_add(v, (struct area){x, y, x + width, y + height});
    }
    pthread_mutex_unlock(&v->lock);
}

static void vnc_set_password(struct vnc_server *v, const char *password)
{
    pthread_mutex_lock(&v->lock);
    free(v->passwords[0]);
    v->passwords[0] = strdup(password);
    pthread_mutex_unlock(&v->lock);
}

static void vnc_stop(struct vnc_server *v)
{
    __atomic_store_n(&v->stopping, true, __ATOMIC_RELEASE);
    pthread_join(v->thread, NULL);
    vnc_free(v);
}

const struct vnc_module hanok_vnc_module = {
    .abi = VNC_MODULE_ABI,
    .start = vnc_start,
    .resize = vnc_resize,
    .update = vnc_update,
    .cursor = vnc_cursor,
    .set_password = vnc_set_password,
    .stop = vnc_stop,
};
