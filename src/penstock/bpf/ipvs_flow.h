/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* IPVS's connections: how they begin, when the next one takes their place, and their state. */
#pragma once
#include "ipvs_select.h"
#include "select.h"
#include "sync.h"

static __always_inline int is_hashed(const struct pool *p)
{
	return p->selection == SELECT_IPVS_SH || p->selection == SELECT_IPVS_DH ||
	       p->selection == SELECT_IPVS_MH;
}

/* May this packet open a connection? (tcp_conn_schedule(), sctp_conn_schedule()) */
static __always_inline int may_open(const struct request *q, const struct service *s,
				    const struct pool *p, const struct director *d)
{
	if (q->key.sport == htons(FTP_DATA))
		return 0; /* an active FTP server's, never scheduled */
	if (q->key.proto == IPPROTO_UDP)
		return 1;
	if (q->key.proto == IPPROTO_SCTP)
		return q->tcp_flags == SCTP_INIT || d->sloppy_sctp;
	if (q->tcp_flags & TCP_RST)
		return 0;
	return q->tcp_flags & TCP_SYN || d->sloppy_tcp ||
	       (s->flags & SERVICE_TAKEOVER && is_hashed(p));
}

static __always_inline int still_serves(u32 id, const struct director *d)
{
	struct real_live *r = map_lookup(&real_lives, &id);

	return r && !r->gone && !(d->expire_quiescent_template && !r->weight);
}

/* Where the client of a persistent service belongs, or NO_DESTINATION. */
__noinline u32 tied_to(const struct request *q, u32 service)
{
	struct service *s = map_lookup(&services, &service);
	struct director *d = director();
	struct template_key k;
	struct template *t;

	if (!q || !s || !d)
		return NO_DESTINATION;
	template_of(s, q->key.af, q->key.saddr, q->key.daddr, q->key.dport, q->key.proto, &k);
	t = map_lookup(&templates, &k);
	if (!t || !still_serves(t->real, d))
		return NO_DESTINATION;
	t->seen = now_tick();
	return t->real;
}

/* Ties the client to destination *id*. Returns *id*. */
__noinline u32 tie(const struct request *q, u32 service, u32 id)
{
	struct service *s = map_lookup(&services, &service);
	struct real_live *live = map_lookup(&real_lives, &id), *old;
	struct real *r = map_lookup(&reals, &id);
	struct template fresh = { .real = id, .seen = now_tick() };
	struct template_key k;
	struct template *was;
	u32 before;

	if (!q || !s || !r || !live)
		return id;
	template_of(s, q->key.af, q->key.saddr, q->key.daddr, q->key.dport, q->key.proto, &k);
	fresh.ticks = s->persist;
	fresh.port = k.port && r->port_mode == PORT_FIXED ? htons(r->port) : k.port;
	was = map_lookup(&templates, &k);
	if (was) {
		before = was->real;
		old = map_lookup(&real_lives, &before);
		/* The connections it had count themselves out of it. */
		fresh.controls = was->controls;
		if (old)
			__sync_fetch_and_add(&old->persist, -1);
	}
	if (map_update(&templates, &k, &fresh, UPDATE_ANY))
		return id;
	__sync_fetch_and_add(&live->persist, 1);
	passes_upper(live, live->conns);
	count(EVENT_TEMPLATE_NEW);
	return id;
}

static __always_inline be16 destination_port(const struct service *s, const struct real *r, be16 vport)
{
	be16 own = r->port_mode == PORT_FIXED ? htons(r->port) : 0;

	if (s->flags & SERVICE_PERSISTENT && vport != s->port)
		return vport;
	return own ?: vport;
}

/* A finished or silent flow with the same way back gives way to the new one. */
static __always_inline int clear_way_back(const struct key *back)
{
	u32 slot = flow_lookup(back);
	struct flow *f, *p;

	if (slot == NO_SLOT)
		return 1;
	f = back->af == 4 ? flow_at(4, slot) : flow_at(6, slot);
	if (!f || !(f->ctl & CTL_IPVS))
		return 0;
	p = back->af == 4 ? peer_of(4, f, slot) : peer_of(6, f, slot);
	if (p && !(p->ctl & CTL_INACTIVE))
		return 0;
	flow_end(back->af, slot);
	return 1;
}

/* A slot that no look-up finds, one a CPU: for a datagram that is to leave no trace. */
static __always_inline u32 private_slot(u32 af)
{
	return (af == 4 ? flow4_slots : flow6_slots) + HOP_RANGE + smp_processor_id();
}

static __always_inline int is_private(u32 af, u32 slot)
{
	return slot != NO_SLOT && slot >= (af == 4 ? flow4_slots : flow6_slots) + HOP_RANGE;
}

static __always_inline u32 fill_private(const u8 af, const struct key *k, const struct rewrite *r)
{
	u32 slot = private_slot(af);
	struct flow *f = flow_at(af, slot);

	if (!f)
		return REFUSAL(DROP_TABLE_FULL);
	fill(af, f, k, r, exact_tick());
	f->ctl = SLOT_LIVE | CTL_UDP | r->ctl;
	return slot;
}

static __always_inline void clear_private(const u8 af, u32 slot)
{
	struct flow *f = flow_at(af, slot);

	if (f)
		f->ctl = SLOT_FREE;
}

/*
 * A connection to *port* of destination *id*, its own where that is 0: the forward slot, or a
 * refusal. *back*, *to* and *from* are room to work in.
 */
static __always_inline u32 open_connection(const struct request *q, u32 service, u32 id, be16 port,
					   struct key *back, struct rewrite *to,
					   struct rewrite *from)
{
	struct service *s = map_lookup(&services, &service);
	struct real *r = map_lookup(&reals, &id);
	u32 slot, reverse = NO_SLOT, one_packet;
	struct control *c = control();
	struct flow *f;

	if (!s || !r || !c)
		return REFUSAL(DROP_NO_DESTINATION);
	__builtin_memset(back, 0, sizeof(*back));
	__builtin_memset(to, 0, sizeof(*to));
	__builtin_memset(from, 0, sizeof(*from));
	one_packet = s->flags & SERVICE_OPS && q->key.proto == IPPROTO_UDP;
	if (!port)
		port = destination_port(s, r, q->key.dport);
	to->real = from->real = id;
	to->service = from->service = service;
	to->peer = from->peer = NO_SLOT;
	to->ctl = CTL_IPVS;
	__builtin_memcpy(to->daddr, r->addr, 16);
	to->dport = port;
	if (r->forwarding == FORWARD_NAT) {
		if (r->af != q->key.af)
			return REFUSAL(DROP_CROSS_FAMILY);
		__builtin_memcpy(to->saddr, q->key.saddr, 16);
		to->sport = q->key.sport;
	} else {
		to->ctl |= CTL_ONEWAY;
		to->word = WORD_NO_OUTPUT | (u32)r->tunnel_flags << 8 |
			   (u32)r->tunnel << WORD_TUNNEL_SHIFT |
			   (r->af != q->key.af ? WORD_OTHER_FAMILY : 0);
		__builtin_memcpy(to->saddr, r->snat, 16);
		to->sport = r->tunnel_port;
	}
	if (one_packet) {
		to->word |= WORD_ONE_PACKET;
		return q->key.af == 4 ? fill_private(4, &q->key, to) :
					fill_private(6, &q->key, to);
	}
	if (r->forwarding == FORWARD_NAT) {
		back->af = r->af;
		back->proto = q->key.proto;
		back->sport = port;
		back->dport = q->key.sport;
		__builtin_memcpy(back->saddr, r->addr, 16);
		__builtin_memcpy(back->daddr, q->key.saddr, 16);
		if (!clear_way_back(back))
			return REFUSAL(DROP_NAT_CONFLICT);
		from->ctl = CTL_REVERSE | CTL_IPVS;
		__builtin_memcpy(from->saddr, q->key.daddr, 16);
		__builtin_memcpy(from->daddr, q->key.saddr, 16);
		from->sport = q->key.dport;
		from->dport = q->key.sport;
		reverse = back->af == 4 ? flow_insert4(back, from) : flow_insert6(back, from);
		if (reverse == NO_SLOT)
			return REFUSAL(DROP_TABLE_FULL);
	}
	__sync_fetch_and_add(&c->flows, 1); /* from here on flow_end() takes it back */
	to->ctl |= CTL_COUNTED | CTL_INACTIVE;
	to->peer = reverse;
	slot = q->key.af == 4 ? flow_insert4(&q->key, to) : flow_insert6(&q->key, to);
	if (slot == NO_SLOT) {
		if (reverse != NO_SLOT)
			flow_end(back->af, reverse);
		else
			__sync_fetch_and_add(&c->flows, -1);
		return REFUSAL(DROP_TABLE_FULL);
	}
	if (reverse != NO_SLOT) {
		f = back->af == 4 ? flow_at(4, reverse) : flow_at(6, reverse);
		if (f)
			f->peer = slot;
	}
	return slot;
}

/* The connection of a packet that has none, to destination *id*: its slot, or a refusal. */
__noinline u32 ipvs_open(const struct request *q, u32 service, u32 id)
{
	struct scratch *m = scratch();

	if (!q || !m)
		return REFUSAL(DROP_NO_DESTINATION);
	return open_connection(q, service, id, 0, &m->back, &m->to, &m->from);
}

/*
 * The new connection is one more of its service's and destination's, and of its template's.
 * Returns its slot.
 */
__noinline u32 ipvs_count_in(const struct request *q, u32 service, u32 id, u32 slot)
{
	struct service_live *live = map_lookup(&service_lives, &service);
	struct service *s = map_lookup(&services, &service);
	struct real_live *r = map_lookup(&real_lives, &id);
	struct control *c = control();
	struct template_key k;
	struct template *t;
	struct flow *f;

	if (!q || !s || !live || !r || !c)
		return slot;
	__sync_fetch_and_add(&live->total, 1);
	__sync_fetch_and_add(&r->total, 1);
	count(EVENT_FLOW_NEW);
	if (q->key.proto == IPPROTO_TCP && !(q->tcp_flags & TCP_SYN))
		count(EVENT_FLOW_TAKEN_OVER);
	if (is_private(q->key.af, slot))
		return slot;
	__sync_fetch_and_add(&live->conns, 1);
	__sync_fetch_and_add(&c->conns, 1);
	passes_upper(r, __sync_fetch_and_add(&r->conns, 1) + 1);
	f = q->key.af == 4 ? flow_at(4, slot) : flow_at(6, slot);
	if (!f)
		return slot;
	if (c->sync_threshold)
		f->word |= WORD_WAITS;
	if (!(s->flags & SERVICE_PERSISTENT))
		return slot;
	template_of(s, q->key.af, q->key.saddr, q->key.daddr, q->key.dport, q->key.proto, &k);
	t = map_lookup(&templates, &k);
	if (t) {
		f->word |= WORD_CONTROLLED;
		__sync_fetch_and_add(&t->controls, 1);
	}
	return slot;
}

/* The destination for a packet without a connection, or a refusal (ip_vs_schedule()). */
__noinline u32 ipvs_choose(const struct request *q, u32 service)
{
	struct service *s = map_lookup(&services, &service);
	struct director *d = director();
	struct pool *p;
	u32 pool, id;

	if (!q || !s || !d)
		return REFUSAL(PASS_NO_SERVICE);
	pool = s->pool;
	p = map_lookup(&pools, &pool);
	if (!p)
		return REFUSAL(PASS_NO_SERVICE);
	if (!may_open(q, s, p, d))
		return REFUSAL(PASS_NO_FLOW);
	if (d->drop_rate && __sync_fetch_and_add(&d->drop_counter, 1) % d->drop_rate == 0)
		return REFUSAL(DROP_LOAD);
	if (s->flags & SERVICE_PERSISTENT) {
		id = tied_to(q, service);
		if (id != NO_DESTINATION)
			return id;
	}
	id = s->flags & SERVICE_PERSISTENT || s->fwmark || q->key.dport == s->port ?
		     ipvs_select(p, pool, &q->key) : NO_DESTINATION;
	/* FTP's service, met at another port: that may be the host's own (ip_vs_leave()). */
	if (id == NO_DESTINATION)
		return REFUSAL(s->port == htons(PORT_FTP) && q->key.dport != s->port ?
				       PASS_NO_SERVICE : DROP_NO_DESTINATION);
	return s->flags & SERVICE_PERSISTENT ? tie(q, service, id) : id;
}

/*
 * The connection for a packet that has none: its slot, or a refusal. In steps side by side, since
 * the kernel allows eight frames of calls.
 */
static __always_inline u32 ipvs_new_flow(const struct request *q)
{
	struct scratch *s = scratch();
	u32 id, slot;

	if (!s)
		return REFUSAL(PASS_NO_SERVICE);
	id = ipvs_choose(q, s->service);
	if (IS_REFUSAL(id))
		return id;
	slot = ipvs_open(q, s->service, id);
	return IS_REFUSAL(slot) ? slot : ipvs_count_in(q, s->service, id, slot);
}

#define STALE_AGE TICKS(1) /* the shortest timeout; the sweep comes by once a second only */

/*
 * Has anything come up for which a client's packet must look at its connection again? For XDP: TC
 * has to.
 */
static __always_inline int is_doubtful(const struct flow *f, const struct control *c, u32 now)
{
	return c->gone || (c->quiescent_udp && f->ctl & CTL_UDP) || (s32)(now - f->seen) >= STALE_AGE;
}

#define REVISIT_KEEP 0
#define REVISIT_AGAIN 1 /* ended: a new one is due */
#define REVISIT_GONE 2

static __always_inline int is_over(u32 af, const struct flow *f, u32 slot)
{
	u32 now = now_tick();

	return (af == 4 ? flow_age(4, f, slot, now) : flow_age(6, f, slot, now)) > ipvs_ticks(f);
}

static __always_inline int is_reused(const struct flow *f, const struct director *d)
{
	u32 state = f->word & WORD_STATE;

	if (!d->conn_reuse_mode || f->word & WORD_CONTROLLED)
		return 0;
	if (f->ctl & CTL_SCTP)
		return state == SCTP_S_CLOSED;
	return state == TCP_S_TIME_WAIT || state == TCP_S_CLOSE ||
	       (d->conn_reuse_mode & 2 && state == TCP_S_FIN_WAIT && f->word & WORD_NO_OUTPUT);
}

/*
 * A client's packet meets its connection: *opens* when it is one that opens connections, *wanted*
 * when its destination has to want it. Has it ended, or has its destination? (ip_vs_in_hook())
 */
__noinline u32 ipvs_revisit(u32 af, u32 slot, u32 opens, u32 wanted)
{
	struct flow *f = af == 4 ? flow_at(4, slot) : flow_at(6, slot);
	struct director *d = director();
	struct real_live *r;
	u32 id, gone;

	if (!f || !d)
		return REVISIT_KEEP;
	id = f->real;
	r = map_lookup(&real_lives, &id);
	gone = r && r->gone;
	if (is_over(af, f, slot)) {
		count(EVENT_FLOW_EXPIRED);
		flow_end(af, slot);
		return REVISIT_AGAIN;
	}
	if (!(wanted && r && !r->weight) &&
	    !(opens && ((d->expire_nodest_conn && r && !r->weight) || is_reused(f, d))) &&
	    !(gone && d->expire_nodest_conn))
		return gone ? REVISIT_GONE : REVISIT_KEEP;
	flow_end(af, slot);
	return REVISIT_AGAIN;
}

static __always_inline void ipvs_recount(struct flow *forward, u32 active)
{
	u32 id = forward->real, was;
	struct real_live *r = map_lookup(&real_lives, &id);

	if (!r)
		return;
	if (active) {
		was = ctl_change(forward, 0, CTL_INACTIVE);
		if (was & CTL_INACTIVE)
			__sync_fetch_and_add(&r->active, 1);
	} else {
		was = ctl_change(forward, CTL_INACTIVE, 0);
		if (was && !(was & CTL_INACTIVE))
			__sync_fetch_and_add(&r->active, -1);
	}
}

static __always_inline void assure(u32 af, u32 slot)
{
	if (af == 4)
		ipvs_assure4(slot);
	else
		ipvs_assure6(slot);
}

static __always_inline void follow_state(u32 af, u32 slot, u32 event)
{
	struct flow *f = af == 4 ? flow_at(4, slot) : flow_at(6, slot), *p, *forward;
	u32 reverse, word, state, active;

	if (!f)
		return;
	p = af == 4 ? peer_of(4, f, slot) : peer_of(6, f, slot);
	reverse = f->ctl & CTL_REVERSE;
	forward = reverse ? p : f;
	if (!forward)
		return;
	if (reverse && !(f->ctl & CTL_REPLIED)) {
		ctl_change(f, CTL_REPLIED, 0);
		ctl_change(forward, CTL_REPLIED, 0);
		if (f->ctl & CTL_UDP)
			assure(af, reverse ? f->peer : slot);
	}
	if (f->ctl & CTL_UDP)
		return;
	word = forward->word;
	state = f->ctl & CTL_SCTP ? next_sctp(word, reverse, event) :
				    next_tcp(word, reverse, event);
	if (reverse)
		word &= ~WORD_NO_OUTPUT;
	if (((word & WORD_STATE) == state && word == forward->word))
		return;
	word = (word & ~WORD_STATE) | state;
	forward->word = word;
	if (p)
		(reverse ? f : p)->word = state;
	active = (f->ctl & CTL_SCTP ? SCTP_ACTIVE : TCP_ACTIVE) >> state & 1;
	if (active == !!(forward->ctl & CTL_INACTIVE))
		ipvs_recount(forward, active);
	if (state == (f->ctl & CTL_SCTP ? SCTP_S_ESTABLISHED : TCP_S_ESTABLISHED))
		assure(af, reverse ? f->peer : slot);
}

/*
 * What a packet (TCP flags, an SCTP event) does to its connection's state; backups are told.
 * Returns 0.
 */
__noinline u32 ipvs_track(u32 af, u32 slot, u32 event)
{
	struct control *c = control();

	follow_state(af, slot, event);
	if (c && c->sync_threshold)
		sync_follow(af, slot);
	return 0;
}

/* Whether a packet has to be tracked at all. */
static __always_inline int ipvs_moves(const struct flow *f, u32 ctl, u32 event)
{
	if ((ctl & (CTL_REVERSE | CTL_REPLIED)) == CTL_REVERSE)
		return 1;
	if (ctl & CTL_PROTO)
		return ctl & CTL_SCTP || f->word & WORD_WAITS;
	return !tcp_state_stays(f->word, event);
}
