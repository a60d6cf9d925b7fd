"""A flat map (t-SNE) of what teacher, student and field-potential autoencoder make of the same test bins."""

import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.gridspec import SubplotSpec

from spikefield.report.drawing import MUTED, WIDE_IN, direction_colors, footer_in, quiet, write_footer

MAPPED_MODELS = ("teacher", "distilled", "ms-lfp")
MOST_BINS = 1000
FEWEST_BINS = 10


def mapped_models(arrays: Mapping[str, np.ndarray]) -> list[str]:
    """Return which of the models to map left their representation."""
    return [model for model in MAPPED_MODELS if f"z_{model}" in arrays]


def evenly_chosen(arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return the bins (point,) to map: those that every model represents, thinned evenly to `MOST_BINS`."""
    whole = [np.isfinite(arrays[f"z_{model}"]).all(axis=1) for model in mapped_models(arrays)]
    present = np.flatnonzero(np.all(whole, axis=0))
    if len(present) <= MOST_BINS:
        return present
    return present[np.linspace(0, len(present) - 1, MOST_BINS).round().astype(int)]


def flat_maps(arrays: Mapping[str, np.ndarray], chosen: np.ndarray) -> dict[str, np.ndarray]:
    """Lay each model's representation of the chosen bins out flat, (bins, 2) each.

    t-SNE starts from the principal components with a fixed seed. Each map is then turned or mirrored as a whole onto
    the first one, which changes no distance in it.
    """
    from sklearn.manifold import TSNE

    maps: dict[str, np.ndarray] = {}
    for model in mapped_models(arrays):
        z = arrays[f"z_{model}"][chosen].astype(np.float64)
        perplexity = min(30.0, (len(z) - 1) / 3)
        flat = TSNE(init="pca", perplexity=perplexity, max_iter=500, random_state=0, n_jobs=1).fit_transform(z)
        flat = (flat - flat.mean(axis=0)) / flat.std()
        maps[model] = turned_onto(flat, next(iter(maps.values()))) if maps else flat
    return maps


def turned_onto(points: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Return `points` (point, axis) turned or mirrored, nothing else, to lie as near `reference` as can be."""
    left, _, right = np.linalg.svd(points.T @ reference)
    return points @ (left @ right)


def plot_map(
    maps: Mapping[str, np.ndarray],
    *,
    direction_rad: np.ndarray,
    speed: np.ndarray,
    color_name: str,
    width_in: float,
    footer: Sequence[str] = (),
) -> Figure:
    """Draw the maps (point, axis) side by side, coloured by direction; the slower the bin, the fainter its dot."""
    wide = width_in >= WIDE_IN
    columns = len(maps) + 1 if wide else 2
    rows = -(-(len(maps) + 1) // columns)
    ratios = [1.0] * len(maps) + [0.62] if wide else [1.0, 1.0]
    side_in = min((width_in - 0.1 * columns) / sum(ratios), 3.0)
    height_in = rows * (side_in + 0.35) + footer_in(footer)
    figure = Figure(figsize=(width_in, height_in))
    margins = {
        "left": 0.005,
        "right": 0.995,
        "top": 1 - 0.3 / height_in,
        "bottom": (0.04 + footer_in(footer)) / height_in,
    }
    grid = figure.add_gridspec(rows, columns, width_ratios=ratios, wspace=0.06, hspace=0.16, **margins)
    colors = _dot_colors(direction_rad, speed)
    order = np.random.default_rng(0).permutation(len(colors))
    for i, (model, flat) in enumerate(maps.items()):
        axes = figure.add_subplot(grid[i // columns, i % columns])
        quiet(axes)
        reach = np.nanmax(np.abs(flat)) * 1.03
        axes.set(xticks=[], yticks=[], aspect="equal", xlim=(-reach, reach), ylim=(-reach, reach))
        axes.set_title(model, pad=2)
        axes.scatter(*flat[order].T, c=colors[order], s=13 if wide else 8, lw=0, rasterized=True)
    _wheel(figure, grid[len(maps) // columns, len(maps) % columns], color_name)
    write_footer(figure, footer)
    return figure


def _dot_colors(direction_rad: np.ndarray, speed: np.ndarray) -> np.ndarray:
    turn = np.nan_to_num((direction_rad + np.pi) / (2 * np.pi) % 1.0)
    colors = direction_colors()((turn * 255.999).astype(int))
    top = np.nanquantile(speed, 0.75) if np.isfinite(speed).any() else 1.0
    colors[:, 3] = 0.2 + 0.7 * np.clip(np.nan_to_num(speed) / max(top, 1e-12), 0, 1)
    colors[~np.isfinite(direction_rad)] = (0.5, 0.5, 0.5, 0.4)
    return colors


def _wheel(figure: Figure, place: SubplotSpec, color_name: str) -> None:
    axes = figure.add_subplot(place)
    quiet(axes)
    x, y = np.meshgrid(*[np.linspace(-1.75, 1.75, 300)] * 2)
    turn = (np.arctan2(y, x) + np.pi) / (2 * np.pi)
    image = direction_colors()((turn * 255.999).astype(int))
    image[..., 3] = (np.hypot(x, y) > 0.62) & (np.hypot(x, y) < 1)
    axes.imshow(image, extent=(-1.75, 1.75, -1.75, 1.75), origin="lower", interpolation="bilinear")
    for text, at in (("0°", (1.12, 0)), ("90°", (0, 1.22)), ("180°", (-1.12, 0)), ("270°", (0, -1.22))):
        align = {"0°": "left", "180°": "right"}.get(text, "center")
        axes.text(*at, text, ha=align, va="center", fontsize=9, color=MUTED)
    axes.set(xticks=[], yticks=[])
    title = textwrap.fill(color_name, 18)
    axes.set_title(title, fontsize=9.5, weight="normal", color=MUTED, loc="center", pad=2)
