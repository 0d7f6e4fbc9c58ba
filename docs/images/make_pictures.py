"""Make the pictures of the documentation, and the outputs of the notebook: ``python docs/images/make_pictures.py``.

The tutorials that show pictures are run, a model is trained on synthetic patients for about two minutes, and its page
is opened in Chromium. The developer tools of ``make test`` are needed.
"""

import base64
import io
import re
import sys
import tempfile
from contextlib import chdir
from pathlib import Path

import nbformat
from PIL import Image
from selenium import webdriver
from selenium.webdriver.common.keys import Keys

# The helpers of the tests are not installed.
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests" / "support"))

from browser import chrome, reach, screen, text, wait
from forked_commands import run_forked
from service_process import TOKEN, serving
from tutorial_pages import made_pictures, run_notebook, run_page

HERE = Path(__file__).resolve().parent
TUTORIALS = HERE.parent / "tutorials"
NOTEBOOK_PAGE = "hospital-page"
STUDIES, SEED = 1000, 0
MODALITIES = ("xray", "ecg", "audio", "tabular")
FINDINGS = (
    "cardiomegaly", "pulmonary_edema", "pleural_effusion", "atrial_fibrillation", "airway_obstruction",
    "renal_impairment", "anemia",
)  # fmt: skip
STUDY, EXPLAINED = "S000293", "cardiomegaly"  # a test study with every modality, both decisions and an abstention
DESKTOP, PHONE = 1280, 390
MARGIN = 12
COLOURS = 128
LARGER = {
    "masked-transfer-probe": {
        "--studies 200": "--studies 1000",
        "max_epochs: 15, check_val_every_n_epoch: 15": "max_epochs: 100, check_val_every_n_epoch: 100",
    }
}
"""Sizes of a real result, by tutorial, in place of those that its tests run."""

CONFIG = f"""
model: {{class_path: Downstream, init_args: {{size: pico, lr: 4.0e-3}}}}
data:
  cohort: cohort/cohort.yaml
  labels: [{", ".join(FINDINGS)}]
  batch_size: 64
  modalities:
    xray: {{class_path: XRay, init_args: {{size: 64, patch: 16, stem: conv}}}}
    ecg: {{class_path: ECG, init_args: {{patch: 25, stem: conv, noise: 0.0}}}}
    audio: {{class_path: Audio, init_args: {{patch: 16, noise: 0.0}}}}
    tabular: {{class_path: Tabular}}
trainer: {{accelerator: cpu, max_epochs: 10, check_val_every_n_epoch: 5}}
"""


def main() -> int:
    """Write every picture and the notebook."""
    with tempfile.TemporaryDirectory() as place:
        run_tutorials(Path(place))
        train_bundle(Path(place, "service"))
        draw_service(Path(place, "service"))
    return 0


def run_tutorials(place: Path) -> None:
    """Run the tutorials that make pictures, and the notebook."""
    for page in sorted(TUTORIALS.glob("*.md")):
        content = page.read_text(encoding="utf-8")
        if "../images/" not in content:
            continue
        for small, large in LARGER.get(page.stem, {}).items():
            assert small in content, f"{page.name} has no {small!r}"
            content = content.replace(small, large)
        copy = place / page.name
        copy.write_text(content, encoding="utf-8")
        run_page(copy, place / page.stem)
        for name, picture in made_pictures(copy, place / page.stem).items():
            shrink(Image.open(picture)).save(HERE / name, optimize=True)
    fill_notebook(place / NOTEBOOK_PAGE)


def fill_notebook(folder: Path) -> None:
    """Run the notebook in the folder of its tutorial, and store its outputs."""
    path = TUTORIALS / "notebook.ipynb"
    notebook = run_notebook(path, folder)
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # times, which differ in every run
        for output in cell.get("outputs", []):
            if picture := output.get("data", {}).get("image/png"):
                stored = io.BytesIO()
                shrink(Image.open(io.BytesIO(base64.b64decode(picture)))).save(stored, "PNG", optimize=True)
                output["data"]["image/png"] = base64.b64encode(stored.getvalue()).decode("ascii")
    nbformat.write(notebook, path)


def train_bundle(folder: Path) -> None:
    """Train a model on a phantom cohort, and export it."""
    folder.mkdir()
    with chdir(folder):
        Path("head.yaml").write_text(CONFIG)
        kinds = f"[{', '.join(MODALITIES)}]"
        polyclinic("cohort", "phantom", "cohort", "--studies", STUDIES, "--seed", SEED, "--modalities", kinds)
        polyclinic("fit", "-c", "head.yaml")
        checkpoint = next(Path("runs").glob("*/*/checkpoints/best.ckpt"))
        polyclinic("bundle", "export", checkpoint, "--out", "bundle", "--name", "phantom", "--no-baseline")


def draw_service(folder: Path) -> None:
    """Serve the bundle of a folder, and take pictures of its page with one study."""
    cohort = folder / "cohort"
    files = [part for name in MODALITIES for part in sorted((cohort / name).glob(f"{STUDY}.*"))]
    with serving(folder / "bundle", folder / "log") as service, chrome(folder / "browser") as browser:
        screen(browser, DESKTOP, "light")
        upload(browser, service.address, files)
        study = photograph(browser, DESKTOP, "body", '[data-modality="ecg"], #findings-section')
        shrink(study).save(HERE / "service.png", optimize=True)
        screen(browser, PHONE, "light")
        upload(browser, service.address, files)
        reach(browser, f'[data-finding="{EXPLAINED}"]').click()
        wait(lambda: "evidence for" in text(browser, "status"))
        findings = photograph(browser, PHONE, "#findings-section", "#findings-section")
        shrink(findings).save(HERE / "service-phone.png", optimize=True)


def polyclinic(*words: object) -> None:
    """Run a command in the working folder.

    Raises:
        RuntimeError: it fails; the message is its output.
    """
    result = run_forked(list(map(str, words)))
    if result.returncode:
        raise RuntimeError(f"polyclinic {words}: {result.stdout}{result.stderr}")


def upload(browser: webdriver.Chrome, address: str, files: list[Path]) -> None:
    """Open the page, and give it the token and the files of a study."""
    browser.get(address)
    wait(lambda: browser.find_element("id", "token").is_displayed())
    browser.find_element("id", "token").send_keys(TOKEN, Keys.ENTER)
    wait(lambda: "phantom" in text(browser, "bundle"))
    browser.find_element("id", "chosen").send_keys("\n".join(map(str, files)))
    wait(lambda: re.match(r"\d+ findings", text(browser, "status")))


def photograph(browser: webdriver.Chrome, width: int, first: str, last: str) -> Image.Image:
    """Return the page from the top of an element to the bottom of the lowest of others, which selectors name."""
    browser.execute_script("document.activeElement.blur(); window.scrollTo(0, 0)")
    top = browser.execute_script("return document.querySelector(arguments[0]).getBoundingClientRect().top", first)
    bottom = browser.execute_script(
        "return Math.max(...[...document.querySelectorAll(arguments[0])].map((e) => e.getBoundingClientRect().bottom))",
        last,
    )
    start = max(0, top - MARGIN)
    clip = {"x": 0, "y": start, "width": width, "height": bottom + MARGIN - start, "scale": 1}
    shot = browser.execute_cdp_cmd("Page.captureScreenshot", {"clip": clip, "captureBeyondViewport": True})
    return Image.open(io.BytesIO(base64.b64decode(shot["data"])))


def shrink(image: Image.Image) -> Image.Image:
    """Return a picture with a palette, which takes a third of the bytes."""
    return image.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)


if __name__ == "__main__":
    sys.exit(main())
