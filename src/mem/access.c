/* access.c - bounds-checked reads, writes and discards by everybody who is not a vCPU.
 *
 * A range is checked completely before its first byte moves: a device's transfer happens whole or
 * not at all. */
#include "map.h"

#include "base/util.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>

/* One step of a walk over a range: the region that holds gpa and how far it goes. */
static const struct guest_region *piece(struct guest_mem *m, uint64_t gpa, uint64_t len,
                                        uint64_t *offset, uint64_t *here)
{
    const struct guest_region *r = guest_mem_find(m, GPA(gpa));
    if (!r)
        return NULL;
    *offset = gpa - r->gpa;
    *here = MIN_OF(len, r->size_bytes - *offset);
    return r;
}

static bool range_ok(struct guest_mem *m, uint64_t gpa, uint64_t len, bool ram_only)
{
    if (gpa + len < gpa || gpa + len > GUEST_MEM_HIDDEN)
        return false;
    while (len) {
        uint64_t offset, here;
        const struct guest_region *r = piece(m, gpa, len, &offset, &here);
        if (!r || (ram_only && r->kind != GUEST_RAM))
            return false;
        gpa += here;
        len -= here;
    }
    return true;
}

void *guest_mem_ptr(struct guest_mem *m, gpa_t gpa, uint64_t len_bytes, bool write)
{
    const struct guest_region *r = guest_mem_find(m, gpa);
    if (!r || (write && r->kind != GUEST_RAM) || gpa.v >= GUEST_MEM_HIDDEN)
        return NULL;
    uint64_t offset = gpa.v - r->gpa;
    return len_bytes <= r->size_bytes - offset ? r->host + offset : NULL;
}

int guest_mem_read(struct guest_mem *m, gpa_t gpa, void *buf, uint64_t len_bytes)
{
    const void *p = guest_mem_ptr(m, gpa, len_bytes, false);
    if (likely(p != NULL)) {
        memcpy(buf, p, len_bytes);
        return 0;
    }
    if (!range_ok(m, gpa.v, len_bytes, false))
        return -EFAULT;
    for (uint8_t *to = buf; len_bytes;) {
        uint64_t offset, here;
        const struct guest_region *r = piece(m, gpa.v, len_bytes, &offset, &here);
        memcpy(to, r->host + offset, here);
        to += here;
        gpa.v += here;
        len_bytes -= here;
    }
    return 0;
}

static int write_range(struct guest_mem *m, uint64_t gpa, const uint8_t *from, uint64_t len,
                       bool ram_only)
{
    if (!range_ok(m, gpa, len, ram_only))
        return -EFAULT;
    while (len) {
        uint64_t offset, here;
        const struct guest_region *r = piece(m, gpa, len, &offset, &here);
        memcpy(r->host + offset, from, here);
        region_wrote(m, r, offset, here);
        from += here;
        gpa += here;
        len -= here;
    }
    return 0;
}

int guest_mem_write(struct guest_mem *m, gpa_t gpa, const void *buf, uint64_t len_bytes)
{
    const struct guest_region *r = guest_mem_find(m, gpa);
    if (likely(r && r->kind == GUEST_RAM && len_bytes <= r->size_bytes - (gpa.v - r->gpa) &&
               gpa.v < GUEST_MEM_HIDDEN)) {
        memcpy(r->host + (gpa.v - r->gpa), buf, len_bytes);
        region_wrote(m, r, gpa.v - r->gpa, len_bytes);
        return 0;
    }
    return write_range(m, gpa.v, buf, len_bytes, true);
}

int guest_mem_write_rom(struct guest_mem *m, gpa_t gpa, const void *buf, uint64_t len_bytes)
{
    return write_range(m, gpa.v, buf, len_bytes, false);
}

void guest_mem_wrote(struct guest_mem *m, gpa_t gpa, uint64_t len_bytes)
{
    uint64_t at = gpa.v;
    while (len_bytes) {
        uint64_t offset, here;
        const struct guest_region *r = piece(m, at, len_bytes, &offset, &here);
        if (!r)
            return; /* the writer had a pointer to all of it, so this is the end of the map */
        region_wrote(m, r, offset, here);
        at += here;
        len_bytes -= here;
    }
}

/* Private memory is simply dropped; a shared file needs a hole, or the pages stay in it. */
static int discard_piece(const struct guest_region *r, uint64_t offset, uint64_t len)
{
    int rc = r->fd < 0 ? madvise(r->host + offset, len, MADV_DONTNEED)
                       : fallocate(r->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                                   (off_t)(r->fd_offset_bytes + offset), (off_t)len);
    return rc < 0 ? -errno : 0;
}

int guest_mem_discard(struct guest_mem *m, gpa_t gpa, uint64_t len_bytes)
{
    if ((gpa.v | len_bytes) % GUEST_PAGE_SIZE)
        return -EINVAL;
    if (!range_ok(m, gpa.v, len_bytes, true))
        return -EFAULT;
    if (__atomic_load_n(&m->discard_inhibited, __ATOMIC_ACQUIRE))
        return -EBUSY;
    while (len_bytes) {
        uint64_t offset, here;
        const struct guest_region *r = piece(m, gpa.v, len_bytes, &offset, &here);
        int rc = discard_piece(r, offset, here);
        if (rc < 0)
            return rc;
        region_wrote(m, r, offset, here); /* it reads as zeros now */
        for (struct mem_listener *l = m->listeners; l; l = l->next)
            if (l->ops->discard)
                l->ops->discard(l, r, offset, here);
        gpa.v += here;
        len_bytes -= here;
    }
    return 0;
}

void guest_mem_inhibit_discard(struct guest_mem *m, bool inhibit)
{
    if (inhibit)
        __atomic_fetch_add(&m->discard_inhibited, 1, __ATOMIC_ACQ_REL);
    else
        __atomic_fetch_sub(&m->discard_inhibited, 1, __ATOMIC_ACQ_REL);
}
