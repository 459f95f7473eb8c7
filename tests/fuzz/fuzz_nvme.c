/* fuzz_nvme.c - the NVMe controller under a driver made of noise: registers, queue entries, lists.
 */
#include "fuzz_input.h"

#include "nvme_drv.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct nd d;

/* Nothing here works in another thread or in the kernel: no reason to wait. */
static void pump(struct vt_bus *b)
{
    g_main_context_iteration(NULL, FALSE);
}

/* A command near what drivers send, so that most get past the first checks. */
static void command(struct input *in)
{
    unsigned qid = take(in, 1) % ND_QUEUES;
    static const uint8_t opcodes[] = {0, 1, 2, 4, 5, 6, 8, 9, 10, 12};
    uint8_t op = (uint8_t)take(in, 1);
    uint64_t prp[2];
    uint32_t dw[6];

    for (int i = 0; i < 2; i++) {
        uint32_t v = (uint32_t)take(in, 3);
        prp[i] = v & 1 ? d.data + (v & 0xffffe) : v & 2 ? d.list + (v & 0x1ff8) : v << 4;
        if (take(in, 1) & 1)
            prp[i] &= ~4095ull;
    }
    for (int i = 0; i < 6; i++)
        dw[i] = (uint32_t)take(in, take(in, 1) & 1 ? 4 : 1);
    if (op & 0x80) /* a queue that exists */
        dw[0] = (dw[0] & 3) | (ND_SIZE - 1) << 16;
    nd_put(&d, qid, op & 0x40 ? op : opcodes[op % ARRAY_SIZE(opcodes)], op & 0x20 ? dw[5] : 1,
           prp[0], prp[1], dw);
    nd_doorbell(&d, qid, false, d.q[qid].tail);
}

static void step(struct input *in)
{
    static const unsigned regs[] = {0x0c, 0x10, 0x14, 0x1c, 0x24, 0x28, 0x2c, 0x30, 0x34};

    switch (take(in, 1) % 10) {
    case 0:
        nd_reg_set(&d, regs[take(in, 1) % ARRAY_SIZE(regs)], take(in, 4));
        break;
    case 1:
        nd_reg_set(&d, 0x1000 + ((unsigned)take(in, 2) & 0x3fc), take(in, 2));
        break;
    case 2:
        vt_put(d.bus, d.list + (take(in, 2) & 0x1ff8), take(in, 4) << (take(in, 1) & 12), 8);
        break;
    case 3:
        nd_reg(&d, (unsigned)take(in, 2) & 0x1ffc);
        break;
    case 4:
        nd_doorbell(&d, (unsigned)take(in, 1) % ND_QUEUES, true, (uint32_t)take(in, 1) % ND_SIZE);
        break;
    case 5:
        nvme_resized(&d.pci->dev);
        break;
    default:
        command(in);
    }
    vt_pump(d.bus, 2);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, size};

    if (!d.board) {
        nd_up(&d, "{\"driver\":\"null-co\",\"size\":4194304,\"node-name\":\"n%.0s\"}", NULL);
        d.bus->pump = pump;
    }
    nd_start(&d);
    for (unsigned n = 0; n < 300 && in.left; n++)
        step(&in);
    vt_board_pause(d.board);
    vt_board_resume(d.board);
    /* whatever has happened, a reset brings it back */
    nd_disable(&d);
    nd_start(&d);
    if (nd_io(&d, 2, 0, 8, d.data, 0) != 0)
        abort();
    nd_disable(&d);
    return 0;
}
