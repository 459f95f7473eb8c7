/* tests.h - every test there is, in the order of the result table. */
#ifndef TESTS_H
#define TESTS_H

#define BENCH_TESTS(X)                                                                             \
    X(bench_coremark)                                                                              \
    X(bench_dhrystone)                                                                             \
    X(bench_fib)                                                                                   \
    X(bench_quicksort)                                                                             \
    X(bench_hash)                                                                                  \
    X(bench_bytecode)                                                                              \
    X(bench_virtual)                                                                               \
    X(bench_sieve)                                                                                 \
    X(bench_division)                                                                              \
    X(bench_bits)                                                                                  \
    X(bench_bigmul)                                                                                \
    X(bench_memcpy_small)                                                                          \
    X(bench_memcpy_64k)                                                                            \
    X(bench_strlen)                                                                                \
    X(bench_rep_movsb)                                                                             \
    X(bench_rep_stosb)                                                                             \
    X(bench_chase_16k)                                                                             \
    X(bench_chase_4m)                                                                              \
    X(bench_chase_64m)                                                                             \
    X(bench_random_256m)                                                                           \
    X(bench_tlb_walk)                                                                              \
    X(bench_triad)                                                                                 \
    X(bench_crossing)                                                                              \
    X(bench_nbody)                                                                                 \
    X(bench_mandelbrot)                                                                            \
    X(bench_matmul_sse2)                                                                           \
    X(bench_matmul_avx2)                                                                           \
    X(bench_x87)                                                                                   \
    X(bench_sha256_c)                                                                              \
    X(bench_sha256_openssl)                                                                        \
    X(bench_aes_openssl)                                                                           \
    X(bench_gzip)                                                                                  \
    X(bench_xz)                                                                                    \
    X(bench_zstd)                                                                                  \
    X(bench_sqlite)                                                                                \
    X(bench_python)                                                                                \
    X(bench_perl)                                                                                  \
    X(bench_cc1)                                                                                   \
    X(bench_shell)                                                                                 \
    X(bench_getppid)                                                                               \
    X(bench_fork)                                                                                  \
    X(bench_exec)                                                                                  \
    X(bench_pipe)                                                                                  \
    X(bench_page_fault)                                                                            \
    X(bench_mmap)                                                                                  \
    X(bench_signal)                                                                                \
    X(bench_mutex)                                                                                 \
    X(bench_one_thread)                                                                            \
    X(bench_two_threads)                                                                           \
    X(bench_smc)                                                                                   \
    X(bench_cold)                                                                                  \
    X(bench_lukewarm)

#define BENCH_DECLARE(test) extern const struct bench_test test;
BENCH_TESTS(BENCH_DECLARE)

#endif
