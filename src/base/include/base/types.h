/* types.h - the scalar vocabulary every folder shares.
 *
 * Address kinds are one-field structs so that a guest-virtual address cannot be passed where a
 * guest-physical one is wanted; at -O2 they cost nothing.  GError is only forward-declared here:
 * headers that hot code includes must not pull in GLib. */
#ifndef BASE_TYPES_H
#define BASE_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct {
    uint64_t v;
} gpa_t; /* guest-physical address */

typedef struct {
    uint64_t v;
} gva_t; /* guest-linear (virtual) address */

typedef struct _GError GError;
typedef struct json_t json_t;

#define GPA(x) ((gpa_t){(x)})
#define GVA(x) ((gva_t){(x)})

#endif
