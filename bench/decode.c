/* decode.c - what it costs to decode code that was never seen: by Zydis and the selectors, and with
 * templates (src/cpu/jit/shape.h).
 *
 * The code is this process's own C library, read once from start to end, as a guest's boot would
 * meet it.  The second column starts with an empty memo. */
#include "../tests/unit/cpu/flat.h"
#include "shape.h"

#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

struct text {
    const uint8_t *start;
    size_t bytes;
};

static int largest_text(struct dl_phdr_info *info, size_t size, void *arg)
{
    struct text *t = arg;

    for (unsigned k = 0; k < info->dlpi_phnum; k++) {
        const ElfW(Phdr) *p = &info->dlpi_phdr[k];
        if (p->p_type == PT_LOAD && (p->p_flags & PF_X) && strstr(info->dlpi_name, "/libc.so"))
            *t = (struct text){(const uint8_t *)(info->dlpi_addr + p->p_vaddr), p->p_memsz};
    }
    return 0;
}

/* Of this thread: what other programs take does not count. */
static double cpu_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static double ns_once(struct jit_cpu *c, const struct text *t, uint64_t *count)
{
    struct insn ring[40]; /* as a block: written once, not read */
    double start = cpu_ns();
    size_t at = 0;

    *count = 0;
    while (at + 16 <= t->bytes) {
        struct fetch f = {.bytes = t->start + at, .avail = 16};
        struct insn *i = &ring[*count % ARRAY_SIZE(ring)];
        bool ends;
        decode_insn(c, &f, i, &ends);
        at += i->len;
        (*count)++;
    }
    return (cpu_ns() - start) / (double)*count;
}

#define ROUNDS 9

/* The least of some rounds. */
static double ns_each(struct jit_cpu *c, const struct text *t)
{
    double least = 1e9;

    for (unsigned k = 0; k < ROUNDS; k++) {
        uint64_t count;
        double ns = ns_once(c, t, &count);
        least = ns < least ? ns : least;
    }
    return least;
}

/* The instructions of *t that have a template, one after the other. */
static struct text known_only(struct jit_cpu *c, const struct text *t)
{
    uint8_t *copy = calloc(1, t->bytes);
    size_t at = 0, n = 0;

    while (at + 16 <= t->bytes) {
        struct fetch f = {.bytes = t->start + at, .avail = 16};
        struct shape s;
        struct insn i;
        if (shape_memo_get(c->shapes, c->mode_key, &f, &s, &i)) {
            memcpy(copy + n, t->start + at, i.len);
            n += i.len;
        } else {
            bool ends;
            struct shape_memo *m = c->shapes;
            c->shapes = NULL;
            decode_insn(c, &f, &i, &ends);
            c->shapes = m;
        }
        at += i.len;
    }
    return (struct text){copy, n};
}

int main(void)
{
    struct flat *f = flat_new();
    struct jit_cpu *c = flat_cpu(f);
    struct shape_memo *own = c->shapes;
    struct text t = {0};
    uint64_t count;

    dl_iterate_phdr(largest_text, &t);
    if (!t.bytes) {
        fprintf(stderr, "decode: this process has no C library to decode\n");
        return 1;
    }
    c->shapes = NULL;
    double zydis = ns_each(c, &t);
    c->shapes = own;
    double first = ns_once(c, &t, &count);
    struct shape_stats s = shape_memo_stats(own);
    struct text known = known_only(c, &t);
    double hit = ns_each(c, &known);

    printf("%llu instructions\n", (unsigned long long)count);
    printf("Zydis and selectors %6.1f ns each\n", zydis);
    printf("empty memo at first %6.1f ns each, %.1f %% hits, %u templates\n", first,
           100.0 * (double)s.hits / (double)count, s.templates);
    printf("only hits           %6.1f ns each\n", hit);
    free((void *)(uintptr_t)known.start);
    flat_free(f);
    return 0;
}
