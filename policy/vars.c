#include "policy/vars.h"

#include "server/base/cleanup.h"

static const struct {
	const char *name;
	enum var_kind kind;
	const char *attribute; /* the tag that it is */
} names[] = {
        {"iot:ClientId", VAR_CLIENT_ID, NULL},
        {"iot:Connection.Thing.ThingName", VAR_THING_NAME, NULL},
        {"iot:Connection.Thing.ThingTypeName", VAR_ATTRIBUTE, "thingTypeName"},
        {"iot:Connection.Thing.IsAttached", VAR_IS_ATTACHED, NULL},
        {"iot:CertificateId", VAR_FACT, NULL},
        {"iot:Certificate.SerialNumber", VAR_FACT, NULL},
        {"iot:DomainName", VAR_DOMAIN, NULL},
        {"iot:ConnectAttributes", VAR_CONNECT_ATTRIBUTES, NULL},
        {"iot:LastWillTopic", VAR_LAST_WILL, NULL},
        {"aws:SourceIp", VAR_SOURCE_IP, NULL},
        {"aws:CurrentTime", VAR_CURRENT_TIME, NULL},
        {"aws:EpochTime", VAR_EPOCH_TIME, NULL},
};

/* What stands behind "iot:Certificate." and one of the roots. */
static const char *const roots[] = {
        "iot:Certificate.Subject.",
        "iot:Certificate.Issuer.",
};
static const char *const parts[] = {"CommonName", "Country", "Organization", "OrganizationalUnit",
        "State", "Locality", "DistinguishedNameQualifier", "SerialNumber", "Title", "Surname",
        "GivenName", "Initials", "Pseudonym", "GenerationQualifier"};
static const struct slice alternative = SLICE_LIT("iot:Certificate.SubjectAlternativeName.");
static const char *const alternatives[] = {
        "DNSName", "RFC822Name", "URI", "UniformResourceIdentifier", "DirectoryName", "IPAddress"};

static bool one_of(struct slice s, const char *const *list, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (slice_eq_str(s, list[i]))
			return true;
	return false;
}

static bool is_fact(struct slice name)
{
	for (size_t i = 0; i < ARRAY_LEN(roots); i++)
		if (slice_has_prefix(name, slice_str(roots[i])))
			return one_of(slice_from(name, strlen(roots[i])), parts, ARRAY_LEN(parts));
	return slice_has_prefix(name, alternative) &&
	        one_of(slice_from(name, alternative.n), alternatives, ARRAY_LEN(alternatives));
}

static bool is_attribute(struct slice name, struct slice *ret)
{
	static const struct slice head = SLICE_LIT("iot:Connection.Thing.Attributes[");
	if (!slice_has_prefix(name, head) || name.p[name.n - 1] != ']')
		return false;
	*ret = slice_make(name.p + head.n, name.n - head.n - 1);
	return ret->n >= 1 && ret->n <= ATTRIBUTE_NAME_MAX;
}

bool var_parse(struct slice name, struct var *ret)
{
	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		if (slice_eq_str(name, names[i].name)) {
			*ret = (struct var){.kind = names[i].kind, .name = name};
			if (names[i].attribute)
				ret->name = slice_str(names[i].attribute);
			return true;
		}
	struct slice attribute;
	if (is_attribute(name, &attribute)) {
		*ret = (struct var){.kind = VAR_ATTRIBUTE, .name = attribute};
		return true;
	}
	if (!is_fact(name))
		return false;
	*ret = (struct var){.kind = VAR_FACT, .name = name};
	return true;
}

bool var_equal(const struct var *a, const struct var *b)
{
	bool named = a->kind == VAR_ATTRIBUTE || a->kind == VAR_FACT;
	return a->kind == b->kind && (!named || slice_eq(a->name, b->name));
}

bool var_value_usable(struct slice value)
{
	if (value.n == 0 || value.n > VAR_VALUE_MAX)
		return false;
	for (size_t i = 0; i < value.n; i++)
		switch (value.p[i]) {
		case '*':
		case '?':
		case '+':
		case '#': return false;
		default: break;
		}
	return true;
}
