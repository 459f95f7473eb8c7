/* stats.c - KVM's binary statistics (Linux Documentation/virt/kvm/api.rst, KVM_GET_STATS_FD).
 *
 *   header | id | descriptors, each with a name of name_size bytes | data, u64s
 *
 * The kernel describes each number itself, so that what a newer one counts is shown as well. */
#include "kvm.h"

#include <unistd.h>

#define STATS_MAX  1024u /* more descriptors or values than any kernel has: not believed */
#define NAME_MAX_B 128u

_Static_assert(STAT_LOG_HIST == KVM_STATS_TYPE_LOG_HIST && STAT_BOOLEAN == KVM_STATS_UNIT_BOOLEAN &&
                   STAT_POW2 == KVM_STATS_BASE_POW2,
               "flags are KVM's");

int kvm_stats_open(int fd)
{
    return ioctl(fd, KVM_GET_STATS_FD, NULL);
}

static struct native_stat *read_one(int fd, const struct kvm_stats_header *h, uint32_t i)
{
    size_t desc_bytes = sizeof(struct kvm_stats_desc) + h->name_size;
    uint8_t buf[sizeof(struct kvm_stats_desc) + NAME_MAX_B] = {0};
    const struct kvm_stats_desc *d = (const struct kvm_stats_desc *)buf;
    if (pread(fd, buf, desc_bytes, (off_t)(h->desc_offset + i * desc_bytes)) !=
            (ssize_t)desc_bytes ||
        d->size == 0 || d->size > STATS_MAX)
        return NULL;
    struct native_stat *s = g_new0(struct native_stat, 1);
    size_t bytes = d->size * sizeof(uint64_t);
    s->name = g_strndup((const char *)buf + sizeof(*d), h->name_size);
    s->flags = d->flags;
    s->exponent = d->exponent;
    s->bucket_size = d->bucket_size;
    s->count = d->size;
    s->value = g_malloc0(bytes);
    if (pread(fd, s->value, bytes, (off_t)(h->data_offset + d->offset)) != (ssize_t)bytes) {
        native_stat_free(s);
        return NULL;
    }
    return s;
}

GPtrArray *kvm_stats_read(struct cpu_set *s, int index)
{
    int fd = index < 0 ? kvm_vm_of(s)->stats_fd : kvm_vcpu_of(s->vcpu[index])->stats_fd;
    struct kvm_stats_header h;
    if (fd < 0 || pread(fd, &h, sizeof(h), 0) != sizeof(h) || h.num_desc > STATS_MAX ||
        h.name_size > NAME_MAX_B)
        return NULL;
    GPtrArray *list = g_ptr_array_new_with_free_func(native_stat_free);
    for (uint32_t i = 0; i < h.num_desc; i++) {
        struct native_stat *one = read_one(fd, &h, i);
        if (one)
            g_ptr_array_add(list, one);
    }
    return list;
}
