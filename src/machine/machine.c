/* machine.c - makes and ends a machine, and moves it between its run states. */
#include "board.h"

#include "base/error.h"
#include "base/evloop.h"
#include "base/log.h"
#include "base/util.h"
#include "bus/io.h"
#include "bus/lapic.h"
#include "cpu/vcpu.h"
#include "devices/acpi_pm.h"
#include "devices/rtc.h"
#include "display/vnc.h"
#include "display/window.h"
#include "firmware.h"
#include "mem/guest_mem.h"
#include "mem/layout.h"

#include <jansson.h>

const char *run_state_name(enum run_state s)
{
    static const char *const names[] = {
        [RUN_PRELAUNCH] = "prelaunch",
        [RUN_RUNNING] = "running",
        [RUN_PAUSED] = "paused",
        [RUN_SHUTDOWN] = "shutdown",
        [RUN_INTERNAL_ERROR] = "internal-error",
        [RUN_GUEST_PANICKED] = "guest-panicked",
        [RUN_IO_ERROR] = "io-error",
        [RUN_INMIGRATE] = "inmigrate",
        [RUN_WATCHDOG] = "watchdog",
        [RUN_SUSPENDED] = "suspended",
    };
    return names[s];
}

const char *stop_cause_name(enum stop_cause c)
{
    static const char *const names[] = {
        [CAUSE_GUEST_SHUTDOWN] = "guest-shutdown",
        [CAUSE_GUEST_RESET] = "guest-reset",
        [CAUSE_GUEST_PANIC] = "guest-panic",
        [CAUSE_HOST_QMP_QUIT] = "host-qmp-quit",
        [CAUSE_HOST_QMP_RESET] = "host-qmp-system-reset",
        [CAUSE_HOST_SIGNAL] = "host-signal",
        [CAUSE_HOST_UI] = "host-ui",
        [CAUSE_TRIPLE_FAULT] = "guest-reset",
        [CAUSE_DEBUG_EXIT] = "guest-shutdown",
    };
    return names[c];
}

static bool cause_is_guest(enum stop_cause c)
{
    return c == CAUSE_GUEST_SHUTDOWN || c == CAUSE_GUEST_RESET || c == CAUSE_GUEST_PANIC ||
           c == CAUSE_TRIPLE_FAULT || c == CAUSE_DEBUG_EXIT;
}

/* ---- events ---- */

void machine_subscribe(struct machine *m, machine_event_fn *fn, void *opaque)
{
    struct subscriber s = {fn, opaque};
    g_array_append_val(m->subscribers, s);
}

void machine_unsubscribe(struct machine *m, machine_event_fn *fn, void *opaque)
{
    for (guint i = 0; i < m->subscribers->len; i++) {
        struct subscriber *s = &g_array_index(m->subscribers, struct subscriber, i);
        if (s->fn == fn && s->opaque == opaque) {
            g_array_remove_index(m->subscribers, i);
            return;
        }
    }
}

void machine_emit(struct machine *m, const char *name, json_t *data_stolen)
{
    /* A listener may unsubscribe (its client went away) while it is being told. */
    g_autoptr(GArray) now = g_array_copy(m->subscribers);

    for (guint i = 0; i < now->len; i++) {
        struct subscriber *s = &g_array_index(now, struct subscriber, i);
        for (guint k = 0; k < m->subscribers->len; k++) {
            struct subscriber *still = &g_array_index(m->subscribers, struct subscriber, k);
            if (still->fn == s->fn && still->opaque == s->opaque) {
                s->fn(s->opaque, name, data_stolen);
                break;
            }
        }
    }
    json_decref(data_stolen);
}

static json_t *cause_json(enum stop_cause c)
{
    return json_pack("{s:b, s:s}", "guest", cause_is_guest(c), "reason", stop_cause_name(c));
}

/* ---- running and stopping ---- */

static void vm_running_set(struct machine *m, bool running)
{
    pthread_mutex_lock(&m->devices.lock);
    m->devices.vm_running = running;
    pthread_mutex_unlock(&m->devices.lock);
}

static void engines_stop(struct machine *m)
{
    if (m->cpus)
        cpu_set_pause(m->cpus);
    vm_running_set(m, false);
    device_list_drain(&m->devices);
    vm_clock_stop(m->clock);
}

static void engines_start(struct machine *m)
{
    vm_clock_start(m->clock);
    vm_running_set(m, true);
    if (m->cpus && !m->asleep)
        cpu_set_resume(m->cpus);
}

/* With everything stopped: nobody may hold a pointer into what goes away. */
void machine_remap(struct machine *m)
{
    bool running = machine_engines_on(m);

    if (m->exiting)
        return;
    if (running)
        engines_stop(m);
    pthread_mutex_lock(&m->devices.lock);
    mem_layouts_apply(m->mem);
    pthread_mutex_unlock(&m->devices.lock);
    if (running)
        engines_start(m);
}

bool machine_engines_on(const struct machine *m)
{
    return m->state == RUN_RUNNING || m->state == RUN_SUSPENDED;
}

void machine_run(struct machine *m)
{
    /* What has ended needs a reset before it can go on. */
    if (machine_engines_on(m) || m->exiting || m->state == RUN_SHUTDOWN ||
        m->state == RUN_INTERNAL_ERROR)
        return;
    m->state = m->asleep ? RUN_SUSPENDED : RUN_RUNNING;
    engines_start(m);
    machine_emit(m, "RESUME", NULL);
}

void machine_stop(struct machine *m, enum run_state why)
{
    bool was_running = machine_engines_on(m);

    if (was_running)
        engines_stop(m);
    m->state = why;
    if (was_running)
        machine_emit(m, "STOP", NULL);
}

void machine_pause(struct machine *m)
{
    if (machine_engines_on(m))
        machine_stop(m, RUN_PAUSED);
}

static bool board_reset(struct machine *m, GError **err)
{
    pthread_mutex_lock(&m->devices.lock);
    device_list_reset(&m->devices);
    board_cpu_items(m);
    firmware_reset(m);
    mem_layouts_apply(m->mem);
    machine_map_settled(m);
    pthread_mutex_unlock(&m->devices.lock);
    if (m->cpus)
        cpu_set_reset(m->cpus);
    else if (m->own_irqchip)
        lapic_reset(soft_irqchip_lapic(m->own_irqchip, 0), false);
    return m->firmware || firmware_substitute_run(m, err);
}

bool machine_make_again(struct machine *m, GError **err)
{
    m->resets--; /* it has not begun: what holds for the first start still does */
    return board_reset(m, err);
}

void machine_reset(struct machine *m, enum stop_cause cause)
{
    bool was_running = machine_engines_on(m);
    GError *err = NULL;

    if (m->exiting)
        return;
    if (was_running)
        engines_stop(m);
    m->asleep = false;
    if (m->board && !board_reset(m, &err)) {
        log_error("the machine cannot start again: %s", err->message);
        g_clear_error(&err);
        m->state = RUN_INTERNAL_ERROR;
    } else if (was_running) {
        m->state = RUN_RUNNING;
        engines_start(m);
    } else {
        /* A machine that had ended can be continued now, as if just made. */
        m->state = RUN_PRELAUNCH;
    }
    machine_emit(m, "RESET", cause_json(cause));
    if (was_running && m->state == RUN_INTERNAL_ERROR)
        machine_emit(m, "STOP", NULL);
}

bool machine_powerdown(struct machine *m)
{
    if (!m->pm)
        return false;
    pthread_mutex_lock(&m->devices.lock);
    acpi_pm_power_button(m->pm);
    pthread_mutex_unlock(&m->devices.lock);
    machine_emit(m, "POWERDOWN", NULL);
    machine_wake_check(m);
    return true;
}

void machine_end(struct machine *m, int status)
{
    if (m->exiting)
        return;
    m->exiting = true;
    if (machine_engines_on(m))
        engines_stop(m);
    m->state = RUN_SHUTDOWN;
    if (m->exit_fn)
        m->exit_fn(m->exit_opaque, status);
}

void machine_shutdown(struct machine *m, enum stop_cause cause)
{
    /* The user's own wish to end is not held up by -no-shutdown. */
    bool forced =
        cause == CAUSE_HOST_SIGNAL || cause == CAUSE_HOST_QMP_QUIT || cause == CAUSE_HOST_UI;
    bool stay = m->cfg->no_shutdown || m->cfg->on_shutdown == ACTION_PAUSE;

    if (m->exiting)
        return;
    if (cause == CAUSE_GUEST_PANIC)
        stay = m->cfg->on_panic == ACTION_PAUSE;
    machine_emit(m, "SHUTDOWN", cause_json(cause));
    if (stay && !forced)
        machine_stop(m, cause == CAUSE_GUEST_PANIC ? RUN_GUEST_PANICKED : RUN_SHUTDOWN);
    else
        machine_end(m, 0);
}

void machine_set_exit_handler(struct machine *m, void (*fn)(void *opaque, int status), void *opaque)
{
    m->exit_fn = fn;
    m->exit_opaque = opaque;
}

/* ---- making and ending ---- */

/* Whether the processor is one whose address map has the HyperTransport hole. */
static bool cpu_is_amd(const struct vm_config *cfg, bool *amd, GError **err)
{
    uint32_t all[FEAT_WORD_COUNT];
    struct cpu_model *model;

    /* What is unavailable is said once, by whoever makes the processors. */
    g_autofree char *spec = g_strconcat(cfg->cpu ? cfg->cpu : "qemu64", ",check=off", NULL);

    memset(all, 0xff, sizeof(all));
    model = cpu_model_parse(spec, all, err);
    if (!model)
        return false;
    *amd = strcmp(model->vendor, "AuthenticAMD") == 0 || strcmp(model->vendor, "HygonGenuine") == 0;
    cpu_model_free(model);
    return true;
}

/* "auto" is off: firmware that needs system management mode has users who ask for it. */
static bool smm_option(struct machine *m, GError **err)
{
    static const char *const words[] = {"auto", "off", "on", "no", "yes", NULL};
    unsigned word = 0;

    if (!props_get_enum(m->cfg->machine, "smm", words, &word, err))
        return false;
    m->smm_wanted = word == 2 || word == 4;
    if (m->smm_wanted && m->board != &board_q35) {
        m->smm_wanted = false;
        log_warning("-machine smm=on is accepted, but only the q35 machines have system management "
                    "mode.");
    }
    return true;
}

/* Switches that only boards without PCI have. */
static bool foreign_switches(struct machine *m, GError **err)
{
    static const char *const keys[] = {"rtc",           "isa-serial", "auto-kernel-cmdline",
                                       "x-option-roms", "pcie",       "ioapic2"};

    for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
        if (!m->type->no_pci && props_has(m->cfg->machine, keys[i]))
            return error_set(err, HANOK_ERROR_INVALID,
                             "-machine %s has no switch '%s'; machine type microvm has it",
                             m->type->name, keys[i]);
    return true;
}

/* -global driver=ICH9-LPC,property=disable_s3,value=1, and hpet=off of the machine. */
static bool board_options(struct machine *m, GError **err)
{
    bool hpet = !m->cfg->no_hpet;

    if (!props_get_bool(m->cfg->machine, "hpet", &hpet, err))
        return false;
    m->hpet = hpet && !m->type->no_pci;
    m->parts.rtc = m->parts.pit = m->parts.pic = m->parts.serial = true;
    if (!smm_option(m, err) || !foreign_switches(m, err))
        return false;
    m->sleep_s3 = m->sleep_s4 = true;
    for (guint i = 0; i < m->cfg->globals->len; i++) {
        struct props *p = g_ptr_array_index(m->cfg->globals, i);
        const char *driver = "", *property = "";
        uint32_t value = 0; /* QEMU's type for them: 1, not "on" */
        if (!props_get_str(p, "driver", &driver, err) ||
            !props_get_str(p, "property", &property, err))
            return false;
        if (strcmp(driver, "ICH9-LPC") == 0 && strcmp(property, "noreboot") == 0 &&
            !props_get_bool(p, "value", &m->no_reboot_strap, err))
            return false;
        if (strcmp(driver, m->board->pm_driver) != 0 || !g_str_has_prefix(property, "disable_s"))
            continue;
        if (!props_get_u32(p, "value", &value, err))
            return false;
        if (strcmp(property, "disable_s3") == 0)
            m->sleep_s3 = !value;
        else if (strcmp(property, "disable_s4") == 0)
            m->sleep_s4 = !value;
    }
    return true;
}

/* -vnc WHERE[,to=N][,password=on][,password-secret=ID] */
static bool vnc_start(struct machine *m, GError **err)
{
    struct props *p = m->cfg->vnc;
    struct vnc_config cfg = {.name = m->cfg->name};
    const char *secret = NULL;
    g_autofree char *text = NULL;
    uint32_t to = 0;
    bool ok;

    if (!p)
        return true;
    if (!props_get_str(p, "vnc", &cfg.where, err) || !props_get_u32(p, "to", &to, err) ||
        !props_get_bool(p, "password", &cfg.need_password, err) ||
        !props_get_str(p, "password-secret", &secret, err))
        return false;
    if (secret && !(text = machine_secret(m, secret, err)))
        return false;
    cfg.to = to;
    cfg.password = text;
    ok = vnc_open(&cfg, err);
    if (!ok)
        g_prefix_error(err, "-vnc %s: ", cfg.where);
    return ok;
}

static void window_closed(void *opaque)
{
    machine_request_shutdown(opaque, CAUSE_HOST_UI);
}

/* -display sdl[,full-screen=on][,window-close=off][,grab-mod=lshift-lctrl-lalt] */
static bool window_start(struct machine *m, GError **err)
{
    struct props *p = m->cfg->window;
    struct window_config cfg = {.name = m->cfg->name, .opaque = m};
    bool close = true;
    const char *mod = NULL;

    if (!p)
        return true;
    if (!props_get_bool(p, "full-screen", &cfg.full_screen, err) ||
        !props_get_bool(p, "window-close", &close, err) ||
        !props_get_bool(p, "alt_grab", &cfg.grab_with_shift, err) ||
        !props_get_str(p, "grab-mod", &mod, err))
        return false;
    cfg.grab_with_shift |= mod && strcmp(mod, "lshift-lctrl-lalt") == 0;
    cfg.closed = close ? window_closed : NULL;
    if (window_open(&cfg, err))
        return true;
    g_prefix_error(err, "-display: ");
    return false;
}

static bool build(struct machine *m, GError **err)
{
    bool amd = false;

    if (!machine_backends_open(m, err))
        return false;
    if (!m->board) {
        m->accel_sentence = g_strdup("No processor: the machine is empty");
        return true;
    }
    if (machine_cpus_max(m) > m->type->max_cpus)
        return error_set(err, HANOK_ERROR_INVALID,
                         "a machine of type %s has at most %u CPUs, not %u", m->type->name,
                         m->type->max_cpus, machine_cpus_max(m));
    if (!globals_check(m, err) || !board_options(m, err) || !cpu_is_amd(m->cfg, &amd, err) ||
        !m->board->memory_plan(m->cfg->ram_bytes, amd, &m->map, err))
        return false;
    if (!firmware_open(m, err))
        return false;
    if (m->cfg->kernel && !(m->boot = boot_image_open(m->cfg, err)))
        return false;
    if (!board_build(m, err) || (m->pci.root && !pci_check_functions(&m->pci, err)))
        return false;
    if (m->boot)
        boot_image_add_fw_cfg(m->boot, m->fw_cfg);
    if (m->boot && m->firmware) /* it reads fw_cfg */
        boot_image_unload(m->boot);
    return vnc_start(m, err) && window_start(m, err) && board_reset(m, err);
}

struct machine *machine_new(const struct vm_config *cfg, GError **err)
{
    const struct machine_type *type = machine_type_find(cfg, err);
    struct machine *m;

    if (!type)
        return NULL;
    m = g_new0(struct machine, 1);
    m->cfg = cfg;
    m->type = type;
    m->board = type->board;
    m->state = RUN_PRELAUNCH;
    m->clock = vm_clock_new();
    m->mem = guest_mem_new();
    m->subscribers = g_array_new(false, false, sizeof(struct subscriber));
    pthread_mutex_init(&m->request_lock, NULL);
    device_list_init(&m->devices);
    machine_requests_init(m);
    if (build(m, err))
        return m;
    machine_free(m);
    return NULL;
}

void machine_free(struct machine *m)
{
    if (!m)
        return;
    if (machine_engines_on(m))
        engines_stop(m);
    m->exiting = true;
    vnc_close();
    window_close();
    machine_input_remove(m);
    if (m->pio)
        io_space_clear(m->pio);
    if (m->mmio)
        io_space_clear(m->mmio);
    device_list_fini(&m->devices);
    if (m->pci.root)
        pci_host_fini(&m->pci);
    cpu_set_free(m->cpus);
    soft_irqchip_free(m->own_irqchip);
    g_free(m->slots);
    machine_backends_close(m);
    boot_image_free(m->boot);
    io_space_free(m->pio);
    io_space_free(m->mmio);
    guest_mem_free(m->mem);
    ram_block_free(m->ram);
    firmware_close(m);
    vm_clock_free(m->clock);
    machine_requests_fini(m);
    pthread_mutex_destroy(&m->request_lock);
    g_array_free(m->subscribers, true);
    g_free(m->accel_sentence);
    g_free(m);
}

/* ---- parts ---- */

enum run_state machine_run_state(const struct machine *m)
{
    return m->state;
}

const struct vm_config *machine_config(const struct machine *m)
{
    return m->cfg;
}

struct cpu_set *machine_cpus(struct machine *m)
{
    return m->cpus;
}

struct device_list *machine_devices(struct machine *m)
{
    return &m->devices;
}

struct guest_mem *machine_mem(struct machine *m)
{
    return m->mem;
}

struct pci_host *machine_pci(struct machine *m)
{
    return m->pci.root ? &m->pci : NULL;
}

struct io_space *machine_pio(struct machine *m)
{
    return m->pio;
}

struct io_space *machine_mmio(struct machine *m)
{
    return m->mmio;
}

struct irqchip *machine_irqchip(struct machine *m)
{
    return m->irqchip;
}

struct vm_clock *machine_clock(struct machine *m)
{
    return m->clock;
}

const struct machine_type *machine_type_of(const struct machine *m)
{
    return m->type;
}

const char *machine_accel_sentence(const struct machine *m)
{
    return m->accel_sentence;
}
