"""Charts take the page's colours, have names of their own, and draw no boxes for glyphs a font lacks."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from results_builder import write_results

from lm_eval_baichuan import cli
from lm_eval_baichuan.comparison.verdicts import Line, compare
from lm_eval_baichuan.html_report import charts, fonts
from lm_eval_baichuan.published import load_published
from lm_eval_baichuan.results import known_suites, read_runs

PUBLISHED = load_published()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tasks = [task for suite in known_suites() if suite.name in ("ceval_5shot", "gaokao_5shot") for task in suite.tasks]
    write_results(tmp_path, dict.fromkeys(tasks, (43, 100)), pretrained="/模型/百川-7B")
    return tmp_path


def lines_of(folder: Path) -> list[Line]:
    (run,) = read_runs([folder])
    return list(compare(run, PUBLISHED.model("Baichuan-7B"), PUBLISHED, 0.95).lines)


@pytest.fixture
def no_chinese_font(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As on a machine without such a font: only what matplotlib itself brings."""
    from matplotlib import font_manager

    own = [font for font in font_manager.fontManager.ttflist if "mpl-data" in font.fname]
    monkeypatch.setattr(font_manager.fontManager, "ttflist", own)
    fonts.chinese_font.cache_clear()
    yield
    fonts.chinese_font.cache_clear()


def draw(folder: Path) -> str:
    lines = [line for line in lines_of(folder) if line.suite == "ceval_5shot"]
    with charts.style(charts.page_colours()):
        return charts.to_svg(charts.parts_chart(lines, charts.page_colours()), "parts0", 'said "<so>"')


def test_colours_are_the_pages(folder: Path) -> None:
    svg = draw(folder)
    for role in ("ink", "faint", "run0", "published"):
        assert f"var(--{role})" in svg
    left = set(re.findall(r"#[0-9a-f]{6}\b", svg))
    assert left <= {"#000000", "#ffffff"}
    assert not left & set(charts.page_colours().values())


def test_every_colour_is_defined_by_the_page_for_light_and_dark() -> None:
    css = (Path(charts.__file__).parent / "template" / "page.css").read_text(encoding="utf-8")
    for role in charts.ROLES:
        assert css.count(f"--{role}: #") == 2, role


def test_a_chart_describes_itself_and_shares_no_id(folder: Path) -> None:
    svg = draw(folder)
    assert svg.startswith('<svg role="img" aria-label="said &#34;&lt;so&gt;&#34;"')
    assert all(found.startswith("parts0-") for found in re.findall(r'\bid="([^"]*)"', svg))
    assert all(found.startswith("parts0-") for found in re.findall(r"url\(#([^)]*)\)", svg))
    assert "font-family: inherit" in svg
    assert "<metadata>" not in svg


def test_without_a_chinese_font_labels_are_english_and_nothing_is_a_box(
    folder: Path, tmp_path: Path, no_chinese_font: None
) -> None:
    assert fonts.chinese_font() is None
    svg = draw(folder)
    assert "Social Sciences" in svg
    assert not re.search(r"[\u4e00-\u9fff]", svg)
    assert "\\u767e\\u5ddd-7B" in svg  # the run's name, as escapes
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # matplotlib warns of a glyph that it lacks
        charts.save_picture(lines_of(folder), tmp_path / "chart.png")


def test_with_a_chinese_font_names_are_drawn_in_it(folder: Path, tmp_path: Path) -> None:
    if fonts.chinese_font() is None:
        pytest.skip("no font with Chinese glyphs is installed here (Debian: fonts-noto-cjk)")
    svg = draw(folder)
    assert "社会科学 Social Sciences" in svg
    assert "百川-7B" in svg
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        charts.save_picture(lines_of(folder), tmp_path / "chart.png")


def test_the_picture_is_written_beside_the_page(folder: Path, tmp_path: Path) -> None:
    page, picture = tmp_path / "out.html", tmp_path / "out.png"
    arguments = ["report", str(folder), "--against", "Baichuan-7B", "-o", str(page), "--png", str(picture)]
    assert cli.main(arguments) == 0
    assert picture.read_bytes().startswith(b"\x89PNG")
    from matplotlib.image import imread

    height, width, _ = imread(picture).shape
    assert width == 1800
    assert height > 700


def test_a_picture_of_another_kind_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["report", str(folder), "--png", "chart.bmp"])
    assert "chart.bmp does not end in .png" in capsys.readouterr().err


def test_settings_of_the_users_own_do_not_reach_the_charts(folder: Path) -> None:
    import matplotlib as mpl

    plain = draw(folder)
    with mpl.rc_context({"font.size": 40.0, "svg.fonttype": "path", "text.usetex": False, "axes.grid": True}):
        assert len(draw(folder)) == pytest.approx(len(plain), rel=0.01)
        assert mpl.rcParams["font.size"] == 40.0
