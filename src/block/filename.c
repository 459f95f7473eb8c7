/* filename.c - what users write where a file name is wanted: paths, "json:{...}", NBD addresses. */
#include "block/block.h"

#include "base/error.h"

#include <glib.h>
#include <jansson.h>

static json_t *from_json_text(const char *text, GError **err)
{
    json_error_t je;
    json_t *o = json_loads(text, JSON_REJECT_DUPLICATES, &je);

    if (!json_is_object(o)) {
        json_decref(o);
        error_set(err, HANOK_ERROR_INVALID, "What follows json: is no JSON object%s%s.",
                  *je.text ? ": " : "", je.text);
        return NULL;
    }
    return o;
}

static json_t *nbd_node(json_t *server, const char *export)
{
    json_t *o = json_pack("{s:s, s:o}", "driver", "nbd", "server", server);

    if (o && export && *export)
        json_object_set_new(o, "export", json_string(export));
    return o;
}

static json_t *inet_server(const char *host, const char *port)
{
    return json_pack("{s:s, s:s, s:s}", "type", "inet", "host", *host ? host : "localhost", "port",
                     port && *port ? port : "10809");
}

static json_t *unix_server(const char *path)
{
    return json_pack("{s:s, s:s}", "type", "unix", "path", path);
}

/* nbd://HOST[:PORT][/EXPORT], nbd+unix:///[EXPORT]?socket=PATH */
static json_t *from_nbd_uri(const char *text, GError **err)
{
    g_autoptr(GUri) uri = g_uri_parse(text, G_URI_FLAGS_NONE, err);

    if (!uri)
        return NULL;
    const char *scheme = g_uri_get_scheme(uri), *path = g_uri_get_path(uri);
    const char *export = *path == '/' ? path + 1 : path;
    if (!strcmp(scheme, "nbd+unix")) {
        g_autoptr(GHashTable) query =
            g_uri_get_query(uri) ? g_uri_parse_params(g_uri_get_query(uri), -1, "&", 0, NULL)
                                 : NULL;
        const char *socket = query ? g_hash_table_lookup(query, "socket") : NULL;
        if (socket)
            return nbd_node(unix_server(socket), export);
        error_set(err, HANOK_ERROR_INVALID, "'%s' lacks ?socket=PATH.", text);
        return NULL;
    }
    if (strcmp(scheme, "nbd") && strcmp(scheme, "nbd+tcp")) {
        error_set(err, HANOK_ERROR_UNSUPPORTED,
                  "'%s': NBD over TLS is not available in this version; use nbd:// or nbd+unix://.",
                  text);
        return NULL;
    }
    g_autofree char *port =
        g_uri_get_port(uri) > 0 ? g_strdup_printf("%d", g_uri_get_port(uri)) : NULL;
    return nbd_node(inet_server(g_uri_get_host(uri) ? g_uri_get_host(uri) : "", port), export);
}

/* nbd:HOST:PORT[:exportname=NAME], nbd:unix:PATH[:exportname=NAME] */
static json_t *from_old_nbd(const char *text, GError **err)
{
    const char *mark = strstr(text, ":exportname=");
    g_autofree char *address = mark ? g_strndup(text, (size_t)(mark - text)) : g_strdup(text);
    const char *export = mark ? mark + strlen(":exportname=") : NULL;

    if (g_str_has_prefix(address, "unix:"))
        return nbd_node(unix_server(address + 5), export);
    char *colon = strrchr(address, ':');
    if (!colon || !colon[1]) {
        error_set(err, HANOK_ERROR_INVALID,
                  "'nbd:%s' lacks a port: write nbd:HOST:PORT or nbd://HOST.", text);
        return NULL;
    }
    *colon = '\0';
    return nbd_node(inet_server(address, colon + 1), export);
}

static json_t *from_path(const char *path, GError **err)
{
    json_t *o = json_pack("{s:s, s:s}", "driver", "file", "filename", path);

    if (!o)
        error_set(err, HANOK_ERROR_INVALID, "The file name of an image must be valid UTF-8.");
    return o;
}

json_t *blk_describe_file(const char *name, GError **err)
{
    const char *colon = strchr(name, ':'), *slash = strchr(name, '/');

    if (g_str_has_prefix(name, "json:"))
        return from_json_text(name + 5, err);
    if (g_str_has_prefix(name, "file:"))
        return from_path(name + 5, err);
    if (!colon || (slash && slash < colon))
        return from_path(name, err);
    if (g_str_has_prefix(name, "nbd:") && !g_str_has_prefix(name, "nbd:/"))
        return from_old_nbd(name + 4, err);
    if (g_str_has_prefix(name, "nbd") && colon[1] == '/')
        return from_nbd_uri(name, err);
    error_set(err, HANOK_ERROR_UNSUPPORTED,
              "'%.*s:' names no protocol of this version (file:, nbd:, json: are); for a file with "
              "such a name write './%s'.",
              (int)(colon - name), name, name);
    return NULL;
}
