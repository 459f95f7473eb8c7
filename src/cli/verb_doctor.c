/* verb_doctor.c - what this host can do; each finding comes with what to do about it. */
#include "make.h"

#include "base/util.h"
#include "manager/threads.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <unistd.h>

enum grade { GOOD, NOTE, BAD };

static void find(json_t *list, const char *what, enum grade g, const char *fix, const char *fmt,
                 ...) G_GNUC_PRINTF(5, 6);
static void find(json_t *list, const char *what, enum grade g, const char *fix, const char *fmt,
                 ...)
{
    static const char *const words[] = {"PASS", "WARN", "FAIL"};
    va_list ap;
    va_start(ap, fmt);
    g_autofree char *text = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    json_array_append_new(list, json_pack("{ssssssss*}", "what", what, "grade", words[g], "finding",
                                          text, "fix", fix));
}

static bool cpu_flag(const char *flag)
{
    g_autofree char *text = NULL, *word = g_strdup_printf(" %s ", flag);
    if (!g_file_get_contents("/proc/cpuinfo", &text, NULL, NULL)) {
        return false;
    }
    g_strdelimit(text, "\n", ' ');
    return strstr(text, word) != NULL;
}

/* hanok-vm tries KVM and says what it found. */
static void check_accelerator(json_t *list)
{
    g_autofree char *vm = program_beside("hanok-vm"), *out = NULL;
    char *argv[] = {vm, "-accel", "help", NULL};
    g_autoptr(GError) err = NULL;
    if (!vm || !run_tool(argv, &out, &err)) {
        find(list, "emulator", BAD, "install hanok-vm beside hanok", "%s",
             err ? err->message : "hanok-vm is nowhere");
        return;
    }
    find(list, "emulator", GOOD, NULL, "%s", vm);
    const char *line = strstr(out, "kvm");
    g_autofree char *text = line ? g_strndup(line, strcspn(line, "\n")) : g_strdup("kvm");
    const char *colon = strchr(text, ':'), *why = colon ? colon + 2 : "";
    bool vtx = cpu_flag("vmx") || cpu_flag("svm");
    if (!strstr(text, "not usable")) {
        find(list, "kvm", GOOD, NULL,
             "usable: machines of type='kvm' run at the processor's speed");
    } else if (access("/dev/kvm", F_OK)) {
        find(list, "kvm", NOTE,
             vtx ? "load the module: modprobe kvm_intel (or kvm_amd)"
                 : "switch VT-x/SVM on in the firmware, or nesting on the outer host; until then "
                   "machines run on the "
                   "software CPU",
             "not usable: %s", why);
    } else if (access("/dev/kvm", R_OK | W_OK)) {
        find(list, "kvm", NOTE,
             "add yourself to the group kvm: usermod -aG kvm $USER, and log in again",
             "/dev/kvm is there, but not for you");
    } else {
        find(list, "kvm", NOTE, "nothing to do: machines run on the software CPU (type='qemu')",
             "not usable: %s", why);
    }
}

static void check_hugepages(json_t *list)
{
    g_autofree char *text = NULL;
    const char *path = "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages";
    long n = g_file_get_contents(path, &text, NULL, NULL) ? strtol(text, NULL, 10) : -1;
    if (n > 0) {
        find(list, "huge pages", GOOD, NULL, "%ld of 2 MiB are reserved", n);
    } else {
        find(list, "huge pages", NOTE, "for <hugepages/>: sysctl vm.nr_hugepages=512 (as root)",
             n < 0 ? "this kernel has none of 2 MiB" : "none are reserved");
    }
}

static void check_tap(json_t *list)
{
    if (access("/dev/net/tun", F_OK)) {
        find(list, "tap", NOTE, "modprobe tun (as root); <interface type='user'/> needs none",
             "/dev/net/tun is missing");
    } else if (geteuid()) {
        find(list, "tap", NOTE, "bridged networks need root; <interface type='user'/> does not",
             "/dev/net/tun is there; making taps is root's");
    } else {
        find(list, "tap", GOOD, NULL, "/dev/net/tun can be used: bridged networks work");
    }
}

static void check_uring(json_t *list)
{
    struct io_uring_params p = {0};
    int fd = (int)syscall(SYS_io_uring_setup, 2, &p);
    if (fd >= 0) {
        close(fd);
        find(list, "io_uring", GOOD, NULL, "disks use it");
    } else {
        find(list, "io_uring", NOTE,
             "sysctl kernel.io_uring_disabled=0, or allow it in the container",
             "not to be had (%s): disks use threads", strerror(errno));
    }
}

static void check_space(json_t *list, const char *what, const char *path)
{
    struct statvfs v;
    if (statvfs(path, &v)) {
        find(list, what, BAD, "make the directory, or its file system", "'%s': %s", path,
             strerror(errno));
        return;
    }
    uint64_t left = (uint64_t)v.f_bavail * v.f_frsize;
    g_autofree char *text = g_format_size_full(left, G_FORMAT_SIZE_IEC_UNITS);
    find(list, what, left < 2 * GiB ? NOTE : GOOD,
         left < 2 * GiB ? "make room, or keep images elsewhere" : NULL, "%s free in %s", text,
         path);
}

static void check_files(json_t *list, struct store *s)
{
    g_autofree char *img = program_beside("hanok-img"),
                    *qemu = g_find_program_in_path("qemu-system-x86_64");
    g_autofree char *probe = g_build_filename(
        s->run, "domain-9999999999-12345678901234567890/org.qemu.guest_agent.0", NULL);
    find(list, "image tool", img ? GOOD : BAD, img ? NULL : "install hanok-img beside hanok", "%s",
         img ? img : "hanok-img is nowhere");
    if (g_file_test("/usr/share/OVMF/OVMF_CODE_4M.fd", G_FILE_TEST_EXISTS)) {
        find(list, "firmware", GOOD, NULL, "OVMF is installed");
    } else {
        find(list, "firmware", NOTE, "apt install ovmf, for <os firmware='efi'> under QEMU",
             "OVMF is not installed");
    }
    find(list, "qemu", qemu ? GOOD : NOTE,
         qemu ? NULL : "only needed for <emulator>/usr/bin/qemu-system-x86_64</emulator>", "%s",
         qemu ? qemu : "not installed");
    if (strlen(probe) >= 108) {
        find(list, "run directory", BAD, "set XDG_RUNTIME_DIR to a shorter path",
             "'%s' is too long for sockets", s->run);
    } else {
        find(list, "run directory", access(s->run, W_OK) ? BAD : GOOD, NULL, "%s", s->run);
    }
    if (!s->system && !g_getenv("XDG_RUNTIME_DIR")) {
        find(list, "session", NOTE, "log in by a session that sets XDG_RUNTIME_DIR",
             "XDG_RUNTIME_DIR is not set; states are kept in %s", s->run);
    }
    bool systemd = g_file_test("/run/systemd/system", G_FILE_TEST_IS_DIR);
    find(list, "autostart", systemd ? GOOD : NOTE,
         systemd ? NULL : "let your own start-up script run 'hanok start NAME'",
         systemd ? "systemd runs here"
                 : "systemd does not run here: 'hanok autostart' cannot work");
}

static void check_memory(json_t *list)
{
    uint64_t all = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
    uint64_t now = (uint64_t)sysconf(_SC_AVPHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
    g_autofree char *a = g_format_size_full(all, G_FORMAT_SIZE_IEC_UNITS),
                    *b = g_format_size_full(now, G_FORMAT_SIZE_IEC_UNITS);
    find(list, "memory", GOOD, NULL, "%s, of which %s are free; %u CPUs", a, b, host_cpus());
}

int doctor_run(struct cmd *c)
{
    struct store *s = cmd_store(c);
    json_t *list = json_array(), *one;
    size_t i;
    int status = 0;
    if (!s) {
        json_decref(list);
        return 1;
    }
    check_accelerator(list);
    check_memory(list);
    check_hugepages(list);
    check_tap(list);
    check_uring(list);
    check_space(list, "images", s->images);
    check_files(list, s);
    json_array_foreach(list, i, one)
    {
        const char *grade = json_string_value(json_object_get(one, "grade"));
        const char *fix = json_string_value(json_object_get(one, "fix"));
        status = status || !strcmp(grade, "FAIL");
        if (!c->json) {
            printf("%-14s: %s  %s\n", json_string_value(json_object_get(one, "what")), grade,
                   json_string_value(json_object_get(one, "finding")));
            if (fix) {
                printf("%-14s        -> %s\n", "", fix);
            }
        }
    }
    if (c->json) {
        cmd_json(list);
    } else {
        json_decref(list);
    }
    return status;
}
