/* Any bytes as domain XML: what loads must format, and what we format must load as the same. */
#include "manager/argv.h"

#include "base/log.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_argv(struct domain *d)
{
    const struct argv_options o = {.dir = "/run/x", .nvram_dir = "/var/x", .native = true};
    GPtrArray *argv = domain_argv(d, &o, NULL);
    if (argv) {
        g_ptr_array_free(argv, TRUE);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    g_autofree char *text = g_strndup((const char *)data, size);
    g_autoptr(GPtrArray) aside = NULL;
    domain_free(domain_load_lenient(text, &aside, NULL));
    struct domain *d = domain_load(text, NULL);
    if (!d) {
        return 0;
    }
    g_autofree char *out = domain_format(d, FORMAT_INACTIVE | FORMAT_SECURE);
    struct domain *again = domain_load(out, NULL);
    if (!again) {
        abort(); /* we wrote something we do not read */
    }
    g_autofree char *out2 = domain_format(again, FORMAT_INACTIVE | FORMAT_SECURE);
    if (strcmp(out, out2)) {
        abort();
    }
    check_argv(d);
    domain_free(d);
    domain_free(again);
    return 0;
}
