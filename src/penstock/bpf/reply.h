/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Answers of a masqueraded real server that is this host itself, at TC egress: no interface ever
 * receives them. Attached only where there are such.
 */
#pragma once
#include "tc.h"

static __always_inline int reply_family(struct __sk_buff *skb, const u8 af)
{
	struct request q = { .ifindex = skb->ifindex };
	u64 diff, ports_diff;
	struct target t = {};
	struct udphdr *u;
	struct flow *f;
	void *data;
	u32 slot;

	pull_headers(skb, af);
	if (!parse_plain(skb, HOOK_TC, af, &q))
		return TCX_NEXT;
	slot = flow_find(&q.key, af);
	f = flow_at(af, slot);
	if (slot == NO_SLOT || !f || (f->ctl & (CTL_IPVS | CTL_REVERSE)) != (CTL_IPVS | CTL_REVERSE))
		return TCX_NEXT;
	if (ipvs_moves(f, f->ctl, q.tcp_flags))
		ipvs_track(af, slot, q.tcp_flags);
	f->seen = now_tick();
	account(f, skb->gso_segs ?: 1, skb->len - ETH_LEN);
	target_of(f, af, &t);
	data = packet(skb, HOOK_TC);
	if (data + L4_OFFSET(af) + 8 > packet_end(skb, HOOK_TC))
		return drop(DROP_REWRITE);
	rewrite_ip(data + ETH_LEN, af, &t, &diff);
	u = data + L4_OFFSET(af);
	ports_diff = diff32(two_ports(u->sport, u->dport), two_ports(t.sport, t.dport));
	u->sport = t.sport;
	u->dport = t.dport;
	if (!fix_transport_tc(skb, af, L4_OFFSET(af), q.key.proto, diff, ports_diff))
		return drop(DROP_REWRITE);
	count(EVENT_FORWARDED_TC);
	return TCX_NEXT;
}

__noinline int reply_ip4(struct __sk_buff *skb)
{
	return reply_family(skb, 4);
}

__noinline int reply_ip6(struct __sk_buff *skb)
{
	return reply_family(skb, 6);
}

static __always_inline int reply_packet(struct __sk_buff *skb)
{
	if (likely(skb->ingress_ifindex)) /* received somewhere: seen there */
		return TCX_NEXT;
	if (skb->protocol == htons(ETH_P_IP))
		return reply_ip4(skb);
	return skb->protocol == htons(ETH_P_IPV6) ? reply_ip6(skb) : TCX_NEXT;
}
