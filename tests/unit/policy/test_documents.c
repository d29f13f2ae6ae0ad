/* Policy documents: what is taken and what is refused, by name; what they decide. */
#include "policy/document.h"
#include "server/base/err.h"
#include "tests/unit/policy/rules_rig.h"

/* ---- decisions, each case with documents of its own ---- */

enum what { CONNECT, PUBLISH, RETAIN, SUBSCRIBE, RECEIVE };

static bool ask(struct rig *r, const struct principal *p, enum what what, const char *text)
{
	const struct auth_request req = {.server_name = SLICE_LIT("hub.example"),
	        .persistent = true,
	        .has_will = true,
	        .will_topic = SLICE_LIT("gone/d1")};
	struct slice s = slice_str(text);
	switch (what) {
	case CONNECT: return policy_may_connect(r->policy, p, &req) == DENY_NONE;
	case PUBLISH: return policy_may_publish(p, s, false);
	case RETAIN: return policy_may_publish(p, s, true);
	case SUBSCRIBE: return policy_may_subscribe(p, s);
	case RECEIVE: return policy_may_receive(p, s, NULL);
	}
	return false;
}

#define ALLOW(action, resource) \
	"{'Effect':'Allow','Action':'iot:" action "','Resource':'" resource "'}"
#define DENY(action, resource) \
	"{'Effect':'Deny','Action':'iot:" action "','Resource':'" resource "'}"
#define WHEN(effect, action, resource, condition)                                \
	"{'Effect':'" effect "','Action':'iot:" action "','Resource':'" resource \
	"','Condition':" condition "}"

static const char tags[] = "{'site':'berlin','floor':3,'live':true,'wild':'a*','deep':{'x':1}}";

/* Device d1 with those tags, from 192.0.2.7. */
static const struct {
	const char *statements;
	enum what what;
	const char *text;
	bool allowed;
} decisions[] = {
        /* the table, and what takes from it */
        {"", PUBLISH, "devices/d1/x", true},
        {"", PUBLISH, "x", false},
        {"", CONNECT, "", true},
        {DENY("Connect", "*"), CONNECT, "", false},
        {DENY("Connect", "client/d1"), CONNECT, "", false},
        {DENY("Connect", "client/d2"), CONNECT, "", true},
        {DENY("Connect", "topic/d1"), CONNECT, "", true},
        {DENY("Publish", "topic/devices/d1/x"), PUBLISH, "devices/d1/x", false},
        {DENY("Publish", "topic/devices/d1/x"), PUBLISH, "devices/d1/y", true},
        {DENY("*", "*"), PUBLISH, "devices/d1/y", false},
        {DENY("RetainPublish", "*"), PUBLISH, "devices/d1/y", true},
        {DENY("RetainPublish", "*"), RETAIN, "devices/d1/y", false},
        /* what adds to it */
        {ALLOW("Publish", "topic/x"), PUBLISH, "x", true},
        {ALLOW("Publish", "topic/x"), RETAIN, "x", false},
        {ALLOW("Publish", "topic/x") "," ALLOW("RetainPublish", "topic/x"), RETAIN, "x", true},
        {ALLOW("RetainPublish", "topic/x"), RETAIN, "x", false},
        {ALLOW("Publish", "topicfilter/x"), PUBLISH, "x", false},
        {ALLOW("Subscribe", "topicfilter/x/#"), SUBSCRIBE, "x/#", true},
        {ALLOW("Subscribe", "topicfilter/x/#"), SUBSCRIBE, "x/y", false},
        {ALLOW("Subscribe", "topicfilter/x/*"), SUBSCRIBE, "x/#", true},
        {ALLOW("Subscribe", "topicfilter/x/*"), SUBSCRIBE, "$share/g/x/+", true},
        {ALLOW("Subscribe", "topicfilter/$share/g/x"), SUBSCRIBE, "$share/g/x", true},
        {ALLOW("Subscribe", "topicfilter/$share/g/x"), SUBSCRIBE, "$share/h/x", false},
        /* the group's name is the client's choice, and opens nothing */
        {ALLOW("Subscribe", "topicfilter/*/public/*"), SUBSCRIBE, "secret/x", false},
        {ALLOW("Subscribe", "topicfilter/*/public/*"), SUBSCRIBE, "$share/public/secret/x", false},
        {ALLOW("Subscribe", "topicfilter/*/public/*"), SUBSCRIBE, "$share/public/#", false},
        {ALLOW("Subscribe", "topicfilter/*public*"), SUBSCRIBE, "$share/public/secret", false},
        {ALLOW("Subscribe", "topicfilter/?share/*"), SUBSCRIBE, "$share/g/secret", false},
        {ALLOW("Subscribe", "topicfilter/*/public/*"), SUBSCRIBE, "$share/g/a/public/x", true},
        {ALLOW("Subscribe", "*") "," DENY("Subscribe", "topicfilter/$share/g/*"), SUBSCRIBE,
                "$share/g/x", false},
        {ALLOW("Subscribe", "topicfilter/x/*"), RECEIVE, "x/y", false},
        {ALLOW("Receive", "topic/x/*"), RECEIVE, "x/y", true},
        {ALLOW("Pub*", "*"), PUBLISH, "anything", true},
        {ALLOW("publish", "*"), PUBLISH, "anything", true},
        {"{'Effect':'Allow','Action':'*','Resource':'*'}", SUBSCRIBE, "#", true},
        {"{'Effect':'Allow','Action':['iot:Receive','iot:Publish'],'Resource':['topic/a','topic/"
         "b']}",
                PUBLISH, "b", true},
        {ALLOW("GetThingShadow", "thing/x"), PUBLISH, "x", false},
        {ALLOW("Publish", "arn:aws:iot:eu-west-1:123456789012:topic/a:b"), PUBLISH, "a:b", true},
        {ALLOW("Publish", "arn:aws-cn:iot:*:*:topic/a"), PUBLISH, "a", true},
        {ALLOW("Publish", "arn:aws:iot:*:*:*"), PUBLISH, "a", true},
        /* deny wins, wherever it stands */
        {ALLOW("Publish", "*") "," DENY("Publish", "topic/secret/*"), PUBLISH, "secret/x", false},
        {DENY("Publish", "topic/secret/*") "," ALLOW("Publish", "*"), PUBLISH, "secret/x", false},
        {DENY("Publish", "topic/secret/*") "," ALLOW("Publish", "*"), PUBLISH, "open", true},
        /* a denied filter is denied to every filter that could match the same */
        {ALLOW("Subscribe", "*") "," DENY("Subscribe", "topicfilter/secret/*"), SUBSCRIBE, "#",
                false},
        {ALLOW("Subscribe", "*") "," DENY("Subscribe", "topicfilter/secret/*"), SUBSCRIBE, "+/x",
                false},
        {ALLOW("Subscribe", "*") "," DENY("Subscribe", "topicfilter/secret/*"), SUBSCRIBE,
                "$share/g/secret/x", false},
        {ALLOW("Subscribe", "*") "," DENY("Subscribe", "topicfilter/secret/*"), SUBSCRIBE,
                "$share/g/+/x", false},
        {ALLOW("Subscribe", "*") "," DENY("Subscribe", "topicfilter/secret/*"), SUBSCRIBE, "open/#",
                true},
        {ALLOW("Subscribe", "*") "," DENY("Subscribe", "topicfilter/a/?/c"), SUBSCRIBE, "a/+/c",
                false},
        {ALLOW("Subscribe", "*") "," DENY("Subscribe", "topicfilter/a/?/c"), SUBSCRIBE, "a/+/d",
                true},
        {ALLOW("Subscribe", "*") "," DENY("Receive", "topic/secret/*"), RECEIVE, "secret/x", false},
        /* wildcards of MQTT are text */
        {ALLOW("Publish", "topic/a/+/b"), PUBLISH, "a/x/b", false},
        {ALLOW("Publish", "topic/a/#"), PUBLISH, "a/x", false},
        {ALLOW("Publish", "topic/a/${*}b"), PUBLISH, "a/*b", true},
        {ALLOW("Publish", "topic/a/${*}b"), PUBLISH, "a/xb", false},
        {ALLOW("Publish", "topic/a/${?}${$}{x}"), PUBLISH, "a/?${x}", true},
        /* variables */
        {ALLOW("Publish", "topic/${iot:ClientId}/x"), PUBLISH, "d1/x", true},
        {ALLOW("Publish", "topic/${iot:ClientId}/x"), PUBLISH, "d2/x", false},
        {ALLOW("Publish", "topic/${iot:Connection.Thing.ThingName}"), PUBLISH, "d1", true},
        {ALLOW("Publish",
                 "topic/${iot:Connection.Thing.Attributes[site]}/${iot:Connection."
                 "Thing.Attributes[floor]}/${iot:Connection.Thing.Attributes[live]}"),
                PUBLISH, "berlin/3/true", true},
        {ALLOW("Publish", "topic/${iot:Connection.Thing.Attributes[none]}"), PUBLISH,
                "${iot:Connection.Thing.Attributes[none]}", false},
        {ALLOW("Publish", "topic/${iot:Connection.Thing.Attributes[wild]}"), PUBLISH, "a*", false},
        {ALLOW("Publish", "topic/${iot:Connection.Thing.Attributes[deep]}"), PUBLISH, "x", false},
        {ALLOW("Publish", "topic/${aws:SourceIp}"), PUBLISH, "192.0.2.7", true},
        {ALLOW("Publish", "topic/${iot:Certificate.Subject.CommonName}*"), PUBLISH, "x", false},
        {ALLOW("Publish", "*") "," DENY("Publish", "topic/${iot:CertificateId}/x"), PUBLISH,
                "any/x", false},
        {ALLOW("Publish", "*") "," DENY("Publish", "topic/${iot:CertificateId}/x"), PUBLISH,
                "any/y", true},
        {DENY("Connect", "client/${iot:DomainName}"), CONNECT, "", true},
        /* conditions */
        {WHEN("Allow", "Publish", "*", "{'StringEquals':{'iot:ClientId':'d1'}}"), PUBLISH, "x",
                true},
        {WHEN("Allow", "Publish", "*", "{'StringEquals':{'iot:ClientId':['d0','d1']}}"), PUBLISH,
                "x", true},
        {WHEN("Allow", "Publish", "*", "{'StringEquals':{'iot:ClientId':'D1'}}"), PUBLISH, "x",
                false},
        {WHEN("Allow", "Publish", "*", "{'StringEqualsIgnoreCase':{'iot:ClientId':'D1'}}"), PUBLISH,
                "x", true},
        {WHEN("Allow", "Publish", "*", "{'StringNotEqualsIgnoreCase':{'iot:ClientId':'D1'}}"),
                PUBLISH, "x", false},
        {WHEN("Allow", "Publish", "*", "{'StringNotEquals':{'iot:ClientId':['d0','d1']}}"), PUBLISH,
                "x", false},
        {WHEN("Allow", "Publish", "*", "{'StringLike':{'iot:ClientId':'d?'}}"), PUBLISH, "x", true},
        {WHEN("Allow", "Publish", "*", "{'StringEquals':{'iot:ClientId':'d?'}}"), PUBLISH, "x",
                false},
        {WHEN("Allow", "Publish", "*", "{'StringNotLike':{'iot:ClientId':'d?'}}"), PUBLISH, "x",
                false},
        {WHEN("Allow", "Publish", "*",
                 "{'StringEquals':{'iot:ClientId':'${iot:Connection.Thing.ThingName}'}}"),
                PUBLISH, "x", true},
        {WHEN("Allow", "Publish", "*",
                 "{'StringEqualsIgnoreCase':{'iot:ClientId':'${iot:Connection.Thing.ThingName}'}}"),
                PUBLISH, "x", true},
        {WHEN("Allow", "Publish", "*",
                 "{'StringNotEquals':{'iot:ClientId':'${iot:CertificateId}'}}"),
                PUBLISH, "x", false},
        {ALLOW("Publish", "*") "," WHEN("Deny", "Publish", "*",
                 "{'StringEquals':{'iot:ClientId':'${iot:CertificateId}'}}"),
                PUBLISH, "x", false},
        {WHEN("Allow", "Publish", "*", "{'StringEquals':{'iot:CertificateId':'x'}}"), PUBLISH, "x",
                false},
        {WHEN("Allow", "Publish", "*", "{'StringNotEquals':{'iot:CertificateId':'x'}}"), PUBLISH,
                "x", true},
        {WHEN("Allow", "Publish", "*", "{'StringEqualsIfExists':{'iot:CertificateId':'x'}}"),
                PUBLISH, "x", true},
        {WHEN("Allow", "Publish", "*", "{'Null':{'iot:CertificateId':'true'}}"), PUBLISH, "x",
                true},
        {WHEN("Allow", "Publish", "*", "{'Null':{'iot:CertificateId':'false'}}"), PUBLISH, "x",
                false},
        {WHEN("Allow", "Publish", "*", "{'Bool':{'iot:Connection.Thing.IsAttached':'true'}}"),
                PUBLISH, "x", true},
        {WHEN("Allow", "Publish", "*", "{'Bool':{'iot:Connection.Thing.IsAttached':false}}"),
                PUBLISH, "x", false},
        {WHEN("Allow", "Publish", "*", "{'IpAddress':{'aws:SourceIp':'192.0.2.0/24'}}"), PUBLISH,
                "x", true},
        {WHEN("Allow", "Publish", "*", "{'IpAddress':{'aws:SourceIp':['10.0.0.0/8','::/0']}}"),
                PUBLISH, "x", false},
        {WHEN("Allow", "Publish", "*", "{'NotIpAddress':{'aws:SourceIp':'192.0.2.0/24'}}"), PUBLISH,
                "x", false},
        {WHEN("Allow", "Publish", "*",
                 "{'NumericGreaterThan':{'iot:Connection.Thing.Attributes[floor]':2}}"),
                PUBLISH, "x", true},
        {WHEN("Allow", "Publish", "*",
                 "{'NumericLessThanEquals':{'iot:Connection.Thing.Attributes[floor]':'2'}}"),
                PUBLISH, "x", false},
        {WHEN("Allow", "Publish", "*",
                 "{'NumericNotEquals':{'iot:Connection.Thing.Attributes[floor]':4}}"),
                PUBLISH, "x", true},
        {WHEN("Allow", "Publish", "*",
                 "{'NumericEquals':{'iot:Connection.Thing.Attributes[site]':4}}"),
                PUBLISH, "x", false},
        {WHEN("Allow", "Publish", "*", "{'DateGreaterThan':{'aws:CurrentTime':'2020-01-01'}}"),
                PUBLISH, "x", true},
        {WHEN("Allow", "Publish", "*",
                 "{'DateLessThan':{'aws:CurrentTime':'2020-01-01T00:00:00Z'}}"),
                PUBLISH, "x", false},
        {WHEN("Allow", "Publish", "*", "{'NumericGreaterThan':{'aws:EpochTime':1577836800}}"),
                PUBLISH, "x", true},
        {WHEN("Allow", "Publish", "*", "{'DateGreaterThanEquals':{'aws:EpochTime':1577836800}}"),
                PUBLISH, "x", true},
        /* of the CONNECT: known there, and only there */
        {WHEN("Deny", "Connect", "*",
                 "{'ForAnyValue:StringEquals':{'iot:ConnectAttributes':'LastWill'}}"),
                CONNECT, "", false},
        {WHEN("Deny", "Connect", "*",
                 "{'ForAllValues:StringEquals':{'iot:ConnectAttributes':'LastWill'}}"),
                CONNECT, "", true},
        {WHEN("Deny", "Connect", "*",
                 "{'ForAllValues:StringEquals':{'iot:ConnectAttributes':['LastWill',"
                 "'PersistentConnect']}}"),
                CONNECT, "", false},
        {WHEN("Deny", "Connect", "*",
                 "{'ArnNotEquals':{'iot:LastWillTopic':'arn:aws:iot:*:*:topic/gone/"
                 "${iot:ClientId}'}"
                 "}"),
                CONNECT, "", true},
        {WHEN("Deny", "Connect", "*", "{'ArnLike':{'iot:LastWillTopic':'topic/gone/*'}}"), CONNECT,
                "", false},
        {WHEN("Deny", "Connect", "*", "{'StringNotEquals':{'iot:DomainName':'hub.example'}}"),
                CONNECT, "", true},
        {ALLOW("Publish", "*") "," WHEN(
                 "Deny", "Publish", "*", "{'StringEquals':{'iot:DomainName':'other'}}"),
                PUBLISH, "x", false},
        {WHEN("Allow", "Publish", "*", "{'StringEquals':{'iot:DomainName':'hub.example'}}"),
                PUBLISH, "x", false},
        /* all of several */
        {WHEN("Allow", "Publish", "*",
                 "{'StringEquals':{'iot:ClientId':'d1','iot:Connection.Thing.Attributes[site]':"
                 "'rome'}}"),
                PUBLISH, "x", false},
};

START_TEST(documents_decide)
{
	for (unsigned i = 0; i < ARRAY_LEN(decisions); i++) {
		struct rig r;
		rig_open(&r, true);
		if (decisions[i].statements[0])
			rig_policy(&r, "p", decisions[i].statements);
		rig_start(&r);
		struct principal *p = rig_device(&r, "d1", "p p\n", tags);
		ck_assert_msg(
		        ask(&r, p, decisions[i].what, decisions[i].text) == decisions[i].allowed,
		        "case %u: %s: '%s'", i, decisions[i].statements, decisions[i].text);
		principal_unref(p);
		rig_close(&r);
	}
}
END_TEST

START_TEST(without_defaults_a_document_has_to_say_it)
{
	struct rig r;
	rig_open(&r, false);
	rig_policy(&r, "in", ALLOW("Connect", "client/${iot:ClientId}"));
	rig_start(&r);
	_cleanup_principal_ struct principal *bare = rig_device(&r, "d1", "", NULL);
	ck_assert(!ask(&r, bare, CONNECT, ""));
	ck_assert(!ask(&r, bare, PUBLISH, "devices/d1/x"));
	_cleanup_principal_ struct principal *in = rig_device(&r, "d1", "p in\n", NULL);
	ck_assert(ask(&r, in, CONNECT, ""));
	ck_assert(!ask(&r, in, PUBLISH, "devices/d1/x"));
	rig_close(&r);
}
END_TEST

/* In a recheck only what the CONNECT alone knows stands as it was judged. */
START_TEST(a_tag_that_is_gone_takes_its_right_along)
{
	static const struct {
		const char *statements;
		bool stays;
	} table[] = {
	        {WHEN("Allow", "Connect", "*",
	                 "{'StringEquals':{'iot:ClientId':'${iot:Connection.Thing.Attributes[own]}'"
	                 "}"
	                 "}"),
	                false},
	        {ALLOW("Connect", "*") "," WHEN("Deny", "Connect", "*",
	                 "{'StringEquals':{'iot:ClientId':'${iot:Connection.Thing.Attributes[own]}'"
	                 "}"
	                 "}"),
	                false},
	        {WHEN("Allow", "Connect", "*", "{'StringEquals':{'iot:DomainName':'hub.example'}}"),
	                true},
	        {WHEN("Allow", "Connect", "*",
	                 "{'StringEquals':{'iot:ClientId':'${iot:DomainName}'}}"),
	                true},
	        {ALLOW("Connect", "*") "," WHEN(
	                 "Deny", "Connect", "*", "{'StringEquals':{'iot:DomainName':'other'}}"),
	                true},
	};
	for (unsigned i = 0; i < ARRAY_LEN(table); i++) {
		struct rig r;
		rig_open(&r, false);
		rig_policy(&r, "p", table[i].statements);
		rig_start(&r);
		_cleanup_principal_ struct principal *p = rig_device(&r, "d1", "p p\n", tags);
		ck_assert_msg(
		        (policy_may_connect(r.policy, p, NULL) == DENY_NONE) == table[i].stays,
		        "case %u: %s", i, table[i].statements);
		rig_close(&r);
	}
}
END_TEST

/* ---- what is refused, and where ---- */

#define DOC(statements) "{'Version':'2012-10-17','Statement':" statements "}"
#define ONE(members) \
	DOC("[{'Effect':'Allow','Action':'iot:Publish','Resource':'topic/x'" members "}]")

static const struct {
	const char *text, *pointer;
} refused[] = {
        {"[]", ""},
        {"{'Statement':[]}", "/Version"},
        {"{'Version':'2012-10-17'}", "/Statement"},
        {"{'Version':'2008-10-17','Statement':{}}", "/Version"},
        {DOC("[]"), "/Statement"},
        {DOC("'x'"), "/Statement"},
        {DOC("['x']"), "/Statement/0"},
        {DOC("{'Action':'*','Resource':'*'}"), "/Statement/Effect"},
        {DOC("[{'Effect':'Allow','Resource':'*'}]"), "/Statement/0/Action"},
        {DOC("[{'Effect':'Allow','Action':'*'}]"), "/Statement/0/Resource"},
        {DOC("[{'Effect':'allow','Action':'*','Resource':'*'}]"), "/Statement/0/Effect"},
        {DOC("[{'Effect':'Deny','Action':['iot:Publish','s3:Get'],'Resource':'*'}]"),
                "/Statement/0/Action/1"},
        {DOC("[{'Effect':'Deny','Action':'iot:','Resource':'*'}]"), "/Statement/0/Action"},
        {DOC("[{'Effect':'Deny','Action':'iot:Pub lish','Resource':'*'}]"), "/Statement/0/Action"},
        {DOC("[{'Effect':'Deny','Action':[],'Resource':'*'}]"), "/Statement/0/Action"},
        {DOC("[{'Effect':'Deny','Action':'*','Resource':['topic/a',7]}]"),
                "/Statement/0/Resource/1"},
        {DOC("[{'Effect':'Deny','Action':'*','Resource':'top*'}]"), "/Statement/0/Resource"},
        {DOC("[{'Effect':'Deny','Action':'*','Resource':'arn:aws:iot:x'}]"),
                "/Statement/0/Resource"},
        {DOC("[{'Effect':'Deny','Action':'*','Resource':'arn:aws:s3:::topic/x'}]"),
                "/Statement/0/Resource"},
        {DOC("[{'Effect':'Deny','Action':'*','Resource':'topic/${iot:SourceIp}'}]"),
                "/Statement/0/Resource"},
        {DOC("[{'Effect':'Deny','Action':'*','Resource':'topic/${aws:CurrentTime}'}]"),
                "/Statement/0/Resource"},
        {ONE(",'NotAction':'x'"), "/Statement/0/NotAction"},
        {ONE(",'NotResource':'x'"), "/Statement/0/NotResource"},
        {ONE(",'Principal':'*'"), "/Statement/0/Principal"},
        {ONE(",'Sid':1"), "/Statement/0/Sid"},
        {ONE(",'sid':'x'"), "/Statement/0/sid"},
        {ONE(",'Condition':[]"), "/Statement/0/Condition"},
        {ONE(",'Condition':{'StringIs':{}}"), "/Statement/0/Condition/StringIs"},
        {ONE(",'Condition':{'Bool':'x'}"), "/Statement/0/Condition/Bool"},
        {ONE(",'Condition':{'Bool':{'iot:SourceIp':'x'}}"),
                "/Statement/0/Condition/Bool/iot:SourceIp"},
        {ONE(",'Condition':{'Bool':{'iot:ClientId':'maybe'}}"),
                "/Statement/0/Condition/Bool/iot:ClientId"},
        {ONE(",'Condition':{'IpAddress':{'aws:SourceIp':['10.0.0.0/8','10.0.0.1/8']}}"),
                "/Statement/0/Condition/IpAddress/aws:SourceIp/1"},
        {ONE(",'Condition':{'NumericEquals':{'aws:EpochTime':'0x10'}}"),
                "/Statement/0/Condition/NumericEquals/aws:EpochTime"},
        {ONE(",'Condition':{'DateEquals':{'aws:CurrentTime':'soon'}}"),
                "/Statement/0/Condition/DateEquals/aws:CurrentTime"},
        {ONE(",'Condition':{'StringEquals':{'iot:ClientId':[]}}"),
                "/Statement/0/Condition/StringEquals/iot:ClientId"},
        {ONE(",'Condition':{'ArnLike':{'iot:LastWillTopic':'client/x'}}"),
                "/Statement/0/Condition/ArnLike/iot:LastWillTopic"},
        {"{'Version':'2012-10-17','Statement':[],'x':1}", "/x"},
};

START_TEST(what_is_wrong_is_pointed_at)
{
	for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
		_cleanup_free_ char *text = quoted(refused[i].text);
		_cleanup_json_ json_t *json = json_loads(text, 0, NULL), *errors = json_array();
		struct doc_check check = {.errors = errors};
		struct policy_doc *doc = NULL;
		bool found = false;
		ck_assert_msg(json != NULL, "%s", text);
		ck_assert_msg(policy_doc_read(json, &check, SLICE_LIT("p"), &doc) == ERR_INVALID,
		        "%s", text);
		for (size_t k = 0; k < json_array_size(errors); k++)
			found |= strcmp(json_string_value(json_object_get(
			                        json_array_get(errors, k), "pointer")),
			                 refused[i].pointer) == 0;
		ck_assert_msg(found, "%s: not at %s", text, refused[i].pointer);
	}
}
END_TEST

UNIT_MAIN("documents", documents_decide, without_defaults_a_document_has_to_say_it,
        a_tag_that_is_gone_takes_its_right_along, what_is_wrong_is_pointed_at)
