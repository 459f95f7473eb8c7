/* install.h - the machine that virt-install's options describe. */
#ifndef CLI_INSTALL_H
#define CLI_INSTALL_H

#include "cmd.h"
#include "osinfo.h"

#include "base/props.h"

/* A file that has to be made before the machine can start. */
struct disk_wish {
    bool create;
    char *path, *backing, *backing_format;
    const char *format;
    int64_t bytes; /* -1: as large as the backing file */
};

/* What the options leave open, by the system that --osinfo names or that is found on the medium. */
struct os_defaults {
    uint64_t memory_mib, memory_min_mib; /* the latter 0: not known */
    uint32_t vcpus;
    unsigned disk_gib;
    const char *bus, *nic, *video, *machine;
    bool pc;           /* the machine is an i440FX: no PCI Express, IDE */
    bool local_time;   /* the system wants its clock so */
    struct osinfo *os; /* NULL: not known; the caller's */
};
/* Fails only when the system is not known and that was required. */
bool os_defaults_find(struct cmd *c, struct os_defaults *d, GError **err);
bool os_list_asked(struct cmd *c); /* --osinfo list */
int os_list(void);

/* The domain of the finished machine, checked; new disks are named, not made: *wishes (struct
 * disk_wish *, the caller's, set in any case) says which. */
struct domain *install_domain(struct cmd *c, struct store *s, GPtrArray **wishes, GError **err);

#endif
