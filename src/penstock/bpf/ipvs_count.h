/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* IPVS's live numbers: active and inactive connections, thresholds, what templates control. */
#pragma once
#include "ipvs_state.h"

#define PORT_FTP 21
#define CONTROL_TICKS TICKS(60) /* a template waits so for its connections (ip_vs_conn_expire()) */

/* Counted as T, the total; *real* had *total* before. */
static __always_inline void passes_upper(struct real_live *r, u32 total)
{
	if (r->upper && total >= r->upper)
		r->overloaded = 1;
}

/* One left and *total* remain (ip_vs_unbind_dest()). */
static __always_inline void passes_lower(struct real_live *r, u32 total)
{
	if (!r->overloaded)
		return;
	if (r->lower ? total < r->lower : !r->upper || (u64)total * 4 < (u64)r->upper * 3)
		r->overloaded = 0;
}

/* The template that a client of *service* has, if it has one (ip_vs_sched_persist()). */
static __always_inline void template_of(const struct service *s, const u8 af, const be32 *client,
					const be32 *vip, be16 vport, u8 proto,
					struct template_key *t)
{
	__builtin_memset(t, 0, sizeof(*t));
	t->af = af;
	for (int i = 0; i < (af == 4 ? 1 : 4); i++)
		t->client[i] = client[i] & s->mask[i];
	if (s->fwmark) {
		t->vip[0] = s->fwmark;
		return;
	}
	t->proto = proto;
	for (int i = 0; i < (af == 4 ? 1 : 4); i++)
		t->vip[i] = vip[i];
	if (vport == s->port && s->port != htons(PORT_FTP))
		t->port = vport;
}

#define TEMPLATE_LEAVE 0 /* a connection less */
#define TEMPLATE_ASSURE 1

/* *ctl*: of the connection, whose slot may have been taken down already. */
static __always_inline u32 tell_template(const u8 af, u32 slot, u32 ctl, u32 what)
{
	struct flow *f = flow_at(af, slot);
	struct template_key k;
	struct template *t;
	struct service *s;
	u32 id;

	if (!f || !(f->word & WORD_CONTROLLED))
		return 0;
	id = f->service;
	s = map_lookup(&services, &id);
	if (!s)
		return 0;
	if (af == 4) {
		const struct flow4 *f4 = (const void *)f;

		template_of(s, 4, &f4->saddr, &f4->daddr, f4->dport, proto_of(ctl), &k);
	} else {
		const struct flow6 *f6 = (const void *)f;

		template_of(s, 6, f6->saddr, f6->daddr, f6->dport, proto_of(ctl), &k);
	}
	t = map_lookup(&templates, &k);
	if (!t)
		return 0;
	if (what == TEMPLATE_ASSURE)
		t->assured = 1;
	else if (t->controls)
		__sync_fetch_and_add(&t->controls, -1);
	return 0;
}

/*
 * Takes a connection out of all counts; *ctl* is what its slot said last, which is the caller's
 * now. Returns 0.
 */
static __always_inline u32 uncount_connection(const u8 af, u32 slot, u32 ctl)
{
	struct flow *f = flow_at(af, slot);
	struct control *c = control();
	struct service_live *s;
	struct real_live *r;
	u32 service, real;

	if (!f || !c)
		return 0;
	service = f->service;
	real = f->real;
	s = map_lookup(&service_lives, &service);
	r = map_lookup(&real_lives, &real);
	if (s)
		__sync_fetch_and_add(&s->conns, -1);
	__sync_fetch_and_add(&c->conns, -1);
	if (r) {
		if (!(ctl & CTL_INACTIVE))
			__sync_fetch_and_add(&r->active, -1);
		passes_lower(r, __sync_fetch_and_add(&r->conns, -1) - 1);
	}
	return tell_template(af, slot, ctl, TEMPLATE_LEAVE);
}

__noinline u32 ipvs_uncount4(u32 slot, u32 ctl)
{
	return uncount_connection(4, slot, ctl);
}

__noinline u32 ipvs_uncount6(u32 slot, u32 ctl)
{
	return uncount_connection(6, slot, ctl);
}

__noinline u32 ipvs_assure4(u32 slot)
{
	struct flow *f = flow_at(4, slot);

	return f ? tell_template(4, slot, f->ctl, TEMPLATE_ASSURE) : 0;
}

__noinline u32 ipvs_assure6(u32 slot)
{
	struct flow *f = flow_at(6, slot);

	return f ? tell_template(6, slot, f->ctl, TEMPLATE_ASSURE) : 0;
}
