/* Why an authentication was refused; for log and metrics only, never for the caller. */
#ifndef HF_BASE_DENY_H
#define HF_BASE_DENY_H

enum deny_reason {
#define X(name, text) DENY_##name,
#include "server/base/deny.def"
#undef X
	DENY_COUNT
};

/* Name in lower case ("token_expired") and text. Any thread. */
const char *deny_name(enum deny_reason why);
const char *deny_text(enum deny_reason why);

#endif
