// Azure's device SDK: opens a connection as device or module, with a key or a certificate, sends one message,
// closes. Prints "sent", or what the SDK calls the error.
//   HF_CONNECTION  the connection string; HF_CA  who signed the hub's certificate
//   HF_CERT, HF_KEY  the client's certificate, where the connection string says x509=true
// With HF_SIGN it prints a token that azure-iot-common signs instead: HF_SIGN is its resource, HF_POLICY the
// name of the key or nothing, HF_SECRET the key.
const fs = require('node:fs');
const { Client, Message, ModuleClient } = require('azure-iot-device');
const { Mqtt } = require('azure-iot-device-mqtt');
const { SharedAccessSignature } = require('azure-iot-common');

const env = process.env;

function sign() {
  const expiry = Math.floor(Date.now() / 1000) + 600;
  return SharedAccessSignature.create(env.HF_SIGN, env.HF_POLICY || '', env.HF_SECRET, expiry).toString();
}

async function send() {
  const kind = env.HF_CONNECTION.includes('ModuleId=') ? ModuleClient : Client;
  const client = kind.fromConnectionString(env.HF_CONNECTION, Mqtt);
  const options = { ca: fs.readFileSync(env.HF_CA, 'utf8') };
  if (env.HF_CERT) {
    options.cert = fs.readFileSync(env.HF_CERT, 'utf8');
    options.key = fs.readFileSync(env.HF_KEY, 'utf8');
  }
  await client.setOptions(options);
  client.on('error', () => {});
  await client.open();
  await client.sendEvent(new Message(JSON.stringify({ from: 'azure' })));
  await client.close();
}

if (env.HF_SIGN) {
  console.log(sign());
} else {
  send().then(() => console.log('sent'), (error) => console.log(error.name || error.constructor.name))
    .finally(() => process.exit(0));
}
