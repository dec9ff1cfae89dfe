/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Small programs and maps of every kind that penstock.kernel can load, for its tests. */
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef u16 be16;
typedef u32 be32;

#define SEC(name) __attribute__((section(name), used))
#define __uint(name, val) int (*name)[val]
#define __type(name, val) typeof(val) *name

static void *(*map_lookup)(void *map, const void *key) = (void *)1;
static long (*ringbuf_output)(void *map, void *data, u64 size, u64 flags) = (void *)130;
static void *(*ringbuf_reserve)(void *map, u64 size, u64 flags) = (void *)131;
static void (*ringbuf_discard)(void *data, u64 flags) = (void *)133;
static long (*adjust_head)(void *xdp, int delta) = (void *)44;

enum verdicts { NEXT = -1, FINE, SHOT = 2 };

struct inner {
	u16 x;
	u8 mac[6];
};

struct sample {
	u32 number;
	int negative;
	be16 port;
	u8 proto;
	be32 addr[4];
	struct inner one;
	struct inner two[2];
	union {
		u32 a;
		u64 b;
	};
	u32 flags : 3;
	enum verdicts verdict;
	char name[12];
};

struct pair {
	u32 low;
	u64 high;
};

const volatile u32 answer = 42;
const volatile struct sample constant = {};
u64 calls = 7;

struct {
	__uint(type, 2);
	__uint(max_entries, 4);
	__uint(map_flags, 1 << 10);
	__type(key, u32);
	__type(value, struct pair);
} shared SEC(".maps");

struct {
	__uint(type, 2);
	__uint(max_entries, 16);
	__uint(map_flags, 1 << 10);
	__type(key, u32);
	__type(value, u32);
} words SEC(".maps");

struct {
	__uint(type, 2);
	__uint(max_entries, 4);
	__type(key, u32);
	__type(value, u32);
} unmapped SEC(".maps");

struct {
	__uint(type, 1);
	__uint(max_entries, 10000);
	__uint(map_flags, 1);
	__type(key, struct inner);
	__type(value, struct pair);
} hash SEC(".maps");

struct {
	__uint(type, 6);
	__uint(max_entries, 10000);
	__type(key, u32);
	__type(value, u64[8]);
} counters SEC(".maps");

struct {
	__uint(type, 27);
	__uint(max_entries, 4096);
} ring SEC(".maps");

struct skb {
	u32 len;
	u32 pkt_type;
	u32 mark;
};

/* Adds the packet's length to counters[mark][3]; leaves its answer in the mark. */
SEC("tc") int on_tc(struct skb *skb)
{
	u32 key = skb->mark;
	u64 *counter = map_lookup(&counters, &key);

	if (counter) {
		counter[3] += skb->len;
		counter[7]++;
	}
	skb->mark = answer;
	return NEXT;
}

SEC("tc") int on_tc_too(struct skb *skb)
{
	return SHOT;
}

struct xdp {
	u32 data;
	u32 data_end;
	u32 data_meta;
	u32 ingress_ifindex;
};

/* Grows the packet by four bytes, the ingress interface's index in them. */
SEC("xdp") int on_xdp(struct xdp *xdp)
{
	if (adjust_head(xdp, -4))
		return 0;
	u32 *head = (void *)(long)xdp->data;

	if ((void *)(head + 1) > (void *)(long)xdp->data_end)
		return 0;
	*head = xdp->ingress_ifindex;
	return 2;
}

/* Copies shared[1] into shared[2], and twice its argument back. */
SEC("syscall") int on_call(u64 *context)
{
	u32 from = 1, to = 2;
	struct pair *source = map_lookup(&shared, &from), *target = map_lookup(&shared, &to);

	if (!source || !target)
		return -5;
	*target = *source;
	*context *= 2;
	calls++;
	return 3;
}

/* Refused by the verifier: reads through a pointer that may be null. */
SEC("tc") int careless(struct skb *skb)
{
	u32 key = skb->len;
	u64 *counter = map_lookup(&counters, &key);

	return *counter;
}

char _license[] SEC("license") = "Dual BSD/GPL";

struct order {
	u32 records;
	u32 first;
	u32 discarded; /* one before each */
	u32 flags;
	u32 lost;
};

/* Writes records of 20 bytes, numbered from *first*, to the ring. */
SEC("syscall") int on_ring(struct order *ctx)
{
	u32 records = ctx->records, first = ctx->first, lost = 0;

	for (u32 i = 0; i < 256; i++) {
		u32 record[5] = { first + i, 0, 0, 0, ~(first + i) };
		void *unwanted = ctx->discarded ? ringbuf_reserve(&ring, 12, 0) : 0;

		if (unwanted)
			ringbuf_discard(unwanted, 1);
		if (i >= records)
			break;
		if (ringbuf_output(&ring, record, sizeof(record), ctx->flags))
			lost++;
	}
	ctx->lost = lost;
	return 0;
}
