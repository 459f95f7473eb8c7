/* qcow2 images are hostile: whatever the bytes, opening them ends with a node or a sentence, every
 * request ends, and the file does not grow beyond what was written.  So do snapshots, resizing,
 * emptying, other widths of counts, check and repair.
 *
 * The first bytes choose what is done; the rest is the image. */
#include "fuzz_input.h"

#include "base/props.h"
#include "block/block.h"
#include "block/qcow2.h"

#include <glib.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { REQUESTS = 6, PIECE_BYTES = 64 * 1024, GROWTH_MAX = 64 << 20 };

static unsigned ended;

static void on_done(struct blk_req *req, int ret)
{
    if (ret > 0)
        abort();
    ended++;
}

static void request(struct blk_node *n, unsigned op, uint64_t where)
{
    static uint8_t buf[PIECE_BYTES];
    struct blk_limits l;

    blk_limits(n, &l);
    uint64_t off = l.size_bytes ? ALIGN_DOWN(where % l.size_bytes, 512) : 0;
    uint64_t len = MIN_OF(l.size_bytes - off, (uint64_t)PIECE_BYTES);
    struct iovec iov = {buf, len};
    struct blk_req req = {.op = (enum blk_op)op,
                          .flags = BLK_REQ_UNMAP,
                          .offset_bytes = off,
                          .len_bytes = len,
                          .iov = &iov,
                          .iov_count = op <= BLK_WRITE ? 1 : 0,
                          .done = on_done,
                          .node = n};
    if (op == BLK_WRITE && (where & 1)) { /* whole clusters only: mostly refused */
        req.flags = BLK_REQ_COMPRESSED;
        req.offset_bytes = ALIGN_DOWN(off, PIECE_BYTES);
    }
    unsigned before = ended;
    blk_submit(&req);
    blk_drain(n);
    if (ended != before + 1)
        abort();
}

/* What the main thread may ask for. */
static void change(struct blk_node *n, unsigned what, uint64_t size)
{
    struct qcow2_amend a = QCOW2_AMEND_NOTHING;
    struct blk_status st;
    GError *err = NULL;

    switch (what) {
    case 0:
        qcow2_snapshot_create(n, "new", &err);
        break;
    case 1:
        qcow2_snapshot_apply(n, "1", &err);
        break;
    case 2:
        qcow2_snapshot_delete(n, "1", &err);
        break;
    case 3:
        blk_resize(n, size, &err);
        break;
    case 4:
        qcow2_make_empty(n, &err);
        break;
    case 5:
        a.refcount_bits = 1u << (size % 7);
        qcow2_amend(n, &a, NULL, NULL, &err);
        break;
    case 6:
        qcow2_set_backing(n, "a", "raw", &err);
        break;
    default:
        qcow2_snapshot_show(n, "1", &err);
        blk_status_above(n, NULL, size, 1 << 20, true, &st);
    }
    g_clear_error(&err);
}

static void on_finding(void *opaque, bool is_leak, const char *text)
{
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t plan[REQUESTS * 4 + 1] = {0};
    GError *err = NULL;
    struct stat st;

    memcpy(plan, data, MIN_OF(size, sizeof(plan)));
    size_t skip = MIN_OF(size, sizeof(plan));
    struct input in = {plan, sizeof(plan)};
    int fd = memfd_create("image", 0);
    if (fd < 0 || write(fd, data + skip, size - skip) != (ssize_t)(size - skip))
        abort();
    unsigned how = (unsigned)take(&in, 1);
    g_autofree char *text = g_strdup_printf(
        "driver=qcow2,read-only=%s,for-check=%s,discard=unmap,backing=,file.driver=file,"
        "file.aio=threads,file.filename=/proc/self/fd/%d",
        how & 1 ? "on" : "off", how & 4 ? "on" : "off", fd);
    PROPS_AUTO p = props_parse(text, NULL, &err);
    struct blk_node *n = p ? blk_open(p, &err) : NULL;
    if (n) {
        struct qcow2_check found;
        for (unsigned i = 0; i < REQUESTS; i++) {
            unsigned op = (unsigned)take(&in, 1) % 13;
            uint64_t where = take(&in, 3) << 8 | op;
            if (op < 5)
                request(n, op, where);
            else
                change(n, op - 5, where);
        }
        qcow2_check(n, how & 2 ? QCOW2_FIX_LEAKS | QCOW2_FIX_ERRORS : 0, on_finding, NULL, &found,
                    &err);
    }
    blk_close(n);
    g_clear_error(&err);
    if (fstat(fd, &st) < 0 || (uint64_t)st.st_size > size + GROWTH_MAX)
        abort();
    close(fd);
    return 0;
}
