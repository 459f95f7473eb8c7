/* argv_int.h - what the files of the argv builder share. */
#ifndef MANAGER_ARGV_INT_H
#define MANAGER_ARGV_INT_H

#include "manager/argv.h"

struct argv {
    GPtrArray *words;
    struct domain *d;
    const struct argv_options *o;
    GError **err;
    unsigned next_node; /* number of the next disk's top node */
};

void argv_add(struct argv *a, const char *option, const char *fmt, ...) G_GNUC_PRINTF(3, 4);
void argv_json(struct argv *a, const char *option, json_t *stolen);
/* A value of a key=value list: commas doubled.  Returns a new string. */
char *argv_value(const char *text);
void json_str(json_t *o, const char *key, const char *value); /* nothing when NULL */
void json_num(json_t *o, const char *key, struct xml_num n);  /* nothing when not set */
void json_int(json_t *o, const char *key, int64_t v);
/* "bus" and "addr" (PCI, USB, drive) of a device. */
void json_place(const struct domain *d, json_t *o, const struct address *a);
/* iommu_platform, ats, packed. */
void json_virtio(json_t *o, const char *iommu, const char *ats, const char *packed);
/* "virtio-blk-pci", "virtio-blk-pci-transitional", ... */
char *virtio_driver_name(const char *base, const char *model);
/* A boot index, from <boot order> or from <os><boot dev>. */
void json_bootindex(const struct domain *d, json_t *o, const struct dev_info *info,
                    const char *os_dev, bool first_of_kind);

bool argv_disks(struct argv *a);
bool argv_nets(struct argv *a);
bool argv_chrs(struct argv *a);
bool argv_controllers(struct argv *a);
bool argv_screens(struct argv *a);
bool argv_others(struct argv *a);
void argv_panics(struct argv *a);
void argv_firmware_nodes(struct argv *a);

#endif
