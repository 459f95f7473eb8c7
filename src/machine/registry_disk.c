/* registry_disk.c - what users may say of every disk, whatever it hangs on. */
#include "base/error.h"
#include "base/util.h"
#include "registry.h"

#include <errno.h>
#include <jansson.h>

bool device_disk_node(struct props *p, bool may_be_empty, struct blk_node **out, GError **err)
{
    const char *drive = NULL;

    if (!props_get_str(p, "drive", &drive, err))
        return false;
    if (!drive || !*drive)
        return may_be_empty || error_set(err, HANOK_ERROR_INVALID, "it needs drive=");
    *out = blk_find(drive);
    return *out ||
           error_set(err, HANOK_ERROR_NOT_FOUND,
                     "there is no drive or block node '%s'; give -blockdev or -drive first", drive);
}

bool device_disk_policies(struct props *p, enum blk_on_error *rerror, enum blk_on_error *werror,
                          GError **err)
{
    static const char *const names[] = {"auto", "report", "ignore", "stop", "enospc", NULL};
    unsigned r = BLK_ON_ERROR_DEFAULT, w = BLK_ON_ERROR_DEFAULT;

    if (!props_get_enum(p, "rerror", names, &r, err) ||
        !props_get_enum(p, "werror", names, &w, err))
        return false;
    if (r == BLK_ON_ERROR_ENOSPC)
        return error_set(err, HANOK_ERROR_INVALID,
                         "rerror=enospc is not possible: reading needs no space");
    *rerror = r;
    *werror = w;
    return true;
}

bool device_disk_blocks(struct props *p, uint32_t *logical, uint32_t *physical, GError **err)
{
    uint64_t lo = 0, ph = 0;

    if (!props_get_size(p, "logical_block_size", &lo, err) ||
        !props_get_size(p, "physical_block_size", &ph, err))
        return false;
    if (lo > 2 * MiB || ph > 2 * MiB)
        return error_set(err, HANOK_ERROR_INVALID, "a block size is too large");
    *logical = (uint32_t)lo;
    *physical = (uint32_t)ph;
    return true;
}

void device_disk_error(struct machine *m, const char *id, struct blk_node *node, bool is_write,
                       int errnum, enum blk_error_action action)
{
    static const char *const names[] = {"report", "ignore", "stop"};

    machine_emit(m, "BLOCK_IO_ERROR",
                 json_pack("{s:s, s:s, s:s, s:s, s:b, s:s}", "device", id ? id : "", "node-name",
                           node ? blk_node_name(node) : "", "operation",
                           is_write ? "write" : "read", "action", names[action], "nospace",
                           errnum == ENOSPC, "reason", g_strerror(errnum)));
    if (action == BLK_ERROR_STOP)
        machine_stop(m, RUN_IO_ERROR);
}
