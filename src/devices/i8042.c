/* i8042.c - the keyboard controller: one output buffer fed by itself, the keyboard and the mouse.
 *
 * The buffer holds one byte; the guest's read of port 0x60 empties it and the next byte moves in,
 * which is a new edge on IRQ 1 or 12. */
#include "devices/i8042.h"

#include "base/error.h"
#include "base/util.h"
#include "bus/io.h"
#include "bus/irq.h"
#include "ps2.h"

#include <glib.h>

enum {
    STATUS_FULL = 0x01,
    STATUS_SYSTEM = 0x04,
    STATUS_COMMAND = 0x08,
    STATUS_UNLOCKED = 0x10,
    STATUS_AUX = 0x20
};
enum {
    MODE_KBD_IRQ = 0x01,
    MODE_AUX_IRQ = 0x02,
    MODE_SYSTEM = 0x04,
    MODE_KBD_OFF = 0x10,
    MODE_AUX_OFF = 0x20,
    MODE_TRANSLATE = 0x40
};
enum { OUT_NOT_RESET = 0x01, OUT_A20 = 0x02, OUT_KBD_FULL = 0x10, OUT_AUX_FULL = 0x20 };

/* What firmware leaves: keyboard interrupt, passed self test, translation; mouse port closed. */
#define MODE_DEFAULT (MODE_KBD_IRQ | MODE_SYSTEM | MODE_AUX_OFF | MODE_TRANSLATE)

struct i8042 {
    struct device dev; /* first */
    struct io_region data_port, command_port;
    struct irq_line kbd_irq, aux_irq;
    const struct board_requests *req;
    /* board lock */
    uint8_t ram[32]; /* byte 0 is the command byte ("mode") */
    uint8_t command; /* waits for its data byte at 0x60; 0 = none */
    uint8_t output_port;
    bool last_was_command;
    bool full, full_aux; /* the output buffer */
    uint8_t buffer;
    struct ps2_queue reply; /* the controller's own answers, not yet in the buffer */
    bool release_seen;      /* translation: F0 has been swallowed */
    struct ps2_kbd kbd;
    struct ps2_mouse mouse;
};

static void irq_update(struct i8042 *k)
{
    irq_set(&k->kbd_irq, k->full && !k->full_aux && (k->ram[0] & MODE_KBD_IRQ));
    irq_set(&k->aux_irq, k->full && k->full_aux && (k->ram[0] & MODE_AUX_IRQ));
}

static void buffer_fill(struct i8042 *k, uint8_t byte, bool aux)
{
    k->full = true;
    k->full_aux = aux;
    k->buffer = byte;
}

/* One keyboard byte through the translation; false when it was the release prefix. */
static bool kbd_translate(struct i8042 *k, uint8_t *byte)
{
    if (!(k->ram[0] & MODE_TRANSLATE))
        return true;
    if (*byte == 0xf0) {
        k->release_seen = true;
        return false;
    }
    *byte = ps2_translate(*byte) | (k->release_seen ? 0x80 : 0);
    k->release_seen = false;
    return true;
}

/* Moves the next waiting byte into an empty buffer. */
static void buffer_next(struct i8042 *k)
{
    int byte;

    if (!k->full && (byte = ps2_queue_get(&k->reply)) >= 0)
        buffer_fill(k, byte, false);
    while (!k->full && !(k->ram[0] & MODE_KBD_OFF) && (byte = ps2_queue_get(&k->kbd.out)) >= 0) {
        uint8_t code = byte;
        if (kbd_translate(k, &code))
            buffer_fill(k, code, false);
    }
    if (!k->mouse.out.count)
        ps2_mouse_flush(&k->mouse); /* what had no room before */
    if (!k->full && !(k->ram[0] & MODE_AUX_OFF) && (byte = ps2_queue_get(&k->mouse.out)) >= 0)
        buffer_fill(k, byte, true);
    irq_update(k);
}

static void reply(struct i8042 *k, uint8_t byte)
{
    ps2_queue_put(&k->reply, byte);
}

static void a20_set(struct i8042 *k, bool on)
{
    k->output_port = on ? k->output_port | OUT_A20 : k->output_port & ~OUT_A20;
    if (k->req->a20)
        k->req->a20(k->req->opaque, on);
}

static void output_port_write(struct i8042 *k, uint8_t val)
{
    k->output_port = val;
    a20_set(k, val & OUT_A20);
    if (!(val & OUT_NOT_RESET))
        k->req->reset(k->req->opaque, BOARD_RESET_KBC);
}

static uint8_t output_port_read(const struct i8042 *k)
{
    return (k->output_port & ~(OUT_KBD_FULL | OUT_AUX_FULL)) |
           (k->full ? (k->full_aux ? OUT_AUX_FULL : OUT_KBD_FULL) : 0);
}

/* Commands that take no data byte. */
static void command_run(struct i8042 *k, uint8_t cmd)
{
    switch (cmd) {
    case 0x20 ... 0x3f:
        reply(k, k->ram[cmd & 0x1f]);
        break;
    case 0xa7:
    case 0xa8:
        k->ram[0] = (k->ram[0] & ~MODE_AUX_OFF) | (cmd == 0xa7 ? MODE_AUX_OFF : 0);
        break;
    case 0xa9: /* mouse and keyboard interface tests: no line stuck */
    case 0xab:
        reply(k, 0x00);
        break;
    case 0xaa: /* self test: as after power-up, but the system flag is set */
        k->ram[0] |= MODE_SYSTEM | MODE_KBD_OFF | MODE_AUX_OFF;
        reply(k, 0x55);
        break;
    case 0xad:
    case 0xae:
        k->ram[0] = (k->ram[0] & ~MODE_KBD_OFF) | (cmd == 0xad ? MODE_KBD_OFF : 0);
        break;
    case 0xc0: /* input port: keyboard not locked, nothing else connected */
        reply(k, 0x80);
        break;
    case 0xd0:
        reply(k, output_port_read(k));
        break;
    case 0xdd:
    case 0xdf:
        a20_set(k, cmd == 0xdf);
        break;
    case 0xf0 ... 0xff: /* pulse output lines whose bit is 0; line 0 resets the machine */
        if (!(cmd & 1))
            k->req->reset(k->req->opaque, BOARD_RESET_KBC);
        break;
    }
}

static void command_write(struct io_region *r, uint64_t off, unsigned size, uint64_t val)
{
    struct i8042 *k = container_of(r, struct i8042, command_port);

    k->last_was_command = true;
    k->command = 0;
    if ((val >= 0x60 && val <= 0x7f) || (val >= 0xd1 && val <= 0xd4))
        k->command = val;
    else
        command_run(k, val);
    buffer_next(k);
}

static uint64_t status_read(struct io_region *r, uint64_t off, unsigned size)
{
    struct i8042 *k = container_of(r, struct i8042, command_port);

    return STATUS_UNLOCKED | (k->full ? STATUS_FULL : 0) |
           (k->full && k->full_aux ? STATUS_AUX : 0) |
           (k->ram[0] & MODE_SYSTEM ? STATUS_SYSTEM : 0) |
           (k->last_was_command ? STATUS_COMMAND : 0);
}

/* The data byte of the command that waits for one. */
static void command_data(struct i8042 *k, uint8_t val)
{
    uint8_t cmd = k->command;

    k->command = 0;
    switch (cmd) {
    case 0x60 ... 0x7f:
        k->ram[cmd & 0x1f] = val;
        break;
    case 0xd1:
        output_port_write(k, val);
        break;
    case 0xd2: /* as if the keyboard had sent it: replaces what is in the buffer */
    case 0xd3: /* as if the mouse had */
        k->full = false;
        irq_update(k);
        buffer_fill(k, val, cmd == 0xd3);
        break;
    case 0xd4:
        ps2_mouse_write(&k->mouse, val);
        k->ram[0] &= ~MODE_AUX_OFF;
        break;
    }
}

static void data_write(struct io_region *r, uint64_t off, unsigned size, uint64_t val)
{
    struct i8042 *k = container_of(r, struct i8042, data_port);

    k->last_was_command = false;
    if (k->command) {
        command_data(k, val);
    } else {
        ps2_kbd_write(&k->kbd, val);
        k->ram[0] &= ~MODE_KBD_OFF; /* sending opens the interface */
    }
    buffer_next(k);
}

static uint64_t data_read(struct io_region *r, uint64_t off, unsigned size)
{
    struct i8042 *k = container_of(r, struct i8042, data_port);
    uint8_t byte = k->buffer;

    k->full = false;
    irq_update(k);
    buffer_next(k);
    return byte;
}

static const struct io_ops data_ops = {data_read, data_write, 1, 1};
static const struct io_ops command_ops = {status_read, command_write, 1, 1};

void i8042_key(struct i8042 *k, uint8_t set2_code, bool extended, bool down)
{
    pthread_mutex_lock(&k->dev.list->lock);
    ps2_kbd_key(&k->kbd, set2_code, extended, down);
    buffer_next(k);
    pthread_mutex_unlock(&k->dev.list->lock);
}

void i8042_mouse(struct i8042 *k, int dx, int dy, int dz, uint8_t buttons)
{
    pthread_mutex_lock(&k->dev.list->lock);
    if (dx || dy || dz)
        ps2_mouse_move(&k->mouse, dx, dy, dz);
    ps2_mouse_buttons(&k->mouse, buttons);
    buffer_next(k);
    pthread_mutex_unlock(&k->dev.list->lock);
}

static void i8042_reset(struct device *d)
{
    struct i8042 *k = container_of(d, struct i8042, dev);

    memset(k->ram, 0, sizeof(k->ram));
    k->ram[0] = MODE_DEFAULT;
    k->command = 0;
    k->output_port = OUT_NOT_RESET;
    k->last_was_command = true;
    k->full = k->full_aux = k->release_seen = false;
    k->buffer = 0;
    k->reply = (struct ps2_queue){0};
    ps2_kbd_reset(&k->kbd);
    ps2_mouse_reset(&k->mouse);
    a20_set(k, true);
    irq_update(k);
}

static bool i8042_post_load(void *obj, uint32_t version, GError **err)
{
    struct i8042 *k = obj;

    if (!ps2_queue_valid(&k->reply) || !ps2_queue_valid(&k->kbd.out) ||
        !ps2_queue_valid(&k->mouse.out) || k->mouse.knocked > 2)
        return error_set(err, HANOK_ERROR_CORRUPT,
                         "The saved state of the keyboard controller has an impossible queue.");
    irq_update(k);
    return true;
}

static const struct state_field i8042_fields[] = {
    STATE_BYTES(struct i8042, ram),
    STATE_U8(struct i8042, command),
    STATE_U8(struct i8042, output_port),
    STATE_BOOL(struct i8042, last_was_command),
    STATE_BOOL(struct i8042, full),
    STATE_BOOL(struct i8042, full_aux),
    STATE_U8(struct i8042, buffer),
    STATE_STRUCT(struct i8042, reply, ps2_queue_state),
    STATE_BOOL(struct i8042, release_seen),
    STATE_STRUCT(struct i8042, kbd, ps2_kbd_state),
    STATE_STRUCT(struct i8042, mouse, ps2_mouse_state),
    STATE_END,
};
static const struct state_desc i8042_state = {
    .name = "i8042", .version = 1, .fields = i8042_fields, .post_load = i8042_post_load};

static void i8042_destroy(struct device *d)
{
    struct i8042 *k = container_of(d, struct i8042, dev);

    device_remove(d->list, d);
    g_free(k);
}

static const struct device_ops i8042_device_ops = {
    .type = "i8042", .reset = i8042_reset, .destroy = i8042_destroy, .state = &i8042_state};

struct i8042 *i8042_new(struct device_list *devices, struct io_space *pio, struct irqchip *irqchip,
                        const struct board_requests *req)
{
    struct i8042 *k = g_new0(struct i8042, 1);

    k->req = req;
    irq_connect(&k->kbd_irq, irqchip, 1);
    irq_connect(&k->aux_irq, irqchip, 12);
    k->data_port = (struct io_region){
        .ops = &data_ops, .name = "i8042-data", .size_bytes = 1, .lock = &devices->lock};
    k->command_port = (struct io_region){
        .ops = &command_ops, .name = "i8042-command", .size_bytes = 1, .lock = &devices->lock};
    device_add(devices, &k->dev, &i8042_device_ops, NULL, "i8042");
    i8042_reset(&k->dev);
    io_space_add(pio, &k->data_port, 0x60);
    io_space_add(pio, &k->command_port, 0x64);
    return k;
}
