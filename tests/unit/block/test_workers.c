/* test_workers.c - formats that wait for their files' work do not keep it from being done. */
#include "block_int.h"

#include "base/util.h"

#include <glib.h>
#include <semaphore.h>

enum { FORMATS = 24 }; /* more than a pool has threads */

struct item {
    struct blk_work format, leaf;
    sem_t leaf_done, all_done;
};

static void leaf_fn(struct blk_work *w)
{
    sem_post(&container_of(w, struct item, leaf)->leaf_done);
}

static void format_fn(struct blk_work *w)
{
    struct item *i = container_of(w, struct item, format);

    g_usleep(1000); /* until all threads of the kind are taken */
    i->leaf.fn = leaf_fn;
    blk_workers_push_leaf(&i->leaf);
    sem_wait(&i->leaf_done);
    sem_post(&i->all_done);
}

static void test_formats_wait_for_leaf_work(void)
{
    static struct item items[FORMATS];

    for (unsigned i = 0; i < FORMATS; i++) {
        sem_init(&items[i].leaf_done, 0, 0);
        sem_init(&items[i].all_done, 0, 0);
        items[i].format.fn = format_fn;
        blk_workers_push(&items[i].format);
    }
    for (unsigned i = 0; i < FORMATS; i++)
        sem_wait(&items[i].all_done); /* never, where both kinds share their threads */
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/workers/wait-for-leaf-work", test_formats_wait_for_leaf_work);
    return g_test_run();
}
