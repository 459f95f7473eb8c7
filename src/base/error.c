/* error.c - GError helpers and "did you mean". */
#include "base/error.h"

#include <stdarg.h>
#include <string.h>

GQuark hanok_error_quark(void)
{
    return g_quark_from_static_string("hanok-error-quark");
}

bool error_errno(GError **err, int errnum, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    g_autofree char *what = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    g_set_error(err, HANOK_ERROR, HANOK_ERROR_IO, "%s: %s", what, g_strerror(errnum));
    return false;
}

bool error_set(GError **err, enum hanok_error kind, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    GError *e = g_error_new_valist(HANOK_ERROR, (int)kind, fmt, ap);
    va_end(ap);
    g_propagate_error(err, e);
    return false;
}

#define WORD_MAX 64 /* longer words are compared by their first bytes */

/* Edit distance with adjacent swaps counted as one step (optimal string alignment). */
static unsigned edit_distance(const char *a, const char *b)
{
    size_t la = MIN(strlen(a), WORD_MAX), lb = MIN(strlen(b), WORD_MAX);
    unsigned row[3][WORD_MAX + 1];
    for (size_t j = 0; j <= lb; j++)
        row[0][j] = (unsigned)j;
    for (size_t i = 1; i <= la; i++) {
        unsigned *cur = row[i % 3], *prev = row[(i + 2) % 3], *prev2 = row[(i + 1) % 3];
        cur[0] = (unsigned)i;
        for (size_t j = 1; j <= lb; j++) {
            char ca = g_ascii_tolower(a[i - 1]), cb = g_ascii_tolower(b[j - 1]);
            unsigned best = MIN(MIN(prev[j] + 1, cur[j - 1] + 1), prev[j - 1] + (ca != cb));
            if (i > 1 && j > 1 && ca == g_ascii_tolower(b[j - 2]) &&
                g_ascii_tolower(a[i - 2]) == cb)
                best = MIN(best, prev2[j - 2] + 1);
            cur[j] = best;
        }
    }
    return row[la % 3][lb];
}

#define NEAREST_MAX 3
#define SHOWN_MAX   8 /* when nothing is near: show what there is, but not a page of it */

static char *join_quoted(const char *const *names, size_t n, bool more)
{
    GString *s = g_string_new(NULL);
    for (size_t i = 0; i < n; i++) {
        const char *sep = i == 0 ? "" : (i + 1 == n && !more) ? " or " : ", ";
        g_string_append_printf(s, "%s'%s'", sep, names[i]);
    }
    if (more)
        g_string_append(s, ", ...");
    return g_string_free(s, FALSE);
}

/* Lists put together from several sources may name a thing twice. */
static bool named_before(const char *const *candidates, size_t i)
{
    for (size_t k = 0; k < i; k++)
        if (!strcmp(candidates[k], candidates[i]))
            return true;
    return false;
}

char *error_nearest(const char *word, const char *const *candidates, size_t n)
{
    const char *best[NEAREST_MAX];
    unsigned score[NEAREST_MAX];
    size_t found = 0;
    unsigned limit = 1 + (unsigned)strlen(word) / 3;
    for (size_t i = 0; i < n; i++) {
        unsigned d = edit_distance(word, candidates[i]);
        if (*word && g_ascii_strncasecmp(word, candidates[i], strlen(word)) == 0)
            d = MIN(d, 1); /* an abbreviation is near however long the rest is */
        if (d > limit || named_before(candidates, i))
            continue;
        size_t at = found;
        while (at > 0 && score[at - 1] > d)
            at--;
        if (at == NEAREST_MAX)
            continue;
        if (found < NEAREST_MAX)
            found++;
        memmove(&best[at + 1], &best[at], (found - 1 - at) * sizeof(best[0]));
        memmove(&score[at + 1], &score[at], (found - 1 - at) * sizeof(score[0]));
        best[at] = candidates[i];
        score[at] = d;
    }
    if (found)
        return join_quoted(best, found, false);
    return join_quoted(candidates, MIN(n, SHOWN_MAX), n > SHOWN_MAX);
}
