"""Groups of objects over frame banks, with hand-made keys and values."""

from functools import partial

import pytest
import torch

from vos_zoo.errors import EmptyMemoryError, MemoryBudgetError, ShapeError
from vos_zoo.memory import MemoryBank
from vos_zoo.models.grouped_memory import MatchingMemory
from vos_zoo.network import MemoryPolicy

POSITIONS, KEY, VALUE = 6, 4, 2
GRID = (2, 3)


def new_memory(*, per_object=False, differentiable=False, **policy):
    return MatchingMemory(
        MemoryPolicy(**{"every": 1} | policy),
        partial(MemoryBank, similarity="dot", differentiable=differentiable),
        keys_per_object=per_object,
        differentiable=differentiable,
    )


def write(memory, objects, reference=(), *, per_object=False, value=0.0, batch=1):
    """Memorise a frame; an object's value is its plane plus ``value``."""
    memory.tick()
    shape = (batch, objects, POSITIONS, KEY) if per_object else (batch, POSITIONS, KEY)
    values = torch.arange(objects).view(1, -1, 1, 1).expand(batch, -1, POSITIONS, VALUE) + value
    memory.write(torch.zeros(shape), values, frozenset(reference))


def read(memory, batch=1):
    """Read at all positions; equal keys give the mean over the frames. Returns one number per object."""
    readout = memory.read(torch.zeros(batch, KEY, *GRID), top_k=None)
    assert readout.shape == (batch, memory.num_objects, VALUE, *GRID)
    assert torch.allclose(readout, readout.mean(dim=(2, 3, 4), keepdim=True).expand_as(readout))
    return [round(number, 4) for number in readout[0, :, 0, 0, 0].tolist()]


both = pytest.mark.parametrize("per_object", [False, True])


@both
def test_every_object_reads_its_own_values(per_object):
    memory = new_memory(per_object=per_object)
    write(memory, 3, {0, 1, 2}, per_object=per_object)
    assert read(memory) == [0, 1, 2]
    write(memory, 3, per_object=per_object, value=1.0)
    assert read(memory) == [0.5, 1.5, 2.5]
    assert (memory.num_objects, memory.num_frames) == (3, 2)


@both
def test_a_newcomer_does_not_see_frames_before_it(per_object):
    memory = new_memory(per_object=per_object)
    write(memory, 2, {0, 1}, per_object=per_object)
    write(memory, 3, {2}, per_object=per_object, value=10.0)
    assert [group.planes for group in memory.groups] == [[0, 1], [2]]
    assert read(memory) == [5, 6, 12]
    assert memory.num_frames == 2


@both
def test_planes_stay_in_order_after_removals(per_object):
    memory = new_memory(per_object=per_object)
    write(memory, 2, {0, 1}, per_object=per_object)
    write(memory, 4, {2, 3}, per_object=per_object)
    memory.remove_objects([0, 2])
    assert [group.planes for group in memory.groups] == [[0], [1]]
    assert read(memory) == [1, 3]
    write(memory, 3, {2}, per_object=per_object)
    assert [group.planes for group in memory.groups] == [[0], [1], [2]]
    memory.remove_objects([1])
    assert [group.planes for group in memory.groups] == [[0], [1]]
    assert memory.num_objects == 2


@both
def test_removing_all_frees_all(per_object):
    memory = new_memory(per_object=per_object)
    write(memory, 2, {0, 1}, per_object=per_object)
    before = memory.nbytes
    memory.remove_objects([1])
    assert 0 < memory.nbytes < before
    memory.remove_objects([0])
    assert (memory.nbytes, memory.num_objects, memory.num_frames) == (0, 0, 0)
    with pytest.raises(EmptyMemoryError):
        memory.read(torch.zeros(1, KEY, *GRID), top_k=None)


@both
def test_clips_of_a_batch_are_read_apart(per_object):
    memory = new_memory(per_object=per_object)
    write(memory, 2, {0, 1}, per_object=per_object, batch=3)
    assert read(memory, batch=3) == [0, 1]


def test_reading_nothing_is_an_error():
    with pytest.raises(EmptyMemoryError, match="Memorise a reference frame"):
        new_memory().read(torch.zeros(1, KEY, *GRID), top_k=None)


@pytest.mark.parametrize(
    ("objects", "reference", "message"),
    [
        (1, (), "Memorising 1 object planes, but the memory knows 2"),
        (0, (), "Memorising 0 object planes"),
        (3, (), r"Planes \[2\] are new, but only \[\] are annotated"),
        (4, (3,), r"Planes \[2, 3\] are new, but only \[3\]"),
    ],
)
def test_planes_that_do_not_fit_are_refused(objects, reference, message):
    memory = new_memory()
    write(memory, 2, {0, 1})
    with pytest.raises(ShapeError, match=message):
        write(memory, objects, reference)
    assert memory.num_objects == 2
    assert read(memory) == [0, 1]


def test_an_empty_memory_takes_no_frame_without_objects():
    with pytest.raises(ShapeError):
        write(new_memory(), 0)


def test_a_temporary_frame_gives_way():
    memory = new_memory(every=3, keep_latest=True)
    write(memory, 1, {0}, value=10.0)
    means = []
    for frame in range(1, 7):
        write(memory, 1, value=float(frame))
        means.append(read(memory)[0])
    # Frames 3 and 6 stay, the others are replaced by the next.
    assert means == [5.5, 6, 6.5, pytest.approx(17 / 3, abs=1e-3), 6, pytest.approx(19 / 3, abs=1e-3)]


def frame_bytes(objects, per_object):
    key = 4 * POSITIONS * (KEY + 1)  # one bias per position
    value = 4 * POSITIONS * VALUE
    return objects * (key + value) if per_object else key + objects * value


@both
@pytest.mark.parametrize("frames", [2, 3, 5])
def test_a_budget_bounds_the_frames(per_object, frames):
    budget = frames * frame_bytes(2, per_object)
    memory = new_memory(per_object=per_object, max_bytes=budget)
    for number in range(10):
        write(memory, 2, {0, 1} if number == 0 else (), per_object=per_object)
        assert memory.nbytes <= budget
    assert memory.num_frames == frames


@both
def test_newcomers_share_the_budget(per_object):
    budget = 12 * frame_bytes(1, per_object)
    memory = new_memory(per_object=per_object, max_bytes=budget)
    for number in range(15):
        write(memory, 1, {0} if number == 0 else (), per_object=per_object)
    assert memory.num_frames == 12
    write(memory, 2, {1}, per_object=per_object)
    assert memory.num_frames == 6
    write(memory, 3, {2}, per_object=per_object)
    assert memory.num_frames == 4
    for _ in range(10):
        write(memory, 3, per_object=per_object)
        assert memory.nbytes <= budget


@both
def test_a_budget_for_less_than_two_frames_is_refused(per_object):
    budget = 2 * frame_bytes(1, per_object)
    with pytest.raises(MemoryBudgetError, match="2 frames are the least"):
        write(new_memory(per_object=per_object, max_bytes=budget - 1), 1, {0}, per_object=per_object)
    memory = new_memory(per_object=per_object, max_bytes=budget)
    write(memory, 1, {0}, per_object=per_object)
    with pytest.raises(MemoryBudgetError):
        write(memory, 2, {1}, per_object=per_object)
    assert memory.num_objects == 1
    assert read(memory) == [0]


def test_the_smaller_of_both_bounds_counts():
    memory = new_memory(max_bytes=100 * frame_bytes(1, False), max_frames=3)
    for number in range(6):
        write(memory, 1, {0} if number == 0 else ())
    assert memory.num_frames == 3


def test_a_training_memory_keeps_the_graph():
    memory = new_memory(differentiable=True)
    values = torch.ones(1, 2, POSITIONS, VALUE, requires_grad=True)
    memory.write(torch.zeros(1, POSITIONS, KEY), values, frozenset({0, 1}))
    memory.tick()
    memory.write(torch.zeros(1, POSITIONS, KEY), 2 * values, frozenset())
    memory.read(torch.zeros(1, KEY, *GRID), top_k=None).sum().backward()
    # Each of the six queries averages twelve tokens: 1/12 from the first frame and 2/12 from the second.
    torch.testing.assert_close(values.grad, torch.full_like(values, 1.5))
