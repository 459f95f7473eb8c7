/* device.c - the board's list of devices, walked in order of creation. */
#include "bus/device.h"

#include "base/error.h"
#include "base/state.h"

#include <assert.h>
#include <glib.h>
#include <string.h>

void device_list_init(struct device_list *l)
{
    pthread_mutex_init(&l->lock, NULL);
    l->first = NULL;
    l->last = &l->first;
    l->vm_running = false;
}

void device_list_fini(struct device_list *l)
{
    while (l->first) {
        struct device *d = l->first;
        while (d->next)
            d = d->next;
        d->ops->destroy(d);
    }
    pthread_mutex_destroy(&l->lock);
}

void device_add(struct device_list *l, struct device *d, const struct device_ops *ops,
                const char *id, const char *path)
{
    assert(ops && ops->type && path);
    d->ops = ops;
    d->id = g_strdup(id);
    d->path = g_strdup(path);
    d->next = NULL;
    d->list = l;
    *l->last = d;
    l->last = &d->next;
}

void device_remove(struct device_list *l, struct device *d)
{
    struct device **at = &l->first;

    if (!d->list)
        return; /* a half-built device was never added */
    assert(d->list == l);
    while (*at != d) {
        assert(*at);
        at = &(*at)->next;
    }
    *at = d->next;
    if (l->last == &d->next)
        l->last = at;
    g_clear_pointer(&d->id, g_free);
    g_clear_pointer(&d->path, g_free);
    d->next = NULL;
    d->list = NULL;
}

struct device *device_find(struct device_list *l, const char *id)
{
    for (struct device *d = l->first; d; d = d->next)
        if (d->id && strcmp(d->id, id) == 0)
            return d;
    return NULL;
}

void device_list_reset(struct device_list *l)
{
    for (struct device *d = l->first; d; d = d->next)
        if (d->ops->reset)
            d->ops->reset(d);
}

void device_list_drain(struct device_list *l)
{
    for (struct device *d = l->first; d; d = d->next)
        if (d->ops->drain)
            d->ops->drain(d);
}

void device_list_save(struct device_list *l, struct state_writer *w)
{
    for (struct device *d = l->first; d; d = d->next)
        if (d->ops->state)
            state_save(w, d->ops->state, d->path, d);
}

bool device_list_load(struct device_list *l, struct state_reader *r, GError **err)
{
    for (struct device *d = l->first; d; d = d->next) {
        if (d->ops->state && !state_load(r, d->ops->state, d->path, d, err)) {
            g_prefix_error(err, "device '%s': ", d->path);
            return false;
        }
    }
    return true;
}
