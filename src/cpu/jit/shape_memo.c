/* shape_memo.c - the templates of one vcpu: a table of fixed size, the newest of a slot wins. */
#include "shape.h"

#include "base/areas.h"

#include <glib.h>

#define MEMO_SLOTS 8192u /* 512 KiB: what the second-level cache holds; see docs/cpu.md */

/* One cache line.  In here insn.bytes is the key and insn.off the tag, and insn is not to be run.
 */
struct shape_template {
    struct insn insn;
} __attribute__((aligned(64)));
_Static_assert(sizeof(struct shape_template) == 64, "one cache line");
enum { TAG_USED = 1, TAG_IMM_SIGNED = 2, TAG_MODE_SHIFT = 2 };

struct shape_memo {
    struct shape_stats stats;
    struct shape_template slot[MEMO_SLOTS];
};

struct shape_memo *shape_memo_new(void)
{
    return memory_area_new("jit-tables", sizeof(struct shape_memo));
}

void shape_memo_free(struct shape_memo *m)
{
    memory_area_free(m, sizeof(*m));
}

static inline uint16_t tag_of(const struct shape *s)
{
    return (uint16_t)(s->mode_key << TAG_MODE_SHIFT | TAG_USED);
}

static inline struct shape_template *slot_of(struct shape_memo *m, const struct shape *s)
{
    uint64_t h = (s->key[0] ^ s->mode_key) * 0x9e3779b97f4a7c15ull;

    h = (h ^ (h >> 32) ^ s->key[1]) * 0xd6e8feb86659fd93ull;
    return &m->slot[h >> 32 & (MEMO_SLOTS - 1)];
}

/* Bytes 7 to 14: with the first eight, all of insn.bytes in two pieces of a register each. */
static inline uint64_t second_piece(const uint64_t bytes[2])
{
    return bytes[0] >> 56 | bytes[1] << 8;
}

static inline void bytes_put(struct insn *out, const uint64_t bytes[2])
{
    le64_put(out->bytes, bytes[0]);
    le64_put(out->bytes + 7, second_piece(bytes));
}

/* Little-endian bytes, sign-extended; size 0 gives anything. */
static inline int64_t field(const struct shape *s, unsigned at, unsigned size)
{
    unsigned __int128 all = (unsigned __int128)s->bytes[1] << 64 | s->bytes[0];
    unsigned spare = (64 - 8 * size) & 63;

    return (int64_t)((uint64_t)(all >> (8 * at)) << spare) >> spare;
}

static inline void fill(const struct shape_template *t, const struct shape *s, struct insn *out)
{
    int64_t disp = field(s, s->disp_at, s->disp_size), imm = field(s, s->imm_at, s->imm_size);
    unsigned spare = (64 - 8 * s->imm_size) & 63;

    if (!(t->insn.off & TAG_IMM_SIGNED))
        imm = (int64_t)((uint64_t)imm << spare >> spare);
    imm = s->imm_size ? imm : t->insn.imm;
    *out = t->insn;
    out->len = s->len; /* the same, but known earlier: where the next one begins */
    out->disp = s->disp_size ? (int32_t)disp : t->insn.disp;
    out->imm = s->moffs ? disp : imm;
    out->off = 0;
    bytes_put(out, s->bytes);
}

static inline bool fits(const struct shape_template *t, const struct shape *s)
{
    return (t->insn.off & ~TAG_IMM_SIGNED) == tag_of(s) && le64_get(t->insn.bytes) == s->key[0] &&
           le64_get(t->insn.bytes + 7) == second_piece(s->key);
}

bool shape_memo_get(struct shape_memo *m, uint32_t mode_key, const struct fetch *f, struct shape *s,
                    struct insn *out)
{
    shape_of(s, mode_key, f);
    if (!s->known || !fits(slot_of(m, s), s)) {
        m->stats.misses++;
        return false;
    }
    fill(slot_of(m, s), s, out);
    m->stats.hits++;
    return true;
}

/* Zydis found the parts where the shape has them. */
static bool shape_agrees(const struct shape *s, const ZydisDecodedInstruction *z)
{
    return z->length == s->len &&
           (!s->disp_size ||
            (z->raw.disp.offset == s->disp_at && z->raw.disp.size == 8 * s->disp_size)) &&
           (!s->imm_size || (z->raw.imm[0].offset == s->imm_at &&
                             z->raw.imm[0].size == 8 * s->imm_size && !z->raw.imm[1].size));
}

void shape_memo_put(struct shape_memo *m, const struct shape *s, const ZydisDecodedInstruction *z,
                    const struct insn *in)
{
    struct shape_template t = {.insn = *in}, *slot;
    struct insn again;

    if (!s->known || !shape_agrees(s, z))
        return;
    g_assert(s->mode_key < 1u << (16 - TAG_MODE_SHIFT));
    bytes_put(&t.insn, s->key);
    t.insn.off = tag_of(s) | (z->raw.imm[0].is_signed ? TAG_IMM_SIGNED : 0);
    /* What a selector keeps in another form than Zydis gives cannot be put in. */
    fill(&t, s, &again);
    if (memcmp(&again, in, sizeof(again)) != 0)
        return;
    slot = slot_of(m, s);
    m->stats.templates += !slot->insn.off;
    *slot = t;
}

struct shape_stats shape_memo_stats(const struct shape_memo *m)
{
    return m->stats;
}
