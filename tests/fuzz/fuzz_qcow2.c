/* qcow2 images are hostile: whatever the bytes, opening them ends with a node or a sentence, every
 * request ends, and the file does not grow beyond what was written.
 *
 * The first bytes choose the requests; the rest is the image. */
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
    unsigned before = ended;
    blk_submit(&req);
    blk_drain(n);
    if (ended != before + 1)
        abort();
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
    g_autofree char *text = g_strdup_printf(
        "driver=qcow2,read-only=%s,discard=unmap,backing=,file.driver=file,file.aio=threads,"
        "file.filename=/proc/self/fd/%d",
        take(&in, 1) & 1 ? "on" : "off", fd);
    PROPS_AUTO p = props_parse(text, NULL, &err);
    struct blk_node *n = p ? blk_open(p, &err) : NULL;
    if (n) {
        struct qcow2_check found;
        for (unsigned i = 0; i < REQUESTS; i++) {
            unsigned op = (unsigned)take(&in, 1) % 5;
            request(n, op, take(&in, 3) << 8);
        }
        qcow2_check(n, false, on_finding, NULL, &found, &err);
    }
    blk_close(n);
    g_clear_error(&err);
    if (fstat(fd, &st) < 0 || (uint64_t)st.st_size > size + GROWTH_MAX)
        abort();
    close(fd);
    return 0;
}
