/*
 * The properties of a stored message: MQTT 5 user properties and the property bag of Azure's topics
 * (devices/{id}/messages/events/{bag}), as one set of unique names. Any thread.
 */
#ifndef HF_API_BAG_H
#define HF_API_BAG_H

#include "server/base/slice.h"

struct api_bag_entry {
	struct slice name, value;
	bool null;   /* a key of the bag that stands alone, without '=' */
	bool hidden; /* a repetition, or shown elsewhere (content type and encoding) */
};

struct api_bag {
	struct api_bag_entry
	        *entries; /* in order of first appearance; of a name the last value counts */
	size_t n, size;
	struct slice content_type, content_encoding; /* p NULL: none */
	char *text;                                  /* what was percent-decoded */
};

/* The bag's part of a topic; false where the topic is not of that kind. */
bool api_bag_of_topic(struct slice topic, struct slice *ret);
/* Fills in an empty bag from topic and encoded MQTT 5 properties, which must outlive it. 0 or
 * ERR_NOMEM; free it with api_bag_done in both cases. */
int api_bag_read(struct api_bag *bag, struct slice topic, struct slice props);
void api_bag_done(struct api_bag *bag);

#endif
