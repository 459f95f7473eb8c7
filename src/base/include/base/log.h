/* log.h - messages for people, on stderr (or the -D file).
 *
 * Levels have meanings: error = the program will stop or an operation failed; warning = the user
 * should know, the VM goes on; info = asked for with -v or -d; debug = -d only.  All are printed as
 * "hanok-vm: warning: text".  log_guest() reports guest nonsense: it is rate-limited per call site
 * (a guest must not be able to fill a log) and counted.  Thread-safe; never call from a signal
 * handler. */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include "base/types.h"
#include "base/util.h"

#include <stdbool.h>
#include <stdint.h>

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARNING, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

void log_init(const char *program);                /* basename used as prefix */
bool log_set_file(const char *path, GError **err); /* NULL: back to stderr */
void log_set_level(enum log_level max);
void log_set_timestamps(bool on); /* -msg timestamp=on */

void log_error(const char *fmt, ...) PRINTF_LIKE(1, 2);
void log_warning(const char *fmt, ...) PRINTF_LIKE(1, 2);
void log_info(const char *fmt, ...) PRINTF_LIKE(1, 2);
void log_debug(const char *fmt, ...) PRINTF_LIKE(1, 2);

struct log_ratelimit {
    uint64_t window_start_ns;
    uint32_t in_window;
    uint64_t total;
};
void log_guest_limited(struct log_ratelimit *rl, const char *fmt, ...) PRINTF_LIKE(2, 3);
#define log_guest(...)                                                                             \
    do {                                                                                           \
        static struct log_ratelimit rl_;                                                           \
        log_guest_limited(&rl_, __VA_ARGS__);                                                      \
    } while (0)

#endif
