/* check.h - what check.c finds and repair.c mends. */
#ifndef BLOCK_QCOW2_CHECK_H
#define BLOCK_QCOW2_CHECK_H

#include "qcow2.h"

struct check {
    struct qcow2 *q;
    uint32_t *counts; /* references to each cluster of the file */
    uint64_t clusters;
    void (*report)(void *opaque, bool is_leak, const char *text);
    void *opaque;
    struct qcow2_check *out;
    uint64_t l1_tables;  /* walked so far */
    uint64_t next_data;  /* where the disk's next cluster would lie in one piece */
    uint64_t low, flags; /* counts below the references; COPIED flags that are wrong */
    bool bad_structure;  /* the refcount table or a block of it cannot be used */
    uint64_t bad_structures;
};

/* check.c */
bool q2_check_locked(struct check *c, GError **err);
/* The refcount structures' own references, counted (+1) or taken back (-1). */
void q2_count_structures(struct check *c, int by);
int q2_stored_count(struct qcow2 *q, uint64_t cluster, uint64_t *n);
/* repair.c: by what q2_check_locked() found */
bool q2_repair(struct check *c, unsigned fix, GError **err);

#endif
