/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * ICMP errors about our own outer packets, from routers on the way to a real or from the real: the
 * client gets one about its own packet, with the MTU that is left of the tunnel's. Tunnels of the
 * other family are left out, as in the kernel (ip_vs_in_icmp()).
 */
#pragma once
#include "oneway.h"
#include "sctp.h"

/* Where the packet inside the quoted outer one starts, relative to the outer's end; 0: no tunnel. */
static __always_inline u32 inside_quote(struct __sk_buff *skb, u32 at, u8 proto, u8 *inner_af)
{
	struct {
		struct udphdr udp;
		struct gue gue;
	} gue;
	struct gre gre;

	*inner_af = proto == IPPROTO_IPV6 ? 6 : 4;
	if (proto == IPPROTO_IPIP || proto == IPPROTO_IPV6)
		return at;
	if (proto == IPPROTO_GRE) {
		if (skb_load_bytes(skb, at, &gre, sizeof(gre)) || gre.flags & ~GRE_CSUM)
			return 0;
		*inner_af = gre.proto == htons(ETH_P_IPV6) ? 6 : 4;
		return at + sizeof(gre) + (gre.flags ? 4 : 0);
	}
	if (proto != IPPROTO_UDP || skb_load_bytes(skb, at, &gue, sizeof(gue)) ||
	    gue.gue.hlen & 0xe0)
		return 0;
	*inner_af = gue.gue.proto == IPPROTO_IPV6 ? 6 : 4;
	return at + sizeof(gue) + (gue.gue.hlen & 31) * 4;
}

/* The tunnel's flow of the client's packet at *at*, or NO_SLOT. */
static __always_inline u32 flow_of_quoted(struct __sk_buff *skb, const u8 af, u32 at)
{
	struct scratch *s = scratch();
	struct flow *f;
	be16 ports[2];
	struct key *k;
	u32 slot;

	if (!s || at > 512)
		return NO_SLOT;
	k = &s->request.key;
	__builtin_memset(k, 0, sizeof(*k));
	k->af = af;
	if (af == 4) {
		struct iphdr ip;

		if (skb_load_bytes(skb, at, &ip, sizeof(ip)) || ip.ver_ihl != 0x45 ||
		    ip.frag_off & htons(IP_OFFSET))
			return NO_SLOT;
		k->saddr[0] = ip.saddr;
		k->daddr[0] = ip.daddr;
		k->proto = ip.protocol;
	} else {
		struct ip6hdr ip;

		if (skb_load_bytes(skb, at, &ip, sizeof(ip)) ||
		    (ip.ver_tc_flow & htonl(0xf0000000)) != htonl(0x60000000))
			return NO_SLOT;
		__builtin_memcpy(k->saddr, ip.saddr, 16);
		__builtin_memcpy(k->daddr, ip.daddr, 16);
		k->proto = ip.nexthdr;
	}
	if (skb_load_bytes(skb, at + IP_HLEN(af), ports, sizeof(ports)))
		return NO_SLOT;
	k->sport = ports[0];
	k->dport = ports[1];
	slot = flow_lookup(k);
	f = flow_at(af, slot);
	return f && f->ctl & CTL_ONEWAY && WORD_TUNNEL(f->word) ? slot : NO_SLOT;
}

/* The error for the client, whose own packet is all that is left. */
static __always_inline int tell_client(struct __sk_buff *skb, const u8 af, u8 type, u8 code,
				       u32 mtu)
{
	struct target t = {};
	struct hop *hop;
	u32 why;

	if (make_error(skb, af, type, code, mtu, 1))
		return drop(DROP_REWRITE);
	if (skb_load_bytes(skb, ETH_LEN + (af == 4 ? 12 : 8), t.saddr, af == 4 ? 4 : 16) ||
	    skb_load_bytes(skb, ETH_LEN + (af == 4 ? 16 : 24), t.daddr, af == 4 ? 4 : 16))
		return drop(DROP_REWRITE);
	hop = hop_for(&t, af, af == 4 ? IPPROTO_ICMP : IPPROTO_ICMPV6);
	if (!hop)
		return drop(DROP_NO_ROUTE);
	why = resolve_hop(skb, hop);
	if (why)
		return drop(why);
	count(EVENT_ICMP_TRANSLATED);
	return hop->kind == HOP_LOCAL ? send_to_host(skb) : send_to_neighbour(skb, hop);
}

__noinline int tell_client4(struct __sk_buff *skb, u32 type, u32 code, u32 mtu)
{
	return tell_client(skb, 4, type, code, mtu);
}

__noinline int tell_client6(struct __sk_buff *skb, u32 type, u32 code, u32 mtu)
{
	return tell_client(skb, 6, type, code, mtu);
}

/* The kernel counts the error it sends, and what it got of the client's packet, as answers. */
static __always_inline void account_error(const struct flow *f, u32 error, u32 quote)
{
	u32 service = f->service, real = f->real;
	struct traffic *s = map_lookup(&service_traffic, &service);
	struct traffic *r = map_lookup(&real_traffic, &real);

	if (!s || !r)
		return;
	s->packets_out += 2;
	s->bytes_out += error + quote;
	r->packets_out += 2;
	r->bytes_out += error + quote;
}

static __always_inline int tunnel_error(struct __sk_buff *skb, const u8 af)
{
	const u32 quoted = ETH_LEN + IP_HLEN(af) + 8;
	u32 at, slot, mtu, strip;
	u8 outer_proto, inner_af;
	struct flow *f;
	u32 quote;
	u8 icmp[8], first;

	if (skb_load_bytes(skb, ETH_LEN + IP_HLEN(af), icmp, sizeof(icmp)) ||
	    !is_error(af, icmp[0]) || skb_load_bytes(skb, quoted, &first, 1) ||
	    (af == 4 && first != 0x45) ||
	    skb_load_bytes(skb, quoted + (af == 4 ? 9 : 6), &outer_proto, 1))
		return pass(PASS_ICMP_OTHER);
	at = inside_quote(skb, quoted + IP_HLEN(af), outer_proto, &inner_af);
	if (!at || inner_af != af)
		return pass(PASS_ICMP_OTHER);
	slot = flow_of_quoted(skb, af, at);
	if (slot == NO_SLOT)
		return pass(PASS_ICMP_OTHER);
	mtu = af == 4 ? icmp[6] << 8 | icmp[7] :
			(u32)icmp[4] << 24 | icmp[5] << 16 | icmp[6] << 8 | icmp[7];
	if (af == 4 ? icmp[0] == ICMP_UNREACHABLE && icmp[1] == ICMP_FRAG_NEEDED :
		      icmp[0] == ICMP6_TOO_BIG)
		mtu = mtu > at - quoted + 68 ? mtu - (at - quoted) : 68;
	else
		mtu = 0;
	strip = at - ETH_LEN;
	if (strip > 256 || skb_adjust_room(skb, -(s32)strip, ROOM_MAC, 0))
		return drop(DROP_REWRITE);
	f = flow_at(af, slot);
	quote = skb->len - ETH_LEN;
	if (f)
		account_error(f, quote_size(skb, af) + ERROR_HEAD(af), quote);
	return af == 4 ? tell_client4(skb, icmp[0], icmp[1], mtu) :
			 tell_client6(skb, icmp[0], icmp[1], mtu);
}

__noinline int tunnel_error4(struct __sk_buff *skb)
{
	return tunnel_error(skb, 4);
}

__noinline int tunnel_error6(struct __sk_buff *skb)
{
	return tunnel_error(skb, 6);
}
