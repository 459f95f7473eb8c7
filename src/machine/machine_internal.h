/* machine_internal.h - the machine as the files of this folder share it. */
#ifndef MACHINE_MACHINE_INTERNAL_H
#define MACHINE_MACHINE_INTERNAL_H

#include "base/log.h"
#include "bus/device.h"
#include "bus/pci.h"
#include "devices/board.h"
#include "display/input.h"
#include "machine/loader.h"
#include "machine/machine.h"
#include "memory_map.h"
#include "usb/usb.h"

#include <glib.h>

struct acpi_pm;
struct board;
struct cpu_hotplug;
struct chardev;
struct fw_cfg;
struct hpet;
struct io_space;
struct pit;
struct rtc;
struct shadow;
struct soft_irqchip;
struct virtio_mmio_slot;
struct vm_clock;

#define MACHINE_SERIALS_MAX 4

struct subscriber {
    machine_event_fn *fn;
    void *opaque;
};

struct machine {
    /* immutable after machine_new */
    const struct vm_config *cfg; /* lent by the caller; outlives the machine */
    const struct machine_type *type;
    const struct board *board; /* NULL for "none" */
    struct memory_map map;
    struct vm_clock *clock;
    struct device_list devices;
    struct guest_mem *mem;
    struct ram_block *ram, *bios; /* bios: a firmware image that is not in flash */
    struct shadow *shadow;
    struct io_space *pio, *mmio;
    struct cpu_set *cpus;             /* NULL for "none" and for accel=qtest */
    struct soft_irqchip *own_irqchip; /* accel=qtest: nobody else makes one */
    struct irqchip *irqchip;
    char *accel_sentence;
    struct board_requests requests;
    struct fw_cfg *fw_cfg;
    struct acpi_pm *pm;
    struct cpu_hotplug *cpu_hotplug;
    struct rtc *rtc;     /* NULL: switched off */
    struct pit *pit;     /* NULL under KVM's in-kernel PIT */
    struct pci_host pci; /* root NULL: a board without PCI */
    struct usb_buses usb;
    struct pci_dev *vga; /* NULL: none */
    struct input_handler ps2_input;
    struct pci_dev *host_bridge, *isa_bridge, *pm_function; /* the last on boards that have it */
    struct pci_dev *drives; /* the board's own SATA or IDE controller; NULL: switched off */
    struct boot_image *boot;
    uint8_t com_mask;        /* serial ports present */
    uint16_t pvpanic_port;   /* 0: none */
    uint16_t tables_pm_base; /* the PM block's port as the ACPI tables have it; board lock */
    uint64_t facs_gpa;       /* main thread; the substitute moves it at resets */
    bool firmware;           /* starts at the reset vector; else the firmware substitute */
    struct smram *smram;     /* NULL: no system management mode was asked for, or no room */
    bool smm_wanted;
    bool hpet, sleep_s3, sleep_s4, no_reboot_strap;
    struct {
        bool rtc, pit, pic, serial; /* pic: announced; it is there anyway */
    } parts;                        /* of the board; all on, but on a microvm */
    struct virtio_mmio_slot *slots; /* of a board without PCI */
    unsigned slot_count;
    GPtrArray *boot_entries; /* firmware.c; NULL: none */
    unsigned resets;         /* the first start included */

    /* main thread */
    enum run_state state;
    GArray *subscribers; /* struct subscriber */
    void (*exit_fn)(void *opaque, int status);
    void *exit_opaque;
    GHashTable *objects;  /* id -> struct object */
    GPtrArray *blockdevs; /* struct blk_node, opened here, in order */
    GPtrArray *netdevs;   /* struct net_backend, likewise */
    bool asleep;          /* S3: clocks run (while not paused), vcpus do not */
    bool exiting;

    struct log_ratelimit crash_log;
    pthread_mutex_t request_lock;
    uint64_t crash_info[5]; /* of the guest by Hyper-V's MSRs; under request_lock, as the next */
    bool crash_told;
    struct wishes *wishes; /* of other threads, under request_lock; board_requests.c */
};

/* board_requests.c */
struct wishes;
void machine_requests_init(struct machine *m);
void machine_smm_begin(struct machine *m); /* requests.smi, where it is wanted and to be had */
void machine_requests_fini(struct machine *m);
void machine_request_internal_error(struct machine *m, unsigned cpu, const char *dump);
void machine_request_ejects(struct machine *m);
void machine_map_settled(struct machine *m); /* layouts have been applied: nothing to stop for */

void machine_request_wake_check(struct machine *m);

/* guest_trouble.c; main thread */
void machine_watchdog_expired(struct machine *m);
void machine_panicked(struct machine *m);

/* suspend.c: ACPI S3 */
void machine_suspend(struct machine *m);
void machine_wake_check(struct machine *m); /* wakes it when an enabled event is pending */

/* registry.c */
bool globals_check(struct machine *m, GError **err);
/* The PCI function that d is; NULL: none. */
struct pci_dev *machine_pci_dev_of(struct machine *m, const struct device *d);
void machine_grant_ejects(struct machine *m); /* functions whose slots the guest powered off */

/* The device is gone: says so to whoever listens, and frees it. */
void machine_device_destroy(struct machine *m, struct device *d);

/* hotplug_cpu.c */
unsigned machine_cpus_max(const struct machine *m);
/* How many are present; out (may be NULL) gets machine_cpus_max() answers. */
unsigned machine_cpus_there(const struct machine *m, bool *out);
void machine_cpu_hotplug_build(struct machine *m);
/* False: d is no processor. */
/* Before it runs: tables and firmware follow a processor that came. */
bool machine_make_again(struct machine *m, GError **err);
bool machine_cpu_request_removal(struct machine *m, struct device *d);
void machine_grant_cpu_ejects(struct machine *m); /* vcpus paused */

/* board.c: what the guest reads of its processors; anew before each start. */
void board_cpu_items(struct machine *m);

/* registry_usb.c */
bool machine_usb_add(struct machine *m, GError **err);

/* registry_display.c */
struct i8042;
void machine_input_add(struct machine *m, struct i8042 *k);
void machine_input_remove(struct machine *m);

/* backends.c: -object, -blockdev, -netdev */
bool machine_backends_open(struct machine *m, GError **err);
void machine_backends_close(struct machine *m);
/* snapshot_disk.c: a -drive with snapshot=on */
bool machine_snapshot_open(struct machine *m, struct props *p, GError **err);
struct evloop *machine_iothread(struct machine *m, const char *id, GError **err);
/* rng-random's file; NULL with *err unset: rng-builtin. */
bool machine_rng_source(struct machine *m, const char *id, const char **filename, GError **err);
/* A secret's text; NULL with *err set when there is none. */
char *machine_secret(struct machine *m, const char *id, GError **err);
struct ram_block *machine_ram_new(struct machine *m, GError **err);

/* firmware_substitute.c: what firmware leaves behind, and the kernel; vcpus paused. */
bool firmware_substitute_run(struct machine *m, GError **err);
/* The S3 wake-up path: vcpus only; memory and chips stay as the guest left them. */
bool firmware_substitute_wake(struct machine *m, GError **err);
/* pci_assign.c: bus numbers, windows, BARs, interrupt lines. */
void pci_assign(struct pci_host *h, const struct acpi_range *pci32, const struct acpi_range *pci64);

/* machine_types.c: the one that -machine names */
const struct machine_type *machine_type_find(const struct vm_config *cfg, GError **err);

/* machine.c */
void machine_remap(struct machine *m); /* brings what layouts want into the memory map */
bool machine_engines_on(const struct machine *m);
void machine_end(struct machine *m, int status);
void machine_shutdown(struct machine *m, enum stop_cause cause);
void machine_stop(struct machine *m, enum run_state why);

#endif
