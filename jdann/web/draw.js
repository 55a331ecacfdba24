// Draws the waveform, the mel spectrogram and the timeline of a clip, each over its whole duration.

const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function prepared(canvas) {
  const scale = window.devicePixelRatio || 1;
  const { width, height } = canvas.getBoundingClientRect();
  canvas.width = Math.max(1, Math.round(width * scale));
  canvas.height = Math.max(1, Math.round(height * scale));
  return canvas.getContext("2d");
}

export function waveform(canvas, { low, high }) {
  const context = prepared(canvas);
  const { width, height } = canvas;
  const loudest = Math.max(0.001, ...high, ...low.map((v) => -v));
  context.fillStyle = style("--accent");
  for (let i = 0; i < low.length; i++) {
    const top = height / 2 - (high[i] / loudest) * (height / 2);
    const bottom = height / 2 - (low[i] / loudest) * (height / 2);
    const x = (i / low.length) * width;
    context.fillRect(x, top, Math.max(1, width / low.length), Math.max(1, bottom - top));
  }
}

// From dark to light through violet and orange: five colours of matplotlib's inferno.
const STOPS = [[0, 0, 4], [87, 16, 110], [188, 55, 84], [249, 142, 9], [252, 255, 164]];

export function mel(canvas, { bins, columns, values }) {
  const cells = Uint8Array.from(atob(values), (c) => c.charCodeAt(0));
  const image = new ImageData(columns, bins);
  for (let bin = 0; bin < bins; bin++) {
    for (let column = 0; column < columns; column++) {
      const place = (cells[bin * columns + column] / 255) * (STOPS.length - 1);
      const stop = Math.min(STOPS.length - 2, Math.floor(place));
      const at = ((bins - 1 - bin) * columns + column) * 4; // the lowest bin is the bottom row
      for (let k = 0; k < 3; k++) image.data[at + k] = STOPS[stop][k] + (place - stop) * (STOPS[stop + 1][k] - STOPS[stop][k]);
      image.data[at + 3] = 255;
    }
  }
  const small = document.createElement("canvas");
  small.width = columns;
  small.height = bins;
  small.getContext("2d").putImageData(image, 0, 0);
  prepared(canvas).drawImage(small, 0, 0, canvas.width, canvas.height);
}

// Each moment has the colours of the window whose middle is nearest; a gap means that there is no speech.
export function timeline(canvas, windows, duration, labels, colours) {
  const context = prepared(canvas);
  const { width, height } = canvas;
  const middles = windows.map((w) => (w.start_s + w.end_s) / 2);
  windows.forEach((window, i) => {
    if (!window.probabilities) return;
    const from = i ? (middles[i - 1] + middles[i]) / 2 : 0;
    const to = i + 1 < windows.length ? (middles[i] + middles[i + 1]) / 2 : duration;
    let top = height;
    labels.forEach((label, k) => {
      const part = window.probabilities[label] * height;
      context.fillStyle = colours[k];
      context.fillRect((from / duration) * width, top - part, ((to - from) / duration) * width + 0.5, part + 0.5);
      top -= part;
    });
  });
}
