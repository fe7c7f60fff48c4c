"""One set of array functions over NumPy or torch, so that training is written once.

Functions that take the same arguments in NumPy and torch (``exp``, ``multiply``, ``amax`` ... with ``out``, ``axis``
and ``keepdims``) are reached through `ArrayOps.xp`. Functions that differ are methods here. torch is imported only when
it is asked for.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
from numpy.typing import NDArray

ALIGNMENT = 64
"""Bytes. Matrix products round differently on differently aligned operands; with one alignment, runs agree bitwise."""
PIECE = 32768
"""Values of each array in one elementwise pass of NumPy's: five such pieces stay in a core's second-level cache."""

COPIED_BY_THREADS = 2**22
"""From this many bytes on, torch's threads copy faster than NumPy, which has one."""


class ArrayOps:
    """NumPy's arrays and functions, on the CPU.

    Attributes
    ----------
    xp
        The module of the functions.
    stack_bytes
        Bytes that a stack may take; a larger stack is trained piece by piece. On a CPU, what its caches hold between
        one step and the next.
    """

    xp: Any = np
    stack_bytes: int = 24 * 2**20

    def forward_only(self) -> AbstractContextManager[Any]:
        """Return a context without automatic differentiation: our pass backward is written out."""
        return nullcontext()

    def empty(self, shape: tuple[int, ...]) -> Any:
        """Return an uninitialised, aligned float32 array."""
        return aligned_empty(shape)

    def from_host(self, values: NDArray[Any]) -> Any:
        """Return a NumPy array as an array of this kind, which shares memory if it can."""
        return values

    def to_host(self, values: Any) -> NDArray[Any]:
        """Return an array as a NumPy array, which shares memory if it can."""
        return np.asarray(values)

    def copy_to_host(self, values: Any, out: NDArray[Any]) -> None:
        """Write an array made by `from_host` back to the NumPy array it was made from, unless they share memory."""

    def zeros_like(self, values: Any) -> Any:
        """Return an array of zeros of this shape."""
        return np.zeros_like(values)

    def as_arrays(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return a model's parameters as arrays of this kind."""
        return {name: np.asarray(array) for name, array in values.items()}

    def table(self, values: Any) -> Any:
        """Return a table, (n, F), for `gather` to read."""
        return values

    def gather(self, table: Any, rows: Any, out: Any) -> None:
        """Write ``table``'s rows, (n, F) at int64 (A, b), into ``out`` (A, b, F)."""
        # "clip" writes straight to ``out``; any other mode buffers the output.
        np.take(table, rows, axis=0, out=out, mode="clip")

    def stack(self, values: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        """Return a copy of A equal-shaped NumPy arrays as one, aligned, for `from_host`."""
        stacked = aligned_empty((len(values), *values[0].shape))
        for target, source in zip(stacked, values, strict=True):
            target[...] = source
        return stacked

    def log_softmax(self, values: Any) -> Any:
        """Return the logarithms of the softmax along the last axis; the values may be overwritten."""
        np.subtract(values, np.amax(values, axis=-1, keepdims=True), out=values)
        return np.subtract(values, np.log(np.sum(np.exp(values), axis=-1, keepdims=True)), out=values)

    def add_at(self, values: Any, positions: Any, amount: float) -> None:
        """Add a number at some positions, int64 and all different, of a flat array."""
        values[positions] += np.float32(amount)

    def matmul(self, a: Any, b: Any, out: Any) -> None:
        """Write the products of two stacks of matrices."""
        np.matmul(a, b, out=out)

    def product_scratch(self, parameters: Mapping[str, Any]) -> Any:
        """Return the buffer that `add_matmul` needs: room for the largest matrix of one part."""
        return self.empty((max(math.prod(values.shape[1:]) for values in parameters.values()),))

    def add_matmul(self, target: Any, a: Any, b: Any, factor: float, scratch: Any) -> None:
        """Add ``factor`` times the products of two stacks of matrices to ``target``.

        NumPy has no such kernel: products are made and added one at a time, while each is in the cache.
        """
        product = scratch[: math.prod(target.shape[1:])].reshape(target.shape[1:])
        for values, left, right in zip(target, a, b, strict=True):
            np.matmul(left, right, out=product)
            np.multiply(product, np.float32(factor), out=product)
            np.add(values, product, out=values)

    def add_product(self, target: Any, a: Any, b: Any) -> None:
        """Add the product of two matrices to ``target``."""
        target += a @ b

    def joined(self, arrays: Sequence[Any]) -> Any:
        """Return the rows of some matrices as one new matrix."""
        out = aligned_empty((sum(len(rows) for rows in arrays), *arrays[0].shape[1:]))
        return np.concatenate(arrays, out=out)

    def rows_of(self, arrays: Sequence[Any]) -> Any:
        """Return the rows of some matrices as one matrix, to be read only; it may share memory with them."""
        return self.joined(arrays)

    def norms(self, values: Any) -> NDArray[np.float32]:
        """Return the Frobenius norm of each matrix in (A, m, n), float32 (A,), NumPy."""
        with np.errstate(all="ignore"):
            squares: NDArray[np.float32] = np.einsum("aij,aij->a", values, values)
            return np.sqrt(squares)

    def pieces(self, stack: int, size: int) -> list[slice]:
        """Return the columns of (A, size) arrays that an elementwise pass should take together to stay in the cache."""
        columns = max(PIECE // stack, 1024)
        return [slice(start, min(start + columns, size)) for start in range(0, size, columns)]

    def adam(
        self, pieces: Sequence[Sequence[Any]], count: int, rate: float, betas: tuple[float, float], epsilon: float
    ) -> bool:
        """Take Adam's step number ``count`` in one kernel, if there is one; tell whether it was taken.

        Each piece is (θ, g, first moment, second moment), of one shape.
        """
        return False

    def relu(self, values: Any) -> None:
        """Replace negative values by zero."""
        np.maximum(values, 0, out=values)


class TorchOps(ArrayOps):
    """torch's tensors and functions.

    Parameters
    ----------
    device
        ``cpu``, ``cuda`` or ``cuda:N``.
    """

    def __init__(self, device: str = "cpu") -> None:
        import torch

        self.xp = torch
        self.device = torch.device(device)
        if self.device.type != "cpu":
            # Use total memory, not free memory: the division of a cohort decides the last bits of its results.
            self.stack_bytes = torch.cuda.get_device_properties(self.device).total_memory // 4

    def forward_only(self) -> AbstractContextManager[Any]:
        """Return a context in which torch's automatic differentiation is off and costs nothing."""
        return self.xp.inference_mode()  # type: ignore[no-any-return]

    def empty(self, shape: tuple[int, ...]) -> Any:
        """Return an uninitialised float32 tensor; torch aligns its own memory."""
        return self.xp.empty(shape, dtype=self.xp.float32, device=self.device)

    def from_host(self, values: NDArray[Any]) -> Any:
        """Return a tensor; on the CPU it shares memory with the array."""
        return self.xp.from_numpy(values if values.flags.writeable else values.copy()).to(self.device)

    def to_host(self, values: Any) -> NDArray[Any]:
        """Return a NumPy array; from the CPU it shares memory with the tensor."""
        array: NDArray[Any] = values.cpu().numpy()
        return array

    def copy_to_host(self, values: Any, out: NDArray[Any]) -> None:
        """Write a tensor made by `from_host` back to the NumPy array it was made from, unless they share memory."""
        if self.device.type != "cpu":
            self.xp.from_numpy(out).copy_(values)

    def zeros_like(self, values: Any) -> Any:
        """Return a tensor of zeros of this shape."""
        return self.xp.zeros_like(values)

    def as_arrays(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return a model's parameters as tensors on the device."""
        return {name: self.xp.as_tensor(array, device=self.device) for name, array in values.items()}

    def table(self, values: Any) -> Any:
        """Return a table, (n, F), for `gather` to read: on the CPU a tensor, from which torch's threads gather."""
        if not isinstance(values, np.ndarray) or self.device.type != "cpu":
            return values
        with warnings.catch_warnings():
            # Silence torch's warning: a memory-mapped file cannot be written to, and is only read.
            warnings.filterwarnings("ignore", message="The given NumPy array is not writ")
            return self.xp.from_numpy(values)

    def gather(self, table: Any, rows: Any, out: Any) -> None:
        """Write the rows of ``table`` (n, F) at int64 (A, b) into ``out`` (A, b, F); NumPy gathers from an array."""
        if isinstance(table, np.ndarray):
            out.copy_(self.xp.from_numpy(np.take(table, rows.cpu().numpy(), axis=0)))
        else:
            self.xp.index_select(table, 0, rows.reshape(-1), out=out.view(-1, table.shape[1]))

    def stack(self, values: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        """Return a copy of A equal-shaped NumPy arrays as one, aligned, for `from_host`; threads copy large ones."""
        large = len(values) * values[0].nbytes >= COPIED_BY_THREADS
        if not (large and all(source.flags.writeable and source.dtype == np.float32 for source in values)):
            return super().stack(values)
        stacked = aligned_empty((len(values), *values[0].shape))
        joined = self.xp.from_numpy(stacked.reshape(-1, *stacked.shape[2:]))
        self.xp.cat([self.xp.from_numpy(source) for source in values], out=joined)
        return stacked

    def log_softmax(self, values: Any) -> Any:
        """Return the logarithms of the softmax along the last axis; the values may be overwritten."""
        return self.xp.log_softmax(values, -1)

    def add_at(self, values: Any, positions: Any, amount: float) -> None:
        """Add a number at some positions, int64 and all different, of a flat tensor."""
        values.index_add_(0, positions, self.xp.full_like(positions, amount, dtype=self.xp.float32))

    def matmul(self, a: Any, b: Any, out: Any) -> None:
        """Write the products of two stacks of matrices."""
        self.xp.bmm(a, b, out=out)

    def product_scratch(self, parameters: Mapping[str, Any]) -> Any:
        """Return None: torch adds products in place."""
        return None

    def add_matmul(self, target: Any, a: Any, b: Any, factor: float, scratch: Any) -> None:
        """Add ``factor`` times the products of two stacks of matrices to ``target``, in one kernel."""
        target.baddbmm_(a, b, alpha=factor)

    def add_product(self, target: Any, a: Any, b: Any) -> None:
        """Add the product of two matrices to ``target``, in one kernel."""
        target.addmm_(a, b)

    def joined(self, arrays: Sequence[Any]) -> Any:
        """Return the rows of some matrices as one new matrix."""
        return self.xp.cat(list(arrays))

    def rows_of(self, arrays: Sequence[Any]) -> Any:
        """Return the rows of some matrices as one; without a copy if they are aligned and adjacent in memory."""
        first, width = arrays[0], arrays[0].shape[1]
        if first.data_ptr() % ALIGNMENT:
            return self.joined(arrays)
        memory, end = first.untyped_storage().data_ptr(), first.storage_offset()
        for array in arrays:
            same = array.is_contiguous() and array.untyped_storage().data_ptr() == memory
            if not same or array.storage_offset() != end:
                return self.joined(arrays)
            end += array.numel()
        return first.as_strided(((end - first.storage_offset()) // width, width), (width, 1))

    def norms(self, values: Any) -> NDArray[np.float32]:
        """Return the Frobenius norm of each matrix in (A, m, n), float32 (A,), NumPy."""
        return self.to_host(self.xp.linalg.vector_norm(values, dim=(1, 2)))

    def pieces(self, stack: int, size: int) -> list[slice]:
        """Return all columns as one piece: a torch kernel divides its arrays over threads itself."""
        return [slice(0, size)]

    def adam(
        self, pieces: Sequence[Sequence[Any]], count: int, rate: float, betas: tuple[float, float], epsilon: float
    ) -> bool:
        """Take Adam's step by torch's own kernel, the one behind ``torch.optim.Adam(fused=True)``."""
        values, gradients, first, second = (list(arrays) for arrays in zip(*pieces, strict=True))
        steps = [self.xp.full((), count, dtype=self.xp.float32, device=self.device)] * len(values)
        self.xp._fused_adam_(
            values,
            gradients,
            first,
            second,
            [],
            steps,
            lr=rate,
            beta1=betas[0],
            beta2=betas[1],
            weight_decay=0.0,
            eps=epsilon,
            amsgrad=False,
            maximize=False,
        )
        return True

    def relu(self, values: Any) -> None:
        """Replace negative values by zero."""
        values.relu_()


def ops_of(values: Any) -> ArrayOps:
    """Return the ops for an array's kind and device."""
    return ArrayOps() if isinstance(values, np.ndarray) else TorchOps(str(values.device))


def aligned_empty(shape: tuple[int, ...], dtype: Any = np.float32) -> NDArray[Any]:
    """Return an uninitialised NumPy array whose memory starts at a multiple of `ALIGNMENT` bytes."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    memory = np.empty(size + ALIGNMENT, dtype=np.uint8)
    start = -memory.ctypes.data % ALIGNMENT
    aligned: NDArray[Any] = memory[start : start + size].view(dtype).reshape(shape)
    return aligned


def aligned(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return an array, or a copy, that `from_host` can share: row by row, writeable, aligned to `ALIGNMENT` bytes."""
    if values.flags.c_contiguous and values.flags.writeable and not values.ctypes.data % ALIGNMENT:
        return values
    copy = aligned_empty(values.shape)
    copy[...] = values
    return copy
