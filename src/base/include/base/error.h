/* error.h - the kinds of trouble a cold path can report through a GError.
 *
 * Rules (GLib's): GError ** is the last parameter, the return value also says success, a callee
 * never inspects *err, callers add context with g_prefix_error().  Messages are full sentences that
 * say what to do, without trailing newline.  Kinds are few and stable: code may branch on them. */
#ifndef BASE_ERROR_H
#define BASE_ERROR_H

#include <glib.h>
#include <stdbool.h>

enum hanok_error {
    HANOK_ERROR_INVALID,     /* the user's input is wrong: option, value, file format */
    HANOK_ERROR_NOT_FOUND,   /* a named thing (file, device, node, command) does not exist */
    HANOK_ERROR_IO,          /* the host refused: system call failed */
    HANOK_ERROR_CORRUPT,     /* an image or a state stream contradicts itself */
    HANOK_ERROR_UNSUPPORTED, /* right in principle, but this build or host cannot do it */
    HANOK_ERROR_BUSY,        /* in use by somebody else, or wrong run state */
};

#define HANOK_ERROR hanok_error_quark()
GQuark hanok_error_quark(void);

/* Sets an IO error "WHAT: strerror(errnum)"; returns false so callers can `return
 * error_errno(...)`. */
bool error_errno(GError **err, int errnum, const char *fmt, ...) G_GNUC_PRINTF(3, 4);
/* Sets an error of the given kind; returns false. */
bool error_set(GError **err, enum hanok_error kind, const char *fmt, ...) G_GNUC_PRINTF(3, 4);

/* "did you mean": the up to three candidates nearest to word by edit distance, as "'a', 'b' or
 * 'c'", or the first few candidates when none is near.  Returns a new string. */
char *error_nearest(const char *word, const char *const *candidates, size_t n);

#endif
