/* commands.c - what a test can say.  One function per family, one table of names. */
#include "internal.h"

#include "base/error.h"
#include "base/evloop.h"
#include "base/state.h"
#include "base/util.h"
#include "bus/device.h"
#include "bus/io.h"
#include "bus/pci.h"
#include "machine/machine.h"
#include "mem/guest_mem.h"

#include <inttypes.h>

#define ARGS_MAX     4
#define TRANSFER_MAX (4ull << 20)

struct args {
    unsigned count;
    char *word[ARGS_MAX];
    uint64_t num[ARGS_MAX]; /* of those that are numbers */
    bool is_num[ARGS_MAX];
};

typedef void command_fn(struct devtest *t, const struct args *a, unsigned size);

static struct io_space *mmio_of(struct devtest *t)
{
    return machine_mmio(t->machine);
}

/* --- ports, MMIO, memory --- */

static void cmd_out(struct devtest *t, const struct args *a, unsigned size)
{
    io_space_write(machine_pio(t->machine), a->num[0] & 0xffff, size, a->num[1]);
    devtest_say(t, "OK");
}

static void cmd_in(struct devtest *t, const struct args *a, unsigned size)
{
    uint64_t v = io_space_read(machine_pio(t->machine), a->num[0] & 0xffff, size);
    devtest_say(t, "OK 0x%0*" PRIx64, (int)size * 2, v);
}

/* RAM where there is RAM, else whoever answers at that address, as for a CPU. */
static void cmd_write(struct devtest *t, const struct args *a, unsigned size)
{
    if (guest_mem_write(machine_mem(t->machine), GPA(a->num[0]), &a->num[1], size) < 0)
        io_space_write(mmio_of(t), a->num[0], size, a->num[1]);
    devtest_say(t, "OK");
}

static void cmd_read(struct devtest *t, const struct args *a, unsigned size)
{
    uint64_t v = 0;

    if (guest_mem_read(machine_mem(t->machine), GPA(a->num[0]), &v, size) < 0)
        v = io_space_read(mmio_of(t), a->num[0], size);
    devtest_say(t, "OK 0x%016" PRIx64, v);
}

static void cmd_read_block(struct devtest *t, const struct args *a, unsigned size)
{
    static const char digit[] = "0123456789abcdef";
    uint64_t len = a->num[1];

    if (len == 0 || len > TRANSFER_MAX) {
        devtest_say(t, "FAIL the length must be 1 to %llu", TRANSFER_MAX);
        return;
    }
    g_autofree uint8_t *buf = g_malloc(len);
    if (guest_mem_read(machine_mem(t->machine), GPA(a->num[0]), buf, len) < 0) {
        devtest_say(t, "FAIL not in RAM");
        return;
    }
    g_autofree char *hex = g_malloc(2 * len + 1);
    for (uint64_t i = 0; i < len; i++) {
        hex[2 * i] = digit[buf[i] >> 4];
        hex[2 * i + 1] = digit[buf[i] & 15];
    }
    hex[2 * len] = '\0';
    devtest_say(t, "OK 0x%s", hex);
}

static void put_block(struct devtest *t, uint64_t gpa, const uint8_t *buf, uint64_t len)
{
    if (guest_mem_write(machine_mem(t->machine), GPA(gpa), buf, len) < 0)
        devtest_say(t, "FAIL not in RAM");
    else
        devtest_say(t, "OK");
}

static void cmd_write_block(struct devtest *t, const struct args *a, unsigned size)
{
    const char *hex = a->word[2];
    uint64_t len = a->num[1];

    if (g_str_has_prefix(hex, "0x"))
        hex += 2;
    if (len == 0 || len > TRANSFER_MAX || strlen(hex) != 2 * len) {
        devtest_say(t, "FAIL the length must be 1 to %llu and fit the data", TRANSFER_MAX);
        return;
    }
    g_autofree uint8_t *buf = g_malloc(len);
    for (uint64_t i = 0; i < len; i++) {
        int hi = g_ascii_xdigit_value(hex[2 * i]), lo = g_ascii_xdigit_value(hex[2 * i + 1]);
        if (hi < 0 || lo < 0) {
            devtest_say(t, "FAIL the data must be hexadecimal");
            return;
        }
        buf[i] = (uint8_t)(hi << 4 | lo);
    }
    put_block(t, a->num[0], buf, len);
}

static void cmd_memset(struct devtest *t, const struct args *a, unsigned size)
{
    if (a->num[1] == 0 || a->num[1] > TRANSFER_MAX) {
        devtest_say(t, "FAIL the length must be 1 to %llu", TRANSFER_MAX);
        return;
    }
    g_autofree uint8_t *buf = g_malloc(a->num[1]);
    memset(buf, (int)a->num[2], a->num[1]);
    put_block(t, a->num[0], buf, a->num[1]);
}

/* --- clock, interrupts, run state --- */

static void cmd_clock_step(struct devtest *t, const struct args *a, unsigned size)
{
    struct vm_clock *c = machine_clock(t->machine);
    bool running = machine_run_state(t->machine) == RUN_RUNNING;

    vm_clock_stop(c);
    vm_clock_set_ns(c, vm_clock_ns(c) + a->num[0]);
    if (running)
        vm_clock_start(c);
    devtest_say(t, "OK %" PRIu64, vm_clock_ns(c));
}

static void cmd_intercept(struct devtest *t, const struct args *a, unsigned size)
{
    if (devtest_intercept(t))
        devtest_say(t, "OK");
    else
        devtest_say(t, "FAIL interrupts are told already");
}

static void cmd_stop(struct devtest *t, const struct args *a, unsigned size)
{
    machine_pause(t->machine);
    devtest_say(t, "OK");
}

static void cmd_cont(struct devtest *t, const struct args *a, unsigned size)
{
    machine_run(t->machine);
    devtest_say(t, "OK");
}

static void cmd_reset(struct devtest *t, const struct args *a, unsigned size)
{
    machine_reset(t->machine, CAUSE_HOST_QMP_RESET);
    devtest_say(t, "OK");
}

static void cmd_quit(struct devtest *t, const struct args *a, unsigned size)
{
    devtest_say(t, "OK");
    machine_request_exit(t->machine, 0);
}

/* --- device state; the machine must be stopped --- */

static bool stopped(struct devtest *t)
{
    if (machine_run_state(t->machine) != RUN_RUNNING)
        return true;
    devtest_say(t, "FAIL stop the machine first");
    return false;
}

static void cmd_save(struct devtest *t, const struct args *a, unsigned size)
{
    struct device_list *l = machine_devices(t->machine);
    g_autoptr(GError) err = NULL;
    size_t len;

    if (!stopped(t))
        return;
    struct state_writer *w = state_writer_new();
    pthread_mutex_lock(&l->lock);
    device_list_save(l, w);
    pthread_mutex_unlock(&l->lock);
    const uint8_t *data = state_writer_data(w, &len);
    if (g_file_set_contents(a->word[0], (const char *)data, (gssize)len, &err))
        devtest_say(t, "OK %zu", len);
    else
        devtest_say(t, "FAIL %s", err->message);
    state_writer_free(w);
}

static bool load_devices(struct devtest *t, const uint8_t *data, size_t len, GError **err)
{
    struct device_list *l = machine_devices(t->machine);
    struct state_reader *r = state_reader_new(data, len, err);

    if (!r)
        return false;
    pthread_mutex_lock(&l->lock);
    bool ok = device_list_load(l, r, err) && state_reader_finish(r, err);
    pthread_mutex_unlock(&l->lock);
    state_reader_free(r);
    if (ok && machine_pci(t->machine))
        pci_host_remap(machine_pci(t->machine));
    return ok;
}

static void cmd_load(struct devtest *t, const struct args *a, unsigned size)
{
    g_autoptr(GError) err = NULL;
    g_autofree char *data = NULL;
    gsize len;

    if (!stopped(t))
        return;
    if (g_file_get_contents(a->word[0], &data, &len, &err) &&
        load_devices(t, (const uint8_t *)data, len, &err))
        devtest_say(t, "OK");
    else
        devtest_say(t, "FAIL %s", err->message);
}

/* --- the whole machine, with memory and processors --- */

static void cmd_machine_save(struct devtest *t, const struct args *a, unsigned size)
{
    struct state_writer *w = state_writer_new();
    g_autoptr(GError) err = NULL;
    size_t len = 0;
    bool ok = machine_save(t->machine, w, &err);

    if (ok) {
        const uint8_t *data = state_writer_data(w, &len);
        ok = g_file_set_contents(a->word[0], (const char *)data, (gssize)len, &err);
    }
    if (ok)
        devtest_say(t, "OK %zu", len);
    else
        devtest_say(t, "FAIL %s", err->message);
    state_writer_free(w);
}

static void cmd_machine_load(struct devtest *t, const struct args *a, unsigned size)
{
    struct state_reader *r = NULL;
    g_autoptr(GError) err = NULL;
    g_autofree char *data = NULL;
    gsize len;
    bool ok = g_file_get_contents(a->word[0], &data, &len, &err) &&
              (r = state_reader_new((const uint8_t *)data, len, &err)) &&
              machine_load(t->machine, r, &err);

    if (ok)
        devtest_say(t, "OK");
    else
        devtest_say(t, "FAIL %s", err->message);
    state_reader_free(r);
}

/* --- the table --- */

static const struct command {
    const char *name;
    unsigned args, numbers; /* the first `numbers` of them must be numbers */
    unsigned size;
    command_fn *fn;
    bool beside_cpus; /* allowed when the machine has processors */
} commands[] = {
    {"outb", 2, 2, 1, cmd_out},
    {"outw", 2, 2, 2, cmd_out},
    {"outl", 2, 2, 4, cmd_out},
    {"inb", 1, 1, 1, cmd_in},
    {"inw", 1, 1, 2, cmd_in},
    {"inl", 1, 1, 4, cmd_in},
    {"writeb", 2, 2, 1, cmd_write},
    {"writew", 2, 2, 2, cmd_write},
    {"writel", 2, 2, 4, cmd_write},
    {"writeq", 2, 2, 8, cmd_write},
    {"readb", 1, 1, 1, cmd_read},
    {"readw", 1, 1, 2, cmd_read},
    {"readl", 1, 1, 4, cmd_read},
    {"readq", 1, 1, 8, cmd_read},
    {"read", 2, 2, 0, cmd_read_block},
    {"write", 3, 2, 0, cmd_write_block},
    {"memset", 3, 3, 0, cmd_memset},
    {"clock_step", 1, 1, 0, cmd_clock_step},
    {"irq_intercept", 0, 0, 0, cmd_intercept},
    {"stop", 0, 0, 0, cmd_stop, true},
    {"cont", 0, 0, 0, cmd_cont, true},
    {"reset", 0, 0, 0, cmd_reset, true},
    {"save", 1, 0, 0, cmd_save},
    {"load", 1, 0, 0, cmd_load},
    {"machine_save", 1, 0, 0, cmd_machine_save, true},
    {"machine_load", 1, 0, 0, cmd_machine_load, true},
    {"quit", 0, 0, 0, cmd_quit, true},
};

static void split(char *line, struct args *a, char **name)
{
    char *save = NULL;

    memset(a, 0, sizeof(*a));
    *name = strtok_r(line, " \t", &save);
    for (char *w; a->count < ARGS_MAX && (w = strtok_r(NULL, " \t", &save)); a->count++) {
        char *end = NULL;
        a->word[a->count] = w;
        a->num[a->count] = g_ascii_strtoull(w, &end, 0);
        a->is_num[a->count] = *end == '\0' && *w != '-';
    }
}

void devtest_command(struct devtest *t, char *line)
{
    struct args a;
    char *name;

    split(line, &a, &name);
    if (!name)
        return;
    for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
        const struct command *c = &commands[i];
        if (strcmp(c->name, name))
            continue;
        if (machine_cpus(t->machine) && !c->beside_cpus) {
            devtest_say(t, "FAIL %s needs -accel qtest: this machine has processors", name);
            return;
        }
        if (a.count != c->args) {
            devtest_say(t, "FAIL %s takes %u arguments", name, c->args);
            return;
        }
        for (unsigned k = 0; k < c->numbers; k++) {
            if (!a.is_num[k]) {
                devtest_say(t, "FAIL '%s' is not a number", a.word[k]);
                return;
            }
        }
        c->fn(t, &a, c->size);
        return;
    }
    devtest_say(t, "FAIL unknown command '%s'", name);
}
