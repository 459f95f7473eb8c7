/* A device of the host, with a libusb made of paper: the functions below stand in for the
 * library's, and the test says when a transfer ends and how. */
#include "xhci_driver.h"

#include <libusb.h>

enum { IN = 3, OUT = 4 };

static struct libusb_transfer *under_way[8];
static unsigned count, claims, releases, sets, halts, cancels, closes;
static int configuration;
static int open_result;

int libusb_init(libusb_context **c)
{
    *c = (libusb_context *)&count;
    return 0;
}

const struct libusb_pollfd **libusb_get_pollfds(libusb_context *c)
{
    return NULL;
}

void libusb_free_pollfds(const struct libusb_pollfd **p)
{
}

void libusb_set_pollfd_notifiers(libusb_context *c, libusb_pollfd_added_cb a,
                                 libusb_pollfd_removed_cb r, void *opaque)
{
}

const char *libusb_strerror(int code)
{
    return "access denied";
}

ssize_t libusb_get_device_list(libusb_context *c, libusb_device ***list)
{
    static libusb_device *one[] = {(libusb_device *)&configuration, NULL};
    *list = one;
    return 1;
}

void libusb_free_device_list(libusb_device **list, int unref)
{
}

int libusb_get_device_descriptor(libusb_device *dev, struct libusb_device_descriptor *d)
{
    d->idVendor = 0x1111;
    d->idProduct = 0x2222;
    return 0;
}

uint8_t libusb_get_bus_number(libusb_device *dev)
{
    return 3;
}

uint8_t libusb_get_device_address(libusb_device *dev)
{
    return 4;
}

int libusb_get_device_speed(libusb_device *dev)
{
    return LIBUSB_SPEED_HIGH;
}

int libusb_open(libusb_device *dev, libusb_device_handle **h)
{
    *h = open_result ? NULL : (libusb_device_handle *)&claims;
    return open_result;
}

void libusb_close(libusb_device_handle *h)
{
    closes++;
}

libusb_device *libusb_get_device(libusb_device_handle *h)
{
    return (libusb_device *)&configuration;
}

int libusb_set_auto_detach_kernel_driver(libusb_device_handle *h, int on)
{
    return 0;
}

int libusb_get_active_config_descriptor(libusb_device *dev, struct libusb_config_descriptor **out)
{
    static struct libusb_endpoint_descriptor ep[] = {
        {.bEndpointAddress = 0x81, .bmAttributes = 2, .wMaxPacketSize = 512},
        {.bEndpointAddress = 0x02, .bmAttributes = 2, .wMaxPacketSize = 512}};
    static struct libusb_interface_descriptor alt = {.bNumEndpoints = 2, .endpoint = ep};
    static struct libusb_interface itf = {.altsetting = &alt, .num_altsetting = 1};
    static struct libusb_config_descriptor config = {.bNumInterfaces = 1, .interface = &itf};
    *out = &config;
    return 0;
}

void libusb_free_config_descriptor(struct libusb_config_descriptor *c)
{
}

int libusb_claim_interface(libusb_device_handle *h, int n)
{
    claims++;
    return 0;
}

int libusb_release_interface(libusb_device_handle *h, int n)
{
    releases++;
    return 0;
}

int libusb_get_configuration(libusb_device_handle *h, int *value)
{
    *value = configuration;
    return 0;
}

int libusb_set_configuration(libusb_device_handle *h, int value)
{
    configuration = value;
    sets++;
    return 0;
}

int libusb_set_interface_alt_setting(libusb_device_handle *h, int n, int alt)
{
    return 0;
}

int libusb_clear_halt(libusb_device_handle *h, unsigned char ep)
{
    halts++;
    return 0;
}

struct libusb_transfer *libusb_alloc_transfer(int packets)
{
    return g_new0(struct libusb_transfer, 1);
}

void libusb_free_transfer(struct libusb_transfer *t)
{
    g_free(t);
}

int libusb_submit_transfer(struct libusb_transfer *t)
{
    under_way[count++] = t;
    return 0;
}

int libusb_cancel_transfer(struct libusb_transfer *t)
{
    cancels++;
    t->status = LIBUSB_TRANSFER_CANCELLED;
    return 0;
}

static void ends(unsigned i, enum libusb_transfer_status status, int bytes)
{
    struct libusb_transfer *t = under_way[i];

    under_way[i] = under_way[--count];
    t->status = status;
    t->actual_length = bytes;
    t->callback(t);
}

/* Cancelled transfers end. */
int libusb_handle_events(libusb_context *c)
{
    for (unsigned i = 0; i < count; i++)
        if (under_way[i]->status == LIBUSB_TRANSFER_CANCELLED) {
            ends(i, LIBUSB_TRANSFER_CANCELLED, 0);
            return 0;
        }
    return -1;
}

int libusb_handle_events_timeout_completed(libusb_context *c, struct timeval *tv, int *done)
{
    return 0;
}

/* ---- tests ---- */

struct guest {
    struct xd x;
    unsigned slot;
};

static const struct usb_host_config wanted = {.vendor = 0x1111, .product = 0x2222, .id = "h"};

static void until_submitted(struct guest *g, unsigned n)
{
    for (unsigned i = 0; i < 20000 && count < n; i++)
        g->x.bus->pump(g->x.bus);
    g_assert_cmpuint(count, ==, n);
}

static void up(struct guest *g, gconstpointer unused)
{
    GError *err = NULL;

    count = claims = releases = sets = halts = cancels = closes = 0;
    configuration = open_result = 0;
    xd_open(&g->x, NULL);
    usb_host_new(usb_bus_find(&g->x.buses, NULL), "2", &wanted, &err);
    g_assert_no_error(err);
    xd_map(&g->x);
    xd_start(&g->x);
    g->slot = xd_address(&g->x, 6, 3, 0);
    g_assert_cmpuint(xd_control(&g->x, g->slot, 0x00, 9, 1, 0, 0, NULL), ==, 1);
    xd_input(&g->x, 0, 1 | 1u << IN | 1u << OUT);
    vt_put(g->x.bus, XD_INPUT + 32, 4u << 27, 4);
    xd_input_ep(&g->x, g->slot, IN, 6, 512);
    xd_input_ep(&g->x, g->slot, OUT, 2, 512);
    g_assert_cmpuint(xd_command(&g->x, 12, XD_INPUT, g->slot << 24, NULL), ==, 1);
}

static void down(struct guest *g, gconstpointer unused)
{
    xd_close(&g->x);
    g_assert_cmpuint(closes, ==, 1);
    g_assert_cmpuint(claims, ==, releases);
}

static void test_configuration_goes_through_the_library(struct guest *g, gconstpointer unused)
{
    g_assert_cmpuint(sets, ==, 1);
    g_assert_cmpint(configuration, ==, 1);
    g_assert_cmpuint(claims, ==, 1);
    g_assert_cmpuint(xd_control(&g->x, g->slot, 0x02, 1, 0, 0x81, 0, NULL), ==, 1);
    g_assert_cmpuint(halts, ==, 1);
}

static void test_a_control_transfer_waits_for_its_end(struct guest *g, gconstpointer unused)
{
    struct xd_ring *r = &g->x.ring[g->slot][1];
    struct xd_event e;

    xd_put(&g->x, r, 0x0012000001000680ull, 8, 2u << 10 | 0x40 | 3u << 16);
    xd_put(&g->x, r, XD_DATA, 18, 3u << 10 | 0x24 | 1u << 16);
    xd_put(&g->x, r, 0, 0, 4u << 10 | 0x20);
    xd_ring_bell(&g->x, g->slot, 1);
    until_submitted(g, 1);
    g_assert_cmpmem(under_way[0]->buffer, 8, "\x80\x06\0\x01\0\0\x12\0", 8);
    memset(under_way[0]->buffer + 8, 0x77, 18);
    ends(0, LIBUSB_TRANSFER_COMPLETED, 18);
    e = xd_wait_result(&g->x);
    g_assert_cmpuint(xd_code(&e), ==, 1);
    e = xd_wait_result(&g->x);
    g_assert_cmpuint(xd_code(&e), ==, 1);
    g_assert_cmphex(vt_get(g->x.bus, XD_DATA + 16, 4), ==, 0x7777);
}

static void test_bulk_both_ways(struct guest *g, gconstpointer unused)
{
    struct xd_event e;

    vt_put(g->x.bus, XD_DATA, 0x12345678, 4);
    xd_put(&g->x, &g->x.ring[g->slot][OUT], XD_DATA, 4, 1u << 10 | 0x20);
    xd_ring_bell(&g->x, g->slot, OUT);
    until_submitted(g, 1);
    g_assert_cmphex(le32_get(under_way[0]->buffer), ==, 0x12345678);
    g_assert_cmpint(under_way[0]->length, ==, 4);
    ends(0, LIBUSB_TRANSFER_COMPLETED, 4);
    e = xd_wait_result(&g->x);
    g_assert_cmpuint(xd_code(&e), ==, 1);
    /* less comes than was asked for: whole packets are asked for */
    xd_put(&g->x, &g->x.ring[g->slot][IN], XD_DATA, 100, 1u << 10 | 0x24);
    xd_ring_bell(&g->x, g->slot, IN);
    until_submitted(g, 1);
    g_assert_cmpint(under_way[0]->length, ==, 512);
    le32_put(under_way[0]->buffer, 0xabcdef01);
    ends(0, LIBUSB_TRANSFER_COMPLETED, 10);
    e = xd_wait_result(&g->x);
    g_assert_cmpuint(xd_code(&e), ==, 13);
    g_assert_cmpuint(e.status & 0xffffff, ==, 90);
    g_assert_cmphex(vt_get(g->x.bus, XD_DATA, 4), ==, 0xabcdef01);
    /* a stall, and a device that goes */
    xd_put(&g->x, &g->x.ring[g->slot][IN], XD_DATA, 100, 1u << 10 | 0x24);
    xd_ring_bell(&g->x, g->slot, IN);
    until_submitted(g, 1);
    ends(0, LIBUSB_TRANSFER_STALL, 0);
    e = xd_wait_result(&g->x);
    g_assert_cmpuint(xd_code(&e), ==, 6);
    xd_put(&g->x, &g->x.ring[g->slot][OUT], XD_DATA, 4, 1u << 10 | 0x20);
    xd_ring_bell(&g->x, g->slot, OUT);
    until_submitted(g, 1);
    ends(0, LIBUSB_TRANSFER_NO_DEVICE, 0);
    e = xd_wait_result(&g->x);
    g_assert_cmpuint(xd_code(&e), ==, 4);
}

static void test_pausing_and_unplugging_cancel(struct guest *g, gconstpointer unused)
{
    struct usb_device *d = usb_bus_find(&g->x.buses, NULL)->ports->next->dev;

    xd_put(&g->x, &g->x.ring[g->slot][IN], XD_DATA, 100, 1u << 10 | 0x24);
    xd_ring_bell(&g->x, g->slot, IN);
    until_submitted(g, 1);
    vt_board_pause(g->x.board);
    g_assert_cmpuint(cancels, ==, 1);
    g_assert_cmpuint(count, ==, 0);
    vt_board_resume(g->x.board);
    until_submitted(g, 1); /* the guest still waits: it is asked again */
    d->dev.ops->destroy(&d->dev);
    g_assert_cmpuint(count, ==, 0);
    struct xd_event e = xd_wait_result(&g->x);
    g_assert_cmpuint(xd_code(&e), ==, 4);
}

static void test_refusals_are_sentences(struct guest *g, gconstpointer unused)
{
    struct usb_host_config other = {.vendor = 0x1112};
    struct usb_bus *bus = usb_bus_find(&g->x.buses, NULL);
    GError *err = NULL;

    g_assert_null(usb_host_new(bus, NULL, &other, &err));
    g_assert_nonnull(strstr(err->message, "lsusb"));
    g_clear_error(&err);
    open_result = LIBUSB_ERROR_ACCESS;
    g_assert_null(usb_host_new(bus, NULL, &wanted, &err));
    g_assert_nonnull(strstr(err->message, "/dev/bus/usb/003/004 needs to be writable"));
    g_clear_error(&err);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define TEST(name, fn) g_test_add("/usb-host/" name, struct guest, NULL, up, fn, down)
    TEST("configuration", test_configuration_goes_through_the_library);
    TEST("control", test_a_control_transfer_waits_for_its_end);
    TEST("bulk", test_bulk_both_ways);
    TEST("cancel", test_pausing_and_unplugging_cancel);
    TEST("refusals", test_refusals_are_sentences);
    return g_test_run();
}
