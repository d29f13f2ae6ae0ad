/*
 * Private to the room: shared subscriptions. A group ("$share/{group}/{filter}") has a home loop by
 * the hash of its text; there it stands in the index and picks a member for each message. Members
 * are sessions anywhere, named by loop and number.
 */
#ifndef HF_BROKER_SHARE_H
#define HF_BROKER_SHARE_H

#include "broker/session.h"

struct group;

/* text is always the whole "$share/{group}/{filter}". */
struct shard *share_home(struct broker *b, struct slice text);

/* A session as its groups know it. */
struct share_as {
	unsigned shard;
	uint64_t number;
	struct share_member *is;
	struct principal *who; /* policy is asked whether it may have a message; NULL: it may */
};
struct share_as share_as(struct session *s); /* made on first use; references are not taken */
/* A member joins, or comes as somebody else: the group is made if needed, references are taken. On
 * the home shard. */
void share_join(struct shard *sh, struct slice text, const struct share_as *as);
/* Tells the groups of a session whom they have to ask policy about now. */
void share_tell_who(struct session *s);
/* From anywhere: a member leaves. */
void share_leave(struct shard *sh, struct slice text, uint64_t member);
struct share_member *share_member_ref(struct share_member *m);
void share_member_unref(struct share_member *m); /* NULL is fine */
/* Notes for the groups of a session whether it is ready, busy or offline now. */
void share_tell(struct session *s);
/* A message of a group that its chosen member cannot deliver any more: to another member. waits, as
 * for route_publish. */
void share_return(struct shard *sh, struct slice text, struct msg *m, struct receipt *waits);
/* Picks a member of a group whose home is here and hands the message over. */
void share_dispatch(struct shard *sh, struct group *g, struct msg *m, struct receipt *waits);
void share_groups_free(struct shard *sh);

#endif
