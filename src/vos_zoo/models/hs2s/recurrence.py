"""HS2S's recurrent cell."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ConvLSTM(nn.Module):
    """Convolutional LSTM whose gates and candidate are all sigmoid and whose output is a ReLU.

    ``c' = f c + i g`` and ``h' = o ReLU(c')`` with i, f, o and g from one convolution of input and hidden state. States
    are float32 (float64 for float64 input), also inside autocast.

    Args:
        in_channels: Channels of the input (N, in_channels, h, w).
        width: Channels of hidden and cell state.
        kernel: Odd kernel size in positions.

    Source: HS2S, Azimi et al., 2020, Section 4.2 (sigmoid gates, ReLU outputs); the sigmoid of the candidate, where
        others have a hyperbolic tangent, as released.
    """

    def __init__(self, in_channels: int, width: int, kernel: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels + width, 4 * width, kernel, padding=kernel // 2)

    def forward(self, features: Tensor, hidden: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
        """Return the next hidden and cell state."""
        gates: Tensor = self.conv(torch.cat([features, hidden.to(features.dtype)], dim=1))
        with torch.autocast(gates.device.type, enabled=False):
            gate_in, gate_forget, gate_out, candidate = gates.to(cell.dtype).sigmoid().chunk(4, dim=1)
            cell = gate_forget * cell + gate_in * candidate
            return gate_out * cell.relu(), cell
