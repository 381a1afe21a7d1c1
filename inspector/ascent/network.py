"""Pictures in, layers out, differentiable: a model's preprocess and the part of its graph up to some layers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from inspector.ascent.picked import PickedConvolution, find_last_convolution
from inspector.errors import NotComputable, UsageError
from inspector.graph import to_inference
from inspector.layers import Layer
from inspector.twin import Twin, build_twin

if TYPE_CHECKING:
    from inspector.model import Model

PRECISIONS = ("auto", "float32", "bfloat16")


class Network:
    """The part of a model up to some layers, as a function of pictures; its weights are frozen.

    >>> network = Network(model, [model.layer("blocks.5.swish")])
    >>> network(torch.rand(2, 3, 64, 64))["blocks.5.swish"].shape
    torch.Size([2, 240, 8, 8])

    Nothing behind the layers is built, so a head of fixed size does not restrict the canvas. `channels` of the
    pictures are 1 or 3; `precision` is "float32" or "bfloat16" and may be set.

    Args:
        picking: Of a single layer behind a convolution compute only the one channel that :meth:`pick` names for
            each picture; `picks` tells whether it does. The layer then has one channel, (N, 1, H, W).
    """

    def __init__(
        self,
        model: Model,
        layers: Sequence[Layer],
        *,
        device: str | torch.device = "cpu",
        precision: str = "float32",
        picking: bool = False,
    ) -> None:
        if not layers:
            raise UsageError("no layer was given", "see `inspector layers MODEL`")
        prepare = model.preprocess
        self.layers = tuple(dict.fromkeys(layers))
        self.channels = prepare.channels
        self.device = torch.device(device)
        self.precision = precision
        wanted = list(dict.fromkeys(x.tensor for x in self.layers))
        graph = to_inference(model.graph)  # pictures of one batch must not change each other
        found = find_last_convolution(graph, wanted[0]) if picking and len(wanted) == 1 else None
        self.convolution: PickedConvolution | None = None
        self.behind: Twin | None = None
        self._picked: Tensor | None = None
        if found is not None and not self.layers[0].channels_last:
            wanted, made = [found[0]], found[1]
            self.convolution = found[2].to(self.device)
            if made != self.layers[0].tensor:
                self.behind = build_twin(graph, [self.layers[0].tensor], [made], device=device)
                self.behind.requires_grad_(False)
        # Where the convolution reads the picture itself there is nothing before it to build.
        self.twin: Twin | None = None
        if wanted != [model.input.name]:
            self.twin = build_twin(graph, wanted, device=device)
            self.twin.requires_grad_(False)
            _prefer_channels_last(self.twin)
        self._before = wanted[0]
        self._places = {x.tensor: (x.arrangement.batch, x.arrangement.parts) for x in model.layers if x.arrangement}
        # How many pictures at a time: as many as the graph was traced with, where that is more than one, or where sizes
        # in its constants mix the tokens of several pictures.
        self._at_once = model.input.batch if (model.input.batch or 1) > 1 else None
        self._unsure = model.input.batch == 1 and any(x.grid is not None for x in model.layers)
        std = torch.tensor(prepare.std, dtype=torch.float64)
        mean = torch.tensor(prepare.mean, dtype=torch.float64)
        shape = (1, self.channels, 1, 1)
        self._scale = (255 * prepare.scale / std).float().reshape(shape).to(self.device)
        self._shift = (-mean / std).float().reshape(shape).to(self.device)
        self._reverse = prepare.colour == "BGR"
        self._last = prepare.layout == "NHWC"

    @property
    def picks(self) -> bool:
        """Whether it computes one channel for each picture, see :meth:`pick`."""
        return self.convolution is not None

    def pick(self, channels: Sequence[int]) -> None:
        """The channel of each picture of the batches that follow."""
        self._picked = torch.tensor([*channels], dtype=torch.int64, device=self.device)

    def __call__(self, pictures: Tensor) -> dict[str, Tensor]:
        """Layer name -> its values, float32 (N, C, H, W) or (N, K), channels first.

        pictures: float32 (N, C, H, W) in [0, 1], RGB or grey, not normalised; any H and W that the layers allow.
        Raises NotComputable where the graph cannot run on that size.
        """
        tensor = pictures.flip(1) if self._reverse else pictures
        tensor = tensor * self._scale + self._shift
        if self._last:
            tensor = tensor.permute(0, 2, 3, 1)
        else:
            tensor = tensor.contiguous(memory_format=torch.channels_last)
        low = torch.autocast(self.device.type, torch.bfloat16) if self.precision == "bfloat16" else nullcontext()
        with low:
            values = {self._before: tensor} if self.twin is None else self._run(self.twin, tensor)
            if self.convolution is not None:
                assert self._picked is not None, "pick() names the channels"
                value = self.convolution(values[self._before], self._picked)
                if self.behind is not None:
                    [value] = self.behind(value).values()
                # A map of one element stays one: there is no axis of channels that could be taken for it.
                return {self.layers[0].name: value.float()}
        return {x.name: _channels_first(values[x.tensor], x, len(pictures)) for x in self.layers}

    def _run(self, twin: Twin, tensor: Tensor) -> dict[str, Tensor]:
        """The twin on pictures, in pieces where the graph takes only so many."""
        if self._at_once is None:
            try:
                values = dict(twin(tensor))
                if len(tensor) == 1 or not (self._unsure and self._are_mixed(twin, tensor, values)):
                    self._unsure = self._unsure and len(tensor) == 1
                    return values
            except NotComputable:
                if len(tensor) == 1:
                    raise
            self._at_once = 1
        size, parts = self._at_once, []
        for piece in torch.split(tensor, size):
            filled = torch.cat([piece, piece[-1:].expand(size - len(piece), *piece.shape[1:])])
            parts.append({name: self._cut(name, value, len(piece), size) for name, value in twin(filled).items()})
        return {name: torch.cat([part[name] for part in parts], self._places.get(name, (0, 1))[0]) for name in parts[0]}

    def _cut(self, name: str, value: Tensor, pictures: int, size: int) -> Tensor:
        axis, rows = self._places.get(name, (0, 1))
        return value.narrow(axis, 0, pictures * rows) if value.shape[axis] == size * rows else value

    def _are_mixed(self, twin: Twin, tensor: Tensor, values: Mapping[str, Tensor]) -> bool:
        """Whether the first picture of a batch has other values than by itself."""
        with torch.no_grad():
            alone = twin(tensor[:1])
            for name, value in alone.items():
                axis, rows = self._places.get(name, (0, 1))
                if values[name].shape[axis] != len(tensor) * rows:
                    return True
                far = (values[name].narrow(axis, 0, rows) - value).abs().max()
                if far > 1e-2 * value.abs().max():
                    return True
        return False

    @contextmanager
    def redirected(self) -> Iterator[Network]:
        """Inside, a picture whose gradient dies at an activation gets one that would switch dead units on.

        Lucid's rule for the first steps: where all units of a picture at one activation are dead, those below their
        range pass what pushes them up, those above it what pushes them down. Pictures with a gradient keep it.
        """
        with ExitStack() as stack:
            for twin in (self.twin, self.behind):
                if twin is not None:
                    stack.enter_context(twin.modified_backward(_redirect))
            yield self

    def shapes(self, size: tuple[int, int]) -> dict[str, tuple[int, ...]]:
        """Layer name -> (C, H, W) or (K,) on a canvas of `size` (H, W).

        Raises:
            NotComputable: It cannot run.
        """
        with torch.no_grad():
            values = self(torch.full((1, self.channels, *size), 0.5, device=self.device))
        return {name: tuple(value.shape[1:]) for name, value in values.items()}

    def bytes_per_picture(self, size: tuple[int, int]) -> int:
        """What one picture of `size` (H, W) keeps in memory between the forward and the backward pass."""
        kept: dict[int, int] = {}
        if self.picks:
            self.pick([0])

        def keep(tensor: Tensor) -> Tensor:
            if not isinstance(tensor, nn.Parameter):
                storage = tensor.untyped_storage()
                kept[storage.data_ptr()] = storage.nbytes()
            return tensor

        modules = [m for m in (self.twin, self.behind, self.convolution) if m is not None]
        own = {p.untyped_storage().data_ptr() for m in modules for p in (*m.parameters(), *m.buffers())}
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            pictures = torch.full((1, self.channels, *size), 0.5, device=self.device, requires_grad=True)
            values = self(pictures)
            total = sum(size for pointer, size in kept.items() if pointer not in own)
        # The gradients that flow back, and what convolutions need beside them.
        largest = max((value.numel() * 4 for value in values.values()), default=0)
        return int(total * 1.3) + 4 * largest + 16 * pictures.numel()


def _redirect(gradient: Tensor, natural: Tensor, x: Tensor, dead: Tensor) -> Tensor:
    pushed = torch.where(x <= 0, gradient.clamp(min=0), gradient.clamp(max=0))
    lost = natural.flatten(1).abs().amax(1) == 0
    return torch.where(lost.reshape(-1, *[1] * (x.dim() - 1)) & dead, pushed, natural)


def _channels_first(value: Tensor, layer: Layer, pictures: int) -> Tensor:
    if value.dim() < 2:
        raise NotComputable(f"layer {layer.name!r} of shape {tuple(value.shape)} has no channels")
    if layer.arrangement is not None:
        value = layer.arrangement.to_channels_first(value, pictures)
    elif layer.channels_last and value.dim() >= 3:
        value = value.movedim(-1, 1)
    if value.dim() == 4 and value.shape[2:] == (1, 1):
        value = value.flatten(1)
    return value.float()


def _prefer_channels_last(module: nn.Module) -> None:
    """Weights of convolutions in the order that oneDNN wants them, so that they are not reordered at each step."""
    for parameter in module.parameters():
        if parameter.dim() == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)


def has_bfloat16() -> bool:
    """Whether this processor multiplies bfloat16 in hardware (AVX512-BF16 or AMX); where not, it would be slower."""
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        test = getattr(torch.cpu, name, None)
        try:
            if test is not None and test():
                return True
        except RuntimeError:
            continue
    try:
        flags = Path("/proc/cpuinfo").read_text(errors="replace")
    except OSError:
        return False
    return any(flag in flags for flag in ("avx512_bf16", "amx_bf16", " bf16"))


def measure_free_memory(device: torch.device | None = None) -> int:
    """Bytes that may be taken without swapping; a guess of 2 GB where the system does not say.

    Args:
        device: A GPU, whose own memory counts; else that of the machine.
    """
    if device is not None and device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                available = int(line.split()[1]) * 1024
                return min(available, _cgroup_room())
    except (OSError, ValueError, IndexError):
        pass
    return 2 * 1024**3


def _cgroup_room() -> int:
    """What a container may still take; a huge number where there is no limit."""
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text().strip()
        used = int(Path("/sys/fs/cgroup/memory.current").read_text())
        return max(int(limit) - used, 64 * 1024**2)
    except (OSError, ValueError):
        return 1 << 62


def take_layer(values: Mapping[str, Tensor], name: str) -> Tensor:
    """The values of one layer, with a clear error when an objective asks for a layer that is not computed."""
    if name not in values:
        raise UsageError(f"the objective needs layer {name!r}, which is not computed", f"there are {', '.join(values)}")
    return values[name]
