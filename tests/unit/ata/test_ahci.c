/* The SATA controller by its registers: resets, commands of each protocol, NCQ, errors, nonsense.
 */
#include "hba.h"

static void up(struct hba *b, gconstpointer unused)
{
    hba_up(b);
}

static void down(struct hba *b, gconstpointer unused)
{
    hba_down(b);
}

static void test_what_a_driver_finds(struct hba *b, gconstpointer unused)
{
    g_assert_cmphex(pci_config_read(b->dev, 0, 4), ==, 0x29228086);
    g_assert_cmphex(pci_config_read(b->dev, 8, 4) >> 8, ==, 0x010601);
    g_assert_cmphex(reg(b, 0x00) & 0x1f, ==, 5);       /* six ports */
    g_assert_cmphex(reg(b, 0x00) >> 8 & 0x1f, ==, 31); /* 32 slots */
    g_assert_cmphex(reg(b, 0x0c), ==, 0x3f);
    g_assert_cmphex(reg(b, px(0, 0x24)), ==, 0x00000101);
    g_assert_cmphex(reg(b, px(2, 0x24)), ==, 0xeb140101);
    g_assert_cmphex(reg(b, px(0, 0x28)), ==, 0x113);
    g_assert_cmphex(reg(b, px(1, 0x28)), ==, 0);
    /* the same registers through the index-data pair */
    pci_config_write(b->dev, 0x20, 4, 0xc000);
    io_space_write(b->f->pio, 0xc010, 4, px(2, 0x24));
    g_assert_cmphex(io_space_read(b->f->pio, 0xc014, 4), ==, 0xeb140101);
}

static void test_identify(struct hba *b, gconstpointer unused)
{
    ata(b, 0xec, 0, 1, 512, false);
    g_assert_cmpuint(le32_get(at(b, DATA + 120)), ==, DISK_SECTORS);
    g_assert_cmpuint(le64_get(at(b, DATA + 200)), ==, DISK_SECTORS);
    g_assert_cmpint(at(b, DATA + 20)[1], ==, 'S');
    g_assert_cmphex(at(b, FIS + 0x20)[0], ==, 0x5f); /* PIO set-up */
    g_assert_cmphex(reg(b, px(0, 0x10)) & 2, ==, 2);
    g_assert_true(b->f->level[16]);
    reg_set(b, px(0, 0x10), UINT32_MAX);
    g_assert_true(b->f->level[16]);
    reg_set(b, 0x08, 1);
    g_assert_false(b->f->level[16]);
}

/* One message for what has come up, and one more when software clears the bit too early. */
static void test_msi_instead_of_the_pin(struct hba *b, gconstpointer unused)
{
    uint8_t cap = b->dev->msi_cap;
    g_assert_cmphex(pci_config_read(b->dev, cap, 1), ==, 0x05);
    ata(b, 0xec, 0, 1, 512, false);
    g_assert_true(b->f->level[16]);
    pci_config_write(b->dev, cap + 4u, 4, 0xfee01000);
    pci_config_write(b->dev, cap + 12u, 2, 0x4123);
    pci_config_write(b->dev, cap + 2u, 2, 1); /* what is pending is told at once */
    g_assert_false(b->f->level[16]);
    g_assert_cmpint(b->f->msis, ==, 1);
    g_assert_cmphex(b->f->msi_addr, ==, 0xfee01000);
    g_assert_cmphex(b->f->msi_data, ==, 0x4123);
    reg_set(b, px(0, 0x10), UINT32_MAX);
    reg_set(b, 0x08, 1);
    g_assert_cmpint(b->f->msis, ==, 1);
    ata(b, 0xec, 0, 1, 512, false);
    g_assert_cmpint(b->f->msis, ==, 2);
    ata(b, 0xec, 0, 1, 512, false); /* not yet looked at */
    g_assert_cmpint(b->f->msis, ==, 2);
    reg_set(b, 0x08, 1);
    g_assert_cmpint(b->f->msis, ==, 3);
    reg_set(b, px(0, 0x10), UINT32_MAX);
    reg_set(b, 0x08, 1);
    msi_notify(b->dev);
    g_assert_cmpint(b->f->msis, ==, 4);
    pci_config_write(b->dev, PCI_COMMAND, 2, 3); /* no bus mastering, no message */
    msi_notify(b->dev);
    g_assert_cmpint(b->f->msis, ==, 4);
    reset_all(b->f);
    g_assert_cmphex(pci_config_read(b->dev, cap + 2u, 2), ==, 0x80);
    g_assert_cmphex(pci_config_read(b->dev, cap + 4u, 4), ==, 0);
}

static void test_write_then_read(struct hba *b, gconstpointer unused)
{
    memset(at(b, DATA), 0xa5, 1024);
    ata(b, 0x35, 100, 2, 1024, true);
    g_assert_cmphex(reg(b, px(0, 0x20)), ==, 0x50);
    g_assert_cmphex(at(b, FIS + 0x40)[0], ==, 0x34);
    g_assert_cmpuint(le32_get(at(b, LIST + 4)), ==, 1024);
    memset(at(b, DATA), 0, 2048);
    ata(b, 0x25, 99, 4, 2048, false);
    g_assert_cmphex(le32_get(at(b, DATA)), ==, 0x51000000 + 99);
    g_assert_cmphex(le32_get(at(b, DATA + 512)), ==, 0xa5a5a5a5);
    g_assert_cmphex(le32_get(at(b, DATA + 1536)), ==, 0x51000000 + 102);
    ata(b, 0xea, 0, 0, 0, false); /* flush */
    g_assert_cmphex(reg(b, px(0, 0x20)), ==, 0x50);
    ata(b, 0xc8, 5, 1, 512, false); /* 28 bits */
    g_assert_cmphex(le32_get(at(b, DATA)), ==, 0x51000005);
    ata(b, 0x20, 6, 1, 512, false); /* PIO */
    g_assert_cmphex(le32_get(at(b, DATA)), ==, 0x51000006);
}

static void test_queued_commands(struct hba *b, gconstpointer unused)
{
    for (unsigned i = 0; i < 4; i++) {
        uint8_t fis[20];
        ata_fis(fis, 0x60, 10 * i, (uint16_t)(i << 3));
        fis[3] = 1;
        command_put(b, i, fis, 512, false);
        le32_put(at(b, TABLE + i * 0x1000 + 0x80), DATA + 512 * i);
    }
    issue(b, 0, 15, true);
    for (unsigned i = 0; i < 4; i++)
        g_assert_cmphex(le32_get(at(b, DATA + 512 * i)), ==, 0x51000000 + 10 * i);
    g_assert_cmphex(at(b, FIS + 0x58)[0], ==, 0xa1);
    g_assert_cmphex(reg(b, px(0, 0x10)) & 8, ==, 8);
}

static void test_errors_stop_the_port_until_st_is_cleared(struct hba *b, gconstpointer unused)
{
    ata(b, 0x25, DISK_SECTORS - 1, 2, 1024, false);
    g_assert_cmphex(reg(b, px(0, 0x10)) & BIT(30), !=, 0);
    g_assert_cmphex(reg(b, px(0, 0x20)) & 0x1001, ==, 0x1001); /* IDNF */
    reg_set(b, px(0, 0x38), 1);
    for (int i = 0; i < 20; i++)
        g_main_context_iteration(NULL, false);
    g_assert_cmphex(reg(b, px(0, 0x38)), ==, 1); /* waits */
    reg_set(b, px(0, 0x18), 0x16);
    g_assert_cmphex(reg(b, px(0, 0x38)), ==, 0);
    port_up(b, 0);
    ata(b, 0xec, 0, 1, 512, false);
    g_assert_cmphex(reg(b, px(0, 0x20)), ==, 0x50);
    ata(b, 0xa0, 0, 0, 0, false); /* a packet for a disk */
    g_assert_cmphex(reg(b, px(0, 0x20)) & 0x401, ==, 0x401);
    /* a failed queued command is named by the log */
    reg_set(b, px(0, 0x18), 0x16);
    port_up(b, 0);
    uint8_t fis[20];
    ata_fis(fis, 0x60, DISK_SECTORS, 3 << 3);
    fis[3] = 1;
    command_put(b, 3, fis, 512, false);
    issue(b, 0, 8, true);
    g_assert_cmphex(reg(b, px(0, 0x34)), ==, 8);
    reg_set(b, px(0, 0x18), 0x16);
    port_up(b, 0);
    ata(b, 0x2f, 0x10, 1, 512, false);
    g_assert_cmphex(at(b, DATA)[0], ==, 3);
    uint8_t sum = 0;
    for (unsigned i = 0; i < 512; i++)
        sum += at(b, DATA)[i];
    g_assert_cmphex(sum, ==, 0);
}

static void test_many_pieces_are_bounced(struct hba *b, gconstpointer unused)
{
    uint8_t fis[20];
    ata_fis(fis, 0x25, 0, 300);
    command_put(b, 0, fis, 512, false);
    le32_put(at(b, LIST), 5 | 600u << 16);
    for (unsigned i = 0; i < 600; i++) { /* 256 bytes each, last piece first */
        le32_put(at(b, TABLE + 0x80 + 16 * i), DATA + 256 * (599 - i));
        le32_put(at(b, TABLE + 0x84 + 16 * i), 0);
        le32_put(at(b, TABLE + 0x8c + 16 * i), 255);
    }
    issue(b, 0, 1, false);
    g_assert_cmphex(reg(b, px(0, 0x20)), ==, 0x50);
    g_assert_cmphex(le32_get(at(b, DATA + 256 * 599)), ==, 0x51000000);
    g_assert_cmphex(le32_get(at(b, DATA + 256)), ==, 0x51000000 + 299);
}

static void test_memory_that_is_not_there(struct hba *b, gconstpointer unused)
{
    uint8_t fis[20];
    ata_fis(fis, 0x25, 0, 2);
    command_put(b, 0, fis, 1024, false);
    le32_put(at(b, TABLE + 0x80), 0x70000000);
    issue(b, 0, 1, false);
    g_assert_cmphex(reg(b, px(0, 0x10)) & BIT(29), !=, 0);
    reg_set(b, px(0, 0x18), 0x16);
    port_up(b, 0);
    command_put(b, 0, fis, 512, false); /* too little room for two sectors */
    issue(b, 0, 1, false);
    g_assert_cmphex(reg(b, px(0, 0x10)) & BIT(29), !=, 0);
    reg_set(b, px(0, 0x18), 0x16);
    reg_set(b, px(0, 0x00), 0xfffffc00); /* the list itself */
    reg_set(b, px(0, 0x10), UINT32_MAX);
    reg_set(b, px(0, 0x18), 0x17);
    issue(b, 0, 1, false);
    g_assert_cmphex(reg(b, px(0, 0x10)) & BIT(29), !=, 0);
}

static void test_trim(struct hba *b, gconstpointer unused)
{
    memset(at(b, DATA), 0, 512);
    le64_put(at(b, DATA), 8 | UINT64_C(8) << 48);
    le64_put(at(b, DATA + 8), (DISK_SECTORS - 1) | UINT64_C(0xffff) << 48); /* cut at the end */
    le64_put(at(b, DATA + 16), UINT64_C(0xffffffffffff) | UINT64_C(1) << 48);
    uint8_t fis[20];
    ata_fis(fis, 0x06, 0, 1);
    fis[3] = 1;
    command_put(b, 0, fis, 512, true);
    issue(b, 0, 1, false);
    g_assert_cmphex(reg(b, px(0, 0x20)), ==, 0x50);
    ata(b, 0x25, 7, 2, 1024, false);
    g_assert_cmphex(le32_get(at(b, DATA)), ==, 0x51000007);
    g_assert_cmphex(le32_get(at(b, DATA + 512)), ==, 0);
}

static void test_resets(struct hba *b, gconstpointer unused)
{
    uint8_t fis[20];
    memset(fis, 0, sizeof(fis));
    fis[0] = 0x27;
    fis[15] = 4; /* SRST on, then off */
    command_put(b, 0, fis, 0, false);
    issue(b, 0, 1, false);
    fis[15] = 0;
    command_put(b, 0, fis, 0, false);
    memset(at(b, FIS + 0x40), 0, 20);
    issue(b, 0, 1, false);
    g_assert_cmphex(at(b, FIS + 0x40)[0], ==, 0x34);
    g_assert_cmphex(reg(b, px(0, 0x20)), ==, 0x150);
    /* COMRESET with a command on its way: it ends silently */
    ata_fis(fis, 0x25, 0, 1);
    command_put(b, 0, fis, 512, false);
    reg_set(b, px(0, 0x38), 1);
    reg_set(b, px(0, 0x2c), 1);
    g_assert_cmphex(reg(b, px(0, 0x28)), ==, 0);
    g_assert_cmphex(reg(b, px(0, 0x38)), ==, 0);
    reg_set(b, px(0, 0x2c), 0);
    g_assert_cmphex(reg(b, px(0, 0x28)), ==, 0x113);
    blk_drain(b->images.disk);
    ata(b, 0x25, 1, 1, 512, false);
    g_assert_cmphex(le32_get(at(b, DATA)), ==, 0x51000001);
    reg_set(b, 0x04, 1); /* the whole controller */
    g_assert_cmphex(reg(b, 0x04), ==, 0x80000000);
    g_assert_cmphex(reg(b, px(0, 0x18)) & 0x11, ==, 0);
}

static void test_state(struct hba *b, gconstpointer unused)
{
    struct hba other = {0};
    ata(b, 0x25, 1, 1, 512, false);
    hba_up(&other);
    check_state_moves(b->f, other.f);
    g_assert_cmphex(reg(&other, px(0, 0x10)), ==, reg(b, px(0, 0x10)));
    hba_down(&other);
}

static void poke(struct fixture *f)
{
    for (unsigned off = 0; off < 0x400; off += 4)
        io_space_write(f->mmio, ABAR + off, 4, io_space_read(f->mmio, ABAR + off, 4));
    for (int i = 0; i < 3; i++)
        g_main_context_iteration(NULL, false);
}

static void test_hostile_state(struct hba *b, gconstpointer unused)
{
    check_state_hostile(b->f, poke);
}

static void test_paused_machine_starts_nothing(struct hba *b, gconstpointer unused)
{
    uint8_t fis[20];
    ata_fis(fis, 0x25, 3, 1);
    command_put(b, 0, fis, 512, false);
    vm_clock_stop(b->f->clock);
    b->f->devices.vm_running = false;
    reg_set(b, px(0, 0x38), 1);
    for (int i = 0; i < 50; i++)
        g_main_context_iteration(NULL, false);
    g_assert_cmphex(reg(b, px(0, 0x38)), ==, 1);
    b->f->devices.vm_running = true;
    vm_clock_start(b->f->clock);
    issue(b, 0, 1, false);
    g_assert_cmphex(le32_get(at(b, DATA)), ==, 0x51000003);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define TEST(name, fn) g_test_add("/ahci/" name, struct hba, NULL, up, fn, down)
    TEST("registers", test_what_a_driver_finds);
    TEST("identify", test_identify);
    TEST("msi", test_msi_instead_of_the_pin);
    TEST("transfer", test_write_then_read);
    TEST("ncq", test_queued_commands);
    TEST("errors", test_errors_stop_the_port_until_st_is_cleared);
    TEST("pieces", test_many_pieces_are_bounced);
    TEST("no-memory", test_memory_that_is_not_there);
    TEST("trim", test_trim);
    TEST("resets", test_resets);
    TEST("state", test_state);
    TEST("hostile-state", test_hostile_state);
    TEST("paused", test_paused_machine_starts_nothing);
    return g_test_run();
}
