/* seen.h - how often code has been run, before anything else is known of it; whether what is new is
 * to be translated at once.
 *
 * Code is named by its host address and mode_key.  The table is small and forgets: of two that
 * share an entry one stays for some turns.
 *
 * Threads: belongs to one vcpu's thread. */
#ifndef CPU_JIT_SEEN_H
#define CPU_JIT_SEEN_H

#include <stdbool.h>
#include <stdint.h>

#define SEEN_COUNT 3u /* it counts up to here */

struct seen;
struct seen *seen_new(void);
void seen_free(struct seen *s);
void seen_soon(struct seen *s, uintptr_t host, uint32_t key); /* it will be asked for */
/* How often code has been run before, up to SEEN_COUNT; once more now. */
unsigned seen_before(struct seen *s, uintptr_t host, uint32_t key);
/* Code that was changed is as good as new, but for having been run. */
void seen_again(struct seen *s, uintptr_t host, uint32_t key);
/* Is a user program's code that was run so often before to be translated now, though it is not
 * warm? */
bool seen_at_once(struct seen *s, unsigned runs);

#endif
