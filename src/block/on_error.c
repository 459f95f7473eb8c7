/* on_error.c - deciding about failed requests, and telling the main thread. */
#include "block/on_error.h"

#include "base/evloop.h"

#include <errno.h>
#include <string.h>

static enum blk_error_action decide(const struct blk_errors *e, bool is_write, int errnum)
{
    switch (is_write ? e->werror : e->rerror) {
    case BLK_ON_ERROR_IGNORE:
        return BLK_ERROR_IGNORE;
    case BLK_ON_ERROR_STOP:
        return BLK_ERROR_STOP;
    case BLK_ON_ERROR_ENOSPC:
        return errnum == ENOSPC ? BLK_ERROR_STOP : BLK_ERROR_REPORT;
    case BLK_ON_ERROR_DEFAULT:
        return is_write && errnum == ENOSPC ? BLK_ERROR_STOP : BLK_ERROR_REPORT;
    case BLK_ON_ERROR_REPORT:
        break;
    }
    return BLK_ERROR_REPORT;
}

static void deliver(void *opaque)
{
    struct blk_errors *e = opaque, now;

    pthread_mutex_lock(&e->lock);
    memcpy(now.notice, e->notice, sizeof(now.notice));
    now.notices = e->notices;
    e->notices = 0;
    e->armed = false;
    pthread_mutex_unlock(&e->lock);
    for (unsigned i = 0; i < now.notices; i++)
        e->told(e->opaque, now.notice[i].is_write, now.notice[i].errnum, now.notice[i].action);
    if (e->settle)
        e->settle(e->opaque);
}

void blk_errors_init(struct blk_errors *e)
{
    pthread_mutex_init(&e->lock, NULL);
    e->notices = 0;
    e->armed = false;
}

void blk_errors_fini(struct blk_errors *e)
{
    evloop_undefer(evloop_main(), deliver, e);
    pthread_mutex_destroy(&e->lock);
}

enum blk_error_action blk_errors_judge(struct blk_errors *e, bool is_write, int errnum)
{
    enum blk_error_action action = decide(e, is_write, errnum);

    if (!e->told)
        return action == BLK_ERROR_STOP ? BLK_ERROR_REPORT : action;
    pthread_mutex_lock(&e->lock);
    if (e->notices < BLK_NOTICES_MAX) {
        e->notice[e->notices].is_write = is_write;
        e->notice[e->notices].errnum = errnum;
        e->notice[e->notices++].action = action;
    }
    bool armed = e->armed;
    e->armed = true;
    pthread_mutex_unlock(&e->lock);
    if (!armed)
        evloop_defer(evloop_main(), deliver, e);
    return action;
}
