/* http.c - HTTP GET over GIO: redirects, chunks, bounds.  Enough to fetch files. */
#include "fetch.h"

#include "base/util.h"

#include <gio/gio.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { MAX_BODY = 512 * 1024 * 1024, MAX_LINE = 8192, MAX_LINES = 200 };
enum { MAX_REDIRECTS = 8, TIMEOUT_S = 60 };

static void show(const char *progress, uint64_t done, int64_t all)
{
    if (progress && isatty(2)) {
        g_autofree char *size = g_format_size_full(done, G_FORMAT_SIZE_IEC_UNITS);
        fprintf(stderr, all > 0 ? "\rFetching %s: %s (%d %%) \033[K" : "\rFetching %s: %s\033[K",
                progress, size, all > 0 ? (int)(done * 100 / (uint64_t)all) : 0);
    }
}

/* One line without its end; bounded, because GDataInputStream's is not. */
static bool read_line(GInputStream *in, char line[MAX_LINE], GError **err)
{
    for (size_t n = 0; n < MAX_LINE - 1; n++) {
        gssize got = g_input_stream_read(in, line + n, 1, NULL, err);
        if (got < 0) {
            return false;
        }
        if (got == 0 || line[n] == '\n' || !line[n]) {
            bool ok = got == 1 && line[n] == '\n';
            line[n] = 0;
            g_strchomp(line);
            return ok || error_set(err, HANOK_ERROR_IO, "the server's answer is cut off");
        }
    }
    return error_set(err, HANOK_ERROR_IO, "the server's answer has a line of more than %d bytes",
                     MAX_LINE);
}

static void read_field(char *line, struct http_answer *a)
{
    char *value = strchr(line, ':');
    if (!value) {
        return;
    }
    *value++ = 0;
    g_strstrip(value);
    if (!g_ascii_strcasecmp(line, "Content-Length")) {
        char *end = NULL;
        guint64 n = g_ascii_strtoull(value, &end, 10);
        a->length = end > value && !*end && n <= MAX_BODY ? (int64_t)n : HTTP_LENGTH_TOO_MUCH;
    } else if (!g_ascii_strcasecmp(line, "Transfer-Encoding")) {
        a->chunked = strstr(value, "chunked") != NULL;
    } else if (!g_ascii_strcasecmp(line, "Location")) {
        g_free(a->location);
        a->location = g_strdup(value);
    }
}

static bool read_head(GInputStream *in, struct http_answer *a, GError **err)
{
    char line[MAX_LINE];
    if (!read_line(in, line, err)) {
        return false;
    }
    if (sscanf(line, "HTTP/1.%*d %3d", &a->status) != 1) {
        return error_set(err, HANOK_ERROR_IO, "the server does not speak HTTP");
    }
    for (unsigned lines = 0; lines < MAX_LINES; lines++) {
        if (!read_line(in, line, err)) {
            return false;
        }
        if (!*line) {
            return true;
        }
        read_field(line, a);
    }
    return error_set(err, HANOK_ERROR_IO,
                     "the server's answer has more than %d lines before it "
                     "begins",
                     MAX_LINES);
}

/* Up to n bytes (all that come when n < 0). */
static bool read_bytes(GInputStream *in, GByteArray *to, int64_t n, const struct http_answer *a,
                       const char *progress, GError **err)
{
    char buf[65536];
    while (n != 0) {
        gssize got = g_input_stream_read(
            in, buf, n < 0 ? sizeof(buf) : (gsize)MIN_OF(n, (int64_t)sizeof(buf)), NULL, err);
        if (got < 0) {
            return false;
        }
        if (got == 0) {
            return n < 0 ||
                   error_set(err, HANOK_ERROR_IO, "the connection ended in the middle of the file");
        }
        if (to->len + (gsize)got > MAX_BODY) {
            return error_set(err, HANOK_ERROR_IO, "the file is larger than %d MiB", MAX_BODY >> 20);
        }
        g_byte_array_append(to, (const guint8 *)buf, (guint)got);
        n -= n > 0 ? got : 0;
        show(progress, to->len, a->length);
    }
    return true;
}

static bool read_chunks(GInputStream *in, GByteArray *to, const struct http_answer *a,
                        const char *progress, GError **err)
{
    char line[MAX_LINE];
    for (;;) {
        char *end = NULL;
        if (!read_line(in, line, err)) {
            return false;
        }
        guint64 n = g_ascii_strtoull(line, &end, 16);
        if (end == line || n > MAX_BODY) {
            return error_set(err, HANOK_ERROR_IO, "the server's chunks are broken");
        }
        if (!n) {
            return true;
        }
        if (!read_bytes(in, to, (int64_t)n, a, progress, err) || !read_line(in, line, err)) {
            return false;
        }
    }
}

bool http_answer_read(GInputStream *from, struct http_answer *a, GByteArray *body,
                      const char *progress, GError **err)
{
    g_autoptr(GInputStream) in = g_buffered_input_stream_new_sized(from, 65536);
    g_filter_input_stream_set_close_base_stream(G_FILTER_INPUT_STREAM(in), false);
    *a = (struct http_answer){.length = HTTP_LENGTH_UNKNOWN};
    if (!read_head(in, a, err)) {
        return false;
    }
    if (a->status != 200) {
        return true;
    }
    if (a->length == HTTP_LENGTH_TOO_MUCH) {
        return error_set(err, HANOK_ERROR_IO, "the file is larger than %d MiB", MAX_BODY >> 20);
    }
    return a->chunked ? read_chunks(in, body, a, progress, err)
                      : read_bytes(in, body, a->length, a, progress, err);
}

/* http_proxy of the environment, for plain http. */
static char *proxy_for(GUri *uri)
{
    const char *proxy = g_getenv("http_proxy"), *none = g_getenv("no_proxy"),
               *host = g_uri_get_host(uri);
    bool local = !strcmp(host, "localhost") || !strcmp(host, "127.0.0.1") || !strcmp(host, "::1");
    if (!proxy || !*proxy || local || strcmp(g_uri_get_scheme(uri), "http")) {
        return NULL;
    }
    g_auto(GStrv) words = g_strsplit_set(none ? none : "", ", ", -1);
    for (char **w = words; *w; w++) {
        if (**w && g_str_has_suffix(host, *w + (**w == '*'))) {
            return NULL;
        }
    }
    return g_strdup(g_str_has_prefix(proxy, "http://") ? proxy + 7 : proxy);
}

static GSocketConnection *connect_to(GUri *uri, const char *proxy, GError **err)
{
    bool tls = !strcmp(g_uri_get_scheme(uri), "https");
    g_autoptr(GSocketClient) client = g_socket_client_new();
    g_autofree char *clean = proxy ? g_strndup(proxy, strcspn(proxy, "/")) : NULL;
    int port = g_uri_get_port(uri);
    g_socket_client_set_timeout(client, TIMEOUT_S);
    g_socket_client_set_enable_proxy(client, FALSE);
    if (tls && !g_tls_backend_supports_tls(g_tls_backend_get_default())) {
        error_set(
            err, HANOK_ERROR_UNSUPPORTED,
            "https needs the package glib-networking; install it, or use the tree's http address");
        return NULL;
    }
    g_socket_client_set_tls(client, tls);
    return clean ? g_socket_client_connect_to_host(client, clean, 3128, NULL, err)
                 : g_socket_client_connect_to_host(client, g_uri_get_host(uri),
                                                   port > 0 ? (guint16)port
                                                   : tls    ? 443
                                                            : 80,
                                                   NULL, err);
}

static GByteArray *request(GUri *uri, struct http_answer *a, const char *progress, GError **err)
{
    g_autofree char *proxy = proxy_for(uri), *whole = g_uri_to_string(uri);
    g_autoptr(GSocketConnection) c = connect_to(uri, proxy, err);
    if (!c) {
        return NULL;
    }
    const char *path = g_uri_get_path(uri), *query = g_uri_get_query(uri);
    g_autofree char *target =
        proxy ? g_strdup(whole)
              : g_strdup_printf("%s%s%s", *path ? path : "/", query ? "?" : "", query ? query : "");
    g_autofree char *port =
        g_uri_get_port(uri) > 0 ? g_strdup_printf(":%d", g_uri_get_port(uri)) : g_strdup("");
    g_autofree char *text =
        g_strdup_printf("GET %s HTTP/1.1\r\nHost: %s%s\r\nUser-Agent: hanok/" HANOK_VERSION
                        "\r\nAccept: */*\r\nConnection: close\r\n\r\n",
                        target, g_uri_get_host(uri), port);
    if (!g_output_stream_write_all(g_io_stream_get_output_stream(G_IO_STREAM(c)), text,
                                   strlen(text), NULL, NULL, err)) {
        return NULL;
    }
    g_autoptr(GByteArray) body = g_byte_array_new();
    return http_answer_read(g_io_stream_get_input_stream(G_IO_STREAM(c)), a, body, progress, err)
               ? g_steal_pointer(&body)
               : NULL;
}

GBytes *http_get(const char *url, const char *progress, GError **err)
{
    g_autofree char *now = g_strdup(url);
    for (unsigned i = 0; i < MAX_REDIRECTS; i++) {
        struct http_answer a = {0};
        g_autoptr(GUri) uri = g_uri_parse(now, G_URI_FLAGS_ENCODED, err);
        g_autofree char *location = NULL;
        if (!uri || !g_uri_get_host(uri) ||
            (strcmp(g_uri_get_scheme(uri), "http") && strcmp(g_uri_get_scheme(uri), "https"))) {
            if (!err || !*err) {
                error_set(err, HANOK_ERROR_INVALID, "'%s' is not an http address", now);
            }
            return NULL;
        }
        g_autoptr(GByteArray) body = request(uri, &a, progress, err);
        location = a.location;
        if (!body) {
            g_prefix_error(err, "%s: ", now);
            return NULL;
        }
        if (a.status == 200) {
            if (progress && isatty(2)) {
                fputc('\n', stderr);
            }
            return g_byte_array_free_to_bytes(g_steal_pointer(&body));
        }
        if (a.status / 100 == 3 && location) {
            char *next = g_uri_resolve_relative(now, location, G_URI_FLAGS_ENCODED, err);
            if (!next) {
                return NULL;
            }
            g_free(now);
            now = next;
            continue;
        }
        error_set(err, a.status == 404 || a.status == 403 ? HANOK_ERROR_NOT_FOUND : HANOK_ERROR_IO,
                  "%s: the server answers %d", now, a.status);
        return NULL;
    }
    error_set(err, HANOK_ERROR_IO, "%s: too many redirections", url);
    return NULL;
}
