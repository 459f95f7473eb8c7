/* virtual.c - calls through function pointers in objects of mixed classes. */
#include "bench.h"

enum { OBJECTS = 1024, CLASSES = 6 };

struct object;
typedef uint64_t (*method)(struct object *self, uint64_t argument);

struct class
{
    method update, value;
};

struct object {
    const struct class *class;
    uint64_t a, b;
};

#define UPDATE(name, expression)                                                                   \
    static uint64_t name(struct object *self, uint64_t argument)                                   \
    {                                                                                              \
        self->a = (expression);                                                                    \
        return self->a;                                                                            \
    }
UPDATE(update0, self->a + argument)
UPDATE(update1, self->a ^ argument << 1)
UPDATE(update2, self->a * 3 + (self->b & argument))
UPDATE(update3, self->b - argument)
UPDATE(update4, (self->a >> 3 | self->a << 61) + argument)
UPDATE(update5, self->a &argument ? self->b : ~self->a)

static uint64_t value_sum(struct object *self, uint64_t argument)
{
    return self->a + self->b + argument;
}

static uint64_t value_difference(struct object *self, uint64_t argument)
{
    return (self->a - self->b) ^ argument;
}

static const struct class classes[CLASSES] = {
    {update0, value_sum}, {update1, value_difference}, {update2, value_sum},
    {update3, value_sum}, {update4, value_difference}, {update5, value_sum},
};

static struct object objects[OBJECTS];

static void setup(uint64_t n)
{
    uint64_t seed = 521288629;
    (void)n;
    for (int i = 0; i < OBJECTS; i++)
        objects[i] = (struct object){&classes[bench_random(&seed) >> 20 & 3], (uint64_t)i,
                                     bench_random(&seed)};
    for (int i = 0; i < OBJECTS; i += 16) /* a few rare classes */
        objects[i].class = &classes[4 + i / 16 % 2];
}

static uint64_t run(uint64_t n)
{
    uint64_t sum = 0;
    for (uint64_t i = 0; i < n; i++)
        for (int j = 0; j < OBJECTS; j++) {
            struct object *o = &objects[j];
            sum += o->class->update(o, i);
            sum ^= o->class->value(o, sum);
        }
    return sum;
}

const struct bench_test bench_virtual = {
    .name = "integer/virtual", .setup = setup, .run = run, .work = 20000, .minimum = 1, .cpus = 1};
