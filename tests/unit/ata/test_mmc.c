/* The CD-ROM drive by its packets: what it is, the disc, sense, tray, lock, events. */
#include "hba.h"

static void up(struct hba *b, gconstpointer unused)
{
    static const uint8_t ready[12] = {0x00};
    hba_up(b);
    g_assert_false(packet(b, ready, 0)); /* unit attention: a disc has come */
    g_assert_true(packet(b, ready, 0));
}

static void down(struct hba *b, gconstpointer unused)
{
    hba_down(b);
}

static unsigned sense(struct hba *b)
{
    static const uint8_t cdb[12] = {0x03, 0, 0, 0, 18};
    g_assert_true(packet(b, cdb, 18));
    const uint8_t *s = at(b, DATA);
    return (unsigned)s[2] << 16 | (unsigned)s[12] << 8 | s[13];
}

static void test_inquiry_and_capacity(struct hba *b, gconstpointer unused)
{
    static const uint8_t inquiry[12] = {0x12, 0, 0, 0, 96}, capacity[12] = {0x25};
    g_assert_true(packet(b, inquiry, 96));
    g_assert_cmphex(at(b, DATA)[0], ==, 5);
    g_assert_cmphex(at(b, DATA)[1], ==, 0x80);
    g_assert_cmpuint(le32_get(at(b, LIST + 4)), ==, 36);
    g_assert_true(packet(b, capacity, 8));
    g_assert_cmpmem(at(b, DATA), 8, "\0\0\1\x2b\0\0\x08\0", 8);
}

static void test_reads(struct hba *b, gconstpointer unused)
{
    static const uint8_t read10[12] = {0x28, 0, 0, 0, 0, 7, 0, 0, 2};
    static const uint8_t read12[12] = {0xa8, 0, 0, 0, 1, 0x2b, 0, 0, 0, 1};
    static const uint8_t cd[12] = {0xbe, 0, 0, 0, 0, 5, 0, 0, 1, 0x10};
    static const uint8_t beyond[12] = {0x28, 0, 0, 0, 1, 0x2b, 0, 0, 2};
    static const uint8_t huge[12] = {0xa8, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff};
    static const uint8_t raw[12] = {0xbe, 0, 0, 0, 0, 5, 0, 0, 1, 0xf8};
    g_assert_true(packet(b, read10, 4096));
    g_assert_cmphex(le32_get(at(b, DATA)), ==, 0x51000007);
    g_assert_cmphex(le32_get(at(b, DATA + 2048)), ==, 0x51000008);
    g_assert_true(packet(b, read12, 2048));
    g_assert_cmphex(le32_get(at(b, DATA)), ==, 0x51000000 + 299);
    g_assert_true(packet(b, cd, 2048));
    g_assert_cmphex(le32_get(at(b, DATA)), ==, 0x51000005);
    g_assert_false(packet(b, beyond, 4096));
    g_assert_cmphex(sense(b), ==, 0x052100);
    g_assert_false(packet(b, huge, 4096));
    g_assert_cmphex(sense(b), ==, 0x052100);
    g_assert_false(packet(b, raw, 4096));
    g_assert_cmphex(sense(b), ==, 0x052400);
    g_assert_cmphex(sense(b), ==, 0); /* told once */
}

static void test_table_of_contents(struct hba *b, gconstpointer unused)
{
    static const uint8_t lba[12] = {0x43, 0, 0, 0, 0, 0, 0, 0, 100};
    static const uint8_t msf[12] = {0x43, 2, 0, 0, 0, 0, 0, 0, 100};
    static const uint8_t full[12] = {0x43, 2, 2, 0, 0, 0, 0, 0, 100};
    static const uint8_t odd[12] = {0x43, 0, 9, 0, 0, 0, 0, 0, 100};
    g_assert_true(packet(b, lba, 100));
    g_assert_cmpmem(at(b, DATA), 20, "\0\x12\1\1\0\x14\1\0\0\0\0\0\0\x14\xaa\0\0\0\1\x2c", 20);
    g_assert_true(packet(b, msf, 100));
    g_assert_cmpmem(at(b, DATA + 8), 4, "\0\0\2\0", 4); /* 150 frames of lead-in */
    g_assert_true(packet(b, full, 100));
    g_assert_cmpuint(at(b, DATA)[1], ==, 46);
    g_assert_false(packet(b, odd, 100));
}

static void test_short_buffers_take_what_fits(struct hba *b, gconstpointer unused)
{
    static const uint8_t inquiry[12] = {0x12, 0, 0, 0, 5},
                         config[12] = {0x46, 0, 0, 0, 0, 0, 0, 1, 0};
    at(b, DATA)[5] = 0x77;
    g_assert_true(packet(b, inquiry, 96));
    g_assert_cmphex(at(b, DATA)[5], ==, 0x77);
    at(b, DATA)[8] = 0x77;
    g_assert_true(packet(b, config, 8)); /* the list is shorter than the reply */
    g_assert_cmphex(at(b, DATA)[8], ==, 0x77);
    g_assert_cmpmem(at(b, DATA + 6), 2, "\0\x08", 2); /* a CD-ROM */
}

static void test_tray_and_lock(struct hba *b, gconstpointer unused)
{
    static const uint8_t lock[12] = {0x1e, 0, 0, 0, 1}, unlock[12] = {0x1e};
    static const uint8_t open[12] = {0x1b, 0, 0, 0, 2}, shut[12] = {0x1b, 0, 0, 0, 3};
    static const uint8_t ready[12] = {0x00}, event[12] = {0x4a, 1, 0, 0, 0x10, 0, 0, 0, 8};
    GError *err = NULL;
    g_assert_true(packet(b, lock, 0));
    g_assert_false(packet(b, open, 0));
    g_assert_cmphex(sense(b), ==, 0x055302);
    g_assert_false(ata_drive_eject(b->dev, 2, false, &err)); /* tells the guest instead */
    g_assert_cmpstr(strstr(err->message, "locked"), !=, NULL);
    g_clear_error(&err);
    g_assert_true(packet(b, event, 8));
    g_assert_cmphex(at(b, DATA)[4], ==, 1);
    g_assert_true(packet(b, unlock, 0));
    g_assert_true(packet(b, open, 0));
    g_assert_cmpint(b->trays, ==, 1);
    g_assert_false(packet(b, ready, 0));
    g_assert_cmphex(sense(b), ==, 0x023a02);
    g_assert_true(packet(b, shut, 0));
    g_assert_cmpint(b->trays, ==, 101);
    g_assert_false(packet(b, ready, 0)); /* attention */
    g_assert_cmphex(sense(b), ==, 0x062800);
    g_assert_true(packet(b, ready, 0));
}

static void test_another_disc(struct hba *b, gconstpointer unused)
{
    static const uint8_t lock[12] = {0x1e, 0, 0, 0, 1}, ready[12] = {0x00};
    static const uint8_t event[12] = {0x4a, 1, 0, 0, 0x10, 0, 0, 0, 8};
    static const uint8_t read10[12] = {0x28, 0, 0, 0, 0, 0, 0, 0, 1};
    struct ata_drive_info info;
    packet(b, lock, 0);
    g_assert_true(ata_drive_eject(b->dev, 2, true, NULL));
    g_assert_true(ata_drive_info(b->dev, 2, &info));
    g_assert_true(info.tray_open && !info.node && !info.locked);
    g_assert_false(packet(b, ready, 0));
    g_assert_cmphex(sense(b), ==, 0x023a02);
    g_assert_true(ata_drive_insert(b->dev, 2, b->images.disc, NULL));
    g_assert_false(ata_drive_insert(b->dev, 2, b->images.disc, NULL));
    g_assert_false(ata_drive_eject(b->dev, 0, true, NULL)); /* a disk has no tray */
    g_assert_true(packet(b, event, 8));
    g_assert_cmphex(at(b, DATA)[4], ==, 2);
    g_assert_cmphex(at(b, DATA)[5], ==, 2);
    packet(b, ready, 0);
    g_assert_true(packet(b, read10, 2048));
    g_assert_cmphex(le32_get(at(b, DATA)), ==, 0x51000000);
}

static void test_every_opcode_ends(struct hba *b, gconstpointer unused)
{
    for (unsigned op = 0; op < 256; op++) {
        uint8_t cdb[12];
        for (unsigned fill = 0; fill < 3; fill++) {
            memset(cdb, fill == 0 ? 0 : fill == 1 ? 0xff : 0x5a, sizeof(cdb));
            cdb[0] = (uint8_t)op;
            packet(b, cdb, 4096);
        }
    }
    g_assert_true(reg(b, px(2, 0x38)) == 0);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define TEST(name, fn) g_test_add("/mmc/" name, struct hba, NULL, up, fn, down)
    TEST("inquiry", test_inquiry_and_capacity);
    TEST("read", test_reads);
    TEST("toc", test_table_of_contents);
    TEST("short", test_short_buffers_take_what_fits);
    TEST("tray", test_tray_and_lock);
    TEST("change", test_another_disc);
    TEST("opcodes", test_every_opcode_ends);
    return g_test_run();
}
