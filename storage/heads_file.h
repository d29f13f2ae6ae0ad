/* The file of heads (heads.h): lines that are added, each whole or not at all. */
#ifndef HF_STORAGE_HEADS_FILE_H
#define HF_STORAGE_HEADS_FILE_H

#include "storage/head.h"

#define HEAD_LINE_MAX (2u * HEAD_TEXT_MAX) /* each of its line ends takes a byte more in JSON */

struct head_line {
	int64_t number, at_us;
	struct slice body, signature;
};
/* Appends the line, with its end. 0, ERR_TOO_BIG, ERR_NOMEM. */
int heads_file_line(struct buf *out, const struct head_line *l);
/* Makes folder and file where they are not there; what a crash left of a line goes; the lines are
 * on the disk when it returns. 0, ERR_IO. */
int heads_file_append(const char *folder, struct slice lines);

#endif
