/* ps2.c - PS/2 keyboard (102 keys, scan code sets 1 and 2) and standard mouse. */
#include "ps2.h"

#include "base/util.h"

enum { ACK = 0xfa, RESEND = 0xfe, SELF_TEST_PASSED = 0xaa, ECHO = 0xee };
enum { RELEASE_PREFIX = 0xf0, EXTENDED_PREFIX = 0xe0 };

bool ps2_queue_put(struct ps2_queue *q, uint8_t byte)
{
    if (q->count == PS2_QUEUE_BYTES)
        return false;
    q->data[(q->head + q->count++) % PS2_QUEUE_BYTES] = byte;
    return true;
}

int ps2_queue_get(struct ps2_queue *q)
{
    uint8_t byte = q->data[q->head];

    if (!q->count)
        return -1;
    q->head = (q->head + 1) % PS2_QUEUE_BYTES;
    q->count--;
    return byte;
}

bool ps2_queue_valid(const struct ps2_queue *q)
{
    return q->head < PS2_QUEUE_BYTES && q->count <= PS2_QUEUE_BYTES;
}

/* Indexed by set 2 code; 0x80 and above pass unchanged but for 0x83 (F7) and 0x84 (SysRq). */
static const uint8_t set2_to_set1[128] = {
    0xff, 0x43, 0x41, 0x3f, 0x3d, 0x3b, 0x3c, 0x58, 0x64, 0x44, 0x42, 0x40, 0x3e, 0x0f, 0x29, 0x59,
    0x65, 0x38, 0x2a, 0x70, 0x1d, 0x10, 0x02, 0x5a, 0x66, 0x71, 0x2c, 0x1f, 0x1e, 0x11, 0x03, 0x5b,
    0x67, 0x2e, 0x2d, 0x20, 0x12, 0x05, 0x04, 0x5c, 0x68, 0x39, 0x2f, 0x21, 0x14, 0x13, 0x06, 0x5d,
    0x69, 0x31, 0x30, 0x23, 0x22, 0x15, 0x07, 0x5e, 0x6a, 0x72, 0x32, 0x24, 0x16, 0x08, 0x09, 0x5f,
    0x6b, 0x33, 0x25, 0x17, 0x18, 0x0b, 0x0a, 0x60, 0x6c, 0x34, 0x35, 0x26, 0x27, 0x19, 0x0c, 0x61,
    0x6d, 0x73, 0x28, 0x74, 0x1a, 0x0d, 0x62, 0x6e, 0x3a, 0x36, 0x1c, 0x1b, 0x75, 0x2b, 0x63, 0x76,
    0x55, 0x56, 0x77, 0x78, 0x79, 0x7a, 0x0e, 0x7b, 0x7c, 0x4f, 0x7d, 0x4b, 0x47, 0x7e, 0x7f, 0x6f,
    0x52, 0x53, 0x50, 0x4c, 0x4d, 0x48, 0x01, 0x45, 0x57, 0x4e, 0x51, 0x4a, 0x37, 0x49, 0x46, 0x54,
};

uint8_t ps2_translate(uint8_t code)
{
    if (code < 0x80)
        return set2_to_set1[code];
    return code == 0x83 ? 0x41 : code == 0x84 ? 0x54 : code;
}

/* ---- keyboard ---- */

static void kbd_send(struct ps2_kbd *k, uint8_t byte)
{
    if (ps2_queue_put(&k->out, byte))
        k->last_sent = byte;
}

static void kbd_defaults(struct ps2_kbd *k)
{
    k->command = 0;
    k->rate = 0x2b; /* 10.9 characters a second after 500 ms */
    k->scan_set = 2;
    k->scanning = true;
}

void ps2_kbd_reset(struct ps2_kbd *k)
{
    *k = (struct ps2_kbd){0};
    kbd_defaults(k);
}

static void kbd_parameter(struct ps2_kbd *k, uint8_t byte)
{
    uint8_t command = k->command;

    k->command = 0;
    switch (command) {
    case 0xed:
        k->leds = byte & 7;
        kbd_send(k, ACK);
        break;
    case 0xf0:
        if (byte > 2) { /* set 3 is optional, and not here */
            kbd_send(k, RESEND);
            break;
        }
        kbd_send(k, ACK);
        if (byte == 0)
            kbd_send(k, k->scan_set);
        else
            k->scan_set = byte;
        break;
    case 0xf3:
        k->rate = byte & 0x7f;
        kbd_send(k, ACK);
        break;
    }
}

void ps2_kbd_write(struct ps2_kbd *k, uint8_t byte)
{
    if (k->command && byte < 0x80) {
        kbd_parameter(k, byte);
        return;
    }
    k->command = 0;
    switch (byte) {
    case 0xed: /* LEDs */
    case 0xf0: /* scan code set */
    case 0xf3: /* typematic rate */
        k->command = byte;
        kbd_send(k, ACK);
        break;
    case 0xee:
        kbd_send(k, ECHO);
        break;
    case 0xf2: /* identify: an MF2 keyboard */
        kbd_send(k, ACK);
        kbd_send(k, 0xab);
        kbd_send(k, 0x83);
        break;
    case 0xf4: /* enable; drops what waits, as the keyboard clears its buffer */
        k->out.count = 0;
        k->scanning = true;
        kbd_send(k, ACK);
        break;
    case 0xf5:
        k->out.count = 0;
        kbd_defaults(k);
        k->scanning = false;
        kbd_send(k, ACK);
        break;
    case 0xf6:
        kbd_defaults(k);
        kbd_send(k, ACK);
        break;
    case 0xfe:
        kbd_send(k, k->last_sent);
        break;
    case 0xff:
        ps2_kbd_reset(k);
        kbd_send(k, ACK);
        kbd_send(k, SELF_TEST_PASSED);
        break;
    default:
        kbd_send(k, RESEND);
    }
}

void ps2_kbd_key(struct ps2_kbd *k, uint8_t set2_code, bool extended, bool down)
{
    uint8_t code = set2_code;

    /* Whole sequences only: half a key confuses every driver. */
    if (!k->scanning || k->out.count + 3 > PS2_QUEUE_BYTES)
        return;
    if (extended)
        kbd_send(k, EXTENDED_PREFIX);
    if (k->scan_set == 1)
        code = ps2_translate(set2_code) | (down ? 0 : 0x80);
    else if (!down)
        kbd_send(k, RELEASE_PREFIX);
    kbd_send(k, code);
}

/* ---- mouse ---- */

static void mouse_send(struct ps2_mouse *m, uint8_t byte)
{
    if (ps2_queue_put(&m->out, byte))
        m->last_sent = byte;
}

static void mouse_defaults(struct ps2_mouse *m)
{
    m->command = 0;
    m->resolution = 2;
    m->rate = 100;
    m->reporting = m->remote = m->scale_2to1 = false;
}

void ps2_mouse_reset(struct ps2_mouse *m)
{
    *m = (struct ps2_mouse){0};
    mouse_defaults(m);
}

static void mouse_status(struct ps2_mouse *m)
{
    mouse_send(m, m->remote << 6 | m->reporting << 5 | m->scale_2to1 << 4);
    mouse_send(m, m->resolution);
    mouse_send(m, m->rate);
}

static int clamp(int v, int least, int most)
{
    return v < least ? least : v > most ? most : v;
}

/* What a packet cannot hold stays for the next one. */
static void mouse_packet(struct ps2_mouse *m)
{
    int dx = clamp(m->dx, -255, 255), dy = clamp(-m->dy, -255, 255), dz = clamp(m->dz, -8, 7);

    mouse_send(m, (uint8_t)(0x08 | m->buttons | (dx < 0 ? 0x10 : 0) | (dy < 0 ? 0x20 : 0)));
    mouse_send(m, (uint8_t)dx);
    mouse_send(m, (uint8_t)dy);
    if (m->wheel)
        mouse_send(m, (uint8_t)dz);
    m->dx = (int16_t)(m->dx - dx);
    m->dy = (int16_t)(m->dy + dy);
    m->dz = (int16_t)(m->wheel ? m->dz - dz : 0);
    m->news = false;
}

void ps2_mouse_flush(struct ps2_mouse *m)
{
    if (m->news && m->reporting && !m->remote && m->out.count + 4 <= PS2_QUEUE_BYTES)
        mouse_packet(m);
}

void ps2_mouse_move(struct ps2_mouse *m, int dx, int dy, int dz)
{
    m->dx = (int16_t)clamp(m->dx + clamp(dx, -4096, 4096), -8192, 8191);
    m->dy = (int16_t)clamp(m->dy + clamp(dy, -4096, 4096), -8192, 8191);
    m->dz = (int16_t)clamp(m->dz + clamp(dz, -64, 64), -64, 64);
    m->news = true;
    ps2_mouse_flush(m);
}

void ps2_mouse_buttons(struct ps2_mouse *m, uint8_t buttons)
{
    m->news |= m->buttons != (buttons & 7);
    m->buttons = buttons & 7;
    ps2_mouse_flush(m);
}

/* Rates 200, 100, 80 in a row ask for the wheel. */
static void mouse_rate(struct ps2_mouse *m, uint8_t rate)
{
    static const uint8_t knock[] = {200, 100, 80};

    m->rate = rate;
    m->knocked = rate == knock[m->knocked] ? m->knocked + 1 : rate == knock[0];
    if (m->knocked == sizeof(knock)) {
        m->wheel = true;
        m->knocked = 0;
    }
}

static void mouse_command(struct ps2_mouse *m, uint8_t byte)
{
    mouse_send(m, ACK);
    switch (byte) {
    case 0xe6:
    case 0xe7:
        m->scale_2to1 = byte == 0xe7;
        break;
    case 0xe8: /* resolution, rate: parameter follows */
    case 0xf3:
        m->command = byte;
        break;
    case 0xe9:
        mouse_status(m);
        break;
    case 0xea:
        m->remote = false;
        break;
    case 0xeb: /* read data */
        mouse_packet(m);
        break;
    case 0xee:
        m->wrap = true;
        break;
    case 0xf0:
        m->remote = true;
        break;
    case 0xf2:
        mouse_send(m, m->wheel ? 0x03 : 0x00); /* standard mouse, or one with a wheel */
        break;
    case 0xf4:
    case 0xf5:
        m->reporting = byte == 0xf4;
        break;
    case 0xf6:
        mouse_defaults(m);
        break;
    }
}

void ps2_mouse_write(struct ps2_mouse *m, uint8_t byte)
{
    if (m->command) {
        if (m->command == 0xe8)
            m->resolution = byte & 3;
        else
            mouse_rate(m, byte);
        m->command = 0;
        mouse_send(m, ACK);
        return;
    }
    if (m->wrap && byte != 0xff && byte != 0xec) {
        mouse_send(m, byte);
        return;
    }
    switch (byte) {
    case 0xec:
        m->wrap = false;
        mouse_send(m, ACK);
        break;
    case 0xfe:
        mouse_send(m, m->last_sent);
        break;
    case 0xff:
        ps2_mouse_reset(m);
        mouse_send(m, ACK);
        mouse_send(m, SELF_TEST_PASSED);
        mouse_send(m, 0x00);
        break;
    case 0xe6 ... 0xeb:
    case 0xee:
    case 0xf0:
    case 0xf2 ... 0xf6:
        mouse_command(m, byte);
        break;
    default:
        mouse_send(m, RESEND);
    }
}

static const struct state_field queue_fields[] = {
    STATE_BYTES(struct ps2_queue, data),
    STATE_U8(struct ps2_queue, head),
    STATE_U8(struct ps2_queue, count),
    STATE_END,
};
const struct state_desc ps2_queue_state = {
    .name = "ps2-queue", .version = 1, .fields = queue_fields};

static const struct state_field kbd_fields[] = {
    STATE_STRUCT(struct ps2_kbd, out, ps2_queue_state),
    STATE_U8(struct ps2_kbd, command),
    STATE_U8(struct ps2_kbd, leds),
    STATE_U8(struct ps2_kbd, rate),
    STATE_U8(struct ps2_kbd, scan_set),
    STATE_U8(struct ps2_kbd, last_sent),
    STATE_BOOL(struct ps2_kbd, scanning),
    STATE_END,
};
const struct state_desc ps2_kbd_state = {.name = "ps2-kbd", .version = 1, .fields = kbd_fields};

static const struct state_field mouse_fields[] = {
    STATE_STRUCT(struct ps2_mouse, out, ps2_queue_state),
    STATE_U8(struct ps2_mouse, command),
    STATE_U8(struct ps2_mouse, resolution),
    STATE_U8(struct ps2_mouse, rate),
    STATE_U8(struct ps2_mouse, last_sent),
    STATE_BOOL(struct ps2_mouse, reporting),
    STATE_BOOL(struct ps2_mouse, remote),
    STATE_BOOL(struct ps2_mouse, scale_2to1),
    STATE_BOOL(struct ps2_mouse, wrap),
    STATE_U16(struct ps2_mouse, dx),
    STATE_U16(struct ps2_mouse, dy),
    STATE_U16(struct ps2_mouse, dz),
    STATE_U8(struct ps2_mouse, buttons),
    STATE_BOOL(struct ps2_mouse, wheel),
    STATE_BOOL(struct ps2_mouse, news),
    STATE_U8(struct ps2_mouse, knocked),
    STATE_END,
};
const struct state_desc ps2_mouse_state = {
    .name = "ps2-mouse", .version = 1, .fields = mouse_fields};
