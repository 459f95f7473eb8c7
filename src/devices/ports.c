/* ports.c - chips that are a port or two: port 0x92, the reset port, DMA controllers as storage. */
#include "devices/ports.h"

#include "base/state.h"
#include "base/util.h"
#include "bus/io.h"

#include <glib.h>

/* ---- port 0x92 ---- */

enum { P92_RESET = 0x01, P92_A20 = 0x02 };

struct port92 {
    struct device dev; /* first */
    struct io_region region;
    const struct board_requests *req;
    uint8_t value;
};

static void port92_write(struct io_region *r, uint64_t off, unsigned size, uint64_t val)
{
    struct port92 *p = container_of(r, struct port92, region);
    uint8_t rising = val & ~p->value;

    p->value = val;
    if (p->req->a20)
        p->req->a20(p->req->opaque, val & P92_A20);
    if (rising & P92_RESET)
        p->req->reset(p->req->opaque, BOARD_RESET_PORT92);
}

static uint64_t port92_read(struct io_region *r, uint64_t off, unsigned size)
{
    return container_of(r, struct port92, region)->value;
}

static const struct io_ops port92_ops = {port92_read, port92_write, 1, 1};

static void port92_reset(struct device *d)
{
    container_of(d, struct port92, dev)->value = P92_A20;
}

static const struct state_field port92_fields[] = {
    STATE_U8(struct port92, value),
    STATE_END,
};
static const struct state_desc port92_state = {
    .name = "port92", .version = 1, .fields = port92_fields};

static void port92_destroy(struct device *d)
{
    device_remove(d->list, d);
    g_free(container_of(d, struct port92, dev));
}

static const struct device_ops port92_device_ops = {
    .type = "port92", .reset = port92_reset, .destroy = port92_destroy, .state = &port92_state};

bool port92_new(struct device_list *devices, struct io_space *pio, const struct board_requests *req)
{
    struct port92 *p = g_new0(struct port92, 1);

    p->req = req;
    p->region = (struct io_region){
        .ops = &port92_ops, .name = "port92", .size_bytes = 1, .lock = &devices->lock};
    device_add(devices, &p->dev, &port92_device_ops, NULL, "port92");
    port92_reset(&p->dev);
    io_space_add(pio, &p->region, 0x92);
    return true;
}

/* ---- reset control register, ICH9 §13.7.5 ---- */

enum { CF9_HARD = 0x02, CF9_GO = 0x04, CF9_FULL = 0x08 };

struct reset_port {
    struct device dev; /* first */
    struct io_region region;
    const struct board_requests *req;
    uint8_t value;
};

static void reset_port_write(struct io_region *r, uint64_t off, unsigned size, uint64_t val)
{
    struct reset_port *p = container_of(r, struct reset_port, region);
    uint8_t rising = val & ~p->value;

    p->value = val & (CF9_HARD | CF9_GO | CF9_FULL);
    if (rising & CF9_GO)
        p->req->reset(p->req->opaque, BOARD_RESET_CF9);
}

static uint64_t reset_port_read(struct io_region *r, uint64_t off, unsigned size)
{
    return container_of(r, struct reset_port, region)->value;
}

static const struct io_ops reset_port_ops = {reset_port_read, reset_port_write, 1, 1};

static void reset_port_reset(struct device *d)
{
    container_of(d, struct reset_port, dev)->value = 0;
}

static const struct state_field reset_port_fields[] = {
    STATE_U8(struct reset_port, value),
    STATE_END,
};
static const struct state_desc reset_port_state = {
    .name = "reset-port", .version = 1, .fields = reset_port_fields};

static void reset_port_destroy(struct device *d)
{
    device_remove(d->list, d);
    g_free(container_of(d, struct reset_port, dev));
}

static const struct device_ops reset_port_device_ops = {.type = "reset-port",
                                                        .reset = reset_port_reset,
                                                        .destroy = reset_port_destroy,
                                                        .state = &reset_port_state};

bool reset_port_new(struct device_list *devices, struct io_space *pio,
                    const struct board_requests *req)
{
    struct reset_port *p = g_new0(struct reset_port, 1);

    p->req = req;
    p->region = (struct io_region){.ops = &reset_port_ops,
                                   .name = "reset-port",
                                   .size_bytes = 1,
                                   .priority = 1, /* over the PCI address register's second byte */
                                   .lock = &devices->lock};
    device_add(devices, &p->dev, &reset_port_device_ops, NULL, "reset-port");
    io_space_add(pio, &p->region, 0xcf9);
    return true;
}

/* ---- 8237 DMA controllers: storage ---- */

#define DMA_RANGES 3
static const struct {
    uint16_t base;
    uint8_t size, at;
} dma_range[DMA_RANGES] = {{0x00, 16, 0}, {0x80, 16, 16}, {0xc0, 32, 32}};

struct dma8237;
struct dma_ports {
    struct io_region region; /* first */
    struct dma8237 *dma;
    uint8_t at; /* in bytes[] */
};
struct dma8237 {
    struct device dev; /* first */
    struct dma_ports ports[DMA_RANGES];
    uint8_t bytes[64];
};

static void dma_write(struct io_region *r, uint64_t off, unsigned size, uint64_t val)
{
    struct dma_ports *p = container_of(r, struct dma_ports, region);

    p->dma->bytes[p->at + off] = val;
}

static uint64_t dma_read(struct io_region *r, uint64_t off, unsigned size)
{
    struct dma_ports *p = container_of(r, struct dma_ports, region);

    return p->dma->bytes[p->at + off];
}

static const struct io_ops dma_ops = {dma_read, dma_write, 1, 1};

static void dma_reset(struct device *d)
{
    struct dma8237 *m = container_of(d, struct dma8237, dev);

    memset(m->bytes, 0, sizeof(m->bytes));
}

static const struct state_field dma_fields[] = {
    STATE_BYTES(struct dma8237, bytes),
    STATE_END,
};
static const struct state_desc dma_state = {.name = "i8237", .version = 1, .fields = dma_fields};

static void dma_destroy(struct device *d)
{
    device_remove(d->list, d);
    g_free(container_of(d, struct dma8237, dev));
}

static const struct device_ops dma_device_ops = {
    .type = "i8237", .reset = dma_reset, .destroy = dma_destroy, .state = &dma_state};

bool dma8237_new(struct device_list *devices, struct io_space *pio)
{
    struct dma8237 *m = g_new0(struct dma8237, 1);

    device_add(devices, &m->dev, &dma_device_ops, NULL, "i8237");
    for (unsigned i = 0; i < DMA_RANGES; i++) {
        m->ports[i] = (struct dma_ports){
            .region = {.ops = &dma_ops,
                       .name = "dma",
                       .size_bytes = dma_range[i].size,
                       .priority = -1, /* below whatever lives among the page registers */
                       .lock = &devices->lock},
            .dma = m,
            .at = dma_range[i].at};
        io_space_add(pio, &m->ports[i].region, dma_range[i].base);
    }
    return true;
}
