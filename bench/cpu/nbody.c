/* nbody.c - planets under gravity: scalar double arithmetic with square roots and divisions. */
#include "bench.h"

#include <string.h>

enum { BODIES = 5 };

struct body {
    double x, y, z, vx, vy, vz, mass;
};

static struct body bodies[BODIES];

static void setup(uint64_t n)
{
    (void)n;
    for (int i = 0; i < BODIES; i++) {
        double d = i * 5.0 + 0.5;
        bodies[i] = (struct body){.x = d,
                                  .y = i & 1 ? -d * 0.3 : d * 0.2,
                                  .z = d * 0.05,
                                  .vx = 0.1 * i,
                                  .vy = i ? 2.5 / d : 0,
                                  .vz = 0.01 * i,
                                  .mass = i ? 0.03 / i : 39.5};
    }
}

static double root(double x)
{
    double r;
    __asm__("sqrtsd %1, %0" : "=x"(r) : "x"(x));
    return r;
}

static __attribute__((noinline)) void advance(double dt)
{
    for (int i = 0; i < BODIES; i++)
        for (int j = i + 1; j < BODIES; j++) {
            struct body *a = &bodies[i], *b = &bodies[j];
            double dx = a->x - b->x, dy = a->y - b->y, dz = a->z - b->z;
            double square = dx * dx + dy * dy + dz * dz + 0.01;
            double pull = dt / (square * root(square));
            a->vx -= dx * b->mass * pull;
            a->vy -= dy * b->mass * pull;
            a->vz -= dz * b->mass * pull;
            b->vx += dx * a->mass * pull;
            b->vy += dy * a->mass * pull;
            b->vz += dz * a->mass * pull;
        }
    for (int i = 0; i < BODIES; i++) {
        bodies[i].x += dt * bodies[i].vx;
        bodies[i].y += dt * bodies[i].vy;
        bodies[i].z += dt * bodies[i].vz;
    }
}

static uint64_t run(uint64_t n)
{
    for (uint64_t i = 0; i < n; i++)
        advance(0.001);
    return bench_mix_bytes(0, bodies, sizeof bodies);
}

const struct bench_test bench_nbody = {
    .name = "fp/nbody", .setup = setup, .run = run, .work = 2000000, .minimum = 1, .cpus = 1};
