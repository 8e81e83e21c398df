"""Measure what many videos cost beside the network: the queue, the driver's memory, start and resume, a second worker.

    python benchmarks/scale.py list --rows 100000 --out list.json
    python benchmarks/scale.py workers --out workers.json
    python benchmarks/scale.py share clip.mp4 first.png --out share.json
    python benchmarks/scale.py cost --videos 100000 --frames 150 --speed 30 --dollars 2.5

`list` runs a generated table with workers that do nothing: seconds until the first job is given out, seconds and peak
memory of a driver that finds everything finished, and milliseconds that a video costs beside its frames. `workers`
compares two workers with one on short clips, in turns, one thread each. `share` says which part of the wall time of one
clip is spent in its session, and what processor time decoding a frame and encoding its mask take. Each has a thread of
its own, so that no device gets further than the slower of them; `--waits 20 10 5` says what the share would be with
devices that take so many milliseconds a frame and leave the processor alone, as a GPU nearly does. `cost` multiplies:
frames a second on one device, bytes of a mask, dollars an hour.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

_DRIVER = "--driver"
_WORKER = "--worker"


class Idle:
    """A worker without a network; see ``vos_zoo.scale.worker.JobRunner``."""

    def __init__(self, settings):
        from vos_zoo.scale.stores import open_store
        from vos_zoo.scale.worker import RunSettings

        self.run_settings = RunSettings(**settings["run"])
        self.store = open_store(self.run_settings.out)

    def describe(self):
        """Say who this is."""
        from vos_zoo.version import __version__

        return {"version": __version__, "host": platform.node(), "device": "cpu", "devices": 0}

    def run(self, job, progress):
        """Write what a worker writes beside masks."""
        from vos_zoo.scale.worker import FINISHED_FOLDER, Outcome, marker_name

        record = {"name": job.name, "segmented": 1}
        (self.store.root / job.name).mkdir(exist_ok=True)
        self.store.write(f"{FINISHED_FOLDER}/{marker_name(job, self.run_settings)}", json.dumps(record))
        return Outcome("finished", record=record)


def drive(table, out, workers, stop_after):
    """Run the table in this process, which measures itself; stop after so many videos."""
    from vos_zoo.scale import local
    from vos_zoo.scale.many import segment_many

    begin = time.perf_counter()
    first: list[float] = []
    done = [0, 0.0]

    class Timed(local.LocalEngine):
        def submit(self, job):
            if not first:
                first.append(time.perf_counter() - begin)
            super().submit(job)

    def progress(now):
        done[:] = [now.done, time.perf_counter() - begin]
        if stop_after and now.done >= stop_after:
            raise KeyboardInterrupt

    engine = partial(Timed, workers=workers, command=(sys.executable, __file__, _WORKER))
    try:
        report = segment_many(table, out=out, engine=engine, progress=progress)
        found = report.found
    except KeyboardInterrupt:
        found = None
    print(
        json.dumps(
            {
                "seconds": time.perf_counter() - begin,
                "first_job": first[0] if first else None,
                "videos": done[0],
                "seconds_of_videos": done[1] - first[0] if first else None,
                "found": found,
                "mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
            }
        )
    )


def measure_driver(*words):
    command = [sys.executable, __file__, _DRIVER, *map(str, words)]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[-1])


def write_table(place, rows):
    table = place / "list.csv"
    with table.open("w") as file:
        file.write("video,masks,frames\n")
        for row in range(rows):
            name = f"channel-{row % 977:03d}/recording-2026-{row:07d}"
            file.write(f"/data/clips/{name}.mp4,/data/masks/{name}.png,{30 + row * 7919 % 900}\n")
    return table


def finish_everything(table, out):
    """Leave what a run that finished the whole table leaves."""
    from vos_zoo.scale.manifest import open_list
    from vos_zoo.scale.worker import FINISHED_FOLDER, RunSettings, marker_name

    run = RunSettings(str(out), "rde", {})
    (out / FINISHED_FOLDER).mkdir(parents=True, exist_ok=True)
    for job in open_list(table):
        (out / job.name).mkdir(exist_ok=True)
        (out / FINISHED_FOLDER / marker_name(job, run)).write_text("{}")


def measure_list(options):
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        table = write_table(place, options.rows)
        begun = measure_driver(table, place / "out", options.workers, options.videos)
        finish_everything(table, place / "out")
        resumed = measure_driver(table, place / "out", options.workers, 0)
        assert resumed["found"] == options.rows, resumed
    return {
        "rows": options.rows,
        "workers": options.workers,
        "videos": begun["videos"],
        "start_seconds": round(begun["first_job"], 2),
        "resume_seconds": round(resumed["seconds"], 2),
        "driver_mib": round(max(begun["mib"], resumed["mib"]), 1),
        "overhead_ms": round(1000 * begun["seconds_of_videos"] / max(begun["videos"], 1), 2),
    }


def measure_workers(options):
    from vos_zoo.scale.many import segment_many

    os.environ["OMP_NUM_THREADS"] = "1"
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        write_clips(place / "clips", options.clips, options.frames)
        seconds: dict[int, list[float]] = {1: [], 2: []}
        for turn in range(options.rounds):
            for workers, times in seconds.items():
                begin: list[float] = []

                report = segment_many(
                    place / "clips",
                    out=place / f"out-{turn}-{workers}",
                    model=options.model,
                    size=options.size,
                    engine=partial(_ready_engine, workers, begin),
                )
                assert report.finished == options.clips, report
                times.append(time.perf_counter() - begin[0])
    medians = {workers: statistics.median(times) for workers, times in seconds.items()}
    return {
        "clips": options.clips,
        "frames": options.frames,
        "model": options.model,
        "seconds": {str(workers): round(value, 2) for workers, value in medians.items()},
        "speedup": round(medians[1] / medians[2], 2),
    }


def _ready_engine(workers, begin, run):
    """Start workers, and the clock once all of them hold a model."""
    from vos_zoo.scale.local import LocalEngine

    engine = LocalEngine(run, workers=workers, device="cpu")
    while engine.room() < workers:
        engine.wait(0.1)
    begin.append(time.perf_counter())
    return engine


def write_clips(folder, clips, frames):
    from vos_zoo.data.clips.shapes import moving_shapes
    from vos_zoo.media.masks import write_mask
    from vos_zoo.media.writer import VideoWriter

    folder.mkdir()
    for number in range(clips):
        video = moving_shapes(frames, 240, 320, num_objects=2, rng=number)
        with VideoWriter(folder / f"clip{number:02d}.mp4", (240, 320), fps=24) as writer:
            for frame in video.frames:
                writer.write(frame)
        write_mask(folder / f"clip{number:02d}.png", video.masks[0])


def measure_share(options):
    from vos_zoo import VideoSession, load_model, read_frames, read_mask
    from vos_zoo.devices import find_device
    from vos_zoo.media.masks import write_mask

    device = find_device(options.device)
    network = load_model(options.model, device=device)
    begin = time.process_time()
    frames = list(read_frames(options.video, end=options.end))
    decoding = time.process_time() - begin
    first = read_mask(options.mask)
    session = VideoSession(network)
    pending = [session.submit(frame, None if number else first) for number, frame in enumerate(frames)]
    encoding = []
    for _ in range(options.rounds):
        with tempfile.TemporaryDirectory() as folder:
            begin = time.process_time()
            for number, one in enumerate(pending):
                write_mask(Path(folder) / f"{number:05d}.png", one.result().mask)
            encoding.append(time.process_time() - begin)
    submit = VideoSession.submit

    def in_full(*arguments, **keywords):
        one = submit(*arguments, **keywords)
        if device.type == "cuda":
            one.result()  # waits for the device
        return one

    share, speed = share_of(in_full, network, device, options)
    waits = {
        f"{milliseconds:g} ms": share_of(stand_in(pending, milliseconds / 1000), network, device, options)
        for milliseconds in options.waits
    }
    slowest = max(decoding, statistics.median(encoding)) / len(frames)
    return {
        "model": options.model,
        "device": str(device),
        "frames": len(frames),
        "network_share": share,
        "frames_per_second": speed,
        "decoding_ms": round(1e3 * decoding / len(frames), 2),
        "encoding_ms": round(1e3 * statistics.median(encoding) / len(frames), 2),
        "most_frames_per_second": round(1 / slowest, 1),
        "share_and_speed_of_waits": waits,
    }


def stand_in(pending, seconds):
    """Return a session's ``submit`` that waits as for a device which does everything, and returns what is known."""
    known = itertools.cycle(pending)

    def submit(session, frame, mask=None, *, absent=()):
        time.sleep(seconds)
        return next(known)

    return submit


def share_of(submit, network, device, options):
    """Segment the clip with a session's ``submit``; return its share of the wall time, and frames a second."""
    from vos_zoo import VideoSession, segment_video

    before = VideoSession.__init__, VideoSession.submit
    at_work, shares, speeds = [], [], []

    def timed(function):
        def of(*arguments, **keywords):
            begin = time.perf_counter()
            result = function(*arguments, **keywords)
            at_work.append(time.perf_counter() - begin)
            return result

        return of

    VideoSession.__init__, VideoSession.submit = timed(before[0]), timed(submit)
    try:
        for _ in range(options.rounds):
            at_work.clear()
            with tempfile.TemporaryDirectory() as folder:
                out = Path(folder) / "out"
                report = segment_video(
                    options.video, options.mask, out=out, model=network, device=device, end=options.end
                )
            shares.append(sum(at_work) / report.seconds)
            speeds.append(report.frames_per_second)
    finally:
        VideoSession.__init__, VideoSession.submit = before
    return round(statistics.median(shares), 3), round(statistics.median(speeds), 2)


def estimate_cost(options):
    """Multiply; nothing is measured here."""
    frames = options.videos * options.frames
    seconds = frames / options.speed + options.videos * options.overhead_ms / 1000
    return {
        "frames": frames,
        "device_hours": round(seconds / 3600, 1),
        "days": round(seconds / 86400 / options.devices, 2),
        "dollars": round(seconds / 3600 * options.dollars, 2),
        "masks_gib": round(frames * options.bytes / 2**30, 1),
    }


def main() -> int:
    if sys.argv[1:2] == [_WORKER]:
        from vos_zoo.scale.worker import serve

        return serve(Idle)
    if sys.argv[1:2] == [_DRIVER]:
        table, out, workers, stop_after = sys.argv[2:]
        drive(table, out, int(workers), int(stop_after))
        return 0
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = parser.add_subparsers(dest="part", required=True)
    one = parts.add_parser("list")
    one.add_argument("--rows", type=int, default=100_000)
    one.add_argument("--videos", type=int, default=2_000, help="videos that are done to measure what one costs")
    one.add_argument("--workers", type=int, default=2)
    two = parts.add_parser("workers")
    two.add_argument("--clips", type=int, default=12)
    two.add_argument("--frames", type=int, default=12)
    two.add_argument("--rounds", type=int, default=3)
    two.add_argument("--model", default="rde")
    two.add_argument("--size", type=int, default=240)
    three = parts.add_parser("share")
    three.add_argument("video")
    three.add_argument("mask", help="of the first frame")
    three.add_argument("--model", default="rde")
    three.add_argument("--device", default="auto")
    three.add_argument("--end", type=int, help="frame to stop before")
    three.add_argument("--rounds", type=int, default=3)
    three.add_argument("--waits", type=float, nargs="*", default=[], help="milliseconds a frame of stand-in devices")
    four = parts.add_parser("cost")
    four.add_argument("--videos", type=int, default=100_000)
    four.add_argument("--frames", type=int, default=150, help="frames of a video")
    four.add_argument("--speed", type=float, required=True, help="frames a second on one device")
    four.add_argument("--bytes", type=int, default=4_000, help="bytes of a mask")
    four.add_argument("--overhead-ms", type=float, default=20.0, help="what a video costs beside its frames")
    four.add_argument("--devices", type=int, default=1)
    four.add_argument("--dollars", type=float, default=0.0, help="an hour of a device")
    for part in (one, two, three, four):
        part.add_argument("--out", type=Path, help="also write the numbers as JSON")
    options = parser.parse_args()
    measure = {"list": measure_list, "workers": measure_workers, "share": measure_share, "cost": estimate_cost}
    result = measure[options.part](options)
    for name, value in result.items():
        print(f"{name:20} {value}")
    if options.out is not None:
        options.out.write_text(json.dumps(result, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
