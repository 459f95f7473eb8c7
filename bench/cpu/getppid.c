/* getppid.c - the shortest system call, over and over: entry and exit of the kernel. */
#include "bench.h"

#include <sys/syscall.h>
#include <unistd.h>

static uint64_t run(uint64_t n)
{
    long first = syscall(SYS_getppid);
    uint64_t same = 0;
    for (uint64_t i = 0; i < n; i++)
        same += syscall(SYS_getppid) == first;
    return same;
}

const struct bench_test bench_getppid = {
    .name = "os/getppid", .run = run, .work = 1000000, .minimum = 1, .cpus = 1};
