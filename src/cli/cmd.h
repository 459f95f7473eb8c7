/* cmd.h - one command of hanok: its verb, its options, its way to print.
 *
 * A verb is a row in a verb table (verb_*.c) with the options it takes; parsing, help, completion
 * and the check of unknown words come from that row.  A verb's function returns an exit status;
 * what it could not do is one sentence on standard error (cmd_fail).  Verbs that read offer --json.
 * One thread; a cmd lives as long as its verb's function. */
#ifndef CLI_CMD_H
#define CLI_CMD_H

#include "manager/vm.h"

#include <jansson.h>

enum {
    OPT_FLAG = 1,
    OPT_REQUIRED = 2,
    OPT_NAMED = 4, /* never positional */
    OPT_MANY = 8,
    OPT_MAYBE = 16, /* its value may be left out: "" */
};

struct opt {
    const char *name, *help;
    unsigned flags;
};

struct cmd;
struct verb {
    const char *name, *help;
    bool json;
    int (*run)(struct cmd *c);
    const struct opt *opts; /* ends with a NULL name; may be NULL */
    const char *example;
};
struct verb_group {
    const char *title;
    const struct verb *verbs; /* ends with a NULL name */
};
extern const struct verb_group host_verbs, define_verbs, life_verbs, info_verbs, stats_verbs,
    lab_verbs, tune_verbs, device_verbs, guest_verbs, storage_verbs, make_verbs;
extern const struct verb_group *const verb_groups[]; /* ends with NULL */

struct cmd {
    const struct verb *verb;
    GHashTable *values; /* name -> GPtrArray of char * */
    bool json, quiet;
    const char *uri;
    struct store *store; /* opened when first asked for */
};

/* The whole program after its own options: argv[0] is the verb. */
int cmd_main(int argc, char **argv, const char *uri, bool quiet);
int cmd_help(struct cmd *c);

const char *cmd_str(struct cmd *c, const char *name); /* NULL when not given */
GPtrArray *cmd_all(struct cmd *c, const char *name);  /* every value; NULL when not given */
bool cmd_flag(struct cmd *c, const char *name);
/* False (and said) when it is given and not a number. */
bool cmd_number(struct cmd *c, const char *name, int64_t *out);
/* A size with a unit: KiB unless it says otherwise; result in KiB. */
bool cmd_kib(struct cmd *c, const char *name, int64_t *out);
struct store *cmd_store(struct cmd *c);
struct vm *cmd_vm(struct cmd *c);        /* option "domain"; NULL: said */
struct vm *cmd_active_vm(struct cmd *c); /* and it runs */

int cmd_fail(const char *fmt, ...) G_GNUC_PRINTF(1, 2); /* returns 1 */
int cmd_error(GError **err);                            /* says and clears it; returns 1 */
void cmd_say(struct cmd *c, const char *fmt, ...) G_GNUC_PRINTF(2, 3); /* not with --quiet */
/* Prints and frees. */
int cmd_json(json_t *o);

/* Columns of a table: key in each row's object, title. */
struct column {
    const char *key, *title;
};
/* As a table, or as JSON when asked; rows is stolen. */
int cmd_table(struct cmd *c, const struct column *columns, json_t *rows);
/* "Label:   value" lines; width is where values begin. */
int cmd_lines(struct cmd *c, const struct column *lines, unsigned width, json_t *o);
char *json_text(json_t *v); /* of a scalar, for people */

/* ---- shared by verbs ---- */
char *read_input(const char *path, GError **err); /* "-" or "/dev/stdin" too */
bool confirm(const char *question);
struct qmp *vm_monitor_or_say(struct vm *vm);
int console_attach(struct vm *vm, const char *devname);
char *image_tool(void); /* hanok-img beside this program, or in PATH */
/* The socket of a running machine's guest agent. */
char *agent_socket(struct vm *vm, GError **err);
/* Runs it; false and its last words when it fails. */
bool run_tool(char *const *argv, char **out, GError **err);

#define VM_AUTO __attribute__((cleanup(vm_cleanup))) struct vm *
static inline void vm_cleanup(struct vm **vm)
{
    vm_free(*vm);
}
#define DOMAIN_AUTO __attribute__((cleanup(domain_cleanup))) struct domain *
static inline void domain_cleanup(struct domain **d)
{
    domain_free(*d);
}
#define QMP_AUTO __attribute__((cleanup(qmp_cleanup))) struct qmp *
static inline void qmp_cleanup(struct qmp **q)
{
    qmp_close(*q);
}
#define JSON_AUTO __attribute__((cleanup(json_cleanup))) json_t *
static inline void json_cleanup(json_t **o)
{
    json_decref(*o);
}
#define DOMAIN_OPT                                                                                 \
    {                                                                                              \
        "domain", "name, id or UUID of the domain", OPT_REQUIRED                                   \
    }

#endif
