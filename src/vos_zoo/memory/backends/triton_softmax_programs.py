# mypy: disable-error-code="untyped-decorator,no-untyped-def,no-any-return"
# ruff: noqa: ANN001, ANN201, ANN202, N803
# Triton reads the annotations of these functions itself: constants carry tl.constexpr and by custom capital names,
# pointers and numbers carry none.
"""The Triton programs behind :mod:`vos_zoo.memory.backends.triton_softmax`. Importing this module imports Triton."""

from __future__ import annotations

import triton
import triton.language as tl

# What changes from frame to frame of a video: a program for each value would be compiled in the middle of it.
_VARYING = ["queries", "count", "query_rows", "keys_rows", "table_rows", "bias_batch"]


@triton.jit(do_not_specialize=_VARYING)
def read_all(
    query,
    keys,
    bias,
    table,
    out,
    log_sum_exp,
    queries,
    count,
    columns,
    scale,
    query_rows,
    query_row,
    keys_rows,
    keys_row,
    bias_batch,
    table_rows,
    table_row,
    WIDTH: tl.constexpr,
    PADDED_WIDTH: tl.constexpr,
    HAS_BIAS: tl.constexpr,
    PRECISION: tl.constexpr,
    ROWS: tl.constexpr,
    TOKENS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """Weighted sum of all rows of a table for some queries and a run of columns, and the softmax's log-sum-exp."""
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    entry = tl.program_id(2).to(tl.int64)
    query_tile = _rows(query + entry * query_rows * query_row, query_row, row, queries, WIDTH, PADDED_WIDTH)
    largest = tl.full((ROWS,), float("-inf"), tl.float32)
    total = tl.zeros((ROWS,), tl.float32)
    read = tl.zeros((ROWS, COLUMNS), tl.float32)
    for start in range(0, count, TOKENS):
        token = start + tl.arange(0, TOKENS)
        key_tile = _rows(keys + entry * keys_rows * keys_row, keys_row, token, count, WIDTH, PADDED_WIDTH)
        token_bias = _bias(bias + entry * bias_batch, token, count, HAS_BIAS)
        similarity = _similarity(query_tile, key_tile, token_bias, scale, PRECISION)
        risen = tl.maximum(largest, tl.max(similarity, 1))
        # As long as a query has met nothing but minus infinity, any finite number can stand for its maximum.
        shift = tl.where(risen == float("-inf"), 0.0, risen)
        weights = tl.exp(similarity - shift[:, None])
        shrunk = tl.exp(largest - shift)
        total = total * shrunk + tl.sum(weights, 1)
        part = _columns(table + entry * table_rows * table_row, table_row, token, count, column, columns)
        read = read * shrunk[:, None] + tl.dot(weights.to(part.dtype), part, input_precision=PRECISION)
        largest = risen
    target = entry * queries + row
    is_inside = row < queries
    tl.store(
        out + target[:, None] * columns + column[None, :],
        (read / total[:, None]).to(out.dtype.element_ty),
        mask=is_inside[:, None] & (column[None, :] < columns),
    )
    if tl.program_id(1) == 0:
        tl.store(log_sum_exp + target, largest + tl.log(total), mask=is_inside)


@triton.jit(do_not_specialize=_VARYING)
def grad_of_table(
    query,
    keys,
    bias,
    log_sum_exp,
    grad_read,
    grad_table,
    queries,
    count,
    columns,
    scale,
    query_rows,
    query_row,
    keys_rows,
    keys_row,
    bias_batch,
    WIDTH: tl.constexpr,
    PADDED_WIDTH: tl.constexpr,
    HAS_BIAS: tl.constexpr,
    PRECISION: tl.constexpr,
    ROWS: tl.constexpr,
    TOKENS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """Gradients of some tokens' rows of the table, for a run of columns; ``grad_read`` is the gradient of the read."""
    token = tl.program_id(0) * TOKENS + tl.arange(0, TOKENS)
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    entry = tl.program_id(2).to(tl.int64)
    key_tile = _rows(keys + entry * keys_rows * keys_row, keys_row, token, count, WIDTH, PADDED_WIDTH)
    token_bias = _bias(bias + entry * bias_batch, token, count, HAS_BIAS)
    gradient = tl.zeros((TOKENS, COLUMNS), tl.float32)
    for start in range(0, queries, ROWS):
        row = start + tl.arange(0, ROWS)
        query_tile = _rows(query + entry * query_rows * query_row, query_row, row, queries, WIDTH, PADDED_WIDTH)
        similarity = _similarity(query_tile, key_tile, token_bias, scale, PRECISION)
        weights = _weights(similarity, log_sum_exp + entry * queries, row, queries)
        part = _columns(grad_read + entry * queries * columns, columns, row, queries, column, columns)
        gradient += tl.dot(tl.trans(weights).to(part.dtype), part, input_precision=PRECISION)
    tl.store(
        grad_table + (entry * count + token[:, None]) * columns + column[None, :],
        gradient.to(grad_table.dtype.element_ty),
        mask=(token[:, None] < count) & (column[None, :] < columns),
    )


@triton.jit(do_not_specialize=_VARYING)
def grad_of_keys(
    query,
    keys,
    bias,
    table,
    log_sum_exp,
    grad_read,
    mean,
    grad_keys,
    grad_bias,
    queries,
    count,
    columns,
    scale,
    query_rows,
    query_row,
    keys_rows,
    keys_row,
    bias_batch,
    table_rows,
    table_row,
    WIDTH: tl.constexpr,
    PADDED_WIDTH: tl.constexpr,
    HAS_BIAS: tl.constexpr,
    PRECISION: tl.constexpr,
    ROWS: tl.constexpr,
    TOKENS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """Gradients of some tokens' keys and biases."""
    token = tl.program_id(0) * TOKENS + tl.arange(0, TOKENS)
    channel = tl.arange(0, PADDED_WIDTH)
    entry = tl.program_id(1).to(tl.int64)
    key_tile = _rows(keys + entry * keys_rows * keys_row, keys_row, token, count, WIDTH, PADDED_WIDTH)
    token_bias = _bias(bias + entry * bias_batch, token, count, HAS_BIAS)
    gradient = tl.zeros((TOKENS, PADDED_WIDTH), tl.float32)
    gradient_of_bias = tl.zeros((TOKENS,), tl.float32)
    for start in range(0, queries, ROWS):
        row = start + tl.arange(0, ROWS)
        query_tile = _rows(query + entry * query_rows * query_row, query_row, row, queries, WIDTH, PADDED_WIDTH)
        of_similarity = _grad_of_similarity(
            _similarity(query_tile, key_tile, token_bias, scale, PRECISION),
            log_sum_exp + entry * queries, grad_read + entry * queries * columns, mean + entry * queries,
            table + entry * table_rows * table_row, table_row, row, queries, token, count, columns,
            PRECISION, COLUMNS, ROWS, TOKENS,
        )  # fmt: skip
        gradient += tl.dot(tl.trans(of_similarity).to(query_tile.dtype), query_tile, input_precision=PRECISION)
        gradient_of_bias += tl.sum(of_similarity, 0)
    tl.store(
        grad_keys + (entry * count + token[:, None]) * WIDTH + channel[None, :],
        (gradient * scale).to(grad_keys.dtype.element_ty),
        mask=(token[:, None] < count) & (channel[None, :] < WIDTH),
    )
    tl.store(grad_bias + entry * count + token, gradient_of_bias, mask=token < count)


@triton.jit(do_not_specialize=_VARYING)
def grad_of_query(
    query,
    keys,
    bias,
    table,
    log_sum_exp,
    grad_read,
    mean,
    grad_query,
    queries,
    count,
    columns,
    scale,
    query_rows,
    query_row,
    keys_rows,
    keys_row,
    bias_batch,
    table_rows,
    table_row,
    WIDTH: tl.constexpr,
    PADDED_WIDTH: tl.constexpr,
    HAS_BIAS: tl.constexpr,
    PRECISION: tl.constexpr,
    ROWS: tl.constexpr,
    TOKENS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """Gradients of some queries."""
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    channel = tl.arange(0, PADDED_WIDTH)
    entry = tl.program_id(1).to(tl.int64)
    query_tile = _rows(query + entry * query_rows * query_row, query_row, row, queries, WIDTH, PADDED_WIDTH)
    gradient = tl.zeros((ROWS, PADDED_WIDTH), tl.float32)
    for start in range(0, count, TOKENS):
        token = start + tl.arange(0, TOKENS)
        key_tile = _rows(keys + entry * keys_rows * keys_row, keys_row, token, count, WIDTH, PADDED_WIDTH)
        token_bias = _bias(bias + entry * bias_batch, token, count, HAS_BIAS)
        of_similarity = _grad_of_similarity(
            _similarity(query_tile, key_tile, token_bias, scale, PRECISION),
            log_sum_exp + entry * queries, grad_read + entry * queries * columns, mean + entry * queries,
            table + entry * table_rows * table_row, table_row, row, queries, token, count, columns,
            PRECISION, COLUMNS, ROWS, TOKENS,
        )  # fmt: skip
        gradient += tl.dot(of_similarity.to(key_tile.dtype), key_tile, input_precision=PRECISION)
    tl.store(
        grad_query + (entry * queries + row[:, None]) * WIDTH + channel[None, :],
        (gradient * scale).to(grad_query.dtype.element_ty),
        mask=(row[:, None] < queries) & (channel[None, :] < WIDTH),
    )


@triton.jit
def _rows(source, stride, row, rows, WIDTH: tl.constexpr, PADDED_WIDTH: tl.constexpr):
    """Whole rows of keys, zero beyond the last one and the last channel."""
    channel = tl.arange(0, PADDED_WIDTH)
    return tl.load(
        source + row[:, None].to(tl.int64) * stride + channel[None, :],
        mask=(row[:, None] < rows) & (channel[None, :] < WIDTH),
        other=0.0,
    )


@triton.jit
def _columns(source, stride, row, rows, column, columns):
    """A run of columns of rows, zero beyond the last ones."""
    return tl.load(
        source + row[:, None].to(tl.int64) * stride + column[None, :],
        mask=(row[:, None] < rows) & (column[None, :] < columns),
        other=0.0,
    )


@triton.jit
def _bias(source, token, count, HAS_BIAS: tl.constexpr):
    """Biases of tokens; minus infinity beyond the last one."""
    if HAS_BIAS:
        biases = tl.load(source + token, mask=token < count, other=float("-inf"))
    else:
        biases = tl.where(token < count, 0.0, float("-inf"))
    return biases


@triton.jit
def _similarity(query_tile, key_tile, token_bias, scale, PRECISION: tl.constexpr):
    """Similarities of some queries to some tokens."""
    return tl.dot(query_tile, tl.trans(key_tile), input_precision=PRECISION) * scale + token_bias[None, :]


@triton.jit
def _weights(similarity, log_sum_exp, row, rows):
    """Softmax weights again, from the logarithms of the sums; zero beyond the last query."""
    is_inside = row < rows
    known = tl.load(log_sum_exp + row, mask=is_inside, other=0.0)
    return tl.where(is_inside[:, None], tl.exp(similarity - known[:, None]), 0.0)


@triton.jit
def _grad_of_similarity(
    similarity,
    log_sum_exp,
    grad_read,
    mean,
    table,
    table_row,
    row,
    queries,
    token,
    count,
    columns,
    PRECISION: tl.constexpr,
    COLUMNS: tl.constexpr,
    ROWS: tl.constexpr,
    TOKENS: tl.constexpr,
):
    """Gradients of similarities: those of the weights, over all columns, less their mean over a query's tokens."""
    of_weights = tl.zeros((ROWS, TOKENS), tl.float32)
    for start in range(0, columns, COLUMNS):
        column = start + tl.arange(0, COLUMNS)
        grad_part = _columns(grad_read, columns, row, queries, column, columns)
        table_part = _columns(table, table_row, token, count, column, columns)
        of_weights += tl.dot(grad_part, tl.trans(table_part), input_precision=PRECISION)
    known_mean = tl.load(mean + row, mask=row < queries, other=0.0)
    return _weights(similarity, log_sum_exp, row, queries) * (of_weights - known_mean[:, None])
