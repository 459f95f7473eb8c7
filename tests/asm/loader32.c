/* loader32.c - what a multiboot kernel finds at its entry: registers were checked by getting here;
 * the information block, the zeroed BSS, the module, fw_cfg.  Arguments: ram= bytes, cpus=,
 * module= bytes, sum= of the module's bytes modulo 256, slow=1 on a processor that is. */
#include "pc.h"

/* As large as the ones real test kernels have, so that the module lies far behind. */
static uint8_t bss[12 << 20];
extern uint8_t start[];

static void memory_map(uint64_t ram)
{
    const struct mbi *m = mbi();
    uint64_t total = 0, first_end = 0, last_end = 0;

    CHECK(m->flags & 1 << 6);
    for (uint32_t off = 0; off < m->mmap_length;) {
        const struct mb_mmap *e = (const void *)(uword)(m->mmap_addr + off);
        CHECK_EQ(e->size, 20);
        CHECK(e->base >= last_end);
        last_end = e->base + e->len;
        if (e->type == 1) {
            total += e->len;
            if (e->base == 1 << 20)
                first_end = e->base + e->len;
        }
        off += e->size + 4;
    }
    /* Firmware keeps a little of the low megabyte and of the end. */
    CHECK(total <= ram && total > ram - (2 << 20));
    CHECK_EQ(m->mem_lower, 639);
    CHECK_EQ((uint64_t)m->mem_upper << 10, first_end - (1 << 20));
}

static void command_line(void)
{
    const char *self = word_nth(0);
    unsigned n = 0;

    CHECK(mbi()->flags & 1 << 2);
    while (self[n] && self[n] != ' ')
        n++;
    CHECK(n >= 8 && same(self + n - 8, "loader32", 8));
    CHECK(word_is(word_nth(1), "first"));
}

/* Where the images of the tests put everything: nothing of ours may be on page 0. */
static void places(void)
{
    const struct mbi *m = mbi();
    uint32_t at[] = {boot_info, m->cmdline, m->mmap_addr, m->mods_addr};

    for (unsigned i = 0; i < sizeof(at) / sizeof(at[0]); i++)
        CHECK(at[i] >= 0x1000 && (at[i] < (uword)start || at[i] >= (uword)(bss + sizeof(bss))));
}

static void module(void)
{
    const struct mbi *m = mbi();
    const struct mb_module *mod = (const void *)(uword)m->mods_addr;
    uint64_t bytes = arg_number("module", 0);

    CHECK(m->flags & 1 << 3);
    CHECK_EQ(m->mods_count, bytes != 0);
    if (!bytes)
        return;
    CHECK_EQ(mod->end - mod->start, bytes);
    CHECK_EQ(mod->start & 0xfff, 0);
    CHECK(mod->start >= (uword)(bss + sizeof(bss)));
    CHECK_EQ(sum_bytes((const void *)(uword)mod->start, (unsigned)bytes), arg_number("sum", 0));
}

static void fw_cfg(uint64_t ram)
{
    uint64_t low;

    CHECK_EQ(fw_cfg_number(0, 4), 0x554d4551); /* "QEMU" */
    CHECK_EQ(fw_cfg_number(5, 2), arg_number("cpus", 0));
    CHECK_EQ(fw_cfg_number(15, 2) >= arg_number("cpus", 0), true);
    low = fw_cfg_number(3, 8);
    CHECK_EQ(low, ram < 2ull << 30 ? ram : low);
    CHECK(low <= ram && low >= (ram < 2ull << 30 ? ram : 2ull << 30));
    /* The image from its multiboot header on: read as a number it is small and not zero. */
    CHECK_EQ(fw_cfg_number(0x11, 8), 0x1badb002);
    CHECK_EQ(fw_cfg_number(0x11, 4), 0x1badb002);
    /* Past the end there are zeroes. */
    CHECK_EQ(fw_cfg_number(5, 8), arg_number("cpus", 0));
}

static void processor(void)
{
    uint16_t cs, ss;

    CHECK_EQ(boot_magic, 0x2badb002);
    CHECK_EQ(READ_CR(0) & 0x80000001, 1);
    CHECK_EQ(READ_CR(4) & 0x20, 0);
    __asm__ volatile("mov %%cs, %0; mov %%ss, %1" : "=r"(cs), "=r"(ss));
    CHECK_EQ(cs, SEL_CODE);
    CHECK_EQ(ss, SEL_DATA);
    /* A20 is open: 1 MiB and 0 are different places. */
    volatile uint32_t *low = (void *)0x1500, *high = (void *)0x201500;
    *low = 1;
    *high = 2;
    CHECK_EQ(*low, 1);
    wrmsr(0xc0000101, 0x1234567800ull); /* GS base, from 32-bit mode */
    CHECK_EQ(rdmsr(0xc0000101), 0x1234567800ull);
}

void guest_main(void)
{
    uint64_t ram = arg_number("ram", 0);

    unsigned stride = arg_number("slow", 0) ? 4096 : 4;

    for (unsigned i = 0; i < sizeof(bss); i += stride)
        if (*(volatile uint32_t *)(bss + i)) {
            CHECK_EQ(*(volatile uint32_t *)(bss + i), 0);
            break;
        }
    command_line();
    memory_map(ram);
    places();
    module();
    fw_cfg(ram);
    processor();
}
