#include "registry/auth/creds_mqtt.h"

#include "server/base/cleanup.h"

#define API_VERSION "api-version="

static struct slice before(struct slice s, char c)
{
	const uint8_t *at = s.n > 0 ? memchr(s.p, c, s.n) : NULL;
	return at ? slice_make(s.p, (size_t)(at - s.p)) : s;
}

/* Whether text is the last part of an Azure user name: members joined by '&', one of which is the
 * api-version. */
static bool is_query(struct slice text)
{
	if (text.n > 0 && text.p[0] == '?')
		text = slice_from(text, 1);
	while (text.n > 0) {
		struct slice member = before(text, '&');
		if (slice_has_prefix(member, SLICE_LIT(API_VERSION)))
			return true;
		text = slice_from(text, member.n + 1);
	}
	return false;
}

/* "{host}/{deviceId}[/{moduleId}]/{query}". The first part that is a query ends the id, so that a
 * slash inside the query means nothing. */
static bool parse_azure(struct slice username, struct slice *ret)
{
	struct slice host = before(username, '/');
	struct slice id = slice_from(username, host.n + 1);
	size_t end = before(id, '/').n;
	for (unsigned parts = 1; parts <= 2 && end < id.n; parts++) {
		if (is_query(slice_from(id, end + 1))) {
			*ret = slice_make(id.p, end);
			return host.n > 0 && end > 0;
		}
		end += 1 + before(slice_from(id, end + 1), '/').n;
	}
	return false;
}

bool creds_mqtt_parse(struct slice username, struct creds_mqtt *ret)
{
	static const struct slice key = SLICE_LIT("key/");
	struct slice azure;
	if (parse_azure(username, &azure)) {
		*ret = (struct creds_mqtt){.id = azure};
		return true;
	}
	unsigned slashes = 0;
	for (size_t i = 0; i < username.n; i++)
		slashes += username.p[i] == '/';
	if (username.n == 0 || slashes > 1)
		return false;
	bool is_key = slice_has_prefix(username, key);
	*ret = (struct creds_mqtt){
	        .is_key = is_key, .id = is_key ? slice_from(username, key.n) : username};
	return ret->id.n > 0;
}
