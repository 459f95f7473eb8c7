/* xmlmap.c - parsing, formatting and freeing by table. */
#include "manager/xmlmap.h"

#include "base/util.h"

#include <libxml/parser.h>
#include <string.h>

enum { MAX_DOCUMENT = 8 * 1024 * 1024, MAX_LIST = 4096 };

#define FIELD(T, s, f) ((T *)((char *)(s) + (f)->offset))

void xml_aside_free(void *p)
{
    struct xml_aside *a = p;
    g_free(a->path);
    g_free(a->text);
    g_free(a);
}

/* ---- documents ---- */

static void remember_error(void *opaque, xmlErrorPtr e)
{
    GString *s = opaque;
    if (!s->len && e->message) {
        g_string_append_printf(s, "line %d: %s", e->line, e->message);
        g_strchomp(s->str);
    }
}

xmlDoc *xml_read(const char *text, size_t len, const char *what, GError **err)
{
    g_autoptr(GString) said = g_string_new(NULL);
    if (len > MAX_DOCUMENT) {
        error_set(err, HANOK_ERROR_INVALID, "%s is larger than %d MiB; no domain is that long",
                  what, MAX_DOCUMENT >> 20);
        return NULL;
    }
    xmlSetStructuredErrorFunc(said, remember_error);
    xmlDoc *doc = xmlReadMemory(text, (int)len, what, NULL, XML_PARSE_NONET | XML_PARSE_BIG_LINES);
    xmlSetStructuredErrorFunc(NULL, NULL);
    if (!doc || !xmlDocGetRootElement(doc)) {
        error_set(err, HANOK_ERROR_INVALID, "%s is not well-formed XML: %s", what,
                  said->len ? said->str : "it has no root element");
        xmlFreeDoc(doc);
        return NULL;
    }
    if (xmlGetIntSubset(doc)) {
        error_set(err, HANOK_ERROR_INVALID, "%s has a document type; domains have none", what);
        xmlFreeDoc(doc);
        return NULL;
    }
    return doc;
}

/* ---- values ---- */

static bool parse_number(const char *text, bool negative_too, struct xml_num *out)
{
    g_autofree char *t = g_strstrip(g_strdup(text));
    bool hex = t[0] == '0' && (t[1] == 'x' || t[1] == 'X');
    const char *digits = hex ? t + 2 : t + (negative_too && *t == '-');
    char *end = NULL;
    if (!*digits || !g_ascii_isxdigit(*digits)) {
        return false;
    }
    errno = 0;
    guint64 v = g_ascii_strtoull(digits, &end, hex ? 16 : 10);
    if (errno || *end || v > INT64_MAX) {
        return false;
    }
    out->set = true;
    out->hex = hex ? MIN_OF(strlen(digits), 16u) : 0;
    out->v = *t == '-' ? -(int64_t)v : (int64_t)v;
    return true;
}

static int find_name(const char *const *names, const char *word)
{
    for (int i = 1; names[i]; i++) {
        if (!strcmp(names[i], word)) {
            return i;
        }
    }
    return 0;
}

static bool bad_value(const struct xml_field *f, const char *element, const char *text,
                      unsigned line, GError **err)
{
    g_autofree char *what = f->where == XML_ATTR ? g_strdup_printf("'%s' of <%s>", f->name, element)
                            : f->where == XML_BODY ? g_strdup_printf("<%s>", element)
                                                   : g_strdup_printf("<%s>", f->name);
    if (!f->names) {
        return error_set(err, HANOK_ERROR_INVALID, "line %u: %s cannot be '%.60s'; it is a number",
                         line, what, text);
    }
    g_autofree char *list = g_strjoinv(", ", (char **)f->names + 1);
    return error_set(err, HANOK_ERROR_INVALID, "line %u: %s cannot be '%.60s'; it is one of: %s",
                     line, what, text, list);
}

static bool set_value(const struct xml_field *f, const char *element, void *s, const char *text,
                      unsigned line, GError **err)
{
    switch (f->type) {
    case XML_STR: {
        char **to = FIELD(char *, s, f);
        g_free(*to);
        *to = g_strdup(text);
        return true;
    }
    case XML_WORD:
    case XML_ENUM: {
        g_autofree char *word = g_strstrip(g_strdup(text));
        int i = find_name(f->names, word);
        if (!i) {
            return bad_value(f, element, text, line, err);
        }
        if (f->type == XML_ENUM) {
            *FIELD(int, s, f) = i;
        } else {
            *FIELD(const char *, s, f) = f->names[i];
        }
        return true;
    }
    case XML_UINT:
    case XML_INT:
        if (!parse_number(text, f->type == XML_INT, FIELD(struct xml_num, s, f))) {
            return bad_value(f, element, text, line, err);
        }
        return true;
    }
    return true;
}

/* The value as text, or NULL when there is none. */
static char *get_value(const struct xml_field *f, const void *s)
{
    switch (f->type) {
    case XML_STR:
        return g_strdup(*FIELD(char *, s, f));
    case XML_WORD:
        return g_strdup(*FIELD(const char *, s, f));
    case XML_ENUM:
        return g_strdup(f->names[*FIELD(int, s, f)]);
    case XML_UINT:
    case XML_INT: {
        const struct xml_num *n = FIELD(struct xml_num, s, f);
        if (!n->set) {
            return NULL;
        }
        return n->hex ? g_strdup_printf("0x%0*" G_GINT64_MODIFIER "x", n->hex, (guint64)n->v)
                      : g_strdup_printf("%" G_GINT64_FORMAT, n->v);
    }
    }
    return NULL;
}

/* ---- structs ---- */

void xml_map_init(const struct xml_element *e, void *s)
{
    for (const struct xml_field *f = e->fields; f->name; f++) {
        if (f->where == XML_LIST) {
            *FIELD(GPtrArray *, s, f) = g_ptr_array_new();
        } else if (f->where == XML_KID) {
            xml_map_init(f->child, FIELD(void, s, f));
        }
    }
}

void *xml_map_new(const struct xml_element *e)
{
    void *s = g_malloc0(e->size);
    xml_map_init(e, s);
    return s;
}

static void clear_value(const struct xml_field *f, void *s)
{
    if (f->type == XML_STR) {
        g_free(*FIELD(char *, s, f));
    }
}

void xml_map_clear(const struct xml_element *e, void *s)
{
    for (const struct xml_field *f = e->fields; f->name; f++) {
        switch (f->where) {
        case XML_ATTR:
        case XML_BODY:
        case XML_LEAF:
            clear_value(f, s);
            break;
        case XML_RAW:
            g_free(*FIELD(char *, s, f));
            break;
        case XML_FLAG:
            break;
        case XML_KID:
            xml_map_clear(f->child, FIELD(void, s, f));
            break;
        case XML_REF:
            xml_map_free(f->child, *FIELD(void *, s, f));
            break;
        case XML_LIST: {
            GPtrArray *list = *FIELD(GPtrArray *, s, f);
            for (unsigned i = 0; list && i < list->len; i++) {
                xml_map_free(f->child, list->pdata[i]);
            }
            if (list) {
                g_ptr_array_free(list, TRUE);
            }
            break;
        }
        }
    }
    memset(s, 0, e->size);
}

void xml_map_free(const struct xml_element *e, void *s)
{
    if (s) {
        xml_map_clear(e, s);
        g_free(s);
    }
}

void *xml_map_copy(const struct xml_element *e, const void *s)
{
    g_autoptr(GString) text = g_string_new(NULL);
    void *copy = xml_map_new(e);
    xml_map_format(text, e, s, 0, "xmlns:qemu='" XML_QEMU_NS "'");
    xmlDoc *doc = text->len ? xml_read(text->str, text->len, "a copy", NULL) : NULL;
    if (doc) {
        g_autoptr(GPtrArray) aside = g_ptr_array_new_with_free_func(xml_aside_free);
        xml_map_parse(xmlDocGetRootElement(doc), e, copy, aside, NULL);
        xmlFreeDoc(doc);
    }
    return copy;
}

/* ---- parsing ---- */

struct parse {
    GPtrArray *aside; /* NULL: strict */
    GString *path;
    GError **err;
};

static bool parse_into(struct parse *p, xmlNode *node, const struct xml_element *e, void *s);

static bool names_match(const char *field, const xmlChar *name, const xmlNs *ns)
{
    bool qemu = g_str_has_prefix(field, "qemu:");
    if (qemu != (ns != NULL)) {
        return false;
    }
    return (!qemu || !strcmp((const char *)ns->href, XML_QEMU_NS)) &&
           !strcmp(field + (qemu ? 5 : 0), (const char *)name);
}

static char *node_text(xmlNode *node)
{
    xmlBuffer *buf = xmlBufferCreate();
    xmlNodeDump(buf, node->doc, node, 0, 0);
    char *text = g_strdup((const char *)xmlBufferContent(buf));
    xmlBufferFree(buf);
    return text;
}

static void keep_aside(struct parse *p, const char *leaf, char *text, unsigned line)
{
    struct xml_aside *a = g_new0(struct xml_aside, 1);
    a->path = g_strconcat(p->path->str, "/", leaf, NULL);
    a->text = text;
    a->line = line;
    g_ptr_array_add(p->aside, a);
}

static char *nearest_fields(const struct xml_element *e, bool attributes, const char *word)
{
    g_autoptr(GPtrArray) names = g_ptr_array_new();
    for (const struct xml_field *f = e->fields; f->name; f++) {
        if (f->where != XML_BODY && (f->where == XML_ATTR) == attributes) {
            g_ptr_array_add(names, (gpointer)f->name);
        }
    }
    if (!names->len) {
        return NULL;
    }
    return error_nearest(word, (const char *const *)names->pdata, names->len);
}

static bool unknown_element(struct parse *p, xmlNode *node, const struct xml_element *e)
{
    const char *name = (const char *)node->name;
    unsigned line = xmlGetLineNo(node);
    if (p->aside) {
        keep_aside(p, name, node_text(node), line);
        return true;
    }
    g_autofree char *near = nearest_fields(e, false, name);
    return error_set(
        p->err, HANOK_ERROR_INVALID,
        "line %u: the element <%s> is not known in <%s>%s%s (--lenient keeps it aside)", line, name,
        e->name, near ? "; did you mean " : "", near ? near : "");
}

static bool parse_attribute(struct parse *p, xmlNode *node, xmlAttr *attr,
                            const struct xml_element *e, void *s)
{
    unsigned line = xmlGetLineNo(node);
    xmlChar *raw = xmlNodeListGetString(node->doc, attr->children, 1);
    g_autofree char *value = g_strdup(raw ? (const char *)raw : "");
    xmlFree(raw);
    for (const struct xml_field *f = e->fields; f->name; f++) {
        if (f->where == XML_ATTR && names_match(f->name, attr->name, attr->ns)) {
            return set_value(f, e->name, s, value, line, p->err);
        }
    }
    if (p->aside) {
        g_autofree char *leaf = g_strdup_printf("@%s", (const char *)attr->name);
        keep_aside(p, leaf, g_steal_pointer(&value), line);
        return true;
    }
    g_autofree char *near = nearest_fields(e, true, (const char *)attr->name);
    return error_set(p->err, HANOK_ERROR_INVALID,
                     "line %u: the attribute '%s' of <%s> is not known%s%s (--lenient keeps it "
                     "aside)",
                     line, (const char *)attr->name, e->name, near ? "; did you mean " : "",
                     near ? near : "");
}

static char *raw_children(xmlNode *node)
{
    g_autoptr(GPtrArray) parts = g_ptr_array_new_with_free_func(g_free);
    for (xmlNode *n = node->children; n; n = n->next) {
        if (n->type == XML_ELEMENT_NODE) {
            xmlReconciliateNs(n->doc, n);
            g_ptr_array_add(parts, node_text(n));
        }
    }
    g_ptr_array_add(parts, NULL);
    return g_strjoinv("\n", (char **)parts->pdata);
}

/* A leaf holds text only. */
static bool parse_leaf(struct parse *p, xmlNode *node, const struct xml_field *f, void *s)
{
    unsigned line = xmlGetLineNo(node);
    if (node->properties || xmlFirstElementChild(node)) {
        if (!p->aside) {
            return error_set(p->err, HANOK_ERROR_INVALID,
                             "line %u: <%s> holds only a text, no attributes and no elements", line,
                             f->name);
        }
        keep_aside(p, f->name, node_text(node), line);
    }
    xmlChar *raw = xmlNodeGetContent(node);
    g_autofree char *text = g_strdup(raw ? (const char *)raw : "");
    xmlFree(raw);
    return set_value(f, f->name, s, text, line, p->err);
}

static bool parse_list_item(struct parse *p, xmlNode *node, const struct xml_field *f, void *s)
{
    GPtrArray *list = *FIELD(GPtrArray *, s, f);
    if (list->len >= MAX_LIST) {
        return error_set(p->err, HANOK_ERROR_INVALID, "line %ld: there are more than %d <%s>",
                         xmlGetLineNo(node), MAX_LIST, f->name);
    }
    void *item = xml_map_new(f->child);
    g_ptr_array_add(list, item);
    return parse_into(p, node, f->child, item);
}

static bool given_twice(struct parse *p, xmlNode *node)
{
    return error_set(p->err, HANOK_ERROR_INVALID, "line %ld: <%s> is given twice",
                     xmlGetLineNo(node), (const char *)node->name);
}

static bool parse_child(struct parse *p, xmlNode *node, const struct xml_field *f, void *s)
{
    switch (f->where) {
    case XML_LEAF:
        return parse_leaf(p, node, f, s);
    case XML_FLAG:
        *FIELD(bool, s, f) = true;
        return true;
    case XML_KID: {
        struct xml_node *kid = FIELD(struct xml_node, s, f);
        return kid->present ? given_twice(p, node) : parse_into(p, node, f->child, kid);
    }
    case XML_REF: {
        void **ref = FIELD(void *, s, f);
        if (*ref) {
            return given_twice(p, node);
        }
        *ref = xml_map_new(f->child);
        return parse_into(p, node, f->child, *ref);
    }
    case XML_LIST:
        return parse_list_item(p, node, f, s);
    case XML_RAW:
        g_free(*FIELD(char *, s, f));
        *FIELD(char *, s, f) = raw_children(node);
        return true;
    case XML_ATTR:
    case XML_BODY:
        break;
    }
    return true;
}

static bool parse_element_child(struct parse *p, xmlNode *node, const struct xml_element *e,
                                void *s)
{
    for (const struct xml_field *f = e->fields; f->name; f++) {
        if (f->where != XML_ATTR && f->where != XML_BODY &&
            names_match(f->name, node->name, node->ns)) {
            return parse_child(p, node, f, s);
        }
    }
    return unknown_element(p, node, e);
}

static bool is_blank(const char *text)
{
    return !text[strspn(text, " \t\r\n")];
}

static bool parse_body(struct parse *p, xmlNode *node, const struct xml_element *e, void *s)
{
    const struct xml_field *body = NULL;
    g_autoptr(GString) text = g_string_new(NULL);
    for (const struct xml_field *f = e->fields; f->name; f++) {
        if (f->where == XML_BODY) {
            body = f;
        }
    }
    for (xmlNode *n = node->children; n; n = n->next) {
        if ((n->type == XML_TEXT_NODE || n->type == XML_CDATA_SECTION_NODE) && n->content) {
            g_string_append(text, (const char *)n->content);
        }
    }
    bool mixed = xmlFirstElementChild(node) != NULL, blank = is_blank(text->str);
    if (body && !mixed && text->len && !(body->type != XML_STR && blank)) {
        return set_value(body, e->name, s, text->str, xmlGetLineNo(node), p->err);
    }
    if ((!body || mixed) && !blank) {
        g_strstrip(text->str);
        return error_set(p->err, HANOK_ERROR_INVALID, "line %ld: <%s> holds no text here ('%.40s')",
                         xmlGetLineNo(node), e->name, text->str);
    }
    return true;
}

static bool parse_into(struct parse *p, xmlNode *node, const struct xml_element *e, void *s)
{
    struct xml_node *own = s;
    size_t len = p->path->len;
    bool ok = true;
    own->present = true;
    own->line = xmlGetLineNo(node);
    g_string_append_printf(p->path, "/%s", e->name);
    for (xmlAttr *a = node->properties; ok && a; a = a->next) {
        ok = parse_attribute(p, node, a, e, s);
    }
    for (xmlNode *n = node->children; ok && n; n = n->next) {
        if (n->type == XML_ELEMENT_NODE) {
            ok = parse_element_child(p, n, e, s);
        } else if (n->type == XML_ENTITY_REF_NODE) {
            ok = error_set(p->err, HANOK_ERROR_INVALID, "line %ld: entities are not known here",
                           xmlGetLineNo(node));
        }
    }
    ok = ok && parse_body(p, node, e, s);
    g_string_truncate(p->path, len);
    return ok;
}

bool xml_map_parse(xmlNode *node, const struct xml_element *e, void *out, GPtrArray *aside,
                   GError **err)
{
    g_autoptr(GString) path = g_string_new(NULL);
    struct parse p = {aside, path, err};
    if (!names_match(e->name, node->name, node->ns)) {
        return error_set(err, HANOK_ERROR_INVALID, "line %ld: here stands <%s>, and should <%s>",
                         xmlGetLineNo(node), (const char *)node->name, e->name);
    }
    return parse_into(&p, node, e, out);
}

/* ---- formatting ---- */

void xml_escape(GString *to, const char *text)
{
    for (const char *c = text; *c; c++) {
        switch (*c) {
        case '<':
            g_string_append(to, "&lt;");
            break;
        case '>':
            g_string_append(to, "&gt;");
            break;
        case '&':
            g_string_append(to, "&amp;");
            break;
        case '\'':
            g_string_append(to, "&apos;");
            break;
        case '\r':
            g_string_append(to, "&#xD;");
            break;
        default:
            g_string_append_c(to, *c);
        }
    }
}

/* In attributes, white space other than blanks would be normalised away by the next reader. */
static void escape_attribute(GString *to, const char *text)
{
    g_autoptr(GString) s = g_string_new(NULL);
    xml_escape(s, text);
    for (const char *c = s->str; *c; c++) {
        if (*c == '\n') {
            g_string_append(to, "&#xA;");
        } else if (*c == '\t') {
            g_string_append(to, "&#x9;");
        } else {
            g_string_append_c(to, *c);
        }
    }
}

static void pad(GString *to, unsigned indent)
{
    g_string_append_printf(to, "%*s", (int)indent, "");
}

static void format_attributes(GString *to, const struct xml_element *e, const void *s)
{
    for (const struct xml_field *f = e->fields; f->name; f++) {
        g_autofree char *value = f->where == XML_ATTR ? get_value(f, s) : NULL;
        if (value) {
            g_string_append_printf(to, " %s='", f->name);
            escape_attribute(to, value);
            g_string_append_c(to, '\'');
        }
    }
}

static void format_raw(GString *to, const char *name, const char *text, unsigned indent)
{
    pad(to, indent);
    if (!*text) {
        g_string_append_printf(to, "<%s/>\n", name);
        return;
    }
    g_string_append_printf(to, "<%s>\n", name);
    pad(to, indent + 2);
    g_string_append(to, text);
    g_string_append_c(to, '\n');
    pad(to, indent);
    g_string_append_printf(to, "</%s>\n", name);
}

static void format_leaf(GString *to, const struct xml_field *f, const void *s, unsigned indent)
{
    g_autofree char *value = get_value(f, s);
    if (value) {
        pad(to, indent);
        g_string_append_printf(to, "<%s>", f->name);
        xml_escape(to, value);
        g_string_append_printf(to, "</%s>\n", f->name);
    }
}

static void format_child(GString *to, const struct xml_field *f, const void *s, unsigned indent)
{
    switch (f->where) {
    case XML_LEAF:
        format_leaf(to, f, s, indent);
        break;
    case XML_FLAG:
        if (*FIELD(bool, s, f)) {
            pad(to, indent);
            g_string_append_printf(to, "<%s/>\n", f->name);
        }
        break;
    case XML_KID:
        xml_map_format(to, f->child, FIELD(void, s, f), indent, NULL);
        break;
    case XML_REF:
        if (*FIELD(void *, s, f)) {
            xml_map_format(to, f->child, *FIELD(void *, s, f), indent, NULL);
        }
        break;
    case XML_LIST: {
        GPtrArray *list = *FIELD(GPtrArray *, s, f);
        for (unsigned i = 0; list && i < list->len; i++) {
            xml_map_format(to, f->child, list->pdata[i], indent, NULL);
        }
        break;
    }
    case XML_RAW:
        if (*FIELD(char *, s, f)) {
            format_raw(to, f->name, *FIELD(char *, s, f), indent);
        }
        break;
    case XML_ATTR:
    case XML_BODY:
        break;
    }
}

void xml_map_format(GString *to, const struct xml_element *e, const void *s, unsigned indent,
                    const char *extra_attrs)
{
    const struct xml_node *own = s;
    g_autoptr(GString) attrs = g_string_new(NULL), kids = g_string_new(NULL);
    g_autofree char *body = NULL;
    format_attributes(attrs, e, s);
    for (const struct xml_field *f = e->fields; f->name; f++) {
        if (f->where == XML_BODY) {
            body = get_value(f, s);
        } else if (f->where != XML_ATTR) {
            format_child(kids, f, s, indent + 2);
        }
    }
    if (!own->present && !attrs->len && !kids->len && !body) {
        return;
    }
    pad(to, indent);
    g_string_append_printf(to, "<%s%s%s%s", e->name, attrs->str, extra_attrs ? " " : "",
                           extra_attrs ? extra_attrs : "");
    if (kids->len) {
        g_string_append(to, ">\n");
        g_string_append(to, kids->str);
        pad(to, indent);
        g_string_append_printf(to, "</%s>\n", e->name);
    } else if (body) {
        g_string_append_c(to, '>');
        xml_escape(to, body);
        g_string_append_printf(to, "</%s>\n", e->name);
    } else {
        g_string_append(to, "/>\n");
    }
}
