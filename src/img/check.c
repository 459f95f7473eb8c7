/* check.c - the verb check; exit status as qemu-img's: 0 clean, 1 not checked, 2 corrupt, 3 leaks,
 * 63 the format has nothing to check. */
#include "img.h"

#include "base/error.h"
#include "block/qcow2.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

struct check {
    struct img_open how;
    const char *path;
    unsigned fix;
    bool json, quiet;
};

static void finding(void *opaque, bool is_leak, const char *text)
{
    fprintf(stderr, "%s\n", text);
}

static void add_count(json_t *o, const char *key, uint64_t n)
{
    if (n) {
        json_object_set_new(o, key, json_integer((json_int_t)n));
    }
}

static void print_json(const struct check *c, const struct qcow2_check *f)
{
    json_t *o = json_pack("{sssssi}", "filename", c->path, "format", "qcow2", "check-errors", 0);
    add_count(o, "image-end-offset", f->end_bytes);
    add_count(o, "corruptions", f->corruptions);
    add_count(o, "leaks", f->leaks);
    add_count(o, "corruptions-fixed", f->corruptions_fixed);
    add_count(o, "leaks-fixed", f->leaks_fixed);
    add_count(o, "total-clusters", f->total_clusters);
    add_count(o, "allocated-clusters", f->allocated_clusters);
    add_count(o, "fragmented-clusters", f->fragmented_clusters);
    add_count(o, "compressed-clusters", f->compressed_clusters);
    json_dumpf(o, stdout, JSON_INDENT(4));
    putchar('\n');
    json_decref(o);
}

static void print_human(const struct qcow2_check *f)
{
    if (!f->corruptions && !f->leaks) {
        puts("No errors were found on the image.");
    }
    if (f->corruptions) {
        printf("\n%" PRIu64 " errors were found on the image.\n"
               "Data may be corrupted, or further writes to the image may corrupt it.\n",
               f->corruptions);
    }
    if (f->leaks) {
        printf("\n%" PRIu64 " leaked clusters were found on the image.\n"
               "This means waste of disk space, but no harm to data.\n",
               f->leaks);
    }
    if (f->total_clusters && f->allocated_clusters) {
        double used = (double)f->allocated_clusters;
        printf("%" PRIu64 "/%" PRIu64
               " = %0.2f%% allocated, %0.2f%% fragmented, %0.2f%% compressed clusters\n",
               f->allocated_clusters, f->total_clusters, used * 100 / (double)f->total_clusters,
               (double)f->fragmented_clusters * 100 / used,
               (double)f->compressed_clusters * 100 / used);
    }
    if (f->end_bytes) {
        printf("Image end offset: %" PRIu64 "\n", f->end_bytes);
    }
}

static void print_repairs(const struct qcow2_check *f)
{
    puts("The following inconsistencies were found and repaired:\n");
    printf("    %" PRIu64 " leaked clusters\n    %" PRIu64 " corruptions\n", f->leaks_fixed,
           f->corruptions_fixed);
    puts("\nDouble checking the fixed image now...");
}

/* What was repaired is looked at once more, in an image opened anew. */
static bool check_once(const struct check *c, unsigned fix, struct qcow2_check *found, bool *other,
                       GError **err)
{
    struct img_open how = c->how;
    how.write = how.for_check = fix != 0;
    struct blk_node *n = img_open(c->path, &how, err);
    if (!n) {
        return false;
    }
    *other = !qcow2_info(n);
    bool ok = *other || qcow2_check(n, fix, finding, NULL, found, err);
    if (ok && fix && blk_flush_sync(n) < 0) {
        ok = error_set(err, HANOK_ERROR_IO, "the repaired image could not be written");
    }
    blk_close(n);
    return ok;
}

static int check(const struct check *c)
{
    GError *err = NULL;
    struct qcow2_check found = {0}, again = {0};
    bool other;
    if (!check_once(c, c->fix, &found, &other, &err)) {
        return img_fail(err);
    }
    if (other) {
        img_fail_text("This image format does not support checks");
        return 63;
    }
    if (found.leaks_fixed || found.corruptions_fixed) {
        if (!c->json && !c->quiet) {
            print_repairs(&found);
        }
        if (!check_once(c, 0, &again, &other, &err)) {
            return img_fail(err);
        }
        again.leaks_fixed = found.leaks_fixed;
        again.corruptions_fixed = found.corruptions_fixed;
        found = again;
    }
    if (c->json) {
        print_json(c, &found);
    } else if (!c->quiet) {
        print_human(&found);
    }
    return found.corruptions ? 2 : found.leaks ? 3 : 0;
}

int do_check(int argc, char **argv)
{
    static const struct option longs[] = {
        IMG_LONG_COMMON,
        {"output", required_argument, NULL, IMG_OPT_OUTPUT},
        {"repair", required_argument, NULL, 'r'},
        {NULL},
    };
    struct check c = {.how.no_backing = true};
    int o;
    while ((o = img_getopt(argc, argv, ":hf:r:T:qU", longs)) != -1) {
        if (o == '?' || (o == IMG_OPT_OUTPUT && !img_parse_output(optarg, &c.json)) ||
            (o == 'T' && !img_parse_cache(optarg, &c.how.cache))) {
            return 1;
        }
        if (o == 'r' && strcmp(optarg, "leaks") && strcmp(optarg, "all")) {
            return img_usage("--repair (-r) expects 'leaks' or 'all', not '%s'", optarg);
        }
        if (o == 'r') {
            c.fix = !strcmp(optarg, "all") ? QCOW2_FIX_LEAKS | QCOW2_FIX_ERRORS : QCOW2_FIX_LEAKS;
        }
        c.how.format = o == 'f' ? optarg : c.how.format;
        c.how.force_share |= o == 'U';
        c.how.image_opts |= o == IMG_OPT_IMAGE_OPTS;
        c.quiet |= o == 'q';
    }
    if (argc - optind != 1) {
        return img_usage("Expecting one image file name");
    }
    c.path = argv[optind];
    return check(&c);
}
