/* chain.c - see chain.h. */
#include "chain.h"

#include "base/util.h"

#include <jansson.h>
#include <string.h>

enum { DEPTH_MAX = 200 };

static json_t *ask(const char *tool, const char *path, GError **err)
{
    const char *argv[] = {tool,    "info", "-U", "--backing-chain", "--output=json", "-f",
                          "qcow2", path,   NULL};
    g_autofree char *text = NULL, *said = NULL;
    int status = 0;
    if (!g_spawn_sync(NULL, (char **)argv, NULL, G_SPAWN_DEFAULT, NULL, NULL, &text, &said, &status,
                      err)) {
        return NULL;
    }
    if (!g_spawn_check_wait_status(status, NULL)) {
        g_strchomp(said);
        error_set(err, HANOK_ERROR_IO, "%s", *said ? said : "hanok-img failed");
        return NULL;
    }
    return json_loads(text, 0, NULL);
}

/* A word of the table, as the table has it. */
static const char *format_word(const char *name)
{
    static const char *const words[] = {"raw", "qcow2"};
    for (unsigned i = 0; name && i < ARRAY_SIZE(words); i++) {
        if (!strcmp(words[i], name)) {
            return words[i];
        }
    }
    return NULL;
}

static bool is_file(const json_t *image)
{
    const char *path = json_string_value(json_object_get(image, "filename"));
    return path && *path == '/' && format_word(json_string_value(json_object_get(image, "format")));
}

static struct backing_store *layer(const json_t *image)
{
    struct backing_store *b = xml_map_new(&backing_store_element);
    const char *path = json_string_value(json_object_get(image, "filename"));
    bool block = g_str_has_prefix(path, "/dev/");
    b->node.present = b->format.node.present = b->source.node.present = true;
    b->type = block ? DISK_BLOCK : DISK_FILE;
    b->format.type = format_word(json_string_value(json_object_get(image, "format")));
    *(block ? &b->source.dev : &b->source.file) = g_strdup(path);
    return b;
}

static void note(struct disk *k, const json_t *images)
{
    size_t n = json_array_size(images);
    struct backing_store **at = &k->backing;
    for (size_t i = 1; i < n; i++) {
        if (i > DEPTH_MAX || !is_file(json_array_get(images, i))) {
            return;
        }
    }
    for (size_t i = 1; i < n; i++) {
        *at = layer(json_array_get(images, i));
        at = &(*at)->next;
    }
    *at = xml_map_new(&backing_store_element); /* nothing lies deeper */
    (*at)->node.present = true;
}

bool chain_find(struct domain *d, GError **err)
{
    g_autofree char *tool = program_beside("hanok-img");
    for (unsigned i = 0; tool && i < d->devices.disks->len; i++) {
        struct disk *k = d->devices.disks->pdata[i];
        const char *path = k->type == DISK_FILE ? k->source.file : k->source.dev;
        if (k->backing || !path || (k->type != DISK_FILE && k->type != DISK_BLOCK) ||
            !word_is(k->driver.type, "qcow2")) {
            continue;
        }
        json_t *images = ask(tool, path, err);
        if (!images) {
            g_prefix_error(err, "disk '%s': ", k->target.dev);
            return false;
        }
        note(k, images);
        json_decref(images);
    }
    return true;
}
