"""The memory read in blocks of PyTorch operations, laid out for the caches of a CPU.

With top-k the affinity exists only one block at a time, and selection looks at a sixteenth of it:

1. Similarities of some 200 queries to all tokens of a block, computed in tiles that fit the second-level cache. While a
   tile is hot, the maximum of each of its groups of 16 tokens is taken.
2. The k-th largest group maximum bounds the k-th largest similarity from below, so only the k best groups can hold a
   token that counts; of their tokens only those at the bound or above are looked at again.
3. Softmax, and one weighted sum of k contiguous rows per query over the token-major values of all objects.

Every step is exact. Where several tokens share the k-th place, the lower token index wins: among the few tokens at the
bound or above by sorting, and by counting along whole rows if more groups tie than were kept.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from vos_zoo.memory.softmax import read_softmax
from vos_zoo.memory.tokens import MemoryTokens

_GROUP = 16  # tokens that share one maximum; 8 to 32 measure alike
_SPARE = 4  # groups kept beyond k, so that tokens stored two or three times need no second look at whole rows
_DIRECT_TOKENS = 512  # up to here, and up to two groups for each of the k, one plain selection is faster than two
_TILE_QUERIES = 192
_TILE_TOKENS = 1024  # per thread: 0.75 MiB of similarities, inside a second-level cache
_BLOCK_BYTES = 26 * 2**20  # similarities that exist at once
_ROW_BYTES = 4 * 2**20  # value rows widened to float32 at once


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
    for entry in range(query.shape[0]):
        tokens, weights = select_tokens(query[entry], memory, entry, top_k)
        values.append(_weighted_rows(memory.values[entry], tokens, weights))
        if read_keys:
            keys.append(_weighted_rows(memory.keys[entry], tokens, weights))
    return torch.stack(values), torch.stack(keys) if read_keys else None


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
    count, itemsize = memory.count, scaled.element_size()
    # Query tiles of equal height: a last thin one would run at half the matrix rate.
    height = _even_part(scaled.shape[0], _TILE_QUERIES)
    width = _even_part(count, max(_BLOCK_BYTES // (height * itemsize), 4 * top_k * _GROUP, _TILE_TOKENS))
    block = _Block.allocate(height, width, scaled)
    best: tuple[Tensor, Tensor] | None = None
    for start in range(0, count, width):
        keys = memory.keys[entry, start : start + width].to(exact)
        bias = None if memory.bias is None else memory.bias[entry, start : start + width].to(exact)
        kept = min(top_k, keys.shape[0])
        parts = [block.top_k(tile, keys, bias, kept) for tile in torch.split(scaled, height)]
        found = torch.cat([part[0] for part in parts]), torch.cat([part[1] for part in parts]) + start
        if best is None:
            best = found
        else:
            best = _top_k_by_index(torch.cat([best[0], found[0]], 1), torch.cat([best[1], found[1]], 1), top_k)
    assert best is not None
    return best[1], best[0].softmax(1)


@dataclass(frozen=True)
class _Block:
    """Work space for the similarities of some queries to a run of tokens, and the selection among them."""

    similarity: Tensor  # (queries, padded tokens)
    maxima: Tensor  # (queries, padded tokens / _GROUP)
    tile: int  # tokens whose similarities are computed and reduced together, a multiple of _GROUP

    @classmethod
    def allocate(cls, queries: int, tokens: int, like: Tensor) -> _Block:
        threads = torch.get_num_threads() if like.device.type == "cpu" else 64
        tile = -(-_even_part(tokens, _TILE_TOKENS * threads) // _GROUP) * _GROUP
        padded = -(-tokens // tile) * tile
        return cls(like.new_empty(queries, padded), like.new_empty(queries, padded // _GROUP), tile)

    def top_k(self, query: Tensor, keys: Tensor, bias: Tensor | None, k: int) -> tuple[Tensor, Tensor]:
        """Return similarities and indices (M, k) of the best tokens, in no particular order."""
        count = keys.shape[0]
        if count <= max(_DIRECT_TOKENS, 2 * k * _GROUP):
            similarity = _similarity(query, keys, bias)
            if k == count:
                return similarity, torch.arange(k, device=query.device).expand_as(similarity)
            values, tokens = similarity.topk(k + 1)
            ambiguous = (values[:, k - 1] == values[:, k]) & (values[:, k] > -torch.inf)
            return _settle(similarity, values[:, :k], tokens[:, :k], values[:, k - 1], ambiguous)
        similarity, maxima = self._fill(query, keys, bias)
        kept = min(k + _SPARE, maxima.shape[1])
        best_maxima, groups = maxima.topk(kept)
        bound = best_maxima[:, k - 1 : k]
        # Token j of a group lies j strides after its first one, inside the group's tile.
        stride = self.tile // _GROUP
        first = groups + groups.div(stride, rounding_mode="floor") * (self.tile - stride)
        tokens = (first.unsqueeze(2) + torch.arange(0, self.tile, stride, device=query.device)).flatten(1)
        values, tokens = _pack(similarity.gather(1, tokens), tokens, bound, k)
        if values.shape[1] > k:
            candidates, candidate_tokens = values, tokens
            values, places = candidates.topk(k + 1)
            tied = (values[:, k - 1] == values[:, k]) & (values[:, k] > -torch.inf)
            values, tokens = values[:, :k], candidate_tokens.gather(1, places[:, :k])
            if bool(tied.any()):
                values[tied], tokens[tied] = _top_k_by_index(candidates[tied], candidate_tokens[tied], k)
        lowest = values.amin(1)
        ambiguous = (best_maxima[:, -1] == lowest) & (lowest > -torch.inf)
        if kept == maxima.shape[1]:
            return values, tokens
        return _settle(similarity, values, tokens, lowest, ambiguous)

    def _fill(self, query: Tensor, keys: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor]:
        """Compute similarities and group maxima; places beyond the last token hold minus infinity."""
        count, queries = keys.shape[0], query.shape[0]
        padded = -(-count // self.tile) * self.tile
        similarity, maxima = self.similarity[:queries, :padded], self.maxima[:queries, : padded // _GROUP]
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


def _similarity(query: Tensor, keys: Tensor, bias: Tensor | None) -> Tensor:
    return query @ keys.T if bias is None else torch.addmm(bias, query, keys.T)


def _pack(values: Tensor, tokens: Tensor, bound: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Move the entries of each row that reach the row's bound to its front; the rest is minus infinity at token 0.

    At least k entries do, unless a row holds NaN, which then reaches the output.
    """
    rows, columns = (values >= bound).nonzero(as_tuple=True)
    counts = torch.bincount(rows, minlength=values.shape[0])
    width = max(int(counts.max()), k)
    places = torch.arange(rows.shape[0], device=rows.device) - (counts.cumsum(0) - counts)[rows]
    packed = values.new_full((values.shape[0], width), -torch.inf)
    packed_tokens = tokens.new_zeros(values.shape[0], width)
    packed[rows, places], packed_tokens[rows, places] = values[rows, columns], tokens[rows, columns]
    return packed, packed_tokens


def _top_k_by_index(values: Tensor, tokens: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Take the k largest of each row, the lower token index first among equals."""
    tokens, order = tokens.sort(1)
    values, order = values.gather(1, order).sort(dim=1, descending=True, stable=True)
    return values[:, :k], tokens.gather(1, order[:, :k])


def _settle(
    similarity: Tensor, values: Tensor, tokens: Tensor, lowest: Tensor, ambiguous: Tensor
) -> tuple[Tensor, Tensor]:
    """Choose again, by token index, in the rows where tokens outside the choice equal the lowest one inside."""
    rows = ambiguous.nonzero().squeeze(1)
    k = values.shape[1]
    for part in torch.split(rows, 16):  # rows with this many ties are rare; a few at a time keep the masks small
        row, threshold = similarity[part], lowest[part].unsqueeze(1)
        above, level = row > threshold, row == threshold
        needed = k - above.sum(1, keepdim=True)
        chosen = (above | (level & (level.cumsum(1) <= needed))).nonzero()[:, 1].view(-1, k)
        values[part], tokens[part] = row.gather(1, chosen), chosen
    return values, tokens


def _weighted_rows(table: Tensor, rows: Tensor, weights: Tensor) -> Tensor:
    """Sum k rows of a table per query, shape (M, D), in float32 or wider."""
    if table.dtype in (torch.float32, torch.float64):
        table = table if table.stride(1) == 1 else table.contiguous()
        return F.embedding_bag(rows, table, mode="sum", per_sample_weights=weights.to(table.dtype))
    # Half-precision sums would round the weights too.
    height = max(1, _ROW_BYTES // (4 * rows.shape[1] * table.shape[1]))
    parts = [
        torch.bmm(weight.unsqueeze(1), table[row].to(weight.dtype)).squeeze(1).to(table.dtype)
        for row, weight in zip(torch.split(rows, height), torch.split(weights, height), strict=True)
    ]
    return torch.cat(parts)


def _even_part(total: int, largest: int) -> int:
    """Size of the parts when ``total`` is cut into as few near-equal parts as ``largest`` allows."""
    return -(-total // -(-total // largest))
