/* verb_make.c - the table of the verbs that make machines. */
#include "make.h"

#include <stdlib.h>
#include <sys/random.h>

enum { PASSWORD_LETTERS = 16 };

char *random_password(void)
{
    static const char letters[] = "abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789";
    const unsigned count = sizeof(letters) - 1;
    char text[PASSWORD_LETTERS + 1] = "";
    for (unsigned i = 0; i < PASSWORD_LETTERS;) {
        unsigned char byte;
        if (getrandom(&byte, 1, 0) != 1) {
            abort(); /* a password that can be guessed is worse */
        }
        if (byte < 256 / count * count) { /* each letter is as likely */
            text[i++] = letters[byte % count];
        }
    }
    return g_strdup(text);
}

static const struct verb verbs[] = {
    {"install", "make a machine and install a system in it (virt-install)", false, install_run,
     install_opts,
     "hanok install --name web --memory 1024 --disk size=10 --location "
     "http://deb.debian.org/debian/dists/bookworm/main/installer-amd64/"},
    {"clone", "copy a machine (virt-clone)", false, clone_run, clone_opts,
     "hanok clone --original web --auto-clone"},
    {"image", "build a disk image with a system in it", false, image_run, image_opts,
     "hanok image build debian12 --package openssh-server"},
    {"doctor", "what this host can do, and what to do about the rest", true, doctor_run, NULL,
     "hanok doctor"},
    {NULL}};
const struct verb_group make_verbs = {"Making machines", verbs};
