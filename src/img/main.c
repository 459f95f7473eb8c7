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
    int (*run)(int argc, char **argv); /* argv[0] is the verb; NULL: a later version brings it */
};

static const struct verb verbs[] = {
    {"check", "[-q] [-U] [-f qcow2] [-r leaks] FILE", "look for contradictions in an image",
     do_check},
    {"convert",
     "[-q] [-p] [-n] [-U] [--target-is-zero] [-f FORMAT] [-O FORMAT] [-o OPTIONS] FROM TO",
     "copy an image into another format", do_convert},
    {"create",
     "[-q] [-f raw|qcow2] [-o cluster_size=,compat=,preallocation=,...] [-b FILE -F FORMAT] FILE "
     "[SIZE]",
     "make an image", do_create},
    {"info", "[-U] [-f FORMAT] [--output=human|json] FILE", "say what an image is", do_info},
    {"resize", "[-q] [-f raw] [--shrink] FILE [+|-]SIZE", "make an image larger or smaller",
     do_resize},
    {"amend"},
    {"bench"},
    {"bitmap"},
    {"commit"},
    {"compare"},
    {"dd"},
    {"map"},
    {"measure"},
    {"rebase"},
    {"snapshot"},
};

static int print_help(void)
{
    puts("hanok-img - disk images for virtual machines, with qemu-img's verbs\n"
         "usage: hanok-img VERB [options]\n");
    for (size_t i = 0; i < ARRAY_SIZE(verbs); i++) {
        if (verbs[i].run) {
            printf("  %s %s\n        %s\n", verbs[i].name, verbs[i].form, verbs[i].help);
        }
    }
    puts("\nSizes take the suffixes K, M, G, T (powers of 1024).\n"
         "The image formats of this version: raw, qcow2");
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
            return img_fail_text("the verb '%s' comes with a later version", argv[1]);
        }
        return verbs[i].run(argc - 1, argv + 1);
    }
    g_autofree char *near = error_nearest(argv[1], names, ARRAY_SIZE(names));
    return img_fail_text("there is no verb '%s'; did you mean %s? --help lists them", argv[1],
                         near);
}

int main(int argc, char **argv)
{
    log_init("hanok-img");
    if (argc < 2) {
        return img_fail_text("a verb is missing; --help lists them");
    }
    if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") || !strcmp(argv[1], "help")) {
        return print_help();
    }
    if (!strcmp(argv[1], "--version") || !strcmp(argv[1], "-V")) {
        puts("hanok-img version " HANOK_VERSION " (accepts qemu-img's verbs and options)");
        return 0;
    }
    return run_verb(argc, argv);
}
