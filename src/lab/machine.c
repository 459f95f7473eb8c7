/* machine.c - one guest of the laboratory: its image, process, monitor and command channel. */
#include "lab_int.h"

#include "base/evloop.h"
#include "manager/threads.h"

#include <errno.h>
#include <fcntl.h>
#include <gio/gio.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define BOOT_S     180u
#define LINE_MAX_B 65536u

/* ---- the image: the guest's modules, and the lab's program as /init (cpio's newc format) ---- */

static void cpio_entry(GString *o, const char *name, unsigned mode, const char *data, size_t bytes)
{
    static const char zero[4];
    g_string_append_printf(o, "070701%08X%08X%08X%08X%08X%08X%08zX%08X%08X%08X%08X%08zX%08X", 1,
                           mode, 0, 0, 1, 0, bytes, 0, 0, 0, 0, strlen(name) + 1, 0);
    g_string_append_len(o, name, (gssize)strlen(name) + 1);
    g_string_append_len(o, zero, (gssize)(-o->len & 3));
    g_string_append_len(o, data, (gssize)bytes);
    g_string_append_len(o, zero, (gssize)(-o->len & 3));
}

static char *guest_file(const struct lab *lab, const char *flavour, const char *name)
{
    g_autofree char *dir = g_strdup_printf("lab-%s", flavour);
    return g_build_filename(lab->guest, dir, name, NULL);
}

bool lab_has_guest(const struct lab *lab, const char *flavour)
{
    g_autofree char *kernel = guest_file(lab, flavour, "vmlinuz");
    return !access(kernel, R_OK);
}

static char *make_initrd(const struct lab *lab, const char *flavour, GError **err)
{
    g_autofree char *modules = guest_file(lab, flavour, "modules.cpio"), *base = NULL, *prog = NULL;
    g_autofree char *file = g_strdup_printf("%s/initrd-%s", lab->tmp, flavour);
    size_t base_len, prog_len;
    if (!access(file, R_OK)) {
        return g_steal_pointer(&file);
    }
    if (!g_file_get_contents(modules, &base, &base_len, err) ||
        !g_file_get_contents(lab->native, &prog, &prog_len, err)) {
        return NULL;
    }
    GString *o = g_string_new_len(base, (gssize)base_len);
    static const char zero[4];
    g_string_append_len(o, zero, (gssize)(-o->len & 3));
    cpio_entry(o, "init", 0100755, prog, prog_len);
    cpio_entry(o, "TRAILER!!!", 0, "", 0);
    bool ok = g_file_set_contents(file, o->str, (gssize)o->len, err);
    g_string_free(o, TRUE);
    return ok ? g_steal_pointer(&file) : NULL;
}

/* ---- the process ---- */

static void add(GPtrArray *argv, const char *fmt, ...) PRINTF_LIKE(2, 3);
static void add(GPtrArray *argv, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    g_ptr_array_add(argv, g_strdup_vprintf(fmt, ap));
    va_end(ap);
}

static GPtrArray *command_line(struct lab_vm *vm, const struct vm_wish *w, const char *initrd)
{
    const char *flavour = w->flavour ? w->flavour : "cloud";
    g_autofree char *kernel = guest_file(vm->lab, flavour, "vmlinuz");
    GPtrArray *a = g_ptr_array_new_with_free_func(g_free);
    add(a, "%s", vm->lab->vm);
    add(a, "-name");
    add(a, "lab-%s", w->name);
    add(a, "-accel");
    add(a, "%s", w->accel ? w->accel : vm->lab->accel);
    add(a, "-m");
    add(a, "%u", w->memory_mib);
    add(a, "-smp");
    add(a, "%u", w->vcpus);
    add(a, "-nodefaults");
    add(a, "-display");
    add(a, "none");
    add(a, "-kernel");
    add(a, "%s", kernel);
    add(a, "-initrd");
    add(a, "%s", initrd);
    add(a, "-append");
    add(a, "console=ttyS0 quiet panic=-1 %s", w->kernel_words ? w->kernel_words : "");
    add(a, "-no-reboot");
    add(a, "-serial");
    add(a, "file:%s/console", vm->dir);
    add(a, "-qmp");
    add(a, "unix:%s/qmp,server=on,wait=off", vm->dir);
    add(a, "-device");
    add(a, "virtio-serial-pci,id=ser");
    add(a, "-chardev");
    add(a, "socket,id=lab,path=%s/lab,server=on,wait=off", vm->dir);
    add(a, "-device");
    add(a, "virtserialport,chardev=lab,name=lab");
    for (const char *const *m = w->more; m && *m; m++) {
        add(a, "%s", *m);
    }
    g_ptr_array_add(a, NULL);
    return a;
}

static pid_t spawn(const struct lab *lab, char **argv, const char *log)
{
    pid_t pid = fork();
    if (pid == 0) {
        int out = open(log, O_WRONLY | O_CREAT | O_TRUNC, 0600), in = open("/dev/null", O_RDONLY);
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        raise_priority(lab);
        dup2(in, 0);
        dup2(out, 1);
        dup2(out, 2);
        execv(argv[0], argv);
        _exit(127);
    }
    return pid;
}

static int try_connect(const char *path)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    g_strlcpy(a.sun_path, path, sizeof(a.sun_path));
    if (fd >= 0 && connect(fd, (struct sockaddr *)&a, sizeof(a))) {
        close(fd);
        return -1;
    }
    return fd;
}

static bool ended(struct lab_vm *vm)
{
    if (vm->pid > 0 && waitpid(vm->pid, NULL, WNOHANG) == vm->pid) {
        vm->pid = 0;
    }
    return vm->pid <= 0;
}

/* The machine's own last words. */
static bool died(struct lab_vm *vm, GError **err)
{
    g_autofree char *path = g_build_filename(vm->dir, "log", NULL), *text = NULL;
    g_file_get_contents(path, &text, NULL, NULL);
    return error_set(err, HANOK_ERROR_IO, "the machine '%s' ended: %s", vm->name,
                     text && *text ? g_strstrip(text) : "it said nothing");
}

static bool connect_all(struct lab_vm *vm, GError **err)
{
    g_autofree char *qmp = g_build_filename(vm->dir, "qmp", NULL);
    g_autofree char *lab = g_build_filename(vm->dir, "lab", NULL);
    uint64_t end = host_clock_ns() + BOOT_S * 1000000000ull;
    while (host_clock_ns() < end) {
        if (ended(vm)) {
            return died(vm, err);
        }
        vm->channel = vm->channel < 0 ? try_connect(lab) : vm->channel;
        int probe = vm->channel >= 0 ? try_connect(qmp) : -1; /* it exists before it listens */
        if (probe >= 0) {
            close(probe);
            vm->q = qmp_open(qmp, 60000, err);
            return vm->q != NULL;
        }
        sleep_ms(20);
    }
    return error_set(err, HANOK_ERROR_BUSY, "the machine '%s' did not start in time", vm->name);
}

static bool wait_ready(struct lab_vm *vm, GError **err)
{
    uint64_t end = host_clock_ns() + BOOT_S * 1000000000ull;
    while (host_clock_ns() < end) {
        g_autofree char *line = vm_line(vm, 5);
        if (line && !strcmp(line, "ready")) {
            return true;
        }
        if (!line && ended(vm)) {
            return died(vm, err);
        }
    }
    return error_set(err, HANOK_ERROR_BUSY,
                     "the guest of '%s' did not come up in time; its "
                     "console is in %s/console",
                     vm->name, vm->dir);
}

struct lab_vm *vm_boot(struct lab *lab, const struct vm_wish *w, GError **err)
{
    struct lab_vm *vm = g_new0(struct lab_vm, 1);
    g_autofree char *initrd = make_initrd(lab, w->flavour ? w->flavour : "cloud", err);
    vm->lab = lab;
    vm->channel = -1;
    vm->name = g_strdup(w->name);
    vm->in = g_string_new(NULL);
    vm->memory_kib = (uint64_t)w->memory_mib * 1024;
    vm->dir = g_strdup_printf("%s/%s", lab->tmp, w->name);
    g_mkdir_with_parents(vm->dir, 0700);
    if (!initrd) {
        vm_end(vm);
        return NULL;
    }
    g_autofree char *sock = g_build_filename(vm->dir, "lab", NULL);
    g_autofree char *qmp = g_build_filename(vm->dir, "qmp", NULL);
    g_autofree char *log = g_build_filename(vm->dir, "log", NULL);
    g_autoptr(GPtrArray) argv = command_line(vm, w, initrd);
    unlink(sock);
    unlink(qmp);
    vm->pid = spawn(lab, (char **)argv->pdata, log);
    if (vm->pid < 0 || !connect_all(vm, err) || !wait_ready(vm, err) ||
        (w->pinned && !vm_pin(vm, lab->pcpu))) {
        vm_end(vm);
        return NULL;
    }
    return vm;
}

void vm_kill(struct lab_vm *vm)
{
    if (vm->pid > 0) {
        kill(vm->pid, SIGKILL);
        waitpid(vm->pid, NULL, 0);
    }
    vm->pid = 0;
}

void vm_end(struct lab_vm *vm)
{
    if (!vm) {
        return;
    }
    vm_kill(vm);
    qmp_close(vm->q);
    if (vm->channel >= 0) {
        close(vm->channel);
    }
    g_string_free(vm->in, TRUE);
    g_free(vm->name);
    g_free(vm->dir);
    g_free(vm);
}

/* ---- commands ---- */

bool vm_send(struct lab_vm *vm, const char *line, GError **err)
{
    size_t len = strlen(line);
    return send(vm->channel, line, len, MSG_NOSIGNAL) == (ssize_t)len ||
           error_set(err, HANOK_ERROR_IO, "the machine '%s' does not listen any more", vm->name);
}

char *vm_line(struct lab_vm *vm, unsigned timeout_s)
{
    uint64_t end = host_clock_ns() + timeout_s * 1000000000ull;
    for (;;) {
        char *nl = memchr(vm->in->str, '\n', vm->in->len);
        if (nl) {
            char *line = g_strndup(vm->in->str, (gsize)(nl - vm->in->str));
            g_string_erase(vm->in, 0, nl - vm->in->str + 1);
            return line;
        }
        uint64_t now = host_clock_ns();
        struct pollfd p = {.fd = vm->channel, .events = POLLIN};
        char buf[4096];
        if (now >= end || vm->in->len > LINE_MAX_B ||
            poll(&p, 1, (int)((end - now) / 1000000u) + 1) <= 0) {
            return NULL;
        }
        ssize_t n = recv(vm->channel, buf, sizeof(buf), 0);
        if (n <= 0) {
            return NULL;
        }
        g_string_append_len(vm->in, buf, n);
    }
}

char *vm_ask(struct lab_vm *vm, unsigned timeout_s, GError **err, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    g_autofree char *command = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    g_autofree char *line = g_strdup_printf("%s\n", command);
    GString *out = g_string_new("\n");
    bool ok = vm_send(vm, line, err);
    while (ok) {
        g_autofree char *got = vm_line(vm, timeout_s);
        if (!got) {
            ok = ended(vm) ? died(vm, err)
                           : error_set(err, HANOK_ERROR_BUSY,
                                       "the guest of '%s' did not answer '%s' in time", vm->name,
                                       command);
        } else if (!strcmp(got, ".")) {
            break;
        } else if (g_str_has_prefix(got, "error ")) {
            ok = error_set(err, HANOK_ERROR_IO, "in the guest of '%s', '%s': %s", vm->name, command,
                           got + 6);
        } else {
            g_string_append_printf(out, "%s\n", got);
        }
    }
    return g_string_free(out, !ok);
}

static void native_setup(void *lab)
{
    raise_priority(lab);
}

char *native_ask(struct lab *lab, GError **err, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    g_autofree char *command = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    g_autofree char *line = g_strdup_printf("%s\n", command), *out = NULL;
    const char *argv[] = {lab->native, NULL};
    g_autoptr(GSubprocessLauncher) launcher =
        g_subprocess_launcher_new(G_SUBPROCESS_FLAGS_STDIN_PIPE | G_SUBPROCESS_FLAGS_STDOUT_PIPE);
    g_subprocess_launcher_set_child_setup(launcher, native_setup, lab, NULL);
    g_autoptr(GSubprocess) p = g_subprocess_launcher_spawnv(launcher, argv, err);
    if (!p || !g_subprocess_communicate_utf8(p, line, NULL, &out, NULL, err)) {
        return NULL;
    }
    char *text = g_strdup_printf("\n%s", out);
    const char *bad = strstr(text, "\nerror ");
    if (bad) {
        error_set(err, HANOK_ERROR_IO, "on the host, '%s': %s", command, bad + 7);
        g_free(text);
        return NULL;
    }
    return text;
}

uint64_t answer(const char *text, const char *key)
{
    g_autofree char *line = g_strdup_printf("\n%s ", key);
    const char *at = text ? strstr(text, line) : NULL;
    return at ? g_ascii_strtoull(at + strlen(line), NULL, 10) : 0;
}

/* ---- numbers about it ---- */

pid_t vm_vcpu_tid(struct lab_vm *vm, unsigned index)
{
    g_autoptr(GPtrArray) list = vcpu_threads(vm->q, NULL);
    return list && index < list->len ? ((struct vcpu_thread *)list->pdata[index])->tid : 0;
}

bool vm_pin(struct lab_vm *vm, int cpu)
{
    g_autoptr(GArray) list = proc_threads(vm->pid);
    g_autofree char *set = g_strdup_printf("%d", cpu);
    bool ok = true;
    for (unsigned i = 0; i < list->len; i++) {
        ok = thread_pin(g_array_index(list, struct proc_thread, i).tid, set, NULL) && ok;
    }
    return ok;
}

static uint64_t sum_of(struct lab_vm *vm, const char *target, const char *name)
{
    json_t *list = NULL, *one, *s;
    uint64_t sum = 0;
    size_t i, k;
    if (!qmp_call(vm->q, "query-stats",
                  json_pack("{sss[{sss[s]}]}", "target", target, "providers", "provider", "hanok",
                            "names", name),
                  &list, NULL)) {
        return 0;
    }
    json_array_foreach(list, i, one)
    {
        json_array_foreach(json_object_get(one, "stats"), k, s)
        {
            sum += (uint64_t)json_integer_value(json_object_get(s, "value"));
        }
    }
    json_decref(list);
    return sum;
}

uint64_t vm_counter(struct lab_vm *vm, const char *name)
{
    return sum_of(vm, "vm", name);
}

uint64_t vm_queue_counter(struct lab_vm *vm, const char *name)
{
    return sum_of(vm, "virtqueue", name);
}

bool vm_memory(struct lab_vm *vm, struct memory_picture *out)
{
    json_t *areas = NULL;
    qmp_call(vm->q, "x-query-memory-areas", NULL, &areas, NULL);
    bool ok = memory_picture(vm->pid, areas, vm->memory_kib, out);
    json_decref(areas);
    return ok;
}
