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

-- ---- the chain of the audit log ----

-- ---- heads, records of retention ----

-- ---- erasure ----

-- ---- leases ----
