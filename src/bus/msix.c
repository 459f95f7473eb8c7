/* msix.c - MSI-X: vector table, pending bits, delivery (PCI 3.0 §6.8.2).
 *
 * A vector is deliverable while MSI-X is enabled, neither the function nor the vector is masked,
 * and the function may master the bus (an MSI is a memory write of the function).  What cannot be
 * delivered stays in the pending bits until it can.
 *
 * The lock is taken by guest accesses to the table, by config writes and by msix_notify; order:
 * board lock -> msix lock -> irq router. */
#include "pci_internal.h"

#include "base/error.h"
#include "base/state.h"
#include "base/util.h"

#include <assert.h>
#include <glib.h>

enum {
    ENTRY_BYTES = 16,
    ENTRY_CONTROL = 12,
    ENTRY_MASKED = 1,
    VECTORS_MAX = 2048,
    CONTROL_FUNCTION_MASK = 0x4000,
    CONTROL_ENABLE = 0x8000,
};

struct msix {
    /* immutable */
    struct pci_dev *dev;
    struct io_region region;
    unsigned vectors;
    uint8_t cap;
    uint32_t pba_offset_bytes;
    struct msi_route **route;
    /* under lock */
    pthread_mutex_t lock;
    bool open;         /* enabled, not function-masked, bus master */
    uint8_t *table;    /* vectors * 16 bytes, as the guest sees it */
    uint64_t *pending; /* one bit per vector */
};

static size_t pending_bytes(const struct msix *x)
{
    return (x->vectors + 63) / 64 * sizeof(uint64_t);
}

static bool vector_masked(const struct msix *x, unsigned v)
{
    return x->table[v * ENTRY_BYTES + ENTRY_CONTROL] & ENTRY_MASKED;
}

static void vector_flush_locked(struct msix *x, unsigned v)
{
    uint64_t bit = BIT64(v % 64);

    if (!x->open || vector_masked(x, v) || !(x->pending[v / 64] & bit))
        return;
    x->pending[v / 64] &= ~bit;
    msi_route_raise(x->route[v]);
}

static void route_sync_locked(struct msix *x, unsigned v)
{
    const uint8_t *e = x->table + v * ENTRY_BYTES;

    if (x->route[v])
        msi_route_set(x->route[v], le64_get(e) & ~UINT64_C(3), le32_get(e + 8));
}

static uint64_t msix_mmio_read(struct io_region *r, uint64_t off, unsigned size)
{
    struct msix *x = container_of(r, struct msix, region);
    uint64_t v = 0;

    pthread_mutex_lock(&x->lock);
    if (off + size <= (uint64_t)x->vectors * ENTRY_BYTES)
        memcpy(&v, x->table + off, size);
    else if (off >= x->pba_offset_bytes && off - x->pba_offset_bytes + size <= pending_bytes(x))
        memcpy(&v, (uint8_t *)x->pending + (off - x->pba_offset_bytes), size);
    pthread_mutex_unlock(&x->lock);
    return v;
}

static void msix_mmio_write(struct io_region *r, uint64_t off, unsigned size, uint64_t val)
{
    struct msix *x = container_of(r, struct msix, region);
    unsigned first = (unsigned)(off / ENTRY_BYTES);

    if (off + size > (uint64_t)x->vectors * ENTRY_BYTES)
        return; /* the PBA and the rest are read-only */
    pthread_mutex_lock(&x->lock);
    memcpy(x->table + off, &val, size);
    /* Only the mask bit of vector control exists. */
    le32_put(x->table + first * ENTRY_BYTES + ENTRY_CONTROL,
             x->table[first * ENTRY_BYTES + ENTRY_CONTROL] & ENTRY_MASKED);
    route_sync_locked(x, first);
    vector_flush_locked(x, first);
    pthread_mutex_unlock(&x->lock);
}

/* Accesses are 4 or 8 bytes, aligned (PCI 3.0 §6.8.2): they never cross an entry. */
static const struct io_ops msix_ops = {
    .read = msix_mmio_read, .write = msix_mmio_write, .min_size = 4, .max_size = 8};

bool msix_init(struct pci_dev *d, unsigned bar, unsigned vectors, GError **err)
{
    struct msix *x;
    uint64_t table_bytes = (uint64_t)vectors * ENTRY_BYTES, size = 4096;

    if (vectors == 0 || vectors > VECTORS_MAX)
        return error_set(err, HANOK_ERROR_INVALID,
                         "%u MSI-X vectors are not possible; give 1 to %d", vectors, VECTORS_MAX);
    x = d->msix = g_new0(struct msix, 1);
    x->dev = d;
    x->vectors = vectors;
    x->pba_offset_bytes = (uint32_t)MAX_OF(table_bytes, UINT64_C(2048));
    while (size < x->pba_offset_bytes + pending_bytes(x))
        size *= 2;
    x->table = g_malloc0(table_bytes);
    x->pending = g_malloc0(pending_bytes(x));
    x->route = g_new0(struct msi_route *, vectors);
    pthread_mutex_init(&x->lock, NULL);
    for (unsigned v = 0; v < vectors; v++)
        x->table[v * ENTRY_BYTES + ENTRY_CONTROL] = ENTRY_MASKED;
    x->region = (struct io_region){.ops = &msix_ops, .name = "msix", .size_bytes = size};
    pci_bar_set(d, bar, PCI_BAR_MEM32, false, &x->region);

    x->cap = pci_cap_add(d, PCI_CAP_MSIX, 12);
    le16_put(d->config + x->cap + 2, (uint16_t)(vectors - 1));
    le16_put(d->wmask + x->cap + 2, CONTROL_ENABLE | CONTROL_FUNCTION_MASK);
    le32_put(d->config + x->cap + 4, bar);
    le32_put(d->config + x->cap + 8, x->pba_offset_bytes | bar);
    return true;
}

void msix_fini(struct pci_dev *d)
{
    struct msix *x = d->msix;

    if (!x)
        return;
    d->msix = NULL;
    for (unsigned v = 0; v < x->vectors; v++)
        if (x->route[v])
            msi_route_free(x->route[v]);
    pthread_mutex_destroy(&x->lock);
    g_free(x->table);
    g_free(x->pending);
    g_free(x->route);
    g_free(x);
}

/* Routes are made when the guest turns MSI-X on: each may cost the host an eventfd and a kernel
 * route, and most functions use few. */
static void routes_make_locked(struct msix *x)
{
    for (unsigned v = 0; v < x->vectors; v++) {
        if (x->route[v])
            continue;
        x->route[v] = msi_route_new(x->dev->bus->host->irqchip);
        route_sync_locked(x, v);
    }
}

void msix_config_written(struct pci_dev *d)
{
    struct msix *x = d->msix;
    uint16_t control = le16_get(d->config + x->cap + 2);
    bool open =
        (control & (CONTROL_ENABLE | CONTROL_FUNCTION_MASK)) == CONTROL_ENABLE && pci_bus_master(d);

    pthread_mutex_lock(&x->lock);
    if (control & CONTROL_ENABLE)
        routes_make_locked(x);
    if (open && !x->open) {
        x->open = true;
        for (unsigned v = 0; v < x->vectors; v++)
            vector_flush_locked(x, v);
    }
    x->open = open;
    pthread_mutex_unlock(&x->lock);
}

bool msix_enabled(const struct pci_dev *d)
{
    return d->msix && (le16_get(d->config + d->msix->cap + 2) & CONTROL_ENABLE);
}

void msix_notify(struct pci_dev *d, unsigned vector)
{
    struct msix *x = d->msix;

    if (!x || vector >= x->vectors || !msix_enabled(d))
        return;
    pthread_mutex_lock(&x->lock);
    x->pending[vector / 64] |= BIT64(vector % 64);
    vector_flush_locked(x, vector);
    pthread_mutex_unlock(&x->lock);
}

void msix_reset(struct pci_dev *d)
{
    struct msix *x = d->msix;

    if (!x)
        return;
    pthread_mutex_lock(&x->lock);
    x->open = false;
    memset(x->table, 0, (size_t)x->vectors * ENTRY_BYTES);
    memset(x->pending, 0, pending_bytes(x));
    for (unsigned v = 0; v < x->vectors; v++) {
        x->table[v * ENTRY_BYTES + ENTRY_CONTROL] = ENTRY_MASKED;
        route_sync_locked(x, v);
    }
    pthread_mutex_unlock(&x->lock);
}

void msix_save(struct state_writer *w, const struct pci_dev *d)
{
    const struct msix *x = d->msix;

    state_put_u32(w, x ? x->vectors : 0);
    if (!x)
        return;
    state_put_bytes(w, x->table, (size_t)x->vectors * ENTRY_BYTES);
    state_put_bytes(w, x->pending, pending_bytes(x));
}

bool msix_load(struct state_reader *r, struct pci_dev *d, GError **err)
{
    struct msix *x = d->msix;
    bool ok;

    if (state_get_u32(r) != (x ? x->vectors : 0))
        return error_set(err, HANOK_ERROR_CORRUPT, "it has another number of MSI-X vectors");
    if (!x)
        return true;
    pthread_mutex_lock(&x->lock);
    x->open = false; /* decided anew, and pending vectors sent, once the config space is complete */
    ok = state_get_bytes(r, x->table, (size_t)x->vectors * ENTRY_BYTES) &&
         state_get_bytes(r, x->pending, pending_bytes(x));
    if (x->vectors % 64)
        x->pending[x->vectors / 64] &= BIT64(x->vectors % 64) - 1;
    for (unsigned v = 0; v < x->vectors; v++) {
        uint8_t *control = x->table + v * ENTRY_BYTES + ENTRY_CONTROL;
        le32_put(control, control[0] & ENTRY_MASKED);
        route_sync_locked(x, v);
    }
    pthread_mutex_unlock(&x->lock);
    return ok || error_set(err, HANOK_ERROR_CORRUPT, "its MSI-X table is cut short");
}
