/* dd.c - the verb dd: a part of one image becomes another. */
#include "img.h"

#include "base/error.h"
#include "base/log.h"
#include "base/util.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PIECE_BYTES = 2 << 20 };

struct dd {
    struct img_open from;
    struct img_target to;
    const char *input, *output;
    uint64_t block_bytes, count, skip; /* count UINT64_MAX: to the end */
    bool made;
};

static bool operand(struct dd *d, const char *word)
{
    uint64_t n;
    const char *value = strchr(word, '=');
    if (!value) {
        img_fail_text("Unrecognized operand '%s'", word);
        return false;
    }
    g_autofree char *key = g_strndup(word, (gsize)(value++ - word));
    if (!strcmp(key, "if")) {
        d->input = value;
    } else if (!strcmp(key, "of")) {
        d->output = value;
    } else if (!strcmp(key, "bs")) {
        if (!img_parse_size("block size", value, &n)) {
            return false;
        }
        if (n == 0 || n > INT32_MAX) {
            img_fail_text("bs= must be between 1 and %d", INT32_MAX);
            return false;
        }
        d->block_bytes = n;
    } else if (!strcmp(key, "count")) {
        return img_parse_size("count", value, &d->count);
    } else if (!strcmp(key, "skip")) {
        return img_parse_size("skip", value, &d->skip);
    } else {
        img_fail_text("Unrecognized operand '%s'; dd knows if, of, bs, count and skip", word);
        return false;
    }
    return true;
}

static bool copy(struct dd *d, struct blk_node *in, struct blk_node *out, uint64_t from,
                 uint64_t len, GError **err)
{
    uint8_t *buf = img_buffer(PIECE_BYTES);
    bool ok = buf || error_set(err, HANOK_ERROR_IO, "no memory to copy with");
    for (uint64_t at = 0; ok && at < len;) {
        uint64_t n = MIN_OF(len - at, (uint64_t)PIECE_BYTES);
        int r = blk_pread(in, from + at, buf, n);
        if (r < 0) {
            ok = error_errno(err, -r, "error while reading from input image file '%s'", d->input);
            break;
        }
        r = blk_pwrite(out, at, buf, n, 0);
        if (r < 0) {
            ok = error_errno(err, -r, "error while writing to output image file '%s'", d->output);
        } else if (img_interrupted) {
            ok = error_set(err, HANOK_ERROR_IO, "interrupted");
        }
        at += n;
    }
    free(buf);
    int r = ok ? blk_flush_sync(out) : 0;
    return ok && (r == 0 || error_errno(err, -r, "could not write '%s'", d->output));
}

static bool dd(struct dd *d, struct blk_node *in, GError **err)
{
    uint64_t size = img_size(in);
    uint64_t from = d->skip > size / d->block_bytes ? size : d->skip * d->block_bytes;
    uint64_t len = size - from;
    if (d->count <= len / d->block_bytes) {
        len = d->count * d->block_bytes;
    }
    if (d->skip && from == size) {
        log_warning("%s: cannot skip to specified offset", d->input);
    }
    d->to.size_bytes = len;
    d->made = access(d->output, F_OK) != 0;
    if (!img_refuse_itself(d->output, in, err) || !img_create(d->output, &d->to, NULL, err)) {
        d->made = false;
        return false;
    }
    struct blk_node *out =
        img_open(d->output, &(struct img_open){.format = d->to.format, .write = true}, err);
    bool ok = out && copy(d, in, out, from, len, err);
    blk_close(out);
    if (!ok && d->made && unlink(d->output) == 0) {
        log_error("the incomplete '%s' was removed", d->output);
    } else if (!ok) {
        log_error("'%s' is incomplete: do not use it", d->output);
    }
    return ok;
}

static int run(int argc, char **argv, struct dd *d)
{
    static const struct option longs[] = {IMG_LONG_COMMON, {NULL}};
    GError *err = NULL;
    int o;
    while ((o = img_getopt(argc, argv, ":hf:O:U", longs)) != -1) {
        if (o == '?') {
            return 1;
        }
        d->from.format = o == 'f' ? optarg : d->from.format;
        d->to.format = o == 'O' ? optarg : d->to.format;
        d->from.force_share |= o == 'U';
        d->from.image_opts |= o == IMG_OPT_IMAGE_OPTS;
    }
    for (int i = optind; i < argc; i++) {
        if (!operand(d, argv[i])) {
            return 1;
        }
    }
    if (!d->input || !d->output) {
        return img_usage("Must specify both input and output file names");
    }
    img_catch_signals();
    struct blk_node *in =
        img_check_format(d->to.format, &err) ? img_open(d->input, &d->from, &err) : NULL;
    bool ok = in && dd(d, in, &err);
    blk_close(in);
    return ok ? 0 : img_fail(err);
}

int do_dd(int argc, char **argv)
{
    struct dd d = {.block_bytes = 512, .count = UINT64_MAX};
    img_target_init(&d.to);
    int r = run(argc, argv, &d);
    img_target_clear(&d.to);
    return r;
}
