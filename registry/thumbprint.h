/*
 * The thumbprints of a device's certificates: what auth_public of a device with x509Thumbprint
 * holds,
 * {"primaryThumbprint": hex, "secondaryThumbprint": hex}; SHA-256, or SHA-1 for fleets that come
 * from elsewhere. Private to the registry.
 */
#ifndef HF_REGISTRY_THUMBPRINT_H
#define HF_REGISTRY_THUMBPRINT_H

#include "registry/auth/x509.h"
#include "registry/identity.h"
#include "server/base/doc_error.h"

#define THUMBPRINT_TEXT_MAX (2 * X509_ID_LEN)
#define THUMBPRINT_SHA1_TEXT (2 * X509_SHA1_LEN)

enum thumbprint { THUMBPRINT_NONE, THUMBPRINT_SHA1, THUMBPRINT_SHA256 };

/* Whether one of the device's is the certificate's. No allocation. */
enum thumbprint thumbprint_fits(const struct identity *device, const uint8_t id[static X509_ID_LEN],
        const uint8_t sha1[static X509_SHA1_LEN]);
/* Reads the check's current value: 40 or 64 hex digits, with colons or without; lower case comes
 * back. False: noted as an error. */
bool thumbprint_read(
        struct doc_check *c, const json_t *value, char ret[static THUMBPRINT_TEXT_MAX + 1]);

#endif
