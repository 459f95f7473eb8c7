/* common.c - options every verb has, opening images, saying what went wrong. */
#include "img.h"

#include "base/error.h"
#include "base/log.h"
#include "base/props.h"
#include "base/util.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- complaints ---- */

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

int img_usage(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    g_autofree char *text = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    log_error("%s", text);
    fputs("Try 'hanok-img --help' for more information\n", stderr);
    return 1;
}

/* ---- options ---- */

int img_getopt(int argc, char **argv, const char *letters, const struct option *longs)
{
    int before = optind;
    opterr = 0;
    int c = getopt_long(argc, argv, letters, longs, NULL);
    if (c == ':') {
        img_usage("missing argument for option '%s'", argv[optind - 1]);
        return '?';
    }
    if (c == '?') {
        const char *word = argv[optind > before ? optind - 1 : before];
        char letter[3] = {'-', (char)optopt, 0};
        img_usage("unrecognized option '%s'", word[1] == '-' ? word : letter);
    }
    if (c == 'h') {
        exit(img_help(argv[0]));
    }
    if (c == IMG_OPT_OBJECT) {
        img_fail_text("--object serves encrypted images, which this version cannot open");
        return '?';
    }
    return c;
}

bool img_parse_output(const char *text, bool *json)
{
    *json = !strcmp(text, "json");
    if (!*json && strcmp(text, "human")) {
        img_usage("--output must be used with human or json as argument.");
        return false;
    }
    return true;
}

bool img_parse_size(const char *what, const char *text, uint64_t *out)
{
    g_autoptr(GError) err = NULL;
    if (parse_size(text, 'B', out, &err) && *out <= INT64_MAX) {
        return true;
    }
    img_fail_text("Invalid %s specified: '%s'. You may use k, M, G, T, P or E suffixes for "
                  "kilobytes, megabytes, gigabytes, terabytes, petabytes and exabytes.",
                  what, text);
    return false;
}

bool img_parse_number(const char *what, const char *text, uint64_t min, uint64_t max, uint64_t *out)
{
    char *end;
    errno = 0;
    unsigned long long v = strtoull(text, &end, 0);
    if (errno || end == text || *end || *text == '-' || v < min || v > max) {
        img_fail_text("Invalid %s '%s'. Allowed is a number between %" PRIu64 " and %" PRIu64, what,
                      text, min, max);
        return false;
    }
    *out = v;
    return true;
}

bool img_parse_cache(const char *mode, struct img_cache *out)
{
    static const struct {
        const char *name;
        struct img_cache cache;
    } modes[] = {
        {"writeback", {.direct = false}},
        {"none", {.direct = true}},
        {"off", {.direct = true}},
        {"writethrough", {.through = true}},
        {"directsync", {.direct = true, .through = true}},
        {"unsafe", {.no_flush = true}},
    };
    for (size_t i = 0; i < ARRAY_SIZE(modes); i++) {
        if (!strcmp(mode, modes[i].name)) {
            *out = modes[i].cache;
            return true;
        }
    }
    img_fail_text("Invalid cache option: %s", mode);
    return false;
}

/* ---- formats ---- */

bool img_check_format(const char *format, GError **err)
{
    static const char *const formats[] = {"raw", "qcow2"};
    static const char *const others[] = {"vmdk", "vdi",  "vpc", "vhdx",     "qcow",
                                         "qed",  "luks", "dmg", "parallels"};
    for (size_t i = 0; i < ARRAY_SIZE(formats); i++) {
        if (!strcmp(format, formats[i])) {
            return true;
        }
    }
    for (size_t i = 0; i < ARRAY_SIZE(others); i++) {
        if (!strcmp(format, others[i])) {
            return error_set(err, HANOK_ERROR_UNSUPPORTED,
                             "Images of the format '%s' cannot be read or written; convert them to "
                             "raw or qcow2 with the program they come from",
                             format);
        }
    }
    g_autofree char *near = error_nearest(format, formats, ARRAY_SIZE(formats));
    return error_set(err, HANOK_ERROR_INVALID, "Unknown file format '%s'; did you mean %s?", format,
                     near);
}

static const char *format_of(const uint8_t *p, size_t len)
{
    static const struct {
        const char *name, *magic;
        size_t len;
    } known[] = {{"vmdk", "KDMV", 4},     {"vmdk", "# Disk DescriptorFile", 21},
                 {"vhdx", "vhdxfile", 8}, {"qed", "QED\0", 4},
                 {"vpc", "conectix", 8},  {"luks", "LUKS\xba\xbe", 6}};
    if (len >= 8 && !memcmp(p, "QFI\xfb", 4)) {
        return p[7] == 1 ? "qcow" : "qcow2";
    }
    for (size_t i = 0; i < ARRAY_SIZE(known); i++) {
        if (len >= known[i].len && !memcmp(p, known[i].magic, known[i].len)) {
            return known[i].name;
        }
    }
    return "raw";
}

const char *img_probe(const char *path, GError **err)
{
    uint8_t start[32] = {0};
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
        error_errno(err, errno, "Could not open '%s'", path);
        return NULL;
    }
    ssize_t n = read(fd, start, sizeof(start));
    int saved = errno;
    close(fd);
    if (n < 0) {
        error_errno(err, saved, "Could not read '%s'", path);
        return NULL;
    }
    return format_of(start, (size_t)n);
}

/* ---- opening ---- */

static void set_default(json_t *o, const char *key, json_t *value)
{
    if (json_object_get(o, key)) {
        json_decref(value);
    } else {
        json_object_set_new(o, key, value);
    }
}

/* What the verb wants of every node that the user's description does not say. */
static void set_mode(json_t *o, const struct img_open *how)
{
    set_default(o, "read-only", json_boolean(!how->write));
    set_default(o, "force-share", json_boolean(how->force_share));
    set_default(o, "cache",
                json_pack("{sbsb}", "direct", how->cache.direct, "no-flush", how->cache.no_flush));
}

/* "driver=qcow2,file.filename=x" as an object whose format and file are there. */
static json_t *object_of_options(const char *text, GError **err)
{
    PROPS_AUTO p = props_parse(text, NULL, err);
    if (!p) {
        return NULL;
    }
    json_t *o = json_deep_copy(props_json(p)), *file = json_object_get(o, "file");
    if (!file && json_object_get(o, "filename")) { /* a protocol node: taken as it is, for raw */
        json_t *inner = o;
        set_default(inner, "driver", json_string("file"));
        o = json_pack("{so}", "file", inner);
        file = inner;
    }
    if (json_is_object(file)) {
        set_default(file, "driver", json_string("file"));
    }
    return o;
}

static json_t *object_of_path(const char *path, GError **err)
{
    if (g_str_has_prefix(path, "json:")) {
        return object_of_options(path + 5, err);
    }
    json_t *file = blk_describe_file(path, err);
    return file ? json_pack("{so}", "file", file) : NULL;
}

/* The format that -f says, or the description, or the first bytes. */
static bool find_format(json_t *o, const struct img_open *how, const char *path, GError **err)
{
    json_t *file = json_object_get(o, "file");
    const char *format = json_string_value(json_object_get(o, "driver"));
    const char *name = json_string_value(json_object_get(file, "filename"));
    if (!format) {
        format = how->format ? how->format : name ? img_probe(name, err) : "raw";
    }
    if (!format || !img_check_format(format, err)) {
        if (err && *err) {
            g_prefix_error(err, "'%s': ", path);
        }
        return false;
    }
    set_default(o, "driver", json_string(format));
    return true;
}

struct blk_node *img_open(const char *path, const struct img_open *how, GError **err)
{
    json_t *o = how->image_opts ? object_of_options(path, err) : object_of_path(path, err);
    if (!o) {
        return NULL;
    }
    if (!find_format(o, how, path, err)) {
        json_decref(o);
        return NULL;
    }
    set_mode(o, how);
    if (json_is_object(json_object_get(o, "file"))) {
        set_mode(json_object_get(o, "file"), how);
        if (how->aio) {
            set_default(json_object_get(o, "file"), "aio", json_string(how->aio));
        }
    }
    set_default(o, "discard", json_string("unmap"));
    if (!strcmp(json_string_value(json_object_get(o, "driver")), "qcow2")) {
        if (how->no_backing) {
            set_default(o, "backing", json_null());
        }
        if (how->for_check) {
            set_default(o, "for-check", json_true());
        }
    }
    PROPS_AUTO p = props_from_json(o);
    json_decref(o);
    return blk_open(p, err);
}

uint64_t img_size(const struct blk_node *n)
{
    struct blk_limits l;
    blk_limits(n, &l);
    return l.size_bytes;
}

/* ---- small things ---- */

char *img_relative_to(const char *image, const char *name)
{
    const char *slash = strrchr(image, '/');
    const char *colon = strchr(name, ':');
    bool protocol = colon && !memchr(name, '/', (size_t)(colon - name));
    if (*name == '/' || protocol || !slash) {
        return g_strdup(name);
    }
    return g_strdup_printf("%.*s/%s", (int)(slash - image), image, name);
}

/* As people read sizes: three digits, like "1 GiB", "1.5 KiB", "196 KiB". */
char *img_human_size(uint64_t bytes)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    double v = (double)bytes;
    unsigned u = 0;
    while (v >= 1000 && u + 1 < ARRAY_SIZE(units)) {
        v /= 1024;
        u++;
    }
    return g_strdup_printf("%0.3g %s", v, units[u]);
}

bool img_refuse_itself(const char *target, struct blk_node *source, GError **err)
{
    struct stat to, from;
    for (struct blk_node *n = source; n && stat(target, &to) == 0; n = blk_backing(n)) {
        if (stat(blk_filename(n), &from) == 0 && to.st_dev == from.st_dev &&
            to.st_ino == from.st_ino) {
            return error_set(err, HANOK_ERROR_INVALID,
                             "'%s' cannot be written: the image is read from it ('%s')", target,
                             blk_filename(source));
        }
    }
    return true;
}

uint64_t img_disk_bytes(const char *path)
{
    struct stat st;
    return stat(path, &st) ? 0 : (uint64_t)st.st_blocks * 512;
}

bool img_is_zero(const void *p, size_t len)
{
    const uint8_t *b = p;
    return b[0] == 0 && b[len - 1] == 0 && !memcmp(b, b + 1, len - 1);
}

uint64_t img_run(const uint8_t *p, uint64_t len, uint64_t grain, bool *zero)
{
    uint64_t n = MIN_OF(grain, len);
    *zero = img_is_zero(p, n);
    while (n < len && img_is_zero(p + n, MIN_OF(grain, len - n)) == *zero) {
        n += MIN_OF(grain, len - n);
    }
    return n;
}

uint8_t *img_buffer(size_t len)
{
    void *p = NULL;
    return posix_memalign(&p, 4096, len) ? NULL : p;
}

volatile sig_atomic_t img_interrupted;

static void on_signal(int sig)
{
    img_interrupted = 1;
}

void img_catch_signals(void)
{
    struct sigaction sa = {.sa_handler = on_signal, .sa_flags = SA_RESETHAND};
    sigaction(SIGINT, &sa, NULL);
    sigaction(SIGTERM, &sa, NULL);
    sigaction(SIGHUP, &sa, NULL);
}
