/* img.h - what the verbs of hanok-img share.
 *
 * A verb's function gets argv[0] = the verb and returns the program's exit status. */
#ifndef IMG_H
#define IMG_H

#include "base/types.h"
#include "block/block.h"

#include <getopt.h>
#include <glib.h>
#include <signal.h>

/* ---- common.c ---- */

int img_fail(GError *err); /* says it, frees it, returns 1 */
int img_fail_text(const char *fmt, ...) G_GNUC_PRINTF(1, 2);
int img_usage(const char *fmt, ...) G_GNUC_PRINTF(1, 2); /* the same, and where help is */

int img_help(const char *verb); /* main.c: prints; NULL: of all verbs; returns 0 */

/* Long options without a letter. */
enum {
    IMG_OPT_OUTPUT = 256,
    IMG_OPT_IMAGE_OPTS,
    IMG_OPT_OBJECT,
    IMG_OPT_FIRST_OWN, /* a verb's own ones */
};
#define IMG_LONG_COMMON                                                                            \
    {"help", no_argument, NULL, 'h'}, {"image-opts", no_argument, NULL, IMG_OPT_IMAGE_OPTS},       \
        {"object", required_argument, NULL, IMG_OPT_OBJECT},                                       \
    {                                                                                              \
        "force-share", no_argument, NULL, 'U'                                                      \
    }
/* getopt_long() that complains in a sentence; '?': it did. 'h' and --object are dealt with here. */
int img_getopt(int argc, char **argv, const char *letters, const struct option *longs);
bool img_parse_output(const char *text, bool *json); /* complains */
bool img_parse_size(const char *what, const char *text, uint64_t *out);
bool img_parse_number(const char *what, const char *text, uint64_t min, uint64_t max,
                      uint64_t *out);

struct img_cache {
    bool direct, no_flush, through;
};
bool img_parse_cache(const char *mode, struct img_cache *out); /* complains */

bool img_check_format(const char *format, GError **err);
/* By the first bytes; NULL: err. */
const char *img_probe(const char *path, GError **err);

struct img_open {
    const char *format; /* NULL: probed */
    bool image_opts;    /* the name is a list of properties */
    bool write, force_share, no_backing, for_check, writable_backing;
    struct img_cache cache;
    const char *aio; /* NULL: the default */
};
struct blk_node *img_open(const char *path, const struct img_open *how, GError **err);
uint64_t img_size(const struct blk_node *n);
/* A name in an image's header, as it is looked for: relative to where the image lies. */
char *img_relative_to(const char *image, const char *name);
/* False when target is the file of an image that source reads from: making it would empty that. */
bool img_refuse_itself(const char *target, struct blk_node *source, GError **err);
char *img_human_size(uint64_t bytes); /* "1.5 KiB" */
uint64_t img_disk_bytes(const char *path);
bool img_is_zero(const void *p, size_t len); /* len > 0 */
/* The length of the first run of zeroes, or of anything else, in units of grain. */
uint64_t img_run(const uint8_t *p, uint64_t len, uint64_t grain, bool *zero);
uint8_t *img_buffer(size_t len); /* for any cache mode; free() */

/* Set by Ctrl-C and SIGTERM, once img_catch_signals() was called. */
extern volatile sig_atomic_t img_interrupted;
void img_catch_signals(void);

/* ---- progress.c: the line of -p; SIGUSR1 prints it once ---- */

struct img_progress {
    bool shown;
    double last;
};
void img_progress_begin(struct img_progress *p, bool shown);
void img_progress(struct img_progress *p, uint64_t done, uint64_t total);
void img_progress_end(struct img_progress *p);

/* ---- create.c: also convert's target ---- */

struct img_target {
    const char *format, *backing, *backing_format;
    bool backing_unchecked; /* -u */
    bool no_sync;           /* nobody needs it before the copy is complete */
    uint64_t size_bytes;    /* UINT64_MAX: not said */
    GPtrArray *options;     /* of char *: what -o said, each "key=val,..." */
};
struct qcow2_create;
struct props;
void img_target_init(struct img_target *t);
void img_target_clear(struct img_target *t);
/* All that -o said; NULL: err. */
struct props *img_target_options(const struct img_target *t, GError **err);
bool img_target_help(const struct img_target *t); /* -o help: printed, true */
/* describe: the line that qemu-img prints, to be freed; may be NULL. */
bool img_create(const char *path, const struct img_target *t, char **describe, GError **err);
/* Reads a qcow2 image's options; strings belong to p. */
bool img_read_qcow2_options(struct props *p, const char *path, struct qcow2_create *c,
                            GError **err);
bool img_read_prealloc(const char *text, enum blk_prealloc *out, GError **err);

/* ---- snapshot.c: also info ---- */
char *img_snapshot_table(const struct blk_node *n); /* NULL: there are none */

/* ---- verbs ---- */

int do_amend(int argc, char **argv);
int do_bench(int argc, char **argv);
int do_check(int argc, char **argv);
int do_commit(int argc, char **argv);
int do_compare(int argc, char **argv);
int do_convert(int argc, char **argv);
int do_create(int argc, char **argv);
int do_dd(int argc, char **argv);
int do_info(int argc, char **argv);
int do_map(int argc, char **argv);
int do_measure(int argc, char **argv);
int do_rebase(int argc, char **argv);
int do_resize(int argc, char **argv);
int do_snapshot(int argc, char **argv);

#endif
