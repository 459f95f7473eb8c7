/* io_count.c - the names of what io_count.h counts. */
#include "bus/io_count.h"

#include <glib.h>
#include <pthread.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
/* Written under the lock before `used` shows it; never changed after. */
static const char *names[IO_COUNT_SLOTS] = {
    [IO_COUNT_OTHER] = "other", [IO_COUNT_EVENTFD] = "ioeventfd"};
static unsigned used = IO_COUNT_FIRST;

uint8_t io_count_slot(const char *space, const char *name)
{
    g_autofree char *text = g_strdup_printf("%s.%s", space, name ? name : "unnamed");
    unsigned slot = IO_COUNT_FIRST;

    pthread_mutex_lock(&lock);
    while (slot < used && g_strcmp0(names[slot], text))
        slot++;
    if (slot == IO_COUNT_SLOTS) {
        slot = IO_COUNT_OTHER;
    } else if (slot == used) {
        names[slot] = g_steal_pointer(&text);
        __atomic_store_n(&used, used + 1, __ATOMIC_RELEASE);
    }
    pthread_mutex_unlock(&lock);
    return (uint8_t)slot;
}

unsigned io_count_slots(void)
{
    return __atomic_load_n(&used, __ATOMIC_ACQUIRE);
}

const char *io_count_name(unsigned slot)
{
    return names[slot];
}
