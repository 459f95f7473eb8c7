/* report.c - the results of a directory as one HTML page in each language. */
#include "lab_int.h"

#include <string.h>

struct page {
    GString *out;
    unsigned lang;
    const char *dir;
};

static const char *const verdict_words[LANGS][3] = {
    {"shown", "not shown here", "not measured"},
    {"확인됨", "이번 측정에서는 보이지 않음", "측정하지 않음"}};

static const char style[] =
    "body{font-family:sans-serif;max-width:62rem;margin:2rem auto;padding:0 1rem;line-height:1.5}"
    "table{border-collapse:collapse;margin:1rem 0}td,th{border:1px solid #bbb;padding:.25rem .6rem;"
    "text-align:right}td:first-child,th:first-child{text-align:left}img{max-width:100%}"
    ".shown{color:#06662a}.not{color:#a33}.none{color:#777}figcaption{color:#444}"
    "caption{text-align:left;font-weight:bold}";

static void text(struct page *p, const char *s)
{
    g_autofree char *e = g_markup_escape_text(s ? s : "", -1);
    g_string_append(p->out, e);
}

static const char *in_lang(const struct page *p, json_t *o, const char *key)
{
    return json_string_value(json_array_get(json_object_get(o, key), p->lang));
}

static void cells(struct page *p, const char *line, const char *tag)
{
    g_auto(GStrv) cell = g_strsplit(line ? line : "", "|", -1);
    g_string_append(p->out, "<tr>");
    for (char **c = cell; *c; c++) {
        g_string_append_printf(p->out, "<%s>", tag);
        text(p, *c);
        g_string_append_printf(p->out, "</%s>", tag);
    }
    g_string_append(p->out, "</tr>\n");
}

static void put_table(struct page *p, json_t *t)
{
    json_t *row;
    size_t i;
    g_string_append(p->out, "<table><caption>");
    text(p, in_lang(p, t, "title"));
    g_string_append(p->out, "</caption>\n");
    cells(p, in_lang(p, t, "columns"), "th");
    json_array_foreach(json_object_get(t, "rows"), i, row)
    {
        cells(p, json_string_value(row), "td");
    }
    g_string_append(p->out, "</table>\n");
}

static void put_observation(struct page *p, json_t *o)
{
    const char *v = json_string_value(json_object_get(o, "verdict"));
    unsigned n = !g_strcmp0(v, "shown") ? 0 : !g_strcmp0(v, "not shown") ? 1 : 2;
    static const char *const class[] = {"shown", "not", "none"};
    g_string_append(p->out, "<li>");
    text(p, in_lang(p, o, "theory"));
    g_string_append_printf(p->out, "<br><b class='%s'>%s</b>: ", class[n],
                           verdict_words[p->lang][n]);
    text(p, in_lang(p, o, "seen"));
    g_string_append(p->out, "</li>\n");
}

static void put_plot(struct page *p, const char *name, json_t *o)
{
    const char *file = json_string_value(json_object_get(o, "file"));
    g_string_append(p->out, "<figure>");
    if (json_is_true(json_object_get(o, "made"))) {
        g_string_append_printf(p->out, "<img src='%s/%s.svg' alt='%s'>", name, file, file);
    } else {
        text(p, p->lang == KO
                    ? "(gnuplot이 없어 그림을 만들지 못했습니다. 수치는 CSV 파일에 있습니다.)"
                    : "(No picture: gnuplot is missing. The numbers are in the CSV file.)");
    }
    g_string_append(p->out, "<figcaption>");
    text(p, in_lang(p, o, "caption"));
    g_string_append(p->out, "</figcaption></figure>\n");
}

static void put_result(struct page *p, json_t *r)
{
    const char *name = json_string_value(json_object_get(r, "name"));
    json_t *one;
    size_t i;
    g_string_append_printf(p->out, "<h2 id='%s'>", name);
    text(p, in_lang(p, r, "title"));
    g_string_append(p->out, "</h2>\n<p>");
    text(p, in_lang(p, r, "intro"));
    g_string_append(p->out, "</p>\n");
    json_array_foreach(json_object_get(r, "plots"), i, one)
    {
        put_plot(p, name, one);
    }
    json_array_foreach(json_object_get(r, "tables"), i, one)
    {
        put_table(p, one);
    }
    g_string_append_printf(p->out, "<h3>%s</h3><ul>\n",
                           p->lang == KO ? "이론과 관찰" : "Theory and observation");
    json_array_foreach(json_object_get(r, "observations"), i, one)
    {
        put_observation(p, one);
    }
    g_string_append(p->out, "</ul>\n");
    json_array_foreach(json_object_get(r, "notes"), i, one)
    {
        g_string_append(p->out, "<p>");
        text(p, json_string_value(json_array_get(one, p->lang)));
        g_string_append(p->out, "</p>\n");
    }
    json_array_foreach(json_object_get(r, "csv"), i, one)
    {
        g_string_append_printf(p->out, "<a href='%s/%s'>%s</a> ", name, json_string_value(one),
                               json_string_value(one));
    }
}

static bool write_page(const char *dir, unsigned lang, GError **err)
{
    struct page p = {.out = g_string_new(NULL), .lang = lang, .dir = dir};
    const char *title = lang == KO ? "Hanok 실험실" : "Hanok's laboratory";
    unsigned found = 0;
    g_string_append_printf(p.out,
                           "<!DOCTYPE html>\n<html lang='%s'><head><meta charset='utf-8'>"
                           "<title>%s</title><style>%s</style></head><body><h1>%s</h1>\n",
                           lang == KO ? "ko" : "en", title, style, title);
    for (const char *const *n = lab_names(); *n; n++) {
        g_autofree char *path = g_build_filename(dir, *n, "result.json", NULL);
        json_t *r = json_load_file(path, 0, NULL);
        if (r) {
            put_result(&p, r);
            found++;
        }
        json_decref(r);
    }
    g_string_append(p.out, "</body></html>\n");
    g_autofree char *file =
        g_build_filename(dir, lang == KO ? "index.ko.html" : "index.html", NULL);
    bool ok =
        found ? g_file_set_contents(file, p.out->str, -1, err)
              : error_set(err, HANOK_ERROR_NOT_FOUND,
                          "there are no results in '%s' yet; 'hanok lab run all' makes them", dir);
    g_string_free(p.out, TRUE);
    return ok;
}

bool lab_report(const char *output, GError **err)
{
    return write_page(output, EN, err) && write_page(output, KO, err);
}
