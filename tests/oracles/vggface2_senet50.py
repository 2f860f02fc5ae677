"""SENet-50 under the parameter names of the published VGGFace2 checkpoint, written from the published layout alone."""

import torch
from torch import nn


class Bottleneck(nn.Module):
    def __init__(self, inplanes, planes, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inplanes, planes, 1, stride=stride, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv3 = nn.Conv2d(planes, 4 * planes, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * planes)
        self.conv4 = nn.Conv2d(4 * planes, planes // 4, 1)
        self.conv5 = nn.Conv2d(planes // 4, 4 * planes, 1)
        self.downsample = None
        if stride != 1 or inplanes != 4 * planes:
            self.downsample = nn.Sequential(
                nn.Conv2d(inplanes, 4 * planes, 1, stride=stride, bias=False), nn.BatchNorm2d(4 * planes)
            )

    def forward(self, x):
        y = torch.relu(self.bn1(self.conv1(x)))
        y = torch.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        gate = torch.sigmoid(self.conv5(torch.relu(self.conv4(y.mean((2, 3), keepdim=True)))))
        return torch.relu(y * gate + (x if self.downsample is None else self.downsample(x)))


class SENet50(nn.Module):
    def __init__(self, identities):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        inplanes = 64
        for index, (planes, count) in enumerate(((64, 3), (128, 4), (256, 6), (512, 3)), start=1):
            blocks = []
            for block in range(count):
                blocks.append(Bottleneck(inplanes, planes, 2 if index > 1 and block == 0 else 1))
                inplanes = 4 * planes
            self.add_module(f"layer{index}", nn.Sequential(*blocks))
        self.fc = nn.Linear(2048, identities)

    def forward(self, x):
        x = torch.relu(self.bn1(self.conv1(x)))
        x = nn.functional.max_pool2d(x, 3, stride=2, ceil_mode=True)
        return self.layer4(self.layer3(self.layer2(self.layer1(x))))
