/*
 * One HTTPS request to somebody else: revocation lists, key sets, custom authorisers. The hallway
 * has a thread that makes them (server/outbound); the rooms see this struct alone, through their
 * hooks.
 */
#ifndef HF_BASE_FETCH_H
#define HF_BASE_FETCH_H

#include "server/base/buf.h"
#include "server/base/mail.h"

#define FETCH_URL_MAX 2048

struct fetch {
	/* In: what is borrowed has to live until the answer. The asker sets deliver, and reply_to
	 * to a mailbox of its own; the answer comes exactly once. */
	struct mail mail;
	struct mailbox *reply_to;
	const char *url; /* https://…; http:// where plain is set (revocation lists are signed) */
	bool plain;
	struct slice post; /* p NULL: GET; else POST with content_type */
	const char *content_type;
	const char *const *headers; /* "Name: value", NULL ends them; may be NULL */
	/* Who may have signed the server's certificate, PEM: ca_pem, where its p is not NULL; else
	 * the file; else, where that is NULL, whom the system trusts. */
	struct slice ca_pem;
	const char *ca_file;
	unsigned timeout_ms;
	size_t max_bytes; /* of the answer's body; a longer one is ERR_TOO_BIG */
	/* Out. 0: there was an answer, whatever its status; ERR_INVALID: the URL; ERR_TIMEOUT;
	 * ERR_TOO_BIG; ERR_UNAVAILABLE: no connection, no valid certificate, or the hub stops. */
	int err;
	int status;
	struct buf body;   /* the asker's, to be freed (wiped, where it may hold a secret) */
	int64_t max_age_s; /* of Cache-Control; -1: it says nothing */
	char why[96]; /* with an error: one line for the log, without anything of the request */
	void *state;  /* the fetcher's */
};

#endif
