/* state.h - saving and loading machine state as versioned, self-describing sections.
 *
 * Every device, controller and vCPU describes what it keeps with a table beside the struct:
 *
 *     static const struct state_field pit_fields[] = {
 *         STATE_U8(struct pit, latch),
 *         STATE_U16_ARRAY(struct pit, count),
 *         STATE_STRUCT_ARRAY(struct pit, channel, pit_channel_desc),
 *         STATE_END,
 *     };
 *     const struct state_desc pit_state = {.name = "i8254", .version = 1, .fields = pit_fields,
 *                                          .post_load = pit_post_load};
 *
 * The stream is little-endian: magic, then sections (name, instance id, version, length, payload).
 * A loaded stream is hostile: every length is checked, and post_load must validate every value that
 * is later used as an index, size or address, returning false with a sentence.
 *
 * Ownership: writers own a growing buffer; readers borrow the caller's bytes.
 * Threads:   one thread, machine stopped and drained. */
#ifndef BASE_STATE_H
#define BASE_STATE_H

#include "base/types.h"

enum state_kind {
    STATE_KIND_END = 0,
    STATE_KIND_UINT,   /* elements of size 1, 2, 4 or 8 (bool is size 1 and checked to be 0/1) */
    STATE_KIND_BOOL,   /* bool elements */
    STATE_KIND_BYTES,  /* size raw bytes */
    STATE_KIND_STRUCT, /* elements described by sub */
    STATE_KIND_CUSTOM, /* save/load callbacks, length-prefixed */
};

struct state_writer;
struct state_reader;
struct state_desc;

struct state_field {
    const char *name;
    enum state_kind kind;
    uint32_t offset; /* in the object */
    uint32_t size;   /* of one element, bytes */
    uint32_t count;
    uint32_t since; /* first version that has it; 0 = all */
    const struct state_desc *sub;
    void (*save)(struct state_writer *w, const void *obj);
    bool (*load)(struct state_reader *r, void *obj, GError **err);
};

struct state_desc {
    const char *name;
    uint32_t version;     /* written; any version <= this one is read */
    uint32_t min_version; /* oldest that loads */
    const struct state_field *fields;
    void (*pre_save)(void *obj);                                  /* may be NULL */
    bool (*post_load)(void *obj, uint32_t version, GError **err); /* may be NULL */
};

#define STATE_ELEM_(T, f) sizeof(((T *)0)->f)
#define STATE_FIELD_(T, f, k, sz, n)                                                               \
    {                                                                                              \
        .name = #f, .kind = (k), .offset = offsetof(T, f), .size = (sz), .count = (n)              \
    }
#define STATE_UINT(T, f)       STATE_FIELD_(T, f, STATE_KIND_UINT, STATE_ELEM_(T, f), 1)
#define STATE_U8(T, f)         STATE_UINT(T, f)
#define STATE_U16(T, f)        STATE_UINT(T, f)
#define STATE_U32(T, f)        STATE_UINT(T, f)
#define STATE_U64(T, f)        STATE_UINT(T, f)
#define STATE_BOOL(T, f)       STATE_FIELD_(T, f, STATE_KIND_BOOL, 1, 1)
#define STATE_BOOL_ARRAY(T, f) STATE_FIELD_(T, f, STATE_KIND_BOOL, 1, STATE_ELEM_(T, f))
#define STATE_UINT_ARRAY(T, f)                                                                     \
    STATE_FIELD_(T, f, STATE_KIND_UINT, STATE_ELEM_(T, f[0]),                                      \
                 STATE_ELEM_(T, f) / STATE_ELEM_(T, f[0]))
#define STATE_BYTES(T, f) STATE_FIELD_(T, f, STATE_KIND_BYTES, STATE_ELEM_(T, f), 1)
#define STATE_STRUCT(T, f, d)                                                                      \
    {                                                                                              \
        .name = #f, .kind = STATE_KIND_STRUCT, .offset = offsetof(T, f),                           \
        .size = STATE_ELEM_(T, f), .count = 1, .sub = &(d)                                         \
    }
#define STATE_STRUCT_ARRAY(T, f, d)                                                                \
    {                                                                                              \
        .name = #f, .kind = STATE_KIND_STRUCT, .offset = offsetof(T, f),                           \
        .size = STATE_ELEM_(T, f[0]), .count = STATE_ELEM_(T, f) / STATE_ELEM_(T, f[0]),           \
        .sub = &(d)                                                                                \
    }
#define STATE_CUSTOM(n, s, l)                                                                      \
    {                                                                                              \
        .name = (n), .kind = STATE_KIND_CUSTOM, .save = (s), .load = (l)                           \
    }
#define STATE_END                                                                                  \
    {                                                                                              \
        .kind = STATE_KIND_END                                                                     \
    }

struct state_writer *state_writer_new(void);
void state_writer_free(struct state_writer *w);
const uint8_t *state_writer_data(const struct state_writer *w, size_t *len);
/* One section; name on the wire is desc->name, instance distinguishes several of a kind ("" if
 * one). */
void state_save(struct state_writer *w, const struct state_desc *desc, const char *instance,
                void *obj);
void state_put_u32(struct state_writer *w, uint32_t v);
void state_put_u64(struct state_writer *w, uint64_t v);
void state_put_bytes(struct state_writer *w, const void *p, size_t len);
/* Inside a custom field: an object with a table of its own, as STATE_STRUCT writes it. */
void state_put_struct(struct state_writer *w, const struct state_desc *desc, void *obj);
bool state_get_struct(struct state_reader *r, const struct state_desc *desc, void *obj,
                      GError **err);

struct state_reader *state_reader_new(const uint8_t *data, size_t len, GError **err);
void state_reader_free(struct state_reader *r);
/* Finds the section (desc->name, instance) and loads it; a missing section is an error. */
bool state_load(struct state_reader *r, const struct state_desc *desc, const char *instance,
                void *obj, GError **err);
/* After all loads: false, naming it, when the stream has a section nobody took. */
bool state_reader_finish(struct state_reader *r, GError **err);
/* Inside custom load: bounded to the field's bytes; past the end they return 0/false and the load
 * fails. */
uint32_t state_get_u32(struct state_reader *r);
uint64_t state_get_u64(struct state_reader *r);
bool state_get_bytes(struct state_reader *r, void *p, size_t len);
size_t state_left(const struct state_reader *r);

#endif
