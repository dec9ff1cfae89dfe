/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Flows whose real server is of the other address family: header translation (RFC 7915), in TC. */
#pragma once
#include "icmp.h"

#define MTU_SHIFT 20 /* an IPv6 header is that much longer */
#define IP6_MIN_MTU 1280

/* The other direction's key, turned round, is what this direction is rewritten to. */
static __always_inline int cross_target(const u8 af, const struct flow *f, u32 slot,
					struct target *t)
{
	struct flow *p = flow_at(10 - af, f->peer);

	if (!p || !are_peers(f, slot, p))
		return 0;
	if (af == 6) {
		const struct flow4 *p4 = (const void *)p;

		t->saddr[0] = p4->daddr;
		t->daddr[0] = p4->saddr;
		t->sport = p4->dport;
		t->dport = p4->sport;
	} else {
		const struct flow6 *p6 = (const void *)p;

		__builtin_memcpy(t->saddr, p6->daddr, 16);
		__builtin_memcpy(t->daddr, p6->saddr, 16);
		t->sport = p6->dport;
		t->dport = p6->sport;
	}
	return 1;
}

static __always_inline int cross(struct __sk_buff *skb, const u8 af, u32 slot, u32 tcp_flags)
{
	const u8 out = 10 - af;
	struct flow *f = flow_at(af, slot);
	void *data = packet(skb, HOOK_TC), *end = packet_end(skb, HOOK_TC);
	u32 hops, tos, len, gso = skb->gso_size, why, size, headers;
	struct target t = {};
	struct hop *hop;
	u64 diff, ports_diff, whole = 0;
	struct udphdr *u;
	u32 fragmentable, id;
	u8 proto;

	if (f && f->ctl & CTL_PARTED) {
		count(PASS_NO_FLOW);
		return TCX_NEXT;
	}
	if (!f || !cross_target(af, f, slot, &t))
		return drop(DROP_CROSS_FAMILY);
	if (data + L4_OFFSET(af) + 8 > end)
		return drop(DROP_REWRITE);
	u = data + L4_OFFSET(af);
	if (af == 4) {
		struct iphdr *ip = data + ETH_LEN;

		hops = ip->ttl;
		tos = ip->tos;
		proto = ip->protocol;
		len = ntohs(ip->tot_len) - 20;
		diff = sum128(t.saddr) + sum128(t.daddr) + (u32)~ip->saddr + (u64)(u32)~ip->daddr;
		/* IPv6 requires a UDP checksum and it cannot be made without reading it all. */
		if (proto == IPPROTO_UDP && !u->check)
			return drop(DROP_CROSS_FAMILY);
	} else {
		struct ip6hdr *ip = data + ETH_LEN;

		hops = ip->hop_limit;
		tos = ntohl(ip->ver_tc_flow) >> 20 & 0xff;
		proto = ip->nexthdr;
		len = ntohs(ip->payload_len);
		diff = (u64)t.saddr[0] + t.daddr[0] + 16ULL * 0xffffffff / 2 - sum128(ip->saddr) -
		       sum128(ip->daddr);
		/* The helper that shortens the packet takes the first half out itself. */
		whole = minus_words((const u32 *)ip + 5, 5);
	}
	if (hops <= 1) {
		count(DROP_TTL);
		return af == 4 ? answer_expired4(skb) : answer_expired6(skb);
	}
	ports_diff = diff32(two_ports(u->sport, u->dport), two_ports(t.sport, t.dport));

	hop = hop_for(&t, out, proto);
	if (!hop)
		return drop(DROP_NO_ROUTE);
	why = resolve_hop(skb, hop);
	if (why)
		return drop(why);
	size = skb->len - ETH_LEN - IP_HLEN(af) + IP_HLEN(out);
	headers = IP_HLEN(out) + (proto == IPPROTO_TCP ? 32 : 8);
	if (size > hop->mtu && hop->kind != HOP_LOCAL &&
	    (!gso || (af == 6 && gso + headers > hop->mtu))) {
		count(DROP_TOO_BIG);
		return af == 4 ? answer_too_big4(skb, hop->mtu - MTU_SHIFT) :
				 answer_too_big6(skb, hop->mtu + MTU_SHIFT);
	}
	if (unlikely(f->dist & DIST_LOGGED))
		log_skb(skb, af, slot, L4_OFFSET(af), proto);
	if (tcp_flags & (TCP_FIN | TCP_RST) ||
	    (f->ctl & (CTL_REVERSE | CTL_REPLIED)) == CTL_REVERSE) {
		if (tcp_flags & TCP_FIN)
			read_stamp(skb, af, L4_OFFSET(af));
		track(af, slot, tcp_flags);
	}
	f->seen = now_tick();
	account(f, skb->gso_segs ?: 1, skb->len - ETH_LEN);

	if (skb_change_proto(skb, htons(out == 4 ? ETH_P_IP : ETH_P_IPV6), 0))
		return drop(DROP_REWRITE);
	data = packet(skb, HOOK_TC);
	end = packet_end(skb, HOOK_TC);
	if (data + L4_OFFSET(out) + 8 > end)
		return drop(DROP_REWRITE);
	((struct ethhdr *)data)->proto = htons(out == 4 ? ETH_P_IP : ETH_P_IPV6);
	if (out == 4) {
		struct iphdr *ip = data + ETH_LEN;

		ip->ver_ihl = 0x45;
		ip->tos = tos;
		ip->tot_len = htons(len + 20);
		/*
		 * An IPv6 sender will not go below 1280 bytes, whatever it is told; so what fits into
		 * that may be cut on an IPv4 link that takes less (RFC 7915, section 5.1).
		 */
		fragmentable = len + 20 <= IP6_MIN_MTU - MTU_SHIFT;
		id = fragmentable ? prandom_u32() & 0xffff : 0;
		ip->id = id;
		ip->frag_off = fragmentable ? 0 : htons(IP_DF);
		ip->ttl = hops - 1;
		ip->protocol = proto;
		ip->check = 0;
		ip->saddr = t.saddr[0];
		ip->daddr = t.daddr[0];
		ip->check = ~fold16((u64)htonl(0x45000000 | tos << 16 | ((len + 20) & 0xffff)) +
				    id + ((u64)ip->frag_off << 16) +
				    htonl((hops - 1) << 24 | (u32)proto << 16) + ip->saddr +
				    (u64)ip->daddr);
	} else {
		struct ip6hdr *ip = data + ETH_LEN;

		ip->ver_tc_flow = htonl(0x60000000 | tos << 20);
		ip->payload_len = htons(len);
		ip->nexthdr = proto;
		ip->hop_limit = hops - 1;
		__builtin_memcpy(ip->saddr, t.saddr, 16);
		__builtin_memcpy(ip->daddr, t.daddr, 16);
		whole = sum_words((const u32 *)ip, 10) + (u32)~fold32(diff);
	}
	whole_sum_changes(skb, whole);
	u = data + L4_OFFSET(out);
	u->sport = t.sport;
	u->dport = t.dport;
	if (!fix_transport_tc(skb, out, L4_OFFSET(out), proto, diff, ports_diff))
		return drop(DROP_REWRITE);
	count(EVENT_FORWARDED_TC);
	return hop->kind == HOP_LOCAL ? send_to_host(skb) : send_to_neighbour(skb, hop);
}

__noinline int cross_from4(struct __sk_buff *skb, u32 slot, u32 tcp_flags)
{
	return cross(skb, 4, slot, tcp_flags);
}

__noinline int cross_from6(struct __sk_buff *skb, u32 slot, u32 tcp_flags)
{
	return cross(skb, 6, slot, tcp_flags);
}
