/* img.h - what the verbs of hanok-img share.
 *
 * A verb's function gets argv[0] = the verb and returns the program's exit status. */
#ifndef IMG_H
#define IMG_H

#include "base/types.h"
#include "block/block.h"

#include <glib.h>

int img_fail(GError *err); /* says it, frees it, returns 1 */
int img_fail_text(const char *fmt, ...) G_GNUC_PRINTF(1, 2);
bool img_check_format(const char *format, GError **err);
/* "raw" or "qcow2", by the first bytes; NULL: err. */
const char *img_probe(const char *path, GError **err);

struct img_open {
    const char *format; /* NULL: probed */
    bool write, force_share, no_backing, unsafe /* cache.no-flush */;
};
struct blk_node *img_open(const char *path, const struct img_open *how, GError **err);
char *img_human_size(uint64_t bytes);

/* create.c: also convert's target */
struct img_target {
    const char *format, *backing, *backing_format;
    uint64_t size_bytes;
    GPtrArray *options; /* of char *: what -o said, each "key=val,..." */
};
void img_target_init(struct img_target *t);
void img_target_clear(struct img_target *t);
/* describe: the line that qemu-img prints, to be freed; may be NULL. */
bool img_create(const char *path, const struct img_target *t, char **describe, GError **err);

int do_check(int argc, char **argv);
int do_convert(int argc, char **argv);
int do_create(int argc, char **argv);
int do_info(int argc, char **argv);
int do_resize(int argc, char **argv);

#endif
