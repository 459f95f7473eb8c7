/* host.c - loops, counters and files on the host. */
#include "lab_int.h"

#include "manager/threads.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

/* Where the kernel groups processes by session (autogroup), the group's priority is what counts
 * against other sessions: each process becomes a session of its own. */
void raise_priority(const struct lab *lab)
{
    if (!lab->opt.raise) {
        return;
    }
    setpriority(PRIO_PROCESS, 0, RAISED);
    setsid();
    int fd = open("/proc/self/autogroup", O_WRONLY | O_CLOEXEC);
    if (fd >= 0) {
        dprintf(fd, "%d\n", RAISED);
        close(fd);
    }
}

pid_t host_loop_start(struct lab *lab, int cpu)
{
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        cpu_set_t set;
        CPU_ZERO(&set);
        CPU_SET(cpu, &set);
        prctl(PR_SET_PDEATHSIG, SIGKILL); /* not left running by a lab that is killed */
        prctl(PR_SET_NAME, "lab-loop");
        raise_priority(lab);
        sched_setaffinity(0, sizeof(set), &set);
        for (volatile unsigned n = 0;;) {
            n = n + 1;
        }
    }
    if (pid > 0) {
        g_ptr_array_add(lab->loops, GINT_TO_POINTER(pid));
    }
    return pid;
}

void host_loop_stop(struct lab *lab, pid_t pid)
{
    if (pid > 0 && g_ptr_array_remove(lab->loops, GINT_TO_POINTER(pid))) {
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
    }
}

uint64_t process_cpu_ns(pid_t pid)
{
    g_autoptr(GArray) list = proc_threads(pid);
    uint64_t sum = 0;
    for (unsigned i = 0; i < list->len; i++) {
        sum += g_array_index(list, struct proc_thread, i).sched.run_ns;
    }
    return sum;
}

void host_cpu_ticks(int cpu, uint64_t *all, uint64_t *user, uint64_t *system)
{
    g_autofree char *text = NULL, *name = g_strdup_printf("\ncpu%d ", cpu);
    unsigned long long v[8] = {0};
    *all = *user = *system = 0;
    const char *at =
        g_file_get_contents("/proc/stat", &text, NULL, NULL) ? strstr(text, name) : NULL;
    if (!at || sscanf(at + strlen(name), "%llu %llu %llu %llu %llu %llu %llu %llu", &v[0], &v[1],
                      &v[2], &v[3], &v[4], &v[5], &v[6], &v[7]) != 8) {
        return;
    }
    for (unsigned i = 0; i < ARRAY_SIZE(v); i++) {
        *all += v[i];
    }
    *user = v[0] + v[1];
    *system = v[2];
}

uint64_t host_meminfo_kib(const char *key)
{
    g_autofree char *text = NULL, *line = g_strdup_printf("%s:", key);
    const char *at =
        g_file_get_contents("/proc/meminfo", &text, NULL, NULL) ? strstr(text, line) : NULL;
    return at ? g_ascii_strtoull(at + strlen(line), NULL, 10) : 0;
}

bool make_file(const char *path, uint64_t bytes, GError **err)
{
    g_autofree char *block = g_malloc(1 << 20);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    bool ok = fd >= 0;
    memset(block, 0x5a, 1 << 20);
    for (uint64_t at = 0; ok && at < bytes; at += 1 << 20) {
        ok = write(fd, block, 1 << 20) == 1 << 20;
    }
    ok = ok && !fsync(fd);
    int errnum = errno;
    if (fd >= 0) {
        close(fd);
    }
    return ok || error_errno(err, errnum, "cannot write '%s'", path);
}

bool drop_file(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    uint64_t cached = 0, size = 0;
    if (fd < 0) {
        return false;
    }
    fsync(fd);
    bool ok = !posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    close(fd);
    return ok && (!file_cached(path, &cached, &size) || cached < size / 10);
}

bool drop_all_caches(void)
{
    int fd = open("/proc/sys/vm/drop_caches", O_WRONLY | O_CLOEXEC);
    if (fd < 0) {
        return false;
    }
    sync();
    bool ok = write(fd, "3\n", 2) == 2;
    close(fd);
    return ok;
}

void sleep_ms(unsigned ms)
{
    g_usleep((gulong)ms * 1000);
}

void progress_line(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    g_autofree char *text = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    fprintf(stderr, "  ->  %s\n", text);
}
