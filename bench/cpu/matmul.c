/* matmul.c - 128x128 matrix products with packed arithmetic: SSE2 doubles, AVX2 floats with FMA. */
#include "bench.h"

#include <immintrin.h>
#include <string.h>

enum { SIDE = 128 };

static double da[SIDE][SIDE] __attribute__((aligned(64))),
    db[SIDE][SIDE] __attribute__((aligned(64))), dc[SIDE][SIDE] __attribute__((aligned(64)));
static float fa[SIDE][SIDE] __attribute__((aligned(64))),
    fb[SIDE][SIDE] __attribute__((aligned(64))), fc[SIDE][SIDE] __attribute__((aligned(64)));

static void setup(uint64_t n)
{
    (void)n;
    for (int i = 0; i < SIDE; i++)
        for (int j = 0; j < SIDE; j++) {
            fa[i][j] = (float)((i * 3 + j) % 17) / 16;
            fb[i][j] = (float)((i + j * 5) % 13) / 16;
            da[i][j] = fa[i][j];
            db[i][j] = fb[i][j];
        }
}

static __attribute__((noinline)) void multiply_sse2(void)
{
    for (int i = 0; i < SIDE; i++)
        for (int j = 0; j < SIDE; j += 8) {
            __m128d s0 = _mm_setzero_pd(), s1 = s0, s2 = s0, s3 = s0;
            for (int k = 0; k < SIDE; k++) {
                __m128d a = _mm_set1_pd(da[i][k]);
                s0 = _mm_add_pd(s0, _mm_mul_pd(a, _mm_load_pd(&db[k][j])));
                s1 = _mm_add_pd(s1, _mm_mul_pd(a, _mm_load_pd(&db[k][j + 2])));
                s2 = _mm_add_pd(s2, _mm_mul_pd(a, _mm_load_pd(&db[k][j + 4])));
                s3 = _mm_add_pd(s3, _mm_mul_pd(a, _mm_load_pd(&db[k][j + 6])));
            }
            _mm_store_pd(&dc[i][j], s0);
            _mm_store_pd(&dc[i][j + 2], s1);
            _mm_store_pd(&dc[i][j + 4], s2);
            _mm_store_pd(&dc[i][j + 6], s3);
        }
}

static __attribute__((noinline, target("avx2,fma"))) void multiply_avx2(void)
{
    for (int i = 0; i < SIDE; i++)
        for (int j = 0; j < SIDE; j += 32) {
            __m256 s0 = _mm256_setzero_ps(), s1 = s0, s2 = s0, s3 = s0;
            for (int k = 0; k < SIDE; k++) {
                __m256 a = _mm256_broadcast_ss(&fa[i][k]);
                s0 = _mm256_fmadd_ps(a, _mm256_load_ps(&fb[k][j]), s0);
                s1 = _mm256_fmadd_ps(a, _mm256_load_ps(&fb[k][j + 8]), s1);
                s2 = _mm256_fmadd_ps(a, _mm256_load_ps(&fb[k][j + 16]), s2);
                s3 = _mm256_fmadd_ps(a, _mm256_load_ps(&fb[k][j + 24]), s3);
            }
            _mm256_store_ps(&fc[i][j], s0);
            _mm256_store_ps(&fc[i][j + 8], s1);
            _mm256_store_ps(&fc[i][j + 16], s2);
            _mm256_store_ps(&fc[i][j + 24], s3);
        }
}

static uint64_t run_sse2(uint64_t n)
{
    for (uint64_t i = 0; i < n; i++) {
        multiply_sse2();
        da[i % SIDE][i * 7 % SIDE] = dc[3][i % SIDE] / 1024;
    }
    return bench_mix_bytes(0, dc, sizeof dc);
}

static uint64_t run_avx2(uint64_t n)
{
    for (uint64_t i = 0; i < n; i++) {
        multiply_avx2();
        fa[i % SIDE][i * 7 % SIDE] = fc[3][i % SIDE] / 1024;
    }
    return bench_mix_bytes(0, fc, sizeof fc);
}

const struct bench_test bench_matmul_sse2 = {.name = "fp/matmul-sse2",
                                             .setup = setup,
                                             .run = run_sse2,
                                             .work = 150,
                                             .minimum = 1,
                                             .cpus = 1};
const struct bench_test bench_matmul_avx2 = {.name = "fp/matmul-avx2",
                                             .setup = setup,
                                             .run = run_avx2,
                                             .work = 500,
                                             .minimum = 1,
                                             .cpus = 1};
