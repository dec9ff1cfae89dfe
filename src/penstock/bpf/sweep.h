/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The periodic sweep: takes down flows that have been silent for longer than they may. */
#pragma once
#include "conn.h"

#define ORPHAN_AGE TICKS(5)

struct sweep {
	u32 now;
	u32 removed;
};

static __always_inline u32 ticks_allowed(const struct flow *f)
{
	u32 service = f->service;
	struct service_live *s = map_lookup(&service_lives, &service);

	if (f->ctl & CTL_IPVS)
		return ipvs_ticks(f);
	if (f->ctl & CTL_CLOSED)
		return CLOSED_AGE;
	if (!s)
		return 0;
	if (f->ctl & CTL_UDP)
		return s->ticks_idle;
	if (!(f->ctl & CTL_REPLIED))
		return s->ticks_connect;
	if (f->ctl & (CTL_FIN_CLIENT | CTL_FIN_REAL))
		return s->ticks_half;
	return s->ticks_idle;
}

/* With expire_nodest_conn a deleted destination's connections end with it. */
static __always_inline int lost_its_real(const struct flow *f)
{
	struct director *d = director();
	u32 real = f->real;
	struct real_live *r = map_lookup(&real_lives, &real);

	return f->ctl & CTL_IPVS && d && d->expire_nodest_conn && r && r->gone;
}

static __always_inline u32 sweep_slot(const u8 af, u32 slot, u32 now)
{
	struct flow *f = flow_at(af, slot);
	u32 allowed;

	if (!f || (f->ctl & CTL_STATE) != SLOT_LIVE)
		return 0;
	if (f->ctl & CTL_REVERSE) {
		/* Goes with its forward slot, unless that was lost. */
		allowed = f->ctl & CTL_PARTED ? CLOSED_AGE : ORPHAN_AGE;
		if (!peer_of(af, f, slot) && (s32)(now - f->seen) > (s32)allowed)
			flow_end(af, slot);
		return 0;
	}
	allowed = ticks_allowed(f);
	if (!lost_its_real(f) && (!allowed || (s32)(now - f->seen) <= (s32)allowed ||
				  flow_age(af, f, slot, now) <= allowed)) {
		sync_again(af, slot, now);
		return 0;
	}
	if (!(f->ctl & CTL_CLOSED))
		count(EVENT_FLOW_EXPIRED);
	if (!(f->ctl & (CTL_CLOSED | CTL_REPLIED | CTL_IPVS | CTL_PROTO)))
		connect_failed(f->real);
	flow_end(af, slot);
	return 1;
}

__noinline u32 sweep_slot4(u32 slot, u32 now)
{
	return sweep_slot(4, slot, now);
}

__noinline u32 sweep_slot6(u32 slot, u32 now)
{
	return sweep_slot(6, slot, now);
}

static __always_inline void sweep_word(const u8 af, u32 word, u64 bits, struct sweep *s)
{
	for (u32 i = 0; i < 64 && bits; i++) {
		u32 slot = word * 64 + lowest_bit(bits);

		bits &= bits - 1;
		s->removed += af == 4 ? sweep_slot4(slot, s->now) : sweep_slot6(slot, s->now);
	}
}

static long sweep_words4(void *map, u32 *word, u64 *bits, struct sweep *s)
{
	if (*bits)
		sweep_word(4, *word, *bits, s);
	return 0;
}

static long sweep_words6(void *map, u32 *word, u64 *bits, struct sweep *s)
{
	if (*bits)
		sweep_word(6, *word, *bits, s);
	return 0;
}

static long sweep_template(void *map, struct template_key *key, struct template *t,
			   struct sweep *s)
{
	struct real_live *r;
	u32 real = t->real;

	if ((s32)(s->now - t->seen) <= (s32)t->ticks)
		return 0;
	r = map_lookup(&real_lives, &real);
	/* Connections from before an edit of the mask cannot count themselves out of it. */
	if (t->controls && r && r->conns) {
		t->seen = s->now;
		t->ticks = CONTROL_TICKS;
		return 0;
	}
	if (!map_delete(&templates, key) && r)
		__sync_fetch_and_add(&r->persist, -1);
	return 0;
}

static __always_inline u32 sweep_tables(void)
{
	/* The coarse clock is not for syscall programs; both start from the same zero. */
	struct sweep s = { .now = ktime_get_ns() >> 26 };
	struct control *c = control();

	if (c)
		c->sync_round++;
	for_each_map_elem(&occupied4, sweep_words4, &s, 0);
	for_each_map_elem(&occupied6, sweep_words6, &s, 0);
	for_each_map_elem(&templates, sweep_template, &s, 0);
	if (c)
		c->swept = s.removed;
	return s.removed;
}
