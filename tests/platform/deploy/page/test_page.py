"""The page in a real browser, with real clicks, drops and uploads, on real files that the plugins read."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from browser import chrome, every, one, reach, screen, text, wait
from page_service import FINDINGS, PAGE, QUERY, Service, finding, serving
from polyclinic.modality import Modality, installed_modalities
from polyclinic.modality.physiology import Patient

_BEHIND = """
const parts = (colour) => { const n = colour.match(/[0-9.]+/g).map(Number); return [...n.slice(0, 3), n[3] ?? 1]; };
const over = (top, under) => [0, 1, 2].map((i) => top[i] * top[3] + under[i] * (1 - top[3])).concat(1);
const light = (c) => { const s = c.slice(0, 3).map((v) => v / 255).map(
  (v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  return 0.2126 * s[0] + 0.7152 * s[1] + 0.0722 * s[2]; };
const ground = (one) => one === null ? [255, 255, 255, 1]
  : over(parts(getComputedStyle(one).backgroundColor), ground(one.parentElement));
const found = [];
const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walk.nextNode()) {
  const holder = walk.currentNode.parentElement;
  if (!walk.currentNode.textContent.trim() || !holder.checkVisibility() || holder.closest(".unseen, noscript, option"))
    continue;
  const behind = ground(holder);
  const [a, b] = [light(over(parts(getComputedStyle(holder).color), behind)), light(behind)];
  const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  if (contrast < 4.5) found.push(`${walk.currentNode.textContent.trim()} ${contrast.toFixed(2)}`);
}
return found;
"""


@pytest.fixture(scope="module")
def plugins(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Modality]:
    fitted = {name: plugin() for name, plugin in installed_modalities().items() if plugin.in_phantom}
    folder = tmp_path_factory.mktemp("training")
    for name in ("tabular", "report"):
        fitted[name].fit(
            [fitted[name].read(phantom(fitted[name], seed, folder / f"{name}{seed}")) for seed in range(12)]
        )
    return fitted


@pytest.fixture(scope="module")
def files(plugins: dict[str, Modality], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Write one synthetic study; the ECG's samples are beside its header."""
    folder = tmp_path_factory.mktemp("study")
    return {name: phantom(plugin, 5, folder / name) for name, plugin in plugins.items()}


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    with chrome(tmp_path_factory.mktemp("browser")) as driver:
        yield driver


@pytest.fixture
def service(plugins: dict[str, Modality]) -> Iterator[Service]:
    with serving(plugins) as service:
        yield service


@pytest.fixture
def browser(chromium: webdriver.Chrome, service: Service) -> Iterator[webdriver.Chrome]:
    """Open the page, and check afterwards that the browser logged no error, such as a script that its policy blocks."""
    chromium.get_log("browser")
    screen(chromium, 1280, "light")
    chromium.get(service.address)
    wait(lambda: text(chromium, "bundle") != "Loading the model ...")
    yield chromium
    messages = [entry["message"] for entry in chromium.get_log("browser") if "status of" not in entry["message"]]
    assert not messages


def phantom(plugin: Modality, seed: int, path: Path) -> Path:
    patient = Patient(np.random.default_rng(seed))
    return plugin.phantom(patient.visit(np.random.default_rng(seed)), np.random.default_rng(seed), path)


def every_file(files: dict[str, Path]) -> list[Path]:
    return [*files.values(), files["ecg"].with_suffix(".dat")]


def upload(browser: webdriver.Chrome, service: Service, paths: list[Path]) -> None:
    """Choose files, and wait until the page lists them."""
    one(browser, "#chosen").send_keys("\n".join(map(str, paths)))
    wait_for_answer(browser, service)


def wait_for_answer(browser: webdriver.Chrome, service: Service, requests: int | None = None) -> None:
    wait(lambda: requests is None or len(service.asked) >= requests)
    wait(lambda: re.match(r"\d+ findings", text(browser, "status")))


def click(browser: webdriver.Chrome, service: Service, selector: str) -> None:
    requests = len(service.asked)
    reach(browser, selector).click()
    wait_for_answer(browser, service, requests + 1)


def shown_findings(browser: webdriver.Chrome) -> list[tuple[str, str, str]]:
    """Return name, number and decision, from top to bottom."""
    parts = (".label", ".number", ".badge")
    rows = every(browser, ".finding")
    return [tuple(row.find_element(By.CSS_SELECTOR, part).text for part in parts) for row in rows]  # type: ignore[misc]


def expected_findings(used: list[str]) -> list[tuple[str, str, str]]:
    """Return the findings of the service, the most probable first and those without a probability last."""
    record = sorted((finding(name, used) for name in FINDINGS), key=lambda row: -(row["probability"] or -1))
    return [(readable_name(row["name"]), shown_number(row), row["decision"] or "no decision") for row in record]


def shown_number(row: dict[str, Any]) -> str:
    if row["probability"] is None:
        return f"score {row['score']:+.2f}".replace("-", "\N{MINUS SIGN}")
    return percent(row["probability"])


def percent(share: float) -> str:
    if share < 0.01:
        return "<1 %"
    return ">99 %" if share > 0.99 else f"{int(100 * share + 0.5)} %"


def readable_name(name: str) -> str:
    return name.replace("_", " ").capitalize()


def test_a_study_is_uploaded_viewed_and_scored(
    browser: webdriver.Chrome, service: Service, files: dict[str, Path]
) -> None:
    assert "not a medical device" in text(browser, "banner")
    assert text(browser, "status") == "No study yet."
    upload(browser, service, every_file(files))
    parts = [(name, filename) for name, filename, _ in service.asked[0]["parts"]]
    assert set(parts) == {
        ("files", "xray.dcm"), ("ecg", "ecg.hea"), ("ecg", "ecg.dat"), ("audio", "audio.wav"),
        ("files", "tabular.csv"), ("report", "report.txt"),
    }  # fmt: skip
    stored = {path.name: path.read_bytes() for path in every_file(files)}
    assert {filename: content for _, filename, content in service.asked[0]["parts"]} == stored
    assert service.asked[0]["query"] == {"views": "true"}
    assert shown_findings(browser) == expected_findings(list(QUERY))
    kinds = {card.get_attribute("data-modality"): card.get_attribute("class") for card in every(browser, ".card")}
    assert kinds == {
        "xray": "card picture", "ecg": "card traces", "audio": "card picture", "tabular": "card rows",
        "report": "card words",
    }  # fmt: skip
    picture = one(browser, '[data-modality="xray"] img')
    assert browser.execute_script("return arguments[0].naturalWidth", picture) == 224
    assert "no VOI window" in one(browser, '[data-modality="xray"] figcaption').text
    assert "25 mm/s, 10 mm/mV" in one(browser, '[data-modality="ecg"] figcaption').text
    assert one(browser, '[data-modality="ecg"] canvas').get_attribute("aria-label").startswith("I, II, III, aVR")
    labs = [row.text for row in every(browser, '[data-modality="tabular"] tbody tr')]
    assert len(labs) == 18
    assert one(browser, ".card .text").text.split() == files["report"].read_text().split()


def test_bars_intervals_and_thresholds_are_drawn_at_their_values(
    browser: webdriver.Chrome, service: Service, files: dict[str, Path]
) -> None:
    upload(browser, service, every_file(files))
    for row in every(browser, ".finding"):
        record = finding(str(row.get_attribute("data-finding")), list(QUERY))
        parts = browser.execute_script(
            "const bar = arguments[0].querySelector('.bar'); const all = bar.getBoundingClientRect();"
            "return Object.fromEntries([...bar.children].map((part) => { const r = part.getBoundingClientRect();"
            "return [part.className.split(' ')[0], [(r.left - all.left - 1) / (all.width - 2), "
            "(r.right - all.left - 1) / (all.width - 2)]]; }))",
            row,
        )
        if record["probability"] is None:
            assert parts == {}
            continue
        assert parts["fill"] == pytest.approx([0, record["probability"]], abs=0.005)
        assert parts["interval"] == pytest.approx(record["interval"], abs=0.006)
        assert parts["threshold"][0] == pytest.approx(0.4, abs=0.005)


def test_a_switched_off_modality_is_left_out_and_the_change_is_reported(
    browser: webdriver.Chrome, service: Service, files: dict[str, Path]
) -> None:
    upload(browser, service, every_file(files))
    click(browser, service, '[role="switch"][name="ecg"]')
    last = service.asked[-1]
    assert last["query"] == {"views": "false"}
    assert {name for name, _, _ in last["parts"]} == {"xray", "audio", "tabular", "report"}
    remaining = [name for name in QUERY if name != "ecg"]
    assert shown_findings(browser) == expected_findings(remaining)
    for row in every(browser, ".finding"):
        complete = finding(str(row.get_attribute("data-finding")), list(QUERY))
        assert row.find_element(By.CLASS_NAME, "change").text == f"{shown_number(complete)} with all modalities"
    assert one(browser, '[data-modality="ecg"]').get_attribute("class") == "card traces off"
    click(browser, service, '[role="switch"][name="ecg"]')
    assert shown_findings(browser) == expected_findings(list(QUERY))
    assert not every(browser, ".change")


def test_the_last_modality_cannot_be_switched_off(
    browser: webdriver.Chrome, service: Service, files: dict[str, Path]
) -> None:
    upload(browser, service, [files["audio"], files["tabular"]])
    assert not one(browser, '[name="xray"]').is_enabled()
    click(browser, service, '[role="switch"][name="audio"]')
    assert not one(browser, '[name="tabular"]').is_enabled()
    assert one(browser, '[name="audio"]').is_enabled()


def test_relevance_of_a_finding_is_drawn_over_every_view(
    browser: webdriver.Chrome, service: Service, files: dict[str, Path]
) -> None:
    upload(browser, service, every_file(files))
    ink = "const c = document.querySelector('.traces canvas'); return c.toDataURL()"
    before = browser.execute_script(ink)
    click(browser, service, f'[data-finding="{FINDINGS[2]}"]')
    assert service.asked[-1]["query"] == {"views": "false", "explain": FINDINGS[2]}
    with_heat = browser.execute_script(ink)
    assert with_heat != before
    raw = service.plugins["xray"].read(files["xray"])
    strength = np.array(service._relevance("xray", raw, FINDINGS[2])["strength"])
    canvas = "const c = document.querySelector('[data-modality=xray] .heat');"
    drawn = browser.execute_script(canvas + "return [...c.getContext('2d').getImageData(0, 0, c.width, c.height).data]")
    opacity = np.array(drawn).reshape(*strength.shape, 4)[:, :, 3] / 255
    np.testing.assert_allclose(opacity, strength * 0.75, atol=0.005)
    canvas_box = browser.execute_script(
        canvas + "const r = c.getBoundingClientRect(); return [r.x, r.y, r.width, r.height]"
    )
    image = one(browser, "[data-modality=xray] img")
    image_box = browser.execute_script(
        "const r = arguments[0].getBoundingClientRect(); return [r.x, r.y, r.width, r.height]", image
    )
    assert canvas_box == pytest.approx(image_box, abs=1)
    assert len(every(browser, '[data-modality="tabular"] tr.lit')) > 3
    assert one(browser, "#evidence").text == service.bundle()["evidence"]
    shares = [row.text.split()[-1] for row in every(browser, ".details tbody tr")]
    record = finding(FINDINGS[2], list(QUERY))["contributions"]
    assert shares == [f"{value:+.2f}".replace("-", "\N{MINUS SIGN}") for value in sorted(record.values(), reverse=True)]
    reach(browser, "#heat").click()
    wait(lambda: browser.execute_script(ink) == before)
    assert not every(browser, ".heat, .lit, .card mark")
    assert not one(browser, "#evidence").is_displayed()


def test_a_folder_can_be_dropped_anywhere(browser: webdriver.Chrome, service: Service, files: dict[str, Path]) -> None:
    drop = {"x": 900, "y": 500, "data": {"items": [], "files": [str(files["ecg"].parent)], "dragOperationsMask": 1}}
    for kind in ("dragEnter", "dragOver", "drop"):
        browser.execute_cdp_cmd("Input.dispatchDragEvent", {"type": kind, **drop})
    wait_for_answer(browser, service, 1)
    assert {filename for _, filename, _ in service.asked[0]["parts"]} == {path.name for path in every_file(files)}
    assert shown_findings(browser) == expected_findings(list(QUERY))


def test_a_folder_of_many_studies_is_not_sent(browser: webdriver.Chrome, service: Service, tmp_path: Path) -> None:
    for number in range(1001):
        (tmp_path / f"{number}.csv").touch()
    one(browser, "#chosen").send_keys("\n".join(map(str, tmp_path.iterdir())))
    wait(lambda: text(browser, "problem") == "Got 1001 files, expected those of one study: 1000 at most.")
    assert service.asked == []
    assert not every(browser, "#files li")


def test_a_token_is_asked_for_and_stored_only_in_memory(
    browser: webdriver.Chrome, service: Service, files: dict[str, Path]
) -> None:
    service.token = "s3cret"
    browser.refresh()
    wait(lambda: one(browser, "#token").is_displayed())
    assert browser.switch_to.active_element == one(browser, "#token")
    assert not one(browser, "#refused").is_displayed()
    browser.switch_to.active_element.send_keys("wrong", Keys.ENTER)
    wait(lambda: one(browser, "#token").get_attribute("value") == "")
    wait(lambda: one(browser, "#refused").is_displayed())
    assert one(browser, "#token").is_displayed()
    one(browser, "#token").send_keys("s3cret", Keys.ENTER)
    wait(lambda: text(browser, "bundle") == "phantom 0.2.0")
    assert not one(browser, "#token").is_displayed()
    upload(browser, service, [files["audio"]])
    assert service.asked[-1]["token"] == "Bearer s3cret"
    storage = browser.execute_script(
        "return JSON.stringify([document.cookie, location.href, {...localStorage}, {...sessionStorage}, "
        "document.documentElement.outerHTML])"
    )
    assert "s3cret" not in storage
    browser.refresh()
    wait(lambda: one(browser, "#token").is_displayed())


def test_a_request_for_the_token_does_not_lose_the_pending_explanation(
    browser: webdriver.Chrome, service: Service, files: dict[str, Path]
) -> None:
    upload(browser, service, [files["audio"], files["tabular"]])
    service.token = "s3cret"
    one(browser, f'[data-finding="{FINDINGS[0]}"]').click()
    wait(lambda: one(browser, "#token").is_displayed())
    one(browser, "#token").send_keys("s3cret", Keys.ENTER)
    wait(lambda: "evidence for" in text(browser, "status"))
    assert service.asked[-1]["query"] == {"views": "false", "explain": FINDINGS[0]}


def test_the_message_of_a_refusal_is_shown_and_the_request_can_be_repeated(
    browser: webdriver.Chrome, service: Service, files: dict[str, Path]
) -> None:
    service.refusal = (413, "got 300 MB, expected at most 200 MB; set `max_bytes`")
    one(browser, "#chosen").send_keys(str(files["audio"]))
    wait(lambda: text(browser, "problem") == service.refusal[1])  # type: ignore[index]
    assert not every(browser, ".finding, .card")
    service.refusal = None
    click(browser, service, "#again")
    assert shown_findings(browser) == expected_findings(["audio"])
    assert not one(browser, "#refused").is_displayed()


def test_a_refused_switch_returns_to_the_state_that_is_shown(
    browser: webdriver.Chrome, service: Service, files: dict[str, Path]
) -> None:
    upload(browser, service, [files["audio"], files["tabular"]])
    service.refusal = (503, "busy; try again in a minute")
    one(browser, '[name="audio"]').click()
    wait(lambda: text(browser, "problem") == "busy; try again in a minute")
    assert one(browser, '[name="audio"]').is_selected()
    assert shown_findings(browser) == expected_findings(["audio", "tabular"])
    service.refusal = None
    click(browser, service, "#again")
    assert not one(browser, '[name="audio"]').is_selected()
    assert shown_findings(browser) == expected_findings(["tabular"])


def test_of_two_requests_the_last_one_is_shown(
    browser: webdriver.Chrome, service: Service, files: dict[str, Path]
) -> None:
    upload(browser, service, [files["audio"], files["tabular"], files["xray"]])
    service.hold.clear()
    one(browser, '[name="audio"]').click()
    wait(lambda: len(service.asked) == 2)
    one(browser, '[name="tabular"]').click()
    wait(lambda: len(service.asked) == 3)
    service.hold.set()
    wait_for_answer(browser, service)
    assert shown_findings(browser) == expected_findings(["xray"])


def test_nothing_of_a_study_remains_beside_the_next(
    browser: webdriver.Chrome, service: Service, files: dict[str, Path]
) -> None:
    upload(browser, service, [files["audio"], files["tabular"]])
    click(browser, service, f'[data-finding="{FINDINGS[0]}"]')
    service.hold.clear()
    one(browser, "#chosen").send_keys(str(files["xray"]))
    wait(lambda: len(service.asked) == 3)
    assert not every(browser, ".finding, .card")
    service.hold.set()
    wait_for_answer(browser, service)
    assert "explain" not in service.asked[-1]["query"]
    one(browser, "#clear").click()
    assert text(browser, "status") == "No study yet."
    assert not every(browser, ".finding, .card, #files li")
    assert not one(browser, "#modalities-section").is_displayed()


def test_a_file_that_cannot_be_read_is_named_with_its_reason(
    browser: webdriver.Chrome, service: Service, files: dict[str, Path]
) -> None:
    upload(browser, service, [files["ecg"], files["tabular"]])
    record = [item.text for item in every(browser, "#modalities li")]
    assert any("not readable:" in item for item in record if item.startswith("ECG"))
    assert "ecg could not be read" in text(browser, "notes")
    upload(browser, service, [files["ecg"].with_suffix(".dat")])
    wait_for_answer(browser, service, 2)
    wait(lambda: shown_findings(browser) == expected_findings(["ecg", "tabular"]))


def test_a_file_without_a_modality_is_not_sent_until_the_user_chooses_one(
    browser: webdriver.Chrome, service: Service, files: dict[str, Path], tmp_path: Path
) -> None:
    (tmp_path / "notes.pdf").write_bytes(b"%PDF")
    (tmp_path / ".hidden.wav").write_bytes(b"RIFF")
    one(browser, "#chosen").send_keys(f"{tmp_path / 'notes.pdf'}\n{tmp_path / '.hidden.wav'}")
    wait(lambda: text(browser, "status") == "The model does not accept any of these files.")
    assert [item.text for item in every(browser, "#files .name")] == ["notes.pdf"]
    upload(browser, service, [files["audio"], files["tabular"]])
    assert {name for name, _, _ in service.asked[-1]["parts"]} == {"audio", "files"}
    click(browser, service, '[name="audio"]')
    one(browser, '#files select option[value="xray"]').click()
    wait_for_answer(browser, service, 3)
    assert ("xray", "notes.pdf", b"%PDF") in service.asked[-1]["parts"]


def test_a_modality_can_be_set_by_hand(browser: webdriver.Chrome, service: Service, files: dict[str, Path]) -> None:
    upload(browser, service, [files["tabular"], files["audio"]])
    requests = len(service.asked)
    choice = one(browser, "#files li select")
    choice.find_element(By.CSS_SELECTOR, 'option[value="report"]').click()
    wait_for_answer(browser, service, requests + 1)
    assert {name for name, _, _ in service.asked[-1]["parts"]} == {"report", "audio"}
    one(browser, "#files li button").click()
    wait_for_answer(browser, service, requests + 2)
    assert {name for name, _, _ in service.asked[-1]["parts"]} == {"audio"}


def test_markup_in_names_is_shown_as_text(
    browser: webdriver.Chrome, service: Service, files: dict[str, Path], tmp_path: Path
) -> None:
    name = "<img src=x onerror='document.title=1'>.csv"
    (tmp_path / name).write_bytes(files["tabular"].read_bytes())
    # The report plugin converts HTML, but takes text with these tags as it is.
    report = "<img src=x onerror='document.title=2'> <script>document.title=3</script> 1 < 2"
    (tmp_path / "a.txt").write_text(report)
    upload(browser, service, [tmp_path / name, tmp_path / "a.txt"])
    assert one(browser, "#files .name").text == name
    assert one(browser, ".card .text").text == report
    assert browser.title == "phantom: one study"


def test_incomplete_answers_are_drawn_as_far_as_possible(
    browser: webdriver.Chrome, service: Service, files: dict[str, Path]
) -> None:
    def odd(answer: dict[str, Any]) -> None:
        rest = {"interval": None, "threshold": None, "decision": None, "abstained": True, "reason": None}
        more = [("certain", 1.0), ("never", 0.0), ("x" * 80, 0.5), ("unknown", None)]
        answer["findings"] = [{"name": name, "score": -0.5, "probability": p, **rest} for name, p in more]
        answer["modalities"]["ecg"] |= {"gate": None, "distance": None, "limit": None}
        if "views" in answer:
            plain = {
                "kind": "traces",
                "names": ["a", "b"],
                "unit": "V",
                "rate": 10.0,
                "caption": "plain",
                "paper": None,
            }
            answer["views"]["ecg"] = plain | {"values": [[None, None], [0.5, None]]}
            answer["views"]["sonar"] = {"kind": "echo", "caption": "of tomorrow"}
            answer["views"]["tabular"] = {"kind": "rows", "entries": [], "caption": "empty"}
        answer["relevance"] = {
            "xray": {"kind": "grid", "strength": [[0.0]], "across": [0, 1]},
            "ecg": {"kind": "stretches", "strength": [[0.0, 1.0]], "seconds": [-3, 4]},
            "tabular": {"kind": "rows", "strength": []},
            "gone": {"kind": "rows", "strength": [1.0]},
        }

    service.odd = odd
    upload(browser, service, every_file(files))
    x = "X" + 79 * "x"
    assert [(name, message) for name, message, _ in shown_findings(browser)] == [
        ("Certain", "100 %"), (x, "50 %"), ("Never", "0 %"), ("Unknown", "score \N{MINUS SIGN}0.50")
    ]  # fmt: skip
    click(browser, service, '[data-finding="never"]')
    assert one(browser, '[data-modality="sonar"] .hint').text == "This page cannot show it."
    assert one(browser, '[data-modality="xray"] .where').text == "No part of it is evidence for this finding."
    assert one(browser, '[data-modality="ecg"] .where').text == "Strongest around 2.3 s."
    assert not every(browser, '[data-modality="audio"] .where')
    screen(browser, 390, "dark")
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 390
    service.odd = lambda answer: answer.update(findings=[], modalities={}, views={})
    click(browser, service, "#files li button")
    assert text(browser, "status") == "0 findings. None is above its threshold."


def test_everything_can_be_done_from_the_keyboard(
    browser: webdriver.Chrome, service: Service, files: dict[str, Path]
) -> None:
    press = lambda *keys: ActionChains(browser).send_keys(*keys).perform()  # noqa: E731
    press(Keys.TAB)
    assert browser.switch_to.active_element == one(browser, "#chosen")
    upload(browser, service, [files["audio"], files["tabular"]])
    reached = []
    while "Anemia" not in (reached[-1] if reached else ""):
        press(Keys.TAB)
        element = browser.switch_to.active_element
        reached.append(str(element.get_attribute("name") or element.get_attribute("aria-label") or element.text))
        assert len(reached) < 40
        outline = element.value_of_css_property("outline-style")
        assert outline not in ("none", ""), reached[-1]
        if reached[-1] == "audio":
            requests = len(service.asked)
            press(Keys.SPACE)
            wait_for_answer(browser, service, requests + 1)
            assert browser.switch_to.active_element.get_attribute("name") == "audio"
    of_files = [f"{label} {name}" for name in ("audio.wav", "tabular.csv") for label in ("Modality of", "Remove")]
    assert reached[:5] == [*of_files, "Start another study"]
    assert shown_findings(browser) == expected_findings(["tabular"])
    requests = len(service.asked)
    press(Keys.ENTER)
    wait_for_answer(browser, service, requests + 1)
    assert browser.switch_to.active_element.get_attribute("data-finding") == "anemia"
    assert browser.switch_to.active_element.get_attribute("aria-expanded") == "true"
    press(Keys.ENTER)
    wait_for_answer(browser, service, requests + 2)
    assert browser.switch_to.active_element.get_attribute("aria-expanded") == "false"


def test_a_screen_reader_gets_what_is_visible(
    browser: webdriver.Chrome, service: Service, files: dict[str, Path]
) -> None:
    upload(browser, service, every_file(files))
    click(browser, service, f'[data-finding="{FINDINGS[1]}"]')
    tree = browser.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    named: dict[str, list[str]] = {}
    for node in tree:
        if not node.get("ignored"):
            named.setdefault(str(node.get("role", {}).get("value")), []).append(str(node.get("name", {}).get("value")))
    assert named["switch"] == ["Sound", "ECG", "Laboratory values", "X-ray"]
    record = finding(FINDINGS[1], list(QUERY))
    low, high = (percent(end) for end in record["interval"])
    assert (
        f"Pulmonary edema {percent(record['probability'])} {record['decision']} between {low} to {high}"
        in named["button"]
    )
    assert all(name for role in ("button", "combobox", "image", "switch", "checkbox") for name in named[role])
    assert any(name.startswith("224 x 224 pixels") for name in named["image"])
    assert {"Study", "Modalities", "Findings", "What is in the files", "X-ray", "ECG"} <= set(named["heading"])
    assert {"note", "status", "main"} <= set(named)
    assert {"Study", "Findings", "What is in the files"} <= set(named["region"])
    assert "Strongest around" in one(browser, '[data-modality="ecg"] .where').text


@pytest.mark.parametrize("width", [320, 390, 1280])
def test_no_width_needs_horizontal_scrolling_and_the_banner_stays_visible(
    browser: webdriver.Chrome, service: Service, files: dict[str, Path], width: int
) -> None:
    screen(browser, width, "light")
    upload(browser, service, every_file(files))
    click(browser, service, f'[data-finding="{FINDINGS[0]}"]')
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    browser.execute_script("scrollTo(0, document.body.scrollHeight)")
    assert browser.execute_script("return document.getElementById('banner').getBoundingClientRect().top") == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_text_has_enough_contrast(
    browser: webdriver.Chrome, service: Service, files: dict[str, Path], scheme: str
) -> None:
    screen(browser, 1280, scheme)
    upload(browser, service, every_file(files))
    for name in (FINDINGS[0], FINDINGS[5]):
        click(browser, service, f'[data-finding="{name}"]')
        assert browser.execute_script(_BEHIND) == []


def test_the_page_loads_nothing_from_other_hosts(
    browser: webdriver.Chrome, service: Service, files: dict[str, Path]
) -> None:
    upload(browser, service, every_file(files))
    addresses = browser.execute_script("return performance.getEntriesByType('resource').map((one) => one.name)")
    assert {address for address in addresses if not address.startswith((service.address, "data:"))} == set()
    for file in PAGE.iterdir():
        external = re.findall(r"https?://[^\"' ]+", file.read_text())
        assert set(external) <= {"http://www.w3.org/2000/svg"}, file.name


def test_every_module_is_loaded_at_once_and_markup_holds_no_styles() -> None:
    markup = (PAGE / "index.html").read_text()
    modules = {path.name for path in PAGE.glob("*.js")}
    assert set(re.findall(r'modulepreload" href="([^"]+)"', markup)) == modules
    imported = {name for path in PAGE.glob("*.js") for name in re.findall(r'from "\./([^"]+)"', path.read_text())}
    assert imported == modules - {"main.js"}
    assert not re.search(r"\sstyle=|\son\w+=|<style|<script>", markup)
    assert not any("innerHTML" in path.read_text() for path in PAGE.glob("*.js"))


def test_the_page_takes_its_modalities_from_the_service() -> None:
    names = re.compile("|".join(rf"['\"]{name}['\"]" for name in installed_modalities()))
    assert not [path.name for path in PAGE.iterdir() if names.search(path.read_text())]


ESTIMATES: list[dict[str, Any]] = [
    {
        "name": "left_function", "unit": "%", "levels": [], "value": 41.234, "level": None, "interval": [35.06, 47.4],
        "abstained": False, "reason": None, "contributions": {"xray": -3.5, "ecg": 1.25}, "error": [4.0, 3.0, 5.5],
    },
    {
        "name": "grade", "unit": "", "levels": ["none", "mild", "severe"], "value": 1.2, "level": "mild",
        "interval": [0.4, 2.0], "abstained": True, "reason": "validation is too small", "contributions": {"xray": 0.7},
        "error": None,
    },
]  # fmt: skip


def test_estimates_are_shown_beside_the_findings_with_unit_and_interval(
    browser: webdriver.Chrome, service: Service, files: dict[str, Path]
) -> None:
    service.odd = lambda answer: answer.update(estimates=ESTIMATES)
    upload(browser, service, every_file(files))
    assert text(browser, "status").endswith("2 estimates. 1 not reliable.")
    parts = (".label", ".number", ".badge", ".range")
    rows = every(browser, "#estimates .finding")
    shown = [[" ".join(row.find_element(By.CSS_SELECTOR, part).text.split()) for part in parts] for row in rows]
    assert [tuple(row) for row in shown] == [
        ("Left function", "41.2 %", "estimate", "between 35.1 to 47.4 %"),
        ("Grade", "mild", "not reliable", "between none to severe"),
    ]
    widths = browser.execute_script(
        "const bar = document.querySelector('#estimates .bar'); const all = bar.getBoundingClientRect().width - 2;"
        "return [...bar.children].map((part) => part.getBoundingClientRect().width / all)"
    )
    assert widths == pytest.approx([0.6, 0.8], abs=0.006)
    assert len(every(browser, "#findings .finding")) == len(FINDINGS)
    click(browser, service, '[data-finding="grade"]')
    assert service.asked[-1]["query"] == {"views": "false", "explain": "grade"}
    assert "Not reliable: validation is too small." in one(browser, ".details").text
    assert "in levels" in one(browser, ".details caption").text
    click(browser, service, '[data-finding="left_function"]')
    detail = one(browser, ".details").text
    assert "Mean absolute error 4 % (95 %: 3 to 5.5) on validation studies with these modalities." in detail
    assert [row.text.split()[-1] for row in every(browser, ".details tbody tr")] == ["+1.25", "\N{MINUS SIGN}3.50"]
    assert browser.execute_script(_BEHIND) == []


def test_a_head_without_findings_shows_its_estimates_alone(
    browser: webdriver.Chrome, service: Service, files: dict[str, Path]
) -> None:
    service.odd = lambda answer: answer.update(findings=[], estimates=ESTIMATES[:1])
    one(browser, "#chosen").send_keys(str(files["xray"]))
    wait(lambda: text(browser, "status") == "1 estimate.")
    assert not one(browser, "#scored").is_displayed()
    assert one(browser, "#estimates").is_displayed()
