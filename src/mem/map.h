/* map.h - the inside of struct guest_mem, shared by the files of this folder. */
#ifndef MEM_MAP_H
#define MEM_MAP_H

#include "base/util.h"
#include "mem/guest_mem.h"

#include <glib.h>

#define HUGE_PAGE (2 * MiB)

struct ram_block {
    char *name;
    uint8_t *host;
    uint64_t size_bytes;
    int fd;           /* memfd, or -1 for private memory */
    uint8_t *mapping; /* what munmap wants: alignment slack and guard page included */
    uint64_t mapping_bytes;
    unsigned mapped; /* regions that show it */
    bool ask_huge;   /* shared memory that wants huge pages */
};

/* One published region: what others see, and what is kept for its whole life. */
struct region {
    struct guest_region pub;
    struct ram_block *block;
    uint64_t bitmap_words, huge_words;
    uint64_t *dirty_storage; /* made once; pub.dirty points here while logging is on */
    /* main thread; made when watched: bits one reader has taken and the other not yet seen */
    uint64_t *for_log, *for_watch;
};

/* The sorted table lookups search; immutable once published. */
struct region_table {
    struct region_table *retired_next;
    unsigned count;
    struct region *r[];
};

struct guest_mem {
    struct region_table *table; /* atomic */
    /* main thread only */
    struct region_table *retired;
    struct mem_layout *layouts;
    unsigned log_users;
    /* changed by the main thread with everything paused, read anywhere */
    struct mem_listener *listeners;
    unsigned code_listeners; /* those that want code_written: none under KVM */
    /* any thread, atomic */
    unsigned discard_inhibited;
};

static inline struct region_table *guest_mem_table(struct guest_mem *m)
{
    return __atomic_load_n(&m->table, __ATOMIC_ACQUIRE);
}

static inline struct region *region_of(const struct guest_region *r)
{
    return (struct region *)r; /* pub is the first member */
}

/* dirty.c */
void region_log_start(struct guest_mem *m, struct region *r);
void region_log_stop(struct guest_mem *m, struct region *r);
void region_wrote(struct guest_mem *m, const struct guest_region *r, uint64_t offset, uint64_t len);
uint64_t *bitmap_new(uint64_t words);
void bitmap_free(uint64_t *bits, uint64_t words);

#endif
