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

-- ---- heads, records of retention ----

-- ---- erasure ----

-- ---- leases ----
