-- The store, finished: data keys that roll and can be destroyed, history that can be proved, leases of
-- sessions.

-- ---- keys ----

-- The key that signs heads of chains, records of retention and receipts of erasure. One row.
CREATE TABLE holdfast.signing (
	one boolean PRIMARY KEY DEFAULT true CHECK (one),
	public_key bytea NOT NULL,    -- Ed25519
	wrapped bytea NOT NULL
);

-- ---- chains of telemetry ----

-- ---- the chain of the audit log ----

-- ---- heads, records of retention ----

-- ---- erasure ----

-- ---- leases ----
