/* stdio.c - the user's own terminal (or a pipe) as a chardev.
 *
 * A terminal is put into raw mode; with signal=off Ctrl-C, Ctrl-\ and Ctrl-Z go to the guest.  The
 * modes found are put back on every way out: close, exit(), a deadly signal, a crash.  After
 * stop/continue (SIGTSTP from elsewhere, SIGCONT) raw mode is set again.
 *
 * Standard output's file description is shared with the shell and others, so it must not become
 * non-blocking.  Terminals and pipes are reopened through /proc, which gives a description of our
 * own. */
#include "internal.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

/* Read by signal handlers: written before they are installed. */
static struct termios saved_modes, raw_modes;
static volatile sig_atomic_t terminal_is_raw;
static struct chardev *user;
static bool exit_hook_installed;

static const int deadly_signals[] = {SIGINT,  SIGTERM, SIGHUP, SIGQUIT, SIGABRT,
                                     SIGSEGV, SIGBUS,  SIGILL, SIGFPE};

void chardev_restore_terminal(void)
{
    if (terminal_is_raw) {
        terminal_is_raw = 0;
        tcsetattr(STDIN_FILENO, TCSANOW, &saved_modes);
    }
}

static void on_deadly_signal(int sig)
{
    chardev_restore_terminal();
    raise(sig); /* SA_RESETHAND: the default action now */
}

static void on_continue(int sig)
{
    int saved_errno = errno;
    /* Writing terminal modes from the background would stop us again. */
    if (terminal_is_raw && tcgetpgrp(STDIN_FILENO) == getpgrp()) {
        tcsetattr(STDIN_FILENO, TCSANOW, &raw_modes);
    }
    errno = saved_errno;
}

static void install_handlers(void)
{
    struct sigaction sa = {.sa_handler = on_deadly_signal, .sa_flags = SA_RESETHAND | SA_NODEFER};
    for (size_t i = 0; i < ARRAY_SIZE(deadly_signals); i++) {
        struct sigaction old;
        if (!sigaction(deadly_signals[i], NULL, &old) && old.sa_handler == SIG_DFL) {
            sigaction(deadly_signals[i], &sa, NULL);
        }
    }
    struct sigaction cont = {.sa_handler = on_continue, .sa_flags = SA_RESTART};
    sigaction(SIGCONT, &cont, NULL);
    if (!exit_hook_installed) {
        exit_hook_installed = true;
        atexit(chardev_restore_terminal);
    }
}

static void set_raw(bool keep_signals)
{
    if (tcgetattr(STDIN_FILENO, &saved_modes)) {
        return; /* a pipe or /dev/null: nothing to set or restore */
    }
    raw_modes = saved_modes;
    cfmakeraw(&raw_modes);
    raw_modes.c_oflag |= OPOST; /* our own messages end lines with \n only */
    if (keep_signals) {
        raw_modes.c_lflag |= ISIG;
    }
    raw_modes.c_cc[VMIN] = 1;
    raw_modes.c_cc[VTIME] = 0;
    install_handlers();
    terminal_is_raw = 1;
    tcsetattr(STDIN_FILENO, TCSANOW, &raw_modes);
}

/* A description of our own for descriptor fd, non-blocking where it can block. */
static int own_description(int fd, int mode)
{
    struct stat st;
    if (!fstat(fd, &st) && (S_ISFIFO(st.st_mode) || isatty(fd))) {
        g_autofree char *path = g_strdup_printf("/proc/self/fd/%d", fd);
        int again = open(path, mode | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
        if (again >= 0) {
            return again;
        }
    }
    return fcntl(fd, F_DUPFD_CLOEXEC, 3);
}

static bool stdio_open(struct chardev *c, struct props *p, GError **err)
{
    bool keep_signals = true;
    if (!props_get_bool(p, "signal", &keep_signals, err)) {
        return false;
    }
    if (user) {
        return error_set(
            err, HANOK_ERROR_BUSY,
            "standard input and output are already used by chardev '%s'; give that one "
            "mux=on and name it here as chardev:%s",
            user->id, user->id);
    }
    int in = own_description(STDIN_FILENO, O_RDONLY),
        out = own_description(STDOUT_FILENO, O_WRONLY);
    if (in < 0 && out < 0) {
        return error_errno(err, errno, "could not use standard input and output");
    }
    user = c;
    set_raw(keep_signals);
    stream_connect(c, in, out, 0);
    return true;
}

static void stdio_close(struct chardev *c)
{
    if (user == c) {
        user = NULL;
        chardev_restore_terminal();
    }
}

static const char *const options[] = {"signal", NULL};

const struct chardev_driver stdio_driver = {
    .name = "stdio",
    .help = "standard input and output of this process",
    .options = options,
    .open = stdio_open,
    .close = stdio_close,
};
