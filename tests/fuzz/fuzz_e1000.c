/* fuzz_e1000.c - both Intel cards under a driver made of noise: registers, descriptors, frames,
 * looped back to themselves or out into a network that goes nowhere. */
#include "fuzz_input.h"

#include "vt_nic.h"

#include <stdlib.h>

enum { STEPS_MAX = 200 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void pump(struct vt_bus *b)
{
    for (unsigned i = 0; i < 4; i++)
        g_main_context_iteration(NULL, FALSE);
}

/* Near what drivers write, so that most get past the first checks. */
static void descriptor(struct nic *n, struct input *in)
{
    static const uint32_t commands[] = {0x0b, 0x2b, 0x2f, 0x20, 0x27, 0x6b, 0x4f, 0x00};
    uint8_t kind = (uint8_t)take(in, 1);
    uint32_t type = kind & 8 ? 1u << 20 : 0, len = (uint32_t)take(in, 2);
    uint64_t addr = kind & 16 ? take(in, 8) : n->tx_mem + (take(in, 2) & 0xfff);

    tx_put(n, addr, (len & (kind & 32 ? 0xfffff : 0x7ff)) | type | commands[kind & 7] << 24,
           (uint32_t)take(in, 4));
}

static void step(struct nic *n, struct input *in)
{
    static const uint16_t regs[] = {CTRL,         CTRL_EXT,     MDIC,  ICS,    IMS,  IMC,    RCTL,
                                    TCTL,         PSRCTL,       RFCTL, RXCSUM, MRQC, TDBAL,  RDBAL,
                                    TDBAL + LEN,  RDBAL + LEN,  EECD,  EERD,   IVAR, EIAC,   IAM,
                                    TDBAL + TAIL, RDBAL + TAIL, RAL,   VFTA,   RETA, 0x5818, ITR};
    uint8_t op = (uint8_t)take(in, 1);
    uint8_t bytes[64];

    switch (op % 8) {
    case 0:
        wr(n, (unsigned)take(in, 3) & 0x1fffc, (uint32_t)take(in, 4));
        break;
    case 1:
        rd(n, (unsigned)take(in, 3) & 0x1fffc);
        break;
    case 2:
        wr(n, regs[take(in, 1) % ARRAY_SIZE(regs)], (uint32_t)take(in, 4));
        break;
    case 3: /* what is sent */
        for (size_t i = 0; i < sizeof(bytes); i++)
            bytes[i] = (uint8_t)take(in, 1);
        n->bus->mem_write(n->bus, n->tx_mem + (take(in, 1) & 0x3f), bytes, sizeof(bytes));
        break;
    case 4: /* a receive descriptor */
        vt_put(n->bus, n->rx_ring + (take(in, 2) & 0xf8), take(in, 8), 8);
        break;
    case 5:
        ip_make(bytes, 10, op & 8, op & 16);
        n->bus->mem_write(n->bus, n->tx_mem, bytes, sizeof(bytes));
        break;
    default:
        descriptor(n, in);
        if (op & 8)
            wr(n, TDBAL + TAIL, n->tx_at);
    }
    n->bus->pump(n->bus);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct nic cards[2];
    struct input in = {data, size};
    struct nic *n = &cards[take(&in, 1) & 1];
    uint8_t frame[100], back[2048];
    uint64_t d;

    if (!n->board) {
        nic_set_up(n, n == &cards[1], n == &cards[1] ? "user,id=n1,restrict=on" : NULL);
        n->bus->pump = pump;
    }
    for (unsigned i = 0; i < STEPS_MAX && in.left; i++)
        step(n, &in);
    /* whatever has happened, a reset brings it back */
    vt_board_reset(n->board);
    nic_map(n);
    nic_start(n);
    frame_make(frame, sizeof(frame), nic_mac);
    nic_send(n, frame, sizeof(frame));
    if (nic_receive(n, back, &d) != sizeof(frame) || memcmp(frame, back, sizeof(frame)) != 0)
        abort();
    return 0;
}
