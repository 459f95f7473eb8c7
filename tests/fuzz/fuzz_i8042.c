/* fuzz_i8042.c - the keyboard controller between a guest made of noise and a host that types and
 * moves: commands, data, reads of every width, time, resets, states saved and loaded again. */
#include "fuzz_input.h"

#include "devices/i8042.h"
#include "fixture.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { STEPS_MAX = 1000 };

static struct fixture *f;
static struct i8042 *k;

static void save_and_load(void)
{
    struct state_writer *w = state_writer_new();
    struct state_reader *r;
    size_t len;

    device_list_save(&f->devices, w);
    const uint8_t *bytes = state_writer_data(w, &len);
    r = state_reader_new(bytes, len, NULL);
    if (!r || !device_list_load(&f->devices, r, NULL))
        abort(); /* what it saves it must load */
    state_reader_free(r);
    state_writer_free(w);
}

/* A saved state with one byte changed: taken or refused. */
static void load_damaged(size_t at, uint8_t value)
{
    struct state_writer *w = state_writer_new();
    struct state_reader *r;
    size_t len;

    device_list_save(&f->devices, w);
    const uint8_t *bytes = state_writer_data(w, &len);
    g_autofree uint8_t *copy = g_memdup2(bytes, len);
    copy[at % len] = value;
    r = state_reader_new(copy, len, NULL);
    if (r && !device_list_load(&f->devices, r, NULL))
        device_list_reset(&f->devices);
    state_reader_free(r);
    state_writer_free(w);
}

static void step(struct input *in)
{
    unsigned op = (unsigned)take(in, 1), bytes = 1u << (op >> 4 & 1);
    uint16_t port = op & 0x80 ? 0x64 : 0x60;
    uint8_t a = (uint8_t)take(in, 1);

    switch (op % 8) {
    case 0:
    case 1:
        io_space_write(f->pio, port, bytes, a);
        break;
    case 2:
    case 3:
        io_space_read(f->pio, port, bytes);
        break;
    case 4:
        i8042_key(k, a, op & 0x40, op & 0x20);
        break;
    case 5:
        i8042_mouse(k, (int8_t)a * (op & 0x40 ? 100 : 1), (int8_t)take(in, 1), (int8_t)take(in, 1),
                    (uint8_t)op >> 5);
        break;
    case 6:
        vm_clock_set_ns(f->clock, vm_clock_ns(f->clock) + a * 1000000ull);
        g_main_context_iteration(NULL, FALSE);
        break;
    default:
        if (op & 0x40)
            load_damaged(a | (size_t)take(in, 1) << 8, (uint8_t)take(in, 1));
        else
            save_and_load();
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, size};

    if (!f) {
        f = fixture_new();
        k = i8042_new(&f->devices, f->pio, &f->chip, &f->req);
    }
    for (unsigned n = 0; n < STEPS_MAX && in.left; n++)
        step(&in);
    device_list_reset(&f->devices);
    outb(f, 0x64, 0xaa); /* its self-test answers whatever was before */
    if (inb(f, 0x60) != 0x55)
        abort();
    device_list_reset(&f->devices);
    return 0;
}
