/* trace.c - from recorded events to followed requests. */
#include "trace.h"

#include "base/evloop.h"
#include "base/util.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define POLL_US 20000u

struct follower {
    struct trace_run *run;
    unsigned complete;
    GHashTable *kicks; /* fd -> struct trace_hop of the last doorbell, until a queue takes it */
    GHashTable *woken; /* "device queue N" -> hops: kick and wake-up, for the requests taken next */
    GHashTable *heads; /* "device queue N head H" -> request */
    GHashTable *blks;  /* address of the image's request -> GPtrArray of requests */
    GHashTable *told;  /* "device queue N" -> GPtrArray of requests that wait for the interrupt */
    GPtrArray *queued; /* in the ring of io_uring, not yet given to the kernel */
};

struct event {
    struct trace_hop hop;
    const char *name, *text;
};

void trace_request_free(void *p)
{
    struct trace_request *r = p;
    g_array_free(r->hops, TRUE);
    g_free(r);
}

static void add_hop(struct trace_request *r, const struct event *e, const char *what)
{
    struct trace_hop h = e->hop;
    g_strlcpy(h.what, what, sizeof(h.what));
    g_strlcpy(h.detail, e->text, sizeof(h.detail));
    g_array_append_val(r->hops, h);
}

/* "DEVICE queue N" at the front of a text. */
static char *queue_key(const char *text)
{
    char device[64];
    unsigned queue;
    return sscanf(text, "%63s queue %u", device, &queue) == 2
               ? g_strdup_printf("%s queue %u", device, queue)
               : NULL;
}

static char *head_key(const char *text)
{
    char device[64];
    unsigned queue, head;
    return sscanf(text, "%63s queue %u head %u", device, &queue, &head) == 3
               ? g_strdup_printf("%s queue %u head %u", device, queue, head)
               : NULL;
}

/* The address behind "blk ". */
static char *blk_key(const char *text)
{
    const char *at = strstr(text, "blk 0x");
    return at ? g_strndup(at + 4, strcspn(at + 4, " ")) : NULL;
}

/* ---- one function for each event ---- */

static void on_doorbell(struct follower *f, const struct event *e)
{
    int fd;
    if (sscanf(e->text, "fd %d", &fd) == 1) {
        struct trace_hop *h = g_memdup2(&e->hop, sizeof(e->hop));
        g_strlcpy(h->what, "kick", sizeof(h->what));
        g_strlcpy(h->detail, e->text, sizeof(h->detail));
        g_hash_table_replace(f->kicks, GINT_TO_POINTER(fd), h);
    }
}

static void on_wake(struct follower *f, const struct event *e)
{
    g_autofree char *key = queue_key(e->text);
    const char *at = strstr(e->text, " fd ");
    int fd = at ? (int)strtol(at + 4, NULL, 10) : -1;
    struct trace_hop *kick = at ? g_hash_table_lookup(f->kicks, GINT_TO_POINTER(fd)) : NULL;
    if (!key) {
        return;
    }
    GArray *hops = g_array_new(FALSE, FALSE, sizeof(struct trace_hop));
    if (kick) {
        g_array_append_val(hops, *kick);
        g_hash_table_remove(f->kicks, GINT_TO_POINTER(fd));
    }
    struct trace_hop h = e->hop;
    g_strlcpy(h.what, "queue wakes", sizeof(h.what));
    g_strlcpy(h.detail, e->text, sizeof(h.detail));
    g_array_append_val(hops, h);
    g_hash_table_replace(f->woken, g_steal_pointer(&key), hops);
}

static void on_pop(struct follower *f, const struct event *e)
{
    g_autofree char *queue = queue_key(e->text), *head = head_key(e->text);
    if (!queue || !head) {
        return;
    }
    struct trace_request *r = g_new0(struct trace_request, 1);
    GArray *before = g_hash_table_lookup(f->woken, queue);
    r->hops = g_array_new(FALSE, FALSE, sizeof(struct trace_hop));
    g_strlcpy(r->name, head, sizeof(r->name));
    if (before) {
        g_array_append_vals(r->hops, before->data, before->len);
    }
    add_hop(r, e, "taken off the ring");
    g_ptr_array_add(f->run->requests, r);
    g_hash_table_replace(f->heads, g_steal_pointer(&head), r);
}

static void on_virtio_blk(struct follower *f, const struct event *e)
{
    g_autofree char *head = head_key(e->text), *blk = blk_key(e->text);
    struct trace_request *r = head ? g_hash_table_lookup(f->heads, head) : NULL;
    if (!r || !blk) {
        return;
    }
    GPtrArray *list = g_hash_table_lookup(f->blks, blk);
    if (!list) {
        list = g_ptr_array_new();
        g_hash_table_insert(f->blks, g_steal_pointer(&blk), list);
    }
    g_ptr_array_add(list, r);
}

static void on_blk(struct follower *f, const struct event *e, const char *what)
{
    g_autofree char *blk = blk_key(e->text);
    GPtrArray *list = blk ? g_hash_table_lookup(f->blks, blk) : NULL;
    for (unsigned i = 0; list && i < list->len; i++) {
        add_hop(list->pdata[i], e, what);
        if (!strcmp(e->name, "uring_queue")) {
            g_ptr_array_add(f->queued, list->pdata[i]);
        }
    }
    if (list && !strcmp(e->name, "blk_done")) {
        g_hash_table_remove(f->blks, blk);
    }
}

static void on_submit(struct follower *f, const struct event *e)
{
    for (unsigned i = 0; i < f->queued->len; i++) {
        add_hop(f->queued->pdata[i], e, "given to the kernel");
    }
    g_ptr_array_set_size(f->queued, 0);
}

static void on_push(struct follower *f, const struct event *e)
{
    g_autofree char *head = head_key(e->text), *queue = queue_key(e->text);
    struct trace_request *r = head ? g_hash_table_lookup(f->heads, head) : NULL;
    if (!r) {
        return;
    }
    add_hop(r, e, "result in the ring");
    r->complete = true;
    f->complete++;
    g_hash_table_remove(f->heads, head);
    GPtrArray *list = g_hash_table_lookup(f->told, queue);
    if (!list) {
        list = g_ptr_array_new();
        g_hash_table_insert(f->told, g_steal_pointer(&queue), list);
    }
    g_ptr_array_add(list, r);
}

static void on_notify(struct follower *f, const struct event *e)
{
    g_autofree char *queue = queue_key(e->text);
    GPtrArray *list = queue ? g_hash_table_lookup(f->told, queue) : NULL;
    for (unsigned i = 0; list && i < list->len; i++) {
        add_hop(list->pdata[i], e, "interrupt");
    }
    if (list) {
        g_ptr_array_set_size(list, 0);
    }
}

static void on_exit_event(struct follower *f, const struct event *e)
{
    struct trace_request *r = g_new0(struct trace_request, 1);
    r->hops = g_array_new(FALSE, FALSE, sizeof(struct trace_hop));
    g_strlcpy(r->name, e->name, sizeof(r->name));
    add_hop(r, e, e->name);
    r->complete = true;
    f->complete++;
    g_ptr_array_add(f->run->requests, r);
}

static void take(struct follower *f, const struct event *e)
{
    static const struct {
        const char *name, *what;
    } blk[] = {{"blk_submit", "image gets it"},
               {"uring_queue", "queued for io_uring"},
               {"uring_reap", "kernel is done"},
               {"blk_done", "image is done"}};
    static const struct {
        const char *name;
        void (*fn)(struct follower *f, const struct event *e);
    } ring[] = {{"io_kick", on_doorbell},    {"virtio_kick", on_wake},
                {"virtio_pop", on_pop},      {"virtio_blk", on_virtio_blk},
                {"uring_submit", on_submit}, {"virtio_push", on_push},
                {"virtio_notify", on_notify}};
    if (f->run->kind == TRACE_EXITS) {
        on_exit_event(f, e);
        return;
    }
    for (unsigned i = 0; i < ARRAY_SIZE(ring); i++) {
        if (!strcmp(e->name, ring[i].name)) {
            ring[i].fn(f, e);
        }
    }
    for (unsigned i = 0; i < ARRAY_SIZE(blk); i++) {
        if (!strcmp(e->name, blk[i].name)) {
            on_blk(f, e, blk[i].what);
        }
    }
}

/* ---- recording ---- */

static bool enough(const struct follower *f)
{
    return f->run->count && f->complete >= f->run->count;
}

static bool read_batch(struct qmp *q, struct follower *f, size_t *got, GError **err)
{
    json_t *ret = NULL, *one;
    size_t i;
    if (!qmp_call(q, "x-trace-read", NULL, &ret, err)) {
        return false;
    }
    f->run->lost += (uint64_t)json_integer_value(json_object_get(ret, "lost"));
    *got = json_array_size(json_object_get(ret, "events"));
    json_array_foreach(json_object_get(ret, "events"), i, one)
    {
        struct event e = {.name = json_string_value(json_object_get(one, "event")),
                          .text = json_string_value(json_object_get(one, "text"))};
        const char *thread = json_string_value(json_object_get(one, "thread"));
        e.hop.ns = (uint64_t)json_integer_value(json_object_get(one, "time"));
        e.hop.tid = (int)json_integer_value(json_object_get(one, "tid"));
        g_strlcpy(e.hop.thread, thread ? thread : "", sizeof(e.hop.thread));
        if (e.name && e.text && !enough(f)) {
            take(f, &e);
        }
    }
    json_decref(ret);
    return true;
}

static json_t *patterns(enum trace_kind kind)
{
    return kind == TRACE_DISK ? json_pack("{s[sssss]}", "events", "io_kick", "virtio_*",
                                          "blk_submit", "blk_done", "uring_*")
                              : json_pack("{s[sss]}", "events", "io_read", "io_write", "vcpu_*");
}

static int by_time(const void *a, const void *b)
{
    uint64_t x = ((const struct trace_hop *)a)->ns, y = ((const struct trace_hop *)b)->ns;
    return x < y ? -1 : x > y;
}

static void follower_free(struct follower *f)
{
    g_hash_table_destroy(f->kicks);
    g_hash_table_destroy(f->woken);
    g_hash_table_destroy(f->heads);
    g_hash_table_destroy(f->blks);
    g_hash_table_destroy(f->told);
    g_ptr_array_free(f->queued, TRUE);
}

static void finish(struct trace_run *run)
{
    for (unsigned i = run->requests->len; i-- > 0;) {
        struct trace_request *r = run->requests->pdata[i];
        if (r->complete) {
            g_array_sort(r->hops, by_time);
        } else {
            g_ptr_array_remove_index(run->requests, i);
        }
    }
}

static void hops_free(void *p)
{
    g_array_free(p, TRUE);
}

static void list_free(void *p)
{
    g_ptr_array_free(p, TRUE);
}

bool trace_follow(struct qmp *q, struct trace_run *run, GError **err)
{
    struct follower f = {
        .run = run,
        .kicks = g_hash_table_new_full(NULL, NULL, NULL, g_free),
        .woken = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, hops_free),
        .heads = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL),
        .blks = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, list_free),
        .told = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, list_free),
        .queued = g_ptr_array_new(),
    };
    bool ok = qmp_call(q, "x-trace-start", patterns(run->kind), NULL, err);
    uint64_t end = host_clock_ns() + run->duration_ms * 1000000u;
    size_t got = 0;
    while (ok && !enough(&f) && host_clock_ns() < end) {
        ok = read_batch(q, &f, &got, err);
        if (!got) {
            g_usleep(POLL_US);
        }
    }
    if (ok) {
        ok = qmp_call(q, "x-trace-stop", NULL, NULL, err) &&
             (enough(&f) || read_batch(q, &f, &got, err));
    }
    follower_free(&f);
    finish(run);
    return ok;
}

/* ---- Trace Event Format: complete events ("X") in microseconds, threads by name ---- */

static void name_thread(json_t *list, GHashTable *seen, const struct trace_hop *h, int pid)
{
    if (g_hash_table_add(seen, GINT_TO_POINTER(h->tid))) {
        json_array_append_new(list,
                              json_pack("{sssssisis{ss}}", "ph", "M", "name", "thread_name", "pid",
                                        pid, "tid", h->tid, "args", "name", h->thread));
    }
}

json_t *trace_chrome(const struct trace_run *run, int pid)
{
    GHashTable *seen = g_hash_table_new(NULL, NULL);
    json_t *list = json_array();
    for (unsigned i = 0; i < run->requests->len; i++) {
        const struct trace_request *r = run->requests->pdata[i];
        const struct trace_hop *first = &g_array_index(r->hops, struct trace_hop, 0),
                               *last = &g_array_index(r->hops, struct trace_hop, r->hops->len - 1);
        if (r->hops->len > 1) {
            json_array_append_new(list, json_pack("{sssssssisfsi}", "ph", "b", "cat", "request",
                                                  "name", r->name, "id", (int)i, "ts",
                                                  (double)first->ns / 1000, "pid", pid));
            json_array_append_new(list, json_pack("{sssssssisfsi}", "ph", "e", "cat", "request",
                                                  "name", r->name, "id", (int)i, "ts",
                                                  (double)last->ns / 1000, "pid", pid));
        }
        for (unsigned k = 0; k < r->hops->len; k++) {
            const struct trace_hop *h = &g_array_index(r->hops, struct trace_hop, k);
            uint64_t until = k + 1 < r->hops->len ? h[1].ns : h->ns;
            name_thread(list, seen, h, pid);
            json_array_append_new(
                list, json_pack("{sssssssisisfsfs{ss}}", "ph", "X", "cat", "hop", "name", h->what,
                                "pid", pid, "tid", h->tid, "ts", (double)h->ns / 1000, "dur",
                                (double)(until - h->ns) / 1000, "args", "detail", h->detail));
        }
    }
    g_hash_table_destroy(seen);
    return json_pack("{soss}", "traceEvents", list, "displayTimeUnit", "ns");
}
