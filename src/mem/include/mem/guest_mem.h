/* guest_mem.h - the guest-physical memory map: RAM, ROM and holes, and who is told of changes.
 *
 *   gpa --> region (sorted array, swapped atomically) --> host pointer
 *
 * Only RAM and ROM live here; MMIO is bus/io.h's.  Devices reach guest RAM only through this API.
 *
 * Owner:   the machine.  Regions are added before vCPUs start or with all vCPUs paused.
 * Threads: lookups and copies from any thread, lock-free.  Map changes, listeners and dirty-log
 *          switches from the main thread with vCPUs paused; unmap with devices drained as well,
 *          since nobody may hold a pointer into the region.
 * Errors:  hot calls return 0 or -EFAULT (outside RAM, wraps, or a hole inside the range).
 *
 * THE WRITE RULE.  Every non-vCPU write (device DMA, io completion, loader, QMP) is announced with
 * guest_mem_wrote() after the data has landed and before the used ring shows it: that sets dirty
 * bits and drops decoded/translated code of those bytes.  guest_mem_write() does it itself; writers
 * through a host pointer must call it. */
#ifndef MEM_GUEST_MEM_H
#define MEM_GUEST_MEM_H

#include "base/types.h"

#define GUEST_PAGE_SHIFT 12
#define GUEST_PAGE_SIZE  4096ull
/* From here on lies memory that some processors see elsewhere, in a mode of theirs (SMRAM): beyond
 * every physical address a page table can name.  Only guest_mem_find() and guest_mem_wrote() go
 * there; for devices there is nothing. */
#define GUEST_MEM_HIDDEN (1ull << 52)

struct guest_mem;

enum guest_region_kind {
    GUEST_RAM,
    GUEST_ROM, /* guest writes are ignored (by the vCPU path) */
};

struct guest_region {
    /* immutable while mapped */
    uint64_t gpa;
    uint64_t size_bytes; /* page multiple */
    uint8_t *host;
    enum guest_region_kind kind;
    unsigned slot; /* small stable number (KVM slot, dirty bitmap index) */
    bool movable;  /* shown by a layout (mem/layout.h), whose owner saves the memory */
    int fd;        /* memfd when shared, else -1 */
    uint64_t fd_offset_bytes;
    const char *name; /* "pc.ram" ... */
    uint64_t *dirty;  /* one bit per page, atomically set; NULL while dirty logging is off */
    uint64_t *code;   /* one bit per page: holds decoded or translated code (set by cpu/) */
    uint64_t *huge;   /* one bit per 2 MiB of host addresses: see guest_region_touch(); or NULL */
};

struct guest_mem *guest_mem_new(void);
void guest_mem_free(struct guest_mem *m);

/* Backing memory: private anonymous (MADV_HUGEPAGE, NORESERVE) or a shared memfd. */
struct ram_block;
struct ram_block *ram_block_new(const char *name, uint64_t size_bytes, bool share, bool prealloc,
                                GError **err);
/* In a file, or (path is a folder, such as a hugetlbfs) in one of its own there; NULL: as above. */
struct ram_block *ram_block_in_file(const char *name, uint64_t size_bytes, const char *path,
                                    bool share, bool prealloc, GError **err);
/* Little of it is going to be touched, here and there: no huge pages for it. */
void ram_block_sparse(struct ram_block *b);
void ram_block_free(struct ram_block *b); /* accepts NULL; not while mapped */
uint8_t *ram_block_host(struct ram_block *b);
uint64_t ram_block_size(struct ram_block *b);

/* Maps [offset, offset+size) of block at gpa.  Overlap with another region is an assert. */
const struct guest_region *guest_mem_map(struct guest_mem *m, gpa_t gpa, struct ram_block *b,
                                         uint64_t offset_bytes, uint64_t size_bytes,
                                         enum guest_region_kind kind);
void guest_mem_unmap(struct guest_mem *m, const struct guest_region *r);

/* Hot: the region that holds gpa, or NULL (MMIO or nothing). */
const struct guest_region *guest_mem_find(struct guest_mem *m, gpa_t gpa);
/* Host pointer for [gpa, gpa+len) when it lies in ONE region (RAM only when write), else NULL. */
void *guest_mem_ptr(struct guest_mem *m, gpa_t gpa, uint64_t len_bytes, bool write);
int guest_mem_read(struct guest_mem *m, gpa_t gpa, void *buf, uint64_t len_bytes);
int guest_mem_write(struct guest_mem *m, gpa_t gpa, const void *buf, uint64_t len_bytes);
void guest_mem_wrote(struct guest_mem *m, gpa_t gpa, uint64_t len_bytes);
/* Firmware/loader writes: like guest_mem_write, but lands in ROM too. */
int guest_mem_write_rom(struct guest_mem *m, gpa_t gpa, const void *buf, uint64_t len_bytes);
/* Gives pages back to the host (balloon, free page reporting); -EBUSY while discards are inhibited.
 */
int guest_mem_discard(struct guest_mem *m, gpa_t gpa, uint64_t len_bytes);
void guest_mem_inhibit_discard(struct guest_mem *m, bool inhibit); /* counted */
uint64_t guest_mem_ram_bytes(struct guest_mem *m);
/* Calls fn for each region in gpa order; stops when fn returns false. */
void guest_mem_foreach(struct guest_mem *m, bool (*fn)(const struct guest_region *r, void *opaque),
                       void *opaque);

/* The vCPU store path of the software CPU, inline so that it stays cheap. */
static inline void guest_region_mark(const struct guest_region *r, uint64_t offset_bytes)
{
    uint64_t *dirty = __atomic_load_n(&r->dirty, __ATOMIC_RELAXED);
    if (__builtin_expect(dirty != NULL, 0)) {
        uint64_t page = offset_bytes >> GUEST_PAGE_SHIFT;
        __atomic_fetch_or(&dirty[page / 64], 1ull << (page % 64), __ATOMIC_RELAXED);
    }
}

/* The first touch of 2 MiB of shared memory asks for a huge page, which private memory gets by
 * itself.  For who runs the guest; any thread. */
void guest_region_ask_huge(const struct guest_region *r, uint64_t offset_bytes);
static inline void guest_region_touch(const struct guest_region *r, uint64_t offset_bytes)
{
    if (!r->huge)
        return;
    uint64_t n = (((uintptr_t)r->host + offset_bytes) >> 21) - ((uintptr_t)r->host >> 21);
    if (!(__atomic_load_n(&r->huge[n / 64], __ATOMIC_RELAXED) >> n % 64 & 1))
        guest_region_ask_huge(r, offset_bytes);
}

/* Dirty log: counted on/off; sync copies and clears the bits of one region (1 bit per page, LSB
 * first) after listeners (KVM, TLBs) have folded in theirs. */
void guest_mem_dirty_log(struct guest_mem *m, bool on);
int guest_mem_dirty_sync(struct guest_mem *m, const struct guest_region *r, uint64_t *bitmap,
                         size_t words);

/* A second reader of one region's dirty log, for a screen: neither reader takes bits from the
 * other. Watching lasts as long as the region; vcpus paused.  sync: main thread, -EINVAL when not
 * watched. */
void guest_mem_watch(struct guest_mem *m, const struct guest_region *r);
int guest_mem_watch_sync(struct guest_mem *m, const struct guest_region *r, uint64_t *bitmap,
                         size_t words);

/* Listeners: KVM slots, JIT TLBs, later VFIO.  All calls come in the map-changing thread, except
 * code_written, which comes in the writer's thread for pages whose code bit is set. */
struct mem_listener;
struct mem_listener_ops {
    void (*region_add)(struct mem_listener *l, const struct guest_region *r);
    void (*region_del)(struct mem_listener *l, const struct guest_region *r);
    void (*log_change)(struct mem_listener *l, const struct guest_region *r, bool on);
    void (*log_sync)(struct mem_listener *l,
                     const struct guest_region *r); /* or bits into r->dirty */
    void (*discard)(struct mem_listener *l, const struct guest_region *r, uint64_t offset,
                    uint64_t len);
    void (*code_written)(struct mem_listener *l, const struct guest_region *r, uint64_t offset,
                         uint64_t len);
};
struct mem_listener {
    const struct mem_listener_ops *ops; /* any member may be NULL */
    struct mem_listener *next;
};
void guest_mem_listen(struct guest_mem *m, struct mem_listener *l); /* replays region_add */
void guest_mem_unlisten(struct guest_mem *m, struct mem_listener *l);

#endif
