/* Kernel files are hostile: whatever the bytes, opening and placing must end with success or a
 * sentence, and never touch memory outside the guest's RAM. */
#include "base/util.h"
#include "cpu/x86_state.h"
#include "machine/config.h"
#include "machine/loader.h"
#include "mem/guest_mem.h"

#include <glib.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define RAM_BYTES (32 * MiB)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct guest_mem *mem;
    if (!mem) {
        mem = guest_mem_new();
        struct ram_block *ram = ram_block_new("pc.ram", RAM_BYTES, false, false, NULL);
        guest_mem_map(mem, GPA(0), ram, 0, RAM_BYTES, GUEST_RAM);
    }
    int fd = memfd_create("kernel", 0);
    if (fd < 0 || write(fd, data, size) != (ssize_t)size)
        abort();
    g_autofree char *path = g_strdup_printf("/proc/self/fd/%d", fd);
    struct vm_config cfg = {.kernel = path, .initrd = path, .append = (char *)"console=ttyS0"};
    static const struct e820_entry e820[] = {{0, 0x9fc00, E820_RAM},
                                             {1 * MiB, RAM_BYTES - 1 * MiB, E820_RAM}};
    struct x86_state *bsp = g_new0(struct x86_state, 1);
    struct boot_env env = {.mem = mem,
                           .e820 = e820,
                           .e820_count = 2,
                           .rsdp_gpa = 0xe0000,
                           .ram_low_usable = RAM_BYTES - 64 * KiB,
                           .ram_low_end = RAM_BYTES,
                           .bsp = bsp};
    GError *err = NULL;
    struct boot_image *img = boot_image_open(&cfg, &err);
    if (img)
        boot_image_place(img, &env, &err);
    boot_image_free(img);
    g_clear_error(&err);
    g_free(bsp);
    close(fd);
    return 0;
}
