/*
 * The workers: a bounded queue of calls and the threads that carry them out. One mutex; held for a
 * push or a pop alone.
 */
#ifndef HF_API_POOL_H
#define HF_API_POOL_H

#include <pthread.h>
#include <stdbool.h>

struct api_call;

#define API_QUEUE_MAX 1024

struct api_pool {
	pthread_mutex_t mutex;
	pthread_cond_t cond;
	struct api_call *head, **tail;
	unsigned queued;
	bool stopping;
	pthread_t *threads;
	unsigned n_threads;
};

/* 0, ERR_NOMEM; n threads (at least 1). Main thread. */
int api_pool_start(struct api_pool *p, unsigned n);
/* Any thread: false when the queue is full or the pool is stopping; the call stays the caller's. */
bool api_pool_push(struct api_pool *p, struct api_call *c);
/* What is begun is finished, what waits is answered 503; joins the threads. Once more: harmless. */
void api_pool_stop(struct api_pool *p);
void api_pool_done(struct api_pool *p);

#endif
