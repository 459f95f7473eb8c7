/* fuzz_devices.c - the whole board under a guest made of noise: port and memory accesses of every
 * width, clock steps, the power button.  Nothing may crash or hang, and a reset brings it back. */
#include "fuzz_input.h"

#include "base/evloop.h"
#include "base/log.h"
#include "base/props.h"
#include "bus/io.h"
#include "machine/machine.h"
#include "mem/guest_mem.h"

#include <glib.h>
#include <stdlib.h>

enum { STEPS_MAX = 300 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Where chips answer; an access is somewhere in the 16 bytes from there. */
static const uint16_t ports[] = {0x00,  0x08,  0x20,  0x40,  0x60,  0x61,   0x64,   0x70,   0x72,
                                 0x80,  0x92,  0xa0,  0xb2,  0xc0,  0xd0,   0xe0,   0xe4,   0xe8,
                                 0xf4,  0x3f8, 0x4d0, 0x510, 0x514, 0x600,  0x608,  0x620,  0x630,
                                 0x660, 0x668, 0xcf8, 0xcf9, 0xcfc, 0x2000, 0x2010, 0xc000, 0xc100};
/* The same for memory: IOAPIC, HPET, RCBA, test memory, ECAM, where BARs usually are. */
static const uint64_t places[] = {0xfec00000, 0xfec00010, 0xfed00000, 0xfed00100, 0xfed1c000,
                                  0xfed1f000, 0xff000000, 0xff00fff8, 0xb0000000, 0xb00f8000,
                                  0xb0008000, 0xfee00000, 0xe0000000, 0xe0001000, 0xf0000000,
                                  0xc0000000, 0xa0000,    0x10000000};

static struct machine *board_make(const char *const *devices)
{
    struct vm_config *c = vm_config_new();
    GError *err = NULL;

    log_set_level(LOG_LEVEL_ERROR);
    c->accels = g_strdup("qtest");
    c->nodefaults = c->no_shutdown = true; /* a machine that has ended stays so */
    c->ram_bytes = 16 * MiB;
    g_ptr_array_add(c->serials, g_strdup("null"));
    for (; *devices; devices++) {
        struct props *p = props_parse(*devices, "driver", NULL);
        if (!p)
            abort();
        g_ptr_array_add(c->devices, p);
    }
    struct machine *m = machine_new(c, &err);
    if (!m) {
        log_error("%s", err->message);
        abort();
    }
    machine_run(m);
    return m;
}

/* What timers, requests and deferred work have in store, but not without end. */
static void board_pump(void)
{
    for (unsigned n = 0; n < 1000 && g_main_context_iteration(NULL, FALSE); n++)
        ;
}

/* Whatever has become of the machine, a reset brings it back. */
static void board_again(struct machine *m)
{
    board_pump();
    machine_reset(m, CAUSE_HOST_QMP_RESET);
    machine_run(m);
    if (machine_run_state(m) != RUN_RUNNING) {
        log_error("a reset leads to %s", run_state_name(machine_run_state(m)));
        abort();
    }
}

static unsigned width(uint64_t v)
{
    return 1u << (v & 3);
}

static void clock_step(struct machine *m, uint64_t ns)
{
    struct vm_clock *c = machine_clock(m);

    if (machine_run_state(m) != RUN_RUNNING)
        return;
    vm_clock_stop(c);
    vm_clock_set_ns(c, vm_clock_ns(c) + ns);
    vm_clock_start(c);
    board_pump();
}

static uint16_t port(struct input *in)
{
    uint8_t which = (uint8_t)take(in, 1), off = (uint8_t)take(in, 1);

    return which == 255 ? (uint16_t)take(in, 2) : ports[which % ARRAY_SIZE(ports)] + off % 16;
}

static uint64_t place(struct input *in)
{
    uint8_t which = (uint8_t)take(in, 1);
    uint64_t off = take(in, 2);

    return which == 255 ? take(in, 5) + off : places[which % ARRAY_SIZE(places)] + off % 0x1000;
}

static void step(struct machine *m, struct input *in)
{
    uint8_t op = (uint8_t)take(in, 1), w = op >> 4;
    uint32_t word;

    switch (op % 10) {
    case 0:
    case 1:
        io_space_write(machine_pio(m), port(in), MIN_OF(width(w), 4u), take(in, w & 8 ? 4 : 1));
        break;
    case 2:
        io_space_read(machine_pio(m), port(in), MIN_OF(width(w), 4u));
        break;
    case 3:
    case 4:
        io_space_write(machine_mmio(m), place(in), width(w), take(in, w & 8 ? 8 : 2));
        break;
    case 5:
        io_space_read(machine_mmio(m), place(in), width(w));
        break;
    case 6:
        clock_step(m, take(in, 2) << (w * 2));
        break;
    case 7:
        word = (uint32_t)take(in, 4);
        (void)!guest_mem_write(machine_mem(m), GPA(take(in, 3) % (16 * MiB)), &word, 4);
        break;
    case 8: /* CMOS, 8042 and friends: an index, then data */
        io_space_write(machine_pio(m), w & 1 ? 0x70 : 0x64, 1, take(in, 1));
        io_space_write(machine_pio(m), w & 1 ? 0x71 : 0x60, 1, take(in, 1));
        break;
    case 9:
        machine_powerdown(m);
        board_pump();
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct machine *m;
    struct input in = {data, size};

    if (!m)
        m = board_make((const char *const[]){"pc-testdev", "pci-testdev",
                                             "pcie-root-port,id=p1,chassis=1",
                                             "virtio-rng-pci,bus=p1", "virtio-balloon-pci", NULL});
    for (unsigned i = 0; i < STEPS_MAX && in.left; i++)
        step(m, &in);
    board_again(m);
    return 0;
}
