/* guest_disk_load.c - the program bench/guest_disk.py runs inside the guest: one workload on one
 * disk.  It also runs on the host, on such a disk's file: what no machine can be faster than.
 *
 *   guest_disk_load DISK randread|randwrite|read|write BLOCK_BYTES DEPTH SECONDS [cached][dsync]
 *
 * Keeps DEPTH requests in flight with io_uring for that long (the monotonic clock) and prints
 * "result REQUESTS SECONDS".  O_DIRECT, unless "cached" says to use the page cache; "dsync": a
 * write has ended when the disk has it.  Static, so that it needs nothing of the guest's. */
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <linux/fs.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <time.h>

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static uint64_t random_block(uint64_t blocks)
{
    static uint64_t x = 88172645463325252ull;
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    return x % blocks;
}

struct load {
    struct io_uring ring;
    int fd;
    int write, sequential;
    unsigned block_bytes, depth;
    uint64_t blocks, next;
    char *buffers;
};

static void queue(struct load *l, unsigned slot)
{
    struct io_uring_sqe *e = io_uring_get_sqe(&l->ring);
    uint64_t at =
        (l->sequential ? l->next++ % l->blocks : random_block(l->blocks)) * l->block_bytes;
    char *p = l->buffers + (size_t)slot * l->block_bytes;

    if (l->write)
        io_uring_prep_write(e, l->fd, p, l->block_bytes, at);
    else
        io_uring_prep_read(e, l->fd, p, l->block_bytes, at);
    io_uring_sqe_set_data64(e, slot);
}

static unsigned long run(struct load *l, double seconds)
{
    double until = now() + seconds;
    unsigned long done = 0;
    unsigned flying = l->depth;

    for (unsigned i = 0; i < l->depth; i++)
        queue(l, i);
    while (flying) {
        struct io_uring_cqe *c;
        io_uring_submit_and_wait(&l->ring, 1);
        int more = now() < until;
        while (io_uring_peek_cqe(&l->ring, &c) == 0) {
            unsigned slot = (unsigned)io_uring_cqe_get_data64(c);
            if (c->res != (int)l->block_bytes) {
                printf("error %d\n", c->res);
                exit(1);
            }
            io_uring_cqe_seen(&l->ring, c);
            done++;
            if (more)
                queue(l, slot);
            else
                flying--;
        }
    }
    return done;
}

/* Of a disk or a file; 0: errno tells. */
static uint64_t size_of(int fd)
{
    struct stat st;
    uint64_t bytes;

    if (fstat(fd, &st) < 0)
        return 0;
    if (S_ISREG(st.st_mode))
        return (uint64_t)st.st_size;
    return ioctl(fd, BLKGETSIZE64, &bytes) < 0 ? 0 : bytes;
}

int main(int argc, char **argv)
{
    struct load l = {0};

    if (argc != 6 && argc != 7)
        return 2;
    const char *how = argc == 7 ? argv[6] : "";
    int flags = (strstr(how, "cached") ? 0 : O_DIRECT) | (strstr(how, "dsync") ? O_DSYNC : 0);
    l.write = strstr(argv[2], "write") != NULL;
    l.sequential = strncmp(argv[2], "rand", 4) != 0;
    l.block_bytes = (unsigned)strtoul(argv[3], NULL, 10);
    l.depth = (unsigned)strtoul(argv[4], NULL, 10);
    l.fd = open(argv[1], (l.write ? O_RDWR : O_RDONLY) | flags);
    uint64_t bytes = l.fd < 0 ? 0 : size_of(l.fd);
    if (bytes < l.block_bytes ||
        posix_memalign((void **)&l.buffers, 4096, (size_t)l.depth * l.block_bytes) ||
        io_uring_queue_init(l.depth, &l.ring, 0) < 0) {
        printf("error %s: %s\n", argv[1], strerror(errno));
        return 1;
    }
    memset(l.buffers, 0x5a, (size_t)l.depth * l.block_bytes);
    l.blocks = bytes / l.block_bytes;
    double from = now();
    unsigned long done = run(&l, strtod(argv[5], NULL));
    printf("result %lu %.6f\n", done, now() - from);
    return 0;
}
