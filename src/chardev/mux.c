/* mux.c - one terminal, several front ends: the Ctrl-a commands.
 *
 * The escape key is Ctrl-a; what follows it is a command:
 *   h ?  help      x  quit        c  next front end     b  break to the front end
 *   t    time stamps before output lines                s  write back snapshot disks
 *   Ctrl-a  one Ctrl-a to the front end
 * Anything else after Ctrl-a is dropped, as users of the same keys elsewhere expect. */
#include "internal.h"

#include <stdio.h>
#include <string.h>

#define MUX_ESCAPE 0x01

static void (*quit_fn)(void *opaque);
static void *quit_opaque;

static const char mux_help[] = "\r\n"
                               "Ctrl-a h    this list\r\n"
                               "Ctrl-a x    end the virtual machine\r\n"
                               "Ctrl-a c    switch between console and monitor\r\n"
                               "Ctrl-a b    send a break (magic sysrq)\r\n"
                               "Ctrl-a t    time stamps on or off\r\n"
                               "Ctrl-a s    write snapshot disks back to their files\r\n"
                               "Ctrl-a Ctrl-a  send one Ctrl-a\r\n";

void chardev_set_quit_handler(void (*fn)(void *opaque), void *opaque)
{
    quit_fn = fn;
    quit_opaque = opaque;
}

static void tell_one(struct chardev_fe *f, enum chardev_event ev)
{
    if (f->ops->event) {
        f->ops->event(f->opaque, ev);
    }
}

void mux_set_focus(struct chardev *c, unsigned index)
{
    tell_one(c->fe[c->focus], CHARDEV_MUX_OUT);
    c->focus = index;
    tell_one(c->fe[c->focus], CHARDEV_MUX_IN);
}

static void mux_command(struct chardev *c, uint8_t key)
{
    static const uint8_t escape = MUX_ESCAPE;
    struct chardev_fe *f = c->fe[c->focus];
    switch (key) {
    case 'h':
    case '?':
        chardev_put_text(c, mux_help);
        break;
    case 'x':
        chardev_put_text(c, "\r\nhanok-vm: ended by Ctrl-a x\r\n");
        if (quit_fn) {
            quit_fn(quit_opaque);
        }
        break;
    case 'c':
        if (c->fe_count > 1) {
            mux_set_focus(c, (c->focus + 1) % c->fe_count);
        }
        break;
    case 'b':
        tell_one(f, CHARDEV_BREAK);
        break;
    case 's':
        chardev_put_text(c,
                         "\r\nNo disk runs in snapshot mode: there is nothing to write back.\r\n");
        break;
    case 't':
        pthread_mutex_lock(&c->lock);
        c->mux_timestamps = !c->mux_timestamps;
        c->mux_line_start = true;
        pthread_mutex_unlock(&c->lock);
        break;
    case MUX_ESCAPE:
        fe_queue(f, &escape, 1);
        break;
    default:
        break;
    }
}

void mux_input(struct chardev *c, const uint8_t *buf, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (c->mux_escape) {
            c->mux_escape = false;
            mux_command(c, buf[i]);
        } else if (buf[i] == MUX_ESCAPE) {
            c->mux_escape = true;
        } else {
            fe_queue(c->fe[c->focus], &buf[i], 1);
        }
    }
    for (unsigned i = 0; i < c->fe_count; i++) {
        fe_feed(c->fe[i]);
    }
}

size_t mux_output_locked(struct chardev *c, const uint8_t *buf, size_t len)
{
    if (!c->mux_timestamps) {
        return chardev_output_locked(c, buf, len);
    }
    size_t done = 0;
    while (done < len) {
        if (c->mux_line_start) {
            uint64_t ms = host_clock_ns() / 1000000;
            char stamp[32];
            int n = snprintf(stamp, sizeof(stamp), "[%" G_GUINT64_FORMAT ".%03u] ", ms / 1000,
                             (unsigned)(ms % 1000));
            chardev_output_locked(c, (const uint8_t *)stamp, n);
            c->mux_line_start = false;
        }
        const uint8_t *nl = memchr(buf + done, '\n', len - done);
        size_t line = nl ? (size_t)(nl - (buf + done)) + 1 : len - done;
        size_t n = chardev_output_locked(c, buf + done, line);
        done += n;
        if (n < line) {
            break;
        }
        c->mux_line_start = nl != NULL;
    }
    return done;
}
