#include "server/base/device_id.h"

#include "server/base/principal.h"

static bool byte_allowed(uint8_t c)
{
	if ((c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'))
		return true;
	return c != 0 && strchr("-:._%*?!(),=@$'", c) != NULL;
}

bool device_id_valid(struct slice id)
{
	if (id.n < 1 || id.n > DEVICE_ID_MAX || slice_eq_str(id, ".") || slice_eq_str(id, ".."))
		return false;
	for (size_t i = 0; i < id.n; i++)
		if (!byte_allowed(id.p[i]))
			return false;
	return true;
}

bool device_or_module_id_valid(struct slice id)
{
	const uint8_t *slash = id.n > 0 ? memchr(id.p, '/', id.n) : NULL;
	size_t n = slash ? (size_t)(slash - id.p) : id.n;
	return device_id_valid(slice_make(id.p, n)) &&
	        (!slash || device_id_valid(slice_from(id, n + 1)));
}
