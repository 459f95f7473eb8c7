/* verb_image.c - hanok image build: a disk image with a system in it, made of packages.
 *
 * mmdebstrap makes the root file system (as root, or in a user namespace), mke2fs puts it into a
 * partition without mounting anything, hanok-img makes it qcow2.  The disk boots by GRUB, from BIOS
 * and from UEFI.  With --direct-boot the kernel, its initial RAM disk and its command line lie
 * beside the image, too, as FILE.vmlinuz, .initrd and .cmdline: 'hanok install --import' starts
 * with them. */
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
    char *uuid; /* of the root file system */
    GError **err;
};

#define ESP_SERIAL      "48414e4f"
#define ESP_SERIAL_DASH "4841-4E4F" /* as the guest's tools write it */
#define CMDLINE         "console=tty0 console=ttyS0"

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

/* What makes the system one that can be logged into at its serial console, and boots by itself.
 * GRUB's images are made by the system's own GRUB; make_image() puts them in their places. */
static char *customize(struct image *b)
{
    static const char script[] =
        "set -e; r=\"$1\"; echo %s > \"$r/etc/hostname\"; "
        "echo 'UUID=%s / ext4 errors=remount-ro 0 1' > \"$r/etc/fstab\"; "
        "echo 'UUID=" ESP_SERIAL_DASH " /boot/efi vfat umask=0077,nofail 0 1' >> \"$r/etc/fstab\"; "
        "mkdir -p \"$r/boot/efi\"; "
        "printf '[Match]\\nName=e*\\n[Network]\\nDHCP=yes\\n' > "
        "\"$r/etc/systemd/network/80-dhcp.network\"; "
        "chroot \"$r\" systemctl enable systemd-networkd serial-getty@ttyS0.service >/dev/null "
        "2>&1; "
        "echo \"root:$HANOK_ROOT_PASSWORD\" | chroot \"$r\" chpasswd; "
        ": > \"$r/etc/machine-id\"; rm -f \"$r\"/etc/ssh/ssh_host_*; "
        /* what update-grub makes of the next kernel */
        "mkdir -p \"$r/etc/default/grub.d\"; "
        "printf '%%s\\n' 'GRUB_TIMEOUT=1' 'GRUB_CMDLINE_LINUX=\"" CMDLINE "\"' "
        "'GRUB_TERMINAL=\"serial console\"' 'GRUB_SERIAL_COMMAND=\"serial --unit=0 "
        "--speed=115200\"' "
        "'GRUB_DISABLE_OS_PROBER=true' > \"$r/etc/default/grub.d/hanok.cfg\"; "
        /* and what this one starts with */
        "mkdir -p \"$r/boot/grub\"; "
        "v=$(basename \"$r\"/boot/vmlinuz-*) i=$(basename \"$r\"/boot/initrd.img-*); "
        "printf '%%s\\n' 'serial --unit=0 --speed=115200' 'terminal_input serial console' "
        "'terminal_output serial console' 'set timeout=1' 'menuentry \"Debian GNU/Linux\" {' "
        "'  search --no-floppy --fs-uuid --set=root %s' "
        "\"  linux /boot/$v root=UUID=%s ro " CMDLINE "\" \"  initrd /boot/$i\" '}' "
        "> \"$r/boot/grub/grub.cfg\"; "
        "printf 'search --no-floppy --fs-uuid --set=root %s\\nset prefix=($root)/boot/grub\\n' "
        "> \"$r/boot/grub/early.cfg\"; "
        "m='part_gpt ext2 fat normal linux serial terminal echo search search_fs_uuid configfile "
        "halt reboot test ls cat all_video gfxterm minicmd'; "
        "cp -r \"$r/usr/lib/grub/i386-pc\" \"$r/usr/lib/grub/x86_64-efi\" \"$r/boot/grub/\"; "
        "chroot \"$r\" grub-mkimage -O i386-pc -o /boot/grub/core.img -p /boot/grub "
        "-c /boot/grub/early.cfg biosdisk $m; "
        "chroot \"$r\" grub-mkimage -O x86_64-efi -o /boot/grub/bootx64.efi -p /boot/grub "
        "-c /boot/grub/early.cfg $m";
    g_autofree char *host =
        g_shell_quote(cmd_str(b->c, "hostname") ? cmd_str(b->c, "hostname") : "debian");
    g_setenv("HANOK_ROOT_PASSWORD", b->password, true); /* not where ps shows it */
    return g_strdup_printf(script, host, b->uuid, b->uuid, b->uuid, b->uuid);
}

static char *package_list(struct image *b, const char *kernel)
{
    GPtrArray *more = cmd_all(b->c, "package");
    GString *s = g_string_new(kernel);
    g_string_append(s,
                    ",systemd-sysv,udev,dbus,iproute2,qemu-guest-agent,e2fsprogs,kmod,procps,less,"
                    "grub2-common,grub-pc-bin,grub-efi-amd64-bin");
    if (cmd_flag(b->c, "cloud-init")) {
        g_string_append(s, ",cloud-init,cloud-guest-utils");
    }
    for (unsigned i = 0; more && i < more->len; i++) {
        g_string_append_printf(s, ",%s", (char *)more->pdata[i]);
    }
    return g_string_free(s, FALSE);
}

static void add_hook(GPtrArray *argv, const char *fmt, ...) G_GNUC_PRINTF(2, 3);
static void add_hook(GPtrArray *argv, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    g_autofree char *text = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    g_ptr_array_add(argv, g_strconcat("--customize-hook=", text, NULL));
}

/* "FILE:PLACE".  The file is read outside of the namespace, by the user who named it. */
static bool upload(struct image *b, GPtrArray *argv, const char *text)
{
    const char *colon = strrchr(text, ':');
    g_autofree char *name = g_strndup(text, colon ? (size_t)(colon - text) : 0);
    g_autofree char *full = g_canonicalize_filename(name, NULL), *from = g_shell_quote(full);
    g_autofree char *to = g_shell_quote(colon ? colon + 1 : "");
    if (!colon || colon[1] != '/') {
        return error_set(b->err, HANOK_ERROR_INVALID,
                         "--upload: '%s' is not FILE:PLACE, with a place that begins with /", text);
    }
    if (access(full, R_OK)) {
        return error_errno(b->err, errno, "--upload: '%s'", name);
    }
    add_hook(argv, "mkdir -p \"$1\"/\"$(dirname -- %s)\"", to);
    add_hook(argv, "upload %s %s", from, to);
    add_hook(argv, "chmod %s \"$1\"/%s", access(full, X_OK) ? "644" : "755", to);
    return true;
}

/* What the user adds comes last: it may change everything. */
static bool own_hooks(struct image *b, GPtrArray *argv)
{
    GPtrArray *files = cmd_all(b->c, "upload"), *commands = cmd_all(b->c, "run-command");
    for (unsigned i = 0; files && i < files->len; i++) {
        if (!upload(b, argv, files->pdata[i])) {
            return false;
        }
    }
    for (unsigned i = 0; commands && i < commands->len; i++) {
        g_autofree char *quoted = g_shell_quote(commands->pdata[i]);
        add_hook(argv, "chroot \"$1\" sh -c %s", quoted);
    }
    return true;
}

static bool make_tar(struct image *b, unsigned system, const char *tar)
{
    g_autofree char *include = package_list(b, systems[system].kernel);
    g_autofree char *script = customize(b);
    g_autoptr(GPtrArray) argv = g_ptr_array_new_with_free_func(g_free);
    g_ptr_array_add(argv, g_strdup("mmdebstrap"));
    g_ptr_array_add(argv, g_strdup(geteuid() ? "--mode=unshare" : "--mode=root"));
    g_ptr_array_add(argv, g_strdup("--variant=apt"));
    g_ptr_array_add(argv, g_strconcat("--include=", include, NULL));
    g_ptr_array_add(argv, g_strconcat("--customize-hook=", script, NULL));
    if (!own_hooks(b, argv)) {
        return false;
    }
    g_ptr_array_add(argv, g_strdup("--format=tar"));
    g_ptr_array_add(argv, g_strdup(systems[system].suite));
    g_ptr_array_add(argv, g_strdup(tar));
    /* without a mirror it takes Debian's own, updates and security included */
    g_ptr_array_add(argv, g_strdup(cmd_str(b->c, "mirror")));
    if (cmd_str(b->c, "mirror")) {
        g_ptr_array_add(argv, NULL);
    }
    return step(b, "Fetching and unpacking packages", (char *const *)argv->pdata);
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

/* A GPT disk: GRUB's core image in a BIOS boot partition (sectors 2048 on), an EFI system
 * partition (4096 on), the root file system behind it.  GRUB's boot sector loads the core image's
 * first sector, which loads the rest: both places are written into them, as grub-install does. */
static bool make_image(struct image *b, const char *tar, const char *size)
{
    static const char script[] =
        "cd \"$1\"; mkdir root; tar -C root --exclude='./dev/*' -xf \"$2\"; "
        "cp root/boot/vmlinuz-* kernel; cp root/boot/initrd.img-* initrd; "
        "chmod 600 kernel initrd; "
        "mv root/boot/grub/core.img root/boot/grub/bootx64.efi .; "
        "cp root/usr/lib/grub/i386-pc/boot.img .; "
        "truncate -s \"$3\" image.raw; all=$(stat -c %s image.raw); "
        "printf '%s\\n' 'label: gpt' "
        "'start=2048, size=2048, type=21686148-6449-6E6F-744E-656564454649' "
        "'start=4096, size=131072, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B' "
        "'start=135168, type=4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709' | sfdisk -q image.raw; "
        "mke2fs -q -t ext4 -L root -U \"$4\" -O ^metadata_csum_seed -E offset=69206016 -d root "
        "image.raw $(((all - 69206016 - 1048576) / 1024))k; rm -rf root; "
        "truncate -s 64M esp.img; mformat -i esp.img -F -N " ESP_SERIAL " -v EFI ::; "
        /* boot code, of no use here, that looks like a partition table to grub-probe */
        "dd if=/dev/zero of=esp.img bs=1 seek=446 count=64 conv=notrunc status=none; "
        "mmd -i esp.img ::/EFI ::/EFI/BOOT; "
        "mcopy -i esp.img bootx64.efi ::/EFI/BOOT/BOOTX64.EFI; "
        "put() { dd if=\"$1\" of=image.raw bs=512 seek=\"$2\" conv=notrunc,sparse status=none; }; "
        "test $(stat -c %s core.img) -le 1048576; "
        "printf '\\000\\010\\000\\000\\000\\000\\000\\000' | "
        "dd of=boot.img bs=1 seek=92 conv=notrunc status=none; "
        "printf '\\001\\010\\000\\000\\000\\000\\000\\000' | "
        "dd of=core.img bs=1 seek=500 conv=notrunc status=none; "
        "put core.img 2048; put esp.img 4096; "
        "dd if=boot.img of=image.raw bs=440 count=1 conv=notrunc status=none; "
        "rm -f core.img boot.img bootx64.efi esp.img";
    const char *const words[] = {b->work, tar, size, b->uuid, NULL};
    return in_shell(b, "Making the disk", script, words);
}

static bool finish(struct image *b)
{
    g_autofree char *tool = image_tool(), *raw = g_build_filename(b->work, "image.raw", NULL);
    g_autofree char *temp = image_temp_name(b->out),
                    *kernel = g_strconcat(b->out, ".vmlinuz", NULL);
    g_autofree char *initrd = g_strconcat(b->out, ".initrd", NULL);
    g_autofree char *made_kernel = g_build_filename(b->work, "kernel", NULL);
    g_autofree char *made_initrd = g_build_filename(b->work, "initrd", NULL);
    g_autofree char *cmdline = g_strconcat(b->out, ".cmdline", NULL);
    g_autofree char *line = g_strdup_printf("root=UUID=%s ro " CMDLINE "\n", b->uuid);
    const char *argv[] = {tool, "convert", "-f", "raw", "-O", "qcow2", raw, temp, NULL};
    if (!step(b, "Making the image", (char *const *)argv)) {
        unlink(temp);
        return false;
    }
    if (chmod(temp, 0600)) { /* it has a password in it */
        return error_errno(b->err, errno, "'%s'", temp);
    }
    if (cmd_flag(b->c, "direct-boot") &&
        (!image_copy(made_kernel, kernel, IMAGE_COPY_BEST, NULL, b->err) ||
         !image_copy(made_initrd, initrd, IMAGE_COPY_BEST, NULL, b->err) ||
         !store_replace_file(cmdline, line, 0644, b->err))) {
        unlink(temp);
        return false;
    }
    return image_place(temp, b->out, b->err);
}

/* A user's files of many owners exist in a user namespace with a range of further user ids. */
static bool namespace_there(GError **err)
{
    g_autofree char *mapper = g_find_program_in_path("newuidmap");
    char *probe[] = {"unshare", "--map-root-user", "--map-auto", "true", NULL};
    g_autoptr(GError) why = NULL;
    if (!mapper) {
        return error_set(err, HANOK_ERROR_NOT_FOUND,
                         "newuidmap is missing, without which only root can make a file system: "
                         "apt install uidmap");
    }
    if (run_tool(probe, NULL, &why)) {
        return true;
    }
    if (strstr(why->message, "/etc/sub")) {
        return error_set(err, HANOK_ERROR_UNSUPPORTED,
                         "you have no range of further user ids (/etc/subuid): 'usermod "
                         "--add-subuids 100000-165535 --add-subgids 100000-165535 %s' as root "
                         "gives one",
                         g_get_user_name());
    }
    return error_set(err, HANOK_ERROR_UNSUPPORTED,
                     "no user namespace can be made here (%s); build as root", why->message);
}

static bool tools_there(GError **err)
{
    static const char *const tools[][2] = {{"mmdebstrap", "mmdebstrap"},
                                           {"mke2fs", "e2fsprogs"},
                                           {"unshare", "util-linux"},
                                           {"sfdisk", "fdisk"},
                                           {"mformat", "mtools"}};
    for (unsigned i = 0; i < ARRAY_SIZE(tools); i++) {
        g_autofree char *path = g_find_program_in_path(tools[i][0]);
        if (!path) {
            return error_set(err, HANOK_ERROR_NOT_FOUND, "%s is missing: apt install %s",
                             tools[i][0], tools[i][1]);
        }
    }
    return geteuid() == 0 || namespace_there(err);
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
    return random_password();
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
        .uuid = g_uuid_string_random(),
        .err = &err};
    /* where Debian has mke2fs and sfdisk, which a user's PATH does not name */
    g_autofree char *search = g_strconcat(g_getenv("PATH"), ":/usr/sbin:/sbin", NULL);
    g_setenv("PATH", search, true);
    bool ok = build(&b, system);
    store_remove_dir(b.work);
    if (ok && !cmd_str(c, "root-password")) {
        fprintf(stderr, "root's password in the image is: %s\n", b.password);
    }
    if (ok) {
        cmd_say(c, "Image %s is ready; 'hanok install --import --disk %s ...' boots it.", b.out,
                b.out);
    }
    g_free(b.out);
    g_free(b.work);
    g_free(b.password);
    g_free(b.uuid);
    return ok ? 0 : cmd_error(&err);
}

const struct opt image_opts[] = {
    {"action", "build", OPT_REQUIRED},
    {"system", "debian12 or debian11", OPT_REQUIRED},
    {"output", "the image; SYSTEM.qcow2 in the default pool", OPT_NAMED},
    {"size", "of the disk (4G)", OPT_NAMED},
    {"package", "a further package", OPT_NAMED | OPT_MANY},
    {"upload", "FILE:PLACE, a file to be put into the image", OPT_NAMED | OPT_MANY},
    {"run-command", "a command to be run in the image while it is made", OPT_NAMED | OPT_MANY},
    {"cloud-init", "with cloud-init", OPT_FLAG},
    {"direct-boot", "kernel and initial RAM disk beside the image, too: faster starts", OPT_FLAG},
    {"hostname", "debian", OPT_NAMED},
    {"root-password", "root's password; one is made when left out", OPT_NAMED},
    {"mirror", "where packages come from", OPT_NAMED},
    {NULL}};
