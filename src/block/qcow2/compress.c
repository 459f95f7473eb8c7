/* compress.c - compressed clusters: packed one behind the other, at any byte (spec "Compressed
 * Clusters Descriptor").  A host cluster is counted once for each of those that touch it. */
#include "qcow2.h"

#include "block/qcow2_build.h"

#include <errno.h>
#include <stdlib.h>

struct unpacking {
    uint8_t *packed, *plain; /* two clusters, one cluster */
    struct qcow2_packer *packer;
};

/* What the last one left, or new. */
static int unpacking_begin(struct qcow2 *q, struct unpacking *u)
{
    *u = (struct unpacking){.packer = q->packer};
    q->packer = NULL;
    if (posix_memalign((void **)&u->packed, 4096, 2 * q->cluster_bytes))
        u->packed = NULL;
    if (posix_memalign((void **)&u->plain, 4096, q->cluster_bytes))
        u->plain = NULL;
    if (!u->packer)
        u->packer = qcow2_packer_new(q->info.zstd);
    return u->packed && u->plain && u->packer ? 0 : -ENOMEM;
}

static void unpacking_end(struct qcow2 *q, struct unpacking *u)
{
    if (q->packer)
        qcow2_packer_free(u->packer);
    else
        q->packer = u->packer;
    free(u->packed);
    free(u->plain);
}

static int unpack(struct qcow2 *q, uint64_t entry, struct unpacking *u)
{
    uint64_t offset, len;

    q2_packed_place(q, entry, &offset, &len);
    len = MIN_OF(len, 2 * q->cluster_bytes);
    int r = q2_io(q->file, BLK_READ, offset, u->packed, len);
    if (r < 0)
        return r;
    return qcow2_unpack(u->packer, u->packed, len, u->plain, q->cluster_bytes) ? 0 : -EIO;
}

int q2_unpack(struct qcow2 *q, uint64_t entry, uint64_t from, const struct iovec *iov, int count,
              uint64_t skip, uint64_t len)
{
    struct unpacking u;

    if (q->unpacked_entry == entry) {
        q2_iov_put(iov, count, skip, q->unpacked + from, len);
        return 0;
    }
    int r = unpacking_begin(q, &u);
    uint64_t frees = q->frees;
    if (r == 0) {
        q2_let_go(q);
        r = unpack(q, entry, &u);
        if (r == 0)
            q2_iov_put(iov, count, skip, u.plain + from, len);
        q2_take_back(q);
    }
    if (r == 0 && frees == q->frees) { /* kept for who reads on in the same cluster */
        uint8_t *old = q->unpacked;
        q->unpacked = u.plain;
        u.plain = old;
        q->unpacked_entry = entry;
    }
    unpacking_end(q, &u);
    return r;
}

/* ---- writing ---- */

/* Behind the compressed cluster before it, where there is room, else in a new cluster. */
static int find_place(struct qcow2 *q, uint64_t len, uint64_t *offset)
{
    uint64_t mask = q->cluster_bytes - 1, host, got;
    uint64_t room = q->packed_at & mask ? q->cluster_bytes - (q->packed_at & mask) : 0;
    bool count_first = room && q2_ref_max(q) > 1;

    *offset = q->packed_at;
    if (!count_first || room < len) {
        int r = q2_alloc(q, 1, &host, &got);
        if (r < 0)
            return r;
        /* q2_alloc() may have freed what packed_at pointed into */
        if (!count_first || !q->packed_at || host != ALIGN_UP(*offset, q->cluster_bytes)) {
            *offset = host;
            count_first = false;
        }
    }
    int r = count_first ? q2_ref_add(q, *offset >> q->cluster_bits) : 0;
    if (r == -EOVERFLOW) {
        r = room < len ? 0 : q2_alloc(q, 1, &host, &got);
        *offset = host;
    }
    if (r == 0)
        q->packed_at = *offset + len;
    return r;
}

static int write_one(struct qcow2 *q, uint64_t offset, uint8_t *packed, uint64_t len)
{
    uint32_t x = 62 - (q->cluster_bits - 8);
    struct table *l2;
    uint64_t at = 0;
    int r = q2_l2_writable(q, offset, &l2);

    if (r == 0)
        r = find_place(q, len, &at);
    if (r < 0)
        return r;
    if (at >> x)
        return -EFBIG;
    if (q2_is_metadata(q, at, len))
        return q2_corrupt(q, "clusters that hold tables are counted as free");
    uint64_t more = ((at + len - 1) >> 9) - (at >> 9);
    uint64_t entry = Q2_COMPRESSED | more << x | at;
    r = q2_io(q->file, BLK_WRITE, at, packed, len);
    if (r == 0)
        r = q2_l2_set_packed(q, offset, entry);
    else
        q2_free_now(q, at & ~(q->cluster_bytes - 1),
                    ((at + len - 1) >> q->cluster_bits) - (at >> q->cluster_bits) + 1);
    return r;
}

static int write_cluster(struct qcow2 *q, const struct blk_req *req, uint64_t done,
                         struct qcow2_packer *packer, uint8_t *plain)
{
    uint8_t *packed = plain + q->cluster_bytes;
    uint64_t n = MIN_OF(q->cluster_bytes, req->len_bytes - done), offset = req->offset_bytes + done;
    struct iovec iov = {plain, n};
    struct iovec part[64];
    int parts;

    for (uint64_t at = 0; at < n;) { /* gathered, so that it can be compressed */
        uint64_t have = blk_iov_slice(req->iov, req->iov_count, done + at, part, 64, &parts);
        for (int i = 0; i < parts && at < n; i++) {
            uint64_t len = MIN_OF((uint64_t)part[i].iov_len, n - at);
            memcpy(plain + at, part[i].iov_base, len);
            at += len;
        }
        if (have == 0)
            return -EINVAL;
    }
    memset(plain + n, 0, q->cluster_bytes - n);
    uint64_t len = qcow2_pack(packer, plain, q->cluster_bytes, packed, q->cluster_bytes);
    struct q2_claim claim;
    pthread_mutex_lock(&q->serial);
    q2_claim(q, &claim, offset, n);
    int r = q2_may_write(q);
    if (r == 0)
        r = len ? write_one(q, offset, packed, len) : q2_write(q, offset, &iov, 1, 0, n);
    r = q2_end_of_change(q, r);
    q2_unclaim(q, &claim);
    pthread_mutex_unlock(&q->serial);
    return r;
}

int q2_write_packed(struct qcow2 *q, const struct blk_req *req)
{
    uint64_t mask = q->cluster_bytes - 1, end = req->offset_bytes + req->len_bytes;
    int r = 0;

    if (q->data != q->file)
        return -ENOTSUP;
    if ((req->offset_bytes & mask) || ((end & mask) && end != q->virtual_bytes))
        return -EINVAL;
    g_autofree uint8_t *buf = g_try_malloc(2 * q->cluster_bytes);
    if (!buf)
        return -ENOMEM;
    struct qcow2_packer *packer = qcow2_packer_new(q->info.zstd);
    if (!packer)
        return -ENOMEM;
    q2_track(q, req->offset_bytes, req->len_bytes);
    for (uint64_t done = 0; r == 0 && done < req->len_bytes; done += q->cluster_bytes)
        r = write_cluster(q, req, done, packer, buf);
    qcow2_packer_free(packer);
    return r;
}
