/* test_options - the command line: what it becomes, and the sentences for what it cannot become. */
#include "options.h"

#include <glib.h>
#include <glib/gstdio.h>
#include <jansson.h>
#include <string.h>
#include <unistd.h>

static struct vm_options *parse_words(char **words, GError **err)
{
    return vm_options_parse(g_strv_length(words), words, err);
}

/* Words are separated by blanks; none of the tests needs one inside a word. */
static struct vm_options *parse(const char *text, GError **err)
{
    g_autofree char *line = g_strdup_printf("hanok-vm %s", text);
    g_auto(GStrv) words = g_strsplit(line, " ", -1);
    return parse_words(words, err);
}

static struct vm_options *parse_ok(const char *text)
{
    g_autoptr(GError) err = NULL;
    struct vm_options *o = parse(text, &err);
    g_assert_no_error(err);
    g_assert_nonnull(o);
    return o;
}

static void parse_fails(const char *text, const char *says)
{
    g_autoptr(GError) err = NULL;
    g_assert_null(parse(text, &err));
    g_assert_nonnull(err);
    if (!strstr(err->message, says)) {
        g_error("'%s': \"%s\" does not say \"%s\"", text, err->message, says);
    }
}

/* The list's item as compact JSON with sorted keys. */
static char *item(GPtrArray *list, unsigned i)
{
    g_assert_cmpuint(i, <, list->len);
    char *raw = json_dumps(props_json(g_ptr_array_index(list, i)), JSON_COMPACT | JSON_SORT_KEYS);
    char *text = g_strdup(raw);
    free(raw);
    return text;
}

#define assert_item(list, i, expected)                                                             \
    do {                                                                                           \
        g_autofree char *text_ = item(list, i);                                                    \
        g_assert_cmpstr(text_, ==, expected);                                                      \
    } while (0)

static void test_defaults_are_a_card_and_a_port(void)
{
    struct vm_options *o = parse_ok("-display none");
    g_assert_cmpuint(o->cfg->ram_bytes, ==, 128 << 20);
    g_assert_cmpuint(o->cfg->topology.cpus, ==, 1);
    assert_item(o->cfg->netdevs, 0, "{\"id\":\"net0\",\"type\":\"user\"}");
    assert_item(o->cfg->devices, 0, "{\"driver\":\"virtio-net-pci\",\"netdev\":\"net0\"}");
    g_assert_cmpstr(g_ptr_array_index(o->cfg->serials, 0), ==, "null");
    g_assert_false(vm_options_accel_was_given(o));
    vm_options_free(o);
    o = parse_ok("-nodefaults");
    g_assert_cmpuint(o->cfg->netdevs->len + o->cfg->devices->len + o->cfg->serials->len, ==, 0);
    vm_options_free(o);
}

static void test_graphics_cards_and_viewers(void)
{
    struct vm_options *o = parse_ok("-nic none");
    assert_item(o->cfg->devices, 0,
                "{\"driver\":\"VGA\"}"); /* firmware starts: somebody may look */
    vm_options_free(o);
    static const char *const none[] = {"-nic none -kernel k", "-nic none -vga none",
                                       "-nic none -nographic", "-nodefaults -vnc :0"};
    for (size_t i = 0; i < G_N_ELEMENTS(none); i++) {
        o = parse_ok(none[i]);
        g_assert_cmpuint(o->cfg->devices->len, ==, 0);
        vm_options_free(o);
    }
    o = parse_ok("-nic none -kernel k -vnc 127.0.0.1:3,to=9,audiodev=a,share=ignore");
    assert_item(o->cfg->devices, 0, "{\"driver\":\"VGA\"}");
    const char *where = NULL;
    g_assert_true(props_get_str(o->cfg->vnc, "vnc", &where, NULL));
    g_assert_cmpstr(where, ==, "127.0.0.1:3");
    vm_options_free(o);
    o = parse_ok("-display vnc=unix:/run/v -nic none -vga std");
    g_assert_nonnull(o->cfg->vnc);
    g_assert_cmpuint(o->cfg->devices->len, ==, 1);
    vm_options_free(o);
    o = parse_ok("-vnc :1 -vnc none");
    g_assert_null(o->cfg->vnc);
    vm_options_free(o);
    parse_fails("-vga fancy", "'std', 'virtio' or 'none'");
    parse_fails("-vnc :1,tsl=on", "tsl");
}

static void test_nographic_muxes_stdio(void)
{
    struct vm_options *o = parse_ok("-nographic -nic none");
    g_assert_cmpstr(g_ptr_array_index(o->cfg->serials, 0), ==, "mon:stdio");
    vm_options_free(o);
    o = parse_ok("-nographic -nic none -monitor none");
    g_assert_cmpstr(g_ptr_array_index(o->cfg->serials, 0), ==, "stdio");
    vm_options_free(o);
    o = parse_ok("-nographic -nic none -serial null");
    g_assert_cmpuint(o->monitors->len, ==, 1);
    g_assert_cmpstr(((struct monitor_spec *)g_ptr_array_index(o->monitors, 0))->spec, ==, "stdio");
    vm_options_free(o);
    o = parse_ok("-nographic -nodefaults");
    g_assert_cmpuint(o->cfg->serials->len + o->monitors->len, ==, 0);
    vm_options_free(o);
}

static void test_machine_merges_and_kvm_overrides(void)
{
    struct vm_options *o = parse_ok("-nodefaults -machine accel=tcg --machine pit=off -enable-kvm");
    g_assert_cmpstr(o->cfg->accels, ==, "kvm");
    g_assert_true(vm_options_accel_was_given(o));
    char *raw = json_dumps(props_json(o->cfg->machine), JSON_COMPACT);
    g_assert_cmpstr(raw, ==, "{\"pit\":\"off\"}");
    free(raw);
    vm_options_free(o);
    o = parse_ok("-nodefaults -accel kvm -accel tcg,tb-size=64");
    g_assert_cmpstr(o->cfg->accels, ==, "kvm:tcg");
    vm_options_free(o);
    parse_fails("-accel tcg -enable-kvm", "cannot be mixed");
    parse_fails("-machine q35,acpi=off", "always has ACPI");
    parse_fails("-machine q35,pitt=off", "'pit'");
    parse_fails("-machine accel=kmv", "'kvm'");
}

static void test_memory_sizes(void)
{
    static const struct {
        const char *text;
        uint64_t bytes, max;
        unsigned slots;
    } cases[] = {
        {"-m 256", 256ull << 20, 256ull << 20, 0},
        {"-m 2g", 2ull << 30, 2ull << 30, 0},
        {"-m size=524288k,slots=4,maxmem=2097152k", 512ull << 20, 2ull << 30, 4},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        struct vm_options *o = parse_ok(cases[i].text);
        g_assert_cmpuint(o->cfg->ram_bytes, ==, cases[i].bytes);
        g_assert_cmpuint(o->cfg->maxmem_bytes, ==, cases[i].max);
        g_assert_cmpuint(o->cfg->mem_slots, ==, cases[i].slots);
        vm_options_free(o);
    }
    parse_fails("-m 0", "needs memory");
    parse_fails("-m 1x", "-m: ");
    parse_fails("-m 99999999G", "16 TiB");
    parse_fails("-m 512,maxmem=256M", "must not be less");
}

static void test_topologies(void)
{
    static const struct {
        const char *text;
        struct cpu_topology t;
    } cases[] = {
        {"-smp 4", {4, 4, 1, 1, 4, 1}},
        {"-smp 1,maxcpus=2,sockets=2,cores=1,threads=1", {1, 2, 2, 1, 1, 1}},
        {"-smp cores=2,threads=2", {4, 4, 1, 1, 2, 2}},
        {"-smp 8,sockets=2", {8, 8, 2, 1, 4, 1}},
        {"-smp 8,cores=2", {8, 8, 4, 1, 2, 1}},
        {"-smp 1,maxcpus=2,sockets=1,dies=1,cores=2,threads=1", {1, 2, 1, 1, 2, 1}},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        struct vm_options *o = parse_ok(cases[i].text);
        g_assert_cmpmem(&o->cfg->topology, sizeof(cases[i].t), &cases[i].t, sizeof(cases[i].t));
        vm_options_free(o);
    }
    parse_fails("-smp 3,sockets=2", "must be the number of CPUs");
    parse_fails("-smp 0", "between 1 and 65536");
    parse_fails("-smp 4,maxcpus=2", "must not be less");
    parse_fails("-smp sockets=65536,cores=65536,threads=65536,dies=65536", "more than 65536 CPUs");
}

static void test_drive_becomes_node_and_device(void)
{
    struct vm_options *o =
        parse_ok("-nodefaults -drive "
                 "file=a,,b.img,if=virtio,format=raw,cache=none,serial=S1,discard=on "
                 "-drive file=c.img,if=none,id=d1,format=qcow2,readonly=on");
    assert_item(o->cfg->blockdevs, 0,
                "{\"cache\":{\"direct\":true,\"no-flush\":false},\"discard\":\"unmap\",\"driver\":"
                "\"raw\",\"file\":{\"cache\":{\"direct\":true,\"no-flush\":false},\"discard\":"
                "\"unmap\",\"driver\":\"file\",\"filename\":\"a,b.img\",\"read-only\":false},"
                "\"node-name\":\"virtio0\",\"read-only\":false}");
    assert_item(o->cfg->devices, 0,
                "{\"drive\":\"virtio0\",\"driver\":\"virtio-blk-pci\",\"serial\":\"S1\"}");
    assert_item(o->cfg->blockdevs, 1,
                "{\"cache\":{\"direct\":false,\"no-flush\":false},\"driver\":\"qcow2\",\"file\":{"
                "\"cache\":{\"direct\":false,\"no-flush\":false},\"driver\":\"file\",\"filename\":"
                "\"c.img\",\"read-only\":true},\"node-name\":\"d1\",\"read-only\":true}");
    g_assert_cmpuint(o->cfg->devices->len, ==, 1);
    vm_options_free(o);
    parse_fails("-drive if=virtio", "file= is needed");
    parse_fails("-drive file=x,if=virtio,snapshot=on,readonly=on", "exclude each other");
    parse_fails("-drive file=http://x/y,if=virtio", "names no protocol");
    parse_fails("-drive file=x,if=virito", "'virtio'");
    parse_fails("-drive file=x,if=virtio,formt=raw", "'format'");
}

/* A SATA port has one drive, an IDE cable two: an index means another place on each board. */
static void test_indices_are_places_of_the_board(void)
{
    struct vm_options *o = parse_ok("-nodefaults -hdb b.img -cdrom c.iso -drive file=d,format=raw");
    assert_item(o->cfg->devices, 0,
                "{\"bus\":\"ide.1\",\"drive\":\"ide0\",\"driver\":\"ide-hd\",\"unit\":0}");
    assert_item(o->cfg->devices, 1,
                "{\"bus\":\"ide.2\",\"drive\":\"ide1\",\"driver\":\"ide-cd\",\"unit\":0}");
    assert_item(o->cfg->devices, 2, "{\"drive\":\"ide2\",\"driver\":\"ide-hd\"}");
    vm_options_free(o);
    o = parse_ok(
        "-nodefaults -hdb b.img -cdrom c.iso -M pc -drive if=ide,index=3,file=d,format=raw");
    assert_item(o->cfg->devices, 0,
                "{\"bus\":\"ide.0\",\"drive\":\"ide0\",\"driver\":\"ide-hd\",\"unit\":1}");
    assert_item(o->cfg->devices, 1,
                "{\"bus\":\"ide.1\",\"drive\":\"ide1\",\"driver\":\"ide-cd\",\"unit\":0}");
    assert_item(o->cfg->devices, 2,
                "{\"bus\":\"ide.1\",\"drive\":\"ide2\",\"driver\":\"ide-hd\",\"unit\":1}");
    vm_options_free(o);
}

static void test_drive_options_reach_their_layer(void)
{
    struct vm_options *o = parse_ok(
        "-nodefaults -drive file=a.img,if=none,id=d,format=qcow2,cache=directsync,file.locking=off,"
        "l2-cache-size=1M,throttling.iops-total=100,bps_rd=1M,werror=stop,rerror=report,snapshot="
        "on "
        "-device virtio-blk-pci,drive=d,rerror=ignore "
        "-drive file.driver=file,file.filename=b.img,if=none,id=e,format=raw,cache.direct=on");
    assert_item(
        o->cfg->blockdevs, 0,
        "{\"cache\":{\"direct\":true,\"no-flush\":false,\"writeback\":false},\"driver\":\"qcow2\","
        "\"file\":{\"cache\":{\"direct\":true,\"no-flush\":false},\"driver\":\"file\",\"filename\":"
        "\"a.img\",\"locking\":\"off\",\"read-only\":false},\"l2-cache-size\":\"1M\",\"node-name\":"
        "\"d\",\"read-only\":false,\"snapshot\":true,\"throttling\":{\"bps-read\":\"1M\","
        "\"iops-total\":\"100\"}}");
    assert_item(o->cfg->devices, 0,
                "{\"drive\":\"d\",\"driver\":\"virtio-blk-pci\",\"rerror\":\"ignore\",\"werror\":"
                "\"stop\"}");
    assert_item(o->cfg->blockdevs, 1,
                "{\"cache\":{\"direct\":true,\"no-flush\":false},\"driver\":\"raw\",\"file\":{"
                "\"cache\":{\"direct\":true,\"no-flush\":false},\"driver\":\"file\",\"filename\":"
                "\"b.img\",\"read-only\":false},\"node-name\":\"e\",\"read-only\":false}");
    vm_options_free(o);
    o = parse_ok("-nodefaults -drive file=nbd://h:7/x,if=none,id=d,format=raw -snapshot");
    assert_item(
        o->cfg->blockdevs, 0,
        "{\"cache\":{\"direct\":false,\"no-flush\":false},\"driver\":\"raw\",\"file\":{"
        "\"cache\":{\"direct\":false,\"no-flush\":false},\"driver\":\"nbd\",\"export\":\"x\","
        "\"read-only\":false,\"server\":{\"host\":\"h\",\"port\":\"7\",\"type\":\"inet\"}},"
        "\"node-name\":\"d\",\"read-only\":false,\"snapshot\":true}");
    vm_options_free(o);
}

static void test_network_spellings(void)
{
    struct vm_options *o = parse_ok("-nodefaults -nic user,model=virtio,mac=52:54:00:00:00:09,"
                                    "hostfwd=tcp::2222-:22");
    assert_item(o->cfg->netdevs, 0,
                "{\"hostfwd\":\"tcp::2222-:22\",\"id\":\"nic0\",\"type\":\"user\"}");
    assert_item(
        o->cfg->devices, 0,
        "{\"driver\":\"virtio-net-pci\",\"mac\":\"52:54:00:00:00:09\",\"netdev\":\"nic0\"}");
    vm_options_free(o);
    o = parse_ok("-display none -vga none -net nic,model=virtio -net user");
    assert_item(o->cfg->netdevs, 0, "{\"id\":\"net0\",\"type\":\"user\"}");
    assert_item(o->cfg->devices, 0, "{\"driver\":\"virtio-net-pci\",\"netdev\":\"net0\"}");
    g_assert_cmpuint(o->cfg->devices->len, ==, 1);
    vm_options_free(o);
    o = parse_ok("-display none -vga none -net none");
    g_assert_cmpuint(o->cfg->netdevs->len + o->cfg->devices->len, ==, 0);
    vm_options_free(o);
    parse_fails("-netdev usr,id=n", "'user'");
    parse_fails("-netdev user", "id= is needed");
    parse_fails("-netdev dgram,id=n", "not possible yet");
    parse_fails("-net nic", "add -net user");
}

static void test_json_and_text_are_the_same(void)
{
    struct vm_options *o =
        parse_ok("-nodefaults -device {\"driver\":\"virtio-blk-pci\",\"drive\":\"d\"} "
                 "-device virtio-blk-pci,drive=d");
    g_autofree char *a = item(o->cfg->devices, 0), *b = item(o->cfg->devices, 1);
    g_assert_cmpstr(a, ==, b);
    vm_options_free(o);
}

static void test_globals(void)
{
    struct vm_options *o = parse_ok("-nodefaults -global kvm-pit.lost_tick_policy=delay -global "
                                    "driver=cfi.pflash01,property=secure,value=on");
    assert_item(o->cfg->globals, 0,
                "{\"driver\":\"kvm-pit\",\"property\":\"lost_tick_policy\",\"value\":\"delay\"}");
    assert_item(o->cfg->globals, 1,
                "{\"driver\":\"cfi.pflash01\",\"property\":\"secure\",\"value\":\"on\"}");
    vm_options_free(o);
    parse_fails("-global nonsense", "DRIVER.PROPERTY=VALUE");
}

static void test_monitors_and_host_options(void)
{
    struct vm_options *o = parse_ok(
        "-machine none,accel=kvm:tcg -qmp unix:/p,server=on,wait=off -pidfile /f -daemonize -S "
        "-nographic -nodefaults -no-user-config -sandbox on,obsolete=deny,spawn=deny -msg "
        "timestamp=on -name guest=g,debug-threads=on -uuid 00112233-4455-6677-8899-aabbccddeeff");
    struct monitor_spec *m = g_ptr_array_index(o->monitors, 0);
    g_assert_cmpstr(m->spec, ==, "unix:/p,server=on,wait=off");
    g_assert_cmpint(m->mode, ==, MONITOR_QMP);
    g_assert_true(o->daemonize && o->cfg->start_paused && o->timestamps && o->sandbox);
    g_assert_cmpuint(o->sandbox_deny, ==, SANDBOX_OBSOLETE | SANDBOX_SPAWN);
    g_assert_cmpstr(o->pidfile, ==, "/f");
    g_assert_cmpstr(o->cfg->name, ==, "g");
    g_assert_true(o->cfg->have_uuid && o->cfg->uuid[0] == 0 && o->cfg->uuid[15] == 0xff);
    vm_options_free(o);
    o = parse_ok("-nodefaults -no-reboot -no-shutdown -action panic=shutdown,watchdog=none");
    g_assert_true(o->cfg->no_reboot && o->cfg->no_shutdown);
    g_assert_cmpint(o->cfg->on_panic, ==, ACTION_SHUTDOWN);
    g_assert_cmpint(o->cfg->on_watchdog, ==, ACTION_NONE);
    vm_options_free(o);
    parse_fails("-mon mode=control", "chardev= is needed");
    parse_fails("-action reboot=explode", "'reset' or 'shutdown'");
    parse_fails("-uuid 123", "is not a UUID");
    parse_fails("-d nothing", "did you mean");
    parse_fails("-trace blk_sumbit", "'blk_submit'");
}

static void test_unknown_and_refused(void)
{
    parse_fails("-nographics", "'-nographic'");
    parse_fails("--kernal x", "'-kernel'");
    parse_fails("-m", "needs a value");
    parse_fails("-no-acpi", "always has ACPI");
    parse_fails("-device virtio-rng-pci -netdev user,id=1a", "id=1a is not possible");
    parse_fails("-object iothread,id=a/b", "id=a/b is not possible");
    parse_fails("-drive file=x,if=virtio,format=raw,id=#d", "id=#d is not possible");
    parse_fails("-blockdev file,filename=/x", "node-name= is needed");
    parse_fails("-readconfig f", "no configuration files");
    parse_fails("-runas x", "start the program as");
    parse_fails("-object frob,id=x", "there is no object type");
    parse_fails("-object secret", "id= is needed");
    parse_fails("-smbios type=4", "what can be set");
    parse_fails("-smbios type=2,famili=x", "famili");
    parse_fails("-fw_cfg name=opt/x", "file= or string=");
    parse_fails("-rtc base=yesterday", "utc, localtime");
    parse_fails("-boot order=cc", "twice");
    parse_fails("-display gkt", "did you mean 'none'");
    parse_fails("-chardev sokcet,id=a", "'socket'");
    parse_fails("-device {\"driver\":", "malformed");
    parse_fails("-device id=x", "name of a device is missing");
    parse_fails("-serial a -serial b -serial c -serial d -serial e", "at most four");
    parse_fails("-parallel stdio", "no parallel port");
}

static void fails_exactly(const char *option, const char *value, const char *sentence)
{
    g_autoptr(GError) err = NULL;
    g_assert_null(parse_words((char *[]){"hanok-vm", (char *)option, (char *)value, NULL}, &err));
    g_assert_cmpstr(err->message, ==, sentence);
}

static void test_sentences_do_not_repeat_themselves(void)
{
    fails_exactly("-m", "", "-m: a size like 512M or 4G is needed");
    fails_exactly("-name", "nmae=x",
                  "-name has no option 'nmae'; did you mean 'guest', 'process' or "
                  "'debug-threads'?");
    /* 'type' stands in two lists of names. */
    fails_exactly("-machine", "tipe=q35", "-machine has no option 'tipe'; did you mean 'type'?");
}

/* "Nothing will show" belongs to a machine that starts, not beside the reason why it does not. */
static void test_silence_is_noted_not_said(void)
{
    struct vm_options *o = parse_ok("-m 64");
    g_assert_true(o->silent);
    vm_options_free(o);
    o = parse_ok("-nographic");
    g_assert_false(o->silent);
    vm_options_free(o);
}

static void test_help_lists(void)
{
    static const struct {
        const char *words, *has;
    } cases[] = {
        {"-help", "QEMU"},
        {"--help", "-kernel FILE"},
        {"-version", "hanok-vm version "},
        {"-device help", "name \"pc-testdev\", bus ISA"},
        {"-device ?", "name \"virtio-blk-pci\", bus PCI"},
        {"-device virtio-blk-pci,help", "bootindex=<uint32>"},
        {"-machine help", "alias of pc-q35-7.2"},
        {"-cpu help", "qemu64"},
        {"-accel help", "jit"},
        {"-netdev help", "user"},
        {"-nic help", "tap"},
        {"-chardev help", "ringbuf"},
        {"-object help", "rng-random"},
        {"-d help", "guest_errors"},
        {"-trace help", "blk_submit"},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        struct vm_options *o = parse_ok(cases[i].words);
        g_assert_nonnull(o->answer);
        if (!strstr(o->answer, cases[i].has)) {
            g_error("%s does not say '%s'", cases[i].words, cases[i].has);
        }
        vm_options_free(o);
    }
    parse_fails("-device nosuch,help", "there is no device 'nosuch'");
}

/* Command lines as a manager and a tutorial write them: one option and its value per line. */
static struct vm_options *parse_file(const char *name)
{
    g_autofree char *path = g_test_build_filename(G_TEST_DIST, "argv", name, NULL);
    g_autofree char *text = NULL;
    g_autoptr(GError) err = NULL;
    g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
    g_auto(GStrv) lines = g_strsplit(g_strchomp(text), "\n", -1);
    g_autoptr(GPtrArray) words = g_ptr_array_new_with_free_func(g_free);
    g_ptr_array_add(words, g_strdup("hanok-vm"));
    for (char **l = lines; *l; l++) {
        char *blank = strchr(*l, ' ');
        g_ptr_array_add(words, blank ? g_strndup(*l, blank - *l) : g_strdup(*l));
        if (blank) {
            g_ptr_array_add(words, g_strdup(blank + 1));
        }
    }
    g_ptr_array_add(words, NULL);
    struct vm_options *o = parse_words((char **)words->pdata, &err);
    g_assert_no_error(err);
    return o;
}

static void test_managers_command_lines(void)
{
    struct vm_options *o = parse_file("direct-kernel.args");
    g_assert_cmpstr(o->cfg->append, ==, "console=ttyS0 quiet");
    g_assert_cmpuint(o->cfg->topology.maxcpus, ==, 2);
    g_assert_true(o->cfg->no_hpet && o->cfg->no_shutdown && o->cfg->nodefaults);
    vm_options_free(o);
    o = parse_file("kitchen-sink.args");
    g_assert_cmpuint(o->cfg->devices->len, ==, 40);
    g_assert_cmpint(o->cfg->on_watchdog, ==, ACTION_RESET);
    vm_options_free(o);
    o = parse_file("uefi.args");
    g_assert_true(props_has(o->cfg->machine, "pflash1"));
    vm_options_free(o);
    o = parse_file("incoming.args");
    g_assert_cmpstr(o->incoming, ==, "defer");
    vm_options_free(o);
    o = parse_file("kvm-host.args");
    g_assert_cmpstr(o->cfg->accels, ==, "kvm");
    g_assert_cmpstr(o->cfg->cpu, ==, "host,migratable=on");
    vm_options_free(o);
}

static void test_tutorial_command_line(void)
{
    struct vm_options *o = parse_file("tutorial.args");
    g_assert_cmpuint(o->cfg->ram_bytes, ==, 8ull << 30);
    g_assert_cmpstr(o->cfg->accels, ==, "tcg");
    assert_item(o->cfg->chardevs, 0,
                "{\"backend\":\"socket\",\"fd\":\"27\",\"id\":\"charmonitor\",\"nowait\":\"on\","
                "\"server\":\"on\"}");
    assert_item(o->cfg->blockdevs, 1,
                "{\"backing\":null,\"driver\":\"qcow2\",\"file\":\"n1-storage\",\"node-name\":"
                "\"n1-format\",\"read-only\":false}");
    vm_options_free(o);
}

static void test_format_is_probed_when_not_said(void)
{
    g_autofree char *path = g_strdup_printf("%s/hanok-probe-%d", g_get_tmp_dir(), getpid());
    g_autofree char *line = g_strdup_printf("-nodefaults -drive if=virtio,file=%s", path);
    g_assert_true(g_file_set_contents(path, "QFI\xfb\0\0\0\3", 8, NULL));
    struct vm_options *o = parse_ok(line);
    g_autofree char *text = item(o->cfg->blockdevs, 0);
    g_assert_nonnull(strstr(text, "\"driver\":\"qcow2\""));
    vm_options_free(o);
    g_unlink(path);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/options/ide-index", test_indices_are_places_of_the_board);
    g_test_add_func("/options/defaults", test_defaults_are_a_card_and_a_port);
    g_test_add_func("/options/graphics", test_graphics_cards_and_viewers);
    g_test_add_func("/options/nographic", test_nographic_muxes_stdio);
    g_test_add_func("/options/machine", test_machine_merges_and_kvm_overrides);
    g_test_add_func("/options/memory", test_memory_sizes);
    g_test_add_func("/options/topology", test_topologies);
    g_test_add_func("/options/drive", test_drive_becomes_node_and_device);
    g_test_add_func("/options/drive-layers", test_drive_options_reach_their_layer);
    g_test_add_func("/options/network", test_network_spellings);
    g_test_add_func("/options/json", test_json_and_text_are_the_same);
    g_test_add_func("/options/global", test_globals);
    g_test_add_func("/options/host", test_monitors_and_host_options);
    g_test_add_func("/options/refused", test_unknown_and_refused);
    g_test_add_func("/options/one-sentence", test_sentences_do_not_repeat_themselves);
    g_test_add_func("/options/silence", test_silence_is_noted_not_said);
    g_test_add_func("/options/help", test_help_lists);
    g_test_add_func("/options/managers", test_managers_command_lines);
    g_test_add_func("/options/tutorial", test_tutorial_command_line);
    g_test_add_func("/options/probe", test_format_is_probed_when_not_said);
    return g_test_run();
}
