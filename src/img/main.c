/* main.c - hanok-img: disk images from the shell, with qemu-img's verbs and options.
 *
 *     hanok-img create -f qcow2 disk.qcow2 10G
 *     hanok-img convert -p -O raw disk.qcow2 disk.img
 *     hanok-img info --output=json disk.img */
#include "img.h"

#include "base/error.h"
#include "base/log.h"
#include "base/util.h"

#include <stdio.h>
#include <string.h>

struct verb {
    const char *name, *form, *help;
    int (*run)(int argc, char **argv); /* argv[0] is the verb; NULL: not in this version */
};

static const struct verb verbs[] = {
    {"amend", "[--image-opts] [-p] [-q] [-f fmt] [-t cache] [--force] -o options filename",
     "change options of a qcow2 image that is there", do_amend},
    {"bench",
     "[-c count] [-d depth] [-f fmt] [--flush-interval=flush_interval] [-i aio] [-n] [--no-drain] "
     "[-o offset] [--pattern=pattern] [-q] [-s buffer_size] [-S step_size] [-t cache] [-w] [-U] "
     "filename",
     "time many requests of one kind", do_bench},
    {"bitmap", NULL, NULL, NULL},
    {"check",
     "[--image-opts] [-q] [-f fmt] [--output=ofmt] [-r [leaks | all]] [-T src_cache] [-U] "
     "filename",
     "look for contradictions in an image, and repair them", do_check},
    {"commit", "[-q] [-f fmt] [-t cache] [-b base] [-r rate_limit] [-d] [-p] filename",
     "write what an image holds into its backing image", do_commit},
    {"compare",
     "[--image-opts] [-f fmt] [-F fmt] [-T src_cache] [-p] [-q] [-s] [-U] filename1 filename2",
     "tell whether a guest would see the same", do_compare},
    {"convert",
     "[--image-opts] [--target-image-opts] [--target-is-zero] [-U] [-C] [-c] [-p] [-q] [-n] "
     "[-f fmt] [-t cache] [-T src_cache] [-O output_fmt] [-B backing_file [-F backing_fmt]] "
     "[-o options] [-l snapshot_param] [-S sparse_size] [-r rate_limit] [-m threads] [-W] "
     "[--salvage] filename [filename2 [...]] output_filename",
     "copy an image into another format", do_convert},
    {"create", "[-q] [-f fmt] [-b backing_file [-F backing_fmt]] [-u] [-o options] filename [size]",
     "make an image", do_create},
    {"dd",
     "[--image-opts] [-U] [-f fmt] [-O output_fmt] [bs=block_size] [count=blocks] [skip=blocks] "
     "if=input of=output",
     "copy a part of an image", do_dd},
    {"info", "[--image-opts] [-f fmt] [--output=ofmt] [--backing-chain] [-U] filename",
     "say what an image is", do_info},
    {"map",
     "[--image-opts] [-f fmt] [--start-offset=offset] [--max-length=len] [--output=ofmt] [-U] "
     "filename",
     "say which layer holds what, and where", do_map},
    {"measure",
     "[--output=ofmt] [-O output_fmt] [-o options] [--size N | [--image-opts] [-f fmt] "
     "[-l snapshot_param] filename]",
     "say how long the file of a new image will be", do_measure},
    {"rebase",
     "[--image-opts] [-U] [-q] [-f fmt] [-t cache] [-T src_cache] [-p] [-u] -b backing_file "
     "[-F backing_fmt] filename",
     "give an image another backing image", do_rebase},
    {"resize",
     "[--image-opts] [-f fmt] [--preallocation=prealloc] [-q] [--shrink] filename [+ | -]size",
     "make an image larger or smaller", do_resize},
    {"snapshot", "[--image-opts] [-U] [-q] [-l | -a snapshot | -c snapshot | -d snapshot] filename",
     "list, make, apply and delete snapshots inside an image", do_snapshot},
};

int img_help(const char *verb)
{
    if (!verb) {
        puts("hanok-img - disk images for virtual machines, with qemu-img's verbs\n"
             "usage: hanok-img VERB [options]\n");
    }
    for (size_t i = 0; i < ARRAY_SIZE(verbs); i++) {
        if (verbs[i].run && (!verb || !strcmp(verb, verbs[i].name))) {
            printf("  %s %s\n        %s\n", verbs[i].name, verbs[i].form, verbs[i].help);
        }
    }
    puts("\nSizes take the suffixes k, M, G, T, P, E (powers of 1024).\n"
         "cache is one of none, writeback, writethrough, directsync, unsafe (convert's default).\n"
         "-o help lists a format's options.\n"
         "Supported formats: qcow2 raw");
    return 0;
}

static int run_verb(int argc, char **argv)
{
    const char *names[ARRAY_SIZE(verbs)];
    for (size_t i = 0; i < ARRAY_SIZE(verbs); i++) {
        names[i] = verbs[i].name;
        if (strcmp(verbs[i].name, argv[1])) {
            continue;
        }
        if (!verbs[i].run) {
            return img_fail_text("the verb '%s' is not in this version", argv[1]);
        }
        return verbs[i].run(argc - 1, argv + 1);
    }
    g_autofree char *near = error_nearest(argv[1], names, ARRAY_SIZE(names));
    return img_usage("Command not found: %s; did you mean %s?", argv[1], near);
}

int main(int argc, char **argv)
{
    log_init("hanok-img");
    if (argc < 2) {
        return img_usage("Not enough arguments");
    }
    if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") || !strcmp(argv[1], "help")) {
        return img_help(NULL);
    }
    if (!strcmp(argv[1], "--version") || !strcmp(argv[1], "-V")) {
        puts("hanok-img version " HANOK_VERSION " (accepts qemu-img's verbs and options)");
        return 0;
    }
    return run_verb(argc, argv);
}
