/* fuzz_virtio_gpu.c - virtio-gpu under a driver made of noise: commands near real ones, backing
 * anywhere, a viewer that looks and resizes. */
#include "fuzz_input.h"
#include "vt_gpu.h"

#include <stdlib.h>

enum { STEPS_MAX = 200 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct vt_gpu f;

static void pump(struct vt_bus *b)
{
    g_main_context_iteration(NULL, FALSE);
}

/* Small numbers mostly, so that ids and rectangles fit each other now and then. */
static uint32_t number(struct input *in)
{
    uint8_t kind = (uint8_t)take(in, 1);

    return kind < 200 ? kind & 63 : kind < 230 ? (uint32_t)take(in, 2) : (uint32_t)take(in, 4);
}

static void command(struct input *in)
{
    static const uint16_t types[] = {GPU_DISPLAY_INFO, GPU_CREATE,   GPU_UNREF,  GPU_SCANOUT,
                                     GPU_FLUSH,        GPU_TRANSFER, GPU_ATTACH, GPU_DETACH,
                                     GPU_EDID,         0x108,        0x200,      0x300};
    uint32_t word[40], type = types[take(in, 1) % ARRAY_SIZE(types)];
    unsigned words = (unsigned)take(in, 1) % ARRAY_SIZE(word);

    for (unsigned i = 0; i < words; i++)
        word[i] = number(in);
    if (type == GPU_ATTACH && words >= 6) { /* one piece of real memory */
        word[1] = 1 + word[1] % 9;
        word[2] = (uint32_t)f.pixels + word[2];
        word[3] = 0;
    }
    vt_gpu_command(&f, type, word, words);
}

static void step(struct input *in)
{
    uint8_t op = (uint8_t)take(in, 1);

    switch (op % 8) {
    case 0:
        console_refresh(console_first(), op & 8);
        break;
    case 1:
        console_wish_size(console_first(), number(in), number(in));
        break;
    case 2:
        vt_gpu_cursor(&f, op & 8 ? GPU_CURSOR_UPDATE : GPU_CURSOR_MOVE, number(in), number(in),
                      number(in));
        break;
    case 3:
        vt_cfg_write(&f.dev, number(in) & 0xfc, 4, number(in));
        break;
    default:
        command(in);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct virtio_gpu_config c = {.hostmem_bytes = 4 << 20};
    struct input in = {data, size};

    if (!f.board) {
        vt_gpu_set_up(&f, &c);
        f.bus->pump = pump;
    }
    for (unsigned i = 0; i < STEPS_MAX && in.left; i++)
        step(&in);
    /* whatever has happened, a reset brings it back; rings are made anew in the same memory */
    uint64_t mem = f.bus->next_mem, mmio = f.bus->next_mmio;
    static uint64_t first_mem, first_mmio;
    first_mem = first_mem ? first_mem : mem;
    first_mmio = first_mmio ? first_mmio : mmio;
    f.bus->next_mem = first_mem;
    f.bus->next_mmio = first_mmio;
    vt_reset(&f.dev);
    vt_gpu_start(&f);
    if (VT_GPU(&f, GPU_CREATE, 1, BGRX, 8, 8) != GPU_OK ||
        VT_GPU(&f, GPU_SCANOUT, 0, 0, 8, 8, 0, 1) != GPU_OK || vt_gpu_dot(7, 7) != 0)
        abort();
    return 0;
}
