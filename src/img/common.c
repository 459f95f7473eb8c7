/* common.c - opening images, naming formats, saying what went wrong. */
#include "img.h"

#include "base/error.h"
#include "base/log.h"
#include "base/props.h"
#include "base/util.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

int img_fail(GError *err)
{
    log_error("%s", err->message);
    g_error_free(err);
    return 1;
}

int img_fail_text(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    g_autofree char *text = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    log_error("%s", text);
    return 1;
}

/* "1 GiB", "1.5 KiB", "512 B": as people read sizes. */
char *img_human_size(uint64_t bytes)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    double v = bytes;
    unsigned u = 0;
    while (v >= 1024 && u + 1 < ARRAY_SIZE(units)) {
        v /= 1024;
        u++;
    }
    return g_strdup_printf("%.3g %s", v, units[u]);
}

bool img_check_format(const char *format, GError **err)
{
    static const char *const formats[] = {"raw", "qcow2"};
    for (size_t i = 0; i < ARRAY_SIZE(formats); i++) {
        if (!strcmp(format, formats[i])) {
            return true;
        }
    }
    g_autofree char *near = error_nearest(format, formats, ARRAY_SIZE(formats));
    return error_set(err, HANOK_ERROR_INVALID, "there is no format '%s'; did you mean %s?", format,
                     near);
}

const char *img_probe(const char *path, GError **err)
{
    char magic[4] = "";
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
        error_errno(err, errno, "could not open '%s'", path);
        return NULL;
    }
    ssize_t n = read(fd, magic, sizeof(magic));
    close(fd);
    return n == sizeof(magic) && !memcmp(magic, "QFI\xfb", sizeof(magic)) ? "qcow2" : "raw";
}

struct blk_node *img_open(const char *path, const struct img_open *how, GError **err)
{
    const char *format = how->format ? how->format : img_probe(path, err);
    if (!format || !img_check_format(format, err)) {
        return NULL;
    }
    json_t *o =
        json_pack("{s:s, s:b, s:b, s:s, s:{s:b}, s:{s:s, s:s, s:b, s:b}}", "driver", format,
                  "read-only", !how->write, "force-share", how->force_share, "discard", "unmap",
                  "cache", "no-flush", how->unsafe, "file", "driver", "file", "filename", path,
                  "read-only", !how->write, "force-share", how->force_share);
    if (!o) {
        error_set(err, HANOK_ERROR_INVALID, "The file name of an image must be valid UTF-8.");
        return NULL;
    }
    if (how->no_backing && !strcmp(format, "qcow2")) {
        json_object_set_new(o, "backing", json_null());
    }
    PROPS_AUTO p = props_from_json(o);
    json_decref(o);
    return blk_open(p, err);
}
