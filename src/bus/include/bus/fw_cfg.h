/* fw_cfg.h - the firmware configuration device (QEMU's interface; docs/specs/fw_cfg there).
 *
 * Owner: machine. I/O ports 0x510 (selector), 0x511 (data), 0x514 (DMA).  Items are bytes added
 * before the machine starts; "files" get keys from 0x20 in name order.  Items reset with the
 * machine to their original bytes.  Threads: board lock. */
#ifndef BUS_FW_CFG_H
#define BUS_FW_CFG_H

#include "bus/device.h"
#include "bus/io.h"

struct fw_cfg;
struct guest_mem;

enum {
    FW_CFG_SIGNATURE = 0x00,
    FW_CFG_ID = 0x01,
    FW_CFG_UUID = 0x02,
    FW_CFG_RAM_SIZE = 0x03,
    FW_CFG_NOGRAPHIC = 0x04,
    FW_CFG_NB_CPUS = 0x05,
    FW_CFG_KERNEL_ADDR = 0x07,
    FW_CFG_KERNEL_SIZE = 0x08,
    FW_CFG_INITRD_ADDR = 0x0a,
    FW_CFG_INITRD_SIZE = 0x0b,
    FW_CFG_BOOT_DEVICE = 0x0c,
    FW_CFG_BOOT_MENU = 0x0e,
    FW_CFG_MAX_CPUS = 0x0f,
    FW_CFG_KERNEL_ENTRY = 0x10,
    FW_CFG_KERNEL_DATA = 0x11,
    FW_CFG_INITRD_DATA = 0x12,
    FW_CFG_CMDLINE_ADDR = 0x13,
    FW_CFG_CMDLINE_SIZE = 0x14,
    FW_CFG_CMDLINE_DATA = 0x15,
    FW_CFG_SETUP_ADDR = 0x16,
    FW_CFG_SETUP_SIZE = 0x17,
    FW_CFG_SETUP_DATA = 0x18,
    FW_CFG_FILE_DIR = 0x19,
};

struct fw_cfg *fw_cfg_new(struct device_list *devices, struct io_space *pio, struct guest_mem *mem);
void fw_cfg_add_bytes(struct fw_cfg *f, uint16_t key, const void *data,
                      size_t len); /* copies; replaces */
/* len bytes of fd from offset on, read when the guest asks for them; fd is lent.  What cannot be
 * read (any more) is zeros through the data port, an error of a DMA command. */
void fw_cfg_add_part(struct fw_cfg *f, uint16_t key, int fd, uint64_t offset, size_t len);
void fw_cfg_add_u16(struct fw_cfg *f, uint16_t key, uint16_t v);
void fw_cfg_add_u32(struct fw_cfg *f, uint16_t key, uint32_t v);
void fw_cfg_add_u64(struct fw_cfg *f, uint16_t key, uint64_t v);
void fw_cfg_add_file(struct fw_cfg *f, const char *name, const void *data,
                     size_t len); /* copies; replaces */
/* A file that the guest may write by DMA, within its length; written() is told of each write with
 * the whole of it, board lock held.  Where the machine is reset, its owner adds it again. */
void fw_cfg_add_writable_file(struct fw_cfg *f, const char *name, const void *data, size_t len,
                              void (*written)(void *opaque, const uint8_t *data), void *opaque);
/* Called with the board lock held before the guest reads the directory of files: what depends on
 * how firmware has set up the chip set can be replaced then. */
void fw_cfg_on_directory(struct fw_cfg *f, void (*fn)(void *opaque), void *opaque);
const void *fw_cfg_file(struct fw_cfg *f, const char *name, size_t *len);

#endif
