/* fault.c - the hook before every host I/O. */
#include "fault.h"

#include "base/error.h"
#include "base/props.h"
#include "base/util.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

static blk_fault_fn *hook; /* atomic: looked at before every I/O */
static void *hook_opaque;

void blk_fault_set(blk_fault_fn *fn, void *opaque)
{
    hook_opaque = opaque;
    __atomic_store_n(&hook, fn, __ATOMIC_RELEASE);
}

bool blk_fault_on(void)
{
    return __atomic_load_n(&hook, __ATOMIC_RELAXED) != NULL;
}

int blk_fault_ask(const struct blk_node *n, const struct blk_req *req)
{
    blk_fault_fn *fn = __atomic_load_n(&hook, __ATOMIC_ACQUIRE);
    struct blk_host_io io = {.op = req->op,
                             .offset_bytes = req->offset_bytes,
                             .len_bytes = req->len_bytes,
                             .iov = req->iov,
                             .iov_count = req->iov_count,
                             .fua = (req->flags & BLK_REQ_FUA) != 0,
                             .filename = n->filename};
    return fn ? fn(hook_opaque, &io) : 0;
}

int blk_fault_fail_nth(void *opaque, const struct blk_host_io *io)
{
    struct blk_fail_nth *f = opaque;

    if (f->ops && !(f->ops & BIT(io->op)))
        return 0;
    uint64_t seen = __atomic_add_fetch(&f->seen, 1, __ATOMIC_RELAXED);
    if (seen < f->nth || (f->once && seen > f->nth))
        return 0;
    if (f->exit)
        _exit(99);
    return -f->errnum;
}

static bool parse_plan(const char *text, struct blk_fail_nth *f, GError **err)
{
    static const char *const ops[] = {"any", "read", "write", "flush", "discard", "zeroes", NULL};
    static const char *const ends[] = {"error", "exit", NULL};
    PROPS_AUTO p = props_parse(text, "nth", err);
    unsigned op = 0, then = 0;
    uint32_t errnum = EIO;

    if (!p || !props_get_u64(p, "nth", &f->nth, err) || !props_get_enum(p, "op", ops, &op, err) ||
        !props_get_u32(p, "errno", &errnum, err) || !props_get_enum(p, "then", ends, &then, err) ||
        !props_get_bool(p, "once", &f->once, err) || !props_check_unused(p, "it", NULL, err))
        return false;
    if (f->nth == 0 || errnum == 0 || errnum > 4095)
        return error_set(err, HANOK_ERROR_INVALID, "nth= counts from 1, errno= is 1 to 4095");
    f->errnum = (int)errnum;
    f->exit = then == 1;
    f->ops = op ? BIT(op - 1) : 0;
    return true;
}

bool blk_fault_from_environment(GError **err)
{
    static struct blk_fail_nth plan;
    static bool asked;
    const char *text = getenv("HANOK_IO_FAULT");

    if (asked || !text)
        return true;
    asked = true;
    if (!parse_plan(text, &plan, err)) {
        g_prefix_error(err, "The environment variable HANOK_IO_FAULT: ");
        return false;
    }
    blk_fault_set(blk_fault_fail_nth, &plan);
    return true;
}
