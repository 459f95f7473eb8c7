/* seed.h - a NoCloud seed: the small CD image from which cloud-init in a guest learns who it is.
 *
 * ISO 9660 with the volume name CIDATA and three files; nothing else of the standard is needed for
 * that.  (ECMA-119, and cloud-init's NoCloud data source.) */
#ifndef CLI_SEED_H
#define CLI_SEED_H

#include "manager/domain.h"

/* network may be NULL.  The file is new, or it is an error. */
bool seed_write(const char *path, const char *meta_data, const char *user_data, const char *network,
                GError **err);
/* Puts the image into the domain as a read-only virtio disk behind the others. */
bool seed_add_disk(struct domain *d, const char *path, GError **err);
/* A host name made of a domain's: letters, digits and dashes. */
char *seed_host_name(const char *domain_name);

#endif
