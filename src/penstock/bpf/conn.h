/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* How a flow begins, what its TCP flags do to it, and how it ends. */
#pragma once
#include "admit.h"
#include "ipvs_flow.h"

#define PORT_TRIES 24
#define TIMESTAMP_MARGIN 1024 /* later segments than the FIN: a second of a clock of 1 ms */
#define PORT_STRIDE 2503 /* prime: tries do not follow a client's own sequence of ports */

static __always_inline int port_usable(u32 port)
{
	u32 word = port >> 6;
	u64 *bits = map_lookup(&usable_ports, &word);

	return bits && *bits >> (port & 63) & 1;
}

/* Was it this client's, from the same port? Then the client itself has made sure. */
static __always_inline int answers_to(u32 af, u32 slot, const struct key *client)
{
	if (af != client->af)
		return 0;
	if (af == 4) {
		const struct flow4 *f = (const void *)flow_at(4, slot);

		return f && f->ndaddr == client->saddr[0] && f->ndport == client->sport;
	}
	const struct flow6 *f = (const void *)flow_at(6, slot);

	return f && f->ndport == client->sport && same_words(f->ndaddr, client->saddr);
}

/*
 * Would the real take the SYN of scratch->stamp where this finished flow was? In TIME_WAIT it asks
 * for a newer timestamp or, without any, a higher sequence number (RFC 6191; Linux:
 * tcp_timewait_state_process()). Any other SYN would cost its client a second.
 */
static __always_inline int real_accepts(const struct flow *f)
{
	struct scratch *s = scratch();

	if (!(f->ctl & CTL_REAL_WAITS))
		return 1;
	if (!s)
		return 0;
	if (f->ctl & CTL_STAMPED)
		return s->stamp.timestamp &&
		       (s32)(s->stamp.timestamp - f->closing) > TIMESTAMP_MARGIN;
	return f->closing && (s32)(s->stamp.seq - 1 - f->closing) > 0;
}

#define PORT_BUSY 0
#define PORT_FREE 0xffffffffu

/*
 * Whether back->dport may be had: PORT_FREE, PORT_BUSY, or the age in ticks of the finished flow
 * that would have to make room. Without `static` the verifier sees it once, not at every try.
 */
__noinline u32 port_state(const struct key *back, const struct key *client, u32 now)
{
	u32 slot, age;
	struct flow *f;

	if (!back || !client || !port_usable(ntohs(back->dport)))
		return PORT_BUSY;
	slot = flow_lookup(back);
	if (slot == NO_SLOT)
		return PORT_FREE;
	f = back->af == 4 ? flow_at(4, slot) : flow_at(6, slot);
	if (!f || !(f->ctl & (CTL_CLOSED | CTL_UDP)))
		return PORT_BUSY;
	age = back->af == 4 ? flow_age(4, f, slot, now) : flow_age(6, f, slot, now);
	if (f->ctl & CTL_CLOSED &&
	    (answers_to(back->af, slot, client) || (age >= EVICT_AGE && real_accepts(f)))) {
		flow_end(back->af, slot);
		return PORT_FREE;
	}
	return age < (f->ctl & CTL_UDP ? EVICT_UDP_AGE : EVICT_AGE) ? PORT_BUSY : age;
}

/* A candidate: its age before its port, so that the greater one is the older one. */
static __always_inline u64 aged_port(u32 age, be16 port)
{
	return (u64)age << 16 | port;
}

/*
 * A source port for the way back, in network order in back->dport; 0 when there is none.
 *
 * The real may hold finished connections in TIME_WAIT for 60 s, so the flows stay as long, and a
 * port that the real would refuse is the last resort. A client's port maps to a stable first
 * choice: a port comes back with the same client, whose timestamps and sequence numbers grow.
 */
static __always_inline u16 take_port(struct key *back, const struct key *client, u32 first,
				     u32 last, u32 now)
{
	u64 oldest = aged_port(PORT_BUSY, 0);
	u32 n = last - first + 1;
	u32 at = (u32)mix(client->saddr[0] ^ ((u64)client->saddr[3] << 32 | client->saddr[2])) +
		 ntohs(client->sport);
	u32 slot;

	if (last < first || last > 65535)
		return 0;
	for (int i = 0; i < PORT_TRIES; i++, at += PORT_STRIDE) {
		u32 age;

		back->dport = htons(first + at % n);
		age = port_state(back, client, now);
		if (age == PORT_FREE)
			return back->dport;
		oldest = greater(oldest, aged_port(age, back->dport));
	}
	if (oldest < aged_port(PORT_BUSY + 1, 0))
		return 0;
	back->dport = (be16)oldest;
	slot = flow_lookup(back);
	if (slot != NO_SLOT)
		flow_end(back->af, slot);
	count(EVENT_PORT_REUSED_EARLY);
	return back->dport;
}

static __always_inline u16 real_port(const struct real *r, be16 dport)
{
	if (r->port_mode == PORT_SAME)
		return dport;
	if (r->port_mode == PORT_OFFSET)
		return htons((u16)(ntohs(dport) + r->port));
	return htons(r->port);
}

static __always_inline u32 insert_any(const struct key *k, const struct rewrite *r)
{
	return k->af == 4 ? flow_insert4(k, r) : flow_insert6(k, r);
}

/* Both directions of a new flow; the forward slot or a refusal. The caller holds the counts. */
__noinline u32 open_flow(const struct request *q, u32 service, u32 id)
{
	struct real *r = map_lookup(&reals, &id);
	struct control *c = control();
	struct scratch *s = scratch();
	struct rewrite *to, *from;
	u32 slot, reverse, cross;
	struct key *back;
	struct flow *f;
	u64 begun = exact_ms();

	if (!q || !r || !c || !s)
		return REFUSAL(PASS_REFUSED);
	back = &s->back;
	to = &s->to;
	from = &s->from;
	__builtin_memset(back, 0, sizeof(*back));
	__builtin_memset(to, 0, sizeof(*to));
	__builtin_memset(from, 0, sizeof(*from));
	cross = r->af != q->key.af ? CTL_CROSS : 0;
	back->af = r->af;
	back->proto = q->key.proto;
	back->sport = real_port(r, q->key.dport);
	__builtin_memcpy(back->saddr, r->addr, 16);
	if (r->forwarding == FORWARD_NAT && !cross) {
		__builtin_memcpy(back->daddr, q->key.saddr, 16);
		back->dport = q->key.sport;
		reverse = flow_lookup(back);
		if (reverse != NO_SLOT) {
			f = back->af == 4 ? flow_at(4, reverse) : flow_at(6, reverse);
			if (!f || !(f->ctl & CTL_CLOSED))
				return REFUSAL(DROP_NAT_CONFLICT);
			flow_end(back->af, reverse);
		}
	} else {
		u32 given = r->snat_first;

		__builtin_memcpy(back->daddr, r->snat, 16);
		if (!take_port(back, &q->key, given ? given : c->snat_first,
			       given ? r->snat_last : c->snat_last, now_tick()))
			return REFUSAL(DROP_NO_PORT);
	}

	from->ctl = CTL_REVERSE | cross;
	from->table = begun >> 32;
	from->real = to->real = id;
	from->service = to->service = service;
	from->peer = NO_SLOT;
	if (!cross) {
		__builtin_memcpy(from->saddr, q->key.daddr, 16);
		__builtin_memcpy(from->daddr, q->key.saddr, 16);
		__builtin_memcpy(to->saddr, back->daddr, 16);
		__builtin_memcpy(to->daddr, back->saddr, 16);
	}
	from->sport = q->key.dport;
	from->dport = q->key.sport;
	reverse = insert_any(back, from);
	if (reverse == NO_SLOT)
		return REFUSAL(DROP_TABLE_FULL);
	__sync_fetch_and_add(&c->flows, 1); /* from here on flow_end() takes it back */

	to->ctl = CTL_COUNTED | cross;
	to->table = s->tracked;
	to->word = begun;
	to->sport = back->dport;
	to->dport = back->sport;
	to->peer = reverse;
	slot = insert_any(&q->key, to);
	if (slot == NO_SLOT) {
		flow_end(back->af, reverse);
		return REFUSAL(DROP_TABLE_FULL);
	}
	f = back->af == 4 ? flow_at(4, reverse) : flow_at(6, reverse);
	if (f)
		f->peer = slot;
	return slot;
}

/* 0: none. With a stack of its own, for new_flow() has many to call. */
__noinline u32 service_for(const struct request *q)
{
	struct vip *v = q ? find_vip(q) : NULL;

	return v ? v->service : 0;
}

#define IPVS_DECIDES REFUSAL(REASON_MAX)

/*
 * The flow for a packet that has none: schedules it, or says why not. IPVS_DECIDES when it is for
 * scratch->service, one of IPVS's.
 */
__noinline u32 new_flow(const struct request *q)
{
	struct service_live *live;
	struct service *s;
	struct control *c = control();
	struct scratch *m = scratch();
	struct real_live *rl;
	struct pool *p;
	u32 id, slot, service, pool, load, rules, nobody;

	if (!q || !c || !m)
		return REFUSAL(PASS_NO_SERVICE);
	service = service_for(q);
	s = map_lookup(&services, &service);
	live = map_lookup(&service_lives, &service);
	if (!s || !live)
		return REFUSAL(PASS_NO_SERVICE);
	if (s->flags & SERVICE_IPVS) {
		m->service = service;
		return IPVS_DECIDES;
	}
	if (q->key.proto == IPPROTO_TCP &&
	    (q->tcp_flags & (TCP_SYN | TCP_ACK | TCP_RST | TCP_FIN)) != TCP_SYN)
		return REFUSAL(PASS_NO_FLOW);
	m->tracked = 0;
	rules = s->flags & SERVICE_RULES ? s->rules : NO_RULES;
	pool = s->pool;
	p = map_lookup(&pools, &pool);
	nobody = REFUSAL(q->key.proto == IPPROTO_UDP ? DROP_UDP_REFUSED : PASS_REFUSED);
	if (rules == NO_RULES && (!p || !p->len)) {
		log_refused(q, service);
		nobody_up(service, pool);
		return nobody;
	}

	/* Counted before it is decided: limits hold whatever other CPUs do meanwhile. */
	slot = REFUSAL(DROP_GLOBAL_MAXCONN);
	if (__sync_fetch_and_add(&c->conns, 1) >= c->maxconn && c->maxconn)
		goto undo_global;
	slot = REFUSAL(DROP_SERVICE_MAXCONN);
	load = __sync_fetch_and_add(&live->conns, 1) + 1;
	if (live->maxconn && load > live->maxconn)
		goto undo_service;
	if (rules != NO_RULES) {
		slot = admit(q, rules);
		if (slot != ADMITTED) {
			turned_away(service, m->turned);
			goto undo_service;
		}
	}
	id = p ? select_real(p, pool, &q->key, load) : REFUSAL(PASS_REFUSED);
	slot = id;
	if (IS_REFUSAL(id)) {
		if (id == REFUSAL(PASS_REFUSED)) {
			slot = nobody;
			log_refused(q, service);
			nobody_up(service, pool);
		}
		goto undo_service;
	}
	slot = open_flow(q, service, id);
	rl = map_lookup(&real_lives, &id);
	if (!rl)
		goto undo_service;
	if (IS_REFUSAL(slot)) {
		__sync_fetch_and_add(&rl->conns, -1);
		goto undo_service;
	}
	__sync_fetch_and_add(&rl->total, 1);
	__sync_fetch_and_add(&live->total, 1);
	if (s->flags & SERVICE_LOGGED)
		log_begin(q->key.af, slot);
	count(EVENT_FLOW_NEW);
	return slot;

undo_service:
	if (m->tracked)
		source_turned_away(q, m->tracked, REFUSAL_REASON(slot));
	__sync_fetch_and_add(&live->conns, -1);
undo_global:
	__sync_fetch_and_add(&c->conns, -1);
	return slot;
}

static __always_inline void close_flow(struct flow *forward, struct flow *back, u32 af, u32 slot,
				       u32 how)
{
	u32 was = ctl_change(forward, CTL_CLOSED, CTL_COUNTED);

	ctl_change(back, CTL_CLOSED, 0);
	if (was & CTL_COUNTED) {
		log_end(forward, af, slot, was, how);
		outcome_ended(af, slot, was, how);
		if (forward->table)
			source_left(af, slot);
		uncount(forward->service, forward->real);
		count(EVENT_FLOW_CLOSED);
	}
}

static __always_inline void connect_failed(u32 id)
{
	struct real_live *r = map_lookup(&real_lives, &id);

	if (!r)
		return;
	__sync_fetch_and_add(&r->errors, 1);
	__sync_fetch_and_add(&r->errors_in_a_row, 1);
}

/* A real's first packet of a flow: it takes the connection, or it does not. */
static __always_inline void answered(u32 id, u32 refused)
{
	struct real_live *r = map_lookup(&real_lives, &id);

	if (refused)
		connect_failed(id);
	else if (r && r->errors_in_a_row)
		r->errors_in_a_row = 0;
}

/*
 * What a packet's flags do to its flow; scratch->stamp is that of a FIN. Returns 0; verified once,
 * whoever calls it.
 */
__noinline u32 track(u32 af, u32 slot, u32 tcp_flags)
{
	struct flow *f = af == 4 ? flow_at(4, slot) : flow_at(6, slot), *p, *forward, *back;
	struct scratch *s = scratch();
	u32 reverse, fin, was, first_af, first;

	if (!f)
		return 0;
	p = af == 4 ? peer_of(4, f, slot) : peer_of(6, f, slot);
	if (!p)
		return 0;
	reverse = f->ctl & CTL_REVERSE;
	forward = reverse ? p : f;
	back = reverse ? f : p;
	first = reverse ? f->peer : slot;
	first_af = reverse && f->ctl & CTL_CROSS ? 10 - af : af;
	if (reverse && !(f->ctl & CTL_REPLIED)) {
		ctl_change(back, CTL_REPLIED, 0);
		/* A refusal is no answer: the connection ends without one. */
		if (f->ctl & CTL_UDP || !(tcp_flags & TCP_RST)) {
			ctl_change(forward, CTL_REPLIED, 0);
			if (!(f->ctl & CTL_UDP))
				outcome_answered(first_af, first);
		}
		answered(f->real, tcp_flags & TCP_RST);
		if (f->dist & DIST_LOGGED)
			log_answered(first_af, first, tcp_flags);
	}
	if (tcp_flags & TCP_RST) {
		close_flow(forward, back, first_af, first,
			   reverse ? LOG_REAL_RESET : LOG_CLIENT_RESET);
		return 0;
	}
	if (!(tcp_flags & TCP_FIN))
		return 0;
	fin = reverse ? CTL_FIN_REAL : CTL_FIN_CLIENT;
	if (!reverse && !(forward->ctl & CTL_FIN_CLIENT))
		keep_begun(first_af, first);
	was = ctl_change(forward, fin, 0);
	if (s && reverse && !(was & CTL_FIN_REAL)) {
		/* It closes first, or both at once: then neither has seen the other's FIN. */
		if (!(was & CTL_FIN_CLIENT) || s->stamp.ack != forward->closing)
			ctl_change(back, CTL_REAL_WAITS, 0);
	} else if (s && !reverse) {
		forward->closing = s->stamp.seq;
		back->closing = s->stamp.timestamp ?: s->stamp.seq;
		ctl_change(back, s->stamp.timestamp ? CTL_STAMPED : 0, 0);
	}
	if (((was | fin) & (CTL_FIN_CLIENT | CTL_FIN_REAL)) == (CTL_FIN_CLIENT | CTL_FIN_REAL))
		close_flow(forward, back, first_af, first, LOG_BOTH_ENDED);
	return 0;
}

/*
 * Takes down the forward slot of a finished flow only: the reverse one remembers the port, which
 * the next connection may not get when it goes to another real. 0 when there is no need.
 */
static __always_inline int part_from_real(u32 af, struct flow *f, u32 slot)
{
	struct flow *back = af == 4 ? peer_of(4, f, slot) : peer_of(6, f, slot);
	u32 ctl = f->ctl;

	if (!back || !(back->ctl & CTL_REAL_WAITS))
		return 0;
	ctl_change(back, CTL_PARTED, 0);
	return af == 4 ? slot_release(4, slot, f, ctl) : slot_release(6, slot, f, ctl);
}

static __always_inline void redispatched(u32 real)
{
	struct outcome *o = outcome_of(real);

	if (o)
		__sync_fetch_and_add(&o->redispatched, 1);
}

/*
 * A SYN that meets a flow: of a finished one it starts the next; of one whose real went away
 * before it answered, the client's retransmit is the chance for another real (HAProxy's
 * `option redispatch`). Returns 1 when the flow was ended and a new one is due.
 */
__noinline u32 syn_restarts(u32 af, u32 slot)
{
	struct flow *f = af == 4 ? flow_at(4, slot) : flow_at(6, slot);
	struct real_live *r;
	u32 id;

	if (!f || f->ctl & CTL_REVERSE)
		return 0;
	if (!(f->ctl & CTL_CLOSED)) {
		id = f->real;
		r = map_lookup(&real_lives, &id);
		if (f->ctl & CTL_REPLIED || !r || r->available)
			return 0;
		count(EVENT_FLOW_RESCHEDULED);
		redispatched(id);
		if (f->dist & DIST_LOGGED)
			log_forget(af, slot);
	} else if (part_from_real(af, f, slot)) {
		return 1;
	}
	flow_end(af, slot);
	return 1;
}
