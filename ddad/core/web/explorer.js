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
export const card = (title, ...children) =>
  h("section", {className: "card"}, title instanceof Node ? title : h("h2", {}, title), ...children);

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
  const font = "12px system-ui", line = {show: true, width: 1, size: 4, stroke: () => colour("line")};
  const axis = (text, size) => ({
    label: text, labelSize: 16, labelGap: 0, labelFont: font, font, size, gap: 4, space: 48, stroke: () => colour("soft"),
    grid: {show: false}, ticks: line, border: line, values: (_, ticks) => ticks.map(v => number(v, 6))});
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
    cursor: {show: !!drag, x: false, y: false, points: {show: false}, bind: {dblclick: () => null},
             drag: {setScale: false, x: true, y: drag == "box"}},
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

// ---- pictures: many of one size on a sheet, row by row

async function load(src) {
  const image = new Image();
  image.src = src;
  await image.decode();
  return createImageBitmap(image);  // decoded once
}

// The n-th picture of a sheet.
function picture({bitmap, side, columns}, n, canvas = h("canvas", {width: side, height: side})) {
  const context = canvas.getContext("2d", {willReadFrequently: true});
  context.drawImage(bitmap, n % columns * side, Math.floor(n / columns) * side, side, side, 0, 0, side, side);
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
const RULES = {"false alarms": "false alarms ≤", sensitivity: "sensitivity ≥", specificity: "specificity ≥", youden: "Youden's index"};
const MARKS = ["✓", "✗ alarm", "✗ miss", "✓"], PAGE = 24;
const SIGNED = v => (v >= 0 ? "+" : "") + v.toFixed(3);

const capital = text => text[0].toUpperCase() + text.slice(1);
const unpacked = text => new Float64Array(Uint8Array.from(atob(text), c => c.charCodeAt(0)).buffer);
const pairs = values => values.map(v => [v, v]);

// Shows the data of `ddad.study.view` in a place. `state`: what it begins with, as a line of text; `ask` asks a kernel
// for pictures, maps and other runs, where there is one; `changed` is told the view a moment after its last change. A
// reader's choice becomes a field of `s`; `look` finds what follows from it, and `render` shows that.
export function mount(place, data, {state = "", ask = null, changed = () => {}} = {}) {
  const scores_of = run => run.scores.map(score => ({...score, values: unpacked(score.values)}));
  const runs = data.runs.map(run => ({...run, sheets: [], scores: scores_of(run)}));
  const labels = data.labels, notes = [...data.notes], asked = new Set(), s = {filter: {}, brush: null};
  const pictures = {};  // the sheets of images and masks, once they are decoded
  let last = {}, view = null, drawing, telling, resting;

  const run = name => runs.find(r => r.name == name);
  const short = name => name.startsWith(`${data.benchmark}_`) ? name.slice(data.benchmark.length + 1) : name;
  const titled = (of, score) =>  // another method's one score has its name
    of == s.run || score.key == "score" ? score.name : `${score.name} of ${short(of.name)}`;
  const scoreOf = (of, ...wanted) => {
    const found = [...wanted, "r_dual", "inter"].map(k => of.scores.find(c => c.key == k));
    return found.find(Boolean) ?? of.scores.at(-1);
  };

  // what a reader can choose
  const set = field => value => choose({[field]: value});
  const refine = field => value => choose({filter: {...s.filter, [field]: value}});
  const run_choice = choice("Run", name => run(name) ? choose({run: name}) : ask({run: name}));
  const score_choice = choice("Score", set("score")), order_choice = choice("Order", set("order"));
  const second_choice = choice("Compare with", set("second")), second_score = choice("by", set("second_score"));
  const up_choice = choice("against", set("up"));
  const filters = {label: "Class", kind: "Kind", outcome: "Outcome", copy: "Copy in training", maps: "Maps here"};
  for (const [field, name] of Object.entries(filters)) filters[field] = choice(name, refine(field));
  const words = {group: capital(data.group), name: "Name has"};
  for (const [field, name] of Object.entries(words)) {
    const input = h("input", {type: "search", size: 14, "aria-label": name, oninput: () => refine(field)(input.value)});
    words[field] = {input, box: h("label", {}, `${name} `, input)};
  }
  const move = () => choose({threshold: view.grid.at(+slider.value)});
  const slider = h("input", {type: "range", min: 0, step: 1, "aria-label": "Threshold", oninput: move});
  const share = h("input", {type: "number", min: 0, max: 100, step: 1, value: 5, "aria-label": "percent", oninput: () => by_rule()});
  const percent = h("label", {}, share, " %");
  const rule = choice("Threshold by", name => { share.value = name == "false alarms" ? 5 : 95; by_rule(); });
  const fade = () => place.style.setProperty("--opacity", opacity.value);
  const opacity = h("input", {type: "range", min: 0, max: 1, step: 0.05, value: 1, "aria-label": "Opacity of the maps", oninput: fade});
  const link = h("button", {onclick: () => keep_link()}, ask ? "Copy as Python" : "Copy link");
  const open = i => {
    choose({image: data.names[i]});
    if (about.getBoundingClientRect().top > innerHeight) about.scrollIntoView({block: "start"});
  };
  const tiles = gallery({size: PAGE, about: about_tile, draw: draw_tile, pick: open});

  // what is shown
  const note = (text = "", more = {}) => h("p", {className: "note", ...more}, text);
  const lead = h("p", {className: "lead", "aria-live": "polite"}), warned = h("div", {role: "status"});
  const told = h("span", {className: "told"}), difference = note("", {role: "status"}), brushed = h("span", {className: "brushed"});
  const hist_head = h("h2"), roc_head = h("h2"), two_head = h("h2"), roc_told = note(), at = h("b", {className: "threshold"});
  const decisions = h("div"), about = h("div", {className: "about"}), facts = h("dl");
  const hist_place = h("div"), roc_place = h("div"), two_place = h("div");
  const bar = (...children) => h("div", {className: "bar"}, ...children);
  const legend = () => h("p", {className: "legend"}, ...CLASSES.map((name, y) => h("span", {}, key(y), name)));
  const dependent = data.groups
    ? ` They count each image as independent; these form ${new Set(data.groups).size} groups (${data.group}).` : "";
  const body = h("div", {className: "body"},
    h("div", {className: "card choices"},
      bar(...Object.values(filters).map(c => c.box), words.group.box, words.name.box,
          h("button", {onclick: () => choose({filter: {}, brush: null})}, "All images"), told),
      bar(second_choice.box, second_score.box, difference),
      bar(h("button", {onclick: () => save_csv()}, "Images as CSV"), link)),
    h("div", {className: "cards"},
      card(hist_head, legend(), hist_place, slider,
           bar(h("span", {}, "Flagged at or above ", at), h("span", {className: "rule"}, rule.box, percent)),
           note("A rule looks at all test images: for looking, not for reporting. Drag over the bars to choose images.")),
      card(roc_head, roc_told, roc_place),
      card("Decisions", decisions,
           note(`Flagged: the score is at or above the threshold. Wilson's intervals cover the choice of test images.${dependent}`))),
    h("div", {className: "wide"},
      card("Images", bar(order_choice.box, ...tiles.bar, brushed), tiles.grid),
      h("section", {className: "card"}, about),
      card(two_head, legend(), bar(up_choice.box), two_place, note("Drag over the points to choose images."))),
    card("The run", facts));
  place.classList.add("ddad");
  place.style.setProperty("--heat", data.colours?.map(c => `rgb(${c})`).join(", "));
  const head = [h("h1", {}, data.title), note(data.about), bar(run_choice.box, score_choice.box), warned, lead];
  place.replaceChildren(h("header", {}, ...head), body);
  const hist = histogram(hist_place, {label: "Histogram of the scores by class", colours: CLASSES, drag: "x",
    select: box => choose({brush: box && {[view.key]: box.x}})});
  const curve = chart(roc_place, {label: "ROC curve", below: "1 - specificity", beside: "sensitivity", height: 320,
    series: [{colour: "ink", width: 2}, {colour: "second", dash: [6, 4]}, {colour: "line", width: 1}]});
  const points = chart(two_place, {label: "Two scores of each image", below: "", beside: "", height: 300, drag: "box",
    series: CLASSES.map(colour => ({colour, paths: () => null, points: {show: true, size: 5}})),
    select: box => choose({brush: box && {[view.key]: box.x, [view.up.key]: box.y}})});

  function choose({run: name, ...others}) {
    if (run(name)) {
      Object.assign(s, {run: run(name), threshold: null, brush: null, up: ""});
      if (s.second == name) s.second = "";
    }
    if ("score" in others || "second" in others) Object.assign(s, {brush: null, up: ""});
    if ("score" in others) s.threshold = null;
    if ("up" in others) s.brush = null;
    Object.assign(s, others);
    render();
  }

  function by_rule() {
    const name = rule.select.value;
    percent.hidden = name == "youden";
    choose({threshold: thresholdBy(name, share.value / 100, view.values, labels)});
  }

  function look() {
    const first = s.run, second = run(s.second), score = scoreOf(first, s.score), {values} = score;
    const v = {run: first, second, score, values, key: `${first.name}:${score.key}`, grid: score.grid ??= grid(values)};
    if (second) v.other = scoreOf(second, s.second_score, s.score);
    v.threshold = s.threshold ?? (score.start ??= thresholdBy("false alarms", 0.05, values, labels));
    v.outcomes = values.map((value, i) => 2 * labels[i] + (value >= v.threshold));
    v.inside = filtered(data, s.filter, v.outcomes);
    v.counts = [0, 0, 0, 0];
    for (const i of v.inside) v.counts[v.outcomes[i]]++;
    v.columns = [first, second].filter(Boolean).flatMap(of =>
      of.scores.map(c => ({key: `${of.name}:${c.key}`, name: titled(of, c), values: c.values})));
    const column = k => v.columns.find(c => c.key == k);
    v.up = column(s.up) ?? (second ? column(`${second.name}:${v.other.key}`) : v.columns.find(c => c.key != v.key)) ?? v.columns[0];
    const box = Object.entries(s.brush ?? {}).filter(([k]) => column(k)).map(([k, ends]) => [column(k).values, ...ends]);
    v.chosen = v.inside.filter(i => box.every(([of, low, high]) => of[i] >= low && of[i] <= high));
    v.order = ORDERS.includes(s.order) && (second || s.order != "disagree most") ? s.order : ORDERS[0];
    v.list = ordered(v.order, v.chosen, values, labels, v.threshold, v.other?.values);
    v.image = data.names.indexOf(s.image);
    return v;
  }

  // What depends on the threshold is shown anew each time; charts, lists and the image only where they are others.
  function render() {
    view = look();
    const now = {
      part: `${view.key} ${view.second?.name} ${view.other?.key} ${view.inside}`, up: view.up.key,
      list: JSON.stringify([view.key, view.order, s.filter, s.brush]), detail: `${view.run.name} ${view.second?.name} ${view.image}`};
    const other = Object.fromEntries(Object.keys(now).map(k => [k, now[k] != last[k]]));
    last = now;
    if (other.part) { show_controls(); show_charts(); }
    if (other.part || other.up) { clearTimeout(drawing); drawing = setTimeout(show_points, 20); }
    show_threshold();
    tiles.show(view.list, other.list ? 0 : undefined);
    if (other.detail) show_detail(); else show_outcome();
    if (other.part) { clearTimeout(resting); resting = setTimeout(show_intervals, 120); }
    if (!s.brush) for (const made of [hist, points]) made.unselect();
    clearTimeout(telling);
    telling = setTimeout(() => changed(present()), 200);
  }

  function show_controls() {
    const others = runs.filter(r => r != view.run), count = fits => view.inside.filter(fits).length;
    run_choice.show(pairs([...runs.map(r => r.name), ...data.elsewhere]), view.run.name);
    score_choice.show(view.run.scores.map(c => [c.key, c.name]), view.score.key);
    second_choice.show([["", "nothing"], ...others.map(r => [r.name, short(r.name)])], view.second?.name ?? "");
    second_score.show(view.second?.scores.map(c => [c.key, c.name]) ?? [], view.other?.key);
    const values = {label: CLASSES, kind: [...new Set(data.kinds ?? [])].sort(), outcome: OUTCOMES,
                    copy: data.copies ? ["yes", "no"] : [], maps: data.mapped ? ["yes", "no"] : []};
    for (const field in values) filters[field].show([["", "any"], ...pairs(values[field])], s.filter[field] ?? "");
    for (const [field, {input}] of Object.entries(words)) {
      if (input.value.trim() != (s.filter[field] ?? "").trim()) input.value = s.filter[field] ?? "";
    }
    words.group.box.hidden = !data.groups;
    order_choice.show(pairs(view.second ? ORDERS : ORDERS.slice(0, -1)), view.order);
    rule.show(Object.entries(RULES), rule.select.value || "false alarms");
    slider.max = view.grid.count - 1;
    const copies = data.copies ? `; ${count(i => data.copies[i])} with a copy in training` : "";
    const classes = CLASSES.map((name, y) => `${count(i => labels[i] == y)} ${name}`).join(", ");
    told.textContent = `${view.inside.length} of ${data.names.length} images: ${classes}${copies}`;
    show_notes();
    facts.replaceChildren(...Object.entries(view.run.facts).flatMap(([name, text]) => [h("dt", {}, name), h("dd", {}, text)]));
  }

  function show_notes() { warned.replaceChildren(...notes.map(text => h("p", {className: "warning"}, text))); }

  function part() {  // of the images that the filter leaves
    const of = values => Float64Array.from(view.inside, i => values[i]), classes = view.inside.map(i => labels[i]);
    return {labels: classes, both: new Set(classes).size == 2, groups: data.groups && view.inside.map(i => data.groups[i]),
            columns: [view, ...view.second ? [view.other] : []].map(c => of(c.values))};
  }

  function show_charts() {
    const {labels: classes, both, columns} = part(), name = view.score.name, n = view.inside.length;
    hist_head.textContent = `Scores, ${name}`;
    hist.show(CLASSES.map((_, y) => columns[0].filter((_, i) => classes[i] == y)), extent(view.values), name);
    const one = n ? `all ${n} images are ${CLASSES[classes[0]]}` : "no image is left";
    roc_head.textContent = both ? `ROC curve of ${name}, AUC ${auc(columns[0], classes).toFixed(3)}`
      : `ROC curve and AUC: none, for ${one}`;
    roc_told.textContent = "\u00a0";
    const curves = [0, 1].map(c => both && columns[c] ? roc(columns[c], classes) : [[], []]);
    curve.show(together([...curves, [[0, 1], [0, 1]]]), [0, 1], [0, 1]);
    difference.textContent = view.second ? "Drawing the interval of the difference ..."
      : "Another run or method on the same images: scores, maps, difference of AUC.";
  }

  function show_points() {
    const order = [...view.inside].sort((i, j) => view.values[i] - view.values[j]), {values: up, name} = view.up;
    const padded = ([low, high]) => [low - 0.03 * (high - low), high + 0.03 * (high - low)];
    two_head.textContent = `${view.score.name} and ${name}`;
    up_choice.show(view.columns.filter(c => c.key != view.key).map(c => [c.key, c.name]), view.up.key);
    const sides = CLASSES.map((_, y) => order.map(i => labels[i] == y ? up[i] : null));
    points.show([order.map(i => view.values[i]), ...sides], padded(extent(view.values)), padded(extent(up)), {x: view.score.name, y: name});
  }

  function show_threshold() {
    const [passed, alarm, miss, hit] = view.counts, found = rates(view.counts), {step, start} = view.grid;
    const t = view.threshold.toFixed(Math.max(0, -Math.floor(Math.log10(step) + 1e-9)));
    slider.value = Math.round(view.threshold / step) - start;
    slider.setAttribute("aria-valuetext", t);
    at.textContent = t;
    lead.textContent = `${view.score.name} at ${t} flags ${hit} of ${hit + miss} abnormal and ${alarm} of ${passed + alarm} normal images.`;
    const cell = n => h("span", {className: OUTCOMES[n].replace(" ", "-") + ([1, 2].includes(n) ? " wrong" : "")},
                        h("b", {}, String(view.counts[n])), ` ${OUTCOMES[n]}`);
    const head = y => h("span", {}, key(y), CLASSES[y]);
    const none = {sensitivity: "no abnormal image", specificity: "no normal image", precision: "none flagged"};
    const rows = Object.entries(found).map(([name, r]) =>
      [name, r ? r[0].toFixed(3) : none[name], r ? `${r[1].toFixed(3)} – ${r[2].toFixed(3)}` : ""]);
    decisions.replaceChildren(
      table("confusion", ["", "flagged", "passed"], [[head(1), cell(3), cell(2)], [head(0), cell(1), cell(0)]]),
      table("rates", ["", "rate", "95 % interval"], rows));
    hist.mark(view.threshold);
    const {sensitivity: y, specificity: x} = found;
    curve.mark(x && y ? 1 - x[0] : null, x && y ? y[0] : null);
    const every = h("button", {onclick: () => choose({brush: null})}, "all");
    brushed.replaceChildren(...s.brush ? [`${view.chosen.length} brushed `, every] : []);
  }

  // After a pause, for they take longer than a reader should wait for a picture.
  function show_intervals() {
    const {labels: classes, groups, columns} = part(), found = bootstrap(columns, classes, groups);
    if (!found) {
      if (view.second) difference.textContent = "No difference of AUC: it needs both classes and two groups of images.";
      return;
    }
    const text = (draws, signed = v => v.toFixed(3)) => `[${interval(draws, found.groups).map(signed).join(", ")}]`;
    const over = `over ${found.groups} ${groups ? "groups" : "images"}`, name = view.second && titled(view.second, view.other);
    roc_told.textContent = `95 % interval ${text(found.draws[0])}, ${over}${name ? `; dashed: ${name}` : ""}`;
    if (!name) return;
    const [a, b] = columns.map(values => auc(values, classes)), draws = found.draws[1].map((v, i) => v - found.draws[0][i]);
    const [low, high] = interval(draws, found.groups), verdict = low > 0 || high < 0 ? " (the interval excludes 0)" : "";
    difference.textContent = `${name} has AUC ${b.toFixed(3)}, ${view.score.name} ${a.toFixed(3)}: `
      + `${SIGNED(b - a)} ${text(draws, SIGNED)}, 95 % ${over}${verdict}.`;
  }

  function about_tile(i) {
    const copy = data.copies?.[i], outcome = view.outcomes[i], value = view.values[i];
    const label = `${data.names[i]}: ${view.score.name} ${number(value)}, ${CLASSES[labels[i]]}, ${OUTCOMES[outcome]}`;
    return {label: label + (copy ? ", has a copy in training" : ""), frame: CLASSES[labels[i]], chosen: i == view.image,
            lines: [`${MARKS[outcome]} ${number(value, 3)}`, ...copy ? ["copy in training"] : []]};
  }

  function draw_tile(i, holder) {
    const canvas = holder.querySelector("canvas") ?? undefined;  // to draw on again
    if (!pictures.images) holder.replaceChildren(h("span", {className: "name"}, data.names[i]));
    else holder.replaceChildren(picture(pictures.images, i, canvas));
  }

  function show_outcome() {
    const i = view.image, line = about.querySelector(".outcome");
    if (!line) return;
    const side = view.values[i] >= view.threshold ? "at or above" : "below";
    line.textContent = `${OUTCOMES[view.outcomes[i]]}: ${view.score.name} ${number(view.values[i])} is ${side} the threshold`;
  }

  // An image: what is known of it, its maps, and its scores among those of the other normal images.
  function show_detail() {
    const i = view.image;
    if (i < 0) {
      about.replaceChildren(h("h2", {}, "One image"), note("Choose an image of the gallery to see its maps and scores."));
      return;
    }
    const others = labels.flatMap((y, j) => !y && j != i ? [j] : []), n = data.groups?.filter(g => g == data.groups[i]).length ?? 1;
    const known = [CLASSES[labels[i]], data.kinds?.[i], n > 1 && `one of ${n} test images of its group (${data.group})`,
                   data.copies?.[i] && "has a copy in training"];
    const copied = data.copies && others.filter(j => data.copies[j]).length;
    const copies = data.copies ? `${copied || "none"} of them with a copy in training` : "not checked for copies in training";
    const line = (score, name) => {
      const p = percentile(score.values, labels, i), meter = h("span", {className: "meter", style: `--at: ${p}%`});
      return [name, number(score.values[i]), h("span", {}, h("span", {className: "percent"}, p.toFixed(0)), meter)];
    };
    const shown = [view.run, view.second].filter(Boolean), head = ["", "score", "percentile"];
    const rows = shown.flatMap(of => of.scores.map(c => line(c, titled(of, c))));
    const all = () => runs.flatMap(of => of.scores.map(c => line(c, `${short(of.name)}: ${c.name}`)));
    const fill = () => every.open && every.children.length < 2 && every.append(table("scores", head, all()));
    const every = h("details", {ontoggle: fill}, h("summary", {}, "Scores of every run"));
    const group = () => choose({filter: {group: data.groups[i]}});
    about.replaceChildren(
      h("h2", {}, data.names[i]),
      h("p", {}, key(labels[i]), `${[...new Set(known.filter(Boolean))].join(", ")}; `, h("b", {className: "outcome"})),
      ...shown.map(of => panels(of, i)), table("scores", head, rows),
      note(`Percentile among the ${others.length} other normal test images (not trained on; ${copies}).`),
      n > 1 ? bar(h("button", {onclick: group}, "Show its group")) : "", runs.length > 1 ? every : "");
    show_outcome();
  }

  // An image with the reconstructions and maps of a run; a ring follows the pointer on all of them.
  function panels(of, i) {
    const sheet = of.sheets.find(m => m.images.includes(i)), beside = of != view.run, {images, masks} = pictures;
    if (!sheet && beside) return note(missing_maps(of, i));
    const scan = () => images ? picture(images, i) : "", mask = () => masks && labels[i] ? outline(picture(masks, i)) : "";
    const figure = (below, name, above = "", ends = "") => h("figure", {},
      h("div", {className: "stack"}, below, above, mask()), h("figcaption", {}, name, ends));
    const shown = beside || !images ? [] : [figure(scan(), "image")];
    for (const layer of sheet?.layers ?? []) {
      const drawn = picture({...sheet, bitmap: layer.bitmap}, sheet.images.indexOf(i));
      if (layer.high == null) { shown.push(figure(drawn, layer.name)); continue; }
      const rival = of == view.run ? view.second : view.run;
      const twins = [layer, ...rival?.sheets.flatMap(m => m.layers).filter(l => l.key == layer.key) ?? []];
      const ends = [Math.min(...twins.map(l => l.low)), Math.max(...twins.map(l => l.high))];
      const scale = h("span", {className: "ends"}, number(ends[0], 2), h("i"), number(ends[1], 2));
      shown.push(figure(scan(), layer.name, h("span", {className: "over"}, heat(drawn, layer, ends, data.colours)), scale));
    }
    const follow = event => {
      const box = event.target.closest(".stack")?.getBoundingClientRect();
      if (!box) return;
      about.style.setProperty("--x", `${100 * (event.clientX - box.left) / box.width}%`);
      about.style.setProperty("--y", `${100 * (event.clientY - box.top) / box.height}%`);
    };
    let below = h("label", {className: "bar"}, "Opacity ", opacity);
    if (beside) below = note("A map that both have is on one scale.");
    if (!sheet) below = note(missing_maps(of, i));
    const all = h("div", {className: "panels", onpointermove: follow}, ...shown);
    return h("div", {}, beside ? h("h3", {}, short(of.name)) : "", all, below);
  }

  function missing_maps(of, i) {
    if (of.missing) return of.missing;
    if (of.maps) return `This page has the maps of ${of.maps.images.length} of the ${data.names.length} images.`;
    if (!ask || !of.mappable) return `${short(of.name)} has no maps here.`;
    const question = `${of.name} ${i}`;
    if (!asked.has(question)) ask({maps: of.name, image: i});
    asked.add(question);
    return "Computing the maps ...";
  }

  // What a kernel or the data bring: pictures, which are decoded first, and sentences.
  async function receive({maps = {}, notes: more = [], ...sheets}) {
    notes.push(...more);
    show_notes();
    for (const [name, sheet] of Object.entries(sheets)) if (sheet) pictures[name] = {...sheet, bitmap: await load(sheet.src)};
    for (const [name, sheet] of Object.entries(maps)) {
      const decoded = layer => load(layer.src).then(bitmap => ({...layer, bitmap}));
      if (sheet.missing) run(name).missing = sheet.missing;
      else run(name).sheets.push({...sheet, layers: await Promise.all(sheet.layers.map(decoded))});
    }
    if (!runs.length) return;
    if (sheets.images) tiles.redraw();
    last.detail = "";
    render();
  }

  // The view as a line of text and as what a kernel is told; and back.
  function present() {
    const filter = Object.fromEntries(FIELDS.map(f => [f, (s.filter[f] ?? "").trim()]).filter(([, v]) => v));
    const told = {run: view.run.name, score: view.score.key, second: view.second?.name ?? "", image: s.image ?? ""};
    const all = {...told, threshold: number(view.threshold, 10), second_score: view.other?.key, up: s.up,
                 order: view.order == ORDERS[0] ? "" : view.order, brush: s.brush && JSON.stringify(s.brush), ...filter};
    const state = new URLSearchParams(Object.entries(all).filter(([, v]) => v)).toString();
    return {state, ...told, threshold: view.threshold, filter, selection: view.list.map(i => data.names[i])};
  }

  function restore(text) {
    const found = new URLSearchParams(text), get = name => found.get(name) ?? "", unknown = [...found.keys()].find(k => !KNOWN.includes(k));
    const wrong = [], field = (name, known) => {
      if (!get(name) || known.includes(get(name))) return get(name);
      wrong.push(`This run has no ${name.replace("_", " ")} ${get(name)}.`);
      return "";
    };
    if (unknown) wrong.push(`The address has ${unknown}, which no page of this version knows: copy it whole.`);
    if (get("run") && !run(get("run"))) wrong.push(`There is no run ${get("run")} here: the address is of another page.`);
    const threshold = found.has("threshold") ? Number(get("threshold") || NaN) : null;
    if (Number.isNaN(threshold)) wrong.push(`The threshold ${get("threshold")} of the address is no number.`);
    let brush = null;
    try { brush = JSON.parse(get("brush") || "null"); } catch { wrong.push("The brush of the address is not whole."); }
    s.run = run(get("run")) ?? runs[0];
    s.filter = {group: get("group"), name: get("name"), label: field("label", CLASSES), outcome: field("outcome", OUTCOMES),
                kind: field("kind", data.kinds ?? []), copy: field("copy", ["yes", "no"]), maps: field("maps", ["yes", "no"])};
    Object.assign(s, {
      score: field("score", s.run.scores.map(c => c.key)), threshold: Number.isFinite(threshold) ? threshold : null,
      second: field("second", runs.map(r => r.name)), second_score: get("second_score"), up: get("up"), brush,
      order: field("order", ORDERS), image: field("image", data.names)});
    if (!s.image) {
      const {list} = look();
      s.image = data.names[list.find(i => data.mapped?.has(i)) ?? list[0]] ?? "";
    }
    notes.splice(0, notes.length, ...data.notes, ...wrong);
    last = {};
    render();
  }

  function save_csv() {
    const known = {image: data.names, label: labels.map(y => CLASSES[y]), kind: data.kinds, [data.group]: data.groups,
                   "copy in training": data.copies?.map(c => c ? "yes" : "no"), outcome: Array.from(view.outcomes, o => OUTCOMES[o])};
    const columns = [...Object.entries(known).filter(([, values]) => values), ...view.columns.map(c => [c.key, c.values])];
    const rows = view.list.map(i => columns.map(([, values]) => values[i]));
    const address = URL.createObjectURL(new Blob([csv([columns.map(([name]) => name), ...rows])], {type: "text/csv"}));
    h("a", {href: address, download: `${view.run.name}_${view.list.length}_images.csv`}).click();
    setTimeout(() => URL.revokeObjectURL(address), 10000);
  }

  async function keep_link() {
    const {state: now} = present(), text = ask ? `Explorer(state=${JSON.stringify(now)})` : location.href.split("#")[0] + `#${now}`;
    try {
      await navigator.clipboard.writeText(text);
      link.textContent = "Copied";
    } catch { link.after(h("code", {}, text)); }
  }

  if (!runs.length) {  // there is nothing to show but why
    body.remove();
    run_choice.show(pairs(["", ...data.elsewhere]), "");
    show_notes();
    return {receive, choose() {}, restore() {}};
  }
  const kept = runs.filter(r => r.maps);
  if (kept.length) data.mapped = new Set(kept.flatMap(r => r.maps.images));
  if (ask) ask({images: true});  // before the maps that the first view asks for
  restore(state);
  receive({images: data.images, masks: data.masks, maps: Object.fromEntries(kept.map(r => [r.name, r.maps]))});
  return {receive, choose, restore};
}

// The page in one file keeps its view in its address.
export function page(place, data) {
  const hash = () => location.hash.slice(1);
  let own = "";
  const changed = ({state}) => {
    own = state;
    history.replaceState(null, "", `#${state}`);
  };
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
    const ask = question => model.send(question);
    const begin = state => { app = mount(el, structuredClone(model.get("data")), {state, changed, ask}); };
    model.on("change:data", () => begin(""));
    model.on("msg:custom", message => app.receive(message));
    for (const name of traits.slice(1, -1)) model.on(`change:${name}`, () => {
      if (JSON.stringify(model.get(name)) != JSON.stringify(now[name])) app.choose({[name]: model.get(name)});
    });
    begin(model.get("state"));
    const given = traits.slice(1, -1).map(name => [name, model.get(name)]);  // set before the page was there
    app.choose(Object.fromEntries(given.filter(([, v]) => v != null && !["\"\"", "{}"].includes(JSON.stringify(v)))));
  },
};
