// SPDX-License-Identifier: Apache-2.0
/* The fast lane: plain connections of a worker, from accept() to close(), without Python.
 *
 * Python decides what is plain, which servers there are and, where their order is not enough, which
 * of them a client gets. Whatever does not go straight (nobody to choose, a server that does not
 * answer) is handed to Python, whose session goes on from there. Not thread-safe. */
#define _GNU_SOURCE
#include "opening.h"

#include <stddef.h>

#define SPARE_SESSIONS 256

/* -- deadlines ------------------------------------------------------------------------------ */

static void expire(struct lane *lane, struct session *one)
{
	one->patience = 0;
	if (one->connecting)
		hand_up(lane, one, ETIMEDOUT);
	else
		session_over(lane, one, TIMED_OUT);
}

static void look_at(struct lane *lane, int place)
{
	struct wheel *wheel = &lane->wheel;
	struct session *one;

	while ((one = wheel->places[place])) {
		wheel_take(wheel, one);
		if (!one->patience)
			continue;
		if (wheel_due(one) > wheel->tick || lane->news_count >= MOST_NEWS - 1)
			wheel_put(wheel, one);
		else
			expire(lane, one);
	}
}

static void look(struct lane *lane)
{
	struct wheel *wheel = &lane->wheel;
	int64_t now = lane->now >> GRAIN;

	while (wheel->tick < now) {
		wheel->tick++;
		if (wheel->tick % PLACES == 0)
			look_at(lane, PLACES + (wheel->tick >> COARSE) % PLACES);
		look_at(lane, wheel->tick % PLACES);
	}
	if (lane->retry && lane->retry <= lane->now) {
		lane->retry = 0;
		listen_again(lane);
	}
}

/* -- the loop ------------------------------------------------------------------------------- */

static void act(struct lane *lane, const struct epoll_event *event)
{
	struct holder *here = &lane->holders[(uint32_t)event->data.u64];
	struct session *one = here->one;

	if (here->owner == LISTENER)
		on_listener(lane, (uint32_t)event->data.u64);
	else if (one->connecting)
		on_connect(lane, one, event->events);
	else
		on_stream(lane, one, here->which, event->events);
}

static void go_on(struct lane *lane)
{
	struct session *one, *all = lane->again;
	int which;

	/* Those that were waiting, and not those that they put there again. */
	lane->again = NULL;
	while ((one = all)) {
		if (lane->news_count >= MOST_NEWS - MOST_EVENTS) {
			struct session **end = &lane->again;

			while (*end)
				end = &(*end)->again;
			*end = all;
			return;
		}
		bool queued[2] = { one->queued[CLIENT], one->queued[SERVER] };

		all = one->again;
		one->queued[CLIENT] = one->queued[SERVER] = false;
		for (which = CLIENT; which <= SERVER; which++)
			if (queued[which] && !one->over)
				pump(lane, one, which, true, 0);
	}
}

static int wait_for(struct lane *lane, int64_t until)
{
	int64_t wait = until - lane->now, most;

	if (lane->again)
		return 0;
	if (lane->retry && lane->retry - lane->now < wait)
		wait = lane->retry - lane->now;
	if (wait <= 0)
		return 0;
	most = (wait >> GRAIN) + 1;
	most = (wheel_next(&lane->wheel, most) << GRAIN) - lane->now;
	return most < wait ? (most > 0 ? most : 0) : wait;
}

/* Serve sessions for *timeout* ms, or until there is something for Python; how many events are. */
int lane_turn(struct lane *lane, int timeout)
{
	struct epoll_event events[MOST_EVENTS];
	int64_t until;
	int n, at, theirs = 0;

	lane->now = clock_ms();
	until = lane->now + timeout;
	do {
		n = epoll_wait(lane->epoll, events, MOST_EVENTS, wait_for(lane, until));
		lane->now = clock_ms();
		for (at = 0; at < n; at++) {
			uint32_t fd = (uint32_t)events[at].data.u64, turn = events[at].data.u64 >> 32;

			if (fd >= lane->holder_count || lane->holders[fd].owner == NOBODY) {
				lane->events[theirs].fd = fd;
				lane->events[theirs++].events = events[at].events;
			} else if (lane->holders[fd].turn == turn) {
				act(lane, &events[at]);
			}
		}
		if (lane->again)
			go_on(lane);
		look(lane);
		while (lane->spare_count > SPARE_SESSIONS) {
			struct session *spare = lane->spare;

			lane->spare = spare->next;
			lane->spare_count--;
			free(spare);
		}
	} while (!theirs && !lane->news_count && lane->now < until && n >= 0);
	return theirs;
}

/* -- what Python says ----------------------------------------------------------------------- */

/* The sizes of what both languages see, for Python to compare with its own. */
void lane_sizes(uint32_t sizes[5])
{
	sizes[0] = offsetof(struct lane, epoll);
	sizes[1] = sizeof(struct news);
	sizes[2] = sizeof(struct columns);
	sizes[3] = sizeof(struct terms);
	sizes[4] = sizeof(struct listed);
}

/* *area*: the cells of this worker's on the board. NULL: no memory. */
struct lane *lane_open(int epoll, int64_t *area, const struct columns *columns, choose_t choose)
{
	struct lane *lane = calloc(1, sizeof(*lane));

	if (!lane)
		return NULL;
	lane->epoll = epoll;
	lane->area = area;
	lane->columns = *columns;
	lane->choose = choose;
	lane->now = clock_ms();
	lane->wheel.tick = lane->now >> GRAIN;
	return lane;
}

struct server *lane_server(struct lane *lane, const void *address, uint32_t length, uint32_t row)
{
	struct server *server = calloc(1, sizeof(*server));

	if (!server || length > sizeof(server->address)) {
		free(server);
		return NULL;
	}
	memcpy(&server->address, address, length);
	server->length = length;
	server->row = row_of(lane, row);
	server->users = 1;
	return server;
}

/* Whether it has neither sessions nor services. */
int lane_unused(const struct server *server)
{
	return server->users == 1;
}

/* Python knows it no more; its sessions go on. */
void lane_forget_server(struct server *server)
{
	if (!--server->users)
		free(server);
}

struct service *lane_service(struct lane *lane, uint64_t name, uint32_t row)
{
	struct service *service = calloc(1, sizeof(*service));

	if (!service)
		return NULL;
	service->name = name;
	service->row = row_of(lane, row);
	service->users = 1;
	return service;
}

void lane_forget_service(struct service *service)
{
	free_service(service);
}

/* What new sessions go by; *turn* NULL: Python chooses. 0: no memory, and nothing has changed. */
int lane_set_service(struct lane *lane, struct service *service, const struct terms *terms,
		     struct server **table, uint32_t size, int64_t *turn)
{
	struct server **copy = NULL, **before = service->table;
	uint32_t n, had = service->size;

	if (size) {
		copy = malloc(size * sizeof(*copy));
		if (!copy)
			return 0;
		memcpy(copy, table, size * sizeof(*copy));
		for (n = 0; n < size; n++)
			copy[n]->users++;
	}
	service->table = copy;
	service->size = size;
	service->turn = turn;
	service->terms = *terms;
	for (n = 0; n < had; n++)
		lane_forget_server(before[n]);
	free(before);
	if (lane->deaf)
		listen_again(lane);
	return 1;
}

/* Take clients of *service* from the listening socket *fd*; 0: no memory. */
int lane_listen(struct lane *lane, int fd, struct service *service)
{
	if (lane->listener_count == lane->listener_room) {
		uint32_t room = lane->listener_room + 16;
		int *grown = realloc(lane->listeners, room * sizeof(*grown));

		if (!grown)
			return 0;
		lane->listeners = grown;
		lane->listener_room = room;
	}
	if (!hold(lane, fd, LISTENER, 0, service, EPOLLIN, false))
		return 0;
	lane->listeners[lane->listener_count++] = fd;
	service->users++;
	return 1;
}

/* The socket stays open. */
void lane_silence(struct lane *lane, int fd)
{
	struct holder *here = &lane->holders[fd];
	struct service *service = here->one;
	uint32_t at = 0;

	while (lane->listeners[at] != fd)
		at++;
	lane->listeners[at] = lane->listeners[--lane->listener_count];
	if (here->deaf)
		lane->deaf--;
	else
		epoll_ctl(lane->epoll, EPOLL_CTL_DEL, fd, NULL);
	here->deaf = false;
	let_go(lane, fd);
	free_service(service);
}

/* Carry bytes between two of Python's sockets that its epoll set has; NULL: no memory. */
struct session *lane_carry(struct lane *lane, uint64_t name, const int fds[2], int64_t idle,
			   int64_t half, const int64_t rows[ROWS])
{
	struct session *one = new_session(lane);
	int which, row;

	if (!one)
		return NULL;
	one->name = name;
	one->half = half;
	for (row = OF_SERVICE; row < ROWS; row++)
		one->rows[row] = row_of(lane, rows[row]);
	for (which = CLIENT; which <= SERVER; which++) {
		one->side[which].fd = fds[which];
		if (!hold(lane, fds[which], SESSION, which, one, STREAM, true)) {
			if (which == SERVER)
				let_go(lane, fds[CLIENT]);
			free_session(lane, one);
			return NULL;
		}
	}
	one->side[SERVER].gathers = 2;
	wheel_watch(&lane->wheel, one, idle);
	return one;
}

/* Python takes its session back, which may be over. */
void lane_give_back(struct lane *lane, struct session *one, uint64_t counts[2])
{
	counts[CLIENT] = one->side[CLIENT].count;
	counts[SERVER] = one->side[SERVER].count;
	if (!one->over) {
		let_go(lane, one->side[CLIENT].fd);
		let_go(lane, one->side[SERVER].fd);
	}
	free_session(lane, one);
}

/* Cut the sessions of *server*, both ends with a reset; how many. */
int lane_kill(struct lane *lane, const struct server *server)
{
	struct session *one, *next;
	int killed = 0;

	for (one = lane->sessions; one; one = next) {
		next = one->next;
		if (one->service && one->server == server) {
			session_over(lane, one, KILLED);
			killed++;
		}
	}
	return killed;
}

/* How many sessions of *service* are Python's. */
void lane_lent(struct lane *lane, struct service *service, int lent)
{
	service->lent = lent;
	if (lane->deaf)
		listen_again(lane);
}

/* How many sessions of *service* are here. */
int lane_live(const struct service *service)
{
	return service->live;
}

/* The limit of all has been changed, or some of Python's sessions have ended. */
void lane_resume(struct lane *lane)
{
	if (lane->deaf)
		listen_again(lane);
}

/* At most *most* of the lane's own sessions, newest first; how many there are in *out*. */
int lane_list(const struct lane *lane, struct listed *out, int most)
{
	const struct session *one;
	int n = 0;

	for (one = lane->sessions; one && n < most; one = one->next) {
		if (!one->service)
			continue;
		out[n].service = one->service->name;
		out[n].server = (uintptr_t)one->server;
		out[n].began = one->began;
		out[n].seen = one->seen;
		out[n].counts[CLIENT] = one->side[CLIENT].count;
		out[n].counts[SERVER] = one->side[SERVER].count;
		out[n].fds[CLIENT] = one->side[CLIENT].fd;
		out[n].fds[SERVER] = one->side[SERVER].fd;
		out[n].connecting = one->connecting;
		n++;
	}
	return n;
}
