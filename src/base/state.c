/* state.c - the state stream: writing and reading tables of fields.
 *
 *   stream  = magic, section*
 *   section = name (u8 length + bytes), instance (u8 length + bytes), u32 version, u32 length,
 *             payload
 *   payload = the fields of the table in order: integers as they are; a struct field as u32
 *             version and its elements; a custom field as u32 length and its bytes */
#include "base/state.h"

#include "base/error.h"
#include "base/util.h"

#include <assert.h>

static const uint8_t state_magic[8] = {'H', 'A', 'N', 'O', 'K', 'S', 'T', '1'};

struct state_writer {
    GByteArray *out;
};

struct state_writer *state_writer_new(void)
{
    struct state_writer *w = g_new0(struct state_writer, 1);
    w->out = g_byte_array_new();
    state_put_bytes(w, state_magic, sizeof(state_magic));
    return w;
}

void state_writer_free(struct state_writer *w)
{
    if (!w)
        return;
    g_byte_array_unref(w->out);
    g_free(w);
}

const uint8_t *state_writer_data(const struct state_writer *w, size_t *len)
{
    *len = w->out->len;
    return w->out->data;
}

void state_put_bytes(struct state_writer *w, const void *p, size_t len)
{
    assert(len <= G_MAXUINT32 - w->out->len);
    g_byte_array_append(w->out, p, (guint)len);
}

void state_put_u32(struct state_writer *w, uint32_t v)
{
    state_put_bytes(w, &v, sizeof(v));
}

void state_put_u64(struct state_writer *w, uint64_t v)
{
    state_put_bytes(w, &v, sizeof(v));
}

static void put_name(struct state_writer *w, const char *name)
{
    size_t len = strlen(name);
    assert(len <= 255);
    uint8_t len8 = (uint8_t)len;
    state_put_bytes(w, &len8, 1);
    state_put_bytes(w, name, len);
}

/* A u32 length is known only after its bytes are out. */
static guint length_begin(struct state_writer *w)
{
    state_put_u32(w, 0);
    return w->out->len;
}

static void length_end(struct state_writer *w, guint begin)
{
    le32_put(w->out->data + begin - 4, w->out->len - begin);
}

static void save_fields(struct state_writer *w, const struct state_desc *desc, void *obj)
{
    if (desc->pre_save)
        desc->pre_save(obj);
    for (const struct state_field *f = desc->fields; f->kind != STATE_KIND_END; f++) {
        uint8_t *at = (uint8_t *)obj + f->offset;
        switch (f->kind) {
        case STATE_KIND_UINT:
            assert(f->size == 1 || f->size == 2 || f->size == 4 || f->size == 8);
            state_put_bytes(w, at, (size_t)f->size * f->count);
            break;
        case STATE_KIND_BOOL:
        case STATE_KIND_BYTES:
            state_put_bytes(w, at, (size_t)f->size * f->count);
            break;
        case STATE_KIND_STRUCT:
            state_put_u32(w, f->sub->version);
            for (uint32_t i = 0; i < f->count; i++)
                save_fields(w, f->sub, at + (size_t)i * f->size);
            break;
        case STATE_KIND_CUSTOM: {
            guint begin = length_begin(w);
            f->save(w, obj);
            length_end(w, begin);
            break;
        }
        case STATE_KIND_END:
            break;
        }
    }
}

void state_put_struct(struct state_writer *w, const struct state_desc *desc, void *obj)
{
    state_put_u32(w, desc->version);
    save_fields(w, desc, obj);
}

void state_save(struct state_writer *w, const struct state_desc *desc, const char *instance,
                void *obj)
{
    put_name(w, desc->name);
    put_name(w, instance);
    state_put_u32(w, desc->version);
    guint begin = length_begin(w);
    save_fields(w, desc, obj);
    length_end(w, begin);
}

struct section {
    char *name, *instance;
    uint32_t version;
    const uint8_t *payload;
    size_t len;
    bool taken;
};

struct state_reader {
    GArray *sections; /* struct section */
    /* the bytes of the section or custom field being read */
    const uint8_t *at, *end;
    bool failed; /* somebody asked for more than there is */
};

static void section_clear(gpointer p)
{
    struct section *s = p;
    g_free(s->name);
    g_free(s->instance);
}

bool state_get_bytes(struct state_reader *r, void *p, size_t len)
{
    if (r->failed || len > (size_t)(r->end - r->at)) {
        r->failed = true;
        memset(p, 0, len);
        return false;
    }
    memcpy(p, r->at, len);
    r->at += len;
    return true;
}

uint32_t state_get_u32(struct state_reader *r)
{
    uint32_t v;
    state_get_bytes(r, &v, sizeof(v));
    return v;
}

uint64_t state_get_u64(struct state_reader *r)
{
    uint64_t v;
    state_get_bytes(r, &v, sizeof(v));
    return v;
}

size_t state_left(const struct state_reader *r)
{
    return r->failed ? 0 : (size_t)(r->end - r->at);
}

static char *get_name(struct state_reader *r)
{
    uint8_t len = 0;
    char name[256];
    if (!state_get_bytes(r, &len, 1) || !state_get_bytes(r, name, len))
        return NULL;
    name[len] = 0;
    if (strlen(name) != len || !g_utf8_validate(name, len, NULL)) {
        r->failed = true;
        return NULL;
    }
    return g_strdup(name);
}

static struct section *section_find(struct state_reader *r, const char *name, const char *instance)
{
    for (guint i = 0; i < r->sections->len; i++) {
        struct section *s = &g_array_index(r->sections, struct section, i);
        if (strcmp(s->name, name) == 0 && strcmp(s->instance, instance) == 0)
            return s;
    }
    return NULL;
}

static bool section_read(struct state_reader *r, GError **err)
{
    g_autofree char *name = get_name(r);
    g_autofree char *instance = get_name(r);
    uint32_t version = state_get_u32(r), len = state_get_u32(r);
    if (r->failed || len > state_left(r))
        return error_set(err, HANOK_ERROR_CORRUPT,
                         "The state stream ends in the middle of a section.");
    if (section_find(r, name, instance))
        return error_set(err, HANOK_ERROR_CORRUPT,
                         "The state stream has the section '%s' '%s' twice.", name, instance);
    struct section s = {
        .name = g_steal_pointer(&name),
        .instance = g_steal_pointer(&instance),
        .version = version,
        .payload = r->at,
        .len = len,
    };
    g_array_append_val(r->sections, s);
    r->at += len;
    return true;
}

/* A machine has some hundred sections; the limit keeps the search for twins from taking hours. */
#define SECTIONS_MAX 10000

struct state_reader *state_reader_new(const uint8_t *data, size_t len, GError **err)
{
    if (len < sizeof(state_magic) || memcmp(data, state_magic, sizeof(state_magic)) != 0) {
        error_set(err, HANOK_ERROR_CORRUPT, "This is not a saved machine state.");
        return NULL;
    }
    struct state_reader *r = g_new0(struct state_reader, 1);
    r->sections = g_array_new(FALSE, FALSE, sizeof(struct section));
    g_array_set_clear_func(r->sections, section_clear);
    r->at = data + sizeof(state_magic);
    r->end = data + len;
    while (r->at < r->end) {
        bool ok = r->sections->len < SECTIONS_MAX
                      ? section_read(r, err)
                      : error_set(err, HANOK_ERROR_CORRUPT,
                                  "The state stream has more than %d sections.", SECTIONS_MAX);
        if (!ok) {
            state_reader_free(r);
            return NULL;
        }
    }
    return r;
}

void state_reader_free(struct state_reader *r)
{
    if (!r)
        return;
    g_array_unref(r->sections);
    g_free(r);
}

static bool load_fields(struct state_reader *r, const struct state_desc *desc, uint32_t version,
                        void *obj, GError **err);

static bool check_version(const struct state_desc *desc, uint32_t version, GError **err)
{
    if (version >= desc->min_version && version <= desc->version)
        return true;
    return error_set(err, HANOK_ERROR_UNSUPPORTED,
                     "version %u is not one of those understood (%u to %u)", version,
                     desc->min_version, desc->version);
}

static bool load_bools(struct state_reader *r, bool *at, uint32_t count, GError **err)
{
    for (uint32_t i = 0; i < count; i++) {
        uint8_t v = 0;
        state_get_bytes(r, &v, 1);
        if (v > 1)
            return error_set(err, HANOK_ERROR_CORRUPT, "a yes/no value is %u", v);
        at[i] = v;
    }
    return true;
}

static bool load_structs(struct state_reader *r, const struct state_field *f, uint8_t *at,
                         GError **err)
{
    uint32_t version = state_get_u32(r);
    if (!r->failed && !check_version(f->sub, version, err))
        return false;
    for (uint32_t i = 0; i < f->count && !r->failed; i++)
        if (!load_fields(r, f->sub, version, at + (size_t)i * f->size, err))
            return false;
    return true;
}

bool state_get_struct(struct state_reader *r, const struct state_desc *desc, void *obj,
                      GError **err)
{
    uint32_t version = state_get_u32(r);

    return (r->failed || check_version(desc, version, err)) &&
           load_fields(r, desc, version, obj, err);
}

/* Custom fields see only their own bytes. */
static bool load_custom(struct state_reader *r, const struct state_field *f, void *obj,
                        GError **err)
{
    uint32_t len = state_get_u32(r);
    if (len > state_left(r)) {
        r->failed = true;
        return true; /* the caller words it */
    }
    const uint8_t *outer_end = r->end;
    r->end = r->at + len;
    bool ok = f->load(r, obj, err);
    if (ok && !r->failed && r->at != r->end)
        ok = error_set(err, HANOK_ERROR_CORRUPT, "%zu bytes are left over", state_left(r));
    r->end = outer_end;
    return ok;
}

static bool load_field(struct state_reader *r, const struct state_field *f, void *obj, GError **err)
{
    uint8_t *at = (uint8_t *)obj + f->offset;
    switch (f->kind) {
    case STATE_KIND_UINT:
    case STATE_KIND_BYTES:
        state_get_bytes(r, at, (size_t)f->size * f->count);
        return true;
    case STATE_KIND_BOOL:
        return load_bools(r, (bool *)at, f->count, err);
    case STATE_KIND_STRUCT:
        return load_structs(r, f, at, err);
    case STATE_KIND_CUSTOM:
        return load_custom(r, f, obj, err);
    case STATE_KIND_END:
        break;
    }
    return true;
}

static bool load_fields(struct state_reader *r, const struct state_desc *desc, uint32_t version,
                        void *obj, GError **err)
{
    for (const struct state_field *f = desc->fields; f->kind != STATE_KIND_END; f++) {
        if (f->since > version)
            continue;
        bool ok = load_field(r, f, obj, err);
        if (ok && r->failed)
            ok = error_set(err, HANOK_ERROR_CORRUPT, "its bytes end too early");
        if (!ok) {
            g_prefix_error(err, "%s: ", f->name);
            return false;
        }
    }
    return !desc->post_load || desc->post_load(obj, version, err);
}

bool state_load(struct state_reader *r, const struct state_desc *desc, const char *instance,
                void *obj, GError **err)
{
    struct section *s = section_find(r, desc->name, instance);
    const char *space = *instance ? " " : "";
    if (!s)
        return error_set(err, HANOK_ERROR_CORRUPT,
                         "The saved state has nothing for '%s%s%s', which this machine has.",
                         desc->name, space, instance);
    s->taken = true;
    r->at = s->payload;
    r->end = s->payload + s->len;
    r->failed = false;
    bool ok = check_version(desc, s->version, err) && load_fields(r, desc, s->version, obj, err);
    if (ok && r->at != r->end)
        ok = error_set(err, HANOK_ERROR_CORRUPT, "%zu bytes are left over", state_left(r));
    if (!ok)
        g_prefix_error(err, "The saved state of '%s%s%s' cannot be used: ", desc->name, space,
                       instance);
    return ok;
}

bool state_reader_finish(struct state_reader *r, GError **err)
{
    for (guint i = 0; i < r->sections->len; i++) {
        struct section *s = &g_array_index(r->sections, struct section, i);
        if (!s->taken)
            return error_set(err, HANOK_ERROR_CORRUPT,
                             "The saved state has a part '%s%s%s' that this machine lacks.",
                             s->name, *s->instance ? " " : "", s->instance);
    }
    return true;
}
