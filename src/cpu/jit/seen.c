/* seen.c - how often code has been run.
 *
 * AT ONCE OR WARM.  What user programs run once, most of them run again, and to interpret it first
 * costs as much as to translate it.  But there are others: so one in eight is interpreted and
 * watched, and `returns` rises with each that comes back and falls with each that is new.  Where a
 * part p of them comes back it goes to p / (1 + p) of RETURNS_ALL. */
#include "seen.h"

#include <glib.h>

#define SEEN_SIZE      65536u
#define RETURNS_ALL    1024u
#define RETURNS_ENOUGH 236u /* three in ten come back */
#define RETURNS_SHIFT  7
#define WATCH_ONE_IN   8u

struct seen {
    uint16_t entry[SEEN_SIZE]; /* how often, up to SEEN_COUNT; which code */
    uint32_t dice;
    unsigned returns, watched;
};

struct seen *seen_new(void)
{
    struct seen *s = g_new0(struct seen, 1);

    s->returns = RETURNS_ALL / 2;
    return s;
}

void seen_free(struct seen *s)
{
    g_free(s);
}

static inline uint16_t *entry_of(struct seen *s, uintptr_t host, uint32_t key, uint16_t *tag)
{
    uint64_t h = (host ^ (uint64_t)key << 48) * 0x9e3779b97f4a7c15ull;

    *tag = (uint16_t)(h >> 32) & (uint16_t)~SEEN_COUNT;
    return &s->entry[h >> 48];
}

void seen_soon(struct seen *s, uintptr_t host, uint32_t key)
{
    uint16_t tag;

    __builtin_prefetch(entry_of(s, host, key, &tag));
}

unsigned seen_before(struct seen *s, uintptr_t host, uint32_t key)
{
    uint16_t tag, *e = entry_of(s, host, key, &tag);
    unsigned count = *e & SEEN_COUNT;

    if (!count || (*e & ~SEEN_COUNT) != tag) {
        s->dice = s->dice * 1664525 + 1013904223;
        if (!count || s->dice >> 31)
            *e = tag | 1;
        return 0;
    }
    *e = (uint16_t)(tag | (count < SEEN_COUNT ? count + 1 : SEEN_COUNT));
    return count;
}

void seen_again(struct seen *s, uintptr_t host, uint32_t key)
{
    uint16_t tag, *e = entry_of(s, host, key, &tag);

    *e = tag | 1;
}

bool seen_at_once(struct seen *s, unsigned runs)
{
    if (runs == 1)
        s->returns += (RETURNS_ALL - s->returns) >> RETURNS_SHIFT;
    if (runs > 0)
        return false;
    if (s->returns > RETURNS_ENOUGH && ++s->watched % WATCH_ONE_IN)
        return true;
    s->returns -= s->returns >> RETURNS_SHIFT;
    return false;
}
