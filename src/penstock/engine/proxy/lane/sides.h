/* SPDX-License-Identifier: Apache-2.0 */
/* Two sides of a session: what is read from one goes to the other. As side.py, which says more.
 *
 * Events come once for each change (EPOLLET). A read that fills less than the buffer has emptied
 * the socket (epoll(7), "Do I need to continuously read..."). What the other side does not take
 * stays here, one read of it at most, and nothing more is read until it is gone: so when one side
 * is found to have ended, all that it sent has been passed on. */
#ifndef LANE_SIDES_H
#define LANE_SIDES_H

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>

#include "lane.h"

#define BULK_SIZE (1 << 14)
#define BULK_READS 8
#define MOST_READS 8 /* in a row from one that always has more: then others have their turn */

static inline bool waits(const struct side *side)
{
	return side->rest || side->pipe;
}

static void send_at_once(struct side *side)
{
	int on = 1;

	side->gathers = 0;
	setsockopt(side->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)); /* not a UNIX socket's */
}

static void broken(struct lane *lane, struct session *one, int which)
{
	session_over(lane, one, which == CLIENT ? RESET_BY_CLIENT : RESET_BY_SERVER);
}

/* *which* has sent its last byte: so will we, to the other side. */
static void ended(struct lane *lane, struct session *one, int which)
{
	one->side[which].ended = true;
	if (one->side[!which].ended) {
		session_over(lane, one, FINISHED);
	} else if (shutdown(one->side[!which].fd, SHUT_WR)) {
		broken(lane, one, !which);
	} else if (one->half) {
		one->seen = lane->now;
		wheel_watch(&lane->wheel, one, one->half);
	}
}

static void again_later(struct lane *lane, struct session *one, int which)
{
	if (!one->queued[CLIENT] && !one->queued[SERVER]) {
		one->again = lane->again;
		lane->again = one;
	}
	one->queued[which] = true;
}

static void received(struct lane *lane, struct session *one, int which, ssize_t bytes)
{
	int32_t column = which == CLIENT ? lane->columns.bytes_in : lane->columns.bytes_out;
	int row;

	one->side[which].count += bytes;
	one->seen = lane->now;
	for (row = OF_SERVICE; row < ROWS; row++)
		counted(one->rows[row], column, bytes);
}

/* As pump(), without copying: large amounts. */
static void pump_pipe(struct lane *lane, struct session *one, int which)
{
	const unsigned int flags = SPLICE_F_MOVE | SPLICE_F_NONBLOCK;
	struct side *side = &one->side[which], *other = &one->side[!which];
	struct pipe *pipe = pipe_take(&lane->pipes);
	int reads;

	if (!pipe) {
		side->bulk = 0;
		again_later(lane, one, which);
		return;
	}
	for (reads = 0; reads < MOST_READS; reads++) {
		ssize_t got = splice(side->fd, NULL, pipe->in, NULL, PIPE_BYTES, flags);

		if (got <= 0) {
			int error = errno;

			pipe_give_back(&lane->pipes, pipe);
			if (!got)
				ended(lane, one, which);
			else if (error != EAGAIN)
				broken(lane, one, which);
			return;
		}
		pipe->held = got;
		received(lane, one, which, got);
		if (got < BULK_SIZE)
			side->bulk--;
		while (pipe->held) {
			ssize_t sent = splice(pipe->out, NULL, other->fd, NULL, pipe->held, flags);

			if (sent < 0) {
				other->pipe = pipe;
				if (errno != EAGAIN)
					broken(lane, one, !which);
				return;
			}
			pipe->held -= sent;
		}
	}
	pipe_give_back(&lane->pipes, pipe);
	again_later(lane, one, which);
}

/* Carry what has arrived to the other side; *more*: do not trust a short read. */
static void pump(struct lane *lane, struct session *one, int which, bool more, int flags)
{
	struct side *side = &one->side[which], *other = &one->side[!which];
	int reads;

	if (side->ended)
		return;
	for (reads = 0; reads < MOST_READS; reads++) {
		ssize_t got, sent;

		if (waits(other))
			return;
		if (side->bulk >= BULK_READS) {
			pump_pipe(lane, one, which);
			return;
		}
		got = recv(side->fd, lane->buffer, BUFFER, 0);
		if (got < 0) {
			if (errno != EAGAIN)
				broken(lane, one, which);
			return;
		}
		if (!got) {
			ended(lane, one, which);
			return;
		}
		received(lane, one, which, got);
		if (other->gathers && !--other->gathers)
			send_at_once(other);
		sent = send(other->fd, lane->buffer, got, flags | MSG_NOSIGNAL);
		if (sent < 0) {
			if (errno != EAGAIN) {
				broken(lane, one, !which);
				return;
			}
			sent = 0;
		}
		if (got < BULK_SIZE)
			side->bulk = 0;
		else if (side->bulk < BULK_READS)
			side->bulk++;
		if (sent < got) {
			struct rest *rest = malloc(sizeof(*rest) + (got - sent));

			if (!rest) {
				broken(lane, one, !which);
				return;
			}
			if (other->gathers)
				send_at_once(other);
			rest->from = 0;
			rest->to = got - sent;
			memcpy(rest->bytes, lane->buffer + sent, rest->to);
			other->rest = rest;
			return;
		}
		if (got < BUFFER && !more)
			return;
	}
	again_later(lane, one, which);
}

/* Send what is pending; whether all of it is gone and more may follow. */
static bool send_rest(struct lane *lane, struct session *one, int which)
{
	struct side *side = &one->side[which];

	while (waits(side)) {
		struct rest *rest = side->rest;
		ssize_t sent;

		if (rest)
			sent = send(side->fd, rest->bytes + rest->from, rest->to - rest->from, MSG_NOSIGNAL);
		else
			sent = splice(side->pipe->out, NULL, side->fd, NULL, side->pipe->held,
				      SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
		if (sent < 0) {
			if (errno != EAGAIN)
				broken(lane, one, which);
			return false;
		}
		one->seen = lane->now;
		if (rest) {
			rest->from += sent;
			if (rest->from == rest->to) {
				free(rest);
				side->rest = NULL;
			}
		} else {
			side->pipe->held -= sent;
			if (!side->pipe->held) {
				pipe_give_back(&lane->pipes, side->pipe);
				side->pipe = NULL;
			}
		}
	}
	return true;
}

static void on_stream(struct lane *lane, struct session *one, int which, uint32_t events)
{
	struct side *side = &one->side[which];

	if (events & EPOLLOUT && waits(side) && send_rest(lane, one, which))
		pump(lane, one, !which, true, 0);
	if (one->over || !(events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)))
		return;
	if (!(events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)))
		pump(lane, one, which, false, 0);
	else if (!side->ended)
		/* What is there is all that will come: the end can go along with it. */
		pump(lane, one, which, true, events & EPOLLRDHUP ? MSG_MORE : 0);
	else if (events & (EPOLLHUP | EPOLLERR))
		broken(lane, one, which);
}

#endif
