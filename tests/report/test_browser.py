"""The page in a real browser: charts shown, filters at work, no message in the console, nothing fetched."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from results_builder import write_results, write_samples

from lm_eval_baichuan import cli

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed (pip install selenium)")

LAW, LOGIC = "ceval_5shot_law", "ceval_5shot_logic"
TASKS = {LAW: (40, 120), LOGIC: (70, 130)}
HOSTILE = "<script>document.title = 'taken over'</script><img src=x onerror=\"document.title='taken over'\">"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    programs = {name: shutil.which(name) for name in ("chromium", "chromedriver")}
    for name, path in programs.items():
        if path is None:
            pytest.skip(f"{name} is not installed (Debian: chromium, chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = programs["chromium"]
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1100,1400"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    service = webdriver.ChromeService(executable_path=programs["chromedriver"])
    driver = webdriver.Chrome(options=options, service=service)
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    for seed in (1, 2):
        texts = [f"第{number}题 {'稀有' if number == 77 else '常见'} {HOSTILE}" for number in range(130)]
        write_results(folder / f"run{seed}", TASKS)
        write_samples(folder / f"run{seed}", TASKS, seed=seed, texts=texts)
    runs = [str(folder / "run1"), str(folder / "run2")]
    assert cli.main(["report", *runs, "-o", str(folder / "page.html")]) == 0
    return folder / "page.html"


@pytest.fixture
def opened(browser: Any, page: Path) -> Any:
    for log in ("browser", "performance"):
        browser.get_log(log)
    browser.get(page.as_uri())
    wait_for(browser, "250 questions")
    return browser


def wait_for(browser: Any, text: str, seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if text in browser.find_element("id", "count").text:
            return
        time.sleep(0.05)
    raise AssertionError(f"{browser.find_element('id', 'count').text!r} never said {text!r}")


def choose(browser: Any, control: str, text: str) -> None:
    from selenium.webdriver.support.ui import Select

    Select(browser.find_element("id", control)).select_by_visible_text(text)


def listed(browser: Any) -> list[str]:
    return [item.text for item in browser.find_elements("css selector", "#questions li")]


def test_the_page_opens_without_a_message_or_a_request(opened: Any, page: Path) -> None:
    assert opened.get_log("browser") == []
    events = [json.loads(entry["message"])["message"] for entry in opened.get_log("performance")]
    asked = {event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"}
    assert asked == {page.as_uri()}
    assert "taken over" not in opened.title


def test_charts_are_there_and_have_a_size(opened: Any) -> None:
    charts = opened.find_elements("css selector", "svg[role=img]")
    # One chart of categories, and for each run the subjects, calibration and margins.
    assert len(charts) == 1 + 2 * 3
    for chart in charts:
        assert chart.size["width"] > 200
        assert chart.size["height"] > 100
        assert chart.get_attribute("aria-label")


def test_no_label_of_a_chart_is_cut_off(opened: Any) -> None:
    cut = opened.execute_script(
        """const cut = [];
        for (const svg of document.querySelectorAll('svg[role=img]')) {
          const frame = svg.getBoundingClientRect();
          for (const text of svg.querySelectorAll('text')) {
            const box = text.getBoundingClientRect();
            if (box.left < frame.left - 1 || box.right > frame.right + 1) cut.push(text.textContent);
          }
        }
        return cut;"""
    )
    assert cut == []


def test_questions_are_text_and_come_in_pages(opened: Any) -> None:
    first = listed(opened)
    assert len(first) == 50
    assert HOSTILE in first[0]
    assert not opened.find_elements("css selector", "#questions script, #questions img")
    opened.find_element("id", "forth").click()
    wait_for(opened, "page 2 of 5")
    assert listed(opened)[0] != first[0]
    opened.find_element("id", "back").click()
    wait_for(opened, "page 1 of 5")
    assert listed(opened) == first


def test_filters_narrow_the_list(opened: Any) -> None:
    choose(opened, "outcome", "right")
    wait_for(opened, "110 questions")
    choose(opened, "subject", "C-Eval: law")
    wait_for(opened, "40 questions")
    assert all("C-Eval: law" in text and ", right" in text for text in listed(opened))
    choose(opened, "outcome", "wrong")
    wait_for(opened, "80 questions")
    choose(opened, "label", "A")
    assert all("said A, wrong" in text for text in listed(opened))
    choose(opened, "label", "any label")
    choose(opened, "outcome", "all")
    choose(opened, "subject", "all")
    search = opened.find_element("id", "search")
    search.send_keys("稀有")
    wait_for(opened, "2 questions")
    assert all("第77题" in text for text in listed(opened))


def test_order_and_changes(opened: Any) -> None:
    choose(opened, "order", "least sure first")
    margins = [float(text.split("ahead by ")[1].split(" nats")[0]) for text in listed(opened)]
    assert margins == sorted(margins)
    choose(opened, "outcome", "answered otherwise by another run")
    count = int(opened.find_element("id", "count").text.split()[0])
    rows = opened.find_elements("css selector", "#changes td.number")
    assert rows
    listed_changes = opened.execute_script(
        "return [...document.querySelectorAll('#changes table')].at(-1).tBodies[0].rows.length"
    )
    assert count == listed_changes


def test_the_table_of_subjects_sorts_by_keyboard(opened: Any) -> None:
    from selenium.webdriver.common.keys import Keys

    opened.execute_script("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
    table = opened.find_element("css selector", "table.subjects")

    def first_column() -> list[str]:
        return [cell.text for cell in table.find_elements("css selector", "tbody td:first-child")]

    assert first_column() == ["logic", "law"]
    button = table.find_elements("css selector", "th button")[0]
    button.send_keys(Keys.ENTER)
    assert first_column() == ["law", "logic"]
    assert table.find_element("css selector", "th").get_attribute("aria-sort") == "ascending"
    accuracy = table.find_elements("css selector", "th button")[3]
    accuracy.send_keys(Keys.SPACE)
    assert first_column() == ["law", "logic"]
    accuracy.send_keys(Keys.SPACE)
    assert first_column() == ["logic", "law"]


def test_a_phone_scrolls_tables_and_not_the_page(opened: Any) -> None:
    opened.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": True}
    )
    try:
        width = opened.execute_script("return document.documentElement.scrollWidth")
        assert width <= 360
    finally:
        opened.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_and_charts_stand_out_in_light_and_dark(opened: Any, scheme: str) -> None:
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    opened.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    colours = opened.execute_script(
        """const at = (selector, property) => getComputedStyle(document.querySelector(selector))[property];
        return {paper: at('body', 'backgroundColor'), text: at('body', 'color'), chart: at('svg text', 'fill')};"""
    )
    light = {name: luminance(colour) for name, colour in colours.items()}
    assert (light["paper"] > 0.5) == (scheme == "light")
    for name in ("text", "chart"):
        high, low = sorted((light[name], light["paper"]), reverse=True)
        assert (high + 0.05) / (low + 0.05) > 7  # the contrast that WCAG calls enhanced


def luminance(colour: str) -> float:
    """WCAG's relative luminance of ``rgb(r, g, b)``."""
    channels = [int(part) / 255 for part in colour.removeprefix("rgb(").rstrip(")").split(",")]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return sum(weight * c for weight, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
