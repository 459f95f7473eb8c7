/* table_parts.c - parts that many elements have. */
#include "table.h"

PUBLIC_WORDS(words_yes_no, "yes", "no");
PUBLIC_WORDS(words_on_off, "on", "off");
PUBLIC_WORDS(words_virtio_models, "virtio", "virtio-transitional", "virtio-non-transitional");

#define S struct address
WORDS(address_types, "pci", "drive", "virtio-serial", "usb", "isa", "virtio-mmio");
FIELDS(part_address){
    A_ENUM("type", type, address_types),
    A_UINT("domain", domain),
    A_UINT("controller", controller),
    A_UINT("bus", bus),
    A_UINT("slot", slot),
    A_UINT("function", function),
    A_WORD("multifunction", multifunction, words_on_off),
    A_UINT("target", target),
    A_UINT("unit", unit),
    A_STR("port", port),
    A_STR("iobase", iobase),
    A_STR("irq", irq),
    END,
};
PUBLIC_ELEMENT(part_address, "address");
#undef S

#define S struct named
FIELDS(part_alias){A_STR("name", name), END};
PUBLIC_ELEMENT(part_alias, "alias");
FIELDS(part_model_name){A_STR("name", name), END};
PUBLIC_ELEMENT(part_model_name, "model");
#undef S

#define S struct boot_order
FIELDS(part_boot_order){A_UINT("order", order), A_STR("loadparm", loadparm), END};
PUBLIC_ELEMENT(part_boot_order, "boot");
#undef S

#define S struct rom
FIELDS(part_rom){A_WORD("enabled", enabled, words_yes_no), A_WORD("bar", bar, words_on_off),
                 A_STR("file", file), END};
PUBLIC_ELEMENT(part_rom, "rom");
#undef S

#define S TYPEOF(struct dev_info, acpi)
FIELDS(part_acpi){A_UINT("index", index), END};
PUBLIC_ELEMENT(part_acpi, "acpi");
#undef S

#define S struct virtio_driver
FIELDS(part_virtio_driver){
    A_WORD("iommu", iommu, words_on_off),
    A_WORD("ats", ats, words_on_off),
    A_WORD("packed", packed, words_on_off),
    END,
};
PUBLIC_ELEMENT(part_virtio_driver, "driver");
#undef S

#define S struct scaled
#define SCALED(var, n)                                                                             \
    FIELDS(var){A_UINT("slots", slots), A_STR("unit", unit),                                       \
                A_WORD("dumpCore", dump_core, words_on_off), BODY_UINT(value), END};               \
    PUBLIC_ELEMENT(var, n)
SCALED(part_max_memory, "maxMemory");
SCALED(part_memory, "memory");
SCALED(part_current_memory, "currentMemory");
SCALED(part_hard_limit, "hard_limit");
SCALED(part_soft_limit, "soft_limit");
SCALED(part_swap_hard_limit, "swap_hard_limit");
#undef S

#define S struct seclabel
WORDS(seclabel_types, "dynamic", "static", "none");
FIELDS(part_seclabel){
    A_WORD("type", type, seclabel_types),
    A_STR("model", model),
    A_WORD("relabel", relabel, words_yes_no),
    L_STR("label", label),
    L_STR("imagelabel", imagelabel),
    L_STR("baselabel", baselabel),
    END,
};
PUBLIC_ELEMENT(part_seclabel, "seclabel");
#undef S
