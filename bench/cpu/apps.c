/* apps.c - programs of the distribution at everyday work; their scripts are in apps/, /bench in the
 * guest. */
#include "bench.h"
#include "corpus.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char input[] = BENCH_TMP "/input";

static void with_amount(char *program, char *script, uint64_t n)
{
    char amount[24];
    snprintf(amount, sizeof amount, "%llu", (unsigned long long)n);
    bench_command(input, BENCH_OUTPUT, (char *[]){program, script, amount, NULL});
}

/* A script that reads the corpus and takes its amount of work as argument. */
#define SCRIPT(id, test, amount, program, script)                                                  \
    static uint64_t run_##id(uint64_t n)                                                           \
    {                                                                                              \
        with_amount(program, script, n);                                                           \
        return n;                                                                                  \
    }                                                                                              \
    static void setup_##id(uint64_t n)                                                             \
    {                                                                                              \
        (void)n;                                                                                   \
        corpus_write(input, 64 << 10);                                                             \
        with_amount(program, script, 1);                                                           \
    }                                                                                              \
    BENCH_COMMAND_TEST(id, test, amount, 1)

SCRIPT(python, "apps/python", 36, "/usr/bin/python3.11", "/bench/work.py");
SCRIPT(perl, "apps/perl", 10, "/usr/bin/perl", "/bench/work.pl");
SCRIPT(shell, "apps/shell", 8, "/usr/bin/dash", "/bench/work.sh");

static void run_sql(uint64_t n)
{
    FILE *f = fopen(input, "we");
    if (!f ||
        fprintf(
            f,
            "CREATE TABLE amount(n INT); INSERT INTO amount VALUES(%llu);\n.read /bench/work.sql\n",
            (unsigned long long)n) < 0 ||
        fclose(f))
        bench_fail("cannot write %s: %s", input, strerror(errno));
    unlink(BENCH_TMP "/bench.db");
    bench_command(input, BENCH_OUTPUT,
                  (char *[]){"/usr/bin/sqlite3", "-batch", BENCH_TMP "/bench.db", NULL});
}

static void setup_sqlite(uint64_t n)
{
    (void)n;
    run_sql(10);
}

static uint64_t run_sqlite(uint64_t n)
{
    run_sql(n);
    return n;
}

BENCH_COMMAND_TEST(sqlite, "apps/sqlite", 60000, 10);

/* The compiler proper over preprocessed files of this program. */
static void compile(const char *name)
{
    char source[64];
    snprintf(source, sizeof source, "/bench/%s.i", name);
    char *argv[] = {"/usr/lib/gcc/x86_64-linux-gnu/12/cc1",
                    "-quiet",
                    "-O2",
                    "-fpreprocessed",
                    source,
                    "-o",
                    (char *)BENCH_OUTPUT,
                    NULL};
    bench_command(NULL, NULL, argv);
}

static void setup_cc1(uint64_t n)
{
    (void)n;
    compile("fib");
}

static uint64_t run_cc1(uint64_t n)
{
    static const char *const names[] = {"coremark", "cold", "dhrystone", "main"};
    for (uint64_t i = 0; i < n; i++)
        compile(names[i % 4]);
    return n;
}

BENCH_COMMAND_TEST(cc1, "apps/cc1", 4, 1);
