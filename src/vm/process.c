/* process.c - background, pid file and signals. */
#include "process.h"

#include "base/error.h"
#include "base/evloop.h"
#include "base/log.h"
#include "base/util.h"
#include "machine/machine.h"

#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- background ---- */

static int ready_pipe = -1;

static G_GNUC_NORETURN void wait_for_child(int fd)
{
    char byte;
    ssize_t n;
    do {
        n = read(fd, &byte, 1);
    } while (n < 0 && errno == EINTR);
    _exit(n == 1 ? 0 : 1);
}

bool daemon_fork(GError **err)
{
    int fds[2];
    if (pipe2(fds, O_CLOEXEC)) {
        return error_errno(err, errno, "-daemonize: could not make a pipe");
    }
    pid_t pid = fork();
    if (pid < 0) {
        return error_errno(err, errno, "-daemonize: could not fork");
    }
    if (pid > 0) {
        close(fds[1]);
        wait_for_child(fds[0]);
    }
    close(fds[0]);
    ready_pipe = fds[1];
    setsid();
    umask(027);
    return true;
}

void daemon_ready(void)
{
    if (ready_pipe < 0) {
        return;
    }
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null >= 0) {
        dup2(null, STDIN_FILENO);
        dup2(null, STDOUT_FILENO);
        dup2(null, STDERR_FILENO);
        close(null);
    }
    if (chdir("/")) {
        log_warning("Could not go to the directory /: %s", g_strerror(errno));
    }
    ssize_t told = write(ready_pipe, "", 1);
    if (told != 1) {
        log_warning("Nobody waits for this process to be ready.");
    }
    close(ready_pipe);
    ready_pipe = -1;
}

/* ---- pid file ---- */

static int pidfile_fd = -1;
static char *pidfile_path;

bool pidfile_create(const char *path, GError **err)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    char text[24];
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0) {
        return error_errno(err, errno, "could not create the pid file '%s'", path);
    }
    if (fcntl(fd, F_OFD_SETLK, &lock)) {
        close(fd);
        return error_set(err, HANOK_ERROR_BUSY,
                         "the pid file '%s' is locked by another machine that still runs", path);
    }
    int len = snprintf(text, sizeof(text), "%d\n", getpid());
    if (ftruncate(fd, 0) || pwrite(fd, text, len, 0) != len) {
        error_errno(err, errno, "could not write the pid file '%s'", path);
        close(fd);
        return false;
    }
    pidfile_fd = fd; /* stays open: it holds the lock */
    pidfile_path = g_canonicalize_filename(path, NULL);
    return true;
}

void pidfile_remove(void)
{
    struct stat ours, there;
    if (pidfile_fd < 0) {
        return;
    }
    /* Somebody may have put another file in its place. */
    if (!fstat(pidfile_fd, &ours) && !stat(pidfile_path, &there) && ours.st_ino == there.st_ino &&
        ours.st_dev == there.st_dev) {
        unlink(pidfile_path);
    }
    close(pidfile_fd);
    pidfile_fd = -1;
    g_clear_pointer(&pidfile_path, g_free);
}

/* ---- signals ---- */

static int signal_fd = -1;

bool signals_init(GError **err)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGHUP);
    signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (signal_fd < 0 || pthread_sigmask(SIG_BLOCK, &set, NULL)) {
        return error_errno(err, errno, "could not take over signals");
    }
    return true;
}

static void on_signal(void *opaque, int fd, uint32_t events)
{
    struct signalfd_siginfo info;
    if (read(fd, &info, sizeof(info)) == sizeof(info)) {
        machine_request_shutdown(opaque, CAUSE_HOST_SIGNAL);
    }
}

void signals_attach(struct machine *m)
{
    evloop_fd_add(evloop_main(), signal_fd, EPOLLIN, on_signal, m);
}

/* ---- why it ended ---- */

static int report_fd = -1;

bool exit_report_open(GError **err)
{
    const char *path = g_getenv("HANOK_EXIT_REPORT");
    if (!path || !*path) {
        return true;
    }
    report_fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    return report_fd >= 0 ||
           error_errno(err, errno, "could not write '%s' (HANOK_EXIT_REPORT)", path);
}

static void report_event(void *opaque, const char *name, json_t *data)
{
    if (strcmp(name, "SHUTDOWN") && strcmp(name, "GUEST_PANICKED")) {
        return;
    }
    bool panic = *name == 'G';
    char *text = panic ? NULL : json_dumps(data, JSON_COMPACT);
    const char *line = panic ? "{\"guest\":true,\"reason\":\"guest-panic\"}" : text;
    ssize_t n = line ? (ssize_t)strlen(line) : 0;
    /* A report that cannot be written is none: the machine's end is not held up by it. */
    if (line && (ftruncate(report_fd, 0) || pwrite(report_fd, line, (size_t)n, 0) != n)) {
        log_warning("The reason of the end could not be noted: %s.", strerror(errno));
    }
    free(text);
}

void exit_report_attach(struct machine *m)
{
    if (report_fd >= 0) {
        machine_subscribe(m, report_event, NULL);
    }
}
