#include "server/base/deny.h"

#include <ctype.h>
#include <stddef.h>

static char names[DENY_COUNT][24] = {
#define X(name, text) #name,
#include "server/base/deny.def"
#undef X
};

static const char *const texts[DENY_COUNT] = {
#define X(name, text) text,
#include "server/base/deny.def"
#undef X
};

/* The preprocessor cannot write lower case; before main, while there is one thread, this can. */
__attribute__((constructor)) static void names_lower(void)
{
	for (size_t i = 0; i < DENY_COUNT; i++)
		for (char *c = names[i]; *c; c++)
			*c = (char)tolower((unsigned char)*c);
}

const char *deny_name(enum deny_reason why)
{
	return (unsigned)why < DENY_COUNT ? names[why] : "unknown";
}

const char *deny_text(enum deny_reason why)
{
	return (unsigned)why < DENY_COUNT ? texts[why] : "unknown";
}
