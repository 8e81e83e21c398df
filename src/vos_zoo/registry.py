"""Every model and every published weight, as plain data.

This module imports neither torch nor any model: the classes of an architecture are named by their import path and
are loaded when somebody asks for them. Weights are named ``architecture.tag``; an architecture's first weight is what
its plain name stands for. Other packages add architectures by ``register`` or by an entry point of the group
``vos_zoo.models``.
"""

from __future__ import annotations

import datetime
import difflib
import fnmatch
import functools
import importlib
import json
import logging
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from vos_zoo.configs import config_to_dict
from vos_zoo.errors import ConfigError, UnknownModelError
from vos_zoo.plugins import GROUP, describe_plugin, load_plugin, plugin_names

__all__ = [
    "ARCHITECTURES",
    "HELPERS",
    "HELPER_WEIGHTS",
    "PINS_FILE",
    "WEIGHTS",
    "Architecture",
    "DataSource",
    "HubRevision",
    "Paper",
    "Score",
    "StoredNetwork",
    "Variant",
    "Weight",
    "describe_network",
    "find_architecture",
    "find_helper",
    "find_stored_network",
    "find_weight",
    "is_architecture",
    "known_architectures",
    "list_models",
    "read_pins",
    "register",
]

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Paper:
    """Where a model was published."""

    title: str
    authors: str
    venue: str
    year: int
    url: str


@dataclass(frozen=True)
class Variant:
    """One size of an architecture.

    Attributes:
        name: ``r50`` is the paper's size, ``small`` the bundled one, ``tiny`` is for tests and examples.
        factory: Class method of the architecture's config class that gives this size.
        about: Backbone and purpose in a few words.
    """

    name: str
    factory: str
    about: str


@dataclass(frozen=True, kw_only=True)
class StoredNetwork:
    """A network that can be rebuilt from a checkpoint folder.

    Attributes:
        name: Registry name, lower case.
        title: Name for people; of a paper's model, the name as the paper writes it.
        config_class: Import path ``module:class`` of the frozen dataclass with all hyper-parameters.
        network_class: Import path of the plain torch network.
        module_class: Import path of the LightningModule.
        use: What to do with the folder of a checkpoint, for messages, with ``{folder}`` in its place.

    The import paths name the files that define the classes, not a package that shows them.

    Raises:
        ConfigError: If the name or an import path has another form.
    """

    name: str
    title: str
    config_class: str
    network_class: str
    module_class: str
    use: str = "`vos-zoo segment VIDEO MASKS --out DIR --model {folder}` or `load_model('{folder}')`"

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z][a-z0-9_]*", self.name):
            raise ConfigError(
                f"Architecture {self.name!r} has no valid name. Expected lower-case letters, digits and underscores, "
                "a letter first."
            )
        for kind in ("config_class", "network_class", "module_class"):
            if not re.fullmatch(r"[\w.]+:\w+", getattr(self, kind)):
                raise ConfigError(
                    f"Architecture {self.name!r} has {kind}={getattr(self, kind)!r}. Expected an import path "
                    "`package.module:Class`."
                )

    def load_class(self, kind: str) -> Any:
        """Import one of the architecture's classes.

        Args:
            kind: ``config``, ``network``, ``module`` or ``verbs``.

        Raises:
            ConfigError: If a class that another package brings cannot be imported.
        """
        return self._load(f"{kind}_class")

    def _load(self, field: str) -> Any:
        module_name, _, class_name = getattr(self, field).partition(":")
        try:
            module = importlib.import_module(module_name)
            return getattr(module, class_name) if class_name else module
        except Exception as error:  # code of another package may raise anything
            if self.name in ARCHITECTURES or self.name in HELPERS:
                raise
            raise ConfigError(
                f"Model {self.name!r} is registered with {field}={getattr(self, field)!r}, which cannot be imported: "
                f"{type(error).__name__}: {error}. Repair, update or uninstall the package that registers it."
            ) from error


@dataclass(frozen=True, kw_only=True)
class Architecture(StoredNetwork):
    """One paper's model.

    Attributes:
        paper: Where it was published.
        variants: Sizes, the paper's first.
        converter: Module that knows the authors' released weights, for ``vos-zoo convert``; None if there are none.
        verbs_class: Import path of its ``PortableVerbs``, for ``vos-zoo export-onnx``; None if it cannot be exported.
        not_portable: Why it cannot be exported, as the end of a sentence.

    Raises:
        ConfigError: If the name or an import path has another form, or if there is no variant.
    """

    paper: Paper
    variants: tuple[Variant, ...]
    converter: str | None = None
    verbs_class: str | None = None
    not_portable: str = "nobody has written its verbs as functions of tensors (`vos_zoo.portable`)"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.variants:
            raise ConfigError(f"Architecture {self.name!r} has no variants. Give at least one, the paper's size first.")

    def load_converter(self) -> Any:
        """Import the module that converts the authors' released weights; only if there is one.

        Raises:
            ConfigError: If another package brings it and it cannot be imported.
        """
        return self._load("converter")

    def new_config(self, variant: str) -> Any:
        """Return the config of one size.

        Raises:
            UnknownModelError: If there is no such size.
        """
        for candidate in self.variants:
            if candidate.name == variant:
                return getattr(self.load_class("config"), candidate.factory)()
        known = ", ".join(candidate.name for candidate in self.variants)
        raise UnknownModelError(f"{self.title} has no size {variant!r}. Choose one of: {known}.")


@dataclass(frozen=True)
class DataSource:
    """One data set that a weight was trained on."""

    name: str
    licence: str
    url: str


@dataclass(frozen=True)
class Score:
    """What a weight reached on one data set, in percent.

    Attributes:
        data: Data set and split.
        j_and_f: Mean of ``j`` and ``f``.
        j: Mean region similarity.
        f: Mean boundary accuracy.
        protocol: Which frames and which resolution were scored.
    """

    data: str
    j_and_f: float
    j: float
    f: float
    protocol: str


@dataclass(frozen=True)
class HubRevision:
    """A repository of the Hugging Face Hub at one commit, which can never mean other files.

    Attributes:
        repo_id: ``owner/name``.
        revision: The commit, 40 hexadecimal digits. Branches and tags move, so they are refused.

    Raises:
        ConfigError: If one of them has another form.
    """

    repo_id: str
    revision: str

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[\w.-]+/[\w.-]+", self.repo_id) or not re.fullmatch(r"[0-9a-f]{40}", self.revision):
            raise ConfigError(
                f"{self.repo_id!r} at {self.revision!r} is not a pinned repository. Expected owner/name and a commit "
                "of 40 hexadecimal digits, as `vos-zoo publish` prints it."
            )


@dataclass(frozen=True, kw_only=True)
class Weight:
    """One published weight: what it is, where it is, what it was made of and what it reaches.

    Attributes:
        name: ``architecture.tag``.
        variant: Size of the architecture; ``Architecture.new_config`` gives its hyper-parameters.
        folder: Folder below ``checkpoints/`` that holds ``file``, ``config.json`` and ``README.md``; None if the
            weight lies on the Hub only.
        in_wheel: Whether the installed package brings the folder's tensors along. The card travels always.
        hub: Where the Hub has the same files; None if it does not.
        file: Name of the file with the tensors; always a safetensors file.
        num_bytes: Size of that file in bytes.
        sha256: Checksum of that file, hexadecimal.
        date: Day on which the weight was finished, as ``YYYY-MM-DD``.
        licence: Licence of the weight.
        trained_on: Data sets it was trained on, each with its licence.
        scores: Measured scores with their protocol; empty if nobody measured.

    Raises:
        ConfigError: If the weight lies nowhere, or if its file, checksum or date has another form.
    """

    name: str
    variant: str
    folder: str | None = None
    in_wheel: bool = False
    hub: HubRevision | None = None
    file: str = "model.safetensors"
    num_bytes: int
    sha256: str
    date: str
    licence: str
    trained_on: tuple[DataSource, ...]
    scores: tuple[Score, ...] = ()

    def __post_init__(self) -> None:
        if self.folder is None and (self.hub is None or self.in_wheel):
            raise ConfigError(f"Weight {self.name!r} lies nowhere. Give its folder below checkpoints/ or its `hub`.")
        if not re.fullmatch(r"[\w.-]+\.safetensors", self.file):
            raise ConfigError(
                f"Weight {self.name!r} has the file {self.file!r}. Expected the name of a .safetensors file."
            )
        if not re.fullmatch(r"[0-9a-f]{64}", self.sha256):
            raise ConfigError(f"Weight {self.name!r} has sha256 {self.sha256!r}. Expected 64 hexadecimal digits.")
        try:
            datetime.date.fromisoformat(self.date)
        except ValueError as error:
            raise ConfigError(f"Weight {self.name!r} has date {self.date!r}. Expected YYYY-MM-DD.") from error

    @property
    def architecture(self) -> str:
        """Registry name of the architecture."""
        return self.name.split(".", 1)[0]

    @property
    def tag(self) -> str:
        """Name without the architecture."""
        return self.name.split(".", 1)[1]

    @property
    def paper(self) -> Paper:
        """The paper whose model this is."""
        return find_architecture(self.architecture).paper

    @property
    def place(self) -> str:
        """Where the weight comes from, in a few words."""
        places = ["wheel"] if self.in_wheel else ["clone"] if self.folder is not None else []
        return " or ".join([*places, *([f"Hub {self.hub.repo_id}"] if self.hub is not None else [])])


#: Where the Hub has the weights below: a JSON object, written by ``vos-zoo publish --all``.
PINS_FILE = Path(__file__).with_name("hub_pins.json")


def read_pins(path: Path = PINS_FILE) -> dict[str, HubRevision]:
    """Read where the Hub has which weight.

    Args:
        path: A JSON object with ``repo_id`` and ``revision`` for each name.

    Raises:
        ConfigError: If the file is none, or a repository is not pinned by a commit.
    """
    try:
        pins = {
            name: HubRevision(pin["repo_id"], pin["revision"])
            for name, pin in json.loads(path.read_text(encoding="utf-8")).items()
        }
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(
            f"{path} holds no pins ({type(error).__name__}: {error}). Expected a JSON object with `repo_id` and "
            "`revision` for each weight, as `vos-zoo publish --all` writes it."
        ) from error
    return pins


_PINS = read_pins()

_R50 = Variant("r50", "r50", "the paper's size, ResNet-50 keys")
_SMALL = Variant("small", "small", "ResNet-18 class, at most 10 M parameters")
_TINY = Variant("tiny", "tiny", "for tests and examples, untrained")

#: The zoo's own papers; ``known_architectures`` also has those of other packages.
ARCHITECTURES: dict[str, Architecture] = {
    "giel": Architecture(
        name="giel",
        title="GIEL",
        paper=Paper(
            title="Video Object Segmentation Using Global and Instance Embedding Learning",
            authors="Wenbin Ge, Xiankai Lu, Jianbing Shen",
            venue="CVPR",
            year=2021,
            url="https://doi.org/10.1109/CVPR46437.2021.01656",
        ),
        config_class="vos_zoo.models.giel.config:GIELConfig",
        network_class="vos_zoo.models.giel.network:GIELNetwork",
        module_class="vos_zoo.models.giel.lightning_module:GIELModule",
        not_portable="it selects new support frames for every frame, and objects that join later change what all "
        "of them hold",
        variants=(
            Variant("r50", "r50", "the paper's full size, two ResNet-50 encoders and an instance decoder"),
            Variant("r50_fast", "r50_fast", "the paper's fast size, coarse instance maps"),
            _SMALL,
            _TINY,
        ),
    ),
    "dmn_aoa": Architecture(
        name="dmn_aoa",
        title="DMN-AOA",
        paper=Paper(
            title="Video Object Segmentation with Dynamic Memory Networks and Adaptive Object Alignment",
            authors="Shuxian Liang, Xu Shen, Jianqiang Huang, Xian-Sheng Hua",
            venue="ICCV",
            year=2021,
            url="https://openaccess.thecvf.com/content/ICCV2021/html/"
            "Liang_Video_Object_Segmentation_With_Dynamic_Memory_Networks_and_Adaptive_Object_ICCV_2021_paper.html",
        ),
        config_class="vos_zoo.models.dmn_aoa.config:DMNAOAConfig",
        network_class="vos_zoo.models.dmn_aoa.network:DMNAOANetwork",
        module_class="vos_zoo.models.dmn_aoa.lightning_module:DMNAOAModule",
        not_portable="it aligns objects with proposals that Python and OpenCV find, in a number that differs from "
        "frame to frame",
        variants=(
            Variant("r50", "r50", "the paper's size, ResNet-50 base features"),
            Variant("r101", "r101", "the paper's larger size, ResNet-101 base features"),
            _SMALL,
            _TINY,
        ),
    ),
    "hs2s": Architecture(
        name="hs2s",
        title="HS2S",
        paper=Paper(
            title="Hybrid-S2S: Video Object Segmentation with Recurrent Networks and Correspondence Matching",
            authors="Fatemeh Azimi, Stanislav Frolov, Federico Raue, Joern Hees, Andreas Dengel",
            venue="arXiv",
            year=2020,
            url="https://arxiv.org/abs/2010.05069",
        ),
        config_class="vos_zoo.models.hs2s.config:HS2SConfig",
        network_class="vos_zoo.models.hs2s.network:HS2SNetwork",
        converter="vos_zoo.models.hs2s.convert",
        module_class="vos_zoo.models.hs2s.lightning_module:HS2SModule",
        verbs_class="vos_zoo.models.hs2s.portable:HS2SVerbs",
        variants=(
            Variant("r50", "r50", "the paper's size, two ResNet-50 encoders"),
            Variant("small", "small", "ResNet-18 class, at most 15 M parameters"),
            _TINY,
        ),
    ),
    "rde": Architecture(
        name="rde",
        title="RDE-VOS",
        paper=Paper(
            title="Recurrent Dynamic Embedding for Video Object Segmentation",
            authors="Mingxing Li, Li Hu, Zhiwei Xiong, Bang Zhang, Pan Pan, Dong Liu",
            venue="CVPR",
            year=2022,
            url="https://arxiv.org/abs/2205.03761",
        ),
        config_class="vos_zoo.models.rde.config:RDEConfig",
        network_class="vos_zoo.models.rde.network:RDENetwork",
        converter="vos_zoo.models.rde.convert",
        module_class="vos_zoo.models.rde.lightning_module:RDEModule",
        verbs_class="vos_zoo.models.rde.portable:RDEVerbs",
        variants=(_R50, _SMALL, _TINY),
    ),
    "stcn": Architecture(
        name="stcn",
        title="STCN",
        paper=Paper(
            title="Rethinking Space-Time Networks with Improved Memory Coverage for Efficient Video Object "
            "Segmentation",
            authors="Ho Kei Cheng, Yu-Wing Tai, Chi-Keung Tang",
            venue="NeurIPS",
            year=2021,
            url="https://arxiv.org/abs/2106.05210",
        ),
        config_class="vos_zoo.models.stcn.config:STCNConfig",
        network_class="vos_zoo.models.stcn.network:STCNNetwork",
        converter="vos_zoo.models.stcn.convert",
        module_class="vos_zoo.models.stcn.lightning_module:STCNModule",
        verbs_class="vos_zoo.models.stcn.portable:STCNVerbs",
        variants=(_R50, _SMALL, _TINY),
    ),
    "stm": Architecture(
        name="stm",
        title="STM",
        paper=Paper(
            title="Video Object Segmentation using Space-Time Memory Networks",
            authors="Seoung Wug Oh, Joon-Young Lee, Ning Xu, Seon Joo Kim",
            venue="ICCV",
            year=2019,
            url="https://arxiv.org/abs/1904.00607",
        ),
        config_class="vos_zoo.models.stm.config:STMConfig",
        network_class="vos_zoo.models.stm.network:STMNetwork",
        converter="vos_zoo.models.stm.convert",
        module_class="vos_zoo.models.stm.lightning_module:STMModule",
        verbs_class="vos_zoo.models.stm.portable:STMVerbs",
        variants=(_R50, _SMALL, _TINY),
    ),
    "tsn": Architecture(
        name="tsn",
        title="TSN",
        paper=Paper(
            title="Two-Stream Networks for Object Segmentation in Videos",
            authors="Hannan Lu, Zhi Tian, Lirong Yang, Haibing Ren, Wangmeng Zuo",
            venue="arXiv",
            year=2022,
            url="https://arxiv.org/abs/2208.04026",
        ),
        config_class="vos_zoo.models.tsn.config:TSNConfig",
        network_class="vos_zoo.models.tsn.network:TSNNetwork",
        module_class="vos_zoo.models.tsn.lightning_module:TSNModule",
        verbs_class="vos_zoo.models.tsn.portable:TSNVerbs",
        variants=(
            _R50,
            Variant("swin_b", "swin_b", "the paper's larger size, Swin-B keys"),
            Variant("small", "small", "ResNet-18 class, at most 12 M parameters"),
            _TINY,
        ),
    ),
}

# An architecture's first weight is its default.
_RESEARCH_ONLY = "research and other non-commercial use; see the card"
_IMAGENET = DataSource("ImageNet ResNet-18 (torchvision IMAGENET1K_V1)", "BSD-3-Clause", "https://pytorch.org/vision")
_PICTURES = (
    DataSource("PASCAL-S, 849 images", "research use", "https://github.com/frankLeo123/Saliency_Matlab"),
    DataSource(
        "Oxford-IIIT Pet, 640 images", "CC BY-SA 4.0", "https://github.com/Mohammed14324/Pet-image-segmentation"
    ),
    DataSource(
        "feral cats, 430 images",
        "public domain",
        "https://github.com/pcashman21/feral-cat-segmentation-dataset-and-model",
    ),
    DataSource(
        "human segmentation, 290 images",
        "none stated",
        "https://github.com/VikramShenoy97/Human-Segmentation-Dataset",
    ),
    DataSource("Clothing Co-Parsing, 260 images", "Apache-2.0", "https://github.com/bearpaw/clothing-co-parsing"),
    DataSource(
        "cut-outs, 177 images", "none stated", "https://github.com/alexppppp/synthetic-dataset-object-detection"
    ),
    DataSource("Penn-Fudan pedestrians, 170 images", "none stated", "https://github.com/gmguarino/PennFudan"),
    DataSource("hands, 60 images", "none stated", "https://github.com/phuongttn/Hand-Segmentation-Dataset"),
    DataSource("food, 54 images", "none stated", "https://github.com/SasiCm/Pytorch-UNet"),
    DataSource(
        "MSRC cows, 30 images",
        "research use",
        "https://github.com/shenjianbing/Interactive-Cosegmentation-Using-Global-and-Local-Energy-Optimization",
    ),
    DataSource("AM-2k examples, 13 images", "MIT (AM-2k agreement)", "https://github.com/JizhiziLi/GFM"),
    DataSource("FSS-1000 examples, 5 images", "none stated", "https://github.com/moallafatmaocto/FSS-1000"),
)
_MORE_PICTURES = (
    DataSource(
        "ECSSD, 995 images",
        "MIT (repository), public research set",
        "https://github.com/yunusgunay/Salient-Object-Segmentation",
    ),
    DataSource("DUTS-TR, 498 images", "none stated, research", "https://github.com/DengPingFan/DAVSOD"),
    DataSource(
        "COCO excerpts, 687 images",
        "annotations CC BY 4.0, photographs under Flickr's terms",
        "https://cocodataset.org",
    ),
    DataSource(
        "wild animals, 676 images",
        "annotations CC BY 4.0, photographs from the web",
        "https://github.com/KomaHomu/Applying-Mask-RCNN-in-endangered-animals-detection",
    ),
)
_SMALL_DATA = (
    DataSource(
        "DAVIS 2016 (25 training sequences)",
        "CC BY 4.0 by its README, CC BY-NC 4.0 by its terms of use",
        "https://davischallenge.org",
    ),
    *_PICTURES,
    _IMAGENET,
)
# What recipes/<model>/small.yaml use beside it.
_MORE_DATA = (
    DataSource("SegTrack (4 videos)", "none stated, research", "https://github.com/karim-ahmed/videoObject"),
    *_MORE_PICTURES,
)


def _small_weight(
    name: str,
    *,
    num_bytes: int,
    sha256: str,
    date: str,
    on_clips: tuple[float, float, float],
    size: str = "short side at most 480",
    in_wheel: bool = False,
    more_data: tuple[DataSource, ...] = (),
) -> Weight:
    """Describe a weight of the size that this project trains; ``on_clips`` are its J&F, J and F on our clips."""
    j_and_f, j, f = on_clips
    protocol = f"DAVIS 2017, mean over 17 objects, {size}"
    return Weight(
        name=name,
        variant="small",
        folder=name.replace(".", "-"),
        in_wheel=in_wheel,
        hub=_PINS.get(name),
        num_bytes=num_bytes,
        sha256=sha256,
        date=date,
        licence=_RESEARCH_ONLY,
        trained_on=_SMALL_DATA + more_data,
        scores=(Score(data="seven development clips", j_and_f=j_and_f, j=j, f=f, protocol=protocol),),
    )


WEIGHTS: dict[str, Weight] = {
    weight.name: weight
    for weight in (
        _small_weight(
            "rde.small",
            num_bytes=16_492_400,
            sha256="bdf201a020caa887e012148a6a035bea9a0cff0d420150d7fccbdb5feb4b0aac",
            date="2026-11-30",
            on_clips=(78.3, 73.1, 83.6),
            in_wheel=True,
            more_data=_MORE_DATA,
        ),
        _small_weight(
            "stcn.small",
            num_bytes=15_013_312,
            sha256="f5813bf3603c9f71642bbd27216ef7b4c056845eeb60e3e762a21a3763432a53",
            date="2026-11-30",
            on_clips=(75.5, 71.2, 79.8),
            in_wheel=True,
            more_data=_MORE_DATA,
        ),
        _small_weight(
            "tsn.small",
            num_bytes=17_194_674,
            sha256="d5885d82e842a2c33863ed54ecc1b1a463b3277ed1311dd553e1ef5f62e0cc7b",
            date="2026-11-30",
            on_clips=(77.5, 71.8, 83.3),
            more_data=_MORE_DATA,
        ),
        _small_weight(
            "giel.small",
            num_bytes=15_954_492,
            sha256="03ea9ff579db38780869424616a214360a15eb83d712ef62e68052b5fe57e269",
            date="2026-12-01",
            on_clips=(62.1, 59.4, 64.9),
            size="short side 320",
            more_data=_MORE_DATA,
        ),
        _small_weight(
            "hs2s.small",
            num_bytes=26_040_042,
            sha256="a9be5e032fb52d712cebe714487a4feb4e6d1ef7e63e030f052b229f5375ec20",
            date="2026-12-01",
            on_clips=(61.1, 56.8, 65.3),
            size="256x448",
            more_data=_MORE_DATA,
        ),
        _small_weight(
            "dmn_aoa.small",
            num_bytes=9_343_532,
            sha256="c26b738ea136c442532f6b72c321261ba8b634928ccfdc8b23a99b52192d4046",
            date="2026-12-01",
            on_clips=(62.8, 58.8, 66.7),
            size="short side 320",
            more_data=_MORE_DATA,
        ),
    )
}


def list_models(pattern: str = "*", *, pretrained: bool = False) -> list[str]:
    """List the names that :func:`vos_zoo.load_model` knows, in alphabetical order.

    Args:
        pattern: Shell pattern that a name has to match, for example ``"rde*"``.
        pretrained: List the published weights (``"rde.small"``) instead of the architectures (``"rde"``).

    Example:
        >>> "rde" in list_models()
        True
        >>> list_models("st*")
        ['stcn', 'stm']
    """
    names = WEIGHTS if pretrained else _architecture_names()
    return sorted(name for name in names if fnmatch.fnmatchcase(name, pattern))


#: Architectures of other packages, as far as they are registered or were looked up.
_FROM_OUTSIDE: dict[str, Architecture] = {}

#: Networks that the package uses beside the models; they follow no objects through videos, so that ``load_model`` and
#: ``list_models`` do not know them.
HELPERS: dict[str, StoredNetwork] = {
    "prompt": StoredNetwork(
        name="prompt",
        title="Prompt network",
        config_class="vos_zoo.prompts.network:PromptConfig",
        network_class="vos_zoo.prompts.network:PromptNetwork",
        module_class="vos_zoo.training.prompt_module:PromptModule",
        use="`vos-zoo segment VIDEO --box 1:X0,Y0,X1,Y1 --out DIR --prompt-method {folder}`",
    ),
}

#: Their bundled weights.
HELPER_WEIGHTS: dict[str, Weight] = {
    weight.name: weight
    for weight in (
        Weight(
            name="prompt.small",
            variant="small",
            folder="prompt-small",
            in_wheel=True,
            num_bytes=11_231_298,
            sha256="ba0411572bdb3b48cca24ab6bc3ad7ad2f7b121e9cce45bba9587038b68909c9",
            date="2026-11-30",
            licence=_RESEARCH_ONLY,
            trained_on=(*_PICTURES, *_MORE_PICTURES, _IMAGENET),
        ),
    )
}


def register(architecture: Architecture) -> None:
    """Add the architecture of another package, for as long as this process runs.

    A package that is installed names it in its metadata instead, as an entry point of the group ``vos_zoo.models``;
    then every process knows it. See ``docs/add_a_model.md``.

    Args:
        architecture: What to add. Adding an equal one again changes nothing.

    Raises:
        ConfigError: If the name is taken.

    Example:
        >>> register(ARCHITECTURES["rde"])
        >>> import dataclasses
        >>> register(dataclasses.replace(ARCHITECTURES["rde"], title="Mine"))
        Traceback (most recent call last):
        ...
        vos_zoo.errors.ConfigError: Architecture 'rde' exists already: RDE-VOS, CVPR 2022. Choose another name.
    """
    existing = ARCHITECTURES.get(architecture.name) or _FROM_OUTSIDE.get(architecture.name)
    if existing == architecture:
        return
    if existing is not None:
        raise ConfigError(
            f"Architecture {architecture.name!r} exists already: {existing.title}, {existing.paper.venue} "
            f"{existing.paper.year}. Choose another name."
        )
    if architecture.name in plugin_names():
        raise ConfigError(
            f"Architecture {architecture.name!r} exists already, by the entry point "
            f"{describe_plugin(architecture.name)}. Leave `register` out, or choose another name."
        )
    _FROM_OUTSIDE[architecture.name] = architecture


def is_architecture(name: str) -> bool:
    """Tell whether an architecture of this name is known, without importing another package's code."""
    return name in ARCHITECTURES or name in _FROM_OUTSIDE or name in plugin_names()


def known_architectures() -> dict[str, Architecture]:
    """Return all architectures by their names: the zoo's own and those of other packages.

    Entry points that are broken, or whose name is one of the zoo's, are left out with a warning.
    """
    for name in plugin_names():
        if name in ARCHITECTURES:
            _warn_once(
                f"Ignored the model {name!r} that {describe_plugin(name)} brings: the zoo has a model of that name."
            )
            continue
        try:
            find_architecture(name)
        except ConfigError as error:
            _warn_once(f"Left a model out. {error}")
    return ARCHITECTURES | _FROM_OUTSIDE


def find_architecture(name: str) -> Architecture:
    """Look an architecture up.

    Raises:
        UnknownModelError: If there is none of this name; the message lists the nearest names.
        ConfigError: If another package brings it by an entry point that is broken.

    Example:
        >>> find_architecture("rde").title
        'RDE-VOS'
    """
    if name in ARCHITECTURES:
        return ARCHITECTURES[name]
    if name not in _FROM_OUTSIDE and name in plugin_names():
        loaded = load_plugin(name)
        if not isinstance(loaded, Architecture) or loaded.name != name:
            raise ConfigError(
                f"Entry point {name!r} of the group {GROUP} names {describe_plugin(name)}, which is "
                f"{type(loaded).__name__} {getattr(loaded, 'name', '')!r}. Expected an Architecture of that name; "
                "correct it in that package."
            )
        _FROM_OUTSIDE[name] = loaded
    if name in _FROM_OUTSIDE:
        return _FROM_OUTSIDE[name]
    raise _unknown(name)


def _architecture_names() -> set[str]:
    return {*ARCHITECTURES, *_FROM_OUTSIDE, *plugin_names()}


@functools.cache
def _warn_once(message: str) -> None:
    _logger.warning(message)


def find_helper(name: str) -> StoredNetwork:
    """Look a helper network up.

    Raises:
        UnknownModelError: If there is none of this name.
    """
    if name in HELPERS:
        return HELPERS[name]
    raise UnknownModelError(f"Unknown helper network {name!r}. Known names: {', '.join(HELPERS)}.")


def find_stored_network(name: str) -> StoredNetwork:
    """Look up what a checkpoint may hold: a helper network or an architecture.

    Raises:
        UnknownModelError: If there is none of this name; the message lists the nearest names.
        ConfigError: If another package brings it by an entry point that is broken.
    """
    return HELPERS[name] if name in HELPERS else find_architecture(name)


class Configured(Protocol):
    """A network, as far as the registry has to know: it keeps the dataclass that it was built from."""

    @property
    def config(self) -> Any:
        """All hyper-parameters."""
        ...


def describe_network(network: Configured) -> dict[str, Any]:
    """Return what is needed to build a network again, as JSON data: ``architecture`` and ``config``.

    Raises:
        ConfigError: If no architecture of the registry has this class of network.
    """
    own = type(network)
    # Compared by import path, so that no other paper's code is loaded.
    path = f"{own.__module__}:{own.__qualname__}"
    for known in (HELPERS, ARCHITECTURES, known_architectures()):
        for stored in known.values():
            if stored.network_class == path:
                return {"architecture": stored.name, "config": config_to_dict(network.config)}
    raise ConfigError(
        f"{own.__name__} is not a network that the registry knows. Register its architecture with "
        f"network_class={path!r}; see `vos_zoo.register`."
    )


def find_weight(name: str) -> Weight:
    """Look a weight up by its full name or by its architecture's name, which means the first weight.

    Raises:
        UnknownModelError: If there is no such name, or if it is a model for which no weight is published. The message
            says what can be done instead.
    """
    if name in WEIGHTS:
        return WEIGHTS[name]
    architecture_name, dot, tag = name.partition(".")
    if not is_architecture(architecture_name):
        raise _unknown(name)
    architecture = find_architecture(architecture_name)
    published = [weight for weight in WEIGHTS.values() if weight.architecture == architecture_name]
    if not dot and published:
        return published[0]
    if dot and tag not in {variant.name for variant in architecture.variants}:
        raise _unknown(name)
    raise UnknownModelError(_unpublished(architecture, tag, [weight.name for weight in published]))


def _unpublished(architecture: Architecture, tag: str, published: list[str]) -> str:
    """Say that a known model has no weight, and what to do."""
    what = f"{architecture.title} in size {tag!r}" if tag else architecture.title
    ways = []
    if published:
        ways.append(f"use {', '.join(repr(name) for name in published)}")
    if tag in {"", architecture.variants[0].name} and architecture.converter is not None:
        ways.append(
            f"convert the authors' file with `vos-zoo convert --from {architecture.name} FILE --out DIR` and load DIR"
        )
    if architecture.name in ARCHITECTURES:
        ways.append(f"train one with `lightning fit --config {architecture.name}`")
    else:
        ways.append(f"train one with `lightning fit --model {architecture.module_class.partition(':')[2]}`")
        ways.append("give the folder of a checkpoint, or a repository as `hf-hub:owner/name@revision`")
    return f"No published weight for {what}. You can {'; or '.join(ways)}."


def _unknown(name: str) -> UnknownModelError:
    """Say that a name is unknown and list the nearest ones."""
    if name in HELPERS or name in HELPER_WEIGHTS:
        return UnknownModelError(
            f"{name!r} is a network that helps beside the models and follows no objects through videos. Expected a "
            "name of `vos-zoo list`."
        )
    known = [*WEIGHTS, *_architecture_names()]
    near = difflib.get_close_matches(name.lower(), known, n=3, cutoff=0.4)
    hint = f"Did you mean {' or '.join(repr(match) for match in near)}? " if near else ""
    return UnknownModelError(
        f"Unknown model {name!r}. {hint}Known names: {', '.join(sorted(known))}. "
        "For a checkpoint of your own give its folder, as `path/to/folder` or `local-dir:path/to/folder`."
    )
