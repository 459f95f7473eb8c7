/* lock.c - byte locks on images, and who holds them. */
#include "lock.h"

#include "base/error.h"
#include "base/log.h"
#include "base/util.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { USED_BASE = 100, UNSHARED_BASE = 200, PERM_COUNT = 4 };

/* ---- single bytes ---- */

static int byte_op(int fd, int cmd, short type, off_t byte)
{
    struct flock l = {.l_type = type, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};
    int r;

    do {
        r = fcntl(fd, cmd, &l);
    } while (r < 0 && errno == EINTR);
    if (r < 0)
        return -errno;
    return cmd == F_OFD_GETLK && l.l_type != F_UNLCK ? -EAGAIN : 0;
}

/* (Un)locks the bytes base+p of all p in perms. */
static int bytes_op(int fd, short type, off_t base, unsigned perms, off_t *byte)
{
    for (unsigned p = 0; p < PERM_COUNT; p++) {
        if (!(perms & BIT(p)))
            continue;
        *byte = base + p;
        int r = byte_op(fd, F_OFD_SETLK, type, *byte);
        if (r < 0)
            return r;
    }
    return 0;
}

/* -EAGAIN when somebody else holds one of the bytes base+p. */
static int bytes_probe(int fd, off_t base, unsigned perms, off_t *byte)
{
    for (unsigned p = 0; p < PERM_COUNT; p++) {
        if (!(perms & BIT(p)))
            continue;
        *byte = base + p;
        int r = byte_op(fd, F_OFD_GETLK, F_WRLCK, *byte);
        if (r < 0)
            return r;
    }
    return 0;
}

/* ---- the holder, for the message ---- */

static bool fdinfo_holds(int dir, const char *name, off_t byte)
{
    int fd = openat(dir, name, O_RDONLY | O_CLOEXEC);
    FILE *f = fd >= 0 ? fdopen(fd, "r") : NULL;
    char line[256];
    bool found = false;

    if (!f) {
        if (fd >= 0)
            close(fd);
        return false;
    }
    while (!found && fgets(line, sizeof(line), f)) {
        intmax_t start, end;
        if (sscanf(line, "lock: %*d: OFDLCK %*s %*s %*s %*s %jd %jd", &start, &end) == 2)
            found = byte >= start && byte <= end;
    }
    fclose(f);
    return found;
}

/* Whether a descriptor of this process, other than ours, is this file and holds the byte. */
static bool process_holds(const char *pid, const struct image_lock *l, const struct stat *us,
                          off_t byte)
{
    g_autofree char *fds = g_strdup_printf("/proc/%s/fd", pid);
    g_autofree char *infos = g_strdup_printf("/proc/%s/fdinfo", pid);
    bool self = g_ascii_strtoll(pid, NULL, 10) == getpid(), found = false;
    DIR *d = opendir(fds);
    int info_dir = d ? open(infos, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    struct dirent *e;
    struct stat st;

    while (info_dir >= 0 && !found && (e = readdir(d))) {
        if (!isdigit((unsigned char)e->d_name[0]) ||
            (self && g_ascii_strtoll(e->d_name, NULL, 10) == l->fd) ||
            fstatat(dirfd(d), e->d_name, &st, 0) < 0 || st.st_dev != us->st_dev ||
            st.st_ino != us->st_ino)
            continue;
        found = fdinfo_holds(info_dir, e->d_name, byte);
    }
    if (info_dir >= 0)
        close(info_dir);
    if (d)
        closedir(d);
    return found;
}

static char *process_name(const char *pid)
{
    g_autofree char *path = g_strdup_printf("/proc/%s/comm", pid);
    g_autofree char *text = NULL;

    if (g_ascii_strtoll(pid, NULL, 10) == getpid())
        return g_strdup("this very process, through another disk or node");
    if (!g_file_get_contents(path, &text, NULL, NULL))
        return g_strdup_printf("process %s", pid);
    return g_strdup_printf("process %s (%s)", pid, g_strchomp(text));
}

/* "process 12 (qemu-img)"; other users' processes do not show what they have open. */
static char *find_holder(const struct image_lock *l, off_t byte)
{
    struct stat us;
    DIR *d = fstat(l->fd, &us) == 0 ? opendir("/proc") : NULL;
    char *name = NULL;
    struct dirent *e;

    while (d && !name && (e = readdir(d))) {
        if (isdigit((unsigned char)e->d_name[0]) && process_holds(e->d_name, l, &us, byte))
            name = process_name(e->d_name);
    }
    if (d)
        closedir(d);
    return name ? name : g_strdup("another process");
}

/* ---- from one set of locks to another ---- */

static bool refuse(const struct image_lock *l, off_t byte, GError **err)
{
    static const char *const doing[] = {"reads it", "writes to it", "rewrites it", "resizes it"};
    static const char *const wish[] = {"read", "written", "rewritten", "resized"};
    g_autofree char *holder = find_holder(l, byte);

    if (byte >= UNSHARED_BASE)
        return error_set(err, HANOK_ERROR_BUSY,
                         "The image '%s' is in use: %s does not let it be %s by others meanwhile. "
                         "Stop that, or open the image read-only with force-share=on (-U).",
                         l->filename, holder, wish[byte - UNSHARED_BASE]);
    return error_set(err, HANOK_ERROR_BUSY,
                     "The image '%s' is in use: %s %s. Stop that, or open the image read-only with "
                     "force-share=on (-U).",
                     l->filename, holder, doing[byte - USED_BASE]);
}

/* A host or file system without such locks. */
static bool no_locks(struct image_lock *l, int errnum, GError **err)
{
    if (l->mode == LOCKING_ON)
        return error_errno(err, errnum,
                           "Cannot lock '%s' (locking=on was asked for; locking=auto goes on "
                           "without)",
                           l->filename);
    log_warning("'%s' cannot be locked here (%s): nothing keeps another machine from writing to it",
                l->filename, g_strerror(errnum));
    l->mode = LOCKING_OFF;
    return true;
}

static void unlock_extra(struct image_lock *l, unsigned used, unsigned unshared)
{
    off_t byte;

    bytes_op(l->fd, F_UNLCK, USED_BASE, ~used, &byte);
    bytes_op(l->fd, F_UNLCK, UNSHARED_BASE, ~unshared, &byte);
}

bool image_lock_set(struct image_lock *l, unsigned used, unsigned unshared, GError **err)
{
    off_t byte = 0;

    if (l->mode == LOCKING_OFF)
        return true;
    /* First all locks, then the look at others': of two that come at once, one sees the other. */
    int r = bytes_op(l->fd, F_RDLCK, USED_BASE, used & ~l->used, &byte);
    if (r == 0)
        r = bytes_op(l->fd, F_RDLCK, UNSHARED_BASE, unshared & ~l->unshared, &byte);
    if (r == 0)
        r = bytes_probe(l->fd, UNSHARED_BASE, used, &byte);
    if (r == 0)
        r = bytes_probe(l->fd, USED_BASE, unshared, &byte);
    if (r < 0) {
        unlock_extra(l, l->used, l->unshared);
        return r == -EAGAIN || r == -EACCES ? refuse(l, byte, err) : no_locks(l, -r, err);
    }
    unlock_extra(l, used, unshared);
    l->used = used;
    l->unshared = unshared;
    return true;
}
