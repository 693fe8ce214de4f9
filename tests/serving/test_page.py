"""The page in a browser: what it sends, what it shows, how wide it is."""

import base64
import html
import json
import queue
import re
import shutil
import subprocess
import urllib.request

import numpy as np
import pytest

from mmkeras.client import Client
from mmkeras.serving import models, page, server

CHROMIUM = shutil.which("chromium")
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run "
    "--disable-background-networking --disable-component-update --disable-sync "
    "--virtual-time-budget=20000"
).split()

# Chooses files as a user does, asks, and leaves what there is to see in the title.
DRIVER = """
<script>
const chosen = $chosen
function choose(input, name, type) {
  const bytes = Uint8Array.from(atob(chosen[name]), c => c.charCodeAt(0))
  const files = new DataTransfer()
  files.items.add(new File([bytes], name, {type}))
  input.files = files.files
  return input.onchange()
}
addEventListener("load", async () => {
  try {
    const inputs = [...document.querySelectorAll("input[type=file]")]
    for (const input of inputs)
      if (chosen[input.ariaLabel])
        await choose(input, input.ariaLabel, input.accept.replace("*", "x"))
    document.querySelector("textarea").value = chosen.text
    await ask()
    parent.document.title = JSON.stringify({
      heading: document.querySelector("#answer h2").textContent,
      bars: [...document.querySelectorAll(".bar")].map(b => b.textContent),
      notes: [...document.querySelectorAll("#answer .note")].map(n => n.textContent),
      accepts: inputs.map(i => i.accept),
      shown: document.querySelectorAll("form img, form audio").length,
      wide: document.documentElement.scrollWidth, window: innerWidth,
      wav: [...wav(new Float32Array([0, 0.5, -1, 2]), 16000)],
    })
  } catch (error) { parent.document.title = String(error) }
})
</script>
"""

# A second of the browser's own test tone, recorded and asked.
RECORDER = """
<script>
addEventListener("load", async () => {
  const all = [...document.querySelectorAll("button")]
  const button = all.find(b => b.textContent === "Record")
  await button.onclick()
  await new Promise(done => setTimeout(done, 1000))
  await button.onclick()
  await ask()
})
</script>
"""
MICROPHONE = "--use-fake-device-for-media-stream --use-fake-ui-for-media-stream"


@pytest.fixture(scope="module")
def served(make_folder):
    versions = models.Versions(make_folder(5), name="pets", log=lambda _: None)
    with server.Server(versions, port=0, grpc_port=None) as running:
        yield running


@pytest.fixture
def see(served, monkeypatch, tmp_path):
    """A function of (what is given, width in pixels): what the page shows."""
    if not CHROMIUM:
        pytest.skip("chromium is not installed")
    plain = page.render

    def look(given, width=1200):
        script = DRIVER.replace("$chosen", json.dumps(given))
        # Chromium makes no window as narrow as a telephone, but a frame.
        frame = f'<title></title><iframe width="{width}" height="900" '
        frame += 'style="border: 0" srcdoc="{}"></iframe>'
        monkeypatch.setattr(
            page,
            "render",
            lambda versions: frame.format(html.escape(plain(versions) + script)),
        )
        command = [CHROMIUM, *FLAGS, f"--user-data-dir={tmp_path}", "--dump-dom"]
        done = subprocess.run(
            [*command, served.url], capture_output=True, text=True, timeout=120
        )
        title = re.search(r"<title>(.*?)</title>", done.stdout, re.DOTALL)
        assert title, done.stderr[-2000:]
        return json.loads(html.unescape(title.group(1)))

    return look


def test_the_page_holds_the_model_and_loads_nothing(served):
    with urllib.request.urlopen(served.url) as response:
        text = response.read().decode()
    held = re.search(r'application/json" id="model">(.*?)</script>', text).group(1)
    told = json.loads(held)
    assert (told["name"], told["version"]) == ("pets", 5)
    assert list(told["inputs"]) == ["text", "image", "audio"]
    assert len(told["labels"]["label"]) == 10
    assert not re.search(r"https?://", text)
    assert not re.search(r"(src|href)=\"(?!data:)", text)


def test_names_cannot_break_out_of_the_page(served, monkeypatch):
    monkeypatch.setattr(served.versions, "name", "</script><b>&")
    text = page.render(served.versions)
    assert "</script><b>" not in text
    assert "<title>&lt;/script&gt;&lt;b&gt;&amp;</title>" in text


@pytest.mark.parametrize("width", [390, 1200])
def test_a_text_a_picture_and_a_sound_are_answered(see, served, raw, width):
    at = next(at for at in range(12) if all(values[at] for values in raw.values()))
    row = {name: values[at] for name, values in raw.items()}
    encoded = {
        name.removesuffix("_bytes"): base64.b64encode(value).decode()
        for name, value in row.items()
    }
    seen = see({**encoded, "text": row["text"].decode()}, width)
    answer = Client(served.url, model="pets").predict([row])
    share = f"{answer['probability'][0]:.1%}".replace("%", " %")
    assert seen["heading"] == f"{answer['label'][0]}, {share}"
    assert seen["bars"][0] == f"{answer['label'][0]}{share}" and len(seen["bars"]) == 10
    assert re.fullmatch(r"\d+ ms", seen["notes"][0]) and len(seen["notes"]) == 1
    assert seen["accepts"] == ["image/*", "audio/*"] and seen["shown"] == 2
    assert seen["window"] == width and seen["wide"] <= width


def test_what_is_missing_and_what_is_broken_is_told(see):
    seen = see({"text": "seven", "image": base64.b64encode(b"no picture").decode()})
    assert seen["notes"][0].startswith("image: not a JPEG")
    assert seen["notes"][1] == "missing: image, audio"


def test_a_model_that_abstains_says_so(see, monkeypatch):
    plain = models.Loaded.answer

    def unsure(self, columns, signature):
        outputs = plain(self, columns, signature)
        return {**outputs, "abstained": np.ones_like(outputs["abstained"])}

    monkeypatch.setattr(models.Loaded, "answer", unsure)
    seen = see({"text": "seven"})
    assert seen["notes"][0] == "The model abstains: it is too unsure to answer."


def test_recordings_are_written_as_wav(see):
    """16 bits, one channel, clipped; RIFF of IBM and Microsoft, 1991."""
    wav = bytes(see({"text": "seven"})["wav"])
    assert wav[:16] == b"RIFF" + (44).to_bytes(4, "little") + b"WAVEfmt "
    assert wav[20:28] == b"\x01\0\x01\0" + (16000).to_bytes(4, "little")
    samples = [
        int.from_bytes(wav[at : at + 2], "little", signed=True)
        for at in (44, 46, 48, 50)
    ]
    assert samples == [0, 16384, -32767, 32767]


def test_a_recording_is_a_sound_that_the_graph_reads(served, monkeypatch, tmp_path):
    if not CHROMIUM:
        pytest.skip("chromium is not installed")
    plain, answer, found = page.render, models.Loaded.answer, queue.Queue()

    def told(self, columns, signature):
        outputs = answer(self, columns, signature)
        found.put((columns["audio_bytes"][0], outputs))
        return outputs

    monkeypatch.setattr(models.Loaded, "answer", told)
    monkeypatch.setattr(page, "render", lambda versions: plain(versions) + RECORDER)
    flags = [*FLAGS[:-1], *MICROPHONE.split(), f"--user-data-dir={tmp_path}"]
    # With a port to steer it the browser stays, in real time.
    command = [CHROMIUM, *flags, "--remote-debugging-port=0", served.url]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        sound, outputs = found.get(timeout=60)
    finally:
        process.terminate()
        process.wait(30)
    rate = int.from_bytes(sound[24:28], "little")
    assert sound[:4] == b"RIFF" and 0.3 < (len(sound) - 44) / 2 / rate < 5
    assert any(sound[44:])
    assert outputs["present"].tolist() == [[False, False, True]]
    assert outputs["error"].tolist() == [b""]
