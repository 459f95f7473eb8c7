/* exp_disk.c - the path of disk I/O: host and guest, the five cache modes, what survives a kill. */
#include "lab_int.h"

#include "base/evloop.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define RECORD     4096u
#define RECORD_TAG 0x4c4142524543ull
#define BLOCK      65536u

static const char *const modes[] = {"none", "writeback", "writethrough", "directsync", "unsafe"};

struct speed {
    double write, read; /* MiB/s */
    double syncs, kicks;
    unsigned told, found; /* records, before a kill and after it */
};

static double mib_per_s(const char *text, uint64_t bytes)
{
    uint64_t ns = answer(text, "ns");
    return ns ? (double)bytes / 1048576 * 1e9 / (double)ns : 0;
}

static bool on_host(struct lab *lab, const char *path, uint64_t bytes, struct speed *s,
                    GError **err)
{
    g_autofree char *w =
        native_ask(lab, err, "io write %s %llu %u %llu 1 seq 1", path, (unsigned long long)bytes,
                   BLOCK, (unsigned long long)(bytes / BLOCK));
    g_autofree char *r =
        w ? native_ask(lab, err, "io read %s %llu %u %llu 1 seq 0", path, (unsigned long long)bytes,
                       BLOCK, (unsigned long long)(bytes / BLOCK))
          : NULL;
    s->write = mib_per_s(w, bytes);
    s->read = mib_per_s(r, bytes);
    return r != NULL;
}

static json_int_t block_stat(struct lab_vm *vm, const char *key)
{
    json_t *ret = NULL;
    if (!qmp_call(vm->q, "query-blockstats", NULL, &ret, NULL)) {
        return 0;
    }
    json_int_t n =
        json_integer_value(json_object_get(json_object_get(json_array_get(ret, 0), "stats"), key));
    json_decref(ret);
    return n;
}

/* Reads what the guest tells until enough records are durable, then SIGKILL. */
static bool kill_in_the_middle(struct lab_vm *vm, unsigned wanted, struct speed *s, GError **err)
{
    if (!vm_send(vm, "records /dev/vda 100000\n", err)) {
        return false;
    }
    while (s->told < wanted) {
        g_autofree char *line = vm_line(vm, 120);
        if (!line || !g_str_has_prefix(line, "durable ")) {
            return error_set(err, HANOK_ERROR_IO, "the guest writes no records: %s",
                             line ? line : "silence");
        }
        s->told++;
    }
    vm_kill(vm);
    for (char *line; (line = vm_line(vm, 1));
         g_free(line)) { /* what was on its way counts as told */
        s->told += g_str_has_prefix(line, "durable ");
    }
    return true;
}

/* Records at the front of the image, in order. */
static unsigned count_records(const char *path)
{
    uint64_t head[2];
    unsigned n = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    while (fd >= 0 && pread(fd, head, sizeof(head), (off_t)n * RECORD) == sizeof(head) &&
           head[0] == RECORD_TAG && head[1] == n) {
        n++;
    }
    if (fd >= 0) {
        close(fd);
    }
    return n;
}

static bool in_guest(struct lab *lab, const char *mode, const char *path, uint64_t bytes,
                     struct speed *s, GError **err)
{
    g_autofree char *drive =
        g_strdup_printf("file=%s,format=raw,if=none,id=d0,cache=%s", path, mode);
    const char *const more[] = {"-drive", drive, "-device", "virtio-blk-pci,drive=d0,id=disk0",
                                NULL};
    struct vm_wish w = {.name = mode, .memory_mib = 192, .vcpus = 1, .more = more};
    progress_line("cache=%s", mode);
    struct lab_vm *vm = vm_boot(lab, &w, err);
    unsigned long long n = bytes / BLOCK;
    json_int_t before = vm ? block_stat(vm, "x-syncs") : 0;
    g_autofree char *wr = vm ? vm_ask(vm, 300, err, "io write /dev/vda %llu %u %llu 1 seq 1",
                                      (unsigned long long)bytes, BLOCK, n)
                             : NULL;
    s->syncs = vm ? (double)(block_stat(vm, "x-syncs") - before) : 0;
    g_autofree char *rd = wr ? vm_ask(vm, 300, err, "io read /dev/vda %llu %u %llu 1 seq 0",
                                      (unsigned long long)bytes, BLOCK, n)
                             : NULL;
    s->write = mib_per_s(wr, bytes);
    s->read = mib_per_s(rd, bytes);
    bool ok = rd && kill_in_the_middle(vm, lab->opt.quick ? 40 : 200, s, err);
    vm_end(vm);
    s->found = ok ? count_records(path) : 0;
    return ok;
}

static void write_table(struct result *r, const struct speed *host, const struct speed *s)
{
    json_t *t = result_table(
        r,
        BOTH("Direct I/O of 64 KiB, one at a time, and one fsync at the end of writing",
             "64 KiB 직접 입출력, 한 번에 하나, 쓰기 끝에 fsync 한 번"),
        BOTH(
            "where|write MiB/s|read MiB/s|host syncs while writing|records told|"
            "records found after kill -9",
            "위치|쓰기 MiB/s|읽기 MiB/s|쓰기 중 호스트 동기화|알린 레코드|kill -9 뒤 남은 레코드"));
    FILE *f = result_csv(r, "disk.csv", "where,write_mib_s,read_mib_s,host_syncs,told,found");
    table_row(t, "host, O_DIRECT|%.0f|%.0f|||", host->write, host->read);
    if (f) {
        fprintf(f, "host,%.1f,%.1f,,,\n", host->write, host->read);
    }
    for (unsigned i = 0; i < ARRAY_SIZE(modes); i++) {
        table_row(t, "guest, cache=%s|%.0f|%.0f|%.0f|%u|%u", modes[i], s[i].write, s[i].read,
                  s[i].syncs, s[i].told, s[i].found);
        if (f) {
            fprintf(f, "%s,%.1f,%.1f,%.0f,%u,%u\n", modes[i], s[i].write, s[i].read, s[i].syncs,
                    s[i].told, s[i].found);
        }
    }
    if (f) {
        fclose(f);
    }
}

enum { NONE, WRITEBACK, WRITETHROUGH, DIRECTSYNC, UNSAFE }; /* in the order of modes[] */

static void judge_speed(struct result *r, const struct speed *host, const struct speed *s)
{
    result_number(r, "host_read", host->read);
    result_number(r, "writeback_read", s[WRITEBACK].read);
    result_number(r, "none_read", s[NONE].read);
    result_observe(
        r, s[NONE].write < host->write ? SHOWN : NOT_SHOWN,
        BOTH("The same writes take longer in the guest: each has the guest's path and the "
             "host's to go.",
             "같은 쓰기가 게스트에서 더 오래 걸립니다. 게스트의 경로와 호스트의 경로를 모두 지나야 "
             "합니다."),
        BOTH("Host %.0f MiB/s, guest %.0f MiB/s with cache=none.",
             "호스트 %.0f MiB/s, cache=none 게스트 %.0f MiB/s."),
        host->write, s[NONE].write);
    result_observe(
        r, s[WRITEBACK].read > host->read ? SHOWN : NOT_SHOWN,
        BOTH("The inversion: a direct read of the guest can be faster than one of the host, "
             "because the host's page cache holds the image.",
             "역전: 호스트 페이지 캐시에 이미지가 있으면 게스트의 직접 읽기가 호스트의 직접 "
             "읽기보다 "
             "빠를 수 있습니다."),
        BOTH("Host, O_DIRECT: %.0f MiB/s; guest, cache=writeback: %.0f MiB/s.",
             "호스트 O_DIRECT %.0f MiB/s; 게스트 cache=writeback %.0f MiB/s."),
        host->read, s[WRITEBACK].read);
    result_observe(
        r, s[NONE].read < s[WRITEBACK].read ? SHOWN : NOT_SHOWN,
        BOTH("With cache=none the host's page cache is not asked, and the inversion is gone.",
             "cache=none이면 호스트 페이지 캐시를 쓰지 않으므로 역전이 사라집니다."),
        BOTH("cache=none reads %.0f MiB/s, cache=writeback %.0f MiB/s.",
             "cache=none 읽기 %.0f MiB/s, cache=writeback %.0f MiB/s."),
        s[NONE].read, s[WRITEBACK].read);
}

static void judge_durability(struct result *r, const struct speed *s, unsigned blocks)
{
    bool survived = true;
    for (unsigned i = 0; i < ARRAY_SIZE(modes); i++) {
        g_autofree char *key = g_strdup_printf("syncs_%s", modes[i]);
        result_number(r, key, s[i].syncs);
        g_autofree char *lost = g_strdup_printf("lost_%s", modes[i]);
        result_number(r, lost, s[i].found >= s[i].told ? 0 : s[i].told - s[i].found);
        survived &= s[i].found >= s[i].told;
    }
    result_observe(
        r,
        s[UNSAFE].syncs == 0 && s[NONE].syncs >= 1 && s[WRITEBACK].syncs >= 1 &&
                s[WRITETHROUGH].syncs > s[WRITEBACK].syncs && s[DIRECTSYNC].syncs > s[NONE].syncs
            ? SHOWN
            : NOT_SHOWN,
        BOTH("The mode decides when the host must make data durable: at the guest's flush "
             "(none, writeback), at every write (writethrough, directsync), never (unsafe).",
             "모드는 호스트가 언제 데이터를 영속화할지 정합니다: 게스트의 flush 때(none, "
             "writeback), "
             "매 쓰기마다(writethrough, directsync), 결코 안 함(unsafe)."),
        BOTH("Host syncs for %u writes and one flush: none %.0f, writeback %.0f, writethrough "
             "%.0f, directsync %.0f, unsafe %.0f.",
             "쓰기 %u회와 flush 1회에 대한 호스트 동기화: none %.0f, writeback %.0f, writethrough "
             "%.0f, "
             "directsync %.0f, unsafe %.0f."),
        blocks, s[NONE].syncs, s[WRITEBACK].syncs, s[WRITETHROUGH].syncs, s[DIRECTSYNC].syncs,
        s[UNSAFE].syncs);
    result_observe(
        r, survived ? SHOWN : NOT_SHOWN,
        BOTH("kill -9 of the VMM loses nothing the guest was told is durable, in any mode: "
             "the host's kernel has the data. (A power cut would tell unsafe from the "
             "others; this experiment cannot cut the power.)",
             "VMM을 kill -9 해도 영속화되었다고 알린 것은 어느 모드에서도 잃지 않습니다. 데이터는 "
             "호스트 "
             "커널에 있습니다. (전원을 끊어야 unsafe가 드러나지만 이 실험은 전원을 끊을 수 "
             "없습니다.)"),
        BOTH("Records told and found: none %u/%u, writeback %u/%u, writethrough %u/%u, "
             "directsync %u/%u, unsafe %u/%u.",
             "알린 레코드와 남은 레코드: none %u/%u, writeback %u/%u, writethrough %u/%u, "
             "directsync "
             "%u/%u, unsafe %u/%u."),
        s[0].told, s[0].found, s[1].told, s[1].found, s[2].told, s[2].found, s[3].told, s[3].found,
        s[4].told, s[4].found);
}

static bool run(struct lab *lab, struct result *r, GError **err)
{
    uint64_t bytes = lab->opt.quick ? 32u << 20 : 256u << 20;
    g_autofree char *image = g_build_filename(lab->opt.output, "disk-path", "disk.img", NULL);
    struct speed host = {0}, s[ARRAY_SIZE(modes)] = {0};
    progress_line("the host itself, %llu MiB", (unsigned long long)(bytes >> 20));
    bool ok = make_file(image, bytes, err) && on_host(lab, image, bytes, &host, err);
    for (unsigned i = 0; ok && i < ARRAY_SIZE(modes); i++) {
        ok = make_file(image, bytes, err) && in_guest(lab, modes[i], image, bytes, &s[i], err);
    }
    unlink(image);
    if (ok) {
        write_table(r, &host, s);
        result_plot(
            r, "disk",
            BOTH("Throughput of the same direct I/O on the host and in guests of the five cache "
                 "modes.",
                 "같은 직접 입출력의 처리량: 호스트와 다섯 캐시 모드의 게스트."),
            "set style data histograms\nset style fill solid 0.8\nset yrange [0:*]\nset ylabel "
            "'MiB/s'\nplot 'disk.csv' using 2:xtic(1) every ::1 title 'write', '' using 3 every "
            "::1 title 'read'");
        judge_speed(r, &host, s);
        judge_durability(r, s, (unsigned)(bytes / BLOCK));
    }
    return ok;
}

const struct experiment exp_disk = {
    .name = "disk-path",
    .title = {"The path of disk I/O, and the page cache in it",
              "디스크 입출력의 경로와 페이지 캐시"},
    .intro =
        {"The same direct writes and reads on the host and in the guest, through an image file "
         "under the five cache modes; how often the host was told to make data durable; and what "
         "is left after the VMM was killed while the guest wrote records.",
         "같은 직접 쓰기와 읽기를 호스트에서, 그리고 다섯 캐시 모드의 이미지 파일을 통해 "
         "게스트에서 합니다. "
         "호스트가 몇 번 영속화를 요청받았는지, 게스트가 레코드를 쓰는 중에 VMM을 죽인 뒤 무엇이 "
         "남는지도 "
         "봅니다."},
    .run = run,
};
