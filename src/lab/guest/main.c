/* main.c - starting as the guest's first process, and the loop over commands. */
#include "guest.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define WORDS_MAX 12

uint64_t guest_now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

void guest_error(FILE *out, const char *what)
{
    fprintf(out, "error %s: %s\n", what, strerror(errno));
}

void guest_number(FILE *out, const char *key, uint64_t value)
{
    fprintf(out, "%s %llu\n", key, (unsigned long long)value);
}

/* ---- commands ---- */

static const struct guest_command *find(const char *name)
{
    static const struct guest_command *const tables[] = {work_commands, disk_commands,
                                                         system_commands};
    for (unsigned t = 0; t < sizeof(tables) / sizeof(tables[0]); t++) {
        for (const struct guest_command *c = tables[t]; c->name; c++) {
            if (!strcmp(c->name, name))
                return c;
        }
    }
    return NULL;
}

static void obey(FILE *out, char *line)
{
    char *word[WORDS_MAX + 1] = {0}, *rest = NULL;
    int count = 0;
    for (char *w = strtok_r(line, " \n", &rest); w && count < WORDS_MAX;
         w = strtok_r(NULL, " \n", &rest))
        word[count++] = w;
    if (!count)
        return;
    const struct guest_command *c = find(word[0]);
    if (!c)
        fprintf(out, "error there is no command '%s'\n", word[0]);
    else if (count - 1 != c->words)
        fprintf(out, "error '%s' takes %d words\n", c->name, c->words);
    else
        c->run(out, word + 1);
    fputs(".\n", out);
    fflush(out);
}

static void serve(FILE *in, FILE *out)
{
    char line[512];
    while (fgets(line, sizeof(line), in))
        obey(out, line);
}

/* ---- the first process ---- */

/* What the kernel's command line says to the module in "07-x.ko": "x.a=1 x.b=2" is "a=1 b=2 ". */
static void module_parameters(const char *file, char *out, size_t size)
{
    char line[2048] = "", *rest = NULL;
    const char *name = file + strspn(file, "0123456789-");
    size_t len = strcspn(name, "."), used = 0;
    FILE *f = fopen("/proc/cmdline", "r");
    *out = 0;
    if (!f || !fgets(line, sizeof(line), f))
        line[0] = 0;
    if (f)
        fclose(f);
    for (char *w = strtok_r(line, " \n", &rest); w; w = strtok_r(NULL, " \n", &rest)) {
        if (!strncmp(w, name, len) && w[len] == '.' && used + strlen(w + len) < size)
            used += (size_t)snprintf(out + used, size - used, "%s ", w + len + 1);
    }
}

static void load_module(const char *name)
{
    char path[300], parameters[256];
    snprintf(path, sizeof(path), "/lib/modules/%s", name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    module_parameters(name, parameters, sizeof(parameters));
    if (syscall(SYS_finit_module, fd, parameters, 0) && errno != EEXIST && errno != ENODEV)
        fprintf(stderr, "lab: %s: %s\n", name, strerror(errno));
    close(fd);
}

static void load_modules(void)
{
    struct dirent **list;
    int n = scandir("/lib/modules", &list, NULL, alphasort);
    for (int i = 0; i < n; i++) {
        if (list[i]->d_name[0] != '.')
            load_module(list[i]->d_name);
    }
}

/* The device of the port named "lab", which appears some time after its driver. */
static int open_port(void)
{
    for (int tries = 0; tries < 3000; tries++) {
        struct dirent **list;
        int n = scandir("/sys/class/virtio-ports", &list, NULL, alphasort);
        for (int i = 0; i < n; i++) {
            char path[600], name[64] = "";
            snprintf(path, sizeof(path), "/sys/class/virtio-ports/%s/name", list[i]->d_name);
            FILE *f = fopen(path, "r");
            if (f && fgets(name, sizeof(name), f) && !strcmp(name, "lab\n")) {
                fclose(f);
                snprintf(path, sizeof(path), "/dev/%s", list[i]->d_name);
                return open(path, O_RDWR | O_CLOEXEC);
            }
            if (f)
                fclose(f);
        }
        usleep(10000);
    }
    return -1;
}

static int first_process(void)
{
    mkdir("/proc", 0755);
    mkdir("/sys", 0755);
    mkdir("/dev", 0755);
    mount("proc", "/proc", "proc", 0, NULL);
    mount("sysfs", "/sys", "sysfs", 0, NULL);
    mount("dev", "/dev", "devtmpfs", 0, NULL);
    int console = open("/dev/console", O_RDWR);
    if (console >= 0) {
        dup2(console, 1);
        dup2(console, 2);
    }
    load_modules();
    int fd = open_port();
    if (fd < 0) {
        fprintf(stderr, "lab: the host gives no port 'lab'\n");
        return 1;
    }
    FILE *in = fdopen(fd, "r"), *out = fdopen(dup(fd), "w");
    fputs("ready\n", out);
    fflush(out);
    for (;;) { /* the host may close its side and come back */
        serve(in, out);
        clearerr(in);
        usleep(10000);
    }
}

int main(void)
{
    if (getpid() == 1)
        return first_process();
    serve(stdin, stdout);
    return 0;
}
