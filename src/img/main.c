/* main.c - hanok-img: disk images from the shell, with qemu-img's verbs and options.
 *
 * This version knows raw images; the verbs that need other formats say so.
 *     hanok-img create -f raw disk.img 10G
 *     hanok-img info --output=json disk.img
 *     hanok-img resize disk.img +5G */
#include "base/error.h"
#include "base/log.h"
#include "base/props.h"
#include "base/util.h"
#include "block/block.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct verb {
    const char *name, *form, *help;
    int (*run)(int argc, char **argv); /* argv[0] is the verb; NULL: a later version brings it */
};

static int fail(GError *err)
{
    log_error("%s", err->message);
    g_error_free(err);
    return 1;
}

static int fail_text(const char *fmt, ...) G_GNUC_PRINTF(1, 2);
static int fail_text(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    g_autofree char *text = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    log_error("%s", text);
    return 1;
}

/* "1 GiB", "1.5 KiB", "512 B": as people read sizes. */
static char *human_size(uint64_t bytes)
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

static bool check_format(const char *format, GError **err)
{
    static const char *const formats[] = {"raw"};
    if (!strcmp(format, "raw")) {
        return true;
    }
    if (!strcmp(format, "qcow2")) {
        return error_set(err, HANOK_ERROR_UNSUPPORTED,
                         "the format 'qcow2' comes with a later version; 'raw' is there");
    }
    g_autofree char *near = error_nearest(format, formats, ARRAY_SIZE(formats));
    return error_set(err, HANOK_ERROR_INVALID, "there is no format '%s'; did you mean %s?", format,
                     near);
}

/* Only raw has no mark of its own; anything that begins like qcow2 is refused rather than taken as
 * bytes. */
static bool check_is_raw(const char *path, GError **err)
{
    char magic[4] = "";
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
        return error_errno(err, errno, "could not open '%s'", path);
    }
    ssize_t n = read(fd, magic, sizeof(magic));
    close(fd);
    return n == sizeof(magic) && !memcmp(magic, "QFI\xfb", sizeof(magic))
               ? check_format("qcow2", err)
               : true;
}

/* ---- create ---- */

enum prealloc { PREALLOC_OFF, PREALLOC_FALLOC, PREALLOC_FULL };

static bool read_create_options(const char *text, enum prealloc *how, GError **err)
{
    static const char *const names[] = {"off", "falloc", "full", NULL};
    unsigned pick = PREALLOC_OFF;
    PROPS_AUTO p = props_parse(text, NULL, err);
    if (!p || !props_get_enum(p, "preallocation", names, &pick, err) ||
        !props_check_unused(p, "-o", NULL, err)) {
        return false;
    }
    *how = pick;
    return true;
}

static bool write_zeroes(int fd, uint64_t size)
{
    static const char zeroes[64 * 1024];
    for (uint64_t at = 0; at < size;) {
        ssize_t n = pwrite(fd, zeroes, MIN_OF(size - at, sizeof(zeroes)), at);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return false;
        }
        at += n;
    }
    return fsync(fd) == 0;
}

static bool create_raw(const char *path, uint64_t size, enum prealloc how, GError **err)
{
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0) {
        return error_errno(err, errno, "could not create '%s'", path);
    }
    close(fd);
    /* Through the block layer, so that an image a machine uses is not emptied under it. */
    struct blk_node *n = blk_open_file(path, false, err);
    if (!n) {
        return false;
    }
    fd = open(path, O_RDWR | O_TRUNC | O_CLOEXEC);
    bool ok = fd >= 0 && ftruncate(fd, size) == 0;
    if (ok && how == PREALLOC_FALLOC) {
        ok = size == 0 || (errno = posix_fallocate(fd, 0, size)) == 0;
    } else if (ok && how == PREALLOC_FULL) {
        ok = write_zeroes(fd, size);
    }
    int saved = errno;
    if (fd >= 0) {
        close(fd);
    }
    blk_close(n);
    return ok || error_errno(err, saved, "could not make '%s' %" PRIu64 " bytes long", path, size);
}

static int do_create(int argc, char **argv)
{
    const char *format = "raw";
    enum prealloc how = PREALLOC_OFF;
    bool quiet = false;
    GError *err = NULL;
    int c;
    while ((c = getopt(argc, argv, "+f:o:q")) != -1) {
        if (c == 'f') {
            format = optarg;
        } else if (c == 'q') {
            quiet = true;
        } else if (c != 'o') {
            return 1;
        } else if (!read_create_options(optarg, &how, &err)) {
            return fail(err);
        }
    }
    uint64_t size;
    if (argc - optind != 2) {
        return fail_text("create needs a file and a size: hanok-img create -f raw disk.img 10G");
    }
    if (!check_format(format, &err) || !parse_size(argv[optind + 1], 'B', &size, &err) ||
        !create_raw(argv[optind], size, how, &err)) {
        return fail(err);
    }
    if (!quiet) {
        printf("Formatting '%s', fmt=%s size=%" PRIu64 "\n", argv[optind], format, size);
    }
    return 0;
}

/* ---- info ---- */

static int print_info(const char *path, bool json, GError **err)
{
    struct stat st;
    struct blk_limits l;
    struct blk_node *n = check_is_raw(path, err) ? blk_open_file(path, true, err) : NULL;
    if (!n) {
        return 1;
    }
    if (stat(path, &st)) {
        error_errno(err, errno, "could not look at '%s'", path);
        blk_close(n);
        return 1;
    }
    blk_limits(n, &l);
    uint64_t actual = (uint64_t)st.st_blocks * 512;
    if (json) {
        json_t *o = json_pack("{sIsssssIsb}", "virtual-size", (json_int_t)l.size_bytes, "filename",
                              path, "format", blk_driver_name(n), "actual-size", (json_int_t)actual,
                              "dirty-flag", 0);
        json_dumpf(o, stdout, JSON_INDENT(4));
        putchar('\n');
        json_decref(o);
    } else {
        g_autofree char *virtual_size = human_size(l.size_bytes), *disk = human_size(actual);
        printf("image: %s\nfile format: %s\nvirtual size: %s (%" PRIu64 " bytes)\ndisk size: %s\n",
               path, blk_driver_name(n), virtual_size, l.size_bytes, disk);
    }
    blk_close(n);
    return 0;
}

static int do_info(int argc, char **argv)
{
    static const struct option longs[] = {
        {"output", required_argument, NULL, 'O'}, {"force-share", no_argument, NULL, 'U'}, {NULL}};
    bool json = false;
    GError *err = NULL;
    int c;
    while ((c = getopt_long(argc, argv, "+f:U", longs, NULL)) != -1) {
        if (c == 'O' && strcmp(optarg, "json") && strcmp(optarg, "human")) {
            return fail_text("--output must be 'human' or 'json', not '%s'", optarg);
        }
        json |= c == 'O' && !strcmp(optarg, "json");
        if (c == 'f' && !check_format(optarg, &err)) {
            return fail(err);
        }
        if (c == '?') {
            return 1;
        }
    }
    if (argc - optind != 1) {
        return fail_text("info needs one file: hanok-img info disk.img");
    }
    return print_info(argv[optind], json, &err) ? fail(err) : 0;
}

/* ---- resize ---- */

static bool new_size(const char *text, uint64_t now, uint64_t *out, GError **err)
{
    uint64_t n;
    bool relative = *text == '+' || *text == '-';
    if (!parse_size(relative ? text + 1 : text, 'B', &n, err)) {
        return false;
    }
    if ((*text == '-' && n > now) || (*text == '+' && n > INT64_MAX - now)) {
        return error_set(err, HANOK_ERROR_INVALID, "'%s' leads to no possible size", text);
    }
    *out = *text == '+' ? now + n : *text == '-' ? now - n : n;
    return true;
}

static bool resize(const char *path, const char *size, bool shrink, GError **err)
{
    struct blk_limits l;
    struct blk_node *n = check_is_raw(path, err) ? blk_open_file(path, false, err) : NULL;
    if (!n) {
        return false;
    }
    uint64_t to = 0;
    blk_limits(n, &l);
    bool ok = new_size(size, l.size_bytes, &to, err);
    if (ok && to < l.size_bytes && !shrink) {
        ok = error_set(err, HANOK_ERROR_INVALID,
                       "'%s' would shrink, and what lies behind its new end would be lost; say "
                       "--shrink if that is meant",
                       path);
    }
    ok = ok && blk_resize(n, to, err);
    blk_close(n);
    return ok;
}

static int do_resize(int argc, char **argv)
{
    bool shrink = false, quiet = false;
    GError *err = NULL;
    char *words[2];
    int count = 0;
    /* By hand: "-5G" is a size here, not an option. */
    for (int i = 1; i < argc; i++) {
        const char *next = i + 1 < argc ? argv[i + 1] : "";
        if (!strcmp(argv[i], "--shrink")) {
            shrink = true;
        } else if (!strcmp(argv[i], "-q")) {
            quiet = true;
        } else if (!strcmp(argv[i], "-f")) {
            if (!check_format(next, &err)) {
                return fail(err);
            }
            i++;
        } else if (count < 2) {
            words[count++] = argv[i];
        } else {
            count++;
        }
    }
    if (count != 2) {
        return fail_text("resize needs a file and a size: hanok-img resize disk.img +5G");
    }
    if (!resize(words[0], words[1], shrink, &err)) {
        return fail(err);
    }
    if (!quiet) {
        puts("Image resized.");
    }
    return 0;
}

/* ---- verbs ---- */

static const struct verb verbs[] = {
    {"create", "[-q] [-f raw] [-o preallocation=off|falloc|full] FILE SIZE", "make an image",
     do_create},
    {"info", "[-f raw] [--output=human|json] FILE", "say what an image is", do_info},
    {"resize", "[-q] [-f raw] [--shrink] FILE [+|-]SIZE", "make an image larger or smaller",
     do_resize},
    {"amend"},
    {"bench"},
    {"bitmap"},
    {"check"},
    {"commit"},
    {"compare"},
    {"convert"},
    {"dd"},
    {"map"},
    {"measure"},
    {"rebase"},
    {"snapshot"},
};

static int print_help(void)
{
    puts("hanok-img - disk images for virtual machines, with qemu-img's verbs\n"
         "usage: hanok-img VERB [options]\n");
    for (size_t i = 0; i < ARRAY_SIZE(verbs); i++) {
        if (verbs[i].run) {
            printf("  %s %s\n        %s\n", verbs[i].name, verbs[i].form, verbs[i].help);
        }
    }
    puts("\nSizes take the suffixes K, M, G, T (powers of 1024).\n"
         "The image formats of this version: raw");
    return 0;
}

static int run_verb(int argc, char **argv)
{
    const char *names[ARRAY_SIZE(verbs)];
    for (size_t i = 0; i < ARRAY_SIZE(verbs); i++) {
        names[i] = verbs[i].name;
        if (strcmp(verbs[i].name, argv[1])) {
            continue;
        }
        if (!verbs[i].run) {
            return fail_text("the verb '%s' comes with a later version", argv[1]);
        }
        return verbs[i].run(argc - 1, argv + 1);
    }
    g_autofree char *near = error_nearest(argv[1], names, ARRAY_SIZE(names));
    return fail_text("there is no verb '%s'; did you mean %s? --help lists them", argv[1], near);
}

int main(int argc, char **argv)
{
    log_init("hanok-img");
    if (argc < 2) {
        return fail_text("a verb is missing; --help lists them");
    }
    if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") || !strcmp(argv[1], "help")) {
        return print_help();
    }
    if (!strcmp(argv[1], "--version") || !strcmp(argv[1], "-V")) {
        puts("hanok-img version " HANOK_VERSION " (accepts qemu-img's verbs and options)");
        return 0;
    }
    return run_verb(argc, argv);
}
