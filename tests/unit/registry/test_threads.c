/* Several loops, a thread that changes devices as another hub would, one that answers look-ups
 * late: who changed a key and was told that every loop has forgotten must never see the old one
 * work. */
#include "tests/unit/registry/rig.h"

#define ROUNDS 60

static struct rig rig;
static atomic_bool stopping;

static void *answer_late(void *arg HF_UNUSED)
{
	while (!atomic_load(&stopping)) {
		if (fake_release(&rig.store) == 0)
			sched_yield();
	}
	return NULL;
}

static void *shake_feed(void *arg HF_UNUSED)
{
	while (!atomic_load(&stopping)) {
		fake_set_feed(&rig.store, false);
		sched_yield();
		fake_set_feed(&rig.store, true);
		registry_forget_all(rig.registry);
		usleep(2000); /* leaves the others a turn */
	}
	return NULL;
}

static void key_of_round(unsigned round, char out[static 40])
{
	snprintf(out, 40, "the key of round %u", round);
}

static void *change_keys(void *arg)
{
	const char *id = arg;
	char old[40], fresh[40];

	key_of_round(0, old);
	for (unsigned round = 1; round <= ROUNDS; round++) {
		key_of_round(round, fresh);
		rig_change_device(&rig, id, device->primary = rig_key(fresh));
		registry_forget(rig.registry, ENTITY_DEVICE, slice_str(id), true);
		for (unsigned loop = 0; loop < RIG_LOOPS; loop++) {
			ck_assert_int_eq(ask(&rig, loop, id, id, device_token(id, fresh)), 0);
			ck_assert_int_eq(ask(&rig, loop, id, id, device_token(id, old)),
			        ERR_UNAUTHENTICATED);
		}
		memcpy(old, fresh, sizeof(old));
	}
	crypto_thread_done();
	return NULL;
}

START_TEST(a_revoked_key_is_dead_everywhere)
{
	static char *const ids[] = {"d1", "d2", "d3"};
	pthread_t answering, feed, changing[ARRAY_LEN(ids)];
	char key[40];

	rig_start(&rig, RIG_LOOPS, 30000);
	key_of_round(0, key);
	for (unsigned i = 0; i < ARRAY_LEN(ids); i++)
		rig_add_device(&rig, ids[i], key);
	fake_set_hold(&rig.store, true);
	pthread_create(&answering, NULL, answer_late, NULL);
	pthread_create(&feed, NULL, shake_feed, NULL);
	for (unsigned i = 0; i < ARRAY_LEN(ids); i++)
		pthread_create(&changing[i], NULL, change_keys, ids[i]);
	for (unsigned i = 0; i < ARRAY_LEN(ids); i++)
		pthread_join(changing[i], NULL);
	atomic_store(&stopping, true);
	pthread_join(answering, NULL);
	pthread_join(feed, NULL);
	fake_set_hold(&rig.store, false);
	fake_release(&rig.store);
	rig_stop(&rig);
}
END_TEST

/* Limits change under load: nothing is torn, the names are the old or the new ones. */
START_TEST(limits_change_under_load)
{
	static char *const other[] = {"new.test", "hub.test"};
	struct registry_limits limits = rig_limits(5000), changed = limits;

	rig_start(&rig, RIG_LOOPS, 5000);
	rig_add_device(&rig, "d1", "the key of d1");
	changed.hub_names = other;
	for (unsigned i = 0; i < 200; i++) {
		ck_assert_int_eq(registry_set_limits(rig.registry, i % 2 ? &changed : &limits), 0);
		ck_assert_int_eq(
		        ask(&rig, i % RIG_LOOPS, "d1", "d1", device_token("d1", "the key of d1")),
		        0);
	}
	rig_stop(&rig);
}
END_TEST

UNIT_MAIN("registry threads", a_revoked_key_is_dead_everywhere, limits_change_under_load)
