# mypy: disable-error-code="untyped-decorator,no-untyped-def,no-any-return"
# ruff: noqa: ANN001, ANN201, ANN202, N803, SIM108
# Triton reads the annotations of these functions itself: constants carry tl.constexpr and by custom capital names,
# pointers and numbers carry none. It compiles both sides of a conditional expression, but one of a statement.
"""The Triton programs behind :mod:`vos_zoo.memory.backends.triton_kernel`. Importing this module imports Triton."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit(do_not_specialize=["first", "rows", "count", "query_rows", "keys_rows", "bias_batch"])
def group_maxima(
    query,
    keys,
    bias,
    maxima,
    first,
    rows,
    count,
    scale,
    query_rows,
    query_row,
    keys_rows,
    keys_row,
    bias_batch,
    maxima_row,
    WIDTH: tl.constexpr,
    CHANNELS: tl.constexpr,
    HAS_BIAS: tl.constexpr,
    GROUP: tl.constexpr,
    PRECISION: tl.constexpr,
    ROWS: tl.constexpr,
    TOKENS: tl.constexpr,
):
    """Largest similarity of each query to each group of consecutive tokens, which may be single ones."""
    row_tiles = tl.cdiv(rows, ROWS)
    row = (tl.program_id(0) % row_tiles) * ROWS + tl.arange(0, ROWS)
    tile = tl.program_id(0) // row_tiles
    token = tile * TOKENS + tl.arange(0, TOKENS)
    entry = tl.program_id(1).to(tl.int64)
    query_start = (entry * query_rows + first + row) * query_row
    keys_start = (entry * keys_rows + token) * keys_row
    similarity = tl.zeros((ROWS, TOKENS), tl.float32)
    # A few channels at a time: whole keys would not fit the registers beside the products.
    for start in range(0, WIDTH, CHANNELS):
        channel = start + tl.arange(0, CHANNELS)
        query_tile = tl.load(
            query + query_start[:, None] + channel[None, :],
            mask=(row[:, None] < rows) & (channel[None, :] < WIDTH),
            other=0.0,
        )
        key_tile = tl.load(
            keys + keys_start[None, :] + channel[:, None],
            mask=(token[None, :] < count) & (channel[:, None] < WIDTH),
            other=0.0,
        )
        similarity += tl.dot(query_tile, key_tile, input_precision=PRECISION)
    similarity *= scale
    if HAS_BIAS:
        token_bias = tl.load(bias + entry * bias_batch + token, mask=token < count, other=float("-inf"))
        similarity += token_bias[None, :]
    similarity = tl.where(token[None, :] < count, similarity, float("-inf"))
    if GROUP == 1:
        largest = similarity
    else:
        largest = tl.max(tl.reshape(similarity, (ROWS, TOKENS // GROUP, GROUP)), 2)
    group = tile * (TOKENS // GROUP) + tl.arange(0, TOKENS // GROUP)
    tl.store(
        maxima + (entry * rows + row[:, None]) * maxima_row + group[None, :],
        largest,
        mask=(row[:, None] < rows) & (group[None, :] < tl.cdiv(count, GROUP)),
    )


@triton.jit(do_not_specialize=["rows", "groups", "entries"])
def narrow_groups(
    maxima,
    places,
    narrowed,
    rows,
    groups,
    entries,
    maxima_row,
    places_row,
    narrowed_row,
    K: tl.constexpr,
    PART: tl.constexpr,
    HAS_PLACES: tl.constexpr,
):
    """The K best groups of a part of a query's groups, ascending; all of them, or those that ``places`` names."""
    row = tl.program_id(2).to(tl.int64) * rows + tl.program_id(0)
    group, values, exists = _groups(
        maxima + row * maxima_row, places + row * places_row, tl.program_id(1) * PART, groups, entries, PART, HAS_PLACES
    )
    keep = _largest(values, exists, K)
    place = tl.program_id(1) * K + tl.cumsum(keep.to(tl.int32), 0) - 1
    tl.store(narrowed + row * narrowed_row + place, group, mask=keep)


@triton.jit(do_not_specialize=["first", "rows", "queries", "count", "table_rows"])
def read_best(
    scores,
    table,
    tokens,
    weights,
    out,
    first,
    rows,
    queries,
    count,
    columns,
    scores_row,
    table_rows,
    table_row,
    TOP_K: tl.constexpr,
    PADDED_K: tl.constexpr,
    PADDED_ENTRIES: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """Top-k tokens of one query, whose similarities are known, their softmax weights, and the sum of their rows."""
    entry = tl.program_id(1).to(tl.int64)
    row = entry * queries + first + tl.program_id(0)
    token = tl.arange(0, PADDED_ENTRIES)
    exists = token < count
    values = tl.load(scores + (entry * rows + tl.program_id(0)) * scores_row + token, mask=exists, other=float("-inf"))
    _keep_best(values, exists, token, tokens, weights, row, TOP_K)
    _sum_rows(table, tokens, weights, out, entry, row, columns, table_rows, table_row, TOP_K, PADDED_K, COLUMNS)


@triton.jit(
    do_not_specialize=[
        *("first", "rows", "queries", "count", "entries"),
        *("query_rows", "keys_rows", "bias_batch", "table_rows"),
    ]
)
def read_best_of_groups(
    query,
    keys,
    bias,
    maxima,
    places,
    chosen,
    table,
    tokens,
    weights,
    out,
    first,
    rows,
    queries,
    count,
    entries,
    columns,
    scale,
    query_rows,
    query_row,
    keys_rows,
    keys_row,
    bias_batch,
    maxima_row,
    places_row,
    table_rows,
    table_row,
    WIDTH: tl.constexpr,
    CHANNELS: tl.constexpr,
    HAS_BIAS: tl.constexpr,
    GROUP: tl.constexpr,
    K: tl.constexpr,
    PADDED_GROUPS: tl.constexpr,
    PADDED_ENTRIES: tl.constexpr,
    HAS_PLACES: tl.constexpr,
    TOP_K: tl.constexpr,
    PADDED_K: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """The same among the tokens of the K best groups, whose similarities are computed again."""
    entry = tl.program_id(1).to(tl.int64)
    row = entry * rows + tl.program_id(0)
    group, group_values, is_group = _groups(
        maxima + row * maxima_row, places + row * places_row, 0, tl.cdiv(count, GROUP), entries, PADDED_ENTRIES,
        HAS_PLACES,
    )  # fmt: skip
    keep_group = _largest(group_values, is_group, K)
    tl.store(chosen + row * PADDED_GROUPS + tl.cumsum(keep_group.to(tl.int32), 0) - 1, group, mask=keep_group)
    tl.debug_barrier()  # other threads of this program read what these have written
    candidate = tl.arange(0, PADDED_GROUPS * GROUP)
    is_chosen = candidate < K * GROUP
    # Groups ascend, so candidates stand in token order and ties can be settled by position.
    token = tl.load(chosen + row * PADDED_GROUPS + candidate // GROUP, mask=is_chosen, other=0)
    token = token * GROUP + candidate % GROUP
    exists = is_chosen & (token < count)
    products = tl.zeros((PADDED_GROUPS * GROUP,), dtype=tl.float32)
    query_start = (entry * query_rows + first + tl.program_id(0)) * query_row
    keys_start = (entry * keys_rows + token) * keys_row
    for start in range(0, WIDTH, CHANNELS):
        channel = start + tl.arange(0, CHANNELS)
        query_part = tl.load(query + query_start + channel, mask=channel < WIDTH, other=0.0)
        key_part = tl.load(
            keys + keys_start[:, None] + channel[None, :],
            mask=exists[:, None] & (channel[None, :] < WIDTH),
            other=0.0,
        )
        products += tl.sum(key_part.to(tl.float32) * query_part.to(tl.float32)[None, :], 1)
    values = products * scale
    if HAS_BIAS:
        values += tl.load(bias + entry * bias_batch + token, mask=exists, other=float("-inf"))
    values = tl.where(exists, values, float("-inf"))
    row = entry * queries + first + tl.program_id(0)
    _keep_best(values, exists, token, tokens, weights, row, TOP_K)
    _sum_rows(table, tokens, weights, out, entry, row, columns, table_rows, table_row, TOP_K, PADDED_K, COLUMNS)


@triton.jit(do_not_specialize=["queries", "table_rows"])
def weighted_rows(
    table,
    tokens,
    weights,
    out,
    queries,
    columns,
    table_rows,
    table_row,
    TOP_K: tl.constexpr,
    PADDED_K: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """Weighted sum of chosen rows of a token-major table for one query."""
    entry = tl.program_id(1).to(tl.int64)
    row = entry * queries + tl.program_id(0)
    _sum_rows(table, tokens, weights, out, entry, row, columns, table_rows, table_row, TOP_K, PADDED_K, COLUMNS)


@triton.jit
def _keep_best(values, exists, token, tokens, weights, row, TOP_K: tl.constexpr):
    """Write the tokens of the largest values, which ascend, and their softmax weights, for all threads to read."""
    keep = _largest(values, exists, TOP_K)
    weight = tl.where(keep, tl.exp(values - tl.max(values, 0)), 0.0)
    weight = weight / tl.sum(weight, 0)
    place = tl.cumsum(keep.to(tl.int32), 0) - 1
    tl.store(tokens + row * TOP_K + place, token, mask=keep)
    tl.store(weights + row * TOP_K + place, weight, mask=keep)
    tl.debug_barrier()  # other threads of this program read what these have written


@triton.jit
def _sum_rows(
    table,
    tokens,
    weights,
    out,
    entry,
    row,
    columns,
    table_rows,
    table_row,
    TOP_K: tl.constexpr,
    PADDED_K: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """Write the weighted sum of an entry's rows of the table for one query, some columns at a time."""
    place = tl.arange(0, PADDED_K)
    token = tl.load(tokens + row * TOP_K + place, mask=place < TOP_K, other=0).to(tl.int64)
    weight = tl.load(weights + row * TOP_K + place, mask=place < TOP_K, other=0.0)
    for start in range(0, columns, COLUMNS):
        column = start + tl.arange(0, COLUMNS)
        rows = tl.load(
            table + entry * table_rows * table_row + token[:, None] * table_row + column[None, :],
            mask=(place[:, None] < TOP_K) & (column[None, :] < columns),
            other=0.0,
        )
        total = tl.sum(rows.to(tl.float32) * weight[:, None], 0)
        tl.store(out + row * columns + column, total.to(out.dtype.element_ty), mask=column < columns)


@triton.jit
def _groups(maxima, places, start, groups, entries, PART: tl.constexpr, HAS_PLACES: tl.constexpr):
    """Numbers and maxima of a part of a query's groups, and which of them exist; the others have the last numbers."""
    place = start + tl.arange(0, PART)
    if HAS_PLACES:
        group = tl.load(places + place, mask=place < entries, other=groups)
    else:
        group = place
    exists = (place < entries) & (group < groups)
    return group, tl.load(maxima + group, mask=exists, other=float("-inf")), exists


@triton.jit
def _largest(values, exists, K: tl.constexpr):
    """Mark exactly K places: the largest values, the lower place first among equals, missing places last of all."""
    # Order-preserving image of a float among the unsigned integers. Zero is mapped once, not twice; missing places get
    # the image 0, which lies below that of minus infinity.
    bits = tl.where(values == 0.0, 0.0, values).to(tl.uint32, bitcast=True)
    image = tl.where(bits >= 0x80000000, bits ^ 0xFFFFFFFF, bits | 0x80000000)
    image = tl.where(exists, image, 0)
    # Bit by bit from the top: the largest number that at least K images reach is the K-th largest image.
    threshold = tl.zeros((1,), dtype=tl.uint32)
    bit = tl.full((1,), 0x80000000, dtype=tl.uint32)
    for _ in range(32):
        trial = threshold | bit
        reached = tl.sum((image >= trial).to(tl.int32), 0)
        threshold = tl.where(reached >= K, trial, threshold)
        bit = bit >> 1
    above = image > threshold
    level = image == threshold
    needed = K - tl.sum(above.to(tl.int32), 0)
    return above | (level & (tl.cumsum(level.to(tl.int32), 0) <= needed))
