#include "policy/scope.h"

#include <stdlib.h>

#include "policy/filter.h"
#include "server/base/clock.h"
#include "server/base/err.h"
#include "server/base/json.h"

static int read_list(struct scope *s, const json_t *json, struct scope_list *ret)
{
	size_t n = json_array_size(json);
	struct slice *items = arena_alloc(&s->arena, (n + 1) * sizeof(*items));
	if (!json_is_array(json) || n > SCOPE_ENTRIES_MAX)
		return ERR_INVALID;
	if (!items)
		return ERR_NOMEM;
	for (size_t i = 0; i < n; i++) {
		const json_t *item = json_array_get(json, i);
		if (!json_is_string(item))
			return ERR_INVALID;
		items[i] = arena_copy(
		        &s->arena, slice_make(json_string_value(item), json_string_length(item)));
		if (!items[i].p)
			return ERR_NOMEM;
	}
	*ret = (struct scope_list){.n = (unsigned)n, .items = items};
	return 0;
}

static int read_groups(struct scope *s, const json_t *json)
{
	return read_list(s, json, &s->groups);
}

static int read_devices(struct scope *s, const json_t *json)
{
	return read_list(s, json, &s->devices);
}

static int read_filters(struct scope *s, const json_t *json)
{
	return read_list(s, json, &s->filters);
}

static int read_access(struct scope *s, const json_t *json)
{
	const char *access = json_string_value(json);
	if (!access)
		return ERR_INVALID;
	s->no_write = strcmp(access, "r") == 0;
	s->no_read = strcmp(access, "w") == 0;
	return s->no_write || s->no_read || strcmp(access, "rw") == 0 ? 0 : ERR_INVALID;
}

static int read_nets(struct scope *s, const json_t *json)
{
	size_t n = json_array_size(json);
	struct cidr *nets = arena_alloc(&s->arena, (n + 1) * sizeof(*nets));
	if (!json_is_array(json) || n > SCOPE_ENTRIES_MAX)
		return ERR_INVALID;
	if (!nets)
		return ERR_NOMEM;
	for (size_t i = 0; i < n; i++) {
		const char *text = json_string_value(json_array_get(json, i));
		if (!text || cidr_parse(text, &nets[i]) < 0)
			return ERR_INVALID;
	}
	s->nets = nets;
	s->n_nets = (unsigned)n;
	return 0;
}

static int read_time(const json_t *json, int64_t *ret)
{
	return json_is_string(json)
	        ? clock_parse_rfc3339(json_string_value(json), json_string_length(json), ret)
	        : ERR_INVALID;
}

static int read_not_before(struct scope *s, const json_t *json)
{
	return read_time(json, &s->not_before_us);
}

static int read_not_after(struct scope *s, const json_t *json)
{
	return read_time(json, &s->not_after_us);
}

static const struct {
	const char *name;
	int (*read)(struct scope *s, const json_t *json);
} members[] = {
        {"groups", read_groups},
        {"devices", read_devices},
        {"topicFilters", read_filters},
        {"access", read_access},
        {"cidrs", read_nets},
        {"notBefore", read_not_before},
        {"notAfter", read_not_after},
};

/* A member that is not known may have been meant to narrow. */
static int read_member(struct scope *s, const char *name, const json_t *json)
{
	for (size_t i = 0; i < sizeof(members) / sizeof(members[0]); i++)
		if (strcmp(members[i].name, name) == 0)
			return json_is_null(json) ? 0 : members[i].read(s, json);
	return ERR_INVALID;
}

int scope_read(struct slice text, struct scope **ret)
{
	_cleanup_json_ json_t *json = NULL;
	char error[JSON_ERROR_LEN];
	const char *name;
	json_t *value;
	int err = json_read(text, &json_limits_body, &json, error);
	if (err < 0 || !json_is_object(json))
		return err == ERR_NOMEM ? err : ERR_INVALID;
	struct scope *s = calloc(1, sizeof(*s));
	if (!s)
		return ERR_NOMEM;
	json_object_foreach(json, name, value)
	{
		err = read_member(s, name, value);
		if (err < 0)
			break;
	}
	if (err < 0 || json_object_size(json) == 0)
		s = scope_free(s);
	if (err == 0)
		*ret = s;
	return err;
}

struct scope *scope_free(struct scope *s)
{
	if (s)
		arena_free(&s->arena);
	free(s);
	return NULL;
}

bool scope_has_time(const struct scope *s, int64_t now_us)
{
	return (!s->not_before_us || now_us >= s->not_before_us) &&
	        (!s->not_after_us || now_us < s->not_after_us);
}

bool scope_has_address(const struct scope *s, const struct ip_addr *ip)
{
	for (unsigned i = 0; ip && i < s->n_nets; i++)
		if (cidr_has(&s->nets[i], ip->v6, ip->bytes))
			return true;
	return s->n_nets == 0;
}

bool scope_has(const struct scope_list *list, struct slice name)
{
	for (unsigned i = 0; i < list->n; i++)
		if (slice_eq(list->items[i], name))
			return true;
	return false;
}

bool scope_covers(const struct scope *s, struct slice topic)
{
	for (unsigned i = 0; i < s->filters.n; i++)
		if (filter_covers(s->filters.items[i], topic))
			return true;
	return s->filters.n == 0;
}
