/* stats.h - numbers about a domain, for several verbs.  JSON objects are the caller's. */
#ifndef CLI_STATS_H
#define CLI_STATS_H

#include "manager/vm.h"

int64_t stats_balloon_kib(struct vm *vm, const struct domain *d);
json_t *stats_memory(struct vm *vm, GError **err);
/* query-blockstats' counters of one disk. */
json_t *stats_block(struct qmp *q, const struct disk *k, GError **err);
/* capacity, allocation, physical (bytes). */
json_t *stats_image(struct vm *vm, const struct disk *k, GError **err);
/* A tap's counters as the guest sees them: rx is what the host sent.  False: no such device. */
bool stats_tap(const char *dev, json_t *out);
/* name, rx_bytes, ... of every network card: of its tap, else of its queues. */
json_t *stats_interfaces(const struct domain *d, json_t *queues);
/* The same of one: a host device, an alias or a hardware address. */
json_t *stats_interface(struct vm *vm, const char *which, GError **err);

/* domstats.c: the flat list, "state.state", "vcpu.0.time", ...; groups NULL: all, else words
 * ("state", "cpu-total", ...). */
json_t *stats_all(struct vm *vm, GPtrArray *groups);
const char *stats_pin(const struct domain *d, unsigned vcpu); /* where the definition puts a vcpu */

#endif
