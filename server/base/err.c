#include "server/base/err.h"

struct err_row {
	const char *name, *text;
	int http;
	uint8_t mqtt;
};

static const struct err_row rows[ERR_COUNT] = {
#define X(name, text, http, mqtt) {#name, text, http, mqtt},
#include "server/base/err.def"
#undef X
};

static const struct err_row *row_of(int err)
{
	if (err > 0 || err <= -(int)ERR_COUNT)
		err = ERR_INTERNAL;
	return &rows[-err];
}

const char *err_name(int err)
{
	return row_of(err)->name;
}

const char *err_text(int err)
{
	return row_of(err)->text;
}

int err_http(int err)
{
	return row_of(err)->http;
}

uint8_t err_mqtt(int err)
{
	return row_of(err)->mqtt;
}
