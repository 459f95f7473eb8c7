/* legacy.c - the one-word spellings of -serial, -monitor and -qmp, as properties. */
#include "internal.h"

#include <string.h>

static void set(struct props *p, const char *key, const char *value)
{
    props_set_str(p, key, value);
}

/* "HOST:PORT" or "[V6]:PORT", split at the last colon. */
static bool set_host_port(struct props *p, const char *text, GError **err)
{
    const char *colon = strrchr(text, ':');
    if (!colon || !colon[1]) {
        return error_set(err, HANOK_ERROR_INVALID, "'%s': HOST:PORT is needed", text);
    }
    g_autofree char *host = g_strndup(text, colon - text);
    size_t n = strlen(host);
    if (n >= 2 && host[0] == '[' && host[n - 1] == ']') {
        host[n - 1] = '\0';
        memmove(host, host + 1, n - 1);
    }
    set(p, "host", host);
    set(p, "port", colon + 1);
    return true;
}

/* First field of a comma list, ",," standing for one comma; *rest is what follows or NULL. */
static char *first_field(const char *text, const char **rest)
{
    GString *s = g_string_new(NULL);
    while (*text) {
        if (text[0] == ',' && text[1] == ',') {
            text++;
        } else if (text[0] == ',') {
            break;
        }
        g_string_append_c(s, *text++);
    }
    *rest = *text ? text + 1 : NULL;
    return g_string_free(s, FALSE);
}

static bool fill(struct props *p, const char *spec, const char *full, GError **err)
{
    const char *arg = strchr(full, ':');
    g_autofree char *word = arg ? g_strndup(full, arg - full) : g_strdup(full);
    arg = arg ? arg + 1 : "";
    if (*full == '/') {
        set(p, "backend", "serial");
        set(p, "path", full);
    } else if (!strcmp(word, "stdio") || !strcmp(word, "pty") || !strcmp(word, "null")) {
        set(p, "backend", word);
        if (*arg) {
            set(p, "path", arg);
        }
    } else if (!strcmp(word, "none")) {
        set(p, "backend", "null");
    } else if (!strcmp(word, "file") || !strcmp(word, "pipe") || !strcmp(word, "serial")) {
        set(p, "backend", word);
        set(p, "path", arg);
    } else if (!strcmp(word, "unix")) {
        set(p, "backend", "socket");
        set(p, "path", arg);
    } else if (!strcmp(word, "tcp") || !strcmp(word, "telnet")) {
        set(p, "backend", "socket");
        if (!strcmp(word, "telnet")) {
            set(p, "telnet", "on");
        }
        return set_host_port(p, arg, err);
    } else {
        static const char *const words[] = {"stdio", "mon:stdio", "pty",  "null",    "file:",
                                            "pipe:", "unix:",     "tcp:", "telnet:", "chardev:"};
        g_autofree char *near = error_nearest(spec, words, ARRAY_SIZE(words));
        return error_set(err, HANOK_ERROR_INVALID,
                         "'%s' is not a character device; did you mean %s?", spec, near);
    }
    return true;
}

static struct chardev *find_existing(const char *id, GError **err)
{
    struct chardev *c = chardev_find(id);
    if (!c) {
        error_set(err, HANOK_ERROR_NOT_FOUND,
                  "there is no chardev '%s'; -chardev ...,id=%s makes one", id, id);
    }
    return c;
}

struct chardev *chardev_open_legacy(const char *spec, const char *id, bool mux, GError **err)
{
    const char *text = spec, *rest = NULL;
    bool mon = g_str_has_prefix(text, "mon:");
    if (mon) {
        text += 4;
        mux = true;
    }
    if (g_str_has_prefix(text, "chardev:")) {
        return find_existing(text + 8, err);
    }
    g_autofree char *head = first_field(text, &rest);
    PROPS_AUTO p = rest ? props_parse(rest, NULL, err) : props_new();
    if (!p || !fill(p, spec, head, err)) {
        return NULL;
    }
    set(p, "id", id);
    if (mux) {
        set(p, "mux", "on");
    }
    /* With a monitor one Ctrl-a away, Ctrl-C belongs to the guest. */
    if (mon && !strcmp(head, "stdio") && !props_has(p, "signal")) {
        set(p, "signal", "off");
    }
    return chardev_open(p, err);
}
