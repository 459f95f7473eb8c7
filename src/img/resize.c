/* resize.c - the verb resize. */
#include "img.h"

#include "base/error.h"
#include "base/props.h"

#include <stdio.h>
#include <string.h>

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

static bool resize(const char *path, const char *format, const char *size, bool shrink,
                   GError **err)
{
    struct blk_limits l;
    struct blk_node *n = img_open(path, &(struct img_open){.format = format, .write = true}, err);
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

int do_resize(int argc, char **argv)
{
    bool shrink = false, quiet = false;
    const char *format = NULL;
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
            if (!img_check_format(next, &err)) {
                return img_fail(err);
            }
            format = next;
            i++;
        } else if (count < 2) {
            words[count++] = argv[i];
        } else {
            count++;
        }
    }
    if (count != 2) {
        return img_fail_text("resize needs a file and a size: hanok-img resize disk.img +5G");
    }
    if (!resize(words[0], format, words[1], shrink, &err)) {
        return img_fail(err);
    }
    if (!quiet) {
        puts("Image resized.");
    }
    return 0;
}
