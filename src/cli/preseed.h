/* preseed.h - the answers with which Debian's installer asks nothing. */
#ifndef CLI_PRESEED_H
#define CLI_PRESEED_H

#include "base/error.h"

struct preseed {
    const char *host;
    const char *locale, *keyboard, *timezone; /* NULL: en_US.UTF-8, us, Etc/UTC */
    const char *mirror;                       /* host[/directory]; NULL: Debian's */
    const char *disk;                         /* /dev/vda */
    const char *root_password;
    const char *user, *user_password; /* user NULL: none but root */
    bool serial;                      /* the installed system speaks on ttyS0 */
};

/* Text of a preseed file.  Values with a line break are refused: each line is an answer. */
char *preseed_text(const struct preseed *p, GError **err);

#endif
