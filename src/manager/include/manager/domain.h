/* domain.h - a virtual machine as libvirt's domain XML describes it, in C.
 *
 * Four stages make a struct domain that can be used: domain_parse() (text to struct, by the tables
 * of table_*.c), domain_post_parse() (defaults, implied devices, addresses), domain_validate()
 * (what cannot work is said with its line), and domain_format() writes it.  domain_load() does the
 * first three.  Names of members are libvirt's names of elements.
 * Owner: the caller, domain_free().  Cold path; one thread. */
#ifndef MANAGER_DOMAIN_H
#define MANAGER_DOMAIN_H

#include "manager/xmlmap.h"

#define DOMAIN_NAME_MAX 200 /* bytes: file names are made of it */

/* ---- parts that many devices have ---- */

enum address_type {
    ADDRESS_NONE,
    ADDRESS_PCI,
    ADDRESS_DRIVE,
    ADDRESS_VIRTIO_SERIAL,
    ADDRESS_USB,
    ADDRESS_ISA,
    ADDRESS_VIRTIO_MMIO,
};

struct address {
    struct xml_node node;
    int type; /* enum address_type */
    struct xml_num domain, bus, slot, function, controller, target, unit;
    const char *multifunction;
    char *port; /* usb: "1.2"; virtio-serial: a number */
    char *iobase, *irq;
};
struct named { /* <alias name=''/>, <model name=''/>, <address .../> */
    struct xml_node node;
    char *name;
};
struct boot_order {
    struct xml_node node;
    struct xml_num order;
    char *loadparm;
};
struct rom {
    struct xml_node node;
    const char *bar, *enabled;
    char *file;
};
struct dev_info {
    struct boot_order boot;
    struct named alias;
    struct rom rom;
    struct {
        struct xml_node node;
        struct xml_num index;
    } acpi;
    struct address address;
};
struct virtio_driver { /* attributes every virtio device's <driver> may have */
    struct xml_node node;
    const char *iommu, *ats, *packed;
};
struct scaled { /* a size with a unit; KiB after post-parse */
    struct xml_node node;
    char *unit;
    struct xml_num value, slots;
    const char *dump_core;
};
struct seclabel {
    struct xml_node node;
    const char *type, *relabel;
    char *model, *label, *baselabel, *imagelabel;
};

/* ---- disks ---- */

enum disk_type { DISK_TYPE_NONE, DISK_FILE, DISK_BLOCK, DISK_NETWORK, DISK_VOLUME, DISK_DIR };
enum disk_device { DISK_DEVICE_NONE, DISK_DISK, DISK_CDROM, DISK_FLOPPY, DISK_LUN };
enum disk_bus {
    DISK_BUS_NONE,
    DISK_BUS_VIRTIO,
    DISK_BUS_SATA,
    DISK_BUS_SCSI,
    DISK_BUS_IDE,
    DISK_BUS_FDC,
    DISK_BUS_USB,
};

struct source_host {
    struct xml_node node;
    char *name, *port, *socket;
    const char *transport;
};
struct disk_source {
    struct xml_node node;
    char *file, *dev, *dir, *pool, *volume, *name;
    const char *protocol, *startup_policy, *tls;
    struct xml_num index;
    GPtrArray *hosts; /* struct source_host */
    GPtrArray *seclabels;
};
struct backing_store {
    struct xml_node node;
    int type; /* enum disk_type */
    struct xml_num index;
    struct {
        struct xml_node node;
        const char *type;
    } format;
    struct disk_source source;
    struct backing_store *next; /* <backingStore/> inside */
};
struct disk_driver {
    struct xml_node node;
    char *name;
    const char *type, *cache, *io, *error_policy, *rerror_policy, *discard, *detect_zeroes,
        *copy_on_read, *ioeventfd, *event_idx, *iommu, *ats, *packed;
    struct xml_num queues, queue_size, iothread;
};
struct iotune {
    struct xml_node node;
    struct xml_num total_bytes_sec, read_bytes_sec, write_bytes_sec, total_iops_sec, read_iops_sec,
        write_iops_sec, total_bytes_sec_max, read_bytes_sec_max, write_bytes_sec_max,
        total_iops_sec_max, read_iops_sec_max, write_iops_sec_max;
    char *group_name;
};
struct disk {
    struct xml_node node;
    int type, device;
    const char *model, *snapshot;
    struct disk_driver driver;
    struct disk_source source;
    struct backing_store *backing;
    struct {
        struct xml_node node;
        char *dev;
        int bus;
        const char *tray, *removable;
        struct xml_num rotation_rate;
    } target;
    struct iotune iotune;
    bool readonly, shareable, transient;
    struct {
        struct xml_node node;
        struct xml_num logical, physical;
    } blockio;
    char *serial, *wwn, *vendor, *product;
    struct dev_info info;
};

/* ---- controllers ---- */

enum controller_type {
    CONTROLLER_NONE,
    CONTROLLER_PCI,
    CONTROLLER_USB,
    CONTROLLER_SCSI,
    CONTROLLER_IDE,
    CONTROLLER_SATA,
    CONTROLLER_VIRTIO_SERIAL,
    CONTROLLER_FDC,
    CONTROLLER_CCID,
};

struct controller {
    struct xml_node node;
    int type;
    struct xml_num index, ports, vectors;
    const char *model;
    struct {
        struct xml_node node;
        struct xml_num queues, cmd_per_lun, max_sectors, iothread;
        const char *ioeventfd, *iommu, *ats, *packed;
    } driver;
    struct named model_name;
    struct {
        struct xml_node node;
        struct xml_num startport;
    } master;
    struct {
        struct xml_node node;
        struct xml_num chassis_nr, chassis, port, bus_nr, index;
        const char *hotplug;
    } target;
    struct dev_info info;
};

/* ---- network cards ---- */

enum net_type {
    NET_NONE,
    NET_USER,
    NET_NETWORK,
    NET_BRIDGE,
    NET_ETHERNET,
    NET_DIRECT,
    NET_VHOSTUSER,
};

struct port_range {
    struct xml_node node;
    struct xml_num start, end, to;
    const char *exclude;
};
struct port_forward {
    struct xml_node node;
    const char *proto;
    char *address, *dev;
    GPtrArray *ranges; /* struct port_range */
};
struct net_address { /* <ip address='' family='' prefix=''/> */
    struct xml_node node;
    char *address;
    const char *family;
    struct xml_num prefix;
};
struct filter_param {
    struct xml_node node;
    char *name, *value;
};
struct interface {
    struct xml_node node;
    int type;
    const char *trust_guest;
    struct {
        struct xml_node node;
        char *address;
        const char *type, *check;
    } mac;
    struct {
        struct xml_node node;
        char *network, *portgroup, *bridge, *dev, *type, *path, *mode, *portid;
    } source;
    struct {
        struct xml_node node;
        char *dev;
        const char *managed;
    } target;
    struct {
        struct xml_node node;
        char *type;
    } model;
    struct {
        struct xml_node node;
        const char *name, *txmode, *ioeventfd, *event_idx, *iommu, *ats, *packed;
        struct xml_num queues, rx_queue_size, tx_queue_size;
    } driver;
    struct {
        struct xml_node node;
        const char *type;
        char *log_file;
    } backend;
    struct {
        struct xml_node node;
        char *filter;
        GPtrArray *params;
    } filterref;
    struct {
        struct xml_node node;
        const char *state;
    } link;
    struct {
        struct xml_node node;
        struct xml_num size;
    } mtu;
    GPtrArray *ips;      /* struct net_address */
    GPtrArray *forwards; /* struct port_forward */
    struct dev_info info;
};

/* ---- character devices ---- */

enum chr_type {
    CHR_NONE,
    CHR_PTY,
    CHR_FILE,
    CHR_UNIX,
    CHR_TCP,
    CHR_UDP,
    CHR_DEV,
    CHR_PIPE,
    CHR_NULL,
    CHR_STDIO,
    CHR_VC,
    CHR_SPICEVMC,
};
enum chr_target {
    CHR_TARGET_NONE,
    CHR_TARGET_ISA,
    CHR_TARGET_PCI,
    CHR_TARGET_USB,
    CHR_TARGET_SERIAL,
    CHR_TARGET_VIRTIO
};

struct chr {
    struct xml_node node;
    int type;
    char *tty; /* <console tty=''> of a running domain */
    struct {
        struct xml_node node;
        char *path, *host, *service, *channel;
        const char *mode, *append, *tls;
    } source;
    struct {
        struct xml_node node;
        const char *type;
    } protocol;
    struct {
        struct xml_node node;
        int type; /* enum chr_target */
        struct xml_num port;
        char *name;
        const char *state;
        struct named model;
    } target;
    struct {
        struct xml_node node;
        char *file;
        const char *append;
    } log;
    struct dev_info info;
};

/* ---- the other devices ---- */

struct input {
    struct xml_node node;
    const char *type, *bus, *model;
    struct virtio_driver driver;
    struct dev_info info;
};
struct graphics_listen {
    struct xml_node node;
    const char *type, *from_config;
    char *address, *socket, *network;
};
struct graphics {
    struct xml_node node;
    const char *type, *autoport, *share_policy, *power_control;
    struct xml_num port, tls_port, websocket;
    char *listen, *socket, *passwd, *passwd_valid_to, *keymap, *display;
    GPtrArray *listens;
    struct {
        struct xml_node node;
        const char *compression;
    } image;
    struct {
        struct xml_node node;
        const char *enable;
    } gl;
};
struct audio {
    struct xml_node node;
    struct xml_num id;
    const char *type;
};
struct sound {
    struct xml_node node;
    const char *model;
    struct {
        struct xml_node node;
        const char *type;
    } codec;
    struct {
        struct xml_node node;
        struct xml_num id;
    } audio;
    struct dev_info info;
};
struct video {
    struct xml_node node;
    struct {
        struct xml_node node;
        const char *type, *primary, *blob;
        struct xml_num vram, ram, vgamem, vram64, heads;
        struct {
            struct xml_node node;
            const char *accel3d;
        } acceleration;
        struct {
            struct xml_node node;
            struct xml_num x, y;
        } resolution;
    } model;
    struct virtio_driver driver;
    struct dev_info info;
};
struct hostdev_address {
    struct xml_node node;
    struct xml_num domain, bus, slot, function, device;
    char *uuid;
};
struct hostdev {
    struct xml_node node;
    const char *mode, *type, *managed, *model;
    struct {
        struct xml_node node;
        struct {
            struct xml_node node;
            char *id;
        } vendor, product;
        struct hostdev_address address;
    } source;
    struct {
        struct xml_node node;
        const char *name;
    } driver;
    struct dev_info info;
};
struct redirdev {
    struct xml_node node;
    const char *bus, *type;
    struct dev_info info;
};
struct watchdog {
    struct xml_node node;
    const char *model, *action;
    struct dev_info info;
};
struct memballoon {
    struct xml_node node;
    const char *model, *autodeflate, *free_page_reporting;
    struct {
        struct xml_node node;
        struct xml_num period;
    } stats;
    struct virtio_driver driver;
    struct dev_info info;
};
struct rng {
    struct xml_node node;
    const char *model;
    struct {
        struct xml_node node;
        struct xml_num bytes, period;
    } rate;
    struct {
        struct xml_node node;
        const char *model, *type;
        char *path;
    } backend;
    struct virtio_driver driver;
    struct dev_info info;
};
struct panic {
    struct xml_node node;
    const char *model;
    struct dev_info info;
};
struct filesystem {
    struct xml_node node;
    const char *type, *accessmode;
    struct {
        struct xml_node node;
        const char *type;
        struct xml_num queue;
    } driver;
    struct {
        struct xml_node node;
        char *dir, *socket;
    } source;
    struct {
        struct xml_node node;
        char *dir;
    } target;
    bool readonly;
    struct dev_info info;
};
struct vsock {
    struct xml_node node;
    const char *model;
    struct {
        struct xml_node node;
        const char *autos;
        struct xml_num address;
    } cid;
    struct dev_info info;
};
struct tpm {
    struct xml_node node;
    const char *model;
    struct {
        struct xml_node node;
        const char *type, *version;
    } backend;
    struct dev_info info;
};
struct hub {
    struct xml_node node;
    const char *type;
    struct dev_info info;
};

struct devices {
    struct xml_node node;
    char *emulator;
    GPtrArray *disks, *controllers, *filesystems, *interfaces, *serials, *parallels, *consoles,
        *channels, *inputs, *tpms, *graphics, *sounds, *audios, *videos, *hostdevs, *redirdevs,
        *hubs, *watchdogs, *rngs, *panics;
    struct memballoon memballoon;
    struct vsock vsock;
};

/* ---- the machine ---- */

struct iothread {
    struct xml_node node;
    struct xml_num id;
};
struct pin { /* <vcpupin vcpu='' cpuset=''/>, <iothreadpin iothread='' cpuset=''/>, <emulatorpin/>
              */
    struct xml_node node;
    struct xml_num number;
    char *cpuset;
};
struct blkio_device { /* of <blkiotune> */
    struct xml_node node;
    char *path;
    struct xml_num weight, read_iops_sec, write_iops_sec, read_bytes_sec, write_bytes_sec;
};
struct vcpu_state {
    struct xml_node node;
    struct xml_num id, order;
    const char *enabled, *hotpluggable;
};
struct boot_dev {
    struct xml_node node;
    const char *dev;
};
struct state { /* <apic/>, <hyperv><relaxed state='on'/>: everything <features> switches */
    struct xml_node node;
    const char *state;
};
struct cpu_feature {
    struct xml_node node;
    const char *policy;
    char *name;
};
struct numa_cell {
    struct xml_node node;
    struct xml_num id, memory;
    char *cpus, *unit;
    const char *mem_access, *discard;
};
struct timer_def {
    struct xml_node node;
    const char *name, *tickpolicy, *present, *mode, *track;
    struct xml_num frequency;
};
struct sysinfo_entry {
    struct xml_node node;
    char *name, *file, *value;
};
struct sysinfo_block {
    struct xml_node node;
    GPtrArray *entries;
};
struct memnode {
    struct xml_node node;
    struct xml_num cellid;
    const char *mode;
    char *nodeset;
};
struct hugepage {
    struct xml_node node;
    struct xml_num size;
    char *unit, *nodeset;
};
struct qemu_arg {
    struct xml_node node;
    char *name, *value;
};

struct os_def {
    struct xml_node node;
    const char *firmware;
    struct {
        struct xml_node node;
        const char *arch;
        char *machine, *type;
    } type;
    struct {
        struct xml_node node;
        const char *readonly, *secure, *type;
        char *path;
    } loader;
    struct {
        struct xml_node node;
        char *template, *path;
    } nvram;
    char *kernel, *initrd, *cmdline;
    GPtrArray *boots; /* struct boot_dev */
    struct {
        struct xml_node node;
        const char *enable;
        struct xml_num timeout;
    } bootmenu;
    struct {
        struct xml_node node;
        const char *useserial;
        struct xml_num reboot_timeout;
    } bios;
    struct {
        struct xml_node node;
        const char *mode;
    } smbios;
};

struct features {
    struct xml_node node;
    bool acpi, pae;
    struct {
        struct xml_node node;
        const char *eoi;
    } apic;
    struct {
        struct xml_node node;
        const char *mode;
        struct state relaxed, vapic, vpindex, runtime, synic, stimer, reset, frequencies,
            reenlightenment, tlbflush, ipi, evmcs;
        struct {
            struct xml_node node;
            const char *state;
            struct xml_num retries;
        } spinlocks;
        struct {
            struct xml_node node;
            const char *state;
            char *value;
        } vendor_id;
    } hyperv;
    struct {
        struct xml_node node;
        struct state hidden, poll_control, pv_ipi;
    } kvm;
    struct state vmport, smm, pmu, hap, pvspinlock;
    struct {
        struct xml_node node;
        const char *driver;
    } ioapic;
};

struct cpu_def {
    struct xml_node node;
    const char *mode, *match, *check, *migratable;
    struct {
        struct xml_node node;
        const char *fallback;
        char *vendor_id, *name;
    } model;
    char *vendor;
    struct {
        struct xml_node node;
        struct xml_num sockets, dies, cores, threads;
    } topology;
    struct {
        struct xml_node node;
        const char *mode;
        struct xml_num level;
    } cache;
    struct {
        struct xml_node node;
        const char *mode;
        struct xml_num bits;
    } maxphysaddr;
    GPtrArray *features; /* struct cpu_feature */
    struct {
        struct xml_node node;
        GPtrArray *cells;
    } numa;
};

struct cputune {
    struct xml_node node;
    struct xml_num shares, period, quota, global_period, global_quota, emulator_period,
        emulator_quota, iothread_period, iothread_quota;
    GPtrArray *vcpupins; /* struct pin */
    struct pin emulatorpin;
    GPtrArray *iothreadpins; /* struct pin */
};

struct memory_backing {
    struct xml_node node;
    struct {
        struct xml_node node;
        GPtrArray *pages;
    } hugepages;
    bool nosharepages, locked, discard;
    struct {
        struct xml_node node;
        const char *type;
    } source;
    struct {
        struct xml_node node;
        const char *mode;
    } access;
    struct {
        struct xml_node node;
        const char *mode;
        struct xml_num threads;
    } allocation;
};

struct domain {
    struct xml_node node;
    const char *type; /* "kvm", "qemu" */
    struct xml_num id;
    char *name, *uuid, *genid, *title, *description, *metadata;
    struct scaled max_memory, memory, current_memory;
    struct memory_backing memory_backing;
    struct {
        struct xml_node node;
        const char *placement;
        char *cpuset;
        struct xml_num current, count;
    } vcpu;
    struct {
        struct xml_node node;
        GPtrArray *vcpus; /* struct vcpu_state */
    } vcpus;
    struct xml_num iothreads;
    struct {
        struct xml_node node;
        GPtrArray *list; /* struct iothread */
    } iothreadids;
    struct {
        struct xml_node node;
        struct xml_num weight;
        GPtrArray *devices; /* struct blkio_device */
    } blkiotune;
    struct {
        struct xml_node node;
        struct scaled hard_limit, soft_limit, swap_hard_limit;
    } memtune;
    struct cputune cputune;
    struct {
        struct xml_node node;
        struct memnode memory;
        GPtrArray *memnodes;
    } numatune;
    struct {
        struct xml_node node;
        char *partition;
    } resource;
    struct {
        struct xml_node node;
        const char *type;
        struct sysinfo_block bios, system;
        GPtrArray *base_boards;
        struct sysinfo_block chassis;
        struct {
            struct xml_node node;
            GPtrArray *entries;
        } oem_strings;
        GPtrArray *fw_cfg; /* struct sysinfo_entry */
    } sysinfo;
    struct os_def os;
    struct features features;
    struct cpu_def cpu;
    struct {
        struct xml_node node;
        const char *offset, *basis;
        struct xml_num adjustment;
        char *timezone, *start;
        GPtrArray *timers;
    } clock;
    const char *on_poweroff, *on_reboot, *on_crash, *on_lockfailure;
    struct {
        struct xml_node node;
        struct {
            struct xml_node node;
            const char *enabled;
        } mem, disk;
    } pm;
    struct devices devices;
    GPtrArray *seclabels;
    struct {
        struct xml_node node;
        GPtrArray *args, *envs; /* struct qemu_arg */
    } qemu_commandline;
};

extern const struct xml_element domain_element, disk_element, backing_store_element,
    interface_element, controller_element, chr_serial_element, chr_parallel_element,
    chr_console_element, chr_channel_element, input_element, hostdev_element, rng_element,
    watchdog_element, memballoon_element, graphics_element, video_element, sound_element,
    filesystem_element, redirdev_element, vsock_element, panic_element, hub_element, tpm_element;

/* ---- stages ---- */

struct domain *domain_new(void);
void domain_free(struct domain *d); /* accepts NULL */
/* aside: see xmlmap.h; the element domain or, from a snapshot, domainsnapshot's domain. */
struct domain *domain_parse(const char *text, size_t len, GPtrArray *aside, GError **err);
bool domain_post_parse(struct domain *d, GError **err);
bool domain_validate(const struct domain *d, GError **err);
struct domain *domain_load(const char *text, GError **err); /* all three, strict */
struct domain *domain_load_lenient(const char *text, GPtrArray **aside, GError **err);

enum {
    FORMAT_INACTIVE = 1, /* without id, aliases, ptys, resolved ports */
    FORMAT_SECURE = 2,   /* with passwords */
};
char *domain_format(const struct domain *d, unsigned flags);

/* Ids of devices (serial0, virtio-disk0, ...) for those that have none. */
void domain_assign_aliases(struct domain *d);
/* PCI, drive, virtio-serial and USB addresses for those that have none; adds controllers. */
bool domain_assign_addresses(struct domain *d, GError **err);

/* ---- questions ---- */

bool domain_name_ok(const char *name, GError **err);
bool uuid_ok(const char *text);
char *uuid_make(void);
char *mac_make(void); /* 52:54:00:xx:xx:xx */
bool mac_ok(const char *text);
/* "vdb" -> 1, "sdaa" -> 26; -1 when it is not such a name. */
int disk_index(const char *target);
/* "0-3,^2,8" into a bitmap of n_bits; *err names what is wrong. */
bool cpuset_parse(const char *text, unsigned n_bits, unsigned long *bits, GError **err);
char *cpuset_format(const unsigned long *bits, unsigned n_bits);
int64_t domain_memory_kib(const struct domain *d);
int64_t domain_current_memory_kib(const struct domain *d);
unsigned domain_vcpus_max(const struct domain *d);
unsigned domain_vcpus(const struct domain *d);
unsigned
domain_vcpus_at_start(const struct domain *d); /* those that are not plugged in, and stay */
bool domain_vcpu_plugged(const struct domain *d, unsigned number);
/* One row of <vcpus>, made when it is not there. */
void domain_vcpu_set(struct domain *d, unsigned number, bool enabled, bool can_go);
void domain_vcpus_count(struct domain *d); /* <vcpu current=''> as <vcpus> says */
/* The first n; hotpluggable: all but the first can go while the machine runs. */
bool domain_set_vcpus(struct domain *d, int64_t n, bool hotpluggable, GError **err);
unsigned domain_iothread_id(const struct domain *d, unsigned i); /* of the i-th: "iothreadID" */
bool domain_is_q35(const struct domain *d);
bool domain_is_microvm(const struct domain *d); /* no PCI: virtio at memory addresses */
bool domain_is_qemu(const struct domain *d);    /* its emulator is not hanok-vm */
/* A program of this project: beside the one that runs, or in PATH; NULL when it is nowhere. */
char *program_beside(const char *name);
/* What a disk's source is, for people: file, device or URL; NULL when empty. */
char *disk_source_text(const struct disk *d);
static inline bool word_is(const char *word, const char *what)
{
    return word && !g_strcmp0(word, what);
}

#endif
