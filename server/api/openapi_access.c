#include "server/api/openapi.h"

/* The schemas of whom the hub lets in: keys, tokens, authorities, authorisers, approvals. As
 * openapi_schemas.c. */
#define JSON(...) #__VA_ARGS__

/* clang-format off */
const char api_openapi_access[] = JSON({
	"AccessKeyCreate": {"allOf": [{"$ref": "#/components/schemas/AccessKeyWrite"},
		{"type": "object", "required": ["name"]}]},
	"AccessKeyWrite": {"type": "object", "required": ["permissions"], "properties": {
		"name": {"$ref": "#/components/schemas/KeyName"},
		"permissions": {"$ref": "#/components/schemas/Permissions"},
		"primaryKey": {"$ref": "#/components/schemas/SymmetricKey"},
		"secondaryKey": {"$ref": "#/components/schemas/SymmetricKey"},
		"scope": {"$ref": "#/components/schemas/Scope"}
	}},
	"Scope": {"type": "object", "additionalProperties": false, "description":
		"What the key is narrowed to on top of its permissions; what is left out does not narrow. A PUT without a scope leaves the one that is; {} takes it away",
		"properties": {
		"groups": {"type": "array", "minItems": 1, "maxItems": 256,
			"items": {"type": "string", "maxLength": 128}},
		"devices": {"type": "array", "minItems": 1, "maxItems": 256,
			"items": {"$ref": "#/components/schemas/DeviceId"}},
		"topicFilters": {"type": "array", "minItems": 1, "maxItems": 256,
			"items": {"type": "string", "maxLength": 1024}},
		"access": {"enum": ["r", "w", "rw"], "default": "rw"},
		"cidrs": {"type": "array", "minItems": 1, "maxItems": 16,
			"items": {"type": "string", "maxLength": 49}},
		"notBefore": {"type": "string", "format": "date-time"},
		"notAfter": {"type": "string", "format": "date-time"}
	}},
	"AccessKey": {"type": "object", "required": ["name", "permissions", "etag"], "properties": {
		"name": {"$ref": "#/components/schemas/KeyName"},
		"permissions": {"$ref": "#/components/schemas/Permissions"},
		"etag": {"type": "string"},
		"primaryKey": {"$ref": "#/components/schemas/SymmetricKey"},
		"secondaryKey": {"$ref": "#/components/schemas/SymmetricKey"},
		"scope": {"$ref": "#/components/schemas/Scope"},
		"createdTime": {"type": "string", "format": "date-time"}
	}},
	"AlteredAccessKey": {"type": "object", "required": ["name", "error"], "properties": {
		"name": {"$ref": "#/components/schemas/KeyName"},
		"error": {"type": "string", "description":
			"The stored row was altered and is refused: integrity check failed"}
	}},
	"AccessKeyList": {"type": "object", "required": ["items", "nextCursor"], "properties": {
		"items": {"type": "array", "items": {"anyOf": [{"$ref": "#/components/schemas/AccessKey"},
			{"$ref": "#/components/schemas/AlteredAccessKey"}]}},
		"nextCursor": {"$ref": "#/components/schemas/NextCursor"}
	}},
	"Role": {"enum": ["owner", "security-admin", "operator", "provisioner", "analyst", "auditor"]},
	"Cidrs": {"type": "array", "maxItems": 16, "items": {"type": "string", "maxLength": 49},
		"description": "From where it may be used; empty: from anywhere"},
	"TokenCreate": {"type": "object", "required": ["name", "role"], "additionalProperties": false,
		"properties": {
		"name": {"$ref": "#/components/schemas/KeyName"},
		"role": {"$ref": "#/components/schemas/Role"},
		"expiresAt": {"type": ["string", "null"], "format": "date-time"},
		"cidrs": {"$ref": "#/components/schemas/Cidrs"}
	}},
	"Token": {"type": "object", "required": ["name", "role", "expiresAt", "cidrs"], "properties": {
		"name": {"$ref": "#/components/schemas/KeyName"},
		"role": {"$ref": "#/components/schemas/Role"},
		"expiresAt": {"type": ["string", "null"], "format": "date-time"},
		"cidrs": {"$ref": "#/components/schemas/Cidrs"},
		"createdBy": {"type": "string"},
		"createdTime": {"type": "string", "format": "date-time"}
	}},
	"TokenMade": {"allOf": [{"$ref": "#/components/schemas/Token"},
		{"type": "object", "required": ["token"], "properties": {
			"token": {"type": "string", "description": "The secret; it is shown this once"}}}]},
	"TokenList": {"type": "object", "required": ["items", "nextCursor"], "properties": {
		"items": {"type": "array", "items": {"$ref": "#/components/schemas/Token"}},
		"nextCursor": {"$ref": "#/components/schemas/NextCursor"}
	}},
	"AuthorizerCreate": {"allOf": [{"$ref": "#/components/schemas/AuthorizerWrite"},
		{"type": "object", "required": ["name"]}]},
	"AuthorizerWrite": {"type": "object", "required": ["url"], "properties": {
		"name": {"type": "string", "pattern": "^[A-Za-z0-9._=,@-]{1,128}$"},
		"url": {"type": "string", "maxLength": 2048, "pattern": "^https://", "description":
			"Gets a POST with the question as JSON"},
		"status": {"type": "string", "enum": ["active", "inactive"], "default": "active"},
		"default": {"type": "boolean", "default": false, "description":
			"For those who name none and whose device is not known; one at most"},
		"tokenKeyName": {"type": "string", "pattern": "^[A-Za-z0-9_-]{1,128}$", "description":
			"Under what the token stands"},
		"tokenSigningPublicKeys": {"type": "object", "maxProperties": 8, "additionalProperties":
			{"type": "string", "description": "RSA public key, PEM"}},
		"signingDisabled": {"type": "boolean", "default": false},
		"cacheSeconds": {"type": "integer", "minimum": 0, "maximum": 3600, "default": 60},
		"timeoutMs": {"type": "integer", "minimum": 100, "maximum": 5000, "default": 5000},
		"caCertificate": {"type": ["string", "null"], "description":
			"PEM of who has signed the server's certificate; null: whom the system trusts"}
	}},
	"Authorizer": {"allOf": [{"$ref": "#/components/schemas/AuthorizerWrite"},
		{"type": "object", "required": ["name", "etag"], "properties": {
		"etag": {"type": "string"},
		"createdTime": {"type": "string", "format": "date-time"},
		"updatedTime": {"type": "string", "format": "date-time"}
	}}]},
	"AuthorizerList": {"type": "object", "required": ["items", "nextCursor"], "properties": {
		"items": {"type": "array", "items": {"$ref": "#/components/schemas/Authorizer"}},
		"nextCursor": {"$ref": "#/components/schemas/NextCursor"}
	}},
	"AuthorizerTrial": {"type": "object", "additionalProperties": false, "properties": {
		"token": {"type": "string"},
		"tokenSignature": {"type": "string", "contentEncoding": "base64"},
		"mqttContext": {"type": "object", "additionalProperties": false, "properties": {
			"clientId": {"type": "string"},
			"username": {"type": "string"},
			"password": {"type": "string", "contentEncoding": "base64"}}},
		"tlsContext": {"type": "object", "additionalProperties": false, "properties": {
			"serverName": {"type": "string"}}}
	}},
	"AuthorizerOutcome": {"type": "object", "required": ["outcome", "tookMs"], "properties": {
		"outcome": {"type": "string", "enum": ["allowed", "denied", "failed"]},
		"detail": {"type": ["string", "null"], "description": "Why it failed"},
		"tookMs": {"type": "integer"},
		"principalId": {"type": "string"},
		"deviceId": {"type": "string"},
		"policyDocuments": {"type": "array", "items": {"type": "object"}},
		"disconnectAfterInSeconds": {"type": "integer"},
		"refreshAfterInSeconds": {"type": "integer"}
	}},
	"Approval": {"type": "object", "required": ["id", "operation", "status"], "properties": {
		"id": {"type": "string"},
		"operation": {"type": "string"},
		"method": {"type": "string"},
		"path": {"type": "string"},
		"requestedBy": {"type": "string"},
		"approvedBy": {"type": ["string", "null"]},
		"status": {"enum": ["waiting", "approved"]},
		"createdTime": {"type": "string", "format": "date-time"},
		"expiresTime": {"type": "string", "format": "date-time"}
	}},
	"ApprovalNeeded": {"type": "object", "required": ["approvalId", "status"], "properties": {
		"approvalId": {"type": "string", "description":
			"To be sent as Holdfast-Approval with the same request, once another person has agreed"},
		"status": {"const": "waiting"},
		"expiresTime": {"type": "string", "format": "date-time"}
	}},
	"ApprovalList": {"type": "object", "required": ["items", "nextCursor"], "properties": {
		"items": {"type": "array", "items": {"$ref": "#/components/schemas/Approval"}},
		"nextCursor": {"$ref": "#/components/schemas/NextCursor"}
	}},
	"CrlSource": {"type": ["object", "null"], "properties": {
		"url": {"type": ["string", "null"], "maxLength": 2048, "description":
			"Where the revocation list is fetched; http:// will do, for lists are signed"},
		"refreshSeconds": {"type": "integer", "minimum": 60, "maximum": 604800, "default": 3600},
		"mode": {"type": "string", "enum": ["soft", "hard"], "default": "soft", "description":
			"hard: nobody is let in by it, or by an authority below it, while there is no list that is valid now"},
		"number": {"type": ["string", "null"], "readOnly": true},
		"entries": {"type": "integer", "readOnly": true},
		"thisUpdate": {"type": "string", "format": "date-time", "readOnly": true},
		"nextUpdate": {"type": ["string", "null"], "format": "date-time", "readOnly": true}
	}},
	"AuthorityPatch": {"type": "object", "properties": {
		"status": {"type": "string", "enum": ["active", "inactive", "revoked"], "description":
			"Of an authority whose key was shown to be held"},
		"deviceIdFrom": {"type": "string", "enum": ["cn", "san"], "default": "cn", "description":
			"The only CommonName, or any DNS name or URI among the alternative names"},
		"autoRegister": {"type": "boolean", "default": false, "description":
			"Devices that are not known yet are made when they come"},
		"crl": {"$ref": "#/components/schemas/CrlSource"}
	}},
	"AuthorityCreate": {"allOf": [{"$ref": "#/components/schemas/AuthorityPatch"},
		{"type": "object", "required": ["name", "certificate"], "properties": {
		"name": {"$ref": "#/components/schemas/KeyName"},
		"certificate": {"type": "string", "maxLength": 65536, "description":
			"PEM of a root or an intermediate"}}}]},
	"Authority": {"type": "object", "required": ["name"], "properties": {
		"name": {"$ref": "#/components/schemas/KeyName"},
		"certificate": {"type": "string"},
		"status": {"type": "string", "enum": ["unverified", "active", "inactive", "revoked"]},
		"challenge": {"type": "string", "description":
			"While unverified: the CommonName of the certificate that shows possession"},
		"deviceIdFrom": {"type": "string", "enum": ["cn", "san"]},
		"autoRegister": {"type": "boolean"},
		"crl": {"$ref": "#/components/schemas/CrlSource"},
		"fingerprint": {"type": "string", "description": "SHA-256 of the certificate"},
		"subject": {"type": "string"},
		"notBefore": {"type": "string", "format": "date-time"},
		"notAfter": {"type": "string", "format": "date-time"},
		"etag": {"type": "string"},
		"createdTime": {"type": "string", "format": "date-time"},
		"updatedTime": {"type": "string", "format": "date-time"},
		"error": {"type": "string", "description": "The stored document cannot be read"}
	}},
	"AuthorityList": {"type": "object", "required": ["items", "nextCursor"], "properties": {
		"items": {"type": "array", "items": {"$ref": "#/components/schemas/Authority"}},
		"nextCursor": {"$ref": "#/components/schemas/NextCursor"}
	}},
	"AuthorityProof": {"type": "object", "required": ["certificate"], "additionalProperties": false,
		"properties": {"certificate": {"type": "string", "description":
			"PEM, signed by the authority, with the challenge as its only CommonName"}}},
	"AuthorityCrl": {"type": "object", "required": ["crl"], "additionalProperties": false,
		"properties": {"crl": {"type": "string", "description":
			"PEM, or DER in base64. Lists too large for a request are fetched by URL"}}},
	"CertificatePatch": {"type": "object", "properties": {
		"status": {"type": "string", "enum": ["active", "inactive", "revoked"]},
		"deviceId": {"type": ["string", "null"], "description":
			"The device that may use it; null: the one that it names"}
	}},
	"CertificateCreate": {"allOf": [{"$ref": "#/components/schemas/CertificatePatch"},
		{"type": "object", "required": ["certificate"], "properties": {
		"certificate": {"type": "string", "maxLength": 65536, "description": "PEM"}}}]},
	"Certificate": {"type": "object", "required": ["certificateId"], "properties": {
		"certificateId": {"type": "string", "description": "SHA-256 of its DER form"},
		"status": {"type": "string", "enum": ["active", "inactive", "revoked"]},
		"deviceId": {"type": ["string", "null"]},
		"authority": {"type": ["string", "null"], "description": "By which it came"},
		"subject": {"type": "string"},
		"issuer": {"type": "string"},
		"serialNumber": {"type": "string"},
		"notBefore": {"type": "string", "format": "date-time"},
		"notAfter": {"type": "string", "format": "date-time"},
		"etag": {"type": "string"},
		"createdTime": {"type": "string", "format": "date-time"},
		"updatedTime": {"type": "string", "format": "date-time"},
		"error": {"type": "string", "description": "The stored document cannot be read"}
	}},
	"CertificateList": {"type": "object", "required": ["items", "nextCursor"], "properties": {
		"items": {"type": "array", "items": {"$ref": "#/components/schemas/Certificate"}},
		"nextCursor": {"$ref": "#/components/schemas/NextCursor"}
	}}
});
