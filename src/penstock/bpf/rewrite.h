/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Address and port translation of a packet, checksums included. */
#pragma once
#include "csum.h"
#include "egress.h"

static __always_inline void target_of(const struct flow *f, const u8 af, struct target *t)
{
	if (af == 4) {
		const struct flow4 *f4 = (const void *)f;

		t->saddr[0] = f4->nsaddr;
		t->daddr[0] = f4->ndaddr;
		t->sport = f4->nsport;
		t->dport = f4->ndport;
	} else {
		const struct flow6 *f6 = (const void *)f;

		__builtin_memcpy(t->saddr, f6->nsaddr, 16);
		__builtin_memcpy(t->daddr, f6->ndaddr, 16);
		t->sport = f6->nsport;
		t->dport = f6->ndport;
	}
}

static __always_inline u32 two_ports(be16 sport, be16 dport)
{
	return (u32)sport | (u32)dport << 16; /* both halves in network order: a sum's order is free */
}

static __always_inline u32 hops_left(const void *l3, const u8 af)
{
	return af == 4 ? ((const struct iphdr *)l3)->ttl : ((const struct ip6hdr *)l3)->hop_limit;
}

/*
 * Rewrites the IP header in place; what the addresses add to the transport's checksum goes into
 * *diff. The caller has checked that the header is there and that there are hops left.
 */
static __always_inline void rewrite_ip(void *l3, const u8 af, const struct target *t, u64 *diff)
{
	if (af == 4) {
		struct iphdr *ip = l3;

		*diff = diff32(ip->saddr, t->saddr[0]) + diff32(ip->daddr, t->daddr[0]);
		ip->ttl -= 1;
		ip->check = csum_apply(ip->check, *diff + TTL_DIFF);
		ip->saddr = t->saddr[0];
		ip->daddr = t->daddr[0];
	} else {
		struct ip6hdr *ip = l3;

		*diff = diff128(ip->saddr, t->saddr) + diff128(ip->daddr, t->daddr);
		ip->hop_limit -= 1;
		__builtin_memcpy(ip->saddr, t->saddr, 16);
		__builtin_memcpy(ip->daddr, t->daddr, 16);
	}
}

#define CHECK_OFFSET(proto) \
	((proto) == IPPROTO_TCP ? offsetof(struct tcphdr, check) : offsetof(struct udphdr, check))

/* XDP sees finished checksums only (the set-up refuses interfaces where that is not so). */
static __always_inline void fix_transport_xdp(void *l4, void *end, u8 proto, u64 diff)
{
	u16 *check, sum;

	if (proto == IPPROTO_TCP) {
		check = &((struct tcphdr *)l4)->check;
		if ((void *)(check + 1) <= end)
			*check = csum_apply(*check, diff);
		return;
	}
	check = &((struct udphdr *)l4)->check;
	if ((void *)(check + 1) > end || !*check)
		return;
	sum = csum_apply(*check, diff);
	*check = sum ? sum : 0xffff;
}

/*
 * In TC the checksum may be one for the device to finish (CHECKSUM_PARTIAL): then it covers the
 * pseudo header only, and the ports' difference must stay out of it. The helper knows; so the two
 * differences go in separately.
 */
static __always_inline int fix_transport_tc(struct __sk_buff *skb, const u8 af, u32 l4, u8 proto,
					    u64 addresses, u64 ports)
{
	u32 at = l4 + CHECK_OFFSET(proto);
	u64 flags = proto == IPPROTO_UDP ? F_MARK_MANGLED_0 : 0;
	u64 pseudo = flags | F_PSEUDO_HDR | (af == 6 ? csum_ipv6_flag : 0);

	if (l4_csum_replace(skb, at, 0, fold32(addresses), pseudo))
		return 0;
	return !ports || !l4_csum_replace(skb, at, 0, fold32(ports), flags);
}

/* The pseudo header's sum of a plain packet: what its transport's checksum starts from. */
static __always_inline u16 pseudo_of(const void *l3, const u8 af, u8 proto)
{
	if (af == 4) {
		const struct iphdr *ip = l3;

		return fold16((u64)ip->saddr + ip->daddr + htonl(proto) +
			      htonl((u32)ntohs(ip->tot_len) - 20));
	}
	const struct ip6hdr *ip = l3;

	return fold16(sum128(ip->saddr) + sum128(ip->daddr) + htonl(proto) +
		      htonl(ntohs(ip->payload_len)));
}
