/* What an MQTT user name claims. Any thread; no allocation. */
#ifndef HF_REGISTRY_AUTH_CREDS_MQTT_H
#define HF_REGISTRY_AUTH_CREDS_MQTT_H

#include "server/base/slice.h"

struct creds_mqtt {
	bool is_key;     /* "key/{name}": a back end */
	struct slice id; /* the key's name, or the device id with "/module" for modules */
};

/*
 * The forms of CONTRACT section 5:
 *   key/{name}
 *   {host}/{deviceId}[/{moduleId}]/?api-version=…   (and without the '?', members in any order)
 *   {deviceId}[/{moduleId}]
 * The host is whatever a device was told to connect to (a gateway, an old name): what counts is the
 * one that its token signs. False: none of them. The id is not checked further. *ret is a view.
 */
bool creds_mqtt_parse(struct slice username, struct creds_mqtt *ret);

#endif
