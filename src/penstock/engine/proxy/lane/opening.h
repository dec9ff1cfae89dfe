/* SPDX-License-Identifier: Apache-2.0 */
/* From accept() to the moment when both sides are connected, or Python has the client. */
#ifndef LANE_OPENING_H
#define LANE_OPENING_H

#include "sessions.h"
#include "sides.h"

#define MOST_ACCEPTS 64 /* a turn and listener (HAProxy: tune.maxaccept) */
#define RETRY 100       /* ms until no file being left is tried again */

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

#endif
