/* core.c - buses and their ports: where a device can be plugged in. */
#include "usb_int.h"

#include "base/error.h"
#include "base/util.h"

#include <assert.h>

void usb_bus_init(struct usb_bus *b, struct usb_buses *list, struct pci_dev *controller,
                  const char *id)
{
    struct usb_bus **at = &list->first;

    *b = (struct usb_bus){.controller = controller, .list = list};
    b->name = id ? g_strdup_printf("%s.0", id) : g_strdup_printf("usb-bus.%u", list->unnamed++);
    while (*at)
        at = &(*at)->next;
    *at = b;
}

void usb_bus_fini(struct usb_bus *b)
{
    struct usb_bus **at;

    if (!b->list)
        return;
    /* hubs are behind their ports' devices in the list: look again after each */
    for (struct usb_port *p = b->ports; p;) {
        struct usb_device *d = p->dev;
        p = p->next;
        if (d) {
            d->dev.ops->destroy(&d->dev);
            p = b->ports;
        }
    }
    for (at = &b->list->first; *at != b; at = &(*at)->next)
        assert(*at);
    *at = b->next;
    g_free(b->name);
    *b = (struct usb_bus){0};
}

struct usb_bus *usb_bus_find(struct usb_buses *list, const char *name)
{
    for (struct usb_bus *b = list->first; b; b = b->next)
        if (!name || strcmp(b->name, name) == 0)
            return b;
    return NULL;
}

void usb_port_add(struct usb_bus *b, struct usb_port *p)
{
    struct usb_port **at = &b->ports;

    if (p->parent)
        g_snprintf(p->path, sizeof(p->path), "%s.%u", p->parent->path, p->index + 1);
    else
        g_snprintf(p->path, sizeof(p->path), "%u", p->index + 1);
    p->bus = b;
    p->next = NULL;
    while (*at)
        at = &(*at)->next;
    *at = p;
}

void usb_port_remove(struct usb_port *p)
{
    assert(!p->dev);
    if (!p->bus)
        return;
    for (struct usb_port **at = &p->bus->ports; *at; at = &(*at)->next) {
        if (*at == p) {
            *at = p->next;
            break;
        }
    }
    p->bus = NULL;
}

static char *paths_of(const struct usb_bus *b)
{
    GString *s = g_string_new(NULL);

    for (const struct usb_port *p = b->ports; p; p = p->next)
        g_string_append_printf(s, "%s%s", s->len ? ", " : "", p->path);
    return g_string_free(s, false);
}

struct usb_port *usb_port_find(struct usb_bus *b, const char *path, uint8_t speeds, GError **err)
{
    for (struct usb_port *p = b->ports; p; p = p->next) {
        if (path ? strcmp(p->path, path) != 0 : p->dev || !(p->speeds & speeds))
            continue;
        if (p->dev) {
            error_set(err, HANOK_ERROR_BUSY, "port %s of USB bus '%s' is taken", path, b->name);
            return NULL;
        }
        if (!(p->speeds & speeds)) {
            error_set(err, HANOK_ERROR_UNSUPPORTED,
                      "port %s of USB bus '%s' is not of a speed the device can do", path, b->name);
            return NULL;
        }
        return p;
    }
    if (path) {
        g_autofree char *paths = paths_of(b);
        error_set(err, HANOK_ERROR_NOT_FOUND, "USB bus '%s' has no port %s; it has %s", b->name,
                  path, paths);
    } else {
        error_set(err, HANOK_ERROR_BUSY,
                  "no port of USB bus '%s' is free for a device of this speed", b->name);
    }
    return NULL;
}

struct usb_port *usb_port_below(struct usb_device *hub, unsigned number)
{
    for (struct usb_port *p = hub->port->bus->ports; p; p = p->next)
        if (p->hub == hub && p->index + 1 == number)
            return p;
    return NULL;
}
