/* check.c - the verb check; exit status as qemu-img's: 0 clean, 1 not checked, 2 corrupt, 3 leaks,
 * 63 the format has nothing to check. */
#include "img.h"

#include "base/error.h"
#include "block/qcow2.h"

#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static void finding(void *opaque, bool is_leak, const char *text)
{
    const bool *quiet = opaque;
    if (!*quiet) {
        puts(text);
    }
}

static int verdict(const struct qcow2_check *c, bool quiet)
{
    uint64_t leaks = c->leaks - c->leaks_fixed;
    if (!quiet) {
        if (c->leaks_fixed) {
            printf("The following inconsistencies were found and repaired:\n\n    %" PRIu64
                   " leaked clusters\n\n",
                   c->leaks_fixed);
        }
        if (c->corruptions) {
            printf("\n%" PRIu64 " errors were found on the image.\n", c->corruptions);
        }
        if (leaks) {
            printf("\n%" PRIu64 " leaked clusters were found on the image.\n", leaks);
        }
        if (!leaks && !c->corruptions) {
            puts("No errors were found on the image.");
        }
        printf("Image end offset: %" PRIu64 "\n", c->end_bytes);
    }
    return c->corruptions ? 2 : leaks ? 3 : 0;
}

static int check(const char *path, struct img_open *how, bool fix, bool quiet)
{
    GError *err = NULL;
    struct qcow2_check found;
    how->write = fix;
    how->no_backing = true;
    struct blk_node *n = img_open(path, how, &err);
    if (!n) {
        return img_fail(err);
    }
    if (!qcow2_info(n)) {
        blk_close(n);
        img_fail_text("This image format does not support checks");
        return 63;
    }
    bool ok = qcow2_check(n, fix, finding, &quiet, &found, &err);
    if (ok && fix && blk_flush_sync(n) < 0) {
        ok = error_set(&err, HANOK_ERROR_IO, "the repaired refcounts could not be written");
    }
    blk_close(n);
    return ok ? verdict(&found, quiet) : img_fail(err);
}

int do_check(int argc, char **argv)
{
    struct img_open how = {0};
    bool fix = false, quiet = false;
    GError *err = NULL;
    int c;
    while ((c = getopt(argc, argv, "+f:r:qU")) != -1) {
        if (c == '?') {
            return 1;
        }
        if (c == 'f' && !img_check_format(optarg, &err)) {
            return img_fail(err);
        }
        if (c == 'r' && strcmp(optarg, "leaks")) {
            return img_fail_text("this version repairs leaks only (-r leaks); it cannot do -r %s",
                                 optarg);
        }
        how.format = c == 'f' ? optarg : how.format;
        how.force_share |= c == 'U';
        fix |= c == 'r';
        quiet |= c == 'q';
    }
    if (argc - optind != 1) {
        return img_fail_text("check needs one file: hanok-img check disk.qcow2");
    }
    return check(argv[optind], &how, fix, quiet);
}
