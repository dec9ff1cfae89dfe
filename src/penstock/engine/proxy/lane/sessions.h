/* SPDX-License-Identifier: Apache-2.0 */
/* A session's place among all others, what it is counted as, and its end. */
#ifndef LANE_SESSIONS_H
#define LANE_SESSIONS_H

#include "listeners.h"

#define SAMPLES 512 /* sessions that times are averaged over (HAProxy: TIME_STATS_SAMPLES) */

static int64_t *row_of(const struct lane *lane, int64_t row)
{
	return lane->area + row * lane->columns.count;
}

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
		if (how == RESET_BY_SERVER)
			cells[columns->response_errors]++;
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

#endif
