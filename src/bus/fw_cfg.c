/* fw_cfg.c - items by key, read byte by byte or by DMA.
 *
 * A transfer is bounded: bytes past an item's end read as zeros, but at most PAST_END_MAX of them
 * per command, so that a guest cannot keep the board lock for as long as it likes. */
#include "bus/fw_cfg.h"

#include "base/error.h"
#include "base/state.h"
#include "base/util.h"
#include "mem/guest_mem.h"

#include <assert.h>
#include <errno.h>
#include <glib.h>
#include <unistd.h>

enum {
    KEY_FILES = 0x20,
    KEY_MASK = 0xbfff, /* bit 14 was the write channel; with bit 15 come items of other machines */
    KEYS = 0x4000,
    ID_TRADITIONAL = 1,
    ID_DMA = 2,
    DMA_ERROR = 1,
    DMA_READ = 2,
    DMA_SKIP = 4,
    DMA_SELECT = 8,
    DMA_WRITE = 16,
    FILE_NAME_BYTES = 56,
    PAST_END_MAX = 64 * 1024,
};
#define DMA_SIGNATURE UINT64_C(0x51454d5520434647) /* "QEMU CFG", big-endian */

struct item {
    uint8_t *data; /* NULL: in a file */
    size_t len_bytes;
    bool present;
    int fd;
    uint64_t fd_offset;
    void (*written)(void *opaque, const uint8_t *data); /* NULL: it is read only */
    void *opaque;
};
struct file {
    char *name;
    struct item item;
};

struct fw_cfg {
    struct device dev; /* first */
    /* immutable, or once the machine runs under the board lock */
    struct io_space *pio;
    struct guest_mem *mem;
    struct io_region select_region, dma_region;
    struct item key[KEY_FILES];
    GPtrArray *files; /* struct file, sorted by name; key = KEY_FILES + index */
    /* under the board lock */
    void (*refresh)(void *opaque);
    void *refresh_opaque;
    uint16_t selected;
    uint32_t offset_bytes;
    uint64_t dma_addr;
};

static void be16_put(uint8_t *p, uint16_t v)
{
    v = GUINT16_TO_BE(v);
    memcpy(p, &v, sizeof(v));
}

static void be32_put(uint8_t *p, uint32_t v)
{
    v = GUINT32_TO_BE(v);
    memcpy(p, &v, sizeof(v));
}

static struct item *item_find(struct fw_cfg *f, unsigned key)
{
    if (key < KEY_FILES)
        return f->key[key].present ? &f->key[key] : NULL;
    if (key - KEY_FILES < f->files->len)
        return &((struct file *)g_ptr_array_index(f->files, key - KEY_FILES))->item;
    return NULL;
}

static void item_select(struct fw_cfg *f, uint16_t key)
{
    if (key == FW_CFG_FILE_DIR && f->refresh)
        f->refresh(f->refresh_opaque);
    f->selected = key;
    f->offset_bytes = 0;
}

void fw_cfg_on_directory(struct fw_cfg *f, void (*fn)(void *opaque), void *opaque)
{
    f->refresh = fn;
    f->refresh_opaque = opaque;
}

/* n bytes that the item has; false when its file no longer does. */
static bool item_read(const struct item *it, size_t at, uint8_t *buf, size_t n)
{
    if (it->data) {
        memcpy(buf, it->data + at, n);
        return true;
    }
    memset(buf, 0, n);
    while (n) {
        ssize_t got = pread(it->fd, buf, n, (off_t)(it->fd_offset + at));
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return false;
        buf += got, at += (size_t)got, n -= (size_t)got;
    }
    return true;
}

/* Copies up to len bytes from the cursor and moves it; returns how many the item had. */
static size_t item_take(struct fw_cfg *f, uint8_t *buf, size_t len)
{
    const struct item *it = item_find(f, f->selected);
    size_t left = it && f->offset_bytes < it->len_bytes ? it->len_bytes - f->offset_bytes : 0;
    size_t n = MIN_OF(len, left);

    if (n && buf)
        item_read(it, f->offset_bytes, buf, n);
    f->offset_bytes += (uint32_t)n;
    return n;
}

/* ---- ports 0x510 (selector), 0x511 (data) ---- */

static uint64_t select_read(struct io_region *r, uint64_t off, unsigned size)
{
    struct fw_cfg *f = container_of(r, struct fw_cfg, select_region);
    uint8_t byte = 0;

    if (off != 1 || size != 1)
        return UINT64_MAX;
    item_take(f, &byte, 1);
    return byte;
}

static void select_write(struct io_region *r, uint64_t off, unsigned size, uint64_t val)
{
    struct fw_cfg *f = container_of(r, struct fw_cfg, select_region);

    if (off == 0 && size == 2)
        item_select(f, (uint16_t)val & KEY_MASK);
}

/* ---- DMA at 0x514: the address, big-endian; its low half starts the command ---- */

static bool dma_put(struct fw_cfg *f, const struct item *it, uint64_t to, size_t len)
{
    uint8_t piece[4096];

    if (it->data)
        return guest_mem_write(f->mem, GPA(to), it->data + f->offset_bytes, len) == 0;
    for (size_t done = 0, n; done < len; done += n) {
        n = MIN_OF(len - done, sizeof(piece));
        if (!item_read(it, f->offset_bytes + done, piece, n) ||
            guest_mem_write(f->mem, GPA(to + done), piece, n) != 0)
            return false;
    }
    return true;
}

static bool dma_read(struct fw_cfg *f, uint64_t to, uint64_t len)
{
    const struct item *it = item_find(f, f->selected);
    size_t left = it && f->offset_bytes < it->len_bytes ? it->len_bytes - f->offset_bytes : 0;
    uint64_t n = MIN_OF(len, (uint64_t)left), zeros = len - n;
    static const uint8_t zero[4096];

    if (zeros > PAST_END_MAX)
        return false;
    if (n && !dma_put(f, it, to, n))
        return false;
    f->offset_bytes += (uint32_t)n;
    for (uint64_t at = to + n, chunk; zeros > 0; at += chunk, zeros -= chunk) {
        chunk = MIN_OF(zeros, (uint64_t)sizeof(zero));
        if (guest_mem_write(f->mem, GPA(at), zero, chunk) != 0)
            return false;
    }
    return true;
}

static bool dma_write(struct fw_cfg *f, uint64_t from, uint64_t len)
{
    struct item *it = item_find(f, f->selected);

    if (!it || !it->written || f->offset_bytes > it->len_bytes ||
        len > it->len_bytes - f->offset_bytes ||
        guest_mem_read(f->mem, GPA(from), it->data + f->offset_bytes, len) != 0)
        return false;
    f->offset_bytes += (uint32_t)len;
    it->written(it->opaque, it->data);
    return true;
}

static void dma_run(struct fw_cfg *f, uint64_t at)
{
    struct {
        uint32_t control, len;
        uint64_t addr;
    } cmd; /* all big-endian */
    uint32_t control, len, done = 0;

    if (guest_mem_read(f->mem, GPA(at), &cmd, sizeof(cmd)) != 0)
        return; /* nowhere to report the error to */
    control = GUINT32_FROM_BE(cmd.control);
    len = GUINT32_FROM_BE(cmd.len);
    if (control & DMA_SELECT)
        item_select(f, (uint16_t)(control >> 16) & KEY_MASK);
    if (control & DMA_READ) {
        if (!dma_read(f, GUINT64_FROM_BE(cmd.addr), len))
            done = DMA_ERROR;
    } else if (control & DMA_WRITE) {
        if (!dma_write(f, GUINT64_FROM_BE(cmd.addr), len))
            done = DMA_ERROR;
    } else if (control & DMA_SKIP) {
        item_take(f, NULL, len);
    }
    done = GUINT32_TO_BE(done);
    /* A command outside RAM could not have been read; in ROM the answer is lost, as on hardware. */
    (void)guest_mem_write(f->mem, GPA(at), &done, sizeof(done));
}

static uint64_t dma_reg_read(struct io_region *r, uint64_t off, unsigned size)
{
    uint8_t be[8];
    uint64_t v = 0;

    be32_put(be, (uint32_t)(DMA_SIGNATURE >> 32));
    be32_put(be + 4, (uint32_t)DMA_SIGNATURE);
    memcpy(&v, be + off, size);
    return v;
}

static void dma_reg_write(struct io_region *r, uint64_t off, unsigned size, uint64_t val)
{
    struct fw_cfg *f = container_of(r, struct fw_cfg, dma_region);
    uint64_t at;

    if (size == 8) {
        at = GUINT64_FROM_BE(val);
    } else if (off == 0) {
        f->dma_addr = (uint64_t)GUINT32_FROM_BE((uint32_t)val) << 32;
        return;
    } else {
        at = f->dma_addr | GUINT32_FROM_BE((uint32_t)val);
    }
    f->dma_addr = 0;
    dma_run(f, at);
}

static const struct io_ops select_ops = {
    .read = select_read, .write = select_write, .min_size = 1, .max_size = 2};
static const struct io_ops dma_ops = {
    .read = dma_reg_read, .write = dma_reg_write, .min_size = 4, .max_size = 8};

/* ---- the device ---- */

static void fw_cfg_reset(struct device *d)
{
    struct fw_cfg *f = container_of(d, struct fw_cfg, dev);

    item_select(f, 0);
    f->dma_addr = 0;
}

static void file_free(void *p)
{
    struct file *file = p;

    g_free(file->name);
    g_free(file->item.data);
    g_free(file);
}

static void fw_cfg_destroy(struct device *d)
{
    struct fw_cfg *f = container_of(d, struct fw_cfg, dev);

    io_space_del(f->pio, &f->select_region);
    io_space_del(f->pio, &f->dma_region);
    device_remove(d->list, d);
    for (unsigned i = 0; i < KEY_FILES; i++)
        g_free(f->key[i].data);
    g_ptr_array_free(f->files, true);
    g_free(f);
}

/* The items themselves are the machine's configuration and come from it; a cursor past the end of
 * an item reads zeros, so any value of these is safe. */
static const struct state_field fw_cfg_fields[] = {
    STATE_U16(struct fw_cfg, selected),
    STATE_U32(struct fw_cfg, offset_bytes),
    STATE_U64(struct fw_cfg, dma_addr),
    STATE_END,
};
static const struct state_desc fw_cfg_state = {
    .name = "fw_cfg", .version = 1, .fields = fw_cfg_fields};
static const struct device_ops fw_cfg_ops = {
    .type = "fw_cfg", .reset = fw_cfg_reset, .destroy = fw_cfg_destroy, .state = &fw_cfg_state};

struct fw_cfg *fw_cfg_new(struct device_list *devices, struct io_space *pio, struct guest_mem *mem)
{
    struct fw_cfg *f = g_new0(struct fw_cfg, 1);

    f->pio = pio;
    f->mem = mem;
    f->files = g_ptr_array_new_with_free_func(file_free);
    f->select_region = (struct io_region){
        .ops = &select_ops, .name = "fw_cfg", .size_bytes = 2, .lock = &devices->lock};
    f->dma_region = (struct io_region){
        .ops = &dma_ops, .name = "fw_cfg-dma", .size_bytes = 8, .lock = &devices->lock};
    device_add(devices, &f->dev, &fw_cfg_ops, NULL, "fw_cfg");
    io_space_add(pio, &f->select_region, 0x510);
    io_space_add(pio, &f->dma_region, 0x514);
    fw_cfg_add_bytes(f, FW_CFG_SIGNATURE, "QEMU", 4);
    fw_cfg_add_u32(f, FW_CFG_ID, ID_TRADITIONAL | ID_DMA);
    return f;
}

static void item_set(struct item *it, const void *data, size_t len)
{
    g_free(it->data);
    it->data = g_malloc(MAX_OF(len, (size_t)1));
    if (len)
        memcpy(it->data, data, len);
    it->len_bytes = len;
    it->present = true;
}

void fw_cfg_add_bytes(struct fw_cfg *f, uint16_t key, const void *data, size_t len)
{
    assert(key < KEY_FILES && len <= UINT32_MAX);
    item_set(&f->key[key], data, len);
}

void fw_cfg_add_part(struct fw_cfg *f, uint16_t key, int fd, uint64_t offset, size_t len)
{
    assert(key < KEY_FILES && len <= UINT32_MAX);
    g_free(f->key[key].data);
    f->key[key] = (struct item){.len_bytes = len, .present = true, .fd = fd, .fd_offset = offset};
}

void fw_cfg_add_u16(struct fw_cfg *f, uint16_t key, uint16_t v)
{
    fw_cfg_add_bytes(f, key, &v, sizeof(v));
}

void fw_cfg_add_u32(struct fw_cfg *f, uint16_t key, uint32_t v)
{
    fw_cfg_add_bytes(f, key, &v, sizeof(v));
}

void fw_cfg_add_u64(struct fw_cfg *f, uint16_t key, uint64_t v)
{
    fw_cfg_add_bytes(f, key, &v, sizeof(v));
}

/* Directory: count, then size, key, reserved and name of each file; numbers big-endian. */
static void directory_build(struct fw_cfg *f)
{
    size_t entry = 8 + FILE_NAME_BYTES, len = 4 + f->files->len * entry;
    g_autofree uint8_t *dir = g_malloc0(len);

    be32_put(dir, f->files->len);
    for (guint i = 0; i < f->files->len; i++) {
        const struct file *file = g_ptr_array_index(f->files, i);
        uint8_t *e = dir + 4 + i * entry;
        be32_put(e, (uint32_t)file->item.len_bytes);
        be16_put(e + 4, (uint16_t)(KEY_FILES + i));
        memcpy(e + 8, file->name, strlen(file->name));
    }
    fw_cfg_add_bytes(f, FW_CFG_FILE_DIR, dir, len);
}

/* The file of that name, made when there is none. */
static struct file *file_named(struct fw_cfg *f, const char *name)
{
    struct file *file = NULL;
    guint at;

    assert(strlen(name) < FILE_NAME_BYTES);
    for (at = 0; at < f->files->len; at++) {
        struct file *here = g_ptr_array_index(f->files, at);
        int order = strcmp(name, here->name);
        if (order == 0)
            file = here;
        if (order <= 0)
            break;
    }
    if (!file) {
        assert(f->files->len < KEYS - KEY_FILES);
        file = g_new0(struct file, 1);
        file->name = g_strdup(name);
        g_ptr_array_insert(f->files, (int)at, file);
    }
    return file;
}

void fw_cfg_add_file(struct fw_cfg *f, const char *name, const void *data, size_t len)
{
    assert(len <= UINT32_MAX);
    item_set(&file_named(f, name)->item, data, len);
    directory_build(f);
}

void fw_cfg_add_writable_file(struct fw_cfg *f, const char *name, const void *data, size_t len,
                              void (*written)(void *opaque, const uint8_t *data), void *opaque)
{
    struct item *it = &file_named(f, name)->item;

    it->written = written;
    it->opaque = opaque;
    fw_cfg_add_file(f, name, data, len);
}

const void *fw_cfg_file(struct fw_cfg *f, const char *name, size_t *len)
{
    for (guint i = 0; i < f->files->len; i++) {
        const struct file *file = g_ptr_array_index(f->files, i);
        if (strcmp(file->name, name) == 0) {
            *len = file->item.len_bytes;
            return file->item.data;
        }
    }
    return NULL;
}
