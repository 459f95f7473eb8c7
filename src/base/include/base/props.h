/* props.h - one set of user-given properties, whatever spelling it came in.
 *
 * "-device virtio-blk-pci,drive=d0,bootindex=1", the same as JSON, and a QMP device_add argument
 * all become one struct props: a JSON object whose leaves are strings (key=val) or typed values
 * (JSON). Readers ask for a type and get it from either.  Every read marks the key as known; what
 * nobody asked for is reported by props_check_unused() with the nearest valid names: nothing is
 * silently ignored.
 *
 * Key=val rules are QEMU's: ",," is a literal comma, "a.b=c" nests, a leading word without '=' is
 * the implied key's value, a bare word later means word=on.  Numbers take 0x and size suffixes.
 * Cold path only; one thread. */
#ifndef BASE_PROPS_H
#define BASE_PROPS_H

#include "base/types.h"

#include <glib.h>

struct props;

/* text may be key=val or, when it starts with '{', JSON.  implied may be NULL. */
struct props *props_parse(const char *text, const char *implied, GError **err);
struct props *props_from_json(json_t *obj); /* takes its own reference */
struct props *props_new(void);
void props_free(struct props *p); /* accepts NULL */
void props_cleanup(struct props **p);
#define PROPS_AUTO __attribute__((cleanup(props_cleanup))) struct props *

bool props_has(struct props *p, const char *key);
/* Getters return false only on a malformed value (err set); *out keeps its value when key is
 * absent. */
bool props_get_str(struct props *p, const char *key, const char **out, GError **err);
/* "id": a letter, then letters, digits, '-', '.' and '_'; anything else would be ambiguous in
 * object paths and bus names. */
bool props_get_id(struct props *p, const char **out, GError **err);
bool props_get_bool(struct props *p, const char *key, bool *out,
                    GError **err); /* on/off/yes/no/true/false */
bool props_get_u64(struct props *p, const char *key, uint64_t *out, GError **err);
bool props_get_u32(struct props *p, const char *key, uint32_t *out, GError **err);
bool props_get_size(struct props *p, const char *key, uint64_t *out,
                    GError **err); /* suffixes B K M G T P E */
/* Index into names[] (NULL-terminated); the error lists the valid ones. */
bool props_get_enum(struct props *p, const char *key, const char *const *names, unsigned *out,
                    GError **err);
json_t *props_get_json(struct props *p,
                       const char *key); /* borrowed; marks used; NULL when absent */
/* All values as an array: repeated key=val (hostfwd=..,hostfwd=..), key.0=..,key.1=.., a JSON
 * array, or one value.  The scalar getters see the last of repeated ones. Borrowed; NULL when
 * absent. */
json_t *props_get_list(struct props *p, const char *key);
struct props *props_get_sub(struct props *p, const char *key); /* nested object; borrowed */
void props_set_str(struct props *p, const char *key, const char *value);
void props_merge(struct props *into,
                 struct props *from); /* later wins, as repeated -machine does */
json_t *props_json(struct props *p);  /* borrowed */
void props_mark_used(struct props *p, const char *key);
/* known[] may be NULL.  what is for the sentence: "-device virtio-blk-pci". */
bool props_check_unused(struct props *p, const char *what, const char *const *known, GError **err);

/* "1.5G" and the like; default_suffix ('M' for -m; 0 = bytes) counts when there is none. */
bool parse_size(const char *text, char default_suffix, uint64_t *out, GError **err);

#endif
