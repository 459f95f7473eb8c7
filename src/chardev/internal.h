/* internal.h - what the chardev core and its backends share; private to src/chardev.
 *
 * A backend is a const table row.  Most are "streams": one or two file descriptors that stream.c
 * reads, writes and queues for; null and ringbuf have no descriptor and bring their own write(). */
#ifndef CHARDEV_INTERNAL_H
#define CHARDEV_INTERNAL_H

#include "base/error.h"
#include "base/evloop.h"
#include "base/log.h"
#include "base/props.h"
#include "base/util.h"
#include "chardev/chardev.h"

#include <assert.h>
#include <glib.h>
#include <pthread.h>
#include <sys/epoll.h>

#define CHARDEV_FE_MAX        8
#define CHARDEV_QUEUE_DEFAULT (64 * KiB)
/* Typed or pasted input a front end has not taken yet.  Larger than any paste, and the mux goes on
 * reading meanwhile, so that Ctrl-a x works although the guest hangs. */
#define CHARDEV_INPUT_MAX (64 * KiB)

struct chardev_driver {
    const char *name;
    const char *help;
    const char *const *options; /* valid keys besides the common ones, NULL-terminated */
    bool (*open)(struct chardev *c, struct props *p, GError **err);
    void (*close)(struct chardev *c);     /* must accept a half-open chardev; may be NULL */
    void (*lost)(struct chardev *c);      /* the peer went away (main thread); NULL: stays closed */
    char *(*filename)(struct chardev *c); /* NULL: the name */
    size_t (*write)(struct chardev *c, const uint8_t *buf, size_t len); /* NULL: stream; locked */
    size_t (*filter_in)(struct chardev *c, uint8_t *buf, size_t len);   /* in place; may be NULL */
    void (*poke)(struct chardev *c); /* locked, before a write without peer: look again */
};

struct chardev_fe {
    struct chardev *c;
    const struct chardev_fe_ops *ops;
    void *opaque;
    bool open;        /* atomic */
    bool tell_opened; /* under lock: CHARDEV_OPENED is due */
    GByteArray *inq;  /* main thread only: read from the peer, not taken yet */
};

struct chardev {
    /* immutable after open */
    const struct chardev_driver *drv;
    char *id; /* NULL: a connection of a many-peer socket */
    bool is_mux;
    void *priv; /* backend's own */
    /* telnet's doubling of bytes; NULL: they go out as they are */
    void (*encode_out)(GByteArray *q, const uint8_t *buf, size_t len);
    /* main thread only */
    struct chardev_fe *fe[CHARDEV_FE_MAX];
    unsigned fe_count, focus;
    bool mux_escape;
    int in_fd;
    struct evloop_fd *in_watch;
    bool in_paused, eof_is_lost;
    /* under lock */
    pthread_mutex_t lock;
    bool connected, output_broken, borrowed_fds, is_socket, closed, bh_queued, writer_waiting;
    unsigned bh_flags, refs;
    bool mux_timestamps, mux_line_start;
    int out_fd, log_fd;
    struct evloop_fd *out_watch; /* == in_watch when both directions share a descriptor */
    GByteArray *outq;
    size_t outq_limit;
};

enum { BH_INPUT = 1, BH_WRITABLE = 2, BH_LOST = 4, BH_OPENED = 8, BH_CONNECT = 16 };

/* core (chardev.c) */
struct chardev *chardev_alloc(const struct chardev_driver *drv, const char *id);
void chardev_bh_locked(struct chardev *c, unsigned flags);
void chardev_tell(struct chardev *c, enum chardev_event ev); /* all front ends */
size_t chardev_input_room(struct chardev *c);
void chardev_input(struct chardev *c, const uint8_t *buf, size_t len);
void chardev_put_text(struct chardev *c, const char *text); /* as if a front end wrote it */
size_t chardev_output_locked(struct chardev *c, const uint8_t *buf, size_t len);
void fe_feed(struct chardev_fe *f);
void fe_queue(struct chardev_fe *f, const uint8_t *buf, size_t len);

/* stream.c */
enum { STREAM_SOCKET = 1, STREAM_BORROWED = 2 /* stop() leaves the descriptors open */ };
/* Makes the descriptors live: output flows at once, BH_CONNECT makes the main thread watch them. */
void stream_connect_locked(struct chardev *c, int in_fd, int out_fd, unsigned flags);
void stream_connect(struct chardev *c, int in_fd, int out_fd, unsigned flags);
void stream_watch(struct chardev *c);
void stream_stop(struct chardev *c);
size_t stream_write_locked(struct chardev *c, const uint8_t *buf, size_t len);
void stream_resume_input(struct chardev *c);
void stream_drain(struct chardev *c, int timeout_ms); /* at exit */

/* mux.c */
void mux_input(struct chardev *c, const uint8_t *buf, size_t len);
void mux_set_focus(struct chardev *c, unsigned index);
size_t mux_output_locked(struct chardev *c, const uint8_t *buf, size_t len);

extern const struct chardev_driver stdio_driver, pty_driver, socket_driver, file_driver,
    pipe_driver, serial_driver, null_driver, ringbuf_driver;

/* socket.c uses telnet.c for the protocol's escapes */
struct telnet {
    enum { TELNET_DATA, TELNET_IAC, TELNET_OPTION, TELNET_SUB, TELNET_SUB_IAC } state;
};
size_t telnet_decode(struct telnet *t, uint8_t *buf, size_t len, bool *got_break);
void telnet_encode(GByteArray *q, const uint8_t *buf, size_t len);
extern const uint8_t telnet_greeting[15];

#endif
