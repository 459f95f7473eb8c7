/* progress.c - how far a verb is, as qemu-img shows it. */
#include "img.h"

#include <stdio.h>

static volatile sig_atomic_t asked;

static void on_usr1(int sig)
{
    asked = 1;
}

static void show(double percent)
{
    printf("    (%3.2f/100%%)\r", percent);
    fflush(stdout);
}

void img_progress_begin(struct img_progress *p, bool shown)
{
    struct sigaction sa = {.sa_handler = on_usr1, .sa_flags = SA_RESTART};

    sigaction(SIGUSR1, &sa, NULL);
    *p = (struct img_progress){.shown = shown};
    if (shown) {
        show(0);
    }
}

void img_progress(struct img_progress *p, uint64_t done, uint64_t total)
{
    double now = total ? 100.0 * (double)done / (double)total : 100.0;

    if (asked) {
        asked = 0;
        show(now);
    } else if (p->shown && (now > p->last + 1 || (now >= 100 && p->last < 100))) {
        p->last = now;
        show(now);
    }
}

void img_progress_end(struct img_progress *p)
{
    if (p->shown) {
        if (p->last < 100) {
            show(100);
        }
        putchar('\n');
    }
}
