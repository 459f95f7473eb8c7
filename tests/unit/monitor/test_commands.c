/* test_commands - every command answers as its declared result type says, on an empty machine and
 * on a whole board; arguments are checked; the schema is closed and says what clients look for. */
#include "commands.h"

#include "base/log.h"
#include "chardev/chardev.h"

#include <glib/gstdio.h>
#include <unistd.h>

static char *disk_path;

static void add(GPtrArray *list, const char *text, const char *implied)
{
    g_autoptr(GError) err = NULL;
    struct props *p = props_parse(text, implied, &err);
    g_assert_no_error(err);
    g_ptr_array_add(list, p);
}

static struct machine *empty_machine(struct vm_config *cfg)
{
    g_autoptr(GError) err = NULL;
    props_set_str(cfg->machine, "type", "none");
    struct machine *m = machine_new(cfg, &err);
    g_assert_no_error(err);
    return m;
}

static struct machine *whole_board(struct vm_config *cfg)
{
    g_autoptr(GError) err = NULL;
    g_autofree char *node =
        g_strdup_printf("file,node-name=d0,filename=%s,cache.no-flush=on", disk_path);
    cfg->accels = g_strdup("qtest");
    add(cfg->objects, "iothread,id=io0", "qom-type");
    add(cfg->blockdevs, node, "driver");
    add(cfg->devices, "pcie-root-port,id=rp0,chassis=1,port=1", "driver");
    add(cfg->devices, "virtio-blk-pci,id=disk0,drive=d0,bus=rp0", "driver");
    add(cfg->devices, "virtio-balloon-pci,id=balloon0", "driver");
    struct machine *m = machine_new(cfg, &err);
    g_assert_no_error(err);
    return m;
}

static json_t *ask(struct machine *m, const char *request)
{
    json_t *o = json_loads(request, 0, NULL);
    g_assert_nonnull(o);
    json_t *reply = qmp_dispatch(m, NULL, o);
    json_decref(o);
    return reply;
}

/* Everything that only asks and needs no argument. */
static bool is_plain_query(const struct qmp_command *c)
{
    for (const struct qmp_member *a = c->args ? c->args->members : NULL; a && a->name; a++) {
        if (!a->optional) {
            return false;
        }
    }
    return g_str_has_prefix(c->name, "query-") || !strcmp(c->name, "qom-list-types");
}

static unsigned ask_everything(struct machine *m)
{
    unsigned answered = 0;
    for (const struct qmp_command *c = qmp_commands; c->name; c++) {
        if (!is_plain_query(c)) {
            continue;
        }
        g_autofree char *request = g_strdup_printf("{\"execute\":\"%s\",\"id\":7}", c->name);
        g_autoptr(GError) err = NULL;
        json_t *reply = ask(m, request), *result = json_object_get(reply, "return");
        g_assert_cmpint(json_integer_value(json_object_get(reply, "id")), ==, 7);
        if (result) {
            answered++;
            if (!qmp_check(c->ret ? c->ret : &qmp_empty, result, c->name, &err)) {
                g_error("%s: %s", c->name, err->message);
            }
        } else {
            json_t *e = json_object_get(reply, "error");
            g_assert_true(json_is_string(json_object_get(e, "class")));
            g_assert_cmpuint(strlen(json_string_value(json_object_get(e, "desc"))), >, 10);
        }
        json_decref(reply);
    }
    return answered;
}

static void test_replies_match_their_types(void)
{
    struct vm_config *cfg = vm_config_new();
    struct machine *m = empty_machine(cfg);
    g_assert_cmpuint(ask_everything(m), >, 30);
    machine_free(m);
    vm_config_free(cfg);

    cfg = vm_config_new();
    m = whole_board(cfg);
    g_assert_cmpuint(ask_everything(m), >, 30);
    machine_free(m);
    vm_config_free(cfg);
}

static void expect_reply(struct machine *m, const char *request, const char *part)
{
    json_t *reply = ask(m, request);
    char *text = json_dumps(reply, JSON_COMPACT);
    if (!strstr(text, part)) {
        g_error("%s\nanswered %s\nwhich lacks %s", request, text, part);
    }
    free(text);
    json_decref(reply);
}

static void test_arguments_are_checked(void)
{
    static const char *const cases[][2] = {
        {"{\"execute\":\"nosuch\"}", "\"class\":\"CommandNotFound\""},
        {"{\"execute\":7}", "lacks member 'execute'"},
        {"{\"execute\":\"stop\",\"more\":1}", "'more' is unexpected"},
        {"{\"execute\":\"stop\",\"arguments\":[]}", "must be an object"},
        {"{\"execute\":\"stop\",\"arguments\":{\"x\":1}}", "'x' is unexpected"},
        {"{\"execute\":\"balloon\"}", "'value' is missing"},
        {"{\"execute\":\"balloon\",\"arguments\":{\"value\":\"1\"}}", "expected: integer"},
        {"{\"execute\":\"balloon\",\"arguments\":{\"value\":1}}", "DeviceNotActive"},
        {"{\"execute\":\"set-action\",\"arguments\":{\"reboot\":\"x\"}}",
         "does not accept value 'x'"},
        {"{\"execute\":\"device-list-properties\",\"arguments\":{\"typename\":\"no\"}}",
         "DeviceNotFound"},
        {"{\"execute\":\"qom-list-properties\",\"arguments\":{\"typename\":\"no\"}}",
         "GenericError"},
        {"{\"execute\":\"device_del\",\"arguments\":{\"id\":\"no\"}}", "DeviceNotFound"},
        {"{\"execute\":\"query-cpu-model-expansion\",\"arguments\":{\"type\":\"full\",\"model\":"
         "{\"name\":\"nosuch\"}}}",
         "GenericError"},
    };
    struct vm_config *cfg = vm_config_new();
    struct machine *m = empty_machine(cfg);
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        expect_reply(m, cases[i][0], cases[i][1]);
    }
    machine_free(m);
    vm_config_free(cfg);
}

static void test_board_commands(void)
{
    static const char *const cases[][2] = {
        {"{\"execute\":\"query-block\"}", "/machine/peripheral/disk0/virtio-backend"},
        {"{\"execute\":\"query-block\"}", "\"no-flush\":true"},
        {"{\"execute\":\"query-blockstats\"}", "\"rd_operations\":0"},
        {"{\"execute\":\"query-iothreads\"}", "\"id\":\"io0\""},
        {"{\"execute\":\"query-pci\"}", "\"qdev_id\":\"disk0\""},
        {"{\"execute\":\"qom-list\",\"arguments\":{\"path\":\"/machine/peripheral\"}}",
         "child<virtio-balloon-pci>"},
        {"{\"execute\":\"qom-set\",\"arguments\":{\"path\":\"/machine/peripheral/"
         "balloon0\",\"property\":"
         "\"guest-stats-polling-interval\",\"value\":3}}",
         "\"return\":{}"},
        {"{\"execute\":\"qom-get\",\"arguments\":{\"path\":\"/machine/peripheral/"
         "balloon0\",\"property\":"
         "\"guest-stats-polling-interval\"}}",
         "\"return\":3"},
        {"{\"execute\":\"qom-get\",\"arguments\":{\"path\":\"/machine/peripheral/"
         "balloon0\",\"property\":"
         "\"guest-stats\"}}",
         "\"last-update\":0"},
        {"{\"execute\":\"block_resize\",\"arguments\":{\"node-name\":\"d0\",\"size\":2097152}}",
         "\"return\":{}"},
        {"{\"execute\":\"query-named-block-nodes\",\"arguments\":{\"flat\":true}}",
         "\"virtual-size\":2097152"},
        {"{\"execute\":\"device_add\",\"arguments\":{\"driver\":\"virtio-rng-pci\",\"bus\":\"pcie."
         "0\"}}",
         "does not support hotplugging"},
        {"{\"execute\":\"human-monitor-command\",\"arguments\":{\"command-line\":\"info status\"}}",
         "VM status: paused (prelaunch)"},
        {"{\"execute\":\"system_powerdown\"}", "\"return\":{}"},
        {"{\"execute\":\"set-action\",\"arguments\":{\"reboot\":\"shutdown\"}}", "\"return\":{}"},
    };
    struct vm_config *cfg = vm_config_new();
    struct machine *m = whole_board(cfg);
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        expect_reply(m, cases[i][0], cases[i][1]);
    }
    g_assert_true(cfg->no_reboot);
    machine_free(m);
    vm_config_free(cfg);
}

static void test_hmp_answers_every_topic(void)
{
    struct vm_config *cfg = vm_config_new();
    struct machine *m = whole_board(cfg);
    static const char *const lines[] = {
        "help",
        "info",
        "info status",
        "info registers",
        "info mtree",
        "info pci",
        "info irq",
        "info cpus",
        "info block",
        "info blockstats",
        "info qtree",
        "info jit",
        "info network",
        "info version",
        "info balloon",
        "xp/2xg 4096",
        "x 0",
        "p 1+2",
        "nosuch",
        "info uuid",
        "info kvm",
        "info name",
        "nmi",
        "balloon x",
        "log nothing",
        "xp/70000 0",
        "xp/z 0",
        "xp $rip",
        "p",
        "trace-event nosuch on",
    };
    for (size_t i = 0; i < ARRAY_SIZE(lines); i++) {
        g_autofree char *text = monitor_hmp(m, lines[i]);
        g_assert_nonnull(text);
    }
    g_autofree char *sum = monitor_hmp(m, "p 1+0x10-2");
    g_assert_cmpstr(sum, ==, "0xf\n");
    g_autofree char *memory = monitor_hmp(m, "xp/2xb 0x100000");
    g_assert_true(g_str_has_prefix(memory, "0000000000100000: 0x"));
    g_autofree char *hole = monitor_hmp(m, "xp 0xb0000000");
    g_assert_nonnull(strstr(hole, "Cannot access memory"));
    machine_free(m);
    vm_config_free(cfg);
}

static json_t *find_entity(json_t *schema, const char *name)
{
    size_t i;
    json_t *e;
    json_array_foreach(schema, i, e)
    {
        if (!strcmp(qmp_text(e, "name"), name)) {
            return e;
        }
    }
    return NULL;
}

static void check_reference(json_t *schema, json_t *entity, const char *key)
{
    const char *type = qmp_text(entity, key);
    if (type && !find_entity(schema, type)) {
        g_error("schema: %s of %s names '%s', which is not there", key, qmp_text(entity, "name"),
                type);
    }
}

static void test_schema_is_closed(void)
{
    json_t *schema = qmp_schema(), *e, *m;
    size_t i, k;
    g_autoptr(GHashTable) names = g_hash_table_new(g_str_hash, g_str_equal);
    json_array_foreach(schema, i, e)
    {
        g_assert_true(g_hash_table_add(names, (void *)qmp_text(e, "name")));
        check_reference(schema, e, "arg-type");
        check_reference(schema, e, "ret-type");
        check_reference(schema, e, "element-type");
        json_array_foreach(json_object_get(e, "members"), k, m)
        {
            check_reference(schema, m, "type");
        }
    }
    /* what a manager looks for to choose JSON on the command line */
    json_t *add_cmd = find_entity(schema, "device_add");
    g_assert_cmpuint(json_array_size(json_object_get(add_cmd, "features")), ==, 2);
    json_t *types = find_entity(schema, "ObjectType");
    char *text = json_dumps(types, 0);
    g_assert_nonnull(strstr(text, "secret"));
    free(text);
    json_decref(schema);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    disk_path = g_strdup_printf("%s/hanok-test-disk-%d", g_get_tmp_dir(), getpid());
    g_autofree char *zeroes = g_malloc0(1 << 20);
    g_assert_true(g_file_set_contents(disk_path, zeroes, 1 << 20, NULL));
    g_test_add_func("/commands/replies", test_replies_match_their_types);
    g_test_add_func("/commands/arguments", test_arguments_are_checked);
    g_test_add_func("/commands/board", test_board_commands);
    g_test_add_func("/commands/hmp", test_hmp_answers_every_topic);
    g_test_add_func("/commands/schema", test_schema_is_closed);
    int status = g_test_run();
    g_unlink(disk_path);
    return status;
}
