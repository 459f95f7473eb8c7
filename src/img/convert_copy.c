/* convert_copy.c - deals out the source in pieces, to threads that read, scan and write them. */
#include "convert.h"

#include "base/error.h"
#include "base/evloop.h"
#include "base/log.h"
#include "base/util.h"
#include "block/qcow2.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { ZERO_PIECE_BYTES = 1 << 30 };
#define CLUSTER_MAX (2 * MiB)
#define PACKED_MAX  (2 * CLUSTER_MAX)

/* ---- the source as one range ---- */

static struct source *source_at(struct convert *c, uint64_t at)
{
    unsigned i = c->source_count - 1;
    while (c->sources[i].start_bytes > at) {
        i--;
    }
    return &c->sources[i];
}

/* An image's file may end inside its last cluster: the rest are zeroes. */
static int read_host(struct blk_node *host, uint64_t at, uint8_t *buf, uint64_t len)
{
    uint64_t size = img_size(host), there = at < size ? MIN_OF(len, size - at) : 0;
    memset(buf + there, 0, len - there);
    return there ? blk_pread(host, at, buf, there) : 0;
}

/* One compressed cluster, or a part of it: unpacked here, not in turns within the driver. */
static int read_packed(struct copier *w, struct blk_node *n, const struct blk_status *st,
                       uint64_t at, uint8_t *buf)
{
    for (unsigned i = 0; i < st->depth; i++) {
        n = blk_backing(n);
    }
    const struct qcow2_info *q = qcow2_info(n);
    uint64_t inside = at & (q->cluster_bytes - 1), len = MIN_OF(st->packed_bytes, PACKED_MAX);
    bool whole = inside == 0 && st->len_bytes == q->cluster_bytes;
    struct qcow2_packer **tools = &w->unpacker[q->zstd];
    *tools = *tools ? *tools : qcow2_packer_new(q->zstd);
    w->raw = w->raw ? w->raw : malloc(PACKED_MAX + CLUSTER_MAX);
    if (!*tools || !w->raw) {
        return -ENOMEM;
    }
    uint8_t *out = whole ? buf : w->raw + PACKED_MAX;
    int r = read_host(st->host, st->host_bytes, w->raw, len);
    if (r == 0 && !qcow2_unpack(*tools, w->raw, len, out, q->cluster_bytes)) {
        r = -EIO;
    }
    if (r == 0 && !whole) {
        memcpy(buf, out + inside, st->len_bytes);
    }
    return r;
}

/* By what the layers say of each part, so that the driver is asked for places only, and the bytes
 * come from the files without taking turns. */
static int read_layers(struct copier *w, struct blk_node *n, uint64_t at, uint8_t *buf,
                       uint64_t len)
{
    while (len) {
        struct blk_status st;
        int r = blk_status_above(n, NULL, at, len, false, &st);
        if (r < 0) {
            return r;
        }
        if (st.flags & BLK_STATUS_ZERO) {
            memset(buf, 0, st.len_bytes);
        } else if (st.flags & BLK_STATUS_OFFSET) {
            r = read_host(st.host, st.host_bytes, buf, st.len_bytes);
        } else if (st.flags & BLK_STATUS_COMPRESSED) {
            r = read_packed(w, n, &st, at, buf);
        } else {
            r = blk_pread(n, at, buf, st.len_bytes);
        }
        if (r < 0) {
            return r;
        }
        at += st.len_bytes;
        buf += st.len_bytes;
        len -= st.len_bytes;
    }
    return 0;
}

static int read_source(struct copier *w, uint64_t at, uint8_t *to, uint64_t len)
{
    while (len) {
        struct source *s = source_at(w->c, at);
        uint64_t inside = at - s->start_bytes, there = img_size(s->node);
        uint64_t n = MIN_OF(len, s->size_bytes - inside);
        uint64_t stored = inside < there ? MIN_OF(n, there - inside) : 0;
        int r = !stored               ? 0
                : qcow2_info(s->node) ? read_layers(w, s->node, inside, to, stored)
                                      : blk_pread(s->node, inside, to, stored);
        if (r < 0) {
            return r;
        }
        memset(to + stored, 0, n - stored);
        at += n;
        to += n;
        len -= n;
    }
    return 0;
}

static enum piece_kind kind_of(const struct convert *c, uint64_t at, uint32_t flags)
{
    if (flags & BLK_STATUS_ZERO) {
        if (c->sparse_bytes == 0) {
            return PIECE_DATA; /* -S 0: everything is written */
        }
        bool zero_below = c->has_backing && at >= c->backing_size;
        return (c->target_is_zero && !c->has_backing) || zero_below ? PIECE_SKIP : PIECE_ZERO;
    }
    if (flags & BLK_STATUS_DATA || !c->has_backing) {
        return PIECE_DATA;
    }
    return PIECE_SKIP; /* -B: the target's backing image holds the same */
}

/* Holding lock. */
static int load_segment(struct convert *c, uint64_t at)
{
    struct source *s = source_at(c, at);
    uint64_t inside = at - s->start_bytes, size = img_size(s->node);
    struct blk_status st = {.flags = BLK_STATUS_ZERO, .len_bytes = s->size_bytes - inside};
    if (inside < size) {
        const struct blk_node *base = c->has_backing ? blk_backing(s->node) : NULL;
        int r = blk_status_above(s->node, base, inside, size - inside, true, &st);
        if (r < 0 && !c->salvage) {
            return r;
        }
        if (r < 0) { /* to be tried by reading */
            st = (struct blk_status){.flags = BLK_STATUS_DATA, .len_bytes = c->grain};
        }
    }
    c->segment = (struct segment){.kind = kind_of(c, at, st.flags),
                                  .at = at,
                                  .end = MIN_OF(at + st.len_bytes, c->size),
                                  .host = st.flags & BLK_STATUS_OFFSET ? st.host : NULL,
                                  .host_at = st.host_bytes};
    if (c->has_backing && at < c->backing_size) {
        c->segment.end = MIN_OF(c->segment.end, c->backing_size);
    }
    return 0;
}

/* A piece of data from c->next on: it ends at a multiple of grain, and takes in what lies within
 * the last one, and further data behind that. */
static int cut_data(struct convert *c, struct piece *p)
{
    struct segment *s = &c->segment;
    uint64_t at = c->next, end = at, most = MAX_OF((uint64_t)CONVERT_PIECE_BYTES, c->grain);
    uint64_t limit = MIN_OF(ALIGN_DOWN(at, (uint64_t)CONVERT_PIECE_BYTES) + most, c->size);
    *p = (struct piece){.kind = PIECE_DATA,
                        .at = at,
                        .host = s->kind == PIECE_DATA ? s->host : NULL,
                        .host_at = s->host_at + (at - s->at)};
    for (;;) {
        uint64_t reach = s->kind == PIECE_DATA || end == at ? ALIGN_UP(s->end, c->grain) : end;
        end = MIN_OF(reach, limit);
        if (s->end >= end) {
            break;
        }
        int r = load_segment(c, s->end);
        if (r < 0) {
            return r;
        }
        p->host = NULL; /* more than one segment */
    }
    p->len = end - at;
    c->next = end;
    return 0;
}

/* The next piece of what is known, from c->next on. */
static int cut_piece(struct convert *c, struct piece *p)
{
    struct segment *s = &c->segment;
    uint64_t at = c->next, whole = s->end == c->size ? c->size : ALIGN_DOWN(s->end, c->grain);
    if (s->kind == PIECE_DATA || whole <= at) { /* less than a grain of it: with what follows */
        return cut_data(c, p);
    }
    uint64_t most = s->kind == PIECE_ZERO ? ZERO_PIECE_BYTES : UINT64_MAX;
    *p = (struct piece){.kind = s->kind, .at = at, .len = MIN_OF(whole - at, most)};
    c->next = at + p->len;
    return 0;
}

/* Holding lock, which is let go while waiting: a tenth of a second at a time, to be stopped. */
static void keep_to_rate(struct convert *c)
{
    uint64_t due = c->started_ns + (uint64_t)((double)c->copied / (double)c->rate * 1e9), now;
    while (!c->failed && !img_interrupted && (now = host_clock_ns()) < due) {
        struct timespec t = {.tv_nsec = (long)MIN_OF(due - now, (uint64_t)100 * 1000 * 1000)};
        pthread_mutex_unlock(&c->lock);
        nanosleep(&t, NULL);
        pthread_mutex_lock(&c->lock);
    }
}

static void fail_locked(struct convert *c, int r, bool reading, uint64_t at)
{
    if (!c->failed) {
        c->failed = r;
        c->failed_reading = reading;
        c->failed_at = at;
    }
}

/* False: there is no more, or no sense in going on. */
static bool take(struct convert *c, struct piece *p)
{
    bool found = false;
    pthread_mutex_lock(&c->lock);
    if (c->rate) {
        keep_to_rate(c);
    }
    while (!found && !c->failed && !img_interrupted && c->next < c->size) {
        bool known = c->next >= c->segment.at && c->next < c->segment.end;
        int r = known ? 0 : load_segment(c, c->next);
        if (r == 0) {
            r = cut_piece(c, p);
        }
        if (r < 0) {
            fail_locked(c, r, true, c->next);
            break;
        }
        found = p->kind != PIECE_SKIP;
        c->done += found ? 0 : p->len;
    }
    if (found) {
        p->ticket = c->tickets++;
        c->copied += p->kind == PIECE_DATA ? p->len : 0;
    }
    pthread_mutex_unlock(&c->lock);
    return found;
}

/* ---- threads ---- */

/* --salvage: what cannot be read becomes zeroes, sector by sector. */
static void read_what_can_be(struct copier *w, const struct piece *p)
{
    uint8_t *buf = w->slot->buf;
    for (uint64_t i = 0; i < p->len; i += 512) {
        uint64_t n = MIN_OF(p->len - i, (uint64_t)512);
        int r = read_source(w, p->at + i, buf + i, n);
        if (r < 0) {
            log_warning("error while reading offset %" PRIu64 ": %s", p->at + i, g_strerror(-r));
            memset(buf + i, 0, n);
        }
    }
}

static int read_piece(struct copier *w, const struct piece *p)
{
    uint8_t *buf = w->slot->buf;
    if (p->kind != PIECE_DATA) {
        return 0;
    }
    int r =
        p->host ? read_host(p->host, p->host_at, buf, p->len) : read_source(w, p->at, buf, p->len);
    if (r < 0 && w->c->salvage) {
        read_what_can_be(w, p);
        r = 0;
    }
    return r;
}

static void free_slot_locked(struct convert *c, struct slot *s)
{
    s->used = s->ready = false;
    c->done += s->p.len;
    pthread_cond_signal(&c->freed);
}

static struct slot *get_slot(struct convert *c)
{
    struct slot *found = NULL;
    pthread_mutex_lock(&c->lock);
    while (!found) {
        for (unsigned i = 0; i < c->slot_count && !found; i++) {
            found = c->slots[i].used ? NULL : &c->slots[i];
        }
        if (!found) {
            pthread_cond_wait(&c->freed, &c->lock);
        }
    }
    found->used = true;
    found->ready = found->failed = false;
    pthread_mutex_unlock(&c->lock);
    return found;
}

/* Holding lock.  Ready: read and prepared, or failed. */
static struct slot *slot_in_turn(struct convert *c)
{
    for (unsigned i = 0; i < c->slot_count; i++) {
        if (c->slots[i].ready && c->slots[i].p.ticket == c->turn) {
            return &c->slots[i];
        }
    }
    return NULL;
}

/* Holding lock, which is let go meanwhile: places s, whose turn it is or who needs none. */
static bool place_locked(struct convert *c, struct slot *s)
{
    s->ready = false;
    if (!s->failed && !c->failed) {
        pthread_mutex_unlock(&c->lock);
        int r = slot_place(c, s);
        pthread_mutex_lock(&c->lock);
        if (r < 0) {
            fail_locked(c, r, false, s->p.at);
        }
    }
    return !s->failed && !c->failed;
}

/* s is prepared.  It, and all that waited for it, are placed, and then written by this thread. */
static void hand_in(struct convert *c, struct slot *s)
{
    GPtrArray *placed = g_ptr_array_new();
    pthread_mutex_lock(&c->lock);
    s->ready = true;
    if (!c->in_order) {
        if (place_locked(c, s)) {
            g_ptr_array_add(placed, s);
        } else {
            free_slot_locked(c, s);
        }
    } else if (!c->placing) {
        c->placing = true;
        while ((s = slot_in_turn(c))) {
            if (place_locked(c, s)) {
                g_ptr_array_add(placed, s);
            } else {
                free_slot_locked(c, s);
            }
            c->turn++;
        }
        c->placing = false;
    }
    pthread_mutex_unlock(&c->lock);
    for (guint i = 0; i < placed->len; i++) {
        s = g_ptr_array_index(placed, i);
        int r = slot_write(c, s);
        pthread_mutex_lock(&c->lock);
        if (r < 0) {
            fail_locked(c, r, false, s->p.at);
        }
        free_slot_locked(c, s);
        pthread_mutex_unlock(&c->lock);
    }
    g_ptr_array_free(placed, TRUE);
}

static void *work(void *arg)
{
    struct copier *w = arg;
    struct convert *c = w->c;
    for (;;) {
        w->slot = get_slot(c);
        if (!take(c, &w->slot->p)) {
            break;
        }
        int r = read_piece(w, &w->slot->p);
        if (r < 0) {
            pthread_mutex_lock(&c->lock);
            w->slot->failed = true;
            fail_locked(c, r, true, w->slot->p.at);
            pthread_mutex_unlock(&c->lock);
        } else {
            slot_prepare(w, w->slot);
        }
        hand_in(c, w->slot);
    }
    pthread_mutex_lock(&c->lock);
    w->slot->used = false;
    pthread_cond_signal(&c->freed);
    c->running--;
    pthread_cond_signal(&c->ended);
    pthread_mutex_unlock(&c->lock);
    return NULL;
}

/* Signals are the main thread's. */
static bool start_threads(struct convert *c, struct copier *w)
{
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    unsigned started = 0;
    c->running = c->threads;
    for (; started < c->threads; started++) {
        if (pthread_create(&w[started].thread, NULL, work, &w[started])) {
            break;
        }
    }
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    pthread_mutex_lock(&c->lock);
    c->running -= c->threads - started;
    pthread_mutex_unlock(&c->lock);
    c->threads = started;
    return started > 0;
}

static void wait_for_threads(struct convert *c)
{
    struct img_progress bar;
    img_progress_begin(&bar, c->progress);
    pthread_mutex_lock(&c->lock);
    while (c->running) {
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_nsec += 50 * 1000 * 1000;
        until.tv_sec += until.tv_nsec / 1000000000;
        until.tv_nsec %= 1000000000;
        pthread_cond_timedwait(&c->ended, &c->lock, &until);
        img_progress(&bar, c->done, c->size);
    }
    pthread_mutex_unlock(&c->lock);
    if (!c->failed && !img_interrupted) {
        img_progress_end(&bar);
    }
}

static bool verdict(struct convert *c, GError **err)
{
    if (c->failed) {
        return error_errno(err, -c->failed, "error while %s at byte %" PRIu64,
                           c->failed_reading ? "reading" : "writing", c->failed_at);
    }
    return !img_interrupted || error_set(err, HANOK_ERROR_IO, "interrupted");
}

static unsigned make_slots(struct convert *c)
{
    enum { SLOTS_A_THREAD = 2 };
    unsigned wanted = c->threads * (c->in_order && c->threads > 1 ? SLOTS_A_THREAD : 1);
    c->slots = g_new0(struct slot, wanted);
    while (c->slot_count < wanted && slot_init(&c->slots[c->slot_count], c)) {
        c->slot_count++;
    }
    if (c->slot_count < wanted) {
        slot_clear(&c->slots[c->slot_count]);
    }
    return c->slot_count;
}

bool convert_copy(struct convert *c, GError **err)
{
    g_autofree struct copier *w = g_new0(struct copier, c->threads);
    unsigned tools = 0, wanted = c->threads;
    while (tools < wanted && copier_init(&w[tools], c)) {
        tools++;
    }
    c->threads = MIN_OF(make_slots(c), tools); /* fewer are slower, and enough */
    c->started_ns = host_clock_ns();
    bool ok = c->threads && start_threads(c, w);
    if (ok) {
        wait_for_threads(c);
        for (unsigned i = 0; i < c->threads; i++) {
            pthread_join(w[i].thread, NULL);
        }
    }
    for (unsigned i = 0; i < wanted; i++) {
        copier_clear(&w[i]);
    }
    for (unsigned i = 0; i < c->slot_count; i++) {
        slot_clear(&c->slots[i]);
    }
    g_free(c->slots);
    return ok ? verdict(c, err)
              : error_set(err, HANOK_ERROR_IO, "the host has no memory or no threads to copy with");
}
