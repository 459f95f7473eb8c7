/* ram.c - host memory behind guest RAM.
 *
 * Private anonymous memory is the default: it gets huge pages and is not counted as shared.  Maps
 * are NORESERVE (the guest's size is a limit, not a claim), aligned to 2 MiB so that huge pages
 * fit, and end in a guard page.  Of a hugetlbfs all pages are reserved at once: to find out later
 * that there are too few would kill the machine. */
#include "base/areas.h"
#include "base/error.h"
#include "base/util.h"
#include "map.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23 /* Linux 5.14; Debian 12's headers have it, older ones do not */
#endif
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25 /* Linux 6.1 */
#endif

/* A file in a folder has no name; one that has a name is made when it is not there, and stays. */
static int open_file(const char *path)
{
    if (!g_file_test(path, G_FILE_TEST_IS_DIR))
        return open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    g_autofree char *name = g_build_filename(path, "hanok.XXXXXX", NULL);
    int fd = g_mkstemp_full(name, O_RDWR | O_CLOEXEC, 0600);
    if (fd >= 0)
        unlink(name);
    return fd;
}

static bool map_file(struct ram_block *b, const char *path, bool share, GError **err)
{
    struct statfs fs;
    struct stat st;

    b->fd = open_file(path);
    if (b->fd < 0 || fstatfs(b->fd, &fs) || fstat(b->fd, &st))
        return error_errno(err, errno, "memory in '%s'", path);
    if (!share && st.st_size) /* what is discarded must read as zeros */
        return error_set(err, HANOK_ERROR_INVALID,
                         "memory in '%s': the file is not empty; share=on uses what is in it",
                         path);
    bool huge = fs.f_type == HUGETLBFS_MAGIC;
    uint64_t page = huge ? (uint64_t)fs.f_bsize : GUEST_PAGE_SIZE;
    if (b->size_bytes % page || page > HUGE_PAGE)
        return error_set(err, HANOK_ERROR_INVALID,
                         "memory in '%s': pages of %llu KiB do not fit; memory is a multiple of "
                         "pages of at most 2 MiB",
                         path, (unsigned long long)(page / KiB));
    if (ftruncate(b->fd, (off_t)b->size_bytes) ||
        mmap(b->host, b->size_bytes, PROT_READ | PROT_WRITE,
             (share ? MAP_SHARED : MAP_PRIVATE) | MAP_FIXED | (huge ? 0 : MAP_NORESERVE), b->fd,
             0) == MAP_FAILED)
        return error_errno(err, errno, "cannot map %llu MiB of memory in '%s'%s",
                           (unsigned long long)(b->size_bytes / MiB), path,
                           huge ? " (are there enough huge pages? vm.nr_hugepages)" : "");
    if (!share) { /* what others see of the file is not the guest's memory */
        close(b->fd);
        b->fd = -1;
    }
    return true;
}

static bool map_shared(struct ram_block *b, GError **err)
{
    b->fd = memfd_create(b->name, MFD_CLOEXEC);
    if (b->fd < 0 || ftruncate(b->fd, (off_t)b->size_bytes) < 0)
        return error_errno(err, errno, "cannot make a shared memory file of %llu MiB",
                           b->size_bytes / MiB);
    if (mmap(b->host, b->size_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED | MAP_NORESERVE,
             b->fd, 0) == MAP_FAILED)
        return error_errno(err, errno, "cannot map %llu MiB of shared guest memory",
                           b->size_bytes / MiB);
    return true;
}

static bool populate(struct ram_block *b, GError **err)
{
    if (madvise(b->host, b->size_bytes, MADV_POPULATE_WRITE) == 0)
        return true;
    if (errno != EINVAL)
        return error_errno(err, errno, "cannot preallocate %llu MiB of guest memory",
                           b->size_bytes / MiB);
    for (uint64_t at = 0; at < b->size_bytes; at += GUEST_PAGE_SIZE)
        *(volatile uint8_t *)(b->host + at) = 0;
    return true;
}

struct ram_block *ram_block_new(const char *name, uint64_t size_bytes, bool share, bool prealloc,
                                GError **err)
{
    return ram_block_in_file(name, size_bytes, NULL, share, prealloc, err);
}

/* To private memory that asks. */
static bool host_gives_huge(void)
{
    g_autofree char *text = NULL;

    return g_file_get_contents("/sys/kernel/mm/transparent_hugepage/enabled", &text, NULL, NULL) &&
           !strstr(text, "[never]");
}

/* Most hosts give none to shared memory by themselves (shmem_enabled); this asks for one. */
void guest_region_ask_huge(const struct guest_region *r, uint64_t offset)
{
    const struct ram_block *b = region_of(r)->block;
    uint8_t *at = r->host + offset,
            *page = b->host + ALIGN_DOWN((uint64_t)(at - b->host), HUGE_PAGE);
    uint64_t n = ((uintptr_t)at >> 21) - ((uintptr_t)r->host >> 21);

    if (__atomic_fetch_or(&r->huge[n / 64], BIT64(n % 64), __ATOMIC_RELAXED) >> n % 64 & 1)
        return;
    if ((uint64_t)(page - b->host) + HUGE_PAGE > b->size_bytes)
        return;
    (void)*(volatile uint8_t *)at; /* of nothing no huge page is made */
    madvise(page, HUGE_PAGE, MADV_COLLAPSE);
}

struct ram_block *ram_block_in_file(const char *name, uint64_t size_bytes, const char *path,
                                    bool share, bool prealloc, GError **err)
{
    assert(size_bytes > 0 && size_bytes % GUEST_PAGE_SIZE == 0);
    struct ram_block *b = g_new0(struct ram_block, 1);
    b->name = g_strdup(name);
    b->size_bytes = size_bytes;
    b->fd = -1;
    b->mapping_bytes = size_bytes + HUGE_PAGE + GUEST_PAGE_SIZE;
    void *p = b->mapping_bytes < size_bytes
                  ? MAP_FAILED
                  : mmap(NULL, b->mapping_bytes, PROT_NONE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED) {
        error_errno(err, ENOMEM, "cannot reserve %llu MiB of guest memory", size_bytes / MiB);
        ram_block_free(b);
        return NULL;
    }
    b->mapping = p;
    b->host = (uint8_t *)ALIGN_UP((uintptr_t)p, HUGE_PAGE);
    bool ok = path    ? map_file(b, path, share, err)
              : share ? map_shared(b, err)
                      : mprotect(b->host, size_bytes, PROT_READ | PROT_WRITE) == 0 ||
                            error_errno(err, errno, "cannot get %llu MiB of guest memory",
                                        size_bytes / MiB);
    if (ok && !path)
        madvise(b->host, size_bytes, MADV_HUGEPAGE); /* a wish: fails where THP is not built in */
    b->ask_huge = ok && !path && share && host_gives_huge();
    if (ok)
        memory_area_add("guest-ram", b->host, size_bytes);
    if (!ok || (prealloc && !populate(b, err))) {
        ram_block_free(b);
        return NULL;
    }
    return b;
}

void ram_block_sparse(struct ram_block *b)
{
    madvise(b->host, b->size_bytes, MADV_NOHUGEPAGE);
    b->ask_huge = false;
}

void ram_block_free(struct ram_block *b)
{
    if (!b)
        return;
    assert(b->mapped == 0);
    memory_area_del(b->host);
    if (b->mapping)
        munmap(b->mapping, b->mapping_bytes);
    if (b->fd >= 0)
        close(b->fd);
    g_free(b->name);
    g_free(b);
}

uint8_t *ram_block_host(struct ram_block *b)
{
    return b->host;
}

uint64_t ram_block_size(struct ram_block *b)
{
    return b->size_bytes;
}
