/* registry_display.c - graphics cards as users write them, and the board's own keyboard and mouse.
 */
#include "registry.h"

#include "base/error.h"
#include "base/util.h"
#include "devices/i8042.h"
#include "devices/vga.h"
#include "display/input.h"

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
    {"edid", PROP_BOOL, "on", "accepted: there is no EDID"},
    {"xres", PROP_U32, NULL, "accepted"},
    {"yres", PROP_U32, NULL, "accepted"},
    {NULL, PROP_STR, NULL, NULL},
};

bool create_vga(struct machine *m, const struct device_class *cls, struct props *p, GError **err)
{
    struct vga_config cfg = {.req = &m->requests, .watched = m->cfg->vnc != NULL};
    struct device_place place;
    uint32_t mib = 16;

    if (!device_place_read(m, p, &place, err) || !props_get_u32(p, "vgamem_mb", &mib, err))
        return false;
    if (mib > 256)
        return error_set(err, HANOK_ERROR_INVALID, "vgamem_mb=%u: at most 256", mib);
    if (m->vga)
        return error_set(err, HANOK_ERROR_BUSY, "a machine has one VGA card");
    cfg.id = place.id;
    cfg.multifunction = place.multifunction;
    cfg.vram_bytes = mib * (uint32_t)MiB;
    m->vga = vga_new(place.bus, place.devfn, &cfg, err);
    return m->vga != NULL;
}
