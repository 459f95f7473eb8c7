/* firmware.c - finds and loads a firmware image, and tells it what to boot. */
#include "firmware.h"

#include "base/error.h"
#include "base/util.h"
#include "block/block.h"
#include "bus/fw_cfg.h"
#include "devices/pflash.h"
#include "devices/rtc.h"
#include "mem/guest_mem.h"

#include <stdio.h>

#define DEFAULT_IMAGE "bios-256k.bin"
#define IMAGE_BYTES_MAX                                                                            \
    (16 * MiB) /* below 4 GiB, above the local APICs' and other chips' pages                       \
                */
#define IMAGE_STEP (64 * KiB)

enum { CMOS_BOOT_12 = 0x3d, CMOS_BOOT_3 = 0x38 };

struct boot_entry {
    uint32_t index;
    char *path;
};

/* ---- the image ---- */

static const struct {
    const char *dir, *package;
} places[] = {
    {"/usr/share/seabios", "seabios"},   {"/usr/share/qemu", "qemu-system-data"},
    {"/usr/share/OVMF", "ovmf"},         {"/usr/share/ovmf", "ovmf"},
    {"/usr/lib/ipxe/qemu", "ipxe-qemu"}, {"/usr/local/share/qemu", "seabios"},
};

char *firmware_find(const struct vm_config *cfg, const char *name, GError **err)
{
    if (strchr(name, '/') || g_file_test(name, G_FILE_TEST_EXISTS))
        return g_strdup(name);
    for (guint i = 0; i < cfg->firmware_dirs->len; i++) {
        char *path = g_build_filename(g_ptr_array_index(cfg->firmware_dirs, i), name, NULL);
        if (g_file_test(path, G_FILE_TEST_EXISTS))
            return path;
        g_free(path);
    }
    for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
        char *path = g_build_filename(places[i].dir, name, NULL);
        if (g_file_test(path, G_FILE_TEST_EXISTS))
            return path;
        g_free(path);
    }
    error_set(err, HANOK_ERROR_NOT_FOUND,
              "there is no firmware file '%s' here or in the system's folders; Debian has them in "
              "the packages seabios, ovmf and ipxe-qemu (-L names further folders)",
              name);
    return NULL;
}

static bool image_load(struct machine *m, const char *path, GError **err)
{
    g_autofree char *data = NULL;
    gsize len = 0;

    if (!g_file_get_contents(path, &data, &len, err)) {
        g_prefix_error(err, "could not load firmware: ");
        return false;
    }
    if (len == 0 || len % IMAGE_STEP || len > IMAGE_BYTES_MAX)
        return error_set(err, HANOK_ERROR_INVALID,
                         "could not load firmware '%s': %" G_GSIZE_FORMAT
                         " bytes is not a multiple of 64 KiB up to 16 MiB",
                         path, len);
    m->bios = ram_block_new("pc.bios", len, false, false, err);
    if (m->bios)
        memcpy(ram_block_host(m->bios), data, len);
    return m->bios != NULL;
}

static bool firmware_is_flash(struct machine *m)
{
    return props_has(m->cfg->machine, "pflash0");
}

bool firmware_open(struct machine *m, GError **err)
{
    const char *name = m->cfg->firmware;
    bool tested = m->cfg->accels && strcmp(m->cfg->accels, "qtest") == 0;
    g_autofree char *path = NULL;

    if (!props_get_str(m->cfg->machine, "firmware", &name, err))
        return false;
    if (firmware_is_flash(m)) {
        m->firmware = true;
        return !name || error_set(err, HANOK_ERROR_INVALID,
                                  "-bios and -machine pflash0= are both the firmware: give one");
    }
    /* A kernel alone needs none; nor does a board that a test drives. */
    if ((!name && (m->cfg->kernel || tested)) || m->type->no_pci)
        return true;
    path = firmware_find(m->cfg, name ? name : DEFAULT_IMAGE, err);
    m->firmware = path && image_load(m, path, err);
    return m->firmware;
}

/* ---- flash ---- */

static bool flash_node(struct machine *m, const char *key, struct blk_node **out, GError **err)
{
    const char *name = NULL;

    if (!props_get_str(m->cfg->machine, key, &name, err))
        return false;
    if (!name)
        return true;
    *out = blk_find(name);
    return *out || error_set(err, HANOK_ERROR_NOT_FOUND,
                             "-machine %s=%s: there is no such block node; give -blockdev first",
                             key, name);
}

bool firmware_flash(struct machine *m, struct ram_block **first, GError **err)
{
    static const char *const keys[] = {"pflash0", "pflash1"};
    uint64_t top = 4 * GiB;

    for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
        struct pflash_config cfg = {.name = keys[i]};
        struct pflash *f = NULL;
        uint64_t bytes;
        if (!flash_node(m, keys[i], &cfg.node, err))
            return false;
        if (!cfg.node)
            continue;
        if (i == 1 && !firmware_is_flash(m))
            return error_set(err, HANOK_ERROR_INVALID,
                             "pflash1 is the second flash: the firmware's code goes to pflash0");
        bytes = pflash_bytes(cfg.node, err);
        cfg.base = top - bytes;
        if (bytes)
            f = pflash_new(&m->devices, m->mem, m->mmio, m->clock, &m->requests, &cfg, err);
        if (!f) {
            g_prefix_error(err, "-machine %s=%s: ", keys[i], blk_node_name(cfg.node));
            return false;
        }
        top = cfg.base;
        if (i == 0)
            *first = pflash_block(f);
    }
    return true;
}

/* ---- what to boot ---- */

static void boot_entry_free(void *p)
{
    struct boot_entry *e = p;

    g_free(e->path);
    g_free(e);
}

bool firmware_boot_add(struct machine *m, uint32_t index, char *path_taken, GError **err)
{
    struct boot_entry *e = g_new0(struct boot_entry, 1);
    guint at = 0;

    *e = (struct boot_entry){index, path_taken};
    if (!m->boot_entries)
        m->boot_entries = g_ptr_array_new_with_free_func(boot_entry_free);
    while (at < m->boot_entries->len) {
        const struct boot_entry *here = g_ptr_array_index(m->boot_entries, at);
        if (here->index == index) {
            boot_entry_free(e);
            return error_set(err, HANOK_ERROR_INVALID, "bootindex=%u is given to two devices",
                             index);
        }
        if (here->index > index)
            break;
        at++;
    }
    g_ptr_array_insert(m->boot_entries, (int)at, e);
    return true;
}

static void path_node(GString *s, const struct pci_dev *d)
{
    static const struct {
        uint8_t base, sub;
        const char *name;
    } names[] = {{0x01, 0x00, "scsi"},    {0x01, 0x01, "ide"}, {0x02, 0x00, "ethernet"},
                 {0x03, 0x00, "display"}, {0x06, 0x01, "isa"}, {0x06, 0x04, "pci-bridge"},
                 {0x0c, 0x03, "usb"}};
    const uint8_t *c = d->config;
    const char *name = NULL;

    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        if (c[PCI_CLASS + 1] == names[i].base && c[PCI_CLASS] == names[i].sub)
            name = names[i].name;
    if (name)
        g_string_append_printf(s, "/%s@%x", name, d->devfn >> 3);
    else
        g_string_append_printf(s, "/pci%x,%x@%x", le16_get(c), le16_get(c + 2), d->devfn >> 3);
    if (d->devfn & 7)
        g_string_append_printf(s, ",%x", d->devfn & 7);
}

static void path_build(GString *s, const struct pci_dev *d)
{
    if (d->bus->bridge)
        path_build(s, d->bus->bridge);
    path_node(s, d);
}

char *firmware_pci_path(struct pci_dev *d)
{
    GString *s = g_string_new("/pci@i0cf8");

    path_build(s, d);
    return g_string_free(s, false);
}

bool firmware_boot_pci(struct machine *m, uint32_t index, struct pci_dev *d, GError **err)
{
    g_autofree char *path = firmware_pci_path(d);
    const char *below = d->config[PCI_CLASS + 1] == 0x02   ? "/ethernet-phy@0"
                        : d->config[PCI_CLASS + 1] != 0x01 ? ""
                        : d->config[PCI_CLASS] == 0x08     ? "/namespace@1,0"
                                                           : "/disk@0,0";

    return firmware_boot_add(m, index, g_strconcat(path, below, NULL), err);
}

/* BIOS boot order: a nibble each for three kinds of drives. */
static unsigned drive_code(char letter)
{
    switch (letter) {
    case 'a':
    case 'b':
        return 1;
    case 'd':
        return 3;
    case 'n':
        return 4;
    default:
        return 2; /* 'c' and further disks */
    }
}

static void order_set(struct machine *m, const char *order)
{
    uint8_t code[3] = {0};

    for (unsigned i = 0; i < ARRAY_SIZE(code) && order[i]; i++)
        code[i] = (uint8_t)drive_code(order[i]);
    rtc_cmos_set(m->rtc, CMOS_BOOT_12, (uint8_t)(code[1] << 4 | code[0]));
    rtc_cmos_set(m->rtc, CMOS_BOOT_3, (uint8_t)(code[2] << 4));
}

static bool order_of(struct machine *m, bool first, const char **out, GError **err)
{
    *out = "cad";
    return props_get_str(m->cfg->boot, "order", out, err) &&
           (!first || props_get_str(m->cfg->boot, "once", out, err));
}

void firmware_reset(struct machine *m)
{
    const char *order;

    if (m->rtc && order_of(m, m->resets == 0, &order, NULL))
        order_set(m, order);
    m->resets++;
}

/* ---- a kernel under firmware ----
 * UEFI firmware takes it from fw_cfg by itself; a BIOS needs the option ROM of linuxboot.S. */

#define KERNEL_ROM "genroms/linuxboot.bin"

extern const uint8_t linuxboot_rom[], linuxboot_rom_end[], linuxboot_pnp[];

static uint8_t sum(const uint8_t *p, size_t len)
{
    uint8_t s = 0;

    for (size_t i = 0; i < len; i++)
        s = (uint8_t)(s + p[i]);
    return s;
}

static bool kernel_rom_add(struct machine *m, GError **err)
{
    enum { ROM_SUM = 6, PNP_SUM = 9, PNP_BYTES = 32 };
    size_t len = (size_t)(linuxboot_rom_end - linuxboot_rom);
    g_autofree uint8_t *rom = g_memdup2(linuxboot_rom, len);
    uint8_t *pnp = rom + (linuxboot_pnp - linuxboot_rom);

    if (!boot_image_under_firmware(m->boot, err))
        return false;
    pnp[PNP_SUM] = (uint8_t)-sum(pnp, PNP_BYTES);
    rom[ROM_SUM] = (uint8_t)-sum(rom, len);
    fw_cfg_add_file(m->fw_cfg, KERNEL_ROM, rom, len);
    return true;
}

static void bootorder_write(struct machine *m, bool strict)
{
    g_autoptr(GString) text = g_string_new(m->boot ? "/rom@" KERNEL_ROM : NULL);

    for (guint i = 0; m->boot_entries && i < m->boot_entries->len; i++) {
        const struct boot_entry *e = g_ptr_array_index(m->boot_entries, i);
        g_string_append_printf(text, "%s%s", text->len ? "\n" : "", e->path);
    }
    if (strict)
        g_string_append_printf(text, "%sHALT", text->len ? "\n" : "");
    if (text->len)
        fw_cfg_add_file(m->fw_cfg, "bootorder", text->str, text->len + 1);
}

/* A number of milliseconds in a file of its own. */
static bool wait_item(struct machine *m, const char *key, const char *file, uint32_t max,
                      GError **err)
{
    uint32_t ms = 0;
    uint8_t le[4];

    if (!props_has(m->cfg->boot, key))
        return true;
    if (!props_get_u32(m->cfg->boot, key, &ms, err))
        return false;
    if (ms > max)
        return error_set(err, HANOK_ERROR_INVALID, "-boot %s=%u: at most %u milliseconds", key, ms,
                         max);
    le32_put(le, ms);
    fw_cfg_add_file(m->fw_cfg, file, le, max > UINT16_MAX ? 4 : 2);
    return true;
}

bool firmware_boot_items(struct machine *m, GError **err)
{
    bool menu = false, strict = false;
    const char *splash = NULL, *order;

    if (!props_get_bool(m->cfg->boot, "menu", &menu, err) ||
        !props_get_bool(m->cfg->boot, "strict", &strict, err) ||
        !props_get_str(m->cfg->boot, "splash", &splash, err) || !order_of(m, true, &order, err))
        return false;
    fw_cfg_add_u16(m->fw_cfg, FW_CFG_BOOT_DEVICE, (uint8_t)order[0]);
    fw_cfg_add_u16(m->fw_cfg, FW_CFG_BOOT_MENU, menu);
    if (!wait_item(m, "splash-time", "etc/boot-menu-wait", UINT16_MAX, err) ||
        !wait_item(m, "reboot-timeout", "etc/boot-fail-wait", UINT32_MAX, err))
        return false;
    if (splash) {
        g_autofree char *path = firmware_find(m->cfg, splash, err), *data = NULL;
        gsize len = 0;
        if (!path || !g_file_get_contents(path, &data, &len, err)) {
            g_prefix_error(err, "-boot splash=%s: ", splash);
            return false;
        }
        fw_cfg_add_file(m->fw_cfg,
                        len > 2 && !memcmp(data, "BM", 2) ? "bootsplash.bmp" : "bootsplash.jpg",
                        data, len);
    }
    if (m->boot && m->firmware && !kernel_rom_add(m, err))
        return false;
    bootorder_write(m, strict);
    return true;
}

void firmware_close(struct machine *m)
{
    if (m->boot_entries)
        g_ptr_array_free(m->boot_entries, true);
    ram_block_free(m->bios);
}
