/* passt.c - see passt.h. */
#include "passt.h"

#include "base/util.h"
#include "manager/vm.h"

#include <signal.h>
#include <string.h>
#include <sys/pidfd.h>
#include <unistd.h>

bool passt_wanted(const struct interface *n)
{
    return n->type == NET_USER && word_is(n->backend.type, "passt");
}

char *passt_socket(const struct interface *n, const char *dir)
{
    return g_strdup_printf("%s/%s-passt.sock", dir, n->info.alias.name);
}

static char *pid_file(const struct interface *n, const char *dir)
{
    return g_strdup_printf("%s/%s-passt.pid", dir, n->info.alias.name);
}

static void word(GPtrArray *argv, const char *option, const char *value)
{
    g_ptr_array_add(argv, g_strdup(option));
    if (value) {
        g_ptr_array_add(argv, g_strdup(value));
    }
}

/* "[ADDRESS[%DEV]/]8080:80,~8443,..." */
static char *forward_text(const struct port_forward *f)
{
    GString *s = g_string_new(f->address);
    if (f->dev) {
        g_string_append_printf(s, "%%%s", f->dev);
    }
    if (s->len) {
        g_string_append_c(s, '/');
    }
    for (unsigned i = 0; i < f->ranges->len; i++) {
        const struct port_range *r = f->ranges->pdata[i];
        int start = (int)xml_num_or(r->start, 0), end = (int)xml_num_or(r->end, start);
        int to = (int)xml_num_or(r->to, start);
        g_string_append_printf(s, "%s%s%d", i ? "," : "", word_is(r->exclude, "yes") ? "~" : "",
                               start);
        if (end > start) {
            g_string_append_printf(s, "-%d", end);
        }
        if (r->to.set) {
            g_string_append_printf(s, ":%d", to);
        }
        if (r->to.set && end > start) {
            g_string_append_printf(s, "-%d", to + end - start);
        }
    }
    return g_string_free(s, FALSE);
}

static GPtrArray *command(const struct interface *n, const char *dir)
{
    GPtrArray *a = g_ptr_array_new_with_free_func(g_free);
    g_autofree char *socket = passt_socket(n, dir), *pid = pid_file(n, dir);
    g_autofree char *uid = g_strdup_printf("%u", (unsigned)geteuid());
    word(a, "passt", NULL);
    word(a, "--one-off", NULL);
    word(a, "--socket", socket);
    word(a, "--pid", pid);
    if (!geteuid()) { /* else it becomes nobody, who may not write into the run directory */
        word(a, "--runas", uid);
    }
    if (n->source.dev) {
        word(a, "--interface", n->source.dev);
    }
    if (n->backend.log_file) {
        word(a, "--log-file", n->backend.log_file);
    }
    for (unsigned i = 0; i < n->ips->len; i++) {
        const struct net_address *ip = n->ips->pdata[i];
        g_autofree char *prefix = g_strdup_printf("%d", (int)xml_num_or(ip->prefix, 24));
        word(a, "--address", ip->address);
        if (ip->prefix.set && !word_is(ip->family, "ipv6")) {
            word(a, "--netmask", prefix);
        }
    }
    for (unsigned i = 0; i < n->forwards->len; i++) {
        const struct port_forward *f = n->forwards->pdata[i];
        g_autofree char *text = forward_text(f);
        word(a, word_is(f->proto, "udp") ? "--udp-ports" : "--tcp-ports", text);
    }
    g_ptr_array_add(a, NULL);
    return a;
}

bool passt_start(const struct interface *n, const char *dir, GError **err)
{
    g_autoptr(GPtrArray) argv = command(n, dir);
    g_autofree char *said = NULL, *program = g_find_program_in_path("passt");
    int status = 0;
    if (!program) {
        return error_set(err, HANOK_ERROR_NOT_FOUND,
                         "line %u: <backend type='passt'/> needs the program passt: apt install "
                         "passt, or leave the element out (the built-in network serves then)",
                         n->node.line);
    }
    if (!g_spawn_sync(NULL, (char **)argv->pdata, NULL,
                      G_SPAWN_SEARCH_PATH | G_SPAWN_STDOUT_TO_DEV_NULL, NULL, NULL, NULL, &said,
                      &status, err)) {
        return false;
    }
    g_strchomp(said);
    return g_spawn_check_wait_status(status, NULL) ||
           error_set(err, HANOK_ERROR_IO, "passt did not start: %s",
                     *said ? said : "it does not say why");
}

/* The number is passt's only while its command line says so. */
static bool is_passt(pid_t pid)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/comm", (int)pid), *comm = NULL;
    return g_file_get_contents(path, &comm, NULL, NULL) && g_str_has_prefix(comm, "passt");
}

void passt_end(const struct interface *n, const char *dir)
{
    g_autofree char *path = pid_file(n, dir), *text = NULL;
    pid_t pid =
        g_file_get_contents(path, &text, NULL, NULL) ? (pid_t)g_ascii_strtoll(text, NULL, 10) : 0;
    int fd = pid > 1 ? pidfd_open(pid, 0) : -1;
    if (fd >= 0) {
        if (is_passt(pid)) {
            pidfd_send_signal(fd, SIGTERM, NULL, 0);
        }
        close(fd);
    }
}
