"""The restated networks hold exactly what the released files hold, and their outputs are fit to be compared with."""

import math

import pytest
import torch

from testing.original import blocks, rde, state, stcn, stm

MODULE_PARAMETERS = {
    "stcn": {
        "key_encoder.": 8_543_296,
        "key_encoder.res2.": 215_808,
        "key_encoder.layer2.": 1_219_584,
        "key_encoder.layer3.": 7_098_368,
        "value_encoder.": 21_701_635,
        "value_encoder.conv1.": 15_744,
        "value_encoder.layer1.": 148_224,
        "value_encoder.layer2.": 526_208,
        "value_encoder.layer3.": 2_100_992,
        "value_encoder.fuser.": 18_910_339,
        "key_proj.": 589_888,
        "key_comp.": 4_719_104,
        "decoder.": 18_880_257,
        "decoder.compress.": 11_798_016,
        "decoder.up_16_8.": 5_309_696,
        "decoder.up_8_4.": 1_770_240,
        "decoder.pred.": 2_305,
    },
    "rde": {
        "mem_compress.": 9_586_656,
        "mem_compress.key_encoder.": 73_888,
        "mem_compress.value_encoder.": 4_719_872,
        "mem_compress.compress_key.": 73_792,
        "mem_compress.compress_value.": 4_719_104,
    },
    "stm": {
        "Encoder_M.": 8_549_568,
        "Encoder_Q.": 8_543_296,
        "KV_M_r4.Key.": 1_179_776,
        "KV_Q_r4.Value.": 4_719_104,
        "Decoder.": 10_034_946,
    },
}


@pytest.mark.parametrize("kind", ["stm", "stcn", "rde"])
def test_entries_and_totals_are_those_of_the_released_files(kind):
    shapes = state.shapes(kind)
    sizes = {key: math.prod(shape) for key, shape in shapes.items()}
    assert len(shapes) == state.ENTRIES[kind]
    assert sum(size for key, size in sizes.items() if not state.is_buffer(key)) == state.PARAMETERS[kind]
    assert sum(size for key, size in sizes.items() if state.is_buffer(key)) == state.BUFFERS[kind]


@pytest.mark.parametrize(
    ("kind", "prefix"), [(kind, prefix) for kind, parts in MODULE_PARAMETERS.items() for prefix in parts]
)
def test_module_totals_are_those_of_the_released_files(kind, prefix):
    total = sum(
        math.prod(shape)
        for key, shape in state.shapes(kind).items()
        if key.startswith(prefix) and not state.is_buffer(key)
    )
    assert total == MODULE_PARAMETERS[kind][prefix]


def test_one_seed_gives_one_state_and_two_kinds_share_their_part():
    keys = ["key_proj.key_proj.weight", "value_encoder.bn1.running_var"]
    first, other = state.random_state_dict("stcn", 3), state.random_state_dict("rde", 3)
    assert all(torch.equal(first[key], other[key]) for key in keys)
    assert (first["value_encoder.bn1.running_var"] > 0).all()
    assert first["value_encoder.bn1.num_batches_tracked"].dtype == torch.int64


def test_brute_force_read_is_the_formula():
    generator = torch.Generator().manual_seed(0)
    query = torch.randn(1, 64, 2, 3, generator=generator, dtype=torch.float64)
    keys = torch.randn(64, 2, 2, 3, generator=generator, dtype=torch.float64)
    values = torch.randn(2, 8, 2, 2, 3, generator=generator, dtype=torch.float64)
    m, q = keys.flatten(1), query[0].flatten(1)
    weight = torch.softmax((2 * m.T @ q - m.square().sum(dim=0)[:, None]) / 8, dim=0)
    expected = (values.flatten(2) @ weight).unflatten(2, (2, 3))
    torch.testing.assert_close(stcn.read_memory(query, keys, values, top_k=None), expected)
    torch.testing.assert_close(stcn.read_memory(query, keys, values, top_k=99), expected)
    nearest = values.flatten(2)[:, :, weight.argmax(dim=0)].unflatten(2, (2, 3))
    torch.testing.assert_close(stcn.read_memory(query, keys, values, top_k=1), nearest)


@pytest.mark.parametrize("mode", rde.MODES)
def test_rde_memory_follows_its_mode(mode, monkeypatch):
    monkeypatch.setattr(rde, "aggregate", lambda w, kind, previous, new: 10 * previous + new)
    memory = rde.Memory({}, mode=mode)
    before, after = rde.MODES[mode]
    for step, aggregated in ((1, 1), (2, 12), (3, 123)):
        memory.add(torch.full((64, 2, 2), float(step)), torch.full((1, 512, 2, 2), float(step)))
        held = [int(key[0, 0, 0]) for key, _ in memory.entries()]
        meaning = {"R": aggregated, "G": 1, "L": step}
        entries = before if step == 1 else after
        assert held == (list(range(1, step + 1)) if entries == "*" else [meaning[entry] for entry in entries])


@pytest.mark.parametrize(("height", "width", "expected"), [(480, 854, (5, 5, 0, 0)), (481, 853, (5, 6, 7, 8))])
def test_padding_is_even_with_the_odd_one_last(height, width, expected):
    assert blocks.padding_to_16(height, width) == expected


def test_stm_reads_each_object_with_its_own_keys():
    keys = torch.zeros(2, 128, 1, 1, 2)
    keys[0, 0, 0, 0, 0] = keys[1, 0, 0, 0, 1] = 1000.0
    values = torch.tensor([1.0, 2.0]).expand(2, 512, 1, 1, 2)
    query = torch.zeros(1, 128, 1, 1)
    query[0, 0] = 1.0
    assert stm.read_memory(query, keys, values)[:, 0, 0, 0].tolist() == [1.0, 2.0]
