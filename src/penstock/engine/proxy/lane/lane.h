/* SPDX-License-Identifier: Apache-2.0 */
/* The lane itself, and what its parts ask of each other. */
#ifndef LANE_LANE_H
#define LANE_LANE_H

#include <sys/epoll.h>
#include <sys/time.h>
#include <time.h>

#include "model.h"
#include "pipes.h"
#include "wheel.h"

#define BUFFER (1 << 16)
#define MOST_EVENTS 512 /* a turn; more would let deadlines wait */
#define MOST_NEWS 2048

#define STREAM (EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET)

/* Whose a descriptor is. Python's are nobody's here. */
enum owner { NOBODY, LISTENER, SESSION };

struct holder {
	uint32_t turn; /* tells its events from those of whoever had the number before */
	uint8_t owner;
	uint8_t which; /* CLIENT or SERVER */
	bool deaf;     /* a listener that is not listened to: its service is full */
	bool wanted;   /* a listener that no file was left for: it is tried again */
	void *one;     /* a service or a session */
};

struct event {
	int32_t fd;
	uint32_t events;
};

/* What Python has to deal with. */
enum kind {
	NO_SERVER,  /* fd is a client: there is nobody to choose */
	NOT_THERE,  /* fd is a client: *server* did not answer, for *error* */
	OVER,       /* Python's session *name* has ended: *error* says how */
};

struct news {
	uint64_t name;   /* of the service, or of Python's session */
	uint64_t server;
	int32_t kind, fd, error, ended;
};

typedef void *(*choose_t)(uint64_t service, int fd);

struct lane {
	/* Python reads and writes these; library.py has the same order. */
	int64_t limit;     /* of all sessions; 0: none */
	int32_t elsewhere; /* sessions of Python's, which count towards the limit as well */
	int32_t live;      /* sessions of its own */
	int32_t news_count;
	struct event events[MOST_EVENTS];
	struct news news[MOST_NEWS];

	int epoll;
	int64_t *area; /* this worker's cells of the board */
	int64_t now; /* ms, monotonic; of this turn */
	choose_t choose;
	struct columns columns;
	struct holder *holders;
	uint32_t holder_count;
	struct session *sessions, *again;
	struct session *spare;
	int spare_count;
	int *listeners; /* their descriptors */
	uint32_t listener_count, listener_room;
	int deaf; /* listeners that are not listened to */
	int64_t retry; /* when they are tried again for want of files; 0: no need */
	struct pipes pipes;
	struct wheel wheel;
	uint8_t buffer[BUFFER];
};

static inline int64_t clock_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000ll + now.tv_nsec / 1000000;
}

/* One more is there. */
static inline void came(const struct columns *columns, int64_t *row)
{
	if (++row[columns->live] > row[columns->live_max])
		row[columns->live_max] = row[columns->live];
}

static inline void counted(int64_t *row, int32_t column, int64_t by)
{
	row[column] += by;
}

void session_over(struct lane *lane, struct session *one, enum ending how);

#endif
