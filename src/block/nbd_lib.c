/* nbd_lib.c - finds libnbd's functions. */
#include "nbd_lib.h"

#include "base/error.h"
#include "base/util.h"

#include <dlfcn.h>

#define SONAME "libnbd.so.0"

struct nbd_lib nbd_lib;

static const struct {
    const char *name;
    size_t at;
} functions[] = {
#define ROW(name) {"nbd_" #name, offsetof(struct nbd_lib, name)},
    NBD_LIB_FUNCTIONS(ROW)
#undef ROW
};

bool nbd_lib_load(GError **err)
{
    static bool loaded;

    if (loaded)
        return true;
    void *handle = dlopen(SONAME, RTLD_NOW | RTLD_LOCAL);
    for (size_t k = 0; k < ARRAY_SIZE(functions); k++) {
        void *f = handle ? dlsym(handle, functions[k].name) : NULL;
        if (!f) {
            error_set(err, HANOK_ERROR_NOT_FOUND,
                      "NBD disks need the library libnbd (Debian package libnbd0): %s.", dlerror());
            if (handle)
                dlclose(handle);
            return false;
        }
        memcpy((uint8_t *)&nbd_lib + functions[k].at, &f, sizeof(f));
    }
    loaded = true;
    return true;
}
