from __future__ import annotations

import contextlib
import errno
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testing.videos import clip, write_video
from vos_zoo import files
from vos_zoo.errors import OutputExistsError, OutputInUseError
from vos_zoo.files import (
    LOCK_FILE,
    PARTIAL_SUFFIX,
    atomic_path,
    check_outputs,
    file_kind,
    file_lock,
    folder_lock,
    is_full,
    missing_bytes,
    natural_key,
    parse_json,
    printable,
    staged_path,
)

KINDS = {
    "empty": (b"", "an empty file", "empty"),
    "png": (b"\x89PNG\r\n\x1a\n\x00\x00", "a PNG image", "image"),
    "jpeg": (b"\xff\xd8\xff\xe0\x00\x10JFIF", "a JPEG image", "image"),
    "webp": (b"RIFF\x10\x00\x00\x00WEBPVP8 ", "a WebP image", "image"),
    "heic": (b"\x00\x00\x00\x18ftypheic\x00", "a HEIC image", "image"),
    "wav": (b"RIFF\x10\x00\x00\x00WAVEfmt ", "a WAV sound file", "audio"),
    "mp4": (b"\x00\x00\x00\x18ftypisom\x00", "an MP4 or MOV video", "video"),
    "zip": (b"PK\x03\x04\x00\x00", "a zip archive", "archive"),
    "html": (b"\n <!DOCTYPE HTML><p>404", "an HTML page", "text"),
    "text": ("naïve text".encode(), "a text file", "text"),
    "cut text": (b"x" * 511 + "é".encode(), "a text file", "text"),
    "lfs": (b"version https://git-lfs.github.com/spec/v1\noid", "a Git LFS pointer, not", "text"),
    "zeros": (bytes(600), "a file of zero bytes", "unknown"),
    "binary": (b"\x01\x02\x00\xfe", "a binary file of unknown format", "unknown"),
}


@pytest.mark.parametrize("case", KINDS)
def test_file_kind_judges_by_content(tmp_path, case):
    content, name, family = KINDS[case]
    path = tmp_path / "clip.mp4"
    path.write_bytes(content)
    kind = file_kind(path)
    assert kind.name.startswith(name)
    assert kind.family == family


@given(st.binary(max_size=700))
def test_file_kind_takes_any_bytes(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "any"
    path.write_bytes(content)
    assert file_kind(path).name
    assert missing_bytes(path) >= 0


def test_atomic_path_replaces_only_after_success(tmp_path):
    path = tmp_path / "new folder" / "result.txt"
    with atomic_path(path) as partial:
        partial.write_text("one")
        assert not path.exists()
        assert partial.parent == path.parent
        assert partial.name.startswith(".")
        assert partial.name.endswith(PARTIAL_SUFFIX)
    assert path.read_text() == "one"

    def fail():
        with atomic_path(path) as partial:
            partial.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert path.read_text() == "one"
    assert [entry.name for entry in path.parent.iterdir()] == ["result.txt"]


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_is_staged_appears_as_a_whole_or_not_at_all(tmp_path, kind):
    path = tmp_path / "new" / "result"

    def make(staged):
        (staged.parent / "temporary").write_bytes(b"aside")
        if kind == "file":
            staged.write_bytes(b"content")
        else:
            (staged / "inside").mkdir(parents=True)

    def stop():
        with staged_path(path) as staged:
            make(staged)
            raise ValueError("stop")

    with pytest.raises(ValueError, match="stop"):
        stop()
    assert not list(path.parent.iterdir())
    with staged_path(path) as staged:
        make(staged)
        assert staged.name == path.name
        assert not path.exists()
    assert list(path.parent.iterdir()) == [path]
    assert path.read_bytes() == b"content" if kind == "file" else (path / "inside").is_dir()


def test_what_is_staged_replaces_a_file_or_an_empty_folder_only(tmp_path):
    (tmp_path / "a").write_bytes(b"older")
    with staged_path(tmp_path / "a") as staged:
        staged.write_bytes(b"newer")
    assert (tmp_path / "a").read_bytes() == b"newer"
    for name in ("empty", "full/file"):
        (tmp_path / name).mkdir(parents=True)
    with staged_path(tmp_path / "empty") as staged:
        (staged / "inside").mkdir(parents=True)
    assert (tmp_path / "empty" / "inside").is_dir()
    with pytest.raises(OSError, match="not empty"), staged_path(tmp_path / "full") as staged:
        staged.mkdir()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "empty", "full"]


def test_a_full_disk_is_told_by_the_final_name(tmp_path):
    def fill():
        with atomic_path(tmp_path / "mask.png"):
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left on device") as raised:
        fill()
    assert raised.value.filename == str(tmp_path / "mask.png")


@pytest.fixture
def tree(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("frames/0.png", "frames/sub/0.png", "mask.png", "elsewhere/0.png"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    (tmp_path / "link").symlink_to("frames")
    (tmp_path / "elsewhere" / "mask-link.png").symlink_to("../mask.png")
    (tmp_path / "elsewhere" / "frame-link.png").symlink_to("../frames/0.png")
    if not (tmp_path / "MASK.png").exists():  # as if case made no difference
        (tmp_path / "MASK.png").hardlink_to("mask.png")
    return tmp_path


INPUTS = ["frames", "mask.png", "no such file"]


@pytest.mark.parametrize(
    "output",
    ["frames", "frames/", "./frames", "elsewhere/../frames", "link", "frames/0.png", "link/0.png", "mask.png",
     "MASK.png", "elsewhere/mask-link.png", "elsewhere/frame-link.png"],
)  # fmt: skip
@pytest.mark.parametrize("is_absolute", [False, True])
def test_an_output_that_is_an_input_is_refused(tree, output, is_absolute):
    path = f"{tree}/{output}" if is_absolute else output
    with pytest.raises(OutputExistsError, match=r"is an input of this command.*never replaced"):
        check_outputs(["new", path], INPUTS)


@pytest.mark.parametrize(
    "output", ["new", "frames/new", "frames/sub", "frames/sub/0.png", "elsewhere", "elsewhere/0.png", "."]
)
def test_outputs_beside_inputs_are_fine(tree, output):
    check_outputs([output], INPUTS)


def test_a_system_without_file_numbers_goes_by_real_paths(tree, monkeypatch):
    import os
    from pathlib import Path

    stat = Path.stat

    def without_number(self, **how):
        mode, _, *others = stat(self, **how)
        return os.stat_result((mode, 0, *others))

    monkeypatch.setattr(Path, "stat", without_number)
    with pytest.raises(OutputExistsError):
        check_outputs(["link"], INPUTS)
    check_outputs(["elsewhere"], INPUTS)


@pytest.mark.parametrize(
    "names",
    [
        ["1", "2", "10"],
        ["frame1", "frame02", "frame10", "frame100"],
        ["a", "a1", "a1b", "b"],
        ["007", "7", "8"],
        ["Bird1", "bird2"],
    ],
)
def test_natural_key_orders_numbers_by_value(names):
    shuffled = names[1:] + names[:1]
    assert sorted(shuffled, key=natural_key) == names


@given(st.lists(st.text(max_size=6), unique=True))
def test_natural_key_orders_any_names_totally(names):
    keys = [natural_key(name) for name in names]
    assert len(set(keys)) == len(names)
    sorted(keys)


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".webm", ".avi"])
@pytest.mark.parametrize("part", [0.4, 0.8, 0.99])
def test_missing_bytes_of_cut_videos(tmp_path, suffix, part):
    codec = {".webm": "libvpx-vp9", ".avi": "mpeg4"}.get(suffix, "libx264")
    path = write_video(tmp_path / f"clip{suffix}", clip(), codec=codec)
    content = path.read_bytes()
    assert missing_bytes(path) == 0
    path.write_bytes(content + b"\x00" * 3)  # padding is no damage
    assert missing_bytes(path) == 0
    path.write_bytes(content[: int(len(content) * part)])
    assert missing_bytes(path) == len(content) - int(len(content) * part)


@pytest.mark.parametrize(
    ("content", "missing"),
    [
        (b"\x00\x00\x00\x08ftyp\x00\x00\x00\x00mdat", 0),  # size 0: up to the end of the file
        (b"\x00\x00\x00\x08ftyp\x00\x00\x00\x01mdat" + (100).to_bytes(8, "big"), 84),  # 64-bit size
        (b"\x1aE\xdf\xa3\x80\x18S\x80g\x01" + b"\xff" * 7, 0),  # unknown size, as in live recordings
        (b"\x1aE\xdf\xa3\x80\x18S\x80g\x40\x7f", 127),
        (b"\x1aE\xdf\xa3", 0),
        (b"RIFF\xff\xff\xff\xffAVI ", 0),
    ],
)
def test_missing_bytes_by_header(tmp_path, content, missing):
    path = tmp_path / "clip"
    path.write_bytes(content)
    assert missing_bytes(path) == missing


# One run at a time


HOLD = """
import os, sys, time
from vos_zoo.files import folder_lock

with folder_lock(sys.argv[1]):
    if len(sys.argv) > 2 and os.fork() == 0:  # a child that outlives this process
        time.sleep(60)
        os._exit(0)
    print("held", flush=True)
    sys.stdin.read()
"""


@contextlib.contextmanager
def holding(folder, *words):
    """Let another process write into a folder; gives the process."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder), *words],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(str(Path(entry).resolve()) for entry in sys.path)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def test_a_folder_belongs_to_one_process(tmp_path):
    with (
        holding(tmp_path / "out") as process,
        pytest.raises(OutputInUseError, match=rf"out \(process {process.pid} on "),
        folder_lock(tmp_path / "out"),
    ):
        pass
    with folder_lock(tmp_path / "out"):
        pass
    assert list((tmp_path / "out").iterdir()) == []


def test_a_run_that_ends_leaves_nothing(tmp_path):
    with holding(tmp_path) as process:
        process.communicate("")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name != "posix", reason="processes are forked as POSIX does it")
def test_a_killed_run_keeps_nobody_out(tmp_path):
    """Even if processes that it forked live on."""
    with holding(tmp_path, "fork") as process:
        process.kill()
        process.wait()
        assert (tmp_path / LOCK_FILE).exists()
        with folder_lock(tmp_path):
            pass
    assert list(tmp_path.iterdir()) == []


def test_a_folder_belongs_to_one_run_of_a_process(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "out")
    with folder_lock(tmp_path / "out"):
        for again in (tmp_path / "out", tmp_path / "out" / ".." / "out", tmp_path / "link"):
            with pytest.raises(OutputInUseError, match="this process"), folder_lock(again):
                pass
        with folder_lock(tmp_path / "other"), folder_lock(tmp_path / "out" / "inner"):
            pass
        code = HOLD.replace("sys.stdin.read()", "")
        result = subprocess.run([sys.executable, "-c", code, str(tmp_path / "out")], capture_output=True, text=True)
        assert "OutputInUseError" in result.stderr
    with folder_lock(tmp_path / "out"):
        pass


def test_a_block_that_fails_gives_the_folder_back(tmp_path):
    with pytest.raises(KeyError), folder_lock(tmp_path):
        raise KeyError
    with folder_lock(tmp_path):
        pass


def test_exactly_one_of_many_threads_gets_a_folder(tmp_path):
    start, ended = threading.Barrier(8), threading.Barrier(8)

    def attempt(_):
        start.wait()
        try:
            with folder_lock(tmp_path):
                ended.wait()
                return True
        except OutputInUseError:
            ended.wait()
            return False

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(attempt, range(8))) == [False] * 7 + [True]


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "out").write_text("mine")
    with pytest.raises(OutputExistsError, match="is a file"), folder_lock(tmp_path / "out"):
        pass
    assert (tmp_path / "out").read_text() == "mine"


def test_without_locks_there_is_a_warning(tmp_path, monkeypatch, caplog):
    def no_locks(opened):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(files, "_lock", no_locks)
    with folder_lock(tmp_path):
        assert "without locks" in caplog.text
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "text", ["", "[", "{'a': 1}", "[" * 100_000, b"\xff", "9" * 5000], ids=lambda text: repr(text[:10])
)
def test_what_is_no_json_is_one_kind_of_error(text):
    with pytest.raises(ValueError):  # noqa: PT011  # the kind is what counts
        parse_json(text)


@given(st.text())
def test_printable_text_does_nothing_on_a_terminal(text):
    shown = printable(text)
    assert shown.isprintable()
    assert shown.encode().isascii() or not text.isascii()
    if text.isprintable():
        assert shown == text


# One process at a time for other work


def test_a_lock_of_a_file_is_one_among_others_in_its_folder(tmp_path):
    with file_lock(tmp_path / ".a.lock", what="video a"):
        with file_lock(tmp_path / ".b.lock", what="video b"), folder_lock(tmp_path):
            assert len(list(tmp_path.iterdir())) == 3
        with (
            pytest.raises(OutputInUseError, match=r"video a \(this process\)"),
            file_lock(tmp_path / ".a.lock", what="video a"),
        ):
            pass
    assert list(tmp_path.iterdir()) == []


def test_a_lock_can_be_waited_for(tmp_path):
    path = tmp_path / ".a.lock"
    is_held, may_go = threading.Event(), threading.Event()

    def hold():
        with file_lock(path, what="a"):
            is_held.set()
            may_go.wait(60)

    thread = threading.Thread(target=hold)
    thread.start()
    assert is_held.wait(60)
    threading.Timer(0.2, may_go.set).start()
    with file_lock(path, what="a", wait=60):
        assert may_go.is_set()
    thread.join()


def test_without_locks_a_folder_is_warned_of_once(tmp_path, monkeypatch, caplog):
    def no_locks(opened):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(files, "_lock", no_locks)
    for name in ("a", "b"):
        with file_lock(tmp_path / f".{name}.lock", what=name):
            pass
    assert caplog.text.count("without locks") == 1


@pytest.mark.parametrize(("number", "expected"), [(errno.ENOSPC, True), (errno.EFBIG, True), (errno.EIO, False)])
def test_a_full_disk_is_told_from_other_trouble(number, expected):
    assert is_full(OSError(number, "")) is expected
