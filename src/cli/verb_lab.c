/* verb_lab.c - hanok lab: experiments that show what a machine is. */
#include "cmd.h"

#include "lab/lab.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

static unsigned language(struct cmd *c)
{
    return !g_strcmp0(cmd_str(c, "lang"), "ko");
}

static int lab_list(struct cmd *c)
{
    static const struct column columns[] = {{"name", "Name"}, {"title", "What it shows"}, {NULL}};
    json_t *rows = json_array();
    for (const char *const *n = lab_names(); *n; n++) {
        json_array_append_new(rows,
                              json_pack("{ssss}", "name", *n, "title", lab_title(*n, language(c))));
    }
    return cmd_table(c, columns, rows);
}

static char *output_dir(struct cmd *c)
{
    const char *given = cmd_str(c, "output");
    return given ? g_strdup(given) : g_build_filename(g_get_user_state_dir(), "hanok", "lab", NULL);
}

static int say_where(struct cmd *c, const char *dir)
{
    g_autofree char *real = g_canonicalize_filename(dir, NULL);
    if (c->json) {
        return cmd_json(json_pack("{ssss}", "en", g_strdup_printf("%s/index.html", real), "ko",
                                  g_strdup_printf("%s/index.ko.html", real)));
    }
    printf("%s/index.%shtml\n", real, language(c) ? "ko." : "");
    return 0;
}

static int lab_do_report(struct cmd *c)
{
    g_autoptr(GError) err = NULL;
    g_autofree char *dir = output_dir(c);
    return lab_report(dir, &err) ? say_where(c, dir) : cmd_error(&err);
}

static int lab_do_run(struct cmd *c)
{
    g_autoptr(GError) err = NULL;
    g_autofree char *dir = output_dir(c);
    int64_t pcpu = -1;
    struct lab_options o = {.accel = cmd_str(c, "accel"),
                            .quick = cmd_flag(c, "quick"),
                            .raise = cmd_flag(c, "raise"),
                            .guest = cmd_str(c, "guest"),
                            .output = dir};
    if (!cmd_str(c, "name")) {
        return cmd_fail("'hanok lab run' needs the name of an experiment, or all; 'hanok lab list' "
                        "shows them");
    }
    if (cmd_str(c, "pcpu") && (!cmd_number(c, "pcpu", &pcpu) || pcpu < 0)) {
        return cmd_fail("--pcpu is the number of a host CPU");
    }
    o.pcpu = (int)pcpu;
    return lab_run(cmd_str(c, "name"), &o, &err) ? say_where(c, dir) : cmd_error(&err);
}

static int do_lab(struct cmd *c)
{
    static const struct {
        const char *word;
        int (*run)(struct cmd *c);
    } actions[] = {{"list", lab_list}, {"run", lab_do_run}, {"report", lab_do_report}};
    const char *what = cmd_str(c, "action"), *lang = cmd_str(c, "lang");
    if (lang && strcmp(lang, "en") && strcmp(lang, "ko")) {
        return cmd_fail("--lang is en or ko, not '%s'", lang);
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(actions); i++) {
        if (!strcmp(what, actions[i].word)) {
            return actions[i].run(c);
        }
    }
    return cmd_fail("'hanok lab' takes list, run or report, not '%s'", what);
}

static const struct opt lab_opts[] = {
    {"action", "list, run or report", OPT_REQUIRED},
    {"name", "an experiment, or all", 0},
    {"accel", "how the guests run (jit)", OPT_NAMED},
    {"pcpu", "the host CPU for what is pinned (the last one)", OPT_NAMED},
    {"quick", "seconds instead of minutes", OPT_FLAG},
    {"raise", "machines and loops before the host's other programs (needs root)", OPT_FLAG},
    {"output", "directory of results (~/.local/state/hanok/lab)", OPT_NAMED},
    {"guest", "directory of the lab's guests", OPT_NAMED},
    {"lang", "en or ko", OPT_NAMED},
    {NULL}};

static const struct verb verbs[] = {{"lab", "experiments that show what a virtual machine is", true,
                                     do_lab, lab_opts, "hanok lab run steal --quick"},
                                    {NULL}};
const struct verb_group lab_verbs = {"Laboratory", verbs};
