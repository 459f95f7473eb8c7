/* frame.c - reading Ethernet frames. */
#include "frame.h"

#include "base/util.h"

enum {
    TYPE_IP4 = 0x0800,
    TYPE_IP6 = 0x86dd,
    TYPE_VLAN = 0x8100,
    PROTO_TCP = 6,
    PROTO_UDP = 17,
    IP6_HEADER = 40,
    IP6_HOP = 0,
    IP6_ROUTING = 43,
    IP6_FRAGMENT = 44,
    IP6_OPTIONS = 60,
    IP6_EXTENSIONS_MAX = 8, /* more than any stack sends; bounds the walk */
};

static uint16_t be16(const uint8_t *p)
{
    return (uint16_t)(p[0] << 8 | p[1]);
}

bool frame_multicast(const uint8_t *frame)
{
    return frame[0] & 1;
}

bool frame_broadcast(const uint8_t *frame)
{
    static const uint8_t all[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    return memcmp(frame, all, 6) == 0;
}

/* ---- sums ---- */

uint64_t frame_sum(const uint8_t *p, size_t len, uint64_t sum)
{
    for (size_t i = 0; i + 1 < len; i += 2)
        sum += be16(p + i);
    return len & 1 ? sum + ((uint32_t)p[len - 1] << 8) : sum;
}

uint16_t frame_sum_fold(uint64_t sum)
{
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t)~sum;
}

bool frame_finish_sum(uint8_t *frame, size_t len, size_t start, size_t end, size_t at, bool udp)
{
    if (end > len)
        end = len;
    if (start >= end || at + 2 > len)
        return false;
    uint16_t sum = frame_sum_fold(frame_sum(frame + start, end - start, 0));
    if (sum == 0 && udp)
        sum = 0xffff; /* 0 would mean "no checksum" */
    frame[at] = (uint8_t)(sum >> 8);
    frame[at + 1] = (uint8_t)sum;
    return true;
}

uint32_t frame_crc(const uint8_t *p, size_t len)
{
    static const uint32_t nibble[16] = {
        0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac, 0x76dc4190, 0x6b6b51f4,
        0x4db26158, 0x5005713c, 0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c,
        0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c,
    };
    uint32_t crc = UINT32_MAX;

    for (size_t i = 0; i < len; i++) {
        crc ^= p[i];
        crc = crc >> 4 ^ nibble[crc & 15];
        crc = crc >> 4 ^ nibble[crc & 15];
    }
    return ~crc;
}

/* ---- layers ---- */

static void parse_l4(const uint8_t *f, struct frame_layout *l, unsigned proto)
{
    size_t left = l->l4_end - l->l4_at;
    const uint8_t *h = f + l->l4_at;

    if (proto == PROTO_TCP && left >= 20) {
        size_t bytes = (size_t)(h[12] >> 4) * 4;
        if (bytes < 20 || bytes > left)
            return;
        l->l4 = FRAME_L4_TCP;
        l->l4_has_sum = true;
        l->payload = l->l4_at + bytes;
    } else if (proto == PROTO_UDP && left >= 8) {
        l->l4 = FRAME_L4_UDP;
        l->l4_has_sum = be16(h + 6) != 0;
        l->payload = l->l4_at + 8;
    }
}

static void parse_ip4(const uint8_t *f, size_t len, struct frame_layout *l)
{
    const uint8_t *h = f + l->l3;
    size_t left = len - l->l3, header, total;

    if (left < 20 || h[0] >> 4 != 4)
        return;
    header = (size_t)(h[0] & 15) * 4;
    total = be16(h + 2);
    if (header < 20 || total < header || total > left)
        return;
    l->ip4 = true;
    l->ip_id = be16(h + 4);
    l->ip_sum_ok = frame_sum_fold(frame_sum(h, header, 0)) == 0;
    l->fragment = be16(h + 6) & 0x3fff;
    l->l4_at = l->l3 + header;
    l->l4_end = l->l3 + total;
    if (!l->fragment)
        parse_l4(f, l, h[9]);
}

static void parse_ip6(const uint8_t *f, size_t len, struct frame_layout *l)
{
    const uint8_t *h = f + l->l3;
    size_t left = len - l->l3;

    if (left < IP6_HEADER || h[0] >> 4 != 6 || be16(h + 4) > left - IP6_HEADER)
        return;
    l->ip6 = true;
    l->l4_at = l->l3 + IP6_HEADER;
    l->l4_end = l->l4_at + be16(h + 4);
    unsigned next = h[6];
    for (unsigned n = 0; n < IP6_EXTENSIONS_MAX; n++) {
        if (next == IP6_FRAGMENT)
            l->fragment = true;
        if (next != IP6_HOP && next != IP6_ROUTING && next != IP6_OPTIONS)
            break;
        if (l->l4_end - l->l4_at < 8)
            return;
        size_t bytes = 8 + 8u * f[l->l4_at + 1];
        if (bytes > l->l4_end - l->l4_at)
            return;
        next = f[l->l4_at];
        l->l4_at += bytes;
    }
    if (!l->fragment)
        parse_l4(f, l, next);
}

void frame_parse(const uint8_t *frame, size_t len, struct frame_layout *out)
{
    size_t at = 12;

    *out = (struct frame_layout){.l3 = 0};
    if (len < ETH_HEADER)
        return;
    if (be16(frame + at) == TYPE_VLAN && len >= ETH_HEADER + VLAN_TAG)
        at += VLAN_TAG;
    out->l3 = at + 2;
    if (be16(frame + at) == TYPE_IP4)
        parse_ip4(frame, len, out);
    else if (be16(frame + at) == TYPE_IP6)
        parse_ip6(frame, len, out);
}

static size_t address_bytes(const struct frame_layout *l)
{
    return l->ip4 ? 8 : 32; /* source and destination, which follow each other */
}

static const uint8_t *addresses(const uint8_t *frame, const struct frame_layout *l)
{
    return frame + l->l3 + (l->ip4 ? 12 : 8);
}

void frame_check_l4(const uint8_t *frame, struct frame_layout *l)
{
    size_t bytes = l->l4_end - l->l4_at;
    uint64_t sum = bytes + (l->l4 == FRAME_L4_TCP ? PROTO_TCP : PROTO_UDP);

    if (l->l4 == FRAME_L4_NONE || !l->l4_has_sum)
        return;
    sum = frame_sum(addresses(frame, l), address_bytes(l), sum);
    l->l4_sum_ok = frame_sum_fold(frame_sum(frame + l->l4_at, bytes, sum)) == 0;
}

/* ---- receive side scaling ---- */

uint32_t frame_rss(const uint8_t *frame, const struct frame_layout *l, bool ports,
                   const uint8_t key[40])
{
    uint8_t in[36];
    size_t n = address_bytes(l);
    uint32_t window =
                 (uint32_t)key[0] << 24 | (uint32_t)key[1] << 16 | (uint32_t)key[2] << 8 | key[3],
             hash = 0;

    memcpy(in, addresses(frame, l), n);
    if (ports) {
        memcpy(in + n, frame + l->l4_at, 4);
        n += 4;
    }
    for (size_t i = 0; i < n; i++) {
        for (int bit = 7; bit >= 0; bit--) {
            if (in[i] >> bit & 1)
                hash ^= window;
            window = window << 1 | (i + 4 < 40 ? key[i + 4] >> bit & 1 : 0);
        }
    }
    return hash;
}
