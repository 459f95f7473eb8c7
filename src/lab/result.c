/* result.c - what an experiment has to say: notes, tables, observations, CSV files and plots, kept
 * as result.json in its directory. */
#include "lab_int.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static json_t *list_of(struct result *r, const char *key)
{
    json_t *list = json_object_get(r->o, key);
    if (!list) {
        list = json_array();
        json_object_set_new(r->o, key, list);
    }
    return list;
}

static json_t *both(const char *const text[LANGS], va_list ap)
{
    json_t *o = json_array();
    for (unsigned l = 0; l < LANGS; l++) {
        va_list copy;
        va_copy(copy, ap);
        g_autofree char *s = g_strdup_vprintf(text[l], copy);
        va_end(copy);
        json_array_append_new(o, json_string(s));
    }
    return o;
}

void result_note(struct result *r, const char *const text[LANGS], ...)
{
    va_list ap;
    va_start(ap, text);
    json_array_append_new(list_of(r, "notes"), both(text, ap));
    va_end(ap);
}

void result_observe(struct result *r, enum verdict v, const char *const theory[LANGS],
                    const char *const seen[LANGS], ...)
{
    static const char *const words[] = {"shown", "not shown", "not measured"};
    va_list ap;
    va_start(ap, seen);
    json_t *s = both(seen, ap);
    va_end(ap);
    fprintf(stderr, "      [%s] %s\n", words[v], json_string_value(json_array_get(s, EN)));
    json_array_append_new(
        list_of(r, "observations"),
        json_pack("{sss[ss]so}", "verdict", words[v], "theory", theory[EN], theory[KO], "seen", s));
}

json_t *result_table(struct result *r, const char *const title[LANGS],
                     const char *const columns[LANGS])
{
    json_t *t = json_pack("{s[ss]s[ss]s[]}", "title", title[EN], title[KO], "columns", columns[EN],
                          columns[KO], "rows");
    json_array_append_new(list_of(r, "tables"), t);
    return t;
}

void table_row(json_t *table, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    g_autofree char *text = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    json_array_append_new(json_object_get(table, "rows"), json_string(text));
}

void result_number(struct result *r, const char *key, double value)
{
    json_t *o = json_object_get(r->o, "numbers");
    if (!o) {
        o = json_object();
        json_object_set_new(r->o, "numbers", o);
    }
    if (isfinite(value)) {
        json_object_set_new(o, key, json_real(value));
    }
}

double result_get(const struct result *r, const char *key)
{
    json_t *v = json_object_get(json_object_get(r->o, "numbers"), key);
    return json_is_real(v) ? json_real_value(v) : NAN;
}

/* ---- files ---- */

FILE *result_csv(struct result *r, const char *file, const char *header)
{
    g_autofree char *path = g_build_filename(r->dir, file, NULL);
    FILE *f = fopen(path, "we");
    if (f) {
        fprintf(f, "%s\n", header);
        json_array_append_new(list_of(r, "csv"), json_string(file));
    }
    return f;
}

static bool gnuplot(struct result *r, const char *base, const char *commands, const char *terminal,
                    const char *suffix)
{
    g_autofree char *script = g_strdup_printf("%s/%s.gp", r->dir, base);
    g_autofree char *text = g_strdup_printf("set terminal %s\nset output '%s.%s'\n"
                                            "set datafile separator ','\nset grid\n%s\n",
                                            terminal, base, suffix, commands);
    char *argv[] = {"gnuplot", script, NULL};
    int status = -1;
    return g_file_set_contents(script, text, -1, NULL) &&
           g_spawn_sync(r->dir, argv, NULL, G_SPAWN_SEARCH_PATH | G_SPAWN_STDERR_TO_DEV_NULL, NULL,
                        NULL, NULL, NULL, &status, NULL) &&
           status == 0;
}

void result_plot(struct result *r, const char *base, const char *const caption[LANGS],
                 const char *commands, ...)
{
    va_list ap;
    va_start(ap, commands);
    g_autofree char *text = g_strdup_vprintf(commands, ap);
    va_end(ap);
    bool svg =
        gnuplot(r, base, text, "svg size 900,520 dynamic font 'sans,13' background 'white'", "svg");
    gnuplot(r, base, text, "pngcairo size 900,520 font 'sans,11'", "png");
    json_array_append_new(list_of(r, "plots"), json_pack("{sss[ss]sb}", "file", base, "caption",
                                                         caption[EN], caption[KO], "made", svg));
}

bool result_save(struct result *r, GError **err)
{
    g_autofree char *path = g_build_filename(r->dir, "result.json", NULL);
    return !json_dump_file(r->o, path, JSON_INDENT(1)) ||
           error_set(err, HANOK_ERROR_IO, "cannot write '%s'", path);
}
