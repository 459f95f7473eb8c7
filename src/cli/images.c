/* images.c - making and copying image files. */
#include "images.h"

#include "cmd.h"

#include "base/util.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

enum { CHUNK = 4 * 1024 * 1024 };

bool image_info(const char *path, struct image_info *out, GError **err)
{
    g_autofree char *tool = image_tool(), *text = NULL;
    char *argv[] = {tool, "info", "--output=json", (char *)path, NULL};
    memset(out, 0, sizeof(*out));
    if (!run_tool(argv, &text, err)) {
        return false;
    }
    JSON_AUTO o = json_loads(text, 0, NULL);
    const char *format = json_string_value(json_object_get(o, "format"));
    if (!format) {
        return error_set(err, HANOK_ERROR_IO, "%s does not say what '%s' is", tool, path);
    }
    g_strlcpy(out->format, format, sizeof(out->format));
    out->virtual_bytes = (uint64_t)json_integer_value(json_object_get(o, "virtual-size"));
    out->allocated_bytes = (uint64_t)json_integer_value(json_object_get(o, "actual-size"));
    return true;
}

char *image_temp_name(const char *path)
{
    g_autofree char *dir = g_path_get_dirname(path), *base = g_path_get_basename(path);
    return g_strdup_printf("%s/.%.180s.%d.part", dir, base, (int)getpid());
}

bool image_place(const char *temp, const char *path, GError **err)
{
    int fd = open(temp, O_RDONLY | O_CLOEXEC);
    bool ok = fd >= 0 && !fsync(fd);
    int why = errno;
    if (fd >= 0) {
        close(fd);
    }
    if (ok && renameat2(AT_FDCWD, temp, AT_FDCWD, path, RENAME_NOREPLACE)) {
        why = errno;
        /* file systems without it: a link does not replace either */
        ok = why == EINVAL && !link(temp, path);
        why = ok || why != EINVAL ? why : errno;
        if (ok) {
            unlink(temp);
        }
    }
    if (ok) {
        return true;
    }
    unlink(temp);
    return why == EEXIST
               ? error_set(err, HANOK_ERROR_BUSY, "'%s' exists already; it is not replaced", path)
               : error_errno(err, why, "'%s'", path);
}

bool image_create(const char *path, const char *format, int64_t bytes, const char *backing,
                  const char *backing_format, GError **err)
{
    g_autofree char *tool = image_tool(), *temp = image_temp_name(path);
    g_autofree char *size = bytes >= 0 ? g_strdup_printf("%" G_GINT64_FORMAT, bytes) : NULL;
    struct image_info info;
    if (!access(path, F_OK)) {
        return error_set(err, HANOK_ERROR_BUSY, "'%s' exists already; it is not replaced", path);
    }
    if (backing && !backing_format) {
        if (!image_info(backing, &info, err)) {
            return false;
        }
        backing_format = info.format;
    }
    const char *plain[] = {tool, "create", "-q", "-f", format, temp, size, NULL};
    const char *over[] = {tool,    "create", "-q",           "-f", format, "-b",
                          backing, "-F",     backing_format, temp, size,   NULL};
    if (!run_tool((char *const *)(backing ? over : plain), NULL, err)) {
        unlink(temp);
        return false;
    }
    return image_place(temp, path, err);
}

/* ---- copying ---- */

static void show(const char *progress, uint64_t done, uint64_t all)
{
    if (progress && isatty(2)) {
        fprintf(stderr, "\r%s: %3d %%", progress, all ? (int)(done * 100 / all) : 100);
        if (done >= all) {
            fputc('\n', stderr);
        }
    }
}

static bool copy_range(int in, int out, off_t at, off_t end, char *buf)
{
    while (at < end) {
        ssize_t n = pread(in, buf, (size_t)MIN_OF(end - at, (off_t)CHUNK), at);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n == 0) {
            errno = EIO; /* it shrank under us */
        }
        if (n <= 0) {
            return false;
        }
        for (ssize_t w = 0; w < n;) {
            ssize_t k = pwrite(out, buf + w, (size_t)(n - w), at + w);
            if (k <= 0 && errno != EINTR) {
                return false;
            }
            w += MAX_OF(k, 0);
        }
        at += n;
    }
    return true;
}

static bool copy_data(int in, int out, off_t size, const char *progress)
{
    g_autofree char *buf = g_malloc(CHUNK);
    if (ftruncate(out, size)) {
        return false;
    }
    for (off_t at = 0; at < size;) {
        off_t data = lseek(in, at, SEEK_DATA);
        if (data < 0 && errno == ENXIO) {
            break; /* only a hole is left */
        }
        data = data < 0 ? at : data;
        off_t hole = lseek(in, data, SEEK_HOLE);
        hole = hole < 0 ? size : hole;
        for (off_t end; data < hole; data = end) {
            end = MIN_OF(data + (off_t)CHUNK * 16, hole);
            if (!copy_range(in, out, data, end, buf)) {
                return false;
            }
            show(progress, (uint64_t)end, (uint64_t)size);
        }
        at = hole;
    }
    return true;
}

static bool copy_file(const char *from, const char *temp, enum image_copy how, const char *progress,
                      GError **err)
{
    struct stat st;
    int in = open(from, O_RDONLY | O_CLOEXEC);
    int out = in < 0 || fstat(in, &st)
                  ? -1
                  : open(temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, st.st_mode & 0777);
    bool ok = out >= 0 && !ioctl(out, FICLONE, in);
    if (out >= 0 && !ok && how != IMAGE_COPY_REFLINK) {
        ok = copy_data(in, out, st.st_size, progress);
    }
    if (!ok) {
        error_errno(err, errno,
                    how == IMAGE_COPY_REFLINK ? "the file system cannot share blocks of '%s'"
                                              : "could not copy '%s'",
                    from);
        unlink(temp);
    } else {
        show(progress, 1, 1);
    }
    if (in >= 0) {
        close(in);
    }
    if (out >= 0) {
        close(out);
    }
    return ok;
}

bool image_copy(const char *from, const char *to, enum image_copy how, const char *progress,
                GError **err)
{
    if (how == IMAGE_COPY_LINKED) {
        return image_create(to, "qcow2", -1, from, NULL, err);
    }
    if (!access(to, F_OK)) {
        return error_set(err, HANOK_ERROR_BUSY, "'%s' exists already; it is not replaced", to);
    }
    g_autofree char *temp = image_temp_name(to);
    return copy_file(from, temp, how, progress, err) && image_place(temp, to, err);
}

char *image_user(struct store *s, const char *path)
{
    g_autoptr(GPtrArray) names = store_names(s);
    g_autoptr(GString) needle = g_string_new(NULL);
    xml_escape(needle, path);
    g_autofree char *quoted = g_strdup_printf("'%s'", needle->str);
    for (unsigned i = 0; i < names->len; i++) {
        g_autofree char *text = store_read(s, names->pdata[i], NULL);
        if (text && strstr(text, quoted)) {
            return g_strdup(names->pdata[i]);
        }
    }
    return NULL;
}
