/* proc.c - threads and their scheduling, and files in the page cache. */
#include "manager/proc.h"

#include "manager/threads.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef SYS_cachestat
#define SYS_cachestat 451 /* Linux 6.5 */
#endif

#define MINCORE_BYTES (256ull << 20) /* looked at in pieces of this size */

static bool read_task(pid_t pid, pid_t tid, const char *file, char **text)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/task/%d/%s", (int)pid, (int)tid, file);
    return g_file_get_contents(path, text, NULL, NULL);
}

/* wait_sum is in milliseconds with six decimals. */
static bool wait_sum(pid_t pid, pid_t tid, uint64_t *ns)
{
    g_autofree char *text = NULL;
    if (!read_task(pid, tid, "sched", &text)) {
        return false;
    }
    const char *at = strstr(text, "wait_sum"), *colon = at ? strchr(at, ':') : NULL;
    *ns = colon ? (uint64_t)(g_ascii_strtod(colon + 1, NULL) * 1e6) : 0;
    return colon != NULL;
}

bool proc_sched(pid_t pid, pid_t tid, struct sched_numbers *out)
{
    g_autofree char *text = NULL;
    char *end;
    memset(out, 0, sizeof(*out));
    if (!read_task(pid, tid, "schedstat", &text)) {
        return false;
    }
    out->run_ns = g_ascii_strtoull(text, &end, 10);
    out->delay_ns = g_ascii_strtoull(end, &end, 10);
    out->slices = g_ascii_strtoull(end, NULL, 10);
    if (!wait_sum(pid, tid, &out->wait_ns)) {
        out->wait_ns = out->delay_ns;
    }
    return true;
}

static gint by_tid(gconstpointer a, gconstpointer b)
{
    return ((const struct proc_thread *)a)->tid - ((const struct proc_thread *)b)->tid;
}

GArray *proc_threads(pid_t pid)
{
    GArray *list = g_array_new(FALSE, TRUE, sizeof(struct proc_thread));
    g_autofree char *path = g_strdup_printf("/proc/%d/task", (int)pid);
    g_autoptr(GDir) dir = g_dir_open(path, 0, NULL);
    for (const char *e = dir ? g_dir_read_name(dir) : NULL; e; e = g_dir_read_name(dir)) {
        struct proc_thread t = {.tid = (pid_t)g_ascii_strtoll(e, NULL, 10)};
        g_autofree char *name = NULL;
        if (!read_task(pid, t.tid, "comm", &name) ||
            !thread_times(pid, t.tid, &t.user_ns, &t.system_ns, &t.cpu)) {
            continue;
        }
        g_strlcpy(t.name, g_strchomp(name), sizeof(t.name));
        proc_sched(pid, t.tid, &t.sched);
        g_array_append_val(list, t);
    }
    g_array_sort(list, by_tid);
    return list;
}

uint64_t proc_status_kib(pid_t pid, const char *key)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/status", (int)pid), *text = NULL;
    g_autofree char *line = g_strdup_printf("\n%s:", key);
    if (!g_file_get_contents(path, &text, NULL, NULL)) {
        return 0;
    }
    const char *at = strstr(text, line);
    return at ? g_ascii_strtoull(at + strlen(line), NULL, 10) : 0;
}

/* ---- files ---- */

static bool by_cachestat(int fd, uint64_t *cached_bytes)
{
    struct {
        uint64_t off, len;
    } range = {0, 0};
    struct {
        uint64_t cache, dirty, writeback, evicted, recently_evicted;
    } out = {0};
    if (syscall(SYS_cachestat, fd, &range, &out, 0)) {
        return false;
    }
    *cached_bytes = out.cache * (uint64_t)sysconf(_SC_PAGESIZE);
    return true;
}

static bool by_mincore(int fd, uint64_t size, uint64_t *cached_bytes)
{
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE), pages = 0;
    g_autofree unsigned char *seen = g_malloc(MINCORE_BYTES / page);
    for (uint64_t at = 0; at < size; at += MINCORE_BYTES) {
        uint64_t len = MIN(size - at, MINCORE_BYTES);
        void *p = mmap(NULL, len, PROT_READ, MAP_SHARED, fd, (off_t)at);
        if (p == MAP_FAILED) {
            return false;
        }
        bool ok = !mincore(p, len, seen);
        munmap(p, len);
        for (uint64_t i = 0; ok && i < (len + page - 1) / page; i++) {
            pages += seen[i] & 1;
        }
        if (!ok) {
            return false;
        }
    }
    *cached_bytes = pages * page;
    return true;
}

bool file_cached(const char *path, uint64_t *cached_bytes, uint64_t *size_bytes)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct stat st;
    bool ok = fd >= 0 && !fstat(fd, &st) && S_ISREG(st.st_mode);
    if (ok) {
        *size_bytes = (uint64_t)st.st_size;
        ok = by_cachestat(fd, cached_bytes) || by_mincore(fd, *size_bytes, cached_bytes);
    }
    if (fd >= 0) {
        close(fd);
    }
    return ok;
}
