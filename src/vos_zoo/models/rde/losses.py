"""RDE-VOS's distance between two memories."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def distribution_distance(student: Tensor, teacher: Tensor, *, per_position: bool = False) -> Tensor:
    """Kullback-Leibler divergence from the teacher's to the student's channel distribution.

    Channels (dim 1) become a distribution by a softmax at temperature 1. Gradients reach both sides.

    Args:
        student: Shape (B, C, ...).
        teacher: Shape (B, C, ...).
        per_position: Average over positions as the divergence is defined; the default averages over every element, a
            factor C smaller, as the released RDE-VOS code does.

    Source: RDE-VOS, Li et al., CVPR 2022, Equations 7 and 8; reduction as released.
    """
    student_log = F.log_softmax(student.float(), dim=1)
    teacher_log = F.log_softmax(teacher.float(), dim=1)
    elements = teacher_log.exp() * (teacher_log - student_log)
    return elements.sum(dim=1).mean() if per_position else elements.mean()
