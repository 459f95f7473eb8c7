/* seed.c - writing the seed image. */
#include "seed.h"

#include "images.h"

#include "base/util.h"
#include "manager/device.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum {
    SECTOR = 2048,
    PVD = 16,
    TERMINATOR = 17,
    PATH_TABLE_LE = 18,
    PATH_TABLE_BE = 19,
    ROOT = 20,
    FIRST_FILE = 21
};

struct file {
    const char *name; /* as the guest sees it, in small letters */
    const char *text;
    uint32_t sector, len;
};

/* Numbers stand twice: little-endian, then big-endian. */
static void both32(uint8_t *at, uint32_t v)
{
    le32_put(at, v);
    le32_put(at + 4, GUINT32_SWAP_LE_BE(v));
}

static void both16(uint8_t *at, uint16_t v)
{
    le16_put(at, v);
    le16_put(at + 2, GUINT16_SWAP_LE_BE(v));
}

static void padded(uint8_t *at, const char *text, size_t width)
{
    memset(at, ' ', width);
    memcpy(at, text, MIN_OF(strlen(text), width));
}

/* One directory record; returns its length. */
static size_t record(uint8_t *at, const char *id, size_t id_len, uint32_t sector, uint32_t len,
                     bool directory)
{
    size_t size = (33 + id_len + 1) & ~(size_t)1;
    at[0] = (uint8_t)size;
    both32(at + 2, sector);
    both32(at + 10, len);
    at[18] = 126; /* 2026-01-01: the content says what matters */
    at[19] = at[20] = 1;
    at[25] = directory ? 2 : 0;
    both16(at + 28, 1);
    at[32] = (uint8_t)id_len;
    memcpy(at + 33, id, id_len);
    return size;
}

static void volume(uint8_t *v, uint32_t sectors)
{
    v[0] = 1;
    memcpy(v + 1, "CD001", 5);
    v[6] = 1;
    padded(v + 8, "LINUX", 32);
    padded(v + 40, "cidata", 32);
    both32(v + 80, sectors);
    both16(v + 120, 1);
    both16(v + 124, 1);
    both16(v + 128, SECTOR);
    both32(v + 132, 10);
    le32_put(v + 140, PATH_TABLE_LE);
    le32_put(v + 148, GUINT32_SWAP_LE_BE(PATH_TABLE_BE));
    record(v + 156, "", 1, ROOT, SECTOR, true);
    memset(v + 190, ' ', 623);
    memset(v + 813, '0', 16);
    memset(v + 830, '0', 16);
    memset(v + 847, '0', 16);
    memset(v + 864, '0', 16);
    v[881] = 1;
}

static void path_tables(uint8_t *image)
{
    uint8_t *le = image + PATH_TABLE_LE * SECTOR, *be = image + PATH_TABLE_BE * SECTOR;
    le[0] = be[0] = 1;
    le32_put(le + 2, ROOT);
    le32_put(be + 2, GUINT32_SWAP_LE_BE(ROOT));
    le16_put(le + 6, 1);
    be[7] = 1;
}

bool seed_write(const char *path, const char *meta_data, const char *user_data, const char *network,
                GError **err)
{
    /* records stand in the order of names */
    struct file files[] = {{"meta-data", meta_data, 0, 0},
                           {"network-config", network, 0, 0},
                           {"user-data", user_data, 0, 0}};
    uint32_t next = FIRST_FILE;
    for (unsigned i = 0; i < ARRAY_SIZE(files); i++) {
        files[i].len = files[i].text ? (uint32_t)strlen(files[i].text) : 0;
        files[i].sector = next;
        next += (files[i].len + SECTOR - 1) / SECTOR;
    }
    uint32_t sectors = MAX_OF(next, 150u); /* readers look ahead */
    g_autofree uint8_t *image = g_malloc0((size_t)sectors * SECTOR);
    volume(image + PVD * SECTOR, sectors);
    image[TERMINATOR * SECTOR] = 255;
    memcpy(image + TERMINATOR * SECTOR + 1, "CD001\1", 6);
    path_tables(image);
    uint8_t *at = image + ROOT * SECTOR;
    at += record(at, "", 1, ROOT, SECTOR, true);
    at += record(at, "\1", 1, ROOT, SECTOR, true);
    for (unsigned i = 0; i < ARRAY_SIZE(files); i++) {
        if (files[i].text) {
            g_autofree char *upper = g_ascii_strup(files[i].name, -1),
                            *id = g_strconcat(upper, ".;1", NULL);
            at += record(at, id, strlen(id), files[i].sector, files[i].len, false);
            memcpy(image + (size_t)files[i].sector * SECTOR, files[i].text, files[i].len);
        }
    }
    g_autofree char *temp = image_temp_name(path);
    g_autoptr(GError) why = NULL;
    if (!g_file_set_contents_full(temp, (const char *)image, (gssize)sectors * SECTOR,
                                  G_FILE_SET_CONTENTS_NONE, 0600, &why)) {
        return error_set(err, HANOK_ERROR_IO, "%s", why->message);
    }
    return image_place(temp, path, err);
}

bool seed_add_disk(struct domain *d, const char *path, GError **err)
{
    char target[8] = "";
    for (char c = 'a'; c <= 'z' && !*target; c++) {
        g_autofree char *name = g_strdup_printf("vd%c", c);
        if (!domain_find_disk(d, name)) {
            g_strlcpy(target, name, sizeof(target));
        }
    }
    g_autofree char *xml = g_markup_printf_escaped(
        "<disk type='file' device='disk'><driver name='qemu' type='raw'/>"
        "<source file='%s'/><target dev='%s' bus='virtio'/><readonly/></disk>",
        path, target);
    struct device dev = {0};
    if (!device_parse(xml, &dev, err)) {
        return false;
    }
    if (!device_insert(d, &dev, err)) {
        device_clear(&dev);
        return false;
    }
    return true;
}

char *seed_host_name(const char *name)
{
    GString *s = g_string_new(NULL);
    for (const char *p = name; *p && s->len < 63; p++) {
        if (g_ascii_isalnum(*p)) {
            g_string_append_c(s, *p);
        } else if (s->len && s->str[s->len - 1] != '-') {
            g_string_append_c(s, '-');
        }
    }
    while (s->len && s->str[s->len - 1] == '-') {
        g_string_truncate(s, s->len - 1);
    }
    if (!s->len) {
        g_string_append(s, "guest");
    }
    return g_string_free(s, FALSE);
}
