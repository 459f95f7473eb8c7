/* corpus.c - see corpus.h. */
#include "corpus.h"

#include "bench.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

enum { WORDS = 4096, LONGEST = 12 };

static char words[WORDS][LONGEST + 1];

static void make_words(uint64_t *seed)
{
    static const char consonants[] = "bcdfghklmnprstvw", vowels[] = "aeiouaei";
    for (int i = 0; i < WORDS; i++) {
        uint64_t length = 2 + bench_random(seed) % (LONGEST - 2);
        for (uint64_t j = 0; j < length; j++) {
            uint64_t r = bench_random(seed) >> 13;
            words[i][j] = j & 1 ? vowels[r & 7] : consonants[r & 15];
        }
        words[i][length] = 0;
    }
}

/* One line; the size of what was put into it. */
static size_t make_line(char *line, size_t room, uint64_t number, uint64_t *seed)
{
    size_t at = 0;
    if (number % 16 == 5) {
        uint64_t r = bench_random(seed);
        at = (size_t)snprintf(line, room, "%08llu;%u;%u.%02u;%s", (unsigned long long)number,
                              (unsigned)(r & 0xffff), (unsigned)(r >> 20 & 0xfff),
                              (unsigned)(r >> 40) % 100, words[r >> 50 & 63]);
    } else if (number % 64 == 9) {
        for (; at < 96; at++)
            line[at] = (char)bench_random(seed);
    } else {
        while (at < 70) {
            uint64_t r = bench_random(seed);
            unsigned bits = 5 + (unsigned)(r >> 32 & 7); /* the first words are the frequent ones */
            const char *word = words[r & ((1u << bits) - 1) & (WORDS - 1)];
            at += (size_t)snprintf(line + at, room - at, "%s%s", at ? " " : "", word);
        }
    }
    line[at++] = '\n';
    return at;
}

void corpus_write(const char *path, uint64_t size)
{
    uint64_t seed = 0xc0ffee1234567;
    char line[256];
    FILE *f = fopen(path, "we");
    if (!f)
        bench_fail("cannot write %s: %s", path, strerror(errno));
    make_words(&seed);
    for (uint64_t number = 0, done = 0; done < size; number++) {
        size_t length = make_line(line, sizeof line, number, &seed);
        if (length > size - done)
            length = (size_t)(size - done);
        if (fwrite(line, 1, length, f) != length)
            bench_fail("cannot write %s: %s", path, strerror(errno));
        done += length;
    }
    if (fclose(f))
        bench_fail("cannot write %s: %s", path, strerror(errno));
}
