/* throttle.c - leaky buckets and whose turn it is. */
#include "throttle.h"

#include "base/error.h"
#include "base/evloop.h"
#include "base/props.h"
#include "base/util.h"

#include <assert.h>
#include <glib.h>
#include <inttypes.h>
#include <time.h>

enum { DIR_READ, DIR_WRITE, DIRS };
#define LIMIT_MAX    1000000000000000ull /* sums in double stay exact enough */
#define NAP_NS_MAX   100000000ull
#define BURST_DIVIDE 10.0 /* a bucket holds this part of a second unless a burst is allowed */

struct bucket {
    double level, burst; /* what has passed and not yet leaked: at the rates avg and max */
};

struct throttle_group {
    /* main thread */
    char *name;
    unsigned refs;
    struct throttle_group *next;
    /* under lock */
    pthread_mutex_t lock;
    struct throttle_limits limits;
    struct bucket bucket[THROTTLE_KINDS];
    uint64_t leaked_at_ns;
    struct throttle_member *members;
    struct throttle_member *turn[DIRS]; /* whose timer runs; NULL: nobody waits */
};

struct throttle_member {
    /* immutable */
    struct blk_node *node;
    struct throttle_group *group;
    void (*go)(struct blk_node *n, struct blk_req *req);
    /* main thread, drained */
    struct timer *timer[DIRS];
    /* under the group's lock */
    struct throttle_member *next;
    struct blk_req *first[DIRS], **last[DIRS];
    bool bypass;
};

static struct throttle_group *groups; /* main thread */

/* ---- limits ---- */

static const struct {
    const char *name;
    bool bytes;
    int dir; /* DIRS: both */
} kinds[THROTTLE_KINDS] = {
    {"bps-total", true, DIRS},   {"bps-read", true, DIR_READ},   {"bps-write", true, DIR_WRITE},
    {"iops-total", false, DIRS}, {"iops-read", false, DIR_READ}, {"iops-write", false, DIR_WRITE},
};

static bool read_one(struct props *p, const char *prefix, const char *name, const char *suffix,
                     uint64_t *out, GError **err)
{
    g_autofree char *key = g_strconcat(prefix, name, suffix, NULL);
    return props_get_size(p, key, out, err);
}

bool throttle_limits_read(struct props *p, const char *prefix, struct throttle_limits *out,
                          GError **err)
{
    for (unsigned k = 0; k < THROTTLE_KINDS; k++) {
        if (!read_one(p, prefix, kinds[k].name, "", &out->of[k].avg, err) ||
            !read_one(p, prefix, kinds[k].name, "-max", &out->of[k].max, err) ||
            !read_one(p, prefix, kinds[k].name, "-max-length", &out->of[k].length_s, err))
            return false;
    }
    return read_one(p, prefix, "iops-size", "", &out->iops_size_bytes, err) &&
           throttle_limits_check(out, err);
}

static bool check_kind(const struct throttle_limits *l, unsigned k, GError **err)
{
    uint64_t avg = l->of[k].avg, max = l->of[k].max, length = l->of[k].length_s;

    if (avg > LIMIT_MAX || max > LIMIT_MAX || length > LIMIT_MAX / MAX_OF(max, (uint64_t)1))
        return error_set(err, HANOK_ERROR_INVALID, "The limit %s is too large.", kinds[k].name);
    if (max && !avg)
        return error_set(err, HANOK_ERROR_INVALID, "%s-max= needs %s=.", kinds[k].name,
                         kinds[k].name);
    if (max && max < avg)
        return error_set(err, HANOK_ERROR_INVALID, "%s-max= must not be less than %s=.",
                         kinds[k].name, kinds[k].name);
    if (length > 1 && !max)
        return error_set(err, HANOK_ERROR_INVALID, "%s-max-length= needs %s-max=.", kinds[k].name,
                         kinds[k].name);
    return true;
}

bool throttle_limits_check(const struct throttle_limits *l, GError **err)
{
    for (unsigned total = 0; total < THROTTLE_KINDS; total += 3) {
        bool parts = l->of[total + 1].avg || l->of[total + 2].avg || l->of[total + 1].max ||
                     l->of[total + 2].max;
        if (parts && (l->of[total].avg || l->of[total].max))
            return error_set(err, HANOK_ERROR_INVALID,
                             "%s= and %s= or %s= exclude each other: limit the sum or the parts.",
                             kinds[total].name, kinds[total + 1].name, kinds[total + 2].name);
    }
    for (unsigned k = 0; k < THROTTLE_KINDS; k++) {
        if (!check_kind(l, k, err))
            return false;
    }
    return true;
}

bool throttle_limits_any(const struct throttle_limits *l)
{
    for (unsigned k = 0; k < THROTTLE_KINDS; k++) {
        if (l->of[k].avg)
            return true;
    }
    return false;
}

/* ---- buckets; the group's lock is held ---- */

static void leak_locked(struct throttle_group *g, uint64_t now)
{
    double s = (double)(now - g->leaked_at_ns) / 1e9;

    g->leaked_at_ns = now;
    for (unsigned k = 0; k < THROTTLE_KINDS; k++) {
        struct bucket *b = &g->bucket[k];
        b->level = MAX_OF(b->level - s * (double)g->limits.of[k].avg, 0.0);
        b->burst = MAX_OF(b->burst - s * (double)g->limits.of[k].max, 0.0);
    }
}

static double bucket_wait_s(const struct throttle_limits *l, unsigned k, const struct bucket *b)
{
    double avg = (double)l->of[k].avg, max = (double)l->of[k].max;
    double length = (double)MAX_OF(l->of[k].length_s, (uint64_t)1);

    if (avg == 0)
        return 0;
    double wait = (b->level - (max ? max * length : avg / BURST_DIVIDE)) / avg;
    if (max && length > 1)
        wait = MAX_OF(wait, (b->burst - max / BURST_DIVIDE) / max);
    return wait;
}

/* How long until the next request of this direction may pass. */
static uint64_t wait_ns_locked(struct throttle_group *g, int dir)
{
    double wait = 0;

    leak_locked(g, host_clock_ns());
    for (unsigned k = 0; k < THROTTLE_KINDS; k++) {
        if (kinds[k].dir == DIRS || kinds[k].dir == dir)
            wait = MAX_OF(wait, bucket_wait_s(&g->limits, k, &g->bucket[k]));
    }
    return wait > 0 ? (uint64_t)(wait * 1e9) + 1 : 0;
}

static void account_locked(struct throttle_group *g, int dir, uint64_t bytes)
{
    double requests = 1, unit = (double)g->limits.iops_size_bytes;

    if (unit > 0 && (double)bytes > unit)
        requests = (double)bytes / unit;
    for (unsigned k = 0; k < THROTTLE_KINDS; k++) {
        if (kinds[k].dir != DIRS && kinds[k].dir != dir)
            continue;
        double amount = kinds[k].bytes ? (double)bytes : requests;
        g->bucket[k].level += amount;
        g->bucket[k].burst += amount;
    }
}

/* ---- turns ---- */

static int dir_of(const struct blk_req *req)
{
    return req->op == BLK_READ ? DIR_READ : DIR_WRITE;
}

/* The next member after `from` in which something waits. */
static struct throttle_member *next_waiting_locked(struct throttle_group *g,
                                                   struct throttle_member *from, int dir)
{
    struct throttle_member *t = from;

    do {
        t = t && t->next ? t->next : g->members;
        if (t && t->first[dir])
            return t;
    } while (t && t != from);
    return NULL;
}

static void arm_locked(struct throttle_group *g, int dir)
{
    struct throttle_member *t = g->turn[dir];

    if (t && t->timer[dir])
        timer_set(t->timer[dir], host_clock_ns() + wait_ns_locked(g, dir));
}

static struct blk_req *pop_locked(struct throttle_member *t, int dir)
{
    struct blk_req *req = t->first[dir];

    t->first[dir] = req->next;
    if (!t->first[dir])
        t->last[dir] = &t->first[dir];
    account_locked(t->group, dir, req->len_bytes);
    return req;
}

/* Takes what may pass now and belongs to t: a chain by req->next. */
static struct blk_req *take_turns(struct throttle_member *t, int dir)
{
    struct throttle_group *g = t->group;
    struct blk_req *taken = NULL, **end = &taken;

    pthread_mutex_lock(&g->lock);
    while (g->turn[dir] == t && t->first[dir] && wait_ns_locked(g, dir) == 0) {
        *end = pop_locked(t, dir);
        end = &(*end)->next;
        g->turn[dir] = next_waiting_locked(g, t, dir);
    }
    if (g->turn[dir] == t && !t->first[dir])
        g->turn[dir] = next_waiting_locked(g, t, dir);
    arm_locked(g, dir);
    *end = NULL;
    pthread_mutex_unlock(&g->lock);
    return taken;
}

static void let_go(struct throttle_member *t, struct blk_req *req)
{
    blk_plug(t->node);
    while (req) {
        struct blk_req *next = req->next;
        t->go(t->node, req);
        req = next;
    }
    blk_unplug(t->node);
}

static void read_timer(void *opaque)
{
    let_go(opaque, take_turns(opaque, DIR_READ));
}

static void write_timer(void *opaque)
{
    let_go(opaque, take_turns(opaque, DIR_WRITE));
}

static bool counts(const struct blk_req *req)
{
    return req->op == BLK_READ || req->op == BLK_WRITE || req->op == BLK_WRITE_ZEROES;
}

bool throttle_pass(struct throttle_member *t, struct blk_req *req)
{
    struct throttle_group *g = t->group;
    int dir = dir_of(req);

    if (!counts(req))
        return true;
    pthread_mutex_lock(&g->lock);
    bool pass = t->bypass || (!g->turn[dir] && wait_ns_locked(g, dir) == 0);
    if (pass) {
        account_locked(g, dir, req->len_bytes);
    } else {
        req->next = NULL;
        *t->last[dir] = req;
        t->last[dir] = &req->next;
        if (!g->turn[dir]) {
            g->turn[dir] = t;
            arm_locked(g, dir);
        }
    }
    pthread_mutex_unlock(&g->lock);
    return pass;
}

void throttle_sleep(struct throttle_member *t, const struct blk_req *req)
{
    struct throttle_group *g = t->group;

    while (counts(req)) {
        pthread_mutex_lock(&g->lock);
        uint64_t wait = t->bypass ? 0 : wait_ns_locked(g, dir_of(req));
        if (wait == 0)
            account_locked(g, dir_of(req), req->len_bytes);
        pthread_mutex_unlock(&g->lock);
        if (wait == 0)
            return;
        wait = MIN_OF(wait, NAP_NS_MAX);
        nanosleep(&(struct timespec){.tv_nsec = (long)wait}, NULL);
    }
}

void throttle_drain_begin(struct throttle_member *t)
{
    struct throttle_group *g = t->group;
    struct blk_req *all = NULL, **end = &all;

    pthread_mutex_lock(&g->lock);
    t->bypass = true;
    for (int dir = 0; dir < DIRS; dir++) {
        while (t->first[dir]) {
            *end = pop_locked(t, dir);
            end = &(*end)->next;
        }
        if (g->turn[dir] == t) {
            g->turn[dir] = next_waiting_locked(g, t, dir);
            arm_locked(g, dir);
        }
    }
    *end = NULL;
    pthread_mutex_unlock(&g->lock);
    let_go(t, all);
}

void throttle_drain_end(struct throttle_member *t)
{
    pthread_mutex_lock(&t->group->lock);
    t->bypass = false;
    pthread_mutex_unlock(&t->group->lock);
}

/* ---- groups and members (main thread) ---- */

struct throttle_group *throttle_group_find(const char *name)
{
    for (struct throttle_group *g = groups; g; g = g->next) {
        if (!strcmp(g->name, name)) {
            g->refs++;
            return g;
        }
    }
    return NULL;
}

struct throttle_group *throttle_group_new(const char *name, const struct throttle_limits *l,
                                          GError **err)
{
    struct throttle_group *g = throttle_group_find(name);

    if (g) {
        throttle_group_unref(g);
        error_set(err, HANOK_ERROR_BUSY, "There is already a throttle group '%s'.", name);
        return NULL;
    }
    g = g_new0(struct throttle_group, 1);
    g->name = g_strdup(name);
    g->refs = 1;
    g->limits = *l;
    g->leaked_at_ns = host_clock_ns();
    pthread_mutex_init(&g->lock, NULL);
    g->next = groups;
    groups = g;
    return g;
}

void throttle_group_unref(struct throttle_group *g)
{
    if (!g || --g->refs)
        return;
    assert(!g->members);
    for (struct throttle_group **at = &groups; *at; at = &(*at)->next) {
        if (*at == g) {
            *at = g->next;
            break;
        }
    }
    pthread_mutex_destroy(&g->lock);
    g_free(g->name);
    g_free(g);
}

static void group_set_limits(struct throttle_group *g, const struct throttle_limits *l)
{
    pthread_mutex_lock(&g->lock);
    g->limits = *l;
    memset(g->bucket, 0, sizeof(g->bucket));
    for (int dir = 0; dir < DIRS; dir++)
        arm_locked(g, dir);
    pthread_mutex_unlock(&g->lock);
}

struct throttle_member *throttle_join(struct blk_node *n, struct throttle_group *g,
                                      void (*go)(struct blk_node *n, struct blk_req *req))
{
    struct throttle_member *t = g_new0(struct throttle_member, 1);

    t->node = n;
    t->group = g;
    t->go = go;
    for (int dir = 0; dir < DIRS; dir++)
        t->last[dir] = &t->first[dir];
    pthread_mutex_lock(&g->lock);
    t->next = g->members;
    g->members = t;
    pthread_mutex_unlock(&g->lock);
    return t;
}

void throttle_leave(struct throttle_member *t)
{
    if (!t)
        return;
    assert(!t->first[DIR_READ] && !t->first[DIR_WRITE]);
    pthread_mutex_lock(&t->group->lock);
    for (struct throttle_member **at = &t->group->members; *at; at = &(*at)->next) {
        if (*at == t) {
            *at = t->next;
            break;
        }
    }
    pthread_mutex_unlock(&t->group->lock);
    for (int dir = 0; dir < DIRS; dir++)
        timer_free(t->timer[dir]);
    throttle_group_unref(t->group);
    g_free(t);
}

void throttle_attach(struct throttle_member *t, struct evloop *loop)
{
    static evloop_fn *const fns[DIRS] = {read_timer, write_timer};

    for (int dir = 0; dir < DIRS; dir++) {
        struct timer *before = t->timer[dir], *now = timer_new(loop, NULL, fns[dir], t);
        pthread_mutex_lock(&t->group->lock);
        t->timer[dir] = now;
        pthread_mutex_unlock(&t->group->lock);
        timer_free(before);
    }
}

/* ---- limits of a root node ---- */

static void go_on(struct blk_node *n, struct blk_req *req)
{
    n->drv->submit(n, req);
}

struct change {
    struct blk_node *node;
    struct throttle_member *member;
};

static void change_in_loop(void *opaque)
{
    struct change *c = opaque;
    struct throttle_member *before = c->node->throttle;

    if (before)
        throttle_drain_begin(before); /* what waits goes on under the old limits' end */
    c->node->throttle = c->member;
    c->member = before;
}

static struct throttle_group *group_for(struct blk_node *n, const char *name,
                                        const struct throttle_limits *l, GError **err)
{
    static const struct throttle_limits none;
    struct throttle_group *g = throttle_group_find(name);

    return g ? g : throttle_group_new(name, l ? l : &none, err);
}

bool blk_set_throttle(struct blk_node *n, const char *group, const struct throttle_limits *l,
                      GError **err)
{
    struct change c = {.node = n};
    const char *name = group ? group : n->throttle ? n->throttle->group->name : n->name;

    if (n->drv == &blk_driver_throttle)
        return error_set(err, HANOK_ERROR_INVALID,
                         "The block node '%s' is a throttle filter: its limits are its group's.",
                         n->name);
    if (!throttle_limits_check(l, err))
        return false;
    if (throttle_limits_any(l)) {
        struct throttle_group *g = group_for(n, name, l, err);
        if (!g)
            return false;
        group_set_limits(g, l);
        if (n->throttle && n->throttle->group == g) {
            throttle_group_unref(g);
            return true;
        }
        c.member = throttle_join(n, g, go_on);
        throttle_attach(c.member, n->loop ? n->loop : evloop_main());
    }
    if (n->loop)
        evloop_call(n->loop, change_in_loop, &c);
    else
        change_in_loop(&c);
    throttle_leave(c.member);
    return true;
}

const char *blk_get_throttle(const struct blk_node *n, struct throttle_limits *out)
{
    if (!n->throttle)
        return NULL;
    pthread_mutex_lock(&n->throttle->group->lock);
    *out = n->throttle->group->limits;
    pthread_mutex_unlock(&n->throttle->group->lock);
    return n->throttle->group->name;
}
