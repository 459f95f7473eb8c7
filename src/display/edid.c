/* edid.c - one base block: identity, sRGB, standard sizes, a detailed timing with little blanking.
 */
#include "display/edid.h"

#include "base/util.h"

enum {
    AT_VENDOR = 8,
    AT_WEEK = 16,
    AT_VERSION = 18,
    AT_INPUT = 20,
    AT_CHROMATICITY = 25,
    AT_ESTABLISHED = 35,
    AT_STANDARD = 38,
    AT_DETAILED = 54,
    DETAILED_BYTES = 18,
    DPI = 96,
    /* blanking as in CVT's reduced form */
    H_BLANK = 160,
    H_FRONT = 48,
    H_SYNC = 32,
    V_BLANK = 40,
    V_FRONT = 3,
    V_SYNC = 6,
};

static unsigned millimetres(unsigned pixels)
{
    return pixels * 254 / (10 * DPI);
}

static void detailed(uint8_t *d, unsigned w, unsigned h)
{
    uint64_t dots = (uint64_t)(w + H_BLANK) * (h + V_BLANK);
    /* in 10 kHz; 60 frames a second where 16 bits can say so */
    uint16_t clock = (uint16_t)MIN_OF(dots * 60 / 10000, (uint64_t)UINT16_MAX);
    unsigned mm_w = MIN_OF(millimetres(w), 4095u), mm_h = MIN_OF(millimetres(h), 4095u);

    le16_put(d, clock);
    d[2] = (uint8_t)w;
    d[3] = (uint8_t)H_BLANK;
    d[4] = (uint8_t)(w >> 8 << 4 | H_BLANK >> 8);
    d[5] = (uint8_t)h;
    d[6] = V_BLANK;
    d[7] = (uint8_t)(h >> 8 << 4);
    d[8] = H_FRONT;
    d[9] = H_SYNC;
    d[10] = V_FRONT << 4 | V_SYNC;
    d[12] = (uint8_t)mm_w;
    d[13] = (uint8_t)mm_h;
    d[14] = (uint8_t)(mm_w >> 8 << 4 | mm_h >> 8);
    d[17] = 0x18; /* separate syncs, both negative */
}

static void text(uint8_t *d, uint8_t tag, const char *words)
{
    size_t n = strlen(words);

    d[3] = tag;
    memset(d + 5, ' ', 13);
    memcpy(d + 5, words, n);
    d[5 + n] = '\n';
}

static void range_limits(uint8_t *d)
{
    static const uint8_t limits[] = {50, 125, 30, 255, 66, 0, '\n', ' ', ' ', ' ', ' ', ' ', ' '};

    d[3] = 0xfd;
    memcpy(d + 5, limits, sizeof(limits));
}

void edid_make(uint8_t out[EDID_BYTES], unsigned width, unsigned height)
{
    /* chromaticity of sRGB; 640x480, 800x600, 1024x768 at 60 Hz */
    static const uint8_t srgb[] = {0xee, 0x91, 0xa3, 0x54, 0x4c, 0x99, 0x26, 0x0f, 0x50, 0x54};
    static const uint8_t standard[] = {0x81, 0xc0, 0x81, 0x80, 0xa9, 0xc0, 0xd1, 0xc0};
    unsigned w = MIN_OF(MAX_OF(width, 64u), (unsigned)EDID_SIDE_MAX);
    unsigned h = MIN_OF(MAX_OF(height, 64u), (unsigned)EDID_SIDE_MAX);
    uint8_t sum = 0;

    memset(out, 0, EDID_BYTES);
    memset(out + 1, 0xff, 6);
    out[AT_VENDOR] = ('H' - '@') << 2 | ('N' - '@') >> 3; /* "HNK", five bits a letter */
    out[AT_VENDOR + 1] = (uint8_t)(('N' - '@') << 5 | ('K' - '@'));
    le16_put(out + AT_VENDOR + 2, 1);
    out[AT_WEEK] = 1;
    out[AT_WEEK + 1] = 2026 - 1990;
    out[AT_VERSION] = 1;
    out[AT_VERSION + 1] = 4;
    out[AT_INPUT] = 0xa5; /* digital, 8 bits a colour */
    out[AT_INPUT + 1] = (uint8_t)MIN_OF(millimetres(w) / 10, 255u);
    out[AT_INPUT + 2] = (uint8_t)MIN_OF(millimetres(h) / 10, 255u);
    out[AT_INPUT + 3] = 120;  /* gamma 2.2 */
    out[AT_INPUT + 4] = 0x06; /* sRGB; the first timing is the preferred one */
    memcpy(out + AT_CHROMATICITY, srgb, sizeof(srgb));
    out[AT_ESTABLISHED] = 0x21;
    out[AT_ESTABLISHED + 1] = 0x08;
    memset(out + AT_STANDARD, 0x01, 16);
    memcpy(out + AT_STANDARD, standard, sizeof(standard));
    detailed(out + AT_DETAILED, w, h);
    text(out + AT_DETAILED + DETAILED_BYTES, 0xfc, "Hanok Screen");
    range_limits(out + AT_DETAILED + 2 * DETAILED_BYTES);
    out[AT_DETAILED + 3 * DETAILED_BYTES + 3] = 0x10; /* unused */
    for (unsigned i = 0; i < EDID_BYTES - 1; i++)
        sum = (uint8_t)(sum + out[i]);
    out[EDID_BYTES - 1] = (uint8_t)-sum;
}
