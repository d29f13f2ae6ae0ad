-- What outlives the hub of MQTT sessions: sessions, subscriptions, queues, retained messages. Topics,
-- properties, payloads, wills and principals are sealed; AES-256-GCM under the data key of the device
-- that published, under a key of the hub where that is 0 (device_key and key_id 0). Each sealed
-- column is tied to its place: what was moved, swapped or edited does not open.

CREATE TABLE holdfast.sessions (
	session_id bigint PRIMARY KEY,
	key bytea NOT NULL UNIQUE,        -- kind of principal, principal, client id
	device_key bigint NOT NULL,       -- whose session it is; 0: no device's
	expiry bigint NOT NULL,           -- s; 4294967295: never
	offline_at timestamptz,           -- since when nobody is connected; NULL: somebody is
	sealed bytea NOT NULL,            -- the principal; under the hub's key
	will_device_key bigint,           -- who published the will, NULL as the next two: there is none
	will_key_id bigint,
	will bytea                        -- sealed
) WITH (fillfactor = 70);
CREATE INDEX sessions_device_key ON holdfast.sessions (device_key) WHERE device_key <> 0;
ALTER TABLE holdfast.sessions ALTER COLUMN sealed SET STORAGE EXTERNAL;
ALTER TABLE holdfast.sessions ALTER COLUMN will SET STORAGE EXTERNAL;

CREATE TABLE holdfast.subscriptions (
	session_id bigint NOT NULL,
	filter text COLLATE "C" NOT NULL, -- as sent, with "$share/{group}/"
	options integer NOT NULL,         -- bits 0 and 1: QoS, 2: No Local, 3: Retain As Published
	subscription_id bigint NOT NULL,  -- Subscription Identifier; 0: none
	PRIMARY KEY (session_id, filter)
) WITH (fillfactor = 85);

-- Queues of sessions (queue is the session's id) and of devices' commands (2^62 + device_key). Most
-- rows live for milliseconds: no index but the key, vacuumed by what has died and not by shares of
-- the table.
CREATE TABLE holdfast.queue (
	queue bigint NOT NULL,
	n bigint NOT NULL,                -- rises in a queue
	device_key bigint NOT NULL,       -- who published
	key_id bigint NOT NULL,
	received_at timestamptz NOT NULL,
	expires_at timestamptz,           -- Message Expiry Interval
	packet_id integer,                -- QoS 2: with which it was or is being sent
	origin bytea,                     -- QoS 2 as published: packet id (2 bytes), tag as in qos2_ids
	sealed bytea,                     -- NULL: released (PUBREC came), the packet id stays; both NULL: delivered
	PRIMARY KEY (queue, n)
) WITH (fillfactor = 90, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000,
	autovacuum_vacuum_insert_scale_factor = 0.5, autovacuum_vacuum_insert_threshold = 200000,
	autovacuum_analyze_scale_factor = 0.5, autovacuum_analyze_threshold = 100000,
	autovacuum_vacuum_cost_delay = 0, toast.autovacuum_vacuum_scale_factor = 0,
	toast.autovacuum_vacuum_threshold = 20000, toast.autovacuum_vacuum_cost_delay = 0);
ALTER TABLE holdfast.queue ALTER COLUMN sealed SET STORAGE EXTERNAL;

CREATE TABLE holdfast.retained (
	topic_mac bytea PRIMARY KEY,      -- HMAC of the topic, 16 bytes
	device_key bigint NOT NULL,       -- who published
	key_id bigint NOT NULL,
	received_at timestamptz NOT NULL,
	expires_at timestamptz,
	sealed bytea NOT NULL
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05);
CREATE INDEX retained_device_key ON holdfast.retained (device_key) WHERE device_key <> 0;
ALTER TABLE holdfast.retained ALTER COLUMN sealed SET STORAGE EXTERNAL;

-- When the message came in: with it, a message that is sent again after a restart finds the copies
-- of it that are queued already, and takes no earlier one with the same content for it.
ALTER TABLE holdfast.qos2_ids ADD COLUMN received_at timestamptz;
