/* fuzz_scsi.c - a disk and a CD-ROM drive under an initiator made of noise: commands, data, trays.
 */
#include "fuzz_input.h"

#include "base/evloop.h"
#include "base/props.h"
#include "scsi/scsi.h"

#include <glib.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { ROOM = 8192, PIECES = 3 };

static struct device_list devices;
static struct scsi_bus bus;
static struct blk_node *disc;
static struct scsi_lun *disk, *cd;
static unsigned under_way;

static void ended(struct scsi_task *t)
{
    if (t->done_bytes > t->room_bytes)
        abort();
    under_way--;
}

static struct blk_node *null_node(const char *name)
{
    g_autofree char *text =
        g_strdup_printf("driver=null-co,size=1M,read-zeroes=on,discard=unmap,node-name=%s", name);
    PROPS_AUTO p = props_parse(text, NULL, NULL);
    struct blk_node *n = blk_open(p, NULL);

    if (!n)
        abort();
    return n;
}

static void set_up(void)
{
    static const struct scsi_bus_ops ops = {.park = NULL};
    struct scsi_config hd = {.node = null_node("hd"), .serial = "1"};
    struct scsi_config rom = {.target = 1, .lun = 2, .cdrom = true, .node = disc = null_node("cd")};

    device_list_init(&devices);
    bus = (struct scsi_bus){.ops = &ops, .loop = evloop_main(), .devices = &devices, .path = "bus"};
    disk = scsi_lun_new(&bus, &hd, NULL);
    cd = scsi_lun_new(&bus, &rom, NULL);
    if (!disk || !cd)
        abort();
}

static void run(struct scsi_task *t, struct scsi_lun *l)
{
    t->lun = l;
    t->ended = ended;
    under_way++;
    if (l)
        scsi_start(t);
    else
        scsi_start_no_lun(&bus, 1, t);
    while (under_way)
        g_main_context_iteration(NULL, true);
}

/* A command near what hosts send: known operation codes, small numbers. */
static void command(struct input *in)
{
    static const uint8_t codes[] = {0x00, 0x03, 0x08, 0x0a, 0x12, 0x15, 0x1a, 0x1b,
                                    0x1e, 0x25, 0x28, 0x2a, 0x35, 0x41, 0x42, 0x43,
                                    0x46, 0x4a, 0x51, 0x55, 0x5a, 0x88, 0x8a, 0x93,
                                    0x9e, 0xa0, 0xa8, 0xaa, 0xad, 0xbd, 0xbe};
    static uint8_t memory[ROOM];
    static struct scsi_task t;
    struct iovec iov[PIECES];
    uint8_t how = (uint8_t)take(in, 1);
    size_t at = 0;

    t = (struct scsi_task){.iov = iov, .to_host = how & 1};
    for (int i = 0; i < SCSI_CDB_MAX; i++)
        t.cdb[i] = (uint8_t)take(in, 1);
    if (how & 2)
        t.cdb[0] = codes[t.cdb[0] % ARRAY_SIZE(codes)];
    if (how & 4) /* an address on the disk */
        t.cdb[2] = t.cdb[3] = 0;
    for (int i = 0; i < PIECES; i++) {
        size_t n = (size_t)take(in, how & 8 ? 2 : 1) % (ROOM / PIECES);
        if (n)
            iov[t.iov_count++] = (struct iovec){memory + at, n};
        at += n;
    }
    t.room_bytes = (uint32_t)at;
    for (size_t i = 0; i < 64; i++)
        memory[i] = (uint8_t)take(in, how & 16 ? 1 : 0);
    run(&t, how & 32 ? cd : how & 64 ? NULL : disk);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, size};
    struct scsi_task t = {.cdb = {0x25}};
    uint8_t capacity[8];
    struct iovec iov = {capacity, sizeof(capacity)};

    if (!disk)
        set_up();
    for (unsigned n = 0; n < 200 && in.left; n++) {
        switch (take(&in, 1) % 16) {
        case 0:
            scsi_lun_eject(cd, take(&in, 1) & 1, NULL);
            break;
        case 1:
            scsi_lun_insert(cd, disc, NULL);
            break;
        case 2:
            scsi_lun_reset(take(&in, 1) & 1 ? cd : disk);
            break;
        case 3:
            scsi_lun_resized(disk);
            break;
        default:
            command(&in);
        }
    }
    /* whatever has happened, after a reset and its attention it tells its size */
    scsi_lun_eject(cd, true, NULL);
    scsi_lun_insert(cd, disc, NULL);
    scsi_lun_reset(disk);
    run(&t, disk);
    t = (struct scsi_task){
        .cdb = {0x25}, .iov = &iov, .iov_count = 1, .room_bytes = sizeof(capacity)};
    run(&t, disk);
    if (t.status != SCSI_GOOD || capacity[2] != 0x07 || capacity[3] != 0xff)
        abort();
    return 0;
}
