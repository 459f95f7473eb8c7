/* disk.c - direct I/O with a queue, by the kernel's AIO calls, and records that say what survived.
 */
#include "guest.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define DEPTH_MAX  64u
#define RECORD     4096u
#define RECORD_TAG 0x4c4142524543ull /* "LABREC" */

struct io_run {
    int fd;
    int write;
    uint64_t bytes, block, next, depth;
    aio_context_t ctx;
    struct iocb cb[DEPTH_MAX];
    unsigned char *buf[DEPTH_MAX];
    uint64_t started[DEPTH_MAX];
    uint64_t done, sum_ns, max_ns;
    uint64_t seed; /* 0: in order, else random blocks */
};

static uint64_t next_offset(struct io_run *r)
{
    uint64_t blocks = r->bytes / r->block, n = r->next++;
    if (r->seed) {
        r->seed = r->seed * 6364136223846793005ull + 1442695040888963407ull;
        n = r->seed >> 33;
    }
    return n % blocks * r->block;
}

static int submit(struct io_run *r, unsigned slot)
{
    struct iocb *cb = &r->cb[slot];
    memset(cb, 0, sizeof(*cb));
    cb->aio_fildes = (uint32_t)r->fd;
    cb->aio_lio_opcode = r->write ? IOCB_CMD_PWRITE : IOCB_CMD_PREAD;
    cb->aio_buf = (uint64_t)(uintptr_t)r->buf[slot];
    cb->aio_nbytes = r->block;
    cb->aio_offset = (int64_t)next_offset(r);
    cb->aio_data = slot;
    r->started[slot] = guest_now_ns();
    return 0;
}

static int submit_many(struct io_run *r, unsigned first, unsigned count)
{
    struct iocb *list[DEPTH_MAX];
    for (unsigned i = 0; i < count; i++) {
        submit(r, first + i);
        list[i] = &r->cb[first + i];
    }
    return syscall(SYS_io_submit, r->ctx, (long)count, list) == (long)count ? 0 : -1;
}

/* Takes what is done and hands as many anew over in one call: the queue stays full. */
static int run_queue(struct io_run *r, uint64_t total)
{
    struct io_event ev[DEPTH_MAX];
    uint64_t sent = r->depth;
    if (submit_many(r, 0, (unsigned)r->depth))
        return -1;
    while (r->done < total) {
        struct iocb *again[DEPTH_MAX];
        unsigned count = 0;
        long n = syscall(SYS_io_getevents, r->ctx, 1L, (long)r->depth, ev, NULL);
        uint64_t now = guest_now_ns();
        if (n < 0)
            return -1;
        for (long i = 0; i < n; i++) {
            unsigned slot = (unsigned)ev[i].data;
            if (ev[i].res != (int64_t)r->block) {
                errno = ev[i].res < 0 ? (int)-ev[i].res : EIO;
                return -1;
            }
            uint64_t ns = now - r->started[slot];
            r->sum_ns += ns;
            r->max_ns = ns > r->max_ns ? ns : r->max_ns;
            r->done++;
            if (sent < total) {
                submit(r, slot);
                again[count++] = &r->cb[slot];
                sent++;
            }
        }
        if (count && syscall(SYS_io_submit, r->ctx, (long)count, again) != (long)count)
            return -1;
    }
    return 0;
}

static int get_buffers(struct io_run *r)
{
    for (unsigned i = 0; i < r->depth; i++) {
        void *p = NULL;
        if (posix_memalign(&p, 4096, r->block))
            return -1;
        memset(p, (int)(i + 1), r->block);
        r->buf[i] = p;
    }
    return 0;
}

/* A disk appears some time after its driver. */
static int open_disk(const char *path, int flags)
{
    int fd = open(path, flags);
    for (int tries = 0; fd < 0 && (errno == ENOENT || errno == ENXIO) &&
                        !strncmp(path, "/dev/", 5) && tries < 3000;
         tries++) {
        usleep(10000);
        fd = open(path, flags);
    }
    return fd;
}

/* io OP PATH BYTES BLOCK REQUESTS DEPTH ORDER SYNC: OP read|write, ORDER seq|rand, SYNC 0|1 (fsync
 * at the end, inside the time). */
static void io(FILE *out, char **word)
{
    struct io_run r = {.write = !strcmp(word[0], "write"),
                       .bytes = strtoull(word[2], NULL, 10),
                       .block = strtoull(word[3], NULL, 10),
                       .depth = strtoull(word[5], NULL, 10),
                       .seed = strcmp(word[6], "rand") ? 0 : 12345};
    uint64_t total = strtoull(word[4], NULL, 10);
    r.depth = r.depth < 1 ? 1 : r.depth > DEPTH_MAX ? DEPTH_MAX : r.depth;
    r.depth = r.depth > total ? total : r.depth;
    r.fd = open_disk(word[1], (r.write ? O_WRONLY : O_RDONLY) | O_DIRECT | O_CLOEXEC);
    if (r.fd < 0 || syscall(SYS_io_setup, (unsigned)r.depth, &r.ctx) || get_buffers(&r)) {
        guest_error(out, word[1]);
        if (r.fd >= 0)
            close(r.fd);
        return;
    }
    uint64_t start = guest_now_ns();
    int rc = run_queue(&r, total);
    if (rc == 0 && word[7][0] == '1')
        rc = fsync(r.fd);
    if (rc)
        guest_error(out, word[0]);
    guest_number(out, "ns", guest_now_ns() - start);
    guest_number(out, "requests", r.done);
    guest_number(out, "latency_ns", r.done ? r.sum_ns / r.done : 0);
    guest_number(out, "latency_max_ns", r.max_ns);
    syscall(SYS_io_destroy, r.ctx);
    for (unsigned i = 0; i < r.depth; i++)
        free(r.buf[i]);
    close(r.fd);
}

/* records PATH COUNT: numbered records, each made durable (fsync) and then told: what is told must
 * be found afterwards, whatever happened. */
static void records(FILE *out, char **word)
{
    uint64_t count = strtoull(word[1], NULL, 10);
    void *p = NULL;
    int fd = open(word[0], O_WRONLY | O_DIRECT | O_CLOEXEC);
    if (fd < 0 || posix_memalign(&p, 4096, RECORD)) {
        guest_error(out, word[0]);
        return;
    }
    for (uint64_t i = 0; i < count; i++) {
        uint64_t *rec = p;
        memset(p, 0, RECORD);
        rec[0] = RECORD_TAG;
        rec[1] = i;
        if (pwrite(fd, p, RECORD, (off_t)(i * RECORD)) != RECORD || fsync(fd)) {
            guest_error(out, "record");
            break;
        }
        guest_number(out, "durable", i);
        fflush(out);
    }
    free(p);
    close(fd);
}

const struct guest_command disk_commands[] = {
    {"io", 8, io},
    {"records", 2, records},
    {NULL, 0, NULL},
};
