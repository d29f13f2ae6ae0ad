/*
 * Threads that carry calls out, and a bounded queue before them. One mutex; held for a push or a
 * pop alone. There are two: the workers, and the threads of streams, where no call waits for one
 * that is free, because that may take hours.
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
	unsigned queued, waiting_max; /* waiting_max: beside those that threads are free for */
	unsigned capacity, busy;      /* threads */
	bool stopping;
	/* Carries the call out and sends it on its way; stopping: it is to be refused. */
	void (*run)(struct api_call *c, bool stopping);
	pthread_t *threads;
	unsigned n_threads;
};

/* 0, ERR_NOMEM; n threads (at least 1) of that name. Main thread. */
int api_pool_start(struct api_pool *p, const char *name, unsigned n, unsigned waiting_max,
        void (*run)(struct api_call *c, bool stopping));
/* Any thread: false when the queue is full or the pool is stopping; the call stays the caller's. */
bool api_pool_push(struct api_pool *p, struct api_call *c);
/* What is begun is finished, what waits is answered 503; joins the threads. Once more: harmless. */
void api_pool_stop(struct api_pool *p);
void api_pool_done(struct api_pool *p);

#endif
