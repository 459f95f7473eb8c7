/* exp_sched.c - a vcpu is a thread that the host schedules: progress of a guest alone, and beside a
 * loop on the same CPU. */
#include "lab_int.h"

#include "base/evloop.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#define STEPS_MAX 5000u /* of a millisecond each, shorter than the host's slices */
#define SAMPLES   60000u

/* Who ran when, seen from outside: schedstat of both threads, every half millisecond. */
struct sampler {
    pid_t vm, vcpu, loop;
    bool stop; /* atomic */
    unsigned count;
    struct {
        uint64_t at_ns, vcpu_ns, loop_ns;
    } sample[SAMPLES];
};

static void *sample(void *opaque)
{
    struct sampler *s = opaque;
    struct sched_numbers a, b = {0};
    while (!__atomic_load_n(&s->stop, __ATOMIC_ACQUIRE) && s->count < SAMPLES) {
        proc_sched(s->vm, s->vcpu, &a);
        if (s->loop > 0) {
            proc_sched(s->loop, s->loop, &b);
        }
        s->sample[s->count].at_ns = host_clock_ns();
        s->sample[s->count].vcpu_ns = a.run_ns;
        s->sample[s->count].loop_ns = b.run_ns;
        s->count++;
        g_usleep(500);
    }
    return NULL;
}

struct run {
    unsigned steps;
    double at_ms[STEPS_MAX + 1]; /* guest's clock, since the start */
    double total_ms, gap_ms, delay_ms;
    unsigned gaps;
};

/* A step is a millisecond of work: one that took two was interrupted for the rest. */
static void measure_gaps(struct run *r)
{
    for (unsigned i = 1; i <= r->steps; i++) {
        double d = r->at_ms[i] - r->at_ms[i - 1];
        if (d > 2) {
            r->gaps++;
            r->gap_ms += d - 1;
        }
    }
}

static bool parse(const char *text, struct run *r, uint64_t *first_ns)
{
    const char *at = text;
    unsigned count = 0;
    *first_ns = 0;
    while ((at = strstr(at, "\nstep "))) {
        unsigned long long i, ns;
        if (sscanf(at, "\nstep %llu %llu", &i, &ns) != 2 || i != count || i > r->steps) {
            return false;
        }
        *first_ns = i ? *first_ns : ns;
        r->at_ms[i] = (double)(ns - *first_ns) / 1e6;
        count++;
        at++;
    }
    r->total_ms = r->at_ms[r->steps];
    return count == r->steps + 1;
}

static bool record(struct lab_vm *vm, uint64_t rounds, struct sampler *s, struct run *r,
                   double *offset_ms, GError **err)
{
    struct sched_numbers before, after;
    pthread_t thread;
    uint64_t first, t0 = host_clock_ns();
    g_autofree char *clock = vm_ask(vm, 60, err, "clock");
    uint64_t t1 = host_clock_ns();
    if (!clock) {
        return false;
    }
    s->vm = vm->pid;
    s->vcpu = vm_vcpu_tid(vm, 0);
    proc_sched(vm->pid, s->vcpu, &before);
    bool sampling = !pthread_create(&thread, NULL, sample, s);
    g_autofree char *text =
        vm_ask(vm, 300, err, "progress %llu %u", (unsigned long long)rounds, r->steps);
    __atomic_store_n(&s->stop, true, __ATOMIC_RELEASE);
    if (sampling) {
        pthread_join(thread, NULL);
    }
    proc_sched(vm->pid, s->vcpu, &after);
    if (!text || !parse(text, r, &first)) {
        return text ? error_set(err, HANOK_ERROR_IO, "the guest's progress is incomplete") : false;
    }
    r->delay_ms = (double)(after.delay_ns - before.delay_ns) / 1e6;
    /* host time of the guest's first step, by a clock reading in the middle of a round trip */
    *offset_ms = ((double)first - (double)answer(clock, "ns") + (double)(t0 + (t1 - t0) / 2)) / 1e6;
    return true;
}

static void write_progress(struct result *res, const struct run *alone, const struct run *both)
{
    FILE *f = result_csv(res, "progress.csv", "progress_percent,alone_ms,with_loop_ms");
    for (unsigned i = 0; f && i <= alone->steps; i++) {
        fprintf(f, "%.2f,%.3f,%.3f\n", 100.0 * i / alone->steps, alone->at_ms[i], both->at_ms[i]);
    }
    if (f) {
        fclose(f);
    }
    f = result_csv(res, "with_loop.csv", "time_ms,progress_percent");
    for (unsigned i = 0; f && i <= both->steps; i++) {
        fprintf(f, "%.3f,%.2f\n", both->at_ms[i], 100.0 * i / both->steps);
    }
    if (f) {
        fclose(f);
    }
}

/* CPU time of both threads since the first sample: who rises, runs. */
static void write_slices(struct result *res, const struct sampler *s, double start_ms)
{
    FILE *f = result_csv(res, "slices.csv", "time_ms,vcpu_ms,loop_ms");
    for (unsigned i = 0; f && i < s->count; i++) {
        fprintf(f, "%.3f,%.3f,%.3f\n", (double)s->sample[i].at_ns / 1e6 - start_ms,
                (double)(s->sample[i].vcpu_ns - s->sample[0].vcpu_ns) / 1e6,
                (double)(s->sample[i].loop_ns - s->sample[0].loop_ns) / 1e6);
    }
    if (f) {
        fclose(f);
    }
}

static void plots(struct result *r, const struct run *both)
{
    double from = both->total_ms * 0.4, to = MIN_OF(from + 60, both->total_ms);
    result_plot(
        r, "progress",
        BOTH("Progress of the guest's program over time, alone and beside a loop on the "
             "same host CPU. Horizontal stretches are times in which the guest stood still.",
             "게스트 프로그램의 시간별 진행률: 혼자일 때와 같은 호스트 CPU에서 루프가 함께 돌 때. "
             "수평 구간은 게스트가 전혀 진행하지 못한 시간입니다."),
        "set xlabel 'time in the guest (ms)'\nset ylabel 'progress (%%)'\nset key bottom right\n"
        "plot 'progress.csv' every ::1 using 2:1 with lines lw 2 title 'alone', "
        "'' every ::1 using 3:1 with lines lw 2 title 'beside a loop on the same CPU'");
    result_plot(r, "gaps",
                BOTH("A piece of it, with the CPU time that the host's scheduler gave both beneath "
                     "(schedstat, sampled): the guest stands still while the loop's line rises.",
                     "확대한 구간과 그 아래의 호스트 스케줄러가 양쪽에 준 CPU 시간(schedstat "
                     "표본): 루프의 선이 오르는 동안 "
                     "게스트는 멈춰 있습니다."),
                "set multiplot layout 2,1\nset xrange [%.1f:%.1f]\nset ylabel 'progress (%%)'\n"
                "set key top left\n"
                "plot 'with_loop.csv' every ::1 using 1:2 with steps lw 2 title "
                "'guest beside a loop'\n"
                "set ylabel 'CPU time (ms)'\nset key top left\nset xlabel 'time (ms)'\n"
                "plot 'slices.csv' every ::1 using 1:2 with lines lw 2 title 'vcpu thread', "
                "'' every ::1 using 1:3 with lines lw 2 title 'loop'\nunset multiplot",
                from, to);
}

static void judge(struct result *r, const struct run *alone, const struct run *both)
{
    double ratio = both->total_ms / alone->total_ms;
    result_number(r, "alone_ms", alone->total_ms);
    result_number(r, "with_loop_ms", both->total_ms);
    result_number(r, "ratio", ratio);
    result_number(r, "gaps", both->gaps);
    result_number(r, "gap_ms", both->gap_ms);
    result_number(r, "run_delay_ms", both->delay_ms);
    result_observe(
        r, ratio > 1.6 && ratio < 2.6 ? SHOWN : NOT_SHOWN,
        BOTH("Two busy threads share one CPU: the same work takes about twice as long.",
             "바쁜 스레드 둘이 CPU 하나를 나누므로 같은 일이 약 두 배 걸립니다."),
        BOTH("%.0f ms alone, %.0f ms beside the loop: %.2f times as long (run delay alone "
             "%.0f ms, so other work of the host took part when this is not near 0).",
             "혼자 %.0f ms, 루프와 함께 %.0f ms: %.2f배 (혼자일 때의 run delay %.0f ms; "
             "0에 가깝지 않으면 호스트의 다른 작업이 섞인 것입니다)."),
        alone->total_ms, both->total_ms, ratio, alone->delay_ms);
    result_observe(
        r, both->gaps >= 3 ? SHOWN : NOT_SHOWN,
        BOTH("The guest does not become slower evenly: it stands still while the host "
             "runs something else, and does not notice.",
             "게스트는 고르게 느려지지 않습니다. 호스트가 다른 것을 돌리는 동안 멈춰 있고, "
             "게스트 자신은 알지 못합니다."),
        BOTH("%u gaps with %.0f ms without progress in all (alone: %u gaps, %.0f ms).",
             "진행 없는 구간 %u개, 합계 %.0f ms (혼자일 때 %u개, %.0f ms)."),
        both->gaps, both->gap_ms, alone->gaps, alone->gap_ms);
    double part = both->delay_ms > 0 ? both->gap_ms / both->delay_ms : 0;
    result_observe(
        r, part > 0.6 && part < 1.4 ? SHOWN : NOT_SHOWN,
        BOTH("The gaps are the run delay of the vcpu's thread: what the host's scheduler "
             "counts as waiting for a CPU.",
             "이 공백은 vcpu 스레드의 run delay, 즉 호스트 스케줄러가 CPU 대기로 세는 시간입니다."),
        BOTH("Gaps %.0f ms, run delay of the vcpu's thread %.0f ms.",
             "공백 %.0f ms, vcpu 스레드의 run delay %.0f ms."),
        both->gap_ms, both->delay_ms);
}

static bool run(struct lab *lab, struct result *r, GError **err)
{
    static struct sampler first, second; /* these are too large for a stack */
    struct vm_wish w = {.name = "sched", .memory_mib = 192, .vcpus = 1, .pinned = true};
    static struct run alone, both;
    double start;
    progress_line("booting a guest with one vcpu on CPU %d", lab->pcpu);
    struct lab_vm *vm = vm_boot(lab, &w, err);
    g_autofree char *speed = vm ? vm_ask(vm, 120, err, "calibrate 500") : NULL;
    uint64_t rounds = answer(speed, "rounds_per_ms");
    memset(&first, 0, sizeof(first));
    memset(&second, 0, sizeof(second));
    memset(&alone, 0, sizeof(alone));
    memset(&both, 0, sizeof(both));
    alone.steps = both.steps = lab->opt.quick ? 2000 : STEPS_MAX;
    bool ok = speed != NULL;
    if (ok) {
        progress_line("the program alone");
        ok = record(vm, rounds, &first, &alone, &start, err);
    }
    if (ok) {
        progress_line("the program beside a loop on CPU %d", lab->pcpu);
        second.loop = host_loop_start(lab, lab->pcpu);
        ok = record(vm, rounds, &second, &both, &start, err);
        host_loop_stop(lab, second.loop);
    }
    if (ok) {
        measure_gaps(&alone);
        measure_gaps(&both);
        write_progress(r, &alone, &both);
        write_slices(r, &second, start);
        plots(r, &both);
        judge(r, &alone, &both);
    }
    vm_end(vm);
    return ok;
}

const struct experiment exp_sched = {
    .name = "sched",
    .title = {"A vcpu is a thread the host schedules", "vcpu는 호스트가 스케줄하는 스레드"},
    .intro =
        {"A guest with one vcpu, pinned to one host CPU, runs a program that notes the time at "
         "each percent of its work: first alone, then while an endless loop runs on the same "
         "host CPU.",
         "vcpu 하나인 게스트를 호스트 CPU 하나에 고정하고, 일의 1%마다 시각을 적는 프로그램을 "
         "실행합니다. 처음에는 혼자, 다음에는 같은 호스트 CPU에서 무한 루프가 도는 동안입니다."},
    .run = run,
};
