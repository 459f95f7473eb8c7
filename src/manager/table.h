/* table.h - how the tables of domain.h's structs are written; private to table_*.c.
 *
 * The order of rows is the order in which libvirt writes them. */
#ifndef MANAGER_TABLE_H
#define MANAGER_TABLE_H

#include "manager/domain.h"

/* One table per struct: S is the struct's type while its rows are written. */
#define O(m) offsetof(S, m)
#define A_STR(n, m)                                                                                \
    {                                                                                              \
        n, XML_ATTR, XML_STR, O(m)                                                                 \
    }
#define A_WORD(n, m, w)                                                                            \
    {                                                                                              \
        n, XML_ATTR, XML_WORD, O(m), w                                                             \
    }
#define A_ENUM(n, m, w)                                                                            \
    {                                                                                              \
        n, XML_ATTR, XML_ENUM, O(m), w                                                             \
    }
#define A_UINT(n, m)                                                                               \
    {                                                                                              \
        n, XML_ATTR, XML_UINT, O(m)                                                                \
    }
#define A_INT(n, m)                                                                                \
    {                                                                                              \
        n, XML_ATTR, XML_INT, O(m)                                                                 \
    }
#define BODY_STR(m)                                                                                \
    {                                                                                              \
        "text", XML_BODY, XML_STR, O(m)                                                            \
    }
#define BODY_UINT(m)                                                                               \
    {                                                                                              \
        "text", XML_BODY, XML_UINT, O(m)                                                           \
    }
#define L_STR(n, m)                                                                                \
    {                                                                                              \
        n, XML_LEAF, XML_STR, O(m)                                                                 \
    }
#define L_WORD(n, m, w)                                                                            \
    {                                                                                              \
        n, XML_LEAF, XML_WORD, O(m), w                                                             \
    }
#define L_UINT(n, m)                                                                               \
    {                                                                                              \
        n, XML_LEAF, XML_UINT, O(m)                                                                \
    }
#define L_INT(n, m)                                                                                \
    {                                                                                              \
        n, XML_LEAF, XML_INT, O(m)                                                                 \
    }
#define FLAG(n, m)                                                                                 \
    {                                                                                              \
        n, XML_FLAG, XML_STR, O(m)                                                                 \
    }
#define RAW(n, m)                                                                                  \
    {                                                                                              \
        n, XML_RAW, XML_STR, O(m)                                                                  \
    }
#define KID(n, m, e)                                                                               \
    {                                                                                              \
        n, XML_KID, XML_STR, O(m), NULL, &(e)                                                      \
    }
#define REF(n, m, e)                                                                               \
    {                                                                                              \
        n, XML_REF, XML_STR, O(m), NULL, &(e)                                                      \
    }
#define LIST(n, m, e)                                                                              \
    {                                                                                              \
        n, XML_LIST, XML_STR, O(m), NULL, &(e)                                                     \
    }
#define END                                                                                        \
    {                                                                                              \
        NULL                                                                                       \
    }
#define ELEMENT(var, n)        static const struct xml_element var = {n, sizeof(S), var##_fields}
#define PUBLIC_ELEMENT(var, n) const struct xml_element var = {n, sizeof(S), var##_fields}
#define FIELDS(var)            static const struct xml_field var##_fields[] =
#define WORDS(var, ...)        static const char *const var[] = {NULL, __VA_ARGS__, NULL}
#define PUBLIC_WORDS(var, ...) const char *const var[] = {NULL, __VA_ARGS__, NULL}
#define TYPEOF(T, m)           __typeof__(((T *)0)->m)

/* table_parts.c: what many elements have */
extern const char *const words_yes_no[], *const words_on_off[], *const words_virtio_models[];
extern const struct xml_element part_address, part_alias, part_model_name, part_boot_order,
    part_rom, part_acpi, part_virtio_driver, part_seclabel, part_max_memory, part_memory,
    part_current_memory, part_hard_limit, part_soft_limit, part_swap_hard_limit;
/* table_net.c */
extern const char *const words_chr_types[];
/* table_devices.c: <devices> */
extern const struct xml_element devices_element;

/* What every device may have: before and after its own elements. */
#define INFO_FIRST KID("boot", info.boot, part_boot_order)
#define INFO_LAST                                                                                  \
    KID("alias", info.alias, part_alias), KID("rom", info.rom, part_rom),                          \
        KID("acpi", info.acpi, part_acpi), KID("address", info.address, part_address)

#endif
