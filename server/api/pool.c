#include "server/api/pool.h"

#include <signal.h>

#include "server/api/call.h"
#include "server/base/crypto.h"
#include "server/base/err.h"

static struct api_call *pop(struct api_pool *p, bool *ret_stopping)
{
	pthread_mutex_lock(&p->mutex);
	while (!p->head && !p->stopping)
		pthread_cond_wait(&p->cond, &p->mutex);
	struct api_call *c = p->head;
	if (c) {
		p->head = c->next;
		if (!p->head)
			p->tail = &p->head;
		p->queued--;
	}
	*ret_stopping = p->stopping;
	pthread_mutex_unlock(&p->mutex);
	return c;
}

static void *worker(void *arg)
{
	struct api_pool *p = arg;
	struct api_call *c;
	bool stopping;
	while ((c = pop(p, &stopping)) != NULL) {
		if (stopping)
			api_call_problem(c, API_PROBLEM_UNAVAILABLE, "the hub is stopping");
		else
			api_call_run(c);
		api_call_finish(c);
	}
	mail_flush();
	crypto_thread_done();
	return NULL;
}

static int start_threads(struct api_pool *p, unsigned n)
{
	for (; p->n_threads < n; p->n_threads++) {
		pthread_t *t = &p->threads[p->n_threads];
		if (pthread_create(t, NULL, worker, p) != 0)
			return ERR_NOMEM;
		pthread_setname_np(*t, "api");
	}
	return 0;
}

int api_pool_start(struct api_pool *p, unsigned n)
{
	*p = (struct api_pool){.tail = &p->head};
	if (n == 0)
		n = 1;
	p->threads = calloc(n, sizeof(*p->threads));
	if (!p->threads)
		return ERR_NOMEM;
	pthread_mutex_init(&p->mutex, NULL);
	pthread_cond_init(&p->cond, NULL);
	/* Signals are the main thread's. */
	sigset_t all, before;
	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &before);
	int r = start_threads(p, n);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (r < 0) {
		api_pool_stop(p);
		api_pool_done(p);
	}
	return r;
}

bool api_pool_push(struct api_pool *p, struct api_call *c)
{
	pthread_mutex_lock(&p->mutex);
	bool taken = !p->stopping && p->queued < API_QUEUE_MAX;
	if (taken) {
		c->next = NULL;
		*p->tail = c;
		p->tail = &c->next;
		p->queued++;
		pthread_cond_signal(&p->cond);
	}
	pthread_mutex_unlock(&p->mutex);
	return taken;
}

void api_pool_stop(struct api_pool *p)
{
	pthread_mutex_lock(&p->mutex);
	p->stopping = true;
	pthread_cond_broadcast(&p->cond);
	pthread_mutex_unlock(&p->mutex);
	for (; p->n_threads > 0; p->n_threads--)
		pthread_join(p->threads[p->n_threads - 1], NULL);
}

void api_pool_done(struct api_pool *p)
{
	if (!p->threads)
		return;
	free(p->threads);
	p->threads = NULL;
	pthread_cond_destroy(&p->cond);
	pthread_mutex_destroy(&p->mutex);
}
