/* snapshot_print.c - a snapshot for people, and for Prometheus. */
#include "snapshot.h"

#include "cmd.h"

#include "base/util.h"
#include "manager/proc.h"

#include <stdio.h>
#include <string.h>

static double seconds(json_int_t ns)
{
    return (double)ns / 1e9;
}

static double mib(json_int_t kib)
{
    return (double)kib / 1024;
}

/* ---- for people ---- */

static void print_threads(json_t *s)
{
    json_t *t;
    size_t i;
    puts("Threads (seconds since the start)\n      TID NAME               ON CPU  WAITED  SLICES "
         "CPUS");
    json_array_foreach(json_object_get(s, "threads"), i, t)
    {
        printf("%9d %-16s %9.2f %7.2f %7" JSON_INTEGER_FORMAT " %s\n",
               (int)snapshot_number(t, "tid", NULL), json_string_value(json_object_get(t, "name")),
               seconds(snapshot_number(t, "run_ns", NULL)),
               seconds(snapshot_number(t, "delay_ns", NULL)), snapshot_number(t, "slices", NULL),
               json_string_value(json_object_get(t, "affinity")));
    }
}

/* Counters that are not zero, a few to a line. */
static void print_counters(json_t *o)
{
    const char *name;
    json_t *v;
    unsigned column = 0;
    json_object_foreach(o, name, v)
    {
        if (!json_is_integer(v) || !json_integer_value(v) || g_str_has_suffix(name, "_time")) {
            continue;
        }
        g_autofree char *text =
            g_strdup_printf("%s %" JSON_INTEGER_FORMAT, name, json_integer_value(v));
        if (column && column + strlen(text) > 92) {
            putchar('\n');
            column = 0;
        }
        printf("%s%s", column ? "  " : "    ", text);
        column += (unsigned)strlen(text) + 4;
    }
    if (column) {
        putchar('\n');
    }
}

static void print_vcpus(json_t *s)
{
    json_t *v;
    size_t i;
    json_array_foreach(json_object_get(s, "vcpus"), i, v)
    {
        json_t *h = json_object_get(v, "hanok");
        printf("\nVCPU %d (thread %d): ", (int)snapshot_number(v, "vcpu", NULL),
               (int)snapshot_number(v, "tid", NULL));
        printf("guest %.2f s, VMM %.2f s, halted %.2f s, paused %.2f s; waited for a CPU %.2f s\n",
               seconds(snapshot_number(h, "guest_time", NULL)),
               seconds(snapshot_number(h, "vmm_time", NULL)),
               seconds(snapshot_number(h, "halted_time", NULL)),
               seconds(snapshot_number(h, "paused_time", NULL)),
               seconds(snapshot_number(v, "delay_ns", NULL)));
        print_counters(h);
        print_counters(json_object_get(v, "kvm"));
    }
}

static void print_queues(json_t *s)
{
    json_t *q;
    size_t i;
    puts("\nVirtqueues\nDEVICE           Q  REQUESTS     KICKS   BATCHES      IRQS  NO IRQ    MiB "
         "OUT     MiB IN "
         "MEAN us");
    json_array_foreach(json_object_get(s, "queues"), i, q)
    {
        json_int_t done =
            snapshot_number(q, "requests", NULL) - snapshot_number(q, "inflight", NULL);
        printf(
            "%-15s %2d %9" JSON_INTEGER_FORMAT " %9" JSON_INTEGER_FORMAT " %9" JSON_INTEGER_FORMAT
            " %9" JSON_INTEGER_FORMAT " %7" JSON_INTEGER_FORMAT " %10.2f %10.2f %7.1f\n",
            json_string_value(json_object_get(q, "device")), (int)snapshot_number(q, "queue", NULL),
            snapshot_number(q, "requests", NULL), snapshot_number(q, "kicks", NULL),
            snapshot_number(q, "batches", NULL), snapshot_number(q, "interrupts", NULL),
            snapshot_number(q, "interrupts_suppressed", NULL),
            (double)snapshot_number(q, "out_bytes", NULL) / 1048576,
            (double)snapshot_number(q, "in_bytes", NULL) / 1048576,
            done > 0 ? (double)snapshot_number(q, "latency_total", NULL) / 1000 / (double)done
                     : 0.0);
    }
}

static void print_image_cache(json_t *s)
{
    json_t *d;
    size_t i;
    json_array_foreach(json_object_get(s, "disks"), i, d)
    {
        if (json_object_get(d, "cached_bytes")) {
            printf("  image of %-8s %9.1f of %.1f MiB in the host's page cache\n",
                   json_string_value(json_object_get(d, "target")),
                   (double)snapshot_number(d, "cached_bytes", NULL) / 1048576,
                   (double)snapshot_number(d, "file_bytes", NULL) / 1048576);
        }
    }
}

static void print_guest_memory(json_t *g)
{
    static const char *const keys[][2] = {{"actual", "balloon leaves it"},
                                          {"available", "sees in all"},
                                          {"unused", "free"},
                                          {"usable", "could be had"},
                                          {"disk_caches", "page cache"}};
    for (unsigned i = 0; i < ARRAY_SIZE(keys); i++) {
        if (json_object_get(g, keys[i][0])) {
            printf("  guest: %-18s %9.1f MiB\n", keys[i][1],
                   mib(snapshot_number(g, keys[i][0], NULL)));
        }
    }
}

static void print_memory(json_t *s)
{
    static const char *const words[MEMORY_PARTS] = {
        "guest RAM",      "translated code",    "translator's tables", "threads' stacks",
        "heap and other", "program, libraries", "shared, rings"};
    json_t *m = json_object_get(s, "memory");
    if (!m) {
        return;
    }
    puts("\nMemory (MiB)              RESIDENT  PROPORTIONAL");
    for (unsigned i = 0; i < MEMORY_PARTS; i++) {
        printf("  %-22s %9.1f %9.1f\n", words[i],
               mib(snapshot_number(m, "rss_kib", memory_part_names[i])),
               mib(snapshot_number(m, "pss_kib", memory_part_names[i])));
    }
    printf("  %-22s %9.1f %9.1f\n", "process in all",
           mib(snapshot_number(m, "rss_total_kib", NULL)),
           mib(snapshot_number(m, "pss_total_kib", NULL)));
    printf("  %-22s %9.1f\n", "kernel: page tables",
           mib(snapshot_number(m, "page_tables_kib", NULL)));
    printf("  %-22s %9.1f\n", "kernel: stacks", mib(snapshot_number(m, "kernel_stacks_kib", NULL)));
    print_image_cache(s);
    printf("  guest: %-18s %9.1f MiB\n", "RAM it was given",
           mib(snapshot_number(m, "guest_ram_kib", NULL)));
    print_guest_memory(json_object_get(s, "guest_memory"));
}

void snapshot_print(json_t *s)
{
    printf("Domain '%s', %s, process %d: user %.2f s, system %.2f s\n\n",
           json_string_value(json_object_get(s, "domain")),
           json_string_value(json_object_get(s, "state")), (int)snapshot_number(s, "pid", NULL),
           seconds(snapshot_number(s, "cpu", "user_ns")),
           seconds(snapshot_number(s, "cpu", "system_ns")));
    print_threads(s);
    print_vcpus(s);
    if (json_array_size(json_object_get(s, "queues"))) {
        print_queues(s);
    }
    print_memory(s);
}

/* ---- Prometheus (text format 0.0.4): samples of one name stand together ---- */

struct family {
    const char *type;
    GString *samples;
};

struct prom {
    GHashTable *families; /* name -> struct family */
    GPtrArray *order;
};

static void family_free(void *p)
{
    struct family *f = p;
    g_string_free(f->samples, TRUE);
    g_free(f);
}

static void append_escaped(GString *s, const char *text)
{
    for (const char *p = text ? text : ""; *p; p++) {
        if (*p == '\n') {
            g_string_append(s, "\\n");
            continue;
        }
        if (*p == '"' || *p == '\\') {
            g_string_append_c(s, '\\');
        }
        g_string_append_c(s, *p);
    }
}

/* labels: name, value, ..., NULL */
static void sample(struct prom *p, const char *name, const char *type, double value, ...)
{
    struct family *f = g_hash_table_lookup(p->families, name);
    va_list ap;
    if (!f) {
        f = g_new0(struct family, 1);
        f->type = type;
        f->samples = g_string_new(NULL);
        char *key = g_strdup(name);
        g_hash_table_insert(p->families, key, f);
        g_ptr_array_add(p->order, key);
    }
    g_string_append_printf(f->samples, "%s{", name);
    va_start(ap, value);
    for (const char *label = va_arg(ap, const char *), *sep = ""; label;
         label = va_arg(ap, const char *), sep = ",") {
        g_string_append_printf(f->samples, "%s%s=\"", sep, label);
        append_escaped(f->samples, va_arg(ap, const char *));
        g_string_append_c(f->samples, '"');
    }
    va_end(ap);
    char number[G_ASCII_DTOSTR_BUF_SIZE];
    g_string_append_printf(f->samples, "} %s\n",
                           g_ascii_formatd(number, sizeof(number), "%.15g", value));
}

static void prom_vcpu(struct prom *p, const char *domain, json_t *v)
{
    static const char *const places[] = {"guest_time", "vmm_time", "halted_time", "paused_time"};
    g_autofree char *cpu = g_strdup_printf("%d", (int)snapshot_number(v, "vcpu", NULL));
    const char *name;
    json_t *n;
    sample(p, "hanok_vcpu_cpu_seconds_total", "counter",
           seconds(snapshot_number(v, "run_ns", NULL)), "domain", domain, "vcpu", cpu, NULL);
    sample(p, "hanok_vcpu_delay_seconds_total", "counter",
           seconds(snapshot_number(v, "delay_ns", NULL)), "domain", domain, "vcpu", cpu, NULL);
    for (unsigned i = 0; i < ARRAY_SIZE(places); i++) {
        sample(p, "hanok_vcpu_place_seconds_total", "counter",
               seconds(snapshot_number(v, "hanok", places[i])), "domain", domain, "vcpu", cpu,
               "place", places[i], NULL);
    }
    for (unsigned k = 0; k < 2; k++) {
        const char *provider = k ? "kvm" : "hanok";
        json_object_foreach(json_object_get(v, provider), name, n)
        {
            if (json_is_integer(n) && !g_str_has_suffix(name, "_time")) {
                sample(p, "hanok_vcpu_events_total", "counter", (double)json_integer_value(n),
                       "domain", domain, "vcpu", cpu, "provider", provider, "event", name, NULL);
            }
        }
    }
}

/* Buckets are cumulative, in seconds; the machine's are powers of two in nanoseconds. */
static void prom_latency(struct prom *p, const char *domain, const char *dev, const char *index,
                         json_t *q)
{
    json_t *buckets = json_object_get(q, "latency"), *b;
    json_int_t sum = 0;
    size_t i;
    json_array_foreach(buckets, i, b)
    {
        char le[G_ASCII_DTOSTR_BUF_SIZE] = "+Inf";
        sum += json_integer_value(b);
        if (i + 1 < json_array_size(buckets)) {
            g_ascii_formatd(le, sizeof(le), "%.9g", (double)(1ull << i) / 1e9);
        }
        sample(p, "hanok_virtqueue_latency_seconds_bucket", "histogram", (double)sum, "domain",
               domain, "device", dev, "queue", index, "le", le, NULL);
    }
    sample(p, "hanok_virtqueue_latency_seconds_sum", NULL,
           seconds(snapshot_number(q, "latency_total", NULL)), "domain", domain, "device", dev,
           "queue", index, NULL);
    sample(p, "hanok_virtqueue_latency_seconds_count", NULL, (double)sum, "domain", domain,
           "device", dev, "queue", index, NULL);
}

static void prom_queue(struct prom *p, const char *domain, json_t *q)
{
    static const char *const counters[] = {"kicks",
                                           "batches",
                                           "requests",
                                           "out_bytes",
                                           "in_bytes",
                                           "interrupts",
                                           "interrupts_suppressed"};
    const char *dev = json_string_value(json_object_get(q, "device"));
    g_autofree char *index = g_strdup_printf("%d", (int)snapshot_number(q, "queue", NULL));
    for (unsigned i = 0; i < ARRAY_SIZE(counters); i++) {
        g_autofree char *name = g_strdup_printf("hanok_virtqueue_%s_total", counters[i]);
        sample(p, name, "counter", (double)snapshot_number(q, counters[i], NULL), "domain", domain,
               "device", dev, "queue", index, NULL);
    }
    sample(p, "hanok_virtqueue_inflight", "gauge", (double)snapshot_number(q, "inflight", NULL),
           "domain", domain, "device", dev, "queue", index, NULL);
    prom_latency(p, domain, dev, index, q);
}

static void prom_memory(struct prom *p, const char *domain, json_t *s)
{
    json_t *m = json_object_get(s, "memory"), *d, *v;
    const char *key;
    size_t i;
    json_object_foreach(json_object_get(m, "rss_kib"), key, v)
    {
        sample(p, "hanok_memory_resident_bytes", "gauge", (double)json_integer_value(v) * 1024,
               "domain", domain, "part", key, NULL);
    }
    static const char *const more[][2] = {{"rss_total_kib", "hanok_memory_process_bytes"},
                                          {"page_tables_kib", "hanok_memory_page_tables_bytes"},
                                          {"guest_ram_kib", "hanok_memory_guest_ram_bytes"}};
    for (i = 0; m && i < ARRAY_SIZE(more); i++) {
        sample(p, more[i][1], "gauge", (double)snapshot_number(m, more[i][0], NULL) * 1024,
               "domain", domain, NULL);
    }
    json_object_foreach(json_object_get(s, "guest_memory"), key, v)
    {
        if (strcmp(key, "last_update") && strcmp(key, "rss")) {
            sample(p, "hanok_guest_memory_kib", "gauge", (double)json_integer_value(v), "domain",
                   domain, "what", key, NULL);
        }
    }
    json_array_foreach(json_object_get(s, "disks"), i, d)
    {
        if (json_object_get(d, "cached_bytes")) {
            sample(p, "hanok_disk_image_cached_bytes", "gauge",
                   (double)snapshot_number(d, "cached_bytes", NULL), "domain", domain, "disk",
                   json_string_value(json_object_get(d, "target")), NULL);
        }
    }
}

static void prom_io(struct prom *p, const char *domain, json_t *s)
{
    static const char *const disk[] = {"rd_bytes", "wr_bytes", "rd_operations", "wr_operations",
                                       "flush_operations"};
    static const char *const net[] = {"rx_bytes", "tx_bytes", "rx_packets", "tx_packets"};
    json_t *o;
    size_t i;
    json_array_foreach(json_object_get(s, "disks"), i, o)
    {
        for (unsigned k = 0; k < ARRAY_SIZE(disk); k++) {
            g_autofree char *name = g_strdup_printf("hanok_disk_%s_total", disk[k]);
            sample(p, name, "counter", (double)snapshot_number(o, disk[k], NULL), "domain", domain,
                   "disk", json_string_value(json_object_get(o, "target")), NULL);
        }
    }
    json_array_foreach(json_object_get(s, "interfaces"), i, o)
    {
        for (unsigned k = 0; k < ARRAY_SIZE(net); k++) {
            g_autofree char *name = g_strdup_printf("hanok_network_%s_total", net[k]);
            sample(p, name, "counter", (double)snapshot_number(o, net[k], NULL), "domain", domain,
                   "interface", json_string_value(json_object_get(o, "name")), NULL);
        }
    }
}

void snapshot_prometheus(json_t *snapshots)
{
    struct prom p = {.families =
                         g_hash_table_new_full(g_str_hash, g_str_equal, g_free, family_free),
                     .order = g_ptr_array_new()};
    json_t *s, *one;
    size_t i, k;
    json_array_foreach(snapshots, i, s)
    {
        const char *domain = json_string_value(json_object_get(s, "domain"));
        sample(&p, "hanok_up", "gauge", 1, "domain", domain, NULL);
        sample(&p, "hanok_process_cpu_seconds_total", "counter",
               seconds(snapshot_number(s, "cpu", "user_ns")), "domain", domain, "mode", "user",
               NULL);
        sample(&p, "hanok_process_cpu_seconds_total", "counter",
               seconds(snapshot_number(s, "cpu", "system_ns")), "domain", domain, "mode", "system",
               NULL);
        json_array_foreach(json_object_get(s, "vcpus"), k, one)
        {
            prom_vcpu(&p, domain, one);
        }
        json_array_foreach(json_object_get(s, "queues"), k, one)
        {
            prom_queue(&p, domain, one);
        }
        prom_memory(&p, domain, s);
        prom_io(&p, domain, s);
    }
    for (unsigned n = 0; n < p.order->len; n++) {
        const char *name = p.order->pdata[n];
        struct family *f = g_hash_table_lookup(p.families, name);
        if (f->type && g_str_has_suffix(name, "_bucket")) {
            g_autofree char *base = g_strndup(name, strlen(name) - strlen("_bucket"));
            printf("# TYPE %s %s\n", base, f->type);
        } else if (f->type) {
            printf("# TYPE %s %s\n", name, f->type);
        }
        fputs(f->samples->str, stdout);
    }
    g_ptr_array_free(p.order, TRUE);
    g_hash_table_destroy(p.families);
}
