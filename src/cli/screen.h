/* screen.h - a whole terminal: taken, painted, asked for keys, and given back however the program
 * ends (also by a signal, also while it is stopped by Ctrl-Z).
 *
 * One per process; one thread. */
#ifndef CLI_SCREEN_H
#define CLI_SCREEN_H

#include <stdint.h>

void screen_take(void);
void screen_back(void);
void screen_size(unsigned *rows, unsigned *columns);
/* Replaces what is there.  Lines are cut where the terminal ends; those that do not fit are left
 * out before the last line, which stands at the bottom. */
void screen_paint(const char *text, const char *bottom);

enum { SCREEN_TIME = 0, SCREEN_RESIZED = -1, SCREEN_GONE = -2 };
/* A key (one byte), or: time is up (host_clock_ns), paint anew (another size, or no key that means
 * anything), nobody is there. */
int screen_key(uint64_t until_ns);

#endif
