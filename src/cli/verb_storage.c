/* verb_storage.c - the default pool: a directory of images.
 *
 * Volumes are its files; what an image is, hanok-img says. */
#include "cmd.h"
#include "images.h"

#include "base/util.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

static struct store *need_pool(struct cmd *c)
{
    const char *pool = cmd_str(c, "pool");
    if (pool && strcmp(pool, "default")) {
        cmd_fail("there is no pool '%s'; 'default' is the one, and any path can be named instead "
                 "of a volume",
                 pool);
        return NULL;
    }
    return cmd_store(c);
}

/* A volume's name or path as a path; NULL: said. */
static char *volume_path(struct cmd *c, struct store *s, const char *name)
{
    g_autoptr(GError) err = NULL;
    if (*name == '/') {
        return g_strdup(name);
    }
    if (!domain_name_ok(name, &err)) {
        cmd_fail("'%s' cannot be the name of a volume", name);
        return NULL;
    }
    return g_build_filename(s->images, name, NULL);
}

static char *existing_volume(struct cmd *c, struct store *s)
{
    char *path = volume_path(c, s, cmd_str(c, "vol"));
    if (path && access(path, F_OK)) {
        cmd_fail("there is no volume '%s' in %s; 'hanok vol-list default' lists them",
                 cmd_str(c, "vol"), s->images);
        g_clear_pointer(&path, g_free);
    }
    return path;
}

/* ---- pools ---- */

static int do_pool_list(struct cmd *c)
{
    static const struct column columns[] = {
        {"name", "Name"}, {"state", "State"}, {"autostart", "Autostart"}, {NULL}};
    struct store *s = cmd_store(c);
    if (!s) {
        return 1;
    }
    return cmd_table(c, columns,
                     json_pack("[{ssssssss}]", "name", "default", "state", "active", "autostart",
                               "yes", "path", s->images));
}

static int do_pool_info(struct cmd *c)
{
    static const struct column lines[] = {{"name", "Name:"},
                                          {"state", "State:"},
                                          {"persistent", "Persistent:"},
                                          {"autostart", "Autostart:"},
                                          {"path", "Path:"},
                                          {"capacity-text", "Capacity:"},
                                          {"allocation-text", "Allocation:"},
                                          {"available-text", "Available:"},
                                          {NULL}};
    struct store *s = need_pool(c);
    struct statvfs v;
    if (!s || statvfs(s->images, &v)) {
        return s ? cmd_fail("'%s': %s", s->images, strerror(errno)) : 1;
    }
    json_int_t all = (json_int_t)v.f_blocks * (json_int_t)v.f_frsize,
               left = (json_int_t)v.f_bavail * (json_int_t)v.f_frsize;
    json_t *o = json_pack("{sssssbsbsssIsIsI}", "name", "default", "state", "running", "persistent",
                          1, "autostart", 1, "path", s->images, "capacity", all, "allocation",
                          all - left, "available", left);
    if (!c->json) {
        g_autofree char *a = g_format_size_full(all, G_FORMAT_SIZE_IEC_UNITS);
        g_autofree char *b = g_format_size_full(all - left, G_FORMAT_SIZE_IEC_UNITS);
        g_autofree char *d = g_format_size_full(left, G_FORMAT_SIZE_IEC_UNITS);
        json_object_set_new(o, "capacity-text", json_string(a));
        json_object_set_new(o, "allocation-text", json_string(b));
        json_object_set_new(o, "available-text", json_string(d));
    }
    return cmd_lines(c, lines, 16, o);
}

/* ---- volumes ---- */

static gint by_name(gconstpointer a, gconstpointer b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Bytes for programs, units for people; a file that is no image has no capacity. */
static void add_sizes(struct cmd *c, json_t *row, const char *path)
{
    struct image_info info;
    json_object_set_new(row, "type", json_string("file"));
    if (!image_info(path, &info, NULL)) {
        return;
    }
    g_autofree char *a = g_format_size_full(info.virtual_bytes, G_FORMAT_SIZE_IEC_UNITS);
    g_autofree char *b = g_format_size_full(info.allocated_bytes, G_FORMAT_SIZE_IEC_UNITS);
    json_object_set_new(row, "capacity",
                        c->json ? json_integer((json_int_t)info.virtual_bytes) : json_string(a));
    json_object_set_new(row, "allocation",
                        c->json ? json_integer((json_int_t)info.allocated_bytes) : json_string(b));
}

static int do_vol_list(struct cmd *c)
{
    static const struct column columns[] = {{"name", "Name"}, {"path", "Path"}, {NULL}};
    static const struct column details[] = {{"name", "Name"},
                                            {"path", "Path"},
                                            {"type", "Type"},
                                            {"capacity", "Capacity"},
                                            {"allocation", "Allocation"},
                                            {NULL}};
    struct store *s = need_pool(c);
    if (!s) {
        return 1;
    }
    bool detailed = cmd_flag(c, "details");
    g_autoptr(GPtrArray) names = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(GDir) d = g_dir_open(s->images, 0, NULL);
    for (const char *e = d ? g_dir_read_name(d) : NULL; e; e = g_dir_read_name(d)) {
        g_autofree char *path = g_build_filename(s->images, e, NULL);
        if (*e != '.' && g_file_test(path, G_FILE_TEST_IS_REGULAR)) {
            g_ptr_array_add(names, g_strdup(e));
        }
    }
    g_ptr_array_sort(names, by_name);
    json_t *rows = json_array();
    for (unsigned i = 0; i < names->len; i++) {
        g_autofree char *path = g_build_filename(s->images, names->pdata[i], NULL);
        json_t *row = json_pack("{ssss}", "name", names->pdata[i], "path", path);
        if (detailed) {
            add_sizes(c, row, path);
        }
        json_array_append_new(rows, row);
    }
    return cmd_table(c, detailed ? details : columns, rows);
}

static int do_vol_path(struct cmd *c)
{
    struct store *s = need_pool(c);
    g_autofree char *path = s ? existing_volume(c, s) : NULL;
    if (!path) {
        return 1;
    }
    if (c->json) {
        return cmd_json(json_pack("{ss}", "path", path));
    }
    puts(path);
    return 0;
}

static int do_vol_info(struct cmd *c)
{
    static const struct column lines[] = {{"name", "Name:"},
                                          {"type", "Type:"},
                                          {"capacity-text", "Capacity:"},
                                          {"allocation-text", "Allocation:"},
                                          {NULL}};
    g_autoptr(GError) err = NULL;
    struct store *s = need_pool(c);
    g_autofree char *path = s ? existing_volume(c, s) : NULL,
                    *base = path ? g_path_get_basename(path) : NULL;
    struct image_info info;
    if (!path) {
        return 1;
    }
    if (!image_info(path, &info, &err)) {
        return cmd_error(&err);
    }
    json_t *o =
        json_pack("{sssssssIsI}", "name", base, "type", "file", "format", info.format, "capacity",
                  (json_int_t)info.virtual_bytes, "allocation", (json_int_t)info.allocated_bytes);
    if (!c->json) {
        g_autofree char *a = g_format_size_full(info.virtual_bytes, G_FORMAT_SIZE_IEC_UNITS);
        g_autofree char *b = g_format_size_full(info.allocated_bytes, G_FORMAT_SIZE_IEC_UNITS);
        json_object_set_new(o, "capacity-text", json_string(a));
        json_object_set_new(o, "allocation-text", json_string(b));
    }
    return cmd_lines(c, lines, 16, o);
}

static bool size_bytes(struct cmd *c, const char *name, int64_t *out)
{
    const char *text = cmd_str(c, name);
    char *end = NULL;
    double v = text ? g_ascii_strtod(text, &end) : 0;
    const char *units = "BKMGTP", *at = end && *end ? strchr(units, g_ascii_toupper(*end)) : units;
    bool rest_ok = !end || !*end || !end[1] || !strcmp(end + 1, "iB") || !strcmp(end + 1, "B");
    if (!text || !g_ascii_isdigit(*text) || !at || !rest_ok) {
        cmd_fail("--%s is a size such as 10G, not '%s'", name, text ? text : "");
        return false;
    }
    for (; at > units; at--) {
        v *= *end && !strcmp(end + 1, "B") ? 1000 : 1024; /* GB and GiB, as virsh has it */
    }
    if (v > 9e18) {
        cmd_fail("--%s is too large", name);
        return false;
    }
    *out = (int64_t)v;
    return true;
}

static int do_vol_create(struct cmd *c)
{
    g_autoptr(GError) err = NULL;
    int64_t bytes = 0;
    const char *backing = cmd_str(c, "backing-vol");
    struct store *s = need_pool(c);
    g_autofree char *path = s ? volume_path(c, s, cmd_str(c, "name")) : NULL;
    g_autofree char *base = path && backing ? volume_path(c, s, backing) : NULL;
    if (!path || (backing && !base) || !size_bytes(c, "capacity", &bytes)) {
        return 1;
    }
    if (!image_create(path, cmd_str(c, "format") ? cmd_str(c, "format") : "raw", bytes, base,
                      cmd_str(c, "backing-vol-format"), &err)) {
        return cmd_error(&err);
    }
    cmd_say(c, "Vol %s created", cmd_str(c, "name"));
    return 0;
}

static int do_vol_delete(struct cmd *c)
{
    struct store *s = need_pool(c);
    g_autofree char *path = s ? existing_volume(c, s) : NULL;
    if (!path) {
        return 1;
    }
    g_autofree char *user = image_user(s, path);
    if (user) {
        return cmd_fail("volume '%s' is a disk of domain '%s'; undefine that first",
                        cmd_str(c, "vol"), user);
    }
    if (unlink(path)) {
        return cmd_fail("'%s' could not be removed: %s", path, strerror(errno));
    }
    cmd_say(c, "Vol %s deleted", cmd_str(c, "vol"));
    return 0;
}

static int do_vol_clone(struct cmd *c)
{
    g_autoptr(GError) err = NULL;
    struct store *s = need_pool(c);
    g_autofree char *from = s ? existing_volume(c, s) : NULL;
    g_autofree char *to = from ? volume_path(c, s, cmd_str(c, "newname")) : NULL;
    if (!to) {
        return 1;
    }
    enum image_copy how = cmd_flag(c, "reflink") ? IMAGE_COPY_REFLINK : IMAGE_COPY_BEST;
    if (!image_copy(from, to, how, NULL, &err)) {
        return cmd_error(&err);
    }
    cmd_say(c, "Vol %s cloned from %s", cmd_str(c, "newname"), cmd_str(c, "vol"));
    return 0;
}

static int do_vol_resize(struct cmd *c)
{
    g_autoptr(GError) err = NULL;
    int64_t bytes = 0;
    struct store *s = need_pool(c);
    g_autofree char *path = s ? existing_volume(c, s) : NULL;
    if (!path || !size_bytes(c, "capacity", &bytes)) {
        return 1;
    }
    const char *sign = !cmd_flag(c, "delta") ? "" : cmd_flag(c, "shrink") ? "-" : "+";
    g_autofree char *tool = image_tool(),
                    *size = g_strdup_printf("%s%" G_GINT64_FORMAT, sign, bytes);
    char *grow[] = {tool, "resize", "-q", path, size, NULL};
    char *shrink[] = {tool, "resize", "-q", "--shrink", path, size, NULL};
    if (!run_tool(cmd_flag(c, "shrink") ? shrink : grow, NULL, &err)) {
        return cmd_error(&err);
    }
    cmd_say(c, "Size of volume '%s' successfully changed %s %s", cmd_str(c, "vol"),
            cmd_flag(c, "delta") ? "by" : "to", cmd_str(c, "capacity"));
    return 0;
}

#define POOL                                                                                       \
    {                                                                                              \
        "pool", "default", 0                                                                       \
    }
#define VOL_AND_POOL                                                                               \
    {"vol", "name or path", OPT_REQUIRED},                                                         \
    {                                                                                              \
        "pool", "default", OPT_NAMED                                                               \
    }
static const struct opt pool_list_opts[] = {
    {"all", "accepted", OPT_FLAG}, {"details", "accepted", OPT_FLAG}, {NULL}};
static const struct opt pool_opts[] = {POOL, {NULL}};
static const struct opt vol_list_opts[] = {POOL, {"details", "sizes too", OPT_FLAG}, {NULL}};
static const struct opt vol_opts[] = {VOL_AND_POOL, {NULL}};
static const struct opt create_opts[] = {
    {"pool", "default", OPT_REQUIRED},
    {"name", "of the new volume", OPT_REQUIRED},
    {"capacity", "its size: 10G", OPT_REQUIRED},
    {"format", "raw or qcow2", OPT_NAMED},
    {"allocation", "accepted: space is taken as it is written", OPT_NAMED},
    {"backing-vol", "volume it begins as", OPT_NAMED},
    {"backing-vol-format", "that one's format", OPT_NAMED},
    {NULL}};
static const struct opt clone_opts[] = {{"vol", "name or path", OPT_REQUIRED},
                                        {"newname", "of the copy", OPT_REQUIRED},
                                        {"pool", "default", OPT_NAMED},
                                        {"reflink", "share blocks, or fail", OPT_FLAG},
                                        {NULL}};
static const struct opt resize_opts[] = {
    {"vol", "name or path", OPT_REQUIRED},
    {"capacity", "its new size", OPT_REQUIRED},
    {"pool", "default", OPT_NAMED},
    {"delta", "the capacity is how much more (with --shrink: less)", OPT_FLAG},
    {"shrink", "make it smaller, and lose what is behind", OPT_FLAG},
    {NULL}};
static const struct verb verbs[] = {
    {"pool-list", "the pools (one: default)", true, do_pool_list, pool_list_opts,
     "hanok pool-list"},
    {"pool-info", "where it is and how full", true, do_pool_info, pool_opts,
     "hanok pool-info default"},
    {"vol-list", "images in the pool", true, do_vol_list, vol_list_opts, "hanok vol-list default"},
    {"vol-info", "what an image is", true, do_vol_info, vol_opts,
     "hanok vol-info web.qcow2 --pool default"},
    {"vol-path", "where an image is", true, do_vol_path, vol_opts,
     "hanok vol-path web.qcow2 --pool default"},
    {"vol-create-as", "make an image", false, do_vol_create, create_opts,
     "hanok vol-create-as default web.qcow2 10G --format qcow2"},
    {"vol-clone", "copy an image", false, do_vol_clone, clone_opts,
     "hanok vol-clone web.qcow2 www.qcow2 --pool default"},
    {"vol-resize", "change an image's size", false, do_vol_resize, resize_opts,
     "hanok vol-resize web.qcow2 20G --pool default"},
    {"vol-delete", "remove an image", false, do_vol_delete, vol_opts,
     "hanok vol-delete web.qcow2 --pool default"},
    {NULL}};
const struct verb_group storage_verbs = {"Storage", verbs};
