/* trace_events.h - the list of trace points; one line each, grouped by folder. */
#ifndef BASE_TRACE_EVENTS_H
#define BASE_TRACE_EVENTS_H

#define TRACE_EVENTS(X)                                                                            \
    /* cpu */                                                                                      \
    X(vcpu_exit)                                                                                   \
    X(vcpu_inject)                                                                                 \
    X(vcpu_halt)                                                                                   \
    X(vcpu_msr)                                                                                    \
    X(vcpu_cpuid)                                                                                  \
    X(vcpu_hypercall)                                                                              \
    X(jit_exception)                                                                               \
    /* bus */                                                                                      \
    X(io_read)                                                                                     \
    X(io_write)                                                                                    \
    X(io_kick)                                                                                     \
    X(irq_gsi)                                                                                     \
    X(irq_msi)                                                                                     \
    X(pci_config)                                                                                  \
    /* virtio */                                                                                   \
    X(virtio_kick)                                                                                 \
    X(virtio_pop)                                                                                  \
    X(virtio_blk)                                                                                  \
    X(virtio_push)                                                                                 \
    X(virtio_notify)                                                                               \
    X(gpu_command)                                                                                 \
    /* block, net */                                                                               \
    X(blk_submit)                                                                                  \
    X(blk_done)                                                                                    \
    X(uring_queue)                                                                                 \
    X(uring_submit)                                                                                \
    X(uring_reap)                                                                                  \
    X(net_tx)                                                                                      \
    X(net_rx)                                                                                      \
    X(nic_reg)                                                                                     \
    /* monitor */                                                                                  \
    X(qmp_command)                                                                                 \
    X(qmp_event)

#endif
