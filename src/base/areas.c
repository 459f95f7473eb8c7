/* areas.c - the list of areas.h. */
#include "base/areas.h"

#include <errno.h>
#include <glib.h>
#include <pthread.h>
#include <sys/mman.h>

struct area {
    const char *kind;
    const void *at;
    size_t bytes;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static GArray *areas; /* struct area, under lock */
static pthread_key_t stack_key;
static pthread_once_t stack_once = PTHREAD_ONCE_INIT;

void memory_area_add(const char *kind, const void *at, size_t bytes)
{
    struct area a = {kind, at, bytes};
    pthread_mutex_lock(&lock);
    if (!areas)
        areas = g_array_new(FALSE, FALSE, sizeof(struct area));
    g_array_append_val(areas, a);
    pthread_mutex_unlock(&lock);
}

void memory_area_del(const void *at)
{
    pthread_mutex_lock(&lock);
    for (unsigned i = 0; at && areas && i < areas->len; i++) {
        if (g_array_index(areas, struct area, i).at == at) {
            g_array_remove_index_fast(areas, i);
            break;
        }
    }
    pthread_mutex_unlock(&lock);
}

void *memory_area_new(const char *kind, size_t bytes)
{
    void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (at == MAP_FAILED)
        g_error("cannot reserve %zu bytes for %s: %s", bytes, kind, g_strerror(errno));
    memory_area_add(kind, at, bytes);
    return at;
}

void memory_area_free(void *at, size_t bytes)
{
    memory_area_del(at);
    if (at)
        munmap(at, bytes);
}

static void stack_end(void *at)
{
    memory_area_del(at);
}

static void stack_key_make(void)
{
    pthread_key_create(&stack_key, stack_end);
}

void memory_area_add_stack(void)
{
    pthread_attr_t attr;
    void *at = NULL;
    size_t bytes = 0;
    pthread_once(&stack_once, stack_key_make);
    if (pthread_getattr_np(pthread_self(), &attr))
        return;
    if (!pthread_attr_getstack(&attr, &at, &bytes)) {
        memory_area_add("stack", at, bytes);
        pthread_setspecific(stack_key, at);
    }
    pthread_attr_destroy(&attr);
}

void memory_areas(memory_area_fn *fn, void *opaque)
{
    pthread_mutex_lock(&lock);
    for (unsigned i = 0; areas && i < areas->len; i++) {
        const struct area *a = &g_array_index(areas, struct area, i);
        fn(opaque, a->kind, a->at, a->bytes);
    }
    pthread_mutex_unlock(&lock);
}
