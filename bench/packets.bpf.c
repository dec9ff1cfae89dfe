/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Puts a packet back as it was, makes it one of another flow, and tail-calls what is measured, or
 * sends it.
 *
 * A test run feeds a program the packet that its last run left behind: without this, the second
 * run of a translating program would see a packet that is no longer for any service. The stubs
 * take the same way and do nothing, so that the difference is the program's own.
 */
#include "../src/penstock/bpf/kernel.h"

static long (*tail_call)(void *ctx, void *map, u32 index) = (void *)12;

#define MAP_PROG_ARRAY 3
#define PORT_BITS 15 /* of a flow's number: ports below 32768 have meanings, 20 is FTP's */
#define HEADER_WORDS 10 /* 80 bytes: Ethernet, IPv6 and TCP without options have 74 */

/* Written by Python between runs; flows differ in the client's port and address. */
struct feed {
	u32 next; /* number of the next flow */
	u32 mask; /* flows repeat after mask + 1 */
	u32 port_at; /* offset of the source port */
	u32 address_at; /* of the low half of the source address */
	u32 length; /* of the frame: what is longer has got an outer header, which is cut off */
	u32 balance_at; /* floods: two bytes that keep the checksum right; 0: none */
	u32 lines; /* of the array that line_xdp() walks through */
	u64 header[HEADER_WORDS];
};

struct {
	__uint(type, MAP_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, F_MMAPABLE);
	__type(key, u32);
	__type(value, struct feed);
} feeds SEC(".maps");

struct line {
	u64 words[8];
};

/* As big as the connection table, whose slots of IPv4 are such lines; Python sizes it. */
struct {
	__uint(type, MAP_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct line);
} lines SEC(".maps");

struct {
	__uint(type, MAP_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, u32);
} xdp_target SEC(".maps"), tc_target SEC(".maps");

static __always_inline int vary(void *at, void *end, u16 by)
{
	if (at + 2 > end)
		return 0;
	*(u16 *)at ^= htons(by);
	return 1;
}

static __always_inline s32 surplus(u32 length)
{
	u32 zero = 0;
	struct feed *feed = map_lookup(&feeds, &zero);

	return feed && length > feed->length ? length - feed->length : 0;
}

/* 1 when the packet is ready; it always is, but the verifier cannot know. */
static __always_inline int restore(void *data, void *end)
{
	u32 zero = 0, flow, port;
	struct feed *feed = map_lookup(&feeds, &zero);
	u64 *words = data;

	if (!feed || data + HEADER_WORDS * 8 > end)
		return 0;
	for (int i = 0; i < HEADER_WORDS; i++)
		words[i] = feed->header[i];
	flow = feed->next++ & feed->mask;
	port = flow & ((1 << PORT_BITS) - 1);
	if (feed->balance_at && !vary(data + (feed->balance_at & 63), end, port))
		return 0;
	return vary(data + (feed->port_at & 63), end, port) &&
	       vary(data + (feed->address_at & 63), end, flow >> PORT_BITS);
}

SEC("xdp") int feed_xdp(struct xdp_md *xdp)
{
	s32 outer = surplus(xdp->data_end - xdp->data);

	if (outer && xdp_adjust_head(xdp, outer))
		return XDP_ABORTED;
	if (!restore((void *)(long)xdp->data, (void *)(long)xdp->data_end))
		return XDP_ABORTED;
	tail_call(xdp, &xdp_target, 0);
	return XDP_ABORTED;
}

SEC("tc") int feed_tc(struct __sk_buff *skb)
{
	s32 outer = surplus(skb->len);

	if (outer && skb_adjust_room(skb, -outer, ROOM_MAC, 0))
		return TC_SHOT;
	if (!restore((void *)(long)skb->data, (void *)(long)skb->data_end))
		return TC_SHOT;
	tail_call(skb, &tc_target, 0);
	return TC_SHOT;
}

/* Live frames: each goes out through the interface that the context names as its ingress. */
SEC("xdp") int flood_xdp(struct xdp_md *xdp)
{
	return restore((void *)(long)xdp->data, (void *)(long)xdp->data_end) ? XDP_TX : XDP_DROP;
}

SEC("xdp") int stub_xdp(struct xdp_md *xdp)
{
	return XDP_PASS;
}

/* Makes the packet longer: what it then costs to cut it again is not the subject's. */
SEC("xdp") int longer_xdp(struct xdp_md *xdp)
{
	return xdp_adjust_head(xdp, -20) ? XDP_ABORTED : XDP_PASS;
}

static __always_inline u32 half(void *at, void *end)
{
	return at + 2 > end ? 0 : *(u16 *)at;
}

/* What no table can do without: one line of the flow's own is read and written. */
SEC("xdp") int line_xdp(struct xdp_md *xdp)
{
	void *data = (void *)(long)xdp->data, *end = (void *)(long)xdp->data_end;
	u32 zero = 0, at;
	struct feed *feed = map_lookup(&feeds, &zero);
	struct line *line;
	u64 flow;

	if (!feed)
		return XDP_ABORTED;
	flow = half(data + (feed->port_at & 63), end) << 16 | half(data + (feed->address_at & 63), end);
	at = (flow * 0x9e3779b97f4a7c15ULL >> 32) * feed->lines >> 32;
	line = map_lookup(&lines, &at);
	if (!line)
		return XDP_ABORTED;
	if (line->words[0] == flow) /* nothing says so, but the compiler cannot know */
		return XDP_DROP;
	line->words[1] = flow;
	return XDP_PASS;
}

SEC("tc") int stub_tc(struct __sk_buff *skb)
{
	return TCX_NEXT;
}

char _license[] SEC("license") = "Dual BSD/GPL";
