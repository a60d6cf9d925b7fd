"""What the figures draw is what the arrays hold; one drawing serves a light and a dark page."""

import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
from fake_out import (
    DIMS,
    curve_table,
    prediction_arrays,
    representation_arrays,
    results_table,
    run_record,
    split_record,
)

from spikefield.report import drawing, models, plot_bleed, plot_findings, plot_split
from spikefield.report.models import _KNOWN, in_order, look
from spikefield.report.plot_curves import plot_curves
from spikefield.report.plot_decoded import STRETCH_S, first_stretch, plot_decoded, with_gaps
from spikefield.report.plot_map import MOST_BINS, evenly_chosen, flat_maps, plot_map, turned_onto
from spikefield.report.plot_r2 import plot_r2
from spikefield.report.plot_split import plot_split as draw_split
from spikefield.report.tables import read_panels


def luminance(color):
    rgb = np.asarray(drawing.mpl.colors.to_rgb(color))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return float(linear @ (0.2126, 0.7152, 0.0722))


def contrast(one, other):
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def texts(figure):
    return [t.get_text() for t in figure.findobj(drawing.mpl.text.Text) if t.get_text()]


@pytest.fixture(scope="module")
def r2():
    panels = read_panels(results_table())
    ceiling = run_record()["ceiling_r2"]
    return lambda width_in, footer: plot_r2(panels, ceiling=ceiling, width_in=width_in, footer=footer)


def test_r2_marks_stand_at_the_means(r2):
    own, other = r2(drawing.WIDE_IN, ()).axes
    for axes, panel in zip((own, other), read_panels(results_table()), strict=True):
        marks = {
            float(line.get_xdata()[0])
            for line in axes.lines
            if line.get_marker() in "osx" and len(line.get_xdata()) == 1
        }
        for model in panel.models():
            assert any(mark == pytest.approx(panel.estimate(model).mean) for mark in marks), model


def test_r2_panels_lie_below_one_another_on_a_phone(r2):
    wide, narrow = r2(drawing.WIDE_IN, ()), r2(drawing.NARROW_IN, ())
    assert wide.axes[0].get_position().y0 == pytest.approx(wide.axes[1].get_position().y0)
    assert narrow.axes[0].get_position().y0 > narrow.axes[1].get_position().y1
    assert "ceiling 0.93" in texts(wide)


@pytest.mark.parametrize("width_in", [drawing.WIDE_IN, drawing.NARROW_IN])
def test_a_long_session_name_stays_inside_the_drawing(width_in):
    session = "a_very_long_name_of_a_session_that_goes_on_and_on_20160622_01"
    panels = read_panels(results_table(sessions=(session,)))
    figures = (
        plot_r2(panels, ceiling=None, width_in=width_in),
        draw_split({session: split_record(session)}, width_in=width_in),
    )
    for figure in figures:
        figure.draw_without_rendering()
        named = [t for t in figure.findobj(drawing.mpl.text.Text) if "a_very" in t.get_text()]
        edges = [t.get_window_extent() for t in named]
        assert edges and all(e.x0 >= 0 and e.x1 <= figure.bbox.x1 for e in edges)


def test_a_score_far_below_zero_is_an_arrow_and_keeps_its_number():
    panels = read_panels(results_table(means={"distilled": (0.8, 0.8), "null": (-5.0, -5.0)}))
    figure = plot_r2(panels, ceiling=None, width_in=drawing.WIDE_IN)
    assert figure.axes[0].get_xlim()[0] == -0.5
    (arrow,) = [line for line in figure.axes[0].lines if line.get_marker() == "<"]
    assert arrow.get_xdata()[0] == -0.5 and arrow.get_color() == look("null").color
    assert any(t.startswith("−5.0") or t.startswith("−4.9") for t in texts(figure))


def test_svg_leaves_neutral_colours_to_the_page_and_is_the_same_each_time(r2):
    svg = drawing.to_svg(r2, width_in=drawing.NARROW_IN, name="r2-narrow", alt='a "b" <c> & d')
    for color in (drawing.INK, drawing.MUTED, drawing.GRID, drawing.PAPER):
        assert color not in svg
    assert "var(--ink)" in svg and "var(--paper)" in svg and "#000000" not in svg
    assert "font-family" not in svg and "<style" not in svg and "<metadata" not in svg
    assert ElementTree.fromstring(svg).get("aria-label") == 'a "b" <c> & d'
    assert svg == drawing.to_svg(r2, width_in=drawing.NARROW_IN, name="r2-narrow", alt='a "b" <c> & d')


def test_names_are_drawn_as_they_are_never_as_markup_or_math():
    arrays = prediction_arrays() | {"names": np.array(["<b>$x$", "y"])}
    svg = drawing.to_svg(lambda w, f: plot_decoded(arrays, width_in=w, footer=f), width_in=3.5, name="d", alt="")
    assert "&lt;b&gt;$x$" in svg or "&lt;b>$x$" in svg
    assert "<b>" not in svg


def test_no_line_crosses_a_gap():
    time_s = np.array([0.0, 0.02, 0.04, 1.0, 1.02])
    times, values = with_gaps(time_s, np.arange(5.0))
    assert np.isnan(values).tolist() == [False, False, False, True, False, False]
    assert (np.diff(times) >= 0).all()
    np.testing.assert_array_equal(values[~np.isnan(values)], np.arange(5.0))


def test_the_stretch_is_the_first_one_and_short():
    time_s = prediction_arrays()["time_s"]
    part = time_s[first_stretch(time_s)]
    assert part[0] == time_s[0] and STRETCH_S - 0.1 < part[-1] - part[0] <= STRETCH_S


def test_decoded_draws_a_strip_a_dim_with_true_and_every_model():
    figure = plot_decoded(prediction_arrays(), width_in=drawing.WIDE_IN)
    assert len(figure.axes) == len(DIMS) and set(DIMS) < set(texts(figure))
    assert [line.get_label() for line in figure.axes[0].lines] == ["true", "teacher", "ridge-lfp", "distilled"]


def test_curves_draw_a_panel_a_model_and_one_of_readout():
    figure = plot_curves(curve_table(epochs=6), width_in=drawing.NARROW_IN)
    titles = ("distilled", "ms-lfp", "teacher", "readout R²")
    assert [text for text in texts(figure) if text in titles] == list(titles)
    mean = curve_table(epochs=6).query("model == 'teacher'").groupby("epoch")["valid_loss"].mean()
    assert any(np.allclose(line.get_ydata(), mean) for line in figure.axes[2].lines)


def test_split_strip_covers_what_the_split_file_says():
    split = split_record("sim-0")
    figure = draw_split({"sim-0": split}, width_in=drawing.WIDE_IN)
    drawn = [p.get_extents() for c in figure.axes[0].collections for p in c.get_paths()]
    spans = {(round(e.x0 * 60, 3), round(e.x1 * 60, 3)) for e in drawn}
    assert {tuple(piece) for kind in ("train", "valid", "test") for piece in split[kind]} <= spans


def test_turning_a_map_keeps_its_distances_and_finds_a_planted_turn():
    generator = np.random.default_rng(0)
    reference = generator.normal(size=(50, 2)) * (3, 1)
    angle = 2.1
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) @ np.diag([1, -1])
    np.testing.assert_allclose(turned_onto(reference @ turn, reference), reference, atol=1e-9)


def test_mapped_bins_are_those_every_model_has_and_at_most_so_many():
    arrays = representation_arrays(count=MOST_BINS + 300)
    arrays["z_distilled"][5] = np.nan
    chosen = evenly_chosen(arrays)
    assert 5 not in chosen and len(chosen) == len(set(chosen)) == MOST_BINS


def test_maps_are_the_same_each_time_and_one_a_model():
    arrays = representation_arrays(count=40)
    chosen = evenly_chosen(arrays)
    maps = flat_maps(arrays, chosen)
    assert list(maps) == ["teacher", "distilled", "ms-lfp"] and all(flat.shape == (40, 2) for flat in maps.values())
    again = flat_maps({"z_teacher": arrays["z_teacher"]}, chosen)
    np.testing.assert_array_equal(maps["teacher"], again["teacher"])
    figure = plot_map(
        maps, direction_rad=arrays["direction_rad"], speed=arrays["speed"], color_name="where", width_in=drawing.WIDE_IN
    )
    assert {"teacher", "distilled", "ms-lfp", "where"} <= set(texts(figure))


def test_direction_colours_are_a_circle_seen_on_light_and_dark_and_by_the_colour_blind():
    colors = drawing.direction_colors()(np.arange(256))[:, :3]
    steps = np.linalg.norm(np.diff(colors, axis=0, append=colors[:1]), axis=1)
    assert steps.max() < 0.06
    for color in colors:
        assert contrast(color, "#ffffff") > 1.9 and contrast(color, "#14171b") > 3
    # Viénot, Brettel & Mollon 1999: what a deuteranope sees, in linear RGB
    linear = np.where(colors <= 0.04045, colors / 12.92, ((colors + 0.055) / 1.055) ** 2.4)
    seen = linear @ np.array([[0.29275, 0.70725, 0], [0.29275, 0.70725, 0], [-0.02234, 0.02234, 1]]).T
    opposite = np.linalg.norm(seen - np.roll(seen, 128, axis=0), axis=1)
    assert opposite.min() > 0.1


def test_models_keep_colours_of_their_own():
    assert len({look(m).color for m in _KNOWN}) == len(_KNOWN)


def page_colors(scheme):
    """Return the variables of a theme of the report page; those of the dark one stand second."""
    template = Path(models.__file__).with_name("page.html.jinja").read_text(encoding="utf-8")
    light, dark = re.findall(r":root \{(.*?)\}", template, flags=re.DOTALL)
    return dict(re.findall(r"--([\w-]+): (#\w{6})", light if scheme == "light" else dark))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_what_is_drawn_and_written_stands_out_in_both_themes(scheme):
    page = page_colors(scheme)
    drawn = {look(model).color for model in _KNOWN} | {*models._SPARE_COLORS, *plot_findings._LINES, plot_bleed._BAR}
    drawn |= {*plot_split.COLORS.values()} - {drawing.INK}
    drawn = {re.sub(r"var\(--(.*)\)", lambda name: page[name[1]], drawing.on_page(color)) for color in drawn}
    assert len(drawn) > 15
    assert {color: ratio for color in drawn if (ratio := contrast(color, page["paper"])) < 3} == {}
    written = ("ink", "muted", "link", "blue")  # the teacher's blue is fit to be written in, too
    assert {name: ratio for name in written if (ratio := contrast(page[name], page["paper"])) < 4.5} == {}
    assert contrast(page["warn-ink"], page["warn-wash"]) > 4.5 and contrast(page["warn-line"], page["paper"]) > 3


def test_the_light_page_has_the_colours_that_are_drawn():
    page = page_colors("light")
    shared = {name: getattr(drawing, name.upper()) for name in ("ink", "muted", "grid", "paper", "blue", "sky")}
    assert {name: page[name] for name in shared} == shared
    assert {drawing.BLUE, drawing.SKY} <= {look(model).color.lower() for model in _KNOWN}


def test_nothing_is_written_in_the_colour_of_a_model(r2):
    panels = read_panels(results_table(means={"distilled": (0.8, 0.8), "null": (-5.0, -5.0)}))
    arrays, width_in = prediction_arrays(), drawing.WIDE_IN
    figures = [plot_r2(panels, ceiling=None, width_in=width_in), plot_decoded(arrays, width_in=width_in)]
    shown = [t for f in (r2(width_in, ()), *figures) for t in f.findobj(drawing.mpl.text.Text) if t.get_text()]
    colors = {drawing.mpl.colors.to_hex(text.get_color()) for text in shown}
    assert drawing.MUTED in colors and not colors & {look(model).color.lower() for model in _KNOWN}


def test_drawings_on_a_light_ground_are_readable():
    assert contrast(drawing.INK, drawing.PAPER) > 12 and contrast(drawing.MUTED, drawing.PAPER) > 4.5


def test_models_are_ordered_by_what_they_read():
    assert in_order(["null", "teacher", "new-lfp", "ms-lfp", "strange", "distilled"]) == [
        "distilled",
        "ms-lfp",
        "new-lfp",
        "teacher",
        "strange",
        "null",
    ]
    assert re.fullmatch("#[0-9A-F]{6}", look("new-lfp").color) and look("new-lfp") == look("new-lfp")
