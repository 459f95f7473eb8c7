/* exp_virtio.c - the same I/O over virtio and over emulated disks: exits per request, and batching.
 */
#include "lab_int.h"

#include "base/evloop.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define BLOCK 4096u
#define BYTES (64u << 20)

enum { VIRTIO, AHCI, IDE_DMA, IDE_PIO, KINDS };

/* counters: accesses to the device by its driver; the rest of the guest halts and takes ticks
 * beside it. */
static const struct kind {
    const char *name, *vm, *flavour, *node, *machine, *device, *kernel_words, *counters[3];
} kinds[KINDS] = {
    [VIRTIO] = {.name = "virtio-blk",
                .vm = "virtio",
                .flavour = "cloud",
                .node = "/dev/vda",
                .machine = "q35",
                .device = "virtio-blk-pci,drive=d0,id=disk0",
                .counters = {"ioeventfd", "mmio.virtio-blk-pci"}},
    [AHCI] = {.name = "AHCI",
              .vm = "ahci",
              .flavour = "generic",
              .node = "/dev/sda",
              .machine = "q35",
              .device = "ide-hd,drive=d0,bus=ide.0",
              .counters = {"mmio.ahci"}},
    [IDE_DMA] = {.name = "IDE DMA",
                 .vm = "ide-dma",
                 .flavour = "cloud",
                 .node = "/dev/sda",
                 .machine = "pc",
                 .device = "ide-hd,drive=d0,bus=ide.0",
                 .counters = {"pio.ide", "pio.ide-control", "pio.ide-dma"}},
    [IDE_PIO] = {.name = "IDE PIO",
                 .vm = "ide-pio",
                 .flavour = "cloud",
                 .node = "/dev/sda",
                 .machine = "pc",
                 .device = "ide-hd,drive=d0,bus=ide.0",
                 .kernel_words = "libata.dma=0",
                 .counters = {"pio.ide", "pio.ide-control", "pio.ide-dma"}},
};
static const unsigned depths[] = {1, 8, 32};

struct cost {
    bool measured;
    double exits, kicks, irqs, latency_us, iops, cpu_us;
};

/* Accesses to the device itself. */
static uint64_t device_exits(struct lab_vm *vm, const struct kind *k)
{
    uint64_t n = 0;
    for (unsigned i = 0; i < ARRAY_SIZE(k->counters) && k->counters[i]; i++) {
        n += vm_counter(vm, k->counters[i]);
    }
    return n;
}

static bool measure(struct lab_vm *vm, const struct kind *k, unsigned requests, unsigned depth,
                    struct cost *c, GError **err)
{
    uint64_t exits = device_exits(vm, k), irqs = vm_counter(vm, "irq_injections"),
             cpu = process_cpu_ns(vm->pid), kicks = vm_queue_counter(vm, "kicks");
    g_autofree char *text = vm_ask(vm, 300, err, "io read %s %u %u %u %u rand 0", k->node, BYTES,
                                   BLOCK, requests, depth);
    if (!text) {
        return false;
    }
    double n = (double)MAX_OF(answer(text, "requests"), 1u);
    c->exits = (double)(device_exits(vm, k) - exits) / n;
    c->irqs = (double)(vm_counter(vm, "irq_injections") - irqs) / n;
    c->kicks = (double)(vm_queue_counter(vm, "kicks") - kicks) / n;
    c->latency_us = (double)answer(text, "latency_ns") / 1000;
    c->iops = n * 1e9 / (double)MAX_OF(answer(text, "ns"), 1u);
    c->cpu_us = (double)(process_cpu_ns(vm->pid) - cpu) / 1000 / n;
    c->measured = true;
    return true;
}

static bool measure_kind(struct lab *lab, const struct kind *k, const char *image,
                         struct cost c[ARRAY_SIZE(depths)], GError **err)
{
    g_autofree char *drive = g_strdup_printf("file=%s,format=raw,if=none,id=d0", image);
    const char *const more[] = {"-machine", k->machine, "-drive", drive,
                                "-device",  k->device,  NULL};
    struct vm_wish w = {.name = k->vm,
                        .memory_mib = 256,
                        .vcpus = 1,
                        .flavour = k->flavour,
                        .kernel_words = k->kernel_words,
                        .more = more};
    progress_line("%s", k->name);
    struct lab_vm *vm = vm_boot(lab, &w, err);
    bool ok = vm != NULL;
    for (unsigned d = 0; ok && d < ARRAY_SIZE(depths); d++) {
        ok = measure(vm, k, lab->opt.quick ? 1000 : 8000, depths[d], &c[d], err);
    }
    vm_end(vm);
    return ok;
}

static void write_table(struct result *r, struct cost c[][ARRAY_SIZE(depths)])
{
    json_t *t = result_table(
        r, BOTH("Random reads of 4 KiB, per request", "4 KiB 임의 읽기, 요청당"),
        BOTH("device|depth|accesses to it|interrupts|latency us|requests/s|CPU us of the VMM",
             "장치|깊이|장치 접근|인터럽트|지연 us|초당 요청|VMM의 CPU us"));
    FILE *f = result_csv(r, "virtio.csv", "device,depth,exits,interrupts,latency_us,iops,cpu_us");
    for (unsigned k = 0; k < ARRAY_SIZE(kinds); k++) {
        for (unsigned d = 0; c[k][d].measured && d < ARRAY_SIZE(depths); d++) {
            const struct cost *x = &c[k][d];
            table_row(t, "%s|%u|%.2f|%.2f|%.1f|%.0f|%.1f", kinds[k].name, depths[d], x->exits,
                      x->irqs, x->latency_us, x->iops, x->cpu_us);
            if (f) {
                fprintf(f, "%s depth %u,%u,%.3f,%.3f,%.2f,%.1f,%.2f\n", kinds[k].name, depths[d],
                        depths[d], x->exits, x->irqs, x->latency_us, x->iops, x->cpu_us);
            }
        }
    }
    if (f) {
        fclose(f);
    }
}

static void judge_virtio(struct result *r, const struct cost *v)
{
    result_number(r, "virtio_exits_1", v[0].exits);
    result_number(r, "virtio_exits_32", v[2].exits);
    result_number(r, "virtio_latency_us", v[0].latency_us);
    result_observe(
        r, v[2].exits < v[0].exits * 0.8 ? SHOWN : NOT_SHOWN,
        BOTH("With more requests in flight one kick stands for many: exits per request fall.",
             "동시에 진행하는 요청이 많으면 kick 한 번이 여러 요청을 대신합니다: 요청당 exit가 "
             "줄어듭니다."),
        BOTH("virtio-blk: %.2f exits per request at depth 1, %.2f at 8, %.2f at 32.",
             "virtio-blk: 요청당 exit가 깊이 1에서 %.2f, 8에서 %.2f, 32에서 %.2f."),
        v[0].exits, v[1].exits, v[2].exits);
}

static void judge_ahci(struct result *r, const struct cost *v, const struct cost *a)
{
    if (!a[0].measured) {
        result_observe(
            r, NOT_MEASURED,
            BOTH("An emulated disk costs several register accesses for each request.",
                 "에뮬레이션 디스크는 요청마다 레지스터에 여러 번 접근합니다."),
            BOTH("%s: the guest with an AHCI driver is not there ('make lab-guest' makes it).",
                 "%s: AHCI 드라이버가 있는 게스트가 없습니다 ('make lab-guest'로 만듭니다)."),
            "AHCI");
        return;
    }
    result_number(r, "emulated_exits_1", a[0].exits);
    result_number(r, "emulated_latency_us", a[0].latency_us);
    result_observe(
        r, a[0].exits > v[0].exits ? SHOWN : NOT_SHOWN,
        BOTH("An emulated disk costs several register accesses for each request, virtio one "
             "kick at most.",
             "에뮬레이션 디스크는 요청마다 레지스터에 여러 번 접근하고, virtio는 kick 한 번이면 "
             "됩니다."),
        BOTH("Accesses to the device per request at depth 1: AHCI %.2f, virtio-blk %.2f.",
             "깊이 1에서 요청당 장치 접근: AHCI %.2f, virtio-blk %.2f."),
        a[0].exits, v[0].exits);
    result_observe(
        r, a[2].iops < v[2].iops ? SHOWN : NOT_SHOWN,
        BOTH("So it does fewer requests per second when many are asked for at once.",
             "그래서 한꺼번에 많이 요청하면 초당 처리량이 적습니다."),
        BOTH(
            "Requests per second at depth 32: AHCI %.0f, virtio-blk %.0f; latency at depth 1: "
            "%.0f and %.0f us.",
            "깊이 32에서 초당 요청: AHCI %.0f, virtio-blk %.0f; 깊이 1의 지연: %.0f us와 %.0f us."),
        a[2].iops, v[2].iops, a[0].latency_us, v[0].latency_us);
}

static void judge_ide(struct result *r, const struct cost *v, const struct cost *dma,
                      const struct cost *pio)
{
    result_number(r, "ide_dma_exits_1", dma[0].exits);
    result_number(r, "ide_dma_exits_32", dma[2].exits);
    result_number(r, "ide_pio_exits_1", pio[0].exits);
    result_number(r, "ide_pio_latency_us", pio[0].latency_us);
    result_observe(
        r, dma[0].exits > v[0].exits && pio[0].exits > dma[0].exits * 10 ? SHOWN : NOT_SHOWN,
        BOTH("IDE writes a request into registers one by one; without DMA the processor also "
             "fetches the data through a register, two or four bytes at a time.",
             "IDE는 요청을 레지스터에 하나씩 씁니다. DMA가 없으면 데이터도 프로세서가 레지스터로 "
             "2바이트나 4바이트씩 가져옵니다."),
        BOTH("Accesses per request of 4 KiB at depth 1: IDE with DMA %.1f, with PIO %.1f, "
             "virtio-blk %.2f. CPU time of the VMM per request: %.0f, %.0f and %.0f us.",
             "깊이 1에서 4 KiB 요청당 접근: IDE DMA %.1f, PIO %.1f, virtio-blk %.2f. 요청당 VMM의 "
             "CPU 시간: %.0f, %.0f, %.0f us."),
        dma[0].exits, pio[0].exits, v[0].exits, dma[0].cpu_us, pio[0].cpu_us, v[0].cpu_us);
    result_observe(
        r,
        dma[2].exits > dma[0].exits * 0.8 && dma[2].latency_us > dma[0].latency_us * 8 ? SHOWN
                                                                                       : NOT_SHOWN,
        BOTH("An IDE cable carries one request at a time: with 32 asked for at once none is "
             "cheaper, and each waits for those before it.",
             "IDE 케이블은 한 번에 한 요청만 처리합니다. 32개를 한꺼번에 요청해도 더 싸지지 않고 "
             "각각 앞의 요청을 기다립니다."),
        BOTH("IDE with DMA, depth 1 and 32: %.1f and %.1f accesses per request, latency %.0f "
             "and %.0f us, %.0f and %.0f requests per second.",
             "IDE DMA, 깊이 1과 32: 요청당 접근 %.1f와 %.1f, 지연 %.0f와 %.0f us, 초당 요청 "
             "%.0f와 %.0f."),
        dma[0].exits, dma[2].exits, dma[0].latency_us, dma[2].latency_us, dma[0].iops, dma[2].iops);
}

static bool run(struct lab *lab, struct result *r, GError **err)
{
    struct cost c[ARRAY_SIZE(kinds)][ARRAY_SIZE(depths)] = {0};
    g_autofree char *image = g_build_filename(lab->tmp, "virtio.img", NULL);
    bool ok = make_file(image, BYTES, err);
    for (unsigned k = 0; ok && k < ARRAY_SIZE(kinds); k++) {
        if (lab_has_guest(lab, kinds[k].flavour)) {
            ok = measure_kind(lab, &kinds[k], image, c[k], err);
        }
    }
    unlink(image);
    if (ok) {
        write_table(r, c);
        result_plot(
            r, "exits",
            BOTH("Accesses to the device for each request of 4 KiB; the scale is logarithmic.",
                 "4 KiB 요청당 장치 접근 수. 눈금은 로그입니다."),
            "set style data histograms\nset style fill solid 0.8\nset boxwidth 0.6\nset logscale "
            "y\nset yrange [0.01:*]\nset ylabel 'accesses per request'\nset xtics rotate by "
            "-30\nset rmargin 9\nunset key\nplot "
            "'virtio.csv' using 3:xtic(1) every ::1");
        judge_virtio(r, c[VIRTIO]);
        judge_ahci(r, c[VIRTIO], c[AHCI]);
        judge_ide(r, c[VIRTIO], c[IDE_DMA], c[IDE_PIO]);
    }
    return ok;
}

const struct experiment exp_virtio = {
    .name = "virtio-vs-emulated",
    .title = {"Paravirtual against emulated disks", "반가상화 디스크와 에뮬레이션 디스크"},
    .intro =
        {"Random reads over virtio-blk and over three fully emulated ways to a disk - AHCI, IDE "
         "with DMA, IDE without - with one, eight and 32 requests in flight: accesses to the "
         "device, interrupts, latency, throughput and CPU per request. Under the software CPU an "
         "access is a call, under KVM a switch of the processor's mode (there a string "
         "instruction takes one for many words).",
         "virtio-blk와 완전히 에뮬레이션된 세 가지 디스크(AHCI, DMA를 쓰는 IDE, 쓰지 않는 IDE)로 "
         "1, 8, 32개의 요청을 동시에 임의 읽기 합니다. 요청당 장치 접근, 인터럽트, 지연, 처리량, "
         "CPU를 봅니다. 소프트웨어 CPU에서 접근은 함수 호출이고, KVM에서는 프로세서 모드 전환입니다"
         "(문자열 명령은 여러 워드에 한 번)."},
    .run = run,
};
