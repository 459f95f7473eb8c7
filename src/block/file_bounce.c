/* file_bounce.c - with O_DIRECT the kernel wants aligned memory; a request without it takes a
 * buffer, which is kept for the next one: a guest that always misaligns costs copies, not
 * allocations. */
#include "file.h"

#include "base/util.h"

#include <stdlib.h>

#define SIZE_MIN 4096u

/* Index of the smallest size that holds len, FILE_BOUNCE_SIZES when none does. */
static unsigned size_index(uint64_t len)
{
    unsigned i = 0;

    while (i < FILE_BOUNCE_SIZES && ((uint64_t)SIZE_MIN << i) < len)
        i++;
    return i;
}

static void *buf_get(struct file *f, uint64_t len, bool spares)
{
    unsigned i = size_index(len);
    void *buf = NULL;

    if (spares && i < FILE_BOUNCE_SIZES && f->spare[i]) {
        buf = f->spare[i];
        f->spare[i] = f->spare[i]->next;
        f->spare_bytes -= (size_t)SIZE_MIN << i;
        return buf;
    }
    size_t bytes = i < FILE_BOUNCE_SIZES ? (size_t)SIZE_MIN << i : (size_t)len;
    return posix_memalign(&buf, MAX_OF(f->align, SIZE_MIN), bytes) ? NULL : buf;
}

static void buf_put(struct file *f, void *buf, uint64_t len, bool spares)
{
    unsigned i = size_index(len);
    size_t bytes = (size_t)SIZE_MIN << MIN_OF(i, FILE_BOUNCE_SIZES - 1);

    if (!spares || i == FILE_BOUNCE_SIZES || f->spare_bytes + bytes > FILE_SPARE_BYTES) {
        free(buf);
        return;
    }
    struct spare_buf *s = buf;
    s->next = f->spare[i];
    f->spare[i] = s;
    f->spare_bytes += bytes;
}

bool bounce_make(struct file *f, struct blk_req *req, bool spares)
{
    struct file_req *fr = file_req(req);

    fr->bounce = buf_get(f, req->len_bytes, spares);
    if (!fr->bounce)
        return false;
    fr->one = (struct iovec){.iov_base = fr->bounce, .iov_len = req->len_bytes};
    if (req->op == BLK_WRITE)
        blk_iov_to_buf(req->iov, req->iov_count, fr->bounce);
    return true;
}

void bounce_end(struct file *f, struct blk_req *req, int ret, bool spares)
{
    struct file_req *fr = file_req(req);

    if (!fr->bounce)
        return;
    if (ret == 0 && req->op == BLK_READ)
        blk_iov_from_buf(req->iov, req->iov_count, fr->bounce);
    buf_put(f, fr->bounce, req->len_bytes, spares);
    fr->bounce = NULL;
}

void bounce_free_spares(struct file *f)
{
    for (unsigned i = 0; i < FILE_BOUNCE_SIZES; i++) {
        while (f->spare[i]) {
            struct spare_buf *s = f->spare[i];
            f->spare[i] = s->next;
            free(s);
        }
    }
}
