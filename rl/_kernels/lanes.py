# mypy: ignore-errors
# Types are those of compiled code, which only numba infers.
"""Sixteen units side by side: a vector type for kernels, its arithmetic, exp, sigmoid and tanh.

The compiler's own vectoriser gives loops over many arrays up, since any of them might overlap, and lets the order of a
sum depend on the loop around it. Here a value is a vector of 16 floats of one type and every operation is the one
written: `fma` is one rounding, `a * b + c` two. So results do not depend on what is inlined where, two ways through
the same work agree to the bit, and vectors live in registers on any machine, as wide as it has them.

A file of kernels that calls these functions or those of `updating` holds the CRC of both as `_SHARED`, and a test
compares: numba's cache watches the calling file only, and so it changes whenever one of the two does. Kernels of lanes
allocate nothing and are compiled without reference counting (`_nrt=False`): counting the arrays of a tuple inside
loops cost a factor of 5 to 10.
"""

import operator

from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic, models, overload, register_model

#: Lanes of a vector: float32 fills a 512-bit register, float64 two.
N_LANES = 16

#: Decorators of what only kernels call: no wrapper for Python, and nothing that counts references.
part = njit(no_cpython_wrapper=True, no_cfunc_wrapper=True, _nrt=False)
inlined = njit(forceinline=True, no_cpython_wrapper=True, no_cfunc_wrapper=True, _nrt=False)


class Lanes(types.Type):
    """The type of a vector of 16 floats."""

    def __init__(self, dtype):
        self.dtype = dtype
        super().__init__(name=f"Lanes({dtype})")


@register_model(Lanes)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, dmm, fe_type):
        super().__init__(dmm, fe_type, _vector(fe_type.dtype))


def _vector(dtype):
    return ir.VectorType(ir.FloatType() if dtype == types.float32 else ir.DoubleType(), N_LANES)


def _integers(dtype):
    return ir.VectorType(ir.IntType(dtype.bitwidth), N_LANES)


def _splat(builder, scalar):
    vector = ir.VectorType(scalar.type, N_LANES)
    first = builder.insert_element(ir.Constant(vector, ir.Undefined), scalar, ir.Constant(ir.IntType(32), 0))
    where = ir.Constant(ir.VectorType(ir.IntType(32), N_LANES), None)
    return builder.shuffle_vector(first, ir.Constant(vector, ir.Undefined), where)


def _call(builder, name, vector, arguments):
    suffix = f"v{N_LANES}f{32 if isinstance(vector.element, ir.FloatType) else 64}"
    kind = ir.FunctionType(vector, [vector] * len(arguments))
    function = builder.module.globals.get(f"llvm.{name}.{suffix}")
    if function is None:
        function = ir.Function(builder.module, kind, f"llvm.{name}.{suffix}")
    return builder.call(function, arguments)


def _at(context, builder, array_type, array, index):
    """Return the address of 16 floats from `index` on."""
    data = context.make_array(array_type)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [index]), _vector(array_type.dtype).as_pointer())


# -- memory ---------------------------------------------------------------------------------------------------
@intrinsic
def load(typingctx, array, index):
    """Return array[index : index + 16] of a flat array."""

    def codegen(context, builder, signature, args):
        return builder.load(_at(context, builder, signature.args[0], *args), align=array.dtype.bitwidth // 8)

    return Lanes(array.dtype)(array, types.intp), codegen


@intrinsic
def store(typingctx, array, index, value):
    """Write `value` to array[index : index + 16] of a flat array."""

    def codegen(context, builder, signature, args):
        address = _at(context, builder, signature.args[0], *args[:2])
        builder.store(args[2], address, align=array.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(array, types.intp, value), codegen


@intrinsic
def splat(typingctx, array, index):
    """Return 16 times array[index] of a flat array."""

    def codegen(context, builder, signature, args):
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        return _splat(builder, builder.load(builder.gep(data, [args[1]])))

    return Lanes(array.dtype)(array, types.intp), codegen


@intrinsic
def fill(typingctx, like, value):
    """Return 16 times the float64 `value`, in the type of `like`."""

    def codegen(context, builder, signature, args):
        return _splat(builder, context.cast(builder, args[1], types.float64, like.dtype))

    return like(like, types.float64), codegen


# -- arithmetic -----------------------------------------------------------------------------------------------
def _operation(name):
    @intrinsic
    def operate(typingctx, a, b):
        def codegen(context, builder, signature, args):
            return getattr(builder, name)(*args)

        return a(a, b), codegen

    return operate


_add, _sub, _mul, _div = (_operation(name) for name in ("fadd", "fsub", "fmul", "fdiv"))


@overload(operator.add)
def _overload_add(a, b):
    if isinstance(a, Lanes) and a == b:
        return lambda a, b: _add(a, b)  # noqa: PLW0108 - numba takes functions of Python
    return None


@overload(operator.sub)
def _overload_sub(a, b):
    if isinstance(a, Lanes) and a == b:
        return lambda a, b: _sub(a, b)  # noqa: PLW0108 - numba takes functions of Python
    return None


@overload(operator.mul)
def _overload_mul(a, b):
    if isinstance(a, Lanes) and a == b:
        return lambda a, b: _mul(a, b)  # noqa: PLW0108 - numba takes functions of Python
    return None


@overload(operator.truediv)
def _overload_div(a, b):
    if isinstance(a, Lanes) and a == b:
        return lambda a, b: _div(a, b)  # noqa: PLW0108 - numba takes functions of Python
    return None


@intrinsic
def fma(typingctx, a, b, c):
    """Return a * b + c, rounded once."""

    def codegen(context, builder, signature, args):
        return _call(builder, "fma", _vector(a.dtype), args)

    return a(a, b, c), codegen


@intrinsic
def root(typingctx, a):
    """Return the square root."""

    def codegen(context, builder, signature, args):
        return _call(builder, "sqrt", _vector(a.dtype), args)

    return a(a), codegen


@intrinsic
def nearest(typingctx, a):
    """Return the nearest whole numbers, halves to the even one."""

    def codegen(context, builder, signature, args):
        return _call(builder, "rint", _vector(a.dtype), args)

    return a(a), codegen


@intrinsic
def clamp(typingctx, a, low, high):
    """Return `a` within [low, high]; NaN stays."""

    def codegen(context, builder, signature, args):
        value, low, high = args
        value = builder.select(builder.fcmp_ordered("<", value, low), low, value)
        return builder.select(builder.fcmp_ordered(">", value, high), high, value)

    return a(a, low, high), codegen


@intrinsic
def select_odd(typingctx, k, odd, even):
    """Return `odd` where the whole number `k` is odd, else `even`."""

    def codegen(context, builder, signature, args):
        whole = _integers(k.dtype)
        bit = builder.and_(builder.fptosi(args[0], whole), _splat(builder, ir.Constant(whole.element, 1)))
        return builder.select(builder.icmp_signed("!=", bit, ir.Constant(whole, None)), args[1], args[2])

    return odd(k, odd, even), codegen


@intrinsic
def power_of_two(typingctx, k):
    """Return 2^k of whole numbers whose power is a normal number."""

    def codegen(context, builder, signature, args):
        bits, bias = (23, 127) if k.dtype == types.float32 else (52, 1023)
        whole = _integers(k.dtype)
        exponent = builder.add(builder.fptosi(args[0], whole), _splat(builder, ir.Constant(whole.element, bias)))
        shifted = builder.shl(exponent, _splat(builder, ir.Constant(whole.element, bits)))
        return builder.bitcast(shifted, _vector(k.dtype))

    return k(k), codegen


@intrinsic
def is_single(typingctx, a):
    """Return whether the lanes are float32; a constant once compiled."""

    def codegen(context, builder, signature, args):
        return ir.Constant(ir.IntType(1), a.dtype == types.float32)

    return types.boolean(a), codegen


# -- across lanes ---------------------------------------------------------------------------------------------
@intrinsic
def total(typingctx, a):
    """Return the sum of the 16 lanes: halves onto halves, four times."""

    def codegen(context, builder, signature, args):
        value, width = args[0], N_LANES
        while width > 1:
            width //= 2
            low, high = (
                builder.shuffle_vector(value, value, ir.Constant(ir.VectorType(ir.IntType(32), width), list(part)))
                for part in (range(width), range(width, 2 * width))
            )
            value = builder.fadd(low, high)
        return builder.extract_element(value, ir.Constant(ir.IntType(32), 0))

    return a.dtype(a), codegen


@intrinsic
def totals(typingctx, rows):
    """Return the lane sums of a tuple of 16 vectors, that of rows[i] in lane i.

    A tree of 15 additions: each joins two vectors whose blocks of lanes are summed by halves.
    """

    def codegen(context, builder, signature, args):
        values = [builder.extract_value(args[0], i) for i in range(N_LANES)]
        width = N_LANES // 2  # lanes of a block that are still to be summed with their neighbours
        while width:
            values = [_join(builder, *values[i : i + 2], width) for i in range(0, len(values), 2)]
            width //= 2
        order = [int(f"{i:04b}"[::-1], 2) for i in range(N_LANES)]
        where = ir.Constant(ir.VectorType(ir.IntType(32), N_LANES), order)
        return builder.shuffle_vector(values[0], values[0], where)

    return rows.dtype(rows), codegen


def _join(builder, a, b, width):
    # Of each block of 2 * width lanes the first half keeps a's sums, the second b's.
    kind = ir.VectorType(ir.IntType(32), N_LANES)
    low, high = [], []
    for lane in range(N_LANES):
        start, offset = lane - lane % (2 * width), lane % width
        source = 0 if lane % (2 * width) < width else N_LANES
        low.append(source + start + offset)
        high.append(source + start + width + offset)
    return builder.fadd(*(builder.shuffle_vector(a, b, ir.Constant(kind, part)) for part in (low, high)))


# -- functions ------------------------------------------------------------------------------------------------
@inlined
def exp_parts(a):
    """Return (p, s) with exp(a) = s + s p, s a power of two, abs(p) < .42: exp(a) - 1 is then s p + (s - 1)."""
    # a = k ln 2 + r; ln 2 in two parts, the first of which is the nearest float of the type.
    if is_single(a):
        a = clamp(a, fill(a, -87.0), fill(a, 88.0))
        k = nearest(a * fill(a, 1.4426950408889634))
        r = fma(k, fill(a, -0.6931471824645996), a)
        r = fma(k, fill(a, 1.904654299957768e-09), r)
        p = fma(r, fill(a, 1.0 / 5040.0), fill(a, 1.0 / 720.0))
    else:
        a = clamp(a, fill(a, -708.0), fill(a, 709.0))
        k = nearest(a * fill(a, 1.4426950408889634))
        r = fma(k, fill(a, -0.6931471805599453), a)
        r = fma(k, fill(a, -2.3190468138462996e-17), r)
        p = fma(r, fill(a, 1.0 / 6227020800.0), fill(a, 1.0 / 479001600.0))
        p = fma(r, p, fill(a, 1.0 / 39916800.0))
        p = fma(r, p, fill(a, 1.0 / 3628800.0))
        p = fma(r, p, fill(a, 1.0 / 362880.0))
        p = fma(r, p, fill(a, 1.0 / 40320.0))
        p = fma(r, p, fill(a, 1.0 / 5040.0))
        p = fma(r, p, fill(a, 1.0 / 720.0))
    p = fma(r, p, fill(a, 1.0 / 120.0))
    p = fma(r, p, fill(a, 1.0 / 24.0))
    p = fma(r, p, fill(a, 1.0 / 6.0))
    p = fma(r, p, fill(a, 0.5))
    return fma(r * r, p, r), power_of_two(k)


@inlined
def exp(a):
    """Return exp(a), a held within what the type's normal numbers can say."""
    p, s = exp_parts(a)
    return fma(s, p, s)


@inlined
def sigmoid(a):
    """Return 1 / (1 + exp(-a)), to the last few bits on both sides."""
    one = fill(a, 1.0)
    return one / (one + exp(fill(a, 0.0) - a))


@inlined
def tanh(a):
    """Return tanh(a) = e / (e + 2), e = exp(2 a) - 1, which does not cancel where `a` is small."""
    p, s = exp_parts(a + a)
    e = fma(s, p, s - fill(a, 1.0))
    return e / (e + fill(a, 2.0))


@inlined
def sin_cos(a):
    """Return (sin a, cos a) for angles below some thousand radians."""
    k = nearest(a * fill(a, 0.6366197723675814))
    if is_single(a):  # pi/2 in parts, as ln 2 above
        r = fma(k, fill(a, -1.5707963705062866), a)
        r = fma(k, fill(a, 4.371139000186241e-08), r)
        s = fma(r * r, fill(a, 1.0 / 362880.0), fill(a, -1.0 / 5040.0))
        s = fma(r * r, s, fill(a, 1.0 / 120.0))
        c = fma(r * r, fill(a, 1.0 / 40320.0), fill(a, -1.0 / 720.0))
    else:
        r = fma(k, fill(a, -1.5707963267948966), a)
        r = fma(k, fill(a, -6.123233995736766e-17), r)
        s = fma(r * r, fill(a, -1.0 / 1307674368000.0), fill(a, 1.0 / 6227020800.0))
        s = fma(r * r, s, fill(a, -1.0 / 39916800.0))
        s = fma(r * r, s, fill(a, 1.0 / 362880.0))
        s = fma(r * r, s, fill(a, -1.0 / 5040.0))
        s = fma(r * r, s, fill(a, 1.0 / 120.0))
        c = fma(r * r, fill(a, 1.0 / 20922789888000.0), fill(a, -1.0 / 87178291200.0))
        c = fma(r * r, c, fill(a, 1.0 / 479001600.0))
        c = fma(r * r, c, fill(a, -1.0 / 3628800.0))
        c = fma(r * r, c, fill(a, 1.0 / 40320.0))
        c = fma(r * r, c, fill(a, -1.0 / 720.0))
    q = r * r
    s = fma(q * r, fma(q, s, fill(a, -1.0 / 6.0)), r)
    c = fma(q, fma(q, fma(q, c, fill(a, 1.0 / 24.0)), fill(a, -0.5)), fill(a, 1.0))
    one, minus, half = fill(a, 1.0), fill(a, -1.0), fill(a, 0.5)
    # Quarter turns: an odd one swaps the two; sin changes sign in the third and fourth, cos in the second and third.
    for_sin = (k - select_odd(k, one, fill(a, 0.0))) * half
    next_k = k + one
    for_cos = (next_k - select_odd(next_k, one, fill(a, 0.0))) * half
    return (
        select_odd(k, c, s) * select_odd(for_sin, minus, one),
        select_odd(k, s, c) * select_odd(for_cos, minus, one),
    )
