// Charts of the last two minutes on canvases, in the colours of the page.

import { KEPT } from "./samples.js";

const LABEL = 11, LEFT = 58, BOTTOM = 16, TOP = 6;

const colours = () => {
  const style = getComputedStyle(document.documentElement);
  return name => style.getPropertyValue(name).trim();
};

/** Makes a canvas as large as it is shown, and gives what draws on it; null if it is not shown. */
function begin(canvas) {
  const { clientWidth: width, clientHeight: height } = canvas;
  if (width === 0 || height === 0) return null;
  const scale = devicePixelRatio || 1;
  const [pixelsWide, pixelsHigh] = [Math.round(width * scale), Math.round(height * scale)];
  if (canvas.width !== pixelsWide || canvas.height !== pixelsHigh) [canvas.width, canvas.height] = [pixelsWide, pixelsHigh];
  const paint = canvas.getContext("2d");
  paint.setTransform(scale, 0, 0, scale, 0, 0);
  paint.clearRect(0, 0, width, height);
  return { paint, width, height, colour: colours() };
}

/** The next 1, 2 or 5 times a power of ten. */
function roundUp(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map(step => step * power).find(step => step >= value * 0.999);
}

function line(paint, values, x, y) {
  paint.beginPath();
  let isDown = false;
  values.forEach((value, i) => {
    if (Number.isNaN(value)) {
      isDown = false;
      return;
    }
    if (isDown) paint.lineTo(x(i), y(value));
    else paint.moveTo(x(i), y(value));
    isDown = true;
  });
  paint.stroke();
}

/** A line without axes, for the row of a table. */
export function spark(canvas, values) {
  const drawing = begin(canvas);
  if (!drawing) return;
  const { paint, width, height, colour } = drawing;
  const most = values.reduce((most, value) => value > most ? value : most, 1);
  paint.strokeStyle = colour("--chart");
  paint.lineWidth = 1.5;
  line(paint, values, i => i / (KEPT - 1) * width, value => height - 2 - value / most * (height - 4));
}

function frame({ paint, width, height, colour }, labels) {
  paint.font = `${LABEL}px ${getComputedStyle(document.body).fontFamily}`;
  paint.fillStyle = colour("--quiet");
  paint.strokeStyle = colour("--edge");
  paint.lineWidth = 1;
  paint.textAlign = "right";
  paint.textBaseline = "middle";
  for (const [text, y] of labels) {
    paint.fillText(text, LEFT - 6, y);
    paint.beginPath();
    paint.moveTo(LEFT, Math.round(y) + 0.5);
    paint.lineTo(width, Math.round(y) + 0.5);
    paint.stroke();
  }
  paint.textBaseline = "bottom";
  paint.textAlign = "left";
  paint.fillText("2 min ago", LEFT, height);
  paint.textAlign = "right";
  paint.fillText("now", width - 1, height);
}

/** A line over time, from 0. */
export function lines(canvas, values, format) {
  const drawing = begin(canvas);
  if (!drawing) return;
  const { paint, width, height, colour } = drawing;
  const most = roundUp(values.reduce((most, value) => value > most ? value : most, 1));
  const y = value => height - BOTTOM - value / most * (height - BOTTOM - TOP);
  frame(drawing, [0, most / 2, most].map(value => [format(value), y(value)]));
  paint.strokeStyle = colour("--chart");
  paint.lineWidth = 2;
  paint.lineJoin = "round";
  line(paint, values, i => LEFT + i / (KEPT - 1) * (width - LEFT - 2), y);
}

/** How many requests took how long, in each second: the more, the stronger the colour. */
export function heatMap(canvas, seconds, bounds, format) {
  const drawing = begin(canvas);
  if (!drawing || bounds.length === 0) return;
  const { paint, width, height, colour } = drawing;
  const rows = bounds.length, high = (height - BOTTOM - TOP) / rows, wide = (width - LEFT) / KEPT;
  const y = row => height - BOTTOM - row * high;
  // Each bound four times the one before, as far as there is room for the text.
  const labels = bounds.map((bound, i) => [format(bound), y(i + 1)]).filter((_, i) => i % 4 === 1);
  frame(drawing, labels);
  const heat = colour("--heat");
  seconds.forEach((counts, second) => {
    if (!counts) return;
    const most = Math.max(...counts);
    counts.forEach((count, row) => {
      if (count === 0) return;
      paint.fillStyle = `rgb(${heat} / ${0.2 + 0.8 * Math.sqrt(count / most)})`;
      paint.fillRect(LEFT + second * wide, y(row + 1), Math.max(wide, 1), high);
    });
  });
}
