/* SPDX-License-Identifier: Apache-2.0 */
/* What the lane knows: services and servers, as Python says, and the sessions that it carries. */
#ifndef LANE_MODEL_H
#define LANE_MODEL_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

enum { CLIENT = 0, SERVER = 1 };

/* Which cell of a row of the board is what (engine/figures.py says more). */
struct columns {
	int32_t count; /* of a row's cells */
	int32_t live, live_max, total, sessions, chosen, connected, last;
	int32_t bytes_in, bytes_out, client_aborts, server_aborts, response_errors, errors_in_a_row;
	int32_t connect_time, connect_time_max, total_time, total_time_max;
};

/* The rows that a session is counted in. */
enum { OF_SERVICE = 0, OF_POOL = 1, OF_SERVER = 2, ROWS = 3 };

/* What sessions of a service go by. */
struct terms {
	int64_t connect, idle, half; /* ms of patience; 0: for ever */
	int64_t limit;               /* of sessions; 0: none */
	int64_t pool;                /* its row on the board */
	int64_t server_is_less_patient; /* so silence is counted as its fault */
};

struct server {
	struct sockaddr_storage address;
	uint32_t length; /* of the address */
	uint32_t users;  /* sessions and tables that point here, and Python as long as it knows it */
	int64_t *row;
};

struct service {
	uint64_t name; /* Python's for it */
	int64_t *row;
	int64_t *turn; /* of its pool, counted by all workers; NULL: Python chooses */
	struct server **table;
	uint32_t size; /* of the table */
	uint32_t users;
	int32_t live; /* sessions here */
	int32_t lent; /* begun here, and Python's by now */
	struct terms terms;
};

/* What is to be sent and was not taken: one read of it, at most. */
struct rest {
	uint32_t from, to;
	uint8_t bytes[];
};

struct pipe;

struct side {
	int fd;
	bool ended;  /* has sent its last byte */
	uint8_t gathers; /* the write before which Nagle's algorithm must be off; 0: it is */
	uint8_t bulk;    /* large reads in a row */
	uint64_t count;  /* bytes received from it */
	struct rest *rest; /* to be sent to this one */
	struct pipe *pipe; /* holds what is to be sent to this one, instead */
};

struct session {
	struct session *next, *before;   /* of all */
	struct session *later, *earlier; /* of those that are looked at in the same moment */
	struct session *again;           /* of those that have more to read */
	struct service *service; /* NULL: Python's session, which only has its bytes carried here */
	struct server *server;
	int64_t *rows[ROWS];
	int64_t seen, patience, half; /* ms; patience 0: for ever */
	int64_t began, reached;
	uint64_t name; /* Python's for it, where it is Python's */
	int32_t moment; /* its place in the wheels; -1: none */
	bool connecting, queued[2], over;
	struct side side[2];
};

/* How a session ended. */
enum ending {
	FINISHED, /* both sides have sent all */
	RESET_BY_CLIENT,
	RESET_BY_SERVER,
	TIMED_OUT,
	KILLED,
};

/* A session as Python sees it that asks for all. */
struct listed {
	uint64_t service, server;
	int64_t began, seen; /* ms, monotonic */
	uint64_t counts[2];
	int32_t fds[2];
	int32_t connecting, reserved;
};

#endif
