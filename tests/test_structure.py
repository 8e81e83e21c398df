"""The house of docs/architecture.md: rooms on floors, imports that point down, and tests that mirror the sources."""

from __future__ import annotations

import ast
import re
from fnmatch import fnmatch
from pathlib import Path

import pytest

import vos_zoo

PACKAGE = Path(vos_zoo.__file__).parent
TESTS = Path(__file__).parent

#: Floors from the ground up; a room is a folder or a file of the package. What a room may import lies on lower floors.
FLOORS = (
    ("attempt", "errors", "version", "lazy", "moved", "waiting"),
    ("files", "limits", "configs", "cache", "demo", "plugins", "texts", "kept_frames"),
    ("registry", "network", "devices", "media", "layers", "memory", "run_file", "failures"),
    ("interchange", "weights", "portable"),
    ("data", "metrics", "inference", "prompts"),
    ("training", "runtime"),
    ("models",),
    ("segmentation", "reproduction", "deployment"),
    ("scale", "app"),
    ("cli", "testing"),
)
HEIGHT = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}

#: Wings of a room, from the lowest up, where a room has an order of its own.
WINGS = {"data": ("layouts", "clips", "modules")}

#: Sources without a test file of their own, by the reason; patterns of fnmatch below the package.
WITHOUT_TWIN = {
    "thin commands: tests/cli/test_main.py runs them": (
        "cli/convert.py",
        "cli/demo.py",
        "cli/doctor.py",
        "cli/list_command.py",
        "cli/segment.py",
    ),
    "a thin command: tests/segmentation/test_review.py runs it": ("cli/review.py",),
    "a thin command: tests/app/test_serve.py and test_page_in_browser.py run it": ("cli/app.py",),
    "tests/segmentation/test_replay.py reads, writes and replays project files": ("cli/project.py",),
    "numbers that tests/app/test_project.py, test_pictures.py and test_store.py run into": ("app/limits.py",),
    "a thin command: tests/models/dmn_aoa/test_precompute.py runs it": ("cli/proposals.py",),
    "tests/segmentation/test_video.py and tests/test_bad_input.py hand in such masks": ("media/annotations.py",),
    "tests/media/test_masks.py reads every format of masks": ("media/mask_decoding.py",),
    "they run inside Triton only: test_triton_kernel.py compiles them and runs them in its interpreter": (
        "memory/backends/triton_softmax*.py",
    ),
    "tests/models/hs2s/test_network.py and test_convert.py hold the parts against the paper": (
        "models/hs2s/config.py",
        "models/hs2s/decoder.py",
        "models/hs2s/encoder.py",
        "models/hs2s/matching.py",
        "models/hs2s/memory.py",
        "models/hs2s/recurrence.py",
    ),
    "tests/models/rde/test_network.py holds the parts against the paper": (
        "models/rde/aggregation.py",
        "models/rde/config.py",
        "models/rde/lightning_module.py",
        "models/rde/memory.py",
    ),
    "tests/cli/test_reproduce.py runs it": ("reproduction/reproduce.py",),
    "tests/test_limits.py hands in images that declare too much": ("media/image_files.py",),
    "tests/test_registry.py brings models by entry points, sound and broken ones": ("plugins.py",),
    "clips for the battery, which tests/testing/test_model_tester.py tests": ("testing/clips.py",),
    "tests/deployment/test_families.py holds the exported verbs of every family against its session": (
        "models/*/portable.py",
        "portable.py",
    ),
    "tests of both sessions hand in such frames and masks": ("inference/inputs.py",),
    "tests/inference/test_geometry.py holds it": ("inference/sizes.py",),
    "tests/media/test_masks.py and tests/inference/test_session.py listen to it": ("media/mask_notes.py",),
    "a battery, which tests/testing/test_model_tester.py and tests/deployment/test_families.py run": (
        "testing/session_tester.py",
    ),
    "one constant": ("version.py",),
}

#: Tests of no single source, by what they test; patterns of fnmatch below tests/.
WITHOUT_SOURCE = {
    "files beside the package: recipes, docs, results, packaging": (
        "live/test_live_page.py",
        "recipes/*.py",
        "reproduction/test_rows.py",
        "test_add_a_model.py",
        "test_benchmarks.py",
        "test_docs.py",
        "test_doctests.py",
        "test_package.py",
        "test_readme.py",
        "test_results.py",
        "test_runtime_distribution.py",
        "test_structure.py",
    ),
    "several sources at once": (
        "app/test_page_in_browser.py",
        "app/test_visitors.py",
        "cli/test_full_disk.py",
        "deployment/test_families.py",
        "cli/test_processes.py",
        "inference/test_devices.py",
        "memory/backends/test_select_tokens.py",
        "test_bad_input.py",
        "test_no_lookups.py",
        "test_real_files.py",
        "training/test_distributed.py",
        "training/test_resume.py",
    ),
    "helpers of the tests": ("testing/original/test_state.py",),
}


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(("vos_zoo", *(parts[:-1] if parts[-1] == "__init__" else parts)))


SOURCES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py")) if "checkpoints" not in path.parts}


def imports(path: Path) -> set[str]:
    """Modules of the package that a file imports anywhere: at its top, under TYPE_CHECKING, inside functions."""
    package = module_name(path).split(".")
    if path.name != "__init__.py":
        package = package[:-1]
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            origin = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:
                full = f"{origin}.{alias.name}"
                found.add(full if full in SOURCES else origin)
    return {name for name in found if name in SOURCES}


GRAPH = {name: imports(path) - {name} for name, path in SOURCES.items()}


def room(module: str) -> str | None:
    """The room of a module; None for the facade ``vos_zoo/__init__.py``, which is above all."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else None


@pytest.mark.parametrize("module", [name for name in SOURCES if room(name)])
def test_every_file_is_in_a_room(module):
    assert room(module) in HEIGHT, f"{SOURCES[module]} is in no room of FLOORS. Move it, or add its room to a floor."


@pytest.mark.parametrize("module", [name for name in SOURCES if room(name)])
def test_imports_point_down(module):
    own = room(module)
    for target in sorted(GRAPH[module]):
        other = room(target)
        assert other is not None, f"{SOURCES[module]} imports the facade vos_zoo/__init__.py. Import the module itself."
        assert own == other or HEIGHT[other] < HEIGHT[own], (
            f"{SOURCES[module]} (floor {HEIGHT[own]}) imports {SOURCES[target]} (floor {HEIGHT[other]}). A room may "
            "import rooms of lower floors only: move what both need down, or pass it in from above."
        )


@pytest.mark.parametrize("module", [name for name in SOURCES if room(name) in WINGS])
def test_wings_are_in_order(module):
    order = WINGS[room(module)]
    parts = module.split(".")
    if len(parts) < 3:
        return  # the package's own __init__ shows names of all wings
    for target in GRAPH[module]:
        if room(target) == room(module) and len(target.split(".")) > 2:
            assert order.index(target.split(".")[2]) <= order.index(parts[2]), (
                f"{SOURCES[module]} imports {SOURCES[target]}, which is in a later wing of {order}. Turn the "
                "dependency round, or move what both need to the earlier wing."
            )


@pytest.mark.parametrize("module", [name for name in SOURCES if name.startswith("vos_zoo.models.")])
def test_papers_do_not_reach_into_the_zoo_from_below(module):
    """What several papers share does not know one of them."""
    if len(module.split(".")) > 3 or SOURCES[module].name == "__init__.py":
        return
    papers = {path.name for path in (PACKAGE / "models").iterdir() if path.is_dir()}
    known = sorted(target for target in GRAPH[module] if target.split(".")[2:3] and target.split(".")[2] in papers)
    assert not known, f"{SOURCES[module]} is shared by all papers and imports {', '.join(known)}. Move it there."


def test_there_is_no_circle():
    # Packages' own files that only show names of their parts on first use (and to type checkers) tie no circle.
    graph = {
        name: targets
        for name, targets in GRAPH.items()
        if "lazy_names(" not in SOURCES[name].read_text(encoding="utf-8")
    }
    finished: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, (
            "These files import each other in a circle: "
            + " -> ".join(str(SOURCES[step]) for step in (*path[path.index(name) :], name))
            + ". Move what the first takes from the second into a third file below both."
        )
        if name in finished or name not in graph:
            return
        for target in sorted(graph[name]):
            visit(target, (*path, name))
        finished.add(name)

    for name in graph:
        visit(name, ())


PAGE = (TESTS.parent / "docs" / "architecture.md").read_text(encoding="utf-8")


def test_the_page_shows_every_room_on_its_floor():
    rows = re.findall(r"^\| (\d+) \| `(\w+)(/|\.py)` \|", PAGE, flags=re.MULTILINE)
    on_disk = {
        f"{room(name)}{'/' if (PACKAGE / str(room(name))).is_dir() else '.py'}" for name in SOURCES if room(name)
    }
    assert {f"{name}{kind}" for _, name, kind in rows} == on_disk
    assert {name: int(floor) for floor, name, _ in rows} == {name: HEIGHT[name] for _, name, _ in rows}


def test_what_the_page_names_is_there():
    repository = TESTS.parent
    in_a_papers_folder = {path.name for path in (PACKAGE / "models").glob("*/*")}
    for path in re.findall(r"`([\w/]+(?:\.(?:py|json|md|c)|/))`", PAGE):
        assert (PACKAGE / path).exists() or (repository / path).exists() or path in in_a_papers_folder, (
            f"docs/architecture.md names {path}, which does not exist. Correct the page."
        )


def twin(source: str) -> str:
    """Where the tests of a source belong: ``a/b.py`` is tested by ``a/test_b.py``."""
    folder, _, name = source.rpartition("/")
    return f"{folder}/test_{name}" if folder else f"test_{name}"


MIRRORED = sorted(
    path.relative_to(PACKAGE).as_posix() for path in SOURCES.values() if path.name not in ("__init__.py", "__main__.py")
)
TEST_FILES = sorted(path.relative_to(TESTS).as_posix() for path in TESTS.rglob("test_*.py"))


def is_listed(name: str, lists: dict[str, tuple[str, ...]]) -> bool:
    return any(fnmatch(name, pattern) for patterns in lists.values() for pattern in patterns)


@pytest.mark.parametrize("source", MIRRORED)
def test_every_source_has_its_twin(source):
    if is_listed(source, WITHOUT_TWIN):
        return
    assert twin(source) in TEST_FILES, (
        f"src/vos_zoo/{source} has no test file. Test it in tests/{twin(source)}, or list it in WITHOUT_TWIN with the "
        "reason."
    )
    content = (TESTS / twin(source)).read_text(encoding="utf-8")
    assert re.search(r"^ *def test_|^class Test", content, re.MULTILINE), (
        f"tests/{twin(source)} holds no test. Test src/vos_zoo/{source} there."
    )


@pytest.mark.parametrize("test_file", TEST_FILES)
def test_every_test_file_has_its_source(test_file):
    assert test_file in map(twin, MIRRORED) or is_listed(test_file, WITHOUT_SOURCE), (
        f"tests/{test_file} tests no source of that name. Put its tests beside the part that they test, or list it in "
        "WITHOUT_SOURCE."
    )


@pytest.mark.parametrize("pattern", [pattern for patterns in WITHOUT_TWIN.values() for pattern in patterns])
def test_the_list_of_sources_is_true(pattern):
    found = [source for source in MIRRORED if fnmatch(source, pattern)]
    assert found, f"{pattern} in WITHOUT_TWIN matches no source. Remove it."
    tested = [source for source in found if twin(source) in TEST_FILES]
    assert not tested, f"{pattern} in WITHOUT_TWIN matches {tested[0]}, which tests/{twin(tested[0])} tests. Narrow it."


@pytest.mark.parametrize("pattern", [pattern for patterns in WITHOUT_SOURCE.values() for pattern in patterns])
def test_the_list_of_tests_is_true(pattern):
    found = [test_file for test_file in TEST_FILES if fnmatch(test_file, pattern)]
    assert found, f"{pattern} in WITHOUT_SOURCE matches no test file. Remove it."
    twins = [test_file for test_file in found if test_file in map(twin, MIRRORED)]
    assert not twins, f"{pattern} in WITHOUT_SOURCE matches tests/{twins[0]}, whose source exists. Narrow it."


TESTS_AND_HELPERS = sorted(path.relative_to(TESTS).as_posix() for path in TESTS.rglob("*.py"))


@pytest.mark.parametrize("file", TESTS_AND_HELPERS)
def test_tests_share_what_lies_in_testing(file):
    """Without ``__init__.py``, a folder gives way to any module of its name that an installed library brings."""
    rooms_of_tests = {path.name for path in TESTS.iterdir() if path.is_dir()} - {"testing"}
    for node in ast.walk(ast.parse((TESTS / file).read_text(encoding="utf-8"))):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.level == 0:
            names = [str(node.module)]
        wrong = [name for name in names if name.partition(".")[0] in rooms_of_tests]
        assert not wrong, f"tests/{file} imports {', '.join(wrong)}. Move what several tests need to tests/testing."
