/*
 * The hub's side of the process that keeps the master keys (keyd.h): requests and their answers.
 * A few channels, so that callers of different threads do not wait for each other.
 */
#include "storage/keyring.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "server/base/buf.h"
#include "server/base/cleanup.h"
#include "server/base/err.h"
#include "server/base/log.h"
#include "storage/envelope.h"
#include "storage/keyd.h"
#include "storage/pg.h"

static const char check_text[] = "holdfast master key";

struct channel {
	pthread_mutex_t lock;
	int fd;
	struct buf request;
	uint8_t *reply; /* KEYD_PACKET_MAX bytes */
	size_t reply_len;
};

/* The link to the process; the keys of the hub that are used for each message stay here. */
struct keyring {
	struct channel *channels; /* KEYD_CHANNELS of them */
	pid_t pid;
	uint8_t mac[CRYPTO_KEY_LEN];    /* of secrets, tokens */
	uint8_t qos2[CRYPTO_KEY_LEN];   /* of QoS 2 tags, derived from mac */
	uint8_t seal[CRYPTO_KEY_LEN];   /* of what belongs to no device */
	uint8_t record[CRYPTO_KEY_LEN]; /* of records of no device, derived from seal */
	uint8_t public[CRYPTO_SIGN_KEY_LEN];
};

/* ---- the end of it ---- */

/* Without its keys a hub can let nobody in and seal for nobody new. What was acknowledged is
 * stored, so it ends at once: whatever started it starts it again. */
HF_NORETURN static void lost(const struct keyring *k)
{
	static atomic_flag said = ATOMIC_FLAG_INIT;
	int status = 0;

	if (atomic_flag_test_and_set(&said)) {
		for (;;)
			pause();
	}
	(void)waitpid(k->pid, &status, WNOHANG);
	log_error("the process that keeps the keys has ended: the hub ends too",
	        F_I64("process", k->pid),
	        F_I64("signal", WIFSIGNALED(status) ? WTERMSIG(status) : 0));
	log_stop(); /* writes what is queued */
	_exit(KEYRING_EXIT_LOST);
}

void keyring_watch(const struct keyring *k)
{
	siginfo_t info = {0};

	/* Left to lost, or to keyring_free, to take away. */
	if (waitid(P_PID, (id_t)k->pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
	        info.si_pid == k->pid)
		lost(k);
}

/* ---- a request ---- */

/* A channel that is free, from a different one on in each thread. */
static struct channel *take_channel(const struct keyring *k, enum keyd_op op)
{
	static _Atomic unsigned threads;
	static _Thread_local unsigned mine;

	if (mine == 0)
		mine = 1 + atomic_fetch_add(&threads, 1) % KEYD_CHANNELS;
	unsigned i = 0;
	while (i < KEYD_CHANNELS &&
	        pthread_mutex_trylock(&k->channels[(mine + i) % KEYD_CHANNELS].lock) != 0)
		i++;
	struct channel *c = &k->channels[(mine + i) % KEYD_CHANNELS];
	if (i == KEYD_CHANNELS)
		pthread_mutex_lock(&c->lock);
	buf_truncate(&c->request, 0);
	c->reply_len = 0;
	(void)buf_append_byte(&c->request, (uint8_t)op); /* it has its memory since it was made */
	return c;
}

static void give_channel(struct channel *c)
{
	struct slice request = buf_slice(&c->request);

	crypto_wipe(c->request.data + c->request.start, request.n);
	crypto_wipe(c->reply, c->reply_len);
	pthread_mutex_unlock(&c->lock);
}

/* Sends the request and waits for the reply; its status. */
static int exchange(const struct keyring *k, struct channel *c)
{
	struct slice request = buf_slice(&c->request);
	ssize_t n;

	do
		n = send(c->fd, request.p, request.n, MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	if (n != (ssize_t)request.n)
		lost(k);
	do
		n = recv(c->fd, c->reply, KEYD_PACKET_MAX, 0);
	while (n < 0 && errno == EINTR);
	if (n < 1)
		lost(k);
	c->reply_len = (size_t)n;
	return -(int)c->reply[0];
}

/* A request without items, whose reply has n bytes. */
static int ask(const struct keyring *k, enum keyd_op op, struct slice body, void *ret, size_t n)
{
	struct channel *c = take_channel(k, op);
	int err = buf_append(&c->request, body.p, body.n);

	if (err == 0)
		err = exchange(k, c);
	if (err == 0 && c->reply_len != 1 + n)
		err = ERR_INTERNAL;
	if (err == 0 && n > 0)
		memcpy(ret, c->reply + 1, n);
	give_channel(c);
	return err;
}

/* ---- making it ---- */

/* Locked memory of its own page: where the limit on locked memory is reached, it still works. */
static struct keyring *keyring_alloc(void)
{
	struct keyring *k = mmap(
	        NULL, sizeof(*k), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (k == MAP_FAILED)
		return NULL;
	(void)mlock(k, sizeof(*k));
	(void)madvise(k, sizeof(*k), MADV_DONTDUMP);
	return k;
}

static int make_channels(struct keyring *k)
{
	k->channels = calloc(KEYD_CHANNELS, sizeof(*k->channels));
	for (unsigned i = 0; k->channels && i < KEYD_CHANNELS; i++)
		k->channels[i].fd = -1;
	for (unsigned i = 0; k->channels && i < KEYD_CHANNELS; i++) {
		struct channel *c = &k->channels[i];

		pthread_mutex_init(&c->lock, NULL);
		buf_init(&c->request, KEYD_PACKET_MAX);
		c->reply = malloc(KEYD_PACKET_MAX);
		if (!c->reply || buf_ensure(&c->request, KEYD_PACKET_MAX) < 0)
			return ERR_NOMEM;
	}
	return k->channels ? 0 : ERR_NOMEM;
}

static int start(struct keyring *k, const struct key_source *source)
{
	int fds[KEYD_CHANNELS], err = make_channels(k);

	if (err == 0)
		err = keyd_start(source, fds, &k->pid);
	for (unsigned i = 0; err == 0 && i < KEYD_CHANNELS; i++)
		k->channels[i].fd = fds[i];
	return err;
}

/* It ends by itself before it has read any key only where it cannot be made safe. */
static bool ended(struct keyring *k, int *ret_status)
{
	struct slice op = {(const uint8_t[]){KEYD_IDS}, 1};
	char reply[64];

	if (send(k->channels[0].fd, op.p, op.n, MSG_NOSIGNAL) == 1 &&
	        recv(k->channels[0].fd, reply, sizeof(reply), 0) > 0)
		return false;
	*ret_status = -1;
	(void)waitpid(k->pid, ret_status, 0);
	k->pid = 0;
	return true;
}

static int tell_ended(int status, char *error, size_t size)
{
	if (WIFEXITED(status) && WEXITSTATUS(status) == KEYD_EXIT_UNCONFINED)
		snprintf(error, size,
		        "the process that keeps the keys cannot be confined: the kernel or what "
		        "this runs in forbids seccomp");
	else
		snprintf(error, size, "the process that keeps the keys cannot start");
	return ERR_IO;
}

int keyring_load(const struct key_source *source, struct keyring **ret, char *error, size_t size)
{
	struct keyring *k = keyring_alloc();
	int status = 0, err = k ? start(k, source) : ERR_NOMEM;

	if (err < 0)
		snprintf(error, size, "the process that keeps the keys cannot start: %s",
		        err == ERR_NOMEM ? "out of memory" : strerror(errno));
	else if (ended(k, &status))
		err = tell_ended(status, error, size);
	if (err == 0)
		err = keyring_reload(k, error, size);
	if (err < 0) {
		keyring_free(k);
		return err;
	}
	*ret = k;
	return 0;
}

int keyring_reload(struct keyring *k, char *error, size_t size)
{
	struct channel *c = take_channel(k, KEYD_RELOAD);
	int err = exchange(k, c);

	if (err == ERR_QUOTA)
		snprintf(error, size, "the master keys are being read");
	else if (err < 0)
		snprintf(error, size, "%.*s", (int)(c->reply_len - 1), (const char *)c->reply + 1);
	give_channel(c);
	return err;
}

int keyring_set_wrapping(struct keyring *k, bool next)
{
	const uint8_t byte = next;

	return ask(k, KEYD_SET_WRAPPING, slice_make(&byte, 1), NULL, 0);
}

int keyring_ids(const struct keyring *k, struct keyring_ids *ret)
{
	uint8_t got[1 + 2 * KEYRING_ID_LEN];
	int err = ask(k, KEYD_IDS, slice_make(NULL, 0), got, sizeof(got));

	if (err < 0)
		return err;
	*ret = (struct keyring_ids){
	        .has_next = got[0] & KEYD_HAS_NEXT, .wraps_next = got[0] & KEYD_WRAPS_NEXT};
	memcpy(ret->current, got + 1, KEYRING_ID_LEN);
	memcpy(ret->next, got + 1 + KEYRING_ID_LEN, KEYRING_ID_LEN);
	return 0;
}

void keyring_free(struct keyring *k)
{
	if (!k)
		return;
	for (unsigned i = 0; k->channels && i < KEYD_CHANNELS; i++) {
		struct channel *c = &k->channels[i];

		if (c->fd >= 0)
			close(c->fd);
		pthread_mutex_destroy(&c->lock);
		buf_free(&c->request);
		free(c->reply);
	}
	free(k->channels);
	while (k->pid > 0 && waitpid(k->pid, NULL, 0) < 0 && errno == EINTR)
		;
	crypto_wipe(k, sizeof(*k));
	munmap(k, sizeof(*k));
}

/* ---- items ---- */

static int put_owner(struct buf *b, const struct wrap_owner *o)
{
	size_t purpose = strlen(o->purpose);
	uint8_t head[1] = {(uint8_t)purpose},
	        name[2] = {(uint8_t)(o->name.n >> 8), (uint8_t)o->name.n};
	uint8_t numbers[16];

	if (purpose > KEYD_PURPOSE_MAX || o->name.n > KEYD_NAME_MAX)
		return ERR_INVALID;
	pg_store_u64(numbers, o->number);
	pg_store_u64(numbers + 8, o->which);
	int err = buf_append(b, head, sizeof(head));
	if (err == 0)
		err = buf_append(b, o->purpose, purpose);
	if (err == 0)
		err = buf_append(b, name, sizeof(name));
	if (err == 0)
		err = buf_append(b, o->name.p, o->name.n);
	return err < 0 ? err : buf_append(b, numbers, sizeof(numbers));
}

static int put_item(struct buf *b, const struct wrap_item *item)
{
	uint8_t length[2] = {(uint8_t)(item->in.n >> 8), (uint8_t)item->in.n};
	int err = put_owner(b, &item->owner);

	if (err == 0)
		err = buf_append(b, length, sizeof(length));
	return err < 0 ? err : buf_append(b, item->in.p, item->in.n);
}

/* As many of them as one request holds: how many. Their number stands before them. */
static size_t put_items(struct channel *c, const struct wrap_item *items, size_t n)
{
	uint8_t count[2] = {0};
	size_t done = 0;

	(void)buf_append(&c->request, count, sizeof(count));
	while (done < n && done < KEYD_ITEMS_MAX && buf_len(&c->request) < KEYD_REQUEST_MAX &&
	        put_item(&c->request, &items[done]) == 0)
		done++;
	uint8_t *at = c->request.data + c->request.start + 1;
	at[0] = (uint8_t)(done >> 8);
	at[1] = (uint8_t)done;
	return done;
}

/* One answer at *at: the item's err, changed and out. ERR_INTERNAL: there is none. */
static int take_answer(const struct channel *c, size_t *at, enum keyd_op op, struct wrap_item *item)
{
	const uint8_t *p = c->reply + *at;
	size_t left = c->reply_len - *at;
	size_t want = op == KEYD_WRAP ? item->in.n + WRAP_OVERHEAD
	        : op == KEYD_UNWRAP   ? item->in.n - WRAP_OVERHEAD
	                              : item->in.n;

	if (left < 4)
		return ERR_INTERNAL;
	size_t n = (size_t)p[2] << 8 | p[3];
	if (left < 4 + n || n != (p[0] ? 0 : want))
		return ERR_INTERNAL;
	item->err = -(int)p[0];
	item->changed = p[1];
	if (n > 0)
		memcpy(item->out, p + 4, n);
	*at += 4 + n;
	return 0;
}

static int take_answers(const struct channel *c, enum keyd_op op, struct wrap_item *items, size_t n)
{
	size_t at = 1;
	int err = 0;

	for (size_t i = 0; err == 0 && i < n; i++)
		err = take_answer(c, &at, op, &items[i]);
	return err;
}

static bool fits(enum keyd_op op, struct slice in)
{
	return op == KEYD_WRAP ? in.n <= WRAP_MAX - WRAP_OVERHEAD
	                       : in.n >= WRAP_OVERHEAD && in.n <= WRAP_MAX;
}

static void fail_all(struct wrap_item *items, size_t n, int err)
{
	for (size_t i = 0; i < n; i++)
		items[i].err = err;
}

/* The first of them, as many as one request takes: how many. */
static size_t work(const struct keyring *k, enum keyd_op op, struct wrap_item *items, size_t n)
{
	size_t good = 0;

	while (good < n && fits(op, items[good].in))
		good++;
	if (good == 0) {
		items[0].err = op == KEYD_WRAP ? ERR_TOO_BIG : ERR_CORRUPT;
		return 1;
	}
	struct channel *c = take_channel(k, op);
	size_t done = put_items(c, items, good);
	int err = done > 0 ? exchange(k, c) : ERR_INVALID;
	if (err == 0)
		err = take_answers(c, op, items, done);
	give_channel(c);
	done = done > 0 ? done : 1;
	if (err < 0)
		fail_all(items, done, err);
	return done;
}

static void work_all(const struct keyring *k, enum keyd_op op, struct wrap_item *items, size_t n)
{
	for (size_t done = 0; done < n;)
		done += work(k, op, items + done, n - done);
}

void keyring_unwrap_many(const struct keyring *k, struct wrap_item *items, size_t n)
{
	work_all(k, KEYD_UNWRAP, items, n);
}

void keyring_rewrap_many(const struct keyring *k, struct wrap_item *items, size_t n)
{
	work_all(k, KEYD_REWRAP, items, n);
}

int keyring_wrap(
        const struct keyring *k, const struct wrap_owner *owner, struct slice plain, uint8_t *out)
{
	struct wrap_item item = {.owner = *owner, .in = plain, .out = out};

	work_all(k, KEYD_WRAP, &item, 1);
	return item.err;
}

int keyring_unwrap(
        const struct keyring *k, const struct wrap_owner *owner, struct slice wrapped, uint8_t *out)
{
	struct wrap_item item = {.owner = *owner, .in = wrapped, .out = out};

	work_all(k, KEYD_UNWRAP, &item, 1);
	return item.err;
}

int keyring_rewrap(const struct keyring *k, const struct wrap_owner *owner, struct slice wrapped,
        uint8_t *out, bool *ret_changed)
{
	struct wrap_item item = {.owner = *owner, .in = wrapped, .out = out};

	work_all(k, KEYD_REWRAP, &item, 1);
	if (item.err == 0)
		*ret_changed = item.changed;
	return item.err;
}

/* ---- the keys of the hub ---- */

/* Keys for other uses are derived, so that one use's values tell nothing to another's. */
static void derive(struct keyring *k)
{
	crypto_hmac_sha256(
	        slice_make(k->mac, sizeof(k->mac)), SLICE_LIT("qos2"), SLICE_LIT(""), k->qos2);
	crypto_hmac_sha256(slice_make(k->seal, sizeof(k->seal)), SLICE_LIT("record"), SLICE_LIT(""),
	        k->record);
}

static int make_signing_key(struct keyring *k)
{
	return ask(k, KEYD_SIGN_MAKE, slice_make(NULL, 0), k->public, sizeof(k->public));
}

int keyring_make_hub_keys(struct keyring *k)
{
	crypto_random(k->mac, sizeof(k->mac));
	crypto_random(k->seal, sizeof(k->seal));
	derive(k);
	return make_signing_key(k);
}

int keyring_wrap_hub(const struct keyring *k, struct keyring_hub *ret)
{
	int err = keyring_wrap(
	        k, &(struct wrap_owner){.purpose = "check"}, slice_str(check_text), ret->check);

	if (err == 0)
		err = keyring_wrap(k, &(struct wrap_owner){.purpose = "hub-mac"},
		        slice_make(k->mac, sizeof(k->mac)), ret->mac);
	if (err == 0)
		err = keyring_wrap(k, &(struct wrap_owner){.purpose = "hub-seal"},
		        slice_make(k->seal, sizeof(k->seal)), ret->seal);
	if (err == 0)
		err = ask(k, KEYD_SIGN_WRAP, slice_make(NULL, 0), ret->sign,
		        CRYPTO_SIGN_KEY_LEN + WRAP_OVERHEAD);
	ret->check_len = sizeof(check_text) - 1 + WRAP_OVERHEAD;
	ret->mac_len = ret->seal_len = ret->sign_len = CRYPTO_KEY_LEN + WRAP_OVERHEAD;
	return err;
}

static int load_signing_key(struct keyring *k, const struct keyring_hub *hub)
{
	if (hub->sign_len == 0)
		return make_signing_key(k);
	return ask(k, KEYD_SIGN_LOAD, slice_make(hub->sign, hub->sign_len), k->public,
	        sizeof(k->public));
}

int keyring_unwrap_hub(struct keyring *k, const struct keyring_hub *hub)
{
	uint8_t text[WRAP_MAX];

	if (keyring_unwrap(k, &(struct wrap_owner){.purpose = "check"},
	            slice_make(hub->check, hub->check_len), text) < 0)
		return ERR_CONFLICT;
	if (hub->mac_len != CRYPTO_KEY_LEN + WRAP_OVERHEAD || hub->seal_len != hub->mac_len ||
	        keyring_unwrap(k, &(struct wrap_owner){.purpose = "hub-mac"},
	                slice_make(hub->mac, hub->mac_len), k->mac) < 0 ||
	        keyring_unwrap(k, &(struct wrap_owner){.purpose = "hub-seal"},
	                slice_make(hub->seal, hub->seal_len), k->seal) < 0 ||
	        load_signing_key(k, hub) < 0)
		return ERR_CORRUPT;
	derive(k);
	return 0;
}

int keyring_sign(const struct keyring *k, const char *purpose, struct slice message,
        uint8_t ret_signature[static CRYPTO_SIGNATURE_LEN])
{
	struct channel *c = take_channel(k, KEYD_SIGN);
	int err = buf_append(&c->request, purpose, strlen(purpose) + 1);

	if (err == 0)
		err = buf_append(&c->request, message.p, message.n);
	if (err == 0)
		err = exchange(k, c);
	if (err == 0 && c->reply_len != 1 + CRYPTO_SIGNATURE_LEN)
		err = ERR_INTERNAL;
	if (err == 0)
		memcpy(ret_signature, c->reply + 1, CRYPTO_SIGNATURE_LEN);
	give_channel(c);
	return err;
}

const uint8_t *keyring_public(const struct keyring *k)
{
	return k->public;
}

void keyring_mac(const struct keyring *k, const char *purpose, struct slice in,
        uint8_t out[static CRYPTO_HASH_LEN])
{
	crypto_hmac_sha256(slice_make(k->mac, sizeof(k->mac)),
	        slice_make(purpose, strlen(purpose) + 1), in, out);
}

void keyring_qos2_tag(
        const struct keyring *k, struct slice topic, struct slice payload, uint8_t tag[static 8])
{
	/* The topic's length is part of the key: where it ends cannot be moved. */
	uint8_t key[CRYPTO_KEY_LEN + 2], mac[CRYPTO_HASH_LEN];

	memcpy(key, k->qos2, CRYPTO_KEY_LEN);
	key[CRYPTO_KEY_LEN] = (uint8_t)(topic.n >> 8);
	key[CRYPTO_KEY_LEN + 1] = (uint8_t)topic.n;
	crypto_hmac_sha256(slice_make(key, sizeof(key)), topic, payload, mac);
	memcpy(tag, mac, 8);
	crypto_wipe(key, sizeof(key));
}

const uint8_t *keyring_record_key(const struct keyring *k)
{
	return k->record;
}

int keyring_seal(
        const struct keyring *k, const struct wrap_owner *owner, struct slice plain, uint8_t *out)
{
	return envelope_seal(k->seal, owner, plain, out);
}

int keyring_open(
        const struct keyring *k, const struct wrap_owner *owner, struct slice sealed, uint8_t *out)
{
	return envelope_open(k->seal, owner, sealed, out);
}
