/*
 * What the hub and the process that keeps its keys say to each other: one packet each way, over a
 * socket pair. A request is its op and a body, a reply its status (0, or minus an ERR_ code) and a
 * body; numbers are big endian.
 *   item     purpose (length, 1 byte), name (length, 2), number (8), which (8), bytes (length, 2)
 *   RELOAD                               reply: nothing, or with a status the line of text for it
 *   SET_WRAPPING   next (1)              reply: nothing
 *   IDS                                  reply: flags (1), the current id (8), the next one (8)
 *   WRAP, UNWRAP, REWRAP  count (2), items   reply: for each: status (1), changed (1), bytes (2 +)
 *   SIGN_MAKE                            reply: the public key: a new signing key is in use
 *   SIGN_LOAD      item                  reply: the public key: the one that was wrapped is
 *   SIGN_WRAP                            reply: the signing key, wrapped
 *   SIGN           purpose, NUL, message reply: the signature
 */
#ifndef HF_STORAGE_KEYD_WIRE_H
#define HF_STORAGE_KEYD_WIRE_H

#define KEYD_PACKET_MAX (128u * 1024) /* of either way */
#define KEYD_REQUEST_MAX (80u * 1024) /* of items: their answers are longer, and have room */
#define KEYD_ITEMS_MAX 1024u
#define KEYD_PURPOSE_MAX 31u
#define KEYD_NAME_MAX 400u

enum keyd_op {
	KEYD_RELOAD = 1,
	KEYD_SET_WRAPPING,
	KEYD_IDS,
	KEYD_WRAP,
	KEYD_UNWRAP,
	KEYD_REWRAP,
	KEYD_SIGN_MAKE,
	KEYD_SIGN_LOAD,
	KEYD_SIGN_WRAP,
	KEYD_SIGN,
};

#define KEYD_HAS_NEXT 1u /* flags of IDS */
#define KEYD_WRAPS_NEXT 2u

/* The signing key stays where it is: nobody has it unwrapped. */
#define KEYD_SIGN_PURPOSE "hub-sign"

#endif
