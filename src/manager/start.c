/* start.c - from a definition to a running process.
 *
 * The child waits between fork and exec until the state file that names it is on disk: a kill of
 * this process at any point leaves either no emulator or one that every later verb finds.  The
 * machine is started stopped (-S), its threads are placed, and only then does it run. */
#include "manager/vm.h"

#include "base/log.h"
#include "base/util.h"
#include "cgroup.h"
#include "chain.h"
#include "manager/argv.h"
#include "manager/threads.h"
#include "passt.h"
#include "place.h"
#include "tap.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    START_WAIT_MS = 180000,
    STEP_MS = 10,
    FIRST_VNC = 5900,
    LAST_VNC = 5999,
    MAX_LOG_TAIL = 4000
};

struct start {
    struct vm *vm;
    struct domain *d;
    unsigned flags;
    int *net_fds;   /* one per interface, -1 */
    int *vnc_ports; /* one per graphics */
    int log_fd, go_pipe;
    off_t log_from; /* where this run's words begin */
    GPtrArray *argv;
    GError **err;
};

/* ---- what the machine needs on disk ---- */

static bool make_dir(struct start *s)
{
    struct vm *vm = s->vm;
    g_autofree char *short_name =
        g_utf8_substring(vm->name, 0, MIN_OF(g_utf8_strlen(vm->name, -1), 20));
    vm->dir = g_strdup_printf("%s/domain-%d-%s", vm->store->run, vm->id, short_name);
    if (strlen(vm->dir) + strlen("/org.qemu.guest_agent.0") >= 108) {
        return error_set(s->err, HANOK_ERROR_INVALID,
                         "the run directory '%s' is too long a path for sockets; set "
                         "XDG_RUNTIME_DIR to a shorter one",
                         vm->store->run);
    }
    store_remove_dir(vm->dir);
    return store_make_dirs(vm->dir, 0700, s->err);
}

static bool next_id(struct start *s)
{
    struct vm *vm = s->vm;
    g_autofree char *path = g_build_filename(vm->store->run, ".last-id", NULL), *text = NULL;
    struct store_lock *l = store_lock(vm->store, NULL, s->err);
    if (!l) {
        return false;
    }
    vm->id =
        g_file_get_contents(path, &text, NULL, NULL) ? (int)g_ascii_strtoll(text, NULL, 10) + 1 : 1;
    g_autofree char *now = g_strdup_printf("%d\n", vm->id);
    bool ok = store_replace_file(path, now, 0600, s->err);
    store_unlock(l);
    return ok;
}

static bool write_key(struct start *s)
{
    g_autofree char *path = g_build_filename(s->vm->dir, "master-key.aes", NULL);
    char key[32];
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    bool ok = fd >= 0 && getrandom(key, sizeof(key), 0) == sizeof(key) &&
              write(fd, key, sizeof(key)) == sizeof(key);
    if (fd >= 0) {
        close(fd);
    }
    return ok || error_errno(s->err, errno, "could not write '%s'", path);
}

/* UEFI's variables begin as a copy of the template. */
static bool make_nvram(struct start *s)
{
    g_autofree char *code = NULL, *vars = NULL, *template = NULL, *text = NULL;
    gsize len;
    if (!word_is(s->d->os.firmware, "efi") && !s->d->os.nvram.node.present) {
        return true;
    }
    argv_firmware(s->d, s->vm->store->nvram, &code, &vars, &template);
    if (g_file_test(vars, G_FILE_TEST_EXISTS)) {
        return true;
    }
    if (!g_file_get_contents(template, &text, &len, NULL)) {
        return error_set(s->err, HANOK_ERROR_NOT_FOUND,
                         "the firmware's '%s' is missing; install the package ovmf", template);
    }
    g_autoptr(GError) why = NULL;
    return g_file_set_contents_full(vars, text, (gssize)len, G_FILE_SET_CONTENTS_DURABLE, 0600,
                                    &why) ||
           error_set(s->err, HANOK_ERROR_IO, "%s", why->message);
}

static bool open_log(struct start *s)
{
    g_autofree char *path = vm_log_path(s->vm);
    s->log_fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (s->log_fd < 0) {
        return error_errno(s->err, errno, "could not open the log '%s'", path);
    }
    g_autoptr(GDateTime) now = g_date_time_new_now_utc();
    g_autofree char *when = g_date_time_format(now, "%Y-%m-%d %H:%M:%S");
    g_autoptr(GString) text = g_string_new(NULL);
    g_string_append_printf(text, "%s: starting, hanok %s, as:", when, HANOK_VERSION);
    for (unsigned i = 0; s->argv->pdata[i]; i++) {
        g_autofree char *word = g_shell_quote(s->argv->pdata[i]);
        g_string_append_printf(text, "%s%s", *word == '\'' && word[1] == '-' ? " \\\n" : " ", word);
    }
    g_string_append_c(text, '\n');
    if (write(s->log_fd, text->str, text->len) < 0) {
        return error_errno(s->err, errno, "could not write the log '%s'", path);
    }
    s->log_from = lseek(s->log_fd, 0, SEEK_END);
    return true;
}

/* ---- what it needs of the host ---- */

static bool open_taps(struct start *s)
{
    GPtrArray *list = s->d->devices.interfaces;
    s->net_fds = g_new(int, list->len + 1);
    for (unsigned i = 0; i < list->len; i++) {
        s->net_fds[i] = -1;
    }
    for (unsigned i = 0; i < list->len; i++) {
        if (tap_wanted(list->pdata[i]) && (s->net_fds[i] = tap_open(list->pdata[i], s->err)) < 0) {
            return false;
        }
    }
    return true;
}

static bool port_free(int port)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    bool ok = fd >= 0 && !bind(fd, (struct sockaddr *)&a, sizeof(a));
    if (fd >= 0) {
        close(fd);
    }
    return ok;
}

static bool choose_ports(struct start *s)
{
    GPtrArray *list = s->d->devices.graphics;
    int next = FIRST_VNC;
    s->vnc_ports = g_new0(int, list->len + 1);
    for (unsigned i = 0; i < list->len; i++) {
        struct graphics *g = list->pdata[i];
        if (!word_is(g->autoport, "yes")) {
            s->vnc_ports[i] = (int)xml_num_or(g->port, 0);
            continue;
        }
        while (next <= LAST_VNC && !port_free(next)) {
            next++;
        }
        if (next > LAST_VNC) {
            return error_set(s->err, HANOK_ERROR_BUSY,
                             "no port from %d to %d is free for a display", FIRST_VNC, LAST_VNC);
        }
        s->vnc_ports[i] = next;
        xml_num_set(&g->port, next++);
    }
    return true;
}

static bool start_passts(struct start *s)
{
    for (unsigned i = 0; i < s->d->devices.interfaces->len; i++) {
        const struct interface *n = s->d->devices.interfaces->pdata[i];
        if (passt_wanted(n) && !passt_start(n, s->vm->dir, s->err)) {
            return false;
        }
    }
    return true;
}

/* Those that no machine came to. */
static void end_passts(struct start *s)
{
    for (unsigned i = 0; s->vm->dir && i < s->d->devices.interfaces->len; i++) {
        const struct interface *n = s->d->devices.interfaces->pdata[i];
        if (passt_wanted(n) && n->info.alias.name) {
            passt_end(n, s->vm->dir);
        }
    }
}

/* Without a hugetlbfs the emulator would make a plain file of that name. */
static bool check_hugepages(const struct domain *d, GError **err)
{
    struct statfs fs;
    return !d->memory_backing.hugepages.node.present ||
           word_is(d->memory_backing.source.type, "memfd") ||
           (!statfs(ARGV_HUGEPAGES, &fs) && fs.f_type == HUGETLBFS_MAGIC) ||
           error_set(err, HANOK_ERROR_UNSUPPORTED,
                     "<hugepages> needs a hugetlbfs: 'mkdir -p " ARGV_HUGEPAGES
                     "; mount -t hugetlbfs none " ARGV_HUGEPAGES
                     "; sysctl vm.nr_hugepages=N' gives it N pages");
}

static bool check_files(struct start *s)
{
    const struct domain *d = s->d;
    if (access(d->devices.emulator, X_OK)) {
        return error_errno(s->err, errno, "the emulator '%s' cannot be run", d->devices.emulator);
    }
    for (unsigned i = 0; i < d->devices.disks->len; i++) {
        const struct disk *k = d->devices.disks->pdata[i];
        g_autofree char *path = disk_source_text(k);
        if (path && (k->type == DISK_FILE || k->type == DISK_BLOCK) && access(path, F_OK)) {
            return error_errno(s->err, errno, "disk '%s': '%s'", k->target.dev, path);
        }
    }
    if (word_is(d->type, "kvm") && access("/dev/kvm", R_OK | W_OK)) {
        return error_set(s->err, HANOK_ERROR_UNSUPPORTED,
                         "this is a domain of type='kvm', and /dev/kvm cannot be used here; "
                         "type='qemu' runs it on the software CPU ('hanok doctor' says more)");
    }
    if (!domain_is_qemu(d) && word_is(d->os.loader.secure, "yes")) {
        return error_set(s->err, HANOK_ERROR_UNSUPPORTED,
                         "secure boot needs system management mode, which hanok-vm does not have; "
                         "<loader secure='no'/> starts without, <emulator> can name "
                         "qemu-system-x86_64");
    }
    return check_hugepages(d, s->err) && cgroup_possible(d, s->err);
}

/* What stays in the definition and is not done is said at every start. */
static void warn_unenforced(const struct domain *d)
{
    if (word_is(d->on_poweroff, "restart") || (d->on_crash && strstr(d->on_crash, "restart")) ||
        (d->on_crash && strstr(d->on_crash, "coredump"))) {
        log_warning("There is no daemon to restart or dump a machine that ended: on_poweroff and "
                    "on_crash end it.");
    }
}

/* ---- the process ---- */

static void set_environment(const struct start *s)
{
    static const char *const keep[] = {"PATH",   "HOME",         "XDG_RUNTIME_DIR",
                                       "TMPDIR", "ASAN_OPTIONS", "UBSAN_OPTIONS"};
    g_autofree char *report = g_build_filename(s->vm->dir, "exit.json", NULL);
    char *kept[ARRAY_SIZE(keep)];
    for (unsigned i = 0; i < ARRAY_SIZE(keep); i++) {
        kept[i] = g_strdup(getenv(keep[i]));
    }
    clearenv();
    for (unsigned i = 0; i < ARRAY_SIZE(keep); i++) {
        if (kept[i]) {
            setenv(keep[i], kept[i], 1);
        }
    }
    setenv("LC_ALL", "C", 1);
    if (word_is(s->d->clock.offset, "timezone") && s->d->clock.timezone) {
        setenv("TZ", s->d->clock.timezone, 1);
    }
    setenv("HANOK_EXIT_REPORT", report, 1);
    for (unsigned i = 0; i < s->d->qemu_commandline.envs->len; i++) {
        const struct qemu_arg *e = s->d->qemu_commandline.envs->pdata[i];
        if (e->name) {
            setenv(e->name, e->value ? e->value : "", 1);
        }
    }
}

static G_GNUC_NORETURN void child(const struct start *s, int wait_fd)
{
    char byte;
    ssize_t n;
    sigset_t none;
    setsid();
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    int null = open("/dev/null", O_RDWR);
    dup2(null, 0);
    dup2(s->log_fd, 1);
    dup2(s->log_fd, 2);
    for (unsigned i = 0; i < s->d->devices.interfaces->len; i++) {
        if (s->net_fds[i] >= 0) {
            fcntl(s->net_fds[i], F_SETFD, 0);
        }
    }
    set_environment(s);
    if (chdir("/")) {
        _exit(127);
    }
    umask(007);
    do {
        n = read(wait_fd, &byte, 1);
    } while (n < 0 && errno == EINTR);
    if (n != 1) {
        _exit(127); /* hanok died before it could say where this machine is */
    }
    execv(s->argv->pdata[0], (char **)s->argv->pdata);
    dprintf(2, "could not run '%s': %s\n", (char *)s->argv->pdata[0], strerror(errno));
    _exit(127);
}

static bool spawn(struct start *s)
{
    struct vm *vm = s->vm;
    int fds[2];
    if (pipe2(fds, O_CLOEXEC)) {
        return error_errno(s->err, errno, "could not make a pipe");
    }
    pid_t pid = fork();
    if (pid == 0) {
        close(fds[1]);
        child(s, fds[0]);
    }
    close(fds[0]);
    s->go_pipe = fds[1];
    if (pid < 0) {
        return error_errno(s->err, errno, "could not start a process");
    }
    vm->pid = pid;
    vm->since = g_get_real_time() / G_USEC_PER_SEC;
    vm->starting = true;
    vm->destroying = false;
    vm->qemu = domain_is_qemu(s->d);
    if (!process_start_time(pid, &vm->start_time)) {
        return error_set(s->err, HANOK_ERROR_IO, "the new process is gone already");
    }
    vm->active = true;
    if (!vm_write_live(vm, s->d, s->err) || !vm_write_status(vm, s->err)) {
        return false;
    }
    if (write(s->go_pipe, "g", 1) != 1) {
        return error_errno(s->err, errno, "could not release the new process");
    }
    close(s->go_pipe);
    s->go_pipe = -1;
    return true;
}

/* What the process wrote since it started, without time stamps and empty lines. */
static char *log_tail(const struct start *s)
{
    g_autofree char *path = vm_log_path(s->vm);
    GString *out = g_string_new(NULL);
    char buf[MAX_LOG_TAIL + 1];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    off_t end = fd >= 0 ? lseek(fd, 0, SEEK_END) : 0;
    off_t from = MAX_OF(s->log_from, end - MAX_LOG_TAIL);
    ssize_t n = fd >= 0 ? pread(fd, buf, MAX_LOG_TAIL, from) : 0;
    if (fd >= 0) {
        close(fd);
    }
    buf[MAX_OF(n, 0)] = 0;
    g_auto(GStrv) lines = g_strsplit(buf, "\n", -1);
    for (char **l = lines; *l; l++) {
        char *text = g_strstrip(*l);
        char *stamp = strstr(text, "Z ");
        if (stamp && g_ascii_isdigit(*text)) {
            text = stamp + 2;
        }
        if (*text && !strstr(text, ": warning: ") &&
            !g_str_has_prefix(text, "char device redirected")) {
            g_string_append_printf(out, "%s%s", out->len ? "\n" : "", text);
        }
    }
    return g_string_free(out, FALSE);
}

static bool ended(struct start *s, int status)
{
    g_autofree char *said = log_tail(s), *log = vm_log_path(s->vm);
    if (*said) {
        return error_set(s->err, HANOK_ERROR_IO, "%s", said);
    }
    if (WIFSIGNALED(status)) {
        return error_set(s->err, HANOK_ERROR_IO,
                         "the machine's process was ended by signal %d (%s)", WTERMSIG(status),
                         strsignal(WTERMSIG(status)));
    }
    return error_set(s->err, HANOK_ERROR_IO,
                     "the machine's process ended with status %d and no word; see %s",
                     WEXITSTATUS(status), log);
}

static struct qmp *wait_monitor(struct start *s)
{
    g_autofree char *path = g_build_filename(s->vm->dir, "monitor.sock", NULL);
    for (unsigned waited = 0; waited < START_WAIT_MS; waited += STEP_MS) {
        int status;
        if (waitpid(s->vm->pid, &status, WNOHANG) == s->vm->pid) {
            ended(s, status);
            return NULL;
        }
        struct qmp *q = access(path, F_OK) ? NULL : qmp_open(path, 5000, NULL);
        if (q) {
            return q;
        }
        g_usleep(STEP_MS * 1000);
    }
    error_set(s->err, HANOK_ERROR_BUSY, "the machine does not open its monitor");
    return NULL;
}

/* ---- once it answers ---- */

static void note_pty(GPtrArray *list, const char *label, const char *path, bool console)
{
    for (unsigned i = 0; i < list->len; i++) {
        struct chr *c = list->pdata[i];
        g_autofree char *own = g_strdup_printf("char%s", c->info.alias.name);
        if (c->type == CHR_PTY && !strcmp(own, label)) {
            g_free(c->source.path);
            c->source.path = g_strdup(path);
            c->source.node.present = true;
            if (console) {
                g_free(c->tty);
                c->tty = g_strdup(path);
            }
        }
    }
}

static bool note_ptys(struct start *s, struct qmp *q)
{
    json_t *ret = NULL, *one;
    size_t i;
    struct devices *v = &s->d->devices;
    if (!qmp_call(q, "query-chardev", NULL, &ret, s->err)) {
        return false;
    }
    json_array_foreach(ret, i, one)
    {
        const char *label = json_string_value(json_object_get(one, "label"));
        const char *file = json_string_value(json_object_get(one, "filename"));
        if (label && file && g_str_has_prefix(file, "pty:")) {
            note_pty(v->serials, label, file + 4, false);
            note_pty(v->consoles, label, file + 4, true);
            note_pty(v->channels, label, file + 4, false);
            note_pty(v->parallels, label, file + 4, false);
        }
    }
    json_decref(ret);
    for (i = 0; i < v->channels->len; i++) {
        struct chr *c = v->channels->pdata[i];
        if (c->type == CHR_UNIX && !c->source.path) {
            c->source.path = argv_channel_path(c, s->vm->dir);
            c->source.mode = "bind";
            c->source.node.present = true;
        }
    }
    return true;
}

static bool set_passwords(struct start *s, struct qmp *q)
{
    for (unsigned i = 0; i < s->d->devices.graphics->len; i++) {
        const struct graphics *g = s->d->devices.graphics->pdata[i];
        if (g->passwd && word_is(g->type, "vnc") &&
            !qmp_call(q, "set_password",
                      json_pack("{ssss}", "protocol", "vnc", "password", g->passwd), NULL,
                      s->err)) {
            return false;
        }
    }
    return true;
}

static bool set_link_states(struct start *s, struct qmp *q)
{
    for (unsigned i = 0; i < s->d->devices.interfaces->len; i++) {
        const struct interface *n = s->d->devices.interfaces->pdata[i];
        if (word_is(n->link.state, "down") &&
            !qmp_call(q, "set_link", json_pack("{sssb}", "name", n->info.alias.name, "up", 0), NULL,
                      s->err)) {
            return false;
        }
    }
    return true;
}

static bool set_throttles(struct start *s, struct qmp *q)
{
    for (unsigned i = 0; i < s->d->devices.disks->len; i++) {
        const struct disk *k = s->d->devices.disks->pdata[i];
        const struct iotune *t = &k->iotune;
        if (!t->node.present) {
            continue;
        }
        g_autofree char *id =
            g_strdup_printf("/machine/peripheral/%s/virtio-backend", k->info.alias.name);
        json_t *a = json_pack(
            "{sssIsIsIsIsIsI}", "id", id, "bps", xml_num_or(t->total_bytes_sec, 0), "bps_rd",
            xml_num_or(t->read_bytes_sec, 0), "bps_wr", xml_num_or(t->write_bytes_sec, 0), "iops",
            xml_num_or(t->total_iops_sec, 0), "iops_rd", xml_num_or(t->read_iops_sec, 0), "iops_wr",
            xml_num_or(t->write_iops_sec, 0));
        if (!qmp_call(q, "block_set_io_throttle", a, NULL, s->err)) {
            g_prefix_error(s->err, "<iotune> of disk '%s': ", k->target.dev);
            return false;
        }
    }
    return true;
}

static bool bring_up(struct start *s, struct qmp *q)
{
    struct vm *vm = s->vm;
    if (!note_ptys(s, q) || !set_passwords(s, q) || !set_link_states(s, q) ||
        !set_throttles(s, q) || !vcpus_plug_in(s->d, q, s->err) ||
        !place_threads(s->d, vm->pid, vm->dir, q, s->err)) {
        return false;
    }
    if (s->d->devices.memballoon.stats.period.set) { /* advice: no balloon driver is no error */
        qmp_call(q, "qom-set",
                 json_pack("{sssssI}", "path", "/machine/peripheral/balloon0", "property",
                           "guest-stats-polling-interval", "value",
                           s->d->devices.memballoon.stats.period.v),
                 NULL, NULL);
    }
    if (domain_current_memory_kib(s->d) < domain_memory_kib(s->d) &&
        !qmp_call(q, "balloon", json_pack("{sI}", "value", domain_current_memory_kib(s->d) * 1024),
                  NULL, s->err)) {
        return false;
    }
    if (!(s->flags & VM_START_PAUSED) && !qmp_call(q, "cont", NULL, NULL, s->err)) {
        return false;
    }
    vm->starting = false;
    return vm_write_live(vm, s->d, s->err) && vm_write_status(vm, s->err);
}

/* ---- */

static bool prepare(struct start *s)
{
    struct vm *vm = s->vm;
    warn_unenforced(s->d);
    if (!check_files(s) || !chain_find(s->d, s->err) || !next_id(s) || !make_dir(s) ||
        !write_key(s) || !make_nvram(s) || !open_taps(s) || !choose_ports(s)) {
        return false;
    }
    const struct argv_options o = {.dir = vm->dir,
                                   .nvram_dir = vm->store->nvram,
                                   .two_monitors = domain_is_qemu(s->d),
                                   .net_fds = s->net_fds,
                                   .vnc_ports = s->vnc_ports};
    s->argv = domain_argv(s->d, &o, s->err);
    xml_num_set(&s->d->id, vm->id);
    return s->argv && open_log(s) && start_passts(s);
}

static void give_up(struct start *s)
{
    struct vm *vm = s->vm;
    if (s->go_pipe >= 0) {
        close(s->go_pipe); /* the child that still waits ends itself */
        s->go_pipe = -1;
    }
    if (vm->pid > 0) {
        kill(vm->pid, SIGKILL); /* our child, not yet waited for: the number is still its own */
        waitpid(vm->pid, NULL, 0);
    }
    end_passts(s);
    const char *why = s->err && *s->err ? (*s->err)->message : "";
    vm_forget(vm, "failed", why);
}

static bool start_locked(struct start *s)
{
    bool ok = prepare(s) && spawn(s);
    struct qmp *q = ok ? wait_monitor(s) : NULL;
    ok = q && bring_up(s, q);
    if (q && !ok) {
        int status;
        if (waitpid(s->vm->pid, &status, WNOHANG) ==
            s->vm->pid) { /* it died on the way: its words are better */
            s->vm->pid = 0;
            g_clear_error(s->err);
            ended(s, status);
        }
    }
    qmp_close(q);
    if (!ok) {
        give_up(s);
    }
    return ok;
}

static void start_clear(struct start *s)
{
    for (unsigned i = 0; s->net_fds && i < s->d->devices.interfaces->len; i++) {
        if (s->net_fds[i] >= 0) {
            close(s->net_fds[i]);
        }
    }
    if (s->log_fd >= 0) {
        close(s->log_fd);
    }
    if (s->argv) {
        g_ptr_array_free(s->argv, TRUE);
    }
    g_free(s->net_fds);
    g_free(s->vnc_ports);
}

bool vm_start(struct vm *vm, struct domain *d, unsigned flags, GError **err)
{
    g_autoptr(GError) why = NULL;
    struct store_lock *l = store_lock(vm->store, vm->name, err);
    if (!l) {
        return false;
    }
    struct start s = {.vm = vm, .flags = flags, .log_fd = -1, .go_pipe = -1, .err = &why};
    bool own = !d;
    vm_refresh_locked(vm);
    bool ok = !vm->active ||
              error_set(&why, HANOK_ERROR_BUSY, "domain '%s' is running already", vm->name);
    s.d = ok && own ? vm_definition(vm, &why) : d;
    ok = ok && s.d && start_locked(&s);
    if (s.d) {
        start_clear(&s);
    }
    if (own) {
        domain_free(s.d);
    }
    store_unlock(l);
    if (!ok) {
        g_propagate_error(err, g_steal_pointer(&why));
    }
    return ok;
}
