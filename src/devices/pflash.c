/* pflash.c - the flash chip's command machine, its content, and the way back to the image. */
#include "devices/pflash.h"

#include "base/error.h"
#include "base/evloop.h"
#include "base/log.h"
#include "base/state.h"
#include "base/util.h"
#include "block/block.h"
#include "bus/io.h"
#include "mem/layout.h"

#include <errno.h>
#include <glib.h>
#include <inttypes.h>

enum {
    SECTOR = 4096,
    FLASH_BYTES_MAX = 16 * 1024 * 1024,
    CMD_READ_ARRAY = 0xff,
    CMD_READ_ARRAY_AMD = 0xf0, /* the other family's reset */
    CMD_PROGRAM = 0x10,
    CMD_PROGRAM_ALT = 0x40,
    CMD_ERASE = 0x20,
    CMD_CLEAR_STATUS = 0x50,
    CMD_LOCK = 0x60,
    CMD_READ_STATUS = 0x70,
    CMD_READ_ID = 0x90,
    CMD_QUERY = 0x98,
    CMD_BUFFERED = 0xe8,
    CMD_CONFIRM = 0xd0,
    ST_READY = 0x80,
    ST_ERASE_FAILED = 0x20,
    ST_PROGRAM_FAILED = 0x10,
    BUFFER_MAX = 2048,
    QUERY_FIRST = 0x10,
};

enum flash_mode {
    MODE_ARRAY,
    MODE_STATUS,
    MODE_ID,
    MODE_QUERY,
    MODE_PROGRAM,  /* the byte comes next */
    MODE_ERASE,    /* the confirmation comes next */
    MODE_LOCK,     /* likewise; locks are not kept */
    MODE_COUNT,    /* of a buffered program comes next */
    MODE_BUFFER,   /* its bytes */
    MODE_BUFFERED, /* its confirmation */
    MODE_LAST = MODE_BUFFERED,
};

struct pflash {
    struct device dev; /* first */
    struct guest_mem *mem;
    struct io_space *mmio;
    const struct board_requests *req;
    struct blk_node *node;
    struct ram_block *block;
    uint64_t base, size;
    bool read_only;
    struct io_region region;
    struct mem_layout layout;
    struct timer *kick; /* on the machine's clock; starts writing back */
    uint8_t query[0x30];
    /* board lock */
    uint8_t mode, status;
    uint32_t left;   /* bytes of a buffered program still to come */
    uint64_t *dirty; /* a bit per sector not yet on its way to the image */
    /* main thread */
    struct blk_req blk;
    struct iovec iov;
    uint8_t out[SECTOR];
    bool writing;
};

static uint8_t *content(const struct pflash *f)
{
    return ram_block_host(f->block);
}

/* ---- what vcpus see ---- */

static void mode_set(struct pflash *f, enum flash_mode mode)
{
    struct mem_piece all = {f->base, f->size, f->block, 0, GUEST_ROM};

    f->mode = mode;
    if (mem_layout_set(&f->layout, &all, mode == MODE_ARRAY) && f->req->map_changed)
        f->req->map_changed(f->req->opaque);
}

/* The CFI table of a chip with 4 KiB sectors, one byte wide. */
static void query_make(struct pflash *f)
{
    static const uint8_t head[] = {'Q',  'R',  'Y',  0x01, 0x00, 0x31, 0x00, 0,
                                   0,    0,    0,    0x45, 0x55, 0x00, 0x00, 0x07,
                                   0x07, 0x0a, 0x00, 0x04, 0x04, 0x04, 0x00};
    uint8_t *q = f->query;

    memcpy(q + QUERY_FIRST, head, sizeof(head));
    q[0x27] = (uint8_t)g_bit_nth_lsf((gulong)f->size, -1);
    q[0x2a] = 11; /* buffered programs: 2 KiB */
    q[0x2c] = 1;  /* one kind of sector */
    le16_put(q + 0x2d, (uint16_t)(f->size / SECTOR - 1));
    q[0x2f] = SECTOR / 256 & 0xff;
}

/* ---- programming ---- */

static void sector_touched(struct pflash *f, uint64_t off)
{
    f->dirty[off / SECTOR / 64] |= BIT64(off / SECTOR % 64);
    timer_set(f->kick, 0);
}

static void program(struct pflash *f, uint64_t off, uint8_t val)
{
    if (f->read_only) {
        f->status |= ST_PROGRAM_FAILED;
        return;
    }
    content(f)[off] &= val; /* bits go to zero only */
    sector_touched(f, off);
}

static void erase(struct pflash *f, uint64_t off)
{
    if (f->read_only) {
        f->status |= ST_ERASE_FAILED;
        return;
    }
    memset(content(f) + ALIGN_DOWN(off, (uint64_t)SECTOR), 0xff, SECTOR);
    sector_touched(f, off);
}

static void command(struct pflash *f, uint8_t cmd)
{
    switch (cmd) {
    case CMD_PROGRAM:
    case CMD_PROGRAM_ALT:
        mode_set(f, MODE_PROGRAM);
        break;
    case CMD_ERASE:
        mode_set(f, MODE_ERASE);
        break;
    case CMD_CLEAR_STATUS:
        f->status = 0;
        mode_set(f, MODE_ARRAY);
        break;
    case CMD_LOCK:
        mode_set(f, MODE_LOCK);
        break;
    case CMD_READ_STATUS:
        mode_set(f, MODE_STATUS);
        break;
    case CMD_READ_ID:
        mode_set(f, MODE_ID);
        break;
    case CMD_QUERY:
        mode_set(f, MODE_QUERY);
        break;
    case CMD_BUFFERED:
        f->status |= ST_READY;
        mode_set(f, MODE_COUNT);
        break;
    default: /* read array, the other family's reset, and what is not known */
        mode_set(f, MODE_ARRAY);
    }
}

static void byte_write(struct pflash *f, uint64_t off, uint8_t val)
{
    switch (f->mode) {
    case MODE_PROGRAM:
        program(f, off, val);
        f->status |= ST_READY;
        mode_set(f, MODE_STATUS);
        break;
    case MODE_ERASE:
        if (val == CMD_CONFIRM)
            erase(f, off);
        else
            f->status |= ST_ERASE_FAILED | ST_PROGRAM_FAILED;
        f->status |= ST_READY;
        mode_set(f, MODE_STATUS);
        break;
    case MODE_LOCK:
        f->status |= ST_READY;
        mode_set(f, MODE_STATUS);
        break;
    case MODE_COUNT:
        f->left = MIN_OF(val + 1u, (unsigned)BUFFER_MAX);
        mode_set(f, MODE_BUFFER);
        break;
    case MODE_BUFFER:
        program(f, off, val);
        if (--f->left == 0)
            mode_set(f, MODE_BUFFERED);
        break;
    case MODE_BUFFERED:
        f->status |= ST_READY | (val == CMD_CONFIRM ? 0 : ST_PROGRAM_FAILED);
        mode_set(f, MODE_STATUS);
        break;
    default:
        command(f, val);
    }
}

static uint8_t byte_read(const struct pflash *f, uint64_t off)
{
    switch (f->mode) {
    case MODE_ARRAY:
        return content(f)[off];
    case MODE_ID:
        return 0; /* maker and device: none */
    case MODE_QUERY:
        return off < sizeof(f->query) ? f->query[off] : 0;
    default:
        return f->status;
    }
}

static uint64_t region_read(struct io_region *r, uint64_t off, unsigned size)
{
    const struct pflash *f = container_of(r, struct pflash, region);
    uint64_t val = 0;

    for (unsigned i = 0; i < size; i++)
        val |= (uint64_t)byte_read(f, off + i) << (8 * i);
    return val;
}

/* A wide write is one command, or as many data bytes. */
static void region_write(struct io_region *r, uint64_t off, unsigned size, uint64_t val)
{
    struct pflash *f = container_of(r, struct pflash, region);

    if (f->mode == MODE_PROGRAM && size > 1) {
        for (unsigned i = 0; i < size; i++)
            program(f, off + i, (uint8_t)(val >> (8 * i)));
        f->status |= ST_READY;
        mode_set(f, MODE_STATUS);
        return;
    }
    byte_write(f, off, (uint8_t)val);
}

static const struct io_ops region_ops = {region_read, region_write, 1, 8};

/* ---- back to the image ---- */

static bool dirty_next(struct pflash *f, uint64_t *sector)
{
    for (uint64_t w = 0; w < (f->size / SECTOR + 63) / 64; w++) {
        if (!f->dirty[w])
            continue;
        *sector = w * 64 + (uint64_t)__builtin_ctzll(f->dirty[w]);
        f->dirty[w] &= f->dirty[w] - 1;
        return true;
    }
    return false;
}

static void write_back(void *opaque);

static void written(struct blk_req *req, int ret)
{
    struct pflash *f = container_of(req, struct pflash, blk);

    if (ret < 0)
        log_warning("the flash '%s' could not be written to its image: %s", f->region.name,
                    g_strerror(-ret));
    f->writing = false;
    write_back(f);
}

/* Main thread: one sector at a time. */
static void write_back(void *opaque)
{
    struct pflash *f = opaque;
    uint64_t sector;
    bool more;

    if (f->writing)
        return;
    pthread_mutex_lock(&f->dev.list->lock);
    more = dirty_next(f, &sector);
    if (more)
        memcpy(f->out, content(f) + sector * SECTOR, SECTOR);
    pthread_mutex_unlock(&f->dev.list->lock);
    if (!more)
        return;
    f->writing = true;
    f->iov = (struct iovec){f->out, SECTOR};
    f->blk.op = BLK_WRITE;
    f->blk.flags = BLK_REQ_FUA;
    f->blk.offset_bytes = sector * SECTOR;
    f->blk.len_bytes = SECTOR;
    f->blk.iov = &f->iov;
    f->blk.iov_count = 1;
    f->blk.node = f->node;
    f->blk.done = written;
    blk_submit(&f->blk);
}

static void pflash_drain(struct device *d)
{
    struct pflash *f = container_of(d, struct pflash, dev);

    write_back(f);
    while (f->writing) /* each end starts the next sector */
        blk_drain(f->node);
}

/* ---- device ---- */

static void pflash_reset(struct device *d)
{
    struct pflash *f = container_of(d, struct pflash, dev);

    f->status = 0;
    f->left = 0;
    mode_set(f, MODE_ARRAY);
}

static void pflash_destroy(struct device *d)
{
    struct pflash *f = container_of(d, struct pflash, dev);

    pflash_drain(d);
    timer_free(f->kick);
    io_space_del(f->mmio, &f->region);
    mem_layout_remove(f->mem, &f->layout);
    ram_block_free(f->block);
    blk_release(f->node);
    device_remove(d->list, d);
    g_free(f->dirty);
    g_free(f);
}

static void content_save(struct state_writer *w, const void *obj)
{
    const struct pflash *f = obj;

    state_put_u64(w, f->read_only ? 0 : f->size);
    if (!f->read_only)
        state_put_bytes(w, content(f), f->size);
}

static bool content_load(struct state_reader *r, void *obj, GError **err)
{
    struct pflash *f = obj;

    if (state_get_u64(r) != (f->read_only ? 0 : f->size) ||
        (!f->read_only && !state_get_bytes(r, content(f), f->size)))
        return error_set(err, HANOK_ERROR_CORRUPT, "the flash has another size");
    return true;
}

static bool pflash_post_load(void *obj, uint32_t version, GError **err)
{
    struct pflash *f = obj;

    if (f->mode > MODE_LAST || f->left > BUFFER_MAX || (f->mode == MODE_BUFFER && f->left == 0))
        return error_set(err, HANOK_ERROR_CORRUPT, "the flash is in an impossible mode");
    for (uint64_t off = 0; !f->read_only && off < f->size; off += SECTOR)
        sector_touched(f, off); /* the image here may be another's */
    mode_set(f, f->mode);
    return true;
}

static const struct state_field pflash_fields[] = {
    STATE_U8(struct pflash, mode),
    STATE_U8(struct pflash, status),
    STATE_U32(struct pflash, left),
    STATE_CUSTOM("content", content_save, content_load),
    STATE_END,
};
static const struct state_desc pflash_state = {
    .name = "cfi.pflash01", .version = 1, .fields = pflash_fields, .post_load = pflash_post_load};
static const struct device_ops pflash_ops = {.type = "cfi.pflash01",
                                             .reset = pflash_reset,
                                             .drain = pflash_drain,
                                             .destroy = pflash_destroy,
                                             .state = &pflash_state};

uint64_t pflash_bytes(struct blk_node *node, GError **err)
{
    struct blk_limits l;

    blk_limits(node, &l);
    if (l.size_bytes && l.size_bytes % SECTOR == 0 && l.size_bytes <= FLASH_BYTES_MAX)
        return l.size_bytes;
    error_set(err, HANOK_ERROR_INVALID,
              "an image of %" PRIu64 " bytes is no flash: the size must be a multiple of 4 KiB, at "
              "most 16 MiB",
              l.size_bytes);
    return 0;
}

struct image_req {
    struct blk_req blk; /* first */
    int ret;
};

static void image_read_done(struct blk_req *req, int ret)
{
    container_of(req, struct image_req, blk)->ret = ret;
}

/* Main thread, nothing runs yet. */
static bool image_read(struct pflash *f, GError **err)
{
    struct iovec iov = {content(f), f->size};
    struct image_req r = {.blk = {.op = BLK_READ,
                                  .len_bytes = f->size,
                                  .iov = &iov,
                                  .iov_count = 1,
                                  .done = image_read_done,
                                  .node = f->node},
                          .ret = -EIO};

    blk_submit(&r.blk);
    blk_drain(f->node);
    return r.ret == 0 || error_errno(err, -r.ret, "the image cannot be read");
}

struct pflash *pflash_new(struct device_list *devices, struct guest_mem *mem, struct io_space *mmio,
                          struct vm_clock *clock, const struct board_requests *req,
                          const struct pflash_config *cfg, GError **err)
{
    struct pflash *f;
    struct blk_limits l;

    if (!blk_claim(cfg->node, cfg->name, err))
        return NULL;
    blk_attach(cfg->node, evloop_main());
    blk_limits(cfg->node, &l);
    f = g_new0(struct pflash, 1);
    f->mem = mem;
    f->mmio = mmio;
    f->req = req;
    f->node = cfg->node;
    f->base = cfg->base;
    f->size = l.size_bytes;
    f->read_only = l.read_only;
    f->block = ram_block_new(cfg->name, f->size, false, false, err);
    if (!f->block || !image_read(f, err)) {
        ram_block_free(f->block);
        blk_release(f->node);
        g_free(f);
        return NULL;
    }
    f->dirty = g_new0(uint64_t, (f->size / SECTOR + 63) / 64);
    query_make(f);
    f->region = (struct io_region){
        .ops = &region_ops, .name = cfg->name, .size_bytes = f->size, .lock = &devices->lock};
    f->kick = timer_new(evloop_main(), clock, write_back, f);
    device_add(devices, &f->dev, &pflash_ops, NULL, cfg->name);
    io_space_add(mmio, &f->region, f->base);
    mem_layout_add(mem, &f->layout);
    mode_set(f, MODE_ARRAY);
    return f;
}

struct ram_block *pflash_block(struct pflash *f)
{
    return f->block;
}
