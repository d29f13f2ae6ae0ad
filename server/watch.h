/*
 * How long an event loop has been silent while somebody watched it. A process that was stopped, or
 * whose machine stood still, was not watched meanwhile: its loops get the time to beat again. Owned
 * by the thread that looks.
 */
#ifndef HF_WATCH_H
#define HF_WATCH_H

#include <stdbool.h>
#include <stdint.h>

#define WATCH_EVERY_MS 1000
#define WATCH_GAP_MS (3 * WATCH_EVERY_MS) /* between two looks: nobody was running */

struct watch {
	uint64_t beat, since_ms; /* the last heartbeat, and when it was seen first */
	uint64_t looked_ms;
};

/* Called every WATCH_EVERY_MS with the loop's heartbeat; all times monotonic. */
static inline uint64_t watch_silent_ms(struct watch *w, uint64_t beat, uint64_t now_ms)
{
	bool gap = now_ms - w->looked_ms > WATCH_GAP_MS;

	if (beat != w->beat || gap) {
		w->beat = beat;
		w->since_ms = now_ms;
	}
	w->looked_ms = now_ms;
	return now_ms - w->since_ms;
}

#endif
