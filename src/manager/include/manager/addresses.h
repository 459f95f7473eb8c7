/* addresses.h - the addresses of a machine's network cards, as far as the host knows them.
 *
 * The built-in network hands out addresses itself and tells them by the machine's monitor; passt
 * has one address to give; for cards on bridges the lease files of this host's dnsmasq processes
 * (libvirt's among them) and the kernel's neighbours are searched by hardware address.  What is
 * read there is hostile text: a row that makes no sense is skipped. */
#ifndef MANAGER_ADDRESSES_H
#define MANAGER_ADDRESSES_H

#include "manager/domain.h"
#include "manager/qmp.h"

struct card_address {
    char *name, *mac, *address; /* the card: its host device, or its alias */
    bool ipv6;
    unsigned prefix; /* 0: not known */
};

enum address_source { ADDRESSES_LEASE, ADDRESSES_ARP };

/* struct card_address *, in the order of the cards.  d is the running domain, q its monitor. */
GPtrArray *addresses_find(const struct domain *d, struct qmp *q, enum address_source from);

/* Rows of one text, for cards with that hardware address (NULL name: nothing is added).
 * Of "info usernet": its table of neighbours. */
void addresses_of_neighbours(const char *text, const struct interface *n, GPtrArray *out);
/* Of a lease file of dnsmasq, or a status file of libvirt's helper (JSON), at that time. */
void addresses_of_leases(const char *text, int64_t now, const struct interface *n, GPtrArray *out);
/* Of /proc/net/arp. */
void addresses_of_arp(const char *text, const struct interface *n, GPtrArray *out);
GPtrArray *addresses_new(void);

#endif
