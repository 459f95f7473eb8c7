/* direct_space.c - see direct_space.h. */
#include "direct_space.h"
#include "tr.h"

#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>

#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000 /* Linux 4.17 */
#endif

#define HWCAP2_FSGSBASE_BIT 2u /* asm/hwcap2.h */

#define WINDOW_BYTES (CHUNK_BYTES + 2 * DIRECT_GUARD_BYTES + 2 * MiB)

/* ---- groups of pages ---- */

static struct group **bucket_of(struct space *s, uint64_t linear)
{
    uint64_t number = linear / GROUP_BYTES;
    return &s->bucket[(number ^ number >> 10 ^ number >> 20) & (BUCKETS - 1)];
}

struct group *space_group(struct space *s, uint64_t linear)
{
    struct group *g = *bucket_of(s, linear);

    while (g && g->linear != (linear & ~(GROUP_BYTES - 1)))
        g = g->next;
    return g;
}

/* NULL: there are no more. */
struct group *space_group_new(struct space *s, uint64_t linear)
{
    struct group *g = space_group(s, linear), **head = bucket_of(s, linear);

    if (g || s->groups == GROUPS)
        return g;
    g = &s->group[s->groups++];
    g->linear = linear & ~(GROUP_BYTES - 1);
    g->here = g->write = g->large = 0;
    g->next = *head;
    *head = g;
    return g;
}

/* ---- windows ---- */

/* An address that faults, whatever the low bits and the displacement are. */
static uint64_t no_delta(unsigned chunk)
{
    return BIT64(47) + BIT64(46) - ((uint64_t)chunk << DIRECT_CHUNK_SHIFT);
}

static bool gs_works(void)
{
    return getauxval(AT_HWCAP2) & HWCAP2_FSGSBASE_BIT;
}

/* Distances are negative mostly, which only the instruction takes. */
static void gs_set(uint64_t base)
{
    if (gs_works())
        __asm__ volatile("wrgsbase %0" : : "r"(base));
}

/* While nothing is in force.  A class that is absent is asked for, too, by code that was translated
 * for another program, and an address may have any bits.  So what stands for its chunk is such that
 * chunk + distance, with whatever is above bit 47, is in no user's memory:
 *
 *   distance       chunk   address where bits 63:48 are 0, all set, other
 *   NO_GS          7f      kernel, not canonical (the same for pointers known to be a user's)
 *   gs, negative   ff      2^47 and above, kernel, not canonical
 *   gs, positive   80      2^47 and above, kernel, not canonical
 *   NO_STACK       7f      2^47 and above, kernel, not canonical */
#define NO_GS    0xffff800000000000u
#define NO_STACK BIT64(47)

void space_stack_nowhere(struct jit_cpu *c)
{
    c->tr.stack_class = DIRECT_CLASSES;
    memset(c->tr.elsewhere, 1, sizeof(c->tr.elsewhere));
}

/* Where RSP is now translated code may rely on it to be, if that is where one of the classes is. */
static void stack_here(struct jit_cpu *c, const struct space *s)
{
    uint64_t chunk = c->st.gpr[R_RSP] >> DIRECT_CHUNK_SHIFT;

    if (s->stack_wanders)
        return;
    for (unsigned k = 0; k < DIRECT_CLASSES; k++) {
        if (s->chunk[k] == ABSENT || s->chunk[k] != chunk)
            continue;
        c->tr.stack_class = (uint8_t)k;
        c->tr.elsewhere[chunk] = 0;
    }
}

void space_none_in_force(struct jit_cpu *c)
{
    for (unsigned n = 0; n < DIRECT_CHUNKS; n++)
        c->tr.delta[n] = no_delta(n);
    memset(c->tr.chunk, 0x7f, sizeof(c->tr.chunk));
    c->tr.classes = 0;
    c->tr.stack_delta = NO_STACK;
    space_stack_nowhere(c);
    tr_places_moved(c);
    gs_set(NO_GS);
}

static void classes_of(struct jit_cpu *c, const struct space *s)
{
    for (unsigned k = 0; k < DIRECT_CLASSES; k++) {
        if (s->chunk[k] != ABSENT) {
            c->tr.chunk[k] = s->chunk[k];
            c->tr.classes |= BIT(k);
        } else if (k != DIRECT_STACK) {
            c->tr.chunk[k] = !s->has_gs ? 0x7f : s->low ? 0x80 : 0xff;
        }
    }
    if (s->chunk[DIRECT_STACK] != ABSENT)
        c->tr.stack_delta = c->tr.delta[s->chunk[DIRECT_STACK]];
    gs_set(s->has_gs ? s->gs : NO_GS);
}

void space_in_force(struct jit_cpu *c, const struct space *s)
{
    for (unsigned n = 0; n < s->windows; n++) {
        const struct window *w = &s->window[n];
        c->tr.delta[w->linear >> DIRECT_CHUNK_SHIFT] = (uint64_t)(uintptr_t)w->base - w->linear;
    }
    tr_places_moved(c);
    if (gs_works()) {
        classes_of(c, s);
        if (c->tr.stack_class == DIRECT_CLASSES)
            stack_here(c, s);
    }
}

struct window *space_window(struct space *s, uint64_t linear)
{
    for (unsigned n = 0; n < s->windows; n++)
        if (linear - s->window[n].linear < CHUNK_BYTES)
            return &s->window[n];
    return NULL;
}

uint8_t *space_place(struct space *s, uint64_t linear)
{
    struct window *w = space_window(s, linear);

    return w->base + (page_of(linear) - w->linear);
}

#define WINDOWS_ALL 64u /* of all vcpus: half of a process's addresses */

static unsigned windows_all; /* atomic */

/* At base, or (0) anywhere. */
static uint8_t *reserve(uint64_t base, uint8_t **reserved)
{
    const uint64_t align = 2 * MiB;
    uint8_t *want = base ? (uint8_t *)(uintptr_t)(base - DIRECT_GUARD_BYTES) : NULL;
    int how = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | (base ? MAP_FIXED_NOREPLACE : 0);
    uint8_t *p;

    if (__atomic_load_n(&windows_all, __ATOMIC_RELAXED) >= WINDOWS_ALL)
        return NULL;
    p = mmap(want, WINDOW_BYTES, PROT_NONE, how, -1, 0);
    if (p == MAP_FAILED)
        return NULL;
    if (want && p != want) { /* a kernel before 4.17 */
        munmap(p, WINDOW_BYTES);
        return NULL;
    }
    *reserved = p;
    __atomic_fetch_add(&windows_all, 1, __ATOMIC_RELAXED);
    return (uint8_t *)ALIGN_UP((uintptr_t)p + DIRECT_GUARD_BYTES, align);
}

/* Programs that are not position-independent are in the lowest chunk; it has a distance of its own.
 * The rest can share one, where the host has nothing. */
static unsigned class_of(const struct space *s, uint64_t chunk)
{
    if (chunk == 0)
        return s->low ? DIRECT_LOW : DIRECT_CLASSES;
    if (chunk >= 0x70)
        return s->low ? DIRECT_STACK : DIRECT_HIGH;
    return !s->low && chunk >= 0x50 && chunk < 0x60 ? DIRECT_PROGRAM : DIRECT_CLASSES;
}

#define STEP_CHUNKS 3u /* between the distances that are tried */

static uint8_t *reserve_at_gs(struct space *s, uint64_t linear, uint8_t **reserved)
{
    uint8_t *base = NULL;

    if (s->has_gs)
        return linear + s->gs - DIRECT_GUARD_BYTES < BIT64(47) ? reserve(linear + s->gs, reserved)
                                                               : NULL;
    if (s->low)
        base = reserve(0, reserved);
    for (uint64_t n = STEP_CHUNKS * CHUNK_BYTES; !base && n + CHUNK_BYTES < linear;
         n += STEP_CHUNKS * CHUNK_BYTES)
        base = reserve(linear - n, reserved);
    if (base) {
        s->gs = (uint64_t)(uintptr_t)base - linear;
        s->has_gs = true;
    }
    return base;
}

bool space_open(struct space *s, uint64_t linear)
{
    struct window *w = &s->window[s->windows];
    unsigned class = class_of(s, linear >> DIRECT_CHUNK_SHIFT);

    if (s->windows == WINDOWS || linear >> 47)
        return false;
    w->linear = linear & ~(CHUNK_BYTES - 1);
    w->base = NULL;
    bool first = class < DIRECT_CLASSES && s->chunk[class] == ABSENT;
    if (first && class != DIRECT_STACK)
        w->base = reserve_at_gs(s, w->linear, &w->reserved);
    first &= w->base || class == DIRECT_STACK;
    if (!w->base)
        w->base = reserve(0, &w->reserved);
    if (!w->base)
        return false;
    if (first)
        s->chunk[class] = (uint8_t)(w->linear >> DIRECT_CHUNK_SHIFT);
    s->windows++;
    return true;
}

static void windows_close(struct space *s)
{
    for (unsigned n = 0; n < s->windows; n++)
        munmap(s->window[n].reserved, WINDOW_BYTES);
    __atomic_fetch_sub(&windows_all, s->windows, __ATOMIC_RELAXED);
    s->windows = 0;
    s->has_gs = false;
    memset(s->chunk, ABSENT, sizeof(s->chunk));
}

void space_empty(struct space *s)
{
    windows_close(s);
    memset(s->bucket, 0, sizeof(s->bucket));
    s->groups = s->maps = 0;
    s->stack_wanders = false;
}
