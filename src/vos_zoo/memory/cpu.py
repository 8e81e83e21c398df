"""The memory read in blocks of PyTorch operations, laid out for the caches of a CPU.

With top-k the affinity exists only one block at a time, and selection looks at an eighth of it:

1. Similarities of all tokens of a block to some hundred queries, tokens first because that runs the matrix units best,
   in tiles that stay in the caches. While a tile is hot, the maximum of each of its groups of 8 tokens is taken.
2. The k + 1 largest similarities of a query lie in the k + 1 groups with the largest maxima. Groups of these groups
   narrow the search in a large block in the same way.
3. Of the 8 (k + 1) similarities in these groups the largest.
4. Softmax, and one weighted sum of k contiguous rows per query over the token-major values of all objects.

Every step is exact. Where the k-th and the next similarity of a query are equal, token indices must decide: such
queries, rare unless frames repeat, are searched again in their whole rows.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from vos_zoo.memory.largest import largest, places_of_largest
from vos_zoo.memory.softmax import read_softmax
from vos_zoo.memory.tokens import MemoryTokens

_SHIFT = 3
_GROUP = 2**_SHIFT  # tokens that share one maximum, and groups that share one
_BLOCK_TOKENS = 36_000  # at most, in blocks of nearly equal size
_TILE_BYTES = 10 * 2**20  # Queries are cut into as many as fit here with their similarities to the tokens of a block,
_LEAST_TILE_QUERIES = 144  # but at least this many,
_MOST_TILE_QUERIES = 576  # and at most this many, nearly equal because a small tile costs as many calls;
_ROUND_QUERIES = 16  # rows of other lengths would take matrix kernels a third more time.
_TILE_TOKENS = 2048  # per thread
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
    values, keys = [], []
    with torch.autocast(query.device.type, enabled=False):
        for entry in range(query.shape[0]):
            tokens, weights = select_tokens(query[entry], memory, entry, top_k)
            values.append(_weighted_rows(memory.values[entry], tokens, weights))
            if read_keys:
                keys.append(_weighted_rows(memory.keys[entry], tokens, weights))
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
    scaled = memory.scale * query.to(exact)
    if memory.bias is not None:
        # The bias is one more coordinate of the keys: to add it to products would cost a pass over all of them.
        scaled = F.pad(scaled, (0, 1), value=1.0)
    block = _near_equal(memory.count, max(_BLOCK_TOKENS, 2 * (top_k + 1) * _GROUP))
    tiles = torch.split(scaled, _tile_height(scaled, block))
    values, tokens = [], []
    for start in range(0, memory.count, block):
        # One more than is asked for, to see whether it ties with another.
        found, places = _search(tiles, _keys(memory, entry, start, start + block, exact), top_k + 1)
        values.append(found)
        tokens.append(places + start)
    best, chosen = values[0], tokens[0]
    if len(values) > 1:
        best, places = largest(torch.cat(values, 1), top_k + 1)
        chosen = torch.cat(tokens, 1).gather(1, places)
    least, best, chosen = best[:, 0], best[:, 1:], chosen[:, 1:]
    tied = ((best.amin(1) == least) & (least > -torch.inf)).nonzero().squeeze(1)
    for rows in torch.split(tied, max(1, _WHOLE_ROWS // memory.count)):
        best[rows], chosen[rows] = _best_of_whole_rows(scaled[rows], memory, entry, top_k)
    return chosen, best.softmax(1)


def _tile_height(query: Tensor, block: int) -> int:
    """Choose how many queries are compared with the tokens of a block at once."""
    fitting = _TILE_BYTES // (query.element_size() * block)
    height = max(min(fitting, _MOST_TILE_QUERIES), _LEAST_TILE_QUERIES)
    return _round_up(_near_equal(max(query.shape[0], 1), height), _ROUND_QUERIES)


def _search(tiles: tuple[Tensor, ...], keys: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Find the k most similar tokens of every query.

    Args:
        tiles: Queries, each (queries, Ck).
        keys: Tokens of a block, shape (tokens, Ck).
        k: Number of tokens to find, or all if there are fewer.

    Returns:
        Similarities and tokens, both (M, k).
    """
    k = min(k, keys.shape[0])
    space = _Space.allocate(keys, tiles[0].shape[0], k)
    values, tokens = zip(*(space.search(tile, keys, k) for tile in tiles), strict=True)
    return torch.cat(values), torch.cat(tokens)


@dataclass(frozen=True)
class _Space:
    """Work space for the similarities of the tokens of a block to some queries, and for maxima over their groups.

    Maxima of groups of similarities, of groups of these and so on are the levels of a tree, each an array of entries ×
    queries. Group g holds the entries from g * _GROUP on.
    """

    levels: tuple[Tensor, ...]  # room for each, flat
    tile: int  # tokens whose similarities are computed and reduced together
    queries: int  # at most

    @classmethod
    def allocate(cls, keys: Tensor, queries: int, k: int) -> _Space:
        count, depth = keys.shape[0], 0
        # The uppermost level has k entries at least, and few enough to look at all of them.
        while count // _GROUP ** (depth + 1) >= k and (depth == 0 or count // _GROUP**depth > 2 * _GROUP * k):
            depth += 1
        threads = torch.get_num_threads() if keys.device.type == "cpu" else 64
        padded = _round_up(count, _GROUP**depth)
        tile = _round_up(_near_equal(count, _TILE_TOKENS * threads), _GROUP)
        rooms = tuple(keys.new_empty(padded // _GROUP**level * queries) for level in range(depth + 1))
        return cls(rooms, tile, queries)

    def search(self, query: Tensor, keys: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """Return the k largest similarities of each query, the least first, and their tokens, both (queries, k)."""
        queries = query.shape[0]
        levels = [room[: room.shape[0] // self.queries * queries].view(-1, queries) for room in self.levels]
        self._fill(levels, query, keys)
        columns, steps = _multiples(queries, 1, query.device), _multiples(_GROUP, queries, query.device)
        candidates, groups = levels.pop().T, None  # of each query: numbers, and the groups that they make up
        while levels:
            groups = _entries(places_of_largest(candidates, k), groups)
            # Where the entries of these groups lie in the flat level below; within 32 bits, see _BLOCK_TOKENS.
            first = (groups * (_GROUP * queries)).int() + columns.view(-1, 1)
            places = first.unsqueeze(2) + steps
            candidates = levels.pop().view(-1).index_select(0, places.view(-1)).view(queries, -1)
        values, chosen = largest(candidates, k)
        return values, _entries(chosen, groups)

    def _fill(self, levels: list[Tensor], query: Tensor, keys: Tensor) -> None:
        """Compute similarities and all maxima; places beyond the last token hold minus infinity."""
        similarity, count = levels[0], keys.shape[0]
        similarity[count:] = -torch.inf
        for start in range(0, similarity.shape[0], self.tile):
            stop = min(start + self.tile, similarity.shape[0])
            torch.mm(keys[start:stop], query.T, out=similarity[start : min(stop, count)])
            if len(levels) > 1:
                _take_maxima(similarity[start:stop], levels[1][start // _GROUP : stop // _GROUP])
        for below, above in itertools.pairwise(levels[1:]):
            _take_maxima(below, above)


def _take_maxima(entries: Tensor, maxima: Tensor) -> None:
    torch.amax(entries.view(-1, _GROUP, entries.shape[1]), 1, out=maxima)


def _entries(places: Tensor, groups: Tensor | None) -> Tensor:
    """Turn places among candidates into entries of their level; candidates without groups are the whole level."""
    return places if groups is None else groups.gather(1, places >> _SHIFT) * _GROUP + (places & (_GROUP - 1))


def _best_of_whole_rows(query: Tensor, memory: MemoryTokens, entry: int, k: int) -> tuple[Tensor, Tensor]:
    """Select among all similarities of a few queries, counting along their rows where tokens tie."""
    similarity = query @ _keys(memory, entry, 0, memory.count, query.dtype).T
    lowest = similarity.topk(k).values[:, -1:]
    above, level = similarity > lowest, similarity == lowest
    needed = k - above.sum(1, keepdim=True)
    tokens = (above | (level & (level.cumsum(1) <= needed))).nonzero()[:, 1].view(-1, k)
    return similarity.gather(1, tokens), tokens


def _keys(memory: MemoryTokens, entry: int, start: int, stop: int, dtype: torch.dtype) -> Tensor:
    """Return keys of some tokens with the bias as their last coordinate, if there is one."""
    keys = memory.keys[entry, start:stop].to(dtype)
    if memory.bias is None:
        return keys
    return torch.cat([keys, memory.bias[entry, start:stop, None].to(dtype)], 1)


def _weighted_rows(table: Tensor, rows: Tensor, weights: Tensor) -> Tensor:
    """Sum k rows of a table per query, shape (M, D), in float32 or wider."""
    table = table if table.stride(1) == 1 else table.contiguous()
    narrow = weights.to(table.dtype)
    if table.dtype in (torch.float16, torch.bfloat16):
        # Weights have to be as narrow as the table; a second term carries the digits that they lose.
        rows, narrow = torch.cat([rows, rows], 1), torch.cat([narrow, (weights - narrow).to(table.dtype)], 1)
    return F.embedding_bag(rows, table, mode="sum", per_sample_weights=narrow)


def _stack(entries: list[Tensor]) -> Tensor:
    return entries[0].unsqueeze(0) if len(entries) == 1 else torch.stack(entries)


@lru_cache(maxsize=64)
def _multiples(count: int, step: int, device: torch.device) -> Tensor:
    """Return 0, step, 2 step …, int32: the same few of them serve all tiles of all reads."""
    with torch.inference_mode(False):
        return torch.arange(0, count * step, step, dtype=torch.int32, device=device)


def _near_equal(count: int, most: int) -> int:
    """Return the size of parts of at most ``most`` that cut ``count`` into as few and as equal parts as possible."""
    return -(-count // -(-count // most))


def _round_up(size: int, multiple: int) -> int:
    return -(-size // multiple) * multiple
