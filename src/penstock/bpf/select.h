/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Which service a packet is for, and which real server a new flow goes to. */
#pragma once
#include "flow.h"

#define MAX_SCAN 1024 /* entries looked at; windows of a larger table */
#define MAX_TRIES 16 /* hash: next table entries tried when a real is full */
#define MAX_DRAWS 16

/* new_flow() and select answer with a slot or real id, or with one of these. */
#define REFUSAL(reason) (0xffff0000u | (reason))
#define IS_REFUSAL(x) ((x) >= 0xffff0000u)
#define REFUSAL_REASON(x) ((x) & 0xffffu)

static __always_inline int is_local(const struct key *k)
{
	struct address_key a = { .af = k->af };

	if (k->af == 4 && (ntohl(k->daddr[0]) >> 24) == 127)
		return 1;
	__builtin_memcpy(a.addr, k->daddr, 16);
	return map_lookup(&local_addresses, &a) != NULL;
}

static __always_inline struct vip *usable_vip(struct vip *v, u32 ifindex)
{
	return v && (!v->ifindex || v->ifindex == ifindex) ? v : NULL;
}

static __always_inline struct vip *find_vip(const struct key *k, u32 ifindex)
{
	struct vip_key vk = { .port = k->dport, .proto = k->proto, .af = k->af };
	struct vip *v;

	__builtin_memcpy(vk.addr, k->daddr, 16);
	v = usable_vip(map_lookup(&vips, &vk), ifindex);
	if (v)
		return v;
	__builtin_memset(vk.addr, 0, 16);
	v = usable_vip(map_lookup(&vips, &vk), ifindex);
	return v && is_local(k) ? v : NULL;
}

/*
 * Takes one of the real's maxconn slots: its id, to be given back or made a flow of, or a refusal.
 * Without `static` the verifier sees it once and callers' loops meet one unknown number.
 */
__noinline u32 reserve(u32 id)
{
	struct real_live *r = map_lookup(&real_lives, &id);
	u32 before;

	if (!r || !r->available)
		return REFUSAL(PASS_REFUSED);
	before = __sync_fetch_and_add(&r->conns, 1);
	if (r->maxconn && before >= r->maxconn) {
		__sync_fetch_and_add(&r->conns, -1);
		return REFUSAL(DROP_REAL_MAXCONN);
	}
	return id;
}

static __always_inline u32 table_entry(u32 at)
{
	u32 *e = map_lookup(&tables, &at);

	return e ? *e : 0;
}

__noinline u32 reserve_entry(u32 at)
{
	return reserve(table_entry(at));
}

/* HAProxy's full_hash() for `hash-type … avalanche`: Thomas Wang's 32-bit integer hash. */
static __always_inline u32 avalanche(u32 a)
{
	a = (a + 0x7ed55d16) + (a << 12);
	a = (a ^ 0xc761c23c) ^ (a >> 19);
	a = (a + 0x165667b1) + (a << 5);
	a = (a + 0xd3a2646c) ^ (a << 9);
	a = (a + 0xfd7046c5) + (a << 3);
	return (a ^ 0xb55a4f09) ^ (a >> 16);
}

/* HAProxy's `balance source`: XOR of the address' words in host order. */
static __always_inline u32 source_hash(const struct pool *p, const struct key *k)
{
	u32 h = ntohl(k->saddr[0] ^ k->saddr[1] ^ k->saddr[2] ^ k->saddr[3]);

	return p->avalanche ? avalanche(h) : h;
}

/* No seed: every node makes the same choice. */
static __always_inline u32 tuple_hash(const struct key *k)
{
	u64 h = mix((u64)ntohl(k->saddr[0]) << 32 | ntohl(k->saddr[1]));

	h = mix(h ^ ((u64)ntohl(k->saddr[2]) << 32 | ntohl(k->saddr[3])));
	h = mix(h ^ ((u64)ntohl(k->daddr[0]) << 32 | ntohl(k->daddr[1])));
	h = mix(h ^ ((u64)ntohl(k->daddr[2]) << 32 | ntohl(k->daddr[3])));
	return mix(mix(h ^ ((u64)ntohs(k->sport) << 24 | ntohs(k->dport) << 8 | k->proto)));
}

/*
 * Of *best* and the table's entry the one with the fewest (live + 1) / weight, compared without
 * dividing; *best* wins a tie.
 */
__noinline u32 less_loaded(u32 best, u32 at)
{
	u32 id = table_entry(at);
	struct real_live *r = map_lookup(&real_lives, &id), *b = map_lookup(&real_lives, &best);

	if (!r || !r->available || !r->weight)
		return best;
	if (r->maxconn && r->conns >= r->maxconn)
		return IS_REFUSAL(best) ? REFUSAL(DROP_REAL_MAXCONN) : best;
	if (IS_REFUSAL(best) || !b)
		return id;
	return (u64)(r->conns + 1) * b->weight < (u64)(b->conns + 1) * r->weight ? id : best;
}

__noinline u32 select_least_loaded(u32 pool_id, u32 start)
{
	struct pool *p = map_lookup(&pools, &pool_id);
	u32 best = REFUSAL(PASS_REFUSED), base, len;

	if (!p || !p->len)
		return best;
	base = p->base;
	len = p->len;
	start %= len;
	for (u32 n = 0; n < MAX_SCAN && n < len; n++) {
		u32 i = start + n;

		best = less_loaded(best, base + (i < len ? i : i - len));
	}
	return IS_REFUSAL(best) ? best : reserve(best);
}

__noinline u32 select_random(u32 pool_id)
{
	struct pool *p = map_lookup(&pools, &pool_id);
	u32 best = REFUSAL(PASS_REFUSED);

	if (!p || !p->len)
		return best;
	for (u32 n = 0; n < MAX_DRAWS && n < p->draws; n++)
		best = less_loaded(best, p->base + ((u64)prandom_u32() * p->len >> 32));
	return IS_REFUSAL(best) ? best : reserve(best);
}

/* The first of at most *tries* table entries from *start* on that may take a flow. */
__noinline u32 select_from(u32 pool_id, u32 start, u32 tries)
{
	struct pool *p = map_lookup(&pools, &pool_id);
	u32 base, len, full = 0;

	if (!p || !p->len)
		return REFUSAL(PASS_REFUSED);
	base = p->base;
	len = p->len;
	start %= len;
	for (u32 n = 0; n < MAX_SCAN && n < tries && n < len; n++) {
		u32 got = reserve_entry(base + (start + n) % len);

		if (!IS_REFUSAL(got))
			return got;
		full |= got ^ REFUSAL(PASS_REFUSED);
	}
	return full ? REFUSAL(DROP_REAL_MAXCONN) : REFUSAL(PASS_REFUSED);
}

/* The real for a new flow, with one of its maxconn slots taken, or a refusal. */
static __always_inline u32 select_real(struct pool *p, u32 pool_id, const struct key *k)
{
	u32 h;

	if (!p->len)
		return REFUSAL(PASS_REFUSED);
	switch (p->selection) {
	case SELECT_LEASTCONN:
		return select_least_loaded(pool_id, __sync_fetch_and_add(&p->rotation, 1));
	case SELECT_FIRST:
		return select_from(pool_id, 0, p->len);
	case SELECT_RANDOM:
		h = select_random(pool_id);
		/* Draws may all hit full reals while others are free. */
		return IS_REFUSAL(h) ? select_from(pool_id, prandom_u32(), MAX_SCAN) : h;
	case SELECT_SOURCE_MOD:
		return select_from(pool_id, source_hash(p, k), MAX_TRIES);
	case SELECT_SOURCE_TOP:
		return select_from(pool_id, (u64)source_hash(p, k) * p->len >> 32,
				   MAX_TRIES);
	case SELECT_TUPLE:
		return select_from(pool_id, (u64)tuple_hash(k) * p->len >> 32,
				   MAX_TRIES);
	default:
		/* One real may have many turns in a row, and others be free. */
		return select_from(pool_id, __sync_fetch_and_add(&p->rotation, 1), MAX_SCAN);
	}
}
