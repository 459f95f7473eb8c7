/* layout.h - parts of the memory map that the guest moves: shadow RAM, video memory, flash.
 *
 *   register write (vcpu, board lock)  --> mem_layout_set()    notes what should be mapped
 *                                      --> the owner asks the board for a map change
 *   main thread, all stopped           --> mem_layouts_apply() maps and unmaps
 *
 * A layout's pieces come and go together.  Of pieces that would lie over memory already mapped none
 * appears: guests may put a BAR anywhere.  Memory shown by a layout belongs to its owner, which
 * saves and loads it (guest_region.movable).
 *
 * Owner:   the device embeds the struct; it must outlive mem_layout_remove().
 * Threads: set under the board lock; add, remove, apply and hide_all in the main thread with the
 *          board lock held (or the machine not yet running), vcpus paused and devices drained. */
#ifndef MEM_LAYOUT_H
#define MEM_LAYOUT_H

#include "mem/guest_mem.h"

#define MEM_LAYOUT_PIECES 16

struct mem_piece {
    uint64_t gpa, size_bytes;
    struct ram_block *block;
    uint64_t offset_bytes;
    enum guest_region_kind kind;
};

struct mem_layout {
    struct mem_piece want[MEM_LAYOUT_PIECES];
    unsigned want_count;
    /* main thread */
    struct mem_piece have[MEM_LAYOUT_PIECES];
    const struct guest_region *region[MEM_LAYOUT_PIECES];
    unsigned have_count;
    bool watched; /* set before the first apply: changed pages are tracked, see guest_mem_watch_sync
                   */
    struct mem_layout *next;
};

void mem_layout_add(struct guest_mem *m, struct mem_layout *l);
void mem_layout_remove(struct guest_mem *m,
                       struct mem_layout *l); /* unmaps; no-op when not added */
/* Pieces that touch and continue in the same block become one.  True when that is a change. */
bool mem_layout_set(struct mem_layout *l, const struct mem_piece *piece, unsigned count);
void mem_layouts_apply(struct guest_mem *m);
/* Unmaps all pieces: before their memory is filled behind the vcpus' backs (state load). */
void mem_layouts_hide_all(struct guest_mem *m);

#endif
