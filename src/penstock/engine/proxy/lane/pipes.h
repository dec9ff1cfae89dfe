/* SPDX-License-Identifier: Apache-2.0 */
/* Pipes through which splice(2) moves bytes from socket to socket, and the few that are kept. */
#ifndef LANE_PIPES_H
#define LANE_PIPES_H

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "model.h"

#define PIPE_BYTES (1 << 18) /* of 4 KiB pages; one page holds one segment, however short */
#define PIPES_KEPT 32

struct pipe {
	int out, in;
	uint32_t held;
	struct pipe *next;
};

struct pipes {
	struct pipe *kept;
	int count;
};

/* An empty one; NULL where no more files can be opened. */
static inline struct pipe *pipe_take(struct pipes *pipes)
{
	struct pipe *one = pipes->kept;
	int ends[2];

	if (one) {
		pipes->kept = one->next;
		pipes->count--;
		return one;
	}
	one = calloc(1, sizeof(*one));
	if (!one)
		return NULL;
	if (pipe2(ends, O_NONBLOCK | O_CLOEXEC)) {
		free(one);
		return NULL;
	}
	one->out = ends[0];
	one->in = ends[1];
	fcntl(one->in, F_SETPIPE_SZ, PIPE_BYTES); /* beyond pipe-user-pages-soft: then as it is */
	return one;
}

static inline void pipe_free(struct pipe *one)
{
	close(one->in);
	close(one->out);
	free(one);
}

static inline void pipe_give_back(struct pipes *pipes, struct pipe *one)
{
	if (one->held || pipes->count >= PIPES_KEPT) {
		pipe_free(one);
		return;
	}
	one->next = pipes->kept;
	pipes->kept = one;
	pipes->count++;
}

#endif
