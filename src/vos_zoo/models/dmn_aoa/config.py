"""Hyper-parameters of DMN-AOA and the switches of its ablations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from vos_zoo.configs import check_choices
from vos_zoo.errors import ConfigError

Keeps = Literal["first", "previous", "first+previous", "every", "all"]


@dataclass(frozen=True)
class DMNAOAConfig:
    """Architecture, matching and memory; the defaults are the paper's where it gives them.

    ``r50()`` and ``r101()`` are the paper's networks, ``small()`` the bundled size, ``tiny()`` exists for tests. The
    rows of the paper's Table 3 are fields: A1 ``template="first", align=False``; A2 ``align=False``; A3
    ``template="first"``; A4 ``memory_source="frame"``; A5 ``matcher=False``; A6 ``refine=False``; B1 to B4 ``memory``.

    Raises:
        ConfigError: If sizes do not fit together.
    """

    #: timm ResNet of the base features, up to stride 16 (paper, Section 4.1)
    backbone: str = "resnet50"
    #: channels of the bottlenecks at strides 4, 8 and 16. Their sum is the object feature; 512 makes the key (a
    #: quarter) and the value those of STM, and the coarsest level carries most (the paper gives no widths)
    widths: tuple[int, int, int] = (128, 128, 256)
    #: groups of every normalisation outside the backbone (paper, Section 4.1)
    groups: int = 32
    #: side of an object's pooled feature; 14 as in DMM-Net, whose object branch the paper keeps
    roi_size: int = 14
    #: factor on the sides of query boxes; 1 is the paper's literal reading
    box_expand: float = 1.0
    #: channels in which proposals are aligned; 256 as in the correspondence networks that the paper cites
    align_dim: int = 256
    #: sharpness of alignment; CoCosNet, cited for this formula, has temperature 0.01 (the paper gives no value)
    alpha: float = 100.0
    #: subtract the mean over channels before cosines, as CoCosNet does; the paper does not mention it
    center: bool = False
    #: one cosine per position, averaged, so that no position dominates; ``flatten`` is one cosine of the whole map
    match_reduce: Literal["mean", "flatten"] = "mean"
    #: template read from memory, or the first frame's object feature (Table 3, A1 and A3)
    template: Literal["memory", "first"] = "memory"
    #: move proposals onto the template before they are compared (off in Table 3, A1 and A2)
    align: bool = True
    #: memory of object features, or of whole frames (Table 3, A4)
    memory_source: Literal["object", "frame"] = "object"
    #: find coarse masks by matching proposals, or decode them from the template (Table 3, A5)
    matcher: bool = True
    #: refine coarse masks (off in Table 3, A6)
    refine: bool = True
    #: which past frames an object remembers (Table 3, B1 to B4); ``every`` adds each ``mem_every``-th to first and
    #: previous
    memory: Keeps = "every"
    #: frames between remembered frames (paper, Section 4.1)
    mem_every: int = 5
    #: most frames that an object remembers in a session; more than any DAVIS or YouTube-VOS clip needs
    max_memory_frames: int | None = 64
    #: share of mask overlap in the similarity that is matched; 0.3 as in DMM-Net, without which twins cannot be told
    #: apart. The paper's text has cosines alone, which is 0
    iou_weight: float = 0.3
    #: iterations of the matching layer in training and evaluation, and projections in each (DMM-Net)
    train_iterations: int = 10
    eval_iterations: int = 40
    projections: int = 5
    #: step of the matching layer (DMM-Net)
    step_size: float = 0.1
    #: average the iterates before projection as DMM-Net's code does, or after it, where rows sum to 1
    average: Literal["pre", "post"] = "pre"
    #: stop when an iterate repeats exactly, as DMM-Net's code does; off is deterministic and waits for no device
    early_stop: bool = False
    #: proposals that mean "no match", of similarity 0; DMM-Net adds them only when proposals are few
    null_columns: int = 0
    #: weigh all proposal masks (paper, Section 3.1), or take the best one (DMM-Net in evaluation)
    selection: Literal["sum", "top1"] = "sum"
    #: assignments up to this count as none (DMM-Net)
    least_assignment: float = 0.01
    #: move reference frames onto the current one before refinement (paper, Section 3.1)
    align_reference: bool = True
    #: channels of the refinement blocks (STM's decoder)
    refine_dim: int = 256
    #: proposals kept per frame (paper, Section 4.1)
    max_proposals: int = 30
    #: short side at which sessions show frames to the network; ``small`` was trained on small crops, and is better at
    #: their scale
    working_size: int = 480

    def __post_init__(self) -> None:
        check_choices(self)
        grouped = (*self.widths, self.align_dim, self.refine_dim)
        if self.groups < 1 or any(width < 1 or width % self.groups for width in grouped):
            raise ConfigError(
                f"DMNAOAConfig has widths {grouped} and groups={self.groups}. Expected every width to be a multiple of "
                "the groups."
            )
        if self.object_dim % 4:
            raise ConfigError(f"DMNAOAConfig has {self.object_dim} object channels. Expected a multiple of 4.")
        if min(self.roi_size, self.mem_every, self.max_proposals, self.working_size) < 1 or self.box_expand <= 0:
            raise ConfigError(
                "DMNAOAConfig has roi_size, mem_every, max_proposals, working_size or box_expand below 1. Raise it."
            )

    @property
    def object_dim(self) -> int:
        """Channels of an object's feature and of its memory values."""
        return sum(self.widths)

    @property
    def key_dim(self) -> int:
        """Channels of keys, a quarter of the object feature (paper, Section 3.2)."""
        return self.object_dim // 4

    @classmethod
    def r50(cls) -> DMNAOAConfig:
        """Return the paper's network."""
        return cls()

    @classmethod
    def r101(cls) -> DMNAOAConfig:
        """Return the paper's larger network."""
        return cls(backbone="resnet101")

    @classmethod
    def small(cls) -> DMNAOAConfig:
        """Return the bundled size: ResNet-18 and narrow heads."""
        return cls(
            backbone="resnet18",
            widths=(48, 48, 96),
            groups=8,
            align_dim=64,
            refine_dim=64,
            working_size=320,
        )

    @classmethod
    def tiny(cls) -> DMNAOAConfig:
        """Return a network for tests and examples."""
        return cls(
            backbone="test_resnet",
            widths=(8, 8, 16),
            groups=4,
            roi_size=4,
            align_dim=16,
            refine_dim=16,
            max_memory_frames=4,
            eval_iterations=10,
        )
