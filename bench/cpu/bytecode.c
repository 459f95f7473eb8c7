/* bytecode.c - an interpreter loop: one indirect jump per tiny piece of work. */
#include "bench.h"

enum op { PUSH, LOAD, STORE, ADD, SUB, MUL, XOR, LESS, JUMP_IF, JUMP, HALT };

/* for (i = 0; i < limit; i++) { a = a * 31 + i; if (a < b) b ^= a; else b -= 7; } */
static const uint8_t program[] = {
    PUSH, 0, STORE, 0,                                            /*  0: i = 0 */
    LOAD, 0, LOAD,  3,  LESS, 0, JUMP_IF, 14, HALT, 0,            /*  4: i < limit? */
    LOAD, 1, PUSH,  31, MUL,  0, LOAD,    0,  ADD,  0,  STORE, 1, /* 14: a */
    LOAD, 1, LOAD,  2,  LESS, 0, JUMP_IF, 44,                     /* 26: a < b? */
    LOAD, 2, PUSH,  7,  SUB,  0, STORE,   2,  JUMP, 52,           /* 34: b -= 7 */
    LOAD, 2, LOAD,  1,  XOR,  0, STORE,   2,                      /* 44: b ^= a */
    LOAD, 0, PUSH,  1,  ADD,  0, STORE,   0,  JUMP, 4,            /* 52: i++ */
};

static __attribute__((noinline)) uint64_t interpret(const uint8_t *code, uint64_t limit)
{
    static const void *const labels[] = {&&push, &&load, &&store,   &&add,  &&sub, &&mul,
                                         &&xor,  &&less, &&jump_if, &&jump, &&halt};
    uint32_t stack[16], variables[4] = {0, 1, 0x80000000u, (uint32_t)limit};
    uint32_t *top = stack;
    const uint8_t *at = code;
#define NEXT goto *labels[*at]
    NEXT;
push:
    *top++ = at[1];
    at += 2;
    NEXT;
load:
    *top++ = variables[at[1]];
    at += 2;
    NEXT;
store:
    variables[at[1]] = *--top;
    at += 2;
    NEXT;
add:
    top--;
    top[-1] += *top;
    at += 2;
    NEXT;
sub:
    top--;
    top[-1] -= *top;
    at += 2;
    NEXT;
mul:
    top--;
    top[-1] *= *top;
    at += 2;
    NEXT;
    xor : top--;
    top[-1] ^= *top;
    at += 2;
    NEXT;
less:
    top--;
    top[-1] = top[-1] < *top;
    at += 2;
    NEXT;
jump_if:
    at = *--top ? code + at[1] : at + 2;
    NEXT;
jump:
    at = code + at[1];
    NEXT;
halt:
    return (uint64_t)variables[1] << 32 | variables[2];
#undef NEXT
}

static uint64_t run(uint64_t n)
{
    return interpret(program, n);
}

const struct bench_test bench_bytecode = {
    .name = "integer/bytecode", .run = run, .work = 8000000, .minimum = 1, .cpus = 1};
