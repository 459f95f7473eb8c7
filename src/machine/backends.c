/* backends.c - what devices are connected to: -object, -blockdev, -netdev, and guest RAM.
 *
 * Character devices are opened by the main program, because monitors use them too; those it has
 * not opened are opened here. */
#include "base/error.h"
#include "base/evloop.h"
#include "base/log.h"
#include "base/util.h"
#include "block/block.h"
#include "block/throttle.h"
#include "chardev/chardev.h"
#include "machine_internal.h"

#include "cpu/vcpu.h"
#include "mem/guest_mem.h"
#include "net/net.h"

#include <fcntl.h>
#include <jansson.h>

enum object_kind {
    OBJ_MEMORY,
    OBJ_RNG_RANDOM,
    OBJ_RNG_BUILTIN,
    OBJ_SECRET,
    OBJ_IOTHREAD,
    OBJ_THROTTLE
};

struct object {
    enum object_kind kind;
    char *id;
    char *filename;      /* rng-random, memory-backend-file */
    struct evloop *loop; /* iothread */
    uint64_t size_bytes; /* memory-backend-* */
    bool share, prealloc;
    GBytes *secret;
    struct throttle_group *throttle;
};

static const struct {
    const char *name;
    enum object_kind kind;
    bool share; /* memory: memfd unless said otherwise */
} object_kinds[] = {
    {"memory-backend-ram", OBJ_MEMORY, false},  {"memory-backend-memfd", OBJ_MEMORY, true},
    {"memory-backend-file", OBJ_MEMORY, false}, {"rng-random", OBJ_RNG_RANDOM, false},
    {"rng-builtin", OBJ_RNG_BUILTIN, false},    {"secret", OBJ_SECRET, false},
    {"iothread", OBJ_IOTHREAD, false},          {"throttle-group", OBJ_THROTTLE, false},
};

static void object_free(void *p)
{
    struct object *o = p;

    evloop_free(o->loop);
    throttle_group_unref(o->throttle);
    if (o->secret)
        g_bytes_unref(o->secret);
    g_free(o->id);
    g_free(o->filename);
    g_free(o);
}

/* ---- one function per kind ---- */

static bool memory_open(struct object *o, struct props *p, GError **err)
{
    const char *path = NULL, *type = "";
    bool dump = true, merge = true, discard = false;

    if (!props_get_size(p, "size", &o->size_bytes, err) ||
        !props_get_bool(p, "share", &o->share, err) ||
        !props_get_bool(p, "prealloc", &o->prealloc, err) ||
        !props_get_bool(p, "dump", &dump, err) || !props_get_bool(p, "merge", &merge, err) ||
        !props_get_bool(p, "discard-data", &discard, err) ||
        !props_get_str(p, "qom-type", &type, err) || !props_get_str(p, "mem-path", &path, err))
        return false;
    if (!o->size_bytes)
        return error_set(err, HANOK_ERROR_INVALID, "it needs size=");
    if (!path && !strcmp(type, "memory-backend-file"))
        return error_set(err, HANOK_ERROR_INVALID, "it needs mem-path=");
    o->filename = g_strdup(path);
    props_mark_used(p, "x-use-canonical-path-for-ramblock-id");
    for (const char *const *key = (const char *const[]){"host-nodes", "policy", "prealloc-threads",
                                                        "reserve", "hugetlb", NULL};
         *key; key++) {
        if (!props_has(p, *key))
            continue;
        props_mark_used(p, *key);
        log_warning("-object memory-backend '%s': %s has no effect in this version", o->id, *key);
    }
    return true;
}

static bool rng_open(struct object *o, struct props *p, GError **err)
{
    const char *path = "/dev/urandom";
    int fd;

    if (!props_get_str(p, "filename", &path, err))
        return false;
    fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return error_errno(err, errno, "cannot open '%s'", path);
    close(fd);
    o->filename = g_strdup(path);
    return true;
}

static bool secret_open(struct object *o, struct props *p, GError **err)
{
    static const char *const formats[] = {"raw", "base64", NULL};
    const char *data = NULL, *file = NULL, *keyid = NULL, *iv = NULL;
    g_autofree char *text = NULL;
    unsigned format = 0;
    gsize len = 0;

    if (!props_get_str(p, "data", &data, err) || !props_get_str(p, "file", &file, err) ||
        !props_get_str(p, "keyid", &keyid, err) || !props_get_str(p, "iv", &iv, err) ||
        !props_get_enum(p, "format", formats, &format, err))
        return false;
    if (keyid || iv)
        return error_set(err, HANOK_ERROR_UNSUPPORTED,
                         "encrypted secrets (keyid=, iv=) come with a later version");
    if (!data == !file)
        return error_set(err, HANOK_ERROR_INVALID, "it needs either data= or file=");
    if (file && !g_file_get_contents(file, &text, &len, err))
        return false;
    if (data) {
        text = g_strdup(data);
        len = strlen(data);
    }
    if (format == 1) {
        gsize out = 0;
        guchar *raw = g_base64_decode(text, &out);
        o->secret = g_bytes_new_take(raw, out);
    } else {
        o->secret = g_bytes_new(text, len);
    }
    return true;
}

static bool iothread_open(struct object *o, struct props *p, GError **err)
{
    /* The loop wakes by events; polling before it sleeps is not done, whatever its limits. */
    static const char *const poll[] = {"poll-max-ns",   "poll-grow",       "poll-shrink",
                                       "aio-max-batch", "thread-pool-min", "thread-pool-max"};
    g_autofree char *name = g_strdup_printf("iothread-%s", o->id);

    for (size_t i = 0; i < ARRAY_SIZE(poll); i++)
        props_mark_used(p, poll[i]);
    o->loop = evloop_new(name, err);
    return o->loop != NULL;
}

/* limits.iops-total=... as JSON has it, x-iops-total=... as the command line has. */
static bool throttle_open(struct object *o, struct props *p, GError **err)
{
    struct props *sub = props_get_sub(p, "limits");
    struct throttle_limits limits = {.iops_size_bytes = 0};

    if ((sub && !throttle_limits_read(sub, "", &limits, err)) ||
        !throttle_limits_read(p, "x-", &limits, err))
        return false;
    o->throttle = throttle_group_new(o->id, &limits, err);
    return o->throttle != NULL;
}

static bool object_fill(struct object *o, struct props *p, GError **err)
{
    switch (o->kind) {
    case OBJ_MEMORY:
        return memory_open(o, p, err);
    case OBJ_RNG_RANDOM:
        return rng_open(o, p, err);
    case OBJ_SECRET:
        return secret_open(o, p, err);
    case OBJ_IOTHREAD:
        return iothread_open(o, p, err);
    case OBJ_THROTTLE:
        return throttle_open(o, p, err);
    case OBJ_RNG_BUILTIN:
        break;
    }
    return true;
}

bool machine_object_add(struct machine *m, struct props *p, GError **err)
{
    const char *type = "", *id = NULL;
    struct object *o;
    size_t k = 0;

    if (!props_get_str(p, "qom-type", &type, err) || !props_get_id(p, &id, err))
        return false;
    while (k < ARRAY_SIZE(object_kinds) && strcmp(object_kinds[k].name, type) != 0)
        k++;
    if (k == ARRAY_SIZE(object_kinds))
        return error_set(err, HANOK_ERROR_INVALID, "there is no object type '%s'", type);
    if (!id || !*id)
        return error_set(err, HANOK_ERROR_INVALID, "-object %s needs an id=", type);
    if (g_hash_table_contains(m->objects, id))
        return error_set(err, HANOK_ERROR_INVALID, "there is already an object with id '%s'", id);
    o = g_new0(struct object, 1);
    o->kind = object_kinds[k].kind;
    o->share = object_kinds[k].share;
    o->id = g_strdup(id);
    if (!object_fill(o, p, err) || !props_check_unused(p, type, NULL, err)) {
        g_prefix_error(err, "-object %s,id=%s: ", type, id);
        object_free(o);
        return false;
    }
    g_hash_table_insert(m->objects, o->id, o);
    return true;
}

bool machine_object_del(struct machine *m, const char *id, GError **err)
{
    struct object *o = g_hash_table_lookup(m->objects, id);

    if (!o)
        return error_set(err, HANOK_ERROR_NOT_FOUND, "object '%s' not found", id);
    /* A device keeps the name of its source of randomness, not the object; the others are in use.
     */
    if (o->kind != OBJ_RNG_RANDOM && o->kind != OBJ_RNG_BUILTIN)
        return error_set(err, HANOK_ERROR_BUSY,
                         "object '%s' is in use as long as the machine exists", id);
    g_hash_table_remove(m->objects, id);
    return true;
}

static struct object *object_find(struct machine *m, const char *id, const char *what, GError **err)
{
    struct object *o = g_hash_table_lookup(m->objects, id);

    if (!o)
        error_set(err, HANOK_ERROR_NOT_FOUND, "there is no %s '%s'; give -object first", what, id);
    return o;
}

struct evloop *machine_iothread(struct machine *m, const char *id, GError **err)
{
    struct object *o = object_find(m, id, "iothread", err);

    if (o && o->kind != OBJ_IOTHREAD)
        error_set(err, HANOK_ERROR_INVALID, "object '%s' is not an iothread", id);
    return o && o->kind == OBJ_IOTHREAD ? o->loop : NULL;
}

bool machine_rng_source(struct machine *m, const char *id, const char **filename, GError **err)
{
    struct object *o = object_find(m, id, "random number source", err);

    if (!o)
        return false;
    if (o->kind != OBJ_RNG_RANDOM && o->kind != OBJ_RNG_BUILTIN)
        return error_set(err, HANOK_ERROR_INVALID, "object '%s' is not a random number source", id);
    *filename = o->filename;
    return true;
}

void machine_iothreads_foreach(struct machine *m, void (*fn)(const char *id, int tid, void *opaque),
                               void *opaque)
{
    GHashTableIter it;
    gpointer value;

    g_hash_table_iter_init(&it, m->objects);
    while (g_hash_table_iter_next(&it, NULL, &value)) {
        const struct object *o = value;
        if (o->kind == OBJ_IOTHREAD)
            fn(o->id, evloop_tid(o->loop), opaque);
    }
}

char *machine_secret(struct machine *m, const char *id, GError **err)
{
    struct object *o = object_find(m, id, "secret", err);
    gsize len = 0;

    if (!o)
        return NULL;
    if (o->kind != OBJ_SECRET) {
        error_set(err, HANOK_ERROR_INVALID, "object '%s' is not a secret", id);
        return NULL;
    }
    gconstpointer data = g_bytes_get_data(o->secret, &len);
    return g_strndup(data, len);
}

/* ---- RAM ---- */

struct ram_block *machine_ram_new(struct machine *m, GError **err)
{
    const char *id = NULL, *path = NULL;
    struct object *o = NULL;
    bool share = false, prealloc = m->cfg->mem_prealloc;

    if (!props_get_str(m->cfg->machine, "memory-backend", &id, err))
        return NULL;
    if (id) {
        o = object_find(m, id, "memory backend", err);
        if (!o)
            return NULL;
        if (o->kind != OBJ_MEMORY) {
            error_set(err, HANOK_ERROR_INVALID, "object '%s' is not a memory backend", id);
            return NULL;
        }
        if (o->size_bytes != m->cfg->ram_bytes) {
            error_set(err, HANOK_ERROR_INVALID,
                      "memory backend '%s' has %" G_GUINT64_FORMAT
                      " bytes, but -m asks for %" G_GUINT64_FORMAT,
                      id, (guint64)o->size_bytes, (guint64)m->cfg->ram_bytes);
            return NULL;
        }
        share = o->share;
        prealloc |= o->prealloc;
        path = o->filename;
    } else if (m->cpus && cpu_set_wants_shared_ram(m->cpus)) {
        /* A wish only: where memfd_create() is forbidden private memory does. */
        struct ram_block *b = ram_block_new("pc.ram", m->cfg->ram_bytes, true, prealloc, NULL);
        if (b)
            return b;
    }
    return ram_block_in_file("pc.ram", m->cfg->ram_bytes, path, share, prealloc, err);
}

/* ---- opening and closing all ---- */

static bool chardevs_open(struct machine *m, GError **err)
{
    for (guint i = 0; i < m->cfg->chardevs->len; i++) {
        struct props *p = g_ptr_array_index(m->cfg->chardevs, i);
        const char *id = NULL;
        if (!props_get_str(p, "id", &id, err))
            return false;
        if (!(id && chardev_find(id)) && !chardev_open(p, err)) {
            g_prefix_error(err, "-chardev %s: ", id ? id : "");
            return false;
        }
    }
    return true;
}

static bool blockdev_open(struct machine *m, struct props *p, GError **err)
{
    bool snapshot = false;

    if (!props_get_bool(p, "snapshot", &snapshot, err))
        return false;
    if (snapshot)
        return machine_snapshot_open(m, p, err);
    struct blk_node *n = blk_open_idle(p, err);
    if (n)
        g_ptr_array_add(m->blockdevs, n);
    return n != NULL;
}

bool machine_blockdev_add(struct machine *m, struct props *p, GError **err)
{
    const char *name = NULL;

    if (!props_get_str(p, "node-name", &name, err))
        return false;
    if (!name || !*name)
        return error_set(err, HANOK_ERROR_INVALID, "a node-name is needed");
    return blockdev_open(m, p, err);
}

bool machine_blockdev_del(struct machine *m, const char *node_name, GError **err)
{
    for (guint i = 0; i < m->blockdevs->len; i++) {
        struct blk_node *n = g_ptr_array_index(m->blockdevs, i);
        if (strcmp(blk_node_name(n), node_name) != 0)
            continue;
        const char *user = blk_in_use_by(n);
        if (user)
            return error_set(err, HANOK_ERROR_BUSY, "Node '%s' is in use by %s", node_name, user);
        g_ptr_array_remove_index(m->blockdevs, i);
        blk_close(n);
        return true;
    }
    return error_set(err, HANOK_ERROR_NOT_FOUND, "Cannot find node '%s'", node_name);
}

static bool blockdevs_open(struct machine *m, GError **err)
{
    for (guint i = 0; i < m->cfg->blockdevs->len; i++) {
        struct props *p = g_ptr_array_index(m->cfg->blockdevs, i);
        const char *name = NULL;
        if (!props_get_str(p, "node-name", &name, err))
            return false;
        if (!blockdev_open(m, p, err)) {
            g_prefix_error(err, "-blockdev %s: ", name ? name : "");
            return false;
        }
    }
    return true;
}

static bool netdevs_open(struct machine *m, GError **err)
{
    for (guint i = 0; i < m->cfg->netdevs->len; i++) {
        struct props *p = g_ptr_array_index(m->cfg->netdevs, i);
        const char *id = NULL;
        struct net_backend *b;
        if (!props_get_str(p, "id", &id, err))
            return false;
        b = net_open(p, err);
        if (!b) {
            g_prefix_error(err, "-netdev %s: ", id ? id : "");
            return false;
        }
        g_ptr_array_add(m->netdevs, b);
    }
    return true;
}

bool machine_backends_open(struct machine *m, GError **err)
{
    m->objects = g_hash_table_new_full(g_str_hash, g_str_equal, NULL, object_free);
    m->blockdevs = g_ptr_array_new();
    m->netdevs = g_ptr_array_new();
    for (guint i = 0; i < m->cfg->objects->len; i++)
        if (!machine_object_add(m, g_ptr_array_index(m->cfg->objects, i), err))
            return false;
    return chardevs_open(m, err) && blockdevs_open(m, err) && netdevs_open(m, err);
}

void machine_backends_close(struct machine *m)
{
    if (!m->objects)
        return;
    /* The youngest first: a format node stands on the file node opened before it. */
    for (guint i = m->blockdevs->len; i > 0; i--)
        blk_close(g_ptr_array_index(m->blockdevs, i - 1));
    for (guint i = m->netdevs->len; i > 0; i--)
        net_close(g_ptr_array_index(m->netdevs, i - 1));
    g_ptr_array_free(m->blockdevs, true);
    g_ptr_array_free(m->netdevs, true);
    g_hash_table_destroy(m->objects);
}
