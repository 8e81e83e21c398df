"""Scores of objects, made from their regions alone."""

from vos_zoo.metrics.functional import score_statistics
from vos_zoo.metrics.protocols import ObjectScore


def make_score(region, areas=None, *, annotated=None, name="a"):
    """An object with these J at t = 1, 2, … and F half of it."""
    areas = [1000] * (len(region) + 1) if areas is None else areas
    boundary = [value / 2 for value in region]
    return ObjectScore(
        sequence=name,
        object_id=1,
        given_in="0",
        frames=tuple(str(t + 1) for t in range(len(region))),
        region_by_frame=tuple(region),
        boundary_by_frame=tuple(boundary),
        areas=tuple(areas),
        annotated_frames=len(region) + 1 if annotated is None else annotated,
        region=score_statistics(region),
        boundary=score_statistics(boundary),
    )
