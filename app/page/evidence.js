// The evidence map over the photo: how much each region speaks for or against a class.

// The colours of ml/evidence.py, from strongly against to strongly for. Strong values are opaque,
// weak ones transparent. The legend and the map both use this palette.
const COLOURS = [[94, 60, 153], [178, 171, 210], [247, 247, 247], [253, 184, 99], [230, 97, 1]];
const PALETTE = Array.from({ length: 255 }, (_, step) => {
  const at = (step / 254) * 4;
  const [low, high] = [COLOURS[Math.floor(at)], COLOURS[Math.ceil(at)]];
  return [...low.map((from, channel) => from + (high[channel] - from) * (at % 1)), 230 * Math.abs(at / 2 - 1)];
});
const FINE = 16; // pixels drawn for each cell

const element = (id) => document.getElementById(id);
const region = element("region");
const cell = element("cell");
let shown = null; // { grid, name, box }
let marked = null; // [row, column]

export const signed = (value) => `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(2)}`;

// Shows the evidence for the class `name`, or hides the map if the answer has no grid.
export function showEvidence(answer, name) {
  const grid = answer?.evidence?.values ? answer.evidence : null;
  region.hidden = element("views").hidden = !grid;
  element("evidence").hidden = !grid;
  mark(null);
  if (!grid) return;
  // One scale for all classes makes them comparable.
  const most = Math.max(...Object.values(grid.values).flat(2).map(Math.abs), 1e-9);
  shown = { grid, name, box: bounds(grid) };
  place(region, shown.box, answer.image);
  element("views").replaceChildren(...grid.views.map((view) => {
    const outline = document.createElement("i");
    place(outline, view, answer.image);
    return outline;
  }));
  drawMap(grid.values[name], most);
  element("least").textContent = `${signed(-most)} against`;
  element("most").textContent = `for ${signed(most)}`;
}

// The bounding box of all crops, in pixels of the upright photo.
export const bounds = ({ views }) => [Math.min, Math.min, Math.max, Math.max].map((pick, side) => pick(...views.map((view) => view[side])));

// Positions are percentages of the upright photo, so that they hold at every size.
function place({ style }, [x0, y0, x1, y1], { width, height }) {
  const share = (part, whole) => `${(100 * part) / whole}%`;
  style.left = share(x0, width);
  style.top = share(y0, height);
  style.width = share(x1 - x0, width);
  style.height = share(y1 - y0, height);
}

// Paints a canvas. `valueAt` returns a value from -1 to 1 for x and y from 0 to 1.
function paint(canvas, width, height, valueAt) {
  [canvas.width, canvas.height] = [width, height];
  const context = canvas.getContext("2d");
  const picture = context.createImageData(width, height);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const value = valueAt((x + 0.5) / width, (y + 0.5) / height);
      picture.data.set(PALETTE[Math.round(127 * value) + 127], 4 * (y * width + x));
    }
  }
  context.putImageData(picture, 0, 0);
}

function drawMap(values, most) {
  paint(element("map"), values[0].length * FINE, values.length * FINE, (across, down) => {
    const [x, y] = pointAt(across, down);
    if (!shown.grid.views.some(([x0, y0, x1, y1]) => x0 <= x && x <= x1 && y0 <= y && y <= y1)) return 0;
    const [row, column] = cellAt(across, down);
    return between(values, row - 0.5, column - 0.5) / most;
  });
}

// Converts a position from 0 to 1 in the bounding box of the crops to pixels of the photo.
function pointAt(across, down) {
  const [left, top, right, bottom] = shown.box;
  return [left + across * (right - left), top + down * (bottom - top)];
}

// The grid need not match the crops exactly: a cell lies where its receptive field is centred.
function cellAt(across, down) {
  const { grid } = shown;
  const [x0, y0, x1, y1] = grid.region;
  const [x, y] = pointAt(across, down);
  return [((y - y0) / (y1 - y0)) * grid.rows, ((x - x0) / (x1 - x0)) * grid.columns];
}

// Bilinear interpolation between the cells' centres. The outer cells extend to the edge.
function between(values, y, x) {
  const clamp = (value, length) => Math.min(Math.max(value, 0), length - 1);
  const [row, column] = [clamp(y, values.length), clamp(x, values[0].length)];
  const [top, left] = [Math.floor(row), Math.floor(column)];
  const [bottom, right] = [Math.ceil(row), Math.ceil(column)];
  const across = (line) => line[left] + (line[right] - line[left]) * (column - left);
  return across(values[top]) + (across(values[bottom]) - across(values[top])) * (row - top);
}

// Marks a cell and returns its description; null removes the mark.
function mark(rowAndColumn) {
  marked = rowAndColumn;
  cell.hidden = !marked;
  const caption = element("caption");
  if (!marked) return (caption.textContent = caption.dataset.rest ?? "");
  const [row, column] = marked;
  const { grid, name, box: [left, top, right, bottom] } = shown;
  const value = grid.values[name][row][column];
  const [x0, y0, x1, y1] = grid.region;
  const [width, height] = [(x1 - x0) / grid.columns, (y1 - y0) / grid.rows];
  const [x, y] = [x0 - left + column * width, y0 - top + row * height];
  place(cell, [x, y, x + width, y + height], { width: right - left, height: bottom - top });
  cell.firstElementChild.textContent = signed(value);
  const where = `Row ${row + 1}, column ${column + 1}`;
  caption.textContent = `${where}: ${signed(value)} ${value < 0 ? "against" : "for"} ${name}`;
  return caption.textContent;
}

export function listen(say) {
  const within = (value, length) => Math.min(Math.max(value, 0), length - 1);
  const under = (event) => {
    const box = region.getBoundingClientRect();
    const place = cellAt((event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height);
    return place.map((index, side) => within(Math.floor(index), [shown.grid.rows, shown.grid.columns][side]));
  };
  region.addEventListener("pointermove", (event) => mark(under(event)));
  region.addEventListener("pointerdown", (event) => mark(under(event)));
  region.addEventListener("pointerleave", (event) => event.pointerType === "mouse" && mark(null));
  region.addEventListener("blur", () => mark(null));
  region.addEventListener("focus", () => region.matches(":focus-visible") && say(mark(marked ?? middle())));
  region.addEventListener("keydown", (event) => {
    const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
    if (!step) return;
    event.preventDefault();
    const [row, column] = marked ?? middle();
    say(mark([within(row + step[0], shown.grid.rows), within(column + step[1], shown.grid.columns)]));
  });
  element("opacity").addEventListener("input", fade);
  fade();
  paint(element("scale"), PALETTE.length, 1, (across) => 2 * across - 1);
}

const middle = () => [Math.floor(shown.grid.rows / 2), Math.floor(shown.grid.columns / 2)];

function fade() {
  const { value } = element("opacity");
  element("map").style.opacity = value / 100;
  element("share").textContent = `${value}\u00a0%`;
}
