/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * ICMP errors about a flow whose real server is of the other address family (RFC 7915, sections
 * 4.2 to 4.5 and 5.2 to 5.5): outer header, ICMP header and the quoted header are made anew, the
 * quoted transport keeps its bytes but for the ports.
 */
#pragma once
#include "cross.h"

#define ICMP_HOST_UNREACHABLE 1
#define ICMP_PROTOCOL_UNREACHABLE 2
#define ICMP_HOST_PROHIBITED 10
#define ICMP6_NO_ROUTE 0
#define ICMP6_PROHIBITED 1
#define ICMP6_UNKNOWN_NEXT_HEADER 1
#define PLATEAU 1492 /* RFC 1191, for a router that does not say its MTU */
#define NEXT_HEADER_AT 6

#define KIND(type, code) ((u32)(type) << 8 | (code))
#define NO_KIND 0xffffffffu

/* Type and code of an ICMPv4 error in ICMPv6. */
static __always_inline u32 kind_in6(u8 type, u8 code)
{
	if (type == ICMP_TIME_EXCEEDED)
		return KIND(ICMP6_TIME_EXCEEDED, code);
	if (type != ICMP_UNREACHABLE || code > 15 || code == 14)
		return NO_KIND;
	if (code == ICMP_FRAG_NEEDED)
		return KIND(ICMP6_TOO_BIG, 0);
	if (code == ICMP_PORT_UNREACHABLE)
		return KIND(ICMP6_UNREACHABLE, ICMP6_PORT_UNREACHABLE);
	if (code == ICMP_PROTOCOL_UNREACHABLE)
		return KIND(ICMP6_PARAMETER, ICMP6_UNKNOWN_NEXT_HEADER);
	if (code == 9 || code == 10 || code == 13 || code == 15)
		return KIND(ICMP6_UNREACHABLE, ICMP6_PROHIBITED);
	return KIND(ICMP6_UNREACHABLE, ICMP6_NO_ROUTE);
}

/* And the other way. */
static __always_inline u32 kind_in4(u8 type, u8 code)
{
	if (type == ICMP6_TIME_EXCEEDED)
		return KIND(ICMP_TIME_EXCEEDED, code);
	if (type == ICMP6_TOO_BIG)
		return KIND(ICMP_UNREACHABLE, ICMP_FRAG_NEEDED);
	if (type == ICMP6_PARAMETER && code == ICMP6_UNKNOWN_NEXT_HEADER)
		return KIND(ICMP_UNREACHABLE, ICMP_PROTOCOL_UNREACHABLE);
	if (type != ICMP6_UNREACHABLE || code > ICMP6_PORT_UNREACHABLE)
		return NO_KIND;
	if (code == ICMP6_PORT_UNREACHABLE)
		return KIND(ICMP_UNREACHABLE, ICMP_PORT_UNREACHABLE);
	return KIND(ICMP_UNREACHABLE,
		    code == ICMP6_PROHIBITED ? ICMP_HOST_PROHIBITED : ICMP_HOST_UNREACHABLE);
}

/* The ICMP header's second word: MTU or pointer. */
static __always_inline u32 detail_in6(u32 kind, u32 mtu, u32 quoted_len)
{
	if (kind == KIND(ICMP6_PARAMETER, ICMP6_UNKNOWN_NEXT_HEADER))
		return NEXT_HEADER_AT;
	if (kind != KIND(ICMP6_TOO_BIG, 0))
		return 0;
	if (!mtu)
		mtu = quoted_len > PLATEAU ? PLATEAU : 0;
	mtu += MTU_SHIFT;
	return mtu < IP6_MIN_MTU ? IP6_MIN_MTU : mtu;
}

static __always_inline u32 detail_in4(u32 kind, u32 mtu)
{
	if (kind != KIND(ICMP_UNREACHABLE, ICMP_FRAG_NEEDED))
		return 0;
	if (mtu > 65535)
		return 65535 - MTU_SHIFT;
	return mtu < IP6_MIN_MTU ? IP6_MIN_MTU - MTU_SHIFT : mtu - MTU_SHIFT;
}

/* What of an IP header goes into the other family's. */
struct carried {
	u32 tos;
	u32 hops;
	u32 len; /* of the payload */
	u32 proto;
};

static __always_inline void make_ip4(struct iphdr *ip, const struct carried *c, be32 saddr,
				     be32 daddr)
{
	ip->ver_ihl = 0x45;
	ip->tos = c->tos;
	ip->tot_len = htons(c->len + 20);
	ip->id = 0;
	ip->frag_off = htons(IP_DF);
	ip->ttl = c->hops;
	ip->protocol = c->proto;
	ip->check = 0;
	ip->saddr = saddr;
	ip->daddr = daddr;
	ip->check = ~fold16(sum_words((const u32 *)ip, 5));
}

static __always_inline void make_ip6(struct ip6hdr *ip, const struct carried *c, const be32 *saddr,
				     const be32 *daddr)
{
	ip->ver_tc_flow = htonl(0x60000000 | c->tos << 20);
	ip->payload_len = htons(c->len);
	ip->nexthdr = c->proto;
	ip->hop_limit = c->hops;
	__builtin_memcpy(ip->saddr, saddr, 16);
	__builtin_memcpy(ip->daddr, daddr, 16);
}

static __always_inline void carry4(const struct iphdr *ip, struct carried *c)
{
	c->tos = ip->tos;
	c->hops = ip->ttl;
	c->len = ntohs(ip->tot_len) - 20;
	c->proto = ip->protocol;
}

static __always_inline void carry6(const struct ip6hdr *ip, struct carried *c)
{
	c->tos = ntohl(ip->ver_tc_flow) >> 20 & 0xff;
	c->hops = ip->hop_limit;
	c->len = ntohs(ip->payload_len);
	c->proto = ip->nexthdr;
}

/*
 * Makes room for, or takes away, what two headers differ by. Options of RFC 4884 behind a quote
 * become part of it: the length that would tell them apart stays zero.
 */
static __always_inline int resize_error(struct __sk_buff *skb, const u8 out)
{
	return !skb_change_proto(skb, htons(out == 4 ? ETH_P_IP : ETH_P_IPV6), 0) &&
	       !skb_adjust_room(skb, out == 4 ? -MTU_SHIFT : MTU_SHIFT, ROOM_MAC, 0) &&
	       !skb_pull_data(skb, ETH_LEN + 2 * IP_HLEN(out) + 8 + 4);
}

/* The error's start is in scratch->packet, where flow_of_error() has put it. */
static __always_inline int cross_error(struct __sk_buff *skb, const u8 af, u32 slot)
{
	const u8 out = 10 - af;
	const u32 words = IP_HLEN(af) / 4;
	struct flow *f = flow_at(af, slot);
	struct scratch *s = scratch();
	struct carried outer, inner;
	u32 kind, detail, why;
	struct target *t;
	struct hop *hop;
	void *data, *end;
	u64 sum, whole = 0;
	u32 *w;

	if (!s || !f || !cross_target(af, f, slot, &s->target))
		return drop(DROP_CROSS_FAMILY);
	t = &s->target;
	w = (void *)s->packet;
	if (af == 4) {
		struct error4 *e = (void *)w;

		carry4(&e->ip, &outer);
		carry4(&e->inner, &inner);
		kind = kind_in6(e->icmp.type, e->icmp.code);
		detail = detail_in6(kind, ntohs(e->icmp.mtu), inner.len + 20);
		sum = (u16)~e->icmp.check;
		e->icmp.check = 0;
		sum += diff32(two_ports(e->sport, e->dport), two_ports(t->dport, t->sport));
	} else {
		struct error6 *e = (void *)w;

		carry6(&e->ip, &outer);
		carry6(&e->inner, &inner);
		kind = kind_in4(e->icmp.type, e->icmp.code);
		detail = detail_in4(kind, ntohl(w[words + 1]));
		sum = (u16)~e->icmp.check;
		e->icmp.check = 0;
		sum += diff32(two_ports(e->sport, e->dport), two_ports(t->dport, t->sport));
		sum += minus_words(w + 2, 8) + (u32)~htonl(outer.len) + (u32)~htonl(IPPROTO_ICMPV6);
		/* The helpers that shorten the packet take the IPv6 header out themselves. */
		whole = sum_words(w + 2, 8) + htonl(outer.len) + htonl(IPPROTO_ICMPV6);
	}
	sum += minus_words(w + words, 2 + words);
	if (kind == NO_KIND)
		return drop(DROP_CROSS_FAMILY);
	if (outer.hops <= 1)
		return drop(DROP_TTL);
	outer.hops -= 1;
	hop = hop_for(t, out, out == 4 ? IPPROTO_ICMP : IPPROTO_ICMPV6);
	if (!hop)
		return drop(DROP_NO_ROUTE);
	why = resolve_hop(skb, hop);
	if (why)
		return drop(why);

	if (!resize_error(skb, out))
		return drop(DROP_REWRITE);
	data = packet(skb, HOOK_TC);
	end = packet_end(skb, HOOK_TC);
	if (data + ETH_LEN + 2 * IP_HLEN(out) + 8 + 4 > end)
		return drop(DROP_REWRITE);
	((struct ethhdr *)data)->proto = htons(out == 4 ? ETH_P_IP : ETH_P_IPV6);
	w = data + ETH_LEN;
	if (out == 4) {
		struct error4 *e = (void *)w;

		outer.len -= MTU_SHIFT;
		outer.proto = IPPROTO_ICMP;
		make_ip4(&e->ip, &outer, t->saddr[0], t->daddr[0]);
		make_ip4(&e->inner, &inner, t->daddr[0], t->saddr[0]);
		w[5] = htonl(kind << 16);
		w[6] = htonl(detail);
		e->sport = t->dport;
		e->dport = t->sport;
		e->icmp.check = ~fold16(sum + sum_words(w + 5, 7));
	} else {
		struct error6 *e = (void *)w;

		outer.len += MTU_SHIFT;
		outer.proto = IPPROTO_ICMPV6;
		make_ip6(&e->ip, &outer, t->saddr, t->daddr);
		make_ip6(&e->inner, &inner, t->daddr, t->saddr);
		w[10] = htonl(kind << 16);
		w[11] = htonl(detail);
		e->sport = t->dport;
		e->dport = t->sport;
		e->icmp.check = ~fold16(sum + sum_words(w + 2, 20) + htonl(outer.len) +
					htonl(IPPROTO_ICMPV6));
		whole = sum_words(w, 2) + (u32)~htonl(outer.len) + (u32)~htonl(IPPROTO_ICMPV6);
	}
	whole_sum_changes(skb, whole);
	count(EVENT_ICMP_TRANSLATED);
	count(EVENT_FORWARDED_TC);
	return hop->kind == HOP_LOCAL ? send_to_host(skb) : send_to_neighbour(skb, hop);
}

__noinline int cross_error4(struct __sk_buff *skb, u32 slot)
{
	return cross_error(skb, 4, slot);
}

__noinline int cross_error6(struct __sk_buff *skb, u32 slot)
{
	return cross_error(skb, 6, slot);
}
