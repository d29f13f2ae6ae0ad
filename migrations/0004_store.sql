-- The store, finished: data keys that roll and can be destroyed, history that can be proved, leases of
-- sessions.

-- ---- keys ----

-- The key that signs heads of chains, records of retention and receipts of erasure. One row.
CREATE TABLE holdfast.signing (
	one boolean PRIMARY KEY DEFAULT true CHECK (one),
	public_key bytea NOT NULL,    -- Ed25519
	wrapped bytea NOT NULL
);

-- The master key that wraps all this, by its public id; null: no rotation went over it yet.
ALTER TABLE holdfast.hub ADD COLUMN master_id bytea;

-- The rotation of the master key that is under way; no row: none is. stage: 1 hubs load the next key, 2
-- they wrap with it and what is there is wrapped anew, 3 nothing is left under the old one.
CREATE TABLE holdfast.rotation (
	one boolean PRIMARY KEY DEFAULT true CHECK (one),
	stage integer NOT NULL CHECK (stage BETWEEN 1 AND 3),
	old_id bytea NOT NULL,
	new_id bytea NOT NULL,
	started_at timestamptz NOT NULL DEFAULT now()
);

-- The master keys that a hub holds ('{}': it has ended), and the one that all that it still writes is
-- wrapped with. fence: the advisory lock that its lanes share for as long as they are connected.
ALTER TABLE holdfast.hubs ADD COLUMN holds bytea[] NOT NULL DEFAULT '{}';
ALTER TABLE holdfast.hubs ADD COLUMN wraps bytea;
ALTER TABLE holdfast.hubs ADD COLUMN fence bigint;

-- To wrap a key anew changes nothing that anybody would want to hear of. Only those who have the
-- owner's rights can say that this is what they do.
CREATE FUNCTION holdfast.rewrapping() RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog AS $$
	SELECT coalesce(current_setting('holdfast.rewrapping', true), '') = 'yes' AND pg_has_role(session_user,
		(SELECT relowner FROM pg_class WHERE oid = 'holdfast.hub'::regclass), 'USAGE')
$$;
DROP TRIGGER audit ON holdfast.devices;
CREATE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON holdfast.devices
	FOR EACH ROW WHEN (NOT holdfast.rewrapping()) EXECUTE FUNCTION holdfast.audit_change('device', 'id');
DROP TRIGGER audit ON holdfast.access_keys;
CREATE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON holdfast.access_keys
	FOR EACH ROW WHEN (NOT holdfast.rewrapping()) EXECUTE FUNCTION holdfast.audit_change('access-key', 'name');
DROP TRIGGER notify ON holdfast.devices;
CREATE TRIGGER notify AFTER INSERT OR UPDATE OR DELETE ON holdfast.devices
	FOR EACH ROW WHEN (NOT holdfast.rewrapping()) EXECUTE FUNCTION holdfast.notify_device();
DROP TRIGGER notify ON holdfast.access_keys;
CREATE TRIGGER notify AFTER INSERT OR UPDATE OR DELETE ON holdfast.access_keys
	FOR EACH ROW WHEN (NOT holdfast.rewrapping()) EXECUTE FUNCTION holdfast.notify_access_key();
-- ---- asking ----

-- Finds a time among the messages of all devices. A few bytes for 700 messages; nothing is written
-- when one comes, but when a range of pages is full.
CREATE INDEX telemetry_received_at ON holdfast.telemetry USING brin (received_at)
	WITH (pages_per_range = 32, autosummarize = on);

-- ---- chains of telemetry ----

-- The chain of every lane of every hub. base: where it stands once the partitions of its rows are gone,
-- position and hash of the last row that retention dropped.
CREATE TABLE holdfast.chains (
	chain bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
	hub_id text NOT NULL,
	lane integer NOT NULL,
	base_position bigint NOT NULL DEFAULT 0,
	base_hash bytea NOT NULL DEFAULT decode(repeat('00', 32), 'hex'),
	UNIQUE (hub_id, lane)
);

-- A row for each transaction of a lane that stored telemetry: n rows, numbered on from first_seq, received
-- on that day (one row for each day, where there are several). marks: the first 4 bytes of the digest of
-- each row; prev: the hash of the row before; hash: of all this and the whole digests (storage/chain.h).
-- Partitions by day, chain_YYYYMMDD, beside those of telemetry.
CREATE TABLE holdfast.chain (
	day date NOT NULL,
	chain bigint NOT NULL,
	position bigint NOT NULL,
	first_seq bigint NOT NULL,
	n integer NOT NULL CHECK (n > 0 AND length(marks) = 4 * n),
	prev bytea NOT NULL,
	marks bytea NOT NULL,
	hash bytea NOT NULL,
	committed_at timestamptz NOT NULL DEFAULT now(),
	PRIMARY KEY (chain, position, day)
) PARTITION BY RANGE (day);
ALTER TABLE holdfast.chain ALTER COLUMN marks SET STORAGE EXTERNAL;

-- ---- the chain of the audit log ----

-- Each row has the hash of the one before it: whoever alters, removes or adds one breaks every later one.
-- Rows that are too old go from the front, and leave a record of retention.
ALTER TABLE holdfast.audit ADD COLUMN position bigint;  -- 1, 2, … in the order of their transactions
ALTER TABLE holdfast.audit ADD COLUMN prev_hash bytea;  -- of position - 1; 32 bytes 0 for the first
ALTER TABLE holdfast.audit ADD COLUMN hash bytea;

-- What is locked by whoever adds a row, until his transaction ends. Its one row never changes: the last
-- row of the log is the head, so that a transaction of many rows leaves no dead ones to step over.
CREATE TABLE holdfast.audit_lock (
	one boolean PRIMARY KEY DEFAULT true CHECK (one)
);
INSERT INTO holdfast.audit_lock DEFAULT VALUES;

CREATE VIEW holdfast.audit_head AS
	SELECT position, hash FROM holdfast.audit ORDER BY position DESC LIMIT 1;

-- The canonical text is in storage/audit_hash.h, which computes the same.
CREATE FUNCTION holdfast.audit_hash(r holdfast.audit) RETURNS bytea
LANGUAGE sql STABLE SET search_path = pg_catalog AS $$
	SELECT sha256(convert_to('holdfast audit 1', 'UTF8') || r.prev_hash || string_agg(
		coalesce(int4send(octet_length(convert_to(u.t, 'UTF8'))) || convert_to(u.t, 'UTF8'),
			'\xffffffff'::bytea), ''::bytea ORDER BY u.n))
	FROM unnest(ARRAY[r.position::text, r.audit_id::text,
		(extract(epoch FROM r.at) * 1000000)::bigint::text, r.actor, r.actor_kind, r.role, r.source,
		r.trace_id, r.operation, r.outcome, r.reason, r.count::text, r.kind, r.name,
		r.before::text, r.after::text]) WITH ORDINALITY u(t, n)
$$;
REVOKE ALL ON FUNCTION holdfast.audit_hash(holdfast.audit) FROM PUBLIC;

-- For transactions that go on to lock other rows: taken first, it cannot be part of a deadlock.
CREATE FUNCTION holdfast.audit_begin() RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $$
BEGIN
	PERFORM FROM holdfast.audit_lock FOR UPDATE;
END $$;
REVOKE ALL ON FUNCTION holdfast.audit_begin() FROM PUBLIC;

-- Whatever is said of place and hash is overwritten. The second statement sees what was committed while
-- the first one waited; a transaction that could not (REPEATABLE READ) fails at the unique position.
CREATE FUNCTION holdfast.audit_chain() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $$
DECLARE
	head holdfast.audit_head;
BEGIN
	PERFORM FROM holdfast.audit_lock FOR UPDATE;
	SELECT * INTO head FROM holdfast.audit_head;
	NEW.position := coalesce(head.position, 0) + 1;
	NEW.prev_hash := coalesce(head.hash, decode(repeat('00', 32), 'hex'));
	NEW.hash := holdfast.audit_hash(NEW);
	RETURN NEW;
END $$;
REVOKE ALL ON FUNCTION holdfast.audit_chain() FROM PUBLIC;

-- What an older version has written is chained in its order.
DO $$
DECLARE
	r holdfast.audit;
	prev bytea := decode(repeat('00', 32), 'hex');
	n bigint := 0;
BEGIN
	FOR r IN SELECT * FROM holdfast.audit ORDER BY audit_id LOOP
		n := n + 1;
		r.position := n;
		r.prev_hash := prev;
		prev := holdfast.audit_hash(r);
		UPDATE holdfast.audit SET position = n, prev_hash = r.prev_hash, hash = prev
			WHERE audit_id = r.audit_id;
	END LOOP;
END $$;
ALTER TABLE holdfast.audit ALTER COLUMN position SET NOT NULL;
ALTER TABLE holdfast.audit ALTER COLUMN prev_hash SET NOT NULL;
ALTER TABLE holdfast.audit ALTER COLUMN hash SET NOT NULL;
CREATE UNIQUE INDEX audit_position ON holdfast.audit (position);
CREATE TRIGGER chain BEFORE INSERT ON holdfast.audit
	FOR EACH ROW EXECUTE FUNCTION holdfast.audit_chain();

-- ---- heads, records of retention ----

-- At an interval one hub ties all chains together: body is the text of storage/head.h, signature is Ed25519 by
-- the key of holdfast.signing. Kept for good; the hub's role adds them and no more.
CREATE TABLE holdfast.heads (
	head_id bigint PRIMARY KEY,   -- 1, 2, … without gaps
	at timestamptz NOT NULL,
	body text NOT NULL,
	signature bytea NOT NULL
);
CREATE INDEX heads_at ON holdfast.heads (at, head_id);

-- What retention took away of the chains, signed likewise, written in the transaction that takes it away.
CREATE TABLE holdfast.retention_records (
	record_id bigint PRIMARY KEY,
	at timestamptz NOT NULL,
	body text NOT NULL,
	signature bytea NOT NULL
);
CREATE INDEX retention_records_at ON holdfast.retention_records (at, record_id);

-- ---- erasure ----

-- A device has several data keys over time: the newest one seals, each row says which one opens it.
ALTER TABLE holdfast.data_keys DROP CONSTRAINT data_keys_device_key_key;
CREATE INDEX data_keys_device_key ON holdfast.data_keys (device_key, key_id);

-- Counts erasures: a lane that loaded its keys before one of them seals nothing under what it has.
-- Asked for by its key: lanes do without sequential scans, and a plan that needs one is so dear that it is
-- compiled first, which takes a third of a second.
CREATE TABLE holdfast.key_epoch (
	one boolean PRIMARY KEY DEFAULT true CHECK (one),
	epoch bigint NOT NULL
);
INSERT INTO holdfast.key_epoch (epoch) VALUES (0);

-- First in each transaction of a lane. Erasures wait until it ends; the second statement sees those that
-- it waited for.
CREATE FUNCTION holdfast.keys_hold(loaded bigint) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
	PERFORM pg_advisory_xact_lock_shared(7525352680829580152);
	IF (SELECT epoch FROM holdfast.key_epoch WHERE one) <> loaded THEN
		RAISE EXCEPTION 'data keys were destroyed' USING ERRCODE = 'HF001';
	END IF;
END $$;

-- Receipts of erasures: body is signed as heads are, for the purpose "erasure". Kept for good; the hub's
-- role adds them and no more. They are numbered in the order in which they are committed.
CREATE TABLE holdfast.erasures (
	erasure_id bigint PRIMARY KEY,
	device_key bigint NOT NULL,
	device text COLLATE "C" NOT NULL,
	at timestamptz NOT NULL,
	body text NOT NULL,
	signature bytea NOT NULL
);
CREATE INDEX erasures_device ON holdfast.erasures (device, erasure_id);
CREATE TRIGGER audit AFTER INSERT ON holdfast.erasures
	FOR EACH ROW EXECUTE FUNCTION holdfast.audit_change('erasure', 'device');

-- Destroys the data keys of a device, what is retained of it, and the commands that wait for it. fresh is
-- the key that it goes on with. False, and nothing is done: the receipt is not the one behind the last, or
-- the keys that it names are not the device's keys any more. What waits of it in the queues of others
-- cannot be read from then on; upkeep clears it.
CREATE FUNCTION holdfast.erase(receipt holdfast.erasures, keys bigint[], fresh_id bigint, fresh bytea)
RETURNS boolean LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
	PERFORM pg_advisory_xact_lock(7525352680829580152);
	PERFORM FROM holdfast.devices WHERE device_key = receipt.device_key FOR UPDATE;
	IF NOT FOUND OR (SELECT epoch + 1 FROM holdfast.key_epoch WHERE one) <> receipt.erasure_id
		OR (SELECT array_agg(key_id ORDER BY key_id) FROM holdfast.data_keys
			WHERE device_key = receipt.device_key) IS DISTINCT FROM keys THEN
		RETURN false;
	END IF;
	UPDATE holdfast.key_epoch SET epoch = receipt.erasure_id WHERE one;
	DELETE FROM holdfast.data_keys WHERE device_key = receipt.device_key;
	INSERT INTO holdfast.data_keys (key_id, device_key, wrapped) VALUES (fresh_id, receipt.device_key, fresh);
	DELETE FROM holdfast.retained WHERE device_key = receipt.device_key;
	DELETE FROM holdfast.queue WHERE queue = 4611686018427387904 + receipt.device_key;
	INSERT INTO holdfast.erasures SELECT receipt.*;
	PERFORM pg_notify('holdfast_changes', 'ed ' || receipt.device_key || ' ' || receipt.device);
	RETURN true;
END $$;
REVOKE ALL ON FUNCTION holdfast.keys_hold(bigint) FROM PUBLIC;
REVOKE ALL ON FUNCTION holdfast.erase(holdfast.erasures, bigint[], bigint, bytea) FROM PUBLIC;

-- ---- leases ----

-- A hub renews its lease every second (beat). Whoever takes over what a dead one owned raises its
-- incarnation first: it cannot come back as if nothing had happened.
ALTER TABLE holdfast.hubs ADD COLUMN beat bigint NOT NULL DEFAULT 0,
	ADD COLUMN incarnation bigint NOT NULL DEFAULT 0;

-- The hub on which a session lives, and how often it changed hands; empty: nobody's yet.
ALTER TABLE holdfast.sessions ADD COLUMN owner text COLLATE "C" NOT NULL DEFAULT '',
	ADD COLUMN fence bigint NOT NULL DEFAULT 0;
CREATE INDEX sessions_owner ON holdfast.sessions (owner);
