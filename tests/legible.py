"What a reader could not read in a figure: small print, a legend on the data, text that is cut off or lies on other text."
from itertools import combinations

from matplotlib.axis import Axis
from matplotlib.collections import Collection, PathCollection
from matplotlib.image import AxesImage
from matplotlib.legend import Legend
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.text import Annotation, Text
from matplotlib.transforms import Bbox

from ddad import plots

SMALLEST = 7  # points; the indices of a formula are smaller
SLACK = 1  # pixels


def ticks(axis: Axis):
    "The ticks of an axis that are seen."
    low, high = sorted(axis.get_view_interval())
    near = 1e-9 * (high - low)
    return [t for t in (*axis.get_major_ticks(), *axis.get_minor_ticks())
            if low - near <= t.get_loc() <= high + near]


def texts(fig) -> list[Text]:
    "All text that is seen."
    axes = [a for ax in fig.axes if ax.get_visible() for a in (ax.xaxis, ax.yaxis)]
    every = {label for axis in axes for t in (*axis.get_major_ticks(), *axis.get_minor_ticks())
             for label in (t.label1, t.label2)}
    drawn = {label for ax in fig.axes if ax.get_visible() and ax.axison for axis in (ax.xaxis, ax.yaxis)
             for t in ticks(axis) for label in (t.label1, t.label2)}
    return [t for t in fig.findobj(Text) if t.get_visible() and t.get_text().strip()
            and (t not in every or t in drawn) and not isinstance(t, Annotation)]


def legends(fig) -> list[Legend]:
    return [*fig.legends, *(legend for ax in fig.axes if (legend := ax.get_legend()))]


def covers(box: Bbox, artist, ax) -> bool:
    "Whether something that is drawn in `ax` reaches into the box."
    seen = Bbox.intersection(box, ax.bbox) if artist.get_clip_on() else box
    if seen is None or seen.width <= 0 or seen.height <= 0: return False
    if isinstance(artist, Line2D):
        points = artist.get_transform().transform(artist.get_xydata())
        lines = artist.get_linestyle() not in ("None", "none", "", " ")
        if lines:
            return artist.get_transform().transform_path(artist.get_path()).intersects_bbox(
                seen, filled=False)
        return any(seen.contains(*p) for p in points)
    if isinstance(artist, Patch):
        return artist.get_transform().transform_path(artist.get_path()).intersects_bbox(
            seen, filled=bool(artist.get_fill()))
    if isinstance(artist, PathCollection):
        return any(seen.contains(*p) for p in artist.get_offset_transform().transform(artist.get_offsets()))
    if isinstance(artist, Collection):
        paths = [artist.get_transform().transform_path(path) for path in artist.get_paths()]
        return any(path.intersects_bbox(seen, filled=len(artist.get_facecolor()) > 0) for path in paths)
    return isinstance(artist, AxesImage) and Bbox.intersection(seen, artist.get_window_extent()) is not None


def overlap(a: Bbox, b: Bbox) -> bool:
    return min(a.x1, b.x1) - max(a.x0, b.x0) > SLACK and min(a.y1, b.y1) - max(a.y0, b.y0) > SLACK


def faults(fig) -> list[str]:
    "Each fault of the figure in words; none for one that can be read."
    fig.set_dpi(plots.DPI)  # that of the files: at another one letters have other widths
    fig.canvas.draw()
    found, seen = [], texts(fig)
    boxes = {t: t.get_window_extent() for t in seen}
    found += [f"{t.get_text()!r} is set in {t.get_fontsize():g} points"
              for t in seen if t.get_fontsize() < SMALLEST]
    for t, box in boxes.items():
        if box.x0 < -SLACK or box.y0 < -SLACK or box.x1 > fig.bbox.x1 + SLACK or box.y1 > fig.bbox.y1 + SLACK:
            found.append(f"{t.get_text()!r} is cut off")
    found += [f"{a.get_text()!r} lies on {b.get_text()!r}"
              for a, b in combinations(seen, 2) if overlap(boxes[a], boxes[b])]
    for legend in legends(fig):
        box = legend.get_window_extent()
        for ax in fig.axes:
            drawn = [*ax.lines, *ax.patches, *ax.collections, *ax.images]
            if any(artist.get_visible() and covers(box, artist, ax) for artist in drawn):
                found.append(f"the legend with {[t.get_text() for t in legend.get_texts()]} covers data")
    return found
