/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Where a rewritten packet leaves: the next hop, remembered in the flow for a few seconds. */
#pragma once
#include "parse.h"

#define LOCAL_PORT 0 /* ports[0] is the loopback device */

static __always_inline struct hop *hop_for(const struct target *t, u8 af, u8 proto)
{
	struct scratch *s = scratch();
	struct hop *hop;

	if (!s)
		return NULL;
	hop = &s->hop;
	__builtin_memset(hop, 0, sizeof(*hop));
	__builtin_memcpy(hop->src, t->saddr, 16);
	__builtin_memcpy(hop->dst, t->daddr, 16);
	hop->sport = t->sport;
	hop->dport = t->dport;
	hop->af = af;
	hop->proto = proto;
	return hop;
}

/*
 * A remembered next hop is good for 2 to 4 s, and until the control plane has seen a route or a
 * neighbour change. The packet that refreshes it goes out through the neighbour layer, so that the
 * kernel keeps probing neighbours that only our own frames would use.
 */
static __always_inline u32 hop_stamp(const struct control *c, u32 now)
{
	return (now >> 5) << 8 | (c->next_hop_generation & 0xff);
}

static __always_inline int hop_fresh(u32 stamp, u32 current)
{
	return stamp && !((stamp ^ current) & 0xff) && (current >> 8) - (stamp >> 8) <= 1;
}

static __always_inline int is_local_address(const be32 *addr, u8 af)
{
	struct address_key a = { .af = af };

	if (af == 4 && (ntohl(addr[0]) >> 24) == 127)
		return 1;
	__builtin_memcpy(a.addr, addr, 16);
	return map_lookup(&local_addresses, &a) != NULL;
}

static __always_inline void hop_to_host(struct hop *hop)
{
	hop->kind = HOP_LOCAL;
	hop->ifindex = LOOPBACK_IFINDEX;
	hop->port = LOCAL_PORT;
	hop->mtu = 65536;
}

/* Looks the route up as the host's own output would: the input device is the loopback. */
__noinline int resolve_hop(struct __sk_buff *skb, struct hop *hop)
{
	struct bpf_fib_lookup fib = {};
	struct port *p;
	u32 *index, port;
	long rc;

	if (!hop)
		return DROP_NO_ROUTE;
	if (is_local_address(hop->dst, hop->af)) {
		hop_to_host(hop);
		return 0;
	}
	fib.family = hop->af == 4 ? AF_INET : AF_INET6;
	fib.l4_protocol = hop->proto;
	fib.sport = hop->sport;
	fib.dport = hop->dport;
	fib.ifindex = LOOPBACK_IFINDEX;
	__builtin_memcpy(fib.src, hop->src, 16);
	__builtin_memcpy(fib.dst, hop->dst, 16);
	rc = fib_lookup(skb, &fib, sizeof(fib), 0);
	/* All is filled in, and the packet's size is for the caller to judge (it may be cut). */
	if (rc == FIB_FRAG_NEEDED)
		rc = FIB_SUCCESS;
	if (rc == FIB_NOT_FWDED && hop->or_host) {
		hop_to_host(hop);
		return 0;
	}
	if (rc != FIB_SUCCESS && rc != FIB_NO_NEIGH)
		return DROP_NO_ROUTE;
	hop->kind = HOP_NEIGHBOUR;
	hop->ifindex = fib.ifindex;
	hop->af = fib.family == AF_INET ? 4 : 6;
	__builtin_memcpy(hop->dst, fib.dst, 16);
	index = map_lookup(&port_of_ifindex, &hop->ifindex);
	if (!index)
		return DROP_NO_EGRESS;
	port = *index;
	p = map_lookup(&ports, &port);
	if (!p)
		return DROP_NO_EGRESS;
	hop->port = port;
	hop->mtu = p->mtu;
	hop->complete = rc == FIB_SUCCESS;
	__builtin_memcpy(hop->dmac, fib.dmac, 6);
	if (!hop->complete)
		count(EVENT_NEIGHBOUR_RESOLVED);
	return 0;
}

static __always_inline int send_straight_to(const struct hop *hop)
{
	struct bpf_redir_neigh nh = { .nh_family = hop->af == 4 ? AF_INET : AF_INET6 };

	__builtin_memcpy(nh.nh, hop->dst, 16);
	return redirect_neigh(hop->ifindex, &nh, sizeof(nh), 0);
}

/*
 * What this host itself has sent still has its route, over the loopback device, and would go there
 * when its neighbour answers (neigh_update()); so the kernel is asked for another. Direct routing
 * cannot have that: its packets' destination is not where they go.
 */
static __always_inline int send_to_neighbour(struct __sk_buff *skb, const struct hop *hop)
{
	if (skb->ifindex == LOOPBACK_IFINDEX && !hop->direct)
		return redirect_neigh(hop->ifindex, NULL, 0, 0);
	return send_straight_to(hop);
}

/* Into the host's own stack, as if it came over the loopback device. */
static __always_inline int send_to_host(struct __sk_buff *skb)
{
	struct ethhdr *eth = packet(skb, HOOK_TC);

	if ((void *)(eth + 1) <= packet_end(skb, HOOK_TC)) {
		__builtin_memset(eth->dst, 0, 6);
		__builtin_memset(eth->src, 0, 6);
	}
	return redirect(LOOPBACK_IFINDEX, F_INGRESS);
}

static __always_inline void account(const struct flow *f, u32 packets, u32 bytes)
{
	u32 service = f->service, real = f->real;
	struct traffic *s = map_lookup(&service_traffic, &service);
	struct traffic *r = map_lookup(&real_traffic, &real);

	if (!s || !r)
		return;
	if (f->ctl & CTL_REVERSE) {
		s->packets_out += packets;
		s->bytes_out += bytes;
		r->packets_out += packets;
		r->bytes_out += bytes;
	} else {
		s->packets_in += packets;
		s->bytes_in += bytes;
		r->packets_in += packets;
		r->bytes_in += bytes;
	}
}

/* Bytes behind a transport header that begins at *l4*; *proto* 0: there is none. */
static __always_inline u32 payload_of(struct __sk_buff *skb, const u8 af, u32 l4, u8 proto)
{
	u32 headers = proto == IPPROTO_UDP ? 8 : 0, len = skb->len - l4;
	be16 claimed;
	u8 words;

	if (proto == IPPROTO_TCP) {
		if (skb_load_bytes(skb, l4 + 12, &words, 1))
			return 0;
		headers = words >> 4 << 2;
	}
	/* Short frames are padded; of what is cut later, only its pieces claim a length. */
	if (!skb->gso_size && !skb_load_bytes(skb, ETH_LEN + (af == 4 ? 2 : 4), &claimed, 2))
		len = ntohs(claimed) + (af == 4 ? ETH_LEN : L4_OFFSET(6)) - l4;
	return (s32)(len - headers) > 0 ? len - headers : 0;
}

/* Returns 0; here so that the verifier sees it once, whoever calls it. */
__noinline u32 log_skb(struct __sk_buff *skb, u32 af, u32 slot, u32 l4, u32 proto)
{
	u32 payload = af == 4 ? payload_of(skb, 4, l4, proto) : payload_of(skb, 6, l4, proto);

	return log_packet(af, slot, payload, skb->gso_segs ?: 1);
}
