/* frame.h - what a network card has to know about the frames it moves: addresses, layers, sums.
 *
 * All functions look only at the len bytes given and take any bytes: frames are hostile on both
 * sides.  No state, any thread.   Spec: RFC 791, 793, 768, 1071, 8200; Toeplitz as in the 82574
 * datasheet §7.1.11. */
#ifndef NIC_FRAME_H
#define NIC_FRAME_H

#include "base/types.h"

enum { ETH_HEADER = 14, VLAN_TAG = 4 };
enum frame_l4 { FRAME_L4_NONE, FRAME_L4_TCP, FRAME_L4_UDP };

struct frame_layout {
    bool ip4, ip6, fragment;
    bool ip_sum_ok;         /* IPv4 only */
    enum frame_l4 l4;       /* of an unfragmented packet whose header is all there */
    bool l4_has_sum;        /* a UDP checksum of 0 over IPv4 is none */
    bool l4_sum_ok;         /* looked at by frame_check_l4() */
    size_t l3, l4_at;       /* offsets of the headers */
    size_t payload, l4_end; /* offset past the TCP or UDP header; end of the IP packet */
    uint16_t ip_id;
};

bool frame_multicast(const uint8_t *frame);
bool frame_broadcast(const uint8_t *frame);
void frame_parse(const uint8_t *frame, size_t len, struct frame_layout *out);
void frame_check_l4(const uint8_t *frame, struct frame_layout *l);

/* The Internet checksum: running sum, then its complement. */
uint64_t frame_sum(const uint8_t *p, size_t len, uint64_t sum);
uint16_t frame_sum_fold(uint64_t sum);
/* Completes the checksum over [start, end) at offset at; false when it does not fit. */
bool frame_finish_sum(uint8_t *frame, size_t len, size_t start, size_t end, size_t at, bool udp);

uint32_t frame_crc(const uint8_t *p, size_t len); /* the FCS, as on the wire (little-endian) */
/* RSS hash over addresses, and ports when the flags say so; key: 40 bytes. */
uint32_t frame_rss(const uint8_t *frame, const struct frame_layout *l, bool ports,
                   const uint8_t key[40]);

#endif
