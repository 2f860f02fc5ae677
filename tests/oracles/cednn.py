"""CEDNN's forward pass from section 3 of the paper, in plain loops over groups; imports torch only."""

import torch
from torch.nn import functional as F


def grouped_conv(x, weight, bias, groups, padding):
    size_in, size_out = x.shape[1] // groups, weight.shape[0] // groups
    outputs = []
    for g in range(groups):
        rows = slice(g * size_out, (g + 1) * size_out)
        part = x[:, g * size_in : (g + 1) * size_in]
        outputs.append(F.conv2d(part, weight[rows], bias[rows], padding=padding))
    return torch.cat(outputs, dim=1)


def batch_norm(x, state, name, eps=1e-5):
    def per_channel(key):
        return state[f"{name}.{key}"].view(1, -1, 1, 1)

    scale = per_channel("weight") / (per_channel("running_var") + eps).sqrt()
    return (x - per_channel("running_mean")) * scale + per_channel("bias")


def squeeze_excite(x, first, second):
    pooled = x.mean((2, 3))
    gate = torch.sigmoid(torch.relu(pooled @ first.flatten(1).T) @ second.flatten(1).T)
    return x * gate[:, :, None, None]


def block(x, state, name, groups, connection, se):
    """Eqs. (1)-(8): W1, permutation, W2, inverse permutation, connection, W3."""
    channels = x.shape[1]
    per_group = channels // groups
    z1 = grouped_conv(x, state[f"{name}.branch.conv1.weight"], state[f"{name}.branch.conv1.bias"], groups, 1)
    z1 = torch.relu(batch_norm(z1, state, f"{name}.branch.norm1"))
    order = [group * per_group + member for member in range(per_group) for group in range(groups)]
    z2 = grouped_conv(
        z1[:, order], state[f"{name}.branch.conv2.weight"], state[f"{name}.branch.conv2.bias"], per_group, 0
    )
    z2 = batch_norm(z2, state, f"{name}.branch.norm2")
    restored = torch.empty_like(z2)
    for position, channel in enumerate(order):
        restored[:, channel] = z2[:, position]
    if se == "second":
        prefix = f"{name}.branch_layer"
        restored = squeeze_excite(restored, state[f"{prefix}.fc1.weight"], state[f"{prefix}.fc2.weight"])
    connected = restored + x if connection == "res" else torch.cat([restored, x], dim=1)
    fused = F.conv2d(torch.relu(connected), state[f"{name}.fuse.weight"], state[f"{name}.fuse.bias"])
    return torch.relu(batch_norm(fused, state, f"{name}.norm"))


def modulate(x, maps, form):
    """Leave the first of six groups of channels, modulate each other by one map."""
    x = x.clone()
    size = x.shape[1] // 6
    for k in range(5):
        part = x[:, (k + 1) * size : (k + 2) * size]
        masked = part * maps[:, k : k + 1]
        x[:, (k + 1) * size : (k + 2) * size] = part + masked if form == "add" else masked
    return x


def cednn(state, x, maps, *, groups, connection, se, attention_blocks, form):
    if maps is None:
        features = torch.cat([x] * 6, dim=1)
    else:
        features = torch.cat([x, *(x * maps[:, k : k + 1] for k in range(5))], dim=1)
    for i in range(6):
        if i:
            features = F.max_pool2d(features, 2)
            maps = None if maps is None else F.max_pool2d(maps, 2)
        if maps is not None and 0 < i < attention_blocks:
            features = modulate(features, maps, form)
        features = block(features, state, f"blocks.{i}", groups, connection, se)
        if se == "first":
            prefix = f"block_layers.{i}"
            features = squeeze_excite(features, state[f"{prefix}.fc1.weight"], state[f"{prefix}.fc2.weight"])
    for name in ("reduce", "top1", "top2"):
        features = torch.relu(F.conv2d(features, state[f"{name}.weight"], state[f"{name}.bias"]))
    return features.flatten(1) @ state["fc.weight"].T + state["fc.bias"]
