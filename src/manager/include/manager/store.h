/* store.h - where definitions live, and who may touch them.
 *
 * Definitions are files NAME.xml, replaced whole: temporary file, fsync, rename, fsync of the
 * directory.  A reader sees an old or a new definition, never half of one; no lock is needed to
 * read. Writers hold the domain's lock, and the store's lock while names and UUIDs are compared.
 * Order: a domain's lock first, then the store's; two domains' locks in the order of their names.
 * Locks are flock() on files that go with their last holder; a killed process holds none.
 *
 * Root's files are in the system directories, a user's in the XDG ones.  One thread. */
#ifndef MANAGER_STORE_H
#define MANAGER_STORE_H

#include "base/error.h"

#include <glib.h>
#include <stdbool.h>

struct store {
    bool system;     /* qemu:///system */
    char *config;    /* definitions */
    char *autostart; /* empty files named like domains */
    char *run;       /* sockets, states of running machines */
    char *log;       /* NAME.log */
    char *images;    /* the default pool */
    char *nvram;     /* firmware variables */
    char *cache;     /* what can be made again: fetched kernels, built images */
};

/* uri: "qemu:///system", "qemu:///session" or NULL (root: system).  Makes the directories. */
struct store *store_open(const char *uri, GError **err);
void store_close(struct store *s); /* accepts NULL */

struct store_lock;
/* name NULL: the store's own lock.  Waits up to a minute, then says who holds it. */
struct store_lock *store_lock(struct store *s, const char *name, GError **err);
struct store_lock *store_trylock(struct store *s, const char *name); /* NULL: somebody has it */
void store_unlock(struct store_lock *l);                             /* accepts NULL */

/* Names, sorted.  Strings are the array's. */
GPtrArray *store_names(struct store *s);
bool store_has(struct store *s, const char *name);
/* The definition's text; NULL and NOT_FOUND when there is none. */
char *store_read(struct store *s, const char *name, GError **err);
/* expected: what the caller changed it from (NULL: whatever it was; "": there must be none).  BUSY
 * when it is another text now.  The caller holds the domain's lock. */
bool store_write(struct store *s, const char *name, const char *text, const char *expected,
                 GError **err);
bool store_remove(struct store *s, const char *name, GError **err);

/* Atomic replacement of any file of ours; mode as for open(). */
bool store_replace_file(const char *path, const char *text, unsigned mode, GError **err);
bool store_make_dirs(const char *path, unsigned mode, GError **err);
/* A directory with plain files and sockets in it; symbolic links are not followed. */
void store_remove_dir(const char *path);
char *store_path(const char *dir, const char *name, const char *suffix);

#endif
