/* SPDX-License-Identifier: Apache-2.0 */
/* Deadlines: two wheels of lists, of 16 ms and of 16 s a place, so up to 4.6 hours.
 *
 * A deadline moves on with every byte. A session stays where it is found too early, and is put
 * where it belongs by then; only one that comes nearer is moved at once. */
#ifndef LANE_WHEEL_H
#define LANE_WHEEL_H

#include "model.h"

#define GRAIN 4   /* bits: 16 ms */
#define PLACES 1024
#define COARSE 10 /* bits: 1024 moments of the fine wheel are one of the coarse one */

struct wheel {
	int64_t tick; /* up to which all is done */
	struct session *places[2 * PLACES];
	uint64_t used[2 * PLACES / 64];
};

static inline void wheel_take(struct wheel *wheel, struct session *one)
{
	int at = one->moment;

	if (at < 0)
		return;
	if (one->later)
		one->later->earlier = one->earlier;
	if (one->earlier)
		one->earlier->later = one->later;
	else
		wheel->places[at] = one->later;
	if (!wheel->places[at])
		wheel->used[at / 64] &= ~(1ull << (at % 64));
	one->moment = -1;
}

static inline void wheel_link(struct wheel *wheel, struct session *one, int at)
{
	one->moment = at;
	one->earlier = NULL;
	one->later = wheel->places[at];
	if (one->later)
		one->later->earlier = one;
	wheel->places[at] = one;
	wheel->used[at / 64] |= 1ull << (at % 64);
}

static inline int64_t wheel_due(const struct session *one)
{
	return ((one->seen + one->patience) >> GRAIN) + 1;
}

static inline void wheel_put(struct wheel *wheel, struct session *one)
{
	int64_t tick = wheel_due(one), coarse;

	if (tick <= wheel->tick)
		tick = wheel->tick + 1;
	if (tick - wheel->tick < PLACES) {
		wheel_link(wheel, one, tick % PLACES);
		return;
	}
	coarse = tick >> COARSE;
	if (coarse - (wheel->tick >> COARSE) >= PLACES)
		coarse = (wheel->tick >> COARSE) + PLACES - 1;
	wheel_link(wheel, one, PLACES + coarse % PLACES);
}

/* When the list that it is in will be looked at. */
static inline int64_t wheel_when(const struct wheel *wheel, const struct session *one)
{
	int64_t at = one->moment, now = wheel->tick;

	if (at < PLACES)
		return now + 1 + (at - (now + 1) % PLACES + PLACES) % PLACES;
	at -= PLACES;
	now = (now >> COARSE) + 1;
	return (now + (at - now % PLACES + PLACES) % PLACES) << COARSE;
}

/* *one* has been seen just now, and has *patience* ms from now on; 0: for ever. */
static inline void wheel_watch(struct wheel *wheel, struct session *one, int64_t patience)
{
	one->patience = patience;
	if (!patience)
		return; /* found so when its moment comes */
	if (one->moment >= 0) {
		if (wheel_when(wheel, one) <= wheel_due(one))
			return;
		wheel_take(wheel, one);
	}
	wheel_put(wheel, one);
}

/* The first moment after *tick* that has anybody in it, at most *most* moments later. */
static inline int64_t wheel_next(const struct wheel *wheel, int64_t most)
{
	int64_t tick = wheel->tick + 1, last = wheel->tick + most;

	if (most > PLACES)
		last = wheel->tick + PLACES;
	while (tick <= last) {
		int at = tick % PLACES;
		uint64_t word = wheel->used[at / 64] >> (at % 64);

		if (tick % PLACES == 0) { /* the coarse wheel's turn */
			int slow = PLACES + (tick >> COARSE) % PLACES;

			if (wheel->places[slow])
				return tick;
		}
		if (word) {
			tick += __builtin_ctzll(word);
			return tick < last ? tick : last;
		}
		tick += 64 - at % 64;
	}
	return last;
}

#endif
