-- Identity and access: documents that administrators write, what hangs on identities, modules,
-- credentials other than keys, tokens with roles, and the audit log.

-- Policies, groups, IP rules, bans, authorities, authorizers, certificates, approvals: little of each, but
-- for certificates. kind: the letters of enum entity. No secret is in a document.
CREATE SEQUENCE holdfast.document_seq;
CREATE TABLE holdfast.documents (
	kind "char" NOT NULL,
	name text COLLATE "C" NOT NULL CHECK (octet_length(name) BETWEEN 1 AND 128),
	document_key bigint NOT NULL UNIQUE DEFAULT nextval('holdfast.document_seq'),
	etag text NOT NULL,
	doc json NOT NULL,
	created_at timestamptz NOT NULL DEFAULT now(),
	updated_at timestamptz NOT NULL DEFAULT now(),
	PRIMARY KEY (kind, name)
);

-- What hangs on a device or module (subject: its device_key), a certificate or a group (its
-- document_key). letter: p a policy attached, g a group it is in, r w b a grant to read, write, both
-- below the topic filter that is the value.
CREATE TABLE holdfast.links (
	link_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	subject_kind "char" NOT NULL,
	subject bigint NOT NULL,
	letter "char" NOT NULL,
	value text COLLATE "C" NOT NULL
		CHECK (octet_length(value) BETWEEN 1 AND 1024 AND position(E'\n' IN value) = 0),
	created_at timestamptz NOT NULL DEFAULT now(),
	UNIQUE (subject_kind, subject, letter, value)
);
CREATE INDEX links_value ON holdfast.links (letter, value, link_id);

-- A module is a row like a device's, with its own generation and credentials, under "device/module".
ALTER TABLE holdfast.devices DROP CONSTRAINT devices_id_check;
ALTER TABLE holdfast.devices ADD CONSTRAINT devices_id_check CHECK (octet_length(id) BETWEEN 1 AND 257);
ALTER TABLE holdfast.devices ADD COLUMN parent_key bigint REFERENCES holdfast.devices (device_key)
	ON DELETE CASCADE;
CREATE INDEX devices_parent_key ON holdfast.devices (parent_key, id) WHERE parent_key IS NOT NULL;
-- Thumbprints, public keys: what of its credentials is no secret.
ALTER TABLE holdfast.devices ADD COLUMN auth_public json;

-- What an access key is narrowed to.
ALTER TABLE holdfast.access_keys ADD COLUMN scope json;

ALTER TABLE holdfast.tokens ADD COLUMN cidrs text[] NOT NULL DEFAULT '{}';
ALTER TABLE holdfast.tokens ADD COLUMN created_by text NOT NULL DEFAULT '';

-- Addresses that connected, for trying out IP rules; those not seen for 30 days go.
CREATE TABLE holdfast.addresses (
	ip inet PRIMARY KEY,
	first_seen_at timestamptz NOT NULL DEFAULT now(),
	last_seen_at timestamptz NOT NULL DEFAULT now(),
	allowed bigint NOT NULL DEFAULT 0,
	denied bigint NOT NULL DEFAULT 0
);
CREATE INDEX addresses_last_seen_at ON holdfast.addresses (last_seen_at);

-- Who did what, and who was not let. Written by triggers in the transaction of the change, and by the
-- hub for attempts that were denied; nobody but the owner of the database may alter it.
CREATE TABLE holdfast.audit (
	audit_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	at timestamptz NOT NULL DEFAULT clock_timestamp(),
	actor text NOT NULL DEFAULT '',
	actor_kind text NOT NULL DEFAULT '',   -- token, key, oidc, hub; sql: by hand
	role text NOT NULL DEFAULT '',
	source text NOT NULL DEFAULT '',       -- address and port
	trace_id text NOT NULL DEFAULT '',
	operation text NOT NULL,
	outcome text NOT NULL,                 -- done, denied
	reason text NOT NULL DEFAULT '',
	count integer NOT NULL DEFAULT 1,      -- equal denials of a moment are one row
	kind text NOT NULL DEFAULT '',         -- device, policy, …
	name text NOT NULL DEFAULT '',
	before jsonb,
	after jsonb
);
CREATE INDEX audit_at ON holdfast.audit (at, audit_id);
CREATE INDEX audit_name ON holdfast.audit (name, at, audit_id);
CREATE INDEX audit_actor ON holdfast.audit (actor, at, audit_id);

-- The kind of a thing, as people know it: enum entity.
CREATE FUNCTION holdfast.audit_kind(letter text) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog AS $$
	SELECT CASE letter WHEN 'd' THEN 'device' WHEN 'p' THEN 'policy' WHEN 'g' THEN 'group'
		WHEN 'i' THEN 'ip-rule' WHEN 'b' THEN 'ban' WHEN 'a' THEN 'authority'
		WHEN 'u' THEN 'authorizer' WHEN 'c' THEN 'certificate' WHEN 'v' THEN 'approval'
		ELSE 'unknown' END
$$;

-- Text may hold the character 0, which jsonb does not take.
CREATE FUNCTION holdfast.audit_json(row_in json) RETURNS jsonb
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog AS $$
	SELECT replace(row_in::text, '\u0000', '\ufffd')::jsonb
$$;

-- Who acts: what the hub has said in this transaction; nothing said: somebody with SQL.
CREATE FUNCTION holdfast.audit_write(operation text, kind text, name text, before jsonb, after jsonb)
RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $$
DECLARE
	who jsonb := nullif(current_setting('holdfast.actor', true), '')::jsonb;
BEGIN
	INSERT INTO holdfast.audit (actor, actor_kind, role, source, trace_id, operation, outcome, kind,
		name, before, after)
	VALUES (coalesce(who ->> 'name', CASE WHEN who IS NULL THEN session_user::text ELSE '' END),
		coalesce(who ->> 'kind', CASE WHEN who IS NULL THEN 'sql' ELSE '' END),
		coalesce(who ->> 'role', ''), coalesce(who ->> 'peer', ''), coalesce(who ->> 'trace', ''),
		coalesce(who ->> 'operation', operation), 'done', kind, coalesce(name, ''), before, after);
END $$;
-- Nobody calls it but the triggers.
REVOKE ALL ON FUNCTION holdfast.audit_write(text, text, text, jsonb, jsonb) FROM PUBLIC;

-- Arguments: kind ('' : column kind has the letter), column of the name.
CREATE FUNCTION holdfast.audit_change() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $$
DECLARE
	was jsonb := CASE WHEN TG_OP <> 'INSERT' THEN holdfast.audit_json(row_to_json(OLD)) END;
	now_is jsonb := CASE WHEN TG_OP <> 'DELETE' THEN holdfast.audit_json(row_to_json(NEW)) END;
	what text := CASE WHEN TG_ARGV[0] = '' THEN holdfast.audit_kind(coalesce(now_is, was) ->> 'kind')
		ELSE TG_ARGV[0] END;
	-- Wrapped, hashed or not: nothing of them is shown but that they were changed.
	secrets constant text[] := ARRAY['primary_key', 'secondary_key', 'secret_mac', 'mac'];
	changed jsonb;
BEGIN
	IF TG_OP = 'UPDATE' THEN
		SELECT jsonb_agg(s ORDER BY s) INTO changed FROM unnest(secrets) s
			WHERE was -> s IS DISTINCT FROM now_is -> s;
	END IF;
	-- The bytes of a revocation list are nothing to read, and may be megabytes.
	was := (was - secrets) #- '{doc,der}';
	now_is := (now_is - secrets) #- '{doc,der}';
	IF changed IS NOT NULL THEN
		now_is := now_is || jsonb_build_object('changedSecrets', changed);
	END IF;
	PERFORM holdfast.audit_write(lower(TG_OP), what, coalesce(now_is, was) ->> TG_ARGV[1], was, now_is);
	RETURN NULL;
END $$;
REVOKE ALL ON FUNCTION holdfast.audit_change() FROM PUBLIC;

-- A link is a change of what it hangs on, under whose name it is found.
CREATE FUNCTION holdfast.audit_link() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $$
DECLARE
	link holdfast.links := CASE WHEN TG_OP = 'DELETE' THEN OLD ELSE NEW END;
	what jsonb := jsonb_build_object('link', CASE link.letter WHEN 'p' THEN 'policy'
		WHEN 'g' THEN 'group' WHEN 'r' THEN 'grant r' WHEN 'w' THEN 'grant w' ELSE 'grant rw' END,
		'value', link.value);
	subject_name text;
BEGIN
	IF link.subject_kind = 'd' THEN
		SELECT id INTO subject_name FROM holdfast.devices WHERE device_key = link.subject;
		IF subject_name IS NULL THEN
			SELECT id INTO subject_name FROM holdfast.device_tombstones WHERE device_key = link.subject;
		END IF;
	ELSE
		SELECT d.name INTO subject_name FROM holdfast.documents d WHERE document_key = link.subject;
	END IF;
	PERFORM holdfast.audit_write(lower(TG_OP), holdfast.audit_kind(link.subject_kind::text),
		coalesce(subject_name, '#' || link.subject), CASE WHEN TG_OP = 'DELETE' THEN what END,
		CASE WHEN TG_OP <> 'DELETE' THEN what END);
	RETURN NULL;
END $$;
REVOKE ALL ON FUNCTION holdfast.audit_link() FROM PUBLIC;

CREATE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON holdfast.devices
	FOR EACH ROW EXECUTE FUNCTION holdfast.audit_change('device', 'id');
CREATE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON holdfast.access_keys
	FOR EACH ROW EXECUTE FUNCTION holdfast.audit_change('access-key', 'name');
CREATE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON holdfast.tokens
	FOR EACH ROW EXECUTE FUNCTION holdfast.audit_change('token', 'name');
CREATE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON holdfast.documents
	FOR EACH ROW EXECUTE FUNCTION holdfast.audit_change('', 'name');
CREATE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON holdfast.links
	FOR EACH ROW EXECUTE FUNCTION holdfast.audit_link();

-- The change feed hears of them: kinds are the letters of enum entity.
CREATE FUNCTION holdfast.notify_document() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
	IF TG_OP = 'DELETE' THEN
		PERFORM pg_notify('holdfast_changes', 'g' || OLD.kind::text || ' ' || OLD.document_key || ' ' || OLD.name);
	ELSE
		PERFORM pg_notify('holdfast_changes', 'c' || NEW.kind::text || ' ' || NEW.document_key || ' ' || NEW.name);
	END IF;
	RETURN NULL;
END $$;
CREATE TRIGGER notify AFTER INSERT OR UPDATE OR DELETE ON holdfast.documents
	FOR EACH ROW EXECUTE FUNCTION holdfast.notify_document();

-- A link changes what it hangs on: also where a group is deleted, so that nobody who was in it is
-- remembered to be, should another one get its name.
CREATE FUNCTION holdfast.notify_link() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
	link holdfast.links := CASE WHEN TG_OP = 'DELETE' THEN OLD ELSE NEW END;
	name text;
BEGIN
	IF link.subject_kind = 'd' THEN
		SELECT id INTO name FROM holdfast.devices WHERE device_key = link.subject;
	ELSE
		SELECT d.name INTO name FROM holdfast.documents d WHERE document_key = link.subject;
	END IF;
	IF name IS NOT NULL THEN
		PERFORM pg_notify('holdfast_changes', 'c' || link.subject_kind::text || ' ' || link.subject || ' ' || name);
	END IF;
	RETURN NULL;
END $$;
CREATE TRIGGER notify AFTER INSERT OR UPDATE OR DELETE ON holdfast.links
	FOR EACH ROW EXECUTE FUNCTION holdfast.notify_link();

CREATE FUNCTION holdfast.notify_token() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
	PERFORM pg_notify('holdfast_changes', 'gt 0 ' || OLD.name);
	RETURN NULL;
END $$;
CREATE TRIGGER notify AFTER UPDATE OR DELETE ON holdfast.tokens
	FOR EACH ROW EXECUTE FUNCTION holdfast.notify_token();
