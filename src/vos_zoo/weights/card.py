"""Model cards: the metadata that the Hub reads, and knowing whether somebody edited a card since we wrote it."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import yaml  # the client brings it along, which reads and writes cards with it

from vos_zoo.errors import ConfigError

if TYPE_CHECKING:
    from vos_zoo.registry import Architecture, DataSource, Score, Weight

__all__ = ["CardFacts", "complete_card", "is_untouched", "new_card", "sign_card", "unsigned"]

# The Hub knows no task for segmentation of videos; this is the one under which such models are found there.
PIPELINE_TAG = "image-segmentation"

_TAGS = ("video-object-segmentation", "semi-supervised-video-object-segmentation")
_SIGNATURE = re.compile(r"\n?<!-- published by vos_zoo, sha256 of the text above: ([0-9a-f]{64}) -->\s*\Z")
_METRICS = (("j_and_f", "J&F"), ("j", "J"), ("f", "F"))


@dataclass(frozen=True)
class CardFacts:
    """What a card's metadata say; what is None or empty is left out, never guessed.

    Attributes:
        name: Name of the weight, such as ``rde.small``.
        architecture: The model.
        licence: Licence of the weight: an identifier of the Hub, such as ``apache-2.0``, or words of its own.
        trained_on: Data sets it was trained on.
        scores: Measured scores.
    """

    name: str
    architecture: Architecture
    licence: str | None = None
    trained_on: tuple[DataSource, ...] = ()
    scores: tuple[Score, ...] = ()

    @classmethod
    def of_weight(cls, weight: Weight, architecture: Architecture) -> CardFacts:
        """Return what the registry says about one of its weights."""
        return cls(weight.name, architecture, weight.licence, weight.trained_on, weight.scores)


def new_card(facts: CardFacts, *, story: str) -> str:
    """Write the text of a card for a weight that nobody has described yet.

    Args:
        facts: What is known about it.
        story: How it came about, a sentence or two.
    """
    paper = facts.architecture.paper
    lines = [
        f"# {facts.name}",
        "",
        f"{facts.architecture.title} ([{paper.title}]({paper.url}), {paper.venue} {paper.year}) for semi-supervised "
        f"video object segmentation. {story}",
        "",
        "## Training data and licence",
        "",
        *(f"- {source.name}: {source.licence} ({source.url})" for source in facts.trained_on),
        f"Licence of the weight: {facts.licence}." if facts.licence else "Not stated; ask whoever published this.",
    ]
    if facts.scores:
        lines += ["", "## Results", "", "| data | J&F | J | F | protocol |", "| --- | --- | --- | --- | --- |"]
        lines += [
            f"| {score.data} | {score.j_and_f:.1f} | {score.j:.1f} | {score.f:.1f} | {score.protocol} |"
            for score in facts.scores
        ]
    return "\n".join(lines) + "\n"


def complete_card(text: str, facts: CardFacts, *, where: str) -> str:
    """Return a card with all metadata that the Hub reads; what the author wrote stays as it is.

    Args:
        text: The card, with or without metadata.
        facts: What is known about the weight.
        where: How messages name the card.

    Raises:
        ConfigError: If the card's metadata are not a YAML mapping.
    """
    from huggingface_hub import ModelCardData
    from huggingface_hub.repocard import REGEX_YAML_BLOCK

    text = unsigned(text).removeprefix("\ufeff")
    block = REGEX_YAML_BLOCK.search(text)
    body = text if block is None else text[block.end() :]
    written = {} if block is None else _metadata(block.group(2), where)
    licence = _licence(facts.licence)
    if written.get("license") not in (None, licence.get("license")):
        licence = {}  # the author names another one, to which our name for it does not belong
    data = ModelCardData(
        library_name="vos_zoo",
        pipeline_tag=PIPELINE_TAG,
        tags=[*_TAGS, facts.architecture.name],
        datasets=sorted({_slug(source.name) for source in facts.trained_on}) or None,
        eval_results=_results(facts) or None,
        model_name=facts.name,
        license=licence.get("license"),
        license_name=licence.get("license_name"),
    ).to_dict()  # type: ignore[no-untyped-call]
    data.pop("model_name", None)  # of use to the list of results only
    merged = {**data, **{key: value for key, value in written.items() if value is not None}}
    own_tags = written.get("tags") or []
    if not isinstance(own_tags, list):
        raise ConfigError(f"{where} has tags that are not a list: {own_tags!r}. Write them as a YAML list.")
    merged["tags"] = list(dict.fromkeys([*own_tags, *data["tags"]]))
    front = yaml.safe_dump(merged, sort_keys=False, allow_unicode=True, width=120)
    return f"---\n{front}---\n\n{body.lstrip()}"


def sign_card(text: str) -> str:
    """Note at the end of a card what it says now, invisibly, so that later edits by people show.

    Example:
        >>> is_untouched(sign_card("# Card"))
        True
        >>> is_untouched(sign_card("# Card").replace("Card", "My card"))
        False
        >>> is_untouched("# Written by hand")
        False
    """
    body = unsigned(text).rstrip() + "\n"
    return f"{body}\n<!-- published by vos_zoo, sha256 of the text above: {_digest(body)} -->\n"


def is_untouched(text: str) -> bool:
    """Tell whether a card is as :func:`sign_card` left it."""
    text = text.replace("\r\n", "\n")
    match = _SIGNATURE.search(text)
    return match is not None and match[1] == _digest(text[: match.start()])


def unsigned(text: str) -> str:
    """Return a card without the note of :func:`sign_card`."""
    return _SIGNATURE.sub("", text)


def _digest(body: str) -> str:
    return hashlib.sha256(body.rstrip().encode()).hexdigest()


def _metadata(block: str, where: str) -> dict[str, Any]:
    try:
        written = yaml.safe_load(block)
    except yaml.YAMLError as error:
        raise ConfigError(
            f"{where} begins with metadata that are not YAML: {error}. Correct its first lines."
        ) from error
    if written is None:
        return {}
    if not isinstance(written, dict):
        raise ConfigError(f"{where} begins with {written!r} where metadata are expected. Write `key: value` lines.")
    return written


def _licence(licence: str | None) -> dict[str, str]:
    if licence is None:
        return {}
    if re.fullmatch(r"[a-z0-9][a-z0-9.-]*", licence):
        return {"license": licence}
    # Words of its own: the Hub wants an identifier for them, and the card says them in full.
    return {"license": "other", "license_name": _slug(licence.partition(";")[0])}


def _results(facts: CardFacts) -> list[Any]:
    from huggingface_hub import EvalResult

    return [
        EvalResult(
            task_type=PIPELINE_TAG,
            task_name="Semi-supervised video object segmentation",
            dataset_type=_slug(score.data),
            dataset_name=score.data,
            metric_type=metric,
            metric_name=title,
            metric_value=getattr(score, metric),
            metric_args={"protocol": score.protocol, "unit": "percent"},
        )
        for score in facts.scores
        for metric, title in _METRICS
    ]


def _slug(name: str) -> str:
    """Return the part of a name before its details as an identifier.

    Example:
        >>> _slug("Oxford-IIIT Pet, 640 images"), _slug("DAVIS 2016 (25 training sequences)")
        ('oxford-iiit-pet', 'davis-2016')
    """
    return re.sub(r"[^a-z0-9]+", "-", re.split(r"[,(]", name.lower())[0]).strip("-")
