/* drive.h - an ATA or ATAPI drive without its cable; private to src/ata.
 *
 *   task file --> ata_decode() --> struct ata_op: what to transfer, or how it ended
 *   packet    --> mmc_command() --> struct ata_op likewise
 *
 * Nothing here does I/O or knows a controller: whoever has the cable moves the data and calls back.
 *
 * Threads: board lock.
 * Spec:    ATA8-ACS (T13/1699-D); MMC-5 (T10/1675-D), SPC-3. */
#ifndef ATA_DRIVE_H
#define ATA_DRIVE_H

#include "ata/drives.h"
#include "base/state.h"

enum {
    ATA_SECTOR = 512,
    CD_SECTOR = 2048,
    ATA_BUFFER_BYTES = 4096,
    ATA_BYTES_MAX = 65536 * ATA_SECTOR
};
enum {
    ATA_BSY = 0x80,
    ATA_DRDY = 0x40,
    ATA_DF = 0x20,
    ATA_DSC = 0x10,
    ATA_DRQ = 0x08,
    ATA_ERR = 0x01
};
enum { ATA_E_ABORT = 0x04, ATA_E_IDNF = 0x10, ATA_E_UNC = 0x40 };

/* The register block as written by the host; for 28-bit commands the high parts are zero. */
struct ata_taskfile {
    uint8_t command, device;
    uint16_t features, count;
    uint64_t lba; /* 48 bits */
};

enum ata_kind {
    ATA_OP_FAIL,     /* error tells */
    ATA_OP_DONE,     /* no data; count and lba go back to the host */
    ATA_OP_DATA_IN,  /* len bytes of drive->buffer */
    ATA_OP_DATA_OUT, /* len bytes into drive->buffer, then ata_data_written() */
    ATA_OP_READ,     /* media */
    ATA_OP_WRITE,
    ATA_OP_FLUSH,
    ATA_OP_TRIM,   /* len bytes of ranges from the host */
    ATA_OP_PACKET, /* the packet comes next */
};

struct ata_op {
    enum ata_kind kind;
    bool pio, ncq, fua, lba48;
    uint8_t error;         /* FAIL */
    uint64_t offset_bytes; /* READ, WRITE: on the media */
    uint32_t len;          /* bytes */
    uint16_t count;        /* DONE: what the count register shows */
    uint64_t lba;          /* DONE: likewise */
};

struct ata_drive {
    /* immutable */
    struct blk_node *node; /* main thread may change it on a CD-ROM drive */
    bool cdrom, read_only, claimed;
    bool parallel; /* on an IDE cable, not a SATA port */
    unsigned unit; /* parallel: 0 or 1 */
    uint32_t logical_bytes, physical_bytes;
    char serial[21], model[41], version[9], *id;
    void (*tray_moved)(void *opaque, const char *id, bool open);
    void *opaque;
    /* board lock */
    bool write_cache, read_ahead, present;
    uint8_t multiple;                 /* sectors per interrupt of the MULTIPLE commands, 0: off */
    uint8_t failed_tag, failed_error; /* of the last queued command that failed */
    uint8_t buffer[ATA_BUFFER_BYTES];
    /* CD-ROM */
    uint8_t sense_key, asc, ascq;
    bool tray_open, locked, attention; /* attention: the next command hears of a medium change */
    uint8_t event;                     /* for GET EVENT STATUS NOTIFICATION; 0: none */
    bool tray_news;                    /* tray_moved has to be called */
};

bool ata_drive_init(struct ata_drive *d, const struct ata_drive_config *cfg, GError **err);
void ata_drive_fini(struct ata_drive *d);
void ata_drive_reset(struct ata_drive *d);
/* The signature a drive leaves in its registers after a reset: lba mid and high. */
uint16_t ata_signature(const struct ata_drive *d);
uint64_t ata_sectors(const struct ata_drive *d);
void ata_decode(struct ata_drive *d, const struct ata_taskfile *tf, struct ata_op *op);
/* READ MULTIPLE and its kin, which move ata_drive.multiple sectors at a time. */
bool ata_is_multiple(uint8_t command);
void ata_data_written(struct ata_drive *d, const struct ata_taskfile *tf);
/* One of the ranges of a TRIM; false: an empty entry. */
bool ata_trim_range(const struct ata_drive *d, const uint8_t entry[8], uint64_t *offset_bytes,
                    uint64_t *len_bytes);
extern const struct state_desc ata_drive_state;

/* The drives of each kind of controller, present or not. */
struct ata_drive *ahci_drive(struct pci_dev *d, unsigned port);
struct ata_drive *ide_drive(struct pci_dev *d, unsigned place);

/* identify.c */
void ata_identify(struct ata_drive *d);
void ata_identify_packet(struct ata_drive *d);

/* mmc.c: cdb has 12 bytes */
void mmc_command(struct ata_drive *d, const uint8_t *cdb, struct ata_op *op);
void mmc_media_error(struct ata_drive *d);
uint8_t mmc_error_register(const struct ata_drive *d);
/* Somebody outside presses the button, takes the disc away or brings one. */
void mmc_button(struct ata_drive *d);
void mmc_medium_changed(struct ata_drive *d, bool inserted);

#endif
