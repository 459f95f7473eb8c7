/* verb_image.c - hanok image build: a disk image with a system in it, made of packages.
 *
 * mmdebstrap makes the root file system (as root, or in a user namespace), mke2fs puts it into an
 * image without mounting anything, hanok-img makes it qcow2.  Kernel and initial RAM disk lie
 * beside the image as FILE.vmlinuz and FILE.initrd: 'hanok install --import' boots with them. */
#include "make.h"

#include "images.h"

#include "base/util.h"
#include "manager/device.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct image {
    struct cmd *c;
    char *out;  /* the qcow2 file */
    char *work; /* a directory for what is in between */
    char *password;
    GError **err;
};

static const struct {
    const char *name, *suite, *kernel;
} systems[] = {{"debian12", "bookworm", "linux-image-cloud-amd64"},
               {"debian11", "bullseye", "linux-image-cloud-amd64"}};

static bool step(struct image *b, const char *what, char *const *argv)
{
    if (!b->c->quiet) {
        fprintf(stderr, "%s ...\n", what);
    }
    g_autoptr(GError) why = NULL;
    if (run_tool(argv, NULL, &why)) {
        return true;
    }
    /* tools say a lot: the end is what matters */
    const char *text = why->message, *end = text + strlen(text);
    for (unsigned lines = 0; end > text && lines < 12; end--) {
        lines += end[-1] == '\n';
    }
    return error_set(b->err, HANOK_ERROR_IO, "%s: %s", what, end);
}

/* What makes the system one that can be logged into at its serial console. */
static char *customize(struct image *b)
{
    g_autofree char *host =
        g_shell_quote(cmd_str(b->c, "hostname") ? cmd_str(b->c, "hostname") : "debian");
    g_autofree char *quoted = g_shell_quote(b->password);
    return g_strdup_printf("set -e; r=\"$1\"; echo %s > \"$r/etc/hostname\"; "
                           "echo '/dev/vda / ext4 errors=remount-ro 0 1' > \"$r/etc/fstab\"; "
                           "printf '[Match]\\nName=e*\\n[Network]\\nDHCP=yes\\n' > "
                           "\"$r/etc/systemd/network/80-dhcp.network\"; "
                           "chroot \"$r\" systemctl enable systemd-networkd "
                           "serial-getty@ttyS0.service >/dev/null 2>&1; "
                           "p=%s; echo \"root:$p\" | chroot \"$r\" chpasswd; "
                           ": > \"$r/etc/machine-id\"; rm -f \"$r\"/etc/ssh/ssh_host_*",
                           host, quoted);
}

static char *package_list(struct image *b, const char *kernel)
{
    GPtrArray *more = cmd_all(b->c, "package");
    GString *s = g_string_new(kernel);
    g_string_append(s,
                    ",systemd-sysv,udev,dbus,iproute2,qemu-guest-agent,e2fsprogs,kmod,procps,less");
    if (cmd_flag(b->c, "cloud-init")) {
        g_string_append(s, ",cloud-init,cloud-guest-utils");
    }
    for (unsigned i = 0; more && i < more->len; i++) {
        g_string_append_printf(s, ",%s", (char *)more->pdata[i]);
    }
    return g_string_free(s, FALSE);
}

static bool make_tar(struct image *b, unsigned system, const char *tar)
{
    g_autofree char *include = package_list(b, systems[system].kernel),
                    *packages = g_strconcat("--include=", include, NULL);
    g_autofree char *script = customize(b), *hook = g_strconcat("--customize-hook=", script, NULL);
    const char *mirror = cmd_str(b->c, "mirror");
    const char *argv[] = {"mmdebstrap",
                          geteuid() ? "--mode=unshare" : "--mode=root",
                          "--variant=apt",
                          packages,
                          hook,
                          "--format=tar",
                          systems[system].suite,
                          tar,
                          mirror ? mirror : "http://deb.debian.org/debian",
                          NULL};
    return step(b, "Fetching and unpacking packages", (char *const *)argv);
}

/* Everything that belongs to root in the file system must be root's while it is copied: a user does
 * it in a namespace of his own. */
static bool in_shell(struct image *b, const char *what, const char *script,
                     const char *const *words)
{
    g_autoptr(GPtrArray) argv = g_ptr_array_new();
    if (geteuid()) {
        g_ptr_array_add(argv, (gpointer) "unshare");
        g_ptr_array_add(argv, (gpointer) "--map-root-user");
        g_ptr_array_add(argv, (gpointer) "--map-auto");
    }
    g_ptr_array_add(argv, (gpointer) "sh");
    g_ptr_array_add(argv, (gpointer) "-ec");
    g_ptr_array_add(argv, (gpointer)script);
    g_ptr_array_add(argv, (gpointer) "sh");
    for (unsigned i = 0; words[i]; i++) {
        g_ptr_array_add(argv, (gpointer)words[i]);
    }
    g_ptr_array_add(argv, NULL);
    return step(b, what, (char *const *)argv->pdata);
}

static bool make_image(struct image *b, const char *tar, const char *size)
{
    static const char script[] =
        "cd \"$1\"; mkdir root; tar -C root --exclude='./dev/*' -xf \"$2\"; "
        "cp -L root/vmlinuz kernel 2>/dev/null || cp root/boot/vmlinuz-* kernel; "
        "cp -L root/initrd.img initrd 2>/dev/null || cp root/boot/initrd.img-* initrd; "
        "truncate -s \"$3\" image.raw; mke2fs -q -t ext4 -L root -d root image.raw; rm -rf root; "
        "chmod 600 kernel initrd";
    const char *const words[] = {b->work, tar, size, NULL};
    return in_shell(b, "Making the file system", script, words);
}

static bool finish(struct image *b)
{
    g_autofree char *tool = image_tool(), *raw = g_build_filename(b->work, "image.raw", NULL);
    g_autofree char *temp = image_temp_name(b->out),
                    *kernel = g_strconcat(b->out, ".vmlinuz", NULL);
    g_autofree char *initrd = g_strconcat(b->out, ".initrd", NULL);
    g_autofree char *made_kernel = g_build_filename(b->work, "kernel", NULL);
    g_autofree char *made_initrd = g_build_filename(b->work, "initrd", NULL);
    const char *argv[] = {tool, "convert", "-f", "raw", "-O", "qcow2", raw, temp, NULL};
    if (!step(b, "Making the image", (char *const *)argv)) {
        unlink(temp);
        return false;
    }
    if (chmod(temp, 0600)) { /* it has a password in it */
        return error_errno(b->err, errno, "'%s'", temp);
    }
    return image_copy(made_kernel, kernel, IMAGE_COPY_BEST, NULL, b->err) &&
           image_copy(made_initrd, initrd, IMAGE_COPY_BEST, NULL, b->err) &&
           image_place(temp, b->out, b->err);
}

static bool tools_there(GError **err)
{
    static const char *const tools[][2] = {
        {"mmdebstrap", "mmdebstrap"}, {"mke2fs", "e2fsprogs"}, {"unshare", "util-linux"}};
    for (unsigned i = 0; i < ARRAY_SIZE(tools); i++) {
        g_autofree char *path = g_find_program_in_path(tools[i][0]);
        if (!path) {
            return error_set(err, HANOK_ERROR_NOT_FOUND, "%s is missing: apt install %s",
                             tools[i][0], tools[i][1]);
        }
    }
    return true;
}

static bool build(struct image *b, unsigned system)
{
    const char *size = cmd_str(b->c, "size") ? cmd_str(b->c, "size") : "4G";
    g_autofree char *tar = g_build_filename(b->work, "root.tar", NULL);
    if (!access(b->out, F_OK)) {
        return error_set(b->err, HANOK_ERROR_BUSY, "'%s' exists already; it is not replaced",
                         b->out);
    }
    return tools_there(b->err) && store_make_dirs(b->work, 0755, b->err) &&
           make_tar(b, system, tar) && make_image(b, tar, size) && finish(b);
}

static char *make_password(struct cmd *c)
{
    if (cmd_str(c, "root-password")) {
        return g_strdup(cmd_str(c, "root-password"));
    }
    char *text = g_strdup_printf("%08x%08x", g_random_int(), g_random_int());
    fprintf(stderr, "root's password in the image is: %s\n", text);
    return text;
}

int image_run(struct cmd *c)
{
    g_autoptr(GError) err = NULL;
    const char *action = cmd_str(c, "action"), *name = cmd_str(c, "system");
    struct store *s = cmd_store(c);
    unsigned system = 0;
    if (!s) {
        return 1;
    }
    if (strcmp(action, "build")) {
        return cmd_fail("image's action is build, not '%s'", action);
    }
    while (system < ARRAY_SIZE(systems) && strcmp(systems[system].name, name)) {
        system++;
    }
    if (system == ARRAY_SIZE(systems)) {
        return cmd_fail("'%s' cannot be built; debian12 and debian11 can", name);
    }
    g_autofree char *own = g_strdup_printf("%s/%s.qcow2", s->images, name);
    struct image b = {
        .c = c,
        .out = g_canonicalize_filename(cmd_str(c, "output") ? cmd_str(c, "output") : own, NULL),
        .work = g_strdup_printf("%s/build-%d", s->cache, (int)getpid()),
        .password = make_password(c),
        .err = &err};
    bool ok = build(&b, system);
    store_remove_dir(b.work);
    if (ok) {
        cmd_say(c, "Image %s is ready; 'hanok install --import --disk %s ...' boots it.", b.out,
                b.out);
    }
    g_free(b.out);
    g_free(b.work);
    g_free(b.password);
    return ok ? 0 : cmd_error(&err);
}

const struct opt image_opts[] = {
    {"action", "build", OPT_REQUIRED},
    {"system", "debian12 or debian11", OPT_REQUIRED},
    {"output", "the image; SYSTEM.qcow2 in the default pool", OPT_NAMED},
    {"size", "of the disk (4G)", OPT_NAMED},
    {"package", "a further package", OPT_NAMED | OPT_MANY},
    {"cloud-init", "with cloud-init", OPT_FLAG},
    {"hostname", "debian", OPT_NAMED},
    {"root-password", "root's password; one is made when left out", OPT_NAMED},
    {"mirror", "where packages come from", OPT_NAMED},
    {NULL}};
