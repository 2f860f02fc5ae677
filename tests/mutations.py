"""What ``tests/mutate.py`` breaks, one line of the layers at a time."""

from __future__ import annotations

from typing import NamedTuple


class Mutation(NamedTuple):
    """One change of the source: ``old``, which stands there exactly once, becomes ``new``."""

    what: str
    old: str
    new: str


class Subject(NamedTuple):
    """A source file of attnzoo, the tests that must notice, and the changes."""

    source: str
    tests: tuple[str, ...]
    mutations: tuple[Mutation, ...]


def _layer(source: str, name: str, *mutations: Mutation, also: tuple[str, ...] = ()) -> Subject:
    """Return a layer's subject: its own tests, then the contract's for its registry name, then others."""
    own = f"tests/layers/test_{source}.py"
    contract = f"tests/layers/test_contract.py tests/layers/test_contract_transforms.py -k {name}"
    return Subject(f"attnzoo/layers/{source}.py", (own, contract, *also), mutations)


SUBJECTS = (
    _layer(
        "squeeze_excite",
        "se",
        Mutation("identity", "return apply_gates(x, gates, residual=self.residual)", "return x * 1.0"),
        Mutation("no sigmoid", "self.gate(logits)[", "logits["),
        Mutation("no activation", "self.act(pointwise(self.fc1, pooled[0]))", "pointwise(self.fc1, pooled[0])"),
        Mutation("maximum for mean", "global_pool(x, maximum=False)", "global_pool(x)[0].flip(0), x"),
        Mutation("maximum for mean in inference", "maxima=False", "maxima=True"),
        Mutation("residual ignored", "(x, gates, residual=self.residual)", "(x, gates, residual=False)"),
        Mutation("residual ignored in inference", "None, residual=self.residual)", "None, residual=False)"),
        Mutation(
            "bias ignored",
            "self.fc2 = nn.Conv2d(hidden, channels, 1, bias=bias,",
            "self.fc2 = nn.Conv2d(hidden, channels, 1,",
        ),
        Mutation("reset of one layer only", "        self.fc2.reset_parameters()\n", ""),
        Mutation(
            "dtype ignored",
            "self.fc2 = nn.Conv2d(hidden, channels, 1, bias=bias, device=device, dtype=dtype)",
            "self.fc2 = nn.Conv2d(hidden, channels, 1, bias=bias, device=device)",
        ),
        also=("tests/ops/test_gate_images.py",),
    ),
    _layer(
        "cbam",
        "cbam",
        Mutation("identity", "return apply_gates(x, gates, residual=self.residual)", "return x * 1.0"),
        Mutation("no sigmoid on channels", "(average + maximum).sigmoid()", "average + maximum"),
        Mutation(
            "no sigmoid on pixels",
            "self.norm(planar(self.conv, planes)).sigmoid()",
            "self.norm(planar(self.conv, planes))",
        ),
        Mutation("maximum left out", "(average + maximum)", "(average + average)"),
        Mutation("H and W swapped", "planar(self.conv, planes)", "planar(self.conv, planes.mT).mT"),
        Mutation("planes swapped", "planar(self.conv, planes)", "planar(self.conv, planes.flip(1))"),
        Mutation("pixels gated from the bare map", "squeeze_channels(x, channel)", "squeeze_channels(x, None)"),
        Mutation(
            "spatial=False ignored", "norm_layer, device, dtype) if spatial else None", "norm_layer, device, dtype)"
        ),
        Mutation("residual ignored", "(x, gates, residual=self.residual)", "(x, gates, residual=False)"),
        Mutation("residual ignored in inference", "spatial, residual=self.residual)", "spatial, residual=False)"),
        Mutation("norm left out in inference", "Convolution(self.conv, self.norm)", "Convolution(self.conv, None)"),
        Mutation("norm left out", "self.norm(planar(self.conv, planes))", "planar(self.conv, planes)"),
        also=("tests/ops/test_gate_images.py",),
    ),
    _layer(
        "region_mask",
        "region_mask",
        Mutation("identity", "mask.to(x.dtype)", "torch.ones_like(mask, dtype=x.dtype)"),
        Mutation("H and W swapped", "middle_of_row.view(1, 1, rows, 1)", "middle_of_row.view(1, 1, 1, rows)"),
        Mutation("row's edge for its middle", "dtype=center.dtype) + 0.5)", "dtype=center.dtype) + 0.0)"),
        Mutation("top row left out", "offset >= top", "offset > top"),
        Mutation("bottom row too many", "offset < bottom", "offset <= bottom"),
        Mutation("frame's height ignored", "(frame_height / rows)", "1.0"),
        Mutation("first centre for all", "- center\n", "- center[:1]\n"),
        Mutation("centre not checked", "if not torch.compiler.is_compiling() and", "if False and"),
    ),
    _layer(
        "llam",
        "llam",
        Mutation("identity", "return apply_gates(current, self.gates(previous, current))", "return current * 1.0"),
        Mutation("no sigmoid", "(logits.sigmoid(),)", "(logits,)"),
        Mutation("previous gated", "apply_gates(current, self", "apply_gates(previous, self"),
        Mutation("weights swapped", "of_previous, of_current = torch", "of_current, of_previous = torch"),
        Mutation("previous ignored", "logits + F.conv2d(previous,", "logits + 0 * F.conv2d(previous,"),
        Mutation("bias ignored", "of_current, self.conv.bias, padding", "of_current, None, padding"),
        Mutation("H and W swapped", "F.conv2d(previous, of_previous,", "F.conv2d(previous, of_previous.mT,"),
    ),
    _layer(
        "difference_gate",
        "difference_gate",
        Mutation("identity", "return apply_gates(x, factors)", "return x * 1.0"),
        Mutation("multiply for add", "factors = factors + 1\n", "pass\n"),
        Mutation(
            "channels interleaved",
            "factors.repeat_interleave(self.out_channels // (self.num_maps + 1), dim=1)",
            "factors.repeat(1, self.out_channels // (self.num_maps + 1), 1, 1)",
        ),
        Mutation(
            "last group left alone",
            "torch.cat([torch.ones_like(factors[:, :1]), factors], dim=1)",
            "torch.cat([factors, torch.ones_like(factors[:, :1])], dim=1)",
        ),
        Mutation("H and W swapped", "factors = maps.to(x.dtype)", "factors = maps.mT.reshape(maps.shape).to(x.dtype)"),
        Mutation("above, not at, the threshold", "difference >= levels", "difference > levels"),
        Mutation(
            "NaN threshold let through",
            "math.isnan(threshold) or not 0 <= threshold <= 255",
            "threshold < 0 or threshold > 255",
        ),
    ),
    _layer(
        "igc",
        "igc",
        Mutation("identity", "        y = self.norm(self.fuse(F.relu(connected)))\n", "        return x * 1.0\n"),
        Mutation("no shuffle", "self.conv2(_shuffle(y, self.groups))", "self.conv2(y)"),
        Mutation("no un-shuffle", "return _shuffle(y, y.shape[1] // self.groups)", "return y"),
        Mutation(
            "un-shuffle is the shuffle",
            "return _shuffle(y, y.shape[1] // self.groups)",
            "return _shuffle(y, self.groups)",
        ),
        Mutation("no ReLU after W1", "F.relu(self.norm1(self.conv1(x)))", "self.norm1(self.conv1(x))"),
        Mutation("no ReLU after the connection", "self.fuse(F.relu(connected))", "self.fuse(connected)"),
        Mutation("no ReLU at the end", "return F.threshold(y, 0.0, 0.0)", "return y"),
        Mutation("output kept for backward", "return F.threshold(y, 0.0, 0.0)", "return F.relu(y)"),
        Mutation("dense order swapped", "torch.cat([branch, x], dim=1)", "torch.cat([x, branch], dim=1)"),
        Mutation("no connection", "branch + x if", "branch if"),
        Mutation("H and W swapped", "self.norm1(self.conv1(x))", "self.norm1(self.conv1(x.mT).mT)"),
        Mutation("branch layer left out", "self.branch_layer(self.branch(x))", "self.branch(x)"),
        Mutation("memory format lost", ".contiguous(memory_format=_memory_format(x))", ".contiguous()"),
    ),
    _layer(
        "dense_backward",
        "dba",
        Mutation(
            "identity",
            "zip(pooled, weights, strict=True)], dim=1)",
            "zip(pooled, weights, strict=True)], dim=1) * 0 + torch.cat(pooled, dim=1)",
        ),
        Mutation("no sigmoid", "self.fc2(F.relu(self.fc1(pooled))).sigmoid()", "self.fc2(F.relu(self.fc1(pooled)))"),
        Mutation("no ReLU", "self.fc2(F.relu(self.fc1(pooled)))", "self.fc2(self.fc1(pooled))"),
        Mutation("deep before shallow", "torch.cat(gates[i:], dim=1)", "torch.cat(gates[i:][::-1], dim=1)"),
        Mutation("shallow gates for all", "torch.cat(gates[i:], dim=1)", "torch.cat(gates[: len(gates) - i], dim=1)"),
        Mutation(
            "deepest left alone", "return [*backward, gates[-1]]", "return [*backward, torch.ones_like(gates[-1])]"
        ),
        Mutation("aw_o_db ignored", 'self.strategy == "aw_o_db"', 'self.strategy == "dba"'),
        Mutation("pooled over H only", "x.mean((2, 3)) for x in maps", "x.mean(2)[:, :, 0] for x in maps"),
        Mutation(
            "maps not re-weighted",
            "apply_gates(x, (weight[:, :, None, None],))",
            "apply_gates(x, (weight[:, :, None, None] * 0 + 1,))",
        ),
    ),
    Subject(
        "attnzoo/ops/apply_gates.py",
        ("tests/ops/test_apply_gates.py",),
        (
            Mutation("residual ignored", "        factor = factor + 1\n", "        pass\n"),
            Mutation("blend ignored", "blend * (factor - 1) + 1", "factor + 0 * blend"),
            Mutation("wider gate widens the map", "return gated.to(x.dtype)", "return gated"),
            Mutation("second gate ignored", "gated = gated * gate\n", "pass\n"),
            Mutation("map may grow", "size not in (given, 1)", "size < 0"),
            Mutation("shortcut ignored", "y = (y + shortcut).to(x.dtype)", "y = y + 0 * shortcut"),
            Mutation("relu ignored", "return F.relu(y) if relu else y", "return y"),
        ),
    ),
    Subject(
        "attnzoo/checks.py",
        ("tests/layers/test_squeeze_excite.py",),
        (
            Mutation("width cut off, not rounded", "channels * rd_ratio + rd_divisor / 2", "channels * rd_ratio"),
            Mutation(
                "bool is an int",
                "if isinstance(value, bool) or not isinstance(value, int):",
                "if not isinstance(value, int):",
            ),
            Mutation("dtype not checked", "if like is not None and x.dtype != like.dtype and", "if False and"),
        ),
    ),
)
