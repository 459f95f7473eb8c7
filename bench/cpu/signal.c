/* signal.c - signals: raised by a system call and by a fault, handled, returned from. */
#include "bench.h"

#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static volatile uint64_t handled;
static unsigned char *guarded;

static void count(int number)
{
    (void)number;
    handled++;
}

static void open_guard(int number)
{
    (void)number;
    handled += 3;
    mprotect(guarded, 4096, PROT_READ | PROT_WRITE);
}

static uint64_t run(uint64_t n)
{
    struct sigaction action = {.sa_handler = count};
    sigaction(SIGUSR1, &action, NULL);
    action.sa_handler = open_guard;
    sigaction(SIGSEGV, &action, NULL);
    guarded = bench_memory(4096, 0);
    for (uint64_t i = 0; i < n; i++) {
        raise(SIGUSR1);
        if (i % 4 == 0) {
            mprotect(guarded, 4096, PROT_NONE);
            *(volatile unsigned char *)guarded = (unsigned char)i;
        }
    }
    return handled;
}

const struct bench_test bench_signal = {
    .name = "os/signal", .run = run, .work = 50000, .minimum = 1, .cpus = 1};
