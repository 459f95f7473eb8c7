/* ring_chain.c - from a descriptor chain to an element (virtio 1.2 §2.7.5). */
#include "ring_internal.h"

#include <errno.h>
#include <glib.h>

enum { DESC_NEXT = 1, DESC_WRITE = 2, DESC_INDIRECT = 4 };

struct desc {
    uint64_t addr;
    uint32_t len;
    uint16_t flags, next;
};
_Static_assert(sizeof(struct desc) == VRING_DESC_BYTES, "descriptor layout");

/* The descriptor table in use: the queue's, or an indirect one. */
struct table {
    struct guest_mem *mem;
    const uint8_t *host; /* NULL: the table crosses regions and is read piece by piece */
    uint64_t gpa;
    uint32_t entries;
};

/* One copy; the driver may change the original at any time. */
static bool desc_read(const struct table *t, uint32_t i, struct desc *d)
{
    if (t->host) {
        memcpy(d, t->host + (size_t)i * VRING_DESC_BYTES, sizeof(*d));
        __asm__ volatile("" : "+m"(*d));
        return true;
    }
    return guest_mem_read(t->mem, GPA(t->gpa + (uint64_t)i * VRING_DESC_BYTES), d, sizeof(*d)) == 0;
}

/* Adds a buffer; where it crosses memory regions it becomes several iovecs. */
static const char *add_buffer(struct virtq_elem *e, struct guest_mem *m, const struct desc *d)
{
    bool write = d->flags & DESC_WRITE;
    uint64_t gpa = d->addr, left = d->len;
    uint32_t *total = write ? &e->in_bytes : &e->out_bytes;

    if (left > UINT32_MAX - *total)
        return "a chain is longer than 4 GiB";
    *total += (uint32_t)left;
    while (left) {
        const struct guest_region *r = guest_mem_find(m, GPA(gpa));
        unsigned n = e->out_count + e->in_count;
        if (!r || (write && r->kind != GUEST_RAM))
            return "a buffer is not in RAM";
        if (n == e->cap)
            return "a chain has too many buffers";
        uint64_t here = MIN_OF(left, r->gpa + r->size_bytes - gpa);
        e->iov[n] = (struct iovec){r->host + (gpa - r->gpa), here};
        e->gpa[n] = gpa;
        if (write)
            e->in_count++;
        else
            e->out_count++;
        gpa += here;
        left -= here;
    }
    return NULL;
}

static const char *enter_indirect(struct virtq *q, const struct desc *d, struct table *t)
{
    if (!virtio_has(q->dev, VIRTIO_F_INDIRECT_DESC))
        return "an indirect descriptor, which was not negotiated";
    if (d->flags & DESC_NEXT)
        return "an indirect descriptor with a next one";
    if (d->len == 0 || d->len % VRING_DESC_BYTES)
        return "an indirect table of a bad size";
    t->gpa = d->addr;
    t->entries = d->len / VRING_DESC_BYTES;
    t->host = guest_mem_ptr(t->mem, GPA(d->addr), d->len, false);
    return NULL;
}

const char *virtq_map_chain(struct virtq *q, uint16_t head, struct virtq_elem *e)
{
    struct table t = {
        .mem = q->dev->mem, .host = q->desc, .gpa = q->desc_gpa.v, .entries = q->size};
    uint32_t i = head, steps = VIRTQ_SG_MAX;
    bool indirect = false;
    struct desc d;

    e->q = q;
    e->gen = q->gen;
    e->head = head;
    e->out_count = e->in_count = 0;
    e->out_bytes = e->in_bytes = 0;
    if (head >= q->size)
        return "a head is past the queue's end";
    for (;;) {
        const char *why = NULL;
        if (steps-- == 0)
            return "a chain has too many descriptors, or a loop";
        if (!desc_read(&t, i, &d))
            return "an indirect table is not in RAM";
        if (d.flags & DESC_INDIRECT) {
            why = indirect ? "an indirect table inside another" : enter_indirect(q, &d, &t);
            if (why)
                return why;
            indirect = true;
            i = 0;
            continue;
        }
        if (!(d.flags & DESC_WRITE) && e->in_count)
            return "a readable buffer after a writable one";
        why = add_buffer(e, t.mem, &d);
        if (why)
            return why;
        if (!(d.flags & DESC_NEXT))
            return NULL;
        i = d.next;
        if (i >= t.entries)
            return "a next index is past the table's end";
    }
}

void virtq_elem_alloc(struct virtq_elem *e, unsigned cap)
{
    memset(e, 0, sizeof(*e));
    e->cap = cap;
    e->iov = g_new(struct iovec, cap);
    e->gpa = g_new(uint64_t, cap);
}

void virtq_elem_free(struct virtq_elem *e)
{
    g_free(e->iov);
    g_free(e->gpa);
    e->iov = NULL;
    e->gpa = NULL;
}

/* Walks the iovecs [first, first+count), copying between them and buf. */
static size_t copy(const struct virtq_elem *e, unsigned first, unsigned count, size_t skip,
                   void *buf, size_t len, bool to_guest)
{
    size_t done = 0;

    for (unsigned i = first; i < first + count && done < len; i++) {
        const struct iovec *v = &e->iov[i];
        if (skip >= v->iov_len) {
            skip -= v->iov_len;
            continue;
        }
        size_t n = MIN_OF(len - done, v->iov_len - skip);
        uint8_t *guest = (uint8_t *)v->iov_base + skip, *host = (uint8_t *)buf + done;
        memcpy(to_guest ? guest : host, to_guest ? host : guest, n);
        done += n;
        skip = 0;
    }
    return done;
}

size_t virtq_copy_out(const struct virtq_elem *e, size_t skip_bytes, void *buf, size_t len)
{
    return copy(e, 0, e->out_count, skip_bytes, buf, len, false);
}

size_t virtq_copy_in(const struct virtq_elem *e, size_t skip_bytes, const void *buf, size_t len)
{
    return copy(e, e->out_count, e->in_count, skip_bytes, (void *)buf, len, true);
}
