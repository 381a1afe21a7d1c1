"""Torch networks for export, tiny and with random weights: torchvision's and timm's own classes, and heads of ours.

The detection heads have the outputs of their families and are written from what those outputs mean.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

NETWORKS: dict[str, tuple[tuple[int, ...], Callable[[], Any]]] = {}
"""By name: the shape of the input, and what makes the network."""

SCRIPT_ONLY = ("timm-maxvit", "timm-vit_relpos", "torchvision-faster_rcnn", "torchvision-retinanet")
"""What the newer exporter of the installed torch does not take."""


def network(name: str, shape: tuple[int, ...] = (1, 3, 64, 64)) -> Callable[[Callable[[], Any]], Callable[[], Any]]:
    def enter(make: Callable[[], Any]) -> Callable[[], Any]:
        NETWORKS[name] = (shape, make)
        return make

    return enter


def make_network(name: str) -> tuple[Any, Any]:
    """(the module in eval mode with norms that are not the identity, an input), the same every time."""
    import torch

    shape, make = NETWORKS[name]
    torch.manual_seed(0)
    net = make().eval()
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    return net, torch.rand(shape)


# --- torchvision ------------------------------------------------------------------------------------------------------


@network("torchvision-mobilenet_v2")
def _mobilenet_v2() -> Any:
    from torchvision.models import MobileNetV2

    return MobileNetV2(num_classes=10, width_mult=0.25)


@network("torchvision-mobilenet_v3")
def _mobilenet_v3() -> Any:
    from torchvision.models.mobilenetv3 import MobileNetV3, _mobilenet_v3_conf

    setting, _ = _mobilenet_v3_conf("mobilenet_v3_small", width_mult=0.25)
    return MobileNetV3(setting, 64, num_classes=10)


@network("torchvision-squeezenet", (1, 3, 96, 96))
def _squeezenet() -> Any:
    from torchvision.models import squeezenet1_1

    return squeezenet1_1(num_classes=10)


@network("torchvision-shufflenet")
def _shufflenet() -> Any:
    from torchvision.models import ShuffleNetV2

    return ShuffleNetV2([2, 2, 2], [8, 16, 32, 64, 64], num_classes=10)


@network("torchvision-densenet")
def _densenet() -> Any:
    from torchvision.models import DenseNet

    return DenseNet(8, (2, 2, 2), 16, num_classes=10)


@network("torchvision-resnet")
def _resnet() -> Any:
    from torchvision.models.resnet import Bottleneck, ResNet

    net = ResNet(Bottleneck, [1, 1, 1, 1], num_classes=10, groups=4, width_per_group=4)
    net.layer3 = net.layer4 = _identity()
    net.fc = _linear(512, 10)
    return net


@network("torchvision-convnext")
def _convnext() -> Any:
    from torchvision.models.convnext import CNBlockConfig, ConvNeXt

    return ConvNeXt([CNBlockConfig(8, 16, 1), CNBlockConfig(16, 32, 2), CNBlockConfig(32, None, 1)], num_classes=10)


@network("torchvision-vit")
def _vit() -> Any:
    from torchvision.models import VisionTransformer

    return VisionTransformer(64, 16, 2, 2, 32, 64, num_classes=10)


@network("torchvision-swin")
def _swin() -> Any:
    from torchvision.models import SwinTransformer

    return SwinTransformer([4, 4], 16, [2, 2], [2, 4], [4, 4], num_classes=10)


@network("torchvision-deeplab")
def _deeplab() -> Any:
    import torch
    from torchvision.models.segmentation.deeplabv3 import ASPP, DeepLabV3

    head = torch.nn.Sequential(ASPP(32, [2, 4], 16), torch.nn.Conv2d(16, 5, 1))
    return _out_of(DeepLabV3(_backbone(as_dict=True), head))


@network("torchvision-faster_rcnn", (3, 96, 96))
def _faster_rcnn() -> Any:
    from torchvision.models.detection import FasterRCNN
    from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
    from torchvision.models.detection.rpn import AnchorGenerator

    backbone = _backbone()
    backbone.out_channels = 32
    anchors = AnchorGenerator(((16, 32),), ((1.0,),))
    return _listed(FasterRCNN(backbone, None, rpn_anchor_generator=anchors, min_size=96, max_size=96,
                              box_head=TwoMLPHead(32 * 49, 32), box_predictor=FastRCNNPredictor(32, 4),
                              box_score_thresh=0.0, box_detections_per_img=10))  # fmt: skip


@network("torchvision-retinanet", (3, 96, 96))
def _retinanet() -> Any:
    from torchvision.models.detection import RetinaNet
    from torchvision.models.detection.anchor_utils import AnchorGenerator

    backbone = _backbone()
    backbone.out_channels = 32
    anchors = AnchorGenerator(((16, 32),), ((1.0,),))
    return _listed(RetinaNet(backbone, 4, anchor_generator=anchors, min_size=96, max_size=96, score_thresh=0.99,
                             detections_per_img=10))  # fmt: skip


# --- timm -------------------------------------------------------------------------------------------------------------

TIMM = (
    "byobnet", "coatnet", "convnext", "efficientnet", "efficientnet_ln", "mambaout", "maxvit", "nfnet", "resnet", "vit",
    "vit3", "vit_relpos",
)  # fmt: skip


def _timm(name: str) -> Callable[[], Any]:
    def make() -> Any:
        import timm

        return timm.create_model(f"test_{name}", pretrained=False, num_classes=10)

    return make


for _name in TIMM:
    network(f"timm-{_name}", (1, 3, 160, 160))(_timm(_name))


# --- heads of detectors and their kin ---------------------------------------------------------------------------------


@network("ultralytics-classify")
def _classify() -> Any:
    import torch

    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = torch.nn.Sequential(_conv(3, 8, 2), _conv(8, 16, 2), _conv(16, 16, 2))
            self.linear = torch.nn.Linear(16, 5)

        def forward(self, x: Any) -> Any:
            return self.linear(self.model(x).mean((2, 3))).softmax(1)

    return Net()


@network("ultralytics-detect", (1, 3, 96, 96))
def _detect() -> Any:
    return _yolo(classes=3)


@network("ultralytics-segment", (1, 3, 96, 96))
def _segment() -> Any:
    return _yolo(classes=3, more=32, prototypes=True)


@network("ultralytics-pose", (1, 3, 96, 96))
def _pose() -> Any:
    return _yolo(classes=1, more=15)


@network("ultralytics-obb", (1, 3, 96, 96))
def _obb() -> Any:
    return _yolo(classes=3, more=1)


@network("ultralytics-end2end", (1, 3, 96, 96))
def _end2end() -> Any:
    return _yolo(classes=3, best=20)


@network("yolox", (1, 3, 96, 96))
def _yolox() -> Any:
    return _yolo(classes=2, objectness=True)


@network("centerface", (1, 3, 96, 96))
def _centerface() -> Any:
    import torch

    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.base = torch.nn.Sequential(_conv(3, 8, 2), _conv(8, 16, 2))
            self.heads = torch.nn.ModuleList(torch.nn.Conv2d(16, n, 1) for n in (1, 2, 2, 10))

        def forward(self, x: Any) -> Any:
            x = self.base(x)
            heat, *others = [head(x) for head in self.heads]
            return heat.sigmoid(), *others

    return Net()


@network("face-embedding", (1, 3, 112, 112))
def _embedding() -> Any:
    import torch

    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = torch.nn.Sequential(_conv(3, 8, 2), _conv(8, 16, 2))
            self.features = torch.nn.Linear(16, 128)

        def forward(self, x: Any) -> Any:
            return torch.nn.functional.normalize(self.features(self.body(x).mean((2, 3))))

    return Net()


@network("super-resolution", (1, 1, 48, 48))
def _super_resolution() -> Any:
    import torch

    nn = torch.nn
    return nn.Sequential(nn.Conv2d(1, 16, 5, padding=2), nn.ReLU(), nn.Conv2d(16, 9, 3, padding=1), nn.PixelShuffle(3))


@network("monai-unet", (1, 1, 64, 64))
def _monai() -> Any:
    from monai.networks.nets import UNet

    return UNet(2, 1, 3, channels=(8, 16, 32), strides=(2, 2), num_res_units=1)


@network("smp-unet")
def _smp() -> Any:
    import segmentation_models_pytorch as smp

    return smp.Unet("mobilenet_v2", encoder_depth=3, encoder_weights=None, decoder_channels=(32, 16, 8), classes=1,
                    activation="sigmoid")  # fmt: skip


# --- parts ------------------------------------------------------------------------------------------------------------


def _identity() -> Any:
    import torch

    return torch.nn.Identity()


def _linear(cin: int, cout: int) -> Any:
    import torch

    return torch.nn.Linear(cin, cout)


def _conv(cin: int, cout: int, stride: int = 1, k: int = 3) -> Any:
    import torch

    nn = torch.nn
    return nn.Sequential(nn.Conv2d(cin, cout, k, stride, k // 2, bias=False), nn.BatchNorm2d(cout), nn.SiLU())


def _backbone(as_dict: bool = False) -> Any:
    import torch

    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = torch.nn.Sequential(_conv(3, 8, 2), _conv(8, 16, 2), _conv(16, 32, 2))

        def forward(self, x: Any) -> Any:
            return {"out": self.body(x)} if as_dict else self.body(x)

    return Net()


def _out_of(net: Any) -> Any:
    import torch

    class Out(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = net

        def forward(self, x: Any) -> Any:
            return self.net(x)["out"]

    return Out()


def _listed(net: Any) -> Any:
    """A detector of torchvision: a picture without a batch axis goes in, the parts of its answer come out."""
    import torch

    class Listed(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = net

        def forward(self, x: Any) -> Any:
            answer = self.net([x])[0]
            return answer["boxes"], answer["labels"], answer["scores"]

    return Listed()


def _yolo(classes: int, more: int = 0, prototypes: bool = False, best: int = 0, objectness: bool = False) -> Any:
    """Two strides of anchors without boxes of their own. `more` numbers for each anchor stand behind the classes;
    `best` rows (x1, y1, x2, y2, score, class) come out instead; with `objectness` nothing is decoded, as in YOLOX."""
    import torch

    class Head(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.down = (
                torch.nn.Sequential(_conv(3, 8, 2), _conv(8, 16, 2), _conv(16, 16, 2)),
                _conv(16, 16, 2),
            )
            self.box = torch.nn.ModuleList(torch.nn.Conv2d(16, 4, 1) for _ in range(2))
            self.cls = torch.nn.ModuleList(torch.nn.Conv2d(16, classes + objectness, 1) for _ in range(2))
            self.more = torch.nn.ModuleList(torch.nn.Conv2d(16, max(more, 1), 1) for _ in range(2))
            self.proto = torch.nn.Sequential(torch.nn.Upsample(scale_factor=2), _conv(16, 32))

        def forward(self, x: Any) -> Any:
            maps = [self.stem(x)]
            maps.append(self.down(maps[0]))
            rows = []
            for k, (y, stride) in enumerate(zip(maps, (8, 16), strict=True)):
                box, cls = self.box[k](y).flatten(2), self.cls[k](y).flatten(2)
                if objectness:
                    rows.append(torch.cat((box, cls.sigmoid()), 1))
                    continue
                h, w = y.shape[2:]
                grid = torch.stack(torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")[::-1])
                centre = (grid.reshape(1, 2, -1) + 0.5 + box[:, :2].tanh()) * stride
                side = box[:, 2:].exp() * 2 * stride
                extra = [self.more[k](y).flatten(2)] if more else []
                rows.append(torch.cat((centre, side, cls.sigmoid(), *extra), 1))
            out = torch.cat(rows, 2)
            if objectness:
                return out.transpose(1, 2)
            if best:
                score, label = out[:, 4:].max(1)
                score, index = score.topk(best)
                chosen = out[:, :4].gather(2, index[:, None].expand(-1, 4, -1))
                corners = torch.cat((chosen[:, :2] - chosen[:, 2:] / 2, chosen[:, :2] + chosen[:, 2:] / 2), 1)
                label = label.gather(1, index).to(out.dtype)
                return torch.cat((corners, score[:, None], label[:, None]), 1).transpose(1, 2)
            return (out, self.proto(maps[0])) if prototypes else out

    return Head()
