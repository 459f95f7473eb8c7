/* exp_passthrough.c - the third way to a device; what can be compared today, and what is missing.
 */
#include "lab_int.h"

#include <math.h>
#include <string.h>

static double other(struct lab *lab, const char *key)
{
    g_autofree char *path =
        g_build_filename(lab->opt.output, "virtio-vs-emulated", "result.json", NULL);
    json_t *o = json_load_file(path, 0, NULL);
    json_t *v = json_object_get(json_object_get(o, "numbers"), key);
    double x = json_is_real(v) ? json_real_value(v) : NAN;
    json_decref(o);
    return x;
}

static void cell(char *out, size_t size, double v)
{
    if (isnan(v)) {
        g_strlcpy(out, "-", size);
    } else {
        g_snprintf(out, size, "%.2f", v);
    }
}

static bool run(struct lab *lab, struct result *r, GError **err)
{
    static const char *const rows[][3] = {
        {"emulated (AHCI)", "emulated_exits_1", "emulated_latency_us"},
        {"paravirtual (virtio-blk)", "virtio_exits_1", "virtio_latency_us"}};
    json_t *t =
        result_table(r, BOTH("One request at a time", "한 번에 한 요청"),
                     BOTH("device|exits per request|latency us", "장치|요청당 exit|지연 us"));
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        char exits[32], latency[32];
        cell(exits, sizeof(exits), other(lab, rows[i][1]));
        cell(latency, sizeof(latency), other(lab, rows[i][2]));
        table_row(t, "%s|%s|%s", rows[i][0], exits, latency);
    }
    table_row(t, "passed through (VFIO)|-|-");
    result_observe(
        r, NOT_MEASURED,
        BOTH("A device that is passed through is driven without exits: its registers and "
             "its DMA are the guest's own.",
             "패스스루 장치는 exit 없이 동작합니다. 레지스터와 DMA가 게스트의 것이기 때문입니다."),
        BOTH("This version has no VFIO: the first two rows are what '%s' measured before "
             "('-': it did not run yet).",
             "이 버전에는 VFIO가 없습니다. 위의 두 줄은 앞서 '%s' 실험이 잰 것입니다 ('-'는 아직 "
             "실행하지 "
             "않음)."),
        "virtio-vs-emulated");
    (void)err;
    return true;
}

const struct experiment exp_passthrough = {
    .name = "passthrough",
    .title = {"Emulated, paravirtual, passed through", "에뮬레이션, 반가상화, 패스스루"},
    .intro =
        {"The frame of a comparison: what an emulated and a virtio device cost, beside a device "
         "that belongs to the guest alone.",
         "비교의 틀: 에뮬레이션 장치와 virtio 장치의 비용을, 게스트가 혼자 쓰는 장치와 나란히 "
         "놓습니다."},
    .run = run,
};
