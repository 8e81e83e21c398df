"""The memory read by Triton's programs for CUDA devices, with top-k and over all tokens."""

from __future__ import annotations

from torch import Tensor

from vos_zoo.errors import is_out_of_memory
from vos_zoo.memory.backends import triton_kernel, triton_softmax
from vos_zoo.memory.backends.backend import BackendStatus, Read


class _Triton:
    name = "triton"

    def status(self) -> BackendStatus:
        try:
            lacking = triton_kernel.unavailable_reason()
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            lacking = "the device has no memory left to try it"
        return BackendStatus(self.name, lacking is None, lacking or "fused CUDA kernels, the choice for top-k")

    def refusal(self, read: Read) -> str | None:
        if read.top_k is not None and read.needs_gradients:
            return "it has no gradients through top-k"
        if read.top_k is None:
            refused = triton_softmax.refusal(read.query, read.memory)
        else:
            refused = triton_kernel.refusal(read.query, read.memory, read.top_k)
        return refused or triton_kernel.unavailable_reason(read.query.device)

    def read(self, read: Read) -> tuple[Tensor, Tensor | None]:
        if read.top_k is None:
            return triton_softmax.read_triton_softmax(read.query, read.memory, read.read_keys)
        return triton_kernel.read_triton(read.query, read.memory, read.top_k, read.read_keys)


BACKEND = _Triton()
