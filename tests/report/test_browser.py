"""The page in a real browser: charts, filters, links, files, keyboard, phone, dark and print; nothing is fetched."""

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

pytestmark = pytest.mark.slow

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
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1300,1400"):
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
        options = "\nA. 甲\nB. 乙\nC. 丙\nD. 丁\n答案："
        texts = [f"第{number}题 {'稀有' if number == 77 else '常见'} {HOSTILE}{options}" for number in range(130)]
        texts[5] = f"=1+1{options}"
        write_results(folder / f"run{seed}", TASKS)
        write_samples(folder / f"run{seed}", TASKS, seed=seed, texts=texts)
    runs = [str(folder / "run1"), str(folder / "run2")]
    assert cli.main(["report", *runs, "-o", str(folder / "page.html")]) == 0
    return folder / "page.html"


@pytest.fixture
def opened(browser: Any, page: Path) -> Any:
    for log in ("browser", "performance"):
        browser.get_log(log)
    browser.get("about:blank")  # else a page that differs by what stands behind # is not opened anew
    browser.get(page.as_uri())
    wait_for(browser, "250 questions")
    return browser


@pytest.fixture
def phone(opened: Any) -> Iterator[Any]:
    size = {"width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": True}
    opened.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    opened.refresh()
    wait_for(opened, "250 questions")
    yield opened
    opened.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


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
    return [item.text for item in browser.find_elements("css selector", "#questions > li")]


def test_the_page_opens_without_a_message_or_a_request(opened: Any, page: Path) -> None:
    assert opened.get_log("browser") == []
    events = [json.loads(entry["message"])["message"] for entry in opened.get_log("performance")]
    asked = {event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"}
    assert asked == {page.as_uri()}
    assert "taken over" not in opened.title


def shown(browser: Any, selector: str) -> list[Any]:
    return [element for element in browser.find_elements("css selector", selector) if element.is_displayed()]


def test_charts_are_there_and_have_a_size(opened: Any) -> None:
    charts = shown(opened, ".chart svg")
    # One chart of categories, one of subjects, and for each run calibration and margins.
    assert len(charts) == 1 + 1 + 2 * 2
    for chart in charts:
        assert chart.size["width"] > 200
        assert chart.size["height"] > 90
    for figure in opened.find_elements("css selector", "figure.chart"):
        assert figure.get_attribute("aria-label")
    assert not opened.find_elements("css selector", "svg img, svg image, svg foreignObject")


@pytest.mark.parametrize("size", ["desktop", "phone"])
def test_no_label_of_a_chart_is_cut_off(opened: Any, size: str, request: pytest.FixtureRequest) -> None:
    if size == "phone":
        request.getfixturevalue("phone")
    cut = opened.execute_script(
        """const cut = [];
        for (const svg of document.querySelectorAll('.chart svg')) {
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
    assert "第0题" in first[0]
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
    choose(opened, "subject", "C-Eval: 法学 law")
    wait_for(opened, "40 questions")
    assert all("C-Eval: 法学 law" in text and ", right" in text for text in listed(opened))
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
    factors = [float(text.split(" times as likely")[0].split("· ")[-1]) for text in listed(opened)]
    assert len(factors) == 50
    assert factors == sorted(factors)
    choose(opened, "outcome", "answered otherwise by another run")
    count = int(opened.find_element("id", "count").text.split()[0])
    rows = opened.find_elements("css selector", "#changes td.number")
    assert rows
    listed_changes = opened.execute_script(
        "return [...document.querySelectorAll('#changes table')].at(-1).tBodies[0].rows.length"
    )
    assert count == listed_changes


def test_a_question_marks_its_options_with_what_each_is_given(opened: Any) -> None:
    choose(opened, "outcome", "wrong")
    first = opened.find_element("css selector", "#questions > li")
    options = first.find_elements("css selector", ".options li")
    assert [option.find_element("css selector", ".text").text for option in options] == ["甲", "乙", "丙", "丁"]
    tags = [option.find_element("css selector", ".tags").text for option in options]
    assert sorted(tag for tag in tags if tag) == ["right", "said"]
    names = [option.find_element("css selector", ".name").text for option in options]
    said, right = names[tags.index("said")], names[tags.index("right")]
    assert f"said {said}, wrong (right: {right})" in first.text
    shares = [float(option.find_element("css selector", ".share").text.removesuffix(" %")) for option in options]
    assert sum(shares) == pytest.approx(100, abs=0.3)
    assert max(shares) == shares[tags.index("said")]


def test_the_whole_prompt_is_folded_until_asked_for(opened: Any) -> None:
    details = opened.find_element("css selector", "#questions details")
    assert "指示" not in details.text
    details.find_element("css selector", "summary").click()
    end = time.monotonic() + 5
    while "指示" not in details.text and time.monotonic() < end:
        time.sleep(0.05)
    assert details.find_element("css selector", "pre").text.startswith("指示\n\n第0题")
    assert details.find_element("css selector", "pre").text.endswith("D. 丁\n答案：")


def test_a_link_opens_its_question(opened: Any, page: Path) -> None:
    opened.get("about:blank")
    opened.get(f"{page.as_uri()}#question-1-{LOGIC}-77")
    wait_for(opened, "130 questions, page 2 of 3")
    focused = opened.switch_to.active_element
    assert focused.get_attribute("id") == f"question-1-{LOGIC}-77"
    assert "第77题" in focused.text
    link = focused.find_element("css selector", ".facts a")
    assert link.get_attribute("href").endswith(f"#question-1-{LOGIC}-77")
    assert opened.execute_script("return document.getElementById('run').value") == "1"


@pytest.mark.parametrize("name", [f"question-0-{LAW}-9999", "question-7-nothing-1", "subject-0-nothing"])
def test_a_link_to_no_question_says_so(opened: Any, page: Path, name: str) -> None:
    opened.get("about:blank")
    opened.get(f"{page.as_uri()}#{name}")
    wait_for(opened, f"This page has no question {name}.")


def test_a_subject_leads_to_its_questions(opened: Any) -> None:
    table = opened.find_element("css selector", "table.subjects")
    links = {link.text: link for link in table.find_elements("css selector", "a")}
    assert set(links) == {"法学 law", "法学 logic"}
    links["法学 law"].click()
    wait_for(opened, "120 questions")
    in_chart = shown(opened, ".chart svg a")
    assert [link.get_attribute("aria-label").split(".")[0] for link in in_chart] == ["法学 logic", "法学 law"]
    in_chart[0].click()
    wait_for(opened, "130 questions")
    assert all("法学 logic" in text for text in listed(opened))


def test_a_chart_tells_its_values_under_the_pointer_and_by_keyboard(opened: Any) -> None:
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    tip = opened.find_element("css selector", ".tip")
    assert not tip.is_displayed()
    first, second = shown(opened, ".chart svg a")
    opened.execute_script("arguments[0].scrollIntoView({block: 'center'})", first)
    ActionChains(opened).move_to_element(first).perform()
    assert tip.is_displayed()
    assert "Baichuan-7B (run1): 53.8 % (45.3–62.2), 70 of 130 right; Baichuan-7B (run2)" in tip.text
    ActionChains(opened).send_keys(Keys.ESCAPE).perform()
    assert not tip.is_displayed()
    # One stop of Tab for a chart; arrows go from mark to mark.
    assert [mark.get_attribute("tabindex") for mark in (first, second)] == ["0", "-1"]
    opened.execute_script("arguments[0].focus()", first)
    ActionChains(opened).send_keys(Keys.ARROW_DOWN).perform()
    assert opened.switch_to.active_element == second
    assert "法学 law. " in tip.text
    ActionChains(opened).send_keys(Keys.ENTER).perform()
    wait_for(opened, "120 questions")
    points = shown(opened, "#categories [role='graphics-symbol'][aria-label]")
    opened.execute_script("arguments[0].focus()", points[0])
    assert tip.is_displayed()
    assert points[0].get_attribute("aria-label") == tip.text


def test_the_filtered_list_is_a_file_that_runs_no_formula(opened: Any, tmp_path: Path) -> None:
    import csv

    opened.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(tmp_path)})
    choose(opened, "subject", "C-Eval: 法学 law")
    wait_for(opened, "120 questions")
    opened.find_element("id", "csv").click()
    file, end = tmp_path / "questions.csv", time.monotonic() + 10
    while not file.is_file() and time.monotonic() < end:
        time.sleep(0.05)
    with file.open(encoding="utf-8-sig", newline="") as text:
        rows = list(csv.DictReader(text))
    assert len(rows) == 120
    assert [row["number"] for row in rows] == [str(number) for number in range(120)]
    assert {row["task"] for row in rows} == {LAW}
    assert sum(row["outcome"] == "right" for row in rows) == 40
    for row in rows:
        shares = {label: float(row[f"p({label})"]) for label in "ABCD"}
        assert max(shares, key=shares.__getitem__) == row["said"]
        assert sum(shares.values()) == pytest.approx(1, abs=1e-3)
    assert rows[5]["question"].startswith("'=1+1\n")
    assert rows[0]["question"].startswith("第0题")
    assert HOSTILE in rows[0]["question"]


def test_the_table_of_subjects_sorts_by_keyboard(opened: Any) -> None:
    from selenium.webdriver.common.keys import Keys

    table = opened.find_element("css selector", "table.subjects")

    def first_column() -> list[str]:
        return [cell.text for cell in table.find_elements("css selector", "tbody th")]

    assert first_column() == ["法学 logic", "法学 law"]
    buttons = table.find_elements("css selector", "th button")
    buttons[0].send_keys(Keys.ENTER)
    assert first_column() == ["法学 law", "法学 logic"]
    assert table.find_element("css selector", "th").get_attribute("aria-sort") == "ascending"
    buttons[2].send_keys(Keys.SPACE)
    assert first_column() == ["法学 law", "法学 logic"]
    buttons[2].send_keys(Keys.SPACE)
    assert first_column() == ["法学 logic", "法学 law"]


def test_a_phone_scrolls_tables_and_not_the_page(phone: Any) -> None:
    phone.execute_script("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
    assert phone.execute_script("return document.documentElement.scrollWidth") <= 360


def test_a_phone_shows_score_and_verdict_without_scrolling(phone: Any) -> None:
    """Each table's verdicts are within the screen's width, in rows that leave room for others."""
    assert len(shown(phone, ".summary td.verdict")) == 2
    verdicts = shown(phone, "td.verdict")
    assert len(verdicts) == 2 + 2 * 2  # the summary's, and of each run average and category
    for verdict in verdicts:
        box = phone.execute_script("const b = arguments[0].getBoundingClientRect(); return [b.left, b.right]", verdict)
        assert 0 <= box[0] < box[1] <= 360
    first = shown(phone, ".summary td.verdict")[0]
    assert first.rect["y"] + first.rect["height"] < 740  # on the first screen
    heights = [verdict.find_element("xpath", "..").size["height"] for verdict in verdicts[2:]]
    assert max(heights) < 80


def test_a_desktop_is_used_in_its_full_width(opened: Any) -> None:
    width = opened.execute_script("return document.documentElement.clientWidth")
    assert opened.find_element("css selector", ".summary").size["width"] > 0.9 * width
    chart, table = shown(opened, "#subjects figure")[0], shown(opened, "table.subjects")[0]
    assert table.rect["x"] > chart.rect["x"] + chart.rect["width"] - 1  # beside each other


def test_paper_has_all_that_is_folded_and_no_buttons(opened: Any) -> None:
    opened.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    paper = {"width": 720, "height": 1020, "deviceScaleFactor": 1, "mobile": False}
    opened.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", paper)
    try:
        opened.execute_script("dispatchEvent(new Event('beforeprint'))")
        assert not shown(opened, ".filters, .pages, nav")
        assert shown(opened, "table.confusion")
        assert opened.execute_script("return getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        assert opened.execute_script("return document.documentElement.scrollWidth") <= 720
    finally:
        opened.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        opened.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_and_charts_stand_out_in_light_and_dark(opened: Any, scheme: str) -> None:
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    opened.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    colours = opened.execute_script(
        """const at = (selector, property) => getComputedStyle(document.querySelector(selector))[property];
        return {paper: at('body', 'backgroundColor'), text: at('body', 'color'), chart: at('.chart text', 'fill')};"""
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
