#include "tests/unit/base/unit.h"

#include <poll.h>
#include <pthread.h>

#include "server/base/mail.h"

#define SENDERS 8
#define EACH 20000

struct letter {
	struct mail mail;
	unsigned sender, number;
};

static unsigned next_number[SENDERS + 1];
static unsigned delivered;

static void deliver(struct mail *m)
{
	struct letter *l = (struct letter *)m;
	ck_assert_uint_eq(l->number, next_number[l->sender]);
	next_number[l->sender]++;
	delivered++;
}

static struct letter *letters_new(unsigned sender, unsigned n)
{
	struct letter *l = calloc(n, sizeof(*l));
	for (unsigned i = 0; i < n; i++)
		l[i] = (struct letter){.mail.deliver = deliver, .sender = sender, .number = i};
	return l;
}

static bool readable(const struct mailbox *box)
{
	struct pollfd pfd = {.fd = box->efd, .events = POLLIN};
	return poll(&pfd, 1, 0) == 1;
}

START_TEST(nothing_moves_before_the_flush)
{
	struct mailbox box;
	ck_assert_int_eq(mailbox_init(&box), 0);
	struct letter *l = letters_new(0, 3);
	for (unsigned i = 0; i < 3; i++)
		mail_post(&box, &l[i].mail);
	ck_assert(!readable(&box));
	ck_assert_uint_eq(mailbox_run(&box), 0);
	ck_assert(!mailbox_wait(&box, 0));
	mail_flush();
	ck_assert(readable(&box));
	ck_assert(mailbox_wait(&box, -1));
	ck_assert_uint_eq(mailbox_run(&box), 3);
	ck_assert_uint_eq(next_number[0], 3);
	ck_assert(!readable(&box));
	mail_flush();
	ck_assert(!readable(&box));
	mailbox_done(&box);
	free(l);
}
END_TEST

START_TEST(taking_keeps_the_order)
{
	struct mailbox box;
	ck_assert_int_eq(mailbox_init(&box), 0);
	struct letter *l = letters_new(0, 4);
	mail_post(&box, &l[0].mail);
	mail_post(&box, &l[1].mail);
	mail_flush();
	mail_send(&box, &l[2].mail);
	mail_send(&box, &l[3].mail);
	struct mail *m = mailbox_take(&box);
	for (unsigned i = 0; i < 4; i++, m = m->next)
		ck_assert_ptr_eq(m, &l[i].mail);
	ck_assert_ptr_null(m);
	ck_assert_ptr_null(mailbox_take(&box));
	mailbox_done(&box);
	free(l);
}
END_TEST

/* More destinations than the outbox has places for. */
START_TEST(many_destinations)
{
	enum { BOXES = 150 };
	static struct mailbox boxes[BOXES];
	struct letter *l = letters_new(0, 3 * BOXES);
	for (unsigned i = 0; i < BOXES; i++)
		ck_assert_int_eq(mailbox_init(&boxes[i]), 0);
	for (unsigned i = 0; i < 3 * BOXES; i++)
		mail_post(&boxes[i % BOXES], &l[i].mail);
	mail_flush();
	for (unsigned i = 0; i < BOXES; i++) {
		struct mail *m = mailbox_take(&boxes[i]);
		for (unsigned n = 0; n < 3; n++, m = m->next)
			ck_assert_ptr_eq(m, &l[i + n * BOXES].mail);
		ck_assert_ptr_null(m);
		mailbox_done(&boxes[i]);
	}
	free(l);
}
END_TEST

static struct mailbox shared_box;

static void deliver_and_repost(struct mail *m)
{
	struct letter *l = (struct letter *)m;
	delivered++;
	if (l->number-- > 0)
		mail_post(&shared_box, m);
}

START_TEST(mail_may_be_posted_again_while_delivered)
{
	ck_assert_int_eq(mailbox_init(&shared_box), 0);
	struct letter l = {.mail.deliver = deliver_and_repost, .number = 5};
	mail_send(&shared_box, &l.mail);
	while (mailbox_run(&shared_box) > 0)
		mail_flush();
	ck_assert_uint_eq(delivered, 6);
	mailbox_done(&shared_box);
}
END_TEST

struct sender {
	pthread_t thread;
	unsigned index;
	struct letter *letters;
};

static void *send_all(void *arg)
{
	struct sender *s = arg;
	for (unsigned i = 0; i < EACH; i++) {
		mail_post(&shared_box, &s->letters[i].mail);
		/* Turns of different sizes, single mails among them. */
		if (i % (s->index * 7 + 1) == 0)
			mail_flush();
	}
	mail_flush();
	return NULL;
}

START_TEST(many_senders_keep_their_order)
{
	struct sender senders[SENDERS];
	ck_assert_int_eq(mailbox_init(&shared_box), 0);
	for (unsigned i = 0; i < SENDERS; i++) {
		senders[i] = (struct sender){.index = i, .letters = letters_new(i, EACH)};
		pthread_create(&senders[i].thread, NULL, send_all, &senders[i]);
	}
	while (delivered < SENDERS * EACH) {
		ck_assert(mailbox_wait(&shared_box, 30000));
		mailbox_run(&shared_box);
	}
	for (unsigned i = 0; i < SENDERS; i++) {
		pthread_join(senders[i].thread, NULL);
		ck_assert_uint_eq(next_number[i], EACH);
		free(senders[i].letters);
	}
	mailbox_run(&shared_box);
	mailbox_done(&shared_box);
}
END_TEST

static void *answer_late(void *arg)
{
	mail_wait_done(arg);
	return NULL;
}

START_TEST(a_waiter_gets_all_answers)
{
	for (int round = 0; round < 50; round++) {
		struct mail_wait w;
		pthread_t threads[4];
		ck_assert_int_eq(mail_wait_init(&w, 4), 0);
		ck_assert(!mail_wait_for(&w, 0));
		for (int i = 0; i < 4; i++)
			pthread_create(&threads[i], NULL, answer_late, &w);
		ck_assert(mail_wait_for(&w, round % 2 ? -1 : 30000));
		mail_wait_free(&w);
		for (int i = 0; i < 4; i++)
			pthread_join(threads[i], NULL);
	}
}
END_TEST

START_TEST(mail_to_oneself_wakes_nobody)
{
	struct mailbox mine, other;
	ck_assert_int_eq(mailbox_init(&mine), 0);
	ck_assert_int_eq(mailbox_init(&other), 0);
	struct letter *l = letters_new(0, 3), *m = letters_new(1, 1);
	mail_own(&mine);
	ck_assert(!mailbox_has_mail(&mine));
	mail_post(&mine, &l[0].mail);
	mail_post(&other, &m[0].mail);
	mail_flush();
	ck_assert(mailbox_has_mail(&mine) && !readable(&mine));
	ck_assert(mailbox_has_mail(&other) && readable(&other));
	ck_assert_uint_eq(mailbox_run(&mine), 1);
	mail_send(&mine, &l[1].mail);
	ck_assert(!readable(&mine));
	ck_assert_uint_eq(mailbox_run(&mine), 1);
	mail_own(NULL);
	mail_send(&mine, &l[2].mail);
	ck_assert(readable(&mine));
	ck_assert_uint_eq(mailbox_run(&mine), 1);
	ck_assert_uint_eq(mailbox_run(&other), 1);
	mailbox_done(&mine);
	mailbox_done(&other);
	free(l);
	free(m);
}
END_TEST

START_TEST(a_waiter_gives_up_in_time)
{
	struct mail_wait w;
	ck_assert_int_eq(mail_wait_init(&w, 2), 0);
	mail_wait_done(&w);
	ck_assert(!mail_wait_for(&w, 20));
	mail_wait_done(&w);
	ck_assert(mail_wait_for(&w, 0));
	mail_wait_free(&w);
	ck_assert_int_eq(mail_wait_init(&w, 0), 0);
	ck_assert(mail_wait_for(&w, -1));
	mail_wait_free(&w);
}
END_TEST

UNIT_MAIN("mail", nothing_moves_before_the_flush, taking_keeps_the_order, many_destinations,
        mail_may_be_posted_again_while_delivered, many_senders_keep_their_order,
        a_waiter_gets_all_answers, mail_to_oneself_wakes_nobody, a_waiter_gives_up_in_time)
