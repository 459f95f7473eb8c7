/* nbd.c - the "nbd" driver: options, and requests to and from the connection's thread. */
#include "nbd.h"
#include "nbd_lib.h"

#include "base/error.h"
#include "base/evloop.h"
#include "base/props.h"
#include "base/util.h"

#include <assert.h>
#include <errno.h>
#include <glib.h>
#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* ---- requests ---- */

static void disk_submit(struct blk_node *n, struct blk_req *req)
{
    struct nbd_disk *d = n->priv;

    *nbd_req(req) = (struct nbd_req){.d = d};
    if (req->op == BLK_FLUSH && n->no_flush)
        blk_complete_later(n, req, 0);
    else
        nbd_conn_push(d, req);
}

static int nbd_sync(struct blk_node *n, struct blk_req *req)
{
    struct nbd_disk *d = n->priv;
    struct nbd_req *nr = nbd_req(req);

    if (req->op == BLK_FLUSH && n->no_flush)
        return 0;
    *nr = (struct nbd_req){.d = d, .sync = true};
    nbd_conn_push(d, req);
    pthread_mutex_lock(&d->lock);
    while (!nr->sync_done)
        pthread_cond_wait(&d->sync_done, &d->lock);
    pthread_mutex_unlock(&d->lock);
    return nr->ret;
}

static void done_ready(void *opaque, int fd, uint32_t events)
{
    struct blk_node *n = opaque;
    struct nbd_disk *d = n->priv;
    uint64_t count;

    if (read(fd, &count, sizeof(count)) < 0)
        assert(errno == EAGAIN || errno == EINTR);
    pthread_mutex_lock(&d->lock);
    struct blk_req *req = d->done;
    d->done = NULL;
    pthread_mutex_unlock(&d->lock);
    while (req) {
        struct blk_req *next = req->next;
        blk_complete(req, nbd_req(req)->ret);
        req = next;
    }
    blk_batch_done(n);
}

static void disk_poll(struct blk_node *n)
{
    struct nbd_disk *d = n->priv;
    struct pollfd p = {.fd = d->done_fd, .events = POLLIN};

    if (poll(&p, 1, -1) > 0)
        done_ready(n, d->done_fd, EPOLLIN);
}

/* ---- opening (main thread) ---- */

static bool read_address(struct props *p, struct nbd_server *s, GError **err)
{
    static const char *const types[] = {"inet", "unix", NULL};
    struct props *server = props_get_sub(p, "server");
    struct props *from = server ? server : p; /* the older, flat spelling */
    const char *host = NULL, *port = "10809", *path = NULL;
    unsigned type = 0;

    if ((server && !props_get_enum(server, "type", types, &type, err)) ||
        !props_get_str(from, "host", &host, err) || !props_get_str(from, "port", &port, err) ||
        !props_get_str(from, "path", &path, err))
        return false;
    if (!host == !path)
        return error_set(err, HANOK_ERROR_INVALID,
                         "An NBD node needs server.host= (and server.port=), or server.type=unix "
                         "and server.path=.");
    if (server && (type == 1) != (path != NULL))
        return error_set(err, HANOK_ERROR_INVALID,
                         "server.type=inet goes with server.host=, server.type=unix with "
                         "server.path=.");
    s->host = g_strdup(host);
    s->port = g_strdup(port);
    s->path = g_strdup(path);
    return true;
}

static bool read_options(struct blk_node *n, struct props *p, struct nbd_server *s, GError **err)
{
    const char *export_name = "", *tls = NULL;

    if (!read_address(p, s, err) || !props_get_str(p, "export", &export_name, err) ||
        !props_get_str(p, "tls-creds", &tls, err) ||
        !props_get_u32(p, "open-timeout", &s->open_timeout_s, err) ||
        !props_get_u32(p, "reconnect-delay", &s->reconnect_s, err))
        return false;
    if (tls)
        return error_set(err, HANOK_ERROR_UNSUPPORTED,
                         "NBD over TLS (tls-creds=) is not available in this version.");
    if (s->open_timeout_s > 86400 || s->reconnect_s > 86400)
        return error_set(err, HANOK_ERROR_INVALID,
                         "open-timeout= and reconnect-delay= are at most 86400 seconds.");
    s->export_name = g_strdup(export_name);
    n->filename = s->path ? g_strdup_printf("nbd+unix:///%s?socket=%s", export_name, s->path)
                          : g_strdup_printf("nbd://%s:%s/%s", s->host, s->port, export_name);
    return true;
}

static bool start_thread(struct nbd_disk *d, GError **err)
{
    sigset_t all, old;

    sigfillset(&all); /* signals are the main thread's */
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int r = pthread_create(&d->thread, NULL, nbd_conn_thread, d);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    d->thread_runs = r == 0;
    return r == 0 || error_errno(err, r, "Cannot start a thread for '%s'", d->node->filename);
}

static bool nbd_open(struct blk_node *n, struct props *p, GError **err)
{
    struct nbd_disk *d = n->priv = g_new0(struct nbd_disk, 1);

    d->node = n;
    d->queue_tail = &d->queue;
    d->wake_fd = d->done_fd = -1;
    pthread_mutex_init(&d->lock, NULL);
    pthread_cond_init(&d->sync_done, NULL);
    if (!read_options(n, p, &d->server, err) || !nbd_conn_open(d, err))
        return false;
    if (d->read_only && !n->read_only && !n->auto_read_only)
        return error_set(err, HANOK_ERROR_INVALID,
                         "The NBD server lets '%s' be read only; say read-only=on.", n->filename);
    n->read_only |= d->read_only;
    n->size_bytes = d->size_bytes;
    d->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    d->done_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (d->wake_fd < 0 || d->done_fd < 0)
        return error_errno(err, errno, "Cannot create an event descriptor");
    return start_thread(d, err);
}

static void nbd_close_node(struct blk_node *n)
{
    struct nbd_disk *d = n->priv;
    uint64_t one = 1;

    if (!d)
        return;
    if (d->thread_runs) {
        pthread_mutex_lock(&d->lock);
        d->quit = true;
        pthread_mutex_unlock(&d->lock);
        if (write(d->wake_fd, &one, sizeof(one)) < 0)
            assert(errno == EAGAIN);
        pthread_join(d->thread, NULL);
    }
    evloop_fd_del(d->done_watch);
    if (d->h)
        nbd_lib.close(d->h);
    if (d->wake_fd >= 0)
        close(d->wake_fd);
    if (d->done_fd >= 0)
        close(d->done_fd);
    pthread_mutex_destroy(&d->lock);
    pthread_cond_destroy(&d->sync_done);
    g_free(d->server.host);
    g_free(d->server.port);
    g_free(d->server.path);
    g_free(d->server.export_name);
    g_free(d);
}

static void nbd_limits(struct blk_node *n, struct blk_limits *out)
{
    struct nbd_disk *d = n->priv;

    out->logical_block_bytes = out->physical_block_bytes = d->block_bytes;
}

static void nbd_attach(struct blk_node *n, struct evloop *loop)
{
    struct nbd_disk *d = n->priv;

    evloop_fd_del(d->done_watch);
    d->done_watch = evloop_fd_add(loop, d->done_fd, EPOLLIN, done_ready, n);
}

static int nbd_flush_sync(struct blk_node *n)
{
    struct blk_req req = {.op = BLK_FLUSH, .node = n};
    return nbd_sync(n, &req);
}

const struct blk_driver blk_driver_nbd = {
    .name = "nbd",
    .open = nbd_open,
    .close = nbd_close_node,
    .limits = nbd_limits,
    .attach = nbd_attach,
    .flush_sync = nbd_flush_sync,
    .submit = disk_submit,
    .sync = nbd_sync,
    .poll = disk_poll,
};
