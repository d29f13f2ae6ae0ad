// mqtt.js against a hub, in both versions: every QoS both ways, a retained message, a will, a session that
// is resumed after the connection is cut. Settings come by environment; prints one line for each check.
import fs from 'node:fs';
import mqtt from 'mqtt';

const { HF_URL, HF_ALPN, HF_CA, HF_DEVICE, HF_DEVICE_PASS, HF_BACKEND_PASS } = process.env;
const ca = fs.readFileSync(HF_CA);
const ALPNProtocols = HF_ALPN ? [HF_ALPN] : undefined;

function connect(options) {
  return new Promise((resolve, reject) => {
    const client = mqtt.connect(HF_URL, { ca, ALPNProtocols, reconnectPeriod: 200, connectTimeout: 10000, ...options });
    client.once('connect', (ack) => resolve([client, ack]));
    client.once('error', reject);
  });
}

function next(client) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error('no message came')), 10000);
    client.once('message', (topic, payload, packet) => {
      clearTimeout(timer);
      resolve({ topic, text: payload.toString(), packet });
    });
  });
}

function expect(what, got, wanted) {
  if (JSON.stringify(got) !== JSON.stringify(wanted)) {
    throw new Error(`${what}: got ${JSON.stringify(got)}, expected ${JSON.stringify(wanted)}`);
  }
}

async function run(protocolVersion) {
  const device = { clientId: HF_DEVICE, username: HF_DEVICE, password: HF_DEVICE_PASS, protocolVersion };
  const backEnd = {
    clientId: `js-${protocolVersion}`, username: 'key/service', password: HF_BACKEND_PASS, protocolVersion,
    clean: false, properties: protocolVersion === 5 ? { sessionExpiryInterval: 60 } : undefined,
  };
  const [app] = await connect(backEnd);
  const granted = await app.subscribeAsync(`devices/${HF_DEVICE}/#`, { qos: 2 });
  expect('granted', granted[0].qos, 2);
  const [dev] = await connect({
    ...device, will: { topic: `devices/${HF_DEVICE}/will`, payload: 'gone', qos: 1, retain: false },
  });
  for (const qos of [0, 1, 2]) {
    const message = next(app);
    await dev.publishAsync(`devices/${HF_DEVICE}/t`, `qos ${qos}`, { qos });
    const got = await message;
    expect('message', [got.text, got.packet.qos], [`qos ${qos}`, qos]);
  }
  // Cut the back end's connection: mqtt.js comes back by itself and takes its session up again.
  const back = new Promise((resolve) => { app.once('connect', resolve); });
  app.stream.destroy();
  await dev.publishAsync(`devices/${HF_DEVICE}/t`, 'meanwhile', { qos: 1 });
  const later = next(app);
  const ack = await back;
  expect('session present', ack.sessionPresent, true);
  expect('queued', (await later).text, 'meanwhile');
  const will = next(app);
  dev.options.reconnectPeriod = 0;
  dev.stream.destroy();
  expect('will', (await will).text, 'gone');
  await app.unsubscribeAsync(`devices/${HF_DEVICE}/#`);
  await Promise.all([app.endAsync(), dev.endAsync(true)]);
  console.log(`ok mqtt.js version ${protocolVersion}`);
}

await run(4);
await run(5);
