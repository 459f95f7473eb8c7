/* vt.h - a small virtio driver for tests, over whatever reaches a board's ports and memory.
 *
 *   test --vt_add/vt_kick/vt_wait--> vt_driver.c --struct vt_bus--> in-process board, or a socket
 *
 * It can follow the rules or break each of them: rings are plain guest memory and every register is
 * reachable.  Failures end the test program through g_assert. */
#ifndef TESTS_DEVTEST_VT_H
#define TESTS_DEVTEST_VT_H

#include "base/types.h"
#include "base/util.h"

#include <glib.h>

struct vt_bus {
    void (*out)(struct vt_bus *b, uint16_t port, unsigned size, uint32_t val);
    uint32_t (*in)(struct vt_bus *b, uint16_t port, unsigned size);
    void (*write)(struct vt_bus *b, uint64_t addr, unsigned size, uint64_t val);
    uint64_t (*read)(struct vt_bus *b, uint64_t addr, unsigned size);
    void (*mem_write)(struct vt_bus *b, uint64_t gpa, const void *data, size_t len);
    void (*mem_read)(struct vt_bus *b, uint64_t gpa, void *data, size_t len);
    void (*pump)(struct vt_bus *b); /* lets the device work a little */
    uint64_t next_mem, next_mmio;   /* bump allocators of guest memory and BAR space */
};

/* A board without CPUs in this process: RAM 0..8M and 8M..16M (two regions), 4G..4G+16M. */
#define VT_RAM_SPLIT 0x800000ull
#define VT_RAM_END   0x1000000ull
#define VT_RAM_HIGH  0x100000000ull

struct virtio_place;
struct virtio_mmio_slot;
struct vt_board;
struct pci_bus;
struct pci_host;
struct vm_clock;
struct device_list;
struct guest_mem;
struct vt_board *vt_board_new(void);
void vt_board_free(struct vt_board *b);
struct vt_bus *vt_board_bus(struct vt_board *b);
struct pci_host *vt_board_pci(struct vt_board *b);
struct guest_mem *vt_board_mem(struct vt_board *b);
struct vm_clock *vt_board_clock(struct vt_board *b);
/* Where a device is to be, and its machine's clock. */
void vt_board_place(struct vt_board *b, struct virtio_place *c, uint8_t devfn, const char *id);
/* A place for a memory-mapped device; its interrupt is what vt_board_intx() shows. */
struct virtio_mmio_slot *vt_board_slot(struct vt_board *b, unsigned index);
struct device_list *vt_board_devices(struct vt_board *b);
void vt_board_pause(struct vt_board *b); /* and drain */
void vt_board_resume(struct vt_board *b);
void vt_board_reset(struct vt_board *b);
unsigned vt_board_msi_count(struct vt_board *b, unsigned vector);
bool vt_board_intx(struct vt_board *b);
/* Device state and RAM to bytes and back. */
GBytes *vt_board_save(struct vt_board *b);
bool vt_board_load(struct vt_board *b, GBytes *state, GError **err);
/* The same of a board that runs and is to be paused; what it saves then is what was loaded. */
void vt_board_load_same(struct vt_board *b, GBytes *state);
bool vt_board_load_devices(struct vt_board *b, const uint8_t *data, size_t len, GError **err);

/* A hanok-vm process with -accel qtest, reached through its -qtest socket (docs/devtest.md).  args
 * are added to its command line; NULL-terminated. */
struct vt_process;
struct vt_process *vt_process_new(const char *program, const char *const *args);
void vt_process_free(struct vt_process *p); /* asks it to quit; asserts a clean end */
struct vt_bus *vt_process_bus(struct vt_process *p);
/* One command, its answer without "OK "; fails the test on FAIL.  g_free. */
char *vt_process_ask(struct vt_process *p, const char *fmt, ...) G_GNUC_PRINTF(2, 3);
void vt_process_refused(struct vt_process *p, const char *command); /* its answer is FAIL */
unsigned vt_process_irqs(struct vt_process *p); /* lines "IRQ ..." seen so far */

struct vt_dev {
    struct vt_bus *bus;
    uint8_t devfn;
    uint64_t common, isr, device, notify;
    uint32_t notify_multiplier;
    uint64_t features;
    unsigned msix_vectors;
};

uint32_t vt_config_read(struct vt_bus *b, uint8_t devfn, unsigned off, unsigned size);
void vt_config_write(struct vt_bus *b, uint8_t devfn, unsigned off, unsigned size, uint32_t val);
uint64_t vt_map_bar(struct vt_bus *b, uint8_t devfn, unsigned bar, uint32_t size); /* its address */
/* Memory decoding, bus mastering and MSI-X on; vector n is message n.  How many there are. */
unsigned vt_msix_open(struct vt_bus *b, uint8_t devfn);
/* Finds capabilities, maps BARs, enables memory, bus mastering and (if msix) MSI-X. */
void vt_dev_open(struct vt_dev *d, struct vt_bus *b, uint8_t devfn, bool msix);
uint8_t vt_status(struct vt_dev *d);
void vt_set_status(struct vt_dev *d, uint8_t status);
uint64_t vt_host_features(struct vt_dev *d);
/* RESET .. FEATURES_OK with (offered & wanted) | VERSION_1; asserts that it is granted. */
void vt_negotiate(struct vt_dev *d, uint64_t wanted);
void vt_driver_ok(struct vt_dev *d);
void vt_reset(struct vt_dev *d); /* and waits for it */
uint64_t vt_cfg(struct vt_dev *d, unsigned off, unsigned size);
void vt_cfg_write(struct vt_dev *d, unsigned off, unsigned size, uint64_t val);
bool vt_needs_reset(struct vt_dev *d); /* pumps until it shows, or a while */

enum { VT_NEXT = 1, VT_WRITE = 2, VT_INDIRECT = 4 };
struct vt_queue {
    struct vt_dev *dev;
    uint16_t index, size;
    uint64_t desc, avail, used, notify_addr;
    uint16_t next_desc, avail_idx, last_used;
    unsigned kick_bytes; /* of the register at notify_addr */
};
/* Memory for its rings, zeroed; the device knows nothing of it yet. */
void vt_queue_make(struct vt_queue *q, struct vt_dev *d, uint16_t index, uint16_t size);
void vt_queue_open(struct vt_queue *q, struct vt_dev *d, uint16_t index, uint16_t size);
uint64_t vt_alloc(struct vt_bus *b, size_t len, size_t align);
void vt_desc(struct vt_queue *q, uint16_t i, uint64_t addr, uint32_t len, uint16_t flags,
             uint16_t next);
struct vt_buf {
    uint64_t gpa;
    uint32_t len;
    bool write;
};
/* Writes a chain (or an indirect table) and makes it available; returns its head. */
uint16_t vt_add(struct vt_queue *q, const struct vt_buf *bufs, unsigned count, bool indirect);
void vt_avail(struct vt_queue *q, uint16_t head); /* makes a head available */
void vt_kick(struct vt_queue *q);
uint16_t vt_used_idx(struct vt_queue *q);
/* The next used entry; false after a few seconds without one. */
bool vt_wait(struct vt_queue *q, uint32_t *head, uint32_t *len);
void vt_pump(struct vt_bus *b, unsigned rounds);

static inline void vt_put(struct vt_bus *b, uint64_t gpa, uint64_t v, unsigned size)
{
    b->mem_write(b, gpa, &v, size);
}
static inline uint64_t vt_get(struct vt_bus *b, uint64_t gpa, unsigned size)
{
    uint64_t v = 0;
    b->mem_read(b, gpa, &v, size);
    return v;
}

#endif
