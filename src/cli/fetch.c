/* fetch.c - where installers keep their kernels, and getting them. */
#include "fetch.h"

#include "base/util.h"
#include "manager/store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Kernel, initial RAM disk: relative to what --location names.  sums: a checksum file of the tree,
 * and what its lines call the directory of these files. */
static const struct {
    const char *kernel, *initrd, *sums, *prefix;
} places[] = {
    {"current/images/netboot/debian-installer/amd64/linux",
     "current/images/netboot/debian-installer/amd64/initrd.gz", "current/images/SHA256SUMS",
     "./netboot/debian-installer/amd64/"},
    {"main/installer-amd64/current/images/netboot/debian-installer/amd64/linux",
     "main/installer-amd64/current/images/netboot/debian-installer/amd64/initrd.gz",
     "main/installer-amd64/current/images/SHA256SUMS", "./netboot/debian-installer/amd64/"},
    {"current/images/netboot/ubuntu-installer/amd64/linux",
     "current/images/netboot/ubuntu-installer/amd64/initrd.gz", "current/images/SHA256SUMS",
     "./netboot/ubuntu-installer/amd64/"},
    {"current/legacy-images/netboot/ubuntu-installer/amd64/linux",
     "current/legacy-images/netboot/ubuntu-installer/amd64/initrd.gz",
     "current/legacy-images/SHA256SUMS", "./netboot/ubuntu-installer/amd64/"},
    {"netboot/debian-installer/amd64/linux", "netboot/debian-installer/amd64/initrd.gz",
     "SHA256SUMS", "./netboot/debian-installer/amd64/"},
    {"debian-installer/amd64/linux", "debian-installer/amd64/initrd.gz", "SHA256SUMS",
     "./debian-installer/amd64/"},
    {"text/debian-installer/amd64/linux", "text/debian-installer/amd64/initrd.gz", NULL, NULL},
    {"ubuntu-installer/amd64/linux", "ubuntu-installer/amd64/initrd.gz", NULL, NULL},
    {"install.amd/vmlinuz", "install.amd/initrd.gz", NULL, NULL},
    {"casper/vmlinuz", "casper/initrd", NULL, NULL},
    {"images/pxeboot/vmlinuz", "images/pxeboot/initrd.img", NULL, NULL},
    {"boot/x86_64/loader/linux", "boot/x86_64/loader/initrd", NULL, NULL},
    {"linux", "initrd.gz", "SHA256SUMS", "./"},
    {"vmlinuz", "initrd.img", "SHA256SUMS", "./"},
};

enum { MAX_FILE = 512 * 1024 * 1024 };

void boot_files_clear(struct boot_files *f)
{
    g_clear_pointer(&f->kernel, g_free);
    g_clear_pointer(&f->initrd, g_free);
}

/* ---- one file from anywhere ---- */

enum kind { IN_DIRECTORY, IN_ISO, ON_THE_WEB };

static GBytes *read_local(const char *path, GError **err)
{
    char *text = NULL;
    gsize len = 0;
    struct stat st;
    if (stat(path, &st) || !S_ISREG(st.st_mode) || st.st_size > MAX_FILE) {
        error_set(err, HANOK_ERROR_NOT_FOUND, "'%s' is not a file of reasonable size", path);
        return NULL;
    }
    return g_file_get_contents(path, &text, &len, err) ? g_bytes_new_take(text, len) : NULL;
}

static GBytes *get(enum kind kind, const char *base, const char *path, const char *progress,
                   GError **err)
{
    g_autofree char *full =
        g_strdup_printf("%s%s%s", base, g_str_has_suffix(base, "/") ? "" : "/", path);
    switch (kind) {
    case IN_DIRECTORY:
        return read_local(full, err);
    case IN_ISO:
        return iso_read(base, path, err);
    case ON_THE_WEB:
        return http_get(full, progress, err);
    }
    return NULL;
}

/* ---- checksums ---- */

static bool check_sum(GBytes *sums, const char *prefix, const char *path, GBytes *file,
                      GError **err)
{
    gsize len = 0;
    const char *data = g_bytes_get_data(sums, &len), *slash = strrchr(path, '/');
    g_autofree char *text = g_strndup(data, len);
    g_autofree char *name = g_strconcat(prefix, slash ? slash + 1 : path, NULL);
    g_autofree char *own = g_compute_checksum_for_bytes(G_CHECKSUM_SHA256, file);
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    for (char **l = lines; *l; l++) {
        const char *at = strchr(*l, ' ');
        if (at && !strcmp(at + strspn(at, " *"), name)) {
            return !g_ascii_strncasecmp(*l, own, 64) ||
                   error_set(err, HANOK_ERROR_CORRUPT,
                             "'%s' is not what the tree's SHA256SUMS says; it was not fetched "
                             "whole, or changed",
                             path);
        }
    }
    return true; /* the tree has no sum of it */
}

/* ---- the pair ---- */

static bool keep(GBytes *data, const char *path, GError **err)
{
    g_autoptr(GError) why = NULL;
    gsize len = 0;
    const char *text = g_bytes_get_data(data, &len);
    return g_file_set_contents_full(path, text, (gssize)len, G_FILE_SET_CONTENTS_CONSISTENT, 0600,
                                    &why) ||
           error_set(err, HANOK_ERROR_IO, "%s", why->message);
}

static bool try_place(enum kind kind, const char *base, unsigned i, bool progress, const char *dir,
                      const char *name, struct boot_files *out, bool *absent, GError **err)
{
    g_autoptr(GError) why = NULL;
    g_autoptr(GBytes) kernel = get(kind, base, places[i].kernel, progress ? "kernel" : NULL, &why);
    if (!kernel) {
        *absent = g_error_matches(why, HANOK_ERROR, HANOK_ERROR_NOT_FOUND);
        g_propagate_error(err, g_steal_pointer(&why));
        return false;
    }
    *absent = false;
    g_autoptr(GBytes) initrd =
        get(kind, base, places[i].initrd, progress ? "initial RAM disk" : NULL, err);
    g_autoptr(GBytes) sums =
        initrd && places[i].sums ? get(kind, base, places[i].sums, NULL, NULL) : NULL;
    if (!initrd || (sums && (!check_sum(sums, places[i].prefix, places[i].kernel, kernel, err) ||
                             !check_sum(sums, places[i].prefix, places[i].initrd, initrd, err)))) {
        return false;
    }
    out->kernel = g_strdup_printf("%s/%s-kernel", dir, name);
    out->initrd = g_strdup_printf("%s/%s-initrd", dir, name);
    return store_make_dirs(dir, 0700, err) && keep(kernel, out->kernel, err) &&
           keep(initrd, out->initrd, err);
}

bool fetch_boot_files(const char *location, const char *dir, const char *name, bool progress,
                      struct boot_files *out, GError **err)
{
    bool web = g_str_has_prefix(location, "http://") || g_str_has_prefix(location, "https://");
    bool directory = !web && g_file_test(location, G_FILE_TEST_IS_DIR);
    if (!web && !directory && !g_file_test(location, G_FILE_TEST_IS_REGULAR)) {
        return error_set(
            err, HANOK_ERROR_NOT_FOUND,
            "--location %s: there is no such directory or CD image, and it is not an http address",
            location);
    }
    enum kind kind = web ? ON_THE_WEB : directory ? IN_DIRECTORY : IN_ISO;
    for (unsigned i = 0; i < ARRAY_SIZE(places); i++) {
        g_autoptr(GError) why = NULL;
        bool absent = false;
        if (try_place(kind, location, i, progress, dir, name, out, &absent, &why)) {
            return true;
        }
        boot_files_clear(out);
        if (!absent) {
            g_propagate_error(err, g_steal_pointer(&why));
            return false;
        }
    }
    return error_set(
        err, HANOK_ERROR_NOT_FOUND,
        "--location %s: no installer's kernel was found there (looked for %s and %u other places)",
        location, places[0].kernel, (unsigned)ARRAY_SIZE(places) - 1);
}

/* ---- CD images ---- */

enum { SECTOR = 2048, MAX_DIRECTORY = 4 * 1024 * 1024 };

static bool read_at(int fd, void *buf, size_t len, off_t at)
{
    return pread(fd, buf, len, at) == (ssize_t)len;
}

/* "VMLINUZ.;1" is vmlinuz. */
static bool same_name(const uint8_t *id, unsigned len, const char *name, size_t name_len)
{
    while (len > 1 && id[len - 1] >= '0' && id[len - 1] <= '9') {
        len--;
    }
    len -= len > 1 && id[len - 1] == ';';
    len -= len > 1 && id[len - 1] == '.';
    return len == name_len && !g_ascii_strncasecmp((const char *)id, name, len);
}

static bool find_entry(int fd, uint32_t *sector, uint32_t *size, const char *name, size_t name_len)
{
    if (*size > MAX_DIRECTORY) {
        return false;
    }
    g_autofree uint8_t *dir = g_malloc(*size + 1u);
    if (!read_at(fd, dir, *size, (off_t)*sector * SECTOR)) {
        return false;
    }
    for (uint32_t at = 0; at + 33 < *size;) {
        unsigned len = dir[at], id_len = dir[at + 32];
        if (!len) { /* records do not cross sectors */
            at = (at / SECTOR + 1) * SECTOR;
            continue;
        }
        if (len < 34 || at + len > *size || 33 + id_len > len) {
            return false;
        }
        if (id_len && same_name(dir + at + 33, id_len, name, name_len)) {
            *sector = le32_get(dir + at + 2);
            *size = le32_get(dir + at + 10);
            return true;
        }
        at += len;
    }
    return false;
}

static GBytes *read_extent(int fd, const char *path, uint32_t sector, uint32_t size, GError **err)
{
    struct stat st;
    if (fstat(fd, &st) || size > MAX_FILE || (off_t)sector * SECTOR + size > st.st_size) {
        error_set(err, HANOK_ERROR_CORRUPT, "the CD image says of '%s' what cannot be", path);
        return NULL;
    }
    uint8_t *data = g_malloc(size + 1u);
    if (!read_at(fd, data, size, (off_t)sector * SECTOR)) {
        g_free(data);
        error_errno(err, errno, "could not read '%s' from the CD image", path);
        return NULL;
    }
    return g_bytes_new_take(data, size);
}

GBytes *iso_read(const char *image, const char *path, GError **err)
{
    uint8_t volume[SECTOR];
    GBytes *data = NULL;
    int fd = open(image, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        error_errno(err, errno, "'%s'", image);
        return NULL;
    }
    if (!read_at(fd, volume, sizeof(volume), 16 * SECTOR) || memcmp(volume + 1, "CD001", 5)) {
        error_set(err, HANOK_ERROR_INVALID, "'%s' is neither a directory nor a CD image", image);
        close(fd);
        return NULL;
    }
    uint32_t sector = le32_get(volume + 158), size = le32_get(volume + 166);
    bool found = true;
    for (const char *at = path; found && *at;) {
        size_t len = strcspn(at, "/");
        found = find_entry(fd, &sector, &size, at, len);
        at += len + (at[len] == '/');
    }
    if (found) {
        data = read_extent(fd, path, sector, size, err);
    } else {
        error_set(err, HANOK_ERROR_NOT_FOUND, "'%s' has no '%s'", image, path);
    }
    close(fd);
    return data;
}

/* ---- injecting ---- */

static void cpio_entry(GString *out, const char *name, const char *data, gsize len, unsigned mode)
{
    gsize name_len = strlen(name) + 1;
    g_string_append_printf(out, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x", 0,
                           mode, 0, 0, 1, 0, (unsigned)len, 0, 0, 0, 0, (unsigned)name_len, 0);
    g_string_append_len(out, name, (gssize)name_len);
    while (out->len % 4) {
        g_string_append_c(out, 0);
    }
    g_string_append_len(out, data, (gssize)len);
    while (out->len % 4) {
        g_string_append_c(out, 0);
    }
}

/* The kernel looks for the next archive at a multiple of four. */
static bool append_archive(const char *initrd, GString *out, GError **err)
{
    cpio_entry(out, "TRAILER!!!", "", 0, 0);
    int fd = open(initrd, O_WRONLY | O_CLOEXEC);
    off_t end = fd >= 0 ? lseek(fd, 0, SEEK_END) : 0;
    bool ok = fd >= 0 && !ftruncate(fd, ALIGN_UP(end, (off_t)4)) &&
              pwrite(fd, out->str, out->len, ALIGN_UP(end, (off_t)4)) == (ssize_t)out->len;
    if (!ok) {
        error_errno(err, errno, "could not add to '%s'", initrd);
    }
    if (fd >= 0) {
        close(fd);
    }
    return ok;
}

bool initrd_add(const char *initrd, const char *name, const char *data, size_t len, GError **err)
{
    g_autoptr(GString) out = g_string_new(NULL);
    cpio_entry(out, name, data, len, 0100600);
    return append_archive(initrd, out, err);
}

bool initrd_inject(const char *initrd, GPtrArray *files, GError **err)
{
    g_autoptr(GString) out = g_string_new(NULL);
    for (unsigned i = 0; i < files->len; i++) {
        g_autofree char *data = NULL, *base = g_path_get_basename(files->pdata[i]);
        g_autoptr(GError) why = NULL;
        gsize len = 0;
        if (!g_file_get_contents(files->pdata[i], &data, &len, &why)) {
            return error_set(err, HANOK_ERROR_IO, "--initrd-inject: %s", why->message);
        }
        cpio_entry(out, base, data, len, 0100644);
    }
    return append_archive(initrd, out, err);
}
