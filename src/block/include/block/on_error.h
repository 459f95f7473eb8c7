/* on_error.h - what a device does when the image reports an error: rerror= and werror=.
 *
 *   done(-errno) --> blk_errors_judge() --> REPORT: the guest hears of it
 *                          |                IGNORE: the request ends well
 *                          |                STOP:   the request stays with the device (parked)
 *                          \--> in the main thread: told() pauses the machine; then settle()
 *
 * settle() is where the device looks whether the machine really stands: if so its parked requests
 * wait for the resume, else they end with their errors.
 *
 * Owner:   the device embeds the struct.   Threads: judge: any, told and settle: main. */
#ifndef BLOCK_ON_ERROR_H
#define BLOCK_ON_ERROR_H

#include "block/block.h"

#include <pthread.h>

enum blk_on_error {
    BLK_ON_ERROR_DEFAULT, /* report reads; enospc for writes */
    BLK_ON_ERROR_REPORT,
    BLK_ON_ERROR_IGNORE,
    BLK_ON_ERROR_STOP,   /* request parked, VM asked to pause; retried on resume */
    BLK_ON_ERROR_ENOSPC, /* stop when the host is out of space, else report */
};
enum blk_error_action { BLK_ERROR_REPORT, BLK_ERROR_IGNORE, BLK_ERROR_STOP };

enum { BLK_NOTICES_MAX = 16 };

struct blk_errors {
    /* immutable */
    enum blk_on_error rerror, werror;
    /* NULL: nobody could pause the machine, so nothing is parked */
    void (*told)(void *opaque, bool is_write, int errnum, enum blk_error_action action);
    void (*settle)(void *opaque); /* may be NULL */
    void *opaque;
    /* under lock */
    pthread_mutex_t lock;
    struct {
        bool is_write;
        int errnum;
        enum blk_error_action action;
    } notice[BLK_NOTICES_MAX];
    unsigned notices;
    bool armed; /* deliver() is on its way */
};

void blk_errors_init(struct blk_errors *e); /* the fields above it are set */
void blk_errors_fini(struct blk_errors *e); /* main thread, nothing in flight */
enum blk_error_action blk_errors_judge(struct blk_errors *e, bool is_write, int errnum);

#endif
