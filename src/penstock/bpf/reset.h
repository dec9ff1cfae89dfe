/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Answers a segment of a connection that is over with a reset (RFC 9293, 3.10.7.1). */
#pragma once
#include "icmp.h"

struct reset4 {
	struct iphdr ip;
	struct tcphdr tcp;
} __packed;

struct reset6 {
	struct ip6hdr ip;
	struct tcphdr tcp;
} __packed;

#define RESET_LEN(af) ((af) == 4 ? sizeof(struct reset4) : sizeof(struct reset6))

/* What the segment takes of its sender's sequence numbers. */
static __always_inline u32 segment_length(const void *l3, const struct tcphdr *tcp, const u8 af,
					  u32 present)
{
	u32 claimed = ntohs(af == 4 ? ((const struct iphdr *)l3)->tot_len :
				      ((const struct ip6hdr *)l3)->payload_len);
	u32 headers = (af == 4 ? 20 : 0) + (tcp->doff >> 4) * 4;

	if (!claimed) /* BIG TCP */
		claimed = present - (af == 4 ? 0 : IP_HLEN(6));
	return (claimed > headers ? claimed - headers : 0) + !!(tcp->flags & TCP_SYN) +
	       !!(tcp->flags & TCP_FIN);
}

/* Turns *was* round: where its sender expects it, with what its sender said it wants next. */
static __always_inline void reset_of(const struct tcphdr *was, u32 length, struct tcphdr *tcp)
{
	tcp->sport = was->dport;
	tcp->dport = was->sport;
	tcp->doff = 5 << 4;
	if (was->flags & TCP_ACK) {
		tcp->seq = was->ack;
		tcp->flags = TCP_RST;
	} else {
		tcp->ack = htonl(ntohl(was->seq) + length);
		tcp->flags = TCP_RST | TCP_ACK;
	}
}

/*
 * The packet becomes the reset. Where its checksum was left to the device, the reset's is as well
 * (the field holds the pseudo header's sum; icmp.h, quoted_sum()).
 */
static __always_inline int answer_reset(struct __sk_buff *skb, const u8 af)
{
	const u32 words = RESET_LEN(af) / 4;
	void *data = packet(skb, HOOK_TC), *end = packet_end(skb, HOOK_TC);
	struct scratch *s = scratch();
	const struct tcphdr *old;
	struct ethhdr eth, back;
	u32 *was, *now, length;
	struct tcphdr *fresh;
	u16 partial, pseudo;

	_Static_assert(RESET_LEN(6) <= sizeof(s->bytes), "a reset fits");
	count(DROP_PARTED);
	if (!s || data + ETH_LEN + RESET_LEN(af) > end)
		return TC_SHOT;
	was = (u32 *)s->packet;
	now = (u32 *)s->bytes;
	old = (void *)was + IP_HLEN(af);
	fresh = (void *)now + IP_HLEN(af);
	__builtin_memset(now, 0, RESET_LEN(af));
	__builtin_memcpy(was, data + ETH_LEN, RESET_LEN(af));
	__builtin_memcpy(&eth, data, sizeof(eth));
	if (old->flags & TCP_RST)
		return TC_SHOT;
	partial = old->check == pseudo_of(was, af, IPPROTO_TCP);
	length = segment_length(was, old, af, skb->len - ETH_LEN);
	if (skb_change_tail(skb, ETH_LEN + RESET_LEN(af), 0))
		return TC_SHOT;
	reset_of(old, length, fresh);
	if (af == 4) {
		const struct iphdr *from = (void *)was;
		struct iphdr *ip = (void *)now;

		ip->ver_ihl = 0x45;
		ip->tot_len = htons(RESET_LEN(4));
		ip->frag_off = htons(IP_DF);
		ip->ttl = 64;
		ip->protocol = IPPROTO_TCP;
		ip->saddr = from->daddr;
		ip->daddr = from->saddr;
		ip->check = ~fold16(sum_words(now, 5));
	} else {
		const struct ip6hdr *from = (void *)was;
		struct ip6hdr *ip = (void *)now;

		ip->ver_tc_flow = htonl(0x60000000);
		ip->payload_len = htons(sizeof(struct tcphdr));
		ip->nexthdr = IPPROTO_TCP;
		ip->hop_limit = 64;
		__builtin_memcpy(ip->saddr, from->daddr, 16);
		__builtin_memcpy(ip->daddr, from->saddr, 16);
	}
	pseudo = pseudo_of(now, af, IPPROTO_TCP);
	fresh->check = partial ? pseudo : (u16)~fold16((u64)pseudo + sum_words((u32 *)fresh, 5));
	__builtin_memcpy(back.dst, eth.src, 6);
	__builtin_memcpy(back.src, eth.dst, 6);
	back.proto = eth.proto;
	if (skb_store_bytes(skb, 0, &back, sizeof(back), 0) ||
	    skb_store_bytes(skb, ETH_LEN, now, RESET_LEN(af), 0))
		return TC_SHOT;
	whole_sum_changes(skb, minus_words(was, words) + sum_words(now, words));
	return redirect(skb->ifindex, skb->ifindex == LOOPBACK_IFINDEX ? F_INGRESS : 0);
}

__noinline int answer_reset4(struct __sk_buff *skb)
{
	return answer_reset(skb, 4);
}

__noinline int answer_reset6(struct __sk_buff *skb)
{
	return answer_reset(skb, 6);
}
