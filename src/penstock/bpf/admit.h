/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Rules on addresses, ports and rates, for the packet that would open a flow. Their meaning is
 * HAProxy's (manual 4.2, "tcp-request connection"; 7.3.3 for what is counted).
 */
#pragma once
#include "scratch.h"
#include "select.h"

#define NO_RULES 0xffffffffu
#define ADMITTED 0xfffe0000u /* steps have lower numbers, refusals higher ones */
#define MANY_STEPS 32 /* squared: what a service may have */

static __always_inline int in_networks4(u32 set, be32 addr)
{
	struct network4 k = { .prefix = 32, .addr = addr };
	void *map = map_lookup(&networks4, &set);

	return map && map_lookup(map, &k);
}

static __always_inline int in_networks6(u32 set, const be32 *addr)
{
	struct network6 k = { .prefix = 128 };
	void *map = map_lookup(&networks6, &set);

	__builtin_memcpy(k.addr, addr, 16);
	return map && map_lookup(map, &k);
}

/*
 * Patterns of one family match the other's addresses where these have a form in it: mapped
 * (::ffff:a.b.c.d), compatible (::a.b.c.d) and 6to4 ones (2002:a.b:c.d::/48). HAProxy:
 * pat_match_ip(), manual 7.1.6.
 */
__noinline u32 in_networks(const struct request *q, u32 set, u32 destination)
{
	struct source_key mapped;
	const be32 *a;

	if (!q)
		return 0;
	a = destination ? q->key.daddr : q->key.saddr;
	if (q->key.af == 4) {
		if (in_networks4(set, a[0]))
			return 1;
		source_of(&mapped, 4, a);
		return in_networks6(set, mapped.addr);
	}
	if (in_networks6(set, a))
		return 1;
	if (!(a[0] | a[1]) && (!a[2] || a[2] == htonl(0xffff)))
		return in_networks4(set, a[3]);
	if (ntohl(a[0]) >> 16 == 0x2002)
		return in_networks4(set, htonl(ntohl(a[0]) << 16 | ntohl(a[1]) >> 16));
	return 0;
}

/* Forgotten, though its element is still there. One with live connections never is. */
static __always_inline int is_forgotten(const struct source *e, u32 expire, u32 now)
{
	return expire && !e->conns && ms_since(e->seen, now) >= expire;
}

/* Whoever moves *since* on owns the change of periods (HAProxy: update_freq_ctr_period()). */
static __always_inline void begin_period(struct source *e, u32 period, u32 now)
{
	u32 since = e->since, age = ms_since(since, now), ended;
	int missed = age >= (u64)period * 2;

	if (age < period)
		return;
	if (__sync_val_compare_and_swap(&e->since, since, missed ? now : since + period) != since)
		return;
	ended = __sync_lock_test_and_set(&e->rate, 0);
	e->before = missed ? 0 : ended;
}

/* Connections in the last *period*: of the period before this one, the share that it still covers
 * (HAProxy: read_freq_ctr_period(), with its correction for very low rates). */
static __always_inline u32 rate_of(const struct source *e, u32 period, u32 now)
{
	u64 current = e->rate, past = e->before, age = ms_since(e->since, now);

	if (!period)
		return 0;
	if (age >= period) {
		age -= period;
		past = current;
		current = 0;
	}
	if (age > period)
		past = 0;
	if (!current && past <= 1)
		return past;
	return (past * (period - age) + current * period) / period;
}

/* The source's element in the step's table, made if need be, or forgotten and begun anew. */
static __always_inline struct source *begin_source(const struct step *s,
						   const struct source_key *k, u32 now)
{
	struct source fresh = { .since = now, .seen = now };
	u32 table = s->of;
	void *map = map_lookup(&sources, &table);
	struct source *e;

	if (!map)
		return NULL;
	e = map_lookup(map, k);
	if (!e) {
		map_update(map, k, &fresh, UPDATE_NOEXIST);
		return map_lookup(map, k);
	}
	if (is_forgotten(e, s->expire, now)) {
		e->since = now;
		e->rate = e->before = e->total = e->gpc0 = 0;
	}
	return e;
}

static __always_inline void track_source(struct source *e, const struct step *s, u32 now)
{
	begin_period(e, s->period, now);
	__sync_fetch_and_add(&e->rate, 1);
	__sync_fetch_and_add(&e->total, 1);
	__sync_fetch_and_add(&e->conns, 1);
	e->seen = now;
}

static __always_inline u32 counted(const struct source *e, const struct step *s, u32 now)
{
	if (!e || is_forgotten(e, s->expire, now))
		return 0;
	switch (s->kind) {
	case STEP_RATE:
		return rate_of(e, s->period, now);
	case STEP_LIVE:
		return e->conns;
	case STEP_TOTAL:
		return e->total;
	}
	return e->gpc0;
}

/* A step that has to do with what is counted: whether a test holds, and 1 for an action. */
__noinline u32 source_step(const struct request *q, u32 at)
{
	struct step *s = map_lookup(&admission_steps, &at);
	struct scratch *m = scratch();
	u32 now = now_ms(), value;
	struct source_key k;
	struct source *e;

	if (!q || !s || !m || (s->flags & STEP_IPV4 && q->key.af != 4))
		return 0;
	if (s->kind == STEP_TRACK ? m->tracked != 0 :
				    s->flags & STEP_TRACKED && m->tracked != s->of)
		return 0;
	source_of(&k, q->key.af, q->key.saddr);
	if (s->kind == STEP_TRACK || s->kind == STEP_INCREMENT ||
	    s->kind == STEP_GPC0_INCREMENTED) {
		e = begin_source(s, &k, now);
		if (!e)
			return 0;
		if (s->kind == STEP_TRACK) {
			track_source(e, s, now);
			m->tracked = s->of;
			return 1;
		}
		value = __sync_fetch_and_add(&e->gpc0, 1) + 1;
		e->seen = now;
	} else {
		value = counted(source_in(s->of, &k), s, now);
	}
	return s->low <= value && value <= s->high;
}

__noinline u32 admit_step(const struct request *q, u32 at)
{
	struct step *s = map_lookup(&admission_steps, &at);
	struct scratch *m = scratch();
	u32 holds, port;

	if (!q || !s || !m)
		return ADMITTED;
	switch (s->kind) {
	case STEP_ACCEPT:
		return ADMITTED;
	case STEP_REJECT:
		m->turned = s->of;
		return REFUSAL(q->key.proto == IPPROTO_UDP ? DROP_UDP_RULE_REJECT :
							     PASS_RULE_REJECT);
	case STEP_DROP:
		m->turned = s->of;
		return REFUSAL(DROP_RULE);
	case STEP_SOURCE:
	case STEP_DESTINATION:
		holds = in_networks(q, s->of, s->kind == STEP_DESTINATION);
		break;
	case STEP_SOURCE_PORT:
	case STEP_DESTINATION_PORT:
		port = ntohs(s->kind == STEP_SOURCE_PORT ? q->key.sport : q->key.dport);
		holds = s->low <= port && port <= s->high;
		break;
	default:
		holds = source_step(q, at);
	}
	return holds ? s->then : s->otherwise;
}

__noinline u32 admit_some(const struct request *q, u32 at)
{
	for (int i = 0; i < MANY_STEPS && at < ADMITTED; i++)
		at = admit_step(q, at);
	return at;
}

/* ADMITTED, or a refusal; what is counted for the source is in scratch->tracked. */
__noinline u32 admit(const struct request *q, u32 at)
{
	for (int i = 0; i < MANY_STEPS && at < ADMITTED; i++)
		at = admit_some(q, at);
	return at < ADMITTED ? ADMITTED : at;
}

/*
 * No flow was opened for a connection that *table* has counted. Where there was no room for it, its
 * next try is the same connection.
 */
__noinline u32 source_turned_away(const struct request *q, u32 table, u32 why)
{
	struct source_key k;
	struct source *e;

	if (!q)
		return 0;
	source_of(&k, q->key.af, q->key.saddr);
	e = source_in(table, &k);
	if (!e)
		return 0;
	one_less(&e->conns);
	if (why >= DROP_SERVICE_MAXCONN && why <= DROP_NAT_CONFLICT) {
		one_less(&e->rate);
		one_less(&e->total);
	}
	return 0;
}
