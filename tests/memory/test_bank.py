from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vos_zoo.errors import ConfigError, EmptyMemoryError, ShapeError
from vos_zoo.memory import MemoryBank, MemoryTokens, read_memory
from vos_zoo.testing.little_memory import LittleMemory

ROWS, WIDTH, COLUMNS = 6, 4, 10


def rows(number: float, batch: int = 1, columns: int = COLUMNS) -> tuple[torch.Tensor, torch.Tensor]:
    """Keys and values that say which frame they belong to."""
    return torch.full((batch, ROWS, WIDTH), float(number)), torch.full((batch, ROWS, columns), float(number))


def write(bank: MemoryBank, frame: int, **options: bool) -> int | None:
    keys, values = rows(frame)
    return bank.write(keys, values, frame=frame, **options)


def held(bank: MemoryBank) -> list[int]:
    return sorted(stored.frame for stored in bank.frames)


def content(bank: MemoryBank) -> list[int]:
    """Frame numbers as the tokens' values tell them, unused slots left out."""
    tokens = bank.tokens()
    used = torch.ones(tokens.count, dtype=torch.bool) if tokens.bias is None else tokens.bias[0].isfinite()
    numbers = tokens.values[0, used, 0].view(-1, ROWS)
    assert (numbers == numbers[:, :1]).all()
    return sorted(int(number) for number in numbers[:, 0])


@pytest.mark.parametrize("differentiable", [False, True])
def test_unbounded_bank_keeps_everything(differentiable: bool) -> None:
    bank = MemoryBank(differentiable=differentiable)
    for frame in range(11):
        assert write(bank, frame) == frame
    assert held(bank) == content(bank) == list(range(11))
    assert bank.tokens().count == 11 * ROWS


@pytest.mark.parametrize("differentiable", [False, True])
@pytest.mark.parametrize("max_frames", [2, 3, 5, 8])
def test_bounded_bank_keeps_references_and_the_newest_and_even_gaps(max_frames: int, differentiable: bool) -> None:
    bank = MemoryBank(max_frames=max_frames, differentiable=differentiable)
    for frame in range(0, 500, 5):
        write(bank, frame, reference=frame == 0)
        assert held(bank) == content(bank)
        assert bank.num_frames <= max_frames
        assert {0, frame} <= set(held(bank))
        gaps = [later - earlier for earlier, later in zip(held(bank), held(bank)[1:], strict=False)]
        # One removal at a time cannot do better than gaps that differ by a factor of about two between kept frames.
        if max_frames > 2 and frame >= 5 * max_frames:
            assert max(gaps) <= 2.01 * (frame / (max_frames - 1))


def test_bounded_bank_is_thinned_one_frame_at_a_time() -> None:
    bank = MemoryBank(max_frames=4)
    kept = []
    for frame in range(0, 40, 5):
        write(bank, frame, reference=frame == 0)
        kept.append(held(bank))
    assert kept[3:] == [[0, 5, 10, 15], [0, 10, 15, 20], [0, 10, 20, 25], [0, 10, 20, 30], [0, 10, 20, 35]]


def test_bounded_bank_never_allocates_again() -> None:
    bank = MemoryBank(max_frames=3)
    write(bank, 0, reference=True)
    tokens, size = bank.tokens(), bank.nbytes
    assert size == 3 * ROWS * (WIDTH + 1 + COLUMNS) * 4
    for frame in range(1, 50):
        write(bank, frame)
        assert bank.tokens().keys.data_ptr() == tokens.keys.data_ptr()
        assert bank.tokens().values.data_ptr() == tokens.values.data_ptr()
        assert bank.nbytes == size


def test_unbounded_bank_doubles() -> None:
    bank = MemoryBank()
    sizes = []
    for frame in range(20):
        write(bank, frame)
        sizes.append(bank.nbytes // bank.bytes_per_frame)
    assert sizes == [4] * 4 + [8] * 4 + [16] * 8 + [32] * 4
    assert bank.bytes_per_frame == ROWS * (WIDTH + 1 + COLUMNS) * 4


def test_tokens_are_views_of_the_storage() -> None:
    bank = MemoryBank(max_frames=4)
    write(bank, 1)
    write(bank, 2)
    tokens = bank.tokens()
    assert tokens.keys._base is not None
    assert tokens.keys.is_contiguous()
    assert tokens.values.is_contiguous()


@pytest.mark.parametrize("differentiable", [False, True])
def test_temporary_frame_gives_way_to_the_next_write(differentiable: bool) -> None:
    bank = MemoryBank(differentiable=differentiable)
    write(bank, 0, reference=True)
    for frame in range(1, 12):
        write(bank, frame, temporary=frame % 5 != 0)
        assert held(bank) == content(bank) == sorted({0, frame, *range(0, frame, 5)})


def test_temporary_frame_costs_a_full_bank_one_other_frame() -> None:
    bank = MemoryBank(max_frames=3)
    for frame in (0, 5, 10):
        write(bank, frame, reference=frame == 0)
    for frame in (11, 12, 13):
        write(bank, frame, temporary=True)
        assert held(bank) == [0, 10, frame] or held(bank) == [0, 5, frame]
        assert bank.num_frames == 3


@pytest.mark.parametrize("similarity", ["l2", "dot"])
@pytest.mark.parametrize("differentiable", [False, True])
def test_same_frame_replaces_its_older_version(similarity: str, differentiable: bool) -> None:
    bank = MemoryBank(similarity=similarity, differentiable=differentiable)
    write(bank, 0, reference=True)
    write(bank, 5)
    write(bank, 6, temporary=True)
    keys, values = rows(50)
    assert bank.write(keys, values, frame=5) == 1
    assert held(bank) == [0, 5]
    assert content(bank) == [0, 50]
    assert bank.write(*rows(9), frame=9) == 2
    assert content(bank) == [0, 9, 50]


def test_hole_between_frames_is_not_read() -> None:
    bank = MemoryBank(similarity="dot")
    write(bank, 1, temporary=True)
    write(bank, 1, temporary=True)
    write(bank, 2)
    bank.write(*rows(3), frame=3, temporary=True)
    bank.write(*rows(4), frame=4)
    bank.write(*rows(5), frame=5, temporary=True)
    assert bank.write(*rows(2), frame=2) == 0
    assert content(bank) == [2, 4]
    read = read_memory(torch.zeros(1, WIDTH, 1, 1), bank.tokens())
    torch.testing.assert_close(read.values, torch.full((1, COLUMNS, 1, 1), 3.0))


def test_a_frame_once_annotated_stays_so() -> None:
    bank = MemoryBank(max_frames=2)
    write(bank, 0, reference=True)
    write(bank, 0, temporary=True)
    assert bank.frames[0].is_reference
    assert not bank.frames[0].is_temporary


def test_annotated_frames_that_fill_the_bank_keep_others_out() -> None:
    bank = MemoryBank(max_frames=2)
    write(bank, 0, reference=True)
    write(bank, 7, reference=True)
    assert write(bank, 8) is None
    assert held(bank) == content(bank) == [0, 7]


def test_more_annotated_frames_than_room_keep_the_first_and_the_newest() -> None:
    bank = MemoryBank(max_frames=3)
    for frame in (0, 3, 10, 11, 30, 40):
        write(bank, frame, reference=True)
        assert {0, frame} <= set(held(bank))
    assert held(bank) == [0, 30, 40] or held(bank) == [0, 11, 40]


def test_bank_of_one_frame_holds_the_newest_annotated_one() -> None:
    bank = MemoryBank(max_frames=1)
    write(bank, 0, reference=True)
    assert write(bank, 1) is None
    write(bank, 2, reference=True)
    assert held(bank) == [2]


@settings(max_examples=80, deadline=None)
@given(
    max_frames=st.one_of(st.none(), st.integers(1, 6)),
    writes=st.lists(st.tuples(st.integers(0, 30), st.booleans(), st.booleans()), min_size=1, max_size=30),
    similarity=st.sampled_from(["l2", "dot"]),
)
def test_any_order_of_writes_keeps_the_rules(
    max_frames: int | None, writes: list[tuple[int, bool, bool]], similarity: str
) -> None:
    block = MemoryBank(max_frames=max_frames, similarity=similarity)
    graph = MemoryBank(max_frames=max_frames, similarity=similarity, differentiable=True)
    references: set[int] = set()
    for frame, reference, temporary in writes:
        slot = write(block, frame, reference=reference, temporary=temporary)
        assert slot == write(graph, frame, reference=reference, temporary=temporary)
        assert block.frames == graph.frames
        if not block.frames:
            continue
        assert held(block) == content(block) == content(graph)
        references |= {frame} if reference else set()
        assert max_frames is None or block.num_frames <= max_frames
        assert slot is None or frame in held(block)
        assert len(set(held(block))) == block.num_frames
        assert sum(stored.is_temporary for stored in block.frames) <= 1
        if max_frames is None or len(references) <= max_frames:
            assert references <= set(held(block))


@pytest.mark.parametrize("differentiable", [False, True])
def test_smaller_bound_thins_and_releases(differentiable: bool) -> None:
    bank = MemoryBank(differentiable=differentiable)
    for frame in range(0, 45, 5):
        write(bank, frame, reference=frame == 0)
    bank.resize(3)
    assert held(bank) == content(bank)
    assert held(bank) == [0, 20, 40]
    assert bank.nbytes == 3 * bank.bytes_per_frame
    write(bank, 60)
    assert bank.num_frames == 3


def test_larger_bound_keeps_what_is_there() -> None:
    bank = MemoryBank(max_frames=2)
    write(bank, 0)
    write(bank, 1)
    bank.resize(4)
    write(bank, 2)
    assert held(bank) == content(bank) == [0, 1, 2]
    bank.resize(None)
    for frame in range(3, 12):
        write(bank, frame)
    assert content(bank) == list(range(12))


def test_resize_before_the_first_write() -> None:
    bank = MemoryBank()
    bank.resize(2)
    for frame in range(5):
        write(bank, frame)
    assert bank.num_frames == 2


@pytest.mark.parametrize("differentiable", [False, True])
def test_objects_are_selected_and_removed(differentiable: bool) -> None:
    bank = MemoryBank(num_objects=5, differentiable=differentiable, max_frames=3)
    values = torch.arange(5.0).repeat_interleave(2).expand(1, ROWS, COLUMNS)
    for frame in range(2):
        bank.write(torch.zeros(1, ROWS, WIDTH), values, frame=frame)
    before = bank.nbytes
    bank.select_objects([4, 0, 2])
    assert bank.num_objects == 3
    assert bank.tokens().values[0, 0].tolist() == [4, 4, 0, 0, 2, 2]
    bank.remove_objects([1])
    assert bank.tokens().values[0, -1].tolist() == [4, 4, 2, 2]
    assert bank.nbytes < before
    bank.write(torch.zeros(1, ROWS, WIDTH), torch.zeros(1, ROWS, 4), frame=9)
    assert bank.num_frames == 3


@pytest.mark.parametrize("differentiable", [False, True])
def test_batch_entries_are_selected(differentiable: bool) -> None:
    bank = MemoryBank(differentiable=differentiable)
    keys, values = (torch.stack([part[0], part[0] + 1, part[0] + 2]) for part in rows(0))
    bank.write(keys, values, frame=0)
    bank.select_batch([2, 0])
    assert bank.tokens().values[:, 0, 0].tolist() == [2, 0]
    bank.write(*rows(7, batch=2), frame=1)
    assert bank.num_frames == 2


def test_differentiable_bank_passes_gradients() -> None:
    bank = MemoryBank(differentiable=True)
    keys, values = (part.requires_grad_() for part in rows(1))
    bank.write(keys, values, frame=0)
    write(bank, 1)
    read_memory(torch.ones(1, WIDTH, 2, 2), bank.tokens()).values.square().sum().backward()
    assert keys.grad is not None
    assert values.grad is not None
    assert values.grad.abs().sum() > 0


def test_other_banks_detach() -> None:
    bank = MemoryBank()
    keys, values = (part.requires_grad_() for part in rows(1))
    bank.write(keys, values, frame=0)
    assert not bank.tokens().keys.requires_grad


def test_bank_filled_in_inference_mode_can_be_written_outside() -> None:
    bank = MemoryBank(max_frames=2, num_objects=2)
    with torch.inference_mode():
        write(bank, 0)
        bank.resize(3)
        bank.select_objects([1])
        bank.select_batch([0])
    bank.write(*rows(1, columns=COLUMNS // 2), frame=1)
    with torch.inference_mode():
        bank.write(*rows(2, columns=COLUMNS // 2), frame=2)
    assert content(bank) == [0, 1, 2]


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_types_follow_the_first_write(dtype: torch.dtype) -> None:
    bank = MemoryBank(max_frames=2)
    keys, values = rows(3)
    bank.write(keys.to(dtype), values.half(), frame=0)
    bank.write(keys, values, frame=1)
    tokens = bank.tokens()
    assert tokens.keys.dtype == dtype
    assert tokens.values.dtype == torch.float16
    assert tokens.bias is not None
    assert tokens.bias.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert bank.bytes_per_frame == ROWS * (WIDTH * keys.to(dtype).element_size() + tokens.bias.element_size() + 20)


def test_l2_bias_belongs_to_the_stored_keys() -> None:
    bank = MemoryBank()
    write(bank, 3)
    tokens = bank.tokens()
    assert tokens.bias is not None
    torch.testing.assert_close(tokens.bias, -tokens.keys.square().sum(2) / WIDTH**0.5)
    assert tokens.scale == 2 / WIDTH**0.5


def test_dot_bank_without_holes_has_no_bias() -> None:
    bank = MemoryBank(similarity="dot", scale=0.3)
    write(bank, 3)
    assert bank.tokens().bias is None
    assert bank.tokens().scale == 0.3


def test_reading_an_empty_bank_is_an_error() -> None:
    with pytest.raises(EmptyMemoryError, match="annotated frame"):
        MemoryBank().tokens()


@pytest.mark.parametrize("differentiable", [False, True])
def test_rows_that_do_not_fit_are_an_error(differentiable: bool) -> None:
    bank = MemoryBank(differentiable=differentiable)
    with pytest.raises(ShapeError, match=r"\(1, 6, 4\).*\(1, 5, 10\)"):
        bank.write(torch.zeros(1, 6, 4), torch.zeros(1, 5, 10), frame=0)
    write(bank, 0)
    with pytest.raises(ShapeError, match="another resolution"):
        bank.write(torch.zeros(1, 7, 4), torch.zeros(1, 7, 10), frame=1)
    with pytest.raises(ShapeError, match="another resolution"):
        bank.write(torch.zeros(1, 6, 4), torch.zeros(1, 6, 12), frame=1)


def test_values_of_a_broken_number_of_objects_are_an_error() -> None:
    with pytest.raises(ShapeError, match="3 objects"):
        write(MemoryBank(num_objects=3), 0)


@pytest.mark.parametrize("options", [{"max_frames": 0}, {"max_frames": -1}, {"num_objects": 0}])
def test_sizes_below_one_are_an_error(options: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="at least 1"):
        MemoryBank(**options)


@pytest.mark.parametrize("planes", [[], [3], [-1]])
def test_objects_that_do_not_exist_are_an_error(planes: list[int]) -> None:
    bank = MemoryBank(num_objects=2)
    write(bank, 0)
    with pytest.raises(ConfigError):
        bank.select_objects(planes)
    with pytest.raises(ConfigError):
        bank.remove_objects(planes or [0, 1])


@pytest.mark.parametrize("change", ["grow", "resize", "correct"])
def test_a_change_without_memory_leaves_a_bank_as_it_was(change: str) -> None:
    def fill(bank: MemoryBank, frame: int) -> None:
        generator = torch.Generator().manual_seed(frame)
        keys, values = (torch.randn(1, 6, width, generator=generator) for width in (3, 4))
        bank.write(keys, values, frame=frame, reference=frame == 0)

    bank = MemoryBank()
    for frame in range(4):  # as many as there is room for at first
        fill(bank, frame)
    before = [part.clone() for part in parts(bank.tokens())]
    actions = {
        "grow": lambda: fill(bank, 4),
        "resize": lambda: bank.resize(3),
        "correct": lambda: bank.select_objects([0]),
    }
    failures = 0
    while True:
        try:
            with LittleMemory(failures):
                actions[change]()
            break
        except torch.OutOfMemoryError:
            failures += 1
        assert all(torch.equal(found, old) for found, old in zip(parts(bank.tokens()), before, strict=True))
    assert failures >= {"grow": 3, "resize": 3, "correct": 1}[change]


def parts(tokens: MemoryTokens) -> tuple[torch.Tensor, ...]:
    assert tokens.bias is not None
    return tokens.keys, tokens.bias, tokens.values
