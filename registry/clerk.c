#include "registry/clerk.h"

#include <pthread.h>

#include "registry/crl.h"
#include "registry/private.h"
#include "server/base/audit.h"
#include "server/base/clock.h"
#include "server/base/err.h"
#include "server/base/log.h"

#define WAITING_MAX 1024
#define MINUTE_MS 60000

struct clerk {
	struct registry *registry;
	struct mailbox box;
	struct crl_fetcher *fetcher;
	pthread_t thread;
	bool started;
	bool stopping;       /* the thread's: nothing more is written */
	bool over;           /* the loops are gone: nobody is told */
	atomic_uint waiting; /* jobs that loops have posted */
	atomic_bool running; /* jobs are taken */
	atomic_bool wake_posted;
	struct mail wake, stop;
	/* Births of the minute that began then. */
	uint64_t minute_ms;
	unsigned births;
};

/* ---- life ---- */

static void woken(struct mail *m)
{
	atomic_store(&container_of(m, struct clerk, wake)->wake_posted, false);
}

static void stopped(struct mail *m)
{
	container_of(m, struct clerk, stop)->stopping = true;
}

struct clerk *clerk_new(struct registry *r)
{
	struct clerk *c = calloc(1, sizeof(*c));
	if (!c)
		return NULL;
	if (mailbox_init(&c->box) < 0) {
		free(c);
		return NULL;
	}
	c->registry = r;
	c->wake.deliver = woken;
	c->stop.deliver = stopped;
	c->fetcher = crl_fetcher_new(r, &c->box);
	if (!c->fetcher) {
		clerk_free(c);
		return NULL;
	}
	return c;
}

static void *clerk_main(void *arg)
{
	struct clerk *c = arg;
	while (!c->stopping) {
		int ms = crl_fetcher_run(c->fetcher);
		mailbox_wait(&c->box, ms);
		mailbox_run(&c->box);
		mail_flush();
	}
	crypto_thread_done();
	return NULL;
}

int clerk_start(struct clerk *c)
{
	if (pthread_create(&c->thread, NULL, clerk_main, c) != 0)
		return ERR_NOMEM;
	c->started = true;
	atomic_store(&c->running, true);
	return 0;
}

void clerk_stop(struct clerk *c)
{
	if (!c || !c->started)
		return;
	atomic_store(&c->running, false);
	mail_send(&c->box, &c->stop);
	pthread_join(c->thread, NULL);
	c->started = false;
}

/* What came after the thread's end is freed. Whoever waited for it has gone before. */
void clerk_free(struct clerk *c)
{
	if (!c)
		return;
	c->stopping = c->over = true;
	crl_fetcher_free(c->fetcher);
	mailbox_run(&c->box);
	mailbox_done(&c->box);
	free(c);
}

void clerk_wake(struct clerk *c)
{
	if (!atomic_exchange(&c->wake_posted, true))
		mail_send(&c->box, &c->wake);
}

/* Whether one more may wait. */
static bool clerk_enter(struct clerk *c)
{
	if (!c || !atomic_load(&c->running))
		return false;
	if (atomic_fetch_add(&c->waiting, 1) < WAITING_MAX)
		return true;
	atomic_fetch_sub(&c->waiting, 1);
	return false;
}

/* ---- certificates ---- */

struct note {
	struct mail mail;
	struct clerk *clerk;
	struct certificate_doc doc;
};

static void note_write(struct mail *m)
{
	struct note *n = container_of(m, struct note, mail);
	struct registry *r = n->clerk->registry;
	if (!n->clerk->stopping) {
		int err = certificate_doc_insert(&r->store.documents, &n->doc);
		if (err < 0 && err != ERR_EXISTS)
			log_warn("a certificate could not be noted", F_STR("id", n->doc.id),
			        F_STR("error", err_text(err)));
	}
	atomic_fetch_sub(&n->clerk->waiting, 1);
	free(n);
}

void clerk_note(struct clerk *c, const struct certificate_doc *d)
{
	struct note *n = clerk_enter(c) ? malloc(sizeof(*n)) : NULL;
	if (!n)
		return;
	n->mail.deliver = note_write;
	n->clerk = c;
	n->doc = *d;
	mail_post(&c->box, &n->mail);
}

/* ---- devices ---- */

static void birth_answer(struct mail *m)
{
	struct birth *b = container_of(m, struct birth, mail);
	if (b->asker)
		b->done(b);
	free(b);
}

/* A stolen authority is not to fill the registry faster than somebody can look. */
static bool birth_allowed(struct clerk *c)
{
	_cleanup_settings_ struct settings *s = registry_settings(c->registry);
	uint64_t now = clock_ms();
	if (now - c->minute_ms >= MINUTE_MS) {
		c->minute_ms = now;
		c->births = 0;
	}
	return c->births < s->auto_register_rate;
}

static int birth_write(struct birth *b)
{
	struct registry *r = b->clerk->registry;
	struct device_record rec = {.enabled = true, .auth = DEVICE_AUTH_X509_CA};
	if (b->clerk->stopping)
		return ERR_UNAVAILABLE;
	if (!birth_allowed(b->clerk))
		return ERR_QUOTA;
	snprintf(rec.id, sizeof(rec.id), "%s", b->id);
	const struct audit_actor actor = {.name = b->authority,
	        .kind = "authority",
	        .role = "",
	        .peer = b->peer,
	        .trace_id = "",
	        .operation = "device_register"};
	audit_begin(&actor);
	int err = r->store.device_insert(r->store.ctx, &rec);
	audit_end();
	if (err == 0) {
		b->clerk->births++;
		registry_wrote(r, ENTITY_DEVICE, slice_str(rec.id), rec.device_key, false);
		log_info("a device has registered itself", F_STR("id", rec.id),
		        F_STR("authority", b->authority), F_STR("peer", b->peer));
	}
	device_record_done(&rec);
	return err;
}

static void birth_run(struct mail *m)
{
	struct birth *b = container_of(m, struct birth, mail);
	b->err = birth_write(b);
	atomic_fetch_sub(&b->clerk->waiting, 1);
	if (b->clerk->over) {
		free(b);
		return;
	}
	b->mail.deliver = birth_answer;
	mail_post(loop_mailbox(b->loop), &b->mail);
}

struct birth *clerk_bear(struct clerk *c, struct slice id, const char *authority, const char *peer,
        void (*done)(struct birth *b), void *asker)
{
	struct birth *b = clerk_enter(c) ? calloc(1, sizeof(*b)) : NULL;
	if (!b)
		return NULL;
	b->mail.deliver = birth_run;
	b->clerk = c;
	b->loop = loop_here();
	b->done = done;
	b->asker = asker;
	snprintf(b->id, sizeof(b->id), "%.*s", SLICE_ARG(id));
	snprintf(b->authority, sizeof(b->authority), "%s", authority);
	snprintf(b->peer, sizeof(b->peer), "%s", peer);
	mail_post(&c->box, &b->mail);
	return b;
}
