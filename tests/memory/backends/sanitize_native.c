/* Random reads through native.c, for a build with sanitizers: every buffer has exactly the size that the code may use,
   and every result is compared with plain loops. Built and run by .ci/sanitize.

   Usage: sanitize_native SECONDS SEED. Prints the number of reads; stops at the first wrong one with its sizes. */

#include NATIVE_SOURCE

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static uint64_t state;

static uint64_t next(void) /* xorshift64* */
{
    state ^= state >> 12, state ^= state << 25, state ^= state >> 27;
    return state * 2685821657736338717u;
}

static int64_t between(int64_t low, int64_t high) { return low + (int64_t)(next() % (uint64_t)(high - low + 1)); }

static float small(void) { return (float)between(-3, 3); } /* sums are exact in every order, and tie often */

static void *room(int64_t bytes)
{
    void *made = malloc((size_t)(bytes ? bytes : 1));
    if (!made) abort();
    return made;
}

static float *numbers(int64_t count, int odd)
{
    static const float special[] = {INFINITY, -INFINITY, NAN, 3e38f, -3e38f, 1e-42f, -0.0f};
    float *made = room(count * (int64_t)sizeof *made);
    for (int64_t i = 0; i < count; i++) made[i] = odd && !between(0, 40) ? special[between(0, 6)] : small();
    return made;
}

/* Starts threads as GOMP_parallel does: all of them, this one included, run work(data) to its end. */
typedef struct {
    void (*work)(void *);
    void *data;
} call;

static void *run_call(void *argument)
{
    call *made = argument;
    made->work(made->data);
    return NULL;
}

static void run_threads(void (*work)(void *), void *data, unsigned threads, unsigned flags)
{
    pthread_t started[16];
    call made = {work, data};
    (void)flags;
    for (unsigned i = 1; i < threads; i++)
        if (pthread_create(&started[i], NULL, run_call, &made)) abort();
    work(data);
    for (unsigned i = 1; i < threads; i++) pthread_join(started[i], NULL);
}

static void fail(const char *what, const int64_t *sizes, int count)
{
    fprintf(stderr, "wrong: %s; sizes", what);
    for (int i = 0; i < count; i++) fprintf(stderr, " %lld", (long long)sizes[i]);
    fprintf(stderr, "\n");
    exit(1);
}

static void try_search(void)
{
    const int64_t queries = between(1, 90), width = between(0, 9), spare = between(0, 2);
    const int64_t tokens = between(0, 3) ? between(1, 300) : between(300, 5000);
    const int64_t k = between(1, tokens < 400 ? tokens : 400), threads = between(1, 4), has_bias = between(0, 1);
    const int odd = !between(0, 4);
    const int64_t sizes[] = {queries, tokens, width, spare, k, threads, has_bias, odd};
    const int64_t stride = width + spare;
    float *query = numbers(queries * width, odd), *bias = has_bias ? numbers(tokens, odd) : NULL;
    /* The last row ends with its last number that is used. */
    float *keys = numbers((tokens - 1) * stride + width, odd);
    int64_t *chosen = room(queries * k * (int64_t)sizeof *chosen);
    float *similarity = room(queries * k * (int64_t)sizeof *similarity), *row = room(tokens * (int64_t)sizeof *row);
    void *space = room(vos_zoo_select_tokens_space(queries, tokens, width, k, (uint32_t)threads));
    const int32_t failed = vos_zoo_select_tokens(query, queries, keys, stride, bias, tokens, width, k, chosen, similarity,
                                                 space, between(0, 1) ? run_threads : NULL, (uint32_t)threads);
    if (failed && !odd) fail("a search of finite numbers", sizes, 8);
    for (int64_t i = 0; i < queries && !failed && !odd; i++) {
        for (int64_t token = 0; token < tokens; token++) {
            row[token] = bias ? bias[token] : 0;
            for (int64_t channel = 0; channel < width; channel++)
                row[token] += query[i * width + channel] * keys[token * stride + channel];
        }
        for (int64_t j = 0; j < k; j++) {
            const int64_t token = chosen[i * k + j];
            if (token < 0 || token >= tokens || (j && token <= chosen[i * k + j - 1])) fail("order", sizes, 8);
            if (similarity[i * k + j] != row[token]) fail("similarity", sizes, 8);
        }
        /* Whoever was left out is smaller than the least that was taken, or equal to it and later. */
        float least_taken = INFINITY;
        int64_t last_of_least = -1;
        for (int64_t j = 0; j < k; j++)
            least_taken = similarity[i * k + j] < least_taken ? similarity[i * k + j] : least_taken;
        for (int64_t j = 0; j < k; j++)
            if (similarity[i * k + j] == least_taken) last_of_least = chosen[i * k + j];
        for (int64_t token = 0, j = 0; token < tokens; token++) {
            if (j < k && chosen[i * k + j] == token) j++;
            else if (row[token] > least_taken || (row[token] == least_taken && token < last_of_least))
                fail("choice", sizes, 8);
        }
    }
    free(query), free(keys), free(bias), free(chosen), free(similarity), free(row), free(space);
}

static void try_sums(void)
{
    const int is_large = !between(0, 40); /* a result that is written past the caches */
    const int64_t rows = between(0, 3) ? between(1, 200) : between(200, 5000);
    const int64_t columns = is_large ? LANES * between(20, 40) : between(1, 200), spare = between(0, 3);
    const int64_t queries = is_large ? (1 << 21) / columns + between(1, 9) : between(1, 120);
    const int64_t k = is_large ? between(1, 2) : between(1, 30), threads = between(1, 4), stride = columns + spare;
    const int64_t sizes[] = {rows, columns, spare, queries, k, threads};
    float *table = numbers((rows - 1) * stride + columns, 0), *weights = numbers(queries * k, 0);
    int64_t *chosen = room(queries * k * (int64_t)sizeof *chosen);
    for (int64_t i = 0; i < queries * k; i++) chosen[i] = between(0, rows - 1);
    /* On a line of the cache, or beside it. */
    const int64_t shift = between(0, 1) ? 0 : between(1, 15), size = queries * columns * (int64_t)sizeof(float);
    char *whole = aligned_alloc(LINE, (size_t)(divide_up(size + 4 * shift, LINE) * LINE));
    if (!whole) abort();
    float *out = (float *)(whole + 4 * shift);
    void *space = room(vos_zoo_sum_rows_space(rows, queries, k, (uint32_t)threads));
    vos_zoo_sum_rows(table, rows, stride, columns, chosen, weights, queries, k, out, space,
                     between(0, 1) ? run_threads : NULL, (uint32_t)threads);
    for (int64_t i = 0; i < queries; i += is_large ? 97 : 1)
        for (int64_t column = 0; column < columns; column++) {
            float sum = 0;
            for (int64_t j = 0; j < k; j++) sum += weights[i * k + j] * table[chosen[i * k + j] * stride + column];
            if (sum != out[i * columns + column]) fail("sum of rows", sizes, 6);
        }
    free(table), free(weights), free(chosen), free(whole), free(space);
}

int main(int count, char **words)
{
    if (count != 3) return 2;
    const time_t end = time(NULL) + atoi(words[1]);
    int64_t reads = 0;
    state = strtoull(words[2], NULL, 10) * 2 + 1;
    while (time(NULL) < end) {
        try_search();
        try_sums();
        reads += 2;
    }
    printf("%lld reads in vectors of %d bytes\n", (long long)reads, VECTOR_BYTES);
    return reads == 0;
}
