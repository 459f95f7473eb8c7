/* sockaddr.c - the addresses behind socket.h: unix (also abstract), TCP by name, inherited. */
#include "socket.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

void sock_addr_free(struct sock_addr_spec *a)
{
    g_free(a->path);
    g_free(a->host);
    g_free(a->port);
}

static bool parse_fd(struct sock_addr_spec *a, const char *text, GError **err)
{
    guint64 n;
    if (!g_ascii_string_to_unsigned(text, 10, 0, INT_MAX, &n, NULL)) {
        return error_set(err, HANOK_ERROR_INVALID,
                         "fd=%s: the number of an inherited descriptor is needed", text);
    }
    a->fd = n;
    int type = 0;
    socklen_t len = sizeof(type);
    if (getsockopt(a->fd, SOL_SOCKET, SO_TYPE, &type, &len)) {
        return error_errno(err, errno, "fd=%s is not an inherited socket", text);
    }
    if (type != SOCK_STREAM) {
        return error_set(err, HANOK_ERROR_INVALID, "fd=%s is not a stream socket", text);
    }
    fcntl(a->fd, F_SETFD, FD_CLOEXEC);
    fcntl(a->fd, F_SETFL, fcntl(a->fd, F_GETFL) | O_NONBLOCK);
    return true;
}

static bool parse_family(struct sock_addr_spec *a, struct props *p, GError **err)
{
    bool v4 = false, v6 = false, has4 = props_has(p, "ipv4"), has6 = props_has(p, "ipv6");
    if (!props_get_bool(p, "ipv4", &v4, err) || !props_get_bool(p, "ipv6", &v6, err)) {
        return false;
    }
    if (has4 && has6 && !v4 && !v6) {
        return error_set(err, HANOK_ERROR_INVALID, "ipv4=off and ipv6=off leave no protocol");
    }
    a->family = (v4 && !v6) || (has6 && !v6)   ? AF_INET
                : (v6 && !v4) || (has4 && !v4) ? AF_INET6
                                               : AF_UNSPEC;
    return true;
}

bool sock_addr_parse(struct sock_addr_spec *a, struct props *p, GError **err)
{
    const char *path = NULL, *host = NULL, *port = NULL, *fd = NULL;
    uint32_t to = 0;
    a->fd = -1;
    a->tight = true;
    if (!props_get_str(p, "path", &path, err) || !props_get_str(p, "host", &host, err) ||
        !props_get_str(p, "port", &port, err) || !props_get_str(p, "fd", &fd, err) ||
        !props_get_u32(p, "to", &to, err) || !props_get_bool(p, "abstract", &a->abstract, err) ||
        !props_get_bool(p, "tight", &a->tight, err) || !parse_family(a, p, err)) {
        return false;
    }
    if (!!path + !!port + !!fd != 1) {
        return error_set(err, HANOK_ERROR_INVALID,
                         "a socket needs exactly one of path=, port= (with host=) and fd=");
    }
    if (fd) {
        return parse_fd(a, fd, err);
    }
    guint64 number;
    if (port && g_ascii_string_to_unsigned(port, 10, 0, G_MAXUINT64, &number, NULL) &&
        number > UINT16_MAX) { /* the resolver would take its low 16 bits */
        return error_set(err, HANOK_ERROR_INVALID, "port=%s is larger than 65535", port);
    }
    if (path && strlen(path) >= sizeof(((struct sockaddr_un *)0)->sun_path) - 1) {
        return error_set(err, HANOK_ERROR_INVALID, "the socket path '%s' is too long (at most %zu)",
                         path, sizeof(((struct sockaddr_un *)0)->sun_path) - 2);
    }
    a->path = g_strdup(path);
    a->port = g_strdup(port);
    a->host = g_strdup(host);
    a->to = to;
    return true;
}

char *sock_addr_text(const struct sock_addr_spec *a)
{
    if (a->fd >= 0) {
        return g_strdup_printf("fd:%d", a->fd);
    }
    if (a->path) {
        return g_strdup_printf("unix:%s%s", a->path, a->abstract ? ",abstract=on" : "");
    }
    return g_strdup_printf("tcp:%s:%s", a->host ? a->host : "", a->port);
}

char *sock_peer_text(int fd)
{
    struct sockaddr_storage ss;
    socklen_t len = sizeof(ss);
    char host[NI_MAXHOST], port[NI_MAXSERV];
    if (getpeername(fd, (struct sockaddr *)&ss, &len) || ss.ss_family == AF_UNIX ||
        getnameinfo((struct sockaddr *)&ss, len, host, sizeof(host), port, sizeof(port),
                    NI_NUMERICHOST | NI_NUMERICSERV)) {
        return g_strdup("");
    }
    return g_strdup_printf(ss.ss_family == AF_INET6 ? "[%s]:%s" : "%s:%s", host, port);
}

/* ---- unix ---- */

static socklen_t fill_unix(const struct sock_addr_spec *a, struct sockaddr_un *un)
{
    size_t len = strlen(a->path);
    memset(un, 0, sizeof(*un));
    un->sun_family = AF_UNIX;
    memcpy(un->sun_path + (a->abstract ? 1 : 0), a->path, len);
    if (a->abstract && a->tight) {
        return offsetof(struct sockaddr_un, sun_path) + 1 + len;
    }
    return sizeof(*un);
}

static int listen_unix(struct sock_addr_spec *a, GError **err)
{
    struct sockaddr_un un;
    struct stat st;
    socklen_t len = fill_unix(a, &un);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    /* The socket of a process that is gone would make bind() fail; only a socket is removed. */
    if (!a->abstract && !lstat(a->path, &st) && S_ISSOCK(st.st_mode)) {
        unlink(a->path);
    }
    if (fd < 0 || bind(fd, (struct sockaddr *)&un, len) || listen(fd, 16)) {
        error_errno(err, errno, "could not listen on unix:%s", a->path);
        if (fd >= 0) {
            close(fd);
        }
        return -1;
    }
    return fd;
}

static int connect_fd(int fd, const struct sockaddr *sa, socklen_t len, bool async)
{
    int rc;
    do {
        rc = connect(fd, sa, len);
    } while (rc && errno == EINTR);
    if (rc && !(async && errno == EINPROGRESS)) {
        return -1;
    }
    return fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
}

static int connect_unix(struct sock_addr_spec *a, GError **err)
{
    struct sockaddr_un un;
    socklen_t len = fill_unix(a, &un);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect_fd(fd, (struct sockaddr *)&un, len, false)) {
        error_errno(err, errno, "could not connect to unix:%s", a->path);
        if (fd >= 0) {
            close(fd);
        }
        return -1;
    }
    return fd;
}

/* ---- tcp ---- */

static struct addrinfo *resolve(struct sock_addr_spec *a, bool passive, GError **err)
{
    struct addrinfo hints = {
        .ai_family = a->family, .ai_socktype = SOCK_STREAM, .ai_flags = passive ? AI_PASSIVE : 0};
    struct addrinfo *list = NULL;
    int rc = getaddrinfo(a->host && *a->host ? a->host : NULL, a->port, &hints, &list);
    if (rc) {
        error_set(err, HANOK_ERROR_NOT_FOUND, "could not resolve host '%s', port '%s': %s",
                  a->host ? a->host : "", a->port, gai_strerror(rc));
        return NULL;
    }
    return list;
}

static int try_listen(const struct addrinfo *ai, unsigned port)
{
    struct sockaddr_storage ss;
    memcpy(&ss, ai->ai_addr, ai->ai_addrlen);
    if (ai->ai_family == AF_INET6) {
        ((struct sockaddr_in6 *)&ss)->sin6_port = htons(port);
    } else {
        ((struct sockaddr_in *)&ss)->sin_port = htons(port);
    }
    int fd = socket(ai->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), one = 1;
    if (fd < 0) {
        return -1;
    }
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (bind(fd, (struct sockaddr *)&ss, ai->ai_addrlen) || listen(fd, 16)) {
        int saved = errno;
        close(fd);
        errno = saved;
        return -1;
    }
    return fd;
}

/* Port 0 means "any": learn which one it became, for filename and messages. */
static void learn_port(struct sock_addr_spec *a, int fd)
{
    struct sockaddr_storage ss;
    socklen_t len = sizeof(ss);
    char port[NI_MAXSERV];
    if (!getsockname(fd, (struct sockaddr *)&ss, &len) &&
        !getnameinfo((struct sockaddr *)&ss, len, NULL, 0, port, sizeof(port), NI_NUMERICSERV)) {
        g_free(a->port);
        a->port = g_strdup(port);
    }
}

static int listen_tcp(struct sock_addr_spec *a, GError **err)
{
    struct addrinfo *list = resolve(a, true, err);
    if (!list) {
        return -1;
    }
    int fd = -1, saved = EADDRINUSE;
    for (struct addrinfo *ai = list; ai && fd < 0; ai = ai->ai_next) {
        unsigned port =
            ntohs(ai->ai_family == AF_INET6 ? ((struct sockaddr_in6 *)ai->ai_addr)->sin6_port
                                            : ((struct sockaddr_in *)ai->ai_addr)->sin_port);
        unsigned last = MAX_OF(port, MIN_OF(a->to, 65535u));
        for (; port <= last && fd < 0; port++) {
            fd = try_listen(ai, port);
            saved = errno;
        }
    }
    freeaddrinfo(list);
    if (fd < 0) {
        error_errno(err, saved, "could not listen on tcp:%s:%s", a->host ? a->host : "", a->port);
        return -1;
    }
    learn_port(a, fd);
    return fd;
}

static int connect_tcp(struct sock_addr_spec *a, bool async, GError **err)
{
    struct addrinfo *list = resolve(a, false, err);
    if (!list) {
        return -1;
    }
    int fd = -1, saved = ECONNREFUSED;
    for (struct addrinfo *ai = list; ai && fd < 0; ai = ai->ai_next) {
        fd = socket(ai->ai_family, SOCK_STREAM | SOCK_CLOEXEC | (async ? SOCK_NONBLOCK : 0), 0);
        if (fd >= 0 && connect_fd(fd, ai->ai_addr, ai->ai_addrlen, async)) {
            saved = errno;
            close(fd);
            fd = -1;
        }
    }
    freeaddrinfo(list);
    if (fd < 0) {
        error_errno(err, saved, "could not connect to tcp:%s:%s", a->host ? a->host : "", a->port);
    }
    return fd;
}

int sock_listen(struct sock_addr_spec *a, GError **err)
{
    if (a->fd >= 0) {
        int listening = 0;
        socklen_t len = sizeof(listening);
        if (getsockopt(a->fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &len) || !listening) {
            error_set(err, HANOK_ERROR_INVALID,
                      "fd=%d is not a listening socket, which server=on asks for", a->fd);
            return -1;
        }
        return a->fd;
    }
    return a->path ? listen_unix(a, err) : listen_tcp(a, err);
}

int sock_connect(struct sock_addr_spec *a, bool async, GError **err)
{
    return a->fd >= 0 ? a->fd : a->path ? connect_unix(a, err) : connect_tcp(a, async, err);
}
