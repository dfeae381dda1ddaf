"""The loops of ``bitcount``, compiled by Numba (the extra ``binary``) at their first call; one thread."""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

LANES, VECTORS = 8, 4
COLUMNS = LANES * VECTORS  # rows of weights whose counts stay in registers; weights are padded to a multiple of it


@intrinsic  # type: ignore[untyped-decorator, unused-ignore]
def count_block(context: Any, left: Any, row: Any, right: Any, column: Any, many: Any, count: Any, found: Any) -> Any:
    """found[row, column + j] = count − 2 Σ_k popcount(left[row, k] XOR right[k, column + j]) for j < ``COLUMNS``.

    Written as LLVM's vectors: each weight word is loaded once a row, counts stay apart until the end. A plain loop over
    the words of one pair spends most of its time on adding up the lanes of a vector.
    """

    def made(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        word, single = ir.IntType(64), ir.FloatType()
        lanes, floats = ir.VectorType(word, LANES), ir.VectorType(single, LANES)
        arrays = [context.make_array(signature.args[place])(context, builder, arguments[place]) for place in (0, 2, 6)]
        row, column, many, count = (arguments[place] for place in (1, 3, 4, 5))
        starts = [array.data for array in arrays]
        right_stride, found_stride = (builder.extract_value(array.shape, 1) for array in arrays[1:])
        popcount = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(lanes, [lanes]), f"llvm.ctpop.v{LANES}i64"
        )

        def splat(value: Any, kind: Any) -> Any:
            first = builder.insert_element(ir.Constant(kind, ir.Undefined), value, ir.Constant(ir.IntType(32), 0))
            zeros = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
            return builder.shuffle_vector(first, ir.Constant(kind, ir.Undefined), zeros)

        def vector(pointer: Any, offset: Any, kind: Any) -> Any:
            return builder.bitcast(builder.gep(pointer, [offset]), kind.as_pointer())

        from_row = builder.mul(row, many)
        before = builder.block
        loop, after = builder.append_basic_block("words"), builder.append_basic_block("counted")
        builder.branch(loop)
        builder.position_at_end(loop)
        index = builder.phi(word)
        index.add_incoming(ir.Constant(word, 0), before)
        sums = [builder.phi(lanes) for _ in range(VECTORS)]
        bits = splat(builder.load(builder.gep(starts[0], [builder.add(from_row, index)])), lanes)
        place = builder.add(builder.mul(index, right_stride), column)
        for number, total in enumerate(sums):
            total.add_incoming(ir.Constant(lanes, [0] * LANES), before)
            at = vector(starts[1], builder.add(place, ir.Constant(word, number * LANES)), lanes)
            differing = builder.xor(bits, builder.load(at, align=8))
            total.add_incoming(builder.add(total, builder.call(popcount, [differing])), loop)
        following = builder.add(index, ir.Constant(word, 1))
        index.add_incoming(following, loop)
        totals = [total.incomings[1][0] for total in sums]
        builder.cbranch(builder.icmp_signed("<", following, many), loop, after)
        builder.position_at_end(after)
        out = builder.add(builder.mul(row, found_stride), column)
        for number, total in enumerate(totals):
            value = builder.sub(splat(count, lanes), builder.shl(total, ir.Constant(lanes, [1] * LANES)))
            at = vector(starts[2], builder.add(out, ir.Constant(word, number * LANES)), floats)
            builder.store(builder.sitofp(value, floats), at, align=4)
        return context.get_dummy_value()

    return types.void(left, types.int64, right, types.int64, types.int64, types.int64, found), made


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator, unused-ignore]
def pack(x: Any, words: Any) -> None:
    """``float32`` (rows, n) → ``uint64`` (rows, ⌈n / 64⌉), a bit for each value ≥ 0, lowest first."""
    rows, count = x.shape
    whole = count // 64
    for row in range(rows):
        for word in range(whole):
            bits = np.uint64(0)
            for bit in range(64):
                bits |= np.uint64(x[row, word * 64 + bit] >= 0) << np.uint64(bit)
            words[row, word] = bits
        if whole < words.shape[1]:
            bits = np.uint64(0)
            for bit in range(count - whole * 64):
                bits |= np.uint64(x[row, whole * 64 + bit] >= 0) << np.uint64(bit)
            words[row, whole] = bits


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator, unused-ignore]
def multiply(left: Any, right: Any, count: int, found: Any) -> None:
    """``left`` (rows, k) and ``right`` (k, m) words, m a multiple of ``COLUMNS``, → ``float32`` (rows, m):
    ``count`` − 2 popcount(XOR)."""
    rows, many = left.shape
    for column in range(0, right.shape[1], COLUMNS):
        for row in range(rows):
            count_block(left, row, right, column, many, count, found)
