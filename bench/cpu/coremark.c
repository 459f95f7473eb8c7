/* coremark.c - the mix of small embedded kernels: linked lists, small matrices, a state machine,
 * CRC. */
#include "bench.h"

#include <stdlib.h>

enum { ITEMS = 200, SIDE = 12, TEXT = 480 };

struct item {
    struct item *next;
    int16_t key, tag;
};

static struct item items[ITEMS];
static int16_t left[SIDE][SIDE], right[SIDE][SIDE];
static int32_t product[SIDE][SIDE];
static char text[TEXT];

static __attribute__((noinline)) uint16_t crc16(uint32_t value, uint16_t crc)
{
    for (int bit = 0; bit < 32; bit++) {
        int odd = (crc ^ (uint16_t)value) & 1;
        crc >>= 1;
        if (odd)
            crc ^= 0xa001;
        value >>= 1;
    }
    return crc;
}

static struct item *merge(struct item *a, struct item *b)
{
    struct item head, *tail = &head;
    while (a && b) {
        struct item **least = a->key <= b->key ? &a : &b;
        tail->next = *least;
        tail = *least;
        *least = (*least)->next;
    }
    tail->next = a ? a : b;
    return head.next;
}

static struct item *sort(struct item *list)
{
    if (!list || !list->next)
        return list;
    struct item *slow = list, *fast = list->next;
    while (fast && fast->next) {
        slow = slow->next;
        fast = fast->next->next;
    }
    struct item *second = slow->next;
    slow->next = NULL;
    return merge(sort(list), sort(second));
}

static struct item *reverse(struct item *list)
{
    struct item *done = NULL;
    while (list) {
        struct item *next = list->next;
        list->next = done;
        done = list;
        list = next;
    }
    return done;
}

static __attribute__((noinline)) uint16_t lists(uint32_t seed, uint16_t crc)
{
    for (int i = 0; i < ITEMS; i++) {
        items[i].next = i + 1 < ITEMS ? &items[i + 1] : NULL;
        items[i].key = (int16_t)((seed * 2654435761u + (uint32_t)i * 40503u) >> 9);
        items[i].tag = (int16_t)i;
    }
    struct item *list = reverse(sort(items));
    for (int wanted = 0; wanted < 32; wanted++) {
        struct item *at = list;
        while (at && at->tag != wanted * 5)
            at = at->next;
        crc = crc16(at ? (uint32_t)at->key : 0, crc);
    }
    return crc;
}

static __attribute__((noinline)) uint16_t matrices(uint32_t seed, uint16_t crc)
{
    for (int i = 0; i < SIDE; i++)
        for (int j = 0; j < SIDE; j++) {
            left[i][j] = (int16_t)(seed + (uint32_t)(i * 7 + j));
            right[i][j] = (int16_t)(seed ^ (uint32_t)(i + j * 11));
        }
    int32_t sum = 0;
    for (int i = 0; i < SIDE; i++)
        for (int j = 0; j < SIDE; j++) {
            int32_t cell = 0;
            for (int k = 0; k < SIDE; k++)
                cell += left[i][k] * right[k][j];
            product[i][j] = cell;
            sum += cell >> 3 & 0x7f;
        }
    return crc16((uint32_t)sum, crc);
}

enum state { START, SIGN, INTEGER, POINT, FRACTION, EXPONENT, BAD, STATES };

static enum state step(enum state state, char c)
{
    int digit = c >= '0' && c <= '9';
    switch (state) {
    case START:
        return digit ? INTEGER : c == '-' || c == '+' ? SIGN : c == '.' ? POINT : BAD;
    case SIGN:
        return digit ? INTEGER : c == '.' ? POINT : BAD;
    case INTEGER:
        return digit ? INTEGER : c == '.' ? FRACTION : c == 'e' ? EXPONENT : BAD;
    case POINT:
    case FRACTION:
        return digit ? FRACTION : c == 'e' ? EXPONENT : BAD;
    case EXPONENT:
        return digit || c == '-' ? EXPONENT : BAD;
    default:
        return BAD;
    }
}

static __attribute__((noinline)) uint16_t numbers(uint32_t seed, uint16_t crc)
{
    static const char *const words[] = {"5012",     "-874",     "+122",     "35.54400", ".1234500",
                                        "5.500e+3", "-.123e-2", "T0.3e-1F", "-T.T++Tq", "1T3.4e4z"};
    int at = 0;
    for (uint32_t i = seed; at < TEXT - 10; i = i * 5 + 3) {
        for (const char *w = words[i % 10]; *w;)
            text[at++] = *w++;
        text[at++] = ',';
    }
    text[at] = 0;
    uint32_t finals[STATES] = {0};
    enum state state = START;
    for (const char *c = text; *c; c++) {
        if (*c == ',') {
            finals[state]++;
            state = START;
        } else {
            state = step(state, *c);
        }
    }
    for (int i = 0; i < STATES; i++)
        crc = crc16(finals[i], crc);
    return crc;
}

static uint64_t run(uint64_t n)
{
    uint64_t sum = 0;
    uint16_t crc = 0;
    for (uint64_t i = 0; i < n; i++) {
        crc = lists((uint32_t)i, crc);
        crc = matrices((uint32_t)i, crc);
        crc = numbers((uint32_t)i, crc);
        sum = bench_mix(sum, crc);
    }
    return sum;
}

const struct bench_test bench_coremark = {
    .name = "integer/coremark", .run = run, .work = 20000, .minimum = 1, .cpus = 1};
