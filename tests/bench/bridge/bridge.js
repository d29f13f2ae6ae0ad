// The stack that Holdfast replaces, as a peer for make bench: subscribes to everything at a broker,
// encrypts each message (AES-256-GCM) and inserts batches of up to 500 rows or 20 ms into PostgreSQL.
// The publisher's acknowledgement comes from the broker, before anything is stored.
import crypto from 'node:crypto';
import fs from 'node:fs';
import mqtt from 'mqtt';
import pg from 'pg';

const { BRIDGE_URL, BRIDGE_CA, BRIDGE_PGHOST, BRIDGE_PGUSER } = process.env;
const db = new pg.Client({ host: BRIDGE_PGHOST, user: BRIDGE_PGUSER, database: 'bridge' });
const key = crypto.randomBytes(32);
let rows = [];
let busy = false;
let timer = null;
let stored = 0;

function seal(payload) {
  const nonce = crypto.randomBytes(12);
  const cipher = crypto.createCipheriv('aes-256-gcm', key, nonce);
  return Buffer.concat([nonce, cipher.update(payload), cipher.final(), cipher.getAuthTag()]);
}

async function flush() {
  clearTimeout(timer);
  timer = null;
  if (busy || rows.length === 0) return;
  busy = true;
  const batch = rows.splice(0, 500);
  const values = [];
  const places = batch.map((r, i) => {
    values.push(r.device, r.at, r.sealed);
    return `($${3 * i + 1},$${3 * i + 2},$${3 * i + 3})`;
  });
  await db.query({
    text: `INSERT INTO telemetry (device_id, received_at, sealed) VALUES ${places.join(',')}`,
    values,
  });
  stored += batch.length;
  busy = false;
  if (rows.length >= 500) setImmediate(flush);
  else if (rows.length) timer = setTimeout(flush, 20);
}

await db.connect();
await db.query('CREATE TABLE IF NOT EXISTS telemetry (device_id text, received_at timestamptz,'
  + ' sealed bytea)');
await db.query('CREATE INDEX IF NOT EXISTS telemetry_device ON telemetry (device_id, received_at)');
const client = mqtt.connect(BRIDGE_URL, { ca: BRIDGE_CA && fs.readFileSync(BRIDGE_CA), clientId: 'bridge' });
client.on('message', (topic, payload) => {
  rows.push({ device: topic.split('/')[1], at: new Date(), sealed: seal(payload) });
  if (rows.length >= 500) flush();
  else if (!timer) timer = setTimeout(flush, 20);
});
client.on('connect', () => client.subscribe('devices/#', { qos: 1 }, () => console.log('ready')));
process.on('SIGUSR2', () => console.log(`stored ${stored} waiting ${rows.length}`));
