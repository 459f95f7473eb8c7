/* throttle.h - what node.c and the "throttle" driver ask of throttle.c. */
#ifndef BLOCK_THROTTLE_INT_H
#define BLOCK_THROTTLE_INT_H

#include "block/throttle.h"
#include "block_int.h"

struct throttle_member;

/* go: where a request goes on when its time has come (loop thread). */
struct throttle_member *throttle_join(struct blk_node *n, struct throttle_group *g,
                                      void (*go)(struct blk_node *n, struct blk_req *req));
void throttle_leave(struct throttle_member *t); /* nothing waits; accepts NULL */
void throttle_attach(struct throttle_member *t, struct evloop *loop);
/* Loop thread: true when the request may go on now; else it waits for go(). */
bool throttle_pass(struct throttle_member *t, struct blk_req *req);
void throttle_sleep(struct throttle_member *t, const struct blk_req *req); /* a worker's way */
void throttle_drain_begin(struct throttle_member *t); /* loop thread: lets all pass from now on */
void throttle_drain_end(struct throttle_member *t);
struct throttle_group *throttle_group_find(const char *name); /* a new reference, or NULL */

#endif
