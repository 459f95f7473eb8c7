/* hda_int.h - the sound controller as its files share it; private to src/devices. */
#ifndef DEVICES_HDA_INT_H
#define DEVICES_HDA_INT_H

#include "base/util.h"
#include "devices/hda.h"
#include "mem/guest_mem.h"

enum {
    HDA_STREAMS_IN = 4,
    HDA_STREAMS = 8, /* the others go out */
    HDA_NODES = 6,   /* root, function group, converter and pin out, converter and pin in */
};

struct hda;

struct hda_node {
    uint8_t power, stream, pin_control, unsolicited, eapd;
    uint8_t amp[4]; /* out left, right; in left, right: gain, bit 7 mute */
    uint16_t format;
    uint32_t config; /* pin configuration default */
};

struct hda_codec {
    struct device dev; /* first */
    struct hda *hda;
    bool present;
    enum hda_codec_kind kind;
    struct hda_node node[HDA_NODES];
};

struct hda_stream {
    struct hda *hda;
    unsigned index;
    struct timer *timer; /* while it runs */
    /* board lock */
    uint32_t ctl; /* 24 bits */
    uint8_t sts;
    uint32_t cbl;
    uint16_t lvi, fmt;
    uint32_t bdpl, bdpu;
    uint32_t position;  /* in the cyclic buffer, up to base_ns */
    uint64_t base_ns;   /* when that was */
    uint8_t entry;      /* of the buffer list */
    uint32_t entry_pos; /* in it */
};

struct hda {
    struct pci_dev pci; /* first */
    struct io_region region;
    struct vm_clock *clock;
    struct guest_mem *mem;
    /* board lock */
    uint32_t gctl, intctl, corb_base[2], rirb_base[2], dp_base[2], immediate, response;
    uint16_t wakeen, statests, corb_wp, corb_rp, rirb_wp, rint_count, immediate_sts;
    uint8_t corb_ctl, rirb_ctl, rirb_sts, rirb_pending;
    uint64_t clock_base_ns; /* of the wall clock counter */
    struct hda_stream stream[HDA_STREAMS];
    struct hda_codec codec[HDA_CODECS];
};

/* Stream registers, §3.3.35 and on. */
#define SD_SRST 0x01u
#define SD_RUN  0x02u
#define SD_IOCE 0x04u
#define SD_BCIS 0x04u /* in the status */

/* hda.c */
void hda_irq_update(struct hda *h);
/* hda_stream.c */
uint32_t hda_stream_read(struct hda_stream *s, unsigned reg);
void hda_stream_write(struct hda_stream *s, unsigned reg, uint32_t val, uint32_t mask);
void hda_stream_reset(struct hda_stream *s);
void hda_stream_loaded(struct hda_stream *s);
void hda_stream_tick(void *opaque);
extern const struct state_desc hda_stream_state;
/* hda_codec.c */
uint32_t hda_codec_verb(struct hda_codec *c, unsigned nid, uint32_t verb);
void hda_codec_reset(struct hda_codec *c);
extern const struct state_desc hda_codec_state;
extern const struct device_ops hda_codec_ops[3];

#endif
