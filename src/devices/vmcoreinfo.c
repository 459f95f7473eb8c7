/* vmcoreinfo.c - a file that the guest writes, and its state. */
#include "devices/vmcoreinfo.h"

#include "base/state.h"
#include "base/util.h"

#include <glib.h>

enum { FILE_BYTES = 16, FORMAT_ELF = 1 };

struct vmcoreinfo {
    struct device dev; /* first */
    struct fw_cfg *fw_cfg;
    uint8_t file[FILE_BYTES]; /* board lock */
};

static void written(void *opaque, const uint8_t *data)
{
    struct vmcoreinfo *v = opaque;

    memcpy(v->file, data, sizeof(v->file));
}

static void file_show(struct vmcoreinfo *v)
{
    fw_cfg_add_writable_file(v->fw_cfg, VMCOREINFO_FILE, v->file, sizeof(v->file), written, v);
}

static void vmcoreinfo_reset(struct device *d)
{
    struct vmcoreinfo *v = container_of(d, struct vmcoreinfo, dev);

    memset(v->file, 0, sizeof(v->file));
    le16_put(v->file, FORMAT_ELF);
    file_show(v);
}

static void vmcoreinfo_destroy(struct device *d)
{
    device_remove(d->list, d);
    g_free(container_of(d, struct vmcoreinfo, dev));
}

static bool post_load(void *obj, uint32_t version, GError **err)
{
    file_show(obj);
    return true;
}

static const struct state_field fields[] = {
    STATE_BYTES(struct vmcoreinfo, file),
    STATE_END,
};
static const struct state_desc vmcoreinfo_state = {
    .name = "vmcoreinfo", .version = 1, .fields = fields, .post_load = post_load};
static const struct device_ops vmcoreinfo_ops = {.type = "vmcoreinfo",
                                                 .reset = vmcoreinfo_reset,
                                                 .destroy = vmcoreinfo_destroy,
                                                 .state = &vmcoreinfo_state};

void vmcoreinfo_new(struct device_list *devices, struct fw_cfg *f, const char *id)
{
    struct vmcoreinfo *v = g_new0(struct vmcoreinfo, 1);

    v->fw_cfg = f;
    device_add(devices, &v->dev, &vmcoreinfo_ops, id, "vmcoreinfo");
    vmcoreinfo_reset(&v->dev);
}
