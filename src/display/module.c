/* module.c - finds and loads what shows the screen to somebody. */
#include "base/error.h"
#include "base/util.h"
#include "seat.h"

#include <dlfcn.h>

const void *display_module_load(const char *file, const char *symbol, unsigned abi,
                                const char *what, GError **err)
{
    const char *own = g_getenv("HANOK_MODULES");
    g_autofree char *exe = g_file_read_link("/proc/self/exe", NULL);
    g_autofree char *beside = exe ? g_path_get_dirname(exe) : g_strdup(".");
    const char *dirs[] = {own, HANOK_MODULE_DIR, beside};
    const unsigned *m;
    void *handle = NULL;

    for (size_t i = 0; i < ARRAY_SIZE(dirs) && !handle; i++) {
        g_autofree char *path = dirs[i] ? g_build_filename(dirs[i], file, NULL) : NULL;
        if (path && g_file_test(path, G_FILE_TEST_EXISTS))
            handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    }
    if (!handle) {
        const char *why = dlerror();
        error_set(err, HANOK_ERROR_NOT_FOUND, "%s is not installed: '%s' cannot be loaded (%s)",
                  what, file, why ? why : "there is no such file in " HANOK_MODULE_DIR);
        return NULL;
    }
    m = dlsym(handle, symbol);
    if (m && *m == abi)
        return m;
    error_set(err, HANOK_ERROR_UNSUPPORTED, "'%s' is of another version", file);
    return NULL;
}
