/* install.h - the machine that virt-install's options describe. */
#ifndef CLI_INSTALL_H
#define CLI_INSTALL_H

#include "cmd.h"

#include "base/props.h"

/* A file that has to be made before the machine can start. */
struct disk_wish {
    bool create;
    char *path, *backing, *backing_format;
    const char *format;
    int64_t bytes; /* -1: as large as the backing file */
};

/* The domain of the finished machine, checked; new disks are named, not made: *wishes (struct
 * disk_wish *, the caller's, set in any case) says which. */
struct domain *install_domain(struct cmd *c, struct store *s, GPtrArray **wishes, GError **err);

#endif
