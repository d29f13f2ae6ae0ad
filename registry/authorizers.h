/*
 * The custom authorisers, read whole from the store and held by every loop (server/base/replica.h).
 * Private to the registry.
 */
#ifndef HF_REGISTRY_AUTHORIZERS_H
#define HF_REGISTRY_AUTHORIZERS_H

#include "registry/authorizer_doc.h"
#include "registry/registry.h"
#include "server/base/replica.h"

#define AUTHORIZERS_MAX 100

/* registry.c's. */
struct replica *authorizers_new(struct loop *const *loops, unsigned n, struct registry *r);

/* False: changes are known, for a while, and not in force. Any thread. */
bool authorizers_fresh(const struct registry *r);
/* On a loop; borrowed until the turn ends. NULL: there is none of that name, or it is not active.
 * NULL too as long as changes are known and not in force: nobody is judged by what is stale. */
struct authorizer *authorizer_here(const struct registry *r, struct slice name);
/* Whether a is one of them still, as it was when it was taken. On a loop. */
bool authorizer_in_force(const struct registry *r, const struct authorizer *a);
/* The active one for those who name none. */
struct authorizer *authorizer_default_here(const struct registry *r);

/* On a worker: asks the authoriser what doc describes, by its own copy of it in the store, and says
 * how it went (authorizer_test.c). */
int authorizer_test(
        struct registry *r, struct authorizer *a, const json_t *doc, json_t *errors, json_t **ret);

#endif
