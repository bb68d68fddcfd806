"""The C sources beside the kernels: threads, and products of matrices."""

# A kernel is done in parts, at the same time. Threads wait for the next kernel awake for a quarter
# of a millisecond, since a step has hundreds of them and waking up takes long, and then asleep.
# Whoever waits awake offers the core to others: beside a second training that halves the time. Who
# finds the threads at work for somebody else does all parts himself: parts decide on the bits of a
# result, not who does them.
THREADS = """
typedef void (*Work)(const void *, int, int);

#ifdef _WIN32
void in_parts(Work work, const void *of, int parts) {
    for (int part = 0; part < parts; part++) work(of, part, parts);
}
#else
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#define MOST 64
#define AWAKE 20000
#if defined(__x86_64__)
#define PAUSE __builtin_ia32_pause()
#else
#define PAUSE
#endif

static pthread_mutex_t owner = PTHREAD_MUTEX_INITIALIZER, lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t call = PTHREAD_COND_INITIALIZER;
static Work the_work;
static const void *the_of;
static int the_parts, started, asleep;
static atomic_uint round_number;  /* of the work that there is */
static atomic_int left;           /* threads that are not done with it */

static struct start { int part; unsigned seen; } starts[MOST];

static inline void spin(int i) {
    PAUSE;
    if (i % 64 == 63) sched_yield();
}

static void *worker(void *given) {
    const struct start start = *(const struct start *)given;
    const int part = start.part;
    unsigned seen = start.seen;
    for (;;) {
        for (int i = 0; i < AWAKE && atomic_load(&round_number) == seen; i++) spin(i);
        if (atomic_load(&round_number) == seen) {
            pthread_mutex_lock(&lock);
            asleep++;
            while (atomic_load(&round_number) == seen) pthread_cond_wait(&call, &lock);
            asleep--;
            pthread_mutex_unlock(&lock);
        }
        seen = atomic_load(&round_number);
        if (part < the_parts) the_work(the_of, part, the_parts);
        atomic_fetch_sub(&left, 1);
    }
    return 0;
}

static void forked(void) {  /* in a child process there are no threads but one */
    const pthread_mutex_t new_mutex = PTHREAD_MUTEX_INITIALIZER;
    const pthread_cond_t new_call = PTHREAD_COND_INITIALIZER;
    owner = lock = new_mutex;
    call = new_call;
    started = asleep = 0;
    atomic_store(&left, 0);
}

void in_parts(Work work, const void *of, int parts) {
    if (parts < 2 || parts > MOST || pthread_mutex_trylock(&owner)) {
        for (int part = 0; part < parts; part++) work(of, part, parts);
        return;
    }
    static int watched;
    if (!watched) watched = !pthread_atfork(0, 0, forked);
    while (started < parts - 1) {
        pthread_t thread;
        starts[started] = (struct start){ started + 1, atomic_load(&round_number) };
        if (pthread_create(&thread, 0, worker, &starts[started])) break;
        pthread_detach(thread);
        started++;
    }
    the_work = work, the_of = of, the_parts = started + 1 < parts ? 1 : parts;
    atomic_store(&left, started);
    pthread_mutex_lock(&lock);
    atomic_fetch_add(&round_number, 1);
    if (asleep) pthread_cond_broadcast(&call);
    pthread_mutex_unlock(&lock);
    if (the_parts == 1)
        for (int part = 0; part < parts; part++) work(of, part, parts);
    else
        work(of, 0, parts);
    for (int i = 0; atomic_load(&left); i++) spin(i);
    pthread_mutex_unlock(&owner);
}
#endif
"""

STRIP = 32  # columns of b that may lie together: those of a tile, or of some

# c (M, N) = a (M, K) b (K, N) for each of a stack. A tile of c, ROWS rows and two vectors wide,
# stays in registers while it runs along the common index, and the factors are read where they lie.
# For matrices of some hundred rows and columns a matrix library spends a fifth of its time on
# laying them out anew. `vec` is a vector of the machine's width, in the notation of gcc and clang.
PRODUCTS = f"#define STRIP {STRIP}" + """
#if defined(__AVX512F__)
#define BYTES 64
#define ROWS 8
#elif defined(__AVX__)
#define BYTES 32
#define ROWS 6
#else
#define BYTES 16
#define ROWS 8
#endif
#define LANES (BYTES / (int)sizeof(T))
#define UNROLL _Pragma("GCC unroll 8")
#define DEEP 256
#define NEAR 200000  /* bytes of b that the cache beside a core holds with the rest */
typedef T vec __attribute__((vector_size(BYTES), aligned(sizeof(T)), may_alias));

#define TILE(NAME, VECTORS) \\
static inline __attribute__((always_inline)) void NAME( \\
        const T *a, index a_row, index a_k, const T *b, index b_k, T *c, index c_row, index K, \\
        int more) { \\
    vec sums[ROWS][VECTORS]; \\
    UNROLL for (int i = 0; i < ROWS; i++) \\
        UNROLL for (int v = 0; v < VECTORS; v++) \\
            sums[i][v] = more ? *(const vec *)(c + i * c_row + v * LANES) : (vec){0}; \\
    for (index k = 0; k < K; k++) { \\
        vec by[VECTORS]; \\
        UNROLL for (int v = 0; v < VECTORS; v++) by[v] = *(const vec *)(b + k * b_k + v * LANES); \\
        UNROLL for (int i = 0; i < ROWS; i++) { \\
            const T factor = a[i * a_row + k * a_k]; \\
            UNROLL for (int v = 0; v < VECTORS; v++) sums[i][v] += factor * by[v]; \\
        } \\
    } \\
    UNROLL for (int i = 0; i < ROWS; i++) \\
        UNROLL for (int v = 0; v < VECTORS; v++) \\
            *(vec *)(c + i * c_row + v * LANES) = sums[i][v]; \\
}
TILE(tile_of_two, 2)
TILE(tile_of_one, 1)

/* A strip of b, some columns wide, laid out for all the rows that will be multiplied with it. */
static void lay_out(T *strip, const T *b, index b_k, index b_column, index wide, index depth) {
    if (b_column == 1 && wide == LANES)
        for (index k = 0; k < depth; k++) *(vec *)(strip + k * LANES) = *(const vec *)(b + k * b_k);
    else if (b_column == 1)
        for (index k = 0; k < depth; k++) {
            const T *row = b + k * b_k;
            const vec first = *(const vec *)row, next = *(const vec *)(row + LANES);
            __builtin_prefetch(row + 8 * b_k);
            __builtin_prefetch(row + 8 * b_k + LANES);
            *(vec *)(strip + k * 2 * LANES) = first;
            *(vec *)(strip + k * 2 * LANES + LANES) = next;
        }
    else  /* LANES rows of the strip at a time: then each line of the cache is read once */
        for (index k0 = 0; k0 < depth; k0 += LANES)
            for (index v = 0; v < wide; v++) {
                const T *from = b + v * b_column + k0 * b_k;
                const index some = k0 + LANES <= depth ? LANES : depth - k0;
                __builtin_prefetch(from + LANES * b_k);
                for (index k = 0; k < some; k++) strip[(k0 + k) * wide + v] = from[k * b_k];
            }
}

/* From one matrix of a stack to the next it is a_next numbers in a, and so on. `add` is for adding
   to c. With `strips` b lies in strips of STRIP columns, one after another. Of a sequence the rows
   belong to samples: then `samples` is their number, `tiles` the rows of each, and a_room, b_room
   and c_room are the numbers from one thread's room to the next. An a without rooms is of all
   samples. With a `bias` (N,) c becomes leaky(c + bias, slope). */
struct stack {
    index count, M, K, N, a_row, a_k, b_k, b_column, a_next, b_next, c_next, add, strips;
    index samples, tiles, a_room, b_room, c_room;
    const T *a, *b;
    T *c;
    const T *bias;
    double slope;
};

static T dot(const T *a, const T *b, index n) {
    vec sums[4] = { { 0 } };
    T sum = 0;
    index i = 0;
    for (; i + 4 * LANES <= n; i += 4 * LANES)
        UNROLL for (int v = 0; v < 4; v++)
            sums[v] += *(const vec *)(a + i + v * LANES) * *(const vec *)(b + i + v * LANES);
    for (; i < n; i++) sum += a[i] * b[i];
    const vec all = sums[0] + sums[1] + (sums[2] + sums[3]);
    for (int v = 0; v < LANES; v++) sum += all[v];
    return sum;
}

/* What is too thin for a tile: vectors are numbers of a row of a, of a column of it, or of a row of
   b, whichever lie side by side. */
static void thin(const struct stack *s, index i0, index i1, index j0, index j1, const T *a,
                 const T *b, T *c) {
    const index N = s->N, K = s->K, few = j1 - j0 < LANES;
    T line[DEEP];
    for (index i = i0; i < i1 && !s->add; i++)
        for (index j = j0; j < j1; j++) c[i * N + j] = 0;
    if (s->a_k == 1 && (few || s->b_k == 1))
        for (index k0 = 0; k0 < K; k0 += DEEP)
            for (index j = j0; j < j1; j++) {
                const index depth = k0 + DEEP < K ? DEEP : K - k0;
                const T *column = b + k0 * s->b_k + j * s->b_column;
                for (index k = 0; k < depth && s->b_k != 1; k++) line[k] = column[k * s->b_k];
                if (s->b_k != 1) column = line;
                for (index i = i0; i < i1; i++)
                    c[i * N + j] += dot(a + i * s->a_row + k0, column, depth);
            }
    else if (s->a_row == 1 && few)
        for (index m0 = i0; m0 < i1; m0 += DEEP)
            for (index j = j0; j < j1; j++) {
                const index tall = m0 + DEEP < i1 ? DEEP : i1 - m0;
                for (index i = 0; i < tall; i++) line[i] = 0;
                for (index k = 0; k < K; k++) {
                    const T *factors = a + m0 + k * s->a_k, by = b[k * s->b_k + j * s->b_column];
                    SIMD for (index i = 0; i < tall; i++) line[i] += factors[i] * by;
                }
                for (index i = 0; i < tall; i++) c[(m0 + i) * N + j] += line[i];
            }
    else
        for (index i = i0; i < i1; i++)
            for (index k = 0; k < K; k++) {
                const T factor = a[i * s->a_row + k * s->a_k], *by = b + k * s->b_k;
                SIMD for (index j = j0; j < j1; j++) c[i * N + j] += factor * by[j * s->b_column];
            }
}

/* The rows and columns of c from (i0, j0) to (i1, j1). The last tiles begin earlier where a whole
   one does not fit; of these only the new numbers are kept. */
static void block(const struct stack *s, index i0, index i1, index j0, index j1, const T *a,
                  const T *b, T *c) {
    const index wide = j1 - j0 < 2 * LANES ? LANES : 2 * LANES, N = s->N;
    if (i1 - i0 < ROWS || j1 - j0 < wide) {
        const index step = s->strips && STRIP < j1 - j0 ? STRIP : j1 - j0;
        for (index j = j0; j < j1; j += step)  /* in a strip column j is where j of one row is */
            thin(s, i0, i1, j, j + step, a, s->strips ? b + j * (s->K - 1) : b, c);
        return;
    }
    T strip[DEEP * 2 * LANES], edge[ROWS * 2 * LANES];
    const int copy = s->b_column != 1 || (
        i1 - i0 >= 4 * ROWS && s->K * N * (index)sizeof(T) > NEAR && !s->strips);
    for (index k0 = 0; !k0 || k0 < s->K; k0 += DEEP) {
        const index depth = k0 + DEEP < s->K ? DEEP : s->K - k0;
        const int add = k0 || s->add;
        for (index j = j0; j < j1; j += wide) {
            const index column = j + wide <= j1 ? j : j1 - wide;
            const T *by = b + k0 * s->b_k + column * s->b_column;
            if (s->strips)
                by = b + column / STRIP * STRIP * s->K + k0 * STRIP + column % STRIP;
            if (copy) lay_out(strip, by, s->b_k, s->b_column, wide, depth);
            for (index i = i0; i < i1; i += ROWS) {
                const index row = i + ROWS <= i1 ? i : i1 - ROWS;
                const int whole = row == i && column == j;
                const T *factors = a + row * s->a_row + k0 * s->a_k;
                T *to = whole ? c + row * N + column : edge;
                const index to_row = whole ? N : wide, b_k = copy ? wide : s->b_k;
                const int more = whole && add;
                if (copy) by = strip;
                if (wide == LANES)
                    tile_of_one(factors, s->a_row, s->a_k, by, b_k, to, to_row, depth, more);
                else if (s->a_k == 1)
                    tile_of_two(factors, s->a_row, 1, by, b_k, to, to_row, depth, more);
                else
                    tile_of_two(factors, 1, s->a_k, by, b_k, to, to_row, depth, more);
                for (index m = i; !whole && m < row + ROWS; m++)
                    for (index n = j; n < column + wide; n++)
                        c[m * N + n] = edge[(m - row) * wide + n - column]
                                       + (add ? c[m * N + n] : 0);
            }
        }
    }
}

/* The bias and the leaky ReLU, while the numbers are still in the core's cache. */
static void finish(const struct stack *s, index i0, index i1, index j0, index j1, T *c) {
    for (index i = i0; i < i1; i++) {
        T *row = c + i * s->N;
        SIMD for (index j = j0; j < j1; j++) row[j] = leaky(row[j] + s->bias[j], s->slope);
    }
}

void products(const void *given, int part, int parts) {
    const struct stack *s = given;
    const int by_count = s->count >= 2 * parts, by_row = s->M >= s->N;
    const index n = by_count ? s->count : by_row ? s->M : s->N;
    const index unit = by_count ? 1 : by_row ? ROWS : 2 * LANES, units = (n + unit - 1) / unit;
    const index begin = units * part / parts * unit;
    const index end = part + 1 < parts ? units * (part + 1) / parts * unit : n;
    const index i0 = by_row && !by_count ? begin : 0, i1 = by_row && !by_count ? end : s->M;
    const index j0 = by_row || by_count ? 0 : begin, j1 = by_row || by_count ? s->N : end;
    for (index p = by_count ? begin : 0; p < (by_count ? end : s->count) && begin < end; p++) {
        T *c = s->c + p * s->c_next;
        block(s, i0, i1, j0, j1, s->a + p * s->a_next, s->b + p * s->b_next, c);
        if (s->bias) finish(s, i0, i1, j0, j1, c);
    }
}

/* The same of the samples of a part: they are rows of a and c, or what is summed over. */
void sample_products(const void *given, int part, int parts) {
    struct stack s = *(const struct stack *)given;
    const index first = s.samples * part / parts, n = s.samples * (part + 1) / parts - first;
    if (s.add) s.K = n * s.tiles; else s.M = n * s.tiles;
    const T *a = s.a + (s.a_room ? s.a_room * slot : first * s.tiles * s.a_row);
    const T *b = s.b + s.b_room * slot;
    T *c = s.c + s.c_room * slot;
    for (index p = 0; p < s.count && n; p++)
        block(&s, 0, s.M, 0, s.N, a + p * s.a_next, b + p * s.b_next, c + p * s.c_next);
}
"""

# Kernels one after another, each thread with its own samples all the way and in chunks: what one of
# them leaves in a core's cache the next one finds there, and threads meet once.
SEQUENCE = """
_Thread_local int slot;  /* which thread of a sequence this is */

struct call { Work work; const void *of; };
struct sequence { int chunks; index count; const struct call *calls; };

static void sequence_part(const void *given, int part, int parts) {
    const struct sequence *s = given;
    slot = part;
    for (int chunk = part * s->chunks; chunk < (part + 1) * s->chunks; chunk++)
        for (index i = 0; i < s->count; i++)
            s->calls[i].work(s->calls[i].of, chunk, parts * s->chunks);
}

void sequence(int parts, int chunks, index count, const struct call *calls) {
    const struct sequence s = { chunks, count, calls };
    in_parts(sequence_part, &s, parts);
}
"""
