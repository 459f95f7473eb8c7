/* fuzz_pflash.c - a flash chip under noise: commands, data, map changes, the way back to its image.
 */
#include "fuzz_input.h"

#include "base/props.h"
#include "block/block.h"
#include "devices/pflash.h"
#include "fixture.h"
#include "mem/layout.h"

#include <stdlib.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { BASE = 0xffc00000u, BYTES = 32 * 1024 };

static struct fixture *f;
static struct guest_mem *mem;

static void board_make(void)
{
    char path[] = "/tmp/hanok-fuzz-XXXXXX";
    int fd = mkstemp(path);
    struct pflash_config cfg = {.base = BASE, .name = "pflash0"};

    if (fd < 0 || ftruncate(fd, BYTES) != 0)
        abort();
    g_autofree char *text =
        g_strdup_printf("{\"driver\":\"raw\",\"node-name\":\"n\",\"file\":{\"driver\":\"file\","
                        "\"filename\":\"%s\"}}",
                        path);
    struct props *p = props_parse(text, NULL, NULL);
    cfg.node = blk_open(p, NULL);
    props_free(p);
    unlink(path);
    close(fd);
    f = fixture_new();
    mem = guest_mem_new();
    vm_clock_start(f->clock);
    if (!pflash_new(&f->devices, mem, f->mmio, f->clock, &f->req, &cfg, NULL))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, size};

    if (!f)
        board_make();
    for (unsigned n = 0; n < 500 && in.left; n++) {
        unsigned what = (unsigned)take(&in, 1), bytes = 1u << (what >> 1 & 3);
        uint64_t at = BASE + take(&in, 2) % (BYTES - 8);
        if (what & 1)
            io_space_write(f->mmio, at, bytes, take(&in, bytes));
        else
            io_space_read(f->mmio, at, bytes);
        if (what & 0x80)
            mem_layouts_apply(mem);
        if (what & 0x40)
            g_main_context_iteration(NULL, FALSE);
    }
    f->devices.first->ops->drain(f->devices.first);
    reset_all(f);
    mem_layouts_apply(mem);
    if (!guest_mem_find(mem, GPA(BASE)))
        abort();
    return 0;
}
