/* system.c - the guest's memory, and its end. */
#include "guest.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/reboot.h>
#include <sys/utsname.h>
#include <unistd.h>

#define MIB 1048576u

static unsigned char *held;
static size_t held_bytes;

static void meminfo(FILE *out, char **word)
{
    char line[128], key[64];
    unsigned long long v;
    FILE *f = fopen("/proc/meminfo", "r");
    (void)word;
    while (f && fgets(line, sizeof(line), f)) {
        if (sscanf(line, "%63[^:]: %llu", key, &v) == 2)
            guest_number(out, key, v);
    }
    if (f)
        fclose(f);
}

static void touch(FILE *out, char **word)
{
    held_bytes = strtoull(word[0], NULL, 10) * MIB;
    held = mmap(NULL, held_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (held == MAP_FAILED) {
        held = NULL;
        guest_error(out, "mmap");
        return;
    }
    for (size_t i = 0; i < held_bytes; i += 4096)
        held[i] = (unsigned char)(i >> 12) | 1;
    guest_number(out, "bytes", held_bytes);
}

static void untouch(FILE *out, char **word)
{
    (void)word;
    if (held)
        munmap(held, held_bytes);
    held = NULL;
    guest_number(out, "bytes", held_bytes);
}

static void drop_caches(FILE *out, char **word)
{
    (void)word;
    FILE *f = fopen("/proc/sys/vm/drop_caches", "w");
    sync();
    if (!f || fputs("3\n", f) < 0)
        guest_error(out, "drop_caches");
    if (f)
        fclose(f);
}

static void about(FILE *out, char **word)
{
    struct utsname u;
    (void)word;
    uname(&u);
    fprintf(out, "kernel %s\n", u.release);
    guest_number(out, "cpus", (uint64_t)sysconf(_SC_NPROCESSORS_ONLN));
}

static void off(FILE *out, char **word)
{
    (void)word;
    if (getpid() == 1) {
        sync();
        reboot(RB_POWER_OFF);
    }
    guest_error(out, "off");
}

const struct guest_command system_commands[] = {
    {"meminfo", 0, meminfo}, {"touch", 1, touch},
    {"untouch", 0, untouch}, {"drop-caches", 0, drop_caches},
    {"about", 0, about},     {"off", 0, off},
    {NULL, 0, NULL},
};
