/* vt_blk.h - a virtio-blk device on a board in the test's process, with its image and one queue.
 *
 *     struct vt_blk f;
 *     vt_blk_set_up(&f, RAW_FILE, NULL);   ... vt_blk_request(&f, ...) ...   vt_blk_tear_down(&f);
 */
#ifndef TESTS_DEVTEST_VT_BLK_H
#define TESTS_DEVTEST_VT_BLK_H

#include "vt.h"

#include "block/block.h"
#include "bus/pci.h"
#include "virtio/devices.h"

enum { T_IN, T_OUT, T_FLUSH = 4, T_GET_ID = 8, T_DISCARD = 11, T_WRITE_ZEROES = 13 };
enum { DEVFN = 3 << 3, DISK_BYTES = 1 << 20, QSIZE = 16 };
#define F_ALL UINT64_MAX

struct vt_blk {
    struct vt_board *board;
    struct vt_bus *bus;
    struct blk_node *node;
    struct device *device;
    struct vt_dev dev;
    struct vt_queue q;
    char *path;
    uint64_t header, data, status; /* guest memory */
};

#define RAW_FILE                                                                                   \
    "{\"driver\":\"raw\",\"node-name\":\"d0\",\"discard\":\"unmap\",\"file\":{\"driver\":"         \
    "\"file\",\"discard\":\"unmap\",\"filename\":\"%s\"}}"
#define RAW_THREADS                                                                                \
    "{\"driver\":\"raw\",\"node-name\":\"d0\",\"file\":{\"driver\":\"file\",\"aio\":\"threads\","  \
    "\"filename\":\"%s\"}}"

char *vt_blk_image(size_t bytes); /* a new sparse file; g_free and unlink */
struct blk_node *vt_blk_node(const char *json);
/* The device for f->node; extra may be NULL. */
void vt_blk_board(struct vt_blk *f, const struct virtio_blk_config *extra);
void vt_blk_start(struct vt_blk *f, uint64_t features); /* reset .. DRIVER_OK, queue 0 */
/* All of it: node_json has %s for the image's path. */
void vt_blk_set_up(struct vt_blk *f, const char *node_json, const struct virtio_blk_config *extra);
void vt_blk_tear_down(struct vt_blk *f);
void vt_blk_header(struct vt_blk *f, uint32_t type, uint64_t sector);
/* One request of the plain form; returns its status byte. */
unsigned vt_blk_request(struct vt_blk *f, uint32_t type, uint64_t sector, uint64_t data,
                        uint32_t len, bool to_guest, bool indirect, uint32_t *used_len);

#endif
