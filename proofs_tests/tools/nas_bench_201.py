"""A network of NAS-Bench-201 in torch, from its description: the oracle of the recursion."""

from torch import nn


def relu_conv_bn(before, channels, kernel, stride=1):
    conv = nn.Conv2d(before, channels, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(nn.ReLU(), conv, nn.BatchNorm2d(channels))


class Nothing(nn.Module):
    def forward(self, x):
        return 0 * x


OPERATIONS = {
    "0": lambda c: nn.Identity(),
    "1": lambda c: Nothing(),
    "2": lambda c: relu_conv_bn(c, c, 3),
    "3": lambda c: relu_conv_bn(c, c, 1),
    "4": lambda c: nn.AvgPool2d(3, 1, 1, count_include_pad=False),
}


class Cell(nn.Module):
    def __init__(self, digits, channels):
        super().__init__()
        self.edges = nn.ModuleList(OPERATIONS[digit](channels) for digit in digits)

    def forward(self, x):
        e12, e13, e14, e23, e24, e34 = self.edges
        second = e12(x)
        third = e13(x) + e23(second)
        return e14(x) + e24(second) + e34(third)


class Reduction(nn.Module):
    def __init__(self, before, channels):
        super().__init__()
        first = relu_conv_bn(before, channels, 3, 2)
        self.branch = nn.Sequential(first, relu_conv_bn(channels, channels, 3))
        self.shortcut = nn.Sequential(nn.AvgPool2d(2), nn.Conv2d(before, channels, 1, bias=False))

    def forward(self, x):
        return self.branch(x) + self.shortcut(x)


def network(digits, classes=10):
    layers = [nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16)]
    for before, c in ((16, 16), (16, 32), (32, 64)):
        layers += [Reduction(before, c)] if before != c else []
        layers += [Cell(digits, c) for _ in range(5)]
    head = nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, classes)
    return nn.Sequential(*layers, nn.BatchNorm2d(64), nn.ReLU(), *head)
