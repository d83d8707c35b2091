/* The labeler's work for one pixel after another, without leaving the registers and the nearest cache: upsampled
 * projections, first layer, the members' hidden layer, outputs, vote, Jensen-Shannon divergence. The plain way, which
 * this is compared with, is models/pixel_network.py and models/labeling.py; models/fused_labeling.py calls it.
 *
 * Sixteen pixels at a time. The first layer keeps units in the lanes of a vector and pixels in its registers, since
 * features and projections lie channels last; from there on pixels are in the lanes, so that softmax and vote need no
 * sums across lanes. Products are of pairs of bfloat16, added up in float32; outputs are float32 altogether.
 *
 * Of two numbers, _mm512_max_ps gives the second one where either is NaN: written as here, NaN stays NaN.
 *
 * For processors with AVX-512 and its bfloat16 instructions. */

#include <immintrin.h>
#include <stdint.h>

/* To be raised with every change that a caller of the older one would not notice. */
#define INTERFACE 1

#define LANES 16
#define AHEAD 32 /* pixels */
#define MOST_SIDES 12
#define MOST_SHARED 128
#define MOST_HIDDEN 96
#define MOST_OUTPUTS 320
#define MOST_MEMBERS 64

#define KERNEL __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")))
#define INLINE KERNEL static inline __attribute__((always_inline))

/* Sizes are padded with zeros: `shared` to 16, `hidden` to 8, `outputs` to 4. Weights of bfloat16 come as pairs of
 * neighbouring inputs in one uint32, the earlier one in its lower half. */
struct network {
    int32_t resolution, shared, members, hidden, outputs, classes, points, depth;
    int32_t levels, sides;
    int32_t channels[MOST_SIDES];             /* of each level of full resolution */
    int32_t side[MOST_SIDES];                 /* of the projections */
    const uint32_t *level_weights[MOST_SIDES];/* (channels / 2, shared) */
    const float *offset;                      /* (shared) */
    const uint32_t *hidden_weights;           /* (members, shared / 2, hidden) */
    const float *hidden_offset;               /* (members, hidden) */
    const float *output_weights;              /* (members, hidden, outputs) */
    const float *output_offset;               /* (members, outputs) */
};

/* What is known of one image, and where its labels go; a kind that is not asked for is null. */
struct image {
    const uint16_t *features[MOST_SIDES];     /* of each level of full resolution: (resolution, resolution, channels) */
    const uint16_t *projected[MOST_SIDES];    /* (side, side, shared) */
    uint8_t *mask;                            /* (resolution, resolution) */
    float *divergence;                        /* (resolution, resolution) */
    float *heatmaps;                          /* (members, points, resolution, resolution) */
    float *depth, *depth_spread;              /* (resolution, resolution), standardised */
};

INLINE __m512 widened(__m256i halves) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16));
}

INLINE __m512bh pair(uint32_t of_two) {
    return (__m512bh)_mm512_set1_epi32((int)of_two);
}

/* 2^x for x <= 0, by Taylor's series around the nearest whole number: 7 terms are exact to float32. */
INLINE __m512 power_of_two(__m512 x) {
    const __m512 whole = _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    const __m512 r = _mm512_mul_ps(_mm512_sub_ps(x, whole), _mm512_set1_ps(0.693147180559945f));
    __m512 sum = _mm512_set1_ps(1.0f / 5040);
    sum = _mm512_fmadd_ps(sum, r, _mm512_set1_ps(1.0f / 720));
    sum = _mm512_fmadd_ps(sum, r, _mm512_set1_ps(1.0f / 120));
    sum = _mm512_fmadd_ps(sum, r, _mm512_set1_ps(1.0f / 24));
    sum = _mm512_fmadd_ps(sum, r, _mm512_set1_ps(1.0f / 6));
    sum = _mm512_fmadd_ps(sum, r, _mm512_set1_ps(0.5f));
    sum = _mm512_fmadd_ps(sum, r, _mm512_set1_ps(1.0f));
    sum = _mm512_fmadd_ps(sum, r, _mm512_set1_ps(1.0f));
    return _mm512_scalef_ps(sum, whole);
}

/* log x for normal x > 0: the exponent, and of the mantissa m in [0.71, 1.42) the series 2 artanh((m - 1) / (m + 1)). */
INLINE __m512 logarithm(__m512 x) {
    __m512 m = _mm512_getmant_ps(x, _MM_MANT_NORM_1_2, _MM_MANT_SIGN_src);
    __m512 exponent = _mm512_getexp_ps(x);
    const __mmask16 large = _mm512_cmp_ps_mask(m, _mm512_set1_ps(1.41421356f), _CMP_GE_OQ);
    const __m512 one = _mm512_set1_ps(1.0f);
    m = _mm512_mask_mul_ps(m, large, m, _mm512_set1_ps(0.5f));
    exponent = _mm512_mask_add_ps(exponent, large, exponent, one);
    const __m512 s = _mm512_div_ps(_mm512_sub_ps(m, one), _mm512_add_ps(m, one));
    const __m512 square = _mm512_mul_ps(s, s);
    __m512 sum = _mm512_set1_ps(2.0f / 9);
    sum = _mm512_fmadd_ps(sum, square, _mm512_set1_ps(2.0f / 7));
    sum = _mm512_fmadd_ps(sum, square, _mm512_set1_ps(2.0f / 5));
    sum = _mm512_fmadd_ps(sum, square, _mm512_set1_ps(2.0f / 3));
    sum = _mm512_fmadd_ps(sum, square, _mm512_set1_ps(2.0f));
    return _mm512_fmadd_ps(exponent, _mm512_set1_ps(0.693147180559945f), _mm512_mul_ps(sum, s));
}

/* Rows of 16 uint32, in place: row i takes what was column i. */
INLINE void transpose(__m512i *rows) {
    __m512i other[LANES];
#pragma GCC unroll 8
    for (int i = 0; i < LANES; i += 2) {
        other[i] = _mm512_unpacklo_epi32(rows[i], rows[i + 1]);
        other[i + 1] = _mm512_unpackhi_epi32(rows[i], rows[i + 1]);
    }
#pragma GCC unroll 4
    for (int i = 0; i < LANES; i += 4) {
        rows[i] = _mm512_unpacklo_epi64(other[i], other[i + 2]);
        rows[i + 1] = _mm512_unpackhi_epi64(other[i], other[i + 2]);
        rows[i + 2] = _mm512_unpacklo_epi64(other[i + 1], other[i + 3]);
        rows[i + 3] = _mm512_unpackhi_epi64(other[i + 1], other[i + 3]);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        other[i] = _mm512_shuffle_i32x4(rows[i], rows[i + 4], 0x88);
        other[i + 4] = _mm512_shuffle_i32x4(rows[i], rows[i + 4], 0xdd);
        other[i + 8] = _mm512_shuffle_i32x4(rows[i + 8], rows[i + 12], 0x88);
        other[i + 12] = _mm512_shuffle_i32x4(rows[i + 8], rows[i + 12], 0xdd);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        rows[i] = _mm512_shuffle_i32x4(other[i], other[i + 8], 0x88);
        rows[i + 8] = _mm512_shuffle_i32x4(other[i], other[i + 8], 0xdd);
        rows[i + 4] = _mm512_shuffle_i32x4(other[i + 4], other[i + 12], 0x88);
        rows[i + 12] = _mm512_shuffle_i32x4(other[i + 4], other[i + 12], 0xdd);
    }
}

/* Where a pixel of the output lies among `side` places, bilinear with `align_corners=False`: where the values of its two
 * neighbours begin, and the second one's share. */
struct place {
    int32_t before, after;
    float share;
};

/* `values`: of each place, one behind the other. */
INLINE struct place place_of(int pixel, int side, int resolution, int values) {
    float where = (pixel + 0.5f) * ((float)side / (float)resolution) - 0.5f;
    if (where < 0) where = 0;
    const int before = (int)where;
    const int after = before + 1 < side ? before + 1 : before;
    return (struct place){before * values, after * values, where - (float)before};
}

/* The projections of every side at the height of output row `row`, float32 (side, shared) one after another. */
INLINE void interpolate_down(const struct network *net, const struct image *image, int row, float *out) {
    for (int s = 0; s < net->sides; s++) {
        const int side = net->side[s], values = side * net->shared;
        const struct place place = place_of(row, side, net->resolution, values);
        const uint16_t *above = image->projected[s] + place.before, *below = image->projected[s] + place.after;
        const __m512 share = _mm512_set1_ps(place.share);
        for (int i = 0; i < values; i += LANES) {
            const __m512 a = widened(_mm256_loadu_si256((const __m256i *)(above + i)));
            const __m512 b = widened(_mm256_loadu_si256((const __m256i *)(below + i)));
            _mm512_storeu_ps(out + i, _mm512_fmadd_ps(share, _mm512_sub_ps(b, a), a));
        }
        out += values;
    }
}

/* `count` times 16 units of the first layer of 8 pixels, after the activation, as bfloat16 (8, shared). */
INLINE void first_layer(const struct network *net, const struct image *image, const float *down,
                        const struct place *places, int64_t pixel, int unit, int count, uint16_t *out) {
    const int64_t shared = net->shared; /* 64 bits: the compiler need not widen every index anew */
    __m512 sums[8][3];
#pragma GCC unroll 8
    for (int p = 0; p < 8; p++)
#pragma GCC unroll 3
        for (int j = 0; j < count; j++) sums[p][j] = _mm512_loadu_ps(net->offset + unit + j * LANES);
    const struct place *of_side = places;
    for (int s = 0; s < net->sides; s++) {
#pragma GCC unroll 8
        for (int p = 0; p < 8; p++) {
            const struct place *place = of_side + p;
            const __m512 right = _mm512_set1_ps(place->share), left = _mm512_set1_ps(1.0f - place->share);
            const float *before = down + unit + place->before, *after = down + unit + place->after;
#pragma GCC unroll 3
            for (int j = 0; j < count; j++) {
                sums[p][j] = _mm512_fmadd_ps(left, _mm512_loadu_ps(before + j * LANES), sums[p][j]);
                sums[p][j] = _mm512_fmadd_ps(right, _mm512_loadu_ps(after + j * LANES), sums[p][j]);
            }
        }
        down += net->side[s] * shared;
        of_side += net->resolution;
    }
    for (int level = 0; level < net->levels; level++) {
        const int64_t pairs = net->channels[level] / 2;
        const uint32_t *x = (const uint32_t *)image->features[level] + pixel * pairs, *end = x + pairs;
        const uint32_t *weights = net->level_weights[level] + unit;
        for (; x < end; x++, weights += shared) {
            __m512bh w[3];
#pragma GCC unroll 3
            for (int j = 0; j < count; j++) w[j] = (__m512bh)_mm512_loadu_si512(weights + j * LANES);
#pragma GCC unroll 8
            for (int p = 0; p < 8; p++)
#pragma GCC unroll 3
                for (int j = 0; j < count; j++) sums[p][j] = _mm512_dpbf16_ps(sums[p][j], w[j], pair(x[p * pairs]));
        }
    }
#pragma GCC unroll 8
    for (int p = 0; p < 8; p++)
#pragma GCC unroll 3
        for (int j = 0; j < count; j++) {
            const __m256bh halves = _mm512_cvtneps_pbh(_mm512_max_ps(_mm512_setzero_ps(), sums[p][j]));
            _mm256_storeu_si256((__m256i *)(out + p * shared + unit + j * LANES), (__m256i)halves);
        }
}

/* `count` hidden units of a member for 16 pixels, after the activation. */
INLINE void hidden_units(const __m512i *x, int pairs, const uint32_t *weights, int width, const float *offset,
                         int count, __m512 *out) {
    __m512 sums[24];
#pragma GCC unroll 24
    for (int u = 0; u < count; u++) sums[u] = _mm512_set1_ps(offset[u]);
    for (int k = 0; k < pairs; k++, weights += width) {
        const __m512bh both = (__m512bh)x[k];
#pragma GCC unroll 24
        for (int u = 0; u < count; u++) sums[u] = _mm512_dpbf16_ps(sums[u], both, pair(weights[u]));
    }
#pragma GCC unroll 24
    for (int u = 0; u < count; u++) out[u] = _mm512_max_ps(_mm512_setzero_ps(), sums[u]);
}

/* `count` outputs of a member for 16 pixels. */
INLINE void output_units(const __m512 *x, int hidden, const float *weights, int width, const float *offset, int count,
                         __m512 *out) {
    __m512 sums[24];
#pragma GCC unroll 24
    for (int o = 0; o < count; o++) sums[o] = _mm512_set1_ps(offset[o]);
    for (int k = 0; k < hidden; k++, weights += width) {
        const __m512 of_pixels = x[k];
#pragma GCC unroll 24
        for (int o = 0; o < count; o++) sums[o] = _mm512_fmadd_ps(of_pixels, _mm512_set1_ps(weights[o]), sums[o]);
    }
#pragma GCC unroll 24
    for (int o = 0; o < count; o++) out[o] = sums[o];
}

KERNEL static void all_hidden(const struct network *net, int member, const __m512i *x, __m512 *out) {
    const int width = net->hidden, pairs = net->shared / 2;
    const uint32_t *weights = net->hidden_weights + (int64_t)member * pairs * width;
    const float *offset = net->hidden_offset + member * width;
    int u = 0;
    for (; u + 24 <= width; u += 24) hidden_units(x, pairs, weights + u, width, offset + u, 24, out + u);
    for (; u + 16 <= width; u += 16) hidden_units(x, pairs, weights + u, width, offset + u, 16, out + u);
    for (; u < width; u += 8) hidden_units(x, pairs, weights + u, width, offset + u, 8, out + u);
}

KERNEL static void all_outputs(const struct network *net, int member, const __m512 *x, __m512 *out) {
    const int width = net->outputs, hidden = net->hidden;
    const float *weights = net->output_weights + (int64_t)member * hidden * width;
    const float *offset = net->output_offset + member * width;
    int o = 0;
    for (; o + 24 <= width; o += 24) output_units(x, hidden, weights + o, width, offset + o, 24, out + o);
    for (; o + 16 <= width; o += 16) output_units(x, hidden, weights + o, width, offset + o, 16, out + o);
    for (; o + 12 <= width; o += 12) output_units(x, hidden, weights + o, width, offset + o, 12, out + o);
    for (; o + 8 <= width; o += 8) output_units(x, hidden, weights + o, width, offset + o, 8, out + o);
    for (; o < width; o += 4) output_units(x, hidden, weights + o, width, offset + o, 4, out + o);
}

/* Add a member's probabilities to `sums`; returns the mean of its log-probabilities, that is minus its entropy. */
INLINE __m512 add_probabilities(const __m512 *logits, int classes, __m512 *sums) {
    __m512 powers[MOST_OUTPUTS];
    __m512 largest = logits[0], total = _mm512_setzero_ps(), weighted = _mm512_setzero_ps();
    for (int k = 1; k < classes; k++) largest = _mm512_max_ps(largest, logits[k]);
    for (int k = 0; k < classes; k++) {
        const __m512 below = _mm512_sub_ps(logits[k], largest);
        powers[k] = power_of_two(_mm512_mul_ps(below, _mm512_set1_ps(1.44269504088896f)));
        total = _mm512_add_ps(total, powers[k]);
        weighted = _mm512_fmadd_ps(powers[k], below, weighted);
    }
    const __m512 share = _mm512_div_ps(_mm512_set1_ps(1.0f), total);
    for (int k = 0; k < classes; k++) sums[k] = _mm512_fmadd_ps(powers[k], share, sums[k]);
    return _mm512_sub_ps(_mm512_mul_ps(weighted, share), logarithm(total));
}

/* The first class of the largest mean probability, and the Jensen-Shannon divergence of the members. */
INLINE void decide(const struct network *net, const struct image *image, int64_t pixel, const __m512 *sums,
                   __m512 of_members) {
    const __m512 each = _mm512_set1_ps(1.0f / (float)net->members);
    __m512 most = _mm512_set1_ps(-1.0f), divergence = _mm512_mul_ps(of_members, each);
    __m512i class = _mm512_setzero_si512();
    for (int k = 0; k < net->classes; k++) {
        const __m512 p = _mm512_mul_ps(sums[k], each);
        const __mmask16 more = _mm512_cmp_ps_mask(p, most, _CMP_GT_OQ);
        class = _mm512_mask_mov_epi32(class, more, _mm512_set1_epi32(k));
        most = _mm512_max_ps(most, p);
        divergence = _mm512_fnmadd_ps(p, logarithm(_mm512_max_ps(p, _mm512_set1_ps(1e-30f))), divergence);
    }
    _mm_storeu_si128((__m128i *)(image->mask + pixel), _mm512_cvtepi32_epi8(class));
    _mm512_storeu_ps(image->divergence + pixel, _mm512_max_ps(_mm512_setzero_ps(), divergence));
}

/* Ask for the features of pixels that come a little later: what the cache would fetch ahead by itself ends with every
 * page, and a row of an image is about one. */
INLINE void fetch_ahead(const struct network *net, const struct image *image, int64_t pixel) {
    for (int level = 0; level < net->levels; level++) {
        const int64_t bytes = net->channels[level] * (int64_t)sizeof(uint16_t);
        const char *later = (const char *)image->features[level] + (pixel + AHEAD) * bytes;
        for (int64_t at = 0; at < LANES * bytes; at += 64) _mm_prefetch(later + at, _MM_HINT_T0);
    }
}

KERNEL static void label_pixels(const struct network *net, const struct image *image, const float *down,
                                const struct place *places, int64_t pixel) {
    uint16_t first[LANES * MOST_SHARED] __attribute__((aligned(64)));
    __m512i x[MOST_SHARED / 2];
    __m512 hidden[MOST_HIDDEN], outputs[MOST_OUTPUTS], sums[MOST_OUTPUTS];
    const int shared = net->shared, area = net->resolution * net->resolution;
    fetch_ahead(net, image, pixel);
    for (int half = 0; half < 2; half++) {
        uint16_t *out = first + half * 8 * shared;
        int unit = 0;
        for (; unit + 48 <= shared; unit += 48)
            first_layer(net, image, down, places + half * 8, pixel + half * 8, unit, 3, out);
        if (unit + 32 <= shared) {
            first_layer(net, image, down, places + half * 8, pixel + half * 8, unit, 2, out);
            unit += 32;
        }
        if (unit < shared) first_layer(net, image, down, places + half * 8, pixel + half * 8, unit, 1, out);
    }
    for (int pairs = 0; pairs < shared / 2; pairs += LANES) {
        const int left = shared / 2 - pairs;
        const __mmask16 there = left >= LANES ? 0xffff : (__mmask16)((1u << left) - 1);
        __m512i rows[LANES];
        for (int p = 0; p < LANES; p++)
            rows[p] = _mm512_maskz_loadu_epi32(there, (const uint32_t *)(first + p * shared) + pairs);
        transpose(rows);
        for (int k = 0; k < LANES && k < left; k++) x[pairs + k] = rows[k];
    }
    __m512 of_members = _mm512_setzero_ps(), mean = of_members, square = of_members;
    for (int k = 0; k < net->classes; k++) sums[k] = _mm512_setzero_ps();
    float depths[MOST_MEMBERS][LANES];
    for (int member = 0; member < net->members; member++) {
        all_hidden(net, member, x, hidden);
        all_outputs(net, member, hidden, outputs);
        if (net->classes) of_members = _mm512_add_ps(of_members, add_probabilities(outputs, net->classes, sums));
        for (int point = 0; point < net->points; point++)
            _mm512_storeu_ps(image->heatmaps + (int64_t)(member * net->points + point) * area + pixel,
                             outputs[net->classes + point]);
        if (net->depth) {
            const __m512 depth = outputs[net->classes + net->points];
            _mm512_storeu_ps(depths[member], depth);
            mean = _mm512_add_ps(mean, depth);
        }
    }
    if (net->classes) decide(net, image, pixel, sums, of_members);
    if (net->depth) {
        const __m512 each = _mm512_set1_ps(1.0f / (float)net->members);
        mean = _mm512_mul_ps(mean, each);
        for (int member = 0; member < net->members; member++) {
            const __m512 off = _mm512_sub_ps(_mm512_loadu_ps(depths[member]), mean);
            square = _mm512_fmadd_ps(off, off, square);
        }
        _mm512_storeu_ps(image->depth + pixel, mean);
        _mm512_storeu_ps(image->depth_spread + pixel, _mm512_sqrt_ps(_mm512_mul_ps(square, each)));
    }
}

/* What caller and callee must agree on, in the caller's order. */
static const int32_t agreed[] = {INTERFACE,    LANES,        MOST_SIDES,             MOST_SHARED,          MOST_HIDDEN,
                                 MOST_OUTPUTS, MOST_MEMBERS, sizeof(struct network), sizeof(struct image), sizeof(struct place)};

/* Whether the caller means this code. */
int is_meant(const int32_t *facts, int32_t count) {
    if (count != sizeof(agreed) / sizeof(agreed[0])) return 0;
    for (int i = 0; i < count; i++)
        if (facts[i] != agreed[i]) return 0;
    return 1;
}

/* Whether this processor can run the rest. */
int is_supported(void) {
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
}

/* Label rows `top` to `bottom` of an image. Scratch: `down` for shared times the sum of all sides, `places` for
 * resolution times the number of sides. */
KERNEL void label_rows(const struct network *net, const struct image *image, int top, int bottom, float *down,
                       struct place *places) {
    const int resolution = net->resolution;
    for (int s = 0; s < net->sides; s++)
        for (int column = 0; column < resolution; column++)
            places[s * resolution + column] = place_of(column, net->side[s], resolution, net->shared);
    for (int row = top; row < bottom; row++) {
        interpolate_down(net, image, row, down);
        for (int column = 0; column < resolution; column += LANES)
            label_pixels(net, image, down, places + column, (int64_t)row * resolution + column);
    }
}
