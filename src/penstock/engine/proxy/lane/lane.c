// SPDX-License-Identifier: Apache-2.0
/* The fast lane: plain connections of a worker, from accept() to close(), without Python.
 *
 * Python decides what is plain, which servers there are and, where their order is not enough, which
 * of them a client gets. Whatever does not go straight (nobody to choose, a server that does not
 * answer) is handed to Python, whose session goes on from there. Not thread-safe. */
#define _GNU_SOURCE
#include "lane.h"

#include <stdlib.h>
#include <sys/resource.h>

#include "sides.h"

#define MOST_ACCEPTS 64 /* a turn and listener (HAProxy: tune.maxaccept) */
#define SPARE_SESSIONS 256
#define SAMPLES 512 /* sessions that times are averaged over (HAProxy: TIME_STATS_SAMPLES) */
#define RETRY 100 /* ms until no file being left is tried again */

/* -- descriptors ---------------------------------------------------------------------------- */

static struct holder *holder(struct lane *lane, int fd)
{
	if ((uint32_t)fd >= lane->holder_count) {
		uint32_t wanted = (fd + 1024) & ~1023u;
		struct holder *grown = realloc(lane->holders, wanted * sizeof(*grown));

		if (!grown)
			return NULL;
		memset(grown + lane->holder_count, 0,
		       (wanted - lane->holder_count) * sizeof(*grown));
		lane->holders = grown;
		lane->holder_count = wanted;
	}
	return &lane->holders[fd];
}

/* From now on events of *fd* are those of *one*; *known*: it is in the epoll set already. */
static bool hold(struct lane *lane, int fd, enum owner owner, int which, void *one,
		 uint32_t events, bool known)
{
	struct holder *here = holder(lane, fd);
	struct epoll_event event = { .events = events };

	if (!here)
		return false;
	here->turn++;
	here->owner = owner;
	here->which = which;
	here->deaf = here->wanted = false;
	here->one = one;
	event.data.u64 = (uint64_t)here->turn << 32 | (uint32_t)fd;
	if (!epoll_ctl(lane->epoll, known ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, &event))
		return true;
	here->owner = NOBODY;
	return false;
}

static void let_go(struct lane *lane, int fd)
{
	lane->holders[fd].owner = NOBODY;
	lane->holders[fd].one = NULL;
}

static void drop(struct lane *lane, struct side *side, bool reset)
{
	static const struct linger at_once = { 1, 0 };

	if (side->fd < 0)
		return;
	if (reset)
		setsockopt(side->fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
	if (lane->holders && (uint32_t)side->fd < lane->holder_count)
		let_go(lane, side->fd);
	close(side->fd);
	side->fd = -1;
}

/* -- listeners ------------------------------------------------------------------------------ */

static bool full(const struct lane *lane, const struct service *service)
{
	return (service->terms.limit && service->live + service->lent >= service->terms.limit) ||
	       (lane->limit && lane->live + lane->elsewhere >= lane->limit);
}

/* What is not accepted waits in the listen queue, as with HAProxy. */
static void deafen(struct lane *lane, int fd)
{
	struct holder *here = &lane->holders[fd];

	if (here->deaf)
		return;
	here->deaf = true;
	lane->deaf++;
	epoll_ctl(lane->epoll, EPOLL_CTL_DEL, fd, NULL);
}

/* Somebody has left: listen again where it was full. */
static void listen_again(struct lane *lane)
{
	uint32_t at;

	for (at = 0; lane->deaf && at < lane->listener_count; at++) {
		int fd = lane->listeners[at];
		struct holder *here = &lane->holders[fd];
		struct epoll_event event = { .events = EPOLLIN };

		if (!here->deaf || full(lane, here->one))
			continue;
		if (lane->retry && here->wanted)
			continue;
		here->turn++;
		event.data.u64 = (uint64_t)here->turn << 32 | (uint32_t)fd;
		if (!epoll_ctl(lane->epoll, EPOLL_CTL_ADD, fd, &event)) {
			here->deaf = here->wanted = false;
			lane->deaf--;
		}
	}
}

static int64_t *row_of(const struct lane *lane, int64_t row)
{
	return lane->area + row * lane->columns.count;
}

/* -- sessions ------------------------------------------------------------------------------- */

static void free_service(struct service *service)
{
	uint32_t n;

	if (--service->users)
		return;
	for (n = 0; n < service->size; n++)
		if (!--service->table[n]->users)
			free(service->table[n]);
	free(service->table);
	free(service);
}

static struct session *new_session(struct lane *lane)
{
	struct session *one = lane->spare;

	if (one) {
		lane->spare = one->next;
		lane->spare_count--;
		memset(one, 0, sizeof(*one));
	} else {
		one = calloc(1, sizeof(*one));
		if (!one)
			return NULL;
	}
	one->moment = -1;
	one->side[CLIENT].fd = one->side[SERVER].fd = -1;
	one->began = one->seen = lane->now;
	one->next = lane->sessions;
	if (one->next)
		one->next->before = one;
	lane->sessions = one;
	return one;
}

/* Nothing will be done for it any more. */
static void stop_session(struct lane *lane, struct session *one)
{
	struct session **link;

	one->over = true;
	wheel_take(&lane->wheel, one);
	if (!one->queued[CLIENT] && !one->queued[SERVER])
		return;
	for (link = &lane->again; *link; link = &(*link)->again)
		if (*link == one) {
			*link = one->again;
			break;
		}
	one->queued[CLIENT] = one->queued[SERVER] = false;
}

/* Takes *one* out of everything; its descriptors are the caller's. */
static void free_session(struct lane *lane, struct session *one)
{
	int which;

	stop_session(lane, one);
	for (which = CLIENT; which <= SERVER; which++) {
		free(one->side[which].rest);
		if (one->side[which].pipe)
			pipe_give_back(&lane->pipes, one->side[which].pipe);
	}
	if (one->next)
		one->next->before = one->before;
	if (one->before)
		one->before->next = one->next;
	else
		lane->sessions = one->next;
	if (one->service) /* Python's are counted there */
		lane->live--;
	/* Whoever called us may still look at it: it is another's only in the next turn. */
	one->next = lane->spare;
	lane->spare = one;
	lane->spare_count++;
}

/* The places that it took are free. */
static void leave(struct lane *lane, struct session *one)
{
	int row;

	for (row = OF_SERVICE; row < ROWS; row++)
		if (one->rows[row])
			counted(one->rows[row], lane->columns.live, -1);
	one->service->live--;
	if (one->server && !--one->server->users)
		free(one->server);
	one->server = NULL;
}

/* As lasted() of tally.py: a mean over the last sessions, of which this is one. */
static void lasted(int64_t *row, int32_t chosen, int32_t column, int32_t most, int64_t value)
{
	if (row[chosen] > SAMPLES)
		row[column] -= (row[column] + SAMPLES - 1) / SAMPLES;
	row[column] += value;
	if (value > row[most])
		row[most] = value;
}

/* What a session that a server had taken was like. */
static void sum_up(const struct lane *lane, struct session *one, enum ending how)
{
	const struct columns *columns = &lane->columns;
	bool servers = how == RESET_BY_SERVER ||
		       (how == TIMED_OUT && one->service->terms.server_is_less_patient);
	int row;

	for (row = OF_POOL; row < ROWS; row++) {
		int64_t *cells = one->rows[row];

		lasted(cells, columns->chosen, columns->connect_time, columns->connect_time_max,
		       one->reached - one->began);
		lasted(cells, columns->chosen, columns->total_time, columns->total_time_max,
		       lane->now - one->began);
		if (how != FINISHED && how != KILLED)
			cells[servers ? columns->server_aborts : columns->client_aborts]++;
	}
}

static struct news *tell(struct lane *lane, enum kind kind)
{
	struct news *news = &lane->news[lane->news_count++];

	memset(news, 0, sizeof(*news));
	news->kind = kind;
	return news;
}

void session_over(struct lane *lane, struct session *one, enum ending how)
{
	struct service *service = one->service;

	if (one->over)
		return;
	if (!service) { /* Python closes what is Python's, and gives the session back */
		struct news *news = tell(lane, OVER);

		news->name = one->name;
		news->error = how;
		news->ended = one->side[CLIENT].ended | one->side[SERVER].ended << 1;
		let_go(lane, one->side[CLIENT].fd);
		let_go(lane, one->side[SERVER].fd);
		stop_session(lane, one);
		return;
	}
	drop(lane, &one->side[CLIENT], how == RESET_BY_SERVER || how == KILLED);
	drop(lane, &one->side[SERVER], how == RESET_BY_CLIENT || how == KILLED);
	if (!one->connecting)
		sum_up(lane, one, how);
	leave(lane, one);
	free_session(lane, one);
	free_service(service);
	if (lane->deaf)
		listen_again(lane);
}

/* Python goes on with the client. */
static void hand_up(struct lane *lane, struct session *one, int error)
{
	struct service *service = one->service;
	struct news *news = tell(lane, one->server ? NOT_THERE : NO_SERVER);

	news->name = service->name;
	news->server = (uintptr_t)one->server;
	news->error = error;
	news->fd = one->side[CLIENT].fd;
	drop(lane, &one->side[SERVER], false);
	if (lane->holder_count > (uint32_t)news->fd)
		let_go(lane, news->fd);
	one->side[CLIENT].fd = -1;
	/* It will be counted there. */
	counted(one->rows[OF_SERVICE], lane->columns.total, -1);
	counted(one->rows[OF_SERVICE], lane->columns.sessions, -1);
	if (one->rows[OF_POOL])
		counted(one->rows[OF_POOL], lane->columns.total, -1);
	leave(lane, one);
	service->lent++;
	free_session(lane, one);
	free_service(service);
}

/* Both are connected: from here on bytes are carried. */
static void establish(struct lane *lane, struct session *one, uint32_t events)
{
	one->connecting = false;
	one->side[SERVER].gathers = 2;
	counted(one->rows[OF_POOL], lane->columns.connected, 1);
	counted(one->rows[OF_SERVER], lane->columns.connected, 1);
	one->rows[OF_SERVER][lane->columns.errors_in_a_row] = 0;
	one->seen = one->reached = lane->now;
	wheel_watch(&lane->wheel, one, one->service->terms.idle);
	one->half = one->service->terms.half;
	if (!hold(lane, one->side[CLIENT].fd, SESSION, CLIENT, one, STREAM, false)) {
		session_over(lane, one, RESET_BY_SERVER);
		return;
	}
	pump(lane, one, CLIENT, false, 0); /* most clients have spoken by now */
	if (events && !one->over)
		on_stream(lane, one, SERVER, events);
}

static void on_connect(struct lane *lane, struct session *one, uint32_t events)
{
	int error = 0;
	socklen_t length = sizeof(error);

	if (events & (EPOLLHUP | EPOLLERR)) {
		getsockopt(one->side[SERVER].fd, SOL_SOCKET, SO_ERROR, &error, &length);
		if (error || !(events & EPOLLOUT)) {
			hand_up(lane, one, error ? error : ECONNREFUSED);
			return;
		}
	}
	if (events & EPOLLOUT)
		establish(lane, one, events & ~EPOLLOUT);
}

static struct server *choose(struct lane *lane, struct service *service, int fd)
{
	if (!service->turn)
		return lane->choose(service->name, fd);
	return service->size ? service->table[(uint64_t)(*service->turn)++ % service->size] : NULL;
}

/* A client of *service* has come as *fd*. */
static void begin(struct lane *lane, struct service *service, int fd)
{
	const struct columns *columns = &lane->columns;
	struct session *one = new_session(lane);
	struct server *server;
	int theirs, error, row;

	if (!one) {
		close(fd);
		return;
	}
	one->service = service;
	lane->live++;
	service->users++;
	service->live++;
	one->rows[OF_SERVICE] = service->row;
	one->side[CLIENT].fd = fd;
	came(columns, service->row);
	counted(service->row, columns->total, 1);
	counted(service->row, columns->sessions, 1);
	server = choose(lane, service, fd);
	if (!server) {
		hand_up(lane, one, 0);
		return;
	}
	server->users++;
	one->server = server;
	one->rows[OF_POOL] = row_of(lane, service->terms.pool);
	one->rows[OF_SERVER] = server->row;
	for (row = OF_POOL; row < ROWS; row++) {
		came(columns, one->rows[row]);
		counted(one->rows[row], columns->total, 1);
		counted(one->rows[row], columns->chosen, 1);
		one->rows[row][columns->last] = lane->now / 1000;
	}
	theirs = socket(server->address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (theirs < 0) {
		hand_up(lane, one, errno);
		return;
	}
	one->side[SERVER].fd = theirs;
	error = connect(theirs, (struct sockaddr *)&server->address, server->length) ? errno : 0;
	if (error && error != EINPROGRESS) {
		hand_up(lane, one, error);
		return;
	}
	one->connecting = true;
	if (!hold(lane, theirs, SESSION, SERVER, one, STREAM, false)) {
		hand_up(lane, one, ENOMEM);
		return;
	}
	wheel_watch(&lane->wheel, one, service->terms.connect);
}

static bool no_room_for_news(const struct lane *lane)
{
	return lane->news_count >= MOST_NEWS / 2;
}

static void on_listener(struct lane *lane, int listener)
{
	int accepts;

	for (accepts = 0; accepts < MOST_ACCEPTS; accepts++) {
		struct service *service = lane->holders[listener].one;
		int fd;

		if (full(lane, service)) {
			deafen(lane, listener);
			return;
		}
		if (no_room_for_news(lane))
			return;
		fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd >= 0) {
			begin(lane, service, fd);
		} else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
			deafen(lane, listener);
			lane->holders[listener].wanted = true;
			lane->retry = lane->now + RETRY;
			return;
		} else if (errno == EAGAIN) {
			return;
		}
	}
}

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
