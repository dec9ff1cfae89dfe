/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The part of the kernel's ABI that the datapath uses, so that the object builds without any
 * system header: context and helper layouts (include/uapi/linux/bpf.h) and wire formats.
 */
#pragma once

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef int s32;
typedef u16 be16;
typedef u32 be32;

#define NULL ((void *)0)
#define SEC(name) __attribute__((section(name), used))
#define __always_inline inline __attribute__((always_inline))
#define __noinline __attribute__((noinline))
#define __packed __attribute__((packed))
#define __hidden __attribute__((visibility("hidden")))
#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)
#define offsetof(type, member) __builtin_offsetof(type, member)
#define barrier() asm volatile("" ::: "memory")
/* Keeps the compiler from undoing a bounds check by folding it into a later expression. */
#define opaque(x) asm volatile("" : "+r"(x))

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define bswap16(x) ((u16)__builtin_bswap16(x))
#define bswap32(x) ((u32)__builtin_bswap32(x))
#else
#define bswap16(x) ((u16)(x))
#define bswap32(x) ((u32)(x))
#endif
#define ntohs bswap16
#define htons bswap16
#define ntohl bswap32
#define htonl bswap32

/* Map definitions in BTF (libbpf's convention). */
#define __uint(name, val) int (*name)[val]
#define __type(name, val) typeof(val) *name
#define __inner(name, val) typeof(val) *name[]

enum {
	MAP_HASH = 1,
	MAP_ARRAY = 2,
	MAP_PERCPU_ARRAY = 6,
	MAP_LRU_HASH = 9,
	MAP_LPM_TRIE = 11,
	MAP_ARRAY_OF_MAPS = 12,
	MAP_RINGBUF = 27,
};
enum { F_NO_PREALLOC = 1 << 0, F_MMAPABLE = 1 << 10 };
enum { RING_NO_WAKEUP = 1, RING_FORCE_WAKEUP = 2 };
enum { RING_AVAILABLE = 0 };
enum { UPDATE_ANY = 0, UPDATE_NOEXIST = 1 };

enum { PACKET_OTHERHOST = 3 };
enum { TC_OK = 0, TC_SHOT = 2, TC_REDIRECT = 7, TCX_NEXT = -1 };
enum { XDP_ABORTED, XDP_DROP, XDP_PASS, XDP_TX, XDP_REDIRECT };

struct __sk_buff {
	u32 len;
	u32 pkt_type;
	u32 mark;
	u32 queue_mapping;
	u32 protocol;
	u32 vlan_present;
	u32 vlan_tci;
	u32 vlan_proto;
	u32 priority;
	u32 ingress_ifindex;
	u32 ifindex;
	u32 tc_index;
	u32 cb[5];
	u32 hash;
	u32 tc_classid;
	u32 data;
	u32 data_end;
	u32 napi_id;
	u32 family;
	u32 remote_ip4;
	u32 local_ip4;
	u32 remote_ip6[4];
	u32 local_ip6[4];
	u32 remote_port;
	u32 local_port;
	u32 data_meta;
	u64 flow_keys;
	u64 tstamp;
	u32 wire_len;
	u32 gso_segs;
	u64 sk;
	u32 gso_size;
};

struct xdp_md {
	u32 data;
	u32 data_end;
	u32 data_meta;
	u32 ingress_ifindex;
	u32 rx_queue_index;
	u32 egress_ifindex;
};

struct bpf_fib_lookup {
	u8 family;
	u8 l4_protocol;
	be16 sport;
	be16 dport;
	u16 tot_len; /* in: length to check against the MTU; out: the route's MTU */
	u32 ifindex;
	be32 flowinfo; /* v4: tos in the first byte; out: rt_metric */
	be32 src[4];
	be32 dst[4]; /* out: the next hop */
	be16 vlan_proto;
	be16 vlan_tci;
	u8 smac[6];
	u8 dmac[6];
};
enum {
	FIB_SUCCESS = 0,
	FIB_BLACKHOLE = 1,
	FIB_UNREACHABLE = 2,
	FIB_PROHIBIT = 3,
	FIB_NOT_FWDED = 4, /* a local address, among others */
	FIB_FWD_DISABLED = 5,
	FIB_NO_NEIGH = 7,
	FIB_FRAG_NEEDED = 8,
};

struct bpf_redir_neigh {
	u32 nh_family;
	be32 nh[4];
};

enum { F_INGRESS = 1 };
enum { ROOM_MAC = 1 }; /* between the Ethernet and the IP header */
enum {
	ROOM_FIXED_GSO = 1 << 0,
	ROOM_ENCAP_IPV4 = 1 << 1,
	ROOM_ENCAP_IPV6 = 1 << 2,
	ROOM_ENCAP_GRE = 1 << 3,
	ROOM_ENCAP_UDP = 1 << 4,
};
enum {
	F_RECOMPUTE_CSUM = 1 << 0,
	F_PSEUDO_HDR = 1 << 4,
	F_MARK_MANGLED_0 = 1 << 5,
	F_IPV6 = 1 << 7,
};

struct bpf_map;
static void *(*map_lookup)(void *map, const void *key) = (void *)1;
static long (*map_update)(void *map, const void *key, const void *value, u64 flags) = (void *)2;
static long (*map_delete)(void *map, const void *key) = (void *)3;
static u64 (*ktime_get_ns)(void) = (void *)5;
static u32 (*prandom_u32)(void) = (void *)7;
static long (*skb_store_bytes)(struct __sk_buff *skb, u32 off, const void *from, u32 len,
			       u64 flags) = (void *)9;
static long (*l3_csum_replace)(struct __sk_buff *skb, u32 off, u64 from, u64 to,
			       u64 size) = (void *)10;
static long (*l4_csum_replace)(struct __sk_buff *skb, u32 off, u64 from, u64 to,
			       u64 flags) = (void *)11;
static long (*redirect)(u32 ifindex, u64 flags) = (void *)23;
static long (*skb_load_bytes)(const void *skb, u32 off, void *to, u32 len) = (void *)26;
static s32 (*csum_diff)(const be32 *from, u32 from_size, const be32 *to, u32 to_size,
			u32 seed) = (void *)28;
static long (*skb_change_proto)(struct __sk_buff *skb, be16 proto, u64 flags) = (void *)31;
static long (*skb_change_tail)(struct __sk_buff *skb, u32 len, u64 flags) = (void *)38;
static long (*skb_pull_data)(struct __sk_buff *skb, u32 len) = (void *)39;
static long (*skb_change_head)(struct __sk_buff *skb, u32 len, u64 flags) = (void *)43;
static long (*csum_update)(struct __sk_buff *skb, u32 sum) = (void *)40;
static long (*skb_adjust_room)(struct __sk_buff *skb, s32 diff, u32 mode,
			       u64 flags) = (void *)50;
static long (*fib_lookup)(void *ctx, struct bpf_fib_lookup *params, int size,
			  u32 flags) = (void *)69;
static void *(*ringbuf_reserve)(void *map, u64 size, u64 flags) = (void *)131;
static void (*ringbuf_submit)(void *data, u64 flags) = (void *)132;
static u64 (*ringbuf_query)(void *map, u64 flags) = (void *)134;
static long (*redirect_neigh)(u32 ifindex, struct bpf_redir_neigh *params, int size,
			      u64 flags) = (void *)152;
static u32 (*smp_processor_id)(void) = (void *)8;
static long (*xdp_adjust_head)(struct xdp_md *xdp, s32 delta) = (void *)44;
static u64 (*ktime_get_coarse_ns)(void) = (void *)160;
static long (*for_each_map_elem)(void *map, void *callback, void *ctx, u64 flags) = (void *)164;

struct ethhdr {
	u8 dst[6];
	u8 src[6];
	be16 proto;
} __packed;
#define ETH_LEN 14

struct iphdr {
	u8 ver_ihl;
	u8 tos;
	be16 tot_len;
	be16 id;
	be16 frag_off;
	u8 ttl;
	u8 protocol;
	u16 check;
	be32 saddr;
	be32 daddr;
};

struct ip6hdr {
	be32 ver_tc_flow;
	be16 payload_len;
	u8 nexthdr;
	u8 hop_limit;
	be32 saddr[4];
	be32 daddr[4];
};

struct tcphdr {
	be16 sport;
	be16 dport;
	be32 seq;
	be32 ack;
	u8 doff;
	u8 flags;
	be16 window;
	u16 check;
	be16 urg;
};

struct udphdr {
	be16 sport;
	be16 dport;
	be16 len;
	u16 check;
};

struct icmphdr {
	u8 type;
	u8 code;
	u16 check;
	be16 id;
	be16 mtu; /* v4 fragmentation needed (RFC 1191) */
};

#define ETH_P_IP 0x0800
#define ETH_P_IPV6 0x86dd
#define ETH_P_8021Q 0x8100
#define ETH_P_8021AD 0x88a8
#define AF_INET 2
#define AF_INET6 10
#define IPPROTO_ICMP 1
#define IPPROTO_TCP 6
#define IPPROTO_UDP 17
#define IPPROTO_IPIP 4
#define IPPROTO_IPV6 41
#define IPPROTO_GRE 47
#define IPPROTO_ICMPV6 58
#define IPPROTO_SCTP 132
#define IP_DF 0x4000
#define IP_MF 0x2000
#define IP_OFFSET 0x1fff
#define TCP_FIN 0x01
#define TCP_SYN 0x02
#define TCP_RST 0x04
#define TCP_ACK 0x10
#define LOOPBACK_IFINDEX 1
