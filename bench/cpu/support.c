/* support.c - what the tests share: memory, commands, checksums of files. */
#include "bench.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

void bench_fail(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fputs("cpubench: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    exit(1);
}

void *bench_memory(size_t size, int small_pages)
{
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        bench_fail("no memory for %zu bytes: %s", size, strerror(errno));
    if (small_pages)
        madvise(p, size, MADV_NOHUGEPAGE);
    memset(p, 0, size);
    return p;
}

static void redirect(int fd, const char *path, int flags)
{
    int opened = open(path ? path : "/dev/null", flags, 0600);
    if (opened < 0 || dup2(opened, fd) < 0)
        bench_fail("cannot open %s: %s", path ? path : "/dev/null", strerror(errno));
    close(opened);
}

void bench_command(const char *input, const char *output, char *const argv[])
{
    pid_t pid = fork();
    if (pid < 0)
        bench_fail("fork: %s", strerror(errno));
    if (pid == 0) {
        redirect(0, input, O_RDONLY);
        redirect(1, output, O_WRONLY | O_CREAT | O_TRUNC);
        char *environment[] = {"PATH=/usr/bin:/bin",
                               "LC_ALL=C",
                               "PYTHONDONTWRITEBYTECODE=1",
                               "PYTHONHASHSEED=0",
                               "PERL_HASH_SEED=0",
                               "HOME=/tmp",
                               NULL};
        execve(argv[0], argv, environment);
        bench_fail("cannot run %s: %s", argv[0], strerror(errno));
    }
    int status;
    if (waitpid(pid, &status, 0) != pid || status != 0)
        bench_fail("%s ended with status 0x%x", argv[0], status);
}

uint64_t bench_mix_bytes(uint64_t sum, const void *data, size_t size)
{
    const unsigned char *p = data;
    for (; size >= 8; size -= 8, p += 8) {
        uint64_t word;
        memcpy(&word, p, 8);
        sum = bench_mix(sum, word);
    }
    for (; size; size--)
        sum = bench_mix(sum, *p++);
    return sum;
}

static uint64_t file_sum(const char *path)
{
    static unsigned char buffer[65536];
    FILE *f = fopen(path, "re");
    if (!f)
        bench_fail("cannot open %s: %s", path, strerror(errno));
    uint64_t sum = 1;
    size_t got;
    while ((got = fread(buffer, 1, sizeof buffer, f)) > 0)
        sum = bench_mix_bytes(sum, buffer, got);
    fclose(f);
    return sum;
}

uint64_t bench_output_sum(void)
{
    return file_sum(BENCH_OUTPUT);
}
