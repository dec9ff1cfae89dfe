/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * IPVS's schedulers. A pool's table is the kernel's list of destinations, most recently added
 * first, and ties are broken in its order, so that one sequence of connections gives the kernel's
 * sequence of destinations. Live counts are exact (ipvs_count.h).
 */
#pragma once
#include "scratch.h"

/* Destinations looked at, a group in a function of its own: as in select.h, for the verifier's sake. */
#define LIST_GROUP 32
#define MAX_LIST 1024
#define MAX_FALLBACK 256 /* sh: all of its buckets; mh: what is tried before the list */
#define CURSOR_TRIES 8
#define NO_DESTINATION 0u
#define HASH_GOLDEN 0x61c88647u /* GOLDEN_RATIO_32, include/linux/hash.h */
#define MH_KEY 2654435761ULL /* ip_vs_mh_init_svc(): hash1 */
#define SIP_0 0x736f6d6570736575ULL
#define SIP_1 0x646f72616e646f6dULL
#define SIP_2 0x6c7967656e657261ULL
#define SIP_3 0x7465646279746573ULL

static __always_inline u32 listed(u32 at)
{
	u32 *e = map_lookup(&tables, &at);

	return e ? *e : 0;
}

/* The weight of a table's entry, 0 where it must not be given connections. */
__noinline u32 weight_at(u32 at)
{
	u32 id = listed(at);
	struct real_live *r = map_lookup(&real_lives, &id);

	return !r || !r->available || r->overloaded ? 0 : r->weight;
}

static __always_inline u32 available_id(u32 id)
{
	struct real_live *r = map_lookup(&real_lives, &id);

	return r && r->available && !r->overloaded && r->weight ? id : NO_DESTINATION;
}

/* How many of a group's places come before the first one with that weight; *len*: there is none. */
__noinline u32 first_in_group(u32 at, u32 len, u32 level)
{
	for (u32 n = 0; n < LIST_GROUP && n < len; n++)
		if (weight_at(at + n) >= level)
			return n;
	return len;
}

/* The first place in [from, to) of a list whose weight is at least *level*, or *to*. */
__noinline u32 first_from(u32 base, u32 from, u32 to, u32 level)
{
	for (u32 n = 0; n < MAX_LIST && from + n < to; n += LIST_GROUP) {
		u32 before = first_in_group(base + from + n, to - from - n, level);

		if (before < to - from - n)
			return from + n + before;
	}
	return to;
}

__noinline u32 max_weight_in_group(u32 at, u32 len, u32 max)
{
	for (u32 n = 0; n < LIST_GROUP && n < len; n++)
		max = greater(max, weight_at(at + n));
	return max;
}

__noinline u32 max_weight_of(u32 base, u32 len)
{
	u32 max = 0;

	for (u32 n = 0; n < MAX_LIST && n < len; n += LIST_GROUP)
		max = max_weight_in_group(base + n, len - n, max);
	return max;
}

static __always_inline u64 cursor(u32 place, u32 level)
{
	return (u64)level << 32 | place;
}

/* Round robin: the next available one after the last choice (ip_vs_rr_schedule()). */
__noinline u32 select_rr(u32 pool_id)
{
	struct pool *p = map_lookup(&pools, &pool_id);
	u64 *at = map_lookup(&cursors, &pool_id);

	if (!p || !at)
		return NO_DESTINATION;
	for (int i = 0; i < CURSOR_TRIES; i++) {
		u64 was = *(volatile u64 *)at;
		u32 from = (u32)was < p->len ? (u32)was : 0;
		u32 place = first_from(p->base, from, p->len, 1);

		if (place >= p->len)
			place = first_from(p->base, 0, from, 1);
		if (place >= p->len || !weight_at(p->base + place))
			return NO_DESTINATION;
		if (__sync_val_compare_and_swap(at, was, cursor(place + 1, 0)) == was)
			return listed(p->base + place);
	}
	return NO_DESTINATION;
}

/*
 * Weighted round robin (ip_vs_wrr_schedule()): the next one, from the last choice on, whose weight
 * reaches the level; at the list's end the level goes down a step, after the lowest it starts
 * again at the top. Levels that nobody available reaches are passed over at once.
 */
__noinline u32 select_wrr(u32 pool_id)
{
	struct pool *p = map_lookup(&pools, &pool_id);
	u64 *at = map_lookup(&cursors, &pool_id);

	if (!p || !at || !p->max_weight || !p->step)
		return NO_DESTINATION;
	for (int i = 0; i < CURSOR_TRIES; i++) {
		u64 was = *(volatile u64 *)at;
		u32 from = (u32)was, level = was >> 32;
		u32 place = first_from(p->base, from, p->len, level), max;

		if (place >= p->len) {
			max = max_weight_of(p->base, p->len);
			if (!max)
				return NO_DESTINATION;
			level = level > p->step ? level - p->step : p->max_weight;
			if (level > max)
				level -= (level - max + p->step - 1) / p->step * p->step;
			place = first_from(p->base, 0, p->len, level);
			if (place >= p->len)
				return NO_DESTINATION;
		}
		if (__sync_val_compare_and_swap(at, was, cursor(place + 1, level)) == was)
			return listed(p->base + place);
	}
	return NO_DESTINATION;
}

/* How loaded a destination is, in the words of each scheduler. */
static __always_inline u64 overhead(const struct real_live *r, u32 selection)
{
	u64 active = r->active;

	return selection == SELECT_IPVS_SED || selection == SELECT_IPVS_NQ ?
		       active + 1 : (active << 8) + r->conns;
}

/* Of the destinations *best* (NO_DESTINATION at first) and *id*, which would be chosen? */
static __always_inline u32 better(u32 best, u32 id, u32 selection)
{
	struct real_live *r = map_lookup(&real_lives, &id), *b = map_lookup(&real_lives, &best);

	if (!r || !r->available || r->overloaded || !r->weight)
		return best;
	if (selection == SELECT_IPVS_OVF && r->active > r->weight)
		return best;
	if (best == NO_DESTINATION || !b)
		return id;
	if (selection == SELECT_IPVS_NQ && (!b->active || !r->active))
		return b->active ? id : best; /* the first idle one */
	switch (selection) {
	case SELECT_IPVS_LC:
		return overhead(r, selection) < overhead(b, selection) ? id : best;
	case SELECT_IPVS_FO:
	case SELECT_IPVS_OVF:
		return r->weight > b->weight ? id : best;
	default:
		return overhead(b, selection) * r->weight > overhead(r, selection) * b->weight ?
			       id : best;
	}
}

/* The same for a table's entry, seen once by the verifier and not at every turn of a loop. */
__noinline u32 preferred(u32 best, u32 at, u32 selection)
{
	return better(best, listed(at), selection);
}

__noinline u32 best_in_group(u32 best, u32 at, u32 len, u32 selection)
{
	for (u32 n = 0; n < LIST_GROUP && n < len; n++)
		best = preferred(best, at + n, selection);
	return best;
}

__noinline u32 select_best(u32 base, u32 len, u32 selection)
{
	u32 best = NO_DESTINATION;

	for (u32 n = 0; n < MAX_LIST && n < len; n += LIST_GROUP)
		best = best_in_group(best, base + n, len - n, selection);
	return best;
}

/* Two choices at random by weight, and the less loaded of them (ip_vs_twos_schedule()). */
__noinline u32 draw_left(u32 at, u32 draw)
{
	u32 weight = weight_at(at);

	return draw > weight ? draw - weight : 0;
}

__noinline u32 weight_of_group(u32 at, u32 len)
{
	u32 total = 0;

	for (u32 n = 0; n < LIST_GROUP && n < len; n++)
		total += weight_at(at + n);
	return total;
}

__noinline u32 total_weight_of(u32 base, u32 len)
{
	u32 total = 0;

	for (u32 n = 0; n < MAX_LIST && n < len; n += LIST_GROUP)
		total += weight_of_group(base + n, len - n);
	return total;
}

/* Whom the draw meets in the group; in the upper half what is left of it, when it is nobody there. */
__noinline u64 drawn_from_group(u32 at, u32 len, u32 draw)
{
	for (u32 n = 0; n < LIST_GROUP && n < len; n++) {
		draw = draw_left(at + n, draw);
		if (!draw)
			return listed(at + n);
	}
	return (u64)draw << 32;
}

__noinline u32 drawn(u32 base, u32 len, u32 draw)
{
	for (u32 n = 0; n < MAX_LIST && n < len; n += LIST_GROUP) {
		u64 found = drawn_from_group(base + n, len - n, draw);

		draw = found >> 32;
		if (!draw)
			return found;
	}
	return NO_DESTINATION;
}

static __always_inline u32 select_twos(const struct pool *p)
{
	u64 total = total_weight_of(p->base, p->len);
	u32 one = drawn(p->base, p->len, ((u64)prandom_u32() * total >> 32) + 1);
	u32 other = drawn(p->base, p->len, ((u64)prandom_u32() * total >> 32) + 1);

	return better(one, other, SELECT_IPVS_TWOS);
}

static __always_inline u32 folded(const be32 *addr)
{
	return ntohl(addr[0] ^ addr[1] ^ addr[2] ^ addr[3]);
}

static __always_inline u32 bucket(u32 x)
{
	return x * HASH_GOLDEN >> 24;
}

#define rotate(x, n) ((x) << (n) | (x) >> (64 - (n)))
#define SIP_ROUND                                            \
	do {                                                 \
		v0 += v1; v1 = rotate(v1, 13); v1 ^= v0;     \
		v0 = rotate(v0, 32);                         \
		v2 += v3; v3 = rotate(v3, 16); v3 ^= v2;     \
		v0 += v3; v3 = rotate(v3, 21); v3 ^= v0;     \
		v2 += v1; v1 = rotate(v1, 17); v1 ^= v2;     \
		v2 = rotate(v2, 32);                         \
	} while (0)

/* SipHash-1-3 of four bytes, as the kernel's hsiphash() on 64-bit machines. */
__noinline u32 mh_hash(u32 word)
{
	u64 v0 = SIP_0 ^ MH_KEY, v1 = SIP_1 ^ MH_KEY, v2 = SIP_2 ^ MH_KEY, v3 = SIP_3 ^ MH_KEY;
	u64 b = 4ULL << 56 | word;

	v3 ^= b;
	SIP_ROUND;
	v0 ^= b;
	v2 ^= 0xff;
	SIP_ROUND;
	SIP_ROUND;
	SIP_ROUND;
	return v0 ^ v1 ^ v2 ^ v3;
}

__noinline u32 hashed_available(u32 at)
{
	return available_id(listed(at));
}

/* With fallback: the entry for *what* at *offset* from its first one. */
__noinline u32 hashed_beside(u32 pool_id, u32 what, u32 offset)
{
	struct pool *p = map_lookup(&pools, &pool_id);

	if (!p || !p->hash_len)
		return NO_DESTINATION;
	offset %= p->hash_len;
	if (p->selection == SELECT_IPVS_MH)
		return hashed_available(p->hash_base + mh_hash(what + offset) % p->hash_len);
	return hashed_available(p->hash_base + ((offset + bucket(what)) & 255));
}

/* What sh and mh choose: their table's entry, or with fallback the next one that is available. */
__noinline u32 select_hashed(u32 pool_id, u32 what)
{
	struct pool *p = map_lookup(&pools, &pool_id);
	u32 first, id;

	if (!p || !p->hash_len)
		return NO_DESTINATION;
	first = p->selection == SELECT_IPVS_MH ? mh_hash(what) % p->hash_len : bucket(what);
	id = hashed_available(p->hash_base + first);
	if (id || !(p->flags & POOL_FALLBACK))
		return id;
	for (u32 n = 0; n < MAX_FALLBACK && !id; n++)
		id = hashed_beside(pool_id, what, first + n);
	return id ?: select_best(p->base, p->len, SELECT_IPVS_FO);
}

/* lblc and lblcr: is the destination over its weight while another is below half of its own? */
__noinline u32 has_room(u32 at)
{
	u32 id = listed(at);
	struct real_live *r = map_lookup(&real_lives, &id);

	return r && (u64)r->active * 2 < r->weight;
}

__noinline u32 room_in_group(u32 at, u32 len)
{
	u32 found = 0;

	for (u32 n = 0; n < LIST_GROUP && n < len; n++)
		found |= has_room(at + n);
	return found;
}

__noinline u32 is_overloaded(u32 id, u32 base, u32 len)
{
	struct real_live *r = map_lookup(&real_lives, &id);
	u32 found = 0;

	if (!r || r->active <= r->weight)
		return 0;
	for (u32 n = 0; n < MAX_LIST && n < len; n += LIST_GROUP)
		found |= room_in_group(base + n, len - n);
	return found;
}

/* Locality-based least connections (ip_vs_lblc_schedule()). */
__noinline u32 select_lblc(u32 pool_id, const struct key *k)
{
	struct pool *p = map_lookup(&pools, &pool_id);
	struct cache_key at = { .pool = pool_id };
	struct director *d = director();
	u32 now = now_tick(), id;
	struct real_live *r;
	struct cache *known;

	if (!p || !d || !k)
		return NO_DESTINATION;
	__builtin_memcpy(at.addr, k->daddr, 16);
	known = map_lookup(&caches, &at);
	if (known && now - known->used <= d->cache_ticks) {
		known->used = now;
		id = known->reals[0];
		r = map_lookup(&real_lives, &id);
		if (r && r->available && r->weight && !is_overloaded(id, p->base, p->len))
			return id;
	}
	id = select_best(p->base, p->len, SELECT_IPVS_WLC);
	if (id != NO_DESTINATION) {
		struct cache fresh = { .used = now, .changed = now, .len = 1, .reals = { id } };

		map_update(&caches, &at, &fresh, UPDATE_ANY);
	}
	return id;
}

/*
 * lblcr's set of the address in scratch->cached. Functions of their own, for a loop over what they
 * do inline is too much for the verifier.
 */
static __always_inline struct cache *cached_set(void)
{
	struct scratch *s = scratch();

	return s ? map_lookup(&caches, &s->cached) : NULL;
}

__noinline u32 cached(u32 n)
{
	struct cache *c = cached_set();

	return c && n < CACHE_SET ? c->reals[n] : NO_DESTINATION;
}

__noinline u32 preferred_cached(u32 best, u32 n)
{
	return better(best, cached(n), SELECT_IPVS_WLC);
}

/* Of the places *most* (CACHE_SET: none) and *n* the one of the more loaded (ip_vs_dest_set_max()). */
__noinline u32 heavier_cached(u32 most, u32 n)
{
	u32 a = cached(most), b = cached(n);
	struct real_live *m = map_lookup(&real_lives, &a), *r = map_lookup(&real_lives, &b);

	if (!r || !r->weight)
		return most;
	if (a == NO_DESTINATION || !m)
		return n;
	return overhead(m, SELECT_IPVS_WLC) * r->weight < overhead(r, SELECT_IPVS_WLC) * m->weight ?
		       n : most;
}

__noinline u32 drop_heaviest(u32 len, u32 now)
{
	struct cache *c = cached_set();
	u32 most = CACHE_SET;

	for (u32 n = 0; n < CACHE_SET && n < len; n++)
		most = heavier_cached(most, n);
	if (!c || most >= CACHE_SET || len < 2 || len > CACHE_SET)
		return 0;
	c->reals[most] = c->reals[len - 1];
	c->len = len - 1;
	c->changed = now;
	return 0;
}

/* Puts *id* in front of the set, or makes a set of it. Returns *id*. */
__noinline u32 remember_in_set(u32 id, u32 len, u32 now)
{
	struct cache fresh = { .used = now, .changed = now, .len = 1, .reals = { id } };
	struct scratch *s = scratch();
	struct cache *c = cached_set();

	if (!s)
		return id;
	for (u32 n = 0; n < CACHE_SET && n < len; n++)
		if (cached(n) == id)
			return id;
	if (c && len) {
		fresh.len = len < CACHE_SET ? len + 1 : CACHE_SET;
		__builtin_memcpy(&fresh.reals[1], c->reals, sizeof(u32) * (CACHE_SET - 1));
	}
	map_update(&caches, &s->cached, &fresh, UPDATE_ANY);
	return id;
}

/* With replication: an address has a set of destinations (ip_vs_lblcr_schedule()). */
__noinline u32 select_lblcr(u32 pool_id, const struct key *k)
{
	struct pool *p = map_lookup(&pools, &pool_id);
	u32 now = now_tick(), id = NO_DESTINATION, len = 0;
	struct director *d = director();
	struct scratch *s = scratch();
	struct cache *known;

	if (!p || !d || !k || !s)
		return NO_DESTINATION;
	s->cached.pool = pool_id;
	__builtin_memcpy(s->cached.addr, k->daddr, 16);
	known = cached_set();
	if (known && now - known->used <= d->cache_ticks) {
		known->used = now;
		len = known->len;
		for (u32 n = 0; n < CACHE_SET && n < len; n++)
			id = preferred_cached(id, n);
		if (len > 1 && now - known->changed > d->cache_set_ticks)
			drop_heaviest(len, now);
		if (id != NO_DESTINATION && !is_overloaded(id, p->base, p->len))
			return id;
	}
	id = select_best(p->base, p->len, SELECT_IPVS_WLC);
	return id == NO_DESTINATION ? id : remember_in_set(id, len, now);
}

/* A destination for a new connection, or NO_DESTINATION. */
static __always_inline u32 ipvs_select(const struct pool *p, u32 pool_id, const struct key *k)
{
	u32 what = folded(k->saddr);

	if (!p->len)
		return NO_DESTINATION;
	if (p->flags & POOL_HASH_PORT)
		what += ntohs(k->sport);
	switch (p->selection) {
	case SELECT_IPVS_RR:
		return select_rr(pool_id);
	case SELECT_IPVS_WRR:
		return select_wrr(pool_id);
	case SELECT_IPVS_LC:
	case SELECT_IPVS_WLC:
	case SELECT_IPVS_SED:
	case SELECT_IPVS_NQ:
	case SELECT_IPVS_FO:
	case SELECT_IPVS_OVF:
		return select_best(p->base, p->len, p->selection);
	case SELECT_IPVS_LBLC:
		return select_lblc(pool_id, k);
	case SELECT_IPVS_LBLCR:
		return select_lblcr(pool_id, k);
	case SELECT_IPVS_DH:
		return p->hash_len ? hashed_available(p->hash_base + bucket(folded(k->daddr))) :
				     NO_DESTINATION;
	case SELECT_IPVS_SH:
	case SELECT_IPVS_MH:
		return select_hashed(pool_id, what);
	case SELECT_IPVS_TWOS:
		return select_twos(p);
	default:
		return NO_DESTINATION;
	}
}
