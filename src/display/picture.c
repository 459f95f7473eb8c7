/* picture.c - a surface as PPM or PNG (ISO/IEC 15948: one IDAT, no filter, 8-bit RGB). */
#include "display/console.h"

#include "base/error.h"
#include "base/util.h"

#include <glib.h>
#include <libdeflate.h>
#include <stdio.h>

static void rgb_put(uint8_t *out, uint32_t pixel)
{
    out[0] = (uint8_t)(pixel >> 16);
    out[1] = (uint8_t)(pixel >> 8);
    out[2] = (uint8_t)pixel;
}

GByteArray *surface_ppm(const struct surface *s)
{
    char head[64];
    int n = snprintf(head, sizeof(head), "P6\n%u %u\n255\n", s->width, s->height);
    size_t pixels = (size_t)s->width * s->height;
    GByteArray *out = g_byte_array_sized_new((guint)(pixels * 3 + sizeof(head)));

    g_byte_array_append(out, (const guint8 *)head, (guint)n);
    g_byte_array_set_size(out, (guint)(pixels * 3 + (size_t)n));
    for (size_t i = 0; i < pixels; i++)
        rgb_put(out->data + n + 3 * i, s->pixels[i]);
    return out;
}

static void be32_put(uint8_t *p, uint32_t v)
{
    v = GUINT32_TO_BE(v);
    memcpy(p, &v, sizeof(v));
}

static void chunk_add(GByteArray *out, const char *type, const uint8_t *data, uint32_t len)
{
    uint8_t word[4];
    guint at = out->len + 4;

    be32_put(word, len);
    g_byte_array_append(out, word, 4);
    g_byte_array_append(out, (const guint8 *)type, 4);
    g_byte_array_append(out, data, len);
    be32_put(word, libdeflate_crc32(0, out->data + at, len + 4));
    g_byte_array_append(out, word, 4);
}

GByteArray *surface_png(const struct surface *s)
{
    static const uint8_t magic[8] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};
    size_t line = 1 + (size_t)s->width * 3, raw_len = line * s->height;
    g_autofree uint8_t *raw = g_malloc0(raw_len);
    struct libdeflate_compressor *z = libdeflate_alloc_compressor(6);
    size_t room = libdeflate_zlib_compress_bound(z, raw_len), packed_len;
    g_autofree uint8_t *packed = g_malloc(room);
    uint8_t head[13] = {0};
    GByteArray *out = g_byte_array_new();

    for (size_t y = 0; y < s->height; y++)
        for (size_t x = 0; x < s->width; x++)
            rgb_put(raw + y * line + 1 + 3 * x, s->pixels[y * s->width + x]);
    packed_len = libdeflate_zlib_compress(z, raw, raw_len, packed, room);
    g_assert(packed_len > 0); /* the bound is enough */
    libdeflate_free_compressor(z);
    be32_put(head, s->width);
    be32_put(head + 4, s->height);
    head[8] = 8; /* bits */
    head[9] = 2; /* RGB */
    g_byte_array_append(out, magic, sizeof(magic));
    chunk_add(out, "IHDR", head, sizeof(head));
    chunk_add(out, "IDAT", packed, (uint32_t)packed_len);
    chunk_add(out, "IEND", NULL, 0);
    return out;
}

bool console_dump(struct console *c, const char *path, bool png, GError **err)
{
    console_refresh(c, true);
    g_autoptr(GByteArray) bytes =
        png ? surface_png(console_surface(c)) : surface_ppm(console_surface(c));

    if (g_file_set_contents(path, (const gchar *)bytes->data, bytes->len, err))
        return true;
    g_prefix_error(err, "the picture cannot be written: ");
    return false;
}
