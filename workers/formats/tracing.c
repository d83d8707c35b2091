/* Masks to outlines and run lengths, one mask a call. The plain way, which this is compared with and which
 * gives the same in every number, is workers/formats/regions.py and workers/formats/runs.py; tracing.py calls
 * this.
 *
 * A border runs between pixels. It is walked clockwise around what it encloses, so that the pixel whose border it is
 * lies to the right; where two pixels of a class touch at a corner only, it goes over to the other one. */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* To be raised with every change that a caller of the older one would not notice. */
#define INTERFACE 3

/* Pixels of one class that touch each other. Its outline is points[first] to points[first + count]; right and bottom
 * lie behind the last pixel. */
struct region {
    int32_t value, first, count, pixels, left, top, right, bottom;
};

/* A closed border: around a region, or around a hole in one. */
struct border {
    int32_t run;              /* one of the runs of pixels that it belongs to, and later the first one of its region */
    int32_t first, count;     /* its corners */
    int32_t start;            /* the topmost corner, of those the leftmost one */
    int64_t area;             /* in pixels; below 0 around a hole */
    int32_t left, top, right, bottom;
    int32_t next;             /* of a region: its first hole; of a hole: the next one */
};

struct point {
    int32_t x, y;
};

struct state {
    const uint8_t *mask;
    int32_t height, width;
    int32_t *run_of;          /* of each pixel */
    int32_t *parent;          /* of each run: one of the same region */
    uint8_t *walked;          /* of each pixel, whether its upper border was */
    struct point *corners;
    int32_t corner_count, most_corners;
};

static const int32_t STEP_X[4] = {1, 0, -1, 0}, STEP_Y[4] = {0, 1, 0, -1};
/* From the corner where one stands to the pixels ahead, by direction: east, south, west, north. */
static const int32_t LEFT_X[4] = {0, 0, -1, -1}, LEFT_Y[4] = {-1, 0, 0, -1};
static const int32_t RIGHT_X[4] = {0, -1, -1, 0}, RIGHT_Y[4] = {0, 0, -1, -1};

static int32_t root(int32_t *parent, int32_t run) {
    while (parent[run] != run) run = parent[run] = parent[parent[run]];
    return run;
}

/* Cut rows into runs of equal pixels, and put runs together that touch, if only at a corner. */
static void connect(struct state *s) {
    int32_t runs = 0;
    for (int32_t y = 0; y < s->height; y++) {
        const uint8_t *row = s->mask + (int64_t)y * s->width, *above = row - s->width;
        int32_t *own = s->run_of + (int64_t)y * s->width, *upper = own - s->width;
        for (int32_t begin = 0, end; begin < s->width; begin = end) {
            const uint8_t value = row[begin];
            for (end = begin; end < s->width && row[end] == value; end++) own[end] = runs;
            s->parent[runs] = runs;
            if (y > 0) {
                const int32_t last = end < s->width ? end : s->width - 1;
                int32_t seen = -1;
                for (int32_t x = begin > 0 ? begin - 1 : 0; x <= last; x++) {
                    if (above[x] != value || upper[x] == seen) continue;
                    seen = upper[x];
                    const int32_t one = root(s->parent, seen), other = root(s->parent, runs);
                    if (one < other) s->parent[other] = one;
                    else s->parent[one] = other;
                }
            }
            runs++;
        }
    }
}

static int is_there(const struct state *s, int32_t x, int32_t y, uint8_t value) {
    return x >= 0 && y >= 0 && x < s->width && y < s->height && s->mask[(int64_t)y * s->width + x] == value;
}

/* Walk the border that begins above the pixel at x, y. Returns whether there was room for its corners. */
static int walk(struct state *s, int32_t x, int32_t y, struct border *border) {
    const uint8_t value = s->mask[(int64_t)y * s->width + x];
    const int32_t from_x = x, from_y = y, first = s->corner_count;
    int64_t area = 0;
    int32_t direction = 0, start = first;
    border->left = border->right = x;
    border->top = border->bottom = y;
    do {
        /* Here a side begins. */
        if (s->corner_count == s->most_corners) return 0;
        struct point *corner = s->corners + s->corner_count;
        *corner = (struct point){x, y};
        const struct point topmost = s->corners[start];
        if (y < topmost.y || (y == topmost.y && x < topmost.x)) start = s->corner_count;
        s->corner_count++;
        if (x < border->left) border->left = x;
        if (x > border->right) border->right = x;
        if (y < border->top) border->top = y;
        if (y > border->bottom) border->bottom = y;
        int32_t before;
        do {
            if (direction == 0) s->walked[(int64_t)y * s->width + x] = 1, area -= y;
            if (direction == 2) area += y;
            x += STEP_X[direction];
            y += STEP_Y[direction];
            before = direction;
            if (is_there(s, x + LEFT_X[direction], y + LEFT_Y[direction], value)) direction = (direction + 3) & 3;
            else if (!is_there(s, x + RIGHT_X[direction], y + RIGHT_Y[direction], value))
                direction = (direction + 1) & 3;
        } while (direction == before);
    } while (x != from_x || y != from_y || direction != 0);
    border->first = first;
    border->count = s->corner_count - first;
    border->start = start;
    border->area = area;
    border->next = -1;
    return 1;
}

/* The i-th corner of a border from its start on, against the direction in which it was walked. */
static struct point corner_of(const struct state *s, const struct border *border, int32_t i) {
    int32_t place = border->start - border->first - i;
    if (place < 0) place += border->count;
    return s->corners[border->first + place];
}

static int is_before(struct point one, struct point other) {
    return one.y < other.y || (one.y == other.y && one.x < other.x);
}

/* A hole, and where the seam to it leaves the region's border: at the corner nearest to the hole's start, the first of
 * those. */
struct seam {
    int32_t place, hole;
    struct point start;
};

/* A region's own corners by the row they lie in: those of row top + y are places[firsts[y]] to places[firsts[y + 1]],
 * in the outline's order. */
struct rows {
    int32_t *firsts, *places;
};

static void sort_by_row(const struct state *s, const struct border *outer, struct rows *rows) {
    const int32_t height = outer->bottom - outer->top + 1;
    memset(rows->firsts, 0, (height + 1) * sizeof *rows->firsts);
    for (int32_t i = 0; i < outer->count; i++) rows->firsts[corner_of(s, outer, i).y - outer->top + 1]++;
    for (int32_t y = 0; y < height; y++) rows->firsts[y + 1] += rows->firsts[y];
    for (int32_t i = 0; i < outer->count; i++) {
        const int32_t y = corner_of(s, outer, i).y - outer->top;
        rows->places[rows->firsts[y]++] = i;
    }
    memmove(rows->firsts + 1, rows->firsts, height * sizeof *rows->firsts);
    rows->firsts[0] = 0;
}

static struct seam seam_to(const struct state *s, const struct border *borders, const struct border *outer,
                           const struct rows *rows, int32_t hole) {
    const struct point start = corner_of(s, borders + hole, 0);
    int32_t place = 0, least = INT32_MAX;
    for (int32_t away = 0; away <= least && away <= outer->bottom - outer->top; away++)
        for (int32_t side = 0; side < (away ? 2 : 1); side++) {
            const int32_t y = (side ? start.y + away : start.y - away) - outer->top;
            if (y < 0 || y > outer->bottom - outer->top) continue;
            for (int32_t k = rows->firsts[y]; k < rows->firsts[y + 1]; k++) {
                const int32_t at = rows->places[k];
                const int32_t distance = away + abs(corner_of(s, outer, at).x - start.x);
                if (distance < least || (distance == least && at < place)) least = distance, place = at;
            }
        }
    return (struct seam){place, hole, start};
}

static int in_order(const void *first, const void *second) {
    const struct seam *one = first, *other = second;
    if (one->place != other->place) return one->place < other->place ? -1 : 1;
    return is_before(one->start, other->start) ? -1 : 1;
}

/* One outline of a region and its holes; `seams` has room for those. Returns how many points it has, or -1 where there
 * is no room. */
static int32_t join(const struct state *s, const struct border *borders, const struct border *outer,
                    struct rows *rows, struct seam *seams, struct point *points, int32_t room) {
    int32_t holes = 0, count = 0, from = 0;
    int64_t total = outer->count;
    for (int32_t hole = outer->next; hole >= 0; hole = borders[hole].next) total += borders[hole].count + 2;
    if (total > room) return -1;
    if (outer->next >= 0) sort_by_row(s, outer, rows);
    for (int32_t hole = outer->next; hole >= 0; hole = borders[hole].next)
        seams[holes++] = seam_to(s, borders, outer, rows, hole);
    qsort(seams, holes, sizeof *seams, in_order);
    for (int32_t k = 0; k < holes; k++) {
        const struct border *hole = borders + seams[k].hole;
        for (int32_t i = from; i <= seams[k].place; i++) points[count++] = corner_of(s, outer, i);
        for (int32_t i = 0; i < hole->count; i++) points[count++] = corner_of(s, hole, i);
        points[count++] = seams[k].start;
        from = seams[k].place;
    }
    for (int32_t i = from; i < outer->count; i++) points[count++] = corner_of(s, outer, i);
    return count;
}

/* The regions of the values that are wanted, by the place of their topmost row's first pixel.
 *
 * mask: (height, width). wanted: of each value, whether it is. points, regions: room for so many. Returns how many
 * regions there are, or -1 where there is no room for them, for their points or for what this needs itself. */
int32_t trace_regions(const uint8_t *mask, int32_t height, int32_t width, const uint8_t *wanted, struct point *points,
                      int32_t most_points, struct region *regions, int32_t most_regions) {
    const size_t pixels = (size_t)height * width;
    const int32_t most_borders = 2 * most_regions;
    struct state s = {.mask = mask, .height = height, .width = width, .most_corners = most_points};
    struct border *borders = malloc(most_borders * sizeof *borders);
    struct seam *seams = malloc(most_borders * sizeof *seams);
    struct rows rows = {malloc((height + 2) * sizeof *rows.firsts), malloc(most_points * sizeof *rows.places)};
    int32_t *of_run = malloc(pixels * sizeof *of_run); /* of a region's first run, the region's border */
    int32_t border_count = 0, found = -1, used = 0;
    s.run_of = malloc(pixels * sizeof *s.run_of);
    s.parent = malloc(pixels * sizeof *s.parent);
    s.walked = calloc(pixels, 1);
    s.corners = malloc(most_points * sizeof *s.corners);
    if (!borders || !seams || !rows.firsts || !rows.places || !of_run) goto end;
    if (!s.run_of || !s.parent || !s.walked || !s.corners) goto end;
    connect(&s);
    for (int32_t y = 0; y < height; y++) {
        const uint8_t *row = mask + (int64_t)y * width;
        for (int32_t x = 0; x < width; x++) {
            const int64_t pixel = (int64_t)y * width + x;
            if (!wanted[row[x]] || s.walked[pixel] || (y > 0 && row[x - width] == row[x])) continue;
            struct border *border = borders + border_count;
            if (border_count == most_borders || !walk(&s, x, y, border)) goto end;
            border->run = root(s.parent, s.run_of[pixel]);
            if (border->area > 0) {
                of_run[border->run] = border_count;
            } else { /* the region's own border was met before: it reaches further up */
                struct border *outer = borders + of_run[border->run];
                border->next = outer->next;
                outer->next = border_count;
                outer->area += border->area;
            }
            border_count++;
        }
    }
    int32_t count = 0;
    for (const struct border *border = borders; border < borders + border_count; border++) {
        if (border->area <= 0) continue;
        const int32_t length = join(&s, borders, border, &rows, seams, points + used, most_points - used);
        if (count == most_regions || length < 0) goto end;
        const struct point start = s.corners[border->start];
        regions[count++] = (struct region){mask[(int64_t)start.y * width + start.x], used, length, (int32_t)border->area,
                                           border->left, border->top, border->right, border->bottom};
        used += length;
    }
    found = count;
end:
    free(borders);
    free(seams);
    free(rows.firsts);
    free(rows.places);
    free(of_run);
    free(s.run_of);
    free(s.parent);
    free(s.walked);
    free(s.corners);
    return found;
}

/* Append a number as COCO writes those of run lengths: five bits a character, the lowest first, one more to say whether
 * another one follows. */
static char *append(char *text, int32_t number) {
    int more = 1;
    while (more) {
        int digit = number & 31;
        number >>= 5;
        more = digit & 16 ? number != -1 : number != 0;
        *text++ = (char)((more ? digit | 32 : digit) + 48);
    }
    return text;
}

#define TILE 32

/* Columns as rows, some at a time, so that what is read and what is written stays in the nearest cache. */
static void transpose(const uint8_t *mask, int32_t height, int32_t width, uint8_t *out) {
    for (int32_t top = 0; top < height; top += TILE)
        for (int32_t left = 0; left < width; left += TILE) {
            const int32_t bottom = top + TILE < height ? top + TILE : height;
            const int32_t right = left + TILE < width ? left + TILE : width;
            for (int32_t x = left; x < right; x++)
                for (int32_t y = top; y < bottom; y++)
                    out[(int64_t)x * height + y] = mask[(int64_t)y * width + x];
        }
}

/* The first place from `place` on that has not this value, eight of them at a time. */
static int32_t run_end(const uint8_t *column, int32_t place, int32_t pixels, uint8_t value) {
    const uint64_t all = 0x0101010101010101u * value;
    for (uint64_t eight; place + 8 <= pixels; place += 8) {
        memcpy(&eight, column + place, 8);
        if (eight != all) break;
    }
    while (place < pixels && column[place] == value) place++;
    return place;
}

/* Where the run lengths of one value end in the text. */
struct lengths {
    int32_t value, end;
};

/* The compressed run lengths of the values that are wanted, column by column, by rising value.
 *
 * classes: room for all 256 values. text: room for so many characters. Returns how many of the values are there, or -1
 * where there is no room. */
int32_t run_lengths(const uint8_t *mask, int32_t height, int32_t width, const uint8_t *wanted, struct lengths *classes,
                    char *text, int32_t most_text) {
    const int32_t pixels = height * width;
    int32_t *begins = malloc((pixels + 1) * sizeof *begins), found = -1, count = 0, runs = 0;
    uint8_t *columns = malloc(pixels), *values = malloc(pixels), is_there[256] = {0};
    if (!begins || !columns || !values) goto end;
    transpose(mask, height, width, columns);
    for (int32_t place = 0; place < pixels; place = run_end(columns, place, pixels, values[runs - 1])) {
        begins[runs] = place;
        values[runs++] = columns[place];
        is_there[columns[place]] = 1;
    }
    begins[runs] = pixels;
    char *to = text;
    for (int32_t value = 0; value < 256; value++) {
        if (!is_there[value] || !wanted[value]) continue;
        int32_t before[2] = {0, 0}, numbers = 0, end = 0;
        for (int32_t run = 0; run <= runs; run++) {
            if (run < runs && values[run] != value) continue;
            /* Seven characters hold any number of 32 bits. */
            if (to - text > most_text - 2 * 7) goto end;
            const int32_t outside = begins[run] - end;
            if (run == runs && outside == 0) break;
            to = append(to, numbers > 2 ? outside - before[0] : outside);
            before[0] = before[1], before[1] = outside, numbers++;
            if (run == runs) break;
            const int32_t inside = begins[run + 1] - begins[run];
            to = append(to, numbers > 2 ? inside - before[0] : inside);
            before[0] = before[1], before[1] = inside, numbers++;
            end = begins[run + 1];
        }
        classes[count++] = (struct lengths){value, (int32_t)(to - text)};
    }
    found = count;
end:
    free(begins);
    free(columns);
    free(values);
    return found;
}

/* Append a number that is not below 0 in decimal digits. */
static char *append_decimal(char *text, int32_t number) {
    char digits[10];
    int count = 0;
    do digits[count++] = (char)('0' + number % 10);
    while (number /= 10);
    while (count > 0) *text++ = digits[--count];
    return text;
}

/* x and y of the points of each outline, with commas between them, one outline behind the other: the next `counts[i]`
 * points are those of outline i, and its text ends at `ends[i]`. text: room for 22 characters a point. */
void write_outlines(const struct point *points, const int32_t *counts, int32_t outlines, char *text, int32_t *ends) {
    char *to = text;
    for (int32_t i = 0; i < outlines; i++) {
        for (int32_t k = 0; k < counts[i]; k++, points++) {
            if (k > 0) *to++ = ',';
            to = append_decimal(to, points->x);
            *to++ = ',';
            to = append_decimal(to, points->y);
        }
        ends[i] = (int32_t)(to - text);
    }
}

static const int32_t agreed[] = {INTERFACE, sizeof(struct region), sizeof(struct point), sizeof(struct lengths)};

/* Whether a caller that knows these facts is one for this code. */
int is_meant(const int32_t *facts, int32_t count) {
    if (count != sizeof(agreed) / sizeof(agreed[0])) return 0;
    for (int i = 0; i < count; i++)
        if (facts[i] != agreed[i]) return 0;
    return 1;
}
