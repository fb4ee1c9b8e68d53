// A run in the browser: what a threshold and the filters make of its scores, as ddad.study.review.Decisions does it.
const CLASSES = ["normal", "abnormal"], MARKS = ["✓", "✗ alarm", "✗ miss", "✓"], SIZE = 48;
const all = [...DATA.names.keys()];
const normals = DATA.scores.map(s => s.values.filter((_, i) => !DATA.labels[i]));

// A share with its Wilson interval; nothing for 0 of 0.
function wilson(k, n) {
  if (!n) return null;
  const z = 1.959963984540054, p = k / n, scale = 1 + z * z / n, middle = (p + z * z / 2 / n) / scale;
  const half = z * Math.sqrt(p * (1 - p) / n + z * z / 4 / n / n) / scale;
  return [p, Math.max(0, middle - half), Math.min(1, middle + half)];
}

const ratesOf = ([passed, alarm, miss, hit]) => ({
  sensitivity: wilson(hit, hit + miss), specificity: wilson(passed, passed + alarm), precision: wilson(hit, hit + alarm)});

// The ROC curve of some images: its path and the area below; no area where a class is missing.
function rocOf(images, values) {
  const sorted = [...images].sort((a, b) => values[b] - values[a]);
  const sick = images.filter(i => DATA.labels[i]).length, well = images.length - sick;
  if (!sick || !well) return {path: "", auc: null};
  let x = 0, y = 0, auc = 0, path = `M${CHART.left},${CHART.bottom}`;
  for (let i = 0; i < sorted.length;) {
    const value = values[sorted[i]], [x0, y0] = [x, y];
    for (; i < sorted.length && values[sorted[i]] == value; i++) DATA.labels[sorted[i]] ? y++ : x++;
    auc += (x - x0) * (y + y0) / 2;
    path += `L${across(x / well, [0, 1]).toFixed(1)},${up(y / sick).toFixed(1)}`;
  }
  return {path, auc: auc / sick / well};
}

// The images in an order; sorting is stable, so equal ones keep theirs.
function ordered(images, how, values, threshold) {
  const wrong = i => (DATA.labels[i] ? -1 : 1) * (values[i] - threshold);
  const rank = {"highest score first": i => -values[i], "lowest score first": i => values[i], "most wrong first": i => -wrong(i)}[how];
  return [...images].sort((a, b) => rank(a) - rank(b));
}

function page() {
  let drawn = "", listed = "";  // what the lists and the charts were last made for
  return {
    score: DATA.first, at: 0, kind: "", label: "", outcome: "", words: "", order: DATA.orders[0], first: 0, one: null,
    inside: [], shown: [], counts: [0, 0, 0, 0], chart: {paths: [], axes: ""}, roc: {path: "", auc: null},

    get s() { return DATA.scores[this.score] },
    get threshold() { return this.s.step * (this.s.start + this.at) },
    get range() { return [this.s.step * this.s.start, this.s.step * (this.s.start + this.s.count - 1)] },
    get rates() { return ratesOf(this.counts) },
    get point() {
      const {sensitivity, specificity} = this.rates;
      return sensitivity && specificity && [1 - specificity[0], sensitivity[0]];
    },
    get rocName() {
      if (this.roc.auc == null) return "which needs both classes";
      const whole = this.inside.length == all.length && this.s.interval;
      return `AUC ${this.roc.auc.toFixed(3)}` + (whole ? ` (95 % interval ${whole[0].toFixed(3)} – ${whole[1].toFixed(3)})` : "");
    },
    get said() {
      const [passed, alarm, miss, hit] = this.counts;
      return `${this.s.name} at ${number(this.threshold)} flags ${hit} of ${hit + miss} abnormal and ${alarm} of ${passed + alarm} normal images.`;
    },
    get told() {
      const i = this.one, value = this.s.values[i], kind = DATA.kinds ? ` (${DATA.kinds[i]})` : "";
      const side = value >= this.threshold ? "at or above" : "below";
      return `${CLASSES[DATA.labels[i]]}${kind}, ${DATA.outcomes[this.outcomeOf(i)]}: ${this.s.name} ${number(value)} is ${side} the threshold`;
    },

    init() {
      this.start("alarms");
      Alpine.effect(() => this.update());
    },
    start(rule) { this.at = this.s[rule] },
    outcomeOf(i) { return 2 * DATA.labels[i] + (this.s.values[i] >= this.threshold) },
    percentile(score, i) {
      const value = DATA.scores[score].values[i];
      return 100 * normals[score].filter(v => v <= value).length / normals[score].length;
    },
    update() {
      const {values, name} = this.s, threshold = this.threshold, words = this.words.trim().toLowerCase();
      const fits = i => (!this.kind || DATA.kinds[i] == this.kind) && (this.label === "" || DATA.labels[i] == this.label)
        && DATA.names[i].toLowerCase().includes(words);
      const inside = all.filter(fits), counts = [0, 0, 0, 0];
      const outcomes = all.map(i => 2 * DATA.labels[i] + (values[i] >= threshold));
      for (const i of inside) counts[outcomes[i]]++;
      const classes = [0, 1].map(y => inside.filter(i => DATA.labels[i] == y).map(i => values[i]));
      this.counts = counts;
      this.inside = inside;
      this.shown = ordered(inside.filter(i => this.outcome === "" || outcomes[i] == this.outcome), this.order, values, threshold);
      const now = JSON.stringify([this.score, this.kind, this.label, words]), list = now + this.outcome + this.order;
      if (list != listed) this.first = 0;
      listed = list;
      if (now == drawn) return;
      drawn = now;
      this.chart = histograms(classes, this.range, 40, name, "images");
      this.roc = rocOf(inside, values);
    },
    turn(by) { this.first = turned(this.first, by, SIZE, this.shown.length) },
    open(i) {
      this.one = i;
      this.$refs.one.showModal();
    },
    step(by) { this.one = this.shown[this.shown.indexOf(this.one) + by] ?? this.one },
  };
}

document.addEventListener("alpine:init", () => Alpine.data("page", page));
