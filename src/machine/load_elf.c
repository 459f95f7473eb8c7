/* ELF files as kernels: System V ABI gABI 4.1 ch.4-5; both classes, little-endian only. */
#include "boot_image.h"

#include "base/error.h"
#include "base/util.h"

#include <elf.h>
#include <string.h>

static bool broken(GError **err, const char *path, const char *what)
{
    return error_set(err, HANOK_ERROR_INVALID,
                     "could not load kernel '%s': error in its ELF headers: %s", path, what);
}

struct program_header {
    uint32_t type;
    uint64_t offset, vaddr, paddr, file_size, mem_size;
};

static struct program_header header_get(const uint8_t *p, bool is64)
{
    struct program_header h = {0};
    if (is64) {
        Elf64_Phdr e;
        memcpy(&e, p, sizeof(e));
        h = (struct program_header){e.p_type,  e.p_offset, e.p_vaddr,
                                    e.p_paddr, e.p_filesz, e.p_memsz};
    } else {
        Elf32_Phdr e;
        memcpy(&e, p, sizeof(e));
        h = (struct program_header){e.p_type,  e.p_offset, e.p_vaddr,
                                    e.p_paddr, e.p_filesz, e.p_memsz};
    }
    return h;
}

static bool segment_add(struct elf_info *out, const struct program_header *h, const char *path,
                        GError **err)
{
    if (out->segments == ARRAY_SIZE(out->segment))
        return broken(err, path, "more than 16 loadable segments");
    if (h->file_size > h->mem_size)
        return broken(err, path, "a segment is larger in the file than in memory");
    if (h->paddr + h->mem_size < h->paddr || h->paddr + h->mem_size > 4 * GiB)
        return broken(err, path, "a segment lies above 4 GiB");
    out->segment[out->segments++] = (struct elf_segment){
        .paddr = h->paddr,
        .vaddr = h->vaddr,
        .file_offset = h->offset,
        .file_size = h->file_size,
        .mem_size = h->mem_size,
    };
    return true;
}

bool elf_parse(const struct boot_blob *file, const char *path, struct elf_info *out, GError **err)
{
    const uint8_t *d = file->data;
    *out = (struct elf_info){0};
    if (file->len < sizeof(Elf32_Ehdr) || memcmp(d, ELFMAG, SELFMAG) != 0)
        return false;
    out->is64 = d[EI_CLASS] == ELFCLASS64;
    if ((!out->is64 && d[EI_CLASS] != ELFCLASS32) || d[EI_DATA] != ELFDATA2LSB)
        return broken(err, path, "neither 32- nor 64-bit little-endian");
    if (out->is64 && file->len < sizeof(Elf64_Ehdr))
        return broken(err, path, "the file ends inside the first header");
    out->machine = le16_get(d + 18);
    uint64_t phoff = out->is64 ? le64_get(d + 32) : le32_get(d + 28);
    out->entry = out->is64 ? le64_get(d + 24) : le32_get(d + 24);
    unsigned phentsize = le16_get(d + (out->is64 ? 54 : 42));
    unsigned phnum = le16_get(d + (out->is64 ? 56 : 44));
    if (phentsize < (out->is64 ? sizeof(Elf64_Phdr) : sizeof(Elf32_Phdr)) || phoff > file->len ||
        (uint64_t)phentsize * phnum > file->len - phoff)
        return broken(err, path, "the program headers lie outside the file");
    for (unsigned i = 0; i < phnum; i++) {
        struct program_header h = header_get(d + phoff + (uint64_t)i * phentsize, out->is64);
        if (h.type != PT_LOAD && h.type != PT_NOTE)
            continue;
        if (h.offset > file->len || h.file_size > file->len - h.offset)
            return broken(err, path, "a segment lies outside the file");
        if (h.type == PT_LOAD && h.mem_size && !segment_add(out, &h, path, err))
            return false;
        if (h.type == PT_NOTE && out->notes < ARRAY_SIZE(out->note_offset)) {
            out->note_offset[out->notes] = h.offset;
            out->note_size[out->notes++] = h.file_size;
        }
    }
    return out->segments ? true : broken(err, path, "nothing to load");
}

bool elf_place(const struct boot_image *img, const struct elf_info *elf, const struct boot_env *env,
               uint64_t *end, GError **err)
{
    *end = 0;
    for (unsigned i = 0; i < elf->segments; i++) {
        const struct elf_segment *s = &elf->segment[i];
        if (!boot_put(img, env, s->paddr, img->kernel.data + s->file_offset, s->file_size,
                      "the kernel", err) ||
            !boot_zero(img, env, s->paddr + s->file_size, s->mem_size - s->file_size, "the kernel",
                       err))
            return false;
        *end = MAX_OF(*end, s->paddr + s->mem_size);
    }
    return true;
}
