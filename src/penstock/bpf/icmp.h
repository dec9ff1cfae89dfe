/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* ICMP: errors of our own to a sender, and others' errors about a flow, translated along it. */
#pragma once
#include "rewrite.h"
#include "sum.h"

#define ICMP_UNREACHABLE 3
#define ICMP_PORT_UNREACHABLE 3
#define ICMP_FRAG_NEEDED 4
#define ICMP_TIME_EXCEEDED 11
#define ICMP_PARAMETER 12
#define ICMP6_UNREACHABLE 1
#define ICMP6_PORT_UNREACHABLE 4
#define ICMP6_TOO_BIG 2
#define ICMP6_TIME_EXCEEDED 3
#define ICMP6_PARAMETER 4

#define QUOTE 128 /* bytes of a packet: all headers, and no room for extensions (RFC 4884, 5.5) */
#define ERROR_TOS 0xc0 /* internetwork control (RFC 1812, 4.3.2.5) */
#define ERROR_HEAD(af) (IP_HLEN(af) + 8) /* pushed in front of the quote */

struct error_head4 {
	struct ethhdr eth;
	struct iphdr ip;
	u8 icmp[8];
} __packed;

struct error_head6 {
	struct ethhdr eth;
	struct ip6hdr ip;
	u8 icmp[8];
} __packed;

/*
 * What the quote, *ip* its IP header, adds to the ICMP checksum by the time a receiver sees it. Where
 * the transport's checksum was left to the device (CHECKSUM_PARTIAL), the field holds the pseudo
 * header's sum P now, and the device will make the bytes sum up to the complement of P; *received*:
 * there is no device to do so, the quote came in an error.
 */
static __always_inline u64 quoted_sum(struct __sk_buff *skb, const u32 *ip, const u8 af, u32 received)
{
	u8 proto = af == 4 ? ((const struct iphdr *)ip)->protocol :
			     ((const struct ip6hdr *)ip)->nexthdr;
	u16 pseudo = pseudo_of(ip, af, proto), check;

	if (!received && proto != IPPROTO_SCTP &&
	    !skb_load_bytes(skb, L4_OFFSET(af) + CHECK_OFFSET(proto), &check, sizeof(check)) &&
	    check == pseudo)
		return sum_words(ip, IP_HLEN(af) / 4) + (u16)~check;
	return sum_packet(skb, skb->len - ETH_LEN);
}

/* How much of the packet is quoted: what its headers claim, as far as it is there. */
static __always_inline u32 quote_size(struct __sk_buff *skb, const u8 af)
{
	u32 len, have = skb->len - ETH_LEN;
	be16 claimed = 0;

	if (skb_load_bytes(skb, ETH_LEN + (af == 4 ? 2 : 4), &claimed, sizeof(claimed)))
		return 0;
	len = ntohs(claimed) + (af == 4 ? 0 : 40);
	if (len < IP_HLEN(af) + 8 || len > have) /* BIG TCP leaves the length zero */
		len = have;
	return len > QUOTE ? QUOTE : len;
}

/*
 * Turns the packet into an ICMP error to its sender, with the Ethernet addresses for the way back.
 * The quote is the old packet itself, cut short, in its old place. 0, or 1 when there is no memory.
 */
static __always_inline int make_error(struct __sk_buff *skb, const u8 af, u8 type, u8 code,
				      u16 mtu, u32 received)
{
	u32 quote[10] = {}, icmp[2] = {}, quoted = quote_size(skb, af);
	struct ethhdr eth;
	void *data, *end;
	u64 sum;

	if (skb_change_tail(skb, ETH_LEN + quoted, 0) ||
	    skb_load_bytes(skb, 0, &eth, sizeof(eth)) ||
	    skb_load_bytes(skb, ETH_LEN, quote, IP_HLEN(af)))
		return 1;
	sum = quoted_sum(skb, quote, af, received);
	if (skb_change_head(skb, ERROR_HEAD(af), 0))
		return 1;
	data = packet(skb, HOOK_TC);
	end = packet_end(skb, HOOK_TC);
	if (data + ETH_LEN + ERROR_HEAD(af) > end)
		return 1;
	__builtin_memcpy(((struct ethhdr *)data)->dst, eth.src, 6);
	__builtin_memcpy(((struct ethhdr *)data)->src, eth.dst, 6);
	((struct ethhdr *)data)->proto = eth.proto;
	icmp[0] = htonl((u32)type << 24 | (u32)code << 16);
	icmp[1] = htonl(mtu);
	sum += (u64)icmp[0] + icmp[1];
	if (af == 4) {
		struct error_head4 *e = data;
		struct iphdr *was = (void *)quote;

		__builtin_memset(&e->ip, 0, sizeof(e->ip));
		e->ip.ver_ihl = 0x45;
		e->ip.tos = ERROR_TOS;
		e->ip.tot_len = htons(ERROR_HEAD(4) + quoted);
		e->ip.ttl = 64;
		e->ip.protocol = IPPROTO_ICMP;
		e->ip.saddr = was->daddr;
		e->ip.daddr = was->saddr;
		e->ip.check = ~fold16(sum_words(data + ETH_LEN, 5));
		__builtin_memcpy(e->icmp, icmp, 8);
		*(u16 *)&e->icmp[2] = ~fold16(sum);
	} else {
		struct error_head6 *e = data;
		struct ip6hdr *was = (void *)quote;

		e->ip.ver_tc_flow = htonl(0x60000000);
		e->ip.payload_len = htons(8 + quoted);
		e->ip.nexthdr = IPPROTO_ICMPV6;
		e->ip.hop_limit = 64;
		__builtin_memcpy(e->ip.saddr, was->daddr, 16);
		__builtin_memcpy(e->ip.daddr, was->saddr, 16);
		sum += sum128(was->saddr) + sum128(was->daddr) + htonl(8 + quoted) +
		       htonl(IPPROTO_ICMPV6);
		__builtin_memcpy(e->icmp, icmp, 8);
		*(u16 *)&e->icmp[2] = ~fold16(sum);
	}
	count(EVENT_ANSWERED_ICMP);
	return 0;
}

static __always_inline int answer_error(struct __sk_buff *skb, const u8 af, u8 type, u8 code,
					u16 mtu)
{
	if (make_error(skb, af, type, code, mtu, 0))
		return TC_SHOT;
	return redirect(skb->ifindex, skb->ifindex == LOOPBACK_IFINDEX ? F_INGRESS : 0);
}

__noinline int answer_too_big4(struct __sk_buff *skb, u32 mtu)
{
	return answer_error(skb, 4, ICMP_UNREACHABLE, ICMP_FRAG_NEEDED, mtu);
}

__noinline int answer_too_big6(struct __sk_buff *skb, u32 mtu)
{
	return answer_error(skb, 6, ICMP6_TOO_BIG, 0, mtu);
}

__noinline int answer_unreachable4(struct __sk_buff *skb)
{
	return answer_error(skb, 4, ICMP_UNREACHABLE, ICMP_PORT_UNREACHABLE, 0);
}

__noinline int answer_unreachable6(struct __sk_buff *skb)
{
	return answer_error(skb, 6, ICMP6_UNREACHABLE, ICMP6_PORT_UNREACHABLE, 0);
}

__noinline int answer_expired4(struct __sk_buff *skb)
{
	return answer_error(skb, 4, ICMP_TIME_EXCEEDED, 0, 0);
}

__noinline int answer_expired6(struct __sk_buff *skb)
{
	return answer_error(skb, 6, ICMP6_TIME_EXCEEDED, 0, 0);
}

static __always_inline int is_error(const u8 af, u8 type)
{
	return af == 4 ? type == ICMP_UNREACHABLE || type == ICMP_TIME_EXCEEDED ||
				 type == ICMP_PARAMETER :
			 type >= ICMP6_UNREACHABLE && type <= ICMP6_PARAMETER;
}

/* The start of an ICMP error: outer header, ICMP header, inner header, inner ports. */
struct error4 {
	struct iphdr ip;
	struct icmphdr icmp;
	struct iphdr inner;
	be16 sport;
	be16 dport;
};

struct error6 {
	struct ip6hdr ip;
	struct icmphdr icmp;
	struct ip6hdr inner;
	be16 sport;
	be16 dport;
};

/*
 * The flow an ICMP error is about. Its inner packet is one that we sent; the packet that its
 * receiver would send back has the key we look for, and goes where the error must go.
 */
static __always_inline u32 flow_of_error(struct __sk_buff *skb, const u8 af)
{
	struct scratch *s = scratch();
	struct error4 *e4;
	struct error6 *e6;
	struct key *k;

	_Static_assert(sizeof(*e6) <= sizeof(s->packet), "an ICMP error's start fits");
	if (!s)
		return NO_SLOT;
	e4 = (void *)s->packet;
	e6 = (void *)s->packet;
	k = &s->request.key;
	__builtin_memset(k, 0, sizeof(*k));
	k->af = af;

	if (af == 4) {
		if (s->layout.end < ETH_LEN + sizeof(*e4) ||
		    skb_load_bytes(skb, ETH_LEN, e4, sizeof(*e4)) || e4->ip.ver_ihl != 0x45 ||
		    e4->ip.frag_off & htons(IP_MF) ||
		    !is_error(4, e4->icmp.type) || e4->inner.ver_ihl != 0x45 ||
		    e4->inner.frag_off & htons(IP_OFFSET) || e4->inner.saddr != e4->ip.daddr)
			return NO_SLOT;
		k->saddr[0] = e4->inner.daddr;
		k->daddr[0] = e4->inner.saddr;
		k->sport = e4->dport;
		k->dport = e4->sport;
		k->proto = e4->inner.protocol;
	} else {
		if (s->layout.end < ETH_LEN + sizeof(*e6) ||
		    skb_load_bytes(skb, ETH_LEN, e6, sizeof(*e6)) ||
		    e6->ip.nexthdr != IPPROTO_ICMPV6 || !is_error(6, e6->icmp.type) ||
		    !same_words(e6->inner.saddr, e6->ip.daddr))
			return NO_SLOT;
		__builtin_memcpy(k->saddr, e6->inner.daddr, 16);
		__builtin_memcpy(k->daddr, e6->inner.saddr, 16);
		k->sport = e6->dport;
		k->dport = e6->sport;
		k->proto = e6->inner.nexthdr;
	}
	if (k->proto != IPPROTO_TCP && k->proto != IPPROTO_UDP && k->proto != IPPROTO_SCTP)
		return NO_SLOT;
	return flow_lookup(k);
}

__noinline u32 flow_of_error4(struct __sk_buff *skb)
{
	return flow_of_error(skb, 4);
}

__noinline u32 flow_of_error6(struct __sk_buff *skb)
{
	return flow_of_error(skb, 6);
}

/* Rewrites the error, outer and inner, for the flow's other end. 0 when the packet is too short. */
static __always_inline int rewrite_error(struct __sk_buff *skb, const u8 af, const struct target *t)
{
	const u32 check = L4_OFFSET(af) + offsetof(struct icmphdr, check);
	void *data = packet(skb, HOOK_TC), *end = packet_end(skb, HOOK_TC);
	u64 outer, inner, ports;

	if (af == 4) {
		struct error4 *e = data + ETH_LEN;

		if ((void *)(e + 1) > end)
			return 0;
		ports = diff32(two_ports(e->sport, e->dport), two_ports(t->dport, t->sport));
		/* The inner header's own checksum keeps its sum what it was. */
		inner = diff32(e->inner.saddr, t->daddr[0]) + diff32(e->inner.daddr, t->saddr[0]);
		e->inner.check = csum_apply(e->inner.check, inner);
		e->inner.saddr = t->daddr[0];
		e->inner.daddr = t->saddr[0];
		e->sport = t->dport;
		e->dport = t->sport;
		rewrite_ip(&e->ip, 4, t, &outer);
		return !l4_csum_replace(skb, check, 0, fold32(ports), 0);
	}
	struct error6 *e = data + ETH_LEN;

	if ((void *)(e + 1) > end)
		return 0;
	inner = diff128(e->inner.saddr, t->daddr) + diff128(e->inner.daddr, t->saddr) +
		diff32(two_ports(e->sport, e->dport), two_ports(t->dport, t->sport));
	__builtin_memcpy(e->inner.saddr, t->daddr, 16);
	__builtin_memcpy(e->inner.daddr, t->saddr, 16);
	e->sport = t->dport;
	e->dport = t->sport;
	rewrite_ip(&e->ip, 6, t, &outer);
	whole_sum_changes(skb, HOP_LIMIT_DIFF);
	return !l4_csum_replace(skb, check, 0, fold32(outer), F_PSEUDO_HDR | csum_ipv6_flag) &&
	       !l4_csum_replace(skb, check, 0, fold32(inner), 0);
}
