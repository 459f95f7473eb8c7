/* devices.h - the virtio devices a machine can have, each made by one typed constructor.
 *
 *     struct virtio_blk_config c = {.place = {.bus = b, .devfn = df, .id = "disk0", .clock = clk},
 *                                   .node = node, .write_cache = true};
 *     struct device *d = virtio_blk_new(&c, &err);
 *
 * A constructor creates AND plugs the device, as a PCI function or, with place.slot, where the
 * memory-mapped transport has room for one.  On success the bus owns it, and ops->destroy unplugs
 * and frees it.  Zero in a config field means the default.
 * Strings and structs are copied; backends (node, backend, chardev) are claimed and must outlive
 * the device.
 *
 * Threads: main thread only, machine not running or board lock not held.
 * Errors:  NULL + GError for the user; guest nonsense later on breaks the device (NEEDS_RESET).
 * Spec:    virtio 1.2. */
#ifndef VIRTIO_DEVICES_H
#define VIRTIO_DEVICES_H

#include "base/types.h"
#include "block/on_error.h"

struct blk_node;
struct chardev;
struct device;
struct device_list;
struct evloop;
struct guest_mem;
struct io_space;
struct irqchip;
struct net_backend;
struct pci_bus;
struct pci_dev;
struct vm_clock;

/* A place for one memory-mapped device; the machine's, and it outlives the device. */
#define VIRTIO_MMIO_BYTES 512u
struct virtio_mmio_slot {
    unsigned index; /* N of virtio-mmio-bus.N */
    uint64_t base;
    unsigned gsi; /* may be other slots' too */
    struct device_list *devices;
    struct io_space *mmio;
    struct irqchip *irqchip;
    struct guest_mem *mem;
    struct device *device; /* who is there; NULL: nobody */
};

struct virtio_place {
    const char *id;         /* user's id= or NULL */
    struct vm_clock *clock; /* the machine's; also tells devices of resume (its timers fire then) */
    struct virtio_mmio_slot *slot; /* NULL: PCI, and what follows counts */
    struct pci_bus *bus;
    uint8_t devfn;
    bool multifunction;
    unsigned vectors; /* MSI-X vectors; 0 = one per queue + config */
    bool no_msix;     /* vectors=0 of the command line: INTx only */
    bool legacy;      /* transitional: drivers of before virtio 1.0 find it, too; of block,
                         SCSI, network, serial, entropy and balloon devices */
    bool no_modern;   /* and only they; needs legacy */
};

/* Called in the main thread. */
typedef void virtio_blk_error_fn(void *opaque, struct device *d, bool is_write, int errnum,
                                 enum blk_error_action action);

#define VIRTIO_BLK_SERIAL_MAX 20u

struct virtio_blk_config {
    struct virtio_place place;
    struct blk_node *node;
    struct evloop *loop; /* iothread; NULL = main loop */
    const char *serial;  /* at most VIRTIO_BLK_SERIAL_MAX bytes are shown to the guest */
    unsigned queues;     /* 0 = 1 */
    unsigned queue_size; /* 0 = 256; power of two, 2..1024 */
    uint32_t logical_block_bytes, physical_block_bytes; /* 0 = the image's */
    uint32_t min_io_bytes, opt_io_bytes;
    uint32_t discard_bytes;                           /* granularity; 0 = a logical block */
    uint32_t max_discard_sectors, max_zeroes_sectors; /* of 512 bytes; 0 = 2 GiB */
    bool read_only;
    bool share_rw;       /* others may write to the image meanwhile */
    bool no_write_cache; /* write-through: FLUSH is offered as no-op, writes are FUA */
    bool no_config_wce;  /* the guest may not toggle the cache mode */
    bool no_discard, no_write_zeroes;
    bool no_merging; /* requests that touch stay separate */
    enum blk_on_error rerror, werror;
    virtio_blk_error_fn *on_error; /* required for stop; may be NULL */
    void *on_error_opaque;
};
struct device *virtio_blk_new(const struct virtio_blk_config *cfg, GError **err);
struct blk_node *virtio_blk_node(struct device *d); /* NULL when d is no virtio-blk */
/* Host error (errno) of a request of this virtio-blk that waits for the machine to go on; 0: none.
 */
int virtio_blk_stop_errnum(struct device *d);
void virtio_blk_resized(struct device *d); /* tells the guest the new capacity */

struct scsi_bus;
struct virtio_scsi_config {
    struct virtio_place place;
    struct evloop *loop;               /* iothread; NULL = main loop */
    unsigned queues;                   /* request queues; 0 = 1 */
    unsigned queue_size;               /* 0 = 256; power of two, 4..1024 */
    uint32_t max_sectors, cmd_per_lun; /* 0 = 65535, 128 */
    bool no_hotplug, no_param_change;  /* features that are not offered */
};
struct device *virtio_scsi_new(const struct virtio_scsi_config *cfg, GError **err);
struct scsi_bus *virtio_scsi_bus(struct device *d); /* NULL when d is no virtio-scsi */

struct virtio_net_config {
    struct virtio_place place;
    struct net_backend *backend; /* NULL: no peer, link up, frames vanish */
    bool have_mac;
    uint8_t mac[6];       /* without have_mac: 52:54:00:12:34:56 + running number */
    unsigned queue_pairs; /* 0 = 1; more need mq */
    unsigned rx_queue_size, tx_queue_size; /* 0 = 256 */
    uint16_t mtu;                          /* host_mtu; 0 = not offered */
    uint32_t speed_mbit;                   /* 0 = unknown */
    bool no_mrg_rxbuf, no_guest_announce, no_ctrl_vq;
};
struct device *virtio_net_new(const struct virtio_net_config *cfg, GError **err);
bool virtio_net_mac(struct device *d, uint8_t mac[6]); /* false: d is no virtio-net */
void virtio_net_announce(struct device *d);            /* after migration or restore */

/* A VGA card in the same function (virtio-vga). */
struct console;
struct virtio_gpu_vga_ops {
    /* BARs 0 and 2 of a function that is not plugged yet; returns what the others get, or NULL */
    void *(*attach)(void *opaque, struct pci_dev *fn, struct pci_bus *bus, GError **err);
    void (*config_written)(void *vga, unsigned off, unsigned size);
    void (*bar_moved)(void *vga, unsigned bar);
    /* The picture while the driver of the graphics card shows none; main thread. */
    void (*update)(void *vga, struct console *c, bool all);
    void (*destroy)(void *vga); /* after the unplug */
};
struct virtio_gpu_config {
    struct virtio_place place;
    unsigned width, height; /* the size it starts with; 0: 1280 x 800 */
    uint64_t hostmem_bytes; /* most the guest's pictures take here; 0: 256 MiB */
    bool no_edid;
    const struct virtio_gpu_vga_ops *vga; /* NULL: none */
    void *vga_opaque;                     /* for attach() */
};
struct device *virtio_gpu_new(const struct virtio_gpu_config *cfg, GError **err);

enum virtio_input_kind { VIRTIO_INPUT_KEYBOARD, VIRTIO_INPUT_MOUSE, VIRTIO_INPUT_TABLET };
struct virtio_input_config {
    struct virtio_place place;
    enum virtio_input_kind kind;
    const char *serial; /* NULL: none */
};
struct device *virtio_input_new(const struct virtio_input_config *cfg, GError **err);

struct virtio_serial_config {
    struct virtio_place place;
    unsigned max_ports; /* 0 = 31 */
};
struct device *virtio_serial_new(const struct virtio_serial_config *cfg, GError **err);
/* "virtio-serial0.0", "virtio-serial0" or NULL (the first one); error names what exists. */
struct device *virtio_serial_find(struct device_list *l, const char *bus_name, GError **err);

struct virtio_port_config {
    const char *id;   /* device id or NULL */
    const char *name; /* "org.qemu.guest_agent.0"; NULL for consoles */
    unsigned nr;      /* 0 = next free (virtserialport never takes 0) */
    bool console;     /* virtconsole */
    struct chardev *chardev;
    /* main thread; the guest has opened or closed its end (VSERPORT_CHANGE); may be NULL */
    void (*on_open)(void *opaque, struct device *port, bool open);
    void *on_open_opaque;
};
/* Adds a port; it appears in the device list as "virtserialport" or "virtconsole" and is destroyed
 * with its device or by ops->destroy. */
struct device *virtio_port_new(struct device *serial, const struct virtio_port_config *cfg,
                               GError **err);

struct virtio_rng_config {
    struct virtio_place place;
    const char *filename; /* NULL or /dev/urandom: getrandom(2) */
    uint64_t max_bytes;   /* per period; 0 = unlimited */
    uint32_t period_ms;   /* 0 = 65536 */
};
struct device *virtio_rng_new(const struct virtio_rng_config *cfg, GError **err);

/* Statistics the guest reported; a value the guest does not know is UINT64_MAX. */
enum {
    VIRTIO_BALLOON_STAT_SWAP_IN,
    VIRTIO_BALLOON_STAT_SWAP_OUT,
    VIRTIO_BALLOON_STAT_MAJOR_FAULTS,
    VIRTIO_BALLOON_STAT_MINOR_FAULTS,
    VIRTIO_BALLOON_STAT_FREE,
    VIRTIO_BALLOON_STAT_TOTAL,
    VIRTIO_BALLOON_STAT_AVAILABLE,
    VIRTIO_BALLOON_STAT_CACHES,
    VIRTIO_BALLOON_STAT_HUGETLB_ALLOC,
    VIRTIO_BALLOON_STAT_HUGETLB_FAIL,
    VIRTIO_BALLOON_STAT_COUNT
};
struct virtio_balloon_stats {
    uint64_t last_update_s; /* wall clock; 0 = never */
    uint64_t value[VIRTIO_BALLOON_STAT_COUNT];
};
struct virtio_balloon_config {
    struct virtio_place place;
    bool deflate_on_oom, free_page_reporting;
    uint64_t ram_bytes; /* the guest's memory as its owner counts it; 0: what is mapped now */
    bool page_poison;   /* offered so that a poisoning guest can tell its value */
    /* main thread; actual size of the guest's memory changed (BALLOON_CHANGE); may be NULL */
    void (*on_change)(void *opaque, struct device *d, uint64_t actual_bytes);
    void *on_change_opaque;
};
struct device *virtio_balloon_new(const struct virtio_balloon_config *cfg, GError **err);
struct device *virtio_balloon_find(struct device_list *l); /* the first one, or NULL */
bool virtio_balloon_set_target(struct device *d, uint64_t guest_bytes, GError **err);
uint64_t virtio_balloon_actual(struct device *d);                /* bytes the guest has left */
void virtio_balloon_poll(struct device *d, uint32_t interval_s); /* 0 stops */
uint32_t virtio_balloon_poll_interval(struct device *d);
void virtio_balloon_get_stats(struct device *d, struct virtio_balloon_stats *out);

#endif
