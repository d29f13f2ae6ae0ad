#include "server/base/mail.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "server/base/clock.h"
#include "server/base/err.h"

/* What the calling thread has posted since its last flush: for each destination a chain, newest
 * first, as it will lie on the destination's stack. */
#define OUTBOX_MAX 64

static _Thread_local struct {
	unsigned n, last;
	struct outbox_entry {
		struct mailbox *to;
		struct mail *newest, *oldest;
	} entries[OUTBOX_MAX];
} outbox;

static _Thread_local const struct mailbox *own;

void mail_own(const struct mailbox *box)
{
	own = box;
}

bool mailbox_has_mail(const struct mailbox *box)
{
	return atomic_load_explicit(&box->head, memory_order_relaxed) != NULL;
}

int mailbox_init(struct mailbox *box)
{
	atomic_init(&box->head, NULL);
	box->efd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return box->efd < 0 ? ERR_IO : 0;
}

void mailbox_done(struct mailbox *box)
{
	if (box->efd < 0)
		return;
	assert(!atomic_load(&box->head));
	close(box->efd);
	box->efd = -1;
}

void mailbox_wake(struct mailbox *box)
{
	const uint64_t one = 1;
	while (write(box->efd, &one, sizeof(one)) < 0 && errno == EINTR)
		;
}

/* The whole chain goes with one compare-and-swap. Only an empty mailbox needs waking: whoever made
 * it non-empty has done it, and the owner clears the eventfd before it takes the stack. */
static void mailbox_push(struct mailbox *box, struct mail *newest, struct mail *oldest)
{
	struct mail *head = atomic_load_explicit(&box->head, memory_order_relaxed);
	do
		oldest->next = head;
	while (!atomic_compare_exchange_weak_explicit(
	        &box->head, &head, newest, memory_order_release, memory_order_relaxed));
	if (!head && box != own)
		mailbox_wake(box);
}

void mail_post(struct mailbox *to, struct mail *m)
{
	struct outbox_entry *e = &outbox.entries[outbox.last];
	if (outbox.n == 0 || e->to != to) {
		for (e = outbox.entries; e < outbox.entries + outbox.n && e->to != to; e++)
			;
		if (e == outbox.entries + OUTBOX_MAX) {
			/* More destinations than expected: an early push keeps every order. */
			mail_flush();
			e = outbox.entries;
		}
		if (e == outbox.entries + outbox.n) {
			*e = (struct outbox_entry){.to = to};
			outbox.n++;
		}
		outbox.last = (unsigned)(e - outbox.entries);
	}
	m->next = e->newest;
	e->newest = m;
	if (!e->oldest)
		e->oldest = m;
}

void mail_flush(void)
{
	for (unsigned i = 0; i < outbox.n; i++) {
		const struct outbox_entry *e = &outbox.entries[i];
		mailbox_push(e->to, e->newest, e->oldest);
	}
	outbox.n = outbox.last = 0;
}

void mail_send(struct mailbox *to, struct mail *m)
{
	mail_post(to, m);
	mail_flush();
}

struct mail *mailbox_take_uncleared(struct mailbox *box)
{
	if (!atomic_load_explicit(&box->head, memory_order_relaxed))
		return NULL;
	struct mail *m = atomic_exchange_explicit(&box->head, NULL, memory_order_acquire);
	struct mail *first = NULL;
	while (m) {
		struct mail *next = m->next;
		m->next = first;
		first = m;
		m = next;
	}
	return first;
}

void mailbox_forget(struct mailbox *box)
{
	atomic_store_explicit(&box->head, NULL, memory_order_relaxed);
}

struct mail *mailbox_take(struct mailbox *box)
{
	uint64_t count;
	while (read(box->efd, &count, sizeof(count)) < 0 && errno == EINTR)
		;
	return mailbox_take_uncleared(box);
}

size_t mail_deliver(struct mail *m)
{
	size_t n = 0;
	while (m) {
		struct mail *next = m->next; /* m may be gone after its delivery */
		m->deliver(m);
		m = next;
		n++;
	}
	return n;
}

size_t mailbox_run(struct mailbox *box)
{
	return mail_deliver(mailbox_take(box));
}

bool mailbox_wait(struct mailbox *box, int timeout_ms)
{
	uint64_t until = timeout_ms < 0 ? UINT64_MAX : clock_ms() + (uint64_t)timeout_ms;
	for (;;) {
		if (atomic_load_explicit(&box->head, memory_order_relaxed))
			return true;
		uint64_t now = clock_ms();
		struct pollfd pfd = {.fd = box->efd, .events = POLLIN};
		int left = timeout_ms < 0 ? -1 : now < until ? (int)(until - now) : 0;
		int r = poll(&pfd, 1, left);
		if (r > 0 && !atomic_load_explicit(&box->head, memory_order_relaxed)) {
			/* Left over from mail that was taken in time: clear it, or poll spins. */
			uint64_t count;
			if (read(box->efd, &count, sizeof(count)) > 0)
				continue;
		}
		if (r == 0)
			return atomic_load_explicit(&box->head, memory_order_relaxed) != NULL;
	}
}
