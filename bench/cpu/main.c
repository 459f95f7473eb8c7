/* main.c - the list of tests, and how one of them runs.
 *
 *   cpubench list                        NAME CPUS, one a line
 *   cpubench run NAME SCALE [--wait]     runs one test; prints its result line
 *   cpubench serve PORT                  in a guest: does what the host asks for on a character
 * device
 *
 * The result line is `done CHECKSUM CPU-NS WALL-NS UNITS`: CPU time of this process and the
 * children it waited for.  With --wait it says `ready` before the work and `done ...` after it, and
 * reads a line from standard input after each, so that the host can look at clocks while the guest
 * is idle. serve says `up`, then answers each line `NAME SCALE` by such a run on the port and
 * `ended STATUS`. */
#include "bench.h"
#include "tests.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/reboot.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define LISTED(test) &test,
static const struct bench_test *const tests[] = {BENCH_TESTS(LISTED)};

static const struct bench_test *find(const char *name)
{
    for (size_t i = 0; i < sizeof tests / sizeof *tests; i++)
        if (!strcmp(tests[i]->name, name))
            return tests[i];
    bench_fail("there is no test '%s' (cpubench list shows them)", name);
}

static void list(void)
{
    for (size_t i = 0; i < sizeof tests / sizeof *tests; i++)
        printf("%s %d\n", tests[i]->name, tests[i]->cpus);
}

static uint64_t wall_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static uint64_t cpu_ns(void)
{
    uint64_t sum = 0;
    for (int who = RUSAGE_CHILDREN; who <= RUSAGE_SELF; who++) {
        struct rusage u;
        getrusage(who, &u);
        sum += (uint64_t)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1000000000u +
               (uint64_t)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) * 1000u;
    }
    return sum;
}

static void wait_for_host(void)
{
    char c = 0;
    ssize_t got;
    fflush(stdout);
    do
        got = read(0, &c, 1);
    while ((got < 0 && errno == EINTR) || (got == 1 && c != '\n'));
    if (got != 1)
        bench_fail("the host has gone");
}

static void run(const struct bench_test *test, double scale, int wait)
{
    uint64_t n = (uint64_t)((double)test->work * scale);
    if (n < test->minimum)
        n = test->minimum;
    if (test->setup)
        test->setup(n);
    if (wait) {
        puts("ready");
        wait_for_host();
    }
    uint64_t cpu = cpu_ns(), wall = wall_ns();
    uint64_t sum = test->run(n);
    cpu = cpu_ns() - cpu;
    wall = wall_ns() - wall;
    if (wait) {
        puts("stop");
        wait_for_host();
    }
    if (test->finish)
        sum = bench_mix(sum, test->finish());
    printf("done %016llx %llu %llu %llu\n", (unsigned long long)sum, (unsigned long long)cpu,
           (unsigned long long)wall, (unsigned long long)n);
    fflush(stdout);
}

static double scale_of(const char *text)
{
    char *end;
    double scale = strtod(text, &end);
    if (*end || !(scale > 0 && scale <= 1000))
        bench_fail("'%s' is not a scale (0.01 to 1000)", text);
    return scale;
}

static int serve_one(int port, char *line)
{
    char *space = strchr(line, ' ');
    if (!space)
        bench_fail("the host asked for '%s'", line);
    *space = 0;
    pid_t pid = fork();
    if (pid < 0)
        bench_fail("fork: %s", strerror(errno));
    if (pid == 0) {
        if (dup2(port, 0) < 0 || dup2(port, 1) < 0)
            bench_fail("dup2: %s", strerror(errno));
        char *argv[] = {"/bench/cpubench", "run", line, space + 1, "--wait", NULL};
        execv(argv[0], argv);
        bench_fail("exec: %s", strerror(errno));
    }
    int status = 0;
    waitpid(pid, &status, 0);
    return status;
}

static void serve(const char *path)
{
    int port = open(path, O_RDWR | O_CLOEXEC);
    if (port < 0)
        bench_fail("cannot open %s: %s", path, strerror(errno));
    dprintf(port, "up\n");
    char line[256];
    size_t length = 0;
    for (;;) {
        ssize_t got = read(port, line + length, 1);
        if (got == 0) { /* nobody at the other end yet, or any more */
            usleep(20000);
            continue;
        }
        if (got < 0 || length == sizeof line - 1)
            bench_fail("the port broke: %s", strerror(errno));
        if (line[length] != '\n') {
            length++;
            continue;
        }
        line[length] = 0;
        length = 0;
        if (!strcmp(line, "poweroff"))
            reboot(RB_POWER_OFF);
        dprintf(port, "ended %d\n", serve_one(port, line));
    }
}

int main(int argc, char **argv)
{
    if (argc == 2 && !strcmp(argv[1], "list"))
        list();
    else if (argc == 3 && !strcmp(argv[1], "serve"))
        serve(argv[2]);
    else if ((argc == 4 || argc == 5) && !strcmp(argv[1], "run"))
        run(find(argv[2]), scale_of(argv[3]), argc == 5 && !strcmp(argv[4], "--wait"));
    else
        bench_fail("usage: cpubench list | run NAME SCALE [--wait] | serve PORT");
    return 0;
}
