/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What a master has to tell its backups, by way of a ring that the control plane empties. Told is
 * what the kernel's IPVS tells (ip_vs_sync_conn_needed() in net/netfilter/ipvs/ip_vs_sync.c): a
 * change of state when the client's next packet comes, and what is established (and UDP) at the
 * client's packet number sync_threshold. Where the kernel repeats that by packets, the sweep does
 * it by time, so that an established packet costs nothing.
 */
#pragma once
#include "flow.h"

/* ESTABLISHED, FIN_WAIT, TIME_WAIT, CLOSE, CLOSE_WAIT */
#define SYNC_TCP 0xf2u
/* ESTABLISHED, SHUTDOWN_SENT, SHUTDOWN_RECEIVED, SHUTDOWN_ACK_SENT, CLOSED */
#define SYNC_SCTP 0x2f00u
#define TICKS_A_SWEEP 15

static __always_inline struct sync_record *sync_begin(void)
{
	struct sync_record *r = ringbuf_reserve(&sync_ring, sizeof(*r), 0);

	if (!r)
		count(EVENT_SYNC_LOST);
	else
		__builtin_memset(r, 0, sizeof(*r));
	return r;
}

/* The reader comes by itself, several times a second; it is woken when that may be too late. */
static __always_inline void sync_submit(struct sync_record *r)
{
	u64 waiting = ringbuf_query(&sync_ring, RING_AVAILABLE);

	ringbuf_submit(r, waiting > SYNC_RING / 4 ? RING_FORCE_WAKEUP : RING_NO_WAKEUP);
}

static __always_inline u32 sync_method(u32 id)
{
	struct real *r = map_lookup(&reals, &id);

	if (!r || r->forwarding == FORWARD_NAT)
		return 0;
	return r->forwarding == FORWARD_TUNNEL ? SYNC_TUNNEL : SYNC_ROUTE;
}

static __always_inline u32 tell_flow(const u8 af, u32 slot)
{
	struct flow *f = flow_at(af, slot);
	u32 flags, fwmark = 0, id, ticks;
	struct sync_record *r;
	struct service *s;

	if (!f || f->word & WORD_OTHER_FAMILY)
		return 0;
	id = f->service;
	s = map_lookup(&services, &id);
	if (s)
		fwmark = s->fwmark;
	flags = sync_method(f->real);
	if (f->word & WORD_NO_OUTPUT)
		flags |= SYNC_NO_OUTPUT;
	if (f->ctl & CTL_INACTIVE)
		flags |= SYNC_INACTIVE;
	ticks = ipvs_ticks(f);
	r = sync_begin();
	if (!r)
		return 0;
	r->af = af;
	r->proto = proto_of(f->ctl);
	r->flags = flags;
	r->state = f->word & WORD_STATE;
	r->fwmark = fwmark;
	r->ticks = ticks;
	if (af == 4) {
		const struct flow4 *f4 = (const void *)f;

		r->client[0] = f4->saddr;
		r->vip[0] = f4->daddr;
		r->dest[0] = f4->ndaddr;
		r->cport = htons(f4->sport);
		r->vport = htons(f4->dport);
		r->dport = htons(f4->ndport);
	} else {
		const struct flow6 *f6 = (const void *)f;

		__builtin_memcpy(r->client, f6->saddr, 16);
		__builtin_memcpy(r->vip, f6->daddr, 16);
		__builtin_memcpy(r->dest, f6->ndaddr, 16);
		r->cport = htons(f6->sport);
		r->vport = htons(f6->dport);
		r->dport = htons(f6->ndport);
	}
	sync_submit(r);
	return 0;
}

static __always_inline u32 tell_its_template(const u8 af, u32 slot)
{
	struct flow *f = flow_at(af, slot);
	struct sync_record *r;
	struct template_key k;
	struct template *t;
	struct service *s;
	struct real *real;
	u32 id;

	if (!f)
		return 0;
	id = f->service;
	s = map_lookup(&services, &id);
	if (!s)
		return 0;
	if (af == 4) {
		const struct flow4 *f4 = (const void *)f;

		template_of(s, 4, &f4->saddr, &f4->daddr, f4->dport, proto_of(f->ctl), &k);
	} else {
		const struct flow6 *f6 = (const void *)f;

		template_of(s, 6, f6->saddr, f6->daddr, f6->dport, proto_of(f->ctl), &k);
	}
	t = map_lookup(&templates, &k);
	if (!t)
		return 0;
	id = t->real;
	real = map_lookup(&reals, &id);
	if (!real || real->af != af)
		return 0;
	r = sync_begin();
	if (!r)
		return 0;
	r->af = af;
	r->proto = k.proto;
	r->flags = SYNC_TEMPLATE | sync_method(id);
	if (r->flags & SYNC_METHOD)
		r->flags |= SYNC_NO_OUTPUT;
	r->state = t->assured;
	r->fwmark = s->fwmark;
	r->ticks = s->persist;
	r->vport = htons(k.port);
	r->dport = htons(t->port);
	__builtin_memcpy(r->client, k.client, 16);
	__builtin_memcpy(r->vip, k.vip, 16);
	__builtin_memcpy(r->dest, real->addr, 16);
	sync_submit(r);
	return 0;
}

__noinline u32 sync_flow(u32 af, u32 slot)
{
	return af == 4 ? tell_flow(4, slot) : tell_flow(6, slot);
}

__noinline u32 sync_template(u32 af, u32 slot)
{
	return af == 4 ? tell_its_template(4, slot) : tell_its_template(6, slot);
}

/* May backups be told of a connection in its state? */
static __always_inline u32 is_told(const struct flow *f)
{
	u32 state = f->word & WORD_STATE;

	return f->ctl & CTL_UDP ? 1 : (f->ctl & CTL_SCTP ? SYNC_SCTP : SYNC_TCP) >> state & 1;
}

static __always_inline u32 is_established(const struct flow *f)
{
	u32 state = f->word & WORD_STATE;

	return f->ctl & CTL_UDP ||
	       state == (f->ctl & CTL_SCTP ? SCTP_S_ESTABLISHED : TCP_S_ESTABLISHED);
}

/* A packet of the connection has passed: are backups to be told? Returns 0. */
__noinline u32 sync_follow(u32 af, u32 slot)
{
	struct flow *f = af == 4 ? flow_at(4, slot) : flow_at(6, slot);
	struct control *c = control();
	u32 word, told = 0, number;

	if (!f || !c || f->ctl & CTL_REVERSE || f->word & WORD_ONE_PACKET)
		return 0;
	word = f->word;
	number = (word & WORD_COUNT) >> WORD_COUNT_SHIFT;
	if (word & WORD_WAITS && number < 127)
		word = (word & ~WORD_COUNT) | ++number << WORD_COUNT_SHIFT;
	if (is_told(f)) {
		if (is_established(f))
			told = word & WORD_WAITS && number >= c->sync_threshold;
		else
			told = (word & WORD_TOLD) >> WORD_TOLD_SHIFT != (word & WORD_STATE);
	}
	if (told)
		word = (word & ~(WORD_TOLD | WORD_WAITS)) | (word & WORD_STATE) << WORD_TOLD_SHIFT;
	f->word = word;
	if (told && !(c->sync_persist && word & WORD_CONTROLLED))
		sync_flow(af, slot);
	if (word & WORD_CONTROLLED && (told || number == 1))
		sync_template(af, slot);
	return 0;
}

/* In the sweep: is it time to tell of a connection again? One that has been silent is not told. */
__noinline u32 sync_repeat(u32 af, u32 slot, u32 age)
{
	struct flow *f = af == 4 ? flow_at(4, slot) : flow_at(6, slot);
	struct control *c = control();
	u32 refresh;

	if (!f || !c)
		return 0;
	refresh = c->sync_refresh;
	if (!refresh || (slot + c->sync_round) % refresh || age > refresh * TICKS_A_SWEEP)
		return 0;
	if (!(f->ctl & CTL_IPVS) || f->word & WORD_WAITS || !is_told(f))
		return 0;
	if (!(c->sync_persist && f->word & WORD_CONTROLLED))
		sync_flow(af, slot);
	if (f->word & WORD_CONTROLLED)
		sync_template(af, slot);
	return 0;
}

static __always_inline void sync_again(const u8 af, u32 slot, u32 now)
{
	struct flow *f = flow_at(af, slot);
	struct control *c = control();

	if (f && c && c->sync_threshold)
		sync_repeat(af, slot, flow_age(af, f, slot, now));
}
