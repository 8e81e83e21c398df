"""The memory read in blocks of PyTorch operations, laid out for the caches of a CPU.

With top-k the affinity never exists as a whole, and selection looks at an eighth of it:

1. Similarities of all tokens of a block to some hundred queries, tokens first because that runs the matrix units best,
   in tiles that stay in the caches. While a tile is hot, the maximum of each of its groups of 8 tokens is taken.
2. The k + 1 largest similarities of a query lie in the k + 1 groups with the largest maxima. Groups of these groups
   narrow the search in a large block in the same way.
3. Of the 8 (k + 1) similarities in these groups the largest. A small block still has them; of a large one, which would
   have gone through main memory and back, they are computed again.
4. Softmax, and one weighted sum of k contiguous rows per query over the token-major values of all objects.

Every step is exact. Where the k-th and the next similarity of a query are equal, token indices must decide: such
queries, rare unless frames repeat, are searched again in their whole rows.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from vos_zoo.memory.backends.backend import BackendStatus, Read
from vos_zoo.memory.backends.selection import largest, places_of_largest
from vos_zoo.memory.backends.softmax import read_softmax
from vos_zoo.memory.tokens import MemoryTokens

_SHIFT = 3
_GROUP = 2**_SHIFT  # tokens that share one maximum, and groups that share one
_BLOCK_TOKENS = 36_000  # at most, in blocks of nearly equal size
_KEPT_BYTES = 9 * 2**20  # Queries are cut into tiles of as many as fit here with their similarities to a block,
_MOST_KEPT_QUERIES = 288  # and at most this many; if fewer than
_LEAST_KEPT_QUERIES = 192  # fit, into tiles of
_TILE_QUERIES = 416  # without their similarities. Tiles are nearly equal,
_ROUND_QUERIES = 32  # but multiples of this many: vector instructions leave the rest of other rows to slow loops.
_TILE_TOKENS = 1024  # per thread
_GATHERED_QUERIES = 26  # whose chosen keys or values exist at once
_WHOLE_ROWS = 2**19  # similarities that exist at once where whole rows are searched


def read_cpu(query: Tensor, memory: MemoryTokens, top_k: int | None, read_keys: bool) -> tuple[Tensor, Tensor | None]:
    """Read the memory without storing the affinity; with top-k, without gradients.

    Args:
        query: Query keys, shape (B, M, Ck).
        memory: Tokens.
        top_k: Number of tokens that share the weight of a query; None or at least N means all.
        read_keys: Also read the memory keys.

    Returns:
        Values (B, M, D) and keys (B, M, Ck) or None, in the types of the memory's values and keys.
    """
    if top_k is None or top_k >= memory.count:
        return read_softmax(query, memory, read_keys)
    return read_selected(query, memory, top_k, read_keys, select_tokens, weighted_rows)


def read_selected(
    query: Tensor,
    memory: MemoryTokens,
    top_k: int,
    read_keys: bool,
    select: Callable[[Tensor, MemoryTokens, int, int], tuple[Tensor, Tensor]],
    sum_rows: Callable[[Tensor, Tensor, Tensor], Tensor],
) -> tuple[Tensor, Tensor | None]:
    """Read the k most similar tokens by the given steps; without gradients.

    Args:
        query: Query keys, shape (B, M, Ck).
        memory: Tokens, more than ``top_k``.
        top_k: Number of tokens that share the weight of a query.
        read_keys: Also read the memory keys.
        select: Finds tokens and weights, as :func:`select_tokens` does.
        sum_rows: Sums rows, as :func:`weighted_rows` does.

    Returns:
        Values (B, M, D) and keys (B, M, Ck) or None, in the types of the memory's values and keys.
    """
    values, keys = [], []
    with torch.autocast(query.device.type, enabled=False):
        for entry in range(query.shape[0]):
            tokens, weights = select(query[entry], memory, entry, top_k)
            values.append(sum_rows(memory.values[entry], tokens, weights))
            if read_keys:
                keys.append(sum_rows(memory.keys[entry], tokens, weights))
    return _stack(values), _stack(keys) if read_keys else None


def select_tokens(query: Tensor, memory: MemoryTokens, entry: int, top_k: int) -> tuple[Tensor, Tensor]:
    """Find the k most similar tokens of each query and their softmax weights.

    Args:
        query: Query keys, shape (M, Ck).
        memory: Tokens, more than ``top_k``.
        entry: Which entry of the memory's batch axis to read.
        top_k: Number of tokens per query.

    Returns:
        Token indices, int64, and weights, float32 or float64, both (M, k).
    """
    exact = torch.float64 if torch.float64 in (query.dtype, memory.keys.dtype) else torch.float32
    # The bias is one more coordinate of the keys: to add it to products would cost a pass over all of them.
    added = -len(query) % _ROUND_QUERIES  # queries that nobody asked for
    scaled = F.pad(memory.scale * query.to(exact), (0, 1, 0, added), value=1.0)
    block = _near_equal(memory.count, max(_BLOCK_TOKENS, 2 * (top_k + 1) * _GROUP))
    search = _Search.plan(min(block, memory.count), scaled, top_k + 1)
    values, tokens = [], []
    for start in range(0, memory.count, block):
        # One more than is asked for, to see whether it ties with another.
        found, places = search.best(scaled, _keys(memory, entry, start, start + block, search.tokens, exact))
        values.append(found)
        tokens.append((places + start).clamp_(max=memory.count - 1))  # without weight, if beyond the last one
    best, chosen = values[0], tokens[0]
    if len(values) > 1:
        best, places = largest(torch.cat(values, 1), top_k + 1)
        chosen = torch.cat(tokens, 1).gather(1, places)
    best, chosen = best[: len(query)], chosen[: len(query)]
    least, best, chosen = best[:, 0], best[:, 1:], chosen[:, 1:]
    tied = ((best.amin(1) == least) & least.isfinite()).nonzero().squeeze(1)
    # Nothing would be split into one part without rows, for which all keys would be collected.
    for rows in tied.split(max(1, _WHOLE_ROWS // memory.count)) if len(tied) else ():
        best[rows], chosen[rows] = _best_of_whole_rows(scaled[rows], memory, entry, top_k)
    return chosen, best.softmax(1)


def weighted_rows(table: Tensor, rows: Tensor, weights: Tensor) -> Tensor:
    """Sum k rows of a table per query, in float32 or wider.

    Args:
        table: Shape (N, D).
        rows: Indices, shape (M, k), int64.
        weights: Shape (M, k), float32 or float64.

    Returns:
        Shape (M, D), in the type of the table.
    """
    table = table if table.stride(1) == 1 else table.contiguous()
    narrow = weights.to(table.dtype)
    if table.dtype in (torch.float16, torch.bfloat16):
        # Weights have to be as narrow as the table; a second term carries the digits that they lose.
        rows, narrow = torch.cat([rows, rows], 1), torch.cat([narrow, (weights - narrow).to(table.dtype)], 1)
    if table.device.type not in ("cpu", "cuda"):  # Apple's GPUs have no such sum.
        return _sum_gathered(rows, table, narrow)
    return F.embedding_bag(rows, table, mode="sum", per_sample_weights=narrow)


def _sum_gathered(rows: Tensor, table: Tensor, weights: Tensor) -> Tensor:
    """Sum weighted rows that are gathered first, those of some queries at a time."""
    parts = zip(rows.split(_GATHERED_QUERIES), weights.split(_GATHERED_QUERIES), strict=True)
    return torch.cat(
        [
            (some.unsqueeze(1) @ table.index_select(0, chosen.reshape(-1)).view(*chosen.shape, -1)).squeeze(1)
            for chosen, some in parts
        ]
    )


@dataclass(frozen=True)
class _Search:
    """How the most similar tokens of a block are found, and work space for it.

    Maxima of groups of similarities, of groups of these and so on are the levels of a tree, each an array of entries ×
    queries. Group g holds the entries from g * _GROUP on.
    """

    tokens: int  # of a block, rounded up to whole groups
    tile: int  # tokens whose similarities are computed and reduced together
    queries: int  # that are compared with them at once
    k: int  # tokens to find per query; all of a block that has fewer
    keeps: bool  # the similarities of all tokens, not only those of a tile
    similarity: Tensor  # room for these, flat
    maxima: tuple[Tensor, ...]  # room for each level of them, flat

    @classmethod
    def plan(cls, count: int, query: Tensor, k: int) -> _Search:
        """Choose sizes for blocks of ``count`` tokens.

        Args:
            count: Tokens of a block.
            query: Scaled queries, shape (M, Ck + 1).
            k: Number of tokens to find.
        """
        k, depth = min(k, count), 0
        # The uppermost level has k entries at least, and few enough to look at all of them.
        while count // _GROUP ** (depth + 1) >= k and (depth == 0 or count // _GROUP**depth > 2 * _GROUP * k):
            depth += 1
        threads = torch.get_num_threads() if query.device.type == "cpu" else 64
        tokens = _round_up(count, _GROUP**depth)
        tile = _round_up(_near_equal(tokens, _TILE_TOKENS * threads), _GROUP)
        fitting = _KEPT_BYTES // (query.element_size() * tokens)
        keeps = depth == 0 or fitting >= _LEAST_KEPT_QUERIES
        most = min(max(fitting, _LEAST_KEPT_QUERIES), _MOST_KEPT_QUERIES) if keeps else _TILE_QUERIES
        queries = _round_up(_near_equal(max(query.shape[0], 1), most), _ROUND_QUERIES)
        similarity = query.new_empty((tokens if keeps else tile) * queries)
        maxima = tuple(query.new_empty(tokens // _GROUP**level * queries) for level in range(1, depth + 1))
        return cls(tokens, tile, queries, k, keeps, similarity, maxima)

    def best(self, query: Tensor, keys: Tensor) -> tuple[Tensor, Tensor]:
        """Return the k largest similarities of each query, the least of them first, and their tokens, both (M, k).

        Args:
            query: Scaled queries, shape (M, Ck + 1).
            keys: Tokens of the block, shape (tokens, Ck + 1).
        """
        values, tokens = zip(*(self._best_of_tile(tile, keys) for tile in query.split(self.queries)), strict=True)
        return torch.cat(values), torch.cat(tokens)

    def _best_of_tile(self, query: Tensor, keys: Tensor) -> tuple[Tensor, Tensor]:
        queries = query.shape[0]
        rooms = (self.similarity, *self.maxima)
        similarity, *levels = (room[: len(room) // self.queries * queries].view(-1, queries) for room in rooms)
        self._fill(similarity, levels, query, keys)
        if not levels:
            return largest(similarity.T, self.k)
        candidates, groups = levels.pop().T, None  # of each query: numbers, and the groups that they make up
        while levels:
            groups = _entries(places_of_largest(candidates, self.k), groups)
            candidates = _members(levels.pop(), groups)
        groups = _entries(places_of_largest(candidates, self.k), groups)
        candidates = _members(similarity, groups) if self.keeps else _similarities(query, keys, groups)
        values, chosen = largest(candidates, self.k)
        return values, _entries(chosen, groups)

    def _fill(self, similarity: Tensor, levels: list[Tensor], query: Tensor, keys: Tensor) -> None:
        """Compute similarities, tile by tile, and all maxima."""
        for start in range(0, self.tokens, self.tile):
            stop = min(start + self.tile, self.tokens)
            tile = similarity[start:stop] if self.keeps else similarity[: stop - start]
            torch.mm(keys[start:stop], query.T, out=tile)
            if levels:
                _take_maxima(tile, levels[0][start // _GROUP : stop // _GROUP])
        for below, above in itertools.pairwise(levels):
            _take_maxima(below, above)


def _similarities(query: Tensor, keys: Tensor, groups: Tensor) -> Tensor:
    """Return similarities (queries, k * _GROUP) of each query to the tokens of its own k groups."""
    width = keys.shape[1]
    of_groups = keys.view(-1, _GROUP * width)
    parts = []
    for some, chosen in zip(query.split(_GATHERED_QUERIES), groups.split(_GATHERED_QUERIES), strict=True):
        rows = of_groups.index_select(0, chosen.reshape(-1)).view(len(some), -1, width)
        parts.append((some.unsqueeze(1) @ rows.mT).squeeze(1))
    return torch.cat(parts)


def _members(level: Tensor, groups: Tensor) -> Tensor:
    """Return the entries (queries, k * _GROUP) of k groups of each query from a level (entries, queries)."""
    queries = level.shape[1]
    columns, steps = _multiples(queries, 1, level.device), _multiples(_GROUP, queries, level.device)
    places = (groups * (_GROUP * queries)).add_(columns.view(-1, 1))  # in the flat level
    # In as many rows as threads: PyTorch gathers each row on one of them.
    members = (places.unsqueeze(2) + steps).view(math.gcd(queries, torch.get_num_threads()), -1)
    return level.view(1, -1).expand(len(members), -1).gather(1, members).view(queries, -1)


def _take_maxima(entries: Tensor, maxima: Tensor) -> None:
    torch.amax(entries.view(-1, _GROUP, entries.shape[1]), 1, out=maxima)


def _entries(places: Tensor, groups: Tensor | None) -> Tensor:
    """Turn places among candidates into entries of their level; candidates without groups are the whole level."""
    return places if groups is None else groups.gather(1, places >> _SHIFT) * _GROUP + (places & (_GROUP - 1))


def _best_of_whole_rows(query: Tensor, memory: MemoryTokens, entry: int, k: int) -> tuple[Tensor, Tensor]:
    """Select among all similarities of a few queries, counting along their rows where tokens tie."""
    similarity = query @ _keys(memory, entry, 0, memory.count, memory.count, query.dtype).T
    lowest = similarity.topk(k).values[:, -1:]
    above, level = similarity > lowest, similarity == lowest
    needed = k - above.sum(1, keepdim=True)
    tokens = (above | (level & (level.cumsum(1) <= needed))).nonzero()[:, 1].view(-1, k)
    return similarity.gather(1, tokens), tokens


def _keys(memory: MemoryTokens, entry: int, start: int, stop: int, room: int, dtype: torch.dtype) -> Tensor:
    """Return keys of some tokens, the bias as their last coordinate, in ``room`` rows; the rest are never similar."""
    part = memory.keys[entry, start:stop]
    count, width = part.shape
    keys = part.new_empty(room, width + 1, dtype=dtype)
    keys[:count, :width] = part
    keys[:count, width] = 0 if memory.bias is None else memory.bias[entry, start:stop]
    keys[count:] = 0
    keys[count:, width] = -torch.inf
    return keys


def _stack(entries: list[Tensor]) -> Tensor:
    return entries[0].unsqueeze(0) if len(entries) == 1 else torch.stack(entries)


@lru_cache(maxsize=64)
def _multiples(count: int, step: int, device: torch.device) -> Tensor:
    """Return 0, step, 2 step …: the same few of them serve all tiles of all reads."""
    with torch.inference_mode(False):
        return torch.arange(0, count * step, step, device=device)


def _near_equal(count: int, most: int) -> int:
    """Return the size of parts of at most ``most`` that cut ``count`` into as few and as equal parts as possible."""
    return -(-count // -(-count // most))


def _round_up(size: int, multiple: int) -> int:
    return -(-size // multiple) * multiple


class _CPU:
    name = "cpu"

    def status(self) -> BackendStatus:
        return BackendStatus(self.name, True, "PyTorch operations in blocks, tuned for CPUs; runs on every device")

    def refusal(self, read: Read) -> str | None:
        return "it has no gradients through top-k" if read.top_k is not None and read.needs_gradients else None

    def read(self, read: Read) -> tuple[Tensor, Tensor | None]:
        return read_cpu(read.query, read.memory, read.top_k, read.read_keys)


BACKEND = _CPU()
