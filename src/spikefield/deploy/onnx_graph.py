"""A field-potential encoder and its readout as ONNX graphs, node by node: whole windows, and one bin at a time.

Built from the weights rather than traced, so that both graphs share every line below and hold nothing else. They are
compared with the network itself before they are written (`deploy.export`).

Whole windows:   lfp (batch, time, channel) -> z (batch, time, dim) [, behavior (batch, time, behavior)]
One bin:         lfp (1, channel), position (1,), caches -> z (1, dim) [, behavior (1, behavior)], caches

The caches of the step, all zero at the start of a stretch:

    history               the past bins that the embedding's convolution reads     -> next_history
    waiting               embedded bins that wait for the look-ahead, if there is  -> next_waiting
    key_i   (head, feature, slot)    rotated keys of layer i, transposed           -> new_key_i, of this bin
    value_i (head, slot, feature)                                                  -> new_value_i

`history` and `waiting` come back whole. Keys and values are a ring that its owner writes, so that the graph never
copies it: the new ones belong at bin b's slots, from (b mod n) * patches on, for a ring of n bins. `position` counts
bins from 0; b is `position` in layer 0 and `position` - look-ahead in the others, where z belongs, too.
"""

import math
from typing import Any

import numpy as np
import torch

from spikefield.errors import InputError
from spikefield.models.attention import Band
from spikefield.models.encoder import Encoder
from spikefield.models.tokenizer import CausalConvolution
from spikefield.models.transformer import Block

OPSET = 17
_IR_VERSION = 8
_BASE = 10_000.0


def library() -> Any:
    """Return onnx.

    Raises:
        InputError: the package is not installed.
    """
    try:
        import onnx
        import onnx.helper
        import onnx.numpy_helper
    except ImportError as error:
        raise InputError("export needs onnx. Install it with: pip install 'spikefield[export]'") from error
    return onnx


def offline_graph(encoder: Encoder, session_id: str, n_channels: int, readout: dict[str, np.ndarray] | None) -> Any:
    """Return the model of whole windows, its batch and time of any size."""
    network = _Network(encoder, session_id, n_channels)
    g = network.graph
    g.input("lfp", ["batch", "time", n_channels])
    tokens = network.embed_window("lfp")
    bins = network.bins_of_window("lfp")
    rotation = network.rotation(g.op("Cast", bins, to=g.float))
    masks = {band: network.band(bins, band) for band in set(encoder.config.transformer.bands())}
    for block, band in zip(network.blocks, encoder.config.transformer.bands(), strict=True):
        x = network.normed(tokens, block.attention_norm)
        tokens = network.finish(block, tokens, network.attend(block, x, rotation, masks[band]))
    z = network.pool_window(tokens)
    g.output("z", ["batch", "time", network.dim])
    network.read_out(z, readout, ["batch", "time"])
    return g.model("spikefield window")


def step_graph(encoder: Encoder, session_id: str, n_channels: int, readout: dict[str, np.ndarray] | None) -> Any:
    """Return the model of one bin, for causal attention of a known reach.

    Raises:
        InputError: attention is not causal, or its reach is not limited.
    """
    size = encoder.config.transformer
    if not size.causal or size.attention_bins is None:
        raise InputError("the streaming step needs causal attention with `attention_bins`. Distil with `causal: true`.")
    network = _Network(encoder, session_id, n_channels)
    g = network.graph
    ahead, slots = size.look_ahead_bins, ring_bins(encoder)
    g.input("lfp", [1, n_channels])
    g.input("position", [1], kind=g.whole)
    embedded = network.embed_bin("lfp")
    tokens, current = embedded, "position"
    if ahead:
        tokens, current = network.wait(embedded, ahead), g.op("Sub", "position", g.constant(np.array([ahead])))
    at_newest, at_current = network.wrapped_rotation("position"), network.wrapped_rotation(current)
    past = size.attention_bins - 1
    sees_all, sees_band = network.seen("position", slots, past + ahead), network.seen(current, slots, past)
    for i, block in enumerate(network.blocks):
        x = network.normed(tokens, block.attention_norm)
        if i == 0 and ahead:
            query, *_ = network.split(x, block, "q")
            key, value = network.split(network.normed(embedded, block.attention_norm), block, "kv")
        else:
            query, key, value = network.split(x, block, "qkv")
        keys, values = network.ring(i, key, value, at_current if i else at_newest, slots)
        mixed = network.attend_ring(query, at_current, keys, values, sees_band if i else sees_all)
        tokens = network.finish(block, tokens, mixed)
    z = network.pool_bin(tokens)
    g.output("z", [1, network.dim])
    network.read_out(z, readout, [1])
    return g.model("spikefield step")


def ring_bins(encoder: Encoder) -> int:
    """Return how many past bins the caches hold."""
    size = encoder.config.transformer
    return max((size.attention_bins or 1) - 1 + size.look_ahead_bins, 1)


class _Graph:
    """Collects nodes; a name stands for a value."""

    def __init__(self) -> None:
        self._onnx = library()
        self.float, self.whole = self._onnx.TensorProto.FLOAT, self._onnx.TensorProto.INT64
        self.double = self._onnx.TensorProto.DOUBLE
        self._nodes: list[Any] = []
        self._inputs: list[Any] = []
        self._outputs: list[Any] = []
        self._constants: dict[bytes, str] = {}
        self._initializers: list[Any] = []

    def input(self, name: str, shape: list[int | str], *, kind: int | None = None) -> None:
        self._inputs.append(self._onnx.helper.make_tensor_value_info(name, kind or self.float, shape))

    def output(self, name: str, shape: list[int | str]) -> None:
        self._outputs.append(self._onnx.helper.make_tensor_value_info(name, self.float, shape))

    def constant(self, array: np.ndarray) -> str:
        """Keep an array once; float64 stays only where it is asked for by a cast."""
        key = array.dtype.str.encode() + str(array.shape).encode() + array.tobytes()
        if key not in self._constants:
            name = self._constants[key] = f"c{len(self._constants)}"
            self._initializers.append(self._onnx.numpy_helper.from_array(np.ascontiguousarray(array), name))
        return self._constants[key]

    def weight(self, tensor: torch.Tensor) -> str:
        return self.constant(tensor.detach().cpu().float().numpy())

    def number(self, value: float) -> str:
        return self.constant(np.array(value, np.float32))

    def shape(self, *sizes: int) -> str:
        return self.constant(np.array(sizes, np.int64))

    def op(self, kind: str, *inputs: str, name: str | None = None, **attributes: Any) -> str:
        return self.ops(kind, *inputs, names=[name] if name else None, **attributes)[0]

    def ops(self, kind: str, *inputs: str, n: int = 1, names: list[str] | None = None, **attributes: Any) -> list[str]:
        names = names or [f"v{len(self._nodes)}_{i}" for i in range(n)]
        self._nodes.append(self._onnx.helper.make_node(kind, list(inputs), names, **attributes))
        return names

    def reshape(self, value: str, *sizes: int) -> str:
        return self.op("Reshape", value, self.shape(*sizes))

    def model(self, name: str) -> Any:
        helper = self._onnx.helper
        graph = helper.make_graph(self._nodes, name, self._inputs, self._outputs, self._initializers)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="spikefield")
        model.ir_version = _IR_VERSION
        self._onnx.checker.check_model(model, full_check=True)
        return model


class _Network:
    """The encoder's parts, each as nodes."""

    def __init__(self, encoder: Encoder, session_id: str, n_channels: int) -> None:
        config = encoder.config
        if not isinstance(encoder.embed_values, CausalConvolution):
            raise InputError("export is for models of the field potential, this one reads spikes. Give a student.")
        self.graph = _Graph()
        self.dim, self.heads = config.transformer.dim, config.transformer.n_heads
        self.head_dim = self.dim // self.heads
        self.n_channels, self.patch = n_channels, config.patch_size
        first, self.patches = encoder.space.rows_of(session_id)
        self._space = self.graph.weight(encoder.space.table[first : first + self.patches])
        self._convolution = encoder.embed_values.convolution
        self._norm = encoder.transformer.norm
        self.blocks: list[Block] = list(encoder.transformer.blocks)  # type: ignore[arg-type]
        self._history = CausalConvolution.REACH

    def embed_window(self, lfp: str) -> str:
        """(batch, time, channel) -> (batch, time * patch, dim)."""
        g = self.graph
        series = g.reshape(self._padded(g.op("Transpose", lfp, perm=[0, 2, 1]), rank=3), -1, self.patch, 0)
        embedded = self._convolve(series, pads=[self._history, 0])
        time = g.op("Slice", g.op("Shape", lfp), g.shape(1), g.shape(2))
        shape = g.op("Concat", g.shape(-1, self.patches, self.dim), time, axis=0)
        grid = g.op("Transpose", g.op("Reshape", embedded, shape), perm=[0, 3, 1, 2])
        tokens = g.op("Add", grid, self._space)
        batch = g.op("Slice", g.op("Shape", lfp), g.shape(0), g.shape(1))
        return g.op("Reshape", tokens, g.op("Concat", batch, g.shape(-1, self.dim), axis=0))

    def embed_bin(self, lfp: str) -> str:
        """(1, channel) and the history -> (1, patch, dim); the history moves on by one bin."""
        g = self.graph
        g.input("history", [self._history, self.n_channels])
        past = g.op("Concat", "history", lfp, axis=0)
        g.op("Slice", past, g.shape(1), g.shape(self._history + 1), g.shape(0), name="next_history")
        g.output("next_history", [self._history, self.n_channels])
        channels = self._padded(g.op("Transpose", past, perm=[1, 0]), rank=2)
        embedded = self._convolve(g.reshape(channels, self.patches, self.patch, self._history + 1), pads=[0, 0])
        tokens = g.op("Add", g.reshape(embedded, self.patches, self.dim), self._space)
        return g.reshape(tokens, 1, self.patches, self.dim)

    def wait(self, embedded: str, ahead: int) -> str:
        """Return the embedded bin of `ahead` bins ago."""
        g = self.graph
        g.input("waiting", [ahead, self.patches, self.dim])
        queue = g.op("Concat", "waiting", embedded, axis=0)
        oldest, _ = g.ops("Split", queue, g.shape(1, ahead), names=["oldest_waiting", "next_waiting"], axis=0)
        g.output("next_waiting", [ahead, self.patches, self.dim])
        return oldest

    def bins_of_window(self, lfp: str) -> str:
        """Return the bin index of every token."""
        g = self.graph
        time = g.op("Gather", g.op("Shape", lfp), g.constant(np.array(1)))
        bins = g.op("Range", g.constant(np.array(0)), time, g.constant(np.array(1)))
        column = g.op("Unsqueeze", bins, g.shape(1))
        repeated = g.op("Tile", column, g.shape(1, self.patches))
        return g.reshape(repeated, -1)

    def rotation(self, bins: str) -> tuple[str, str]:
        """Return cosine and sine, (token, 1, half)."""
        g = self.graph
        angles = g.op("Mul", g.op("Unsqueeze", bins, g.shape(1, 2)), g.constant(self._frequencies(np.float32)))
        return g.op("Cos", angles), g.op("Sin", angles)

    def wrapped_rotation(self, position: str) -> tuple[str, str]:
        """Return cosine and sine of one bin, (1, 1, half), exact after hours: turns are taken off in float64."""
        g = self.graph
        angles = g.op("Mul", g.op("Cast", position, to=g.double), g.constant(self._frequencies(np.float64)))
        wrapped = g.op("Cast", g.op("Mod", angles, g.constant(np.array(2 * np.pi)), fmod=1), to=g.float)
        shaped = g.reshape(wrapped, 1, 1, self.head_dim // 2)
        return g.op("Cos", shaped), g.op("Sin", shaped)

    def seen(self, bin_index: str, slots: int, reach: int) -> str:
        """Return 0 where a slot holds one of the `reach` bins before `bin_index`, minus infinity elsewhere."""
        g = self.graph
        one = g.constant(np.array([1]))
        since = g.op("Sub", g.op("Sub", bin_index, one), g.constant(np.arange(slots).repeat(self.patches)))
        age = g.op("Add", g.op("Mod", since, g.constant(np.array([slots]))), one)
        oldest = g.op("Min", bin_index, g.constant(np.array([reach])))
        return g.op("Where", g.op("LessOrEqual", age, oldest), g.number(0.0), g.number(-math.inf))

    def band(self, bins: str, band: Band | None) -> str | None:
        """Return 0 where a query (first axis) sees a key (last axis), minus infinity elsewhere; None if all see all."""
        if band is None:
            return None
        g = self.graph
        later = g.op("Sub", g.op("Unsqueeze", bins, g.shape(0)), g.op("Unsqueeze", bins, g.shape(1)))
        seen = g.op("LessOrEqual", later, g.constant(np.array(band.ahead)))
        if band.bins is not None:
            seen = g.op("And", seen, g.op("Greater", later, g.constant(np.array(-band.bins))))
        return g.op("Where", seen, g.number(0.0), g.number(-math.inf))

    def normed(self, tokens: str, norm: torch.nn.RMSNorm) -> str:
        """Root mean square norm over features."""
        g = self.graph
        eps = torch.finfo(torch.float32).eps if norm.eps is None else norm.eps
        power = g.op("ReduceMean", g.op("Mul", tokens, tokens), axes=[-1], keepdims=1)
        scaled = g.op("Div", tokens, g.op("Sqrt", g.op("Add", power, g.number(eps))))
        return g.op("Mul", scaled, g.weight(norm.weight))

    def finish(self, block: Block, tokens: str, mixed: str) -> str:
        """Add what attention mixed, then the gated MLP of it, to the stream."""
        g = self.graph
        tokens = g.op("Add", tokens, g.op("MatMul", mixed, g.weight(block.attention.to_out.weight.T)))
        hidden = g.op("MatMul", self.normed(tokens, block.mlp_norm), g.weight(block.mlp.to_hidden.weight.T))
        gate, value = g.ops("Split", hidden, g.shape(4 * self.dim, 4 * self.dim), n=2, axis=-1)
        gated = g.op("Mul", g.op("Mul", gate, g.op("Sigmoid", gate)), value)
        return g.op("Add", tokens, g.op("MatMul", gated, g.weight(block.mlp.to_out.weight.T)))

    def attend(self, block: Block, x: str, rotation: tuple[str, str], mask: str | None) -> str:
        """Attention over a whole window."""
        g = self.graph
        query, key, value = self.split(x, block, "qkv")
        scores = g.op("MatMul", self._heads_first(self._rotate(query, rotation)), self._keys(key, rotation))
        weights = g.op("Softmax", scores if mask is None else g.op("Add", scores, mask), axis=-1)
        return self._joined(g.op("MatMul", weights, self._heads_first(value)))

    def ring(
        self, index: int, key: str, value: str, rotation: tuple[str, str], slots: int
    ) -> tuple[tuple[str, str], tuple[str, str]]:
        """Return (cached, new) keys and (cached, new) values of a layer: inputs, and outputs, of the graph."""
        g = self.graph
        n, names, batch = slots * self.patches, (f"key_{index}", f"value_{index}"), g.shape(0)
        new_key = g.op("Squeeze", self._keys(key, rotation), batch, name=f"new_{names[0]}")
        new_value = g.op("Squeeze", self._heads_first(value), batch, name=f"new_{names[1]}")
        g.input(names[0], [self.heads, self.head_dim, n])
        g.input(names[1], [self.heads, n, self.head_dim])
        g.output(new_key, [self.heads, self.head_dim, self.patches])
        g.output(new_value, [self.heads, self.patches, self.head_dim])
        return (names[0], new_key), (names[1], new_value)

    def attend_ring(
        self, query: str, rotation: tuple[str, str], keys: tuple[str, str], values: tuple[str, str], seen: str
    ) -> str:
        """Attention of one bin over the ring and the bin that enters it, without putting the two together."""
        g = self.graph
        turned = g.op("Squeeze", self._heads_first(self._rotate(query, rotation)), g.shape(0))
        new = g.op("MatMul", turned, keys[1])
        cached = g.op("Add", g.op("MatMul", turned, keys[0]), seen)
        weights = g.op("Softmax", g.op("Concat", new, cached, axis=-1), axis=-1)
        on_new = g.op("Slice", weights, g.shape(0), g.shape(self.patches), g.shape(-1))
        on_cached = g.op("Slice", weights, g.shape(self.patches), g.shape(1 << 31), g.shape(-1))
        mixed = g.op("Add", g.op("MatMul", on_new, values[1]), g.op("MatMul", on_cached, values[0]))
        return self._joined(g.op("Unsqueeze", mixed, g.shape(0)))

    def pool_window(self, tokens: str) -> str:
        """(batch, time * patch, dim) -> z (batch, time, dim)."""
        g = self.graph
        grid = g.op("Reshape", self.normed(tokens, self._norm), g.shape(0, -1, self.patches, self.dim))
        return g.op("ReduceMean", grid, name="z", axes=[2], keepdims=0)

    def pool_bin(self, tokens: str) -> str:
        """(1, patch, dim) -> z (1, dim)."""
        return self.graph.op("ReduceMean", self.normed(tokens, self._norm), name="z", axes=[1], keepdims=0)

    def read_out(self, z: str, readout: dict[str, np.ndarray] | None, shape: list[int | str]) -> None:
        """Add the linear readout, if there is one."""
        if readout is None:
            return
        g = self.graph
        weights, intercept = (g.constant(np.asarray(readout[k], np.float32)) for k in ("weights", "intercept"))
        g.op("Add", g.op("MatMul", z, weights), intercept, name="behavior")
        g.output("behavior", [*shape, int(readout["weights"].shape[1])])

    def _padded(self, channels: str, *, rank: int) -> str:
        """Fill the last patch with zeros; channels are the last axis but one."""
        missing = self.patches * self.patch - self.n_channels
        if not missing:
            return channels
        pads = [0] * (2 * rank)
        pads[2 * rank - 2] = missing
        return self.graph.op("Pad", channels, self.graph.shape(*pads), self.graph.number(0.0))

    def _convolve(self, series: str, *, pads: list[int]) -> str:
        conv = self._convolution
        assert conv.bias is not None
        inputs = (series, self.graph.weight(conv.weight), self.graph.weight(conv.bias))
        return self.graph.op(
            "Conv", *inputs, pads=pads, dilations=list(conv.dilation), kernel_shape=[*conv.kernel_size]
        )

    def _frequencies(self, dtype: type) -> np.ndarray:
        exponents = np.arange(0, self.head_dim, 2) / self.head_dim
        return (_BASE**-exponents).astype(dtype)

    def split(self, x: str, block: Block, which: str) -> list[str]:
        """Return queries, keys or values as (batch, token, head, feature); queries carry the scale of the scores."""
        g = self.graph
        parts = dict(zip("qkv", block.attention.to_qkv.weight.split(self.dim), strict=True))
        parts["q"] = parts["q"] / math.sqrt(self.head_dim)
        weight = torch.cat([parts[name] for name in which])
        together = g.op("MatMul", x, g.weight(weight.T))
        pieces = [together]
        if len(which) > 1:
            pieces = g.ops("Split", together, g.shape(*[self.dim] * len(which)), n=len(which), axis=-1)
        return [g.reshape(piece, 0, 0, self.heads, self.head_dim) for piece in pieces]

    def _rotate(self, heads: str, rotation: tuple[str, str]) -> str:
        g = self.graph
        cos, sin = rotation
        half = self.head_dim // 2
        first, second = g.ops("Split", heads, g.shape(half, half), n=2, axis=-1)
        turned = (
            g.op("Sub", g.op("Mul", first, cos), g.op("Mul", second, sin)),
            g.op("Add", g.op("Mul", second, cos), g.op("Mul", first, sin)),
        )
        return g.op("Concat", *turned, axis=-1)

    def _heads_first(self, heads: str) -> str:
        return self.graph.op("Transpose", heads, perm=[0, 2, 1, 3])

    def _keys(self, key: str, rotation: tuple[str, str]) -> str:
        return self.graph.op("Transpose", self._rotate(key, rotation), perm=[0, 2, 3, 1])

    def _joined(self, mixed: str) -> str:
        return self.graph.reshape(self.graph.op("Transpose", mixed, perm=[0, 2, 1, 3]), 0, 0, self.dim)
