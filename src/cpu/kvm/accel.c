/* accel.c - KVM as an accelerator; this build cannot use it yet and says so. */
#include "accel.h"
#include "x86/model.h"

#include "base/error.h"

#include <glib.h>

static bool kvm_init(struct cpu_set *s, GError **err)
{
    return error_set(err, HANOK_ERROR_UNSUPPORTED, "This build has no KVM support yet.");
}

static void kvm_fini(struct cpu_set *s)
{
}

void kvm_features(uint32_t allowed[FEAT_WORD_COUNT])
{
    host_features(allowed);
}

void accel_probe_kvm(struct accel_info *out)
{
    *out =
        (struct accel_info){.name = "kvm", .why = g_strdup("This build has no KVM support yet.")};
}

const struct accel_ops kvm_accel = {
    .name = "kvm",
    .thread_tag = "KVM",
    .init = kvm_init,
    .fini = kvm_fini,
};
