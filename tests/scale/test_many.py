"""Many videos, with workers that need no network: nothing lost, nothing twice, everything named."""

from __future__ import annotations

import csv
import json
import threading
from functools import partial

import pytest

from testing.stub_worker import COMMAND
from vos_zoo.errors import ConfigError, ManifestError, OutputExistsError, UsageError
from vos_zoo.failures import read_failures
from vos_zoo.scale.engines import Engine, Event
from vos_zoo.scale.jobs import Job
from vos_zoo.scale.local import LocalEngine
from vos_zoo.scale.many import JobQueue, segment_many
from vos_zoo.scale.worker import Outcome


def table(folder, videos):
    path = folder / "list.csv"
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["video", "masks", "frames"])
        rows.writerows([f"{name}.mp4", f"{name}.png", frames] for name, frames in videos.items())
    return path


def run(source, out, *, workers=1, **options):
    return segment_many(source, out=out, engine=partial(LocalEngine, workers=workers, command=COMMAND), **options)


def done(out):
    return (out / "log.txt").read_text().splitlines()


class FakeEngine(Engine):
    """Does every job at once, in this process, as a table of outcomes says."""

    def __init__(self, run, outcomes, seen):
        self.outcomes, self.seen, self.jobs = outcomes, seen, []

    def room(self):
        return 1 - len(self.jobs)

    def is_alive(self):
        return True

    def submit(self, job):
        self.jobs.append(job)
        self.seen.append(job.name)

    def wait(self, seconds):
        events = []
        for job in self.jobs:
            outcome = self.outcomes.get(job.name, Outcome("finished", record={"segmented": 2}))
            outcome = outcome.pop(0) if isinstance(outcome, list) else outcome
            events.append(
                Event("lost", job, text="died") if outcome is None else Event("outcome", job, outcome=outcome)
            )
        self.jobs = []
        return events

    def close(self):
        pass


def run_fake(source, out, outcomes=None, **options):
    seen = []
    report = segment_many(source, out=out, engine=lambda run: FakeEngine(run, outcomes or {}, seen), **options)
    for name in seen:
        (out / name).mkdir(exist_ok=True)
    return report, seen


def test_the_longest_video_comes_first(tmp_path):
    source = table(tmp_path, {"short": 3, "long": 90, "middle": 20})
    _, seen = run_fake(source, tmp_path / "out")
    assert seen == ["long", "middle", "short"]


def test_a_window_holds_a_part_of_a_long_list():
    taken = []

    def jobs():
        for row in range(1, 1001):
            taken.append(row)
            yield Job(row, str(row), "", "", {}, row % 7)

    queue = JobQueue(jobs(), window=10)
    found = [queue.take()]
    assert len(taken) == 10
    while (job := queue.take()) is not None:
        found.append(job)
    assert sorted(job.row for job in found) == list(range(1, 1001))


def test_one_failure_is_noted_and_the_others_are_done(tmp_path):
    source = table(tmp_path, {"one": 1, "fail-two": 2, "three": 3})
    report = run(source, tmp_path / "out", workers=2)
    assert (report.videos, report.finished, report.found) == (3, 2, 0)
    (failure,) = report.failures
    assert (failure.video, failure.row, failure.error) == ("fail-two", 2, "VideoError")
    assert read_failures(tmp_path / "out") == {"fail-two": failure}
    assert sorted(done(tmp_path / "out")) == ["one", "three"]


def test_what_is_finished_is_not_done_again_and_what_failed_is(tmp_path):
    source = table(tmp_path, {"one": 1, "two": 2})
    out = tmp_path / "out"
    _, first = run_fake(source, out, {"two": Outcome("failed", "VideoError", "broken")})
    assert first == ["two", "one"]
    report, second = run_fake(source, out)
    assert second == ["two"]
    assert (report.finished, report.found, report.failures) == (1, 1, ())
    assert not (out / "failures.jsonl").exists()
    report, third = run_fake(source, out)
    assert (third, report.found) == ([], 2)
    (out / "one").rmdir()
    assert run_fake(source, out)[1] == ["one"]  # whose results somebody removed


def test_a_worker_that_dies_costs_nothing_but_time(tmp_path):
    source = table(tmp_path, {"one": 1, "die once": 2, "three": 3})
    report = run(source, tmp_path / "out", workers=2)
    assert report.failures == ()
    assert sorted(done(tmp_path / "out")) == ["die once", "one", "three"]


def test_a_video_that_takes_every_worker_down_fails(tmp_path):
    source = table(tmp_path, {"one": 1, "bad": 2})
    report, seen = run_fake(source, tmp_path / "out", {"bad": None})
    assert sorted(seen) == ["bad", "bad", "bad", "one"]
    assert report.failures[0].error == "WorkerDied"


def test_a_disk_without_space_ends_the_run(tmp_path):
    source = table(tmp_path, {"full": 1})
    with pytest.raises(OSError, match="no space is left on the disk of stub") as caught:
        run(source, tmp_path / "out")
    assert caught.value.errno == 28


def test_a_full_node_gives_its_video_to_another(tmp_path):
    source = table(tmp_path, {"one": 1})
    full = Outcome("full", "OSError", "no space is left on the disk of node7", is_worker_sound=False)
    report, seen = run_fake(source, tmp_path / "out", {"one": [full, Outcome("finished")]})
    assert (seen, report.failures) == (["one", "one"], ())


def test_a_video_of_another_run_is_left_to_it(tmp_path):
    source = table(tmp_path, {"one": 9, "two": 2})
    report, seen = run_fake(source, tmp_path / "out", {"one": Outcome("busy")})
    assert seen == ["one", "two", "one"]  # once more at the end
    assert report.elsewhere == ("one",)


def test_shards_are_all_of_the_list_and_share_the_folder(tmp_path):
    source = table(tmp_path, {f"v{number}": number for number in range(10)})
    parts = [run_fake(source, tmp_path / "out", shard=(part, 3))[1] for part in (1, 2, 3)]
    assert sorted(name for part in parts for name in part) == [f"v{number}" for number in range(10)]
    report, seen = run_fake(source, tmp_path / "out")
    assert (seen, report.found) == ([], 10)
    for shard in ((0, 3), (4, 3)):
        with pytest.raises(ConfigError, match="Expected K/N"):
            run_fake(source, tmp_path / "out", shard=shard)


def test_other_settings_are_refused_and_rows_that_changed_fail(tmp_path):
    source = table(tmp_path, {"one": 1, "two": 2})
    out = tmp_path / "out"
    run_fake(source, out, size=480)
    with pytest.raises(ConfigError, match="size 480, now 360"):
        run_fake(source, out, size=360)
    source.write_text(source.read_text().replace("one.png", "redrawn.png"))
    report, seen = run_fake(source, out, size=480, workers=None)
    assert seen == []
    assert report.failures[0].message.startswith("'one' was finished with another video, masks or settings")
    report, seen = run_fake(source, out, size=480, overwrite=True)
    assert (seen, report.failures) == (["one"], ())
    assert run_fake(source, out, size=480)[1] == []


def test_a_folder_of_something_else_is_refused(tmp_path):
    source = table(tmp_path, {"one": 1})
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("mine")
    with pytest.raises(OutputExistsError, match=r"holds thesis\.tex and no run\.json"):
        run_fake(source, tmp_path / "out")
    with pytest.raises(OutputExistsError, match="is a file"):
        run_fake(source, tmp_path / "out" / "thesis.tex")
    (tmp_path / "a.mp4").touch()
    with pytest.raises(OutputExistsError, match="input of this command"):
        run_fake(tmp_path, tmp_path)


def test_a_damaged_run_file_is_named(tmp_path):
    source = table(tmp_path, {"one": 1})
    run_fake(source, tmp_path / "out")
    (tmp_path / "out" / "run.json").write_text("{")
    with pytest.raises(ConfigError, match="is damaged"):
        run_fake(source, tmp_path / "out")


def test_results_of_another_version_are_said(tmp_path, caplog):
    source = table(tmp_path, {"one": 1})
    run_fake(source, tmp_path / "out")
    path = tmp_path / "out" / "run.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"vos_zoo_version": "0.0.9"}))
    run_fake(source, tmp_path / "out")
    assert "were begun by vos_zoo 0.0.9" in caplog.text


def test_bad_rows_stop_the_run_before_a_worker_starts(tmp_path):
    (tmp_path / "list.csv").write_text("video,masks\n,one.png\n")
    with pytest.raises(ManifestError, match="row 1 names no video"):
        segment_many(tmp_path / "list.csv", out=tmp_path / "out", engine=lambda run: pytest.fail("an engine"))
    assert not (tmp_path / "out").exists()


def test_words_that_are_no_engine(tmp_path):
    with pytest.raises(UsageError, match="no engine 'spark'"):
        segment_many(table(tmp_path, {"one": 1}), out=tmp_path / "out", engine="spark")


def test_progress_counts_videos_frames_and_failures(tmp_path):
    source = table(tmp_path, {"one": 1, "fail-two": 2, "three": 3})
    seen = []
    run(source, tmp_path / "out", progress=seen.append)
    assert (seen[-1].done, seen[-1].total, seen[-1].failed, seen[-1].frames) == (3, 3, 1, 4)


def test_two_runs_at_once_do_everything_once(tmp_path):
    source = table(tmp_path, {f"v{number}": number for number in range(12)})
    threads = [
        threading.Thread(target=run, args=(source, tmp_path / "out"), kwargs={"shard": (part, 2)}) for part in (1, 2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(done(tmp_path / "out")) == sorted(f"v{number}" for number in range(12))
