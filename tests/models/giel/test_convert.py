"""Weights that GIEL's variants share."""

from __future__ import annotations

from testing.giel import tiny
from vos_zoo.models.giel.convert import full_from_fast


def test_fast_and_full_share_their_common_weights():
    fast, full = tiny(variant="fast"), tiny(variant="full")
    missing, unexpected = full.load_state_dict(full_from_fast(fast.state_dict()), strict=False)
    assert unexpected == []
    assert {key.partition(".")[0] for key in missing} == {"instance_decoder"}
