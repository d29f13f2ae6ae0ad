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
	value text COLLATE "C" NOT NULL CHECK (octet_length(value) BETWEEN 1 AND 1024),
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
CREATE INDEX audit_at ON holdfast.audit (at);
CREATE INDEX audit_name ON holdfast.audit (kind, name, audit_id);
CREATE INDEX audit_actor ON holdfast.audit (actor, audit_id);

-- A row as the audit log may show it: what is secret is only said to be there, by a hash under which
-- nothing can be found again but that it changed.
CREATE FUNCTION holdfast.audit_view(row_in jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog AS $$
	SELECT row_in - ARRAY['primary_key', 'secondary_key', 'secret_mac', 'mac']
$$;

-- Arguments: kind ('' : column kind has the letter), column of the name.
CREATE FUNCTION holdfast.audit_change() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $$
DECLARE
	-- Text may hold the character 0, which jsonb does not take.
	was jsonb := CASE WHEN TG_OP <> 'INSERT'
		THEN replace(row_to_json(OLD)::text, '\u0000', '\ufffd')::jsonb END;
	now_is jsonb := CASE WHEN TG_OP <> 'DELETE'
		THEN replace(row_to_json(NEW)::text, '\u0000', '\ufffd')::jsonb END;
	who jsonb := nullif(current_setting('holdfast.actor', true), '')::jsonb;
	what text := TG_ARGV[0];
	secrets text[] := '{}';
	secret text;
BEGIN
	IF what = '' THEN
		what := CASE coalesce(now_is, was) ->> 'kind' WHEN 'p' THEN 'policy' WHEN 'g' THEN 'group'
			WHEN 'i' THEN 'ip-rule' WHEN 'b' THEN 'ban' WHEN 'a' THEN 'authority'
			WHEN 'u' THEN 'authorizer' WHEN 'c' THEN 'certificate' WHEN 'v' THEN 'approval'
			ELSE 'unknown' END;
	END IF;
	IF TG_OP = 'UPDATE' THEN
		FOREACH secret IN ARRAY ARRAY['primary_key', 'secondary_key', 'secret_mac'] LOOP
			IF was -> secret IS DISTINCT FROM now_is -> secret THEN
				secrets := secrets || secret;
			END IF;
		END LOOP;
	END IF;
	was := holdfast.audit_view(was);
	now_is := holdfast.audit_view(now_is);
	IF cardinality(secrets) > 0 THEN
		now_is := now_is || jsonb_build_object('changedSecrets', to_jsonb(secrets));
	END IF;
	INSERT INTO holdfast.audit (actor, actor_kind, role, source, trace_id, operation, outcome, kind,
		name, before, after)
	VALUES (coalesce(who ->> 'name', session_user::text), coalesce(who ->> 'kind', 'sql'),
		coalesce(who ->> 'role', ''), coalesce(who ->> 'peer', ''), coalesce(who ->> 'trace', ''),
		coalesce(who ->> 'operation', lower(TG_OP)), 'done', what,
		coalesce(now_is, was) ->> TG_ARGV[1], was, now_is);
	RETURN NULL;
END $$;
-- Nobody calls it but a trigger.
REVOKE ALL ON FUNCTION holdfast.audit_change() FROM PUBLIC;

CREATE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON holdfast.devices
	FOR EACH ROW EXECUTE FUNCTION holdfast.audit_change('device', 'id');
CREATE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON holdfast.access_keys
	FOR EACH ROW EXECUTE FUNCTION holdfast.audit_change('access-key', 'name');
CREATE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON holdfast.tokens
	FOR EACH ROW EXECUTE FUNCTION holdfast.audit_change('token', 'name');
CREATE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON holdfast.documents
	FOR EACH ROW EXECUTE FUNCTION holdfast.audit_change('', 'name');
CREATE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON holdfast.links
	FOR EACH ROW EXECUTE FUNCTION holdfast.audit_change('link', 'value');

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

-- A link changes what it hangs on. A group that is deleted takes its members' links along without a word
-- on each: its own row has told.
CREATE FUNCTION holdfast.notify_link() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
	link holdfast.links := CASE WHEN TG_OP = 'DELETE' THEN OLD ELSE NEW END;
	name text;
BEGIN
	IF current_setting('holdfast.quiet', true) = 'on' THEN
		RETURN NULL;
	END IF;
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
