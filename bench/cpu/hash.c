/* hash.c - a chained hash table of strings: hashing, pointer chasing, compares. */
#include "bench.h"

#include <stdlib.h>
#include <string.h>

enum { BUCKETS = 4096, ENTRIES = 12000 };

struct entry {
    struct entry *next;
    uint32_t hash, hits;
    char key[16];
};

static struct entry entries[ENTRIES], *buckets[BUCKETS];

static uint32_t hash_of(const char *key)
{
    uint32_t h = 2166136261u;
    while (*key)
        h = (h ^ (unsigned char)*key++) * 16777619u;
    return h;
}

static void make_key(char *key, uint64_t value)
{
    int at = 0;
    do {
        key[at++] = (char)('a' + value % 26);
        value /= 26;
    } while (value && at < 15);
    key[at] = 0;
}

static __attribute__((noinline)) struct entry *look_up(const char *key)
{
    uint32_t h = hash_of(key);
    struct entry *e = buckets[h % BUCKETS];
    while (e && (e->hash != h || strcmp(e->key, key) != 0))
        e = e->next;
    return e;
}

static void setup(uint64_t n)
{
    (void)n;
    for (uint32_t i = 0; i < ENTRIES; i++) {
        struct entry *e = &entries[i * 7919u % ENTRIES];
        make_key(e->key, (uint64_t)i * 48271u);
        e->hash = hash_of(e->key);
        e->next = buckets[e->hash % BUCKETS];
        buckets[e->hash % BUCKETS] = e;
    }
}

static uint64_t run(uint64_t n)
{
    uint64_t sum = 0, seed = 362436069;
    char key[16];
    for (uint64_t i = 0; i < n; i++) {
        make_key(key, bench_random(&seed) % (ENTRIES * 2) * 48271u);
        struct entry *e = look_up(key);
        if (e)
            sum += ++e->hits * 3;
        else
            sum ^= i;
    }
    return sum;
}

const struct bench_test bench_hash = {
    .name = "integer/hash", .setup = setup, .run = run, .work = 5000000, .minimum = 1, .cpus = 1};
