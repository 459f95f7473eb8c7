/* exp_memory.c - where the memory of a machine is, and what comes back. */
#include "lab_int.h"

#include "base/evloop.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static double mib(double kib)
{
    return kib / 1024;
}

static const char *const words[MEMORY_PARTS][LANGS] = {
    {"guest RAM", "게스트 RAM"},
    {"translated code (mapped twice)", "번역된 코드 (두 번 매핑)"},
    {"translator's tables", "번역기의 표"},
    {"threads' stacks", "스레드 스택"},
    {"heap and other", "힙과 그 밖의 것"},
    {"program, libraries", "프로그램, 라이브러리"},
    {"shared, rings", "공유, 링"}};

static uint64_t rollup_kib(pid_t pid)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/smaps_rollup", (int)pid), *text = NULL;
    const char *at = g_file_get_contents(path, &text, NULL, NULL) ? strstr(text, "\nRss:") : NULL;
    return at ? g_ascii_strtoull(at + 5, NULL, 10) : 0;
}

/* The machine is stopped meanwhile, so that both readings are of the same moment. */
static bool picture(struct lab_vm *vm, struct result *r, struct memory_picture *p, GError **err)
{
    if (!qmp_call(vm->q, "stop", NULL, NULL, err) || !vm_memory(vm, p)) {
        return error_set(err, HANOK_ERROR_IO, "/proc/%d/smaps cannot be read", (int)vm->pid);
    }
    uint64_t total = rollup_kib(vm->pid);
    if (!qmp_call(vm->q, "cont", NULL, NULL, err)) {
        return false;
    }
    json_t *t = result_table(r, BOTH("The process, MiB", "프로세스 (MiB)"),
                             BOTH("part|resident|proportional", "부분|상주|비례 배분"));
    FILE *f = result_csv(r, "process.csv", "part,rss_mib,pss_mib");
    for (unsigned i = 0; i < MEMORY_PARTS; i++) {
        table_row(t, "%s|%.1f|%.1f", words[i][EN], mib((double)p->rss_kib[i]),
                  mib((double)p->pss_kib[i]));
        if (f) {
            fprintf(f, "\"%s\",%.3f,%.3f\n", words[i][EN], mib((double)p->rss_kib[i]),
                    mib((double)p->pss_kib[i]));
        }
    }
    if (f) {
        fclose(f);
    }
    table_row(t, "sum|%.1f|%.1f", mib((double)p->rss_total_kib), mib((double)p->pss_total_kib));
    table_row(t, "kernel: page tables|%.1f|", mib((double)p->page_tables_kib));
    table_row(t, "kernel: stacks of %u threads|%.1f|", p->threads,
              mib((double)p->kernel_stacks_kib));
    double diff = fabs((double)p->rss_total_kib - (double)total);
    result_number(r, "sum_difference_kib", diff);
    result_observe(
        r, diff <= 1024 ? SHOWN : NOT_SHOWN,
        BOTH("Every resident page is in one part: the parts add up to what the kernel says.",
             "상주하는 모든 페이지는 한 부분에 속합니다. 합은 커널이 말하는 값과 같습니다."),
        BOTH("Sum %.1f MiB, smaps_rollup %.1f MiB.", "합 %.1f MiB, smaps_rollup %.1f MiB."),
        mib((double)p->rss_total_kib), mib((double)total));
    return true;
}

struct host_view {
    double free, cached, image;
};

static void look(struct host_view *h, const char *image)
{
    uint64_t cached = 0, size = 0;
    h->free = mib((double)host_meminfo_kib("MemFree"));
    h->cached = mib((double)host_meminfo_kib("Cached"));
    file_cached(image, &cached, &size);
    h->image = (double)cached / 1048576;
}

static bool guest_view(struct lab_vm *vm, struct result *r, GError **err)
{
    static const char *const keys[] = {"MemTotal", "MemFree", "MemAvailable", "Cached", "Slab"};
    g_autofree char *text = vm_ask(vm, 60, err, "meminfo");
    json_t *t = result_table(r, BOTH("free inside the guest, MiB", "게스트 안의 free (MiB)"),
                             BOTH("what|MiB", "항목|MiB"));
    table_row(t, "RAM it was given|%.1f", mib((double)vm->memory_kib));
    for (unsigned i = 0; text && i < ARRAY_SIZE(keys); i++) {
        table_row(t, "%s|%.1f", keys[i], mib((double)answer(text, keys[i])));
    }
    return text != NULL;
}

/* Resident guest RAM: before, with the memory in use, after it was freed and some time. */
struct returned {
    double before, touched, freed;
};

static double guest_rss(struct lab_vm *vm)
{
    struct memory_picture p;
    return vm_memory(vm, &p) ? mib((double)p.rss_kib[MEMORY_GUEST_RAM]) : NAN;
}

static bool touch_and_free(struct lab *lab, struct result *r, bool reporting, unsigned touch,
                           struct returned *out, GError **err)
{
    g_autofree char *balloon = g_strdup_printf(
        "virtio-balloon-pci,id=balloon0,free-page-reporting=%s", reporting ? "on" : "off");
    const char *const more[] = {"-device", balloon, NULL};
    struct vm_wish w = {
        .name = reporting ? "report" : "keep", .memory_mib = touch + 256, .vcpus = 1, .more = more};
    progress_line("a program in the guest touches %u MiB and frees them, %s free page reporting",
                  touch, reporting ? "with" : "without");
    struct lab_vm *vm = vm_boot(lab, &w, err);
    bool ok = vm != NULL;
    if (ok) {
        out->before = guest_rss(vm);
        g_autofree char *a = vm_ask(vm, 300, err, "touch %u", touch);
        out->touched = guest_rss(vm);
        g_autofree char *b = a ? vm_ask(vm, 120, err, "untouch") : NULL;
        out->freed = guest_rss(vm);
        /* the guest reports two seconds after memory became free, a piece at a time */
        for (unsigned i = 0; b && i < (lab->opt.quick ? 16u : 60u); i++) {
            sleep_ms(500);
            out->freed = guest_rss(vm);
            if (reporting && out->freed < out->before + touch * 0.2) {
                break;
            }
        }
        ok = b != NULL;
    }
    vm_end(vm);
    return ok;
}

static void judge_returned(struct result *r, const struct returned v[2], unsigned touch)
{
    static const char *const names[] = {"without reporting", "with reporting"};
    json_t *t = result_table(
        r, BOTH("Guest RAM resident on the host, MiB", "호스트에 상주하는 게스트 RAM (MiB)"),
        BOTH("machine|after boot|memory in use|freed in the guest",
             "가상 머신|부팅 후|사용 중|게스트가 해제한 뒤"));
    FILE *f = result_csv(r, "returned.csv", "machine,before_mib,touched_mib,freed_mib");
    for (unsigned i = 0; i < 2; i++) {
        table_row(t, "%s|%.0f|%.0f|%.0f", names[i], v[i].before, v[i].touched, v[i].freed);
        if (f) {
            fprintf(f, "%s,%.1f,%.1f,%.1f\n", names[i], v[i].before, v[i].touched, v[i].freed);
        }
    }
    if (f) {
        fclose(f);
    }
    result_plot(
        r, "returned",
        BOTH("Guest RAM on the host before, during and after the guest used it.",
             "게스트가 쓰기 전, 쓰는 중, 쓴 뒤에 호스트에 상주하는 게스트 RAM."),
        "set style data histograms\nset style fill solid 0.8\nset yrange [0:*]\nset ylabel "
        "'MiB'\nset key outside\nplot 'returned.csv' using 2:xtic(1) every ::1 title 'after "
        "boot', '' using 3 every ::1 title 'in use', '' using 4 every ::1 title 'freed'");
    double grown = v[0].touched - v[0].before, kept = v[0].touched - v[0].freed,
           back = v[1].touched - v[1].freed;
    result_number(r, "touched_mib", grown);
    result_number(r, "returned_without_mib", kept);
    result_number(r, "returned_with_mib", back);
    result_observe(
        r, grown > touch * 0.8 && kept < touch * 0.2 ? SHOWN : NOT_SHOWN,
        BOTH("Memory the guest touches becomes resident, and stays when the guest frees it: "
             "the host cannot know.",
             "게스트가 건드린 메모리는 상주하게 되고, 게스트가 해제해도 남습니다. 호스트는 알 수 "
             "없기 때문입니다."),
        BOTH("%.0f MiB came, %.0f MiB went back after the guest had freed %u MiB.",
             "%.0f MiB가 늘었고, 게스트가 해제한 뒤 %.0f MiB가 돌아왔습니다 (%u MiB 해제)."),
        grown, kept, touch);
    result_observe(
        r, back > touch * 0.5 ? SHOWN : NOT_SHOWN,
        BOTH("With free page reporting the guest tells what is free, and the host takes it.",
             "free page reporting이 있으면 게스트가 빈 페이지를 알리고 호스트가 가져갑니다."),
        BOTH("%.0f MiB of %u went back.", "%.0f MiB가 돌아왔습니다 (%u MiB 중)."), back, touch);
}

static void account(struct result *r, const struct host_view *before, const struct host_view *after,
                    const struct memory_picture *p)
{
    json_t *t = result_table(r, BOTH("free on the host, MiB", "호스트의 free (MiB)"),
                             BOTH("what|before|after|difference", "항목|전|후|차이"));
    table_row(t, "MemFree|%.0f|%.0f|%.0f", before->free, after->free, after->free - before->free);
    table_row(t, "Cached (page cache)|%.0f|%.0f|%.0f", before->cached, after->cached,
              after->cached - before->cached);
    table_row(t, "the image in the page cache|%.0f|%.0f|%.0f", before->image, after->image,
              after->image - before->image);
    double vmm = mib((double)(p->rss_total_kib - p->rss_kib[MEMORY_GUEST_RAM]));
    result_number(r, "guest_ram_mib", mib((double)p->rss_kib[MEMORY_GUEST_RAM]));
    result_number(r, "vmm_mib", vmm);
    result_observe(
        r, after->image > before->image + 8 ? SHOWN : NOT_SHOWN,
        BOTH("A disk image read through the page cache is in memory twice at most: in the "
             "host's cache, and in the guest's if it did not read directly.",
             "페이지 캐시를 거쳐 읽은 디스크 이미지는 호스트 캐시에, 게스트가 직접 읽기를 쓰지 "
             "않았다면 "
             "게스트 캐시에도 있습니다."),
        BOTH("%.0f MiB of the image are in the host's cache after the guest read 32 MiB "
             "(%.0f before); guest RAM is %.0f MiB, the VMM itself %.0f MiB.",
             "게스트가 32 MiB를 읽은 뒤 호스트 캐시에 이미지 %.0f MiB (전 %.0f); 게스트 RAM %.0f "
             "MiB, "
             "VMM 자체 %.0f MiB."),
        after->image, before->image, mib((double)p->rss_kib[MEMORY_GUEST_RAM]), vmm);
}

static bool whole_picture(struct lab *lab, struct result *r, GError **err)
{
    g_autofree char *image = g_build_filename(lab->tmp, "memory.img", NULL);
    g_autofree char *drive = g_strdup_printf("file=%s,format=raw,if=none,id=d0", image);
    const char *const more[] = {"-drive", drive, "-device", "virtio-blk-pci,drive=d0", NULL};
    struct vm_wish w = {.name = "memory", .memory_mib = 512, .vcpus = 1, .more = more};
    struct host_view before, after;
    struct memory_picture p;
    if (!make_file(image, 64 << 20, err)) {
        return false;
    }
    if (!drop_all_caches()) {
        bool out = drop_file(image);
        result_note(r,
                    BOTH("Dropping the host's caches needs root; only the image was dropped "
                         "(POSIX_FADV_DONTNEED)%s.",
                         "호스트 캐시를 비우려면 root가 필요합니다. 이미지 파일만 비웠습니다"
                         "(POSIX_FADV_DONTNEED)%s."),
                    out ? "" : " - and the kernel kept it");
    }
    look(&before, image);
    progress_line("booting a guest of 512 MiB with a disk");
    struct lab_vm *vm = vm_boot(lab, &w, err);
    g_autofree char *got =
        vm ? vm_ask(vm, 120, err, "io read /dev/vda %u 65536 512 4 seq 0", 64u << 20) : NULL;
    bool ok = got != NULL;
    if (ok) {
        look(&after, image);
        ok = picture(vm, r, &p, err) && guest_view(vm, r, err);
    }
    if (ok) {
        account(r, &before, &after, &p);
        result_plot(
            r, "process",
            BOTH("The process's resident memory by part.", "프로세스 상주 메모리의 구성."),
            "set style data histograms\nset style fill solid 0.8\nset boxwidth 0.6\nset yrange "
            "[0:*]\nset ylabel 'MiB'\nset xtics rotate by -20\nunset key\nplot 'process.csv' "
            "using 2:xtic(1) every ::1");
    }
    vm_end(vm);
    unlink(image);
    return ok;
}

static bool run(struct lab *lab, struct result *r, GError **err)
{
    struct returned v[2];
    unsigned touch = 512;
    if (host_meminfo_kib("MemAvailable") < 1600u * 1024) {
        touch = 128;
        result_note(r,
                    BOTH("The host has little memory: %u MiB are touched instead of 512.",
                         "호스트 메모리가 적어 512 MiB 대신 %u MiB를 건드립니다."),
                    touch);
    }
    if (!whole_picture(lab, r, err) || !touch_and_free(lab, r, false, touch, &v[0], err) ||
        !touch_and_free(lab, r, true, touch, &v[1], err)) {
        return false;
    }
    judge_returned(r, v, touch);
    return true;
}

const struct experiment exp_memory = {
    .name = "memory",
    .title = {"Where the memory goes", "메모리는 어디로 가는가"},
    .intro =
        {"The caches are dropped, free is read, a machine is started, free is read again: where "
         "each MiB went - kernel, VMM, guest RAM, the image in the page cache. Then a program in "
         "the guest touches 512 MiB and frees them, without and with free page reporting.",
         "캐시를 비우고 free를 읽고, 가상 머신을 시작한 뒤 다시 읽습니다. 각 MiB가 커널, VMM, "
         "게스트 RAM, "
         "페이지 캐시의 이미지 중 어디로 갔는지 봅니다. 그다음 게스트의 프로그램이 512 MiB를 "
         "건드리고 "
         "해제합니다. free page reporting이 없을 때와 있을 때입니다."},
    .run = run,
};
