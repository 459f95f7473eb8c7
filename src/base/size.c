/* size.c - numbers with size suffixes, as people write them: 4G, 1.5M, 0x1000, 512. */
#include "base/error.h"
#include "base/props.h"

#include <string.h>

/* Power of 1024 for a suffix letter, -1 when it is none. */
static int suffix_power(char c)
{
    static const char letters[] = "BKMGTPE";
    const char *at = c ? strchr(letters, g_ascii_toupper(c)) : NULL;
    return at ? (int)(at - letters) : -1;
}

static bool bad_size(const char *text, GError **err)
{
    return error_set(err, HANOK_ERROR_INVALID,
                     "'%s' is not a size: write a number, optionally followed by one of "
                     "B, K, M, G, T, P or E (powers of 1024).",
                     text);
}

/* Digits after the point, scaled: ".5" of 1 GiB is 512 MiB. Rounds down. */
static uint64_t scaled_fraction(const char **p, unsigned shift)
{
    uint64_t num = 0, den = 1;
    for (; g_ascii_isdigit(**p); (*p)++) {
        if (den < 1000000000) {
            num = num * 10 + (uint64_t)(**p - '0');
            den *= 10;
        }
    }
    return (uint64_t)(((unsigned __int128)num << shift) / den);
}

bool parse_size(const char *text, char default_suffix, uint64_t *out, GError **err)
{
    bool hex = text[0] == '0' && (text[1] == 'x' || text[1] == 'X');
    const char *p = text + (hex ? 2 : 0);
    if (hex ? !g_ascii_isxdigit(*p) : !g_ascii_isdigit(*p))
        return bad_size(text, err);
    unsigned __int128 v = 0;
    for (; hex ? g_ascii_isxdigit(*p) : g_ascii_isdigit(*p); p++)
        if (v <= UINT64_MAX)
            v = v * (hex ? 16u : 10u) + (unsigned)g_ascii_xdigit_value(*p);
    const char *fraction = *p == '.' && !hex ? p + 1 : NULL;
    const char *end = fraction ? fraction + strspn(fraction, "0123456789") : p;
    /* In hexadecimal B and E are digits, so only the default suffix can apply to them. */
    char suffix = *end ? *end : default_suffix ? default_suffix : 'B';
    int power = suffix_power(suffix);
    if (power < 0 || (*end && end[1]) || (fraction && end == fraction))
        return bad_size(text, err);
    unsigned shift = 10 * (unsigned)power;
    if (v <= UINT64_MAX)
        v = (v << shift) + (fraction ? scaled_fraction(&fraction, shift) : 0);
    if (v > UINT64_MAX)
        return error_set(err, HANOK_ERROR_INVALID, "The size '%s' is larger than 64 bits hold.",
                         text);
    *out = (uint64_t)v;
    return true;
}
