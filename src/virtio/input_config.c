/* input_config.c - what the devices say about themselves (virtio 1.2 §5.8.4). */
#include "input.h"

#include <linux/input.h>

enum {
    CFG_NAME = 0x01,
    CFG_SERIAL = 0x02,
    CFG_IDS = 0x03,
    CFG_EVENTS = 0x11,
    CFG_ABS = 0x12,
    VENDOR = 0x0627,
    IDS_BYTES = 8,
    ABS_BYTES = 20,
};

/* The first half of the keyboard has set 1's numbers in Linux, too; the second has its own. */
static const struct {
    uint16_t scan, code;
} second_half[] = {
    {0xe01c, KEY_KPENTER},    {0xe01d, KEY_RIGHTCTRL}, {0xe020, KEY_MUTE},
    {0xe02e, KEY_VOLUMEDOWN}, {0xe030, KEY_VOLUMEUP},  {0xe035, KEY_KPSLASH},
    {0xe037, KEY_SYSRQ},      {0xe038, KEY_RIGHTALT},  {0xe047, KEY_HOME},
    {0xe048, KEY_UP},         {0xe049, KEY_PAGEUP},    {0xe04b, KEY_LEFT},
    {0xe04d, KEY_RIGHT},      {0xe04f, KEY_END},       {0xe050, KEY_DOWN},
    {0xe051, KEY_PAGEDOWN},   {0xe052, KEY_INSERT},    {0xe053, KEY_DELETE},
    {0xe05b, KEY_LEFTMETA},   {0xe05c, KEY_RIGHTMETA}, {0xe05d, KEY_COMPOSE},
    {0xe05e, KEY_POWER},      {0xe05f, KEY_SLEEP},     {0xe063, KEY_WAKEUP},
};

uint16_t vinput_key_code(const struct input_key *key)
{
    if (key->code == 0x54)
        return KEY_SYSRQ;
    if (key->code < 0x80)
        return key->code;
    for (size_t i = 0; i < ARRAY_SIZE(second_half); i++)
        if (second_half[i].scan == key->code)
            return second_half[i].code;
    return 0;
}

/* Sets a bit; the length so far covers it then. */
static unsigned bit(uint8_t *map, unsigned len, unsigned n)
{
    map[n / 8] |= (uint8_t)(1u << n % 8);
    return MAX_OF(len, n / 8 + 1);
}

static unsigned bits(uint8_t *map, const uint16_t *list, size_t count)
{
    unsigned len = 0;

    for (size_t i = 0; i < count; i++)
        len = bit(map, len, list[i]);
    return len;
}

static unsigned keyboard_events(uint8_t type, uint8_t *out)
{
    static const uint16_t repeats[] = {REP_DELAY, REP_PERIOD};
    static const uint16_t leds[] = {LED_NUML, LED_CAPSL, LED_SCROLLL};
    size_t count;
    const struct input_key *keys = input_keys(&count);
    unsigned len = 0;

    switch (type) {
    case EV_KEY:
        for (size_t i = 0; i < count; i++)
            if (vinput_key_code(&keys[i]))
                len = bit(out, len, vinput_key_code(&keys[i]));
        return len;
    case EV_REP:
        return bits(out, repeats, ARRAY_SIZE(repeats));
    case EV_LED:
        return bits(out, leds, ARRAY_SIZE(leds));
    }
    return 0;
}

static unsigned pointer_events(const struct virtio_input *v, uint8_t type, uint8_t *out)
{
    static const uint16_t buttons[] = {BTN_LEFT, BTN_RIGHT, BTN_MIDDLE, BTN_SIDE, BTN_EXTRA};
    static const uint16_t wheel[] = {REL_WHEEL}, moves[] = {REL_X, REL_Y, REL_WHEEL};
    static const uint16_t places[] = {ABS_X, ABS_Y};
    bool mouse = v->kind == VIRTIO_INPUT_MOUSE;

    switch (type) {
    case EV_KEY:
        return bits(out, buttons, ARRAY_SIZE(buttons));
    case EV_REL:
        return mouse ? bits(out, moves, ARRAY_SIZE(moves)) : bits(out, wheel, ARRAY_SIZE(wheel));
    case EV_ABS:
        return mouse ? 0 : bits(out, places, ARRAY_SIZE(places));
    }
    return 0;
}

static unsigned text(uint8_t *out, const char *s)
{
    size_t len = MIN_OF(strlen(s), (size_t)VINPUT_CONFIG_DATA);

    memcpy(out, s, len);
    return (unsigned)len;
}

static unsigned ids(const struct virtio_input *v, uint8_t *out)
{
    le16_put(out, BUS_VIRTUAL);
    le16_put(out + 2, VENDOR);
    le16_put(out + 4, (uint16_t)(v->kind + 1));
    le16_put(out + 6, 1); /* version */
    return IDS_BYTES;
}

unsigned vinput_answer(const struct virtio_input *v, uint8_t out[VINPUT_CONFIG_DATA])
{
    static const char *const names[] = {
        [VIRTIO_INPUT_KEYBOARD] = "Hanok Virtio Keyboard",
        [VIRTIO_INPUT_MOUSE] = "Hanok Virtio Mouse",
        [VIRTIO_INPUT_TABLET] = "Hanok Virtio Tablet",
    };
    bool abs = v->kind == VIRTIO_INPUT_TABLET && (v->subselect == ABS_X || v->subselect == ABS_Y);

    switch (v->select) {
    case CFG_NAME:
        return v->subselect == 0 ? text(out, names[v->kind]) : 0;
    case CFG_SERIAL:
        return v->subselect == 0 && v->serial ? text(out, v->serial) : 0;
    case CFG_IDS:
        return v->subselect == 0 ? ids(v, out) : 0;
    case CFG_EVENTS:
        return v->kind == VIRTIO_INPUT_KEYBOARD ? keyboard_events(v->subselect, out)
                                                : pointer_events(v, v->subselect, out);
    case CFG_ABS:
        if (abs)
            le32_put(out + 4, INPUT_ABS_MAX); /* from 0; no fuzz, flat or resolution */
        return abs ? ABS_BYTES : 0;
    }
    return 0; /* among them the property bits: none is set */
}
