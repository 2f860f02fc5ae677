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
        Mutation(
            "identity",
            "return apply_gates(x, gates, blend=blend, residual=self.residual, shortcut",
            "return x * 1.0  # ",
        ),
        Mutation("no sigmoid", "self.gate(logits)[", "logits["),
        Mutation("no activation", "self.act(pointwise(self.fc1, pooled[0]))", "pointwise(self.fc1, pooled[0])"),
        Mutation("maximum for mean", "global_pool(x, maximum=False)", "global_pool(x)[0].flip(0), x"),
        Mutation("maximum too in the kernel", '"maxima": False', '"maxima": True'),
        Mutation("residual ignored in the kernel", "_GATINGS[self.residual]", "_GATINGS[False]"),
        Mutation("blend ignored in the kernel", "blend=blend, in_place=in_place)", "blend=None, in_place=in_place)"),
        Mutation(
            "residual ignored",
            "(x, gates, blend=blend, residual=self.residual,",
            "(x, gates, blend=blend, residual=False,",
        ),
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
        also=("tests/ops/gates/test_gate_images.py", "tests/ops/test_eligibility.py"),
    ),
    _layer(
        "cbam",
        "cbam",
        Mutation("identity", "return apply_gates(x, gates, blend=blend, residual=self.residual)", "return x * 1.0"),
        Mutation("no sigmoid on channels", "first, second).sigmoid()", "first, second)"),
        Mutation("maximum left out", "for pooled in (average, maximum)", "for pooled in (average, average)"),
        Mutation("no sigmoid on pixels", "self.norm(logits).sigmoid()", "self.norm(logits)"),
        Mutation("norm left out", "self.norm(logits).sigmoid()", "logits.sigmoid()"),
        Mutation("residual ignored", "(x, gates, blend=blend, residual=self.residual)", "(x, gates, blend=blend)"),
        Mutation(
            "residual ignored in the kernel",
            "normed=normed, residual=residual)",
            "normed=normed, residual=False)",
        ),
        Mutation("maximum left out in the kernel", "channel, maxima=True", "channel, maxima=False"),
        Mutation("norm left out in the kernel", "normed = size > 0 and norm is nn.BatchNorm2d", "normed = False"),
        Mutation("blend ignored in the spatial gate", "blended(channel, blend)", "channel"),
        Mutation("H and W swapped", "planar(self.conv, planes)", "planar(self.conv, planes.mT).mT"),
        Mutation("planes swapped", "planar(self.conv, planes)", "planar(self.conv, planes.flip(1))"),
        Mutation("pixels gated from the bare map", "squeeze_channels(x, gate)", "squeeze_channels(x, None)"),
        Mutation(
            "spatial=False ignored", "norm_layer, device, dtype) if spatial else None", "norm_layer, device, dtype)"
        ),
        also=("tests/ops/gates/test_gate_images.py", "tests/ops/test_eligibility.py"),
    ),
    _layer(
        "region_mask",
        "region_mask",
        Mutation(
            "identity", "split_rows(x, self._rows(x, center_row))", "[x * 1.0 for _ in self._rows(x, center_row)]"
        ),
        Mutation("masks of columns", "rows[:, :, None, :, None].to(dtype)", "rows[:, :, None, None, :].to(dtype)"),
        Mutation("H and W swapped", "height = x.shape[2]", "height = x.shape[3]"),
        Mutation("row's edge for its middle", "dtype=center.dtype) + 0.5)", "dtype=center.dtype) + 0.0)"),
        Mutation("top row left out", "offset >= top", "offset > top"),
        Mutation("bottom row too many", "offset < bottom", "offset <= bottom"),
        Mutation("frame's height ignored", "(frame_height / height)", "1.0"),
        Mutation("first centre for all", "- center  #", "- center[:1]  #"),
        Mutation("centre not checked", "if not torch.compiler.is_compiling() and", "if False and"),
    ),
    _layer(
        "llam",
        "llam",
        Mutation("no sigmoid on what is shown", "first + second).sigmoid()", "first + second)"),
        Mutation("previous gated", "llam_gate(current, *", "llam_gate(previous, *"),
        Mutation("identity", "return llam_gate(current, *logits, blend=blend, shortcut", "return current * 1.0  # "),
        Mutation("shortcut ignored", "blend=blend, shortcut=shortcut, relu", "blend=blend, relu"),
        Mutation("blend ignored", "*logits, blend=blend,", "*logits,"),
        Mutation(
            "maps swapped", "convolve_pair(self.conv, previous, current)", "convolve_pair(self.conv, current, previous)"
        ),
        Mutation("relu ignored", "shortcut=shortcut, relu=relu)", "shortcut=shortcut)"),
    ),
    Subject(
        "attnzoo/ops/dense/convolution.py",
        ("tests/layers/test_llam.py",),
        (
            Mutation(
                "concatenated the other way",
                "may_bypass(conv):\n        return conv(torch.cat([first, second]",
                "may_bypass(conv):\n        return conv(torch.cat([second, first]",
            ),
            Mutation("weights swapped", "of_first, of_second = torch", "of_second, of_first = torch"),
            Mutation("first map ignored", "return on_first, F", "return 0 * on_first, F"),
            Mutation("bias ignored", "of_first, conv.bias, conv", "of_first, None, conv"),
            Mutation("H and W swapped", "F.conv2d(first, of_first,", "F.conv2d(first, of_first.mT,"),
        ),
    ),
    Subject(
        "attnzoo/ops/gates/llam_gate.py",
        ("tests/layers/test_llam.py",),
        (
            Mutation("second map ignored", "a if b is None else a + b", "a"),
            Mutation("no sigmoid", "(a if b is None else a + b).sigmoid()", "(a if b is None else a + b)"),
            Mutation("blend ignored", "gate if blend is None else blended(gate, blend)", "gate"),
        ),
    ),
    _layer(
        "difference_gate",
        "difference_gate",
        Mutation("identity", "(groups * factors)", "(groups * torch.ones_like(factors))"),
        Mutation("multiply for add", "factors = factors + 1\n", "pass\n"),
        Mutation(
            "channels interleaved",
            "torch.unflatten(x, 1, (self.num_maps + 1, -1))",
            "torch.unflatten(x, 1, (-1, self.num_maps + 1)).transpose(1, 2)",
        ),
        Mutation(
            "channels interleaved in what is shown",
            ".repeat_interleave(self.out_channels // (self.num_maps + 1), dim=1)",
            ".repeat(1, self.out_channels // (self.num_maps + 1), 1, 1)",
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
        Mutation(
            "memory format lost by a shuffle",
            "(x.shape).contiguous(memory_format=memory_format(x))",
            "(x.shape).contiguous()",
        ),
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
        Mutation("deepest left alone", "[*backward, gates[-1]]", "[*backward, torch.ones_like(gates[-1])]"),
        Mutation("aw_o_db ignored", 'self.strategy == "aw_o_db"', 'self.strategy == "dba"'),
        Mutation("pooled over H only", "global_pool(x, maximum=False).values[0].to(x.dtype)", "x.mean(2)[:, :, 0]"),
        Mutation(
            "maps not re-weighted",
            "apply_gates(x, (weight[:, :, None, None],))",
            "apply_gates(x, (weight[:, :, None, None] * 0 + 1,))",
        ),
    ),
    Subject(
        "attnzoo/ops/gates/apply_gates.py",
        ("tests/ops/gates/test_apply_gates.py",),
        (
            Mutation("blend ignored", "blend * gate + (1 - blend)", "gate + 0 * blend"),
            Mutation("wider gate widens the map", "return gated.to(x.dtype)", "return gated"),
            Mutation("second gate ignored", "gated = gated * gate\n", "pass\n"),
            Mutation("map may grow", "size not in (given, 1)", "size < 0"),
            Mutation("shortcut ignored", "y = (y + shortcut).to(x.dtype)", "y = y + 0 * shortcut"),
            Mutation("relu ignored", "return F.relu(y) if relu else y", "return y"),
        ),
    ),
    Subject(
        "attnzoo/ops/igc/torch_path.py",
        ("tests/ops/igc/test_torch_path.py",),
        (
            Mutation("infinite channels spread", " and math.isfinite(x.sum().item())", ""),
            Mutation("channels that maps change spread", "if maps is None and gate is None", "if gate is None"),
            Mutation("channels that a gate changes spread", "if maps is None and gate is None", "if maps is None"),
            Mutation("negative part lost", "torch.cat([one, -one])", "torch.cat([one, one])"),
            Mutation("negative part added", "[second, where, -where]", "[second, where, where]"),
            Mutation("input not added", 'x if folded.input == "added" else None', "None"),
            Mutation("never spread", "return depthwise and not unreadable", "return False"),
        ),
    ),
    Subject(
        "attnzoo/ops/eligibility.py",
        ("tests/ops/test_readable.py tests/ops/test_eligibility.py",),
        (
            Mutation("subclasses read", "(type(t) is not Tensor and type(t) is not nn.Parameter)", "False"),
            Mutation("sparse tensors read", " or t.layout is not torch.strided", ""),
            Mutation("negated views read", "t.is_neg()", "False"),
            Mutation("tensors beside read", "if not plain(tensor):", "if False:"),
            Mutation(
                "other devices read",
                "if tensor.device != x.device:\n                return",
                "if False:\n                return",
            ),
            Mutation("replaced methods passed over", "if method in attributes:", "if False:"),
            Mutation("hooks passed over", "if attributes[hooks]:", "if False:"),
        ),
    ),
    Subject(
        "attnzoo/ops/dense/linear.py",
        ("tests/ops/test_readable.py tests/layers/test_contract_weights.py",),
        (Mutation("memory of weight, bias read", "eligibility.plain(weight, bias)", "True"),),
    ),
    Subject(
        "attnzoo/ops/dense/onednn.py",
        ("tests/ops/dense/test_onednn.py",),
        (
            Mutation("counters ignored", " or not eligibility.plain_eager()", ""),
            Mutation("taken where it is switched off", " and torch_internals.onednn_enabled()", ""),
            Mutation("tensors with operators of their own taken", "eligibility.plain(*tensors) and ", ""),
            Mutation("map not added", "None if added is None else added.permute(0, 2, 3, 1)", "None"),
            Mutation("gradients dropped", "torch.is_grad_enabled() or ", ""),
            Mutation("autocast ignored", 'torch.is_autocast_enabled("cpu")', "False"),
            Mutation("other dtypes taken", " and t.dtype is torch.float32", ""),
        ),
    ),
    Subject(
        "attnzoo/ops/igc/block.py",
        ("tests/ops/test_readable.py", "tests/ops/igc/test_wrong_uses.py"),
        (
            Mutation("memory read, whosever", "unfit, others=tensors", "unfit"),
            Mutation("devices not compared", "eligibility.require_one_device(x, tensors)", "pass"),
        ),
    ),
    Subject(
        "attnzoo/ops/reading.py",
        ("tests/ops/test_reading.py",),
        (
            Mutation(
                "hooks and replaced methods ignored",
                "eligibility.why_called(module) if kinds and module is not None else None",
                "None",
            ),
            Mutation("other options taken", "if actual != value:", "if False:"),
            Mutation("subclasses taken", "type(module) not in kinds", "not isinstance(module, kinds)"),
            Mutation("memory that is not there read", "if count and not pointer:", "if False:"),
        ),
    ),
    Subject(
        "attnzoo/ops/igc/chain.py",
        ("tests/ops/igc/test_chain.py",),
        (
            Mutation("always the first maps", "t[first:last]", "t[: last - first]"),
            Mutation("images twice", "min(first + images, stop)", "first + images"),
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
