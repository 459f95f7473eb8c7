/* pack.c - compressing and decompressing clusters, one tool set a thread (spec "Compressed Clusters
 * Descriptor").
 *
 * Deflate is libdeflate's: at this level it packs tighter than zlib's default with the 4 KiB window
 * that QEMU uses, more than twice as fast.  Matches may reach back 32 KiB, as deflate allows;
 * readers that inflate a cluster in one call, as QEMU does, never look at their window. */
#include "block/qcow2_build.h"

#include <glib.h>
#include <libdeflate.h>
#include <zstd.h>

enum { DEFLATE_LEVEL = 4, ZSTD_LEVEL = 3 };

struct qcow2_packer {
    struct libdeflate_compressor *deflate;
    struct libdeflate_decompressor *inflate;
    ZSTD_CCtx *zstd;
    ZSTD_DCtx *unzstd;
};

struct qcow2_packer *qcow2_packer_new(bool zstd)
{
    struct qcow2_packer *p = g_new0(struct qcow2_packer, 1);
    if (zstd) {
        p->zstd = ZSTD_createCCtx();
        p->unzstd = ZSTD_createDCtx();
    } else {
        p->deflate = libdeflate_alloc_compressor(DEFLATE_LEVEL);
        p->inflate = libdeflate_alloc_decompressor();
    }
    if ((p->zstd && p->unzstd) || (p->deflate && p->inflate))
        return p;
    qcow2_packer_free(p);
    return NULL;
}

void qcow2_packer_free(struct qcow2_packer *p)
{
    if (!p)
        return;
    libdeflate_free_compressor(p->deflate);
    libdeflate_free_decompressor(p->inflate);
    ZSTD_freeCCtx(p->zstd);
    ZSTD_freeDCtx(p->unzstd);
    g_free(p);
}

uint64_t qcow2_pack(struct qcow2_packer *p, const uint8_t *in, uint64_t len, uint8_t *out,
                    uint64_t room)
{
    if (p->deflate)
        return libdeflate_deflate_compress(p->deflate, in, len, out, room - 1);
    size_t n = ZSTD_compressCCtx(p->zstd, out, room - 1, in, len, ZSTD_LEVEL);
    return ZSTD_isError(n) ? 0 : n;
}

static bool unzstd(ZSTD_DCtx *d, const uint8_t *in, uint64_t len, uint8_t *out, uint64_t out_len)
{
    ZSTD_inBuffer from = {in, len, 0};
    ZSTD_outBuffer to = {out, out_len, 0};
    size_t r = 0;

    ZSTD_DCtx_reset(d, ZSTD_reset_session_only);
    while (to.pos < to.size) { /* the length is rounded up: bytes behind the frame are left over */
        size_t before_in = from.pos, before_out = to.pos;
        r = ZSTD_decompressStream(d, &to, &from);
        if (ZSTD_isError(r) || (from.pos == before_in && to.pos == before_out))
            return false;
    }
    return true;
}

bool qcow2_unpack(struct qcow2_packer *p, const uint8_t *in, uint64_t len, uint8_t *out,
                  uint64_t out_len)
{
    size_t used;

    if (p->unzstd)
        return unzstd(p->unzstd, in, len, out, out_len);
    return libdeflate_deflate_decompress_ex(p->inflate, in, len, out, out_len, &used, NULL) ==
           LIBDEFLATE_SUCCESS;
}
