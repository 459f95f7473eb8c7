/* qcow2_bed.h - what the tests of qcow2 images share: opening, one request at a time, checking, and
 * the programs of the other side. */
#ifndef TEST_QCOW2_BED_H
#define TEST_QCOW2_BED_H

#include "block/block.h"
#include "block/qcow2.h"

#include <glib.h>

/* Runs a program of the other side; its output when wanted.  Its wait status. */
int run(const char *const *argv, char **out);
int try_run(const char *const *argv, char **out); /* says nothing about a failure */
#define QEMU_IMG(...) run((const char *const[]){"qemu-img", __VA_ARGS__, NULL}, NULL)
bool have_qemu_img(void); /* false: the test is marked as skipped */

struct blk_node *try_open(const char *path, const char *more, GError **err);
struct blk_node *open_ok(const char *path, const char *more);

struct wait {
    struct blk_req req;
    int ret;
};
void on_done(struct blk_req *req, int ret);
/* Submits, waits; 0 or -errno. */
int io(struct blk_node *n, enum blk_op op, uint64_t off, void *buf, uint64_t len, uint32_t flags);

void on_finding(void *opaque, bool is_leak, const char *text);
void own_check(const char *path, bool leaks_allowed);
void poke(const char *path, off_t at, const void *p, size_t n);
void remove_tree(const char *dir);
void copy_file(const char *from, const char *to); /* holes stay holes */

#endif
