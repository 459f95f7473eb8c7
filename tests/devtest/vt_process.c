/* vt_process.c - the board in another process, over the -qtest socket. */
#include "vt.h"

#include <errno.h>
#include <glib/gstdio.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

struct vt_process {
    struct vt_bus bus; /* first */
    GPid pid;
    char *socket_path;
    /* Two streams over one socket: with one, stdio fails to write while an interrupt message is
     * still in its read buffer. */
    FILE *from, *to;
    unsigned irqs;
};

/* The next line that is no interrupt; overwritten by the next call. */
static char *read_line(struct vt_process *p)
{
    static char line[64 * 1024];

    for (;;) {
        g_assert_nonnull(fgets(line, sizeof(line), p->from));
        g_strchomp(line);
        if (!g_str_has_prefix(line, "IRQ "))
            return line;
        p->irqs++;
    }
}

static char *read_answer(struct vt_process *p)
{
    char *line = read_line(p);

    if (!g_str_has_prefix(line, "OK"))
        g_error("hanok-vm answers: %s", line);
    return g_strdup(line[2] ? line + 3 : "");
}

char *vt_process_ask(struct vt_process *p, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vfprintf(p->to, fmt, ap);
    va_end(ap);
    fputc('\n', p->to);
    g_assert_cmpint(fflush(p->to), ==, 0);
    return read_answer(p);
}

void vt_process_refused(struct vt_process *p, const char *command)
{
    fprintf(p->to, "%s\n", command);
    g_assert_cmpint(fflush(p->to), ==, 0);
    g_assert_true(g_str_has_prefix(read_line(p), "FAIL "));
}

static void tell(struct vt_process *p, const char *name, uint64_t addr, uint64_t val)
{
    g_free(vt_process_ask(p, "%s 0x%" PRIx64 " 0x%" PRIx64, name, addr, val));
}

static uint64_t ask_number(struct vt_process *p, const char *name, uint64_t addr)
{
    g_autofree char *a = vt_process_ask(p, "%s 0x%" PRIx64, name, addr);
    return g_ascii_strtoull(a, NULL, 0);
}

static const char *by_size(unsigned size, const char *const names[4])
{
    return names[size == 1 ? 0 : size == 2 ? 1 : size == 4 ? 2 : 3];
}

static void bus_out(struct vt_bus *b, uint16_t port, unsigned size, uint32_t val)
{
    tell((struct vt_process *)b,
         by_size(size, (const char *const[]){"outb", "outw", "outl", "outl"}), port, val);
}

static uint32_t bus_in(struct vt_bus *b, uint16_t port, unsigned size)
{
    return (uint32_t)ask_number((struct vt_process *)b,
                                by_size(size, (const char *const[]){"inb", "inw", "inl", "inl"}),
                                port);
}

static void bus_write(struct vt_bus *b, uint64_t addr, unsigned size, uint64_t val)
{
    tell((struct vt_process *)b,
         by_size(size, (const char *const[]){"writeb", "writew", "writel", "writeq"}), addr, val);
}

static uint64_t bus_read(struct vt_bus *b, uint64_t addr, unsigned size)
{
    return ask_number((struct vt_process *)b,
                      by_size(size, (const char *const[]){"readb", "readw", "readl", "readq"}),
                      addr);
}

static void bus_mem_write(struct vt_bus *b, uint64_t gpa, const void *data, size_t len)
{
    g_autoptr(GString) hex = g_string_sized_new(2 * len);

    for (size_t i = 0; i < len; i++)
        g_string_append_printf(hex, "%02x", ((const uint8_t *)data)[i]);
    g_free(
        vt_process_ask((struct vt_process *)b, "write 0x%" PRIx64 " %zu 0x%s", gpa, len, hex->str));
}

static void bus_mem_read(struct vt_bus *b, uint64_t gpa, void *data, size_t len)
{
    g_autofree char *a = vt_process_ask((struct vt_process *)b, "read 0x%" PRIx64 " %zu", gpa, len);

    g_assert_cmpuint(strlen(a), ==, 2 + 2 * len);
    for (size_t i = 0; i < len; i++)
        ((uint8_t *)data)[i] =
            (uint8_t)(g_ascii_xdigit_value(a[2 + 2 * i]) << 4 | g_ascii_xdigit_value(a[3 + 2 * i]));
}

static void bus_pump(struct vt_bus *b)
{
    g_usleep(200);
}

static int connect_to(const char *path)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};

    g_strlcpy(a.sun_path, path, sizeof(a.sun_path));
    for (int i = 0; i < 500; i++) {
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0)
            return fd;
        close(fd);
        g_usleep(10000);
    }
    g_error("no answer at %s", path);
}

struct vt_process *vt_process_new(const char *program, const char *const *args)
{
    static unsigned running;
    struct vt_process *p = g_new0(struct vt_process, 1);
    g_autoptr(GPtrArray) argv = g_ptr_array_new();
    GError *err = NULL;

    p->socket_path =
        g_strdup_printf("%s/hanok-devtest-%d-%u.sock", g_get_tmp_dir(), getpid(), running++);
    g_autofree char *qtest = g_strdup_printf("unix:%s,server=on,wait=off", p->socket_path);
    const char *const fixed[] = {program,       "-machine", "q35",     "-accel", "qtest",
                                 "-nodefaults", "-display", "none",    "-m",     "64",
                                 "-qtest",      qtest,      "-serial", "none"};
    for (unsigned i = 0; i < ARRAY_SIZE(fixed); i++)
        g_ptr_array_add(argv, (char *)fixed[i]);
    for (; *args; args++)
        g_ptr_array_add(argv, (char *)*args);
    g_ptr_array_add(argv, NULL);
    g_spawn_async(NULL, (char **)argv->pdata, NULL, G_SPAWN_DO_NOT_REAP_CHILD, NULL, NULL, &p->pid,
                  &err);
    g_assert_no_error(err);
    p->bus = (struct vt_bus){.out = bus_out,
                             .in = bus_in,
                             .write = bus_write,
                             .read = bus_read,
                             .mem_write = bus_mem_write,
                             .mem_read = bus_mem_read,
                             .pump = bus_pump,
                             .next_mem = 0x100000,
                             .next_mmio = 0xc8000000};
    int fd = connect_to(p->socket_path);
    p->from = fdopen(fd, "r");
    p->to = fdopen(dup(fd), "w");
    g_assert_true(p->from && p->to);
    return p;
}

void vt_process_free(struct vt_process *p)
{
    int status;

    g_free(vt_process_ask(p, "quit"));
    fclose(p->to);
    fclose(p->from);
    g_assert_cmpint(waitpid(p->pid, &status, 0), ==, p->pid);
    g_assert_true(WIFEXITED(status));
    g_assert_cmpint(WEXITSTATUS(status), ==, 0);
    unlink(p->socket_path);
    g_free(p->socket_path);
    g_free(p);
}

struct vt_bus *vt_process_bus(struct vt_process *p)
{
    return &p->bus;
}

unsigned vt_process_irqs(struct vt_process *p)
{
    return p->irqs;
}
