/* test_machine_socket.c - the real machine without a CPU: virtio devices over the -qtest socket,
 * and their state carried into a second process. */
#include "vt.h"

#include <fcntl.h>
#include <glib/gstdio.h>
#include <unistd.h>

enum { BLK = 4 << 3, RNG = 5 << 3, NET = 6 << 3, BALLOON = 7 << 3, SERIAL = 8 << 3, QSIZE = 16 };

static char *image;

static struct vt_process *start_machine(void)
{
    g_autofree char *blockdev = g_strdup_printf("{\"driver\":\"raw\",\"node-name\":\"d0\",\"file\":"
                                                "{\"driver\":\"file\",\"filename\":\"%s\"}}",
                                                image);
    const char *const args[] = {
        "-blockdev", blockdev,
        "-netdev",   "user,id=n0",
        "-chardev",  "null,id=c0",
        "-device",   "virtio-blk-pci,drive=d0,addr=4,serial=socket",
        "-device",   "virtio-rng-pci,addr=5",
        "-device",   "virtio-net-pci,netdev=n0,addr=6,mac=52:54:00:01:02:03",
        "-device",   "virtio-balloon-pci,addr=7",
        "-device",   "virtio-serial-pci,id=vs,addr=8",
        "-device",   "virtserialport,bus=vs.0,chardev=c0,name=org.test",
        NULL};
    const char *program = g_getenv("HANOK_VM");

    g_assert_nonnull(program);
    return vt_process_new(program, args);
}

struct disk {
    struct vt_dev dev;
    struct vt_queue q;
    uint64_t header, data, status;
};

static void disk_open(struct disk *d, struct vt_bus *b)
{
    vt_dev_open(&d->dev, b, BLK, true);
    vt_negotiate(&d->dev, UINT64_MAX);
    vt_queue_open(&d->q, &d->dev, 0, QSIZE);
    vt_driver_ok(&d->dev);
    d->header = vt_alloc(b, 16, 16);
    d->status = vt_alloc(b, 1, 1);
    d->data = vt_alloc(b, 4096, 4096);
}

static unsigned disk_request(struct disk *d, uint32_t type, uint64_t sector, uint32_t len)
{
    struct vt_bus *b = d->dev.bus;
    struct vt_buf bufs[] = {
        {d->header, 16, false}, {d->data, len, type == 0}, {d->status, 1, true}};

    vt_put(b, d->header, type, 4);
    vt_put(b, d->header + 4, 0, 4);
    vt_put(b, d->header + 8, sector, 8);
    vt_put(b, d->status, 0xee, 1);
    vt_add(&d->q, bufs, 3, false);
    vt_kick(&d->q);
    g_assert_true(vt_wait(&d->q, NULL, NULL));
    return (unsigned)vt_get(b, d->status, 1);
}

static void test_disk_and_interrupts(void)
{
    struct vt_process *p = start_machine();
    struct vt_bus *b = vt_process_bus(p);
    struct disk d;
    uint8_t out[512], in[512];

    g_free(vt_process_ask(p, "irq_intercept"));
    disk_open(&d, b);
    for (unsigned i = 0; i < sizeof(out); i++)
        out[i] = (uint8_t)(i * 5);
    b->mem_write(b, d.data, out, sizeof(out));
    g_assert_cmpuint(disk_request(&d, 1, 3, 512), ==, 0);
    g_free(vt_process_ask(p, "memset 0x%llx 512 0", (unsigned long long)d.data));
    g_assert_cmpuint(disk_request(&d, 0, 3, 512), ==, 0);
    b->mem_read(b, d.data, in, sizeof(in));
    g_assert_cmpmem(in, sizeof(in), out, sizeof(out));
    g_assert_cmpuint(vt_process_irqs(p), >=, 1);
    /* a broken ring, a reset, and on */
    vt_avail(&d.q, 0x7000);
    vt_kick(&d.q);
    g_assert_true(vt_needs_reset(&d.dev));
    disk_open(&d, b);
    g_assert_cmpuint(disk_request(&d, 0, 3, 512), ==, 0);
    vt_process_free(p);
}

static void test_every_device_answers(void)
{
    static const struct {
        uint8_t devfn;
        uint16_t id;
    } devices[] = {
        {BLK, 0x1001}, {RNG, 0x1005}, {NET, 0x1000}, {BALLOON, 0x1002}, {SERIAL, 0x1003}};
    struct vt_process *p = start_machine();
    struct vt_bus *b = vt_process_bus(p);

    for (unsigned i = 0; i < ARRAY_SIZE(devices); i++) {
        struct vt_dev d;
        struct vt_queue q;
        g_assert_cmphex(vt_config_read(b, devices[i].devfn, 2, 2), ==, devices[i].id);
        vt_dev_open(&d, b, devices[i].devfn, true);
        vt_negotiate(&d, UINT64_MAX);
        vt_queue_open(&q, &d, 0, 8);
        vt_driver_ok(&d);
        g_assert_cmphex(vt_status(&d), ==, 15);
        vt_avail(&q, 0x7fff); /* hostile; receive queues look at it only when they need a buffer */
        vt_kick(&q);
        vt_pump(b, 10);
        vt_reset(&d);
    }
    vt_process_free(p);
}

/* What a kernel would find, in another process, after save -> load: the same, and working. */
static void test_state_in_a_new_process(void)
{
    g_autofree char *dir = g_dir_make_tmp("hanok-state-XXXXXX", NULL);
    g_autofree char *first = g_build_filename(dir, "first", NULL);
    g_autofree char *second = g_build_filename(dir, "second", NULL);
    g_autofree char *a = NULL, *c = NULL;
    struct vt_process *p = start_machine();
    struct vt_bus *b = vt_process_bus(p);
    struct disk d;
    gsize alen, clen;

    disk_open(&d, b);
    g_assert_cmpuint(disk_request(&d, 0, 1, 512), ==, 0);
    g_free(vt_process_ask(p, "stop"));
    g_free(vt_process_ask(p, "save %s", first));
    uint64_t next_mem = b->next_mem;
    g_autofree uint8_t *ram = g_malloc(next_mem - 0x100000);
    for (uint64_t at = 0x100000; at < next_mem; at += 4096)
        b->mem_read(b, at, ram + (at - 0x100000), MIN_OF(4096ull, next_mem - at));
    vt_process_free(p);

    p = start_machine();
    b = vt_process_bus(p);
    g_free(vt_process_ask(p, "stop"));
    for (uint64_t at = 0x100000; at < next_mem; at += 4096)
        b->mem_write(b, at, ram + (at - 0x100000), MIN_OF(4096ull, next_mem - at));
    g_free(vt_process_ask(p, "load %s", first));
    g_free(vt_process_ask(p, "save %s", second));
    g_assert_true(g_file_get_contents(first, &a, &alen, NULL));
    g_assert_true(g_file_get_contents(second, &c, &clen, NULL));
    g_assert_cmpmem(a, alen, c, clen);
    g_free(vt_process_ask(p, "cont"));
    d.dev.bus = b;
    g_assert_cmpuint(disk_request(&d, 0, 2, 512), ==, 0);
    vt_process_free(p);
    g_unlink(first);
    g_unlink(second);
    g_rmdir(dir);
}

static void test_protocol_refuses_nonsense(void)
{
    struct vt_process *p = start_machine();
    g_autofree char *v = NULL;

    vt_process_refused(p, "frobnicate");
    vt_process_refused(p, "inb");
    vt_process_refused(p, "inb zero");
    vt_process_refused(p, "outb 1 2 3");
    vt_process_refused(p, "read 0xfffffffffffff000 4096");
    vt_process_refused(p, "read 0 0xffffffffffffffff");
    vt_process_refused(p, "write 0x1000 2 0xabc");
    vt_process_refused(p, "write 0x1000 1 0xzz");
    vt_process_refused(p, "memset 0x90000000 16 1");
    vt_process_refused(p, "save /tmp/x"); /* it runs */
    vt_process_refused(p, "load /dev/null");
    v = vt_process_ask(p, "inb 0x64"); /* still in step */
    g_assert_true(g_str_has_prefix(v, "0x"));
    g_free(vt_process_ask(p, "clock_step 1000000"));
    g_free(vt_process_ask(p, "reset"));
    vt_process_free(p);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    int fd = g_file_open_tmp("hanok-socket-XXXXXX", &image, NULL);
    g_assert_cmpint(ftruncate(fd, 1 << 20), ==, 0);
    close(fd);
    g_test_add_func("/machine-socket/disk", test_disk_and_interrupts);
    g_test_add_func("/machine-socket/every-device", test_every_device_answers);
    g_test_add_func("/machine-socket/state", test_state_in_a_new_process);
    g_test_add_func("/machine-socket/protocol", test_protocol_refuses_nonsense);
    int r = g_test_run();
    g_unlink(image);
    g_free(image);
    return r;
}
