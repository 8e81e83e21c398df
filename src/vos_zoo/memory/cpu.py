"""The memory read in blocks of PyTorch operations, laid out for the caches of a CPU.

With top-k the affinity exists only one block at a time, and selection looks at a sixteenth of it:

1. Similarities of some 200 queries to all tokens of a block, computed in tiles that fit the second-level cache. While a
   tile is hot, the maximum of each of its groups of 16 tokens is taken.
2. A bound: k tokens that lie in different lanes (say 128 of them, tokens dealt out in turn) reach the k-th largest of
   the lanes' maxima, hence the k best tokens do. Few others reach it: 22 tokens for k = 20 on random keys.
3. Groups whose maximum reaches the bound, tokens of these groups that reach it, and the k best of them.
4. Softmax, and one weighted sum of k contiguous rows per query over the token-major values of all objects.

Every step is exact, and whatever ties with the k-th similarity reaches the bound too, so that token indices can decide.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from vos_zoo.memory.softmax import read_softmax
from vos_zoo.memory.tokens import MemoryTokens

_GROUP = 16  # tokens that share one maximum; 8 to 32 measure alike
_DIRECT_TOKENS = 512  # up to here, and up to two groups for each of the k, a plain selection gives the bound faster
_TILE_QUERIES = 192
_TILE_TOKENS = 2048  # for one or two threads, more in proportion: 1.5 MiB of similarities, about a second-level cache
_LANES = 32  # group maxima are computed side by side in multiples of this many, else four times slower
_BLOCK_BYTES = 26 * 2**20  # similarities that exist at once
_SPARSE = 1024  # in longer rows true entries are so rare that eight at a time are looked for
_CROWD = 8  # times k places at the bound or above per query on average: so many tie that whole rows are looked at
_CROWD_SIMILARITIES = 2**19  # then this many of them exist at once


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
    # Query tiles of equal height: a last thin one would run at half the matrix rate.
    height = _even_part(scaled.shape[0], _TILE_QUERIES)
    values, tokens = [], []
    crowded: set[int] = set()
    for start, tiles in _search(torch.split(scaled, height), memory, entry, top_k):
        crowded.update(index for index, tile in enumerate(tiles) if tile.is_crowd)
        found, places = _pack(tiles, height, scaled, top_k)
        values.append(found)
        tokens.append(places.add_(start))
    best, chosen = _best(_cat(values), _cat(tokens), top_k)
    few = max(1, _CROWD_SIMILARITIES // memory.count)
    for index in crowded:
        rows_of_tile = torch.arange(index * height, min((index + 1) * height, scaled.shape[0]), device=scaled.device)
        for rows in torch.split(rows_of_tile, few):
            best[rows], chosen[rows] = _best_of_whole_rows(scaled[rows], memory, entry, top_k)
    return chosen, best.softmax(1)


class _Candidates(NamedTuple):
    """The tokens of a block that reach the bound of their query, in the order of the queries."""

    rows: Tensor  # query of each, within its tile
    tokens: Tensor  # within the block
    values: Tensor
    is_crowd: bool  # too many to list; then none is


def _search(
    tiles: tuple[Tensor, ...], memory: MemoryTokens, entry: int, top_k: int
) -> list[tuple[int, list[_Candidates]]]:
    """Find candidates block by block; each block's first token and one entry per query tile."""
    like = tiles[0]
    width = max(_BLOCK_BYTES // (like.shape[0] * like.element_size()), 4 * top_k * _GROUP, _TILE_TOKENS)
    width = _even_part(memory.count, width)
    space = _Space.allocate(like.shape[0], width, like)
    found = []
    for start in range(0, memory.count, width):
        keys = memory.keys[entry, start : start + width].to(like.dtype)
        bias = None if memory.bias is None else memory.bias[entry, start : start + width].to(like.dtype)
        found.append((start, [space.candidates(tile, keys, bias, top_k) for tile in tiles]))
    return found


@dataclass(frozen=True)
class _Space:
    """Work space for the similarities of some queries to a run of tokens, and the first selection among them."""

    similarity: Tensor  # (queries, padded tokens)
    maxima: Tensor  # (queries, padded tokens / _GROUP)
    tile: int  # tokens whose similarities are computed and reduced together

    @classmethod
    def allocate(cls, queries: int, tokens: int, like: Tensor) -> _Space:
        threads = torch.get_num_threads() if like.device.type == "cpu" else 64
        tile = min(max(_TILE_TOKENS, _TILE_TOKENS // 2 * threads), _round_up(tokens, _GROUP * _LANES))
        padded = _round_up(tokens, tile)
        return cls(like.new_empty(queries, padded), like.new_empty(queries, padded // _GROUP), tile)

    def candidates(self, query: Tensor, keys: Tensor, bias: Tensor | None, k: int) -> _Candidates:
        """Compute similarities and find what reaches the bound."""
        k = min(k, keys.shape[0])
        most = _CROWD * k * query.shape[0]
        lanes = self.tile // _GROUP
        similarity, maxima = self._fill(query, keys, bias)
        if keys.shape[0] <= max(_DIRECT_TOKENS, 2 * k * _GROUP) or k > lanes:
            rows, tokens = _true_places(similarity >= _lowest_of_best(similarity, k))
            kept = slice(0 if rows.shape[0] > most else None)
            return _Candidates(rows[kept], tokens[kept], similarity[rows[kept], tokens[kept]], rows.shape[0] > most)
        # Half as many lanes are searched in half the time, and the bound is hardly looser.
        searched = lanes
        while searched % 2 == 0 and searched >= 6 * k:
            searched //= 2
        bound = _lowest_of_best(maxima.view(query.shape[0], -1, searched).amax(1), k)
        rows, groups = _true_places(maxima >= bound)
        is_crowd = rows.shape[0] > most
        if is_crowd:
            rows, groups = rows[:0], groups[:0]
        # Group g of a tile holds every token that lies a whole number of lanes after its g-th one.
        first = groups // lanes * self.tile + groups % lanes
        steps = torch.arange(0, self.tile, lanes, device=query.device, dtype=torch.int32)
        places = (rows * self.similarity.shape[1] + first).int().unsqueeze(1) + steps
        values = self.similarity.view(-1).index_select(0, places.flatten())
        reaching = (values.view(-1, _GROUP) >= bound[rows]).view(-1).nonzero().squeeze(1)
        entries = reaching // _GROUP
        tokens = first[entries] + reaching % _GROUP * lanes
        return _Candidates(rows[entries], tokens, values[reaching], is_crowd)

    def _fill(self, query: Tensor, keys: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor]:
        """Compute similarities and group maxima; places beyond the last token hold minus infinity."""
        queries, count = query.shape[0], keys.shape[0]
        padded = _round_up(count, self.tile)
        similarity, maxima = self.similarity[:queries, :padded], self.maxima[:queries, : padded // _GROUP]
        if padded > count:
            similarity[:, count:] = -torch.inf
        for start in range(0, padded, self.tile):
            stop = min(start + self.tile, count)
            out = similarity[:, start:stop]
            if bias is None:
                torch.mm(query, keys[start:stop].T, out=out)
            else:
                torch.addmm(bias[start:stop], query, keys[start:stop].T, out=out)
            groups = similarity[:, start : start + self.tile].view(queries, _GROUP, -1)
            first = start // _GROUP
            torch.amax(groups, 1, out=maxima[:, first : first + groups.shape[2]])
        return similarity, maxima


def _lowest_of_best(values: Tensor, k: int) -> Tensor:
    """K-th largest of each row, shape (rows, 1); the lowest finite number instead of minus infinity."""
    lowest = values.topk(k, sorted=False).values.amin(1, keepdim=True)
    return lowest.clamp(min=torch.finfo(values.dtype).min)


def _true_places(mask: Tensor) -> tuple[Tensor, Tensor]:
    """Rows and columns of the true entries; there are some tens in each row, of a multiple of eight entries."""
    if mask.shape[1] <= _SPARSE:
        rows, columns = mask.nonzero(as_tuple=True)
        return rows, columns
    # Eight entries at a time as one integer.
    rows, eights = mask.view(torch.int64).nonzero(as_tuple=True)
    inside = mask.view(-1, mask.shape[1] // 8, 8)[rows, eights].view(-1).nonzero().squeeze(1)
    entries = inside // 8
    return rows[entries], eights[entries] * 8 + inside % 8


def _pack(tiles: list[_Candidates], height: int, like: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Give each query a row of at least k candidates; missing ones are minus infinity at token 0."""
    rows = torch.cat([tile.rows + index * height for index, tile in enumerate(tiles)])
    counts = torch.bincount(rows, minlength=like.shape[0])
    width = max(int(counts.max()), k)
    places = torch.arange(rows.shape[0], device=rows.device) - (counts.cumsum(0) - counts)[rows]
    values = like.new_full((like.shape[0], width), -torch.inf)
    tokens = rows.new_zeros(like.shape[0], width)
    values[rows, places] = torch.cat([tile.values for tile in tiles])
    tokens[rows, places] = torch.cat([tile.tokens for tile in tiles])
    return values, tokens


def _best(values: Tensor, tokens: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Take the k largest of each row, the lower token index among equals at the k-th place."""
    if values.shape[1] == k:
        return values, tokens
    best, places = values.topk(k + 1)
    chosen = tokens.gather(1, places[:, :k])
    tied = (best[:, k - 1] == best[:, k]) & (best[:, k] > -torch.inf)
    best = best[:, :k]
    if bool(tied.any()):
        best[tied], chosen[tied] = _top_k_by_index(values[tied], tokens[tied], k)
    return best, chosen


def _top_k_by_index(values: Tensor, tokens: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Take the k largest of each row, the lower token index first among equals."""
    tokens, order = tokens.sort(1)
    values, order = values.gather(1, order).sort(dim=1, descending=True, stable=True)
    return values[:, :k], tokens.gather(1, order[:, :k])


def _best_of_whole_rows(query: Tensor, memory: MemoryTokens, entry: int, k: int) -> tuple[Tensor, Tensor]:
    """Select among all similarities of a few queries, counting along their rows where tokens tie."""
    similarity = query @ memory.keys[entry].to(query.dtype).T
    if memory.bias is not None:
        similarity += memory.bias[entry].to(query.dtype)
    lowest = similarity.topk(k).values[:, -1:]
    above, level = similarity > lowest, similarity == lowest
    needed = k - above.sum(1, keepdim=True)
    tokens = (above | (level & (level.cumsum(1) <= needed))).nonzero()[:, 1].view(-1, k)
    return similarity.gather(1, tokens), tokens


def _weighted_rows(table: Tensor, rows: Tensor, weights: Tensor) -> Tensor:
    """Sum k rows of a table per query, shape (M, D), in float32 or wider."""
    table = table if table.stride(1) == 1 else table.contiguous()
    narrow = weights.to(table.dtype)
    if table.dtype in (torch.float16, torch.bfloat16):
        # Weights have to be as narrow as the table; a second term carries the digits that they lose.
        rows, narrow = torch.cat([rows, rows], 1), torch.cat([narrow, (weights - narrow).to(table.dtype)], 1)
    return F.embedding_bag(rows, table, mode="sum", per_sample_weights=narrow)


def _cat(blocks: list[Tensor]) -> Tensor:
    return blocks[0] if len(blocks) == 1 else torch.cat(blocks, 1)


def _stack(entries: list[Tensor]) -> Tensor:
    return entries[0].unsqueeze(0) if len(entries) == 1 else torch.stack(entries)


def _even_part(total: int, largest: int) -> int:
    """Size of the parts when ``total`` is cut into as few near-equal parts as ``largest`` allows."""
    return -(-total // -(-total // largest))


def _round_up(size: int, multiple: int) -> int:
    return -(-size // multiple) * multiple
