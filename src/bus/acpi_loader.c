/* acpi_loader.c - writes loader commands, and executes them as firmware would.
 *
 * The commands executed are our own, but they are data with sizes and offsets: each is checked, and
 * a contradiction is an error with a sentence, not a write somewhere. */
#include "acpi_internal.h"

#include "base/error.h"
#include "base/util.h"
#include "bus/fw_cfg.h"
#include "mem/guest_mem.h"

#include <assert.h>

static void append(GByteArray *loader, const struct acpi_command *c)
{
    g_byte_array_append(loader, (const uint8_t *)c, sizeof(*c));
}

static void name_put(char to[ACPI_FILE_NAME_BYTES], const char *name)
{
    assert(strlen(name) < ACPI_FILE_NAME_BYTES);
    memcpy(to, name, strlen(name));
}

void acpi_command_allocate(GByteArray *loader, const char *file, uint32_t align,
                           enum acpi_zone zone)
{
    struct acpi_command c = {.kind = ACPI_CMD_ALLOCATE};

    name_put(c.allocate.file, file);
    c.allocate.align = align;
    c.allocate.zone = (uint8_t)zone;
    append(loader, &c);
}

void acpi_command_pointer(GByteArray *loader, const char *in_file, uint32_t offset, uint8_t size,
                          const char *to_file)
{
    struct acpi_command c = {.kind = ACPI_CMD_ADD_POINTER};

    name_put(c.pointer.in_file, in_file);
    name_put(c.pointer.to_file, to_file);
    c.pointer.offset = offset;
    c.pointer.size = size;
    append(loader, &c);
}

void acpi_command_checksum(GByteArray *loader, const char *file, uint32_t offset, uint32_t start,
                           uint32_t length)
{
    struct acpi_command c = {.kind = ACPI_CMD_ADD_CHECKSUM};

    name_put(c.checksum.file, file);
    c.checksum.offset = offset;
    c.checksum.start = start;
    c.checksum.length = length;
    append(loader, &c);
}

uint8_t acpi_checksum(const uint8_t *p, size_t len)
{
    uint8_t sum = 0;

    for (size_t i = 0; i < len; i++)
        sum = (uint8_t)(sum + p[i]);
    return (uint8_t)-sum;
}

/* ---- execution ---- */

struct placed {
    char name[ACPI_FILE_NAME_BYTES];
    uint8_t *data; /* our copy, written to the guest when all is patched */
    size_t len;
    uint64_t gpa;
};
#define PLACED_MAX 8

struct loading {
    struct placed file[PLACED_MAX];
    unsigned count;
};

static struct placed *placed_find(struct loading *l, const char *name)
{
    for (unsigned i = 0; i < l->count; i++)
        if (strncmp(l->file[i].name, name, ACPI_FILE_NAME_BYTES) == 0)
            return &l->file[i];
    return NULL;
}

static bool malformed(GError **err)
{
    return error_set(err, HANOK_ERROR_CORRUPT, "the ACPI table loader's commands are malformed");
}

static bool no_room(GError **err)
{
    return error_set(err, HANOK_ERROR_INVALID,
                     "the machine has too little memory for its ACPI and SMBIOS tables; give it "
                     "more with -m");
}

static bool run_allocate(struct loading *l, struct fw_cfg *f, struct acpi_placer *p,
                         const struct acpi_command *c, GError **err)
{
    struct placed *to = &l->file[l->count];
    const void *data;
    size_t len;

    if (l->count == PLACED_MAX || c->allocate.file[ACPI_FILE_NAME_BYTES - 1] != '\0' ||
        !(data = fw_cfg_file(f, c->allocate.file, &len)))
        return malformed(err);
    to->gpa = p->alloc(p, c->allocate.zone, len, c->allocate.align);
    if (to->gpa == UINT64_MAX)
        return no_room(err);
    memcpy(to->name, c->allocate.file, sizeof(to->name));
    to->data = g_memdup2(data, len);
    to->len = len;
    l->count++;
    return true;
}

static bool run_pointer(struct loading *l, const struct acpi_command *c, GError **err)
{
    struct placed *in = placed_find(l, c->pointer.in_file),
                  *to = placed_find(l, c->pointer.to_file);
    uint64_t v = 0;
    uint8_t size = c->pointer.size;

    if (!in || !to || size > sizeof(v) || (size & (size - 1)) || c->pointer.offset > in->len ||
        in->len - c->pointer.offset < size)
        return malformed(err);
    memcpy(&v, in->data + c->pointer.offset, size);
    if (v >= to->len)
        return malformed(err);
    v += to->gpa;
    memcpy(in->data + c->pointer.offset, &v, size);
    return true;
}

static bool run_checksum(struct loading *l, const struct acpi_command *c, GError **err)
{
    struct placed *in = placed_find(l, c->checksum.file);

    if (!in || c->checksum.offset >= in->len || c->checksum.start > in->len ||
        in->len - c->checksum.start < c->checksum.length)
        return malformed(err);
    in->data[c->checksum.offset] = 0;
    in->data[c->checksum.offset] = acpi_checksum(in->data + c->checksum.start, c->checksum.length);
    return true;
}

static bool run_command(struct loading *l, struct fw_cfg *f, struct acpi_placer *p,
                        const struct acpi_command *c, GError **err)
{
    switch (c->kind) {
    case ACPI_CMD_ALLOCATE:
        return run_allocate(l, f, p, c, err);
    case ACPI_CMD_ADD_POINTER:
        return run_pointer(l, c, err);
    case ACPI_CMD_ADD_CHECKSUM:
        return run_checksum(l, c, err);
    default:
        return malformed(err);
    }
}

bool acpi_load(struct fw_cfg *f, struct acpi_placer *p, struct acpi_placed *out, GError **err)
{
    struct loading l = {.count = 0};
    size_t len = 0;
    const uint8_t *commands = fw_cfg_file(f, ACPI_FILE_LOADER, &len);
    bool ok = commands && len % sizeof(struct acpi_command) == 0;
    struct placed *root, *tables;

    if (!ok)
        return malformed(err);
    for (size_t at = 0; ok && at < len; at += sizeof(struct acpi_command)) {
        struct acpi_command c;
        memcpy(&c, commands + at, sizeof(c));
        ok = run_command(&l, f, p, &c, err);
    }
    for (unsigned i = 0; i < l.count; i++) {
        if (ok && guest_mem_write_rom(p->mem, GPA(l.file[i].gpa), l.file[i].data, l.file[i].len))
            ok = no_room(err);
        g_free(l.file[i].data);
    }
    if (!ok)
        return false;
    root = placed_find(&l, ACPI_FILE_RSDP);
    tables = placed_find(&l, ACPI_FILE_TABLES);
    if (!root || !tables)
        return malformed(err);
    *out = (struct acpi_placed){.rsdp = root->gpa, .facs = tables->gpa};
    return true;
}
