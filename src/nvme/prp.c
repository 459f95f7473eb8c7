/* prp.c - where a command's data lies: physical region pages and their lists (§4.3).
 *
 * Each list entry is read once.  The length is known and bounded (MDTS), and so is every loop. */
#include "nvme_int.h"

enum { LIST_MAX = 132 };

/* One piece, cut where regions end, joined to the one before where both continue. */
static uint16_t piece(struct nvme_req *r, uint64_t gpa, uint64_t len)
{
    while (len) {
        const struct guest_region *g = guest_mem_find(r->n->mem, GPA(gpa));
        if (!g || g->kind != GUEST_RAM)
            return NVME_TRANSFER_ERROR | NVME_DNR;
        uint64_t n = MIN_OF(len, g->size_bytes - (gpa - g->gpa));
        uint8_t *host = g->host + (gpa - g->gpa);
        unsigned last = r->iov_count - 1;
        if (r->iov_count && r->gpa[last] + r->iov[last].iov_len == gpa &&
            (uint8_t *)r->iov[last].iov_base + r->iov[last].iov_len == host) {
            r->iov[last].iov_len += n;
        } else if (r->iov_count == NVME_IOV_MAX) {
            return NVME_INTERNAL_ERROR | NVME_DNR;
        } else {
            r->gpa[r->iov_count] = gpa;
            r->iov[r->iov_count++] = (struct iovec){host, n};
        }
        gpa += n;
        len -= n;
    }
    return NVME_OK;
}

/* Lists fill a page from gpa on; when more follows, the page's last entry points to the next. */
static uint16_t list(struct nvme_req *r, uint64_t gpa, uint64_t left)
{
    uint64_t page = r->n->page_bytes, entry[LIST_MAX];

    if (gpa & 7)
        return NVME_BAD_PRP;
    while (left) {
        uint64_t room = (page - (gpa & (page - 1))) / 8, need = (left + page - 1) / page;
        uint64_t count = need > room ? room - 1 : need;
        uint64_t next = 0;
        if (guest_mem_read(r->n->mem, GPA(gpa), entry, count * 8) != 0 ||
            (need > room && guest_mem_read(r->n->mem, GPA(gpa + count * 8), &next, 8) != 0))
            return NVME_TRANSFER_ERROR | NVME_DNR;
        for (uint64_t i = 0; i < count; i++) {
            uint64_t n = MIN_OF(left, page);
            if (entry[i] & (page - 1))
                return NVME_BAD_PRP;
            uint16_t s = piece(r, entry[i], n);
            if (s)
                return s;
            left -= n;
        }
        if (left && (next & (page - 1)))
            return NVME_BAD_PRP;
        gpa = next;
    }
    return NVME_OK;
}

uint16_t nvme_map(struct nvme_req *r, uint64_t len)
{
    uint64_t page = r->n->page_bytes;
    uint64_t first = MIN_OF(len, page - (r->cmd.prp1 & (page - 1)));
    uint16_t s;

    r->iov_count = 0;
    if (r->cmd.prp1 & 3)
        return NVME_BAD_PRP;
    s = piece(r, r->cmd.prp1, first);
    if (s || first == len)
        return s;
    if (len - first > page)
        return list(r, r->cmd.prp2, len - first);
    return r->cmd.prp2 & (page - 1) ? NVME_BAD_PRP : piece(r, r->cmd.prp2, len - first);
}

void nvme_wrote(struct nvme_req *r)
{
    for (unsigned i = 0; i < r->iov_count; i++)
        guest_mem_wrote(r->n->mem, GPA(r->gpa[i]), r->iov[i].iov_len);
}

uint16_t nvme_to_guest(struct nvme_req *r, const void *buf, uint32_t len)
{
    const uint8_t *from = buf;
    uint16_t s = nvme_map(r, len);

    for (unsigned i = 0; !s && i < r->iov_count; i++) {
        memcpy(r->iov[i].iov_base, from, r->iov[i].iov_len);
        from += r->iov[i].iov_len;
    }
    if (!s)
        nvme_wrote(r);
    return s;
}

uint16_t nvme_from_guest(struct nvme_req *r, void *buf, uint32_t len)
{
    uint8_t *to = buf;
    uint16_t s = nvme_map(r, len);

    for (unsigned i = 0; !s && i < r->iov_count; i++) {
        memcpy(to, r->iov[i].iov_base, r->iov[i].iov_len);
        to += r->iov[i].iov_len;
    }
    return s;
}
