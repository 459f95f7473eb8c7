/* nbd.h - the "nbd" driver's parts: a remote disk over the NBD protocol, spoken by libnbd.
 *
 *   submit, sync --queue--> the node's own thread (nbd_conn.c) --libnbd--> server
 *   done() in the loop <--done list-- \--> sync's caller wakes
 *
 * One connection, served by one thread: servers may allow only one, its flush then covers all
 * writes, and a worker that waits needs no loop to turn.  When the connection is lost, requests end
 * with an error and the next one connects again; with reconnect-delay= they wait that long for the
 * server to come back and are sent again. */
#ifndef BLOCK_NBD_H
#define BLOCK_NBD_H

#include "block_int.h"

struct nbd_handle; /* libnbd's */

struct nbd_server {
    char *host, *port; /* or */
    char *path;        /* a unix socket */
    char *export_name;
    uint32_t open_timeout_s, reconnect_s;
};

struct nbd_disk {
    /* immutable after open */
    struct nbd_server server;
    struct blk_node *node;
    pthread_t thread;
    bool thread_runs;
    int wake_fd, done_fd;
    uint64_t size_bytes;
    uint32_t block_bytes, transfer_bytes;
    bool read_only, can_fua, can_flush, can_trim, can_zero;
    /* loop thread */
    struct evloop_fd *done_watch;
    /* the node's own thread */
    struct nbd_handle *h;
    uint64_t lost_at_ns;     /* 0: connected */
    struct blk_req *waiting; /* for the server to come back */
    struct blk_req *flushes; /* written, to be flushed */
    /* under lock */
    pthread_mutex_t lock;
    pthread_cond_t sync_done;
    struct blk_req *queue, **queue_tail, *done;
    bool quit;
};

/* Lies in req->driver. */
struct nbd_req {
    struct nbd_disk *d;
    uint32_t pending; /* commands on their way */
    int ret;
    bool flush_after; /* FUA of a server that has no such flag */
    bool sync, sync_done;
};
_Static_assert(sizeof(struct nbd_req) <= BLK_SCRATCH_NODE * sizeof(uint64_t), "scratch");

static inline struct nbd_req *nbd_req(struct blk_req *req)
{
    return (struct nbd_req *)req->driver;
}

/* nbd_conn.c */
bool nbd_conn_open(struct nbd_disk *d, GError **err); /* connects, asks for size and abilities */
void nbd_conn_push(struct nbd_disk *d, struct blk_req *req); /* any thread */
void *nbd_conn_thread(void *disk);

#endif
