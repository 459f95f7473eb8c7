/* pipe.c - one byte to and fro between two processes: system calls, wake-ups, address-space
 * switches. */
#include "bench.h"

#include <sys/wait.h>
#include <unistd.h>

static uint64_t run(uint64_t n)
{
    int there[2], back[2];
    unsigned char byte = 1;
    uint64_t sum = 0;
    if (pipe(there) || pipe(back))
        bench_fail("no pipe");
    pid_t pid = fork();
    if (pid < 0)
        bench_fail("no fork");
    if (pid == 0) {
        close(there[1]);
        while (read(there[0], &byte, 1) == 1) {
            byte = (unsigned char)(byte * 5 + 1);
            if (write(back[1], &byte, 1) != 1)
                break;
        }
        _exit(0);
    }
    close(there[0]);
    for (uint64_t i = 0; i < n; i++) {
        if (write(there[1], &byte, 1) != 1 || read(back[0], &byte, 1) != 1)
            bench_fail("the pipe broke");
        sum = sum * 31 + byte;
    }
    close(there[1]);
    close(back[0]);
    close(back[1]);
    waitpid(pid, NULL, 0);
    return sum;
}

const struct bench_test bench_pipe = {
    .name = "os/pipe", .run = run, .work = 8000, .minimum = 1, .cpus = 1};
