"""The selective scan in standard ONNX operators.

A graph of one step a token would have to run tens of thousands of steps, each on a few numbers. Here the
tokens are cut into segments, and the steps go along all segments at once:

1. every segment starts from zero, which gives the state at its end;
2. from segment to segment, `end = exp(A sum d) start + end of its own` gives the states at all starts;
3. every segment again, now from its true start, which gives the output.

Nothing but states of one step is kept over the length, and no exponent is positive.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from diffcl.networks.selective_scan import GRAPH_SCAN

if TYPE_CHECKING:
    from onnx import ModelProto

OPSET = 18
"""Version of the operators."""

SEGMENT = 256
"""Tokens of a segment. Shorter ones mean fewer steps on more numbers each, which leave the processor's cache."""

_STEP = """
      d_ = Unsqueeze(d, one)
      rate = Mul(d_, rates)
      decay = Exp(rate)
      kept = Mul(decay, h)
      v_ = Unsqueeze(v, one)
      b_ = Unsqueeze(b, two)
      pushed = Mul(v_, b_)
      next = Add(kept, pushed)"""

_CUTS = "".join(
    f"""
    {name}_padded = Pad({volume}, padding)
    {name}_cut = Reshape({name}_padded, segments)
    {name} = Transpose<perm: ints = [3, 0, 1, 2]>({name}_cut)"""
    for name, volume in (("ds", "steps"), ("vs", "values"), ("bs", "B"), ("cs", "C"))
)

_FUNCTION = f"""
<domain: "diffcl", opset_import: ["" : {OPSET}]>
SelectiveScan (u, steps, A, B, C) => (y) {{
    zero = Constant<value_ints: ints = [0]>()
    one = Constant<value_ints: ints = [1]>()
    two = Constant<value_ints: ints = [2]>()
    zeros = Constant<value_ints: ints = [0, 0, 0, 0, 0]>()
    segment = Constant<value_ints: ints = [{SEGMENT}]>()
    segments = Constant<value_ints: ints = [0, 0, -1, {SEGMENT}]>()
    flat = Constant<value_ints: ints = [0, 0, -1]>()
    length = Shape<start: int = 2, end: int = 3>(u)
    negative = Neg(length)
    missing = Mod(negative, segment)
    padding = Concat<axis: int = 0>(zeros, missing)
    values = Mul(u, steps){_CUTS}
    columns = Transpose(A)
    rates = Unsqueeze(columns, two)
    whole = ReduceSum<keepdims: int = 0>(ds, zero)
    whole_ = Unsqueeze(whole, one)
    whole_rate = Mul(whole_, rates)
    fading = Exp(whole_rate)
    shape = Shape(fading)
    nothing = ConstantOfShape(shape)
    ends = Scan<num_scan_inputs: int = 3, body: graph = ending
      (float[?,?,?,?] h, float[?,?,?] d, float[?,?,?] v, float[?,?,?] b) => (float[?,?,?,?] next) {{{_STEP}
    }}>(nothing, ds, vs, bs)
    shape_ = Shape<end: int = 3>(fading)
    nothing_ = ConstantOfShape(shape_)
    last, starts = Scan<num_scan_inputs: int = 2, scan_input_axes: ints = [3, 3],
      scan_output_axes: ints = [3], body: graph = carrying
      (float[?,?,?] h, float[?,?,?] f, float[?,?,?] e) => (float[?,?,?] next, float[?,?,?] start) {{
      start = Identity(h)
      kept = Mul(f, h)
      next = Add(kept, e)
    }}>(nothing_, fading, ends)
    final, ys = Scan<num_scan_inputs: int = 4, body: graph = reading
      (float[?,?,?,?] h, float[?,?,?] d, float[?,?,?] v, float[?,?,?] b, float[?,?,?] c)
      => (float[?,?,?,?] next, float[?,?,?] out) {{{_STEP}
      c_ = Unsqueeze(c, two)
      seen = Mul(next, c_)
      out = ReduceSum<keepdims: int = 0>(seen, one)
    }}>(starts, ds, vs, bs, cs)
    tokens = Transpose<perm: ints = [1, 2, 3, 0]>(ys)
    padded = Reshape(tokens, flat)
    y = Slice(padded, zero, length, two)
}}
"""


def with_scan(graph: ModelProto) -> ModelProto:
    """The graph with standard operators in place of each selective scan."""
    from onnx import helper, inliner, parser

    standard = helper.make_opsetid("", OPSET)
    domain = GRAPH_SCAN.partition("::")[0]
    del graph.opset_import[:]
    graph.opset_import.extend([standard, helper.make_opsetid(domain, 1)])
    graph.functions.append(parser.parse_function(_FUNCTION))
    inlined: ModelProto = inliner.inline_local_functions(graph)
    del inlined.opset_import[:]
    inlined.opset_import.append(standard)
    return inlined
