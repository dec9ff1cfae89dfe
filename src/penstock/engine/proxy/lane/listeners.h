/* SPDX-License-Identifier: Apache-2.0 */
/* Whose events are whose, and listening sockets: not listened to while their service is full. */
#ifndef LANE_LISTENERS_H
#define LANE_LISTENERS_H

#include <stdlib.h>
#include <string.h>

#include "lane.h"

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

#endif
