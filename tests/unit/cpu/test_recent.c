/* test_recent.c - what is remembered of code before it is translated: decoded blocks, how often
 * they were run. */
#include "recent.h"
#include "seen.h"

#include <glib.h>
#include <string.h>

#define KEY 5u

/* A block of n instructions of two bytes each, decoded from code. */
static void keep(struct recent *r, const uint8_t *code, unsigned n)
{
    struct recent_code b = {recent_place(r), (uint16_t)n, (uint16_t)(2 * n)};

    for (unsigned k = 0; k < n; k++) {
        b.insn[k] = (struct insn){.len = 2, .mnemonic = 1, .off = (uint16_t)(2 * k)};
        memcpy(b.insn[k].bytes, code + 2 * k, 2);
    }
    b.insn[n] = (struct insn){.off = (uint16_t)(2 * n)};
    recent_keep(r, (uintptr_t)code, KEY, &b);
}

static bool known(struct recent *r, const uint8_t *code, unsigned n)
{
    struct recent_code b;

    if (!recent_find(r, (uintptr_t)code, KEY, &b))
        return false;
    g_assert_cmpuint(b.count, ==, n);
    g_assert_cmpuint(b.bytes, ==, 2 * n);
    for (unsigned k = 0; k <= n; k++)
        g_assert_cmpuint(b.insn[k].off, ==, 2 * k);
    return true;
}

static void test_a_block_is_found_while_its_bytes_are_the_same(void)
{
    struct recent *r = recent_new();
    uint8_t code[16] = {1, 2, 3, 4, 5, 6};
    struct recent_code b;

    g_assert_false(known(r, code, 3));
    keep(r, code, 3);
    g_assert_true(known(r, code, 3));
    g_assert_false(recent_find(r, (uintptr_t)code, KEY + 1, &b));
    g_assert_false(recent_find(r, (uintptr_t)code + 2, KEY, &b));
    code[6] = 1; /* behind it */
    g_assert_true(known(r, code, 3));
    code[5] = 7;
    g_assert_false(known(r, code, 3));
    code[5] = 6;
    g_assert_true(known(r, code, 3));
    recent_forget(r, (uintptr_t)code, KEY);
    g_assert_false(known(r, code, 3));
    keep(r, code, 4);
    g_assert_true(known(r, code, 4));
    recent_free(r);
}

static void test_what_is_no_instruction_is_not_remembered(void)
{
    struct recent *r = recent_new();
    uint8_t code[2] = {6, 0};
    struct recent_code b = {recent_place(r), 1, 1};

    b.insn[0] = (struct insn){.len = 1};
    b.insn[1] = (struct insn){.off = 1};
    recent_keep(r, (uintptr_t)code, KEY, &b);
    g_assert_false(recent_find(r, (uintptr_t)code, KEY, &b));
    recent_free(r);
}

/* Blocks of all lengths, many times as much as the ring holds: whatever is found is right, and the
 * newest are there. */
static void test_the_ring_forgets_the_oldest_first(void)
{
    enum { CODE = 1 << 20, NEWEST = 1000 };
    struct recent *r = recent_new();
    uint8_t *code = g_malloc(CODE);
    unsigned length[CODE / 80], found = 0;

    for (unsigned k = 0; k < CODE; k++)
        code[k] = (uint8_t)(k * 7 + (k >> 8));
    for (unsigned n = 0; n < G_N_ELEMENTS(length); n++) {
        length[n] = 1 + n * 13 % BLOCK_INSNS_MAX;
        keep(r, code + 80 * n, length[n]);
        g_assert_true(known(r, code + 80 * n, length[n]));
    }
    for (unsigned n = 0; n < G_N_ELEMENTS(length); n++)
        found += known(r, code + 80 * n, length[n]);
    g_assert_cmpuint(found, >, NEWEST);
    g_assert_cmpuint(found, <, G_N_ELEMENTS(length));
    g_assert_false(known(r, code, length[0]));
    found = 0;
    for (unsigned n = G_N_ELEMENTS(length) - NEWEST; n < G_N_ELEMENTS(length); n++)
        found += known(r, code + 80 * n, length[n]);
    g_assert_cmpuint(found, >, NEWEST * 9 / 10); /* some share a place in the index */
    g_free(code);
    recent_free(r);
}

static void test_runs_are_counted(void)
{
    struct seen *s = seen_new();

    for (unsigned n = 0; n < 6; n++)
        g_assert_cmpuint(seen_before(s, 0x1000, KEY), ==, MIN(n, SEEN_COUNT));
    g_assert_cmpuint(seen_before(s, 0x1000, KEY + 1), ==, 0);
    g_assert_cmpuint(seen_before(s, 0x1001, KEY), ==, 0);
    seen_again(s, 0x1000, KEY);
    g_assert_cmpuint(seen_before(s, 0x1000, KEY), ==, 1);
    seen_free(s);
}

/* How many of a thousand new blocks are translated at once, each of which is run `times`. */
static unsigned at_once(struct seen *s, uintptr_t *next, unsigned times)
{
    unsigned count = 0;

    for (unsigned n = 0; n < 1000; n++, *next += 24) {
        for (unsigned k = 0; k < times; k++) {
            bool now = seen_at_once(s, seen_before(s, *next, KEY));
            count += now;
            if (now)
                break; /* it does not come this way again */
        }
    }
    return count;
}

static void test_new_code_is_translated_at_once_where_it_uses_to_come_back(void)
{
    struct seen *s = seen_new();
    uintptr_t next = 0x10000;

    g_assert_cmpuint(at_once(s, &next, 3), >, 800);
    for (unsigned n = 0; n < 5; n++)
        at_once(s, &next, 1);
    g_assert_cmpuint(at_once(s, &next, 1), ==, 0); /* code that runs once */
    for (unsigned n = 0; n < 5; n++)
        at_once(s, &next, 2);
    g_assert_cmpuint(at_once(s, &next, 2), >, 800);
    seen_free(s);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define ADD(name) g_test_add_func("/cpu/recent/" #name, test_##name)
    ADD(a_block_is_found_while_its_bytes_are_the_same);
    ADD(what_is_no_instruction_is_not_remembered);
    ADD(the_ring_forgets_the_oldest_first);
    ADD(runs_are_counted);
    ADD(new_code_is_translated_at_once_where_it_uses_to_come_back);
    return g_test_run();
}
