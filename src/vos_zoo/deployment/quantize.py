"""ONNX graphs whose convolutions compute in 8 bits, calibrated on videos."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vos_zoo.deployment.onnx_files import copy_inline
from vos_zoo.demo import demo_clip
from vos_zoo.errors import DataError
from vos_zoo.media.given_masks import GivenMasks  # noqa: F401
from vos_zoo.runtime.graphs import OnnxGraphs
from vos_zoo.runtime.session import GraphSession
