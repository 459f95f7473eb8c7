/* aml.h - the few AML terms that depend on the machine, appended to a byte array.
 *
 * A term with a length is built by its contents first: make them in an array of their own, then
 * append it with aml_package() and the like, which also frees it.
 * Spec: ACPI 6.4 §20.2. */
#ifndef BUS_AML_H
#define BUS_AML_H

#include "base/types.h"

#include <glib.h>

void aml_bytes(GByteArray *to, const void *p, size_t len);
void aml_u8(GByteArray *to, uint8_t v);
void aml_int(GByteArray *to, uint64_t v); /* the shortest integer term */
void aml_string(GByteArray *to, const char *text);
void aml_path(GByteArray *to, const char *path); /* "\\_SB.PCI0", up to 255 segments */
void aml_name(GByteArray *to, const char *path); /* Name (path, the object appended next) */
void aml_package(GByteArray *to, unsigned count, GByteArray *elements); /* at most 255 */
void aml_buffer(GByteArray *to, const uint8_t *data, uint8_t len);
void aml_scope(GByteArray *to, const char *path, GByteArray *body);
void aml_device(GByteArray *to, const char *path, GByteArray *body);
void aml_method(GByteArray *to, const char *path, unsigned args, GByteArray *body);
/* If (LEqual (ArgN, v)) { body } */
void aml_if_arg(GByteArray *to, unsigned arg, uint64_t v, GByteArray *body);
/* Notify (path, ArgN) */
void aml_notify_arg(GByteArray *to, const char *path, unsigned arg);
/* What begins the value a method gives; append it next. */
void aml_return(GByteArray *to);
void aml_arg(GByteArray *to, unsigned arg);

#endif
