/* smram.c - what of SMRAM is in the guest's map, and what is hidden. */
#include "devices/smram.h"

#include "base/error.h"
#include "base/state.h"
#include "base/util.h"
#include "devices/shadow.h"
#include "mem/layout.h"

#include <assert.h>
#include <glib.h>

#define LOW_BASE  UINT64_C(0xa0000)
#define LOW_BYTES (128 * KiB)

struct smram {
    struct device dev; /* first */
    struct guest_mem *mem;
    struct ram_block *ram;
    uint64_t tail; /* where the part of RAM begins that is shown from here */
    const struct board_requests *req;
    struct mem_layout layout;
};

static struct mem_piece piece(const struct smram *s, uint64_t base, uint64_t size, bool hidden)
{
    return (struct mem_piece){(hidden ? GUEST_MEM_HIDDEN : 0) + base, size, s->ram, base,
                              GUEST_RAM};
}

static uint64_t tseg_bytes(uint8_t esmramc)
{
    static const uint8_t mib[] = {1, 2, 8, SMRAM_TSEG_EXT_MB};

    return mib[(esmramc & ESMRAMC_TSEG_SZ) >> 1] * MiB;
}

void smram_registers(struct smram *s, uint8_t smram, uint8_t esmramc)
{
    uint64_t tseg = esmramc & ESMRAMC_T_EN ? tseg_bytes(esmramc) : 0;
    uint64_t top = s->tail + SMRAM_TAIL_BYTES;
    struct mem_piece p[3];
    unsigned n = 0;

    /* The chip set's rule: without G_SMRAME there is no SMRAM, TSEG included. */
    if (!(smram & SHADOW_SMRAM_ENABLE))
        tseg = 0;
    if (tseg < SMRAM_TAIL_BYTES)
        p[n++] = piece(s, s->tail, SMRAM_TAIL_BYTES - tseg, false);
    if (tseg)
        p[n++] = piece(s, top - tseg, tseg, true);
    if ((smram & SHADOW_SMRAM_ENABLE) && !(smram & SHADOW_SMRAM_OPEN))
        p[n++] = piece(s, LOW_BASE, LOW_BYTES, true);
    if (mem_layout_set(&s->layout, p, n) && s->req->map_changed)
        s->req->map_changed(s->req->opaque);
}

/* ---- device: the tail is saved here, the low part with the shadow RAM ---- */

static void tail_save(struct state_writer *w, const void *obj)
{
    const struct smram *s = obj;

    state_put_bytes(w, ram_block_host(s->ram) + s->tail, SMRAM_TAIL_BYTES);
}

static bool tail_load(struct state_reader *r, void *obj, GError **err)
{
    struct smram *s = obj;

    return state_get_bytes(r, ram_block_host(s->ram) + s->tail, SMRAM_TAIL_BYTES) ||
           error_set(err, HANOK_ERROR_CORRUPT, "the top of low memory is incomplete");
}

static const struct state_field smram_fields[] = {STATE_CUSTOM("ram", tail_save, tail_load),
                                                  STATE_END};
static const struct state_desc smram_state = {
    .name = "smram", .version = 1, .fields = smram_fields};

static void smram_reset(struct device *d)
{
    smram_registers(container_of(d, struct smram, dev), 0, 0);
}

static void smram_destroy(struct device *d)
{
    struct smram *s = container_of(d, struct smram, dev);

    mem_layout_remove(s->mem, &s->layout);
    device_remove(d->list, d);
    g_free(s);
}

static const struct device_ops smram_ops = {
    .type = "smram", .reset = smram_reset, .destroy = smram_destroy, .state = &smram_state};

struct smram *smram_new(struct device_list *devices, struct guest_mem *mem, struct ram_block *ram,
                        uint64_t low_bytes, const struct board_requests *req)
{
    struct smram *s = g_new0(struct smram, 1);

    assert(low_bytes >= SMRAM_TAIL_BYTES + MiB && low_bytes <= ram_block_size(ram));
    s->mem = mem;
    s->ram = ram;
    s->tail = low_bytes - SMRAM_TAIL_BYTES;
    s->req = req;
    device_add(devices, &s->dev, &smram_ops, NULL, "smram");
    mem_layout_add(mem, &s->layout);
    struct mem_piece all = piece(s, s->tail, SMRAM_TAIL_BYTES, false);
    mem_layout_set(&s->layout, &all, 1);
    return s;
}
