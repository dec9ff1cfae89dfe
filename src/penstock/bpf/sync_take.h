/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * A backup takes up what a master tells (ip_vs_proc_conn() in net/netfilter/ipvs/ip_vs_sync.c). The
 * control plane has found service and destination; what needs atomic counts is done here.
 */
#pragma once
#include "ipvs_flow.h"

/* Not scratch: a packet may interrupt the control plane's program. */
struct sync_room {
	struct request request;
	struct key back;
	struct rewrite to;
	struct rewrite from;
};
ARRAY_MAP(sync_rooms, 1, u32, struct sync_room, 0);

static __always_inline struct flow *either_at(u32 af, u32 slot)
{
	return af == 4 ? flow_at(4, slot) : flow_at(6, slot);
}

static __always_inline int goes_to(u32 slot, const struct sync_record *r)
{
	be16 port = htons(r->dport);

	if (r->af == 4) {
		const struct flow4 *f4 = (const void *)flow_at(4, slot);

		return f4 && f4->ndaddr == r->dest[0] && f4->ndport == port;
	}
	const struct flow6 *f6 = (const void *)flow_at(6, slot);

	return f6 && same_words(f6->ndaddr, r->dest) && f6->ndport == port;
}

/* Opens the connection of record *at*: its slot, or a refusal. */
__noinline u32 sync_open(u32 at)
{
	struct sync_entry *e = map_lookup(&sync_inbox, &at);
	struct control *c = control();
	struct service_live *live;
	struct real_live *real;
	struct sync_room *m;
	u32 zero = 0, slot, service, id;

	m = map_lookup(&sync_rooms, &zero);
	if (!e || !m || !c)
		return NO_SLOT;
	service = e->record.service;
	id = e->record.real;
	live = map_lookup(&service_lives, &service);
	real = map_lookup(&real_lives, &id);
	if (!live || !real)
		return NO_SLOT;
	slot = open_connection(&m->request, service, id, htons(e->record.dport), &m->back, &m->to,
			       &m->from);
	if (IS_REFUSAL(slot) || is_private(e->record.af, slot))
		return NO_SLOT;
	/* Its master has counted it among the connections there ever were. */
	__sync_fetch_and_add(&live->conns, 1);
	__sync_fetch_and_add(&c->conns, 1);
	passes_upper(real, __sync_fetch_and_add(&real->conns, 1) + 1);
	return slot;
}

/* The connection in *slot* becomes what record *at* says of it. Returns 0. */
__noinline u32 sync_settle(u32 at, u32 slot)
{
	struct sync_entry *e = map_lookup(&sync_inbox, &at);
	u32 state, allowed, seen;
	struct flow *f, *p;

	if (!e)
		return 0;
	f = either_at(e->record.af, slot);
	if (!f)
		return 0;
	p = e->record.af == 4 ? peer_of(4, f, slot) : peer_of(6, f, slot);
	state = e->record.state & WORD_STATE;
	f->word = (f->word & ~(WORD_STATE | WORD_TOLD | WORD_WAITS)) | WORD_SYNCED | state |
		  state << WORD_TOLD_SHIFT;
	ctl_change(f, CTL_REPLIED, 0);
	/* It ends when the master says, which may have other timeouts. */
	allowed = ipvs_ticks(f);
	seen = exact_tick();
	if (e->record.ticks && e->record.ticks < 1u << 31)
		seen += e->record.ticks - allowed;
	f->seen = seen;
	if (p) {
		p->word = state;
		p->seen = seen;
		ctl_change(p, CTL_REPLIED, 0);
	}
	if (!(e->record.flags & SYNC_INACTIVE) == !!(f->ctl & CTL_INACTIVE))
		ipvs_recount(f, !(e->record.flags & SYNC_INACTIVE));
	return 0;
}

__noinline u32 sync_connection(u32 at)
{
	struct sync_entry *e = map_lookup(&sync_inbox, &at);
	u32 zero = 0, slot, outcome = SYNC_UPDATED;
	struct sync_room *m;
	struct flow *f;

	m = map_lookup(&sync_rooms, &zero);
	if (!e || !m)
		return SYNC_REFUSED;
	__builtin_memset(&m->request, 0, sizeof(m->request));
	m->request.key.af = e->record.af;
	m->request.key.proto = e->record.proto;
	m->request.key.sport = htons(e->record.cport);
	m->request.key.dport = htons(e->record.vport);
	__builtin_memcpy(m->request.key.saddr, e->record.client, 16);
	__builtin_memcpy(m->request.key.daddr, e->record.vip, 16);
	slot = flow_lookup(&m->request.key);
	if (slot != NO_SLOT) {
		f = either_at(e->record.af, slot);
		if (!f || (f->ctl & (CTL_IPVS | CTL_REVERSE)) != CTL_IPVS)
			return SYNC_REFUSED;
		if (!goes_to(slot, &e->record)) {
			/* The end of what was replaced meanwhile is no news. */
			if (e->record.flags & SYNC_INACTIVE)
				return SYNC_REFUSED;
			flow_end(e->record.af, slot);
			slot = NO_SLOT;
		}
	}
	if (slot == NO_SLOT) {
		if (!e->record.real)
			return SYNC_REFUSED;
		outcome = SYNC_NEW;
		slot = sync_open(at);
		if (slot == NO_SLOT)
			return SYNC_REFUSED;
	}
	sync_settle(at, slot);
	return outcome;
}

__noinline u32 sync_tie(u32 at)
{
	struct sync_entry *e = map_lookup(&sync_inbox, &at);
	struct real_live *live, *old;
	struct template fresh = {};
	struct template_key k = {};
	u32 id, before = 0, known;
	struct template *was;

	if (!e)
		return SYNC_REFUSED;
	id = e->record.real;
	live = map_lookup(&real_lives, &id);
	if (!id || !live)
		return SYNC_REFUSED;
	k.af = e->record.af;
	k.proto = e->record.proto;
	k.port = htons(e->record.vport);
	__builtin_memcpy(k.client, e->record.client, 16);
	__builtin_memcpy(k.vip, e->record.vip, 16);
	was = map_lookup(&templates, &k);
	known = was != NULL;
	if (was) {
		before = was->real;
		fresh.controls = was->controls;
	}
	fresh.real = id;
	fresh.seen = exact_tick();
	fresh.ticks = e->record.ticks;
	fresh.assured = e->record.state & 1;
	fresh.synced = 1;
	fresh.port = htons(e->record.dport);
	if (map_update(&templates, &k, &fresh, UPDATE_ANY))
		return SYNC_REFUSED;
	if (known && before == id)
		return SYNC_UPDATED;
	old = map_lookup(&real_lives, &before);
	if (known && old)
		__sync_fetch_and_add(&old->persist, -1);
	passes_upper(live, live->conns);
	__sync_fetch_and_add(&live->persist, 1);
	return known ? SYNC_UPDATED : SYNC_NEW;
}

__noinline u32 sync_take(u32 at)
{
	struct sync_entry *e = map_lookup(&sync_inbox, &at);

	if (!e || !e->pending)
		return 0;
	e->pending = 0;
	e->outcome = e->record.flags & SYNC_TEMPLATE ? sync_tie(at) : sync_connection(at);
	return e->outcome;
}

static __always_inline u32 take_all(void)
{
	for (u32 at = 0; at < SYNC_BATCH; at++)
		sync_take(at);
	return 0;
}
