/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Ends the connections of one real server, or one alone, on the control plane's word. From then on nothing of them
 * is forwarded: what either end sends is answered with a reset that its own numbers make right
 * (reset.h). The control plane asks ends that are silent to send something.
 */
#pragma once
#include "conn.h"

/* Fills in one end of *r* from what a slot's packets are addressed from and to. */
static __always_inline void cut_end(const u8 af, const struct flow *f, be32 *from, be32 *to,
				    be16 *from_port, be16 *to_port)
{
	if (!f)
		return;
	if (af == 4) {
		const struct flow4 *f4 = (const void *)f;

		from[0] = f4->saddr;
		to[0] = f4->daddr;
		*from_port = f4->sport;
		*to_port = f4->dport;
	} else {
		const struct flow6 *f6 = (const void *)f;

		__builtin_memcpy(from, f6->saddr, 16);
		__builtin_memcpy(to, f6->daddr, 16);
		*from_port = f6->sport;
		*to_port = f6->dport;
	}
}

static __always_inline u32 cut_slot(const u8 af, u32 slot)
{
	const u32 mask = CTL_STATE | CTL_REVERSE | CTL_IPVS | CTL_COUNTED;
	struct flow *f = flow_at(af, slot), *back;
	struct control *c = control();
	struct cut_record *r;
	u32 at;

	if (!f || !c || (f->ctl & mask) != (SLOT_LIVE | CTL_COUNTED))
		return 0;
	if (c->cut_af ? f->ctl >> CTL_LIFE_SHIFT != c->cut_life : f->real != c->cut_real)
		return 0;
	at = c->cut_count;
	r = map_lookup(&cut_outbox, &at);
	if (!r) /* full: the control plane comes again */
		return 0;
	__builtin_memset(r, 0, sizeof(*r));
	if (f->ctl & CTL_UDP) {
		flow_end(af, slot);
		c->cut_count = at + 1;
		return 1;
	}
	back = peer_of(af, f, slot);
	if (!back)
		return 0;
	/* Of one that is not answered, the client's next SYN asks for another real. */
	if (f->ctl & CTL_REPLIED) {
		cut_end(af, f, r->client, r->vip, &r->client_port, &r->vip_port);
		r->client_af = af;
		r->real_af = f->ctl & CTL_CROSS ? 10 - af : af;
		if (r->real_af == 4)
			cut_end(4, flow_at(4, f->peer), r->real, r->source, &r->real_port,
				&r->source_port);
		else
			cut_end(6, flow_at(6, f->peer), r->real, r->source, &r->real_port,
				&r->source_port);
	}
	ctl_change(f, CTL_PARTED, 0);
	ctl_change(back, CTL_PARTED, 0);
	close_flow(f, back, af, slot, LOG_CUT);
	c->cut_count = at + 1;
	return 1;
}

__noinline u32 cut_slot4(u32 slot)
{
	return cut_slot(4, slot);
}

__noinline u32 cut_slot6(u32 slot)
{
	return cut_slot(6, slot);
}

static __always_inline void cut_word(const u8 af, u32 word, u64 bits)
{
	for (u32 i = 0; i < 64 && bits; i++) {
		u32 slot = word * 64 + lowest_bit(bits);

		bits &= bits - 1;
		if (af == 4)
			cut_slot4(slot);
		else
			cut_slot6(slot);
	}
}

static long cut_words4(void *map, u32 *word, u64 *bits, void *unused)
{
	if (*bits)
		cut_word(4, *word, *bits);
	return 0;
}

static long cut_words6(void *map, u32 *word, u64 *bits, void *unused)
{
	if (*bits)
		cut_word(6, *word, *bits);
	return 0;
}

static __always_inline u32 cut_all(void)
{
	struct control *c = control();

	if (!c)
		return 0;
	c->cut_count = 0;
	if (c->cut_af == 4)
		return cut_slot4(c->cut_slot);
	if (c->cut_af)
		return cut_slot6(c->cut_slot);
	for_each_map_elem(&occupied4, cut_words4, NULL, 0);
	for_each_map_elem(&occupied6, cut_words6, NULL, 0);
	return 0;
}
