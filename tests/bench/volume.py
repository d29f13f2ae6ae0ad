"""Ingest into a large table beside an empty one: 30 partitions, HF_BENCH_ROWS rows (50 million for the
figure in the README; less by default, to keep `make bench` short), and the bytes that a row takes."""
import os
import statistics

from measure import ROUNDS, load, results, table

ROWS = int(os.environ.get("HF_BENCH_ROWS", "3000000"))
DAYS = 30

# Loaded bare and indexed afterwards, then attached: what it is in the end is the same.
FILL = """
DO $$
DECLARE
	day date := (now() AT TIME ZONE 'UTC')::date - {back};
	name text := 'telemetry_' || to_char((now() AT TIME ZONE 'UTC')::date - {back}, 'YYYYMMDD');
BEGIN
	IF to_regclass('holdfast.' || name) IS NOT NULL THEN
		EXECUTE format('ALTER TABLE holdfast.telemetry DETACH PARTITION holdfast.%I', name);
		EXECUTE format('DROP TABLE holdfast.%I', name);
	END IF;
	EXECUTE format('CREATE TABLE holdfast.%I (LIKE holdfast.telemetry INCLUDING STORAGE)', name);
	EXECUTE format('INSERT INTO holdfast.%I (device_key, received_at, seq, key_id, sealed)'
		' SELECT 1 + i %% 100000, ($1::text || '' 00:00:00+00'')::timestamptz + i * interval ''20 ms'','
		' {first}::bigint + i, 1 + i %% 100000, convert_to(repeat(md5(i::text), 9), ''UTF8'')'
		' FROM generate_series(0, {rows} - 1) i', name) USING day;
	EXECUTE format('ALTER TABLE holdfast.%I ADD PRIMARY KEY (device_key, received_at, seq)', name);
	EXECUTE format('ALTER TABLE holdfast.telemetry ATTACH PARTITION holdfast.%I FOR VALUES FROM'
		' (%L) TO (%L)', name, day || ' 00:00:00+00', day + 1 || ' 00:00:00+00');
END $$"""


def fill(pg):
    """Old messages of 100,000 devices that are gone, day by day, yesterday last."""
    rows = ROWS // DAYS
    for back in range(DAYS, 0, -1):
        pg.sql(FILL.format(back=back, rows=rows, first=-(back + 1) * rows))
    pg.sql("ANALYZE telemetry")
    pg.sql("CHECKPOINT")


def bytes_a_row(pg):
    """Of the messages that the hub itself has stored: heap and index, by the row."""
    return float(pg.sql(
        "SELECT sum(pg_total_relation_size(i.inhrelid))::float8 / nullif((SELECT count(*) FROM telemetry"
        " WHERE seq > 0), 0) FROM pg_inherits i WHERE i.inhparent = 'holdfast.telemetry'::regclass")[0][0])


def bench_volume(new_hub):
    """Interleaved rounds, 100 connections flat out."""
    empty, full = new_hub(), new_hub()
    fill(full.pg)
    rows = {"empty": [], "full": []}
    for i in range(ROUNDS + 1):
        for name, ours in (("empty", empty), ("full", full)):
            r = load("pub", *ours.words(), "--pubs", 100, pids=ours.pids(), label=name)
            if i:
                rows[name].append(r)
    size = bytes_a_row(empty.pg)
    empty.stop()
    full.stop()
    ratio = {f: statistics.median(b[f] / a[f] for a, b in zip(rows["empty"], rows["full"]))
             for f in ("ack_s", "cpu_us_pub")}
    results["volume"] = {"rows": ROWS, "rounds": rows, "ratio": ratio, "bytes": size}
    table(f"Ingest into {ROWS:,} rows in {DAYS} partitions, to an empty table (goal: within 10 %)", [
        ("messages a second", f"{ratio['ack_s']:.2f}"), ("CPU a message", f"{ratio['cpu_us_pub']:.2f}"),
        ("bytes on disk a message of 200 (goal: 420)", f"{size:.0f}")])
