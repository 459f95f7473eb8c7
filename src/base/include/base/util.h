/* util.h - small macros with no state: container_of, sizes, alignment, little-endian access.
 *
 * Everything here is usable from hot code (no allocation, no GLib). */
#ifndef BASE_UTIL_H
#define BASE_UTIL_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define container_of(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))
#define ARRAY_SIZE(a)                   (sizeof(a) / sizeof((a)[0]))
#define BIT(n)                          (1u << (n))
#define BIT64(n)                        (1ull << (n))
#define KiB                             1024ull
#define MiB                             (1024ull * KiB)
#define GiB                             (1024ull * MiB)
#define TiB                             (1024ull * GiB)
#define ALIGN_DOWN(x, a)                ((x) & ~((__typeof__(x))(a)-1))
#define ALIGN_UP(x, a)                  ALIGN_DOWN((x) + (__typeof__(x))(a)-1, a)
#define likely(x)                       __builtin_expect(!!(x), 1)
#define unlikely(x)                     __builtin_expect(!!(x), 0)
#define PRINTF_LIKE(f, a)               __attribute__((format(printf, f, a)))
#define MIN_OF(a, b)                    ((a) < (b) ? (a) : (b))
#define MAX_OF(a, b)                    ((a) > (b) ? (a) : (b))

/* Unaligned little-endian access; the host is x86-64, so these are plain loads and stores. */
static inline uint16_t le16_get(const void *p)
{
    uint16_t v;
    memcpy(&v, p, sizeof(v));
    return v;
}
static inline uint32_t le32_get(const void *p)
{
    uint32_t v;
    memcpy(&v, p, sizeof(v));
    return v;
}
static inline uint64_t le64_get(const void *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof(v));
    return v;
}
static inline void le16_put(void *p, uint16_t v)
{
    memcpy(p, &v, sizeof(v));
}
static inline void le32_put(void *p, uint32_t v)
{
    memcpy(p, &v, sizeof(v));
}
static inline void le64_put(void *p, uint64_t v)
{
    memcpy(p, &v, sizeof(v));
}

#endif
