/* screen.c - a whole terminal; escape sequences that every terminal of today knows (ECMA-48,
 * xterm's second screen). */
#include "screen.h"

#include "base/evloop.h"

#include <errno.h>
#include <glib.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#define TAKE "\033[?1049h\033[?25l\033[?7l" /* second screen, no cursor, lines do not wrap */
#define BACK "\033[?7h\033[?25h\033[?1049l"

static struct termios before;
static sigset_t outside; /* the signals that are blocked but while a key is awaited */
static volatile sig_atomic_t resized, stop_asked;

static void out(const char *text, size_t len)
{
    while (len) {
        ssize_t n = write(STDOUT_FILENO, text, len);
        if (n < 0 && errno != EINTR) {
            return; /* the terminal is gone; the next read says so */
        }
        text += n > 0 ? n : 0;
        len -= n > 0 ? (size_t)n : 0;
    }
}

static void take(void)
{
    struct termios raw = before;
    raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
    raw.c_cc[VMIN] = 1;
    raw.c_cc[VTIME] = 0;
    tcsetattr(STDIN_FILENO, TCSANOW, &raw);
    out(TAKE, sizeof(TAKE) - 1);
}

/* Calls only what a signal handler may. */
void screen_back(void)
{
    out(BACK, sizeof(BACK) - 1);
    tcsetattr(STDIN_FILENO, TCSANOW, &before);
}

static void ended(int sig)
{
    screen_back();
    signal(sig, SIG_DFL);
    raise(sig); /* delivered when this returns: the shell sees what ended it */
}

static void noted(int sig)
{
    if (sig == SIGTSTP) {
        stop_asked = 1;
    } else {
        resized = 1;
    }
}

void screen_take(void)
{
    static const int ending[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT}, noting[] = {SIGWINCH, SIGTSTP};
    sigset_t set;
    tcgetattr(STDIN_FILENO, &before);
    sigemptyset(&set);
    for (unsigned i = 0; i < G_N_ELEMENTS(noting); i++) {
        sigaction(noting[i], &(struct sigaction){.sa_handler = noted}, NULL);
        sigaddset(&set, noting[i]);
    }
    sigprocmask(SIG_BLOCK, &set, &outside);
    for (unsigned i = 0; i < G_N_ELEMENTS(ending); i++) {
        sigaction(ending[i], &(struct sigaction){.sa_handler = ended}, NULL);
    }
    take();
}

void screen_size(unsigned *rows, unsigned *columns)
{
    struct winsize w = {0};
    ioctl(STDOUT_FILENO, TIOCGWINSZ, &w);
    *rows = w.ws_row ? w.ws_row : 24; /* a serial line does not know */
    *columns = w.ws_col ? w.ws_col : 80;
}

void screen_paint(const char *text, const char *bottom)
{
    unsigned rows, columns, row = 1;
    GString *o = g_string_new("\033[H");
    screen_size(&rows, &columns);
    for (const char *nl; *text && row < rows; text = nl + (*nl ? 1 : 0), row++) {
        nl = strchrnul(text, '\n');
        g_string_append(o, "\033[K"); /* before the text: after it the last letter would go */
        g_string_append_len(o, text, nl - text); /* the terminal cuts: it knows letters' width */
        g_string_append(o, "\r\n");
    }
    g_string_append_printf(o, "\033[J\033[%u;1H%s", rows, bottom);
    out(o->str, o->len);
    g_string_free(o, TRUE);
}

/* Ctrl-Z: the shell gets its terminal; goes on when it is brought back. */
static void stop_here(void)
{
    screen_back();
    kill(getpid(), SIGSTOP);
    take();
    resized = 1;
}

/* What is typed already, or 0. */
static char more(void)
{
    struct pollfd p = {.fd = STDIN_FILENO, .events = POLLIN};
    char c = 0;
    return poll(&p, 1, 0) > 0 && read(STDIN_FILENO, &c, 1) == 1 ? c : 0;
}

/* Arrows and the like are ESC [ or ESC O, then up to a letter or ~: they mean nothing here. */
static int read_key(void)
{
    char key;
    ssize_t n = read(STDIN_FILENO, &key, 1);
    if (n != 1) {
        return n < 0 && errno == EINTR ? SCREEN_RESIZED : SCREEN_GONE;
    }
    if (key == '\033') {
        char c = more();
        if (c == '[' || c == 'O') {
            for (c = more(); c && (c < '@' || c > '~');) {
                c = more();
            }
        }
        return SCREEN_RESIZED;
    }
    return (unsigned char)key;
}

int screen_key(uint64_t until_ns)
{
    for (;;) {
        uint64_t now = host_clock_ns();
        if (stop_asked) {
            stop_asked = 0;
            stop_here();
        }
        if (resized) {
            resized = 0;
            return SCREEN_RESIZED;
        }
        if (now >= until_ns) {
            return SCREEN_TIME;
        }
        struct timespec left = {.tv_sec = (time_t)((until_ns - now) / 1000000000u),
                                .tv_nsec = (long)((until_ns - now) % 1000000000u)};
        struct pollfd p = {.fd = STDIN_FILENO, .events = POLLIN};
        if (ppoll(&p, 1, &left, &outside) > 0) {
            return read_key();
        }
    }
}
