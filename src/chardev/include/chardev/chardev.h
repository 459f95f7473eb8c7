/* chardev.h - character backends: stdio, pty, socket, file, pipe, serial, null, ringbuf, and mux
 * over any of them.
 *
 *   guest --> fe --chardev_write--> [mux] --> output queue --> fd          (any thread, never
 * blocks) fd --> [mux: Ctrl-a commands] --> input --> fe->read                   (main thread)
 *
 * One front end (serial port, virtconsole, monitor) attaches to a chardev; a mux chardev takes
 * several and lets the user switch with Ctrl-a c.  With mux (and -nographic): Ctrl-a x quits,
 * Ctrl-a h helps, Ctrl-a b sends a break, Ctrl-a Ctrl-a sends one Ctrl-a.
 *
 * Owner:   the registry: chardevs live until chardev_close() or chardev_close_all(); front ends
 *          belong to who attached them and must be detached before.
 * Threads: all calls from the main loop's thread, except chardev_write, chardev_accept_input and
 *          chardev_set_open, which any thread may call, also with the board lock held (the chardev
 *          lock is a leaf and no front-end function is called from inside them).  Front-end
 *          functions run in the main thread with no lock held.
 * Flow:    input is offered only while can_read() > 0; call chardev_accept_input() when room came
 *          back.  Output that the peer does not take waits in a bounded queue; when that is full
 *          chardev_write() takes less, and CHARDEV_WRITABLE follows once there is room again.  With
 *          no peer connected, output is taken and dropped.
 * Errors:  opening fills GError; a peer that goes away is CHARDEV_CLOSED, never an error. */
#ifndef CHARDEV_CHARDEV_H
#define CHARDEV_CHARDEV_H

#include "base/types.h"

struct chardev;
struct chardev_fe; /* one attached front end */
struct props;

enum chardev_event {
    CHARDEV_OPENED, /* a peer connected; also follows chardev_attach() when one is there already */
    CHARDEV_CLOSED,
    CHARDEV_BREAK,
    CHARDEV_WRITABLE, /* room again after a short chardev_write() */
    CHARDEV_MUX_IN,   /* mux: this front end now has the user's keyboard */
    CHARDEV_MUX_OUT
};

struct chardev_fe_ops {
    size_t (*can_read)(void *fe);
    void (*read)(void *fe, const uint8_t *buf, size_t len);
    void (*event)(void *fe, enum chardev_event ev); /* may be NULL */
};

struct chardev *chardev_open(struct props *p,
                             GError **err); /* backend=, id=, mux=, logfile=, ... */
/* Legacy spellings: "stdio", "mon:stdio", "pty", "null", "none", "file:PATH", "pipe:PATH",
 * "unix:PATH,server=on,wait=off", "tcp:HOST:PORT,...", "telnet:...", "/dev/ttyS0", "chardev:ID".
 * Creates (or finds) the chardev. */
struct chardev *chardev_open_legacy(const char *spec, const char *id, bool mux, GError **err);
void chardev_close(struct chardev *c); /* accepts NULL; all front ends must be detached */
void chardev_close_all(void); /* flushes what can be flushed at once, restores the terminal */
struct chardev *chardev_find(const char *id);
const char *chardev_id(const struct chardev *c);
char *chardev_filename(const struct chardev *c); /* "pty:/dev/pts/3" ...: query-chardev; g_free */
bool chardev_is_open(const struct chardev *c);   /* a peer is there */
bool chardev_fe_open(const struct chardev *c);   /* a front end has opened its end */
bool chardev_is_mux(const struct chardev *c);
void chardev_foreach(void (*fn)(struct chardev *c, void *opaque), void *opaque);
/* NULL-terminated backend names, for -chardev help and query-chardev-backends. */
const char *const *chardev_backends(void);

struct chardev_fe *chardev_attach(struct chardev *c, const struct chardev_fe_ops *ops, void *fe,
                                  GError **err);
void chardev_detach(struct chardev_fe *f); /* accepts NULL */
size_t chardev_write(struct chardev_fe *f, const uint8_t *buf,
                     size_t len); /* bytes taken; never blocks the
                                     caller for a slow reader */
void chardev_accept_input(struct chardev_fe *f);
void chardev_set_open(struct chardev_fe *f, bool open); /* guest opened its end (VSERPORT_CHANGE) */
bool chardev_has_focus(const struct chardev_fe *f);     /* false: a mux's keyboard is elsewhere */
void chardev_set_quit_handler(void (*fn)(void *opaque), void *opaque); /* Ctrl-a x */

/* Bytes of output that may wait for the peer (default 64 KiB). */
void chardev_set_queue_limit(struct chardev *c, size_t bytes);
/* A listening socket that serves many peers at once: from now on every connection becomes a chardev
 * of its own (no id, not in chardev_foreach), handed to fn, which owns it and chardev_close()s it
 * after CHARDEV_CLOSED.  False when c is not a listening socket. */
typedef void chardev_client_fn(void *opaque, struct chardev *client);
bool chardev_serve_many(struct chardev *c, chardev_client_fn *fn, void *opaque);
/* ringbuf: takes up to len of the oldest bytes out; 0 for other backends. */
size_t chardev_ringbuf_read(struct chardev *c, uint8_t *buf, size_t len);
bool chardev_is_ringbuf(const struct chardev *c);

/* Puts the terminal back as it was found.  Async-signal-safe: for crash handlers. */
void chardev_restore_terminal(void);

#endif
