-- The spine: devices and their keys, access keys, tokens, telemetry.
-- Runs in one transaction, as the owner of the database; the hub's role gets its rights from
-- grants.c of the storage room after each migration. Keys are wrapped by the master key before they
-- come here; sealed columns are AES-256-GCM; nothing secret is in clear.

-- One row: what the master key opens, and whether the database has been seeded.
CREATE TABLE holdfast.hub (
	one boolean PRIMARY KEY DEFAULT true CHECK (one),
	master_check bytea NOT NULL,  -- a known text, wrapped: tells a wrong master key
	mac_key bytea NOT NULL,       -- of secrets, tokens, tags; wrapped
	seal_key bytea NOT NULL,      -- of what belongs to no device; wrapped
	seeded_at timestamptz NOT NULL DEFAULT now()
);

-- Numbers. Rows of telemetry take their seq from blocks as large as the largest batch, drawn after the
-- messages were received: what is received after another message's commit has the higher one.
CREATE SEQUENCE holdfast.telemetry_seq INCREMENT BY 8192;
-- The first 4 bytes of a nonce: one for each connection of each lane, never twice.
CREATE SEQUENCE holdfast.writer_seq MAXVALUE 4294967295 NO CYCLE;
CREATE SEQUENCE holdfast.etag_seq;
CREATE SEQUENCE holdfast.device_seq;
CREATE SEQUENCE holdfast.key_seq;

-- One generation of a device a row; device_key is its number for good.
CREATE TABLE holdfast.devices (
	device_key bigint PRIMARY KEY,
	id text COLLATE "C" NOT NULL UNIQUE CHECK (octet_length(id) BETWEEN 1 AND 128),
	generation_id text NOT NULL,
	etag text NOT NULL,
	enabled boolean NOT NULL,
	status_reason text NOT NULL DEFAULT '',
	auth smallint NOT NULL,           -- enum device_auth
	primary_key bytea,                -- wrapped; sas
	secondary_key bytea,
	secret_mac bytea,                 -- HMAC; secret
	tags json NOT NULL DEFAULT '{}',
	created_at timestamptz NOT NULL DEFAULT now(),
	updated_at timestamptz NOT NULL DEFAULT now()
);

-- A device's data key, wrapped. Deleting its row makes the device's telemetry unreadable for good.
CREATE TABLE holdfast.data_keys (
	key_id bigint PRIMARY KEY,
	device_key bigint NOT NULL UNIQUE,
	wrapped bytea NOT NULL,
	created_at timestamptz NOT NULL DEFAULT now()
);

-- Generations that are gone, for hubs that did not hear of it.
CREATE TABLE holdfast.device_tombstones (
	device_key bigint PRIMARY KEY,
	id text COLLATE "C" NOT NULL,
	deleted_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX device_tombstones_deleted_at ON holdfast.device_tombstones (deleted_at);

CREATE TABLE holdfast.access_keys (
	name text COLLATE "C" PRIMARY KEY CHECK (octet_length(name) BETWEEN 1 AND 64),
	perms integer NOT NULL,           -- enum permission
	etag text NOT NULL,
	primary_key bytea NOT NULL,       -- wrapped
	secondary_key bytea NOT NULL,
	created_at timestamptz NOT NULL DEFAULT now(),
	updated_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE holdfast.tokens (
	mac bytea PRIMARY KEY,            -- HMAC of the token
	name text COLLATE "C" NOT NULL UNIQUE,
	role text NOT NULL,
	expires_at timestamptz,
	created_at timestamptz NOT NULL DEFAULT now()
);

-- When a device was last seen, by which hub. Hubs that say nothing for a minute have no connections.
CREATE TABLE holdfast.presence (
	device_key bigint PRIMARY KEY,
	connected boolean NOT NULL,
	connected_at timestamptz NOT NULL,
	last_activity_at timestamptz NOT NULL,
	hub_id text NOT NULL
);
CREATE INDEX presence_connected ON holdfast.presence (hub_id) WHERE connected;
CREATE TABLE holdfast.hubs (
	hub_id text PRIMARY KEY,
	seen_at timestamptz NOT NULL
);

-- Packet ids of QoS 2 messages that are stored and not released yet.
CREATE TABLE holdfast.qos2_ids (
	device_key bigint NOT NULL,
	session text COLLATE "C" NOT NULL,
	packet_id integer NOT NULL,
	tag bytea NOT NULL,               -- HMAC of topic and payload
	PRIMARY KEY (device_key, session, packet_id)
);

CREATE TABLE holdfast.idempotency (
	key_mac bytea PRIMARY KEY,        -- HMAC of the Idempotency-Key
	request_hash bytea NOT NULL,
	status integer NOT NULL,
	sealed bytea NOT NULL,            -- location and body
	created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX idempotency_created_at ON holdfast.idempotency (created_at);

-- Partitions by day (UTC), telemetry_YYYYMMDD, are made ahead and dropped by the hub's maintenance.
CREATE TABLE holdfast.telemetry (
	device_key bigint NOT NULL,
	received_at timestamptz NOT NULL,
	seq bigint NOT NULL,
	key_id bigint NOT NULL,
	sealed bytea NOT NULL,
	PRIMARY KEY (device_key, received_at, seq)
) PARTITION BY RANGE (received_at);
-- Sealed bytes do not compress: do not try.
ALTER TABLE holdfast.telemetry ALTER COLUMN sealed SET STORAGE EXTERNAL;

-- Rows that the database refused, as they would have been stored, with its reason.
CREATE TABLE holdfast.dead_letters (
	device_key bigint NOT NULL,
	received_at timestamptz NOT NULL,
	seq bigint NOT NULL,
	key_id bigint NOT NULL,
	sealed bytea NOT NULL,
	sqlstate text NOT NULL,
	refused_at timestamptz NOT NULL DEFAULT now(),
	PRIMARY KEY (device_key, received_at, seq)
);

-- The change feed: every hub hears of every change, in the transaction that makes it.
-- Payload: c (changed) or g (gone), d (device) or k (access key), device_key, id.
CREATE FUNCTION holdfast.notify_device() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
	IF TG_OP = 'DELETE' THEN
		PERFORM pg_notify('holdfast_changes', 'gd ' || OLD.device_key || ' ' || OLD.id);
	ELSE
		PERFORM pg_notify('holdfast_changes', 'cd ' || NEW.device_key || ' ' || NEW.id);
	END IF;
	RETURN NULL;
END $$;
CREATE TRIGGER notify AFTER INSERT OR UPDATE OR DELETE ON holdfast.devices
	FOR EACH ROW EXECUTE FUNCTION holdfast.notify_device();

CREATE FUNCTION holdfast.notify_access_key() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
	IF TG_OP = 'DELETE' THEN
		PERFORM pg_notify('holdfast_changes', 'gk 0 ' || OLD.name);
	ELSE
		PERFORM pg_notify('holdfast_changes', 'ck 0 ' || NEW.name);
	END IF;
	RETURN NULL;
END $$;
CREATE TRIGGER notify AFTER INSERT OR UPDATE OR DELETE ON holdfast.access_keys
	FOR EACH ROW EXECUTE FUNCTION holdfast.notify_access_key();
