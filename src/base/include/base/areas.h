/* areas.h - what the larger pieces of this process's memory are for.
 *
 * /proc/PID/smaps shows addresses; a manager that wants to say "guest RAM" or "translated code"
 * asks the machine which ones these are (QMP x-query-memory-areas).  Only areas of pages of their
 * own belong here, not pieces of the heap.
 *
 * Owner: who adds takes away before unmapping.  Threads: any (a lock; cold). */
#ifndef BASE_AREAS_H
#define BASE_AREAS_H

#include <stddef.h>

/* kind: a literal - "guest-ram", "jit-code", "jit-tables", "stack". */
void memory_area_add(const char *kind, const void *at, size_t bytes);
void memory_area_del(const void *at); /* unknown or NULL: no effect */
/* Zeroed pages that nobody has touched yet, listed as kind; ends the program where there is no room
 * for them.  free: NULL is none. */
void *memory_area_new(const char *kind, size_t bytes);
void memory_area_free(void *at, size_t bytes);
void memory_area_add_stack(void); /* of the calling thread, until it ends */

typedef void memory_area_fn(void *opaque, const char *kind, const void *at, size_t bytes);
void memory_areas(memory_area_fn *fn, void *opaque);

#endif
