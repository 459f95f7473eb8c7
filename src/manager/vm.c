/* vm.c - finding machines, their states, and their ends. */
#include "manager/vm.h"

#include "cgroup.h"

#include "base/util.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { TERM_WAIT_MS = 15000, KILL_WAIT_MS = 15000 };

/* ---- processes ---- */

bool process_start_time(pid_t pid, uint64_t *out)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/stat", (int)pid), *text = NULL;
    if (pid <= 0 || !g_file_get_contents(path, &text, NULL, NULL)) {
        return false;
    }
    /* the name, in parentheses, may contain anything */
    const char *at = strrchr(text, ')');
    char state = 0;
    unsigned long long start = 0;
    if (!at || sscanf(at + 1,
                      " %c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d "
                      "%*d %*d %llu",
                      &state, &start) != 2) {
        return false;
    }
    *out = start;
    return state != 'Z' && state != 'X';
}

static bool same_process(const struct vm *vm)
{
    uint64_t start;
    return process_start_time(vm->pid, &start) && start == vm->start_time;
}

static char *boot_id(void)
{
    char *text = NULL;
    if (!g_file_get_contents("/proc/sys/kernel/random/boot_id", &text, NULL, NULL)) {
        return g_strdup("");
    }
    return g_strchomp(text);
}

/* A descriptor for exactly this process, or -1 when it is gone. */
static int open_process(const struct vm *vm)
{
    int fd = (int)syscall(SYS_pidfd_open, vm->pid, 0);
    if (fd >= 0 && !same_process(vm)) {
        close(fd);
        return -1;
    }
    return fd;
}

static bool wait_gone(const struct vm *vm, int fd, int timeout_ms)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    while (poll(&p, 1, timeout_ms) < 0 && errno == EINTR) {
    }
    return !same_process(vm);
}

/* ---- state files ---- */

bool vm_write_status(struct vm *vm, GError **err)
{
    g_autofree char *path = store_path(vm->store->run, vm->name, ".json"), *boot = boot_id();
    json_t *o = json_pack("{sisisIsssbsbsbsIss}", "id", vm->id, "pid", (int)vm->pid, "start-time",
                          (json_int_t)vm->start_time, "dir", vm->dir, "qemu", vm->qemu, "starting",
                          vm->starting, "destroying", vm->destroying, "since",
                          (json_int_t)vm->since, "boot", boot);
    char *text = json_dumps(o, JSON_INDENT(1));
    json_decref(o);
    bool ok = store_replace_file(path, text ? text : "", 0600, err);
    free(text);
    return ok;
}

static json_t *read_json(const char *dir, const char *name, const char *suffix)
{
    g_autofree char *path = store_path(dir, name, suffix), *text = NULL;
    gsize len = 0;
    if (!g_file_get_contents(path, &text, &len, NULL)) {
        return NULL;
    }
    return json_loadb(text, len, 0, NULL);
}

static void clear_active(struct vm *vm)
{
    vm->active = false;
    vm->id = -1;
    vm->pid = 0;
    g_clear_pointer(&vm->dir, g_free);
}

/* The process is gone: why, as far as anybody knows. */
static void note_end(struct vm *vm)
{
    json_t *report = vm->dir ? read_json(vm->dir, "exit", ".json") : NULL;
    const char *cause = json_string_value(json_object_get(report, "reason"));
    const char *reason = "crashed";
    g_autofree char *text = NULL;
    if (vm->destroying) {
        reason = "destroyed";
    } else if (cause && !strcmp(cause, "guest-panic")) {
        reason = "crashed";
        text = g_strdup("the guest panicked");
    } else if (cause && (!strcmp(cause, "host-signal") || !strcmp(cause, "host-qmp-quit") ||
                         !strcmp(cause, "host-ui"))) {
        reason = "destroyed";
    } else if (cause) {
        reason = "shutdown";
    }
    if (!text) {
        text = cause ? g_strdup(cause)
               : vm->qemu
                   ? g_strdup("inferred: the emulator does not say why it ended")
                   : g_strdup("inferred: the process ended without a word (killed, or a fault)");
    }
    if (!cause && vm->qemu && !vm->destroying) {
        reason = "shutdown";
    }
    json_decref(report);
    vm_forget(vm, reason, text);
}

void vm_forget(struct vm *vm, const char *reason, const char *text)
{
    g_autofree char *status = store_path(vm->store->run, vm->name, ".json");
    g_autofree char *last = store_path(vm->store->run, vm->name, ".last");
    if (store_has(vm->store, vm->name)) {
        json_t *o = json_pack("{sssssI}", "reason", reason, "text", text, "at",
                              (json_int_t)(g_get_real_time() / G_USEC_PER_SEC));
        char *dump = json_dumps(o, 0);
        store_replace_file(last, dump ? dump : "{}", 0600, NULL);
        free(dump);
        json_decref(o);
    } else {
        unlink(last);
    }
    if (vm->dir && g_str_has_prefix(vm->dir, vm->store->run)) {
        cgroup_remove(vm->dir);
        store_remove_dir(vm->dir);
    }
    unlink(status);
    clear_active(vm);
}

static bool fill_status(struct vm *vm, json_t *o)
{
    const char *dir = json_string_value(json_object_get(o, "dir"));
    const char *boot = json_string_value(json_object_get(o, "boot"));
    g_autofree char *now = boot_id();
    vm->id = (int)json_integer_value(json_object_get(o, "id"));
    vm->pid = (pid_t)json_integer_value(json_object_get(o, "pid"));
    vm->start_time = (uint64_t)json_integer_value(json_object_get(o, "start-time"));
    vm->qemu = json_is_true(json_object_get(o, "qemu"));
    vm->starting = json_is_true(json_object_get(o, "starting"));
    vm->destroying = json_is_true(json_object_get(o, "destroying"));
    vm->since = json_integer_value(json_object_get(o, "since"));
    g_free(vm->dir);
    vm->dir = g_strdup(dir ? dir : "");
    return !g_strcmp0(boot, now) && same_process(vm);
}

/* The caller holds the domain's lock: a dead one is cleared up. */
void vm_refresh_locked(struct vm *vm)
{
    json_t *o = read_json(vm->store->run, vm->name, ".json");
    vm->persistent = store_has(vm->store, vm->name);
    vm->active = o && fill_status(vm, o);
    if (o && !vm->active) {
        note_end(vm);
    } else if (!o) {
        clear_active(vm);
    }
    json_decref(o);
}

void vm_refresh(struct vm *vm)
{
    json_t *o = read_json(vm->store->run, vm->name, ".json");
    vm->persistent = store_has(vm->store, vm->name);
    vm->active = o && fill_status(vm, o);
    if (o && !vm->active) {
        /* Somebody at work on it clears up himself. */
        struct store_lock *l = store_trylock(vm->store, vm->name);
        if (l) {
            vm_refresh_locked(vm);
            store_unlock(l);
        }
    }
    if (!vm->active) {
        clear_active(vm);
    }
    json_decref(o);
}

/* ---- finding ---- */

static struct vm *vm_new(struct store *s, const char *name)
{
    struct vm *vm = g_new0(struct vm, 1);
    vm->store = s;
    vm->name = g_strdup(name);
    vm_refresh(vm);
    return vm;
}

void vm_free(struct vm *vm)
{
    if (vm) {
        g_free(vm->name);
        g_free(vm->dir);
        g_free(vm);
    }
}

static gint by_name(gconstpointer a, gconstpointer b)
{
    return strcmp((*(struct vm *const *)a)->name, (*(struct vm *const *)b)->name);
}

/* Names with a state file: running, or not yet cleared up. */
static GHashTable *names_of_run(struct store *s)
{
    GHashTable *t = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    g_autoptr(GDir) d = g_dir_open(s->run, 0, NULL);
    for (const char *e = d ? g_dir_read_name(d) : NULL; e; e = g_dir_read_name(d)) {
        if (*e != '.' && g_str_has_suffix(e, ".json")) {
            g_hash_table_add(t, g_strndup(e, strlen(e) - 5));
        }
    }
    return t;
}

GPtrArray *vm_list(struct store *s)
{
    GPtrArray *list = g_ptr_array_new_with_free_func((GDestroyNotify)vm_free);
    g_autoptr(GPtrArray) names = store_names(s);
    g_autoptr(GHashTable) run = names_of_run(s);
    for (unsigned i = 0; i < names->len; i++) {
        const char *name = names->pdata[i];
        struct vm *vm;
        if (g_hash_table_remove(run, name)) {
            vm = vm_new(s, name);
        } else { /* no state file to read: most of a thousand */
            vm = g_new0(struct vm, 1);
            vm->store = s;
            vm->name = g_strdup(name);
            vm->persistent = true;
            vm->id = -1;
        }
        g_ptr_array_add(list, vm);
    }
    GHashTableIter it;
    gpointer key;
    g_hash_table_iter_init(&it, run);
    while (g_hash_table_iter_next(&it, &key, NULL)) {
        struct vm *vm = vm_new(s, key);
        if (vm->active) {
            g_ptr_array_add(list, vm);
        } else {
            vm_free(vm);
        }
    }
    g_ptr_array_sort(list, by_name);
    return list;
}

static struct vm *find_by_id(struct store *s, const char *what)
{
    char *end;
    guint64 id = g_ascii_isdigit(*what) ? g_ascii_strtoull(what, &end, 10) : 0;
    if (!g_ascii_isdigit(*what) || *end) {
        return NULL;
    }
    g_autoptr(GHashTable) run = names_of_run(s);
    GHashTableIter it;
    gpointer key;
    g_hash_table_iter_init(&it, run);
    while (g_hash_table_iter_next(&it, &key, NULL)) {
        struct vm *vm = vm_new(s, key);
        if (vm->active && (guint64)vm->id == id) {
            return vm;
        }
        vm_free(vm);
    }
    return NULL;
}

static struct vm *find_by_uuid(struct store *s, const char *what)
{
    if (!uuid_ok(what)) {
        return NULL;
    }
    g_autofree char *needle = g_strdup_printf("<uuid>%s</uuid>", what);
    g_autoptr(GPtrArray) list = vm_list(s);
    for (unsigned i = 0; i < list->len; i++) {
        struct vm *vm = list->pdata[i];
        g_autofree char *path = vm->persistent ? store_path(s->config, vm->name, ".xml")
                                               : g_build_filename(vm->dir, "domain.xml", NULL);
        g_autofree char *text = NULL;
        if (g_file_get_contents(path, &text, NULL, NULL) && strstr(text, needle)) {
            return vm_new(s, vm->name);
        }
    }
    return NULL;
}

struct vm *vm_find(struct store *s, const char *what, GError **err)
{
    if (domain_name_ok(what, NULL)) {
        struct vm *vm = vm_new(s, what);
        if (vm->persistent || vm->active) {
            return vm;
        }
        vm_free(vm);
    }
    struct vm *vm = find_by_id(s, what);
    vm = vm ? vm : find_by_uuid(s, what);
    if (!vm) {
        g_autoptr(GPtrArray) names = store_names(s);
        g_autofree char *near =
            names->len ? error_nearest(what, (const char *const *)names->pdata, names->len) : NULL;
        error_set(err, HANOK_ERROR_NOT_FOUND, "there is no domain '%s'%s%s%s", what,
                  near ? "; did you mean " : " ('hanok list --all' lists them)", near ? near : "",
                  near ? "?" : "");
    }
    return vm;
}

bool vm_need_active(const struct vm *vm, GError **err)
{
    return vm->active ||
           error_set(err, HANOK_ERROR_BUSY,
                     "domain '%s' is not running; 'hanok start %s' starts it", vm->name, vm->name);
}

bool vm_need_inactive(const struct vm *vm, GError **err)
{
    return !vm->active || error_set(err, HANOK_ERROR_BUSY, "domain '%s' is running", vm->name);
}

/* ---- states ---- */

const char *vm_state_name(enum vm_state s)
{
    static const char *const names[] = {"no state", "running", "paused",     "in shutdown",
                                        "shut off", "crashed", "pmsuspended"};
    return names[s];
}

static enum vm_state state_of_word(const char *word, const char **reason)
{
    static const struct {
        const char *word;
        enum vm_state state;
        const char *reason;
    } table[] = {
        {"running", VM_RUNNING, "booted"},         {"paused", VM_PAUSED, "user"},
        {"prelaunch", VM_PAUSED, "starting up"},   {"inmigrate", VM_PAUSED, "migrating"},
        {"shutdown", VM_SHUTDOWN, "user"},         {"io-error", VM_PAUSED, "I/O error"},
        {"watchdog", VM_PAUSED, "watchdog"},       {"guest-panicked", VM_CRASHED, "panicked"},
        {"internal-error", VM_CRASHED, "unknown"}, {"suspended", VM_SUSPENDED, "unknown"}};
    for (unsigned i = 0; i < ARRAY_SIZE(table); i++) {
        if (!strcmp(word, table[i].word)) {
            *reason = table[i].reason;
            return table[i].state;
        }
    }
    *reason = "unknown";
    return VM_NOSTATE;
}

static enum vm_state live_state(struct vm *vm, const char **reason)
{
    json_t *ret = NULL;
    struct qmp *q = vm_qmp(vm, NULL);
    enum vm_state s = vm->starting ? VM_PAUSED : VM_NOSTATE;
    *reason = vm->starting ? "starting up" : "unknown";
    if (q && qmp_call(q, "query-status", NULL, &ret, NULL)) {
        const char *word = json_string_value(json_object_get(ret, "status"));
        s = state_of_word(word ? word : "", reason);
    }
    json_decref(ret);
    qmp_close(q);
    return s;
}

enum vm_state vm_state(struct vm *vm, const char **reason)
{
    static char kept[64];
    const char *ignored;
    reason = reason ? reason : &ignored;
    if (vm->active) {
        return live_state(vm, reason);
    }
    json_t *last = read_json(vm->store->run, vm->name, ".last");
    const char *why = json_string_value(json_object_get(last, "reason"));
    g_strlcpy(kept, why ? why : "unknown", sizeof(kept));
    *reason = kept;
    json_decref(last);
    return VM_SHUTOFF;
}

char *vm_last_words(struct vm *vm)
{
    json_t *last = read_json(vm->store->run, vm->name, ".last");
    char *text = g_strdup(json_string_value(json_object_get(last, "text")));
    json_decref(last);
    return text;
}

/* ---- definitions ---- */

struct domain *vm_definition(struct vm *vm, GError **err)
{
    g_autofree char *text = store_read(vm->store, vm->name, err);
    struct domain *d = text ? domain_load(text, err) : NULL;
    if (text && !d) {
        g_prefix_error(err, "the definition of '%s': ", vm->name);
    }
    return d;
}

struct domain *vm_live(struct vm *vm, GError **err)
{
    g_autofree char *path = g_build_filename(vm->dir ? vm->dir : "", "domain.xml", NULL);
    g_autofree char *text = NULL;
    if (!vm_need_active(vm, err) || !g_file_get_contents(path, &text, NULL, err)) {
        return NULL;
    }
    return domain_load(text, err);
}

struct domain *vm_domain(struct vm *vm, GError **err)
{
    return vm->active ? vm_live(vm, err) : vm_definition(vm, err);
}

bool vm_write_live(struct vm *vm, const struct domain *d, GError **err)
{
    g_autofree char *path = g_build_filename(vm->dir, "domain.xml", NULL);
    g_autofree char *text = domain_format(d, FORMAT_SECURE);
    return store_replace_file(path, text, 0600, err);
}

/* Under the store's lock: nobody else may have this UUID, and this name keeps its own. */
static bool check_identity(struct store *s, const struct domain *d, GError **err)
{
    struct vm *other = find_by_uuid(s, d->uuid);
    bool clash = other && strcmp(other->name, d->name);
    if (clash) {
        error_set(err, HANOK_ERROR_INVALID, "the UUID %s is that of domain '%s'", d->uuid,
                  other->name);
    }
    vm_free(other);
    if (clash) {
        return false;
    }
    g_autofree char *old = store_read(s, d->name, NULL);
    g_autofree char *own = g_strdup_printf("<uuid>%s</uuid>", d->uuid);
    if (old && !strstr(old, own)) {
        return error_set(err, HANOK_ERROR_INVALID,
                         "domain '%s' is already defined, with another UUID; give its <uuid>, or "
                         "another name",
                         d->name);
    }
    return true;
}

bool vm_define(struct store *s, struct domain *d, const char *expected, GError **err)
{
    g_autofree char *text = domain_format(d, FORMAT_INACTIVE | FORMAT_SECURE);
    struct store_lock *own = store_lock(s, d->name, err);
    struct store_lock *all = own ? store_lock(s, NULL, err) : NULL;
    bool ok = all && check_identity(s, d, err) && store_write(s, d->name, text, expected, err);
    store_unlock(all);
    store_unlock(own);
    return ok;
}

bool vm_undefine(struct vm *vm, GError **err)
{
    struct store_lock *own = store_lock(vm->store, vm->name, err);
    struct store_lock *all = own ? store_lock(vm->store, NULL, err) : NULL;
    bool ok = false;
    if (all) {
        g_autofree char *marker = store_path(vm->store->autostart, vm->name, "");
        g_autofree char *last = store_path(vm->store->run, vm->name, ".last");
        g_autofree char *log = vm_log_path(vm);
        ok = store_has(vm->store, vm->name) ||
             error_set(err, HANOK_ERROR_NOT_FOUND, "domain '%s' has no definition", vm->name);
        g_autofree char *kernel = g_strdup_printf("%s/boot/%s-kernel", vm->store->cache, vm->name);
        g_autofree char *initrd = g_strdup_printf("%s/boot/%s-initrd", vm->store->cache, vm->name);
        ok = ok && store_remove(vm->store, vm->name, err);
        if (ok) {
            unlink(kernel); /* an installer's, if it came from one */
            unlink(initrd);
            unlink(marker);
            unlink(last);
            if (!vm->active) {
                unlink(log);
            }
        }
    }
    store_unlock(all);
    store_unlock(own);
    return ok;
}

static bool rename_locked(struct vm *vm, const char *to, GError **err)
{
    g_autofree char *old_marker = store_path(vm->store->autostart, vm->name, "");
    g_autofree char *new_marker = store_path(vm->store->autostart, to, "");
    vm_refresh_locked(vm);
    if (!vm_need_inactive(vm, err)) {
        return false;
    }
    if (store_has(vm->store, to)) {
        return error_set(err, HANOK_ERROR_INVALID, "there is a domain '%s' already", to);
    }
    struct domain *d = vm_definition(vm, err);
    if (!d) {
        return false;
    }
    g_free(d->name);
    d->name = g_strdup(to);
    g_autofree char *text = domain_format(d, FORMAT_INACTIVE | FORMAT_SECURE);
    domain_free(d);
    /* The new one first: a kill between the two leaves both, never none. */
    if (!store_write(vm->store, to, text, "", err) || !store_remove(vm->store, vm->name, err)) {
        return false;
    }
    if (rename(old_marker, new_marker) && errno != ENOENT) {
        return error_errno(err, errno, "the domain is renamed, but not its autostart mark");
    }
    return true;
}

bool vm_rename(struct vm *vm, const char *to, GError **err)
{
    if (!domain_name_ok(to, err)) {
        return false;
    }
    if (!strcmp(to, vm->name)) {
        return error_set(err, HANOK_ERROR_INVALID, "this is its name already");
    }
    bool first = strcmp(vm->name, to) < 0;
    struct store_lock *a = store_lock(vm->store, first ? vm->name : to, err);
    struct store_lock *b = a ? store_lock(vm->store, first ? to : vm->name, err) : NULL;
    struct store_lock *all = b ? store_lock(vm->store, NULL, err) : NULL;
    bool ok = all && rename_locked(vm, to, err);
    store_unlock(all);
    store_unlock(b);
    store_unlock(a);
    return ok;
}

/* ---- monitors ---- */

struct qmp *vm_qmp(struct vm *vm, GError **err)
{
    g_autofree char *path = g_build_filename(vm->dir ? vm->dir : "", "monitor.sock", NULL);
    if (!vm_need_active(vm, err)) {
        return NULL;
    }
    return qmp_open(path, 10000, err);
}

struct qmp *vm_qmp_follow(struct vm *vm, GError **err)
{
    g_autofree char *path =
        g_build_filename(vm->dir ? vm->dir : "", vm->qemu ? "follow.sock" : "monitor.sock", NULL);
    return vm_need_active(vm, err) ? qmp_open(path, 10000, err) : NULL;
}

char *vm_log_path(const struct vm *vm)
{
    return store_path(vm->store->log, vm->name, ".log");
}

/* ---- ends ---- */

bool vm_wait_end(struct vm *vm, int timeout_ms)
{
    int fd = open_process(vm);
    bool gone = fd < 0 || wait_gone(vm, fd, timeout_ms);
    if (fd >= 0) {
        close(fd);
    }
    return gone;
}

static bool kill_process(struct vm *vm, bool graceful, GError **err)
{
    int fd = open_process(vm);
    bool gone = fd < 0;
    if (!gone && !syscall(SYS_pidfd_send_signal, fd, SIGTERM, NULL, 0)) {
        gone = wait_gone(vm, fd, TERM_WAIT_MS);
    }
    if (!gone && !graceful) {
        syscall(SYS_pidfd_send_signal, fd, SIGKILL, NULL, 0);
        gone = wait_gone(vm, fd, KILL_WAIT_MS);
    }
    if (fd >= 0) {
        close(fd);
    }
    return gone ||
           error_set(err, HANOK_ERROR_BUSY,
                     graceful ? "the process %d of '%s' does not end by itself; 'hanok "
                                "destroy %s' without --graceful kills it"
                              : "the process %d of '%s' could not be killed (it hangs in the "
                                "kernel?); '%s' stays running",
                     (int)vm->pid, vm->name, vm->name);
}

bool vm_destroy(struct vm *vm, bool graceful, GError **err)
{
    struct store_lock *l = store_lock(vm->store, vm->name, err);
    if (!l) {
        return false;
    }
    vm_refresh_locked(vm);
    bool ok = vm_need_active(vm, err);
    if (ok) {
        vm->destroying = true;
        ok = vm_write_status(vm, err) && kill_process(vm, graceful, err);
        if (ok) {
            note_end(vm);
        } else {
            vm->destroying = false;
            vm_write_status(vm, NULL);
        }
    }
    store_unlock(l);
    return ok;
}
