/* preseed.c - see preseed.h. */
#include "preseed.h"

#include "base/util.h"

#include <string.h>

static bool one_line(const char *what, const char *text, GError **err)
{
    return !text || !strpbrk(text, "\r\n") ||
           error_set(err, HANOK_ERROR_INVALID, "--unattended: %s cannot have a line break", what);
}

static void answer(GString *s, const char *question, const char *type, const char *value)
{
    g_string_append_printf(s, "d-i %s %s %s\n", question, type, value);
}

static void accounts(GString *s, const struct preseed *p)
{
    answer(s, "passwd/root-login", "boolean", "true");
    answer(s, "passwd/root-password", "password", p->root_password);
    answer(s, "passwd/root-password-again", "password", p->root_password);
    answer(s, "passwd/make-user", "boolean", p->user ? "true" : "false");
    if (p->user) {
        answer(s, "passwd/user-fullname", "string", p->user);
        answer(s, "passwd/username", "string", p->user);
        answer(s, "passwd/user-password", "password", p->user_password);
        answer(s, "passwd/user-password-again", "password", p->user_password);
    }
}

static void mirror(GString *s, const char *where)
{
    const char *slash = where ? strchr(where, '/') : NULL;
    g_autofree char *host = where ? g_strndup(where, strcspn(where, "/")) : NULL;
    answer(s, "mirror/country", "string", "manual");
    answer(s, "mirror/http/hostname", "string", host ? host : "deb.debian.org");
    answer(s, "mirror/http/directory", "string", slash ? slash : "/debian");
    answer(s, "mirror/http/proxy", "string", "");
}

/* The whole disk, one partition and swap. */
static void disk(GString *s, const char *device)
{
    answer(s, "partman-auto/disk", "string", device);
    answer(s, "partman-auto/method", "string", "regular");
    answer(s, "partman-auto/choose_recipe", "select", "atomic");
    answer(s, "partman-partitioning/confirm_write_new_label", "boolean", "true");
    answer(s, "partman/choose_partition", "select", "finish");
    answer(s, "partman/confirm", "boolean", "true");
    answer(s, "partman/confirm_nooverwrite", "boolean", "true");
    answer(s, "grub-installer/only_debian", "boolean", "true");
    answer(s, "grub-installer/bootdev", "string", device);
}

char *preseed_text(const struct preseed *p, GError **err)
{
    const char *zone = p->timezone ? p->timezone : "Etc/UTC";
    if (!one_line("the root password", p->root_password, err) ||
        !one_line("the user", p->user, err) ||
        !one_line("the user's password", p->user_password, err) ||
        !one_line("the mirror", p->mirror, err) || !one_line("the time zone", zone, err) ||
        !one_line("the locale", p->locale, err) || !one_line("the keyboard", p->keyboard, err)) {
        return NULL;
    }
    GString *s = g_string_new("# made by hanok install --unattended\n");
    answer(s, "debian-installer/locale", "string", p->locale ? p->locale : "en_US.UTF-8");
    answer(s, "keyboard-configuration/xkb-keymap", "select", p->keyboard ? p->keyboard : "us");
    answer(s, "netcfg/choose_interface", "select", "auto");
    answer(s, "netcfg/get_hostname", "string", p->host);
    answer(s, "netcfg/hostname", "string", p->host);
    answer(s, "netcfg/get_domain", "string", "");
    mirror(s, p->mirror);
    accounts(s, p);
    answer(s, "clock-setup/utc", "boolean", "true");
    answer(s, "time/zone", "string", zone);
    disk(s, p->disk);
    g_string_append(s, "tasksel tasksel/first multiselect standard, ssh-server\n");
    g_string_append(s, "popularity-contest popularity-contest/participate boolean false\n");
    answer(s, "pkgsel/include", "string", "qemu-guest-agent");
    answer(s, "apt-setup/cdrom/set-first", "boolean", "false");
    if (p->serial) {
        answer(s, "debian-installer/add-kernel-opts", "string", "console=tty0 console=ttyS0");
    }
    answer(s, "finish-install/reboot_in_progress", "note", "");
    answer(s, "cdrom-detect/eject", "boolean", "false");
    return g_string_free(s, FALSE);
}
