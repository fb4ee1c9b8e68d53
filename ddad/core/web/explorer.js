// The explorer: what a threshold decides, which images it gets wrong, and their maps. One module for a widget in Jupyter
// (`export default`), for a page in one file (`mount`) and for the report of ddad-score (`histogram`, `gallery`, `table`).
// uPlot, which draws the charts, stands before this text: `ddad.core.page.front_end` joins the two.

// ---- numbers: each is compared with ddad.method.metrics by tests/test_explorer.py

export const CLASSES = ["normal", "abnormal"];
export const OUTCOMES = ["correctly passed", "false alarm", "miss", "hit"];  // 2 * label + decision
export const ORDERS = ["most wrong first", "highest score first", "lowest score first", "false alarms", "misses", "disagree most"];

export const number = (v, digits = 4) => v == null || Number.isNaN(v) ? "" : String(Number(v.toPrecision(digits)));

export function extent(values) {
  let low = Infinity, high = -Infinity;
  for (const v of values) [low, high] = [Math.min(low, v), Math.max(high, v)];
  return [low, high];
}

// The thresholds to choose from: multiples of a round step, 1,000 or more, from all images flagged to none.
export function grid(values) {
  const [low, high] = extent(values), rough = (high - low || 1) / 1000, power = Number(`1e${Math.floor(Math.log10(rough))}`);
  const step = power * [5, 2, 1].find(m => m * power <= rough * (1 + 1e-9)), start = Math.floor(low / step);
  return {step, start, count: Math.floor(high / step + 1e-6) - start + 2, at: n => step * (start + n)};
}

// The threshold of the grid that a rule asks for: at most so many false alarms, at least that sensitivity, or Youden's.
export function thresholdBy(rule, share, values, labels) {
  const g = grid(values), below = [0, 0], sides = [0, 1].map(y => values.filter((_, i) => labels[i] == y).sort());
  let best = -Infinity, found = 0;
  for (let n = 0; n < g.count; n++) {
    const [alarms, hits] = sides.map((side, y) => {
      while (below[y] < side.length && side[below[y]] < g.at(n)) below[y]++;
      return 1 - below[y] / side.length;
    });
    const gain = {
      "false alarms": alarms <= share + 1e-9 ? -n : -Infinity, specificity: 1 - alarms >= share - 1e-9 ? -n : -Infinity,
      sensitivity: hits >= share - 1e-9 ? n : -Infinity, youden: hits - alarms}[rule];
    if (gain > best) [best, found] = [gain, n];
  }
  return g.at(found);
}

const ascending = values => Int32Array.from(values.keys()).sort((a, b) => values[a] - values[b]);

// Images from the lowest score to the highest: the group and the class of each, and whether a run of equal scores ends.
function ranked(values, labels, group) {
  const order = ascending(values);
  return {groups: order.map(i => group[i]), sick: order.map(i => labels[i]), ends: order.map((i, n) => values[i] !== values[order[n + 1]])};
}

// How often an abnormal image scores above a normal one, ties half; `times`: how often each group counts.
function area({groups, sick, ends}, times) {
  let well = 0, ill = 0, above = 0, n = 0, p = 0;
  for (let i = 0; i < groups.length; i++) {
    if (sick[i]) p += times[groups[i]]; else n += times[groups[i]];
    if (!ends[i]) continue;
    above += p * (well + n / 2);
    well += n;
    ill += p;
    n = p = 0;
  }
  return above / well / ill;  // NaN where a class is missing
}

export const auc = (values, labels) => area(ranked(values, labels, new Int32Array(values.length)), [1]);

// The ROC curve: false positive rates and sensitivities from no image flagged to all.
export function roc(values, labels) {
  const order = ascending(values).reverse(), x = [0], y = [0];
  let n = 0, p = 0;
  order.forEach((image, i) => {
    if (labels[image]) p++; else n++;
    if (i + 1 == order.length || values[order[i + 1]] !== values[image]) { x.push(n); y.push(p); }
  });
  return [x.map(v => v / (n || 1)), y.map(v => v / (p || 1))];
}

// Random numbers that are the same on every page (mulberry32).
function randoms(seed) {
  return () => {
    seed = seed + 0x6D2B79F5 | 0;
    let t = Math.imul(seed ^ seed >>> 15, 1 | seed);
    t = t + Math.imul(t ^ t >>> 7, 61 | t) ^ t;
    return ((t ^ t >>> 14) >>> 0) / 4294967296;
  };
}

// The AUC of each column of scores in each of n draws of groups, which the columns share. None for a single group.
export function bootstrap(columns, labels, groups, n = 1000) {
  const known = new Map(), places = Array.from(labels, (_, i) => groups ? groups[i] : i);
  const group = Int32Array.from(places, g => known.get(g) ?? known.set(g, known.size).size - 1);
  const size = known.size, times = new Int32Array(size), random = randoms(1);
  const images = columns.map(values => ranked(values, labels, group)), draws = columns.map(() => []);
  if (size < 2 || !labels.includes(0) || !labels.includes(1)) return null;
  while (draws[0].length < n) {
    times.fill(0);
    for (let i = 0; i < size; i++) times[Math.floor(random() * size)]++;
    const areas = images.map(sorted => area(sorted, times));
    if (!Number.isNaN(areas[0])) areas.forEach((a, c) => draws[c].push(a));  // else a class was not drawn
  }
  return {draws, groups: size};
}

// The 95 % percentile interval of draws of so many groups, a little wider where these are few (Hesterberg 2015).
export function interval(draws, groups) {
  const z = 1.959963984540054, v = groups - 1, powers = [1, 3, 5, 7].map(n => z ** n);
  const terms = [[1, 1, 0, 0, 4], [3, 16, 5, 0, 96], [-15, 17, 19, 3, 384]];  // Student's t, from the normal's quantile
  const t = terms.reduce((sum, [a, b, c, d, e], i) =>
    sum + (a * powers[0] + b * powers[1] + c * powers[2] + d * powers[3]) / e / v ** (i + 1), z);
  const x = Math.sqrt(groups / v) * t, k = 1 / (1 + 0.2316419 * x);  // Abramowitz and Stegun, 26.2.17
  const series = [1.330274429, -1.821255978, 1.781477937, -0.356563782, 0.31938153].reduce((sum, c) => (sum + c) * k, 0);
  const tail = Math.exp(-x * x / 2) / Math.sqrt(2 * Math.PI) * series, sorted = Float64Array.from(draws).sort();
  return [tail, 1 - tail].map(share => {
    const at = share * (sorted.length - 1), i = Math.floor(at);
    return sorted[i] + (at - i) * ((sorted[i + 1] ?? sorted[i]) - sorted[i]);
  });
}

// A share with Wilson's interval; nothing for 0 of 0.
export function wilson(k, n) {
  if (!n) return null;
  const z = 1.959963984540054, middle = (k + z * z / 2) / (n + z * z);
  const half = z * Math.sqrt(k * (n - k) / n + z * z / 4) / (n + z * z);
  return [k / n, Math.max(0, middle - half), Math.min(1, middle + half)];
}

// Of how many images there are of each outcome.
export const rates = ([passed, alarm, miss, hit]) => ({
  sensitivity: wilson(hit, hit + miss), specificity: wilson(passed, passed + alarm), precision: wilson(hit, hit + alarm)});

// The percentage of the other normal images that score at or below an image.
export function percentile(values, labels, image) {
  let below = 0, others = 0;
  values.forEach((v, i) => { if (!labels[i] && i != image) { others++; below += v <= values[image]; } });
  return 100 * below / others;
}

const known_ranks = new WeakMap();

function ranks(values) {  // of equal values their mean
  if (known_ranks.has(values)) return known_ranks.get(values);
  const order = ascending(values), found = new Float64Array(values.length);
  for (let i = 0, j; i < order.length; i = j) {
    for (j = i; j < order.length && values[order[j]] === values[order[i]]; j++);
    for (let n = i; n < j; n++) found[order[n]] = (i + j + 1) / 2;
  }
  known_ranks.set(values, found);
  return found;
}

// Images in an order; equal ones keep theirs. `other`: the scores of the result beside.
export function ordered(how, images, values, labels, threshold, other) {
  const wrong = i => (labels[i] ? -1 : 1) * (values[i] - threshold);
  const only = {"false alarms": 0, misses: 1}[how];
  if (only !== undefined) images = images.filter(i => labels[i] == only && (values[i] >= threshold) != labels[i]);
  const [a, b] = how == "disagree most" ? [ranks(values), ranks(other ?? values)] : [];
  const key = {"highest score first": i => -values[i], "lowest score first": i => values[i],
               "disagree most": i => -Math.abs(a[i] - b[i])}[how] ?? (i => -wrong(i));
  const keys = Float64Array.from(values, (_, i) => key(i));
  return [...images].sort((i, j) => keys[i] - keys[j]);
}

// The images that a filter leaves. A field that is empty asks for nothing; what is not known of images leaves none.
export function filtered(data, filter, outcomes) {
  const words = (filter.name ?? "").trim().toLowerCase(), asked = [
    [filter.label, i => CLASSES[data.labels[i]]], [filter.kind, i => data.kinds?.[i]], [filter.outcome, i => OUTCOMES[outcomes[i]]],
    [filter.copy, i => data.copies && (data.copies[i] ? "yes" : "no")], [filter.group, i => data.groups?.[i]],
    [filter.maps, i => data.mapped?.has(i) ? "yes" : "no"],
  ].filter(([wanted]) => wanted);
  const fits = i => asked.every(([wanted, of]) => of(i) === wanted) && (!words || data.names[i].toLowerCase().includes(words));
  return data.names.map((_, i) => i).filter(fits);
}

// A table as CSV; a cell is quoted where it has to be.
export function csv(rows) {
  const cell = v => /[",\r\n]/.test(v = String(v ?? "")) ? `"${v.replaceAll('"', '""')}"` : v;
  return rows.map(row => row.map(cell).join(",") + "\n").join("");
}

// ---- parts of a page

// An element. Texts are set as texts, never read as markup.
export function h(tag, props = {}, ...children) {
  const e = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value == null || value === false) continue;
    if (name.startsWith("on")) e.addEventListener(name.slice(2), value);
    else if (name in e) e[name] = value;
    else e.setAttribute(name, value);
  }
  e.append(...children.filter(c => c != null));
  return e;
}

export const key = abnormal => h("i", {className: `key ${CLASSES[+abnormal]}`});
export const card = (title, ...children) => h("section", {className: "card"}, title instanceof Node ? title : h("h2", {}, title), ...children);

// A drop-down list; `show` gives it its options, pairs of a value and a text. One that offers no choice is hidden.
export function choice(label, pick) {
  const select = h("select", {"aria-label": label, onchange: () => pick(select.value)}), box = h("label", {}, `${label} `, select);
  let last = "";
  return {box, select, show(options, value, least = 2) {
    const now = JSON.stringify(options);
    if (now != last) select.replaceChildren(...options.map(([v, text]) => h("option", {value: v}, text)));
    last = now;
    select.value = value;
    box.hidden = options.length < least;
  }};
}

// A chart of uPlot as wide as its place. `series`: name of a colour and uPlot's options each; `select` is told the box
// that the reader draws; `mark` moves a line (x) or a point (x, y) over it without drawing anything anew.
function chart(place, {label, below, beside, series, height, drag, select}) {
  const probe = h("i", {hidden: true}), resolved = new Map(), colour = (name, alpha = 1) => {
    if (!resolved.has(name)) {
      probe.style.color = `var(--${name})`;
      resolved.set(name, getComputedStyle(probe).color.match(/[\d.]+/g).slice(0, 3).join(" "));
    }
    return `rgb(${resolved.get(name)} / ${alpha})`;
  };
  const marker = h("i", {className: "mark"}), holder = h("div", {className: "chart", role: "img", "aria-label": label}, probe);
  const ranges = {x: [0, 1], y: [0, 1]}, at = {x: null, y: null};
  place.append(holder);
  const axis = (text, size) => ({label: text, labelSize: 16, labelGap: 0, size, gap: 4, space: 48, stroke: () => colour("soft"), font: "12px system-ui", labelFont: "12px system-ui",
    grid: {show: false}, ticks: {size: 4, stroke: () => colour("line")}, border: {show: true, width: 1, stroke: () => colour("line")},
    values: (_, ticks) => ticks.map(v => number(v, 6))});
  const drawn = ({colour: name, fill, ...more}) => ({
    stroke: () => colour(name), fill: fill && (() => colour(name, 0.22)), width: 1.5, points: {show: false}, spanGaps: true, ...more,
    ...more.points && {points: {fill: () => colour(name, 0.7), stroke: () => colour(name, 0), ...more.points}}});
  const place_mark = () => {
    if (at.x == null) { marker.hidden = true; return; }
    marker.hidden = false;
    marker.style.left = `${u.valToPos(at.x, "x")}px`;
    marker.classList.toggle("point", at.y != null);
    marker.style.top = at.y == null ? "" : `${u.valToPos(at.y, "y")}px`;
  };
  const u = new uPlot({
    width: 320, height, padding: [10, 14, 0, 0], legend: {show: false},
    cursor: {show: !!drag, x: false, y: false, points: {show: false}, bind: {dblclick: () => null}, drag: {setScale: false, x: true, y: drag == "box"}},
    scales: {x: {time: false, range: () => ranges.x}, y: {range: () => ranges.y}}, axes: [axis(below, 26), axis(beside, 44)],
    series: [{}, ...series.map(drawn)],
    hooks: {draw: [place_mark], setSelect: select ? [() => {
      const {left, top, width, height} = u.select;
      const span = (scale, from, to) => [u.posToVal(from, scale), u.posToVal(to, scale)].sort((a, b) => a - b);
      select(width > 2 ? {x: span("x", left, left + width), y: span("y", top, top + height)} : null);
    }] : []},
  }, [[0, 1], ...series.map(() => [null, null])], holder);
  u.over.append(marker);
  const fit = () => { if (holder.clientWidth) u.setSize({width: holder.clientWidth, height}); };
  new ResizeObserver(fit).observe(holder);
  const repaint = () => { resolved.clear(); u.redraw(); };
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", repaint);
  new MutationObserver(repaint).observe(document.body, {attributeFilter: ["data-jp-theme-light", "class"]});
  return {
    u, holder,
    show(data, x, y, names = {}) {
      if (x[0] == x[1]) x = [x[0], x[0] + 1];
      Object.assign(ranges, {x, y});
      if (names.x) u.axes[0].label = names.x;
      if (names.y) u.axes[1].label = names.y;
      u.setData(data);
    },
    mark(x, y = null) { Object.assign(at, {x, y}); place_mark(); },
    unselect() { u.setSelect({left: 0, top: 0, width: 0, height: 0}, false); },
  };
}

// Curves as uPlot takes them: all points in a row, each a number in its own curve and nothing in the others.
function together(curves) {
  const points = curves.flatMap(([x, y], c) => x.map((v, i) => [v, c, y[i]])).sort((a, b) => a[0] - b[0]);
  return [points.map(p => p[0]), ...curves.map((_, c) => points.map(p => p[1] == c ? p[2] : null))];
}

// Histograms over the same bins, and a line at the threshold. `shares`: each in percent of its own.
export function histogram(place, {colours, label, beside = "images", shares, ...more}) {
  const series = colours.map(colour => ({colour, fill: true, paths: uPlot.paths.stepped({align: 1})}));
  const made = chart(place, {label, below: "score", beside, series, height: 230, ...more});
  return {...made, show(lists, [low, high], name, bins = 40) {
    const wide = (high - low || 1) / bins, edges = Array.from({length: bins + 1}, (_, i) => low + i * wide);
    const counts = lists.map(values => {
      const found = Array(bins).fill(0);
      for (const v of values) found[Math.max(0, Math.min(bins - 1, Math.floor((v - low) / wide)))] += shares ? 100 / values.length : 1;
      return [...found, found[bins - 1]];
    });
    made.show([edges, ...counts], [low, high], [0, Math.max(...counts.flat(), shares ? 0.01 : 1) * 1.05], {x: name});
  }};
}

// Images page by page. `about` tells of one its label, its lines and its frame; `draw` puts its picture into a holder;
// the arrow keys go from tile to tile and on to the next page.
export function gallery({size, about, draw, pick}) {
  let list = [], first = 0;
  const turn = by => { first = Math.max(0, Math.min(first + by * size, Math.floor(Math.max(0, list.length - 1) / size) * size)); fill(); };
  const back = h("button", {onclick: () => turn(-1)}, "‹ previous"), forward = h("button", {onclick: () => turn(1)}, "next ›");
  const where = h("span", {className: "where"}), grid = h("div", {className: "tiles"}), tiles = [];
  const step = event => {
    const by = {ArrowLeft: -1, ArrowRight: 1}[event.key], here = first + tiles.findIndex(t => t.button == document.activeElement) + by;
    if (!by || !(here in list)) return;
    event.preventDefault();
    if (here < first || here >= first + size) turn(by);
    tiles[here - first].button.focus();
    pick(list[here], here);
  };
  grid.addEventListener("keydown", step);
  const made = n => {
    const holder = h("span", {className: "stack"}), lines = h("span", {className: "lines"});
    const button = h("button", {className: "tile", onclick: () => pick(list[first + n], first + n)}, holder, lines);
    return {button, holder, lines, image: null};
  };
  function fill() {
    const shown = list.slice(first, first + size);
    while (tiles.length < shown.length) { tiles.push(made(tiles.length)); grid.append(tiles.at(-1).button); }
    tiles.forEach((tile, n) => {
      tile.button.hidden = n >= shown.length;
      if (n >= shown.length) return;
      const {label, lines, frame, chosen} = about(shown[n], first + n), text = lines.join("\n");
      if (tile.image !== shown[n]) draw(tile.image = shown[n], tile.holder);
      if (tile.lines.textContent != text) tile.lines.textContent = text;
      Object.assign(tile.button, {title: label, className: `tile ${frame}${chosen ? " chosen" : ""}`});
      tile.button.setAttribute("aria-label", label);
    });
    where.textContent = list.length ? `${first + 1} – ${first + shown.length} of ${list.length}` : "none";
    back.disabled = first == 0;
    forward.disabled = first + size >= list.length;
  }
  return {
    bar: [back, where, forward], grid,
    show(images, from = first) { list = images; first = from; turn(0); },
    redraw() { for (const tile of tiles) tile.image = null; fill(); },
  };
}

// A table of texts and elements; `heads`: how many cells of a row are its head.
export const table = (kind, head, rows, heads = 1) => h("table", {className: kind},
  h("thead", {}, h("tr", {}, ...head.map(text => h("th", {scope: "col"}, text)))),
  h("tbody", {}, ...rows.map(row => h("tr", {}, ...row.map((cell, i) => i < heads ? h("th", {scope: "row"}, cell) : h("td", {}, cell))))));

// ---- pictures: many of one size on a sheet, one below another, row by row

const side_of = (sheet, n) => [n % sheet.columns * sheet.side, Math.floor(n / sheet.columns) * sheet.side, sheet.side, sheet.side];

async function load(src) {
  const image = new Image();
  image.src = src;
  await image.decode();
  return createImageBitmap(image);  // decoded once
}

function picture(image, sheet, n, canvas = h("canvas", {width: sheet.side, height: sheet.side})) {
  canvas.getContext("2d", {willReadFrequently: true}).drawImage(image, ...side_of(sheet, n), 0, 0, sheet.side, sheet.side);
  return canvas;
}

// A map in the colours of every figure. Its eight bits are the square root of a value's place between `bottom` and `top`.
function heat(canvas, {bottom, top}, [low, high], colours) {
  const context = canvas.getContext("2d"), pixels = context.getImageData(0, 0, canvas.width, canvas.height), d = pixels.data;
  for (let i = 0; i < d.length; i += 4) {
    const value = bottom + (top - bottom) * (d[i] / 255) ** 2, strength = Math.max(0, Math.min(1, (value - low) / (high - low || 1)));
    const at = strength * (colours.length - 1), a = Math.floor(at), b = Math.min(a + 1, colours.length - 1);
    for (let c = 0; c < 3; c++) d[i + c] = colours[a][c] + (at - a) * (colours[b][c] - colours[a][c]);
    d[i + 3] = 255 * Math.min(1, 2 * strength);
  }
  context.putImageData(pixels, 0, 0);
  return canvas;
}

// The outline of a mask, along the borders of its pixels.
function outline(canvas) {
  const side = canvas.width, grow = 4, d = canvas.getContext("2d").getImageData(0, 0, side, side).data;
  const inside = (x, y) => x >= 0 && y >= 0 && x < side && y < side && d[4 * (y * side + x)] > 127;
  const drawn = h("canvas", {width: side * grow, height: side * grow, className: "outline"}), context = drawn.getContext("2d");
  context.strokeStyle = "#3ddc84";
  context.lineWidth = 3;
  for (let y = 0; y <= side; y++) for (let x = 0; x <= side; x++) {
    if (inside(x, y) != inside(x - 1, y)) { context.moveTo(x * grow, y * grow); context.lineTo(x * grow, (y + 1) * grow); }
    if (inside(x, y) != inside(x, y - 1)) { context.moveTo(x * grow, y * grow); context.lineTo((x + 1) * grow, y * grow); }
  }
  context.stroke();
  return drawn;
}

// ---- the explorer

const FIELDS = ["label", "kind", "outcome", "copy", "group", "name", "maps"];  // of a filter
const KNOWN = ["run", "score", "threshold", "second", "second_score", "up", "order", "image", "brush", ...FIELDS];  // of a state
const MARKS = ["✓", "✗ alarm", "✗ miss", "✓"], PAGE = 24;

const capital = text => text[0].toUpperCase() + text.slice(1);
const unpacked = text => new Float64Array(Uint8Array.from(atob(text), c => c.charCodeAt(0)).buffer);

// Shows the data of `ddad.study.view` in a place. `state`: what it begins with, as a line of text; `ask` asks a kernel
// for pictures, maps and other runs, where there is one; `changed` is told the view a moment after its last change. A reader's choice becomes a field
// of `s`, then `render` shows what follows from it.
export function mount(place, data, {state = "", ask = null, changed = () => {}} = {}) {
  const runs = data.runs.map(run => ({...run, sheets: [], scores: run.scores.map(score => ({...score, values: unpacked(score.values)}))}));
  const labels = data.labels, notes = [...data.notes], asked = new Set(), s = {filter: {}, brush: null};
  const run = name => runs.find(r => r.name == name), colours = data.colours;
  let images = null, masks = null, last = {}, timer = null, telling = null, drawing = null, view = null;

  const scoreOf = (of, wanted) => of.scores.find(c => c.key == wanted) ?? ["r_dual", "inter"].map(k => of.scores.find(c => c.key == k)).find(Boolean) ?? of.scores.at(-1);
  const titled = (of, score) => of == s.run || score.key == "score" ? score.name : `${score.name} of ${short(of.name)}`;  // a rival's one score has its name
  const short = name => name.startsWith(`${data.benchmark}_`) ? name.slice(data.benchmark.length + 1) : name;

  // what a reader can choose
  const pick = field => value => choose({[field]: value});
  const run_choice = choice("Run", value => run(value) ? choose({run: value}) : ask({run: value}));
  const score_choice = choice("Score", pick("score")), second_choice = choice("Compare with", pick("second"));
  const second_score = choice("by", pick("second_score")), order_choice = choice("Order", pick("order")), up_choice = choice("against", pick("up"));
  const filter_choice = {label: "Class", kind: "Kind", outcome: "Outcome", copy: "Copy in training", maps: "Maps here"};
  for (const [field, name] of Object.entries(filter_choice)) filter_choice[field] = choice(name, value => choose({filter: {...s.filter, [field]: value}}));
  const words = {}, word = (field, name) => {
    words[field] = h("input", {type: "search", size: 14, "aria-label": name, oninput: () => choose({filter: {...s.filter, [field]: words[field].value}})});
    return h("label", {}, `${name} `, words[field]);
  };
  const group_box = word("group", capital(data.group)), name_box = word("name", "Name has");
  const clear = h("button", {onclick: () => choose({filter: {}, brush: null})}, "All images");
  const slider = h("input", {type: "range", min: 0, step: 1, "aria-label": "Threshold", oninput: () => choose({threshold: view.grid.at(+slider.value)})});
  const share = h("input", {type: "number", min: 0, max: 100, step: 1, value: 5, "aria-label": "percent", oninput: () => by_rule()});
  const percent = h("label", {}, share, " %");
  const rule = choice("Threshold by", () => { share.value = {"false alarms": 5}[rule.select.value] ?? 95; by_rule(); });
  const by_rule = () => {
    percent.hidden = rule.select.value == "youden";
    choose({threshold: thresholdBy(rule.select.value, share.value / 100, view.values, labels)});
  };
  const opacity = h("input", {type: "range", min: 0, max: 1, step: 0.05, value: 1, "aria-label": "Opacity of the maps", oninput: () => place.style.setProperty("--opacity", opacity.value)});

  // what is shown
  const lead = h("p", {className: "lead", "aria-live": "polite"}), told = h("span", {className: "told"}), difference = h("span", {className: "note", role: "status"});
  const warned = h("div", {role: "status"}), roc_head = h("h2"), roc_told = h("p", {className: "note"}), two_head = h("h2"), hist_head = h("h2"), at = h("b", {className: "threshold"});
  const decisions = h("div"), about = h("div", {className: "about"}), brushed = h("span", {className: "brushed"}), facts = h("dl");
  const legend = () => h("p", {className: "legend"}, ...CLASSES.map((name, y) => h("span", {}, key(y), name)));
  const link = h("button", {className: "link", onclick: () => keep_link()}, ask ? "Copy as Python" : "Copy link");
  const tiles = gallery({size: PAGE, about: about_tile, draw: draw_tile, pick: i => { choose({image: data.names[i]}); show_near(about); }});
  const hist_place = h("div"), roc_place = h("div"), two_place = h("div");
  const body = h("div", {className: "body"},
    h("div", {className: "card choices"},
      h("div", {className: "bar"}, ...["label", "kind", "outcome", "copy", "maps"].map(f => filter_choice[f].box), group_box, name_box, clear, told),
      h("div", {className: "bar"}, second_choice.box, second_score.box, difference),
      h("div", {className: "bar"}, h("button", {className: "csv", onclick: () => save_csv()}, "Images as CSV"), link)),
    h("div", {className: "cards"},
      card(hist_head, legend(), hist_place, slider, h("div", {className: "bar"}, h("span", {}, "Flagged at or above ", at), h("span", {className: "rule"}, rule.box, percent)),
        h("p", {className: "note"}, "A rule looks at all test images: for looking, not for reporting. Drag over the bars to choose images.")),
      card(roc_head, roc_told, roc_place),
      card("Decisions", decisions, h("p", {className: "note"}, "Flagged: the score is at or above the threshold. Wilson's intervals cover the choice of test images.", data.groups ? ` They count each image as independent; these form ${new Set(data.groups).size} groups (${data.group}).` : ""))),
    h("div", {className: "wide"},
      card("Images", h("div", {className: "bar"}, order_choice.box, ...tiles.bar, brushed), tiles.grid),
      h("section", {className: "card"}, about),
      card(two_head, legend(), h("div", {className: "bar"}, up_choice.box), two_place, h("p", {className: "note"}, "Drag over the points to choose images."))),
    h("section", {className: "card facts"}, h("h2", {}, "The run"), facts));
  place.classList.add("ddad");
  place.replaceChildren(
    h("header", {}, h("h1", {}, data.title), h("p", {className: "note"}, data.about), h("div", {className: "bar"}, run_choice.box, score_choice.box), warned, lead), body);
  const hist = histogram(hist_place, {label: "Histogram of the scores by class", colours: CLASSES, drag: "x", select: box => brush(box && {[view.key]: box.x})});
  const curve = chart(roc_place, {label: "ROC curve", below: "1 - specificity", beside: "sensitivity", height: 320, series: [
    {colour: "ink", width: 2}, {colour: "second", width: 1.5, dash: [6, 4]}, {colour: "line", width: 1}]});
  const points = chart(two_place, {label: "Two scores of each image", below: "", beside: "", height: 300, drag: "box",
    series: CLASSES.map(colour => ({colour, paths: () => null, points: {show: true, size: 5}})),
    select: box => brush(box && {[view.key]: box.x, [view.up.key]: box.y})});

  function brush(ranges) { choose({brush: ranges}); }

  function choose(changes) {
    const {run: name, ...others} = changes;
    if (name !== undefined && run(name)) {
      const kept = run(name).scores.some(c => c.key == s.score);
      Object.assign(s, {run: run(name), threshold: null, brush: null}, kept ? {} : {score: ""});
    }
    if ("score" in changes || "second" in changes) Object.assign(s, {brush: null, up: ""});
    if ("score" in changes) s.threshold = null;
    if ("up" in changes) s.brush = null;
    Object.assign(s, others);
    render();
  }

  function look() {
    const first = s.run, score = scoreOf(first, s.score), second = run(s.second), values = score.values;
    const found = {run: first, score, values, key: `${first.name}:${score.key}`, second, grid: score.grid ??= grid(values)};
    if (second) found.other = scoreOf(second, s.second_score || score.key);
    found.threshold = s.threshold ?? (score.start ??= thresholdBy("false alarms", 0.05, values, labels));
    found.outcomes = values.map((v, i) => 2 * labels[i] + (v >= found.threshold));
    found.inside = filtered(data, s.filter, found.outcomes);
    found.counts = [0, 0, 0, 0];
    for (const i of found.inside) found.counts[found.outcomes[i]]++;
    found.columns = [...[first, ...second ? [second] : []].flatMap(r => r.scores.map(c => ({...c, key: `${r.name}:${c.key}`, name: titled(r, c)})))];
    const usual = second ? `${second.name}:${found.other.key}` : found.columns.find(c => c.key != found.key)?.key ?? found.key;
    found.up = found.columns.find(c => c.key == s.up) ?? found.columns.find(c => c.key == usual);
    const box = Object.entries(s.brush ?? {}).map(([k, ends]) => [found.columns.find(c => c.key == k), ends]).filter(([c]) => c);
    found.chosen = found.inside.filter(i => box.every(([c, [low, high]]) => c.values[i] >= low && c.values[i] <= high));
    found.order = ORDERS.includes(s.order) && (s.order != "disagree most" || second) ? s.order : ORDERS[0];
    found.list = ordered(found.order, found.chosen, values, labels, found.threshold, found.other?.values);
    found.image = data.names.indexOf(s.image);
    return found;
  }

  function render() {
    view = look();
    const now = {
      part: `${view.key} ${view.other?.key} ${view.second?.name} ${view.inside}`, points: `${view.up.key}`, list: JSON.stringify([view.key, view.order, s.filter, s.brush]),
      detail: `${view.run.name} ${view.second?.name} ${view.image}`};
    if (now.part != last.part) { show_controls(); show_charts(); }
    if (now.part != last.part || now.points != last.points) { clearTimeout(drawing); drawing = setTimeout(show_points, 20); }
    show_threshold();
    tiles.show(view.list, now.list == last.list ? undefined : 0);
    if (now.detail != last.detail) show_detail(); else show_outcome();
    if (now.part != last.part) later();
    for (const made of [hist, points]) if (!s.brush) made.unselect();
    last = now;
    clearTimeout(telling);
    telling = setTimeout(() => changed(values_of_state()), 200);
  }

  function show_controls() {
    const same = runs.filter(r => r != view.run);
    run_choice.show([...runs.map(r => r.name), ...data.elsewhere].map(name => [name, name]), view.run.name);
    score_choice.show(view.run.scores.map(c => [c.key, c.name]), view.score.key);
    second_choice.show([["", "nothing"], ...same.map(r => [r.name, short(r.name)])], s.second && view.second ? s.second : "");
    second_score.show(view.second ? view.second.scores.map(c => [c.key, c.name]) : [], view.other?.key);
    const any = values => [["", "any"], ...values.map(v => [v, v])];
    const options = {label: CLASSES, kind: [...new Set(data.kinds ?? [])].sort(), outcome: OUTCOMES, copy: data.copies ? ["yes", "no"] : [],
                     maps: data.mapped ? ["yes", "no"] : []};
    for (const [field, values] of Object.entries(options)) filter_choice[field].show(any(values), s.filter[field] ?? "");
    for (const [field, input] of Object.entries(words)) if (input.value.trim() != (s.filter[field] ?? "").trim()) input.value = s.filter[field] ?? "";
    group_box.hidden = !data.groups;
    order_choice.show(ORDERS.slice(0, view.second ? 6 : 5).map(v => [v, v]), view.order);
    rule.show([["false alarms", "false alarms ≤"], ["sensitivity", "sensitivity ≥"], ["specificity", "specificity ≥"], ["youden", "Youden's index"]], rule.select.value || "false alarms");
    Object.assign(slider, {max: view.grid.count - 1});
    const [well, sick] = [0, 1].map(y => view.inside.filter(i => labels[i] == y).length), copies = data.copies ? `; ${view.inside.filter(i => data.copies[i]).length} with a copy in training` : "";
    told.textContent = `${view.inside.length} of ${data.names.length} images: ${well} normal, ${sick} abnormal${copies}`;
    warned.replaceChildren(...notes.map(text => h("p", {className: "warning"}, text)));
    facts.replaceChildren(...Object.entries(view.run.facts).flatMap(([name, text]) => [h("dt", {}, name), h("dd", {}, text)]));
  }

  function show_charts() {
    const part = part_of(view.inside), both = new Set(part.labels).size == 2, n = view.inside.length;
    const lists = CLASSES.map((_, y) => part.values.filter((_, i) => part.labels[i] == y));
    hist_head.textContent = `Scores, ${view.score.name}`;
    hist.show(lists, extent(view.values), view.score.name);
    const one = n ? `all ${n} images are ${CLASSES[part.labels[0]]}` : "no image is left";
    const empty = [[], []], a = both ? roc(part.values, part.labels) : empty, b = both && view.second ? roc(part.other, part.labels) : empty;
    roc_head.textContent = both ? `ROC curve of ${view.score.name}, AUC ${auc(part.values, part.labels).toFixed(3)}` : `ROC curve and AUC: none, for ${one}`;
    roc_told.textContent = "\u00a0";
    curve.show(together([a, b, [[0, 1], [0, 1]]]), [0, 1], [0, 1]);
    difference.textContent = view.second ? "Drawing the interval of the difference ..." : "Another run or method on the same images: scores, maps, difference of AUC.";
  }

  function show_points() {
    const order = [...view.inside].sort((i, j) => view.values[i] - view.values[j]), [low, high] = extent(view.up.values), [left, right] = extent(view.values);
    const pad = (a, b) => [a - 0.03 * (b - a), b + 0.03 * (b - a)];
    two_head.textContent = `${view.score.name} and ${view.up.name}`;
    up_choice.show(view.columns.filter(c => c.key != view.key).map(c => [c.key, c.name]), view.up.key);
    points.show([order.map(i => view.values[i]), ...CLASSES.map((_, y) => order.map(i => labels[i] == y ? view.up.values[i] : null))], pad(left, right), pad(low, high), {x: view.score.name, y: view.up.name});
  }

  const part_of = inside => ({
    labels: inside.map(i => labels[i]), groups: data.groups && inside.map(i => data.groups[i]),
    values: Float64Array.from(inside, i => view.values[i]), other: view.second && Float64Array.from(inside, i => view.other.values[i])});

  function show_threshold() {
    const [passed, alarm, miss, hit] = view.counts, found = rates(view.counts), t = view.threshold.toFixed(Math.max(0, -Math.floor(Math.log10(view.grid.step) + 1e-9)));
    slider.value = Math.round(view.threshold / view.grid.step) - view.grid.start;
    slider.setAttribute("aria-valuetext", t);
    at.textContent = t;
    lead.textContent = `${view.score.name} at ${t} flags ${hit} of ${hit + miss} abnormal and ${alarm} of ${passed + alarm} normal images.`;
    const cell = n => h("span", {className: `${OUTCOMES[n].replace(" ", "-")} ${[1, 2].includes(n) ? "wrong" : "right"}`}, h("b", {}, String(view.counts[n])), ` ${OUTCOMES[n]}`);
    const head = y => h("span", {}, key(y), CLASSES[y]), none = {sensitivity: "no abnormal image", specificity: "no normal image", precision: "none flagged"};
    decisions.replaceChildren(
      table("confusion", ["", "flagged", "passed"], [[head(1), cell(3), cell(2)], [head(0), cell(1), cell(0)]]),
      table("rates", ["", "rate", "95 % interval"], Object.entries(found).map(([name, r]) => [name, ...r ? [r[0].toFixed(3), `${r[1].toFixed(3)} – ${r[2].toFixed(3)}`] : [none[name], ""]])));
    hist.mark(view.threshold);
    if (found.sensitivity && found.specificity) curve.mark(1 - found.specificity[0], found.sensitivity[0]); else curve.mark(null);
    brushed.replaceChildren(...s.brush ? [`${view.chosen.length} brushed `, h("button", {onclick: () => brush(null)}, "all")] : []);
  }

  const over = (part, found) => `${found.groups} ${part.groups ? "groups" : "images"}`;

  // The intervals of AUC: after a pause, for they take longer than a reader should wait for a picture.
  function later() {
    clearTimeout(timer);
    timer = setTimeout(() => {
      const part = part_of(view.inside), found = bootstrap([part.values, ...view.second ? [part.other] : []], part.labels, part.groups);
      const text = ([low, high], sign = "") => `[${[low, high].map(v => (sign && v >= 0 ? "+" : "") + v.toFixed(3)).join(", ")}]`;
      if (found) roc_told.textContent = `95 % interval ${text(interval(found.draws[0], found.groups))}, over ${over(part, found)}${view.second ? `; dashed: ${titled(view.second, view.other)}` : ""}`;
      if (!view.second) return;
      if (!found) { difference.textContent = "No difference of AUC: it needs both classes and two groups of images."; return; }
      const [a, b] = [part.values, part.other].map(values => auc(values, part.labels)), draws = found.draws[1].map((v, i) => v - found.draws[0][i]), ends = interval(draws, found.groups);
      const verdict = ends[0] > 0 || ends[1] < 0 ? " (the interval excludes 0)" : "";
      difference.textContent = `${titled(view.second, view.other)} has AUC ${b.toFixed(3)}, ${view.score.name} ${a.toFixed(3)}: ${(b >= a ? "+" : "") + (b - a).toFixed(3)} ${text(ends, "+")}, 95 % over ${over(part, found)}${verdict}.`;
    }, 120);
  }

  function about_tile(i) {
    const copy = data.copies?.[i], lines = [`${MARKS[view.outcomes[i]]} ${number(view.values[i], 3)}`, ...copy ? ["copy in training"] : []];
    const label = `${data.names[i]}: ${view.score.name} ${number(view.values[i])}, ${CLASSES[labels[i]]}, ${OUTCOMES[view.outcomes[i]]}${copy ? ", has a copy in training" : ""}`;
    return {label, lines, frame: CLASSES[labels[i]], chosen: i == view.image};
  }

  function draw_tile(i, holder) {
    const canvas = holder.querySelector("canvas") ?? undefined;
    if (!images) holder.replaceChildren(h("span", {className: "name"}, data.names[i]));
    else if (canvas) picture(images, data.images, i, canvas);
    else holder.replaceChildren(picture(images, data.images, i));
  }

  function show_outcome() {
    const i = view.image, line = about.querySelector(".outcome");
    if (!line) return;
    const side = view.values[i] >= view.threshold ? "at or above" : "below";
    line.textContent = `${OUTCOMES[view.outcomes[i]]}: ${view.score.name} ${number(view.values[i])} is ${side} the threshold`;
  }

  function show_detail() {
    const i = view.image;
    if (i < 0) { about.replaceChildren(h("h2", {}, "One image"), h("p", {className: "note"}, "Choose an image of the gallery to see its maps and scores.")); return; }
    const others = labels.reduce((n, y, j) => n + (!y && j != i), 0), n = data.groups ? data.groups.filter(g => g == data.groups[i]).length : 1;
    const copies = data.copies ? `${labels.reduce((n, y, j) => n + (!y && j != i && data.copies[j]), 0) || "none"} of them with a copy in training` : "not checked for copies in training";
    const kind = data.kinds && data.kinds[i] != CLASSES[labels[i]] ? ` (${data.kinds[i]})` : "", group = n > 1 ? `, one of ${n} test images of its group (${data.group})` : "", copy = data.copies?.[i] ? ", has a copy in training" : "";
    const meter = p => h("span", {}, h("span", {className: "percent"}, p.toFixed(0)), h("span", {className: "meter", style: `--at: ${p.toFixed(1)}%`}));
    const line = (of, score, name) => [name, number(score.values[i]), meter(percentile(score.values, labels, i))];
    const rows = of => of.scores.map(score => line(of, score, titled(of, score)));
    const every = h("details", {ontoggle: () => every.open && every.children.length < 2 && every.append(table("scores", ["", "score", "percentile"], runs.flatMap(of => of.scores.map(c => line(of, c, `${short(of.name)}: ${c.name}`)))))}, h("summary", {}, "Scores of every run"));
    about.replaceChildren(
      h("h2", {}, data.names[i]), h("p", {}, key(labels[i]), `${CLASSES[labels[i]]}${kind}${copy}${group}; `, h("b", {className: "outcome"})),
      ...[view.run, view.second].filter(Boolean).map(of => panels(of, i)), table("scores", ["", "score", "percentile"], [...rows(view.run), ...view.second ? rows(view.second) : []]),
      h("p", {className: "note"}, `Percentile among the ${others} other normal test images (not trained on; ${copies}).`),
      h("p", {className: "bar"}, n > 1 ? h("button", {onclick: () => choose({filter: {group: data.groups[i]}})}, "Show its group") : null), runs.length > 1 ? every : "");
    show_outcome();
  }

  // An image with the reconstructions and maps of a run, and with their values under the pointer.
  function panels(of, i) {
    const sheet = of.sheets.find(m => m.images.includes(i)), n = sheet?.images.indexOf(i), beside = of != view.run;
    const base = () => images ? picture(images, data.images, i) : null, mask = () => masks && labels[i] ? outline(picture(masks, data.masks, i)) : null;
    const figure = (name, below, above, ends) => h("figure", {}, h("div", {className: "stack"}, below, above, mask()),
      h("figcaption", {}, name, ends ? h("span", {className: "ends"}, number(ends[0], 2), h("i"), number(ends[1], 2)) : ""));
    const shown = images && !beside ? [figure("image", base())] : [];
    for (const layer of sheet?.layers ?? []) {
      const twin = (view.second == of ? view.run : view.second)?.sheets.flatMap(m => m.layers).find(l => l.key == layer.key);
      const ends = layer.high == null ? null : twin ? [Math.min(layer.low, twin.low), Math.max(layer.high, twin.high)] : [layer.low, layer.high];
      const drawn = picture(layer.image, sheet, n);
      shown.push(ends ? figure(layer.name, base(), h("span", {className: "over"}, heat(drawn, layer, ends, colours)), ends) : figure(layer.name, drawn));
    }
    if (shown.length && !colour_bar) colour_bar = place.style.setProperty("--heat", colours.map(c => `rgb(${c})`).join(", ")) ?? true;
    const remark = sheet ? (beside ? "A map that both have is on one scale." : "") : missing_maps(of, i);
    const box = h("div", {className: "panels", onpointermove: event => {
      const stack = event.target.closest(".stack")?.getBoundingClientRect();
      if (stack) for (const [axis, v] of [["--x", (event.clientX - stack.left) / stack.width], ["--y", (event.clientY - stack.top) / stack.height]]) about.style.setProperty(axis, `${100 * v}%`);
    }}, ...shown);
    return h("div", {}, beside ? h("h3", {}, short(of.name)) : "", box, sheet && !beside ? h("label", {className: "bar"}, "Opacity ", opacity) : "", remark ? h("p", {className: "note"}, remark) : "");
  }
  let colour_bar = false;

  function missing_maps(of, i) {
    if (of.missing) return of.missing;
    if (ask && of.mappable) {
      const question = `${of.name} ${i}`;
      if (!asked.has(question)) ask({maps: of.name, image: i});
      asked.add(question);
      return "Computing the maps ...";
    }
    return of.maps ? `This page has the maps of ${of.maps.images.length} of the ${data.names.length} images.` : `${short(of.name)} has no maps here.`;
  }

  // what a kernel or the data bring: pictures to be decoded first
  async function receive(message) {
    if (message.notes) notes.push(...message.notes);
    if (message.images) [images, data.images] = [await load(message.images.src), message.images];
    if (message.masks) [masks, data.masks] = [await load(message.masks.src), message.masks];
    for (const [name, sheet] of Object.entries(message.maps ?? {})) {
      if (sheet.missing) run(name).missing = sheet.missing;
      else run(name).sheets.push({...sheet, layers: await Promise.all(sheet.layers.map(async layer => ({...layer, image: await load(layer.src)})))});
    }
    if (!runs.length) return;
    last = {...last, detail: "", part: message.notes ? "" : last.part};
    if (message.images) tiles.redraw();
    render();
  }

  // A view as a line of text, and back.
  function values_of_state() {
    const filter = Object.fromEntries(FIELDS.map(f => [f, (s.filter[f] ?? "").trim()]).filter(([, v]) => v));
    const found = {run: view.run.name, score: view.score.key, threshold: number(view.threshold, 10), second: view.second?.name, second_score: view.other?.key,
                   up: s.up, order: view.order == ORDERS[0] ? "" : view.order, image: s.image, brush: s.brush && JSON.stringify(s.brush), ...filter};
    const state = new URLSearchParams(Object.entries(found).filter(([, v]) => v)).toString();
    return {state, run: view.run.name, score: view.score.key, threshold: view.threshold, second: view.second?.name ?? "", image: s.image ?? "", filter, selection: view.list.map(i => data.names[i])};
  }

  function restore(text) {
    const found = new URLSearchParams(text), get = name => found.get(name) ?? "", wrong = [...found.keys()].filter(k => !KNOWN.includes(k));
    notes.splice(0, notes.length, ...data.notes);
    if (wrong.length) notes.push(`The address has ${wrong[0]}, which no page of this version knows: copy it whole.`);
    if (get("run") && !run(get("run"))) notes.push(`There is no run ${get("run")} here: the address is of another page.`);
    const threshold = found.has("threshold") ? Number(get("threshold") || NaN) : null;
    if (Number.isNaN(threshold)) notes.push(`The threshold ${get("threshold")} of the address is no number.`);
    const field = (name, known) => {
      if (!get(name) || known.includes(get(name))) return get(name);
      notes.push(`This run has no ${name.replace("_", " ")} ${get(name)}.`);
      return "";
    };
    s.run = run(get("run")) ?? runs[0];
    s.score = field("score", s.run.scores.map(c => c.key));
    s.second = field("second", runs.map(r => r.name));
    s.filter = {group: get("group"), name: get("name"), maps: field("maps", ["yes", "no"]), label: field("label", CLASSES), kind: field("kind", data.kinds ?? []), outcome: field("outcome", OUTCOMES), copy: field("copy", ["yes", "no"])};
    let box = null;
    try { box = JSON.parse(get("brush") || "null"); } catch { notes.push("The brush of the address is not whole."); }
    Object.assign(s, {second_score: get("second_score"), up: get("up"), order: field("order", ORDERS), image: field("image", data.names), brush: box});
    s.threshold = Number.isFinite(threshold) ? threshold : null;
    if (!s.image) { const {list} = look(); s.image = data.names[list.find(i => data.mapped?.has(i)) ?? list[0]] ?? ""; }
    last = {};
    render();
  }

  function save_csv() {
    const known = [["image", data.names], ["label", labels.map(y => CLASSES[y])], ["kind", data.kinds], [data.group, data.groups], ["copy in training", data.copies?.map(c => c ? "yes" : "no")],
                   ["outcome", Array.from(view.outcomes, o => OUTCOMES[o])], ...view.columns.map(c => [c.key, c.values])].filter(([, values]) => values);
    const address = URL.createObjectURL(new Blob([csv([known.map(([name]) => name), ...view.list.map(i => known.map(([, values]) => values[i]))])], {type: "text/csv"}));
    h("a", {href: address, download: `${view.run.name}_${view.list.length}_images.csv`}).click();
    setTimeout(() => URL.revokeObjectURL(address), 10000);
  }

  async function keep_link() {
    const {state} = values_of_state(), text = ask ? `Explorer(state=${JSON.stringify(state)})` : location.href;
    try { await navigator.clipboard.writeText(text); link.textContent = "Copied"; } catch { link.after(h("code", {}, text)); }
  }

  function show_near(element) {
    if (element.getBoundingClientRect().top > innerHeight) element.scrollIntoView({block: "start"});
  }

  if (!runs.length) {  // there is nothing to show but why
    body.remove();
    warned.replaceChildren(...notes.map(text => h("p", {className: "warning"}, text)));
    run_choice.show(["", ...data.elsewhere].map(name => [name, name || "none"]), "");
    return {receive, choose() {}, restore() {}};
  }
  const sheets = runs.filter(r => r.maps);
  if (sheets.length && !ask) data.mapped = new Set(sheets.flatMap(r => r.maps.images));
  if (ask) ask({images: true});  // before the maps that the first view asks for
  restore(state);
  receive({images: data.images, masks: data.masks, maps: Object.fromEntries(sheets.map(r => [r.name, r.maps]))});
  return {receive, choose, restore};
}

// The page in one file keeps its view in its address.
export function page(place, data) {
  const hash = () => location.hash.slice(1);
  let own = "";
  const changed = ({state}) => { own = state; try { history.replaceState(null, "", `#${state}`); } catch { /* a place that forbids it */ } };
  const app = mount(place, data, {state: hash(), changed});
  addEventListener("hashchange", () => { if (hash() != own) app.restore(hash()); });
}

// The widget: the kernel is told the view, and may set parts of it.
export default {
  render({model, el}) {
    const traits = ["state", "run", "score", "threshold", "second", "image", "filter", "selection"];
    let app, now = {};
    const changed = values => {
      now = values;
      for (const name of traits) model.set(name, values[name]);
      model.save_changes();
    };
    const begin = state => { app = mount(el, structuredClone(model.get("data")), {state, changed, ask: question => model.send(question)}); };
    model.on("change:data", () => begin(""));
    model.on("msg:custom", message => app.receive(message));
    for (const name of traits.slice(1, -1)) model.on(`change:${name}`, () => {
      if (JSON.stringify(model.get(name)) != JSON.stringify(now[name])) app.choose({[name]: model.get(name)});
    });
    begin(model.get("state"));
  },
};
