/*
 * Fetching revocation lists. Each authority with a URL has a watch: when its list is due, whether a
 * request is out. Where it cannot be had, the one in force stays, and counts as long as its own
 * dates say. Everything on the clerk's thread.
 */
#include <string.h>

#include "registry/crl.h"
#include "registry/private.h"
#include "registry/trust.h"
#include "server/base/clock.h"
#include "server/base/err.h"
#include "server/base/log.h"
#include "server/base/metrics.h"

#define TIMEOUT_MS 30000
#define RETRY_S 60
#define PEM_MAX (2 * X509_CRL_MAX)
#define IDLE_MS 60000
#define AT_ONCE 8 /* requests that are out */

struct watch {
	struct watch *next;
	struct fetch fetch;
	struct crl_fetcher *fetcher; /* NULL: nobody wants the answer any more */
	bool out, seen;
	uint64_t due_ms;
	unsigned refresh_s;
	char name[AUTHORITY_NAME_MAX + 1];
	char url[FETCH_URL_MAX + 1];
};

struct crl_fetcher {
	struct registry *registry;
	struct mailbox *box;
	struct watch *watches;
	unsigned n_out;
};

struct crl_fetcher *crl_fetcher_new(struct registry *r, struct mailbox *box)
{
	struct crl_fetcher *f = calloc(1, sizeof(*f));
	if (!f)
		return NULL;
	f->registry = r;
	f->box = box;
	return f;
}

/* One that is out is freed when it comes back. */
static void watch_drop(struct watch *w)
{
	w->fetcher = NULL;
	if (!w->out)
		free(w);
}

void crl_fetcher_free(struct crl_fetcher *f)
{
	if (!f)
		return;
	for (struct watch *w = f->watches, *next; w; w = next) {
		next = w->next;
		watch_drop(w);
	}
	free(f);
}

/* ---- the answer ---- */

static void note_failure(const struct watch *w, const char *why)
{
	metric_inc(METRIC_CRL_FETCH_FAILED);
	log_warn("a revocation list could not be fetched", F_STR("authority", w->name),
	        F_STR("url", w->url), F_STR("reason", why));
}

static bool take_answer(struct watch *w)
{
	struct registry *r = w->fetcher->registry;
	const char *why = NULL;
	bool changed = false;
	int err = w->fetch.err;
	if (err == 0 && w->fetch.status != 200) {
		note_failure(w, "the answer is not 200");
		return false;
	}
	if (err == 0)
		err = crl_take(r, w->name, buf_slice(&w->fetch.body), "url", &changed, &why);
	else
		why = w->fetch.why;
	if (err == ERR_CONFLICT) /* another hub was faster; the feed tells of what it took */
		return true;
	if (err < 0) {
		note_failure(w, why ? why : err_text(err));
		return false;
	}
	if (changed) {
		log_info("a revocation list was fetched", F_STR("authority", w->name));
		registry_trust_changed(r, ENTITY_AUTHORITY);
	}
	return true;
}

static void answered(struct mail *m)
{
	struct watch *w = container_of(m, struct watch, fetch.mail);
	w->out = false;
	if (w->fetcher) {
		unsigned wait_s = take_answer(w) ? w->refresh_s : RETRY_S;
		w->due_ms = clock_ms() + (uint64_t)wait_s * 1000;
		w->fetcher->n_out--;
	}
	buf_free(&w->fetch.body);
	if (!w->fetcher)
		free(w);
}

/* ---- the question ---- */

static void ask(struct crl_fetcher *f, struct watch *w)
{
	const struct registry_hooks *hooks = &f->registry->hooks;
	w->out = true;
	f->n_out++;
	w->fetch = (struct fetch){
	        .mail.deliver = answered,
	        .reply_to = f->box,
	        .url = w->url,
	        .plain = true,
	        .timeout_ms = TIMEOUT_MS,
	        .max_bytes = PEM_MAX,
	};
	hooks->fetch(hooks->ctx, &w->fetch);
}

/* ---- which there are ---- */

static struct watch *watch_find(struct crl_fetcher *f, const char *name)
{
	struct watch *w = f->watches;
	while (w && strcmp(w->name, name) != 0)
		w = w->next;
	return w;
}

static void watch_source(struct crl_fetcher *f, const struct crl_source *s)
{
	struct watch *w = watch_find(f, s->name);
	if (!w) {
		w = calloc(1, sizeof(*w));
		if (!w)
			return;
		w->fetcher = f;
		w->next = f->watches;
		f->watches = w;
		snprintf(w->name, sizeof(w->name), "%s", s->name);
	}
	w->seen = true;
	/* A request that is out borrows the URL. */
	if (!w->out && strcmp(w->url, s->url) != 0) {
		snprintf(w->url, sizeof(w->url), "%s", s->url);
		w->due_ms = clock_ms();
	}
	uint64_t latest = clock_ms() + (uint64_t)s->refresh_s * 1000;
	w->refresh_s = s->refresh_s;
	if (w->due_ms > latest)
		w->due_ms = latest;
}

static void follow_trust(struct crl_fetcher *f)
{
	_cleanup_trust_ struct trust *t = trust_take(f->registry);
	for (struct watch *w = f->watches; w; w = w->next)
		w->seen = false;
	for (unsigned i = 0; t && i < t->n_sources; i++)
		watch_source(f, &t->sources[i]);
	for (struct watch **at = &f->watches; *at;) {
		struct watch *w = *at;
		if (w->seen) {
			at = &w->next;
			continue;
		}
		*at = w->next;
		f->n_out -= w->out;
		watch_drop(w);
	}
}

int crl_fetcher_run(struct crl_fetcher *f)
{
	uint64_t now = clock_ms(), next = now + IDLE_MS;
	follow_trust(f);
	for (struct watch *w = f->watches; w && f->registry->hooks.fetch; w = w->next) {
		if (!w->out && w->due_ms <= now && f->n_out < AT_ONCE)
			ask(f, w);
		if (!w->out && w->due_ms < next)
			next = w->due_ms;
	}
	mail_flush();
	/* Those beyond what may be out are looked at again when an answer comes. */
	return next > now ? (int)(next - now) : (int)IDLE_MS;
}
