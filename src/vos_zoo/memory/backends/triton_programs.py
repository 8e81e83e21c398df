# mypy: disable-error-code="untyped-decorator,no-untyped-def,no-any-return"
# ruff: noqa: ANN001, ANN201, ANN202, N803
# Triton reads the annotations of these functions itself: constants carry tl.constexpr and by custom capital names,
# pointers and numbers carry none.
"""The Triton programs behind :mod:`vos_zoo.memory.backends.triton_kernel`. Importing this module imports Triton."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def group_maxima(
    query,
    keys,
    bias,
    maxima,
    queries,
    count,
    groups,
    scale,
    query_batch,
    query_row,
    keys_batch,
    keys_row,
    bias_batch,
    WIDTH: tl.constexpr,
    PADDED_WIDTH: tl.constexpr,
    HAS_BIAS: tl.constexpr,
    GROUP: tl.constexpr,
    PRECISION: tl.constexpr,
    ROWS: tl.constexpr,
    TOKENS: tl.constexpr,
):
    """Largest similarity of each query to each group of consecutive tokens; the affinity stays in registers."""
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    token = tl.program_id(1) * TOKENS + tl.arange(0, TOKENS)
    entry = tl.program_id(2).to(tl.int64)
    channel = tl.arange(0, PADDED_WIDTH)
    query_tile = tl.load(
        query + entry * query_batch + row[:, None] * query_row + channel[None, :],
        mask=(row[:, None] < queries) & (channel[None, :] < WIDTH),
        other=0.0,
    )
    key_tile = tl.load(
        keys + entry * keys_batch + token[None, :].to(tl.int64) * keys_row + channel[:, None],
        mask=(token[None, :] < count) & (channel[:, None] < WIDTH),
        other=0.0,
    )
    similarity = tl.dot(query_tile, key_tile, input_precision=PRECISION) * scale
    if HAS_BIAS:
        token_bias = tl.load(bias + entry * bias_batch + token, mask=token < count, other=float("-inf"))
        similarity += token_bias[None, :]
    similarity = tl.where(token[None, :] < count, similarity, float("-inf"))
    largest = tl.max(tl.reshape(similarity, (ROWS, TOKENS // GROUP, GROUP)), 2)
    group = tl.program_id(1) * (TOKENS // GROUP) + tl.arange(0, TOKENS // GROUP)
    tl.store(
        maxima + (entry * queries + row[:, None]) * groups + group[None, :],
        largest,
        mask=(row[:, None] < queries) & (group[None, :] < groups),
    )


@triton.jit
def select_groups(maxima, chosen, queries, groups, CHOSEN: tl.constexpr, PADDED_GROUPS: tl.constexpr):
    """Indices of the groups with the largest maxima, ascending; places left over point behind the last group."""
    row = tl.program_id(1).to(tl.int64) * queries + tl.program_id(0)
    group = tl.arange(0, PADDED_GROUPS)
    values = tl.load(maxima + row * groups + group, mask=group < groups, other=float("-inf"))
    keep = _largest(values, group < groups, CHOSEN)
    place = tl.cumsum(keep.to(tl.int32), 0) - 1
    tl.store(chosen + row * CHOSEN + place, group, mask=keep)


@triton.jit
def candidate_similarity(
    query,
    keys,
    bias,
    chosen,
    similarity,
    queries,
    count,
    scale,
    query_batch,
    query_row,
    keys_batch,
    keys_row,
    bias_batch,
    WIDTH: tl.constexpr,
    HAS_BIAS: tl.constexpr,
    GROUP: tl.constexpr,
    CHOSEN: tl.constexpr,
    CANDIDATES: tl.constexpr,
    CHANNELS: tl.constexpr,
):
    """Similarities of one query to some tokens of its chosen groups; places without a token hold minus infinity."""
    entry = tl.program_id(2).to(tl.int64)
    row = entry * queries + tl.program_id(0)
    place = tl.program_id(1) * CANDIDATES + tl.arange(0, CANDIDATES)
    token = tl.load(chosen + row * CHOSEN + place // GROUP) * GROUP + place % GROUP
    exists = token < count
    products = tl.zeros((CANDIDATES,), dtype=tl.float32)
    for start in range(0, WIDTH, CHANNELS):
        channel = start + tl.arange(0, CHANNELS)
        query_part = tl.load(
            query + entry * query_batch + tl.program_id(0) * query_row + channel, mask=channel < WIDTH, other=0.0
        )
        key_part = tl.load(
            keys + entry * keys_batch + token[:, None].to(tl.int64) * keys_row + channel[None, :],
            mask=exists[:, None] & (channel[None, :] < WIDTH),
            other=0.0,
        )
        products += tl.sum(key_part.to(tl.float32) * query_part.to(tl.float32)[None, :], 1)
    result = products * scale
    if HAS_BIAS:
        result += tl.load(bias + entry * bias_batch + token, mask=exists, other=float("-inf"))
    tl.store(similarity + row * (CHOSEN * GROUP) + place, tl.where(exists, result, float("-inf")))


@triton.jit
def select_tokens(
    similarity,
    chosen,
    tokens,
    weights,
    queries,
    count,
    GROUP: tl.constexpr,
    CHOSEN: tl.constexpr,
    TOP_K: tl.constexpr,
):
    """Top-k tokens of one query among its candidates, and their softmax weights."""
    row = tl.program_id(1).to(tl.int64) * queries + tl.program_id(0)
    place = tl.arange(0, CHOSEN * GROUP)
    values = tl.load(similarity + row * (CHOSEN * GROUP) + place)
    # Groups ascend, so candidates stand in token order and ties can be settled by position.
    token = tl.load(chosen + row * CHOSEN + place // GROUP) * GROUP + place % GROUP
    keep = _largest(values, token < count, TOP_K)
    weight = tl.where(keep, tl.exp(values - tl.max(values, 0)), 0.0)
    weight = weight / tl.sum(weight, 0)
    target = row * TOP_K + tl.cumsum(keep.to(tl.int32), 0) - 1
    tl.store(tokens + target, token, mask=keep)
    tl.store(weights + target, weight, mask=keep)


@triton.jit
def weighted_rows(
    table,
    tokens,
    weights,
    out,
    queries,
    width,
    table_batch,
    table_row,
    TOP_K: tl.constexpr,
    PADDED_K: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """Weighted sum of the chosen rows of a token-major table, for one query and a run of columns."""
    entry = tl.program_id(2).to(tl.int64)
    row = entry * queries + tl.program_id(0)
    place = tl.arange(0, PADDED_K)
    token = tl.load(tokens + row * TOP_K + place, mask=place < TOP_K, other=0).to(tl.int64)
    weight = tl.load(weights + row * TOP_K + place, mask=place < TOP_K, other=0.0)
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    rows = tl.load(
        table + entry * table_batch + token[:, None] * table_row + column[None, :],
        mask=(place[:, None] < TOP_K) & (column[None, :] < width),
        other=0.0,
    )
    total = tl.sum(rows.to(tl.float32) * weight[:, None], 0)
    tl.store(out + row * width + column, total.to(out.dtype.element_ty), mask=column < width)


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
