/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What becomes of connections, counted as HAProxy counts it (management guide, 9.1): how long they took,
 * who broke them off, whom no flow was opened for. Packets between a SYN and a FIN are none of this.
 */
#pragma once
#include "journal.h"

#define NS_A_MS 1000000

static __always_inline u64 exact_ms(void)
{
	return ktime_get_ns() / NS_A_MS;
}

/* When the flow of a forward slot began, of which *ctl* was said last. */
static __always_inline u64 flow_begun(u32 af, u32 slot, const struct flow *f, u32 ctl)
{
	u64 *kept = begun_at(af, slot);
	struct flow *back;

	if (ctl & CTL_FIN_CLIENT)
		return kept ? *kept : 0;
	back = (ctl & CTL_CROSS ? 10 - af : af) == 4 ? flow_at(4, f->peer) : flow_at(6, f->peer);
	return f->closing | (back ? (u64)back->table << 32 : 0);
}

/* The client's first FIN is about to take that place. Returns 0, as all that the verifier sees once. */
__noinline u32 keep_begun(u32 af, u32 slot)
{
	struct flow *f = af == 4 ? flow_at(4, slot) : flow_at(6, slot);
	u64 *kept = begun_at(af, slot);

	if (f && kept)
		*kept = flow_begun(af, slot, f, f->ctl);
	return 0;
}

static __always_inline struct outcome *outcome_of(u32 real)
{
	return map_lookup(&outcomes, &real);
}

/* The forward slot's real has taken the connection. Returns 0. */
__noinline u32 outcome_answered(u32 af, u32 slot)
{
	struct flow *f = af == 4 ? flow_at(4, slot) : flow_at(6, slot);
	u64 begun, now = exact_ms();
	struct outcome *o;

	if (!f)
		return 0;
	o = outcome_of(f->real);
	if (!o)
		return 0;
	__sync_fetch_and_add(&o->answered, 1);
	begun = flow_begun(af, slot, f, f->ctl);
	if (now > begun)
		__sync_fetch_and_add(&o->connect_time, now - begun);
	return 0;
}

/* Of two ends that were silent for too long, was it the real that was waited for? (logs/flows.py) */
static __always_inline u32 waited_for_real(const struct flow *f, u32 ctl)
{
	u32 fins = ctl & (CTL_FIN_CLIENT | CTL_FIN_REAL), id = f->service;
	struct service *s;

	if (fins == CTL_FIN_CLIENT || fins == CTL_FIN_REAL)
		return fins == CTL_FIN_CLIENT;
	s = map_lookup(&services, &id);
	return s && s->flags & SERVICE_REALS_TIMEOUT;
}

/*
 * The forward slot's connection has left the live counts; *ctl* is what its slot said last. One that
 * was never answered is an error of its real's, and counted as that.
 */
__noinline u32 outcome_ended(u32 af, u32 slot, u32 ctl, u32 how)
{
	struct flow *f = af == 4 ? flow_at(4, slot) : flow_at(6, slot);
	u64 begun, now = exact_ms();
	struct outcome *o;

	if (!f || ctl & (CTL_IPVS | CTL_UDP))
		return 0;
	o = outcome_of(f->real);
	if (!o)
		return 0;
	if (how == LOG_CLIENT_RESET)
		__sync_fetch_and_add(&o->client_aborts, 1);
	if (!(ctl & CTL_REPLIED))
		return 0;
	__sync_fetch_and_add(&o->ended, 1);
	begun = flow_begun(af, slot, f, ctl);
	if (now > begun)
		__sync_fetch_and_add(&o->total_time, now - begun);
	if (how == LOG_REAL_RESET)
		__sync_fetch_and_add(&o->real_resets, 1);
	if (how == LOG_REAL_RESET || (how == LOG_SILENT && waited_for_real(f, ctl)))
		__sync_fetch_and_add(&o->real_aborts, 1);
	else if (how == LOG_SILENT)
		__sync_fetch_and_add(&o->client_aborts, 1);
	return 0;
}

/* No flow is opened for a connection to the service, for the reason *why* (enum turned). */
static __always_inline void turned_away(u32 service, u32 why)
{
	struct turnings *t = map_lookup(&service_turnings, &service);

	if (t && why < TURNED_MAX)
		__sync_fetch_and_add(&(&t->nobody)[why], 1);
}

/* There is nobody in the pool to send it to. */
__noinline u32 nobody_up(u32 service, u32 pool)
{
	u64 *refused = map_lookup(&pool_refusals, &pool);

	turned_away(service, TURNED_NOBODY);
	if (refused && pool)
		__sync_fetch_and_add(refused, 1);
	return 0;
}
