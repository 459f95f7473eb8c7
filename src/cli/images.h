/* images.h - image files for the verbs that make and copy them.
 *
 * A new image never replaces a file, and is never seen half-written under its name: it is made
 * beside it and renamed (without replacing) when it is whole. */
#ifndef CLI_IMAGES_H
#define CLI_IMAGES_H

#include "manager/store.h"

#include <stdint.h>

struct image_info {
    char format[16];
    uint64_t virtual_bytes, allocated_bytes;
};
bool image_info(const char *path, struct image_info *out, GError **err);
/* backing may be NULL; bytes < 0: as large as the backing file. */
bool image_create(const char *path, const char *format, int64_t bytes, const char *backing,
                  const char *backing_format, GError **err);

enum image_copy {
    IMAGE_COPY_BEST,    /* share blocks where the file system can, else copy what is not a hole */
    IMAGE_COPY_REFLINK, /* share, or fail */
    IMAGE_COPY_LINKED,  /* a qcow2 image over it */
};
/* progress: a word for the progress line, NULL for none. */
bool image_copy(const char *from, const char *to, enum image_copy how, const char *progress,
                GError **err);
/* The domain whose definition names the file, or NULL. */
char *image_user(struct store *s, const char *path);
/* Takes a complete file to its name, unless that is taken; removes temp when it cannot. */
bool image_place(const char *temp, const char *path, GError **err);
char *image_temp_name(const char *path); /* beside it, hidden */

#endif
