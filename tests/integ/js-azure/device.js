// Azure's device SDK over MQTT against a hub: prints every message that it is sent as one line of JSON and
// completes it. HF_CONNECTION, HF_CA: who and where; HF_COUNT: how many messages to wait for.
const fs = require('node:fs');
const { Client } = require('azure-iot-device');
const { Mqtt } = require('azure-iot-device-mqtt');

const { HF_CONNECTION, HF_CA, HF_COUNT } = process.env;

async function run() {
  const client = Client.fromConnectionString(HF_CONNECTION, Mqtt);
  await client.setOptions({ ca: fs.readFileSync(HF_CA, 'utf8') });
  let left = Number(HF_COUNT);
  const done = new Promise((resolve, reject) => {
    client.on('error', reject);
    client.on('message', async (message) => {
      const properties = {};
      for (let i = 0; i < message.properties.count(); i += 1) {
        const { key, value } = message.properties.getItem(i);
        properties[key] = value;
      }
      console.log(JSON.stringify({
        data: message.data.toString(),
        messageId: message.messageId,
        correlationId: message.correlationId,
        to: message.to,
        contentType: message.contentType,
        contentEncoding: message.contentEncoding,
        properties,
      }));
      await client.complete(message);
      left -= 1;
      if (left === 0) {
        resolve();
      }
    });
  });
  await client.open();
  await done;
  await client.close();
}

run().catch((error) => {
  console.error(error);
  process.exit(1);
});
