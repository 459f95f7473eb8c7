/* io.h - port and memory-mapped I/O: who answers at an address.
 *
 *   vcpu exit --> io_space_read/write --> io_region (found by binary search) --> device handler
 *
 * A device embeds struct io_region, fills in ops, and adds it to a space; handlers get the region
 * back and use container_of().  Slow chips share the board lock: a region with `lock` set is
 * entered with it held.  Fast ones (virtio notify, LAPIC, HPET counter) set lock = NULL and look
 * after themselves.
 *
 * Access rules: dispatch splits an access into what the region accepts (min..max access bytes, both
 * powers of two; 0 means 1..8), naturally aligned (by off) pieces; bytes nobody claims read as all
 * ones and writes to them vanish, as on hardware.  A read narrower than min reads the whole
 * register and takes the bytes asked for; a write narrower than min vanishes.  off is relative to
 * the region. Where regions overlap, the higher priority answers; among equals the one added last.
 *
 * Threads: dispatch from any thread, lock-free; add/del and eventfd add/del from any thread, also
 * from inside a handler (PCI BAR moves happen in a vCPU): the table is replaced atomically, and
 * the call returns when nobody looks at the old one any more.  That protects the table and
 * eventfds, not a handler that is already running (or waiting for the board lock): free a region's
 * memory only with the vCPUs paused. */
#ifndef BUS_IO_H
#define BUS_IO_H

#include "base/types.h"

#include <pthread.h>

struct io_region;
struct io_ops {
    uint64_t (*read)(struct io_region *r, uint64_t off, unsigned size);
    void (*write)(struct io_region *r, uint64_t off, unsigned size, uint64_t val);
    uint8_t min_size, max_size; /* accepted access bytes; 0 = 1 and 8 */
};

struct io_region {
    const struct io_ops *ops;
    const char *name;
    uint64_t base; /* owned by io_space while added */
    uint64_t size_bytes;
    int priority;          /* higher covers lower where they overlap; default 0 */
    pthread_mutex_t *lock; /* board lock, or NULL */
    bool added;
    uint8_t count_slot; /* owned by io_space: see io_count.h */
};

struct io_space;
struct io_space *io_space_new(const char *name, uint64_t limit); /* "pio" 64 KiB, "mmio" 2^52 */
void io_space_free(struct io_space *s); /* touches no region: they may be gone already */
/* Takes all regions out while their owners still exist: before devices that leave them are
 * destroyed, where others will still take theirs out one by one. */
void io_space_clear(struct io_space *s);
void io_space_add(struct io_space *s, struct io_region *r, uint64_t base);
void io_space_del(struct io_space *s, struct io_region *r); /* no-op when not added */
uint64_t io_space_read(struct io_space *s, uint64_t addr, unsigned size);
void io_space_write(struct io_space *s, uint64_t addr, unsigned size, uint64_t val);
/* The region that would answer, or NULL. */
struct io_region *io_space_find(struct io_space *s, uint64_t addr);
/* One line per region, for info mtree. */
void io_space_dump(struct io_space *s, void (*line)(void *opaque, const char *text), void *opaque);

/* ioeventfd: a write of exactly size bytes (0 = any) at addr (with value data when match) signals
 * fd instead of calling the region.  Under KVM the kernel does it (see the listener); in the
 * software CPU the dispatcher does. */
struct io_eventfd {
    uint64_t addr;
    unsigned size;
    bool match;
    uint64_t data;
    int fd;
};
void io_space_eventfd_add(struct io_space *s, const struct io_eventfd *e);
void io_space_eventfd_del(struct io_space *s, const struct io_eventfd *e);
struct io_eventfd_listener {
    void (*add)(struct io_eventfd_listener *l, bool pio, const struct io_eventfd *e);
    void (*del)(struct io_eventfd_listener *l, bool pio, const struct io_eventfd *e);
};
void io_space_eventfd_listen(struct io_space *s,
                             struct io_eventfd_listener *l); /* one; replays add */

#endif
