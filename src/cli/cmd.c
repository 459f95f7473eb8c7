/* cmd.c - words to options, help, tables. */
#include "cmd.h"

#include "base/log.h"
#include "base/util.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- saying ---- */

int cmd_fail(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    g_autofree char *text = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    fflush(stdout);
    log_error("%s", text);
    return 1;
}

int cmd_error(GError **err)
{
    int status = cmd_fail("%s", *err ? (*err)->message : "it did not work, and nobody says why");
    g_clear_error(err);
    return status;
}

void cmd_say(struct cmd *c, const char *fmt, ...)
{
    if (c->quiet) {
        return;
    }
    va_list ap;
    va_start(ap, fmt);
    vprintf(fmt, ap);
    va_end(ap);
    putchar('\n');
}

int cmd_json(json_t *o)
{
    json_dumpf(o, stdout, JSON_INDENT(2) | JSON_ENCODE_ANY);
    putchar('\n');
    json_decref(o);
    return 0;
}

char *json_text(json_t *v)
{
    switch (json_typeof(v ? v : json_null())) {
    case JSON_STRING:
        return g_strdup(json_string_value(v));
    case JSON_INTEGER:
        return g_strdup_printf("%" JSON_INTEGER_FORMAT, json_integer_value(v));
    case JSON_REAL:
        return g_strdup_printf("%.1f", json_real_value(v));
    case JSON_TRUE:
        return g_strdup("yes");
    case JSON_FALSE:
        return g_strdup("no");
    default:
        return g_strdup("-");
    }
}

int cmd_table(struct cmd *c, const struct column *columns, json_t *rows)
{
    json_t *row;
    size_t i, widths[16] = {0}, total = 0;
    unsigned n = 0;
    if (c->json) {
        return cmd_json(rows);
    }
    for (; columns[n].key; n++) {
        widths[n] = g_utf8_strlen(columns[n].title, -1);
    }
    json_array_foreach(rows, i, row)
    {
        for (unsigned k = 0; k < n; k++) {
            g_autofree char *text = json_text(json_object_get(row, columns[k].key));
            widths[k] = MAX_OF(widths[k], (size_t)g_utf8_strlen(text, -1));
        }
    }
    for (unsigned k = 0; k < n; k++) {
        printf(" %s", columns[k].title);
        if (k + 1 < n) {
            printf("%*s", (int)(widths[k] - g_utf8_strlen(columns[k].title, -1)) + 2, "");
        }
        total += widths[k] + 3;
    }
    putchar('\n');
    for (size_t k = 0; k < total; k++) {
        putchar('-');
    }
    putchar('\n');
    json_array_foreach(rows, i, row)
    {
        for (unsigned k = 0; k < n; k++) {
            g_autofree char *text = json_text(json_object_get(row, columns[k].key));
            printf(" %s", text);
            if (k + 1 < n) {
                printf("%*s", (int)(widths[k] - g_utf8_strlen(text, -1)) + 2, "");
            }
        }
        putchar('\n');
    }
    json_decref(rows);
    return 0;
}

int cmd_lines(struct cmd *c, const struct column *lines, unsigned width, json_t *o)
{
    if (c->json) {
        return cmd_json(o);
    }
    for (const struct column *l = lines; l->key; l++) {
        json_t *v = json_object_get(o, l->key);
        if (v) {
            g_autofree char *text = json_text(v);
            printf("%-*s %s\n", (int)width - 1, l->title, text);
        }
    }
    json_decref(o);
    return 0;
}

/* ---- options ---- */

static const struct opt *find_opt(const struct verb *v, const char *name)
{
    for (const struct opt *o = v->opts; o && o->name; o++) {
        if (!strcmp(o->name, name)) {
            return o;
        }
    }
    return NULL;
}

static void add_value(struct cmd *c, const char *name, const char *value)
{
    GPtrArray *list = g_hash_table_lookup(c->values, name);
    if (!list) {
        list = g_ptr_array_new_with_free_func(g_free);
        g_hash_table_insert(c->values, g_strdup(name), list);
    }
    g_ptr_array_add(list, g_strdup(value));
}

static int unknown_option(struct cmd *c, const char *name)
{
    const char *names[64];
    size_t n = 0;
    for (const struct opt *o = c->verb->opts; o && o->name && n < ARRAY_SIZE(names); o++) {
        names[n++] = o->name;
    }
    g_autofree char *near = n ? error_nearest(name, names, n) : NULL;
    return cmd_fail("%s has no option '--%s'%s%s; 'hanok help %s' lists them", c->verb->name, name,
                    near ? "; did you mean " : "", near ? near : "", c->verb->name);
}

static bool takes_short(const struct verb *v, char letter, const char **name)
{
    /* virt-clone's letters; virsh has none */
    static const struct {
        char letter;
        const char *name;
    } shorts[] = {{'o', "original"}, {'n', "name"},       {'f', "file"}, {'m', "mac"},
                  {'b', "batch"},    {'n', "iterations"}, {'d', "delay"}};
    for (unsigned i = 0; i < ARRAY_SIZE(shorts); i++) {
        if (shorts[i].letter == letter && find_opt(v, shorts[i].name)) {
            *name = shorts[i].name;
            return true;
        }
    }
    return false;
}

static int named_option(struct cmd *c, int argc, char **argv, int *i)
{
    const char *word = argv[*i] + (argv[*i][1] == '-' ? 2 : 1);
    g_autofree char *name = g_strndup(word, strcspn(word, "="));
    const char *value = word[strlen(name)] == '=' ? word + strlen(name) + 1 : NULL, *full = NULL;
    if (argv[*i][1] != '-' && strlen(name) == 1 && takes_short(c->verb, *name, &full)) {
        g_free(name);
        name = g_strdup(full);
    }
    if (!strcmp(name, "json") && c->verb->json && !value) {
        c->json = true;
        return 0;
    }
    const struct opt *o = find_opt(c->verb, name);
    if (!o) {
        return unknown_option(c, name);
    }
    if (o->flags & OPT_FLAG) {
        if (value) {
            return cmd_fail("--%s takes no value", name);
        }
        add_value(c, name, "");
        return 0;
    }
    bool next = *i + 1 < argc && !((o->flags & OPT_MAYBE) && argv[*i + 1][0] == '-');
    if (!value && !next && (o->flags & OPT_MAYBE)) {
        value = "";
    }
    if (!value && !next) {
        return cmd_fail("--%s needs a value", name);
    }
    if (!(o->flags & OPT_MANY) && g_hash_table_contains(c->values, name)) {
        return cmd_fail("--%s is given twice", name);
    }
    add_value(c, name, value ? value : argv[++*i]);
    return 0;
}

static int positional(struct cmd *c, const char *word)
{
    for (const struct opt *o = c->verb->opts; o && o->name; o++) {
        bool fits = !(o->flags & (OPT_FLAG | OPT_NAMED)) &&
                    ((o->flags & OPT_MANY) || !g_hash_table_contains(c->values, o->name));
        if (fits) {
            add_value(c, o->name, word);
            return 0;
        }
    }
    return cmd_fail("%s does not know what to do with '%s'; 'hanok help %s' shows how it is used",
                    c->verb->name, word, c->verb->name);
}

static int parse(struct cmd *c, int argc, char **argv)
{
    bool only_words = false;
    for (int i = 1; i < argc; i++) {
        int status;
        if (!g_utf8_validate(argv[i], -1, NULL)) {
            return cmd_fail("an argument is not valid UTF-8 text");
        }
        if (!only_words && !strcmp(argv[i], "--")) {
            only_words = true;
            continue;
        }
        if (!only_words && argv[i][0] == '-' && argv[i][1]) {
            status = named_option(c, argc, argv, &i);
        } else {
            status = positional(c, argv[i]);
        }
        if (status) {
            return status;
        }
    }
    for (const struct opt *o = c->verb->opts; o && o->name; o++) {
        if ((o->flags & OPT_REQUIRED) && !g_hash_table_contains(c->values, o->name)) {
            return cmd_fail("%s needs --%s (%s); 'hanok help %s' shows how it is used",
                            c->verb->name, o->name, o->help, c->verb->name);
        }
    }
    return 0;
}

const char *cmd_str(struct cmd *c, const char *name)
{
    GPtrArray *list = g_hash_table_lookup(c->values, name);
    return list ? list->pdata[list->len - 1] : NULL;
}

GPtrArray *cmd_all(struct cmd *c, const char *name)
{
    return g_hash_table_lookup(c->values, name);
}

bool cmd_flag(struct cmd *c, const char *name)
{
    return g_hash_table_contains(c->values, name);
}

bool cmd_number(struct cmd *c, const char *name, int64_t *out)
{
    const char *text = cmd_str(c, name);
    char *end = NULL;
    if (!text) {
        return true;
    }
    errno = 0;
    gint64 v = g_ascii_strtoll(text, &end, 0);
    if (errno || end == text || *end) {
        cmd_fail("--%s is a number, not '%s'", name, text);
        return false;
    }
    *out = v;
    return true;
}

bool cmd_kib(struct cmd *c, const char *name, int64_t *out)
{
    const char *text = cmd_str(c, name);
    char *end = NULL;
    if (!text) {
        return true;
    }
    double v = g_ascii_strtod(text, &end);
    double factor = 1;
    static const struct {
        const char *unit;
        double kib;
    } units[] = {{"", 1},          {"k", 1},          {"KiB", 1},       {"M", 1 << 10},
                 {"MiB", 1 << 10}, {"G", 1 << 20},    {"GiB", 1 << 20}, {"T", 1 << 30},
                 {"TiB", 1 << 30}, {"b", 1.0 / 1024}, {"B", 1.0 / 1024}};
    bool known = false;
    for (unsigned i = 0; i < ARRAY_SIZE(units); i++) {
        if (!g_ascii_strcasecmp(end, units[i].unit)) {
            factor = units[i].kib;
            known = true;
        }
    }
    if (end == text || !known || v < 0 || v * factor > 1e15) {
        cmd_fail("--%s is a size such as 1048576 (KiB), 512M or 2G, not '%s'", name, text);
        return false;
    }
    *out = (int64_t)(v * factor);
    return true;
}

struct store *cmd_store(struct cmd *c)
{
    g_autoptr(GError) err = NULL;
    if (!c->store) {
        const char *uri = c->uri;
        uri = uri ? uri : g_getenv("HANOK_DEFAULT_URI");
        uri = uri && *uri ? uri : g_getenv("LIBVIRT_DEFAULT_URI");
        c->store = store_open(uri && *uri ? uri : NULL, &err);
        if (!c->store) {
            cmd_error(&err);
        }
    }
    return c->store;
}

struct vm *cmd_vm(struct cmd *c)
{
    g_autoptr(GError) err = NULL;
    struct store *s = cmd_store(c);
    struct vm *vm = s ? vm_find(s, cmd_str(c, "domain"), &err) : NULL;
    if (s && !vm) {
        cmd_error(&err);
    }
    return vm;
}

struct vm *cmd_active_vm(struct cmd *c)
{
    g_autoptr(GError) err = NULL;
    struct vm *vm = cmd_vm(c);
    if (vm && !vm_need_active(vm, &err)) {
        cmd_error(&err);
        vm_free(vm);
        return NULL;
    }
    return vm;
}

/* ---- help ---- */

const struct verb_group *const verb_groups[] = {
    &life_verbs,   &define_verbs, &info_verbs,    &stats_verbs, &lab_verbs,  &tune_verbs,
    &device_verbs, &guest_verbs,  &storage_verbs, &make_verbs,  &host_verbs, NULL};

static const struct verb *find_verb(const char *name)
{
    for (unsigned g = 0; verb_groups[g]; g++) {
        for (const struct verb *v = verb_groups[g]->verbs; v->name; v++) {
            if (!strcmp(v->name, name)) {
                return v;
            }
        }
    }
    return NULL;
}

/* What virsh has and this program does not, by the beginning of its name. */
static const char *elsewhere(const char *name)
{
    static const char *const what[][2] = {
        {"net-", "it keeps no networks: <interface type='user'> needs none, and type='bridge' uses "
                 "a bridge of the host's"},
        {"nwfilter", "it filters no packets"},
        {"snapshot", "snapshots of machines are not there yet; 'hanok-img snapshot' makes one of "
                     "an image that is not in use"},
        {"save", "a machine's state is not kept yet; 'hanok suspend' holds it in memory"},
        {"restore", "a machine's state is not kept yet"},
        {"managedsave", "a machine's state is not kept yet; 'hanok suspend' holds it in memory"},
        {"migrate", "machines do not move to another host yet"},
        {"secret-", "it keeps no secrets"},
        {"blockcommit",
         "block jobs are not there yet; 'hanok-img commit' works on images not in use"},
        {"blockpull",
         "block jobs are not there yet; 'hanok-img rebase' works on images not in use"},
        {"blockcopy", "block jobs are not there yet; 'hanok-img convert' copies images not in use"},
        {"blockjob", "block jobs are not there yet"},
    };
    for (unsigned i = 0; i < ARRAY_SIZE(what); i++) {
        if (g_str_has_prefix(name, what[i][0])) {
            return what[i][1];
        }
    }
    return NULL;
}

static int unknown_verb(const char *name)
{
    g_autoptr(GPtrArray) names = g_ptr_array_new();
    const char *why = elsewhere(name);
    if (why) {
        return cmd_fail("there is no verb '%s': %s", name, why);
    }
    for (unsigned g = 0; verb_groups[g]; g++) {
        for (const struct verb *v = verb_groups[g]->verbs; v->name; v++) {
            g_ptr_array_add(names, (gpointer)v->name);
        }
    }
    g_autofree char *near = error_nearest(name, (const char *const *)names->pdata, names->len);
    return strstr(near, ", ...") /* no name is near */
               ? cmd_fail("there is no verb '%s'; 'hanok help' lists them", name)
               : cmd_fail("there is no verb '%s'; did you mean %s? 'hanok help' lists them", name,
                          near);
}

static void help_verb(const struct verb *v)
{
    printf("  NAME\n    %s - %s\n\n  SYNOPSIS\n    hanok %s", v->name, v->help, v->name);
    for (const struct opt *o = v->opts; o && o->name; o++) {
        bool needed = o->flags & OPT_REQUIRED, flag = o->flags & OPT_FLAG;
        if (flag || (o->flags & OPT_NAMED)) {
            printf(" [--%s%s]", o->name, flag ? "" : " VALUE");
        } else {
            printf(needed ? " <%s>" : " [%s]", o->name);
        }
    }
    printf("%s\n", v->json ? " [--json]" : "");
    if (v->opts && v->opts->name) {
        printf("\n  OPTIONS\n");
    }
    for (const struct opt *o = v->opts; o && o->name; o++) {
        g_autofree char *left =
            g_strdup_printf("--%s%s", o->name, o->flags & OPT_FLAG ? "" : " <value>");
        printf("    %-28s %s\n", left, o->help);
    }
    if (v->example) {
        printf("\n  EXAMPLE\n    %s\n", v->example);
    }
}

/* For completions: plain words, one a line. */
static int help_words(const char *verb)
{
    const struct verb *one = verb ? find_verb(verb) : NULL;
    for (const struct opt *o = one ? one->opts : NULL; o && o->name; o++) {
        printf("--%s\n", o->name);
    }
    if (one && one->json) {
        puts("--json");
    }
    for (unsigned g = 0; !verb && verb_groups[g]; g++) {
        for (const struct verb *v = verb_groups[g]->verbs; v->name; v++) {
            puts(v->name);
        }
    }
    return 0;
}

int cmd_help(struct cmd *c)
{
    const char *name = cmd_str(c, "verb");
    if (cmd_flag(c, "words")) {
        return help_words(name);
    }
    if (name) {
        const struct verb *v = find_verb(name);
        if (!v) {
            return unknown_verb(name);
        }
        help_verb(v);
        return 0;
    }
    puts("hanok - virtual machines on this host\nusage: hanok [-c URI] [-q] VERB [OPTION...]");
    for (unsigned g = 0; verb_groups[g]; g++) {
        printf("\n %s\n", verb_groups[g]->title);
        for (const struct verb *v = verb_groups[g]->verbs; v->name; v++) {
            printf("    %-22s %s\n", v->name, v->help);
        }
    }
    puts("\n'hanok help VERB' tells more about one. Verbs and options are virsh's, virt-install's "
         "and "
         "virt-clone's.\nVerbs that read take --json.");
    return 0;
}

int cmd_main(int argc, char **argv, const char *uri, bool quiet)
{
    const struct verb *v = find_verb(argv[0]);
    if (!v) {
        return unknown_verb(argv[0]);
    }
    struct cmd c = {.verb = v, .uri = uri, .quiet = quiet};
    if (argc > 1 && !strcmp(argv[1], "--help")) {
        help_verb(v);
        return 0;
    }
    c.values =
        g_hash_table_new_full(g_str_hash, g_str_equal, g_free, (GDestroyNotify)g_ptr_array_unref);
    int status = parse(&c, argc, argv);
    if (!status) {
        status = v->run(&c);
        if (!status && !c.json && !quiet && isatty(1)) {
            putchar('\n');
        }
    }
    store_close(c.store);
    g_hash_table_destroy(c.values);
    if (fflush(stdout) || ferror(stdout)) {
        struct pollfd out = {.fd = 1, .events = POLLOUT};
        if (poll(&out, 1, 0) == 1 && (out.revents & POLLERR)) {
            return 1; /* a pipe whose reader has seen enough: head, less */
        }
        return cmd_fail("could not write to standard output");
    }
    return status;
}

/* ---- shared by verbs ---- */

char *read_input(const char *path, GError **err)
{
    char *text = NULL;
    g_autoptr(GError) why = NULL;
    if (g_file_get_contents(!strcmp(path, "-") ? "/dev/stdin" : path, &text, NULL, &why)) {
        return text;
    }
    error_set(err, HANOK_ERROR_IO, "%s", why->message);
    return NULL;
}

bool confirm(const char *question)
{
    char answer[16] = "";
    fprintf(stderr, "%s [y/N] ", question);
    return fgets(answer, sizeof(answer), stdin) && (*answer == 'y' || *answer == 'Y');
}

struct qmp *vm_monitor_or_say(struct vm *vm)
{
    g_autoptr(GError) err = NULL;
    struct qmp *q = vm_qmp(vm, &err);
    if (!q) {
        cmd_error(&err);
    }
    return q;
}

char *image_tool(void)
{
    char *path = program_beside("hanok-img");
    return path ? path : g_strdup("hanok-img");
}

bool run_tool(char *const *argv, char **out, GError **err)
{
    g_autofree char *said = NULL, *text = NULL;
    int status = 0;
    if (!g_spawn_sync(NULL, (char **)argv, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, &text, &said,
                      &status, err)) {
        return false;
    }
    if (!g_spawn_check_wait_status(status, NULL)) {
        g_autofree char *base = g_path_get_basename(argv[0]);
        g_strchomp(said);
        return error_set(err, HANOK_ERROR_IO, "%s", *said ? said : base);
    }
    if (out) {
        *out = g_steal_pointer(&text);
    }
    return true;
}
