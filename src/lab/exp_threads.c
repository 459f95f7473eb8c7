/* exp_threads.c - vcpus are threads: their names, numbers, places; fairness among machines. */
#include "lab_int.h"

#include "base/evloop.h"
#include "manager/threads.h"

#include <stdio.h>
#include <string.h>

#define MACHINES 3u

static bool list_threads(struct lab *lab, struct result *r, unsigned vcpus, json_t *table,
                         FILE *csv, GError **err)
{
    g_autofree char *name = g_strdup_printf("vcpus%u", vcpus);
    struct vm_wish w = {.name = name, .memory_mib = 192, .vcpus = vcpus};
    progress_line("a guest with %u vcpu%s", vcpus, vcpus > 1 ? "s" : "");
    struct lab_vm *vm = vm_boot(lab, &w, err);
    g_autofree char *about = vm ? vm_ask(vm, 60, err, "about") : NULL;
    g_autofree char *busy = about ? vm_ask(vm, 60, err, "loop-start %u", vcpus) : NULL;
    g_autofree char *waited =
        busy ? vm_ask(vm, 60, err, "cpu %u", lab->opt.quick ? 1000u : 4000u) : NULL;
    unsigned found = 0;
    if (waited) {
        g_autoptr(GArray) list = proc_threads(vm->pid);
        for (unsigned i = 0; i < list->len; i++) {
            const struct proc_thread *t = &g_array_index(list, struct proc_thread, i);
            g_autofree char *cpus = thread_affinity(t->tid);
            found += g_str_has_prefix(t->name, "CPU ");
            table_row(table, "%u|%s|%d|%s|%d|%.2f|%llu", vcpus, t->name, (int)t->tid,
                      cpus ? cpus : "?", t->cpu, (double)t->sched.run_ns / 1e9,
                      (unsigned long long)t->sched.slices);
            if (csv) {
                fprintf(csv, "%u,%s,%d,%s,%.4f,%.4f\n", vcpus, t->name, (int)t->tid,
                        cpus ? cpus : "?", (double)t->sched.run_ns / 1e9,
                        (double)t->sched.delay_ns / 1e9);
            }
        }
        g_autofree char *key = g_strdup_printf("vcpu_threads_%u", vcpus);
        result_number(r, key, found);
        result_observe(
            r, found == vcpus && answer(about, "cpus") == vcpus ? SHOWN : NOT_SHOWN,
            BOTH("Every vcpu is one thread of the process, named after its number.",
                 "vcpu 하나는 프로세스의 스레드 하나이고, 번호가 이름에 있습니다."),
            BOTH("%u vcpu(s) asked for, %u threads named 'CPU n', %llu CPU(s) in the guest.",
                 "요청한 vcpu %u개, 'CPU n' 스레드 %u개, 게스트의 CPU %llu개."),
            vcpus, found, (unsigned long long)answer(about, "cpus"));
    }
    vm_end(vm);
    return waited != NULL;
}

/* Jain's index: 1 when all have the same, 1/n when one has it all. */
static double fairness(const double *x, unsigned n)
{
    double sum = 0, squares = 0;
    for (unsigned i = 0; i < n; i++) {
        sum += x[i];
        squares += x[i] * x[i];
    }
    return squares > 0 ? sum * sum / (n * squares) : 0;
}

static void judge_sharing(struct result *r, const double share[MACHINES])
{
    json_t *t = result_table(r,
                             BOTH("Machines with a loop each, together on one host CPU",
                                  "루프를 하나씩 도는 가상 머신들, 호스트 CPU 하나에서"),
                             BOTH("machine|% of the CPU", "가상 머신|CPU (%)"));
    FILE *f = result_csv(r, "sharing.csv", "machine,percent");
    double index = fairness(share, MACHINES);
    for (unsigned i = 0; i < MACHINES; i++) {
        table_row(t, "%u|%.1f", i + 1, share[i]);
        if (f) {
            fprintf(f, "machine %u,%.2f\n", i + 1, share[i]);
        }
    }
    if (f) {
        fclose(f);
    }
    result_number(r, "fairness", index);
    result_plot(r, "sharing",
                BOTH("Shares of one host CPU among three machines that all want all of it.",
                     "모두 CPU 전부를 원하는 가상 머신 셋이 호스트 CPU 하나를 나눈 몫."),
                "set style data histograms\nset style fill solid 0.8\nset boxwidth 0.6\nset yrange "
                "[0:*]\nset ylabel '%% of the CPU'\nunset key\nplot 'sharing.csv' using 2:xtic(1) "
                "every ::1");
    result_observe(
        r, index > 0.9 ? SHOWN : NOT_SHOWN,
        BOTH("The host's scheduler knows threads, not machines; threads of the same weight "
             "get the same share.",
             "호스트 스케줄러는 가상 머신이 아니라 스레드를 압니다. 가중치가 같은 스레드는 같은 "
             "몫을 얻습니다."),
        BOTH("%.1f, %.1f and %.1f %%: Jain's index %.3f (1 is equal).",
             "%.1f, %.1f, %.1f %%: 자인 지수 %.3f (1이면 균등)."),
        share[0], share[1], share[2], index);
}

static bool sharing(struct lab *lab, struct result *r, GError **err)
{
    struct lab_vm *vm[MACHINES] = {0};
    double share[MACHINES];
    uint64_t before[MACHINES];
    bool ok = true;
    for (unsigned i = 0; ok && i < MACHINES; i++) {
        g_autofree char *name = g_strdup_printf("fair%u", i);
        struct vm_wish w = {.name = name, .memory_mib = 160, .vcpus = 1, .pinned = true};
        progress_line("machine %u of %u on CPU %d", i + 1, MACHINES, lab->pcpu);
        vm[i] = vm_boot(lab, &w, err);
        ok = vm[i] != NULL;
    }
    for (unsigned i = 0; ok && i < MACHINES; i++) {
        g_autofree char *started = vm_ask(vm[i], 120, err, "loop-start 1");
        ok = started != NULL;
    }
    if (ok) {
        uint64_t start = host_clock_ns();
        for (unsigned i = 0; i < MACHINES; i++) {
            before[i] = process_cpu_ns(vm[i]->pid);
        }
        sleep_ms(lab->opt.quick ? 5000 : 20000);
        double ns = (double)(host_clock_ns() - start);
        for (unsigned i = 0; i < MACHINES; i++) {
            share[i] = 100 * (double)(process_cpu_ns(vm[i]->pid) - before[i]) / ns;
        }
        judge_sharing(r, share);
    }
    for (unsigned i = 0; i < MACHINES; i++) {
        vm_end(vm[i]);
    }
    return ok;
}

static bool run(struct lab *lab, struct result *r, GError **err)
{
    static const unsigned counts[] = {1, 2, 4};
    json_t *table =
        result_table(r, BOTH("Threads of the process", "프로세스의 스레드"),
                     BOTH("vcpus|thread|TID|may run on|last on|CPU seconds|slices",
                          "vcpu 수|스레드|TID|실행 가능 CPU|마지막 CPU|CPU 초|슬라이스"));
    FILE *csv = result_csv(r, "threads.csv", "vcpus,name,tid,affinity,run_s,delay_s");
    bool ok = true;
    for (unsigned i = 0; ok && i < ARRAY_SIZE(counts); i++) {
        ok = list_threads(lab, r, counts[i], table, csv, err);
    }
    if (csv) {
        fclose(csv);
    }
    return ok && sharing(lab, r, err);
}

const struct experiment exp_threads = {
    .name = "vcpu-threads",
    .title = {"The threads of a machine, and fairness among machines",
              "가상 머신의 스레드와 가상 머신 사이의 공평성"},
    .intro =
        {"Machines with one, two and four vcpus, each vcpu busy: what ps -L shows of them. Then "
         "three machines with a loop each on one host CPU.",
         "vcpu가 1, 2, 4개이고 모두 바쁜 가상 머신을 ps -L처럼 살펴봅니다. 그다음 루프를 도는 가상 "
         "머신 셋을 호스트 CPU 하나에 놓습니다."},
    .run = run,
};
