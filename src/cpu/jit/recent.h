/* recent.h - instructions decoded not long ago, so that code that is run a few times, but is not
 * kept, is not decoded each time.
 *
 * A ring: what is decoded goes to its head and lives until the ring has come round.  An entry knows
 * the bytes it was made of and is found only while memory still holds the same: nobody has to say
 * that code was changed.
 *
 * Threads: belongs to one vcpu's thread.  Whoever reads code bytes has announced its page before
 * (icache.c), for recent_find as for decoding.
 */
#ifndef CPU_JIT_RECENT_H
#define CPU_JIT_RECENT_H

#include "op.h"

struct recent;
struct recent *recent_new(void);
void recent_free(struct recent *r);

/* One decoded block: insn[count] is op_block_end. */
struct recent_code {
    struct insn *insn;
    uint16_t count, bytes;
};
/* What was decoded from host under key; false: nothing that is still true. */
bool recent_find(struct recent *r, uintptr_t host, uint32_t key, struct recent_code *out);
void recent_soon(struct recent *r, uintptr_t host, uint32_t key); /* it will be looked for */
/* Where the next block may be decoded to: room for BLOCK_INSNS_MAX + 1.  Stays what it is until
 * recent_keep. */
struct insn *recent_place(struct recent *r);
/* The instructions at recent_place are these, and shall be found. */
void recent_keep(struct recent *r, uintptr_t host, uint32_t key, const struct recent_code *code);
/* Instructions found or kept have been changed: they are not found any more. */
void recent_forget(struct recent *r, uintptr_t host, uint32_t key);

#endif
