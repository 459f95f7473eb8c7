/* hmp.c - the human monitor's commands and its terminal sessions. */
#include "hmp.h"

#include "base/log.h"
#include "base/trace.h"
#include "chardev/chardev.h"
#include "commands.h"
#include "cpu/vcpu.h"
#include "display/console.h"
#include "display/input.h"

void hmp_printf(struct hmp *h, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    g_string_append_vprintf(h->out, fmt, ap);
    va_end(ap);
}

void hmp_error(struct hmp *h, GError *err)
{
    hmp_printf(h, "Error: %s\n", err->message);
    g_error_free(err);
}

/* ---- commands ---- */

static void do_help(struct hmp *h, const char *args)
{
    for (const struct hmp_command *c = hmp_commands; c->name; c++) {
        if (!*args || !strcmp(args, c->name)) {
            hmp_printf(h, "%s %s -- %s\n", c->name, c->args, c->help);
        }
    }
    if (!strcmp(args, "info")) {
        hmp_info(h, "");
    }
}

static void do_quit(struct hmp *h, const char *args)
{
    machine_request_shutdown(h->m, CAUSE_HOST_QMP_QUIT);
}

static void do_screendump(struct hmp *h, const char *args)
{
    struct console *c = console_first();
    g_auto(GStrv) words = g_strsplit(args, " ", 3);
    bool png = words[0] && !strcmp(words[0], "-f") && words[1] && !strcmp(words[1], "png");
    const char *file = png ? words[2] : args;
    GError *err = NULL;
    if (!c) {
        hmp_printf(h, "Error: there is no graphics card\n");
    } else if (!file || !*file) {
        hmp_printf(h, "Error: a file name is needed\n");
    } else if (!console_dump(c, file, png, &err)) {
        hmp_error(h, err);
    }
}

static void do_sendkey(struct hmp *h, const char *args)
{
    GError *err = NULL;
    if (!send_keys(args, &err)) {
        hmp_error(h, err);
    }
}

static void do_mouse_move(struct hmp *h, const char *args)
{
    char *rest;
    long dx = strtol(args, &rest, 10), dy = strtol(rest, NULL, 10);
    input_move((int)CLAMP(dx, -4096, 4096), (int)CLAMP(dy, -4096, 4096));
}

static void do_mouse_button(struct hmp *h, const char *args)
{
    unsigned long bits = strtoul(args, NULL, 0);
    input_buttons((bits & 1 ? INPUT_LEFT : 0) | (bits & 2 ? INPUT_MIDDLE : 0) |
                  (bits & 4 ? INPUT_RIGHT : 0));
}

static void do_stop(struct hmp *h, const char *args)
{
    machine_pause(h->m);
}

static void do_cont(struct hmp *h, const char *args)
{
    GError *err = NULL;
    if (!cont_possible(h->m, &err)) {
        hmp_error(h, err);
        return;
    }
    machine_run(h->m);
}

static void do_reset(struct hmp *h, const char *args)
{
    machine_request_reset(h->m, CAUSE_HOST_QMP_RESET);
}

static void do_powerdown(struct hmp *h, const char *args)
{
    GError *err = NULL;
    if (!powerdown_possible(h->m, &err)) {
        hmp_error(h, err);
    }
}

/* The commands that are a QMP command with one argument. */
static void via_qmp(struct hmp *h, qmp_handler *handler, json_t *args_stolen)
{
    GError *err = NULL;
    struct qmp_call call = {.m = h->m};
    json_t *result = handler(&call, args_stolen, &err);
    json_decref(args_stolen);
    json_decref(result);
    if (!result) {
        hmp_error(h, err);
    }
}

static void do_nmi(struct hmp *h, const char *args)
{
    via_qmp(h, cmd_inject_nmi, json_object());
}

static void do_balloon(struct hmp *h, const char *args)
{
    guint64 mib;
    if (!g_ascii_string_to_unsigned(args, 10, 1, 1ull << 34, &mib, NULL)) {
        hmp_printf(h, "Error: balloon needs the size the guest shall have, in MiB\n");
        return;
    }
    via_qmp(h, cmd_balloon, json_pack("{sI}", "value", (json_int_t)(mib * MiB)));
}

static void do_set_link(struct hmp *h, const char *args)
{
    g_auto(GStrv) w = g_strsplit(args, " ", 3);
    if (g_strv_length(w) != 2 || (strcmp(w[1], "on") && strcmp(w[1], "off"))) {
        hmp_printf(h, "Error: set_link needs a name, and on or off\n");
        return;
    }
    if (!set_link(h->m, w[0], !strcmp(w[1], "on"))) {
        hmp_printf(h, "Error: there is no network '%s'\n", w[0]);
    }
}

static void do_log(struct hmp *h, const char *args)
{
    if (!strcmp(args, "none")) {
        log_set_level(LOG_LEVEL_WARNING);
        trace_disable("*");
    } else if (!strcmp(args, "guest_errors")) {
        log_set_level(LOG_LEVEL_DEBUG);
    } else {
        hmp_printf(h, "Error: log takes 'guest_errors' or 'none'; trace-event switches the rest\n");
    }
}

static void do_trace_event(struct hmp *h, const char *args)
{
    g_auto(GStrv) w = g_strsplit(args, " ", 3);
    bool on = w[0] && w[1] && !strcmp(w[1], "on");
    if (g_strv_length(w) != 2 || (!on && strcmp(w[1], "off"))) {
        hmp_printf(h, "Error: trace-event needs a pattern, and on or off\n");
        return;
    }
    int found = on ? trace_enable(w[0]) : trace_disable(w[0]);
    if (!found) {
        hmp_printf(h, "Error: no trace point is called '%s'\n", w[0]);
    }
}

const struct hmp_command hmp_commands[] = {
    {"help", "[command]", "list the commands", do_help},
    {"?", "[command]", "the same", do_help},
    {"info", "[topic]", "show facts of the machine; without a topic, list the topics", hmp_info},
    {"quit", "", "end the virtual machine", do_quit},
    {"q", "", "the same", do_quit},
    {"screendump", "[-f png] file", "save the screen as PPM or PNG", do_screendump},
    {"sendkey", "key[-key...]", "press keys together, like ctrl-alt-delete", do_sendkey},
    {"mouse_move", "dx dy", "move the mouse", do_mouse_move},
    {"mouse_button", "state", "hold mouse buttons: 1 left, 2 middle, 4 right", do_mouse_button},
    {"stop", "", "stop the CPUs", do_stop},
    {"cont", "", "let them go on", do_cont},
    {"c", "", "the same", do_cont},
    {"system_reset", "", "reset the machine", do_reset},
    {"system_powerdown", "", "press the power button", do_powerdown},
    {"nmi", "", "send a non-maskable interrupt to the CPUs", do_nmi},
    {"balloon", "MIB", "ask the guest to shrink or grow to this size", do_balloon},
    {"set_link", "NAME on|off", "plug or unplug a network cable", do_set_link},
    {"x", "[/FMT] ADDR", "examine guest virtual memory, as CPU 0 sees it", hmp_examine_virtual},
    {"xp", "[/FMT] ADDR", "examine guest physical memory", hmp_examine_physical},
    {"p", "[/FMT] EXPR", "print a value: numbers, $registers, + and -", hmp_print},
    {"print", "[/FMT] EXPR", "the same", hmp_print},
    {"log", "guest_errors|none", "log what guests do wrong", do_log},
    {"trace-event", "PATTERN on|off", "switch trace points", do_trace_event},
    {NULL},
};

static void run_line(struct hmp *h, const char *line)
{
    const char *end = line + strcspn(line, " /\t");
    g_autofree char *name = g_strndup(line, end - line);
    while (*end == ' ' || *end == '\t') {
        end++;
    }
    if (!*name) {
        return;
    }
    for (const struct hmp_command *c = hmp_commands; c->name; c++) {
        if (!strcmp(c->name, name)) {
            c->run(h, end);
            return;
        }
    }
    hmp_printf(h, "unknown command: '%s'; 'help' lists the commands\n", name);
}

char *monitor_hmp(struct machine *m, const char *line)
{
    struct hmp h = {.m = m, .out = g_string_new(NULL)};
    g_autofree char *text = g_strstrip(g_strdup(line));
    run_line(&h, text);
    return g_string_free(h.out, FALSE);
}

/* ---- terminal sessions ---- */

struct hmp_session {
    struct machine *m;
    struct chardev_fe *fe;
    struct line_edit edit;
    GString *pending; /* output the chardev has not taken yet */
    bool greeted;
};
static GPtrArray *sessions;

static void flush_pending(struct hmp_session *s)
{
    size_t n = chardev_write(s->fe, (const uint8_t *)s->pending->str, s->pending->len);
    g_string_erase(s->pending, 0, n);
}

static void session_write(void *opaque, const char *text, size_t len)
{
    struct hmp_session *s = opaque;
    for (size_t i = 0; i < len; i++) {
        if (text[i] == '\n') {
            g_string_append_c(s->pending, '\r');
        }
        g_string_append_c(s->pending, text[i]);
    }
    flush_pending(s);
}

static void session_submit(void *opaque, const char *line)
{
    struct hmp_session *s = opaque;
    g_autofree char *text = monitor_hmp(s->m, line);
    session_write(s, text, strlen(text));
    line_edit_show_prompt(&s->edit);
}

static char **session_complete(void *opaque, const char *prefix)
{
    bool info = g_str_has_prefix(prefix, "info ");
    const char *word = info ? prefix + 5 : prefix;
    GPtrArray *words = g_ptr_array_new();
    for (const struct hmp_command *c = info ? hmp_topics : hmp_commands; c->name; c++) {
        if (g_str_has_prefix(c->name, word)) {
            g_ptr_array_add(words, g_strdup(c->name));
        }
    }
    g_ptr_array_add(words, NULL);
    return (char **)g_ptr_array_free(words, FALSE);
}

static size_t session_can_read(void *opaque)
{
    struct hmp_session *s = opaque;
    return s->pending->len ? 0 : 256;
}

static void session_read(void *opaque, const uint8_t *buf, size_t len)
{
    struct hmp_session *s = opaque;
    line_edit_feed(&s->edit, buf, len);
}

static void greet(struct hmp_session *s)
{
    static const char banner[] =
        "\nhanok-vm " HANOK_VERSION " monitor: 'help' lists the commands\n";
    session_write(s, s->greeted ? "\n" : banner, s->greeted ? 1 : strlen(banner));
    s->greeted = true;
    line_edit_show_prompt(&s->edit);
}

static void session_event(void *opaque, enum chardev_event ev)
{
    struct hmp_session *s = opaque;
    switch (ev) {
    case CHARDEV_OPENED:
        s->greeted = false;
        g_string_truncate(s->pending, 0);
        if (chardev_has_focus(s->fe)) {
            greet(s);
        }
        break;
    case CHARDEV_MUX_IN:
        greet(s);
        break;
    case CHARDEV_WRITABLE:
        flush_pending(s);
        chardev_accept_input(s->fe);
        break;
    default:
        break;
    }
}

static const struct chardev_fe_ops session_ops = {
    .can_read = session_can_read, .read = session_read, .event = session_event};

static void session_free(struct hmp_session *s)
{
    chardev_detach(s->fe);
    line_edit_clear(&s->edit);
    g_string_free(s->pending, TRUE);
    g_free(s);
}

bool hmp_session_add(struct machine *m, struct chardev *c, GError **err)
{
    struct hmp_session *s = g_new0(struct hmp_session, 1);
    s->m = m;
    s->pending = g_string_new(NULL);
    line_edit_init(&s->edit, "(hanok) ", s);
    s->edit.write = session_write;
    s->edit.submit = session_submit;
    s->edit.complete = session_complete;
    s->fe = chardev_attach(c, &session_ops, s, err);
    if (!s->fe) {
        session_free(s);
        return false;
    }
    chardev_set_open(s->fe, true);
    if (!sessions) {
        sessions = g_ptr_array_new();
    }
    g_ptr_array_add(sessions, s);
    return true;
}

void hmp_close_all(void)
{
    for (unsigned i = 0; sessions && i < sessions->len; i++) {
        session_free(g_ptr_array_index(sessions, i));
    }
    g_clear_pointer(&sessions, g_ptr_array_unref);
}
