/* Documents of the store as a loop: read, check, change, write against the etag that was read. On
 * threads that may block. Private to the registry. */
#ifndef HF_REGISTRY_EDIT_H
#define HF_REGISTRY_EDIT_H

#include "registry/condition.h"
#include "registry/private.h"

struct edit {
	struct registry *registry;
	enum entity kind;
	struct slice name;
	struct registry_condition cond;
	/* Makes the new text (malloc'ed) from what is there; may be called several times. 0, or an
	 * error that ends it. */
	int (*change)(void *arg, const struct document *before, char **ret_text);
	void *arg;
};

/* ERR_NOT_FOUND for names that none can have. *ret is to be done with. */
int edit_get(struct registry *r, enum entity kind, struct slice name, struct document *ret);
/* 0 with *ret as it was written, to be done with; ERR_STALE; ERR_CONFLICT: others wrote all the
 * time; what change returned; or the store's. */
int edit_run(const struct edit *e, struct document *ret);
/* As DELETE; change is not looked at. */
int edit_remove(const struct edit *e);

#endif
