/* The router: shared lines, re-routing, MSI routes; and the device list. */
#include "base/util.h"
#include "bus/device.h"
#include "bus/irq.h"

#include <glib.h>
#include <string.h>

struct fake_chip {
    struct irqchip base; /* first */
    bool level[IRQ_GSI_COUNT];
    int changes;
    uint64_t msi_addr;
    uint32_t msi_data;
    int msis;
};

static void fake_set_gsi(struct irqchip *c, unsigned gsi, bool level)
{
    struct fake_chip *f = container_of(c, struct fake_chip, base);
    g_assert_true(f->level[gsi] != level);
    f->level[gsi] = level;
    f->changes++;
}

static void fake_send_msi(struct irqchip *c, uint64_t addr, uint32_t data)
{
    struct fake_chip *f = container_of(c, struct fake_chip, base);
    f->msi_addr = addr;
    f->msi_data = data;
    f->msis++;
}

static const struct irqchip_ops fake_ops = {.set_gsi = fake_set_gsi, .send_msi = fake_send_msi};

static void test_shared_line_is_or_of_sources(void)
{
    struct fake_chip f = {0};
    struct irq_line a = {0}, b = {0};
    irqchip_init(&f.base, &fake_ops);
    irq_connect(&a, &f.base, 10);
    irq_connect(&b, &f.base, 10);
    irq_set(&a, true);
    irq_set(&b, true);
    irq_set(&a, true);
    g_assert_cmpint(f.changes, ==, 1);
    irq_set(&a, false);
    g_assert_true(f.level[10]);
    irq_set(&b, false);
    g_assert_false(f.level[10]);
    irq_pulse(&a);
    g_assert_cmpint(f.changes, ==, 4);
    irqchip_fini(&f.base);
}

static void test_reconnect_moves_the_level(void)
{
    struct fake_chip f = {0};
    struct irq_line a = {0};
    irqchip_init(&f.base, &fake_ops);
    irq_set(&a, true); /* before it has a wire */
    irq_connect(&a, &f.base, 5);
    g_assert_true(f.level[5]);
    irq_connect(&a, &f.base, 11);
    g_assert_false(f.level[5]);
    g_assert_true(f.level[11]);
    irq_disconnect(&a);
    g_assert_false(f.level[11]);
    irq_disconnect(&a);
    irqchip_fini(&f.base);
}

static void test_generic_msi_route(void)
{
    struct fake_chip f = {0};
    struct msi_route *r;
    irqchip_init(&f.base, &fake_ops);
    r = msi_route_new(&f.base);
    msi_route_set(r, 0xfee01000, 0x4041);
    msi_route_raise(r);
    msi_route_raise(r);
    g_assert_cmpint(f.msis, ==, 2);
    g_assert_cmphex(f.msi_addr, ==, 0xfee01000);
    g_assert_cmphex(f.msi_data, ==, 0x4041);
    msi_route_free(r);
    msi_route_free(NULL);
    irqchip_fini(&f.base);
}

static GString *destroyed;

static void dev_destroy(struct device *d)
{
    g_string_append(destroyed, d->path);
    device_remove(d->list, d);
    g_free(d);
}

static const struct device_ops dev_ops = {.type = "test", .destroy = dev_destroy};

static void test_device_list(void)
{
    struct device_list l;
    struct device *d[3];
    const char *const paths[] = {"a", "b", "c"};
    destroyed = g_string_new(NULL);
    device_list_init(&l);
    for (int i = 0; i < 3; i++) {
        d[i] = g_new0(struct device, 1);
        device_add(&l, d[i], &dev_ops, i == 1 ? "mine" : NULL, paths[i]);
    }
    g_assert_true(device_find(&l, "mine") == d[1]);
    g_assert_null(device_find(&l, "yours"));
    dev_destroy(d[2]);
    d[2] = g_new0(struct device, 1);
    device_add(&l, d[2], &dev_ops, NULL, "d");
    device_list_reset(&l);
    device_list_drain(&l);
    device_list_fini(&l);
    g_assert_cmpstr(destroyed->str, ==, "cdba");
    g_string_free(destroyed, true);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/irq/shared-line", test_shared_line_is_or_of_sources);
    g_test_add_func("/irq/reconnect", test_reconnect_moves_the_level);
    g_test_add_func("/irq/msi-route", test_generic_msi_route);
    g_test_add_func("/device/list", test_device_list);
    return g_test_run();
}
