/* images.h - images whose sectors say which they are, opened as the block nodes of drives. */
#ifndef TESTS_ATA_IMAGES_H
#define TESTS_ATA_IMAGES_H

#include "base/props.h"
#include "base/util.h"
#include "block/block.h"

#include <glib.h>
#include <unistd.h>

/* The first four bytes of sector n. */
enum { IMAGE_MARK = 0x51000000 };

static inline char *image_make(unsigned sectors, unsigned sector_bytes)
{
    char *path = NULL;
    int fd = g_file_open_tmp("hanok-ahci-XXXXXX", &path, NULL);
    g_autofree uint8_t *all = g_malloc0((size_t)sectors * sector_bytes);
    for (unsigned i = 0; i < sectors; i++)
        le32_put(all + (size_t)i * sector_bytes, IMAGE_MARK + i);
    g_assert_cmpint(write(fd, all, (size_t)sectors * sector_bytes), ==,
                    (ssize_t)sectors * sector_bytes);
    close(fd);
    return path;
}

static inline struct blk_node *node_open(const char *name, const char *path, bool ro)
{
    g_autofree char *text =
        g_strdup_printf("{\"driver\":\"raw\",\"node-name\":\"%s\",\"read-only\":%s,"
                        "\"discard\":\"unmap\",\"file\":{\"driver\":\"file\",\"filename\":\"%s\","
                        "\"read-only\":%s,\"discard\":\"unmap\"}}",
                        name, ro ? "true" : "false", path, ro ? "true" : "false");
    struct props *p = props_parse(text, NULL, NULL);
    GError *err = NULL;
    struct blk_node *n = blk_open(p, &err);
    g_assert_no_error(err);
    props_free(p);
    return n;
}

struct images {
    struct blk_node *disk, *disc;
    char *disk_path, *disc_path;
};

static inline void images_open(struct images *m, unsigned disk_sectors, unsigned disc_sectors)
{
    static unsigned count; /* names of nodes are the process's */
    g_autofree char *disk_name = g_strdup_printf("disk%u", count);
    g_autofree char *disc_name = g_strdup_printf("disc%u", count++);
    m->disk_path = image_make(disk_sectors, 512);
    m->disc_path = image_make(disc_sectors, 2048);
    m->disk = node_open(disk_name, m->disk_path, false);
    m->disc = node_open(disc_name, m->disc_path, true);
}

static inline void images_close(struct images *m)
{
    blk_close(m->disk);
    blk_close(m->disc);
    unlink(m->disk_path);
    unlink(m->disc_path);
    g_free(m->disk_path);
    g_free(m->disc_path);
}

#endif
