/* store.c - files, names, locks. */
#include "manager/store.h"

#include "base/util.h"
#include "manager/domain.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum { LOCK_WAIT_MS = 60000, LOCK_STEP_MS = 10 };

/* ---- directories ---- */

bool store_make_dirs(const char *path, unsigned mode, GError **err)
{
    if (g_mkdir_with_parents(path, (int)mode)) {
        return error_errno(err, errno, "could not make the directory '%s'", path);
    }
    return true;
}

static void user_dirs(struct store *s)
{
    const char *runtime = g_getenv("XDG_RUNTIME_DIR"), *state = g_getenv("XDG_STATE_HOME");
    s->config = g_build_filename(g_get_user_config_dir(), "hanok", "domains", NULL);
    s->autostart = g_build_filename(g_get_user_config_dir(), "hanok", "autostart", NULL);
    s->run = runtime && *runtime == '/'
                 ? g_build_filename(runtime, "hanok", NULL)
                 : g_build_filename(g_get_user_cache_dir(), "hanok", "run", NULL);
    s->log = state && *state == '/'
                 ? g_build_filename(state, "hanok", "log", NULL)
                 : g_build_filename(g_get_home_dir(), ".local", "state", "hanok", "log", NULL);
    s->images = g_build_filename(g_get_user_data_dir(), "hanok", "images", NULL);
    s->nvram = g_build_filename(g_get_user_data_dir(), "hanok", "nvram", NULL);
    s->cache = g_build_filename(g_get_user_cache_dir(), "hanok", NULL);
}

static void system_dirs(struct store *s)
{
    s->config = g_strdup("/etc/hanok/domains");
    s->autostart = g_strdup("/etc/hanok/autostart");
    s->run = g_strdup("/run/hanok");
    s->log = g_strdup("/var/log/hanok");
    s->images = g_strdup("/var/lib/hanok/images");
    s->nvram = g_strdup("/var/lib/hanok/nvram");
    s->cache = g_strdup("/var/cache/hanok");
}

static bool choose_system(const char *uri, bool *system, GError **err)
{
    if (!uri) {
        *system = geteuid() == 0;
        return true;
    }
    if (!strcmp(uri, "qemu:///system") || !strcmp(uri, "hanok:///system")) {
        *system = true;
    } else if (!strcmp(uri, "qemu:///session") || !strcmp(uri, "hanok:///session")) {
        *system = false;
    } else {
        return error_set(err, HANOK_ERROR_INVALID,
                         "there is no connection '%s'; qemu:///system and qemu:///session are "
                         "the two of this host",
                         uri);
    }
    if (*system && geteuid() != 0) {
        return error_set(err, HANOK_ERROR_INVALID,
                         "qemu:///system is root's; run as root, or use qemu:///session");
    }
    return true;
}

struct store *store_open(const char *uri, GError **err)
{
    struct store *s = g_new0(struct store, 1);
    if (!choose_system(uri, &s->system, err)) {
        g_free(s);
        return NULL;
    }
    if (s->system) {
        system_dirs(s);
    } else {
        user_dirs(s);
    }
    const char *dirs[] = {s->config, s->autostart, s->run, s->log, s->images, s->nvram, s->cache};
    for (unsigned i = 0; i < ARRAY_SIZE(dirs); i++) {
        if (!store_make_dirs(dirs[i], i == 4 && s->system ? 0711 : 0700, err)) {
            store_close(s);
            return NULL;
        }
    }
    return s;
}

void store_close(struct store *s)
{
    if (!s) {
        return;
    }
    g_free(s->config);
    g_free(s->autostart);
    g_free(s->run);
    g_free(s->log);
    g_free(s->images);
    g_free(s->nvram);
    g_free(s->cache);
    g_free(s);
}

char *store_path(const char *dir, const char *name, const char *suffix)
{
    return g_strdup_printf("%s/%s%s", dir, name, suffix);
}

void store_remove_dir(const char *path)
{
    g_autoptr(GDir) d = g_dir_open(path, 0, NULL);
    for (const char *e = d ? g_dir_read_name(d) : NULL; e; e = g_dir_read_name(d)) {
        g_autofree char *file = g_build_filename(path, e, NULL);
        unlink(file);
    }
    rmdir(path);
}

/* ---- locks ---- */

struct store_lock {
    int fd;
    char *path;
};

/* The file may have been removed by its last holder between our open and our flock: then we hold a
 * lock that nobody else sees. */
static bool still_there(int fd, const char *path)
{
    struct stat a, b;
    return !fstat(fd, &a) && !stat(path, &b) && a.st_ino == b.st_ino && a.st_dev == b.st_dev;
}

static bool busy(int fd, const char *name, GError **err)
{
    char pid[32] = "";
    ssize_t n = pread(fd, pid, sizeof(pid) - 1, 0);
    pid[n > 0 ? n : 0] = 0;
    g_strchomp(pid);
    return error_set(err, HANOK_ERROR_BUSY,
                     "%s%s%s is being changed by another process (%s); try again when it is done",
                     name ? "domain '" : "the store", name ? name : "", name ? "'" : "",
                     *pid ? pid : "unknown");
}

static char *lock_path(struct store *s, const char *name)
{
    return name ? g_strdup_printf("%s/%s.lock", s->run, name)
                : g_strdup_printf("%s/.store.lock", s->run);
}

static int open_lock(const char *path, GError **err)
{
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) {
        error_errno(err, errno, "could not open the lock '%s'", path);
    }
    return fd;
}

/* Takes fd; NULL when somebody else has the lock (*gone false) or it vanished (*gone true). */
static struct store_lock *take_lock(int fd, const char *path, bool *gone)
{
    *gone = false;
    if (flock(fd, LOCK_EX | LOCK_NB)) {
        return NULL;
    }
    if (!still_there(fd, path)) {
        *gone = true;
        return NULL;
    }
    char text[32];
    int len = g_snprintf(text, sizeof(text), "%d\n", (int)getpid());
    if (ftruncate(fd, 0) || pwrite(fd, text, len, 0) != len) {
        /* only a hint for people */
    }
    struct store_lock *l = g_new0(struct store_lock, 1);
    l->fd = fd;
    l->path = g_strdup(path);
    return l;
}

struct store_lock *store_lock(struct store *s, const char *name, GError **err)
{
    g_autofree char *path = lock_path(s, name);
    for (unsigned waited = 0;; waited += LOCK_STEP_MS) {
        bool gone;
        int fd = open_lock(path, err);
        struct store_lock *l = fd < 0 ? NULL : take_lock(fd, path, &gone);
        if (fd < 0 || l) {
            return l;
        }
        if (!gone && waited >= LOCK_WAIT_MS) {
            busy(fd, name, err);
            close(fd);
            return NULL;
        }
        close(fd);
        if (!gone) {
            g_usleep(LOCK_STEP_MS * 1000);
        }
    }
}

struct store_lock *store_trylock(struct store *s, const char *name)
{
    g_autofree char *path = lock_path(s, name);
    bool gone;
    int fd = open_lock(path, NULL);
    struct store_lock *l = fd < 0 ? NULL : take_lock(fd, path, &gone);
    if (fd >= 0 && !l) {
        close(fd);
    }
    return l;
}

void store_unlock(struct store_lock *l)
{
    if (l) {
        unlink(l->path);
        close(l->fd);
        g_free(l->path);
        g_free(l);
    }
}

/* ---- files ---- */

static bool write_all(int fd, const char *text)
{
    size_t left = strlen(text);
    while (left) {
        ssize_t n = write(fd, text, left);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return false;
        }
        text += n;
        left -= (size_t)n;
    }
    return true;
}

static void sync_dir_of(const char *path)
{
    g_autofree char *dir = g_path_get_dirname(path);
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) {
        fsync(fd);
        close(fd);
    }
}

bool store_replace_file(const char *path, const char *text, unsigned mode, GError **err)
{
    g_autofree char *dir = g_path_get_dirname(path);
    /* begins with a dot: no name of a domain does, so what a crash leaves is never listed */
    g_autofree char *temp = g_strdup_printf("%s/.%d.tmp", dir, (int)getpid());
    int fd = open(temp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, mode);
    if (fd < 0) {
        return error_errno(err, errno, "could not write '%s'", temp);
    }
    bool ok = write_all(fd, text) && !fsync(fd);
    int why = errno;
    if (close(fd) && ok) {
        ok = false;
        why = errno;
    }
    if (ok && rename(temp, path)) {
        ok = false;
        why = errno;
    }
    if (!ok) {
        unlink(temp);
        return error_errno(err, why, "could not write '%s'; what was there is unchanged", path);
    }
    sync_dir_of(path);
    return true;
}

/* Files that a killed writer left behind. */
static void sweep(const char *dir)
{
    g_autoptr(GDir) d = g_dir_open(dir, 0, NULL);
    for (const char *e = d ? g_dir_read_name(d) : NULL; e; e = g_dir_read_name(d)) {
        if (*e == '.' && g_str_has_suffix(e, ".tmp")) {
            int pid = (int)g_ascii_strtoll(e + 1, NULL, 10);
            g_autofree char *proc = g_strdup_printf("/proc/%d", pid);
            g_autofree char *path = g_build_filename(dir, e, NULL);
            if (!g_file_test(proc, G_FILE_TEST_EXISTS)) {
                unlink(path);
            }
        }
    }
}

/* ---- definitions ---- */

static gint by_name(gconstpointer a, gconstpointer b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

GPtrArray *store_names(struct store *s)
{
    GPtrArray *names = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(GDir) d = g_dir_open(s->config, 0, NULL);
    for (const char *e = d ? g_dir_read_name(d) : NULL; e; e = g_dir_read_name(d)) {
        if (*e != '.' && g_str_has_suffix(e, ".xml")) {
            g_ptr_array_add(names, g_strndup(e, strlen(e) - 4));
        }
    }
    g_ptr_array_sort(names, by_name);
    return names;
}

bool store_has(struct store *s, const char *name)
{
    g_autofree char *path = store_path(s->config, name, ".xml");
    return domain_name_ok(name, NULL) && g_file_test(path, G_FILE_TEST_EXISTS);
}

char *store_read(struct store *s, const char *name, GError **err)
{
    char *text = NULL;
    g_autoptr(GError) why = NULL;
    if (!domain_name_ok(name, err)) {
        return NULL;
    }
    g_autofree char *path = store_path(s->config, name, ".xml");
    if (g_file_get_contents(path, &text, NULL, &why)) {
        return text;
    }
    if (g_error_matches(why, G_FILE_ERROR, G_FILE_ERROR_NOENT)) {
        error_set(err, HANOK_ERROR_NOT_FOUND, "there is no domain '%s'", name);
    } else {
        error_set(err, HANOK_ERROR_IO, "%s", why->message);
    }
    return NULL;
}

bool store_write(struct store *s, const char *name, const char *text, const char *expected,
                 GError **err)
{
    g_autofree char *path = store_path(s->config, name, ".xml");
    if (!domain_name_ok(name, err)) {
        return false;
    }
    if (expected) {
        g_autofree char *now = store_read(s, name, NULL);
        if (strcmp(now ? now : "", expected)) {
            return error_set(err, HANOK_ERROR_BUSY,
                             "domain '%s' was changed by somebody else in the meantime", name);
        }
    }
    sweep(s->config);
    return store_replace_file(path, text, 0600, err);
}

bool store_remove(struct store *s, const char *name, GError **err)
{
    g_autofree char *path = store_path(s->config, name, ".xml");
    if (unlink(path) && errno != ENOENT) {
        return error_errno(err, errno, "could not remove '%s'", path);
    }
    sync_dir_of(path);
    return true;
}
