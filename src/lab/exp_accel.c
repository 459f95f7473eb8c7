/* exp_accel.c - the same guest on the interpreter, the translator and KVM, and the host itself. */
#include "lab_int.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct work {
    const char *name, *label, *unit;
    uint64_t native, slow; /* rounds natively and under the interpreter */
};
static const struct work works[] = {
    {"compute", "compute", "round", 20000000, 2000000},
    {"syscalls", "system call", "call", 200000, 20000},
    {"faults", "page fault", "fault", 20000, 2000},
    {"switches", "context switch", "switch", 10000, 1000},
};
#define WORKS ARRAY_SIZE(works)

struct mode {
    const char *name, *accel; /* accel NULL: the host */
    bool slow;
    double ns[WORKS + 1]; /* the last: a read of 4 KiB */
    bool measured;
};

/* CPU time for one round: what other programs of the host do then matters little. */
static double per_round(const char *text, uint64_t cpu_ns)
{
    uint64_t n = answer(text, "count");
    return n ? (double)cpu_ns / (double)n : 0;
}

static bool natively(struct lab *lab, struct mode *m, const char *image, GError **err)
{
    for (unsigned i = 0; i < WORKS; i++) {
        g_autofree char *text =
            native_ask(lab, err, "%s %llu", works[i].name,
                       (unsigned long long)works[i].native / (lab->opt.quick ? 4 : 1));
        if (!text) {
            return false;
        }
        m->ns[i] = per_round(text, answer(text, "cpu_ns"));
    }
    g_autofree char *io =
        native_ask(lab, err, "io read %s %u 4096 1000 1 rand 0", image, 16u << 20);
    m->ns[WORKS] = (double)answer(io, "latency_ns");
    m->measured = io != NULL;
    return io != NULL;
}

static bool in_guest(struct lab *lab, struct mode *m, const char *image, GError **err)
{
    g_autofree char *drive = g_strdup_printf("file=%s,format=raw,if=none,id=d0", image);
    const char *const more[] = {"-drive", drive, "-device", "virtio-blk-pci,drive=d0", NULL};
    struct vm_wish w = {
        .name = "accel", .memory_mib = 256, .vcpus = 1, .accel = m->accel, .more = more};
    struct lab_vm *vm = vm_boot(lab, &w, err);
    bool ok = vm != NULL;
    for (unsigned i = 0; ok && i < WORKS; i++) {
        unsigned long long n = m->slow ? works[i].slow : works[i].native;
        uint64_t cpu = process_cpu_ns(vm->pid);
        g_autofree char *text =
            vm_ask(vm, 600, err, "%s %llu", works[i].name, n / (lab->opt.quick ? 4 : 1));
        m->ns[i] = per_round(text, process_cpu_ns(vm->pid) - cpu);
        ok = text != NULL;
    }
    g_autofree char *io = ok ? vm_ask(vm, 300, err, "io read /dev/vda %u 4096 %u 1 rand 0",
                                      16u << 20, m->slow ? 200u : 1000u)
                             : NULL;
    m->ns[WORKS] = (double)answer(io, "latency_ns");
    m->measured = io != NULL;
    vm_end(vm);
    return m->measured;
}

/* "Opens /dev/kvm" is not usable: hanok-vm itself measures, and says. */
static bool kvm_is_real(struct lab *lab)
{
    char *argv[] = {lab->vm, "-accel", "help", NULL};
    g_autofree char *out = NULL;
    if (!g_spawn_sync(NULL, argv, NULL, G_SPAWN_STDERR_TO_DEV_NULL, NULL, NULL, &out, NULL, NULL,
                      NULL)) {
        return false;
    }
    const char *line = out ? strstr(out, "kvm") : NULL;
    const char *end = line ? strchrnul(line, '\n') : NULL;
    g_autofree char *text = line ? g_strndup(line, (gsize)(end - line)) : NULL;
    return text && !strstr(text, "not usable") && !strstr(text, "emulate");
}

static void write_table(struct result *r, const struct mode *m, unsigned modes)
{
    json_t *t =
        result_table(r,
                     BOTH("CPU nanoseconds for one (the read: latency)",
                          "하나에 드는 CPU 나노초 (읽기는 지연 시간)"),
                     BOTH("what|host|interpreter|jit|kvm", "항목|호스트|인터프리터|jit|kvm"));
    json_t *x = result_table(r, BOTH("Times as long as on the host", "호스트 대비 배수"),
                             BOTH("what|interpreter|jit|kvm", "항목|인터프리터|jit|kvm"));
    FILE *f = result_csv(r, "accel.csv", "what,interpreter,jit,kvm");
    for (unsigned w = 0; w <= WORKS; w++) {
        const char *label = w < WORKS ? works[w].label : "direct read of 4 KiB";
        GString *ns = g_string_new(label), *factor = g_string_new(label),
                *csv = g_string_new(label);
        for (unsigned i = 0; i < modes; i++) {
            double times = m[0].ns[w] > 0 ? m[i].ns[w] / m[0].ns[w] : 0;
            g_string_append_printf(ns, m[i].measured ? "|%.1f" : "|-", m[i].ns[w]);
            if (i) {
                g_string_append_printf(factor, m[i].measured ? "|%.1f" : "|-", times);
                g_string_append_printf(csv, m[i].measured ? ",%.3f" : ",", times);
            }
        }
        table_row(t, "%s", ns->str);
        table_row(x, "%s", factor->str);
        if (f) {
            fprintf(f, "%s\n", csv->str);
        }
        g_string_free(ns, TRUE);
        g_string_free(factor, TRUE);
        g_string_free(csv, TRUE);
    }
    if (f) {
        fclose(f);
    }
}

static void judge(struct result *r, const struct mode *m)
{
    double interp = m[1].ns[0] / m[0].ns[0], jit = m[2].ns[0] / m[0].ns[0];
    result_number(r, "compute_interpreter", interp);
    result_number(r, "compute_jit", jit);
    result_number(r, "fault_jit", m[2].ns[2] / m[0].ns[2]);
    result_observe(
        r, interp > 3 * jit ? SHOWN : NOT_SHOWN,
        BOTH("The interpreter pays for every instruction; translated code pays once and then "
             "runs nearly as the host's own.",
             "인터프리터는 명령마다 비용을 치르고, 번역된 코드는 한 번만 치른 뒤 거의 호스트처럼 "
             "실행됩니다."),
        BOTH("A computing loop takes %.1f times as long interpreted, %.2f times translated.",
             "계산 루프: 인터프리터 %.1f배, 번역 %.2f배."),
        interp, jit);
    result_observe(
        r, m[2].ns[2] / m[0].ns[2] > jit ? SHOWN : NOT_SHOWN,
        BOTH("What needs the kernel's or the MMU's help costs more than computing, compared "
             "with the host.",
             "커널이나 MMU의 도움이 필요한 일은 호스트와 비교해 계산보다 더 비쌉니다."),
        BOTH("Under jit, times as long as on the host: system call %.1f, page fault %.1f, context "
             "switch %.1f, read of 4 KiB %.1f.",
             "jit에서 호스트 대비: 시스템 콜 %.1f배, 페이지 폴트 %.1f배, 문맥 교환 %.1f배, 4 KiB "
             "읽기 %.1f배."),
        m[2].ns[1] / m[0].ns[1], m[2].ns[2] / m[0].ns[2], m[2].ns[3] / m[0].ns[3],
        m[2].ns[4] / m[0].ns[4]);
    if (!m[3].measured) {
        result_observe(r, NOT_MEASURED,
                       BOTH("Under KVM computing costs what it costs on the host.",
                            "KVM에서 계산은 호스트와 같은 비용이 듭니다."),
                       BOTH("%s", "%s"), "KVM: no VT-x/SVM");
    }
}

static bool run(struct lab *lab, struct result *r, GError **err)
{
    struct mode m[] = {{.name = "host"},
                       {.name = "interpreter", .accel = "jit,tier=interp", .slow = true},
                       {.name = "jit", .accel = "jit"},
                       {.name = "kvm", .accel = "kvm"}};
    g_autofree char *image = g_build_filename(lab->tmp, "accel.img", NULL);
    bool ok = make_file(image, 16 << 20, err);
    if (ok) {
        progress_line("the host itself");
        ok = natively(lab, &m[0], image, err);
    }
    for (unsigned i = 1; ok && i < ARRAY_SIZE(m); i++) {
        if (!strcmp(m[i].name, "kvm") && !kvm_is_real(lab)) {
            continue;
        }
        progress_line("-accel %s", m[i].accel);
        ok = in_guest(lab, &m[i], image, err);
    }
    unlink(image);
    if (ok) {
        write_table(r, m, ARRAY_SIZE(m));
        result_plot(
            r, "accel",
            BOTH("What things cost in guests, as multiples of the host's own (logarithmic).",
                 "게스트에서의 비용, 호스트 대비 배수 (로그 축)."),
            "set style data histograms\nset style fill solid 0.8\nset logscale y\nset yrange "
            "[0.5:*]\nset ylabel 'times as long as on the host'\nset xtics rotate by -15\nplot "
            "'accel.csv' using 2:xtic(1) every ::1 title 'interpreter', '' using 3 every ::1 "
            "title 'jit'%s",
            m[3].measured ? ", '' using 4 every ::1 title 'kvm'" : "");
        judge(r, m);
    }
    return ok;
}

const struct experiment exp_accel = {
    .name = "accel",
    .title = {"What each way to run a guest costs", "게스트 실행 방식별 비용"},
    .intro =
        {"The same program computes, calls the kernel, faults pages in, switches between "
         "processes and reads a disk: on the host, and in a guest under the interpreter, the "
         "translator and, where it is real, KVM.  Counted is the CPU time of the process.",
         "같은 프로그램이 계산하고, 커널을 부르고, 페이지 폴트를 내고, 프로세스를 바꾸고, 디스크를 "
         "읽습니다. "
         "호스트에서, 그리고 인터프리터, 번역기, (실제로 쓸 수 있으면) KVM의 게스트에서입니다. "
         "프로세스의 CPU 시간을 셉니다."},
    .run = run,
};
