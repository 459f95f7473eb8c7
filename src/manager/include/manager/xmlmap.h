/* xmlmap.h - XML elements and C structs, tied together by tables.
 *
 * One table (struct xml_element) describes an element's attributes, text and children and where in
 * a struct each of them lives.  The same table parses, formats and frees: what a table does not
 * know cannot be lost silently, because the parser refuses it by name and line (or, when asked to
 * be lenient, hands it to the caller to keep aside).
 *
 * Every mapped struct begins with struct xml_node.  Absent strings are NULL, absent numbers have
 * .set false, absent words are NULL, absent enums are 0 (entry 0 of their names is NULL).
 * Cold path; one thread; the caller owns the structs. */
#ifndef MANAGER_XMLMAP_H
#define MANAGER_XMLMAP_H

#include "base/error.h"

#include <glib.h>
#include <libxml/tree.h>
#include <stdbool.h>
#include <stdint.h>

#define XML_QEMU_NS "http://libvirt.org/schemas/domain/qemu/1.0"

struct xml_node {
    bool present;  /* the element is there, even if it says nothing */
    unsigned line; /* where it was read, 0 for what was made */
};

struct xml_num {
    bool set;
    uint8_t hex; /* digits when it is written as 0x..; 0: decimal */
    int64_t v;
};

enum xml_where {
    XML_ATTR, /* attribute */
    XML_BODY, /* the element's own text */
    XML_LEAF, /* child element that holds only a text */
    XML_FLAG, /* child element without content; a bool */
    XML_KID,  /* child element, its struct embedded */
    XML_REF,  /* child element, a pointer to its struct (recursive ones) */
    XML_LIST, /* child elements, a GPtrArray of structs */
    XML_RAW,  /* whatever is below this child element, kept as text */
};

enum xml_type {
    XML_STR,  /* char *, any text */
    XML_WORD, /* const char *, one of names */
    XML_ENUM, /* int, index into names */
    XML_UINT, /* struct xml_num, 0 .. INT64_MAX, decimal or hexadecimal */
    XML_INT,  /* struct xml_num, signed */
};

struct xml_element;

struct xml_field {
    const char *name; /* "qemu:arg" means the QEMU name space */
    enum xml_where where;
    enum xml_type type;
    size_t offset;
    const char *const *names; /* XML_WORD, XML_ENUM: entry 0 is NULL, then names, then NULL */
    const struct xml_element *child; /* XML_KID, XML_REF, XML_LIST */
};

struct xml_element {
    const char *name;
    size_t size; /* of the struct */
    const struct xml_field *fields;
};

/* What a lenient parse found and did not know. */
struct xml_aside {
    char *path; /* "/domain/devices/disk/@frob" */
    char *text; /* the element as it was written, or the attribute's value */
    unsigned line;
};
void xml_aside_free(void *aside);

/* Fills *out (zeroed before) from node; list fields become arrays.  aside NULL: unknown things are
 * errors.  On failure *out holds what was read so far and must still be cleared. */
bool xml_map_parse(xmlNode *node, const struct xml_element *e, void *out, GPtrArray *aside,
                   GError **err);
/* Appends the element as text, indented; nothing when it is neither present nor says anything. */
void xml_map_format(GString *to, const struct xml_element *e, const void *from, unsigned indent,
                    const char *extra_attrs);
void xml_map_clear(const struct xml_element *e, void *s); /* frees what it holds, zeroes it */
void *xml_map_new(const struct xml_element *e);           /* an empty one, lists made */
void xml_map_init(const struct xml_element *e, void *s);  /* makes the lists of a zeroed struct */
void xml_map_free(const struct xml_element *e, void *s);  /* accepts NULL */
/* A deep copy, by way of text. */
void *xml_map_copy(const struct xml_element *e, const void *s);

/* A document from hostile text: no entities, no document type, no network, bounded.  what names it
 * in errors. */
xmlDoc *xml_read(const char *text, size_t len, const char *what, GError **err);

static inline void xml_num_set(struct xml_num *n, int64_t v)
{
    n->set = true;
    n->v = v;
}
static inline int64_t xml_num_or(struct xml_num n, int64_t fallback)
{
    return n.set ? n.v : fallback;
}
void xml_escape(GString *to, const char *text);

#endif
