// AWS's device SDKs, both generations: connects with a certificate, or through a custom authoriser, subscribes,
// publishes to the same topic and waits for the message. Prints "received", or "refused".
//   HF_SDK  v1, v2, v2-custom; HF_PORT; HF_CLIENT; HF_TOPIC; HF_CA, HF_CERT, HF_KEY: files
//   HF_AUTHORIZER, HF_TOKEN_NAME, HF_TOKEN, HF_SIGNATURE  for v2-custom
const fs = require('node:fs');

const env = process.env;
const port = Number(env.HF_PORT);

function first() {
  const awsIot = require('aws-iot-device-sdk');
  const device = awsIot.device({
    host: 'localhost', port, clientId: env.HF_CLIENT, caPath: env.HF_CA, certPath: env.HF_CERT,
    keyPath: env.HF_KEY, reconnectPeriod: 0,
  });
  return new Promise((resolve) => {
    let connected = false;
    device.on('connect', () => {
      connected = true;
      device.subscribe(env.HF_TOPIC, { qos: 1 }, (error, granted) => {
        if (error || granted.some((g) => g.qos > 2)) {
          resolve('refused');
        } else {
          device.publish(env.HF_TOPIC, '{"from":"aws-v1"}', { qos: 1 });
        }
      });
    });
    device.on('message', () => resolve('received'));
    device.on('error', () => resolve('refused'));
    device.on('close', () => resolve(connected ? 'closed' : 'refused'));
  });
}

function builder(iot) {
  const make = iot.AwsIotMqtt5ClientConfigBuilder;
  let b;
  if (env.HF_SDK === 'v2') {
    b = make.newDirectMqttBuilderWithMtlsFromPath('localhost', env.HF_CERT, env.HF_KEY);
  } else {
    b = make.newDirectMqttBuilderWithCustomAuth('localhost', {
      authorizerName: env.HF_AUTHORIZER,
      username: env.HF_CLIENT,
      password: Buffer.from('from the sdk'),
      tokenKeyName: env.HF_TOKEN_NAME,
      tokenValue: env.HF_TOKEN,
      tokenSignature: env.HF_SIGNATURE,
    });
  }
  b.withCertificateAuthorityFromPath(undefined, env.HF_CA);
  b.withPort(port);
  b.withConnectProperties({ keepAliveIntervalSeconds: 60, clientId: env.HF_CLIENT });
  return b;
}

function second() {
  const { iot, mqtt5 } = require('aws-iot-device-sdk-v2');
  const client = new mqtt5.Mqtt5Client(builder(iot).build());
  return new Promise((resolve) => {
    client.on('connectionSuccess', async () => {
      try {
        const ack = await client.subscribe({
          subscriptions: [{ topicFilter: env.HF_TOPIC, qos: mqtt5.QoS.AtLeastOnce }],
        });
        if (ack.reasonCodes.some((code) => code >= 128)) {
          resolve('refused');
          return;
        }
        const put = await client.publish({
          topicName: env.HF_TOPIC, qos: mqtt5.QoS.AtLeastOnce, payload: '{"from":"aws-v2"}',
        });
        if (put.reasonCode >= 128) {
          resolve('refused');
        }
      } catch {
        resolve('refused');
      }
    });
    client.on('messageReceived', () => resolve('received'));
    client.on('connectionFailure', () => resolve('refused'));
    client.on('error', () => resolve('refused'));
    client.start();
  });
}

if (![env.HF_CA, ...(env.HF_CERT ? [env.HF_CERT] : [])].every((f) => fs.existsSync(f))) {
  console.error('no such certificate');
  process.exit(1);
}
(env.HF_SDK === 'v1' ? first() : second()).then((word) => {
  console.log(word);
  process.exit(0);
});
