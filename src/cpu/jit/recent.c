/* recent.c - the ring of decoded blocks. An entry is its instructions, and behind them what they
 * were made of; the index leads to the latter.
 *
 * POSITIONS count bytes ever taken, so that one says whether its bytes have been taken again. */
#include "recent.h"

#include "base/areas.h"

#include <glib.h>

#define RING_BYTES (4 * MiB)
#define INDEX_SIZE 16384u
#define ENTRY_MAX  (ALIGN_UP(sizeof(struct entry) + BLOCK_INSNS_MAX * 15, 64) + INSNS_MAX)
#define INSNS_MAX  ((BLOCK_INSNS_MAX + 1) * sizeof(struct insn))

struct entry {
    uintptr_t host;
    uint32_t key;
    uint16_t count, bytes;
    uint8_t code[];
};

struct recent {
    uint8_t *ring;
    uint64_t head;              /* where the next block goes */
    uint64_t index[INDEX_SIZE]; /* positions of entries; 0: none */
};

static inline uint64_t *slot_of(struct recent *r, uintptr_t host, uint32_t key)
{
    uint64_t h = (host ^ (uint64_t)key << 48) * 0x9e3779b97f4a7c15ull;

    return &r->index[h >> 32 & (INDEX_SIZE - 1)];
}

struct recent *recent_new(void)
{
    struct recent *r = g_new0(struct recent, 1);

    r->ring = memory_area_new("jit-tables", RING_BYTES);
    return r;
}

void recent_free(struct recent *r)
{
    if (!r)
        return;
    memory_area_free(r->ring, RING_BYTES);
    g_free(r);
}

void recent_soon(struct recent *r, uintptr_t host, uint32_t key)
{
    __builtin_prefetch(slot_of(r, host, key));
}

/* The entry at host, or NULL when there is none or its bytes may have been taken again. */
static struct entry *entry_at(struct recent *r, uintptr_t host, uint32_t key)
{
    uint64_t pos = *slot_of(r, host, key);

    if (!pos || r->head + ENTRY_MAX - (pos - INSNS_MAX) > RING_BYTES)
        return NULL;
    struct entry *e = (struct entry *)(r->ring + pos % RING_BYTES);
    return e->host == host && e->key == key ? e : NULL;
}

bool recent_find(struct recent *r, uintptr_t host, uint32_t key, struct recent_code *out)
{
    struct entry *e = entry_at(r, host, key);

    if (!e || memcmp(e->code, (const void *)host, e->bytes) != 0)
        return false;
    *out = (struct recent_code){
        .insn = (struct insn *)e - (e->count + 1), .count = e->count, .bytes = e->bytes};
    return true;
}

struct insn *recent_place(struct recent *r)
{
    uint64_t at = r->head % RING_BYTES;

    if (at + ENTRY_MAX > RING_BYTES)
        r->head += RING_BYTES - at;
    return (struct insn *)(r->ring + r->head % RING_BYTES);
}

void recent_keep(struct recent *r, uintptr_t host, uint32_t key, const struct recent_code *code)
{
    const struct insn *last = &code->insn[code->count - 1];
    uint64_t pos = r->head + (code->count + 1u) * sizeof(struct insn);
    struct entry *e = (struct entry *)(r->ring + pos % RING_BYTES);

    g_assert(code->insn == (struct insn *)(r->ring + r->head % RING_BYTES));
    if (last->mnemonic == ZYDIS_MNEMONIC_INVALID)
        return; /* how many of the bytes make it that is not known */
    *e = (struct entry){.host = host, .key = key, .count = code->count, .bytes = code->bytes};
    uint8_t *to = e->code;
    for (unsigned n = 0; n < code->count; n++) {
        memcpy(to, code->insn[n].bytes, code->insn[n].len);
        to += code->insn[n].len;
    }
    r->head = ALIGN_UP(pos + sizeof(*e) + code->bytes, 64);
    *slot_of(r, host, key) = pos;
}

void recent_forget(struct recent *r, uintptr_t host, uint32_t key)
{
    struct entry *e = entry_at(r, host, key);

    if (e)
        *slot_of(r, host, key) = 0;
}
