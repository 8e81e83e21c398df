from __future__ import annotations

import configparser
import re
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import numpy as np
import pytest

import vos_zoo
import vos_zoo.registry
from vos_zoo.demo import demo_clip
from vos_zoo.media.masks import read_mask
from vos_zoo.media.reader import open_video

ROOT = Path(__file__).parent.parent
HEAVY = ("torch", "cv2", "av", "timm", "pytorch_lightning", "albumentations", "torchmetrics", "numpy", "pytest")
BUNDLED = [*vos_zoo.registry.WEIGHTS.values(), *vos_zoo.registry.HELPER_WEIGHTS.values()]

needs_source_tree = pytest.mark.skipif(
    not (ROOT / "src" / "vos_zoo").is_dir(), reason="the installed package is tested without its source tree"
)


def setup_cfg() -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg", encoding="utf-8")
    return parser


@needs_source_tree
def test_setup_cfg_names_every_package_on_disk():
    listed = set(setup_cfg()["options"]["packages"].split())
    source = ROOT / "src"
    on_disk = {".".join(file.parent.relative_to(source).parts) for file in source.rglob("__init__.py")}
    assert listed == on_disk | {"vos_zoo.checkpoints", "vos_zoo.recipes"}
    # Modules without an __init__.py beside them would be left out of the wheel.
    assert {".".join(file.parent.relative_to(source).parts) for file in source.rglob("*.py")} == on_disk


@needs_source_tree
def test_files_that_are_no_code_are_installed_too():
    source = ROOT / "src" / "vos_zoo"
    patterns = setup_cfg()["options.package_data"]
    installed = {
        file
        for package, names in patterns.items()
        for name in names.split("\n")
        if name and not name.startswith("#")
        for file in (source.parent / package.replace(".", "/")).glob(name)
    }
    others = {file for file in source.rglob("*") if file.is_file() and file.suffix not in (".py", ".pyc", ".md")}
    assert others - installed == set()


@needs_source_tree
def test_every_requirement_has_a_bound_and_a_reason():
    lines = (ROOT / "setup.cfg").read_text(encoding="utf-8").splitlines()
    start = lines.index("install_requires =")
    section = [line.strip() for line in lines[start + 1 : lines.index("[options.package_data]")] if line.strip()]
    requirements = [line for line in section if re.match(r"[a-z0-9_\-\[\]]+[<>=]=", line)]
    assert len(requirements) >= 15
    for requirement in requirements:
        assert section[section.index(requirement) - 1].startswith("#"), requirement


@needs_source_tree
def test_the_oldest_versions_are_those_of_setup_cfg():
    """They are those of the package and of its tests; other extras bring tools, and what few people need."""
    parsed = setup_cfg()
    named = parsed["options"]["install_requires"] + "\n" + parsed["options.extras_require"]["test"]
    wanted = dict(re.findall(r"^([a-z0-9_\-]+)(?:\[\w+\])?>=([\d.]+)", named, flags=re.MULTILINE))
    ours, _, theirs = (ROOT / ".ci" / "oldest.txt").read_text().partition("# What s3fs and moto above bring along.")
    assert "botocore" in theirs
    pinned = dict(line.split("==") for line in ours.splitlines() if not line.startswith("#"))
    assert pinned.keys() == wanted.keys()
    for name, version in wanted.items():
        assert (pinned[name] + ".0").startswith(version + "."), name


@needs_source_tree
def test_every_bundled_checkpoint_is_in_the_registry():
    on_disk = {path.parent.name for path in (ROOT / "checkpoints").glob("*/model.safetensors")}
    assert on_disk == {weight.folder for weight in BUNDLED}


@needs_source_tree
def test_the_wheel_brings_the_weights_that_the_registry_says():
    patterns = setup_cfg()["options.package_data"]["vos_zoo.checkpoints"].split("\n")
    files = [path for pattern in patterns if pattern for path in (ROOT / "checkpoints").glob(pattern)]
    tensors = {path.parent.name for path in files if path.suffix == ".safetensors"}
    assert tensors == {weight.folder for weight in BUNDLED if weight.in_wheel}
    assert {"rde-small", "prompt-small"} <= tensors
    page = (ROOT / "docs" / "hub.md").read_text(encoding="utf-8")
    assert all(f"`{weight.name}`" in page for weight in BUNDLED if weight.in_wheel)
    assert sum(path.stat().st_size for path in files) <= 55 * 2**20  # the wheel may have 60 MiB; the rest of it has 3
    for weight in BUNDLED:  # the licence notes of weights that stay behind, too
        assert {ROOT / "checkpoints" / weight.folder / name for name in ("README.md", "config.json")} <= set(files)


@needs_source_tree
def test_the_wheel_brings_every_recipe():
    patterns = setup_cfg()["options.package_data"]["vos_zoo.recipes"].split("\n")
    files = {path for pattern in patterns if pattern for path in (ROOT / "recipes").glob(pattern)}
    assert files == {path for path in (ROOT / "recipes").rglob("*") if path.is_file()}


@needs_source_tree
def test_the_source_archive_brings_the_weights_of_the_wheel_alone():
    """Package data are part of it anyway; the other weights are three times as large."""
    named = []
    for line in (ROOT / "MANIFEST.in").read_text(encoding="utf-8").splitlines():
        command, *words = line.split() or [""]
        if command == "graft":
            named += [path for word in words for path in (ROOT / word).rglob("*") if path.is_file()]
        elif command == "include":
            named += [path for word in words for path in ROOT.glob(word)]
            assert all((ROOT / word).is_file() for word in words)
        elif command == "recursive-include":
            named += [path for word in words[1:] for path in (ROOT / words[0]).rglob(word)]
        elif command == "prune":
            named = [path for path in named if not any(path.is_relative_to(ROOT / word) for word in words)]
    assert ROOT / "tests" / "test_package.py" in named
    assert not [path for path in named if path.suffix == ".safetensors"]
    assert sum(path.stat().st_size for path in named if "__pycache__" not in path.parts) < 10 * 2**20


@pytest.mark.parametrize("module", ["vos_zoo", "vos_zoo.cli.main", "vos_zoo.registry", "vos_zoo.errors"])
def test_importing_loads_nothing_heavy(module):
    code = f"import sys, {module}; print([name for name in {HEAVY!r} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_a_session_loads_no_training_tools():
    """Who only segments never waits for Lightning, albumentations, timm or torch's compiler."""
    program = (
        "import sys, numpy as np\n"
        "from vos_zoo import VideoSession\n"
        "from vos_zoo.weights import load_network\n"
        "session = VideoSession(load_network('rde'), size=32)\n"
        "session.step(np.zeros((32, 32, 3), np.uint8), np.eye(32, dtype=np.int32))\n"
        "session.step(np.zeros((32, 32, 3), np.uint8))\n"
        "heavy = ('pytorch_lightning', 'albumentations', 'timm', 'torchvision', 'torchmetrics', 'torch._dynamo')\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["list"], ["list", "--weights", "--json"]])
def test_light_commands_load_nothing_heavy(arguments):
    code = (
        "import sys\nfrom vos_zoo.cli.main import main\n"
        f"try:\n    main({arguments!r})\nexcept SystemExit:\n    pass\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stderr.strip() == "[]"
    assert result.stdout


@pytest.mark.parametrize("name", vos_zoo.__all__)
def test_public_names_load(name):
    assert getattr(vos_zoo, name) is not None
    assert name in dir(vos_zoo)


def test_a_wrong_name_lists_the_right_ones():
    with pytest.raises(AttributeError, match=r"no attribute 'load'.*load_model"):
        _ = vos_zoo.load  # type: ignore[attr-defined]


def test_the_package_is_typed():
    assert (Path(vos_zoo.__file__).parent / "py.typed").is_file()


def test_the_demo_clip_is_whole():
    clip = demo_clip()
    video = open_video(clip.video)
    assert (len(video), video.size, video.fps) == (106, (480, 854), 24)
    mask = read_mask(clip.first_mask)
    assert mask.shape == video.size
    assert set(np.unique(mask)) == {0, 1}
    assert clip.video.stat().st_size < 1.5e6
    credit = clip.credit.read_text(encoding="utf-8")
    for word in ("CC BY 3.0", "Big Buck Bunny", "Blender Foundation", "www.bigbuckbunny.org", "Changes"):
        assert word in credit


@pytest.mark.parametrize("command", ["vos-zoo", "lightning"])
def test_console_scripts_can_be_imported(command):
    found = [entry for entry in entry_points(group="console_scripts") if entry.name == command]
    if not found:  # the source tree is on the path, the package is not installed
        target = setup_cfg()["options.entry_points"]["console_scripts"]
        assert re.search(rf"^{command} = vos_zoo\.cli\.", target, flags=re.MULTILINE)
        return
    assert all(callable(entry.load()) for entry in found)
