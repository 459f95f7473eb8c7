/* registry_display.c - graphics cards as users write them, and the board's own keyboard and mouse.
 */
#include "firmware.h"
#include "registry.h"

#include "base/error.h"
#include "base/log.h"
#include "base/util.h"
#include "bus/fw_cfg.h"
#include "devices/i8042.h"
#include "devices/ramfb.h"
#include "devices/vga.h"
#include "display/input.h"
#include "virtio/devices.h"

/* ---- PS/2 ---- */

static void kbd_key(void *opaque, const struct input_key *key, bool down)
{
    i8042_key(opaque, key->set2, key->code & 0xff00, down);
}

static uint8_t ps2_buttons(unsigned buttons)
{
    return (uint8_t)((buttons & INPUT_LEFT ? 1 : 0) | (buttons & INPUT_RIGHT ? 2 : 0) |
                     (buttons & INPUT_MIDDLE ? 4 : 0));
}

static void mouse_move(void *opaque, int dx, int dy)
{
    i8042_mouse(opaque, dx, dy, 0, ps2_buttons(input_buttons_now()));
}

static void mouse_buttons(void *opaque, unsigned buttons)
{
    int dz = (buttons & INPUT_WHEEL_DOWN ? 1 : 0) - (buttons & INPUT_WHEEL_UP ? 1 : 0);

    i8042_mouse(opaque, 0, 0, dz, ps2_buttons(buttons));
}

void machine_input_add(struct machine *m, struct i8042 *k)
{
    m->ps2_input = (struct input_handler){
        .name = "PS/2", .key = kbd_key, .move = mouse_move, .buttons = mouse_buttons, .opaque = k};
    input_add(&m->ps2_input);
}

void machine_input_remove(struct machine *m)
{
    input_remove(&m->ps2_input);
}

/* ---- standard VGA ---- */

const struct prop_desc props_vga[] = {
    {"vgamem_mb", PROP_U32, "16", "video memory, MiB"},
    {"edid", PROP_BOOL, "on", "the screen tells its sizes"},
    {"xres", PROP_U32, "1280", "width it prefers"},
    {"yres", PROP_U32, "800", "height it prefers"},
    {NULL, PROP_STR, NULL, NULL},
};

bool create_vga(struct machine *m, const struct device_class *cls, struct props *p, GError **err)
{
    struct vga_config cfg = {.req = &m->requests, .watched = m->cfg->vnc || m->cfg->window};
    struct device_place place;
    uint32_t mib = 16, width = 1280, height = 800;
    bool edid = true;

    if (!device_place_read(m, p, &place, err) || !props_get_u32(p, "vgamem_mb", &mib, err) ||
        !props_get_u32(p, "xres", &width, err) || !props_get_u32(p, "yres", &height, err) ||
        !props_get_bool(p, "edid", &edid, err))
        return false;
    if (mib > 256)
        return error_set(err, HANOK_ERROR_INVALID, "vgamem_mb=%u: at most 256", mib);
    if (m->vga)
        return error_set(err, HANOK_ERROR_BUSY, "a machine has one VGA card");
    cfg.id = place.id;
    cfg.multifunction = place.multifunction;
    cfg.vram_bytes = mib * (uint32_t)MiB;
    cfg.width = edid ? width : 0;
    cfg.height = height;
    m->vga = vga_new(place.bus, place.devfn, &cfg, err);
    return m->vga != NULL;
}

/* ---- the same without VGA ---- */

const struct prop_desc props_bochs[] = {
    {"vgamem", PROP_SIZE, "16M", "video memory"},
    {"edid", PROP_BOOL, "on", "the screen tells its sizes"},
    {"xres", PROP_U32, "1280", "width it prefers"},
    {"yres", PROP_U32, "800", "height it prefers"},
    {NULL, PROP_STR, NULL, NULL},
};

bool create_bochs(struct machine *m, const struct device_class *cls, struct props *p, GError **err)
{
    struct vga_config cfg = {
        .no_vga = true, .req = &m->requests, .watched = m->cfg->vnc || m->cfg->window};
    struct device_place place;
    uint64_t bytes = 16 * MiB;
    uint32_t width = 1280, height = 800;
    bool edid = true;

    if (!device_place_read(m, p, &place, err) || !props_get_size(p, "vgamem", &bytes, err) ||
        !props_get_u32(p, "xres", &width, err) || !props_get_u32(p, "yres", &height, err) ||
        !props_get_bool(p, "edid", &edid, err))
        return false;
    if (bytes < 4 * MiB || bytes > 256 * MiB)
        return error_set(err, HANOK_ERROR_INVALID, "vgamem= must be from 4M to 256M");
    cfg.id = place.id;
    cfg.multifunction = place.multifunction;
    cfg.vram_bytes = (uint32_t)bytes;
    cfg.width = edid ? width : 0;
    cfg.height = height;
    return vga_new(place.bus, place.devfn, &cfg, err) != NULL;
}

/* ---- virtio-gpu ---- */

#define GPU_PROPS                                                                                  \
    VIRTIO_COMMON, {"max_outputs", PROP_U32, "1", "screens (one)"},                                \
        {"xres", PROP_U32, "1280", "width it starts with"},                                        \
        {"yres", PROP_U32, "800", "height it starts with"},                                        \
        {"edid", PROP_BOOL, "on", "the screen tells its sizes"},                                   \
        {"max_hostmem", PROP_SIZE, "256M", "most memory the guest's pictures take"},               \
        {"blob", PROP_BOOL, "off", "(refused)"},                                                   \
    {                                                                                              \
        NULL, PROP_STR, NULL, NULL                                                                 \
    }
const struct prop_desc props_virtio_gpu[] = {GPU_PROPS};
const struct prop_desc props_virtio_vga[] = {{"vgamem_mb", PROP_U32, "8", "video memory, MiB"},
                                             GPU_PROPS};

static bool gpu_read(struct machine *m, const struct device_class *cls, struct props *p,
                     struct virtio_gpu_config *cfg, GError **err)
{
    uint32_t outputs = 1, width = 0, height = 0;
    bool edid = true, blob = false;

    if (!virtio_common_read(m, cls, p, &cfg->place, err) ||
        !props_get_u32(p, "max_outputs", &outputs, err) || !props_get_u32(p, "xres", &width, err) ||
        !props_get_u32(p, "yres", &height, err) ||
        !props_get_size(p, "max_hostmem", &cfg->hostmem_bytes, err) ||
        !props_get_bool(p, "edid", &edid, err) || !props_get_bool(p, "blob", &blob, err))
        return false;
    if (blob)
        return error_set(err, HANOK_ERROR_UNSUPPORTED, "blob=on is not possible");
    if (outputs == 0 || outputs > 16)
        return error_set(err, HANOK_ERROR_INVALID, "max_outputs=%u: 1 to 16", outputs);
    if (outputs > 1)
        log_warning("device '%s': of max_outputs=%u screens one is there", cls->name, outputs);
    cfg->width = width;
    cfg->height = height;
    cfg->no_edid = !edid;
    return true;
}

bool create_virtio_gpu(struct machine *m, const struct device_class *cls, struct props *p,
                       GError **err)
{
    struct virtio_gpu_config cfg = {.width = 0};

    return gpu_read(m, cls, p, &cfg, err) && virtio_gpu_new(&cfg, err) != NULL;
}

/* ---- virtio-vga: both in one function ---- */

static void *vga_attach(void *opaque, struct pci_dev *fn, struct pci_bus *bus, GError **err)
{
    return vga_part_new(bus, fn, opaque, err);
}

static void vga_config_written(void *vga, unsigned off, unsigned size)
{
    vga_part_config_written(vga, off, size);
}

static void vga_bar_moved(void *vga, unsigned bar)
{
    vga_part_bar_moved(vga, bar);
}

static void vga_destroy(void *vga)
{
    vga_part_free(vga);
}

static const struct virtio_gpu_vga_ops vga_in_gpu = {
    .attach = vga_attach,
    .config_written = vga_config_written,
    .bar_moved = vga_bar_moved,
    .update = vga_update,
    .destroy = vga_destroy,
};

bool create_virtio_vga(struct machine *m, const struct device_class *cls, struct props *p,
                       GError **err)
{
    struct virtio_gpu_config cfg = {.vga = &vga_in_gpu};
    struct vga_config vga = {.req = &m->requests, .watched = m->cfg->vnc || m->cfg->window};
    uint32_t mib = 8;

    if (!gpu_read(m, cls, p, &cfg, err) || !props_get_u32(p, "vgamem_mb", &mib, err))
        return false;
    if (mib > 256)
        return error_set(err, HANOK_ERROR_INVALID, "vgamem_mb=%u: at most 256", mib);
    if (m->vga)
        return error_set(err, HANOK_ERROR_BUSY, "a machine has one VGA card");
    vga.vram_bytes = mib * (uint32_t)MiB;
    cfg.vga_opaque = &vga;
    struct device *d = virtio_gpu_new(&cfg, err);
    m->vga = d ? container_of(d, struct pci_dev, dev) : NULL;
    return d;
}

/* ---- ramfb ---- */

const struct prop_desc props_ramfb[] = {
    {"x-migrate", PROP_BOOL, "on", "accepted: a saved state has it"},
    {"use-legacy-x86-rom", PROP_BOOL, "on", "bring the BIOS's driver"},
    {NULL, PROP_STR, NULL, NULL},
};

/* OVMF has a driver of its own; a BIOS runs the one that is among the files of fw_cfg. */
static void ramfb_rom(struct machine *m)
{
    static const char *const file = "vgabios-ramfb.bin";
    g_autofree char *path = firmware_find(m->cfg, file, NULL), *data = NULL;
    gsize len = 0;

    if (path && g_file_get_contents(path, &data, &len, NULL))
        fw_cfg_add_file(m->fw_cfg, "vgaroms/vgabios-ramfb.bin", data, len);
    else
        log_warning("the BIOS driver of ramfb (%s, in the package seabios) is not installed", file);
}

bool create_ramfb(struct machine *m, const struct device_class *cls, struct props *p, GError **err)
{
    const char *id = NULL;
    bool rom = true;
    size_t len;

    if (!props_get_str(p, "id", &id, err) || !props_get_bool(p, "use-legacy-x86-rom", &rom, err))
        return false;
    if (fw_cfg_file(m->fw_cfg, "etc/ramfb", &len))
        return error_set(err, HANOK_ERROR_BUSY, "a machine has one ramfb");
    ramfb_new(&m->devices, m->fw_cfg, m->mem, id);
    if (rom && m->firmware)
        ramfb_rom(m);
    return true;
}

/* ---- virtio keyboard, mouse, tablet ---- */

const struct prop_desc props_virtio_input[] = {
    VIRTIO_COMMON,
    {"serial", PROP_STR, NULL, "serial number the guest sees"},
    {"wheel-axis", PROP_BOOL, "on", "accepted: a pointer has a wheel"},
    {NULL, PROP_STR, NULL, NULL},
};

bool create_virtio_input(struct machine *m, const struct device_class *cls, struct props *p,
                         GError **err)
{
    static const struct {
        const char *name;
        enum virtio_input_kind kind;
    } kinds[] = {{"virtio-keyboard-", VIRTIO_INPUT_KEYBOARD},
                 {"virtio-mouse-", VIRTIO_INPUT_MOUSE},
                 {"virtio-tablet-", VIRTIO_INPUT_TABLET}};
    struct virtio_input_config cfg = {.serial = NULL};

    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
        if (g_str_has_prefix(cls->name, kinds[i].name))
            cfg.kind = kinds[i].kind;
    return virtio_common_read(m, cls, p, &cfg.place, err) &&
           props_get_str(p, "serial", &cfg.serial, err) && virtio_input_new(&cfg, err) != NULL;
}
