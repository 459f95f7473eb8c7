/* fetch.h - the kernel and initial RAM disk of an installer, wherever it is: a directory, a CD
 * image, or a tree on a web server.  What comes from outside is hostile: sizes are bounded, and
 * where the tree has SHA256SUMS the files are compared with it. */
#ifndef CLI_FETCH_H
#define CLI_FETCH_H

#include "base/error.h"

#include <gio/gio.h>

struct boot_files {
    char *kernel, *initrd; /* files in dir, named after the machine */
};

/* Copies both into dir as NAME-kernel and NAME-initrd.  progress: show a line on a terminal. */
bool fetch_boot_files(const char *location, const char *dir, const char *name, bool progress,
                      struct boot_files *out, GError **err);
void boot_files_clear(struct boot_files *f);

/* Whole file by HTTP.  NOT_FOUND for 404. */
GBytes *http_get(const char *url, const char *progress, GError **err);

/* What a server answers to a GET, from its first byte; body is filled for status 200.  location is
 * the caller's to free, also when this fails. */
enum { HTTP_LENGTH_UNKNOWN = -1, HTTP_LENGTH_TOO_MUCH = -2 };
struct http_answer {
    int status;
    char *location;
    int64_t length;
    bool chunked;
};
bool http_answer_read(GInputStream *from, struct http_answer *a, GByteArray *body,
                      const char *progress, GError **err);

/* A file out of an ISO 9660 image, by path ("install.amd/vmlinuz"), names compared without case. */
GBytes *iso_read(const char *image, const char *path, GError **err);

/* Appends files to an initial RAM disk, as /NAME each (cpio "newc"); or one with this text. */
bool initrd_add(const char *initrd, const char *name, const char *data, size_t len, GError **err);
bool initrd_inject(const char *initrd, GPtrArray *files, GError **err);

#endif
