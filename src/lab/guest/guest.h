/* guest.h - the laboratory's program: first process of its guests, or a plain program on the host.
 *
 *   host --"command words\n"--> virtio port "lab" (or standard input)
 *   host <--"key value\n"..., ".\n"-- the answer
 *
 * The same code measures in the guest and natively, so that the two can be compared.  Linked
 * statically; needs nothing but a kernel.  One thread; a command runs to its end. */
#ifndef LAB_GUEST_H
#define LAB_GUEST_H

#include <stdint.h>
#include <stdio.h>

struct guest_command {
    const char *name;
    int words; /* after the name */
    void (*run)(FILE *out, char **word);
};
extern const struct guest_command work_commands[], disk_commands[], system_commands[];

uint64_t guest_now_ns(void); /* CLOCK_MONOTONIC */
/* The answer to a command that failed: "error WHAT: reason". */
void guest_error(FILE *out, const char *what);
void guest_number(FILE *out, const char *key, uint64_t value);

#endif
