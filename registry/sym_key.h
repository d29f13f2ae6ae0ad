/* Symmetric keys in documents: base64 of 16 to 64 bytes when given, 64 random ones when made.
 * Private to the registry. */
#ifndef HF_REGISTRY_SYM_KEY_H
#define HF_REGISTRY_SYM_KEY_H

#include "registry/registry_store.h"
#include "server/base/doc_error.h"

#define SYM_KEY_GIVEN_MAX 64
#define SYM_KEY_MADE 64
#define SYM_KEY_TEXT_MAX (4 * ((SYM_KEY_MAX + 2) / 3) + 1)

void sym_key_make(struct sym_key *ret);
/* Reads the check's current value. False: noted as an error. */
bool sym_key_read(struct doc_check *c, const json_t *value, struct sym_key *ret);
/* Writes base64 and NUL; the caller wipes it. */
const char *sym_key_text(const struct sym_key *key, char out[static SYM_KEY_TEXT_MAX]);

#endif
