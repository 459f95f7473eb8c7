/* direct_space.h - one address space of direct.h: its windows, and what is recorded of the pages in
 * them; which distances are in force.  Private to direct.c and direct_space.c; the vcpu's thread.
 */
#ifndef CPU_JIT_DIRECT_SPACE_H
#define CPU_JIT_DIRECT_SPACE_H

#include "direct.h"

#define CHUNK_BYTES (1ull << DIRECT_CHUNK_SHIFT)
#define WINDOWS     6u  /* of one address space */
#define GROUP_PAGES 64u /* neighbours that are recorded together and mapped at once if they may */
#define GROUP_BYTES (GROUP_PAGES * GUEST_PAGE_SIZE)
#define GROUPS      4096u      /* of one address space */
#define BUCKETS     1024u      /* of groups by address */
#define ABSENT      0xff       /* a class without a window */
#define NO_CR3      UINT64_MAX /* a space of nobody */

struct group {
    uint64_t linear;             /* of its first page */
    uint64_t here, write, large; /* bits by page: mapped; writable; pieces of a large one */
    struct group *next;          /* in its bucket */
    uintptr_t host[GROUP_PAGES]; /* where the guest's memory has them */
};
struct window {
    uint8_t *reserved;
    uint64_t linear; /* of its first byte */
    uint8_t *base;
};
struct space {
    uint64_t cr3, used; /* used: number of the activation */
    int64_t credit_ns;
    struct window window[WINDOWS];
    unsigned windows, maps, groups;
    bool low;                      /* the program is in the lowest chunk */
    bool stack_wanders;            /* RSP is here and there: it is not relied on */
    bool has_gs;                   /* there is a window at distance gs */
    uint64_t gs;                   /* of all that stand in chunk, but DIRECT_STACK's */
    uint8_t chunk[DIRECT_CLASSES]; /* by class: which one has such a window */
    struct group *bucket[BUCKETS];
    struct group group[GROUPS];
};

static inline uint64_t page_of(uint64_t linear)
{
    return linear & ~(GUEST_PAGE_SIZE - 1);
}
static inline unsigned index_of(uint64_t linear)
{
    return (linear >> GUEST_PAGE_SHIFT) & (GROUP_PAGES - 1);
}
static inline bool is_here(const struct group *g, uint64_t linear)
{
    return g && (g->here & BIT64(index_of(linear)));
}

struct group *space_group(struct space *s, uint64_t linear);     /* that is recorded, or NULL */
struct group *space_group_new(struct space *s, uint64_t linear); /* NULL: there are no more */
struct window *space_window(struct space *s, uint64_t linear);   /* or NULL */
uint8_t *space_place(struct space *s, uint64_t linear); /* in its window: the page's host address */
/* Reserves a window for linear's chunk; false: not to be had. */
bool space_open(struct space *s, uint64_t linear);
void space_empty(struct space *s); /* no pages, no windows */

/* What translated code finds in tr.delta, tr.chunk and GS.base. */
void space_in_force(struct jit_cpu *c, const struct space *s); /* after: */
void space_none_in_force(struct jit_cpu *c);
void space_stack_nowhere(struct jit_cpu *c); /* RSP is not relied on */

#endif
