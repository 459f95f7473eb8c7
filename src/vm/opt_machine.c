/* opt_machine.c - options that describe the board: -machine, -accel, -cpu, -smp, -m, -kernel ... */
#include "opt_int.h"

/* Values of -machine that say something we can answer; the board reads those that matter to it. */
static const char *const machine_keys[] = {
    "type",
    "accel",
    "usb",
    "dump-guest-core",
    "memory-backend",
    "pflash0",
    "pflash1",
    "smm",
    "vmport",
    "graphics",
    "hpet",
    "kernel-irqchip",
    "pit",
    "pic",
    "i8042",
    "sata",
    "rtc",
    "isa-serial",
    "auto-kernel-cmdline",
    "x-option-roms",
    "pcie",
    "ioapic2",
    "smbus",
    "acpi",
    "nvdimm",
    "mem-merge",
    "max-ram-below-4g",
    "firmware",
    "kernel_irqchip",
    "phandle_start",
    NULL,
};

/* Switches whose other setting we do not have. */
static const struct {
    const char *key;
    bool only;
    const char *why;
} fixed_switches[] = {
    {"acpi", true, "the machine always has ACPI"},
    {"nvdimm", false, "there is no persistent memory"},
};

static const struct {
    const char *key;
    const char *why;
} later_switches[] = {
    {"vmport", "the VMware port comes with a later version: it reads as nothing"},
};

static bool check_switches(struct props *p, GError **err)
{
    for (size_t i = 0; i < ARRAY_SIZE(fixed_switches); i++) {
        bool on = fixed_switches[i].only;
        if (!props_get_bool(p, fixed_switches[i].key, &on, err)) {
            return false;
        }
        if (on != fixed_switches[i].only) {
            return error_set(err, HANOK_ERROR_UNSUPPORTED, "%s=%s is not possible: %s",
                             fixed_switches[i].key, on ? "on" : "off", fixed_switches[i].why);
        }
    }
    for (size_t i = 0; i < ARRAY_SIZE(later_switches); i++) {
        const char *text = NULL;
        json_t *v = props_get_json(p, later_switches[i].key);
        text = json_is_string(v) ? json_string_value(v) : NULL;
        if (text && strcmp(text, "off") && strcmp(text, "auto") && strcmp(text, "no")) {
            log_warning("-machine %s=%s is accepted, but %s.", later_switches[i].key, text,
                        later_switches[i].why);
        }
    }
    return true;
}

static bool set_accels(struct vm_options *o, const char *text, GError **err)
{
    static const char *const names[] = {"kvm", "jit", "tcg"};
    g_auto(GStrv) parts = g_strsplit(text, ":", -1);
    for (char **s = parts; *s; s++) {
        if (strcmp(*s, "kvm") && strcmp(*s, "jit") && strcmp(*s, "tcg") && strcmp(*s, "qtest")) {
            g_autofree char *near = error_nearest(*s, names, ARRAY_SIZE(names));
            return error_set(err, HANOK_ERROR_INVALID,
                             "there is no accelerator '%s'; did you mean %s?", *s, near);
        }
    }
    if (!*parts) {
        return error_set(err, HANOK_ERROR_INVALID,
                         "accel= needs a name: 'kvm', 'jit' or 'kvm:jit'");
    }
    g_free(o->cfg->accels);
    o->cfg->accels = g_strdup(text);
    return true;
}

static bool accel_conflict(struct vm_options *o, GError **err)
{
    if (o->accel_option && o->machine_accel) {
        return error_set(
            err, HANOK_ERROR_INVALID,
            "-accel cannot be mixed with -machine accel= or -enable-kvm: use one kind");
    }
    return true;
}

bool opt_machine(struct vm_options *o, const char *arg, GError **err)
{
    if (wants_help(arg)) {
        return answer(o, help_machines());
    }
    PROPS_AUTO p = props_parse(arg, "type", err);
    const char *accel = NULL, *type = NULL;
    if (!p || !props_get_str(p, "accel", &accel, err) || !props_get_str(p, "type", &type, err)) {
        return false;
    }
    if (type && wants_help(type)) {
        return answer(o, help_machines());
    }
    if (accel) {
        o->machine_accel = true;
        if (!set_accels(o, accel, err)) {
            return false;
        }
    }
    if (!accel_conflict(o, err) || !check_switches(p, err) ||
        !props_check_unused(p, "-machine", machine_keys, err)) {
        return false;
    }
    json_object_del(props_json(p), "accel");
    props_merge(o->cfg->machine, p);
    return true;
}

bool opt_enable_kvm(struct vm_options *o, const char *arg, GError **err)
{
    o->machine_accel = true;
    return accel_conflict(o, err) && set_accels(o, "kvm", err);
}

bool opt_accel(struct vm_options *o, const char *arg, GError **err)
{
    static const char *const thread_modes[] = {"multi", "single", NULL};
    static const char *const known[] = {"tb-size", "tier",   "cosim",          "perf",
                                        "direct",  "places", "kernel-irqchip", NULL};
    if (wants_help(arg)) {
        return answer(o, help_accels());
    }
    PROPS_AUTO p = props_parse(arg, "accel", err);
    const char *name = NULL;
    unsigned threads = 0;
    if (!p || !props_get_str(p, "accel", &name, err) ||
        !props_pick(p, "thread", thread_modes, &threads, err)) {
        return false;
    }
    if (!name) {
        return error_set(err, HANOK_ERROR_INVALID,
                         "the name of an accelerator is missing: kvm or jit");
    }
    if (threads == 1) {
        log_warning("-accel %s,thread=single is accepted, but each CPU has a thread of its own.",
                    name);
    }
    g_autofree char *what = g_strdup_printf("-accel %s", name);
    if (!props_check_unused(p, what, known, err)) {
        return false;
    }
    g_autofree char *before = o->accel_option ? g_strdup(o->cfg->accels) : NULL;
    o->accel_option = true;
    if (!accel_conflict(o, err) || !set_accels(o, name, err)) {
        return false;
    }
    if (before) { /* each -accel is one more to try */
        g_free(o->cfg->accels);
        o->cfg->accels = g_strdup_printf("%s:%s", before, name);
    }
    json_object_del(props_json(p), "accel");
    json_object_del(props_json(p), "thread");
    props_merge(o->cfg->accel_props, p);
    return true;
}

static bool set_text(char **slot, const char *text)
{
    g_free(*slot);
    *slot = g_strdup(text);
    return true;
}

bool opt_cpu(struct vm_options *o, const char *arg, GError **err)
{
    return wants_help(arg) ? answer(o, help_cpus()) : set_text(&o->cfg->cpu, arg);
}

/* ---- -smp ---- */

#define CPUS_MAX 65536u

/* Each factor is at most CPUS_MAX, so four of them fit in 128 bits. */
static uint64_t topology_product(const struct cpu_topology *t)
{
    unsigned __int128 n = (unsigned __int128)MAX_OF(t->sockets, 1u) * MAX_OF(t->dies, 1u) *
                          MAX_OF(t->cores, 1u) * MAX_OF(t->threads, 1u);
    return MIN_OF(n, (unsigned __int128)CPUS_MAX + 1);
}

/* Fills in what was not given: one socket, one die, and the rest are cores. */
static bool complete_topology(struct cpu_topology *t, GError **err)
{
    uint64_t given = topology_product(t);
    uint64_t want = t->maxcpus ? t->maxcpus : t->cpus ? t->cpus : given;
    if (!t->cores) {
        t->cores = MAX_OF(want / given, 1u);
    } else if (!t->sockets) {
        t->sockets = MAX_OF(want / given, 1u);
    } else if (!t->threads) {
        t->threads = MAX_OF(want / given, 1u);
    }
    t->sockets = MAX_OF(t->sockets, 1u);
    t->dies = MAX_OF(t->dies, 1u);
    t->threads = MAX_OF(t->threads, 1u);
    uint64_t product = topology_product(t);
    if (!t->maxcpus) {
        t->maxcpus = MAX_OF(t->cpus, product);
    }
    t->cpus = t->cpus ? t->cpus : t->maxcpus;
    if (product > CPUS_MAX) {
        return error_set(err, HANOK_ERROR_INVALID, "that would be more than %u CPUs", CPUS_MAX);
    }
    if (product != t->maxcpus) {
        return error_set(err, HANOK_ERROR_INVALID,
                         "sockets (%u) * dies (%u) * cores (%u) * threads (%u) must be the number "
                         "of CPUs, maxcpus (%u)",
                         t->sockets, t->dies, t->cores, t->threads, t->maxcpus);
    }
    if (t->maxcpus < t->cpus) {
        return error_set(err, HANOK_ERROR_INVALID, "maxcpus (%u) must not be less than cpus (%u)",
                         t->maxcpus, t->cpus);
    }
    return true;
}

bool opt_smp(struct vm_options *o, const char *arg, GError **err)
{
    PROPS_AUTO p = props_parse(arg, "cpus", err);
    struct cpu_topology t = {0};
    unsigned clusters = 1;
    const struct {
        const char *key;
        unsigned *value;
    } fields[] = {{"cpus", &t.cpus},      {"maxcpus", &t.maxcpus}, {"sockets", &t.sockets},
                  {"dies", &t.dies},      {"cores", &t.cores},     {"threads", &t.threads},
                  {"clusters", &clusters}};
    if (!p) {
        return false;
    }
    for (size_t i = 0; i < ARRAY_SIZE(fields); i++) {
        uint32_t n = *fields[i].value;
        if (!props_get_u32(p, fields[i].key, &n, err)) {
            return false;
        }
        if (props_has(p, fields[i].key) && (n < 1 || n > CPUS_MAX)) {
            return error_set(err, HANOK_ERROR_INVALID, "%s must lie between 1 and %u, not %u",
                             fields[i].key, CPUS_MAX, n);
        }
        *fields[i].value = n;
    }
    if (clusters != 1) {
        return error_set(err, HANOK_ERROR_UNSUPPORTED, "clusters must be 1: x86 CPUs have none");
    }
    if (!props_check_unused(p, "-smp", NULL, err) || !complete_topology(&t, err)) {
        return false;
    }
    o->cfg->topology = t;
    return true;
}

/* ---- -m ---- */

bool opt_memory(struct vm_options *o, const char *arg, GError **err)
{
    PROPS_AUTO p = props_parse(arg, "size", err);
    const char *size = NULL, *maxmem = NULL;
    uint32_t slots = 0;
    uint64_t bytes = o->cfg->ram_bytes, max = 0;
    if (!p || !props_get_str(p, "size", &size, err) || !props_get_str(p, "maxmem", &maxmem, err) ||
        !props_get_u32(p, "slots", &slots, err) || !props_check_unused(p, "-m", NULL, err)) {
        return false;
    }
    if (!size && !maxmem && !props_has(p, "slots")) {
        return error_set(err, HANOK_ERROR_INVALID, "a size like 512M or 4G is needed");
    }
    if ((size && !parse_size(size, 'M', &bytes, err)) ||
        (maxmem && !parse_size(maxmem, 'B', &max, err))) {
        return false;
    }
    if (bytes == 0) {
        return error_set(err, HANOK_ERROR_INVALID,
                         "a machine needs memory: the size must not be 0");
    }
    if (bytes > 16 * TiB) {
        return error_set(err, HANOK_ERROR_INVALID,
                         "%s is more memory than a machine can have (16 TiB)", size);
    }
    if (maxmem && max < bytes) {
        return error_set(err, HANOK_ERROR_INVALID, "maxmem=%s must not be less than the size",
                         maxmem);
    }
    o->cfg->ram_bytes = ALIGN_UP(bytes, 8 * KiB);
    o->cfg->maxmem_bytes = maxmem ? max : o->cfg->ram_bytes;
    o->cfg->mem_slots = slots;
    return true;
}

bool opt_mem_prealloc(struct vm_options *o, const char *arg, GError **err)
{
    o->cfg->mem_prealloc = true;
    return true;
}

bool opt_kernel(struct vm_options *o, const char *arg, GError **err)
{
    return set_text(&o->cfg->kernel, arg);
}

bool opt_initrd(struct vm_options *o, const char *arg, GError **err)
{
    return set_text(&o->cfg->initrd, arg);
}

bool opt_append(struct vm_options *o, const char *arg, GError **err)
{
    return set_text(&o->cfg->append, arg);
}

bool opt_bios(struct vm_options *o, const char *arg, GError **err)
{
    return set_text(&o->cfg->firmware, arg);
}

bool opt_firmware_dir(struct vm_options *o, const char *arg, GError **err)
{
    g_ptr_array_add(o->cfg->firmware_dirs, g_strdup(arg));
    return true;
}

bool opt_no_hpet(struct vm_options *o, const char *arg, GError **err)
{
    o->cfg->no_hpet = true;
    return true;
}

bool opt_name(struct vm_options *o, const char *arg, GError **err)
{
    PROPS_AUTO p = props_parse(arg, "guest", err);
    const char *guest = NULL, *process = NULL;
    if (!p || !props_get_str(p, "guest", &guest, err) ||
        !props_get_str(p, "process", &process, err) ||
        !props_get_bool(p, "debug-threads", &o->debug_threads, err) ||
        !props_check_unused(p, "-name", NULL, err)) {
        return false;
    }
    if (guest) {
        set_text(&o->cfg->name, guest);
    }
    if (process) {
        set_text(&o->process_name, process);
    }
    return true;
}

/* 8-4-4-4-12 hexadecimal digits; kept in the order written, as SMBIOS readers expect to print. */
static bool parse_uuid(const char *text, uint8_t out[16])
{
    static const uint8_t dashes[] = {8, 13, 18, 23};
    if (strlen(text) != 36) {
        return false;
    }
    for (size_t i = 0; i < sizeof(dashes); i++) {
        if (text[dashes[i]] != '-') {
            return false;
        }
    }
    unsigned n = 0;
    for (const char *c = text; *c; c += 2) {
        c += *c == '-';
        if (!g_ascii_isxdigit(c[0]) || !g_ascii_isxdigit(c[1])) {
            return false;
        }
        out[n++] = g_ascii_xdigit_value(c[0]) << 4 | g_ascii_xdigit_value(c[1]);
    }
    return n == 16;
}

bool opt_uuid(struct vm_options *o, const char *arg, GError **err)
{
    if (!parse_uuid(arg, o->cfg->uuid)) {
        return error_set(err, HANOK_ERROR_INVALID,
                         "'%s' is not a UUID like 123e4567-e89b-12d3-a456-426614174000", arg);
    }
    o->cfg->have_uuid = true;
    return true;
}

static bool valid_rtc_base(const char *base)
{
    if (!strcmp(base, "utc") || !strcmp(base, "localtime")) {
        return true;
    }
    g_autofree char *with_time =
        strchr(base, 'T') ? g_strdup_printf("%sZ", base) : g_strdup_printf("%sT00:00:00Z", base);
    g_autoptr(GDateTime) t = g_date_time_new_from_iso8601(with_time, NULL);
    return t != NULL;
}

bool opt_rtc(struct vm_options *o, const char *arg, GError **err)
{
    static const char *const clocks[] = {"host", "rt", "vm", NULL};
    static const char *const fixes[] = {"none", "slew", NULL};
    PROPS_AUTO p = props_parse(arg, "base", err);
    const char *base = NULL;
    unsigned pick = 0;
    if (!p || !props_get_str(p, "base", &base, err) ||
        !props_pick(p, "clock", clocks, &pick, err) ||
        !props_pick(p, "driftfix", fixes, &pick, err) ||
        !props_check_unused(p, "-rtc", NULL, err)) {
        return false;
    }
    if (base && !valid_rtc_base(base)) {
        return error_set(err, HANOK_ERROR_INVALID,
                         "base=%s: utc, localtime or a time like 2026-01-31T12:00:00 is needed",
                         base);
    }
    props_merge(o->cfg->rtc, p);
    return true;
}

static bool check_boot_order(const char *key, const char *order, GError **err)
{
    for (const char *c = order; c && *c; c++) {
        if (*c < 'a' || *c > 'p') {
            return error_set(err, HANOK_ERROR_INVALID,
                             "%s=%s: drives are letters: a floppy, c disk, d CD-ROM, n network",
                             key, order);
        }
        if (strchr(c + 1, *c)) {
            return error_set(err, HANOK_ERROR_INVALID, "%s=%s names drive '%c' twice", key, order,
                             *c);
        }
    }
    return true;
}

bool opt_boot(struct vm_options *o, const char *arg, GError **err)
{
    PROPS_AUTO p = props_parse(arg, "order", err);
    const char *order = NULL, *once = NULL, *splash = NULL;
    bool flag = false;
    uint32_t ms = 0;
    if (!p || !props_get_str(p, "order", &order, err) || !props_get_str(p, "once", &once, err) ||
        !props_get_bool(p, "menu", &flag, err) || !props_get_bool(p, "strict", &flag, err) ||
        !props_get_str(p, "splash", &splash, err) || !props_get_u32(p, "splash-time", &ms, err) ||
        !props_get_u32(p, "reboot-timeout", &ms, err) ||
        !props_check_unused(p, "-boot", NULL, err)) {
        return false;
    }
    if (!check_boot_order("order", order, err) || !check_boot_order("once", once, err)) {
        return false;
    }
    props_merge(o->cfg->boot, p);
    return true;
}
