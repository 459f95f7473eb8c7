/* verb_define.c - definitions: made, shown, changed, removed. */
#include "cmd.h"
#include "scope.h"

#include "base/util.h"
#include "manager/argv.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- define, create ---- */

static struct domain *load_file(struct cmd *c, const char *path, GError **err)
{
    g_autofree char *text = read_input(path, err);
    if (!text) {
        return NULL;
    }
    if (!cmd_flag(c, "lenient")) {
        return domain_load(text, err);
    }
    g_autoptr(GPtrArray) aside = NULL;
    struct domain *d = domain_load_lenient(text, &aside, err);
    for (unsigned i = 0; d && i < aside->len; i++) {
        const struct xml_aside *a = aside->pdata[i];
        fprintf(stderr, "hanok: line %u: %s is not known; kept aside in <metadata>\n", a->line,
                a->path);
    }
    return d;
}

static int do_define(struct cmd *c)
{
    g_autoptr(GError) err = NULL;
    struct store *s = cmd_store(c);
    DOMAIN_AUTO d = s ? load_file(c, cmd_str(c, "file"), &err) : NULL;
    if (!s) {
        return 1;
    }
    if (!d || (!cmd_flag(c, "check") && !vm_define(s, d, NULL, &err))) {
        return cmd_error(&err);
    }
    if (cmd_flag(c, "check")) {
        cmd_say(c, "Domain '%s' in %s is valid", d->name, cmd_str(c, "file"));
        return 0;
    }
    cmd_say(c, "Domain '%s' defined from %s", d->name, cmd_str(c, "file"));
    return 0;
}

static int do_create(struct cmd *c)
{
    g_autoptr(GError) err = NULL;
    struct store *s = cmd_store(c);
    DOMAIN_AUTO d = s ? load_file(c, cmd_str(c, "file"), &err) : NULL;
    if (!s) {
        return 1;
    }
    if (!d) {
        return cmd_error(&err);
    }
    VM_AUTO vm = vm_find(s, d->name, NULL);
    if (vm) {
        return cmd_fail(
            "there is a domain '%s' already; 'hanok start' starts it, another <name> makes another",
            d->name);
    }
    struct vm fresh = {.store = s, .name = d->name};
    bool ok = vm_start(&fresh, d, cmd_flag(c, "paused") ? VM_START_PAUSED : 0, &err);
    if (ok) {
        cmd_say(c, "Domain '%s' created from %s", d->name, cmd_str(c, "file"));
        if (cmd_flag(c, "console")) {
            console_attach(&fresh, NULL);
        }
    }
    g_free(fresh.dir);
    return ok ? 0 : cmd_error(&err);
}

/* ---- undefine ---- */

/* Every disk that is a file and not read-only goes, unless another domain names it. */
static bool used_by_others(struct store *s, const char *name, const char *path)
{
    g_autoptr(GPtrArray) names = store_names(s);
    g_autofree char *needle = g_markup_escape_text(path, -1);
    for (unsigned i = 0; i < names->len; i++) {
        g_autofree char *text =
            strcmp(names->pdata[i], name) ? store_read(s, names->pdata[i], NULL) : NULL;
        if (text && (strstr(text, needle) || strstr(text, path))) {
            fprintf(stderr, "hanok: '%s' stays: domain '%s' uses it too\n", path,
                    (char *)names->pdata[i]);
            return true;
        }
    }
    return false;
}

static bool listed(const char *list, const struct disk *k)
{
    g_auto(GStrv) words = g_strsplit(list, ",", -1);
    for (char **w = words; *w; w++) {
        if (!strcmp(*w, k->target.dev) || !g_strcmp0(*w, k->source.file)) {
            return true;
        }
    }
    return false;
}

/* The kernel and RAM disk that 'hanok image build' left beside the image. */
static void remove_boot_files(struct cmd *c, struct store *s, const struct domain *d,
                              const struct disk *k)
{
    const char *const files[][2] = {{d->os.kernel, ".vmlinuz"}, {d->os.initrd, ".initrd"}};
    for (unsigned i = 0; i < ARRAY_SIZE(files); i++) {
        g_autofree char *own = g_strconcat(k->source.file, files[i][1], NULL);
        if (!g_strcmp0(files[i][0], own) && !used_by_others(s, d->name, own)) {
            unlink(own);
        }
    }
}

static int remove_storage(struct cmd *c, struct store *s, const struct domain *d)
{
    const char *list = cmd_str(c, "storage");
    int status = 0;
    for (unsigned i = 0; i < d->devices.disks->len; i++) {
        const struct disk *k = d->devices.disks->pdata[i];
        bool wanted = list ? listed(list, k) : cmd_flag(c, "remove-all-storage");
        if (!wanted || k->type != DISK_FILE || !k->source.file) {
            continue;
        }
        if ((k->readonly || k->device != DISK_DISK || k->shareable) && !list) {
            continue; /* a CD image or a shared disk is not this machine's own */
        }
        if (used_by_others(s, d->name, k->source.file)) {
            continue;
        }
        if (unlink(k->source.file) && errno != ENOENT) {
            status = cmd_fail("'%s' could not be removed: %s", k->source.file, strerror(errno));
        } else {
            cmd_say(c, "Volume '%s'(%s) removed.", k->target.dev, k->source.file);
            remove_boot_files(c, s, d, k);
        }
    }
    return status;
}

static void remove_nvram(struct cmd *c, struct store *s, const struct domain *d)
{
    g_autofree char *code = NULL, *vars = NULL, *template = NULL;
    argv_firmware(d, s->nvram, &code, &vars, &template);
    if (cmd_flag(c, "nvram") && (word_is(d->os.firmware, "efi") || d->os.nvram.path)) {
        unlink(vars);
    }
}

static int do_undefine(struct cmd *c)
{
    g_autoptr(GError) err = NULL;
    VM_AUTO vm = cmd_vm(c);
    if (!vm) {
        return 1;
    }
    bool storage = cmd_flag(c, "remove-all-storage") || cmd_str(c, "storage");
    if (storage && vm->active) {
        return cmd_fail("domain '%s' is running; its disks cannot be removed under it", vm->name);
    }
    /* a definition we can no longer read must not stand in the way of its removal */
    DOMAIN_AUTO d = vm_definition(vm, storage ? &err : NULL);
    if (storage && !d) {
        return cmd_error(&err);
    }
    if (!vm_undefine(vm, &err)) {
        return cmd_error(&err);
    }
    cmd_say(c, "Domain '%s' has been undefined", vm->name);
    int status = 0;
    if (d) {
        remove_nvram(c, vm->store, d);
        status = storage ? remove_storage(c, vm->store, d) : 0;
    }
    return status;
}

/* ---- dumpxml, domxml-to-native ---- */

static int do_dumpxml(struct cmd *c)
{
    g_autoptr(GError) err = NULL;
    VM_AUTO vm = cmd_vm(c);
    if (!vm) {
        return 1;
    }
    bool inactive = cmd_flag(c, "inactive") || !vm->active;
    DOMAIN_AUTO d = inactive && vm->persistent ? vm_definition(vm, &err) : vm_domain(vm, &err);
    if (!d) {
        return cmd_error(&err);
    }
    g_autofree char *text = domain_format(
        d, (inactive ? FORMAT_INACTIVE : 0) | (cmd_flag(c, "security-info") ? FORMAT_SECURE : 0));
    if (c->json) {
        return cmd_json(json_pack("{ssss}", "name", vm->name, "xml", text));
    }
    fputs(text, stdout);
    return 0;
}

static int print_argv(struct cmd *c, GPtrArray *argv)
{
    if (c->json) {
        json_t *list = json_array();
        for (unsigned i = 0; argv->pdata[i]; i++) {
            json_array_append_new(list, json_string(argv->pdata[i]));
        }
        return cmd_json(list);
    }
    for (unsigned i = 0; argv->pdata[i]; i++) {
        const char *word = argv->pdata[i];
        bool plain = *word && !strpbrk(word, " \t\n\"'\\$`&|;<>()*?[]#~{}!");
        g_autofree char *quoted = plain ? g_strdup(word) : g_shell_quote(word);
        printf("%s%s", i == 0 ? "" : *word == '-' ? " \\\n" : " ", quoted);
    }
    putchar('\n');
    return 0;
}

static int do_native(struct cmd *c)
{
    g_autoptr(GError) err = NULL;
    struct store *s = cmd_store(c);
    const char *format = cmd_str(c, "format"), *file = cmd_str(c, "xml");
    if (!s) {
        return 1;
    }
    if (strcmp(format, "qemu-argv") && strcmp(format, "hanok-argv")) {
        return cmd_fail("the format is qemu-argv, not '%s'", format);
    }
    if (!file && !cmd_str(c, "domain")) {
        return cmd_fail("domxml-to-native needs a file, or --domain NAME");
    }
    VM_AUTO vm = file ? NULL : cmd_vm(c);
    if (!file && !vm) {
        return 1;
    }
    DOMAIN_AUTO d = file ? load_file(c, file, &err) : vm_domain(vm, &err);
    if (!d) {
        return cmd_error(&err);
    }
    g_autofree char *dir = g_strdup_printf("%s/domain--1-%s", s->run, d->name);
    const struct argv_options o = {.dir = dir, .nvram_dir = s->nvram, .native = true};
    GPtrArray *argv = domain_argv(d, &o, &err);
    if (!argv) {
        return cmd_error(&err);
    }
    int status = print_argv(c, argv);
    g_ptr_array_free(argv, TRUE);
    return status;
}

/* ---- edit ---- */

static bool run_editor(const char *path, GError **err)
{
    const char *editor = g_getenv("VISUAL");
    editor = editor && *editor ? editor : g_getenv("EDITOR");
    editor = editor && *editor ? editor : "vi";
    g_auto(GStrv) words = NULL;
    int n = 0, status = 0;
    if (!g_shell_parse_argv(editor, &n, &words, err)) {
        return false;
    }
    g_autoptr(GPtrArray) argv = g_ptr_array_new();
    for (int i = 0; i < n; i++) {
        g_ptr_array_add(argv, words[i]);
    }
    g_ptr_array_add(argv, (gpointer)path);
    g_ptr_array_add(argv, NULL);
    if (!g_spawn_sync(NULL, (char **)argv->pdata, NULL,
                      G_SPAWN_SEARCH_PATH | G_SPAWN_CHILD_INHERITS_STDIN, NULL, NULL, NULL, NULL,
                      &status, err)) {
        g_prefix_error(err, "the editor '%s': ", editor);
        return false;
    }
    return g_spawn_check_wait_status(status, err);
}

/* 0 stored, 1 given up, 2 edit again. */
static int store_edited(struct cmd *c, struct vm *vm, const char *before, const char *path,
                        bool *kept)
{
    g_autoptr(GError) err = NULL;
    g_autofree char *text = read_input(path, &err);
    if (text && !strcmp(text, before)) {
        cmd_say(c, "Domain '%s' XML configuration not changed.", vm->name);
        return 0;
    }
    DOMAIN_AUTO d = text ? domain_load(text, &err) : NULL;
    if (d && strcmp(d->name, vm->name)) {
        error_set(&err, HANOK_ERROR_INVALID,
                  "the name cannot be changed here; 'hanok domrename' does that");
    } else if (d && vm_define(vm->store, d, before, &err)) {
        cmd_say(c, "Domain '%s' XML configuration edited.", vm->name);
        return 0;
    }
    fprintf(stderr, "hanok: %s\n", err->message);
    if (isatty(0) && confirm("Edit again?")) {
        return 2;
    }
    *kept = true;
    return cmd_fail("nothing is changed; your text is kept in %s", path);
}

static int do_edit(struct cmd *c)
{
    g_autoptr(GError) err = NULL;
    VM_AUTO vm = cmd_vm(c);
    g_autofree char *before = vm ? store_read(vm->store, vm->name, &err) : NULL;
    if (!vm || !before) {
        return vm ? cmd_error(&err) : 1;
    }
    g_autofree char *path = NULL;
    int fd = g_file_open_tmp("hanok-XXXXXX.xml", &path, &err), status = 2;
    if (fd < 0 || !g_file_set_contents(path, before, -1, &err)) {
        return cmd_error(&err);
    }
    close(fd);
    bool kept = false;
    while (status == 2) {
        if (!run_editor(path, &err)) {
            unlink(path);
            return cmd_error(&err);
        }
        status = store_edited(c, vm, before, path, &kept);
    }
    if (!kept) {
        unlink(path);
    }
    return status;
}

/* ---- names and words ---- */

static int do_rename(struct cmd *c)
{
    g_autoptr(GError) err = NULL;
    VM_AUTO vm = cmd_vm(c);
    if (!vm) {
        return 1;
    }
    if (!vm_rename(vm, cmd_str(c, "new-name"), &err)) {
        return cmd_error(&err);
    }
    cmd_say(c, "Domain successfully renamed");
    return 0;
}

struct text_change {
    bool title;
    const char *text;
};

static char **text_of(struct domain *d, bool title)
{
    return title ? &d->title : &d->description;
}

static bool set_text(struct domain *d, void *opaque, GError **err)
{
    const struct text_change *t = opaque;
    char **field = text_of(d, t->title);
    g_free(*field);
    *field = *t->text ? g_strdup(t->text) : NULL;
    return true;
}

static int show_text(struct cmd *c, struct vm *vm, bool title)
{
    g_autoptr(GError) err = NULL;
    DOMAIN_AUTO d = cmd_flag(c, "config") ? vm_definition(vm, &err) : vm_domain(vm, &err);
    if (!d) {
        return cmd_error(&err);
    }
    const char *text = *text_of(d, title);
    if (c->json) {
        return cmd_json(json_pack("{ss*}", title ? "title" : "description", text));
    }
    printf("%s\n", text ? text : title ? "No title for domain" : "No description for domain");
    return 0;
}

static int show_or_set(struct cmd *c, bool title)
{
    g_autoptr(GError) err = NULL;
    GPtrArray *words = cmd_all(c, title ? "new-title" : "new-desc");
    VM_AUTO vm = cmd_vm(c);
    struct scope s;
    title = title || cmd_flag(c, "title");
    if (!vm || !words) {
        return vm ? show_text(c, vm, title) : 1;
    }
    g_autoptr(GString) text = g_string_new(NULL);
    for (unsigned i = 0; i < words->len; i++) {
        g_string_append_printf(text, "%s%s", i ? " " : "", (char *)words->pdata[i]);
    }
    struct text_change t = {title, text->str};
    if (!scope_read(c, vm, &s)) {
        return 1;
    }
    if ((s.live && !scope_change_live(vm, set_text, &t, &err)) ||
        (s.config && !scope_change_config(vm, set_text, &t, &err))) {
        return cmd_error(&err);
    }
    cmd_say(c, "Domain %s updated successfully", title ? "title" : "description");
    return 0;
}

static int do_desc(struct cmd *c)
{
    return show_or_set(c, false);
}

static int do_title(struct cmd *c)
{
    return show_or_set(c, true);
}

/* ---- autostart ---- */

static char *unit_dir(const struct store *s)
{
    return s->system ? g_strdup("/etc/systemd/system")
                     : g_build_filename(g_get_user_config_dir(), "systemd", "user", NULL);
}

/* A name that systemd's unit names and command lines take as it is. */
static char *unit_name(const char *name)
{
    GString *s = g_string_new("hanok-");
    for (const char *p = name; *p; p++) {
        if (g_ascii_isalnum(*p) || *p == '_' || *p == '.') {
            g_string_append_c(s, *p);
        } else {
            g_string_append_printf(s, "\\x%02x", (unsigned char)*p);
        }
    }
    g_string_append(s, ".service");
    return g_string_free(s, FALSE);
}

static char *exec_word(const char *word)
{
    GString *s = g_string_new("\"");
    for (const char *p = word; *p; p++) {
        if (*p == '"' || *p == '\\') {
            g_string_append_c(s, '\\');
        }
        g_string_append_c(s, *p);
        if (*p == '%' || *p == '$') {
            g_string_append_c(s, *p);
        }
    }
    g_string_append_c(s, '"');
    return g_string_free(s, FALSE);
}

static bool write_unit(struct vm *vm, GError **err)
{
    g_autofree char *dir = unit_dir(vm->store), *unit = unit_name(vm->name);
    g_autofree char *path = g_build_filename(dir, unit, NULL), *name = exec_word(vm->name);
    g_autofree char *self = g_file_read_link("/proc/self/exe", NULL);
    g_autofree char *program = exec_word(self ? self : "/usr/bin/hanok");
    const char *target = vm->store->system ? "multi-user.target" : "default.target";
    g_autofree char *wants = g_strdup_printf("%s/%s.wants", dir, target);
    g_autofree char *link = g_build_filename(wants, unit, NULL),
                    *to = g_build_filename("..", unit, NULL);
    g_autofree char *text = g_strdup_printf(
        "[Unit]\nDescription=Virtual machine started by hanok\nAfter=network.target\n\n[Service]\n"
        "Type=oneshot\nRemainAfterExit=yes\nKillMode=none\nExecStart=%s -c qemu:///%s start -- "
        "%s\n\n"
        "[Install]\nWantedBy=%s\n",
        program, vm->store->system ? "system" : "session", name, target);
    if (!store_make_dirs(wants, 0755, err) || !store_replace_file(path, text, 0644, err)) {
        return false;
    }
    return !symlink(to, link) || errno == EEXIST ||
           error_errno(err, errno, "could not make '%s'", link);
}

static void remove_unit(struct vm *vm)
{
    g_autofree char *dir = unit_dir(vm->store), *unit = unit_name(vm->name);
    g_autofree char *path = g_build_filename(dir, unit, NULL);
    g_autofree char *wants = g_strdup_printf(
        "%s/%s.wants/%s", dir, vm->store->system ? "multi-user.target" : "default.target", unit);
    unlink(wants);
    unlink(path);
}

static int do_autostart(struct cmd *c)
{
    g_autoptr(GError) err = NULL;
    VM_AUTO vm = cmd_vm(c);
    if (!vm) {
        return 1;
    }
    g_autofree char *marker = store_path(vm->store->autostart, vm->name, "");
    if (cmd_flag(c, "disable")) {
        unlink(marker);
        remove_unit(vm);
        cmd_say(c, "Domain '%s' unmarked as autostarted", vm->name);
        return 0;
    }
    if (!vm->persistent) {
        return cmd_fail("domain '%s' has no definition that could be started at boot", vm->name);
    }
    if (!g_file_test("/run/systemd/system", G_FILE_TEST_IS_DIR)) {
        return cmd_fail(
            "systemd does not run here, so nothing would start '%s' at boot; let your own "
            "start-up script run 'hanok start %s'",
            vm->name, vm->name);
    }
    if (!write_unit(vm, &err) || !store_replace_file(marker, "", 0600, &err)) {
        return cmd_error(&err);
    }
    cmd_say(c, "Domain '%s' marked as autostarted", vm->name);
    return 0;
}

/* ---- the table ---- */

#define LENIENT                                                                                    \
    {                                                                                              \
        "lenient", "keep what is not known aside instead of refusing it", OPT_FLAG                 \
    }
static const struct opt define_opts[] = {
    {"file", "the domain XML, - for standard input", OPT_REQUIRED},
    {"validate", "accepted: definitions are always checked", OPT_FLAG},
    {"check", "only check it", OPT_FLAG},
    LENIENT,
    {NULL}};
static const struct opt create_opts[] = {
    {"file", "the domain XML, - for standard input", OPT_REQUIRED},
    {"console", "attach to its console", OPT_FLAG},
    {"paused", "leave its CPUs stopped", OPT_FLAG},
    {"validate", "accepted: definitions are always checked", OPT_FLAG},
    LENIENT,
    {NULL}};
static const struct opt undefine_opts[] = {
    DOMAIN_OPT,
    {"remove-all-storage", "remove its disks' files too", OPT_FLAG},
    {"storage", "remove these disks' files (targets or paths, with commas)", OPT_NAMED},
    {"nvram", "remove the firmware's variables", OPT_FLAG},
    {"keep-nvram", "accepted: they stay unless --nvram", OPT_FLAG},
    {"managed-save", "accepted: there are none yet", OPT_FLAG},
    {"snapshots-metadata", "accepted: there are none yet", OPT_FLAG},
    {NULL}};
static const struct opt dumpxml_opts[] = {
    DOMAIN_OPT,
    {"inactive", "as it is defined, not as it runs", OPT_FLAG},
    {"security-info", "with passwords", OPT_FLAG},
    {NULL}};
static const struct opt native_opts[] = {{"format", "qemu-argv", OPT_REQUIRED},
                                         {"xml", "a file with domain XML", 0},
                                         {"domain", "a domain instead", OPT_NAMED},
                                         LENIENT,
                                         {NULL}};
static const struct opt domain_opts[] = {DOMAIN_OPT, {NULL}};
static const struct opt rename_opts[] = {
    DOMAIN_OPT, {"new-name", "its name from now on", OPT_REQUIRED}, {NULL}};
static const struct opt desc_opts[] = {DOMAIN_OPT,
                                       {"new-desc", "the new text; none shows the old", OPT_MANY},
                                       {"title", "the title instead", OPT_FLAG},
                                       SCOPE_OPTS,
                                       {NULL}};
static const struct opt title_opts[] = {
    DOMAIN_OPT, {"new-title", "the new title; none shows the old", OPT_MANY}, SCOPE_OPTS, {NULL}};
static const struct opt autostart_opts[] = {DOMAIN_OPT, {"disable", "no longer", OPT_FLAG}, {NULL}};

static const struct verb verbs[] = {
    {"define", "store a domain's XML under its name", false, do_define, define_opts,
     "hanok define web.xml"},
    {"create", "start a domain from XML without storing it", false, do_create, create_opts,
     "hanok create test.xml --console"},
    {"undefine", "remove a definition", false, do_undefine, undefine_opts,
     "hanok undefine web --remove-all-storage"},
    {"edit", "change a definition in $EDITOR", false, do_edit, domain_opts,
     "EDITOR=nano hanok edit web"},
    {"dumpxml", "a domain's XML", true, do_dumpxml, dumpxml_opts,
     "hanok dumpxml web --inactive > web.xml"},
    {"domxml-to-native", "the command line that a domain is", true, do_native, native_opts,
     "hanok domxml-to-native qemu-argv --domain web"},
    {"domrename", "give a domain another name", false, do_rename, rename_opts,
     "hanok domrename web www"},
    {"desc", "show or set the description", true, do_desc, desc_opts,
     "hanok desc web 'the web server'"},
    {"title", "show or set the title", true, do_title, title_opts, "hanok title web Webserver"},
    {"autostart", "start a domain when the host starts", false, do_autostart, autostart_opts,
     "hanok autostart web"},
    {NULL}};
const struct verb_group define_verbs = {"Definitions", verbs};
