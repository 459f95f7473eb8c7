/* dhrystone.c - what system programs did in the eighties: records, pointers, short strings, small
 * procedures. */
#include "bench.h"

#include <string.h>

struct record {
    struct record *other;
    int kind, choice, count;
    char name[31];
};

static struct record first, second;
static int table[50], matrix[50][50];
static int shared_int;
static char shared_char;

static __attribute__((noinline)) void add(int a, int b, int *out)
{
    *out = a + 2 + b;
}

static __attribute__((noinline)) int differs(char a, char b)
{
    char copy = a;
    if (copy != b)
        return 1;
    shared_char = copy;
    return 0;
}

static __attribute__((noinline)) int later(const char *a, const char *b)
{
    int at = 2;
    while (at <= 2)
        if (!differs(a[at], b[at + 1]))
            at++;
        else
            at += 3;
    if (strcmp(a, b) > 0) {
        shared_int = at + 7;
        return 1;
    }
    return 0;
}

static __attribute__((noinline)) void fill(int base, int value)
{
    int at = base + 5;
    table[at] = value;
    table[at + 1] = table[at];
    table[at + 30] = at;
    for (int i = at; i <= at + 1; i++)
        matrix[at][i] = at;
    matrix[at][at - 1]++;
    matrix[at + 20][at] = table[at];
    shared_int = 5;
}

static __attribute__((noinline)) void choose(int in, int *out)
{
    *out = in;
    switch (in) {
    case 0:
        *out = 3;
        break;
    case 1:
        *out = shared_int > 100 ? 0 : 3;
        break;
    case 2:
        *out = 1;
        break;
    case 4:
        *out = 2;
        break;
    default:
        break;
    }
}

static __attribute__((noinline)) void copy_record(struct record *from)
{
    struct record *to = from->other;
    *to = *from;
    to->count = 5;
    to->other = from->other;
    if (to->kind == 0) {
        to->choice = 6;
        choose(from->choice, &to->choice);
        add(to->count, 10, &to->count);
    } else {
        *from = *to;
    }
}

static uint64_t run(uint64_t n)
{
    uint64_t sum = 0;
    char one[31], two[31];
    first = (struct record){.other = &second, .kind = 0, .choice = 2, .count = 40};
    memcpy(first.name, "A PROGRAM, AND ITS SOME STRING", 31);
    memcpy(one, "A PROGRAM, AND ITS 1'ST STRING", 31);
    for (uint64_t i = 0; i < n; i++) {
        int a = 2, b = 3, c = 0;
        const char *source =
            i & 1 ? "A PROGRAM, AND ITS 2'ND STRING" : "A PROGRAM, AND ITS 3'RD STRING";
        OPAQUE(source);
        size_t length = strlen(source) + 1;
        OPAQUE(length);
        memcpy(two, source, length);
        int is_later = !later(one, two);
        while (a < b) {
            c = 5 * a - b;
            add(a, b, &c);
            a++;
        }
        fill(a, c);
        copy_record(&first);
        for (char at = 'A'; at <= (is_later ? 'B' : 'A'); at++)
            if (!differs(at, 'C'))
                choose(0, &c);
        b = b * a;
        a = b / c;
        b = 7 * (b - c) - a;
        sum += (uint64_t)(a + b * 3 + second.count + shared_int + matrix[8][7]);
    }
    return bench_mix(sum, (uint64_t)(unsigned char)second.name[5]);
}

const struct bench_test bench_dhrystone = {
    .name = "integer/dhrystone", .run = run, .work = 12000000, .minimum = 1, .cpus = 1};
