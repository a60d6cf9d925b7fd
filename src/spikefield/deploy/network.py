"""The causal network, one bin at a time: features of a bin in, its representation out, equal to a run over all bins.

Every layer keeps the keys and values of the bins it may still look at in a ring, keys rotated when they are written, so
a bin costs one pass over the weights. Everything runs in numpy on buffers made once: for networks as small as these a
matrix product costs less than a framework's way to it. Matrices lie in memory as tiles of 32 columns, which a product
of few rows reads at the speed of memory (measured: 2.0 ms for the 42 MB of the paper's size and three tokens a bin,
5.5 ms in one piece). Norm weights, the attention's scale and the signs of the gate are folded into the matrices;
queries and keys have their rotary pairs side by side, as complex numbers.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Complex64, Float, Float32
from torch import Tensor

from spikefield.errors import InputError
from spikefield.models.encoder import Encoder
from spikefield.models.tokenizer import CausalConvolution, patch_count
from spikefield.models.transformer import Block

_ROTARY_BASE = 10_000.0
_EPSILON = float(np.finfo(np.float32).eps)
_PAST = CausalConvolution.REACH + 1
_TILE = 32
State = dict[str, np.ndarray]


class _Layer(NamedTuple):
    """The matrices of a layer, in tiles, and its ring of keys and values."""

    to_qkv: Float32[np.ndarray, "tile dim column"]
    to_out: Float32[np.ndarray, "tile dim column"]
    to_hidden: Float32[np.ndarray, "tile dim column"]
    to_stream: Float32[np.ndarray, "tile half_hidden column"]
    keys: Float32[np.ndarray, "head head_dim token"]
    values: Float32[np.ndarray, "head token head_dim"]


class NetworkStream:
    """A causal encoder of one session that runs: `step` by `step`, and `finish` at the end where it looks ahead."""

    def __init__(self, encoder: Encoder, session_id: str, *, n_channels: int) -> None:
        size = encoder.config.transformer
        if not size.causal or size.attention_bins is None or encoder.config.modality != "lfp":
            raise InputError(
                "the model does not run live: its attention must be causal, over a fixed number of bins, and read the "
                "field. Train a student with `--causal true`."
            )
        self.n_patches = patch_count(n_channels, encoder.config.patch_size)
        self.dim, self.n_heads = size.dim, size.n_heads
        self.bins, self.ahead = size.attention_bins, size.look_ahead_bins
        self._load(encoder, session_id)
        self._make_buffers(encoder.config.patch_size, n_channels)
        self.reset()

    def reset(self) -> None:
        """Forget all bins."""
        self._n_seen = 0
        self._past[:] = 0

    def step(self, features: Float[np.ndarray, "channel"]) -> Float32[np.ndarray, "dim"] | None:
        """Take the next bin; return the newest z (dim,) that is complete, None while the look-ahead fills."""
        seen = self._n_seen
        tokens = self._embed(features, seen)
        queries = self._write(0, tokens, seen)
        place = seen % (self.ahead + 1)
        self._waiting[place], self._queries[place] = tokens, queries
        self._n_seen = seen + 1
        if seen < self.ahead:
            return None
        filled = min(seen + 1, self.bins + self.ahead) * self.n_patches
        first = self._layers[0]
        return self._finish_bin(seen - self.ahead, first.keys[:, :, :filled], first.values[:, :filled])

    def finish(self) -> Iterator[Float32[np.ndarray, "dim"]]:
        """Yield each z (dim,) of those that still wait for bins to come, which never will; then forget all bins."""
        end, first = self._n_seen, self._layers[0]
        for bin_index in range(max(end - self.ahead, 0), end):
            known = np.arange(max(bin_index - self.bins + 1, 0), end) % (self.bins + self.ahead)
            places = (known[:, None] * self.n_patches + np.arange(self.n_patches)).ravel()
            yield self._finish_bin(bin_index, first.keys[:, :, places], first.values[:, places])
        self.reset()

    def state(self) -> State:
        """Return copies of everything that the stream remembers."""
        rings = {f"keys.{i}": layer.keys.copy() for i, layer in enumerate(self._layers)}
        rings |= {f"values.{i}": layer.values.copy() for i, layer in enumerate(self._layers)}
        own = {"past": self._past, "waiting": self._waiting, "queries": self._queries}
        return rings | {k: v.copy() for k, v in own.items()} | {"n_seen": np.array(self._n_seen)}

    def restore(self, state: State) -> None:
        """Continue from a `state` of a stream of the same network."""
        for i, layer in enumerate(self._layers):
            layer.keys[:], layer.values[:] = state[f"keys.{i}"], state[f"values.{i}"]
        self._past[:], self._waiting[:], self._queries[:] = state["past"], state["waiting"], state["queries"]
        self._n_seen = int(state["n_seen"])

    def _load(self, encoder: Encoder, session_id: str) -> None:
        assert isinstance(encoder.embed_values, CausalConvolution)
        kernel, bias = encoder.embed_values.convolution.weight, encoder.embed_values.convolution.bias
        assert bias is not None
        self._to_token = _tiled(_array(kernel.permute(2, 1, 0).flatten(0, 1)))
        first, count = encoder.space.rows_of(session_id)
        if count != self.n_patches:
            raise InputError(
                f"session {session_id!r} has {count} patches in the model, but its channels make {self.n_patches}. "
                "Fetch the model again."
            )
        self._token_bias = _array(encoder.space.table[first : first + count] + bias)
        blocks = [block for block in encoder.transformer.blocks if isinstance(block, Block)]
        self._layers = [self._layer(block, self.bins + (0 if i else self.ahead)) for i, block in enumerate(blocks)]
        self._norm = _array(encoder.transformer.norm.weight) / np.float32(self.n_patches)
        exponents = np.arange(0, self.dim // self.n_heads, 2) / (self.dim // self.n_heads)
        self._turn = 1j * _ROTARY_BASE**-exponents

    def _layer(self, block: Block, bins: int) -> _Layer:
        head_dim = self.dim // self.n_heads
        qkv = _array(block.attention.to_qkv.weight).reshape(3, self.n_heads, head_dim, self.dim).copy()
        qkv[0] *= head_dim**-0.5
        halves = qkv[:2].reshape(2, self.n_heads, 2, head_dim // 2, self.dim)
        qkv[:2] = halves.swapaxes(2, 3).reshape(2, self.n_heads, head_dim, self.dim)
        before_attention, before_mlp = _array(block.attention_norm.weight), _array(block.mlp_norm.weight)
        return _Layer(
            to_qkv=_tiled(qkv.reshape(3 * self.dim, self.dim).T * before_attention[:, None]),
            to_out=_tiled(_array(block.attention.to_out.weight).T),
            to_hidden=_tiled(-_array(block.mlp.to_hidden.weight).T * before_mlp[:, None]),
            to_stream=_tiled(_array(block.mlp.to_out.weight).T),
            keys=np.zeros((self.n_heads, head_dim, bins * self.n_patches), np.float32),
            values=np.zeros((self.n_heads, bins * self.n_patches, head_dim), np.float32),
        )

    def _make_buffers(self, patch_size: int, n_channels: int) -> None:
        n, dim, heads, head_dim = self.n_patches, self.dim, self.n_heads, self.dim // self.n_heads

        def empty(*shape: int) -> np.ndarray:
            return np.zeros(shape, np.float32)

        self._past, self._column = empty(_PAST, n * patch_size), empty(n, CausalConvolution.KERNEL, patch_size)
        self._columns = self._column.reshape(n, -1)
        lags = np.arange(-CausalConvolution.REACH, 1, CausalConvolution.DILATION)
        self._past_rows = [(newest + lags) % _PAST for newest in range(_PAST)]
        self._patches = self._past.reshape(_PAST, n, patch_size)
        self._n_channels = n_channels
        self._tokens, self._stream, self._normed, self._update = (empty(n, dim) for _ in range(4))
        self._qkv, self._mixed = empty(n, 3 * dim), empty(n, dim)
        split = self._qkv.reshape(n, 3, heads, head_dim)
        self._turned = self._qkv[:, : 2 * dim].reshape(n, 2 * heads, head_dim)
        self._query, self._new_keys = split[:, 0].swapaxes(0, 1), split[:, 1].transpose(1, 2, 0)
        self._new_values = split[:, 2].swapaxes(0, 1)
        self._pairs = self._qkv.view(np.complex64)[:, :dim].reshape(n, 2 * heads, head_dim // 2)
        self._mixed_heads = self._mixed.reshape(n, heads, head_dim).swapaxes(0, 1)
        self._hidden, self._gate = empty(n, 8 * dim), empty(n, 4 * dim)
        buffers = (self._tokens, self._qkv, self._update, self._hidden)
        self._tokens_tiled, self._qkv_tiled, self._update_tiled, self._hidden_tiled = map(_tiles_of, buffers)
        self._waiting = empty(self.ahead + 1, n, dim)
        self._queries = empty(self.ahead + 1, heads, n, head_dim)

    def _embed(self, features: np.ndarray, seen: int) -> Float32[np.ndarray, "patch dim"]:
        row = seen % _PAST
        self._past[row, : self._n_channels] = features
        self._column[:] = self._patches[self._past_rows[row]].swapaxes(0, 1)
        np.matmul(self._columns, self._to_token, out=self._tokens_tiled)
        self._tokens += self._token_bias
        return self._tokens

    def _write(self, index: int, tokens: np.ndarray, bin_index: int) -> Float32[np.ndarray, "head patch head_dim"]:
        """Write a bin's keys and values into a layer's ring and return its queries."""
        layer = self._layers[index]
        np.matmul(self._scaled(tokens), layer.to_qkv, out=self._qkv_tiled)
        np.multiply(self._pairs, self._phase(bin_index), out=self._pairs)
        place = bin_index % (layer.keys.shape[2] // self.n_patches) * self.n_patches
        layer.keys[:, :, place : place + self.n_patches] = self._new_keys
        layer.values[:, place : place + self.n_patches] = self._new_values
        return self._query

    def _finish_bin(self, bin_index: int, keys: np.ndarray, values: np.ndarray) -> Float32[np.ndarray, "dim"]:
        """Run a bin through all layers; its keys and values of the first layer are in the ring already."""
        place = bin_index % (self.ahead + 1)
        stream = self._stream
        stream[:] = self._waiting[place]
        self._attend(self._layers[0], self._queries[place], keys, values)
        self._feed_forward(self._layers[0])
        filled = min(bin_index + 1, self.bins) * self.n_patches
        for index in range(1, len(self._layers)):
            queries, layer = self._write(index, stream, bin_index), self._layers[index]
            self._attend(layer, queries, layer.keys[:, :, :filled], layer.values[:, :filled])
            self._feed_forward(layer)
        return self._scaled(stream).sum(axis=0) * self._norm

    def _attend(self, layer: _Layer, queries: np.ndarray, keys: np.ndarray, values: np.ndarray) -> None:
        scores = queries @ keys
        scores -= scores.max(axis=-1, keepdims=True)
        np.exp(scores, out=scores)
        np.matmul(scores, values, out=self._mixed_heads)
        self._mixed_heads /= scores.sum(axis=-1, keepdims=True)
        np.matmul(self._mixed, layer.to_out, out=self._update_tiled)
        self._stream += self._update

    def _feed_forward(self, layer: _Layer) -> None:
        hidden, gate = self._hidden, self._gate
        np.matmul(self._scaled(self._stream), layer.to_hidden, out=self._hidden_tiled)
        minus_gate, minus_value = hidden[:, : 4 * self.dim], hidden[:, 4 * self.dim :]
        np.exp(np.minimum(minus_gate, 80, out=gate), out=gate)
        gate += 1
        minus_gate *= minus_value
        minus_gate /= gate
        np.matmul(minus_gate, layer.to_stream, out=self._update_tiled)
        self._stream += self._update

    def _scaled(self, tokens: np.ndarray) -> Float32[np.ndarray, "patch dim"]:
        """Return the tokens at unit mean square; the norms' weights are in the matrices."""
        mean_square = np.vecdot(tokens, tokens)[:, None] / self.dim
        return np.divide(tokens, np.sqrt(mean_square + _EPSILON), out=self._normed, dtype=np.float32)

    def _phase(self, bin_index: int) -> Complex64[np.ndarray, "pair"]:
        if self._phase_of[0] != bin_index:
            self._phase_of = (bin_index, np.exp(bin_index * self._turn).astype(np.complex64))
        return self._phase_of[1]

    _phase_of: tuple[int, np.ndarray] = (-1, np.empty(0, np.complex64))


def _array(weights: Tensor) -> Float32[np.ndarray, "..."]:
    return np.ascontiguousarray(weights.detach().float().cpu().numpy())


def _tile_width(n_columns: int) -> int:
    return _TILE if n_columns % _TILE == 0 else n_columns


def _tiled(matrix: Float32[np.ndarray, "row column"]) -> Float32[np.ndarray, "tile row tile_column"]:
    """Return a copy of a matrix in which each tile of columns lies in one piece."""
    return np.ascontiguousarray(_tiles_of(matrix), np.float32)


def _tiles_of(matrix: Float32[np.ndarray, "row column"]) -> Float32[np.ndarray, "tile row tile_column"]:
    """Return the tiles of a matrix, in place."""
    n_rows, n_columns = matrix.shape
    return matrix.reshape(n_rows, -1, _tile_width(n_columns)).swapaxes(0, 1)
