/* What comes from outside when an installer is fetched: the first byte says whether the rest is a
 * web server's answer or a CD image. */
#include "fetch.h"

#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void answer(const uint8_t *data, size_t size)
{
    g_autoptr(GInputStream) in = g_memory_input_stream_new_from_data(data, (gssize)size, NULL);
    g_autoptr(GByteArray) body = g_byte_array_new();
    struct http_answer a = {0};
    if (http_answer_read(in, &a, body, NULL, NULL) && body->len > size) {
        abort(); /* more than was sent */
    }
    g_free(a.location);
}

static void cd_image(const uint8_t *data, size_t size)
{
    enum { BEFORE_VOLUME = 16 * 2048 };
    int fd = memfd_create("cd", MFD_CLOEXEC);
    g_autofree char *path = g_strdup_printf("/proc/self/fd/%d", fd);
    if (fd >= 0 && pwrite(fd, data, size, BEFORE_VOLUME) == (ssize_t)size) {
        static const char *const paths[] = {"install.amd/vmlinuz", "a"};
        for (unsigned i = 0; i < 2; i++) {
            GBytes *file = iso_read(path, paths[i], NULL);
            g_clear_pointer(&file, g_bytes_unref);
        }
    }
    close(fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size) {
        (*data & 1 ? cd_image : answer)(data + 1, size - 1);
    }
    return 0;
}
