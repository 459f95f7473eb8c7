/* claim.c - letting go of `serial` during a transfer without losing what was found out under it. */
#include "qcow2.h"

void q2_claim(struct qcow2 *q, struct q2_claim *c, uint64_t offset, uint64_t len)
{
    c->first = ALIGN_DOWN(offset, q->cluster_bytes);
    c->end = ALIGN_UP(offset + len, q->cluster_bytes);
    for (const struct q2_claim *other = q->claims; other;) {
        if (c->first < other->end && other->first < c->end) {
            pthread_cond_wait(&q->unclaimed, &q->serial);
            other = q->claims;
        } else {
            other = other->next;
        }
    }
    c->next = q->claims;
    q->claims = c;
}

void q2_unclaim(struct qcow2 *q, struct q2_claim *c)
{
    struct q2_claim **p = &q->claims;

    while (*p != c)
        p = &(*p)->next;
    *p = c->next;
    pthread_cond_broadcast(&q->unclaimed);
}

void q2_let_go(struct qcow2 *q)
{
    pthread_mutex_lock(&q->tables);
    q->slow_inflight++;
    pthread_mutex_unlock(&q->tables);
    pthread_mutex_unlock(&q->serial);
}

void q2_take_back(struct qcow2 *q)
{
    pthread_mutex_lock(&q->tables); /* first: who holds serial may wait for this */
    if (--q->slow_inflight == 0)
        pthread_cond_broadcast(&q->fast_idle);
    pthread_mutex_unlock(&q->tables);
    pthread_mutex_lock(&q->serial);
}
