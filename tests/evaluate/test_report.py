"""The report in a browser, the card as Hugging Face reads it, the cards of mistakes."""

import html
import http.server
import json
import queue
import re
import subprocess
import threading

import numpy as np
import pytest
import yaml

from mmkeras import templates
from mmkeras.evaluate import cards, judging
from tests.conftest import CHROMIUM, FLAGS

# Plays a sound from its beginning to its end, and tells a server what was heard.
PLAYER = """
<script>
addEventListener("load", async () => {
  const sound = document.querySelector("audio"), heard = []
  const tell = told => fetch("$url", {
    method: "POST", mode: "no-cors", body: JSON.stringify({told, heard})
  })
  sound.ontimeupdate = () => heard.push(sound.currentTime)
  sound.onended = () => tell(sound.duration)
  sound.onerror = () => tell(sound.error.message)
  sound.play().catch(error => tell(String(error)))
})
</script>
"""


@pytest.mark.parametrize(("width", "dark"), [(1200, False), (390, True)])
def test_in_a_browser_all_is_seen_and_heard(look, trained, width, dark):
    seen = look(trained.report_html, width, dark)
    assert seen["faults"] == [] and all(seen["pictures"])
    assert len(seen["pictures"]) >= 5
    assert len(seen["seconds"]) >= 1
    longest = trained.decoders["audio"].clip_seconds
    assert all(0 < seconds <= longest + 0.01 for seconds in seen["seconds"])
    assert seen["window"] == width and seen["wide"] <= width
    assert seen["paper"] == ("rgb(20, 25, 31)" if dark else "rgb(255, 255, 255)")


@pytest.fixture
def told():
    """(URL, a queue of what is posted there as JSON)."""
    found = queue.Queue()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):  # noqa: N802
            length = int(self.headers["Content-Length"])
            found.put(json.loads(self.rfile.read(length)))
            self.send_response(204)
            self.end_headers()

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", found
        server.shutdown()
        thread.join()


def test_a_sound_plays_to_its_end(trained, told, tmp_path):
    if not CHROMIUM:
        pytest.skip("chromium is not installed")
    url, found = told
    page = tmp_path / "page.html"
    text = trained.report_html.read_text(encoding="utf-8")
    page.write_text(text + PLAYER.replace("$url", url), encoding="utf-8")
    # With a port to steer it the browser stays, in real time.
    command = [CHROMIUM, *(flag for flag in FLAGS if "virtual" not in flag)]
    command.remove("--dump-dom")
    command += ["--autoplay-policy=no-user-gesture-required"]
    command += ["--remote-debugging-port=0", f"--user-data-dir={tmp_path / 'user'}"]
    process = subprocess.Popen([*command, page.as_uri()], stderr=subprocess.DEVNULL)
    try:
        played = found.get(timeout=60)
    finally:
        process.terminate()
        process.wait(30)
    assert 0 < played["told"] <= trained.decoders["audio"].clip_seconds + 0.01
    assert played["heard"] == sorted(played["heard"])
    assert played["heard"][-1] == pytest.approx(played["told"], abs=0.02)


def test_the_page_asks_no_network_and_is_not_large(trained):
    text = trained.report_html.read_text(encoding="utf-8")
    assert not re.search(r'(src|href)="(?!data:)', text)
    assert not re.search(r"https?://|url\(|@import", text)
    assert len(text) < 1_500_000


def test_mistakes_are_the_surest_and_show_what_was_given(trained, rows):
    part, loaded, _ = judging.readable(trained, rows.split("test"), print)
    seen = judging.see(trained, part, loaded, print)
    page = cards.mistakes(trained, seen)
    outputs, truth = seen.outputs["fusion"]["label"], seen.truths["label"][0]
    wrong = outputs.argmax(1) != truth.argmax(1)
    order = np.argsort(-np.where(wrong, outputs.max(1), 0), kind="stable")
    ids = [part.ids[at] for at in order[: min(8, wrong.sum())]]
    assert re.findall(r"<p class=note>row (.*?)</p>", page) == ids
    first = part.frame.iloc[order[0]]
    told = trained.labels["label"][outputs[order[0]].argmax()]
    assert f"told {told}, true {first['label']}" in page
    shown = part.frame.iloc[order[: len(ids)]]
    for name, tag in (("image", '<img class="seen"'), ("audio", "<audio ")):
        assert page.count(tag) == (shown[name] != "").sum()
        assert page.count(f"{name}: missing") == (shown[name] == "").sum()
    assert all(html.escape(text) in page for text in shown["text"])


def test_a_long_sound_is_cut_and_says_so():
    page = cards._sound("voice", np.zeros(200_000, "float32"), 16_000)
    assert "the first 4.7 s" in page and len(page) < 4 * cards.SOUND_BYTES / 3 + 30_000


def test_what_cells_hold_is_escaped():
    assert "<b>" not in templates.table([["<b>", "&"], ["<b>", "<b>"]])


def test_the_card_is_read_by_machines(trained):
    text = trained.card.read_text(encoding="utf-8")
    front = yaml.safe_load(text.split("---\n")[1])
    assert front["library_name"] == "keras" and "audio" in front["tags"]
    (model,) = front["model-index"]
    metrics = trained.read_json(trained.metrics_json)["test"]
    (result,) = model["results"]
    assert result["metrics"][0] == {
        "type": "accuracy",
        "value": round(metrics["accuracy"], 4),
    }
    assert result["dataset"]["split"] == "test"
