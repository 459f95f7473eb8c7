/* osinfo.h - what libosinfo's database says of an operating system, where that is installed.
 *
 * The database is a directory of XML files (os/VENDOR/NAME.xml below $OSINFO_SYSTEM_DIR, or
 * /usr/share/osinfo); they are read directly, as data: an entry inherits the devices of those that
 * it derives from.  All of it is advice: nothing here is an error of the caller's. */
#ifndef CLI_OSINFO_H
#define CLI_OSINFO_H

#include "base/types.h"

#include <glib.h>

struct osinfo {
    char *id, *short_id, *name,
        *family; /* URI, "debian12", "Debian 12", "linux"; family may be NULL */
    int64_t ram_min, ram_recommended, storage_recommended; /* bytes; 0: not said */
    unsigned cpus_recommended;
    GHashTable *devices; /* URIs of the devices it has drivers for */
};

bool osinfo_installed(void);
/* By its short id or its URI; NULL when the database does not know it, or is not there. */
struct osinfo *osinfo_find(const char *word);
/* The system on a CD image, by its volume descriptor; NULL when nothing fits. */
struct osinfo *osinfo_of_media(const char *path);
/* The system an installer's tree belongs to, by its address. */
struct osinfo *osinfo_of_tree(const char *location);
void osinfo_free(struct osinfo *o); /* accepts NULL */
/* "1af4/1001": a PCI device by vendor and device. */
bool osinfo_has_pci(const struct osinfo *o, const char *pci);
bool osinfo_has(const struct osinfo *o, const char *device);
/* Short ids, sorted; to be freed with g_ptr_array_unref. */
GPtrArray *osinfo_names(void);

#endif
