/* throttle.h - limits on the bytes and requests per second of one disk, or of a group of disks
 * together.
 *
 *   request --> its group's buckets have room? --> on it goes
 *                     \--> waits in its node; the group gives one waiting node after the other its
 *                          turn, by a timer in that node's loop
 *
 * Each limit is a leaky bucket: what passes fills it, it leaks at the average rate.  Without a
 * burst limit it holds a tenth of a second's worth; with max= it holds `length` seconds at the rate
 * max, and a second bucket that leaks at that rate keeps the burst from going faster.  Reads and
 * writes (zeroes included) count; flushes and discards do not.  Draining lets all pass.
 *
 * Owner:   a group lives as long as the object or the nodes that use it.
 * Threads: main, but for the requests themselves.   Errors: GError. */
#ifndef BLOCK_THROTTLE_H
#define BLOCK_THROTTLE_H

#include "base/types.h"

struct blk_node;
struct props;

enum throttle_kind {
    THROTTLE_BPS_TOTAL,
    THROTTLE_BPS_READ,
    THROTTLE_BPS_WRITE,
    THROTTLE_IOPS_TOTAL,
    THROTTLE_IOPS_READ,
    THROTTLE_IOPS_WRITE,
    THROTTLE_KINDS
};

struct throttle_limits {
    struct {
        uint64_t avg, max, length_s; /* per second; 0: none; length 1 unless max lasts longer */
    } of[THROTTLE_KINDS];
    uint64_t iops_size_bytes; /* a request counts once per this many bytes; 0: once */
};

/* Reads bps-total, bps-total-max, bps-total-max-length, ... iops-size, each after the prefix. */
bool throttle_limits_read(struct props *p, const char *prefix, struct throttle_limits *out,
                          GError **err);
bool throttle_limits_check(const struct throttle_limits *l, GError **err);
bool throttle_limits_any(const struct throttle_limits *l);

struct throttle_group;
/* -object throttle-group: refused when the name is taken. */
struct throttle_group *throttle_group_new(const char *name, const struct throttle_limits *l,
                                          GError **err);
void throttle_group_unref(struct throttle_group *g); /* accepts NULL */

/* Limits of a root node.  group: joined or made (NULL: the node's own); its limits become these.
 * No limits at all: the node leaves its group.  Running requests are drained. */
bool blk_set_throttle(struct blk_node *n, const char *group, const struct throttle_limits *l,
                      GError **err);
/* NULL when the node has none; else the group's name. */
const char *blk_get_throttle(const struct blk_node *n, struct throttle_limits *out);

#endif
