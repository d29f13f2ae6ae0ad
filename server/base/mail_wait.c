#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "server/base/err.h"
#include "server/base/mail.h"

int mail_wait_init(struct mail_wait *w, int answers)
{
	w->left = answers;
	pthread_condattr_t attr;
	if (pthread_condattr_init(&attr) != 0)
		return ERR_NOMEM;
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	int r = pthread_cond_init(&w->cond, &attr);
	pthread_condattr_destroy(&attr);
	if (r != 0)
		return ERR_NOMEM;
	if (pthread_mutex_init(&w->mutex, NULL) != 0) {
		pthread_cond_destroy(&w->cond);
		return ERR_NOMEM;
	}
	return 0;
}

void mail_wait_done(struct mail_wait *w)
{
	pthread_mutex_lock(&w->mutex);
	assert(w->left > 0);
	/* Signalled under the mutex: the waiter may free w as soon as it holds it. */
	if (--w->left == 0)
		pthread_cond_signal(&w->cond);
	pthread_mutex_unlock(&w->mutex);
}

static struct timespec deadline(int timeout_ms)
{
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	ts.tv_sec += timeout_ms / 1000;
	ts.tv_nsec += (long)(timeout_ms % 1000) * 1000000;
	if (ts.tv_nsec >= 1000000000) {
		ts.tv_nsec -= 1000000000;
		ts.tv_sec++;
	}
	return ts;
}

bool mail_wait_for(struct mail_wait *w, int timeout_ms)
{
	struct timespec until = deadline(timeout_ms < 0 ? 0 : timeout_ms);
	pthread_mutex_lock(&w->mutex);
	int r = 0;
	while (w->left > 0 && r != ETIMEDOUT)
		r = timeout_ms < 0 ? pthread_cond_wait(&w->cond, &w->mutex)
		                   : pthread_cond_timedwait(&w->cond, &w->mutex, &until);
	bool all = w->left == 0;
	pthread_mutex_unlock(&w->mutex);
	return all;
}

void mail_wait_free(struct mail_wait *w)
{
	pthread_mutex_destroy(&w->mutex);
	pthread_cond_destroy(&w->cond);
}
