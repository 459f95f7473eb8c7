/* lab_int.h - what the experiments share: machines, the host's loops, results.  Private to src/lab.
 */
#ifndef LAB_LAB_INT_H
#define LAB_LAB_INT_H

#include "lab/lab.h"

#include "base/error.h"
#include "base/util.h"
#include "manager/proc.h"
#include "manager/qmp.h"

#include <jansson.h>
#include <sys/types.h>

enum { EN, KO, LANGS };

struct lab {
    struct lab_options opt;
    char *tmp;         /* sockets, images; removed at the end */
    char *guest;       /* the guests' directory */
    char *vm, *native; /* hanok-vm, the lab's program */
    const char *accel;
    int pcpu;
    GPtrArray *loops; /* pids of running host loops */
};

/* ---- results: result.c ---- */

enum verdict { SHOWN, NOT_SHOWN, NOT_MEASURED };

struct result {
    const char *name;
    char *dir; /* OUTPUT/NAME */
    json_t *o; /* result.json */
};
/* Text in both languages; both take the same arguments, in the same order. */
#define BOTH(en, ko)                                                                               \
    (const char *const[])                                                                          \
    {                                                                                              \
        en, ko                                                                                     \
    }
void result_note(struct result *r, const char *const text[LANGS], ...);
/* What theory says, and what was seen. */
void result_observe(struct result *r, enum verdict v, const char *const theory[LANGS],
                    const char *const seen[LANGS], ...);
/* A table: columns are one string per language, separated by '|'; then rows the same way. */
json_t *result_table(struct result *r, const char *const title[LANGS],
                     const char *const columns[LANGS]);
void table_row(json_t *table, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* A figure for tests and for those who compare runs. */
void result_number(struct result *r, const char *key, double value);
double result_get(const struct result *r, const char *key); /* NaN: not there */
/* A CSV file in the result's directory: header line, then lines by csv->fn. */
FILE *result_csv(struct result *r, const char *file, const char *header);
/* commands are gnuplot's, without terminal and output; SVG and PNG are made of them. */
void result_plot(struct result *r, const char *base, const char *const caption[LANGS],
                 const char *commands, ...) PRINTF_LIKE(4, 5);
bool result_save(struct result *r, GError **err);

/* ---- machines: machine.c ---- */

struct lab_vm {
    struct lab *lab;
    char *name, *dir;
    pid_t pid;
    struct qmp *q;
    int channel;
    GString *in; /* what came and is not read yet */
    uint64_t memory_kib;
};
struct vm_wish {
    const char *name;
    unsigned memory_mib, vcpus;
    const char *accel;        /* NULL: the lab's */
    const char *flavour;      /* NULL: cloud */
    const char *kernel_words; /* on the kernel's command line, beside the lab's; may be NULL */
    bool pinned;              /* every thread on the lab's CPU */
    const char *const *more;  /* further arguments, NULL-terminated; may be NULL */
};
/* Started, booted, at its command loop. */
struct lab_vm *vm_boot(struct lab *lab, const struct vm_wish *w, GError **err);
void vm_end(struct lab_vm *vm);  /* accepts NULL */
void vm_kill(struct lab_vm *vm); /* SIGKILL, and waits */
/* One command; the answer without its end mark (g_free), or NULL. */
char *vm_ask(struct lab_vm *vm, unsigned timeout_s, GError **err, const char *fmt, ...)
    PRINTF_LIKE(4, 5);
bool vm_send(struct lab_vm *vm, const char *line, GError **err);
/* The next line of an answer, or NULL when none came in time. */
char *vm_line(struct lab_vm *vm, unsigned timeout_s);
/* The same commands on the host itself. */
char *native_ask(struct lab *lab, GError **err, const char *fmt, ...) PRINTF_LIKE(3, 4);
/* "key 17" of an answer; 0 when it is not there. */
uint64_t answer(const char *text, const char *key);
pid_t vm_vcpu_tid(struct lab_vm *vm, unsigned index);
bool vm_pin(struct lab_vm *vm, int cpu);
/* Sum over all vcpus of a counter of query-stats' provider hanok. */
uint64_t vm_counter(struct lab_vm *vm, const char *name);
uint64_t vm_queue_counter(struct lab_vm *vm, const char *name);
bool vm_memory(struct lab_vm *vm, struct memory_picture *out);
bool lab_has_guest(const struct lab *lab, const char *flavour);

/* ---- the host: host.c ---- */

#define RAISED -15                               /* nice */
void raise_priority(const struct lab *lab);      /* in a child, when asked for */
pid_t host_loop_start(struct lab *lab, int cpu); /* never sleeps, on that CPU */
void host_loop_stop(struct lab *lab, pid_t pid);
uint64_t process_cpu_ns(pid_t pid); /* user and system */
/* Ticks of a CPU (/proc/stat): all, and those of user and nice. */
void host_cpu_ticks(int cpu, uint64_t *all, uint64_t *user, uint64_t *system);
uint64_t host_meminfo_kib(const char *key);
bool make_file(const char *path, uint64_t bytes, GError **err); /* filled, not sparse */
/* Takes the file out of the page cache; false: only as far as the kernel liked. */
bool drop_file(const char *path);
bool drop_all_caches(void); /* needs root */
void sleep_ms(unsigned ms);
void progress_line(const char *fmt, ...) PRINTF_LIKE(1, 2);

/* ---- experiments ---- */

struct experiment {
    const char *name;
    const char *title[LANGS], *intro[LANGS];
    bool (*run)(struct lab *lab, struct result *r, GError **err);
};
extern const struct experiment exp_sched, exp_steal, exp_threads, exp_memory, exp_disk, exp_virtio,
    exp_accel, exp_passthrough;

#endif
