/* hda_codec.c - codecs of one function group: a converter and a pin out, the same in (§7). */
#include "hda_int.h"

#include "base/state.h"

#include <glib.h>

enum { NID_ROOT, NID_GROUP, NID_DAC, NID_PIN_OUT, NID_ADC, NID_PIN_IN };
enum {
    VERB_SET_FORMAT = 0x2, /* four bits, 16 of payload */
    VERB_SET_AMP = 0x3,
    VERB_GET_FORMAT = 0xa,
    VERB_GET_AMP = 0xb,
    VERB_SET_POWER = 0x705, /* twelve bits, 8 of payload */
    VERB_SET_STREAM = 0x706,
    VERB_SET_PIN = 0x707,
    VERB_SET_UNSOLICITED = 0x708,
    VERB_SET_EAPD = 0x70c,
    VERB_SET_CONFIG = 0x71c, /* and the three after it: a byte each */
    VERB_RESET = 0x7ff,
    VERB_PARAMETER = 0xf00,
    VERB_CONNECTIONS = 0xf02,
    VERB_GET_POWER = 0xf05,
    VERB_GET_STREAM = 0xf06,
    VERB_GET_PIN = 0xf07,
    VERB_GET_UNSOLICITED = 0xf08,
    VERB_PIN_SENSE = 0xf09,
    VERB_GET_EAPD = 0xf0c,
    VERB_GET_CONFIG = 0xf1c,
    VERB_SUBSYSTEM = 0xf20,
};
enum {
    PARAM_VENDOR = 0x00,
    PARAM_REVISION = 0x02,
    PARAM_NODES = 0x04,
    PARAM_GROUP = 0x05,
    PARAM_WIDGET = 0x09,
    PARAM_PCM = 0x0a,
    PARAM_FORMATS = 0x0b,
    PARAM_PIN = 0x0c,
    PARAM_AMP_IN = 0x0d,
    PARAM_CONNECTIONS = 0x0e,
    PARAM_POWER = 0x0f,
    PARAM_AMP_OUT = 0x12,
};
#define PCM_16_BITS_16_TO_96K 0x000201fcu
#define FORMAT_PCM            1u
#define AMP_CAPS              0x80034a4au /* mutes; 75 steps of 1 dB, 0 dB the highest */
#define POWER_D0_D3           0x0fu

static bool has_input(const struct hda_codec *c)
{
    return c->kind != HDA_OUTPUT;
}

static uint32_t vendor(const struct hda_codec *c)
{
    static const uint32_t ids[] = {
        [HDA_OUTPUT] = 0x1af40012, [HDA_DUPLEX] = 0x1af40022, [HDA_MICRO] = 0x1af40032};

    return ids[c->kind];
}

static uint32_t parameter(const struct hda_codec *c, unsigned nid, unsigned param)
{
    static const uint32_t widget[HDA_NODES] = {
        [NID_DAC] = 0x0000001d,     /* stereo, amplifier and formats of its own */
        [NID_PIN_OUT] = 0x00400101, /* connected to the one before it */
        [NID_ADC] = 0x0010011b,
        [NID_PIN_IN] = 0x00400001,
    };
    bool converter = nid == NID_DAC || nid == NID_ADC;

    switch (param) {
    case PARAM_VENDOR:
        return nid == NID_ROOT ? vendor(c) : 0;
    case PARAM_REVISION:
        return nid == NID_ROOT ? 0x00100101 : 0;
    case PARAM_NODES:
        return nid == NID_ROOT    ? NID_GROUP << 16 | 1
               : nid == NID_GROUP ? NID_DAC << 16 | (has_input(c) ? 4u : 2u)
                                  : 0;
    case PARAM_GROUP:
        return nid == NID_GROUP ? 1 : 0; /* audio */
    case PARAM_WIDGET:
        return widget[nid];
    case PARAM_PCM:
        return converter || nid == NID_GROUP ? PCM_16_BITS_16_TO_96K : 0;
    case PARAM_FORMATS:
        return converter || nid == NID_GROUP ? FORMAT_PCM : 0;
    case PARAM_PIN:
        return nid == NID_PIN_OUT ? 0x10 : nid == NID_PIN_IN ? 0x20 : 0;
    case PARAM_AMP_IN:
        return nid == NID_ADC ? AMP_CAPS : 0;
    case PARAM_AMP_OUT:
        return nid == NID_DAC ? AMP_CAPS : 0;
    case PARAM_CONNECTIONS:
        return nid == NID_PIN_OUT || nid == NID_ADC ? 1 : 0;
    case PARAM_POWER:
        return nid == NID_GROUP ? POWER_D0_D3 : 0;
    }
    return 0;
}

static uint32_t amp_get(const struct hda_node *n, uint32_t payload)
{
    unsigned at = payload & BIT(15) ? 0 : 2; /* the output's, or the input's */

    return n->amp[at + (payload & BIT(13) ? 0 : 1)];
}

static void amp_set(struct hda_node *n, uint32_t payload)
{
    for (unsigned side = 0; side < 2; side++) {
        if (!(payload & (side ? BIT(12) : BIT(13))))
            continue;
        if (payload & BIT(15))
            n->amp[side] = (uint8_t)payload;
        if (payload & BIT(14))
            n->amp[2 + side] = (uint8_t)payload;
    }
}

static uint32_t long_verb(struct hda_node *n, unsigned verb, uint32_t payload)
{
    switch (verb) {
    case VERB_SET_FORMAT:
        n->format = (uint16_t)payload;
        return 0;
    case VERB_SET_AMP:
        amp_set(n, payload);
        return 0;
    case VERB_GET_FORMAT:
        return n->format;
    case VERB_GET_AMP:
        return amp_get(n, payload);
    }
    return 0;
}

static void node_set(struct hda_node *n, unsigned verb, uint8_t payload)
{
    unsigned byte = verb - VERB_SET_CONFIG;

    switch (verb) {
    case VERB_SET_POWER:
        n->power = payload & 3;
        break;
    case VERB_SET_STREAM:
        n->stream = payload;
        break;
    case VERB_SET_PIN:
        n->pin_control = payload;
        break;
    case VERB_SET_UNSOLICITED:
        n->unsolicited = payload;
        break;
    case VERB_SET_EAPD:
        n->eapd = payload & 7;
        break;
    default:
        if (byte < 4)
            n->config = (n->config & ~(0xffu << 8 * byte)) | (uint32_t)payload << 8 * byte;
    }
}

uint32_t hda_codec_verb(struct hda_codec *c, unsigned nid, uint32_t verb)
{
    unsigned top = verb >> 16 & 15, id = verb >> 8 & 0xfff;
    uint8_t payload = (uint8_t)verb;
    struct hda_node *n;

    if (nid >= HDA_NODES || (nid >= NID_ADC && !has_input(c)))
        return 0;
    n = &c->node[nid];
    if (top != 0x7 && top != 0xf)
        return long_verb(n, top, verb & 0xffff);
    switch (id) {
    case VERB_PARAMETER:
        return parameter(c, nid, payload);
    case VERB_CONNECTIONS:
        return payload ? 0 : nid == NID_PIN_OUT ? NID_DAC : nid == NID_ADC ? NID_PIN_IN : 0;
    case VERB_GET_POWER:
        return (uint32_t)n->power << 4 | n->power; /* is, and was asked for */
    case VERB_GET_STREAM:
        return n->stream;
    case VERB_GET_PIN:
        return n->pin_control;
    case VERB_GET_UNSOLICITED:
        return n->unsolicited;
    case VERB_PIN_SENSE:
        return nid == NID_PIN_OUT || nid == NID_PIN_IN ? BIT(31) : 0; /* something is plugged in */
    case VERB_GET_EAPD:
        return n->eapd;
    case VERB_GET_CONFIG:
        return n->config;
    case VERB_SUBSYSTEM:
        return vendor(c);
    case VERB_RESET:
        hda_codec_reset(c);
        return 0;
    default:
        if (top == 0x7)
            node_set(n, id, payload);
        return 0;
    }
}

void hda_codec_reset(struct hda_codec *c)
{
    bool micro = c->kind == HDA_MICRO;

    memset(c->node, 0, sizeof(c->node));
    for (unsigned i = NID_DAC; i < HDA_NODES; i++)
        memset(c->node[i].amp, 0x4a, sizeof(c->node[i].amp));
    c->node[NID_PIN_OUT].pin_control = 0x40;
    c->node[NID_PIN_IN].pin_control = 0x20;
    c->node[NID_PIN_OUT].config = micro ? 0x90100010u : 0x01014010u; /* speaker, or line out */
    c->node[NID_PIN_IN].config = micro ? 0x90a00020u : 0x01813020u;  /* microphone, or line in */
}

/* ---- device ---- */

static void codec_destroy(struct device *d)
{
    struct hda_codec *c = container_of(d, struct hda_codec, dev);

    c->present = false;
    device_remove(d->list, d);
}

#define CODEC_OPS(name)                                                                            \
    {                                                                                              \
        .type = (name), .destroy = codec_destroy                                                   \
    }
const struct device_ops hda_codec_ops[3] = {[HDA_OUTPUT] = CODEC_OPS("hda-output"),
                                            [HDA_DUPLEX] = CODEC_OPS("hda-duplex"),
                                            [HDA_MICRO] = CODEC_OPS("hda-micro")};

static const struct state_field node_fields[] = {
    STATE_U8(struct hda_node, power),
    STATE_U8(struct hda_node, stream),
    STATE_U8(struct hda_node, pin_control),
    STATE_U8(struct hda_node, unsolicited),
    STATE_U8(struct hda_node, eapd),
    STATE_UINT_ARRAY(struct hda_node, amp),
    STATE_U16(struct hda_node, format),
    STATE_U32(struct hda_node, config),
    STATE_END,
};
static const struct state_desc node_state = {
    .name = "hda-node", .version = 1, .fields = node_fields};
static const struct state_field codec_fields[] = {
    STATE_STRUCT_ARRAY(struct hda_codec, node, node_state),
    STATE_END,
};
const struct state_desc hda_codec_state = {
    .name = "hda-codec", .version = 1, .fields = codec_fields};
