/* osinfo.c - see osinfo.h. */
#include "osinfo.h"

#include "base/util.h"

#include <fcntl.h>
#include <libxml/parser.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    FILE_BYTES_MAX = 4 << 20,
    ANCESTORS_MAX = 64,
    VOLUME_DESCRIPTOR = 16 * 2048, /* ISO 9660 §6.7: the primary one is the first */
    DESCRIPTOR_BYTES = 2048
};

static char *database(void)
{
    const char *own = g_getenv("OSINFO_SYSTEM_DIR");
    return g_build_filename(own && *own ? own : "/usr/share/osinfo", "os", NULL);
}

bool osinfo_installed(void)
{
    g_autofree char *dir = database();
    return !access(dir, R_OK | X_OK);
}

/* ---- the files ---- */

typedef bool (*file_fn)(const char *text, gsize len, void *opaque); /* false: enough */

static bool each_in(const char *dir, file_fn fn, void *opaque)
{
    g_autoptr(GDir) d = g_dir_open(dir, 0, NULL);
    bool more = true;
    for (const char *e = d ? g_dir_read_name(d) : NULL; e && more; e = g_dir_read_name(d)) {
        g_autofree char *path = g_build_filename(dir, e, NULL), *text = NULL;
        gsize len;
        if (g_str_has_suffix(e, ".xml") && g_file_get_contents(path, &text, &len, NULL) &&
            len < FILE_BYTES_MAX) {
            more = fn(text, len, opaque);
        }
    }
    return more;
}

static void each_file(file_fn fn, void *opaque)
{
    g_autofree char *top = database();
    g_autoptr(GDir) d = g_dir_open(top, 0, NULL);
    bool more = true;
    for (const char *e = d ? g_dir_read_name(d) : NULL; e && more; e = g_dir_read_name(d)) {
        g_autofree char *dir = g_build_filename(top, e, NULL);
        more = each_in(dir, fn, opaque);
    }
}

/* ---- elements ---- */

static bool named(const xmlNode *n, const char *name)
{
    return n->type == XML_ELEMENT_NODE && !strcmp((const char *)n->name, name);
}

static xmlNode *child_of(const xmlNode *n, const char *name)
{
    xmlNode *c = n ? n->children : NULL;
    while (c && !named(c, name)) {
        c = c->next;
    }
    return c;
}

/* The text of a child; NULL when there is none. */
static char *text_of(const xmlNode *n, const char *name)
{
    xmlNode *c = name ? child_of(n, name) : (xmlNode *)n;
    xmlChar *own = c ? xmlNodeGetContent(c) : NULL;
    char *text = own ? g_strstrip(g_strdup((const char *)own)) : NULL;
    xmlFree(own);
    return text;
}

static char *attribute(const xmlNode *n, const char *name)
{
    xmlChar *own = xmlGetProp((xmlNode *)n, (const xmlChar *)name);
    char *text = g_strdup((const char *)own);
    xmlFree(own);
    return text;
}

static int64_t number_of(const xmlNode *n, const char *name)
{
    g_autofree char *text = text_of(n, name);
    return text ? MAX_OF(g_ascii_strtoll(text, NULL, 10), 0) : 0;
}

/* Its <os>; *doc is the caller's. */
static xmlNode *parse(const char *text, gsize len, xmlDoc **doc)
{
    *doc = xmlReadMemory(text, (int)len, NULL, NULL,
                         XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING);
    return *doc ? child_of(xmlDocGetRootElement(*doc), "os") : NULL;
}

/* ---- one system ---- */

struct index { /* URI and short id -> the file's text */
    GHashTable *texts;
};

/* The names in a file without parsing it: there are nearly a thousand files. */
static bool note_file(const char *text, gsize len, void *opaque)
{
    GHashTable *texts = ((struct index *)opaque)->texts;
    GBytes *own = g_bytes_new(text, len + 1);
    const char *at = strstr(text, "<os id=\"");
    if (at) {
        at += strlen("<os id=\"");
        g_hash_table_replace(texts, g_strndup(at, strcspn(at, "\"")), g_bytes_ref(own));
    }
    for (at = text; (at = strstr(at, "<short-id>"));) {
        at += strlen("<short-id>");
        g_hash_table_replace(texts, g_strndup(at, strcspn(at, "<")), g_bytes_ref(own));
    }
    g_bytes_unref(own);
    return true;
}

static GHashTable *names_and_files(void)
{
    struct index x = {
        g_hash_table_new_full(g_str_hash, g_str_equal, g_free, (GDestroyNotify)g_bytes_unref)};
    each_file(note_file, &x);
    return x.texts;
}

static void read_resources(struct osinfo *o, const xmlNode *os)
{
    for (const xmlNode *r = os->children; r; r = r->next) {
        g_autofree char *arch = named(r, "resources") ? attribute(r, "arch") : NULL;
        if (!arch || (strcmp(arch, "all") && strcmp(arch, "x86_64"))) {
            continue;
        }
        const xmlNode *least = child_of(r, "minimum"), *best = child_of(r, "recommended");
        int64_t ram_min = number_of(least, "ram"), ram = number_of(best, "ram"),
                storage = number_of(best, "storage"), cpus = number_of(best, "n-cpus");
        o->ram_min = ram_min ? ram_min : o->ram_min;
        o->ram_recommended = ram ? ram : o->ram_recommended;
        o->storage_recommended = storage ? storage : o->storage_recommended;
        o->cpus_recommended = cpus ? (unsigned)MIN_OF(cpus, 64) : o->cpus_recommended;
    }
}

/* The newest word on a device counts: an entry may say that its ancestors' is not supported. */
static void read_devices(GHashTable *devices, GHashTable *decided, const xmlNode *os)
{
    const xmlNode *list = child_of(os, "devices");
    for (const xmlNode *n = list ? list->children : NULL; n; n = n->next) {
        g_autofree char *id = named(n, "device") ? attribute(n, "id") : NULL;
        g_autofree char *supported = id ? attribute(n, "supported") : NULL;
        if (id && g_hash_table_add(decided, g_strdup(id)) && g_strcmp0(supported, "false")) {
            g_hash_table_add(devices, g_strdup(id));
        }
    }
}

static char *parent_of(const xmlNode *os)
{
    const xmlNode *n = child_of(os, "clones");
    n = n ? n : child_of(os, "derives-from");
    return n ? attribute(n, "id") : NULL;
}

static void inherit(struct osinfo *o, GHashTable *texts, char *id)
{
    g_autoptr(GHashTable) decided = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    for (unsigned depth = 0; id && depth < ANCESTORS_MAX; depth++) {
        GBytes *b = g_hash_table_lookup(texts, id);
        xmlDoc *doc = NULL;
        gsize len = 0;
        const char *text = b ? g_bytes_get_data(b, &len) : NULL;
        const xmlNode *os = text ? parse(text, len - 1, &doc) : NULL;
        g_free(id);
        id = NULL;
        if (os) {
            read_devices(o->devices, decided, os);
            if (!depth || (!o->ram_recommended && !o->ram_min)) {
                read_resources(o, os);
            }
            id = parent_of(os);
        }
        xmlFreeDoc(doc);
    }
    g_free(id);
}

static struct osinfo *system_of(const xmlNode *os, GHashTable *texts)
{
    struct osinfo *o = g_new0(struct osinfo, 1);
    o->id = attribute(os, "id");
    o->short_id = text_of(os, "short-id");
    o->name = text_of(os, "name");
    o->family = text_of(os, "family");
    o->devices = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    if (!o->id || !o->short_id || !o->name) {
        osinfo_free(o);
        return NULL;
    }
    inherit(o, texts, g_strdup(o->id));
    return o;
}

struct osinfo *osinfo_find(const char *word)
{
    g_autoptr(GHashTable) texts = names_and_files();
    GBytes *b = g_hash_table_lookup(texts, word);
    xmlDoc *doc = NULL;
    gsize len = 0;
    const char *text = b ? g_bytes_get_data(b, &len) : NULL;
    const xmlNode *os = text ? parse(text, len - 1, &doc) : NULL;
    struct osinfo *o = os ? system_of(os, texts) : NULL;
    xmlFreeDoc(doc);
    return o;
}

void osinfo_free(struct osinfo *o)
{
    if (o) {
        g_free(o->id);
        g_free(o->short_id);
        g_free(o->name);
        g_free(o->family);
        g_hash_table_unref(o->devices);
        g_free(o);
    }
}

bool osinfo_has(const struct osinfo *o, const char *device)
{
    return g_hash_table_contains(o->devices, device);
}

bool osinfo_has_pci(const struct osinfo *o, const char *pci)
{
    g_autofree char *id = g_strconcat("http://pcisig.com/pci/", pci, NULL);
    return osinfo_has(o, id);
}

static gint by_text(gconstpointer a, gconstpointer b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

GPtrArray *osinfo_names(void)
{
    g_autoptr(GHashTable) texts = names_and_files();
    GPtrArray *list = g_ptr_array_new_with_free_func(g_free);
    GHashTableIter i;
    gpointer key;
    g_hash_table_iter_init(&i, texts);
    while (g_hash_table_iter_next(&i, &key, NULL)) {
        if (!strstr(key, "://")) {
            g_ptr_array_add(list, g_strdup(key));
        }
    }
    g_ptr_array_sort(list, by_text);
    return list;
}

/* ---- what is on a medium, behind an address ---- */

struct search {
    char *volume, *system, *publisher, *application; /* of a CD image */
    const char *location;                            /* of a tree */
    char *found;                                     /* its URI */
    size_t weight;                                   /* how much of it has fitted */
};

/* The part of a text that a pattern of the database describes; 0: it does not. */
static size_t fits(const xmlNode *iso, const char *element, const char *text, bool *wrong)
{
    g_autofree char *pattern = text_of(iso, element);
    if (!pattern) {
        return 0;
    }
    g_autoptr(GRegex) r = g_regex_new(pattern, 0, G_REGEX_MATCH_ANCHORED, NULL);
    g_autoptr(GMatchInfo) m = NULL;
    if (!r || !g_regex_match(r, text, 0, &m)) {
        *wrong = true;
        return 0;
    }
    return strlen(pattern) + 1;
}

static void compare_media(struct search *s, const xmlNode *os, const xmlNode *media)
{
    const xmlNode *iso = child_of(media, "iso");
    g_autofree char *arch = attribute(media, "arch");
    bool wrong = !iso || (arch && strcmp(arch, "x86_64") && strcmp(arch, "all"));
    size_t weight = 0;
    if (!wrong) {
        weight = fits(iso, "volume-id", s->volume, &wrong) +
                 fits(iso, "system-id", s->system, &wrong) +
                 fits(iso, "publisher-id", s->publisher, &wrong) +
                 fits(iso, "application-id", s->application, &wrong);
    }
    if (!wrong && weight > s->weight) {
        g_free(s->found);
        s->found = attribute(os, "id");
        s->weight = weight;
    }
}

static bool search_media(const char *text, gsize len, void *opaque)
{
    struct search *s = opaque;
    xmlDoc *doc = NULL;
    const xmlNode *os = strstr(text, "<iso") ? parse(text, len, &doc) : NULL;
    for (const xmlNode *n = os ? os->children : NULL; n; n = n->next) {
        if (named(n, "media")) {
            compare_media(s, os, n);
        }
    }
    xmlFreeDoc(doc);
    return true;
}

static char *field(const char *descriptor, unsigned from, unsigned bytes)
{
    g_autofree char *raw = g_strndup(descriptor + from, bytes);
    char *text = g_utf8_make_valid(raw, -1);
    return g_strchomp(text);
}

static struct osinfo *take(struct search *s)
{
    struct osinfo *o = s->found ? osinfo_find(s->found) : NULL;
    g_free(s->found);
    g_free(s->volume);
    g_free(s->system);
    g_free(s->publisher);
    g_free(s->application);
    return o;
}

struct osinfo *osinfo_of_media(const char *path)
{
    char d[DESCRIPTOR_BYTES];
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    ssize_t n = fd >= 0 ? pread(fd, d, sizeof(d), VOLUME_DESCRIPTOR) : -1;
    if (fd >= 0) {
        close(fd);
    }
    if (n != sizeof(d) || memcmp(d, "\1CD001", 6)) {
        return NULL;
    }
    struct search s = {.system = field(d, 8, 32),
                       .volume = field(d, 40, 32),
                       .publisher = field(d, 318, 128),
                       .application = field(d, 574, 128)};
    each_file(search_media, &s);
    return take(&s);
}

/* Debian's and Ubuntu's trees are below dists/CODENAME; the database knows the code names. */
static bool codename_fits(const struct search *s, const xmlNode *os)
{
    g_autofree char *name = text_of(os, "codename"), *distro = text_of(os, "distro");
    const char *at = strstr(s->location, "/dists/");
    if (!name || !at || !distro || !strstr(s->location, distro)) {
        return false;
    }
    at += strlen("/dists/");
    size_t len = strcspn(name, " ");
    return !g_ascii_strncasecmp(at, name, len) && !g_ascii_isalnum(at[len]);
}

static bool search_tree(const char *text, gsize len, void *opaque)
{
    struct search *s = opaque;
    xmlDoc *doc = NULL;
    const xmlNode *os =
        strstr(text, "<tree") || strstr(text, "<codename>") ? parse(text, len, &doc) : NULL;
    for (const xmlNode *n = os ? os->children : NULL; n; n = n->next) {
        g_autofree char *url = named(n, "tree") ? text_of(n, "url") : NULL;
        const char *path = url ? strstr(url, "://") : NULL;
        path = path ? strchr(path + 3, '/') : NULL; /* mirrors differ in what is before */
        if (path && strlen(path) > s->weight && strlen(path) > 1 && strstr(s->location, path)) {
            g_free(s->found);
            s->found = attribute(os, "id");
            s->weight = strlen(path);
        }
    }
    if (os && !s->found && codename_fits(s, os)) {
        s->found = attribute(os, "id");
    }
    xmlFreeDoc(doc);
    return true;
}

struct osinfo *osinfo_of_tree(const char *location)
{
    struct search s = {.location = location};
    each_file(search_tree, &s);
    return take(&s);
}
