/* argv.h - the command line that is a domain, in libvirt's manner.
 *
 * The domain has been through domain_post_parse(); its devices get their aliases here.  What
 * `ps ax` shows for a domain of libvirt is what it shows for one of Hanok, word by word, but for
 * the files of the monitor and the master key.  Owner: the caller frees the array (strings
 * included). */
#ifndef MANAGER_ARGV_H
#define MANAGER_ARGV_H

#include "manager/domain.h"

#include <jansson.h>

#define ARGV_HUGEPAGES "/dev/hugepages" /* where huge pages are mounted */

struct argv_options {
    const char *dir;       /* the domain's run directory: sockets, key */
    const char *nvram_dir; /* where <nvram> without a path lives */
    bool native;           /* as libvirt prints it (domxml-to-native): -no-shutdown, not -action */
    bool two_monitors;     /* QEMU: one client per monitor, so a second one for followers */
    const int *net_fds;    /* one per interface, -1 where there is none; NULL: numbers from 26 */
    const int *vnc_ports;  /* one per graphics; NULL: 5900 for automatic ports */
};

GPtrArray *domain_argv(struct domain *d, const struct argv_options *o, GError **err);

/* Parts that hot-plugging uses too; JSON objects as -device and -blockdev take them. */
json_t *argv_disk_device(const struct domain *d, const struct disk *k, unsigned node);
/* Appends the nodes of the disk's chain, the deepest first; node is the number of the top one. */
bool argv_disk_nodes(const struct disk *k, unsigned node, json_t *nodes, GError **err);
json_t *argv_net_device(const struct domain *d, const struct interface *n);
/* fd: of a tap; dir: where passt listens. */
json_t *argv_net_backend(const struct interface *n, int fd, const char *dir, GError **err);
json_t *argv_rng_object(const struct rng *r);
json_t *argv_rng_device(const struct domain *d, const struct rng *r);
/* Notes the numbers of its nodes, which a running machine's XML shows. */
void argv_disk_number(struct disk *k, unsigned node);
/* How many -blockdev numbers the disk takes. */
unsigned argv_disk_depth(const struct disk *k);
/* The path of a channel's socket when the definition names none. */
char *argv_channel_path(const struct chr *c, const char *dir);
/* Where <os firmware='efi'> is found: code and template of the variables. */
void argv_firmware(const struct domain *d, const char *nvram_dir, char **code, char **vars,
                   char **template_path);

#endif
