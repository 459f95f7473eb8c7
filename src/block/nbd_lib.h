/* nbd_lib.h - libnbd, which is loaded when the first NBD disk is opened.
 *
 * It brings a dozen libraries along (gnutls, libxml2, ICU): linked, they would be a third of what
 * every process takes to start.
 *
 * Threads: nbd_lib_load() from the main thread; the functions from any, once it has said true. */
#ifndef BLOCK_NBD_LIB_H
#define BLOCK_NBD_LIB_H

#include <glib.h>
#include <libnbd.h>

#define NBD_LIB_FUNCTIONS(X)                                                                       \
    X(create)                                                                                      \
    X(close)                                                                                       \
    X(shutdown)                                                                                    \
    X(get_error)                                                                                   \
    X(get_errno)                                                                                   \
    X(set_export_name)                                                                             \
    X(get_size)                                                                                    \
    X(get_block_size)                                                                              \
    X(is_read_only)                                                                                \
    X(can_fua)                                                                                     \
    X(can_flush)                                                                                   \
    X(can_trim)                                                                                    \
    X(can_zero)                                                                                    \
    X(aio_connect_unix)                                                                            \
    X(aio_connect_tcp)                                                                             \
    X(aio_get_fd)                                                                                  \
    X(aio_get_direction)                                                                           \
    X(aio_notify_read)                                                                             \
    X(aio_notify_write)                                                                            \
    X(aio_is_ready)                                                                                \
    X(aio_is_dead)                                                                                 \
    X(aio_is_closed)                                                                               \
    X(aio_pread)                                                                                   \
    X(aio_pwrite)                                                                                  \
    X(aio_flush)                                                                                   \
    X(aio_trim)                                                                                    \
    X(aio_zero)

struct nbd_lib {
#define NBD_LIB_MEMBER(name) __typeof__(nbd_##name) *name;
    NBD_LIB_FUNCTIONS(NBD_LIB_MEMBER)
#undef NBD_LIB_MEMBER
};

extern struct nbd_lib nbd_lib;
/* HANOK_ERROR_NOT_FOUND: it is not installed. */
bool nbd_lib_load(GError **err);

#endif
