/* snapshot.c - the verb snapshot, and the table of snapshots that info prints too. */
#include "img.h"

#include "base/error.h"
#include "block/qcow2.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static void add_row(GString *out, const struct qcow2_snapshot *s)
{
    g_autofree char *size = img_human_size(s->vm_state_bytes);
    g_autofree char *icount =
        s->icount == UINT64_MAX ? g_strdup("") : g_strdup_printf("%" PRIu64, s->icount);
    uint64_t secs = s->vm_clock_ns / 1000000000;
    g_autofree char *clock =
        g_strdup_printf("%02" PRIu64 ":%02d:%02d.%03d", secs / 3600, (int)(secs / 60 % 60),
                        (int)(secs % 60), (int)(s->vm_clock_ns / 1000000 % 1000));
    time_t when = (time_t)s->date_seconds;
    struct tm tm = {0};
    char date[64] = "";
    if (localtime_r(&when, &tm)) {
        strftime(date, sizeof(date), "%Y-%m-%d %H:%M:%S", &tm);
    }
    g_string_append_printf(out, "%-9s %-16s %8s%20s%13s%11s\n", s->id, s->name, size, date, clock,
                           icount);
}

char *img_snapshot_table(const struct blk_node *n)
{
    uint32_t count = 0;
    const struct qcow2_snapshot *s = qcow2_snapshots(n, &count);
    if (!count) {
        return NULL;
    }
    GString *out = g_string_new(NULL);
    g_string_append_printf(out, "%-10s%-17s%8s%20s%13s%11s\n", "ID", "TAG", "VM SIZE", "DATE",
                           "VM CLOCK", "ICOUNT");
    for (uint32_t i = 0; i < count; i++) {
        add_row(out, &s[i]);
    }
    return g_string_free(out, FALSE);
}

static bool act(struct blk_node *n, int action, const char *name, GError **err)
{
    static const char *const words[] = {['c'] = "create", ['a'] = "apply", ['d'] = "delete"};
    if (action == 'l') {
        g_autofree char *table = img_snapshot_table(n);
        if (table) {
            printf("Snapshot list:\n%s", table);
        }
        return true;
    }
    bool ok = action == 'c'   ? qcow2_snapshot_create(n, name, err)
              : action == 'a' ? qcow2_snapshot_apply(n, name, err)
                              : qcow2_snapshot_delete(n, name, err);
    int r = ok ? blk_flush_sync(n) : 0;
    ok = ok && (r == 0 || error_errno(err, -r, "the image could not be written"));
    if (!ok) {
        g_prefix_error(err, "Could not %s snapshot '%s': ", words[action], name);
    }
    return ok;
}

static int run(const char *path, struct img_open *how, int action, const char *name)
{
    GError *err = NULL;
    how->write = action != 'l';
    how->no_backing = action == 'l';
    struct blk_node *n = img_open(path, how, &err);
    if (!n) {
        return img_fail(err);
    }
    bool ok = true;
    if (qcow2_info(n)) {
        ok = act(n, action, name, &err);
    } else if (action != 'l') { /* no list is no error */
        ok = error_set(&err, HANOK_ERROR_INVALID,
                       "'%s' is a raw image, which has no snapshots; qcow2 images have", path);
    }
    blk_close(n);
    return ok ? 0 : img_fail(err);
}

int do_snapshot(int argc, char **argv)
{
    static const struct option longs[] = {IMG_LONG_COMMON, {NULL}};
    struct img_open how = {0};
    const char *name = NULL;
    int action = 0, o;
    while ((o = img_getopt(argc, argv, ":hf:la:c:d:qU", longs)) != -1) {
        if (o == '?') {
            return 1;
        }
        if (strchr("lacd", o)) {
            if (action) {
                return img_usage("Cannot mix '-l', '-a', '-c', '-d'");
            }
            action = o;
            name = optarg;
        }
        how.format = o == 'f' ? optarg : how.format;
        how.force_share |= o == 'U';
        how.image_opts |= o == IMG_OPT_IMAGE_OPTS;
    }
    if (argc - optind != 1) {
        return img_usage("Expecting one image file name");
    }
    return run(argv[optind], &how, action ? action : 'l', name);
}
