/* aml.c - encodes AML terms. */
#include "aml.h"

#include "base/util.h"

#include <assert.h>

enum {
    OP_ZERO = 0x00,
    OP_ONE = 0x01,
    OP_NAME = 0x08,
    OP_BYTE = 0x0a,
    OP_WORD = 0x0b,
    OP_DWORD = 0x0c,
    OP_STRING = 0x0d,
    OP_QWORD = 0x0e,
    OP_SCOPE = 0x10,
    OP_BUFFER = 0x11,
    OP_PACKAGE = 0x12,
    OP_METHOD = 0x14,
    OP_DUAL_NAME = 0x2e,
    OP_MULTI_NAME = 0x2f,
    OP_EXT = 0x5b,
    OP_ARG0 = 0x68,
    OP_NOTIFY = 0x86,
    OP_LEQUAL = 0x93,
    OP_IF = 0xa0,
    OP_RETURN = 0xa4,
    OP_EXT_DEVICE = 0x82,
    SEGMENT = 4,
};

void aml_bytes(GByteArray *to, const void *p, size_t len)
{
    g_byte_array_append(to, p, (guint)len);
}

void aml_u8(GByteArray *to, uint8_t v)
{
    g_byte_array_append(to, &v, 1);
}

void aml_int(GByteArray *to, uint64_t v)
{
    unsigned len = v <= UINT8_MAX ? 1 : v <= UINT16_MAX ? 2 : v <= UINT32_MAX ? 4 : 8;

    if (v <= 1) {
        aml_u8(to, v ? OP_ONE : OP_ZERO);
        return;
    }
    aml_u8(to, len == 1 ? OP_BYTE : len == 2 ? OP_WORD : len == 4 ? OP_DWORD : OP_QWORD);
    aml_bytes(to, &v, len);
}

void aml_string(GByteArray *to, const char *text)
{
    aml_u8(to, OP_STRING);
    aml_bytes(to, text, strlen(text) + 1);
}

void aml_path(GByteArray *to, const char *path)
{
    unsigned segments = 1;

    if (*path == '\\')
        aml_u8(to, (uint8_t)*path++);
    for (const char *c = path; *c; c++)
        segments += *c == '.';
    if (segments == 2) {
        aml_u8(to, OP_DUAL_NAME);
    } else if (segments > 2) {
        aml_u8(to, OP_MULTI_NAME);
        aml_u8(to, (uint8_t)segments);
    }
    for (; segments > 0; segments--) {
        unsigned len = (unsigned)strcspn(path, ".");
        assert(len >= 1 && len <= SEGMENT);
        aml_bytes(to, path, len);
        aml_bytes(to, "____", SEGMENT - len);
        path += len + (path[len] == '.');
    }
}

void aml_name(GByteArray *to, const char *path)
{
    aml_u8(to, OP_NAME);
    aml_path(to, path);
}

/* PkgLength counts its own bytes: 1 byte up to 63, else 4 bits and 1 to 3 further bytes. */
static void pkg_length(GByteArray *to, uint32_t body)
{
    if (body + 1 <= 63) {
        aml_u8(to, (uint8_t)(body + 1));
        return;
    }
    for (unsigned extra = 1; extra <= 3; extra++) {
        uint32_t total = body + 1 + extra;
        if (total >= 1u << (4 + 8 * extra))
            continue;
        aml_u8(to, (uint8_t)(extra << 6 | (total & 15)));
        total >>= 4;
        aml_bytes(to, &total, extra);
        return;
    }
    assert(!"an AML term is at most 256 MiB");
}

/* opcode, length, head (name or element count), body; takes both arrays. */
static void term(GByteArray *to, GByteArray *head, GByteArray *body)
{
    pkg_length(to, head->len + body->len);
    aml_bytes(to, head->data, head->len);
    aml_bytes(to, body->data, body->len);
    g_byte_array_free(head, true);
    g_byte_array_free(body, true);
}

static GByteArray *path_bytes(const char *path)
{
    GByteArray *head = g_byte_array_new();

    aml_path(head, path);
    return head;
}

void aml_package(GByteArray *to, unsigned count, GByteArray *elements)
{
    GByteArray *head = g_byte_array_new();

    assert(count <= UINT8_MAX);
    aml_u8(head, (uint8_t)count);
    aml_u8(to, OP_PACKAGE);
    term(to, head, elements);
}

void aml_buffer(GByteArray *to, const uint8_t *data, uint8_t len)
{
    GByteArray *size = g_byte_array_new(), *body = g_byte_array_new();

    aml_int(size, len);
    aml_bytes(body, data, len);
    aml_u8(to, OP_BUFFER);
    term(to, size, body);
}

void aml_scope(GByteArray *to, const char *path, GByteArray *body)
{
    aml_u8(to, OP_SCOPE);
    term(to, path_bytes(path), body);
}

void aml_device(GByteArray *to, const char *path, GByteArray *body)
{
    aml_u8(to, OP_EXT);
    aml_u8(to, OP_EXT_DEVICE);
    term(to, path_bytes(path), body);
}

void aml_method(GByteArray *to, const char *path, unsigned args, GByteArray *body)
{
    GByteArray *head = path_bytes(path);

    assert(args <= 7);
    aml_u8(head, (uint8_t)args);
    aml_u8(to, OP_METHOD);
    term(to, head, body);
}

void aml_arg(GByteArray *to, unsigned arg)
{
    assert(arg <= 6);
    aml_u8(to, (uint8_t)(OP_ARG0 + arg));
}

void aml_if_arg(GByteArray *to, unsigned arg, uint64_t v, GByteArray *body)
{
    GByteArray *head = g_byte_array_new();

    aml_u8(head, OP_LEQUAL);
    aml_arg(head, arg);
    aml_int(head, v);
    aml_u8(to, OP_IF);
    term(to, head, body);
}

void aml_notify_arg(GByteArray *to, const char *path, unsigned arg)
{
    aml_u8(to, OP_NOTIFY);
    aml_path(to, path);
    aml_arg(to, arg);
}

void aml_return(GByteArray *to)
{
    aml_u8(to, OP_RETURN);
}
