/* proc.h - what the host's kernel says about a process, its threads, its memory and its files.
 *
 * Plain reads of /proc; what cannot be read is false or zero, never an error: processes end while
 * one looks.  One thread. */
#ifndef MANAGER_PROC_H
#define MANAGER_PROC_H

#include <glib.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* /proc/PID/task/TID/schedstat */
struct sched_numbers {
    uint64_t run_ns;   /* on a CPU */
    uint64_t delay_ns; /* runnable, but waiting for one: the guest's steal time */
    uint64_t slices;   /* times it was put on a CPU */
    uint64_t
        wait_ns; /* wait_sum of /proc/PID/task/TID/sched where the kernel keeps it, else delay */
};
bool proc_sched(pid_t pid, pid_t tid, struct sched_numbers *out);

struct proc_thread {
    pid_t tid;
    char name[16];
    uint64_t user_ns, system_ns;
    int cpu; /* the one it last ran on */
    struct sched_numbers sched;
};
/* struct proc_thread, in the order of their ids. */
GArray *proc_threads(pid_t pid);

/* "VmRSS" of /proc/PID/status, in KiB; 0 when there is no such line. */
uint64_t proc_status_kib(pid_t pid, const char *key);

/* ---- the picture of a process's memory ---- */

/* Every resident page of the process is in exactly one of them. */
enum memory_part {
    MEMORY_GUEST_RAM,
    MEMORY_JIT_CODE,   /* translated code; mapped twice, so it counts twice in RSS, once in PSS */
    MEMORY_JIT_TABLES, /* decoded instructions, TLBs, block tables */
    MEMORY_STACKS,
    MEMORY_HEAP,   /* the heap and all other anonymous memory */
    MEMORY_FILES,  /* program and libraries */
    MEMORY_SHARED, /* memfds, rings of io_uring, devices */
    MEMORY_PARTS
};
extern const char *const memory_part_names[MEMORY_PARTS]; /* "guest_ram", ... */

struct memory_picture {
    uint64_t rss_kib[MEMORY_PARTS], pss_kib[MEMORY_PARTS], swap_kib[MEMORY_PARTS];
    uint64_t rss_total_kib, pss_total_kib, swap_total_kib; /* sums of these */
    uint64_t guest_ram_mapped_kib;
    uint64_t page_tables_kib;   /* VmPTE: the kernel's, on behalf of the process */
    uint64_t kernel_stacks_kib; /* 16 KiB for each thread */
    unsigned threads;
};
/* areas: the answer of x-query-memory-areas, or NULL (another emulator: guest RAM is then the
 * mapping of guest_kib).  An area that the kernel has merged with a neighbour goes to the larger of
 * the two. */
bool memory_picture(pid_t pid, json_t *areas, uint64_t guest_kib, struct memory_picture *out);

/* Bytes of a file that are in the page cache (cachestat, else mincore); false: not told. */
bool file_cached(const char *path, uint64_t *cached_bytes, uint64_t *size_bytes);

#endif
