/*
 * The hub: makes the rooms, plugs them together, starts and stops them in order. Wiring, no logic.
 * Everything here is for the main thread.
 */
#ifndef HF_SERVER_HUB_H
#define HF_SERVER_HUB_H

#include "server/config.h"

#define HOLDFAST_VERSION "0.1.0"
#define HUB_ERROR_LEN 256

struct hub;

/* Opens database and listeners, starts every thread, begins to accept. home_lock is the descriptor
 * of the home's lock (may be -1), kept until hub_free. 0, or an ERR_ code with one line in error
 * (then nothing runs any more). cfg: a reference is taken. */
int hub_start(struct config *cfg, struct hub **ret, char error[static HUB_ERROR_LEN]);
/* Waits until /readyz would say yes (5 s at most), then prints the line
 * "holdfast ready https=URL mqtts=URL home=PATH" on standard output. */
void hub_announce(struct hub *hub);
/* SIGHUP: checks everything that is new, then applies it; on any failure the old state stays whole
 * and the log says what was wrong. */
void hub_reload(struct hub *hub);
/* Watchdog: aborts (with a line in the log) when a loop has not turned for 5 s. Call about once a
 * second. */
void hub_watch(struct hub *hub);
/* Drains (CONTRACT: tickets settled, DISCONNECT 0x8B), stops and frees everything. */
void hub_stop(struct hub *hub);

#endif
