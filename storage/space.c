#include "storage/space.h"

#include <sys/statvfs.h>

#include "server/base/clock.h"
#include "server/base/err.h"
#include "server/base/log.h"
#include "server/base/metrics.h"

#define SIZE_MS 5000    /* the database adds up its files when it is asked */
#define SLOW_PERCENT 95 /* of storage.max_bytes */
#define SLACK_PERCENT 1 /* so much more is free before it goes on: not to and fro */

/* What percent of the disk is free for us; -1: it is not watched, or not there to be looked at. */
static int free_percent(struct storage *s)
{
	struct statvfs v;

	if (!s->space.path || statvfs(s->space.path, &v) < 0)
		return -1;
	uint64_t usable = v.f_blocks - v.f_bfree + v.f_bavail; /* without what is root's alone */
	return usable ? (int)(v.f_bavail * 100 / usable) : -1;
}

static enum space_state of_disk(const struct storage *s, int percent, enum space_state was)
{
	unsigned slow = s->space.slow_percent + (was >= SPACE_SLOW ? SLACK_PERCENT : 0);
	unsigned stop = s->space.stop_percent + (was >= SPACE_STOP ? SLACK_PERCENT : 0);

	if (percent < 0)
		return SPACE_ENOUGH;
	if ((unsigned)percent < stop)
		return SPACE_STOP;
	return (unsigned)percent < slow ? SPACE_SLOW : SPACE_ENOUGH;
}

/* While the database does not answer, what it said last counts. */
static void ask_size(struct storage *s, struct pg *pg)
{
	_cleanup_result_ PGresult *r = NULL;
	uint64_t now = clock_ms();

	if (!pg || !s->space.max_bytes || now < s->space.size_due_ms)
		return;
	s->space.size_due_ms = now + SIZE_MS;
	if (pg_exec(pg, "SELECT pg_database_size(current_database())", NULL, now + ROUND_TRIP_MS,
	            &r) == 0)
		s->space.bytes = (uint64_t)pg_get_i64(r, 0, 0);
}

static enum space_state of_size(const struct storage *s)
{
	uint64_t most = s->space.max_bytes;

	if (!most || s->space.bytes < most / 100 * SLOW_PERCENT)
		return SPACE_ENOUGH;
	return s->space.bytes < most ? SPACE_SLOW : SPACE_STOP;
}

void space_turn(struct storage *s, struct pg *pg)
{
	static const char *const words[] = {"there is room for messages again",
	        "the disk or the database fills up: messages are stored slowly",
	        "the disk or the database is nearly full: messages are refused"};
	enum space_state was = atomic_load(&s->space.state);
	int percent = free_percent(s);

	ask_size(s, pg);
	enum space_state by_size = of_size(s), now = of_disk(s, percent, was);
	if (by_size > now)
		now = by_size;
	if (now == was)
		return;
	atomic_store(&s->space.state, now);
	metric_add(METRIC_STORE_SPACE, (int64_t)now - (int64_t)was);
	if (now > was)
		log_error(
		        words[now], F_I64("free_percent", percent), F_U64("bytes", s->space.bytes));
	else
		log_info(
		        words[now], F_I64("free_percent", percent), F_U64("bytes", s->space.bytes));
}
