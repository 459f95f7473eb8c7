/* test_stdio - the user's terminal: raw while in use, as found after every kind of end. */
#include "base/util.h"
#include "chardev/chardev.h"

#include <glib.h>
#include <pty.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

static size_t room(void *opaque)
{
    return 64;
}

/* The child obeys single letters, among them the ones a cooked terminal would turn to signals. */
static void obey(void *opaque, const uint8_t *buf, size_t len)
{
    struct chardev_fe **f = opaque;
    switch (buf[0]) {
    case 0x03:
        chardev_write(*f, (const uint8_t *)"ctrl-c\n", 7);
        break;
    case 'e':
        exit(0);
    case 'c':
        chardev_detach(*f);
        chardev_close_all();
        _exit(0);
    case 's':
        raise(SIGSEGV);
        break;
    default:
        break;
    }
}

static const struct chardev_fe_ops ops = {.can_read = room, .read = obey};

static void child(void)
{
    static struct chardev_fe *f;
    struct chardev *c = chardev_open_legacy("mon:stdio", "t", false, NULL);
    f = c ? chardev_attach(c, &ops, &f, NULL) : NULL;
    if (!f) {
        _exit(9);
    }
    chardev_write(f, (const uint8_t *)"ready\n", 6);
    for (;;) {
        g_main_context_iteration(NULL, TRUE);
    }
}

static void expect(int fd, const char *word)
{
    char buf[256] = "";
    size_t have = 0;
    while (!strstr(buf, word) && have < sizeof(buf) - 1) {
        ssize_t n = read(fd, buf + have, sizeof(buf) - 1 - have);
        g_assert_cmpint(n, >, 0);
        have += n;
        buf[have] = '\0';
    }
    g_assert_nonnull(strstr(buf, word));
}

static void run(const char *letter, int sig)
{
    int master, status;
    struct termios found, now;
    pid_t pid = forkpty(&master, NULL, NULL, NULL);
    g_assert_cmpint(pid, >=, 0);
    if (pid == 0) {
        child();
    }
    expect(master, "ready");
    g_assert_cmpint(tcgetattr(master, &now), ==, 0);
    g_assert_cmpuint(now.c_lflag & (ICANON | ECHO | ISIG), ==, 0);
    g_assert_cmpuint(now.c_oflag & OPOST, ==, OPOST);
    g_assert_cmpint(write(master, "\x03", 1), ==, 1);
    expect(master, "ctrl-c");
    found = now;
    if (letter) {
        g_assert_cmpint(write(master, letter, 1), ==, 1);
    } else {
        kill(pid, sig);
    }
    g_assert_cmpint(waitpid(pid, &status, 0), ==, pid);
    if (letter && *letter != 's') {
        g_assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    } else {
        g_assert_true(WIFSIGNALED(status));
    }
    g_assert_cmpint(tcgetattr(master, &now), ==, 0);
    g_assert_cmpuint(now.c_lflag & (ICANON | ECHO | ISIG), ==, ICANON | ECHO | ISIG);
    g_assert_cmpuint(now.c_lflag, !=, found.c_lflag);
    close(master);
}

static void test_restored_at_close(void)
{
    run("c", 0);
}

static void test_restored_at_exit(void)
{
    run("e", 0);
}

static void test_restored_by_sigterm(void)
{
    run(NULL, SIGTERM);
}

static void test_restored_by_crash(void)
{
    /* Only a signal nobody else handles is ours; a sanitizer takes this one itself. */
    struct sigaction now;
    g_assert_cmpint(sigaction(SIGSEGV, NULL, &now), ==, 0);
    if (now.sa_handler != SIG_DFL) {
        g_test_skip("something else handles SIGSEGV in this build");
        return;
    }
    run("s", 0);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/stdio/close", test_restored_at_close);
    g_test_add_func("/stdio/exit", test_restored_at_exit);
    g_test_add_func("/stdio/sigterm", test_restored_by_sigterm);
    g_test_add_func("/stdio/crash", test_restored_by_crash);
    return g_test_run();
}
