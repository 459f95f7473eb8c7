/* shadow.c - PAM segments, the firmware image and SMRAM as pieces of the memory map. */
#include "devices/shadow.h"

#include "base/error.h"
#include "base/state.h"
#include "base/util.h"
#include "bus/io.h"
#include "mem/layout.h"

#include <assert.h>
#include <glib.h>

#define SMRAM_BASE  UINT64_C(0xa0000)
#define SMRAM_BYTES (128 * KiB)
#define PAM_BASE    UINT64_C(0xc0000)
#define PAM_BYTES   (256 * KiB)
#define SEGMENT     (16 * KiB)
#define F_SEGMENT   UINT64_C(0xf0000)
#define LOW_BIOS    (128 * KiB) /* as much of the image as lies below 1 MiB */
#define KEPT_BYTES  (SMRAM_BYTES + PAM_BYTES)

enum { SEGMENTS = 13, PAM_READ = 1, PAM_WRITE = 2 };

struct shadow {
    struct device dev; /* first */
    struct guest_mem *mem;
    struct io_space *mmio;
    struct ram_block *ram, *bios;
    const struct board_requests *req;
    struct io_region behind; /* writes to segments that are RAM for writes only */
    struct mem_layout low, high;
    /* board lock */
    uint8_t mode[SEGMENTS]; /* the last one is the F segment */
};

static uint64_t segment_base(unsigned i)
{
    return i == SEGMENTS - 1 ? F_SEGMENT : PAM_BASE + i * SEGMENT;
}

static uint64_t segment_size(unsigned i)
{
    return i == SEGMENTS - 1 ? MiB - F_SEGMENT : SEGMENT;
}

/* What a segment shows when reads do not come from RAM; false: nothing. */
static bool bios_piece(const struct shadow *s, unsigned i, struct mem_piece *out)
{
    uint64_t base = segment_base(i), size = s->bios ? ram_block_size(s->bios) : 0;
    uint64_t below_1m = MiB - base;

    if (below_1m > MIN_OF(size, LOW_BIOS))
        return false;
    *out = (struct mem_piece){base, segment_size(i), s->bios, size - below_1m, GUEST_ROM};
    return true;
}

static void layout_low(struct shadow *s, bool smram_open)
{
    struct mem_piece p[SEGMENTS + 1];
    unsigned n = 0;

    if (smram_open)
        p[n++] = (struct mem_piece){SMRAM_BASE, SMRAM_BYTES, s->ram, SMRAM_BASE, GUEST_RAM};
    for (unsigned i = 0; i < SEGMENTS; i++) {
        uint64_t base = segment_base(i);
        if (s->mode[i] & PAM_READ)
            p[n++] = (struct mem_piece){base, segment_size(i), s->ram, base,
                                        s->mode[i] & PAM_WRITE ? GUEST_RAM : GUEST_ROM};
        else if (bios_piece(s, i, &p[n]))
            n++;
    }
    if (mem_layout_set(&s->low, p, n) && s->req->map_changed)
        s->req->map_changed(s->req->opaque);
}

void shadow_update(struct shadow *s, const uint8_t pam[SHADOW_PAM_COUNT], bool smram_open)
{
    s->mode[SEGMENTS - 1] = pam[0] >> 4 & 3;
    for (unsigned i = 0; i < SEGMENTS - 1; i++)
        s->mode[i] = pam[1 + i / 2] >> (i % 2 * 4) & 3;
    layout_low(s, smram_open);
}

void shadow_registers(struct shadow *s, const uint8_t pam[SHADOW_PAM_COUNT], uint8_t smram)
{
    const uint8_t all = SHADOW_SMRAM_OPEN | SHADOW_SMRAM_CLOSED | SHADOW_SMRAM_ENABLE;

    shadow_update(s, pam, (smram & all) == (SHADOW_SMRAM_OPEN | SHADOW_SMRAM_ENABLE));
}

/* ---- segments that take writes while they show the firmware ---- */

static void behind_write(struct io_region *r, uint64_t off, unsigned size, uint64_t val)
{
    struct shadow *s = container_of(r, struct shadow, behind);
    unsigned i = (unsigned)MIN_OF(off / SEGMENT, (uint64_t)SEGMENTS - 1);

    /* Nobody sees this RAM now: no code in it is decoded, and it becomes visible by a map change.
     */
    if (s->mode[i] == PAM_WRITE)
        memcpy(ram_block_host(s->ram) + PAM_BASE + off, &val, size);
}

static uint64_t behind_read(struct io_region *r, uint64_t off, unsigned size)
{
    return UINT64_MAX;
}

static const struct io_ops behind_ops = {behind_read, behind_write, 1, 8};

/* ---- device: the RAM itself is saved here, for it may be hidden ---- */

static void kept_save(struct state_writer *w, const void *obj)
{
    const struct shadow *s = obj;

    state_put_bytes(w, ram_block_host(s->ram) + SMRAM_BASE, KEPT_BYTES);
}

static bool kept_load(struct state_reader *r, void *obj, GError **err)
{
    struct shadow *s = obj;

    return state_get_bytes(r, ram_block_host(s->ram) + SMRAM_BASE, KEPT_BYTES) ||
           error_set(err, HANOK_ERROR_CORRUPT, "the shadow RAM is incomplete");
}

static const struct state_field shadow_fields[] = {STATE_CUSTOM("ram", kept_save, kept_load),
                                                   STATE_END};
static const struct state_desc shadow_state = {
    .name = "shadow-ram", .version = 1, .fields = shadow_fields};

static void shadow_reset(struct device *d)
{
    static const uint8_t off[SHADOW_PAM_COUNT];

    shadow_update(container_of(d, struct shadow, dev), off, false);
}

static void shadow_destroy(struct device *d)
{
    struct shadow *s = container_of(d, struct shadow, dev);

    io_space_del(s->mmio, &s->behind);
    mem_layout_remove(s->mem, &s->low);
    mem_layout_remove(s->mem, &s->high);
    device_remove(d->list, d);
    g_free(s);
}

static const struct device_ops shadow_ops = {
    .type = "shadow-ram", .reset = shadow_reset, .destroy = shadow_destroy, .state = &shadow_state};

struct shadow *shadow_new(struct device_list *devices, struct guest_mem *mem, struct io_space *mmio,
                          struct ram_block *ram, struct ram_block *bios, bool high,
                          const struct board_requests *req)
{
    struct shadow *s = g_new0(struct shadow, 1);

    assert(ram_block_size(ram) >= MiB);
    s->mem = mem;
    s->mmio = mmio;
    s->ram = ram;
    s->bios = bios;
    s->req = req;
    s->behind = (struct io_region){.ops = &behind_ops,
                                   .name = "shadow-ram",
                                   .size_bytes = PAM_BYTES,
                                   .priority = -1,
                                   .lock = &devices->lock};
    device_add(devices, &s->dev, &shadow_ops, NULL, "shadow-ram");
    io_space_add(mmio, &s->behind, PAM_BASE);
    mem_layout_add(mem, &s->low);
    mem_layout_add(mem, &s->high);
    if (bios && high) {
        uint64_t size = ram_block_size(bios);
        struct mem_piece whole = {4 * GiB - size, size, bios, 0, GUEST_ROM};
        mem_layout_set(&s->high, &whole, 1);
    }
    return s;
}
