/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Which service a packet is for, and which real server a new flow goes to. */
#pragma once
#include "flow.h"

/*
 * Entries looked at; windows of a larger table. A group at a time, in a function of its own: the
 * verifier follows two loops of 32 turns then, not one of 1,024.
 */
#define SCAN_GROUP 32
#define SCAN_GROUPS 32
#define MAX_SCAN (SCAN_GROUP * SCAN_GROUPS)
#define MAX_TRIES 16 /* hash: next table entries tried when a real is full */
#define MAX_DRAWS 16
#define FTP_DATA 20

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

/* IPVS's services of a firewall mark come before all others (ip_vs_service_find()). */
static __always_inline struct vip *find_marked(const struct key *k, u32 mark)
{
	struct vip_key vk = { .addr = { mark }, .af = k->af };

	return mark ? map_lookup(&vips, &vk) : NULL;
}

/* IPVS's services of all ports, and FTP's, which data connections belong to. */
static __always_inline struct vip *find_any_port(const struct key *k, struct vip_key *vk)
{
	struct director *d = director();
	struct vip *v = NULL;

	if (!d)
		return NULL;
	if (d->ftp && k->proto == IPPROTO_TCP &&
	    (k->dport == htons(FTP_DATA) || ntohs(k->dport) >= 1024)) {
		vk->port = htons(PORT_FTP);
		v = map_lookup(&vips, vk);
	}
	if (!v && d->all_ports) {
		vk->port = 0;
		v = map_lookup(&vips, vk);
	}
	return v;
}

static __always_inline struct vip *find_vip(const struct request *q)
{
	const struct key *k = &q->key;
	struct vip_key vk = { .port = k->dport, .proto = k->proto, .af = k->af };
	struct vip *v = find_marked(k, q->mark);

	if (v)
		return v;
	__builtin_memcpy(vk.addr, k->daddr, 16);
	v = usable_vip(map_lookup(&vips, &vk), q->ifindex);
	if (v)
		return v;
	v = find_any_port(k, &vk);
	if (v)
		return v;
	vk.port = k->dport;
	__builtin_memset(vk.addr, 0, 16);
	v = usable_vip(map_lookup(&vips, &vk), q->ifindex);
	return v && is_local(k) ? v : NULL;
}

/*
 * How many connections the real may have while its service has *load* of them, 0 for any number:
 * maxconn, or with minconn a share of it up to fullconn (HAProxy: srv_dynamic_maxconn()).
 */
static __always_inline u32 conn_limit(const struct real_live *r, u32 load)
{
	u32 limit = r->maxconn;

	if (limit && r->minconn && load < r->fullconn) {
		limit = (u64)limit * load / r->fullconn;
		if (limit < r->minconn)
			limit = r->minconn;
	}
	return limit;
}

/*
 * Consistent hashing with bounded loads (Mirrokni, Thorup, Zadimoghaddam 2016): of *slots* that all
 * reals share by weight, this one's, rounded up so that together they never fall short.
 */
static __always_inline u32 bounded(const struct real_live *r, u32 slots, u32 total_weight)
{
	return total_weight ? ((u64)slots * r->weight + total_weight - 1) / total_weight : slots;
}

/*
 * Takes one of the real's slots: its id, to be given back or made a flow of, or a refusal. *load*
 * is the service's connections with this one; *slots*, if any, bound the real's share of them.
 * Without `static` the verifier sees it once and callers' loops meet one unknown number.
 */
__noinline u32 reserve(u32 id, u32 load, u32 slots, u32 total_weight)
{
	struct real_live *r = map_lookup(&real_lives, &id);
	u32 before, limit;

	if (!r || !r->available)
		return REFUSAL(PASS_REFUSED);
	limit = conn_limit(r, load);
	before = __sync_fetch_and_add(&r->conns, 1);
	if ((limit && before >= limit) || (slots && before >= bounded(r, slots, total_weight))) {
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

__noinline u32 reserve_entry(u32 at, u32 load, u32 slots, u32 total_weight)
{
	return reserve(table_entry(at), load, slots, total_weight);
}

/* The slots that hash-balance-factor leaves all reals of the pool together; 0: no bound. */
static __always_inline u32 bounded_slots(const struct pool *p, u32 load)
{
	return ((u64)load * p->balance_factor + 99) / 100;
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
__noinline u32 less_loaded(u32 best, u32 at, u32 load)
{
	u32 id = table_entry(at), limit;
	struct real_live *r = map_lookup(&real_lives, &id), *b = map_lookup(&real_lives, &best);

	if (!r || !r->available || !r->weight)
		return best;
	limit = conn_limit(r, load);
	if (limit && r->conns >= limit)
		return IS_REFUSAL(best) ? REFUSAL(DROP_REAL_MAXCONN) : best;
	if (IS_REFUSAL(best) || !b)
		return id;
	return (u64)(r->conns + 1) * b->weight < (u64)(b->conns + 1) * r->weight ? id : best;
}

__noinline u32 least_loaded(u32 at, u32 count, u32 best, u32 load)
{
	for (u32 n = 0; n < SCAN_GROUP && n < count; n++)
		best = less_loaded(best, at + n, load);
	return best;
}

/*
 * How many entries the next group has: those before the table's end, of those that are left. Not
 * `static`, as wrapped(), for callers' loops to meet one unknown number.
 */
__noinline u32 group_of(u32 before_end, u32 left)
{
	u32 count = left < before_end ? left : before_end;

	return count < SCAN_GROUP ? count : SCAN_GROUP;
}

__noinline u32 wrapped(u32 place, u32 len)
{
	return place < len ? place : 0;
}

__noinline u32 select_least_loaded(u32 pool_id, u32 start, u32 load)
{
	struct pool *p = map_lookup(&pools, &pool_id);
	u32 best = REFUSAL(PASS_REFUSED), base, len, left;

	if (!p || !p->len)
		return best;
	base = p->base;
	len = p->len;
	left = len < MAX_SCAN ? len : MAX_SCAN;
	start %= len;
	for (u32 g = 0; g <= SCAN_GROUPS && left; g++) { /* one more where the table is wrapped round */
		u32 count = group_of(len - start, left);

		best = least_loaded(base + start, count, best, load);
		left -= count;
		start = wrapped(start + count, len);
	}
	return IS_REFUSAL(best) ? best : reserve(best, load, 0, 0);
}

__noinline u32 select_random(u32 pool_id, u32 load)
{
	struct pool *p = map_lookup(&pools, &pool_id);
	u32 best = REFUSAL(PASS_REFUSED);

	if (!p || !p->len)
		return best;
	for (u32 n = 0; n < MAX_DRAWS && n < p->draws; n++)
		best = less_loaded(best, p->base + ((u64)prandom_u32() * p->len >> 32), load);
	return IS_REFUSAL(best) ? best :
				  reserve(best, load, bounded_slots(p, load), p->total_weight);
}

/* The first of a group that may take a flow. */
__noinline u32 reserve_one_of(u32 at, u32 count, u32 load, u32 slots, u32 total_weight)
{
	u32 full = 0;

	for (u32 n = 0; n < SCAN_GROUP && n < count; n++) {
		u32 got = reserve_entry(at + n, load, slots, total_weight);

		if (!IS_REFUSAL(got))
			return got;
		full |= got ^ REFUSAL(PASS_REFUSED);
	}
	return full ? REFUSAL(DROP_REAL_MAXCONN) : REFUSAL(PASS_REFUSED);
}

/* The first of at most *tries* table entries from *start* on that may take a flow. */
__noinline u32 select_from(u32 pool_id, u32 start, u32 tries, u32 load, u32 slots)
{
	struct pool *p = map_lookup(&pools, &pool_id);
	u32 base, len, weight, full = 0;

	if (!p || !p->len)
		return REFUSAL(PASS_REFUSED);
	base = p->base;
	len = p->len;
	weight = p->total_weight;
	start %= len;
	if (tries > len)
		tries = len;
	if (tries > MAX_SCAN)
		tries = MAX_SCAN;
	for (u32 g = 0; g <= SCAN_GROUPS && tries; g++) {
		u32 count = group_of(len - start, tries);
		u32 got = reserve_one_of(base + start, count, load, slots, weight);

		if (!IS_REFUSAL(got))
			return got;
		full |= got ^ REFUSAL(PASS_REFUSED);
		tries -= count;
		start = wrapped(start + count, len);
	}
	return full ? REFUSAL(DROP_REAL_MAXCONN) : REFUSAL(PASS_REFUSED);
}

/*
 * The real for a new flow, with one of its slots taken, or a refusal. *load*: the connections that
 * its service has with this one.
 */
static __always_inline u32 select_real(struct pool *p, u32 pool_id, const struct key *k, u32 load)
{
	u32 slots = bounded_slots(p, load), start, tries = MAX_TRIES, got;

	if (!p->len)
		return REFUSAL(PASS_REFUSED);
	switch (p->selection) {
	case SELECT_LEASTCONN:
		return select_least_loaded(pool_id, __sync_fetch_and_add(&p->rotation, 1), load);
	case SELECT_FIRST:
		start = 0;
		tries = MAX_SCAN;
		slots = 0;
		break;
	case SELECT_RANDOM:
		got = select_random(pool_id, load);
		if (!IS_REFUSAL(got))
			return got;
		/* Draws may all hit full reals while others are free. */
		start = prandom_u32();
		tries = MAX_SCAN;
		break;
	case SELECT_SOURCE_MOD:
		start = source_hash(p, k);
		slots = 0;
		break;
	case SELECT_SOURCE_TOP:
		/* A real owns arcs of many entries. */
		start = (u64)source_hash(p, k) * p->len >> 32;
		tries = MAX_SCAN;
		break;
	case SELECT_TUPLE:
		start = (u64)tuple_hash(k) * p->len >> 32;
		slots = 0;
		break;
	default:
		/* One real may have many turns in a row, and others be free. */
		start = __sync_fetch_and_add(&p->rotation, 1);
		tries = MAX_SCAN;
		slots = 0;
	}
	got = select_from(pool_id, start, tries, load, slots);
	return slots && got == REFUSAL(DROP_REAL_MAXCONN) ?
		       select_from(pool_id, start, tries, load, 0) : got;
}
