/* process.c - fork and wait; fork, exec of this program, and wait. */
#include "bench.h"

#include <sys/wait.h>
#include <unistd.h>

static uint64_t wait_for(pid_t pid)
{
    int status;
    if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFEXITED(status))
        bench_fail("a child did not end as it should");
    return (uint64_t)WEXITSTATUS(status);
}

static uint64_t run_fork(uint64_t n)
{
    uint64_t sum = 0;
    for (uint64_t i = 0; i < n; i++) {
        pid_t pid = fork();
        if (pid == 0)
            _exit((int)(i & 63));
        sum = bench_mix(sum, wait_for(pid));
    }
    return sum;
}

/* Without arguments this program says how it is used and exits with 1; its words go nowhere. */
static uint64_t run_exec(uint64_t n)
{
    uint64_t sum = 0;
    for (uint64_t i = 0; i < n; i++) {
        pid_t pid = fork();
        if (pid == 0) {
            close(2);
            char *argv[] = {"cpubench", NULL}, *environment[] = {NULL};
            execve("/proc/self/exe", argv, environment);
            _exit(99);
        }
        sum = bench_mix(sum, wait_for(pid));
    }
    return sum;
}

const struct bench_test bench_fork = {
    .name = "os/fork-wait", .run = run_fork, .work = 1500, .minimum = 1, .cpus = 1};
const struct bench_test bench_exec = {
    .name = "os/fork-exec-wait", .run = run_exec, .work = 250, .minimum = 1, .cpus = 1};
