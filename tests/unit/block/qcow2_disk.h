/* qcow2_disk.h - one image of a test of qcow2 features: made, opened, compared with a buffer. */
#ifndef TEST_QCOW2_DISK_H
#define TEST_QCOW2_DISK_H

#include "qcow2_bed.h"

enum { SIZE = 4 << 20, CLUSTER = 65536, HALF = SIZE / 2 };

struct bed {
    char *dir, *image, *other;
    uint8_t *data, *in;
    struct blk_node *n;
};

#define OK(call)                                                                                   \
    do {                                                                                           \
        GError *err = NULL;                                                                        \
        bool ok_ = (call);                                                                         \
        g_assert_no_error(err);                                                                    \
        g_assert_true(ok_);                                                                        \
    } while (0)

void fill(uint8_t *p, uint64_t len, unsigned seed); /* bytes that look random */
/* What how leaves 0: SIZE, version 3, CLUSTER. */
void make(const char *path, const struct qcow2_create *how);
void bed_open(struct bed *b, const struct qcow2_create *how); /* NULL: no image yet */
void bed_close(struct bed *b);
void reopen(struct bed *b, const char *more);
void settle(struct bed *b); /* closed, and clean in everybody's eyes */
void write_all(struct bed *b, const uint8_t *data, uint64_t from, uint64_t len);
void expect(struct bed *b, const uint8_t *data, uint64_t from, uint64_t len);
uint64_t host_bytes(const char *path);
void refused(bool ok, GError **err, const char *word); /* by a sentence with that word */

#endif
