/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Every map. Sizes that depend on the configuration are set by the loader. */
#pragma once
#include "types.h"

/* Set before loading, constant to the verifier and the JIT. */
const volatile u32 flow4_slots = 1024;
const volatile u32 flow6_slots = 1024;
const volatile u64 hash_seed = 0x9e3779b97f4a7c15ULL;
const volatile u32 csum_ipv6_flag = 0; /* F_IPV6 where the kernel has it (6.16) */

/* Puts the enums into the object's BTF, where Python finds their names. */
const volatile struct {
	enum reason reason;
	enum selection selection;
	enum forwarding forwarding;
	enum port_mode port_mode;
	enum tunnel tunnel;
	enum step_kind step_kind;
	enum turned turned;
	enum log_how log_how;
	struct log_record log_record; /* which is in no map */
} vocabulary = {};

#define ARRAY_MAP(map, n, k, v, f)               \
	struct {                                 \
		__uint(type, MAP_ARRAY);         \
		__uint(max_entries, n);          \
		__uint(map_flags, f);            \
		__type(key, k);                  \
		__type(value, v);                \
	} map SEC(".maps")

#define PERCPU_MAP(map, n, k, v)                 \
	struct {                                 \
		__uint(type, MAP_PERCPU_ARRAY);  \
		__uint(max_entries, n);          \
		__type(key, k);                  \
		__type(value, v);                \
	} map SEC(".maps")

#define HASH_MAP(map, n, k, v)                   \
	struct {                                 \
		__uint(type, MAP_HASH);          \
		__uint(max_entries, n);          \
		__uint(map_flags, F_NO_PREALLOC);\
		__type(key, k);                  \
		__type(value, v);                \
	} map SEC(".maps")

ARRAY_MAP(flows4, 1024, u32, struct flow4, F_MMAPABLE);
ARRAY_MAP(flows6, 1024, u32, struct flow6, F_MMAPABLE);
/* When the flow of a forward slot began (ms), from its client's FIN on: struct flow, closing. */
ARRAY_MAP(begun4, 1024, u32, u64, F_MMAPABLE);
ARRAY_MAP(begun6, 1024, u32, u64, F_MMAPABLE);
/* One bit a slot, so that a sweep of a sleeping table reads 1/512 of it. */
ARRAY_MAP(occupied4, 64, u32, u64, F_MMAPABLE);
ARRAY_MAP(occupied6, 64, u32, u64, F_MMAPABLE);

HASH_MAP(vips, 262144, struct vip_key, struct vip);
HASH_MAP(local_addresses, 65536, struct address_key, u32);
HASH_MAP(services, 65535, u32, struct service);
HASH_MAP(pools, 65535, u32, struct pool);
HASH_MAP(reals, 131072, u32, struct real);
ARRAY_MAP(tables, 4194304, u32, u32, F_MMAPABLE);

ARRAY_MAP(service_lives, 32768, u32, struct service_live, F_MMAPABLE);
ARRAY_MAP(real_lives, 131072, u32, struct real_live, F_MMAPABLE);
ARRAY_MAP(outcomes, 131072, u32, struct outcome, F_MMAPABLE);
ARRAY_MAP(service_turnings, 32768, u32, struct turnings, F_MMAPABLE);
/* By pool: connections for which nobody was up. */
ARRAY_MAP(pool_refusals, 65536, u32, u64, F_MMAPABLE);
PERCPU_MAP(service_traffic, 32768, u32, struct traffic);
PERCPU_MAP(real_traffic, 131072, u32, struct traffic);
PERCPU_MAP(reasons, 64, u32, u64);

ARRAY_MAP(ports, 1024, u32, struct port, F_MMAPABLE);
HASH_MAP(port_of_ifindex, 1024, u32, u32);
ARRAY_MAP(controls, 1, u32, struct control, F_MMAPABLE);
/* Bit p: source port p may be used; clear for the host's own ports. */
ARRAY_MAP(usable_ports, 1024, u32, u64, F_MMAPABLE);

#define LRU_MAP(map, n, k, v)                    \
	struct {                                 \
		__uint(type, MAP_LRU_HASH);      \
		__uint(max_entries, n);          \
		__type(key, k);                  \
		__type(value, v);                \
	} map SEC(".maps")

LRU_MAP(fragments, 16384, struct fragment_key, struct fragment);

ARRAY_MAP(directors, 1, u32, struct director, F_MMAPABLE);
/* Where rr and wrr are, by pool: low half the place after the last choice, high half wrr's level. */
ARRAY_MAP(cursors, 65536, u32, u64, F_MMAPABLE);
HASH_MAP(templates, 1048576, struct template_key, struct template);
/* What a master has to tell; read through mmap. */
#define SYNC_RING (1u << 21)
struct {
	__uint(type, MAP_RINGBUF);
	__uint(max_entries, SYNC_RING);
} sync_ring SEC(".maps");
ARRAY_MAP(sync_inbox, SYNC_BATCH, u32, struct sync_entry, F_MMAPABLE);
HASH_MAP(flow_logs, 1048576, u32, struct flow_log);
#define LOG_RING (1u << 22)
struct {
	__uint(type, MAP_RINGBUF);
	__uint(max_entries, LOG_RING);
} log_ring SEC(".maps");
LRU_MAP(caches, 65536, struct cache_key, struct cache);
ARRAY_MAP(cut_outbox, CUT_BATCH, u32, struct cut_record, F_MMAPABLE);

/* Rules. Sets and tables are maps of their own, to be made and let go of as wholes. */
#define NETWORK_SETS 65536
#define SOURCE_TABLES 256 /* struct flow, table */
#define ADMISSION_STEPS 131072

struct networks4_map {
	__uint(type, MAP_LPM_TRIE);
	__uint(max_entries, 1);
	__uint(map_flags, F_NO_PREALLOC);
	__type(key, struct network4);
	__type(value, u8);
};

struct networks6_map {
	__uint(type, MAP_LPM_TRIE);
	__uint(max_entries, 1);
	__uint(map_flags, F_NO_PREALLOC);
	__type(key, struct network6);
	__type(value, u8);
};

struct sources_map {
	__uint(type, MAP_LRU_HASH);
	__uint(max_entries, 1);
	__type(key, struct source_key);
	__type(value, struct source);
};

#define OUTER_MAP(map, n, inner)                 \
	struct {                                 \
		__uint(type, MAP_ARRAY_OF_MAPS); \
		__uint(max_entries, n);          \
		__type(key, u32);                \
		__inner(values, struct inner);   \
	} map SEC(".maps")

ARRAY_MAP(admission_steps, ADMISSION_STEPS, u32, struct step, F_MMAPABLE);
OUTER_MAP(networks4, NETWORK_SETS, networks4_map);
OUTER_MAP(networks6, NETWORK_SETS, networks6_map);
OUTER_MAP(sources, SOURCE_TABLES, sources_map);
HASH_MAP(network_labels, NETWORK_SETS, u32, struct label);
HASH_MAP(source_labels, SOURCE_TABLES, u32, struct label);

static __always_inline void count(enum reason why)
{
	u32 key = why;
	u64 *n = map_lookup(&reasons, &key);

	if (n)
		*n += 1;
}

static __always_inline int pass(enum reason why)
{
	count(why);
	return TCX_NEXT;
}

static __always_inline int drop(enum reason why)
{
	count(why);
	return TC_SHOT;
}

/* A tick is 2^26 ns (67 ms): one shift, and 32 bits last nine years. */
static __always_inline u32 now_tick(void)
{
	return ktime_get_coarse_ns() >> 26;
}

/* The same for what syscall programs run as well, to whom the coarse clock is not open. */
static __always_inline u32 exact_tick(void)
{
	return ktime_get_ns() >> 26;
}

static __always_inline struct director *director(void)
{
	u32 zero = 0;

	return map_lookup(&directors, &zero);
}

static __always_inline struct control *control(void)
{
	u32 zero = 0;

	return map_lookup(&controls, &zero);
}
