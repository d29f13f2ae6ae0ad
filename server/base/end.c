#include "server/base/end.h"

#include <ctype.h>
#include <stddef.h>

static char names[END_COUNT][24] = {
#define X(name, mqtt, error, text) #name,
#include "server/base/end.def"
#undef X
};

static const struct {
	const char *text;
	uint8_t mqtt;
	bool error;
} rows[END_COUNT] = {
#define X(name, mqtt, error, text) {text, mqtt, error},
#include "server/base/end.def"
#undef X
};

/* The preprocessor cannot write lower case; before main, while there is one thread, this can. */
__attribute__((constructor)) static void names_lower(void)
{
	for (size_t i = 0; i < END_COUNT; i++)
		for (char *c = names[i]; *c; c++)
			*c = (char)tolower((unsigned char)*c);
}

static enum end_reason known(enum end_reason why)
{
	return (unsigned)why < END_COUNT ? why : END_INTERNAL;
}

const char *end_name(enum end_reason why)
{
	return names[known(why)];
}

const char *end_text(enum end_reason why)
{
	return rows[known(why)].text;
}

uint8_t end_mqtt(enum end_reason why)
{
	return rows[known(why)].mqtt;
}

bool end_is_error(enum end_reason why)
{
	return rows[known(why)].error;
}
