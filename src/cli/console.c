/* console.c - a machine's character device on this terminal. */
#include "cmd.h"

#include "base/util.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <termios.h>
#include <unistd.h>

enum { ESCAPE = 0x1d /* Ctrl-] */ };

static const struct chr *find_chr(const struct domain *d, const char *devname)
{
    GPtrArray *const lists[] = {d->devices.consoles, d->devices.serials, d->devices.channels,
                                d->devices.parallels};
    for (unsigned k = 0; k < ARRAY_SIZE(lists); k++) {
        for (unsigned i = 0; i < lists[k]->len; i++) {
            const struct chr *c = lists[k]->pdata[i];
            if (!devname || !g_strcmp0(devname, c->info.alias.name)) {
                return c;
            }
        }
    }
    return NULL;
}

static int open_unix(const char *path)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    g_strlcpy(a.sun_path, path, sizeof(a.sun_path));
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&a, sizeof(a))) {
        close(fd);
        return -1;
    }
    return fd;
}

static int open_chr(const struct chr *k)
{
    if (k->type == CHR_PTY && k->source.path) {
        int fd = open(k->source.path, O_RDWR | O_NOCTTY | O_CLOEXEC);
        struct termios t;
        if (fd >= 0 && !tcgetattr(fd, &t)) { /* the pair must not echo or translate */
            cfmakeraw(&t);
            tcsetattr(fd, TCSANOW, &t);
        }
        return fd;
    }
    if (k->type == CHR_UNIX && k->source.path && word_is(k->source.mode, "bind")) {
        return open_unix(k->source.path);
    }
    errno = ENOTSUP;
    return -1;
}

static bool write_out(int fd, const char *buf, ssize_t n)
{
    while (n > 0) {
        ssize_t w = write(fd, buf, (size_t)n);
        if (w < 0 && (errno == EINTR || errno == EAGAIN)) {
            continue;
        }
        if (w <= 0) {
            return false;
        }
        buf += w;
        n -= w;
    }
    return true;
}

/* Until Ctrl-], the end of standard input, or the end of the machine. */
static void relay(int fd)
{
    char buf[4096];
    for (;;) {
        struct pollfd p[2] = {{.fd = fd, .events = POLLIN}, {.fd = 0, .events = POLLIN}};
        if (poll(p, 2, -1) < 0 && errno != EINTR) {
            return;
        }
        if (p[0].revents) {
            ssize_t n = read(fd, buf, sizeof(buf));
            if (n < 0 && (errno == EINTR || errno == EAGAIN)) {
                continue;
            }
            if (n <= 0 || !write_out(1, buf, n)) {
                return;
            }
        }
        if (p[1].revents) {
            ssize_t n = read(0, buf, sizeof(buf));
            char *escape = n > 0 ? memchr(buf, ESCAPE, (size_t)n) : NULL;
            if (n <= 0 || !write_out(fd, buf, escape ? escape - buf : n) || escape) {
                return;
            }
        }
    }
}

int console_attach(struct vm *vm, const char *devname)
{
    g_autoptr(GError) err = NULL;
    DOMAIN_AUTO d = vm_live(vm, &err);
    struct termios before, raw;
    if (!d) {
        return cmd_error(&err);
    }
    const struct chr *k = find_chr(d, devname);
    if (!k) {
        return devname ? cmd_fail("domain '%s' has no character device '%s'", vm->name, devname)
                       : cmd_fail("domain '%s' has no console; <console type='pty'/> gives it one",
                                  vm->name);
    }
    int fd = open_chr(k);
    if (fd < 0) {
        return cmd_fail("the console of '%s' cannot be opened: %s", vm->name, strerror(errno));
    }
    bool tty = isatty(0) && !tcgetattr(0, &before);
    fprintf(stderr, "Connected to domain '%s'\nEscape character is ^] (Ctrl + ])\n", vm->name);
    if (tty) {
        raw = before;
        cfmakeraw(&raw);
        tcsetattr(0, TCSADRAIN, &raw);
    }
    relay(fd);
    if (tty) {
        tcsetattr(0, TCSADRAIN, &before);
    }
    close(fd);
    putchar('\n');
    return 0;
}
