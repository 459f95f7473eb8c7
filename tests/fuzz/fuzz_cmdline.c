/* Any command line ends in a configuration or in a sentence.  Words are separated by zero bytes. */
#include "base/log.h"
#include "options.h"

#include <glib.h>
#include <stdlib.h>
#include <string.h>

#define WORDS_MAX 256

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *argv[WORDS_MAX + 1] = {(char *)"hanok-vm"};
    int argc = 1;
    g_autofree char *text = g_malloc(size + 1);
    memcpy(text, data, size);
    text[size] = '\0';
    log_set_level(LOG_LEVEL_ERROR);
    for (size_t at = 0; at < size && argc < WORDS_MAX; at += strlen(text + at) + 1) {
        argv[argc++] = text + at;
    }
    g_autoptr(GError) err = NULL;
    struct vm_options *o = vm_options_parse(argc, argv, &err);
    if (!o == !err || (err && strlen(err->message) < 8)) {
        abort();
    }
    vm_options_free(o);
    return 0;
}
