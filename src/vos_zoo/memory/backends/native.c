/* The k most similar tokens of every query, exactly, in one pass over the memory; and the weighted sum of their rows.

   A panel is as many queries as fill two vector registers, one query per lane; a group is as many tokens as leave the
   sums of all their products with a panel in registers. For each panel and each chunk of the memory:

   1. Similarities of all groups, and the largest of each group: the matrix product, nine tenths of all work.
   2. A floor per query: a number that at least k groups of the chunk reach, found by bisection on all lanes at once,
      so that no order of the tokens is a bad one. A floor from an earlier chunk is kept if it is higher.
   3. Tokens at or above the floor, from the groups that reach it, are appended to the query's list of candidates.
   4. A list that has grown, and every list at the end, is cut to its k best, which gives the floor of later chunks.

   Similarities are compared as ranks: integers in the same order as the floats. Candidates stay in the order of the
   tokens, so that among equals the first ones can be taken.

   GCC's and Clang's vector types; the two operations that these lack are intrinsics on x86 and plain C elsewhere. */

#include <math.h>
#include <stdint.h>
#include <string.h>

#ifdef __SSE2__
#include <immintrin.h>
#endif

#ifndef VECTOR_BYTES
#if defined(__AVX512F__)
#define VECTOR_BYTES 64
#elif defined(__AVX2__)
#define VECTOR_BYTES 32
#else
#define VECTOR_BYTES 16 /* SSE2, NEON */
#endif
#endif

enum {
    LANES = VECTOR_BYTES / 4,
    PANEL = 2 * LANES, /* queries */
    GROUP = 6,         /* tokens: 12 registers of sums, of 16 */
    CHUNK = 340,       /* groups at most; their similarities to a panel, and the keys of most of them, stay in L2 */
    LINE = 64,         /* bytes */
    TILE = 4,          /* panels at most that meet a chunk while its keys are close */
};

typedef float floats __attribute__((vector_size(VECTOR_BYTES), aligned(4), may_alias));
typedef int32_t ints __attribute__((vector_size(VECTOR_BYTES), aligned(4), may_alias));

/* Runs work(data) on several threads at once, as GOMP_parallel does. */
typedef void runner(void (*work)(void *), void *data, unsigned threads, unsigned flags);

typedef struct {
    const float *query; /* queries × width, scaled */
    const float *keys;  /* tokens × stride, width of each used */
    const float *bias;  /* tokens, or null */
    int64_t queries, tokens, stride, width, k;
    int64_t *chosen;   /* queries × k */
    float *similarity; /* queries × k */
    /* Set by plan: */
    int64_t tiles, panels_of_tile, groups_of_chunk, room;
    /* Set by select_tokens: */
    float *last_keys;       /* GROUP × width: the last, incomplete group, filled up with zeros, */
    float last_bias[GROUP]; /* and minus infinity */
    uintptr_t spaces;       /* one for each thread */
    int64_t next_space;     /* that no thread has taken */
    int64_t next_tile;      /* likewise */
    int32_t failed;
} job;

/* What one thread works in. */
typedef struct {
    float *panels;            /* panels of a tile × width × PANEL */
    float *similarity;        /* tokens of a chunk × PANEL */
    int32_t (*maxima)[PANEL]; /* groups of a chunk: ranks */
    int32_t *ranks, *tokens;  /* queries of a tile × room: candidates */
    int32_t (*counts)[PANEL]; /* panels of a tile: candidates of each query */
    int32_t (*floors)[PANEL]; /* panels of a tile: ranks */
} space;

static int64_t divide_up(int64_t count, int64_t size) { return (count + size - 1) / size; }

/* For what several threads may set. */
static void set(int32_t *flag) { __atomic_store_n(flag, 1, __ATOMIC_RELAXED); }

static inline int32_t rank_of(float number)
{
    int32_t bits;
    memcpy(&bits, &number, sizeof bits);
    return bits ^ ((bits >> 31) & 0x7fffffff);
}

static inline float number_of(int32_t rank)
{
    float number;
    rank ^= (rank >> 31) & 0x7fffffff;
    memcpy(&number, &rank, sizeof number);
    return number;
}

static inline ints ranks_of(floats numbers)
{
    ints bits = (ints)numbers;
    return bits ^ ((bits >> 31) & 0x7fffffff);
}

static inline floats numbers_of(ints ranks) { return (floats)(ranks ^ ((ranks >> 31) & 0x7fffffff)); }

static inline ints select_ints(ints where, ints yes, ints no) { return (yes & where) | (no & ~where); }

static inline floats larger(floats a, floats b)
{
#if defined(__AVX512F__) && VECTOR_BYTES == 64
    return (floats)_mm512_max_ps((__m512)a, (__m512)b);
#elif defined(__AVX2__) && VECTOR_BYTES == 32
    return (floats)_mm256_max_ps((__m256)a, (__m256)b);
#else
    return (floats)select_ints(a > b, (ints)a, (ints)b);
#endif
}

/* One bit per query of a panel: whether its entry reaches its floor. */
static inline uint32_t reaching(const int32_t *entries, const int32_t *floors)
{
    uint32_t mask = 0;
#if defined(__AVX512F__) && VECTOR_BYTES == 64
    for (int half = 0; half < PANEL; half += LANES)
        mask |= (uint32_t)_mm512_cmpge_epi32_mask(_mm512_loadu_si512(entries + half), _mm512_loadu_si512(floors + half))
                << half;
#elif defined(__AVX2__) && VECTOR_BYTES == 32
    for (int half = 0; half < PANEL; half += LANES) {
        ints reaches = *(const ints *)(entries + half) >= *(const ints *)(floors + half);
        mask |= (uint32_t)_mm256_movemask_ps((__m256)reaches) << half;
    }
#else
    for (int lane = 0; lane < PANEL; lane++) mask |= (uint32_t)(entries[lane] >= floors[lane]) << lane;
#endif
    return mask;
}

/* Step 1 for one group: its similarities, GROUP × PANEL, and the rank of the largest. The sum of all that was ever
   computed is not a number if any of it is not. Never inlined: whatever the caller keeps in a register pushes one of
   the sums out of it, which doubles the time. */
static __attribute__((noinline)) void compare(const float *restrict panel, int64_t width, const float *restrict keys,
                                              int64_t stride, const float *restrict bias, float *restrict similarity,
                                              int32_t *restrict maxima, floats sum[2])
{
    floats sums[GROUP][2];
#pragma GCC unroll 6
    for (int token = 0; token < GROUP; token++)
        sums[token][0] = sums[token][1] = (floats){0} + bias[token]; /* also makes minus zero plain zero */
    for (int64_t channel = 0; channel < width; channel++) {
        floats low = *(const floats *)(panel + channel * PANEL);
        floats high = *(const floats *)(panel + channel * PANEL + LANES);
#pragma GCC unroll 6
        for (int token = 0; token < GROUP; token++) {
            sums[token][0] += low * keys[token * stride + channel];
            sums[token][1] += high * keys[token * stride + channel];
        }
    }
#pragma GCC unroll 2
    for (int half = 0; half < 2; half++) {
        floats largest = sums[0][half];
#pragma GCC unroll 6
        for (int token = 0; token < GROUP; token++) {
            *(floats *)(similarity + token * PANEL + half * LANES) = sums[token][half];
            largest = larger(sums[token][half], largest);
            sum[half] += sums[token][half];
        }
        *(ints *)(maxima + half * LANES) = ranks_of(largest);
    }
}

static inline ints middle(ints low, ints high) { return (low >> 1) + (high >> 1) + ((low | high) & 1); } /* upper */

/* Step 2: raise each floor as far as k groups still reach it: until few more than k do, or to the k-th largest. */
static void raise_floors(int32_t (*maxima)[PANEL], int64_t groups, int32_t k, int32_t *floors)
{
    const int32_t few = k + k / 2;
    ints low[2], high[2]; /* where the floor may still lie */
    if (groups < k) return;
    for (int half = 0; half < 2; half++) {
        ints smallest = *(ints *)(maxima[0] + half * LANES), largest = smallest;
        for (int64_t group = 1; group < groups; group++) {
            ints entry = *(ints *)(maxima[group] + half * LANES);
            smallest = select_ints(entry < smallest, entry, smallest);
            largest = select_ints(entry > largest, entry, largest);
        }
        ints old = *(ints *)(floors + half * LANES);
        low[half] = select_ints(smallest > old, smallest, old);
        high[half] = largest;
    }
    for (int turn = 0;; turn++) {
        ints tried[2], count[2] = {{0}, {0}}, is_open = {0};
        for (int half = 0; half < 2; half++) {
            /* The first turn counts at the old floor. Halving the numbers finds the place sooner than halving their
               ranks, which are logarithms of a kind, but for infinities, and in all eternity. */
            floats from = numbers_of(low[half]), to = numbers_of(high[half]);
            ints mean = ranks_of(from + (to - from) * 0.5f);
            ints is_between = (mean > low[half]) & (mean <= high[half]);
            tried[half] = turn < 12 ? select_ints(is_between, mean, middle(low[half], high[half]))
                                    : middle(low[half], high[half]);
            if (turn == 0) tried[half] = low[half];
        }
        for (int64_t group = 0; group < groups; group++) {
            count[0] -= *(ints *)maxima[group] >= tried[0];
            count[1] -= *(ints *)(maxima[group] + LANES) >= tried[1];
        }
        for (int half = 0; half < 2; half++) {
            ints was_open = (low[half] < high[half]) | -(turn == 0);
            ints reached = was_open & (count[half] >= k), missed = was_open & (count[half] < k);
            low[half] = select_ints(reached, tried[half], low[half]);
            high[half] = select_ints(missed, tried[half] - 1, high[half]);
            high[half] = select_ints(reached & (count[half] <= few), low[half], high[half]);
            is_open |= low[half] < high[half];
        }
        int32_t open_lanes = 0;
        for (int lane = 0; lane < LANES; lane++) open_lanes |= is_open[lane];
        if (!open_lanes) break;
    }
    for (int half = 0; half < 2; half++) *(ints *)(floors + half * LANES) = low[half];
}

/* Step 3. At most 2 k groups per query are looked at: of those whose largest similarity is the floor itself, k are
   enough, since each has a token there and earlier ones go first. */
static void collect(const space *at, int64_t groups, int32_t first_token, int32_t k, int64_t room, int64_t panel)
{
    int32_t *floors = at->floors[panel], *counts = at->counts[panel];
    int32_t at_floor[PANEL] = {0};
    for (int64_t group = 0; group < groups; group++)
        for (uint32_t mask = reaching(at->maxima[group], floors); mask; mask &= mask - 1) {
            int lane = __builtin_ctz(mask);
            if (at->maxima[group][lane] == floors[lane] && at_floor[lane]++ >= k) continue;
            int32_t *ranks = at->ranks + (panel * PANEL + lane) * room;
            int32_t *tokens = at->tokens + (panel * PANEL + lane) * room;
            int32_t count = counts[lane], floor = floors[lane];
#pragma GCC unroll 6
            for (int token = 0; token < GROUP; token++) {
                int32_t rank = rank_of(at->similarity[(group * GROUP + token) * PANEL + lane]);
                ranks[count] = rank;
                tokens[count] = first_token + (int32_t)group * GROUP + token;
                count += rank >= floor;
            }
            counts[lane] = count;
        }
}

/* Step 4: keep the k best of the candidates, in their order, and return the rank of the least of them. */
static int32_t keep_best(int32_t *restrict ranks, int32_t *restrict tokens, int32_t *count, int32_t k)
{
    int32_t low = INT32_MAX, high = INT32_MIN, least = INT32_MAX, spare = k, kept = 0;
    for (int32_t i = 0; i < *count; i++) {
        low = ranks[i] < low ? ranks[i] : low;
        high = ranks[i] > high ? ranks[i] : high;
    }
    if (*count == k) return low;
    while (low < high) { /* until just k candidates reach it, or to the largest rank that more than k reach */
        int32_t tried = (low >> 1) + (high >> 1) + ((low | high) & 1), reached = 0;
        for (int32_t i = 0; i < *count; i++) reached += ranks[i] >= tried;
        if (reached < k) high = tried - 1;
        else low = tried;
        if (reached == k) break;
    }
    for (int32_t i = 0; i < *count; i++) spare -= ranks[i] > low;
    for (int32_t i = 0; i < *count; i++) {
        int32_t rank = ranks[i], is_equal = rank == low, is_kept = (rank > low) | (is_equal & (spare > 0));
        ranks[kept] = rank;
        tokens[kept] = tokens[i];
        kept += is_kept;
        spare -= is_equal;
        least = is_kept && rank < least ? rank : least;
    }
    *count = kept;
    return least;
}

/* Lay the queries of a tile into the lanes of its panels; spare lanes repeat the last query. */
static void fill_panels(const job *read, const space *at, int64_t first, int64_t queries, int64_t panels)
{
    for (int64_t i = 0; i < panels * PANEL; i++) {
        const float *query = read->query + (first + (i < queries ? i : queries - 1)) * read->width;
        for (int64_t channel = 0; channel < read->width; channel++)
            at->panels[(i / PANEL * read->width + channel) * PANEL + i % PANEL] = query[channel];
        at->counts[i / PANEL][i % PANEL] = 0;
        at->floors[i / PANEL][i % PANEL] = INT32_MIN + 1; /* below all numbers; one less has no predecessor */
    }
}

/* Step 1. */
static void compare_chunk(const job *read, const space *at, int64_t start, int64_t groups, int64_t panel, floats sum[2])
{
    const int64_t width = read->width, whole = read->tokens / GROUP;
    for (int64_t group = 0; group < groups; group++) {
        const int64_t place = (start + group) * GROUP;
        const int is_whole = start + group < whole;
        const float *keys = is_whole ? read->keys + place * read->stride : read->last_keys;
        float bias[GROUP] = {0};
        if (!is_whole) memcpy(bias, read->last_bias, sizeof bias);
        else if (read->bias) memcpy(bias, read->bias + place, sizeof bias);
        compare(at->panels + panel * width * PANEL, width, keys, is_whole ? read->stride : width, bias,
                at->similarity + group * GROUP * PANEL, at->maxima[group], sum);
    }
}

/* Step 4 for the queries of a panel. */
static void cut_lists(const job *read, const space *at, int64_t panel, int is_last)
{
    const int32_t k = (int32_t)read->k;
    for (int lane = 0; lane < PANEL; lane++) {
        int32_t *count = &at->counts[panel][lane], *floor = &at->floors[panel][lane];
        if (*count <= 2 * k && !(is_last && *count >= k)) continue;
        const int64_t list = (panel * PANEL + lane) * read->room;
        const int32_t least = keep_best(at->ranks + list, at->tokens + list, count, k);
        if (least < INT32_MAX && least >= *floor) *floor = least + 1; /* later equals are not wanted */
    }
}

/* All steps for the panels of a tile, and the results of its queries. */
static void search(job *read, const space *at, int64_t tile)
{
    const int64_t all_groups = divide_up(read->tokens, GROUP), full = read->panels_of_tile * PANEL;
    const int64_t first = tile * full, left = read->queries - first, queries = left < full ? left : full;
    const int64_t panels = divide_up(queries, PANEL), k = read->k;
    floats sum[2] = {{0}, {0}};
    fill_panels(read, at, first, queries, panels);
    for (int64_t start = 0; start < all_groups; start += read->groups_of_chunk) {
        const int is_last = all_groups - start <= read->groups_of_chunk;
        const int64_t groups = is_last ? all_groups - start : read->groups_of_chunk;
        for (int64_t panel = 0; panel < panels; panel++) {
            compare_chunk(read, at, start, groups, panel, sum);
            raise_floors(at->maxima, groups, (int32_t)k, at->floors[panel]);
            collect(at, groups, (int32_t)(start * GROUP), (int32_t)k, read->room, panel);
            cut_lists(read, at, panel, is_last);
        }
    }
    for (int lane = 0; lane < LANES; lane++)
        if (sum[0][lane] != sum[0][lane] || sum[1][lane] != sum[1][lane]) set(&read->failed);
    for (int64_t i = 0; i < queries; i++) {
        if (at->counts[i / PANEL][i % PANEL] != k) { /* never, but where something is not a number */
            set(&read->failed);
            continue;
        }
        for (int64_t j = 0; j < k; j++) {
            read->chosen[(first + i) * k + j] = at->tokens[i * read->room + j];
            read->similarity[(first + i) * k + j] = number_of(at->ranks[i * read->room + j]);
        }
    }
}

/* Take the next bytes of a work space, in whole cache lines. */
static void *take(uintptr_t *from, int64_t bytes)
{
    const uintptr_t taken = *from;
    *from += (uintptr_t)(divide_up(bytes, LINE) * LINE);
    return (void *)taken;
}

/* Lay out the parts of one thread's space, and return where it ends. */
static uintptr_t lay_out(const job *read, uintptr_t from, space *at)
{
    const int64_t panels = read->panels_of_tile, groups = read->groups_of_chunk, row = PANEL * sizeof(int32_t);
    at->panels = take(&from, panels * read->width * row);
    at->similarity = take(&from, groups * GROUP * row);
    at->maxima = take(&from, groups * row);
    at->ranks = take(&from, panels * read->room * row);
    at->tokens = take(&from, panels * read->room * row);
    at->counts = take(&from, panels * row);
    at->floors = take(&from, panels * row);
    return from;
}

static int64_t bytes_of_space(const job *read)
{
    space at;
    return (int64_t)lay_out(read, 0, &at);
}

/* Search tile after tile, as long as there are any. */
static void work(void *data)
{
    job *read = data;
    space at;
    const int64_t number = __atomic_fetch_add(&read->next_space, 1, __ATOMIC_RELAXED);
    lay_out(read, read->spaces + (uintptr_t)(number * bytes_of_space(read)), &at);
    for (int64_t tile; (tile = __atomic_fetch_add(&read->next_tile, 1, __ATOMIC_RELAXED)) < read->tiles;)
        search(read, &at, tile);
}

/* Choose the sizes of tiles, chunks and lists. */
static void plan(job *read, uint32_t threads)
{
    const int64_t groups = divide_up(read->tokens, GROUP), panels = divide_up(read->queries, PANEL);
    read->groups_of_chunk = divide_up(groups, divide_up(groups, CHUNK)); /* of nearly equal size */
    /* Several tiles for each thread, so that none waits long for the last one. */
    const int64_t share = panels / (4 * (int64_t)threads);
    read->panels_of_tile = share < 1 ? 1 : share > TILE ? TILE : share;
    read->tiles = divide_up(panels, read->panels_of_tile);
    /* 2 k that were left before, the tokens of 2 k groups or of a chunk with fewer than k, and one beyond. */
    read->room = 2 * read->k + 2 * read->k * GROUP + GROUP;
}

/* Bytes of work space that a search with these sizes needs. */
int64_t vos_zoo_select_tokens_space(int64_t queries, int64_t tokens, int64_t width, int64_t k, uint32_t threads)
{
    job read = {.queries = queries, .tokens = tokens, .width = width, .k = k};
    plan(&read, threads);
    uintptr_t shared = 0;
    take(&shared, GROUP * width * (int64_t)sizeof(float));
    return (int64_t)shared + threads * bytes_of_space(&read);
}

/* Find the k most similar tokens of each query, in the order of the tokens, and their similarities. There must be at
   least k tokens and fewer than 2³¹. ``run`` starts the threads; null if there is none to start. Returns zero if all
   went well; otherwise some similarity is not a number, and the results mean nothing. */
int32_t vos_zoo_select_tokens(const float *query, int64_t queries, const float *keys, int64_t stride, const float *bias,
                              int64_t tokens, int64_t width, int64_t k, int64_t *chosen, float *similarity,
                              void *work_space, runner *run, uint32_t threads)
{
    job read = {.query = query, .keys = keys, .bias = bias, .queries = queries, .tokens = tokens, .stride = stride,
                .width = width, .k = k, .chosen = chosen, .similarity = similarity};
    plan(&read, threads);
    read.spaces = (uintptr_t)work_space;
    read.last_keys = take(&read.spaces, GROUP * width * (int64_t)sizeof(float));
    for (int64_t i = 0, place = tokens / GROUP * GROUP; i < GROUP; i++, place++) {
        const int is_token = place < tokens;
        for (int64_t channel = 0; channel < width; channel++)
            read.last_keys[i * width + channel] = is_token ? keys[place * stride + channel] : 0;
        read.last_bias[i] = !is_token ? -INFINITY : bias ? bias[place] : 0;
    }
    if (run && threads > 1) run(work, &read, threads, 0);
    else work(&read);
    return read.failed;
}

/* The weighted sum of k rows of a table for every query. Rows of a short table are needed again and again: there each
   thread copies a slice of a few columns, which stays in L2, and serves all queries from it, two at once, so that there
   are enough sums. In place, equal columns of rows thousands of bytes apart would compete for the same places of the
   cache. A result that the caches cannot hold is written past them, and meanwhile the next slice is copied. Rows of a
   long table come from main memory, as early as possible. */

enum {
    SHORT = 4096,             /* rows of a short table, at most */
    FOUR = 4,                 /* weights that are loaded at once */
    NARROW = 4,               /* vectors of sums of each of two queries */
    SLICE = NARROW * LANES,   /* columns of a copy */
    SOON = 8,                 /* rows that are fetched before they are copied */
    WIDE = LANES > 8 ? 4 : 8, /* vectors of sums of one query */
    AHEAD = WIDE * LANES,     /* columns that are fetched before they are summed */
    QUERIES = 32,             /* that a thread takes at once from a long table */
    LARGE = 1 << 23,          /* bytes of a result that is written past the caches, at least */
};

typedef struct {
    const float *table; /* rows × stride, columns of each used */
    const int64_t *chosen;
    const float *weights; /* queries × k, as chosen */
    float *out;           /* queries × columns */
    int64_t rows, stride, columns, queries, k;
    float *copies;      /* two of rows × SLICE for each thread; null for a long table */
    int64_t next_space; /* for copies, that no thread has taken */
    int64_t slices, parts, queries_of_part;
    int64_t next;       /* slice and part that no thread has taken */
    int is_past_caches; /* whether the result is written past them */
} sums;

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

/* Store a vector; past the caches without fetching its place first, which must then be a multiple of its size. */
static inline void store(float *to, floats numbers, int is_past_caches)
{
    if (!is_past_caches) *(floats *)to = numbers;
#if defined(__AVX512F__) && VECTOR_BYTES == 64
    else _mm512_stream_ps(to, (__m512)numbers);
#elif defined(__AVX2__) && VECTOR_BYTES == 32
    else _mm256_stream_ps(to, (__m256)numbers);
#elif defined(__SSE2__) && VECTOR_BYTES == 16
    else _mm_stream_ps(to, (__m128)numbers);
#else
    else *(floats *)to = numbers;
#endif
}

/* Let other threads see what was stored past the caches. */
static void show_stored(void)
{
#ifdef __SSE2__
    _mm_sfence();
#endif
}

/* For one query and any columns. */
static void sum_columns(const sums *all, const float *restrict table, int64_t stride, int64_t query, int64_t from,
                        int64_t to)
{
    const int64_t *chosen = all->chosen + query * all->k;
    const float *weights = all->weights + query * all->k;
    for (int64_t column = from; column < to; column++) {
        float sum = 0;
        for (int64_t i = 0; i < all->k; i++) sum += weights[i] * table[chosen[i] * stride + column - from];
        all->out[query * all->columns + column] = sum;
    }
}

/* Four weights, again and again in all lanes. One load for each of them would take its time from those of rows. */
static inline floats load_four(const float *weights)
{
#if defined(__AVX512F__) && VECTOR_BYTES == 64
    return (floats)_mm512_broadcast_f32x4(_mm_loadu_ps(weights));
#elif defined(__AVX2__) && VECTOR_BYTES == 32
    return (floats)_mm256_broadcast_ps((const __m128 *)weights);
#else
    floats four;
    for (int lane = 0; lane < LANES; lane++) four[lane] = weights[lane % FOUR];
    return four;
#endif
}

/* One of the four in all lanes; its place must be known when this is compiled. */
#if defined(__AVX512F__) && VECTOR_BYTES == 64
#define SPREAD(WEIGHTS, PLACE) (floats)_mm512_permute_ps((__m512)(WEIGHTS), 0x55 * (PLACE))
#elif defined(__AVX2__) && VECTOR_BYTES == 32
#define SPREAD(WEIGHTS, PLACE) (floats)_mm256_permute_ps((__m256)(WEIGHTS), 0x55 * (PLACE))
#else
#define SPREAD(WEIGHTS, PLACE) ((floats){0} + (WEIGHTS)[PLACE])
#endif

static inline void add_row(floats sum[NARROW], const float *row, floats weight)
{
#pragma GCC unroll 4
    for (int j = 0; j < NARROW; j++) sum[j] += *(const floats *)(row + j * LANES) * weight;
}

/* For a query and the next one, and SLICE columns that lie one after the other. */
static __attribute__((noinline)) void sum_two(const float *restrict table, const int64_t *restrict chosen,
                                              const float *restrict weights, int64_t k, float *restrict out,
                                              int64_t columns, int is_past_caches)
{
    const int64_t *other_chosen = chosen + k;
    const float *other_weights = weights + k;
    floats sum[NARROW], other_sum[NARROW];
#pragma GCC unroll 4
    for (int j = 0; j < NARROW; j++) sum[j] = other_sum[j] = (floats){0};
#define ADD_ROWS(I, WEIGHT, OTHER_WEIGHT)                                                              \
    do {                                                                                               \
        const floats weight = WEIGHT, other_weight = OTHER_WEIGHT;                                     \
        const float *row = table + chosen[I] * SLICE, *other_row = table + other_chosen[I] * SLICE;    \
        add_row(sum, row, weight);                                                                     \
        add_row(other_sum, other_row, other_weight);                                                   \
    } while (0)
    int64_t i = 0;
    for (; i + FOUR <= k; i += FOUR) {
        const floats four = load_four(weights + i), other_four = load_four(other_weights + i);
        ADD_ROWS(i, SPREAD(four, 0), SPREAD(other_four, 0));
        ADD_ROWS(i + 1, SPREAD(four, 1), SPREAD(other_four, 1));
        ADD_ROWS(i + 2, SPREAD(four, 2), SPREAD(other_four, 2));
        ADD_ROWS(i + 3, SPREAD(four, 3), SPREAD(other_four, 3));
    }
    for (; i < k; i++) ADD_ROWS(i, (floats){0} + weights[i], (floats){0} + other_weights[i]);
#undef ADD_ROWS
#pragma GCC unroll 4
    for (int j = 0; j < NARROW; j++) store(out + j * LANES, sum[j], is_past_caches);
#pragma GCC unroll 4
    for (int j = 0; j < NARROW; j++) store(out + columns + j * LANES, other_sum[j], is_past_caches);
}

/* For one query and AHEAD columns; meanwhile as many are fetched from the same rows of ``later``. */
static __attribute__((noinline)) void sum_one(const float *restrict table, int64_t stride,
                                              const int64_t *restrict chosen, const float *restrict weights, int64_t k,
                                              float *restrict out, const float *later,
                                              const int64_t *restrict chosen_later)
{
    floats sum[WIDE];
#pragma GCC unroll 8
    for (int j = 0; j < WIDE; j++) sum[j] = (floats){0};
    for (int64_t i = 0; i < k; i++) {
        const float *row = table + chosen[i] * stride, *row_later = later + chosen_later[i] * stride;
#pragma GCC unroll 4
        for (int j = 0; j < AHEAD; j += LINE / 4) __builtin_prefetch(row_later + j);
#pragma GCC unroll 8
        for (int j = 0; j < WIDE; j++) sum[j] += *(const floats *)(row + j * LANES) * weights[i];
    }
#pragma GCC unroll 8
    for (int j = 0; j < WIDE; j++) *(floats *)(out + j * LANES) = sum[j];
}

/* For some queries, in place. */
static void sum_in_place(const sums *all, int64_t first, int64_t end)
{
    const int64_t k = all->k, whole = all->columns / AHEAD * AHEAD;
    for (int64_t query = first; query < end; query++) {
        const int64_t *chosen = all->chosen + query * k;
        for (int64_t column = 0; column < whole; column += AHEAD) {
            const int is_last = column + AHEAD == whole;
            sum_one(all->table + column, all->stride, chosen, all->weights + query * k, k,
                    all->out + query * all->columns + column, is_last ? all->table : all->table + column + AHEAD,
                    is_last && query + 1 < end ? chosen + k : chosen);
        }
        sum_columns(all, all->table + whole, all->stride, query, whole, all->columns);
    }
}

/* Copy columns of some rows; ``left`` rows of the table are not copied yet. */
static inline void copy_rows(const float *restrict from, int64_t stride, int64_t left, float *restrict to, int64_t rows,
                             int64_t width)
{
    for (int64_t row = 0; row < rows; row++, left--, from += stride, to += width) {
        const float *later = from + (left > SOON ? SOON : 0) * stride;
        for (int64_t column = 0; column < width; column += LINE / 4) __builtin_prefetch(later + column);
        memcpy(to, from, (size_t)width * sizeof *to);
    }
}

static int64_t width_of(const sums *all, int64_t slice) { return least(SLICE, all->columns - slice * SLICE); }

static void copy_slice(const sums *all, int64_t slice, float *copy)
{
    const float *from = all->table + slice * SLICE;
    const int64_t width = width_of(all, slice), rows = all->rows;
    if (width == SLICE) copy_rows(from, all->stride, rows, copy, rows, SLICE);
    else copy_rows(from, all->stride, rows, copy, rows, width);
}

/* For some queries and the columns of a slice, from their copy. Meanwhile those of ``next`` are copied, unless that is
   the same slice. */
static void sum_copy(const sums *all, int64_t slice, const float *copy, int64_t first, int64_t end, int64_t next,
                     float *next_copy)
{
    const int64_t k = all->k, columns = all->columns, stride = all->stride, width = width_of(all, slice);
    const int64_t rows = divide_up(all->rows, divide_up(end - first, 2)); /* that are copied for two queries */
    const float *from = all->table + next * SLICE;
    int64_t left = next == slice ? 0 : all->rows, query = first;
    for (; width == SLICE && query + 1 < end; query += 2) {
        const int64_t now = least(rows, left);
        copy_rows(from, stride, left, next_copy, now, SLICE);
        from += now * stride, next_copy += now * SLICE, left -= now;
        sum_two(copy, all->chosen + query * k, all->weights + query * k, k, all->out + query * columns + slice * SLICE,
                columns, all->is_past_caches);
    }
    for (; query < end; query++) sum_columns(all, copy, width, query, slice * SLICE, slice * SLICE + width);
    copy_rows(from, stride, left, next_copy, left, SLICE);
}

/* The number of a slice and part that no thread has taken, if there is any. */
static int64_t take_next(sums *all) { return __atomic_fetch_add(&all->next, 1, __ATOMIC_RELAXED); }

/* For all columns, from copies of them. */
static void sum_copies(sums *all)
{
    const int64_t space = __atomic_fetch_add(&all->next_space, 1, __ATOMIC_RELAXED), end = all->slices * all->parts;
    float *copy = all->copies + 2 * space * all->rows * SLICE, *other = copy + all->rows * SLICE;
    int64_t copied = -1;
    for (int64_t taken = take_next(all), next; taken < end; taken = next) {
        next = take_next(all);
        const int64_t slice = taken / all->parts, later = next / all->parts;
        const int64_t first = taken % all->parts * all->queries_of_part;
        /* A result on its way through the caches leaves no room for two copies: then one after the other is faster. */
        const int is_followed = all->is_past_caches && next < end && width_of(all, later) == SLICE;
        if (copied != slice) copy_slice(all, slice, copy);
        copied = is_followed ? later : slice;
        sum_copy(all, slice, copy, first, least(first + all->queries_of_part, all->queries), copied, other);
        if (copied != slice) {
            float *used = copy;
            copy = other;
            other = used;
        }
    }
    show_stored();
}

static void sum_parts(void *data)
{
    sums *all = data;
    if (all->copies) {
        sum_copies(all);
        return;
    }
    for (int64_t part; (part = take_next(all)) < all->parts;) {
        const int64_t first = part * all->queries_of_part;
        sum_in_place(all, first, least(first + all->queries_of_part, all->queries));
    }
}

static int is_copied(int64_t rows, int64_t queries, int64_t k) { return rows <= SHORT && queries * k >= 4 * rows; }

/* Bytes of work space that sums with these sizes need. */
int64_t vos_zoo_sum_rows_space(int64_t rows, int64_t queries, int64_t k, uint32_t threads)
{
    return is_copied(rows, queries, k) ? 2 * (int64_t)threads * rows * SLICE * (int64_t)sizeof(float) : 0;
}

void vos_zoo_sum_rows(const float *table, int64_t rows, int64_t stride, int64_t columns, const int64_t *chosen,
                      const float *weights, int64_t queries, int64_t k, float *out, void *work_space, runner *run,
                      uint32_t threads)
{
    if (!queries || !columns) return;
    sums all = {.table = table, .chosen = chosen, .weights = weights, .out = out, .rows = rows, .stride = stride,
                .columns = columns, .queries = queries, .k = k, .slices = 1, .parts = divide_up(queries, QUERIES)};
    if (is_copied(rows, queries, k)) {
        all.copies = work_space;
        all.is_past_caches = queries * columns * (int64_t)sizeof *out >= LARGE && (uintptr_t)out % VECTOR_BYTES == 0 &&
                             columns % LANES == 0;
        all.slices = divide_up(columns, SLICE);
        all.parts = divide_up(2 * (int64_t)threads, all.slices); /* several for each thread, unless slices are enough */
    }
    all.queries_of_part = 2 * divide_up(queries, 2 * all.parts);
    all.parts = divide_up(queries, all.queries_of_part);
    if (run && threads > 1) run(sum_parts, &all, threads, 0);
    else sum_parts(&all);
}
