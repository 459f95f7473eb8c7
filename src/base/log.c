/* log.c - messages for people; see base/log.h for what the levels mean. */
#include "base/log.h"

#include "base/error.h"
#include "base/evloop.h"
#include "log_line.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <unistd.h>

static pthread_mutex_t log_lock = PTHREAD_MUTEX_INITIALIZER;
static int log_fd = STDERR_FILENO; /* under log_lock */
static char *log_program;          /* set once at start */
static enum log_level log_max = LOG_LEVEL_WARNING;
static bool log_timestamps;

void log_init(const char *program)
{
    char *old = log_program;
    log_program = g_path_get_basename(program);
    g_free(old);
}

bool log_set_file(const char *path, GError **err)
{
    int fd = STDERR_FILENO;
    if (path) {
        fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
        if (fd < 0)
            return error_errno(err, errno, "cannot open the log file '%s'", path);
    }
    pthread_mutex_lock(&log_lock);
    int old = log_fd;
    log_fd = fd;
    pthread_mutex_unlock(&log_lock);
    if (old != STDERR_FILENO)
        close(old);
    return true;
}

void log_set_level(enum log_level max)
{
    __atomic_store_n(&log_max, max, __ATOMIC_RELAXED);
}

void log_set_timestamps(bool on)
{
    __atomic_store_n(&log_timestamps, on, __ATOMIC_RELAXED);
}

static void append_timestamp(GString *s)
{
    g_autoptr(GDateTime) now = g_date_time_new_now_utc();
    g_autofree char *text = g_date_time_format(now, "%Y-%m-%dT%H:%M:%S");
    g_string_append_printf(s, "%s.%06dZ ", text, g_date_time_get_microsecond(now));
}

void log_line(const char *line)
{
    GString *s = g_string_new(NULL);
    if (__atomic_load_n(&log_timestamps, __ATOMIC_RELAXED))
        append_timestamp(s);
    g_string_append(s, line);
    g_string_append_c(s, '\n');
    pthread_mutex_lock(&log_lock);
    size_t done = 0;
    while (done < s->len) {
        ssize_t n = write(log_fd, s->str + done, s->len - done);
        if (n < 0 && errno != EINTR)
            break; /* a full disk or a closed terminal must not stop the machine */
        if (n > 0)
            done += (size_t)n;
    }
    pthread_mutex_unlock(&log_lock);
    g_string_free(s, TRUE);
}

static void log_message(enum log_level level, const char *fmt, va_list ap)
{
    static const char *const tag[] = {
        [LOG_LEVEL_ERROR] = "error: ",
        [LOG_LEVEL_WARNING] = "warning: ",
        [LOG_LEVEL_INFO] = "",
        [LOG_LEVEL_DEBUG] = "debug: ",
    };
    if (level > __atomic_load_n(&log_max, __ATOMIC_RELAXED))
        return;
    g_autofree char *text = g_strdup_vprintf(fmt, ap);
    g_autofree char *line =
        g_strdup_printf("%s: %s%s", log_program ? log_program : "hanok", tag[level], text);
    log_line(line);
}

#define LOG_FUNCTION(name, level)                                                                  \
    void name(const char *fmt, ...)                                                                \
    {                                                                                              \
        va_list ap;                                                                                \
        va_start(ap, fmt);                                                                         \
        log_message(level, fmt, ap);                                                               \
        va_end(ap);                                                                                \
    }
LOG_FUNCTION(log_error, LOG_LEVEL_ERROR)
LOG_FUNCTION(log_warning, LOG_LEVEL_WARNING)
LOG_FUNCTION(log_info, LOG_LEVEL_INFO)
LOG_FUNCTION(log_debug, LOG_LEVEL_DEBUG)

/* At most this many messages per call site in one window; the rest is only counted. */
#define GUEST_PER_WINDOW 5
#define GUEST_WINDOW_NS  (10ull * 1000 * 1000 * 1000)

void log_guest_limited(struct log_ratelimit *rl, const char *fmt, ...)
{
    uint64_t now = host_clock_ns();
    __atomic_fetch_add(&rl->total, 1, __ATOMIC_RELAXED);
    uint64_t start = __atomic_load_n(&rl->window_start_ns, __ATOMIC_RELAXED);
    /* Two threads may both open a window; the loser just counts into the winner's. */
    if ((start == 0 || now - start > GUEST_WINDOW_NS) &&
        __atomic_compare_exchange_n(&rl->window_start_ns, &start, now, false, __ATOMIC_RELAXED,
                                    __ATOMIC_RELAXED))
        __atomic_store_n(&rl->in_window, 0, __ATOMIC_RELAXED);
    uint32_t nth = __atomic_add_fetch(&rl->in_window, 1, __ATOMIC_RELAXED);
    if (nth > GUEST_PER_WINDOW)
        return;
    va_list ap;
    va_start(ap, fmt);
    g_autofree char *text = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    log_warning("guest: %s%s", text,
                nth == GUEST_PER_WINDOW ? " (further messages of this kind are held back)" : "");
}
