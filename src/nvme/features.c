/* features.c - Get Features and Set Features (§5.14, §5.21). */
#include "nvme_int.h"

enum {
    SELECT_CURRENT = 0,
    SELECT_DEFAULT = 1,
    SELECT_CAPABILITIES = 3,
    CAP_CHANGEABLE = 4,
    CAP_PER_NAMESPACE = 2,
    TEMPERATURE_OVER = 0x157, /* Kelvin */
    TEMPERATURE_SELECT = 0x3f0000,
};

static uint32_t default_of(const struct nvme *n, uint8_t id)
{
    switch (id) {
    case NVME_F_TEMPERATURE:
        return TEMPERATURE_OVER;
    case NVME_F_WRITE_CACHE:
        return !n->cfg.no_write_cache;
    case NVME_F_QUEUES:
        return (n->queues - 2) | (n->queues - 2) << 16;
    default:
        return 0;
    }
}

static bool known(uint8_t id)
{
    return id >= NVME_F_ARBITRATION && id < NVME_FEATURES && id != 3;
}

void nvme_features_reset(struct nvme *n)
{
    for (uint8_t id = 0; id < NVME_FEATURES; id++)
        n->feature[id] = known(id) ? default_of(n, id) : 0;
    memset(n->uncoalesced, 0, sizeof(n->uncoalesced));
}

static bool vector_ok(const struct nvme *n, uint32_t v)
{
    return v < n->cfg.vectors;
}

static uint16_t get_current(struct nvme_req *r, uint8_t id)
{
    struct nvme *n = r->n;
    uint32_t v = r->cmd.dw[1] & 0xffff;

    r->result = n->feature[id];
    if (id == NVME_F_VECTOR) {
        if (!vector_ok(n, v))
            return NVME_BAD_FIELD;
        r->result = v | (n->uncoalesced[v / 64] & BIT64(v % 64) ? BIT(16) : 0);
    } else if (id == NVME_F_TEMPERATURE && (r->cmd.dw[1] & TEMPERATURE_SELECT)) {
        r->result = r->cmd.dw[1] >> 20 & 3 ? 0 : 0xffff; /* sensors that do not exist */
    }
    return NVME_OK;
}

uint16_t nvme_get_feature(struct nvme_req *r)
{
    uint8_t id = (uint8_t)r->cmd.dw[0];
    unsigned select = r->cmd.dw[0] >> 8 & 7;

    if (!known(id) || select > SELECT_CAPABILITIES)
        return NVME_BAD_FIELD;
    if (id == NVME_F_ERROR_RECOVERY && r->cmd.nsid != NVME_NSID &&
        r->cmd.nsid != (uint32_t)NVME_ALL_NS)
        return NVME_BAD_NAMESPACE;
    if (select == SELECT_CAPABILITIES)
        r->result =
            CAP_CHANGEABLE | (id == NVME_F_ERROR_RECOVERY ? (uint32_t)CAP_PER_NAMESPACE : 0);
    else if (select == SELECT_CURRENT)
        return get_current(r, id);
    else /* nothing is saved: saved values are the defaults */
        r->result = default_of(r->n, id);
    return NVME_OK;
}

/* Any number asked for is answered by what there is; it cannot change once queues exist. */
static uint16_t set_queues(struct nvme_req *r)
{
    struct nvme *n = r->n;

    for (unsigned i = 1; i < n->queues; i++)
        if (n->sq[i].live || n->cq[i].live)
            return NVME_SEQUENCE_ERROR;
    if ((r->cmd.dw[1] & 0xffff) == 0xffff || r->cmd.dw[1] >> 16 == 0xffff)
        return NVME_BAD_FIELD;
    r->result = n->feature[NVME_F_QUEUES];
    return NVME_OK;
}

static uint16_t set_vector(struct nvme *n, uint32_t val)
{
    uint32_t v = val & 0xffff;

    if (!vector_ok(n, v))
        return NVME_BAD_FIELD;
    if (val & BIT(16))
        n->uncoalesced[v / 64] |= BIT64(v % 64);
    else
        n->uncoalesced[v / 64] &= ~BIT64(v % 64);
    return NVME_OK;
}

uint16_t nvme_set_feature(struct nvme_req *r)
{
    struct nvme *n = r->n;
    uint8_t id = (uint8_t)r->cmd.dw[0];
    uint32_t val = r->cmd.dw[1];

    if (!known(id))
        return NVME_BAD_FIELD;
    if (r->cmd.dw[0] & BIT(31))
        return NVME_NOT_SAVEABLE;
    switch (id) {
    case NVME_F_QUEUES:
        return set_queues(r);
    case NVME_F_VECTOR:
        return set_vector(n, val);
    case NVME_F_POWER:
        if (val & 0x1f) /* there is one state */
            return NVME_BAD_FIELD;
        return NVME_OK;
    case NVME_F_TEMPERATURE:
        if ((val & TEMPERATURE_SELECT) == 0)
            n->feature[id] = val & 0xffff;
        return NVME_OK;
    case NVME_F_WRITE_CACHE:
        n->feature[id] = val & 1;
        return NVME_OK;
    case NVME_F_ERROR_RECOVERY:
        if (r->cmd.nsid != NVME_NSID && r->cmd.nsid != (uint32_t)NVME_ALL_NS)
            return NVME_BAD_NAMESPACE;
        n->feature[id] = val & 0xffff;
        return NVME_OK;
    default:
        n->feature[id] = val;
        return NVME_OK;
    }
}
