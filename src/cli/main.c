/* main.c - hanok: the manager's command line. */
#include "cmd.h"

#include "base/log.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

int main(int argc, char **argv)
{
    const char *uri = NULL;
    bool quiet = false;
    int i = 1;
    log_init("hanok");
    signal(SIGPIPE, SIG_IGN);
    for (; i < argc && argv[i][0] == '-'; i++) {
        if (!strcmp(argv[i], "-c") || !strcmp(argv[i], "--connect")) {
            if (i + 1 >= argc) {
                return cmd_fail("%s needs a value: qemu:///system or qemu:///session", argv[i]);
            }
            uri = argv[++i];
        } else if (!strncmp(argv[i], "--connect=", 10)) {
            uri = argv[i] + 10;
        } else if (!strcmp(argv[i], "-q") || !strcmp(argv[i], "--quiet")) {
            quiet = true;
        } else if (!strcmp(argv[i], "-h") || !strcmp(argv[i], "--help")) {
            char *help[] = {"help"};
            return cmd_main(1, help, NULL, false);
        } else if (!strcmp(argv[i], "-v") || !strcmp(argv[i], "--version")) {
            puts("hanok " HANOK_VERSION);
            return 0;
        } else {
            return cmd_fail("there is no option '%s' before the verb; -c URI and -q are", argv[i]);
        }
    }
    if (i >= argc) {
        return cmd_fail("a verb is missing; 'hanok help' lists them");
    }
    if (i + 1 < argc && !strcmp(argv[i + 1], "--help")) {
        char *help[] = {"help", argv[i]};
        return cmd_main(2, help, NULL, false);
    }
    return cmd_main(argc - i, argv + i, uri, quiet);
}
