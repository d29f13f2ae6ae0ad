#include "server/api/openapi.h"

/* What goes over the wire, as JSON Schema 2020-12. JSON(…) is the text between its parentheses. */
#define JSON(...) #__VA_ARGS__

/* clang-format off */
const char api_openapi_components[] = JSON({
"securitySchemes": {
	"bearer": {"type": "http", "scheme": "bearer", "description": "A person's or program's token"},
	"accessKey": {"type": "apiKey", "in": "header", "name": "Authorization", "description":
		"SharedAccessSignature sr=…&sig=…&se=…&skn=…, signed with an access key"},
	"deviceToken": {"type": "apiKey", "in": "header", "name": "Authorization", "description":
		"SharedAccessSignature sr=…&sig=…&se=…, signed with the device's key, or with an access key"}
},
"schemas": {
	"DeviceId": {"type": "string", "minLength": 1, "maxLength": 128,
		"pattern": "^[A-Za-z0-9:._%*?!(),=@$'-]+$", "not": {"enum": [".", ".."]}},
	"KeyName": {"type": "string", "minLength": 1, "maxLength": 64},
	"Which": {"type": "string", "enum": ["primary", "secondary"]},
	"SymmetricKey": {"type": "string", "contentEncoding": "base64", "description":
		"16 to 128 bytes; made where none is given"},
	"Tags": {"type": "object", "description": "What the owner notes about the device"},
	"Status": {"type": "string", "enum": ["enabled", "disabled"]},
	"Thumbprint": {"type": ["string", "null"], "description":
		"For x509Thumbprint: SHA-256 of the certificate in hex, or SHA-1, which is reported"},
	"DeviceAuth": {"type": "object", "required": ["type"], "properties": {
		"type": {"type": "string", "enum": ["sas", "secret", "x509Thumbprint", "x509Ca", "jwt"]},
		"primaryKey": {"$ref": "#/components/schemas/SymmetricKey"},
		"secondaryKey": {"$ref": "#/components/schemas/SymmetricKey"},
		"secret": {"type": "string", "minLength": 16, "maxLength": 256, "description":
			"For secret; made where none is given and shown once"},
		"primaryThumbprint": {"$ref": "#/components/schemas/Thumbprint"},
		"secondaryThumbprint": {"$ref": "#/components/schemas/Thumbprint"},
		"warnings": {"type": "array", "items": {"type": "string"}, "readOnly": true},
		"keys": {"type": "array", "minItems": 1, "maxItems": 8, "description": "For jwt",
			"items": {"$ref": "#/components/schemas/JwtKey"}}
	}},
	"JwtKey": {"type": "object", "required": ["alg", "publicKey"], "additionalProperties": false,
		"properties": {
		"kid": {"type": "string", "maxLength": 256},
		"alg": {"enum": ["ES256", "RS256"]},
		"publicKey": {"type": "string", "maxLength": 2048, "description": "PEM; P-256, or RSA from 2048 bits"},
		"notAfter": {"type": "string", "format": "date-time"}
	}},
	"DeviceCreate": {"allOf": [{"$ref": "#/components/schemas/DeviceWrite"},
		{"type": "object", "required": ["deviceId"]}]},
	"DeviceWrite": {"type": "object", "properties": {
		"deviceId": {"$ref": "#/components/schemas/DeviceId"},
		"status": {"$ref": "#/components/schemas/Status"},
		"statusReason": {"type": ["string", "null"], "maxLength": 128},
		"auth": {"$ref": "#/components/schemas/DeviceAuth"},
		"tags": {"$ref": "#/components/schemas/Tags"}
	}},
	"DevicePatch": {"type": "object", "description": "A JSON merge patch (RFC 7396) of the device",
		"properties": {
		"status": {"$ref": "#/components/schemas/Status"},
		"statusReason": {"type": ["string", "null"], "maxLength": 128},
		"auth": {"type": "object"},
		"tags": {"type": ["object", "null"]}
	}},
	"Device": {"type": "object", "required": ["deviceId", "generationId", "etag", "status", "auth"],
		"properties": {
		"deviceId": {"$ref": "#/components/schemas/DeviceId"},
		"generationId": {"type": "string", "description": "Another one for each time the id is made"},
		"etag": {"type": "string"},
		"status": {"$ref": "#/components/schemas/Status"},
		"statusReason": {"type": ["string", "null"]},
		"auth": {"$ref": "#/components/schemas/DeviceAuth"},
		"connectionString": {"type": "string", "description": "For sas, to callers who see keys"},
		"tags": {"$ref": "#/components/schemas/Tags"},
		"connectionState": {"type": "string", "enum": ["Connected", "Disconnected"]},
		"connectionStateUpdatedTime": {"type": ["string", "null"], "format": "date-time"},
		"lastActivityTime": {"type": ["string", "null"], "format": "date-time"},
		"createdTime": {"type": "string", "format": "date-time"}
	}},
	"ModuleCreate": {"allOf": [{"$ref": "#/components/schemas/DeviceWrite"},
		{"type": "object", "required": ["moduleId"], "properties": {
			"moduleId": {"$ref": "#/components/schemas/DeviceId"}}}]},
	"Module": {"allOf": [{"$ref": "#/components/schemas/Device"},
		{"type": "object", "required": ["moduleId"], "properties": {
			"moduleId": {"$ref": "#/components/schemas/DeviceId"}}}]},
	"ModuleList": {"type": "object", "required": ["items", "nextCursor"], "properties": {
		"items": {"type": "array", "items": {"anyOf": [{"$ref": "#/components/schemas/Module"},
			{"$ref": "#/components/schemas/AlteredDevice"}]}},
		"nextCursor": {"$ref": "#/components/schemas/NextCursor"}
	}},
	"AlteredDevice": {"type": "object", "required": ["deviceId", "error"], "properties": {
		"deviceId": {"$ref": "#/components/schemas/DeviceId"},
		"error": {"type": "string", "description":
			"The stored row was altered and is refused: integrity check failed"}
	}},
	"NextCursor": {"type": ["string", "null"], "description":
		"For the next page; null: this was the last. A page may hold fewer items than the limit"},
	"DeviceList": {"type": "object", "required": ["items", "nextCursor"], "properties": {
		"items": {"type": "array", "items": {"anyOf": [{"$ref": "#/components/schemas/Device"},
			{"$ref": "#/components/schemas/AlteredDevice"}]}},
		"nextCursor": {"$ref": "#/components/schemas/NextCursor"}
	}},
	"AuditRow": {"type": "object", "required": ["id", "time", "operation", "outcome"], "properties": {
		"id": {"type": "integer"},
		"time": {"type": "string", "format": "date-time"},
		"actor": {"type": "string", "description":
			"Who did it; of what was denied: who somebody said to be"},
		"actorKind": {"type": "string", "description": "token, key, oidc, hub; sql: by hand"},
		"role": {"type": "string"},
		"source": {"type": "string", "description": "From which address"},
		"traceId": {"type": "string"},
		"operation": {"type": "string"},
		"outcome": {"type": "string", "enum": ["done", "denied"]},
		"reason": {"type": "string", "description": "Why it was denied"},
		"count": {"type": "integer", "description":
			"Equal denials of a moment are one row; of a flood some are only counted"},
		"kind": {"type": "string"},
		"name": {"type": "string"},
		"before": {"type": ["object", "null"], "description": "Without anything secret"},
		"after": {"type": ["object", "null"]}
	}},
	"AuditList": {"type": "object", "required": ["items", "nextCursor"], "properties": {
		"items": {"type": "array", "items": {"$ref": "#/components/schemas/AuditRow"}},
		"nextCursor": {"$ref": "#/components/schemas/NextCursor"}
	}},
	"TelemetryItem": {"type": "object", "required": ["seq", "receivedAt"], "properties": {
		"seq": {"type": "integer", "description": "Rises with each message of the device; has gaps"},
		"receivedAt": {"type": "string", "format": "date-time"},
		"topic": {"type": "string"},
		"qos": {"type": "integer", "enum": [0, 1, 2]},
		"moduleId": {"type": "string", "description": "For messages of modules"},
		"contentType": {"type": ["string", "null"]},
		"contentEncoding": {"type": ["string", "null"]},
		"properties": {"type": "object", "additionalProperties": {"type": ["string", "null"]}},
		"payload": {"description": "The message's own text, where it is JSON"},
		"payloadBase64": {"type": "string", "contentEncoding": "base64", "description":
			"The message, where it is not JSON"},
		"error": {"type": "string", "description":
			"The stored row was altered and is refused: integrity check failed"}
	}},
	"TelemetryLatest": {"allOf": [{"$ref": "#/components/schemas/TelemetryItem"}, {"type": "object",
		"required": ["ageSeconds"], "properties": {"ageSeconds": {"type": "number", "minimum": 0}}}]},
	"TelemetryList": {"type": "object", "required": ["items", "nextCursor"], "properties": {
		"items": {"type": "array", "items": {"$ref": "#/components/schemas/TelemetryItem"}},
		"nextCursor": {"$ref": "#/components/schemas/NextCursor"}
	}},
	"Permissions": {"type": "array", "minItems": 1, "items": {"type": "string", "enum":
		["RegistryRead", "RegistryWrite", "ServiceConnect", "DeviceConnect"]}},
	"NoMembers": {"type": "object", "additionalProperties": false},
	"RegenerateNamed": {"type": "object", "additionalProperties": false, "properties": {
		"key": {"$ref": "#/components/schemas/Which"}}},
	"Connection": {"type": "object", "required": ["clientId", "principal", "kind", "protocol"],
		"properties": {
		"clientId": {"type": "string"},
		"principal": {"type": "string", "description": "The device, access key or token"},
		"kind": {"type": "string", "enum": ["anonymous", "device", "key", "token", "custom"]},
		"protocol": {"type": "string"},
		"mqttVersion": {"type": "string", "enum": ["3.1.1", "5.0"]},
		"tlsVersion": {"type": ["string", "null"]},
		"address": {"type": "string"},
		"connectedTime": {"type": ["string", "null"], "format": "date-time"},
		"lastActivityTime": {"type": ["string", "null"], "format": "date-time"},
		"keepAlive": {"type": "integer"},
		"cleanStart": {"type": "boolean"},
		"subscriptions": {"type": "integer"},
		"inflight": {"type": "integer"},
		"queued": {"type": "integer"}
	}},
	"ConnectionList": {"type": "object", "required": ["items", "nextCursor"], "properties": {
		"items": {"type": "array", "items": {"$ref": "#/components/schemas/Connection"}},
		"nextCursor": {"$ref": "#/components/schemas/NextCursor"}
	}},
	"Subscription": {"type": "object", "required": ["filter", "qos"], "properties": {
		"filter": {"type": "string"},
		"qos": {"type": "integer", "enum": [0, 1, 2]},
		"noLocal": {"type": "boolean"},
		"retainAsPublished": {"type": "boolean"},
		"subscriptionId": {"type": ["integer", "null"]}
	}},
	"Session": {"type": "object", "required": ["clientId", "principal", "kind", "connected", "durable",
		"subscriptionCount", "subscriptions"], "properties": {
		"clientId": {"type": "string"},
		"principal": {"type": "string", "description": "The device or access key"},
		"kind": {"type": "string", "enum": ["anonymous", "device", "key", "token", "custom"]},
		"connected": {"type": "boolean"},
		"durable": {"type": "boolean", "description": "Whether it outlives its connection and the hub"},
		"expiryInterval": {"type": ["integer", "null"], "description":
			"Seconds for which it is kept once nobody is connected; null: for ever"},
		"offlineSince": {"type": ["string", "null"], "format": "date-time"},
		"expiresTime": {"type": ["string", "null"], "format": "date-time"},
		"inflight": {"type": "integer", "description": "Messages sent and not acknowledged"},
		"queued": {"type": "integer", "description": "Messages waiting, in memory and in the store"},
		"queuedBytes": {"type": "integer"},
		"will": {"type": "boolean"},
		"subscriptionCount": {"type": "integer"},
		"subscriptions": {"type": "array", "maxItems": 1000, "items":
			{"$ref": "#/components/schemas/Subscription"}, "description":
			"The first ones; fewer than 1000 where filters are very long"}
	}},
	"Sessions": {"type": "object", "required": ["sessions"], "properties": {
		"sessions": {"type": "array", "minItems": 1, "maxItems": 100, "items":
			{"$ref": "#/components/schemas/Session"}, "description":
			"A device and access keys may each have one under the same client id"}
	}},
	"Stats": {"type": "object", "properties": {
		"version": {"type": "string"},
		"uptimeSeconds": {"type": "integer"},
		"devices": {"type": "object", "properties": {
			"total": {"type": "integer"}, "disabled": {"type": "integer"}}},
		"connections": {"type": "integer"},
		"connectionsEnded": {"type": "object", "additionalProperties": {"type": "integer"}},
		"mqttClients": {"type": "integer"},
		"sessions": {"type": "integer"},
		"subscriptions": {"type": "integer"},
		"retainedMessages": {"type": "integer"},
		"messages": {"type": "object", "properties": {
			"received": {"type": "integer"}, "sent": {"type": "integer"},
			"dropped": {"type": "integer"}, "denied": {"type": "integer"}}},
		"telemetry": {"type": "object", "properties": {
			"stored": {"type": "integer"}, "storedBytes": {"type": "integer"},
			"backlogMessages": {"type": "integer"}, "backlogBytes": {"type": "integer"},
			"setAside": {"type": "integer"}, "corrupt": {"type": "integer"}}}
	}},
	"Health": {"type": "object", "required": ["status"], "properties": {
		"status": {"type": "string", "enum": ["alive"]}}},
	"Readiness": {"type": "object", "required": ["status", "reasons", "warnings"], "properties": {
		"status": {"type": "string", "enum": ["ready", "not ready"]},
		"reasons": {"type": "array", "items": {"type": "string"}},
		"warnings": {"type": "array", "items": {"type": "string"}}
	}},
	"Cidr": {"type": "string", "description":
		"An IPv4 or IPv6 network or address, without bits behind the prefix: 10.0.0.0/8, 2001:db8::1"},
	"IpRuleWrite": {"type": "object", "required": ["action", "cidr"], "properties": {
		"id": {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,64}$"},
		"action": {"type": "string", "enum": ["allow", "deny"]},
		"cidr": {"$ref": "#/components/schemas/Cidr"},
		"scope": {"type": "string", "enum": ["hub", "group", "device"], "default": "hub"},
		"group": {"type": "string", "minLength": 1, "maxLength": 128},
		"deviceId": {"$ref": "#/components/schemas/DeviceId"},
		"priority": {"type": "integer", "minimum": 0, "maximum": 1000000, "default": 1000, "description":
			"Of the rules of a scope the first that matches counts, in order of priority and id"},
		"expiresAt": {"type": ["string", "null"], "format": "date-time"},
		"comment": {"type": "string", "minLength": 1, "maxLength": 256}
	}},
	"IpRuleCreate": {"$ref": "#/components/schemas/IpRuleWrite"},
	"IpRule": {"allOf": [{"$ref": "#/components/schemas/IpRuleWrite"}, {"type": "object",
		"required": ["id", "etag"], "properties": {
		"etag": {"type": "string"},
		"createdTime": {"type": "string", "format": "date-time"},
		"updatedTime": {"type": "string", "format": "date-time"}
	}}]},
	"IpRuleList": {"type": "object", "required": ["items", "nextCursor"], "properties": {
		"items": {"type": "array", "items": {"$ref": "#/components/schemas/IpRule"}},
		"nextCursor": {"$ref": "#/components/schemas/NextCursor"}
	}},
	"IpRuleDryRun": {"type": "object", "description":
		"A set in place of the one that is there, or a change of that", "properties": {
		"rules": {"type": "array", "maxItems": 20000, "items":
			{"$ref": "#/components/schemas/IpRuleWrite"}},
		"add": {"type": "array", "maxItems": 20000, "items":
			{"$ref": "#/components/schemas/IpRuleWrite"}},
		"remove": {"type": "array", "maxItems": 20000, "items": {"type": "string"}}
	}},
	"IpRuleReport": {"type": "object", "description":
		"Of the addresses that were seen in the last 30 days, by the hub-wide rules", "properties": {
		"days": {"type": "integer"},
		"addresses": {"type": "integer"},
		"refused": {"type": "integer", "description": "May connect now and could not then"},
		"admitted": {"type": "integer", "description": "May not connect now and could then"},
		"refusedInAll": {"type": "integer"},
		"truncated": {"type": "boolean", "description": "changes has not all of them"},
		"changes": {"type": "array", "items": {"type": "object", "properties": {
			"address": {"type": "string"},
			"lastSeen": {"type": "string", "format": "date-time"},
			"allowed": {"type": "integer", "description": "How often it was let in"},
			"now": {"type": "string", "enum": ["allow", "deny"]},
			"then": {"type": "string", "enum": ["allow", "deny"]},
			"rule": {"type": ["string", "null"]}
		}}},
		"deniesEverybody": {"type": "boolean"},
		"you": {"type": ["string", "null"], "enum": ["allow", "deny", null]},
		"suggest": {"type": "array", "items": {"$ref": "#/components/schemas/Cidr"}, "description":
			"At most 16 networks of each family that have all addresses that were let in"}
	}},
	"BanCreate": {"type": "object", "description": "At least one of cidr, deviceId and key",
		"properties": {
		"cidr": {"$ref": "#/components/schemas/Cidr"},
		"address": {"$ref": "#/components/schemas/Cidr"},
		"deviceId": {"type": "string", "description": "Or device/module"},
		"key": {"type": "string", "minLength": 1, "maxLength": 64},
		"reason": {"type": "string", "minLength": 1, "maxLength": 128},
		"expiresAt": {"type": ["string", "null"], "format": "date-time"},
		"seconds": {"type": "integer", "minimum": 1, "maximum": 315360000}
	}},
	"Ban": {"type": "object", "required": ["id", "etag", "source"], "properties": {
		"id": {"type": "string"},
		"etag": {"type": "string"},
		"cidr": {"$ref": "#/components/schemas/Cidr"},
		"deviceId": {"type": "string"},
		"key": {"type": "string"},
		"reason": {"type": "string"},
		"source": {"type": "string", "enum": ["administrator", "hub"], "description":
			"An administrator's ban ends who is connected, too"},
		"step": {"type": "integer", "description": "How often it was banned in a row before"},
		"expiresAt": {"type": ["string", "null"], "format": "date-time"},
		"createdTime": {"type": "string", "format": "date-time"},
		"updatedTime": {"type": "string", "format": "date-time"}
	}},
	"BanList": {"type": "object", "required": ["items", "nextCursor"], "properties": {
		"items": {"type": "array", "items": {"$ref": "#/components/schemas/Ban"}},
		"nextCursor": {"$ref": "#/components/schemas/NextCursor"}
	}},
	"PolicyName": {"type": "string", "pattern": "^[A-Za-z0-9_+=,.@-]{1,128}$"},
	"PolicyDocument": {"type": "object", "required": ["Version", "Statement"], "description":
		"In the language of AWS IoT: Effect, Action, Resource, Condition; at most 16 KiB, 100 statements"},
	"PolicyWrite": {"type": "object", "required": ["document"], "properties": {
		"name": {"$ref": "#/components/schemas/PolicyName"},
		"document": {"$ref": "#/components/schemas/PolicyDocument"}
	}},
	"PolicyCreate": {"allOf": [{"$ref": "#/components/schemas/PolicyWrite"},
		{"type": "object", "required": ["name"]}]},
	"PolicyVersionWrite": {"type": "object", "required": ["document"], "properties": {
		"document": {"$ref": "#/components/schemas/PolicyDocument"},
		"setAsDefault": {"type": "boolean", "default": true, "description": "Put it in force"}
	}},
	"PolicyPatch": {"type": "object", "required": ["version"], "properties": {
		"version": {"type": "integer", "minimum": 1, "description": "The one to be in force"}
	}},
	"PolicyVersion": {"type": "object", "required": ["version", "createdTime", "isDefault"],
		"properties": {
		"version": {"type": "integer"},
		"createdTime": {"type": "string", "format": "date-time"},
		"isDefault": {"type": "boolean"},
		"document": {"$ref": "#/components/schemas/PolicyDocument"}
	}},
	"PolicyVersionList": {"type": "object", "required": ["items", "nextCursor"], "properties": {
		"items": {"type": "array", "items": {"$ref": "#/components/schemas/PolicyVersion"}},
		"nextCursor": {"$ref": "#/components/schemas/NextCursor"}
	}},
	"Policy": {"type": "object", "required": ["name", "version", "document", "versions", "etag"],
		"properties": {
		"name": {"$ref": "#/components/schemas/PolicyName"},
		"version": {"type": "integer", "description": "The one in force"},
		"document": {"$ref": "#/components/schemas/PolicyDocument"},
		"versions": {"type": "array", "maxItems": 5, "items":
			{"$ref": "#/components/schemas/PolicyVersion"}},
		"etag": {"type": "string"},
		"createdTime": {"type": "string", "format": "date-time"},
		"updatedTime": {"type": "string", "format": "date-time"}
	}},
	"PolicyList": {"type": "object", "required": ["items", "nextCursor"], "properties": {
		"items": {"type": "array", "items": {"$ref": "#/components/schemas/Policy"}},
		"nextCursor": {"$ref": "#/components/schemas/NextCursor"}
	}},
	"Simulation": {"type": "object", "required": ["action"], "description":
		"Who (deviceId or key), what, from where", "properties": {
		"deviceId": {"type": "string", "description": "Or device/module"},
		"key": {"type": "string"}, "certificateId": {"type": "string"}, "clientId": {"type": "string"},
		"action": {"type": "string", "enum":
			["Connect", "Publish", "RetainPublish", "Subscribe", "Receive"]},
		"topic": {"type": "string"}, "filter": {"type": "string"}, "sourceIp": {"type": "string"},
		"serverName": {"type": "string"}, "persistent": {"type": "boolean"}, "lastWillTopic": {"type": "string"},
		"fromDeviceId": {"type": "string", "description": "Whose message it is, for Receive"},
		"policies": {"type": "array", "maxItems": 16, "items":
			{"$ref": "#/components/schemas/PolicyDocument"}, "description":
			"To be tried in place of all policies"}
	}},
	"SimulationResult": {"type": "object", "required": ["decision", "by"], "properties": {
		"decision": {"type": "string", "enum": ["allow", "deny"]},
		"by": {"type": "string", "enum":
			["nothing", "default", "grant", "policy", "scope", "ipRule", "ban", "unreadable"]},
		"policy": {"type": "string"}, "version": {"type": "integer"},
		"statement": {"type": "integer", "description": "From 0"}, "sid": {"type": "string"},
		"effect": {"type": "string", "enum": ["Allow", "Deny"]},
		"rule": {"type": "string", "description": "The pattern of the default topics"},
		"topicFilter": {"type": "string", "description": "Of the grant"},
		"scope": {"type": "string", "description": "Which members of the key's scope object"},
		"group": {"type": "string", "description": "Through which it comes"},
		"kind": {"type": "string"}, "id": {"type": "string"}
	}},
	"PolicyCheck": {"type": "object", "required": ["document"], "properties": {
		"name": {"$ref": "#/components/schemas/PolicyName"},
		"document": {"$ref": "#/components/schemas/PolicyDocument"},
		"attachTo": {"type": "object", "additionalProperties": false, "properties": {
			"devices": {"type": "array", "items": {"type": "string"}},
			"groups": {"type": "array", "items": {"type": "string"}}
		}}
	}},
	"PolicyCheckResult": {"type": "object", "required": ["objections", "devices"], "properties": {
		"objections": {"type": "array", "items": {"type": "object", "properties": {
			"code": {"type": "string", "enum": ["mqttWildcardInDeny",
				"deniedFilterAllowedByWildcard", "overlyPermissive"]},
			"statement": {"type": "integer"},
			"sid": {"type": "string"},
			"detail": {"type": "string"}
		}}},
		"devices": {"type": "object", "properties": {
			"concerned": {"type": "integer"},
			"changed": {"type": "integer", "description": "Of those in sample"},
			"truncated": {"type": "boolean", "description": "There are more than were looked at"},
			"sample": {"type": "object", "description": "By device id: gains and loses",
				"additionalProperties": {"type": "object"}}
		}}
	}},
	"Link": {"type": "object", "properties": {
		"kind": {"type": "string", "enum": ["device", "group", "certificate"]},
		"id": {"type": "string"}, "name": {"type": "string"}, "policy": {"type": "string"},
		"group": {"type": "string"}, "createdTime": {"type": "string", "format": "date-time"}
	}},
	"LinkList": {"type": "object", "required": ["items", "nextCursor"], "properties": {
		"items": {"type": "array", "items": {"$ref": "#/components/schemas/Link"}},
		"nextCursor": {"$ref": "#/components/schemas/NextCursor"}
	}},
	"NameList": {"type": "object", "required": ["items", "nextCursor"], "properties": {
		"items": {"type": "array", "items": {"type": "object", "properties": {
			"name": {"type": "string"}}}},
		"nextCursor": {"$ref": "#/components/schemas/NextCursor"}
	}},
	"GroupWrite": {"type": "object", "properties": {
		"name": {"$ref": "#/components/schemas/PolicyName"},
		"description": {"type": ["string", "null"], "maxLength": 1024},
		"condition": {"type": ["string", "null"], "maxLength": 4096, "description":
			"Who is in it: tags.site = 'berlin' AND status = 'enabled'; none: members by hand"}
	}},
	"GroupCreate": {"allOf": [{"$ref": "#/components/schemas/GroupWrite"},
		{"type": "object", "required": ["name"]}]},
	"Group": {"allOf": [{"$ref": "#/components/schemas/GroupWrite"}, {"type": "object",
		"required": ["name", "dynamic", "etag"], "properties": {
		"dynamic": {"type": "boolean"},
		"policies": {"type": "array", "items": {"type": "string"}},
		"etag": {"type": "string"},
		"createdTime": {"type": "string", "format": "date-time"},
		"updatedTime": {"type": "string", "format": "date-time"}
	}}]},
	"GroupList": {"type": "object", "required": ["items", "nextCursor"], "properties": {
		"items": {"type": "array", "items": {"$ref": "#/components/schemas/Group"}},
		"nextCursor": {"$ref": "#/components/schemas/NextCursor"}
	}},
	"GrantCreate": {"type": "object", "required": ["topicFilter", "access"], "properties": {
		"deviceId": {"type": "string", "description": "Or device/module; or else group"},
		"group": {"$ref": "#/components/schemas/PolicyName"},
		"topicFilter": {"type": "string", "minLength": 1, "maxLength": 1024},
		"access": {"type": "string", "enum": ["r", "w", "rw"]}
	}},
	"Grant": {"allOf": [{"$ref": "#/components/schemas/GrantCreate"}, {"type": "object",
		"required": ["id"], "properties": {
		"id": {"type": "string"},
		"createdTime": {"type": "string", "format": "date-time"}
	}}]},
	"GrantList": {"type": "object", "required": ["items", "nextCursor"], "properties": {
		"items": {"type": "array", "items": {"$ref": "#/components/schemas/Grant"}},
		"nextCursor": {"$ref": "#/components/schemas/NextCursor"}
	}},
	"OpenApi": {"type": "object"},
	"Problem": {"type": "object", "required": ["type", "title", "status"], "properties": {
		"type": {"type": "string", "format": "uri"},
		"title": {"type": "string"},
		"status": {"type": "integer"},
		"detail": {"type": "string"},
		"traceId": {"type": "string"},
		"errors": {"type": "array", "items": {"type": "object", "required": ["detail"], "properties": {
			"pointer": {"type": "string", "format": "json-pointer"},
			"parameter": {"type": "string"},
			"detail": {"type": "string"}
		}}}
	}}
},
"parameters": {
	"IfMatch": {"name": "If-Match", "in": "header", "schema": {"type": "string"}, "description":
		"Only if the resource has one of these entity tags; * if it is there"},
	"IfNoneMatch": {"name": "If-None-Match", "in": "header", "schema": {"type": "string"},
		"description": "Writes: * only if it is not there. Reads: 304 if it has one of these tags"},
	"IdempotencyKey": {"name": "Idempotency-Key", "in": "header", "schema": {"type": "string",
		"minLength": 1, "maxLength": 128}, "description":
		"Repeated within 24 hours with the same request, the first answer is given again"}
},
"responses": {
	"Problem": {"description": "Refused, or failed", "content": {"application/problem+json": {
		"schema": {"$ref": "#/components/schemas/Problem"}}}},
	"Unauthenticated": {"description": "The caller is not known", "headers": {"WWW-Authenticate":
		{"schema": {"type": "string"}}}, "content": {"application/problem+json": {
		"schema": {"$ref": "#/components/schemas/Problem"}}}},
	"Later": {"description": "Not now", "headers": {"Retry-After": {"schema": {"type": "integer"}}},
		"content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}},
	"NotReady": {"description": "The hub does not serve, with the reasons", "content":
		{"application/json": {"schema": {"$ref": "#/components/schemas/Readiness"}}}},
	"NotModified": {"description": "It is the one that the caller has"}
}
});
