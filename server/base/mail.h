/*
 * Messages between threads. A struct mail is embedded in what is sent; it says how it is delivered.
 * Each thread owns one mailbox: a lock-free stack of batches and an eventfd. Posts of one turn are
 * collected per destination in the sender's thread and pushed with one compare-and-swap by
 * mail_flush (a loop does it at the end of its turn); order from one sender to one mailbox is kept.
 * The eventfd is written only if the mailbox was empty.
 */
#ifndef HF_BASE_MAIL_H
#define HF_BASE_MAIL_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

struct mail {
	struct mail *next;
	/* Runs on the owner thread of the mailbox; the mail may be freed or posted again in it. */
	void (*deliver)(struct mail *m);
};

struct mailbox {
	_Atomic(struct mail *) head;
	int efd; /* readable when there may be mail */
};

/* 0 or ERR_IO (no descriptor left). */
int mailbox_init(struct mailbox *box);
/* The mailbox must be empty, and every thread that posts to it joined (or known to be past its
 * last mail_flush): a pusher touches the eventfd after its mail can be taken. */
void mailbox_done(struct mailbox *box);

/* Any thread: notes the mail for the next mail_flush of this thread. */
void mail_post(struct mailbox *to, struct mail *m);
/* The calling thread promises to look whether its own box has mail before it sleeps: what it sends
 * itself wakes nobody. NULL: no more. */
void mail_own(const struct mailbox *box);
/* Owner thread: whether there is mail to take. */
bool mailbox_has_mail(const struct mailbox *box);
/* Any thread: pushes everything this thread has posted. */
void mail_flush(void);
/* Posts and flushes: for threads without turns. */
void mail_send(struct mailbox *to, struct mail *m);

/* Owner thread: clears the eventfd, takes all mail and delivers it in order. Returns how many. */
size_t mailbox_run(struct mailbox *box);
/* Owner thread: takes all mail as a list in order of arrival, without delivering it. */
struct mail *mailbox_take(struct mailbox *box);
/* The two halves of mailbox_run for an owner that watches the eventfd edge-triggered and so need
 * not clear it: take without clearing, and deliver a list. */
struct mail *mailbox_take_uncleared(struct mailbox *box);
size_t mail_deliver(struct mail *list);
/* Any thread: makes the eventfd readable without mail. */
void mailbox_wake(struct mailbox *box);
/* Owner thread: forgets what is there, without touching it: who sent it may be gone. */
void mailbox_forget(struct mailbox *box);
/* Owner thread: blocks until there is mail or the time-out (ms, -1 for ever) has passed. */
bool mailbox_wait(struct mailbox *box, int timeout_ms);

/*
 * For threads that may block (API workers): wait for an answer that another thread gives.
 *   struct mail_wait w; mail_wait_init(&w, n);  … n answers call mail_wait_done(&w) …
 *   if (!mail_wait_for(&w, timeout_ms)) …
 * The waiter must not return before all answers came, unless what they touch outlives it: use a
 * timeout of -1 where the answering thread is sure to answer.
 */
struct mail_wait {
	pthread_mutex_t mutex;
	pthread_cond_t cond;
	int left;
};
int mail_wait_init(struct mail_wait *w, int answers);
void mail_wait_done(struct mail_wait *w);
bool mail_wait_for(struct mail_wait *w, int timeout_ms);
void mail_wait_free(struct mail_wait *w);

#endif
