// What the scripts of all pages share: the data, numbers as text, the parts of a chart, one page of a long list.
const DATA = JSON.parse(document.getElementById("data").textContent);
const CHART = {left: 40, right: 390, top: 8, bottom: 172};  // the axes in a viewBox of 400 x 208

const number = v => v == null ? "" : String(Number(v.toPrecision(4)));
const escaped = text => String(text).replace(/[<>&"]/g, c => `&#${c.charCodeAt(0)};`);
const across = (v, [low, high]) => CHART.left + (v - low) / (high - low || 1) * (CHART.right - CHART.left);
const up = share => CHART.bottom - share * (CHART.bottom - CHART.top);

// The round numbers within a range, three or more of them.
function ticks([low, high]) {
  const rough = (high - low || 1) / 3, power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [5, 2, 1].find(m => m * power <= rough * (1 + 1e-9));
  const first = Math.ceil(low / step - 1e-9);
  return [...Array(Math.floor(high / step + 1e-9) - first + 1).keys()].map(i => Number(((first + i) * step).toPrecision(12)));
}

// Both axes of a chart as SVG: numbers below and on the left, and what they count.
function axes(xs, ys, below, beside) {
  const {left, right, top, bottom} = CHART;
  const text = (x, y, anchor, said) => `<text x="${x.toFixed(1)}" y="${y.toFixed(1)}" text-anchor="${anchor}">${escaped(said)}</text>`;
  const under = ticks(xs).map(v => text(across(v, xs), bottom + 14, "middle", number(v)));
  const aside = ticks(ys).map(v => text(left - 5, up((v - ys[0]) / (ys[1] - ys[0] || 1)) + 4, "end", number(v)));
  const names = text((left + right) / 2, bottom + 30, "middle", below)
    + `<text transform="translate(10 ${(top + bottom) / 2}) rotate(-90)" text-anchor="middle">${escaped(beside)}</text>`;
  return `<path class="axis" d="M${left},${top}V${bottom}H${right}"/>${under.join("")}${aside.join("")}${names}`;
}

// How many values lie in each of so many bins of a range.
function binned(values, [low, high], bins) {
  const counts = Array(bins).fill(0);
  for (const v of values) counts[Math.min(bins - 1, Math.max(0, Math.floor((v - low) / (high - low || 1) * bins)))] += 1;
  return counts;
}

// The outline of a histogram; `top` is the count that reaches the upper end.
function steps(counts, top) {
  const wide = (CHART.right - CHART.left) / counts.length;
  const bars = counts.map((n, i) => `V${up(n / (top || 1)).toFixed(1)}H${(CHART.left + (i + 1) * wide).toFixed(1)}`);
  return `M${CHART.left},${CHART.bottom}${bars.join("")}V${CHART.bottom}Z`;
}

// Several histograms over the same bins: their outlines and their axes. `shares`: of each list, in percent.
function histograms(lists, range, bins, below, beside, shares) {
  const heights = lists.map(values => binned(values, range, bins).map(n => shares ? 100 * n / (values.length || 1) : n));
  const top = Math.max(...heights.flat()) * 1.05;
  return {paths: heights.map(h => steps(h, top)), axes: axes(range, [0, top], below, beside)};
}

// A page of a list: `first` is where it starts, `size` how many fit.
const turned = (first, by, size, all) => Math.max(0, Math.min(first + by * size, Math.floor(Math.max(0, all - 1) / size) * size));
const place = (first, size, all) => all ? `${first + 1} – ${Math.min(first + size, all)} of ${all}` : "none";
