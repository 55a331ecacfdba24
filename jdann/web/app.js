// The page of `jdann serve`. It contacts this server only, and keeps the clips in this tab only.
import * as draw from "./draw.js";
import { request } from "./token.js";

const $ = (id) => document.getElementById(id);
const info = await (await request("/api/info")).json();
const ALONE = $("adapted").textContent; // what is said if no clip is adapted
const clips = []; // {name, blob, url, answer, alone | reason}; `alone`: the answer without the other clips
let shown = null;
let recording = null;
let queue = Promise.resolve();

function element(tag, properties = {}, ...children) {
  const node = Object.assign(document.createElement(tag), properties);
  node.append(...children);
  return node;
}

function swatch(colour, part = 1) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const rect = document.createElementNS("http://www.w3.org/2000/svg", "rect");
  rect.setAttribute("width", `${100 * part}%`);
  rect.setAttribute("height", "100%");
  rect.setAttribute("fill", colour);
  svg.setAttribute("aria-hidden", "true");
  svg.append(rect);
  return svg;
}

const NO_SPEECH = "no speech"; // of a clip or a window without probabilities
const percent = (p) => `${(100 * p).toFixed(1)} %`;
const say = (text) => ($("status").textContent = text);

const announce = ({ name, answer: { emotion, probabilities } }) =>
  say(probabilities ? `${name}: ${emotion}, ${percent(probabilities[emotion])}` : `${name}: ${NO_SPEECH}`);

function complain(text) {
  $("error").textContent = text;
  $("error").hidden = !text;
}

// --- Requests -------------------------------------------------------------------------------------------------------

async function post(query, body) {
  const headers = body instanceof Blob ? { "Content-Type": "application/octet-stream" } : {}; // a form brings its own
  const response = await request(`/api/predict?timeline=true&${query}`, { method: "POST", headers, body }).catch(() => {
    throw new Error("The server does not answer; is it still running?");
  });
  const answer = await response.json();
  if (!response.ok) throw Object.assign(new Error(answer.error), { status: response.status });
  return answer;
}

async function recognise(clip) {
  if (clip.blob.size > info.most_bytes) throw new Error(`The file is larger than ${info.most_bytes / 2 ** 20} MB; send a shorter one.`);
  try {
    return await post("picture=true", clip.blob);
  } catch (error) {
    if (error.status !== 422) throw error;
    const wav = await converted(clip.blob); // browsers decode formats that the server cannot, such as m4a
    if (!wav) throw error;
    clip.blob = wav;
    return await post("picture=true", wav);
  }
}

async function converted(blob) {
  if (/\.(wav|flac|mp3|ogg)$/i.test(blob.name ?? "") || blob.type === "audio/wav") return null;
  try {
    const decoded = await new OfflineAudioContext(1, 1, 16000).decodeAudioData(await blob.arrayBuffer());
    return toWav([decoded.getChannelData(0)], decoded.sampleRate);
  } catch {
    return null;
  }
}

function add(name, blob) {
  queue = queue.then(async () => {
    say(`Listening to ${name} …`);
    const clip = { name, blob, url: URL.createObjectURL(blob) };
    try {
      clip.alone = clip.answer = await recognise(clip);
      complain("");
      show(clip);
      announce(clip);
    } catch (error) {
      clip.reason = error.message;
      complain(`${name}: ${error.message}`);
      say("");
    }
    clips.push(clip);
    table();
  });
}

function addAll(files) {
  for (const file of files) add(file.name, file);
  queue = queue.then(adapt);
}

// --- One person -----------------------------------------------------------------------------------------------------

// The server keeps nothing about a person, so all clips are sent again whenever one is added.
async function adapt() {
  const usable = clips.filter((clip) => clip.alone);
  if (!$("one-person").checked || !usable.length) return; // the answers stay as they are
  say("Adapting to this person …");
  const form = new FormData();
  for (const { name, blob } of usable) form.append("file", blob, name);
  try {
    const together = await post("one_speaker=true", form);
    if (!$("one-person").checked) return judgeAlone(); // it was switched off in the meantime
    usable.forEach((clip, i) => {
      const answer = { ...together.clips[i], adapted_to: together.adapted_to, picture: clip.alone.picture };
      clip.answer = answer.error ? clip.alone : answer;
    });
    redraw();
  } catch (error) {
    $("one-person").checked = false;
    judgeAlone();
    complain(`The answers could not be adapted to this person. ${error.message}`);
  }
}

function judgeAlone() {
  for (const clip of clips) clip.answer = clip.alone;
  redraw();
}

function redraw() {
  const n = Math.max(0, ...clips.map((clip) => clip.answer?.adapted_to ?? 0));
  const waiting = $("one-person").checked ? "The answers will adapt to this person." : ALONE;
  $("adapted").textContent = n ? `Adapted to ${n} ${n === 1 ? "clip" : "clips"} of this person.` : waiting;
  if (shown) {
    show(shown);
    announce(shown);
  }
  table();
}

// --- Answers --------------------------------------------------------------------------------------------------------

function show(clip) {
  shown = clip;
  const { probabilities, emotion, doubt, duration_s, heard_s, timeline } = clip.answer;
  $("result").hidden = false;
  $("result-title").textContent = `${clip.name}: ${emotion ?? NO_SPEECH}`;
  const ranked = !probabilities ? []
    : info.labels.map((label, k) => ({ label, p: probabilities[label], colour: info.colours[k] })).sort((a, b) => b.p - a.p);
  $("bars").replaceChildren(
    ...ranked.map(({ label, p, colour }, i) =>
      element("li", { className: i ? "" : "first" },
        element("span", { textContent: label }),
        element("span", { className: "track" }, swatch(colour, p)),
        element("span", { className: "value", textContent: percent(p) }))),
  );
  $("no-speech").hidden = Boolean(probabilities);
  $("doubt").hidden = !doubt;
  $("doubt").textContent = doubt ? `Doubtful: ${doubt}.` : "";
  $("cut").hidden = heard_s >= duration_s;
  if ($("audio").src !== clip.url) $("audio").src = clip.url; // the same clip goes on playing
  $("end").textContent = `${duration_s.toFixed(1)} s`;
  const heard = timeline.filter((w) => w.probabilities);
  for (const name of ["emotions", "legend", "timeline-details"]) $(name).hidden = !heard.length;
  const gaps = heard.length < timeline.length ? [element("li", { className: "soft", textContent: `empty: ${NO_SPEECH}` })] : [];
  $("legend").replaceChildren(...info.labels.map((label, k) => element("li", {}, swatch(info.colours[k]), label)), ...gaps);
  const head = element("tr", {}, ...["from", "to", ...info.labels].map((name) => element("th", { scope: "col", textContent: name })));
  const rows = timeline.map((w) =>
    element("tr", {},
      element("th", { scope: "row", textContent: `${w.start_s.toFixed(1)} s` }),
      element("td", { textContent: `${w.end_s.toFixed(1)} s` }),
      ...info.labels.map((label) => element("td", { textContent: w.probabilities ? percent(w.probabilities[label]) : NO_SPEECH }))));
  $("timeline-table").replaceChildren(element("thead", {}, head), element("tbody", {}, ...rows));
  paint();
}

function paint() {
  if (!shown) return;
  const { picture, timeline, duration_s } = shown.answer;
  draw.waveform($("waveform"), picture.waveform);
  draw.mel($("mel"), picture.mel);
  draw.timeline($("timeline"), timeline, duration_s, info.labels, info.colours);
}

function follow() {
  const audio = $("audio");
  const head = $("playhead");
  if (shown) {
    const part = Math.min(1, audio.currentTime / shown.answer.duration_s);
    head.style.left = `${100 * part}%`;
    head.style.display = audio.paused && !audio.currentTime ? "none" : "block";
  }
  if (!audio.paused) requestAnimationFrame(follow);
}

function table() {
  $("many").hidden = clips.length < 2;
  const names = ["file", "emotion", ...info.labels, "doubt", "duration"];
  const head = element("tr", {}, ...names.map((name) => element("th", { scope: "col", textContent: name })));
  const rows = clips.map((clip) => {
    if (clip.reason) {
      const reason = element("span", { className: "reason", textContent: clip.reason });
      return element("tr", {}, element("th", { scope: "row", textContent: clip.name }), element("td", { colSpan: names.length - 1 }, reason));
    }
    const open = element("button", { type: "button", textContent: clip.name, onclick: () => show(clip) });
    const { emotion, probabilities, doubt, duration_s } = clip.answer;
    return element("tr", {},
      element("th", { scope: "row" }, open),
      element("td", { textContent: emotion ?? NO_SPEECH }),
      ...info.labels.map((label) => element("td", { className: "number", textContent: probabilities ? percent(probabilities[label]) : "" })),
      element("td", { textContent: doubt ?? "" }),
      element("td", { className: "number", textContent: `${duration_s.toFixed(1)} s` }));
  });
  $("table").replaceChildren(element("thead", {}, head), element("tbody", {}, ...rows));
}

function csv() {
  const cell = (text) => {
    const safe = /^[=+@\t\r-]/.test(text) ? `'${text}` : text; // a spreadsheet would read it as a formula
    return /[",\n\r]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
  };
  const lines = [["file", "emotion", ...info.labels.map((label) => `p_${label}`), "doubt", "duration_s", "adapted_to", "error"].join(",")];
  for (const { name, answer, reason } of clips) {
    const values = answer
      ? [answer.emotion ?? "", ...info.labels.map((label) => answer.probabilities?.[label].toFixed(6) ?? ""), cell(answer.doubt ?? ""), answer.duration_s, answer.adapted_to ?? 0, ""]
      : ["", ...info.labels.map(() => ""), "", "", "", cell(reason)];
    lines.push([cell(name), ...values].join(","));
  }
  return `${lines.join("\n")}\n`;
}

// --- Recording ------------------------------------------------------------------------------------------------------

function toWav(blocks, rate) {
  const length = blocks.reduce((sum, block) => sum + block.length, 0);
  const view = new DataView(new ArrayBuffer(44 + 2 * length));
  const text = (at, word) => [...word].forEach((c, i) => view.setUint8(at + i, c.charCodeAt(0)));
  text(0, "RIFF"); view.setUint32(4, 36 + 2 * length, true); text(8, "WAVEfmt ");
  view.setUint32(16, 16, true); view.setUint16(20, 1, true); view.setUint16(22, 1, true);
  view.setUint32(24, rate, true); view.setUint32(28, 2 * rate, true); view.setUint16(32, 2, true); view.setUint16(34, 16, true);
  text(36, "data"); view.setUint32(40, 2 * length, true);
  let at = 44;
  for (const block of blocks) for (const value of block) {
    view.setInt16(at, Math.max(-1, Math.min(1, value)) * 32767, true);
    at += 2;
  }
  return new Blob([view], { type: "audio/wav" });
}

async function record() {
  if (!navigator.mediaDevices) return complain("Browsers allow the microphone on https pages and on 127.0.0.1 only; send a file instead.");
  let stream;
  try {
    const plain = { echoCancellation: false, noiseSuppression: false, autoGainControl: false }; // the training data is unprocessed too
    stream = await navigator.mediaDevices.getUserMedia({ audio: { channelCount: 1, ...plain } });
  } catch {
    return complain("There is no microphone, or this page may not use it; allow it in the browser, or send a file instead.");
  }
  complain("");
  const context = new AudioContext();
  await context.audioWorklet.addModule("/static/recorder.js");
  const node = new AudioWorkletNode(context, "recorder", { channelCount: 1, channelCountMode: "explicit" });
  const blocks = [];
  let samples = 0;
  node.port.onmessage = ({ data }) => {
    blocks.push(data);
    samples += data.length;
    say(`Recording, ${(samples / context.sampleRate).toFixed(1)} s`);
    if (samples > Math.min(info.most_s, (info.most_bytes - 44) / 2 / context.sampleRate) * context.sampleRate - 4096) stop();
  };
  context.createMediaStreamSource(stream).connect(node);
  recording = { stream, context, node, blocks };
  $("record").classList.add("recording");
  $("record-label").textContent = "Stop";
}

async function stop() {
  if (!recording) return;
  const { stream, context, node, blocks } = recording;
  recording = null;
  node.port.onmessage = null;
  stream.getTracks().forEach((track) => track.stop());
  await context.close();
  $("record").classList.remove("recording");
  $("record-label").textContent = "Record";
  const n = clips.filter((clip) => clip.name.startsWith("recording")).length + 1;
  addAll([new File([toWav(blocks, context.sampleRate)], `recording ${n}.wav`, { type: "audio/wav" })]);
}

// --- Events ---------------------------------------------------------------------------------------------------------

$("record").onclick = async () => {
  $("record").disabled = true;
  await (recording ? stop() : record());
  $("record").disabled = false;
};
$("files").onchange = ({ target }) => {
  addAll(target.files);
  target.value = "";
};
for (const name of ["dragover", "dragleave", "drop"]) {
  document.addEventListener(name, (event) => {
    event.preventDefault();
    $("drop").classList.toggle("over", name === "dragover");
    if (name === "drop") addAll(event.dataTransfer.files);
  });
}
$("download").onclick = () => {
  const link = element("a", { href: URL.createObjectURL(new Blob([csv()], { type: "text/csv" })), download: "emotions.csv" });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
};
$("clear").onclick = () => {
  clips.splice(0).forEach((clip) => URL.revokeObjectURL(clip.url));
  shown = null;
  $("result").hidden = true;
  complain("");
  say("Cleared.");
  redraw();
};
$("one-person").onchange = () => {
  complain("");
  if (!$("one-person").checked) return judgeAlone();
  redraw();
  queue = queue.then(adapt);
};
for (const name of ["waveform", "mel", "timeline"]) {
  $(name).onclick = (event) => {
    const { left, width } = event.target.getBoundingClientRect();
    $("audio").currentTime = (shown.answer.duration_s * (event.clientX - left)) / width;
  };
}
for (const name of ["play", "seeked", "timeupdate"]) $("audio").addEventListener(name, follow);
addEventListener("resize", paint);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", paint);
document.documentElement.dataset.ready = "true";
