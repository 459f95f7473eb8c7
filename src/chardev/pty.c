/* pty.c - a new pseudo-terminal; the user connects with screen, minicom or virsh console.
 *
 * Linux tells the master of a terminal nobody has open by a standing hang-up and never says when
 * somebody comes.  So while nobody is there we look again on each write and by a slow timer, and
 * watch the descriptor only while somebody is. */
#include "internal.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <termios.h>
#include <unistd.h>

#define LOOK_AGAIN_NS 300000000ull

struct pty {
    int master;
    char name[64];
    char *link; /* path= : a symbolic link to the terminal */
    struct timer *timer;
};

static void pty_poke(struct chardev *c)
{
    struct pty *s = c->priv;
    struct pollfd p = {.fd = s->master, .events = POLLOUT};
    if (poll(&p, 1, 0) >= 0 && !(p.revents & POLLHUP)) {
        stream_connect_locked(c, s->master, s->master, STREAM_BORROWED);
    }
}

static void pty_look_again(void *opaque)
{
    struct chardev *c = opaque;
    struct pty *s = c->priv;
    pthread_mutex_lock(&c->lock);
    if (!c->connected) {
        pty_poke(c);
    }
    bool connected = c->connected;
    pthread_mutex_unlock(&c->lock);
    if (!connected) {
        timer_set(s->timer, host_clock_ns() + LOOK_AGAIN_NS);
    }
}

static bool pty_make(struct pty *s, GError **err)
{
    s->master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
    if (s->master < 0 || grantpt(s->master) || unlockpt(s->master) ||
        ptsname_r(s->master, s->name, sizeof(s->name))) {
        return error_errno(err, errno, "could not make a pseudo-terminal");
    }
    /* Opened and closed once: sets raw mode, and starts the hang-up state described above. */
    int slave = open(s->name, O_RDWR | O_NOCTTY | O_CLOEXEC);
    struct termios t;
    if (slave < 0 || tcgetattr(slave, &t)) {
        return error_errno(err, errno, "could not open the pseudo-terminal '%s'", s->name);
    }
    cfmakeraw(&t);
    tcsetattr(slave, TCSANOW, &t);
    close(slave);
    return true;
}

static bool pty_open(struct chardev *c, struct props *p, GError **err)
{
    struct pty *s = g_new0(struct pty, 1);
    const char *path = NULL;
    c->priv = s;
    s->master = -1;
    c->eof_is_lost = true;
    if (!props_get_str(p, "path", &path, err) || !pty_make(s, err)) {
        return false;
    }
    if (path) {
        if (symlink(s->name, path)) {
            return error_errno(err, errno, "could not make the link '%s' to '%s'", path, s->name);
        }
        s->link = g_strdup(path);
    }
    s->timer = timer_new(evloop_main(), NULL, pty_look_again, c);
    timer_set(s->timer, host_clock_ns() + LOOK_AGAIN_NS);
    printf("char device redirected to %s (label %s)\n", s->name, c->id);
    fflush(stdout);
    return true;
}

static void pty_lost(struct chardev *c)
{
    struct pty *s = c->priv;
    timer_set(s->timer, host_clock_ns() + LOOK_AGAIN_NS);
}

static void pty_close(struct chardev *c)
{
    struct pty *s = c->priv;
    if (!s) {
        return;
    }
    timer_free(s->timer);
    if (s->link) {
        unlink(s->link);
        g_free(s->link);
    }
    if (s->master >= 0) {
        close(s->master);
    }
    g_free(s);
    c->priv = NULL;
}

static char *pty_filename(struct chardev *c)
{
    struct pty *s = c->priv;
    return g_strdup_printf("pty:%s", s->name);
}

static const char *const options[] = {"path", NULL};

const struct chardev_driver pty_driver = {
    .name = "pty",
    .help = "a new pseudo-terminal; its name is printed and told by query-chardev",
    .options = options,
    .open = pty_open,
    .close = pty_close,
    .lost = pty_lost,
    .filename = pty_filename,
    .poke = pty_poke,
};
