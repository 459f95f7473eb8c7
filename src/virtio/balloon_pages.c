/* balloon_pages.c - giving the guest's unused pages back to the host. */
#include "balloon.h"

#include <errno.h>

#define PFNS_AT_ONCE 256u
#define PFNS_MAX     (1u << 20) /* in one buffer: 4 GiB of pages */

/* A run of pages; one that leaves RAM is tried page by page.  What is not RAM is left alone: the
 * guest may only hurt itself here. */
static void discard_run(struct virtio_balloon *b, uint64_t first_pfn, uint64_t pages)
{
    struct guest_mem *m = b->p.dev.mem;
    uint64_t page = 1ull << VBALLOON_PAGE_SHIFT;

    if (guest_mem_discard(m, GPA(first_pfn * page), pages * page) != -EFAULT || pages == 1)
        return;
    for (uint64_t i = 0; i < pages; i++)
        guest_mem_discard(m, GPA((first_pfn + i) * page), page);
}

/* Drivers list pages upwards or downwards: both make runs. */
static void discard_list(struct virtio_balloon *b, const uint32_t *pfn, size_t count)
{
    uint64_t low = pfn[0], high = pfn[0];

    for (size_t i = 1; i < count; i++) {
        if (pfn[i] == high + 1) {
            high++;
        } else if ((uint64_t)pfn[i] + 1 == low) {
            low--;
        } else {
            discard_run(b, low, high - low + 1);
            low = high = pfn[i];
        }
    }
    discard_run(b, low, high - low + 1);
}

bool vballoon_inflate(struct virtio_balloon *b, struct virtq *q)
{
    uint32_t pfn[PFNS_AT_ONCE];
    size_t skip = 0, n;

    if (virtq_pop(q, &b->elem) <= 0)
        return false;
    if (b->elem.out_bytes / sizeof(pfn[0]) > PFNS_MAX) {
        virtio_dev_broken(q->dev, "a list of too many pages");
        virtq_detach(&b->elem);
        return false;
    }
    while ((n = virtq_copy_out(&b->elem, skip, pfn, sizeof(pfn))) >= sizeof(pfn[0])) {
        discard_list(b, pfn, n / sizeof(pfn[0]));
        skip += n;
    }
    virtq_push(&b->elem, 0);
    return true;
}

bool vballoon_deflate(struct virtio_balloon *b, struct virtq *q)
{
    if (virtq_pop(q, &b->elem) <= 0)
        return false;
    virtq_push(&b->elem, 0);
    return true;
}

/* The whole pages of [gpa, gpa+len). */
static void discard_range(struct virtio_balloon *b, uint64_t gpa, uint64_t len)
{
    uint64_t page = 1ull << VBALLOON_PAGE_SHIFT;
    uint64_t first = ALIGN_UP(gpa, page), end = ALIGN_DOWN(gpa + len, page);

    if (first < end)
        guest_mem_discard(b->p.dev.mem, GPA(first), end - first);
}

bool vballoon_report(struct virtio_balloon *b, struct virtq *q)
{
    struct virtq_elem *e = &b->elem;
    bool poisoned = virtio_has(q->dev, VBALLOON_F_PAGE_POISON) &&
                    __atomic_load_n(&b->poison_value, __ATOMIC_RELAXED) != 0;

    if (virtq_pop(q, e) <= 0)
        return false;
    /* A poisoning guest expects its pattern, not zeroes, on the page's return (§5.5.6.7): keep. */
    for (unsigned i = e->out_count; !poisoned && i < e->out_count + e->in_count; i++)
        discard_range(b, e->gpa[i], e->iov[i].iov_len);
    virtq_push(e, 0);
    return true;
}
