/* convert_put.c - what a copying thread does with a piece of the source: finds the zeroes in it,
 * compresses it, and writes it. */
#include "convert.h"

#include "block/qcow2.h"

#include "base/util.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static uint64_t buffer_bytes(const struct convert *c)
{
    return MAX_OF((uint64_t)CONVERT_PIECE_BYTES, c->grain);
}

bool slot_init(struct slot *s, const struct convert *c)
{
    uint64_t bytes = buffer_bytes(c);
    s->buf = img_buffer(bytes);
    s->list = c->build ? g_try_new(struct qcow2_piece, bytes / c->grain) : NULL;
    s->packed = c->build && c->compress ? malloc(bytes) : NULL;
    return s->buf && (!c->build || s->list) && (!c->build || !c->compress || s->packed);
}

void slot_clear(struct slot *s)
{
    free(s->buf);
    free(s->packed);
    g_free(s->list);
}

bool copier_init(struct copier *w, struct convert *c)
{
    w->c = c;
    w->packer = c->build && c->compress ? qcow2_packer_new(c->zstd) : NULL;
    return w->packer || !c->build || !c->compress;
}

void copier_clear(struct copier *w)
{
    qcow2_packer_free(w->packer);
    qcow2_packer_free(w->unpacker[0]);
    qcow2_packer_free(w->unpacker[1]);
    free(w->raw);
}

/* ---- by requests to the target's node ---- */

static int put_run(struct convert *c, uint64_t at, const uint8_t *p, uint64_t len, bool zero)
{
    uint32_t fua = c->into.cache.through ? BLK_REQ_FUA : 0;
    if (zero && c->sparse_bytes) {
        bool there = c->target_is_zero && !c->has_backing;
        return there ? 0 : blk_pzero(c->out, at, len, fua | BLK_REQ_UNMAP);
    }
    if (!c->compress) {
        return blk_pwrite(c->out, at, p, len, fua);
    }
    for (uint64_t done = 0; done < len; done += c->grain) {
        int r = blk_pwrite(c->out, at + done, p + done, MIN_OF(c->grain, len - done),
                           fua | BLK_REQ_COMPRESSED);
        if (r < 0) {
            return r;
        }
    }
    return 0;
}

static int put_requests(struct convert *c, const struct piece *p, const uint8_t *buf)
{
    if (p->kind == PIECE_ZERO) {
        return put_run(c, p->at, NULL, p->len, true);
    }
    uint64_t scan = qcow2_info(c->out) ? c->grain : MAX_OF(c->sparse_bytes, (uint64_t)512);
    for (uint64_t done = 0; done < p->len;) {
        bool zero = false;
        uint64_t n = c->sparse_bytes ? img_run(buf + done, p->len - done, scan, &zero) : p->len;
        int r = put_run(c, p->at + done, buf + done, n, zero);
        if (r < 0) {
            return r;
        }
        done += n;
    }
    return 0;
}

/* ---- into a new qcow2 image ---- */

/* One cluster at a time: those that do not shrink stay as they are. */
static size_t list_packed(struct copier *w, struct slot *s, uint64_t at, uint64_t len)
{
    uint64_t grain = w->c->grain, room = 0;
    size_t count = 0;
    for (uint64_t i = 0; i < len; i += grain) {
        if (w->c->sparse_bytes && img_is_zero(s->buf + i, grain)) {
            if (w->c->has_backing) {
                s->list[count++] = (struct qcow2_piece){QCOW2_PIECE_ZERO, at + i, 1, NULL, 0, 0};
            }
            continue;
        }
        uint64_t n = qcow2_pack(w->packer, s->buf + i, grain, s->packed + room, grain);
        if (n) {
            s->list[count++] =
                (struct qcow2_piece){QCOW2_PIECE_PACKED, at + i, 1, s->packed + room, n, 0};
            room += n;
        } else {
            s->list[count++] = (struct qcow2_piece){QCOW2_PIECE_PLAIN, at + i, 1, s->buf + i, 0, 0};
        }
    }
    return count;
}

static size_t list_plain(const struct convert *c, struct slot *s, uint64_t at, uint64_t len)
{
    size_t count = 0;
    for (uint64_t i = 0; i < len;) {
        bool zero = false;
        uint64_t n = c->sparse_bytes ? img_run(s->buf + i, len - i, c->grain, &zero) : len;
        if (!zero || c->has_backing) {
            s->list[count++] = (struct qcow2_piece){zero ? QCOW2_PIECE_ZERO : QCOW2_PIECE_PLAIN,
                                                    at + i,
                                                    n / c->grain,
                                                    s->buf + i,
                                                    0,
                                                    0};
        }
        i += n;
    }
    return count;
}

void slot_prepare(struct copier *w, struct slot *s)
{
    const struct convert *c = w->c;
    uint64_t at = s->p.at, len = ALIGN_UP(s->p.len, c->grain);
    if (!c->build) {
        return;
    }
    if (s->p.kind == PIECE_ZERO) {
        s->list[0] = (struct qcow2_piece){QCOW2_PIECE_ZERO, at, len / c->grain, NULL, 0, 0};
        s->count = 1;
        return;
    }
    memset(s->buf + s->p.len, 0, len - s->p.len); /* the image ends inside a cluster */
    s->count = c->compress ? list_packed(w, s, at, len) : list_plain(c, s, at, len);
}

int slot_place(struct convert *c, struct slot *s)
{
    if (!c->build) {
        return put_requests(c, &s->p, s->buf);
    }
    int r = qcow2_build_place(c->build, s->list, s->count);
    return r < 0 || c->into.cache.direct ? r : qcow2_build_write(c->build, s->list, s->count);
}

int slot_write(struct convert *c, struct slot *s)
{
    return c->build && c->into.cache.direct ? qcow2_build_write(c->build, s->list, s->count) : 0;
}
