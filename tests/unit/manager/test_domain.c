/* Domain XML as people and programs get it wrong: what is said, and where. */
#include "manager/argv.h"

#include <glib.h>
#include <string.h>

#define HEAD        "<domain type='qemu'>\n<name>d</name>\n<memory unit='MiB'>64</memory>\n"
#define OS          "<os><type arch='x86_64' machine='q35'>hvm</type></os>\n"
#define DISK(inner) "<devices>\n<disk type='file'>" inner "</disk>\n</devices>\n</domain>"

struct wrong {
    const char *what, *xml, *says;
};

static const struct wrong wrongs[] = {
    {"unknown-element", HEAD OS "<devices>\n<disk><frobnicate/></disk></devices></domain>",
     "line 6: the element <frobnicate> is not known in <disk>"},
    {"unknown-attribute", HEAD OS "<devices>\n<disk devise='disk'/></devices></domain>",
     "line 6: the attribute 'devise' of <disk> is not known; did you mean 'device'"},
    {"word-out-of-list", HEAD OS DISK("<target dev='vda' bus='pcmcia'/>"),
     "line 6: 'bus' of <target> cannot be 'pcmcia'; it is one of: virtio, sata"},
    {"number-that-is-none", HEAD "<vcpu>two</vcpu></domain>", "line 4: <vcpu> cannot be 'two'"},
    {"number-too-long", HEAD "<vcpu>99999999999999999999</vcpu></domain>",
     "line 4: <vcpu> cannot be"},
    {"too-many-vcpus", HEAD OS "<vcpu>100000</vcpu></domain>", "<vcpu> is a number from 1 to 288"},
    {"current-above-max", HEAD OS "<vcpu current='3'>2</vcpu></domain>", "current='3'"},
    {"vcpu-0-can-go",
     HEAD OS
     "<vcpu>2</vcpu><vcpus><vcpu id='0' enabled='yes' hotpluggable='yes'/></vcpus></domain>",
     "vcpu 0 is always enabled"},
    {"vcpu-hole",
     HEAD OS "<vcpu>3</vcpu><vcpus><vcpu id='0' enabled='yes' hotpluggable='no'/>\n<vcpu id='2' "
             "enabled='yes' hotpluggable='no'/></vcpus></domain>",
     "line 6: the vcpus of hotpluggable='no' must be the first ones"},
    {"vcpu-twice",
     HEAD OS "<vcpu>2</vcpu><vcpus><vcpu id='0' enabled='yes'/><vcpu id='0' "
             "enabled='yes'/></vcpus></domain>",
     "for each, once"},
    {"vcpu-beyond",
     HEAD OS "<vcpu>2</vcpu><vcpus><vcpu id='4294967297' enabled='yes'/></vcpus></domain>",
     "id= from 0 to 1"},
    {"element-twice", HEAD "<os/><os/></domain>", "line 4: <os> is given twice"},
    {"text-where-none-is", HEAD OS "<devices>hello</devices></domain>", "<devices> holds no text"},
    {"attribute-of-a-leaf", "<domain>\n<name x='y'>d</name></domain>",
     "line 2: <name> holds only a text"},
    {"no-name", "<domain><memory>65536</memory></domain>", "has no <name>"},
    {"name-with-slash", "<domain><name>a/b</name><memory>65536</memory></domain>",
     "'a/b' contains '/'"},
    {"name-dots", "<domain><name>..</name><memory>65536</memory></domain>", "begins with '.'"},
    {"name-with-newline", "<domain><name>a\nb</name><memory>65536</memory></domain>",
     "control characters"},
    {"no-memory", "<domain><name>a</name></domain>", "has no <memory>"},
    {"memory-overflow", "<domain><name>a</name><memory unit='TiB'>99999999999</memory></domain>",
     "<memory> is too large"},
    {"memory-unit", "<domain><name>a</name><memory unit='stone'>9</memory></domain>",
     "has the unit 'stone'"},
    {"wrong-root", "<network/>", "here stands <network>, and should <domain>"},
    {"not-xml", "hello", "is not well-formed XML"},
    {"cut-off", "<domain><name>x", "is not well-formed XML"},
    {"entities", "<!DOCTYPE d [<!ENTITY a 'b'>]><domain><name>&a;</name></domain>",
     "document type"},
    {"external-entity", "<!DOCTYPE d SYSTEM 'file:///etc/passwd'><domain/>", "document type"},
    {"disk-without-source", HEAD OS DISK("<target dev='vda'/>"), "the disk 'vda' has no <source>"},
    {"disk-without-target", HEAD OS DISK("<source file='/a'/>"), "needs a <target"},
    {"disk-relative-path", HEAD OS DISK("<source file='a.img'/><target dev='vda'/>"),
     "does not begin with '/'"},
    {"disk-iothread-unknown",
     HEAD OS DISK("<driver iothread='3'/><source file='/a'/><target dev='vda'/>"),
     "uses iothread 3"},
    {"disk-native-needs-none",
     HEAD OS DISK("<driver io='native'/><source file='/a'/><target dev='vda'/>"),
     "needs cache='none'"},
    {"two-disks-of-a-name",
     HEAD OS "<devices><disk><source file='/a'/><target dev='vda'/></disk>\n"
             "<disk><source file='/b'/><target dev='vda'/></disk></devices></domain>",
     "line 6: there are two disks 'vda'"},
    {"address-twice",
     HEAD OS "<devices><controller type='pci' index='1' model='pcie-root-port'/>"
             "<rng><backend model='builtin'/><address type='pci' bus='1' slot='0'/></rng>\n"
             "<memballoon model='virtio'><address type='pci' bus='1' slot='0'/></memballoon>"
             "</devices></domain>",
     "01:00.0 is taken twice"},
    {"address-on-no-bus",
     HEAD OS "<devices><rng><backend model='builtin'/><address type='pci' bus='9' slot='0'/></rng>"
             "</devices></domain>",
     "there is no PCI bus 9"},
    {"controller-twice",
     HEAD OS "<devices><controller type='pci' index='1' model='pcie-root-port'/>"
             "<controller type='pci' index='1' model='pcie-root-port'/></devices></domain>",
     "two PCI controllers with index 1"},
    {"boot-order-and-boot-dev",
     HEAD "<os><type>hvm</type><boot dev='hd'/></os>"
          "<devices><disk><source file='/a'/><target dev='vda'/><boot "
          "order='1'/></disk></devices></domain>",
     "exclude each other"},
    {"mac-multicast",
     HEAD OS "<devices><interface type='user'><mac "
             "address='01:00:00:00:00:01'/></interface></devices></domain>",
     "not a MAC address of one card"},
    {"network-without-name", HEAD OS "<devices><interface type='network'/></devices></domain>",
     "needs <source network=''/>"},
    {"forward-of-a-bridge",
     HEAD OS "<devices><interface type='bridge'><source bridge='b'/><portForward proto='tcp'>"
             "<range start='1'/></portForward></interface></devices></domain>",
     "<portForward> is for <interface type='user'>"},
    {"pin-of-no-vcpu", HEAD OS "<cputune><vcpupin vcpu='7' cpuset='0'/></cputune></domain>",
     "0 to 0"},
    {"pin-nonsense", HEAD OS "<cputune><vcpupin vcpu='0' cpuset='0-'/></cputune></domain>",
     "not a list of CPUs"},
    {"topology-product",
     HEAD OS "<vcpu>4</vcpu><cpu mode='maximum'><topology sockets='3' cores='1' "
             "threads='1'/></cpu></domain>",
     "is not <vcpu>'s 4"},
    {"cmdline-without-kernel", HEAD "<os><type>hvm</type><cmdline>x</cmdline></os></domain>",
     "need a <kernel>"},
    {"container", HEAD "<os><type>exe</type></os></domain>", "not 'exe'"},
    {"uuid", HEAD OS "<uuid>no</uuid></domain>", "'no' is not a UUID"},
};

static void test_wrong(gconstpointer data)
{
    const struct wrong *w = data;
    g_autoptr(GError) err = NULL;
    struct domain *d = domain_load(w->xml, &err);
    g_assert_null(d);
    g_assert_nonnull(err);
    if (!strstr(err->message, w->says)) {
        g_test_message("said: %s\nexpected: %s", err->message, w->says);
        g_test_fail();
    }
}

static void test_lenient_keeps_aside(void)
{
    static const char xml[] =
        HEAD OS "<devices>\n<disk colour='red'><source file='/a'/><target dev='vda'/>"
                "<frob a='1'>&lt;x&gt;</frob></disk></devices></domain>";
    g_autoptr(GPtrArray) aside = NULL, none = NULL;
    g_autoptr(GError) err = NULL;
    struct domain *d = domain_load_lenient(xml, &aside, &err);
    g_assert_no_error(err);
    g_assert_cmpuint(aside->len, ==, 2);
    const struct xml_aside *attribute = aside->pdata[0], *element = aside->pdata[1];
    g_assert_cmpstr(attribute->path, ==, "/domain/devices/disk/@colour");
    g_assert_cmpuint(attribute->line, ==, 6);
    g_assert_cmpstr(element->path, ==, "/domain/devices/disk/frob");
    g_assert_cmpstr(element->text, ==, "<frob a=\"1\">&lt;x&gt;</frob>");

    /* What was set aside is in what we write, and that loads strictly. */
    g_autofree char *out = domain_format(d, FORMAT_INACTIVE | FORMAT_SECURE);
    g_assert_nonnull(strstr(out, "/domain/devices/disk/frob"));
    struct domain *again = domain_load(out, &err);
    g_assert_no_error(err);
    g_autofree char *out2 = domain_format(again, FORMAT_INACTIVE | FORMAT_SECURE);
    g_assert_cmpstr(out, ==, out2);
    domain_free(d);
    domain_free(again);
}

static void test_passwords_are_shown_only_when_asked(void)
{
    static const char xml[] =
        HEAD OS "<devices><graphics type='vnc' passwd='hush'/></devices></domain>";
    struct domain *d = domain_load(xml, NULL);
    g_autofree char *plain = domain_format(d, 0), *secure = domain_format(d, FORMAT_SECURE);
    g_assert_null(strstr(plain, "hush"));
    g_assert_nonnull(strstr(secure, "hush"));
    domain_free(d);
}

static void test_live_parts_are_not_in_the_definition(void)
{
    static const char xml[] = HEAD OS "<devices><serial type='pty'/></devices></domain>";
    struct domain *d = domain_load(xml, NULL);
    struct chr *c = d->devices.serials->pdata[0];
    domain_assign_aliases(d);
    xml_num_set(&d->id, 7);
    c->source.path = g_strdup("/dev/pts/9");
    g_autofree char *live = domain_format(d, 0), *inactive = domain_format(d, FORMAT_INACTIVE);
    g_assert_nonnull(strstr(live, "id='7'"));
    g_assert_nonnull(strstr(live, "<alias name='serial0'/>"));
    g_assert_nonnull(strstr(live, "/dev/pts/9"));
    g_assert_null(strstr(inactive, "id='7'"));
    g_assert_null(strstr(inactive, "alias"));
    g_assert_null(strstr(inactive, "/dev/pts/9"));
    domain_free(d);
}

static void test_special_characters_survive(void)
{
    static const char xml[] =
        HEAD OS "<title>&lt;&amp;&gt;'\"</title><devices><disk>"
                "<source file=\"/a'b&amp;&lt;&#9;.img\"/><target dev='vda'/></disk>"
                "</devices></domain>";
    struct domain *d = domain_load(xml, NULL);
    g_autofree char *out = domain_format(d, FORMAT_INACTIVE);
    struct domain *again = domain_load(out, NULL);
    g_assert_nonnull(again);
    g_assert_cmpstr(again->title, ==, "<&>'\"");
    g_assert_cmpstr(((struct disk *)again->devices.disks->pdata[0])->source.file, ==,
                    "/a'b&<\t.img");
    domain_free(d);
    domain_free(again);
}

static void test_deep_nesting_is_refused_not_followed(void)
{
    g_autoptr(GString) s =
        g_string_new(HEAD OS "<devices><disk><source file='/a'/><target dev='vda'/>");
    for (unsigned i = 0; i < 100000; i++) {
        g_string_append(s, "<backingStore>");
    }
    g_autoptr(GError) err = NULL;
    g_assert_null(domain_load(s->str, &err));
    g_assert_nonnull(err);
}

static void test_what_no_command_line_can_do_is_refused(void)
{
    static const struct wrong cases[] = {
        {"tpm",
         HEAD OS
         "<devices>\n<tpm model='tpm-crb'><backend type='emulator'/></tpm></devices></domain>",
         "line 6: a <tpm> is not possible"},
        {"transient", HEAD OS DISK("<source file='/a'/><target dev='vda'/><transient/>"),
         "line 6: <transient/>"},
        {"filter",
         HEAD OS
         "<devices>\n<interface type='user'><filterref filter='x'/></interface></devices></domain>",
         "line 6: <filterref> is not possible"},
        {"iscsi",
         HEAD OS "<devices><disk type='network'><source protocol='iscsi' name='x'/><target "
                 "dev='vda'/></disk>"
                 "</devices></domain>",
         "protocol='nbd', not 'iscsi'"},
    };
    const struct argv_options o = {.dir = "/r", .nvram_dir = "/n", .native = true};
    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(GError) err = NULL;
        struct domain *d = domain_load(cases[i].xml, &err);
        g_assert_no_error(err);
        g_assert_null(domain_argv(d, &o, &err));
        g_assert_nonnull(strstr(err->message, cases[i].says));
        domain_free(d);
    }
}

static void test_cpusets(void)
{
    unsigned long bits[2];
    g_assert_true(cpuset_parse("0-3,^2,65", 128, bits, NULL));
    g_autofree char *text = cpuset_format(bits, 128);
    g_assert_cmpstr(text, ==, "0-1,3,65");
    g_assert_false(cpuset_parse("3-1", 128, bits, NULL));
    g_assert_false(cpuset_parse("128", 128, bits, NULL));
    g_assert_false(cpuset_parse("1,^1", 128, bits, NULL));
    g_assert_false(cpuset_parse("", 128, bits, NULL));
    g_assert_false(cpuset_parse("99999999999999999999", 128, bits, NULL));
}

static void test_disk_names(void)
{
    g_assert_cmpint(disk_index("vda"), ==, 0);
    g_assert_cmpint(disk_index("sdz"), ==, 25);
    g_assert_cmpint(disk_index("vdaa"), ==, 26);
    g_assert_cmpint(disk_index("vd"), ==, -1);
    g_assert_cmpint(disk_index("vdA"), ==, -1);
    g_assert_cmpint(disk_index("nvme0"), ==, -1);
    g_assert_cmpint(disk_index("vdaaaaaaaaaaaaaaaa"), ==, -1);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    for (unsigned i = 0; i < G_N_ELEMENTS(wrongs); i++) {
        g_autofree char *path = g_strconcat("/wrong/", wrongs[i].what, NULL);
        g_test_add_data_func(path, &wrongs[i], test_wrong);
    }
    g_test_add_func("/lenient/keeps-aside", test_lenient_keeps_aside);
    g_test_add_func("/format/passwords-only-when-asked", test_passwords_are_shown_only_when_asked);
    g_test_add_func("/format/live-parts-not-in-definition",
                    test_live_parts_are_not_in_the_definition);
    g_test_add_func("/format/special-characters-survive", test_special_characters_survive);
    g_test_add_func("/parse/deep-nesting-refused", test_deep_nesting_is_refused_not_followed);
    g_test_add_func("/argv/impossible-is-refused", test_what_no_command_line_can_do_is_refused);
    g_test_add_func("/words/cpusets", test_cpusets);
    g_test_add_func("/words/disk-names", test_disk_names);
    return g_test_run();
}
