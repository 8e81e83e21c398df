"""The memory read in blocks of PyTorch operations, laid out for the caches of a CPU.

With top-k the affinity exists only one block at a time, and selection looks at a sixteenth of it:

1. Similarities of all tokens of a block to some hundred queries, tokens first because that runs the matrix units best,
   in tiles that stay in the caches. While a tile is hot, the maximum of each of its groups of 16 tokens is taken.
2. The k + 1 largest similarities of a query lie in the k + 1 groups with the largest maxima. Groups of these groups
   narrow the search in a large block in the same way.
3. Of the 16 (k + 1) similarities in these groups the largest, again by way of the maxima of groups, here of four.
4. Softmax, and one weighted sum of k contiguous rows per query over the token-major values of all objects.

Every step is exact. Where the k-th and the next similarity of a query are equal, token indices must decide: such
queries, rare unless frames repeat, are searched again in their whole rows.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from vos_zoo.memory.softmax import read_softmax
from vos_zoo.memory.tokens import MemoryTokens

_GROUP = 16  # tokens that share one maximum, and groups that share one; 8 to 32 measure alike
_FEW = 4  # candidates that share one maximum
_TILE_QUERIES = 64  # queries are cut into a multiple of this many, as matrix kernels like it,
_MOST_TILE_QUERIES = 384  # up to this many,
_BLOCK_BYTES = 16 * 2**20  # and as many as fit here with their similarities to the tokens of a block
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
    block, height = _block_size(scaled, memory.count, top_k)
    tiles = torch.split(scaled, height)
    values, tokens = [], []
    for start in range(0, memory.count, block):
        # One more than is asked for, to see whether it ties with the last one.
        found, places = _search(tiles, _keys(memory, entry, start, start + block, exact), top_k + 1)
        values.append(found)
        tokens.append(places + start)
    best, chosen = values[0], tokens[0]
    if len(values) > 1:
        best, places = torch.cat(values, 1).topk(top_k + 1)
        chosen = torch.cat(tokens, 1).gather(1, places)
    tied = ((best[:, top_k - 1] == best[:, top_k]) & (best[:, top_k] > -torch.inf)).nonzero().squeeze(1)
    best, chosen = best[:, :top_k], chosen[:, :top_k]
    for rows in torch.split(tied, max(1, _WHOLE_ROWS // memory.count)):
        best[rows], chosen[rows] = _best_of_whole_rows(scaled[rows], memory, entry, top_k)
    return chosen, best.softmax(1)


def _block_size(query: Tensor, count: int, top_k: int) -> tuple[int, int]:
    """Choose how many tokens and queries are compared at once."""
    fitting = _BLOCK_BYTES // query.element_size()
    block = min(count, max(fitting // (2 * _TILE_QUERIES), 2 * (top_k + 1) * _GROUP))
    block = -(-count // -(-count // block))  # blocks of nearly equal size
    height = min(fitting // block, _MOST_TILE_QUERIES, _round_up(query.shape[0], _TILE_QUERIES))
    height = max(height // _TILE_QUERIES, 1) * _TILE_QUERIES
    tiles = max(1, -(-query.shape[0] // height))
    return block, max(1, -(-query.shape[0] // tiles))  # tiles of equal size: a small last one costs as many calls


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
    values, tokens = zip(*(space.narrow(tile, keys, k).largest(k) for tile in tiles), strict=True)
    return torch.cat(values), torch.cat(tokens).long()


class _Candidates(NamedTuple):
    """Entries of a level that are looked at for each of some queries."""

    values: Tensor  # (queries, entries)
    places: Tensor  # where they lie in the level, which holds ``width`` numbers per entry, (queries, entries)
    width: int

    def largest(self, k: int) -> tuple[Tensor, Tensor]:
        """Return the k largest values of each query and their entries, both (queries, k)."""
        queries, count = self.values.shape
        if count % _FEW == 0 and count >= _FEW * _FEW * k:
            groups = self.values.view(queries, _FEW, -1)
            steps = _multiples(_FEW, count // _FEW, torch.int64, groups.device)
            places = groups.amax(1).topk(k, sorted=False).indices.unsqueeze(1) + steps
            places = places.view(queries, -1)
            values, chosen = self.values.gather(1, places).topk(k)
            places = places.gather(1, chosen)
        else:
            values, places = self.values.topk(k)
        return values, self.places.gather(1, places) // self.width


@dataclass(frozen=True)
class _Space:
    """Work space for the similarities of the tokens of a block to some queries, and for maxima over their groups.

    Maxima of groups of similarities, of groups of these and so on are the levels of a tree, each an array of entries ×
    queries. Group g of n holds every n-th entry from its g-th one on, because maxima are then taken over whole rows.
    The groups of similarities lie within a tile, those of the other levels reach over the whole level.
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
        tile = _round_up(-(-count // -(-count // (_TILE_TOKENS * threads))), _GROUP**depth)
        padded = _round_up(count, tile)
        return cls(
            tuple(keys.new_empty(padded // _GROUP**level * queries) for level in range(depth + 1)), tile, queries
        )

    def narrow(self, query: Tensor, keys: Tensor, k: int) -> _Candidates:
        """Compute similarities and find candidates among which the k largest of each query are."""
        queries = query.shape[0]
        levels = [room[: room.shape[0] // self.queries * queries].view(-1, queries) for room in self.levels]
        self._fill(levels, query, keys)
        top = levels.pop()
        every = _multiples(top.shape[0], 1, torch.int64, top.device).view(1, -1).expand(queries, -1)
        candidates = _Candidates(top.T.contiguous(), every, 1)
        while levels:
            level = levels.pop()
            _, first = candidates.largest(k)
            stride = level.shape[0] // _GROUP
            if not levels:
                stride = self.tile // _GROUP
                first = first // stride * self.tile + first % stride
            first = (first * queries + _multiples(queries, 1, torch.int64, top.device)[0]).int()
            places = (first.unsqueeze(1) + _multiples(_GROUP, stride * queries, torch.int32, top.device)).view(-1)
            values = level.view(-1).index_select(0, places)
            candidates = _Candidates(values.view(queries, -1), places.view(queries, -1), queries)
        return candidates

    def _fill(self, levels: list[Tensor], query: Tensor, keys: Tensor) -> None:
        """Compute similarities and all maxima; places beyond the last token hold minus infinity."""
        similarity, count = levels[0], keys.shape[0]
        similarity[count:] = -torch.inf
        for start in range(0, similarity.shape[0], self.tile):
            stop = min(start + self.tile, count)
            torch.mm(keys[start:stop], query.T, out=similarity[start:stop])
            if len(levels) > 1:
                first, last = start // _GROUP, (start + self.tile) // _GROUP
                _take_maxima(similarity[start : start + self.tile], levels[1][first:last])
        for below, above in itertools.pairwise(levels[1:]):
            _take_maxima(below, above)


def _take_maxima(entries: Tensor, maxima: Tensor) -> None:
    torch.amax(entries.view(_GROUP, -1, entries.shape[1]), 0, out=maxima)


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
def _multiples(count: int, step: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return 0, step, 2 step …, shape (1, count, 1): the same few of them serve all tiles of all reads."""
    with torch.inference_mode(False):
        return torch.arange(0, count * step, step, dtype=dtype, device=device).view(1, -1, 1)


def _round_up(size: int, multiple: int) -> int:
    return -(-size // multiple) * multiple
