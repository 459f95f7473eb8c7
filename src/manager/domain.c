/* domain.c - text to struct domain and back, and small questions about one. */
#include "manager/domain.h"

#include "base/util.h"

#include <ctype.h>
#include <string.h>
#include <sys/random.h>

struct domain *domain_new(void)
{
    return xml_map_new(&domain_element);
}

void domain_free(struct domain *d)
{
    xml_map_free(&domain_element, d);
}

/* ---- parse ---- */

#define ASIDE_NS "https://hanok.dev/xmlns/aside/1.0"

/* What was not known goes into <metadata>, where every tool leaves it alone. */
static void store_aside(struct domain *d, GPtrArray *aside)
{
    if (!aside->len) {
        return;
    }
    g_autoptr(GString) s = g_string_new(d->metadata);
    if (s->len) {
        g_string_append_c(s, '\n');
    }
    g_string_append(s, "<hanok:aside xmlns:hanok='" ASIDE_NS "'>\n");
    for (unsigned i = 0; i < aside->len; i++) {
        const struct xml_aside *a = aside->pdata[i];
        g_string_append_printf(s, "      <hanok:item path='");
        xml_escape(s, a->path);
        g_string_append_printf(s, "' line='%u'>", a->line);
        xml_escape(s, a->text);
        g_string_append(s, "</hanok:item>\n");
    }
    g_string_append(s, "    </hanok:aside>");
    g_free(d->metadata);
    d->metadata = g_strdup(s->str);
}

struct domain *domain_parse(const char *text, size_t len, GPtrArray *aside, GError **err)
{
    xmlDoc *doc = xml_read(text, len, "the domain XML", err);
    if (!doc) {
        return NULL;
    }
    struct domain *d = domain_new();
    bool ok = xml_map_parse(xmlDocGetRootElement(doc), &domain_element, d, aside, err);
    xmlFreeDoc(doc);
    if (!ok) {
        domain_free(d);
        return NULL;
    }
    if (aside) {
        store_aside(d, aside);
    }
    return d;
}

static struct domain *load(const char *text, GPtrArray *aside, GError **err)
{
    struct domain *d = domain_parse(text, strlen(text), aside, err);
    if (d && (!domain_post_parse(d, err) || !domain_validate(d, err))) {
        domain_free(d);
        return NULL;
    }
    return d;
}

struct domain *domain_load(const char *text, GError **err)
{
    return load(text, NULL, err);
}

struct domain *domain_load_lenient(const char *text, GPtrArray **aside, GError **err)
{
    *aside = g_ptr_array_new_with_free_func(xml_aside_free);
    return load(text, *aside, err);
}

/* ---- format ---- */

static void strip_info(struct dev_info *info)
{
    /* Names that the user chose begin with ua- (libvirt's rule) and stay. */
    if (!info->alias.name || !g_str_has_prefix(info->alias.name, "ua-")) {
        g_clear_pointer(&info->alias.name, g_free);
        info->alias.node.present = false;
    }
}

static void strip_chr(GPtrArray *list)
{
    for (unsigned i = 0; i < list->len; i++) {
        struct chr *c = list->pdata[i];
        strip_info(&c->info);
        g_clear_pointer(&c->tty, g_free);
        if (c->type == CHR_PTY) {
            g_clear_pointer(&c->source.path, g_free);
            c->source.node.present = false;
        }
        c->target.state = NULL;
    }
}

static void strip_graphics(struct graphics *g)
{
    if (word_is(g->autoport, "yes")) {
        xml_num_set(&g->port, -1);
    }
}

#define STRIP_LIST(list, type)                                                                     \
    for (unsigned i = 0; i < (list)->len; i++) {                                                   \
        strip_info(&((struct type *)(list)->pdata[i])->info);                                      \
    }

static void strip_live(struct domain *d)
{
    struct devices *v = &d->devices;
    d->id.set = false;
    for (unsigned i = 0; i < v->disks->len; i++) {
        struct disk *k = v->disks->pdata[i];
        strip_info(&k->info);
        k->source.index.set = false;
        if (k->backing && k->backing->index.set) { /* found, not written by the user */
            xml_map_free(&backing_store_element, k->backing);
            k->backing = NULL;
        }
    }
    STRIP_LIST(v->controllers, controller);
    STRIP_LIST(v->filesystems, filesystem);
    STRIP_LIST(v->interfaces, interface);
    STRIP_LIST(v->inputs, input);
    STRIP_LIST(v->tpms, tpm);
    STRIP_LIST(v->sounds, sound);
    STRIP_LIST(v->videos, video);
    STRIP_LIST(v->hostdevs, hostdev);
    STRIP_LIST(v->redirdevs, redirdev);
    STRIP_LIST(v->hubs, hub);
    STRIP_LIST(v->watchdogs, watchdog);
    STRIP_LIST(v->rngs, rng);
    STRIP_LIST(v->panics, panic);
    strip_info(&v->memballoon.info);
    strip_info(&v->vsock.info);
    strip_chr(v->serials);
    strip_chr(v->parallels);
    strip_chr(v->consoles);
    strip_chr(v->channels);
    for (unsigned i = 0; i < v->graphics->len; i++) {
        strip_graphics(v->graphics->pdata[i]);
    }
}

static void strip_secrets(struct domain *d)
{
    for (unsigned i = 0; i < d->devices.graphics->len; i++) {
        struct graphics *g = d->devices.graphics->pdata[i];
        g_clear_pointer(&g->passwd, g_free);
    }
}

char *domain_format(const struct domain *d, unsigned flags)
{
    GString *s = g_string_new(NULL);
    struct domain *copy = NULL;
    if ((flags & FORMAT_INACTIVE) || !(flags & FORMAT_SECURE)) {
        copy = xml_map_copy(&domain_element, d);
        if (flags & FORMAT_INACTIVE) {
            strip_live(copy);
        }
        if (!(flags & FORMAT_SECURE)) {
            strip_secrets(copy);
        }
        d = copy;
    }
    xml_map_format(s, &domain_element, d, 0,
                   d->qemu_commandline.node.present ? "xmlns:qemu='" XML_QEMU_NS "'" : NULL);
    domain_free(copy);
    return g_string_free(s, FALSE);
}

/* ---- names and numbers ---- */

bool domain_name_ok(const char *name, GError **err)
{
    if (!name || !*name) {
        return error_set(err, HANOK_ERROR_INVALID, "the domain has no <name>");
    }
    if (strlen(name) > DOMAIN_NAME_MAX) {
        return error_set(err, HANOK_ERROR_INVALID, "the name is longer than %d bytes",
                         DOMAIN_NAME_MAX);
    }
    if (!g_utf8_validate(name, -1, NULL) || strchr(name, '/') || *name == '.' || *name == '-') {
        return error_set(err, HANOK_ERROR_INVALID,
                         "the name '%s' contains '/', or begins with '.' or '-'; choose another",
                         name);
    }
    for (const char *c = name; *c; c++) {
        if (iscntrl((unsigned char)*c)) {
            return error_set(err, HANOK_ERROR_INVALID, "the name contains control characters");
        }
    }
    if (isspace((unsigned char)name[0]) || isspace((unsigned char)name[strlen(name) - 1])) {
        return error_set(err, HANOK_ERROR_INVALID, "the name begins or ends with a blank");
    }
    return true;
}

bool uuid_ok(const char *text)
{
    return text && strlen(text) == 36 && g_uuid_string_is_valid(text);
}

char *uuid_make(void)
{
    return g_uuid_string_random();
}

char *mac_make(void)
{
    uint8_t r[3] = {0};
    if (getrandom(r, sizeof(r), 0) != sizeof(r)) {
        guint32 v = g_random_int();
        memcpy(r, &v, sizeof(r));
    }
    return g_strdup_printf("52:54:00:%02x:%02x:%02x", r[0], r[1], r[2]);
}

bool mac_ok(const char *text)
{
    if (!text || strlen(text) != 17) {
        return false;
    }
    for (unsigned i = 0; i < 17; i++) {
        if (i % 3 == 2 ? text[i] != ':' : !g_ascii_isxdigit(text[i])) {
            return false;
        }
    }
    return true;
}

int disk_index(const char *target)
{
    static const char *const prefixes[] = {"vd", "sd", "hd", "fd", "xvd", "ubd"};
    for (unsigned i = 0; target && i < ARRAY_SIZE(prefixes); i++) {
        if (!g_str_has_prefix(target, prefixes[i])) {
            continue;
        }
        int n = 0;
        const char *c = target + strlen(prefixes[i]);
        if (!*c || strlen(c) > 4) {
            return -1;
        }
        for (; *c; c++) {
            if (*c < 'a' || *c > 'z') {
                return -1;
            }
            n = n * 26 + (*c - 'a') + 1;
        }
        return n - 1;
    }
    return -1;
}

static bool cpuset_range(const char *part, unsigned n_bits, unsigned long *bits, GError **err)
{
    bool remove = *part == '^';
    char *end = NULL;
    const char *at = part + remove;
    guint64 first = g_ascii_isdigit(*at) ? g_ascii_strtoull(at, &end, 10) : 0, last = first;
    if (end && *end == '-' && g_ascii_isdigit(end[1])) {
        last = g_ascii_strtoull(end + 1, &end, 10);
    }
    if (!end || *end || first > last) {
        return error_set(err, HANOK_ERROR_INVALID, "'%s' is not a list of CPUs such as 0-3,^2,8",
                         part);
    }
    if (last >= n_bits) {
        return error_set(err, HANOK_ERROR_INVALID,
                         "CPU %" G_GUINT64_FORMAT " is out of range (0-%u)", last, n_bits - 1);
    }
    for (guint64 i = first; i <= last; i++) {
        unsigned long mask = 1ul << (i % 64);
        bits[i / 64] = remove ? bits[i / 64] & ~mask : bits[i / 64] | mask;
    }
    return true;
}

bool cpuset_parse(const char *text, unsigned n_bits, unsigned long *bits, GError **err)
{
    bool any = false;
    memset(bits, 0, (n_bits + 63) / 64 * sizeof(*bits));
    g_auto(GStrv) parts = g_strsplit(text, ",", -1);
    for (char **p = parts; *p; p++) {
        if (!cpuset_range(g_strstrip(*p), n_bits, bits, err)) {
            return false;
        }
    }
    for (unsigned i = 0; i < (n_bits + 63) / 64; i++) {
        any = any || bits[i];
    }
    return any || error_set(err, HANOK_ERROR_INVALID, "the list of CPUs '%s' is empty", text);
}

char *cpuset_format(const unsigned long *bits, unsigned n_bits)
{
    GString *s = g_string_new(NULL);
    for (unsigned i = 0; i < n_bits; i++) {
        if (!(bits[i / 64] >> (i % 64) & 1)) {
            continue;
        }
        unsigned last = i;
        while (last + 1 < n_bits && (bits[(last + 1) / 64] >> ((last + 1) % 64) & 1)) {
            last++;
        }
        g_string_append_printf(s, last > i ? "%s%u-%u" : "%s%u", s->len ? "," : "", i, last);
        i = last;
    }
    return g_string_free(s, FALSE);
}

/* ---- questions ---- */

int64_t domain_memory_kib(const struct domain *d)
{
    return d->memory.value.v;
}

int64_t domain_current_memory_kib(const struct domain *d)
{
    return xml_num_or(d->current_memory.value, d->memory.value.v);
}

unsigned domain_iothread_id(const struct domain *d, unsigned i)
{
    return i < d->iothreadids.list->len
               ? (unsigned)((struct iothread *)d->iothreadids.list->pdata[i])->id.v
               : i + 1;
}

bool domain_is_qemu(const struct domain *d)
{
    g_autofree char *base = g_path_get_basename(d->devices.emulator ? d->devices.emulator : "");
    return *base && !strstr(base, "hanok-vm");
}

bool domain_is_q35(const struct domain *d)
{
    const char *m = d->os.type.machine;
    return !m || !strcmp(m, "q35") || g_str_has_prefix(m, "pc-q35");
}

bool domain_is_microvm(const struct domain *d)
{
    return word_is(d->os.type.machine, "microvm");
}

char *disk_source_text(const struct disk *d)
{
    switch (d->type) {
    case DISK_FILE:
        return g_strdup(d->source.file);
    case DISK_BLOCK:
        return g_strdup(d->source.dev);
    case DISK_DIR:
        return g_strdup(d->source.dir);
    case DISK_VOLUME:
        return d->source.volume ? g_strdup_printf("%s/%s", d->source.pool, d->source.volume) : NULL;
    case DISK_NETWORK: {
        const struct source_host *h = d->source.hosts->len ? d->source.hosts->pdata[0] : NULL;
        return g_strdup_printf("%s://%s%s%s/%s", d->source.protocol ? d->source.protocol : "?",
                               h && h->name ? h->name : "", h && h->port ? ":" : "",
                               h && h->port ? h->port : "", d->source.name ? d->source.name : "");
    }
    default:
        return NULL;
    }
}
