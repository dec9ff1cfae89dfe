/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What is logged of a flow whose service wants that: a record in a ring once it has ended, or once
 * its real has answered. All that a flow of another service pays is a look at one bit.
 *
 * Bytes are those that connections carry: payload, of datagrams what is in them.
 */
#pragma once
#include "flow_words.h"

#define DIST_LOGGED 0x80 /* in struct flow, dist: both directions of a flow that is logged */

static __always_inline u32 log_key(u32 af, u32 slot)
{
	return af == 4 ? slot : slot | 1u << 31;
}

/* The entry of a flow, by either of its directions. */
static __always_inline struct flow_log *log_of(const struct flow *f, u32 af, u32 slot)
{
	u32 key = log_key(af, slot);

	if (f->ctl & CTL_REVERSE)
		key = log_key(f->ctl & CTL_CROSS ? 10 - af : af, f->peer);
	return map_lookup(&flow_logs, &key);
}

/* A packet is on its way. Returns 0; here so that the verifier sees it once. */
__noinline u32 log_packet(u32 af, u32 slot, u32 payload, u32 packets)
{
	struct flow *f = af == 4 ? flow_at(4, slot) : flow_at(6, slot);
	struct flow_log *l;

	if (!f)
		return 0;
	l = log_of(f, af, slot);
	if (!l)
		return 0;
	if (f->ctl & CTL_REVERSE) {
		__sync_fetch_and_add(&l->bytes_out, payload);
		__sync_fetch_and_add(&l->packets_out, packets);
	} else {
		__sync_fetch_and_add(&l->bytes_in, payload);
		__sync_fetch_and_add(&l->packets_in, packets);
	}
	return 0;
}

static __always_inline struct log_record *log_reserve(struct control *c)
{
	u32 one_in = c->log_one_in;
	struct log_record *r;

	if (one_in > 1 && prandom_u32() % one_in) {
		count(EVENT_LOG_SKIPPED);
		return NULL;
	}
	r = ringbuf_reserve(&log_ring, sizeof(*r), 0);
	if (!r) {
		count(EVENT_LOG_LOST);
		return NULL;
	}
	__builtin_memset(r, 0, sizeof(*r));
	r->ended = ktime_get_ns();
	r->one_in = one_in;
	return r;
}

/* The reader comes by itself, many times a second; it is woken when that may be too late. */
static __always_inline void log_submit(struct log_record *r)
{
	u64 waiting = ringbuf_query(&log_ring, RING_AVAILABLE);

	ringbuf_submit(r, waiting > LOG_RING / 4 ? RING_FORCE_WAKEUP : RING_NO_WAKEUP);
}

static __always_inline void log_ends(struct log_record *r, const u8 af, const struct flow *f)
{
	if (af == 4) {
		const struct flow4 *f4 = (const void *)f;

		r->client[0] = f4->saddr;
		r->vip[0] = f4->daddr;
		r->client_port = f4->sport;
		r->vip_port = f4->dport;
		if (!(f->ctl & CTL_CROSS)) {
			r->source[0] = f4->nsaddr;
			r->target[0] = f4->ndaddr;
		}
		r->source_port = f4->nsport;
		r->target_port = f4->ndport;
	} else {
		const struct flow6 *f6 = (const void *)f;

		__builtin_memcpy(r->client, f6->saddr, 16);
		__builtin_memcpy(r->vip, f6->daddr, 16);
		r->client_port = f6->sport;
		r->vip_port = f6->dport;
		if (!(f->ctl & CTL_CROSS)) {
			__builtin_memcpy(r->source, f6->nsaddr, 16);
			__builtin_memcpy(r->target, f6->ndaddr, 16);
		}
		r->source_port = f6->nsport;
		r->target_port = f6->ndport;
	}
}

/* The forward slot's record, and the end of its entry; *ctl* is what its slot said last. */
static __always_inline u32 log_write(const u8 af, u32 slot, u32 ctl, u32 how)
{
	struct flow *f = flow_at(af, slot);
	u32 key = log_key(af, slot);
	struct control *c = control();
	struct log_record *r;
	struct flow_log *l;

	if (!f || !c)
		return 0;
	l = map_lookup(&flow_logs, &key);
	if (!l)
		return 0;
	r = log_reserve(c);
	if (r) {
		log_ends(r, af, f);
		r->service = f->service;
		r->real = f->real;
		r->ctl = ctl;
		r->how = how;
		r->cause = c->cut_cause;
		r->af = af;
		r->begun = l->begun;
		r->answered = l->answered;
		r->bytes_in = l->bytes_in;
		r->bytes_out = l->bytes_out;
		r->packets_in = l->packets_in;
		r->packets_out = l->packets_out;
		log_submit(r);
	}
	map_delete(&flow_logs, &key);
	return 0;
}

__noinline u32 log_flow(u32 af, u32 slot, u32 ctl, u32 how)
{
	return af == 4 ? log_write(4, slot, ctl, how) : log_write(6, slot, ctl, how);
}

static __always_inline void log_end(const struct flow *f, u32 af, u32 slot, u32 ctl, u32 how)
{
	if (unlikely(f->dist & DIST_LOGGED))
		log_flow(af, slot, ctl, how);
}

/* Its client goes on with another flow: that one's record is about both. */
__noinline u32 log_forget(u32 af, u32 slot)
{
	u32 key = log_key(af, slot);

	map_delete(&flow_logs, &key);
	return 0;
}

/* The forward slot of a new flow, and its other direction's. */
__noinline u32 log_begin(u32 af, u32 slot)
{
	struct flow *f = af == 4 ? flow_at(4, slot) : flow_at(6, slot), *back;
	struct flow_log l = { .begun = ktime_get_ns() };
	u32 key = log_key(af, slot), back_af, peer;

	if (!f)
		return 0;
	if (map_update(&flow_logs, &key, &l, UPDATE_ANY)) {
		count(EVENT_LOG_LOST);
		return 0;
	}
	peer = f->peer;
	back_af = f->ctl & CTL_CROSS ? 10 - af : af;
	back = back_af == 4 ? flow_at(4, peer) : flow_at(6, peer);
	f->dist |= DIST_LOGGED;
	if (back)
		back->dist |= DIST_LOGGED;
	return 0;
}

/* The real's first packet; some services are logged now. A reset is no answer. */
__noinline u32 log_answered(u32 af, u32 slot, u32 tcp_flags)
{
	struct flow *f = af == 4 ? flow_at(4, slot) : flow_at(6, slot);
	u32 key = log_key(af, slot), id;
	struct flow_log *l = map_lookup(&flow_logs, &key);
	struct service *s;

	if (!f || !l || tcp_flags & TCP_RST)
		return 0;
	l->answered = ktime_get_ns();
	id = f->service;
	s = map_lookup(&services, &id);
	if (s && s->flags & SERVICE_LOGGED_EARLY)
		log_end(f, af, slot, f->ctl, LOG_ANSWERED);
	return 0;
}

/* Nobody is up for a client. */
__noinline u32 log_refused(const struct request *q, u32 service)
{
	struct service *s = map_lookup(&services, &service);
	struct control *c = control();
	struct log_record *r;

	if (!q || !c || !s || !(s->flags & SERVICE_LOGGED))
		return 0;
	r = log_reserve(c);
	if (!r)
		return 0;
	__builtin_memcpy(r->client, q->key.saddr, 16);
	__builtin_memcpy(r->vip, q->key.daddr, 16);
	r->client_port = q->key.sport;
	r->vip_port = q->key.dport;
	r->service = service;
	r->af = q->key.af;
	r->how = LOG_REFUSED;
	r->begun = r->ended;
	log_submit(r);
	return 0;
}
