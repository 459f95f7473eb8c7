/* picture.c - /proc/PID/smaps, each mapping put into one part of the picture. */
#include "manager/proc.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KERNEL_STACK_KIB 16u /* THREAD_SIZE on x86-64 */

const char *const memory_part_names[MEMORY_PARTS] = {
    "guest_ram", "jit_code", "jit_tables", "stacks", "heap", "files", "shared"};

struct mapping {
    uint64_t start, end;
    bool shared;
    char name[256];
};

static enum memory_part part_of_kind(const char *kind)
{
    static const struct {
        const char *kind;
        enum memory_part part;
    } kinds[] = {{"guest-ram", MEMORY_GUEST_RAM},
                 {"jit-code", MEMORY_JIT_CODE},
                 {"jit-tables", MEMORY_JIT_TABLES},
                 {"stack", MEMORY_STACKS}};
    for (unsigned i = 0; i < G_N_ELEMENTS(kinds); i++) {
        if (!g_strcmp0(kind, kinds[i].kind)) {
            return kinds[i].part;
        }
    }
    return MEMORY_HEAP;
}

/* The part of the area that overlaps most, if that is most of the mapping. */
static bool part_by_area(const struct mapping *m, json_t *areas, enum memory_part *part)
{
    uint64_t best = 0, known = 0;
    size_t i;
    json_t *a;
    json_array_foreach(areas, i, a)
    {
        uint64_t from = (uint64_t)json_integer_value(json_object_get(a, "address"));
        uint64_t to = from + (uint64_t)json_integer_value(json_object_get(a, "size"));
        from = MAX(from, m->start);
        to = MIN(to, m->end);
        if (to <= from) {
            continue;
        }
        known += to - from;
        if (to - from > best) {
            best = to - from;
            *part = part_of_kind(json_string_value(json_object_get(a, "kind")));
        }
    }
    return best && known >= (m->end - m->start) / 2;
}

static enum memory_part part_of(const struct mapping *m, json_t *areas, uint64_t guest_kib)
{
    enum memory_part part = MEMORY_HEAP;
    if (part_by_area(m, areas, &part)) {
        return part;
    }
    if (!areas && guest_kib && m->end - m->start == guest_kib * 1024) {
        return MEMORY_GUEST_RAM;
    }
    if (!strcmp(m->name, "[stack]")) {
        return MEMORY_STACKS;
    }
    if (m->name[0] == '/' && !g_str_has_prefix(m->name, "/memfd:") &&
        !g_str_has_prefix(m->name, "/dev/")) {
        return MEMORY_FILES;
    }
    if (m->shared) {
        return MEMORY_SHARED;
    }
    return m->name[0] == '[' && strcmp(m->name, "[heap]") && strncmp(m->name, "[anon", 5)
               ? MEMORY_FILES /* [vdso], [vvar] */
               : MEMORY_HEAP;
}

static bool parse_header(const char *line, struct mapping *m)
{
    unsigned long long start, end;
    char perms[8];
    int used = 0;
    if (sscanf(line, "%llx-%llx %7s %*s %*s %*s %n", &start, &end, perms, &used) != 3) {
        return false;
    }
    m->start = start;
    m->end = end;
    m->shared = perms[3] == 's';
    g_strlcpy(m->name, used ? line + used : "", sizeof(m->name));
    return true;
}

/* Adds a line like "Rss:   12 kB" when it has that key. */
static void add_line(const char *line, const char *key, uint64_t *sum)
{
    size_t len = strlen(key);
    if (!strncmp(line, key, len) && line[len] == ':') {
        *sum += g_ascii_strtoull(line + len + 1, NULL, 10);
    }
}

bool memory_picture(pid_t pid, json_t *areas, uint64_t guest_kib, struct memory_picture *out)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/smaps", (int)pid), *text = NULL;
    enum memory_part part = MEMORY_HEAP;
    struct mapping m;
    memset(out, 0, sizeof(*out));
    if (!g_file_get_contents(path, &text, NULL, NULL) || !*text) {
        return false;
    }
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    for (char **l = lines; *l; l++) {
        if (parse_header(*l, &m)) {
            part = part_of(&m, areas, guest_kib);
            out->guest_ram_mapped_kib += part == MEMORY_GUEST_RAM ? (m.end - m.start) / 1024 : 0;
            continue;
        }
        add_line(*l, "Rss", &out->rss_kib[part]);
        add_line(*l, "Pss", &out->pss_kib[part]);
        add_line(*l, "Swap", &out->swap_kib[part]);
    }
    for (unsigned i = 0; i < MEMORY_PARTS; i++) {
        out->rss_total_kib += out->rss_kib[i];
        out->pss_total_kib += out->pss_kib[i];
        out->swap_total_kib += out->swap_kib[i];
    }
    g_autoptr(GArray) threads = proc_threads(pid);
    out->threads = threads->len;
    out->page_tables_kib = proc_status_kib(pid, "VmPTE");
    out->kernel_stacks_kib = (uint64_t)threads->len * KERNEL_STACK_KIB;
    return true;
}
