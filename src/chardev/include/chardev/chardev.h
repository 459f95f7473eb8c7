/* chardev.h - character backends: stdio, pty, socket, file, null, ringbuf, and mux over any of
 * them.
 *
 * One front end (serial port, virtconsole, monitor) attaches to a chardev; a mux chardev takes
 * several and lets the user switch with Ctrl-a c.  With mux (and -nographic): Ctrl-a x quits,
 * Ctrl-a h helps, Ctrl-a b sends a break, Ctrl-a Ctrl-a sends one Ctrl-a.
 *
 * Threads: all calls from the main loop's thread, except chardev_write, which any thread may call
 *          (locked); input arrives in the main thread.
 * Flow:    input is offered only while can_read() > 0; call chardev_accept_input() when room came
 * back. */
#ifndef CHARDEV_CHARDEV_H
#define CHARDEV_CHARDEV_H

#include "base/types.h"

struct chardev;
struct chardev_fe; /* one attached front end */
struct props;

enum chardev_event { CHARDEV_OPENED, CHARDEV_CLOSED, CHARDEV_BREAK };

struct chardev_fe_ops {
    size_t (*can_read)(void *fe);
    void (*read)(void *fe, const uint8_t *buf, size_t len);
    void (*event)(void *fe, enum chardev_event ev);
};

struct chardev *chardev_open(struct props *p,
                             GError **err); /* backend=, id=, mux=, logfile=, ... */
/* Legacy spellings: "stdio", "mon:stdio", "pty", "null", "none", "file:PATH",
 * "unix:PATH,server=on,wait=off", "tcp:HOST:PORT,...", "telnet:...", "chardev:ID".  Creates (or
 * finds) the chardev. */
struct chardev *chardev_open_legacy(const char *spec, const char *id, bool mux, GError **err);
void chardev_close_all(void); /* restores the terminal */
struct chardev *chardev_find(const char *id);
const char *chardev_id(const struct chardev *c);
char *chardev_filename(const struct chardev *c); /* "pty:/dev/pts/3" ...: query-chardev; g_free */
bool chardev_is_open(const struct chardev *c);   /* a peer is there */
bool chardev_fe_open(const struct chardev *c);
void chardev_foreach(void (*fn)(struct chardev *c, void *opaque), void *opaque);

struct chardev_fe *chardev_attach(struct chardev *c, const struct chardev_fe_ops *ops, void *fe,
                                  GError **err);
void chardev_detach(struct chardev_fe *f);
size_t chardev_write(struct chardev_fe *f, const uint8_t *buf,
                     size_t len); /* bytes taken; never blocks the
                                     caller for a slow reader */
void chardev_accept_input(struct chardev_fe *f);
void chardev_set_open(struct chardev_fe *f, bool open); /* guest opened its end (VSERPORT_CHANGE) */
void chardev_set_quit_handler(void (*fn)(void *opaque), void *opaque); /* Ctrl-a x */

#endif
