"""The alignment of proposals to templates against its formula."""

import pytest
import torch
import torch.nn.functional as F

from vos_zoo.models.dmn_aoa.alignment import ObjectAlignment
from vos_zoo.models.dmn_aoa.config import DMNAOAConfig


@pytest.mark.parametrize("align", [True, False])
def test_alignment_is_the_formula(align):
    config = DMNAOAConfig(widths=(4, 4, 8), groups=4, align_dim=8, roi_size=3, align=align, alpha=20.0)
    torch.manual_seed(0)
    module = ObjectAlignment(config).double()
    templates, proposals = torch.randn(2, 16, 3, 3).double(), torch.randn(3, 16, 3, 3).double()
    projected = module.template_projector(templates).flatten(2), module.proposal_projector(proposals).flatten(2)
    expected = torch.zeros(2, 3, dtype=torch.float64)
    for row, template in enumerate(projected[0]):
        for column, proposal in enumerate(projected[1]):
            cosine = F.normalize(template, dim=0).T @ F.normalize(proposal, dim=0)
            moved = proposal @ torch.softmax(20 * cosine, dim=1).T if align else proposal
            expected[row, column] = F.cosine_similarity(template, moved, dim=0).mean()
    torch.testing.assert_close(module(templates, proposals), expected)
