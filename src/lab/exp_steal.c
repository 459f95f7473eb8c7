/* exp_steal.c - the CPU a guest does not get is its steal time. */
#include "lab_int.h"

#include "base/evloop.h"

#include <stdio.h>

struct sample {
    double pcpu_user, pcpu_system, vm_cpu, loop_cpu; /* host, per cent */
    double user, system, idle, steal, guest_loop;    /* guest, per cent */
    double run_delay;                                /* per cent of the time */
    double steal_time;                               /* the guest's steal, of the same time */
};

static const char *const names[][LANGS] = {{"idle", "유휴"},
                                           {"loop in the guest", "게스트 안의 루프"},
                                           {"loops in guest and host", "게스트와 호스트의 루프"}};

static bool measure(struct lab_vm *vm, int cpu, pid_t loop, unsigned ms, struct sample *s,
                    GError **err)
{
    uint64_t all[2], user[2], system[2];
    struct sched_numbers before, after;
    pid_t tid = vm_vcpu_tid(vm, 0);
    uint64_t vm0 = process_cpu_ns(vm->pid), loop0 = loop > 0 ? process_cpu_ns(loop) : 0;
    proc_sched(vm->pid, tid, &before);
    host_cpu_ticks(cpu, &all[0], &user[0], &system[0]);
    uint64_t start = host_clock_ns();
    g_autofree char *text = vm_ask(vm, 120, err, "cpu %u", ms);
    double ns = (double)(host_clock_ns() - start);
    if (!text) {
        return false;
    }
    host_cpu_ticks(cpu, &all[1], &user[1], &system[1]);
    proc_sched(vm->pid, tid, &after);
    double ticks = (double)MAX_OF(all[1] - all[0], 1u);
    s->pcpu_user = 100 * (double)(user[1] - user[0]) / ticks;
    s->pcpu_system = 100 * (double)(system[1] - system[0]) / ticks;
    s->vm_cpu = 100 * (double)(process_cpu_ns(vm->pid) - vm0) / ns;
    s->loop_cpu = loop > 0 ? 100 * (double)(process_cpu_ns(loop) - loop0) / ns : 0;
    s->run_delay = 100 * (double)(after.delay_ns - before.delay_ns) / ns;
    static const char *const keys[] = {"user",   "nice", "system",  "idle",
                                       "iowait", "irq",  "softirq", "steal"};
    double v[ARRAY_SIZE(keys)], sum = 0;
    for (unsigned i = 0; i < ARRAY_SIZE(keys); i++) {
        v[i] = (double)answer(text, keys[i]);
        sum += v[i];
    }
    sum = MAX_OF(sum, 1.0);
    s->user = 100 * (v[0] + v[1]) / sum;
    s->system = 100 * (v[2] + v[5] + v[6]) / sum;
    s->idle = 100 * (v[3] + v[4]) / sum;
    s->steal = 100 * v[7] / sum;
    s->steal_time = v[7] * 1e9 / (double)MAX_OF(answer(text, "ns"), 1u); /* ticks are 10 ms */
    s->guest_loop =
        (double)answer(text, "loop_ticks") * 1e9 / (double)MAX_OF(answer(text, "ns"), 1u);
    return true;
}

static void write_tables(struct result *r, const struct sample s[3])
{
    json_t *host =
        result_table(r, BOTH("Seen from the host, % of one CPU", "호스트에서 본 CPU (%)"),
                     BOTH("case|CPU %user|CPU %system|hanok-vm|loop|vcpu waited",
                          "경우|CPU %user|CPU %system|hanok-vm|루프|vcpu 대기"));
    json_t *guest = result_table(r, BOTH("Seen from the guest, %", "게스트에서 본 CPU (%)"),
                                 BOTH("case|%user|%system|%idle|%steal|its loop in top",
                                      "경우|%user|%system|%idle|%steal|top에서 본 루프"));
    FILE *f = result_csv(r, "steal.csv",
                         "case,pcpu_user,pcpu_system,vm_cpu,loop_cpu,vcpu_delay,"
                         "guest_user,guest_system,guest_idle,guest_steal,guest_loop");
    for (unsigned i = 0; i < 3; i++) {
        table_row(host, "%s|%.1f|%.1f|%.1f|%.1f|%.1f", names[i][EN], s[i].pcpu_user,
                  s[i].pcpu_system, s[i].vm_cpu, s[i].loop_cpu, s[i].run_delay);
        table_row(guest, "%s|%.1f|%.1f|%.1f|%.1f|%.1f", names[i][EN], s[i].user, s[i].system,
                  s[i].idle, s[i].steal, s[i].guest_loop);
        if (f) {
            fprintf(f, "%s,%.2f,%.2f,%.2f,%.2f,%.2f,%.2f,%.2f,%.2f,%.2f,%.2f\n", names[i][EN],
                    s[i].pcpu_user, s[i].pcpu_system, s[i].vm_cpu, s[i].loop_cpu, s[i].run_delay,
                    s[i].user, s[i].system, s[i].idle, s[i].steal, s[i].guest_loop);
        }
    }
    if (f) {
        fclose(f);
    }
}

static void judge(struct result *r, const struct sample s[3])
{
    const struct sample *both = &s[2];
    result_number(r, "idle_steal", s[0].steal);
    result_number(r, "loop_steal", s[1].steal);
    result_number(r, "both_steal", both->steal);
    result_number(r, "both_steal_time", both->steal_time);
    result_number(r, "both_delay", both->run_delay);
    result_number(r, "both_guest_loop", both->guest_loop);
    result_observe(r, s[0].steal < 10 && s[0].idle > 80 ? SHOWN : NOT_SHOWN,
                   BOTH("An idle guest needs no CPU, and nothing is stolen from it.",
                        "유휴 게스트는 CPU가 필요 없으므로 빼앗기는 것도 없습니다."),
                   BOTH("Idle %.1f %%, steal %.1f %%; its process takes %.1f %% of a CPU.",
                        "유휴 %.1f %%, steal %.1f %%; 프로세스는 CPU의 %.1f %%를 씁니다."),
                   s[0].idle, s[0].steal, s[0].vm_cpu);
    result_observe(
        r, s[1].vm_cpu > 70 && s[1].steal < 20 ? SHOWN : NOT_SHOWN,
        BOTH("A loop in the guest is, for the host, hanok-vm's vcpu thread at 100 %.",
             "게스트의 루프는 호스트에게는 100 %를 쓰는 hanok-vm의 vcpu 스레드입니다."),
        BOTH("hanok-vm takes %.1f %% of the CPU, the guest sees %.1f %% user and %.1f %% "
             "steal (that part went to other programs of this host).",
             "hanok-vm이 CPU의 %.1f %%를 쓰고, 게스트는 user %.1f %%, steal %.1f %%를 봅니다 "
             "(steal은 이 호스트의 다른 프로그램 몫)."),
        s[1].vm_cpu, s[1].user, s[1].steal);
    result_observe(
        r, both->steal_time >= 35 && both->steal_time <= 65 ? SHOWN : NOT_SHOWN,
        BOTH("With a loop on the host as well, each gets half: about 50 % steal.",
             "호스트에서도 루프가 돌면 각각 절반을 얻습니다: steal 약 50 %."),
        BOTH("Steal %.1f %% of the ticks the guest counted, %.1f %% of the time (ticks that "
             "pass while it does not run are often counted by nobody); "
             "the host says the vcpu waited %.1f %% of the "
             "time, and gave hanok-vm %.1f %%, the loop %.1f %% and its other programs "
             "%.1f %% (a quiet host gives these nothing).",
             "steal은 게스트가 센 틱의 %.1f %%, 시간의 %.1f %%입니다 (실행되지 않는 동안 지나간 "
             "틱은 세지 못하기도 합니다). 호스트에 따르면 vcpu는 시간의 %.1f %%를 기다렸고 "
             "hanok-vm은 %.1f %%, 루프는 %.1f %%, 다른 프로그램은 %.1f %%를 얻었습니다 "
             "(조용한 호스트라면 마지막은 0입니다)."),
        both->steal, both->steal_time, both->run_delay, both->vm_cpu, both->loop_cpu,
        MAX_OF(100 - both->vm_cpu - both->loop_cpu, 0.0));
    result_number(r, "both_vm_cpu", both->vm_cpu);
    result_number(r, "both_loop_cpu", both->loop_cpu);
}

static bool run(struct lab *lab, struct result *r, GError **err)
{
    struct vm_wish w = {.name = "steal", .memory_mib = 192, .vcpus = 1, .pinned = true};
    struct sample s[3] = {0};
    unsigned ms = lab->opt.quick ? 4000 : 20000;
    progress_line("booting a guest with one vcpu on CPU %d", lab->pcpu);
    struct lab_vm *vm = vm_boot(lab, &w, err);
    bool ok = vm != NULL;
    pid_t loop = 0;
    for (unsigned i = 0; ok && i < ARRAY_SIZE(s); i++) {
        progress_line("%s, %u s", names[i][EN], ms / 1000);
        if (i == 1) {
            g_autofree char *started = vm_ask(vm, 60, err, "loop-start 1");
            ok = started != NULL;
        }
        loop = i == 2 ? host_loop_start(lab, lab->pcpu) : 0;
        ok = ok && measure(vm, lab->pcpu, loop, ms, &s[i], err);
    }
    host_loop_stop(lab, loop);
    if (ok) {
        write_tables(r, s);
        result_plot(
            r, "steal",
            BOTH("What the guest's /proc/stat says in the three cases.",
                 "세 경우에 게스트의 /proc/stat이 말하는 것."),
            "set style data histograms\nset style histogram rowstacked\nset style fill solid "
            "0.8\nset boxwidth 0.6\nset yrange [0:110]\nset ylabel '%% of the guest CPU'\n"
            "set key outside\nplot 'steal.csv' using 7:xtic(1) every ::1 title 'user', '' using "
            "8 every ::1 title 'system', '' using 10 every ::1 title 'steal', '' using 9 every "
            "::1 title 'idle'");
        judge(r, s);
    }
    vm_end(vm);
    return ok;
}

const struct experiment exp_steal = {
    .name = "steal",
    .title = {"Steal time", "빼앗긴 시간 (steal)"},
    .intro =
        {"A guest of one vcpu on one host CPU: idle, with a loop inside, and with a loop inside "
         "and one on the host. Both sides' accounts of the CPU are laid beside each other.",
         "호스트 CPU 하나에 놓인 vcpu 하나의 게스트: 유휴, 안에 루프, 그리고 안팎에 루프. "
         "양쪽에서 본 CPU 사용을 나란히 놓습니다."},
    .run = run,
};
