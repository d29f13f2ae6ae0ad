/* What cppcheck is told of <sys/queue.h>: it gives a file up at an iteration macro that it does not
 * know. */
#ifndef LIST_FOREACH
#define LIST_FOREACH(v, head, field) for ((v) = (head)->lh_first; (v); (v) = (v)->field.le_next)
#define TAILQ_FOREACH(v, head, field) for ((v) = (head)->tqh_first; (v); (v) = (v)->field.tqe_next)
#endif
